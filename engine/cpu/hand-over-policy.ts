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
 *
 * A KVM that emulates runs programs at full speed but systems hundreds of times slower than the software processor.
 * There a stretch is the longest at once, and whatever of a system is found running after a slice counts as a refusal.
 */
export class HandOverPolicy {
  readonly #emulates: boolean;
  #stretch = SHORTEST;
  #handedBack: Nanos | undefined;
  /** How often KVM gave up. */
  count = 0;
  /** How often it was found emulating. */
  foundEmulating = 0;

  constructor(options: { readonly emulates: boolean }) {
    this.#emulates = options.emulates;
  }

  /** KVM gave up at `now`: how many instructions to carry out. */
  gaveUp(now: Nanos): number {
    this.count++;
    if (this.#emulates) {
      return LONGEST;
    }
    if (this.#handedBack !== undefined && now - this.#handedBack < RARE_NANOS) {
      this.#stretch = Math.min(LONGEST, this.#stretch * GROWTH);
    } else {
      this.#stretch = Math.max(SHORTEST, Math.floor(this.#stretch / GROWTH));
    }
    return this.#stretch;
  }

  /** A slice has ended with the processor at a privilege level: how many instructions to carry out in software. */
  sliceEnded(privilegeLevel: number): number {
    if (privilegeLevel === 3) {
      return 0;
    }
    this.foundEmulating++;
    return LONGEST;
  }

  /** The processor was given back to KVM. */
  handedBack(now: Nanos): void {
    this.#handedBack = now;
  }
}
