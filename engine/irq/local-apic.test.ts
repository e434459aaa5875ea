import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../clock/alarm-queue.ts';
import { deviceConformance } from '../testing/conformance.ts';
import { ApicBus } from './apic-bus.ts';
import type { CpuSignals } from './cpu-signals.ts';
import { IoApic } from './io-apic.ts';
import { LocalApic } from './local-apic.ts';
import { Pic } from './pic.ts';

class FakeCpus implements CpuSignals {
  readonly requested: boolean[] = [];
  readonly events: string[] = [];

  setInterruptRequest(cpu: number, pending: boolean): void {
    this.requested[cpu] = pending;
  }

  nmi(cpu: number): void {
    this.events.push(`nmi ${cpu}`);
  }

  init(cpu: number): void {
    this.events.push(`init ${cpu}`);
  }

  startup(cpu: number, vector: number): void {
    this.events.push(`startup ${cpu} ${vector}`);
  }

  smi(cpu: number): void {
    this.events.push(`smi ${cpu}`);
  }
}

const ID = 0x20;
const TPR = 0x80;
const PPR = 0xa0;
const EOI = 0xb0;
const LDR = 0xd0;
const DFR = 0xe0;
const SVR = 0xf0;
const ISR = 0x100;
const IRR = 0x200;
const ESR = 0x280;
const ICR_LOW = 0x300;
const ICR_HIGH = 0x310;
const LVT_TIMER = 0x320;
const LVT_LINT0 = 0x350;
const LVT_LINT1 = 0x360;
const INITIAL = 0x380;
const CURRENT = 0x390;
const DIVIDE = 0x3e0;

/** TSC of 2 GHz in these tests. */
function machine(count = 2) {
  const clock = new ManualClock();
  const cpus = new FakeCpus();
  let current = 0;
  const bus = new ApicBus(() => current);
  const pic = new Pic('pic', { intr: bus.lint0 });
  const ioApic = new IoApic('ioapic', { messages: bus });
  bus.attachIoApic(ioApic);
  const apics = Array.from({ length: count }, (_, cpu) => {
    const apic = new LocalApic(
      `apic${cpu}`,
      {
        clock,
        signals: cpus,
        fabric: bus,
        acknowledgePic: () => pic.acknowledge(),
        tscToNanos: (tsc) => Number(tsc) / 2,
      },
      { cpu },
    );
    bus.attach(apic);
    return apic;
  });
  const on = (cpu: number) => ({
    read(offset: number) {
      current = cpu;
      return bus.page.readMmio(offset, 4);
    },
    write(offset: number, value: number) {
      current = cpu;
      bus.page.writeMmio(offset, 4, value >>> 0);
    },
    pending: () => cpus.requested[cpu] === true,
    take: () => bus.acknowledge(cpu),
  });
  const cpu = Array.from({ length: count }, (_, i) => on(i));
  const [first, second] = [on(0), on(1)];
  return { clock, cpus, bus, pic, ioApic, apics, cpu, first, second };
}

/** All APICs enabled, with flat logical ids 1 << cpu. */
function enabled(count = 2) {
  const made = machine(count);
  for (const [index, cpu] of made.cpu.entries()) {
    cpu.write(SVR, 0x1ff);
    cpu.write(LDR, 1 << (24 + index));
  }
  return made;
}

deviceConformance('local-apic', () => {
  const { clock, bus, apics, ioApic } = machine(1);
  const [device] = apics;
  assert.ok(device);
  return {
    device,
    clock,
    poke(random) {
      switch (random.below(9)) {
        case 0:
          bus.page.readMmio(random.below(0x1000), random.pick([1, 2, 4]));
          break;
        case 1:
          bus.page.writeMmio(random.below(0x1000), random.pick([1, 2, 4]), random.u32());
          break;
        case 2:
        case 3:
          bus.page.writeMmio(random.below(0x40) * 16, 4, random.chance(1, 2) ? random.u32() : random.u32() & 0x60fff);
          break;
        case 4:
          bus.send(0xfee00000 | random.below(0x100000), random.u32());
          break;
        case 5:
          bus.readApicMsr(0, random.pick([0x1b, 0x6e0, 0x800 + random.below(0x40)]));
          break;
        case 6:
          bus.writeApicMsr(0, random.pick([0x6e0, 0x800 + random.below(0x40)]), random.u64() & random.u64());
          if (random.chance(1, 8)) {
            bus.writeApicMsr(0, 0x1b, 0xfee00000n | BigInt(random.below(16) << 8));
          }
          break;
        case 7:
          bus.acknowledge(0);
          bus.setTpr(0, random.below(16));
          break;
        case 8:
          ioApic.line(random.below(24)).set(random.chance(1, 2));
          bus.lint0.set(random.chance(1, 2));
          bus.lint1.set(random.chance(1, 2));
          break;
      }
    },
  };
});

test('reset values', () => {
  const { first, second } = machine();
  assert.equal(first.read(ID), 0);
  assert.equal(second.read(ID), 0x01000000);
  assert.equal(first.read(0x30), 0x01050014);
  assert.equal(first.read(SVR), 0xff);
  assert.equal(first.read(DFR), 0xffffffff);
  assert.equal(first.read(LVT_TIMER), 0x10000);
  assert.equal(first.read(LVT_LINT0), 0x700);
  assert.equal(second.read(LVT_LINT0), 0x10000);
});

function initPic(pic: Pic): void {
  for (const [chip, base, icw3] of [
    [pic.master, 0x20, 4],
    [pic.slave, 0x28, 2],
  ] as const) {
    chip.writePort(0, 1, 0x11);
    chip.writePort(1, 1, base);
    chip.writePort(1, 1, icw3);
    chip.writePort(1, 1, 1);
    chip.writePort(1, 1, 0);
  }
}

test('8259 interrupts reach the bootstrap processor without any set-up, with the APIC off, and as ExtINT', () => {
  for (const setUp of ['reset', 'off', 'virtual wire']) {
    const { pic, first, second, bus } = machine();
    initPic(pic);
    if (setUp === 'off') {
      assert.equal(bus.writeApicMsr(0, 0x1b, 0xfee00100n), true);
    } else if (setUp === 'virtual wire') {
      first.write(SVR, 0x1ff);
      first.write(LVT_LINT0, 0x8700);
    }
    pic.line(4).set(true);
    assert.equal(first.pending(), true, setUp);
    assert.equal(second.pending(), false, setUp);
    assert.equal(first.take(), 0x24);
    assert.equal(first.pending(), false);
  }
});

test('masking LINT0 holds 8259 interrupts back', () => {
  const { pic, first } = machine();
  initPic(pic);
  first.write(LVT_LINT0, 0x10700);
  pic.line(4).set(true);
  assert.equal(first.pending(), false);
  first.write(SVR, 0x1ff);
  first.write(LVT_LINT0, 0x700);
  assert.equal(first.pending(), true);
});

test('LINT0 in fixed mode', () => {
  const { pic, first } = enabled();
  initPic(pic);
  first.write(LVT_LINT0, 0x41);
  pic.line(4).set(true);
  assert.equal(first.take(), 0x41);
});

test('LINT1 as NMI', () => {
  const { bus, cpus, first } = enabled();
  bus.lint1.set(true);
  assert.deepEqual(cpus.events, []);
  bus.lint1.set(false);
  first.write(LVT_LINT1, 0x400);
  bus.lint1.set(true);
  assert.deepEqual(cpus.events, ['nmi 0']);
});

test('fixed interrupts: priority, TPR, nesting, EOI', () => {
  const { bus, first } = enabled();
  bus.send(0xfee00000, 0x41);
  bus.send(0xfee00000, 0x45);
  bus.send(0xfee00000, 0x61);
  assert.equal(first.read(IRR + 0x20), (1 << 1) | (1 << 5));
  assert.equal(first.take(), 0x61);
  assert.equal(first.read(PPR), 0x60);
  assert.equal(first.pending(), false);
  bus.send(0xfee00000, 0x70);
  assert.equal(first.take(), 0x70);
  assert.equal(first.read(ISR + 0x30), (1 << 16) | (1 << 1));
  first.write(EOI, 0);
  assert.equal(first.pending(), false);
  first.write(EOI, 0);
  assert.equal(first.pending(), true);
  bus.setTpr(0, 4);
  assert.equal(first.pending(), false);
  assert.equal(first.read(TPR), 0x40);
  first.write(TPR, 0x3f);
  assert.equal(bus.tpr(0), 3);
  assert.equal(first.pending(), true);
  assert.equal(first.take(), 0x45);
  first.write(EOI, 0);
  assert.equal(first.take(), 0x41);
});

test('a request withdrawn by TPR gives the spurious vector', () => {
  const { bus, first } = enabled();
  first.write(SVR, 0x1ef);
  bus.send(0xfee00000, 0x41);
  first.write(TPR, 0xf0);
  assert.equal(first.take(), 0xef);
  assert.equal(first.read(ISR + 0x70), 0);
});

test('a software-disabled APIC accepts nothing and masks its LVT', () => {
  const { bus, first } = enabled();
  first.write(LVT_TIMER, 0x40);
  first.write(SVR, 0xff);
  assert.equal(first.read(LVT_TIMER), 0x10040);
  bus.send(0xfee00000, 0x41);
  assert.equal(first.read(IRR + 0x20), 0);
});

test('destinations: physical, flat, cluster, broadcast, shorthands', () => {
  const { first, cpu } = enabled(4);
  const received = () =>
    cpu.map((one) => {
      const got = one.pending();
      if (got) {
        one.take();
        one.write(EOI, 0);
      }
      return got ? 1 : 0;
    });
  const send = (high: number, low: number) => {
    first.write(ICR_HIGH, high << 24);
    first.write(ICR_LOW, low);
    return received();
  };
  assert.deepEqual(send(2, 0x4050), [0, 0, 1, 0]);
  assert.deepEqual(send(0xff, 0x4050), [1, 1, 1, 1]);
  assert.deepEqual(send(0x0a, 0x4850), [0, 1, 0, 1]);
  assert.deepEqual(send(0, 0x44050), [1, 0, 0, 0]);
  assert.deepEqual(send(0, 0x84050), [1, 1, 1, 1]);
  assert.deepEqual(send(0, 0xc4050), [0, 1, 1, 1]);
  assert.deepEqual(send(0, 0x44000), [0, 0, 0, 0]);
  for (const [index, one] of cpu.entries()) {
    one.write(DFR, 0x0fffffff);
    one.write(LDR, (0x11 + (index >> 1) * 0x10 + (index & 1)) << 24);
  }
  assert.deepEqual(send(0x21, 0x4850), [0, 0, 1, 0]);
  assert.deepEqual(send(0x13, 0x4850), [1, 1, 0, 0]);
});

test('lowest priority goes to the least busy processor', () => {
  const { bus, first, second } = enabled();
  first.write(TPR, 0x20);
  bus.send(0xfee00000 | (3 << 12) | 0xc, 0x100 | 0x50);
  assert.equal(first.pending(), false);
  assert.equal(second.pending(), true);
});

test('INIT, SIPI, NMI and SMI', () => {
  const { first, second, cpus } = enabled();
  second.write(TPR, 0x30);
  first.write(ICR_HIGH, 1 << 24);
  first.write(ICR_LOW, 0xc500);
  first.write(ICR_LOW, 0x8500);
  first.write(ICR_LOW, 0x4699);
  first.write(ICR_LOW, 0x4400);
  first.write(ICR_LOW, 0x4200);
  assert.deepEqual(cpus.events, ['init 1', 'startup 1 153', 'nmi 1', 'smi 1']);
  assert.equal(second.read(TPR), 0, 'INIT resets the APIC');
  assert.equal(second.read(SVR), 0xff);
  assert.equal(first.read(ICR_LOW), 0x4200);
});

test('illegal vectors and registers are reported in ESR after a write to it', () => {
  const { first } = enabled();
  first.write(ICR_HIGH, 0);
  first.write(ICR_LOW, 0x4005);
  first.write(0x3d0, 1);
  assert.equal(first.read(ESR), 0);
  first.write(ESR, 0);
  assert.equal(first.read(ESR), 0xa0);
  first.write(ESR, 0);
  assert.equal(first.read(ESR), 0);
});

test('level-triggered I/O APIC interrupts come again after EOI while the line stays asserted', () => {
  const { ioApic, first } = enabled();
  ioApic.mmio.writeMmio(0, 4, 0x10 + 2 * 10);
  ioApic.mmio.writeMmio(0x10, 4, 0x8051);
  ioApic.line(10).set(true);
  assert.equal(first.take(), 0x51);
  assert.equal(first.pending(), false);
  assert.equal(first.read(0x180 + 0x20), 1 << 17);
  first.write(EOI, 0);
  assert.equal(first.pending(), true);
  assert.equal(first.take(), 0x51);
  ioApic.line(10).set(false);
  first.write(EOI, 0);
  assert.equal(first.pending(), false);
});

test('timer: one-shot', () => {
  const { clock, first } = enabled();
  first.write(LVT_TIMER, 0x40);
  first.write(DIVIDE, 0x03);
  first.write(INITIAL, 1000);
  clock.advance(8000);
  assert.equal(first.read(CURRENT), 500);
  assert.equal(first.pending(), false);
  clock.advance(7999);
  assert.equal(first.pending(), false);
  clock.advance(1);
  assert.equal(first.take(), 0x40);
  assert.equal(first.read(CURRENT), 0);
  first.write(EOI, 0);
  clock.advance(100_000);
  assert.equal(first.pending(), false);
  assert.equal(clock.pendingCount, 0);
});

test('timer: stopped by a zero count, masked while it runs', () => {
  const { clock, first } = enabled();
  first.write(LVT_TIMER, 0x10040);
  first.write(DIVIDE, 0x0b);
  first.write(INITIAL, 100_000);
  clock.advance(100_000);
  assert.equal(first.pending(), false);
  first.write(LVT_TIMER, 0x40);
  first.write(INITIAL, 100_000);
  first.write(INITIAL, 0);
  clock.advance(200_000);
  assert.equal(first.pending(), false);
});

test('timer: periodic without drift, even when alarms come late', () => {
  const { clock, first } = enabled();
  first.write(LVT_TIMER, 0x20040);
  first.write(DIVIDE, 0x0b);
  first.write(INITIAL, 1_000_000);
  let ticks = 0;
  for (let t = 0; t < 100; t++) {
    clock.advance(333_333);
    if (first.pending()) {
      first.take();
      first.write(EOI, 0);
      ticks++;
    }
  }
  assert.equal(ticks, 33);
  clock.advanceTo(40_250_000);
  assert.equal(first.read(CURRENT), 750_000);
});

test('timer: absurdly short periods do not flood the host', () => {
  const { clock, first } = enabled();
  first.write(LVT_TIMER, 0x20040);
  first.write(INITIAL, 1);
  clock.advance(1_000_000_000);
  assert.equal(first.pending(), true);
});

test('timer: TSC deadline', () => {
  const { clock, first, bus } = enabled();
  bus.writeApicMsr(0, 0x6e0, 1000n);
  assert.equal(bus.readApicMsr(0, 0x6e0), 0n, 'not in that mode');
  first.write(LVT_TIMER, 0x40040);
  bus.writeApicMsr(0, 0x6e0, 200_000n);
  assert.equal(bus.readApicMsr(0, 0x6e0), 200_000n);
  first.write(INITIAL, 5);
  assert.equal(first.read(CURRENT), 0);
  clock.advance(99_999);
  assert.equal(first.pending(), false);
  clock.advance(1);
  assert.equal(first.take(), 0x40);
  assert.equal(bus.readApicMsr(0, 0x6e0), 0n);
  first.write(EOI, 0);
  bus.writeApicMsr(0, 0x6e0, 10n);
  assert.equal(first.pending(), true, 'a deadline in the past fires at once');
  first.take();
  first.write(EOI, 0);
  bus.writeApicMsr(0, 0x6e0, 900_000n);
  bus.writeApicMsr(0, 0x6e0, 0n);
  clock.advance(10_000_000);
  assert.equal(first.pending(), false);
});

test('IA32_APIC_BASE and the x2APIC', () => {
  const { bus, first, second, cpus } = enabled();
  assert.equal(bus.readApicMsr(0, 0x1b), 0xfee00900n);
  assert.equal(bus.readApicMsr(1, 0x1b), 0xfee00800n);
  assert.equal(bus.readApicMsr(0, 0x802), undefined);
  assert.equal(bus.writeApicMsr(0, 0x80b, 0n), false);
  assert.equal(bus.writeApicMsr(0, 0x1b, 0xfee00400n), false);
  assert.equal(bus.writeApicMsr(0, 0x1b, 0xfee00901n), false);
  for (const cpu of [0, 1]) {
    assert.equal(bus.writeApicMsr(cpu, 0x1b, 0xfee00c00n), true);
  }
  assert.equal(first.read(ID), 0xffffffff, 'the page does not answer');
  assert.equal(bus.readApicMsr(1, 0x802), 1n);
  assert.equal(bus.readApicMsr(1, 0x80d), 2n);
  assert.equal(bus.readApicMsr(0, 0x80f), 0x1ffn, 'registers are kept');
  assert.equal(bus.readApicMsr(0, 0x80e), undefined);
  assert.equal(bus.writeApicMsr(0, 0x808, 0x100n), false);
  assert.equal(bus.writeApicMsr(0, 0x830, (1n << 32n) | 0x4055n), true);
  assert.equal(second.take(), 0x55);
  assert.equal(bus.writeApicMsr(1, 0x80b, 1n), false);
  assert.equal(bus.writeApicMsr(1, 0x80b, 0n), true);
  assert.equal(bus.writeApicMsr(0, 0x830, (2n << 32n) | 0x4855n), true);
  assert.equal(second.take(), 0x55);
  assert.equal(bus.writeApicMsr(0, 0x83f, 0x66n), true);
  assert.equal(first.take(), 0x66);
  assert.equal(bus.writeApicMsr(0, 0x830, (1n << 32n) | 0x4608n), true);
  assert.deepEqual(cpus.events, ['startup 1 8']);
  assert.equal(bus.writeApicMsr(0, 0x1b, 0xfee00800n), false, 'back to xAPIC only through off');
  assert.equal(bus.writeApicMsr(0, 0x1b, 0xfee00000n), true);
  assert.equal(bus.writeApicMsr(0, 0x1b, 0xfee00800n), true);
  assert.equal(bus.readApicMsr(0, 0x1b), 0xfee00900n);
  assert.equal(first.read(SVR), 0xff);
});
