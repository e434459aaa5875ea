import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeFramePacket, type FramePacket } from '../base/frame-packet.ts';
import { DisplayPump, type ScreenSource } from './display-pump.ts';

/** A screen of single pixels whose whole lines are reported as damaged. */
class FakeScreen implements ScreenSource {
  width = 64;
  height = 48;
  pixels = new Uint32Array(64 * 48).fill(0xff000000);
  refreshes = 0;
  readonly #pump: DisplayPump;
  #announce = true;
  #dirty = new Set<number>();

  constructor(pump: DisplayPump) {
    this.#pump = pump;
    pump.connect(this);
  }
  set(x: number, y: number, value: number): void {
    this.pixels[y * this.width + x] = value;
    this.#dirty.add(y);
  }
  resize(width: number, height: number): void {
    this.width = width;
    this.height = height;
    this.pixels = new Uint32Array(width * height).fill(0xff000000);
    this.#announce = true;
  }
  reannounce(): void {
    this.#announce = true;
  }
  refresh(): void {
    this.refreshes++;
    if (this.#announce) {
      this.#announce = false;
      this.#pump.show({ width: this.width, height: this.height });
      this.#pump.damage(0, 0, this.width, this.height);
    }
    for (const y of this.#dirty) {
      this.#pump.damage(0, y, this.width, 1);
    }
    this.#dirty.clear();
  }
  render(
    into: { width: number; rgba: Uint8ClampedArray },
    area: { x: number; y: number; width: number; height: number },
  ): void {
    const out = new Uint32Array(into.rgba.buffer);
    for (let y = area.y; y < area.y + area.height; y++) {
      for (let x = area.x; x < area.x + area.width; x++) {
        out[y * into.width + x] = this.pixels[y * this.width + x] ?? 0;
      }
    }
  }
}

function setUp() {
  const packets: { viewer: number; packet: FramePacket }[] = [];
  const pump = new DisplayPump((viewer, bytes) => packets.push({ viewer, packet: decodeFramePacket(bytes) }));
  const screen = new FakeScreen(pump);
  let now = 0;
  return {
    packets,
    pump,
    screen,
    tick: (millis = 17) => {
      now += millis;
      pump.tick(now);
    },
  };
}

test('nobody watching costs nothing', () => {
  const { pump, screen, tick } = setUp();
  tick();
  assert.equal(screen.refreshes, 0);
  assert.equal(pump.nextTickMillis, undefined);
});

test('a viewer gets the whole picture, then only what is different', () => {
  const { packets, pump, screen, tick } = setUp();
  pump.attach(1, 60);
  tick();
  assert.equal(packets.length, 1);
  const [first] = packets;
  assert.equal(first?.packet.whole, true);
  assert.deepEqual(first?.packet.rectangles, [{ x: 0, y: 0, width: 64, height: 48 }]);
  screen.set(3, 5, 0xff0000ff);
  screen.set(6, 6, 0xff00ff00);
  screen.set(9, 40, 0xff000000); // as it was
  tick();
  assert.deepEqual(packets[1]?.packet.rectangles, [
    { x: 3, y: 5, width: 1, height: 1 },
    { x: 6, y: 6, width: 1, height: 1 },
  ]);
  assert.deepEqual([...(packets[1]?.packet.payload ?? [])], [255, 0, 0, 255, 0, 255, 0, 255]);
  tick();
  assert.equal(packets.length, 2);
});

test('a viewer that does not acknowledge gets the latest state once it does', () => {
  const { packets, pump, screen, tick } = setUp();
  pump.attach(1, 60);
  for (let i = 0; i < 10; i++) {
    screen.set(i, 0, 0xff0000ff + i);
    tick();
  }
  assert.equal(packets.length, 3);
  pump.acknowledge(1, 3);
  tick();
  assert.equal(packets.length, 4);
  assert.equal(packets[3]?.packet.sequence, 4);
  assert.equal(packets[3]?.packet.payload.length, 7 * 4);
  pump.acknowledge(1, 99); // never sent
  tick();
  pump.acknowledge(1, 4);
});

test('viewers do not wait for each other, and rates are kept', () => {
  const { packets, pump, screen, tick } = setUp();
  pump.attach(1, 60);
  pump.attach(2, 2);
  for (let i = 0; i < 60; i++) {
    screen.set(i, 1, 0xff123456);
    tick();
    pump.acknowledge(1, packets.filter(({ viewer }) => viewer === 1).length);
    pump.acknowledge(2, packets.filter(({ viewer }) => viewer === 2).length);
  }
  const count = (id: number) => packets.filter(({ viewer }) => viewer === id).length;
  assert.ok(count(1) >= 55, `${count(1)}`);
  assert.ok(count(2) <= 4 && count(2) >= 2, `${count(2)}`);
});

test('a new mode starts the picture anew for everyone', () => {
  const { packets, pump, screen, tick } = setUp();
  pump.attach(1, 60);
  tick();
  screen.resize(20, 10);
  tick();
  const last = packets.at(-1)?.packet;
  assert.deepEqual([last?.whole, last?.width, last?.height], [true, 20, 10]);
  pump.detach(1);
  screen.set(1, 1, 1);
  tick();
  pump.attach(2, 60);
  tick();
  assert.equal(packets.at(-1)?.packet.whole, true);
});
