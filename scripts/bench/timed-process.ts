import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** Milliseconds on the host's monotonic clock. */
export function hostNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** A moment in the life of a process. */
export interface Moment {
  /** Milliseconds on the host's monotonic clock. */
  readonly at: number;
  /** Seconds for which each of its threads has had a processor until then, by thread number; not on every system. */
  readonly threads: ReadonlyMap<string, number> | undefined;
}

/** Seconds between two moments. */
export interface Interval {
  readonly wall: number;
  /** Seconds for which the busiest thread had a processor, which other programs on the machine hardly change. */
  readonly busy: number | undefined;
}

export function interval(from: Moment, to: Moment): Interval {
  const before = from.threads;
  const spent = [...(to.threads ?? [])].map(([thread, seconds]) => seconds - (before?.get(thread) ?? 0));
  const busy = before === undefined || spent.length === 0 ? undefined : Math.max(...spent);
  return { wall: (to.at - from.at) / 1000, busy };
}

/** Linux, Documentation/scheduler/sched-stats.rst: the first number of schedstat is nanoseconds on a processor. */
export function threadTimes(pid: number | undefined): ReadonlyMap<string, number> | undefined {
  const folder = `/proc/${pid}/task`;
  const times = new Map<string, number>();
  for (const thread of contentOr([], () => readdirSync(folder))) {
    const text = contentOr('', () => readFileSync(`${folder}/${thread}/schedstat`, 'utf8'));
    // Empty when the thread ended just now: it is not the busiest.
    if (text !== '') {
      times.set(thread, Number(text.split(' ')[0]) / 1e9);
    }
  }
  return times.size === 0 ? undefined : times;
}

/** `otherwise` where there is nothing to read. */
function contentOr<T>(otherwise: T, read: () => T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

/** A line that a process wrote, with the moment when its last byte arrived. */
export interface TimedLine extends Moment {
  readonly text: string;
}

/** Lines between which something is measured: only for these the times of threads are looked up. */
const MARKERS = /LODGE-BENCH|Linux version /;

/** A guest that did not say what it should; the message has its last words. */
export class GuestFailure extends Error {
  override readonly name = 'GuestFailure';
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) {
    child.kill('SIGKILL');
  }
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => process.exit(1));
}

/**
 * A process whose lines on standard output, a guest's serial port, are stamped with the host's time as they come. It
 * does not outlive this one.
 */
export class TimedProcess {
  readonly started: Moment;
  readonly lines: TimedLine[] = [];
  errors = '';
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;
  #partial = '';
  #watchers: (() => void)[] = [];

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    this.started = { at: hostNow(), threads: new Map() };
    this.#child = spawn(command, args, { env });
    running.add(this.#child);
    this.#child.stdout?.on('data', (bytes: Buffer) => this.#receive(bytes));
    this.#child.stderr?.on('data', (bytes: Buffer) => {
      this.errors += bytes.toString();
    });
    this.#child.stdin?.on('error', () => {});
    this.ended = new Promise((resolve) => {
      const end = (code: number) => {
        running.delete(this.#child);
        resolve(code);
        this.#notify();
      };
      this.#child.on('error', (error) => {
        this.errors += error.message;
        end(127);
      });
      this.#child.on('close', (code) => end(code ?? 128));
    });
  }

  get running(): boolean {
    return running.has(this.#child);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  send(text: string): void {
    this.#child.stdin?.write(text);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** The first whole line that fits `pattern`, there already or to come. */
  async line(pattern: RegExp, seconds: number): Promise<TimedLine> {
    return await this.#until(pattern, seconds, () => this.lines.find(({ text }) => pattern.test(text)));
  }

  /** Waits for a prompt: text that fits `pattern` and stands last, without an end of line. */
  async prompt(pattern: RegExp, seconds: number): Promise<void> {
    await this.#until(pattern, seconds, () => (pattern.test(this.#partial) ? true : undefined));
  }

  async #until<T>(pattern: RegExp, seconds: number, look: () => T | undefined): Promise<T> {
    const deadline = hostNow() + seconds * 1000;
    for (;;) {
      const found = look();
      if (found !== undefined) {
        return found;
      }
      if (!this.running || hostNow() > deadline) {
        const what = this.running ? `did not come within ${seconds} s` : 'did not come before the process ended';
        const last = [...this.lines.slice(-15).map(({ text }) => text), this.#partial].join('\n');
        throw new GuestFailure(`${pattern} ${what}\n${this.errors}\n${last}`);
      }
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#watchers.push(resolve);
        timer = setTimeout(resolve, Math.max(1, deadline - hostNow()));
      });
      clearTimeout(timer);
    }
  }

  #receive(bytes: Buffer): void {
    const at = hostNow();
    const parts = (this.#partial + bytes.toString('latin1')).split('\n');
    this.#partial = parts.pop() ?? '';
    for (const text of parts) {
      const threads = MARKERS.test(text) ? threadTimes(this.pid) : undefined;
      this.lines.push({ text: text.replace(/\r+$/, ''), at, threads });
    }
    this.#notify();
  }

  #notify(): void {
    const watchers = this.#watchers;
    this.#watchers = [];
    for (const watcher of watchers) {
      watcher();
    }
  }
}
