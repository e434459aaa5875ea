import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEdid } from './edid.ts';

/** Active pixels and refresh rate of a detailed timing. */
function timing(edid: Uint8Array, at: number): { width: number; height: number; hertz: number } {
  const byte = (i: number) => edid[at + i] ?? 0;
  const width = byte(2) | ((byte(4) >> 4) << 8);
  const height = byte(5) | ((byte(7) >> 4) << 8);
  const total = (width + (byte(3) | ((byte(4) & 15) << 8))) * (height + (byte(6) | ((byte(7) & 15) << 8)));
  return { width, height, hertz: ((byte(0) | (byte(1) << 8)) * 10_000) / total };
}

test('the block has its header, version, checksum and name', () => {
  const edid = createEdid();
  assert.equal(edid.length, 128);
  assert.deepEqual([...edid.subarray(0, 8)], [0, 255, 255, 255, 255, 255, 255, 0]);
  assert.deepEqual([...edid.subarray(18, 20)], [1, 4]);
  assert.equal(edid.reduce((sum, byte) => sum + byte, 0) & 0xff, 0);
  assert.ok(Buffer.from(edid).toString('latin1').includes('\xfc\0Lodge\n       '));
  // The sRGB colour space, as VESA's own example has it.
  assert.equal(Buffer.from(edid.subarray(25, 35)).toString('hex'), 'ee91a3544c99260f5054');
});

test('the preferred timing is the configured one, at 60 Hz', () => {
  for (const [width, height] of [
    [1024, 768],
    [800, 600],
    [1920, 1080],
    [2560, 1600],
  ] as const) {
    const edid = createEdid({ width, height, name: 'A long monitor name' });
    const preferred = timing(edid, 54);
    assert.deepEqual([preferred.width, preferred.height], [width, height]);
    assert.ok(Math.abs(preferred.hertz - 60) < 0.5, `${preferred.hertz} Hz`);
    assert.equal(edid.reduce((sum, byte) => sum + byte, 0) & 0xff, 0);
    assert.ok(Buffer.from(edid).toString('latin1').includes('\xfc\0A long monito'));
  }
});

test('2560 × 1600 is offered beside the preferred mode', () => {
  const largest = timing(createEdid(), 72);
  assert.deepEqual([largest.width, largest.height], [2560, 1600]);
  assert.ok(Math.abs(largest.hertz - 60) < 0.5);
});

test('impossible sizes are brought into range', () => {
  const preferred = timing(createEdid({ width: 100_000, height: 1 }), 54);
  assert.deepEqual([preferred.width, preferred.height], [4088, 200]);
});
