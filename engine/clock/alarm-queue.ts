import type { Alarm, Clock, Nanos } from './clock.ts';

class QueuedAlarm implements Alarm {
  deadline: Nanos | undefined = undefined;
  /** Order of setting: alarms with equal deadlines fire in the order in which they were set. */
  order = 0;
  readonly #queue: AlarmQueue;
  readonly onFire: () => void;

  constructor(queue: AlarmQueue, onFire: () => void) {
    this.#queue = queue;
    this.onFire = onFire;
  }

  set(deadline: Nanos): void {
    this.#queue.schedule(this, deadline);
  }

  cancel(): void {
    this.#queue.unschedule(this);
  }

  dispose(): void {
    this.cancel();
  }
}

/**
 * A clock whose alarms wait in one queue. The time comes from `source`; the run loop asks for `nextDeadline`
 * and calls `fireDue` when it is reached.
 */
export class AlarmQueue implements Clock {
  readonly #source: () => Nanos;
  readonly #pending: QueuedAlarm[] = [];
  #order = 0;
  /** Called whenever the earliest deadline moves nearer, so that a running CPU can be given a shorter slice. */
  onEarlier: ((deadline: Nanos) => void) | undefined;

  constructor(source: () => Nanos) {
    this.#source = source;
  }

  now(): Nanos {
    return this.#source();
  }

  createAlarm(onFire: () => void): Alarm {
    return new QueuedAlarm(this, onFire);
  }

  get pendingCount(): number {
    return this.#pending.length;
  }

  /** The earliest pending deadline, or undefined when nothing is scheduled. */
  nextDeadline(): Nanos | undefined {
    return this.#pending[0]?.deadline;
  }

  /** Fires every alarm that is due now, including those set by alarms that fire. */
  fireDue(): void {
    for (;;) {
      const first = this.#pending[0];
      if (first === undefined || first.deadline === undefined || first.deadline > this.now()) {
        return;
      }
      this.#pending.shift();
      first.deadline = undefined;
      first.onFire();
    }
  }

  schedule(alarm: QueuedAlarm, deadline: Nanos): void {
    this.unschedule(alarm);
    alarm.deadline = deadline;
    alarm.order = this.#order++;
    let index = this.#pending.length;
    for (; index > 0; index--) {
      const before = this.#pending[index - 1];
      if (before === undefined || before.deadline === undefined || before.deadline <= deadline) {
        break;
      }
    }
    this.#pending.splice(index, 0, alarm);
    if (index === 0) {
      this.onEarlier?.(deadline);
    }
  }

  unschedule(alarm: QueuedAlarm): void {
    if (alarm.deadline !== undefined) {
      this.#pending.splice(this.#pending.indexOf(alarm), 1);
      alarm.deadline = undefined;
    }
  }
}

/** A clock that moves only when told to: for tests and for virtual time. */
export class ManualClock extends AlarmQueue {
  #now: Nanos = 0;

  constructor() {
    super(() => this.#now);
  }

  /** Moves time to `to`, stopping at every alarm on the way so that it sees its own deadline as the present. */
  advanceTo(to: Nanos): void {
    for (;;) {
      const next = this.nextDeadline();
      if (next === undefined || next > to) {
        break;
      }
      this.#now = Math.max(this.#now, next);
      this.fireDue();
    }
    this.#now = Math.max(this.#now, to);
  }

  advance(by: Nanos): void {
    this.advanceTo(this.#now + by);
  }
}
