import type { AccessSize, PioHandler } from '../../bus/bus.ts';
import { NO_VECTOR, type PciTransportState } from './common-config.ts';

/** Offsets in the legacy interface's I/O BAR (virtio 1.2, section 4.1.4.10). */
const DEVICE_FEATURES = 0x00;
const DRIVER_FEATURES = 0x04;
const QUEUE_ADDRESS = 0x08;
const QUEUE_SIZE = 0x0c;
const QUEUE_SELECT = 0x0e;
export const QUEUE_NOTIFY = 0x10;
const DEVICE_STATUS = 0x12;
const ISR_STATUS = 0x13;
/** The device's own configuration begins here, or four bytes later while MSI-X is enabled. */
export const LEGACY_CONFIG = 0x14;
const CONFIG_VECTOR = 0x14;
const QUEUE_VECTOR = 0x16;
const PAGE = 0x1000;

export interface LegacyHooks {
  takeIsr(): number;
  msiXEnabled(): boolean;
  statusWritten(): void;
}

/** The interface of drivers from before virtio 1.0: everything in one window of ports. */
export class LegacyRegisters implements PioHandler {
  readonly #state: PciTransportState;
  readonly #hooks: LegacyHooks;

  constructor(state: PciTransportState, hooks: LegacyHooks) {
    this.#state = state;
    this.#hooks = hooks;
  }

  readPort(offset: number, size: AccessSize): number {
    const { core, queueSelect, queueVectors, configVector } = this.#state;
    const config = this.#configOffset();
    if (offset >= config) {
      return core.readConfig(offset - config, size);
    }
    const queue = core.queues[queueSelect];
    switch (offset) {
      case DEVICE_FEATURES:
        return Number(core.offered & 0xffff_ffffn);
      case DRIVER_FEATURES:
        return Number(core.driverFeatures & 0xffff_ffffn);
      case QUEUE_ADDRESS:
        return queue?.enabled ? Math.floor(queue.areas.descriptors / PAGE) >>> 0 : 0;
      case QUEUE_SIZE:
        return queue?.maxSize ?? 0;
      case QUEUE_SELECT:
        return queueSelect;
      case DEVICE_STATUS:
        return core.status;
      case ISR_STATUS:
        return this.#hooks.takeIsr();
      case CONFIG_VECTOR:
        return configVector;
      case QUEUE_VECTOR:
        return queueVectors[queueSelect] ?? NO_VECTOR;
      default:
        return 0;
    }
  }

  writePort(offset: number, size: AccessSize, value: number): void {
    const state = this.#state;
    const { core } = state;
    const config = this.#configOffset();
    if (offset >= config) {
      core.writeConfig(offset - config, size, value);
      return;
    }
    switch (offset) {
      case DRIVER_FEATURES:
        core.takeForLegacy();
        core.writeDriverFeatures(0, value);
        break;
      case QUEUE_ADDRESS:
        core.placeLegacyQueue(state.queueSelect, value);
        break;
      case QUEUE_SELECT:
        state.queueSelect = value & 0xffff;
        break;
      case QUEUE_NOTIFY:
        core.notify(value & 0xffff);
        break;
      case DEVICE_STATUS:
        if ((value & 0xff) !== 0) {
          core.takeForLegacy();
        }
        core.writeStatus(value & 0xff);
        if (core.status === 0) {
          state.configVector = NO_VECTOR;
          state.queueVectors.fill(NO_VECTOR);
        }
        this.#hooks.statusWritten();
        break;
      case CONFIG_VECTOR:
        state.configVector = this.#vector(value);
        break;
      case QUEUE_VECTOR:
        if (state.queueSelect < state.queueVectors.length) {
          state.queueVectors[state.queueSelect] = this.#vector(value);
        }
        break;
    }
  }

  #configOffset(): number {
    return this.#hooks.msiXEnabled() ? LEGACY_CONFIG + 4 : LEGACY_CONFIG;
  }

  #vector(value: number): number {
    const vector = value & 0xffff;
    return vector < this.#state.vectorCount ? vector : NO_VECTOR;
  }
}
