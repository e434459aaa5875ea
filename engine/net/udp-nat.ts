import type { Alarm, Clock, Nanos } from '../clock/clock.ts';
import { GATEWAY4, GATEWAY6, type IpAddress, isDns, isGateway, parseAddress } from './address.ts';
import type { AddressPolicy } from './address-policy.ts';
import { DNS_REFUSED, DNS_SERVER_FAILURE, dnsId, dnsRefusal, isDnsQuery } from './dns.ts';
import type { GuestLink } from './guest-link.ts';
import type { HostEndpoint, HostSockets, HostUdpSocket } from './host-sockets.ts';
import type { Icmp } from './icmp.ts';
import type { IpPacket } from './packet.ts';

const MAX_FLOWS = 512;
const MAX_PEERS = 64;
/** RFC 4787 asks for two minutes at least. */
const IDLE_NANOS: Nanos = 120e9;
/** Queries are answered, or asked again from another port. */
const DNS_IDLE_NANOS: Nanos = 20e9;
const SWEEP_NANOS: Nanos = 10e9;

/** Whom a flow talks to: on the host's side, and as the guest sees it. */
interface Peer {
  readonly address: IpAddress;
  readonly port: number;
}

/** All that one port of a guest sends, and its sockets: one for each family of addresses on the host's side. */
interface Flow {
  readonly guest: IpAddress;
  readonly guestPort: number;
  readonly sockets: Map<4 | 6, HostUdpSocket>;
  /** By address and port on the host's side; the oldest is forgotten first. */
  readonly peers: Map<string, Peer>;
  deadline: Nanos;
  lastQuery: number | undefined;
  nameServer: number;
}

/** A client of a forwarded port, as a flow that began outside. */
interface Inbound {
  readonly socket: HostUdpSocket;
  readonly client: HostEndpoint;
  deadline: Nanos;
}

/** Datagrams between the guest and sockets of the host. Only those to whom the guest has sent can answer. */
export class UdpNat {
  readonly #link: GuestLink;
  readonly #clock: Clock;
  readonly #sockets: HostSockets;
  readonly #policy: AddressPolicy;
  readonly #icmp: Icmp;
  readonly #isolated: boolean;
  readonly #flows = new Map<string, Flow>();
  readonly #inbound = new Map<string, Inbound>();
  readonly #sweep: Alarm;

  constructor(
    parts: { readonly link: GuestLink; readonly clock: Clock; readonly sockets: HostSockets; readonly icmp: Icmp },
    policy: AddressPolicy,
    isolated: boolean,
  ) {
    this.#link = parts.link;
    this.#clock = parts.clock;
    this.#sockets = parts.sockets;
    this.#icmp = parts.icmp;
    this.#policy = policy;
    this.#isolated = isolated;
    this.#sweep = parts.clock.createAlarm(() => this.#expire());
  }

  get flowCount(): number {
    return this.#flows.size + this.#inbound.size;
  }

  dispose(): void {
    this.clear();
    this.#sweep.dispose();
  }

  /** Forgets everything that guests have begun. */
  clear(): void {
    for (const flow of this.#flows.values()) {
      close(flow);
    }
    this.#flows.clear();
    this.#inbound.clear();
  }

  #expire(): void {
    const now = this.#clock.now();
    for (const [key, flow] of this.#flows) {
      if (flow.deadline <= now) {
        this.#flows.delete(key);
        close(flow);
      }
    }
    for (const [key, { deadline }] of this.#inbound) {
      if (deadline <= now) {
        this.#inbound.delete(key);
      }
    }
    if (this.flowCount > 0) {
      this.#sweep.set(now + SWEEP_NANOS);
    }
  }

  #keepSweeping(): void {
    if (this.#sweep.deadline === undefined) {
      this.#sweep.set(this.#clock.now() + SWEEP_NANOS);
    }
  }

  /** A datagram of the guest that no service of the gateway takes. `data` is ours. */
  send(packet: IpPacket, sourcePort: number, destinationPort: number, data: Uint8Array<ArrayBuffer>): void {
    const { source, destination } = packet;
    const inbound = this.#inbound.get(inboundKey(source, sourcePort, destination, destinationPort));
    if (inbound !== undefined) {
      inbound.deadline = this.#clock.now() + IDLE_NANOS;
      inbound.socket.send(data, inbound.client.address, inbound.client.port);
      return;
    }
    if (isDns(destination) && destinationPort === 53) {
      this.#query(packet, sourcePort, data);
      return;
    }
    const outside = this.#policy.outside(destination);
    if (outside === undefined) {
      this.#icmp.unreachable(packet, isGateway(destination) || isDns(destination) ? 'port' : 'prohibited');
      return;
    }
    const flow = this.#flow(source, sourcePort);
    flow.deadline = this.#clock.now() + IDLE_NANOS;
    const back = {
      ...packet,
      bytes: packet.bytes.slice(0, 1232),
      source: flow.guest,
      destination: destination.slice(),
    };
    this.#toHost(flow, { address: outside, port: destinationPort }, destination, destinationPort, data, (error) => {
      // The first bytes of the packet go back; `view` is not looked at.
      this.#icmp.unreachable(back, error === 'EACCES' || error === 'EPERM' ? 'prohibited' : 'host');
    });
  }

  /** The forwarder: passes queries to the host's name servers, to another one when the guest repeats itself. */
  #query(packet: IpPacket, sourcePort: number, query: Uint8Array<ArrayBuffer>): void {
    if (!isDnsQuery(query)) {
      return;
    }
    const { source, destination } = packet;
    const servers = this.#isolated ? [] : this.#sockets.nameServers();
    if (servers.length === 0) {
      this.#link.udp(destination.slice(), 53, source.slice(), sourcePort, dnsRefusal(query, DNS_REFUSED));
      return;
    }
    const flow = this.#flow(source, sourcePort);
    flow.deadline = Math.max(flow.deadline, this.#clock.now() + DNS_IDLE_NANOS);
    const id = dnsId(query);
    if (flow.lastQuery === id) {
      flow.nameServer++;
    }
    flow.lastQuery = id;
    this.#ask(flow, servers, destination.slice(), query, servers.length);
  }

  /** Asks the flow's name server, and the next ones when the host cannot send to it; at last the guest hears of it. */
  #ask(
    flow: Flow,
    servers: readonly HostEndpoint[],
    dns: IpAddress,
    query: Uint8Array<ArrayBuffer>,
    tries: number,
  ): void {
    const server = servers[flow.nameServer % servers.length];
    if (server === undefined || tries === 0) {
      this.#link.udp(dns, 53, flow.guest, flow.guestPort, dnsRefusal(query, DNS_SERVER_FAILURE));
      return;
    }
    this.#toHost(flow, server, dns, 53, query.slice(), () => {
      if (this.#flows.get(flowKey(flow.guest, flow.guestPort)) === flow) {
        flow.nameServer++;
        this.#ask(flow, servers, dns, query, tries - 1);
      }
    });
  }

  #flow(guest: IpAddress, guestPort: number): Flow {
    const key = flowKey(guest, guestPort);
    let flow = this.#flows.get(key);
    if (flow === undefined) {
      if (this.#flows.size >= MAX_FLOWS) {
        for (const [oldest, other] of this.#flows) {
          this.#flows.delete(oldest);
          close(other);
          break;
        }
      }
      flow = {
        guest: guest.slice(),
        guestPort,
        sockets: new Map(),
        peers: new Map(),
        deadline: 0,
        lastQuery: undefined,
        nameServer: 0,
      };
    } else {
      this.#flows.delete(key);
    }
    this.#flows.set(key, flow);
    this.#keepSweeping();
    return flow;
  }

  #toHost(
    flow: Flow,
    host: HostEndpoint,
    address: IpAddress,
    port: number,
    data: Uint8Array<ArrayBuffer>,
    failed?: (error: string) => void,
  ): void {
    const family = host.address.includes(':') ? 6 : 4;
    let socket = flow.sockets.get(family);
    if (socket === undefined) {
      socket = this.#sockets.openUdp(family, { datagram: (bytes, from) => this.#toGuest(flow, bytes, from) });
      flow.sockets.set(family, socket);
    }
    const key = endpointKey(host);
    flow.peers.delete(key);
    if (flow.peers.size >= MAX_PEERS) {
      for (const oldest of flow.peers.keys()) {
        flow.peers.delete(oldest);
        break;
      }
    }
    flow.peers.set(key, { address: address.slice(), port });
    socket.send(data, host.address, host.port, failed);
  }

  #toGuest(flow: Flow, bytes: Uint8Array, from: HostEndpoint): void {
    const peer = flow.peers.get(endpointKey(from));
    if (peer !== undefined) {
      flow.deadline = Math.max(flow.deadline, this.#clock.now() + DNS_IDLE_NANOS);
      this.#link.udp(peer.address, peer.port, flow.guest, flow.guestPort, bytes);
    }
  }

  /** A datagram has come to a forwarded port. */
  forward(socket: HostUdpSocket, bytes: Uint8Array, client: HostEndpoint, guest: IpAddress, guestPort: number): void {
    const peer = parseAddress(client.address);
    if (peer === undefined) {
      return;
    }
    const address = this.#policy.inside(peer, guest.length === 4 ? GATEWAY4 : GATEWAY6);
    const key = inboundKey(guest, guestPort, address, client.port);
    this.#inbound.delete(key);
    if (this.#inbound.size >= MAX_FLOWS) {
      for (const oldest of this.#inbound.keys()) {
        this.#inbound.delete(oldest);
        break;
      }
    }
    this.#inbound.set(key, { socket, client, deadline: this.#clock.now() + IDLE_NANOS });
    this.#keepSweeping();
    this.#link.udp(address, client.port, guest, guestPort, bytes);
  }

  /** A forwarded port is given up: its clients are not answered any more. */
  forgetSocket(socket: HostUdpSocket): void {
    for (const [key, inbound] of this.#inbound) {
      if (inbound.socket === socket) {
        this.#inbound.delete(key);
      }
    }
  }
}

function flowKey(guest: IpAddress, guestPort: number): string {
  return `${guest.join()} ${guestPort}`;
}

function close(flow: Flow): void {
  for (const socket of flow.sockets.values()) {
    socket.close();
  }
  flow.sockets.clear();
  flow.peers.clear();
}

function inboundKey(guest: IpAddress, guestPort: number, peer: IpAddress, port: number): string {
  return `${guest.join()} ${guestPort} ${peer.join()} ${port}`;
}

/** One text for one endpoint, however its address was written. */
function endpointKey({ address, port }: HostEndpoint): string {
  return `${parseAddress(address)?.join() ?? address} ${port}`;
}
