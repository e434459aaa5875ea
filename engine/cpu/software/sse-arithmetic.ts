import * as M from '../x86/mxcsr.ts';
import {
  buildRound,
  type Format,
  indefinite,
  infinity,
  isDenormal,
  isNan,
  isSignaling,
  type LaneFormat,
  magnitude,
  mxcsr,
  quietBit,
  raise,
  shiftRightJam,
  signBit,
  unpack,
} from './sse-rounding.ts';
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
  op,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';

/** (cpu, a, b) → result, raising exceptions. */
const BINARY = { params: ['i32', 'i64', 'i64'], results: ['i64'] } as const;
const UNARY = { params: ['i32', 'i64'], results: ['i64'] } as const;

/** Arithmetic on one lane of a format, exact in every mode. */
export interface LaneArithmetic {
  readonly format: LaneFormat;
  readonly round: FunctionReference;
  readonly add: FunctionReference;
  readonly subtract: FunctionReference;
  readonly multiply: FunctionReference;
  readonly divide: FunctionReference;
  readonly squareRoot: FunctionReference;
  readonly minimum: FunctionReference;
  readonly maximum: FunctionReference;
  /** (cpu, a, b, whether a quiet NaN is invalid too) → LESS, EQUAL, GREATER or UNORDERED. */
  readonly compare: FunctionReference;
  /** (cpu, value, immediate of ROUNDxx). */
  readonly roundToIntegral: FunctionReference;
}

/** A lane function being built. */
export interface Context {
  readonly f: FunctionBuilder;
  readonly cpu: I32;
  readonly format: Format;
}

/** With DAZ, denormals become zeros of their sign. */
export function flushDenormal({ f, cpu, format }: Context, value: Local<'i64'>): void {
  f.if(all(isDenormal(format, get(value)), d.ne(d.and(mxcsr(cpu), M.MXCSR_DAZ), 0)), () =>
    f.set(value, q.and(get(value), signBit(format))),
  );
}

export function raiseDenormal({ f, cpu, format }: Context, ...values: I64[]): void {
  f.if(any(...values.map((value) => isDenormal(format, value))), () => raise(f, cpu, M.MXCSR_DE));
}

/** Returns the NaN that results from a NaN operand: the first one, made quiet. */
function propagateNan({ f, cpu, format }: Context, a: I64, b: I64): void {
  f.if(any(isNan(format, a), isNan(format, b)), () => {
    f.if(any(isSignaling(format, a), isSignaling(format, b)), () => raise(f, cpu, M.MXCSR_IE));
    f.return(q.or(select(isNan(format, a), a, b), quietBit(format)));
  });
}

/** Returns the default NaN with an invalid-operation exception. */
export function invalid({ f, cpu, format }: Context): void {
  raise(f, cpu, M.MXCSR_IE);
  f.return(i64(indefinite(format)));
}

export function isInfinite(format: Format, value: I64): I32 {
  return q.eq(magnitude(format, value), infinity(format));
}

export function isZero(format: Format, value: I64): I32 {
  return q.zero(magnitude(format, value));
}

/** All exceptions are masked, rounding is to nearest, and denormals are honoured: what WebAssembly computes with. */
function isPlainMode(cpu: I32): I32 {
  return d.eq(d.and(mxcsr(cpu), ~M.MXCSR_EXCEPTIONS), M.MXCSR_MASKS);
}

/** The plain operation of a format on encoded numbers. */
function plain(format: Format, name: 'add' | 'sub' | 'mul' | 'div', a: I64, b: I64): I64 {
  return format.bits === 64
    ? op('i64.reinterpret_f64', op(`f64.${name}`, op('f64.reinterpret_i64', a), op('f64.reinterpret_i64', b)))
    : q.fromU32(
        op(
          'i32.reinterpret_f32',
          op(`f32.${name}`, op('f32.reinterpret_i32', d.wrap(a)), op('f32.reinterpret_i32', d.wrap(b))),
        ),
      );
}

function isBelowInfinity(format: Format, value: I64): I32 {
  return q.ltU(magnitude(format, value), infinity(format));
}

/** Above the smallest normal number: no underflow, even before rounding. */
function isClearlyNormal(format: Format, value: I64): I32 {
  return q.gtU(magnitude(format, value), 1n << BigInt(format.fraction));
}

/** Whether the product of two normal numbers, which rounds to `product`, is exact: it has enough zeros at its end. */
function isProductExact({ f, format }: Context, a: I64, b: I64, product: I64): I32 {
  const { fraction } = format;
  const zeros = (value: I64) => op('i64.ctz', q.or(value, 1n << BigInt(fraction)));
  const exponent = (value: I64) => q.and(q.shr(value, fraction), format.special);
  const carried = f.keep(q.sub(q.add(exponent(product), format.bias), q.add(exponent(a), exponent(b))));
  return q.geU(q.add(zeros(a), zeros(b)), q.add(carried, fraction));
}

/** Returns a result that no exception but inexactness goes with, noting that one. */
function returnPlain({ f, cpu }: Context, result: I64, exact: () => I32): void {
  f.if(d.zero(d.and(mxcsr(cpu), M.MXCSR_PE)), () => f.if(d.zero(exact()), () => raise(f, cpu, M.MXCSR_PE)));
  f.return(result);
}

function buildAddition(module: ModuleBuilder, format: Format, round: FunctionReference) {
  const sum = (name: string, flip: bigint) =>
    module.function(`sse-${name}${format.bits}`, BINARY, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const first = f.parameter(1, 'i64');
      const second = f.parameter(2, 'i64');
      const context = { f, cpu, format };
      f.if(isPlainMode(cpu), () => {
        const [x, y] = [get(first), get(second)];
        const sum = f.keep(plain(format, flip === 0n ? 'add' : 'sub', x, y));
        f.if(all(isBelowInfinity(format, sum), d.zero(any(isDenormal(format, x), isDenormal(format, y)))), () =>
          returnPlain(context, sum, () => {
            // The rounding error, which is a number itself (Knuth's TwoSum).
            const addend = f.keep(q.xor(y, flip));
            const virtual = f.keep(plain(format, 'sub', sum, x));
            const error = plain(
              format,
              'add',
              plain(format, 'sub', x, plain(format, 'sub', sum, virtual)),
              plain(format, 'sub', addend, virtual),
            );
            return isZero(format, f.keep(error));
          }),
        );
      });
      flushDenormal(context, first);
      flushDenormal(context, second);
      propagateNan(context, get(first), get(second));
      f.set(second, q.xor(get(second), flip));
      const a = f.keep(get(first));
      const b = f.keep(get(second));
      f.if(isInfinite(format, a), () => {
        f.if(q.eq(b, q.xor(a, signBit(format))), () => invalid(context));
        raiseDenormal(context, b);
        f.return(a);
      });
      raiseDenormal(context, a, b);
      f.if(isInfinite(format, b), () => f.return(b));
      // The larger magnitude first.
      const swap = f.keep(q.ltU(magnitude(format, a), magnitude(format, b)));
      const large = unpack(f, format, f.keep(select(swap, b, a)));
      const small = unpack(f, format, f.keep(select(swap, a, b)));
      const distance = f.keep(q.fromU32(d.sub(get(large.exponent), get(small.exponent))));
      const addend = f.keep(shiftRightJam(get(small.significand), distance));
      f.if(
        d.eq(large.sign, small.sign),
        () => {
          f.set(large.significand, q.add(get(large.significand), addend));
          f.if(q.ltS(get(large.significand), 0), () => {
            f.set(large.significand, shiftRightJam(get(large.significand), i64(1)));
            f.set(large.exponent, d.add(get(large.exponent), 1));
          });
          f.if(q.zero(get(large.significand)), () => f.return(q.shl(q.fromU32(large.sign), format.bits - 1)));
        },
        () => {
          f.set(large.significand, q.sub(get(large.significand), addend));
          // Opposite numbers: +0, but −0 when rounding down.
          f.if(q.zero(get(large.significand)), () =>
            f.return(q.shl(q.fromU32(d.eq(d.and(mxcsr(cpu), M.MXCSR_RC), 1 << M.MXCSR_RC_SHIFT)), format.bits - 1)),
          );
          const shift = f.keep(q.sub(q.clz(get(large.significand)), 1));
          f.set(large.significand, q.shl(get(large.significand), shift));
          f.set(large.exponent, d.sub(get(large.exponent), d.wrap(shift)));
        },
      );
      f.return(f.call(round, cpu, large.sign, get(large.exponent), get(large.significand)));
      f.unreachable();
    });
  return { add: sum('add', 0n), subtract: sum('subtract', signBit(format)) };
}

function buildMultiply(
  module: ModuleBuilder,
  format: Format,
  round: FunctionReference,
  multiplyHigh: FunctionReference,
): FunctionReference {
  return module.function(`sse-multiply${format.bits}`, BINARY, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const first = f.parameter(1, 'i64');
    const second = f.parameter(2, 'i64');
    const context = { f, cpu, format };
    f.if(isPlainMode(cpu), () => {
      const [x, y] = [get(first), get(second)];
      const product = f.keep(plain(format, 'mul', x, y));
      const zero = f.keep(any(isZero(format, x), isZero(format, y)));
      const settled = all(
        isBelowInfinity(format, product),
        any(isClearlyNormal(format, product), zero),
        d.zero(any(isDenormal(format, x), isDenormal(format, y))),
      );
      f.if(settled, () => returnPlain(context, product, () => any(zero, isProductExact(context, x, y, product))));
    });
    flushDenormal(context, first);
    flushDenormal(context, second);
    const a = get(first);
    const b = get(second);
    propagateNan(context, a, b);
    const sign = f.keep(q.and(q.xor(a, b), signBit(format)));
    f.if(any(isInfinite(format, a), isInfinite(format, b)), () => {
      f.if(any(isZero(format, a), isZero(format, b)), () => invalid(context));
      raiseDenormal(context, a, b);
      f.return(q.or(sign, infinity(format)));
    });
    raiseDenormal(context, a, b);
    f.if(any(isZero(format, a), isZero(format, b)), () => f.return(sign));
    const x = unpack(f, format, a);
    const y = unpack(f, format, b);
    const left = f.keep(q.shl(get(x.significand), 1));
    const right = f.keep(q.shl(get(y.significand), 1));
    const high = f.local('i64');
    f.set(high, f.call(multiplyHigh, left, right) as I64);
    f.set(high, q.or(get(high), q.fromU32(q.nonzero(q.mul(left, right)))));
    f.set(x.exponent, d.sub(d.add(get(x.exponent), get(y.exponent)), format.bias));
    f.if(q.ltS(get(high), 0), () => {
      f.set(high, shiftRightJam(get(high), i64(1)));
      f.set(x.exponent, d.add(get(x.exponent), 1));
    });
    f.return(f.call(round, cpu, f.keep(d.xor(x.sign, y.sign)), get(x.exponent), get(high)));
    f.unreachable();
  });
}

/**
 * The quotient or root of the formats' significands as the host rounds it, turned into one that a last, sticky bit makes
 * exact: the error's sign tells on which side of the rounded value the true one lies.
 */
function withSticky(rounded: I64, error: I64): I64 {
  // `rounded` has zeros below; a rounded value above the true one steps down so that its rest is just short of it.
  return q.add(rounded, q.sub(q.fromU32(q.ltS(error, 0)), q.fromU32(q.ltS(i64(0), error))));
}

/** A significand (leading bit 62, precision of the format) as a double from 1 to 2 by leaving out its rounding bits. */
function asDouble(significand: I64) {
  return op('f64.reinterpret_i64', q.add(q.shr(significand, 10), 1022n << 52n));
}

function buildDivide(module: ModuleBuilder, format: Format, round: FunctionReference): FunctionReference {
  return module.function(`sse-divide${format.bits}`, BINARY, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const first = f.parameter(1, 'i64');
    const second = f.parameter(2, 'i64');
    const context = { f, cpu, format };
    f.if(isPlainMode(cpu), () => {
      const [x, y] = [get(first), get(second)];
      const quotient = f.keep(plain(format, 'div', x, y));
      const zero = f.keep(isZero(format, x));
      const settled = all(
        isBelowInfinity(format, quotient),
        any(isClearlyNormal(format, quotient), zero),
        d.zero(any(isDenormal(format, x), isDenormal(format, y))),
      );
      f.if(settled, () =>
        returnPlain(context, quotient, () => {
          const back = f.keep(plain(format, 'mul', quotient, y));
          return any(zero, all(q.eq(back, x), isProductExact(context, quotient, y, back)));
        }),
      );
    });
    flushDenormal(context, first);
    flushDenormal(context, second);
    const a = get(first);
    const b = get(second);
    propagateNan(context, a, b);
    const sign = f.keep(q.and(q.xor(a, b), signBit(format)));
    f.if(isInfinite(format, a), () => {
      f.if(isInfinite(format, b), () => invalid(context));
      raiseDenormal(context, b);
      f.return(q.or(sign, infinity(format)));
    });
    f.if(isInfinite(format, b), () => {
      raiseDenormal(context, a);
      f.return(sign);
    });
    f.if(isZero(format, b), () => {
      f.if(isZero(format, a), () => invalid(context));
      raise(f, cpu, M.MXCSR_ZE);
      f.return(q.or(sign, infinity(format)));
    });
    raiseDenormal(context, a, b);
    f.if(isZero(format, a), () => f.return(sign));
    const x = unpack(f, format, a);
    const y = unpack(f, format, b);
    const quotient = f.local('i64');
    f.set(
      quotient,
      op('i64.reinterpret_f64', op('f64.div', asDouble(get(x.significand)), asDouble(get(y.significand)))),
    );
    const below = f.keep(q.ltU(get(quotient), 1023n << 52n));
    f.set(x.exponent, d.sub(d.add(d.sub(get(x.exponent), get(y.exponent)), format.bias), below));
    const digits = f.keep(q.or(q.and(get(quotient), (1n << 52n) - 1n), 1n << 52n));
    // quotient × divisor − dividend, in units of the last place of the product: small, so 64 bits hold it.
    const dividend = q.shl(q.shr(get(x.significand), 10), q.add(52, q.fromU32(below)));
    const error = f.keep(q.sub(q.mul(digits, q.shr(get(y.significand), 10)), dividend));
    f.return(f.call(round, cpu, f.keep(d.xor(x.sign, y.sign)), get(x.exponent), withSticky(q.shl(digits, 10), error)));
    f.unreachable();
  });
}

function buildSquareRoot(module: ModuleBuilder, format: Format, round: FunctionReference): FunctionReference {
  return module.function(`sse-square-root${format.bits}`, UNARY, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const operand = f.parameter(1, 'i64');
    const context = { f, cpu, format };
    const normal = q.ltU(
      q.sub(get(operand), (1n << BigInt(format.fraction)) + 1n),
      infinity(format) - (2n << BigInt(format.fraction)),
    );
    f.if(all(isPlainMode(cpu), normal), () => {
      const root = f.keep(
        format.bits === 64
          ? op('i64.reinterpret_f64', op('f64.sqrt', op('f64.reinterpret_i64', get(operand))))
          : q.fromU32(op('i32.reinterpret_f32', op('f32.sqrt', op('f32.reinterpret_i32', d.wrap(get(operand)))))),
      );
      returnPlain(context, root, () => {
        const back = f.keep(plain(format, 'mul', root, root));
        return all(q.eq(back, get(operand)), isProductExact(context, root, root, back));
      });
    });
    flushDenormal(context, operand);
    const a = get(operand);
    propagateNan(context, a, a);
    f.if(isZero(format, a), () => f.return(a));
    f.if(q.nonzero(q.and(a, signBit(format))), () => invalid(context));
    f.if(isInfinite(format, a), () => f.return(a));
    raiseDenormal(context, a);
    const x = unpack(f, format, a);
    // An even power of two before the root: from 1 to 4.
    const odd = f.keep(d.and(d.sub(get(x.exponent), format.bias), 1));
    const scaled = op(
      'f64.reinterpret_i64',
      q.add(op('i64.reinterpret_f64', asDouble(get(x.significand))), q.shl(q.fromU32(odd), 52)),
    );
    const root = f.keep(op('i64.reinterpret_f64', op('f64.sqrt', scaled)));
    const digits = f.keep(q.or(q.and(root, (1n << 52n) - 1n), 1n << 52n));
    const radicand = q.shl(q.shr(get(x.significand), 10), q.add(52, q.fromU32(odd)));
    const error = f.keep(q.sub(q.mul(digits, digits), radicand));
    const exponent = d.add(d.sar(d.sub(d.sub(get(x.exponent), format.bias), odd), 1), format.bias);
    f.return(f.call(round, cpu, i32(0), exponent, withSticky(q.shl(digits, 10), error)));
    f.unreachable();
  });
}

/** A key that orders the numbers of a format as signed integers; both zeros are 0. */
function orderKey(f: FunctionBuilder, format: Format, value: I64): I64 {
  const size = f.keep(magnitude(format, value));
  return f.keep(select(q.nonzero(q.and(value, signBit(format))), q.sub(0, size), size));
}

function buildOrder(module: ModuleBuilder, format: Format) {
  const extreme = (name: string) =>
    module.function(`sse-${name}${format.bits}`, BINARY, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const first = f.parameter(1, 'i64');
      const second = f.parameter(2, 'i64');
      const context = { f, cpu, format };
      flushDenormal(context, first);
      flushDenormal(context, second);
      const a = get(first);
      const b = get(second);
      // The second operand as it is if either is a NaN, or both are zeros.
      f.if(any(isNan(format, a), isNan(format, b)), () => {
        raise(f, cpu, M.MXCSR_IE);
        f.return(b);
      });
      raiseDenormal(context, a, b);
      const left = orderKey(f, format, a);
      const right = orderKey(f, format, b);
      f.return(select(name === 'minimum' ? q.ltS(left, right) : q.ltS(right, left), a, b));
      f.unreachable();
    });
  const compareType = { params: ['i32', 'i64', 'i64', 'i32'], results: ['i32'] } as const;
  const compare = module.function(`sse-compare${format.bits}`, compareType, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const first = f.parameter(1, 'i64');
    const second = f.parameter(2, 'i64');
    const strict = get(f.parameter(3, 'i32'));
    const context = { f, cpu, format };
    flushDenormal(context, first);
    flushDenormal(context, second);
    const a = get(first);
    const b = get(second);
    f.if(any(isNan(format, a), isNan(format, b)), () => {
      f.if(any(strict, isSignaling(format, a), isSignaling(format, b)), () => raise(f, cpu, M.MXCSR_IE));
      f.return(i32(M.UNORDERED));
    });
    raiseDenormal(context, a, b);
    const left = orderKey(f, format, a);
    const right = orderKey(f, format, b);
    f.return(select(q.eq(left, right), i32(M.EQUAL), select(q.ltS(left, right), i32(M.LESS), i32(M.GREATER))));
    f.unreachable();
  });
  return { minimum: extreme('minimum'), maximum: extreme('maximum'), compare };
}

/** ROUNDxx: rounding by the immediate or MXCSR; inexactness is reported unless bit 3 is set. */
function buildRoundToIntegral(module: ModuleBuilder, format: Format): FunctionReference {
  const type = { params: ['i32', 'i64', 'i32'], results: ['i64'] } as const;
  return module.function(`sse-round-to-integral${format.bits}`, type, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const operand = f.parameter(1, 'i64');
    const immediate = get(f.parameter(2, 'i32'));
    const context = { f, cpu, format };
    flushDenormal(context, operand);
    const a = get(operand);
    propagateNan(context, a, a);
    const control = f.keep(d.and(select(d.and(immediate, 4), d.shr(mxcsr(cpu), M.MXCSR_RC_SHIFT), immediate), 3));
    const result = f.local('i64');
    const apply = (name: 'nearest' | 'floor' | 'ceil' | 'trunc') =>
      format.bits === 64
        ? op('i64.reinterpret_f64', op(`f64.${name}`, op('f64.reinterpret_i64', a)))
        : q.fromU32(op('i32.reinterpret_f32', op(`f32.${name}`, op('f32.reinterpret_i32', d.wrap(a)))));
    f.set(
      result,
      select(
        d.and(control, 2),
        select(d.and(control, 1), apply('trunc'), apply('ceil')),
        select(d.and(control, 1), apply('floor'), apply('nearest')),
      ),
    );
    f.if(all(q.ne(get(result), a), d.zero(d.and(immediate, 8))), () => raise(f, cpu, M.MXCSR_PE));
    f.return(get(result));
    f.unreachable();
  });
}

export function buildLaneArithmetic(
  module: ModuleBuilder,
  format: LaneFormat,
  multiplyHigh: FunctionReference,
): LaneArithmetic {
  const round = buildRound(module, format);
  return {
    format,
    round,
    ...buildAddition(module, format, round),
    multiply: buildMultiply(module, format, round, multiplyHigh),
    divide: buildDivide(module, format, round),
    squareRoot: buildSquareRoot(module, format, round),
    ...buildOrder(module, format),
    roundToIntegral: buildRoundToIntegral(module, format),
  };
}
