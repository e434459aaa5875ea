import { type IpAddress, sameAddress } from '../address.ts';
import { checksum, pseudoHeaderSum } from '../checksum.ts';
import { plainFrame } from '../network-port.ts';
import { transportChecksumGood } from '../packet.ts';
import { parseSegment, type Segment, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../tcp/segment.ts';
import { ipPacket, type TestGuest } from './test-guest.ts';

/** A segment that a test sends. */
export interface SegmentFields {
  readonly seq?: number;
  readonly ack?: number;
  readonly flags: number;
  readonly window?: number;
  readonly data?: Uint8Array;
  readonly options?: readonly number[];
}

/**
 * A guest's end of one connection: a plain and independent TCP for tests. It sends what `send` was given within the other
 * side's window, again from the start when asked to (`resend`), and acknowledges what it gets.
 */
export class TcpPeer {
  readonly guest: TestGuest;
  readonly remote: IpAddress;
  readonly remotePort: number;
  readonly port: number;
  /** Sequence number of the first byte that is sent. */
  readonly first: number;
  readonly received: number[] = [];
  state: 'new' | 'open' | 'reset' = 'new';
  /** The window that it offers, in bytes; with `shift`, as sent. */
  window = 60_000;
  shift = 0;
  mss = 1460;
  remoteFinished = false;
  rcvNxt = 0;
  sndUna: number;
  sndNxt: number;
  remoteWindow = 0;
  remoteShift = 0;
  #out = new Uint8Array(0);
  #finQueued = false;
  readonly #early = new Map<number, Uint8Array>();
  #earlyFin: number | undefined;
  /** Segments that were taken from the wire. */
  readonly log: Segment[] = [];

  constructor(guest: TestGuest, remote: IpAddress, remotePort: number, port = 40_000, first = 0x7fff_fff0) {
    this.guest = guest;
    this.remote = remote;
    this.remotePort = remotePort;
    this.port = port;
    this.first = (first + 1) | 0;
    this.sndUna = this.first;
    this.sndNxt = this.first;
  }

  /** The bytes of a segment's frame. */
  frame(fields: SegmentFields): Uint8Array {
    const { guest, remote } = this;
    const options = fields.options ?? [];
    const data = fields.data ?? new Uint8Array(0);
    const payload = new Uint8Array(20 + options.length + data.length);
    const view = new DataView(payload.buffer);
    view.setUint16(0, this.port);
    view.setUint16(2, this.remotePort);
    view.setInt32(4, fields.seq ?? this.sndNxt);
    view.setInt32(8, fields.ack ?? this.rcvNxt);
    view.setUint8(12, ((20 + options.length) / 4) << 4);
    view.setUint8(13, fields.flags);
    view.setUint16(14, fields.window ?? Math.min(0xffff, this.window >> this.shift));
    payload.set(options, 20);
    payload.set(data, 20 + options.length);
    const pseudo = pseudoHeaderSum(guest.address, remote, 6, payload.length);
    view.setUint16(16, checksum(payload, 0, payload.length, pseudo));
    return guest.ipFrame(remote, 6, payload);
  }

  sendSegment(fields: SegmentFields): void {
    this.guest.send(this.frame(fields));
  }

  /** Starts the handshake. */
  connect(scaled = true): void {
    const options = [2, 4, this.mss >> 8, this.mss & 0xff, ...(scaled ? [1, 3, 3, this.shift] : [])];
    const window = Math.min(0xffff, this.window);
    this.sendSegment({ seq: this.first - 1, ack: 0, flags: TCP_SYN, options, window });
  }

  /** The segments of this connection that wait, removed from the wire; others are left. */
  take(): Segment[] {
    const segments: Segment[] = [];
    const { frames } = this.guest;
    for (let i = 0; i < frames.length; ) {
      const frame = frames[i];
      const packet = frame === undefined ? undefined : ipPacket(frame.bytes);
      const segment = packet?.protocol === 6 ? parseSegment(packet) : undefined;
      if (
        frame === undefined ||
        packet === undefined ||
        segment?.destinationPort !== this.port ||
        segment.sourcePort !== this.remotePort ||
        !sameAddress(packet.source, this.remote)
      ) {
        i++;
        continue;
      }
      if (!transportChecksumGood(packet, frame.work.checksumStart === 0 ? plainFrame : frame.work)) {
        throw new Error('a segment has a wrong checksum');
      }
      segments.push(segment);
      frames.splice(i, 1);
    }
    this.log.push(...segments);
    return segments;
  }

  /** Handles what has come; `lost` says of each segment whether it never arrived. */
  step(
    lost: (segment: Segment) => boolean = () => false,
    reorder: (segments: Segment[]) => Segment[] = (s) => s,
  ): void {
    let answer = false;
    for (const segment of reorder(this.take())) {
      if (!lost(segment)) {
        answer = this.#handle(segment) || answer;
      }
    }
    if (answer) {
      this.acknowledge();
    }
    this.pump();
  }

  acknowledge(): void {
    this.sendSegment({ flags: TCP_ACK });
  }

  #handle(segment: Segment): boolean {
    const { flags } = segment;
    if ((flags & TCP_RST) !== 0) {
      this.state = 'reset';
      return false;
    }
    if (this.state === 'reset') {
      return false;
    }
    if ((flags & TCP_SYN) !== 0) {
      this.state = 'open';
      this.rcvNxt = (segment.seq + 1) | 0;
      this.remoteShift = segment.windowShift ?? 0;
      this.remoteWindow = segment.window;
      if (segment.windowShift === undefined) {
        this.shift = 0;
      }
      return true;
    }
    if (((segment.ack - this.sndUna) | 0) >= 0) {
      this.sndUna = segment.ack;
      if (((this.sndNxt - this.sndUna) | 0) < 0) {
        this.sndNxt = this.sndUna;
      }
      this.remoteWindow = segment.window << this.remoteShift;
    }
    const fin = (flags & TCP_FIN) !== 0;
    if (segment.data.length === 0 && !fin) {
      return false;
    }
    const ahead = (segment.seq - this.rcvNxt) | 0;
    if (ahead <= this.window) {
      if (segment.data.length > 0) {
        this.#early.set(segment.seq, segment.data.slice());
      }
      if (fin) {
        this.#earlyFin = (segment.seq + segment.data.length) | 0;
      }
    }
    for (let progress = true; progress; ) {
      progress = false;
      for (const [seq, bytes] of this.#early) {
        const behind = (this.rcvNxt - seq) | 0;
        if (behind >= 0) {
          this.#early.delete(seq);
          if (behind < bytes.length) {
            const fresh = bytes.subarray(behind, behind + this.window);
            this.received.push(...fresh);
            this.rcvNxt = (this.rcvNxt + fresh.length) | 0;
            progress = true;
          }
        }
      }
    }
    if (this.#earlyFin === this.rcvNxt) {
      this.#earlyFin = undefined;
      this.rcvNxt = (this.rcvNxt + 1) | 0;
      this.remoteFinished = true;
    }
    // Every segment that arrives is acknowledged by itself, so that duplicates are seen.
    this.acknowledge();
    return false;
  }

  /** Bytes for the other side. */
  write(bytes: Uint8Array): void {
    const all = new Uint8Array(this.#out.length + bytes.length);
    all.set(this.#out);
    all.set(bytes, this.#out.length);
    this.#out = all;
    this.pump();
  }

  finish(): void {
    this.#finQueued = true;
    this.pump();
  }

  get allAcknowledged(): boolean {
    return this.sndUna === ((this.first + this.#out.length + (this.#finQueued ? 1 : 0)) | 0);
  }

  /** Sends what the window allows. */
  pump(deliver: (frame: Uint8Array) => void = (frame) => this.guest.send(frame)): void {
    if (this.state !== 'open') {
      return;
    }
    for (;;) {
      const at = (this.sndNxt - this.first) | 0;
      const usable = this.remoteWindow - ((this.sndNxt - this.sndUna) | 0);
      const length = Math.min(this.mss, this.#out.length - at, usable);
      const fin = this.#finQueued && at + Math.max(0, length) === this.#out.length;
      if (at > this.#out.length || (length <= 0 && !fin)) {
        return;
      }
      const data = this.#out.subarray(at, at + Math.max(0, length));
      const frame = this.frame({ flags: TCP_ACK | (fin ? TCP_FIN : 0), data });
      this.sndNxt = (this.sndNxt + data.length + (fin ? 1 : 0)) | 0;
      deliver(frame);
    }
  }

  /** Goes back to what is not acknowledged. */
  resend(deliver?: (frame: Uint8Array) => void): void {
    this.sndNxt = this.sndUna;
    this.pump(deliver);
  }
}
