import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeDisk, FakeLine } from '../../testing/fakes.ts';
import { Random } from '../../testing/random.ts';
import type { DmaChannel, DmaProgress } from '../dma/dma-channel.ts';
import { FloppyController } from './floppy-controller.ts';
import type { FloppyDriveConfig } from './floppy-drive.ts';

/** A DMA channel over a plain buffer. */
class FakeDma implements DmaChannel {
  ready = false;
  memory: Uint8Array = new Uint8Array(0);
  position = 0;
  toMemory = true;

  program(memory: Uint8Array, toMemory: boolean): void {
    this.memory = memory;
    this.position = 0;
    this.toMemory = toMemory;
    this.ready = true;
  }

  get remaining(): number {
    return this.memory.length - this.position;
  }

  transferToMemory(bytes: Uint8Array): DmaProgress {
    return this.#move(bytes, true);
  }

  transferFromMemory(into: Uint8Array): DmaProgress {
    return this.#move(into, false);
  }

  #move(bytes: Uint8Array, toMemory: boolean): DmaProgress {
    if (!this.ready || toMemory !== this.toMemory) {
      return { transferred: 0, terminalCount: false };
    }
    const count = Math.min(bytes.length, this.remaining);
    if (toMemory) {
      this.memory.set(bytes.subarray(0, count), this.position);
    } else {
      bytes.set(this.memory.subarray(this.position, this.position + count));
    }
    this.position += count;
    this.ready = this.remaining > 0;
    return { transferred: count, terminalCount: this.remaining === 0 };
  }

  request(): void {}
}

const DIGITAL_OUTPUT = 2;
const STATUS = 4;
const FIFO = 5;

class Host {
  readonly clock = new ManualClock();
  readonly line = new FakeLine();
  readonly dma = new FakeDma();
  readonly device: FloppyController;

  constructor(drives: readonly (FloppyDriveConfig | undefined)[]) {
    this.device = new FloppyController('floppy', { line: this.line, dma: this.dma, clock: this.clock }, { drives });
  }

  out(register: number, value: number): void {
    this.device.ports.writePort(register, 1, value);
  }

  in(register: number): number {
    return this.device.ports.readPort(register, 1);
  }

  /** Resets the controller as a BIOS does, at 500 kbit/s, and takes the four reports. */
  start(): this {
    this.out(DIGITAL_OUTPUT, 0x00);
    this.out(DIGITAL_OUTPUT, 0x1c);
    this.clock.advance(1_000_000);
    assert.equal(this.line.asserted, true);
    for (let drive = 0; drive < 4; drive++) {
      assert.deepEqual(this.command([0x08]), [0xc0 | drive, 0]);
    }
    assert.equal(this.line.asserted, false);
    this.device.inputPort.writePort(0, 1, 0);
    this.command([0x03, 0xaf, 0x02]);
    return this;
  }

  /** Writes the bytes of a command and reads its immediate result. */
  command(bytes: readonly number[]): number[] {
    for (const byte of bytes) {
      assert.equal(this.in(STATUS) & 0xc0, 0x80, 'ready for a command byte');
      this.out(FIFO, byte);
    }
    return this.result();
  }

  result(): number[] {
    const result: number[] = [];
    while ((this.in(STATUS) & 0xd0) === 0xd0) {
      result.push(this.in(FIFO));
    }
    return result;
  }

  /** Lets a command with an execution phase finish. */
  finish(disk?: FakeDisk): number[] {
    for (let i = 0; i < 100 && !this.line.asserted; i++) {
      this.clock.advance(1_000_000);
      disk?.complete();
    }
    assert.equal(this.line.asserted, true, 'the interrupt of the result');
    const result = this.result();
    assert.equal(this.line.asserted, false);
    return result;
  }

  seek(drive: number, cylinder: number): void {
    this.command([0x0f, drive, cylinder]);
    assert.equal(this.in(STATUS) & 0x0f, 1 << drive);
    this.clock.advance(100_000_000);
    assert.deepEqual(this.command([0x08]), [0x20 | drive, cylinder]);
  }
}

function patternDisk(bytes: number, readOnly = false): FakeDisk {
  const disk = new FakeDisk(bytes, readOnly);
  for (let i = 0; i < bytes; i++) {
    disk.bytes[i] = (i >> 9) * 31 + (i & 0xff);
  }
  return disk;
}

const SIZE_144 = 1474560;

function sectors(disk: FakeDisk, first: number, count: number): Uint8Array {
  return disk.bytes.slice(first * 512, (first + count) * 512);
}

test('READ DATA by DMA ends with terminal count', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  host.seek(0, 3);
  host.dma.program(new Uint8Array(4 * 512), true);
  host.command([0xe6, 0x04, 3, 1, 5, 2, 18, 0x1b, 0xff]);
  assert.equal(host.in(STATUS), 0x10, 'busy, nothing for the host to do');
  assert.deepEqual(host.finish(disk), [0x04, 0, 0, 3, 1, 9, 2]);
  assert.deepEqual(host.dma.memory, sectors(disk, (3 * 2 + 1) * 18 + 4, 4));
  assert.equal(host.in(STATUS), 0x80);
});

test('a multi-track read goes on with the other side', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  host.seek(0, 79);
  host.dma.program(new Uint8Array(36 * 512), true);
  host.command([0xe6, 0, 79, 0, 1, 2, 18, 0x1b, 0xff]);
  assert.deepEqual(host.finish(disk), [0x04, 0, 0, 80, 0, 1, 2]);
  assert.deepEqual(host.dma.memory, sectors(disk, 79 * 36, 36));
});

test('without terminal count the end of the track is an error', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  host.seek(0, 0);
  host.dma.program(new Uint8Array(20 * 512), true);
  host.command([0x46, 0, 0, 0, 17, 2, 18, 0x1b, 0xff]);
  assert.deepEqual(host.finish(disk), [0x40, 0x80, 0, 1, 0, 1, 2]);
});

test('WRITE DATA by DMA, the rest of the last sector as zeros', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  host.seek(0, 1);
  host.dma.program(new Uint8Array(700).fill(0x5a), false);
  host.command([0xc5, 0, 1, 0, 18, 2, 18, 0x1b, 0xff]);
  assert.deepEqual(host.finish(disk), [0x04, 0, 0, 1, 1, 2, 2]);
  assert.ok(sectors(disk, 36 + 17, 1).every((byte) => byte === 0x5a));
  const second = sectors(disk, 36 + 18, 1);
  assert.ok(second.subarray(0, 188).every((byte) => byte === 0x5a));
  assert.ok(second.subarray(188).every((byte) => byte === 0));
});

test('a DMA channel that is unmasked late is waited for, one that never is makes an overrun', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  host.seek(0, 0);
  host.command([0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
  host.clock.advance(5_000_000);
  disk.complete();
  host.clock.advance(5_000_000);
  assert.equal(host.line.asserted, false);
  host.dma.program(new Uint8Array(512), true);
  assert.deepEqual(host.finish(disk), [0, 0, 0, 0, 0, 2, 2]);
  assert.deepEqual(host.dma.memory, sectors(disk, 0, 1));
  host.command([0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
  host.clock.advance(1_000_000);
  disk.complete();
  host.clock.advance(1_000_000_000);
  assert.deepEqual(host.finish(disk).slice(0, 3), [0x40, 0x10, 0]);
});

test('transfers through the FIFO in non-DMA mode', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  host.command([0x03, 0xaf, 0x03]);
  host.seek(0, 0);
  host.command([0x46, 0, 0, 0, 4, 2, 5, 0x1b, 0xff]);
  host.clock.advance(1_000_000);
  disk.complete();
  assert.equal(host.line.asserted, true);
  assert.equal(host.in(STATUS), 0xf0);
  const data = Uint8Array.from({ length: 1024 }, () => host.in(FIFO));
  assert.deepEqual(data, sectors(disk, 3, 2));
  assert.deepEqual(host.result(), [0, 0, 0, 1, 0, 1, 2]);

  host.command([0x45, 0, 0, 0, 4, 2, 4, 0x1b, 0xff]);
  host.clock.advance(1_000_000);
  assert.equal(host.in(STATUS), 0xb0);
  for (let i = 0; i < 512; i++) {
    host.out(FIFO, 0x99);
  }
  assert.deepEqual(host.finish(disk).slice(0, 3), [0, 0, 0]);
  assert.ok(sectors(disk, 3, 1).every((byte) => byte === 0x99));
});

test('RECALIBRATE, drive status and READ ID', () => {
  const disk = patternDisk(SIZE_144, true);
  const host = new Host([{ backend: disk }]).start();
  host.seek(0, 40);
  assert.deepEqual(host.command([0x04, 0x04]), [0x6c], 'protected, not at track 0');
  host.command([0x4a, 0x04]);
  const id = host.finish();
  assert.deepEqual(id.slice(0, 5), [0x04, 0, 0, 40, 1]);
  assert.ok((id[5] ?? 0) >= 1 && (id[5] ?? 0) <= 18);
  host.command([0x07, 0]);
  host.clock.advance(100_000_000);
  assert.equal(host.line.asserted, true);
  assert.deepEqual(host.command([0x08]), [0x20, 0]);
  assert.deepEqual(host.command([0x04, 0]), [0x78]);
  assert.deepEqual(host.command([0x08]), [0x80], 'nothing more to report');
  host.command([0x07, 1]);
  assert.deepEqual(host.command([0x08]), [0x71, 0], 'there is no drive B');
});

test('wrong rates, addresses and missing disks are not found', () => {
  const disk = patternDisk(737280);
  const host = new Host([{ backend: disk }, {}]).start();
  host.dma.program(new Uint8Array(512), true);
  const read = (drive: number, cylinder: number, head: number, sector: number, size = 2) => {
    host.command([0x46, drive | (head << 2), cylinder, head, sector, size, 9, 0x1b, 0xff]);
    return host.finish(disk).slice(0, 3);
  };
  assert.deepEqual(read(0, 0, 0, 1), [0x40, 1, 0], 'a 720K disk at 500 kbit/s');
  host.device.inputPort.writePort(0, 1, 2);
  host.command([0x13, 0, 0x17, 0]);
  assert.deepEqual(read(0, 5, 0, 1), [0x40, 4, 0x10], 'the heads are elsewhere');
  assert.deepEqual(read(0, 0, 0, 10), [0x40, 4, 0], 'no such sector');
  assert.deepEqual(read(0, 0, 0, 0), [0x40, 4, 0]);
  assert.deepEqual(read(0, 0, 0, 1, 3), [0x40, 4, 0], 'no such size');
  assert.deepEqual(read(1, 0, 0, 1), [0x41, 1, 0], 'no disk');
  assert.deepEqual(read(0, 0, 1, 9), [0x04, 0, 0]);
});

test('writing to a protected disk and failures of the host', () => {
  const disk = patternDisk(SIZE_144, true);
  const host = new Host([{ backend: disk }]).start();
  host.dma.program(new Uint8Array(512), false);
  host.command([0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
  assert.deepEqual(host.finish(disk).slice(0, 3), [0x40, 2, 0]);
  assert.equal(disk.pending.length, 0);
  disk.failure = { code: 'io', message: 'EIO' };
  host.dma.program(new Uint8Array(512), true);
  host.command([0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
  assert.deepEqual(host.finish(disk).slice(0, 3), [0x40, 0x20, 0x20]);
});

test('FORMAT TRACK fills the sectors, in any interleave', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  host.seek(0, 2);
  const ids = new Uint8Array(18 * 4);
  for (let i = 0; i < 18; i++) {
    ids.set([2, 1, ((i * 5) % 18) + 1, 2], i * 4);
  }
  host.dma.program(ids, false);
  host.command([0x4d, 0x04, 2, 18, 0x54, 0xf6]);
  assert.deepEqual(host.finish(disk).slice(0, 3), [0x04, 0, 0]);
  assert.ok(sectors(disk, 2 * 36 + 18, 18).every((byte) => byte === 0xf6));
  assert.deepEqual(sectors(disk, 2 * 36, 18), sectors(patternDisk(SIZE_144), 2 * 36, 18));
});

test('an implied seek moves the heads before the transfer', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  host.dma.program(new Uint8Array(512), true);
  host.command([0x46, 0, 30, 0, 1, 2, 18, 0x1b, 0xff]);
  assert.deepEqual(host.finish(disk), [0, 0, 0, 30, 0, 2, 2]);
  assert.deepEqual(host.dma.memory, sectors(disk, 30 * 36, 1));
});

test('VERIFY reads without a transfer', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  host.command([0x56, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
  assert.deepEqual(host.finish(disk).slice(0, 3), [0, 0, 0]);
  host.command([0x56, 0x80, 0, 0, 1, 2, 18, 0x1b, 3]);
  assert.deepEqual(host.finish(disk), [0, 0, 0, 0, 0, 4, 2]);
  host.command([0x56, 0x80, 0, 0, 17, 2, 18, 0x1b, 3]);
  assert.deepEqual(host.finish(disk).slice(0, 3), [0x40, 0x80, 0]);
});

test('the disk change line follows the disk and falls with a step', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  const changed = () => host.device.inputPort.readPort(0, 1) >> 7;
  assert.equal(changed(), 1);
  host.seek(0, 1);
  assert.equal(changed(), 0);
  host.device.eject(0);
  assert.equal(changed(), 1);
  host.seek(0, 2);
  assert.equal(changed(), 1, 'still no disk');
  const other = patternDisk(2949120);
  host.device.insert(0, other);
  host.seek(0, 0);
  assert.equal(changed(), 0);
  host.device.inputPort.writePort(0, 1, 3);
  host.dma.program(new Uint8Array(36 * 512), true);
  host.command([0x46, 0, 0, 0, 1, 2, 36, 0x1b, 0xff]);
  assert.deepEqual(host.finish(other).slice(0, 3), [0, 0, 0]);
  assert.deepEqual(host.dma.memory, sectors(other, 0, 36));
  assert.throws(() => host.device.insert(0, new FakeDisk(4 << 20)), { code: 'image-size' });
  assert.equal(host.device.medium(0), other);
});

test('formats by image size, from 160K to 2.88M', () => {
  const cases: [size: number, cmos: number, rate: number, sectorsPerTrack: number, heads: number][] = [
    [163840, 2, 1, 8, 1],
    [368640, 2, 1, 9, 2],
    [737280, 4, 2, 9, 2],
    [1228800, 2, 0, 15, 2],
    [1474560, 4, 0, 18, 2],
    [1720320, 4, 0, 21, 2],
    [2949120, 5, 3, 36, 2],
  ];
  for (const [size, cmos, rate, sectorsPerTrack, heads] of cases) {
    const disk = patternDisk(size);
    const host = new Host([{ backend: disk }]).start();
    assert.equal(host.device.cmosTypes, cmos << 4);
    host.device.inputPort.writePort(0, 1, rate);
    host.seek(0, 7);
    host.dma.program(new Uint8Array(512), true);
    const head = heads - 1;
    host.command([0x46, head << 2, 7, head, sectorsPerTrack, 2, sectorsPerTrack, 0x1b, 0xff]);
    assert.equal(host.finish(disk)[1], 0, `${size}`);
    assert.deepEqual(host.dma.memory, sectors(disk, (7 * heads + head + 1) * sectorsPerTrack - 1, 1));
  }
});

test('an image that was cut short reads as zeros after its end', () => {
  const disk = patternDisk(512 * 3);
  const host = new Host([{ backend: disk }]).start();
  host.dma.program(new Uint8Array(18 * 512).fill(1), true);
  host.command([0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
  assert.equal(host.finish(disk)[1], 0);
  assert.deepEqual(host.dma.memory.slice(0, 1536), disk.bytes);
  assert.ok(host.dma.memory.subarray(1536).every((byte) => byte === 0));
  host.dma.program(new Uint8Array(512), true);
  host.seek(0, 5);
  host.command([0x46, 0, 5, 0, 1, 2, 18, 0x1b, 0xff]);
  assert.equal(host.finish(disk)[1], 0);
  host.dma.program(new Uint8Array(512), false);
  host.command([0x45, 0, 5, 0, 1, 2, 18, 0x1b, 0xff]);
  assert.equal(host.finish(disk)[1], 0x20);
});

test('the small commands of the enhanced controller', () => {
  const host = new Host([{}, {}]).start();
  assert.deepEqual(host.command([0x10]), [0x90]);
  assert.deepEqual(host.command([0x18]), [0x41]);
  host.command([0x13, 0, 0x57, 0]);
  assert.deepEqual(host.command([0x94]), [0x10]);
  host.command([0x12, 0x84]);
  host.seek(1, 9);
  assert.deepEqual(host.command([0x0e]), [0, 9, 0, 0, 0xaf, 2, 0, 0x84, 0x57, 0]);
  host.start();
  assert.equal(host.command([0x0e])[8], 0x57, 'locked against soft resets');
  assert.deepEqual(host.command([0x14]), [0]);
  assert.deepEqual(host.command([0x1f]), [0x80], 'an invalid command');
  assert.equal(host.line.asserted, false);
  assert.equal(host.in(STATUS), 0x80);
  assert.equal(host.device.cmosTypes, 0x44);
});

test('the DMA gate holds back the interrupt', () => {
  const host = new Host([{}]);
  host.out(DIGITAL_OUTPUT, 0x00);
  host.out(DIGITAL_OUTPUT, 0x04);
  host.clock.advance(1_000_000);
  assert.equal(host.line.asserted, false);
  host.out(DIGITAL_OUTPUT, 0x0c);
  assert.equal(host.line.asserted, true);
});

test('taking the disk out ends the command that uses it', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  host.dma.program(new Uint8Array(512), true);
  host.command([0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
  host.clock.advance(1_000_000);
  assert.equal(disk.pending.length, 1);
  host.device.eject(0);
  assert.deepEqual(host.finish().slice(0, 3), [0x40, 1, 0]);
  disk.complete();
  assert.equal(host.line.asserted, false);
});

test('commands in flight survive being saved and loaded elsewhere', () => {
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk }]).start();
  host.seek(0, 6);
  const program = (target: Host) => target.dma.program(new Uint8Array(3 * 512), true);
  program(host);
  host.command([0x46, 0, 6, 0, 2, 2, 18, 0x1b, 0xff]);
  const starting = structuredClone(host.device.save());
  host.clock.advance(1_000_000);
  const reading = structuredClone(host.device.save());
  for (const state of [starting, reading]) {
    const copy = patternDisk(SIZE_144);
    const other = new Host([{ backend: copy }]);
    program(other);
    other.clock.advance(host.clock.now() - 1_000_000);
    other.device.load(state);
    assert.deepEqual(structuredClone(other.device.save()), state);
    assert.deepEqual(other.finish(copy), [0, 0, 0, 6, 0, 5, 2]);
    assert.deepEqual(other.dma.memory, sectors(copy, 6 * 36 + 1, 3));
  }
  const seeking = new Host([{ backend: disk }]).start();
  seeking.command([0x0f, 0, 20]);
  const later = new Host([{ backend: disk }]);
  later.device.load(structuredClone(seeking.device.save()));
  later.clock.advance(100_000_000);
  assert.equal(later.line.asserted, true);
  assert.deepEqual(later.command([0x08]), [0x20, 20]);
});

test('activity is reported', () => {
  const seen: string[] = [];
  const disk = patternDisk(SIZE_144);
  const host = new Host([{ backend: disk, onActivity: (kind) => seen.push(kind) }]).start();
  host.dma.program(new Uint8Array(512), true);
  host.command([0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
  host.finish(disk);
  assert.deepEqual(seen, ['read']);
});

function fuzzHost() {
  const disks = [patternDisk(20 * 512), patternDisk(368640, true)] as const;
  const host = new Host([{ backend: disks[0] }, { backend: disks[1] }]);
  const opcodes = [
    0x46, 0xe6, 0x45, 0xc5, 0x4d, 0x4a, 0x56, 0x42, 0x4c, 0x07, 0x0f, 0x08, 0x08, 0x03, 0x04, 0x0e, 0x12, 0x13, 0x94,
    0x8f, 0xcf,
  ];
  const poke = (random: Random) => {
    switch (random.below(10)) {
      case 0:
        host.device.ports.readPort(random.below(6), random.pick([1, 2, 4] as const));
        break;
      case 1:
        host.device.ports.writePort(random.below(6), random.pick([1, 2, 4] as const), random.u32());
        break;
      case 2:
        host.device.inputPort.writePort(0, 1, random.below(4));
        host.device.inputPort.readPort(0, random.pick([1, 2] as const));
        break;
      case 3:
        host.out(DIGITAL_OUTPUT, random.pick([0x0c, 0x1c, 0x1d, 0x0c, random.below(256)]));
        break;
      case 4:
      case 5:
        host.out(FIFO, random.pick([...opcodes, random.below(256)]));
        for (let i = 0; i < 8; i++) {
          host.out(FIFO, random.pick([0, 1, 2, 0x80, random.below(6), random.below(40), random.below(256)]));
        }
        break;
      case 6:
        for (let i = random.below(12); i > 0; i--) {
          host.in(FIFO);
        }
        break;
      case 7:
        for (let i = random.below(1500); i > 0; i--) {
          host.in(FIFO);
          host.out(FIFO, i);
        }
        break;
      case 8:
        host.dma.program(new Uint8Array(1 + random.below(3000)), random.chance(2, 3));
        break;
      default:
        host.clock.advance(random.below(3_000_000));
        for (const disk of disks) {
          disk.failure = random.chance(1, 8) ? { code: 'io', message: 'EIO' } : undefined;
          checkRequests(disk);
          disk.complete(random.below(3));
        }
    }
  };
  return { host, disks, poke };
}

function checkRequests(disk: FakeDisk): void {
  for (const { request } of disk.pending) {
    if (request.kind === 'read' || request.kind === 'write') {
      assert.ok(request.offset >= 0 && request.offset % 512 === 0 && request.buffer.length % 512 === 0);
      assert.ok(request.offset + request.buffer.length <= disk.size);
      assert.ok(request.kind === 'read' || !disk.readOnly, 'a write to a protected disk');
    }
  }
}

deviceConformance('floppy', () => {
  const { host, poke } = fuzzHost();
  return { device: host.device, clock: host.clock, poke };
});

test('fuzz: random commands never throw nor leave the image, and can be saved at any moment', () => {
  for (let seed = 1; seed <= 8; seed++) {
    const random = new Random(seed * 77);
    const { host, disks, poke } = fuzzHost();
    for (let i = 0; i < 3000; i++) {
      poke(random);
      if (random.chance(1, 300)) {
        host.device.eject(0);
        host.device.insert(0, disks[0]);
      }
      for (const disk of disks) {
        checkRequests(disk);
      }
      if (i % 50 === 0) {
        const saved = structuredClone(host.device.save());
        const other = fuzzHost().host;
        other.clock.advance(host.clock.now());
        other.device.load(saved);
        assert.deepEqual(other.device.save(), saved);
        other.device.dispose();
      }
    }
    host.device.dispose();
  }
});
