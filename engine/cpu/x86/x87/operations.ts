import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { angle, circular, divide, log2, log2Plus1, power2Minus1, quartersOfPi } from './elementary.ts';
import { type Magnitude, type Rounded, round } from './reals.ts';
import * as X from './registers.ts';

/** A register's number, taken apart. */
interface Operand {
  readonly significand: bigint;
  readonly word: number;
  readonly negative: boolean;
  readonly kind: 'unsupported' | 'nan' | 'infinity' | 'zero' | 'denormal' | 'normal';
  readonly value: Magnitude;
}

const QUIET = 1n << 62n;
const INDEFINITE: Rounded = {
  significand: X.INDEFINITE_SIGNIFICAND,
  word: X.INDEFINITE_EXPONENT,
  raised: X.STATUS_IE,
};

function classify(significand: bigint, exponent: number): Operand['kind'] {
  if (exponent === 0) {
    return significand === 0n ? 'zero' : 'denormal';
  }
  if (significand >> 63n === 0n) {
    return 'unsupported';
  }
  if (exponent === X.EXPONENT_MAX) {
    return significand === X.INTEGER_BIT ? 'infinity' : 'nan';
  }
  return 'normal';
}

/** ST(0) and its neighbours, with the rules for empty registers and exceptions (SDM 1, 8.5). */
class Stack {
  readonly #state: CpuState;
  readonly control: number;

  constructor(state: CpuState) {
    this.#state = state;
    this.control = state.u32(L.FPU_CONTROL);
  }

  #place(index: number): number {
    return (this.#state.u32(L.FPU_TOP) + index) & 7;
  }

  isEmpty(index: number): boolean {
    return (this.#state.u32(L.FPU_VALID) & (1 << this.#place(index))) === 0;
  }

  read(index: number): Operand {
    const at = L.FPR + this.#place(index) * L.FPR_STRIDE;
    const significand = this.#state.u64(at);
    const word = this.#state.u16(at + 8);
    const exponent = word & X.EXPONENT_MAX;
    return {
      significand,
      word,
      negative: (word & X.SIGN) !== 0,
      kind: classify(significand, exponent),
      value: { m: significand, e: Math.max(exponent, 1) - X.EXPONENT_BIAS - 63 },
    };
  }

  /** Merges exceptions into the status word; returns whether one forbids the operation. */
  report(raised: number): boolean {
    const state = this.#state;
    let flags = raised;
    const stops = (flags & ~this.control & X.PRE_EXCEPTIONS) !== 0;
    if (stops) {
      flags &= X.PRE_EXCEPTIONS | X.STATUS_SF | (flags & X.STATUS_SF ? X.STATUS_C1 : 0);
    }
    let status = (state.u32(L.FPU_STATUS) & ~X.STATUS_C1) | flags;
    if (flags & ~this.control & X.EXCEPTIONS) {
      status |= X.STATUS_ES | X.STATUS_B;
    }
    state.setU32(L.FPU_STATUS, status);
    return stops;
  }

  write(index: number, value: { readonly significand: bigint; readonly word: number }): void {
    const state = this.#state;
    const place = this.#place(index);
    state.setU64(L.FPR + place * L.FPR_STRIDE, value.significand);
    state.setU64(L.FPR + place * L.FPR_STRIDE + 8, BigInt(value.word));
    state.setU32(L.FPU_VALID, state.u32(L.FPU_VALID) | (1 << place));
  }

  push(value: { readonly significand: bigint; readonly word: number }): void {
    this.#state.setU32(L.FPU_TOP, this.#place(7));
    this.write(0, value);
  }

  pop(): void {
    const state = this.#state;
    state.setU32(L.FPU_VALID, state.u32(L.FPU_VALID) & ~(1 << this.#place(0)));
    state.setU32(L.FPU_TOP, this.#place(1));
  }

  setC2(set: boolean): void {
    const state = this.#state;
    state.setU32(L.FPU_STATUS, (state.u32(L.FPU_STATUS) & ~X.STATUS_C2) | (set ? X.STATUS_C2 : 0));
  }
}

/** The NaN that an operation on these gives, or undefined if none is a NaN or unsupported. */
function propagate(a: Operand, b: Operand = a): Rounded | undefined {
  if (a.kind === 'unsupported' || b.kind === 'unsupported') {
    return INDEFINITE;
  }
  if (a.kind !== 'nan' && b.kind !== 'nan') {
    return undefined;
  }
  const signaling = (x: Operand) => x.kind === 'nan' && (x.significand & QUIET) === 0n;
  let chosen = a.kind === 'nan' ? a : b;
  if (a.kind === 'nan' && b.kind === 'nan') {
    if (signaling(a) !== signaling(b)) {
      chosen = signaling(a) ? b : a;
    } else if (b.significand > a.significand || (b.significand === a.significand && b.word < a.word)) {
      chosen = b;
    }
  }
  const raised = signaling(a) || signaling(b) ? X.STATUS_IE : 0;
  return { significand: chosen.significand | QUIET, word: chosen.word, raised };
}

function zero(negative: boolean, raised = 0): Rounded {
  return { significand: 0n, word: negative ? X.SIGN : 0, raised };
}

function infinity(negative: boolean, raised = 0): Rounded {
  return { significand: X.INTEGER_BIT, word: (negative ? X.SIGN : 0) | X.EXPONENT_MAX, raised };
}

function denormals(...operands: readonly Operand[]): number {
  return operands.some((operand) => operand.kind === 'denormal') ? X.STATUS_DE : 0;
}

function withRaised(value: Rounded, raised: number): Rounded {
  return { ...value, raised: value.raised | raised };
}

const ONE = { significand: X.INTEGER_BIT, word: X.EXPONENT_BIAS } as const;

/** An instruction that replaces ST(0). */
function unary(compute: (x: Operand, control: number) => Rounded) {
  return (state: CpuState): void => {
    const stack = new Stack(state);
    const result = stack.isEmpty(0) ? withRaised(INDEFINITE, X.STATUS_SF) : compute(stack.read(0), stack.control);
    if (!stack.report(result.raised)) {
      stack.write(0, result);
    }
  };
}

/** An instruction that puts a result from ST(0) and ST(1) into ST(1), and pops. */
function binary(compute: (x: Operand, y: Operand, control: number) => Rounded) {
  return (state: CpuState): void => {
    const stack = new Stack(state);
    const result =
      stack.isEmpty(0) || stack.isEmpty(1)
        ? withRaised(INDEFINITE, X.STATUS_SF)
        : compute(stack.read(0), stack.read(1), stack.control);
    if (!stack.report(result.raised)) {
      stack.write(1, result);
      stack.pop();
    }
  };
}

function f2xm1(x: Operand, control: number): Rounded {
  const nan = propagate(x);
  if (nan !== undefined) {
    return nan;
  }
  switch (x.kind) {
    case 'zero':
      return zero(x.negative);
    case 'infinity':
      return x.negative ? { ...ONE, word: ONE.word | X.SIGN, raised: 0 } : infinity(false);
  }
  const exponent = x.word & X.EXPONENT_MAX;
  if (exponent >= X.EXPONENT_BIAS) {
    if (exponent === X.EXPONENT_BIAS && x.significand === X.INTEGER_BIT) {
      return withRaised(round(x.negative, { m: 1n, e: x.negative ? -1 : 0 }, control, false), X.STATUS_PE);
    }
    // Outside −1 … 1 the result is undefined: processors leave the argument.
    return { significand: x.significand, word: x.word, raised: X.STATUS_PE };
  }
  return withRaised(round(x.negative, power2Minus1(x.negative, x.value), control, true), denormals(x));
}

/** ST(1) · log2 ST(0) (SDM 2A, FYL2X). */
function fyl2x(x: Operand, y: Operand, control: number): Rounded {
  const nan = propagate(x, y);
  if (nan !== undefined) {
    return nan;
  }
  if (x.negative && x.kind !== 'zero') {
    return INDEFINITE;
  }
  if (x.kind === 'zero') {
    if (y.kind === 'zero') {
      return INDEFINITE;
    }
    return y.kind === 'infinity' ? infinity(!y.negative) : infinity(!y.negative, X.STATUS_ZE);
  }
  const raised = denormals(x, y);
  const isOne = x.significand === X.INTEGER_BIT && x.word === X.EXPONENT_BIAS;
  if (x.kind === 'infinity') {
    return y.kind === 'zero' ? INDEFINITE : infinity(y.negative, raised);
  }
  const logarithm = log2(x.value);
  if (y.kind === 'infinity') {
    return isOne ? INDEFINITE : infinity(y.negative !== logarithm.negative, raised);
  }
  if (y.kind === 'zero' || isOne) {
    return zero(y.negative !== logarithm.negative, raised);
  }
  const product = { m: y.value.m * logarithm.value.m, e: y.value.e + logarithm.value.e };
  // Exact results are reported as inexact, too.
  return withRaised(round(y.negative !== logarithm.negative, product, control, !logarithm.exact), raised | X.STATUS_PE);
}

/** ST(1) · log2 (ST(0) + 1). */
function fyl2xp1(x: Operand, y: Operand, control: number): Rounded {
  const nan = propagate(x, y);
  if (nan !== undefined) {
    return nan;
  }
  const raised = denormals(x, y);
  if (x.kind === 'infinity') {
    return x.negative || y.kind === 'zero' ? INDEFINITE : infinity(y.negative, raised);
  }
  const negative = x.negative !== y.negative;
  if (x.kind === 'zero') {
    return y.kind === 'infinity' ? INDEFINITE : zero(negative, raised);
  }
  if (y.kind === 'infinity') {
    return infinity(negative, raised);
  }
  if (y.kind === 'zero') {
    return zero(negative, raised);
  }
  if (x.negative && (x.word & X.EXPONENT_MAX) >= X.EXPONENT_BIAS) {
    // log2 of 0 or less: outside the range of the instruction. Processors leave the argument.
    return { significand: x.significand, word: x.word, raised: raised | X.STATUS_PE };
  }
  const logarithm = log2Plus1(x.negative, x.value);
  const product = { m: y.value.m * logarithm.value.m, e: y.value.e + logarithm.value.e };
  return withRaised(round(negative, product, control, !logarithm.exact), raised | X.STATUS_PE);
}

/** The angle of the point (ST(0), ST(1)) (SDM 2A, table 3-30). */
function fpatan(x: Operand, y: Operand, control: number): Rounded {
  const nan = propagate(x, y);
  if (nan !== undefined) {
    return nan;
  }
  const raised = denormals(x, y);
  const quarters = (count: number) => withRaised(round(y.negative, quartersOfPi(count), control, true), raised);
  if (y.kind === 'infinity') {
    return x.kind === 'infinity' ? quarters(x.negative ? 3 : 1) : quarters(2);
  }
  if (x.kind === 'infinity' || y.kind === 'zero') {
    if (x.negative) {
      return quarters(4);
    }
    return zero(y.negative, raised);
  }
  if (x.kind === 'zero') {
    return quarters(2);
  }
  return withRaised(round(y.negative, angle(y.value, x.negative, x.value), control, true), raised);
}

type Circular = 'sine' | 'cosine' | 'tangent';

function circularResult(x: Operand, control: number, which: Circular): Rounded {
  if ((x.word & X.EXPONENT_MAX) <= 1) {
    // As small as a number can be: whatever the rounding, processors answer with it, and with 1.
    if (which === 'cosine') {
      return { ...ONE, raised: X.STATUS_PE };
    }
    const tiny = x.significand < X.INTEGER_BIT ? X.STATUS_UE : 0;
    return withRaised(round(x.negative, x.value, control, false), X.STATUS_PE | tiny);
  }
  const { sine, sineNegative, cosine, cosineNegative } = circular(x.value);
  switch (which) {
    case 'sine':
      return round(sineNegative !== x.negative, sine, control, true);
    case 'cosine':
      return round(cosineNegative, cosine, control, true);
    case 'tangent':
      return round((sineNegative !== cosineNegative) !== x.negative, divide(sine, cosine), control, true);
  }
}

/** FSIN, FCOS; FSINCOS and FPTAN push a second result. Beyond 2^63 only C2 is set. */
function trigonometric(first: Circular, second?: 'cosine' | 'one') {
  return (state: CpuState): void => {
    const stack = new Stack(state);
    stack.setC2(false);
    if (stack.isEmpty(0) || (second !== undefined && !stack.isEmpty(7))) {
      const overflow = stack.isEmpty(0) ? 0 : X.STATUS_C1;
      if (!stack.report(X.STATUS_IE | X.STATUS_SF | overflow)) {
        stack.write(0, INDEFINITE);
        if (second !== undefined) {
          stack.push(INDEFINITE);
        }
      }
      return;
    }
    const x = stack.read(0);
    let result: Rounded;
    let other: Rounded | undefined;
    const nan = propagate(x) ?? (x.kind === 'infinity' ? INDEFINITE : undefined);
    if (nan !== undefined) {
      result = nan;
      other = nan;
    } else if (x.kind === 'zero') {
      const one = { ...ONE, raised: 0 };
      result = first === 'cosine' ? one : zero(x.negative);
      other = one;
    } else if ((x.word & X.EXPONENT_MAX) >= X.EXPONENT_BIAS + 63) {
      stack.setC2(true);
      stack.report(0);
      return;
    } else {
      result = withRaised(circularResult(x, stack.control, first), denormals(x));
      other = second === 'cosine' ? circularResult(x, stack.control, 'cosine') : { ...ONE, raised: 0 };
    }
    if (second === undefined) {
      if (!stack.report(result.raised)) {
        stack.write(0, result);
      }
      return;
    }
    // C1 tells how the tangent, or the cosine, was rounded.
    const c1 = (second === 'one' ? result : other).raised & X.STATUS_C1;
    if (!stack.report(((result.raised | other.raised) & ~X.STATUS_C1) | c1)) {
      stack.write(0, result);
      stack.push(other);
    }
  };
}

/** The transcendental x87 instructions, by the names that the instruction table gives them. */
export const x87Operations: Readonly<Record<string, (state: CpuState) => void>> = {
  'x87-f2xm1': unary(f2xm1),
  'x87-fyl2x': binary(fyl2x),
  'x87-fyl2xp1': binary(fyl2xp1),
  'x87-fpatan': binary(fpatan),
  'x87-fsin': trigonometric('sine'),
  'x87-fcos': trigonometric('cosine'),
  'x87-fsincos': trigonometric('sine', 'cosine'),
  'x87-fptan': trigonometric('tangent', 'one'),
};
