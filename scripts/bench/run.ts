/** One boot of the benchmark's guest under one host, and what it says. */
import { readFileSync } from 'node:fs';
import type { Boot, Host } from './hosts.ts';
import { GuestFailure, type Interval, interval, type TimedLine, type TimedProcess } from './timed-process.ts';

/** A program that ran to its end. */
export interface ItemResult {
  readonly name: string;
  /** Between its markers on the serial port. */
  readonly outside: Interval;
  /** Seconds by the guest's clock. */
  readonly inside: number;
  readonly checksum: string;
}

export interface BootResult {
  /** From the start of the process to the first program. */
  readonly all: Interval;
  /** From the kernel's first line to the first program. */
  readonly kernel: Interval;
}

export interface GuestResult {
  readonly boot: BootResult;
  readonly items: readonly ItemResult[];
  /** The processor's features as Linux shows them. */
  readonly flags: readonly string[];
  /** The most memory that the host's process held, in bytes; undefined where the system does not tell. */
  readonly peakMemory: number | undefined;
}

const BEGIN = /LODGE-BENCH begin (\S+)/;
const END = /LODGE-BENCH end (\S+) seconds=([\d.]+) checksum=(\w+)/;

/** Pairs of begin and end among the lines of a guest's serial port. */
export function itemResults(lines: readonly TimedLine[]): ItemResult[] {
  const results: ItemResult[] = [];
  let begun: TimedLine | undefined;
  for (const line of lines) {
    if (BEGIN.test(line.text)) {
      begun = line;
    }
    const [, name, seconds, checksum] = END.exec(line.text) ?? [];
    if (name !== undefined && checksum !== undefined && begun !== undefined && BEGIN.exec(begun.text)?.[1] === name) {
      results.push({ name, outside: interval(begun, line), inside: Number(seconds), checksum });
      begun = undefined;
    }
  }
  return results;
}

/** Bytes of memory of a process, now or at most. Linux only. */
export function processMemory(pid: number | undefined, which: 'VmRSS' | 'VmHWM'): number | undefined {
  try {
    const kilobytes = new RegExp(`^${which}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    return undefined;
  }
}

/**
 * Boots, waits until all programs have run, and ends the machine.
 * @param watch is given the process, to look at it meanwhile
 */
export async function runGuest(
  host: Host,
  boot: Boot,
  seconds: number,
  watch: (guest: TimedProcess) => void = () => {},
): Promise<GuestResult> {
  const guest = host.start(boot);
  try {
    watch(guest);
    const userspace = await guest.line(/LODGE-BENCH userspace|Kernel panic/, seconds);
    const last = await guest.line(/LODGE-BENCH (done|failed)|Kernel panic/, seconds);
    if (!last.text.includes('LODGE-BENCH done')) {
      throw new GuestFailure(`${host.title}: ${last.text}\n${guest.errors}`);
    }
    const peakMemory = processMemory(guest.pid, 'VmHWM');
    // Setup code may write before; this line follows decompression at once.
    const first = guest.lines.find(({ text }) => text.includes('Linux version ')) ?? userspace;
    const flags =
      guest.lines
        .find(({ text }) => text.startsWith('LODGE-BENCH cpu '))
        ?.text.split(' ')
        .slice(2) ?? [];
    return {
      boot: { all: interval(guest.started, userspace), kernel: interval(first, userspace) },
      items: itemResults(guest.lines),
      flags: flags.filter((flag) => flag !== ''),
      peakMemory,
    };
  } finally {
    guest.kill();
    await guest.ended;
  }
}

/** From the start of the process to the first instruction of a guest. */
export async function startTime(host: Host, kernel: string, memory: number): Promise<Interval> {
  const guest = host.start({ kernel, memory });
  try {
    return interval(guest.started, await guest.line(/LODGE-BENCH start/, 60));
  } finally {
    guest.kill();
    await guest.ended;
  }
}
