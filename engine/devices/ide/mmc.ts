/**
 * Replies of a CD/DVD-ROM drive, as bytes (MMC-4 and SPC-3, all numbers big endian). Everything here is a pure
 * function of the medium: one session, one data track that starts at block 0.
 */

export const CD_BLOCK_BYTES = 2048;
/** A whole sector with sync pattern, header and error correction. */
export const CD_RAW_BYTES = 2352;

/** Largest CD: 80 minutes of 75 frames a second. Longer images are DVDs. */
const CD_MAX_BLOCKS = 80 * 60 * 75;

/** Sense keys (SPC-3, 4.5.6). */
export const SENSE_NONE = 0;
export const SENSE_NOT_READY = 2;
export const SENSE_MEDIUM_ERROR = 3;
export const SENSE_ILLEGAL_REQUEST = 5;
export const SENSE_UNIT_ATTENTION = 6;

/** Additional sense code in the high byte, qualifier in the low byte (MMC-4, annex F). */
export const ASC_UNRECOVERED_READ = 0x1100;
export const ASC_INVALID_OPCODE = 0x2000;
export const ASC_LBA_OUT_OF_RANGE = 0x2100;
export const ASC_INVALID_FIELD = 0x2400;
export const ASC_MEDIUM_CHANGED = 0x2800;
export const ASC_INCOMPATIBLE_FORMAT = 0x3000;
export const ASC_SAVING_NOT_SUPPORTED = 0x3900;
export const ASC_NO_MEDIUM_TRAY_CLOSED = 0x3a01;
export const ASC_NO_MEDIUM_TRAY_OPEN = 0x3a02;
export const ASC_REMOVAL_PREVENTED = 0x5302;
export const ASC_ILLEGAL_MODE_FOR_TRACK = 0x6400;

const PROFILE_CD_ROM = 0x0008;
const PROFILE_DVD_ROM = 0x0010;

export function isDvd(blocks: number): boolean {
  return blocks > CD_MAX_BLOCKS;
}

class Reply {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.#view = new DataView(this.bytes.buffer);
  }

  u8(offset: number, value: number): this {
    this.bytes[offset] = value;
    return this;
  }

  u16(offset: number, value: number): this {
    this.#view.setUint16(offset, value);
    return this;
  }

  u32(offset: number, value: number): this {
    this.#view.setUint32(offset, value >>> 0);
    return this;
  }

  text(offset: number, length: number, text: string): this {
    for (let i = 0; i < length; i++) {
      this.bytes[offset + i] = text.charCodeAt(i) || 0x20;
    }
    return this;
  }

  /** A block number, or its minute, second and frame counted from 00:02:00 before it. */
  address(offset: number, block: number, msf: boolean): this {
    if (!msf) {
      return this.u32(offset, block);
    }
    const frames = block + 150;
    return this.u8(offset, 0)
      .u8(offset + 1, Math.min(255, Math.floor(frames / (75 * 60))))
      .u8(offset + 2, Math.floor(frames / 75) % 60)
      .u8(offset + 3, frames % 75);
  }
}

/** INQUIRY (SPC-3, 6.4): a removable CD-ROM drive on ATAPI. */
export function inquiry(): Uint8Array {
  return new Reply(36)
    .u8(0, 0x05)
    .u8(1, 0x80)
    .u8(3, 0x21)
    .u8(4, 31)
    .text(8, 8, 'LODGE')
    .text(16, 16, 'LODGE CD-ROM')
    .text(32, 4, '1.0').bytes;
}

/** REQUEST SENSE in fixed format (SPC-3, 4.5.3). */
export function senseData(key: number, asc: number): Uint8Array {
  return new Reply(18).u8(0, 0xf0).u8(2, key).u8(7, 10).u16(12, asc).bytes;
}

export function readCapacity(blocks: number): Uint8Array {
  return new Reply(8).u32(0, blocks - 1).u32(4, CD_BLOCK_BYTES).bytes;
}

/** READ TOC/PMA/ATIP, format 0: the tracks from `first` on. Undefined when there are none. */
export function tocTracks(blocks: number, msf: boolean, first: number): Uint8Array | undefined {
  if (first > 1 && first !== 0xaa) {
    return undefined;
  }
  const tracks = first <= 1 ? [1, 0xaa] : [0xaa];
  const reply = new Reply(4 + tracks.length * 8)
    .u16(0, 2 + tracks.length * 8)
    .u8(2, 1)
    .u8(3, 1);
  for (const [index, track] of tracks.entries()) {
    const at = 4 + index * 8;
    reply.u8(at + 1, 0x14).u8(at + 2, track); // a data track, its position in sub-channel Q
    reply.address(at + 4, track === 1 ? 0 : blocks, msf);
  }
  return reply.bytes;
}

/** Format 1: the first track of the last session. */
export function tocSessions(msf: boolean): Uint8Array {
  return new Reply(12).u16(0, 10).u8(2, 1).u8(3, 1).u8(5, 0x14).u8(6, 1).address(8, 0, msf).bytes;
}

/** Format 2: the lead-in's entries, points A0, A1, A2 and the track. */
export function tocRaw(blocks: number): Uint8Array {
  const points = [0xa0, 0xa1, 0xa2, 1];
  const reply = new Reply(4 + points.length * 11)
    .u16(0, 2 + points.length * 11)
    .u8(2, 1)
    .u8(3, 1);
  for (const [index, point] of points.entries()) {
    const at = 4 + index * 11;
    reply
      .u8(at, 1)
      .u8(at + 1, 0x14)
      .u8(at + 3, point);
    if (point === 0xa0 || point === 0xa1) {
      reply.u8(at + 8, 1); // the first and the last track are number 1
    } else {
      // Minute, second and frame occupy bytes 8–10; the zero before them is part of `address`.
      reply.address(at + 7, point === 0xa2 ? blocks : 0, true);
    }
  }
  return reply.bytes;
}

/** READ DISC INFORMATION, the standard 34 bytes: complete, one session, one track. */
export function discInformation(): Uint8Array {
  return new Reply(34).u16(0, 32).u8(2, 0x0e).u8(3, 1).u8(4, 1).u8(5, 1).u8(6, 1).u8(7, 0x20).bytes;
}

/** READ TRACK INFORMATION of the only track. */
export function trackInformation(blocks: number): Uint8Array {
  return new Reply(36).u16(0, 34).u8(2, 1).u8(3, 1).u8(5, 0x04).u8(6, 0x01).u32(8, 0).u32(24, blocks).bytes;
}

/** READ SUB-CHANNEL: no audio status; format 1 adds the position. Undefined for formats that this drive lacks. */
export function subChannel(format: number, withQ: boolean, msf: boolean): Uint8Array | undefined {
  if (!withQ) {
    return new Reply(4).u8(1, 0x15).bytes;
  }
  switch (format) {
    case 1:
      return new Reply(16).u8(1, 0x15).u16(2, 12).u8(4, 1).u8(5, 0x14).u8(6, 1).u8(7, 1).address(8, 0, msf).bytes;
    case 2: // catalogue number and ISRC: none
    case 3:
      return new Reply(24).u8(1, 0x15).u16(2, 20).u8(4, format).bytes;
    default:
      return undefined;
  }
}

/** MECHANISM STATUS: no changer. */
export function mechanismStatus(trayOpen: boolean): Uint8Array {
  return new Reply(8).u8(1, trayOpen ? 0x10 : 0).u8(5, 1).bytes;
}

/** Media event codes (MMC-4, 6.7.2.4). */
export const MEDIA_EVENTS = ['none', 'eject-request', 'new-media', 'removal'] as const;
export type MediaEvent = (typeof MEDIA_EVENTS)[number];

/** GET EVENT STATUS NOTIFICATION; `classes` is the request's bit map, only media events (class 4) exist here. */
export function eventStatus(classes: number, event: MediaEvent, present: boolean, trayOpen: boolean): Uint8Array {
  if ((classes & 0x10) === 0) {
    return new Reply(4).u16(0, 2).u8(2, 0x80).u8(3, 0x10).bytes;
  }
  return new Reply(8)
    .u16(0, 6)
    .u8(2, 4)
    .u8(3, 0x10)
    .u8(4, MEDIA_EVENTS.indexOf(event))
    .u8(5, (present ? 2 : 0) | (trayOpen ? 1 : 0)).bytes;
}

/**
 * GET CONFIGURATION (MMC-4, 6.6): features from number `start` on; `type` 0 all, 1 current ones, 2 only `start`.
 * `blocks` is undefined without a medium.
 */
export function configuration(start: number, type: number, blocks: number | undefined): Uint8Array {
  const dvd = blocks !== undefined && isDvd(blocks);
  const cd = blocks !== undefined && !dvd;
  const profile = dvd ? PROFILE_DVD_ROM : cd ? PROFILE_CD_ROM : 0;
  const flag = (on: boolean) => (on ? 1 : 0);
  // Number, version, persistent, current, contents.
  const features: [number, number, boolean, boolean, number[]][] = [
    [0x0000, 0, true, true, [0, PROFILE_DVD_ROM, flag(dvd), 0, 0, PROFILE_CD_ROM, flag(cd), 0]], // profile list
    [0x0001, 1, true, true, [0, 0, 0, 2, 1, 0, 0, 0]], // core: ATAPI, device busy events
    [0x0003, 0, true, true, [0x39, 0, 0, 0]], // removable medium: tray, eject, lock
    [0x0010, 0, false, dvd || cd, [0, 0, 8, 0, 0, 16, 0, 0]], // random readable: 2048-byte blocks
    [0x001e, 1, false, cd, [0, 0, 0, 0]], // CD read
    [0x001f, 0, false, dvd, []], // DVD read
  ];
  const chosen = features.filter(([number, , , current]) =>
    type === 2 ? number === start : number >= start && (type !== 1 || current),
  );
  const length = chosen.reduce((sum, [, , , , contents]) => sum + 4 + contents.length, 8);
  const reply = new Reply(length).u32(0, length - 4).u16(6, profile);
  let at = 8;
  for (const [number, version, persistent, current, contents] of chosen) {
    reply
      .u16(at, number)
      .u8(at + 2, (version << 2) | (flag(persistent) << 1) | flag(current))
      .u8(at + 3, contents.length);
    reply.bytes.set(contents, at + 4);
    at += 4 + contents.length;
  }
  return reply.bytes;
}

/** READ DISC STRUCTURE of a DVD: format 0 physical, 1 copyright (none). Undefined for other formats. */
export function discStructure(format: number, blocks: number): Uint8Array | undefined {
  switch (format) {
    case 0:
      return new Reply(4 + 2048)
        .u16(0, 2 + 2048)
        .u8(4, 0x01) // DVD-ROM
        .u8(5, 0x0f) // 120 mm, no rate given
        .u8(6, 0x01) // one layer, read-only
        .u32(8, 0x30000)
        .u32(12, 0x30000 + blocks - 1).bytes;
    case 1:
      return new Reply(8).u16(0, 6).bytes;
    default:
      return undefined;
  }
}

function errorRecoveryPage(): number[] {
  return [0x01, 6, 0, 5, 0, 0, 0, 0];
}

function audioPage(): number[] {
  return [0x0e, 14, 4, 0, 0, 0, 0, 75, 1, 255, 2, 255, 0, 0, 0, 0];
}

function capabilitiesPage(locked: boolean): number[] {
  const page = new Reply(20)
    .u8(0, 0x2a)
    .u8(1, 18)
    .u8(2, 0x3b) // reads CD-R, CD-RW, DVD-ROM, DVD-R, DVD-RAM
    .u8(4, 0x71) // multi-session, mode 2 forms 1 and 2; "plays audio", which some automounters want to see
    .u8(5, 0x60)
    .u8(6, 0x29 | (locked ? 2 : 0)) // tray, ejects, can lock
    .u16(8, 706) // 4× in kB/s
    .u16(12, 512)
    .u16(14, 706);
  return [...page.bytes];
}

/**
 * MODE SENSE (6) and (10): `control` 0 current, 1 changeable, 2 default values. Undefined when there is no such page.
 */
export function modeSense(
  page: number,
  control: number,
  ten: boolean,
  drive: { locked: boolean; trayOpen: boolean; present: boolean },
): Uint8Array | undefined {
  const pages: number[] = [];
  if (page === 0x01 || page === 0x3f) {
    pages.push(...errorRecoveryPage());
  }
  if (page === 0x0e || page === 0x3f) {
    pages.push(...audioPage());
  }
  if (page === 0x2a || page === 0x3f) {
    pages.push(...capabilitiesPage(drive.locked));
  }
  if (pages.length === 0) {
    return undefined;
  }
  if (control === 1) {
    // Nothing can be changed: the values are zero, the page codes and lengths stay.
    for (let at = 0; at < pages.length; at += 2 + (pages[at + 1] ?? 0)) {
      pages.fill(0, at + 2, at + 2 + (pages[at + 1] ?? 0));
    }
  }
  // Medium type (obsolete, still looked at): door open, no disc, 120 mm data disc.
  const medium = drive.trayOpen ? 0x71 : drive.present ? 0x01 : 0x70;
  const header = ten ? 8 : 4;
  const reply = new Reply(header + pages.length);
  if (ten) {
    reply.u16(0, reply.bytes.length - 2).u8(2, medium);
  } else {
    reply.u8(0, reply.bytes.length - 1).u8(1, medium);
  }
  reply.bytes.set(pages, header);
  return reply.bytes;
}

function bcd(value: number): number {
  return ((Math.floor(value / 10) % 10) << 4) | (value % 10);
}

/** Makes `count` whole sectors, from block `lba` on, of the user data at the start of `buffer`, in place. */
export function expandToRaw(buffer: Uint8Array, count: number, lba: number): void {
  // From the last to the first, because each grows over its successors.
  for (let i = count - 1; i >= 0; i--) {
    const at = i * CD_RAW_BYTES;
    buffer.copyWithin(at + 16, i * CD_BLOCK_BYTES, (i + 1) * CD_BLOCK_BYTES);
    buffer.fill(0xff, at, at + 12);
    buffer[at] = 0;
    buffer[at + 11] = 0;
    const frames = lba + i + 150;
    buffer[at + 12] = bcd(Math.floor(frames / (75 * 60)));
    buffer[at + 13] = bcd(Math.floor(frames / 75) % 60);
    buffer[at + 14] = bcd(frames % 75);
    buffer[at + 15] = 1;
    buffer.fill(0, at + 16 + CD_BLOCK_BYTES, at + CD_RAW_BYTES);
  }
}
