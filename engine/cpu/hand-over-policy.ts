import type { Nanos } from '../clock/clock.ts';

/** The shortest stretch: the instruction that was refused, and what is left of its block. */
const SHORTEST = 64;
const LONGEST = 4_000_000;
/** KVM has to run on for so long for its refusals to count as rare. */
const RARE_NANOS = 10_000_000;
const GROWTH = 4;

/**
 * How many instructions the software processor carries out where KVM gave up. Once: just about the refused one. When KVM
 * gives up again and again in a stretch of code, the stretch stays in software, for longer each time; it shortens as
 * soon as KVM gets along.
 */
export class HandOverPolicy {
  #stretch = SHORTEST;
  #handedBack: Nanos | undefined;
  /** How often KVM gave up. */
  count = 0;

  /** KVM gave up at `now`: how many instructions to carry out. */
  gaveUp(now: Nanos): number {
    this.count++;
    if (this.#handedBack !== undefined && now - this.#handedBack < RARE_NANOS) {
      this.#stretch = Math.min(LONGEST, this.#stretch * GROWTH);
    } else {
      this.#stretch = Math.max(SHORTEST, Math.floor(this.#stretch / GROWTH));
    }
    return this.#stretch;
  }

  /** The processor was given back to KVM. */
  handedBack(now: Nanos): void {
    this.#handedBack = now;
  }
}
