import { PCI_COMMAND, PCI_COMMAND_IO, type PciBuses, PciFunction, type PciIdentity } from '../../pci/pci-function.ts';
import type { DeviceId, StateValue } from '../device.ts';
import { StateReader } from '../state.ts';
import {
  VGA_MMIO_BYTES,
  VgaAdapter,
  type VgaAdapterConfig,
  type VgaAdapterState,
  type VgaAdapterWiring,
} from './vga-adapter.ts';

const IDENTITY: PciIdentity = {
  vendorId: 0x1234,
  deviceId: 0x1111,
  classCode: 0x030000,
  revision: 2,
  subsystemVendorId: 0x1af4,
  subsystemId: 0x1100,
  interruptPin: 0,
};

export interface StdVgaWiring extends VgaAdapterWiring {
  readonly buses: PciBuses;
}

/** The "standard VGA" of the PC machine: a VGA adapter that is a PCI function of its own, 1234:1111. */
export class StdVga extends VgaAdapter {
  readonly pci: PciFunction;

  constructor(id: DeviceId, wiring: StdVgaWiring, config: VgaAdapterConfig = {}) {
    super(id, wiring, config);
    const registers = { kind: 'mmio', size: VGA_MMIO_BYTES, handler: this.mmio } as const;
    const bars = [this.vramBar, undefined, registers, undefined, undefined, undefined, this.romBar];
    this.pci = new PciFunction(id, IDENTITY, wiring.buses, bars);
    ownLegacyPorts(this.pci);
  }

  override reset(): void {
    this.pci.reset();
    super.reset();
  }

  override save(): VgaAdapterState {
    return { pci: this.pci.save(), ...super.save() };
  }

  override load(state: StateValue): void {
    const config = new StateReader(this.id, state).object('pci').bytes('config', 256);
    super.load(state);
    this.pci.load({ config });
  }

  override describe(): string {
    const placed = this.pci.barAddress(0);
    return `${super.describe()} at ${placed === undefined ? 'no address' : `0x${placed.toString(16)}`}`;
  }

  override dispose(): void {
    this.pci.dispose();
  }
}

/** Guests find the function that owns the legacy ports by this bit of its command register, although no BAR needs it. */
export function ownLegacyPorts(pci: PciFunction): void {
  pci.writable[PCI_COMMAND] = (pci.writable[PCI_COMMAND] ?? 0) | PCI_COMMAND_IO;
}
