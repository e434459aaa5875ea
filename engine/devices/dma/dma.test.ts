import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeMemory } from '../../testing/fakes.ts';
import { Dma } from './dma.ts';

function create() {
  const memory = new FakeMemory(0x200000);
  const dma = new Dma('dma', { memory });
  const out = (port: number, value: number) => {
    if (port < 0x10) {
      dma.first.writePort(port, 1, value);
    } else if (port < 0x90) {
      dma.pages.writePort(port - 0x80, 1, value);
    } else {
      dma.second.writePort(port - 0xc0, 1, value);
    }
  };
  const input = (port: number) =>
    port < 0x10
      ? dma.first.readPort(port, 1)
      : port < 0x90
        ? dma.pages.readPort(port - 0x80, 1)
        : dma.second.readPort(port - 0xc0, 1);
  /** Channel 2 as a floppy driver programs it; `count` is the number of bytes. */
  const program = (gpa: number, count: number, mode: number) => {
    out(0x0a, 6);
    out(0x0c, 0);
    out(0x04, gpa & 0xff);
    out(0x04, (gpa >>> 8) & 0xff);
    out(0x81, gpa >>> 16);
    out(0x05, (count - 1) & 0xff);
    out(0x05, (count - 1) >>> 8);
    out(0x0b, mode | 2);
    out(0x0a, 2);
  };
  return { memory, dma, out, input, program };
}

deviceConformance('dma', () => {
  const { dma } = create();
  return {
    device: dma,
    clock: new ManualClock(),
    poke(random) {
      const handler = random.pick([dma.first, dma.second, dma.pages]);
      const channel = dma.channel(random.below(8));
      switch (random.below(5)) {
        case 0:
          handler.readPort(random.below(32), random.pick([1, 2, 4]));
          break;
        case 1:
        case 2:
          handler.writePort(random.below(32), random.pick([1, 2, 4]), random.u32());
          break;
        case 3:
          channel.transferToMemory(new Uint8Array(random.below(3000)));
          break;
        case 4:
          channel.transferFromMemory(new Uint8Array(random.below(3000)));
          channel.request(random.chance(1, 2));
          break;
      }
    },
  };
});

const bytes = (length: number, first = 1) => Uint8Array.from({ length }, (_, i) => first + i);

test('a write transfer in parts, up to terminal count', () => {
  const { memory, dma, input, program } = create();
  const channel = dma.channel(2);
  assert.equal(channel.ready, false, 'masked after reset');
  program(0x12345, 6, 0x44);
  assert.equal(channel.ready, true);
  assert.equal(channel.remaining, 6);
  assert.deepEqual(channel.transferToMemory(bytes(4)), { transferred: 4, terminalCount: false });
  assert.deepEqual(channel.transferToMemory(bytes(4, 5)), { transferred: 2, terminalCount: true });
  assert.deepEqual(memory.bytes.slice(0x12345, 0x1234c), Uint8Array.of(1, 2, 3, 4, 5, 6, 0));
  assert.equal(channel.ready, false, 'masked at terminal count');
  assert.equal(input(0x08), 0x04);
  assert.equal(input(0x08), 0, 'reading clears it');
  assert.deepEqual(channel.transferToMemory(bytes(4)), { transferred: 0, terminalCount: false });
  assert.equal(input(0x04) | (input(0x04) << 8), 0x234b);
  assert.equal(input(0x05) | (input(0x05) << 8), 0xffff);
});

test('a read transfer; the wrong direction does nothing', () => {
  const { memory, dma, program } = create();
  memory.write(0x8000, bytes(16));
  program(0x8000, 16, 0x48);
  const into = new Uint8Array(8);
  assert.deepEqual(dma.channel(2).transferFromMemory(into), { transferred: 8, terminalCount: false });
  assert.deepEqual(into, bytes(8));
  assert.equal(dma.channel(2).transferToMemory(into).transferred, 0);
});

test('verify counts but stores nothing', () => {
  const { memory, dma, program } = create();
  program(0x8000, 4, 0x40);
  assert.deepEqual(dma.channel(2).transferToMemory(bytes(4)), { transferred: 4, terminalCount: true });
  assert.equal(memory.readU32(0x8000), 0);
});

test('auto-initialisation starts over, unmasked', () => {
  const { memory, dma, program } = create();
  program(0x8000, 4, 0x54);
  const channel = dma.channel(2);
  assert.deepEqual(channel.transferToMemory(bytes(8)), { transferred: 4, terminalCount: true });
  assert.equal(channel.ready, true);
  assert.deepEqual(channel.transferToMemory(bytes(4, 9)), { transferred: 4, terminalCount: true });
  assert.equal(memory.readU8(0x8000), 9);
});

test('addresses wrap within their page, and count down if told to', () => {
  const { memory, dma, program } = create();
  program(0x1fffe, 4, 0x44);
  dma.channel(2).transferToMemory(bytes(4));
  assert.equal(memory.readU16(0x1fffe), 0x0201);
  assert.equal(memory.readU16(0x10000), 0x0403);
  program(0x8003, 4, 0x64);
  dma.channel(2).transferToMemory(bytes(4));
  assert.equal(memory.readU32(0x8000), 0x01020304);
});

test('16-bit channels count words', () => {
  const { memory, dma, out } = create();
  out(0xd8, 0);
  out(0xc4, 0x00);
  out(0xc4, 0x40);
  out(0xc6, 0x01);
  out(0xc6, 0x00);
  out(0x8b, 0x11);
  out(0xd6, 0x45);
  out(0xd4, 0x01);
  assert.deepEqual(dma.channel(5).transferToMemory(bytes(6)), { transferred: 4, terminalCount: true });
  assert.equal(memory.readU32(0x108000), 0x04030201);
});

test('page registers and the diagnostic port read back; master clear masks', () => {
  const { dma, out, input, program } = create();
  for (let port = 0x80; port < 0x90; port++) {
    out(port, port + 1);
  }
  for (let port = 0x80; port < 0x90; port++) {
    assert.equal(input(port), port + 1);
  }
  program(0x8000, 4, 0x44);
  assert.equal(input(0x0f), 0xfb);
  out(0x0d, 0);
  assert.equal(dma.channel(2).ready, false);
  dma.channel(2).request(true);
  assert.equal(input(0x08), 0x40);
});
