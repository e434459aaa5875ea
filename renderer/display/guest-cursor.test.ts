import { expect, test } from 'vitest';
import { changedCursor, usedSize } from './guest-cursor.ts';

/** An image of 4 × 4 pixels, of which `opaque` are not empty, in base64. */
function image(...opaque: readonly (readonly [x: number, y: number])[]) {
  const bytes = new Uint8Array(64);
  for (const [x, y] of opaque) {
    bytes[(y * 4 + x) * 4 + 3] = 255;
  }
  return { width: 4, height: 4, hotX: 1, hotY: 2, rgba: btoa(String.fromCharCode(...bytes)) };
}

test('a pointer keeps its image while it moves, and is gone with null', () => {
  const first = changedCursor(undefined, { visible: true, x: 1, y: 2, image: image([0, 0]) });
  expect(first).toMatchObject({ visible: true, x: 1, y: 2, image: { hotX: 1, hotY: 2 } });
  const moved = changedCursor(first, { visible: false, x: 5, y: -6 });
  expect(moved).toMatchObject({ visible: false, x: 5, y: -6 });
  expect(moved?.image).toBe(first?.image);
  expect(changedCursor(moved, null)).toBeUndefined();
  expect(changedCursor(undefined, { visible: true, x: 0, y: 0 })).toBeUndefined();
});

test('an image of the wrong length is none', () => {
  const wrong = { ...image(), width: 5 };
  expect(changedCursor(undefined, { visible: true, x: 0, y: 0, image: wrong })).toBeUndefined();
});

test('of an image as much is used as is not empty', () => {
  const shown = changedCursor(undefined, { visible: true, x: 0, y: 0, image: image([2, 0], [1, 1]) });
  expect(shown && usedSize(shown.image)).toEqual({ width: 3, height: 2 });
  const empty = changedCursor(undefined, { visible: true, x: 0, y: 0, image: image() });
  expect(empty && usedSize(empty.image)).toEqual({ width: 1, height: 1 });
});
