import { formatAddress, GATEWAY4, type IpAddress, inPrefix, isGateway, isLocal, unmapped } from './address.ts';
import type { HostSockets } from './host-sockets.ts';

/** IPv4 prefixes that lead to no other machine, or to the host's own loopback. */
const REFUSED4: readonly (readonly [IpAddress, bits: number])[] = [
  [Uint8Array.of(0, 0, 0, 0), 8], // "this host": connecting to 0.0.0.0 reaches loopback on many systems
  [Uint8Array.of(127, 0, 0, 0), 8],
  [Uint8Array.of(224, 0, 0, 0), 4], // multicast
  [Uint8Array.of(240, 0, 0, 0), 4], // reserved, and the limited broadcast
];

const zeros6 = new Uint8Array(16);
/** IPv6 prefixes likewise. The first holds ::, ::1 and the IPv4-compatible addresses. */
const REFUSED6: readonly (readonly [IpAddress, bits: number])[] = [
  [zeros6, 80],
  [Uint8Array.of(0xfe, 0x80, ...zeros6.subarray(2)), 10], // link-local: of the host's links, not the guest's
  [Uint8Array.of(0xff, ...zeros6.subarray(1)), 8], // multicast
];
/** IPv4 addresses inside IPv6 ones, by the number of bytes before them: NAT64 (RFC 6052) and 6to4 (RFC 3056). */
const EMBEDDED4: readonly (readonly [IpAddress, bits: number, at: number])[] = [
  [Uint8Array.of(0x00, 0x64, 0xff, 0x9b, ...zeros6.subarray(4)), 96, 12],
  [Uint8Array.of(0x20, 0x02, ...zeros6.subarray(2)), 16, 2],
];

/** No other machine has this address, or the host alone reaches it. */
function isRefused(address: IpAddress): boolean {
  const prefixes = address.length === 4 ? REFUSED4 : REFUSED6;
  if (prefixes.some(([prefix, bits]) => inPrefix(address, prefix, bits))) {
    return true;
  }
  return EMBEDDED4.some(
    ([prefix, bits, at]) => inPrefix(address, prefix, bits) && isRefused(address.subarray(at, at + 4)),
  );
}

export interface AddressPolicyOptions {
  /** The gateway's address is the host's loopback. */
  readonly hostLoopback: boolean;
  /** No address outside the guest's network can be reached. */
  readonly isolated: boolean;
}

/**
 * Which address on the host's side stands for one that the guest sends to.
 *
 * Never reached, whatever the options: 0.0.0.0/8, 127.0.0.0/8, multicast and reserved addresses; ::, ::1,
 * IPv4-mapped, IPv4-compatible, link-local and multicast addresses; NAT64 and 6to4 addresses of any of these; the other
 * addresses of the guest's own network; and every address of the host's loopback interface, also one that was added to
 * it. The gateway's address is 127.0.0.1, or ::1, if `hostLoopback` is set, and nothing otherwise. The host's addresses
 * on real networks can be reached, as they can from there: services that listen on them are offered to neighbours.
 */
export class AddressPolicy {
  readonly #options: AddressPolicyOptions;
  readonly #sockets: HostSockets;

  constructor(options: AddressPolicyOptions, sockets: HostSockets) {
    this.#options = options;
    this.#sockets = sockets;
  }

  /** The host's address for `destination`, or undefined when the guest may not reach it. */
  outside(destination: IpAddress): string | undefined {
    if (this.#options.isolated) {
      return undefined;
    }
    if (isGateway(destination)) {
      return this.#options.hostLoopback ? (destination.length === 4 ? '127.0.0.1' : '::1') : undefined;
    }
    if (isLocal(destination) || isRefused(destination)) {
      return undefined;
    }
    const text = formatAddress(destination);
    return this.#sockets.isLoopback(text) ? undefined : text;
  }

  /**
   * As which address a guest of `guest`'s family sees a host's peer: its own, or the gateway's when it would be none
   * that the guest could answer.
   */
  inside(peer: IpAddress, gateway: IpAddress = GATEWAY4): IpAddress {
    const address = unmapped(peer);
    if (address.length !== gateway.length || isLocal(address) || isRefused(address)) {
      return gateway;
    }
    return this.#sockets.isLoopback(formatAddress(address)) ? gateway : address;
  }
}
