import { d } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  i32,
  laneOp,
  op,
  type V128,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';

function rotateRight(value: I32, count: number): I32 {
  return op('i32.rotr', value, i32(count));
}

/** Of each bit of `x` the bit of `y` or, where it is clear, of `z`. */
function choose(x: I32, y: I32, z: I32): I32 {
  return d.xor(d.and(d.xor(y, z), x), z);
}

function majority(x: I32, y: I32, z: I32): I32 {
  return d.or(d.and(x, y), d.and(d.or(x, y), z));
}

/** The doublewords of a vector, the highest first. */
function words(f: FunctionBuilder, vector: V128): [I32, I32, I32, I32] {
  const word = (lane: number) => f.keep(laneOp('i32x4.extract_lane', lane, vector));
  return [word(3), word(2), word(1), word(0)];
}

function vectorOf(high: I32, second: I32, third: I32, low: I32): V128 {
  const lane = (vector: V128, number: number, value: I32) => laneOp('i32x4.replace_lane', number, vector, value);
  return lane(lane(lane(op('i32x4.splat', low), 1, third), 2, second), 3, high);
}

/** SHA-1's functions and constants, of twenty rounds each (FIPS 180-4, 4.1.1 and 4.2.1). */
const SHA1_PHASES: readonly (readonly [mix: (x: I32, y: I32, z: I32) => I32, constant: number])[] = [
  [choose, 0x5a827999],
  [(x, y, z) => d.xor(d.xor(x, y), z), 0x6ed9eba1],
  [majority, 0x8f1bbcdc],
  [(x, y, z) => d.xor(d.xor(x, y), z), 0xca62c1d6],
];

/**
 * (A to D, words with E added to the first, phase 0–3) → A to D four rounds later (SDM 2B, SHA1RNDS4). The first of each
 * is the highest doubleword.
 */
function buildSha1Rounds(module: ModuleBuilder): FunctionReference {
  const type = { params: ['v128', 'v128', 'i32'], results: ['v128'] } as const;
  return module.function('sha1-rounds', type, (f) => {
    const state = words(f, get(f.parameter(0, 'v128')));
    const message = words(f, get(f.parameter(1, 'v128')));
    const phase = get(f.parameter(2, 'i32'));
    for (const [number, [mix, constant]] of SHA1_PHASES.entries()) {
      f.if(d.eq(phase, number), () => {
        let [a, b, c, last] = state;
        let e: I32 = i32(0);
        for (const word of message) {
          const sum = d.add(d.add(mix(b, c, last), rotateRight(a, 27)), d.add(d.add(word, constant), e));
          [a, b, c, last, e] = [f.keep(sum), a, f.keep(rotateRight(b, 2)), c, last];
        }
        f.return(vectorOf(a, b, c, last));
      });
    }
    f.unreachable();
  });
}

/**
 * (C, D, G, H; A, B, E, F; two words with their constants in the low half) → A, B, E, F two rounds later (SDM 2B,
 * SHA256RNDS2; FIPS 180-4, 6.2.2). The first of each is the highest doubleword.
 */
function buildSha256Rounds(module: ModuleBuilder): FunctionReference {
  const type = { params: ['v128', 'v128', 'v128'], results: ['v128'] } as const;
  return module.function('sha256-rounds', type, (f) => {
    let [c, last, g, h] = words(f, get(f.parameter(0, 'v128')));
    let [a, b, e, other] = words(f, get(f.parameter(1, 'v128')));
    const message = get(f.parameter(2, 'v128'));
    for (const lane of [0, 1]) {
      const sum1 = d.xor(d.xor(rotateRight(e, 6), rotateRight(e, 11)), rotateRight(e, 25));
      const sum0 = d.xor(d.xor(rotateRight(a, 2), rotateRight(a, 13)), rotateRight(a, 22));
      const word = d.add(laneOp('i32x4.extract_lane', lane, message), h);
      const t1 = f.keep(d.add(d.add(sum1, choose(e, other, g)), word));
      const t2 = d.add(sum0, majority(a, b, c));
      const next = f.keep(d.add(t1, last));
      [a, b, c, last, e, other, g, h] = [f.keep(d.add(t1, t2)), a, b, c, next, e, other, g];
    }
    f.return(vectorOf(a, b, e, other));
    f.unreachable();
  });
}

/** Functions behind the SHA instructions, by name. */
export function buildHashes(module: ModuleBuilder): [string, FunctionReference][] {
  return [
    ['sha1-rounds', buildSha1Rounds(module)],
    ['sha256-rounds', buildSha256Rounds(module)],
  ];
}
