import type { Clock, Nanos } from '../clock/clock.ts';
import type { IpPacket } from './packet.ts';

/** Packets under reassembly at once; the oldest makes room. */
const MAX_PACKETS = 16;
const MAX_FRAGMENTS = 64;
const MAX_PAYLOAD = 65535;
/** RFC 791 suggests 15 s, RFC 8200 60 s. */
const TIMEOUT_NANOS: Nanos = 30e9;

interface Pending {
  readonly parts: { readonly offset: number; readonly bytes: Uint8Array }[];
  readonly deadline: Nanos;
  /** Bytes of the whole payload, once the last fragment has come. */
  length: number | undefined;
  held: number;
}

/** Puts fragments together again. Fragments that overlap discard their packet (RFC 5722). */
export class Reassembler {
  readonly #clock: Clock;
  readonly #pending = new Map<string, Pending>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** The whole packet if this fragment completes it; its payload starts at byte 0 of its bytes. */
  add(packet: IpPacket): IpPacket | undefined {
    const { fragment, bytes, payload } = packet;
    if (fragment === undefined) {
      return packet;
    }
    const length = bytes.length - payload;
    const key = `${packet.source.join()} ${packet.destination.join()} ${packet.protocol} ${fragment.id}`;
    const end = fragment.offset + length;
    const entry = this.#entry(key);
    const overlaps = entry.parts.some(
      ({ offset, bytes: part }) => fragment.offset < offset + part.length && offset < end,
    );
    if (
      length === 0 ||
      end > MAX_PAYLOAD ||
      overlaps ||
      entry.parts.length >= MAX_FRAGMENTS ||
      (fragment.more && length % 8 !== 0) ||
      (!fragment.more && entry.length !== undefined) ||
      (entry.length !== undefined && end > entry.length)
    ) {
      this.#pending.delete(key);
      return undefined;
    }
    entry.parts.push({ offset: fragment.offset, bytes: bytes.slice(payload) });
    entry.held += length;
    if (!fragment.more) {
      entry.length = end;
    }
    if (entry.length === undefined || entry.held !== entry.length) {
      return undefined;
    }
    this.#pending.delete(key);
    const whole = new Uint8Array(entry.length);
    for (const { offset, bytes: part } of entry.parts) {
      if (offset + part.length > whole.length) {
        return undefined;
      }
      whole.set(part, offset);
    }
    return { ...packet, bytes: whole, view: new DataView(whole.buffer), payload: 0, fragment: undefined };
  }

  #entry(key: string): Pending {
    const now = this.#clock.now();
    for (const [other, { deadline }] of this.#pending) {
      if (deadline <= now || (this.#pending.size >= MAX_PACKETS && !this.#pending.has(key))) {
        this.#pending.delete(other);
      }
    }
    let entry = this.#pending.get(key);
    if (entry === undefined) {
      entry = { parts: [], deadline: now + TIMEOUT_NANOS, length: undefined, held: 0 };
      this.#pending.set(key, entry);
    }
    return entry;
  }
}
