import { bitLength, type Magnitude } from './reals.ts';

/**
 * Elementary functions to more bits than an 80-bit number has: results carry about 100 good ones, relatively, so that
 * rounding them is right but for arguments in 2^30 or so. Fixed-point numbers have F bits behind the point.
 */
const F = 112;
const FN = BigInt(F);
const ONE = 1n << FN;

function multiply(a: bigint, b: bigint): bigint {
  return (a * b) >> FN;
}

/** Fixed point from a magnitude; bits below the last place are lost. */
function fixed(value: Magnitude): bigint {
  const shift = value.e + F;
  return shift >= 0 ? value.m << BigInt(shift) : shift < -4096 ? 0n : value.m >> BigInt(-shift);
}

/** Exponent of the leading bit. */
function scale(value: Magnitude): number {
  return bitLength(value.m) + value.e - 1;
}

/** The odd series x + x³/3 ± … divided by x, from x²: sign 1 for atanh, −1 for atan. */
function inverseSeries(square: bigint, sign: 1n | -1n): bigint {
  let sum = ONE;
  let power = ONE;
  for (let n = 3n; ; n += 2n) {
    power = multiply(power, square) * sign;
    if (power === 0n || power === -1n) {
      return sum;
    }
    sum += power / n;
  }
}

function inverse(n: bigint, sign: 1n | -1n): bigint {
  return inverseSeries(ONE / (n * n), sign) / n;
}

const LN2 = 2n * inverse(3n, 1n);
const PI = 4n * (4n * inverse(5n, -1n) - inverse(239n, -1n));
const HALF_PI = PI >> 1n;
const INVERSE_LN2 = (ONE * ONE) / LN2;
/** The processors' π, of 66 bits (SDM 1, 8.3.8), as a multiple of 2^−66: trigonometric arguments are reduced by it. */
const PI_66 = 0xc90fdaa22168c234cn;

function memoize(count: number, compute: (index: number) => bigint): (index: number) => bigint {
  const known: (bigint | undefined)[] = new Array<bigint | undefined>(count).fill(undefined);
  return (index) => {
    const value = known[index] ?? compute(index);
    known[index] = value;
    return value;
  };
}

/** (e^t − 1) ÷ t for a fixed-point t. */
function exponentialSeries(t: bigint): bigint {
  let sum = ONE;
  let term = ONE;
  for (let n = 2n; ; n++) {
    term = multiply(term, t) / n;
    if (term === 0n || term === -1n) {
      return sum;
    }
    sum += term;
  }
}

const powerOfTwo = memoize(65, (k) => {
  const t = (BigInt(k - 32) * LN2) >> 5n;
  return ONE + multiply(t, exponentialSeries(t));
});

/** |2^x − 1| for 0 < |x| ≤ 1. */
export function power2Minus1(negative: boolean, x: Magnitude): Magnitude {
  const value = negative ? -fixed(x) : fixed(x);
  if (scale(x) < -6) {
    const factor = multiply(LN2, exponentialSeries(multiply(value, LN2)));
    return { m: x.m * factor, e: x.e - F };
  }
  const k = Number((value + (1n << BigInt(F - 6))) >> BigInt(F - 5));
  const rest = multiply(value - (BigInt(k) << BigInt(F - 5)), LN2);
  const base = powerOfTwo(k + 32);
  const result = multiply(base, multiply(rest, exponentialSeries(rest))) + base - ONE;
  return { m: result < 0n ? -result : result, e: -F };
}

/** log2 of (1 + x) ÷ x for a small x, given in fixed point. */
function logarithmFactor(x: bigint): bigint {
  const z = (x << FN) / (2n * ONE + x);
  const series = inverseSeries(multiply(z, z), 1n);
  return multiply((2n * series * ONE) / (2n * ONE + x), INVERSE_LN2);
}

/** log2 of 64 ÷ k, k from 32 to 96. */
const tableLogarithm = memoize(97, (k) => {
  const z = ((BigInt(64 - k) << FN) / BigInt(64 + k)) as bigint;
  return multiply(2n * multiply(z, inverseSeries(multiply(z, z), 1n)), INVERSE_LN2);
});

export interface Signed {
  readonly negative: boolean;
  readonly value: Magnitude;
  /** The value is exactly that. */
  readonly exact: boolean;
}

function signed(value: bigint, e: number, exact: boolean): Signed {
  return { negative: value < 0n, value: { m: value < 0n ? -value : value, e }, exact };
}

/** log2 x for x > 0. */
export function log2(x: Magnitude): Signed {
  let exponent = scale(x);
  const length = bitLength(x.m);
  // m from √½ to √2, about.
  if (x.m >> BigInt(length - 3) >= 6n) {
    exponent++;
  }
  /** Exact: m has at most some hundred bits. */
  const point = exponent - x.e;
  const one = 1n << BigInt(point);
  const difference = x.m - one;
  if (difference === 0n) {
    return signed(BigInt(exponent), 0, true);
  }
  const negative = difference < 0n;
  const size = negative ? -difference : difference;
  if (bitLength(size) - point < -6) {
    const magnitude: Magnitude = { m: size, e: -point };
    const factor = logarithmFactor(negative ? -fixed(magnitude) : fixed(magnitude));
    const small = negative ? -(size * factor) : size * factor;
    // size · factor · 2^(−point − F), and the exponent.
    return exponent === 0
      ? signed(small, -point - F, false)
      : signed((BigInt(exponent) << FN) + (small >> BigInt(point)), -F, false);
  }
  const m = fixed({ m: x.m, e: -point });
  const k = (64n * ONE + (m >> 1n)) / m;
  const d = ((m * k) >> 6n) - ONE;
  const result = (BigInt(exponent) << FN) + tableLogarithm(Number(k)) + multiply(d, logarithmFactor(d));
  return signed(result, -F, false);
}

/** log2(1 + x) for x > −1. */
export function log2Plus1(negative: boolean, x: Magnitude): Signed {
  if (scale(x) < -6) {
    const factor = logarithmFactor(negative ? -fixed(x) : fixed(x));
    return { negative, value: { m: x.m * factor, e: x.e - F }, exact: false };
  }
  if (x.e > 64) {
    return log2(x);
  }
  const point = Math.max(0, -x.e);
  const one = 1n << BigInt(point);
  const value = x.e > 0 ? x.m << BigInt(x.e) : x.m;
  return log2({ m: negative ? one - value : one + value, e: -point });
}

const tableArctangent = memoize(33, (k) => arctangent(BigInt(k) << BigInt(F - 5), 0n));

/** atan(t) for a fixed-point t from 0 to 1, reduced by c = k/32, or by nothing. */
function arctangent(t: bigint, k: bigint): bigint {
  if (k === 0n && t > ONE >> 5n) {
    // Only for the table: halve the angle first.
    const root = squareRoot(ONE + multiply(t, t));
    return 2n * arctangent((t << FN) / (ONE + root), 0n);
  }
  const c = k << BigInt(F - 5);
  const z = k === 0n ? t : ((t - c) << FN) / (ONE + multiply(t, c));
  const rest = multiply(z, inverseSeries(multiply(z, z), -1n));
  return k === 0n ? rest : tableArctangent(Number(k)) + rest;
}

function squareRoot(value: bigint): bigint {
  const target = value << FN;
  let root = 1n << BigInt((bitLength(target) + 1) >> 1);
  for (;;) {
    const next = (root + target / root) >> 1n;
    if (next >= root) {
      return root;
    }
    root = next;
  }
}

/** The angle of (x, y), both not zero, from 0 to π. */
export function angle(y: Magnitude, xNegative: boolean, x: Magnitude): Magnitude {
  const steep = compare(y, x) > 0;
  const [small, large] = steep ? [x, y] : [y, x];
  // The ratio to 128 bits.
  const shift = 128 + bitLength(large.m) - bitLength(small.m);
  const ratio: Magnitude = { m: (small.m << BigInt(shift)) / large.m, e: small.e - large.e - shift };
  const t = fixed(ratio);
  if (scale(ratio) < -6) {
    if (!steep && !xNegative) {
      const series = inverseSeries(multiply(t, t), -1n);
      // Slightly smaller than the ratio, even when that does not show.
      return { m: ratio.m * (series === ONE ? ONE - 1n : series), e: ratio.e - F };
    }
  }
  const acute = arctangent(t, (t + (1n << BigInt(F - 6))) >> BigInt(F - 5));
  const inQuadrant = steep ? HALF_PI - acute : acute;
  return { m: xNegative ? PI - inQuadrant : inQuadrant, e: -F };
}

/** π, and fractions of it: quarters from 0 to 4. */
export function quartersOfPi(count: number): Magnitude {
  return { m: PI * BigInt(count), e: -F - 2 };
}

function compare(a: Magnitude, b: Magnitude): number {
  const difference = scale(a) - scale(b);
  if (difference !== 0) {
    return difference;
  }
  const e = Math.min(a.e, b.e);
  const left = a.m << BigInt(a.e - e);
  const right = b.m << BigInt(b.e - e);
  return left > right ? 1 : left < right ? -1 : 0;
}

/** 1/3!, 1/5! … and 1/2!, 1/4! …, with alternating signs, last first. */
const SINE_TERMS = [362880n, -5040n, 120n, -6n].map((n) => ONE / n);
const COSINE_TERMS = [-3628800n, 40320n, -720n, 24n, -2n].map((n) => ONE / n);

/** 1 + x (t_n + … x (t_2 + x t_1)) for terms in this order. */
function polynomial(terms: readonly bigint[], x: bigint): bigint {
  let sum = 0n;
  for (const term of terms) {
    sum = term + multiply(sum, x);
  }
  return ONE + multiply(sum, x);
}

/** The table of sines has steps of 2^−8, so that what is left is at most 2^−9. */
const STEP_BITS = F - 8;

/** Sine and cosine of a fixed-point d of at most 2^−9: what the series leave out is below 2^−110. */
function sineCosine(d: bigint): [bigint, bigint] {
  const square = multiply(d, d);
  return [multiply(d, polynomial(SINE_TERMS, square)), polynomial(COSINE_TERMS, square)];
}

const sines: bigint[] = [0n];
const cosines: bigint[] = [ONE];

/** Fills the table up to entry `k` by adding one step at a time. */
function fillTable(k: number): void {
  const [s, c] = sineCosine(1n << BigInt(STEP_BITS - 1));
  // The step itself is twice that angle.
  const [stepSine, stepCosine] = [2n * multiply(s, c), ONE - 2n * multiply(s, s)];
  for (let i = sines.length; i <= k; i++) {
    const sine = sines[i - 1] ?? 0n;
    const cosine = cosines[i - 1] ?? 0n;
    sines.push(multiply(sine, stepCosine) + multiply(cosine, stepSine));
    cosines.push(multiply(cosine, stepCosine) - multiply(sine, stepSine));
  }
}

/** Sine and cosine of an angle from 0 to a little over π/4. */
function firstOctant(r: Magnitude): { sine: Magnitude; cosine: Magnitude } {
  const value = fixed(r);
  if (scale(r) < -10) {
    const square = multiply(value, value);
    const below = (x: bigint) => (x === ONE ? ONE - 1n : x);
    return {
      sine: { m: r.m * below(polynomial(SINE_TERMS, square)), e: r.e - F },
      cosine: { m: below(polynomial(COSINE_TERMS, square)), e: -F },
    };
  }
  const k = Number((value + (1n << BigInt(STEP_BITS - 1))) >> BigInt(STEP_BITS));
  if (k >= sines.length) {
    fillTable(k);
  }
  const [sine, cosine] = sineCosine(value - (BigInt(k) << BigInt(STEP_BITS)));
  const s = sines[k] ?? 0n;
  const c = cosines[k] ?? 0n;
  return {
    sine: { m: multiply(s, cosine) + multiply(c, sine), e: -F },
    cosine: { m: multiply(c, cosine) - multiply(s, sine), e: -F },
  };
}

export interface SineCosine {
  readonly sine: Magnitude;
  readonly sineNegative: boolean;
  readonly cosine: Magnitude;
  readonly cosineNegative: boolean;
}

/** Sine and cosine of x > 0, below 2^63, with the processors' π. Zeros are possible only for the reduced angle 0. */
export function circular(x: Magnitude): SineCosine {
  let r: Magnitude = x;
  let negative = false;
  let quadrant = 0;
  if (scale(x) >= -1) {
    const point = Math.max(67, -x.e);
    const value = x.m << BigInt(x.e + point);
    const half = PI_66 << BigInt(point - 67);
    const count = (2n * value + half) / (2n * half);
    const rest = value - count * half;
    negative = rest < 0n;
    r = { m: negative ? -rest : rest, e: -point };
    quadrant = Number(count & 3n);
  }
  const { sine, cosine } = r.m === 0n ? { sine: r, cosine: { m: ONE, e: -F } } : firstOctant(r);
  switch (quadrant) {
    case 0:
      return { sine, sineNegative: negative, cosine, cosineNegative: false };
    case 1:
      return { sine: cosine, sineNegative: false, cosine: sine, cosineNegative: !negative };
    case 2:
      return { sine, sineNegative: !negative, cosine, cosineNegative: true };
    default:
      return { sine: cosine, sineNegative: true, cosine: sine, cosineNegative: negative };
  }
}

/** a ÷ b to 128 bits. */
export function divide(a: Magnitude, b: Magnitude): Magnitude {
  const shift = 128 + bitLength(b.m) - bitLength(a.m);
  return { m: shift >= 0 ? (a.m << BigInt(shift)) / b.m : a.m / (b.m << BigInt(-shift)), e: a.e - b.e - shift };
}
