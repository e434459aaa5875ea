import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApicBus } from './apic-bus.ts';
import { IoApic } from './io-apic.ts';
import { IsaInterrupts, PIC_TIMER_LINE } from './isa-interrupts.ts';
import type { ApicBorrower } from './lent-apics.ts';
import { Pic } from './pic.ts';

/** Interrupt controllers without a processor, and somebody who borrows them all. */
function machine() {
  const bus = new ApicBus(() => 0);
  const recall = () => bus.recallChips();
  const outputs: boolean[] = [];
  const pic = new Pic('pic', { intr: { set: (asserted) => outputs.push(asserted) }, recall });
  const ioApic = new IoApic('ioapic', { messages: bus, recall });
  bus.attachIoApic(ioApic);
  const isa = new IsaInterrupts(pic, ioApic, () => bus.lineBorrower);
  const heard: string[] = [];
  const borrower: ApicBorrower = {
    deliver: () => heard.push('message'),
    picRequestChanged: () => heard.push('8259'),
    levelEntriesChanged() {},
    apicBase: () => 0n,
    giveBack: () => heard.push('given back'),
    lines: { setLine: (line, asserted) => heard.push(`${line} ${asserted ? 'up' : 'down'}`) },
  };
  return { bus, pic, ioApic, isa, heard, outputs, lend: () => bus.lend(borrower) };
}

test('lines go to the borrower, each change once, and nothing follows from them here', () => {
  const { bus, pic, ioApic, isa, heard, outputs, lend } = machine();
  isa.gsi(5).set(true);
  ioApic.mmio.writeMmio(0, 4, 0x10 + 2 * 11);
  ioApic.mmio.writeMmio(0x10, 4, 0x55);
  lend();
  const timer = isa.gsi(0);
  for (const [gsi, asserted] of [
    [5, true],
    [5, false],
    [11, true],
    [11, true],
    [17, true],
    [2, true],
  ] as const) {
    isa.gsi(gsi).set(asserted);
  }
  timer.set(true);
  timer.set(false);
  assert.deepEqual(heard, [
    '5 down',
    '11 up',
    '17 up',
    // GSI 2 and interrupt 0 share a pin, whose level stays.
    '2 up',
    `${PIC_TIMER_LINE} up`,
    `${PIC_TIMER_LINE} down`,
  ]);
  assert.deepEqual(outputs, [true], 'of before they were lent');
  heard.length = 0;
  bus.recall();
  assert.deepEqual(heard, ['given back']);
  assert.equal(ioApic.save().levels, (1 << 2) | (1 << 11) | (1 << 17));
  assert.equal(pic.save().slave.lines, 1 << 3);
});

test('whoever looks at a register has everything brought back first', () => {
  const { bus, pic, ioApic, heard, lend } = machine();
  const uses = [
    () => pic.master.readPort(1, 1),
    () => pic.slave.writePort(1, 1, 0xff),
    () => pic.elcr.readPort(0, 1),
    () => pic.elcr.writePort(0, 1, 0x20),
    () => ioApic.mmio.readMmio(0x10, 4),
    () => ioApic.mmio.writeMmio(0, 4, 1),
    () => pic.save(),
    () => ioApic.save(),
    () => pic.describe(),
    () => ioApic.describe(),
    () => pic.reset(),
    () => ioApic.reset(),
  ];
  for (const use of uses) {
    lend();
    heard.length = 0;
    use();
    assert.equal(bus.lent, false, String(use));
    assert.equal(heard[0], 'given back');
  }
});

test('who has the local APICs only is not asked for the others', () => {
  const { bus, pic, heard } = machine();
  bus.lend({
    deliver() {},
    picRequestChanged() {},
    levelEntriesChanged() {},
    apicBase: () => 0n,
    giveBack: () => heard.push('given back'),
  });
  pic.master.readPort(1, 1);
  assert.ok(bus.lent);
  assert.deepEqual(heard, []);
});
