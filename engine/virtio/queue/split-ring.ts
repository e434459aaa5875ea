import type { StateReader } from '../../devices/state.ts';
import { ChainError, DescriptorChain, MAX_CHAIN_LENGTH } from './descriptor-chain.ts';
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

const AVAIL_F_NO_INTERRUPT = 1;
/** Both rings begin with flags and index, two bytes each. */
const RING_INDEX = 2;
const RING_ENTRIES = 4;
const AVAIL_ENTRY_BYTES = 2;
const USED_ENTRY_BYTES = 8;

/** Bytes of the areas of a split ring of `size` entries, event fields included (virtio 1.2, section 2.7). */
export function splitRingBytes(size: number): { descriptors: number; driver: number; device: number } {
  return {
    descriptors: DESCRIPTOR_BYTES * size,
    driver: RING_ENTRIES + AVAIL_ENTRY_BYTES * size + 2,
    device: RING_ENTRIES + USED_ENTRY_BYTES * size + 2,
  };
}

/** A split virtqueue (virtio 1.2, section 2.7). */
export class SplitRing implements Ring {
  readonly #options: RingOptions;
  /** Next entry of the available ring to look at, and of the used ring to write; 16 bits, they wrap. */
  #availableIndex = 0;
  #usedIndex = 0;
  /** The used index when the driver was last told of it. */
  #toldIndex = 0;
  /** The last value of avail_event that was written. */
  #armedAt = 0;
  #inFlight = 0;

  constructor(options: RingOptions) {
    this.#options = options;
  }

  pop(): DescriptorChain | undefined {
    const { memory, size, areas, eventIndex } = this.#options;
    let waiting = (memory.readU16(areas.driver + RING_INDEX) - this.#availableIndex) & 0xffff;
    if (waiting === 0) {
      if (!eventIndex || this.#armedAt === this.#availableIndex) {
        return undefined;
      }
      this.#armedAt = this.#availableIndex;
      memory.writeU16(areas.device + RING_ENTRIES + USED_ENTRY_BYTES * size, this.#armedAt);
      fullFence();
      waiting = (memory.readU16(areas.driver + RING_INDEX) - this.#availableIndex) & 0xffff;
      if (waiting === 0) {
        return undefined;
      }
    }
    if (waiting > size || this.#inFlight >= size) {
      throw new ChainError('more buffers available than the ring has room for');
    }
    const slot = this.#availableIndex & (size - 1);
    const head = memory.readU16(areas.driver + RING_ENTRIES + AVAIL_ENTRY_BYTES * slot);
    const chain = this.#chain(head);
    this.#availableIndex = (this.#availableIndex + 1) & 0xffff;
    this.#inFlight++;
    return chain;
  }

  #chain(head: number): DescriptorChain {
    const { memory, size, areas, indirect } = this.#options;
    const chain = new DescriptorChain(memory, head, 1);
    let table = areas.descriptors;
    let limit = size;
    let index = head;
    let inIndirect = false;
    for (let steps = 0; ; steps++) {
      if (index >= limit || steps > size + MAX_CHAIN_LENGTH) {
        throw new ChainError(index >= limit ? 'a descriptor outside its table' : 'a chain that goes in circles');
      }
      const at = table + index * DESCRIPTOR_BYTES;
      const length = memory.readU32(at + 8);
      const flags = memory.readU16(at + 12);
      if (flags & DESC_F_INDIRECT) {
        if (!indirect || inIndirect || flags & DESC_F_NEXT || length === 0 || length % DESCRIPTOR_BYTES !== 0) {
          throw new ChainError('an indirect descriptor that may not be');
        }
        table = readAddress(memory, at);
        limit = length / DESCRIPTOR_BYTES;
        index = 0;
        inIndirect = true;
        continue;
      }
      chain.append(readAddress(memory, at), length, (flags & DESC_F_WRITE) !== 0);
      if ((flags & DESC_F_NEXT) === 0) {
        return chain;
      }
      index = memory.readU16(at + 14);
    }
  }

  push(chains: readonly DescriptorChain[], written: readonly number[]): void {
    const { memory, size, areas } = this.#options;
    for (let i = 0; i < chains.length; i++) {
      const slot = (this.#usedIndex + i) & (size - 1);
      const at = areas.device + RING_ENTRIES + USED_ENTRY_BYTES * slot;
      memory.writeU32(at, chains[i]?.id ?? 0);
      memory.writeU32(at + 4, written[i] ?? 0);
    }
    this.#usedIndex = (this.#usedIndex + chains.length) & 0xffff;
    memory.writeU16(areas.device + RING_INDEX, this.#usedIndex);
    this.#inFlight -= chains.length;
  }

  takeInterrupt(): boolean {
    const { memory, size, areas, eventIndex } = this.#options;
    const told = this.#toldIndex;
    if (told === this.#usedIndex) {
      return false;
    }
    this.#toldIndex = this.#usedIndex;
    fullFence();
    if (eventIndex) {
      const event = memory.readU16(areas.driver + RING_ENTRIES + AVAIL_ENTRY_BYTES * size);
      return passedEvent(event, this.#usedIndex, told);
    }
    return (memory.readU16(areas.driver) & AVAIL_F_NO_INTERRUPT) === 0;
  }

  adopt(_chain: DescriptorChain): void {
    if (this.#inFlight >= this.#options.size) {
      throw new ChainError('more buffers in flight than the ring has room for');
    }
    this.#inFlight++;
  }

  save(): RingState {
    return {
      availableIndex: this.#availableIndex,
      usedIndex: this.#usedIndex,
      toldIndex: this.#toldIndex,
      armedAt: this.#armedAt,
    };
  }

  load(reader: StateReader): () => void {
    const availableIndex = reader.u16('availableIndex');
    const usedIndex = reader.u16('usedIndex');
    const toldIndex = reader.u16('toldIndex');
    const armedAt = reader.u16('armedAt');
    return () => {
      this.#availableIndex = availableIndex;
      this.#usedIndex = usedIndex;
      this.#toldIndex = toldIndex;
      this.#armedAt = armedAt;
      this.#inFlight = 0;
    };
  }
}
