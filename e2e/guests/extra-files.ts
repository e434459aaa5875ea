import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
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

/** An initramfs with more files, and the folders for them. @throws NotAvailable */
export function initramfsWithFiles(initrd: string, files: readonly ExtraFile[]): string {
  const hash = createHash('sha256').update(initrd);
  for (const { path, data, mode } of files) {
    hash.update(`\0${path}\0${mode}\0`).update(data);
  }
  return prepared(`files-2-${hash.digest('hex').slice(0, 12)}.cpio.gz`, (path) => {
    const folders = new Set<string>();
    for (const file of files) {
      for (let folder = dirname(file.path); folder !== '.'; folder = dirname(folder)) {
        folders.add(folder);
      }
    }
    const entries: CpioEntry[] = [
      ...[...folders].sort().map((folder): CpioEntry => ({ kind: 'folder', path: folder, mode: 0o755 })),
      ...files.map((file): CpioEntry => ({ kind: 'file', mode: 0o755, ...file, data: Buffer.from(file.data) })),
    ];
    writeFileSync(path, Buffer.concat([readFileSync(initrd), gzipSync(cpioArchive(entries), { level: 1 })]));
  });
}

/** bash without libraries, which opens TCP connections as files: /dev/tcp/HOST/PORT. @throws NotAvailable */
export function staticBash(): ExtraFile {
  return { path: 'bin/bash', data: packaged('bash-static', 'bin/bash-static', 'usr/bin/bash-static') };
}

/** The first of some paths in a Debian package. @throws NotAvailable */
function packaged(name: string, ...paths: readonly string[]): Buffer {
  const file = paths.map((path) => join(debianPackage(name), path)).find((path) => existsSync(path));
  if (file === undefined) {
    throw new NotAvailable(`the package ${name} holds no ${paths.join(' or ')}`);
  }
  return readFileSync(file);
}

/** Perl with the libraries it needs and without modules: for servers of a line or two. @throws NotAvailable */
export function perl(): readonly ExtraFile[] {
  const library = (name: string, file: string) =>
    packaged(name, `lib/x86_64-linux-gnu/${file}`, `usr/lib/x86_64-linux-gnu/${file}`);
  return [
    { path: 'bin/perl', data: packaged('perl-base', 'usr/bin/perl') },
    { path: 'lib64/ld-linux-x86-64.so.2', data: library('libc6', 'ld-linux-x86-64.so.2') },
    { path: 'lib/libc.so.6', data: library('libc6', 'libc.so.6') },
    { path: 'lib/libm.so.6', data: library('libc6', 'libm.so.6') },
    { path: 'lib/libcrypt.so.1', data: library('libcrypt1', 'libcrypt.so.1') },
  ];
}
