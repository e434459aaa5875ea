import { CODE_MAP, DIRTY_MAP, FRAME_READABLE, FRAME_TRACKED, FRAME_WRITABLE, FRAMES } from '../../memory/arena.ts';
import * as L from '../x86/layout.ts';
import {
  DTLB_SUPERVISOR,
  DTLB_USER,
  ITLB_USER,
  TLB_GLOBAL_LIST,
  TLB_HUGE_MAP,
  TLB_LARGE_MAP,
  TLB_LOCAL_LIST,
} from './arena-layout.ts';
import {
  DTLB_ADDEND,
  DTLB_ENTRIES,
  DTLB_PHYSICAL,
  DTLB_READ_TAG,
  DTLB_WRITE_TAG,
  ITLB_ENTRIES,
  ITLB_PHYSICAL,
  ITLB_TAG,
} from './micro-op.ts';
import {
  ABOVE_4G,
  ACCESS_FETCH,
  ACCESS_WRITE,
  DTLB_FLAGS,
  INVALID_TAG,
  ITLB_FLAGS,
  NOWHERE,
  PAGE_ACCESSED,
  PAGE_DIRTY,
  PAGE_GLOBAL,
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
  TLB_GLOBAL,
  TLB_HUGE,
  TLB_HUGE_SHIFT,
  TLB_LARGE,
  TLB_LARGE_SHIFT,
  TLB_LISTED_GLOBAL,
  TLB_LISTED_LOCAL,
} from './tlb.ts';
import { largeMapBit, largeMapByte, tlbsOf } from './tlb-functions.ts';
import { d, q } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Label,
  type Local,
  load,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';

/** How the page is to be accessed: ACCESS_*, and whose rights count. */
const HOW_ACCESS = 3;
const HOW_USER = 1 << 2;
/** SMAP is in force: the supervisor may not touch user pages. */
const HOW_RESTRAINED = 1 << 3;

/**
 * The outcome of a walk: 0 when it is not for here; OUTCOME_FAULT and the error code of a page fault above it; else the
 * physical page with OUTCOME_OK and the others in its low bits.
 */
const OUTCOME_OK = 1 << 0;
const OUTCOME_FAULT = 1 << 1;
const OUTCOME_CODE_SHIFT = 4;
/** Writes need no further walk: they are allowed and the page is dirty. */
const OUTCOME_WRITABLE = 1 << 1;
const OUTCOME_GLOBAL = 1 << 2;
const OUTCOME_LARGE = TLB_LARGE;
const OUTCOME_HUGE = TLB_HUGE;

/** What `walkData` answers when there is a page fault, in FAULT. */
const FAULTED_ACCESS = -1;
/** And when the access needs the TypeScript part, or faults and was to be quiet about it. */
export const UNHANDLED = -2;
/** With the access: no fault is to be set. */
const QUIET = 1 << 1;
/** Page-fault error code (SDM 3A, 4.7). */
const ERROR_PROTECTION = 1 << 0;
const ERROR_WRITE_SHIFT = 1;

export interface PageWalkFunctions {
  /**
   * (cpu, linear address, 0 read | 1 write | QUIET) → arena address, 0 for devices, −1 with a page fault in FAULT, or
   * UNHANDLED. Fills the data TLB in force for plain memory; SCRATCH[2] receives the physical address.
   */
  readonly walkData: FunctionReference;
  /** (cpu, linear address) → 1 when the instruction TLB in force now has the page, 0 when that faults. */
  readonly walkCode: FunctionReference;
  /**
   * (cpu, linear address, 0 read | 1 write, bytes) → arena address if the access lies in one page of plain memory, is
   * allowed and needs no care (decoded code, watchpoints); else 0, with no effect but those of the access itself.
   */
  readonly fillTlb: FunctionReference;
  /** The same with a look at the TLB first. */
  readonly lookUpTlb: FunctionReference;
}

function frameOf(physical: I32): I32 {
  return load('i32.load', d.shl(d.shr(physical, 12), 2), FRAMES);
}

/** A condition as 0 or `bit`. */
function flag(condition: I32, bit: number): I32 {
  return select(condition, i32(bit), i32(0));
}

/** The usual cases of page walks (SDM 3A, chapter 4) as WebAssembly. All else is left to `Translation`, unchanged. */
export function buildPageWalk(module: ModuleBuilder): PageWalkFunctions {
  const walkPages = module.function('walkPages', { params: ['i32', 'i64', 'i32'], results: ['i32'] }, (f) =>
    buildWalkPages(f),
  );

  const walkData = module.function('walkData', { params: ['i32', 'i64', 'i32'], results: ['i32'] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const address = get(f.parameter(1, 'i64'));
    const access = get(f.parameter(2, 'i32'));
    const write = f.keep(d.and(access, ACCESS_WRITE));
    f.if(load('i32.load', cpu, L.WATCHING), () => f.return(i32(UNHANDLED)));
    const tlbs = f.keep(tlbsOf(cpu));
    const table = f.keep(load('i32.load', cpu, L.DTLB));
    const place = f.keep(d.sub(table, tlbs));
    const rights = d.or(flag(d.eq(place, DTLB_USER), HOW_USER), flag(d.eq(place, DTLB_SUPERVISOR), HOW_RESTRAINED));
    const outcome = f.keep(f.call(walkPages, cpu, address, d.or(write, rights)) as I32);
    f.if(d.zero(d.and(outcome, OUTCOME_OK)), () => {
      f.if(d.or(d.zero(outcome), d.and(access, QUIET)), () => f.return(i32(UNHANDLED)));
      f.store('i32.store', cpu, i32(L.FAULT_PENDING | L.FAULT_HAS_ERROR | L.VECTOR_PF), L.FAULT);
      f.store('i32.store', cpu, d.shr(outcome, OUTCOME_CODE_SHIFT), L.FAULT_ERROR);
      f.store('i64.store', cpu, address, L.FAULT_ADDRESS);
      f.return(i32(FAULTED_ACCESS));
    });
    const page = f.keep(d.and(outcome, -4096));
    const low = f.keep(d.wrap(address));
    const offset = f.keep(d.and(low, 4095));
    f.store('i32.store', cpu, d.or(page, offset), L.SCRATCH + 16);
    const number = f.keep(d.shr(page, 12));
    const frame = f.keep(load('i32.load', d.shl(number, 2), FRAMES));
    f.if(d.zero(d.and(frame, select(write, i32(FRAME_WRITABLE), i32(FRAME_READABLE)))), () => f.return(i32(0)));
    const tracked = f.keep(d.and(frame, FRAME_TRACKED));
    f.if(d.and(d.ne(write, 0), d.ne(tracked, 0)), () => f.store('i32.store8', number, i32(1), DIRTY_MAP));
    const host = f.keep(d.and(frame, -4096));

    const entry = f.keep(d.add(table, d.and(d.shr(low, 7), (DTLB_ENTRIES - 1) << 5)));
    const tag = f.keep(q.and(address, -4096));
    // Stores to code and the first ones to tracked pages have to be seen.
    const writable = d.and(
      d.and(
        d.and(d.ne(d.and(outcome, OUTCOME_WRITABLE), 0), d.ne(d.and(frame, FRAME_WRITABLE), 0)),
        q.zero(load('i64.load', d.shl(number, 3), CODE_MAP)),
      ),
      d.or(d.zero(tracked), load('i32.load8_u', number, DIRTY_MAP)),
    );
    f.store('i64.store', entry, select(d.and(frame, FRAME_READABLE), tag, i64(INVALID_TAG)), DTLB_READ_TAG);
    f.store('i64.store', entry, select(writable, tag, i64(INVALID_TAG)), DTLB_WRITE_TAG);
    f.store('i32.store', entry, d.sub(host, d.wrap(tag)), DTLB_ADDEND);
    f.store('i32.store', entry, page, DTLB_PHYSICAL);
    enlist(f, tlbs, entry, DTLB_FLAGS, address, outcome);
    f.return(d.or(host, offset));
    f.unreachable();
  });

  const walkCode = module.function('walkCode', { params: ['i32', 'i64'], results: ['i32'] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const address = get(f.parameter(1, 'i64'));
    const tlbs = f.keep(tlbsOf(cpu));
    const table = f.keep(load('i32.load', cpu, L.ITLB));
    const how = d.or(flag(d.eq(d.sub(table, tlbs), ITLB_USER), HOW_USER), ACCESS_FETCH);
    const outcome = f.keep(f.call(walkPages, cpu, address, how) as I32);
    f.if(d.zero(outcome), () => f.return(i32(0)));
    const entry = f.keep(d.add(table, d.and(d.shr(d.wrap(address), 8), (ITLB_ENTRIES - 1) << 4)));
    f.store('i64.store', entry, q.and(address, -4096), ITLB_TAG);
    f.store('i32.store', entry, d.and(outcome, -4096), ITLB_PHYSICAL);
    enlist(f, tlbs, entry, ITLB_FLAGS, address, outcome);
    f.return(i32(1));
    f.unreachable();
  });

  const fillType = { params: ['i32', 'i64', 'i32', 'i32'], results: ['i32'] } as const;
  const fillTlb = module.function('fillTlb', fillType, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const address = get(f.parameter(1, 'i64'));
    const write = get(f.parameter(2, 'i32'));
    const size = get(f.parameter(3, 'i32'));
    f.if(d.gtU(d.add(d.and(d.wrap(address), 4095), size), 4096), () => f.return(i32(0)));
    const host = f.keep(f.call(walkData, cpu, address, d.or(write, QUIET)) as I32);
    f.if(d.eq(host, UNHANDLED), () => f.return(i32(0)));
    f.if(write, () => {
      const number = d.shr(load('i32.load', cpu, L.SCRATCH + 16), 12);
      f.if(q.nonzero(load('i64.load', d.shl(number, 3), CODE_MAP)), () => f.return(i32(0)));
    });
    f.return(host);
    f.unreachable();
  });
  const lookUpTlb = module.function('lookUpTlb', fillType, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const address = get(f.parameter(1, 'i64'));
    const write = get(f.parameter(2, 'i32'));
    const size = get(f.parameter(3, 'i32'));
    const low = f.keep(d.wrap(address));
    const entry = f.keep(d.add(load('i32.load', cpu, L.DTLB), d.and(d.shr(low, 7), (DTLB_ENTRIES - 1) << 5)));
    const tag = load('i64.load', d.add(entry, d.shl(write, 3)), DTLB_READ_TAG);
    f.if(q.eq(tag, q.and(q.add(address, q.fromU32(d.sub(size, 1))), -4096)), () =>
      f.return(d.add(low, load('i32.load', entry, DTLB_ADDEND))),
    );
    f.return(f.call(fillTlb, cpu, address, write, size));
    f.unreachable();
  });
  return { walkData, walkCode, fillTlb, lookUpTlb };
}

/** Sets an entry's flags and enters it in the list that it belongs to. */
function enlist(f: FunctionBuilder, tlbs: I32, entry: I32, flags: number, address: I64, outcome: I32): void {
  const large = f.keep(d.and(outcome, OUTCOME_LARGE | OUTCOME_HUGE));
  for (const [outcomeBit, map, shift] of [
    [OUTCOME_LARGE, TLB_LARGE_MAP, TLB_LARGE_SHIFT],
    [OUTCOME_HUGE, TLB_HUGE_MAP, TLB_HUGE_SHIFT],
  ] as const) {
    f.if(d.and(large, outcomeBit), () => {
      const place = f.keep(d.add(tlbs, largeMapByte(address, shift)));
      f.store('i32.store8', place, d.or(load('i32.load8_u', place, map), largeMapBit(address, shift)), map);
    });
  }
  const old = f.keep(d.and(load('i32.load', entry, flags), TLB_LISTED_LOCAL | TLB_LISTED_GLOBAL));
  const append = (which: number, bit: number, also: number) => {
    f.store('i32.store', entry, d.or(d.or(old, bit | also), large), flags);
    f.if(d.zero(d.and(old, bit)), () => {
      const count = f.keep(load('i32.load', tlbs, which));
      f.store('i32.store', d.add(tlbs, d.shl(count, 2)), entry, which + 4);
      f.store('i32.store', tlbs, d.add(count, 1), which);
    });
  };
  f.if(
    d.and(outcome, OUTCOME_GLOBAL),
    () => append(TLB_GLOBAL_LIST, TLB_LISTED_GLOBAL, TLB_GLOBAL),
    () => append(TLB_LOCAL_LIST, TLB_LISTED_LOCAL, 0),
  );
}

/** (cpu, linear address, HOW_*) → OUTCOME_*, or 0. */
function buildWalkPages(f: FunctionBuilder): void {
  const cpu = get(f.parameter(0, 'i32'));
  const address = f.parameter(1, 'i64');
  const how = get(f.parameter(2, 'i32'));
  const low = f.keep(d.wrap(get(address)));
  const cr0 = f.keep(load('i32.load', cpu, L.CR0));
  const a20 = f.keep(load('i32.load', cpu, L.A20_MASK));
  const fail = () => f.return(i32(0));
  /** A page fault; that of a fetch is not for here. */
  const faultOf = (protection: number) => {
    const code = d.or(d.or(d.shl(d.and(how, ACCESS_WRITE), ERROR_WRITE_SHIFT), d.and(how, HOW_USER)), protection);
    const outcome = d.or(d.shl(code, OUTCOME_CODE_SHIFT), OUTCOME_FAULT);
    f.return(select(d.and(how, ACCESS_FETCH), i32(0), outcome));
  };
  const notPresent = () => faultOf(0);
  const forbids = () => faultOf(ERROR_PROTECTION);
  f.if(d.zero(d.and(cr0, L.CR0_PG)), () =>
    f.return(d.or(d.and(d.and(low, -4096), a20), OUTCOME_OK | OUTCOME_WRITABLE | OUTCOME_GLOBAL)),
  );
  const cr4 = f.keep(load('i32.load', cpu, L.CR4));
  const efer = f.keep(load('i32.load', cpu, L.EFER));
  const cr3 = load('i32.load', cpu, L.CR3);

  /** WRITABLE and USER of all levels. */
  const rights = f.local('i32');
  /** Bit 31: some level forbids execution. */
  const forbidden = f.local('i32');
  /** Arena address, low and high word of the entry looked at. */
  const place = f.local('i32');
  /** Number of its physical page. */
  const tablePage = f.local('i32');
  const entry = f.local('i32');
  const high = f.local('i32');
  const physical = f.local('i32');
  const table = f.local('i32');
  const tableWritable = f.local('i32');
  /** OUTCOME_LARGE, OUTCOME_HUGE or 0. */
  const large = f.local('i32');
  f.set(rights, i32(-1));

  /** Sets `place` to the entry at physical address `at`. */
  const locate = (at: I32) => {
    const kept = f.keep(d.and(at, a20));
    const frame = f.keep(frameOf(kept));
    f.if(d.zero(d.and(frame, FRAME_READABLE)), fail);
    f.set(tableWritable, d.and(frame, FRAME_WRITABLE));
    f.set(place, d.or(d.and(frame, -4096), d.and(kept, 4095)));
    f.set(tablePage, d.shr(kept, 12));
  };
  const setBits = (bits: I32) =>
    f.if(get(tableWritable), () => {
      f.store('i32.store', get(place), d.or(get(entry), bits));
      f.store('i32.store8', get(tablePage), i32(1), DIRTY_MAP);
    });
  const markAccessed = () => f.if(d.zero(d.and(get(entry), PAGE_ACCESSED)), () => setBits(i32(PAGE_ACCESSED)));

  /** One level of 64-bit entries; `pointer` for the page-directory pointers of PAE paging. Leaves through `leaf` when done. */
  const level = (linear: I64, shift: number, badHigh: I32, pointer: boolean, leaf: Label) =>
    f.scope(() => {
      const index = d.and(d.wrap(q.shr(linear, shift)), pointer ? 3 : 511);
      locate(d.add(get(table), d.shl(index, 3)));
      const whole = f.keep(load('i64.load', get(place)));
      f.set(entry, d.wrap(whole));
      f.if(d.zero(d.and(get(entry), PAGE_PRESENT)), notPresent);
      f.set(high, d.wrap(q.shr(whole, 32)));
      f.if(d.and(get(high), badHigh), fail);
      if (pointer) {
        f.if(d.and(get(entry), RESERVED_POINTER), fail);
      } else {
        f.set(rights, d.and(get(rights), get(entry)));
        f.set(forbidden, d.or(get(forbidden), get(high)));
      }
      const above = d.and(get(high), ABOVE_4G);
      if (shift === 12) {
        f.set(physical, select(above, i32(NOWHERE), d.and(get(entry), -4096)));
        return;
      }
      if (shift === 21) {
        f.if(d.and(get(entry), PAGE_LARGE), () => {
          f.if(d.and(get(entry), RESERVED_LARGE), fail);
          f.set(large, i32(OUTCOME_LARGE));
          const inRam = d.or(d.and(get(entry), ~0x1fffff), d.and(low, 0x1ff000));
          f.set(physical, select(above, i32(NOWHERE), inRam));
          f.br(leaf);
        });
      } else if (shift === 30 && !pointer) {
        f.if(d.and(get(entry), PAGE_LARGE), () => {
          f.if(d.and(get(entry), RESERVED_HUGE), fail);
          f.set(large, i32(OUTCOME_HUGE));
          const inRam = d.or(d.and(get(entry), ~0x3fffffff), d.and(low, 0x3ffff000));
          f.set(physical, select(above, i32(NOWHERE), inRam));
          f.br(leaf);
        });
      } else if (!pointer) {
        f.if(d.and(get(entry), PAGE_LARGE), fail);
      }
      if (!pointer) {
        markAccessed();
      }
      // A table that no memory holds has no present entries.
      f.if(above, fail);
      f.set(table, d.and(get(entry), -4096));
    });

  f.block((leaf) => {
    f.if(d.and(cr4, L.CR4_PAE), () => {
      const noExecute = select(d.and(efer, L.EFER_NXE), i32(0), i32(PAGE_NO_EXECUTE));
      f.if(d.and(efer, L.EFER_LMA), () => {
        const top = f.keep(q.sar(get(address), 47));
        f.if(q.gtU(q.add(top, 1), 1), fail);
        const badHigh = f.keep(d.or(noExecute, RESERVED_HIGH));
        f.set(table, d.and(cr3, -4096));
        for (const shift of [39, 30, 21, 12]) {
          level(get(address), shift, badHigh, false, leaf);
        }
        f.br(leaf);
      });
      const badHigh = f.keep(d.or(noExecute, RESERVED_HIGH | RESERVED_HIGH_PAE));
      const linear = f.keep(q.fromU32(low));
      f.set(table, d.and(cr3, ~0x1f));
      level(linear, 30, badHigh, true, leaf);
      level(linear, 21, badHigh, false, leaf);
      level(linear, 12, badHigh, false, leaf);
      f.br(leaf);
    });
    locate(d.add(d.and(cr3, -4096), d.shl(d.shr(low, 22), 2)));
    f.set(entry, load('i32.load', get(place)));
    f.if(d.zero(d.and(get(entry), PAGE_PRESENT)), notPresent);
    f.set(rights, get(entry));
    f.if(d.and(d.ne(d.and(get(entry), PAGE_LARGE), 0), d.ne(d.and(cr4, L.CR4_PSE), 0)), () => {
      f.if(d.and(get(entry), RESERVED_PSE), fail);
      f.set(large, i32(OUTCOME_LARGE));
      const inRam = d.or(d.and(get(entry), ~0x3fffff), d.and(low, 0x3ff000));
      f.set(physical, select(d.and(get(entry), PSE_HIGH_ADDRESS), i32(NOWHERE), inRam));
      f.br(leaf);
    });
    markAccessed();
    locate(d.add(d.and(get(entry), -4096), d.shl(d.and(d.shr(low, 12), 0x3ff), 2)));
    f.set(entry, load('i32.load', get(place)));
    f.if(d.zero(d.and(get(entry), PAGE_PRESENT)), notPresent);
    f.set(rights, d.and(get(rights), get(entry)));
    f.set(physical, d.and(get(entry), -4096));
  });

  // Rights (SDM 3A, 4.6).
  const access = f.keep(d.and(how, HOW_ACCESS));
  const writes = f.keep(d.eq(access, ACCESS_WRITE));
  const fetches = f.keep(d.eq(access, ACCESS_FETCH));
  const userPage = f.keep(d.and(get(rights), PAGE_USER));
  const writable: Local<'i32'> = f.local('i32');
  f.set(writable, d.and(get(rights), PAGE_WRITABLE));
  f.if(
    d.and(how, HOW_USER),
    () => f.if(d.zero(userPage), forbids),
    () => {
      f.if(d.zero(d.and(cr0, L.CR0_WP)), () => f.set(writable, i32(PAGE_WRITABLE)));
      f.if(userPage, () => f.if(select(fetches, d.and(cr4, L.CR4_SMEP), d.and(how, HOW_RESTRAINED)), forbids));
    },
  );
  f.if(d.and(writes, d.zero(get(writable))), forbids);
  f.if(d.and(fetches, d.ltS(get(forbidden), 0)), forbids);
  const wanted = f.keep(select(writes, i32(PAGE_ACCESSED | PAGE_DIRTY), i32(PAGE_ACCESSED)));
  f.if(d.ne(d.and(get(entry), wanted), wanted), () => setBits(wanted));
  const dirty = d.or(writes, d.ne(d.and(get(entry), PAGE_DIRTY), 0));
  f.return(
    d.or(
      d.or(d.or(d.and(get(physical), a20), OUTCOME_OK), get(large)),
      d.or(
        flag(d.and(dirty, d.ne(get(writable), 0)), OUTCOME_WRITABLE),
        flag(d.and(d.ne(d.and(get(entry), PAGE_GLOBAL), 0), d.ne(d.and(cr4, L.CR4_PGE), 0)), OUTCOME_GLOBAL),
      ),
    ),
  );
  f.unreachable();
}
