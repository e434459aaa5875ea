import type { HostTcpEvents, HostTcpSocket } from '../host-sockets.ts';
import type { TcpConnection, TcpEnd, TcpUser } from './tcp-connection.ts';

/** Smaller pieces than this are gathered before the host gets them; memory for them grows with need. */
const GATHER_BYTES = 32 << 10;
const SMALLEST_GATHER = 2 << 10;

/** Joins a connection of the guest with a socket of the host. Either side may finish before the other. */
export class HostBridge implements TcpUser {
  /** Both are set right after construction. */
  connection: TcpConnection | undefined;
  socket: HostTcpSocket | undefined;
  /** What the socket is to tell. */
  readonly host: HostTcpEvents;
  readonly #gather: (bridge: HostBridge) => void;
  /** True once the host has answered or, for forwarded ports, from the start. */
  #connected: boolean;
  /** The socket is gone. */
  #hostGone = false;
  #gathered: Uint8Array<ArrayBuffer> | undefined;
  #gatheredBytes = 0;
  /** Bytes of the host that the connection had no room for; the socket is paused meanwhile. */
  #rest: Uint8Array | undefined;
  #hostEnded = false;

  /** `gather` is told when bytes wait for `flush`. */
  constructor(gather: (bridge: HostBridge) => void, connected: boolean) {
    this.#gather = gather;
    this.#connected = connected;
    this.host = {
      connected: () => this.#hostConnected(),
      data: (bytes) => this.#hostData(bytes),
      sent: (bytes) => this.connection?.consumed(bytes),
      ended: () => this.#hostFinished(),
      closed: (error) => this.#hostClosed(error),
    };
  }

  // --- The guest ---

  opened(): void {
    this.socket?.resume();
  }

  data(bytes: Uint8Array): void {
    if (bytes.length >= GATHER_BYTES) {
      this.flush();
      this.#write(new Uint8Array(bytes));
      return;
    }
    if (this.#gatheredBytes + bytes.length > GATHER_BYTES) {
      this.flush();
    }
    if (this.#gathered === undefined) {
      this.#gather(this);
    }
    const gathered = this.#memoryFor(this.#gatheredBytes + bytes.length);
    gathered.set(bytes, this.#gatheredBytes);
    this.#gathered = gathered;
    this.#gatheredBytes += bytes.length;
  }

  /** What was gathered, in memory with room for `needed` bytes. */
  #memoryFor(needed: number): Uint8Array<ArrayBuffer> {
    const present = this.#gathered;
    if (present !== undefined && present.length >= needed) {
      return present;
    }
    let size = Math.max(SMALLEST_GATHER, present?.length ?? 0);
    while (size < needed) {
      size *= 2;
    }
    const larger = new Uint8Array(size);
    if (present !== undefined) {
      larger.set(present);
    }
    return larger;
  }

  /** Gives the host what was gathered. */
  flush(): void {
    const bytes = this.#gathered?.subarray(0, this.#gatheredBytes);
    this.#gathered = undefined;
    this.#gatheredBytes = 0;
    if (bytes !== undefined && bytes.length > 0) {
      this.#write(bytes);
    }
  }

  #write(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#hostGone) {
      this.connection?.consumed(bytes.length);
    } else {
      this.socket?.write(bytes);
    }
  }

  finished(): void {
    this.flush();
    if (!this.#hostGone) {
      this.socket?.end();
    }
  }

  room(): void {
    const rest = this.#rest;
    const { connection } = this;
    if (rest === undefined || connection === undefined) {
      return;
    }
    const taken = connection.write(rest);
    if (taken < rest.length) {
      this.#rest = rest.subarray(taken);
      return;
    }
    this.#rest = undefined;
    if (this.#hostEnded) {
      connection.finish();
    } else if (!this.#hostGone) {
      this.socket?.resume();
    }
  }

  closed(end: TcpEnd): void {
    if (end === 'done') {
      this.flush();
    } else if (!this.#hostGone) {
      this.#hostGone = true;
      this.socket?.reset();
    }
    this.#rest = undefined;
  }

  // --- The host ---

  #hostConnected(): void {
    if (!this.#connected) {
      this.#connected = true;
      this.connection?.accept();
    }
  }

  #hostData(bytes: Uint8Array): void {
    const { connection } = this;
    if (connection === undefined) {
      return;
    }
    if (this.#rest !== undefined) {
      // The socket had more in hand when it was paused.
      const both = new Uint8Array(this.#rest.length + bytes.length);
      both.set(this.#rest);
      both.set(bytes, this.#rest.length);
      this.#rest = both;
      return;
    }
    const taken = connection.write(bytes);
    if (taken < bytes.length) {
      this.#rest = bytes.slice(taken);
      this.socket?.pause();
    }
  }

  #hostFinished(): void {
    this.#hostEnded = true;
    if (this.#rest === undefined) {
      this.connection?.finish();
    }
  }

  #hostClosed(error: string | undefined): void {
    this.#hostGone = true;
    if (error !== undefined || !this.#connected) {
      this.#rest = undefined;
      this.connection?.abort();
    } else if (!this.#hostEnded) {
      this.#hostFinished();
    }
  }
}
