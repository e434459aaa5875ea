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
import { type GuestResult, processMemory, runGuest, startTime } from './run.ts';
import { GuestFailure, type Interval } from './timed-process.ts';

const USAGE = `npm run bench:cpu -- [options]
  --bits 64|32|both    guests to run (both)
  --rounds N           turns of each host (3)
  --items A,B          programs to run (all): ${[...programs.compute, ...programs.system].join(', ')}
  --hosts A,B          lodge, tcg, v86 (those that are there; v86 runs 32-bit guests only)
  --quick              one round of the 64-bit guest
  --by wall|busy       compares the time by the clock (wall, default), or for which the host's busiest thread had a
                       processor: for machines that are busy with other things
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
/** A thread that had a processor for less than this share of the time was kept waiting. */
const BUSY_SHARE = 0.9;

class Options {
  readonly bits: readonly Bits[];
  readonly rounds: number;
  readonly items: readonly string[];
  readonly hosts: readonly HostName[] | undefined;
  readonly by: 'wall' | 'busy';
  readonly memory: number;
  readonly checkout: string;
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
        by: { type: 'string', default: 'wall' },
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
    if (values.by !== 'wall' && values.by !== 'busy') {
      throw new Usage(`--by ${values.by}: wall or busy`);
    }
    this.by = values.by;
    this.memory = number('--memory', values.memory);
    const more = values.lodge.split(' ').filter((word) => word !== '');
    this.checkout = resolve(values.checkout);
    this.lodge = () => lodge(more, this.checkout);
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

async function hostsFor(bits: Bits, options: Options): Promise<Host[]> {
  const wanted: readonly HostName[] = options.hosts ?? ['lodge', 'tcg', 'v86'];
  const makers: readonly (readonly [HostName, () => Host | Promise<Host>])[] = [
    ['lodge', options.lodge],
    ['tcg', () => tcg(options.checkout)],
    ...(bits === 32 ? ([['v86', v86]] as const) : []),
  ];
  const hosts: Host[] = [];
  for (const [name, make] of makers.filter(([name]) => wanted.includes(name))) {
    try {
      hosts.push(await make());
    } catch (error) {
      if (!(error instanceof NotAvailable)) {
        throw error;
      }
      console.log(`Without ${name}: ${error.message}`);
    }
  }
  return hosts;
}

interface HostRounds {
  readonly host: Host;
  readonly starts: Interval[];
  readonly results: GuestResult[];
}

/** What was measured, with the kind of time that is to be compared in front. */
function measured(times: readonly Interval[], by: Options['by']): Measured {
  const wall = times.map((time) => time.wall);
  const busy = times.map((time) => time.busy).filter((value) => value !== undefined);
  return { seconds: by === 'wall' ? wall : busy, wall, busy, checksums: [] };
}

function itemRow(name: string, expected: string | undefined, rounds: readonly HostRounds[], by: Options['by']): Row {
  const kind: ItemKind = programs.system.some((item) => item === name) ? 'system' : 'compute';
  const hosts = rounds.map(({ host, results }): [string, Measured] => {
    const found = results.flatMap(({ items }) => items.filter((item) => item.name === name));
    const times = found.map(({ outside }) => outside);
    const inside = found.map((item) => item.inside);
    return [host.name, { ...measured(times, by), inside, checksums: found.map(({ checksum }) => checksum) }];
  });
  return { name, kind, expected, hosts: Object.fromEntries(hosts) };
}

type Part = (result: GuestResult, start: Interval) => Interval;

function bootRow(name: string, rounds: readonly HostRounds[], by: Options['by'], part: Part): Row {
  const hosts = rounds.map(({ host, results, starts }): [string, Measured] => {
    const busy = starts.map((start) => start.busy).filter((value) => value !== undefined);
    const wall = median(starts.map((start) => start.wall));
    const start = { wall, busy: busy.length === 0 ? undefined : median(busy) };
    const times = results.map((result) => part(result, start));
    return [host.name, measured(times, by)];
  });
  return { name, kind: 'boot', expected: undefined, hosts: Object.fromEntries(hosts) };
}

function less(time: Interval, by: Interval): Interval {
  const busy = time.busy === undefined || by.busy === undefined ? undefined : time.busy - by.busy;
  return { wall: time.wall - by.wall, busy };
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
      starts.push(await startTime(host, start, options.memory));
      results.push(await runGuest(host, boot, PATIENCE));
      console.log(`  round ${round}, ${host.title}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
    }
  }
  return rounds;
}

function rowsOf(guest: BenchGuest, rounds: readonly HostRounds[], { items, by }: Options): Row[] {
  const expected = nativeChecksums(guest, items);
  return [
    ...items.map((name) => itemRow(name, expected?.get(name), rounds, by)),
    bootRow('boot: kernel to userspace', rounds, by, ({ boot }) => boot.kernel),
    bootRow('boot with decompression', rounds, by, ({ boot }, start) => less(boot.all, start)),
    bootRow('boot as the user waits for it', rounds, by, ({ boot }) => boot.all),
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
  const each = rows.flatMap(({ name, hosts }) =>
    Object.entries(hosts).map(([host, found]) => ({ name, host, ...found })),
  );
  const clocks = each.flatMap(({ name, host, wall = [], inside = [] }) => {
    const [outsideSeconds, insideSeconds] = [median(wall), median(inside)];
    return Math.abs(outsideSeconds - insideSeconds) > CLOCK_SECONDS + outsideSeconds * CLOCK_SHARE
      ? [
          `${name} on ${host}: ${insideSeconds.toFixed(2)} s by the guest's clock, ${outsideSeconds.toFixed(2)} s by the host's.`,
        ]
      : [];
  });
  const waited = each.filter(({ wall = [], busy = [] }) => median(busy) < BUSY_SHARE * median(wall) - CLOCK_SECONDS);
  const kept = waited.map(({ name, host }) => `${name} on ${host}`).join(', ');
  const busyMachine = waited.length === 0 ? [] : [`Kept waiting, by other programs or by itself (see --by): ${kept}.`];
  const memory = rounds.map(({ host, results }) => {
    const peaks = results.map(({ peakMemory }) => peakMemory).filter((value) => value !== undefined);
    return peaks.length === 0 ? '' : `${host.title} ${Math.round(Math.max(...peaks) / (1 << 20))} MB`;
  });
  return [
    ...differences,
    ...clocks,
    ...busyMachine,
    `Most memory of the process: ${memory.filter((text) => text !== '').join(', ')}.`,
  ];
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
    const hosts = await hostsFor(bits, options);
    console.log(
      `\n${bits}-bit guest, ${options.memory} MB, one processor, ${options.rounds} rounds in turns, ${options.by} time`,
    );
    for (const { title, version, options: given } of hosts) {
      console.log(`  ${title}: ${version} (${given})`);
    }
    const rounds = await measure(guest, hosts, options);
    const rows = rowsOf(guest, rounds, options);
    console.log(`\n${table(rows, hosts)}\n`);
    for (const text of remarks(rows, rounds)) {
      console.log(text);
    }
    for (const { what, wanted, found } of targets(rows, bits)) {
      const verdict = found === undefined ? 'not measured' : found >= wanted ? 'met' : 'MISSED';
      console.log(`${what}: ${found?.toFixed(2) ?? '–'}, wanted ${wanted}: ${verdict}`);
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
    const { memory, rounds, by } = options;
    writeFileSync(
      options.json,
      `${JSON.stringify({ machine: machine(), memory, rounds, by, guests: report }, null, 2)}\n`,
    );
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
