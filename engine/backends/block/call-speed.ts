/** A call that took no longer was answered from memory, whatever storage is below: milliseconds. */
const FAST_MILLIS = 0.05;
/** One that took so long held the machine up: milliseconds. */
const SLOW_MILLIS = 0.3;
/** Fast calls in a row after which the next are expected to be fast. */
const TRUSTED_AFTER = 16;
/** After a call that held the machine up, so many are left to other threads, fast or not. */
const DISTRUSTED_FOR = 128;

/**
 * Whether a file's calls are so fast, because the host has its contents in memory, that making them at once costs less
 * than asking another thread. Only a call that was already made tells: the first slow one is waited for.
 */
export class CallSpeed {
  readonly #fastMillis: number;
  readonly #slowMillis: number;
  #fastInARow = 0;

  constructor(fastMillis = FAST_MILLIS, slowMillis = SLOW_MILLIS) {
    this.#fastMillis = fastMillis;
    this.#slowMillis = slowMillis;
  }

  get trusted(): boolean {
    return this.#fastInARow >= TRUSTED_AFTER;
  }

  /** A call of this thread or another took `millis`. */
  note(millis: number): void {
    if (this.trusted) {
      if (millis > this.#slowMillis) {
        this.#fastInARow = -DISTRUSTED_FOR;
      }
    } else if (millis <= this.#fastMillis || this.#fastInARow < 0) {
      this.#fastInARow++;
    } else {
      this.#fastInARow = 0;
    }
  }
}
