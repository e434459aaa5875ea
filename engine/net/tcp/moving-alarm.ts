import type { Disposable } from '../../base/disposable.ts';
import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';

/**
 * An alarm that is moved to a later time again and again, as for every segment that is acknowledged. The clock's own
 * alarm stays where it is as long as it is early enough, because moving it costs too much.
 */
export class MovingAlarm implements Disposable {
  readonly #clock: Clock;
  readonly #alarm: Alarm;
  #deadline: Nanos | undefined;

  constructor(clock: Clock, onFire: () => void) {
    this.#clock = clock;
    this.#alarm = clock.createAlarm(() => {
      const deadline = this.#deadline;
      if (deadline === undefined) {
        return;
      }
      if (deadline > clock.now()) {
        this.#alarm.set(deadline);
        return;
      }
      this.#deadline = undefined;
      onFire();
    });
  }

  get isSet(): boolean {
    return this.#deadline !== undefined;
  }

  /** Fires `delay` nanoseconds from now. */
  set(delay: Nanos): void {
    const deadline = this.#clock.now() + delay;
    this.#deadline = deadline;
    const set = this.#alarm.deadline;
    if (set === undefined || set > deadline) {
      this.#alarm.set(deadline);
    }
  }

  cancel(): void {
    this.#deadline = undefined;
  }

  dispose(): void {
    this.#deadline = undefined;
    this.#alarm.dispose();
  }
}
