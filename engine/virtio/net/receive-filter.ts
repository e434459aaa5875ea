import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';

const MAC_BYTES = 6;
/** Addresses that a table holds; with more, all frames of that kind are let through. */
const MAX_ADDRESSES = 64;

/** Which frames a network card takes (virtio 1.2, sections 5.1.6.5.1 and 5.1.6.5.2). */
export class ReceiveFilter {
  readonly mac: Uint8Array;
  promiscuous = false;
  allMulticast = false;
  /** Further unicast addresses; undefined: all. */
  #unicast: readonly string[] | undefined = [];
  /** Multicast addresses; undefined: all, as before the driver has said which. */
  #multicast: readonly string[] | undefined;

  constructor(mac: Uint8Array) {
    this.mac = mac;
  }

  reset(): void {
    this.promiscuous = false;
    this.allMulticast = false;
    this.#unicast = [];
    this.#multicast = undefined;
  }

  /** Whether the card takes a frame; `bytes` begin with its destination. */
  accepts(bytes: Uint8Array): boolean {
    if (this.promiscuous) {
      return true;
    }
    const first = bytes[0] ?? 0;
    if (first & 1) {
      return (
        this.allMulticast ||
        this.#multicast === undefined ||
        isBroadcast(bytes) ||
        this.#multicast.includes(addressOf(bytes, 0))
      );
    }
    for (let i = 0; i < MAC_BYTES; i++) {
      if (bytes[i] !== this.mac[i]) {
        return this.#unicast === undefined || this.#unicast.includes(addressOf(bytes, 0));
      }
    }
    return true;
  }

  /** Takes the two tables of a VIRTIO_NET_CTRL_MAC_TABLE_SET; false when they are no such. */
  setTables(data: Uint8Array): boolean {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    let at = 0;
    const table = (): readonly string[] | undefined | false => {
      if (at + 4 > data.length) {
        return false;
      }
      const count = view.getUint32(at, true);
      at += 4;
      if (count > (data.length - at) / MAC_BYTES) {
        return false;
      }
      const start = at;
      at += count * MAC_BYTES;
      return count > MAX_ADDRESSES
        ? undefined
        : Array.from({ length: count }, (_, index) => addressOf(data, start + index * MAC_BYTES));
    };
    const unicast = table();
    const multicast = table();
    if (unicast === false || multicast === false) {
      return false;
    }
    this.#unicast = unicast;
    this.#multicast = multicast;
    return true;
  }

  save(): StateValue {
    return {
      promiscuous: this.promiscuous,
      allMulticast: this.allMulticast,
      unicast: this.#unicast ?? null,
      multicast: this.#multicast ?? null,
    };
  }

  /** Reads what `save` gave and checks it; the result applies it. */
  load(reader: StateReader): () => void {
    const promiscuous = reader.boolean('promiscuous');
    const allMulticast = reader.boolean('allMulticast');
    const table = (key: string) => {
      if (!reader.has(key)) {
        return undefined;
      }
      return reader.array(key, undefined, MAX_ADDRESSES).map((item) => {
        if (typeof item !== 'string' || !/^[0-9a-f]{12}$/.test(item)) {
          return reader.refuse(`'${key}' holds something else than addresses`);
        }
        return item;
      });
    };
    const unicast = table('unicast');
    const multicast = table('multicast');
    return () => {
      this.promiscuous = promiscuous;
      this.allMulticast = allMulticast;
      this.#unicast = unicast;
      this.#multicast = multicast;
    };
  }
}

function addressOf(bytes: Uint8Array, at: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, MAC_BYTES).toString('hex');
}

function isBroadcast(bytes: Uint8Array): boolean {
  for (let i = 0; i < MAC_BYTES; i++) {
    if (bytes[i] !== 0xff) {
      return false;
    }
  }
  return true;
}
