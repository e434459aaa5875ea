import * as L from '../x86/layout.ts';
import * as M from '../x86/mxcsr.ts';
import { all, any, d, q } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Local,
  load,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';

/**
 * Binary floating point in integers, exact in every mode: what SSE instructions fall back to when the plain WebAssembly
 * operation does not settle result and exceptions. Numbers of both formats travel in an i64, binary32 zero-extended.
 * Unpacked, a number is sign (0 or 1), exponent as encoded (below 1 for denormals) and a significand whose leading one
 * is bit 62; the bits below the format's precision are for rounding, and the lowest of them is sticky.
 */
export interface Format {
  readonly bits: 16 | 32 | 64;
  /** Bits of the fraction field. */
  readonly fraction: 10 | 23 | 52;
  /** The exponent field of infinities and NaNs. */
  readonly special: 31 | 255 | 2047;
  readonly bias: 15 | 127 | 1023;
}

/** A format that SSE computes in. */
export interface LaneFormat extends Format {
  readonly bits: 32 | 64;
}

export const BINARY16: Format = { bits: 16, fraction: 10, special: 31, bias: 15 };
export const BINARY32: LaneFormat = { bits: 32, fraction: 23, special: 255, bias: 127 };
export const BINARY64: LaneFormat = { bits: 64, fraction: 52, special: 2047, bias: 1023 };

export const signBit = (format: Format) => 1n << BigInt(format.bits - 1);
export const infinity = (format: Format) => BigInt(format.special) << BigInt(format.fraction);
export const quietBit = (format: Format) => 1n << BigInt(format.fraction - 1);
/** The default NaN: negative, quiet, nothing else. */
export const indefinite = (format: Format) => signBit(format) | infinity(format) | quietBit(format);
/** Bits of the unpacked significand below the format's precision. */
export const roundBits = (format: Format) => 62 - format.fraction;

export function mxcsr(cpu: I32): I32 {
  return load('i32.load', cpu, L.MXCSR);
}

/** Adds exceptions to those of the operation under way. */
export function raise(f: FunctionBuilder, cpu: I32, flags: I32 | number): void {
  f.store('i32.store', cpu, d.or(load('i32.load', cpu, M.SSE_RAISED), flags), M.SSE_RAISED);
}

/** The value without its sign. */
export function magnitude(format: Format, value: I64): I64 {
  return q.and(value, signBit(format) - 1n);
}

export function isNan(format: Format, value: I64): I32 {
  return q.gtU(magnitude(format, value), infinity(format));
}

export function isSignaling(format: Format, value: I64): I32 {
  return all(isNan(format, value), q.zero(q.and(value, quietBit(format))));
}

export function isDenormal(format: Format, value: I64): I32 {
  return q.ltU(q.sub(magnitude(format, value), 1), (1n << BigInt(format.fraction)) - 1n);
}

/** Shifts right by `count` ≥ 0; what falls out makes the result odd. Both are used repeatedly. */
export function shiftRightJam(value: I64, count: I64): I64 {
  return select(
    q.ltU(count, 64),
    q.or(q.shr(value, count), q.fromU32(q.ne(q.shl(q.shr(value, count), count), value))),
    q.fromU32(q.nonzero(value)),
  );
}

/** A number taken apart; `significand` is 0 for zeros. */
export interface Unpacked {
  readonly sign: I32;
  readonly exponent: Local<'i32'>;
  readonly significand: Local<'i64'>;
}

/** Takes a finite number apart, normalizing denormals. Zeros get an exponent far below all others. */
export function unpack(f: FunctionBuilder, format: Format, value: I64): Unpacked {
  const { fraction } = format;
  const sign = f.keep(d.and(d.wrap(q.shr(value, format.bits - 1)), 1));
  const exponent = f.local('i32');
  const significand = f.local('i64');
  f.set(exponent, d.and(d.wrap(q.shr(value, fraction)), format.special));
  f.set(significand, q.shl(q.and(value, (1n << BigInt(fraction)) - 1n), roundBits(format)));
  f.if(
    get(exponent),
    () => f.set(significand, q.or(get(significand), 1n << 62n)),
    () => {
      const shift = f.keep(q.sub(q.clz(get(significand)), 1));
      f.set(exponent, d.sub(1, d.wrap(shift)));
      f.set(significand, q.shl(get(significand), shift));
      f.if(q.zero(get(significand)), () => f.set(exponent, i32(-8192)));
    },
  );
  return { sign, exponent, significand };
}

/**
 * (cpu, sign, exponent, significand) → the number in the format, rounded as MXCSR says; raises OE, UE, PE. `explicit`: a
 * fifth parameter is to be heeded in place of MXCSR.
 */
export function buildRound(module: ModuleBuilder, format: Format, explicit = false): FunctionReference {
  const { fraction, special } = format;
  const bits = roundBits(format);
  const mask = (1n << BigInt(bits)) - 1n;
  const half = 1n << BigInt(bits - 1);
  const params = ['i32', 'i32', 'i32', 'i64', ...(explicit ? (['i32'] as const) : [])] as const;
  return module.function(`sse-round${format.bits}`, { params, results: ['i64'] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const sign = get(f.parameter(1, 'i32'));
    const exponent = f.parameter(2, 'i32');
    const significand = f.parameter(3, 'i64');
    const control = explicit ? get(f.parameter(4, 'i32')) : f.keep(mxcsr(cpu));
    const rounding = f.keep(d.and(d.shr(control, M.MXCSR_RC_SHIFT), 3));
    const nearest = f.keep(d.zero(rounding));
    const signed = f.keep(q.shl(q.fromU32(sign), format.bits - 1));
    // Directed rounding away from zero adds all rounding bits: down for negative, up for positive numbers.
    const away = f.keep(d.eq(rounding, d.sub(2, sign)));
    const increment = f.keep(select(nearest, i64(half), select(away, i64(mask), i64(0))));
    /** Unmasked, a result out of range is inexact only if rounding with unbounded exponents loses something. */
    const unbounded = (exception: number) => {
      raise(f, cpu, d.or(exception, d.shl(q.nonzero(q.and(get(significand), mask)), 5)));
      f.return(signed);
    };
    const tiny = f.local('i32');
    f.set(tiny, i32(0));
    f.if(
      d.leS(get(exponent), 0),
      () => {
        // Tininess is detected after rounding: with unbounded exponents, would the result still be below the normal range?
        f.set(tiny, any(d.ltS(get(exponent), 0), q.geS(q.add(get(significand), increment), 0)));
        f.if(all(get(tiny), d.zero(d.and(control, M.MXCSR_UM))), () => unbounded(M.MXCSR_UE));
        f.set(significand, shiftRightJam(get(significand), f.keep(q.fromU32(d.sub(1, get(exponent))))));
        f.set(exponent, i32(1));
      },
      () => {
        const beyond = any(
          d.geS(get(exponent), special),
          all(d.eq(get(exponent), special - 1), q.ltS(q.add(get(significand), increment), 0)),
        );
        f.if(beyond, () => {
          f.if(d.zero(d.and(control, M.MXCSR_OM)), () => unbounded(M.MXCSR_OE));
          raise(f, cpu, M.MXCSR_OE | M.MXCSR_PE);
          const result = select(q.zero(increment), i64(infinity(format) - 1n), i64(infinity(format)));
          f.return(q.or(result, signed));
        });
      },
    );
    const rest = f.keep(q.and(get(significand), mask));
    const inexact = f.keep(q.nonzero(rest));
    f.if(inexact, () => raise(f, cpu, M.MXCSR_PE));
    f.if(get(tiny), () => {
      f.if(inexact, () => raise(f, cpu, M.MXCSR_UE));
      f.if(d.and(control, M.MXCSR_FTZ), () => {
        raise(f, cpu, M.MXCSR_UE | M.MXCSR_PE);
        f.return(signed);
      });
    });
    const rounded = f.local('i64');
    f.set(rounded, q.shr(q.add(get(significand), increment), bits));
    // A tie goes to the even one.
    f.if(all(nearest, q.eq(rest, half)), () => f.set(rounded, q.and(get(rounded), -2)));
    const field = q.shl(q.fromU32(d.sub(get(exponent), 1)), fraction);
    f.return(q.or(q.add(field, get(rounded)), signed));
    f.unreachable();
  });
}
