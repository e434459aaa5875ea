import { DNS6, GATEWAY_MAC } from './address.ts';

/** Stateless DHCPv6 (RFC 8415, 18.2.6): guests make their addresses themselves and ask for the rest. */

const REPLY = 7;
const INFORMATION_REQUEST = 11;
const OPTION_CLIENT_ID = 1;
const OPTION_SERVER_ID = 2;
const OPTION_DNS_SERVERS = 23;
const MAX_CLIENT_ID = 130;

/** The answer to a message, the data of a datagram to port 547; undefined when there is none. */
export function dhcp6Reply(request: Uint8Array): Uint8Array | undefined {
  if (request.length < 4 || request[0] !== INFORMATION_REQUEST) {
    return undefined;
  }
  const view = new DataView(request.buffer, request.byteOffset, request.length);
  let client: Uint8Array | undefined;
  for (let at = 4; at + 4 <= request.length; ) {
    const length = view.getUint16(at + 2);
    if (at + 4 + length > request.length) {
      return undefined;
    }
    if (view.getUint16(at) === OPTION_CLIENT_ID && length <= MAX_CLIENT_ID) {
      client = request.slice(at + 4, at + 4 + length);
    }
    at += 4 + length;
  }
  const option = (code: number, data: readonly number[]) => [0, code, 0, data.length, ...data];
  return Uint8Array.from([
    REPLY,
    ...request.subarray(1, 4),
    ...(client === undefined ? [] : option(OPTION_CLIENT_ID, [...client])),
    // A DUID of the link-layer address (RFC 8415, 11.4).
    ...option(OPTION_SERVER_ID, [0, 3, 0, 1, ...GATEWAY_MAC]),
    ...option(OPTION_DNS_SERVERS, [...DNS6]),
  ]);
}
