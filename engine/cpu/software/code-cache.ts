import { CODE_MAP, FRAME_READABLE, FRAMES } from '../../memory/arena.ts';
import type { InstructionTable } from '../x86/instructions/definition.ts';
import * as L from '../x86/layout.ts';
import { BLOCK_TABLE, CPU_STATES, MAX_CPUS, UOP_CACHE, UOP_CACHE_END } from './arena-layout.ts';
import { type CodeSource, type DecodedBlock, Decoder, FetchFault } from './decoder.ts';
import { blockSlot, type Interpreter } from './interpreter.ts';
import {
  BLOCK_FUNCTION,
  BLOCK_GUESS,
  BLOCK_HEADER_SIZE,
  BLOCK_LOOKUPS,
  BLOCK_MODE,
  BLOCK_NUMBER,
  BLOCK_PHYSICAL,
  BLOCK_SAMPLES,
  BLOCK_TABLE_BITS,
  UOP_HANDLER,
  UOP_IMMEDIATE,
  UOP_SIZE,
} from './micro-op.ts';
import { PageCode } from './page-code.ts';

/** In the header of a dropped block: whoever remembers it does not find it there any more. */
const NO_MODE = -1;

/** Micro-operations that one block may take at most, with room to spare. */
const BLOCK_RESERVE = 256 * UOP_SIZE;

/** A decoded block in the cache. */
export interface CachedBlock {
  readonly slot: number;
  readonly block: DecodedBlock;
  /** Physical address of the first byte. */
  readonly physical: number;
  readonly mode: number;
  /** Bytes of it that lie in the page of the first one. */
  readonly inPage: number;
}

/** Reads a code byte from a device window, for code outside plain memory. */
export type ReadCodeByte = (physical: number) => number;

class PageSource implements CodeSource {
  readonly #bytes: Uint8Array;
  readonly #readDevice: ReadCodeByte;
  readonly #frames: Int32Array;
  #page = 0;
  #host = 0;
  #nextHost = 0;
  get memory(): Uint8Array | undefined {
    return this.#host === 0 ? undefined : this.#bytes;
  }

  get base(): number {
    return this.#host;
  }

  /** Physical page behind, once fetched. */
  nextPage: number | undefined;
  /** Translates the page behind; −1 when it cannot be fetched. */
  fetchNext: () => number = () => -1;

  constructor(arena: ArrayBufferLike, readDevice: ReadCodeByte) {
    this.#bytes = new Uint8Array(arena);
    this.#frames = new Int32Array(arena);
    this.#readDevice = readDevice;
  }

  #hostOf(page: number): number {
    const frame = this.#frames[(FRAMES >> 2) + (page >>> 12)] as number;
    return frame & FRAME_READABLE ? (frame & ~0xfff) >>> 0 : 0;
  }

  open(page: number, fetchNext: () => number): void {
    this.#page = page;
    this.#host = this.#hostOf(page);
    this.nextPage = undefined;
    this.fetchNext = fetchNext;
  }

  byte(offset: number): number {
    if (offset < 4096) {
      return this.#host === 0 ? this.#readDevice(this.#page + offset) : (this.#bytes[this.#host + offset] as number);
    }
    if (this.nextPage === undefined) {
      const page = this.fetchNext();
      if (page < 0) {
        throw new FetchFault();
      }
      this.nextPage = page;
      this.#nextHost = this.#hostOf(page);
    }
    const rest = offset - 4096;
    return this.#nextHost === 0
      ? this.#readDevice(this.nextPage + rest)
      : (this.#bytes[this.#nextHost + rest] as number);
  }
}

/**
 * Decoded code, shared by all processors: blocks of micro-operations by physical address and mode. A page that holds
 * code is marked in CODE_MAP, so that writes to it are noticed; an overwritten block's micro-operations are turned into
 * `stale` ones, which send whoever still runs or links to them back to the lookup.
 */
export class CodeCache {
  readonly #view: DataView;
  readonly #codeMap: Int32Array;
  readonly #decoder: Decoder;
  readonly #source: PageSource;
  readonly #stale: number;
  readonly #pages = new Map<number, PageCode>();
  /** By the number in their header; dropped ones are gone. */
  #blocks: (CachedBlock | undefined)[] = [];
  #next = UOP_CACHE;
  /** Called with its physical address when a page gets its first code: cached write permissions for it must go. */
  onNewCodePage: (page: number) => void = () => {};
  /** Called for each block that is dropped, and when all are forgotten at once. */
  onDropped: (block: CachedBlock) => void = () => {};
  onFlush: () => void = () => {};
  /** Look-ups after which the interpreter reports a new block; 0: never. */
  lookupsUntilHot = 0;
  blocksDecoded = 0;
  flushes = 0;

  constructor(arena: ArrayBufferLike, table: InstructionTable, interpreter: Interpreter, readDevice: ReadCodeByte) {
    this.#view = new DataView(arena);
    this.#codeMap = new Int32Array(arena, CODE_MAP);
    this.#decoder = new Decoder(arena, table, interpreter);
    this.#source = new PageSource(arena, readDevice);
    this.#stale = interpreter.special.stale;
    this.flush();
  }

  /** Forgets everything. */
  flush(): void {
    this.flushes++;
    new Uint8Array(this.#view.buffer, BLOCK_TABLE, 16 << BLOCK_TABLE_BITS).fill(0xff);
    for (const page of this.#pages.keys()) {
      this.#codeMap[page * 2] = 0;
      this.#codeMap[page * 2 + 1] = 0;
    }
    this.#pages.clear();
    this.#blocks = [];
    this.#next = UOP_CACHE;
    for (let cpu = 0; cpu < MAX_CPUS; cpu++) {
      const ring = CPU_STATES + cpu * L.CPU_STATE_SIZE + L.RETURN_RING;
      new Uint8Array(this.#view.buffer, ring, L.RETURN_RING_SIZE).fill(0);
    }
    this.onFlush();
  }

  /** The block at a physical address under a mode. */
  find(physical: number, mode: number): CachedBlock | undefined {
    const slot = blockSlot(physical, mode);
    const view = this.#view;
    return view.getUint32(slot, true) === physical && view.getInt32(slot + 4, true) === mode
      ? this.blockAt(view.getUint32(slot + 8, true))
      : undefined;
  }

  /** The block whose first micro-operation lies at an arena address. */
  blockAt(start: number): CachedBlock | undefined {
    const block = this.#blocks[this.#view.getInt32(start - BLOCK_HEADER_SIZE + BLOCK_NUMBER, true)];
    return block?.block.start === start ? block : undefined;
  }

  #writeHeader({ block: { start }, physical, mode }: CachedBlock): void {
    const view = this.#view;
    const header = start - BLOCK_HEADER_SIZE;
    view.setInt32(header, 0xffff | (view.getUint16(start + UOP_HANDLER, true) << 16), true);
    view.setInt32(header + BLOCK_FUNCTION, 0, true);
    view.setInt32(header + BLOCK_LOOKUPS, this.lookupsUntilHot, true);
    view.setUint32(header + BLOCK_PHYSICAL, physical, true);
    view.setInt32(header + BLOCK_MODE, mode, true);
    view.setInt32(header + BLOCK_SAMPLES, 0, true);
    view.setInt32(header + BLOCK_NUMBER, this.#blocks.length, true);
    view.setInt32(header + BLOCK_GUESS, 0, true);
  }

  /**
   * Decodes the block at physical address `physical` and enters it into the block table. `fetchNext` translates the page
   * behind (−1: fault set). Returns false when the first instruction could not be fetched.
   */
  add(physical: number, mode: number, codeLimit: number, fetchNext: () => number): boolean {
    if (this.#next + BLOCK_RESERVE > UOP_CACHE_END) {
      this.flush();
    }
    const known = this.#pages.get(physical >>> 12)?.find(physical, mode);
    // One that reaches into the next page is decoded again if another page stands there now.
    if (known !== undefined && !known.block.straddles) {
      // Another block took its place in the table.
      this.#enter(known);
      return true;
    }
    const offset = physical & 0xfff;
    this.#source.open(physical - offset, fetchNext);
    let block: DecodedBlock;
    try {
      block = this.#decoder.decodeBlock(this.#source, offset, codeLimit, mode, this.#next + BLOCK_HEADER_SIZE);
    } catch (error) {
      if (error instanceof FetchFault) {
        return false;
      }
      throw error;
    }
    this.#next = block.end;
    this.blocksDecoded++;
    const inPage = Math.min(block.bytes, 4096 - offset);
    const entry = { slot: blockSlot(physical, mode), block, physical, mode, inPage };
    this.#enter(entry);
    this.#writeHeader(entry);
    this.#blocks.push(entry);
    this.#mark(physical, inPage, entry);
    if (block.straddles) {
      const next = this.#source.nextPage as number;
      this.#view.setUint32(block.start + UOP_IMMEDIATE, next, true);
      this.#view.setUint32(block.start + UOP_IMMEDIATE + 4, physical, true);
      this.#mark(next, block.bytes - inPage, entry);
    }
    return true;
  }

  /** Puts a block into the block table. */
  #enter({ slot, block, physical, mode }: CachedBlock): void {
    const view = this.#view;
    view.setUint32(slot, physical, true);
    view.setInt32(slot + 4, mode, true);
    view.setUint32(slot + 8, block.start, true);
  }

  #mark(physical: number, length: number, entry: CachedBlock): void {
    const number = physical >>> 12;
    const known = this.#pages.get(number);
    const page = known ?? new PageCode(number, this.#codeMap);
    page.add(entry, physical & 0xfff, length);
    if (known === undefined) {
      this.#pages.set(number, page);
      this.onNewCodePage(number * 4096);
    }
  }

  /** Bytes at `physical` (within one page) were written: drops the blocks that any of them belongs to. */
  written(physical: number, length: number): void {
    this.#remove(physical >>> 12, physical & 0xfff, Math.min(4096, (physical & 0xfff) + length));
  }

  /** Drops the blocks of a page with bytes at offsets `from` … `to` − 1; data beside code leaves the code alone. */
  #remove(number: number, from: number, to: number): void {
    const page = this.#pages.get(number);
    page?.remove(from, to, (entry) => this.#discard(entry));
    if (page?.isEmpty) {
      this.#pages.delete(number);
    }
  }

  /** Drops all code in a range of physical addresses (remapped memory). */
  dropRange(base: number, length: number): void {
    const first = Math.floor(base / 4096);
    const last = Math.floor((base + length - 1) / 4096);
    if (last - first > this.#pages.size) {
      for (const page of [...this.#pages.keys()]) {
        if (page >= first && page <= last) {
          this.#drop(page);
        }
      }
      return;
    }
    for (let page = first; page <= last; page++) {
      this.#drop(page);
    }
  }

  #drop(page: number): void {
    this.#remove(page, 0, 4096);
  }

  /** Turns a block stale and takes it out of the block table. */
  #discard(entry: CachedBlock): void {
    const { slot, block } = entry;
    const view = this.#view;
    if (this.blockAt(block.start) !== entry) {
      return; // it straddles two pages, both of which were dropped
    }
    this.#blocks[view.getInt32(block.start - BLOCK_HEADER_SIZE + BLOCK_NUMBER, true)] = undefined;
    view.setInt32(block.start - BLOCK_HEADER_SIZE + BLOCK_MODE, NO_MODE, true);
    this.onDropped(entry);
    for (let uop = block.start; uop < block.end; uop += UOP_SIZE) {
      view.setUint16(uop + UOP_HANDLER, this.#stale, true);
    }
    if (view.getUint32(slot + 8, true) === block.start) {
      view.setInt32(slot, -1, true);
      view.setInt32(slot + 4, -1, true);
    }
  }
}
