import type { StateReader } from '../../devices/state.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { ChainError, type ChainState, DescriptorChain } from './descriptor-chain.ts';
import { PackedRing } from './packed-ring.ts';
import type { Ring, RingAreas, RingState } from './ring.ts';
import { SplitRing, splitRingBytes } from './split-ring.ts';

/** How a ring is to be read, from the features that were negotiated. */
export interface QueueFormat {
  readonly packed: boolean;
  readonly indirect: boolean;
  readonly eventIndex: boolean;
}

export interface QueueOwner {
  readonly memory: GuestMemory;
  /** The driver is to be interrupted for this queue. */
  interrupt(queue: number): void;
  /** The driver broke the rules; the device stops until it is reset. */
  broken(reason: string): void;
}

export type VirtQueueState = {
  size: number;
  enabled: boolean;
  areas: { descriptors: number; driver: number; device: number };
  format: { packed: boolean; indirect: boolean; eventIndex: boolean };
  ring: RingState | null;
};

/** The largest queue there can be (virtio 1.2, section 2.7). */
export const MAX_QUEUE_SIZE = 32768;

/**
 * A virtqueue as a device sees it: buffers that the driver made available come out of `pop` and go back with `push`.
 * Nothing that a driver writes into its rings makes a method throw: a ring that breaks the rules stops the device
 * (DEVICE_NEEDS_RESET) and yields no more buffers.
 *
 *     for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
 *       queue.push(chain, carryOut(chain));
 *     }
 *     queue.signal();
 *
 * A device may keep buffers and give them back later in any order. Buffers that it keeps are part of its saved state
 * (`chain.save`, `queue.adopt`). After a reset of the device or the queue it must forget them: `push` ignores them then.
 */
export class VirtQueue {
  readonly index: number;
  readonly maxSize: number;
  readonly #owner: QueueOwner;
  #size: number;
  #areas: RingAreas = { descriptors: 0, driver: 0, device: 0 };
  #format: QueueFormat = { packed: false, indirect: false, eventIndex: false };
  #ring: Ring | undefined;
  #stopped = false;
  /** Buffers out with the device. */
  readonly #out = new Set<DescriptorChain>();

  constructor(index: number, maxSize: number, owner: QueueOwner) {
    this.index = index;
    this.maxSize = maxSize;
    this.#owner = owner;
    this.#size = maxSize;
  }

  get size(): number {
    return this.#size;
  }

  get areas(): RingAreas {
    return this.#areas;
  }

  get enabled(): boolean {
    return this.#ring !== undefined;
  }

  /** Buffers that were popped and not pushed back. */
  get inFlight(): number {
    return this.#out.size;
  }

  /** Sets the number of entries before the queue is enabled; what the queue cannot have is ignored. */
  setSize(size: number): void {
    if (!this.enabled && size > 0 && size <= this.maxSize) {
      this.#size = size;
    }
  }

  /** Places the areas before the queue is enabled. Addresses are guest-physical. */
  setAreas(areas: Partial<RingAreas>): void {
    if (!this.enabled) {
      this.#areas = { ...this.#areas, ...areas };
    }
  }

  enable(format: QueueFormat): void {
    if (this.enabled) {
      return;
    }
    const problem = this.#problem(this.#areas, this.#size, format);
    if (problem !== undefined) {
      this.#owner.broken(`queue ${this.index}: ${problem}`);
      return;
    }
    this.#format = format;
    this.#ring = this.#makeRing(this.#areas, this.#size, format);
    this.#stopped = false;
  }

  #problem({ descriptors, driver, device }: RingAreas, size: number, { packed }: QueueFormat): string | undefined {
    if (!packed && (size & (size - 1)) !== 0) {
      return `a split ring of ${size} entries, which is no power of two`;
    }
    // Alignments: virtio 1.2, sections 2.7 and 2.8.10.1.
    const [driverAlign, deviceAlign] = packed ? [4, 4] : [2, 4];
    if (descriptors % 16 !== 0 || driver % driverAlign !== 0 || device % deviceAlign !== 0) {
      return 'an area that is not aligned';
    }
    const limit = Number.MAX_SAFE_INTEGER - splitRingBytes(MAX_QUEUE_SIZE).descriptors;
    return Math.max(descriptors, driver, device) > limit ? 'an area beyond all memory' : undefined;
  }

  #makeRing(areas: RingAreas, size: number, format: QueueFormat): Ring {
    const { indirect, eventIndex } = format;
    const options = { memory: this.#owner.memory, size, areas, indirect, eventIndex };
    return format.packed ? new PackedRing(options) : new SplitRing(options);
  }

  /** As after a reset of the device, or of this queue alone. */
  reset(): void {
    this.#ring = undefined;
    this.#stopped = false;
    this.#size = this.maxSize;
    this.#areas = { descriptors: 0, driver: 0, device: 0 };
    this.#out.clear();
  }

  /** No more buffers come out until a reset. */
  stop(): void {
    this.#stopped = true;
  }

  /** The next buffer, or undefined when there is none: then the driver notifies of the next one that it adds. */
  pop(): DescriptorChain | undefined {
    if (this.#ring === undefined || this.#stopped) {
      return undefined;
    }
    try {
      const chain = this.#ring.pop();
      if (chain !== undefined) {
        this.#out.add(chain);
      }
      return chain;
    } catch (error) {
      if (!(error instanceof ChainError)) {
        throw error;
      }
      this.#stopped = true;
      this.#owner.broken(`queue ${this.index}: ${error.message}`);
      return undefined;
    }
  }

  /**
   * Gives a buffer back; its first `written` writable bytes were written. The driver hears of it with `signal`.
   * Ignored for a buffer that is not out any more, because there was a reset.
   */
  push(chain: DescriptorChain, written: number): void {
    if (this.#out.delete(chain)) {
      this.#ring?.push([chain], [written]);
    }
  }

  /** As `push`, for several buffers that belong together: the driver sees all of them at once. */
  pushTogether(chains: readonly DescriptorChain[], written: readonly number[]): void {
    if (chains.length > 0 && chains.every((chain) => this.#out.has(chain))) {
      for (const chain of chains) {
        this.#out.delete(chain);
      }
      this.#ring?.push(chains, written);
    }
  }

  /** Interrupts the driver for what was pushed, if it wants that. */
  signal(): void {
    if (this.#ring?.takeInterrupt() === true) {
      this.#owner.interrupt(this.index);
    }
  }

  /** `push` and `signal`. */
  complete(chain: DescriptorChain, written: number): void {
    this.push(chain, written);
    this.signal();
  }

  /** True while the device holds this buffer: no reset came in between. */
  holds(chain: DescriptorChain): boolean {
    return this.#out.has(chain);
  }

  /** The buffer that `chain.save` described, out with the device again. Throws HostError('bad-state'). */
  adopt(reader: StateReader): DescriptorChain {
    const ring = this.#ring;
    if (ring === undefined) {
      reader.refuse(`queue ${this.index} is not enabled`);
    }
    const chain = DescriptorChain.load(this.#owner.memory, reader, this.#size);
    try {
      ring.adopt(chain);
    } catch (error) {
      reader.refuse(error instanceof ChainError ? error.message : String(error));
    }
    this.#out.add(chain);
    return chain;
  }

  save(): VirtQueueState {
    return {
      size: this.#size,
      enabled: this.enabled,
      areas: { ...this.#areas },
      format: { ...this.#format },
      ring: this.#ring?.save() ?? null,
    };
  }

  /** Reads what `save` gave and checks it; the result applies it. `stopped`: the device needs a reset. */
  load(reader: StateReader, stopped: boolean): () => void {
    const size = reader.int('size', 1, this.maxSize);
    const areasReader = reader.object('areas');
    const address = (key: string) => areasReader.int(key, 0, Number.MAX_SAFE_INTEGER);
    const areas = { descriptors: address('descriptors'), driver: address('driver'), device: address('device') };
    const formatReader = reader.object('format');
    const format = {
      packed: formatReader.boolean('packed'),
      indirect: formatReader.boolean('indirect'),
      eventIndex: formatReader.boolean('eventIndex'),
    };
    let ring: Ring | undefined;
    let loadRing = () => {};
    if (reader.boolean('enabled')) {
      const problem = this.#problem(areas, size, format);
      if (problem !== undefined) {
        reader.refuse(problem);
      }
      ring = this.#makeRing(areas, size, format);
      loadRing = ring.load(reader.object('ring'));
    }
    return () => {
      this.#size = size;
      this.#areas = areas;
      this.#format = format;
      this.#ring = ring;
      this.#stopped = stopped;
      this.#out.clear();
      loadRing();
    };
  }
}

export type { ChainState };
