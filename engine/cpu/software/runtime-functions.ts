import { CODE_MAP } from '../../memory/arena.ts';
import { highProduct } from '../x86/instructions/products.ts';
import * as L from '../x86/layout.ts';
import { buildInterrupts, type InterruptFunctions } from './interrupt-functions.ts';
import { CHECK_WRITE, DTLB_ADDEND, DTLB_PHYSICAL, DTLB_READ_TAG, DTLB_WRITE_TAG } from './micro-op.ts';
import { buildPageWalk, UNHANDLED } from './page-walk-functions.ts';
import { buildSse } from './sse-functions.ts';
import { buildTlb, type TlbFunctions } from './tlb-functions.ts';
import {
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  load,
  op,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { buildX87 } from './x87-functions.ts';

/** What generated code calls in TypeScript. Addresses are arena addresses of a processor's record. */
export interface RuntimeImports {
  /**
   * Translates the linear address in SCRATCH[0] for reading (0) or writing (1) with the present privilege, where the
   * page walk in WebAssembly could not. Returns the arena address, 0 for devices, or −1 with FAULT set. SCRATCH[2]
   * receives the physical address.
   */
  walk(cpu: number, write: number): number;
  /** Device accesses; addresses are unsigned 32-bit physical ones passed as i32. */
  readMmio(cpu: number, physical: number, size: number): number;
  writeMmio(cpu: number, physical: number, size: number, value: number): void;
  /** A store has hit decoded code at a physical address. */
  codeWritten(cpu: number, physical: number, size: number): void;
  /** Carries out system operation `operation`; returns NEXT, FAULTED, JUMPED or STOPPED. */
  system(cpu: number, uop: number, operation: number): number;
}

/** Functions shared by all handlers, by name. */
export interface RuntimeFunctions {
  readonly system: FunctionReference;
  readonly slowLoad: FunctionReference;
  readonly slowStore: FunctionReference;
  readonly slowCheckWrite: FunctionReference;
  /** (cpu, 0 read | 1 write) → like the import `walk`, but the usual case is done here. */
  readonly translateScratch: FunctionReference;
  /** See PageWalkFunctions. */
  readonly walkCode: FunctionReference;
  readonly fillTlb: FunctionReference;
  readonly tlb: TlbFunctions;
  readonly interrupts: InterruptFunctions;
  readonly segmentAddress: FunctionReference;
  readonly helpers: ReadonlyMap<string, FunctionReference>;
}

const I32_I32 = { params: ['i32', 'i32'], results: ['i32'] } as const;

function binary(name: 'add' | 'sub', a: I32, n: number): I32 {
  return op(`i32.${name}`, a, i32(n));
}

/** Declares the imports and builds the functions that loads, stores and wide arithmetic fall back to. */
export function buildRuntime(module: ModuleBuilder): RuntimeFunctions {
  const walk = module.import('walk', I32_I32);
  const readMmio = module.import('readMmio', { params: ['i32', 'i32', 'i32'], results: ['i32'] });
  const writeMmio = module.import('writeMmio', { params: ['i32', 'i32', 'i32', 'i32'], results: [] });
  const codeWritten = module.import('codeWritten', { params: ['i32', 'i32', 'i32'], results: [] });
  const system = module.import('system', { params: ['i32', 'i32', 'i32'], results: ['i32'] });
  const { walkData, walkCode, fillTlb, lookUpTlb } = buildPageWalk(module);
  const tlb = buildTlb(module);
  const interrupts = buildInterrupts(module, lookUpTlb, tlb);

  /** Arena address for a linear address by TLB, else by walking; 0 for devices, −1 on a fault; SCRATCH[2]: physical address. */
  const translate = (tag: number, write: number) =>
    module.function(`translate${write}`, { params: ['i32', 'i64'], results: ['i32'] }, (f) => {
      const cpu = f.parameter(0, 'i32');
      const address = f.parameter(1, 'i64');
      const entry = f.keep(
        op(
          'i32.add',
          load('i32.load', get(cpu), L.DTLB),
          op('i32.and', op('i32.shr_u', op('i32.wrap_i64', get(address)), i32(7)), i32(0x7fe0)),
        ),
      );
      f.if(op('i64.eq', load('i64.load', entry, tag), op('i64.and', get(address), i64(-4096))), () => {
        f.store(
          'i64.store32',
          get(cpu),
          op('i64.or', load('i64.load32_u', entry, DTLB_PHYSICAL), op('i64.and', get(address), i64(4095))),
          L.SCRATCH + 16,
        );
        f.return(op('i32.add', op('i32.wrap_i64', get(address)), load('i32.load', entry, DTLB_ADDEND)));
      });
      const host = f.keep(f.call(walkData, get(cpu), get(address), i32(write)) as I32);
      f.if(op('i32.ne', host, i32(UNHANDLED)), () => f.return(host));
      f.store('i64.store', get(cpu), get(address), L.SCRATCH);
      f.return(f.call(walk, get(cpu), i32(write)));
      f.unreachable();
    });
  const translateRead = translate(DTLB_READ_TAG, 0);
  const translateWrite = translate(DTLB_WRITE_TAG, 1);
  const translateScratch = module.function('translateScratch', I32_I32, (f) => {
    const cpu = f.parameter(0, 'i32');
    const write = f.parameter(1, 'i32');
    const address = load('i64.load', get(cpu), L.SCRATCH);
    const host = f.keep(f.call(walkData, get(cpu), address, get(write)) as I32);
    f.if(op('i32.ne', host, i32(UNHANDLED)), () => f.return(host));
    f.return(f.call(walk, get(cpu), get(write)));
    f.unreachable();
  });

  const isLong = (cpu: I32) =>
    op('i32.eq', op('i32.and', load('i32.load', cpu, L.MODE), i32(L.MODE_CODE_MASK)), i32(L.MODE_CODE64));

  /** The access begins at the end of the lower half of the canonical addresses and reaches beyond it. */
  const leavesCanonical = (cpu: I32, first: I64, last: I64) =>
    op(
      'i32.and',
      isLong(cpu),
      op(
        'i32.and',
        op('i64.eqz', op('i64.shr_s', first, i64(47))),
        op('i64.ne', op('i64.shr_s', last, i64(47)), i64(0)),
      ),
    );

  /** Loads `size` bytes (1–8) zero-extended; with FAULT set the value means nothing. */
  const slowLoad = module.declare('slowLoad', { params: ['i32', 'i64', 'i32'], results: ['i64'] });
  module.define(slowLoad, (f) => {
    const cpu = f.parameter(0, 'i32');
    const address = f.parameter(1, 'i64');
    const size = f.parameter(2, 'i32');
    const offset = f.keep(op('i32.and', op('i32.wrap_i64', get(address)), i32(4095)));
    f.if(op('i32.gt_u', op('i32.add', offset, get(size)), i32(4096)), () => {
      // Beyond the end of the canonical addresses: that counts before anything the first page has to say.
      const last = f.keep(op('i64.add', get(address), op('i64.extend_i32_u', op('i32.sub', get(size), i32(1)))));
      f.if(leavesCanonical(get(cpu), get(address), last), () => {
        f.drop(f.call(translateRead, get(cpu), last));
        f.if(load('i32.load', get(cpu), L.FAULT), () => f.return(i64(0)));
      });
      // Across a page: byte by byte, from the first page to the second.
      const value = f.local('i64');
      const i = f.local('i32');
      f.loop((again) => {
        const at = f.local('i64');
        f.set(at, op('i64.add', get(address), op('i64.extend_i32_u', get(i))));
        f.if(op('i32.eqz', isLong(get(cpu))), () => f.set(at, op('i64.and', get(at), i64(0xffffffff))));
        const byte = f.keep(f.call(slowLoad, get(cpu), get(at), i32(1)) as I64);
        f.if(load('i32.load', get(cpu), L.FAULT), () => f.return(i64(0)));
        f.set(
          value,
          op('i64.or', get(value), op('i64.shl', byte, op('i64.shl', op('i64.extend_i32_u', get(i)), i64(3)))),
        );
        f.set(i, op('i32.add', get(i), i32(1)));
        f.brIf(again, op('i32.lt_u', get(i), get(size)));
      });
      f.return(get(value));
    });
    f.store('i32.store', get(cpu), get(size), L.ACCESS_SIZE);
    const host = f.keep(f.call(translateRead, get(cpu), get(address)) as I32);
    f.if(op('i32.eq', host, i32(-1)), () => f.return(i64(0)));
    f.if(host, () => {
      for (const [bytes, name] of [
        [1, 'i64.load8_u'],
        [2, 'i64.load16_u'],
        [4, 'i64.load32_u'],
      ] as const) {
        f.if(op('i32.eq', get(size), i32(bytes)), () => f.return(load(name, host)));
      }
      f.return(load('i64.load', host));
    });
    const physical = f.keep(load('i32.load', get(cpu), L.SCRATCH + 16));
    f.if(op('i32.eq', get(size), i32(8)), () => {
      const low = f.keep(f.call(readMmio, get(cpu), physical, i32(4)) as I32);
      const high = f.keep(f.call(readMmio, get(cpu), binary('add', physical, 4), i32(4)) as I32);
      f.return(op('i64.or', op('i64.extend_i32_u', low), op('i64.shl', op('i64.extend_i32_u', high), i64(32))));
    });
    f.return(op('i64.extend_i32_u', f.call(readMmio, get(cpu), physical, get(size)) as I32));
    f.unreachable();
  });

  /** Checks both ends of a write; returns the arena address when all of it is plain memory in one page without code, else 0. */
  const slowCheckWrite = module.function('slowCheckWrite', { params: ['i32', 'i64', 'i32'], results: ['i32'] }, (f) => {
    const cpu = f.parameter(0, 'i32');
    const address = f.parameter(1, 'i64');
    const size = f.parameter(2, 'i32');
    f.store('i32.store', get(cpu), get(size), L.ACCESS_SIZE);
    const end = f.keep(op('i64.add', get(address), op('i64.extend_i32_u', op('i32.sub', get(size), i32(1)))));
    f.if(leavesCanonical(get(cpu), get(address), end), () => {
      f.drop(f.call(translateWrite, get(cpu), end));
      f.if(load('i32.load', get(cpu), L.FAULT), () => f.return(i32(0)));
    });
    const host = f.keep(f.call(translateWrite, get(cpu), get(address)) as I32);
    f.if(op('i32.eq', host, i32(-1)), () => f.return(i32(0)));
    const physical = f.keep(load('i32.load', get(cpu), L.SCRATCH + 16));
    const offset = op('i32.and', op('i32.wrap_i64', get(address)), i32(4095));
    f.if(op('i32.gt_u', op('i32.add', offset, get(size)), i32(4096)), () => {
      const last = f.local('i64');
      f.set(last, op('i64.add', get(address), op('i64.extend_i32_u', op('i32.sub', get(size), i32(1)))));
      f.if(op('i32.eqz', isLong(get(cpu))), () => f.set(last, op('i64.and', get(last), i64(0xffffffff))));
      // A fault in the second page is reported at its start.
      f.drop(f.call(translateWrite, get(cpu), op('i64.and', get(last), i64(-4096))));
      f.return(i32(0));
    });
    f.if(hasCode(physical), () => f.return(i32(0)));
    f.return(host);
    f.unreachable();
  });

  /** Stores the low `size` bytes (1–8) of `value`. Both pages are checked before anything is written. */
  const slowStore = module.declare('slowStore', { params: ['i32', 'i64', 'i32', 'i64'], results: [] });
  module.define(slowStore, (f) => {
    const cpu = f.parameter(0, 'i32');
    const address = f.parameter(1, 'i64');
    const size = f.parameter(2, 'i32');
    const value = f.parameter(3, 'i64');
    const offset = f.keep(op('i32.and', op('i32.wrap_i64', get(address)), i32(4095)));
    f.if(op('i32.gt_u', op('i32.add', offset, get(size)), i32(4096)), () => {
      f.drop(f.call(slowCheckWrite, get(cpu), get(address), get(size)));
      f.if(load('i32.load', get(cpu), L.FAULT), () => f.return());
      const i = f.local('i32');
      f.loop((again) => {
        const at = f.local('i64');
        f.set(at, op('i64.add', get(address), op('i64.extend_i32_u', get(i))));
        f.if(op('i32.eqz', isLong(get(cpu))), () => f.set(at, op('i64.and', get(at), i64(0xffffffff))));
        f.callVoid(
          slowStore,
          get(cpu),
          get(at),
          i32(1),
          op('i64.shr_u', get(value), op('i64.shl', op('i64.extend_i32_u', get(i)), i64(3))),
        );
        f.set(i, op('i32.add', get(i), i32(1)));
        f.brIf(again, op('i32.lt_u', get(i), get(size)));
      });
      f.return();
    });
    f.store('i32.store', get(cpu), get(size), L.ACCESS_SIZE);
    const host = f.keep(f.call(translateWrite, get(cpu), get(address)) as I32);
    f.if(op('i32.eq', host, i32(-1)), () => f.return());
    const physical = f.keep(load('i32.load', get(cpu), L.SCRATCH + 16));
    f.if(
      host,
      () => {
        f.block((done) => {
          for (const [bytes, name] of [
            [1, 'i64.store8'],
            [2, 'i64.store16'],
            [4, 'i64.store32'],
          ] as const) {
            f.if(op('i32.eq', get(size), i32(bytes)), () => {
              f.store(name, host, get(value));
              f.br(done);
            });
          }
          f.store('i64.store', host, get(value));
        });
        f.if(hasCode(physical, get(size)), () => f.callVoid(codeWritten, get(cpu), physical, get(size)));
      },
      () => {
        f.if(
          op('i32.eq', get(size), i32(8)),
          () => {
            f.callVoid(writeMmio, get(cpu), physical, i32(4), op('i32.wrap_i64', get(value)));
            f.callVoid(
              writeMmio,
              get(cpu),
              binary('add', physical, 4),
              i32(4),
              op('i32.wrap_i64', op('i64.shr_u', get(value), i64(32))),
            );
          },
          () => f.callVoid(writeMmio, get(cpu), physical, get(size), op('i32.wrap_i64', get(value))),
        );
      },
    );
  });

  return {
    system,
    slowLoad,
    slowStore,
    slowCheckWrite,
    translateScratch,
    walkCode,
    fillTlb,
    tlb,
    interrupts,
    segmentAddress: buildSegmentAddress(module),
    helpers: new Map([
      ...buildArithmetic(module),
      ['fillTlb', fillTlb],
      ['lookUpTlb', lookUpTlb],
      ['select-tlbs', tlb.selectTlbs],
      ['flush-tlb', tlb.flushTlb],
      ['invalidate-page', tlb.invalidatePage],
    ]),
  };
}

/** Whether a physical page holds decoded code, or with `size` (1–8), whether a granule that so many bytes touch does. */
function hasCode(physical: I32, size?: I32): I32 {
  const map = load('i64.load', op('i32.shl', op('i32.shr_u', physical, i32(12)), i32(3)), CODE_MAP);
  if (size === undefined) {
    return op('i64.ne', map, i64(0));
  }
  const bit = (address: I32) => op('i64.shl', i64(1), op('i64.extend_i32_u', op('i32.shr_u', address, i32(6))));
  const last = op('i32.sub', op('i32.add', physical, size), i32(1));
  return op('i64.ne', op('i64.and', map, op('i64.or', bit(physical), bit(last))), i64(0));
}

/**
 * Linear address of an offset in a segment with the checks of SDM 3A, 5.3: (cpu, segment number, offset, size |
 * CHECK_WRITE) → address. On a violation FAULT is set (#SS(0) for the stack segment, else #GP(0)).
 */
function buildSegmentAddress(module: ModuleBuilder): FunctionReference {
  return module.function('segmentAddress', { params: ['i32', 'i32', 'i64', 'i32'], results: ['i64'] }, (f) => {
    const cpu = f.parameter(0, 'i32');
    const segment = f.parameter(1, 'i32');
    const offset = f.parameter(2, 'i64');
    const check = f.parameter(3, 'i32');
    const descriptor = f.keep(op('i32.add', get(cpu), op('i32.shl', get(segment), i32(5))));
    const base = f.keep(load('i64.load', descriptor, L.SEGMENTS + L.SEGMENT_BASE));
    f.if(
      op('i32.eq', op('i32.and', load('i32.load', get(cpu), L.MODE), i32(L.MODE_CODE_MASK)), i32(L.MODE_CODE64)),
      () => f.return(op('i64.add', get(offset), select(op('i32.ge_u', get(segment), i32(L.SEG_FS)), base, i64(0)))),
    );
    const attributes = f.keep(load('i32.load', descriptor, L.SEGMENTS + L.SEGMENT_ATTRIBUTES));
    const limit = f.keep(load('i64.load32_u', descriptor, L.SEGMENTS + L.SEGMENT_LIMIT));
    const last = f.keep(
      op(
        'i64.add',
        get(offset),
        op('i64.extend_i32_u', op('i32.sub', op('i32.and', get(check), i32(CHECK_WRITE - 1)), i32(1))),
      ),
    );
    const bit = (mask: number) => op('i32.and', attributes, i32(mask));
    const writes = op('i32.and', get(check), i32(CHECK_WRITE));
    f.block((violation) => {
      f.brIf(violation, bit(L.ATTR_UNUSABLE));
      f.if(
        bit(L.ATTR_CODE),
        () => {
          f.brIf(violation, writes);
          f.brIf(violation, op('i32.eqz', bit(L.ATTR_WRITABLE))); // for code: readable
          f.brIf(violation, op('i64.gt_u', last, limit));
        },
        () => {
          f.brIf(violation, op('i32.and', op('i32.ne', writes, i32(0)), op('i32.eqz', bit(L.ATTR_WRITABLE))));
          f.if(
            bit(L.ATTR_EXPAND_DOWN),
            () => {
              f.brIf(violation, op('i64.le_u', get(offset), limit));
              f.brIf(violation, op('i64.gt_u', last, select(bit(L.ATTR_DB), i64(0xffffffff), i64(0xffff))));
            },
            () => f.brIf(violation, op('i64.gt_u', last, limit)),
          );
        },
      );
      f.return(op('i64.and', op('i64.add', base, get(offset)), i64(0xffffffff)));
    });
    f.store(
      'i32.store',
      get(cpu),
      select(
        op('i32.eq', get(segment), i32(L.SEG_SS)),
        i32(L.FAULT_PENDING | L.FAULT_HAS_ERROR | L.VECTOR_SS),
        i32(L.FAULT_PENDING | L.FAULT_HAS_ERROR | L.VECTOR_GP),
      ),
      L.FAULT,
    );
    f.store('i32.store', get(cpu), i32(0), L.FAULT_ERROR);
    f.return(i64(0));
    f.unreachable();
  });
}

function buildArithmetic(module: ModuleBuilder): Map<string, FunctionReference> {
  const wide = { params: ['i64', 'i64'], results: ['i64'] } as const;
  const multiplyHigh = module.function('multiplyHigh', wide, (f) => {
    const a = f.parameter(0, 'i64');
    const b = f.parameter(1, 'i64');
    f.return(highProduct(get(a), get(b), (value) => f.keep(value)));
    f.unreachable();
  });

  /** RDX:RAX ÷ divisor: (cpu, divisor) → 1, or 0 when the quotient does not fit. The divisor is not zero. */
  const division = { params: ['i32', 'i64'], results: ['i32'] } as const;
  const RAX = L.GPR;
  const RDX = L.GPR + 16;
  const divide128 = module.function('divide128', division, (f) => {
    const cpu = f.parameter(0, 'i32');
    const divisor = f.parameter(1, 'i64');
    const rest = f.local('i64');
    const quotient = f.local('i64');
    const i = f.local('i32');
    const top = f.local('i64');
    f.set(rest, load('i64.load', get(cpu), RDX));
    f.set(quotient, load('i64.load', get(cpu), RAX));
    f.if(op('i64.ge_u', get(rest), get(divisor)), () => f.return(i32(0)));
    f.set(i, i32(64));
    f.loop((again) => {
      // One bit of the quotient a turn; the bit shifted out of the rest counts as its 65th.
      f.set(top, op('i64.shr_s', get(rest), i64(63)));
      f.set(rest, op('i64.or', op('i64.shl', get(rest), i64(1)), op('i64.shr_u', get(quotient), i64(63))));
      f.set(quotient, op('i64.shl', get(quotient), i64(1)));
      f.if(op('i32.or', op('i64.ne', get(top), i64(0)), op('i64.ge_u', get(rest), get(divisor))), () => {
        f.set(rest, op('i64.sub', get(rest), get(divisor)));
        f.set(quotient, op('i64.or', get(quotient), i64(1)));
      });
      f.set(i, op('i32.sub', get(i), i32(1)));
      f.brIf(again, get(i));
    });
    f.store('i64.store', get(cpu), get(quotient), RAX);
    f.store('i64.store', get(cpu), get(rest), RDX);
    f.return(i32(1));
    f.unreachable();
  });
  const divideSigned128 = module.function('divideSigned128', division, (f) => {
    const cpu = f.parameter(0, 'i32');
    const divisor = f.parameter(1, 'i64');
    const low = f.keep(load('i64.load', get(cpu), RAX));
    const high = f.keep(load('i64.load', get(cpu), RDX));
    const negative = f.keep(op('i64.lt_s', high, i64(0)));
    const divisorNegative = f.keep(op('i64.lt_s', get(divisor), i64(0)));
    f.if(negative, () => {
      f.store('i64.store', get(cpu), op('i64.sub', i64(0), low), RAX);
      f.store(
        'i64.store',
        get(cpu),
        op('i64.sub', op('i64.sub', i64(0), high), op('i64.extend_i32_u', op('i64.ne', low, i64(0)))),
        RDX,
      );
    });
    const magnitude = f.keep(select(divisorNegative, op('i64.sub', i64(0), get(divisor)), get(divisor)));
    const restore = () => {
      f.store('i64.store', get(cpu), low, RAX);
      f.store('i64.store', get(cpu), high, RDX);
      f.return(i32(0));
    };
    f.if(op('i32.eqz', f.call(divide128, get(cpu), magnitude) as I32), restore);
    const quotient = f.keep(load('i64.load', get(cpu), RAX));
    const rest = f.keep(load('i64.load', get(cpu), RDX));
    const opposite = f.keep(op('i32.xor', negative, divisorNegative));
    // −2^63 … 2^63 − 1.
    f.if(op('i64.gt_u', quotient, op('i64.add', i64(0x7fffffffffffffffn), op('i64.extend_i32_u', opposite))), restore);
    f.store('i64.store', get(cpu), select(opposite, op('i64.sub', i64(0), quotient), quotient), RAX);
    f.store('i64.store', get(cpu), select(negative, op('i64.sub', i64(0), rest), rest), RDX);
    f.return(i32(1));
    f.unreachable();
  });
  return new Map([
    ['divide128', divide128],
    ['divideSigned128', divideSigned128],
    ...buildX87(module, multiplyHigh),
    ...buildSse(module, multiplyHigh),
  ]);
}
