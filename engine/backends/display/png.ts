import { crc32, deflateSync } from 'node:zlib';
import { HostError } from '../../base/host-error.ts';

/** `width * height * 4` bytes of red, green, blue and alpha, lines from top to bottom without gaps. */
export interface RgbaImage {
  readonly width: number;
  readonly height: number;
  readonly rgba: Uint8ClampedArray | Uint8Array;
}

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/**
 * Encodes a picture as a PNG file of 8-bit RGB (ISO/IEC 15948). A screen is opaque: alpha is left out.
 * The same picture gives the same bytes. Throws HostError('bad-image') when sizes do not fit.
 */
export function encodePng(image: RgbaImage): Uint8Array {
  const { width, height, rgba } = image;
  if (width < 1 || height < 1 || rgba.length < width * height * 4) {
    throw new HostError('bad-image', `a picture of ${width} × ${height} pixels cannot be encoded as PNG`);
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 2, 0, 0, 0], 8); // 8 bits, RGB, deflate, adaptive filters, no interlace
  // Filter type 2 ("up") suits screens: most lines resemble the one above.
  const stride = width * 3 + 1;
  const lines = new Uint8Array(stride * height);
  for (let y = 0, to = 0, from = 0; y < height; y++) {
    lines[to++] = 2;
    for (let x = 0; x < width; x++, from += 4) {
      for (let channel = 0; channel < 3; channel++) {
        const above = y === 0 ? 0 : (rgba[from + channel - width * 4] ?? 0);
        lines[to++] = (rgba[from + channel] ?? 0) - above;
      }
    }
  }
  const parts = [SIGNATURE, chunk('IHDR', header), chunk('IDAT', deflateSync(lines)), chunk('IEND', new Uint8Array(0))];
  const file = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

/** Length, type, data and the CRC of type and data (section 5.3). */
function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) {
    bytes[4 + i] = type.charCodeAt(i);
  }
  bytes.set(data, 8);
  view.setUint32(data.length + 8, crc32(bytes.subarray(4, data.length + 8)));
  return bytes;
}
