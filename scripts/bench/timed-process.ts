import { type ChildProcess, spawn } from 'node:child_process';

/** Milliseconds on the host's monotonic clock. */
export function hostNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** A line that a process wrote, with the moment when its last byte arrived. */
export interface TimedLine {
  readonly text: string;
  readonly at: number;
}

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
  readonly started: number;
  readonly lines: TimedLine[] = [];
  errors = '';
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;
  #partial = '';
  #watchers: (() => void)[] = [];

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    this.started = hostNow();
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

  /** The first line that fits `pattern`, there already or to come; a prompt counts as a line as soon as it fits. */
  async line(pattern: RegExp, seconds: number): Promise<TimedLine> {
    const deadline = hostNow() + seconds * 1000;
    for (;;) {
      const found = this.lines.find(({ text }) => pattern.test(text));
      if (found !== undefined) {
        return found;
      }
      if (pattern.test(this.#partial)) {
        return { text: this.#partial, at: hostNow() };
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
      this.lines.push({ text: text.replace(/\r+$/, ''), at });
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
