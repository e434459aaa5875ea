import { type Log, limitedLog } from '../base/log.ts';
import type { StateValue } from '../devices/device.ts';
import { StateReader } from '../devices/state.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { VirtQueue, type VirtQueueState } from './queue/virt-queue.ts';
import {
  STATUS_DRIVER_OK,
  STATUS_FEATURES_OK,
  STATUS_NEEDS_RESET,
  VIRTIO_F_ANY_LAYOUT,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
  type VirtioDevice,
} from './virtio-device.ts';

/** What a transport has to do when the core wants the driver's attention. */
export interface CoreInterrupts {
  queue(index: number): void;
  config(): void;
}

export interface CoreOptions {
  readonly memory: GuestMemory;
  readonly interrupts: CoreInterrupts;
  readonly log: Log;
  /** Offer packed rings; true unless said otherwise. */
  readonly packed?: boolean;
}

export type VirtioCoreState = {
  status: number;
  driverFeatures: bigint;
  legacy: boolean;
  active: boolean;
  generation: number;
  queues: VirtQueueState[];
  device: StateValue;
};

const LEGACY_PAGE = 0x1000;

/**
 * What all transports have in common: the status machine, negotiation of features, the queues and the life of the
 * device (virtio 1.2, sections 2.1, 2.2 and 3).
 */
export class VirtioCore {
  readonly device: VirtioDevice;
  readonly queues: readonly VirtQueue[];
  /** Everything that is offered. Bits 0–31 alone go to legacy drivers. */
  readonly offered: bigint;
  driverFeatures = 0n;
  /** Changes whenever the configuration does (section 2.5.1); 8 bits. */
  generation = 0;
  readonly #interrupts: CoreInterrupts;
  readonly #log: Log;
  #status = 0;
  /** The driver uses the legacy interface: no FEATURES_OK, rings of one block. */
  #legacy = false;
  #active = false;

  constructor(device: VirtioDevice, options: CoreOptions) {
    this.device = device;
    this.#interrupts = options.interrupts;
    this.#log = limitedLog(options.log, 20);
    const owner = {
      memory: options.memory,
      interrupt: (queue: number) => this.#interrupts.queue(queue),
      broken: (reason: string) => this.#needsReset(reason),
    };
    this.queues = device.queueSizes.map((size, index) => new VirtQueue(index, size, owner));
    this.offered =
      device.features |
      VIRTIO_F_ANY_LAYOUT |
      VIRTIO_F_INDIRECT_DESC |
      VIRTIO_F_EVENT_IDX |
      VIRTIO_F_VERSION_1 |
      ((options.packed ?? true) ? VIRTIO_F_RING_PACKED : 0n) |
      (device.resetQueue === undefined ? 0n : VIRTIO_F_RING_RESET);
    device.attach({
      configChanged: () => this.#configChanged(),
      needsReset: (reason) => this.#needsReset(reason),
    });
  }

  get status(): number {
    return this.#status;
  }

  get active(): boolean {
    return this.#active;
  }

  /** From here on, until a reset, the driver is taken for a legacy one. */
  takeForLegacy(): void {
    if (this.#status & STATUS_FEATURES_OK) {
      return;
    }
    this.#legacy = true;
  }

  /** Sets 32 bits of the driver's features; `word` 0 is bits 0–31. Without effect once features are settled. */
  writeDriverFeatures(word: number, value: number): void {
    if (word > 1 || this.#status & (STATUS_FEATURES_OK | STATUS_DRIVER_OK)) {
      return;
    }
    const shift = BigInt(word * 32);
    this.driverFeatures = (this.driverFeatures & ~(0xffff_ffffn << shift)) | (BigInt(value >>> 0) << shift);
    if (this.#legacy) {
      this.driverFeatures &= this.offered & 0xffff_ffffn;
    }
  }

  /** The driver writes the device status field; 0 resets. */
  writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    let next = value & 0xff;
    if ((next & STATUS_FEATURES_OK) !== 0 && (this.#status & STATUS_FEATURES_OK) === 0 && !this.#accepts()) {
      next &= ~STATUS_FEATURES_OK;
    }
    // Bits are never taken back but by a reset.
    this.#status |= next & ~STATUS_NEEDS_RESET;
    if ((this.#status & STATUS_DRIVER_OK) !== 0) {
      this.#activate();
    }
  }

  #accepts(): boolean {
    const features = this.driverFeatures;
    return (
      !this.#legacy &&
      (features & ~this.offered) === 0n &&
      (features & VIRTIO_F_VERSION_1) !== 0n &&
      this.device.acceptsFeatures?.(features) !== false
    );
  }

  #activate(): void {
    const settled = this.#legacy || (this.#status & STATUS_FEATURES_OK) !== 0;
    if (this.#active || !settled || (this.#status & STATUS_NEEDS_RESET) !== 0) {
      return;
    }
    this.#active = true;
    this.device.activate({ features: this.driverFeatures, queues: this.queues });
    for (const queue of this.queues) {
      if (queue.enabled) {
        this.device.notify(queue.index);
      }
    }
  }

  enableQueue(index: number): void {
    const queue = this.queues[index];
    if (queue === undefined || (this.#status & STATUS_FEATURES_OK) === 0) {
      return;
    }
    const has = (feature: bigint) => (this.driverFeatures & feature) !== 0n;
    queue.enable({
      packed: has(VIRTIO_F_RING_PACKED),
      indirect: has(VIRTIO_F_INDIRECT_DESC),
      eventIndex: has(VIRTIO_F_EVENT_IDX),
    });
  }

  /** Places half of the address of one of a queue's areas. */
  writeQueueAddress(index: number, area: 'descriptors' | 'driver' | 'device', high: boolean, value: number): void {
    const queue = this.queues[index];
    if (queue !== undefined) {
      const old = queue.areas[area];
      const address = high ? value * 2 ** 32 + (old % 2 ** 32) : Math.floor(old / 2 ** 32) * 2 ** 32 + value;
      queue.setAreas({ [area]: address });
    }
  }

  /** The driver resets one queue (section 2.6.1). */
  resetQueue(index: number): void {
    const queue = this.queues[index];
    if (queue === undefined || (this.driverFeatures & VIRTIO_F_RING_RESET) === 0n) {
      return;
    }
    queue.reset();
    if (this.#active) {
      this.device.resetQueue?.(index);
    }
  }

  /** The driver takes a queue away, where the transport has it so (virtio-mmio's QueueReady, section 4.2.2). */
  disableQueue(index: number): void {
    const queue = this.queues[index];
    if (queue?.enabled) {
      queue.reset();
      if (this.#active) {
        this.device.resetQueue?.(index);
      }
    }
  }

  /** A legacy driver places a queue by the number of its first page, or takes it away with 0 (section 2.7.2). */
  placeLegacyQueue(index: number, page: number): void {
    const queue = this.queues[index];
    if (queue === undefined || !this.#legacy) {
      return;
    }
    if (page === 0) {
      queue.reset();
      return;
    }
    const { size } = queue;
    const descriptors = page * LEGACY_PAGE;
    const driver = descriptors + 16 * size;
    const end = driver + 6 + 2 * size;
    queue.setAreas({ descriptors, driver, device: Math.ceil(end / LEGACY_PAGE) * LEGACY_PAGE });
    const has = (feature: bigint) => (this.driverFeatures & feature) !== 0n;
    queue.enable({ packed: false, indirect: has(VIRTIO_F_INDIRECT_DESC), eventIndex: has(VIRTIO_F_EVENT_IDX) });
  }

  /** The driver says that it added buffers to a queue. */
  notify(index: number): void {
    if (this.#active) {
      if (index < this.queues.length) {
        this.device.notify(index);
      }
    } else if (this.#legacy) {
      // Some legacy drivers use the device before they say that they are ready (section 3.1.2).
      this.#activate();
    }
  }

  /** Reads `size` bytes of the configuration, little endian; zeros beyond its end. */
  readConfig(offset: number, size: number): number {
    const { config } = this.device;
    let value = 0;
    for (let i = size - 1; i >= 0; i--) {
      value = (value << 8) | (config[offset + i] ?? 0);
    }
    return value >>> 0;
  }

  writeConfig(offset: number, size: number, value: number): void {
    const { device } = this;
    if (offset + size <= device.config.length) {
      device.writeConfig?.(
        offset,
        Uint8Array.from({ length: size }, (_, i) => (value >>> (8 * i)) & 0xff),
      );
    }
  }

  #configChanged(): void {
    this.generation = (this.generation + 1) & 0xff;
    if (this.#active) {
      this.#interrupts.config();
    }
  }

  #needsReset(reason: string): void {
    this.#log.warn(`the driver broke the rules: ${reason}; the device waits for a reset`);
    for (const queue of this.queues) {
      queue.stop();
    }
    this.#status |= STATUS_NEEDS_RESET;
    if (this.#active && !this.#legacy) {
      this.#interrupts.config();
    }
  }

  reset(): void {
    this.#status = 0;
    this.#legacy = false;
    this.#active = false;
    this.driverFeatures = 0n;
    for (const queue of this.queues) {
      queue.reset();
    }
    this.device.reset();
  }

  save(): VirtioCoreState {
    return {
      status: this.#status,
      driverFeatures: this.driverFeatures,
      legacy: this.#legacy,
      active: this.#active,
      generation: this.generation,
      queues: this.queues.map((queue) => queue.save()),
      device: this.device.save(),
    };
  }

  /** Restores what `save` gave. Throws HostError('bad-state') with everything as it was. */
  load(reader: StateReader): void {
    const apply = this.#read(reader);
    const before = new StateReader('before', this.save() as StateValue);
    apply();
    try {
      this.#loadDevice(reader.object('device'));
    } catch (error) {
      this.#read(before)();
      this.#loadDevice(before.object('device'));
      throw error;
    }
  }

  #loadDevice(reader: StateReader): void {
    this.device.load(reader, this.#active ? { features: this.driverFeatures, queues: this.queues } : undefined);
  }

  #read(reader: StateReader): () => void {
    const status = reader.u8('status');
    const driverFeatures = reader.u64('driverFeatures');
    const legacy = reader.boolean('legacy');
    const active = reader.boolean('active');
    const generation = reader.u8('generation');
    const queues = reader.objects('queues', this.queues.length);
    const stopped = (status & STATUS_NEEDS_RESET) !== 0;
    if ((status & STATUS_FEATURES_OK || active) && (driverFeatures & ~this.offered) !== 0n) {
      reader.refuse('the guest uses features that this machine does not have');
    }
    const loads = this.queues.map((queue, index) => {
      const saved = queues[index];
      return saved === undefined ? reader.refuse('a queue is missing') : queue.load(saved, stopped);
    });
    return () => {
      this.#status = status;
      this.driverFeatures = driverFeatures;
      this.#legacy = legacy;
      this.#active = active;
      this.generation = generation;
      for (const load of loads) {
        load();
      }
    };
  }

  describe(): string {
    const queues = this.queues
      .map((queue) => `queue ${queue.index}: ${queue.enabled ? `${queue.size} entries, ${queue.inFlight} out` : 'off'}`)
      .join('; ');
    return `status ${this.#status.toString(16)} features ${this.driverFeatures.toString(16)}${this.#legacy ? ' legacy' : ''}\n${queues}\n${this.device.describe()}`;
  }

  dispose(): void {
    this.device.dispose();
  }
}
