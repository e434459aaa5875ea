/** One boot of the benchmark's guest under one host, and what it says. */
import { readFileSync } from 'node:fs';
import type { Boot, Host } from './hosts.ts';
import { GuestFailure, type TimedLine, type TimedProcess } from './timed-process.ts';

/** A program that ran to its end; seconds. */
export interface ItemResult {
  readonly name: string;
  /** Between its markers on the serial port, by the host's clock. */
  readonly outside: number;
  /** By the guest's clock. */
  readonly inside: number;
  readonly checksum: string;
}

/** Seconds by the host's clock. */
export interface BootResult {
  /** From the start of the process to the kernel's first line: the host's own start, and decompression. */
  readonly toKernel: number;
  /** From the kernel's first line to the first program. */
  readonly kernel: number;
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
      results.push({ name, outside: (line.at - begun.at) / 1000, inside: Number(seconds), checksum });
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
    // Setup code may have written before; the line follows decompression at once.
    const first = guest.lines.find(({ text }) => text.includes('Linux version '))?.at ?? userspace.at;
    const flags =
      guest.lines
        .find(({ text }) => text.startsWith('LODGE-BENCH cpu '))
        ?.text.split(' ')
        .slice(2) ?? [];
    return {
      boot: { toKernel: (first - guest.started) / 1000, kernel: (userspace.at - first) / 1000 },
      items: itemResults(guest.lines),
      flags: flags.filter((flag) => flag !== ''),
      peakMemory,
    };
  } finally {
    guest.kill();
    await guest.ended;
  }
}

/** Seconds from the start of the process to the first instruction of a guest. */
export async function startSeconds(host: Host, kernel: string, memory: number): Promise<number> {
  const guest = host.start({ kernel, memory });
  try {
    const { at } = await guest.line(/LODGE-BENCH start/, 60);
    return (at - guest.started) / 1000;
  } finally {
    guest.kill();
    await guest.ended;
  }
}
