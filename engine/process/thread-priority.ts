import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { constants, setPriority } from 'node:os';

/**
 * Linux gives each thread a priority of its own. Threads that compile stand back behind the one that runs the machine:
 * where processors are few they would take a third of its time. Other systems have no means for it from here, and
 * nothing depends on it.
 */
const isLinux = process.platform === 'linux';

/** Makes the calling thread stand back. */
export function lowerOwnPriority(): void {
  if (isLinux) {
    lower(readlinkSync('/proc/thread-self').split('/').at(-1) ?? '');
  }
}

/** Makes V8's own threads of this process stand back: those that optimize code and collect garbage. */
export function lowerWorkersPriority(): void {
  if (!isLinux) {
    return;
  }
  for (const thread of readdirSync('/proc/self/task')) {
    if (nameOf(thread).startsWith('V8Worker')) {
      lower(thread);
    }
  }
}

function nameOf(thread: string): string {
  try {
    return readFileSync(`/proc/self/task/${thread}/comm`, 'utf8');
  } catch {
    return ''; // it has ended
  }
}

function lower(thread: string): void {
  try {
    setPriority(Number(thread), constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // It has ended, or the host forbids it: then it competes as before.
  }
}
