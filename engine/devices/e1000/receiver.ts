import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { NetworkPort, ReceivedFrame } from '../../net/network-port.ts';
import type { DescriptorRing } from './transmitter.ts';

/** Status of receive descriptors (Intel 317453, 3.2.3). */
const STATUS_DD = 1 << 0;
const STATUS_EOP = 1 << 1;
const STATUS_IXSM = 1 << 2;
const STATUS_TCPCS = 1 << 5;
const STATUS_IPCS = 1 << 6;
const DESCRIPTOR_BYTES = 16;
const SHORTEST_FRAME = 60;
const CRC_BYTES = 4;
/** Without long packets enabled; a VLAN tag included, the check sequence not. */
const LONGEST_FRAME = 1518;
const LONGEST_LONG_FRAME = 16_384 - CRC_BYTES;

export interface ReceiveRules {
  readonly bufferBytes: number;
  /** The check sequence is not stored. */
  readonly stripCrc: boolean;
  readonly longFrames: boolean;
  /** Reports the checksums of IPv4, and of TCP and UDP over it. */
  readonly reportIp: boolean;
  readonly reportTransport: boolean;
  /** Whether the card takes a frame, by its destination and tag. */
  accepts(frame: Uint8Array): boolean;
}

/** Puts frames of the network into receive descriptors. */
export class Receiver {
  readonly #memory: GuestMemory;
  readonly #port: NetworkPort;
  readonly #received: (bytes: Uint8Array) => void;

  constructor(memory: GuestMemory, port: NetworkPort, received: (bytes: Uint8Array) => void) {
    this.#memory = memory;
    this.#port = port;
    this.#received = received;
  }

  /** Drops everything that waits: the receiver is switched off. */
  discard(): void {
    while (this.#port.peek() !== undefined) {
      this.#port.take();
    }
  }

  /** Receives frames while there are descriptors; those beyond wait in the network. True: something was received. */
  run(ring: DescriptorRing, rules: ReceiveRules): boolean {
    let received = false;
    for (let frame = this.#port.peek(); frame !== undefined; frame = this.#port.peek()) {
      const { bytes } = frame;
      const longest = rules.longFrames ? LONGEST_LONG_FRAME : LONGEST_FRAME;
      if (bytes.length > longest || !rules.accepts(bytes)) {
        this.#port.take();
        continue;
      }
      const length = Math.max(bytes.length, SHORTEST_FRAME) + (rules.stripCrc ? 0 : CRC_BYTES);
      const free = (ring.tail - ring.head + ring.count) % ring.count;
      if (free < Math.ceil(length / rules.bufferBytes)) {
        return received;
      }
      this.#store(ring, rules, frame, length);
      this.#received(bytes);
      this.#port.take();
      received = true;
    }
    return received;
  }

  #store(ring: DescriptorRing, rules: ReceiveRules, frame: ReceivedFrame, length: number): void {
    const memory = this.#memory;
    const { bytes } = frame;
    const good = checksumStatus(frame, rules);
    for (let at = 0; at < length; at += rules.bufferBytes) {
      const descriptor = ring.base + ring.head * DESCRIPTOR_BYTES;
      const address = memory.readU32(descriptor) + memory.readU32(descriptor + 4) * 2 ** 32;
      const size = Math.min(rules.bufferBytes, length - at);
      const data = bytes.subarray(at, at + size);
      if (data.length > 0) {
        memory.write(address, data);
      }
      if (data.length < size) {
        // Padding, and a check sequence: nobody computes one who has no wire, and no driver looks at it.
        memory.write(address + data.length, new Uint8Array(size - data.length));
      }
      const last = at + size >= length;
      memory.writeU32(descriptor + 8, size);
      memory.writeU32(descriptor + 12, STATUS_DD | (last ? STATUS_EOP | good : STATUS_IXSM));
      ring.head = ring.head + 1 >= ring.count ? 0 : ring.head + 1;
    }
  }
}

/** What the descriptor says of checksums: checked and good, or not looked at. */
function checksumStatus({ bytes, checksumGood }: ReceivedFrame, rules: ReceiveRules): number {
  const isIp4 = bytes.length >= 34 && bytes[12] === 0x08 && bytes[13] === 0x00;
  if (!checksumGood || !isIp4) {
    return STATUS_IXSM;
  }
  const protocol = bytes[23];
  // Fragments have no checksum of their own.
  const isWhole = ((bytes[20] ?? 0) & 0x3f) === 0 && bytes[21] === 0;
  const transport = rules.reportTransport && isWhole && (protocol === 6 || protocol === 17) ? STATUS_TCPCS : 0;
  const ip = rules.reportIp ? STATUS_IPCS : 0;
  return transport | ip || STATUS_IXSM;
}
