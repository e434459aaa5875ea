import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { FakeDisk } from '../../testing/fakes.ts';
import type { Random } from '../../testing/random.ts';
import { DRIVER_STYLES, type DriverStyle, GuestDriver, PLAIN_STYLE, styleName } from '../testing/guest-driver.ts';
import { virtioConformance } from '../testing/virtio-suite.ts';
import { ScsiCdrom } from './scsi-cdrom.ts';
import { ScsiDisk } from './scsi-disk.ts';
import { VirtioScsi } from './virtio-scsi.ts';

const REQUESTS = 2;
const DISK_BYTES = 2 << 20;
const CD_BYTES = 2048 * 400;
const RESPONSE = 108;

function build(style: DriverStyle = PLAIN_STYLE, queues = 2) {
  const clock = new ManualClock();
  const disk = new FakeDisk(DISK_BYTES);
  const second = new FakeDisk(DISK_BYTES / 2, true);
  const disc = new FakeDisk(CD_BYTES, true);
  const device = new VirtioScsi(clock, { queues });
  const cdrom = new ScsiCdrom(disc, 'CD-1');
  device.plug(0, 0, new ScsiDisk(disk, 'DISK-1'));
  device.plug(0, 3, new ScsiDisk(second, 'DISK-2'));
  device.plug(5, 0, cdrom);
  const guest = new GuestDriver(device, style);
  return { clock, disk, second, disc, cdrom, device, guest, disks: [disk, second, disc] };
}

let nextTag = 1n;

function request(cdb: readonly number[], target = 0, lun = 0): Uint8Array {
  const bytes = new Uint8Array(19 + 32);
  bytes.set([1, target, 0x40 | (lun >> 8), lun & 0xff]);
  new DataView(bytes.buffer).setBigUint64(8, nextTag++, true);
  bytes.set(cdb, 19);
  return bytes;
}

interface Answer {
  readonly response: number;
  readonly status: number;
  readonly residue: number;
  /** Sense key, and additional sense code with its qualifier. */
  readonly sense: readonly [key: number, asc: number] | undefined;
  readonly data: Uint8Array;
  readonly length: number;
}

type Built = Pick<ReturnType<typeof build>, 'guest' | 'disks'>;

function finish({ guest, disks }: Built, queue: number): Answer {
  for (let busy = true; busy; ) {
    busy = false;
    for (const disk of disks) {
      busy ||= disk.pending.length > 0;
      disk.complete(1);
    }
  }
  const [completion] = guest.collect(queue);
  assert.ok(completion !== undefined, 'no answer');
  const { data, length } = completion;
  const view = new DataView(data.buffer);
  const senseLength = view.getUint32(0, true);
  return {
    response: data[11] ?? 99,
    status: data[10] ?? 99,
    residue: view.getUint32(4, true),
    sense: senseLength === 0 ? undefined : [(data[14] ?? 0) & 15, view.getUint16(24)],
    data: data.subarray(RESPONSE, Math.max(RESPONSE, length)),
    length,
  };
}

function command(
  built: Built,
  cdb: readonly number[],
  options: { out?: Uint8Array; room?: number; target?: number; lun?: number; queue?: number } = {},
): Answer {
  const { out, room, target = 0, lun = 0, queue = REQUESTS } = options;
  const segments: (Uint8Array | number)[] = [request(cdb, target, lun)];
  if (out !== undefined) {
    segments.push(out);
  }
  segments.push(RESPONSE);
  if (room !== undefined) {
    segments.push(room);
  }
  built.guest.submit(queue, segments);
  return finish(built, queue);
}

/** Past the unit attention of power-on. */
function ready(built: ReturnType<typeof build>): ReturnType<typeof build> {
  built.guest.start();
  for (const [target, lun] of [
    [0, 0],
    [0, 3],
    [5, 0],
  ] as const) {
    assert.deepEqual(command(built, [0], { target, lun }).sense, [6, 0x2900]);
    assert.equal(command(built, [0], { target, lun }).status, 0);
  }
  return built;
}

const be16 = (value: number) => [value >> 8, value & 0xff];
const be32 = (value: number) => [...be16(value >>> 16), ...be16(value & 0xffff)];
const read10 = (lba: number, blocks: number) => [0x28, 0, ...be32(lba), 0, ...be16(blocks), 0];
const write10 = (lba: number, blocks: number) => [0x2a, 0, ...be32(lba), 0, ...be16(blocks), 0];
const pattern = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * 3 + seed + (i >> 9)) & 0xff);
const ascii = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

for (const style of DRIVER_STYLES) {
  test(`scsi, ${styleName(style)}: what is written is read back, by commands of every length`, () => {
    const built = ready(build(style));
    const data = pattern(4096);
    assert.equal(command(built, write10(10, 8), { out: data }).status, 0);
    assert.deepEqual(built.disk.bytes.subarray(5120, 5120 + 4096), data);
    const reads: number[][] = [
      [0x08, 0, 0, 10, 8, 0],
      read10(10, 8),
      [0xa8, 0, ...be32(10), ...be32(8), 0, 0],
      [0x88, 0, ...be32(0), ...be32(10), ...be32(8), 0, 0],
    ];
    for (const cdb of reads) {
      const answer = command(built, cdb, { room: 4096, queue: REQUESTS + 1 });
      assert.equal(answer.status, 0);
      assert.equal(answer.length, RESPONSE + 4096);
      assert.equal(answer.residue, 0);
      assert.deepEqual(answer.data, data);
    }
  });
}

test('scsi: units tell what they are', () => {
  const built = ready(build());
  const disk = command(built, [0x12, 0, 0, 0, 96, 0], { room: 96 });
  assert.equal(disk.data[0], 0);
  assert.equal(ascii(disk.data.subarray(8, 32)), 'LODGE   LODGE HARDDISK  ');
  assert.equal(disk.residue, 60);
  const cd = command(built, [0x12, 0, 0, 0, 96, 0], { room: 96, target: 5 });
  assert.deepEqual([...cd.data.subarray(0, 2)], [5, 0x80]);
  const serial = command(built, [0x12, 1, 0x80, 0, 96, 0], { room: 96, lun: 3 });
  assert.equal(ascii(serial.data.subarray(4)), 'DISK-2');
  const pages = command(built, [0x12, 1, 0, 0, 96, 0], { room: 96 });
  assert.deepEqual([...pages.data.subarray(4)], [0, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
  const nobody = command(built, [0x12, 0, 0, 0, 96, 0], { room: 96, lun: 1 });
  assert.equal(nobody.data[0], 0x7f);
  assert.deepEqual(command(built, [0x12, 1, 0x99, 0, 96, 0], { room: 96 }).sense, [5, 0x2400]);
});

test('scsi: targets and units that do not exist', () => {
  const built = ready(build());
  assert.equal(command(built, [0], { target: 9 }).response, 3);
  assert.deepEqual(command(built, [0], { lun: 1 }).sense, [5, 0x2500]);
  const luns = command(built, [0xa0, 0, 0, 0, 0, 0, ...be32(64), 0, 0], { room: 64 });
  assert.deepEqual([...luns.data], [0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0]);
});

test('scsi: sizes', () => {
  const built = ready(build());
  assert.deepEqual([...command(built, [0x25], { room: 8 }).data], [...be32(DISK_BYTES / 512 - 1), ...be32(512)]);
  const long = command(built, [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, ...be32(32)], { room: 32 });
  assert.equal(new DataView(long.data.slice().buffer).getBigUint64(0), BigInt(DISK_BYTES / 512 - 1));
  assert.equal(long.data[14], 0x80, 'can be trimmed');
  assert.deepEqual([...command(built, [0x25], { room: 8, target: 5 }).data], [...be32(399), ...be32(2048)]);
});

test('scsi: errors of the driver, of the medium and of the host', () => {
  const built = ready(build());
  const last = DISK_BYTES / 512;
  assert.deepEqual(command(built, read10(last, 1), { room: 512 }).sense, [5, 0x2100]);
  assert.deepEqual(command(built, [0xff], {}).sense, [5, 0x2000]);
  assert.equal(command(built, read10(0, 2), { room: 512 }).response, 1, 'more data than room');
  assert.equal(command(built, write10(0, 2), { out: pattern(512) }).response, 1);
  assert.deepEqual(command(built, write10(0, 1), { out: pattern(512), lun: 3 }).sense, [7, 0x2700]);
  built.disk.failure = { code: 'io', message: 'broken' };
  assert.deepEqual(command(built, read10(0, 1), { room: 512 }).sense, [3, 0x1100]);
  assert.deepEqual(command(built, write10(0, 1), { out: pattern(512) }).sense, [3, 0x0c00]);
  built.disk.failure = { code: 'no-space', message: 'full' };
  assert.deepEqual(command(built, write10(0, 1), { out: pattern(512) }).sense, [7, 0x2707]);
});

test('scsi: flush, write through, trim and write same', () => {
  const built = ready(build());
  const { guest, disk } = built;
  const kinds = (cdb: number[], out?: Uint8Array) => {
    guest.submit(REQUESTS, out === undefined ? [request(cdb), RESPONSE] : [request(cdb), out, RESPONSE]);
    const seen: unknown[] = [];
    while (disk.pending.length > 0) {
      const entry = disk.pending[0]?.request;
      seen.push(entry?.kind === 'write' ? 'write' : entry);
      disk.complete(1);
    }
    assert.equal(finish(built, REQUESTS).status, 0);
    return seen;
  };
  assert.deepEqual(kinds([0x35]), [{ kind: 'flush' }]);
  const forced = write10(0, 1);
  forced[1] = 8;
  assert.deepEqual(kinds(forced, pattern(512)), ['write', { kind: 'flush' }]);
  const list = Uint8Array.from([...be16(38), ...be16(32), ...be32(0), ...be32(0), ...be32(8), ...be32(16), ...be32(0)]);
  const ranges = Uint8Array.from([...list, ...be32(0), ...be32(64), ...be32(8), ...be32(0)]);
  assert.deepEqual(kinds([0x42, 0, 0, 0, 0, 0, 0, ...be16(ranges.length), 0], ranges), [
    { kind: 'discard', offset: 4096, length: 8192 },
    { kind: 'discard', offset: 32768, length: 4096 },
  ]);
  const same = (flags: number) => [0x93, flags, ...be32(0), ...be32(4), ...be32(8), 0, 0];
  assert.deepEqual(kinds(same(8), new Uint8Array(512)), [
    { kind: 'write-zeroes', offset: 2048, length: 4096, mayUnmap: true },
  ]);
  assert.deepEqual(kinds(same(0), pattern(512, 5)), ['write']);
  assert.deepEqual(disk.bytes.subarray(2048 + 3584, 2048 + 4096), pattern(512, 5));
});

test('scsi: mode pages tell of cache and write protection', () => {
  const built = ready(build());
  const caching = command(built, [0x1a, 8, 8, 0, 64, 0], { room: 64 });
  assert.equal(caching.data[4], 8);
  assert.equal((caching.data[6] ?? 0) & 4, 4, 'write cache');
  assert.equal(command(built, [0x1a, 8, 0x3f, 0, 64, 0], { room: 64, lun: 3 }).data[2], 0x90);
});

test('scsi: a CD-ROM drive whose medium changes', () => {
  const built = ready(build());
  const { cdrom, disc } = built;
  disc.bytes.set(pattern(4096), 2048 * 7);
  assert.deepEqual(command(built, read10(7, 2), { room: 4096, target: 5 }).data, pattern(4096));
  assert.deepEqual(command(built, read10(399, 2), { room: 4096, target: 5 }).sense, [5, 0x2100]);
  assert.equal(command(built, [0x1e, 0, 0, 0, 1, 0], { target: 5 }).status, 0);
  assert.equal(cdrom.eject(), false, 'locked');
  const event = command(built, [0x4a, 1, 0, 0, 0x10, 0, 0, ...be16(8), 0], { room: 8, target: 5 });
  assert.equal(event.data[4], 1, 'the wish to eject');
  assert.equal(command(built, [0x1e, 0, 0, 0, 0, 0], { target: 5 }).status, 0);
  assert.equal(cdrom.eject(), true);
  assert.deepEqual(command(built, [0], { target: 5 }).sense, [2, 0x3a02]);
  cdrom.insert(new FakeDisk(2048 * 10, true));
  assert.deepEqual(command(built, [0], { target: 5 }).sense, [6, 0x2800]);
  assert.deepEqual([...command(built, [0x25], { room: 8, target: 5 }).data.subarray(0, 4)], be32(9));
  assert.equal(command(built, [0x43, 0, 0, 0, 0, 0, 0, ...be16(20), 0], { room: 20, target: 5 }).data[2], 1);
});

test('scsi: units come and go while the guest runs', () => {
  const built = ready(build());
  const { device, guest } = built;
  guest.submit(1, [16]);
  guest.submit(1, [16]);
  device.plug(7, 0, new ScsiDisk(new FakeDisk(1 << 20), 'NEW'));
  device.unplug(7, 0);
  const events = guest.collect(1).map(({ data }) => [...data]);
  assert.deepEqual(events, [
    [1, 0, 0, 0, 1, 7, 0x40, 0, 0, 0, 0, 0, 1, 0, 0, 0],
    [1, 0, 0, 0, 1, 7, 0x40, 0, 0, 0, 0, 0, 2, 0, 0, 0],
  ]);
  assert.equal(command(built, [0], { target: 7 }).response, 3);
  for (let i = 0; i < 20; i++) {
    device.changed(5, 0, 0x2a09);
  }
  guest.submit(1, [16]);
  const [missed] = guest.collect(1);
  assert.deepEqual([...(missed?.data ?? [])], [3, 0, 0, 0x80, 1, 5, 0x40, 0, 0, 0, 0, 0, 0x2a, 9, 0, 0]);
});

test('scsi: task management ends what is under way, and nothing overtakes it', () => {
  const built = ready(build());
  const { guest, disk } = built;
  const manage = (kind: number, lun = 0, tag = 0n) => {
    const bytes = new Uint8Array(24);
    const view = new DataView(bytes.buffer);
    view.setUint32(4, kind, true);
    bytes.set([1, 0, 0x40, lun], 8);
    view.setBigUint64(16, tag, true);
    return guest.request(0, [bytes, 1]).data[0];
  };
  guest.submit(REQUESTS, [request(write10(0, 1)), pattern(512, 1), RESPONSE]);
  const tag = nextTag - 1n;
  assert.equal(manage(6, 0, tag), 10, 'the task is there');
  assert.equal(manage(0, 0, tag), 0, 'aborted');
  const [aborted] = guest.collect(REQUESTS);
  assert.equal(aborted?.data[11], 2);
  assert.equal(manage(6, 0, tag), 0, 'the task is gone');
  guest.submit(REQUESTS, [request(write10(0, 1)), pattern(512, 2), RESPONSE]);
  assert.equal(disk.pending.length, 1, 'the new write waits for the old one');
  assert.equal(finish(built, REQUESTS).status, 0);
  assert.deepEqual(disk.bytes.subarray(0, 512), pattern(512, 2));
  assert.equal(manage(5), 0, 'reset');
  assert.deepEqual(command(built, [0]).sense, [6, 0x2900]);
  assert.equal(manage(5, 1), 12);
  assert.equal(manage(77), 11);
});

test('scsi: the driver chooses the length of commands and sense data', () => {
  const built = build();
  built.guest.start();
  built.guest.transport.writeConfig(20, 4, 18);
  built.guest.transport.writeConfig(24, 4, 16);
  built.guest.submit(REQUESTS, [request([0]).subarray(0, 19 + 16), 12 + 18]);
  const [answer] = built.guest.collect(REQUESTS);
  assert.equal(answer?.length, 30);
  assert.equal(answer.data[12 + 12], 0x29);
  built.guest.transport.writeConfig(20, 4, 100_000);
  assert.equal(built.guest.transport.readConfig(20, 4), 18);
});

test('scsi: requests in flight are carried out by the machine that takes over', () => {
  const first = ready(build());
  first.guest.submit(REQUESTS, [request(write10(9, 1)), pattern(512), RESPONSE]);
  const saved = structuredClone(first.guest.transport.device.save());
  const second = build();
  const other = new GuestDriver(second.device, PLAIN_STYLE, first.guest.memory);
  other.transport.device.load(saved);
  second.clock.advance(1);
  const answer = finish({ guest: first.guest, disks: second.disks }, REQUESTS);
  assert.equal(answer.status, 0);
  assert.deepEqual(second.disk.bytes.subarray(9 * 512, 10 * 512), pattern(512));
});

virtioConformance(
  'scsi',
  () => {
    const built = build();
    return {
      device: built.device,
      clock: built.clock,
      buffer: (random: Random, queue) => {
        if (queue === 0) {
          const bytes = new Uint8Array(24);
          bytes[0] = random.below(4);
          bytes[4] = random.below(9);
          bytes.set([1, random.pick([0, 5, 9]), 0x40, random.pick([0, 3, 1])], 8);
          bytes[16] = random.below(50);
          return [bytes, random.below(8)];
        }
        if (queue === 1) {
          return [random.below(20)];
        }
        const opcodes = [
          ...[
            0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x2f, 0x35, 0x41, 0x42, 0x43, 0x46,
          ],
          ...[0x4a, 0x51, 0x5a, 0x88, 0x8a, 0x93, 0x9e, 0xa0, 0xa8, 0xad, 0xbd, random.below(256)],
        ];
        const cdb = Array.from({ length: 16 }, () => (random.chance(3, 4) ? random.below(4) : random.below(256)));
        cdb[0] = random.pick(opcodes);
        const head = request(cdb, random.pick([0, 0, 5, 9]), random.pick([0, 0, 3, 1]));
        return random.chance(1, 2)
          ? [head, pattern(random.below(2000)), RESPONSE]
          : [head, RESPONSE, random.below(4000)];
      },
      stir: (random) => {
        for (const disk of built.disks) {
          for (const { request: pending } of disk.pending) {
            if ('buffer' in pending) {
              assert.ok(pending.offset + pending.buffer.length <= disk.size);
              assert.ok(pending.kind === 'read' || !disk.readOnly);
            }
          }
          disk.complete(random.below(3));
        }
      },
      prove: (guest) => {
        const rebuilt = { guest, disks: built.disks };
        command(rebuilt, [0]);
        assert.equal(command(rebuilt, read10(0, 1), { room: 512 }).status, 0);
      },
    };
  },
  5,
);
