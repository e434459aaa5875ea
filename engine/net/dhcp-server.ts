import {
  BROADCAST4,
  DNS4,
  FIRST_GUEST4,
  GATEWAY4,
  GUEST_COUNT4,
  type IpAddress,
  NETMASK4,
  sameAddress,
} from './address.ts';

/** DHCP (RFC 2131) for the guests of one network: addresses are kept by client until they are needed for others. */

const BOOTREQUEST = 1;
const BOOTREPLY = 2;
const MAGIC = 0x63825363;
const FIXED_BYTES = 240;
/** Some clients refuse replies that are shorter (RFC 1542, 2.1). */
const SHORTEST_REPLY = 300;
const LEASE_SECONDS = 86_400;

const DISCOVER = 1;
const OFFER = 2;
const REQUEST = 3;
const DECLINE = 4;
const ACK = 5;
const NAK = 6;
const RELEASE = 7;
const INFORM = 8;

const OPTION_NETMASK = 1;
const OPTION_ROUTER = 3;
const OPTION_DNS = 6;
const OPTION_BROADCAST = 28;
const OPTION_REQUESTED_ADDRESS = 50;
const OPTION_LEASE = 51;
const OPTION_MESSAGE_TYPE = 53;
const OPTION_SERVER = 54;
const OPTION_TFTP_SERVER = 66;
const OPTION_BOOT_FILE = 67;
const OPTION_CLIENT_ID = 61;

export interface DhcpReply {
  readonly destination: IpAddress;
  readonly mac: Uint8Array;
  /** The address that the client is given with this, if any. */
  readonly granted: IpAddress | undefined;
  readonly message: Uint8Array;
}

export class DhcpServer {
  /** What network boot loads, by TFTP from the gateway or, as a URL, by HTTP. */
  readonly #bootFile: string | undefined;
  /** Clients by address, the one heard last at the end. */
  readonly #leases = new Map<number, string>();
  /** Addresses that a client found in use. */
  readonly #declined = new Set<number>();

  constructor(bootFile: string | undefined) {
    this.#bootFile = bootFile;
  }

  /** Answers a message, the data of a datagram to port 67; undefined when there is nothing to answer. */
  receive(request: Uint8Array): DhcpReply | undefined {
    if (request.length < FIXED_BYTES) {
      return undefined;
    }
    const view = new DataView(request.buffer, request.byteOffset, request.length);
    // Ethernet addresses only.
    if (view.getUint8(0) !== BOOTREQUEST || view.getUint16(1) !== 0x0106 || view.getUint32(236) !== MAGIC) {
      return undefined;
    }
    const options = readOptions(request);
    const type = options.get(OPTION_MESSAGE_TYPE)?.[0];
    const server = options.get(OPTION_SERVER);
    const mac = request.slice(28, 34);
    if ((mac[0] ?? 0) & 1 || (server !== undefined && !sameAddress(server, GATEWAY4))) {
      return undefined;
    }
    const client = String.fromCharCode(...(options.get(OPTION_CLIENT_ID) ?? mac));
    const present = request.slice(12, 16);
    const wished = options.get(OPTION_REQUESTED_ADDRESS) ?? present;
    switch (type) {
      case DISCOVER: {
        const address = this.#addressFor(client, wished);
        return address === undefined ? undefined : this.#reply(request, options, OFFER, address, mac);
      }
      case REQUEST: {
        const host = hostNumber(wished);
        const holder = host === undefined ? undefined : this.#leases.get(host);
        if (host === undefined || (holder !== undefined && holder !== client) || this.#declined.has(host)) {
          return this.#reply(request, options, NAK, undefined, mac);
        }
        this.#keep(host, client);
        return this.#reply(request, options, ACK, guestAddress(host), mac);
      }
      case INFORM:
        return this.#reply(request, options, ACK, undefined, mac);
      case DECLINE:
      case RELEASE: {
        const host = hostNumber(type === DECLINE ? wished : present);
        if (host !== undefined && this.#leases.get(host) === client) {
          this.#leases.delete(host);
          if (type === DECLINE) {
            this.#declined.add(host);
          }
        }
        return undefined;
      }
      default:
        return undefined;
    }
  }

  /** The address that a client had, wishes for, or the first free one; at last the one unused for longest. */
  #addressFor(client: string, wished: IpAddress): IpAddress | undefined {
    for (const [host, holder] of this.#leases) {
      if (holder === client) {
        return guestAddress(host);
      }
    }
    const choices = Array.from({ length: GUEST_COUNT4 }, (_, i) => FIRST_GUEST4 + i);
    const wish = hostNumber(wished);
    const free = [...(wish === undefined ? [] : [wish]), ...choices].find(
      (host) => !this.#leases.has(host) && !this.#declined.has(host),
    );
    const [oldest] = this.#leases.keys();
    const host = free ?? oldest;
    if (host === undefined) {
      this.#declined.clear();
      return undefined;
    }
    this.#keep(host, client);
    return guestAddress(host);
  }

  #keep(host: number, client: string): void {
    for (const [other, holder] of this.#leases) {
      if (holder === client && other !== host) {
        this.#leases.delete(other);
      }
    }
    this.#leases.delete(host);
    this.#leases.set(host, client);
  }

  #reply(
    request: Uint8Array,
    options: Map<number, Uint8Array>,
    type: number,
    address: IpAddress | undefined,
    mac: Uint8Array,
  ): DhcpReply {
    const reply = new Uint8Array(1024);
    const view = new DataView(reply.buffer);
    reply.set([BOOTREPLY, 1, 6, 0]);
    reply.set(request.subarray(4, 8), 4); // transaction
    reply.set(request.subarray(10, 12), 10); // flags
    const inform = type === ACK && address === undefined;
    if (inform) {
      reply.set(request.subarray(12, 16), 12);
    }
    if (address !== undefined) {
      reply.set(address, 16);
    }
    reply.set(request.subarray(28, 44), 28); // client's hardware address
    view.setUint32(236, MAGIC);
    let at = FIXED_BYTES;
    const add = (code: number, data: Uint8Array | readonly number[]) => {
      reply.set([code, data.length, ...data], at);
      at += 2 + data.length;
    };
    add(OPTION_MESSAGE_TYPE, [type]);
    add(OPTION_SERVER, GATEWAY4);
    if (type !== NAK) {
      reply.set(GATEWAY4, 20); // where to boot from
      if (address !== undefined) {
        add(OPTION_LEASE, [0, LEASE_SECONDS >> 16, (LEASE_SECONDS >> 8) & 0xff, LEASE_SECONDS & 0xff]);
      }
      add(OPTION_NETMASK, NETMASK4);
      add(OPTION_BROADCAST, BROADCAST4);
      add(OPTION_ROUTER, GATEWAY4);
      add(OPTION_DNS, DNS4);
      if (this.#bootFile !== undefined) {
        const file = new TextEncoder().encode(this.#bootFile).subarray(0, 127);
        reply.set(file, 108);
        add(OPTION_TFTP_SERVER, new TextEncoder().encode(GATEWAY4.join('.')));
        add(OPTION_BOOT_FILE, file);
      }
    }
    const id = options.get(OPTION_CLIENT_ID);
    if (id !== undefined) {
      add(OPTION_CLIENT_ID, id); // RFC 6842
    }
    reply[at++] = 0xff;
    const present = request.slice(12, 16);
    const known = type !== NAK && present.some((byte) => byte !== 0);
    const broadcast = type === NAK || (request[10] ?? 0) & 0x80;
    return {
      destination: known ? present : broadcast || address === undefined ? new Uint8Array(4).fill(255) : address,
      mac,
      granted: address,
      message: reply.slice(0, Math.max(at, SHORTEST_REPLY)),
    };
  }
}

/** The last byte of an address that guests can have, else undefined. */
function hostNumber(address: IpAddress): number | undefined {
  const host = address[3] ?? 0;
  const inside = address.length === 4 && address[0] === 10 && address[1] === 0 && address[2] === 2;
  return inside && host >= FIRST_GUEST4 && host < FIRST_GUEST4 + GUEST_COUNT4 ? host : undefined;
}

function guestAddress(host: number): IpAddress {
  return Uint8Array.of(10, 0, 2, host);
}

/** Options of a request by their code; the first of several with one code. */
function readOptions(request: Uint8Array): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  for (let at = FIXED_BYTES; at < request.length; ) {
    const code = request[at] ?? 0xff;
    if (code === 0xff) {
      break;
    }
    if (code === 0) {
      at++;
      continue;
    }
    const length = request[at + 1] ?? 0;
    if (at + 2 + length > request.length) {
      break;
    }
    if (!options.has(code)) {
      options.set(code, request.slice(at + 2, at + 2 + length));
    }
    at += 2 + length;
  }
  return options;
}
