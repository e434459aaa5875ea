import { assert } from './assert.ts';

/**
 * A pipe of bytes in shared memory, from one thread to another: one writes, one reads, neither ever waits.
 *
 * Two positions count bytes since the beginning, modulo 2^32: `written` belongs to the writer, `read` to the reader. Each
 * side may ask to be told when it can go on; the other learns from `write` or `take` that it has to tell, once.
 *
 *     control   i32 written, i32 read, i32 reader waits for bytes, i32 writer waits for room
 *     bytes     a power of two of them
 */
const WRITTEN = 0;
const READ = 1;
const READER_WAITS = 2;
const WRITER_WAITS = 3;
const CONTROL_BYTES = 16;

/** Memory for a pipe with room for `capacity` bytes, a power of two. */
export function createByteRing(capacity: number): SharedArrayBuffer {
  assert(capacity >= 16 && (capacity & (capacity - 1)) === 0, 'the size of a byte ring');
  const memory = new SharedArrayBuffer(CONTROL_BYTES + capacity);
  // The first bytes have to be told of.
  new Int32Array(memory, 0, 4)[READER_WAITS] = 1;
  return memory;
}

export class ByteRingWriter {
  readonly #control: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    this.#control = new Int32Array(memory, 0, CONTROL_BYTES / 4);
    this.#bytes = new Uint8Array(memory, CONTROL_BYTES);
  }

  get room(): number {
    const used = (Atomics.load(this.#control, WRITTEN) - Atomics.load(this.#control, READ)) >>> 0;
    return this.#bytes.length - used;
  }

  /** Appends as many of `bytes` as there is room for. `tell`: the reader waits for them, which is said once. */
  write(bytes: Uint8Array): { readonly count: number; readonly tell: boolean } {
    const control = this.#control;
    const count = Math.min(bytes.length, this.room);
    const written = Atomics.load(control, WRITTEN);
    const at = (written >>> 0) & (this.#bytes.length - 1);
    const first = Math.min(count, this.#bytes.length - at);
    this.#bytes.set(bytes.subarray(0, first), at);
    this.#bytes.set(bytes.subarray(first, count), 0);
    Atomics.store(control, WRITTEN, (written + count) | 0);
    const tell = count > 0 && Atomics.exchange(control, READER_WAITS, 0) !== 0;
    return { count, tell };
  }

  /** Asks the reader to tell when there is room. False: there is some, and nobody will tell. */
  wantRoom(): boolean {
    Atomics.store(this.#control, WRITER_WAITS, 1);
    return this.room === 0 || Atomics.exchange(this.#control, WRITER_WAITS, 0) === 0;
  }
}

export class ByteRingReader {
  readonly #control: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    this.#control = new Int32Array(memory, 0, CONTROL_BYTES / 4);
    this.#bytes = new Uint8Array(memory, CONTROL_BYTES);
  }

  get available(): number {
    return (Atomics.load(this.#control, WRITTEN) - Atomics.load(this.#control, READ)) >>> 0;
  }

  /** A copy of the oldest bytes, at most `limit`, which stay until `take`; empty when there are none. */
  peek(limit: number): Uint8Array<ArrayBuffer> {
    const at = (Atomics.load(this.#control, READ) >>> 0) & (this.#bytes.length - 1);
    const count = Math.min(this.available, limit);
    const copy = new Uint8Array(count);
    const first = Math.min(count, this.#bytes.length - at);
    copy.set(this.#bytes.subarray(at, at + first));
    copy.set(this.#bytes.subarray(0, count - first), first);
    return copy;
  }

  /** Frees the oldest `count` bytes. True: the writer waits for room and is to be told. */
  take(count: number): boolean {
    const control = this.#control;
    Atomics.store(control, READ, (Atomics.load(control, READ) + Math.min(count, this.available)) | 0);
    return count > 0 && Atomics.exchange(control, WRITER_WAITS, 0) !== 0;
  }

  /** Asks the writer to tell of bytes. False: there are some by now, and nobody will tell. */
  wantBytes(): boolean {
    Atomics.store(this.#control, READER_WAITS, 1);
    return this.available === 0 || Atomics.exchange(this.#control, READER_WAITS, 0) === 0;
  }
}
