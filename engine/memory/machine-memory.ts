import { assert } from '../base/assert.ts';
import { Emitter } from '../base/event.ts';
import {
  CODE_MAP,
  DIRTY_MAP,
  FRAME_COUNT,
  FRAME_READABLE,
  FRAME_TRACKED,
  FRAME_WRITABLE,
  FRAMES,
  RAM,
  ROM,
  ROM_SIZE,
  VRAM,
  VRAM_SIZE,
} from './arena.ts';
import type { GuestMemory } from './guest-memory.ts';

const PAGE_SHIFT = 12;
const PAGE_SIZE = 1 << PAGE_SHIFT;
const PAGE_MASK = PAGE_SIZE - 1;

/** A span of guest-physical addresses, in bytes. */
export interface PhysicalRange {
  readonly base: number;
  readonly length: number;
}

/**
 * Guest-physical memory below 4 GiB: which pages are RAM, ROM or VRAM, and which belong to devices. The map lies in the
 * arena, where generated code reads it. Changing it fires `onRemap`, so that cached translations are dropped.
 */
export class MachineMemory implements GuestMemory {
  readonly sizeBytes: number;
  readonly arena: WebAssembly.Memory;
  /** Where RAM begins in the arena. */
  readonly ramAddress: number;
  /** All of RAM, by guest-physical address as if there were no holes. */
  readonly ram: Uint8Array;
  readonly vram: Uint8Array;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #frames: Uint32Array;
  readonly #codeMap: Uint32Array;
  readonly #dirty: Uint8Array;
  readonly #onRemap = new Emitter<PhysicalRange>();
  readonly #onCodeWritten = new Emitter<PhysicalRange>();
  readonly #onDirtyTaken = new Emitter<PhysicalRange>();
  readonly #onTracking = new Emitter<PhysicalRange>();
  #romUsed = 0;
  /** FRAME_TRACKED while writes to RAM are recorded, else 0. */
  #ramTracked = 0;

  /** Fires after pages changed their meaning. */
  readonly onRemap = this.#onRemap.event;
  /** Fires after a device wrote into a page that holds decoded code. */
  readonly onCodeWritten = this.#onCodeWritten.event;
  /** Fires after the dirty flags of a range were taken: the next write to each page of it has to be seen again. */
  readonly onDirtyTaken = this.#onDirtyTaken.event;
  /** Fires after recording writes to a range was begun or ended; its pages stay what they are. */
  readonly onTracking = this.#onTracking.event;

  /** `ramAddress`: what the arena was made with. */
  constructor(arena: WebAssembly.Memory, sizeBytes: number, ramAddress = RAM) {
    assert(sizeBytes % PAGE_SIZE === 0, 'RAM is not a whole number of pages');
    this.sizeBytes = sizeBytes;
    this.arena = arena;
    this.ramAddress = ramAddress;
    const { buffer } = arena;
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
    this.ram = new Uint8Array(buffer, ramAddress, sizeBytes);
    this.vram = new Uint8Array(buffer, VRAM, VRAM_SIZE);
    this.#frames = new Uint32Array(buffer, FRAMES, FRAME_COUNT);
    this.#codeMap = new Uint32Array(buffer, CODE_MAP, FRAME_COUNT * 2);
    this.#dirty = new Uint8Array(buffer, DIRTY_MAP, FRAME_COUNT);
  }

  /** Copies a ROM image into the arena and returns its address there. Lengths are rounded up to whole pages of ones. */
  addRom(image: Uint8Array): number {
    const length = (image.length + PAGE_MASK) & ~PAGE_MASK;
    assert(this.#romUsed + length <= ROM_SIZE, 'too many ROM images');
    const address = ROM + this.#romUsed;
    this.#romUsed += length;
    this.#bytes.fill(0xff, address, address + length);
    this.#bytes.set(image, address);
    return address;
  }

  /** Makes pages RAM: the bytes of `ram` at the same offset as their physical address. */
  mapRam(base: number, length: number): void {
    assert(base + length <= this.sizeBytes, 'RAM mapped beyond its end');
    this.#map(base, length, this.ramAddress + base, FRAME_READABLE | FRAME_WRITABLE | this.#ramTracked);
  }

  /** Makes pages show the arena from `address` on, read-only. Writes go to the device bus. */
  mapRom(base: number, length: number, address: number): void {
    this.#map(base, length, address, FRAME_READABLE);
  }

  /** Makes pages show VRAM from `offset` on, with writes recorded. */
  mapVram(base: number, length: number, offset: number): void {
    assert(offset + length <= VRAM_SIZE, 'VRAM mapped beyond its end');
    this.#map(base, length, VRAM + offset, FRAME_READABLE | FRAME_WRITABLE | FRAME_TRACKED);
  }

  /** Gives pages to the device bus. */
  unmap(base: number, length: number): void {
    this.#map(base, length, 0, 0);
  }

  #map(base: number, length: number, address: number, flags: number): void {
    assert(((base | length | address) & PAGE_MASK) === 0 && base + length <= 2 ** 32, 'unaligned memory mapping');
    const first = base / PAGE_SIZE;
    for (let i = 0; i < length / PAGE_SIZE; i++) {
      this.#frames[first + i] = flags === 0 ? 0 : (address + i * PAGE_SIZE) | flags;
    }
    this.#onRemap.fire({ base, length });
  }

  /** Whether a page's entry in the map says RAM that can be written, at its own address. */
  #isRam(frame: number, gpa: number): boolean {
    return (frame & ~PAGE_MASK) >>> 0 === this.ramAddress + gpa && (frame & FRAME_WRITABLE) !== 0;
  }

  /**
   * From now on, or no longer, writes to RAM are recorded for `takeDirtyRam`, whoever makes them: processors of every
   * kind and devices.
   */
  trackRam(on: boolean): void {
    const flag = on ? FRAME_TRACKED : 0;
    if (flag === this.#ramTracked) {
      return;
    }
    this.#ramTracked = flag;
    const frames = this.#frames;
    for (let page = 0; page < this.sizeBytes / PAGE_SIZE; page++) {
      const frame = frames[page] as number;
      if (this.#isRam(frame, page * PAGE_SIZE)) {
        frames[page] = (frame & ~FRAME_TRACKED) | flag;
      }
    }
    const range = { base: 0, length: this.sizeBytes };
    // First those who have kept a log, then the log begins empty.
    this.#onTracking.fire(range);
    this.#dirty.fill(0, 0, this.sizeBytes / PAGE_SIZE);
    this.#onDirtyTaken.fire(range);
  }

  /**
   * One byte for each 4-KiB page of RAM: 1 if it was written since the last call, or since recording was begun. Whoever
   * runs processors has to bring in what they know first (MachineCpus.collectDirty).
   */
  takeDirtyRam(): Uint8Array {
    assert(this.#ramTracked !== 0, 'writes to RAM are not recorded');
    const flags = this.#dirty.subarray(0, this.sizeBytes / PAGE_SIZE);
    const result = flags.slice();
    flags.fill(0);
    this.#onDirtyTaken.fire({ base: 0, length: this.sizeBytes });
    return result;
  }

  /** Bytes of RAM were changed by other means than this object and the processors. */
  noteRamWritten(base: number, length: number): void {
    if (this.#ramTracked !== 0 && length > 0) {
      this.#dirty.fill(1, Math.floor(base / PAGE_SIZE), Math.ceil((base + length) / PAGE_SIZE));
    }
  }

  /** One byte per 4-KiB page of VRAM, 1 if the processor wrote it since the last call; undefined when there is none. */
  takeDirtyVram(): Uint8Array | undefined {
    const first = this.#vramPage;
    if (first === undefined) {
      return undefined;
    }
    const flags = this.#dirty.subarray(first, first + VRAM_SIZE / PAGE_SIZE);
    if (flags.indexOf(1) < 0) {
      return undefined;
    }
    const result = flags.slice();
    flags.fill(0);
    this.#onDirtyTaken.fire({ base: first * PAGE_SIZE, length: VRAM_SIZE });
    return result;
  }

  #vramPage: number | undefined;

  /** Tells where the linear framebuffer stands now, for `takeDirtyVram`. */
  placeVram(base: number | undefined): void {
    if (this.#vramPage !== undefined) {
      this.unmap(this.#vramPage * PAGE_SIZE, VRAM_SIZE);
    }
    this.#vramPage = base === undefined ? undefined : base / PAGE_SIZE;
    if (base !== undefined) {
      this.mapVram(base, VRAM_SIZE, 0);
    }
  }

  /**
   * The guest does not need the contents of these pages any more: `release` gets the bytes of those that are RAM, in as
   * few pieces as possible, and may make them zeros. Base and length are multiples of 4096.
   */
  discard(base: number, length: number, release: (bytes: Uint8Array) => void): void {
    let start = base;
    const flush = (end: number) => {
      if (end > start) {
        this.#onCodeWritten.fire({ base: start, length: end - start });
        this.noteRamWritten(start, end - start);
        release(this.ram.subarray(start, end));
      }
    };
    for (let gpa = base; gpa < base + length; gpa += PAGE_SIZE) {
      const frame = this.#frames[gpa >>> PAGE_SHIFT] ?? 0;
      const isRam = this.#isRam(frame, gpa);
      if (!isRam) {
        flush(gpa);
        start = gpa + PAGE_SIZE;
      }
    }
    flush(base + length);
  }

  /** Arena address of a physical one, or 0 when it is not plain memory with `flag`. */
  #host(gpa: number, flag: number): number {
    if (gpa >= 2 ** 32) {
      return 0;
    }
    const frame = this.#frames[gpa >>> PAGE_SHIFT] ?? 0;
    return frame & flag ? (frame & ~PAGE_MASK) + (gpa & PAGE_MASK) : 0;
  }

  /** How many bytes from `gpa` on, up to `length`, are with `flag` where those at `host` are: in one piece. */
  #run(gpa: number, host: number, flag: number, length: number): number {
    let count = PAGE_SIZE - (gpa % PAGE_SIZE);
    while (host !== 0 && count < length && this.#host(gpa + count, flag) >>> 0 === host + count) {
      count += PAGE_SIZE;
    }
    return Math.min(count, length);
  }

  read(gpa: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const at = gpa + done;
      const host = this.#host(at, FRAME_READABLE) >>> 0;
      const count = this.#run(at, host, FRAME_READABLE, into.length - done);
      if (host === 0) {
        into.fill(0xff, done, done + count);
      } else {
        into.set(this.#bytes.subarray(host, host + count), done);
      }
      done += count;
    }
  }

  write(gpa: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; ) {
      const at = gpa + done;
      const host = this.#host(at, FRAME_WRITABLE) >>> 0;
      const count = this.#run(at, host, FRAME_WRITABLE, from.length - done);
      if (host !== 0) {
        this.#bytes.set(done === 0 && count === from.length ? from : from.subarray(done, done + count), host);
        for (let page = at - (at % PAGE_SIZE); page < at + count; page += PAGE_SIZE) {
          const start = Math.max(page, at);
          this.#written(start, Math.min(page + PAGE_SIZE, at + count) - start);
        }
      }
      done += count;
    }
  }

  /** After a write by a device within one page. */
  #written(gpa: number, length: number): void {
    const page = gpa >>> PAGE_SHIFT;
    if ((this.#frames[page] ?? 0) & FRAME_TRACKED) {
      this.#dirty[page] = 1;
    }
    if ((this.#codeMap[page * 2] ?? 0) !== 0 || (this.#codeMap[page * 2 + 1] ?? 0) !== 0) {
      this.#onCodeWritten.fire({ base: gpa, length });
    }
  }

  readU8(gpa: number): number {
    const host = this.#host(gpa, FRAME_READABLE) >>> 0;
    return host === 0 ? 0xff : (this.#bytes[host] ?? 0xff);
  }

  readU16(gpa: number): number {
    const host = this.#host(gpa, FRAME_READABLE) >>> 0;
    if (host !== 0 && (gpa & PAGE_MASK) <= PAGE_SIZE - 2) {
      return this.#view.getUint16(host, true);
    }
    return this.readU8(gpa) | (this.readU8(gpa + 1) << 8);
  }

  readU32(gpa: number): number {
    const host = this.#host(gpa, FRAME_READABLE) >>> 0;
    if (host !== 0 && (gpa & PAGE_MASK) <= PAGE_SIZE - 4) {
      return this.#view.getUint32(host, true);
    }
    return (this.readU16(gpa) | (this.readU16(gpa + 2) << 16)) >>> 0;
  }

  writeU8(gpa: number, value: number): void {
    const host = this.#host(gpa, FRAME_WRITABLE) >>> 0;
    if (host !== 0) {
      this.#bytes[host] = value;
      this.#written(gpa, 1);
    }
  }

  writeU16(gpa: number, value: number): void {
    const host = this.#host(gpa, FRAME_WRITABLE) >>> 0;
    if (host !== 0 && (gpa & PAGE_MASK) <= PAGE_SIZE - 2) {
      this.#view.setUint16(host, value, true);
      this.#written(gpa, 2);
    } else {
      this.writeU8(gpa, value & 0xff);
      this.writeU8(gpa + 1, (value >>> 8) & 0xff);
    }
  }

  writeU32(gpa: number, value: number): void {
    const host = this.#host(gpa, FRAME_WRITABLE) >>> 0;
    if (host !== 0 && (gpa & PAGE_MASK) <= PAGE_SIZE - 4) {
      this.#view.setUint32(host, value, true);
      this.#written(gpa, 4);
    } else {
      this.writeU16(gpa, value & 0xffff);
      this.writeU16(gpa + 2, value >>> 16);
    }
  }
}
