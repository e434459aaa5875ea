import * as X from './registers.ts';

/** A positive number m · 2^e, with any number of bits in m. */
export interface Magnitude {
  readonly m: bigint;
  readonly e: number;
}

/** A rounded 80-bit number with the exceptions of rounding it. */
export interface Rounded {
  readonly significand: bigint;
  readonly word: number;
  readonly raised: number;
}

const real = new Float64Array(1);
const realWords = new Uint32Array(real.buffer);

/** Bits from the leading one down. */
export function bitLength(value: bigint): number {
  real[0] = Number(value);
  const exponent = (realWords[1] ?? 0) >>> 20;
  if (exponent === 0x7ff) {
    return bitLength(value >> 960n) + 960;
  }
  if (exponent === 0) {
    return 0;
  }
  // The conversion may have rounded up to the next power of two.
  const length = exponent - 1022;
  return value >> BigInt(length - 1) === 0n ? length - 1 : length;
}

const WRAP = 24576;

function roundsUp(mode: number, negative: boolean, rest: bigint, half: bigint, odd: boolean): boolean {
  if (rest === 0n) {
    return false;
  }
  switch (mode) {
    case 0:
      return rest > half || (rest === half && odd);
    case 1:
      return negative;
    case 2:
      return !negative;
    default:
      return false;
  }
}

/**
 * Rounds to 64 bits of significand by the control word's direction and masks (SDM 1, 8.5.4–8.5.6). `inexact`: m · 2^e is
 * itself an approximation, so never exact nor halfway.
 */
export function round(negative: boolean, value: Magnitude, control: number, inexact: boolean): Rounded {
  const sign = negative ? X.SIGN : 0;
  if (value.m === 0n) {
    return { significand: 0n, word: sign, raised: 0 };
  }
  const mode = (control & X.CONTROL_ROUNDING) >> X.CONTROL_ROUNDING_SHIFT;
  // Bits below the 64 kept; a sticky bit at the very end stands for what is not known.
  let m = (value.m << 66n) | (inexact ? 1n : 0n);
  const length = bitLength(m);
  let exponent = value.e - 66 + length - 1 + X.EXPONENT_BIAS;
  let raised = 0;
  const cut = (drop: number): bigint => {
    const place = BigInt(drop);
    const kept = m >> place;
    const rest = m - (kept << place);
    const up = roundsUp(mode, negative, rest, 1n << (place - 1n), (kept & 1n) === 1n);
    if (rest !== 0n) {
      raised |= X.STATUS_PE;
    }
    if (up) {
      raised |= X.STATUS_C1;
    }
    return up ? kept + 1n : kept;
  };
  if (exponent <= 0 && control & X.STATUS_UE) {
    const extra = 1 - exponent;
    if (extra > 70) {
      m = 1n;
      const up = roundsUp(mode, negative, 1n, 2n, false);
      return {
        significand: up ? 1n : 0n,
        word: sign,
        raised: X.STATUS_UE | X.STATUS_PE | (up ? X.STATUS_C1 : 0),
      };
    }
    const significand = cut(length - 64 + extra);
    // Tiny unless rounding at full precision would have made it normal; that takes 64 ones.
    const tiny = exponent < 0 || significand >> 63n === 0n || m >> BigInt(length - 64) !== 0xffffffffffffffffn;
    if (raised & X.STATUS_PE && tiny) {
      raised |= X.STATUS_UE;
    }
    return { significand, word: sign | Number(significand >> 63n), raised };
  }
  let significand = cut(length - 64);
  if (significand >> 64n !== 0n) {
    significand = X.INTEGER_BIT;
    exponent++;
  }
  if (exponent <= 0) {
    raised |= X.STATUS_UE;
    exponent += WRAP;
  } else if (exponent >= X.EXPONENT_MAX) {
    if (control & X.STATUS_OE) {
      const infinite = roundsUp(mode, negative, 3n, 2n, false);
      return {
        significand: infinite ? X.INTEGER_BIT : 0xffffffffffffffffn,
        word: sign | (infinite ? X.EXPONENT_MAX : X.EXPONENT_MAX - 1),
        raised: X.STATUS_OE | X.STATUS_PE | (infinite ? X.STATUS_C1 : 0),
      };
    }
    raised |= X.STATUS_OE;
    exponent -= WRAP;
  }
  return { significand, word: sign | exponent, raised };
}
