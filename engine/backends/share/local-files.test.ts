import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { isOnThisHost } from './local-files.ts';

test('a folder is on this host when its file system is known to be', (t) => {
  if (process.platform !== 'linux') {
    t.skip('file systems are told apart on Linux only');
    return;
  }
  const { stdout } = spawnSync('stat', ['-f', '-c', '%T', tmpdir()], { encoding: 'utf8' });
  const local = /^(ext2\/ext3|xfs|btrfs|tmpfs|overlayfs|f2fs|zfs)\n$/.test(stdout);
  assert.equal(isOnThisHost(tmpdir()), local, stdout);
  // Made by the kernel as it is read, and none of those.
  assert.equal(isOnThisHost('/proc'), false);
  assert.equal(isOnThisHost('/nowhere'), false);
});
