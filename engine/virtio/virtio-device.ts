import type { Disposable } from '../base/disposable.ts';
import type { StateValue } from '../devices/device.ts';
import type { StateReader } from '../devices/state.ts';
import type { VirtQueue } from './queue/virt-queue.ts';

/** Device types (virtio 1.2, section 5). */
export const VIRTIO_ID = {
  net: 1,
  block: 2,
  console: 3,
  entropy: 4,
  balloon: 5,
  scsi: 8,
  p9: 9,
  gpu: 16,
  input: 18,
  vsock: 19,
  sound: 25,
} as const;

/** Feature bits of rings and transports, which the transport negotiates (virtio 1.2, section 6). */
export const VIRTIO_F_ANY_LAYOUT = 1n << 27n;
export const VIRTIO_F_INDIRECT_DESC = 1n << 28n;
export const VIRTIO_F_EVENT_IDX = 1n << 29n;
export const VIRTIO_F_VERSION_1 = 1n << 32n;
export const VIRTIO_F_RING_PACKED = 1n << 34n;
export const VIRTIO_F_RING_RESET = 1n << 40n;

/** Bits of the device status field (section 2.1). */
export const STATUS_ACKNOWLEDGE = 1;
export const STATUS_DRIVER = 2;
export const STATUS_DRIVER_OK = 4;
export const STATUS_FEATURES_OK = 8;
export const STATUS_NEEDS_RESET = 64;
export const STATUS_FAILED = 128;

/** What a device has once its driver is ready. */
export interface ActiveDriver {
  /** What was negotiated. Without VIRTIO_F_VERSION_1 the driver is a legacy one. */
  readonly features: bigint;
  /** All queues of the device by their index; those that the driver did not enable yield no buffers. */
  readonly queues: readonly VirtQueue[];
}

/** What a transport does for its device. */
export interface VirtioTransport {
  /** The device has changed its `config`: the driver is told. */
  configChanged(): void;
  /** The driver broke the rules in a way that leaves nothing to be done: the device stops until it is reset. */
  needsReset(reason: string): void;
}

/**
 * A virtio device without its transport: no status, no negotiation, no registers. The transport owns those, and the
 * queues; it is the `Device` that the machine knows.
 *
 *     ┌────────┐  activate(driver)   ┌────────┐
 *     │ asleep │ ──────────────────▶ │ active │ ──▶ notify(queue), whenever the driver added buffers
 *     └────────┘ ◀────────────────── └────────┘
 *                      reset()
 *
 * `reset` comes at any time, with requests in flight: the device forgets its buffers, and what the host completes
 * afterwards changes neither guest memory nor rings. No handler throws, whatever the driver does.
 */
export interface VirtioDevice<S extends StateValue = StateValue> extends Disposable {
  /** One of {@link VIRTIO_ID}. */
  readonly type: number;
  /** What it offers, without the bits of rings and transports. */
  readonly features: bigint;
  /** The greatest size of each queue; powers of two, at most 32768. */
  readonly queueSizes: readonly number[];
  /** The device-specific configuration, little endian. The device changes it in place and says `configChanged`. */
  readonly config: Uint8Array;
  /** Called once, before anything else. */
  attach(transport: VirtioTransport): void;
  /** False refuses a selection of features whose parts need each other (FEATURES_OK stays clear). */
  acceptsFeatures?(features: bigint): boolean;
  /** The driver wrote `data` at `offset` of the configuration; nothing has changed yet. Without it: read-only. */
  writeConfig?(offset: number, data: Uint8Array): void;
  /** The driver is ready. Buffers may wait already: `notify` follows for every enabled queue. */
  activate(driver: ActiveDriver): void;
  /** The driver added buffers to a queue, or says so. */
  notify(queue: number): void;
  /** The driver resets one queue (VIRTIO_F_RING_RESET): the device forgets its buffers of this queue. */
  resetQueue?(queue: number): void;
  /** Back to sleep; configuration as at the start. Resetting twice equals resetting once. */
  reset(): void;
  /** What makes it up besides transport and rings, with the buffers that it holds. */
  save(): S;
  /**
   * Restores what `save` returned. `driver` is what `activate` would give, or undefined for a device that was asleep.
   * Throws HostError('bad-state') without having changed anything of its own.
   * Guest memory may not be there yet: it is neither read nor written.
   */
  load(reader: StateReader, driver: ActiveDriver | undefined): void;
  describe(): string;
}
