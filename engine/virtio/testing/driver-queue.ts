import { defined } from '../../base/assert.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, type RingAreas } from '../queue/ring.ts';

/** One segment of a buffer: bytes for the device, or room for what it answers. */
export type Segment = Uint8Array | number;

/** A buffer that a driver has handed over. */
export interface Token {
  readonly id: number;
  readonly slots: number;
  readonly written: { readonly address: number; readonly length: number }[];
}

export interface Completion {
  readonly token: Token;
  /** What the device says it has written. */
  readonly length: number;
  /** The writable part, whole. */
  readonly data: Uint8Array;
}

export interface DriverQueueOptions {
  readonly memory: GuestMemory;
  readonly size: number;
  /** Takes memory of the guest, aligned: for the ring, and for buffers. */
  readonly allocateRing: (bytes: number, align?: number) => number;
  readonly allocate: (bytes: number, align?: number) => number;
  readonly eventIndex: boolean;
}

interface Placed {
  readonly address: number;
  readonly length: number;
  readonly writable: boolean;
}

/** The driver's side of a virtqueue, written from the specification and independently of the device's side. */
export abstract class DriverQueue {
  readonly memory: GuestMemory;
  readonly size: number;
  abstract readonly areas: RingAreas;
  protected readonly allocate: (bytes: number, align?: number) => number;
  protected readonly eventIndex: boolean;
  protected readonly outstanding = new Map<number, Token>();

  constructor(options: DriverQueueOptions) {
    this.memory = options.memory;
    this.size = options.size;
    this.allocate = options.allocate;
    this.eventIndex = options.eventIndex;
  }

  get inFlight(): number {
    return this.outstanding.size;
  }

  /** Hands over a buffer; with `indirect` by one descriptor that points at a table. */
  add(segments: readonly Segment[], indirect = false): Token {
    const placed = segments.map((segment): Placed => {
      const writable = typeof segment === 'number';
      const length = writable ? segment : segment.length;
      const address = this.allocate(length, 1);
      if (!writable) {
        this.memory.write(address, segment);
      }
      return { address, length, writable };
    });
    const written = placed.filter(({ writable }) => writable);
    if (!indirect) {
      return this.post(placed, written);
    }
    const table = this.allocate(16 * placed.length, 16);
    for (const [index, segment] of placed.entries()) {
      const more = index + 1 < placed.length;
      this.writeIndirectEntry(table + 16 * index, segment, index, more);
    }
    return this.post([{ address: table, length: 16 * placed.length, writable: false }], written, DESC_F_INDIRECT);
  }

  protected abstract writeIndirectEntry(at: number, segment: Placed, index: number, more: boolean): void;
  protected abstract post(placed: readonly Placed[], written: Token['written'], flags?: number): Token;
  /** True when the device wants to hear of the buffers added since this was last asked. */
  abstract wantsNotification(): boolean;
  /** What the device has given back since the last call. */
  abstract collect(): Completion[];
  /** Asks for interrupts or for none. With the event index: for the next buffer given back. */
  abstract setInterrupts(on: boolean): void;

  protected completion(id: number, length: number): Completion {
    const token = defined(this.outstanding.get(id), `the device gave back buffer ${id}, which it does not have;`);
    this.outstanding.delete(id);
    const data = new Uint8Array(token.written.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of token.written) {
      this.memory.read(part.address, data.subarray(at, at + part.length));
      at += part.length;
    }
    return { token, length, data };
  }

  protected writeDescriptor(at: number, { address, length }: Placed): void {
    this.memory.writeU32(at, address);
    this.memory.writeU32(at + 4, 0);
    this.memory.writeU32(at + 8, length);
  }
}

export class SplitDriverQueue extends DriverQueue {
  readonly areas: RingAreas;
  readonly #free: number[];
  #available = 0;
  #used = 0;
  #announced = 0;

  constructor(options: DriverQueueOptions & { readonly areas?: RingAreas }) {
    super(options);
    const { size, allocateRing } = options;
    this.areas = options.areas ?? {
      descriptors: allocateRing(16 * size, 16),
      driver: allocateRing(6 + 2 * size, 2),
      device: allocateRing(6 + 8 * size, 4),
    };
    this.#free = Array.from({ length: size }, (_, index) => size - 1 - index);
  }

  protected writeIndirectEntry(at: number, segment: Placed, index: number, more: boolean): void {
    this.writeDescriptor(at, segment);
    this.memory.writeU16(at + 12, (segment.writable ? DESC_F_WRITE : 0) | (more ? DESC_F_NEXT : 0));
    this.memory.writeU16(at + 14, more ? index + 1 : 0);
  }

  protected post(placed: readonly Placed[], written: Token['written'], flags = 0): Token {
    const indices = placed.map(() => defined(this.#free.pop(), 'room in the ring'));
    for (const [position, segment] of placed.entries()) {
      const at = this.areas.descriptors + 16 * defined(indices[position], 'index');
      const next = indices[position + 1];
      this.writeDescriptor(at, segment);
      this.memory.writeU16(
        at + 12,
        flags | (segment.writable ? DESC_F_WRITE : 0) | (next === undefined ? 0 : DESC_F_NEXT),
      );
      this.memory.writeU16(at + 14, next ?? 0);
    }
    const id = defined(indices[0], 'a buffer has a segment;');
    const token = { id, slots: placed.length, written };
    this.outstanding.set(id, token);
    this.memory.writeU16(this.areas.driver + 4 + 2 * (this.#available % this.size), id);
    this.#available = (this.#available + 1) & 0xffff;
    this.memory.writeU16(this.areas.driver + 2, this.#available);
    return token;
  }

  wantsNotification(): boolean {
    const before = this.#announced;
    this.#announced = this.#available;
    if (this.eventIndex) {
      const event = this.memory.readU16(this.areas.device + 4 + 8 * this.size);
      return ((this.#available - event - 1) & 0xffff) < ((this.#available - before) & 0xffff);
    }
    return (this.memory.readU16(this.areas.device) & 1) === 0;
  }

  collect(): Completion[] {
    const result: Completion[] = [];
    while (this.memory.readU16(this.areas.device + 2) !== this.#used) {
      const at = this.areas.device + 4 + 8 * (this.#used % this.size);
      const completion = this.completion(this.memory.readU32(at), this.memory.readU32(at + 4));
      let index = completion.token.id;
      for (let i = 0; i < completion.token.slots; i++) {
        this.#free.push(index);
        index = this.memory.readU16(this.areas.descriptors + 16 * index + 14);
      }
      this.#used = (this.#used + 1) & 0xffff;
      result.push(completion);
    }
    if (this.eventIndex) {
      this.memory.writeU16(this.areas.driver + 4 + 2 * this.size, this.#used);
    }
    return result;
  }

  setInterrupts(on: boolean): void {
    this.memory.writeU16(this.areas.driver, on ? 0 : 1);
    this.memory.writeU16(this.areas.driver + 4 + 2 * this.size, on ? this.#used : (this.#used + 0x7fff) & 0xffff);
  }
}

export class PackedDriverQueue extends DriverQueue {
  readonly areas: RingAreas;
  readonly #ids: number[];
  #next = 0;
  #nextWrap = true;
  #used = 0;
  #usedWrap = true;
  #freeSlots: number;
  #added = 0;

  constructor(options: DriverQueueOptions) {
    super(options);
    const { size, allocateRing } = options;
    this.areas = { descriptors: allocateRing(16 * size, 16), driver: allocateRing(4, 4), device: allocateRing(4, 4) };
    this.#ids = Array.from({ length: size }, (_, index) => size - 1 - index);
    this.#freeSlots = size;
  }

  protected writeIndirectEntry(at: number, segment: Placed): void {
    this.writeDescriptor(at, segment);
    this.memory.writeU16(at + 12, 0);
    this.memory.writeU16(at + 14, segment.writable ? DESC_F_WRITE : 0);
  }

  protected post(placed: readonly Placed[], written: Token['written'], flags = 0): Token {
    const id = defined(this.#ids.pop(), 'a buffer id');
    const slots = placed.length;
    if (slots > this.#freeSlots) {
      throw new RangeError('no room in the ring');
    }
    this.#freeSlots -= slots;
    let firstFlags: [at: number, value: number] | undefined;
    for (const [position, segment] of placed.entries()) {
      const at = this.areas.descriptors + 16 * this.#next;
      this.writeDescriptor(at, segment);
      this.memory.writeU16(at + 12, id);
      const value =
        flags |
        (segment.writable ? DESC_F_WRITE : 0) |
        (position + 1 < slots ? DESC_F_NEXT : 0) |
        (this.#nextWrap ? 1 << 7 : 1 << 15);
      if (firstFlags === undefined) {
        firstFlags = [at + 14, value];
      } else {
        this.memory.writeU16(at + 14, value);
      }
      this.#next++;
      if (this.#next === this.size) {
        this.#next = 0;
        this.#nextWrap = !this.#nextWrap;
      }
    }
    const [at, value] = defined(firstFlags, 'a buffer has a segment;');
    this.memory.writeU16(at, value);
    this.#added += slots;
    const token = { id, slots, written };
    this.outstanding.set(id, token);
    return token;
  }

  wantsNotification(): boolean {
    const added = this.#added;
    this.#added = 0;
    const flags = this.memory.readU16(this.areas.device + 2) & 3;
    if (flags !== 2) {
      return flags === 0;
    }
    const place = this.memory.readU16(this.areas.device);
    const wrap = (place & 0x8000) !== 0;
    const event = (place & 0x7fff) - (wrap === this.#nextWrap ? 0 : this.size);
    return ((this.#next - event - 1) & 0xffff) < (added & 0xffff);
  }

  collect(): Completion[] {
    const result: Completion[] = [];
    for (;;) {
      const at = this.areas.descriptors + 16 * this.#used;
      const flags = this.memory.readU16(at + 14);
      if (((flags >> 7) & 1) !== ((flags >> 15) & 1) || ((flags >> 15) & 1) !== (this.#usedWrap ? 1 : 0)) {
        break;
      }
      const completion = this.completion(this.memory.readU16(at + 12), this.memory.readU32(at + 8));
      this.#ids.push(completion.token.id);
      this.#freeSlots += completion.token.slots;
      this.#used += completion.token.slots;
      if (this.#used >= this.size) {
        this.#used -= this.size;
        this.#usedWrap = !this.#usedWrap;
      }
      result.push(completion);
    }
    if (this.eventIndex && this.memory.readU16(this.areas.driver + 2) === 2) {
      this.memory.writeU16(this.areas.driver, this.#used | (this.#usedWrap ? 0x8000 : 0));
    }
    return result;
  }

  setInterrupts(on: boolean): void {
    this.memory.writeU16(this.areas.driver, this.#used | (this.#usedWrap ? 0x8000 : 0));
    this.memory.writeU16(this.areas.driver + 2, on ? (this.eventIndex ? 2 : 0) : 1);
  }
}
