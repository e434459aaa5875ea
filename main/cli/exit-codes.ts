import type { RunOutcome } from '../../engine/process/run-machine.ts';

export const EXIT_POWERED_OFF = 0;
/** Anything that has no code of its own. */
export const EXIT_FAILURE = 1;
/** Bad usage or input: one line on standard error says which. */
export const EXIT_USAGE = 2;
export const EXIT_TIMEOUT = 3;
export const EXIT_GUEST_CRASHED = 4;

/** The exit code of `lodge run`. A guest with the debug-exit port chooses `value * 2 + 1` itself. */
export function exitCodeOf(outcome: RunOutcome): number {
  switch (outcome.kind) {
    case 'powered-off':
      return EXIT_POWERED_OFF;
    case 'debug-exit':
      return ((outcome.code ?? 0) * 2 + 1) & 0xff;
    case 'timeout':
      return EXIT_TIMEOUT;
    case 'guest-crashed':
      return EXIT_GUEST_CRASHED;
    case 'quit':
    case 'reset':
      return EXIT_FAILURE;
  }
}
