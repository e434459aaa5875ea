import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { type FrameWork, plainFrame } from '../../net/network-port.ts';
import { FakeNetwork } from '../../testing/fake-network.ts';
import type { Random } from '../../testing/random.ts';
import { DRIVER_STYLES, type DriverStyle, GuestDriver, PLAIN_STYLE, styleName } from '../testing/guest-driver.ts';
import { virtioConformance } from '../testing/virtio-suite.ts';
import {
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MRG_RXBUF,
} from './net-layout.ts';
import { VirtioNet } from './virtio-net.ts';

const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
const RX = 0;
const TX = 1;
const GIVE_BACK_NANOS = 200_000;

function build(style: DriverStyle = PLAIN_STYLE, pairs = 1) {
  const network = new FakeNetwork();
  const clock = new ManualClock();
  const device = new VirtioNet({ port: network, clock }, { mac: MAC, pairs });
  const guest = new GuestDriver(device, style);
  const merges = () => (guest.features & VIRTIO_NET_F_MRG_RXBUF) !== 0n;
  const headerBytes = () => (style.transport === 'legacy' && !merges() ? 10 : 12);
  /** Buffers of frames that went out, once the device gives them back. */
  const sentBuffers = (queue = TX) => {
    clock.advance(GIVE_BACK_NANOS);
    return guest.collect(queue);
  };
  return { network, clock, device, guest, headerBytes, sentBuffers };
}

function frame(length: number, seed = 0, to: Uint8Array = MAC): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, i) => (i + seed) & 0xff);
  bytes.set(to.subarray(0, length));
  return bytes;
}

/** An IPv4 frame with the given ports. */
function tcpFrame(source: number, target: number): Uint8Array {
  const bytes = new Uint8Array(60);
  bytes.set(MAC);
  const view = new DataView(bytes.buffer);
  view.setUint16(12, 0x0800);
  bytes[14] = 0x45;
  bytes[23] = 6;
  view.setUint32(26, 0x0a00020f);
  view.setUint32(30, 0x0a000202);
  view.setUint16(34, source);
  view.setUint16(36, target);
  return bytes;
}

function header(
  length: number,
  fields: { flags?: number; gso?: number; size?: number; start?: number; offset?: number },
) {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, fields.flags ?? 0);
  view.setUint8(1, fields.gso ?? 0);
  view.setUint16(4, fields.size ?? 0, true);
  view.setUint16(6, fields.start ?? 0, true);
  view.setUint16(8, fields.offset ?? 0, true);
  return bytes;
}

/** Offers `count` buffers of `length` bytes. */
function offer(guest: GuestDriver, count: number, length: number, queue = RX): void {
  for (let i = 0; i < count; i++) {
    guest.submit(queue, [length]);
  }
}

for (const style of DRIVER_STYLES) {
  const name = styleName(style);

  test(`net, ${name}: frames go out as they are`, () => {
    const { network, guest, headerBytes, sentBuffers } = build(style);
    guest.start();
    for (let i = 0; i < 300; i++) {
      const bytes = frame(14 + i * 5, i);
      guest.submit(TX, [header(headerBytes(), {}), bytes.subarray(0, 14), bytes.subarray(14)]);
      assert.deepEqual(network.sent.shift(), { bytes, work: plainFrame });
      assert.equal(sentBuffers().length, 1);
    }
  });

  test(`net, ${name}: buffers of frames that went out come back together, with one interrupt`, () => {
    const { network, guest, clock, headerBytes } = build(style);
    guest.start();
    guest.transport.interrupts();
    const send = () => guest.submit(TX, [Buffer.concat([header(headerBytes(), {}), frame(60)])]);
    send();
    send();
    assert.equal(network.sent.length, 2);
    clock.advance(GIVE_BACK_NANOS - 1);
    assert.equal(guest.collect(TX).length, 0);
    assert.equal(guest.transport.interrupts(), 0);
    clock.advance(1);
    assert.equal(guest.transport.interrupts() & 1, 1);
    assert.equal(guest.collect(TX).length, 2);
    // Received frames bring them along.
    offer(guest, 1, 500);
    send();
    network.deliver(frame(60));
    assert.equal(guest.transport.interrupts() & 1, 1);
    assert.equal(guest.collect(RX).length, 1);
    assert.equal(guest.collect(TX).length, 1);
    // Many do not wait.
    for (let i = 0; i < 40; i++) {
      send();
    }
    assert.ok(guest.collect(TX).length >= 9, 'an eighth of the queue');
    // After a reset the device knows of none.
    send();
    guest.start();
    clock.advance(GIVE_BACK_NANOS * 2);
    assert.equal(guest.collect(TX).length, 0);
    send();
    clock.advance(GIVE_BACK_NANOS);
    assert.equal(guest.collect(TX).length, 1);
  });

  test(`net, ${name}: frames come in, merged over several buffers where they have to be`, () => {
    const { network, guest, headerBytes } = build(style);
    guest.start();
    const bytes = frame(1514);
    offer(guest, 8, 500);
    network.deliver(bytes);
    const parts = guest.collect(RX);
    assert.equal(parts.length, 4);
    const whole = Buffer.concat(parts.map(({ data, length }) => data.subarray(0, length)));
    assert.equal(whole.readUInt16LE(10), 4, 'number of buffers');
    assert.deepEqual(new Uint8Array(whole.subarray(headerBytes())), bytes);
    assert.equal(guest.transport.interrupts() & 1, 1);
    assert.equal(network.waiting.length, 0);
  });

  test(`net, ${name}: without merging a frame has one buffer, and one that is too small is not given`, () => {
    const { network, guest, headerBytes } = build(style);
    guest.start({ without: VIRTIO_NET_F_MRG_RXBUF });
    offer(guest, 2, 600);
    network.deliver(frame(1000, 1));
    assert.equal(guest.collect(RX).length, 0);
    network.deliver(frame(500, 2));
    const [first] = guest.collect(RX);
    assert.equal(first?.length, headerBytes() + 500);
    assert.deepEqual(first.data.subarray(headerBytes(), headerBytes() + 500), frame(500, 2));
    if (headerBytes() === 12) {
      assert.equal(first.data[10], 1);
    }
  });
}

test('net: frames wait until the driver has room', () => {
  const { network, guest } = build();
  guest.start();
  network.deliver(frame(1000, 1));
  network.deliver(frame(1000, 2));
  assert.equal(network.waiting.length, 2);
  offer(guest, 1, 600);
  assert.equal(network.waiting.length, 2, 'half a frame is none');
  offer(guest, 1, 600);
  assert.equal(network.waiting.length, 1);
  assert.equal(guest.collect(RX).length, 2);
  offer(guest, 4, 600);
  assert.equal(network.waiting.length, 0);
});

test('net: frames wait until the network has room, and keep their order', () => {
  const { network, guest, sentBuffers } = build();
  guest.start();
  network.room = 1;
  for (let i = 0; i < 4; i++) {
    guest.submit(TX, [header(12, {}), frame(60, i)]);
  }
  assert.equal(network.sent.length, 1);
  assert.equal(sentBuffers().length, 1);
  network.makeRoom(2);
  network.makeRoom(5);
  assert.deepEqual(
    network.sent.map(({ bytes }) => bytes),
    [0, 1, 2, 3].map((i) => frame(60, i)),
  );
  assert.equal(sentBuffers().length, 3);
});

test('net: checksums and segmentation are left to the network as the header says', () => {
  const { network, guest, sentBuffers } = build();
  guest.start();
  const send = (fields: Parameters<typeof header>[1]): FrameWork | undefined => {
    guest.submit(TX, [header(12, fields), frame(3000)]);
    assert.equal(sentBuffers().length, 1);
    return network.sent.shift()?.work;
  };
  assert.deepEqual(send({ flags: 1, start: 34, offset: 16 }), {
    checksumStart: 34,
    checksumOffset: 16,
    segmentBytes: 0,
    segmentKind: 'none',
  });
  assert.deepEqual(send({ flags: 1, start: 34, offset: 16, gso: 1, size: 1448 }), {
    checksumStart: 34,
    checksumOffset: 16,
    segmentBytes: 1448,
    segmentKind: 'tcp4',
  });
  assert.equal(send({ flags: 1, start: 54, offset: 16, gso: 0x84, size: 1428 })?.segmentKind, 'tcp6');
  assert.equal(send({ flags: 1, start: 34, offset: 16, gso: 1, size: 0 }), undefined, 'pieces of nothing');
  assert.equal(send({ gso: 1, size: 1000 }), undefined, 'pieces without checksums');
  assert.equal(send({ flags: 1, gso: 3, size: 1000 }), undefined, 'UDP was not offered');
});

test('net: what was not negotiated is not done', () => {
  const { network, guest, sentBuffers } = build();
  const without = VIRTIO_NET_F_CSUM | (1n << 11n) | (1n << 12n);
  guest.start({ without });
  guest.submit(TX, [header(12, { flags: 1, start: 34, offset: 16 }), frame(100)]);
  assert.equal(network.sent.length, 0);
  assert.equal(sentBuffers().length, 1, 'the buffer comes back');
});

test('net: the driver takes checksums and whole segments, and can change its mind', () => {
  const { network, guest } = build();
  guest.start();
  assert.deepEqual(network.offloads, { checksum: true, segment4: true, segment6: true });
  offer(guest, 8, 2000);
  const work: FrameWork = { checksumStart: 34, checksumOffset: 16, segmentBytes: 1400, segmentKind: 'tcp4' };
  const bytes = frame(4000);
  bytes[34 + 12] = 0x80;
  network.deliver(bytes, work);
  const [first] = guest.collect(RX);
  const view = new DataView((first?.data ?? new Uint8Array(12)).buffer);
  assert.deepEqual(
    [0, 1].map((at) => view.getUint8(at)),
    [1, 1],
  );
  assert.deepEqual(
    [2, 4, 6, 8, 10].map((at) => view.getUint16(at, true)),
    [34 + 32, 1400, 34, 16, 3],
  );
  network.deliver(frame(100), plainFrame, true);
  assert.equal(guest.collect(RX)[0]?.data[0], 2, 'the checksum was verified');
  const off = Uint8Array.of(5, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  assert.equal(guest.request(2, [off, 1]).data[0], 0);
  assert.deepEqual(network.offloads, { checksum: false, segment4: false, segment6: false });
  network.deliver(bytes, work);
  assert.equal(guest.collect(RX).length, 0, 'a frame from before that cannot be taken any more');
  assert.equal(network.waiting.length, 0);
});

test('net: features that need each other', () => {
  const { guest } = build();
  assert.throws(() => guest.start({ without: VIRTIO_NET_F_GUEST_CSUM }), /refused the features/);
  guest.start({ without: VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 });
});

test('net: the filter takes its own frames, broadcasts and what the driver asked for', () => {
  const { network, guest } = build();
  guest.start();
  offer(guest, 40, 200);
  const control = (...bytes: number[]) => guest.request(2, [Uint8Array.from(bytes), 1]).data[0];
  const taken = (to: number[]) => {
    network.deliver(frame(60, 0, Uint8Array.from(to)));
    return guest.collect(RX).length === 1;
  };
  const stranger = [2, 0, 0, 0, 0, 9];
  const group = [1, 0, 0x5e, 0, 0, 1];
  const otherGroup = [1, 0, 0x5e, 0, 0, 2];
  assert.equal(taken([...MAC]), true);
  assert.equal(taken([255, 255, 255, 255, 255, 255]), true);
  assert.equal(taken(stranger), false);
  assert.equal(taken(group), true, 'all groups until the driver says which');
  assert.equal(control(1, 0, 1, 0, 0, 0, ...stranger, 1, 0, 0, 0, ...group), 0);
  assert.equal(taken(stranger), true);
  assert.equal(taken(group), true);
  assert.equal(taken(otherGroup), false);
  assert.equal(control(0, 1, 1), 0);
  assert.equal(taken(otherGroup), true, 'all multicast');
  assert.equal(control(0, 0, 1), 0);
  assert.equal(taken([2, 0, 0, 0, 0, 77]), true, 'promiscuous');
  assert.equal(control(0, 0, 0), 0);
  assert.equal(control(1, 1, 2, 2, 2, 2, 2, 2), 0);
  assert.equal(taken([2, 2, 2, 2, 2, 2]), true, 'a new address');
  assert.equal(guest.transport.readConfig(0, 4), 0x02020202);
  for (const bad of [
    [1, 0, 200, 0, 0, 0],
    [1, 1, 2],
    [9, 9],
    [0, 0],
    [4, 0, 2, 0],
    [5, 0, 1],
  ]) {
    assert.equal(control(...bad), 1, bad.join());
  }
});

test('net: the link goes down and up', () => {
  const { network, guest } = build();
  guest.start();
  assert.equal(guest.transport.readConfig(6, 2), 1);
  network.setLink(false);
  assert.equal(guest.transport.interrupts(), 2);
  assert.equal(guest.transport.readConfig(6, 2), 0);
  network.setLink(true);
  assert.equal(guest.transport.readConfig(6, 2), 1);
});

test('net: several pairs of queues; answers come back where a flow was sent', () => {
  const { network, guest } = build(PLAIN_STYLE, 4);
  guest.start();
  const CONTROL = 8;
  assert.equal(guest.transport.readConfig(8, 2), 4);
  assert.equal(guest.request(CONTROL, [Uint8Array.of(4, 0, 4, 0), 1]).data[0], 0);
  assert.equal(guest.request(CONTROL, [Uint8Array.of(4, 0, 5, 0), 1]).data[0], 1);
  for (let pair = 0; pair < 4; pair++) {
    offer(guest, 8, 200, pair * 2);
    guest.submit(pair * 2 + 1, [header(12, {}), tcpFrame(5000 + pair * 7, 80)]);
  }
  assert.equal(network.sent.length, 4);
  for (let pair = 0; pair < 4; pair++) {
    network.deliver(tcpFrame(80, 5000 + pair * 7));
    assert.equal(guest.collect(pair * 2).length, 1, `pair ${pair}`);
  }
  assert.equal(guest.request(CONTROL, [Uint8Array.of(4, 0, 1, 0), 1]).data[0], 0);
  network.deliver(tcpFrame(80, 5021));
  assert.equal(guest.collect(0).length, 1, 'one pair again');
});

test('net: a driver of one pair finds the commands in the third queue', () => {
  const { guest } = build(PLAIN_STYLE, 4);
  guest.start({ without: VIRTIO_NET_F_MQ, queues: 3 });
  assert.equal(guest.request(2, [Uint8Array.of(0, 0, 1), 1]).data[0], 0);
});

test('net: a legacy driver sets its address in the configuration', () => {
  const { network, guest } = build({ ...PLAIN_STYLE, transport: 'legacy' });
  guest.start({ without: 1n << 23n });
  guest.transport.writeConfig(5, 1, 0x99);
  offer(guest, 2, 200);
  network.deliver(frame(60, 0, Uint8Array.of(...MAC.subarray(0, 5), 0x99)));
  assert.equal(guest.collect(RX).length, 1);
});

test('net: frames that waited are sent by the machine that takes over', () => {
  const { network, guest } = build();
  guest.start();
  network.room = 1;
  guest.submit(TX, [header(12, {}), frame(60, 4)]);
  guest.submit(TX, [header(12, {}), frame(60, 5)]);
  network.deliver(frame(1000));
  offer(guest, 1, 500);
  const saved = structuredClone(guest.transport.device.save());
  guest.transport.device.dispose();
  assert.equal(network.card, undefined, 'unplugged');

  const second = build();
  const other = new GuestDriver(second.device, PLAIN_STYLE, guest.memory);
  other.transport.device.load(saved);
  assert.deepEqual(second.network.offloads, { checksum: true, segment4: true, segment6: true });
  second.clock.advance(1);
  assert.deepEqual(
    second.network.sent.map(({ bytes }) => bytes),
    [frame(60, 5)],
  );
  second.clock.advance(GIVE_BACK_NANOS);
  assert.equal(guest.collect(TX).length, 2, 'also the buffer of the frame that the first machine sent');
  second.network.deliver(frame(400, 7));
  const [received] = guest.collect(RX);
  assert.deepEqual(received?.data.subarray(12, 412), frame(400, 7));
});

virtioConformance('net', () => {
  const { device, network, clock } = build(PLAIN_STYLE, 2);
  network.room = 3;
  return {
    device,
    clock,
    buffer: (random: Random, queue) => {
      switch (queue) {
        case 0:
        case 2:
          return [random.pick([8, 64, 600, 2000])];
        case 4:
          return [Uint8Array.from({ length: random.below(24) }, () => random.below(6)), random.below(3)];
        default: {
          const head = header(12, { flags: random.below(3), gso: random.pick([0, 1, 4, 9]), size: random.below(2000) });
          return [head, frame(random.below(1600), random.below(256))];
        }
      }
    },
    stir: (random) => {
      network.sent.length = 0;
      if (network.waiting.length < 20) {
        network.deliver(frame(14 + random.below(3000), random.below(256)), plainFrame, random.chance(1, 2));
      }
      if (random.chance(1, 2)) {
        network.makeRoom(random.below(4));
      }
      if (random.chance(1, 8)) {
        network.setLink(random.chance(1, 2));
      }
    },
    prove: (guest) => {
      network.setLink(true);
      network.waiting.length = 0;
      network.sent.length = 0;
      network.makeRoom(100);
      network.sent.length = 0;
      const legacyShort = guest.transport.legacy && (guest.features & VIRTIO_NET_F_MRG_RXBUF) === 0n;
      guest.submit(TX, [header(legacyShort ? 10 : 12, {}), frame(100, 3)]);
      assert.deepEqual(network.sent[0]?.bytes, frame(100, 3));
      offer(guest, 1, 500);
      network.deliver(frame(100, 4));
      assert.equal(guest.collect(RX).length, 1);
    },
  };
});
