import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteRingReader, ByteRingWriter, createByteRing } from './byte-ring.ts';

function pipe(capacity: number) {
  const memory = createByteRing(capacity);
  return { writer: new ByteRingWriter(memory), reader: new ByteRingReader(memory) };
}

test('bytes come out in order, around the end many times over', () => {
  const { writer, reader } = pipe(64);
  let next = 0;
  let expected = 0;
  for (let round = 0; round < 1000; round++) {
    const wanted = Uint8Array.from({ length: 1 + (round % 90) }, (_, i) => (next + i) & 0xff);
    next += writer.write(wanted).count;
    for (const byte of reader.peek(1 + (round % 50))) {
      assert.equal(byte, expected++ & 0xff);
      reader.take(1);
    }
  }
  assert.ok(expected > 10_000);
  assert.equal(reader.available, next - expected);
});

test('what does not fit is left to the writer, who is told of room once', () => {
  const { writer, reader } = pipe(16);
  assert.deepEqual(writer.write(new Uint8Array(20)), { count: 16, tell: true });
  assert.deepEqual(writer.write(new Uint8Array(4)), { count: 0, tell: false });
  assert.equal(writer.wantRoom(), true);
  assert.equal(reader.take(3), true);
  assert.equal(reader.take(3), false);
  assert.equal(writer.wantRoom(), false, 'there is room already');
  assert.equal(writer.room, 6);
});

test('the reader is told of bytes once, and never sleeps over some', () => {
  const { writer, reader } = pipe(16);
  assert.equal(writer.write(Uint8Array.of(1)).tell, true);
  assert.equal(reader.wantBytes(), false, 'there is a byte already');
  reader.take(1);
  assert.equal(reader.wantBytes(), true);
  assert.equal(writer.write(Uint8Array.of(2)).tell, true);
  assert.equal(writer.write(Uint8Array.of(3)).tell, false);
  assert.deepEqual([...reader.peek(9)], [2, 3]);
});
