import { assert } from '../base/assert.ts';
import type { Disposable } from '../base/disposable.ts';
import { HostError } from '../base/host-error.ts';
import type { AccessSize, Mapping, MmioBus, MmioHandler, PioHandler, PortBus } from '../bus/bus.ts';
import type { Doorbell, Doorbells } from '../bus/doorbells.ts';

/** Offsets in the type 0 configuration header (PCI Local Bus 3.0, section 6.1). */
export const PCI_VENDOR_ID = 0x00;
export const PCI_DEVICE_ID = 0x02;
export const PCI_COMMAND = 0x04;
export const PCI_STATUS = 0x06;
export const PCI_REVISION = 0x08;
export const PCI_CLASS = 0x09;
export const PCI_HEADER_TYPE = 0x0e;
/** In the header type: the device has more functions than this one. */
export const PCI_MULTIFUNCTION = 0x80;
export const PCI_BAR0 = 0x10;
export const PCI_SUBSYSTEM_VENDOR_ID = 0x2c;
export const PCI_SUBSYSTEM_ID = 0x2e;
export const PCI_ROM_BAR = 0x30;
export const PCI_CAPABILITIES = 0x34;
export const PCI_INTERRUPT_LINE = 0x3c;
export const PCI_INTERRUPT_PIN = 0x3d;

export const PCI_COMMAND_IO = 1 << 0;
export const PCI_COMMAND_MEMORY = 1 << 1;
export const PCI_COMMAND_BUS_MASTER = 1 << 2;
export const PCI_COMMAND_INTX_DISABLE = 1 << 10;
export const PCI_STATUS_CAPABILITIES = 1 << 4;

/** A doorbell in a window, `offset` bytes from its start. */
export type BarDoorbell = Pick<Doorbell, 'size' | 'value' | 'exact'> & { readonly offset: number };

/** What a base address register decodes. Sizes are powers of two in bytes (I/O at least 4, memory at least 16). */
export type BarSpec =
  | {
      readonly kind: 'io';
      readonly size: number;
      readonly handler: PioHandler;
      readonly doorbells?: readonly BarDoorbell[];
    }
  | {
      readonly kind: 'mmio';
      readonly size: number;
      readonly prefetchable?: boolean;
      readonly handler: MmioHandler;
      readonly doorbells?: readonly BarDoorbell[];
    }
  /** A window onto memory that the CPU may access directly (VRAM, option ROM): `place` is told where it stands now. */
  | {
      readonly kind: 'ram';
      readonly size: number;
      readonly prefetchable?: boolean;
      /** `base` is undefined while the window is not decoded. */
      readonly place: (base: number | undefined) => void;
    };

export interface PciIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  /** 24 bits: base class, subclass, programming interface. */
  readonly classCode: number;
  readonly revision?: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** 0: none, 1–4: INTA#–INTD#. */
  readonly interruptPin?: number;
  /** True on function 0 of a device with several functions. */
  readonly multifunction?: boolean;
}

export type PciFunctionState = { config: Uint8Array };

/** Where a function's decoded windows are placed. */
export interface PciBuses {
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  /** Hears of the doorbells in windows. */
  readonly doorbells?: Doorbells;
}

/**
 * One PCI function: a 256-byte configuration space with a write mask, and base address registers that place their
 * windows on the buses as the guest writes them. A device owns one and hands it to the host bridge; it may add
 * capabilities and react to configuration writes through `onConfigWrite`.
 */
export class PciFunction implements Disposable {
  readonly owner: string;
  readonly config = new Uint8Array(256);
  /** 1 bits are writable by the guest. */
  readonly writable = new Uint8Array(256);
  /** Called after the guest has written bytes `offset … offset + size − 1`, with the masks applied. */
  onConfigWrite: ((offset: number, size: AccessSize) => void) | undefined;
  readonly #identity: PciIdentity;
  readonly #view = new DataView(this.config.buffer);
  readonly #buses: PciBuses;
  readonly #bars: readonly (BarSpec | undefined)[];
  readonly #mappings: (Mapping | undefined)[] = [];
  readonly #placed: (number | undefined)[] = [];
  /** The doorbells of each window, where it stands. */
  readonly #doorbells: Disposable[][] = [];
  readonly #defaults = new Uint8Array(256);
  #nextCapability = 0x40;

  /** `bars` is indexed by BAR number 0–5; index 6 is the expansion ROM. All memory BARs are 32 bits wide. */
  constructor(owner: string, identity: PciIdentity, buses: PciBuses, bars: readonly (BarSpec | undefined)[] = []) {
    this.owner = owner;
    this.#identity = identity;
    this.#buses = buses;
    this.#bars = bars;
    const view = this.#view;
    view.setUint16(PCI_VENDOR_ID, identity.vendorId, true);
    view.setUint16(PCI_DEVICE_ID, identity.deviceId, true);
    view.setUint32(PCI_REVISION, ((identity.classCode << 8) | (identity.revision ?? 0)) >>> 0, true);
    this.config[PCI_HEADER_TYPE] = identity.multifunction ? PCI_MULTIFUNCTION : 0;
    view.setUint16(PCI_SUBSYSTEM_VENDOR_ID, identity.subsystemVendorId ?? 0, true);
    view.setUint16(PCI_SUBSYSTEM_ID, identity.subsystemId ?? 0, true);
    this.config[PCI_INTERRUPT_PIN] = identity.interruptPin ?? 0;
    const writable = new DataView(this.writable.buffer);
    const hasIo = bars.some((bar) => bar?.kind === 'io');
    const hasMemory = bars.some((bar) => bar !== undefined && bar.kind !== 'io');
    writable.setUint16(
      PCI_COMMAND,
      PCI_COMMAND_BUS_MASTER |
        PCI_COMMAND_INTX_DISABLE |
        (hasIo ? PCI_COMMAND_IO : 0) |
        (hasMemory ? PCI_COMMAND_MEMORY : 0),
      true,
    );
    this.writable[PCI_INTERRUPT_LINE] = 0xff;
    this.writable[0x0c] = 0xff; // cache line size
    this.writable[0x0d] = 0xff; // latency timer
    for (const [index, bar] of bars.entries()) {
      if (bar === undefined) {
        continue;
      }
      assert((bar.size & (bar.size - 1)) === 0, `${owner}: BAR ${index} has a size that is no power of two`);
      const offset = PciFunction.#barOffset(index);
      const flags = bar.kind === 'io' ? 1 : bar.prefetchable ? 8 : 0;
      view.setUint32(offset, index === 6 ? 0 : flags, true);
      writable.setUint32(offset, (~(bar.size - 1) | (index === 6 ? 1 : 0)) >>> 0, true);
    }
    this.#defaults.set(this.config);
  }

  static #barOffset(index: number): number {
    return index === 6 ? PCI_ROM_BAR : PCI_BAR0 + index * 4;
  }

  get command(): number {
    return this.#view.getUint16(PCI_COMMAND, true);
  }

  get busMaster(): boolean {
    return (this.command & PCI_COMMAND_BUS_MASTER) !== 0;
  }

  get interruptPin(): number {
    return this.#identity.interruptPin ?? 0;
  }

  readU16(offset: number): number {
    return this.#view.getUint16(offset, true);
  }

  readU32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  /** Sets bytes as the device itself (no masks); also becomes the value after reset when `asDefault`. */
  setU8(offset: number, value: number, asDefault = true): void {
    this.config[offset] = value;
    if (asDefault) {
      this.#defaults[offset] = value;
    }
  }

  setU16(offset: number, value: number, asDefault = true): void {
    this.setU8(offset, value & 0xff, asDefault);
    this.setU8(offset + 1, (value >>> 8) & 0xff, asDefault);
  }

  setU32(offset: number, value: number, asDefault = true): void {
    this.setU16(offset, value & 0xffff, asDefault);
    this.setU16(offset + 2, value >>> 16, asDefault);
  }

  /** Reserves `length` bytes (header included) for a capability, links it in and returns its offset. Call at construction. */
  addCapability(id: number, length: number): number {
    const offset = this.#nextCapability;
    assert(offset + length <= 0x100, `${this.owner}: configuration space is full`);
    this.#nextCapability = (offset + length + 3) & ~3;
    this.setU8(offset, id);
    this.setU8(offset + 1, this.config[PCI_CAPABILITIES] ?? 0);
    this.setU8(PCI_CAPABILITIES, offset);
    this.setU16(PCI_STATUS, this.readU16(PCI_STATUS) | PCI_STATUS_CAPABILITIES);
    return offset;
  }

  /** Guest read; `offset + size` never exceeds 256. */
  readConfig(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) {
      value = (value << 8) | (this.config[offset + i] ?? 0xff);
    }
    return value >>> 0;
  }

  /** Guest write; `offset + size` never exceeds 256. */
  writeConfig(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) {
      const mask = this.writable[offset + i] ?? 0;
      const byte = (value >>> (i * 8)) & 0xff;
      this.config[offset + i] = ((this.config[offset + i] ?? 0) & ~mask) | (byte & mask);
    }
    if (offset < 0x06 || (offset < 0x34 && offset + size > PCI_BAR0)) {
      this.#place();
    }
    this.onConfigWrite?.(offset, size);
  }

  /** The address at which BAR `index` is decoded at present, or undefined. */
  barAddress(index: number): number | undefined {
    const bar = this.#bars[index];
    if (bar === undefined) {
      return undefined;
    }
    const value = this.#view.getUint32(PciFunction.#barOffset(index), true);
    const enabled =
      (this.command & (bar.kind === 'io' ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)) !== 0 &&
      (index !== 6 || (value & 1) !== 0);
    const address = (value & ~(bar.size - 1)) >>> 0;
    // A window at zero, or one still holding the sizing pattern, is not a placement.
    if (!enabled || address === 0 || address + bar.size > (bar.kind === 'io' ? 0x10000 : 0xfffff000)) {
      return undefined;
    }
    return address;
  }

  #place(): void {
    for (const [index, bar] of this.#bars.entries()) {
      if (bar === undefined) {
        continue;
      }
      const address = this.barAddress(index);
      if (address === this.#placed[index]) {
        continue;
      }
      this.#placed[index] = address;
      if (bar.kind === 'ram') {
        bar.place(address);
        continue;
      }
      // What has rung is heard while the window still stands where it was.
      this.#placeDoorbells(index, bar, undefined);
      const mapping = this.#mappings[index];
      if (address === undefined) {
        mapping?.dispose();
        this.#mappings[index] = undefined;
      } else if (mapping !== undefined) {
        mapping.move(address);
      } else {
        this.#mappings[index] =
          bar.kind === 'io'
            ? this.#buses.ports.map(address, bar.size, bar.handler, this.owner, { guestPlaced: true })
            : this.#buses.mmio.map(address, bar.size, bar.handler, this.owner, { guestPlaced: true });
      }
      this.#placeDoorbells(index, bar, address);
    }
  }

  #placeDoorbells(index: number, bar: Exclude<BarSpec, { kind: 'ram' }>, address: number | undefined): void {
    const { doorbells } = this.#buses;
    if (bar.doorbells === undefined || doorbells === undefined) {
      return;
    }
    for (const placed of this.#doorbells[index] ?? []) {
      placed.dispose();
    }
    this.#doorbells[index] =
      address === undefined
        ? []
        : bar.doorbells.map(({ offset, size, value, exact }) =>
            doorbells.add({
              space: bar.kind === 'io' ? 'port' : 'memory',
              address: address + offset,
              size,
              value,
              exact,
            }),
          );
  }

  reset(): void {
    this.config.set(this.#defaults);
    this.#place();
  }

  save(): PciFunctionState {
    return { config: this.config.slice() };
  }

  load(state: PciFunctionState): void {
    if (!(state.config instanceof Uint8Array) || state.config.length !== 256) {
      throw new HostError('bad-state', `${this.owner}: the saved PCI configuration is not 256 bytes long`);
    }
    for (let i = 0; i < 256; i++) {
      const mask = this.writable[i] ?? 0;
      // Only bits that the guest could have written are taken over; the identity stays this device's own.
      this.config[i] = ((this.config[i] ?? 0) & ~mask) | ((state.config[i] ?? 0) & mask);
    }
    this.#place();
  }

  dispose(): void {
    for (const [index, bar] of this.#bars.entries()) {
      if (bar !== undefined && bar.kind !== 'ram') {
        this.#placeDoorbells(index, bar, undefined);
      }
      this.#mappings[index]?.dispose();
      this.#mappings[index] = undefined;
      if (bar?.kind === 'ram' && this.#placed[index] !== undefined) {
        bar.place(undefined);
      }
      this.#placed[index] = undefined;
    }
  }
}
