import { DIRTY_MAP, FRAME_READABLE, FRAME_TRACKED, FRAME_WRITABLE, FRAMES } from '../../memory/arena.ts';
import * as L from '../x86/layout.ts';
import {
  DTLB_SUPERVISOR,
  DTLB_SUPERVISOR_USER,
  DTLB_USER,
  ITLB_USER,
  TLB_GLOBAL_LIST,
  TLB_HUGE_MAP,
  TLB_LARGE_MAP,
  TLB_LOCAL_LIST,
  TLB_STRIDE,
  TLBS,
} from './arena-layout.ts';
import {
  BLOCK_HEADER_SIZE,
  BLOCK_ORIGINAL_HANDLER,
  DTLB_ENTRIES,
  DTLB_ENTRY_SIZE,
  DTLB_WRITE_TAG,
  ITLB_ENTRIES,
  ITLB_ENTRY_SIZE,
  ITLB_PHYSICAL,
  UOP_IP,
  UOP_SEGMENT,
  UOP_SIZE,
} from './micro-op.ts';
import { SPECIAL_HANDLERS } from './special-handlers.ts';
import {
  ACCESS_FETCH,
  ACCESS_WRITE,
  DTLB_FLAGS,
  INVALID_TAG,
  ITLB_FLAGS,
  NOWHERE,
  PAGE_ACCESSED,
  PAGE_DIRTY,
  PAGE_LARGE,
  PAGE_NO_EXECUTE,
  PAGE_PRESENT,
  PAGE_USER,
  PAGE_WRITABLE,
  PSE_HIGH_ADDRESS,
  RESERVED_HIGH,
  RESERVED_HIGH_PAE,
  RESERVED_HUGE,
  RESERVED_LARGE,
  RESERVED_POINTER,
  RESERVED_PSE,
  TLB_LARGE_MAP_SIZE,
} from './tlb.ts';

/** Page-fault error code (SDM 3A, 4.7). */
const ERROR_PROTECTION = 1 << 0;
const ERROR_WRITE = 1 << 1;
const ERROR_USER = 1 << 2;
const ERROR_RESERVED = 1 << 3;
const ERROR_FETCH = 1 << 4;

/** Specials from this number on compute no addresses. */
const FIRST_OTHER_SPECIAL = SPECIAL_HANDLERS.indexOf('end');
/** What stands in the place of a handler in front of a block. */
const NO_HANDLER = 0xffff;
const COMPILED_HANDLER = SPECIAL_HANDLERS.indexOf('compiled');

/** The functions of tlb-functions.ts for processors by their records. */
export interface TlbControl {
  flushTlb(record: number, includingGlobal: number): void;
  /** Linear address, signed or not. */
  invalidatePage(record: number, address: bigint): void;
  /** Physical addresses of the first and the last page, as i32. */
  dropWriteTags(record: number, first: number, last: number): void;
  selectTlbs(record: number): void;
  /** See PageWalkFunctions. */
  walkCode(record: number, address: bigint): number;
}

/**
 * One processor's address translation: page walks with accessed and dirty bits, and its TLBs in the arena. The usual
 * case is done by page-walk-functions.ts, which fills the TLBs; here is what faults, and what forgets translations.
 * Works on 32-bit halves of addresses; nothing here allocates.
 */
export class Translation {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  /** In words. */
  readonly #record: number;
  readonly #tlbs: number;
  readonly #tlb: TlbControl;

  /** The outcome of the last walk: the physical page. */
  #physical = 0;
  /** Error code of the last failed walk. */
  errorCode = 0;
  /** Told of every data access while `watching`. */
  onWatched: (address: bigint, size: number, write: boolean) => void = () => {};

  constructor(arena: ArrayBufferLike, record: number, index: number, tlb: TlbControl) {
    this.#tlb = tlb;
    this.#words = new Int32Array(arena);
    this.#bytes = new Uint8Array(arena);
    this.#record = record >> 2;
    this.#tlbs = TLBS + index * TLB_STRIDE;
    this.clear();
  }

  #field(offset: number): number {
    return this.#words[this.#record + (offset >> 2)] as number;
  }

  /** Every data access takes the slow path (watchpoints). */
  get watching(): boolean {
    return this.#field(L.WATCHING) !== 0;
  }

  set watching(on: boolean) {
    this.#words[this.#record + (L.WATCHING >> 2)] = on ? 1 : 0;
    this.flush(true);
  }

  /** Invalidates every entry, whether or not a list names it. */
  clear(): void {
    const words = this.#words;
    for (let i = 0; i < DTLB_ENTRIES * 3; i++) {
      const entry = (this.#tlbs + i * DTLB_ENTRY_SIZE) >> 2;
      words[entry] = INVALID_TAG;
      words[entry + (DTLB_WRITE_TAG >> 2)] = INVALID_TAG;
      words[entry + (DTLB_FLAGS >> 2)] = 0;
    }
    for (let i = 0; i < ITLB_ENTRIES * 2; i++) {
      const entry = (this.#tlbs + ITLB_USER + i * ITLB_ENTRY_SIZE) >> 2;
      words[entry] = INVALID_TAG;
      words[entry + (ITLB_FLAGS >> 2)] = 0;
    }
    words[(this.#tlbs + TLB_LOCAL_LIST) >> 2] = 0;
    words[(this.#tlbs + TLB_GLOBAL_LIST) >> 2] = 0;
    for (const map of [TLB_LARGE_MAP, TLB_HUGE_MAP]) {
      this.#bytes.fill(0, this.#tlbs + map, this.#tlbs + map + TLB_LARGE_MAP_SIZE);
    }
  }

  /** Remembered places of code are not to be trusted any more. */
  forgetJumps(): void {
    const place = this.#record + (L.JUMP_GENERATION >> 2);
    this.#words[place] = ((this.#words[place] as number) + 1) | 0;
  }

  /** Forgets translations; global ones stay unless `includingGlobal`. */
  flush(includingGlobal: boolean): void {
    this.#tlb.flushTlb(this.#record << 2, includingGlobal ? 1 : 0);
  }

  /** Makes the next write to each page of a range of physical addresses take the slow path. */
  dropWriteTags(base: number, length: number): void {
    this.#tlb.dropWriteTags(this.#record << 2, base | 0, (base + length - 1) & ~0xfff);
  }

  /** Forgets the page of a linear address in all tables. */
  invalidatePage(address: bigint): void {
    this.#tlb.invalidatePage(this.#record << 2, address);
  }

  /** Chooses the tables in force from CPL, CR4.SMAP and RFLAGS.AC. */
  select(): void {
    this.#tlb.selectTlbs(this.#record << 2);
  }

  /** Runs `body` with implicit supervisor rights (SMAP in force, as for descriptor tables), whatever the CPL. */
  asSupervisor<T>(body: () => T): T {
    const place = this.#record + (L.DTLB >> 2);
    const before = this.#words[place] as number;
    const restrained = (this.#field(L.CR4) & L.CR4_SMAP) !== 0;
    this.#words[place] = this.#tlbs + (restrained ? DTLB_SUPERVISOR : DTLB_SUPERVISOR_USER);
    try {
      return body();
    } finally {
      this.#words[place] = before;
    }
  }

  /**
   * The import `walk`: translates SCRATCH[0] where the walk in WebAssembly would not. Returns an arena address, 0 for
   * devices, or −1 with FAULT, FAULT_ERROR and FAULT_ADDRESS set. SCRATCH[2] low is the physical address.
   */
  walkForGenerated(write: number): number {
    const words = this.#words;
    const low = this.#field(L.SCRATCH);
    const high = this.#field(L.SCRATCH + 4);
    const table = this.#field(L.DTLB) - this.#tlbs;
    if (!this.#walk(low, high, write, table === DTLB_USER, table === DTLB_SUPERVISOR)) {
      this.#setFault(low, high);
      return -1;
    }
    const physical = (this.#physical | (low & 0xfff)) >>> 0;
    words[this.#record + ((L.SCRATCH + 16) >> 2)] = physical;
    const page = physical >>> 12;
    const frame = words[(FRAMES >> 2) + page] as number;
    if ((frame & (write ? FRAME_WRITABLE : FRAME_READABLE)) === 0) {
      return 0;
    }
    if (write !== 0 && frame & FRAME_TRACKED) {
      this.#bytes[DIRTY_MAP + page] = 1;
    }
    if (this.watching) {
      const address = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
      this.onWatched(address, this.#field(L.ACCESS_SIZE), write !== 0);
    }
    return (frame & ~0xfff) | (low & 0xfff);
  }

  /** Physical address (unsigned) of a code page, by the instruction TLB if it is there; −1 with the fault set. */
  codePage(low: number, high: number): number {
    const words = this.#words;
    const entry = (this.#field(L.ITLB) + ((low >>> 12) & (ITLB_ENTRIES - 1)) * ITLB_ENTRY_SIZE) >> 2;
    const known = words[entry] === (low & ~0xfff) && words[entry + 1] === high;
    if (known || this.#tlb.walkCode(this.#record << 2, (BigInt(high) << 32n) | BigInt(low >>> 0)) !== 0) {
      return (words[entry + (ITLB_PHYSICAL >> 2)] as number) >>> 0;
    }
    return this.fetch(low, high);
  }

  /** Walks to a code page: returns its physical address (unsigned), or −1 with the fault set. Fills no TLB. */
  fetch(low: number, high: number): number {
    const table = this.#field(L.ITLB) - this.#tlbs;
    if (!this.#walk(low, high, ACCESS_FETCH, table === ITLB_USER, true)) {
      this.#setFault(low, high, true);
      return -1;
    }
    return this.#physical >>> 0;
  }

  /**
   * Whether the instruction being carried out reached a non-canonical address through the stack segment: by a push or
   * pop, or with RSP or RBP as the base of its memory operand. Such accesses raise #SS instead of #GP.
   */
  #inStack(low: number): boolean {
    const words = this.#words;
    const uop = this.#field(L.CURRENT_UOP);
    if (uop === 0) {
      return false;
    }
    const segment = (at: number) => this.#bytes[at + UOP_SEGMENT];
    const before = uop - UOP_SIZE;
    let handler = (words[before >> 2] as number) & 0xffff;
    if (handler === COMPILED_HANDLER) {
      handler = (words[(before - BLOCK_HEADER_SIZE) >> 2] as number) >>> (BLOCK_ORIGINAL_HANDLER * 8);
    }
    // Whatever else is at the same place computes the operand's address, alone or fused with the operation.
    const hasOperand =
      handler !== NO_HANDLER &&
      (handler < FIRST_OTHER_SPECIAL || handler >= SPECIAL_HANDLERS.length) &&
      (words[(before + UOP_IP) >> 2] as number) >>> 16 === (words[(uop + UOP_IP) >> 2] as number) >>> 16;
    const pushes = segment(uop) === L.SEG_SS;
    if (pushes && (!hasOperand || Math.abs((low - this.#field(L.GPR + 4 * 8)) | 0) < 64)) {
      return true;
    }
    return hasOperand && segment(before) === L.SEG_SS;
  }

  #setFault(low: number, high: number, fetching = false): void {
    const words = this.#words;
    const record = this.#record;
    if (this.errorCode < 0) {
      const vector = !fetching && this.#inStack(low) ? L.VECTOR_SS : L.VECTOR_GP;
      words[record + (L.FAULT >> 2)] = L.FAULT_PENDING | L.FAULT_HAS_ERROR | vector;
      words[record + (L.FAULT_ERROR >> 2)] = 0;
      return;
    }
    words[record + (L.FAULT >> 2)] = L.FAULT_PENDING | L.FAULT_HAS_ERROR | L.VECTOR_PF;
    words[record + (L.FAULT_ERROR >> 2)] = this.errorCode;
    words[record + (L.FAULT_ADDRESS >> 2)] = low;
    words[record + (L.FAULT_ADDRESS >> 2) + 1] = high;
  }

  /** Reads a 32-bit word of a page table; addresses without RAM read as not present. */
  #tableWord(physical: number): number {
    const frame = this.#words[(FRAMES >> 2) + (physical >>> 12)] as number;
    return frame & FRAME_READABLE ? (this.#words[((frame & ~0xfff) + (physical & 0xfff)) >>> 2] as number) : 0;
  }

  #setTableBits(physical: number, bits: number): void {
    const frame = this.#words[(FRAMES >> 2) + (physical >>> 12)] as number;
    if (frame & FRAME_WRITABLE) {
      const place = ((frame & ~0xfff) + (physical & 0xfff)) >>> 2;
      this.#words[place] = (this.#words[place] as number) | bits;
      this.#bytes[DIRTY_MAP + (physical >>> 12)] = 1;
    }
  }

  /** Walks the page tables. On success sets #physical; else errorCode (−1 for a non-canonical address). */
  #walk(low: number, high: number, access: number, user: boolean, restrained: boolean): boolean {
    const cr0 = this.#field(L.CR0);
    const a20 = this.#field(L.A20_MASK);
    if ((cr0 & L.CR0_PG) === 0) {
      this.#physical = low & ~0xfff & a20;
      return true;
    }
    const cr4 = this.#field(L.CR4);
    const efer = this.#field(L.EFER);
    const pae = (cr4 & L.CR4_PAE) !== 0;
    const noExecute = (efer & L.EFER_NXE) !== 0 && pae;
    const base =
      (access === ACCESS_WRITE ? ERROR_WRITE : 0) |
      (user ? ERROR_USER : 0) |
      (access === ACCESS_FETCH && (noExecute || cr4 & L.CR4_SMEP) ? ERROR_FETCH : 0);
    this.errorCode = base;

    let writable = true;
    let userPage = true;
    let executable = true;
    let entryAddress: number;
    let entryLow: number;
    let physical: number;
    let shift: number;

    if (!pae) {
      const directory = ((this.#field(L.CR3) & ~0xfff) + ((low >>> 22) << 2)) & a20;
      entryLow = this.#tableWord(directory);
      if ((entryLow & PAGE_PRESENT) === 0) {
        return false;
      }
      writable = (entryLow & PAGE_WRITABLE) !== 0;
      userPage = (entryLow & PAGE_USER) !== 0;
      if (entryLow & PAGE_LARGE && cr4 & L.CR4_PSE) {
        // PSE-36 bits 13–20 give address bits 32–39; bit 21 is reserved.
        if (entryLow & RESERVED_PSE) {
          this.errorCode = base | ERROR_PROTECTION | ERROR_RESERVED;
          return false;
        }
        entryAddress = directory;
        physical = (entryLow & PSE_HIGH_ADDRESS) !== 0 ? NOWHERE : (entryLow & 0xffc00000) | (low & 0x3ff000);
      } else {
        if ((entryLow & PAGE_ACCESSED) === 0) {
          this.#setTableBits(directory, PAGE_ACCESSED);
        }
        entryAddress = ((entryLow & ~0xfff) + (((low >>> 12) & 0x3ff) << 2)) & a20;
        entryLow = this.#tableWord(entryAddress);
        if ((entryLow & PAGE_PRESENT) === 0) {
          return false;
        }
        writable = writable && (entryLow & PAGE_WRITABLE) !== 0;
        userPage = userPage && (entryLow & PAGE_USER) !== 0;
        physical = entryLow & ~0xfff;
      }
    } else {
      const long = (efer & L.EFER_LMA) !== 0;
      let table: number;
      if (long) {
        // Canonical: bits 47–63 are all the same.
        const top = high >> 15;
        if (top !== 0 && top !== -1) {
          this.errorCode = -1;
          return false;
        }
        table = this.#field(L.CR3) & ~0xfff;
        shift = 39;
      } else {
        table = this.#field(L.CR3) & ~0x1f;
        shift = 30;
      }
      const reservedHigh = RESERVED_HIGH | (noExecute ? 0 : PAGE_NO_EXECUTE) | (long ? 0 : RESERVED_HIGH_PAE);
      for (;;) {
        const index =
          shift === 39
            ? (high >>> 7) & 0x1ff
            : shift === 30
              ? long
                ? ((high & 0x7f) << 2) | (low >>> 30)
                : low >>> 30
              : (low >>> shift) & 0x1ff;
        entryAddress = (table + (index << 3)) & a20;
        entryLow = this.#tableWord(entryAddress);
        if ((entryLow & PAGE_PRESENT) === 0) {
          return false;
        }
        const entryHigh = this.#tableWord(entryAddress + 4);
        const pointer = shift === 30 && !long;
        const large = (entryLow & PAGE_LARGE) !== 0 && (shift === 21 || (shift === 30 && long));
        const huge = large && shift === 30;
        const reservedLow = pointer
          ? RESERVED_POINTER
          : huge
            ? RESERVED_HUGE
            : large
              ? RESERVED_LARGE
              : shift === 39
                ? PAGE_LARGE
                : 0;
        if ((entryHigh & reservedHigh) !== 0 || (entryLow & reservedLow) !== 0) {
          this.errorCode = base | ERROR_PROTECTION | ERROR_RESERVED;
          return false;
        }
        if (!pointer) {
          writable = writable && (entryLow & PAGE_WRITABLE) !== 0;
          userPage = userPage && (entryLow & PAGE_USER) !== 0;
          executable = executable && (entryHigh & PAGE_NO_EXECUTE) === 0;
        }
        const above4G = (entryHigh & 0xff) !== 0;
        if (large || shift === 12) {
          const offsetMask = huge ? 0x3ffff000 : large ? 0x1ff000 : 0;
          physical = above4G ? NOWHERE : ((entryLow & ~0xfff & ~offsetMask) | (low & offsetMask)) & ~0xfff;
          break;
        }
        if (!pointer && (entryLow & PAGE_ACCESSED) === 0) {
          this.#setTableBits(entryAddress, PAGE_ACCESSED);
        }
        table = above4G ? NOWHERE : entryLow & ~0xfff;
        shift -= 9;
      }
    }

    // Rights (SDM 3A, 4.6).
    let allowed: boolean;
    if (user) {
      allowed = userPage && (access !== ACCESS_WRITE || writable) && (access !== ACCESS_FETCH || executable);
    } else {
      const writeAllowed = writable || (cr0 & L.CR0_WP) === 0;
      allowed =
        (access !== ACCESS_WRITE || writeAllowed) &&
        (access !== ACCESS_FETCH || (executable && !(userPage && cr4 & L.CR4_SMEP))) &&
        !(access !== ACCESS_FETCH && userPage && restrained);
      writable = writeAllowed;
    }
    if (!allowed) {
      this.errorCode = base | ERROR_PROTECTION;
      return false;
    }
    const wanted = access === ACCESS_WRITE ? PAGE_ACCESSED | PAGE_DIRTY : PAGE_ACCESSED;
    if ((entryLow & wanted) !== wanted) {
      this.#setTableBits(entryAddress, wanted);
    }
    this.#physical = physical & a20;
    return true;
  }
}
