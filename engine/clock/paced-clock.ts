import { performance } from 'node:perf_hooks';
import { AlarmQueue } from './alarm-queue.ts';
import type { Nanos, WallClock } from './clock.ts';
import type { MachineClock } from './machine-clock.ts';

/** While processors run, time moves on by no more than this between two looks at it: a slice and a half, in nanoseconds. */
export const LONGEST_STEP = 3_000_000;
/** Time that is behind is caught up with over a period of about this length: nanoseconds. */
const CATCH_UP = 500_000_000;
/** So much of the host's time is added to it at most, so that guests still get something done from tick to tick. */
const FASTEST_CATCH_UP = 2;
/** Time is never behind the host's by more than this: nanoseconds. */
export const GREATEST_LAG = 10_000_000_000;

/**
 * Follows the host's monotonic clock, but does not run on while the host withholds its processors from the machine: a
 * guest whose timer ticks 250 times a second would see the clock move by 100 ms and one tick. So a machine that the host
 * had stopped for a while finds that little time has passed, and then catches up: the further time is behind, the faster
 * it goes, up to three times as fast as the host's, and what processors would have waited for anyway comes at once. To
 * the guest, processors that get a third of the host's time are three times slower and nothing else. All its clocks
 * follow from this one and agree. Who gets less falls behind until it waits for something, or by ten seconds.
 *
 * Where nobody withholds anything, time is the host's to the nanosecond.
 */
export class PacedMachineClock extends AlarmQueue implements MachineClock {
  readonly isVirtual = false;
  readonly wall: WallClock;
  readonly #host: () => number;
  /** Host time at which guest time would have been zero if it had never been behind, in milliseconds. */
  #start: number;
  /** Nanoseconds between `#start` and the last look. */
  #seen = 0;
  /** Nanoseconds that time is behind. */
  #lag = 0;
  #pausedAt: Nanos | undefined;
  /** Processors wait for this moment at the latest; undefined: they run. */
  #waitingFor: Nanos | undefined;

  /** `hostMillis` and `epochMillis` are replaced in tests. */
  constructor(hostMillis: () => number = () => performance.now(), epochMillis: () => number = () => Date.now()) {
    super(() => this.#look());
    this.#host = hostMillis;
    this.#start = hostMillis();
    // A guest that takes its time of day from here is not to be ahead once it has caught up.
    this.wall = { epochMillis: () => epochMillis() - this.lag / 1e6 };
  }

  /** Nanoseconds that time is behind the host's. */
  get lag(): Nanos {
    this.#look();
    return this.#lag;
  }

  #look(): Nanos {
    if (this.#pausedAt !== undefined) {
      return this.#pausedAt;
    }
    const host = (this.#host() - this.#start) * 1e6;
    const before = this.#seen - this.#lag;
    const elapsed = host - this.#seen;
    this.#seen = host;
    const waited = this.#waitingFor === undefined ? 0 : Math.max(0, this.#waitingFor - before);
    const withheld = elapsed - waited - LONGEST_STEP;
    if (withheld > 0) {
      this.#lag += withheld;
    } else if (this.#lag > 0 && elapsed > 0) {
      const speed = Math.min(FASTEST_CATCH_UP, this.#lag / CATCH_UP);
      this.#lag -= Math.min(this.#lag, elapsed * speed, -withheld);
    }
    this.#lag = Math.min(this.#lag, GREATEST_LAG);
    return Math.round(host - this.#lag);
  }

  wait(until: Nanos | undefined): boolean {
    const room = (until ?? Number.POSITIVE_INFINITY) - this.#look();
    this.#lag -= Math.min(this.#lag, Math.max(0, room));
    this.#waitingFor = until ?? Number.POSITIVE_INFINITY;
    return until !== undefined && this.#look() >= until;
  }

  endWait(): void {
    this.#look();
    this.#waitingFor = undefined;
  }

  pause(): void {
    this.#pausedAt ??= this.#look();
  }

  resume(): void {
    if (this.#pausedAt !== undefined) {
      const now = this.#pausedAt;
      this.#pausedAt = undefined;
      this.#standAt(now);
    }
  }

  startAt(now: Nanos): void {
    this.#standAt(now);
    if (this.#pausedAt !== undefined) {
      this.#pausedAt = now;
    }
  }

  /** Makes it `now`, with nothing to catch up with. */
  #standAt(now: Nanos): void {
    this.#start = this.#host() - now / 1e6;
    this.#seen = now;
    this.#lag = 0;
  }
}
