import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { StateReader } from '../state.ts';
import type { DmaChannel, DmaProgress } from './dma-channel.ts';

/** Registers 8 – 15 of an 8237A. */
const REG_COMMAND_STATUS = 8;
const REG_REQUEST = 9;
const REG_SINGLE_MASK = 10;
const REG_MODE = 11;
const REG_CLEAR_FLIP_FLOP = 12;
const REG_MASTER_CLEAR = 13;
const REG_CLEAR_MASK = 14;
const REG_ALL_MASK = 15;

const COMMAND_DISABLE = 1 << 2;

const MODE_AUTO_INITIALISE = 1 << 4;
const MODE_DECREMENT = 1 << 5;
const TRANSFER_VERIFY = 0;
const TRANSFER_TO_MEMORY = 1;
const TRANSFER_FROM_MEMORY = 2;

/** One channel of a controller; 8-bit and 16-bit channels differ in how page and address make a guest address. */
class Channel implements DmaChannel {
  readonly #controller: DmaController;
  readonly #index: number;
  readonly #memory: GuestMemory;
  /** 0: bytes, 1: words. */
  readonly #shift: number;
  baseAddress = 0;
  baseCount = 0;
  address = 0;
  /** One less than the number of units left. */
  count = 0;
  mode = 0;
  page = 0;

  constructor(controller: DmaController, index: number, memory: GuestMemory, shift: number) {
    this.#controller = controller;
    this.#index = index;
    this.#memory = memory;
    this.#shift = shift;
  }

  get ready(): boolean {
    return this.#controller.serves(this.#index);
  }

  get remaining(): number {
    return (this.count + 1) << this.#shift;
  }

  request(asserted: boolean): void {
    this.#controller.setRequest(this.#index, asserted);
  }

  transferToMemory(bytes: Uint8Array): DmaProgress {
    const type = (this.mode >>> 2) & 3;
    if (!this.ready || (type !== TRANSFER_TO_MEMORY && type !== TRANSFER_VERIFY)) {
      return NOTHING;
    }
    return this.#transfer(bytes.length, type === TRANSFER_VERIFY ? undefined : bytes, undefined);
  }

  transferFromMemory(into: Uint8Array): DmaProgress {
    const type = (this.mode >>> 2) & 3;
    if (!this.ready || (type !== TRANSFER_FROM_MEMORY && type !== TRANSFER_VERIFY)) {
      return NOTHING;
    }
    if (type === TRANSFER_VERIFY) {
      into.fill(0, 0, Math.min(into.length, this.remaining));
      return this.#transfer(into.length, undefined, undefined);
    }
    return this.#transfer(into.length, undefined, into);
  }

  #transfer(wanted: number, from: Uint8Array | undefined, into: Uint8Array | undefined): DmaProgress {
    const shift = this.#shift;
    const units = Math.min(wanted >>> shift, this.count + 1);
    const down = (this.mode & MODE_DECREMENT) !== 0;
    // The page does not count along: addresses wrap within 64 KiB (128 KiB for words).
    const window = 0x10000 << shift;
    const base = shift === 0 ? this.page << 16 : (this.page & 0xfe) << 16;
    let done = 0;
    while (done < units) {
      const run = down ? 1 : Math.min(units - done, 0x10000 - this.address);
      const start = done << shift;
      const end = (done + run) << shift;
      const gpa = base + ((this.address << shift) & (window - 1));
      if (from !== undefined) {
        this.#memory.write(gpa, from.subarray(start, end));
      } else if (into !== undefined) {
        this.#memory.read(gpa, into.subarray(start, end));
      }
      this.address = (this.address + (down ? -run : run)) & 0xffff;
      done += run;
    }
    const terminalCount = units === this.count + 1;
    this.count = (this.count - units) & 0xffff;
    if (terminalCount) {
      this.#controller.terminalCount(this.#index);
      if ((this.mode & MODE_AUTO_INITIALISE) !== 0) {
        this.address = this.baseAddress;
        this.count = this.baseCount;
      }
    }
    return { transferred: units << shift, terminalCount };
  }

  get autoInitialises(): boolean {
    return (this.mode & MODE_AUTO_INITIALISE) !== 0;
  }

  reset(): void {
    this.baseAddress = 0;
    this.baseCount = 0;
    this.address = 0;
    this.count = 0;
    this.mode = 0;
    this.page = 0;
  }

  save() {
    return {
      baseAddress: this.baseAddress,
      baseCount: this.baseCount,
      address: this.address,
      count: this.count,
      mode: this.mode,
      page: this.page,
    };
  }

  static parse(reader: StateReader): ReturnType<Channel['save']> {
    return {
      baseAddress: reader.u16('baseAddress'),
      baseCount: reader.u16('baseCount'),
      address: reader.u16('address'),
      count: reader.u16('count'),
      mode: reader.u8('mode'),
      page: reader.u8('page'),
    };
  }
}

const NOTHING: DmaProgress = { transferred: 0, terminalCount: false };

/** One 8237A with its four channels (Intel 8237A datasheet). Register numbers are 0 – 15 whatever their spacing. */
export class DmaController {
  readonly channels: readonly Channel[];
  #command = 0;
  #mask = 0x0f;
  /** DREQ levels (bits 0 – 3). */
  #requests = 0;
  /** Channels that have reached terminal count since the status was read. */
  #reached = 0;
  /** The next access to an address or count register means its high byte. */
  #high = false;

  /** `shift`: 0 for the 8-bit controller, 1 for the 16-bit one. */
  constructor(memory: GuestMemory, shift: number) {
    this.channels = Array.from({ length: 4 }, (_, index) => new Channel(this, index, memory, shift));
  }

  serves(index: number): boolean {
    return (this.#command & COMMAND_DISABLE) === 0 && (this.#mask & (1 << index)) === 0;
  }

  setRequest(index: number, asserted: boolean): void {
    this.#requests = asserted ? this.#requests | (1 << index) : this.#requests & ~(1 << index);
  }

  terminalCount(index: number): void {
    this.#reached |= 1 << index;
    if (this.channels[index]?.autoInitialises === false) {
      this.#mask |= 1 << index;
    }
  }

  read(register: number): number {
    if (register < 8) {
      const channel = this.channels[register >>> 1];
      const value = ((register & 1) === 0 ? channel?.address : channel?.count) ?? 0;
      this.#high = !this.#high;
      return this.#high ? value & 0xff : value >>> 8;
    }
    switch (register) {
      case REG_COMMAND_STATUS: {
        const status = this.#reached | (this.#requests << 4);
        this.#reached = 0;
        return status;
      }
      case REG_ALL_MASK:
        return 0xf0 | this.#mask;
      default:
        // The temporary register serves memory-to-memory transfers, which no PC can do.
        return 0;
    }
  }

  write(register: number, byte: number): void {
    if (register < 8) {
      this.#writeChannel(register, byte);
      return;
    }
    const bit = 1 << (byte & 3);
    switch (register) {
      case REG_COMMAND_STATUS:
        this.#command = byte;
        return;
      case REG_REQUEST:
        // A software request starts a transfer of a device, but none of ours waits for it.
        return;
      case REG_SINGLE_MASK:
        this.#mask = (byte & 4) !== 0 ? this.#mask | bit : this.#mask & ~bit;
        return;
      case REG_MODE: {
        const channel = this.channels[byte & 3];
        if (channel !== undefined) {
          channel.mode = byte & 0xfc;
        }
        return;
      }
      case REG_CLEAR_FLIP_FLOP:
        this.#high = false;
        return;
      case REG_MASTER_CLEAR:
        this.#masterClear();
        return;
      case REG_CLEAR_MASK:
        this.#mask = 0;
        return;
      case REG_ALL_MASK:
        this.#mask = byte & 0x0f;
        return;
    }
  }

  #writeChannel(register: number, byte: number): void {
    const channel = this.channels[register >>> 1];
    if (channel === undefined) {
      return;
    }
    const high = this.#high;
    this.#high = !high;
    const merge = (old: number) => (high ? (old & 0x00ff) | (byte << 8) : (old & 0xff00) | byte);
    if ((register & 1) === 0) {
      channel.baseAddress = merge(channel.baseAddress);
      channel.address = channel.baseAddress;
    } else {
      channel.baseCount = merge(channel.baseCount);
      channel.count = channel.baseCount;
    }
  }

  #masterClear(): void {
    this.#command = 0;
    this.#reached = 0;
    this.#high = false;
    this.#mask = 0x0f;
  }

  reset(): void {
    this.#masterClear();
    this.#requests = 0;
    for (const channel of this.channels) {
      channel.reset();
    }
  }

  save() {
    return {
      command: this.#command,
      mask: this.#mask,
      requests: this.#requests,
      reached: this.#reached,
      high: this.#high,
      channels: this.channels.map((channel) => channel.save()),
    };
  }

  static parse(reader: StateReader): ReturnType<DmaController['save']> {
    return {
      command: reader.u8('command'),
      mask: reader.int('mask', 0, 15),
      requests: reader.int('requests', 0, 15),
      reached: reader.int('reached', 0, 15),
      high: reader.boolean('high'),
      channels: reader.objects('channels', 4).map((channel) => Channel.parse(channel)),
    };
  }

  apply(state: ReturnType<DmaController['save']>): void {
    this.#command = state.command;
    this.#mask = state.mask;
    this.#requests = state.requests;
    this.#reached = state.reached;
    this.#high = state.high;
    for (const [index, saved] of state.channels.entries()) {
      Object.assign(this.channels[index] ?? {}, saved);
    }
  }

  describe(name: string): string {
    const rows = this.channels.map(
      (channel, index) =>
        `  ${index}: page ${channel.page.toString(16)} address ${channel.address.toString(16)} ` +
        `count ${channel.count.toString(16)} mode ${channel.mode.toString(16)}${this.serves(index) ? '' : ' masked'}`,
    );
    return [`${name}: command ${this.#command.toString(16)}`, ...rows].join('\n');
  }
}
