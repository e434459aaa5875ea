import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { debianMirror, debianPackage, debianTool, findCommand, NotAvailable } from '../../scripts/debian.ts';
import { cacheFolder } from '../../scripts/project.ts';
import { prepared } from './prepared.ts';

/** Where root logs in. */
export const ROOT_PASSWORD = 'lodge';

const SECTOR = 512;
const DISK_BYTES = 2048 * 2 ** 20;
/** The only partition starts here and reaches to the end of the disk. */
export const PARTITION_OFFSET = 1 << 20;

interface Command {
  readonly command: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs a command to its end. @throws NotAvailable with its last line when it fails */
function execute({ command, env = process.env }: Command, args: readonly string[], input = ''): void {
  const result = spawnSync(command, args, {
    env: { ...env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
    encoding: 'utf8',
    input,
    maxBuffer: 1 << 28,
  });
  if (result.status !== 0) {
    const said = `${result.stdout ?? ''}\n${result.stderr ?? ''}`.trim().split('\n').at(-1);
    throw new NotAvailable(`making the Debian disk failed at ${command}: ${result.error?.message ?? said}`);
  }
}

function required(command: string, fromPackage: string): string {
  const path = findCommand(command);
  if (path === undefined) {
    throw new NotAvailable(`${command} is missing; install the Debian package ${fromPackage}`);
  }
  return path;
}

/** Nothing may stay mounted below a folder that is about to be deleted. */
function unmountBelow(folder: string): void {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  const below = mounts.map((line) => line.split(' ')[1] ?? '').filter((path) => path.startsWith(`${folder}/`));
  for (const path of below.sort().reverse()) {
    spawnSync('umount', ['-l', path]);
  }
}

/** What the guest is to run besides a small system: a compiler, and a program that compiles while it runs. */
const PROGRAMS = ['gcc', 'libc6-dev', 'nodejs'];

/** What takes minutes of a slow processor and finds nothing to do. */
const SPARED = 'systemd.mask=e2scrub_reap.service';

/** The root file system of a small Debian with systemd, a kernel, an initramfs for disks on IDE, virtio and SCSI, and PROGRAMS. */
function makeRoot(root: string): void {
  const mirror = debianMirror();
  if (mirror === undefined) {
    throw new NotAvailable('apt names no Debian mirror for debootstrap');
  }
  const debootstrap = debianTool('debootstrap', ['debootstrap']);
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  const keys = existsSync(keyring) ? keyring : join(debianPackage('debian-archive-keyring'), keyring);
  const folder = debootstrap.folders[0];
  const env = folder === undefined ? {} : { DEBOOTSTRAP_DIR: join(folder, 'usr/share/debootstrap') };
  const include = 'systemd-sysv,udev,kmod,initramfs-tools,zstd';
  execute({ command: debootstrap.command, env: { ...debootstrap.env, ...env } }, [
    '--arch=amd64',
    '--variant=minbase',
    `--keyring=${keys}`,
    `--include=${include}`,
    mirror.suite,
    root,
    mirror.uri,
  ]);
  // Only what the machine has: the full set of modules would cost a slow processor minutes to unpack.
  const initramfs = join(root, 'etc/initramfs-tools');
  writeFileSync(join(initramfs, 'conf.d/lodge'), 'MODULES=list\nFSTYPE=ext4\n');
  writeFileSync(
    join(initramfs, 'modules'),
    'ata_piix\nata_generic\nsd_mod\nvirtio_pci\nvirtio_blk\nvirtio_scsi\next4\n',
  );
  const chroot = { command: required('chroot', 'coreutils') };
  execute(chroot, [root, 'apt-get', 'install', '-y', '--no-install-recommends', 'linux-image-amd64', ...PROGRAMS]);
  execute(chroot, [root, 'apt-get', 'clean']);
  execute(chroot, [root, 'chpasswd'], `root:${ROOT_PASSWORD}\n`);
  writeFileSync(join(root, 'etc/fstab'), 'LABEL=lodge / ext4 errors=remount-ro 0 1\n');
  writeFileSync(join(root, 'etc/hostname'), 'lodge\n');
  // On a busy host minutes pass before all devices are found; without its device the serial port would have no login.
  mkdirSync(join(root, 'etc/systemd/system.conf.d'), { recursive: true });
  writeFileSync(
    join(root, 'etc/systemd/system.conf.d/lodge.conf'),
    '[Manager]\nDefaultTimeoutStartSec=1200\nDefaultDeviceTimeoutSec=1200\n',
  );
  const kernel = readdirSync(join(root, 'boot')).find((name) => name.startsWith('vmlinuz-'));
  if (kernel === undefined) {
    throw new NotAvailable('the Debian disk got no kernel');
  }
  mkdirSync(join(root, 'boot/grub'), { recursive: true });
  writeFileSync(
    join(root, 'boot/grub/grub.cfg'),
    [
      `linux /boot/${kernel} root=LABEL=lodge ro console=tty0 console=ttyS0 ${SPARED}`,
      `initrd /boot/${kernel.replace('vmlinuz', 'initrd.img')}`,
      'boot\n',
    ].join('\n'),
  );
}

/** GRUB for the gap between partition table and partition: boot.img, then the core image right behind it. */
function bootSectors(work: string): Buffer {
  const folder = join(debianPackage('grub-pc-bin'), 'usr/lib/grub/i386-pc');
  const core = join(work, 'core.img');
  const tool = debianTool('grub-mkimage', ['grub-common', 'grub-pc-bin']);
  const modules = ['biosdisk', 'part_msdos', 'ext2', 'linux', 'normal', 'boot', 'echo'];
  execute(tool, ['-d', folder, '-O', 'i386-pc', '-o', core, '-p', '(hd0,msdos1)/boot/grub', ...modules]);
  const boot = Buffer.alloc(SECTOR);
  readFileSync(join(folder, 'boot.img')).copy(boot);
  boot.fill(0, 440);
  // One active Linux partition from PARTITION_OFFSET, addressed by sector number alone.
  boot.writeUInt8(0x80, 446);
  Buffer.from([0xfe, 0xff, 0xff]).copy(boot, 447);
  boot.writeUInt8(0x83, 450);
  Buffer.from([0xfe, 0xff, 0xff]).copy(boot, 451);
  boot.writeUInt32LE(PARTITION_OFFSET / SECTOR, 454);
  boot.writeUInt32LE((DISK_BYTES - PARTITION_OFFSET) / SECTOR, 458);
  boot.writeUInt16LE(0xaa55, 510);
  return Buffer.concat([boot, readFileSync(core)]);
}

/**
 * A raw hard disk with a Debian made by debootstrap: GRUB, kernel, systemd, logins on the screen and on ttyS0, gcc and
 * Node.
 * @throws NotAvailable, always when not run by root
 */
export function debianDisk(): string {
  return prepared('debian-4.img', (path) => {
    if (process.getuid?.() !== 0) {
      throw new NotAvailable('debootstrap needs root to make a Debian disk');
    }
    const mke2fs = required('mke2fs', 'e2fsprogs');
    const work = join(cacheFolder, 'guests', `debian-root.${process.pid}`);
    const root = join(work, 'root');
    mkdirSync(root, { recursive: true });
    try {
      console.log('Making a Debian disk with debootstrap …');
      makeRoot(root);
      const sectors = bootSectors(work);
      unmountBelow(root);
      const kilobytes = (DISK_BYTES - PARTITION_OFFSET) / 1024;
      const options = ['-q', '-F', '-t', 'ext4', '-O', '^metadata_csum_seed', '-L', 'lodge', '-d', root];
      closeSync(openSync(path, 'w'));
      execute({ command: mke2fs }, [...options, '-E', `offset=${PARTITION_OFFSET}`, path, `${kilobytes}k`]);
      const disk = openSync(path, 'r+');
      writeSync(disk, sectors, 0, sectors.length, 0);
      closeSync(disk);
    } finally {
      unmountBelow(root);
      rmSync(work, { recursive: true, force: true });
    }
  });
}

/** The kernel and the initramfs of the Debian disk, as files. */
export interface DebianBoot {
  readonly kernel: string;
  readonly initrd: string;
}

/** @throws NotAvailable */
export function debianBoot(): DebianBoot {
  const image = debianDisk();
  const debugfs = required('debugfs', 'e2fsprogs');
  const ask = (request: string): string => {
    const options = ['-R', request, `${image}?offset=${PARTITION_OFFSET}`];
    return spawnSync(debugfs, options, { encoding: 'utf8' }).stdout;
  };
  // Fields between slashes; the name is the fifth.
  const names = ask('ls -p /boot')
    .split('\n')
    .map((line) => line.split('/')[5] ?? '');
  const file = (prefix: string): string =>
    prepared(`${basename(image, '.img')}-${prefix}`, (path) => {
      const name = names.find((entry) => entry.startsWith(`${prefix}-`));
      ask(`dump /boot/${name} ${path}`);
      if (name === undefined || !existsSync(path)) {
        throw new NotAvailable(`the Debian disk has no ${prefix} in /boot`);
      }
    });
  return { kernel: file('vmlinuz'), initrd: file('initrd.img') };
}

/** What e2fsck says of the disk's file system, without changing it: 0 is clean. */
export function checkFileSystem(disk: string): { status: number | null; said: string } {
  const e2fsck = required('e2fsck', 'e2fsprogs');
  const result = spawnSync(e2fsck, ['-f', '-n', `${disk}?offset=${PARTITION_OFFSET}`], { encoding: 'utf8' });
  return { status: result.status, said: `${result.stdout}${result.stderr}` };
}
