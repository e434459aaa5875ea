import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { IpAddress } from '../address.ts';
import type { GuestLink } from '../guest-link.ts';
import { IPV4_HEADER, IPV6_HEADER, MTU, PROTOCOL_TCP } from '../packet.ts';
import { OutOfOrder } from './out-of-order.ts';
import { RoundTrip } from './round-trip.ts';
import { type Segment, TCP_ACK, TCP_CHECKSUM, TCP_FIN, TCP_HEADER, TCP_PSH, TCP_RST, TCP_SYN } from './segment.ts';
import { type MemoryBudget, SendBuffer } from './send-buffer.ts';
import { seqAdd, seqDiff } from './sequence.ts';

/** Bytes that may be under way in each direction. */
export const TCP_WINDOW = 512 << 10;
/** The same for what comes in while all connections together wait with too much. */
const TIGHT_WINDOW = 32 << 10;
/** Our window shift: with it, the largest window field stands for more than TCP_WINDOW. */
const WINDOW_SHIFT = 4;
/** The most data in a segment that the card is to cut. */
const LARGEST_SEGMENT = 64000;
/** RFC 9293, 3.7.1, for those who do not say. */
const DEFAULT_MSS = 536;
const SMALLEST_MSS = 64;
const MAX_SYN_RETRIES = 5;
const MAX_RETRIES = 10;
const DUPLICATE_ACKS = 3;
/** Short, as nothing strays on the way to the guest; long enough for a FIN to be repeated. */
const TIME_WAIT_NANOS: Nanos = 5e9;
/** So many segments of data are acknowledged together, or what has come within this time: acknowledgements cost guests. */
const ACK_SEGMENTS = 8;
const ACK_DELAY_NANOS: Nanos = 2e6;
/** A reader that opens its window by less than this is not told of at once. */
const WINDOW_UPDATE = 64 << 10;

/** How a connection ended, as its user sees it. */
export type TcpEnd = 'done' | 'reset' | 'timed-out';

/** Who uses a connection. Calls come while packets are handled or alarms fire. */
export interface TcpUser {
  /** The handshake is done. */
  opened(): void;
  /** Bytes of the guest, valid during the call; they narrow its window until `consumed`. */
  data(bytes: Uint8Array): void;
  /** The guest will send nothing more. */
  finished(): void;
  /** There is room again after a `write` that took less than it was given. */
  room(): void;
  /** The connection is over; nothing follows. */
  closed(end: TcpEnd): void;
}

/** What the connections of a network share. */
export interface TcpShared {
  readonly link: GuestLink;
  readonly clock: Clock;
  /** For what waits for guests' acknowledgement. */
  readonly sendBudget: MemoryBudget;
  /** For what guests have sent and nobody has taken yet. */
  readonly receiveBudget: MemoryBudget;
  /** A random uint32. */
  random(): number;
  /** `connection.flush()` is to be called when the packets at hand are handled. */
  touch(connection: TcpConnection): void;
  /** A segment could not be sent: `connection.flush()` is to be called once there is room for frames. */
  stalled(connection: TcpConnection): void;
  /** The connection is to be forgotten. */
  remove(connection: TcpConnection): void;
}

/** The two ends of a connection: the guest's, and the one that it believes to talk to. */
export interface TcpEnds {
  readonly guest: IpAddress;
  readonly guestPort: number;
  readonly remote: IpAddress;
  readonly remotePort: number;
}

/**
 * One connection with the guest (RFC 9293), seen from the network's side.
 *
 *     waiting ──accept──▶ syn-received ─┐
 *     syn-sent ─────────────────────────┴▶ open ──both have finished──▶ time-wait ──▶ closed
 *
 * `open` covers all states from ESTABLISHED to LAST-ACK: whether each side has finished is told apart by itself.
 */
export class TcpConnection {
  readonly ends: TcpEnds;
  lastHeard: Nanos;
  readonly #shared: TcpShared;
  readonly #user: TcpUser;
  readonly #alarm: Alarm;
  readonly #ackAlarm: Alarm;
  #state: 'waiting' | 'syn-sent' | 'syn-received' | 'open' | 'time-wait' | 'closed';

  // Sending (RFC 9293, 3.3.1; RFC 5681, RFC 6582).
  readonly #buffer: SendBuffer;
  readonly #iss: number;
  /** Sequence number of the first byte in the buffer. */
  #bufferSeq: number;
  #sndUna: number;
  #sndNxt: number;
  /** One past the last byte ever sent. */
  #sndMax: number;
  #sndWnd = 0;
  #sndWndMax = 0;
  #sndWl1 = 0;
  #sndWl2 = 0;
  #sndShift = 0;
  #mss = DEFAULT_MSS;
  #congestion = TCP_WINDOW;
  #threshold = TCP_WINDOW;
  #duplicates = 0;
  /** Fast recovery lasts until this is acknowledged. */
  #recover: number | undefined;
  /** What a timeout took away, until it is known whether anything was lost. */
  #beforeTimeout: { readonly congestion: number; readonly threshold: number } | undefined;
  #finQueued = false;
  #writeRefused = false;

  // Receiving.
  readonly #early = new OutOfOrder();
  #rcvNxt = 0;
  /** The right edge of the window that the guest knows of. */
  #rcvEdge = 0;
  #rcvShift = 0;
  #unconsumed = 0;
  #guestFinished = false;
  /** To be acknowledged with this flush. */
  #ackPending = false;
  /** The last acknowledgement that was sent. */
  #acknowledgedSeq = 0;

  // Time.
  readonly #roundTrip = new RoundTrip();
  #timed: { readonly seq: number; readonly at: Nanos } | undefined;
  #deadline: Nanos | undefined;
  #retries = 0;
  /** Where the latest frame of ours stands among the frames for the card. */
  #position: number | undefined;

  constructor(shared: TcpShared, ends: TcpEnds, user: TcpUser, syn: Segment | undefined) {
    this.#shared = shared;
    this.ends = ends;
    this.#user = user;
    this.lastHeard = shared.clock.now();
    this.#alarm = shared.clock.createAlarm(() => this.#onAlarm());
    this.#ackAlarm = shared.clock.createAlarm(() => this.#acknowledgeLate());
    this.#buffer = new SendBuffer(TCP_WINDOW, shared.sendBudget);
    this.#iss = shared.random() | 0;
    this.#bufferSeq = seqAdd(this.#iss, 1);
    this.#sndUna = this.#iss;
    this.#sndNxt = this.#iss;
    this.#sndMax = this.#iss;
    if (syn === undefined) {
      this.#state = 'syn-sent';
      this.#sendSyn();
    } else {
      this.#state = 'waiting';
      this.#takeSyn(syn);
    }
  }

  get state(): string {
    return this.#state;
  }

  #takeSyn(syn: Segment): void {
    this.#rcvNxt = seqAdd(syn.seq, 1);
    this.#rcvEdge = this.#rcvNxt;
    const header = (this.ends.guest.length === 4 ? IPV4_HEADER : IPV6_HEADER) + TCP_HEADER;
    this.#mss = Math.max(SMALLEST_MSS, Math.min(MTU - header, syn.mss ?? DEFAULT_MSS));
    if (syn.windowShift !== undefined) {
      this.#sndShift = syn.windowShift;
      this.#rcvShift = WINDOW_SHIFT;
    }
    // The window of a SYN is never scaled (RFC 7323, 2.2).
    this.#sndWnd = syn.window;
    this.#sndWndMax = syn.window;
    this.#sndWl1 = syn.seq;
    this.#sndWl2 = this.#iss;
  }

  // --- The user's side ---

  /** Answers the guest's SYN. */
  accept(): void {
    if (this.#state === 'waiting') {
      this.#state = 'syn-received';
      this.#sendSyn();
    }
  }

  /** Bytes for the guest. Returns how many were taken; when these are not all, `room` will be called. */
  write(bytes: Uint8Array): number {
    if (this.#state === 'closed' || this.#state === 'time-wait' || this.#finQueued) {
      return bytes.length; // Nobody is there to read them.
    }
    const taken = this.#buffer.append(bytes);
    this.#writeRefused = taken < bytes.length;
    this.#shared.touch(this);
    return taken;
  }

  /** Bytes that `write` would take if all of the network had room for them. */
  get space(): number {
    return this.#buffer.space;
  }

  /** Bytes that the guest has not acknowledged yet. */
  get unacknowledged(): number {
    return this.#buffer.length;
  }

  /** Nothing more will be written. */
  finish(): void {
    if (!this.#finQueued && this.#state !== 'closed' && this.#state !== 'time-wait') {
      this.#finQueued = true;
      this.#shared.touch(this);
    }
  }

  /** Bytes that `data` gave are dealt with, and others may come. */
  consumed(count: number): void {
    const freed = Math.min(count, this.#unconsumed);
    this.#unconsumed -= freed;
    this.#shared.receiveBudget.give(freed);
    if (this.#state !== 'open' || this.#guestFinished) {
      return;
    }
    const known = seqDiff(this.#rcvEdge, this.#rcvNxt);
    const wider = this.#widest - this.#unconsumed - known;
    if (wider >= WINDOW_UPDATE || (known < 2 * this.#mss && wider >= this.#mss)) {
      this.#ackPending = true;
      this.#shared.touch(this);
    }
  }

  get #widest(): number {
    return this.#shared.receiveBudget.isTight ? TIGHT_WINDOW : TCP_WINDOW;
  }

  /** Ends the connection with a reset; the user hears nothing more. */
  abort(): void {
    if (this.#state === 'closed') {
      return;
    }
    if (this.#state !== 'time-wait') {
      this.#send(this.#sndNxt, 0, 0, TCP_RST | TCP_ACK);
    }
    this.#forget();
  }

  /** Ends the connection without a word to the guest, which has forgotten it. */
  vanish(): void {
    if (this.#state === 'time-wait') {
      this.#forget();
    } else if (this.#state !== 'closed') {
      this.#end('reset');
    }
  }

  /** Ends the connection without a word to anybody. */
  dispose(): void {
    if (this.#state !== 'closed') {
      this.#forget();
    }
  }

  #forget(): void {
    this.#state = 'closed';
    this.#alarm.dispose();
    this.#ackAlarm.dispose();
    this.#deadline = undefined;
    this.#buffer.free();
    this.#early.clear();
    this.#shared.receiveBudget.give(this.#unconsumed);
    this.#unconsumed = 0;
    this.#shared.remove(this);
  }

  #end(end: TcpEnd): void {
    this.#forget();
    this.#user.closed(end);
  }

  // --- Segments of the guest ---

  /** A segment that belongs to this connection. */
  receive(segment: Segment): void {
    this.lastHeard = this.#shared.clock.now();
    switch (this.#state) {
      case 'closed':
        return;
      case 'waiting':
        // A repeated SYN waits with the first one.
        if ((segment.flags & TCP_RST) !== 0) {
          this.#end('reset');
        }
        return;
      case 'syn-sent':
        this.#receiveInSynSent(segment);
        return;
      default:
        this.#receiveSynchronized(segment);
    }
  }

  #receiveInSynSent(segment: Segment): void {
    const { flags, ack } = segment;
    const acceptable = (flags & TCP_ACK) !== 0 && ack === seqAdd(this.#iss, 1);
    if ((flags & TCP_RST) !== 0) {
      if (acceptable) {
        this.#end('reset');
      }
      return;
    }
    if (!acceptable) {
      if ((flags & TCP_ACK) !== 0) {
        this.#send(ack, 0, 0, TCP_RST);
      }
      return;
    }
    if ((flags & TCP_SYN) !== 0) {
      this.#takeSyn(segment);
      this.#rcvEdge = seqAdd(this.#rcvNxt, 0xffff); // what our SYN offered
      this.#sndUna = ack;
      this.#established();
      this.#ackPending = true;
      this.#shared.touch(this);
    }
  }

  #established(): void {
    this.#state = 'open';
    this.#retries = 0;
    this.#disarm();
    this.#user.opened();
  }

  #receiveSynchronized(segment: Segment): void {
    const { flags } = segment;
    const window = Math.max(0, seqDiff(this.#rcvEdge, this.#rcvNxt));
    const length = segment.data.length + ((flags & TCP_FIN) !== 0 ? 1 : 0) + ((flags & TCP_SYN) !== 0 ? 1 : 0);
    const first = seqDiff(segment.seq, this.#rcvNxt);
    const last = first + Math.max(length, 1) - 1;
    const acceptable =
      length === 0 ? first === 0 || (first > 0 && first < window) : window > 0 && first < window && last >= 0;
    if ((flags & TCP_RST) !== 0) {
      // RFC 5961, section 3: only the exact number resets; others are asked back.
      if (first === 0) {
        this.#end('reset');
      } else if (acceptable) {
        this.#acknowledgeNow();
      }
      return;
    }
    if ((flags & TCP_SYN) !== 0) {
      if (this.#state === 'syn-received' && first === -1) {
        this.#sendSyn();
      } else {
        this.#acknowledgeNow();
      }
      return;
    }
    if ((flags & TCP_ACK) === 0) {
      return;
    }
    // A segment outside the window may still acknowledge: a probe of a closed window does.
    if (!acceptable) {
      this.#acknowledgeNow();
      if (first > 0) {
        return;
      }
    }
    if (this.#state === 'syn-received') {
      if (segment.ack !== seqAdd(this.#iss, 1)) {
        this.#send(segment.ack, 0, 0, TCP_RST);
        return;
      }
      this.#sndUna = segment.ack;
      this.#updateWindow(segment);
      this.#established();
      if (this.#isClosed()) {
        return;
      }
    } else if (!this.#acknowledged(segment)) {
      return;
    }
    if (this.#state === 'open' && acceptable) {
      this.#receiveData(segment, first, window);
    }
    if (!this.#isClosed()) {
      this.#shared.touch(this);
    }
  }

  #isClosed(): boolean {
    return this.#state === 'closed';
  }

  #updateWindow(segment: Segment): void {
    const { seq, ack } = segment;
    if (seqDiff(this.#sndWl1, seq) < 0 || (this.#sndWl1 === seq && seqDiff(this.#sndWl2, ack) <= 0)) {
      this.#sndWnd = segment.window << this.#sndShift;
      this.#sndWndMax = Math.max(this.#sndWndMax, this.#sndWnd);
      this.#sndWl1 = seq;
      this.#sndWl2 = ack;
    }
  }

  /** Takes the acknowledgement of a segment; false when the segment is to be dropped or the connection is over. */
  #acknowledged(segment: Segment): boolean {
    const { ack } = segment;
    if (seqDiff(ack, this.#sndMax) > 0) {
      this.#acknowledgeNow(); // of something that was never sent
      return false;
    }
    const fresh = seqDiff(ack, this.#sndUna);
    const windowBefore = this.#sndWnd;
    if (fresh >= 0) {
      this.#updateWindow(segment);
    }
    if (fresh > 0) {
      this.#newlyAcknowledged(ack, fresh);
      return !this.#isClosed();
    }
    const outstanding = this.#sndMax !== this.#sndUna;
    if (fresh === 0 && (windowBefore === 0 || this.#sndWnd === 0)) {
      this.#retries = 0; // the guest is there, and answers probes
      if (this.#sndWnd !== 0) {
        this.#disarm();
        if (outstanding) {
          this.#arm();
        }
      }
    } else if (fresh === 0 && outstanding && segment.data.length === 0 && this.#sndWnd === windowBefore) {
      if ((segment.flags & TCP_FIN) === 0) {
        this.#duplicateAck();
      }
    }
    return true;
  }

  #newlyAcknowledged(ack: number, fresh: number): void {
    this.#sndUna = ack;
    if (seqDiff(this.#sndNxt, ack) < 0) {
      this.#sndNxt = ack;
    }
    const bytes = Math.min(Math.max(0, seqDiff(ack, this.#bufferSeq)), this.#buffer.length);
    this.#buffer.drop(bytes);
    this.#bufferSeq = seqAdd(this.#bufferSeq, bytes);
    this.#retries = 0;
    if (this.#beforeTimeout !== undefined) {
      if (fresh > this.#mss) {
        // More than was repeated has arrived: the guest was slow, and nothing was lost.
        this.#congestion = this.#beforeTimeout.congestion;
        this.#threshold = this.#beforeTimeout.threshold;
      }
      this.#beforeTimeout = undefined;
    }
    if (this.#timed !== undefined && seqDiff(ack, this.#timed.seq) >= 0) {
      this.#roundTrip.measured(this.#shared.clock.now() - this.#timed.at);
      this.#timed = undefined;
    }
    if (this.#recover !== undefined) {
      if (seqDiff(ack, this.#recover) >= 0) {
        this.#recover = undefined;
        this.#congestion = this.#threshold;
      } else {
        // RFC 6582: a partial acknowledgement says that the next segment is lost too.
        this.#retransmit();
        this.#congestion = Math.max(this.#mss, this.#congestion - fresh + this.#mss);
      }
    } else if (this.#congestion < TCP_WINDOW) {
      this.#congestion +=
        this.#congestion < this.#threshold
          ? Math.min(fresh, 2 * this.#mss)
          : Math.max(1, Math.floor((this.#mss * this.#mss) / this.#congestion));
    }
    this.#duplicates = 0;
    this.#disarm();
    if (this.#sndMax !== this.#sndUna) {
      this.#arm();
    }
    const finAcked = this.#finQueued && ack === seqAdd(this.#finSeq, 1);
    if (finAcked && this.#guestFinished) {
      this.#end('done'); // LAST-ACK; the guest waits out the rest
      return;
    }
    if (this.#writeRefused && this.#buffer.space >= TCP_WINDOW / 2) {
      this.#writeRefused = false;
      this.#user.room();
    }
  }

  get #finSeq(): number {
    return seqAdd(this.#bufferSeq, this.#buffer.length);
  }

  #duplicateAck(): void {
    this.#duplicates++;
    if (this.#recover !== undefined) {
      this.#congestion += this.#mss;
    } else if (this.#duplicates === DUPLICATE_ACKS) {
      this.#loss();
      this.#congestion = this.#threshold + DUPLICATE_ACKS * this.#mss;
      this.#recover = this.#sndMax;
      this.#retransmit();
    }
  }

  /** Half of what was under way was too much. */
  #loss(): void {
    this.#threshold = Math.max(2 * this.#mss, seqDiff(this.#sndMax, this.#sndUna) >> 1);
    this.#timed = undefined; // RFC 6298, section 3: no measuring with segments that are sent twice
  }

  #receiveData(segment: Segment, first: number, window: number): void {
    const { flags } = segment;
    let { data } = segment;
    let fin = (flags & TCP_FIN) !== 0;
    if (this.#guestFinished) {
      if (data.length > 0 || fin) {
        this.#acknowledgeNow();
      }
      return;
    }
    let at = first;
    if (at < 0) {
      data = data.subarray(Math.min(-at, data.length));
      at = 0;
    }
    if (at + data.length > window) {
      data = data.subarray(0, Math.max(0, window - at));
      fin = false;
    }
    if (at > 0) {
      if (data.length > 0) {
        this.#early.add(seqAdd(this.#rcvNxt, at), data);
      }
      if (fin) {
        this.#early.fin = seqAdd(this.#rcvNxt, at + data.length);
      }
      this.#acknowledgeNow();
      return;
    }
    if (data.length > 0) {
      this.#deliver(data);
      for (
        let bytes = this.#early.next(this.#rcvNxt);
        bytes !== undefined && !this.#isClosed();
        bytes = this.#early.next(this.#rcvNxt)
      ) {
        this.#deliver(bytes);
      }
    }
    if (this.#isClosed()) {
      return;
    }
    if (fin || this.#early.fin === this.#rcvNxt) {
      this.#rcvNxt = seqAdd(this.#rcvNxt, 1);
      this.#ackPending = true;
      this.#guestFinished = true;
      this.#early.clear();
      this.#user.finished();
      if (!this.#isClosed() && this.#finQueued && this.#sndUna === seqAdd(this.#finSeq, 1)) {
        this.#timeWait();
      }
    }
  }

  #deliver(bytes: Uint8Array): void {
    this.#rcvNxt = seqAdd(this.#rcvNxt, bytes.length);
    this.#unconsumed += bytes.length;
    this.#shared.receiveBudget.add(bytes.length);
    if (seqDiff(this.#rcvNxt, this.#acknowledgedSeq) >= ACK_SEGMENTS * this.#mss) {
      this.#ackPending = true;
    } else if (this.#ackAlarm.deadline === undefined) {
      this.#ackAlarm.set(this.#shared.clock.now() + ACK_DELAY_NANOS);
    }
    this.#user.data(bytes);
  }

  #acknowledgeLate(): void {
    if (seqDiff(this.#rcvNxt, this.#acknowledgedSeq) > 0) {
      this.#ackPending = true;
      this.#shared.touch(this);
    }
  }

  #timeWait(): void {
    this.#acknowledgeNow();
    this.#state = 'time-wait';
    this.#buffer.free();
    this.#setDeadline(this.#shared.clock.now() + TIME_WAIT_NANOS);
    this.#user.closed('done');
  }

  /** The other side asks with a new SYN for a connection with the same ends, which this one stands no longer for. */
  canBeReplacedBy(syn: Segment): boolean {
    return this.#state === 'time-wait' && seqDiff(syn.seq, this.#rcvNxt) > 0;
  }

  // --- Segments for the guest ---

  /** Sends what is to be sent; called when the packets at hand were handled, and when there is room again. */
  flush(): void {
    if (this.#state === 'open') {
      this.#output();
    }
    if (this.#ackPending && this.#state !== 'closed' && this.#state !== 'waiting') {
      this.#send(this.#sndNxt, 0, 0, TCP_ACK);
    }
  }

  #output(): void {
    const { offloads } = this.#shared.link.sink;
    const cut = this.ends.guest.length === 4 ? offloads.segment4 : offloads.segment6;
    const largest = cut ? LARGEST_SEGMENT - (LARGEST_SEGMENT % this.#mss) : this.#mss;
    for (;;) {
      const offset = seqDiff(this.#sndNxt, this.#bufferSeq);
      const pending = this.#buffer.length - offset;
      if (pending < 0 || (pending === 0 && !this.#finQueued)) {
        return; // also when the FIN is sent
      }
      const underWay = seqDiff(this.#sndNxt, this.#sndUna);
      const usable = Math.min(this.#sndWnd, this.#congestion) - underWay;
      const length = Math.max(0, Math.min(pending, usable, largest));
      const fin = this.#finQueued && length === pending && usable > length;
      if (length === 0 && !fin) {
        if (underWay === 0 && this.#deadline === undefined) {
          this.#arm(); // the window is closed: probe it
        }
        return;
      }
      // RFC 9293, 3.8.6.2.1: no small segment because of a small window, unless nothing else is under way.
      if (length < pending && length < this.#mss && underWay > 0 && length < this.#sndWndMax / 2) {
        return;
      }
      const flags = TCP_ACK | (length === pending ? TCP_PSH : 0) | (fin ? TCP_FIN : 0);
      if (!this.#send(this.#sndNxt, offset, length, flags)) {
        if (this.#deadline === undefined) {
          this.#arm();
        }
        return;
      }
      this.#sndNxt = seqAdd(this.#sndNxt, length + (fin ? 1 : 0));
      if (seqDiff(this.#sndNxt, this.#sndMax) > 0) {
        this.#timed ??= { seq: this.#sndNxt, at: this.#shared.clock.now() };
        this.#sndMax = this.#sndNxt;
      }
      if (this.#deadline === undefined) {
        this.#arm();
      }
    }
  }

  /** Sends the oldest segment once more. */
  #retransmit(): void {
    const offset = seqDiff(this.#sndUna, this.#bufferSeq);
    const length = Math.min(this.#mss, this.#buffer.length - offset);
    const fin = this.#finQueued && offset + length === this.#buffer.length;
    if (length > 0 || fin) {
      this.#send(this.#sndUna, offset, Math.max(0, length), TCP_ACK | TCP_PSH | (fin ? TCP_FIN : 0));
    }
  }

  #sendSyn(): void {
    const header = (this.ends.guest.length === 4 ? IPV4_HEADER : IPV6_HEADER) + TCP_HEADER;
    const mss = MTU - header;
    const options = Uint8Array.of(2, 4, mss >> 8, mss & 0xff, 1, 3, 3, WINDOW_SHIFT);
    // The answer to a SYN without a window shift has none either.
    const scaled = this.#state === 'syn-sent' || this.#rcvShift !== 0;
    const flags = TCP_SYN | (this.#state === 'syn-sent' ? 0 : TCP_ACK);
    this.#send(this.#iss, 0, 0, flags, scaled ? options : options.subarray(0, 4));
    if (this.#sndMax === this.#iss) {
      this.#sndNxt = seqAdd(this.#iss, 1);
      this.#sndMax = this.#sndNxt;
    }
    if (this.#deadline === undefined) {
      this.#arm();
    }
  }

  #acknowledgeNow(): void {
    this.#send(this.#sndNxt, 0, 0, TCP_ACK);
  }

  /** The window field, and the edge it moves to the right. */
  #window(syn: boolean): number {
    const known = Math.max(0, seqDiff(this.#rcvEdge, this.#rcvNxt));
    const shift = syn ? 0 : this.#rcvShift;
    // What was offered once is never taken back.
    const open = Math.max(known, this.#widest - this.#unconsumed);
    const wanted = open - known < this.#mss && known > 0 ? known : open;
    // Rounded up: rounding down would take back what was offered.
    const field = Math.min(0xffff, (wanted + (1 << shift) - 1) >> shift);
    this.#rcvEdge = seqAdd(this.#rcvNxt, Math.max(known, field << shift));
    return field;
  }

  /** Sends one segment with `length` bytes from `offset` in the buffer; false when it cannot be sent now. */
  #send(seq: number, offset: number, length: number, flags: number, options?: Uint8Array): boolean {
    const { link } = this.#shared;
    const { guest, guestPort, remote, remotePort } = this.ends;
    const header = TCP_HEADER + (options?.length ?? 0);
    const outgoing = link.packet(remote, guest, PROTOCOL_TCP, header + length);
    if (outgoing === undefined) {
      this.#shared.stalled(this);
      return false;
    }
    const { bytes, view, payload } = outgoing;
    view.setUint16(payload, remotePort);
    view.setUint16(payload + 2, guestPort);
    view.setInt32(payload + 4, seq);
    view.setInt32(payload + 8, (flags & TCP_ACK) !== 0 ? this.#rcvNxt : 0);
    view.setUint16(payload + 12, (header << 10) | flags);
    view.setUint16(payload + 14, (flags & TCP_RST) !== 0 ? 0 : this.#window((flags & TCP_SYN) !== 0));
    view.setUint32(payload + TCP_CHECKSUM, 0);
    if (options !== undefined) {
      bytes.set(options, payload + TCP_HEADER);
    }
    if (length > 0) {
      this.#buffer.copyTo(bytes, payload + header, offset, length);
    }
    link.sendTransport(outgoing, remote, guest, PROTOCOL_TCP, TCP_CHECKSUM, length > this.#mss ? this.#mss : 0);
    this.#position = link.sink.position;
    if ((flags & TCP_ACK) !== 0) {
      this.#ackPending = false;
      this.#acknowledgedSeq = this.#rcvNxt;
    }
    return true;
  }

  // --- Time ---

  #arm(): void {
    this.#setDeadline(this.#shared.clock.now() + this.#roundTrip.timeout);
  }

  /** The alarm stays where it is while it is early enough: moving it for every segment would cost too much. */
  #setDeadline(deadline: Nanos): void {
    this.#deadline = deadline;
    const set = this.#alarm.deadline;
    if (set === undefined || set > deadline) {
      this.#alarm.set(deadline);
    }
  }

  #disarm(): void {
    this.#deadline = undefined;
  }

  #onAlarm(): void {
    const deadline = this.#deadline;
    if (deadline === undefined) {
      return;
    }
    if (deadline > this.#shared.clock.now()) {
      this.#alarm.set(deadline);
      return;
    }
    this.#deadline = undefined;
    if (this.#state === 'time-wait') {
      this.#forget();
    } else if (this.#position !== undefined && !this.#shared.link.sink.hasBeenRead(this.#position)) {
      this.#arm(); // our frames have not reached the guest's card yet: it is slow, not deaf
    } else {
      this.#position = undefined;
      this.#timedOut();
    }
  }

  #timedOut(): void {
    this.#retries++;
    if (this.#state !== 'open') {
      if (this.#retries > MAX_SYN_RETRIES) {
        this.#end('timed-out');
        return;
      }
      this.#roundTrip.backOff();
      this.#sendSyn();
      return;
    }
    if (this.#retries > MAX_RETRIES) {
      this.#send(this.#sndNxt, 0, 0, TCP_RST | TCP_ACK);
      this.#end('timed-out');
      return;
    }
    this.#roundTrip.backOff();
    if (this.#sndWnd === 0) {
      this.#probe();
    } else if (this.#sndMax !== this.#sndUna) {
      this.#beforeTimeout ??= { congestion: this.#congestion, threshold: this.#threshold };
      this.#loss();
      this.#congestion = this.#mss;
      this.#recover = undefined;
      this.#duplicates = 0;
      // All that is under way counts as lost.
      this.#sndNxt = this.#sndUna;
      this.#output();
    } else {
      this.#output();
    }
    if (this.#deadline === undefined && (this.#buffer.length > 0 || this.#sndMax !== this.#sndUna)) {
      this.#arm();
    }
  }

  /** RFC 9293, 3.8.6.1: one byte beyond the closed window, so that the guest says again how wide it is. */
  #probe(): void {
    const offset = seqDiff(this.#sndUna, this.#bufferSeq);
    const length = Math.min(1, Math.max(0, this.#buffer.length - offset));
    const fin = length === 0 && this.#finQueued;
    if (length > 0 || fin) {
      this.#send(this.#sndUna, offset, length, TCP_ACK | (fin ? TCP_FIN : 0));
      const end = seqAdd(this.#sndUna, 1);
      if (seqDiff(end, this.#sndMax) > 0) {
        this.#sndMax = end;
      }
    }
    this.#arm();
  }
}
