import {
  FW_CFG_BOOT_MENU,
  FW_CFG_IRQ0_OVERRIDE,
  FW_CFG_MAX_CPUS,
  FW_CFG_NB_CPUS,
  FW_CFG_NOGRAPHIC,
  FW_CFG_NUMA,
  FW_CFG_RAM_SIZE,
  FW_CFG_UUID,
  FwCfgItems,
  littleEndian16,
  littleEndian32,
  littleEndian64,
} from '../devices/fw-cfg/fw-cfg-items.ts';
import { ACPI_RSDP_FILE, ACPI_TABLES_FILE, buildAcpiTables, TABLE_LOADER_FILE } from './acpi/acpi-tables.ts';
import type { AcpiConfig } from './acpi/pc-config.ts';
import { bootOrderFile } from './boot-order.ts';
import { encodeE820, firmwareE820 } from './e820.ts';
import { buildSmbios, SMBIOS_ANCHOR_FILE, SMBIOS_TABLES_FILE } from './smbios.ts';

export interface FirmwareConfig {
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly acpi: AcpiConfig;
  /** Open Firmware paths, see boot-order.ts; empty leaves the order to the firmware. */
  readonly bootOrder: readonly string[];
  /** Offers the boot menu for so long; undefined: no menu. */
  readonly bootMenuMillis?: number;
  /** How long the firmware waits before it starts again when nothing could be booted; undefined: for ever. */
  readonly rebootMillis?: number;
  readonly uuid?: Uint8Array;
  /** Additional files by name, `opt/…`, and whatever a test wants to tell its guest. */
  readonly files?: ReadonlyMap<string, Uint8Array>;
}

/** `etc/system-states`: bit 7 says that S0 … S5 exists, the rest is its SLP_TYP. Only working and soft-off do. */
const SYSTEM_STATES = Uint8Array.of(128, 0, 0, 1, 2, 128);

/** Everything that the firmware configuration device tells SeaBIOS and the guest about the machine. */
export function firmwareItems(config: FirmwareConfig): FwCfgItems {
  const items = new FwCfgItems()
    .set(FW_CFG_UUID, config.uuid ?? new Uint8Array(16))
    .set(FW_CFG_RAM_SIZE, littleEndian64(config.memoryBytes))
    .set(FW_CFG_NOGRAPHIC, littleEndian16(0))
    .set(FW_CFG_NB_CPUS, littleEndian16(config.cpus))
    .set(FW_CFG_MAX_CPUS, littleEndian16(config.cpus))
    .set(FW_CFG_NUMA, littleEndian64(0))
    .set(FW_CFG_BOOT_MENU, littleEndian16(config.bootMenuMillis === undefined ? 0 : 1))
    .set(FW_CFG_IRQ0_OVERRIDE, littleEndian32(1));
  const acpi = buildAcpiTables(config.acpi);
  const smbios = buildSmbios({
    cpus: config.cpus,
    memoryBytes: config.memoryBytes,
    ...(config.uuid === undefined ? {} : { uuid: config.uuid }),
  });
  items
    .file('etc/e820', encodeE820(firmwareE820(config.memoryBytes)))
    .file('etc/system-states', SYSTEM_STATES)
    .file(ACPI_TABLES_FILE, acpi.tables)
    .file(ACPI_RSDP_FILE, acpi.rsdp)
    .file(TABLE_LOADER_FILE, acpi.loader)
    .file(SMBIOS_ANCHOR_FILE, smbios.anchor)
    .file(SMBIOS_TABLES_FILE, smbios.tables);
  if (config.bootOrder.length > 0) {
    items.file('bootorder', bootOrderFile(config.bootOrder));
  }
  if (config.bootMenuMillis !== undefined) {
    items.file('etc/boot-menu-wait', littleEndian16(Math.min(0xffff, config.bootMenuMillis)));
  }
  // All ones mean for ever; without the file the firmware would try again after a minute.
  items.file('etc/boot-fail-wait', littleEndian32(config.rebootMillis ?? 0xffffffff));
  for (const [name, bytes] of config.files ?? []) {
    items.file(name, bytes);
  }
  return items;
}
