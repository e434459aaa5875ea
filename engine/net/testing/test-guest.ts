import { defined } from '../../base/assert.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { Random } from '../../testing/random.ts';
import { GATEWAY_MAC, type IpAddress, parseAddress } from '../address.ts';
import { checksum, pseudoHeaderSum } from '../checksum.ts';
import type { FrameSink } from '../guest-link.ts';
import { type FrameWork, noOffloads, plainFrame, type ReceiveOffloads } from '../network-port.ts';
import { type IpPacket, parseIpv4, parseIpv6, writeIpv4Header, writeIpv6Header } from '../packet.ts';
import { UserNetwork, type UserNetworkOptions } from '../user-network.ts';
import { FakeSockets } from './fake-sockets.ts';

export const GUEST_MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);

/** An address from its text. */
export function ip(text: string): IpAddress {
  return defined(parseAddress(text), text);
}

export interface GuestFrame {
  readonly bytes: Uint8Array;
  readonly work: FrameWork;
  readonly checksumGood: boolean;
}

/** A network with a fake host, and a guest whose frames a test makes itself. */
export class TestGuest implements FrameSink {
  readonly clock = new ManualClock();
  readonly sockets = new FakeSockets();
  readonly network: UserNetwork;
  /** Frames from the network that were not looked at yet. */
  readonly frames: GuestFrame[] = [];
  offloads: ReceiveOffloads = noOffloads;
  address = ip('10.0.2.15');
  /** Frames that fit before the sink is full. */
  capacity = Number.POSITIVE_INFINITY;
  position = 0;
  /** The card takes frames at once, unless this is false. */
  takes = true;
  #reserved: Uint8Array | undefined;

  constructor(options: Partial<UserNetworkOptions> = {}) {
    const random = new Random(99);
    this.network = new UserNetwork(
      {
        sink: this,
        clock: this.clock,
        sockets: this.sockets,
        random: () => random.below(2 ** 32),
        wantFlush() {},
      },
      { hostLoopback: false, isolated: false, ...options },
    );
  }

  reserve(length: number): Uint8Array | undefined {
    if (this.frames.length >= this.capacity) {
      return undefined;
    }
    this.#reserved = new Uint8Array(length);
    return this.#reserved;
  }

  commit(work: FrameWork, checksumGood: boolean): void {
    this.frames.push({ bytes: defined(this.#reserved, 'a reserved frame'), work, checksumGood });
    this.position++;
  }

  hasBeenRead(): boolean {
    return this.takes;
  }

  /** Sends a frame, and flushes as the owner of a network does after a batch. */
  send(frame: Uint8Array, work: FrameWork = plainFrame): void {
    this.network.receive(frame, work);
    this.network.flush();
  }

  ethernet(ethertype: number, payload: Uint8Array, destination: Uint8Array = GATEWAY_MAC): Uint8Array {
    const frame = new Uint8Array(14 + payload.length);
    frame.set(destination);
    frame.set(GUEST_MAC, 6);
    frame.set([ethertype >> 8, ethertype & 0xff], 12);
    frame.set(payload, 14);
    return frame;
  }

  /** An IP frame of the guest around a payload. */
  ipFrame(
    destination: IpAddress,
    protocol: number,
    payload: Uint8Array,
    options: {
      readonly source?: IpAddress;
      readonly fragment?: number;
      readonly id?: number;
      readonly hopLimit?: number;
    } = {},
  ): Uint8Array {
    const source = options.source ?? this.address;
    if (destination.length === 4) {
      const bytes = new Uint8Array(20 + payload.length);
      const { fragment = 0, id = 1 } = options;
      writeIpv4Header(new DataView(bytes.buffer), 0, {
        source,
        destination,
        protocol,
        length: bytes.length,
        id,
        fragment,
      });
      bytes.set(payload, 20);
      return this.ethernet(0x0800, bytes);
    }
    const bytes = new Uint8Array(40 + payload.length);
    const { hopLimit = 64 } = options;
    writeIpv6Header(bytes, new DataView(bytes.buffer), 0, {
      source,
      destination,
      protocol,
      length: payload.length,
      hopLimit,
    });
    bytes.set(payload, 40);
    return this.ethernet(0x86dd, bytes);
  }

  /** A UDP datagram with its checksum. */
  udpPayload(
    destination: IpAddress,
    sourcePort: number,
    port: number,
    data: Uint8Array,
    source: IpAddress = this.address,
  ): Uint8Array {
    const payload = new Uint8Array(8 + data.length);
    const view = new DataView(payload.buffer);
    view.setUint16(0, sourcePort);
    view.setUint16(2, port);
    view.setUint16(4, payload.length);
    payload.set(data, 8);
    view.setUint16(6, checksum(payload, 0, payload.length, pseudoHeaderSum(source, destination, 17, payload.length)));
    return payload;
  }

  sendUdp(
    destination: IpAddress,
    sourcePort: number,
    port: number,
    data: Uint8Array,
    source: IpAddress = this.address,
  ): void {
    this.send(this.ipFrame(destination, 17, this.udpPayload(destination, sourcePort, port, data, source), { source }));
  }

  /** The oldest frame from the network, removed. */
  take(): Uint8Array {
    return defined(this.frames.shift(), 'a frame from the network').bytes;
  }

  /** The oldest IP packet from the network, removed together with the frames before it. */
  takePacket(): IpPacket {
    for (;;) {
      const packet = ipPacket(this.take());
      if (packet !== undefined) {
        return packet;
      }
    }
  }

  /** The oldest UDP datagram from the network. */
  takeUdp(): { from: IpAddress; fromPort: number; port: number; data: Uint8Array } {
    const { view, payload, bytes, source } = this.takePacket();
    return {
      from: source.slice(),
      fromPort: view.getUint16(payload),
      port: view.getUint16(payload + 2),
      data: bytes.slice(payload + 8),
    };
  }
}

/** The IP packet in a frame, its checksums checked. */
export function ipPacket(frame: Uint8Array): IpPacket | undefined {
  const ethertype = ((frame[12] ?? 0) << 8) | (frame[13] ?? 0);
  const payload = frame.subarray(14);
  return ethertype === 0x0800 ? parseIpv4(payload) : ethertype === 0x86dd ? parseIpv6(payload) : undefined;
}
