import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { debianDependency, debianPackage, NotAvailable } from '../../scripts/debian.ts';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { prepared } from './prepared.ts';

/** The Debian kernels that the tests boot, by the metapackage that names the present one. */
export const kernels = {
  cloud: { metapackage: 'linux-image-cloud-amd64', architecture: 'amd64' },
  generic: { metapackage: 'linux-image-amd64', architecture: 'amd64' },
  /** A newer one, with modules that the others lack. */
  backports: { metapackage: 'linux-image-amd64', architecture: 'amd64', suite: 'backports' },
  i686: { metapackage: 'linux-image-686', architecture: 'i386' },
} as const;

export type KernelName = keyof typeof kernels;

interface KernelPackage {
  readonly metapackage: string;
  readonly architecture: 'amd64' | 'i386';
  readonly suite?: 'backports';
}

/** A kernel's bzImage. @throws NotAvailable */
export function linuxKernel(name: KernelName): string {
  const { metapackage, architecture, suite }: KernelPackage = kernels[name];
  const image = debianDependency(metapackage, /^linux-image-\d/, architecture, suite);
  const folder = join(debianPackage(image, architecture, suite), 'boot');
  const file = readdirSync(folder).find((entry) => entry.startsWith('vmlinuz'));
  if (file === undefined) {
    throw new NotAvailable(`the package of ${metapackage} holds no kernel`);
  }
  return join(folder, file);
}

/** What the initramfs prints on its console when its shell is ready. */
export const READY = 'LODGE-GUEST-READY';

// The shell stands on ttyS0 with job control of its own; the kernel's messages stay on the console it was given.
const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=dumb PS1='guest# '
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devpts pts /dev/pts 2>/dev/null
echo 4 > /proc/sys/kernel/printk
echo "${READY} $(nproc) processors"
[ -c /dev/tty1 ] && setsid sh -c 'exec sh </dev/tty1 >/dev/tty1 2>&1' &
while true; do
  setsid -c sh -i </dev/ttyS0 >/dev/ttyS0 2>&1
done
`;

/** An initramfs with a static busybox, whose init gives shells on ttyS0 and the screen. @throws NotAvailable */
export function busyboxInitramfs(architecture: 'amd64' | 'i386' = 'amd64'): string {
  return prepared(`busybox-1-${architecture}.cpio.gz`, (path) => {
    const busybox = ['bin/busybox', 'usr/bin/busybox']
      .map((name) => join(debianPackage('busybox-static', architecture), name))
      .find((name) => existsSync(name));
    if (busybox === undefined) {
      throw new NotAvailable('the package busybox-static holds no busybox');
    }
    const folders = ['bin', 'dev', 'proc', 'sys', 'tmp', 'root', 'mnt', 'etc'];
    const device = (name: string, major: number, minor: number): CpioEntry => ({
      kind: 'character',
      path: `dev/${name}`,
      mode: 0o600,
      major,
      minor,
    });
    const entries: CpioEntry[] = [
      ...folders.map((folder): CpioEntry => ({ kind: 'folder', path: folder, mode: 0o755 })),
      // The kernel opens /dev/console before init runs. Linux, Documentation/admin-guide/devices.txt.
      device('console', 5, 1),
      device('null', 1, 3),
      device('tty1', 4, 1),
      device('ttyS0', 4, 64),
      { kind: 'file', path: 'bin/busybox', mode: 0o755, data: readFileSync(busybox) },
      { kind: 'link', path: 'bin/sh', mode: 0o777, target: 'busybox' },
      { kind: 'file', path: 'init', mode: 0o755, data: Buffer.from(init) },
    ];
    writeFileSync(path, gzipSync(cpioArchive(entries), { level: 1 }));
  });
}
