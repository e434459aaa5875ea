import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { GuestFailure, interval, TimedProcess } from './timed-process.ts';

const WAIT = 60;
// Says the first half of a marker at once, and the rest and a prompt when it is told to.
const script = `
  process.stdout.write('LODGE-BENCH us');
  process.stdin.once('data', () => process.stdout.write('erspace\\nguest# '));
`;

test('a line counts when it is whole, and carries the times of the threads', async () => {
  const guest = new TimedProcess(process.execPath, ['-e', script]);
  try {
    await guest.prompt(/LODGE-BENCH us$/, WAIT);
    assert.equal(guest.lines.length, 0);
    guest.send('on\n');
    const line = await guest.line(/LODGE-BENCH us/, WAIT);
    assert.equal(line.text, 'LODGE-BENCH userspace');
    await guest.prompt(/guest# /, WAIT);
    const { wall, busy } = interval(guest.started, line);
    assert.ok(wall > 0);
    assert.equal(busy !== undefined && busy > 0, existsSync('/proc/self/task'), `busy ${busy}`);
  } finally {
    guest.kill();
    await guest.ended;
  }
});

test('a process that ends without saying it is a failure with its last words', async () => {
  const guest = new TimedProcess(process.execPath, ['-e', 'console.log("something else")']);
  await assert.rejects(guest.line(/LODGE-BENCH done/, WAIT), (error: unknown) => {
    return error instanceof GuestFailure && /before the process ended[\s\S]*something else/.test(error.message);
  });
});

test('the busiest thread is the one that had a processor most between two moments', () => {
  const from = { at: 1000, threads: new Map([['1', 5]]) };
  const to = {
    at: 4000,
    threads: new Map([
      ['1', 6],
      ['2', 2.5],
    ]),
  };
  assert.deepEqual(interval(from, to), { wall: 3, busy: 2.5 });
  assert.equal(interval(from, { at: 4000, threads: undefined }).busy, undefined);
});
