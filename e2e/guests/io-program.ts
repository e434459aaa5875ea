import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { findCommand, NotAvailable } from '../../scripts/debian.ts';
import { projectRoot } from '../../scripts/project.ts';
import { cpioArchive } from './cpio.ts';
import { initramfsWithModules } from './kernel-modules.ts';
import type { KernelName } from './linux.ts';
import { prepared } from './prepared.ts';

/** assets/guests/io, which exercises disks and the network, as a static program for the guest. @throws NotAvailable */
function ioProgram(): string {
  const compiler = findCommand('gcc');
  if (compiler === undefined) {
    throw new NotAvailable('the program that exercises disks needs gcc; install the Debian package gcc');
  }
  const source = join(projectRoot, 'assets/guests/io/io.c');
  const hash = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12);
  return prepared(`io-${hash}`, (path) => {
    const flags = ['-m64', '-O2', '-std=gnu11', '-static', '-Wall', '-Wextra'];
    const { status, stderr, error } = spawnSync(compiler, [...flags, source, '-o', path], { encoding: 'utf8' });
    if (status !== 0) {
      throw new NotAvailable(`gcc could not build io.c: ${error?.message ?? stderr.trim().split('\n').at(-1)}`);
    }
  });
}

/** As {@link initramfsWithModules}, with the program `io` among the commands. @throws NotAvailable */
export function initramfsWithIo(name: KernelName, modules: readonly string[]): string {
  const program = ioProgram();
  const base = initramfsWithModules(name, modules);
  return prepared(`${basename(program)}-${basename(base)}`, (path) => {
    const archive = cpioArchive([{ kind: 'file', path: 'bin/io', mode: 0o755, data: readFileSync(program) }]);
    writeFileSync(path, Buffer.concat([readFileSync(base), gzipSync(archive, { level: 1 })]));
  });
}
