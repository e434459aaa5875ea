import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FolderWatch } from './folder-watch.ts';

function build() {
  const host = { there: true, looks: 0, now: 0, told: [] as string[] };
  const watch = new FolderWatch(
    () => {
      host.looks++;
      return host.there;
    },
    (message) => host.told.push(message),
    () => host.now,
  );
  return { host, watch };
}

test('a full host is told of, each minute at most', () => {
  const { host, watch } = build();
  watch.failed('ENOSPC');
  watch.failed('ENOSPC');
  watch.failed('EDQUOT');
  assert.equal(host.told.length, 2);
  assert.match(host.told[0] ?? '', /no space left; the guest gets an error: free some space/);
  host.now = 59_999;
  watch.failed('ENOSPC');
  assert.equal(host.told.length, 2);
  host.now = 60_000;
  watch.failed('ENOSPC');
  assert.equal(host.told.length, 3);
});

test('what guests bring about by themselves is not told', () => {
  const { host, watch } = build();
  for (const name of ['EEXIST', 'EACCES', 'ENOTEMPTY', 'EINVAL', 'EISDIR', 'ENOENT'] as const) {
    watch.failed(name);
  }
  assert.deepEqual(host.told, []);
});

test('after missing files the folder is looked for, but not each time', () => {
  const { host, watch } = build();
  for (let i = 0; i < 1000; i++) {
    host.now = i;
    watch.failed('ENOENT');
  }
  assert.equal(host.looks, 1);
  host.there = false;
  host.now = 1000;
  watch.failed('ENOENT');
  assert.match(host.told[0] ?? '', /the folder is not there any more/);
});
