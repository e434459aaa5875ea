import type { Disposable } from '../base/disposable.ts';

/** Nanoseconds since the machine was powered on (a safe integer: 2^53 ns are 104 days). */
export type Nanos = number;

/** A single-shot timer. Setting it again moves it. `onFire` runs in the machine thread, never inside `set`. */
export interface Alarm extends Disposable {
  /** Fires at the first moment at which `clock.now() >= deadline`; a deadline in the past fires as soon as possible. */
  set(deadline: Nanos): void;
  cancel(): void;
  /** The pending deadline, or undefined when the alarm is not set. */
  readonly deadline: Nanos | undefined;
}

/** What devices know of time. It stands still while the machine is paused and is saved with it. */
export interface Clock {
  now(): Nanos;
  createAlarm(onFire: () => void): Alarm;
}

/** Calendar time for the RTC: milliseconds since 1970-01-01T00:00:00Z. In virtual time it advances with the clock. */
export interface WallClock {
  epochMillis(): number;
}
