import { GUEST_WINDOW_BYTES, type VsockPeer, type VsockStream } from '../../backends/vsock/vsock-backend.ts';
import { OP, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, type VsockHeader } from './vsock-layout.ts';

/** A packet for the guest, without what is the same for all packets of its connection. */
export interface Packet {
  readonly op: number;
  readonly flags: number;
  readonly data: Uint8Array | undefined;
}

/** What a connection needs of its device. */
export interface ConnectionOwner {
  /** There is something to send, or not any more. */
  changed(connection: VsockConnection): void;
  /** It is over; `reset` tells the guest so. */
  over(connection: VsockConnection, reset: boolean): void;
}

/**
 * One stream between a port of the guest and one of the host.
 *
 *     guest asks:  connecting ──host takes it──▶ open
 *     host asks:   requesting ──guest takes it─▶ open ──both have shut down──▶ (over)
 *
 * Each side lets the other send only what it has room for (section 5.10.6.3): the guest's room is in `#guestRoom`, ours
 * is GUEST_WINDOW_BYTES and frees up as the host takes bytes. All counts of bytes are modulo 2^32.
 */
export class VsockConnection implements VsockPeer {
  readonly guestPort: number;
  readonly hostPort: number;
  stream: VsockStream | undefined;
  readonly #owner: ConnectionOwner;
  #state: 'connecting' | 'requesting' | 'open';
  /** The guest's room, what has left it there, and what it was sent. */
  #guestBuffer = 0;
  #guestForwarded = 0;
  #sent = 0;
  /** What came from the guest, what the host has taken of it, and what the guest was told of that. */
  #received = 0;
  #forwarded = 0;
  #told = 0;
  /** Bytes for the guest. */
  readonly #waiting: Uint8Array[] = [];
  /** What the guest will not do any more, and what it was told that the host will not. */
  #guestShutdown = 0;
  #hostShutdown = 0;
  #shutdownSent = 0;
  /** Packets that are due. */
  #requestDue = false;
  #responseDue = false;
  #creditDue = false;
  /** The guest was asked for room. */
  #creditAsked = false;
  #over = false;

  constructor(guestPort: number, hostPort: number, asked: 'by-guest' | 'by-host', owner: ConnectionOwner) {
    this.guestPort = guestPort;
    this.hostPort = hostPort;
    this.#owner = owner;
    this.#state = asked === 'by-guest' ? 'connecting' : 'requesting';
    this.#requestDue = asked === 'by-host';
  }

  /** Nobody on the host has it any more; the guest was told and has not answered yet. */
  get lingers(): boolean {
    return this.stream === undefined && this.#shutdownSent === SHUTDOWN_BOTH;
  }

  get #guestRoom(): number {
    const used = (this.#sent - this.#guestForwarded) >>> 0;
    return Math.max(0, this.#guestBuffer - used);
  }

  // From the guest.

  /** Every packet tells what room there is. */
  takeCredit({ bufferBytes, forwarded }: VsockHeader): void {
    this.#guestBuffer = bufferBytes;
    this.#guestForwarded = forwarded;
    // A guest without room says so once; when there is some, it says so by itself.
    if (this.#guestRoom > 0) {
      this.#creditAsked = false;
    }
  }

  /** A packet of this connection. `data` is the packet's own; undefined when it is shorter than it says. */
  receive({ op, flags }: VsockHeader, data: Uint8Array<ArrayBuffer> | undefined): void {
    switch (op) {
      case OP.response:
        if (this.#state !== 'requesting' || this.#requestDue) {
          this.#end(true);
          return;
        }
        this.#state = 'open';
        this.stream?.accept(this.hostPort);
        break;
      case OP.reset:
        this.#end(false);
        return;
      case OP.shutdown:
        this.#shutDown(flags & SHUTDOWN_BOTH);
        break;
      case OP.data:
        this.#receiveData(data);
        break;
      case OP.creditUpdate:
        break;
      case OP.creditRequest:
        this.#creditDue = true;
        break;
      default:
        this.#end(true);
        return;
    }
    this.#owner.changed(this);
  }

  #receiveData(data: Uint8Array<ArrayBuffer> | undefined): void {
    const room = GUEST_WINDOW_BYTES - ((this.#received - this.#forwarded) >>> 0);
    const expected = this.#state === 'open' && (this.#guestShutdown & SHUTDOWN_SEND) === 0;
    if (data === undefined || !expected || data.length > room || this.stream === undefined) {
      this.#end(true);
      return;
    }
    this.#received = (this.#received + data.length) >>> 0;
    if (data.length > 0) {
      this.stream.write(data);
    }
  }

  #shutDown(flags: number): void {
    if (this.#state !== 'open') {
      this.#end(true);
      return;
    }
    const fresh = flags & ~this.#guestShutdown;
    this.#guestShutdown |= flags;
    if ((fresh & SHUTDOWN_SEND) !== 0) {
      this.stream?.end();
    }
    if ((fresh & SHUTDOWN_RECEIVE) !== 0) {
      this.stream?.taken(this.#waiting.splice(0).reduce((sum, { length }) => sum + length, 0));
    }
    this.#finish();
  }

  /** A guest that neither sends nor receives any more waits for a reset, which comes once the host has all its bytes. */
  #finish(): void {
    if (this.#guestShutdown === SHUTDOWN_BOTH && (this.stream === undefined || this.#received === this.#forwarded)) {
      this.#end(true);
    }
  }

  #end(reset: boolean): void {
    if (!this.#over) {
      this.#over = true;
      this.stream?.destroy();
      this.stream = undefined;
      this.#waiting.length = 0;
      this.#owner.over(this, reset);
    }
  }

  /** Without telling anybody. */
  drop(): void {
    this.#over = true;
    this.stream?.destroy();
    this.stream = undefined;
    this.#waiting.length = 0;
  }

  // From the host.

  opened(): void {
    if (!this.#over && this.#state === 'connecting') {
      this.#state = 'open';
      this.#responseDue = true;
      this.#owner.changed(this);
    }
  }

  data(bytes: Uint8Array): void {
    if (this.#over || bytes.length === 0) {
      return;
    }
    if ((this.#guestShutdown & SHUTDOWN_RECEIVE) !== 0) {
      this.stream?.taken(bytes.length);
      return;
    }
    this.#waiting.push(bytes);
    this.#owner.changed(this);
  }

  written(count: number): void {
    if (this.#over) {
      return;
    }
    this.#forwarded = (this.#forwarded + count) >>> 0;
    // The guest hears of room before it has used up what it knows of.
    if ((this.#received - this.#told) >>> 0 >= GUEST_WINDOW_BYTES / 2) {
      this.#creditDue = true;
      this.#owner.changed(this);
    }
    this.#finish();
  }

  ended(): void {
    if (!this.#over) {
      this.#hostShutdown |= SHUTDOWN_SEND;
      this.#owner.changed(this);
    }
  }

  closed(broken: boolean): void {
    if (this.#over) {
      return;
    }
    this.stream = undefined;
    if (broken || this.#state !== 'open') {
      // Nobody took it, or bytes are lost.
      this.#end(!this.#requestDue);
      return;
    }
    this.#hostShutdown = SHUTDOWN_BOTH;
    this.#finish();
    this.#owner.changed(this);
  }

  // To the guest.

  get hasPacket(): boolean {
    if (this.#over) {
      return false;
    }
    if (this.#requestDue || this.#responseDue || this.#creditDue) {
      return true;
    }
    if (this.#waiting.length > 0) {
      return this.#state === 'open' && (this.#guestRoom > 0 || !this.#creditAsked);
    }
    return this.#state === 'open' && this.#shutdownSent !== this.#hostShutdown;
  }

  /** Takes the next packet, with at most `room` bytes of data. Only while `hasPacket`. */
  takePacket(room: number): Packet {
    const packet = this.#nextPacket(room);
    this.#told = this.#forwarded;
    this.#creditDue = false;
    return packet;
  }

  #nextPacket(room: number): Packet {
    const plain = (op: number, flags = 0): Packet => ({ op, flags, data: undefined });
    if (this.#requestDue) {
      this.#requestDue = false;
      return plain(OP.request);
    }
    if (this.#responseDue) {
      this.#responseDue = false;
      return plain(OP.response);
    }
    const [first] = this.#waiting;
    if (first !== undefined && this.#state === 'open') {
      const count = Math.min(first.length, room, this.#guestRoom);
      if (count === 0 && !this.#creditDue) {
        this.#creditAsked = true;
        return plain(OP.creditRequest);
      }
      if (count > 0) {
        return { op: OP.data, flags: 0, data: this.#take(first, count) };
      }
    }
    if (this.#creditDue || first !== undefined) {
      return plain(OP.creditUpdate);
    }
    this.#shutdownSent = this.#hostShutdown;
    return plain(OP.shutdown, this.#hostShutdown);
  }

  #take(first: Uint8Array, count: number): Uint8Array {
    if (count === first.length) {
      this.#waiting.shift();
    } else {
      this.#waiting[0] = first.subarray(count);
    }
    this.#sent = (this.#sent + count) >>> 0;
    this.stream?.taken(count);
    return first.subarray(0, count);
  }

  get forwarded(): number {
    return this.#forwarded;
  }
}
