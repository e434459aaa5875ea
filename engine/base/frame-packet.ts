/**
 * Frame packets: how pictures of a guest's screen travel from a machine's process to whoever watches.
 *
 * A packet carries the rectangles of the screen that changed since the packet before it. All numbers are unsigned and
 * little-endian:
 *
 *     0   u32  magic, 'LFP1'
 *     4   u32  sequence: counts from 1 for each viewer, wraps; acknowledge it once the packet is drawn
 *     8   u16  width of the screen in pixels     10  u16  height
 *     12  u8   flags: bit 0 the whole picture (size the canvas to width × height; the one rectangle covers it)
 *     13  u8   encoding of the pixels: 0 as they are, 1 zlib (RFC 1950)
 *     14  u16  number of rectangles
 *     16  u32  bytes of pixels once decoded
 *     20  rectangles: u16 x, u16 y, u16 width, u16 height each
 *     …   pixels of the rectangles one after the other, line by line, 4 bytes each: red, green, blue, 255
 *
 * Runs in browsers and in Node.
 */

export const FRAME_MAGIC = 0x3150464c;
export const FRAME_HEADER_BYTES = 20;
const RECTANGLE_BYTES = 8;
const FLAG_WHOLE = 1;
const ENCODING_RAW = 0;
const ENCODING_ZLIB = 1;
/** No display adapter goes beyond; what claims more is no packet of ours. */
const MAX_SIDE = 8192;
const MAX_PIXEL_BYTES = 64 << 20;

export interface FrameRectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface FrameHeader {
  readonly sequence: number;
  /** Pixels of the whole screen. */
  readonly width: number;
  readonly height: number;
  /** The picture starts anew: the screen may have another size, and the only rectangle covers it. */
  readonly whole: boolean;
  readonly rectangles: readonly FrameRectangle[];
}

/** A packet taken apart; `payload` is a view into it. */
export interface FramePacket extends FrameHeader {
  readonly compressed: boolean;
  /** Bytes that `payload` decodes to. */
  readonly pixelBytes: number;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** A packet whose pixels are decoded: `pixels` holds those of all rectangles, one after the other. */
export interface Frame extends FrameHeader {
  readonly pixels: Uint8ClampedArray<ArrayBuffer>;
}

/** Thrown for bytes that are no frame packet. */
export class FramePacketError extends Error {
  override readonly name = 'FramePacketError';
}

function pixelBytesOf(rectangles: readonly FrameRectangle[]): number {
  return rectangles.reduce((sum, { width, height }) => sum + width * height * 4, 0);
}

/** Bytes before the pixels of a packet with so many rectangles. */
export function frameHeadBytes(rectangles: number): number {
  return FRAME_HEADER_BYTES + rectangles * RECTANGLE_BYTES;
}

/** Writes everything but the pixels at the start of `into`, which has room for {@link frameHeadBytes}. */
export function writeFrameHead(into: Uint8Array, header: FrameHeader, compressed: boolean): void {
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
  view.setUint32(0, FRAME_MAGIC, true);
  view.setUint32(4, header.sequence, true);
  view.setUint16(8, header.width, true);
  view.setUint16(10, header.height, true);
  view.setUint8(12, header.whole ? FLAG_WHOLE : 0);
  view.setUint8(13, compressed ? ENCODING_ZLIB : ENCODING_RAW);
  view.setUint16(14, header.rectangles.length, true);
  view.setUint32(16, pixelBytesOf(header.rectangles), true);
  let at = FRAME_HEADER_BYTES;
  for (const { x, y, width, height } of header.rectangles) {
    view.setUint16(at, x, true);
    view.setUint16(at + 2, y, true);
    view.setUint16(at + 4, width, true);
    view.setUint16(at + 6, height, true);
    at += RECTANGLE_BYTES;
  }
}

/** Makes a packet of a header and its payload: pixels, or with `compressed` pixels in zlib's format. */
export function encodeFramePacket(
  header: FrameHeader,
  payload: Uint8Array,
  options: { readonly compressed?: boolean } = {},
): Uint8Array<ArrayBuffer> {
  const head = frameHeadBytes(header.rectangles.length);
  const packet = new Uint8Array(head + payload.length);
  writeFrameHead(packet, header, options.compressed ?? false);
  packet.set(payload, head);
  return packet;
}

/** Takes a packet apart. Throws {@link FramePacketError} for anything that is not exactly one packet. */
export function decodeFramePacket(bytes: Uint8Array<ArrayBuffer>): FramePacket {
  const check = (condition: boolean, what: string) => {
    if (!condition) {
      throw new FramePacketError(`not a frame packet: ${what}`);
    }
  };
  check(bytes.length >= FRAME_HEADER_BYTES, 'too short');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  check(view.getUint32(0, true) === FRAME_MAGIC, 'wrong magic');
  const width = view.getUint16(8, true);
  const height = view.getUint16(10, true);
  const flags = view.getUint8(12);
  const encoding = view.getUint8(13);
  const count = view.getUint16(14, true);
  const pixelBytes = view.getUint32(16, true);
  check(width <= MAX_SIDE && height <= MAX_SIDE, 'the screen is too large');
  check(encoding === ENCODING_RAW || encoding === ENCODING_ZLIB, 'unknown encoding');
  check(bytes.length >= frameHeadBytes(count), 'too short for its rectangles');
  const rectangles: FrameRectangle[] = [];
  for (let i = 0; i < count; i++) {
    const at = FRAME_HEADER_BYTES + i * RECTANGLE_BYTES;
    const rectangle = {
      x: view.getUint16(at, true),
      y: view.getUint16(at + 2, true),
      width: view.getUint16(at + 4, true),
      height: view.getUint16(at + 6, true),
    };
    check(
      rectangle.x + rectangle.width <= width && rectangle.y + rectangle.height <= height,
      'a rectangle lies outside the screen',
    );
    rectangles.push(rectangle);
  }
  check(pixelBytes <= MAX_PIXEL_BYTES && pixelBytes === pixelBytesOf(rectangles), 'wrong number of pixels');
  const payload = bytes.subarray(frameHeadBytes(count));
  const compressed = encoding === ENCODING_ZLIB;
  check(compressed || payload.length === pixelBytes, 'wrong length');
  return {
    sequence: view.getUint32(4, true),
    width,
    height,
    whole: (flags & FLAG_WHOLE) !== 0,
    rectangles,
    compressed,
    pixelBytes,
    payload,
  };
}

/** The pixels of a packet, inflated where needed. Rejects with {@link FramePacketError} when they do not fit. */
export async function framePixels(packet: FramePacket): Promise<Uint8ClampedArray<ArrayBuffer>> {
  const { payload, pixelBytes } = packet;
  if (!packet.compressed) {
    return new Uint8ClampedArray(payload.buffer, payload.byteOffset, payload.byteLength);
  }
  const pixels = new Uint8ClampedArray(pixelBytes);
  const stream = new DecompressionStream('deflate');
  const writer = stream.writable.getWriter();
  // A damaged stream fails on the reading side too, where it is reported.
  writer.write(payload).catch(() => {});
  writer.close().catch(() => {});
  const reader: ReadableStreamDefaultReader<Uint8Array> = stream.readable.getReader();
  let at = 0;
  for (;;) {
    let part: { done: boolean; value?: Uint8Array | undefined };
    try {
      part = await reader.read();
    } catch {
      throw new FramePacketError('not a frame packet: damaged pixels');
    }
    if (part.done || part.value === undefined) {
      break;
    }
    if (at + part.value.length > pixelBytes) {
      reader.cancel().catch(() => {});
      throw new FramePacketError('not a frame packet: too many pixels');
    }
    pixels.set(part.value, at);
    at += part.value.length;
  }
  if (at !== pixelBytes) {
    throw new FramePacketError('not a frame packet: too few pixels');
  }
  return pixels;
}

/** Decodes packets and hands them on in the order of their arrival, although inflating is asynchronous. */
export class FrameDecoder {
  readonly #onFrame: (frame: Frame) => void;
  readonly #onError: (error: unknown) => void;
  #last: Promise<void> = Promise.resolve();

  constructor(onFrame: (frame: Frame) => void, onError: (error: unknown) => void) {
    this.#onFrame = onFrame;
    this.#onError = onError;
  }

  push(bytes: Uint8Array<ArrayBuffer>): void {
    const before = this.#last;
    const decoded = (async () => {
      const packet = decodeFramePacket(bytes);
      return { packet, pixels: await framePixels(packet) };
    })();
    // Failures are reported in their turn below.
    decoded.catch(() => {});
    this.#last = (async () => {
      await before;
      try {
        const { packet, pixels } = await decoded;
        const { sequence, width, height, whole, rectangles } = packet;
        this.#onFrame({ sequence, width, height, whole, rectangles, pixels });
      } catch (error) {
        this.#onError(error);
      }
    })();
  }
}
