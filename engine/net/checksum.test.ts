import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../testing/random.ts';
import { checksum, pseudoHeaderSum, sumBytes } from './checksum.ts';

/** RFC 1071 word by word. */
function plainSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
    if (sum > 0xffff) {
      sum -= 0xffff;
    }
  }
  return sum;
}

test('the example of RFC 1071', () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assert.equal(sumBytes(bytes, 0, 8), 0xddf2);
  assert.equal(checksum(bytes, 0, 8), 0x220d);
});

test('every length and alignment gives the sum of single words', () => {
  const random = new Random(1);
  const bytes = new Uint8Array(4096);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = random.below(256);
  }
  for (let start = 0; start < 9; start++) {
    for (let length = 0; length < 200; length++) {
      const expected = plainSum(bytes.subarray(start, start + length));
      assert.equal(sumBytes(bytes, start, start + length) % 0xffff, expected % 0xffff, `${start}+${length}`);
    }
  }
});

test('the longest packet of ones does not overflow', () => {
  const bytes = new Uint8Array(65535).fill(0xff);
  assert.equal(sumBytes(bytes, 0, 65534), 0xffff);
  assert.equal(sumBytes(bytes, 0, 65535), 0xff00);
});

test('the pseudo-header of a known UDP datagram', () => {
  // 10.0.2.15 to 10.0.2.3, protocol 17, 40 bytes.
  const sum = pseudoHeaderSum(Uint8Array.of(10, 0, 2, 15), Uint8Array.of(10, 0, 2, 3), 17, 40);
  assert.equal(sum, 0x0a00 + 0x020f + 0x0a00 + 0x0203 + 17 + 40);
});
