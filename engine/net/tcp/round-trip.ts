import type { Nanos } from '../../clock/clock.ts';

const INITIAL_NANOS: Nanos = 1e9;
/** Lower than RFC 6298 asks for, as other systems do: the guest is never far, but it may be slow. */
const SHORTEST_NANOS: Nanos = 300e6;
const LONGEST_NANOS: Nanos = 60e9;

/** The retransmission timeout, from measured round trips (RFC 6298). */
export class RoundTrip {
  #smoothed: Nanos | undefined;
  #variation: Nanos = 0;
  #timeout: Nanos = INITIAL_NANOS;

  get timeout(): Nanos {
    return this.#timeout;
  }

  measured(nanos: Nanos): void {
    if (this.#smoothed === undefined) {
      this.#smoothed = nanos;
      this.#variation = nanos / 2;
    } else {
      this.#variation = 0.75 * this.#variation + 0.25 * Math.abs(this.#smoothed - nanos);
      this.#smoothed = 0.875 * this.#smoothed + 0.125 * nanos;
    }
    this.#timeout = Math.min(LONGEST_NANOS, Math.max(SHORTEST_NANOS, this.#smoothed + 4 * this.#variation));
  }

  /** Nothing came back in time: the next wait is twice as long. */
  backOff(): void {
    this.#timeout = Math.min(LONGEST_NANOS, this.#timeout * 2);
  }
}
