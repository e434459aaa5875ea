import type { Alarm, Clock, Nanos } from '../clock/clock.ts';
import {
  DNS6,
  GATEWAY_MAC,
  GATEWAY4,
  GATEWAY6,
  GATEWAY6_LOCAL,
  type IpAddress,
  isDns,
  isGateway,
  NETWORK6,
  sameAddress,
} from './address.ts';
import { checksum, pseudoHeaderSum } from './checksum.ts';
import type { GuestLink } from './guest-link.ts';
import { type IpPacket, MTU, PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from './packet.ts';

const ECHO_REPLY = 0;
const UNREACHABLE = 3;
const ECHO_REQUEST = 8;

const UNREACHABLE6 = 1;
const ECHO_REQUEST6 = 128;
const ECHO_REPLY6 = 129;
const ROUTER_SOLICITATION = 133;
const ROUTER_ADVERTISEMENT = 134;
const NEIGHBOR_SOLICITATION = 135;
const NEIGHBOR_ADVERTISEMENT = 136;
const OPTION_SOURCE_LINK_ADDRESS = 1;
const OPTION_TARGET_LINK_ADDRESS = 2;

const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
/** How long a guest may use the gateway after an advertisement, and how often one comes. */
const ROUTER_LIFETIME_SECONDS = 1800;
const ADVERTISE_NANOS: Nanos = 600e9;
const PREFIX_LIFETIME_SECONDS = 86_400;
const NEVER_TO_THE_OUTSIDE = 13;

/** Why a packet is sent back. */
export type Unreachable = 'port' | 'host' | 'prohibited';
/** Codes of "destination unreachable" (RFC 792 and RFC 1812; RFC 4443, 3.1). */
const CODES4: Readonly<Record<Unreachable, number>> = { port: 3, host: 1, prohibited: NEVER_TO_THE_OUTSIDE };
const CODES6: Readonly<Record<Unreachable, number>> = { port: 4, host: 3, prohibited: 1 };

/** The gateway's ICMP, and what IPv6 does with it: neighbors and router advertisements. */
export class Icmp {
  readonly #link: GuestLink;
  readonly #clock: Clock;
  readonly #advertise: Alarm;

  constructor(link: GuestLink, clock: Clock) {
    this.#link = link;
    this.#clock = clock;
    this.#advertise = clock.createAlarm(() => this.#advertiseRouter(ALL_NODES));
    link.onAskNeighbor = (address) => this.#solicit(address);
  }

  dispose(): void {
    this.#advertise.dispose();
  }

  /** ICMP of IPv4. */
  receive4(packet: IpPacket): void {
    const { bytes, view, payload, source, destination } = packet;
    const length = bytes.length - payload;
    if (length < 8 || checksum(bytes, payload, bytes.length) !== 0 || view.getUint8(payload) !== ECHO_REQUEST) {
      return;
    }
    if (!isGateway(destination) && !isDns(destination)) {
      // Unprivileged programs cannot ping for the guest.
      this.unreachable(packet, 'prohibited');
      return;
    }
    const reply = bytes.slice(payload);
    reply[0] = ECHO_REPLY;
    this.#send4(destination.slice(), source.slice(), reply);
  }

  #send4(source: IpAddress, destination: IpAddress, message: Uint8Array): void {
    const view = new DataView(message.buffer, message.byteOffset, message.length);
    view.setUint16(2, 0);
    view.setUint16(2, checksum(message, 0, message.length));
    this.#link.datagram(source, destination, PROTOCOL_ICMP, message);
  }

  #send6(source: IpAddress, destination: IpAddress, message: Uint8Array, hopLimit = 64): void {
    const view = new DataView(message.buffer, message.byteOffset, message.length);
    view.setUint16(2, 0);
    const pseudo = pseudoHeaderSum(source, destination, PROTOCOL_ICMPV6, message.length);
    view.setUint16(2, checksum(message, 0, message.length, pseudo));
    if (message.length > MTU - 40) {
      this.#link.datagram(source, destination, PROTOCOL_ICMPV6, message);
      return;
    }
    const outgoing = this.#link.packet(source, destination, PROTOCOL_ICMPV6, message.length, hopLimit);
    if (outgoing !== undefined) {
      outgoing.bytes.set(message, outgoing.payload);
      this.#link.send();
    }
  }

  /** Sends a packet of the guest back; never answers one to many, or one that is an error itself. */
  unreachable(packet: IpPacket, why: Unreachable): void {
    const { bytes, destination, source, version, payload, protocol } = packet;
    if (version === 4) {
      const many = (destination[0] ?? 0) >= 224 || destination[3] === 255;
      if (many || (protocol === PROTOCOL_ICMP && bytes[payload] !== ECHO_REQUEST)) {
        return;
      }
      // RFC 792: the header and the first 8 bytes behind it.
      const quoted = bytes.subarray(0, Math.min(bytes.length, payload + 8));
      const message = new Uint8Array(8 + quoted.length);
      message[0] = UNREACHABLE;
      message[1] = CODES4[why];
      message.set(quoted, 8);
      this.#send4(GATEWAY4, source.slice(), message);
      return;
    }
    if (destination[0] === 0xff || (protocol === PROTOCOL_ICMPV6 && (bytes[payload] ?? 0) < 128)) {
      return;
    }
    // RFC 4443, 2.4: as much as fits into 1280 bytes.
    const quoted = bytes.subarray(0, Math.min(bytes.length, 1280 - 48));
    const message = new Uint8Array(8 + quoted.length);
    message[0] = UNREACHABLE6;
    message[1] = CODES6[why];
    message.set(quoted, 8);
    this.#send6(GATEWAY6, source.slice(), message);
  }

  /** ICMPv6 (RFC 4443), neighbor discovery (RFC 4861). `mac` is the frame's sender. */
  receive6(packet: IpPacket, mac: Uint8Array): void {
    const { bytes, view, payload, source, destination, hopLimit } = packet;
    const length = bytes.length - payload;
    const pseudo = pseudoHeaderSum(source, destination, PROTOCOL_ICMPV6, length);
    if (length < 8 || checksum(bytes, payload, bytes.length, pseudo) !== 0) {
      return;
    }
    const type = view.getUint8(payload);
    if (type === ECHO_REQUEST6) {
      if (!isGateway(destination) && !isDns(destination)) {
        this.unreachable(packet, 'prohibited');
        return;
      }
      const reply = bytes.slice(payload);
      reply[0] = ECHO_REPLY6;
      this.#send6(destination.slice(), source.slice(), reply);
      return;
    }
    // A hop limit of 255 says that the message comes from this link.
    if (hopLimit !== 255) {
      return;
    }
    const from = source.slice();
    const unspecified = from.every((byte) => byte === 0);
    if (type === ROUTER_SOLICITATION) {
      if (!unspecified) {
        this.#link.learn(from, mac);
      }
      this.#advertiseRouter(unspecified ? ALL_NODES : from);
    } else if (type === NEIGHBOR_SOLICITATION && length >= 24) {
      const target = bytes.slice(payload + 8, payload + 24);
      if (unspecified) {
        return; // a guest that makes sure that its address is its own
      }
      this.#link.learn(from, mac);
      if (isGateway(target) || sameAddress(target, DNS6)) {
        this.#advertiseNeighbor(target, from);
      }
    } else if (type === NEIGHBOR_ADVERTISEMENT && length >= 24) {
      this.#link.learn(bytes.slice(payload + 8, payload + 24), mac);
    }
  }

  #advertiseNeighbor(target: IpAddress, destination: IpAddress): void {
    const message = new Uint8Array(32);
    message[0] = NEIGHBOR_ADVERTISEMENT;
    message[4] = 0xe0; // router, solicited, override
    message.set(target, 8);
    message.set([OPTION_TARGET_LINK_ADDRESS, 1, ...GATEWAY_MAC], 24);
    this.#send6(target, destination, message, 255);
  }

  #solicit(address: IpAddress): void {
    const message = new Uint8Array(32);
    message[0] = NEIGHBOR_SOLICITATION;
    message.set(address, 8);
    message.set([OPTION_SOURCE_LINK_ADDRESS, 1, ...GATEWAY_MAC], 24);
    // The solicited-node address (RFC 4291, 2.7.1).
    const group = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ...address.subarray(13));
    this.#send6(GATEWAY6_LOCAL, group, message, 255);
  }

  /** The gateway, the prefix for addresses, the name server (RFC 4861, 4.2; RFC 8106), more by stateless DHCPv6. */
  #advertiseRouter(destination: IpAddress): void {
    const message = new Uint8Array(16 + 8 + 8 + 32 + 24);
    const view = new DataView(message.buffer);
    message[0] = ROUTER_ADVERTISEMENT;
    message[4] = 64; // hop limit
    message[5] = 0x40; // other configuration by DHCPv6
    view.setUint16(6, ROUTER_LIFETIME_SECONDS);
    message.set([OPTION_SOURCE_LINK_ADDRESS, 1, ...GATEWAY_MAC], 16);
    message.set([5, 1], 24);
    view.setUint32(28, MTU);
    message.set([3, 4, 64, 0xc0], 32); // the prefix is on this link, and for addresses
    view.setUint32(36, PREFIX_LIFETIME_SECONDS);
    view.setUint32(40, PREFIX_LIFETIME_SECONDS);
    message.set(NETWORK6, 48);
    message.set([25, 3], 64);
    view.setUint32(68, PREFIX_LIFETIME_SECONDS);
    message.set(DNS6, 72);
    this.#send6(GATEWAY6_LOCAL, destination, message, 255);
    this.#advertise.set(this.#clock.now() + ADVERTISE_NANOS);
  }
}
