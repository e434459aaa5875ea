import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32, inflateSync } from 'node:zlib';
import { encodePng } from './png.ts';

/** Reads back what encodePng writes: RGB, filters 0 and 2. */
function decode(png: Uint8Array): { width: number; height: number; rgb: Uint8Array } {
  const view = new DataView(png.buffer, png.byteOffset);
  assert.equal(view.getUint32(0), 0x89504e47);
  let width = 0;
  let height = 0;
  let packed = new Uint8Array(0);
  for (let at = 8; at < png.length; ) {
    const length = view.getUint32(at);
    const type = Buffer.from(png.subarray(at + 4, at + 8)).toString('latin1');
    assert.equal(view.getUint32(at + 8 + length), crc32(png.subarray(at + 4, at + 8 + length)));
    if (type === 'IHDR') {
      width = view.getUint32(at + 8);
      height = view.getUint32(at + 12);
      assert.deepEqual([...png.subarray(at + 16, at + 21)], [8, 2, 0, 0, 0]);
    } else if (type === 'IDAT') {
      packed = png.slice(at + 8, at + 8 + length);
    }
    at += length + 12;
  }
  const lines = inflateSync(packed);
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const filter = lines[y * (width * 3 + 1)];
    for (let x = 0; x < width * 3; x++) {
      const above = filter === 2 && y > 0 ? (rgb[(y - 1) * width * 3 + x] ?? 0) : 0;
      rgb[y * width * 3 + x] = (lines[y * (width * 3 + 1) + 1 + x] ?? 0) + above;
    }
  }
  return { width, height, rgb };
}

test('a picture survives encoding', () => {
  const width = 7;
  const height = 5;
  const rgba = Uint8ClampedArray.from({ length: width * height * 4 }, (_, i) => (i * 37) & 0xff);
  const decoded = decode(encodePng({ width, height, rgba }));
  assert.deepEqual([decoded.width, decoded.height], [width, height]);
  assert.deepEqual(
    [...decoded.rgb],
    [...rgba].filter((_, i) => i % 4 !== 3),
  );
});

test('sizes that do not fit are refused', () => {
  for (const [width, height] of [
    [0, 5],
    [3, 3],
  ] as const) {
    assert.throws(() => encodePng({ width, height, rgba: new Uint8Array(32) }), {
      name: 'HostError',
      code: 'bad-image',
    });
  }
});
