import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { StateReader } from '../state.ts';

/** Bus master IDE registers (Programming Interface for Bus Master IDE Controller 1.0, section 2). */
export const BM_COMMAND = 0;
export const BM_STATUS = 2;
export const BM_TABLE = 4;

export const BM_COMMAND_START = 0x01;
/** Set: the drive's data goes to memory. */
export const BM_COMMAND_TO_MEMORY = 0x08;

export const BM_STATUS_ACTIVE = 0x01;
export const BM_STATUS_ERROR = 0x02;
export const BM_STATUS_INTERRUPT = 0x04;
const BM_STATUS_CAPABLE = 0x60;

/** Second dword of a physical region descriptor: the last one of its table. */
const PRD_END_OF_TABLE = 0x8000_0000;

export type BusMasterState = {
  command: number;
  status: number;
  table: number;
  next: number;
  address: number;
  remaining: number;
  last: boolean;
};

/**
 * One channel's DMA engine: walks the guest's table of physical regions and moves a drive's data from and to memory.
 * A table may be hostile: every entry moves at least two bytes, and never more is moved than the drive has to give.
 */
export class BusMaster {
  readonly #memory: GuestMemory;
  readonly #enabled: () => boolean;
  /** Called when data may flow: the drive then moves what it has. */
  onStart: (() => void) | undefined;
  #command = 0;
  #status = 0;
  #table = 0;
  /** Where the next descriptor is read, and what is left of the present region. */
  #next = 0;
  #address = 0;
  #remaining = 0;
  #last = false;

  /** `enabled` is the function's bus master bit: without it nothing moves. */
  constructor(memory: GuestMemory, enabled: () => boolean) {
    this.#memory = memory;
    this.#enabled = enabled;
  }

  get active(): boolean {
    return (this.#status & BM_STATUS_ACTIVE) !== 0;
  }

  /** Reads a byte of the eight registers. */
  readByte(offset: number): number {
    switch (offset) {
      case BM_COMMAND:
        return this.#command;
      case BM_STATUS:
        return this.#status;
      case BM_TABLE:
      case BM_TABLE + 1:
      case BM_TABLE + 2:
      case BM_TABLE + 3:
        return (this.#table >>> ((offset - BM_TABLE) * 8)) & 0xff;
      default:
        return 0xff;
    }
  }

  writeByte(offset: number, value: number): void {
    switch (offset) {
      case BM_COMMAND:
        this.#writeCommand(value & (BM_COMMAND_START | BM_COMMAND_TO_MEMORY));
        break;
      case BM_STATUS:
        // Error and Interrupt are cleared by writing ones, the capability bits are the driver's notes.
        this.#status =
          (value & BM_STATUS_CAPABLE) |
          (this.#status & BM_STATUS_ACTIVE) |
          (this.#status & ~value & (BM_STATUS_ERROR | BM_STATUS_INTERRUPT));
        break;
      case BM_TABLE:
      case BM_TABLE + 1:
      case BM_TABLE + 2:
      case BM_TABLE + 3: {
        const shift = (offset - BM_TABLE) * 8;
        this.#table = ((this.#table & ~(0xff << shift)) | (value << shift)) & ~3;
        this.#table >>>= 0;
        break;
      }
    }
  }

  #writeCommand(command: number): void {
    const before = this.#command;
    this.#command = command;
    if (((before ^ command) & BM_COMMAND_START) === 0) {
      return;
    }
    if (command & BM_COMMAND_START) {
      this.#status |= BM_STATUS_ACTIVE;
      this.#next = this.#table;
      this.#address = 0;
      this.#remaining = 0;
      this.#last = false;
      this.onStart?.();
    } else {
      this.#status &= ~BM_STATUS_ACTIVE;
    }
  }

  /** The drive's interrupt line rose: all its data has reached memory (section 2.2, bit 2). */
  noteInterrupt(): void {
    this.#status |= BM_STATUS_INTERRUPT;
  }

  /** Moves `bytes` to memory; returns how many were taken: fewer when inactive or when the table ends. */
  toMemory(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.length && this.#region()) {
      const count = this.#next32(bytes.length - at);
      this.#memory.write(this.#address, bytes.subarray(at, at + count));
      this.#advance(count);
      at += count;
    }
    return at;
  }

  /** Fills `into` from memory; returns how many bytes were given: fewer when inactive or when the table ends. */
  fromMemory(into: Uint8Array): number {
    let at = 0;
    while (at < into.length && this.#region()) {
      const count = this.#next32(into.length - at);
      this.#memory.read(this.#address, into.subarray(at, at + count));
      this.#advance(count);
      at += count;
    }
    return at;
  }

  /** Bytes that one memory access may move: within the region and below 4 GiB. */
  #next32(wanted: number): number {
    return Math.min(wanted, this.#remaining, 0x1_0000_0000 - this.#address);
  }

  #region(): boolean {
    if (!this.active || !this.#enabled()) {
      return false;
    }
    if (this.#remaining === 0) {
      this.#address = (this.#memory.readU32(this.#next) & ~1) >>> 0;
      const control = this.#memory.readU32((this.#next + 4) >>> 0);
      this.#next = (this.#next + 8) >>> 0;
      this.#remaining = control & 0xfffe || 0x1_0000;
      this.#last = (control & PRD_END_OF_TABLE) !== 0;
    }
    return true;
  }

  #advance(count: number): void {
    this.#address = (this.#address + count) >>> 0;
    this.#remaining -= count;
    if (this.#remaining === 0 && this.#last) {
      this.#status &= ~BM_STATUS_ACTIVE;
    }
  }

  reset(): void {
    this.load({ command: 0, status: 0, table: 0, next: 0, address: 0, remaining: 0, last: false });
  }

  save(): BusMasterState {
    return {
      command: this.#command,
      status: this.#status,
      table: this.#table,
      next: this.#next,
      address: this.#address,
      remaining: this.#remaining,
      last: this.#last,
    };
  }

  static read(reader: StateReader): BusMasterState {
    return {
      command: reader.u8('command') & (BM_COMMAND_START | BM_COMMAND_TO_MEMORY),
      status: reader.u8('status') & (BM_STATUS_CAPABLE | BM_STATUS_ACTIVE | BM_STATUS_ERROR | BM_STATUS_INTERRUPT),
      table: (reader.u32('table') & ~3) >>> 0,
      next: (reader.u32('next') & ~3) >>> 0,
      address: reader.u32('address'),
      remaining: reader.int('remaining', 0, 0x1_0000),
      last: reader.boolean('last'),
    };
  }

  load(state: BusMasterState): void {
    this.#command = state.command;
    this.#status = state.status;
    this.#table = state.table;
    this.#next = state.next;
    this.#address = state.address;
    this.#remaining = state.remaining;
    this.#last = state.last;
  }
}
