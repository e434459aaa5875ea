import { GATEWAY_MAC, type IpAddress, isLocal, sameAddress } from './address.ts';
import { checksum, foldSum, pseudoHeaderSum, sumBytes } from './checksum.ts';
import { type FrameWork, plainFrame, type ReceiveOffloads } from './network-port.ts';
import {
  ETHERNET_HEADER,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  FRAGMENT6,
  IPV4_HEADER,
  IPV6_HEADER,
  MTU,
  writeIpv4Header,
  writeIpv6Header,
} from './packet.ts';

/** Where frames for the guest go; the writing end of a ring. */
export interface FrameSink {
  /** Memory for a frame, or undefined while there is no room. */
  reserve(length: number): Uint8Array | undefined;
  commit(work: FrameWork, checksumGood: boolean): void;
  /** What the card takes from us. */
  readonly offloads: ReceiveOffloads;
  /** A place in the stream of frames, for `hasBeenRead`. */
  readonly position: number;
  /** The card has taken the frames before this place. */
  hasBeenRead(position: number): boolean;
}

/** A packet under construction: its frame, and where the payload goes. */
export interface Outgoing {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where the payload begins in `bytes`. */
  readonly payload: number;
}

const BROADCAST_MAC = new Uint8Array(6).fill(0xff);
/** The guest may have several addresses, and bridges behind it; there are no more than this on the network. */
const MAX_NEIGHBORS = 64;

/** The gateway's side of the Ethernet: knows the guest's addresses and makes frames for it. */
export class GuestLink {
  readonly sink: FrameSink;
  /** By the characters of an IP address: the card it belongs to. The oldest is forgotten first. */
  readonly #neighbors = new Map<string, Uint8Array>();
  /** The card that was heard last, for what concerns all. */
  #lastMac: Uint8Array | undefined;
  #identification = 0;

  constructor(sink: FrameSink) {
    this.sink = sink;
  }

  /** The frame of a neighbor came with this pair of addresses. */
  learn(address: IpAddress, mac: Uint8Array): void {
    if ((mac[0] ?? 0) & 1 || !isLocal(address)) {
      return;
    }
    const key = keyOf(address);
    const known = this.#neighbors.get(key);
    if (known !== undefined && sameAddress(known, mac)) {
      return;
    }
    this.#neighbors.delete(key);
    if (this.#neighbors.size >= MAX_NEIGHBORS) {
      for (const oldest of this.#neighbors.keys()) {
        this.#neighbors.delete(oldest);
        break;
      }
    }
    this.#lastMac = mac.slice();
    this.#neighbors.set(key, this.#lastMac);
  }

  /** Nobody has these addresses any more. */
  forgetAll(): void {
    this.#neighbors.clear();
    this.#lastMac = undefined;
  }

  knows(address: IpAddress): boolean {
    return this.#neighbors.has(keyOf(address));
  }

  #macOf(address: IpAddress): Uint8Array | undefined {
    if (address.length === 4) {
      if (address[3] === 255) {
        return BROADCAST_MAC;
      }
    } else if (address[0] === 0xff) {
      // RFC 2464, section 7.
      return Uint8Array.of(0x33, 0x33, ...address.subarray(12));
    }
    return this.#neighbors.get(keyOf(address));
  }

  /** Memory for a frame with its Ethernet header written; undefined while there is no room. */
  frame(mac: Uint8Array, ethertype: number, length: number): Outgoing | undefined {
    const bytes = this.sink.reserve(ETHERNET_HEADER + length);
    if (bytes === undefined) {
      return undefined;
    }
    bytes.set(mac, 0);
    bytes.set(GATEWAY_MAC, 6);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    view.setUint16(12, ethertype);
    return { bytes, view, payload: ETHERNET_HEADER };
  }

  /**
   * Memory for an IP packet with `length` bytes of payload, its headers written. Undefined when there is no room, or
   * nobody is known to have the address: then it is asked for, so that a later packet can be sent.
   */
  packet(
    source: IpAddress,
    destination: IpAddress,
    protocol: number,
    length: number,
    hopLimit = 64,
  ): Outgoing | undefined {
    const mac = this.#macOf(destination);
    if (mac === undefined) {
      this.#ask(destination);
      return undefined;
    }
    const four = destination.length === 4;
    const header = four ? IPV4_HEADER : IPV6_HEADER;
    const outgoing = this.frame(mac, four ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6, header + length);
    if (outgoing === undefined) {
      return undefined;
    }
    const { bytes, view, payload } = outgoing;
    if (four) {
      const id = this.#nextId();
      writeIpv4Header(view, payload, { source, destination, protocol, length: header + length, id, fragment: 0x4000 });
    } else {
      writeIpv6Header(bytes, view, payload, { source, destination, protocol, length, hopLimit });
    }
    return { bytes, view, payload: payload + header };
  }

  #nextId(): number {
    this.#identification = (this.#identification + 1) & 0xffff;
    return this.#identification;
  }

  /** Sends a complete frame. */
  send(): void {
    this.sink.commit(plainFrame, true);
  }

  /**
   * Sends a packet of `packet` whose transport header has its checksum field, zero so far, `checksumAt` bytes from the
   * payload's start. What the card takes is left to it.
   */
  sendTransport(
    outgoing: Outgoing,
    source: IpAddress,
    destination: IpAddress,
    protocol: number,
    checksumAt: number,
    segmentBytes = 0,
  ): void {
    const { bytes, view, payload } = outgoing;
    const pseudo = pseudoHeaderSum(source, destination, protocol, bytes.length - payload);
    if (this.sink.offloads.checksum) {
      view.setUint16(payload + checksumAt, pseudo);
      const segmentKind = segmentBytes === 0 ? 'none' : destination.length === 4 ? 'tcp4' : 'tcp6';
      this.sink.commit({ checksumStart: payload, checksumOffset: checksumAt, segmentBytes, segmentKind }, true);
      return;
    }
    const sum = checksum(bytes, payload, bytes.length, pseudo);
    // Zero means "none" in UDP (RFC 768); all ones is the same sum.
    view.setUint16(payload + checksumAt, sum === 0 ? 0xffff : sum);
    this.sink.commit(plainFrame, true);
  }

  /**
   * Sends a whole payload, complete with its checksum, in fragments where it is too long for one packet.
   * False when there was no room for all of it.
   */
  datagram(source: IpAddress, destination: IpAddress, protocol: number, payload: Uint8Array): boolean {
    const four = destination.length === 4;
    const header = four ? IPV4_HEADER : IPV6_HEADER;
    if (payload.length <= MTU - header) {
      const outgoing = this.packet(source, destination, protocol, payload.length);
      outgoing?.bytes.set(payload, outgoing.payload);
      if (outgoing !== undefined) {
        this.send();
      }
      return outgoing !== undefined;
    }
    const mac = this.#macOf(destination);
    if (mac === undefined) {
      this.#ask(destination);
      return false;
    }
    const extra = four ? 0 : 8;
    const part = (MTU - header - extra) & ~7;
    const id = this.#nextId();
    for (let at = 0; at < payload.length; at += part) {
      const length = Math.min(part, payload.length - at);
      const more = at + length < payload.length;
      const outgoing = this.frame(mac, four ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6, header + extra + length);
      if (outgoing === undefined) {
        return false;
      }
      const { bytes, view, payload: start } = outgoing;
      if (four) {
        const fragment = (more ? 0x2000 : 0) | (at / 8);
        writeIpv4Header(view, start, { source, destination, protocol, length: header + length, id, fragment });
      } else {
        const fields = { source, destination, protocol: FRAGMENT6, length: extra + length, hopLimit: 64 };
        writeIpv6Header(bytes, view, start, fields);
        view.setUint16(start + header, protocol << 8);
        view.setUint16(start + header + 2, at | (more ? 1 : 0));
        view.setUint32(start + header + 4, id);
      }
      bytes.set(payload.subarray(at, at + length), start + header + extra);
      this.send();
    }
    return true;
  }

  /** Sends UDP (RFC 768). False when there was no room, or nobody has the address. */
  udp(
    source: IpAddress,
    sourcePort: number,
    destination: IpAddress,
    destinationPort: number,
    data: Uint8Array,
  ): boolean {
    const length = 8 + data.length;
    if (length > 65535 - IPV4_HEADER) {
      return false;
    }
    const datagram = new Uint8Array(length);
    const view = new DataView(datagram.buffer);
    view.setUint16(0, sourcePort);
    view.setUint16(2, destinationPort);
    view.setUint16(4, length);
    datagram.set(data, 8);
    const pseudo = pseudoHeaderSum(source, destination, 17, length);
    const sum = ~foldSum(sumBytes(datagram, 0, length, pseudo)) & 0xffff;
    view.setUint16(6, sum === 0 ? 0xffff : sum);
    return this.datagram(source, destination, 17, datagram);
  }

  /** Asks who has an address on the guest's network: ARP, or a neighbor solicitation (RFC 4861, section 7.2.2). */
  #ask(address: IpAddress): void {
    if (address.length === 4) {
      const request = this.frame(BROADCAST_MAC, ETHERTYPE_ARP, 28);
      if (request !== undefined) {
        writeArp(request, 1, Uint8Array.of(10, 0, 2, 2), new Uint8Array(6), address);
        this.send();
      }
      return;
    }
    this.onAskNeighbor?.(address);
  }

  /** Sends a neighbor solicitation; set by who speaks ICMPv6. */
  onAskNeighbor: ((address: IpAddress) => void) | undefined;
}

function keyOf(address: IpAddress): string {
  return String.fromCharCode(...address);
}

/** Writes an ARP packet for Ethernet and IPv4 (RFC 826) from the gateway. */
export function writeArp(
  { bytes, view, payload: at }: Outgoing,
  operation: 1 | 2,
  sender: IpAddress,
  targetMac: Uint8Array,
  target: IpAddress,
): void {
  view.setUint16(at, 1);
  view.setUint16(at + 2, ETHERTYPE_IPV4);
  view.setUint16(at + 4, 0x0604);
  view.setUint16(at + 6, operation);
  bytes.set(GATEWAY_MAC, at + 8);
  bytes.set(sender, at + 14);
  bytes.set(targetMac, at + 18);
  bytes.set(target, at + 24);
}
