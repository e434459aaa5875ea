import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../testing/random.ts';
import { plainFrame } from './network-port.ts';
import { TCP_ACK, TCP_SYN } from './tcp/segment.ts';
import { TcpPeer } from './testing/tcp-peer.ts';
import { GUEST_MAC, ip, TestGuest } from './testing/test-guest.ts';

/** Another seed tries other packets: LODGE_SEED=n. LODGE_CASES=f multiplies the number of cases. */
const SEED = Number(process.env['LODGE_SEED'] ?? 1) * 1_000_000;
const SCALE = Number(process.env['LODGE_CASES'] ?? 1);
const WEB = ip('198.51.100.80');
const SIX = ip('fd00:10:0:2::15');
const MEGABYTE = 1 << 20;

/** Extension headers of IPv6 in any order, some of them broken, in front of `payload`; the first header's number. */
function extensions(random: Random, protocol: number, payload: Uint8Array): { next: number; bytes: Uint8Array } {
  let next = protocol;
  let bytes = payload;
  for (let count = random.below(12); count > 0; count--) {
    const kind = random.pick([0, 43, 44, 60, 51, 50, 59, 135, random.below(256)]);
    const units = kind === 44 ? 0 : random.below(3);
    const header = new Uint8Array(8 + units * 8);
    header[0] = next;
    header[1] = random.chance(1, 8) ? random.below(256) : units;
    if (kind === 44) {
      header[2] = random.chance(1, 2) ? 0 : random.below(256);
      header[3] = random.chance(1, 2) ? 0 : random.below(256);
      header[7] = random.below(3);
    }
    bytes = Uint8Array.of(...header, ...bytes);
    next = kind;
  }
  return { next, bytes };
}

/** An IPv4 frame with options behind its header. */
function withIpOptions(guest: TestGuest, random: Random, payload: Uint8Array): Uint8Array {
  const words = random.below(11);
  const frame = guest.ipFrame(
    WEB,
    random.pick([1, 6, 17, random.below(256)]),
    Uint8Array.of(...new Uint8Array(words * 4), ...payload),
  );
  frame[14] = 0x40 | (5 + words);
  for (let i = 34; i < 34 + words * 4; i++) {
    frame[i] = random.below(256);
  }
  frame.set([0, 0], 24);
  let sum = 0;
  for (let i = 14; i < 34 + words * 4; i += 2) {
    sum += ((frame[i] ?? 0) << 8) | (frame[i + 1] ?? 0);
  }
  sum = ~(sum % 0xffff || 0xffff) & 0xffff;
  frame.set([sum >> 8, sum & 0xff], 24);
  return frame;
}

test('IPv6 extension headers, IPv4 options and truncated packets are dropped or dealt with', () => {
  for (let seed = SEED; seed < SEED + 20 * SCALE; seed++) {
    const random = new Random(seed);
    const guest = new TestGuest({ hostLoopback: random.chance(1, 2) });
    guest.capacity = 500;
    for (let i = 0; i < 500; i++) {
      const data = Uint8Array.from({ length: random.below(random.pick([4, 80, 1400])) }, () => random.below(256));
      const to = random.pick([ip('fd00:10:0:2::2'), ip('fd00:10:0:2::3'), ip('ff02::2'), ip('2001:db8::1'), ip('::1')]);
      const port = random.pick([53, 67, 80, 547, random.below(65536)]);
      const udp = guest.udpPayload(to, 5000, port, data, SIX);
      const { next, bytes } = extensions(random, random.pick([6, 17, 17, 58]), random.chance(1, 2) ? udp : data);
      const six = guest.ipFrame(to, next, bytes, { source: random.chance(1, 4) ? ip('fe80::15') : SIX, hopLimit: 255 });
      const whole = random.chance(1, 2) ? six : withIpOptions(guest, random, data);
      const frame = random.chance(1, 6) ? whole.subarray(0, random.below(whole.length + 1)) : whole;
      const work = random.chance(1, 3)
        ? { ...plainFrame, checksumStart: random.below(200), checksumOffset: 6 }
        : plainFrame;
      guest.network.receive(frame, work);
      if (random.chance(1, 30)) {
        guest.network.flush();
        guest.frames.length = 0;
        guest.clock.advance(random.below(40e9));
      }
    }
    guest.network.dispose();
    assert.equal(guest.clock.pendingCount, 0, `seed ${seed}`);
  }
});

test('datagrams in fragments of any size and order arrive whole, or not at all', () => {
  for (let seed = SEED; seed < SEED + 60 * SCALE; seed++) {
    const random = new Random(seed);
    const guest = new TestGuest();
    const six = random.chance(1, 2);
    const source = six ? SIX : guest.address;
    const to = six ? ip('2001:db8::7') : ip('198.51.100.7');
    const data = Uint8Array.from({ length: 1 + random.below(9000) }, (_, i) => (i * 7 + seed) & 0xff);
    const payload = guest.udpPayload(to, 5000, 7, data, source);
    const parts: Uint8Array[] = [];
    for (let at = 0; at < payload.length; ) {
      const length = Math.min(payload.length - at, 8 * (1 + random.below(180)) + (random.chance(1, 30) ? 3 : 0));
      const last = at + length === payload.length;
      const bytes = payload.subarray(at, at + length);
      const word = (at & 0xfff8) | (last ? 0 : 1);
      const inSix = Uint8Array.of(17, 0, word >> 8, word & 0xff, 0, 0, 0, 9, ...bytes);
      parts.push(
        six
          ? guest.ipFrame(to, 44, inSix, { source })
          : guest.ipFrame(to, 17, bytes, { fragment: (at >> 3) | (last ? 0 : 0x2000), id: 9 }),
      );
      at += length;
    }
    const clean =
      parts.length <= 64 &&
      parts.every((part, i) => i === parts.length - 1 || (part.length - (six ? 62 : 34)) % 8 === 0);
    for (let i = parts.length - 1; i > 0; i--) {
      const other = random.below(i + 1);
      const swapped = parts[i];
      parts[i] = parts[other] as Uint8Array;
      parts[other] = swapped as Uint8Array;
    }
    // One part twice, or one that is missing, spoils the packet.
    const spoilt = random.below(4);
    if (spoilt === 0 && parts.length > 2) {
      parts.splice(1, 0, parts[0] as Uint8Array);
    } else if (spoilt === 1) {
      parts.pop();
    }
    for (const part of parts) {
      guest.send(part);
    }
    const sent = guest.sockets.udp.flatMap((socket) => socket.sent);
    assert.ok(sent.length <= 1, `seed ${seed}`);
    if (sent[0] !== undefined) {
      assert.deepEqual(new Uint8Array(sent[0].bytes), data, `seed ${seed}`);
    }
    if (clean && spoilt > 1) {
      assert.equal(sent.length, 1, `seed ${seed}: nothing is wrong with these fragments`);
    }
    guest.network.dispose();
  }
});

test('a thousand connections that fill their windows with and without gaps hold bounded memory', () => {
  for (const gap of [0, 1]) {
    const guest = new TestGuest();
    guest.offloads = { checksum: true, segment4: true, segment6: true };
    const chunk = new Uint8Array(60_000).fill(7);
    let most = 0;
    for (let i = 0; i < 1024; i++) {
      const peer = new TcpPeer(guest, WEB, 80, 1000 + i);
      peer.connect();
      const socket = guest.sockets.tcp.at(-1);
      assert.ok(socket?.events);
      socket.drains = false;
      socket.events.connected();
      guest.network.flush();
      peer.step();
      peer.acknowledge();
      for (let at = gap; at < 500_000; at += chunk.length) {
        peer.sendSegment({ seq: (peer.first + at) | 0, flags: TCP_ACK, data: chunk });
      }
      most = Math.max(most, guest.network.waitingBytes.toHost);
      guest.frames.length = 0;
    }
    assert.ok(most > 32 * MEGABYTE, `${most} bytes wait`);
    assert.ok(most <= (64 + 32) * MEGABYTE, `${most} bytes wait`);
    guest.network.guestReset();
    assert.equal(guest.network.waitingBytes.toHost, 0);
    guest.network.dispose();
  }
});

test('what was not taken for want of memory is taken when it comes again', () => {
  const guest = new TestGuest();
  guest.offloads = { checksum: true, segment4: true, segment6: true };
  const chunk = new Uint8Array(60_000).fill(7);
  const peers = Array.from({ length: 200 }, (_, i) => {
    const peer = new TcpPeer(guest, WEB, 80, 1000 + i);
    peer.connect();
    const socket = guest.sockets.tcp.at(-1);
    assert.ok(socket?.events);
    socket.drains = false;
    socket.events.connected();
    guest.network.flush();
    peer.step();
    peer.acknowledge();
    return { peer, socket };
  });
  for (const { peer } of peers) {
    for (let at = 0; at < 480_000; at += chunk.length) {
      peer.sendSegment({ seq: (peer.first + at) | 0, flags: TCP_ACK, data: chunk });
    }
  }
  const before = peers.map(({ socket }) => socket.writtenBytes);
  assert.ok(
    before.some((bytes) => bytes < 480_000),
    'not everything was taken',
  );
  for (const { socket } of peers) {
    socket.drains = true;
    socket.drain();
  }
  guest.network.flush();
  for (const { peer, socket } of peers) {
    for (let at = socket.writtenBytes; at < 480_000; at = socket.writtenBytes) {
      peer.sendSegment({ seq: (peer.first + at) | 0, flags: TCP_ACK, data: chunk });
      assert.ok(socket.writtenBytes > at, 'the guest gets on');
    }
  }
});

test('floods of connections, ports, addresses and transfers stay within their limits, and others get on', () => {
  const guest = new TestGuest();
  guest.capacity = 100;
  for (let i = 0; i < 5000; i++) {
    const peer = new TcpPeer(guest, ip(`198.51.100.${1 + (i % 200)}`), 1 + (i >> 3), 1000 + i);
    peer.sendSegment({ seq: peer.first - 1, ack: 0, flags: TCP_SYN });
    guest.sendUdp(ip('198.51.100.9'), 1 + i, 7, new Uint8Array(10));
    guest.send(
      Uint8Array.of(
        ...[255, 255, 255, 255, 255, 255, ...GUEST_MAC, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        ...[2, 0, 0, 0, i >> 8, i & 0xff, 10, 0, 2, 16 + (i % 200), 0, 0, 0, 0, 0, 0, 10, 0, 2, 2],
      ),
    );
    guest.frames.length = 0;
  }
  assert.ok(guest.network.connectionCount <= 1024);
  assert.ok(guest.sockets.udp.filter(({ closed }) => !closed).length <= 512, 'sockets of old flows are closed');
  assert.ok(guest.clock.pendingCount <= 1100);
  guest.capacity = 5000;
  // Once the flood is forgotten, a new connection is served.
  guest.clock.advance(200e9);
  const peer = new TcpPeer(guest, WEB, 80, 50_000);
  peer.connect();
  guest.sockets.tcp.at(-1)?.events?.connected();
  guest.network.flush();
  peer.step();
  assert.equal(peer.state, 'open');
  guest.network.dispose();
  assert.equal(guest.clock.pendingCount, 0);
});

test('what the host refuses is told to the guest, and the network goes on', () => {
  const guest = new TestGuest();
  for (const [index, code] of ['ECONNREFUSED', 'ENETUNREACH', 'EMFILE', 'ETIMEDOUT', 'EACCES'].entries()) {
    const peer = new TcpPeer(guest, WEB, 80, 2000 + index);
    peer.connect();
    guest.sockets.tcp.at(-1)?.events?.closed(code);
    guest.network.flush();
    peer.step();
    assert.equal(peer.state, 'reset', code);
  }
  assert.equal(guest.network.connectionCount, 0);
  const works = new TcpPeer(guest, WEB, 80, 3000);
  works.connect();
  guest.sockets.tcp.at(-1)?.events?.connected();
  guest.network.flush();
  works.step();
  assert.equal(works.state, 'open');
});

const QUERY = Uint8Array.of(0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, 1, 0, 1);

test('DNS: a server that the host cannot send to is passed over; when none is left, the guest is told at once', () => {
  const guest = new TestGuest();
  guest.sockets.servers = [
    { address: '192.0.2.53', port: 53 },
    { address: '2001:db8::53', port: 53 },
  ];
  guest.sendUdp(ip('10.0.2.3'), 5000, 53, QUERY);
  const [four] = guest.sockets.udp;
  assert.equal(four?.sent.length, 1);
  four.failure = 'ENETUNREACH';
  const other = QUERY.slice();
  other[0] = 0x55;
  guest.sendUdp(ip('10.0.2.3'), 5000, 53, other);
  const six = guest.sockets.udp[1];
  assert.equal(six?.sent[0]?.address, '2001:db8::53');
  six.failure = 'ENETDOWN';
  guest.sendUdp(ip('10.0.2.3'), 5000, 53, QUERY);
  const reply = guest.takeUdp();
  assert.deepEqual([...reply.data.subarray(0, 4)], [0x12, 0x34, 0x81, 2], 'server failure');
  assert.equal(reply.fromPort, 53);
});
