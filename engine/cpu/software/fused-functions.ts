import * as M from '../x86/mxcsr.ts';
import {
  type Context,
  flushDenormal,
  invalid,
  isInfinite,
  isZero,
  type LaneArithmetic,
  raiseDenormal,
} from './sse-arithmetic.ts';
import { infinity, isNan, isSignaling, mxcsr, quietBit, raise, signBit, unpack } from './sse-rounding.ts';
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
  laneOp,
  op,
  select,
  type V128,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { shuffleLanes, v32, v64, zeroVector } from './wasm/vectors.ts';

/** (cpu, operation FUSED_*, x, y, z) → x × y + z of one lane, rounded once. */
const LANE = { params: ['i32', 'i32', 'i64', 'i64', 'i64'], results: ['i64'] } as const;

/** A number of 128 bits. Unpacked, its leading one is bit 126, as bit 62 of `high` is of 64-bit significands. */
interface Wide {
  readonly high: Local<'i64'>;
  readonly low: Local<'i64'>;
}

/** Shifts right by `count` ≥ 0; what falls out makes the result odd. */
function shiftRightJam(f: FunctionBuilder, { high, low }: Wide, count: I64): void {
  const by = f.keep(count);
  f.if(
    q.geU(by, 128),
    () => {
      f.set(low, q.fromU32(q.nonzero(q.or(get(high), get(low)))));
      f.set(high, i64(0));
    },
    () => {
      f.if(q.geU(by, 64), () => {
        f.set(low, q.or(get(high), q.fromU32(q.nonzero(get(low)))));
        f.set(high, i64(0));
      });
      const rest = f.keep(q.and(by, 63));
      f.if(d.wrap(rest), () => {
        const lost = f.keep(q.fromU32(q.nonzero(q.shl(get(low), q.sub(64, rest)))));
        f.set(low, q.or(q.or(q.shr(get(low), rest), q.shl(get(high), q.sub(64, rest))), lost));
        f.set(high, q.shr(get(high), rest));
      });
    },
  );
}

/** Shifts left until the leading one is bit 126, and lowers the exponent by as much. The number is not zero. */
function normalize(f: FunctionBuilder, { high, low }: Wide, exponent: Local<'i32'>): void {
  f.if(q.zero(get(high)), () => {
    // The whole of `low` moves up by 63 bits, so that its own leading zeros count from bit 126 too.
    f.set(high, q.shr(get(low), 1));
    f.set(low, q.shl(get(low), 63));
    f.set(exponent, d.sub(get(exponent), 63));
  });
  f.if(q.zero(get(high)), () => {
    f.set(high, q.shr(get(low), 1));
    f.set(low, q.shl(get(low), 63));
    f.set(exponent, d.sub(get(exponent), 63));
  });
  const shift = f.keep(q.sub(q.clz(get(high)), 1));
  f.if(d.wrap(shift), () => {
    f.set(high, q.or(q.shl(get(high), shift), q.shr(get(low), q.sub(64, shift))));
    f.set(low, q.shl(get(low), shift));
    f.set(exponent, d.sub(get(exponent), d.wrap(shift)));
  });
}

/** What is settled by NaNs, infinities and zeros alone. Returns from the function where it is. */
function settleSpecial(context: Context, x: I64, y: I64, z: I64, sign: I64): void {
  const { f, cpu, format } = context;
  const operands = [x, y, z];
  f.if(any(...operands.map((value) => isNan(format, value))), () => {
    f.if(any(...operands.map((value) => isSignaling(format, value))), () => raise(f, cpu, M.MXCSR_IE));
    const first = select(isNan(format, x), x, select(isNan(format, y), y, z));
    f.return(q.or(first, quietBit(format)));
  });
  const infiniteProduct = f.keep(any(isInfinite(format, x), isInfinite(format, y)));
  f.if(infiniteProduct, () => {
    f.if(any(isZero(format, x), isZero(format, y)), () => invalid(context));
    const product = f.keep(q.or(sign, infinity(format)));
    f.if(q.eq(z, q.xor(product, signBit(format))), () => invalid(context));
    raiseDenormal(context, ...operands);
    f.return(product);
  });
  raiseDenormal(context, ...operands);
  f.if(isInfinite(format, z), () => f.return(z));
}

function buildLane(
  module: ModuleBuilder,
  { format, round }: LaneArithmetic,
  multiplyHigh: FunctionReference,
): FunctionReference {
  return module.function(`sse-fused${format.bits}`, LANE, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const operation = get(f.parameter(1, 'i32'));
    const operands = [f.parameter(2, 'i64'), f.parameter(3, 'i64'), f.parameter(4, 'i64')] as const;
    const [first, second, third] = operands;
    const context = { f, cpu, format };
    for (const operand of operands) {
      flushDenormal(context, operand);
    }
    const [x, y] = [get(first), get(second)];
    // Signs are changed of numbers only.
    const flip = (bit: number) => f.keep(q.shl(q.fromU32(d.and(d.shr(operation, Math.log2(bit)), 1)), format.bits - 1));
    const flipZ = flip(M.FUSED_SUBTRACT);
    f.if(d.zero(isNan(format, get(third))), () => f.set(third, q.xor(get(third), flipZ)));
    const z = get(third);
    const sign = f.keep(q.xor(q.and(q.xor(x, y), signBit(format)), flip(M.FUSED_NEGATE)));
    settleSpecial(context, x, y, z, sign);
    const signZ = f.keep(q.and(z, signBit(format)));
    const roundsDown = d.eq(d.and(mxcsr(cpu), M.MXCSR_RC), 1 << M.MXCSR_RC_SHIFT);
    const zeroProduct = f.keep(any(isZero(format, x), isZero(format, y)));
    f.if(all(zeroProduct, isZero(format, z)), () =>
      f.return(select(q.eq(sign, signZ), sign, q.shl(q.fromU32(roundsDown), format.bits - 1))),
    );
    const a = unpack(f, format, x);
    const b = unpack(f, format, y);
    const c = unpack(f, format, z);
    const small: Wide = { high: c.significand, low: f.local('i64') };
    f.set(small.low, i64(0));
    const big: Wide = { high: f.local('i64'), low: f.local('i64') };
    // The product of significands with 63 bits; its leading one is bit 124 or 125.
    f.set(big.high, f.call(multiplyHigh, get(a.significand), get(b.significand)) as I64);
    f.set(big.low, q.mul(get(a.significand), get(b.significand)));
    const exponent = f.local('i32');
    f.set(exponent, d.add(d.sub(d.add(get(a.exponent), get(b.exponent)), format.bias), 2));
    const isNegative = f.local('i32');
    const signOf = (value: I64) => d.wrap(q.shr(value, format.bits - 1));
    f.set(isNegative, signOf(sign));
    f.if(zeroProduct, () => {
      f.return(f.call(round, cpu, signOf(signZ), get(c.exponent), get(c.significand)));
    });
    normalize(f, big, exponent);
    f.if(d.zero(isZero(format, z)), () => {
      addWide(f, { big, small, exponent, isNegative, smallExponent: c.exponent, smallNegative: f.keep(signOf(signZ)) });
      // Opposite numbers: +0, but −0 when rounding down.
      f.if(q.zero(q.or(get(big.high), get(big.low))), () => f.return(q.shl(q.fromU32(roundsDown), format.bits - 1)));
      normalize(f, big, exponent);
    });
    const significand = q.or(get(big.high), q.fromU32(q.nonzero(get(big.low))));
    f.return(f.call(round, cpu, get(isNegative), get(exponent), f.keep(significand)));
    f.unreachable();
  });
}

/** big += small, both with their leading ones in bit 126; the sum's may be bit 125 at most, or there is none. */
function addWide(
  f: FunctionBuilder,
  terms: {
    big: Wide;
    small: Wide;
    exponent: Local<'i32'>;
    isNegative: Local<'i32'>;
    smallExponent: Local<'i32'>;
    smallNegative: I32;
  },
): void {
  const { big, small, exponent, isNegative, smallExponent } = terms;
  const smallNegative = f.local('i32');
  f.set(smallNegative, terms.smallNegative);
  const equal = d.eq(get(exponent), get(smallExponent));
  const lower = any(
    q.ltU(get(big.high), get(small.high)),
    all(q.eq(get(big.high), get(small.high)), q.ltU(get(big.low), get(small.low))),
  );
  const exchange = <T extends 'i32' | 'i64'>(left: Local<T>, right: Local<T>) => {
    const kept = f.keep(get(left));
    f.set(left, get(right));
    f.set(right, kept);
  };
  f.if(any(d.ltS(get(exponent), get(smallExponent)), all(equal, lower)), () => {
    exchange(big.high, small.high);
    exchange(big.low, small.low);
    exchange(exponent, smallExponent);
    exchange(isNegative, smallNegative);
  });
  shiftRightJam(f, small, q.fromU32(d.sub(get(exponent), get(smallExponent))));
  f.if(
    d.eq(get(isNegative), get(smallNegative)),
    () => {
      // A carry out of bit 126 goes to bit 127.
      const sum = f.keep(q.add(get(big.low), get(small.low)));
      const carry = f.keep(q.fromU32(q.ltU(sum, get(small.low))));
      f.set(big.low, sum);
      f.set(big.high, q.add(q.add(get(big.high), get(small.high)), carry));
      f.if(q.ltS(get(big.high), 0), () => {
        shiftRightJam(f, big, i64(1));
        f.set(exponent, d.add(get(exponent), 1));
      });
    },
    () => {
      const borrow = f.keep(q.fromU32(q.ltU(get(big.low), get(small.low))));
      f.set(big.low, q.sub(get(big.low), get(small.low)));
      f.set(big.high, q.sub(q.sub(get(big.high), get(small.high)), borrow));
    },
  );
}

/** a + b as s + e exactly (Knuth's TwoSum). */
function twoSum(f: FunctionBuilder, a: V128, b: V128): { sum: V128; error: V128 } {
  const sum = f.keep(op('f64x2.add', a, b));
  const virtual = f.keep(op('f64x2.sub', sum, a));
  const error = op('f64x2.add', op('f64x2.sub', a, op('f64x2.sub', sum, virtual)), op('f64x2.sub', b, virtual));
  return { sum, error: f.keep(error) };
}

/** s + e rounded to odd: the neighbour of s towards e, when e is not zero and s is even. */
function roundToOdd(f: FunctionBuilder, { sum, error }: { sum: V128; error: V128 }): V128 {
  const one = v64(() => 1n);
  const even = op('i64x2.eq', op('v128.and', sum, one), zeroVector);
  // Away from zero where the signs agree, else towards it.
  const step = op('v128.or', op('i64x2.shr_s', op('v128.xor', sum, error), i32(63)), one);
  const moves = op('v128.and', op('f64x2.ne', error, zeroVector), even);
  return f.keep(op('i64x2.add', sum, op('v128.and', step, moves)));
}

/** a × b as p + e exactly, while nothing overflows or underflows (Dekker's product with Veltkamp's splitting). */
function twoProduct(f: FunctionBuilder, a: V128, b: V128): { product: V128; error: V128 } {
  const splitter = v64(() => 0x41a0000002000000n); // 2^27 + 1
  const split = (value: V128) => {
    const scaled = f.keep(op('f64x2.mul', value, splitter));
    const high = f.keep(op('f64x2.sub', scaled, op('f64x2.sub', scaled, value)));
    return { high, low: f.keep(op('f64x2.sub', value, high)) };
  };
  const [x, y] = [split(a), split(b)];
  const product = f.keep(op('f64x2.mul', a, b));
  const rest = op('f64x2.sub', op('f64x2.mul', x.high, y.high), product);
  const cross = op('f64x2.add', op('f64x2.add', rest, op('f64x2.mul', x.high, y.low)), op('f64x2.mul', x.low, y.high));
  return { product, error: f.keep(op('f64x2.add', cross, op('f64x2.mul', x.low, y.low))) };
}

/** Lanes whose exponent lies within 2^±`range`. */
function isModerate(value: V128, range: number): V128 {
  const low = BigInt(1023 - range) << 53n;
  const span = BigInt(2 * range) << 53n;
  const distance = op(
    'i64x2.sub',
    op('i64x2.shl', value, i32(1)),
    v64(() => low + (1n << 63n)),
  );
  // Unsigned: both sides are moved by 2^63.
  return op(
    'i64x2.lt_s',
    distance,
    v64(() => span + (1n << 63n)),
  );
}

/**
 * The common cases of two doubles. x × y + z is exactly the sum of four numbers; all but the largest are summed up into
 * one, the last time rounded to odd, so that the final addition rounds as if there had been no other (Boldo and
 * Melquiond, "Emulation of FMA and correctly rounded sums", 2008). Its conditions hold for moderate exponents.
 */
function fastDouble(f: FunctionBuilder, x: V128, y: V128, z: V128): void {
  const zIsZero = op('i64x2.eq', op('i64x2.shl', z, i32(1)), zeroVector);
  const moderate = op(
    'v128.and',
    op('v128.and', isModerate(x, 300), isModerate(y, 300)),
    op('v128.or', isModerate(z, 600), zIsZero),
  );
  f.if(op('i64x2.all_true', moderate), () => {
    const { product, error } = twoProduct(f, x, y);
    const low = twoSum(f, z, error);
    const high = twoSum(f, product, low.sum);
    const rest = roundToOdd(f, twoSum(f, low.error, high.error));
    f.return(op('f64x2.add', high.sum, rest));
  });
}

/**
 * The common cases of four singles: the product of two is an exact double, and a sum of doubles that is rounded to odd
 * may be rounded again to single precision.
 */
function fastSingle(f: FunctionBuilder, x: V128, y: V128, z: V128): void {
  const infinite = v32(() => 0x7f800000);
  const smallest = v32(() => 0x00800000);
  const size = (value: V128) => op('f32x4.abs', value);
  const ordinary = (value: V128) =>
    op(
      'v128.and',
      op('f32x4.lt', size(value), infinite),
      op('v128.or', op('f32x4.ge', size(value), smallest), op('f32x4.eq', value, zeroVector)),
    );
  const operands = op('v128.and', op('v128.and', ordinary(x), ordinary(y)), ordinary(z));
  f.if(op('i32x4.all_true', operands), () => {
    const half = (value: V128, from: 0 | 1) =>
      op('f64x2.promote_low_f32x4', from === 0 ? value : shuffleLanes(8, [1, 1], value, value));
    const sums = ([0, 1] as const).map((from) => {
      const product = f.keep(op('f64x2.mul', half(x, from), half(y, from)));
      return roundToOdd(f, twoSum(f, product, f.keep(half(z, from))));
    }) as [V128, V128];
    const [low, high] = sums.map((sum) => op('f32x4.demote_f64x2_zero', sum)) as [V128, V128];
    const result = f.keep(shuffleLanes(8, [0, 2], low, high));
    const zero = (sum: V128) => op('f64x2.eq', sum, zeroVector);
    const zeros = shuffleLanes(4, [0, 2, 4, 6], zero(sums[0]), zero(sums[1]));
    // Results at the edge of the normal range may have been tiny before rounding.
    const normal = op('v128.and', op('f32x4.lt', size(result), infinite), op('f32x4.gt', size(result), smallest));
    f.if(op('i32x4.all_true', op('v128.or', normal, zeros)), () => f.return(result));
  });
}

/** Functions behind FMA instructions, by name. */
export function buildFused(
  module: ModuleBuilder,
  arithmetic: LaneArithmetic,
  multiplyHigh: FunctionReference,
  begin: (f: FunctionBuilder, cpu: I32) => void,
  commit: FunctionReference,
): [string, FunctionReference][] {
  const { format } = arithmetic;
  const { bits } = format;
  const lane = buildLane(module, arithmetic, multiplyHigh);
  const extract = (value: V128, i: number): I64 =>
    bits === 64 ? laneOp('i64x2.extract_lane', i, value) : q.fromU32(laneOp('i32x4.extract_lane', i, value));
  const replace = (vector: V128, i: number, value: I64): V128 =>
    bits === 64
      ? laneOp('i64x2.replace_lane', i, vector, value)
      : laneOp('i32x4.replace_lane', i, vector, d.wrap(value));
  const sign = bits === 64 ? v64(() => 1n << 63n) : v32(() => 0x80000000);
  const isCommon = (cpu: I32) => d.eq(d.and(mxcsr(cpu), M.MXCSR_COMMON_MASK), M.MXCSR_COMMON);

  /** (cpu, operation, x, y, z) → a vector with all lanes, committed. */
  const packedType = { params: ['i32', 'i32', 'v128', 'v128', 'v128'], results: ['v128'] } as const;
  const packed = module.function(`sse-fused-packed${bits}`, packedType, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const operation = get(f.parameter(1, 'i32'));
    const [x, y, z] = [2, 3, 4].map((i) => get(f.parameter(i, 'v128'))) as [V128, V128, V128];
    f.if(isCommon(cpu), () => fast(f, bits, operation, sign, x, y, z));
    const result = f.local('v128');
    begin(f, cpu);
    f.set(result, zeroVector);
    for (let i = 0; i < 128 / bits; i++) {
      // The addend's sign alternates.
      const own = i & 1 ? f.keep(d.xor(operation, d.shr(d.and(operation, M.FUSED_ALTERNATE), 1))) : operation;
      const value = f.call(lane, cpu, own, extract(x, i), extract(y, i), extract(z, i)) as I64;
      f.set(result, replace(get(result), i, value));
    }
    f.callVoid(commit, cpu);
    f.return(get(result));
    f.unreachable();
  });
  const scalar = module.function(`sse-fused-scalar${bits}`, LANE, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const operation = get(f.parameter(1, 'i32'));
    const operands = [2, 3, 4].map((i) => get(f.parameter(i, 'i64'))) as [I64, I64, I64];
    f.if(isCommon(cpu), () => {
      const vectors = operands.map((value) =>
        f.keep(bits === 64 ? op('i64x2.splat', value) : op('i32x4.splat', d.wrap(value))),
      ) as [V128, V128, V128];
      const inner = f.keep(f.call(packed, cpu, operation, ...vectors)) as V128;
      f.return(extract(inner, 0));
    });
    const value = f.local('i64');
    begin(f, cpu);
    f.set(value, f.call(lane, cpu, operation, ...operands) as I64);
    f.callVoid(commit, cpu);
    f.return(get(value));
    f.unreachable();
  });
  return [
    [`sse-fused-packed${bits}`, packed],
    [`sse-fused-scalar${bits}`, scalar],
  ];
}

/** Applies the signs of an operation and tries the fast way; returns from the function if it led somewhere. */
function fast(f: FunctionBuilder, bits: 32 | 64, operation: I32, sign: V128, x: V128, y: V128, z: V128): void {
  const splat = (bit: number) => op('i32x4.splat', d.sub(0, d.and(d.shr(operation, Math.log2(bit)), 1)));
  const odd = bits === 64 ? v64((i) => (i ? 1n << 63n : 0n)) : v32((i) => (i & 1 ? 0x80000000 : 0));
  const alternating = op('v128.and', splat(M.FUSED_ALTERNATE), odd);
  const product = f.keep(op('v128.xor', x, op('v128.and', splat(M.FUSED_NEGATE), sign)));
  const addend = f.keep(op('v128.xor', op('v128.xor', z, op('v128.and', splat(M.FUSED_SUBTRACT), sign)), alternating));
  if (bits === 64) {
    fastDouble(f, product, y, addend);
  } else {
    fastSingle(f, product, y, addend);
  }
}
