import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { LOAD_MODULES } from './kernel-modules.ts';
import { READY } from './linux.ts';
import { prepared } from './prepared.ts';

/** A program for the guest: its name below /bin, and what it is. */
export interface GuestProgram {
  readonly name: string;
  readonly data: Uint8Array;
}

/**
 * An initramfs with modules (see kernel-modules.ts) whose init loads them and gives a shell on the terminal `tty`, for
 * guests without a serial port that anybody reads; and with programs.
 */
export function shellInitramfs(withModules: string, tty: string, programs: readonly GuestProgram[] = []): string {
  const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=dumb PS1='guest# '
mount -t devtmpfs dev /dev 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
echo 4 > /proc/sys/kernel/printk
${LOAD_MODULES}
while [ ! -c /dev/${tty} ]; do sleep 0.1; done
echo "${READY} $(nproc) processors" > /dev/${tty}
while true; do
  setsid -c sh -i </dev/${tty} >/dev/${tty} 2>&1
done
`;
  const entries: CpioEntry[] = [{ kind: 'file', path: 'init', mode: 0o755, data: Buffer.from(init) }];
  for (const { name, data } of programs) {
    entries.push({ kind: 'file', path: `bin/${name}`, mode: 0o755, data });
  }
  const more = cpioArchive(entries);
  const key = createHash('sha256').update(withModules).update(more).digest('hex').slice(0, 12);
  return prepared(`shell-1-${key}.cpio.gz`, (path) => {
    writeFileSync(path, Buffer.concat([readFileSync(withModules), gzipSync(more, { level: 1 })]));
  });
}
