import { inflateSync } from 'node:zlib';

/** A picture of 24-bit pixels, row by row: red, green, blue. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
}

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const GREY = 0;
const RGB = 2;
const PALETTE = 3;
const RGBA = 6;
const channelsOf: Readonly<Record<number, number>> = { [GREY]: 1, [RGB]: 3, [PALETTE]: 1, [RGBA]: 4 };

/** PNG specification, 9.4: the predictor of the filter type Paeth. */
function paeth(left: number, above: number, aboveLeft: number): number {
  const estimate = left + above - aboveLeft;
  const [a, b, c] = [Math.abs(estimate - left), Math.abs(estimate - above), Math.abs(estimate - aboveLeft)];
  return a <= b && a <= c ? left : b <= c ? above : aboveLeft;
}

function unfilter(raw: Uint8Array, stride: number, height: number, channels: number): Uint8Array {
  const pixels = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)] ?? 0;
    for (let x = 0; x < stride; x++) {
      const at = y * stride + x;
      const left = x >= channels ? (pixels[at - channels] ?? 0) : 0;
      const above = y > 0 ? (pixels[at - stride] ?? 0) : 0;
      const aboveLeft = x >= channels && y > 0 ? (pixels[at - stride - channels] ?? 0) : 0;
      const predicted = [0, left, above, (left + above) >> 1, paeth(left, above, aboveLeft)][filter] ?? 0;
      pixels[at] = (raw[y * (stride + 1) + 1 + x] ?? 0) + predicted;
    }
  }
  return pixels;
}

/** Decodes a PNG with 8 bits a channel and no interlacing. @throws Error when it is none, or is not whole */
export function decodePng(file: Buffer): Picture {
  if (!file.subarray(0, 8).equals(SIGNATURE)) {
    throw new Error('not a PNG file');
  }
  let header: Buffer | undefined;
  let palette: Buffer = Buffer.alloc(0);
  const data: Buffer[] = [];
  for (let at = 8; ; ) {
    const length = file.readUInt32BE(at);
    const type = file.toString('latin1', at + 4, at + 8);
    const body = file.subarray(at + 8, at + 8 + length);
    at += 12 + length;
    if (type === 'IHDR') {
      header = body;
    } else if (type === 'PLTE') {
      palette = body;
    } else if (type === 'IDAT') {
      data.push(body);
    } else if (type === 'IEND') {
      break;
    }
  }
  const channels = channelsOf[header?.[9] ?? -1];
  if (header === undefined || channels === undefined || header[8] !== 8 || header[12] !== 0) {
    throw new Error('a PNG of a kind that is not read here');
  }
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const pixels = unfilter(inflateSync(Buffer.concat(data)), width * channels, height, channels);
  const rgb = new Uint8Array(width * height * 3);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      const value = pixels[pixel * channels + (channels < 3 ? 0 : channel)] ?? 0;
      rgb[pixel * 3 + channel] = header[9] === PALETTE ? (palette[value * 3 + channel] ?? 0) : value;
    }
  }
  return { width, height, rgb };
}

/** How many different colours a picture shows, counting up to `limit`. */
export function countColours({ rgb }: Picture, limit = 1000): number {
  const seen = new Set<number>();
  for (let at = 0; at < rgb.length && seen.size < limit; at += 3) {
    seen.add(((rgb[at] ?? 0) << 16) | ((rgb[at + 1] ?? 0) << 8) | (rgb[at + 2] ?? 0));
  }
  return seen.size;
}

/** The share of a picture's pixels, 0 to 1, that are within 16 of `colour` in each channel. */
export function shareOf({ rgb }: Picture, colour: readonly [number, number, number]): number {
  let matching = 0;
  for (let at = 0; at < rgb.length; at += 3) {
    if (colour.every((value, channel) => Math.abs((rgb[at + channel] ?? 0) - value) <= 16)) {
      matching++;
    }
  }
  return (matching * 3) / rgb.length;
}
