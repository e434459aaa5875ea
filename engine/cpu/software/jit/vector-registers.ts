import { assert } from '../../../base/assert.ts';
import * as L from '../../x86/layout.ts';
import {
  type Expression,
  type FunctionBuilder,
  get,
  type I32,
  i64,
  type Local,
  laneOp,
  load,
  op,
  type V128,
} from '../wasm/function-builder.ts';
import type { LoadName, StoreName } from '../wasm/opcodes.ts';

const REGISTERS = 16;

/** Functions that find the XMM registers in the processor's record. */
const RECORD_HELPERS: ReadonlySet<string> = new Set([
  'sse-save-registers',
  'sse-restore-registers',
  'sse-reset-registers',
]);

/** Whether a shared function reads or writes XMM registers in the processor's record. */
export function touchesVectors(helper: string): boolean {
  return RECORD_HELPERS.has(helper);
}

/** Number of the XMM register at an offset in the record, or −1; the upper halves of YMM registers are none. */
export function xmmAt(offset: number): number {
  const at = offset - L.XMM;
  return at >= 0 && at < REGISTERS * L.XMM_STRIDE && at % L.XMM_STRIDE < 16 ? Math.floor(at / L.XMM_STRIDE) : -1;
}

/**
 * The XMM registers that a region uses, in locals. The upper halves of the YMM registers stay in the record: VEX forms
 * mostly clear them.
 */
export class VectorRegisters {
  readonly #f: FunctionBuilder;
  readonly #record: Local<'i32'>;
  readonly #locals: (Local<'v128'> | undefined)[] = [];
  #written = 0;

  /** `record`: the processor's record as plain memory. */
  constructor(f: FunctionBuilder, record: Local<'i32'>) {
    this.#f = f;
    this.#record = record;
  }

  #local(number: number): Local<'v128'> {
    let local = this.#locals[number];
    if (local === undefined) {
      local = this.#f.persistent('v128');
      this.#locals[number] = local;
    }
    return local;
  }

  /** A load from the record: undefined when it is none of an XMM register. */
  load(name: LoadName, offset: number): Expression | undefined {
    const number = xmmAt(offset);
    return number < 0 ? undefined : vectorPart(get(this.#local(number)), name, offset % 16);
  }

  /** A store to the record: false when it is none to an XMM register. */
  store(name: StoreName, offset: number, value: Expression): boolean {
    const number = xmmAt(offset);
    if (number < 0) {
      return false;
    }
    const local = this.#local(number);
    this.#written |= 1 << number;
    this.#f.set(local, vectorMerged(get(local), name, offset % 16, value));
    return true;
  }

  /** Copies those that the region writes to the record. Only when the whole region is known: see `FunctionBuilder.later`. */
  spill(): void {
    for (let number = 0; number < REGISTERS; number++) {
      if ((this.#written >> number) & 1) {
        this.spillOne(number);
      }
    }
  }

  /** Loads all that the region uses. Only when the whole region is known. */
  reload(): void {
    for (let number = 0; number < REGISTERS; number++) {
      if (this.#locals[number] !== undefined) {
        this.reloadOne(number);
      }
    }
  }

  /** Copies a register to the record, for code that looks there, and back. */
  spillOne(number: number): void {
    this.#f.store('v128.store', get(this.#record), get(this.#local(number)), L.XMM + number * L.XMM_STRIDE);
  }

  reloadOne(number: number): void {
    this.#f.set(this.#local(number), load('v128.load', get(this.#record), L.XMM + number * L.XMM_STRIDE));
  }
}

/** Lane number of the `size` bytes at `offset`. */
function laneOf(offset: number, size: number): number {
  assert(offset % size === 0 && offset + size <= 16, 'a vector register is accessed across its lanes');
  return offset / size;
}

/** A load of part of a vector that is in a local. */
function vectorPart(value: V128, name: LoadName, offset: number): Expression {
  const extend = (narrow: I32) => op('i64.extend_i32_u', narrow);
  switch (name) {
    case 'v128.load':
      assert(offset === 0, 'a vector register is read across its end');
      return value;
    case 'i64.load':
      return laneOp('i64x2.extract_lane', laneOf(offset, 8), value);
    case 'i32.load':
      return laneOp('i32x4.extract_lane', laneOf(offset, 4), value);
    case 'i32.load16_u':
      return laneOp('i16x8.extract_lane_u', laneOf(offset, 2), value);
    case 'i32.load16_s':
      return laneOp('i16x8.extract_lane_s', laneOf(offset, 2), value);
    case 'i32.load8_u':
      return laneOp('i8x16.extract_lane_u', laneOf(offset, 1), value);
    case 'i32.load8_s':
      return laneOp('i8x16.extract_lane_s', laneOf(offset, 1), value);
    case 'f64.load':
      return laneOp('f64x2.extract_lane', laneOf(offset, 8), value);
    case 'f32.load':
      return laneOp('f32x4.extract_lane', laneOf(offset, 4), value);
    case 'i64.load32_u':
      return extend(laneOp('i32x4.extract_lane', laneOf(offset, 4), value));
    case 'i64.load16_u':
      return extend(laneOp('i16x8.extract_lane_u', laneOf(offset, 2), value));
    case 'i64.load8_u':
      return extend(laneOp('i8x16.extract_lane_u', laneOf(offset, 1), value));
    case 'v128.load64_zero':
      assert(offset === 0, 'a vector register is read across its lanes');
      return laneOp('i64x2.replace_lane', 1, value, i64(0));
    default:
      throw new Error(`${name} of a vector register`);
  }
}

/** A vector in a local with part of it replaced. */
function vectorMerged(old: V128, name: StoreName, offset: number, value: Expression): V128 {
  const narrow = () => (value.type === 'i64' ? op('i32.wrap_i64', value) : value);
  switch (name) {
    case 'v128.store':
      assert(offset === 0, 'a vector register is written across its end');
      return value as V128;
    case 'i64.store':
      return laneOp('i64x2.replace_lane', laneOf(offset, 8), old, value);
    case 'i32.store':
    case 'i64.store32':
      return laneOp('i32x4.replace_lane', laneOf(offset, 4), old, narrow());
    case 'i32.store16':
    case 'i64.store16':
      return laneOp('i16x8.replace_lane', laneOf(offset, 2), old, narrow());
    case 'i32.store8':
    case 'i64.store8':
      return laneOp('i8x16.replace_lane', laneOf(offset, 1), old, narrow());
    case 'f64.store':
      return laneOp('f64x2.replace_lane', laneOf(offset, 8), old, value);
    case 'f32.store':
      return laneOp('f32x4.replace_lane', laneOf(offset, 4), old, value);
    default:
      throw new Error(`${name} to a vector register`);
  }
}
