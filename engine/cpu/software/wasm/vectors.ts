import { type I32, op, shuffle, type V128, v128 } from './function-builder.ts';

/** A vector constant of 16 bytes by lane number. */
export function v8(lane: (index: number) => number): V128 {
  return v128(Array.from({ length: 16 }, (_, i) => lane(i) & 0xff));
}

/** A vector constant of 8, 4 or 2 lanes by lane number; values wrap. */
export function v16(lane: (index: number) => number): V128 {
  return v8((i) => lane(i >> 1) >> ((i & 1) * 8));
}

export function v32(lane: (index: number) => number): V128 {
  return v8((i) => lane(i >> 2) >> ((i & 3) * 8));
}

export function v64(lane: (index: number) => bigint): V128 {
  return v8((i) => Number((lane(i >> 3) >> BigInt((i & 7) * 8)) & 0xffn));
}

export const zeroVector = v8(() => 0);
/** Lane numbers 0–15. */
export const iota = v8((i) => i);

/** A shuffle of lanes of `size` bytes: lane numbers of the first vector, then of the second. */
export function shuffleLanes(size: 1 | 2 | 4 | 8, lanes: readonly number[], first: V128, second: V128): V128 {
  return shuffle(
    lanes.flatMap((lane) => Array.from({ length: size }, (_, i) => lane * size + i)),
    first,
    second,
  );
}

/**
 * Moves bytes down by `count` (0–31), filling with zeros. Swizzle yields zero for lane numbers of 16 and above, and
 * lane numbers wrap at 256: a negative count moves up.
 */
export function moveBytes(value: V128, count: I32): V128 {
  return op('i8x16.swizzle', value, op('i8x16.add', iota, op('i8x16.splat', count)));
}
