/** KVM's controllers and the machine's own, one after the other, without a processor. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { isKvmError, type KvmSystem, loadKvm } from '../../../native/index.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { PIT_FREQUENCY, Pit } from '../../devices/pit/pit.ts';
import { IoApic } from '../../irq/io-apic.ts';
import { IsaInterrupts } from '../../irq/isa-interrupts.ts';
import { Pic } from '../../irq/pic.ts';
import * as K from './kvm-abi.ts';
import { KvmChips } from './kvm-chips.ts';
import { missingForControllers } from './kvm-controllers.ts';

const HPET_REPLACES = K.KVM_PIT_FLAGS_HPET_LEGACY;

/** Undefined, and the test is skipped, without a KVM that has such controllers. */
function create(t: TestContext) {
  const { addon, problem } = loadKvm();
  let system: KvmSystem;
  try {
    if (addon === undefined) {
      throw new Error(problem);
    }
    system = new addon.KvmSystem();
  } catch (error) {
    t.skip(error instanceof Error ? error.message : String(error));
    return undefined;
  }
  const missing = missingForControllers(system);
  if (missing.length > 0) {
    system.close();
    t.skip(`this KVM lacks ${missing.join(', ')}`);
    return undefined;
  }
  const vm = system.createVm();
  KvmChips.prepare(vm);
  const clock = new ManualClock();
  clock.advance(1_000_000_000);
  const pic = new Pic('pic', { intr: { set() {} } });
  const ioApic = new IoApic('ioapic', { messages: { deliver() {} } });
  let lent = false;
  const isa = new IsaInterrupts(pic, ioApic, () => (lent ? chips : undefined));
  const pit = new Pit('pit', { clock, line: isa.gsi(0) });
  const state = { speakerData: false, isReplaced: false };
  const chips = new KvmChips(vm, {
    pic,
    ioApic,
    pit: {
      tick: () => pit.tick(),
      get isReplaced() {
        return state.isReplaced;
      },
      hand: () => ({ counters: pit.hand(), speakerData: state.speakerData }),
      take: (counters, speakerData) => {
        pit.take(counters);
        state.speakerData = speakerData;
      },
    },
  });
  const chip = (number: number) => {
    const page = new Uint8Array(K.IRQCHIP_BYTES);
    page[0] = number;
    vm.get('irqchip', page);
    return new DataView(page.buffer, K.IRQCHIP_STATE);
  };
  const setUp = (input: Pic['master'], base: number, mask: number) => {
    for (const [offset, value] of [
      [0, 0x11],
      [1, base],
      [1, base === 8 ? 4 : 2],
      [1, 1],
      [1, mask],
    ] as const) {
      input.writePort(offset, 1, value);
    }
  };
  setUp(pic.master, 8, 0);
  setUp(pic.slave, 0x70, 0);
  const program = (mode: number, count: number) => {
    pit.ports.writePort(3, 1, 0x30 | (mode << 1));
    pit.ports.writePort(0, 1, count & 0xff);
    pit.ports.writePort(0, 1, count >>> 8);
    // Setting a mode is an edge at times.
    setUp(pic.master, 8, 0);
  };
  return {
    ...{ vm, clock, pic, ioApic, isa, pit, state, chips, program },
    irr: () => chip(0).getUint8(K.PIC_IRR) | (chip(1).getUint8(K.PIC_IRR) << 8),
    pins: () => chip(2).getUint32(K.IOAPIC_IRR, true),
    pitPage: () => {
      const page = new Uint8Array(K.PIT_STATE_BYTES);
      vm.get('pit2', page);
      return new DataView(page.buffer);
    },
    borrow: () => {
      chips.begin();
      lent = true;
      chips.finish();
    },
    giveBack: () => {
      lent = false;
      chips.stop();
      chips.giveBack();
    },
    dispose: () => {
      pit.dispose();
      vm.close();
      system.close();
    },
  };
}

/** KVM's timer runs by the host's clock, on a thread of the kernel. */
function within(seconds: number, happened: () => boolean): boolean {
  for (const end = performance.now() + seconds * 1000; performance.now() < end; ) {
    if (happened()) {
      return true;
    }
  }
  return false;
}

test('levels and edges of lines are the same there and back', (t) => {
  const kvm = create(t);
  if (kvm === undefined) {
    return;
  }
  const { pic, isa, ioApic, irr, pins, borrow, giveBack, dispose } = kvm;
  pic.elcr.writePort(0, 1, 0x20);
  pic.elcr.writePort(1, 1, 0x02);
  isa.gsi(5).set(true);
  isa.gsi(4).set(true);
  isa.gsi(4).set(false);
  isa.gsi(20).set(true);
  borrow();
  assert.equal(irr(), 0x30, 'a level, and an edge that is remembered');
  isa.gsi(5).set(false);
  isa.gsi(9).set(true);
  isa.gsi(11).set(true);
  // KVM's slave has the master signalled.
  assert.equal(irr(), 0x0a14);
  assert.equal(pins(), (1 << 9) | (1 << 11), 'an edge of before is none there');
  giveBack();
  assert.equal(ioApic.save().levels, (1 << 9) | (1 << 11) | (1 << 20));
  assert.equal(pic.acknowledge(), 0x71, 'input 9');
  assert.equal(pic.output, false, 'the others come after it');
  isa.gsi(9).set(false);
  isa.gsi(11).set(false);
  borrow();
  assert.equal(irr() & 0x200, 0);
  assert.equal(pins(), 0);
  isa.gsi(11).set(true);
  assert.equal(irr() & 0x800, 0x800);
  dispose();
});

test('a level at the I/O APIC that waits for its EOI is not sent again by a move', (t) => {
  const kvm = create(t);
  if (kvm === undefined) {
    return;
  }
  const { isa, ioApic, borrow, giveBack, dispose } = kvm;
  ioApic.mmio.writeMmio(0, 4, 0x10 + 2 * 11);
  ioApic.mmio.writeMmio(0x10, 4, 0x8055);
  isa.gsi(11).set(true);
  const before = ioApic.save();
  assert.equal(before.low[11], 0xc055);
  borrow();
  giveBack();
  assert.deepEqual(ioApic.save(), before);
  dispose();
});

test('the timer ticks there, stands still once it is given back, and goes on here', (t) => {
  const kvm = create(t);
  if (kvm === undefined) {
    return;
  }
  const { clock, pic, pit, program, irr, pins, pitPage, borrow, giveBack, dispose } = kvm;
  // Every millisecond.
  program(2, 1193);
  assert.equal(pic.output, false);
  borrow();
  assert.ok(within(5, () => (irr() & 1) !== 0));
  // The pin is masked; KVM's pulse leaves nothing there.
  assert.equal(pins() & ~(1 << 2), 0);
  giveBack();
  assert.equal(pic.acknowledge(), 8);
  assert.equal(pitPage().getUint32(K.PIT_FLAGS, true) & HPET_REPLACES, HPET_REPLACES, 'nothing ticks in KVM');
  pic.master.writePort(0, 1, 0x20);
  assert.equal(pic.output, false);
  clock.advance(1_100_000);
  assert.equal(pic.acknowledge(), 8);
  pit.reset();
  dispose();
});

test('a machine that moves to and fro within a period has its ticks', (t) => {
  const kvm = create(t);
  if (kvm === undefined) {
    return;
  }
  const { clock, pic, pit, program, irr, borrow, giveBack, dispose } = kvm;
  program(2, 0);
  const period = (0x10000 * 1e9) / PIT_FREQUENCY;
  let ticks = 0;
  for (let i = 0; i < 40; i++) {
    // A quarter of a period here, next to nothing there.
    clock.advance(Math.ceil(period / 4));
    borrow();
    ticks += irr() & 1;
    giveBack();
    if (pic.output) {
      pic.acknowledge();
      pic.master.writePort(0, 1, 0x20);
    }
  }
  assert.ok(ticks >= 9 && ticks <= 11, `${ticks} in ten periods`);
  pit.reset();
  dispose();
});

test('a timer that the HPET stands in for, one that is over, and one that was never set are silent', (t) => {
  const kvm = create(t);
  if (kvm === undefined) {
    return;
  }
  const { clock, state, chips, program, irr, pitPage, borrow, giveBack, dispose } = kvm;
  borrow();
  assert.equal(chips.silentFor(true), Number.POSITIVE_INFINITY, 'never set');
  giveBack();
  program(2, 100);
  state.isReplaced = true;
  borrow();
  assert.equal(chips.silentFor(true), Number.POSITIVE_INFINITY);
  assert.equal(pitPage().getUint32(K.PIT_FLAGS, true) & HPET_REPLACES, HPET_REPLACES);
  giveBack();
  state.isReplaced = false;
  borrow();
  assert.equal(chips.silentFor(true), 0, 'a period of 84 µs');
  giveBack();
  program(0, 100);
  clock.advance(10_000_000);
  // Here it has gone off.
  program(0, 100);
  clock.advance(1_000_000);
  borrow();
  const before = irr() & 1;
  assert.equal(chips.silentFor(false), Number.POSITIVE_INFINITY, 'over');
  assert.ok(!within(0.02, () => (irr() & 1) !== before));
  giveBack();
  dispose();
});

test('KVM takes the count that stands for none, and lets nothing come of it', (t) => {
  const kvm = create(t);
  if (kvm === undefined) {
    return;
  }
  const { vm, borrow, pitPage, dispose } = kvm;
  try {
    borrow();
  } catch (error) {
    assert.ok(!isKvmError(error), String(error));
    throw error;
  }
  assert.ok(pitPage().getUint32(0, true) >= 0xffff0000);
  assert.ok(vm.checkExtension(K.KVM_CAP_PIT_STATE2) > 0);
  dispose();
});

test('how long the timer is silent is known, also where its guest has programmed it in KVM', (t) => {
  const kvm = create(t);
  if (kvm === undefined) {
    return;
  }
  const { vm, chips, program, pic, irr, pitPage, borrow, giveBack, dispose } = kvm;
  const millis = () => chips.silentFor(true) / 1e6;
  // A tick may come before it is asked for, on a host that is busy at that moment.
  const seen = (least: number, most: number, prepare: () => void) => {
    for (let attempt = 0; attempt < 50; attempt++) {
      program(2, 0);
      borrow();
      prepare();
      const value = millis();
      assert.ok(value <= most, `${value} ms`);
      if (value >= least) {
        return;
      }
      giveBack();
    }
    assert.fail(`it is never silent for ${least} ms`);
  };
  // 54.9 ms; the wait ends a millisecond before.
  seen(40, 54, () => {});
  giveBack();
  // What a guest writes there: 30 ms.
  seen(20, 29, () => {
    const page = new Uint8Array(pitPage().buffer);
    new DataView(page.buffer).setUint32(0, 35_795, true);
    vm.set('pit2', page);
  });
  chips.waited();
  assert.ok(within(5, () => (irr() & 1) !== 0));
  assert.equal(millis(), 0, 'a request waits');
  giveBack();
  pic.acknowledge();
  dispose();
});
