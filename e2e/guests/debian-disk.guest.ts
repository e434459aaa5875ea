import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { cacheFolder } from '../../scripts/project.ts';
import { checkFileSystem, debianDisk, ROOT_PASSWORD } from './debian-disk.ts';
import { GuestRun } from './guest-run.ts';
import { needs } from './needs.ts';

const SECONDS = 600;

/** Boots the disk, logs in, runs `command` until `answer` is there, and shuts down. */
async function session(disk: string, command: string, answer: RegExp): Promise<void> {
  const options = { memory: 512, disks: [{ path: disk }], boot: 'disk', noReboot: true, timeout: SECONDS * 2 };
  await GuestRun.with(options, async (guest) => {
    await guest.waitFor(/lodge login: /, SECONDS);
    guest.send('root\n');
    await guest.waitFor(/Password: /, SECONDS);
    guest.send(`${ROOT_PASSWORD}\n`);
    await guest.waitFor(/root@lodge:~# /, SECONDS);
    guest.send(`${command}\n`);
    await guest.waitFor(answer, SECONDS);
    guest.send('systemctl poweroff\n');
    assert.equal(await guest.exitCode(SECONDS), 0);
  });
  const { status, said } = checkFileSystem(disk);
  assert.equal(status, 0, `the file system is clean:\n${said}`);
}

test('a Debian on an IDE disk boots to a login, keeps a file over a shutdown, and leaves a clean file system', async (t) => {
  const image = needs(t, debianDisk);
  if (image === undefined) {
    return;
  }
  const folder = mkdtempSync(join(cacheFolder, 'guests', 'disk-'));
  try {
    const disk = join(folder, 'disk.img');
    assert.equal(spawnSync('cp', ['--sparse=always', image, disk]).status, 0);
    await session(disk, 'echo "kept-$((40 + 2))" > /root/kept; cat /root/kept', /kept-42\r?\n/);
    await session(disk, 'cat /root/kept', /kept-42\r?\n/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
