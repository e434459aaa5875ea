import type { Clock, Nanos } from '../../clock/clock.ts';
import type { IpAddress } from '../address.ts';
import type { GuestLink } from '../guest-link.ts';
import { MovingAlarm } from './moving-alarm.ts';
import { RoundTrip } from './round-trip.ts';
import { type Segment, TCP_ACK, TCP_FIN, TCP_PSH } from './segment.ts';
import { type MemoryBudget, SendBuffer } from './send-buffer.ts';
import { seqAdd, seqDiff } from './sequence.ts';
import { mssFor, TCP_WINDOW } from './tcp-limits.ts';

/** The most data in a segment that the card is to cut. */
const LARGEST_SEGMENT = 64000;
const MAX_SYN_RETRIES = 5;
const MAX_RETRIES = 10;
const DUPLICATE_ACKS = 3;

export interface SenderOwner {
  /** Sends a segment with `length` bytes of the buffer from `offset` on; false when it cannot be sent now. */
  send(seq: number, offset: number, length: number, flags: number): boolean;
  /** Sends the SYN once more. */
  sendSyn(): void;
  /** The guest does not answer any more. */
  gaveUp(): void;
  /** There is room again after a `write` that took less than it was given. */
  room(): void;
}

/** What the connections of a network share for sending. */
export interface SenderParts {
  readonly link: GuestLink;
  readonly clock: Clock;
  readonly sendBudget: MemoryBudget;
}

/**
 * The sending half of a connection: what goes to the guest, its window, and what is lost on the way (RFC 9293, 3.8;
 * congestion control by RFC 5681 and RFC 6582).
 */
export class TcpSender {
  /** The initial sequence number. */
  readonly iss: number;
  /** The next sequence number to send. */
  next: number;
  readonly buffer: SendBuffer;
  readonly #parts: SenderParts;
  readonly #guest: IpAddress;
  readonly #owner: SenderOwner;
  readonly #retransmission: MovingAlarm;
  readonly #roundTrip = new RoundTrip();
  #established = false;
  /** Sequence number of the first byte in the buffer. */
  #bufferSeq: number;
  /** The oldest that is not acknowledged. */
  #una: number;
  /** One past the last byte ever sent. */
  #max: number;
  #window = 0;
  #widestWindow = 0;
  /** Sequence and acknowledgement number of the segment that the window is from. */
  #windowSeq = 0;
  #windowAck = 0;
  #shift = 0;
  #mss: number;
  #congestion = TCP_WINDOW;
  #threshold = TCP_WINDOW;
  #duplicates = 0;
  /** Fast recovery lasts until this is acknowledged. */
  #recover: number | undefined;
  /** What a timeout took away, until it is known whether anything was lost. */
  #beforeTimeout: { readonly congestion: number; readonly threshold: number } | undefined;
  #finQueued = false;
  #writeRefused = false;
  #timed: { readonly seq: number; readonly at: Nanos } | undefined;
  #retries = 0;
  /** Where the latest frame of ours stands among the frames for the card. */
  #position: number | undefined;

  constructor(parts: SenderParts, guest: IpAddress, iss: number, owner: SenderOwner) {
    this.#parts = parts;
    this.#guest = guest;
    this.#owner = owner;
    this.iss = iss;
    this.buffer = new SendBuffer(TCP_WINDOW, parts.sendBudget);
    this.#bufferSeq = seqAdd(iss, 1);
    this.#una = iss;
    this.next = iss;
    this.#max = iss;
    this.#mss = mssFor(guest, undefined);
    this.#retransmission = new MovingAlarm(parts.clock, () => this.#onAlarm());
  }

  /** The most data in a segment that is not to be cut. */
  get mss(): number {
    return this.#mss;
  }

  /** The guest's SYN has come. */
  start(syn: Segment): void {
    this.#mss = mssFor(this.#guest, syn.mss);
    this.#shift = syn.windowShift ?? 0;
    // The window of a SYN is never scaled (RFC 7323, 2.2).
    this.#window = syn.window;
    this.#widestWindow = syn.window;
    this.#windowSeq = syn.seq;
    this.#windowAck = this.iss;
  }

  /** Our SYN was sent. */
  synSent(): void {
    if (this.#max === this.iss) {
      this.next = seqAdd(this.iss, 1);
      this.#max = this.next;
    }
    this.#armIfIdle();
  }

  /** The guest has acknowledged our SYN. */
  established(): void {
    this.#una = seqAdd(this.iss, 1);
    this.#established = true;
    this.#retries = 0;
    this.#retransmission.cancel();
  }

  // --- The user ---

  /** Takes bytes for the guest as far as there is room; returns how many. */
  write(bytes: Uint8Array): number {
    const taken = this.buffer.append(bytes);
    this.#writeRefused = taken < bytes.length;
    return taken;
  }

  /** Nothing more will be written. */
  finish(): void {
    this.#finQueued = true;
  }

  get isFinishing(): boolean {
    return this.#finQueued;
  }

  /** The guest knows that nothing more will come. */
  get finAcknowledged(): boolean {
    return this.#finQueued && this.#una === seqAdd(this.#finSeq, 1);
  }

  get #finSeq(): number {
    return seqAdd(this.#bufferSeq, this.buffer.length);
  }

  // --- Acknowledgements ---

  /** A segment tells the width of the guest's window, unless a later one did so. */
  updateWindow({ seq, ack, window }: Segment): void {
    if (seqDiff(this.#windowSeq, seq) < 0 || (this.#windowSeq === seq && seqDiff(this.#windowAck, ack) <= 0)) {
      this.#window = window << this.#shift;
      this.#widestWindow = Math.max(this.#widestWindow, this.#window);
      this.#windowSeq = seq;
      this.#windowAck = ack;
    }
  }

  /** Takes the acknowledgement of a segment; false when it acknowledges what was never sent. */
  acknowledge(segment: Segment): boolean {
    const { ack } = segment;
    if (seqDiff(ack, this.#max) > 0) {
      return false;
    }
    const fresh = seqDiff(ack, this.#una);
    const windowBefore = this.#window;
    if (fresh >= 0) {
      this.updateWindow(segment);
    }
    if (fresh > 0) {
      this.#newlyAcknowledged(ack, fresh);
      return true;
    }
    const outstanding = this.#max !== this.#una;
    if (fresh === 0 && (windowBefore === 0 || this.#window === 0)) {
      this.#retries = 0; // the guest is there, and answers probes
      if (this.#window !== 0) {
        this.#rearm();
      }
    } else if (fresh === 0 && outstanding && segment.data.length === 0 && this.#window === windowBefore) {
      if ((segment.flags & TCP_FIN) === 0) {
        this.#duplicateAck();
      }
    }
    return true;
  }

  #newlyAcknowledged(ack: number, fresh: number): void {
    this.#una = ack;
    if (seqDiff(this.next, ack) < 0) {
      this.next = ack;
    }
    const bytes = Math.min(Math.max(0, seqDiff(ack, this.#bufferSeq)), this.buffer.length);
    this.buffer.drop(bytes);
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
      this.#roundTrip.measured(this.#parts.clock.now() - this.#timed.at);
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
    this.#rearm();
    if (this.#writeRefused && this.buffer.space >= TCP_WINDOW / 2) {
      this.#writeRefused = false;
      this.#owner.room();
    }
  }

  #duplicateAck(): void {
    this.#duplicates++;
    if (this.#recover !== undefined) {
      this.#congestion += this.#mss;
    } else if (this.#duplicates === DUPLICATE_ACKS) {
      this.#loss();
      this.#congestion = this.#threshold + DUPLICATE_ACKS * this.#mss;
      this.#recover = this.#max;
      this.#retransmit();
    }
  }

  /** Half of what was under way was too much. */
  #loss(): void {
    this.#threshold = Math.max(2 * this.#mss, seqDiff(this.#max, this.#una) >> 1);
    this.#timed = undefined; // RFC 6298, section 3: no measuring with segments that are sent twice
  }

  // --- Segments ---

  /** Sends what windows allow. */
  output(): void {
    const { offloads } = this.#parts.link.sink;
    const cut = this.#guest.length === 4 ? offloads.segment4 : offloads.segment6;
    const largest = cut ? LARGEST_SEGMENT - (LARGEST_SEGMENT % this.#mss) : this.#mss;
    for (;;) {
      const offset = seqDiff(this.next, this.#bufferSeq);
      const pending = this.buffer.length - offset;
      if (pending < 0 || (pending === 0 && !this.#finQueued)) {
        return; // also when the FIN is sent
      }
      const underWay = seqDiff(this.next, this.#una);
      const usable = Math.min(this.#window, this.#congestion) - underWay;
      const length = Math.max(0, Math.min(pending, usable, largest));
      const fin = this.#finQueued && length === pending && usable > length;
      if (length === 0 && !fin) {
        if (underWay === 0) {
          this.#armIfIdle(); // the window is closed: probe it
        }
        return;
      }
      // RFC 9293, 3.8.6.2.1: no small segment because of a small window, unless nothing else is under way.
      if (length < pending && length < this.#mss && underWay > 0 && length < this.#widestWindow / 2) {
        return;
      }
      const flags = TCP_ACK | (length === pending ? TCP_PSH : 0) | (fin ? TCP_FIN : 0);
      const sent = this.#owner.send(this.next, offset, length, flags);
      this.#armIfIdle();
      if (!sent) {
        return;
      }
      this.next = seqAdd(this.next, length + (fin ? 1 : 0));
      if (seqDiff(this.next, this.#max) > 0) {
        this.#timed ??= { seq: this.next, at: this.#parts.clock.now() };
        this.#max = this.next;
      }
    }
  }

  /** Sends the oldest segment once more. */
  #retransmit(): void {
    const offset = seqDiff(this.#una, this.#bufferSeq);
    const length = Math.min(this.#mss, this.buffer.length - offset);
    const fin = this.#finQueued && offset + length === this.buffer.length;
    if (length > 0 || fin) {
      this.#owner.send(this.#una, offset, Math.max(0, length), TCP_ACK | TCP_PSH | (fin ? TCP_FIN : 0));
    }
  }

  /** A frame of this connection went out: the place behind it in the stream of frames. */
  sentUpTo(position: number): void {
    this.#position = position;
  }

  // --- Time ---

  #armIfIdle(): void {
    if (!this.#retransmission.isSet) {
      this.#retransmission.set(this.#roundTrip.timeout);
    }
  }

  /** From the beginning, if anything is under way. */
  #rearm(): void {
    this.#retransmission.cancel();
    if (this.#max !== this.#una) {
      this.#armIfIdle();
    }
  }

  #onAlarm(): void {
    if (this.#position !== undefined && !this.#parts.link.sink.hasBeenRead(this.#position)) {
      this.#armIfIdle(); // our frames have not reached the guest's card yet: it is slow, not deaf
      return;
    }
    this.#position = undefined;
    this.#retries++;
    if (this.#retries > (this.#established ? MAX_RETRIES : MAX_SYN_RETRIES)) {
      this.#owner.gaveUp();
      return;
    }
    this.#roundTrip.backOff();
    if (!this.#established) {
      this.#owner.sendSyn();
      return;
    }
    if (this.#window === 0) {
      this.#probe();
    } else {
      if (this.#max !== this.#una) {
        this.#allLost();
      }
      this.output();
    }
    if (this.buffer.length > 0 || this.#max !== this.#una) {
      this.#armIfIdle();
    }
  }

  /** All that is under way counts as lost. */
  #allLost(): void {
    this.#beforeTimeout ??= { congestion: this.#congestion, threshold: this.#threshold };
    this.#loss();
    this.#congestion = this.#mss;
    this.#recover = undefined;
    this.#duplicates = 0;
    this.next = this.#una;
  }

  /** RFC 9293, 3.8.6.1: one byte beyond the closed window, so that the guest says again how wide it is. */
  #probe(): void {
    const offset = seqDiff(this.#una, this.#bufferSeq);
    const length = Math.min(1, Math.max(0, this.buffer.length - offset));
    const fin = length === 0 && this.#finQueued;
    if (length > 0 || fin) {
      this.#owner.send(this.#una, offset, length, TCP_ACK | (fin ? TCP_FIN : 0));
      const end = seqAdd(this.#una, 1);
      if (seqDiff(end, this.#max) > 0) {
        this.#max = end;
      }
    }
    this.#armIfIdle();
  }

  /** Nothing is sent any more; what was not acknowledged is lost. */
  close(): void {
    this.#retransmission.dispose();
    this.buffer.free();
  }
}
