import type { CachedBlock } from './code-cache.ts';

const GRANULE_SHIFT = 6;
const GRANULES = 4096 >> GRANULE_SHIFT;

/** A block's bytes in one page: offsets of the first, and behind the last. */
interface Stretch {
  readonly entry: CachedBlock;
  readonly from: number;
  readonly to: number;
}

/**
 * The blocks of decoded code in one physical page, by the 64-byte granules that their bytes touch, so that a store costs
 * no more than what lies around it. Keeps the page's bits in CODE_MAP.
 */
export class PageCode {
  readonly #page: number;
  readonly #codeMap: Int32Array;
  readonly #granules: (Stretch[] | undefined)[] = new Array(GRANULES);
  #used = 0;

  /** `page`: number of the page. `codeMap`: two words for each page of the physical address space. */
  constructor(page: number, codeMap: Int32Array) {
    this.#page = page;
    this.#codeMap = codeMap;
  }

  /** No granule has code. */
  get isEmpty(): boolean {
    return this.#used === 0;
  }

  /** Adds a block, or the part of it that lies in this page: `length` bytes from offset `from` on. */
  add(entry: CachedBlock, from: number, length: number): void {
    const stretch = { entry, from, to: from + Math.max(1, length) };
    for (let granule = from >> GRANULE_SHIFT; granule <= (stretch.to - 1) >> GRANULE_SHIFT; granule++) {
      const list = this.#granules[granule];
      if (list === undefined) {
        this.#granules[granule] = [stretch];
        this.#used++;
        this.#setBit(granule, true);
      } else {
        list.push(stretch);
      }
    }
  }

  /** The block that starts at a physical address in this page. */
  find(physical: number, mode: number): CachedBlock | undefined {
    const list = this.#granules[(physical & 0xfff) >> GRANULE_SHIFT];
    return list?.find(({ entry }) => entry.physical === physical && entry.mode === mode)?.entry;
  }

  /** Removes what has bytes at offsets `from` … `to` − 1, and calls `removed` for each. */
  remove(from: number, to: number, removed: (entry: CachedBlock) => void): void {
    for (let granule = from >> GRANULE_SHIFT; granule <= (to - 1) >> GRANULE_SHIFT; granule++) {
      const list = this.#granules[granule];
      for (let i = (list?.length ?? 0) - 1; i >= 0; i--) {
        const stretch = list?.[i] as Stretch;
        if (stretch.from < to && stretch.to > from) {
          this.#forget(stretch);
          removed(stretch.entry);
        }
      }
    }
  }

  #forget(stretch: Stretch): void {
    for (let granule = stretch.from >> GRANULE_SHIFT; granule <= (stretch.to - 1) >> GRANULE_SHIFT; granule++) {
      const list = this.#granules[granule] as Stretch[];
      list.splice(list.indexOf(stretch), 1);
      if (list.length === 0) {
        this.#granules[granule] = undefined;
        this.#used--;
        this.#setBit(granule, false);
      }
    }
  }

  #setBit(granule: number, on: boolean): void {
    const word = this.#page * 2 + (granule >> 5);
    const bit = 1 << (granule & 31);
    const old = this.#codeMap[word] as number;
    this.#codeMap[word] = on ? old | bit : old & ~bit;
  }
}
