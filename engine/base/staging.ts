/** Memory is given out in units of so many bytes. */
const UNIT = 0x1000;

/**
 * Memory for data on their way between the guest and the host, in one block that threads can share. Requests borrow from
 * it, so that what is in flight is bounded whatever the guest asks for; who finds it full waits.
 */
export class Staging {
  readonly #bytes: Uint8Array;
  readonly #taken: Uint8Array;
  readonly #waiting: (() => void)[] = [];

  /** `memory`: a block that another thread has too, or the bytes of a new one; a multiple of 4096. */
  constructor(memory: number | SharedArrayBuffer) {
    this.#bytes = new Uint8Array(typeof memory === 'number' ? new SharedArrayBuffer(memory) : memory);
    this.#taken = new Uint8Array(this.#bytes.length / UNIT);
  }

  /** `length` bytes with unknown contents, or undefined while there is no room. Given back with `give`. */
  take(length: number): Uint8Array | undefined {
    const units = Math.max(1, Math.ceil(length / UNIT));
    // From the start on, so that what was used last is used again: it is in the processor's caches.
    const start = this.#find(units);
    if (start === undefined) {
      return undefined;
    }
    this.#taken.fill(1, start, start + units);
    return this.#bytes.subarray(start * UNIT, start * UNIT + length);
  }

  #find(units: number): number | undefined {
    let run = 0;
    for (let unit = 0; unit < this.#taken.length; unit++) {
      run = this.#taken[unit] === 0 ? run + 1 : 0;
      if (run === units) {
        return unit + 1 - units;
      }
    }
    return undefined;
  }

  /** Gives back what `take` gave; those who wait are asked in the order of their waiting. */
  give(bytes: Uint8Array): void {
    const start = bytes.byteOffset / UNIT;
    this.#taken.fill(0, start, start + Math.max(1, Math.ceil(bytes.length / UNIT)));
    for (const ask of this.#waiting.splice(0)) {
      ask();
    }
  }

  /** Calls `ask` once when something is given back. */
  wait(ask: () => void): void {
    this.#waiting.push(ask);
  }
}
