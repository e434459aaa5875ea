import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeLine } from '../../testing/fakes.ts';
import { PIT_FREQUENCY, Pit } from './pit.ts';
import { Port61 } from './port61.ts';

function create() {
  const clock = new ManualClock();
  const line = new FakeLine();
  const pit = new Pit('pit', { clock, line });
  const tones: number[] = [];
  const port61 = new Port61('port61', { clock, pit, speaker: (hz) => tones.push(Math.round(hz)) });
  const read = (port: number) => pit.ports.readPort(port - 0x40, 1);
  const write = (port: number, value: number) => pit.ports.writePort(port - 0x40, 1, value);
  const program = (counter: number, mode: number, count: number, bcd = 0) => {
    write(0x43, (counter << 6) | 0x30 | (mode << 1) | bcd);
    write(0x40 + counter, count & 0xff);
    write(0x40 + counter, count >>> 8);
  };
  /** Moves the clock to the first nanosecond of tick `n`. */
  const toTick = (n: number) => clock.advanceTo(Math.ceil((n * 1e9) / PIT_FREQUENCY));
  const count = (counter: number) => {
    write(0x43, counter << 6);
    const low = read(0x40 + counter);
    return low | (read(0x40 + counter) << 8);
  };
  const status = (counter: number) => {
    write(0x43, 0xe0 | (2 << counter));
    return read(0x40 + counter);
  };
  const gate2 = (gate: boolean) => port61.port.writePort(0, 1, gate ? 1 : 0);
  return { clock, line, pit, port61, tones, read, write, program, toTick, count, status, gate2 };
}

deviceConformance('pit', () => {
  const { clock, pit } = create();
  return {
    device: pit,
    clock,
    poke(random) {
      const action = random.below(4);
      if (action === 0) {
        pit.ports.readPort(random.below(4), random.pick([1, 2, 4]));
      } else if (action === 1) {
        pit.setGate2(random.chance(1, 2));
        pit.output2();
      } else if (action === 2) {
        pit.ports.writePort(3, 1, random.u32());
      } else {
        pit.ports.writePort(random.below(4), random.pick([1, 2, 4]), random.chance(1, 3) ? 0 : random.u32());
      }
    },
  };
});

deviceConformance('port 0x61', () => {
  const { clock, port61 } = create();
  return {
    device: port61,
    clock,
    poke(random) {
      port61.port.writePort(0, random.pick([1, 2, 4]), random.u32());
      port61.port.readPort(0, 1);
    },
  };
});

test('mode 2: a rate generator with one edge a period and no drift', () => {
  const { clock, line, program, toTick, count, status, pit } = create();
  program(0, 2, 11932);
  assert.equal(count(0), 11932);
  toTick(1);
  assert.equal(count(0), 11931);
  toTick(11931);
  assert.equal(count(0), 1);
  assert.equal(status(0), 0x34, 'low for the last tick');
  const edges = line.edges;
  toTick(11932);
  assert.equal(count(0), 11932);
  assert.equal(status(0), 0xb4);
  assert.equal(line.edges, edges + 1);
  // An hour, in one leap between alarms that are exact.
  const hours = 3600 * PIT_FREQUENCY;
  toTick(hours - (hours % 11932));
  assert.equal(count(0), 11932);
  assert.equal(line.edges, edges + (hours - (hours % 11932)) / 11932);
  pit.dispose();
  assert.equal(clock.pendingCount, 0);
});

test('mode 3: a square wave that counts by two, even and odd', () => {
  const { program, toTick, count, status } = create();
  program(0, 3, 1000);
  assert.equal(status(0) & 0x80, 0x80);
  toTick(1);
  assert.equal(count(0), 998);
  toTick(499);
  assert.equal(count(0), 2);
  assert.equal(status(0) & 0x80, 0x80);
  toTick(500);
  assert.equal(count(0), 1000);
  assert.equal(status(0) & 0x80, 0);
  toTick(1000);
  assert.equal(status(0) & 0x80, 0x80);

  const odd = create();
  odd.program(0, 3, 5);
  const wave: number[] = [];
  for (let tick = 0; tick < 10; tick++) {
    odd.toTick(tick);
    wave.push(odd.status(0) >>> 7);
  }
  assert.deepEqual(wave, [1, 1, 1, 0, 0, 1, 1, 1, 0, 0]);
});

test('mode 3 at 18.2 Hz, as firmware leaves it', () => {
  const { clock, line, program } = create();
  program(0, 3, 0);
  const before = line.edges;
  clock.advance(10_000_000_000);
  assert.equal(line.edges - before, 182);
});

test('mode 0: the output rises once at terminal count', () => {
  const { line, program, toTick, count, write, status } = create();
  write(0x43, 0x30);
  assert.equal(line.asserted, false);
  assert.equal(status(0) & 0xc0, 0x40, 'null count');
  program(0, 0, 100);
  assert.equal(status(0), 0x30);
  toTick(99);
  assert.equal(line.asserted, false);
  toTick(100);
  assert.equal(line.asserted, true);
  toTick(101);
  assert.equal(count(0), 0xffff, 'it counts on');
  assert.equal(line.edges, 1);
  write(0x40, 10);
  assert.equal(line.asserted, false, 'the first byte takes it low');
});

test('mode 4: a strobe, which one-shot clock events use', () => {
  const { line, program, toTick, write, clock } = create();
  program(0, 4, 100);
  assert.equal(line.asserted, true);
  toTick(101);
  assert.equal(line.edges, 2);
  assert.equal(clock.pendingCount, 0);
  write(0x40, 50);
  write(0x40, 0);
  toTick(152);
  assert.equal(line.edges, 3);
});

test('a new count in mode 2 waits for the end of the period', () => {
  const { line, program, toTick, write, count } = create();
  program(0, 2, 1000);
  const start = line.edges;
  toTick(10);
  write(0x40, 100);
  write(0x40, 0);
  assert.equal(count(0), 990);
  toTick(1000);
  assert.equal(line.edges, start + 1);
  assert.equal(count(0), 100);
  toTick(1100);
  assert.equal(line.edges, start + 2);
});

test('counter 2: gate, modes 0, 1 and 5', () => {
  const { pit, program, toTick, gate2, count } = create();
  gate2(true);
  program(2, 0, 100);
  toTick(40);
  gate2(false);
  toTick(500);
  assert.equal(count(2), 60);
  assert.equal(pit.output2(), false);
  gate2(true);
  toTick(559);
  assert.equal(pit.output2(), false);
  toTick(560);
  assert.equal(pit.output2(), true);

  gate2(false);
  program(2, 1, 50);
  assert.equal(pit.output2(), true);
  toTick(1000);
  assert.equal(pit.output2(), true);
  gate2(true);
  assert.equal(pit.output2(), false);
  toTick(1050);
  assert.equal(pit.output2(), true);
  gate2(false);
  gate2(true);
  toTick(1090);
  gate2(false);
  gate2(true);
  toTick(1120);
  assert.equal(pit.output2(), false, 'retriggered');
  toTick(1140);
  assert.equal(pit.output2(), true);

  gate2(false);
  program(2, 5, 10);
  gate2(true);
  toTick(1149);
  assert.equal(pit.output2(), true);
  toTick(1150);
  assert.equal(pit.output2(), false);
  toTick(1151);
  assert.equal(pit.output2(), true);
});

test('latches, read-back and byte access', () => {
  const { program, toTick, write, read } = create();
  program(0, 2, 0x1234);
  toTick(4);
  write(0x43, 0x00);
  toTick(100);
  write(0x43, 0x00);
  assert.equal(read(0x40), 0x30, 'a second latch is ignored');
  assert.equal(read(0x40), 0x12);
  write(0x43, 0xc2);
  assert.equal(read(0x40), 0xb4, 'status first');
  assert.equal(read(0x40) | (read(0x40) << 8), 0x1234 - 100);
  write(0x43, 0x14);
  write(0x40, 200);
  assert.equal(read(0x40), 200);
  assert.equal(read(0x40), 200);
  assert.equal(read(0x43), 0xff);
});

test('BCD', () => {
  const { program, toTick, count } = create();
  program(0, 2, 0x1000, 1);
  toTick(1);
  assert.equal(count(0), 0x0999);
  program(0, 2, 0, 1);
  toTick(2);
  assert.equal(count(0), 0x9999);
});

test('port 0x61: output of counter 2, refresh toggle, speaker', () => {
  const { clock, port61, program, tones, gate2 } = create();
  gate2(true);
  program(2, 0, 1193);
  assert.equal(port61.port.readPort(0, 1) & 0x21, 0x01);
  clock.advance(1_000_000);
  assert.equal(port61.port.readPort(0, 1) & 0x21, 0x21);
  let toggles = 0;
  let last = port61.port.readPort(0, 1) & 0x10;
  for (let i = 0; i < 1000; i++) {
    clock.advance(1_000);
    const now = port61.port.readPort(0, 1) & 0x10;
    toggles += now === last ? 0 : 1;
    last = now;
  }
  assert.ok(toggles >= 65 && toggles <= 67, `${toggles} in a millisecond`);
  program(2, 3, 1193);
  assert.deepEqual(tones, []);
  port61.port.writePort(0, 1, 3);
  port61.port.writePort(0, 1, 0);
  assert.deepEqual(tones, [1000, 0]);
});
