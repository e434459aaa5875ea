import type { InterruptLine } from './line.ts';

/**
 * One input that several devices pull, as PCI interrupt lines are: asserted while at least one of them asserts it.
 * The count is not saved: each device sets its own level again when it loads.
 */
export class SharedLine {
  readonly #target: InterruptLine;
  #asserting = 0;

  constructor(target: InterruptLine) {
    this.#target = target;
  }

  get asserted(): boolean {
    return this.#asserting > 0;
  }

  /** A new connection to the line; each device (and each of its pins) takes its own. */
  connect(): InterruptLine {
    let mine = false;
    return {
      set: (asserted) => {
        if (asserted === mine) {
          return;
        }
        mine = asserted;
        this.#asserting += asserted ? 1 : -1;
        // Only the first assertion and the last release move the line.
        if (asserted ? this.#asserting === 1 : this.#asserting === 0) {
          this.#target.set(asserted);
        }
      },
    };
  }
}
