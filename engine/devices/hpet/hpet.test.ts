import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AlarmQueue, ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeLine } from '../../testing/fakes.ts';
import { Hpet } from './hpet.ts';

const CONFIG = 0x10;
const STATUS = 0x20;
const COUNTER = 0xf0;
const config = (timer: number) => 0x100 + timer * 0x20;
const comparator = (timer: number) => 0x108 + timer * 0x20;
const LEVEL = 0x02;
const ENABLE = 0x04;
const PERIODIC = 0x08;
const SET = 0x40;
const BITS_32 = 0x100;

function create() {
  const clock = new ManualClock();
  const gsi = Array.from({ length: 24 }, () => new FakeLine());
  const irq0 = new FakeLine();
  const irq8 = new FakeLine();
  const hpet = new Hpet(
    'hpet',
    { clock, gsi: (n) => gsi[n] ?? new FakeLine(), irq0, irq8 },
    { routes: (1 << 2) | (1 << 16) },
  );
  const read = (offset: number) => hpet.mmio.readMmio(offset, 4);
  const write = (offset: number, value: number) => hpet.mmio.writeMmio(offset, 4, value >>> 0);
  const line = (n: number) => gsi[n] ?? new FakeLine();
  return { clock, hpet, irq0, irq8, read, write, line };
}

deviceConformance('hpet', () => {
  const { clock, hpet } = create();
  return {
    device: hpet,
    clock,
    poke(random) {
      switch (random.below(5)) {
        case 0:
          hpet.mmio.readMmio(random.below(0x400), random.pick([1, 2, 4]));
          break;
        case 1:
          hpet.mmio.writeMmio(random.below(0x400), random.pick([1, 2, 4]), random.u32());
          break;
        case 2:
          hpet.mmio.writeMmio(random.pick([CONFIG, STATUS, COUNTER, COUNTER + 4]), 4, random.u32());
          break;
        case 3:
          hpet.mmio.writeMmio(
            random.pick([config(0), config(1), config(2)]) + random.pick([0, 8, 12]),
            4,
            random.chance(1, 2) ? random.u32() : random.below(0x10000),
          );
          break;
        case 4:
          random.pick([hpet.pitLine, hpet.rtcLine]).set(random.chance(1, 2));
          break;
      }
    },
  };
});

test('capabilities: three 64-bit timers at 100 MHz with legacy replacement', () => {
  const { read } = create();
  assert.equal(read(0), 0x8086a201);
  assert.equal(read(4), 10_000_000);
  assert.equal(read(config(0)), 0x30);
  assert.equal(read(config(0) + 4), 0x10004);
});

test('the main counter runs, stops, is set, and carries into its high half', () => {
  const { clock, read, write } = create();
  clock.advance(1000);
  assert.equal(read(COUNTER), 0);
  write(COUNTER, 0xfffffff0);
  write(CONFIG, 1);
  clock.advance(150);
  assert.equal(read(COUNTER), 0xffffffff);
  clock.advance(10);
  assert.equal(read(COUNTER), 0);
  assert.equal(read(COUNTER + 4), 1);
  write(CONFIG, 0);
  clock.advance(1000);
  assert.equal(read(COUNTER), 0);
  write(CONFIG, 1);
  clock.advance(20);
  assert.equal(read(COUNTER), 2);
});

test('one-shot, edge, routed to an I/O APIC pin', () => {
  const { clock, read, write, line } = create();
  write(config(2), ENABLE | (16 << 9));
  assert.equal(read(config(2)) >>> 9, 16);
  write(config(2), ENABLE | (5 << 9));
  assert.equal(read(config(2)) >>> 9, 16, 'a route that does not exist');
  write(CONFIG, 1);
  write(comparator(2), 1000);
  write(comparator(2) + 4, 0);
  clock.advance(9_999);
  assert.equal(line(16).edges, 0);
  clock.advance(1);
  assert.equal(line(16).edges, 1);
  clock.advance(1_000_000);
  assert.equal(line(16).edges, 1);
});

test('a 32-bit one-shot whose moment has passed comes after the wrap', () => {
  const { clock, write, line } = create();
  write(CONFIG, 1);
  clock.advance(100_000);
  write(config(0), ENABLE | BITS_32 | (2 << 9));
  write(comparator(0), 5000);
  clock.advance(1_000_000);
  assert.equal(line(2).edges, 0);
  clock.advanceTo((2 ** 32 + 5000) * 10);
  assert.equal(line(2).edges, 1);
});

test('level-triggered: asserted until its status bit is written', () => {
  const { clock, read, write, line } = create();
  write(config(1), ENABLE | LEVEL | (2 << 9));
  write(comparator(1), 10);
  write(comparator(1) + 4, 0);
  write(CONFIG, 1);
  clock.advance(100);
  assert.equal(line(2).asserted, true);
  assert.equal(read(STATUS), 2);
  write(STATUS, 1);
  assert.equal(line(2).asserted, true);
  write(STATUS, 2);
  assert.equal(line(2).asserted, false);
  assert.equal(read(STATUS), 0);
});

test('periodic, set up as Linux does, without drift', () => {
  const { clock, read, write, irq0 } = create();
  write(CONFIG, 3);
  clock.advance(500);
  write(config(0), ENABLE | PERIODIC | SET | BITS_32);
  write(comparator(0), read(COUNTER) + 400_000);
  write(comparator(0), 400_000);
  clock.advance(4_000_000);
  assert.equal(irq0.edges, 1);
  clock.advance(4_000_000 * 99);
  assert.equal(irq0.edges, 100);
  assert.equal(read(comparator(0)), 50 + 400_000 * 101);
});

test('periodic with one 64-bit write, as the specification has it', () => {
  const { clock, read, write, line } = create();
  write(config(1), ENABLE | PERIODIC | SET | (2 << 9));
  write(comparator(1), 0x1000);
  write(comparator(1) + 4, 0);
  write(CONFIG, 1);
  clock.advance(0x1000 * 10 * 3);
  assert.equal(line(2).edges, 3);
  assert.equal(read(comparator(1)), 0x4000);
  assert.equal(read(comparator(1) + 4), 0);
});

test('a periodic timer whose interrupts are off wakes nobody and keeps its beat', () => {
  const { clock, read, write, line } = create();
  write(CONFIG, 1);
  write(config(0), ENABLE | PERIODIC | SET | BITS_32 | (2 << 9));
  write(comparator(0), 400_000);
  write(comparator(0), 400_000);
  clock.advanceTo(10_000_000);
  assert.equal(line(2).edges, 2);
  write(config(0), PERIODIC | BITS_32 | (2 << 9));
  assert.equal(clock.pendingCount, 0);
  // The counter's 32 bits wrap after 43 s; nothing happens then.
  clock.advanceTo(50_001_000_000);
  assert.equal(line(2).edges, 2);
  assert.equal(clock.pendingCount, 0);
  assert.equal(read(comparator(0)), (5_000_400_000 - 2 ** 32) >>> 0);
  write(config(0), ENABLE | PERIODIC | BITS_32 | (2 << 9));
  clock.advanceTo(50_003_999_999);
  assert.equal(line(2).edges, 2);
  clock.advanceTo(50_004_000_000);
  assert.equal(line(2).edges, 3);
});

test('a silent timer follows the counter that is stopped and set', () => {
  const { clock, read, write, line } = create();
  write(CONFIG, 1);
  write(config(0), PERIODIC | SET | BITS_32 | (2 << 9));
  write(comparator(0), 4000);
  write(comparator(0), 4000);
  clock.advanceTo(90_000);
  write(CONFIG, 0);
  assert.equal(read(comparator(0)), 12_000);
  clock.advanceTo(1_000_000);
  assert.equal(read(comparator(0)), 12_000);
  write(COUNTER, 11_990);
  write(config(0), ENABLE | PERIODIC | BITS_32 | (2 << 9));
  write(CONFIG, 1);
  clock.advanceTo(1_000_100);
  assert.equal(line(2).edges, 1);
});

test('a late alarm of a periodic timer neither stops nor shifts it', () => {
  let now = 0;
  const clock = new AlarmQueue(() => now);
  const irq0 = new FakeLine();
  const hpet = new Hpet('hpet', { clock, gsi: () => new FakeLine(), irq0, irq8: new FakeLine() });
  const write = (offset: number, value: number) => hpet.mmio.writeMmio(offset, 4, value);
  write(config(0), ENABLE | PERIODIC | SET);
  write(comparator(0), 10_000);
  write(comparator(0) + 4, 0);
  write(CONFIG, 3);
  now = 100_000 + 5_430;
  clock.fireDue();
  assert.equal(clock.nextDeadline(), 200_000);
  now = 1_234_567;
  clock.fireDue();
  assert.equal(clock.nextDeadline(), 1_300_000);
  assert.equal(irq0.edges, 2);
});

test('absurdly short periods do not flood the host', () => {
  const { clock, write, line } = create();
  write(config(1), ENABLE | PERIODIC | SET | (2 << 9));
  write(comparator(1), 1);
  write(comparator(1) + 4, 0);
  write(CONFIG, 1);
  clock.advance(1_000_000_000);
  assert.ok(line(2).edges <= 50_001 && line(2).edges > 1000);
});

test('legacy replacement takes interrupts 0 and 8 from PIT and RTC', () => {
  const { clock, hpet, write, irq0, irq8 } = create();
  hpet.pitLine.set(true);
  assert.equal(irq0.asserted, true);
  write(CONFIG, 2);
  assert.equal(irq0.asserted, false);
  hpet.rtcLine.set(true);
  assert.equal(irq8.asserted, false);
  write(config(1), ENABLE);
  write(comparator(1), 5);
  write(comparator(1) + 4, 0);
  write(CONFIG, 3);
  clock.advance(50);
  assert.equal(irq8.edges, 1);
  write(CONFIG, 1);
  assert.equal(irq8.asserted, true);
  assert.equal(irq0.asserted, true);
});
