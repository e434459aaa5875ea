import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../testing/random.ts';
import type { AccessSize, MmioHandler, PioHandler } from './bus.ts';
import { MmioWindows } from './mmio-bus.ts';
import { Ports } from './port-bus.ts';

type Access = { offset: number; size: AccessSize; value?: number };

class Recorder implements PioHandler, MmioHandler {
  readonly log: Access[] = [];
  readonly fill: number;

  constructor(fill: number) {
    this.fill = fill;
  }

  readPort(offset: number, size: AccessSize): number {
    this.log.push({ offset, size });
    return (this.fill * 0x01010101) >>> 0;
  }

  writePort(offset: number, size: AccessSize, value: number): void {
    this.log.push({ offset, size, value });
  }

  readMmio(offset: number, size: AccessSize): number {
    return this.readPort(offset, size);
  }

  writeMmio(offset: number, size: AccessSize, value: number): void {
    this.writePort(offset, size, value);
  }
}

for (const [name, create] of [
  ['ports', () => new Ports()],
  ['mmio', () => new MmioWindows()],
] as const) {
  test(`${name}: whole accesses reach their handler with an offset and a masked value`, () => {
    const bus = create();
    const one = new Recorder(0x11);
    bus.map(0x100, 8, one, 'one');
    bus.write(0x104, 2, 0x12345678);
    assert.equal(bus.read(0x104, 4), 0x11111111);
    assert.equal(bus.read(0x100, 1), 0x11);
    assert.deepEqual(one.log, [
      { offset: 4, size: 2, value: 0x5678 },
      { offset: 4, size: 4 },
      { offset: 0, size: 1 },
    ]);
  });

  test(`${name}: nothing there reads as ones and swallows writes`, () => {
    const bus = create();
    assert.equal(bus.read(0x80, 1), 0xff);
    assert.equal(bus.read(0x80, 2), 0xffff);
    assert.equal(bus.read(0x80, 4), 0xffffffff);
    bus.write(0x80, 4, 1);
    assert.equal(bus.read(0xffff, 4), 0xffffffff);
    bus.write(0xffff, 4, 1);
  });

  test(`${name}: an access across mappings is split into bytes`, () => {
    const bus = create();
    const one = new Recorder(0x11);
    const two = new Recorder(0x22);
    bus.map(0x100, 2, one, 'one');
    bus.map(0x102, 1, two, 'two');
    assert.equal(bus.read(0x101, 4), 0xffff2211);
    bus.write(0x100, 4, 0x44332211);
    assert.deepEqual(one.log, [
      { offset: 1, size: 1 },
      { offset: 0, size: 1, value: 0x11 },
      { offset: 1, size: 1, value: 0x22 },
    ]);
    assert.deepEqual(two.log, [
      { offset: 0, size: 1 },
      { offset: 0, size: 1, value: 0x33 },
    ]);
  });

  test(`${name}: overlapping fixed ranges are an error in the layout`, () => {
    const bus = create();
    bus.map(0x100, 8, new Recorder(1), 'one');
    for (const base of [0x0f9, 0x100, 0x107]) {
      assert.throws(() => bus.map(base, 8, new Recorder(2), 'two'), { name: 'InvariantError' });
    }
    bus.map(0x108, 8, new Recorder(2), 'two');
    bus.map(0x0f8, 8, new Recorder(3), 'three');
  });

  test(`${name}: a guest-placed range loses quietly and appears when there is room`, () => {
    const bus = create();
    bus.map(0x100, 8, new Recorder(1), 'fixed');
    const a = bus.map(0x100, 8, new Recorder(2), 'a', { guestPlaced: true });
    const b = bus.map(0x200, 8, new Recorder(3), 'b', { guestPlaced: true });
    const c = bus.map(0x204, 8, new Recorder(4), 'c', { guestPlaced: true });
    assert.equal(bus.read(0x100, 1), 1);
    assert.equal(bus.read(0x204, 1), 3);
    assert.equal(bus.read(0x208, 1), 0xff);
    b.move(0x300);
    assert.equal(bus.read(0x204, 1), 4);
    assert.equal(bus.read(0x300, 1), 3);
    a.move(0x204);
    assert.equal(bus.read(0x204, 1), 4);
    c.dispose();
    assert.equal(bus.read(0x204, 1), 2);
    a.move(2 ** 60);
    assert.equal(bus.read(0x204, 1), 0xff);
    a.move(0x400);
    assert.equal(bus.read(0x400, 1), 2);
    // A fixed range that comes later still wins.
    const late = bus.map(0x300, 4, new Recorder(5), 'late');
    assert.equal(bus.read(0x300, 1), 5);
    late.dispose();
    late.dispose();
    assert.equal(bus.read(0x300, 1), 3);
  });
}

test('random placements keep both buses consistent with a plain list', () => {
  const random = new Random(5);
  const bus = new Ports();
  const mappings = Array.from({ length: 12 }, (_, i) => {
    return { i, m: bus.map(i * 16, 8, new Recorder(i + 1), `d${i}`, { guestPlaced: true }) };
  });
  for (let round = 0; round < 500; round++) {
    const { m } = random.pick(mappings);
    if (random.chance(1, 8)) {
      m.dispose();
    } else {
      m.move(random.below(256));
    }
    const seen = new Map<number, number>();
    for (const range of bus.ranges) {
      for (let port = range.base; port < range.end; port++) {
        assert.ok(!seen.has(port), 'ranges are disjoint');
        seen.set(port, (range.handler as Recorder).fill);
      }
    }
    for (let port = 0; port < 280; port++) {
      assert.equal(bus.read(port, 1), seen.get(port) ?? 0xff);
    }
  }
});
