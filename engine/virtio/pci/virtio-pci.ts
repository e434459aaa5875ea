import { type Log, silentLog } from '../../base/log.ts';
import type { AccessSize, MmioHandler, PioHandler } from '../../bus/bus.ts';
import type { Device, DeviceId, StateValue } from '../../devices/device.ts';
import { StateReader } from '../../devices/state.ts';
import type { InterruptLine, MsiSink } from '../../irq/line.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { MAX_MSI_X_VECTORS, MSI_X_WINDOW_BYTES, MsiX, type MsiXState } from '../../pci/msi-x.ts';
import {
  type BarDoorbell,
  type BarSpec,
  PCI_COMMAND_INTX_DISABLE,
  PCI_STATUS,
  type PciBuses,
  PciFunction,
  type PciFunctionState,
  type PciIdentity,
} from '../../pci/pci-function.ts';
import { VirtioCore, type VirtioCoreState } from '../virtio-core.ts';
import type { VirtioDevice } from '../virtio-device.ts';
import { COMMON_BYTES, CommonConfig, NO_VECTOR, type PciTransportState } from './common-config.ts';
import { LEGACY_CONFIG, LegacyRegisters, QUEUE_NOTIFY } from './legacy-registers.ts';
import { canBeTransitional, virtioPciIdentity } from './pci-identity.ts';

const BAR_MSI_X = 1;
const BAR_MODERN = 4;

/** Places of the structures, a page each, so that a doorbell page holds nothing else. */
const COMMON_OFFSET = 0x0000;
const ISR_OFFSET = 0x1000;
const DEVICE_OFFSET = 0x2000;
const NOTIFY_OFFSET = 0x3000;
const MODERN_BYTES = 0x4000;
const PAGE = 0x1000;
/** Every queue has a doorbell of its own. */
const NOTIFY_MULTIPLIER = 4;

/** Vendor-specific capabilities (virtio 1.2, section 4.1.4). */
const CAPABILITY_VENDOR = 0x09;
const CFG_COMMON = 1;
const CFG_NOTIFY = 2;
const CFG_ISR = 3;
const CFG_DEVICE = 4;
const CFG_PCI = 5;
const CAP_BYTES = 16;

const ISR_QUEUE = 1;
const ISR_CONFIG = 2;
const PCI_STATUS_INTERRUPT = 1 << 3;

export interface VirtioPciWiring {
  readonly buses: PciBuses;
  readonly memory: GuestMemory;
  readonly msi: MsiSink;
  /** INTA#. */
  readonly line: InterruptLine;
  readonly log?: Log;
}

export interface VirtioPciOptions {
  /** Offer packed rings; true unless said otherwise. */
  readonly packed?: boolean;
  /** Offer the legacy interface too, for types that had one; true unless said otherwise. */
  readonly transitional?: boolean;
  /** The function is more than a virtio device. */
  readonly within?: SharedFunction;
}

/** A PCI function that has a virtio device besides something else. Such a device is a modern one only. */
export interface SharedFunction {
  readonly identity: PciIdentity;
  /** What there is besides, by the number of its BAR; 6 is the expansion ROM. */
  readonly bars: readonly (BarSpec | undefined)[];
  /** Free BARs for the structures of virtio and for MSI-X. */
  readonly modernBar: number;
  readonly msiXBar: number;
  /** The first page of `modernBar`, which is not virtio's. */
  readonly firstPage: MmioHandler;
}

export type VirtioPciState = {
  pci: PciFunctionState;
  msiX: MsiXState;
  isr: number;
  selects: number[];
  configVector: number;
  queueVectors: number[];
  core: VirtioCoreState;
};

/** The function with the window of VIRTIO_PCI_CAP_PCI_CFG, through which firmware reaches BARs that it did not map. */
class VirtioPciFunction extends PciFunction {
  #window = 0x100;
  #bar = BAR_MODERN;
  #barBytes = 0;
  #access: MmioHandler | undefined;

  /** `access` is all of the BAR. */
  openWindow(capability: number, bar: number, barBytes: number, access: MmioHandler): void {
    this.#window = capability;
    this.#bar = bar;
    this.#barBytes = barBytes;
    this.#access = access;
    this.writable[capability + 4] = 0xff; // bar
    this.writable.fill(0xff, capability + 8, capability + 20); // offset, length, data
  }

  #target(): { offset: number; size: AccessSize } | undefined {
    const size = this.readU32(this.#window + 12);
    const offset = this.readU32(this.#window + 8);
    const fits = offset + size <= this.#barBytes && offset % Math.max(1, size) === 0;
    const known = this.config[this.#window + 4] === this.#bar && (size === 1 || size === 2 || size === 4);
    return known && fits ? { offset, size } : undefined;
  }

  override readConfig(offset: number, size: AccessSize): number {
    const data = this.#window + 16;
    if (offset + size > data && offset < data + 4) {
      const target = this.#target();
      if (target !== undefined && this.#access !== undefined) {
        this.setU32(data, this.#access.readMmio(target.offset, target.size), false);
      }
    }
    return super.readConfig(offset, size);
  }

  override writeConfig(offset: number, size: AccessSize, value: number): void {
    super.writeConfig(offset, size, value);
    const data = this.#window + 16;
    if (offset + size > data && offset < data + 4) {
      const target = this.#target();
      if (target !== undefined) {
        this.#access?.writeMmio(target.offset, target.size, this.readU32(data) & (2 ** (target.size * 8) - 1));
      }
    }
  }
}

/**
 * A virtio device as a PCI function (virtio 1.2, section 4.1): the modern interface in memory BAR 4, MSI-X in BAR 1, and
 * for types that had one the legacy interface in I/O BAR 0. The machine puts `pci` into a slot.
 */
export class VirtioPci implements Device<VirtioPciState> {
  readonly id: DeviceId;
  readonly pci: PciFunction;
  readonly core: VirtioCore;
  readonly #msiX: MsiX;
  readonly #line: InterruptLine;
  readonly #common: CommonConfig;
  readonly #state: PciTransportState;
  #isr = 0;

  constructor(id: DeviceId, device: VirtioDevice, wiring: VirtioPciWiring, options: VirtioPciOptions = {}) {
    this.id = id;
    this.#line = wiring.line;
    const log = wiring.log ?? silentLog;
    this.core = new VirtioCore(device, {
      memory: wiring.memory,
      interrupts: { queue: (index) => this.#queueInterrupt(index), config: () => this.#configInterrupt() },
      log: { info: (message) => log.info(`${id}: ${message}`), warn: (message) => log.warn(`${id}: ${message}`) },
      ...(options.packed === undefined ? {} : { packed: options.packed }),
    });
    const queueCount = this.core.queues.length;
    this.#msiX = new MsiX(Math.min(queueCount + 1, MAX_MSI_X_VECTORS), wiring.msi);
    this.#state = {
      core: this.core,
      vectorCount: this.#msiX.vectors,
      queueSelect: 0,
      configVector: NO_VECTOR,
      queueVectors: new Array<number>(queueCount).fill(NO_VECTOR),
    };
    this.#common = new CommonConfig(this.#state);
    const modern: MmioHandler = {
      readMmio: (offset, size) => this.#readModern(offset, size),
      writeMmio: (offset, size, value) => this.#writeModern(offset, size, value),
    };
    const { within } = options;
    const transitional = within === undefined && (options.transitional ?? true) && canBeTransitional(device.type);
    const legacy: PioHandler = new LegacyRegisters(this.#state, {
      takeIsr: () => this.#takeIsr(),
      msiXEnabled: () => this.#msiX.enabled,
      statusWritten: () => this.#afterStatus(),
    });
    if (within === undefined) {
      const size = powerOfTwo(LEGACY_CONFIG + 4 + device.config.length);
      this.pci = this.#makeFunction(wiring.buses, {
        identity: virtioPciIdentity(device.type, transitional),
        bars: transitional ? [{ kind: 'io', size, handler: legacy, doorbells: legacyDoorbells(queueCount) }] : [],
        msiXBar: BAR_MSI_X,
        modernBar: BAR_MODERN,
        modernOffset: 0,
        modernWindow: {
          kind: 'mmio',
          size: MODERN_BYTES,
          prefetchable: true,
          handler: modern,
          doorbells: modernDoorbells(queueCount, NOTIFY_OFFSET),
        },
      });
    } else {
      this.pci = this.#makeFunction(wiring.buses, {
        ...within,
        modernOffset: PAGE,
        modernWindow: {
          kind: 'mmio',
          size: powerOfTwo(PAGE + MODERN_BYTES),
          handler: behind(within.firstPage, modern),
          doorbells: modernDoorbells(queueCount, PAGE + NOTIFY_OFFSET),
        },
      });
    }
    this.reset();
  }

  #makeFunction(
    buses: PciBuses,
    { identity, bars, msiXBar, modernBar, modernOffset, modernWindow }: FunctionPlan,
  ): PciFunction {
    const all = [...bars];
    all[msiXBar] = { kind: 'mmio', size: MSI_X_WINDOW_BYTES, handler: this.#msiX.mmio };
    all[modernBar] = modernWindow;
    const pci = new VirtioPciFunction(this.id, identity, buses, Array.from(all));
    const structure = (type: number, offset: number, length: number, extra = 0): number => {
      const at = pci.addCapability(CAPABILITY_VENDOR, CAP_BYTES + extra);
      pci.setU8(at + 2, CAP_BYTES + extra);
      pci.setU8(at + 3, type);
      pci.setU8(at + 4, type === CFG_PCI ? 0 : modernBar);
      pci.setU32(at + 8, type === CFG_PCI ? 0 : modernOffset + offset);
      pci.setU32(at + 12, length);
      return at;
    };
    structure(CFG_COMMON, COMMON_OFFSET, COMMON_BYTES);
    structure(CFG_ISR, ISR_OFFSET, 1);
    structure(CFG_DEVICE, DEVICE_OFFSET, Math.max(4, this.core.device.config.length));
    const notify = structure(CFG_NOTIFY, NOTIFY_OFFSET, this.core.queues.length * NOTIFY_MULTIPLIER, 4);
    pci.setU32(notify + 16, NOTIFY_MULTIPLIER);
    pci.openWindow(structure(CFG_PCI, 0, 0, 4), modernBar, modernWindow.size, modernWindow.handler);
    this.#msiX.attach(pci, msiXBar);
    pci.onConfigWrite = () => {
      this.#msiX.configWritten();
      this.#updateLine();
    };
    return pci;
  }

  #readModern(offset: number, size: AccessSize): number {
    if (offset < ISR_OFFSET) {
      return this.#common.read(offset, size);
    }
    if (offset < DEVICE_OFFSET) {
      return offset === ISR_OFFSET ? this.#takeIsr() : 0;
    }
    return offset < NOTIFY_OFFSET ? this.core.readConfig(offset - DEVICE_OFFSET, size) : 0;
  }

  #writeModern(offset: number, size: AccessSize, value: number): void {
    if (offset >= NOTIFY_OFFSET) {
      this.core.notify((offset - NOTIFY_OFFSET) >> 2);
    } else if (offset < ISR_OFFSET) {
      this.#common.write(offset, size, value);
      this.#afterStatus();
    } else if (offset >= DEVICE_OFFSET) {
      this.core.writeConfig(offset - DEVICE_OFFSET, size, value);
    }
  }

  /** A reset by the driver takes back interrupts and vectors too. */
  #afterStatus(): void {
    if (this.core.status === 0 && !this.core.active) {
      if (this.#isr !== 0) {
        this.#isr = 0;
        this.#updateLine();
      }
    }
  }

  #queueInterrupt(index: number): void {
    if (this.#msiX.enabled) {
      this.#msiX.trigger(this.#state.queueVectors[index] ?? NO_VECTOR);
    } else {
      this.#raise(ISR_QUEUE);
    }
  }

  #configInterrupt(): void {
    if (this.#msiX.enabled) {
      this.#msiX.trigger(this.#state.configVector);
    } else {
      this.#raise(ISR_CONFIG);
    }
  }

  #raise(bit: number): void {
    this.#isr |= bit;
    this.#updateLine();
  }

  #takeIsr(): number {
    const isr = this.#isr;
    if (isr !== 0) {
      this.#isr = 0;
      this.#updateLine();
    }
    return isr;
  }

  #updateLine(): void {
    const pending = this.#isr !== 0 && !this.#msiX.enabled;
    const status = this.pci.readU16(PCI_STATUS);
    this.pci.setU16(PCI_STATUS, pending ? status | PCI_STATUS_INTERRUPT : status & ~PCI_STATUS_INTERRUPT, false);
    this.#line.set(pending && (this.pci.command & PCI_COMMAND_INTX_DISABLE) === 0);
  }

  reset(): void {
    this.core.reset();
    this.pci.reset();
    this.#msiX.reset();
    this.#common.reset();
    this.#isr = 0;
    this.#updateLine();
  }

  save(): VirtioPciState {
    return {
      pci: this.pci.save(),
      msiX: this.#msiX.save(),
      isr: this.#isr,
      selects: [...this.#common.selects, this.#state.queueSelect],
      configVector: this.#state.configVector,
      queueVectors: this.#state.queueVectors.slice(),
      core: this.core.save(),
    };
  }

  load(state: StateValue): void {
    const reader = new StateReader(this.id, state);
    const config = reader.object('pci').bytes('config', 256);
    const applyMsiX = this.#msiX.load(reader.object('msiX'));
    const isr = reader.int('isr', 0, ISR_QUEUE | ISR_CONFIG);
    const [deviceSelect, driverSelect, queueSelect] = reader.ints('selects', 0, 0xffffffff, 3);
    const configVector = reader.u16('configVector');
    const queueVectors = reader.ints('queueVectors', 0, 0xffff, this.core.queues.length);
    this.core.load(reader.object('core'));
    this.pci.load({ config });
    applyMsiX();
    this.#isr = isr;
    this.#common.selects = [deviceSelect ?? 0, driverSelect ?? 0];
    this.#state.queueSelect = queueSelect ?? 0;
    this.#state.configVector = configVector;
    for (const [index, vector] of queueVectors.entries()) {
      this.#state.queueVectors[index] = vector;
    }
    this.#updateLine();
  }

  describe(): string {
    const interrupts = this.#msiX.enabled ? 'MSI-X' : `INTx, ISR ${this.#isr}`;
    return `${interrupts}; ${this.core.describe()}`;
  }

  dispose(): void {
    this.core.dispose();
    this.pci.dispose();
    this.#line.set(false);
  }
}

/** Drivers write the number of the queue, 16 bits (virtio 1.2, section 4.1.5.2); a place for each says it already. */
function modernDoorbells(queueCount: number, first: number): BarDoorbell[] {
  return Array.from({ length: queueCount }, (_, queue) => {
    return { offset: first + queue * NOTIFY_MULTIPLIER, size: 2, value: queue, exact: false };
  });
}

/** One place for all queues. */
function legacyDoorbells(queueCount: number): BarDoorbell[] {
  return Array.from({ length: queueCount }, (_, queue) => {
    return { offset: QUEUE_NOTIFY, size: 2, value: queue, exact: true };
  });
}

function powerOfTwo(atLeast: number): number {
  let size = 4;
  while (size < atLeast) {
    size *= 2;
  }
  return size;
}

/** How the function of a device is made up. */
interface FunctionPlan {
  readonly identity: PciIdentity;
  readonly bars: readonly (BarSpec | undefined)[];
  readonly msiXBar: number;
  readonly modernBar: number;
  readonly modernOffset: number;
  readonly modernWindow: Extract<BarSpec, { kind: 'mmio' }>;
}

/** One window made of a page and what stands behind it. */
function behind(firstPage: MmioHandler, rest: MmioHandler): MmioHandler {
  return {
    readMmio: (offset, size) => {
      if (offset < PAGE) {
        return firstPage.readMmio(offset, size);
      }
      return offset < PAGE + MODERN_BYTES ? rest.readMmio(offset - PAGE, size) : 0;
    },
    writeMmio: (offset, size, value) => {
      if (offset < PAGE) {
        firstPage.writeMmio(offset, size, value);
      } else if (offset < PAGE + MODERN_BYTES) {
        rest.writeMmio(offset - PAGE, size, value);
      }
    },
  };
}
