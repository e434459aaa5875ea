import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../clock/alarm-queue.ts';
import { Hpet } from '../devices/hpet/hpet.ts';
import { Pit } from '../devices/pit/pit.ts';
import { Rtc } from '../devices/rtc/rtc.ts';
import { ApicBus } from './apic-bus.ts';
import { unconnectedCpus } from './cpu-signals.ts';
import { IoApic } from './io-apic.ts';
import { IsaInterrupts } from './isa-interrupts.ts';
import { LocalApic } from './local-apic.ts';
import { Pic } from './pic.ts';

/** The interrupt path of a PC with one processor, wired as the board does it. */
function board() {
  const clock = new ManualClock();
  let pending = false;
  const signals = {
    ...unconnectedCpus,
    setInterruptRequest(_cpu: number, asserted: boolean) {
      pending = asserted;
    },
  };
  const bus = new ApicBus(() => 0);
  const recall = () => bus.recallChips();
  const pic = new Pic('pic', { intr: bus.lint0, recall });
  const ioApic = new IoApic('ioapic', { messages: bus, recall });
  bus.attachIoApic(ioApic);
  bus.attach(
    new LocalApic(
      'apic0',
      { clock, signals, fabric: bus, acknowledgePic: () => pic.acknowledge(), tscToNanos: Number },
      { cpu: 0 },
    ),
  );
  const interrupts = new IsaInterrupts(pic, ioApic, () => bus.lineBorrower);
  const hpet = new Hpet('hpet', {
    clock,
    gsi: (n) => interrupts.gsi(n),
    irq0: interrupts.gsi(0),
    irq8: interrupts.gsi(8),
    onReplace: recall,
  });
  const pit = new Pit('pit', { clock, line: hpet.pitLine });
  const rtc = new Rtc('rtc', { clock, wall: { epochMillis: () => clock.now() / 1e6 }, line: hpet.rtcLine });
  return { clock, bus, pic, ioApic, pit, rtc, hpet, pending: () => pending };
}

test('firmware without APIC set-up gets timer and clock interrupts from the 8259s', () => {
  const { clock, bus, pic, pit, rtc, pending } = board();
  for (const [chip, base, icw3] of [
    [pic.master, 0x08, 4],
    [pic.slave, 0x70, 2],
  ] as const) {
    chip.writePort(0, 1, 0x11);
    chip.writePort(1, 1, base);
    chip.writePort(1, 1, icw3);
    chip.writePort(1, 1, 1);
    chip.writePort(1, 1, 0);
  }
  pit.ports.writePort(3, 1, 0x34);
  pit.ports.writePort(0, 1, 0);
  pit.ports.writePort(0, 1, 0);
  // Choosing mode 2 takes the output high, which is an edge of its own.
  assert.equal(bus.acknowledge(0), 0x08);
  pic.master.writePort(0, 1, 0x20);
  let ticks = 0;
  for (let i = 0; i < 1000; i++) {
    clock.advance(1_000_000);
    while (pending()) {
      assert.equal(bus.acknowledge(0), 0x08);
      pic.master.writePort(0, 1, 0x20);
      ticks++;
    }
  }
  assert.equal(ticks, 18);
  rtc.ports.writePort(0, 1, 0x0b);
  rtc.ports.writePort(1, 1, 0x12);
  pic.master.writePort(1, 1, 0x01);
  clock.advance(1_000_000_000);
  assert.equal(bus.acknowledge(0), 0x70);
});

test('an operating system gets the same timer through pin 2 of the I/O APIC', () => {
  const { clock, bus, pic, ioApic, pit, pending } = board();
  pic.master.writePort(1, 1, 0xff);
  pic.slave.writePort(1, 1, 0xff);
  bus.page.writeMmio(0xf0, 4, 0x1ff);
  bus.page.writeMmio(0x350, 4, 0x10700);
  ioApic.mmio.writeMmio(0, 4, 0x14);
  ioApic.mmio.writeMmio(0x10, 4, 0x30);
  pit.ports.writePort(3, 1, 0x34);
  pit.ports.writePort(0, 1, 11932 & 0xff);
  pit.ports.writePort(0, 1, 11932 >> 8);
  assert.equal(bus.acknowledge(0), 0x30, 'choosing mode 2 takes the output high');
  bus.page.writeMmio(0xb0, 4, 0);
  let ticks = 0;
  for (let i = 0; i < 1000; i++) {
    clock.advance(1_000_000);
    if (pending()) {
      assert.equal(bus.acknowledge(0), 0x30);
      bus.page.writeMmio(0xb0, 4, 0);
      ticks++;
    }
  }
  assert.equal(ticks, 99);
});

test('the HPET has lent controllers brought back before it takes the place of the timer', () => {
  const { bus, hpet } = board();
  let given = 0;
  const lend = (lines: { setLine(): void } | undefined) =>
    bus.lend({
      deliver() {},
      picRequestChanged() {},
      levelEntriesChanged() {},
      apicBase: () => 0n,
      giveBack: () => {
        given++;
        assert.equal(hpet.replacesLegacy, false);
      },
      lines,
    });
  lend({ setLine() {} });
  hpet.mmio.writeMmio(0x10, 4, 1);
  assert.equal(given, 0);
  hpet.mmio.writeMmio(0x10, 4, 3);
  assert.equal(given, 1);
  assert.ok(hpet.replacesLegacy && !bus.lent);
});
