import {
  type Expression,
  get,
  type I32,
  type I64,
  i32,
  i64,
  load,
  op,
  type V128,
} from '../../software/wasm/function-builder.ts';
import { v32, v64, zeroVector } from '../../software/wasm/vectors.ts';
import * as L from '../layout.ts';
import * as M from '../mxcsr.ts';
import type { InstructionBuilder, Integer } from './instruction-builder.ts';

/**
 * How floating-point instructions stay exact at little cost: the plain WebAssembly operation counts when MXCSR is in the
 * common mode and operands and result are of the harmless kind; else a helper function decides result and exceptions.
 */
export type Bits = 32 | 64;

export const sizeOf = (bits: Bits) => bits / 8;

/** Bits of the smallest normal number, and of infinity. */
export const SMALLEST_NORMAL = { 32: 0x00800000n, 64: 0x0010000000000000n } as const;
const INFINITY = { 32: 0x7f800000n, 64: 0x7ff0000000000000n } as const;

/** MXCSR is in the common mode (see mxcsr.ts). */
export function commonMode(b: InstructionBuilder): I32 {
  return op(
    'i32.eq',
    op('i32.and', load('i32.load', get(b.cpu), L.MXCSR), i32(M.MXCSR_COMMON_MASK)),
    i32(M.MXCSR_COMMON),
  );
}

/** MXCSR's rounding control. */
export function roundingControl(b: InstructionBuilder): I32 {
  return op('i32.and', op('i32.shr_u', load('i32.load', get(b.cpu), L.MXCSR), i32(M.MXCSR_RC_SHIFT)), i32(3));
}

export function allOf(...conditions: I32[]): I32 {
  return conditions.reduce((left, right) => op('i32.and', left, right));
}

/** A constant of the format's integer type. */
function constant(bits: Bits, value: bigint): Integer {
  return bits === 64 ? i64(BigInt.asIntN(64, value)) : i32(Number(BigInt.asIntN(32, value)));
}

/** Above the smallest normal number in magnitude and finite: such operands and results raise nothing but PE. */
export function isNormal(b: InstructionBuilder, bits: Bits, value: Integer): I32 {
  const low = SMALLEST_NORMAL[bits] * 2n + 1n;
  const doubled = b.bin('shl', value, constant(bits, 1n));
  return b.cmp('lt_u', b.bin('sub', doubled, constant(bits, low)), constant(bits, INFINITY[bits] * 2n - low));
}

/** Neither a NaN nor a denormal. */
export function isComparable(b: InstructionBuilder, bits: Bits, value: Integer): I32 {
  // Doubled, NaNs, zero and denormals follow each other when counting modulo the word.
  const doubled = b.keep(b.bin('shl', value, constant(bits, 1n)));
  const firstNan = INFINITY[bits] * 2n + 1n;
  const distance = b.bin('sub', doubled, constant(bits, firstNan));
  const special = SMALLEST_NORMAL[bits] * 2n + (1n << BigInt(bits)) - firstNan;
  return op('i32.or', b.cmp('ge_u', distance, constant(bits, special)), b.eqz(doubled));
}

const vectorOf = (bits: Bits, value: bigint): V128 => (bits === 64 ? v64(() => value) : v32(() => Number(value)));
const shape = (bits: Bits) => (bits === 64 ? 'f64x2' : 'f32x4');

/** Every lane of all vectors is well within the normal range. */
export function areNormal(bits: Bits, ...vectors: V128[]): I32 {
  // Of binary64 the upper halves tell enough: exponents from 2 on.
  const low = bits === 64 ? 0x00400000 : 0x01000001;
  const high = bits === 64 ? 0xffe00000 : 0xff000000;
  const distances = vectors.map((vector) =>
    op(
      'i32x4.sub',
      op('i32x4.shl', vector, i32(1)),
      v32(() => low),
    ),
  );
  const inside = op(
    'i32x4.lt_u',
    distances.reduce((left, right) => op('i32x4.max_u', left, right)),
    v32(() => high - low),
  );
  return bits === 64
    ? op('i32.eq', op('i32.and', op('i32x4.bitmask', inside), i32(10)), i32(10))
    : op('i32x4.all_true', inside);
}

/** No lane is a NaN or a denormal. */
export function areComparable(bits: Bits, ...vectors: V128[]): I32 {
  const f = shape(bits);
  const bad = vectors.map((vector) =>
    op(
      'v128.or',
      op(
        'v128.and',
        op(`${f}.lt`, op(`${f}.abs`, vector), vectorOf(bits, SMALLEST_NORMAL[bits])),
        op(`${f}.ne`, vector, zeroVector),
      ),
      op(`${f}.ne`, vector, vector),
    ),
  );
  return op(
    'i32.eqz',
    op(
      'v128.any_true',
      bad.reduce((left, right) => op('v128.or', left, right)),
    ),
  );
}

/** To the i64 in which helpers take numbers of both formats. */
export function toHelper(value: Integer): I64 {
  return value.type === 'i64' ? (value as I64) : op('i64.extend_i32_u', value);
}

export function fromHelper(bits: Bits, value: I64): Integer {
  return bits === 64 ? value : op('i32.wrap_i64', value);
}

/** The exact operation on scalars, with exceptions; leaves the instruction when one is not masked. */
export function exactScalar(b: InstructionBuilder, bits: Bits, operation: I32, a: Integer, c: Integer): Integer {
  const helper = b.helper(`sse-scalar${bits}`);
  const value = b.keep(fromHelper(bits, b.f.call(helper, get(b.cpu), operation, toHelper(a), toHelper(c)) as I64));
  b.leaveOnFault();
  return value;
}

/**
 * Runs an exact operation, which may leave the instruction, on each lane. The exceptions of all lanes are those of one
 * operation: they are dealt with together at the end.
 */
export function exactLanes(b: InstructionBuilder, count: number, one: (lane: number) => Expression): V128[] {
  if (count === 1) {
    const value = b.keep(one(0)) as V128;
    b.leaveOnFault();
    return [value];
  }
  b.setField32(M.SSE_RAISED, i32(0));
  b.setField32(M.SSE_DEFERRED, i32(-1));
  const values = Array.from({ length: count }, (_, lane) => b.keep(one(lane)) as V128);
  b.setField32(M.SSE_DEFERRED, i32(0));
  b.f.callVoid(b.helper('sse-commit'), get(b.cpu));
  b.leaveOnFault();
  return values;
}

export function exactPacked(
  b: InstructionBuilder,
  bits: Bits,
  operation: I32,
  a: readonly V128[],
  c: readonly V128[],
): V128[] {
  const helper = b.helper(`sse-packed${bits}`);
  const code = b.keep(operation);
  return exactLanes(b, c.length, (i) => b.f.call(helper, get(b.cpu), code, a[i] as V128, c[i] as V128));
}

/** Like `exactPacked`, for ADD, SUB, MUL and DIV: vectors with zeros in them are settled at once. */
export function exactCommon(
  b: InstructionBuilder,
  bits: Bits,
  name: 'add' | 'sub' | 'mul' | 'div',
  a: readonly V128[],
  c: readonly V128[],
): V128[] {
  const helper = b.helper(`sse-packed-${name}${bits}`);
  return exactLanes(b, c.length, (i) => b.f.call(helper, get(b.cpu), a[i] as V128, c[i] as V128));
}

/** The four forms of an instruction: suffix, mandatory prefix, format, packed. */
export const FORMS = [
  ['ps', 'NP', 32, true],
  ['pd', '66', 64, true],
  ['ss', 'F3', 32, false],
  ['sd', 'F2', 64, false],
] as const;
