import type { StateReader } from '../../devices/state.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';

/** Descriptors of one chain, indirect ones included. Longer chains are refused: no driver makes them. */
export const MAX_CHAIN_LENGTH = 1024;
/** "The total length of a buffer must not exceed 2^32 bytes" (virtio 1.2, section 2.7.4.2). */
const MAX_CHAIN_BYTES = 2 ** 32;

/** Why a chain is no chain: it comes from a guest that breaks the rules, and its device then needs a reset. */
export class ChainError extends Error {
  override readonly name = 'ChainError';
}

export type ChainState = {
  id: number;
  slots: number;
  readable: number;
  addresses: readonly number[];
  lengths: readonly number[];
};

/**
 * One buffer that the driver has handed over: segments of guest memory, first those that the device may read, then those
 * that it may write. Offsets count bytes from the start of the readable or of the writable part. Copies never reach
 * beyond a part; segments outside RAM read as ones and swallow what is written.
 */
export class DescriptorChain {
  /** What the driver calls the buffer: the index of its first descriptor, or in a packed ring its buffer ID. */
  readonly id: number;
  /** Places in a packed ring; 1 in a split ring. */
  readonly slots: number;
  readableBytes = 0;
  writableBytes = 0;
  readonly #memory: GuestMemory;
  readonly #addresses: number[] = [];
  readonly #lengths: number[] = [];
  /** Segments that may be read; the others may be written. */
  #readable = 0;

  constructor(memory: GuestMemory, id: number, slots: number) {
    this.#memory = memory;
    this.id = id;
    this.slots = slots;
  }

  /** Appends a segment. Throws {@link ChainError} when it breaks the rules. */
  append(address: number, length: number, writable: boolean): void {
    if (this.#addresses.length >= MAX_CHAIN_LENGTH) {
      throw new ChainError('a chain of too many descriptors');
    }
    if (!Number.isSafeInteger(address + length)) {
      throw new ChainError('a descriptor beyond all memory');
    }
    if (writable) {
      this.writableBytes += length;
    } else {
      if (this.#addresses.length !== this.#readable) {
        throw new ChainError('a readable descriptor behind a writable one');
      }
      this.#readable++;
      this.readableBytes += length;
    }
    if (this.readableBytes + this.writableBytes > MAX_CHAIN_BYTES) {
      throw new ChainError('a chain of more than 4 GiB');
    }
    this.#addresses.push(address);
    this.#lengths.push(length);
  }

  /** Copies from the readable part at `offset`; returns the bytes copied, fewer than asked for at its end. */
  read(offset: number, into: Uint8Array): number {
    return this.#copy(0, this.#readable, offset, into, false);
  }

  /** Copies into the writable part at `offset`; returns the bytes copied, fewer than given at its end. */
  write(offset: number, from: Uint8Array): number {
    return this.#copy(this.#readable, this.#addresses.length, offset, from, true);
  }

  /** Writes `length` zeros into the writable part at `offset`, or as many as fit; returns how many. */
  writeZeros(offset: number, length: number): number {
    let done = 0;
    while (done < length) {
      const count = this.write(offset + done, ZEROS.subarray(0, Math.min(ZEROS.length, length - done)));
      if (count === 0) {
        break;
      }
      done += count;
    }
    return done;
  }

  /** `count` bytes of the readable part from `offset` on, in new memory; fewer at its end. */
  bytes(offset: number, count: number): Uint8Array {
    const result = new Uint8Array(Math.max(0, Math.min(count, this.readableBytes - offset)));
    this.read(offset, result);
    return result;
  }

  /** Calls `visit` for each segment in order, with guest-physical addresses, readable ones first. */
  forEachSegment(visit: (address: number, length: number, writable: boolean) => void): void {
    for (let i = 0; i < this.#addresses.length; i++) {
      visit(this.#addresses[i] ?? 0, this.#lengths[i] ?? 0, i >= this.#readable);
    }
  }

  #copy(first: number, end: number, offset: number, bytes: Uint8Array, write: boolean): number {
    let skip = offset;
    let done = 0;
    for (let i = first; i < end && done < bytes.length; i++) {
      const length = this.#lengths[i] ?? 0;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const address = (this.#addresses[i] ?? 0) + skip;
      const count = Math.min(length - skip, bytes.length - done);
      const part = count === bytes.length ? bytes : bytes.subarray(done, done + count);
      if (write) {
        this.#memory.write(address, part);
      } else {
        this.#memory.read(address, part);
      }
      done += count;
      skip = 0;
    }
    return done;
  }

  save(): ChainState {
    return {
      id: this.id,
      slots: this.slots,
      readable: this.#readable,
      addresses: this.#addresses.slice(),
      lengths: this.#lengths.slice(),
    };
  }

  /** The chain that `save` described. Throws HostError('bad-state'). `queueSize` bounds its id and its slots. */
  static load(memory: GuestMemory, reader: StateReader, queueSize: number): DescriptorChain {
    const chain = new DescriptorChain(memory, reader.u16('id'), reader.int('slots', 1, queueSize));
    const addresses = reader.ints('addresses', 0, Number.MAX_SAFE_INTEGER, undefined, MAX_CHAIN_LENGTH);
    const lengths = reader.ints('lengths', 0, 0xffffffff, addresses.length);
    const readable = reader.int('readable', 0, addresses.length);
    try {
      for (const [index, address] of addresses.entries()) {
        chain.append(address, lengths[index] ?? 0, index >= readable);
      }
    } catch (error) {
      reader.refuse(error instanceof ChainError ? error.message : String(error));
    }
    return chain;
  }
}

const ZEROS = new Uint8Array(0x10000);
