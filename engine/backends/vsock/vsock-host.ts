import { connect, createServer, type Server, type Socket } from 'node:net';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { listenAtPath } from './listen-at-path.ts';
import { HOST_WINDOW_BYTES } from './vsock-backend.ts';
import type { VsockCable } from './vsock-client.ts';
import type { FromSockets, ToSockets } from './vsock-messages.ts';

/** Programs that have connected and not said where to yet, and connections, are so many at most. */
const MAX_CLIENTS = 600;
/** `CONNECT 4294967295` and the end of the line. */
const MAX_LINE_BYTES = 32;
/** A program says where to within so many milliseconds. */
const LINE_MILLIS = 10_000;

/** A connection on the host. */
class HostStream {
  readonly id: number;
  readonly socket: Socket;
  readonly #post: (message: FromSockets) => void;
  /** Bytes that the guest has not got yet. */
  #outstanding = 0;
  #flowing = false;
  #closed = false;

  /** `gone` is told when the socket is closed. */
  constructor(id: number, socket: Socket, post: (message: FromSockets) => void, gone: () => void) {
    this.id = id;
    this.socket = socket;
    this.#post = post;
    socket.on('readable', () => this.#pump());
    socket.on('end', () => {
      if (this.#flowing) {
        post({ kind: 'ended', id });
      }
    });
    // The error itself says no more than that it is broken.
    socket.on('error', () => {});
    socket.on('close', (broken) => {
      gone();
      if (!this.#closed) {
        this.#closed = true;
        post({ kind: 'closed', id, broken });
      }
    });
  }

  /** Both ends are there: bytes go through from now on. */
  flow(): void {
    this.#flowing = true;
    this.#pump();
  }

  /** Hands over what has come, as much as may be under way; the socket keeps the rest, and in the end its writer. */
  #pump(): void {
    const { socket } = this;
    while (this.#flowing && this.#outstanding < HOST_WINDOW_BYTES && socket.readableLength > 0) {
      const bytes: Buffer | null = socket.read(Math.min(socket.readableLength, HOST_WINDOW_BYTES - this.#outstanding));
      if (bytes === null) {
        return;
      }
      this.#outstanding += bytes.length;
      this.#post({ kind: 'data', id: this.id, bytes: new Uint8Array(bytes) });
    }
    if (this.#flowing && socket.readableLength === 0) {
      // So that the end is seen, or more is read.
      socket.read(0);
    }
  }

  taken(count: number): void {
    this.#outstanding -= count;
    this.#pump();
  }

  write(bytes: Uint8Array): void {
    this.socket.write(bytes, (error) => {
      if (!error && !this.#closed) {
        this.#post({ kind: 'written', id: this.id, count: bytes.length });
      }
    });
  }

  /** Nothing more is said of it. */
  destroy(): void {
    this.#closed = true;
    this.socket.destroy();
  }
}

/**
 * The sockets of a guest on the host. A program that wants port P of the guest connects to `path`, writes the line
 * `CONNECT P`, and gets the line `OK N` once the guest has accepted, N being the port of its own end; else the connection
 * is closed. What the guest connects to at port P of the host is the socket at `path_P`, where a program listens.
 */
export class VsockHost {
  /** For the machine thread; the port is to be transferred. */
  readonly cable: VsockCable;
  readonly #path: string;
  readonly #port: MessagePort;
  readonly #count: Int32Array;
  readonly #ring: () => void;
  readonly #server: Server;
  readonly #streams = new Map<number, HostStream>();
  /** Those that have not said where to. */
  readonly #strangers = new Set<Socket>();
  #nextId = 1;
  #end: Promise<void> | undefined;

  private constructor(path: string, ring: () => void) {
    const { port1, port2 } = new MessageChannel();
    const count = new SharedArrayBuffer(4);
    this.cable = { port: port2, count };
    this.#path = path;
    this.#port = port1;
    this.#count = new Int32Array(count);
    this.#ring = ring;
    port1.on('message', (message: ToSockets) => this.#receive(message));
    port1.unref();
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#greet(socket));
  }

  /** Listens at `path`. Rejects with HostError when the socket cannot be had. `ring` wakes the machine thread. */
  static async listen(path: string, ring: () => void): Promise<VsockHost> {
    const host = new VsockHost(path, ring);
    try {
      await listenAtPath(host.#server, path);
    } catch (error) {
      host.#port.close();
      throw error;
    }
    host.#server.on('error', () => {});
    return host;
  }

  #post(message: FromSockets): void {
    if (this.#end === undefined) {
      this.#port.postMessage(message);
      Atomics.add(this.#count, 0, 1);
      this.#ring();
    }
  }

  /** Waits for the line with the port. */
  #greet(socket: Socket): void {
    socket.on('error', () => {});
    if (this.#strangers.size + this.#streams.size >= MAX_CLIENTS || this.#end !== undefined) {
      socket.destroy();
      return;
    }
    this.#strangers.add(socket);
    socket.setTimeout(LINE_MILLIS, () => socket.destroy());
    let line = Buffer.alloc(0);
    const look = () => {
      // Byte by byte: what stands behind the line is for the guest.
      for (let byte: Buffer | null = socket.read(1); byte !== null; byte = socket.read(1)) {
        line = Buffer.concat([line, byte]);
        if (byte[0] === 0x0a) {
          socket.off('readable', look);
          this.#ask(socket, line.toString('latin1'));
          return;
        }
        if (line.length >= MAX_LINE_BYTES) {
          socket.destroy();
          return;
        }
      }
    };
    socket.on('readable', look);
    socket.on('close', () => this.#strangers.delete(socket));
    socket.on('end', () => {
      if (this.#strangers.has(socket)) {
        socket.destroy();
      }
    });
  }

  #ask(socket: Socket, line: string): void {
    const port = Number(/^CONNECT (\d{1,10})\r?\n$/i.exec(line)?.[1]);
    this.#strangers.delete(socket);
    if (!(port <= 0xffffffff)) {
      socket.destroy();
      return;
    }
    socket.setTimeout(0);
    const id = this.#nextId;
    this.#nextId += 2;
    this.#add(id, socket);
    this.#post({ kind: 'incoming', id, port });
  }

  #add(id: number, socket: Socket): HostStream {
    const stream = new HostStream(
      id,
      socket,
      (message) => this.#post(message),
      () => this.#streams.delete(id),
    );
    this.#streams.set(id, stream);
    return stream;
  }

  #receive(message: ToSockets): void {
    if (message.kind === 'connect') {
      this.#connect(message.id, message.port);
      return;
    }
    const stream = this.#streams.get(message.id);
    switch (message.kind) {
      case 'accept':
        stream?.socket.write(`OK ${message.hostPort}\n`);
        stream?.flow();
        return;
      case 'write':
        stream?.write(message.bytes);
        return;
      case 'end':
        stream?.socket.end();
        return;
      case 'taken':
        stream?.taken(message.count);
        return;
      case 'destroy':
        stream?.destroy();
    }
  }

  #connect(id: number, port: number): void {
    const socket = connect({ path: `${this.#path}_${port}`, allowHalfOpen: true });
    const stream = this.#add(id, socket);
    socket.on('connect', () => {
      this.#post({ kind: 'opened', id });
      stream.flow();
    });
  }

  /** Closes every socket. Twice is once. */
  close(): Promise<void> {
    this.#end ??= this.#close();
    return this.#end;
  }

  async #close(): Promise<void> {
    this.#port.close();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#strangers) {
      socket.destroy();
    }
    for (const stream of this.#streams.values()) {
      stream.destroy();
    }
    await closed;
  }
}
