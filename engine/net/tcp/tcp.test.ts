import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defined } from '../../base/assert.ts';
import { Random } from '../../testing/random.ts';
import type { FakeTcpSocket } from '../testing/fake-sockets.ts';
import { TcpPeer } from '../testing/tcp-peer.ts';
import { ip, TestGuest } from '../testing/test-guest.ts';
import { type Segment, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN } from './segment.ts';

const WEB = ip('198.51.100.80');

function noise(length: number, seed = 3): Uint8Array {
  const random = new Random(seed);
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    bytes[i] = random.below(256);
  }
  return bytes;
}

/** A guest with an open connection to a server outside. */
function open(options: { window?: number; shift?: number; mss?: number; scaled?: boolean; guest?: TestGuest } = {}) {
  const guest = options.guest ?? new TestGuest();
  const peer = new TcpPeer(guest, WEB, 80);
  peer.window = options.window ?? peer.window;
  peer.shift = options.shift ?? 0;
  peer.mss = options.mss ?? peer.mss;
  peer.connect(options.scaled ?? true);
  const socket = defined(guest.sockets.tcp.at(-1), 'a socket');
  defined(socket.events, 'events').connected();
  guest.network.flush();
  peer.step();
  assert.equal(peer.state, 'open');
  return { guest, peer, socket, events: defined(socket.events, 'events') };
}

/** Gives the guest what the server sends, while its socket is not paused. */
function serve(guest: TestGuest, socket: FakeTcpSocket, bytes: Uint8Array): () => boolean {
  let at = 0;
  return () => {
    while (!socket.paused && at < bytes.length) {
      const piece = bytes.subarray(at, at + 16_384);
      at += piece.length;
      socket.events?.data(piece);
    }
    guest.network.flush();
    return at === bytes.length;
  };
}

test('a SYN is answered once the host is connected, with MSS and window shift', () => {
  const guest = new TestGuest();
  const peer = new TcpPeer(guest, WEB, 80);
  peer.connect();
  peer.connect();
  const [socket] = guest.sockets.tcp;
  assert.equal(guest.sockets.tcp.length, 1, 'a repeated SYN waits with the first one');
  assert.deepEqual([socket?.address, socket?.port], ['198.51.100.80', 80]);
  assert.deepEqual(peer.take(), []);
  socket?.events?.connected();
  guest.network.flush();
  const [answer] = peer.take();
  assert.equal(answer?.flags, TCP_SYN | TCP_ACK);
  assert.equal(answer.ack, peer.first);
  assert.equal(answer.mss, 1460);
  assert.ok((answer.windowShift ?? 0) > 0);
});

test('a guest without window scaling gets none', () => {
  const { peer, events, guest } = open({ scaled: false });
  assert.equal(peer.log[0]?.windowShift, undefined);
  assert.equal(peer.log[0]?.mss, 1460);
  events.data(noise(100));
  guest.network.flush();
  peer.step();
  assert.equal(peer.received.length, 100);
  assert.ok((peer.log.at(-1)?.window ?? 0) > 60_000, 'as much as fits without scaling');
});

test('a host that refuses, and addresses out of reach, answer with a reset', () => {
  const guest = new TestGuest();
  const peer = new TcpPeer(guest, WEB, 80);
  peer.connect();
  guest.sockets.tcp[0]?.events?.closed('ECONNREFUSED');
  peer.step();
  assert.equal(peer.state, 'reset');
  for (const address of ['127.0.0.1', '10.0.2.2', '10.0.2.3', '0.0.0.0', '10.0.2.99']) {
    const other = new TcpPeer(guest, ip(address), 22, 41_000);
    other.connect();
    other.step();
    assert.equal(other.state, 'reset', address);
  }
  assert.equal(guest.sockets.tcp.length, 1);
  assert.equal(guest.network.connectionCount, 0);
});

test('with host-loopback the gateway is the host', () => {
  const guest = new TestGuest({ hostLoopback: true });
  new TcpPeer(guest, ip('10.0.2.2'), 8080).connect();
  assert.deepEqual([guest.sockets.tcp[0]?.address, guest.sockets.tcp[0]?.port], ['127.0.0.1', 8080]);
});

test('bytes go both ways and both sides finish', () => {
  const { guest, peer, socket, events } = open();
  const request = noise(5000, 1);
  peer.write(request);
  assert.deepEqual(new Uint8Array(socket.written), request);
  const answer = noise(100_000, 2);
  const more = serve(guest, socket, answer);
  while (!more() || peer.received.length < answer.length) {
    peer.step();
  }
  assert.deepEqual(Uint8Array.from(peer.received), answer);
  events.ended();
  guest.network.flush();
  peer.step();
  assert.equal(peer.remoteFinished, true);
  // The guest goes on sending for a while: half-closed.
  peer.write(noise(10, 4));
  assert.equal(socket.writtenBytes, 5010);
  assert.equal(socket.ended, false);
  peer.finish();
  peer.step();
  assert.equal(socket.ended, true);
  assert.equal(peer.allAcknowledged, true);
  assert.equal(guest.network.connectionCount, 1, 'we finished first: TIME-WAIT');
  guest.clock.advance(60e9);
  assert.equal(guest.network.connectionCount, 0);
  assert.equal(guest.clock.pendingCount, 0);
});

test('the guest may finish first, and waits then itself', () => {
  const { guest, peer, socket, events } = open();
  peer.write(noise(10));
  peer.finish();
  peer.step();
  assert.equal(socket.ended, true);
  events.data(noise(2000));
  events.ended();
  guest.network.flush();
  peer.step();
  peer.step();
  assert.equal(peer.received.length, 2000);
  assert.equal(peer.remoteFinished, true);
  assert.equal(guest.network.connectionCount, 0, 'the guest waits, not we');
});

test('both sides may finish at once; TIME-WAIT answers a repeated FIN and then goes', () => {
  const { guest, peer, socket, events } = open();
  events.ended();
  guest.network.flush();
  const [fin] = peer.take();
  assert.equal((fin?.flags ?? 0) & TCP_FIN, TCP_FIN);
  // Our FIN crosses that of the guest, which does not acknowledge it yet.
  peer.sendSegment({ flags: TCP_ACK | TCP_FIN });
  assert.equal(socket.ended, true);
  peer.take();
  peer.sendSegment({ seq: peer.sndNxt + 1, ack: (peer.rcvNxt + 1) | 0, flags: TCP_ACK });
  assert.equal(guest.network.connectionCount, 0);

  const second = open({ guest });
  second.events.ended();
  guest.network.flush();
  second.peer.take();
  second.peer.sendSegment({ ack: (second.peer.rcvNxt + 1) | 0, flags: TCP_ACK });
  second.peer.sendSegment({ ack: (second.peer.rcvNxt + 1) | 0, flags: TCP_ACK | TCP_FIN });
  assert.equal(guest.network.connectionCount, 1);
  second.peer.take();
  second.peer.sendSegment({ ack: (second.peer.rcvNxt + 1) | 0, flags: TCP_ACK | TCP_FIN });
  assert.equal(second.peer.take().length, 1, 'acknowledged once more');
  guest.clock.advance(60e9);
  assert.equal(guest.network.connectionCount, 0);
  assert.equal(guest.clock.pendingCount, 0);
});

for (const [name, loss, shuffle] of [
  ['nothing lost', 0, false],
  ['one in ten lost', 0.1, false],
  ['one in three lost', 0.33, false],
  ['reordered', 0, true],
  ['reordered and one in ten lost', 0.1, true],
] as const) {
  test(`a megabyte to the guest: ${name}`, () => {
    const { guest, peer, socket, events } = open({ window: 256 << 10, shift: 5 });
    const random = new Random(7);
    const lost = () => random.below(1000) < loss * 1000;
    const reorder = (segments: Segment[]) => {
      if (shuffle) {
        for (let i = segments.length - 1; i > 0; i--) {
          const j = Math.max(0, i - random.below(4));
          const [a, b] = [segments[i], segments[j]];
          if (a !== undefined && b !== undefined) {
            segments[i] = b;
            segments[j] = a;
          }
        }
      }
      return segments;
    };
    const bytes = noise(1 << 20);
    const more = serve(guest, socket, bytes);
    let ended = false;
    for (let round = 0; !peer.remoteFinished; round++) {
      assert.ok(round < 20_000, 'it comes to an end');
      if (more() && !ended) {
        ended = true;
        events.ended();
        guest.network.flush();
      }
      const before = peer.received.length;
      peer.step(lost, reorder);
      if (peer.received.length === before && guest.frames.length === 0) {
        guest.clock.advance(100e6);
      }
    }
    assert.equal(peer.received.length, bytes.length);
    assert.deepEqual(Uint8Array.from(peer.received), bytes);
  });

  test(`a megabyte from the guest: ${name}`, () => {
    const { guest, peer, socket } = open();
    const random = new Random(11);
    const bytes = noise(1 << 20);
    const held: Uint8Array[] = [];
    const deliver = (frame: Uint8Array) => {
      if (random.below(1000) < loss * 1000) {
        return;
      }
      if (shuffle && random.below(3) === 0) {
        held.push(frame);
      } else {
        guest.send(frame);
        for (const late of held.splice(0)) {
          guest.send(late);
        }
      }
    };
    peer.write(new Uint8Array(0));
    Object.assign(peer, { state: 'new' });
    peer.write(bytes);
    Object.assign(peer, { state: 'open' });
    for (let round = 0; socket.writtenBytes < bytes.length; round++) {
      assert.ok(round < 20_000, 'it comes to an end');
      peer.pump(deliver);
      const una = peer.sndUna;
      peer.take().forEach((segment) => {
        if (((segment.ack - peer.sndUna) | 0) > 0) {
          peer.sndUna = segment.ack;
        }
        peer.remoteWindow = segment.window << peer.remoteShift;
      });
      if (peer.sndUna === una) {
        peer.resend(deliver);
      }
    }
    assert.deepEqual(new Uint8Array(socket.written), bytes);
  });
}

test('three duplicate acknowledgements repeat a segment at once', () => {
  const { guest, peer, events } = open();
  events.data(noise(1460 * 6));
  guest.network.flush();
  const segments = peer.take();
  assert.equal(segments.length, 6);
  // The first is lost; four others arrive.
  for (let i = 0; i < 4; i++) {
    peer.sendSegment({ flags: TCP_ACK });
  }
  const again = peer.take();
  assert.equal(again.length, 1);
  assert.equal(again[0]?.seq, segments[0]?.seq);
  assert.deepEqual(again[0]?.data, segments[0]?.data);
});

test('a lost segment is repeated after a timeout that doubles, and at last the connection is given up', () => {
  const { guest, peer, socket, events } = open();
  events.data(noise(100));
  guest.network.flush();
  peer.take();
  const gaps: number[] = [];
  let last = guest.clock.now();
  for (let i = 0; i < 10_000 && guest.network.connectionCount > 0; i++) {
    guest.clock.advance(100e6);
    const segments = peer.take();
    if (segments.some(({ flags }) => (flags & TCP_RST) === 0)) {
      gaps.push(guest.clock.now() - last);
      last = guest.clock.now();
    }
  }
  assert.ok(gaps.length >= 5);
  for (let i = 1; i < 5; i++) {
    assert.ok((gaps[i] ?? 0) >= 1.7 * (gaps[i - 1] ?? 0), gaps.join());
  }
  assert.equal(guest.network.connectionCount, 0);
  assert.equal(socket.wasReset, true);
  assert.equal(guest.clock.pendingCount, 0);
});

test('frames that the card has not taken yet are not lost', () => {
  const { guest, peer, socket, events } = open();
  guest.takes = false;
  events.data(noise(100));
  guest.network.flush();
  assert.equal(peer.take().length, 1);
  guest.clock.advance(600e9);
  assert.equal(peer.take().length, 0);
  assert.equal(socket.wasReset, false);
  guest.takes = true;
  guest.clock.advance(5e9);
  assert.ok(peer.take().length >= 1);
});

test('a timeout that nothing was lost for does not slow the connection down', () => {
  const { guest, peer, socket } = open({ window: 256 << 10, shift: 5 });
  const more = serve(guest, socket, noise(600_000));
  more();
  const sent = peer.take();
  guest.clock.advance(3e9); // the guest stood still
  assert.equal(peer.take().length > 0, true, 'one segment is repeated');
  const last = sent.at(-1);
  peer.rcvNxt = ((last?.seq ?? 0) + (last?.data.length ?? 0)) | 0;
  peer.acknowledge();
  assert.ok(peer.take().length > 100, 'the whole window follows at once');
});

test('a closed window is probed, without end, until it opens', () => {
  const { guest, peer, socket, events } = open({ window: 2920 });
  const bytes = noise(10_000);
  events.data(bytes);
  guest.network.flush();
  const sent = peer.take();
  assert.equal(
    sent.reduce((sum, { data }) => sum + data.length, 0),
    2920,
    'no more than the window',
  );
  peer.rcvNxt = (peer.rcvNxt + 2920) | 0;
  peer.received.push(...bytes.subarray(0, 2920));
  peer.sendSegment({ flags: TCP_ACK, window: 0 });
  assert.deepEqual(peer.take(), []);
  let probes = 0;
  for (let i = 0; i < 400; i++) {
    guest.clock.advance(5e9);
    for (const { data, seq } of peer.take()) {
      assert.deepEqual([seq, data.length], [peer.rcvNxt, 1]);
      probes++;
      peer.sendSegment({ flags: TCP_ACK, window: 0 });
    }
  }
  assert.ok(probes > 12, `${probes} probes`);
  assert.equal(socket.wasReset, false);
  peer.window = 60_000;
  peer.sendSegment({ flags: TCP_ACK });
  for (let i = 0; i < 100 && peer.received.length < bytes.length; i++) {
    peer.step();
    guest.clock.advance(1e9);
  }
  assert.deepEqual(Uint8Array.from(peer.received), bytes);
});

test('a slow host closes the guest’s window, and opens it again', () => {
  const { guest, peer, socket } = open();
  socket.drains = false;
  const bytes = noise(2 << 20);
  peer.write(bytes);
  for (let i = 0; i < 100; i++) {
    peer.step();
  }
  const taken = socket.writtenBytes;
  assert.ok(taken >= 256 << 10 && taken <= 1 << 20, `${taken} bytes wait at the host`);
  assert.equal(peer.remoteWindow - ((peer.sndNxt - peer.sndUna) | 0), 0, 'the window is closed');
  for (let i = 0; i < 1000 && socket.writtenBytes < bytes.length; i++) {
    socket.drain();
    guest.network.flush();
    peer.step();
  }
  assert.deepEqual(new Uint8Array(socket.written), bytes);
});

test('a slow guest holds the host’s socket back', () => {
  const { guest, peer, socket, events } = open({ window: 0 });
  let given = 0;
  while (!socket.paused) {
    events.data(new Uint8Array(65_536));
    given += 65_536;
    assert.ok(given < 2 << 20, 'it is held back');
  }
  guest.network.flush();
  events.ended();
  peer.window = 60_000;
  peer.acknowledge();
  for (let i = 0; i < 1000 && !peer.remoteFinished; i++) {
    peer.step();
    guest.clock.advance(1e9);
  }
  assert.equal(peer.received.length, given, 'nothing is lost when the host has ended meanwhile');
});

test('a full sink stalls the connection, which goes on when there is room', () => {
  const { guest, peer, socket } = open();
  guest.capacity = 3;
  const bytes = noise(50_000);
  const more = serve(guest, socket, bytes);
  for (let i = 0; i < 1000 && peer.received.length < bytes.length; i++) {
    more();
    peer.step();
    guest.network.roomForFrames();
  }
  assert.deepEqual(Uint8Array.from(peer.received), bytes);
  assert.equal(guest.clock.now(), 0, 'without waiting for a timeout');
});

test('a card that cuts segments itself gets large ones with a partial checksum', () => {
  const { guest, peer, socket } = open({ window: 256 << 10, shift: 4 });
  guest.offloads = { checksum: true, segment4: true, segment6: false };
  const bytes = noise(200_000);
  const more = serve(guest, socket, bytes);
  more();
  const [frame] = guest.frames;
  assert.ok((frame?.bytes.length ?? 0) > 60_000);
  assert.deepEqual(frame?.work, { checksumStart: 34, checksumOffset: 16, segmentBytes: 1460, segmentKind: 'tcp4' });
  while (peer.received.length < bytes.length) {
    peer.step();
    more();
  }
  assert.deepEqual(Uint8Array.from(peer.received), bytes);
});

test('a large segment of the guest is taken in one piece', () => {
  const { guest, peer, socket } = open();
  const data = noise(60_000);
  const frame = peer.frame({ flags: TCP_ACK | TCP_PSH, data });
  new DataView(frame.buffer).setUint16(50, 0xbeef); // the checksum is left to the network
  guest.send(frame, { checksumStart: 34, checksumOffset: 16, segmentBytes: 1460, segmentKind: 'tcp4' });
  assert.deepEqual(new Uint8Array(socket.written), data);
  peer.sndNxt = (peer.sndNxt + data.length) | 0;
  const other = peer.frame({ flags: TCP_ACK | TCP_PSH, data: noise(100) });
  new DataView(other.buffer).setUint16(50, 0xbeef);
  guest.send(other);
  assert.equal(socket.writtenBytes, data.length, 'a wrong checksum is dropped');
});

test('resets: the exact number ends the connection, others in the window are asked back', () => {
  const { guest, peer, socket } = open();
  peer.sendSegment({ seq: (peer.sndNxt + 100) | 0, flags: TCP_RST });
  assert.equal(peer.take()[0]?.flags, TCP_ACK);
  peer.sendSegment({ seq: (peer.sndNxt - 100_000) | 0, flags: TCP_RST });
  assert.deepEqual(peer.take(), []);
  assert.equal(socket.wasReset, false);
  peer.sendSegment({ flags: TCP_RST });
  assert.equal(socket.wasReset, true);
  assert.equal(guest.network.connectionCount, 0);
});

test('a host that breaks off resets the guest', () => {
  const { guest, peer, events } = open();
  events.closed('ECONNRESET');
  peer.step();
  assert.equal(peer.state, 'reset');
  assert.equal(guest.network.connectionCount, 0);
  // What the guest still sends belongs to nothing.
  peer.sendSegment({ flags: TCP_ACK, data: noise(10) });
  assert.equal(peer.take()[0]?.flags, TCP_RST);
});

test('segments outside the window, and acknowledgements of what was never sent, only get an answer', () => {
  const { peer, socket } = open();
  for (const fields of [
    { seq: (peer.sndNxt + (1 << 24)) | 0, flags: TCP_ACK, data: noise(10) },
    { seq: (peer.sndNxt - 10) | 0, flags: TCP_ACK, data: noise(10) },
    { ack: (peer.rcvNxt + 5000) | 0, flags: TCP_ACK, data: noise(10) },
    { flags: TCP_SYN },
  ]) {
    peer.sendSegment(fields);
    assert.equal(peer.take().at(-1)?.flags, TCP_ACK, JSON.stringify(fields));
  }
  peer.sendSegment({ flags: 0, data: noise(10) });
  assert.deepEqual(peer.take(), []);
  assert.equal(socket.writtenBytes, 0);
});

test('a new SYN replaces a connection in TIME-WAIT', () => {
  const { guest, peer, events } = open();
  events.ended();
  guest.network.flush();
  peer.step();
  peer.sendSegment({ flags: TCP_ACK });
  peer.sendSegment({ flags: TCP_ACK | TCP_FIN });
  peer.take();
  const again = new TcpPeer(guest, WEB, 80, peer.port, 0x7fff_fff0 + 1000);
  again.connect();
  assert.equal(guest.sockets.tcp.length, 2);
});

test('a thousand connections are the most; silent ones make room', () => {
  const guest = new TestGuest();
  const connect = (port: number) => {
    const peer = new TcpPeer(guest, WEB, 80, port);
    peer.connect();
    return peer;
  };
  for (let i = 0; i < 1024; i++) {
    connect(1000 + i);
    guest.sockets.tcp.at(-1)?.events?.connected();
  }
  guest.network.flush();
  guest.frames.length = 0;
  const refused = connect(5000);
  refused.step();
  assert.equal(refused.state, 'reset');
  assert.equal(guest.network.connectionCount, 1024);
  // Their SYNs are answered again and again, but nobody is there: they are given up.
  guest.clock.advance(300e9);
  connect(5001);
  assert.ok(guest.network.connectionCount <= 1024);
  assert.equal(guest.sockets.tcp.length, 1025);
});

test('a forwarded port opens a connection to the guest', async () => {
  const guest = new TestGuest();
  guest.sendUdp(ip('198.51.100.7'), 5000, 7, new Uint8Array(1)); // the network knows the guest's address
  await guest.network.addForward({ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestPort: 22 });
  const socket = guest.sockets.accept(2222, { address: '127.0.0.1', port: 50_123 });
  assert.equal(socket.paused, true);
  const peer = new TcpPeer(guest, ip('10.0.2.2'), 50_123, 22);
  const [syn] = peer.take();
  assert.equal(syn?.flags, TCP_SYN);
  peer.rcvNxt = ((syn?.seq ?? 0) + 1) | 0;
  peer.sendSegment({ seq: peer.first - 1, flags: TCP_SYN | TCP_ACK, options: [2, 4, 5, 180] });
  peer.state = 'open';
  assert.equal(socket.paused, false);
  socket.events?.data(noise(300));
  guest.network.flush();
  peer.step();
  assert.equal(peer.received.length, 300);
  peer.remoteWindow = 10_000;
  peer.write(noise(200, 8));
  assert.deepEqual(new Uint8Array(socket.written), noise(200, 8));
});

test('a forwarded port that the guest refuses, or does not answer, closes the client’s connection', async () => {
  const guest = new TestGuest();
  guest.sendUdp(ip('198.51.100.7'), 5000, 7, new Uint8Array(1));
  await guest.network.addForward({ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestPort: 22 });
  const refused = guest.sockets.accept(2222, { address: '127.0.0.1', port: 50_001 });
  const peer = new TcpPeer(guest, ip('10.0.2.2'), 50_001, 22);
  const [syn] = peer.take();
  peer.sendSegment({ seq: 0, ack: ((syn?.seq ?? 0) + 1) | 0, flags: TCP_RST | TCP_ACK });
  assert.equal(refused.wasReset, true);
  const silent = guest.sockets.accept(2222, { address: '127.0.0.1', port: 50_002 });
  guest.clock.advance(200e9);
  assert.equal(silent.wasReset, true);
  // A client that goes away before the guest has answered.
  const gone = guest.sockets.accept(2222, { address: '127.0.0.1', port: 50_003 });
  gone.events?.closed('ECONNRESET');
  assert.equal(guest.network.connectionCount, 0);
});

test('IPv6 connections have a smaller MSS', () => {
  const guest = new TestGuest();
  guest.address = ip('fd00:10:0:2::15');
  const peer = new TcpPeer(guest, ip('2001:db8::80'), 80);
  peer.connect();
  assert.equal(guest.sockets.tcp[0]?.address, '2001:db8::80');
  guest.sockets.tcp[0]?.events?.connected();
  guest.network.flush();
  peer.step();
  assert.equal(peer.state, 'open');
  assert.equal(peer.log[0]?.mss, 1440);
  guest.sockets.tcp[0]?.events?.data(noise(3000));
  guest.network.flush();
  peer.step();
  assert.equal(peer.received.length, 3000);
});

test('DNS over TCP passes queries on, and resets whoever sends something else', () => {
  const query = Uint8Array.of(0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, 1, 0, 1);
  const guest = new TestGuest();
  const peer = new TcpPeer(guest, ip('10.0.2.3'), 53);
  peer.connect();
  const [socket] = guest.sockets.tcp;
  assert.deepEqual([socket?.address, socket?.port], ['192.0.2.53', 53]);
  socket?.events?.connected();
  guest.network.flush();
  peer.step();
  peer.write(Uint8Array.of(0, query.length, ...query, 0));
  assert.deepEqual([...(socket?.written ?? [])], [0, query.length, ...query]);
  peer.write(new TextEncoder().encode('\u0010GET / HTTP/1.1\r\n'));
  peer.step();
  assert.equal(peer.state, 'reset');
  assert.equal(socket?.wasReset, true);
});

test('a guest that starts anew ends its connections on the host', () => {
  const { guest, socket } = open();
  guest.network.guestReset();
  assert.equal(socket.wasReset, true);
  assert.equal(guest.network.connectionCount, 0);
  assert.equal(guest.clock.pendingCount, 0);
});
