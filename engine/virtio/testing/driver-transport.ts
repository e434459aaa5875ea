import { defined } from '../../base/assert.ts';
import type { AccessSize } from '../../bus/bus.ts';
import { MmioWindows } from '../../bus/mmio-bus.ts';
import { Ports } from '../../bus/port-bus.ts';
import type { Device } from '../../devices/device.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { FakeLine, FakeMsiSink } from '../../testing/fakes.ts';
import { VirtioMmio } from '../mmio/virtio-mmio.ts';
import { VirtioPci, type VirtioPciOptions } from '../pci/virtio-pci.ts';
import type { RingAreas } from '../queue/ring.ts';
import type { VirtioCore } from '../virtio-core.ts';
import type { VirtioDevice } from '../virtio-device.ts';

/** A device in its transport, and the registers as a driver reaches them. */
export interface DriverTransport {
  readonly device: Device;
  readonly core: VirtioCore;
  readonly line: FakeLine;
  readonly legacy: boolean;
  /** After a hardware reset: makes the registers reachable again, as firmware and bus drivers do. */
  plug(): void;
  status(): number;
  setStatus(value: number): void;
  offered(): bigint;
  setFeatures(features: bigint): void;
  queueSize(queue: number): number;
  enableQueue(queue: number, size: number, areas: RingAreas): void;
  notify(queue: number): void;
  readConfig(offset: number, size: AccessSize): number;
  writeConfig(offset: number, size: AccessSize, value: number): void;
  generation(): number;
  /** Interrupts since the last call: bit 0 a queue's, bit 1 the configuration's. Acknowledges them. */
  interrupts(): number;
  /** Any register at all, for tests with random accesses. */
  readonly regions: readonly {
    readonly length: number;
    read(offset: number, size: AccessSize): number;
    write(offset: number, size: AccessSize, value: number): void;
  }[];
}

const MODERN_BASE = 0xe0000000;
const MSI_X_BASE = 0xe1000000;
const LEGACY_BASE = 0xc000;
const MMIO_BASE = 0xd0000000;

export interface PciTransportOptions extends VirtioPciOptions {
  /** Use MSI-X: vector 0 for the configuration, 1 + n for queue n. */
  readonly msiX?: boolean;
}

/** Drives a device through PCI, by what the capability list says. */
export class PciDriverTransport implements DriverTransport {
  readonly device: VirtioPci;
  readonly core: VirtioCore;
  readonly line = new FakeLine();
  readonly msi = new FakeMsiSink();
  readonly ports = new Ports();
  readonly mmio = new MmioWindows();
  readonly legacy: boolean = false;
  readonly regions: DriverTransport['regions'];
  readonly #common: number;
  readonly #isr: number;
  readonly #config: number;
  readonly #notify: number;
  readonly #multiplier: number;
  readonly #msiX: boolean;
  readonly #msiXAt: number;

  constructor(device: VirtioDevice, memory: GuestMemory, options: PciTransportOptions = {}) {
    const { mmio, ports } = this;
    const wiring = { buses: { ports, mmio }, memory, msi: this.msi, line: this.line };
    this.device = new VirtioPci('virtio', device, wiring, options);
    this.core = this.device.core;
    const { pci } = this.device;
    const structures = new Map<number, { at: number; offset: number }>();
    let msiXAt = 0;
    for (let at = pci.readConfig(0x34, 1); at !== 0; at = pci.readConfig(at + 1, 1)) {
      const id = pci.readConfig(at, 1);
      if (id === 0x09) {
        structures.set(pci.readConfig(at + 3, 1), { at, offset: pci.readConfig(at + 8, 4) });
      } else if (id === 0x11) {
        msiXAt = at;
      }
    }
    const place = (type: number) => MODERN_BASE + defined(structures.get(type), `structure ${type}`).offset;
    this.#common = place(1);
    this.#notify = place(2);
    this.#isr = place(3);
    this.#config = place(4);
    this.#multiplier = pci.readConfig(defined(structures.get(2), 'notify').at + 16, 4);
    this.#msiX = options.msiX ?? false;
    this.#msiXAt = msiXAt;
    this.plug();
    this.regions = [
      window(
        0x4000,
        (offset, size) => mmio.read(MODERN_BASE + offset, size),
        (offset, size, value) => mmio.write(MODERN_BASE + offset, size, value),
      ),
      window(
        0x1000,
        (offset, size) => mmio.read(MSI_X_BASE + offset, size),
        (offset, size, value) => mmio.write(MSI_X_BASE + offset, size, value),
      ),
      window(
        64,
        (offset, size) => ports.read(LEGACY_BASE + offset, size),
        (offset, size, value) => ports.write(LEGACY_BASE + offset, size, value),
      ),
      window(
        // Its window onto the BAR, MSI-X control and the rest behind the header; the BARs stay where they are.
        0xc0,
        (offset, size) => pci.readConfig(0x40 + offset, size),
        (offset, size, value) => pci.writeConfig(0x40 + offset, size, value),
      ),
    ];
  }

  plug(): void {
    const { pci } = this.device;
    const { mmio } = this;
    pci.writeConfig(0x10, 4, LEGACY_BASE);
    pci.writeConfig(0x14, 4, MSI_X_BASE);
    pci.writeConfig(0x20, 4, MODERN_BASE);
    pci.writeConfig(0x04, 2, 0x0007);
    if (!this.#msiX) {
      return;
    }
    pci.writeConfig(this.#msiXAt + 2, 2, 0x8000);
    const vectors = (pci.readConfig(this.#msiXAt + 2, 2) & 0x7ff) + 1;
    for (let vector = 0; vector < vectors; vector++) {
      mmio.write(MSI_X_BASE + vector * 16, 4, 0xfee00000);
      mmio.write(MSI_X_BASE + vector * 16 + 8, 4, 0x40 + vector);
      mmio.write(MSI_X_BASE + vector * 16 + 12, 4, 0);
    }
  }

  #read(offset: number, size: AccessSize): number {
    return this.mmio.read(this.#common + offset, size);
  }

  #write(offset: number, size: AccessSize, value: number): void {
    this.mmio.write(this.#common + offset, size, value);
  }

  status(): number {
    return this.#read(0x14, 1);
  }

  setStatus(value: number): void {
    this.#write(0x14, 1, value);
  }

  offered(): bigint {
    this.#write(0, 4, 0);
    const low = BigInt(this.#read(4, 4));
    this.#write(0, 4, 1);
    return low | (BigInt(this.#read(4, 4)) << 32n);
  }

  setFeatures(features: bigint): void {
    this.#write(8, 4, 0);
    this.#write(12, 4, Number(features & 0xffff_ffffn));
    this.#write(8, 4, 1);
    this.#write(12, 4, Number(features >> 32n));
  }

  queueSize(queue: number): number {
    this.#write(0x16, 2, queue);
    return this.#read(0x18, 2);
  }

  enableQueue(queue: number, size: number, areas: RingAreas): void {
    this.#write(0x16, 2, queue);
    this.#write(0x18, 2, size);
    if (this.#msiX) {
      this.#write(0x10, 2, 0);
      this.#write(0x1a, 2, queue + 1);
    }
    for (const [offset, address] of [
      [0x20, areas.descriptors],
      [0x28, areas.driver],
      [0x30, areas.device],
    ] as const) {
      this.#write(offset, 4, address);
      this.#write(offset + 4, 4, 0);
    }
    this.#write(0x1c, 2, 1);
  }

  notify(queue: number): void {
    this.#write(0x16, 2, queue);
    this.mmio.write(this.#notify + this.#read(0x1e, 2) * this.#multiplier, 2, queue);
  }

  readConfig(offset: number, size: AccessSize): number {
    return this.mmio.read(this.#config + offset, size);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    this.mmio.write(this.#config + offset, size, value);
  }

  generation(): number {
    return this.#read(0x15, 1);
  }

  interrupts(): number {
    if (!this.#msiX) {
      return this.mmio.read(this.#isr, 1);
    }
    let bits = 0;
    for (const { data } of this.msi.sent.splice(0)) {
      bits |= data === 0x40 ? 2 : 1;
    }
    return bits;
  }

  /** Resets one queue (VIRTIO_F_RING_RESET). */
  resetQueue(queue: number): void {
    this.#write(0x16, 2, queue);
    this.#write(0x3a, 2, 1);
  }
}

/** Drives a device through the legacy interface of a transitional function. */
export class LegacyDriverTransport extends PciDriverTransport {
  override readonly legacy = true;

  #port(offset: number, size: AccessSize): number {
    return this.ports.read(LEGACY_BASE + offset, size);
  }

  #setPort(offset: number, size: AccessSize, value: number): void {
    this.ports.write(LEGACY_BASE + offset, size, value);
  }

  override status(): number {
    return this.#port(18, 1);
  }

  override setStatus(value: number): void {
    this.#setPort(18, 1, value);
  }

  override offered(): bigint {
    return BigInt(this.#port(0, 4));
  }

  override setFeatures(features: bigint): void {
    this.#setPort(4, 4, Number(features & 0xffff_ffffn));
  }

  override queueSize(queue: number): number {
    this.#setPort(14, 2, queue);
    return this.#port(12, 2);
  }

  override enableQueue(queue: number, _size: number, areas: RingAreas): void {
    this.#setPort(14, 2, queue);
    this.#setPort(8, 4, areas.descriptors / 0x1000);
  }

  override notify(queue: number): void {
    this.#setPort(16, 2, queue);
  }

  override readConfig(offset: number, size: AccessSize): number {
    return this.#port(20 + offset, size);
  }

  override writeConfig(offset: number, size: AccessSize, value: number): void {
    this.#setPort(20 + offset, size, value);
  }

  override interrupts(): number {
    return this.#port(19, 1);
  }
}

/** Drives a device through virtio-mmio. */
export class MmioDriverTransport implements DriverTransport {
  readonly device: VirtioMmio;
  readonly core: VirtioCore;
  readonly line = new FakeLine();
  readonly legacy = false;
  readonly regions: DriverTransport['regions'];
  readonly #mmio = new MmioWindows();

  constructor(device: VirtioDevice, memory: GuestMemory, options: { readonly packed?: boolean } = {}) {
    this.device = new VirtioMmio('virtio', device, { memory, line: this.line }, options);
    this.core = this.device.core;
    this.#mmio.map(MMIO_BASE, 0x1000, this.device.mmio, 'virtio');
    this.regions = [
      window(
        0x200,
        (offset, size) => this.#mmio.read(MMIO_BASE + offset, size),
        (offset, size, value) => this.#mmio.write(MMIO_BASE + offset, size, value),
      ),
    ];
  }

  plug(): void {}

  #read(offset: number): number {
    return this.#mmio.read(MMIO_BASE + offset, 4);
  }

  #write(offset: number, value: number): void {
    this.#mmio.write(MMIO_BASE + offset, 4, value);
  }

  status(): number {
    return this.#read(0x70);
  }

  setStatus(value: number): void {
    this.#write(0x70, value);
  }

  offered(): bigint {
    this.#write(0x14, 0);
    const low = BigInt(this.#read(0x10));
    this.#write(0x14, 1);
    return low | (BigInt(this.#read(0x10)) << 32n);
  }

  setFeatures(features: bigint): void {
    this.#write(0x24, 0);
    this.#write(0x20, Number(features & 0xffff_ffffn));
    this.#write(0x24, 1);
    this.#write(0x20, Number(features >> 32n));
  }

  queueSize(queue: number): number {
    this.#write(0x30, queue);
    return this.#read(0x34);
  }

  enableQueue(queue: number, size: number, areas: RingAreas): void {
    this.#write(0x30, queue);
    this.#write(0x38, size);
    for (const [offset, address] of [
      [0x80, areas.descriptors],
      [0x90, areas.driver],
      [0xa0, areas.device],
    ] as const) {
      this.#write(offset, address);
      this.#write(offset + 4, 0);
    }
    this.#write(0x44, 1);
  }

  notify(queue: number): void {
    this.#write(0x50, queue);
  }

  readConfig(offset: number, size: AccessSize): number {
    return this.#mmio.read(MMIO_BASE + 0x100 + offset, size);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    this.#mmio.write(MMIO_BASE + 0x100 + offset, size, value);
  }

  generation(): number {
    return this.#read(0xfc);
  }

  interrupts(): number {
    const bits = this.#read(0x60);
    this.#write(0x64, bits);
    return bits;
  }
}

function window(
  length: number,
  read: (offset: number, size: AccessSize) => number,
  write: (offset: number, size: AccessSize, value: number) => void,
) {
  return { length, read, write };
}
