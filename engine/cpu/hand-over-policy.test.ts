import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HandOverPolicy } from './hand-over-policy.ts';

const MILLI = 1_000_000;

test('a rare refusal costs a few instructions', () => {
  const policy = new HandOverPolicy({ emulates: false });
  for (let i = 1; i <= 5; i++) {
    assert.equal(policy.gaveUp(i * 1000 * MILLI), 64);
    policy.handedBack(i * 1000 * MILLI + 1);
  }
  assert.equal(policy.count, 5);
});

test('refusals in a row keep longer and longer stretches in software, and a good spell shortens them again', () => {
  const policy = new HandOverPolicy({ emulates: false });
  let now = 0;
  const next = (pause: number) => {
    now += pause;
    const stretch = policy.gaveUp(now);
    policy.handedBack(now);
    return stretch;
  };
  const stretches = Array.from({ length: 12 }, () => next(MILLI));
  assert.deepEqual(stretches.slice(0, 4), [64, 256, 1024, 4096]);
  assert.equal(stretches.at(-1), 4_000_000, 'no longer than that');
  assert.equal(next(50 * MILLI), 1_000_000);
});

test('where KVM emulates, systems run in software and programs on KVM', () => {
  const policy = new HandOverPolicy({ emulates: true });
  assert.equal(policy.gaveUp(0), 4_000_000);
  assert.equal(policy.sliceEnded(3), 0);
  assert.equal(policy.sliceEnded(0), 4_000_000);
  assert.equal(policy.foundEmulating, 1);
});
