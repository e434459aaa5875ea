import type { AccessSize, PioHandler } from '../bus/bus.ts';
import type { Device } from '../devices/device.ts';
import { StateReader } from '../devices/state.ts';
import type { PciBus } from './pci-bus.ts';
import { PCI_COMMAND, PCI_STATUS, type PciBuses, PciFunction, type PciFunctionState } from './pci-function.ts';

/** Registers of the 82441FX PMC in its configuration space (Intel 290549, section 3.2). */
export const PAM0 = 0x59;
export const PAM6 = 0x5f;
export const SMRAM = 0x72;
/** Attribute bits in each half of a PAM register. */
export const PAM_READ_ENABLE = 1 << 0;
export const PAM_WRITE_ENABLE = 1 << 1;
export const PAM_SEGMENTS = 13;
const SMRAM_LOCK = 1 << 4;

/** Configuration mechanism #1 (PCI Local Bus 3.0, section 3.2.2.3.2): eight ports from here. */
export const CONFIG_ADDRESS_PORT = 0xcf8;
export const CONFIG_PORT_COUNT = 8;
const CONFIG_ENABLE = 0x8000_0000;

/** Where accesses to a shadowable segment go: `ram`, or `rom` (reads see the ROM behind it, writes are dropped). */
export interface PamMode {
  readonly read: 'rom' | 'ram';
  readonly write: 'rom' | 'ram';
}

/** Tells the memory map what a shadowable segment now is. Segment 0 is 0xF0000 (64 KiB), 1–12 are 16 KiB each from 0xC0000. */
export type SetPam = (segment: number, base: number, length: number, mode: PamMode) => void;

export interface HostBridgeWiring extends PciBuses {
  readonly bus: PciBus;
  readonly setPam: SetPam;
  /** The reset control register, which answers byte accesses at 0xCF9, in the middle of the address register. */
  readonly resetControl: PioHandler;
}

export type HostBridgeState = { pci: PciFunctionState; address: number };

/** Base and length of PAM segment `segment` (0 … 12). */
export function pamSegment(segment: number): { base: number; length: number } {
  return segment === 0 ? { base: 0xf0000, length: 0x10000 } : { base: 0xbc000 + segment * 0x4000, length: 0x4000 };
}

/**
 * The 82441FX host bridge at 00:00.0: configuration mechanism #1 and the attributes of the legacy BIOS area. It puts
 * itself on `wiring.bus`. SMRAM is a register without effect: this machine has no system management mode.
 */
export class HostBridge implements Device<HostBridgeState> {
  readonly id: string;
  readonly pci: PciFunction;
  /** The ports 0xCF8–0xCFF. */
  readonly ports: PioHandler;
  readonly #wiring: HostBridgeWiring;
  readonly #pam = new Uint8Array(PAM_SEGMENTS);
  readonly #place: { dispose(): void };
  #address = 0;

  constructor(id: string, wiring: HostBridgeWiring) {
    this.id = id;
    this.#wiring = wiring;
    const pci = new PciFunction(
      id,
      {
        vendorId: 0x8086,
        deviceId: 0x1237,
        classCode: 0x060000,
        revision: 0x02,
        subsystemVendorId: 0x1af4,
        subsystemId: 0x1100,
      },
      wiring,
    );
    this.pci = pci;
    pci.setU16(PCI_COMMAND, 0x0006);
    pci.setU16(PCI_STATUS, 0x0280);
    pci.writable.fill(0, PCI_COMMAND, PCI_COMMAND + 2);
    pci.writable[PCI_COMMAND + 1] = 0x01; // SERR# enable
    pci.writable[0x0c] = 0;
    for (const [offset, value, mask] of [
      [0x50, 0x00, 0xff], // PMC configuration
      [0x51, 0x00, 0xff],
      [0x52, 0x00, 0x33], // no second-level cache
      [0x53, 0x80, 0x80], // deturbo
      [0x54, 0x00, 0xff], // DRAM bus control
      [0x57, 0x01, 0xff], // DRAM control
      [0x58, 0x10, 0xff], // DRAM timing
      [0x68, 0x00, 0xc0], // fixed hole
      [0x70, 0x00, 0xff],
      [0x71, 0x10, 0xff],
      [SMRAM, 0x02, 0x78],
      [0x90, 0x00, 0xff],
      [0x93, 0x00, 0x00], // turbo reset control: guests use 0xCF9
    ] as const) {
      pci.setU8(offset, value);
      pci.writable[offset] = mask;
    }
    for (let offset = PAM0; offset <= PAM6; offset++) {
      pci.writable[offset] = offset === PAM0 ? 0xf0 : 0xff;
    }
    for (let offset = 0x60; offset < 0x68; offset++) {
      pci.setU8(offset, 0x01); // DRAM row boundaries: only a memory-sizing firmware would look
      pci.writable[offset] = 0xff;
    }
    pci.onConfigWrite = (offset, size) => {
      if (offset <= PAM6 && offset + size > PAM0) {
        this.#updatePam(false);
      }
      if (offset <= SMRAM && offset + size > SMRAM && ((pci.config[SMRAM] ?? 0) & SMRAM_LOCK) !== 0) {
        pci.writable[SMRAM] = 0;
      }
    };
    this.ports = {
      readPort: (offset, size) => this.#readPort(offset, size),
      writePort: (offset, size, value) => this.#writePort(offset, size, value),
    };
    this.#place = wiring.bus.add(0, 0, pci);
    this.#updatePam(true);
  }

  reset(): void {
    this.#address = 0;
    this.pci.reset();
    this.pci.writable[SMRAM] = 0x78;
    this.#updatePam(false);
  }

  save(): HostBridgeState {
    return { pci: this.pci.save(), address: this.#address };
  }

  load(state: HostBridgeState): void {
    const reader = new StateReader(this.id, state);
    const address = reader.u32('address');
    const config = reader.object('pci').bytes('config', 256);
    this.#address = (address & 0x80fffffc) >>> 0;
    this.pci.writable[SMRAM] = 0x78;
    this.pci.load({ config });
    if (((config[SMRAM] ?? 0) & SMRAM_LOCK) !== 0) {
      this.pci.writable[SMRAM] = 0;
    }
    this.#updatePam(true);
  }

  describe(): string {
    const pam = [...this.pci.config.subarray(PAM0, PAM6 + 1)].map((byte) => byte.toString(16).padStart(2, '0'));
    const functions = [...this.#wiring.bus.entries()].map(({ slot, fn, target }) => `  ${slot}.${fn} ${target.owner}`);
    return [`CONFIG_ADDRESS ${this.#address.toString(16)}, PAM ${pam.join(' ')}`, ...functions].join('\n');
  }

  dispose(): void {
    this.#place.dispose();
    this.pci.dispose();
  }

  #updatePam(all: boolean): void {
    for (let segment = 0; segment < PAM_SEGMENTS; segment++) {
      // Segment 0 is the high half of PAM0; segments 1, 2 the low and high half of PAM1, and so on.
      const index = segment + 1;
      const bits = ((this.pci.config[PAM0 + (index >> 1)] ?? 0) >> ((index & 1) * 4)) & 3;
      if (all || this.#pam[segment] !== bits) {
        this.#pam[segment] = bits;
        const { base, length } = pamSegment(segment);
        this.#wiring.setPam(segment, base, length, {
          read: (bits & PAM_READ_ENABLE) !== 0 ? 'ram' : 'rom',
          write: (bits & PAM_WRITE_ENABLE) !== 0 ? 'ram' : 'rom',
        });
      }
    }
  }

  #readPort(offset: number, size: AccessSize): number {
    if (offset >= 4) {
      const address = this.#address;
      if ((address & CONFIG_ENABLE) === 0 || (address & 0x00ff0000) !== 0) {
        return 0xffffffff;
      }
      return this.#wiring.bus.read((address >>> 8) & 0xff, (address & 0xfc) + (offset & 3), size);
    }
    if (offset === 0 && size === 4) {
      return this.#address;
    }
    let value = 0;
    for (let i = size - 1; i >= 0; i--) {
      const at = offset + i;
      const byte = at === 1 ? this.#wiring.resetControl.readPort(0, 1) : at >= 4 ? this.#readPort(at, 1) : 0xff;
      value = (value << 8) | (byte & 0xff);
    }
    return value >>> 0;
  }

  #writePort(offset: number, size: AccessSize, value: number): void {
    if (offset >= 4) {
      const address = this.#address;
      if ((address & CONFIG_ENABLE) !== 0 && (address & 0x00ff0000) === 0) {
        this.#wiring.bus.write((address >>> 8) & 0xff, (address & 0xfc) + (offset & 3), size, value);
      }
      return;
    }
    if (offset === 0 && size === 4) {
      this.#address = (value & 0x80fffffc) >>> 0;
      return;
    }
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      const byte = (value >>> (i * 8)) & 0xff;
      if (at === 1) {
        this.#wiring.resetControl.writePort(0, 1, byte);
      } else if (at >= 4) {
        this.#writePort(at, 1, byte);
      }
    }
  }
}
