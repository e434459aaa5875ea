/** IP addresses: 4 or 16 bytes in network order. */
export type IpAddress = Uint8Array;

/** Reads dotted decimals or the groups of IPv6, also with `::`, a last part in decimals, or a zone; else undefined. */
export function parseAddress(text: string): IpAddress | undefined {
  return parseIpv4(text) ?? parseIpv6(text.replace(/%.*$/, ''));
}

function parseIpv4(text: string): IpAddress | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  const parts = match?.slice(1).map(Number);
  return parts?.every((part) => part <= 255) ? Uint8Array.from(parts) : undefined;
}

function parseIpv6(text: string): IpAddress | undefined {
  const halves = text.split('::');
  if (halves.length > 2) {
    return undefined;
  }
  const groups: number[][] = [];
  for (const half of halves) {
    const words: number[] = [];
    for (const [index, part] of (half === '' ? [] : half.split(':')).entries()) {
      const decimals = parseIpv4(part);
      if (decimals !== undefined && half === halves.at(-1) && index === half.split(':').length - 1) {
        words.push(((decimals[0] ?? 0) << 8) | (decimals[1] ?? 0), ((decimals[2] ?? 0) << 8) | (decimals[3] ?? 0));
      } else if (/^[0-9a-f]{1,4}$/i.test(part)) {
        words.push(Number.parseInt(part, 16));
      } else {
        return undefined;
      }
    }
    groups.push(words);
  }
  const [head = [], tail = []] = groups;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) {
    return undefined;
  }
  const words = [...head, ...new Array<number>(halves.length === 1 ? 0 : missing).fill(0), ...tail];
  return Uint8Array.from(words.flatMap((word) => [word >> 8, word & 0xff]));
}

/** Text that `parseAddress` reads, and sockets take. */
export function formatAddress(address: IpAddress): string {
  if (address.length === 4) {
    return address.join('.');
  }
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) {
    groups.push((((address[i] ?? 0) << 8) | (address[i + 1] ?? 0)).toString(16));
  }
  return groups.join(':').replace(/(^|:)0(:0)+(:|$)/, '::');
}

export function sameAddress(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) {
    return false;
  }
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) {
      return false;
    }
  }
  return true;
}

/** Whether the first `bits` bits are those of `prefix`. */
export function inPrefix(address: IpAddress, prefix: IpAddress, bits: number): boolean {
  if (address.length !== prefix.length) {
    return false;
  }
  for (let i = 0; i * 8 < bits; i++) {
    const left = bits - i * 8;
    const mask = left >= 8 ? 0xff : (0xff00 >> left) & 0xff;
    if ((((address[i] ?? 0) ^ (prefix[i] ?? 0)) & mask) !== 0) {
      return false;
    }
  }
  return true;
}

/** The IPv4 address in an IPv4-mapped IPv6 address; other addresses as they are. */
export function unmapped(address: IpAddress): IpAddress {
  return inPrefix(address, MAPPED, 96) ? address.subarray(12) : address;
}

const MAPPED = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0);

/** The addresses of the user-mode network. */
export const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 0x0a, 0x00, 0x02, 0x02);
export const NETWORK4 = Uint8Array.of(10, 0, 2, 0);
export const NETMASK4 = Uint8Array.of(255, 255, 255, 0);
export const BROADCAST4 = Uint8Array.of(10, 0, 2, 255);
export const GATEWAY4 = Uint8Array.of(10, 0, 2, 2);
export const DNS4 = Uint8Array.of(10, 0, 2, 3);
/** The first address that the DHCP server gives out, and how many follow. */
export const FIRST_GUEST4 = 15;
export const GUEST_COUNT4 = 16;
export const FIRST_GUEST4_ADDRESS = Uint8Array.of(10, 0, 2, FIRST_GUEST4);
/** fd00:10:0:2::/64, of the addresses for private use (RFC 4193). */
export const NETWORK6 = Uint8Array.of(0xfd, 0, 0, 0x10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0);
export const GATEWAY6 = Uint8Array.of(0xfd, 0, 0, 0x10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2);
export const DNS6 = Uint8Array.of(0xfd, 0, 0, 0x10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3);
/** The gateway's link-local address, from which routers advertise. */
export const GATEWAY6_LOCAL = Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2);
export const LINK_LOCAL6 = Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

/** An address of the gateway, as which guests see the host. */
export function isGateway(address: IpAddress): boolean {
  return sameAddress(address, GATEWAY4) || sameAddress(address, GATEWAY6) || sameAddress(address, GATEWAY6_LOCAL);
}

export function isDns(address: IpAddress): boolean {
  return sameAddress(address, DNS4) || sameAddress(address, DNS6);
}

/** On the guest's own network. */
export function isLocal(address: IpAddress): boolean {
  return inPrefix(address, NETWORK4, 24) || inPrefix(address, NETWORK6, 64) || inPrefix(address, LINK_LOCAL6, 10);
}
