import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MmioWindows } from '../../bus/mmio-bus.ts';
import { Ports } from '../../bus/port-bus.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { PCI_BAR0, PCI_COMMAND } from '../../pci/pci-function.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeNetwork } from '../../testing/fake-network.ts';
import { FakeLine, FakeMemory } from '../../testing/fakes.ts';
import { E1000 } from './e1000.ts';
import * as r from './registers.ts';

const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
const BAR = 0xf000_0000;
const PORT = 0xc000;
const TX_RING = 0x1000;
const RX_RING = 0x2000;
const BUFFERS = 0x10000;

/** A card in a PC that firmware has set up, and what a driver does with it. */
function card() {
  const mmio = new MmioWindows();
  const ports = new Ports();
  const memory = new FakeMemory(1 << 20);
  const clock = new ManualClock();
  const line = new FakeLine();
  const network = new FakeNetwork();
  const device = new E1000('net0', { buses: { mmio, ports }, memory, clock, line, network }, { mac: MAC });
  device.pci.writeConfig(PCI_BAR0, 4, BAR);
  device.pci.writeConfig(PCI_BAR0 + 4, 4, PORT);
  device.pci.writeConfig(PCI_COMMAND, 2, 7);
  const read = (register: number) => mmio.read(BAR + register, 4) >>> 0;
  const write = (register: number, value: number) => mmio.write(BAR + register, 4, value >>> 0);
  let txTail = 0;
  return {
    device,
    mmio,
    ports,
    memory,
    clock,
    line,
    network,
    read,
    write,
    /** Rings of 8 descriptors; receive buffers of 2048 bytes. */
    start(receiveControl = r.RCTL_EN | r.RCTL_BAM) {
      write(r.TDBAL, TX_RING);
      write(r.TDLEN, 128);
      write(r.TCTL, r.TCTL_EN | r.TCTL_PSP);
      for (let i = 0; i < 8; i++) {
        memory.writeU32(RX_RING + i * 16, BUFFERS + i * 2048);
      }
      write(r.RDBAL, RX_RING);
      write(r.RDLEN, 128);
      write(r.RCTL, receiveControl);
      write(r.RDT, 7);
    },
    /** Adds descriptors of four words each and rings the bell. */
    transmit(...descriptors: [number, number, number, number][]) {
      for (const words of descriptors) {
        for (const [i, word] of words.entries()) {
          memory.writeU32(TX_RING + txTail * 16 + i * 4, word >>> 0);
        }
        txTail = (txTail + 1) % 8;
      }
      write(r.TDT, txTail);
    },
    descriptor(ring: number, index: number) {
      const at = ring + index * 16;
      return { length: memory.readU16(at + 8), status: memory.readU8(at + 12), errors: memory.readU8(at + 13) };
    },
  };
}

const EOP_RS = (1 << 24) | (8 << 24);
const DEXT = 0x20 << 24;

function frameFor(destination: Uint8Array, length = 64): Uint8Array {
  const frame = new Uint8Array(length).fill(0x5a);
  frame.set(destination);
  return frame;
}

deviceConformance('e1000', () => {
  const { device, clock, mmio, ports, network } = card();
  return {
    device,
    clock,
    poke(random) {
      const registers = [r.CTRL, r.TCTL, r.RCTL, r.TDT, r.RDT, r.TDLEN, r.RDLEN, r.TDBAL, r.RDBAL, r.ICS, r.IMS, r.ITR];
      const register = random.below(3) === 0 ? random.below(0x20000) : (registers[random.below(registers.length)] ?? 0);
      const size = ([1, 2, 4, 4, 4] as const)[random.below(5)] ?? 4;
      const value = random.below(2) === 0 ? random.below(2 ** 32) : random.below(1024);
      switch (random.below(6)) {
        case 0:
          mmio.read(BAR + (register & ~3), size);
          break;
        case 1:
          ports.write(PORT + random.below(60), size, value);
          break;
        case 2:
          ports.read(PORT + random.below(60), size);
          break;
        case 3:
          network.deliver(frameFor(MAC, 14 + random.below(2000)));
          break;
        default:
          mmio.write(BAR + (register & ~3), size, value);
      }
    },
  };
});

test('the EEPROM holds the address and a right checksum, by EERD and bit by bit', () => {
  const { read, write } = card();
  const words: number[] = [];
  for (let i = 0; i < 64; i++) {
    write(r.EERD, (i << 8) | 1);
    const value = read(r.EERD);
    assert.equal(value & r.EERD_DONE, r.EERD_DONE);
    words.push(value >>> 16);
  }
  assert.deepEqual(words.slice(0, 3), [0x5452, 0x1200, 0x5634]);
  assert.equal(words.reduce((a, b) => a + b, 0) & 0xffff, 0xbaba);
  const clockBit = (bit: number) => {
    write(r.EECD, 0x42 | (bit << 2));
    write(r.EECD, 0x43 | (bit << 2));
    write(r.EECD, 0x42 | (bit << 2));
  };
  write(r.EECD, 0x40);
  assert.ok(read(r.EECD) & 0x80, 'granted');
  for (const bit of [1, 1, 0, 0, 0, 0, 0, 0, 1]) {
    clockBit(bit); // start, read, word 1
  }
  let value = 0;
  for (let i = 0; i < 16; i++) {
    clockBit(0);
    value = (value << 1) | ((read(r.EECD) >> 3) & 1);
  }
  assert.equal(value, 0x1200);
});

test('the transceiver is a 88E1011 with a gigabit link, or none while the cable is out', () => {
  const { read, write, network, line } = card();
  const phy = (register: number, address = 1) => {
    write(r.MDIC, (2 << 26) | (address << 21) | (register << 16));
    return read(r.MDIC);
  };
  assert.deepEqual([phy(2) & 0xffff, phy(3) & 0xffff], [0x0141, 0x0c20]);
  assert.equal(phy(1) & 0x24, 0x24);
  assert.equal(phy(17) & 0xac00, 0xac00);
  assert.ok(phy(2, 5) & r.MDIC_ERROR);
  assert.equal(read(r.STATUS) & r.STATUS_LU, r.STATUS_LU);
  write(r.IMS, r.ICR_LSC);
  network.setLink(false);
  assert.equal(line.asserted, true);
  assert.equal(read(r.ICR), r.ICR_LSC);
  assert.equal(line.asserted, false);
  assert.equal(read(r.STATUS) & r.STATUS_LU, 0);
  assert.equal(phy(1) & 0x24, 0);
});

test('a frame in two legacy descriptors is sent, padded, and reported', () => {
  const { start, transmit, memory, network, read, write, line, descriptor } = card();
  start();
  write(r.IMS, r.ICR_TXDW);
  memory.write(BUFFERS, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
  memory.write(BUFFERS + 0x100, Uint8Array.of(11, 12, 13, 14, 15));
  transmit([BUFFERS, 0, 10, 0]);
  assert.equal(network.sent.length, 0, 'its end is still to come');
  transmit([BUFFERS + 0x100, 0, 5 | EOP_RS, 0]);
  assert.deepEqual(
    [...(network.sent[0]?.bytes ?? [])],
    [...Array.from({ length: 15 }, (_, i) => i + 1), ...new Array(45).fill(0)],
  );
  assert.equal(descriptor(TX_RING, 1).status & 1, 1);
  assert.equal(descriptor(TX_RING, 0).status & 1, 0, 'only where it is asked for');
  assert.equal(read(r.TDH), 2);
  assert.equal(line.asserted, true);
  assert.equal(read(r.ICR) & r.ICR_TXDW, r.ICR_TXDW);
  assert.equal(read(r.GPTC), 1);
  assert.equal(read(r.GPTC), 0, 'cleared by reading');
});

test('what the network has no room for waits', () => {
  const { start, transmit, network, read } = card();
  start();
  network.room = 1;
  transmit([BUFFERS, 0, 60 | EOP_RS, 0], [BUFFERS, 0, 60 | EOP_RS, 0], [BUFFERS, 0, 60 | EOP_RS, 0]);
  assert.equal(network.sent.length, 1);
  assert.equal(read(r.TDH), 1);
  network.makeRoom(10);
  assert.equal(network.sent.length, 3);
  assert.equal(read(r.TDH), 3);
});

/** A TCP frame as drivers prepare it for segmentation: no lengths yet, the sum of the pseudo-header without one. */
function tcpPrototype(dataBytes: number): Uint8Array {
  const frame = new Uint8Array(54 + dataBytes).fill(0x61, 54);
  frame.set([
    0x52,
    0x55,
    10,
    0,
    2,
    2,
    ...MAC,
    8,
    0,
    0x45,
    0,
    0,
    0,
    0,
    1,
    0x40,
    0,
    64,
    6,
    0,
    0,
    10,
    0,
    2,
    15,
    10,
    0,
    2,
    2,
  ]);
  frame.set([0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff], 34);
  const sum = 0x0a00 + 0x020f + 0x0a00 + 0x0202 + 6;
  frame.set([sum >> 8, sum & 0xff], 50);
  return frame;
}

test('segmentation and checksums become work for the network; the IP header is complete', () => {
  const { start, transmit, memory, network } = card();
  start();
  memory.write(BUFFERS, tcpPrototype(5000));
  const context: [number, number, number, number] = [
    14 | (24 << 8) | (33 << 16),
    34 | (50 << 8),
    5000 | ((0x20 | 4 | 2 | 1) << 24),
    (54 << 8) | (1460 << 16),
  ];
  transmit(context, [BUFFERS, 0, 5054 | (1 << 20) | DEXT | (4 << 24) | EOP_RS, 3 << 8]);
  const [sent] = network.sent;
  assert.deepEqual(sent?.work, { checksumStart: 34, checksumOffset: 16, segmentBytes: 1460, segmentKind: 'tcp4' });
  const view = new DataView(sent.bytes.buffer);
  assert.equal(view.getUint16(16), 5040);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) {
    sum += view.getUint16(at);
  }
  assert.equal((sum & 0xffff) + (sum >> 16), 0xffff, 'the checksum of the IP header');
  assert.equal(view.getUint16(50), 0x0a00 + 0x020f + 0x0a00 + 0x0202 + 6 + 5020);

  // A checksum alone, with a context of its own.
  transmit([14 | (24 << 8) | (33 << 16), 34 | (50 << 8), (0x20 | 3) << 24, 0]);
  transmit([BUFFERS, 0, 200 | (1 << 20) | DEXT | EOP_RS, 2 << 8]);
  assert.deepEqual(network.sent[1]?.work, {
    checksumStart: 34,
    checksumOffset: 16,
    segmentBytes: 0,
    segmentKind: 'none',
  });
  // The legacy way.
  transmit([BUFFERS, 0, 200 | (50 << 16) | EOP_RS | (4 << 24), 34 << 8]);
  assert.deepEqual(network.sent[2]?.work, {
    checksumStart: 34,
    checksumOffset: 16,
    segmentBytes: 0,
    segmentKind: 'none',
  });
});

test('frames are received into descriptors, with a check sequence unless it is stripped', () => {
  const { start, network, memory, descriptor, read, write, line } = card();
  start();
  write(r.IMS, r.ICR_RXT0);
  const frame = frameFor(MAC, 100);
  network.deliver(frame);
  assert.deepEqual(descriptor(RX_RING, 0), { length: 104, status: 7, errors: 0 });
  assert.deepEqual(memory.bytes.slice(BUFFERS, BUFFERS + 100), frame);
  assert.equal(line.asserted, true);
  assert.equal(read(r.ICR) & r.ICR_RXT0, r.ICR_RXT0);
  assert.equal(read(r.RDH), 1);
  write(r.RCTL, r.RCTL_EN | r.RCTL_SECRC);
  network.deliver(frameFor(MAC, 20));
  assert.equal(descriptor(RX_RING, 1).length, 60);
  assert.equal(read(r.GPRC), 2);
});

test('checksums are reported as good when the network says so and the driver asks', () => {
  const { start, network, descriptor, write } = card();
  start(r.RCTL_EN | r.RCTL_SECRC);
  write(r.RXCSUM, r.RXCSUM_IPOFL | r.RXCSUM_TUOFL);
  const tcp = tcpPrototype(40);
  tcp.set(MAC);
  network.deliver(tcp, undefined, true);
  network.deliver(tcp, undefined, false);
  assert.equal(descriptor(RX_RING, 0).status, 0x63);
  assert.equal(descriptor(RX_RING, 1).status, 7);
});

test('without descriptors frames wait; new ones bring them', () => {
  const { start, network, read, write } = card();
  start();
  for (let i = 0; i < 10; i++) {
    network.deliver(frameFor(MAC));
  }
  assert.equal(network.waiting.length, 3);
  assert.equal(read(r.RDH), 7);
  write(r.RDT, 2);
  assert.equal(network.waiting.length, 0);
  assert.equal(read(r.RDH), 2);
});

test('only frames for this card are received, unless it takes all', () => {
  const { start, network, read, write } = card();
  start();
  const other = Uint8Array.of(2, 0, 0, 0, 0, 1);
  const group = Uint8Array.of(1, 0, 0x5e, 0, 0, 0xfb);
  const received = () => read(r.GPRC);
  network.deliver(frameFor(other));
  network.deliver(frameFor(group));
  assert.equal(received(), 0);
  network.deliver(frameFor(new Uint8Array(6).fill(0xff)));
  assert.equal(received(), 1);
  // Bits 47 to 36 of the address choose a bit of the table.
  const hash = ((group[4] ?? 0) | ((group[5] ?? 0) << 8)) >> 4;
  write(r.MTA + (hash >> 5) * 4, 1 << (hash & 31));
  network.deliver(frameFor(group));
  assert.equal(received(), 1);
  write(r.RCTL, r.RCTL_EN | r.RCTL_UPE);
  network.deliver(frameFor(other));
  assert.equal(received(), 1);
  write(r.RDT, 3);
  write(r.RCTL, 0);
  network.deliver(frameFor(MAC));
  assert.equal(network.waiting.length, 0, 'switched off, it drops them');
});

test('interrupts are throttled', () => {
  const { clock, line, read, write } = card();
  write(r.ITR, 1000); // 256 µs
  write(r.IMS, r.ICR_RXT0);
  write(r.ICS, r.ICR_RXT0);
  assert.equal(line.edges, 1);
  read(r.ICR);
  write(r.ICS, r.ICR_RXT0);
  assert.equal(line.asserted, false);
  clock.advance(255_000);
  assert.equal(line.asserted, false);
  clock.advance(1_000);
  assert.equal(line.asserted, true);
  write(r.IMC, r.ICR_RXT0);
  assert.equal(line.asserted, false);
});

test('registers by their ports, and a reset by CTRL', () => {
  const { ports, read, write } = card();
  ports.write(PORT, 4, r.ITR);
  ports.write(PORT + 4, 4, 77);
  assert.equal(read(r.ITR), 77);
  assert.equal(ports.read(PORT + 4, 4), 77);
  write(r.RA, 0);
  write(r.CTRL, r.CTRL_RST);
  assert.equal(read(r.ITR), 0);
  assert.equal(read(r.RA), 0x1200_5452);
  assert.equal(read(r.RA + 4), 0x8000_5634);
  assert.equal(read(r.CTRL) & r.CTRL_RST, 0);
});

test('rings that make no sense move nothing', () => {
  const { start, transmit, network, write } = card();
  start();
  write(r.TDH, 100);
  transmit([BUFFERS, 0, 60 | EOP_RS, 0]);
  write(r.TDH, 0);
  write(r.TDT, 9);
  assert.equal(network.sent.length, 0);
  write(r.TDLEN, 0);
  write(r.TDT, 0);
  assert.equal(network.sent.length, 0);
});
