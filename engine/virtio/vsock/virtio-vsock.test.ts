import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  GUEST_WINDOW_BYTES,
  HOST_WINDOW_BYTES,
  type VsockBackend,
  type VsockPeer,
  type VsockStream,
} from '../../backends/vsock/vsock-backend.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import type { Random } from '../../testing/random.ts';
import { type DriverStyle, GuestDriver, PLAIN_STYLE, styleName, stylesOf } from '../testing/guest-driver.ts';
import { virtioConformance } from '../testing/virtio-suite.ts';
import { VIRTIO_ID } from '../virtio-device.ts';
import { VirtioVsock } from './virtio-vsock.ts';
import { HEADER_BYTES, headerBytes, OP } from './vsock-layout.ts';

const RX = 0;
const TX = 1;
const EVENT = 2;
const CID = 42;

/** One stream on a host that does what the test says. */
class FakeStream implements VsockStream {
  readonly log: string[] = [];
  readonly bytes: number[] = [];
  takenBytes = 0;
  peer: VsockPeer | undefined;
  gone = false;

  accept(hostPort: number): void {
    this.log.push(`accept ${hostPort}`);
  }

  write(bytes: Uint8Array): void {
    assert.equal(this.gone, false, 'nothing is written after destroy');
    this.bytes.push(...bytes);
  }

  end(): void {
    this.log.push('end');
  }

  taken(count: number): void {
    this.takenBytes += count;
  }

  destroy(): void {
    assert.equal(this.gone, false, 'destroyed once');
    this.gone = true;
    this.log.push('destroy');
  }
}

class FakeHost implements VsockBackend {
  onIncoming: VsockBackend['onIncoming'];
  readonly streams: FakeStream[] = [];
  readonly ports: number[] = [];

  connect(port: number, peer: VsockPeer): VsockStream {
    const stream = new FakeStream();
    stream.peer = peer;
    this.ports.push(port);
    this.streams.push(stream);
    return stream;
  }

  dispose(): void {}

  /** A program of the host wants a port of the guest. */
  ask(port: number): FakeStream {
    const stream = new FakeStream();
    stream.peer = this.onIncoming?.(port, stream);
    this.streams.push(stream);
    return stream;
  }
}

interface Received {
  readonly op: number;
  readonly source: number;
  readonly target: number;
  readonly flags: number;
  readonly room: number;
  readonly forwarded: number;
  readonly data: string;
}

function buildDevice() {
  const host = new FakeHost();
  const clock = new ManualClock();
  return { host, clock, device: new VirtioVsock({ backend: host, clock }, CID) };
}

/** What a driver and its sockets do. */
class Sockets {
  readonly guest: GuestDriver;
  /** Bytes that the guest says it has room for, and has read. */
  room = 4096;
  read = 0;

  constructor(guest: GuestDriver) {
    this.guest = guest;
  }

  start(buffers = 16, size = 1000): void {
    this.guest.start();
    this.offer(buffers, size);
    this.guest.submit(EVENT, [8]);
  }

  offer(buffers: number, size = 1000): void {
    for (let i = 0; i < buffers; i++) {
      this.guest.submit(RX, [size]);
    }
  }

  send(
    op: number,
    from: number,
    to: number,
    data: string | Uint8Array = '',
    more: { flags?: number; length?: number; type?: number; cid?: number; target?: number } = {},
  ): void {
    const bytes = Buffer.from(data);
    const header = headerBytes({
      sourceCid: BigInt(more.cid ?? CID),
      targetCid: BigInt(more.target ?? 2),
      sourcePort: from,
      targetPort: to,
      length: more.length ?? bytes.length,
      type: more.type ?? 1,
      op,
      flags: more.flags ?? 0,
      bufferBytes: this.room,
      forwarded: this.read,
    });
    this.guest.submit(TX, bytes.length === 0 ? [header] : [header, bytes]);
    assert.equal(this.guest.collect(TX).length, 1, 'the packet is taken at once');
  }

  /** What the device has sent; buffers are given to it again. */
  receive(): Received[] {
    const completions = this.guest.collect(RX);
    const packets = completions.map(({ data, length }): Received => {
      const view = new DataView(data.buffer, data.byteOffset);
      assert.equal(view.getBigUint64(0, true), 2n);
      assert.equal(view.getBigUint64(8, true), BigInt(CID));
      assert.equal(view.getUint32(24, true), length - HEADER_BYTES);
      assert.equal(view.getUint16(28, true), 1);
      return {
        source: view.getUint32(16, true),
        target: view.getUint32(20, true),
        op: view.getUint16(30, true),
        flags: view.getUint32(32, true),
        room: view.getUint32(36, true),
        forwarded: view.getUint32(40, true),
        data: Buffer.from(data.subarray(HEADER_BYTES, length)).toString(),
      };
    });
    this.offer(completions.length);
    return packets;
  }

  ops(): string[] {
    const names = Object.entries(OP);
    return this.receive().map(
      ({ op, source, target }) => `${names.find(([, value]) => value === op)?.[0]} ${source}>${target}`,
    );
  }
}

function build(style: DriverStyle = PLAIN_STYLE, memory?: GuestDriver['memory']) {
  const parts = buildDevice();
  const guest = new GuestDriver(parts.device, style, memory);
  return { ...parts, guest, sockets: new Sockets(guest) };
}

/** A connection from port 1000 of the guest to 80 of the host. */
function connected(style?: DriverStyle) {
  const parts = build(style);
  parts.sockets.start();
  parts.sockets.send(OP.request, 1000, 80);
  const [stream] = parts.host.streams;
  assert.ok(stream?.peer !== undefined);
  stream.peer.opened();
  assert.deepEqual(parts.sockets.ops(), ['response 80>1000']);
  return { ...parts, stream, peer: stream.peer };
}

for (const style of stylesOf(VIRTIO_ID.vsock)) {
  test(`vsock, ${styleName(style)}: the guest connects, both talk, both end`, () => {
    const { sockets, host, stream, peer } = connected(style);
    assert.deepEqual(host.ports, [80]);
    sockets.send(OP.data, 1000, 80, 'hello');
    assert.equal(Buffer.from(stream.bytes).toString(), 'hello');
    peer.data(Buffer.from('hi there'));
    assert.deepEqual(
      sockets.receive().map(({ op, data }) => [op, data]),
      [[OP.data, 'hi there']],
    );
    assert.equal(stream.takenBytes, 8);
    sockets.send(OP.shutdown, 1000, 80, '', { flags: 2 });
    assert.deepEqual(stream.log, ['end']);
    peer.data(Buffer.from('last'));
    peer.ended();
    const [last, end] = sockets.receive();
    assert.equal(last?.data, 'last');
    assert.deepEqual([end?.op, end?.flags], [OP.shutdown, 2]);
    sockets.send(OP.shutdown, 1000, 80, '', { flags: 3 });
    assert.deepEqual(sockets.ops(), [], 'not before the host has all bytes');
    peer.written(5);
    assert.deepEqual(sockets.ops(), ['reset 80>1000']);
    assert.deepEqual(stream.log, ['end', 'destroy']);
  });

  test(`vsock, ${styleName(style)}: the host connects`, () => {
    const { sockets, host } = build(style);
    sockets.start();
    const stream = host.ask(22);
    const [request] = sockets.receive();
    assert.deepEqual([request?.op, request?.target], [OP.request, 22]);
    const port = request?.source ?? 0;
    sockets.send(OP.response, 22, port);
    assert.deepEqual(stream.log, [`accept ${port}`]);
    stream.peer?.data(Buffer.from('SSH'));
    assert.equal(sockets.receive()[0]?.data, 'SSH');
    sockets.send(OP.reset, 22, port);
    assert.deepEqual(stream.log.at(-1), 'destroy');
    assert.deepEqual(sockets.ops(), []);
    const other = host.ask(22);
    const [again] = sockets.receive();
    assert.notEqual(again?.source, port, 'a port of its own');
    sockets.send(OP.reset, 22, again?.source ?? 0);
    assert.deepEqual(other.log, ['destroy'], 'refused');
  });
}

test('vsock: the configuration holds the context ID', () => {
  const { guest } = build();
  guest.start();
  assert.equal(guest.transport.readConfig(0, 4), CID);
  assert.equal(guest.transport.readConfig(4, 4), 0);
});

test('vsock: a port where nobody listens, and packets of connections that are not there, are answered with a reset', () => {
  const { sockets, host } = build();
  sockets.start();
  sockets.send(OP.request, 1, 2);
  host.streams[0]?.peer?.closed(true);
  assert.deepEqual(sockets.ops(), ['reset 2>1']);
  for (const op of [OP.response, OP.data, OP.shutdown, OP.creditUpdate, OP.creditRequest, 77]) {
    sockets.send(op, 5, 6);
    assert.deepEqual(sockets.ops(), ['reset 6>5'], `operation ${op}`);
  }
  sockets.send(OP.reset, 5, 6);
  assert.deepEqual(sockets.ops(), [], 'but not a reset');
  sockets.send(OP.request, 5, 6, '', { type: 2 });
  sockets.send(OP.request, 5, 6, '', { target: 3 });
  assert.deepEqual(sockets.ops(), ['reset 6>5', 'reset 6>5']);
  sockets.send(OP.request, 5, 6, '', { cid: 43 });
  assert.deepEqual(sockets.ops(), [], 'and somebody else is not heard');
});

test('vsock: the guest gets no more than it has room for, and is asked once', () => {
  const { sockets, stream, peer } = connected();
  peer.data(Buffer.alloc(10_000, 'x'));
  const sent = () =>
    sockets
      .receive()
      .filter(({ op }) => op === OP.data)
      .reduce((sum, { data }) => sum + data.length, 0);
  assert.equal(sent(), 4096);
  assert.equal(stream.takenBytes, 4096);
  sockets.send(OP.creditUpdate, 1000, 80);
  assert.deepEqual(sockets.ops(), [], 'no room, which it says again and again');
  sockets.read = 4000;
  sockets.send(OP.creditUpdate, 1000, 80);
  assert.equal(sent(), 4000);
  sockets.read = 8096;
  sockets.send(OP.creditUpdate, 1000, 80);
  assert.equal(sent(), 1904);
  assert.equal(stream.takenBytes, 10_000);
});

test('vsock: the guest hears of room before it has used up what it knows of, and more than that is a reset', () => {
  const { sockets, stream, peer } = connected();
  const piece = Buffer.alloc(GUEST_WINDOW_BYTES / 4, 'y');
  sockets.send(OP.data, 1000, 80, piece);
  sockets.send(OP.data, 1000, 80, piece);
  assert.deepEqual(sockets.ops(), []);
  peer.written(piece.length);
  const [update] = sockets.receive();
  assert.deepEqual([update?.op, update?.forwarded, update?.room], [OP.creditUpdate, piece.length, GUEST_WINDOW_BYTES]);
  sockets.send(OP.creditRequest, 1000, 80);
  assert.deepEqual(sockets.ops(), ['creditUpdate 80>1000']);
  for (let i = 0; i < 3; i++) {
    sockets.send(OP.data, 1000, 80, piece);
  }
  assert.deepEqual(sockets.ops(), [], 'exactly full');
  sockets.send(OP.data, 1000, 80, 'z');
  assert.deepEqual(sockets.ops(), ['reset 80>1000']);
  assert.equal(stream.gone, true);
});

test('vsock: packets that are shorter than they say, or come after the end, are a reset', () => {
  for (const wrong of [
    (sockets: Sockets) => sockets.send(OP.data, 1000, 80, 'abc', { length: 4 }),
    (sockets: Sockets) => sockets.send(OP.data, 1000, 80, 'abc', { length: 0xffffffff }),
    (sockets: Sockets) => sockets.send(OP.request, 1000, 80),
    (sockets: Sockets) => sockets.send(OP.response, 1000, 80),
    (sockets: Sockets) => sockets.send(99, 1000, 80),
    (sockets: Sockets) => {
      sockets.send(OP.shutdown, 1000, 80, '', { flags: 2 });
      sockets.send(OP.data, 1000, 80, 'late');
    },
  ]) {
    const { sockets, stream } = connected();
    wrong(sockets);
    assert.deepEqual(sockets.ops(), ['reset 80>1000']);
    assert.equal(stream.gone, true);
  }
});

test('vsock: a host that has gone: what it said is delivered first, or a reset when bytes are lost', () => {
  const { sockets, peer } = connected();
  peer.data(Buffer.alloc(5000, 'x'));
  peer.closed(false);
  assert.equal(sockets.receive().filter(({ op }) => op === OP.data).length, 5);
  sockets.read = 4096;
  sockets.send(OP.creditUpdate, 1000, 80);
  const [data, shutdown] = sockets.receive();
  assert.equal(data?.data.length, 904);
  assert.deepEqual([shutdown?.op, shutdown?.flags], [OP.shutdown, 3]);
  sockets.send(OP.reset, 1000, 80);
  assert.deepEqual(sockets.ops(), []);

  const second = connected();
  second.peer.data(Buffer.alloc(5000, 'x'));
  second.peer.closed(true);
  assert.equal(second.sockets.ops().at(-1), 'reset 80>1000');
});

test('vsock: connections take turns when the guest has few buffers', () => {
  const { sockets, host, guest } = build();
  sockets.start(0);
  for (const port of [1, 2, 3]) {
    sockets.send(OP.request, port, 80);
    host.streams.at(-1)?.peer?.opened();
    host.streams.at(-1)?.peer?.data(Buffer.alloc(3000, 'x'));
  }
  const order: number[] = [];
  for (let i = 0; i < 9; i++) {
    guest.submit(RX, [1000]);
    const [{ data } = { data: new Uint8Array(100) }] = guest.collect(RX);
    order.push(new DataView(data.buffer, data.byteOffset).getUint32(20, true));
  }
  assert.deepEqual(order, [1, 2, 3, 1, 2, 3, 1, 2, 3]);
});

test('vsock: a guest that takes no answers is not heard any more until it does', () => {
  const { guest, sockets } = build();
  sockets.start(0);
  const packet = headerBytes({
    sourceCid: BigInt(CID),
    targetCid: 2n,
    sourcePort: 1,
    targetPort: 2,
    length: 0,
    type: 1,
    op: OP.data,
    flags: 0,
    bufferBytes: 0,
    forwarded: 0,
  });
  let taken = 0;
  for (let i = 0; i < 300; i++) {
    guest.submit(TX, [packet]);
    taken += guest.collect(TX).length;
    if (taken < i + 1) {
      break;
    }
  }
  assert.equal(taken, 256);
  sockets.offer(30);
  assert.equal(guest.collect(TX).length, 1);
});

test('vsock: there is room for 512 connections', () => {
  const { sockets, host } = build();
  sockets.start();
  for (let port = 1; port <= 512; port++) {
    sockets.send(OP.request, port, 80);
  }
  assert.equal(host.streams.length, 512);
  sockets.send(OP.request, 600, 80);
  assert.deepEqual(sockets.ops(), ['reset 80>600']);
  assert.equal(host.onIncoming?.(5, new FakeStream()), undefined);
  host.streams[7]?.peer?.opened();
  host.streams[7]?.peer?.closed(false);
  sockets.receive();
  sockets.send(OP.request, 600, 80);
  assert.equal(host.streams.length, 513, 'one that only waits for the last word makes room');
});

test('vsock: after a reset the connections are cut on the host, and nothing of them reaches the guest', () => {
  const { guest, sockets, stream, peer, host } = connected();
  sockets.start();
  assert.equal(stream.gone, true);
  peer.data(Buffer.from('late'));
  peer.written(1);
  peer.closed(false);
  assert.deepEqual(sockets.ops(), []);
  guest.transport.device.reset();
  assert.equal(host.ask(5).peer, undefined, 'nobody is there');
});

test('vsock: a guest that moves hears that its connections are gone', () => {
  const { guest, device } = connected();
  const saved = structuredClone(guest.transport.device.save());
  assert.ok(device.describe().includes('1 connections'), 'and here it goes on');
  const second = build(PLAIN_STYLE, guest.memory);
  second.guest.transport.device.load(saved);
  assert.equal(guest.collect(EVENT).length, 0, 'nothing happens before the machine runs');
  second.clock.advance(1);
  const [event] = guest.collect(EVENT);
  assert.deepEqual([event?.length, [...(event?.data.subarray(0, 4) ?? [])]], [4, [0, 0, 0, 0]]);

  const third = build();
  third.sockets.start();
  const quiet = structuredClone(third.guest.transport.device.save());
  const fourth = build(PLAIN_STYLE, third.guest.memory);
  fourth.guest.transport.device.load(quiet);
  fourth.clock.advance(1);
  assert.equal(third.guest.collect(EVENT).length, 0, 'one without connections loses none');
});

function almostPacket(random: Random, queue: number): (Uint8Array | number)[] {
  if (queue !== TX) {
    return [random.pick([1, 20, 44, 45, 100, 3000])];
  }
  const length = random.below(200);
  const header = headerBytes({
    sourceCid: random.chance(1, 9) ? random.u64() : BigInt(CID),
    targetCid: random.chance(1, 9) ? random.u64() : 2n,
    sourcePort: random.below(3),
    targetPort: random.chance(1, 3) ? 0x40000000 + random.below(3) : random.below(2),
    length: random.chance(1, 9) ? random.u32() : length,
    type: random.chance(1, 9) ? random.u32() & 0xffff : 1,
    op: random.below(9),
    flags: random.below(5),
    bufferBytes: random.chance(1, 4) ? random.u32() : 500,
    forwarded: random.chance(1, 4) ? random.u32() : 0,
  });
  return [
    header.subarray(0, random.chance(1, 9) ? random.below(44) : 44),
    new Uint8Array(length + 1).subarray(1),
  ].filter(({ length: bytes }) => bytes > 0);
}

virtioConformance('vsock', () => {
  const { device, clock, host } = buildDevice();
  return {
    device,
    clock,
    buffer: almostPacket,
    stir: (random) => {
      const alive = host.streams.filter(({ gone, peer }) => !gone && peer !== undefined);
      if (alive.length === 0 || random.chance(1, 5)) {
        host.ask(random.below(3));
        return;
      }
      const stream = random.pick(alive);
      switch (random.below(6)) {
        case 0:
          stream.peer?.opened();
          return;
        case 1:
          stream.peer?.data(new Uint8Array(random.below(HOST_WINDOW_BYTES)));
          return;
        case 2:
          stream.peer?.written(stream.bytes.splice(0).length);
          return;
        case 3:
          stream.peer?.ended();
          return;
        case 4:
          stream.peer?.closed(random.chance(1, 2));
          stream.gone = true;
          return;
        default:
          stream.peer?.data(new Uint8Array(3));
      }
    },
    prove: (guest) => {
      const sockets = new Sockets(guest);
      sockets.offer(4);
      guest.collect(RX);
      sockets.offer(4);
      sockets.send(OP.data, 9, 9);
      assert.ok(sockets.ops().includes('reset 9>9'));
    },
  };
});
