import * as L from '../x86/layout.ts';
import * as X from '../x86/x87/registers.ts';
import { all, any, d, q } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
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
import type { Conversions } from './x87-conversions.ts';

/**
 * What the quick ways of x87 instructions have in common. They take care of ordinary operands, normal numbers and zeros,
 * under control words that programs use, and write registers and status themselves. Everything else, and above all
 * whatever raises more than an inexact result, is left to the thorough functions before anything has changed.
 */

/** Exponents 1 to 7FFE are those of normal numbers. */
const LAST_NORMAL = X.EXPONENT_MAX - 1;
/** Bits of the control word's precision: the first is set for 64 bits (and in the reserved 1), else the second for 53. */
const PRECISION_64 = 0x100;
const PRECISION_53 = 0x200;
export const HALF = -0x8000000000000000n;

/** The register stack at the start of an instruction. */
export interface StackState {
  readonly cpu: I32;
  readonly top: I32;
  readonly valid: I32;
}

export function stackState(f: FunctionBuilder, cpu: I32): StackState {
  const top = f.keep(load('i32.load', cpu, L.FPU_TOP));
  const valid = f.keep(load('i32.load', cpu, L.FPU_VALID));
  return { cpu, top, valid };
}

/** Number of the physical register of ST(i). */
export function numberOf(f: FunctionBuilder, stack: StackState, index: I32 | number): I32 {
  return f.keep(d.and(d.add(stack.top, index), 7));
}

/** Arena address, to which FPR is to be added, of a physical register. */
export function placeOf(f: FunctionBuilder, stack: StackState, number: I32): I32 {
  return f.keep(d.add(stack.cpu, d.shl(number, 4)));
}

/** Leaves for `slow` unless all of these physical registers hold something. */
export function unlessFilled(f: FunctionBuilder, slow: Label, stack: StackState, ...numbers: readonly I32[]): void {
  f.brIf(slow, d.zero(d.and(all(...numbers.map((number) => d.shr(stack.valid, number))), 1)));
}

export function writeRegister(f: FunctionBuilder, place: I32, significand: I64, signExponent: I32): void {
  f.store('i64.store', place, significand, L.FPR);
  f.store('i64.store', place, q.fromU32(signExponent), L.FPR + 8);
}

/** Pushes a number onto a stack whose ST(7), register `number`, is empty. */
export function pushNumber(
  f: FunctionBuilder,
  stack: StackState,
  number: I32,
  significand: I64,
  signExponent: I32,
): void {
  writeRegister(f, placeOf(f, stack, number), significand, signExponent);
  f.store('i32.store', stack.cpu, d.or(stack.valid, d.shl(1, number)), L.FPU_VALID);
  f.store('i32.store', stack.cpu, number, L.FPU_TOP);
}

export function popOnce(f: FunctionBuilder, cpu: I32): void {
  const top = f.keep(load('i32.load', cpu, L.FPU_TOP));
  f.store('i32.store', cpu, d.and(load('i32.load', cpu, L.FPU_VALID), d.xor(d.shl(1, top), -1)), L.FPU_VALID);
  f.store('i32.store', cpu, d.and(d.add(top, 1), 7), L.FPU_TOP);
}

/** Copies ST(0) to ST(i). */
export function copyRegister(f: FunctionBuilder, stack: StackState, index: I32): void {
  const to = numberOf(f, stack, index);
  const place = placeOf(f, stack, to);
  const from = placeOf(f, stack, stack.top);
  // In two halves, which is how arithmetic has just written it.
  f.store('i64.store', place, load('i64.load', from, L.FPR), L.FPR);
  f.store('i64.store', place, load('i64.load16_u', from, L.FPR + 8), L.FPR + 8);
  f.store('i32.store', stack.cpu, d.or(stack.valid, d.shl(1, to)), L.FPU_VALID);
}

/** Sets PE and C1 as `flags` has them; C1 is cleared otherwise. */
export function writeStatus(f: FunctionBuilder, cpu: I32, flags: I32 | number): void {
  const kept = d.and(load('i32.load', cpu, L.FPU_STATUS), ~X.STATUS_C1);
  f.store('i32.store', cpu, flags === 0 ? kept : d.or(kept, flags), L.FPU_STATUS);
}

/** Leaves for `slow` unless all exceptions are masked and rounding is to nearest. */
export function checkControl(f: FunctionBuilder, slow: Label, cpu: I32): I32 {
  const control = f.keep(load('i32.load', cpu, L.FPU_CONTROL));
  f.brIf(slow, d.ne(d.and(control, X.CONTROL_ROUNDING | X.EXCEPTIONS), X.EXCEPTIONS));
  return control;
}

/** An operand of arithmetic. Only bit 15 of `word` counts: the sign. */
export interface Ordinary {
  readonly significand: I64;
  readonly exponent: I32;
  readonly word: I32;
  /** Conditions one of which holds for anything but a normal number. */
  readonly unusual: readonly I32[];
  /** Whether it is a zero; `significand` and `exponent` are those of one only if it comes from a register. */
  readonly zero: I32;
}

export function fromRegister(f: FunctionBuilder, place: I32): Ordinary {
  const significand = f.keep(load('i64.load', place, L.FPR));
  const word = f.keep(load('i32.load16_u', place, L.FPR + 8));
  const exponent = f.keep(d.and(word, X.EXPONENT_MAX));
  const outside = d.gtU(d.sub(exponent, 1), LAST_NORMAL - 1);
  return {
    significand,
    exponent,
    word,
    unusual: [outside, q.geS(significand, 0)],
    zero: q.zero(q.or(significand, q.fromU32(exponent))),
  };
}

export function fromSingle(f: FunctionBuilder, bits: I32): Ordinary {
  const field = f.keep(d.and(d.shr(bits, 23), 0xff));
  return {
    significand: f.keep(q.or(q.shl(q.fromU32(bits), 40), X.INTEGER_BIT)),
    exponent: f.keep(d.add(field, X.EXPONENT_BIAS - 127)),
    word: f.keep(d.shr(bits, 16)),
    unusual: [d.gtU(d.sub(field, 1), 253)],
    zero: d.zero(d.shl(bits, 1)),
  };
}

export function fromDouble(f: FunctionBuilder, bits: I64): Ordinary {
  const upper = f.keep(d.wrap(q.shr(bits, 48)));
  const field = f.keep(d.and(d.shr(upper, 4), 0x7ff));
  return {
    significand: f.keep(q.or(q.shl(bits, 11), X.INTEGER_BIT)),
    exponent: f.keep(d.add(field, X.EXPONENT_BIAS - 1023)),
    word: upper,
    unusual: [d.gtU(d.sub(field, 1), 2045)],
    zero: q.zero(q.shl(bits, 1)),
  };
}

/** A signed integer of 64 bits. */
export function fromInteger(f: FunctionBuilder, value: I64): Ordinary {
  const sign = f.keep(q.sar(value, 63));
  const magnitude = f.keep(q.sub(q.xor(value, sign), sign));
  const shift = f.keep(q.clz(magnitude));
  return {
    significand: f.keep(q.shl(magnitude, shift)),
    exponent: f.keep(d.sub(X.EXPONENT_BIAS + 63, d.wrap(shift))),
    word: f.keep(d.and(d.wrap(sign), X.SIGN)),
    unusual: [q.zero(magnitude)],
    zero: q.zero(magnitude),
  };
}

/** Leaves for `slow` unless the operand is a normal number or zero. */
export function unlessOrdinary(f: FunctionBuilder, slow: Label, { unusual, zero }: Ordinary): void {
  f.brIf(slow, all(any(...unusual), d.zero(zero)));
}

/** The formats of reals in memory: bits of the significand that they drop, exponent bias, largest exponent field. */
export const REAL_FORMATS = {
  single: { drop: 40, bias: 127, maximum: 255 },
  double: { drop: 11, bias: 1023, maximum: 2047 },
} as const;

export type RealFormat = keyof typeof REAL_FORMATS;

/** ST(0) on its way to a narrower format. */
export interface Narrowing {
  /** Whether it has to go the thorough way; zeros count as unusual. */
  readonly unusual: I32;
  readonly significand: I64;
  readonly word: I32;
  /** Its bits, with their upper half clear for a single, and PE and C1. */
  convert(): { bits: I64; flags: I32 };
}

/** Whether `low` rounds a significand up, to nearest: it is more than a half, or a half and the significand odd. */
export function roundsToNext(low: I64, significand: I64): I32 {
  return q.gtU(low, q.sub(HALF, q.and(significand, 1)));
}

export function narrow(f: FunctionBuilder, stack: StackState, format: RealFormat): Narrowing {
  const { drop, bias, maximum } = REAL_FORMATS[format];
  const place = placeOf(f, stack, stack.top);
  const significand = f.keep(load('i64.load', place, L.FPR));
  const word = f.keep(load('i32.load16_u', place, L.FPR + 8));
  // One less than the exponent field, which must not be the largest in case rounding up carries into it.
  const exponent = f.keep(d.sub(d.and(word, X.EXPONENT_MAX), X.EXPONENT_BIAS - bias + 1));
  const empty = d.xor(d.and(d.shr(stack.valid, stack.top), 1), 1);
  const rounding = d.and(load('i32.load', stack.cpu, L.FPU_CONTROL), X.CONTROL_ROUNDING);
  return {
    unusual: any(empty, rounding, d.gtU(exponent, maximum - 3), q.geS(significand, 0)),
    significand,
    word,
    convert: () => {
      const kept = f.keep(q.shr(significand, drop));
      const low = f.keep(q.shl(significand, 64 - drop));
      const up = f.keep(roundsToNext(low, kept));
      // The integer bit adds 1 to the exponent field.
      const magnitude = q.add(q.add(q.shl(q.fromU32(exponent), 63 - drop), kept), q.fromU32(up));
      return {
        bits: q.or(signOf(word, format), magnitude),
        flags: d.or(d.shl(q.nonzero(low), 5), d.shl(up, 9)),
      };
    },
  };
}

/** The sign bit of a sign and exponent word, in its place in a narrower format. */
export function signOf(word: I32, format: RealFormat): I64 {
  return q.shl(q.fromU32(d.and(word, X.SIGN)), format === 'single' ? 16 : 48);
}

/** A result on its way to a register: sign (bit 15 of `sign`), exponent, and the significand `high`.`low`. */
export interface Unrounded {
  readonly high: Local<'i64'>;
  readonly low: Local<'i64'>;
  readonly exponent: Local<'i32'>;
  readonly sign: Local<'i32'>;
  /** PE and C1. */
  readonly flags: Local<'i32'>;
}

export function unrounded(f: FunctionBuilder): Unrounded {
  return {
    high: f.local('i64'),
    low: f.local('i64'),
    exponent: f.local('i32'),
    sign: f.local('i32'),
    flags: f.local('i32'),
  };
}

/**
 * Rounds to nearest, to the precision of the control word. `high` is normalized. Leaves for `slow` when the result is out
 * of the range of normal numbers.
 */
export function roundOrdinary(f: FunctionBuilder, slow: Label, value: Unrounded, control: I32): void {
  const { high, low, exponent, flags } = value;
  /** Rounds to what lies above the lowest `unused` bits of the significand, which are in `low`. */
  const round = (unused: I64 | 0) =>
    f.if(q.nonzero(get(low)), () => {
      // More than a half, or a half and the significand odd.
      const odd = q.and(unused === 0 ? get(high) : q.shr(get(high), unused), 1);
      const up = f.keep(q.fromU32(q.gtU(get(low), q.sub(HALF, odd))));
      f.set(flags, d.or(d.shl(d.wrap(up), 9), X.STATUS_PE));
      f.set(high, q.add(get(high), unused === 0 ? up : q.shl(up, unused)));
      f.if(q.zero(get(high)), () => {
        f.set(high, i64(X.INTEGER_BIT));
        f.set(exponent, d.add(get(exponent), 1));
      });
    });
  f.set(flags, i32(0));
  f.if(
    d.and(control, PRECISION_64),
    () => round(0),
    () => {
      const unused = f.keep(select(d.and(control, PRECISION_53), i64(11), i64(40)));
      f.set(low, q.or(q.shl(get(high), q.sub(64, unused)), q.fromU32(q.nonzero(get(low)))));
      f.set(high, q.and(get(high), q.shl(-1, unused)));
      round(unused);
    },
  );
  f.brIf(slow, d.gtU(d.sub(get(exponent), 1), LAST_NORMAL - 1));
}

/** Shifts `high`.`low` to the left until bit 63 of `high`, which is not zero, is set; the exponent follows. */
export function normalize(f: FunctionBuilder, value: Unrounded): void {
  const { high, low, exponent } = value;
  const count = f.keep(q.clz(get(high)));
  // A shift by 64 less the count in two steps: a count of 0 shifts everything out.
  const carried = q.shr(q.shr(get(low), 1), q.xor(count, 63));
  f.set(high, q.or(q.shl(get(high), count), carried));
  f.set(low, q.shl(get(low), count));
  f.set(exponent, d.sub(get(exponent), d.wrap(count)));
}

/** An operand in memory whose bits are a parameter: as a number of the quick ways, and as the thorough functions' result. */
export interface MemoryForm {
  readonly name: 'single' | 'double' | 'integer';
  readonly bits: 'i32' | 'i64';
  quick(f: FunctionBuilder, parameter: number): Ordinary;
  thorough(f: FunctionBuilder, cpu: I32, parameter: number): void;
}

/** The forms that arithmetic and comparisons take; integers are of 32 bits. */
export function memoryForms(conversions: Conversions): readonly MemoryForm[] {
  const integer = (f: FunctionBuilder, parameter: number) => q.fromS32(get(f.parameter(parameter, 'i32')));
  return [
    {
      name: 'single',
      bits: 'i32',
      quick: (f, parameter) => fromSingle(f, get(f.parameter(parameter, 'i32'))),
      thorough: (f, cpu, parameter) => f.callVoid(conversions.fromSingle, cpu, get(f.parameter(parameter, 'i32'))),
    },
    {
      name: 'double',
      bits: 'i64',
      quick: (f, parameter) => fromDouble(f, get(f.parameter(parameter, 'i64'))),
      thorough: (f, cpu, parameter) => f.callVoid(conversions.fromDouble, cpu, get(f.parameter(parameter, 'i64'))),
    },
    {
      name: 'integer',
      bits: 'i32',
      quick: (f, parameter) => fromInteger(f, f.keep(integer(f, parameter))),
      thorough: (f, cpu, parameter) => f.callVoid(conversions.fromInteger, cpu, integer(f, parameter)),
    },
  ];
}
