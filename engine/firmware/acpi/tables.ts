import { type Aml, bytes, u16, u32, u64 } from './aml.ts';
import {
  type AcpiConfig,
  HPET_ADDRESS,
  IO_APIC_ADDRESS,
  LOCAL_APIC_ADDRESS,
  type ReducedAcpi,
  SCI_IRQ,
} from './pc-config.ts';

/** Offsets in the header that every table but FACS and RSDP starts with (ACPI 6.4, table 5.4). */
export const HEADER_LENGTH = 36;
export const HEADER_CHECKSUM = 9;

/** Offsets of the FADT's pointers (table 5.9). */
export const FADT_FACS = 36;
export const FADT_DSDT = 40;
export const FADT_X_DSDT = 140;

const OEM_ID = 'LODGE ';
const OEM_TABLE_ID = 'LODGEPC ';
const CREATOR_ID = 'LDGE';

function ascii(text: string): Aml {
  return new Uint8Array(Buffer.from(text, 'latin1'));
}

/** A table with its header; the checksum is left 0 for the table loader to fill in. */
export function table(signature: string, revision: number, body: Aml): Aml {
  return bytes(
    ascii(signature),
    u32(HEADER_LENGTH + body.length),
    revision,
    0,
    ascii(OEM_ID),
    ascii(OEM_TABLE_ID),
    u32(1),
    ascii(CREATOR_ID),
    u32(1),
    body,
  );
}

/**
 * Generic address structure (table 5.1). Byte registers say how they are accessed; for wider ones the size is left to
 * the operating system, which knows how to split them.
 */
function address(space: 'memory' | 'io', bits: number, at: number): Aml {
  return bytes(space === 'memory' ? 0 : 1, bits, 0, bits === 8 ? 1 : 0, u64(at));
}

const NOWHERE = new Uint8Array(12);

const FADT_WBINVD = 1 << 0;
const FADT_PROC_C1 = 1 << 2;
/** No fixed sleep button, and no fixed RTC wake-up: there is nothing to wake from. */
const FADT_SLP_BUTTON = 1 << 5;
const FADT_FIX_RTC = 1 << 6;
const FADT_RESET_REG_SUP = 1 << 10;
const BOOT_ARCH_LEGACY_DEVICES = 1 << 0;
const BOOT_ARCH_8042 = 1 << 1;

const RESET_PORT = 0xcf9;
const RESET_VALUE = 6;
const CMOS_CENTURY = 0x32;

/** The register that the tables give for restarting the machine, and what is written to it. */
export function resetRegister({ reduced }: AcpiConfig): { readonly port: number; readonly value: number } {
  return reduced === undefined
    ? { port: RESET_PORT, value: RESET_VALUE }
    : { port: reduced.resetPort, value: reduced.resetValue };
}

/** The fixed description table, revision 3 (ACPI 2.0 layout, 244 bytes); its pointers are left 0. */
export function fadt(config: AcpiConfig): Aml {
  const pm1Event = config.pmBase;
  const pm1Control = config.pmBase + 4;
  const pmTimer = config.pmBase + 8;
  return table(
    'FACP',
    3,
    bytes(
      u32(0), // FACS
      u32(0), // DSDT
      0,
      0, // unspecified profile
      u16(SCI_IRQ),
      u32(config.smiCommandPort),
      config.acpiEnable,
      config.acpiDisable,
      0,
      0,
      u32(pm1Event),
      u32(0),
      u32(pm1Control),
      u32(0),
      u32(0),
      u32(pmTimer),
      u32(config.gpeBase),
      u32(0),
      4, // PM1_EVT_LEN
      2, // PM1_CNT_LEN
      0,
      4, // PM_TMR_LEN
      4, // GPE0_BLK_LEN
      0,
      0,
      0,
      u16(0xfff), // no C2
      u16(0xfff), // no C3
      u16(0),
      u16(0),
      0,
      0,
      0,
      0,
      CMOS_CENTURY,
      u16(BOOT_ARCH_LEGACY_DEVICES | BOOT_ARCH_8042),
      0,
      u32(FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_RESET_REG_SUP),
      address('io', 8, RESET_PORT),
      RESET_VALUE,
      u16(0),
      0,
      u64(0), // X_FIRMWARE_CTRL: FIRMWARE_CTRL says it
      u64(0), // X_DSDT
      address('io', 32, pm1Event),
      NOWHERE,
      address('io', 16, pm1Control),
      NOWHERE,
      NOWHERE,
      address('io', 32, pmTimer),
      address('io', 32, config.gpeBase),
      NOWHERE,
    ),
  );
}

const FADT_PWR_BUTTON = 1 << 4;
const FADT_HW_REDUCED = 1 << 20;
const BOOT_ARCH_NO_VGA = 1 << 2;
/** Bytes between the flags for ARM and X_DSDT, and from there to the sleep registers: fields of hardware not there. */
const FADT_REDUCED_BLOCKS = 8 * 12;

/** The fixed description table of reduced hardware, revision 6 (ACPI 6.4, section 5.2.9); its pointers are left 0. */
export function reducedFadt(reduced: ReducedAcpi): Aml {
  return table(
    'FACP',
    6,
    bytes(
      u32(0), // FACS
      u32(0), // DSDT
      new Uint8Array(108 - 44), // fields of hardware that is not there, up to the century
      CMOS_CENTURY,
      u16(BOOT_ARCH_LEGACY_DEVICES | BOOT_ARCH_NO_VGA),
      0,
      u32(FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_RESET_REG_SUP | FADT_HW_REDUCED),
      address('io', 8, reduced.resetPort),
      reduced.resetValue,
      u16(0),
      0,
      u64(0), // X_FIRMWARE_CTRL
      u64(0), // X_DSDT
      new Uint8Array(FADT_REDUCED_BLOCKS),
      address('io', 8, reduced.sleepControlPort),
      address('io', 8, reduced.sleepStatusPort),
      u64(0), // hypervisor vendor
    ),
  );
}

/** The interrupt controllers of reduced hardware: no 8259s, and ISA interrupts are those of the I/O APIC. */
export function reducedMadt(config: AcpiConfig): Aml {
  const entries: Aml[] = [];
  for (let id = 0; id < config.cpus; id++) {
    entries.push(bytes(0, 8, id, id, u32(MADT_ENABLED)));
  }
  entries.push(bytes(1, 12, 0, 0, u32(IO_APIC_ADDRESS), u32(0)));
  entries.push(bytes(4, 6, 0xff, u16(0), 1));
  return table('APIC', 1, bytes(u32(LOCAL_APIC_ADDRESS), u32(0), ...entries));
}

/** Firmware ACPI control structure: no header, no checksum, on a 64-byte boundary. */
export function facs(): Aml {
  return bytes(ascii('FACS'), u32(64), new Uint8Array(24), 1, new Uint8Array(31));
}

const MADT_PCAT_COMPAT = 1;
const MADT_ENABLED = 1;
/** Interrupt flags: active high, level-triggered (table 5.26). */
const MPS_LEVEL_HIGH = 0x0d;
/** ISA interrupts that PCI uses, and the SCI. */
const LEVEL_IRQS = [5, 9, 10, 11] as const;

/** Multiple APIC description table: local APICs, the I/O APIC, and where ISA interrupts differ from the identity. */
export function madt(config: AcpiConfig): Aml {
  const entries: Aml[] = [];
  for (let id = 0; id < config.cpus; id++) {
    entries.push(bytes(0, 8, id, id, u32(MADT_ENABLED)));
  }
  entries.push(bytes(1, 12, 0, 0, u32(IO_APIC_ADDRESS), u32(0)));
  entries.push(bytes(2, 10, 0, 0, u32(2), u16(0)));
  for (const irq of LEVEL_IRQS) {
    entries.push(bytes(2, 10, 0, irq, u32(irq), u16(MPS_LEVEL_HIGH)));
  }
  entries.push(bytes(4, 6, 0xff, u16(0), 1));
  return table('APIC', 1, bytes(u32(LOCAL_APIC_ADDRESS), u32(MADT_PCAT_COMPAT), ...entries));
}

/** Capability bits of the HPET as in its register: Intel, legacy replacement, 64 bits, three comparators, revision 1. */
const HPET_BLOCK_ID = 0x8086a201;

export function hpetTable(): Aml {
  return table('HPET', 1, bytes(u32(HPET_BLOCK_ID), address('memory', 0, HPET_ADDRESS), 0, u16(0), 0));
}

/** Tells Windows that the PM timer needs only one read. */
export function waet(): Aml {
  return table('WAET', 1, u32(1 << 1));
}
