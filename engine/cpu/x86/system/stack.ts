import * as L from '../layout.ts';
import type { LinearMemory, Privilege } from '../linear-memory.ts';
import { stackFault } from './faults.ts';

/** Whether bytes `offset` … `offset + length − 1` lie inside a segment (SDM 3A, 5.3); nothing lies in a null one. */
export function insideSegment(attributes: number, limit: number, offset: number, length: number): boolean {
  if (attributes & L.ATTR_UNUSABLE) {
    return false;
  }
  const last = offset + length - 1;
  if ((attributes & (L.ATTR_CODE | L.ATTR_EXPAND_DOWN)) === L.ATTR_EXPAND_DOWN) {
    return offset > limit && last <= (attributes & L.ATTR_DB ? 0xffffffff : 0xffff);
  }
  // A segment of 4 GiB has no end: accesses wrap.
  return last <= limit || limit === 0xffffffff;
}

/** Whether bits 47–63 of an address are equal, judged by its upper 32 bits. */
export function canonicalHigh(high: number): boolean {
  const sign = high >> 15;
  return sign === 0 || sign === -1;
}

const word = new DataView(new ArrayBuffer(8));

export function isCanonical(address: bigint): boolean {
  word.setBigUint64(0, address, true);
  return canonicalHigh(word.getInt32(4, true));
}

/**
 * A stack frame being built: opening it checks that all of it can be written, pushing then cannot fail. One instance
 * serves all frames of a processor, one after the other.
 */
export class StackFrame {
  readonly #memory: LinearMemory;
  #long = false;
  #base = 0;
  #mask = 0xffff;
  #size = 2;
  #privilege: Privilege = 'current';
  /** Where the stack pointer ends up: 16- and 32-bit stacks. */
  pointer = 0;
  /** Where the stack pointer ends up: 64-bit stacks. */
  pointer64 = 0n;

  constructor(memory: LinearMemory) {
    this.#memory = memory;
  }

  /**
   * Prepares `count` pushes of `size` bytes on a 16- or 32-bit stack.
   * @param error the error code of #SS, when the segment is too small
   */
  open(
    base: number,
    limit: number,
    attributes: number,
    pointer: number,
    size: number,
    count: number,
    privilege: Privilege,
    error: number,
  ): void {
    const mask = attributes & L.ATTR_DB ? 0xffffffff : 0xffff;
    const total = size * count;
    const lowest = ((pointer - total) & mask) >>> 0;
    const linear = (base + lowest) >>> 0;
    if (lowest + total - 1 <= mask && linear + total <= 0x1_0000_0000) {
      if (!insideSegment(attributes, limit, lowest, total)) {
        throw stackFault(error);
      }
      this.#memory.checkWrite(BigInt(linear), total, privilege);
    } else {
      for (let i = 1; i <= count; i++) {
        const offset = ((pointer - i * size) & mask) >>> 0;
        if (!insideSegment(attributes, limit, offset, size)) {
          throw stackFault(error);
        }
        this.#memory.checkWrite(BigInt((base + offset) >>> 0), size, privilege);
      }
    }
    this.#long = false;
    this.#base = base;
    this.#mask = mask;
    this.#size = size;
    this.#privilege = privilege;
    this.pointer = (pointer & mask) >>> 0;
  }

  /** Prepares `count` pushes of `size` bytes on a 64-bit stack. */
  open64(pointer: bigint, size: number, count: number, privilege: Privilege, error: number): void {
    const total = size * count;
    const lowest = BigInt.asUintN(64, pointer - BigInt(total));
    if (!isCanonical(lowest) || !isCanonical(BigInt.asUintN(64, pointer - 1n))) {
      throw stackFault(error);
    }
    this.#memory.checkWrite(lowest, total, privilege);
    this.#long = true;
    this.#size = size;
    this.#privilege = privilege;
    // Not `pointer` itself: a frame may lie just below 2^64.
    this.pointer64 = lowest + BigInt(total);
  }

  /** Pushes the low bytes of an unsigned 32-bit value. */
  push(value: number): void {
    const size = this.#size;
    let address: bigint;
    if (this.#long) {
      this.pointer64 -= BigInt(size);
      address = this.pointer64;
    } else {
      this.pointer = ((this.pointer - size) & this.#mask) >>> 0;
      address = BigInt((this.#base + this.pointer) >>> 0);
    }
    if (size === 4) {
      this.#memory.write32(address, value >>> 0, this.#privilege);
    } else if (size === 2) {
      this.#memory.write16(address, value & 0xffff, this.#privilege);
    } else {
      this.#memory.write64(address, BigInt(value >>> 0), this.#privilege);
    }
  }

  /** Pushes a 64-bit value, or as much of it as the frame's item size takes. */
  pushWide(value: bigint): void {
    if (this.#size === 8) {
      this.pointer64 -= 8n;
      this.#memory.write64(this.pointer64, value, this.#privilege);
    } else {
      this.push(Number(BigInt.asUintN(32, value)));
    }
  }
}
