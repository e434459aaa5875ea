import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { getServers, Resolver } from 'node:dns';
import { createServer, connect as netConnect, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { HostError } from '../../base/host-error.ts';
import type {
  HostEndpoint,
  HostListener,
  HostSockets,
  HostTcpEvents,
  HostTcpSocket,
  HostUdpEvents,
  HostUdpSocket,
} from '../../net/host-sockets.ts';
import { HostTroubles } from './host-troubles.ts';

const READ_BYTES = 128 << 10;
/** Datagrams that wait because the host is slow; what comes beyond them is dropped, as on any network. */
const MAX_WAITING_DATAGRAMS = 256;
/** How long what was found out of the host's interfaces and name servers holds, in milliseconds. */
const FACTS_MILLIS = 5000;
const MAX_BACKLOG = 128;

/** The sockets of Node.js. Several networks may share one. */
export class NodeSockets implements HostSockets {
  /** One buffer for all sockets: what is read is taken over within the call. */
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #factsUntil = 0;
  #loopback = new Set<string>();
  #servers: readonly HostEndpoint[] = [];
  readonly #troubles: HostTroubles;

  /** `tell` gets lines for the user about what the host does not carry out. */
  constructor(tell: (message: string) => void = () => {}) {
    this.#troubles = new HostTroubles(tell);
  }

  connectTcp(address: string, port: number, events: HostTcpEvents): HostTcpSocket {
    let handle: NodeTcpSocket | undefined;
    const socket = netConnect({
      host: address,
      port,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      onread: {
        buffer: this.#buffer,
        callback: (count, buffer) => {
          events.data(buffer.subarray(0, count));
          return handle?.paused !== true;
        },
      },
    });
    handle = new NodeTcpSocket(socket, events);
    socket.once('connect', () => events.connected());
    socket.once('error', (error: NodeJS.ErrnoException) => this.#troubles.failed(error.code, address, port));
    return handle;
  }

  listenTcp(
    address: string,
    port: number,
    accept: (socket: HostTcpSocket, from: HostEndpoint) => HostTcpEvents | undefined,
  ): Promise<HostListener> {
    return new Promise((resolve, reject) => {
      const open = new Set<Socket>();
      const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true, pauseOnConnect: true });
      server.on('connection', (socket) => {
        open.add(socket);
        socket.once('close', () => open.delete(socket));
        const handle = new NodeTcpSocket(socket);
        const from = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
        const events = accept(handle, from);
        if (events === undefined) {
          handle.reset();
        } else {
          handle.listen(events);
          socket.on('data', (bytes) => events.data(bytes));
          // Listening makes it flow; the guest decides when.
          socket.pause();
        }
      });
      server.once('error', (error) => reject(portError('TCP', address, port, error)));
      server.listen({ host: address, port, exclusive: true, backlog: MAX_BACKLOG }, () => {
        const bound = server.address();
        // Later failures concern single connections.
        server.removeAllListeners('error');
        server.on('error', () => {});
        resolve({
          port: typeof bound === 'object' && bound !== null ? bound.port : port,
          close: () => server.close(),
        });
      });
    });
  }

  openUdp(family: 4 | 6, events: HostUdpEvents): HostUdpSocket {
    const socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6' });
    return new NodeUdpSocket(socket, events, this.#troubles);
  }

  bindUdp(
    address: string,
    port: number,
    events: HostUdpEvents,
  ): Promise<{ readonly socket: HostUdpSocket; readonly port: number }> {
    return new Promise((resolve, reject) => {
      const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4' });
      socket.once('error', (error) => {
        socket.close();
        reject(portError('UDP', address, port, error));
      });
      socket.bind({ address, port, exclusive: true }, () => {
        socket.removeAllListeners('error');
        resolve({ socket: new NodeUdpSocket(socket, events, this.#troubles), port: socket.address().port });
      });
    });
  }

  #refresh(): void {
    const now = Date.now();
    if (now < this.#factsUntil) {
      return;
    }
    this.#factsUntil = now + FACTS_MILLIS;
    this.#loopback = new Set(
      Object.values(networkInterfaces())
        .flatMap((addresses) => addresses ?? [])
        .filter(({ internal }) => internal)
        .map(({ address }) => address),
    );
    this.#servers = nameServersOfHost().map(endpointOf);
  }

  nameServers(): readonly HostEndpoint[] {
    this.#refresh();
    return this.#servers;
  }

  isLoopback(address: string): boolean {
    this.#refresh();
    return this.#loopback.has(address);
  }
}

/** A new resolver reads the host's configuration as it is now. */
function nameServersOfHost(): string[] {
  try {
    return new Resolver().getServers();
  } catch {
    return getServers();
  }
}

/** `1.2.3.4`, `1.2.3.4:5353`, `::1` or `[::1]:5353`. */
function endpointOf(text: string): HostEndpoint {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  return match === null ? { address: text, port: 53 } : { address: match[1] ?? match[2] ?? '', port: Number(match[3]) };
}

function portError(protocol: string, address: string, port: number, cause: NodeJS.ErrnoException): HostError {
  const where = `${protocol} port ${port} of ${address}`;
  const details = { protocol, address, port, cause: cause.code ?? cause.message };
  switch (cause.code) {
    case 'EADDRINUSE':
      return new HostError('port-in-use', `${where}: another program listens there already`, {
        remedy: 'give another host port, or stop that program',
        cause,
        details,
      });
    case 'EACCES':
      return new HostError('port-forbidden', `${where}: this user may not listen there`, {
        remedy: 'give a host port from 1024 on',
        cause,
        details,
      });
    case 'EADDRNOTAVAIL':
      return new HostError('no-such-address', `${where}: the host has no such address`, {
        remedy: 'give an address of this host, such as 127.0.0.1',
        cause,
        details,
      });
    default:
      return new HostError('port-failed', `${where}: cannot be listened on (${cause.code ?? cause.message})`, {
        remedy: 'give another host port',
        cause,
        details,
      });
  }
}

class NodeTcpSocket implements HostTcpSocket {
  readonly #socket: Socket;
  #events: HostTcpEvents | undefined;
  paused = false;
  #error: string | undefined;
  #over = false;

  constructor(socket: Socket, events?: HostTcpEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#error = error.code ?? 'EFAIL';
    });
    socket.on('end', () => {
      if (!this.#over) {
        this.#events?.ended();
      }
    });
    socket.on('close', () => {
      if (!this.#over) {
        this.#over = true;
        this.#events?.closed(this.#error);
      }
    });
  }

  listen(events: HostTcpEvents): void {
    this.#events = events;
  }

  write(bytes: Uint8Array<ArrayBuffer>): void {
    this.#socket.write(bytes, (error) => {
      if (!error && !this.#over) {
        this.#events?.sent(bytes.length);
      }
    });
  }

  end(): void {
    this.#socket.end();
  }

  reset(): void {
    this.#over = true;
    this.#socket.resetAndDestroy();
  }

  pause(): void {
    this.paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.paused = false;
    this.#socket.resume();
  }
}

class NodeUdpSocket implements HostUdpSocket {
  readonly #socket: DatagramSocket;
  #waiting = 0;
  #closed = false;

  readonly #troubles: HostTroubles;

  constructor(socket: DatagramSocket, events: HostUdpEvents, troubles: HostTroubles) {
    this.#socket = socket;
    this.#troubles = troubles;
    socket.on('message', (bytes, { address, port }) => {
      if (!this.#closed) {
        events.datagram(bytes, { address, port });
      }
    });
    // What a datagram met on its way; nobody waits for it.
    socket.on('error', () => {});
  }

  send(bytes: Uint8Array<ArrayBuffer>, address: string, port: number, failed?: (error: string) => void): void {
    if (this.#closed || this.#waiting >= MAX_WAITING_DATAGRAMS || port === 0) {
      return;
    }
    this.#waiting++;
    this.#socket.send(bytes, port, address, (error: NodeJS.ErrnoException | null) => {
      this.#waiting--;
      if (error !== null && error !== undefined && !this.#closed) {
        this.#troubles.failed(error.code, address, port);
        failed?.(error.code ?? 'EFAIL');
      }
    });
  }

  close(): void {
    if (!this.#closed) {
      this.#closed = true;
      this.#socket.close();
    }
  }
}
