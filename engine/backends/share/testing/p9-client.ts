import { P9 } from '../p9-protocol.ts';

/** Fields of a message: numbers with their width, strings, bytes. */
export const u8 = (value: number) => Uint8Array.of(value);
export const u16 = (value: number) => Uint8Array.of(value, value >>> 8);
export const u32 = (value: number) => Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
export const u64 = (value: number | bigint) => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return bytes;
};
export const text = (value: string) => {
  const bytes = Buffer.from(value, 'latin1');
  return Buffer.concat([u16(bytes.length), bytes]);
};

/** One message of 9P. */
export function message(type: number, ...fields: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(fields);
  return Buffer.concat([u32(7 + body.length), u8(type), u16(1), body]);
}

/** An error that the server answered, by its Linux number. */
export class P9Failure extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(`error ${errno}`);
    this.errno = errno;
  }
}

export interface Attributes {
  readonly type: number;
  readonly path: bigint;
  readonly mode: number;
  readonly uid: number;
  readonly size: number;
  readonly links: number;
  readonly modified: number;
}

/** A client of 9P2000.L over a function that carries messages. */
export class P9Client {
  readonly #carry: (request: Uint8Array) => Uint8Array;
  #nextFid = 1;

  constructor(carry: (request: Uint8Array) => Uint8Array) {
    this.#carry = carry;
  }

  /** Sends a message and returns the fields of the answer. Throws P9Failure. */
  call(type: number, ...fields: readonly Uint8Array[]): Buffer {
    const reply = Buffer.from(this.#carry(message(type, ...fields)));
    if (reply.length < 7 || reply.readUInt32LE(0) !== reply.length || reply.readUInt16LE(5) !== 1) {
      throw new Error(`an answer that is none: ${reply.toString('hex')}`);
    }
    if (reply[4] === 7) {
      throw new P9Failure(reply.readUInt32LE(7));
    }
    if (reply[4] !== type + 1) {
      throw new Error(`an answer of type ${reply[4]} to a message of type ${type}`);
    }
    return reply.subarray(7);
  }

  /** Begins a session, with fid 0 for the shared folder. */
  start(messageBytes = 65_536): void {
    this.call(P9.version, u32(messageBytes), text('9P2000.L'));
    this.call(P9.attach, u32(0), u32(0xffffffff), text('root'), text(''), u32(0));
  }

  /** A new fid for a path from another. */
  walk(path: string, from = 0): number {
    const fid = this.#nextFid++;
    const names = path === '' ? [] : path.split('/');
    const reply = this.call(P9.walk, u32(from), u32(fid), u16(names.length), ...names.map(text));
    if (reply.readUInt16LE(0) !== names.length) {
      throw new P9Failure(2);
    }
    return fid;
  }

  clunk(fid: number): void {
    this.call(P9.clunk, u32(fid));
  }

  open(path: string, flags = 0): number {
    const fid = this.walk(path);
    this.call(P9.lopen, u32(fid), u32(flags));
    return fid;
  }

  create(folder: string, name: string, flags = 2, mode = 0o644): number {
    const fid = this.walk(folder);
    this.call(P9.lcreate, u32(fid), text(name), u32(flags), u32(mode), u32(0));
    return fid;
  }

  read(fid: number, offset = 0, count = 4096): Buffer {
    const reply = this.call(P9.read, u32(fid), u64(offset), u32(count));
    return reply.subarray(4, 4 + reply.readUInt32LE(0));
  }

  write(fid: number, offset: number, data: string | Uint8Array): number {
    const bytes = Buffer.from(data);
    return this.call(P9.write, u32(fid), u64(offset), u32(bytes.length), bytes).readUInt32LE(0);
  }

  attributes(fid: number): Attributes {
    const reply = this.call(P9.getattr, u32(fid), u64(0x7ff));
    return {
      type: reply.readUInt8(8),
      path: reply.readBigUInt64LE(13),
      mode: reply.readUInt32LE(21),
      uid: reply.readUInt32LE(25),
      links: Number(reply.readBigUInt64LE(33)),
      size: Number(reply.readBigUInt64LE(49)),
      modified: Number(reply.readBigUInt64LE(89)),
    };
  }

  /** Tsetattr with the fields given. */
  set(fid: number, valid: number, mode = 0, uid = 0, size: number | bigint = 0, modified = 0): void {
    const times = [u64(0), u64(0), u64(modified), u64(0)];
    this.call(P9.setattr, u32(fid), u32(valid), u32(mode), u32(uid), u32(0), u64(size), ...times);
  }

  /** The names in an open folder, with `count` bytes a message. */
  list(fid: number, count = 4096): string[] {
    const names: string[] = [];
    for (let offset = 0n; ; ) {
      const reply = this.call(P9.readdir, u32(fid), u64(offset), u32(count));
      const end = 4 + reply.readUInt32LE(0);
      if (end === 4) {
        return names;
      }
      for (let at = 4; at < end; ) {
        offset = reply.readBigUInt64LE(at + 13);
        const length = reply.readUInt16LE(at + 22);
        names.push(reply.toString('latin1', at + 24, at + 24 + length));
        at += 24 + length;
      }
    }
  }
}
