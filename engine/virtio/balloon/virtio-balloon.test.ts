import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Random } from '../../testing/random.ts';
import { DRIVER_STYLES, type DriverStyle, GuestDriver, PLAIN_STYLE, styleName } from '../testing/guest-driver.ts';
import { virtioConformance } from '../testing/virtio-suite.ts';
import { type BalloonStatistics, VIRTIO_BALLOON_F_STATS_VQ, VirtioBalloon } from './virtio-balloon.ts';

const MEMORY = 64 << 20;
const INFLATE = 0;
const DEFLATE = 1;
const STATISTICS = 2;
const REPORTING = 3;

function build(style: DriverStyle = PLAIN_STYLE) {
  const released: { base: number; length: number }[] = [];
  const device = new VirtioBalloon({
    memoryBytes: MEMORY,
    release: (base, length) => {
      assert.ok(base % 4096 === 0 && length % 4096 === 0 && length > 0 && base + length <= MEMORY);
      released.push({ base, length });
    },
  });
  return { device, released, guest: new GuestDriver(device, style) };
}

function pages(...numbers: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(numbers).buffer);
}

function statistics(...entries: [tag: number, value: number][]): Uint8Array {
  const view = new DataView(new ArrayBuffer(entries.length * 10));
  for (const [index, [tag, value]] of entries.entries()) {
    view.setUint16(index * 10, tag, true);
    view.setBigUint64(index * 10 + 2, BigInt(value), true);
  }
  return new Uint8Array(view.buffer);
}

for (const style of DRIVER_STYLES) {
  test(`balloon, ${styleName(style)}: the guest gives up pages, and the host gets them together`, () => {
    const { device, guest, released } = build(style);
    guest.start();
    device.wantedBytes = 20 << 20;
    assert.equal(guest.transport.interrupts() & 2, 2);
    assert.equal(guest.transport.readConfig(0, 4), 5120);
    guest.request(INFLATE, [pages(10, 11, 12, 100, 99, 98, 5)]);
    assert.deepEqual(released, [
      { base: 10 * 4096, length: 3 * 4096 },
      { base: 98 * 4096, length: 3 * 4096 },
      { base: 5 * 4096, length: 4096 },
    ]);
    guest.transport.writeConfig(4, 4, 7);
    assert.equal(device.actualBytes, 7 * 4096);
    guest.request(DEFLATE, [pages(10, 11)]);
    assert.equal(released.length, 3);
  });
}

test('balloon: what is wanted is never more than there is, and survives a reset of the guest', () => {
  const { device, guest } = build();
  device.wantedBytes = 2 ** 40;
  assert.equal(device.wantedBytes, MEMORY);
  device.wantedBytes = 8 << 20;
  guest.start();
  guest.transport.writeConfig(4, 4, 9);
  guest.start();
  assert.equal(device.wantedBytes, 8 << 20);
  assert.equal(device.actualBytes, 0);
});

test('balloon: pages outside RAM are not touched', () => {
  const { guest, released } = build();
  guest.start();
  guest.request(INFLATE, [pages(MEMORY / 4096 - 1, MEMORY / 4096, 0xffffffff)]);
  assert.deepEqual(released, [{ base: MEMORY - 4096, length: 4096 }]);
});

test('balloon: statistics come when they are asked for', () => {
  const { device, guest } = build();
  guest.start();
  guest.submit(STATISTICS, [statistics([4, 1000], [5, 2000], [99, 5])]);
  assert.deepEqual(device.statistics, { freeBytes: 1000, totalBytes: 2000 });
  assert.equal(guest.collect(STATISTICS).length, 0, 'the device keeps the buffer');
  const heard: BalloonStatistics[] = [];
  device.requestStatistics((values) => heard.push(values));
  assert.equal(guest.collect(STATISTICS).length, 1);
  device.requestStatistics((values) => heard.push(values));
  assert.deepEqual(heard, []);
  guest.submit(STATISTICS, [statistics([4, 900])]);
  assert.deepEqual(heard, [{ freeBytes: 900 }]);
});

test('balloon: free pages that the guest reports are released', () => {
  const { guest, released } = build();
  guest.start();
  guest.request(REPORTING, [3 * 4096, 4096]);
  const total = released.reduce((sum, { length }) => sum + length, 0);
  // Buffers of this driver are not aligned: only whole pages count.
  assert.ok(total >= 2 * 4096 && total <= 4 * 4096, `${total}`);
});

test('balloon: without statistics the reports come by the third queue', () => {
  const { guest, released } = build();
  guest.start({ without: VIRTIO_BALLOON_F_STATS_VQ, queues: 3 });
  guest.request(2, [8 * 4096]);
  assert.ok(released.length > 0);
});

virtioConformance(
  'balloon',
  () => {
    const { device } = build();
    return {
      device,
      buffer: (random: Random, queue) => {
        if (queue === STATISTICS) {
          return [
            statistics([random.below(12), random.u32()], [random.below(12), 1]).subarray(0, random.below(21) + 1),
          ];
        }
        if (queue === REPORTING) {
          return [1 + random.below(20_000)];
        }
        const near = random.below(1000);
        return [pages(near, near + 1, random.chance(1, 4) ? random.u32() : near - 1).subarray(0, 1 + random.below(12))];
      },
      stir: (random) => {
        if (random.chance(1, 2)) {
          device.wantedBytes = random.below(MEMORY);
        } else {
          device.requestStatistics(() => {});
        }
      },
      prove: (guest) => assert.equal(guest.request(INFLATE, [pages(1)]).length, 0),
    };
  },
  4,
);
