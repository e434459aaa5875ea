import { type Expression, type I32, type I64, i64, op } from '../../software/wasm/function-builder.ts';

/** Names a value that is used twice. */
type Keep = <T extends 'i64' | 'f64'>(value: Expression<T>) => Expression<T>;

const ONE_AND_A_QUARTER_TIMES_2_63 = 0x43e4000000000000n;

/** Upper 64 bits of the 128-bit product of two unsigned numbers. */
export function highProduct(a: I64, b: I64, keep: Keep): I64 {
  const low = (value: I64) => op('i64.and', value, i64(0xffffffff));
  const high = (value: I64) => op('i64.shr_u', value, i64(32));
  const lowLow = op('i64.mul', low(a), low(b));
  const middle = keep(op('i64.add', op('i64.mul', high(a), low(b)), high(lowLow)));
  const other = keep(op('i64.add', op('i64.mul', low(a), high(b)), low(middle)));
  return op('i64.add', op('i64.mul', high(a), high(b)), op('i64.add', high(middle), high(other)));
}

/** The same of two signed numbers. */
export function highProductSigned(a: I64, b: I64, keep: Keep): I64 {
  const correction = (x: I64, y: I64) => op('i64.and', op('i64.shr_s', x, i64(63)), y);
  return op('i64.sub', op('i64.sub', highProduct(a, b, keep), correction(a, b)), correction(b, a));
}

/**
 * Whether the product of two signed numbers, whose lower 64 bits are `low`, does not fit 64 bits: 0 or 1. Up to one and
 * a half times 2^63, a product that does not fit has wrapped to the other sign; beyond 1.25 times, its rounded value is
 * exact enough to tell.
 */
export function productOverflows(a: I64, b: I64, low: I64, keep: Keep): I32 {
  const rounded = keep(op('f64.mul', op('f64.convert_i64_s', a), op('f64.convert_i64_s', b)));
  const float = (bits: bigint) => op('f64.reinterpret_i64', i64(bits));
  return op(
    'i32.or',
    op('f64.gt', op('f64.abs', rounded), float(ONE_AND_A_QUARTER_TIMES_2_63)),
    op('i32.ne', op('f64.lt', rounded, float(0n)), op('i64.lt_s', low, i64(0))),
  );
}
