import { performance } from 'node:perf_hooks';
import { AlarmQueue } from './alarm-queue.ts';
import type { Nanos, WallClock } from './clock.ts';

/** The calendar time at which machines in virtual time are switched on: 2026-01-01T00:00:00Z. */
export const VIRTUAL_EPOCH_MILLIS = Date.UTC(2026, 0, 1);

/** A clock that a machine runs by. */
export interface MachineClock extends AlarmQueue {
  readonly wall: WallClock;
  /** Every processor waits until `deadline` (undefined: nothing is due). Virtual time jumps there; host time waits. */
  readonly isVirtual: boolean;
}

/** Follows the host's monotonic clock from the moment of construction. */
export class HostMachineClock extends AlarmQueue implements MachineClock {
  readonly isVirtual = false;
  readonly wall: WallClock = { epochMillis: () => Date.now() };

  constructor() {
    const start = performance.now();
    super(() => Math.round((performance.now() - start) * 1e6));
  }
}

/** Follows executed instructions: the same input gives the same run. */
export class VirtualMachineClock extends AlarmQueue implements MachineClock {
  readonly isVirtual = true;
  readonly wall: WallClock = { epochMillis: () => VIRTUAL_EPOCH_MILLIS + Math.floor(this.now() / 1e6) };
  readonly nanosPerInstruction: number;
  #skipped: Nanos = 0;

  /** `executed` counts the instructions carried out so far by all processors together. */
  constructor(executed: () => number, nanosPerInstruction: number) {
    super(() => this.#skipped + executed() * nanosPerInstruction);
    this.nanosPerInstruction = nanosPerInstruction;
  }

  /** Jumps to `deadline`, while no processor runs. */
  skipTo(deadline: Nanos): void {
    this.#skipped += Math.max(0, deadline - this.now());
  }
}
