import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostMachineClock } from './machine-clock.ts';

test('guest time stands still while paused, and alarms keep their distance', () => {
  let host = 1000;
  const clock = new HostMachineClock(() => host);
  const fired: number[] = [];
  clock.createAlarm(() => fired.push(clock.now())).set(10_000_000);
  host += 4;
  assert.equal(clock.now(), 4_000_000);
  clock.pause();
  clock.pause();
  host += 3_600_000;
  clock.fireDue();
  assert.equal(clock.now(), 4_000_000);
  clock.resume();
  clock.resume();
  host += 5;
  clock.fireDue();
  assert.deepEqual(fired, []);
  host += 1;
  clock.fireDue();
  assert.deepEqual(fired, [10_000_000]);
});
