import * as L from '../x86/layout.ts';
import {
  DTLB_SUPERVISOR,
  DTLB_SUPERVISOR_USER,
  DTLB_USER,
  ITLB_SUPERVISOR,
  ITLB_USER,
  TLB_GLOBAL_LIST,
  TLB_HUGE_MAP,
  TLB_LARGE_MAP,
  TLB_LOCAL_LIST,
  TLB_STRIDE,
  TLBS,
} from './arena-layout.ts';
import { DTLB_ENTRIES, DTLB_PHYSICAL, DTLB_READ_TAG, DTLB_WRITE_TAG, ITLB_ENTRIES } from './micro-op.ts';
import {
  DTLB_FLAGS,
  INVALID_TAG,
  ITLB_FLAGS,
  TLB_GLOBAL,
  TLB_HUGE,
  TLB_HUGE_SHIFT,
  TLB_LARGE,
  TLB_LARGE_MAP_SIZE,
  TLB_LARGE_SHIFT,
  TLB_LISTED_GLOBAL,
  TLB_LISTED_LOCAL,
} from './tlb.ts';
import { d, q } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  load,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';

/** A processor's TLBs: arena address. */
export function tlbsOf(cpu: I32): I32 {
  return d.add(d.mul(load('i32.load', cpu, L.CPU_INDEX), TLB_STRIDE), TLBS);
}

/** Where in a map of large pages a linear address has its bit, one for each 2^shift bytes. */
export function largeMapByte(address: I64, shift: number): I32 {
  return d.and(d.wrap(q.shr(address, shift + 3)), TLB_LARGE_MAP_SIZE - 1);
}

export function largeMapBit(address: I64, shift: number): I32 {
  return d.shl(1, d.and(d.wrap(q.shr(address, shift)), 7));
}

export interface TlbFunctions {
  /** (cpu, including global): forgets translations, as writes to CR3 do. */
  readonly flushTlb: FunctionReference;
  /** (cpu, linear address): forgets the page of an address, as INVLPG does. */
  readonly invalidatePage: FunctionReference;
  /** (cpu, physical address of the first page, of the last): the next write to each of these pages is seen. */
  readonly dropWriteTags: FunctionReference;
  /** (cpu): chooses the tables in force from CPL, CR4.SMAP and RFLAGS.AC. */
  readonly selectTlbs: FunctionReference;
}

/** What forgets translations. Lists say which entries are filled; see enlist. */
export function buildTlb(module: ModuleBuilder): TlbFunctions {
  const forgetJumps = (f: FunctionBuilder, cpu: I32) =>
    f.store('i32.store', cpu, d.add(load('i32.load', cpu, L.JUMP_GENERATION), 1), L.JUMP_GENERATION);

  /** Calls `body` with the arena address of each entry that list `which` names. */
  const forEach = (f: FunctionBuilder, tlbs: I32, which: number, body: (entry: I32) => void) => {
    const at = f.local('i32');
    const end = f.local('i32');
    f.set(at, d.add(tlbs, which + 4));
    f.set(end, d.add(get(at), d.shl(load('i32.load', tlbs, which), 2)));
    f.block((done) => {
      f.loop((again) => {
        f.brIf(done, d.eq(get(at), get(end)));
        body(f.keep(load('i32.load', get(at))));
        f.set(at, d.add(get(at), 4));
        f.br(again);
      });
    });
  };
  const isData = (tlbs: I32, entry: I32) => d.ltU(entry, d.add(tlbs, ITLB_USER));
  const forgetEntry = (f: FunctionBuilder, entry: I32, data: I32) => {
    f.store('i32.store', entry, i32(INVALID_TAG), DTLB_READ_TAG);
    f.if(data, () => f.store('i32.store', entry, i32(INVALID_TAG), DTLB_WRITE_TAG));
  };

  const flushList = module.function('flushTlbList', { params: ['i32', 'i32', 'i32'], results: [] }, (f) => {
    const tlbs = get(f.parameter(0, 'i32'));
    const global = get(f.parameter(1, 'i32'));
    const includingGlobal = get(f.parameter(2, 'i32'));
    const list = f.keep(select(global, i32(TLB_GLOBAL_LIST), i32(TLB_LOCAL_LIST)));
    const keep = f.keep(d.xor(-1, select(global, i32(TLB_LISTED_GLOBAL), i32(TLB_LISTED_LOCAL))));
    const place = f.keep(d.add(tlbs, list));
    forEach(f, place, 0, (entry) => {
      const data = f.keep(isData(tlbs, entry));
      const flags = f.keep(d.add(entry, select(data, i32(DTLB_FLAGS), i32(ITLB_FLAGS))));
      const value = f.keep(load('i32.load', flags));
      f.store('i32.store', flags, d.and(value, keep));
      // A local entry may have given way to a global one since.
      f.if(d.or(includingGlobal, d.zero(d.and(value, TLB_GLOBAL))), () => forgetEntry(f, entry, data));
    });
    f.store('i32.store', place, i32(0));
  });

  const flushTlb = module.function('flushTlb', { params: ['i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const includingGlobal = get(f.parameter(1, 'i32'));
    forgetJumps(f, cpu);
    const tlbs = f.keep(tlbsOf(cpu));
    f.callVoid(flushList, tlbs, i32(0), includingGlobal);
    f.if(includingGlobal, () => {
      f.callVoid(flushList, tlbs, i32(1), i32(1));
      for (const map of [TLB_LARGE_MAP, TLB_HUGE_MAP]) {
        f.fill(d.add(tlbs, map), i32(0), i32(TLB_LARGE_MAP_SIZE));
      }
    });
  });

  /**
   * (tlbs, linear address, shift, TLB_LARGE or TLB_HUGE): forgets all entries of such pages in the region of 2^shift
   * bytes around an address.
   */
  const largeType = { params: ['i32', 'i64', 'i64', 'i32'], results: [] } as const;
  const invalidateLarge = module.function('invalidateLarge', largeType, (f) => {
    const tlbs = get(f.parameter(0, 'i32'));
    const shift = get(f.parameter(2, 'i64'));
    const kind = get(f.parameter(3, 'i32'));
    const region = f.keep(q.shr(get(f.parameter(1, 'i64')), shift));
    for (const which of [TLB_LOCAL_LIST, TLB_GLOBAL_LIST]) {
      forEach(f, tlbs, which, (entry) => {
        const data = f.keep(isData(tlbs, entry));
        const flags = load('i32.load', d.add(entry, select(data, i32(DTLB_FLAGS), i32(ITLB_FLAGS))));
        const inRegion = (tag: number) => q.eq(q.shr(load('i64.load', entry, tag), shift), region);
        // The second tag of an instruction TLB's entry is none: at worst it forgets too much.
        f.if(d.and(flags, kind), () =>
          f.if(d.or(inRegion(DTLB_READ_TAG), inRegion(DTLB_WRITE_TAG)), () => forgetEntry(f, entry, data)),
        );
      });
    }
  });

  const invalidatePage = module.function('invalidatePage', { params: ['i32', 'i64'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const address = get(f.parameter(1, 'i64'));
    forgetJumps(f, cpu);
    const tlbs = f.keep(tlbsOf(cpu));
    const page = f.keep(d.wrap(q.shr(address, 12)));
    const data = f.keep(d.add(tlbs, d.shl(d.and(page, DTLB_ENTRIES - 1), 5)));
    for (const table of [DTLB_USER, DTLB_SUPERVISOR, DTLB_SUPERVISOR_USER]) {
      f.store('i32.store', data, i32(INVALID_TAG), table + DTLB_READ_TAG);
      f.store('i32.store', data, i32(INVALID_TAG), table + DTLB_WRITE_TAG);
    }
    const code = f.keep(d.add(tlbs, d.shl(d.and(page, ITLB_ENTRIES - 1), 4)));
    for (const table of [ITLB_USER, ITLB_SUPERVISOR]) {
      f.store('i32.store', code, i32(INVALID_TAG), table);
    }
    for (const [map, shift, kind] of [
      [TLB_LARGE_MAP, TLB_LARGE_SHIFT, TLB_LARGE],
      [TLB_HUGE_MAP, TLB_HUGE_SHIFT, TLB_HUGE],
    ] as const) {
      const bits = load('i32.load8_u', d.add(tlbs, largeMapByte(address, shift)), map);
      // The bit stands for other addresses too, 1024 regions away: it stays.
      f.if(d.and(bits, largeMapBit(address, shift)), () =>
        f.callVoid(invalidateLarge, tlbs, address, i64(shift), i32(kind)),
      );
    }
  });

  const dropWriteTags = module.function('dropWriteTags', { params: ['i32', 'i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const first = get(f.parameter(1, 'i32'));
    const length = f.keep(d.sub(get(f.parameter(2, 'i32')), first));
    const tlbs = f.keep(tlbsOf(cpu));
    for (const which of [TLB_LOCAL_LIST, TLB_GLOBAL_LIST]) {
      forEach(f, tlbs, which, (entry) =>
        f.if(isData(tlbs, entry), () =>
          f.if(d.zero(d.gtU(d.sub(load('i32.load', entry, DTLB_PHYSICAL), first), length)), () =>
            f.store('i32.store', entry, i32(INVALID_TAG), DTLB_WRITE_TAG),
          ),
        ),
      );
    }
  });

  const selectTlbs = module.function('selectTlbs', { params: ['i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const tlbs = f.keep(tlbsOf(cpu));
    const has = (field: number, bits: number) => d.and(load('i32.load', cpu, field), bits);
    const user = f.keep(d.eq(has(L.MODE, L.MODE_CPL_MASK), L.MODE_CPL_MASK));
    const restrained = d.and(d.ne(has(L.CR4, L.CR4_SMAP), 0), d.zero(has(L.FLAGS_REST, L.FLAG_AC)));
    const supervisor = select(restrained, i32(DTLB_SUPERVISOR), i32(DTLB_SUPERVISOR_USER));
    f.store('i32.store', cpu, d.add(tlbs, select(user, i32(DTLB_USER), supervisor)), L.DTLB);
    f.store('i32.store', cpu, d.add(tlbs, select(user, i32(ITLB_USER), i32(ITLB_SUPERVISOR))), L.ITLB);
  });
  return { flushTlb, invalidatePage, dropWriteTags, selectTlbs };
}
