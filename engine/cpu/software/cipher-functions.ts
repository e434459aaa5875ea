import { q } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I64,
  i32,
  i64,
  op,
  shuffle,
  type V128,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { v8, zeroVector } from './wasm/vectors.ts';

/** Multiplication in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, 4.2). */
function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = a;
  for (let bit = 0; bit < 8; bit++) {
    if (b & (1 << bit)) {
      product ^= shifted;
    }
    shifted = (shifted << 1) ^ (shifted & 0x80 ? 0x11b : 0);
  }
  return product;
}

/** What each byte is to be multiplied by to give 1; 0 for 0. */
export function inverses(): number[] {
  return Array.from({ length: 256 }, (_, value) => {
    let inverse = 1;
    for (let i = 0; i < 254; i++) {
      inverse = multiply(inverse, value);
    }
    return inverse;
  });
}

/** The S-box: inverse, then an affine map (FIPS 197, 5.1.1). */
function substitutionBox(): number[] {
  return inverses().map((inverse) => {
    let result = 0x63;
    for (let turn = 0; turn < 5; turn++) {
      result ^= ((inverse << turn) | (inverse >> (8 - turn))) & 0xff;
    }
    return result;
  });
}

/** Looks every byte up in a table of 256: sixteen swizzles, of which all but one yield zero for each byte. */
export function lookUp(f: FunctionBuilder, table: readonly number[], value: V128): V128 {
  const kept = f.keep(value);
  const result = f.local('v128');
  f.set(result, zeroVector);
  for (let row = 0; row < 16; row++) {
    const entries = v8((i) => table[row * 16 + i] ?? 0);
    const index = op(
      'i8x16.sub',
      kept,
      v8(() => row * 16),
    );
    f.set(result, op('v128.or', get(result), op('i8x16.swizzle', entries, index)));
  }
  return get(result);
}

/** The state is four columns of four bytes; row r moves r columns to the left (or right). */
function shiftRows(value: V128, direction: 1 | -1): V128 {
  const lanes = Array.from({ length: 16 }, (_, i) => {
    const row = i & 3;
    return ((((i >> 2) + direction * row) & 3) << 2) | row;
  });
  return shuffle(lanes, value, value);
}

/** Each column turned by `by` rows. */
function turn(value: V128, by: number): V128 {
  const lanes = Array.from({ length: 16 }, (_, i) => (i & ~3) | ((i + by) & 3));
  return shuffle(lanes, value, value);
}

/** Times x in every byte; reads `value` twice. */
function double(value: V128): V128 {
  const reduction = op(
    'v128.and',
    op('i8x16.shr_s', value, i32(7)),
    v8(() => 0x1b),
  );
  return op('v128.xor', op('i8x16.shl', value, i32(1)), reduction);
}

function mixColumns(f: FunctionBuilder, value: V128): V128 {
  const a = f.keep(value);
  const next = f.keep(turn(a, 1));
  const both = f.keep(op('v128.xor', a, next));
  return op('v128.xor', op('v128.xor', double(both), next), turn(both, 2));
}

function inverseMixColumns(f: FunctionBuilder, value: V128): V128 {
  const a = f.keep(value);
  const opposite = f.keep(op('v128.xor', a, turn(a, 2)));
  return mixColumns(f, op('v128.xor', a, double(f.keep(double(opposite)))));
}

function buildAes(module: ModuleBuilder): [string, FunctionReference][] {
  const box = substitutionBox();
  const inverseBox = box.map((_, value) => box.indexOf(value));
  const unary = { params: ['v128'], results: ['v128'] } as const;
  const build = (name: string, body: (f: FunctionBuilder, value: V128) => V128): [string, FunctionReference] => [
    name,
    module.function(name, unary, (f) => {
      f.return(body(f, get(f.parameter(0, 'v128'))));
      f.unreachable();
    }),
  ];
  return [
    // The rounds without the key, which is added last.
    build('aes-encrypt', (f, state) => mixColumns(f, lookUp(f, box, shiftRows(state, 1)))),
    build('aes-encrypt-last', (f, state) => lookUp(f, box, shiftRows(state, 1))),
    build('aes-decrypt', (f, state) => inverseMixColumns(f, lookUp(f, inverseBox, shiftRows(state, -1)))),
    build('aes-decrypt-last', (f, state) => lookUp(f, inverseBox, shiftRows(state, -1))),
    build('aes-inverse-mix-columns', inverseMixColumns),
    build('aes-substitute', (f, value) => lookUp(f, box, value)),
  ];
}

/**
 * Carry-less products by integer multiplication: each factor is split into four with three zeros between its bits, where
 * carries of the sums have room; only carries out of the top position would get too far, and they leave the word.
 */
function buildCarrylessMultiply(module: ModuleBuilder): [string, FunctionReference][] {
  const type = { params: ['i64', 'i64'], results: ['i64'] } as const;
  const masks = [0x1111111111111111n, 0x2222222222222222n, 0x4444444444444444n, 0x8888888888888888n];
  const low = module.function('carryless-low', type, (f) => {
    const split = (index: number) => {
      const value = get(f.parameter(index, 'i64'));
      return masks.map((mask) => f.keep(q.and(value, mask)));
    };
    const x = split(0);
    const y = split(1);
    const sums = masks.map((mask, position) => {
      const products = x.map((part, i) => q.mul(part, y[(position - i) & 3] as I64));
      return q.and(
        products.reduce((left, right) => q.xor(left, right)),
        mask,
      );
    });
    f.return(sums.reduce((left, right) => q.or(left, right)));
    f.unreachable();
  });
  const reverse = module.function('reverse-bits', { params: ['i64'], results: ['i64'] }, (f) => {
    const value = f.parameter(0, 'i64');
    for (const [distance, mask] of [
      [1, 0x5555555555555555n],
      [2, 0x3333333333333333n],
      [4, 0x0f0f0f0f0f0f0f0fn],
      [8, 0x00ff00ff00ff00ffn],
      [16, 0x0000ffff0000ffffn],
    ] as const) {
      f.set(value, q.or(q.and(q.shr(get(value), distance), mask), q.shl(q.and(get(value), mask), distance)));
    }
    f.return(op('i64.rotl', get(value), i64(32)));
    f.unreachable();
  });
  const high = module.function('carryless-high', type, (f) => {
    const reversed = (index: number) => f.call(reverse, get(f.parameter(index, 'i64'))) as I64;
    const product = f.call(low, reversed(0), reversed(1)) as I64;
    f.return(q.shr(f.call(reverse, product) as I64, 1));
    f.unreachable();
  });
  return [
    ['carryless-low', low],
    ['carryless-high', high],
  ];
}

/** Functions behind the AES instructions and PCLMULQDQ, by name. */
export function buildCipher(module: ModuleBuilder): [string, FunctionReference][] {
  return [...buildAes(module), ...buildCarrylessMultiply(module)];
}
