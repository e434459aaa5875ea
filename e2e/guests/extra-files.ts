import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { debianPackage, NotAvailable } from '../../scripts/debian.ts';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { prepared } from './prepared.ts';

/** A file for an initramfs: where it goes, without the leading slash, and what it holds. */
export interface ExtraFile {
  readonly path: string;
  readonly data: Uint8Array;
  readonly mode?: number;
}

/** An initramfs with more files; their folders have to be there already. @throws NotAvailable */
export function initramfsWithFiles(initrd: string, files: readonly ExtraFile[]): string {
  const hash = createHash('sha256').update(initrd);
  for (const { path, data, mode } of files) {
    hash.update(`\0${path}\0${mode}\0`).update(data);
  }
  return prepared(`files-1-${hash.digest('hex').slice(0, 12)}.cpio.gz`, (path) => {
    const entries = files.map(
      (file): CpioEntry => ({ kind: 'file', mode: 0o755, ...file, data: Buffer.from(file.data) }),
    );
    writeFileSync(path, Buffer.concat([readFileSync(initrd), gzipSync(cpioArchive(entries), { level: 1 })]));
  });
}

/** bash without libraries, which opens TCP connections as files: /dev/tcp/HOST/PORT. @throws NotAvailable */
export function staticBash(): ExtraFile {
  const file = ['bin/bash-static', 'usr/bin/bash-static']
    .map((name) => join(debianPackage('bash-static'), name))
    .find((name) => existsSync(name));
  if (file === undefined) {
    throw new NotAvailable('the package bash-static holds no bash');
  }
  return { path: 'bin/bash', data: readFileSync(file) };
}
