import { inverses, lookUp } from './cipher-functions.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  i32,
  op,
  type V128,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { shuffleLanes, v8, zeroVector } from './wasm/vectors.ts';

/** The product of `a` and `b` in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1, by the bits of `b` from the highest one on. */
function product(f: FunctionBuilder, a: V128, b: V128): V128 {
  const result = f.local('v128');
  const bits = f.local('v128');
  f.set(result, zeroVector);
  f.set(bits, b);
  for (let bit = 7; bit >= 0; bit--) {
    const reduction = op(
      'v128.and',
      op('i8x16.lt_s', get(result), zeroVector),
      v8(() => 0x1b),
    );
    const doubled = bit === 7 ? get(result) : op('v128.xor', op('i8x16.add', get(result), get(result)), reduction);
    f.set(result, op('v128.xor', doubled, op('v128.and', op('i8x16.lt_s', get(bits), zeroVector), a)));
    if (bit > 0) {
      f.set(bits, op('i8x16.add', get(bits), get(bits)));
    }
  }
  return get(result);
}

/**
 * Every byte of `value` as a vector of bits, multiplied by the 8 × 8 matrix in the quadword that it lies with; plus
 * `constant`. The matrix' byte 7 − i gives bit i (SDM 2A, GF2P8AFFINEQB).
 */
function affine(f: FunctionBuilder, value: V128, matrices: V128, constant: I32): V128 {
  const result = f.local('v128');
  f.set(result, op('i8x16.splat', constant));
  for (let bit = 0; bit < 8; bit++) {
    const lanes = Array.from({ length: 16 }, (_, i) => (i & 8) | (7 - bit));
    const ones = op('i8x16.popcnt', op('v128.and', shuffleLanes(1, lanes, matrices, matrices), value));
    const parity = op(
      'v128.and',
      ones,
      v8(() => 1),
    );
    f.set(result, op('v128.xor', get(result), bit === 0 ? parity : op('i8x16.shl', parity, i32(bit))));
  }
  return get(result);
}

/** Functions behind GFNI, by name. */
export function buildGalois(module: ModuleBuilder): [string, FunctionReference][] {
  const pair = { params: ['v128', 'v128'], results: ['v128'] } as const;
  const multiply = module.function('galois-multiply', pair, (f) => {
    f.return(product(f, get(f.parameter(0, 'v128')), get(f.parameter(1, 'v128'))));
    f.unreachable();
  });
  /** (bytes, matrices, constant) */
  const mapped = { params: ['v128', 'v128', 'i32'], results: ['v128'] } as const;
  const map = (name: string, of: (f: FunctionBuilder, value: V128) => V128) =>
    module.function(name, mapped, (f) => {
      const value = of(f, get(f.parameter(0, 'v128')));
      f.return(affine(f, value, get(f.parameter(1, 'v128')), get(f.parameter(2, 'i32'))));
      f.unreachable();
    });
  return [
    ['galois-multiply', multiply],
    ['galois-affine', map('galois-affine', (_, value) => value)],
    ['galois-affine-inverse', map('galois-affine-inverse', (f, value) => lookUp(f, inverses(), value))],
  ];
}
