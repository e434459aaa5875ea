/** Builds what the benchmark boots: programs from assets/guests/bench in an initramfs, and Debian's kernels. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type CpioEntry, cpioArchive } from '../../e2e/guests/cpio.ts';
import { linuxKernel } from '../../e2e/guests/linux.ts';
import { prepared } from '../../e2e/guests/prepared.ts';
import { assemble } from '../../engine/testing/assembler/assembler.ts';
import { debianPackage, findCommand, NotAvailable } from '../debian.ts';
import { projectRoot } from '../project.ts';

export type Bits = 32 | 64;

const sources = join(projectRoot, 'assets/guests/bench');
const SERIAL = 'console=ttyS0 earlyprintk=serial,ttyS0,115200 panic=-1';

/** The programs, in the order in which they run, by what they measure. */
export const programs = {
  compute: [
    ...['sieve', 'fib', 'xorshift64', 'crc32', 'qsort', 'sha256', 'compress', 'bytecode', 'matrix', 'sse2', 'x87'],
    ...['copy', 'chase'],
  ],
  system: ['syscalls', 'forks', 'faults', 'pipes'],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export interface BenchGuest {
  readonly bits: Bits;
  readonly kernel: string;
  readonly initrd: string;
  /** The same programs for this host, for the checksums that are right; undefined where it cannot run them. */
  readonly native: { readonly path: string; readonly text: string } | undefined;
}

/** The kernel's command line that runs `items`, again and again until `minutes` are over. */
export function commandLine(items: readonly string[], minutes: number | undefined): string {
  const repeat = minutes === undefined ? '' : ` bench.minutes=${minutes}`;
  return `${SERIAL} bench=${items.join(',')}${repeat}`;
}

/** English text to compress: the adages of Debian's package fortunes, which changes once in some years. */
function textFile(): string {
  return prepared('bench-text-1', (path) => {
    const folder = join(debianPackage('fortunes'), 'usr/share/games/fortunes');
    const names = readdirSync(folder).filter((name) => !name.includes('.'));
    const text = Buffer.concat(names.sort().map((name) => readFileSync(join(folder, name))));
    if (text.length < 1 << 20) {
      throw new NotAvailable('the package fortunes holds too little text');
    }
    writeFileSync(path, text);
  });
}

/** All programs as one static executable. @throws NotAvailable without a compiler for it */
function programFile(bits: Bits): string {
  const compiler = findCommand('gcc');
  if (compiler === undefined) {
    throw new NotAvailable('the programs of the benchmark need gcc; install the Debian package gcc');
  }
  const files = readdirSync(sources).filter((name) => /\.[ch]$/.test(name));
  const flags = [`-m${bits}`, '-O2', '-std=gnu11', '-static', '-Wall', '-Wextra', '-msse2'];
  const hash = createHash('sha256').update(flags.join(' '));
  for (const name of files) {
    hash.update(readFileSync(join(sources, name)));
  }
  return prepared(`bench-${bits}-${hash.digest('hex').slice(0, 12)}`, (path) => {
    const units = files.filter((name) => name.endsWith('.c')).map((name) => join(sources, name));
    const { status, stderr, error } = spawnSync(compiler, [...flags, ...units, '-o', path], { encoding: 'utf8' });
    if (status !== 0) {
      const said = error?.message ?? stderr.trim().split('\n').at(-1);
      const hint = bits === 32 ? '; for 32 bits it needs the Debian package gcc-multilib' : '';
      throw new NotAvailable(`gcc -m${bits} could not build the programs of the benchmark: ${said}${hint}`);
    }
  });
}

/** Kernel, initramfs and programs for guests of `bits`. @throws NotAvailable */
export function benchGuest(bits: Bits): BenchGuest {
  const kernel = linuxKernel(bits === 64 ? 'cloud' : 'i686');
  const program = programFile(bits);
  const text = textFile();
  const folder = (path: string): CpioEntry => ({ kind: 'folder', path, mode: 0o755 });
  const entries: CpioEntry[] = [
    ...['dev', 'proc', 'sys'].map(folder),
    { kind: 'character', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'file', path: 'init', mode: 0o755, data: readFileSync(program) },
    { kind: 'file', path: 'text', mode: 0o644, data: readFileSync(text) },
  ];
  const initrd = prepared(`${basename(program)}-${basename(text)}.cpio.gz`, (path) =>
    writeFileSync(path, gzipSync(cpioArchive(entries), { level: 1 })),
  );
  const runsHere = process.platform === 'linux' && process.arch === 'x64';
  return { bits, kernel, initrd, native: runsHere ? { path: program, text } : undefined };
}

/** The Multiboot kernel that says it has started and does nothing else. */
export function startKernel(): string {
  const source = readFileSync(join(sources, 'start-kernel.asm'), 'utf8');
  const { bytes } = assemble(source, { file: 'start-kernel.asm' });
  const hash = createHash('sha256').update(bytes).digest('hex').slice(0, 12);
  return prepared(`bench-start-${hash}`, (path) => writeFileSync(path, bytes));
}

/** The checksums of `items` as this host computes them; undefined where it cannot run the programs. */
export function nativeChecksums(guest: BenchGuest, items: readonly string[]): Map<string, string> | undefined {
  if (guest.native === undefined) {
    return undefined;
  }
  const env = { ...process.env, LODGE_BENCH_TEXT: guest.native.text };
  const { stdout, status } = spawnSync(guest.native.path, [...items], { env, encoding: 'utf8' });
  if (status !== 0) {
    return undefined;
  }
  return new Map([...stdout.matchAll(/end (\S+) .*checksum=(\w+)/g)].map((match) => [match[1] ?? '', match[2] ?? '']));
}
