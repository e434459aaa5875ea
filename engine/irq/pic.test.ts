import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../clock/alarm-queue.ts';
import { deviceConformance } from '../testing/conformance.ts';
import { FakeLine } from '../testing/fakes.ts';
import { IsaInterrupts } from './isa-interrupts.ts';
import type { InterruptLine } from './line.ts';
import { Pic } from './pic.ts';
import { SharedLine } from './shared-line.ts';

function create() {
  const intr = new FakeLine();
  const pic = new Pic('pic', { intr });
  return { intr, pic };
}

/** A pair initialised as every PC operating system does it. */
function initialised(icw4 = 0x01) {
  const made = create();
  const { pic } = made;
  for (const [chip, base, icw3] of [
    [pic.master, 0x20, 0x04],
    [pic.slave, 0x28, 0x02],
  ] as const) {
    chip.writePort(0, 1, 0x11);
    chip.writePort(1, 1, base);
    chip.writePort(1, 1, icw3);
    chip.writePort(1, 1, icw4);
    chip.writePort(1, 1, 0);
  }
  return made;
}

function pulse(line: InterruptLine): void {
  line.set(true);
  line.set(false);
}

const EOI = 0x20;

deviceConformance('pic', () => {
  const { pic } = create();
  return {
    device: pic,
    clock: new ManualClock(),
    poke(random) {
      const handler = random.pick([pic.master, pic.slave, pic.elcr]);
      const action = random.below(4);
      if (action === 0) {
        pic.line(random.below(16)).set(random.chance(1, 2));
      } else if (action === 1) {
        handler.readPort(random.below(2), 1);
      } else if (action === 2) {
        handler.writePort(random.below(2), 1, random.u32());
      } else {
        assert.ok(pic.acknowledge() < 256);
      }
    },
  };
});

test('an edge raises INTR, is acknowledged once, and stays in service until EOI', () => {
  const { pic, intr } = initialised();
  pulse(pic.line(1));
  assert.equal(intr.asserted, true);
  assert.equal(pic.acknowledge(), 0x21);
  assert.equal(intr.asserted, false);
  pulse(pic.line(1));
  assert.equal(intr.asserted, false, 'not while it is in service');
  pic.master.writePort(0, 1, EOI);
  assert.equal(intr.asserted, true);
});

test('lower numbers have priority and interrupt a lower-priority service', () => {
  const { pic, intr } = initialised();
  pulse(pic.line(5));
  pulse(pic.line(3));
  assert.equal(pic.acknowledge(), 0x23);
  assert.equal(intr.asserted, false);
  pulse(pic.line(0));
  assert.equal(pic.acknowledge(), 0x20);
  pic.master.writePort(0, 1, EOI);
  assert.equal(intr.asserted, false);
  pic.master.writePort(0, 1, EOI);
  assert.equal(pic.acknowledge(), 0x25);
});

test('a slave interrupt goes through the cascade and needs an EOI at both', () => {
  const { pic, intr } = initialised();
  pulse(pic.line(14));
  pulse(pic.line(15));
  assert.equal(pic.acknowledge(), 0x2e);
  pic.slave.writePort(0, 1, EOI);
  assert.equal(intr.asserted, false);
  pic.master.writePort(0, 1, EOI);
  assert.equal(pic.acknowledge(), 0x2f);
  pic.slave.writePort(0, 1, EOI);
  pic.master.writePort(0, 1, EOI);
  assert.equal(intr.asserted, false);
});

test('masked inputs wait in IRR', () => {
  const { pic, intr } = initialised();
  pic.master.writePort(1, 1, 0xff);
  pulse(pic.line(4));
  assert.equal(intr.asserted, false);
  pic.master.writePort(0, 1, 0x0a);
  assert.equal(pic.master.readPort(0, 1), 0x10);
  pic.master.writePort(1, 1, 0xef);
  assert.equal(pic.acknowledge(), 0x24);
  pic.master.writePort(0, 1, 0x0b);
  assert.equal(pic.master.readPort(0, 1), 0x10);
  assert.equal(pic.master.readPort(1, 1), 0xef);
});

test('level-triggered inputs follow their line', () => {
  const { pic, intr } = initialised();
  pic.elcr.writePort(0, 1, 0xff);
  pic.elcr.writePort(1, 1, 0xff);
  assert.equal(pic.elcr.readPort(0, 1), 0xf8);
  assert.equal(pic.elcr.readPort(1, 1), 0xde);
  const line = pic.line(11);
  line.set(true);
  assert.equal(pic.acknowledge(), 0x2b);
  pic.slave.writePort(0, 1, EOI);
  pic.master.writePort(0, 1, EOI);
  assert.equal(intr.asserted, true, 'still asserted: again');
  line.set(false);
  assert.equal(intr.asserted, false);
});

test('a request that goes away gives the spurious vectors', () => {
  const { pic, intr } = initialised();
  assert.equal(pic.acknowledge(), 0x27);
  pic.master.writePort(0, 1, 0x0b);
  assert.equal(pic.master.readPort(0, 1), 0, 'nothing in service');
  pic.elcr.writePort(0, 1, 0x20);
  pic.line(5).set(true);
  assert.equal(intr.asserted, true);
  pic.line(5).set(false);
  assert.equal(pic.acknowledge(), 0x27);
});

test('automatic EOI, with several requests on the slave', () => {
  const { pic, intr } = initialised(0x03);
  pulse(pic.line(8));
  pulse(pic.line(12));
  assert.equal(pic.acknowledge(), 0x28);
  assert.equal(pic.acknowledge(), 0x2c);
  assert.equal(intr.asserted, false);
});

test('rotation gives the served input the lowest priority', () => {
  const { pic } = initialised();
  pulse(pic.line(3));
  assert.equal(pic.acknowledge(), 0x23);
  pic.master.writePort(0, 1, 0xa0);
  pulse(pic.line(3));
  pulse(pic.line(6));
  assert.equal(pic.acknowledge(), 0x26);
  pic.master.writePort(0, 1, 0x60 | 6);
  assert.equal(pic.acknowledge(), 0x23);
  pic.master.writePort(0, 1, 0x63);
  pic.master.writePort(0, 1, 0xc0 | 7);
  pulse(pic.line(7));
  pulse(pic.line(0));
  assert.equal(pic.acknowledge(), 0x20);
});

test('special mask mode lets lower priorities through and protects masked services from EOI', () => {
  const { pic, intr } = initialised();
  pulse(pic.line(1));
  assert.equal(pic.acknowledge(), 0x21);
  pic.master.writePort(1, 1, 0x02);
  pic.master.writePort(0, 1, 0x68);
  pulse(pic.line(6));
  assert.equal(intr.asserted, true);
  assert.equal(pic.acknowledge(), 0x26);
  pic.master.writePort(0, 1, EOI);
  pic.master.writePort(0, 1, 0x0b);
  assert.equal(pic.master.readPort(0, 1), 0x02);
});

test('polling acknowledges', () => {
  const { pic, intr } = initialised();
  pulse(pic.line(4));
  pic.master.writePort(0, 1, 0x0c);
  assert.equal(pic.master.readPort(0, 1), 0x84);
  assert.equal(intr.asserted, false);
  pic.master.writePort(0, 1, 0x0c);
  assert.equal(pic.master.readPort(0, 1), 0);
});

test('a shared line is the OR of its users', () => {
  const target = new FakeLine();
  const shared = new SharedLine(target);
  const a = shared.connect();
  const b = shared.connect();
  a.set(true);
  a.set(true);
  b.set(true);
  a.set(false);
  assert.equal(target.asserted, true);
  b.set(false);
  assert.equal(target.asserted, false);
  assert.equal(target.edges, 1);
});

test('ISA interrupts reach both controllers, and interrupt 0 pin 2 of the I/O APIC', () => {
  const pic = Array.from({ length: 16 }, () => new FakeLine());
  const ioApic = Array.from({ length: 24 }, () => new FakeLine());
  const inputs = (lines: FakeLine[]) => ({ line: (n: number) => lines[n] ?? new FakeLine(), note: () => false });
  const interrupts = new IsaInterrupts(inputs(pic), inputs(ioApic));
  interrupts.gsi(0).set(true);
  interrupts.gsi(9).set(true);
  interrupts.gsi(17).set(true);
  assert.deepEqual(
    pic.flatMap((line, n) => (line.asserted ? [n] : [])),
    [0, 9],
  );
  assert.deepEqual(
    ioApic.flatMap((line, n) => (line.asserted ? [n] : [])),
    [2, 9, 17],
  );
});
