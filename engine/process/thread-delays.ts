import { closeSync, openSync, readSync } from 'node:fs';
import type { ThreadDelay, ThreadDelays } from '../cpu/stolen-time.ts';

/**
 * What Linux tells of how long threads of this process, able to run, waited for a processor (proc_pid_schedstat(5), the
 * second number). Undefined where there is no such figure: on other systems, and on kernels without CONFIG_SCHED_INFO.
 */
export function threadDelays(): ThreadDelays | undefined {
  if (process.platform !== 'linux') {
    return undefined;
  }
  try {
    const probe = new SchedstatFile('/proc/thread-self/schedstat');
    probe.dispose();
    return probe.valid
      ? {
          own: () => new SchedstatFile('/proc/thread-self/schedstat'),
          of: (threadId) => new SchedstatFile(`/proc/self/task/${threadId}/schedstat`),
        }
      : undefined;
  } catch {
    return undefined; // not there: the kernel does not count
  }
}

/** Stays open: then a look is one call of some microseconds. */
class SchedstatFile implements ThreadDelay {
  readonly #file: number;
  readonly #buffer = Buffer.alloc(80);
  #last = 0;
  /** It has the form that is expected. */
  readonly valid: boolean;

  constructor(path: string) {
    this.#file = openSync(path, 'r');
    this.valid = this.#read() !== undefined;
  }

  /** "Nanoseconds on a processor, nanoseconds of waiting, times on a processor". */
  #read(): number | undefined {
    const length = readSync(this.#file, this.#buffer, 0, this.#buffer.length, 0);
    const fields = this.#buffer.toString('latin1', 0, length).trim().split(' ');
    const waited = Number(fields[1]);
    return fields.length === 3 && Number.isSafeInteger(waited) ? waited : undefined;
  }

  nanos(): number {
    try {
      this.#last = Math.max(this.#last, this.#read() ?? 0);
    } catch {
      // The thread has ended: nothing is added any more.
    }
    return this.#last;
  }

  dispose(): void {
    closeSync(this.#file);
  }
}
