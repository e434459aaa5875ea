import { assert } from '../../base/assert.ts';
import { PROCESSORS, PROCESSORS_SIZE } from '../../memory/arena.ts';
import * as L from '../x86/layout.ts';
import {
  BLOCK_ENTRY_SIZE,
  BLOCK_TABLE_BITS,
  DTLB_ENTRIES,
  DTLB_ENTRY_SIZE,
  ITLB_ENTRIES,
  ITLB_ENTRY_SIZE,
  JUMP_ENTRIES,
  JUMP_ENTRY_SHIFT,
  JUMP_TABLE_SHIFT,
} from './micro-op.ts';
import { TLB_LARGE_MAP_SIZE, TLB_LIST_SIZE } from './tlb.ts';

/** The processors' part of the arena. All values are byte addresses. */
export const MAX_CPUS = 8;
export const CPU_STATES = PROCESSORS;
export const DTLB_SIZE = DTLB_ENTRIES * DTLB_ENTRY_SIZE;
export const ITLB_SIZE = ITLB_ENTRIES * ITLB_ENTRY_SIZE;
/** Per processor: data TLBs for user, supervisor, supervisor that may touch user pages; instruction TLBs user, supervisor. */
export const TLBS = CPU_STATES + MAX_CPUS * L.CPU_STATE_SIZE;
export const DTLB_USER = 0;
export const DTLB_SUPERVISOR = DTLB_SIZE;
export const DTLB_SUPERVISOR_USER = DTLB_SIZE * 2;
export const ITLB_USER = DTLB_SIZE * 3;
export const ITLB_SUPERVISOR = DTLB_SIZE * 3 + ITLB_SIZE;
/** Lists of the entries that CR3 writes forget, and of those that they leave alone. */
export const TLB_LOCAL_LIST = DTLB_SIZE * 3 + ITLB_SIZE * 2;
export const TLB_GLOBAL_LIST = TLB_LOCAL_LIST + TLB_LIST_SIZE;
/** Where there are entries of large pages, and of pages of 1 GiB. */
export const TLB_LARGE_MAP = TLB_GLOBAL_LIST + TLB_LIST_SIZE;
export const TLB_HUGE_MAP = TLB_LARGE_MAP + TLB_LARGE_MAP_SIZE;
export const TLB_STRIDE = TLB_HUGE_MAP + TLB_LARGE_MAP_SIZE;
export const BLOCK_TABLE = TLBS + MAX_CPUS * TLB_STRIDE;
export const JUMPS = BLOCK_TABLE + (BLOCK_ENTRY_SIZE << BLOCK_TABLE_BITS);
export const UOP_CACHE = JUMPS + MAX_CPUS * (JUMP_ENTRIES << JUMP_ENTRY_SHIFT);
export const UOP_CACHE_END = PROCESSORS + PROCESSORS_SIZE;

assert(UOP_CACHE_END - UOP_CACHE > 32 << 20, 'the processors have too small a part of the arena');
assert(JUMP_ENTRIES << JUMP_ENTRY_SHIFT === L.CPU_STATE_SIZE << JUMP_TABLE_SHIFT, 'jump caches follow the records');
