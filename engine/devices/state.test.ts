import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateReader } from './state.ts';

const badState = { name: 'HostError', code: 'bad-state' };

test('a state reader returns what fits', () => {
  const reader = new StateReader('dev', {
    byte: 255,
    word: 65535,
    dword: 0xffffffff,
    quad: 1n << 63n,
    flag: true,
    name: 'abc',
    mode: 'fast',
    data: Uint8Array.of(1, 2, 3),
    when: 12,
    inner: { byte: 1 },
    list: [{ byte: 1 }, { byte: 2 }],
    numbers: [1, 2, 3],
  });
  assert.equal(reader.u8('byte'), 255);
  assert.equal(reader.u16('word'), 65535);
  assert.equal(reader.u32('dword'), 0xffffffff);
  assert.equal(reader.u64('quad'), 1n << 63n);
  assert.equal(reader.boolean('flag'), true);
  assert.equal(reader.string('name'), 'abc');
  assert.equal(reader.oneOf('mode', ['slow', 'fast']), 'fast');
  assert.deepEqual(reader.bytes('data', 3), Uint8Array.of(1, 2, 3));
  assert.equal(reader.nanos('when'), 12);
  assert.equal(reader.optionalNanos('never'), undefined);
  assert.equal(reader.object('inner').u8('byte'), 1);
  assert.deepEqual(
    reader.objects('list', 2).map((item) => item.u8('byte')),
    [1, 2],
  );
  assert.deepEqual(reader.ints('numbers', 0, 3), [1, 2, 3]);
});

test('a state reader refuses what does not fit, naming owner and field', () => {
  const reader = new StateReader('dev', {
    byte: 256,
    half: 1.5,
    text: 'x',
    data: Uint8Array.of(1),
    list: [1, 300],
    inner: 3,
  });
  assert.throws(() => reader.u8('byte'), { ...badState, message: /dev.*'byte'.*256/ });
  assert.throws(() => reader.u32('half'), badState);
  assert.throws(() => reader.u32('missing'), badState);
  assert.throws(() => reader.boolean('text'), badState);
  assert.throws(() => reader.bytes('data', 2), badState);
  assert.throws(() => reader.bytes('text'), badState);
  assert.throws(() => reader.ints('list', 0, 255), badState);
  assert.throws(() => reader.objects('list'), badState);
  assert.throws(() => reader.object('inner'), badState);
  assert.throws(() => reader.u32('toString'), badState);
  assert.throws(() => reader.oneOf('text', ['a', 'b']), badState);
  for (const state of [undefined, null, 1, 'x', [], Uint8Array.of(1)]) {
    assert.throws(() => new StateReader('dev', state), badState);
  }
});
