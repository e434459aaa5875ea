import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GREATEST_LAG, LONGEST_STEP, PacedMachineClock } from './paced-clock.ts';

const MILLI = 1e6;
/** What a kernel's timer ticks by: 250 times a second. */
const TICK = 4 * MILLI;

/** A clock on a host whose time the test moves, in milliseconds, with an alarm that counts ticks. */
function setUp() {
  const host = { millis: 5000 };
  const clock = new PacedMachineClock(
    () => host.millis,
    () => 1_000_000 + host.millis,
  );
  let ticks = 0;
  const alarm = clock.createAlarm(() => {
    ticks++;
    // As devices do it: what is missed is missed, and the phase is kept.
    alarm.set((Math.floor(clock.now() / TICK) + 1) * TICK);
  });
  alarm.set(TICK);
  const run = (millis: number, step = 0.25) => {
    for (let passed = 0; passed < millis; passed += step) {
      host.millis += step;
      const before = clock.now();
      clock.endWait();
      clock.fireDue();
      assert.ok(clock.now() >= before, 'time goes forward');
    }
  };
  return { host, clock, run, ticks: () => ticks };
}

test('with all of a processor to itself, time is the host’s', () => {
  const { clock, run, ticks } = setUp();
  run(1000, 2);
  assert.equal(clock.now(), 1000 * MILLI);
  assert.equal(clock.lag, 0);
  assert.equal(ticks(), 250);
});

test('what the host withholds passes later: no tick is lost, and time is the host’s again soon', () => {
  const { host, clock, run, ticks } = setUp();
  run(20);
  host.millis += 150;
  assert.equal(clock.now(), 20 * MILLI + LONGEST_STEP);
  assert.equal(clock.lag, 150 * MILLI - LONGEST_STEP);
  run(3000);
  assert.ok(clock.lag < MILLI, `${clock.lag} ns behind`);
  assert.ok(Math.abs(ticks() - (20 + 150 + 3000) / 4) <= 1, `${ticks()} ticks`);
});

test('a third of a processor makes a guest slower, its ticks come one by one, and time keeps up with the host’s', () => {
  const { host, clock, run, ticks } = setUp();
  for (let round = 0; round < 1000; round++) {
    host.millis += 20;
    run(10);
  }
  // Of 30 ms, 3 pass at once and 10 at 2.7 times the host's speed, which is what 850 ms behind amount to.
  assert.ok(clock.lag < 900 * MILLI, `${clock.lag} ns behind after 30 s`);
  const due = clock.now() / TICK;
  assert.ok(ticks() > due * 0.99, `${ticks()} ticks of ${due}`);
  run(5000);
  assert.ok(clock.lag < MILLI);
});

test('with a fifteenth of a processor time falls behind rather than leaving ticks out, by ten seconds at most', () => {
  const { host, clock, run, ticks } = setUp();
  const starve = (millis: number) => {
    for (const end = host.millis + millis; host.millis < end; ) {
      host.millis += 42;
      run(3);
    }
  };
  starve(10_000);
  const due = clock.now() / TICK;
  assert.ok(ticks() > due * 0.9, `${ticks()} ticks of ${due}`);
  assert.ok(clock.lag > 5000 * MILLI && clock.lag < GREATEST_LAG, `${clock.lag} ns behind after 10 s`);
  starve(30_000);
  assert.ok(clock.lag <= GREATEST_LAG && clock.lag > GREATEST_LAG - 100 * MILLI, `${clock.lag} ns behind after 40 s`);
  // A guest with nothing to do has it all back at once.
  const behind = clock.lag;
  const now = clock.now();
  assert.equal(clock.wait(now + 60_000 * MILLI), false);
  assert.ok(Math.abs(clock.now() - now - behind) < 1);
  assert.equal(clock.lag, 0);
});

test('while processors wait, time passes as it does for the host; being woken late counts as being withheld', () => {
  const { host, clock } = setUp();
  assert.equal(clock.wait(1000 * MILLI), false);
  host.millis += 400;
  assert.equal(clock.now(), 400 * MILLI);
  host.millis += 700;
  clock.endWait();
  assert.equal(clock.now(), 1000 * MILLI + LONGEST_STEP);
  assert.equal(clock.lag, 100 * MILLI - LONGEST_STEP);
  // There is nothing to wait for as long as time is behind.
  assert.equal(clock.wait(1050 * MILLI), true);
  assert.equal(clock.now(), 1050 * MILLI);
  clock.endWait();
  assert.equal(clock.wait(1200 * MILLI), false);
  assert.equal(clock.now(), 1100 * MILLI);
  assert.equal(clock.lag, 0);
  clock.endWait();
  assert.equal(clock.wait(undefined), false);
  host.millis += 3_600_000;
  clock.endWait();
  assert.equal(clock.now(), 3_601_100 * MILLI);
});

test('a machine that was stopped for long does not catch up with all of it', () => {
  const { host, clock, run } = setUp();
  host.millis += 3_600_000;
  assert.equal(clock.now(), 3_600_000 * MILLI - GREATEST_LAG);
  run(12_000);
  assert.ok(clock.lag < MILLI);
});

test('the time of day is behind with the clock', () => {
  const { host, clock, run } = setUp();
  const { wall } = clock;
  const off = () => wall.epochMillis() - clock.now() / MILLI;
  const before = off();
  host.millis += 500;
  assert.ok(Math.abs(off() - before) < 1e-3);
  run(2000);
  assert.ok(Math.abs(off() - before) < 1e-3);
});

test('guest time stands still while paused, and what was behind is forgotten', () => {
  const { host, clock } = setUp();
  host.millis += 100;
  clock.pause();
  assert.equal(clock.now(), LONGEST_STEP);
  host.millis += 3_600_000;
  clock.pause();
  clock.fireDue();
  assert.equal(clock.now(), LONGEST_STEP);
  clock.resume();
  clock.resume();
  host.millis += 2;
  assert.equal(clock.now(), LONGEST_STEP + 2 * MILLI);
  assert.equal(clock.lag, 0);
  clock.startAt(77 * MILLI);
  host.millis += 1;
  assert.equal(clock.now(), 78 * MILLI);
});
