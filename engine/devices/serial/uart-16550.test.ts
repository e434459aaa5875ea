import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../base/log.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeLine } from '../../testing/fakes.ts';
import { INPUT_QUEUE_BYTES, Uart16550 } from './uart-16550.ts';

function build() {
  const line = new FakeLine();
  const clock = new ManualClock();
  const sent: number[] = [];
  let space = 0;
  const uart = new Uart16550('serial0', {
    line,
    clock,
    output: { write: (byte) => sent.push(byte) },
    log: silentLog,
    onInputSpace: () => {
      space++;
    },
  });
  return {
    uart,
    line,
    clock,
    sent,
    spaceCalls: () => space,
    inb: (offset: number) => uart.readPort(offset, 1),
    outb: (offset: number, value: number) => uart.writePort(offset, 1, value),
  };
}

/** 115200 8N1, FIFOs on with the given trigger bits, as every driver does it. */
function open(bench: ReturnType<typeof build>, trigger = 0x80): void {
  bench.outb(3, 0x83);
  bench.outb(0, 1);
  bench.outb(1, 0);
  bench.outb(3, 0x03);
  bench.outb(2, 0x07 | trigger);
  bench.outb(4, 0x0b);
}

const CHARACTER = 86_805; // 10 bits at 115200 baud
const text = (value: string) => new TextEncoder().encode(value);

deviceConformance('serial', () => {
  const bench = build();
  return {
    device: bench.uart,
    clock: bench.clock,
    poke(random) {
      switch (random.below(6)) {
        case 0:
          bench.uart.receive(Uint8Array.of(random.below(256), random.below(256)));
          break;
        case 1:
          bench.uart.receiveBreak();
          break;
        case 2:
          bench.uart.readPort(random.below(8), random.pick([1, 2, 4]));
          break;
        default:
          bench.uart.writePort(random.below(8), random.pick([1, 2, 4]), random.u32());
      }
    },
  };
});

test('Linux 8250 autoconfig recognizes a 16550A and nothing better', () => {
  const { inb, outb } = build();
  outb(1, 0);
  assert.equal(inb(1) & 0x0f, 0);
  outb(1, 0x0f);
  assert.equal(inb(1), 0x0f);
  outb(1, 0);
  // Loopback with RTS and OUT2 must show CTS and DCD.
  outb(4, 0x10 | 0x0a);
  assert.equal(inb(6) & 0xf0, 0x90);
  outb(4, 0);
  // EFR probing at LCR = BFh must not read as zero, and IIR says 16550A.
  outb(3, 0xbf);
  outb(2, 0x00);
  outb(3, 0);
  outb(2, 0x01);
  assert.equal(inb(2) >> 6, 3);
  outb(3, 0x80);
  assert.notEqual(inb(2), 0);
  outb(3, 0xbf);
  assert.notEqual(inb(2), 0);
  // No 64-byte FIFO (16750) and no IER bit 6 (XScale).
  outb(3, 0);
  outb(2, 0x21);
  assert.equal(inb(2) >> 5, 6);
  outb(3, 0x80);
  outb(2, 0x21);
  assert.equal(inb(2) >> 5, 6);
  outb(3, 0);
  outb(1, 0x40);
  assert.equal(inb(1), 0);
  for (const value of [0x55, 0xaa]) {
    outb(7, value);
    assert.equal(inb(7), value);
  }
});

test('Linux start-up finds neither the THRE bug nor the TXEN bug', () => {
  const bench = build();
  const { inb, outb, line } = bench;
  open(bench);
  // THRE must interrupt again after IIR took it back and IER was switched off and on.
  assert.equal(inb(5) & 0x60, 0x60);
  outb(1, 2);
  assert.equal(inb(2) & 0x0f, 0x02);
  assert.equal(inb(2) & 0x0f, 0x01, 'reading IIR takes the THRE interrupt back');
  outb(1, 0);
  outb(1, 2);
  assert.equal(inb(2) & 0x0f, 0x02);
  outb(1, 0);
  outb(1, 2);
  assert.ok(line.asserted);
  assert.ok((inb(5) & 0x40) !== 0 && (inb(2) & 1) === 0);
  outb(1, 0);
  assert.ok(!line.asserted);
});

test('every transmitted byte leaves at once and gives an edge of its own', () => {
  const bench = build();
  const { outb, inb, line, sent } = bench;
  open(bench);
  outb(1, 2);
  const edges = line.edges;
  for (const byte of text('Hi!')) {
    outb(0, byte);
  }
  assert.equal(Buffer.from(sent).toString(), 'Hi!');
  assert.equal(line.edges, edges + 3);
  assert.equal(inb(2) & 0x0f, 0x02);
  assert.ok(!line.asserted);
});

test('input interrupts at the trigger level, and by timeout below it', () => {
  const bench = build();
  const { uart, inb, outb, line, clock } = bench;
  open(bench, 0x80); // trigger 8
  outb(1, 1);
  uart.receive(text('12345678ab'));
  clock.advance(7 * CHARACTER - 1);
  assert.ok(!line.asserted);
  assert.equal(inb(5) & 1, 1);
  clock.advance(CHARACTER);
  assert.ok(line.asserted);
  assert.equal(inb(2), 0xc4);
  clock.advance(3 * CHARACTER);
  let got = '';
  for (let i = 0; i < 8; i++) {
    got += String.fromCharCode(inb(0));
  }
  assert.equal(got, '12345678');
  assert.ok(!line.asserted, 'two bytes are below the trigger');
  clock.advance(4 * CHARACTER + 1);
  assert.ok(line.asserted);
  assert.equal(inb(2), 0xcc, 'character timeout');
  assert.equal(inb(0), 0x61);
  assert.ok(!line.asserted, 'reading a character ends the timeout');
  clock.advance(4 * CHARACTER + 1);
  assert.equal(inb(2), 0xcc);
  assert.equal(inb(0), 0x62);
  clock.advance(10 * CHARACTER);
  assert.equal(inb(2), 0xc1);
  assert.equal(inb(5), 0x60);
});

test('a guest that does not read loses nothing, and a full queue says so', () => {
  const bench = build();
  const { uart, inb, clock } = bench;
  open(bench);
  const data = new Uint8Array(INPUT_QUEUE_BYTES + 10).map((_, i) => i & 0xff);
  assert.equal(uart.receive(data), INPUT_QUEUE_BYTES);
  assert.equal(uart.receive(data), 0);
  clock.advance(1_000_000_000);
  assert.equal(inb(5) & 0x02, 0, 'no overrun');
  let next = 0;
  for (let round = 0; bench.spaceCalls() === 0 && round < 100_000; round++) {
    while ((inb(5) & 1) !== 0) {
      assert.equal(inb(0), next & 0xff);
      next++;
    }
    clock.advance(CHARACTER);
  }
  assert.equal(bench.spaceCalls(), 1);
  assert.ok(next >= INPUT_QUEUE_BYTES / 2 - 20);
});

test('characters arrive no faster than the line carries them', () => {
  const bench = build();
  const { uart, inb, clock } = bench;
  open(bench, 0);
  uart.receive(text('ab'));
  clock.advance(0);
  assert.equal(inb(0), 0x61);
  assert.equal(inb(5) & 1, 0);
  clock.advance(CHARACTER);
  assert.equal(inb(5) & 1, 1);
  assert.equal(inb(0), 0x62);
});

test('queued input survives the FIFO reset of a driver that starts', () => {
  const bench = build();
  const { uart, inb, outb, clock } = bench;
  uart.receive(text('xroot\n'));
  clock.advance(100_000_000);
  assert.equal(inb(5) & 1, 1, 'without FIFO one character waits');
  open(bench);
  outb(2, 0x07);
  clock.advance(100_000_000);
  let got = '';
  while ((inb(5) & 1) !== 0) {
    got += String.fromCharCode(inb(0));
    clock.advance(CHARACTER);
  }
  assert.equal(got, 'root\n');
});

test('loopback: data, overrun, modem lines and their interrupt, nothing goes out', () => {
  const bench = build();
  const { inb, outb, line, sent } = bench;
  open(bench, 0xc0);
  inb(6);
  outb(4, 0x10);
  assert.equal(inb(6), 0x0b, 'DCD, DSR and CTS fell');
  outb(1, 8);
  outb(4, 0x11);
  assert.ok(line.asserted);
  assert.equal(inb(2), 0xc0);
  assert.equal(inb(6), 0x22);
  assert.ok(!line.asserted);
  outb(4, 0x14);
  inb(6);
  outb(4, 0x10);
  assert.equal(inb(6) & 0x04, 0x04, 'trailing edge of the ring indicator');
  for (let i = 0; i < 17; i++) {
    outb(0, i);
  }
  assert.deepEqual(sent, []);
  assert.equal(inb(5), 0x63, 'the 17th byte overran the FIFO');
  assert.equal(inb(5), 0x61, 'reading LSR clears the overrun');
  for (let i = 0; i < 16; i++) {
    assert.equal(inb(0), i);
  }
  assert.equal(inb(5), 0x60);
  outb(2, 0);
  outb(0, 1);
  outb(0, 2);
  assert.equal(inb(5) & 0x03, 0x03);
  assert.equal(inb(0), 2, 'without FIFO the newer byte replaces the older');
});

test('interrupt priorities: line status, received data, transmitter, modem', () => {
  const bench = build();
  const { uart, inb, outb, clock, line } = bench;
  open(bench, 0);
  outb(1, 0x0f);
  outb(4, 0x1b);
  outb(4, 0x0b);
  outb(4, 0x09);
  outb(4, 0x1b);
  outb(4, 0x19);
  outb(4, 0x0b);
  outb(0, 0x41);
  uart.receiveBreak();
  clock.advance(CHARACTER);
  assert.equal(inb(2) & 0x0f, 0x06);
  assert.equal(inb(5) & 0x91, 0x91, 'break, with an error in the FIFO');
  assert.equal(inb(2) & 0x0f, 0x04);
  assert.equal(inb(0), 0);
  assert.equal(inb(2) & 0x0f, 0x02);
  assert.equal(inb(2) & 0x0f, 0x00);
  inb(6);
  assert.equal(inb(2) & 0x0f, 0x01);
  assert.ok(!line.asserted);
});

test('a break shows in LSR only when it reaches the head of the FIFO', () => {
  const bench = build();
  const { uart, inb, clock } = bench;
  open(bench);
  uart.receive(text('a'));
  clock.advance(CHARACTER);
  uart.receiveBreak();
  assert.equal(inb(5), 0xe1, 'an error further back in the FIFO');
  assert.equal(inb(0), 0x61);
  assert.equal(inb(5), 0xf1);
  assert.equal(inb(5) & 0x10, 0);
  assert.equal(inb(0), 0);
});

test('the divisor latch hides data and interrupt enable, and wide accesses reach neighbouring registers', () => {
  const { uart, inb, outb, sent } = build();
  outb(3, 0x83);
  uart.writePort(0, 2, 0x0102);
  assert.equal(uart.readPort(0, 2), 0x0102);
  outb(3, 0x03);
  assert.equal(inb(1), 0);
  assert.deepEqual(sent, []);
  assert.equal(uart.readPort(7, 4) >>> 8, 0xffffff);
});
