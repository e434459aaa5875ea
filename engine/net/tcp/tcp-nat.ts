import type { Clock, Nanos } from '../../clock/clock.ts';
import { formatAddress, GATEWAY4, GATEWAY6, type IpAddress, isDns, isGateway, parseAddress } from '../address.ts';
import type { AddressPolicy } from '../address-policy.ts';
import type { GuestLink } from '../guest-link.ts';
import type { HostEndpoint, HostSockets, HostTcpEvents, HostTcpSocket } from '../host-sockets.ts';
import { type IpPacket, PROTOCOL_TCP } from '../packet.ts';
import { DnsBridge } from './dns-bridge.ts';
import { HostBridge } from './host-bridge.ts';
import { parseSegment, type Segment, TCP_ACK, TCP_CHECKSUM, TCP_FIN, TCP_HEADER, TCP_RST, TCP_SYN } from './segment.ts';
import { MemoryBudget } from './send-buffer.ts';
import { TcpConnection, type TcpEnds, type TcpShared, type TcpUser } from './tcp-connection.ts';

const MAX_CONNECTIONS = 1024;
/** Memory of all connections together, in each direction. */
const BUDGET_BYTES = 64 << 20;
/** A connection that was silent for so long makes room for a new one when there are too many. */
const EVICTABLE_NANOS: Nanos = 60e9;

/** A service of the gateway's own. */
export interface TcpService {
  readonly port: number;
  /** `connection` is set before anything is called. */
  open(): TcpUser & { connection: TcpConnection | undefined };
}

/** The guest's connections, and sockets of the host in their stead. */
export class TcpNat {
  readonly #link: GuestLink;
  readonly #clock: Clock;
  readonly #sockets: HostSockets;
  readonly #policy: AddressPolicy;
  readonly #isolated: boolean;
  readonly #services: readonly TcpService[];
  readonly #shared: TcpShared;
  readonly #connections = new Map<string, TcpConnection>();
  readonly #touched = new Set<TcpConnection>();
  readonly #stalled = new Set<TcpConnection>();
  readonly #gathering = new Set<HostBridge>();
  #nextPort = 49152;

  constructor(
    parts: {
      readonly link: GuestLink;
      readonly clock: Clock;
      readonly sockets: HostSockets;
      random(): number;
      /** `flush` is to be called soon, although no packet has come. */
      wantFlush(): void;
    },
    policy: AddressPolicy,
    isolated: boolean,
    services: readonly TcpService[],
  ) {
    this.#link = parts.link;
    this.#clock = parts.clock;
    this.#sockets = parts.sockets;
    this.#policy = policy;
    this.#isolated = isolated;
    this.#services = services;
    this.#shared = {
      link: parts.link,
      clock: parts.clock,
      sendBudget: new MemoryBudget(BUDGET_BYTES),
      receiveBudget: new MemoryBudget(BUDGET_BYTES),
      random: () => parts.random(),
      touch: (connection) => {
        this.#touched.add(connection);
        parts.wantFlush();
      },
      stalled: (connection) => this.#stalled.add(connection),
      remove: (connection) => this.#remove(connection),
    };
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Memory that waits for the guest or for the host. */
  get waitingBytes(): { readonly toGuest: number; readonly toHost: number } {
    return { toGuest: this.#shared.sendBudget.used, toHost: this.#shared.receiveBudget.used };
  }

  dispose(): void {
    for (const connection of [...this.#connections.values()]) {
      connection.dispose();
    }
  }

  /** Ends all connections, as the guest knows nothing of them any more. */
  resetAll(): void {
    for (const connection of [...this.#connections.values()]) {
      connection.vanish();
    }
  }

  #remove(connection: TcpConnection): void {
    const { guest, guestPort, remote, remotePort } = connection.ends;
    const key = keyOf(guest, guestPort, remote, remotePort);
    if (this.#connections.get(key) === connection) {
      this.#connections.delete(key);
    }
    this.#touched.delete(connection);
    this.#stalled.delete(connection);
  }

  /** There may be room for frames again. */
  resume(): void {
    for (const connection of this.#stalled) {
      this.#touched.add(connection);
    }
    this.#stalled.clear();
    this.flush();
  }

  /** The packets at hand are handled: what they led to goes out. */
  flush(): void {
    for (const bridge of this.#gathering) {
      this.#gathering.delete(bridge);
      bridge.flush();
    }
    for (const connection of this.#touched) {
      this.#touched.delete(connection);
      connection.flush();
    }
  }

  /** A TCP packet of the guest with a right checksum. */
  receive(packet: IpPacket): void {
    const segment = parseSegment(packet);
    if (segment === undefined) {
      return;
    }
    const { source, destination } = packet;
    const key = keyOf(source, segment.sourcePort, destination, segment.destinationPort);
    const connection = this.#connections.get(key);
    const isSyn = (segment.flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) === TCP_SYN;
    if (connection !== undefined && !(isSyn && connection.canBeReplacedBy(segment))) {
      connection.receive(segment);
      return;
    }
    connection?.dispose();
    if (!isSyn) {
      this.#refuse(packet, segment);
      return;
    }
    this.#open(packet, segment, key);
  }

  #open(packet: IpPacket, syn: Segment, key: string): void {
    const ends: TcpEnds = {
      guest: packet.source.slice(),
      guestPort: syn.sourcePort,
      remote: packet.destination.slice(),
      remotePort: syn.destinationPort,
    };
    const service = isGateway(ends.remote) ? this.#services.find(({ port }) => port === ends.remotePort) : undefined;
    const target = service === undefined ? this.#target(ends) : undefined;
    if ((service === undefined && target === undefined) || !this.#makeRoom()) {
      this.#refuse(packet, syn);
      return;
    }
    if (service !== undefined) {
      const user = service.open();
      const connection = new TcpConnection(this.#shared, ends, user, syn);
      user.connection = connection;
      this.#connections.set(key, connection);
      connection.accept();
      return;
    }
    const gather = (waiting: HostBridge) => {
      this.#gathering.add(waiting);
    };
    const bridge = isDns(ends.remote) ? new DnsBridge(gather, false) : new HostBridge(gather, false);
    const connection = new TcpConnection(this.#shared, ends, bridge, syn);
    bridge.connection = connection;
    this.#connections.set(key, connection);
    bridge.socket = this.#sockets.connectTcp(target?.address ?? '', target?.port ?? 0, bridge.host);
  }

  /** Where on the host's side a connection leads. */
  #target({ remote, remotePort }: TcpEnds): HostEndpoint | undefined {
    if (isDns(remote)) {
      return remotePort === 53 && !this.#isolated ? this.#sockets.nameServers()[0] : undefined;
    }
    const address = this.#policy.outside(remote);
    return address === undefined ? undefined : { address, port: remotePort };
  }

  #makeRoom(): boolean {
    if (this.#connections.size < MAX_CONNECTIONS) {
      return true;
    }
    let silent: TcpConnection | undefined;
    for (const connection of this.#connections.values()) {
      if (connection.state === 'time-wait') {
        connection.dispose();
        return true;
      }
      if (silent === undefined || connection.lastHeard < silent.lastHeard) {
        silent = connection;
      }
    }
    if (silent === undefined || silent.lastHeard > this.#clock.now() - EVICTABLE_NANOS) {
      return false;
    }
    silent.vanish();
    return true;
  }

  /** Answers a segment that belongs to nothing with a reset (RFC 9293, 3.10.7.1). */
  #refuse({ source, destination }: IpPacket, segment: Segment): void {
    if ((segment.flags & TCP_RST) !== 0) {
      return;
    }
    const outgoing = this.#link.packet(destination, source, PROTOCOL_TCP, TCP_HEADER);
    if (outgoing === undefined) {
      return;
    }
    const { view, payload } = outgoing;
    const acks = (segment.flags & TCP_ACK) !== 0;
    const length =
      segment.data.length + ((segment.flags & TCP_SYN) !== 0 ? 1 : 0) + ((segment.flags & TCP_FIN) !== 0 ? 1 : 0);
    view.setUint16(payload, segment.destinationPort);
    view.setUint16(payload + 2, segment.sourcePort);
    view.setInt32(payload + 4, acks ? segment.ack : 0);
    view.setInt32(payload + 8, acks ? 0 : (segment.seq + length) | 0);
    view.setUint16(payload + 12, (TCP_HEADER << 10) | TCP_RST | (acks ? 0 : TCP_ACK));
    view.setUint32(payload + 14, 0);
    view.setUint16(payload + 18, 0);
    this.#link.sendTransport(outgoing, destination, source, PROTOCOL_TCP, TCP_CHECKSUM);
  }

  /** Opens a connection to the guest for one that the host has accepted; undefined when there is no room for it. */
  forward(socket: HostTcpSocket, from: HostEndpoint, guest: IpAddress, guestPort: number): HostTcpEvents | undefined {
    const gateway = guest.length === 4 ? GATEWAY4 : GATEWAY6;
    const peer = parseAddress(from.address);
    const remote = peer === undefined ? gateway : this.#policy.inside(peer, gateway);
    const remotePort = this.#freePort(guest, guestPort, remote, from.port);
    if (remotePort === undefined || !this.#makeRoom()) {
      return undefined;
    }
    const bridge = new HostBridge((waiting) => this.#gathering.add(waiting), true);
    bridge.socket = socket;
    socket.pause();
    const ends = { guest: guest.slice(), guestPort, remote: remote.slice(), remotePort };
    const connection = new TcpConnection(this.#shared, ends, bridge, undefined);
    bridge.connection = connection;
    this.#connections.set(keyOf(guest, guestPort, remote, remotePort), connection);
    return bridge.host;
  }

  /** The client's own port where it is free. */
  #freePort(guest: IpAddress, guestPort: number, remote: IpAddress, wished: number): number | undefined {
    const isFree = (port: number) => !this.#connections.has(keyOf(guest, guestPort, remote, port));
    if (isFree(wished)) {
      return wished;
    }
    for (let i = 0; i < 64; i++) {
      this.#nextPort = this.#nextPort >= 65535 ? 49152 : this.#nextPort + 1;
      if (isFree(this.#nextPort)) {
        return this.#nextPort;
      }
    }
    return undefined;
  }

  /** One line for each connection, for debugging. */
  describe(): string {
    return [...this.#connections.values()]
      .map(({ ends, state }) => {
        const { guest, guestPort, remote, remotePort } = ends;
        return `tcp ${formatAddress(guest)} ${guestPort} ${formatAddress(remote)} ${remotePort} ${state}`;
      })
      .join('\n');
  }
}

/** The ends of a connection as text of as few characters as can be: it is made for every segment. */
function keyOf(guest: IpAddress, guestPort: number, remote: IpAddress, remotePort: number): string {
  if (guest.length === 4) {
    return String.fromCharCode(
      guestPort,
      remotePort,
      ((guest[0] as number) << 8) | (guest[1] as number),
      ((guest[2] as number) << 8) | (guest[3] as number),
      ((remote[0] as number) << 8) | (remote[1] as number),
      ((remote[2] as number) << 8) | (remote[3] as number),
    );
  }
  return String.fromCharCode(guestPort, remotePort, ...guest, ...remote);
}
