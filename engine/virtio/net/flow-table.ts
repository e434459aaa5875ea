const ENTRIES = 256;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;

/**
 * Remembers on which pair of queues the driver sent frames of a flow, so that answers come back on the same one
 * (automatic receive steering; virtio 1.2, section 5.1.6.5.6.1).
 */
export class FlowTable {
  readonly #pairs = new Uint8Array(ENTRIES);

  reset(): void {
    this.#pairs.fill(0);
  }

  sent(frame: Uint8Array, pair: number): void {
    this.#pairs[flowHash(frame)] = pair;
  }

  pairFor(frame: Uint8Array): number {
    return this.#pairs[flowHash(frame)] ?? 0;
  }
}

/** The same in both directions of a flow: addresses and ports are added up, not put in order. */
function flowHash(frame: Uint8Array): number {
  const word = (at: number) => ((frame[at] ?? 0) << 8) | (frame[at + 1] ?? 0);
  let hash = 0;
  let transport = 0;
  let protocol = 0;
  const type = word(12);
  if (type === ETHERTYPE_IPV4) {
    protocol = frame[23] ?? 0;
    transport = 14 + ((frame[14] ?? 0) & 15) * 4;
    hash = word(26) + word(28) + word(30) + word(32);
  } else if (type === ETHERTYPE_IPV6) {
    protocol = frame[20] ?? 0;
    transport = 54;
    for (let at = 22; at < 54; at += 2) {
      hash += word(at);
    }
  } else {
    return 0;
  }
  if (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP) {
    hash += word(transport) + word(transport + 2);
  }
  return (Math.imul(hash, 0x9e3779b1) >>> 24) & (ENTRIES - 1);
}
