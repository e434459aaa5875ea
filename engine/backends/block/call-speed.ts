/** A call that took no longer was answered from memory, whatever storage is below: milliseconds. */
const FAST_MILLIS = 0.05;
/** One that took so long held the machine up: milliseconds. */
const SLOW_MILLIS = 0.3;
/**
 * So many slow calls among {@link TOLERATED_AMONG} are nothing: on a busy host a thread loses its processor at any time, and
 * handing everything to another one that has to get a processor too would make it worse.
 */
const TOLERATED_SLOW = 2;
const TOLERATED_AMONG = 64;
/** Fast calls in a row after which the next are expected to be fast. */
const TRUSTED_AFTER = 16;
/**
 * After calls that held the machine up, so many more are left to other threads, fast or not: none the first time, then twice
 * as many each time.
 */
const FIRST_DISTRUST = 16;
const MAX_DISTRUST = 128;
/** So many calls without a slow one make up for those before. */
const FORGIVEN_AFTER = 1024;
/** Copying between memories takes time as well: bytes in a millisecond, at the least. */
const COPIED_IN_MILLI = 4 << 20;

/**
 * Whether a file's calls are so fast, because the host has its contents in memory, that making them at once costs less
 * than asking another thread. Only a call that was already made tells: the first slow one is waited for.
 */
export class CallSpeed {
  readonly #fastMillis: number;
  readonly #slowMillis: number;
  #fastInARow = 0;
  #distrust = 0;
  #sinceSlow = 0;
  /** Slow calls, of which time takes away. */
  #burden = 0;

  constructor(fastMillis = FAST_MILLIS, slowMillis = SLOW_MILLIS) {
    this.#fastMillis = fastMillis;
    this.#slowMillis = slowMillis;
  }

  get trusted(): boolean {
    return this.#fastInARow >= TRUSTED_AFTER;
  }

  /** A call of this thread or another took `millis`, and moved so many bytes. */
  note(millis: number, bytes = 0): void {
    const waited = millis - bytes / COPIED_IN_MILLI;
    this.#sinceSlow++;
    if (this.trusted) {
      if (waited <= this.#slowMillis) {
        this.#burden = Math.max(0, this.#burden - 1 / TOLERATED_AMONG);
      } else if (++this.#burden > TOLERATED_SLOW) {
        this.#slow();
      }
    } else if (waited <= this.#fastMillis || this.#fastInARow < 0) {
      this.#fastInARow++;
    } else {
      this.#fastInARow = 0;
    }
  }

  #slow(): void {
    if (this.#sinceSlow > FORGIVEN_AFTER) {
      this.#distrust = 0;
    }
    this.#fastInARow = -this.#distrust;
    this.#distrust = Math.min(MAX_DISTRUST, Math.max(FIRST_DISTRUST, this.#distrust * 2));
    this.#sinceSlow = 0;
    this.#burden = 0;
  }
}
