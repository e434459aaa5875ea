import { type I32, type I64, i32, i64, op } from './function-builder.ts';

/** Short names for 64-bit (`q`) and 32-bit (`d`) arithmetic, for code that consists of little else. */
type Q = I64 | number | bigint;
type D = I32 | number;

function wide(value: Q): I64 {
  return typeof value === 'object' ? value : i64(value);
}

function narrow(value: D): I32 {
  return typeof value === 'object' ? value : i32(value);
}

export const q = {
  add: (a: Q, b: Q): I64 => op('i64.add', wide(a), wide(b)),
  sub: (a: Q, b: Q): I64 => op('i64.sub', wide(a), wide(b)),
  mul: (a: Q, b: Q): I64 => op('i64.mul', wide(a), wide(b)),
  and: (a: Q, b: Q): I64 => op('i64.and', wide(a), wide(b)),
  or: (a: Q, b: Q): I64 => op('i64.or', wide(a), wide(b)),
  xor: (a: Q, b: Q): I64 => op('i64.xor', wide(a), wide(b)),
  /** Shifts count modulo 64. */
  shl: (a: Q, b: Q): I64 => op('i64.shl', wide(a), wide(b)),
  shr: (a: Q, b: Q): I64 => op('i64.shr_u', wide(a), wide(b)),
  sar: (a: Q, b: Q): I64 => op('i64.shr_s', wide(a), wide(b)),
  divU: (a: Q, b: Q): I64 => op('i64.div_u', wide(a), wide(b)),
  remU: (a: Q, b: Q): I64 => op('i64.rem_u', wide(a), wide(b)),
  clz: (a: Q): I64 => op('i64.clz', wide(a)),
  eq: (a: Q, b: Q): I32 => op('i64.eq', wide(a), wide(b)),
  ne: (a: Q, b: Q): I32 => op('i64.ne', wide(a), wide(b)),
  ltU: (a: Q, b: Q): I32 => op('i64.lt_u', wide(a), wide(b)),
  gtU: (a: Q, b: Q): I32 => op('i64.gt_u', wide(a), wide(b)),
  leU: (a: Q, b: Q): I32 => op('i64.le_u', wide(a), wide(b)),
  geU: (a: Q, b: Q): I32 => op('i64.ge_u', wide(a), wide(b)),
  ltS: (a: Q, b: Q): I32 => op('i64.lt_s', wide(a), wide(b)),
  geS: (a: Q, b: Q): I32 => op('i64.ge_s', wide(a), wide(b)),
  zero: (a: Q): I32 => op('i64.eqz', wide(a)),
  nonzero: (a: Q): I32 => op('i64.ne', wide(a), i64(0)),
  fromU32: (a: D): I64 => op('i64.extend_i32_u', narrow(a)),
  fromS32: (a: D): I64 => op('i64.extend_i32_s', narrow(a)),
};

export const d = {
  add: (a: D, b: D): I32 => op('i32.add', narrow(a), narrow(b)),
  sub: (a: D, b: D): I32 => op('i32.sub', narrow(a), narrow(b)),
  mul: (a: D, b: D): I32 => op('i32.mul', narrow(a), narrow(b)),
  and: (a: D, b: D): I32 => op('i32.and', narrow(a), narrow(b)),
  or: (a: D, b: D): I32 => op('i32.or', narrow(a), narrow(b)),
  xor: (a: D, b: D): I32 => op('i32.xor', narrow(a), narrow(b)),
  shl: (a: D, b: D): I32 => op('i32.shl', narrow(a), narrow(b)),
  shr: (a: D, b: D): I32 => op('i32.shr_u', narrow(a), narrow(b)),
  sar: (a: D, b: D): I32 => op('i32.shr_s', narrow(a), narrow(b)),
  eq: (a: D, b: D): I32 => op('i32.eq', narrow(a), narrow(b)),
  ne: (a: D, b: D): I32 => op('i32.ne', narrow(a), narrow(b)),
  ltU: (a: D, b: D): I32 => op('i32.lt_u', narrow(a), narrow(b)),
  gtU: (a: D, b: D): I32 => op('i32.gt_u', narrow(a), narrow(b)),
  ltS: (a: D, b: D): I32 => op('i32.lt_s', narrow(a), narrow(b)),
  gtS: (a: D, b: D): I32 => op('i32.gt_s', narrow(a), narrow(b)),
  leS: (a: D, b: D): I32 => op('i32.le_s', narrow(a), narrow(b)),
  geS: (a: D, b: D): I32 => op('i32.ge_s', narrow(a), narrow(b)),
  zero: (a: D): I32 => op('i32.eqz', narrow(a)),
  popcnt: (a: D): I32 => op('i32.popcnt', narrow(a)),
  wrap: (a: Q): I32 => op('i32.wrap_i64', wide(a)),
};

/** Logical and, or of conditions; all are evaluated. */
export function all(...conditions: I32[]): I32 {
  return conditions.reduce((left, right) => op('i32.and', left, right));
}

export function any(...conditions: I32[]): I32 {
  return conditions.reduce((left, right) => op('i32.or', left, right));
}
