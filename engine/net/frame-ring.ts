import { assert } from '../base/assert.ts';
import type { FrameWork } from './network-port.ts';

/**
 * A queue of frames in shared memory, from one thread to another: one writes, one reads, neither ever waits.
 *
 * Two positions count bytes since the beginning, modulo 2^32: `written` belongs to the writer, `read` to the reader.
 * Frames lie in one piece; where one would reach over the end, a filler record sends the reader to the start. Each side
 * may ask to be told when it can go on; the other then learns from `publish` or `release` that it has to tell, once.
 *
 *     control   i32 written, i32 read, i32 reader sleeps, i32 writer waits for room; a cache line each
 *     record    u32 length | u16 checksumStart | u16 checksumOffset | u16 segmentBytes | u8 kind | u8 flags | u32 0
 *               then the frame, padded to 16 bytes
 *
 * Numbers in the host's byte order. Both threads are ours, so that nothing is checked here; the frames themselves come
 * from the guest or the world.
 */
const CACHE_LINE_WORDS = 16;
const WRITTEN = 0;
const READ = CACHE_LINE_WORDS;
const READER_SLEEPS = CACHE_LINE_WORDS * 2;
const WRITER_WAITS = CACHE_LINE_WORDS * 3;
const CONTROL_BYTES = CACHE_LINE_WORDS * 4 * 4;
const RECORD_BYTES = 16;
/** In the place of a length: nothing more up to the end. */
const FILLER = 0xffffffff;

const SEGMENT_KINDS = ['none', 'tcp4', 'tcp6'] as const;
const FLAG_CHECKSUM_GOOD = 1;

export interface RingFrame {
  readonly bytes: Uint8Array;
  readonly work: FrameWork;
  readonly checksumGood: boolean;
}

/** Memory for a ring of `capacity` bytes, a power of two of at least 256 KiB, so that two of the longest frames fit. */
export function createFrameRing(capacity = 1 << 20): SharedArrayBuffer {
  assert(capacity >= 1 << 18 && (capacity & (capacity - 1)) === 0, 'the size of a frame ring');
  return new SharedArrayBuffer(CONTROL_BYTES + capacity);
}

function recordBytes(length: number): number {
  return (RECORD_BYTES + length + 15) & ~15;
}

class RingView {
  readonly control: Int32Array;
  readonly words: Uint32Array;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly capacity: number;

  constructor(memory: SharedArrayBuffer) {
    this.control = new Int32Array(memory, 0, CONTROL_BYTES / 4);
    this.words = new Uint32Array(memory, CONTROL_BYTES);
    this.view = new DataView(memory, CONTROL_BYTES);
    this.bytes = new Uint8Array(memory, CONTROL_BYTES);
    this.capacity = memory.byteLength - CONTROL_BYTES;
  }
}

export class FrameRingWriter {
  readonly #ring: RingView;
  /** Where the next record goes; other than in shared memory, a record under construction does not count. */
  #written: number;
  #reserved = 0;
  #start = 0;

  constructor(memory: SharedArrayBuffer) {
    this.#ring = new RingView(memory);
    this.#written = Atomics.load(this.#ring.control, WRITTEN);
  }

  #room(): number {
    const { control, capacity } = this.#ring;
    return capacity - ((this.#written - Atomics.load(control, READ)) >>> 0);
  }

  /** No frame of any length can be refused for want of room. */
  get hasRoom(): boolean {
    return this.#room() >= this.#ring.capacity / 2;
  }

  /** Nothing is left to read: the reader has everything. */
  get isEmpty(): boolean {
    return this.#room() === this.#ring.capacity;
  }

  /** Bytes ever written, modulo 2^32: a place in the stream of frames. */
  get position(): number {
    return this.#written >>> 0;
  }

  /** Whether the reader has gone past a place that `position` named, less than 2^31 bytes ago. */
  hasBeenRead(position: number): boolean {
    return ((Atomics.load(this.#ring.control, READ) - position) | 0) >= 0;
  }

  /** Memory for a frame, or undefined when there is no room for it; see `wantRoom`. */
  reserve(length: number): Uint8Array | undefined {
    const { capacity, words, bytes } = this.#ring;
    const size = recordBytes(length);
    let at = (this.#written >>> 0) & (capacity - 1);
    const filler = at + size > capacity ? capacity - at : 0;
    if (filler + size > this.#room()) {
      return undefined;
    }
    if (filler > 0) {
      words[at >>> 2] = FILLER;
      at = 0;
    }
    this.#reserved = filler + size;
    this.#start = at;
    words[at >>> 2] = length;
    return bytes.subarray(at + RECORD_BYTES, at + RECORD_BYTES + length);
  }

  /** Completes the frame that was reserved last. It is seen by the reader after `publish`. */
  commit(work: FrameWork, checksumGood: boolean): void {
    const { view } = this.#ring;
    if (this.#reserved === 0) {
      return;
    }
    const at = this.#start;
    view.setUint16(at + 4, work.checksumStart, true);
    view.setUint16(at + 6, work.checksumOffset, true);
    view.setUint16(at + 8, work.segmentBytes, true);
    view.setUint8(at + 10, SEGMENT_KINDS.indexOf(work.segmentKind));
    view.setUint8(at + 11, checksumGood ? FLAG_CHECKSUM_GOOD : 0);
    this.#written = (this.#written + this.#reserved) | 0;
    this.#reserved = 0;
  }

  /** Shows the reader what was committed. True: it sleeps and is to be woken. */
  publish(): boolean {
    const { control } = this.#ring;
    Atomics.store(control, WRITTEN, this.#written);
    return Atomics.load(control, READER_SLEEPS) !== 0 && Atomics.exchange(control, READER_SLEEPS, 0) !== 0;
  }

  /** Asks the reader to tell when there is room. False: there is some already, and nobody will tell. */
  wantRoom(): boolean {
    const { control } = this.#ring;
    Atomics.store(control, WRITER_WAITS, 1);
    if (this.hasRoom && Atomics.exchange(control, WRITER_WAITS, 0) !== 0) {
      return false;
    }
    return true;
  }
}

export class FrameRingReader {
  readonly #ring: RingView;
  #read: number;
  #frame: RingFrame | undefined;

  constructor(memory: SharedArrayBuffer) {
    this.#ring = new RingView(memory);
    this.#read = Atomics.load(this.#ring.control, READ);
  }

  get isEmpty(): boolean {
    return Atomics.load(this.#ring.control, WRITTEN) === this.#read;
  }

  /** The oldest frame, valid until `take`; undefined when there is none. */
  peek(): RingFrame | undefined {
    if (this.#frame !== undefined || this.isEmpty) {
      return this.#frame;
    }
    const { capacity, words, view, bytes } = this.#ring;
    let at = (this.#read >>> 0) & (capacity - 1);
    if (words[at >>> 2] === FILLER) {
      this.#read = (this.#read + capacity - at) | 0;
      at = 0;
    }
    const length = words[at >>> 2] ?? 0;
    const kind = SEGMENT_KINDS[view.getUint8(at + 10)] ?? 'none';
    this.#frame = {
      bytes: bytes.subarray(at + RECORD_BYTES, at + RECORD_BYTES + length),
      work: {
        checksumStart: view.getUint16(at + 4, true),
        checksumOffset: view.getUint16(at + 6, true),
        segmentBytes: view.getUint16(at + 8, true),
        segmentKind: kind,
      },
      checksumGood: (view.getUint8(at + 11) & FLAG_CHECKSUM_GOOD) !== 0,
    };
    return this.#frame;
  }

  /** Frees the memory of the frame that `peek` gave; the writer may use it after `release`. */
  take(): void {
    if (this.#frame !== undefined) {
      this.#read = (this.#read + recordBytes(this.#frame.bytes.length)) | 0;
      this.#frame = undefined;
    }
  }

  /** Lets the writer use the memory of frames that were taken. True: it waits for that and is to be told. */
  release(): boolean {
    const { control, capacity } = this.#ring;
    Atomics.store(control, READ, this.#read);
    if (Atomics.load(control, WRITER_WAITS) === 0) {
      return false;
    }
    const used = (Atomics.load(control, WRITTEN) - this.#read) >>> 0;
    return used <= capacity / 2 && Atomics.exchange(control, WRITER_WAITS, 0) !== 0;
  }

  /** Asks the writer to wake this side. False: a frame has come meanwhile, and nobody will. */
  sleep(): boolean {
    const { control } = this.#ring;
    Atomics.store(control, READER_SLEEPS, 1);
    if (!this.isEmpty) {
      Atomics.store(control, READER_SLEEPS, 0);
      return false;
    }
    return true;
  }
}
