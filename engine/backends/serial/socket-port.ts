import { createServer, type Server, type Socket } from 'node:net';
import { listenAtPath } from '../vsock/listen-at-path.ts';

/** Bytes for a client that does not read; beyond them the guest has to wait. */
const MAX_UNSENT = 256 << 10;

export interface SocketPortUser {
  /** A client has come, or gone. */
  connected(open: boolean): void;
  /** Takes what the client said and returns how many bytes; fewer than given: the others come after `resume`. */
  received(bytes: Uint8Array): number;
  /** The client takes bytes again, after `write` has refused. */
  writable(): void;
}

/**
 * A Unix socket (on Windows a named pipe) for a port of the guest, with one client at a time: another one is turned away
 * until the first has gone. Clients may come and go as they like.
 */
export class SocketPort {
  readonly path: string;
  readonly #server: Server;
  readonly #user: SocketPortUser;
  #client: Socket | undefined;
  /** Clients, and those that are on their way out. */
  readonly #sockets = new Set<Socket>();
  /** What the client said and nobody has taken yet. */
  #unread: Uint8Array | undefined;
  #closed = false;

  private constructor(path: string, server: Server, user: SocketPortUser) {
    this.path = path;
    this.#server = server;
    this.#user = user;
    server.on('connection', (socket) => this.#accept(socket));
    server.on('error', () => {});
  }

  /**
   * Listens at `path`. A socket that a process left behind is replaced. Rejects with HostError 'socket-taken' when
   * somebody listens there, or 'socket-refused' when the host refuses it.
   */
  static async listen(path: string, user: SocketPortUser): Promise<SocketPort> {
    const server = createServer();
    await listenAtPath(server, path);
    return new SocketPort(path, server, user);
  }

  get connected(): boolean {
    return this.#client !== undefined;
  }

  #accept(socket: Socket): void {
    socket.on('error', () => {});
    if (this.#client !== undefined || this.#closed) {
      socket.destroy();
      return;
    }
    this.#client = socket;
    this.#sockets.add(socket);
    socket.on('data', (bytes: Buffer) => {
      // The last client may have left something that was not taken yet.
      this.#unread = this.#unread === undefined ? bytes : Buffer.concat([this.#unread, bytes]);
      this.resume();
    });
    socket.on('drain', () => this.#user.writable());
    // What it said before it went is still delivered.
    socket.on('end', () => this.#gone(socket));
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#gone(socket);
    });
    this.#user.connected(true);
  }

  #gone(socket: Socket): void {
    if (this.#client === socket) {
      this.#client = undefined;
      this.#user.connected(false);
      this.#user.writable();
    }
  }

  /** Offers again what the client said; takes more of it once all was taken. */
  resume(): void {
    const bytes = this.#unread;
    if (bytes === undefined) {
      return;
    }
    const count = this.#user.received(bytes);
    this.#unread = count < bytes.length ? bytes.subarray(count) : undefined;
    if (this.#unread === undefined) {
      this.#client?.resume();
    } else {
      this.#client?.pause();
    }
  }

  /** Sends bytes to the client; without one they are lost. False: nothing was sent, wait for `writable`. */
  write(bytes: Uint8Array): boolean {
    const client = this.#client;
    if (client !== undefined) {
      if (client.writableLength >= MAX_UNSENT) {
        return false;
      }
      client.write(bytes);
    }
    return true;
  }

  /** Stops listening, and parts with the client once it has everything. */
  async close(): Promise<void> {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    const client = this.#client;
    this.#client = undefined;
    client?.end();
    // A client that does not read is not waited for.
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) {
        socket.destroy();
      }
    }, CLOSE_MILLIS);
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    clearTimeout(timer);
  }
}

const CLOSE_MILLIS = 1000;
