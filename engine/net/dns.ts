/** What the forwarder looks at in a message of the Domain Name System (RFC 1035, 4.1). */

const HEADER = 12;
const FLAG_RESPONSE = 0x8000;
const OPCODE = 0x7800;
/** Answers that say why there is none. */
export const DNS_SERVER_FAILURE = 2;
export const DNS_REFUSED = 5;

/** Nothing but queries is passed on to the host's name servers, so that no other protocol hides in their port. */
export function isDnsQuery(message: Uint8Array): boolean {
  if (message.length < HEADER + 5) {
    return false;
  }
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const flags = view.getUint16(2);
  return (flags & (FLAG_RESPONSE | OPCODE)) === 0 && view.getUint16(4) === 1 && view.getUint16(6) === 0;
}

export function dnsId(message: Uint8Array): number {
  return ((message[0] ?? 0) << 8) | (message[1] ?? 0);
}

/** The answer to a query when there is nobody to ask, with the question. */
export function dnsRefusal(
  query: Uint8Array,
  code: typeof DNS_SERVER_FAILURE | typeof DNS_REFUSED,
): Uint8Array<ArrayBuffer> {
  let end = HEADER;
  while (end < query.length && (query[end] ?? 0) !== 0) {
    end += (query[end] ?? 0) + 1;
  }
  const reply = new Uint8Array(query.slice(0, Math.min(query.length, end + 5)));
  reply[2] = 0x80 | ((query[2] ?? 0) & 0x01);
  reply[3] = code;
  reply.fill(0, 6, HEADER); // neither answers nor additional records
  return reply;
}
