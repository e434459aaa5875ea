/**
 * The description that a monitor gives of itself: a base block of VESA Enhanced EDID 1.4 (128 bytes).
 */
export interface EdidOptions {
  /** Preferred resolution in pixels. */
  readonly width?: number;
  readonly height?: number;
  /** Any width goes, not only multiples of 8. */
  readonly exact?: boolean;
  /** Up to 13 characters that a guest may show as the monitor's name. */
  readonly name?: string;
}

export const EDID_BLOCK_BYTES = 128;

const DEFAULT_WIDTH = 1024;
const DEFAULT_HEIGHT = 768;
const DEFAULT_NAME = 'Lodge';

/** Modes at 60 Hz offered beside the preferred one; the standard timing codes have no more than eight places. */
const STANDARD_TIMINGS: readonly (readonly [width: number, height: number])[] = [
  [1280, 800],
  [1280, 1024],
  [1440, 900],
  [1600, 900],
  [1600, 1200],
  [1680, 1050],
  [1920, 1080],
  [1920, 1200],
];
/** The largest mode that 16 MiB of video memory hold at 32 bits a pixel, as a detailed timing of its own. */
const LARGEST: readonly [width: number, height: number] = [2560, 1600];

/** The monitor's EDID; resolutions outside of what a detailed timing can say are brought into its range. */
export function createEdid(options: EdidOptions = {}): Uint8Array {
  const width = clamp(options.width ?? DEFAULT_WIDTH, 320, 4088) & (options.exact === true ? ~0 : ~7);
  const height = clamp(options.height ?? DEFAULT_HEIGHT, 200, 4095);
  const edid = new Uint8Array(EDID_BLOCK_BYTES);
  edid.set([0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]);
  // Section 3.4: manufacturer "LDG" as three 5-bit letters (big endian), product, serial number, week and year.
  const manufacturer = (('L'.charCodeAt(0) - 64) << 10) | (('D'.charCodeAt(0) - 64) << 5) | ('G'.charCodeAt(0) - 64);
  edid.set([manufacturer >>> 8, manufacturer & 0xff, 0x01, 0x00, 0, 0, 0, 0, 1, 2025 - 1990], 8);
  edid.set([1, 4], 18);
  // Section 3.6: digital, 8 bits a colour, DisplayPort; size at 96 dots an inch in centimetres; gamma 2.2; sRGB, and
  // the preferred timing is the native one.
  edid.set([0xa5, clamp(Math.round((width * 2.54) / 96), 1, 255), clamp(Math.round((height * 2.54) / 96), 1, 255)], 20);
  edid.set([120, 0x06], 23);
  edid.set(chromaticity(), 25);
  // Section 3.8: 640 × 480, 800 × 600 and 1024 × 768 at 60 Hz.
  edid.set([0x21, 0x08, 0x00], 35);
  for (let i = 0; i < 8; i++) {
    const timing = STANDARD_TIMINGS[i];
    edid.set(timing === undefined ? [0x01, 0x01] : standardTiming(timing[0], timing[1]), 38 + i * 2);
  }
  edid.set(detailedTiming(width, height), 54);
  let at = 72;
  if (width !== LARGEST[0] || height !== LARGEST[1]) {
    edid.set(detailedTiming(LARGEST[0], LARGEST[1]), at);
    at += 18;
  }
  // Section 3.10.3: display range limits (50–125 Hz, 30–160 kHz, 340 MHz) and the name.
  edid.set([0, 0, 0, 0xfd, 0, 50, 125, 30, 160, 34, 0x01, 0x0a, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20], at);
  edid.set(textDescriptor(0xfc, options.name ?? DEFAULT_NAME), at + 18);
  if (at + 36 < 126) {
    edid.set([0, 0, 0, 0x10], at + 36); // an unused descriptor
  }
  edid[126] = 0; // no extension blocks
  let sum = 0;
  for (const byte of edid) {
    sum += byte;
  }
  edid[127] = -sum & 0xff;
  return edid;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(Math.floor(value), low), high);
}

/** Section 3.7: the sRGB primaries and white point as ten-bit fractions, two low bits each packed first. */
function chromaticity(): number[] {
  const values = [0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329].map((value) => Math.round(value * 1024));
  const low = (from: number) =>
    [0, 1, 2, 3].reduce((bits, i) => bits | (((values[from + i] ?? 0) & 3) << (6 - i * 2)), 0);
  return [low(0), low(4), ...values.map((value) => value >>> 2)];
}

/** Section 3.9: a width in steps of 8 pixels, an aspect ratio and 60 Hz. */
function standardTiming(width: number, height: number): [number, number] {
  const ratio = width / height;
  const aspect = ratio < 1.3 ? 2 : ratio < 1.4 ? 1 : ratio < 1.7 ? 0 : 3; // 5:4, 4:3, 16:10, 16:9
  return [width / 8 - 31, aspect << 6];
}

/** Section 3.10.2: a mode at 60 Hz with the blanking of VESA Coordinated Video Timings, reduced blanking (1.1). */
function detailedTiming(width: number, height: number): number[] {
  const horizontalBlank = 160;
  const horizontalFront = 48;
  const horizontalSync = 32;
  const verticalFront = 3;
  const ratio = width / height;
  const near = (x: number, y: number) => Math.abs(ratio - x / y) < 0.01;
  const verticalSync = near(4, 3) ? 4 : near(16, 9) ? 5 : near(16, 10) ? 6 : near(5, 4) || near(15, 9) ? 7 : 10;
  // At least 460 µs of vertical blanking, and 6 lines of back porch.
  const linePeriod = (1e6 / 60 - 460) / height;
  const verticalBlank = Math.max(Math.floor(460 / linePeriod) + 1, verticalFront + verticalSync + 6);
  const clock = Math.floor(((height + verticalBlank) * (width + horizontalBlank) * 60) / 250_000) * 25; // in 10 kHz
  const millimetresWide = Math.min(4095, Math.round((width * 25.4) / 96));
  const millimetresHigh = Math.min(4095, Math.round((height * 25.4) / 96));
  return [
    clock & 0xff,
    (clock >>> 8) & 0xff,
    width & 0xff,
    horizontalBlank & 0xff,
    ((width >>> 8) << 4) | (horizontalBlank >>> 8),
    height & 0xff,
    verticalBlank & 0xff,
    ((height >>> 8) << 4) | (verticalBlank >>> 8),
    horizontalFront & 0xff,
    horizontalSync & 0xff,
    ((verticalFront & 15) << 4) | (verticalSync & 15),
    ((horizontalFront >>> 8) << 6) |
      ((horizontalSync >>> 8) << 4) |
      ((verticalFront >>> 4) << 2) |
      (verticalSync >>> 4),
    millimetresWide & 0xff,
    millimetresHigh & 0xff,
    ((millimetresWide >>> 8) << 4) | (millimetresHigh >>> 8),
    0,
    0,
    0x1a, // digital separate sync: horizontal positive, vertical negative
  ];
}

/** Section 3.10.3: up to 13 characters, ended by a line feed and filled up with spaces. */
function textDescriptor(tag: number, text: string): number[] {
  const printable = text.replace(/[^\x20-\x7e]/g, '?').slice(0, 13);
  const filled = printable.length < 13 ? `${printable}\n`.padEnd(13, ' ') : printable;
  return [0, 0, 0, tag, 0, ...[...filled].map((character) => character.charCodeAt(0))];
}
