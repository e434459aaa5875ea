import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { FakeDisk } from '../../testing/fakes.ts';
import type { Random } from '../../testing/random.ts';
import type { Completion } from '../testing/driver-queue.ts';
import { DRIVER_STYLES, type DriverStyle, GuestDriver, PLAIN_STYLE, styleName } from '../testing/guest-driver.ts';
import { virtioConformance } from '../testing/virtio-suite.ts';
import { BLK_S_IOERR, BLK_S_OK, BLK_S_UNSUPP, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO } from './blk-layout.ts';
import { VirtioBlk } from './virtio-blk.ts';

const IN = 0;
const OUT = 1;
const FLUSH = 4;
const GET_ID = 8;
const DISCARD = 11;
const WRITE_ZEROES = 13;
const DISK_BYTES = 4 << 20;

function build(style: DriverStyle = PLAIN_STYLE, disk = new FakeDisk(DISK_BYTES), queues = 2) {
  const clock = new ManualClock();
  const device = new VirtioBlk({ backend: disk, clock }, { serial: 'LODGE-0001', queues });
  const guest = new GuestDriver(device, style);
  return { clock, disk, device, guest };
}

function header(type: number, sector: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return bytes;
}

function pattern(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed + (i >> 8)) & 0xff);
}

function range(sector: number, sectors: number, flags = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(sector), true);
  view.setUint32(8, sectors, true);
  view.setUint32(12, flags, true);
  return bytes;
}

/** One request, carried out by the host as far as it goes. */
function perform(guest: GuestDriver, disk: FakeDisk, segments: (Uint8Array | number)[], queue = 0): Completion {
  guest.submit(queue, segments);
  while (disk.pending.length > 0) {
    disk.complete(1);
  }
  const [completion] = guest.collect(queue);
  assert.ok(completion !== undefined, 'no answer');
  return completion;
}

const statusOf = ({ data }: Completion) => data.at(-1);

for (const style of DRIVER_STYLES) {
  test(`blk, ${styleName(style)}: what is written is read back, however it is cut`, () => {
    const { guest, disk } = build(style);
    guest.start();
    const data = pattern(4096 + 512);
    const written = perform(guest, disk, [header(OUT, 3), data.subarray(0, 100), data.subarray(100), 1]);
    assert.equal(statusOf(written), BLK_S_OK);
    assert.deepEqual(disk.bytes.subarray(3 * 512, 3 * 512 + data.length), data);
    const read = perform(guest, disk, [header(IN, 3), 1000, data.length - 1000, 1], 1);
    assert.equal(read.length, data.length + 1);
    assert.equal(statusOf(read), BLK_S_OK);
    assert.deepEqual(read.data.subarray(0, -1), data);
    // A header in two parts, and the status in the same segment as the data (section 2.7.4).
    const odd = header(IN, 3);
    const joined = perform(guest, disk, [odd.subarray(0, 5), odd.subarray(5), 513]);
    assert.deepEqual(joined.data.subarray(0, 512), data.subarray(0, 512));
    assert.equal(statusOf(joined), BLK_S_OK);
  });
}

test('blk: the configuration tells size, queues and limits', () => {
  const { guest } = build();
  guest.start();
  const { transport } = guest;
  assert.equal(transport.readConfig(0, 4), DISK_BYTES / 512);
  assert.equal(transport.readConfig(12, 4), 254);
  assert.equal(transport.readConfig(34, 2), 2);
  assert.equal(guest.features & VIRTIO_BLK_F_RO, 0n);
});

test('blk: a request longer than what is in flight at a time goes piece by piece', () => {
  const { guest, disk } = build();
  guest.start();
  const data = pattern(1_500_672);
  assert.equal(statusOf(perform(guest, disk, [header(OUT, 8), data, 1])), BLK_S_OK);
  const { data: read } = perform(guest, disk, [header(IN, 8), data.length, 1]);
  assert.deepEqual(read.subarray(0, -1), data);
});

test('blk: more requests than there is memory for wait their turn', () => {
  const { guest, disk } = build(PLAIN_STYLE, new FakeDisk(16 << 20));
  guest.start();
  const count = 20;
  for (let i = 0; i < count; i++) {
    disk.bytes[i * 0x80000] = i + 1;
    guest.submit(0, [header(IN, i * 0x400), 0x80000, 1]);
  }
  assert.ok(disk.pending.length <= 8, `${disk.pending.length} pieces at once`);
  let answered = 0;
  while (disk.pending.length > 0) {
    disk.complete(1);
    for (const { data } of guest.collect(0)) {
      assert.equal(data.at(-1), BLK_S_OK);
      answered++;
    }
  }
  assert.equal(answered, count);
});

test('blk: requests complete in the order of the host', () => {
  const { guest, disk } = build();
  guest.start();
  guest.submit(0, [header(IN, 0), 512, 1]);
  guest.submit(0, [header(IN, 1), 512, 1]);
  const [first] = disk.pending.splice(0, 1);
  disk.complete();
  assert.equal(guest.collect(0).length, 1);
  first?.done();
  assert.equal(guest.collect(0).length, 1);
});

test('blk: flush reaches the host, and a driver that cannot flush gets write-through', () => {
  const { guest, disk } = build();
  guest.start();
  guest.submit(0, [header(FLUSH, 0), 1]);
  assert.equal(disk.pending[0]?.request.kind, 'flush');
  disk.complete();
  assert.equal(statusOf(guest.collect(0)[0] as Completion), BLK_S_OK);
  const kinds = () => {
    guest.submit(0, [header(OUT, 0), pattern(512), 1]);
    const seen: string[] = [];
    while (disk.pending.length > 0) {
      seen.push(disk.pending[0]?.request.kind ?? '');
      disk.complete(1);
    }
    guest.collect(0);
    return seen;
  };
  assert.deepEqual(kinds(), ['write']);
  guest.transport.writeConfig(32, 1, 0);
  assert.deepEqual(kinds(), ['write', 'flush']);
  guest.start({ without: VIRTIO_BLK_F_FLUSH });
  assert.deepEqual(kinds(), ['write', 'flush']);
});

test('blk: the serial number, whole or as far as there is room', () => {
  const { guest, disk } = build();
  guest.start();
  const whole = perform(guest, disk, [header(GET_ID, 0), 20, 1]);
  assert.equal(new TextDecoder().decode(whole.data.subarray(0, 20)), 'LODGE-0001\0\0\0\0\0\0\0\0\0\0');
  assert.equal(whole.length, 21);
  const short = perform(guest, disk, [header(GET_ID, 0), 5, 1]);
  assert.equal(new TextDecoder().decode(short.data.subarray(0, 5)), 'LODGE');
});

test('blk: discard and write zeroes, several ranges at once', () => {
  const { guest, disk } = build();
  guest.start();
  disk.bytes.fill(0xee);
  const zeroed = perform(guest, disk, [header(WRITE_ZEROES, 0), range(0, 1), range(4, 2, 1), 1]);
  assert.equal(statusOf(zeroed), BLK_S_OK);
  assert.equal(disk.bytes[511], 0);
  assert.equal(disk.bytes[512], 0xee);
  assert.equal(disk.bytes[4 * 512], 0);
  assert.equal(disk.bytes[6 * 512], 0xee);
  guest.submit(0, [header(DISCARD, 0), range(8, 8), 1]);
  assert.deepEqual(disk.pending[0]?.request, { kind: 'discard', offset: 4096, length: 4096 });
  disk.complete();
  assert.equal(statusOf(guest.collect(0)[0] as Completion), BLK_S_OK);
  assert.equal(statusOf(perform(guest, disk, [header(DISCARD, 0), range(0, 8, 1), 1])), BLK_S_UNSUPP);
  assert.equal(statusOf(perform(guest, disk, [header(WRITE_ZEROES, 0), range(0, 8, 2), 1])), BLK_S_UNSUPP);
  assert.equal(statusOf(perform(guest, disk, [header(DISCARD, 0), range(DISK_BYTES / 512, 1), 1])), BLK_S_IOERR);
  assert.equal(statusOf(perform(guest, disk, [header(DISCARD, 0), 1])), BLK_S_IOERR);
});

test('blk: requests outside the disk, of odd length or of unknown kind are errors', () => {
  const { guest, disk } = build();
  guest.start();
  const last = DISK_BYTES / 512;
  for (const [segments, expected] of [
    [[header(IN, last), 512, 1], BLK_S_IOERR],
    [[header(IN, last - 1), 1024, 1], BLK_S_IOERR],
    [[header(OUT, last), pattern(512), 1], BLK_S_IOERR],
    [[header(IN, 0), 100, 1], BLK_S_IOERR],
    [[header(OUT, 0), pattern(100), 1], BLK_S_IOERR],
    [[header(77, 0), 1], BLK_S_UNSUPP],
  ] as [(Uint8Array | number)[], number][]) {
    assert.equal(statusOf(perform(guest, disk, segments)), expected);
  }
  assert.equal(disk.pending.length, 0);
  assert.equal(perform(guest, disk, [header(IN, 0).subarray(0, 8), 1]).length, 0, 'no whole header');
  assert.equal(perform(guest, disk, [header(OUT, 0)]).length, 0, 'no room for a status');
});

test('blk: errors of the host are errors of the disk', () => {
  const { guest, disk } = build();
  guest.start();
  disk.failure = { code: 'io', message: 'broken' };
  for (const segments of [
    [header(IN, 0), 512, 1],
    [header(OUT, 0), pattern(512), 1],
    [header(FLUSH, 0), 1],
    [header(DISCARD, 0), range(0, 8), 1],
  ]) {
    assert.equal(statusOf(perform(guest, disk, segments)), BLK_S_IOERR);
  }
});

test('blk: a read-only disk says so and refuses writes', () => {
  const { guest, disk } = build(PLAIN_STYLE, new FakeDisk(DISK_BYTES, true));
  guest.start();
  assert.equal(guest.features & VIRTIO_BLK_F_RO, VIRTIO_BLK_F_RO);
  assert.equal(statusOf(perform(guest, disk, [header(OUT, 0), pattern(512), 1])), BLK_S_IOERR);
  assert.equal(statusOf(perform(guest, disk, [header(WRITE_ZEROES, 0), range(0, 1), 1])), BLK_S_UNSUPP);
});

test('blk: what the host completes after a reset touches nothing', () => {
  const { guest, disk } = build();
  guest.start();
  disk.bytes.fill(0xaa);
  guest.submit(0, [header(IN, 0), 512, 1]);
  guest.start();
  guest.memory.bytes.fill(0, 2 << 20);
  disk.complete();
  assert.equal(guest.memory.bytes.indexOf(0xaa, 2 << 20), -1);
  assert.equal(guest.collect(0).length, 0);
  assert.equal(statusOf(perform(guest, disk, [header(IN, 0), 512, 1])), BLK_S_OK);
});

test('blk: a write from before a reset cannot land on one from after it', () => {
  const { guest, disk } = build();
  guest.start();
  guest.submit(0, [header(OUT, 0), pattern(512, 1), 1]);
  guest.start();
  guest.submit(0, [header(OUT, 0), pattern(512, 2), 1]);
  assert.equal(disk.pending.length, 1, 'the new one waits');
  disk.complete(1);
  assert.equal(disk.pending.length, 1);
  disk.complete(1);
  assert.deepEqual(disk.bytes.subarray(0, 512), pattern(512, 2));
  assert.equal(statusOf(guest.collect(0)[0] as Completion), BLK_S_OK);
});

test('blk: requests in flight are carried out by the machine that takes over', () => {
  const { guest, disk } = build();
  guest.start();
  guest.submit(0, [header(OUT, 9), pattern(1024), 1]);
  guest.submit(1, [header(FLUSH, 0), 1]);
  const saved = structuredClone(guest.transport.device.save());
  disk.dispose();

  const second = build();
  const other = new GuestDriver(second.device, PLAIN_STYLE, guest.memory);
  other.transport.device.load(saved);
  assert.equal(second.disk.pending.length, 0, 'nothing happens before the machine runs');
  second.clock.advance(1);
  while (second.disk.pending.length > 0) {
    second.disk.complete(1);
  }
  assert.equal(statusOf(guest.collect(0)[0] as Completion), BLK_S_OK);
  assert.equal(statusOf(guest.collect(1)[0] as Completion), BLK_S_OK);
  assert.deepEqual(second.disk.bytes.subarray(9 * 512, 11 * 512), pattern(1024));
});

test('blk: a state of a disk of another size is refused', () => {
  const saved = build().guest.transport.device.save();
  const other = build(PLAIN_STYLE, new FakeDisk(DISK_BYTES / 2)).guest.transport.device;
  assert.throws(() => other.load(saved), { name: 'HostError', code: 'bad-state' });
});

function almostRequest(random: Random): (Uint8Array | number)[] {
  const type = random.pick([IN, IN, OUT, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, random.below(20)]);
  const sector = random.chance(1, 8) ? random.u32() * random.u32() : random.below(100);
  const head = header(type, Math.min(sector, Number.MAX_SAFE_INTEGER));
  const length = random.chance(1, 6) ? random.below(5000) : 512 * random.below(6);
  switch (type) {
    case OUT:
      return [head, pattern(length), random.below(3)];
    case DISCARD:
    case WRITE_ZEROES:
      return [head, range(random.below(100), random.below(20), random.below(4)), 1];
    default:
      return [head, length, 1];
  }
}

virtioConformance('blk', () => {
  const { device, clock, disk } = build();
  return {
    device,
    clock,
    buffer: almostRequest,
    stir: (random) => {
      for (const { request } of disk.pending) {
        if ('buffer' in request) {
          assert.ok(request.offset + request.buffer.length <= disk.size && request.buffer.length <= 0x80000);
        }
      }
      disk.complete(random.below(4));
    },
    prove: (guest) => {
      disk.complete();
      assert.equal(statusOf(perform(guest, disk, [header(IN, 0), 512, 1])), BLK_S_OK);
    },
  };
});
