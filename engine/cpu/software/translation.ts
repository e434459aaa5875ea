import { CODE_MAP, DIRTY_MAP, FRAME_READABLE, FRAME_TRACKED, FRAME_WRITABLE, FRAMES } from '../../memory/arena.ts';
import * as L from '../x86/layout.ts';
import {
  DTLB_SUPERVISOR,
  DTLB_SUPERVISOR_USER,
  DTLB_USER,
  ITLB_SUPERVISOR,
  ITLB_USER,
  TLB_STRIDE,
  TLBS,
} from './arena-layout.ts';
import { SPECIAL_HANDLERS } from './interpreter.ts';
import {
  DTLB_ADDEND,
  DTLB_ENTRIES,
  DTLB_ENTRY_SIZE,
  DTLB_PHYSICAL,
  DTLB_READ_TAG,
  DTLB_WRITE_TAG,
  ITLB_ENTRIES,
  ITLB_ENTRY_SIZE,
  ITLB_PHYSICAL,
  ITLB_TAG,
  UOP_IP,
  UOP_SEGMENT,
  UOP_SIZE,
} from './micro-op.ts';

/** Page-table entry bits (SDM 3A, tables 4-5 to 4-20). */
const PRESENT = 1 << 0;
const WRITABLE = 1 << 1;
const USER = 1 << 2;
const ACCESSED = 1 << 5;
const DIRTY = 1 << 6;
const LARGE = 1 << 7;
const GLOBAL = 1 << 8;
/** Bit 63, in the high word. */
const NO_EXECUTE = 0x80000000 | 0;

/** Page-fault error code (SDM 3A, 4.7). */
const ERROR_PROTECTION = 1 << 0;
const ERROR_WRITE = 1 << 1;
const ERROR_USER = 1 << 2;
const ERROR_RESERVED = 1 << 3;
const ERROR_FETCH = 1 << 4;

/** Handlers below this number compute addresses. */
const FIRST_OTHER_SPECIAL = SPECIAL_HANDLERS.indexOf('end');

export const ACCESS_READ = 0;
export const ACCESS_WRITE = 1;
export const ACCESS_FETCH = 2;

/** A physical address that no machine of ours maps: pages beyond 4 GiB end here. */
const NOWHERE = 0xfef00000;
/** Low word of a tag that matches no address. */
const INVALID = 1;
/** Entry field: 1 when the page is global. */
const DTLB_GLOBAL = 24;
const ITLB_GLOBAL = 12;

/** Which physical address bits above 32 a page-table entry may have set (MAXPHYADDR 40): those above are reserved. */
const RESERVED_HIGH = 0x000fff00;

/**
 * One processor's address translation: page walks with accessed and dirty bits, and its TLBs in the arena. Works on
 * 32-bit halves of addresses; nothing here allocates.
 */
export class Translation {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #record: number;
  readonly #tlbs: number;
  readonly #filled: number[] = [];
  readonly #filledCode: number[] = [];

  /** The outcome of the last walk: physical page, and what the page permits. */
  #physical = 0;
  #writable = false;
  #global = false;
  /** Error code of the last failed walk. */
  errorCode = 0;
  /** Set to make every data access take the slow path (watchpoints). */
  bypass = false;
  /** Told of every data access while `bypass` is set. */
  onWatched: (address: bigint, size: number, write: boolean) => void = () => {};

  constructor(arena: ArrayBufferLike, record: number, index: number) {
    this.#words = new Int32Array(arena);
    this.#bytes = new Uint8Array(arena);
    this.#record = record >> 2;
    this.#tlbs = TLBS + index * TLB_STRIDE;
    this.clear();
  }

  #field(offset: number): number {
    return this.#words[this.#record + (offset >> 2)] as number;
  }

  /** Invalidates every entry, whether or not it was filled by this object. */
  clear(): void {
    const words = this.#words;
    for (let i = 0; i < DTLB_ENTRIES * 3; i++) {
      const entry = (this.#tlbs + i * DTLB_ENTRY_SIZE) >> 2;
      words[entry] = INVALID;
      words[entry + (DTLB_WRITE_TAG >> 2)] = INVALID;
    }
    for (let i = 0; i < ITLB_ENTRIES * 2; i++) {
      words[(this.#tlbs + ITLB_USER + i * ITLB_ENTRY_SIZE) >> 2] = INVALID;
    }
    this.#filled.length = 0;
    this.#filledCode.length = 0;
  }

  /** Remembered places of code are not to be trusted any more. */
  forgetJumps(): void {
    const place = this.#record + (L.JUMP_GENERATION >> 2);
    this.#words[place] = ((this.#words[place] as number) + 1) | 0;
  }

  /** Forgets translations; global ones stay unless `includingGlobal`. */
  flush(includingGlobal: boolean): void {
    const words = this.#words;
    this.forgetJumps();
    let kept = 0;
    for (let i = 0; i < this.#filled.length; i++) {
      const entry = this.#filled[i] as number;
      if (!includingGlobal && words[entry + (DTLB_GLOBAL >> 2)] !== 0) {
        this.#filled[kept++] = entry;
        continue;
      }
      words[entry] = INVALID;
      words[entry + (DTLB_WRITE_TAG >> 2)] = INVALID;
    }
    this.#filled.length = kept;
    kept = 0;
    for (let i = 0; i < this.#filledCode.length; i++) {
      const entry = this.#filledCode[i] as number;
      if (!includingGlobal && words[entry + (ITLB_GLOBAL >> 2)] !== 0) {
        this.#filledCode[kept++] = entry;
        continue;
      }
      words[entry] = INVALID;
    }
    this.#filledCode.length = kept;
  }

  /** Makes the next write to every page take the slow path (new code pages, dirty tracking). */
  dropWriteTags(): void {
    for (const entry of this.#filled) {
      this.#words[entry + (DTLB_WRITE_TAG >> 2)] = INVALID;
    }
  }

  /** Forgets one page in all tables. */
  invalidatePage(low: number): void {
    const page = low >>> 12;
    this.forgetJumps();
    for (const table of [DTLB_USER, DTLB_SUPERVISOR, DTLB_SUPERVISOR_USER]) {
      const entry = (this.#tlbs + table + (page & (DTLB_ENTRIES - 1)) * DTLB_ENTRY_SIZE) >> 2;
      this.#words[entry] = INVALID;
      this.#words[entry + (DTLB_WRITE_TAG >> 2)] = INVALID;
    }
    for (const table of [ITLB_USER, ITLB_SUPERVISOR]) {
      this.#words[(this.#tlbs + table + (page & (ITLB_ENTRIES - 1)) * ITLB_ENTRY_SIZE) >> 2] = INVALID;
    }
  }

  /** Chooses the tables in force from CPL, CR4.SMAP and RFLAGS.AC. */
  select(): void {
    const user = (this.#field(L.MODE) & L.MODE_CPL_MASK) === L.MODE_CPL_MASK;
    const restrained = (this.#field(L.CR4) & L.CR4_SMAP) !== 0 && (this.#field(L.FLAGS_REST) & L.FLAG_AC) === 0;
    const data = user ? DTLB_USER : restrained ? DTLB_SUPERVISOR : DTLB_SUPERVISOR_USER;
    this.#words[this.#record + (L.DTLB >> 2)] = this.#tlbs + data;
    this.#words[this.#record + (L.ITLB >> 2)] = this.#tlbs + (user ? ITLB_USER : ITLB_SUPERVISOR);
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
   * The import `walk`: translates SCRATCH[0] and fills the TLB. Returns an arena address, 0 for devices, or −1 with FAULT,
   * FAULT_ERROR and FAULT_ADDRESS set. SCRATCH[2] low is the physical address.
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
    const host = frame & ~0xfff;
    if (this.bypass) {
      const address = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
      this.onWatched(address, this.#field(L.ACCESS_SIZE), write !== 0);
    } else {
      const entry = (this.#tlbs + table + ((low >>> 12) & (DTLB_ENTRIES - 1)) * DTLB_ENTRY_SIZE) >> 2;
      const hasCode = words[(CODE_MAP >> 2) + page * 2] !== 0 || words[(CODE_MAP >> 2) + page * 2 + 1] !== 0;
      const writable =
        this.#writable &&
        (frame & FRAME_WRITABLE) !== 0 &&
        !hasCode &&
        ((frame & FRAME_TRACKED) === 0 || this.#bytes[DIRTY_MAP + page] !== 0);
      words[entry + (DTLB_READ_TAG >> 2)] = frame & FRAME_READABLE ? low & ~0xfff : INVALID;
      words[entry + (DTLB_READ_TAG >> 2) + 1] = high;
      words[entry + (DTLB_WRITE_TAG >> 2)] = writable ? low & ~0xfff : INVALID;
      words[entry + (DTLB_WRITE_TAG >> 2) + 1] = high;
      words[entry + (DTLB_ADDEND >> 2)] = (host - (low & ~0xfff)) | 0;
      words[entry + (DTLB_PHYSICAL >> 2)] = physical & ~0xfff;
      words[entry + (DTLB_GLOBAL >> 2)] = this.#global ? 1 : 0;
      this.#filled.push(entry);
      if (this.#filled.length > 8 * DTLB_ENTRIES) {
        this.#compact();
      }
    }
    return host | (low & 0xfff);
  }

  /** The list of filled entries may name one several times; makes it exact again. */
  #compact(): void {
    const unique = new Set(this.#filled);
    this.#filled.length = 0;
    for (const entry of unique) {
      this.#filled.push(entry);
    }
  }

  /**
   * Translates a code page and fills the instruction TLB. Returns the physical page address (unsigned), or −1 with the
   * fault set.
   */
  fetch(low: number, high: number): number {
    const table = this.#field(L.ITLB) - this.#tlbs;
    if (!this.#walk(low, high, ACCESS_FETCH, table === ITLB_USER, true)) {
      this.#setFault(low, high, true);
      return -1;
    }
    const words = this.#words;
    const entry = (this.#tlbs + table + ((low >>> 12) & (ITLB_ENTRIES - 1)) * ITLB_ENTRY_SIZE) >> 2;
    words[entry + (ITLB_TAG >> 2)] = low & ~0xfff;
    words[entry + (ITLB_TAG >> 2) + 1] = high;
    words[entry + (ITLB_PHYSICAL >> 2)] = this.#physical;
    words[entry + (ITLB_GLOBAL >> 2)] = this.#global ? 1 : 0;
    this.#filledCode.push(entry);
    if (this.#filledCode.length > 8 * ITLB_ENTRIES) {
      const unique = new Set(this.#filledCode);
      this.#filledCode.length = 0;
      this.#filledCode.push(...unique);
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
    const hasOperand =
      ((words[before >> 2] as number) & 0xffff) < FIRST_OTHER_SPECIAL &&
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
    }
  }

  /** Walks the page tables. On success sets #physical, #writable, #global; else errorCode (−1 for a non-canonical address). */
  #walk(low: number, high: number, access: number, user: boolean, restrained: boolean): boolean {
    const cr0 = this.#field(L.CR0);
    const a20 = this.#field(L.A20_MASK);
    if ((cr0 & L.CR0_PG) === 0) {
      this.#physical = low & ~0xfff & a20;
      this.#writable = true;
      this.#global = true;
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
      if ((entryLow & PRESENT) === 0) {
        return false;
      }
      writable = (entryLow & WRITABLE) !== 0;
      userPage = (entryLow & USER) !== 0;
      if (entryLow & LARGE && cr4 & L.CR4_PSE) {
        // PSE-36 bits 13–20 give address bits 32–39; bit 21 is reserved.
        if (entryLow & (1 << 21)) {
          this.errorCode = base | ERROR_PROTECTION | ERROR_RESERVED;
          return false;
        }
        entryAddress = directory;
        physical = (entryLow & 0x1fe000) !== 0 ? NOWHERE : (entryLow & 0xffc00000) | (low & 0x3ff000);
      } else {
        if ((entryLow & ACCESSED) === 0) {
          this.#setTableBits(directory, ACCESSED);
        }
        entryAddress = ((entryLow & ~0xfff) + (((low >>> 12) & 0x3ff) << 2)) & a20;
        entryLow = this.#tableWord(entryAddress);
        if ((entryLow & PRESENT) === 0) {
          return false;
        }
        writable = writable && (entryLow & WRITABLE) !== 0;
        userPage = userPage && (entryLow & USER) !== 0;
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
      const reservedHigh = RESERVED_HIGH | (noExecute ? 0 : NO_EXECUTE) | (long ? 0 : 0x7ff00000);
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
        if ((entryLow & PRESENT) === 0) {
          return false;
        }
        const entryHigh = this.#tableWord(entryAddress + 4);
        const pointer = shift === 30 && !long;
        const large = (entryLow & LARGE) !== 0 && shift === 21;
        const reservedLow = pointer ? 0x1e6 : large ? 0x1fe000 : shift >= 30 ? LARGE : 0;
        if ((entryHigh & reservedHigh) !== 0 || (entryLow & reservedLow) !== 0) {
          this.errorCode = base | ERROR_PROTECTION | ERROR_RESERVED;
          return false;
        }
        if (!pointer) {
          writable = writable && (entryLow & WRITABLE) !== 0;
          userPage = userPage && (entryLow & USER) !== 0;
          executable = executable && (entryHigh & NO_EXECUTE) === 0;
        }
        const above4G = (entryHigh & 0xff) !== 0;
        if (large || shift === 12) {
          const offsetMask = large ? 0x1ff000 : 0;
          physical = above4G ? NOWHERE : ((entryLow & ~0xfff & ~offsetMask) | (low & offsetMask)) & ~0xfff;
          break;
        }
        if (!pointer && (entryLow & ACCESSED) === 0) {
          this.#setTableBits(entryAddress, ACCESSED);
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
    const wanted = access === ACCESS_WRITE ? ACCESSED | DIRTY : ACCESSED;
    if ((entryLow & wanted) !== wanted) {
      this.#setTableBits(entryAddress, wanted);
    }
    this.#physical = physical & a20;
    // Reads give a writable entry only once the page is dirty, so that the first write is seen.
    this.#writable = writable && (access === ACCESS_WRITE || (entryLow & DIRTY) !== 0);
    this.#global = (entryLow & GLOBAL) !== 0 && (cr4 & L.CR4_PGE) !== 0;
    return true;
  }
}
