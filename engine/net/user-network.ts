import type { Disposable } from '../base/disposable.ts';
import { HostError } from '../base/host-error.ts';
import type { Clock } from '../clock/clock.ts';
import {
  DNS4,
  FIRST_GUEST4_ADDRESS,
  formatAddress,
  GATEWAY4,
  GATEWAY6,
  type IpAddress,
  isDns,
  isGateway,
  isLocal,
  parseAddress,
  sameAddress,
} from './address.ts';
import { AddressPolicy } from './address-policy.ts';
import { HttpBootSession } from './boot/http-server.ts';
import { TftpServer } from './boot/tftp-server.ts';
import { DhcpServer } from './dhcp-server.ts';
import { dhcp6Reply } from './dhcp6-server.ts';
import { type FrameSink, GuestLink, writeArp } from './guest-link.ts';
import type { BootFolder, HostSockets } from './host-sockets.ts';
import { Icmp } from './icmp.ts';
import type { FrameWork } from './network-port.ts';
import {
  ETHERNET_HEADER,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  type IpPacket,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseIpv4,
  parseIpv6,
  transportChecksumGood,
} from './packet.ts';
import { Reassembler } from './reassembly.ts';
import { TcpNat, type TcpService } from './tcp/tcp-nat.ts';
import { UdpNat } from './udp-nat.ts';

const MAX_FORWARDS = 256;
const DHCP_SERVER_PORT = 67;
const DHCP_CLIENT_PORT = 68;
const DHCP6_CLIENT_PORT = 546;
const DHCP6_SERVER_PORT = 547;
const HTTP_PORT = 80;

/** A port of the host that leads to the guest. */
export interface PortForward {
  readonly protocol: 'tcp' | 'udp';
  /** The host's address that is listened on. */
  readonly hostAddress: string;
  /** 0: any that is free. */
  readonly hostPort: number;
  /** Undefined: the guest that has the first address. */
  readonly guestAddress?: string | undefined;
  readonly guestPort: number;
}

export interface UserNetworkOptions {
  /** Guests reach the host's loopback services at the gateway's address. */
  readonly hostLoopback: boolean;
  /** Guests reach nothing outside; forwarded ports and boot files still work. */
  readonly isolated: boolean;
  /** Served by TFTP, and by HTTP, from the gateway. */
  readonly bootFolder?: BootFolder;
  /** What DHCP tells network boot to load. */
  readonly bootFile?: string;
}

export interface UserNetworkParts {
  readonly sink: FrameSink;
  readonly clock: Clock;
  readonly sockets: HostSockets;
  /** A random uint32, not to be guessed. */
  random(): number;
  /** `flush` is to be called soon. */
  wantFlush(): void;
}

/**
 * The user-mode network: a gateway for one guest made of ordinary sockets of the host, without privileges.
 *
 * IPv4: 10.0.2.0/24, gateway 10.0.2.2, name server 10.0.2.3, guests from 10.0.2.15 on. IPv6: fd00:10:0:2::/64, gateway
 * ::2, name server ::3. Frames come by `receive`; after a batch of them `flush` is called, and `roomForFrames` when the
 * sink has room again. Nothing that a frame holds makes it throw.
 */
export class UserNetwork implements Disposable {
  readonly #link: GuestLink;
  readonly #sockets: HostSockets;
  readonly #icmp: Icmp;
  readonly #dhcp: DhcpServer;
  readonly #reassembler: Reassembler;
  readonly #udp: UdpNat;
  readonly #tcp: TcpNat;
  readonly #tftp: TftpServer | undefined;
  readonly #forwards = new Map<string, { readonly forward: PortForward; readonly listener: Disposable }>();

  constructor(parts: UserNetworkParts, options: UserNetworkOptions) {
    const { clock, sockets } = parts;
    this.#sockets = sockets;
    this.#link = new GuestLink(parts.sink);
    this.#icmp = new Icmp(this.#link, clock);
    this.#dhcp = new DhcpServer(options.bootFile);
    this.#reassembler = new Reassembler(clock);
    const { hostLoopback, isolated, bootFolder } = options;
    const policy = new AddressPolicy({ hostLoopback, isolated }, sockets);
    this.#udp = new UdpNat({ link: this.#link, clock, sockets, icmp: this.#icmp }, policy, isolated);
    const services: TcpService[] = [];
    if (bootFolder !== undefined) {
      services.push({ port: HTTP_PORT, open: () => new HttpBootSession(bootFolder) });
      this.#tftp = new TftpServer(clock, bootFolder, (port, guest, guestPort, data) =>
        this.#link.udp(GATEWAY4, port, guest, guestPort, data),
      );
    }
    const { random, wantFlush } = parts;
    this.#tcp = new TcpNat(
      { link: this.#link, clock, sockets, random: () => random(), wantFlush: () => wantFlush() },
      policy,
      isolated,
      services,
    );
  }

  /** TCP connections that are there, for tests and the status. */
  get connectionCount(): number {
    return this.#tcp.connectionCount;
  }

  /** Memory of all TCP connections, for tests and the status: what waits for the guest, and for the host. */
  get waitingBytes(): { readonly toGuest: number; readonly toHost: number } {
    return this.#tcp.waitingBytes;
  }

  /** A frame of the guest, valid during the call. */
  receive(frame: Uint8Array, work: FrameWork): void {
    if (frame.length < ETHERNET_HEADER) {
      return;
    }
    const mac = frame.subarray(6, 12);
    const payload = frame.subarray(ETHERNET_HEADER);
    switch (((frame[12] ?? 0) << 8) | (frame[13] ?? 0)) {
      case ETHERTYPE_ARP:
        this.#receiveArp(payload);
        return;
      case ETHERTYPE_IPV4:
        this.#receiveIpv4(payload, mac, work);
        return;
      case ETHERTYPE_IPV6:
        this.#receiveIpv6(payload, mac, work);
        return;
    }
  }

  /** Sends what the frames of a batch, or the host, have led to. */
  flush(): void {
    this.#tcp.flush();
  }

  /** The sink has room again. */
  roomForFrames(): void {
    this.#tcp.resume();
  }

  /** The guest has started anew and knows nothing of its connections. */
  guestReset(): void {
    this.#tcp.resetAll();
    this.#udp.clear();
    this.#link.forgetAll();
  }

  #receiveArp(bytes: Uint8Array): void {
    if (bytes.length < 28) {
      return;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (view.getUint16(0) !== 1 || view.getUint16(2) !== ETHERTYPE_IPV4 || view.getUint16(4) !== 0x0604) {
      return;
    }
    const senderMac = bytes.slice(8, 14);
    const sender = bytes.slice(14, 18);
    const target = bytes.slice(24, 28);
    this.#link.learn(sender, senderMac);
    if (view.getUint16(6) === 1 && (isGateway(target) || isDns(target))) {
      const reply = this.#link.frame(senderMac, ETHERTYPE_ARP, 28);
      if (reply !== undefined) {
        writeArp(reply, 2, target, senderMac, sender);
        this.#link.send();
      }
    }
    // Segments may have waited to know where to go.
    this.#tcp.resume();
  }

  #receiveIpv4(bytes: Uint8Array, mac: Uint8Array, work: FrameWork): void {
    const packet = parseIpv4(bytes);
    if (packet === undefined) {
      return;
    }
    const { source, destination } = packet;
    if (isLocal(source) && !isGateway(source) && !isDns(source)) {
      this.#link.learn(source, mac);
      this.#dispatch(packet, mac, work);
    } else if (source.every((byte) => byte === 0) && (destination[3] === 255 || isGateway(destination))) {
      this.#dispatch(packet, mac, work); // a guest without an address asks for one
    }
  }

  #receiveIpv6(bytes: Uint8Array, mac: Uint8Array, work: FrameWork): void {
    const packet = parseIpv6(bytes);
    if (packet === undefined) {
      return;
    }
    const { source, protocol } = packet;
    if (isLocal(source) && !isGateway(source) && !isDns(source)) {
      this.#link.learn(source, mac);
      this.#dispatch(packet, mac, work);
    } else if (protocol === PROTOCOL_ICMPV6 && source.every((byte) => byte === 0) && packet.fragment === undefined) {
      this.#icmp.receive6(packet, mac);
    }
  }

  #dispatch(part: IpPacket, mac: Uint8Array, work: FrameWork): void {
    const packet = part.fragment === undefined ? part : this.#reassembler.add(part);
    if (packet === undefined) {
      return;
    }
    switch (packet.protocol) {
      case PROTOCOL_TCP:
        if (transportChecksumGood(packet, work)) {
          this.#tcp.receive(packet);
        }
        return;
      case PROTOCOL_UDP:
        this.#receiveUdp(packet, mac, work);
        return;
      case PROTOCOL_ICMP:
        if (packet.version === 4) {
          this.#icmp.receive4(packet);
        }
        return;
      case PROTOCOL_ICMPV6:
        if (packet.version === 6) {
          this.#icmp.receive6(packet, mac);
        }
        return;
    }
  }

  #receiveUdp(packet: IpPacket, mac: Uint8Array, work: FrameWork): void {
    const { view, payload, bytes, version, source, destination } = packet;
    if (bytes.length - payload < 8) {
      return;
    }
    const length = view.getUint16(payload + 4);
    if (length < 8 || payload + length > bytes.length) {
      return;
    }
    const unchecked = version === 4 && view.getUint16(payload + 6) === 0;
    if (!unchecked && !transportChecksumGood(packet, work)) {
      return;
    }
    const sourcePort = view.getUint16(payload);
    const destinationPort = view.getUint16(payload + 2);
    const data = new Uint8Array(bytes.subarray(payload + 8, payload + length));
    if (version === 4 && destinationPort === DHCP_SERVER_PORT) {
      this.#receiveDhcp(data);
      return;
    }
    if (version === 6 && destinationPort === DHCP6_SERVER_PORT) {
      const reply = dhcp6Reply(data);
      if (reply !== undefined) {
        this.#link.udp(GATEWAY6, DHCP6_SERVER_PORT, source.slice(), DHCP6_CLIENT_PORT, reply);
      }
      return;
    }
    if (source.every((byte) => byte === 0)) {
      return;
    }
    const toGateway = version === 4 && sameAddress(destination, GATEWAY4);
    if (toGateway && this.#tftp?.receive(source, sourcePort, destinationPort, data) === true) {
      return;
    }
    this.#udp.send(packet, sourcePort, destinationPort, data);
    this.#link.learn(source, mac);
  }

  #receiveDhcp(request: Uint8Array): void {
    const reply = this.#dhcp.receive(request);
    if (reply === undefined) {
      return;
    }
    if (reply.granted !== undefined) {
      this.#link.learn(reply.granted, reply.mac);
    }
    this.#link.udp(GATEWAY4, DHCP_SERVER_PORT, reply.destination, DHCP_CLIENT_PORT, reply.message);
  }

  // --- Forwarded ports ---

  get forwards(): readonly PortForward[] {
    return [...this.#forwards.values()].map(({ forward }) => forward);
  }

  /**
   * Leads a port of the host to the guest. Resolves with the forward as it stands, its host port filled in; rejects
   * with HostError when the port cannot be had, or is given already.
   */
  async addForward(wanted: PortForward): Promise<PortForward> {
    const { protocol, hostAddress, guestPort, guestAddress } = wanted;
    const guest = guestAddress === undefined ? FIRST_GUEST4_ADDRESS : parseAddress(guestAddress);
    if (guest === undefined || !isLocal(guest) || isGateway(guest) || sameAddress(guest, DNS4)) {
      throw new HostError('bad-forward', `${guestAddress}: is no address that a guest can have`, {
        remedy: `give one of 10.0.2.0/24, such as ${formatAddress(FIRST_GUEST4_ADDRESS)}`,
      });
    }
    if (this.#forwards.size >= MAX_FORWARDS) {
      throw new HostError('too-many-forwards', `more than ${MAX_FORWARDS} ports cannot be forwarded`, {
        remedy: 'remove some first',
      });
    }
    if (this.#forwards.has(forwardKey(wanted))) {
      throw new HostError('port-forwarded', `${protocol} port ${wanted.hostPort} is forwarded already`, {
        remedy: 'remove that forward first, or give another port',
        details: { protocol, port: wanted.hostPort },
      });
    }
    const { listener, port } =
      protocol === 'tcp'
        ? await this.#listenTcp(wanted, guest, guestPort)
        : await this.#listenUdp(wanted, guest, guestPort);
    const forward: PortForward = { protocol, hostAddress, hostPort: port, guestAddress, guestPort };
    this.#forwards.set(forwardKey(forward), { forward, listener });
    return forward;
  }

  async #listenTcp({ hostAddress, hostPort }: PortForward, guest: IpAddress, guestPort: number) {
    const listener = await this.#sockets.listenTcp(hostAddress, hostPort, (socket, from) =>
      this.#tcp.forward(socket, from, guest, guestPort),
    );
    return { listener: { dispose: () => listener.close() }, port: listener.port };
  }

  async #listenUdp({ hostAddress, hostPort }: PortForward, guest: IpAddress, guestPort: number) {
    const bound = await this.#sockets.bindUdp(hostAddress, hostPort, {
      datagram: (bytes, from) => this.#udp.forward(bound.socket, bytes, from, guest, guestPort),
    });
    const dispose = () => {
      this.#udp.forgetSocket(bound.socket);
      bound.socket.close();
    };
    return { listener: { dispose }, port: bound.port };
  }

  /** Stops listening; connections that stand go on. False: there was no such forward. */
  removeForward(which: Pick<PortForward, 'protocol' | 'hostAddress' | 'hostPort'>): boolean {
    const key = forwardKey(which);
    const entry = this.#forwards.get(key);
    entry?.listener.dispose();
    return this.#forwards.delete(key);
  }

  dispose(): void {
    for (const { listener } of this.#forwards.values()) {
      listener.dispose();
    }
    this.#forwards.clear();
    this.#tcp.resetAll();
    this.#udp.dispose();
    this.#tftp?.dispose();
    this.#icmp.dispose();
  }
}

function forwardKey({ protocol, hostAddress, hostPort }: Pick<PortForward, 'protocol' | 'hostAddress' | 'hostPort'>) {
  return `${protocol} ${hostAddress} ${hostPort}`;
}
