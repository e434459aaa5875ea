import {
  get,
  type I32,
  type I64,
  i32,
  i64,
  load,
  op,
  select,
  type V128,
} from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import type { Integer } from './builder-core.ts';
import { FlagsBuilder } from './builder-flags.ts';

export type {
  AddressForm,
  Condition,
  Integer,
  Operand,
  OperandKind,
  OperandSize,
  RepeatPrefix,
} from './builder-core.ts';

/**
 * What an instruction's meaning is written against. The interpreter and the JIT each implement the abstract part: where
 * registers, immediates and memory come from, and how control leaves the instruction. Values returned by the readers are
 * kept in locals, so that they can be used repeatedly and are not affected by later writes.
 */
export abstract class InstructionBuilder extends FlagsBuilder {
  // ── Vector registers ────────────────────────────────────────────────────────────────────────────────────────────

  /** A 16-byte operand: an XMM register, or memory, which must be aligned if `aligned` (#GP). */
  readVector(index: number, aligned = true): V128 {
    if (!this.isMemory(index)) {
      return this.readXmm(index);
    }
    const address = this.effectiveAddress();
    if (aligned) {
      this.faultIf(op('i32.and', op('i32.wrap_i64', address), i32(15)), L.VECTOR_GP, 0);
    }
    return this.loadVector(address);
  }

  writeVector(index: number, value: V128, aligned = true): void {
    if (!this.isMemory(index)) {
      this.writeXmm(index, value);
      return;
    }
    const address = this.effectiveAddress();
    if (aligned) {
      this.faultIf(op('i32.and', op('i32.wrap_i64', address), i32(15)), L.VECTOR_GP, 0);
    }
    this.storeVector(address, value);
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

  /** Writes an XMM register: `value` (i32 or i64) in the low lane, zeros above it. */
  writeZeroExtended(index: number, value: Integer): void {
    const wide = value.type === 'i64' ? value : op('i64.extend_i32_u', value);
    this.writeXmmPart(index, 0, wide, 8);
    this.writeXmmPart(index, 8, i64(0), 8);
  }

  /** The upper half of an XMM register. */
  readHigh(index: number): I64 {
    return this.readXmmPart(index, 8, 8) as I64;
  }

  writeHigh(index: number, value: I64): void {
    this.writeXmmPart(index, 8, value, 8);
  }

  // ── Implicit addresses (strings, LOOP, XLAT) ────────────────────────────────────────────────────────────────────

  addressMask(): I64 {
    return this.addressForm === 'flat64'
      ? i64(-1)
      : this.addressForm === 'flat32'
        ? i64(0xffffffff)
        : this.segmentedMask();
  }

  /** A register that holds an address or count, truncated to the address size. */
  addressRegister(number: number): I64 {
    switch (this.addressForm) {
      case 'flat64':
        return this.gpr(number, 8) as I64;
      case 'flat32':
        return this.keep(load('i64.load32_u', get(this.cpu), L.GPR + number * 8));
      case 'segmented':
        return this.keep(op('i64.and', this.gpr(number, 8), this.segmentedMask()));
    }
  }

  /** Writes such a register: 16-bit addresses leave the rest alone, 32-bit ones clear the upper half. */
  setAddressRegister(number: number, value: I64): void {
    switch (this.addressForm) {
      case 'flat64':
        this.setGpr(number, value, 8);
        return;
      case 'flat32':
        this.setGpr(number, op('i64.and', value, i64(0xffffffff)), 8);
        return;
      case 'segmented': {
        const mask = this.keep(this.segmentedMask());
        const keep = select(op('i64.eq', mask, i64(0xffff)), i64(-0x10000), i64(0));
        this.setGpr(number, op('i64.or', op('i64.and', this.gpr(number, 8), keep), op('i64.and', value, mask)), 8);
        return;
      }
    }
  }

  /** Linear address of `offset` in the source segment (DS unless overridden). */
  sourceAddress(offset: I64, size: number, write = false): I64 {
    if (this.addressForm === 'segmented') {
      return this.segmentAddress(
        this.sourceSegment(),
        this.keep(op('i64.and', offset, this.segmentedMask())),
        size,
        write,
      );
    }
    return this.addressForm === 'flat32' ? op('i64.and', offset, i64(0xffffffff)) : offset;
  }

  /** Linear address of `offset` in ES. */
  destinationAddress(offset: I64, size: number, write: boolean): I64 {
    return this.addressForm === 'segmented' ? this.segmentAddress(i32(L.SEG_ES), offset, size, write) : offset;
  }

  // ── Wide arithmetic ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Upper 64 bits of a 64 × 64-bit product. */
  multiplyHigh(a: I64, b: I64, signed: boolean): I64 {
    return this.keep(this.f.call(this.helper(signed ? 'multiplyHighSigned' : 'multiplyHigh'), a, b)) as I64;
  }

  /** RDX:RAX ÷ `divisor` into RAX and RDX; #DE when the quotient does not fit. */
  divideWide(divisor: I64, signed: boolean): void {
    this.f.if(
      op('i32.eqz', this.f.call(this.helper(signed ? 'divideSigned128' : 'divide128'), get(this.cpu), divisor) as I32),
      () => this.fault(L.VECTOR_DE),
    );
  }

  // ── Composite jumps ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes the relative branch if `condition`, else goes on with the next instruction. Ends the instruction. */
  branchIf(condition: I32): void {
    this.f.if(condition, () => this.jumpRelative());
    this.jumpNext();
  }
}
