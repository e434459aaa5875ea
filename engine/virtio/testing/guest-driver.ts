import assert from 'node:assert/strict';
import { defined } from '../../base/assert.ts';
import { FakeMemory } from '../../testing/fakes.ts';
import { canBeTransitional } from '../pci/pci-identity.ts';
import {
  STATUS_ACKNOWLEDGE,
  STATUS_DRIVER,
  STATUS_DRIVER_OK,
  STATUS_FEATURES_OK,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
  type VirtioDevice,
} from '../virtio-device.ts';
import {
  type Completion,
  type DriverQueue,
  PackedDriverQueue,
  type Segment,
  SplitDriverQueue,
} from './driver-queue.ts';
import {
  type DriverTransport,
  LegacyDriverTransport,
  MmioDriverTransport,
  PciDriverTransport,
} from './driver-transport.ts';

/** One way to drive a device. */
export interface DriverStyle {
  readonly transport: 'pci' | 'pci-msix' | 'legacy' | 'mmio';
  readonly packed: boolean;
  readonly eventIndex: boolean;
  readonly indirect: boolean;
}

/** All ways that make sense, for tests that are to hold in each. */
export const DRIVER_STYLES: readonly DriverStyle[] = [
  { transport: 'pci', packed: false, eventIndex: false, indirect: false },
  { transport: 'pci-msix', packed: false, eventIndex: true, indirect: true },
  { transport: 'pci-msix', packed: true, eventIndex: true, indirect: false },
  { transport: 'pci', packed: true, eventIndex: false, indirect: true },
  { transport: 'legacy', packed: false, eventIndex: true, indirect: false },
  { transport: 'mmio', packed: false, eventIndex: true, indirect: false },
  { transport: 'mmio', packed: true, eventIndex: true, indirect: true },
];

/** The ways in which devices of a type can be driven: not all types had a legacy interface. */
export function stylesOf(type: number): readonly DriverStyle[] {
  return DRIVER_STYLES.filter(({ transport }) => transport !== 'legacy' || canBeTransitional(type));
}

export const PLAIN_STYLE: DriverStyle = { transport: 'pci', packed: false, eventIndex: false, indirect: false };

export function styleName({ transport, packed, eventIndex, indirect }: DriverStyle): string {
  return [transport, packed ? 'packed' : 'split', eventIndex && 'event index', indirect && 'indirect']
    .filter((part) => part !== false)
    .join(', ');
}

export const MEMORY_BYTES = 8 << 20;
/** Rings stand below, buffers above. */
const BUFFERS = 2 << 20;

/**
 * A guest's driver for any virtio device, over any transport and ring format, in a memory of its own:
 *
 *     const guest = new GuestDriver(new VirtioRng(…), style);
 *     guest.start();
 *     const { data } = guest.request(0, [64]);
 */
export class GuestDriver {
  readonly memory: FakeMemory;
  readonly transport: DriverTransport;
  readonly style: DriverStyle;
  queues: DriverQueue[] = [];
  features = 0n;
  readonly #queueCount: number;
  #nextRing = 0x10000;
  #nextBuffer = BUFFERS;

  /** `memory`: to share one with another machine that takes over. */
  constructor(device: VirtioDevice, style: DriverStyle = PLAIN_STYLE, memory = new FakeMemory(MEMORY_BYTES)) {
    this.memory = memory;
    this.style = style;
    this.#queueCount = device.queueSizes.length;
    switch (style.transport) {
      case 'mmio':
        this.transport = new MmioDriverTransport(device, memory);
        break;
      case 'legacy':
        this.transport = new LegacyDriverTransport(device, memory);
        break;
      default:
        this.transport = new PciDriverTransport(device, memory, { msiX: style.transport === 'pci-msix' });
    }
  }

  /** Memory for a buffer; old ones are used anew after some megabytes. */
  allocate(bytes: number, align = 16): number {
    let at = Math.ceil(this.#nextBuffer / align) * align;
    if (at + bytes > MEMORY_BYTES) {
      at = BUFFERS;
    }
    this.#nextBuffer = at + bytes;
    return at;
  }

  #allocateRing(bytes: number, align = 16): number {
    const at = Math.ceil(this.#nextRing / align) * align;
    this.#nextRing = at + bytes;
    assert.ok(this.#nextRing <= BUFFERS, 'rings fill their part of memory');
    this.memory.bytes.fill(0, at, at + bytes);
    return at;
  }

  /** Negotiates, sets up all queues (at most `queueSize` entries each) and says that the driver is ready. */
  start(options: { readonly without?: bigint; readonly queueSize?: number; readonly queues?: number } = {}): void {
    const { transport, style } = this;
    transport.setStatus(0);
    assert.equal(transport.status(), 0, 'the device did not reset');
    this.#nextRing = 0x10000;
    transport.setStatus(STATUS_ACKNOWLEDGE);
    transport.setStatus(STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    let unwanted = options.without ?? 0n;
    unwanted |= style.packed ? 0n : VIRTIO_F_RING_PACKED;
    unwanted |= style.eventIndex ? 0n : VIRTIO_F_EVENT_IDX;
    unwanted |= style.indirect ? 0n : VIRTIO_F_INDIRECT_DESC;
    this.features = transport.offered() & ~unwanted;
    transport.setFeatures(this.features);
    let status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
    if (!transport.legacy) {
      assert.ok((this.features & VIRTIO_F_VERSION_1) !== 0n, 'a modern device');
      status |= STATUS_FEATURES_OK;
      transport.setStatus(status);
      assert.equal(transport.status(), status, 'the device refused the features');
    }
    this.queues = [];
    for (let index = 0; index < Math.min(this.#queueCount, options.queues ?? this.#queueCount); index++) {
      this.queues.push(this.startQueue(index, options.queueSize ?? 64));
    }
    transport.setStatus(status | STATUS_DRIVER_OK);
  }

  /** Sets up one queue. */
  startQueue(index: number, wanted: number): DriverQueue {
    const { transport, style, memory } = this;
    const max = transport.queueSize(index);
    assert.ok(max > 0, `queue ${index} does not exist`);
    const size = transport.legacy ? max : Math.min(max, wanted);
    const allocate = (bytes: number, align?: number) => this.allocate(bytes, align);
    const ring = (bytes: number, align?: number) => this.#allocateRing(bytes, align);
    const options = { memory, size, allocateRing: ring, allocate, eventIndex: style.eventIndex };
    let queue: DriverQueue;
    if (style.packed) {
      queue = new PackedDriverQueue(options);
    } else if (transport.legacy) {
      const descriptors = ring(0x3000 + 26 * size, 0x1000);
      const driver = descriptors + 16 * size;
      const device = Math.ceil((driver + 6 + 2 * size) / 0x1000) * 0x1000;
      queue = new SplitDriverQueue({ ...options, areas: { descriptors, driver, device } });
    } else {
      queue = new SplitDriverQueue(options);
    }
    transport.enableQueue(index, size, queue.areas);
    queue.setInterrupts(true);
    return queue;
  }

  queue(index: number): DriverQueue {
    return defined(this.queues[index], `queue ${index}`);
  }

  /** Adds a buffer and notifies if the device wants that. */
  submit(index: number, segments: readonly Segment[]): void {
    const queue = this.queue(index);
    queue.add(segments, this.style.indirect);
    if (queue.wantsNotification()) {
      this.transport.notify(index);
    }
  }

  collect(index: number): Completion[] {
    return this.queue(index).collect();
  }

  /** Adds a buffer and returns what the device, which answers at once, gave back. */
  request(index: number, segments: readonly Segment[]): Completion {
    this.submit(index, segments);
    const [completion, ...others] = this.collect(index);
    assert.equal(others.length, 0, 'more completions than requests');
    return defined(completion, 'the completion');
  }

  get hasQueueReset(): boolean {
    return (this.features & VIRTIO_F_RING_RESET) !== 0n;
  }
}
