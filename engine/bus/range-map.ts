import { assert } from '../base/assert.ts';
import type { Bus, Mapping } from './bus.ts';

/** One placed range. `active` says whether accesses reach it at present. */
export class MappedRange<H> implements Mapping {
  base: number;
  readonly length: number;
  readonly handler: H;
  readonly owner: string;
  readonly guestPlaced: boolean;
  active = false;
  readonly #map: RangeMap<H>;

  constructor(map: RangeMap<H>, base: number, length: number, handler: H, owner: string, guestPlaced: boolean) {
    this.#map = map;
    this.base = base;
    this.length = length;
    this.handler = handler;
    this.owner = owner;
    this.guestPlaced = guestPlaced;
  }

  get end(): number {
    return this.base + this.length;
  }

  move(base: number): void {
    this.#map.move(this, base);
  }

  dispose(): void {
    this.#map.remove(this);
  }
}

/**
 * The ranges of a bus, disjoint by construction. Ranges at fixed addresses may not overlap each other (that is a
 * mistake in the machine's layout and throws InvariantError). A guest-placed range that overlaps something waits,
 * invisible, until it fits; the longest waiting one is tried first.
 */
export class RangeMap<H> implements Bus<H> {
  /** Active ranges in order of address. */
  readonly #active: MappedRange<H>[] = [];
  readonly #waiting: MappedRange<H>[] = [];
  readonly #limit: number;

  /** Addresses run from 0 to `limit` − 1. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** All active ranges in order of address. */
  get ranges(): readonly MappedRange<H>[] {
    return this.#active;
  }

  map(
    base: number,
    length: number,
    handler: H,
    owner: string,
    options: { guestPlaced?: boolean } = {},
  ): MappedRange<H> {
    assert(Number.isSafeInteger(length) && length > 0, `${owner}: a range of ${length} bytes`);
    const range = new MappedRange(this, base, length, handler, owner, options.guestPlaced ?? false);
    this.#insert(range);
    return range;
  }

  move(range: MappedRange<H>, base: number): void {
    if (base === range.base && (range.active || this.#waiting.includes(range))) {
      return;
    }
    this.#take(range);
    range.base = base;
    this.#insert(range);
    this.#retry();
  }

  remove(range: MappedRange<H>): void {
    this.#take(range);
    this.#retry();
  }

  /** The active range that contains `address`, or undefined. */
  find(address: number): MappedRange<H> | undefined {
    const range = this.#active[this.#firstEndingAfter(address)];
    return range !== undefined && range.base <= address ? range : undefined;
  }

  /** Called after `range` has become visible or invisible. */
  protected onChange(_range: MappedRange<H>): void {}

  #firstEndingAfter(address: number): number {
    let low = 0;
    let high = this.#active.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const range = this.#active[middle];
      if (range !== undefined && range.end > address) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  /** A range that stands in the way of `range`, or undefined. */
  #obstacle(range: MappedRange<H>): MappedRange<H> | undefined {
    const next = this.#active[this.#firstEndingAfter(range.base)];
    return next !== undefined && next.base < range.end ? next : undefined;
  }

  #valid(range: MappedRange<H>): boolean {
    return Number.isSafeInteger(range.base) && range.base >= 0 && range.end <= this.#limit;
  }

  #insert(range: MappedRange<H>): void {
    if (!range.guestPlaced) {
      assert(this.#valid(range), `${range.owner}: range at ${range.base} lies outside the bus`);
      // What a guest has placed gives way to a fixed address.
      for (let other = this.#obstacle(range); other !== undefined; other = this.#obstacle(range)) {
        assert(other.guestPlaced, `${range.owner} at 0x${range.base.toString(16)} overlaps ${other.owner}`);
        this.#deactivate(other);
        this.#waiting.push(other);
      }
      this.#activate(range);
    } else if (this.#valid(range) && this.#obstacle(range) === undefined) {
      this.#activate(range);
    } else {
      this.#waiting.push(range);
    }
  }

  #activate(range: MappedRange<H>): void {
    this.#active.splice(this.#firstEndingAfter(range.base), 0, range);
    range.active = true;
    this.onChange(range);
  }

  #deactivate(range: MappedRange<H>): void {
    this.#active.splice(this.#active.indexOf(range), 1);
    range.active = false;
    this.onChange(range);
  }

  #take(range: MappedRange<H>): void {
    if (range.active) {
      this.#deactivate(range);
      return;
    }
    const index = this.#waiting.indexOf(range);
    if (index >= 0) {
      this.#waiting.splice(index, 1);
    }
  }

  #retry(): void {
    for (let i = 0; i < this.#waiting.length; ) {
      const range = this.#waiting[i];
      if (range !== undefined && this.#valid(range) && this.#obstacle(range) === undefined) {
        this.#waiting.splice(i, 1);
        this.#activate(range);
      } else {
        i++;
      }
    }
  }
}
