import type { Clock, Nanos } from '../../clock/clock.ts';
import type { IpAddress } from '../address.ts';
import type { GuestLink } from '../guest-link.ts';
import { PROTOCOL_TCP } from '../packet.ts';
import { MovingAlarm } from './moving-alarm.ts';
import { type Segment, TCP_ACK, TCP_CHECKSUM, TCP_FIN, TCP_HEADER, TCP_RST, TCP_SYN } from './segment.ts';
import type { MemoryBudget } from './send-buffer.ts';
import { seqAdd, seqDiff } from './sequence.ts';
import { largestMss, mssFor } from './tcp-limits.ts';
import { TcpReceiver, WINDOW_SHIFT } from './tcp-receiver.ts';
import { TcpSender } from './tcp-sender.ts';

/** Short, as nothing strays on the way to the guest; long enough for a FIN to be repeated. */
const TIME_WAIT_NANOS: Nanos = 5e9;
/** What the window field of a SYN can say. */
const UNSCALED_WINDOW = 0xffff;

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
 * One connection with the guest (RFC 9293), seen from the network's side: the states and the segments of a connection.
 * What is sent is the business of a TcpSender, what is received that of a TcpReceiver.
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
  readonly #sender: TcpSender;
  readonly #receiver: TcpReceiver;
  #timeWaitAlarm: MovingAlarm | undefined;
  #state: 'waiting' | 'syn-sent' | 'syn-received' | 'open' | 'time-wait' | 'closed';

  constructor(shared: TcpShared, ends: TcpEnds, user: TcpUser, syn: Segment | undefined) {
    this.#shared = shared;
    this.ends = ends;
    this.#user = user;
    this.lastHeard = shared.clock.now();
    this.#sender = new TcpSender(shared, ends.guest, shared.random() | 0, {
      send: (seq, offset, length, flags) => this.#send(seq, offset, length, flags),
      sendSyn: () => this.#sendSyn(),
      gaveUp: () => this.#gaveUp(),
      room: () => this.#user.room(),
    });
    this.#receiver = new TcpReceiver(shared.clock, shared.receiveBudget, mssFor(ends.guest, undefined), {
      data: (bytes) => this.#user.data(bytes),
      wantFlush: () => shared.touch(this),
    });
    if (syn === undefined) {
      this.#state = 'syn-sent';
      this.#sendSyn();
    } else {
      this.#state = 'waiting';
      this.#takeSyn(syn, 0);
    }
  }

  get state(): string {
    return this.#state;
  }

  #takeSyn(syn: Segment, offered: number): void {
    this.#sender.start(syn);
    this.#receiver.start(syn, this.#sender.mss, offered);
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
    if (this.#isOver || this.#sender.isFinishing) {
      return bytes.length; // Nobody is there to read them.
    }
    const taken = this.#sender.write(bytes);
    this.#shared.touch(this);
    return taken;
  }

  /** Bytes that `write` would take if all of the network had room for them. */
  get space(): number {
    return this.#sender.buffer.space;
  }

  /** Bytes that the guest has not acknowledged yet. */
  get unacknowledged(): number {
    return this.#sender.buffer.length;
  }

  /** Nothing more will be written. */
  finish(): void {
    if (!this.#isOver && !this.#sender.isFinishing) {
      this.#sender.finish();
      this.#shared.touch(this);
    }
  }

  /** Bytes that `data` gave are dealt with, and others may come. */
  consumed(count: number): void {
    this.#receiver.consumed(count);
  }

  /** Ends the connection with a reset; the user hears nothing more. */
  abort(): void {
    if (this.#state === 'closed') {
      return;
    }
    if (this.#state !== 'time-wait') {
      this.#send(this.#sender.next, 0, 0, TCP_RST | TCP_ACK);
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
    this.#timeWaitAlarm?.dispose();
    this.#sender.close();
    this.#receiver.close();
    this.#shared.remove(this);
  }

  #end(end: TcpEnd): void {
    this.#forget();
    this.#user.closed(end);
  }

  #gaveUp(): void {
    if (this.#state === 'open') {
      this.#send(this.#sender.next, 0, 0, TCP_RST | TCP_ACK);
    }
    this.#end('timed-out');
  }

  get #isOver(): boolean {
    return this.#state === 'closed' || this.#state === 'time-wait';
  }

  #isClosed(): boolean {
    return this.#state === 'closed';
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
    const acceptable = (flags & TCP_ACK) !== 0 && ack === seqAdd(this.#sender.iss, 1);
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
      this.#takeSyn(segment, UNSCALED_WINDOW);
      this.#established();
      this.#receiver.ackPending = true;
      this.#shared.touch(this);
    }
  }

  #established(): void {
    this.#state = 'open';
    this.#sender.established();
    this.#user.opened();
  }

  #receiveSynchronized(segment: Segment): void {
    const { flags } = segment;
    const { window, next } = this.#receiver;
    const length = segment.data.length + ((flags & TCP_FIN) !== 0 ? 1 : 0) + ((flags & TCP_SYN) !== 0 ? 1 : 0);
    const first = seqDiff(segment.seq, next);
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
    if (!this.#takeAcknowledgement(segment)) {
      return;
    }
    if (this.#state === 'open' && acceptable) {
      this.#receiveData(segment, first);
    }
    if (!this.#isClosed()) {
      this.#shared.touch(this);
    }
  }

  /** False: the segment is to be dropped, or the connection is over. */
  #takeAcknowledgement(segment: Segment): boolean {
    if (this.#state === 'syn-received') {
      if (segment.ack !== seqAdd(this.#sender.iss, 1)) {
        this.#send(segment.ack, 0, 0, TCP_RST);
        return false;
      }
      this.#sender.updateWindow(segment);
      this.#established();
      return !this.#isClosed();
    }
    if (!this.#sender.acknowledge(segment)) {
      this.#acknowledgeNow(); // of something that was never sent
      return false;
    }
    if (this.#state === 'open' && this.#sender.finAcknowledged && this.#receiver.finished) {
      this.#end('done'); // LAST-ACK; the guest waits out the rest
    }
    return !this.#isClosed();
  }

  #receiveData(segment: Segment, first: number): void {
    const received = this.#receiver.receive(segment, first);
    if (this.#isClosed()) {
      return;
    }
    if (received === 'acknowledge-now') {
      this.#acknowledgeNow();
    } else if (received === 'finished') {
      this.#user.finished();
      if (!this.#isClosed() && this.#sender.finAcknowledged) {
        this.#timeWait();
      }
    }
  }

  #timeWait(): void {
    this.#acknowledgeNow();
    this.#state = 'time-wait';
    this.#sender.close();
    this.#timeWaitAlarm = new MovingAlarm(this.#shared.clock, () => this.#forget());
    this.#timeWaitAlarm.set(TIME_WAIT_NANOS);
    this.#user.closed('done');
  }

  /** The other side asks with a new SYN for a connection with the same ends, which this one stands no longer for. */
  canBeReplacedBy(syn: Segment): boolean {
    return this.#state === 'time-wait' && seqDiff(syn.seq, this.#receiver.next) > 0;
  }

  // --- Segments for the guest ---

  /** Sends what is to be sent; called when the packets at hand were handled, and when there is room again. */
  flush(): void {
    if (this.#state === 'open') {
      this.#sender.output();
    }
    if (this.#receiver.ackPending && this.#state !== 'closed' && this.#state !== 'waiting') {
      this.#acknowledgeNow();
    }
  }

  #acknowledgeNow(): void {
    this.#send(this.#sender.next, 0, 0, TCP_ACK);
  }

  #sendSyn(): void {
    const mss = largestMss(this.ends.guest);
    const options = Uint8Array.of(2, 4, mss >> 8, mss & 0xff, 1, 3, 3, WINDOW_SHIFT);
    // The answer to a SYN without a window shift has none either.
    const scaled = this.#state === 'syn-sent' || this.#receiver.scales;
    const flags = TCP_SYN | (this.#state === 'syn-sent' ? 0 : TCP_ACK);
    this.#send(this.#sender.iss, 0, 0, flags, scaled ? options : options.subarray(0, 4));
    this.#sender.synSent();
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
    const isAck = (flags & TCP_ACK) !== 0;
    view.setUint16(payload, remotePort);
    view.setUint16(payload + 2, guestPort);
    view.setInt32(payload + 4, seq);
    view.setInt32(payload + 8, isAck ? this.#receiver.next : 0);
    view.setUint16(payload + 12, (header << 10) | flags);
    view.setUint16(payload + 14, (flags & TCP_RST) !== 0 ? 0 : this.#receiver.windowField((flags & TCP_SYN) !== 0));
    view.setUint32(payload + TCP_CHECKSUM, 0);
    if (options !== undefined) {
      bytes.set(options, payload + TCP_HEADER);
    }
    if (length > 0) {
      this.#sender.buffer.copyTo(bytes, payload + header, offset, length);
    }
    const { mss } = this.#sender;
    link.sendTransport(outgoing, remote, guest, PROTOCOL_TCP, TCP_CHECKSUM, length > mss ? mss : 0);
    this.#sender.sentUpTo(link.sink.position);
    if (isAck) {
      this.#receiver.acknowledged();
    }
    return true;
  }
}
