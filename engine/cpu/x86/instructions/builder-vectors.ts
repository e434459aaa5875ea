import {
  type Expression,
  get,
  type I32,
  type I64,
  i32,
  i64,
  laneOp,
  load,
  op,
  type V128,
} from '../../software/wasm/function-builder.ts';
import { zeroVector } from '../../software/wasm/vectors.ts';
import * as L from '../layout.ts';
import type { Integer } from './builder-core.ts';
import { FlagsBuilder } from './builder-flags.ts';

/**
 * Vector operands. A 256-bit one is two lanes of 128 bits, most instructions treating each lane as their 128-bit form
 * does. VEX forms clear a destination register above what they write; memory need not be aligned for them unless the
 * instruction insists.
 */
export abstract class VectorBuilder extends FlagsBuilder {
  /** Lanes of 128 bits that the instruction works on. */
  get lanes(): 1 | 2 {
    return this.size === 32 ? 2 : 1;
  }

  /** Number of the operand behind the second source: the immediate. */
  get control(): number {
    return this.right + 1;
  }

  #checkAligned(address: I64, bytes: number): void {
    this.faultIf(op('i32.and', op('i32.wrap_i64', address), i32(bytes - 1)), L.VECTOR_GP, 0);
  }

  /** A vector operand's lanes: of 32 bytes two, of fewer one. Memory must be aligned if `aligned` (#GP). */
  readLanes(index: number, aligned = !this.vex): V128[] {
    const { size } = this.operand(index);
    if (size === 32) {
      if (!this.isMemory(index)) {
        return [this.readXmm(index), this.readYmmHigh(index)];
      }
      const address = this.effectiveAddress();
      if (aligned) {
        this.#checkAligned(address, 32);
      }
      return this.loadLanes(address);
    }
    if (size !== 16) {
      return [this.readLowVector(index)];
    }
    return [this.readVector(index, aligned)];
  }

  /** Writes the lanes of a vector operand. */
  writeLanes(index: number, values: readonly V128[], aligned = !this.vex): void {
    const [low, high] = values.map((value) => this.keep(value));
    if (low === undefined) {
      return;
    }
    if (!this.isMemory(index)) {
      this.writeXmm(index, low);
      if (this.vex) {
        this.writeYmmHigh(index, high ?? zeroVector);
      }
      return;
    }
    const address = this.effectiveAddress();
    if (aligned) {
      this.#checkAligned(address, values.length * 16);
    }
    if (high === undefined) {
      this.storeVector(address, low);
    } else {
      this.storeLanes(address, low, high);
    }
  }

  /** A 16-byte operand: an XMM register, or memory, which must be aligned if `aligned` (#GP). */
  readVector(index: number, aligned = !this.vex): V128 {
    if (!this.isMemory(index)) {
      return this.readXmm(index);
    }
    const address = this.effectiveAddress();
    if (aligned) {
      this.#checkAligned(address, 16);
    }
    return this.loadVector(address);
  }

  writeVector(index: number, value: V128, aligned = !this.vex): void {
    this.writeLanes(index, [value], aligned);
  }

  /** Checks a memory operand for the write that follows: what the instruction does before it may not be undone. */
  checkWrite(index: number): void {
    if (this.isMemory(index)) {
      const { size } = this.operand(index);
      const at = this.keep(this.effectiveAddress());
      const hit = this.tlbHit(this.tlbEntry(at), at, size, 8);
      this.f.if(op('i32.eqz', hit), () => this.f.drop(this.slowCheckWrite(at, size)));
    }
  }

  /** The immediate's value when it is known while code is generated: shuffles and blends then need no look-up. */
  knownImmediate(): number | undefined {
    return undefined;
  }

  /** A vector operand of 8 bytes or fewer in the low lane; what lies above it means nothing. */
  readLowVector(index: number): V128 {
    if (!this.isMemory(index)) {
      return this.readXmm(index);
    }
    const value = this.read(index);
    return this.keep(value.type === 'i64' ? op('i64x2.splat', value) : op('i32x4.splat', value));
  }

  /** Writes a vector register: `value` (i32 or i64) in the low lane, zeros above it. */
  writeZeroExtended(index: number, value: Integer): void {
    const wide = value.type === 'i64' ? value : op('i64.extend_i32_u', value);
    this.writeXmmPart(index, 0, wide, 8);
    this.writeXmmPart(index, 8, i64(0), 8);
    this.clearAbove(index);
  }

  /** After parts of a register were written: clears it above the XMM register in VEX forms. */
  clearAbove(index: number): void {
    if (this.vex) {
      this.writeYmmHigh(index, zeroVector);
    }
  }

  /** The result of a scalar instruction: VEX forms take the rest of the XMM register from the first source. */
  writeScalar(value: Integer): void {
    if (!this.vex) {
      this.write(0, value);
      return;
    }
    const kept = this.keep(value);
    const rest = this.readXmm(this.left);
    const lane = kept.type === 'i64' ? 'i64x2.replace_lane' : 'i32x4.replace_lane';
    this.writeLanes(0, [laneOp(lane, 0, rest, kept)]);
  }

  /** Clears the first `count` vector registers above XMM, or altogether. */
  zeroVectors(count: number, all: boolean): void {
    for (let i = 0; i < count; i++) {
      if (all) {
        this.f.store('v128.store', get(this.cpu), zeroVector, L.XMM + i * L.XMM_STRIDE);
      }
      this.f.store('v128.store', get(this.cpu), zeroVector, L.XMM + i * L.XMM_STRIDE + 16);
    }
  }

  /** A scalar that has been read, as a number. A tier may know a shorter way than through the integer. */
  asFloat(bits: 32 | 64, value: Integer): Expression<'f32' | 'f64'> {
    return bits === 64 ? op('f64.reinterpret_i64', value) : op('f32.reinterpret_i32', value);
  }

  /** Keeps a number as the integer of its bits. */
  keepFloat(bits: 32 | 64, value: Expression): Integer {
    return this.keep(bits === 64 ? op('i64.reinterpret_f64', value) : op('i32.reinterpret_f32', value));
  }

  /** The upper half of an XMM register. */
  readHigh(index: number): I64 {
    return this.readXmmPart(index, 8, 8) as I64;
  }

  writeHigh(index: number, value: I64): void {
    this.writeXmmPart(index, 8, value, 8);
  }

  /** Where slow paths put a vector in pieces. */
  #temporary(): I32 {
    return op('i32.add', get(this.cpu), i32(L.TEMP));
  }

  /** Loads 32 bytes from a linear address. */
  loadLanes(address: I64): V128[] {
    const at = this.keep(address);
    const entry = this.tlbEntry(at);
    const low = this.f.local('v128');
    const high = this.f.local('v128');
    this.f.if(
      this.tlbHit(entry, at, 32, 0),
      () => {
        const host = this.keep(this.hostAddress(entry, at));
        this.f.set(low, load('v128.load', host));
        this.f.set(high, load('v128.load', host, 16));
      },
      () => {
        for (let i = 0; i < 4; i++) {
          const part = this.slowLoad(this.keep(op('i64.add', at, i64(i * 8))), 8);
          this.f.store('i64.store', this.#temporary(), part, i * 8);
        }
        this.f.set(low, load('v128.load', this.#temporary()));
        this.f.set(high, load('v128.load', this.#temporary(), 16));
      },
    );
    return [get(low), get(high)];
  }

  storeLanes(address: I64, low: V128, high: V128): void {
    const at = this.keep(address);
    const entry = this.tlbEntry(at);
    this.f.if(
      this.tlbHit(entry, at, 32, 8),
      () => {
        const host = this.keep(this.hostAddress(entry, at));
        this.f.store('v128.store', host, low);
        this.f.store('v128.store', host, high, 16);
      },
      () => {
        // All of it is checked before anything is written.
        this.f.drop(this.slowCheckWrite(at, 32));
        this.f.store('v128.store', this.#temporary(), low);
        this.f.store('v128.store', this.#temporary(), high, 16);
        for (let i = 0; i < 4; i++) {
          const part = load('i64.load', this.#temporary(), i * 8);
          this.slowStore(this.keep(op('i64.add', at, i64(i * 8))), 8, part);
        }
      },
    );
  }
}
