import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CallSpeed } from './call-speed.ts';

const times = (count: number, action: () => void) => Array.from({ length: count }, action);

test('a file is trusted after fast calls in a row, and for a while no more after one that held everything up', () => {
  const speed = new CallSpeed();
  times(15, () => speed.note(0.005));
  assert.equal(speed.trusted, false);
  speed.note(0.2);
  times(15, () => speed.note(0.005));
  assert.equal(speed.trusted, false, 'in a row');
  speed.note(0.005);
  assert.equal(speed.trusted, true);
  speed.note(0.2);
  assert.equal(speed.trusted, true, 'not so long that it matters');
  // Each time for longer.
  for (const distrust of [0, 16, 32, 64, 128, 128]) {
    times(3, () => speed.note(4));
    times(distrust + 15, () => {
      assert.equal(speed.trusted, false);
      speed.note(0.005);
    });
    assert.equal(speed.trusted, false);
    speed.note(0.005);
    assert.equal(speed.trusted, true);
  }
  times(1024, () => speed.note(0.005));
  times(3, () => speed.note(4));
  times(16, () => speed.note(0.005));
  assert.equal(speed.trusted, true, 'it is forgiven');
});

test('what copying takes is not waiting', () => {
  const speed = new CallSpeed();
  times(16, () => speed.note(0.1, 256 << 10));
  assert.equal(speed.trusted, true);
  speed.note(0.35, 256 << 10);
  assert.equal(speed.trusted, true);
  times(3, () => speed.note(0.35, 512));
  assert.equal(speed.trusted, false);
});

test('slow calls now and then are the host’s other work, and nothing', () => {
  const speed = new CallSpeed();
  times(16, () => speed.note(0.005));
  times(100, () => {
    speed.note(20);
    times(64, () => speed.note(0.005));
    assert.equal(speed.trusted, true);
  });
  times(3, () => speed.note(20));
  assert.equal(speed.trusted, false);
});

test('slow storage is never trusted', () => {
  const speed = new CallSpeed();
  times(1000, () => {
    speed.note(0.005);
    speed.note(0.1);
    assert.equal(speed.trusted, false);
  });
});
