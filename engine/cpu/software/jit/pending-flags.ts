import { AUX_AF } from '../../x86/flags.ts';
import { carriesOfAdd, carriesOfSub, carriesToAux } from '../../x86/instructions/carries.ts';
import type { Integer } from '../../x86/instructions/instruction-builder.ts';
import { type I32, type I64, i32, i64, type Local, op } from '../wasm/function-builder.ts';

/**
 * Flags that have not been computed yet: the operands they follow from, which are constants or locals of their own.
 * Operands are zero-extended from `size` bytes; results may have rubbish above. `add` and `sub` are exact sums and
 * differences; `sum` and `difference` have a carry in. `increment` and `decrement` keep CF.
 */
export type FlagsSource =
  | {
      readonly kind: 'add' | 'sub' | 'sum' | 'difference';
      readonly size: number;
      readonly a: Integer;
      readonly b: Integer;
      readonly r: Integer;
    }
  | { readonly kind: 'logic'; readonly size: number; readonly r: Integer }
  | { readonly kind: 'result'; readonly size: number; readonly r: Integer; readonly carry: I32; readonly overflow: I32 }
  | {
      readonly kind: 'increment' | 'decrement';
      readonly size: number;
      readonly a: Integer;
      readonly r: Integer;
      readonly carry: I32;
    };

/** A source, the block that made it, and the locals that hold its operands. */
export interface PendingFlags {
  readonly source: FlagsSource;
  readonly owner: number;
  readonly pins: readonly Local[];
}

type Binary = 'add' | 'sub' | 'and' | 'or' | 'xor' | 'shr_u';

function bin(name: Binary, a: Integer, b: Integer): Integer {
  return op(`${a.type}.${name}`, a, b) as Integer;
}

function not(a: Integer): Integer {
  return bin('xor', a, a.type === 'i64' ? i64(-1) : i32(-1));
}

function zeroExtend(value: Integer, size: number): Integer {
  return size === 1 ? op('i32.and', value, i32(0xff)) : size === 2 ? op('i32.and', value, i32(0xffff)) : value;
}

function signExtend(value: Integer, size: number): Integer {
  return size === 1 ? op('i32.extend8_s', value) : size === 2 ? op('i32.extend16_s', value) : value;
}

function compare(
  name: 'eq' | 'lt_u' | 'le_u' | 'lt_s' | 'le_s',
  a: Integer,
  b: Integer,
  size: number,
  signed = false,
): I32 {
  const extend = signed ? signExtend : zeroExtend;
  return op(`${a.type}.${name}`, extend(a, size), extend(b, size)) as I32;
}

function zeroOf(r: Integer, size: number): I32 {
  return r.type === 'i64' ? op('i64.eqz', r) : op('i32.eqz', zeroExtend(r, size));
}

/** The topmost of `size` bytes' bits, 0 or 1. */
function top(value: Integer, size: number): I32 {
  if (value.type === 'i64') {
    return op('i32.wrap_i64', op('i64.shr_u', value, i64(63)));
  }
  const shifted = op('i32.shr_u', value, i32(size * 8 - 1));
  return size === 4 ? shifted : op('i32.and', shifted, i32(1));
}

function parityOf(r: Integer): I32 {
  const low = r.type === 'i64' ? op('i32.wrap_i64', r) : r;
  const odd = op('i32.and', op('i32.popcnt', op('i32.and', low, i32(0xff))), i32(1));
  return op('i32.xor', odd, i32(1));
}

function one(size: number): Integer {
  return size === 8 ? i64(1) : i32(1);
}

function carriesOf(source: FlagsSource): Integer {
  switch (source.kind) {
    case 'add':
    case 'sum':
      return carriesOfAdd(source.a, source.b, source.r);
    case 'sub':
    case 'difference':
      return carriesOfSub(source.a, source.b, source.r);
    case 'increment':
      return carriesOfAdd(source.a, one(source.size), source.r);
    case 'decrement':
      return carriesOfSub(source.a, one(source.size), source.r);
    default:
      return i32(0);
  }
}

/** LF_RES of a source. */
export function resultWord(source: FlagsSource): I64 {
  const { r, size } = source;
  return r.type === 'i64' ? (r as I64) : op('i64.extend_i32_s', signExtend(r, size));
}

function carryAndChange(carry: I32, overflow: I32): I32 {
  return op('i32.or', op('i32.shl', carry, i32(31)), op('i32.shl', op('i32.xor', carry, overflow), i32(30)));
}

/** LF_AUX of a source. */
export function auxWord(source: FlagsSource, keep: (value: Integer) => Integer): I32 {
  switch (source.kind) {
    case 'logic':
      return i32(0);
    case 'result':
      return carryAndChange(source.carry, source.overflow);
    case 'increment':
    case 'decrement': {
      const { carry } = source;
      const kept = keep(carriesOf(source));
      const low = kept.type === 'i64' ? op('i32.wrap_i64', kept) : kept;
      return op('i32.or', carryAndChange(carry, overflowOf(source)), op('i32.and', low, i32(AUX_AF)));
    }
    default:
      return carriesToAux(carriesOf(source), source.size, keep);
  }
}

/** CF of a source, 0 or 1. */
export function carryOf(source: FlagsSource): I32 {
  switch (source.kind) {
    case 'add':
      return compare('lt_u', source.r, source.a, source.size);
    case 'sub':
      return compare('lt_u', source.a, source.b, source.size);
    case 'sum':
    case 'difference':
      return top(carriesOf(source), source.size);
    case 'logic':
      return i32(0);
    default:
      return source.carry;
  }
}

/** OF of a source, 0 or 1. */
function overflowOf(source: FlagsSource): I32 {
  switch (source.kind) {
    case 'add':
    case 'sum':
      return top(bin('and', bin('xor', source.a, source.r), bin('xor', source.b, source.r)), source.size);
    case 'sub':
    case 'difference':
      return top(bin('and', bin('xor', source.a, source.b), bin('xor', source.a, source.r)), source.size);
    case 'logic':
      return i32(0);
    case 'result':
      return source.overflow;
    case 'increment':
      return top(bin('and', source.r, not(source.a)), source.size);
    case 'decrement':
      return top(bin('and', source.a, not(source.r)), source.size);
  }
}

/** Condition code 0–15 of Jcc, SETcc, CMOVcc, as 0 or 1. */
export function conditionOf(source: FlagsSource, code: number): I32 {
  const { r, size } = source;
  const zero = () => (source.kind === 'sub' ? compare('eq', source.a, source.b, size) : zeroOf(r, size));
  const less = (): I32 => {
    switch (source.kind) {
      case 'sub':
        return compare('lt_s', source.a, source.b, size, true);
      case 'logic':
        return top(r, size);
      default:
        return op('i32.xor', top(r, size), overflowOf(source));
    }
  };
  const positive = (): I32 => {
    switch (code >> 1) {
      case 0:
        return overflowOf(source);
      case 1:
        return carryOf(source);
      case 2:
        return zero();
      case 3:
        return source.kind === 'sub'
          ? compare('le_u', source.a, source.b, size)
          : source.kind === 'logic'
            ? zero()
            : op('i32.or', carryOf(source), zero());
      case 4:
        return top(r, size);
      case 5:
        return parityOf(r);
      case 6:
        return less();
      default:
        return source.kind === 'sub'
          ? compare('le_s', source.a, source.b, size, true)
          : source.kind === 'logic'
            ? compare('le_s', r, size === 8 ? i64(0) : i32(0), size, true)
            : op('i32.or', zero(), less());
    }
  };
  return (code & 1) === 0 ? positive() : op('i32.eqz', positive());
}
