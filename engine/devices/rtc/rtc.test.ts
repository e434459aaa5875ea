import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeLine } from '../../testing/fakes.ts';
import { Rtc } from './rtc.ts';

const SECOND = 1_000_000_000;
const MILLI = 1_000_000;
/** A Wednesday. */
const START = Date.UTC(2025, 11, 31, 23, 59, 57);

function create(start = START) {
  const clock = new ManualClock();
  const line = new FakeLine();
  const masks: boolean[] = [];
  const rtc = new Rtc('rtc', {
    clock,
    wall: { epochMillis: () => start + clock.now() / MILLI },
    line,
    onNmiMask: (masked) => masks.push(masked),
  });
  const read = (index: number) => {
    rtc.ports.writePort(0, 1, index);
    return rtc.ports.readPort(1, 1);
  };
  const write = (index: number, value: number) => {
    rtc.ports.writePort(0, 1, index);
    rtc.ports.writePort(1, 1, value);
  };
  const time = () => [0x32, 9, 8, 7, 4, 2, 0].map((index) => read(index).toString(16).padStart(2, '0')).join(' ');
  return { clock, line, masks, rtc, read, write, time };
}

deviceConformance('rtc', () => {
  const { clock, rtc } = create();
  return {
    device: rtc,
    clock,
    poke(random) {
      if (random.chance(1, 2)) {
        rtc.ports.writePort(0, 1, random.chance(3, 4) ? random.below(16) : random.u32());
      }
      if (random.chance(1, 2)) {
        rtc.ports.writePort(1, random.pick([1, 2, 4]), random.u32());
      }
      rtc.ports.readPort(random.below(2), random.pick([1, 2, 4]));
      if (random.chance(1, 10)) {
        clock.advance(random.below(SECOND));
      }
    },
  };
});

test('the time of the wall clock, in BCD and 24 hours', () => {
  const { clock, read, time } = create();
  assert.equal(time(), '20 25 12 31 23 59 57');
  assert.equal(read(6), 4);
  clock.advance(3 * SECOND);
  assert.equal(time(), '20 26 01 01 00 00 00');
  assert.equal(read(0x0d), 0x80);
});

test('binary and 12-hour formats', () => {
  const { clock, read, write } = create();
  write(0x0b, 0x06);
  assert.equal(read(0), 57);
  assert.equal(read(4), 23);
  assert.equal(read(9), 25);
  write(0x0b, 0x00);
  assert.equal(read(4), 0x91, '11 pm');
  clock.advance(3 * SECOND);
  assert.equal(read(4), 0x12, '12 am');
  clock.advance(12 * 3600 * SECOND);
  assert.equal(read(4), 0x92, '12 pm');
});

test('setting the time with SET, and it goes on from there', () => {
  const { clock, read, write, time } = create();
  clock.advance(400 * MILLI);
  write(0x0b, 0x82);
  clock.advance(5 * SECOND);
  assert.equal(time(), '20 25 12 31 23 59 57', 'stopped');
  for (const [index, value] of [
    [0x32, 0x19],
    [9, 0x99],
    [8, 0x02],
    [7, 0x28],
    [4, 0x23],
    [2, 0x59],
    [0, 0x59],
  ] as const) {
    write(index, value);
  }
  write(0x0b, 0x02);
  assert.equal(time(), '19 99 02 28 23 59 59');
  clock.advance(599 * MILLI);
  assert.equal(read(0), 0x59);
  clock.advance(1 * MILLI);
  assert.equal(time(), '19 99 03 01 00 00 00');
  assert.equal(read(6), 2);
});

test('setting it as Linux does: the first update comes half a second after the divider starts', () => {
  const { clock, read, write } = create();
  clock.advance(900 * MILLI);
  write(0x0b, 0x82);
  write(0x0a, 0x76);
  write(0, 0x10);
  write(0x0b, 0x02);
  write(0x0a, 0x26);
  clock.advance(499 * MILLI);
  assert.equal(read(0), 0x10);
  clock.advance(1 * MILLI);
  assert.equal(read(0), 0x11);
});

test('a write to the running clock takes effect at once', () => {
  const { read, write } = create();
  write(2, 0x10);
  assert.equal(read(2), 0x10);
  assert.equal(read(0), 0x57);
});

test('update in progress shows before each second, never while stopped', () => {
  const { clock, read, write } = create();
  assert.equal(read(0x0a), 0x26);
  clock.advance(999 * MILLI);
  assert.equal(read(0x0a), 0xa6);
  write(0x0b, 0x82);
  assert.equal(read(0x0a), 0x26);
  write(0x0b, 0x02);
  clock.advance(1 * MILLI);
  assert.equal(read(0x0a), 0x26);
});

test('update-ended interrupt: once a second, until register C is read', () => {
  const { clock, line, read, write } = create();
  write(0x0b, 0x12);
  clock.advance(999 * MILLI);
  assert.equal(line.asserted, false);
  clock.advance(1 * MILLI);
  assert.equal(line.asserted, true);
  assert.equal(read(0x0c) & 0xb0, 0x90);
  assert.equal(line.asserted, false);
  assert.equal(read(0x0c), 0);
  clock.advance(1 * SECOND);
  assert.equal(line.edges, 2);
  write(0x0b, 0x02);
  assert.equal(line.asserted, false, 'disabled');
  assert.equal(clock.pendingCount, 0);
});

test('flags can be polled without interrupts', () => {
  const { clock, line, read } = create();
  read(0x0c);
  clock.advance(1 * SECOND);
  assert.equal(read(0x0c), 0x50);
  assert.equal(line.edges, 0);
});

test('alarm interrupt, exact and with wild cards', () => {
  const { clock, line, read, write } = create();
  write(1, 0x02);
  write(3, 0x00);
  write(5, 0x00);
  write(0x0b, 0x22);
  clock.advance(4_999 * MILLI);
  assert.equal(line.edges, 0);
  clock.advance(1 * MILLI);
  assert.equal(line.edges, 1);
  assert.equal(read(0x0c) & 0xa0, 0xa0);
  write(3, 0xff);
  write(5, 0xc0);
  clock.advance(59 * SECOND);
  assert.equal(line.edges, 1);
  clock.advance(1 * SECOND);
  assert.equal(line.edges, 2);
});

test('an alarm that came while the machine was paused is noticed afterwards', () => {
  const clock = new ManualClock();
  let wall = START;
  const rtc = new Rtc('rtc', { clock, wall: { epochMillis: () => wall }, line: new FakeLine() });
  const write = (index: number, value: number) => {
    rtc.ports.writePort(0, 1, index);
    rtc.ports.writePort(1, 1, value);
  };
  write(1, 0x00);
  write(3, 0x30);
  write(5, 0x07);
  wall += 10 * 24 * 3600 * 1000;
  rtc.ports.writePort(0, 1, 0x0c);
  assert.equal(rtc.ports.readPort(1, 1) & 0x20, 0x20);
});

test('periodic interrupt at 1024 Hz, without drift', () => {
  const { clock, line, read, write } = create();
  read(0x0c);
  write(0x0b, 0x42);
  let count = 0;
  while (clock.now() < SECOND) {
    clock.advance(100_000);
    if (line.asserted) {
      assert.equal(read(0x0c), 0xc0 | (clock.now() === SECOND ? 0x10 : 0));
      count++;
    }
  }
  assert.equal(count, 1024);
  write(0x0a, 0x20);
  read(0x0c);
  clock.advance(SECOND / 2);
  assert.equal(read(0x0c), 0);
});

test('CMOS memory, the NMI mask, and reset', () => {
  const { rtc, line, masks, read, write, clock } = create();
  rtc.setCmos(0x34, 0x80);
  rtc.setCmos(0x5f, 3);
  assert.equal(read(0x34), 0x80);
  assert.equal(read(0x5f), 3);
  write(0x40, 0x55);
  assert.equal(rtc.getCmos(0x40), 0x55);
  rtc.ports.writePort(0, 1, 0x8f);
  assert.equal(rtc.nmiMasked, true);
  assert.deepEqual(masks, [true]);
  assert.equal(rtc.ports.readPort(0, 1), 0xff);
  write(0x0b, 0x72);
  clock.advance(2 * SECOND);
  assert.equal(line.asserted, true);
  rtc.reset();
  assert.equal(line.asserted, false);
  assert.equal(rtc.nmiMasked, false);
  assert.equal(read(0x0b), 0x02);
  assert.equal(read(0x40), 0x55);
  assert.equal(clock.pendingCount, 0);
});
