import * as L from '../x86/layout.ts';
import * as X from '../x86/x87/registers.ts';
import { all, any, d, q } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  i32,
  i64,
  type Label,
  load,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import type { Conversions } from './x87-conversions.ts';
import {
  copyRegister,
  fromDouble,
  fromInteger,
  fromRegister,
  fromSingle,
  memoryForms,
  narrow,
  numberOf,
  type Ordinary,
  placeOf,
  popOnce,
  pushNumber,
  type RealFormat,
  roundsToNext,
  type StackState,
  signOf,
  stackState,
  unlessFilled,
  unlessOrdinary,
  writeStatus,
} from './x87-ordinary.ts';
import { setResult } from './x87-rounding.ts';
import { clearRaised, type Stack } from './x87-stack.ts';

/** The thorough functions of the same names, without what is pushed or compared in one step here. */
export interface Thorough {
  readonly stack: Stack;
  readonly conversions: Conversions;
  /** (cpu). */
  readonly pushReal: FunctionReference;
  readonly storeSingle: FunctionReference;
  readonly storeDouble: FunctionReference;
  readonly storeInteger: FunctionReference;
  readonly others: ReadonlyMap<string, FunctionReference>;
}

const UNORDERED = X.STATUS_C0 | X.STATUS_C2 | X.STATUS_C3;

/** C0, C2 and C3 for numbers that are normal or, with exponent and significand 0, zero. */
function orderOf(f: FunctionBuilder, a: Ordinary, b: Ordinary): I32 {
  const equal = f.keep(all(d.eq(a.exponent, b.exponent), q.eq(a.significand, b.significand)));
  const smaller = f.keep(
    any(d.ltU(a.exponent, b.exponent), all(d.eq(a.exponent, b.exponent), q.ltU(a.significand, b.significand))),
  );
  const negative = f.keep(d.and(d.shr(a.word, 15), 1));
  const same = f.keep(d.eq(negative, d.and(d.shr(b.word, 15), 1)));
  const zeros = q.zero(q.or(a.significand, b.significand));
  // Of two negative numbers the larger magnitude is less.
  const less = select(same, d.xor(smaller, negative), negative);
  return select(any(all(equal, same), zeros), i32(X.STATUS_C3), d.shl(less, 8));
}

/** A number from memory with the exponent and significand of a zero if it is one. */
function withZero(f: FunctionBuilder, number: Ordinary): Ordinary {
  const zero = f.keep(number.zero);
  return {
    ...number,
    exponent: f.keep(select(zero, i32(0), number.exponent)),
    significand: f.keep(select(zero, i64(0), number.significand)),
  };
}

/** Leaves for `slow` unless ST(7) is empty; its number. */
function unlessRoom(f: FunctionBuilder, slow: Label, stack: StackState): I32 {
  const number = numberOf(f, stack, 7);
  f.brIf(slow, d.and(d.shr(stack.valid, number), 1));
  return number;
}

const TWO = { params: ['i32', 'i32'], results: [] } as const;
const WIDE = { params: ['i32', 'i64'], results: [] } as const;

/** Loads, moves between registers, stores and comparisons. Without `quick` they only go the thorough way. */
export function buildOrdinaryMoves(
  module: ModuleBuilder,
  thorough: Thorough,
  quick: boolean,
): Map<string, FunctionReference> {
  const { stack, conversions } = thorough;
  const functions = new Map<string, FunctionReference>();
  const define = (
    name: string,
    type: { readonly params: readonly ('i32' | 'i64')[]; readonly results: readonly ('i32' | 'i64')[] },
    ordinary: (f: FunctionBuilder, slow: Label, cpu: I32) => void,
    otherwise: (f: FunctionBuilder, cpu: I32) => void,
  ) => {
    const reference = module.function(name, type, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      if (quick) {
        f.block((slow) => {
          ordinary(f, slow, cpu);
          if (type.results.length === 0) {
            f.return();
          }
        });
      }
      otherwise(f, cpu);
    });
    functions.set(name, reference);
  };
  /** Falls back to a function with the same parameters. */
  const defineOver = (
    name: string,
    target: FunctionReference | undefined,
    ordinary: (f: FunctionBuilder, slow: Label, cpu: I32) => void,
  ) => {
    if (target === undefined) {
      throw new Error(`${name}: no thorough function`);
    }
    const type = target.type as { params: readonly ('i32' | 'i64')[]; results: readonly ('i32' | 'i64')[] };
    define(name, type, ordinary, (f) => {
      const operands = type.params.map((param, i) => get(f.parameter(i, param)));
      if (type.results.length === 0) {
        f.callVoid(target, ...operands);
      } else {
        f.return(f.call(target, ...operands));
        f.unreachable();
      }
    });
  };

  // ── Loads ───────────────────────────────────────────────────────────────────────────────────────────────────────

  const push = (f: FunctionBuilder, slow: Label, cpu: I32, number: Ordinary) => {
    const state = stackState(f, cpu);
    const room = unlessRoom(f, slow, state);
    pushNumber(f, state, room, number.significand, d.or(d.and(number.word, X.SIGN), number.exponent));
    writeStatus(f, cpu, 0);
  };
  const pushReal = (f: FunctionBuilder, slow: Label, cpu: I32, number: Ordinary) => {
    f.if(any(...number.unusual), () => {
      f.brIf(slow, d.zero(number.zero));
      push(f, slow, cpu, { ...number, significand: i64(0), exponent: i32(0) });
      f.return();
    });
    push(f, slow, cpu, number);
  };
  /** (cpu, bits of a single). */
  define(
    'x87-load-single',
    TWO,
    (f, slow, cpu) => pushReal(f, slow, cpu, fromSingle(f, get(f.parameter(1, 'i32')))),
    (f, cpu) => {
      f.callVoid(conversions.fromSingle, cpu, get(f.parameter(1, 'i32')));
      f.callVoid(thorough.pushReal, cpu);
    },
  );
  /** (cpu, bits of a double). */
  define(
    'x87-load-double',
    WIDE,
    (f, slow, cpu) => pushReal(f, slow, cpu, fromDouble(f, get(f.parameter(1, 'i64')))),
    (f, cpu) => {
      f.callVoid(conversions.fromDouble, cpu, get(f.parameter(1, 'i64')));
      f.callVoid(thorough.pushReal, cpu);
    },
  );
  /** (cpu, signed integer). */
  define(
    'x87-load-integer',
    WIDE,
    (f, slow, cpu) => push(f, slow, cpu, withZero(f, fromInteger(f, get(f.parameter(1, 'i64'))))),
    (f, cpu) => {
      f.callVoid(conversions.fromInteger, cpu, get(f.parameter(1, 'i64')));
      clearRaised(f, cpu);
      f.callVoid(stack.push, cpu);
    },
  );
  /** (cpu, significand, sign and exponent): pushes anything as it is. */
  define(
    'x87-load-extended',
    { params: ['i32', 'i64', 'i32'], results: [] },
    (f, slow, cpu) => {
      const state = stackState(f, cpu);
      const room = unlessRoom(f, slow, state);
      pushNumber(f, state, room, get(f.parameter(1, 'i64')), get(f.parameter(2, 'i32')));
      writeStatus(f, cpu, 0);
    },
    (f, cpu) => {
      setResult(f, cpu, get(f.parameter(1, 'i64')), get(f.parameter(2, 'i32')));
      clearRaised(f, cpu);
      f.callVoid(stack.push, cpu);
    },
  );

  // ── Moves between registers ─────────────────────────────────────────────────────────────────────────────────────

  defineOver('x87-push-register', thorough.others.get('x87-push-register'), (f, slow, cpu) => {
    const state = stackState(f, cpu);
    const from = numberOf(f, state, get(f.parameter(1, 'i32')));
    unlessFilled(f, slow, state, from);
    const room = unlessRoom(f, slow, state);
    const place = placeOf(f, state, from);
    pushNumber(f, state, room, load('i64.load', place, L.FPR), load('i32.load16_u', place, L.FPR + 8));
    writeStatus(f, cpu, 0);
  });
  defineOver('x87-copy-register', thorough.others.get('x87-copy-register'), (f, slow, cpu) => {
    const state = stackState(f, cpu);
    unlessFilled(f, slow, state, state.top);
    copyRegister(f, state, get(f.parameter(1, 'i32')));
    f.if(get(f.parameter(2, 'i32')), () => popOnce(f, cpu));
    writeStatus(f, cpu, 0);
  });
  defineOver('x87-exchange', thorough.others.get('x87-exchange'), (f, slow, cpu) => {
    const state = stackState(f, cpu);
    const other = numberOf(f, state, get(f.parameter(1, 'i32')));
    unlessFilled(f, slow, state, state.top, other);
    const first = placeOf(f, state, state.top);
    const second = placeOf(f, state, other);
    // In two halves, which is how arithmetic has just written them.
    for (const offset of [L.FPR, L.FPR + 8]) {
      const value = f.keep(load('i64.load', first, offset));
      f.store('i64.store', first, load('i64.load', second, offset), offset);
      f.store('i64.store', second, value, offset);
    }
    writeStatus(f, cpu, 0);
  });
  defineOver('x87-sign', thorough.others.get('x87-sign'), (f, slow, cpu) => {
    const state = stackState(f, cpu);
    unlessFilled(f, slow, state, state.top);
    const place = placeOf(f, state, state.top);
    const word = d.and(load('i32.load16_u', place, L.FPR + 8), get(f.parameter(1, 'i32')));
    f.store('i64.store', place, q.fromU32(d.xor(word, get(f.parameter(2, 'i32')))), L.FPR + 8);
    writeStatus(f, cpu, 0);
  });

  // ── Stores ──────────────────────────────────────────────────────────────────────────────────────────────────────

  const storeReal = (name: string, format: RealFormat, target: FunctionReference) =>
    defineOver(name, target, (f, slow, cpu) => {
      const state = stackState(f, cpu);
      const { unusual, significand, word, convert } = narrow(f, state, format);
      f.if(unusual, () => {
        unlessFilled(f, slow, state, state.top);
        f.brIf(slow, q.nonzero(q.or(significand, q.fromU32(d.and(word, X.EXPONENT_MAX)))));
        clearRaised(f, cpu);
        f.return(signOf(word, format));
      });
      const { bits, flags } = convert();
      f.store('i32.store', cpu, flags, X.RAISED);
      f.return(bits);
    });
  storeReal('x87-store-single', 'single', thorough.storeSingle);
  storeReal('x87-store-double', 'double', thorough.storeDouble);
  defineOver('x87-store-integer', thorough.storeInteger, (f, slow, cpu) => {
    const bits = get(f.parameter(1, 'i32'));
    const state = stackState(f, cpu);
    unlessFilled(f, slow, state, state.top);
    const rounding = d.and(load('i32.load', cpu, L.FPU_CONTROL), X.CONTROL_ROUNDING);
    const mode = f.keep(d.or(rounding, d.mul(get(f.parameter(2, 'i32')), X.CONTROL_ROUNDING)));
    const truncates = f.keep(d.eq(mode, X.CONTROL_ROUNDING));
    f.brIf(slow, all(d.ne(mode, 0), d.zero(truncates)));
    const number = fromRegister(f, placeOf(f, state, state.top));
    unlessOrdinary(f, slow, number);
    const shift = f.keep(d.sub(X.EXPONENT_BIAS + 63, number.exponent));
    f.brIf(slow, d.leS(shift, 0));
    const high = f.local('i64');
    const low = f.local('i64');
    f.if(
      d.leS(shift, 63),
      () => {
        const count = f.keep(q.fromU32(shift));
        f.set(high, q.shr(number.significand, count));
        f.set(low, q.shl(number.significand, q.sub(64, count)));
      },
      () => {
        f.set(high, i64(0));
        f.set(low, select(d.eq(shift, 64), number.significand, q.fromU32(q.nonzero(number.significand))));
      },
    );
    const up = f.keep(all(roundsToNext(get(low), get(high)), d.zero(truncates)));
    f.set(high, q.add(get(high), q.fromU32(up)));
    const negative = f.keep(q.fromU32(d.shr(d.and(number.word, X.SIGN), 15)));
    const limit = q.add(q.sub(q.shl(1, q.fromU32(d.sub(bits, 1))), 1), negative);
    f.brIf(slow, q.gtU(get(high), limit));
    f.store('i32.store', cpu, d.or(d.shl(q.nonzero(get(low)), 5), d.shl(up, 9)), X.RAISED);
    f.return(q.add(q.xor(get(high), q.sub(0, negative)), negative));
  });
  /** (cpu, pops). */
  defineOver('x87-finish-store', thorough.others.get('x87-finish-store'), (f, slow, cpu) => {
    const raised = f.keep(load('i32.load', cpu, X.RAISED));
    f.brIf(slow, d.and(raised, ~(X.STATUS_PE | X.STATUS_C1)));
    f.brIf(slow, d.zero(d.and(load('i32.load', cpu, L.FPU_CONTROL), X.STATUS_PE)));
    writeStatus(f, cpu, raised);
    f.if(get(f.parameter(1, 'i32')), () => popOnce(f, cpu));
  });

  // ── Comparisons ─────────────────────────────────────────────────────────────────────────────────────────────────

  const writeConditions = (f: FunctionBuilder, cpu: I32, conditions: I32) => {
    const kept = d.and(load('i32.load', cpu, L.FPU_STATUS), ~(UNORDERED | X.STATUS_C1));
    f.store('i32.store', cpu, d.or(kept, conditions), L.FPU_STATUS);
  };
  const order = (f: FunctionBuilder, slow: Label, state: StackState, other: Ordinary) => {
    const first = fromRegister(f, placeOf(f, state, state.top));
    unlessOrdinary(f, slow, first);
    unlessOrdinary(f, slow, other);
    return f.keep(orderOf(f, first, other));
  };
  const popTimes = (f: FunctionBuilder, state: StackState, count: I32) =>
    f.if(count, () => {
      popOnce(f, state.cpu);
      f.if(d.gtS(count, 1), () => popOnce(f, state.cpu));
    });
  const withRegister = (f: FunctionBuilder, slow: Label, cpu: I32) => {
    const state = stackState(f, cpu);
    const index = get(f.parameter(1, 'i32'));
    f.brIf(slow, d.ltS(index, 0));
    const other = numberOf(f, state, index);
    unlessFilled(f, slow, state, state.top, other);
    const conditions = order(f, slow, state, fromRegister(f, placeOf(f, state, other)));
    popTimes(f, state, get(f.parameter(3, 'i32')));
    return conditions;
  };
  defineOver('x87-compare', stack.compare, (f, slow, cpu) => writeConditions(f, cpu, withRegister(f, slow, cpu)));
  // C1 stays as it is.
  defineOver('x87-compare-flags', stack.compareFlags, (f, slow, cpu) => f.return(withRegister(f, slow, cpu)));
  /** x87-compare-single, -double, -integer: (cpu, pops, operand). */
  const compareMemory = (
    format: string,
    type: { readonly params: readonly ('i32' | 'i64')[]; readonly results: readonly [] },
    decode: (f: FunctionBuilder) => Ordinary,
    convert: (f: FunctionBuilder, cpu: I32) => void,
  ) =>
    define(
      `x87-compare-${format}`,
      type,
      (f, slow, cpu) => {
        const state = stackState(f, cpu);
        unlessFilled(f, slow, state, state.top);
        writeConditions(f, cpu, order(f, slow, state, withZero(f, decode(f))));
        popTimes(f, state, get(f.parameter(1, 'i32')));
      },
      (f, cpu) => {
        convert(f, cpu);
        f.callVoid(stack.compare, cpu, i32(-1), i32(0), get(f.parameter(1, 'i32')));
      },
    );
  for (const { name, bits, quick, thorough } of memoryForms(conversions)) {
    compareMemory(
      name,
      { params: ['i32', 'i32', bits], results: [] },
      (f) => quick(f, 2),
      (f, cpu) => thorough(f, cpu, 2),
    );
  }
  return functions;
}
