import { defined } from '../../base/assert.ts';
import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import { GPU_BACKING_ENTRY_BYTES, GPU_FORMATS, type GpuFormat } from './gpu-layout.ts';

const BYTES_PER_PIXEL = 4;
/** Pixels in one direction; no picture of a guest has more. */
export const MAX_RESOURCE_SIDE = 16384;
/** Pieces of guest memory behind one resource. */
export const MAX_BACKING_ENTRIES = 16384;
/** What a resource costs besides its pixels, roughly; without it a guest could have millions of tiny ones. */
const RESOURCE_OVERHEAD = 4096;

/** A rectangle in pixels. */
export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Whether `inner` is not empty and lies in a picture of the given size. */
export function liesWithin(inner: Rectangle, width: number, height: number): boolean {
  return inner.width > 0 && inner.height > 0 && inner.x + inner.width <= width && inner.y + inner.height <= height;
}

/** Reads guest memory; addresses are guest-physical. */
export type ReadMemory = (address: number, into: Uint8Array) => void;

/** The guest's own pixels: a list of pieces of its memory that follow each other. */
export class Backing {
  readonly addresses: readonly number[];
  readonly lengths: readonly number[];
  /** Where each piece begins, counted from the first. */
  readonly #starts: Float64Array;
  readonly bytes: number;

  constructor(addresses: readonly number[], lengths: readonly number[]) {
    this.addresses = addresses;
    this.lengths = lengths;
    this.#starts = new Float64Array(lengths.length);
    let at = 0;
    for (const [index, length] of lengths.entries()) {
      this.#starts[index] = at;
      at += length;
    }
    this.bytes = at;
  }

  /** Reads `count` entries at `offset` of a request; undefined when one lies beyond all memory. */
  static parse(chain: DescriptorChain, offset: number, count: number): Backing | undefined {
    const bytes = chain.bytes(offset, count * GPU_BACKING_ENTRY_BYTES);
    const view = new DataView(bytes.buffer);
    const addresses: number[] = [];
    const lengths: number[] = [];
    for (let at = 0; at < bytes.length; at += GPU_BACKING_ENTRY_BYTES) {
      const address = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
      const length = view.getUint32(at + 8, true);
      if (!Number.isSafeInteger(address + length)) {
        return undefined;
      }
      if (length > 0) {
        addresses.push(address);
        lengths.push(length);
      }
    }
    return new Backing(addresses, lengths);
  }

  /** Fills `into` from `offset` on; what lies beyond the last piece leaves `into` as it is. */
  read(memory: ReadMemory, offset: number, into: Uint8Array): void {
    let low = 0;
    let high = this.lengths.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] ?? 0) <= offset) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    let done = 0;
    for (let index = Math.max(0, low - 1); index < this.lengths.length && done < into.length; index++) {
      const skip = offset + done - (this.#starts[index] ?? 0);
      const count = Math.min((this.lengths[index] ?? 0) - skip, into.length - done);
      if (count > 0) {
        memory((this.addresses[index] ?? 0) + skip, into.subarray(done, done + count));
        done += count;
      }
    }
  }
}

/** A 2D resource (section 5.7.6.8): pixels of the host that the guest fills from its own memory. */
export class GpuResource {
  readonly width: number;
  readonly height: number;
  readonly format: number;
  readonly pixels: Uint8Array;
  backing: Backing | undefined;
  readonly #layout: GpuFormat;
  readonly #words: Uint32Array;

  /** Sizes and format have been checked by {@link GpuResource.possible}. */
  constructor(width: number, height: number, format: number) {
    this.width = width;
    this.height = height;
    this.format = format;
    this.pixels = new Uint8Array(GpuResource.pixelBytes(width, height));
    this.#words = new Uint32Array(this.pixels.buffer);
    this.#layout = defined(GPU_FORMATS.get(format), 'a format');
  }

  static pixelBytes(width: number, height: number): number {
    return width * height * BYTES_PER_PIXEL;
  }

  /** True when there can be such a resource, memory aside. */
  static possible(width: number, height: number, format: number): boolean {
    const side = (pixels: number) => pixels > 0 && pixels <= MAX_RESOURCE_SIDE;
    return side(width) && side(height) && GPU_FORMATS.has(format);
  }

  /** What a resource takes of the device's memory. */
  static cost(width: number, height: number, entries: number): number {
    return GpuResource.pixelBytes(width, height) + entries * GPU_BACKING_ENTRY_BYTES + RESOURCE_OVERHEAD;
  }

  get cost(): number {
    return GpuResource.cost(this.width, this.height, this.backing?.lengths.length ?? 0);
  }

  /**
   * Copies a rectangle, which lies in the resource, from the guest's memory; `offset` is where its first pixel stands
   * there. Lines stand as far apart there as here (section 5.7.6.8). Returns the bytes copied.
   */
  transfer(memory: ReadMemory, area: Rectangle, offset: number): number {
    const { backing, pixels } = this;
    if (backing === undefined) {
      return 0;
    }
    const stride = this.width * BYTES_PER_PIXEL;
    const first = area.y * stride + area.x * BYTES_PER_PIXEL;
    if (area.width === this.width) {
      const length = area.height * stride;
      backing.read(memory, offset, pixels.subarray(first, first + length));
      return length;
    }
    const length = area.width * BYTES_PER_PIXEL;
    for (let line = 0; line < area.height; line++) {
      const at = first + line * stride;
      backing.read(memory, offset + line * stride, pixels.subarray(at, at + length));
    }
    return area.height * length;
  }

  /** Writes `count` opaque pixels from (x, y) on as words of red, green, blue and 255 into `into` at `index`. */
  renderLine(x: number, y: number, count: number, into: Int32Array, index: number): void {
    const words = this.#words;
    const { red, green, blue } = this.#layout;
    const from = y * this.width + x;
    if (red === 16 && green === 8 && blue === 0) {
      // What nearly all guests use.
      for (let i = 0; i < count; i++) {
        const word = words[from + i] ?? 0;
        into[index + i] = 0xff000000 | ((word & 0xff) << 16) | (word & 0xff00) | ((word >>> 16) & 0xff);
      }
      return;
    }
    for (let i = 0; i < count; i++) {
      const word = words[from + i] ?? 0;
      into[index + i] =
        0xff000000 | (((word >>> blue) & 0xff) << 16) | (((word >>> green) & 0xff) << 8) | ((word >>> red) & 0xff);
    }
  }

  /** A copy of a corner of it with its transparency, not premultiplied: red, green, blue, alpha. */
  picture(width: number, height: number): Uint8Array<ArrayBuffer> {
    const result = new Uint8Array(width * height * 4);
    const { red, green, blue, alpha } = this.#layout;
    for (let y = 0; y < Math.min(height, this.height); y++) {
      for (let x = 0; x < Math.min(width, this.width); x++) {
        const word = this.#words[y * this.width + x] ?? 0;
        const opacity = (word >>> alpha) & 0xff;
        // Guests' cursors have colours multiplied by their opacity already, as planes of Linux are.
        const plain = (component: number) =>
          opacity === 0 ? 0 : Math.min(255, Math.round((((word >>> component) & 0xff) * 255) / opacity));
        result.set([plain(red), plain(green), plain(blue), opacity], (y * width + x) * 4);
      }
    }
    return result;
  }

  save(): StateValue {
    const { width, height, format, backing } = this;
    return {
      width,
      height,
      format,
      pixels: this.pixels.slice(),
      backing:
        backing === undefined ? null : { addresses: backing.addresses.slice(), lengths: backing.lengths.slice() },
    };
  }

  /** The resource that `save` described. Throws HostError('bad-state'), also when it costs more than `budget`. */
  static load(reader: StateReader, budget: number): GpuResource {
    const width = reader.int('width', 1, MAX_RESOURCE_SIDE);
    const height = reader.int('height', 1, MAX_RESOURCE_SIDE);
    const format = reader.u32('format');
    const saved = reader.optionalObject('backing');
    const addresses = saved?.ints('addresses', 0, Number.MAX_SAFE_INTEGER, undefined, MAX_BACKING_ENTRIES);
    const lengths = saved?.ints('lengths', 1, 0xffffffff, addresses?.length);
    if (!GpuResource.possible(width, height, format)) {
      reader.refuse(`pixels of format ${format}`);
    }
    if (GpuResource.cost(width, height, addresses?.length ?? 0) > budget) {
      reader.refuse('more pictures than the device has memory for');
    }
    const pixels = reader.bytes('pixels', GpuResource.pixelBytes(width, height));
    const resource = new GpuResource(width, height, format);
    resource.pixels.set(pixels);
    if (addresses !== undefined && lengths !== undefined) {
      resource.backing = new Backing(addresses, lengths);
    }
    return resource;
  }
}
