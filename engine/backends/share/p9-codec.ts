import { ShareError } from './linux-errno.ts';
import { HEADER_BYTES } from './p9-protocol.ts';

/** Reads the fields of one message. What ends too early is a ShareError('EPROTO'). */
export class MessageReader {
  readonly type: number;
  readonly tag: number;
  /** The message itself, by its own length. */
  readonly bytes: Buffer;
  at = HEADER_BYTES;
  readonly #view: DataView;

  /** `request` has at least a header. Throws when the message's length is not that of the request. */
  constructor(request: Uint8Array) {
    this.#view = new DataView(request.buffer, request.byteOffset, request.byteLength);
    this.type = this.#view.getUint8(4);
    this.tag = this.#view.getUint16(5, true);
    const size = this.#view.getUint32(0, true);
    this.bytes = Buffer.from(request.buffer as ArrayBuffer, request.byteOffset, Math.min(size, request.length));
  }

  /** The message says how long it is, and is so long. */
  get complete(): boolean {
    const size = this.#view.getUint32(0, true);
    return size >= HEADER_BYTES && size === this.bytes.length;
  }

  #advance(count: number): number {
    const at = this.at;
    if (at + count > this.bytes.length) {
      throw new ShareError('EPROTO');
    }
    this.at = at + count;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8), true);
  }

  /** A string of bytes, one character each. */
  string(): string {
    const length = this.u16();
    const at = this.#advance(length);
    return this.bytes.toString('latin1', at, at + length);
  }

  data(length: number): Uint8Array {
    const at = this.#advance(length);
    return this.bytes.subarray(at, at + length);
  }
}

/** What a qid says of an object. */
export interface Qid {
  readonly type: number;
  readonly version: number;
  readonly path: bigint;
}

/** Writes one answer. What does not fit is a ShareError('EMSGSIZE'). */
export class MessageWriter {
  readonly bytes: Uint8Array;
  at = HEADER_BYTES;
  readonly #view: DataView;

  constructor(reply: Uint8Array) {
    this.bytes = reply;
    this.#view = new DataView(reply.buffer, reply.byteOffset, reply.byteLength);
  }

  /** Bytes that still fit. */
  get room(): number {
    return this.bytes.length - this.at;
  }

  /** Makes room for `count` bytes and returns where. */
  skip(count: number): number {
    const at = this.at;
    if (at + count > this.bytes.length) {
      throw new ShareError('EMSGSIZE');
    }
    this.at = at + count;
    return at;
  }

  u8(value: number): void {
    this.#view.setUint8(this.skip(1), value);
  }

  u16(value: number): void {
    this.#view.setUint16(this.skip(2), value, true);
  }

  u32(value: number): void {
    this.#view.setUint32(this.skip(4), value, true);
  }

  u64(value: bigint): void {
    this.#view.setBigUint64(this.skip(8), value, true);
  }

  /** A number that was read before, at `at`. */
  patchU16(at: number, value: number): void {
    this.#view.setUint16(at, value, true);
  }

  patchU32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  string(text: string): void {
    this.u16(text.length);
    const at = this.skip(text.length);
    for (let i = 0; i < text.length; i++) {
      this.bytes[at + i] = text.charCodeAt(i);
    }
  }

  qid({ type, version, path }: Qid): void {
    this.u8(type);
    this.u32(version);
    this.u64(path);
  }

  /** Writes the header of what was written and returns the whole length. */
  finish(type: number, tag: number): number {
    this.#view.setUint32(0, this.at, true);
    this.#view.setUint8(4, type);
    this.#view.setUint16(5, tag, true);
    return this.at;
  }
}
