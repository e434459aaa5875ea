import { type I32, i32, i64, op } from '../../software/wasm/function-builder.ts';
import { AUX_AF } from '../flags.ts';
import type { Integer } from './builder-core.ts';

function bin(name: 'and' | 'or' | 'xor', a: Integer, b: Integer): Integer {
  return op(`${a.type}.${name}`, a, b) as Integer;
}

function not(a: Integer): Integer {
  return bin('xor', a, a.type === 'i64' ? i64(-1) : i32(-1));
}

/** Carries out of each bit of r = a + b (+ carry). */
export function carriesOfAdd(a: Integer, b: Integer, r: Integer): Integer {
  return bin('or', bin('and', a, b), bin('and', bin('or', a, b), not(r)));
}

/** Borrows into each bit of r = a − b (− borrow). */
export function carriesOfSub(a: Integer, b: Integer, r: Integer): Integer {
  return bin('or', bin('and', not(a), b), bin('and', not(bin('xor', a, b)), r));
}

/** The AUX word (see flags.ts) of a vector of carries of `size` bytes; `keep` names a value that is used twice. */
export function carriesToAux(carries: Integer, size: number, keep: (value: Integer) => Integer): I32 {
  if (size === 4) {
    return op('i32.and', carries, i32(0xc0000008));
  }
  const kept = keep(carries);
  const high =
    kept.type === 'i64' ? op('i32.wrap_i64', op('i64.shr_u', kept, i64(32))) : op('i32.shl', kept, i32(32 - size * 8));
  const low = kept.type === 'i64' ? op('i32.wrap_i64', kept) : kept;
  return op('i32.or', op('i32.and', high, i32(0xc0000000)), op('i32.and', low, i32(AUX_AF)));
}
