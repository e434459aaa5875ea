import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../base/host-error.ts';
import { formatAddress, GATEWAY_MAC } from './address.ts';
import { checksum, pseudoHeaderSum } from './checksum.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from './packet.ts';
import { GUEST_MAC, ip, ipPacket, TestGuest } from './testing/test-guest.ts';

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (value: string) => new TextEncoder().encode(value);

function arpRequest(guest: TestGuest, sender: string, target: string): Uint8Array {
  const payload = Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 1, ...GUEST_MAC, ...ip(sender), 0, 0, 0, 0, 0, 0, ...ip(target));
  return guest.ethernet(0x0806, payload, new Uint8Array(6).fill(0xff));
}

test('ARP: the gateway answers for itself and the name server, and for nobody else', () => {
  const guest = new TestGuest();
  for (const target of ['10.0.2.2', '10.0.2.3']) {
    guest.send(arpRequest(guest, '10.0.2.15', target));
    const reply = guest.take();
    assert.deepEqual([...reply.subarray(0, 6)], [...GUEST_MAC]);
    assert.deepEqual(
      [...reply.subarray(14)],
      [0, 1, 8, 0, 6, 4, 0, 2, ...GATEWAY_MAC, ...ip(target), ...GUEST_MAC, ...ip('10.0.2.15')],
    );
  }
  guest.send(arpRequest(guest, '0.0.0.0', '10.0.2.15'));
  guest.send(arpRequest(guest, '10.0.2.15', '10.0.2.77'));
  assert.equal(guest.frames.length, 0);
});

/** A DHCP message of a client. */
function dhcp(type: number, mac: Uint8Array, options: number[] = [], present = '0.0.0.0'): Uint8Array {
  const message = new Uint8Array(240);
  message.set([1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
  message.set(ip(present), 12);
  message.set(mac, 28);
  message.set([0x63, 0x82, 0x53, 0x63], 236);
  return Uint8Array.of(...message, 53, 1, type, ...options, 0xff);
}

function dhcpAnswer(guest: TestGuest, message: Uint8Array) {
  const none = ip('0.0.0.0');
  guest.sendUdp(ip('255.255.255.255'), 68, 67, message, none);
  if (guest.frames.length === 0) {
    return undefined;
  }
  const { from, fromPort, port, data } = guest.takeUdp();
  assert.equal(formatAddress(from), '10.0.2.2');
  assert.deepEqual([fromPort, port], [67, 68]);
  assert.deepEqual([...data.subarray(4, 8)], [0xde, 0xad, 0xbe, 0xef]);
  const options = new Map<number, number[]>();
  for (let at = 240; data[at] !== 0xff; at += 2 + (data[at + 1] ?? 0)) {
    options.set(data[at] ?? 0, [...data.subarray(at + 2, at + 2 + (data[at + 1] ?? 0))]);
  }
  return { address: data.subarray(16, 20).join('.'), file: text(data.subarray(108, 236)).replace(/\0.*/, ''), options };
}

test('DHCP: the first guest gets 10.0.2.15, gateway, name server and netmask', () => {
  const guest = new TestGuest();
  const offer = dhcpAnswer(guest, dhcp(1, GUEST_MAC));
  assert.equal(offer?.address, '10.0.2.15');
  assert.deepEqual(offer.options.get(53), [2]);
  const ack = dhcpAnswer(guest, dhcp(3, GUEST_MAC, [50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]));
  assert.equal(ack?.address, '10.0.2.15');
  assert.deepEqual(ack.options.get(53), [5]);
  assert.deepEqual(ack.options.get(1), [255, 255, 255, 0]);
  assert.deepEqual(ack.options.get(3), [10, 0, 2, 2]);
  assert.deepEqual(ack.options.get(6), [10, 0, 2, 3]);
  assert.deepEqual(ack.options.get(51), [0, 1, 0x51, 0x80]);
  assert.equal(ack.file, '');
  // Another client gets another address, and the first one its own again.
  const other = Uint8Array.of(2, 0, 0, 0, 0, 9);
  assert.equal(dhcpAnswer(guest, dhcp(1, other))?.address, '10.0.2.16');
  assert.equal(dhcpAnswer(guest, dhcp(1, GUEST_MAC))?.address, '10.0.2.15');
});

test('DHCP: an address that is taken, or none of ours, is refused; wishes are heard', () => {
  const guest = new TestGuest();
  const other = Uint8Array.of(2, 0, 0, 0, 0, 9);
  dhcpAnswer(guest, dhcp(1, GUEST_MAC));
  assert.deepEqual(dhcpAnswer(guest, dhcp(3, other, [50, 4, 10, 0, 2, 15]))?.options.get(53), [6]);
  assert.deepEqual(dhcpAnswer(guest, dhcp(3, other, [50, 4, 192, 168, 0, 5]))?.options.get(53), [6]);
  assert.equal(dhcpAnswer(guest, dhcp(1, other, [50, 4, 10, 0, 2, 20]))?.address, '10.0.2.20');
  // A request to another server is not for us.
  assert.equal(dhcpAnswer(guest, dhcp(3, other, [54, 4, 10, 0, 2, 99])), undefined);
  // Released addresses are free again.
  guest.sendUdp(ip('10.0.2.2'), 68, 67, dhcp(7, GUEST_MAC, [], '10.0.2.15'));
  assert.equal(dhcpAnswer(guest, dhcp(1, Uint8Array.of(2, 0, 0, 0, 0, 7)))?.address, '10.0.2.15');
});

test('DHCP: more clients than addresses take them from who was silent longest', () => {
  const guest = new TestGuest();
  const given = new Set<string>();
  for (let i = 0; i < 17; i++) {
    given.add(dhcpAnswer(guest, dhcp(1, Uint8Array.of(2, 0, 0, 0, 1, i)))?.address ?? '');
  }
  assert.equal(given.size, 16);
  assert.equal(dhcpAnswer(guest, dhcp(1, Uint8Array.of(2, 0, 0, 0, 1, 16)))?.address, '10.0.2.15');
});

test('ICMP: the gateway echoes, also in fragments; the outside world is said to be out of reach', () => {
  const guest = new TestGuest();
  guest.send(arpRequest(guest, '10.0.2.15', '10.0.2.2'));
  guest.take();
  const ping = (length: number) => {
    const message = new Uint8Array(8 + length).fill(0x61);
    message.set([8, 0, 0, 0, 0x12, 0x34, 0, 1]);
    new DataView(message.buffer).setUint16(2, checksum(message, 0, message.length));
    return message;
  };
  const request = ping(56);
  guest.send(guest.ipFrame(ip('10.0.2.2'), PROTOCOL_ICMP, request));
  const reply = guest.takePacket();
  assert.equal(formatAddress(reply.source), '10.0.2.2');
  assert.equal(formatAddress(reply.destination), '10.0.2.15');
  assert.equal(checksum(reply.bytes, reply.payload, reply.bytes.length), 0);
  assert.equal(reply.bytes[reply.payload], 0);
  assert.deepEqual([...reply.bytes.subarray(reply.payload + 4)], [...request.subarray(4)]);

  // 3000 bytes come in three fragments, out of order, and go back in as many.
  const large = ping(3000);
  for (const [at, end] of [
    [2960, 3008],
    [0, 1480],
    [1480, 2960],
  ] as const) {
    const fragment = (end < large.length ? 0x2000 : 0) | (at / 8);
    guest.send(guest.ipFrame(ip('10.0.2.2'), PROTOCOL_ICMP, large.subarray(at, end), { fragment, id: 77 }));
  }
  assert.equal(guest.frames.length, 3);
  const parts = guest.frames.splice(0).map(({ bytes: frame }) => ipPacket(frame));
  assert.deepEqual(
    parts.map((part) => part?.fragment?.offset),
    [0, 1480, 2960],
  );
  assert.equal(
    parts.reduce((sum, part) => sum + (part === undefined ? 0 : part.bytes.length - part.payload), 0),
    3008,
  );

  guest.send(guest.ipFrame(ip('8.8.8.8'), PROTOCOL_ICMP, ping(8)));
  const refusal = guest.takePacket();
  assert.deepEqual([...refusal.bytes.subarray(refusal.payload, refusal.payload + 2)], [3, 13]);
});

test('UDP: datagrams go out and only those who were sent to can answer', () => {
  const guest = new TestGuest();
  guest.sendUdp(ip('198.51.100.7'), 5000, 7, bytes('hello'));
  const [socket] = guest.sockets.udp;
  assert.deepEqual(
    socket?.sent.map(({ bytes: data, address, port }) => [text(data), address, port]),
    [['hello', '198.51.100.7', 7]],
  );
  socket?.events.datagram(bytes('answer'), { address: '198.51.100.7', port: 7 });
  const answer = guest.takeUdp();
  assert.deepEqual(
    [formatAddress(answer.from), answer.fromPort, answer.port, text(answer.data)],
    ['198.51.100.7', 7, 5000, 'answer'],
  );
  socket?.events.datagram(bytes('spoof'), { address: '198.51.100.8', port: 7 });
  socket?.events.datagram(bytes('spoof'), { address: '198.51.100.7', port: 8 });
  assert.equal(guest.frames.length, 0);
  // Another peer from the same port uses the same socket.
  guest.sendUdp(ip('198.51.100.9'), 5000, 9, bytes('x'));
  assert.equal(guest.sockets.udp.length, 1);
  guest.clock.advance(200e9);
  assert.equal(socket?.closed, true);
  assert.equal(guest.clock.pendingCount, 0);
});

test('UDP: the host is out of reach unless loopback is allowed', () => {
  const guest = new TestGuest();
  guest.sendUdp(ip('10.0.2.2'), 5000, 111, bytes('x'));
  const refusal = guest.takePacket();
  assert.deepEqual([...refusal.bytes.subarray(refusal.payload, refusal.payload + 2)], [3, 3]);
  guest.sendUdp(ip('127.0.0.1'), 5000, 111, bytes('x'));
  guest.sendUdp(ip('10.0.2.255'), 5000, 111, bytes('x'));
  guest.sendUdp(ip('255.255.255.255'), 5000, 111, bytes('x'));
  guest.sendUdp(ip('224.0.0.251'), 5353, 5353, bytes('x'));
  assert.equal(guest.sockets.udp.length, 0);
  assert.equal(guest.frames.length, 1, 'only the unicast one is answered');

  const open = new TestGuest({ hostLoopback: true });
  open.sendUdp(ip('10.0.2.2'), 5000, 111, bytes('x'));
  assert.equal(open.sockets.udp[0]?.sent[0]?.address, '127.0.0.1');
  open.sockets.udp[0]?.events.datagram(bytes('y'), { address: '127.0.0.1', port: 111 });
  assert.equal(formatAddress(open.takeUdp().from), '10.0.2.2');
});

test('UDP: a long datagram is cut into fragments, and put together from them', () => {
  const guest = new TestGuest();
  const data = new Uint8Array(4000).map((_, i) => i * 7);
  const payload = guest.udpPayload(ip('198.51.100.7'), 5000, 7, data);
  for (let at = 0; at < payload.length; at += 1480) {
    const more = at + 1480 < payload.length;
    const fragment = (more ? 0x2000 : 0) | (at / 8);
    guest.send(guest.ipFrame(ip('198.51.100.7'), 17, payload.subarray(at, at + 1480), { fragment, id: 3 }));
  }
  const [socket] = guest.sockets.udp;
  assert.deepEqual(socket?.sent[0]?.bytes, data);
  socket?.events.datagram(data, { address: '198.51.100.7', port: 7 });
  const parts = guest.frames.splice(0).map(({ bytes: frame }) => ipPacket(frame));
  const whole = Buffer.concat(parts.map((part) => part?.bytes.subarray(part.payload) ?? Buffer.alloc(0)));
  assert.deepEqual(new Uint8Array(whole.subarray(8)), data);
  const pseudo = pseudoHeaderSum(ip('198.51.100.7'), ip('10.0.2.15'), 17, whole.length);
  assert.equal(checksum(whole, 0, whole.length, pseudo), 0);
});

test('UDP: what the host refuses to send comes back as unreachable', () => {
  const guest = new TestGuest();
  guest.sendUdp(ip('198.51.100.7'), 5000, 7, bytes('x'));
  const [socket] = guest.sockets.udp;
  assert.ok(socket);
  socket.failure = 'ENETUNREACH';
  guest.sendUdp(ip('198.51.100.7'), 5000, 7, bytes('x'));
  const refusal = guest.takePacket();
  assert.deepEqual([...refusal.bytes.subarray(refusal.payload, refusal.payload + 2)], [3, 1]);
});

const QUERY = Uint8Array.of(0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, 1, 0, 1);

test('DNS: queries go to the host’s servers, repeated ones to the next, and nothing else does', () => {
  const guest = new TestGuest();
  guest.sockets.servers = [
    { address: '192.0.2.53', port: 53 },
    { address: '2001:db8::53', port: 53 },
  ];
  guest.sendUdp(ip('10.0.2.3'), 5000, 53, QUERY);
  guest.sendUdp(ip('10.0.2.3'), 5000, 53, QUERY);
  const [four, six] = guest.sockets.udp;
  assert.equal(four?.sent[0]?.address, '192.0.2.53');
  assert.equal(six?.family, 6);
  assert.equal(six?.sent[0]?.address, '2001:db8::53');
  const answer = QUERY.slice();
  answer[2] = 0x81;
  six?.events.datagram(answer, { address: '2001:db8::53', port: 53 });
  const reply = guest.takeUdp();
  assert.deepEqual([formatAddress(reply.from), reply.fromPort, reply.port], ['10.0.2.3', 53, 5000]);
  assert.deepEqual(reply.data, answer);
  // An answer, or something else altogether, is no query.
  guest.sendUdp(ip('10.0.2.3'), 5000, 53, answer);
  guest.sendUdp(ip('10.0.2.3'), 5000, 53, bytes('GET / HTTP/1.1\r\n\r\n'));
  assert.equal(guest.sockets.udp.flatMap(({ sent }) => sent).length, 2);
});

test('DNS: without servers, or isolated, the answer is "refused"', () => {
  const guest = new TestGuest({ isolated: true });
  guest.sendUdp(ip('10.0.2.3'), 5000, 53, QUERY);
  const reply = guest.takeUdp();
  assert.deepEqual([...reply.data], [0x12, 0x34, 0x81, 5, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, 1, 0, 1]);
  assert.equal(guest.sockets.udp.length, 0);
});

function icmp6(guest: TestGuest, destination: string, message: Uint8Array, source = 'fe80::15', hopLimit = 255) {
  const from = ip(source);
  const to = ip(destination);
  const view = new DataView(message.buffer);
  view.setUint16(2, checksum(message, 0, message.length, pseudoHeaderSum(from, to, 58, message.length)));
  guest.send(guest.ipFrame(to, PROTOCOL_ICMPV6, message, { source: from, hopLimit }));
}

test('IPv6: routers and neighbors are advertised, the gateway echoes', () => {
  const guest = new TestGuest();
  icmp6(guest, 'ff02::2', Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0, 1, 1, ...GUEST_MAC));
  const advertisement = guest.takePacket();
  assert.equal(formatAddress(advertisement.source), 'fe80::2');
  assert.equal(advertisement.hopLimit, 255);
  const message = advertisement.bytes.subarray(advertisement.payload);
  assert.equal(message[0], 134);
  assert.equal(message[5], 0x40, 'other configuration is by DHCPv6');
  const all = [...message].join();
  assert.ok(all.includes([3, 4, 64, 0xc0].join()), 'a prefix for addresses');
  assert.ok(all.includes([...ip('fd00:10:0:2::')].join()));
  assert.ok(all.includes([...ip('fd00:10:0:2::3')].join()), 'the name server');
  const pseudo = pseudoHeaderSum(advertisement.source, advertisement.destination, 58, message.length);
  assert.equal(checksum(message, 0, message.length, pseudo), 0);

  icmp6(guest, 'ff02::1:ff00:2', Uint8Array.of(135, 0, 0, 0, 0, 0, 0, 0, ...ip('fd00:10:0:2::2'), 1, 1, ...GUEST_MAC));
  const neighbor = guest.takePacket();
  assert.equal(neighbor.bytes[neighbor.payload], 136);
  assert.deepEqual([...neighbor.bytes.subarray(-6)], [...GATEWAY_MAC]);
  // Whoever makes sure that an address is free hears nothing.
  icmp6(guest, 'ff02::1:ff00:15', Uint8Array.of(135, 0, 0, 0, 0, 0, 0, 0, ...ip('fd00:10:0:2::15')), '::');
  assert.equal(guest.frames.length, 0);

  icmp6(guest, 'fd00:10:0:2::2', Uint8Array.of(128, 0, 0, 0, 1, 2, 0, 1, 9, 9), 'fd00:10:0:2::15', 64);
  const echo = guest.takePacket();
  assert.deepEqual([...echo.bytes.subarray(echo.payload, echo.payload + 2)], [129, 0]);
  assert.deepEqual([...echo.bytes.subarray(-2)], [9, 9]);
});

test('IPv6: stateless DHCPv6 names the name server; datagrams go out', () => {
  const guest = new TestGuest();
  const request = Uint8Array.of(11, 1, 2, 3, 0, 1, 0, 4, 0, 3, 0, 1, 0, 6, 0, 2, 0, 23);
  guest.sendUdp(ip('ff02::1:2'), 546, 547, request, ip('fe80::15'));
  const { port, data } = guest.takeUdp();
  assert.equal(port, 546);
  assert.deepEqual([...data.subarray(0, 12)], [7, 1, 2, 3, 0, 1, 0, 4, 0, 3, 0, 1]);
  assert.deepEqual([...data.subarray(-20)], [0, 23, 0, 16, ...ip('fd00:10:0:2::3')]);

  guest.sendUdp(ip('2001:db8::7'), 5000, 7, bytes('six'), ip('fd00:10:0:2::15'));
  const [socket] = guest.sockets.udp;
  assert.equal(socket?.family, 6);
  assert.equal(socket?.sent[0]?.address, '2001:db8::7');
  socket?.events.datagram(bytes('back'), { address: '2001:db8:0::7', port: 7 });
  const answer = guest.takeUdp();
  assert.equal(formatAddress(answer.from), '2001:db8::7');
  assert.equal(text(answer.data), 'back');
});

test('UDP ports are forwarded, and the guest can answer', async () => {
  const guest = new TestGuest();
  guest.send(arpRequest(guest, '10.0.2.15', '10.0.2.2'));
  guest.take();
  const wish = { protocol: 'udp', hostAddress: '127.0.0.1', hostPort: 6000, guestPort: 53 } as const;
  await guest.network.addForward(wish);
  const [socket] = guest.sockets.udp;
  socket?.events.datagram(bytes('hi'), { address: '127.0.0.1', port: 33000 });
  const { from, fromPort, port, data } = guest.takeUdp();
  assert.deepEqual([formatAddress(from), fromPort, port, text(data)], ['10.0.2.2', 33000, 53, 'hi']);
  guest.sendUdp(ip('10.0.2.2'), 53, 33000, bytes('ho'));
  assert.deepEqual(
    socket?.sent.map(({ bytes: sent, port: to }) => [text(sent), to]),
    [['ho', 33000]],
  );
  await assert.rejects(
    guest.network.addForward(wish),
    (error: unknown) => error instanceof HostError && error.code === 'port-forwarded',
  );
  assert.equal(guest.network.removeForward(wish), true);
  assert.equal(guest.network.removeForward(wish), false);
  assert.equal(socket?.closed, true);
  await assert.rejects(
    guest.network.addForward({ ...wish, guestAddress: '10.0.3.1' }),
    /no address that a guest can have/,
  );
});

test('a guest that starts anew is forgotten', () => {
  const guest = new TestGuest();
  guest.sendUdp(ip('198.51.100.7'), 5000, 7, bytes('x'));
  guest.network.guestReset();
  assert.equal(guest.sockets.udp[0]?.closed, true);
  guest.network.dispose();
  assert.equal(guest.clock.pendingCount, 0);
});
