import type { StateReader } from '../../devices/state.ts';
import { ChainError, DescriptorChain } from './descriptor-chain.ts';
import {
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_WRITE,
  DESCRIPTOR_BYTES,
  fullFence,
  passedEvent,
  type Ring,
  type RingOptions,
  type RingState,
  readAddress,
} from './ring.ts';

/** Further flags of a packed descriptor (virtio 1.2, section 2.8.1). */
const PACKED_F_AVAIL = 1 << 7;
const PACKED_F_USED = 1 << 15;
/** Fields and flags of the event suppression structures (section 2.8.14). */
const EVENT_OFFSET = 0;
const EVENT_FLAGS = 2;
const EVENT_FLAGS_ENABLE = 0;
const EVENT_FLAGS_DISABLE = 1;
const EVENT_FLAGS_DESC = 2;
const EVENT_WRAP = 0x8000;
export const PACKED_EVENT_BYTES = 4;

/** A packed virtqueue (virtio 1.2, section 2.8). Its size need not be a power of two. */
export class PackedRing implements Ring {
  readonly #options: RingOptions;
  #availableIndex = 0;
  #availableWrap = true;
  #usedIndex = 0;
  #usedWrap = true;
  /** Slots given back since the driver was last told. */
  #untold = 0;
  /** The last offset and wrap that the driver was asked to notify at; undefined: none yet. */
  #armedAt: number | undefined;
  /** Slots of buffers that were taken and not given back. */
  #inFlight = 0;

  constructor(options: RingOptions) {
    this.#options = options;
  }

  pop(): DescriptorChain | undefined {
    const { memory, areas, eventIndex } = this.#options;
    if (!this.#isAvailable()) {
      const place = this.#availableIndex | (this.#availableWrap ? EVENT_WRAP : 0);
      if (!eventIndex || this.#armedAt === place) {
        return undefined;
      }
      this.#armedAt = place;
      memory.writeU16(areas.device + EVENT_OFFSET, place);
      memory.writeU16(areas.device + EVENT_FLAGS, EVENT_FLAGS_DESC);
      fullFence();
      if (!this.#isAvailable()) {
        return undefined;
      }
    }
    return this.#take();
  }

  #isAvailable(): boolean {
    const { memory, areas } = this.#options;
    const flags = memory.readU16(areas.descriptors + this.#availableIndex * DESCRIPTOR_BYTES + 14);
    return (
      ((flags & PACKED_F_AVAIL) !== 0) === this.#availableWrap &&
      ((flags & PACKED_F_USED) !== 0) !== this.#availableWrap
    );
  }

  #take(): DescriptorChain {
    const { memory, size, areas } = this.#options;
    // The buffer's ID and the number of its slots are known only at its last descriptor.
    let slots = 0;
    let id = 0;
    for (let more = true; more; ) {
      if (slots >= size) {
        throw new ChainError('a chain that fills more than the ring');
      }
      const at = areas.descriptors + ((this.#availableIndex + slots) % size) * DESCRIPTOR_BYTES;
      const flags = memory.readU16(at + 14);
      id = memory.readU16(at + 12);
      more = (flags & DESC_F_NEXT) !== 0;
      if ((flags & DESC_F_INDIRECT) !== 0 && (more || slots > 0)) {
        throw new ChainError('an indirect descriptor in a chain');
      }
      slots++;
    }
    if (this.#inFlight + slots > size) {
      throw new ChainError('more buffers available than the ring has room for');
    }
    const chain = new DescriptorChain(memory, id, slots);
    for (let slot = 0; slot < slots; slot++) {
      this.#append(chain, areas.descriptors + ((this.#availableIndex + slot) % size) * DESCRIPTOR_BYTES);
    }
    this.#inFlight += slots;
    this.#availableIndex += slots;
    if (this.#availableIndex >= size) {
      this.#availableIndex -= size;
      this.#availableWrap = !this.#availableWrap;
    }
    return chain;
  }

  #append(chain: DescriptorChain, at: number): void {
    const { memory, indirect } = this.#options;
    const address = readAddress(memory, at);
    const length = memory.readU32(at + 8);
    const flags = memory.readU16(at + 14);
    if ((flags & DESC_F_INDIRECT) === 0) {
      chain.append(address, length, (flags & DESC_F_WRITE) !== 0);
      return;
    }
    if (!indirect || length === 0 || length % DESCRIPTOR_BYTES !== 0) {
      throw new ChainError('an indirect descriptor that may not be');
    }
    // Entries of an indirect table follow one another; of their flags only WRITE means something (section 2.8.9).
    for (let offset = 0; offset < length; offset += DESCRIPTOR_BYTES) {
      const entry = address + offset;
      const writable = (memory.readU16(entry + 14) & DESC_F_WRITE) !== 0;
      chain.append(readAddress(memory, entry), memory.readU32(entry + 8), writable);
    }
  }

  push(chains: readonly DescriptorChain[], written: readonly number[]): void {
    const { memory, size, areas } = this.#options;
    let firstAt = 0;
    let firstFlags = 0;
    for (let i = 0; i < chains.length; i++) {
      const slots = chains[i]?.slots ?? 1;
      const length = written[i] ?? 0;
      const at = areas.descriptors + this.#usedIndex * DESCRIPTOR_BYTES;
      memory.writeU32(at + 8, length);
      memory.writeU16(at + 12, chains[i]?.id ?? 0);
      const flags = (this.#usedWrap ? PACKED_F_AVAIL | PACKED_F_USED : 0) | (length > 0 ? DESC_F_WRITE : 0);
      if (i === 0) {
        firstAt = at + 14;
        firstFlags = flags;
      } else {
        memory.writeU16(at + 14, flags);
      }
      this.#usedIndex += slots;
      if (this.#usedIndex >= size) {
        this.#usedIndex -= size;
        this.#usedWrap = !this.#usedWrap;
      }
      this.#untold += slots;
      this.#inFlight -= slots;
    }
    // The flags hand a descriptor over, and the driver takes them in order: the first come last.
    memory.writeU16(firstAt, firstFlags);
  }

  takeInterrupt(): boolean {
    const { memory, size, areas, eventIndex } = this.#options;
    const untold = this.#untold;
    if (untold === 0) {
      return false;
    }
    this.#untold = 0;
    fullFence();
    const flags = memory.readU16(areas.driver + EVENT_FLAGS) & 3;
    if (flags === EVENT_FLAGS_DISABLE) {
      return false;
    }
    if (flags === EVENT_FLAGS_ENABLE || !eventIndex || untold >= size) {
      return true;
    }
    const place = memory.readU16(areas.driver + EVENT_OFFSET);
    const wrapped = (place & EVENT_WRAP) !== 0;
    const event = (place & ~EVENT_WRAP) - (wrapped === this.#usedWrap ? 0 : size);
    return passedEvent(event, this.#usedIndex, this.#usedIndex - untold);
  }

  adopt(chain: DescriptorChain): void {
    if (this.#inFlight + chain.slots > this.#options.size) {
      throw new ChainError('more buffers in flight than the ring has room for');
    }
    this.#inFlight += chain.slots;
  }

  save(): RingState {
    return {
      availableIndex: this.#availableIndex,
      availableWrap: this.#availableWrap,
      usedIndex: this.#usedIndex,
      usedWrap: this.#usedWrap,
      untold: this.#untold,
      armedAt: this.#armedAt ?? -1,
    };
  }

  load(reader: StateReader): () => void {
    const { size } = this.#options;
    const availableIndex = reader.int('availableIndex', 0, size - 1);
    const availableWrap = reader.boolean('availableWrap');
    const usedIndex = reader.int('usedIndex', 0, size - 1);
    const usedWrap = reader.boolean('usedWrap');
    const untold = reader.u32('untold');
    const armedAt = reader.int('armedAt', -1, 0xffff);
    return () => {
      this.#availableIndex = availableIndex;
      this.#availableWrap = availableWrap;
      this.#usedIndex = usedIndex;
      this.#usedWrap = usedWrap;
      this.#untold = untold;
      this.#armedAt = armedAt < 0 ? undefined : armedAt;
      this.#inFlight = 0;
    };
  }
}
