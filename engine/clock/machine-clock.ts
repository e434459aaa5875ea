import { performance } from 'node:perf_hooks';
import { AlarmQueue } from './alarm-queue.ts';
import type { Nanos, WallClock } from './clock.ts';

/** The calendar time at which machines in virtual time are switched on: 2026-01-01T00:00:00Z. */
export const VIRTUAL_EPOCH_MILLIS = Date.UTC(2026, 0, 1);

/** A clock that a machine runs by. */
export interface MachineClock extends AlarmQueue {
  readonly wall: WallClock;
  /** Time is a function of what is executed, not of the host's clock. */
  readonly isVirtual: boolean;
  /**
   * Every processor waits, for `until` at the latest (undefined: for something from outside). True when it is `until`
   * now, because nothing made it necessary to wait for real.
   */
  wait(until: Nanos | undefined): boolean;
  /** Processors are about to run, whether they have waited or not. */
  endWait(): void;
  /** Stops time: `now` stays what it is and no alarm becomes due until `resume`. Pausing twice is pausing once. */
  pause(): void;
  resume(): void;
  /** Makes it `now`: for a machine that goes on from a saved state. Alarms are set afterwards. */
  startAt(now: Nanos): void;
}

/**
 * Follows the host's monotonic clock from the moment of construction, less the time that it was paused, whatever the
 * machine gets of the host's processors. For machines whose processors have clocks that do so, too.
 */
export class HostMachineClock extends AlarmQueue implements MachineClock {
  readonly isVirtual = false;
  readonly wall: WallClock = { epochMillis: () => Date.now() };
  readonly #host: () => number;
  /** Host time at which guest time was zero, in milliseconds. */
  #start: number;
  #pausedAt: Nanos | undefined;

  /** `hostMillis` is replaced in tests. */
  constructor(hostMillis: () => number = () => performance.now()) {
    super(() => this.#pausedAt ?? Math.round((this.#host() - this.#start) * 1e6));
    this.#host = hostMillis;
    this.#start = hostMillis();
  }

  wait(): boolean {
    return false;
  }

  endWait(): void {}

  pause(): void {
    this.#pausedAt ??= this.now();
  }

  resume(): void {
    if (this.#pausedAt !== undefined) {
      this.#start = this.#host() - this.#pausedAt / 1e6;
      this.#pausedAt = undefined;
    }
  }

  startAt(now: Nanos): void {
    this.#start = this.#host() - now / 1e6;
    if (this.#pausedAt !== undefined) {
      this.#pausedAt = now;
    }
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

  /** Nothing executes while the machine is paused, so time stands still by itself. */
  pause(): void {}

  resume(): void {}

  startAt(now: Nanos): void {
    this.#skipped += now - this.now();
  }

  wait(until: Nanos | undefined): boolean {
    if (until !== undefined) {
      this.#skipped += Math.max(0, until - this.now());
    }
    return until !== undefined;
  }

  endWait(): void {}
}
