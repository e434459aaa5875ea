/** What the tables say about the machine. Addresses are guest-physical or ports. */
export interface AcpiConfig {
  readonly cpus: number;
  /** First and last address that PCI memory windows may occupy. */
  readonly pciMemory: { readonly first: number; readonly last: number };
  readonly pmBase: number;
  readonly gpeBase: number;
  readonly smiCommandPort: number;
  readonly acpiEnable: number;
  readonly acpiDisable: number;
  readonly hpet: boolean;
  readonly floppy: boolean;
  readonly serialPorts: number;
  /** The machine has reduced hardware: neither PCI nor the chips of a PC that ACPI describes otherwise. */
  readonly reduced?: ReducedAcpi;
}

/** What ACPI says of machines with reduced hardware (ACPI 6.4, section 4.1). */
export interface ReducedAcpi {
  readonly sleepControlPort: number;
  readonly sleepStatusPort: number;
  readonly resetPort: number;
  readonly resetValue: number;
  /** SLP_TYP of soft-off. */
  readonly softOffType: number;
  /** Interrupt of the power button. */
  readonly buttonGsi: number;
  readonly virtioMmio: readonly VirtioMmioPlace[];
}

/** Where a virtio device in a window of memory is. */
export interface VirtioMmioPlace {
  readonly base: number;
  readonly length: number;
  /** Global system interrupt. */
  readonly gsi: number;
}

export const LOCAL_APIC_ADDRESS = 0xfee00000;
export const IO_APIC_ADDRESS = 0xfec00000;
export const HPET_ADDRESS = 0xfed00000;
/** The system control interrupt. */
export const SCI_IRQ = 9;
/** ISA interrupts to which the firmware and the operating system may route PCI interrupts. */
export const PCI_IRQS = [5, 10, 11] as const;

/** Where SeaBIOS starts to place PCI windows on this chipset, given the memory there is. */
export function pciMemoryStart(memoryBytes: number): number {
  return memoryBytes <= 0x8000_0000 ? 0x8000_0000 : memoryBytes <= 0xc000_0000 ? 0xc000_0000 : 0xe000_0000;
}

/** The tables of the standard machine. */
export function pcAcpiConfig(
  machine: { readonly cpus: number; readonly memoryBytes: number },
  overrides: Partial<AcpiConfig> = {},
): AcpiConfig {
  return {
    cpus: machine.cpus,
    pciMemory: { first: pciMemoryStart(machine.memoryBytes), last: IO_APIC_ADDRESS - 1 },
    pmBase: 0x600,
    gpeBase: 0xafe0,
    smiCommandPort: 0xb2,
    acpiEnable: 0xf1,
    acpiDisable: 0xf0,
    hpet: true,
    floppy: true,
    serialPorts: 2,
    ...overrides,
  };
}
