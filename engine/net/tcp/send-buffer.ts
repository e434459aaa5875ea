import { assert } from '../../base/assert.ts';

const SMALLEST = 16 << 10;

/** Bytes that all connections of a network together may hold. */
export class MemoryBudget {
  readonly #limit: number;
  #used = 0;

  constructor(limitBytes: number) {
    this.#limit = limitBytes;
  }

  get used(): number {
    return this.#used;
  }

  /** So many bytes more are within the limit. */
  fits(bytes: number): boolean {
    return this.#used + bytes <= this.#limit;
  }

  /** Takes `bytes` unless that is beyond the limit. */
  take(bytes: number): boolean {
    if (!this.fits(bytes)) {
      return false;
    }
    this.#used += bytes;
    return true;
  }

  /** Takes `bytes` in any case. */
  add(bytes: number): void {
    this.#used += bytes;
  }

  give(bytes: number): void {
    this.#used -= bytes;
  }

  /** More than half of it is in use: time to be thrifty. */
  get isTight(): boolean {
    return this.#used > this.#limit / 2;
  }
}

/**
 * Bytes that were written but not yet acknowledged: a circle that grows with need up to a limit, and as far as the
 * budget of all allows; but everyone gets a little.
 */
export class SendBuffer {
  readonly #limit: number;
  readonly #budget: MemoryBudget;
  #bytes = new Uint8Array(0);
  #start = 0;
  #length = 0;

  constructor(limitBytes: number, budget: MemoryBudget) {
    this.#limit = limitBytes;
    this.#budget = budget;
  }

  get length(): number {
    return this.#length;
  }

  /** Bytes that can be added without growing past the limit. */
  get space(): number {
    return this.#limit - this.#length;
  }

  /** Adds as many bytes as there is room for; returns how many. */
  append(bytes: Uint8Array): number {
    this.#grow(Math.min(this.#limit, this.#length + bytes.length));
    const capacity = this.#bytes.length;
    const count = Math.min(bytes.length, capacity - this.#length);
    if (count === 0) {
      return 0;
    }
    const end = (this.#start + this.#length) % capacity;
    const first = Math.min(count, capacity - end);
    this.#bytes.set(first === bytes.length ? bytes : bytes.subarray(0, first), end);
    if (first < count) {
      this.#bytes.set(bytes.subarray(first, count), 0);
    }
    this.#length += count;
    return count;
  }

  #grow(needed: number): void {
    const present = this.#bytes.length;
    let capacity = Math.max(present, SMALLEST);
    while (capacity < needed) {
      capacity *= 2;
    }
    if (capacity === present) {
      return;
    }
    if (!this.#budget.take(capacity - present)) {
      if (present > 0) {
        return;
      }
      capacity = SMALLEST;
      this.#budget.add(SMALLEST);
    }
    const larger = new Uint8Array(capacity);
    this.copyTo(larger, 0, 0, this.#length);
    this.#bytes = larger;
    this.#start = 0;
  }

  /** Copies `length` bytes from `offset` on, counted from the oldest. */
  copyTo(into: Uint8Array, at: number, offset: number, length: number): void {
    assert(offset + length <= this.#length, 'bytes that a send buffer has');
    if (length === 0) {
      return;
    }
    const capacity = this.#bytes.length;
    const from = (this.#start + offset) % capacity;
    const first = Math.min(length, capacity - from);
    into.set(this.#bytes.subarray(from, from + first), at);
    if (first < length) {
      into.set(this.#bytes.subarray(0, length - first), at + first);
    }
  }

  /** Forgets the oldest bytes. */
  drop(count: number): void {
    assert(count <= this.#length, 'bytes that a send buffer has');
    this.#length -= count;
    if (this.#length > 0) {
      this.#start = (this.#start + count) % this.#bytes.length;
      return;
    }
    this.#start = 0;
    if (this.#bytes.length > SMALLEST && this.#budget.isTight) {
      this.free();
    }
  }

  /** Gives the memory back; what it holds is lost. */
  free(): void {
    this.#budget.give(this.#bytes.length);
    this.#bytes = new Uint8Array(0);
    this.#start = 0;
    this.#length = 0;
  }
}
