import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { PIT_FREQUENCY, Pit } from '../../devices/pit/pit.ts';
import type { LentCounter } from '../../irq/lent-apics.ts';
import { FakeLine } from '../../testing/fakes.ts';
import { Random } from '../../testing/random.ts';
import { type PitMove, phase, pitCounters, pitPage, timerActivity } from './pit-page.ts';

const NOTHING = 0xffff0000;
/** The host's clock at the move. */
const MOVED_AT = 7_000_000_000n;

function create() {
  const clock = new ManualClock();
  const line = new FakeLine();
  const pit = new Pit('pit', { clock, line });
  const write = (port: number, value: number) => pit.ports.writePort(port - 0x40, 1, value);
  const read = (port: number) => pit.ports.readPort(port - 0x40, 1);
  const program = (counter: number, mode: number, count: number) => {
    write(0x43, (counter << 6) | 0x30 | (mode << 1));
    write(0x40 + counter, count & 0xff);
    write(0x40 + counter, count >>> 8);
  };
  const toTick = (n: number) => clock.advanceTo(Math.ceil((n * 1e9) / PIT_FREQUENCY));
  return { clock, line, pit, write, read, program, toTick };
}

/** What KVM does with a page that it is given: all counts begin, those of 1 and 2 with the time at which they do. */
function taken(page: Uint8Array, at = MOVED_AT): Uint8Array {
  const copy = page.slice();
  const view = new DataView(copy.buffer);
  for (const channel of [0, 1, 2]) {
    view.setUint32(channel * 24, view.getUint32(channel * 24, true) || 0x10000, true);
  }
  view.setBigInt64(24 + 16, at, true);
  view.setBigInt64(48 + 16, at, true);
  return copy;
}

function handOver(pit: Pit): PitMove & { view: DataView } {
  const tick = pit.tick();
  const counters: readonly LentCounter[] = pit.hand();
  const page = taken(pitPage(counters, tick, 0));
  return { counters, tick, page, view: new DataView(page.buffer) };
}

/** The host's clock so many ticks after the move. */
const after = (ticks: number) => MOVED_AT + BigInt(Math.ceil((ticks * 1e9) / PIT_FREQUENCY));

test('what nobody touched goes on as if nothing had been: periods, single counts, those that are over', () => {
  const { pit, line, program, toTick, read, write } = create();
  program(0, 0, 1000);
  program(2, 0, 100);
  pit.setGate2(true);
  toTick(400);
  const move = handOver(pit);
  assert.equal(line.asserted, false);
  assert.equal(move.view.getUint32(0, true), 600, 'what is left');
  assert.equal(move.view.getUint32(48, true), 1, 'shows that it is over');
  toTick(900);
  pit.take(pitCounters(move.page, move, pit.tick(), after(500)));
  toTick(999);
  assert.equal(line.edges, 0);
  toTick(1000);
  assert.equal(line.edges, 1);
  assert.equal(pit.output2(), true);
  // Now it is over, and stays so.
  const again = handOver(pit);
  assert.ok(again.view.getUint32(0, true) >= NOTHING);
  assert.equal(timerActivity(again.page).kind, 'none');
  pit.take(pitCounters(again.page, again, pit.tick(), after(1)));
  toTick(200_000);
  assert.equal(line.edges, 1);
  write(0x43, 0xe2);
  assert.equal(read(0x40), 0xb0, 'mode 0, output high');
});

test('a counter that was never told a count counts in KVM no more than here', () => {
  const { pit } = create();
  const { page } = handOver(pit);
  assert.equal(timerActivity(page).kind, 'none');
});

test('a period begins anew, and how much of it was over is known', () => {
  const { pit, line, program, toTick } = create();
  program(0, 2, 1000);
  toTick(2300);
  const edges = line.edges;
  const move = handOver(pit);
  assert.equal(phase(move.counters[0] ?? assert.fail(), 2300), 300);
  assert.equal(move.view.getUint32(0, true), 1000);
  assert.deepEqual(timerActivity(move.page), { kind: 'periodic', count: 1000 });
  toTick(2500);
  pit.take(pitCounters(move.page, move, pit.tick(), after(200)));
  toTick(3299);
  assert.equal(line.edges, edges);
  toTick(3300);
  assert.equal(line.edges, edges + 1);
});

test('what a guest programmed there is taken over: counter 0 from now, the others since they count', () => {
  const { pit, line, program, toTick, read, write } = create();
  program(0, 2, 1000);
  toTick(5000);
  const move = handOver(pit);
  const edges = line.edges;
  const { page, view } = move;
  const now = page.slice();
  const changed = new DataView(now.buffer);
  changed.setUint32(0, 0x10000, true);
  changed.setUint8(13, 3);
  changed.setUint32(48, 500, true);
  changed.setUint8(48 + 12, 3);
  changed.setUint8(48 + 13, 2);
  changed.setUint8(48 + 15, 1);
  changed.setBigInt64(48 + 16, after(100), true);
  assert.equal(view.getUint8(12), 3);
  toTick(5350);
  pit.take(pitCounters(now, move, pit.tick(), after(350)));
  toTick(5350 + 0xffff);
  assert.equal(line.edges, edges);
  toTick(5350 + 0x10000);
  assert.equal(line.edges, edges + 1);
  write(0x43, 0x80);
  // Since tick 5100, in periods of 500.
  const expected = 500 - ((5350 + 0x10000 - 5100) % 500);
  const value = read(0x42) | (read(0x42) << 8);
  assert.ok(Math.abs(value - expected) <= 1, `${value} and not ${expected}`);
});

test('half a count, half a read and latches survive in both directions', () => {
  const { pit, program, toTick, read, write } = create();
  program(0, 2, 0x1234);
  toTick(4);
  write(0x43, 0xd2);
  write(0x43, 0xe2);
  write(0x43, 0x54);
  write(0x41, 9);
  write(0x43, 0xb4);
  write(0x42, 0x77);
  const move = handOver(pit);
  assert.equal(move.view.getUint16(4, true), 0x1230);
  assert.deepEqual([...move.page.subarray(6, 9)], [3, 1, 0xb4]);
  assert.deepEqual([...move.page.subarray(48 + 10, 48 + 13)], [4, 0x77, 3]);
  pit.take(pitCounters(move.page, move, pit.tick(), after(0)));
  assert.equal(read(0x40), 0xb4, 'the status first');
  assert.equal(read(0x40), 0x30);
  const second = handOver(pit);
  assert.equal(second.page[6], 2, 'the high byte is left');
  pit.take(pitCounters(second.page, second, pit.tick(), after(0)));
  assert.equal(read(0x40), 0x12);
  write(0x42, 0x01);
  write(0x43, 0x80);
  assert.equal(read(0x42) | (read(0x42) << 8), 0x177);
});

test('every state that a guest can bring about is taken there and back, and every page is bounded', () => {
  const random = new Random(8254);
  for (let round = 0; round < 200; round++) {
    const { clock, pit, write, read } = create();
    for (let i = 0; i < 30; i++) {
      const action = random.below(4);
      if (action === 0) {
        read(0x40 + random.below(4));
      } else if (action === 1) {
        clock.advance(random.below(80_000_000));
      } else if (action === 2) {
        pit.setGate2(random.chance(1, 2));
      } else {
        write(0x40 + random.below(4), random.chance(1, 3) ? 0 : random.u32() & 0xff);
      }
    }
    const move = handOver(pit);
    const page = move.page.slice();
    if (random.chance(1, 2)) {
      page.forEach((_, at) => {
        page[at] = random.u32();
      });
    }
    pit.take(pitCounters(page, move, pit.tick(), after(random.below(100_000))));
    clock.advance(1_000_000);
    // The record is one that could have been saved.
    const other = create();
    other.pit.load(pit.save());
    assert.deepEqual(other.pit.save(), pit.save());
  }
});
