import type { AccessSize } from '../../bus/bus.ts';
import type { VirtioCore } from '../virtio-core.ts';

/** Offsets in the common configuration structure (virtio 1.2, section 4.1.4.3). */
const DEVICE_FEATURE_SELECT = 0x00;
const DEVICE_FEATURE = 0x04;
const DRIVER_FEATURE_SELECT = 0x08;
const DRIVER_FEATURE = 0x0c;
const CONFIG_MSIX_VECTOR = 0x10;
const DEVICE_STATUS = 0x14;
const QUEUE_SELECT = 0x16;
const QUEUE_SIZE = 0x18;
const QUEUE_MSIX_VECTOR = 0x1a;
const QUEUE_ENABLE = 0x1c;
const QUEUE_DESC = 0x20;
const QUEUE_DRIVER = 0x28;
const QUEUE_DEVICE = 0x30;
const QUEUE_RESET = 0x3a;
export const COMMON_BYTES = 0x3c;

/** Where a queue or the configuration has no vector. */
export const NO_VECTOR = 0xffff;
const AREAS = ['descriptors', 'driver', 'device'] as const;

/** Registers that both interfaces share. */
export interface PciTransportState {
  readonly core: VirtioCore;
  readonly vectorCount: number;
  queueSelect: number;
  configVector: number;
  readonly queueVectors: number[];
}

/** The common configuration structure: registers for negotiation and for setting up the queues. */
export class CommonConfig {
  readonly #state: PciTransportState;
  /** Which 32 feature bits of the device and of the driver are shown. */
  selects: [device: number, driver: number] = [0, 0];

  constructor(state: PciTransportState) {
    this.#state = state;
  }

  reset(): void {
    this.selects = [0, 0];
    this.#state.queueSelect = 0;
    this.#clearVectors();
  }

  #clearVectors(): void {
    this.#state.configVector = NO_VECTOR;
    this.#state.queueVectors.fill(NO_VECTOR);
  }

  read(offset: number, size: AccessSize): number {
    const value = this.#dword(offset & ~3) >>> ((offset & 3) * 8);
    return size === 4 ? value >>> 0 : value & (2 ** (size * 8) - 1);
  }

  #dword(offset: number): number {
    const { core, queueSelect, queueVectors, configVector } = this.#state;
    const queue = core.queues[queueSelect];
    switch (offset) {
      case DEVICE_FEATURE_SELECT:
        return this.selects[0];
      case DEVICE_FEATURE:
        return featureWord(core.offered, this.selects[0]);
      case DRIVER_FEATURE_SELECT:
        return this.selects[1];
      case DRIVER_FEATURE:
        return featureWord(core.driverFeatures, this.selects[1]);
      case CONFIG_MSIX_VECTOR:
        return configVector | (core.queues.length << 16);
      case DEVICE_STATUS:
        return core.status | (core.generation << 8) | (queueSelect << 16);
      case QUEUE_SIZE:
        return (queue?.size ?? 0) | ((queueVectors[queueSelect] ?? NO_VECTOR) << 16);
      case QUEUE_ENABLE:
        // With the offset of its doorbell, which is the queue's number.
        return (queue?.enabled ? 1 : 0) | (queueSelect << 16);
      case QUEUE_DESC:
      case QUEUE_DRIVER:
      case QUEUE_DEVICE:
        return (queue?.areas[areaAt(offset)] ?? 0) % 2 ** 32;
      case QUEUE_DESC + 4:
      case QUEUE_DRIVER + 4:
      case QUEUE_DEVICE + 4:
        return Math.floor((queue?.areas[areaAt(offset)] ?? 0) / 2 ** 32);
      default:
        // Notification data (the queue's number) and queue_reset, which is done at once and reads 0.
        return offset === 0x38 ? queueSelect : 0;
    }
  }

  /** Registers take writes of their own width only, and of the low part of a wider one. */
  write(offset: number, size: AccessSize, value: number): void {
    const state = this.#state;
    const { core } = state;
    const queue = core.queues[state.queueSelect];
    switch (offset) {
      case DEVICE_FEATURE_SELECT:
        this.selects[0] = value;
        break;
      case DRIVER_FEATURE_SELECT:
        this.selects[1] = value;
        break;
      case DRIVER_FEATURE:
        if (size === 4) {
          core.writeDriverFeatures(this.selects[1], value);
        }
        break;
      case CONFIG_MSIX_VECTOR:
        state.configVector = this.#vector(value);
        break;
      case DEVICE_STATUS:
        core.writeStatus(value & 0xff);
        if (core.status === 0) {
          this.#clearVectors();
        }
        break;
      case QUEUE_SELECT:
        state.queueSelect = value & 0xffff;
        break;
      case QUEUE_SIZE:
        queue?.setSize(value & 0xffff);
        break;
      case QUEUE_MSIX_VECTOR:
        if (queue !== undefined) {
          state.queueVectors[state.queueSelect] = this.#vector(value);
        }
        break;
      case QUEUE_ENABLE:
        if ((value & 0xffff) === 1) {
          core.enableQueue(state.queueSelect);
        }
        break;
      case QUEUE_RESET:
        if ((value & 0xffff) === 1) {
          core.resetQueue(state.queueSelect);
        }
        break;
      default:
        if (size === 4 && offset >= QUEUE_DESC && offset < QUEUE_DEVICE + 8 && offset % 4 === 0) {
          core.writeQueueAddress(state.queueSelect, areaAt(offset), offset % 8 === 4, value);
        }
    }
  }

  /** A vector that does not exist reads back as none (section 4.1.5.1.2.1). */
  #vector(value: number): number {
    const vector = value & 0xffff;
    return vector < this.#state.vectorCount ? vector : NO_VECTOR;
  }
}

function areaAt(offset: number): (typeof AREAS)[number] {
  return AREAS[(offset - QUEUE_DESC) >> 3] ?? 'descriptors';
}

/** Bits 0–31 (`word` 0), 32–63 (1), or none. */
export function featureWord(features: bigint, word: number): number {
  return word > 1 ? 0 : Number((features >> BigInt(word * 32)) & 0xffff_ffffn);
}
