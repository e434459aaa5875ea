import type { IpAddress } from './address.ts';
import { foldSum, pseudoHeaderSum, sumBytes } from './checksum.ts';
import type { FrameWork } from './network-port.ts';

export const ETHERNET_HEADER = 14;
export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_ICMPV6 = 58;
/** The next headers of IPv6 that are not a transport (RFC 8200, section 4). */
const HOP_BY_HOP = 0;
const ROUTING = 43;
export const FRAGMENT6 = 44;
const DESTINATION_OPTIONS = 60;
/** Extension headers before the transport; more of them are an attack. */
const MAX_EXTENSIONS = 8;

export const IPV4_HEADER = 20;
export const IPV6_HEADER = 40;
/** The largest packet on the guest's link that is not to be cut into segments. */
export const MTU = 1500;

/** An IP packet taken apart; everything but the numbers are views that are valid while the packet is handled. */
export interface IpPacket {
  readonly version: 4 | 6;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** Protocol of IPv4, or the last next-header of IPv6. */
  readonly protocol: number;
  readonly hopLimit: number;
  /** The packet from its IP header on, cut to its length. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where the payload begins in `bytes`. */
  readonly payload: number;
  /** Set when this is a part of a packet. */
  readonly fragment: Fragment | undefined;
}

export interface Fragment {
  readonly id: number;
  /** In bytes. */
  readonly offset: number;
  readonly more: boolean;
}

/** Takes an IPv4 packet apart (RFC 791); undefined for what is none or has a wrong header checksum. */
export function parseIpv4(bytes: Uint8Array): IpPacket | undefined {
  if (bytes.length < IPV4_HEADER) {
    return undefined;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const first = view.getUint8(0);
  const header = (first & 0xf) * 4;
  const length = view.getUint16(2);
  if (first >> 4 !== 4 || header < IPV4_HEADER || length < header || length > bytes.length) {
    return undefined;
  }
  if (sumBytes(bytes, 0, header) !== 0xffff) {
    return undefined;
  }
  const flags = view.getUint16(6);
  const offset = (flags & 0x1fff) * 8;
  const more = (flags & 0x2000) !== 0;
  return {
    version: 4,
    source: bytes.subarray(12, 16),
    destination: bytes.subarray(16, 20),
    protocol: view.getUint8(9),
    hopLimit: view.getUint8(8),
    bytes: length === bytes.length ? bytes : bytes.subarray(0, length),
    view,
    payload: header,
    fragment: offset !== 0 || more ? { id: view.getUint16(4), offset, more } : undefined,
  };
}

/** Takes an IPv6 packet apart (RFC 8200), past its extension headers. */
export function parseIpv6(bytes: Uint8Array): IpPacket | undefined {
  if (bytes.length < IPV6_HEADER || (bytes[0] ?? 0) >> 4 !== 6) {
    return undefined;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const length = IPV6_HEADER + view.getUint16(4);
  if (length > bytes.length) {
    return undefined;
  }
  let protocol = view.getUint8(6);
  let payload = IPV6_HEADER;
  let fragment: Fragment | undefined;
  for (let i = 0; i < MAX_EXTENSIONS; i++) {
    if (protocol === FRAGMENT6) {
      if (payload + 8 > length) {
        return undefined;
      }
      const word = view.getUint16(payload + 2);
      fragment = { id: view.getUint32(payload + 4), offset: word & 0xfff8, more: (word & 1) !== 0 };
      protocol = view.getUint8(payload);
      payload += 8;
      break;
    }
    if (protocol !== HOP_BY_HOP && protocol !== ROUTING && protocol !== DESTINATION_OPTIONS) {
      break;
    }
    if (payload + 8 > length) {
      return undefined;
    }
    protocol = view.getUint8(payload);
    payload += (view.getUint8(payload + 1) + 1) * 8;
  }
  if (payload > length) {
    return undefined;
  }
  return {
    version: 6,
    source: bytes.subarray(8, 24),
    destination: bytes.subarray(24, 40),
    protocol,
    hopLimit: view.getUint8(7),
    bytes: length === bytes.length ? bytes : bytes.subarray(0, length),
    view,
    payload,
    // An "atomic" fragment is the whole packet.
    fragment: fragment !== undefined && fragment.offset === 0 && !fragment.more ? undefined : fragment,
  };
}

/** Whether the checksum over pseudo-header and payload is right, or left to the network by the card. */
export function transportChecksumGood(packet: IpPacket, work: FrameWork): boolean {
  if (work.checksumStart !== 0) {
    return true;
  }
  const { source, destination, protocol, bytes, payload } = packet;
  const sum = pseudoHeaderSum(source, destination, protocol, bytes.length - payload);
  return sumBytes(bytes, payload, bytes.length, sum) === 0xffff;
}

/** Writes an IPv4 header of 20 bytes with its checksum. */
export function writeIpv4Header(
  view: DataView,
  at: number,
  fields: {
    readonly source: IpAddress;
    readonly destination: IpAddress;
    readonly protocol: number;
    /** Of the whole packet. */
    readonly length: number;
    readonly id: number;
    /** Flags and offset of fragments, as in the header. */
    readonly fragment: number;
  },
): void {
  const { source, destination } = fields;
  view.setUint16(at, 0x4500);
  view.setUint16(at + 2, fields.length);
  view.setUint16(at + 4, fields.id);
  view.setUint16(at + 6, fields.fragment);
  view.setUint16(at + 8, (64 << 8) | fields.protocol);
  view.setUint16(at + 10, 0);
  let sum = 0x4500 + fields.length + fields.id + fields.fragment + ((64 << 8) | fields.protocol);
  for (let i = 0; i < 4; i += 2) {
    const from = ((source[i] ?? 0) << 8) | (source[i + 1] ?? 0);
    const to = ((destination[i] ?? 0) << 8) | (destination[i + 1] ?? 0);
    view.setUint16(at + 12 + i, from);
    view.setUint16(at + 16 + i, to);
    sum += from + to;
  }
  view.setUint16(at + 10, ~foldSum(sum) & 0xffff);
}

/** Writes an IPv6 header of 40 bytes. */
export function writeIpv6Header(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  fields: {
    readonly source: IpAddress;
    readonly destination: IpAddress;
    readonly protocol: number;
    /** After this header. */
    readonly length: number;
    readonly hopLimit: number;
  },
): void {
  view.setUint32(at, 0x60000000);
  view.setUint16(at + 4, fields.length);
  view.setUint8(at + 6, fields.protocol);
  view.setUint8(at + 7, fields.hopLimit);
  bytes.set(fields.source, at + 8);
  bytes.set(fields.destination, at + 24);
}
