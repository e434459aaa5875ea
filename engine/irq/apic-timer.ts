import type { Alarm, Clock, Nanos } from '../clock/clock.ts';
import type { StateReader } from '../devices/state.ts';

/** Timer modes in bits 18:17 of the timer's LVT entry (SDM 3A, 11.5.4). */
export const TIMER_ONE_SHOT = 0;
export const TIMER_PERIODIC = 1;
export const TIMER_TSC_DEADLINE = 2;

/**
 * The shortest time between two alarms of a periodic timer. A guest that asks for more gets every n-th tick: the count
 * register is exact, but the host is not kept busy with interrupts that no guest could serve.
 */
const SHORTEST_PERIOD_NANOS = 20_000;

/** The timer of a local APIC. Counts are computed from the clock; only expiry costs an alarm. */
export class ApicTimer {
  readonly #clock: Clock;
  readonly #alarm: Alarm;
  readonly #busCycleNanos: number;
  readonly #tscToNanos: (tsc: bigint) => Nanos;
  readonly #expired: () => void;
  mode = TIMER_ONE_SHOT;
  divideConfiguration = 0;
  initialCount = 0;
  /** When `initialCount` was loaded; meaningless while that is 0. */
  #loadedAt: Nanos = 0;
  /** One tick at the present divider. */
  #tickNanos: number;
  /** IA32_TSC_DEADLINE; 0: disarmed. */
  #tscDeadline = 0n;

  /** `expired` is called at each expiry. `busCycleNanos` is the period of the clock before the divider. */
  constructor(clock: Clock, busCycleNanos: number, tscToNanos: (tsc: bigint) => Nanos, expired: () => void) {
    this.#clock = clock;
    this.#busCycleNanos = busCycleNanos;
    this.#tickNanos = busCycleNanos * 2;
    this.#tscToNanos = tscToNanos;
    this.#expired = expired;
    this.#alarm = clock.createAlarm(() => this.#fire());
  }

  get tscDeadline(): bigint {
    return this.#tscDeadline;
  }

  /** The current-count register. */
  currentCount(): number {
    if (this.initialCount === 0 || this.mode === TIMER_TSC_DEADLINE) {
      return 0;
    }
    const ticks = Math.floor((this.#clock.now() - this.#loadedAt) / this.#tickNanos);
    if (this.mode === TIMER_PERIODIC) {
      return this.initialCount - (ticks % this.initialCount);
    }
    return ticks >= this.initialCount ? 0 : this.initialCount - ticks;
  }

  writeInitialCount(count: number): void {
    if (this.mode === TIMER_TSC_DEADLINE) {
      return;
    }
    this.initialCount = count;
    this.#loadedAt = this.#clock.now();
    this.#arm();
  }

  /** Bits 0, 1 and 3: divide by 2, 4, 8, 16, 32, 64, 128, 1. A running count goes on from where it is. */
  writeDivide(value: number): void {
    const rest = this.currentCount();
    this.divideConfiguration = value & 0x0b;
    this.#tickNanos = this.#computeTick();
    if (rest > 0) {
      this.#loadedAt = this.#clock.now() - (this.initialCount - rest) * this.#tickNanos;
      this.#arm();
    }
  }

  #computeTick(): number {
    const code = (this.divideConfiguration & 3) | ((this.divideConfiguration & 8) >> 1);
    return this.#busCycleNanos * (1 << ((code + 1) & 7));
  }

  /** The mode bits of the LVT entry were written. Entering or leaving TSC-deadline mode disarms the timer. */
  setMode(mode: number): void {
    if (mode === this.mode) {
      return;
    }
    if (mode === TIMER_TSC_DEADLINE || this.mode === TIMER_TSC_DEADLINE) {
      this.initialCount = 0;
      this.#tscDeadline = 0n;
    }
    const expiredOnce = this.mode === TIMER_ONE_SHOT && this.initialCount !== 0 && this.currentCount() === 0;
    this.mode = mode;
    if (expiredOnce) {
      // A one-shot that is over does not come back to life as a periodic timer.
      this.initialCount = 0;
    }
    this.#arm();
  }

  /** A write to IA32_TSC_DEADLINE; ignored in the other modes. */
  writeTscDeadline(tsc: bigint): void {
    if (this.mode !== TIMER_TSC_DEADLINE) {
      return;
    }
    this.#tscDeadline = tsc;
    this.#arm();
  }

  /** The time-stamp counter was written: the deadline stands for another moment now. */
  tscChanged(): void {
    if (this.#tscDeadline !== 0n) {
      this.#arm();
    }
  }

  #arm(): void {
    this.#alarm.cancel();
    const now = this.#clock.now();
    if (this.mode === TIMER_TSC_DEADLINE) {
      if (this.#tscDeadline !== 0n) {
        const deadline = Math.min(Math.ceil(this.#tscToNanos(this.#tscDeadline)), Number.MAX_SAFE_INTEGER);
        if (deadline <= now) {
          this.#fire();
        } else {
          this.#alarm.set(deadline);
        }
      }
      return;
    }
    if (this.initialCount === 0) {
      return;
    }
    const period = this.initialCount * this.#tickNanos;
    if (this.mode === TIMER_PERIODIC) {
      // The first end of a period that is in the future; a late alarm never makes the next one late.
      const earliest = period < SHORTEST_PERIOD_NANOS ? now + SHORTEST_PERIOD_NANOS - period : now;
      const periods = Math.floor((earliest - this.#loadedAt) / period) + 1;
      this.#alarm.set(this.#loadedAt + periods * period);
    } else {
      const deadline = this.#loadedAt + period;
      if (deadline > now) {
        this.#alarm.set(deadline);
      }
    }
  }

  #fire(): void {
    if (this.mode === TIMER_TSC_DEADLINE) {
      this.#tscDeadline = 0n;
    } else if (this.mode === TIMER_PERIODIC) {
      this.#arm();
    }
    this.#expired();
  }

  /** Another counts on for it, until `apply`. */
  suspend(): void {
    this.#alarm.cancel();
  }

  reset(): void {
    this.#alarm.cancel();
    this.mode = TIMER_ONE_SHOT;
    this.divideConfiguration = 0;
    this.#tickNanos = this.#computeTick();
    this.initialCount = 0;
    this.#loadedAt = 0;
    this.#tscDeadline = 0n;
  }

  save() {
    return {
      mode: this.mode,
      divideConfiguration: this.divideConfiguration,
      initialCount: this.initialCount,
      loadedAt: this.#loadedAt,
      tscDeadline: this.#tscDeadline,
      alarm: this.#alarm.deadline,
    };
  }

  static parse(reader: StateReader): ReturnType<ApicTimer['save']> {
    return {
      mode: reader.int('mode', 0, 3),
      divideConfiguration: reader.int('divideConfiguration', 0, 0x0b) & 0x0b,
      initialCount: reader.u32('initialCount'),
      loadedAt: reader.nanos('loadedAt'),
      tscDeadline: reader.u64('tscDeadline'),
      alarm: reader.optionalNanos('alarm'),
    };
  }

  apply(state: ReturnType<ApicTimer['save']>): void {
    this.mode = state.mode;
    this.divideConfiguration = state.divideConfiguration;
    this.#tickNanos = this.#computeTick();
    this.initialCount = state.initialCount;
    this.#loadedAt = state.loadedAt;
    this.#tscDeadline = state.tscDeadline;
    this.#alarm.cancel();
    if (state.alarm !== undefined) {
      this.#alarm.set(state.alarm);
    }
  }

  dispose(): void {
    this.#alarm.dispose();
  }
}
