import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../testing/random.ts';
import type { FrameWork } from './network-port.ts';
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from './tcp/segment.ts';
import { FakeBootFolder } from './testing/fake-sockets.ts';
import { TcpPeer } from './testing/tcp-peer.ts';
import { ip, TestGuest } from './testing/test-guest.ts';

/** Another seed tries other frames: LODGE_SEED=n. LODGE_CASES=f multiplies the number of guests. */
const SEED = Number(process.env['LODGE_SEED'] ?? 1);
const GUESTS = 15 * Number(process.env['LODGE_CASES'] ?? 1);

/** Frames that a guest could send, from which hostile ones are made. */
function seeds(guest: TestGuest): Uint8Array[] {
  const peer = new TcpPeer(guest, ip('198.51.100.80'), 80);
  const boot = new TcpPeer(guest, ip('10.0.2.2'), 80, 1234);
  const dns = new TcpPeer(guest, ip('10.0.2.3'), 53, 1235);
  const data = new Uint8Array(100).fill(0x41);
  const udp = (to: string, port: number, bytes: Uint8Array) =>
    guest.ipFrame(ip(to), 17, guest.udpPayload(ip(to), 5000, port, bytes));
  const dhcp = new Uint8Array(300);
  dhcp.set([1, 1, 6, 0]);
  dhcp.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 50, 4, 10, 0, 2, 15, 61, 7, 1, 2, 3, 4, 5, 6, 7, 255], 236);
  const six = ip('fd00:10:0:2::15');
  return [
    guest.ethernet(0x0806, new Uint8Array(28).fill(1)),
    guest.ipFrame(ip('10.0.2.2'), 1, Uint8Array.of(8, 0, 0xf7, 0xff, 0, 0, 0, 0)),
    udp('10.0.2.2', 67, dhcp),
    udp('10.0.2.2', 69, Uint8Array.of(0, 1, ...Buffer.from('kernel\0octet\0blksize\x001400\0'))),
    udp('10.0.2.3', 53, Uint8Array.of(1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 65, 0, 0, 1, 0, 1)),
    udp('198.51.100.7', 7, data),
    guest.ipFrame(ip('198.51.100.7'), 17, data, { fragment: 0x2000, id: 5 }),
    guest.ipFrame(ip('198.51.100.7'), 17, data, { fragment: 13, id: 5 }),
    peer.frame({ flags: TCP_SYN, options: [2, 4, 5, 180, 1, 3, 3, 7], seq: peer.first - 1 }),
    peer.frame({ flags: TCP_ACK, data }),
    peer.frame({ flags: TCP_ACK | TCP_FIN }),
    peer.frame({ flags: TCP_RST }),
    boot.frame({ flags: TCP_SYN, seq: boot.first - 1 }),
    boot.frame({ flags: TCP_ACK, data: new Uint8Array(Buffer.from('GET /kernel HTTP/1.1\r\n\r\n')) }),
    dns.frame({ flags: TCP_SYN, seq: dns.first - 1 }),
    guest.ipFrame(ip('ff02::2'), 58, Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0), { source: ip('fe80::1'), hopLimit: 255 }),
    guest.ipFrame(ip('ff02::1:2'), 17, guest.udpPayload(ip('ff02::1:2'), 546, 547, Uint8Array.of(11, 1, 2, 3), six), {
      source: six,
    }),
    guest.ipFrame(ip('2001:db8::1'), 44, Uint8Array.of(17, 0, 0, 1, 0, 0, 0, 9, ...data), { source: six }),
  ];
}

function mutated(random: Random, frame: Uint8Array): Uint8Array {
  const copy = frame.slice(0, random.below(8) === 0 ? random.below(frame.length + 1) : frame.length);
  for (let changes = random.below(6); changes > 0 && copy.length > 0; changes--) {
    // Headers are where it hurts.
    const at = random.below(2) === 0 ? random.below(copy.length) : random.below(Math.min(copy.length, 80));
    copy[at] = random.below(3) === 0 ? ([0, 0xff, 0x7f, 0x80][random.below(4)] ?? 0) : random.below(256);
  }
  return copy;
}

test('no frame makes the network throw, and nothing grows without bounds', async () => {
  for (let seed = SEED * 1000; seed < SEED * 1000 + GUESTS; seed++) {
    const random = new Random(seed);
    const bootFolder = new FakeBootFolder();
    bootFolder.files.set('kernel', new Uint8Array(100_000));
    const guest = new TestGuest({ bootFolder, hostLoopback: seed % 2 === 0, isolated: seed % 5 === 0 });
    guest.offloads = { checksum: seed % 3 === 0, segment4: seed % 6 === 0, segment6: seed % 9 === 0 };
    guest.capacity = 2000;
    const frames = seeds(guest);
    for (let i = 0; i < 3000; i++) {
      const seedFrame = frames[random.below(frames.length)] ?? new Uint8Array();
      const frame = random.below(50) === 0 ? new Uint8Array(random.below(100)) : mutated(random, seedFrame);
      // Half of them claim that their checksum is left to do, so that they get past it.
      const work: FrameWork = {
        checksumStart: random.below(2) * (random.below(4) === 0 ? random.below(65536) : 34),
        checksumOffset: random.below(20),
        segmentBytes: random.below(3) === 0 ? random.below(65536) : 0,
        segmentKind: 'none',
      };
      guest.network.receive(frame, work);
      if (random.below(10) === 0) {
        guest.network.flush();
        await undefined;
      }
      const socket = guest.sockets.tcp[random.below(guest.sockets.tcp.length)];
      switch (random.below(40)) {
        case 0:
          socket?.events?.connected();
          break;
        case 1:
          socket?.events?.data(new Uint8Array(random.below(70_000)));
          break;
        case 2:
          socket?.events?.ended();
          break;
        case 3:
          socket?.events?.closed(random.below(2) === 0 ? undefined : 'ECONNRESET');
          break;
        case 4:
          guest.clock.advance(random.below(20e9));
          break;
        case 5:
          guest.frames.length = 0;
          guest.network.roomForFrames();
          break;
        case 6:
          guest.sockets.udp[0]?.events.datagram(new Uint8Array(random.below(3000)), {
            address: '198.51.100.7',
            port: 7,
          });
          break;
      }
    }
    assert.ok(guest.network.connectionCount <= 1024);
    assert.ok(guest.clock.pendingCount <= 1100);
    guest.network.dispose();
    assert.equal(guest.clock.pendingCount, 0, `seed ${seed}: disposal leaves nothing behind`);
  }
});
