import { HostError } from '../../base/host-error.ts';
import type {
  BootFile,
  BootFolder,
  HostEndpoint,
  HostListener,
  HostSockets,
  HostTcpEvents,
  HostTcpSocket,
  HostUdpEvents,
  HostUdpSocket,
} from '../host-sockets.ts';

/** A socket of the host that does what a test says. */
export class FakeTcpSocket implements HostTcpSocket {
  readonly address: string;
  readonly port: number;
  events: HostTcpEvents | undefined;
  /** What was written, in pieces. */
  readonly pieces: Uint8Array[] = [];
  writtenBytes = 0;
  /** While true, what is written leaves at once. */
  drains = true;
  #waiting = 0;
  paused = false;
  ended = false;
  wasReset = false;

  constructor(address: string, port: number) {
    this.address = address;
    this.port = port;
  }

  get written(): Buffer {
    return Buffer.concat(this.pieces);
  }

  /** Bytes that were written and have not left. */
  get waiting(): number {
    return this.#waiting;
  }

  write(bytes: Uint8Array): void {
    this.pieces.push(bytes);
    this.writtenBytes += bytes.length;
    if (this.drains) {
      this.events?.sent(bytes.length);
    } else {
      this.#waiting += bytes.length;
    }
  }

  /** What waits leaves. */
  drain(bytes = this.#waiting): void {
    this.#waiting -= bytes;
    this.events?.sent(bytes);
  }

  end(): void {
    this.ended = true;
  }

  reset(): void {
    this.wasReset = true;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }
}

export class FakeUdpSocket implements HostUdpSocket {
  readonly events: HostUdpEvents;
  readonly family: 4 | 6;
  readonly sent: { bytes: Uint8Array; address: string; port: number }[] = [];
  /** When set, sending fails with it. */
  failure: string | undefined;
  closed = false;

  constructor(family: 4 | 6, events: HostUdpEvents) {
    this.family = family;
    this.events = events;
  }

  send(bytes: Uint8Array, address: string, port: number, failed?: (error: string) => void): void {
    if (this.failure !== undefined) {
      failed?.(this.failure);
      return;
    }
    this.sent.push({ bytes, address, port });
  }

  close(): void {
    this.closed = true;
  }
}

/** A host whose sockets lead nowhere. */
export class FakeSockets implements HostSockets {
  readonly tcp: FakeTcpSocket[] = [];
  readonly udp: FakeUdpSocket[] = [];
  readonly loopback = new Set<string>();
  readonly listeners = new Map<number, (socket: HostTcpSocket, from: HostEndpoint) => HostTcpEvents | undefined>();
  servers: HostEndpoint[] = [{ address: '192.0.2.53', port: 53 }];
  /** New connections are answered at once. */
  answers = true;

  connectTcp(address: string, port: number, events: HostTcpEvents): HostTcpSocket {
    const socket = new FakeTcpSocket(address, port);
    socket.events = events;
    this.tcp.push(socket);
    return socket;
  }

  listenTcp(
    _address: string,
    port: number,
    accept: (socket: HostTcpSocket, from: HostEndpoint) => HostTcpEvents | undefined,
  ): Promise<HostListener> {
    if (this.listeners.has(port)) {
      return Promise.reject(new HostError('port-in-use', `port ${port} is in use`));
    }
    this.listeners.set(port, accept);
    return Promise.resolve({ port, close: () => this.listeners.delete(port) });
  }

  /** Somebody connects to a forwarded port. */
  accept(port: number, from: HostEndpoint): FakeTcpSocket {
    const socket = new FakeTcpSocket(from.address, from.port);
    socket.events = this.listeners.get(port)?.(socket, from);
    this.tcp.push(socket);
    return socket;
  }

  openUdp(family: 4 | 6, events: HostUdpEvents): HostUdpSocket {
    const socket = new FakeUdpSocket(family, events);
    this.udp.push(socket);
    return socket;
  }

  bindUdp(_address: string, port: number, events: HostUdpEvents) {
    const socket = new FakeUdpSocket(4, events);
    this.udp.push(socket);
    return Promise.resolve({ socket, port });
  }

  nameServers(): readonly HostEndpoint[] {
    return this.servers;
  }

  isLoopback(address: string): boolean {
    return this.loopback.has(address);
  }
}

/** A folder of files in memory. */
export class FakeBootFolder implements BootFolder {
  readonly files = new Map<string, Uint8Array<ArrayBuffer>>();
  openCount = 0;

  open(path: string): Promise<BootFile | undefined> {
    const bytes = this.files.get(path);
    if (bytes === undefined) {
      return Promise.resolve(undefined);
    }
    this.openCount++;
    let open = true;
    return Promise.resolve({
      sizeBytes: bytes.length,
      read: (offset, length) => Promise.resolve(bytes.slice(offset, offset + length)),
      close: () => {
        this.openCount -= open ? 1 : 0;
        open = false;
      },
    });
  }
}
