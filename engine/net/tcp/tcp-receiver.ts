import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import { OutOfOrder } from './out-of-order.ts';
import { type Segment, TCP_FIN } from './segment.ts';
import type { MemoryBudget } from './send-buffer.ts';
import { seqAdd, seqDiff } from './sequence.ts';
import { TCP_WINDOW } from './tcp-limits.ts';

/** The window while all connections together wait with too much, and what each may hold in any case. */
const TIGHT_WINDOW = 32 << 10;
/** Our window shift: with it, the largest window field stands for more than TCP_WINDOW. */
export const WINDOW_SHIFT = 4;
/** So many segments of data are acknowledged together, or what has come within this time: acknowledgements cost guests. */
const ACK_SEGMENTS = 8;
const ACK_DELAY_NANOS: Nanos = 2e6;
/** A reader that opens its window by less than this is not told of at once. */
const WINDOW_UPDATE = 64 << 10;

export interface ReceiverOwner {
  /** Bytes in their order, valid during the call. */
  data(bytes: Uint8Array): void;
  /** An acknowledgement waits for the next flush. */
  wantFlush(): void;
}

/** What a segment led to. */
export type Received = 'in-order' | 'acknowledge-now' | 'finished';

/** The receiving half of a connection: what comes from the guest, and the window that it is offered (RFC 9293, 3.8.6). */
export class TcpReceiver {
  /** The sequence number that is expected next. */
  next = 0;
  /** The guest will send nothing more. */
  finished = false;
  /** To be acknowledged with the next flush. */
  ackPending = false;
  readonly #owner: ReceiverOwner;
  readonly #clock: Clock;
  readonly #budget: MemoryBudget;
  readonly #ackAlarm: Alarm;
  readonly #early = new OutOfOrder();
  /** The right edge of the window that the guest knows of. */
  #edge = 0;
  #shift = 0;
  #mss: number;
  #unconsumed = 0;
  /** The last acknowledgement that was sent. */
  #acknowledged = 0;
  #closed = false;

  constructor(clock: Clock, budget: MemoryBudget, mss: number, owner: ReceiverOwner) {
    this.#clock = clock;
    this.#budget = budget;
    this.#mss = mss;
    this.#owner = owner;
    this.#ackAlarm = clock.createAlarm(() => this.#acknowledgeLate());
  }

  /** The guest's SYN has come; `offered`: bytes that it may send by what our SYN said. */
  start(syn: Segment, mss: number, offered: number): void {
    this.next = seqAdd(syn.seq, 1);
    this.#edge = seqAdd(this.next, offered);
    this.#shift = syn.windowShift === undefined ? 0 : WINDOW_SHIFT;
    this.#mss = mss;
  }

  /** Windows are scaled, because the guest's SYN said that it can. */
  get scales(): boolean {
    return this.#shift !== 0;
  }

  /** Bytes that the guest may send by what it knows. */
  get window(): number {
    return Math.max(0, seqDiff(this.#edge, this.next));
  }

  /**
   * Takes what a segment brings that lies at least partly within the window; `first` counts from the byte that is
   * expected next. While data are handed on the connection may be closed.
   */
  receive(segment: Segment, first: number): Received {
    const window = this.window;
    let { data } = segment;
    let fin = (segment.flags & TCP_FIN) !== 0;
    if (this.finished) {
      return data.length > 0 || fin ? 'acknowledge-now' : 'in-order';
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
    if (data.length > 0 && !this.#mayHold(data.length)) {
      return 'acknowledge-now'; // as if it had been lost: the guest sends it again
    }
    if (at > 0) {
      this.#keep(at, data, fin);
      return 'acknowledge-now';
    }
    if (data.length > 0) {
      this.#deliver(data);
      this.#deliverEarly();
    }
    if (!this.#closed && (fin || this.#early.fin === this.next)) {
      this.next = seqAdd(this.next, 1);
      this.ackPending = true;
      this.finished = true;
      this.#forgetEarly();
      return 'finished';
    }
    return 'in-order';
  }

  /** Each connection may hold a little, and all of them together so much. */
  #mayHold(bytes: number): boolean {
    return this.#unconsumed + this.#early.held + bytes <= TIGHT_WINDOW || this.#budget.fits(bytes);
  }

  #keep(at: number, data: Uint8Array, fin: boolean): void {
    if (data.length > 0) {
      const before = this.#early.held;
      this.#early.add(seqAdd(this.next, at), data);
      this.#budget.add(this.#early.held - before);
    }
    if (fin) {
      this.#early.fin = seqAdd(this.next, at + data.length);
    }
  }

  #deliverEarly(): void {
    while (!this.#closed) {
      const before = this.#early.held;
      const bytes = this.#early.next(this.next);
      this.#budget.give(before - this.#early.held);
      if (bytes === undefined) {
        return;
      }
      this.#deliver(bytes);
    }
  }

  #forgetEarly(): void {
    this.#budget.give(this.#early.held);
    this.#early.clear();
  }

  #deliver(bytes: Uint8Array): void {
    this.next = seqAdd(this.next, bytes.length);
    this.#unconsumed += bytes.length;
    this.#budget.add(bytes.length);
    if (seqDiff(this.next, this.#acknowledged) >= ACK_SEGMENTS * this.#mss) {
      this.ackPending = true;
    } else if (this.#ackAlarm.deadline === undefined) {
      this.#ackAlarm.set(this.#clock.now() + ACK_DELAY_NANOS);
    }
    this.#owner.data(bytes);
  }

  #acknowledgeLate(): void {
    if (seqDiff(this.next, this.#acknowledged) > 0) {
      this.ackPending = true;
      this.#owner.wantFlush();
    }
  }

  /** Bytes that were handed on are dealt with, and others may come. */
  consumed(count: number): void {
    const freed = Math.min(count, this.#unconsumed);
    this.#unconsumed -= freed;
    this.#budget.give(freed);
    if (this.#closed || this.finished) {
      return;
    }
    const known = seqDiff(this.#edge, this.next);
    const wider = this.#widest - this.#unconsumed - known;
    if (wider >= WINDOW_UPDATE || (known < 2 * this.#mss && wider >= this.#mss)) {
      this.ackPending = true;
      this.#owner.wantFlush();
    }
  }

  get #widest(): number {
    return this.#budget.isTight ? TIGHT_WINDOW : TCP_WINDOW;
  }

  /** The window field of a segment that goes out now, and the edge that it moves to the right. */
  windowField(syn: boolean): number {
    const known = this.window;
    const shift = syn ? 0 : this.#shift;
    // What was offered once is never taken back.
    const open = Math.max(known, this.#widest - this.#unconsumed);
    const wanted = open - known < this.#mss && known > 0 ? known : open;
    // Rounded up: rounding down would take back what was offered.
    const field = Math.min(0xffff, (wanted + (1 << shift) - 1) >> shift);
    this.#edge = seqAdd(this.next, Math.max(known, field << shift));
    return field;
  }

  /** A segment with an acknowledgement went out. */
  acknowledged(): void {
    this.ackPending = false;
    this.#acknowledged = this.next;
  }

  /** Nothing more is taken; what was handed on no longer counts. */
  close(): void {
    this.#closed = true;
    this.#ackAlarm.dispose();
    this.#forgetEarly();
    this.#budget.give(this.#unconsumed);
    this.#unconsumed = 0;
  }
}
