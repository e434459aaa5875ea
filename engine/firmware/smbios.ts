/** Names of the SMBIOS blobs in fw_cfg; the firmware places the tables and fixes the anchor. */
export const SMBIOS_ANCHOR_FILE = 'etc/smbios/smbios-anchor';
export const SMBIOS_TABLES_FILE = 'etc/smbios/smbios-tables';

export interface SmbiosConfig {
  readonly cpus: number;
  readonly memoryBytes: number;
  /** The machine's UUID, 16 bytes in the order in which they are printed; undefined: not set. */
  readonly uuid?: Uint8Array;
  readonly version?: string;
}

export interface SmbiosBlobs {
  /** The 31-byte entry point; table address and both checksums are 0 until it is placed. */
  readonly anchor: Uint8Array;
  readonly tables: Uint8Array;
}

/** Offsets in the entry point structure (DSP0134 3.4, section 5.2.1). */
const EPS_LENGTH = 0x1f;
const EPS_CHECKSUM = 0x04;
const EPS_INTERMEDIATE = 0x10;
const EPS_INTERMEDIATE_CHECKSUM = 0x15;
const EPS_TABLE_ADDRESS = 0x18;

/** A structure being written: fields of its formatted area in order, then its strings. */
class Structure {
  readonly #bytes: number[];
  readonly #strings: string[] = [];

  constructor(type: number, handle: number) {
    this.#bytes = [type, 0, handle & 0xff, handle >> 8];
  }

  u8(...values: number[]): this {
    for (const value of values) {
      this.#bytes.push(value & 0xff);
    }
    return this;
  }

  u16(...values: number[]): this {
    for (const value of values) {
      this.u8(value, value >>> 8);
    }
    return this;
  }

  u32(...values: number[]): this {
    for (const value of values) {
      this.u8(value, value >>> 8, value >>> 16, value >>> 24);
    }
    return this;
  }

  zeros(count: number): this {
    return this.u8(...new Array<number>(count).fill(0));
  }

  /** A string number; the text goes behind the formatted area. */
  text(value: string): this {
    this.#strings.push(value);
    return this.u8(this.#strings.length);
  }

  finish(): Buffer {
    this.#bytes[1] = this.#bytes.length;
    const strings = this.#strings.length === 0 ? '\0' : this.#strings.map((value) => `${value}\0`).join('');
    return Buffer.concat([Buffer.from(this.#bytes), Buffer.from(`${strings}\0`, 'latin1')]);
  }
}

const HANDLE_CHASSIS = 0x300;
const HANDLE_CPU = 0x400;
const HANDLE_MEMORY_ARRAY = 0x1000;
const HANDLE_MEMORY_DEVICE = 0x1100;
const HANDLE_ARRAY_MAPPED = 0x1300;
const NO_HANDLE = 0xffff;
const NO_ERROR_INFORMATION = 0xfffe;

/** Tables of version 2.8: firmware, system, chassis, processors, memory. */
export function buildSmbios(config: SmbiosConfig): SmbiosBlobs {
  const version = config.version ?? '1.0';
  const kilobytes = Math.floor(config.memoryBytes / 1024);
  const structures: Buffer[] = [
    new Structure(0, 0x000)
      .text('Lodge')
      .text(version)
      .u16(0xe800)
      .text('04/01/2014')
      .u8(0) // 64 KiB ROM
      .u32(0x08, 0) // characteristics are not supported
      .u8(0, 0x14) // virtual machine, targeted content distribution
      .u8(0, 0, 0xff, 0xff)
      .finish(),
    new Structure(1, 0x100)
      .text('Lodge')
      .text('Lodge PC (i440FX)')
      .text(version)
      .u8(0)
      .u8(...smbiosUuid(config.uuid))
      .u8(6, 0, 0) // power switch
      .finish(),
    new Structure(3, HANDLE_CHASSIS)
      .text('Lodge')
      .u8(1) // other
      .text(version)
      .u8(0, 0)
      .u8(3, 3, 3, 2)
      .u32(0)
      .u8(0, 0, 0, 0, 0)
      .finish(),
  ];
  for (let cpu = 0; cpu < config.cpus; cpu++) {
    structures.push(
      new Structure(4, HANDLE_CPU + cpu)
        .text(`CPU ${cpu}`)
        .u8(3, 1) // central processor, family: other
        .text('Lodge')
        .zeros(8) // CPUID says it
        .text(version)
        .u8(0)
        .u16(0, 2000, 2000)
        .u8(0x41, 1) // populated and enabled, upgrade: other
        .u16(NO_HANDLE, NO_HANDLE, NO_HANDLE)
        .u8(0, 0, 0)
        .u8(1, 1, 1)
        .u16(0x0c) // 64-bit capable, multi-core
        .u16(1)
        .finish(),
    );
  }
  structures.push(
    new Structure(16, HANDLE_MEMORY_ARRAY)
      .u8(1, 3, 6) // other location, system memory, multi-bit ECC
      .u32(kilobytes)
      .u16(NO_ERROR_INFORMATION, 1)
      .u32(0, 0)
      .finish(),
    new Structure(17, HANDLE_MEMORY_DEVICE)
      .u16(HANDLE_MEMORY_ARRAY, NO_ERROR_INFORMATION, NO_HANDLE, NO_HANDLE)
      .u16(Math.min(0x7fff, Math.floor(config.memoryBytes / 0x10_0000)))
      .u8(9, 0) // DIMM
      .text('DIMM 0')
      .u8(0)
      .u8(7) // RAM
      .u16(2, 0)
      .text('Lodge')
      .u8(0, 0, 0, 0)
      .u32(0)
      .u16(0, 0, 0, 0)
      .finish(),
    new Structure(19, HANDLE_ARRAY_MAPPED)
      .u32(0, Math.max(0, kilobytes - 1))
      .u16(HANDLE_MEMORY_ARRAY)
      .u8(1)
      .zeros(16)
      .finish(),
    new Structure(32, 0x2000).zeros(6).u8(0).finish(), // no boot error
    new Structure(127, 0x7f00).finish(),
  );
  const tables = new Uint8Array(Buffer.concat(structures));
  const anchor = new Uint8Array(EPS_LENGTH);
  anchor.set(Buffer.from('_SM_', 'latin1'));
  anchor[0x05] = EPS_LENGTH;
  anchor[0x06] = 2;
  anchor[0x07] = 8;
  const view = new DataView(anchor.buffer);
  view.setUint16(0x08, Math.max(...structures.map((structure) => structure.length)), true);
  anchor.set(Buffer.from('_DMI_', 'latin1'), EPS_INTERMEDIATE);
  view.setUint16(0x16, tables.length, true);
  view.setUint16(0x1c, structures.length, true);
  anchor[0x1e] = 0x28;
  return { anchor, tables };
}

/** The entry point with the tables' address and its checksums in place: for machines without firmware. */
export function placeSmbiosAnchor(anchor: Uint8Array, tablesAddress: number): Uint8Array {
  const placed = anchor.slice();
  new DataView(placed.buffer).setUint32(EPS_TABLE_ADDRESS, tablesAddress, true);
  placed[EPS_INTERMEDIATE_CHECKSUM] = 0;
  placed[EPS_INTERMEDIATE_CHECKSUM] = negatedSum(placed.subarray(EPS_INTERMEDIATE));
  placed[EPS_CHECKSUM] = 0;
  placed[EPS_CHECKSUM] = negatedSum(placed);
  return placed;
}

function negatedSum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

/** In SMBIOS the first three fields of a UUID are little endian (section 7.2.1). */
function smbiosUuid(uuid: Uint8Array | undefined): number[] {
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  return order.map((index) => uuid?.[index] ?? 0);
}
