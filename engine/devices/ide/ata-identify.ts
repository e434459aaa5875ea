/** Cylinders, heads and sectors per track. */
export interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectorsPerTrack: number;
}

/** The geometry that a disk of `sectors` sectors reports: 16 heads, 63 sectors, at most 16383 cylinders (ATA/ATAPI-6, 6.2). */
export function defaultGeometry(sectors: number): Geometry {
  const cylinders = Math.min(16383, Math.max(1, Math.floor(sectors / (16 * 63))));
  return { cylinders, heads: 16, sectorsPerTrack: 63 };
}

/**
 * The disk translation that a BIOS should use, as SeaBIOS reads it from CMOS 0x39 (two bits a disk):
 * 0 none, 1 LBA assisted.
 */
export function biosTranslation(sectors: number): 0 | 1 {
  return defaultGeometry(sectors).cylinders <= 1024 ? 0 : 1;
}

/** Transfer mode selected by SET FEATURES 03h. */
export interface TransferMode {
  readonly multiword: number | undefined;
  readonly ultra: number | undefined;
}

export const HIGHEST_MULTIWORD = 2;
export const HIGHEST_ULTRA = 5;
/** Most sectors per DRQ block of READ MULTIPLE and WRITE MULTIPLE. */
export const MAX_MULTIPLE = 16;

/** `text` padded with spaces to `words` words, two characters a word, the first in the high byte (ATA/ATAPI-6, 3.2.9). */
function setText(words: Uint16Array, first: number, count: number, text: string): void {
  for (let i = 0; i < count; i++) {
    const high = text.charCodeAt(i * 2);
    const low = text.charCodeAt(i * 2 + 1);
    words[first + i] = ((Number.isNaN(high) ? 0x20 : high & 0x7f) << 8) | (Number.isNaN(low) ? 0x20 : low & 0x7f);
  }
}

function modes(highest: number, selected: number | undefined): number {
  return ((1 << (highest + 1)) - 1) | (selected === undefined ? 0 : 0x100 << selected);
}

function toBytes(words: Uint16Array): Uint8Array {
  const bytes = new Uint8Array(512);
  const view = new DataView(bytes.buffer);
  for (const [index, word] of words.entries()) {
    view.setUint16(index * 2, word, true);
  }
  return bytes;
}

export interface DiskIdentity {
  readonly sectors: number;
  readonly native: Geometry;
  readonly current: Geometry;
  /** Sectors per DRQ block, 0 when MULTIPLE commands are off. */
  readonly multiple: number;
  readonly mode: TransferMode;
  readonly writeCache: boolean;
  readonly readAhead: boolean;
  readonly smart: boolean;
  readonly serial: string;
  readonly model: string;
  readonly slave: boolean;
}

/** The 512 bytes of IDENTIFY DEVICE (ATA/ATAPI-6, 8.15). */
export function identifyDisk(disk: DiskIdentity): Uint8Array {
  const words = new Uint16Array(256);
  const { native, current, sectors } = disk;
  words[0] = 0x0040; // fixed drive
  words[1] = native.cylinders;
  words[3] = native.heads;
  words[4] = native.sectorsPerTrack * 512;
  words[5] = 512;
  words[6] = native.sectorsPerTrack;
  setText(words, 10, 10, disk.serial);
  words[20] = 3; // dual-ported buffer with read caching
  words[21] = 512;
  words[22] = 4;
  setText(words, 23, 4, '1.0');
  setText(words, 27, 20, disk.model);
  words[47] = 0x8000 | MAX_MULTIPLE;
  words[48] = 1; // 32-bit data port accesses
  words[49] = (1 << 11) | (1 << 9) | (1 << 8); // IORDY, LBA, DMA
  words[50] = 0x4000;
  words[51] = 0x0200; // PIO timing mode 2
  words[52] = 0x0200; // single-word DMA timing mode 2, for drivers older than the standards
  words[53] = 0x0007; // words 54–58, 64–70 and 88 are valid
  words[54] = current.cylinders;
  words[55] = current.heads;
  words[56] = current.sectorsPerTrack;
  const chs = current.cylinders * current.heads * current.sectorsPerTrack;
  words[57] = chs & 0xffff;
  words[58] = chs >>> 16;
  words[59] = disk.multiple === 0 ? 0 : 0x100 | disk.multiple;
  const lba28 = Math.min(sectors, 0x0fff_ffff);
  words[60] = lba28 & 0xffff;
  words[61] = lba28 >>> 16;
  words[62] = 0x0007;
  words[63] = modes(HIGHEST_MULTIWORD, disk.mode.multiword);
  words[64] = 0x0003; // PIO modes 3 and 4
  for (let i = 65; i <= 68; i++) {
    words[i] = 120; // cycle times in nanoseconds
  }
  words[80] = 0x00f0; // ATA/ATAPI-4 to 7
  words[81] = 0x0016;
  words[82] = (1 << 14) | (1 << 6) | (1 << 5) | (1 << 3) | 1; // NOP, look-ahead, write cache, power management, SMART
  words[83] = (1 << 14) | (1 << 13) | (1 << 12) | (1 << 10); // FLUSH CACHE (EXT), 48-bit addresses
  words[84] = 1 << 14;
  words[85] =
    (1 << 14) | (disk.readAhead ? 1 << 6 : 0) | (disk.writeCache ? 1 << 5 : 0) | (1 << 3) | (disk.smart ? 1 : 0);
  words[86] = (1 << 13) | (1 << 12) | (1 << 10);
  words[87] = 1 << 14;
  words[88] = modes(HIGHEST_ULTRA, disk.mode.ultra);
  // Hardware reset result: 80-conductor cable; the device number was told by a jumper.
  words[93] = 0x6000 | (disk.slave ? 0x0300 : 0x0003);
  words[100] = sectors & 0xffff;
  words[101] = Math.floor(sectors / 0x1_0000) & 0xffff;
  words[102] = Math.floor(sectors / 0x1_0000_0000) & 0xffff;
  const bytes = toBytes(words);
  bytes[510] = 0xa5;
  bytes[511] = checksum(bytes, 511);
  return bytes;
}

/** The byte that makes the sum of the first `count` bytes and itself zero. */
export function checksum(bytes: Uint8Array, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    sum += bytes[i] ?? 0;
  }
  return -sum & 0xff;
}

export interface PacketIdentity {
  readonly mode: TransferMode;
  readonly serial: string;
  readonly model: string;
}

/** The 512 bytes of IDENTIFY PACKET DEVICE (ATA/ATAPI-6, 8.16). */
export function identifyPacket(drive: PacketIdentity): Uint8Array {
  const words = new Uint16Array(256);
  // PACKET protocol, CD-ROM, removable, DRQ within 50 µs of PACKET, 12-byte packets.
  words[0] = (2 << 14) | (5 << 8) | (1 << 7) | (2 << 5);
  setText(words, 10, 10, drive.serial);
  words[20] = 3;
  words[21] = 512;
  words[22] = 4;
  setText(words, 23, 4, '1.0');
  setText(words, 27, 20, drive.model);
  words[48] = 1;
  words[49] = (1 << 11) | (1 << 9) | (1 << 8);
  words[53] = 0x0006;
  words[63] = modes(HIGHEST_MULTIWORD, drive.mode.multiword);
  words[64] = 0x0003;
  words[65] = 0xb4;
  words[66] = 0xb4;
  words[67] = 0x12c;
  words[68] = 0xb4;
  words[71] = 30; // bus release after PACKET, in nanoseconds
  words[72] = 30;
  words[80] = 0x001e; // ATA-1 to ATA/ATAPI-4
  words[82] = (1 << 14) | (1 << 9) | (1 << 4); // NOP, DEVICE RESET, PACKET
  words[83] = 1 << 14;
  words[85] = (1 << 14) | (1 << 9) | (1 << 4);
  words[87] = 1 << 14;
  words[88] = modes(HIGHEST_ULTRA, drive.mode.ultra);
  return toBytes(words);
}

/** The mode that SET FEATURES 03h selects with `value`, or undefined when the drive does not have it (8.46.3). */
export function transferMode(value: number, before: TransferMode): TransferMode | undefined {
  const mode = value & 7;
  switch (value >> 3) {
    case 0: // PIO default
    case 1: // PIO flow control
      return mode <= 4 ? before : undefined;
    case 4:
      return mode <= HIGHEST_MULTIWORD ? { multiword: mode, ultra: undefined } : undefined;
    case 8:
      return mode <= HIGHEST_ULTRA ? { multiword: undefined, ultra: mode } : undefined;
    default:
      return undefined;
  }
}

export const DEFAULT_MODE: TransferMode = { multiword: undefined, ultra: HIGHEST_ULTRA };
