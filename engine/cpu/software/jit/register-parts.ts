import { assert } from '../../../base/assert.ts';
import { type Expression, type I64, i32, i64, op } from '../wasm/function-builder.ts';
import type { LoadName, StoreName } from '../wasm/opcodes.ts';

/** A load of part of a register that is in a local. */
export function part(value: I64, name: LoadName, offset: number): Expression {
  const moved = offset === 0 ? value : op('i64.shr_u', value, i64(offset * 8));
  const low = () => op('i32.wrap_i64', moved);
  switch (name) {
    case 'i64.load':
      assert(offset === 0, 'a register is read across its end');
      return value;
    case 'i32.load':
      return low();
    case 'i32.load8_u':
      return op('i32.and', low(), i32(0xff));
    case 'i32.load16_u':
      return op('i32.and', low(), i32(0xffff));
    case 'i32.load8_s':
      return op('i32.extend8_s', low());
    case 'i32.load16_s':
      return op('i32.extend16_s', low());
    case 'i64.load8_u':
      return op('i64.and', moved, i64(0xff));
    case 'i64.load16_u':
      return op('i64.and', moved, i64(0xffff));
    case 'i64.load32_u':
      return op('i64.and', moved, i64(0xffffffff));
    case 'i64.load32_s':
      return op('i64.extend32_s', moved);
    default:
      throw new Error(`${name} of a general register`);
  }
}

/** A register in a local with part of it replaced. */
export function merged(old: I64, name: StoreName, offset: number, value: Expression): I64 {
  const shift = BigInt(offset * 8);
  const insert = (wide: I64, mask: bigint): I64 => {
    const placed = offset === 0 ? wide : op('i64.shl', wide, i64(shift));
    return op('i64.or', op('i64.and', old, i64(BigInt.asIntN(64, ~(mask << shift)))), placed);
  };
  const wide = (mask: number) =>
    value.type === 'i64'
      ? op('i64.and', value, i64(mask))
      : op('i64.extend_i32_u', mask === 0xffffffff ? value : op('i32.and', value, i32(mask)));
  switch (name) {
    case 'i64.store':
      return value as I64;
    case 'i32.store':
    case 'i64.store32':
      return insert(wide(0xffffffff), 0xffffffffn);
    case 'i32.store16':
    case 'i64.store16':
      return insert(wide(0xffff), 0xffffn);
    case 'i32.store8':
    case 'i64.store8':
      return insert(wide(0xff), 0xffn);
    default:
      throw new Error(`${name} to a general register`);
  }
}
