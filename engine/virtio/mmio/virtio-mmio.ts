import { type Log, silentLog } from '../../base/log.ts';
import type { AccessSize, MmioHandler } from '../../bus/bus.ts';
import type { Doorbell } from '../../bus/doorbells.ts';
import type { Device, DeviceId, StateValue } from '../../devices/device.ts';
import { StateReader } from '../../devices/state.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { featureWord } from '../pci/common-config.ts';
import { VirtioCore, type VirtioCoreState } from '../virtio-core.ts';
import type { VirtioDevice } from '../virtio-device.ts';

/** Register offsets (virtio 1.2, section 4.2.2). */
const MAGIC_VALUE = 0x000;
const VERSION = 0x004;
const DEVICE_ID = 0x008;
const VENDOR_ID = 0x00c;
const DEVICE_FEATURES = 0x010;
const DEVICE_FEATURES_SEL = 0x014;
const DRIVER_FEATURES = 0x020;
const DRIVER_FEATURES_SEL = 0x024;
const QUEUE_SEL = 0x030;
const QUEUE_SIZE_MAX = 0x034;
const QUEUE_SIZE = 0x038;
const QUEUE_READY = 0x044;
const QUEUE_NOTIFY = 0x050;
const INTERRUPT_STATUS = 0x060;
const INTERRUPT_ACK = 0x064;
const STATUS = 0x070;
const QUEUE_DESC = 0x080;
const QUEUE_DRIVER = 0x090;
const QUEUE_DEVICE = 0x0a0;
const SHM_LEN = 0x0b0;
const SHM_BASE_HIGH = 0x0bc;
const QUEUE_RESET = 0x0c0;
const CONFIG_GENERATION = 0x0fc;
const CONFIG = 0x100;

const MAGIC = 0x74726976;
const INTERFACE_VERSION = 2;
const VENDOR = 0x45474f4c; // "LOGE": any value does
const INTERRUPT_QUEUE = 1;
const INTERRUPT_CONFIG = 2;

/** Bytes of the register window. */
export const VIRTIO_MMIO_BYTES = 0x1000;

/** Where drivers write the number of a queue, in a window at `base`: one place for all of `queueCount` queues. */
export function virtioMmioDoorbells(base: number, queueCount: number): Doorbell[] {
  return Array.from({ length: queueCount }, (_, queue) => {
    return { space: 'memory', address: base + QUEUE_NOTIFY, size: 4, value: queue, exact: true };
  });
}

export interface VirtioMmioWiring {
  readonly memory: GuestMemory;
  readonly line: InterruptLine;
  readonly log?: Log;
}

export type VirtioMmioState = {
  interruptStatus: number;
  selects: number[];
  core: VirtioCoreState;
};

/** What the kernel command line says of a device at `base` with interrupt `irq` (section 4.2.1). */
export function virtioMmioParameter(base: number, irq: number): string {
  return `virtio_mmio.device=${VIRTIO_MMIO_BYTES / 1024}K@0x${base.toString(16)}:${irq}`;
}

/**
 * A virtio device in a window of memory (virtio 1.2, section 4.2), for machines without PCI. The guest cannot find it by
 * itself: the kernel command line or a firmware table names it. The machine maps `mmio`.
 */
export class VirtioMmio implements Device<VirtioMmioState> {
  readonly id: DeviceId;
  readonly mmio: MmioHandler;
  readonly core: VirtioCore;
  readonly #line: InterruptLine;
  #interruptStatus = 0;
  #deviceSelect = 0;
  #driverSelect = 0;
  #queueSelect = 0;

  constructor(
    id: DeviceId,
    device: VirtioDevice,
    wiring: VirtioMmioWiring,
    options: { readonly packed?: boolean } = {},
  ) {
    this.id = id;
    this.#line = wiring.line;
    const log = wiring.log ?? silentLog;
    this.core = new VirtioCore(device, {
      memory: wiring.memory,
      interrupts: { queue: () => this.#raise(INTERRUPT_QUEUE), config: () => this.#raise(INTERRUPT_CONFIG) },
      log: { info: (message) => log.info(`${id}: ${message}`), warn: (message) => log.warn(`${id}: ${message}`) },
      ...(options.packed === undefined ? {} : { packed: options.packed }),
    });
    this.mmio = {
      readMmio: (offset, size) => this.#read(offset, size),
      writeMmio: (offset, size, value) => this.#write(offset, size, value),
    };
    this.reset();
  }

  #raise(bit: number): void {
    // Wires of this kind may be edge-triggered: every event is an edge, whether or not the last was acknowledged.
    if (this.#interruptStatus !== 0) {
      this.#line.set(false);
    }
    this.#interruptStatus |= bit;
    this.#line.set(true);
  }

  #acknowledge(bits: number): void {
    this.#interruptStatus &= ~bits;
    if (this.#interruptStatus === 0) {
      this.#line.set(false);
    }
  }

  #read(offset: number, size: AccessSize): number {
    if (offset >= CONFIG) {
      return this.core.readConfig(offset - CONFIG, size);
    }
    if (size !== 4 || offset % 4 !== 0) {
      return 0;
    }
    const { core } = this;
    const queue = core.queues[this.#queueSelect];
    switch (offset) {
      case MAGIC_VALUE:
        return MAGIC;
      case VERSION:
        return INTERFACE_VERSION;
      case DEVICE_ID:
        return core.device.type;
      case VENDOR_ID:
        return VENDOR;
      case DEVICE_FEATURES:
        return featureWord(core.offered, this.#deviceSelect);
      case QUEUE_SIZE_MAX:
        return queue?.maxSize ?? 0;
      case QUEUE_READY:
        return queue?.enabled ? 1 : 0;
      case INTERRUPT_STATUS:
        return this.#interruptStatus;
      case STATUS:
        return core.status;
      case CONFIG_GENERATION:
        return core.generation;
      default:
        // There are no shared memory regions: length and base of each read as ones.
        return offset >= SHM_LEN && offset <= SHM_BASE_HIGH ? 0xffffffff : 0;
    }
  }

  #write(offset: number, size: AccessSize, value: number): void {
    const { core } = this;
    if (offset === QUEUE_NOTIFY) {
      core.notify(value & 0xffff);
      return;
    }
    if (offset >= CONFIG) {
      core.writeConfig(offset - CONFIG, size, value);
      return;
    }
    if (size !== 4) {
      return;
    }
    const select = this.#queueSelect;
    switch (offset) {
      case DEVICE_FEATURES_SEL:
        this.#deviceSelect = value;
        return;
      case DRIVER_FEATURES_SEL:
        this.#driverSelect = value;
        return;
      case DRIVER_FEATURES:
        core.writeDriverFeatures(this.#driverSelect, value);
        return;
      case QUEUE_SEL:
        this.#queueSelect = value;
        return;
      case QUEUE_SIZE:
        core.queues[select]?.setSize(value);
        return;
      case QUEUE_READY:
        if (value & 1) {
          core.enableQueue(select);
        } else {
          core.disableQueue(select);
        }
        return;
      case QUEUE_RESET:
        if (value & 1) {
          core.resetQueue(select);
        }
        return;
      case INTERRUPT_ACK:
        this.#acknowledge(value);
        return;
      case STATUS:
        core.writeStatus(value & 0xff);
        if (core.status === 0) {
          this.#acknowledge(0xff);
        }
        return;
      case QUEUE_DESC:
      case QUEUE_DESC + 4:
        core.writeQueueAddress(select, 'descriptors', offset !== QUEUE_DESC, value);
        return;
      case QUEUE_DRIVER:
      case QUEUE_DRIVER + 4:
        core.writeQueueAddress(select, 'driver', offset !== QUEUE_DRIVER, value);
        return;
      case QUEUE_DEVICE:
      case QUEUE_DEVICE + 4:
        core.writeQueueAddress(select, 'device', offset !== QUEUE_DEVICE, value);
        return;
    }
  }

  reset(): void {
    this.core.reset();
    this.#deviceSelect = 0;
    this.#driverSelect = 0;
    this.#queueSelect = 0;
    this.#acknowledge(0xff);
  }

  save(): VirtioMmioState {
    return {
      interruptStatus: this.#interruptStatus,
      selects: [this.#deviceSelect, this.#driverSelect, this.#queueSelect],
      core: this.core.save(),
    };
  }

  load(state: StateValue): void {
    const reader = new StateReader(this.id, state);
    const interruptStatus = reader.int('interruptStatus', 0, INTERRUPT_QUEUE | INTERRUPT_CONFIG);
    const [deviceSelect, driverSelect, queueSelect] = reader.ints('selects', 0, 0xffffffff, 3);
    this.core.load(reader.object('core'));
    this.#deviceSelect = deviceSelect ?? 0;
    this.#driverSelect = driverSelect ?? 0;
    this.#queueSelect = queueSelect ?? 0;
    this.#interruptStatus = interruptStatus;
    this.#line.set(interruptStatus !== 0);
  }

  describe(): string {
    return `interrupt status ${this.#interruptStatus}; ${this.core.describe()}`;
  }

  dispose(): void {
    this.core.dispose();
    this.#line.set(false);
  }
}
