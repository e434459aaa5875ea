import { any, d, q } from '../../software/wasm/arithmetic.ts';
import { get, type I32, type I64, i32, load } from '../../software/wasm/function-builder.ts';
import {
  copyRegister,
  fromDouble,
  fromInteger,
  fromSingle,
  narrow,
  numberOf,
  placeOf,
  popOnce,
  pushNumber,
  type RealFormat,
  stackState,
  writeStatus,
} from '../../software/x87-ordinary.ts';
import * as L from '../layout.ts';
import * as X from '../x87/registers.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import { call, callForI64, recordPointers } from './x87-operands.ts';

/** Loads, stores and moves within the register stack that are shorter than the call of a function. */

function isEmpty(valid: I32, ...numbers: I32[]): I32 {
  const filled = numbers.map((number) => d.shr(valid, number)).reduce((a, b) => d.and(a, b));
  return d.zero(d.and(filled, 1));
}

/** Pushes a number that raises nothing. */
export function pushInline(b: InstructionBuilder, significand: I64, signExponent: I32): void {
  const { f } = b;
  const cpu = get(b.cpu);
  const state = stackState(f, cpu);
  const room = numberOf(f, state, 7);
  f.ifUnlikely(
    d.and(d.shr(state.valid, room), 1),
    () => call(b, 'x87-load-extended', significand, signExponent),
    () => {
      pushNumber(f, state, room, significand, signExponent);
      writeStatus(f, cpu, 0);
    },
  );
}

/** FLD of a real that `bits` are. */
export function loadRealInline(b: InstructionBuilder, format: RealFormat, bits: I32 | I64): void {
  const { f } = b;
  const cpu = get(b.cpu);
  const number = format === 'single' ? fromSingle(f, bits as I32) : fromDouble(f, bits as I64);
  const state = stackState(f, cpu);
  const room = numberOf(f, state, 7);
  f.ifUnlikely(
    any(d.and(d.shr(state.valid, room), 1), ...number.unusual),
    () => call(b, `x87-load-${format}`, bits),
    () => {
      pushNumber(f, state, room, number.significand, d.or(d.and(number.word, X.SIGN), number.exponent));
      writeStatus(f, cpu, 0);
    },
  );
}

/** FILD of a signed integer. */
export function loadIntegerInline(b: InstructionBuilder, value: I64): void {
  const { f } = b;
  const cpu = get(b.cpu);
  const kept = f.keep(value);
  const number = fromInteger(f, kept);
  const state = stackState(f, cpu);
  const room = numberOf(f, state, 7);
  f.ifUnlikely(
    any(d.and(d.shr(state.valid, room), 1), ...number.unusual),
    () => call(b, 'x87-load-integer', kept),
    () => {
      pushNumber(f, state, room, number.significand, d.or(number.word, number.exponent));
      writeStatus(f, cpu, 0);
    },
  );
}

/** FST, FSTP of a real to memory. */
export function storeRealInline(b: InstructionBuilder, format: RealFormat, pops: 0 | 1): void {
  const { f } = b;
  const cpu = get(b.cpu);
  const { unusual, convert } = narrow(f, stackState(f, cpu), format);
  const bits = f.local('i64');
  const raised = f.local('i32');
  f.ifUnlikely(
    unusual,
    () => {
      f.set(bits, callForI64(b, `x87-store-${format}`));
      f.set(raised, load('i32.load', cpu, X.RAISED));
    },
    () => {
      const converted = convert();
      f.set(bits, converted.bits);
      f.set(raised, converted.flags);
    },
  );
  finishStoreInline(b, get(raised), pops, () => {
    const { size } = b.operand(0);
    b.storeMemory(b.effectiveAddress(), b.fit(get(bits), size), size);
  });
}

/** Stores unless something unmasked among `raised` forbids it, sets the status and pops. */
export function finishStoreInline(b: InstructionBuilder, raised: I32, pops: 0 | 1, store: () => void): void {
  const { f } = b;
  const cpu = get(b.cpu);
  const unmasked = f.keep(d.xor(load('i32.load', cpu, L.FPU_CONTROL), -1));
  f.if(d.zero(d.and(d.and(raised, unmasked), X.STORE_EXCEPTIONS)), store);
  recordPointers(b);
  f.ifUnlikely(
    d.or(d.and(raised, ~(X.STATUS_PE | X.STATUS_C1)), d.and(unmasked, X.STATUS_PE)),
    () => {
      f.store('i32.store', cpu, raised, X.RAISED);
      call(b, 'x87-finish-store', i32(pops));
    },
    () => {
      writeStatus(f, cpu, raised);
      if (pops === 1) {
        popOnce(f, cpu);
      }
    },
  );
}

/** FLD ST(i). */
export function pushRegisterInline(b: InstructionBuilder): void {
  const { f } = b;
  const cpu = get(b.cpu);
  const state = stackState(f, cpu);
  const room = numberOf(f, state, 7);
  const from = numberOf(f, state, b.slotValue(0));
  f.ifUnlikely(
    d.and(d.or(d.shr(state.valid, room), d.xor(d.shr(state.valid, from), 1)), 1),
    () => call(b, 'x87-push-register', b.slotValue(0)),
    () => {
      const place = placeOf(f, state, from);
      pushNumber(f, state, room, load('i64.load', place, L.FPR), load('i32.load16_u', place, L.FPR + 8));
      writeStatus(f, cpu, 0);
    },
  );
}

/** FST ST(i), FSTP ST(i). */
export function copyInline(b: InstructionBuilder, pops: 0 | 1): void {
  const { f } = b;
  const cpu = get(b.cpu);
  const state = stackState(f, cpu);
  f.ifUnlikely(
    isEmpty(state.valid, state.top),
    () => call(b, 'x87-copy-register', b.slotValue(0), i32(pops)),
    () => {
      copyRegister(f, state, b.slotValue(0));
      if (pops === 1) {
        popOnce(f, cpu);
      }
      writeStatus(f, cpu, 0);
    },
  );
}

export function exchangeInline(b: InstructionBuilder): void {
  const { f } = b;
  const cpu = get(b.cpu);
  const state = stackState(f, cpu);
  const other = numberOf(f, state, b.slotValue(0));
  f.ifUnlikely(
    isEmpty(state.valid, state.top, other),
    () => call(b, 'x87-exchange', b.slotValue(0)),
    () => {
      const first = placeOf(f, state, state.top);
      const second = placeOf(f, state, other);
      // In two halves, which is how arithmetic has just written them.
      for (const offset of [L.FPR, L.FPR + 8]) {
        const value = f.keep(load('i64.load', first, offset));
        f.store('i64.store', first, load('i64.load', second, offset), offset);
        f.store('i64.store', second, value, offset);
      }
      writeStatus(f, cpu, 0);
    },
  );
}

/** FABS, FCHS: the sign of anything that is there. */
export function signInline(b: InstructionBuilder, mask: number, flip: number): void {
  const { f } = b;
  const cpu = get(b.cpu);
  const state = stackState(f, cpu);
  f.ifUnlikely(
    isEmpty(state.valid, state.top),
    () => call(b, 'x87-sign', i32(mask), i32(flip)),
    () => {
      const place = placeOf(f, state, state.top);
      const word = d.xor(d.and(load('i32.load16_u', place, L.FPR + 8), mask), flip);
      f.store('i64.store', place, q.fromU32(word), L.FPR + 8);
      writeStatus(f, cpu, 0);
    },
  );
}
