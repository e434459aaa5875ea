import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cpioArchive } from './cpio.ts';
import { everySeconds, lodgeArguments } from './guest-run.ts';

test('a guest becomes a command line of lodge run', () => {
  const options = {
    cpus: 4,
    memory: 256,
    kernel: '/k',
    initrd: '/i',
    append: 'console=ttyS0 quiet',
    disks: [{ path: '/a' }, { path: '/b', readOnly: true }],
    noReboot: true,
    timeout: 60,
    screenshots: [1.5],
    type: [{ text: '{down}', at: 2 }],
  };
  const expected = [
    ...['run', '--headless', '--serial', 'stdio', '--cpus', '4', '--memory', '256', '--kernel', '/k', '--initrd', '/i'],
    ...['--append', 'console=ttyS0 quiet', '--disk', '/a', '--disk', '/b,readonly', '--no-reboot', '--timeout', '60'],
    ...['--screenshot', '/shots/1.5@1.5', '--type', '{down}@2'],
  ];
  assert.deepEqual(
    lodgeArguments(options, (seconds) => `/shots/${seconds}`),
    expected,
  );
});

test('moments come in even steps', () => {
  assert.deepEqual(everySeconds(0.5, 2), [0.5, 1, 1.5, 2]);
});

test('an initramfs is a newc archive: headers, names and data on 4-byte boundaries, and a trailer', () => {
  const archive = cpioArchive([
    { kind: 'file', path: 'init', mode: 0o755, data: Buffer.from('hello') },
    { kind: 'character', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
  ]);
  const names: string[] = [];
  const field = (at: number, index: number): number =>
    Number.parseInt(archive.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
  for (let at = 0; at < archive.length; ) {
    assert.equal(archive.toString('latin1', at, at + 6), '070701');
    const [size, nameSize] = [field(at, 6), field(at, 11)];
    const name = archive.toString('latin1', at + 110, at + 110 + nameSize - 1);
    const data = (at + 110 + nameSize + 3) & ~3;
    names.push(name);
    if (name === 'init') {
      assert.equal(field(at, 1), 0o100755);
      assert.equal(archive.toString('latin1', data, data + size), 'hello');
    } else if (name === 'dev/console') {
      assert.deepEqual([field(at, 1), field(at, 9), field(at, 10)], [0o020600, 5, 1]);
    }
    at = (data + size + 3) & ~3;
  }
  assert.deepEqual(names, ['init', 'dev/console', 'TRAILER!!!']);
});
