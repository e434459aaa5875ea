import { DTLB_ENTRIES, ITLB_ENTRIES } from './micro-op.ts';

/** What the code that fills the TLBs and the code that flushes them agree on; see arena-layout.ts for their places. */

/** A tag that matches no address, in an entry's low word: neither a page nor one with the lowest bits of an address. */
export const INVALID_TAG = 0x800;
/** Within an entry, i32: TLB_GLOBAL and which lists name it. */
export const DTLB_FLAGS = 24;
export const ITLB_FLAGS = 12;
/** CR3 writes leave the entry alone (SDM 3A, 4.10.2.4). */
export const TLB_GLOBAL = 1 << 0;
export const TLB_LISTED_LOCAL = 1 << 1;
export const TLB_LISTED_GLOBAL = 1 << 2;
/** The entry is part of a large page: INVLPG of any address in that page forgets it. */
export const TLB_LARGE = 1 << 3;
/** The same of a page of 1 GiB. */
export const TLB_HUGE = 1 << 4;

/**
 * A list of filled entries, so that flushing need not look at all of them: u32 count, u32 arena addresses. An entry is
 * named at most once in each.
 */
export const TLB_LIST_SIZE = 4 * (4 + 3 * DTLB_ENTRIES + 2 * ITLB_ENTRIES);
/** A bit for each 4 MiB of linear addresses, modulo 4 GiB: entries of large pages may be there. In bytes. */
export const TLB_LARGE_MAP_SIZE = 128;
export const TLB_LARGE_SHIFT = 22;
/** A second map, as large, of pages of 1 GiB: a bit for each GiB, modulo 1 TiB. */
export const TLB_HUGE_SHIFT = 30;

/** Page-table entry bits (SDM 3A, tables 4-5 to 4-20). */
export const PAGE_PRESENT = 1 << 0;
export const PAGE_WRITABLE = 1 << 1;
export const PAGE_USER = 1 << 2;
export const PAGE_ACCESSED = 1 << 5;
export const PAGE_DIRTY = 1 << 6;
export const PAGE_LARGE = 1 << 7;
export const PAGE_GLOBAL = 1 << 8;
/** Bit 63, in the high word. */
export const PAGE_NO_EXECUTE = 0x80000000 | 0;
/** High word: address bits 32–39. No machine has memory there: pages lead to NOWHERE, which no machine maps. */
export const ABOVE_4G = 0x000000ff;
export const NOWHERE = 0xfef00000;
/** High word: address bits from 2^40 (MAXPHYADDR) on. */
export const RESERVED_HIGH = 0x000fff00;
/** High word: reserved in the entries of PAE paging outside long mode. */
export const RESERVED_HIGH_PAE = 0x7ff00000;
/** Low word of a page-directory-pointer entry of PAE paging. */
export const RESERVED_POINTER = 0x1e6;
/** Low word of a 2-MiB page's entry: address bits below its size. */
export const RESERVED_LARGE = 0x1fe000;
/** The same of a 1-GiB page. */
export const RESERVED_HUGE = 0x3fffe000;
/** A 4-MiB page's entry: bit 21; and bits 13–20 are address bits 32–39 (PSE-36). */
export const RESERVED_PSE = 1 << 21;
export const PSE_HIGH_ADDRESS = 0x1fe000;

export const ACCESS_READ = 0;
export const ACCESS_WRITE = 1;
export const ACCESS_FETCH = 2;
