import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { kvmForTests } from './testing/kvm-for-tests.ts';
import type { Held } from './testing/many-machines.ts';

const PROGRAM = fileURLToPath(new URL('testing/many-machines.ts', import.meta.url));
const MACHINES = 200;

for (const where of ['software', 'kvm'] as const) {
  test(`${where}: ${MACHINES} machines in a row leave no thread, no file and no memory`, (t) => {
    if (process.platform !== 'linux') {
      t.skip('what a process holds is read from /proc');
      return;
    }
    if (where !== 'software' && kvmForTests(t) === undefined) {
      return;
    }
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', PROGRAM, where, String(MACHINES)], {
      encoding: 'utf8',
      timeout: 240_000,
    });
    assert.equal(status, 0, stderr);
    const { before, after } = JSON.parse(stdout) as { before: Held; after: Held };
    t.diagnostic(`before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`);
    assert.equal(after.files, before.files);
    // Node may start a thread of its own meanwhile.
    assert.ok(after.threads <= before.threads + 1, `${after.threads} threads, ${before.threads} before`);
    assert.ok(after.arenas <= before.arenas + 2, `${after.arenas} memories of machines, ${before.arenas} before`);
    // A machine takes some 20 MB: a fortieth of that, left by each, would show.
    const grown = after.residentKilobytes - before.residentKilobytes;
    assert.ok(grown < 100_000, `${grown} KiB more`);
  });
}
