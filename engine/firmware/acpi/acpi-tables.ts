import { encodeLoaderScript, type LoaderCommand } from '../table-loader.ts';
import { type Aml, bytes, u32, u64 } from './aml.ts';
import { dsdtBody } from './dsdt.ts';
import { reducedDsdtBody } from './dsdt-reduced.ts';
import type { AcpiConfig } from './pc-config.ts';
import {
  FADT_DSDT,
  FADT_FACS,
  FADT_X_DSDT,
  facs,
  fadt,
  HEADER_CHECKSUM,
  HEADER_LENGTH,
  hpetTable,
  madt,
  reducedFadt,
  reducedMadt,
  table,
  waet,
} from './tables.ts';

/** Names under which fw_cfg offers the blobs and the script that puts them together. */
export const ACPI_TABLES_FILE = 'etc/acpi/tables';
export const ACPI_RSDP_FILE = 'etc/acpi/rsdp';
export const TABLE_LOADER_FILE = 'etc/table-loader';

export interface AcpiBlobs {
  readonly tables: Uint8Array;
  readonly rsdp: Uint8Array;
  readonly script: readonly LoaderCommand[];
  /** `script` in the form in which firmware reads it. */
  readonly loader: Uint8Array;
}

/** Offsets in the root system description pointer (ACPI 6.4, table 5.3). */
const RSDP_CHECKSUM = 8;
const RSDP_RSDT = 16;
const RSDP_XSDT = 24;
const RSDP_EXTENDED_CHECKSUM = 32;
const RSDP_LENGTH = 36;
const RSDP_V1_LENGTH = 20;

/** Builds all ACPI tables of the machine, unplaced, with the script that places, links and checksums them. */
export function buildAcpiTables(config: AcpiConfig): AcpiBlobs {
  const script: LoaderCommand[] = [
    { kind: 'allocate', file: ACPI_TABLES_FILE, align: 64, zone: 'high' },
    { kind: 'allocate', file: ACPI_RSDP_FILE, align: 16, zone: 'fseg' },
  ];
  const parts: Aml[] = [];
  let length = 0;
  const append = (part: Aml): number => {
    const at = length;
    const padding = (8 - (part.length & 7)) & 7;
    parts.push(part, new Uint8Array(padding));
    length += part.length + padding;
    return at;
  };
  const checksum = (at: number, part: Aml) =>
    script.push({
      kind: 'add-checksum',
      file: ACPI_TABLES_FILE,
      offset: at + HEADER_CHECKSUM,
      start: at,
      length: part.length,
    });
  const point = (file: string, offset: number, size: 4 | 8) =>
    script.push({ kind: 'add-pointer', file, source: ACPI_TABLES_FILE, offset, size });
  const appendChecked = (part: Aml): number => {
    const at = append(part);
    checksum(at, part);
    return at;
  };

  const { reduced } = config;
  const body = reduced === undefined ? dsdtBody(config) : reducedDsdtBody(config, reduced);
  const facsAt = append(facs());
  const dsdtAt = appendChecked(table('DSDT', reduced === undefined ? 1 : 2, body));

  const fixed = reduced === undefined ? fadt(config) : reducedFadt(reduced);
  const view = new DataView(fixed.buffer);
  view.setUint32(FADT_FACS, facsAt, true);
  view.setUint32(FADT_DSDT, dsdtAt, true);
  view.setUint32(FADT_X_DSDT, dsdtAt, true);
  const fadtAt = append(fixed);
  point(ACPI_TABLES_FILE, fadtAt + FADT_FACS, 4);
  point(ACPI_TABLES_FILE, fadtAt + FADT_DSDT, 4);
  point(ACPI_TABLES_FILE, fadtAt + FADT_X_DSDT, 8);
  checksum(fadtAt, fixed);

  const listed = [
    fadtAt,
    appendChecked(reduced === undefined ? madt(config) : reducedMadt(config)),
    ...(config.hpet ? [appendChecked(hpetTable())] : []),
    ...(reduced === undefined ? [appendChecked(waet())] : []),
  ];

  const rsdt = table('RSDT', 1, bytes(...listed.map(u32)));
  const rsdtAt = append(rsdt);
  const xsdt = table('XSDT', 1, bytes(...listed.map(u64)));
  const xsdtAt = append(xsdt);
  for (const index of listed.keys()) {
    point(ACPI_TABLES_FILE, rsdtAt + HEADER_LENGTH + index * 4, 4);
    point(ACPI_TABLES_FILE, xsdtAt + HEADER_LENGTH + index * 8, 8);
  }
  checksum(rsdtAt, rsdt);
  checksum(xsdtAt, xsdt);

  const rsdp = bytes(
    new Uint8Array(Buffer.from('RSD PTR \0LODGE ', 'latin1')),
    2,
    u32(rsdtAt),
    u32(RSDP_LENGTH),
    u64(xsdtAt),
    new Uint8Array(4),
  );
  point(ACPI_RSDP_FILE, RSDP_RSDT, 4);
  point(ACPI_RSDP_FILE, RSDP_XSDT, 8);
  script.push(
    { kind: 'add-checksum', file: ACPI_RSDP_FILE, offset: RSDP_CHECKSUM, start: 0, length: RSDP_V1_LENGTH },
    { kind: 'add-checksum', file: ACPI_RSDP_FILE, offset: RSDP_EXTENDED_CHECKSUM, start: 0, length: RSDP_LENGTH },
  );
  return { tables: bytes(...parts), rsdp, script, loader: encodeLoaderScript(script) };
}
