import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeDisk } from '../../testing/fakes.ts';
import { Random } from '../../testing/random.ts';
import { IdeHost } from './ide-host.ts';

function randomDisk(sectors: number, seed = 5): FakeDisk {
  const disk = new FakeDisk(sectors * 512);
  const random = new Random(seed);
  for (let i = 0; i < disk.bytes.length; i++) {
    disk.bytes[i] = random.below(256);
  }
  return disk;
}

function text(words: Uint16Array, first: number, count: number): string {
  let result = '';
  for (let i = first; i < first + count; i++) {
    const word = words[i] ?? 0;
    result += String.fromCharCode(word >> 8, word & 0xff);
  }
  return result.trimEnd();
}

function word(words: Uint16Array, index: number): number {
  return words[index] ?? 0;
}

test('IDENTIFY DEVICE tells size, geometry and names', () => {
  const host = new IdeHost([{ kind: 'disk', backend: new FakeDisk(100_000 * 512), serial: 'S-1' }]);
  host.select(0, 0);
  host.command(0xec);
  assert.equal(host.line.asserted, true);
  assert.equal(host.status(), 0x58);
  assert.equal(host.line.asserted, false, 'reading the status acknowledges');
  const words = host.readWords(256);
  assert.equal(host.status(), 0x50);
  assert.equal(word(words, 60) | (word(words, 61) << 16), 100_000);
  assert.equal(word(words, 100) | (word(words, 101) << 16), 100_000);
  assert.equal(word(words, 1), Math.floor(100_000 / 16 / 63));
  assert.equal(text(words, 10, 10), 'S-1');
  assert.equal(text(words, 27, 20), 'LODGE HARDDISK');
  let sum = 0;
  for (const value of words) {
    sum += (value >> 8) + (value & 0xff);
  }
  assert.equal(sum & 0xff, 0, 'integrity word');
});

test('a big disk reports 48-bit capacity and the 28-bit limit', () => {
  const backend = { ...new FakeDisk(512), size: 512 * 2 ** 33, submit() {}, dispose() {} };
  const host = new IdeHost([{ kind: 'disk', backend }]);
  host.command(0xec);
  const words = host.readWords(256);
  assert.equal(word(words, 60) | (word(words, 61) << 16), 0x0fff_ffff);
  assert.deepEqual([...words.subarray(100, 104)], [0, 0, 2, 0]);
  assert.equal(word(words, 1), 16383);
  host.command(0x27); // READ NATIVE MAX ADDRESS EXT
  assert.equal(host.reg(3), 0xff);
  host.control(0x80);
  assert.deepEqual([host.reg(3), host.reg(4), host.reg(5)], [0xff, 1, 0]);
});

test('empty channels and absent slaves look empty to every way of probing', () => {
  const host = new IdeHost([{ kind: 'disk', backend: new FakeDisk(512 * 100) }]);
  // The absent slave keeps what is written, but shows no status and executes nothing.
  host.select(0, 1);
  host.out(2, 0x55);
  host.out(3, 0xaa);
  assert.equal(host.status(), 0);
  host.command(0xec);
  assert.equal(host.status(), 0);
  assert.equal(host.line.asserted, false);
  // After a soft reset it has no drive's signature.
  host.control(0x06);
  assert.equal(host.altStatus(), 0x80);
  host.control(0x02);
  host.select(0, 1);
  assert.deepEqual([host.reg(4), host.reg(5)], [0xff, 0xff]);
  host.select(0, 0);
  assert.deepEqual([host.reg(1), host.reg(2), host.reg(3), host.reg(4), host.reg(5)], [1, 1, 1, 0, 0]);
  assert.equal(host.status(), 0x50);
  // The secondary channel has nothing at all.
  host.select(1, 0);
  host.out(2, 0x55);
  assert.equal(host.status(), 0);
  assert.equal(host.reg(2), 0);
});

test('READ and WRITE SECTORS move data with one interrupt per sector', () => {
  const disk = randomDisk(1000);
  const host = new IdeHost([{ kind: 'disk', backend: disk }]);
  host.address28(7, 3);
  host.command(0x20);
  assert.equal(host.altStatus() & 0x80, 0x80, 'busy while the image is read');
  disk.complete();
  for (let sector = 7; sector < 10; sector++) {
    assert.equal(host.line.asserted, true);
    assert.equal(host.status(), 0x58);
    assert.deepEqual([host.reg(2), host.reg(3)], [10 - sector, sector], 'the registers follow');
    assert.deepEqual(host.readBytes(512), disk.bytes.slice(sector * 512, sector * 512 + 512));
  }
  assert.equal(host.status(), 0x50);
  assert.equal(host.line.edges, 3);

  host.address28(20, 2);
  host.command(0x30);
  assert.equal(host.line.asserted, false, 'no interrupt before the first block');
  assert.equal(host.status(), 0x58);
  host.writeBytes(new Uint8Array(512).fill(1));
  assert.equal(host.line.asserted, true);
  assert.equal(host.status(), 0x58);
  host.writeBytes(new Uint8Array(512).fill(2));
  assert.equal(host.altStatus() & 0x80, 0x80);
  disk.complete();
  assert.equal(host.status(), 0x50);
  assert.equal(disk.bytes[20 * 512], 1);
  assert.equal(disk.bytes[21 * 512 + 511], 2);
});

test('CHS addresses follow the logical geometry', () => {
  const disk = randomDisk(20_000);
  const host = new IdeHost([{ kind: 'disk', backend: disk }]);
  host.out(2, 1);
  host.out(3, 5); // sector
  host.out(4, 3); // cylinder
  host.out(5, 0);
  host.out(6, 0xa0 | 2); // head
  host.command(0x20);
  disk.complete();
  const lba = (3 * 16 + 2) * 63 + 4;
  assert.deepEqual(host.readBytes(512), disk.bytes.slice(lba * 512, lba * 512 + 512));
  // Sector 0 does not exist.
  host.out(3, 0);
  host.command(0x20);
  assert.equal(host.status(), 0x51);
  assert.equal(host.reg(1), 0x10);
});

test('READ MULTIPLE interrupts once per block, in 32-bit accesses too', () => {
  const disk = randomDisk(2000);
  const host = new IdeHost([{ kind: 'disk', backend: disk }]);
  host.out(2, 8);
  host.command(0xc6);
  assert.equal(host.status(), 0x50);
  const edges = host.line.edges;
  host.address28(100, 20);
  host.command(0xc4);
  disk.complete();
  const bytes: number[] = [];
  for (const sectors of [8, 8, 4]) {
    assert.equal(host.status(), 0x58);
    bytes.push(...host.readBytes(sectors * 512, 4));
  }
  assert.equal(host.status(), 0x50);
  assert.equal(host.line.edges - edges, 3);
  assert.deepEqual(Uint8Array.from(bytes), disk.bytes.slice(100 * 512, 120 * 512));
  host.out(2, 0);
  host.command(0xc6);
  host.address28(0, 1);
  host.command(0xc4);
  assert.equal(host.status(), 0x51, 'READ MULTIPLE is off');
});

test('long PIO transfers pass through the buffer in pieces', () => {
  const disk = randomDisk(1500);
  const host = new IdeHost([{ kind: 'disk', backend: disk }]);
  host.address48(10, 700);
  host.command(0x24);
  const bytes = new Uint8Array(700 * 512);
  for (let i = 0; i < 700; i++) {
    disk.complete();
    assert.equal(host.status(), 0x58);
    bytes.set(host.readBytes(512, 4), i * 512);
  }
  assert.equal(host.status(), 0x50);
  assert.deepEqual(bytes, disk.bytes.slice(10 * 512, 710 * 512));

  host.address48(800, 300);
  host.command(0x34);
  for (let i = 0; i < 300; i++) {
    assert.equal(host.status() & 0x88, 0x08, `sector ${i}`);
    host.writeBytes(new Uint8Array(512).fill(i));
    disk.complete();
  }
  assert.equal(host.status(), 0x50);
  for (let i = 0; i < 300; i++) {
    assert.equal(disk.bytes[(800 + i) * 512 + 17], i & 0xff);
  }
});

test('accesses beyond the end are refused without touching the image', () => {
  const disk = new FakeDisk(100 * 512);
  const host = new IdeHost([{ kind: 'disk', backend: disk }]);
  for (const command of [0x20, 0x30, 0xc8, 0xca, 0x40]) {
    host.address28(99, 2);
    host.command(command);
    assert.equal(host.line.asserted, true);
    assert.equal(host.status(), 0x51);
    assert.equal(host.reg(1), 0x10);
  }
  assert.equal(disk.pending.length, 0);
});

test('host errors become drive errors', () => {
  const disk = new FakeDisk(100 * 512);
  const host = new IdeHost([{ kind: 'disk', backend: disk }]);
  disk.failure = { code: 'io', message: 'EIO' };
  host.address28(5, 1);
  host.command(0x20);
  disk.complete();
  assert.equal(host.status(), 0x51);
  assert.equal(host.reg(1), 0x40, 'uncorrectable');
  assert.equal(host.reg(3), 5, 'the address of the bad sector');
  disk.failure = { code: 'no-space', message: 'ENOSPC' };
  host.command(0x30);
  host.writeBytes(new Uint8Array(512));
  disk.complete();
  assert.equal(host.status(), 0x71, 'device fault');
  disk.failure = undefined;
  host.command(0xe7);
  disk.complete();
  assert.equal(host.status(), 0x50);
});

test('READ DMA and WRITE DMA as a driver does them', () => {
  const disk = randomDisk(1000);
  const host = new IdeHost([{ kind: 'disk', backend: disk }]);
  host.prd(0x1000, [
    [0x10000, 1024],
    [0x20002, 512 * 6],
  ]);
  host.bmWrite(4, 0x1000, 4);
  host.bmWrite(2, 0x06);
  host.bmWrite(0, 0x08);
  host.address28(3, 8);
  host.command(0xc8);
  host.bmWrite(0, 0x09);
  assert.equal(host.bmRead(2) & 5, 1, 'active');
  disk.complete();
  assert.equal(host.line.asserted, true);
  assert.equal(host.bmRead(2) & 5, 4, 'interrupt, no longer active');
  host.bmWrite(0, 0x08);
  assert.equal(host.status(), 0x50);
  const expected = disk.bytes.slice(3 * 512, 11 * 512);
  assert.deepEqual(host.memory.bytes.slice(0x10000, 0x10400), expected.slice(0, 1024));
  assert.deepEqual(host.memory.bytes.slice(0x20002, 0x20002 + 3072), expected.slice(1024));

  host.bmWrite(2, 0x06);
  assert.equal(host.bmRead(2) & 4, 0);
  host.bmWrite(0, 0x00);
  host.address48(900, 8);
  host.command(0x35);
  assert.equal(disk.pending.length, 0, 'waits for the bus master');
  host.bmWrite(0, 0x01);
  disk.complete();
  assert.equal(host.bmRead(2) & 5, 4);
  assert.equal(host.status(), 0x50);
  assert.deepEqual(disk.bytes.slice(900 * 512, 908 * 512), expected);
});

test('a 1 MiB DMA transfer and one whose table is too short', () => {
  const disk = randomDisk(4096);
  const host = new IdeHost([{ kind: 'disk', backend: disk }], 4 << 20);
  host.prd(
    0x1000,
    Array.from({ length: 16 }, (_, i) => [0x100000 + i * 65536, 65536] as [number, number]),
  );
  host.dma(0x1000, true, () => {
    host.address48(0, 2048);
    host.command(0x25);
  });
  while (disk.pending.length > 0) {
    disk.complete(1);
  }
  assert.equal(host.bmRead(2) & 5, 4);
  assert.deepEqual(host.memory.bytes.slice(0x100000, 0x200000), disk.bytes.slice(0, 1 << 20));

  host.prd(0x1000, [[0x10000, 512]]);
  host.dma(0x1000, true, () => {
    host.address28(0, 2);
    host.command(0xc8);
  });
  disk.complete();
  assert.equal(host.bmRead(2) & 5, 0, 'stopped without an interrupt');
  assert.equal(host.altStatus() & 8, 8, 'the drive waits');
  host.prd(0x1000, [[0x10200, 512]]);
  host.bmWrite(0, 0x08);
  host.bmWrite(0, 0x09);
  assert.equal(host.bmRead(2) & 5, 4, 'and goes on with a new table');
  assert.deepEqual(host.memory.bytes.slice(0x10000, 0x10400), disk.bytes.slice(0, 1024));
});

test('nothing moves without the bus master bit', () => {
  const disk = randomDisk(10);
  const host = new IdeHost([{ kind: 'disk', backend: disk }]);
  host.device.pci.writeConfig(4, 2, 1);
  host.prd(0x1000, [[0x10000, 512]]);
  host.dma(0x1000, true, () => {
    host.address28(0, 1);
    host.command(0xc8);
  });
  disk.complete();
  assert.equal(host.memory.bytes[0x10000], 0);
  host.device.pci.writeConfig(4, 2, 5);
  assert.equal(host.memory.bytes[0x10000], disk.bytes[0]);
});

test('nIEN holds the interrupt back, SRST ends what is under way', () => {
  const disk = randomDisk(10);
  const host = new IdeHost([{ kind: 'disk', backend: disk }]);
  host.control(0x02);
  host.address28(0, 1);
  host.command(0x20);
  disk.complete();
  assert.equal(host.line.asserted, false);
  host.control(0x00);
  assert.equal(host.line.asserted, true);
  host.command(0x40);
  assert.equal(host.altStatus(), 0x58, 'commands are ignored while DRQ is set');
  host.address28(0, 2);
  host.control(0x04);
  host.control(0x00);
  host.address28(0, 2);
  host.command(0x20);
  host.control(0x04);
  host.control(0x00);
  disk.complete();
  assert.equal(host.status(), 0x50, 'the old read is forgotten');
  assert.equal(host.line.asserted, false);
});

test('features, power, geometry and other small commands', () => {
  const disk = new FakeDisk(10_000 * 512);
  const host = new IdeHost([{ kind: 'disk', backend: disk }]);
  const run = (command: number, registers: { [register: number]: number } = {}) => {
    for (const [register, value] of Object.entries(registers)) {
      host.out(Number(register), value);
    }
    host.command(command);
    disk.complete();
    return host.status();
  };
  assert.equal(run(0xef, { 1: 3, 2: 0x22 }), 0x50);
  assert.equal(run(0xef, { 1: 3, 2: 0x47 }), 0x51);
  host.command(0xec);
  let words = host.readWords(256);
  assert.equal(word(words, 63), 0x0407);
  assert.equal(word(words, 88), 0x003f);
  assert.equal(run(0xef, { 1: 0x82 }), 0x50);
  assert.equal(run(0xe5), 0x50);
  assert.equal(host.reg(2), 0xff);
  assert.equal(run(0xe0), 0x50);
  assert.equal(run(0xe5), 0x50);
  assert.equal(host.reg(2), 0);
  assert.equal(run(0x91, { 2: 17, 6: 0xa3 }), 0x50);
  host.command(0xec);
  words = host.readWords(256);
  assert.equal(word(words, 55), 4);
  assert.equal(word(words, 56), 17);
  assert.equal(word(words, 85) & 0x20, 0, 'write cache off');
  assert.equal(run(0xb0, { 1: 0xda, 4: 0x4f, 5: 0xc2 }), 0x50);
  assert.deepEqual([host.reg(4), host.reg(5)], [0x4f, 0xc2]);
  assert.equal(run(0x00), 0x51);
  assert.equal(host.reg(1), 4);
  assert.equal(run(0x90), 0x50);
  assert.equal(host.reg(1), 1);
  assert.equal(run(0x10), 0x50);
  assert.equal(run(0xa1), 0x51, 'a disk is no packet device');
});

test('activity is reported', () => {
  const disk = new FakeDisk(10 * 512);
  const seen: string[] = [];
  const host = new IdeHost([{ kind: 'disk', backend: disk, onActivity: (kind) => seen.push(kind) }]);
  host.address28(0, 1);
  host.command(0x20);
  disk.complete();
  host.readBytes(512);
  host.command(0x30);
  host.address28(0, 1);
  host.command(0x30);
  host.writeBytes(new Uint8Array(512));
  assert.deepEqual(seen, ['read', 'write']);
});

test('requests in flight survive being saved and loaded elsewhere', () => {
  const disk = randomDisk(100);
  const host = new IdeHost([{ kind: 'disk', backend: disk }]);
  host.address28(4, 2);
  host.command(0x20);
  const readState = structuredClone(host.device.save());

  const copy = randomDisk(100);
  const other = new IdeHost([{ kind: 'disk', backend: copy }]);
  other.device.load(readState);
  assert.equal(copy.pending.length, 1);
  copy.complete();
  assert.equal(other.line.asserted, true);
  assert.deepEqual(other.readBytes(512), copy.bytes.slice(4 * 512, 5 * 512));
  // In the middle of the data.
  const third = new IdeHost([{ kind: 'disk', backend: copy }]);
  third.device.load(structuredClone(other.device.save()));
  assert.deepEqual(third.readBytes(512), copy.bytes.slice(5 * 512, 6 * 512));

  disk.complete();
  host.readBytes(1024);
  host.address28(50, 1);
  host.command(0x30);
  host.writeBytes(new Uint8Array(512).fill(0x77));
  other.device.load(structuredClone(host.device.save()));
  copy.complete();
  assert.equal(copy.bytes[50 * 512], 0x77);
  assert.equal(other.status(), 0x50);
});

test('a saved state that does not fit the drives is refused', () => {
  const host = new IdeHost([{ kind: 'disk', backend: new FakeDisk(100 * 512) }]);
  host.address28(90, 5);
  host.command(0x20);
  const state = structuredClone(host.device.save());
  const small = new IdeHost([{ kind: 'disk', backend: new FakeDisk(50 * 512) }]);
  assert.throws(() => small.device.load(state), { code: 'bad-state' });
  const none = new IdeHost([]);
  assert.throws(() => none.device.load(state), { code: 'bad-state' });
});

test('the PCI function is the PIIX3 one and its bus master moves with BAR 4', () => {
  const host = new IdeHost([]);
  const { pci } = host.device;
  assert.equal(pci.readConfig(0, 4), 0x70108086);
  assert.equal(pci.readConfig(8, 4), 0x01018000);
  assert.equal(pci.readConfig(0x40, 2) & 0x8000, 0x8000);
  pci.writeConfig(0x20, 4, 0xffffffff);
  assert.equal(pci.readConfig(0x20, 4), 0xfffffff1);
});

const fuzzDrives = () => {
  const disk = randomDisk(64, 1);
  const small = new FakeDisk(40 * 512);
  const cd = new FakeDisk(30 * 2048 + 512, true);
  return [disk, small, cd] as const;
};

function fuzzHost() {
  const [disk, small, cd] = fuzzDrives();
  const host = new IdeHost(
    [
      { kind: 'disk', backend: disk },
      { kind: 'cdrom', backend: cd },
      { kind: 'cdrom' },
      { kind: 'disk', backend: small },
    ],
    1 << 18,
  );
  const disks = [disk, small, cd];
  const poke = (random: Random) => {
    const channel = random.below(2);
    const commands = host.device.commandBlocks[channel === 0 ? 0 : 1];
    switch (random.below(14)) {
      case 0:
      case 1:
        commands.readPort(random.below(8), random.pick([1, 2, 4] as const));
        break;
      case 2:
        commands.writePort(random.below(8), random.pick([1, 2, 4] as const), random.u32());
        break;
      case 3:
        for (let register = 1; register < 6; register++) {
          commands.writePort(register, 1, random.pick([0, 0, 1, 2, 9, random.below(256)]));
        }
        commands.writePort(6, 1, random.pick([0x40, 0x50, 0xe0, 0xf0, random.below(256)]));
        break;
      case 4:
      case 5:
        commands.writePort(
          7,
          1,
          random.pick([
            0x20,
            0x30,
            0x24,
            0x34,
            0xc4,
            0xc5,
            0xc8,
            0xca,
            0x25,
            0x35,
            0xec,
            0xa1,
            0xe7,
            0xa0,
            0xa0,
            0xa0,
            0xa0,
            0x90,
            0x08,
            random.below(256),
          ]),
        );
        break;
      case 6: {
        // A packet, should the drive wait for one.
        const opcodes = [
          0x28, 0xa8, 0xbe, 0xb9, 0x43, 0x46, 0x4a, 0x5a, 0x1a, 0x55, 0x03, 0x12, 0x51, 0x52, 0x42, 0xad, 0x1b, 0x1e,
        ];
        commands.writePort(0, 2, random.pick([...opcodes, random.below(256)]) | (random.below(256) << 8));
        for (let i = 0; i < 5; i++) {
          commands.writePort(0, 2, random.pick([0, 0, 0x0100, 0x0400, 0xf810, random.below(65536)]));
        }
        break;
      }
      case 7:
        for (let i = random.below(600); i > 0; i--) {
          commands.readPort(0, random.pick([2, 4] as const));
        }
        break;
      case 8:
        for (let i = random.below(600); i > 0; i--) {
          commands.writePort(0, random.pick([2, 4] as const), random.u32());
        }
        break;
      case 9:
        host.device.controlBlocks[channel === 0 ? 0 : 1].writePort(
          0,
          1,
          random.pick([0, 2, 4, 0x80, random.below(256)]),
        );
        break;
      case 10:
        host.busMaster.writePort(random.below(16), random.pick([1, 2, 4] as const), random.u32());
        break;
      case 11: {
        // A short table of random regions, and the engine running.
        for (let i = 0; i < 4; i++) {
          host.memory.writeU32(0x100 + i * 8, random.pick([0x2000, 0x3fff0, random.u32()]));
          host.memory.writeU32(0x104 + i * 8, random.pick([512, 0x80000200, 2, 0, random.u32()]));
        }
        host.busMaster.writePort(channel * 8 + 4, 4, 0x100);
        host.busMaster.writePort(channel * 8, 1, random.pick([0, 1, 8, 9]));
        break;
      }
      case 12:
        for (const backend of disks) {
          backend.failure = random.chance(1, 6) ? { code: 'io', message: 'EIO' } : undefined;
          checkRequests(backend);
          backend.complete(random.below(3));
        }
        break;
      default:
        host.device.pci.writeConfig(random.below(252), random.pick([1, 2, 4] as const), random.u32());
        host.device.pci.writeConfig(4, 1, 5);
        break;
    }
  };
  return { host, disks, poke };
}

/** No request may reach outside its image, whatever the guest does. */
function checkRequests(disk: FakeDisk): void {
  for (const { request } of disk.pending) {
    if (request.kind === 'read' || request.kind === 'write') {
      assert.ok(request.offset >= 0 && request.offset % 512 === 0 && request.buffer.length % 512 === 0);
      assert.ok(request.buffer.length > 0 && request.offset + request.buffer.length <= disk.size);
      assert.ok(request.kind === 'read' || !disk.readOnly, 'a write to a read-only medium');
    }
  }
}

deviceConformance('ide', () => {
  const { host, poke } = fuzzHost();
  return { device: host.device, clock: new ManualClock(), poke };
});

test('fuzz: random commands, packets and tables never throw nor leave the image', () => {
  for (let seed = 1; seed <= 8; seed++) {
    const random = new Random(seed * 1000);
    const { host, disks, poke } = fuzzHost();
    for (let i = 0; i < 4000; i++) {
      poke(random);
      if (random.chance(1, 400)) {
        const cdrom = host.device.cdrom(random.pick([1, 2]));
        const medium = disks[2];
        if (random.chance(1, 2)) {
          cdrom?.eject({ force: random.chance(1, 2) });
        } else if (medium !== undefined) {
          cdrom?.insert(medium);
        }
      }
      for (const disk of disks) {
        checkRequests(disk);
      }
      if (i % 50 === 0) {
        // Whatever the guest has done, its state can be saved and taken over elsewhere.
        const saved = structuredClone(host.device.save());
        const other = fuzzHost().host;
        if (host.device.cdrom(1)?.medium === undefined) {
          other.device.cdrom(1)?.eject({ force: true });
        }
        other.device.load(saved);
        assert.deepEqual(other.device.save(), saved);
        other.device.dispose();
      }
    }
    host.device.dispose();
  }
});
