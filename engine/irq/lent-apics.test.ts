import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../clock/alarm-queue.ts';
import { ApicBus } from './apic-bus.ts';
import { IoApic } from './io-apic.ts';
import type { ApicBorrower } from './lent-apics.ts';
import { LocalApic, type LocalApicState } from './local-apic.ts';
import { Pic } from './pic.ts';

/** Somebody who has borrowed the local APICs of a machine with one processor. */
class Borrower implements ApicBorrower {
  readonly heard: string[] = [];
  readonly #bus: ApicBus;
  #state: LocalApicState | undefined;

  constructor(bus: ApicBus) {
    this.#bus = bus;
  }

  borrow(): void {
    this.#state = this.#bus.state(0);
    this.#bus.lend(this);
  }

  /** What becomes of the registers meanwhile. */
  change(change: Partial<LocalApicState>): void {
    assert.ok(this.#state !== undefined);
    this.#state = { ...this.#state, ...change };
  }

  deliver(destination: number, logical: boolean, mode: number, vector: number, level: boolean): void {
    this.heard.push(
      `${vector.toString(16)} to ${destination}${logical ? ' logical' : ''} ${mode}${level ? ' level' : ''}`,
    );
  }

  picRequestChanged(): void {
    this.heard.push(`8259 ${this.#bus.picRequest}`);
  }

  levelEntriesChanged(): void {
    this.heard.push(`entries ${this.#bus.levelEntries().map(({ pin, vector }) => `${pin}:${vector.toString(16)}`)}`);
  }

  apicBase(): bigint {
    return 0xfee00900n;
  }

  giveBack(): void {
    this.heard.push('given back');
    assert.ok(this.#state !== undefined);
    this.#bus.setState(0, this.#state);
    this.#bus.settle();
  }
}

function machine() {
  const clock = new ManualClock();
  const requests: boolean[] = [];
  const bus = new ApicBus(() => 0);
  const pic = new Pic('pic', { intr: bus.lint0 });
  const ioApic = new IoApic('ioapic', { messages: bus });
  bus.attachIoApic(ioApic);
  const signals = {
    setInterruptRequest: (_cpu: number, pending: boolean) => requests.push(pending),
    nmi() {},
    init() {},
    startup() {},
    smi() {},
  };
  const wiring = { clock, signals, fabric: bus, acknowledgePic: () => pic.acknowledge(), tscToNanos: Number };
  const apic = new LocalApic('apic0', wiring, { cpu: 0 });
  bus.attach(apic);
  bus.page.writeMmio(0xf0, 4, 0x1ff);
  const redirect = (pin: number, low: number) => {
    ioApic.mmio.writeMmio(0, 4, 0x10 + pin * 2);
    ioApic.mmio.writeMmio(0x10, 4, low);
  };
  return { clock, requests, bus, ioApic, apic, redirect, borrower: new Borrower(bus) };
}

test('while they are lent, messages and the 8259s go to the borrower and no timer goes off here', () => {
  const { clock, requests, bus, ioApic, redirect, borrower } = machine();
  bus.page.writeMmio(0x320, 4, 0x40);
  bus.page.writeMmio(0x3e0, 4, 0x0b);
  bus.page.writeMmio(0x380, 4, 1000);
  borrower.borrow();
  requests.length = 0;
  clock.advance(10_000);
  bus.send(0xfee00000, 0x51);
  redirect(4, 0x8061);
  ioApic.line(4).set(true);
  bus.lint0.set(true);
  assert.deepEqual(borrower.heard, ['51 to 0 0', 'entries 4:61', '61 to 0 0 level', '8259 true']);
  assert.deepEqual(requests, []);
  assert.equal(bus.readApicMsr(0, 0x1b), 0xfee00900n);
  assert.ok(bus.lent);
});

test('whoever looks at a register gets them back as they are by then', () => {
  const { requests, bus, borrower } = machine();
  borrower.borrow();
  const irr = [0, 0, 2, 0, 0, 0, 0, 0];
  borrower.change({ irr, tpr: 0x20 });
  requests.length = 0;
  assert.equal(bus.page.readMmio(0x80, 4), 0x20);
  assert.deepEqual(borrower.heard, ['given back']);
  assert.equal(bus.lent, false);
  assert.deepEqual(requests.slice(-1), [true]);
  assert.equal(bus.acknowledge(0), 0x41);
});

test('a level that was assigned away while lent is the level afterwards', () => {
  const { requests, bus, borrower } = machine();
  borrower.borrow();
  bus.lint0.set(true);
  requests.length = 0;
  // The borrower does not know of pins.
  borrower.change({ lint0: bus.picRequest });
  bus.recall();
  assert.deepEqual(requests.slice(-1), [true]);
});

test('an interrupt whose EOI was lost on the way has ended when they come back', () => {
  const { bus, ioApic, redirect, borrower } = machine();
  redirect(5, 0x8052);
  ioApic.line(5).set(true);
  assert.equal(bus.acknowledge(0), 0x52);
  borrower.borrow();
  ioApic.line(5).set(false);
  // Served and ended meanwhile.
  borrower.change({ isr: new Array(8).fill(0) });
  bus.recall();
  ioApic.line(5).set(true);
  assert.equal(bus.acknowledge(0), 0x52, 'the pin sends again');
});

test('saving and resetting bring them back first', () => {
  for (const use of [
    (apic: LocalApic) => apic.save(),
    (apic: LocalApic) => apic.reset(),
    (apic: LocalApic) => apic.describe(),
  ]) {
    const { bus, apic, borrower } = machine();
    borrower.borrow();
    use(apic);
    assert.equal(bus.lent, false);
    assert.deepEqual(borrower.heard, ['given back']);
  }
});
