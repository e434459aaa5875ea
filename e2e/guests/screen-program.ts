import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { NotAvailable } from '../../scripts/debian.ts';
import { projectRoot } from '../../scripts/project.ts';
import { grubCd } from './boot-cds.ts';
import { cpioArchive } from './cpio.ts';
import { initramfsWithModules, LOAD_MODULES } from './kernel-modules.ts';
import { linuxKernel } from './linux.ts';
import { prepared } from './prepared.ts';

/** What a guest needs for a virtio display adapter and input devices. */
const MODULES = ['virtio_pci', 'virtio_gpu', 'virtio_input', 'evdev'];

/** An init that does nothing but run the program, which speaks on the serial port. */
const desktop = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
exec </dev/ttyS0 >/dev/ttyS0 2>&1
${LOAD_MODULES}
exec screen
`;

/** An initramfs of the generic kernel with these modules, and with the program `screen`. @throws NotAvailable */
export function screenInitramfs(): string {
  const source = join(projectRoot, 'assets/guests/programs/screen.c');
  const version = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12);
  const program = prepared(`screen-${version}`, (path) => {
    const { error, status, stderr } = spawnSync('gcc', ['-O2', '-static', '-o', path, source]);
    if (error !== undefined || status !== 0) {
      throw new NotAvailable(`gcc cannot build ${source}: ${error?.message ?? stderr.toString().split('\n')[0]}`);
    }
  });
  const base = initramfsWithModules('generic', MODULES);
  return prepared(`screen-2-${version}-${basename(base)}`, (path) => {
    const archive = cpioArchive([
      { kind: 'file', path: 'bin/screen', mode: 0o755, data: readFileSync(program) },
      { kind: 'file', path: 'bin/desktop', mode: 0o755, data: Buffer.from(desktop) },
    ]);
    writeFileSync(path, Buffer.concat([readFileSync(base), gzipSync(archive, { level: 1 })]));
  });
}

/** A CD that starts the generic kernel and runs the program at once. @throws NotAvailable */
export function screenCd(): string {
  const kernel = linuxKernel('generic');
  const initrd = screenInitramfs();
  return prepared(`${basename(initrd)}-${basename(kernel)}.iso`, (path) => {
    const configuration = [
      'set timeout=0',
      'menuentry screen {',
      '  linux /linux console=ttyS0 quiet panic=-1 rdinit=/bin/desktop',
      '  initrd /initrd.gz',
      '}',
    ];
    grubCd(path, `${configuration.join('\n')}\n`, { linux: kernel, 'initrd.gz': initrd });
  });
}
