import { get, type I32, i32, load, op } from '../../software/wasm/function-builder.ts';
import { AUX_AF } from '../flags.ts';
import * as L from '../layout.ts';
import type { Condition, Integer } from './builder-core.ts';
import { OperandBuilder } from './builder-operands.ts';
import { carriesOfAdd, carriesOfSub, carriesToAux } from './carries.ts';

/** The arithmetic flags in their lazy form (see flags.ts). */
export abstract class FlagsBuilder extends OperandBuilder {
  aux(): I32 {
    return this.field32(L.LF_AUX);
  }
  setAux(value: I32): void {
    this.setField32(L.LF_AUX, value);
  }
  setResult(value: Integer, size: number = this.size): void {
    this.setField64(L.LF_RES, this.signExtend64(value, size));
  }

  /** Turns a vector of carries of `size` bytes into the AUX word. */
  carriesToAux(carries: Integer, size: number): I32 {
    return carriesToAux(carries, size, (value) => this.keep(value));
  }

  flagsAdd(a: Integer, b: Integer, r: Integer, size: number = this.size): void {
    this.setResult(r, size);
    this.setAux(this.carriesToAux(carriesOfAdd(a, b, r), size));
  }

  flagsSub(a: Integer, b: Integer, r: Integer, size: number = this.size): void {
    this.setResult(r, size);
    this.setAux(this.carriesToAux(carriesOfSub(a, b, r), size));
  }

  /** INC (r = a + 1) and DEC (`down`, r = a − 1): CF stays as it is, and OF is recomputed against it. */
  flagsIncrement(a: Integer, r: Integer, down: boolean): void {
    const one = this.int(1);
    const vector = down ? carriesOfSub(a, one, r) : carriesOfAdd(a, one, r);
    const carries = this.keep(this.carriesToAux(vector, this.size));
    const carry = this.keep(op('i32.and', this.aux(), i32(0x80000000)));
    const overflow = op('i32.and', op('i32.xor', carries, op('i32.shl', carries, i32(1))), i32(0x80000000));
    this.setResult(r);
    this.setAux(
      op(
        'i32.or',
        op('i32.or', carry, op('i32.shr_u', op('i32.xor', carry, overflow), i32(1))),
        op('i32.and', carries, i32(AUX_AF)),
      ),
    );
  }

  /** CF and OF zero, AF zero (undefined by the manual). */
  flagsLogic(r: Integer, size: number = this.size): void {
    this.setResult(r, size);
    this.setAux(i32(0));
  }

  /** ZF, SF, PF from the result, CF and OF as given (0 or 1), AF zero. */
  flagsResult(r: Integer, cf: I32, of: I32, size: number = this.size): void {
    this.setResult(r, size);
    const carry = this.keep(cf);
    this.setAux(op('i32.or', op('i32.shl', carry, i32(31)), op('i32.shl', op('i32.xor', carry, of), i32(30))));
  }

  /** Changes CF and OF (0 or 1 each), leaving the others. */
  setCarryOverflow(cf: I32, of: I32): void {
    const carry = this.keep(cf);
    this.setAux(
      op(
        'i32.or',
        op('i32.and', load('i32.load', get(this.cpu), L.LF_AUX), i32(0x3fffffff)),
        op('i32.or', op('i32.shl', carry, i32(31)), op('i32.shl', op('i32.xor', carry, of), i32(30))),
      ),
    );
  }

  /** Changes CF alone. */
  setCarry(cf: I32): void {
    const old = this.aux();
    const change = op('i32.xor', op('i32.shr_u', old, i32(31)), cf);
    this.setAux(op('i32.xor', old, op('i32.mul', change, i32(0xc0000000))));
  }

  /** Changes OF alone. */
  setOverflow(of: I32): void {
    const old = this.aux();
    const before = op('i32.shr_u', op('i32.xor', old, op('i32.shl', old, i32(1))), i32(31));
    this.setAux(op('i32.xor', old, op('i32.shl', op('i32.xor', before, of), i32(30))));
  }

  /** All six flags from an RFLAGS image. */
  setArithmeticFlags(image: I32): void {
    const flags = this.keep(image);
    const bit = (n: number) => op('i32.and', op('i32.shr_u', flags, i32(n)), i32(1));
    const zero = this.keep(bit(6));
    const carry = this.keep(bit(0));
    this.setField64(L.LF_RES, op('i64.extend_i32_u', op('i32.xor', zero, i32(1))));
    const parityByte = op('i32.xor', zero, bit(2));
    this.setAux(
      op(
        'i32.or',
        op('i32.or', op('i32.shl', carry, i32(31)), op('i32.shl', op('i32.xor', carry, bit(11)), i32(30))),
        op('i32.or', op('i32.shl', bit(4), i32(3)), op('i32.or', bit(7), op('i32.shl', parityByte, i32(8)))),
      ),
    );
  }

  carry(): I32 {
    return this.keep(op('i32.shr_u', load('i32.load', get(this.cpu), L.LF_AUX), i32(31)));
  }

  overflow(): I32 {
    const aux = this.aux();
    return this.keep(op('i32.shr_u', op('i32.xor', aux, op('i32.shl', aux, i32(1))), i32(31)));
  }

  /** SF, ZF, AF, PF, CF in the places of RFLAGS, with bit 1 set (LAHF); plus OF. */
  arithmeticFlags(): I32 {
    const place = (value: I32, bit: number) => op('i32.shl', value, i32(bit));
    const all = [
      this.carry(),
      place(this.condition(0xa), 2),
      place(op('i32.and', op('i32.shr_u', this.aux(), i32(3)), i32(1)), 4),
      place(this.condition(4), 6),
      place(this.condition(8), 7),
      place(this.overflow(), 11),
    ];
    return this.keep(all.reduce((sum, item) => op('i32.or', sum, item)));
  }

  /** Condition code 0–15 of Jcc, SETcc, CMOVcc (SDM 1, appendix B) as 0 or 1. */
  condition(code: Condition): I32 {
    const cpu = get(this.cpu);
    const aux = () => load('i32.load', cpu, L.LF_AUX);
    const result = () => load('i64.load', cpu, L.LF_RES);
    const high = () => load('i32.load', cpu, L.LF_RES + 4);
    const zero = () => op('i64.eqz', result());
    const overflowBits = () => {
      const kept = this.keep(aux());
      return op('i32.xor', kept, op('i32.shl', kept, i32(1)));
    };
    const less = () => {
      const kept = this.keep(aux());
      return op(
        'i32.xor',
        op('i32.shr_u', op('i32.xor', high(), op('i32.xor', kept, op('i32.shl', kept, i32(1)))), i32(31)),
        op('i32.and', kept, i32(1)),
      );
    };
    const positive = (): I32 => {
      switch (code >> 1) {
        case 0:
          return op('i32.shr_u', overflowBits(), i32(31));
        case 1:
          return op('i32.shr_u', aux(), i32(31));
        case 2:
          return zero();
        case 3:
          return op('i32.or', op('i32.shr_u', aux(), i32(31)), zero());
        case 4:
          return op('i32.xor', op('i32.shr_u', high(), i32(31)), op('i32.and', aux(), i32(1)));
        case 5:
          return op(
            'i32.xor',
            op(
              'i32.and',
              op(
                'i32.popcnt',
                op(
                  'i32.and',
                  op('i32.xor', load('i32.load', cpu, L.LF_RES), op('i32.shr_u', aux(), i32(8))),
                  i32(0xff),
                ),
              ),
              i32(1),
            ),
            i32(1),
          );
        case 6:
          return less();
        default:
          return op('i32.or', zero(), less());
      }
    };
    return (code & 1) === 0 ? positive() : op('i32.xor', positive(), i32(1));
  }

  /** ZF, PF and CF as given (0 or 1); OF, SF and AF zero: the outcome of vector comparisons. */
  flagsCompare(zf: I32, pf: I32, cf: I32): void {
    const zero = this.keep(zf);
    const aux = op(
      'i32.or',
      op('i32.shl', op('i32.xor', zero, pf), i32(8)),
      op('i32.and', op('i32.sub', i32(0), cf), i32(0xc0000000)),
    );
    this.setAux(aux);
    // The result's own parity is even for 0 and odd for 1; the parity byte corrects it.
    this.setField64(L.LF_RES, op('i64.extend_i32_u', op('i32.xor', zero, i32(1))));
  }

  /** Changes ZF alone (0 or 1). */
  setZero(zero: I32): void {
    const flags = op('i32.or', op('i32.and', this.arithmeticFlags(), i32(~L.FLAG_ZF)), op('i32.shl', zero, i32(6)));
    this.setArithmeticFlags(flags);
  }
}
