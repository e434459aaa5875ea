import type { GuestMemory } from '../../memory/guest-memory.ts';
import { type FrameWork, MAX_FRAME_BYTES, type NetworkPort, plainFrame } from '../../net/network-port.ts';
import type { StateValue } from '../device.ts';
import type { StateReader } from '../state.ts';

/** Commands of transmit descriptors (Intel 317453, 3.3.3 and 3.3.7); DCMD of data descriptors is alike. */
const CMD_EOP = 1 << 0;
const CMD_IC = 1 << 2;
/** The same bit in context and data descriptors: TCP segmentation. */
const CMD_TSE = 1 << 2;
const CMD_RS = 1 << 3;
const CMD_DEXT = 1 << 5;
const CMD_VLE = 1 << 6;
const TUCMD_TCP = 1 << 0;
const TUCMD_IP4 = 1 << 1;
const POPTS_IXSM = 1 << 0;
const POPTS_TXSM = 1 << 1;
const STATUS_DD = 1 << 0;
const DESCRIPTOR_BYTES = 16;
const SHORTEST_FRAME = 60;
/** A frame in more pieces is given up. */
const MAX_PIECES = 256;

/** What a context descriptor said: where checksums go, and how TCP is to be cut. */
interface Context {
  ipStart: number;
  ipOffset: number;
  ipEnd: number;
  start: number;
  offset: number;
  payloadLength: number;
  command: number;
  headerLength: number;
  segmentBytes: number;
}

const NO_CONTEXT: Readonly<Context> = {
  ipStart: 0,
  ipOffset: 0,
  ipEnd: 0,
  start: 0,
  offset: 0,
  payloadLength: 0,
  command: 0,
  headerLength: 0,
  segmentBytes: 0,
};

/** The ring of transmit descriptors as its registers say. */
export interface DescriptorRing {
  readonly base: number;
  /** Number of descriptors; 0: there is no ring. */
  readonly count: number;
  head: number;
  readonly tail: number;
}

export interface TransmitRules {
  /** Pad short frames. */
  readonly pad: boolean;
  /** The EtherType of VLAN tags that the card is to insert; undefined: it inserts none. */
  readonly vlanType: number | undefined;
}

interface Piece {
  readonly address: number;
  readonly length: number;
}

/** Gathers frames from transmit descriptors and hands them to the network, with the work left that it takes. */
export class Transmitter {
  readonly #memory: GuestMemory;
  readonly #port: NetworkPort;
  readonly #sent: (bytes: Uint8Array) => void;
  /** Contexts for segmentation and for checksums alone are kept apart (Intel 317453, 3.3.6). */
  #segment: Context = { ...NO_CONTEXT };
  #checksum: Context = { ...NO_CONTEXT };

  constructor(memory: GuestMemory, port: NetworkPort, sent: (bytes: Uint8Array) => void) {
    this.#memory = memory;
    this.#port = port;
    this.#sent = sent;
  }

  reset(): void {
    this.#segment = { ...NO_CONTEXT };
    this.#checksum = { ...NO_CONTEXT };
  }

  /**
   * Sends the complete frames between head and tail while the network has room. True: a descriptor that asked for it
   * was reported done.
   */
  run(ring: DescriptorRing, rules: TransmitRules): boolean {
    let reported = false;
    const memory = this.#memory;
    while (ring.head !== ring.tail) {
      const pieces: Piece[] = [];
      const report: number[] = [];
      let length = 0;
      let at = ring.head;
      let complete = false;
      let first = 0;
      let options = 0;
      let special = 0;
      let legacy: { readonly start: number; readonly offset: number } | undefined;
      while (at !== ring.tail && !complete) {
        const address = ring.base + at * DESCRIPTOR_BYTES;
        const word2 = memory.readU32(address + 8);
        const word3 = memory.readU32(address + 12);
        const command = word2 >>> 24;
        at = at + 1 >= ring.count ? 0 : at + 1;
        if ((command & CMD_RS) !== 0) {
          report.push(address);
        }
        const isContext = (command & CMD_DEXT) !== 0 && ((word2 >>> 20) & 0xf) === 0;
        if (isContext) {
          this.#takeContext(memory.readU32(address), memory.readU32(address + 4), word2, word3);
          if (pieces.length === 0) {
            complete = true; // stands for itself
          }
          continue;
        }
        const size = (command & CMD_DEXT) === 0 ? word2 & 0xffff : word2 & 0xfffff;
        if (pieces.length === 0) {
          first = command;
          options = (command & CMD_DEXT) === 0 ? 0 : (word3 >>> 8) & 0xff;
          special = word3 >>> 16;
        }
        if ((command & (CMD_DEXT | CMD_IC)) === CMD_IC) {
          legacy = { start: (word3 >>> 8) & 0xff, offset: (word2 >>> 16) & 0xff };
        }
        if (pieces.length < MAX_PIECES) {
          pieces.push({ address: memory.readU32(address) + memory.readU32(address + 4) * 2 ** 32, length: size });
        }
        length += size;
        complete = (command & CMD_EOP) !== 0;
      }
      if (!complete) {
        return reported; // the rest of the frame is still to come
      }
      if (pieces.length > 0) {
        const tag = rules.vlanType !== undefined && (first & CMD_VLE) !== 0 ? [rules.vlanType, special] : undefined;
        const isGood = pieces.length < MAX_PIECES && length >= 14 && length + 4 <= MAX_FRAME_BYTES;
        if (isGood && !this.#send(pieces, length, first, options, legacy, tag, rules.pad)) {
          return reported; // the network has no room: the frame stays where it is
        }
      }
      ring.head = at;
      for (const address of report) {
        memory.writeU8(address + 12, memory.readU8(address + 12) | STATUS_DD);
        reported = true;
      }
    }
    return reported;
  }

  #takeContext(word0: number, word1: number, word2: number, word3: number): void {
    const context: Context = {
      ipStart: word0 & 0xff,
      ipOffset: (word0 >>> 8) & 0xff,
      ipEnd: word0 >>> 16,
      start: word1 & 0xff,
      offset: (word1 >>> 8) & 0xff,
      payloadLength: word2 & 0xfffff,
      command: word2 >>> 24,
      headerLength: (word3 >>> 8) & 0xff,
      segmentBytes: word3 >>> 16,
    };
    if ((context.command & CMD_TSE) !== 0) {
      this.#segment = context;
    } else {
      this.#checksum = context;
    }
  }

  #send(
    pieces: readonly Piece[],
    length: number,
    command: number,
    options: number,
    legacy: { readonly start: number; readonly offset: number } | undefined,
    tag: readonly number[] | undefined,
    pad: boolean,
  ): boolean {
    const inserted = tag === undefined ? 0 : 4;
    const total = Math.max(length + inserted, pad ? SHORTEST_FRAME : 0);
    const frame = this.#port.reserve(total);
    if (frame === undefined) {
      return false;
    }
    let at = inserted;
    for (const piece of pieces) {
      this.#memory.read(piece.address, frame.subarray(at, at + piece.length));
      at += piece.length;
    }
    frame.fill(0, at);
    let work = plainFrame;
    // Offsets count from the frame's start before a tag is inserted.
    const body = frame.subarray(inserted, at);
    if (legacy !== undefined) {
      work = checksumWork(legacy.start, legacy.offset, body.length, inserted);
    } else if ((command & CMD_DEXT) !== 0) {
      work = this.#offload(body, command, options, inserted);
    }
    if (tag !== undefined) {
      frame.copyWithin(0, 4, 16);
      const [type = 0, control = 0] = tag;
      frame.set([type >> 8, type & 0xff, control >> 8, control & 0xff], 12);
    }
    this.#sent(frame);
    this.#port.commit(work);
    return true;
  }

  /** Does what the card itself does with IP headers, and says what is left to the network. */
  #offload(frame: Uint8Array, command: number, options: number, inserted: number): FrameWork {
    const segmenting = (command & CMD_TSE) !== 0;
    const context = segmenting ? this.#segment : this.#checksum;
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    const { ipStart, ipOffset, ipEnd, start, offset, segmentBytes, headerLength } = context;
    const isTcp = (context.command & TUCMD_TCP) !== 0;
    const isIp4 = (context.command & TUCMD_IP4) !== 0;
    const cut = segmenting && isTcp && segmentBytes > 0 && headerLength + segmentBytes < frame.length;
    if (segmenting) {
      // Drivers leave the length to the card, in the header and in the sum of the pseudo-header.
      if (isIp4 && ipStart + 4 <= frame.length) {
        view.setUint16(ipStart + 2, frame.length - ipStart);
      } else if (!isIp4 && ipStart + 6 <= frame.length) {
        view.setUint16(ipStart + 4, Math.max(0, frame.length - ipStart - 40));
      }
      if (offset + 2 <= frame.length) {
        const sum = view.getUint16(offset) + Math.max(0, frame.length - start);
        view.setUint16(offset, (sum & 0xffff) + (sum >>> 16));
      }
    }
    if ((options & POPTS_IXSM) !== 0 && ipOffset + 2 <= frame.length) {
      const end = ipEnd === 0 ? frame.length : Math.min(ipEnd + 1, frame.length);
      view.setUint16(ipOffset, 0);
      view.setUint16(ipOffset, ~onesSum(view, ipStart, end) & 0xffff);
    }
    if ((options & POPTS_TXSM) === 0) {
      return plainFrame;
    }
    const work = checksumWork(start, offset, frame.length, inserted);
    return cut && work !== plainFrame ? { ...work, segmentBytes, segmentKind: isIp4 ? 'tcp4' : 'tcp6' } : work;
  }

  save(): StateValue {
    return { segment: { ...this.#segment }, checksum: { ...this.#checksum } };
  }

  read(reader: StateReader): readonly [Context, Context] {
    const context = (from: StateReader): Context => ({
      ipStart: from.u8('ipStart'),
      ipOffset: from.u8('ipOffset'),
      ipEnd: from.u16('ipEnd'),
      start: from.u8('start'),
      offset: from.u8('offset'),
      payloadLength: from.int('payloadLength', 0, 0xfffff),
      command: from.u8('command'),
      headerLength: from.u8('headerLength'),
      segmentBytes: from.u16('segmentBytes'),
    });
    return [context(reader.object('segment')), context(reader.object('checksum'))];
  }

  load([segment, checksum]: readonly [Context, Context]): void {
    this.#segment = segment;
    this.#checksum = checksum;
  }
}

function checksumWork(start: number, offset: number, length: number, inserted: number): FrameWork {
  if (start === 0 || offset < start || offset + 2 > length) {
    return plainFrame;
  }
  return { checksumStart: start + inserted, checksumOffset: offset - start, segmentBytes: 0, segmentKind: 'none' };
}

/** The one's complement sum of 16-bit words, for short headers. */
function onesSum(view: DataView, start: number, end: number): number {
  let sum = 0;
  for (let at = start; at < end; at += 2) {
    sum += at + 1 < end ? view.getUint16(at) : view.getUint8(at) << 8;
  }
  while (sum > 0xffff) {
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  return sum;
}
