import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../../scripts/project.ts';
import { checkFileSystem, type DebianBoot, ROOT_PASSWORD } from './debian-disk.ts';
import { type GuestDisk, type GuestOptions, GuestRun } from './guest-run.ts';

/** Seconds within which every step has to be done. */
export const DEBIAN_SECONDS = 600;

/** Gives `use` a folder with a copy of the Debian disk; it is deleted afterwards. */
export async function withDebianDisk(
  image: string,
  use: (disk: string, folder: string) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(cacheFolder, 'guests', 'disk-'));
  try {
    const disk = join(folder, 'disk.img');
    assert.equal(spawnSync('cp', ['--sparse=always', image, disk]).status, 0);
    await use(disk, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function session(options: GuestOptions, disk: string, use: (guest: GuestRun) => Promise<void>): Promise<void> {
  await GuestRun.with(options, async (guest) => {
    await use(guest);
    assert.equal(await guest.exitCode(DEBIAN_SECONDS), 0);
  });
  const { status, said } = checkFileSystem(disk);
  assert.equal(status, 0, `the file system is clean:\n${said}`);
}

/** Boots the disk, logs in as root, lets `use` work at the shell, shuts down, and checks the file system. */
export async function debianSession(
  disk: string,
  use: (guest: GuestRun) => Promise<void>,
  bus: 'ide' | 'virtio' | 'scsi' = 'ide',
): Promise<void> {
  const disks = [{ path: disk, bus }];
  const options = { memory: 512, disks, boot: 'disk', noReboot: true, timeout: DEBIAN_SECONDS * 2 };
  await session(options, disk, async (guest) => {
    await guest.waitFor(/lodge login: /, DEBIAN_SECONDS);
    guest.send('root\n');
    await guest.waitFor(/Password: /, DEBIAN_SECONDS);
    guest.send(`${ROOT_PASSWORD}\n`);
    await guest.waitFor(/root@lodge:~# /, DEBIAN_SECONDS);
    await use(guest);
    guest.send('systemctl poweroff\n');
  });
}

/** The same with nothing but a shell started by the disk's kernel: in a fraction of the time. */
export async function debianShell(
  boot: DebianBoot,
  disk: string,
  more: readonly GuestDisk[],
  use: (guest: GuestRun) => Promise<void>,
): Promise<void> {
  const append = 'root=/dev/sda1 rw init=/bin/bash console=ttyS0 quiet';
  const disks = [{ path: disk }, ...more];
  const options = { ...boot, append, memory: 512, disks, noReboot: true, timeout: DEBIAN_SECONDS * 4 };
  await session(options, disk, async (guest) => {
    await guest.waitFor(/root@\(none\):\/# /, DEBIAN_SECONDS);
    guest.send('export HOME=/root TERM=dumb; cd\n');
    await guest.waitFor(/root@\(none\):~# /, DEBIAN_SECONDS);
    await use(guest);
    guest.send('mount -o remount,ro / && poweroff -ff\n');
  });
}
