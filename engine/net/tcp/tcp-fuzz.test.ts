import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../testing/random.ts';
import { TcpPeer } from '../testing/tcp-peer.ts';
import { ip, TestGuest } from '../testing/test-guest.ts';
import { type Segment, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN } from './segment.ts';

/** Another seed tries other guests: LODGE_SEED=n. LODGE_CASES=f multiplies the number of cases. */
const SEED = Number(process.env['LODGE_SEED'] ?? 1) * 1_000_000;
const CASES = Math.ceil(40 * Number(process.env['LODGE_CASES'] ?? 1));
const STEPS = 300;
const WEB = ip('198.51.100.80');
const SIX = ip('2001:db8::80');

/** Each byte of a stream is told by its place, so that nothing can come from a wrong one. */
const byteAt = (place: number, salt: number) => (Math.imul(place ^ salt, 0x9e3779b1) >>> 13) & 0xff;

function stream(from: number, length: number, salt: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => byteAt(from + i, salt));
}

function assertStream(bytes: Uint8Array, place: number, salt: number, what: string): void {
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] !== byteAt(place + i, salt)) {
      assert.fail(`${what}: byte ${place + i}`);
    }
  }
}

/** Options that a segment can have, sensible or not; a multiple of four bytes. */
function options(random: Random): number[] {
  const bytes: number[] = [];
  while (random.chance(2, 3) && bytes.length < 32) {
    bytes.push(
      ...random.pick([
        [1],
        [0],
        [2, 4, random.below(256), random.below(256)],
        [3, 3, random.below(256)],
        [4, 2],
        [8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
        [5, 10, 0, 0, 0, 1, 0, 0, 0, 9],
        [random.below(256), random.below(256), random.below(256)],
        [2, 0],
        [3, 200],
      ]),
    );
  }
  const cut = bytes.slice(0, 40);
  while (cut.length % 4 !== 0) {
    cut.push(random.below(2));
  }
  return cut;
}

/**
 * One connection whose guest sends segments from anywhere around its window, with any flags and options, acknowledges
 * what it likes, and loses what it is sent; while the host takes, gives and ends as it likes.
 */
class HostileConnection {
  readonly guest = new TestGuest();
  readonly peer: TcpPeer;
  readonly #random: Random;
  /** Bytes that the host has, and that the guest has got at least once. */
  received = 0;
  delivered = 0;
  #hostGave = 0;
  /** Past the last byte of the guest; the FIN stands there. */
  readonly #guestEnd: number;
  /** The network's first sequence number. */
  #remoteFirst = 0;
  #fromHost = 0;

  constructor(seed: number) {
    const random = new Random(seed);
    this.#random = random;
    const { guest } = this;
    const flag = () => random.chance(1, 2);
    guest.offloads = { checksum: true, segment4: flag(), segment6: flag() };
    guest.capacity = random.chance(1, 3) ? 3 : 400;
    const six = random.chance(1, 3);
    if (six) {
      guest.address = ip('fd00:10:0:2::15');
    }
    const first = random.chance(1, 2) ? 0xffff_ff00 + random.below(512) : random.u32();
    this.peer = new TcpPeer(guest, six ? SIX : WEB, 80, 40_000, first | 0);
    this.#guestEnd = random.pick([0, 1, 5000, 300_000, 560_000, 2_000_000]);
  }

  get #socket() {
    return this.guest.sockets.tcp.at(-1);
  }

  run(): void {
    const random = this.#random;
    this.peer.shift = random.below(15);
    this.peer.sendSegment({
      seq: this.peer.first - 1,
      ack: 0,
      flags: TCP_SYN,
      window: random.below(65536),
      options: random.chance(1, 2)
        ? [2, 4, random.below(8), random.below(256), 1, 3, 3, this.peer.shift]
        : options(random),
    });
    if (this.#socket !== undefined) {
      this.#socket.drains = random.chance(1, 2);
    }
    this.#socket?.events?.connected();
    this.guest.network.flush();
    for (let step = 0; step < STEPS; step++) {
      this.#look();
      this.#act();
    }
    this.#look();
    assert.ok(this.guest.network.connectionCount <= 1);
    this.guest.network.dispose();
    assert.equal(this.guest.clock.pendingCount, 0);
    assert.deepEqual(this.guest.network.waitingBytes, { toGuest: 0, toHost: 0 }, 'all memory is given back');
  }

  /** What came for the guest is what the host gave, at its places; the host got what the guest sent. */
  #look(): void {
    for (const segment of this.peer.take()) {
      if ((segment.flags & TCP_SYN) !== 0) {
        this.#remoteFirst = (segment.seq + 1) | 0;
        this.peer.rcvNxt = this.#remoteFirst;
      } else if (segment.data.length > 0) {
        this.#checkData(segment);
      }
      if ((segment.flags & TCP_ACK) !== 0 && (segment.flags & TCP_RST) === 0) {
        const acknowledged = (segment.ack - this.peer.first) | 0;
        assert.ok(acknowledged <= this.#guestEnd + 1, 'what the guest never sent is not acknowledged');
        if (acknowledged > this.#fromHost) {
          this.#fromHost = acknowledged;
        }
        this.peer.sndNxt = (this.peer.first + Math.max(0, acknowledged)) | 0;
      }
    }
    for (const piece of this.#socket?.pieces.splice(0) ?? []) {
      assertStream(piece, this.received, 1, 'the host gets the stream in its order');
      this.received += piece.length;
    }
    assert.ok(this.received <= this.#guestEnd);
    if (this.#socket?.ended === true) {
      assert.equal(this.received, this.#guestEnd, 'the host sees the end behind the last byte');
    }
  }

  #checkData({ seq, data }: Segment): void {
    const place = (seq - this.#remoteFirst) | 0;
    assert.ok(place >= 0 && place + data.length <= this.#hostGave, 'nothing is sent that the host did not give');
    assertStream(data, place, 2, 'the guest gets what stands at this place');
    this.delivered = Math.max(this.delivered, place + data.length);
    if (place <= ((this.peer.rcvNxt - this.#remoteFirst) | 0) && this.#random.chance(3, 4)) {
      this.peer.rcvNxt =
        (this.#remoteFirst + Math.max((this.peer.rcvNxt - this.#remoteFirst) | 0, place + data.length)) | 0;
    }
  }

  #act(): void {
    const random = this.#random;
    const { guest } = this;
    const socket = this.#socket;
    switch (random.below(12)) {
      case 0:
        if (socket !== undefined && !socket.ended && !socket.wasReset) {
          const length = random.below(random.pick([10, 3000, 100_000]));
          socket.events?.data(stream(this.#hostGave, length, 2));
          this.#hostGave += length;
        }
        break;
      case 1:
        if (socket !== undefined && socket.waiting > 0) {
          socket.drain(1 + random.below(socket.waiting));
        }
        break;
      case 2:
        guest.clock.advance(random.below(random.pick([3e6, 1e9, 20e9])));
        break;
      case 3:
        guest.network.roomForFrames();
        break;
      case 4:
        if (random.chance(1, 20)) {
          socket?.events?.ended();
        }
        break;
      case 5:
        if (random.chance(1, 60)) {
          socket?.events?.closed(random.chance(1, 2) ? undefined : 'ECONNRESET');
        }
        break;
      default:
        this.#sendSegment();
    }
    guest.network.flush();
  }

  #sendSegment(): void {
    const random = this.#random;
    const { peer } = this;
    const next = (peer.sndNxt - peer.first) | 0;
    // Mostly near what is expected, often overlapping, sometimes far away.
    const from = Math.max(0, next + random.pick([0, 0, 0, -5, 7, 1460, -3000, 40_000, random.below(600_000)]));
    const length = Math.max(0, Math.min(this.#guestEnd - from, random.below(random.pick([2, 1461, 9000, 60_000]))));
    const fin = from + length === this.#guestEnd && random.chance(1, 4) ? TCP_FIN : 0;
    let flags = TCP_ACK | fin | (random.chance(1, 3) ? TCP_PSH : 0);
    if (random.chance(1, 40)) {
      flags ^= random.pick([TCP_SYN, TCP_ACK, TCP_RST, 0x20, 0xc0]);
    }
    const ack = random.chance(1, 12) ? peer.rcvNxt + random.pick([1, -1, 1 << 20, 1 << 31, random.u32()]) : peer.rcvNxt;
    peer.sendSegment({
      // A RST or SYN somewhere near is the hard case; its data would be no part of the stream.
      seq: (peer.first + from) | 0,
      ack: ack | 0,
      flags,
      window: random.pick([0, 1, 100, 65535, random.below(65536)]),
      data: (flags & TCP_SYN) !== 0 ? new Uint8Array(0) : stream(from, length, 1),
      options: random.chance(1, 6) ? options(random) : [],
    });
  }
}

test('whatever segments a guest sends, streams keep their order, and nothing is made up, lost or kept', () => {
  let received = 0;
  let delivered = 0;
  for (let i = 0; i < CASES; i++) {
    const seed = SEED + i;
    try {
      const connection = new HostileConnection(seed);
      connection.run();
      received += connection.received;
      delivered += connection.delivered;
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
  // Otherwise hardly anything was looked at.
  assert.ok(received > 4000 * CASES, `${received} bytes of guests`);
  assert.ok(delivered > 4000 * CASES, `${delivered} bytes of hosts`);
});
