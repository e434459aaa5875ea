/**
 * `npm run bench:cpu`: boots the same kernel and programs under Lodge, QEMU's TCG and (32 bits) v86 in turns, and prints
 * what each took. docs/performance.md describes the method.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { NotAvailable } from '../debian.ts';
import { projectRoot } from '../project.ts';
import {
  type BenchGuest,
  type Bits,
  benchGuest,
  commandLine,
  nativeChecksums,
  programs,
  startKernel,
} from './guest.ts';
import { type Host, type HostName, lodge, tcg, v86 } from './hosts.ts';
import { type ItemKind, type Measured, meanRatio, median, type Row, table, targets, wrongResults } from './report.ts';
import { type GuestResult, processMemory, runGuest, startSeconds } from './run.ts';
import { GuestFailure } from './timed-process.ts';

const USAGE = `npm run bench:cpu -- [options]
  --bits 64|32|both    guests to run (both)
  --rounds N           turns of each host (3)
  --items A,B          programs to run (all): ${[...programs.compute, ...programs.system].join(', ')}
  --hosts A,B          lodge, tcg, v86 (those that are there; v86 runs 32-bit guests only)
  --quick              one round of the 64-bit guest
  --memory MB          memory of the guest (512)
  --lodge "OPTIONS"    further options of lodge run
  --checkout FOLDER    measures the Lodge there, not this one
  --soak MINUTES       Lodge alone repeats the programs for so long; tells the memory of its process
  --json FILE          writes every measurement`;

/** Until a boot with all its programs is given up, in seconds. */
const PATIENCE = 1200;
/** The process may need so much beyond the guest's memory, in bytes. */
const MEMORY_BEYOND_GUEST = 400 << 20;
/** A guest's clock may differ from the host's by this share, and by these seconds, before it is mentioned. */
const CLOCK_SHARE = 0.05;
const CLOCK_SECONDS = 0.05;

class Options {
  readonly bits: readonly Bits[];
  readonly rounds: number;
  readonly items: readonly string[];
  readonly hosts: readonly HostName[] | undefined;
  readonly memory: number;
  readonly lodge: () => Host;
  readonly soakMinutes: number | undefined;
  readonly json: string | undefined;

  constructor() {
    const { values } = parseArgs({
      options: {
        bits: { type: 'string' },
        rounds: { type: 'string' },
        items: { type: 'string' },
        hosts: { type: 'string' },
        quick: { type: 'boolean', default: false },
        memory: { type: 'string', default: '512' },
        lodge: { type: 'string', default: '' },
        checkout: { type: 'string', default: projectRoot },
        soak: { type: 'string' },
        json: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      throw new Usage();
    }
    this.bits = { '64': [64], '32': [32], both: [64, 32] }[values.bits ?? (values.quick ? '64' : 'both')] as Bits[];
    this.rounds = number('--rounds', values.rounds ?? (values.quick ? '1' : '3'));
    const all: readonly string[] = [...programs.compute, ...programs.system];
    this.items = values.items === undefined ? all : values.items.split(',');
    this.hosts = values.hosts?.split(',') as HostName[] | undefined;
    this.memory = number('--memory', values.memory);
    const more = values.lodge.split(' ').filter((word) => word !== '');
    this.lodge = () => lodge(more, resolve(values.checkout));
    this.soakMinutes = values.soak === undefined ? undefined : number('--soak', values.soak);
    this.json = values.json;
    const unknownItem = this.items.find((item) => !all.includes(item));
    const unknownHost = this.hosts?.find((name) => !['lodge', 'tcg', 'v86'].includes(name));
    if (this.bits === undefined || unknownItem !== undefined || unknownHost !== undefined) {
      throw new Usage(`unknown: ${unknownItem ?? unknownHost ?? `--bits ${values.bits}`}`);
    }
  }
}

/** Asks for the help text, or says what is wrong with the command line. */
class Usage extends Error {}

function number(option: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) {
    throw new Usage(`${option} ${text}: not a number above 0`);
  }
  return value;
}

function hostsFor(bits: Bits, options: Options): Host[] {
  const wanted: readonly HostName[] = options.hosts ?? ['lodge', 'tcg', 'v86'];
  const makers: readonly (readonly [HostName, () => Host])[] = [
    ['lodge', options.lodge],
    ['tcg', tcg],
    ...(bits === 32 ? ([['v86', v86]] as const) : []),
  ];
  return makers
    .filter(([name]) => wanted.includes(name))
    .flatMap(([name, make]) => {
      try {
        return [make()];
      } catch (error) {
        if (!(error instanceof NotAvailable)) {
          throw error;
        }
        console.log(`Without ${name}: ${error.message}`);
        return [];
      }
    });
}

interface HostRounds {
  readonly host: Host;
  readonly starts: number[];
  readonly results: GuestResult[];
}

function itemRow(name: string, kind: ItemKind, expected: string | undefined, rounds: readonly HostRounds[]): Row {
  const hosts = rounds.map(({ host, results }): [string, Measured] => {
    const found = results.flatMap(({ items }) => items.filter((item) => item.name === name));
    return [
      host.name,
      {
        seconds: found.map(({ outside }) => outside),
        insideSeconds: found.map(({ inside }) => inside),
        checksums: found.map(({ checksum }) => checksum),
      },
    ];
  });
  return { name, kind, expected, hosts: Object.fromEntries(hosts) };
}

function bootRow(name: string, rounds: readonly HostRounds[], of: (result: GuestResult, start: number) => number): Row {
  const hosts = rounds.map(({ host, results, starts }): [string, Measured] => {
    const start = median(starts);
    return [host.name, { seconds: results.map((result) => of(result, start)), checksums: [] }];
  });
  return { name, kind: 'boot', expected: undefined, hosts: Object.fromEntries(hosts) };
}

/** Runs all rounds of a guest. @throws NotAvailable */
async function measure(guest: BenchGuest, hosts: readonly Host[], options: Options): Promise<HostRounds[]> {
  const append = commandLine(options.items, undefined);
  const boot = { kernel: guest.kernel, initrd: guest.initrd, append, memory: options.memory };
  const start = startKernel();
  const rounds = hosts.map((host): HostRounds => ({ host, starts: [], results: [] }));
  for (let round = 1; round <= options.rounds; round++) {
    for (const { host, starts, results } of rounds) {
      const began = performance.now();
      starts.push(await startSeconds(host, start, options.memory));
      results.push(await runGuest(host, boot, PATIENCE));
      console.log(`  round ${round}, ${host.title}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
    }
  }
  return rounds;
}

function rowsOf(guest: BenchGuest, rounds: readonly HostRounds[], items: readonly string[]): Row[] {
  const expected = nativeChecksums(guest, items);
  const kindOf = (name: string): ItemKind => (programs.system.some((item) => item === name) ? 'system' : 'compute');
  return [
    ...items.map((name) => itemRow(name, kindOf(name), expected?.get(name), rounds)),
    bootRow('boot: kernel to userspace', rounds, ({ boot }) => boot.kernel),
    bootRow('boot with decompression', rounds, ({ boot }, start) => boot.toKernel - start + boot.kernel),
    bootRow('boot as the user waits for it', rounds, ({ boot }) => boot.toKernel + boot.kernel),
  ];
}

/** What the guests saw differently, and clocks that went wrong. */
function remarks(rows: readonly Row[], rounds: readonly HostRounds[]): string[] {
  const [ours, ...others] = rounds;
  const flags = new Set(ours?.results[0]?.flags);
  const differences = others.flatMap(({ host, results }) => {
    const theirs = new Set(results[0]?.flags);
    const more = [...theirs].filter((flag) => !flags.has(flag));
    const less = [...flags].filter((flag) => !theirs.has(flag));
    return more.length + less.length === 0
      ? []
      : [`The processor of ${host.title} has [${more.join(' ')}] more and [${less.join(' ')}] less than Lodge's.`];
  });
  const clocks = rows.flatMap(({ name, hosts }) =>
    Object.entries(hosts).flatMap(([host, { seconds, insideSeconds = [] }]) => {
      const [outside, inside] = [median(seconds), median(insideSeconds)];
      return Math.abs(outside - inside) > CLOCK_SECONDS + outside * CLOCK_SHARE
        ? [`${name} on ${host}: ${inside.toFixed(2)} s by the guest's clock, ${outside.toFixed(2)} s by the host's.`]
        : [];
    }),
  );
  const memory = rounds.map(({ host, results }) => {
    const peaks = results.map(({ peakMemory }) => peakMemory).filter((value) => value !== undefined);
    return peaks.length === 0 ? '' : `${host.title} ${Math.round(Math.max(...peaks) / (1 << 20))} MB`;
  });
  return [...differences, ...clocks, `Most memory of the process: ${memory.filter((text) => text !== '').join(', ')}.`];
}

/** Lodge alone for a long time: its process must not grow beyond what it may. */
async function soak(options: Options, minutes: number): Promise<boolean> {
  const [bits = 64] = options.bits;
  const guest = benchGuest(bits);
  const host = options.lodge();
  const append = commandLine(options.items, minutes);
  const boot = { kernel: guest.kernel, initrd: guest.initrd, append, memory: options.memory };
  const limit = options.memory * (1 << 20) + MEMORY_BEYOND_GUEST;
  const megabytes = (bytes: number) => `${Math.round(bytes / (1 << 20))} MB`;
  let timer: NodeJS.Timeout | undefined;
  try {
    const began = performance.now();
    const { peakMemory, items } = await runGuest(host, boot, minutes * 60 + PATIENCE, (process_) => {
      timer = setInterval(() => {
        const now = processMemory(process_.pid, 'VmRSS');
        const minute = Math.round((performance.now() - began) / 60_000);
        console.log(`  minute ${minute}: ${now === undefined ? 'unknown' : megabytes(now)}`);
      }, 60_000);
    });
    if (peakMemory === undefined) {
      throw new NotAvailable('the memory of a process is read from /proc, which this system lacks');
    }
    const met = peakMemory <= limit;
    console.log(
      `${items.length} programs; at most ${megabytes(peakMemory)}, allowed ${megabytes(limit)}: ${met ? 'met' : 'MISSED'}`,
    );
    return met;
  } finally {
    clearInterval(timer);
  }
}

function machine(): string {
  const [processor] = cpus();
  let model = processor?.model.trim() ?? 'unknown processor';
  try {
    // "AMD EPYC" says little: family and model tell which.
    const info = readFileSync('/proc/cpuinfo', 'utf8');
    const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(info)?.[1];
    model += ` (family ${field('cpu family')}, model ${field('model')})`;
  } catch {
    // Not Linux.
  }
  return `${model}, ${cpus().length} processors, ${process.platform} ${release()}`;
}

async function main(options: Options): Promise<boolean> {
  console.log(machine());
  if (options.soakMinutes !== undefined) {
    return await soak(options, options.soakMinutes);
  }
  let ok = true;
  const report = [];
  for (const bits of options.bits) {
    const guest = benchGuest(bits);
    const hosts = hostsFor(bits, options);
    console.log(`\n${bits}-bit guest, ${options.memory} MB, one processor, ${options.rounds} rounds in turns`);
    for (const { title, version, options: given } of hosts) {
      console.log(`  ${title}: ${version} (${given})`);
    }
    const rounds = await measure(guest, hosts, options);
    const rows = rowsOf(guest, rounds, options.items);
    console.log(`\n${table(rows, hosts)}\n`);
    for (const text of remarks(rows, rounds)) {
      console.log(text);
    }
    for (const { what, wanted, found } of targets(rows, bits)) {
      if (found !== undefined) {
        console.log(`${what}: ${found.toFixed(2)}, wanted ${wanted}: ${found >= wanted ? 'met' : 'MISSED'}`);
      }
    }
    const wrong = wrongResults(rows);
    for (const { item, host, text } of wrong) {
      console.log(`WRONG RESULT: ${item} on ${host} computed ${text}`);
    }
    ok &&= wrong.length === 0;
    const means = hosts.slice(1).map(({ name }) => [name, meanRatio(rows, name)]);
    const used = hosts.map(({ name, version, options: given }) => ({ name, version, options: given }));
    report.push({ bits, hosts: used, rows, means: Object.fromEntries(means), wrong });
  }
  if (options.json !== undefined) {
    const { memory, rounds } = options;
    writeFileSync(options.json, `${JSON.stringify({ machine: machine(), memory, rounds, guests: report }, null, 2)}\n`);
  }
  return ok;
}

try {
  process.exitCode = (await main(new Options())) ? 0 : 1;
} catch (error) {
  if (error instanceof Usage || (error instanceof TypeError && 'code' in error)) {
    console.log(error.message === '' ? USAGE : `${error.message}\n\n${USAGE}`);
    process.exitCode = error.message === '' ? 0 : 2;
  } else if (error instanceof NotAvailable || error instanceof GuestFailure) {
    console.error(error.message);
    process.exitCode = 1;
  } else {
    throw error;
  }
}
