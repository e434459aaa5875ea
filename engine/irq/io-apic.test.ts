import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../clock/alarm-queue.ts';
import { deviceConformance } from '../testing/conformance.ts';
import { IoApic } from './io-apic.ts';

type Message = [destination: number, logical: boolean, mode: number, vector: number, level: boolean];

function create(version: 0x11 | 0x20 = 0x20) {
  const sent: Message[] = [];
  const ioApic = new IoApic('ioapic', { messages: { deliver: (...message) => sent.push(message) } }, { version });
  const read = (index: number) => {
    ioApic.mmio.writeMmio(0, 4, index);
    return ioApic.mmio.readMmio(0x10, 4);
  };
  const write = (index: number, value: number) => {
    ioApic.mmio.writeMmio(0, 4, index);
    ioApic.mmio.writeMmio(0x10, 4, value);
  };
  return { ioApic, sent, read, write };
}

deviceConformance('io-apic', () => {
  const { ioApic } = create();
  return {
    device: ioApic,
    clock: new ManualClock(),
    poke(random) {
      const action = random.below(5);
      if (action === 0) {
        ioApic.line(random.below(26)).set(random.chance(1, 2));
      } else if (action === 1) {
        ioApic.endOfInterrupt(random.below(256));
      } else if (action === 2) {
        ioApic.mmio.readMmio(random.below(0x1000), random.pick([1, 2, 4]));
      } else if (action === 3) {
        ioApic.mmio.writeMmio(random.pick([0, 0x10, 0x40]), 4, random.chance(1, 2) ? random.below(0x40) : random.u32());
      } else {
        ioApic.mmio.writeMmio(random.below(0x1000), random.pick([1, 2, 4]), random.u32());
      }
    },
  };
});

test('identification', () => {
  const { read, write } = create();
  assert.equal(read(1), 0x00170020);
  write(0, 0x0f000000);
  assert.equal(read(0), 0x0f000000);
  assert.equal(read(0x10), 0x00010000, 'masked after reset');
  assert.equal(create(0x11).read(1), 0x00170011);
});

test('an edge sends one message, none while masked', () => {
  const { ioApic, sent, read, write } = create();
  write(0x13, 0x03000000);
  write(0x12, 0x00010931);
  ioApic.line(1).set(true);
  write(0x12, 0x00000931);
  assert.deepEqual(sent, []);
  ioApic.line(1).set(false);
  ioApic.line(1).set(true);
  ioApic.line(1).set(true);
  assert.deepEqual(sent, [[3, true, 1, 0x31, false]]);
  assert.equal(read(0x12), 0x931);
  assert.equal(read(0x13), 0x03000000);
});

test('a level is sent again at each EOI while the line stays asserted', () => {
  const { ioApic, sent, read, write } = create();
  write(0x10 + 2 * 11, 0x8055);
  ioApic.line(11).set(true);
  assert.equal(sent.length, 1);
  assert.equal(read(0x10 + 2 * 11), 0xc055, 'remote IRR');
  ioApic.endOfInterrupt(0x56);
  assert.equal(sent.length, 1);
  ioApic.endOfInterrupt(0x55);
  assert.equal(sent.length, 2);
  ioApic.line(11).set(false);
  ioApic.endOfInterrupt(0x55);
  assert.equal(sent.length, 2);
  assert.equal(read(0x10 + 2 * 11), 0x8055);
});

test('a level waits while masked; the EOI register and edge mode clear remote IRR', () => {
  const { ioApic, sent, read, write } = create();
  write(0x30, 0x18060);
  ioApic.line(16).set(true);
  assert.equal(sent.length, 0);
  write(0x30, 0x08060);
  assert.deepEqual(sent, [[0, false, 0, 0x60, true]]);
  ioApic.mmio.writeMmio(0x40, 4, 0x60);
  assert.equal(sent.length, 2);
  write(0x30, 0x10060);
  assert.equal(read(0x30), 0x10060);
});
