import { get, type I32, type I64, i32, i64, load, op, select } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import { VectorBuilder } from './builder-vectors.ts';
import { highProduct, highProductSigned, productOverflows } from './products.ts';

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
export abstract class InstructionBuilder extends VectorBuilder {
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
    return this.keep((signed ? highProductSigned : highProduct)(a, b, (value) => this.f.keep(value)));
  }

  /** Whether a × b = `low` of signed 64-bit numbers has lost bits. */
  multiplyOverflows(a: I64, b: I64, low: I64): I32 {
    return productOverflows(a, b, low, (value) => this.f.keep(value));
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
