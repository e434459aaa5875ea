import type { IpAddress } from '../address.ts';
import { IPV4_HEADER, IPV6_HEADER, MTU } from '../packet.ts';
import { TCP_HEADER } from './segment.ts';

/** Bytes that may be under way in each direction of a connection. */
export const TCP_WINDOW = 512 << 10;
/** RFC 9293, 3.7.1, for those who do not say. */
const DEFAULT_MSS = 536;
const SMALLEST_MSS = 64;

/** The most data that one segment can hold on the guest's link. */
export function largestMss(guest: IpAddress): number {
  return MTU - (guest.length === 4 ? IPV4_HEADER : IPV6_HEADER) - TCP_HEADER;
}

/** The most data in a segment for a guest whose SYN said `said`. */
export function mssFor(guest: IpAddress, said: number | undefined): number {
  return Math.max(SMALLEST_MSS, Math.min(largestMss(guest), said ?? DEFAULT_MSS));
}
