import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../clock/alarm-queue.ts';
import { FakeMemory } from '../testing/fakes.ts';
import { ApicBus } from './apic-bus.ts';
import { EoiAssist } from './eoi-assist.ts';
import { LocalApic } from './local-apic.ts';

const PLACE = 0x2004;
const EOI = 0xb0;
const LDR = 0xd0;
const SVR = 0xf0;
const ISR_0X40 = 0x120;
const PPR = 0xa0;
const ICR_LOW = 0x300;
/** MSI to physical destination 0 and 1. */
const [FIRST, SECOND] = [0xfee00000, 0xfee01000];
const LEVEL = 0x8000;
const LOWEST_PRIORITY = 0x100;

function machine() {
  const memory = new FakeMemory(0x4000);
  const assist = new EoiAssist(memory);
  const requested: boolean[] = [];
  const bus = new ApicBus(() => 0);
  const ended: number[] = [];
  const clock = new ManualClock();
  const signals = {
    setInterruptRequest: (cpu: number, pending: boolean) => {
      requested[cpu] = pending;
    },
    nmi() {},
    init() {},
    startup() {},
    smi() {},
  };
  const fabric = {
    deliver: bus.deliver.bind(bus),
    deliverShorthand: bus.deliverShorthand.bind(bus),
    broadcastEoi: (vector: number) => ended.push(vector),
    recall() {},
  };
  const apics = [0, 1].map((cpu) => {
    const wiring = { clock, signals, fabric, acknowledgePic: () => 0x20, tscToNanos: () => 0, eoiAssist: assist };
    const apic = new LocalApic(`apic${cpu}`, wiring, { cpu });
    bus.attach(apic);
    apic.writeRegister(SVR >>> 4, 0x1ff);
    apic.writeRegister(LDR >>> 4, 1 << (24 + cpu));
    return apic;
  });
  const [apic] = apics;
  assert.ok(apic);
  return {
    memory,
    assist,
    bus,
    apic,
    ended,
    pending: () => requested[0] === true,
    bit: (at = PLACE) => memory.readU8(at) & 1,
    /** What a guest does behind a handler; true: it has left the EOI out. */
    end() {
      if ((memory.readU8(PLACE) & 1) !== 0) {
        memory.writeU8(PLACE, memory.readU8(PLACE) & ~1);
        return true;
      }
      bus.page.writeMmio(EOI, 4, 0);
      return false;
    },
    /** Interrupts in service among vectors 0x40 … 0x5f. */
    served: () => bus.page.readMmio(ISR_0X40, 4),
  };
}

/** With a place for the bit of the first processor. */
function assisted() {
  const made = machine();
  made.memory.writeU8(PLACE, 0xf0);
  made.assist.setPlace(0, PLACE);
  return made;
}

test('a lone interrupt is ended in memory, and the next one comes through', () => {
  const { bus, bit, end, pending, memory } = assisted();
  for (let i = 0; i < 3; i++) {
    bus.send(FIRST, 0x41);
    assert.equal(pending(), true);
    assert.equal(bus.acknowledge(0), 0x41);
    assert.equal(bit(), 1);
    assert.equal(pending(), false);
    assert.equal(end(), true);
    assert.equal(memory.readU8(PLACE), 0xf0, 'the other bits are the guest’s');
  }
});

test('registers show the EOI that was left out', () => {
  const { bus, end, served } = assisted();
  bus.send(FIRST, 0x41);
  bus.acknowledge(0);
  assert.equal(served(), 2);
  assert.equal(bus.page.readMmio(PPR, 4), 0x40);
  assert.equal(end(), true);
  assert.equal(bus.page.readMmio(PPR, 4), 0);
  assert.equal(served(), 0);
});

test('an interrupt that has to wait for the end of another one gets a real EOI', () => {
  const { bus, bit, end, pending } = assisted();
  bus.send(FIRST, 0x48);
  bus.acknowledge(0);
  bus.send(FIRST, 0x41);
  assert.equal(pending(), false);
  assert.equal(bit(), 0);
  assert.equal(end(), false);
  assert.equal(pending(), true);
  assert.equal(bus.acknowledge(0), 0x41);
  assert.equal(bit(), 1, 'now nothing else waits');
  assert.equal(end(), true);
});

test('the same interrupt again while it is served', () => {
  const { bus, end, pending } = assisted();
  bus.send(FIRST, 0x48);
  bus.acknowledge(0);
  bus.send(FIRST, 0x48);
  assert.equal(pending(), false);
  assert.equal(end(), false);
  assert.equal(pending(), true);
});

test('of nested interrupts none is ended in memory', () => {
  const { bus, bit, end, served } = assisted();
  bus.send(FIRST, 0x41);
  bus.acknowledge(0);
  bus.send(FIRST, 0x51);
  assert.equal(bus.acknowledge(0), 0x51);
  assert.equal(bit(), 0);
  assert.equal(end(), false);
  assert.equal(served(), 2);
  assert.equal(end(), false);
  assert.equal(served(), 0);
});

test('behind one that was delivered with another waiting', () => {
  const { bus, bit, end } = assisted();
  bus.send(FIRST, 0x41);
  bus.send(FIRST, 0x51);
  assert.equal(bus.acknowledge(0), 0x51);
  assert.equal(bit(), 0);
  assert.equal(end(), false);
  assert.equal(bus.acknowledge(0), 0x41);
  assert.equal(bit(), 1);
});

test('level-triggered interrupts are ended where others hear of it', () => {
  const { bus, bit, end, ended } = assisted();
  bus.send(FIRST, 0x41 | LEVEL);
  bus.acknowledge(0);
  assert.equal(bit(), 0);
  assert.equal(end(), false);
  assert.deepEqual(ended, [0x41]);
});

test('a guest may write EOI although it need not', () => {
  const { bus, bit, served } = assisted();
  bus.send(FIRST, 0x41);
  bus.acknowledge(0);
  bus.page.writeMmio(EOI, 4, 0);
  assert.equal(served(), 0);
  assert.equal(bit(), 0);
  bus.send(FIRST, 0x42);
  assert.equal(bus.acknowledge(0), 0x42);
});

test('lowest priority goes by what is really in service', () => {
  const { bus, end, pending } = assisted();
  bus.send(FIRST, 0x41);
  bus.acknowledge(0);
  end();
  bus.send(FIRST | 4 | (3 << 12), 0x45 | LOWEST_PRIORITY);
  assert.equal(pending(), true, 'the first of two that serve nothing');
});

test('what is not under way any more is not said to be', () => {
  const { bus, end, apic } = assisted();
  bus.send(FIRST, 0x41);
  bus.acknowledge(0);
  assert.equal(apic.isUnderWay(0x41), true);
  end();
  assert.equal(apic.isUnderWay(0x41), false);
});

test('saving and lending withdraw the bit', () => {
  for (const how of ['save', 'suspend', 'initReset'] as const) {
    const { bus, bit, apic } = assisted();
    bus.send(FIRST, 0x41);
    bus.acknowledge(0);
    const { isr } = apic.save();
    assert.equal(isr[2], 2);
    assert.equal(bit(), 0);
    apic.writeRegister(EOI >>> 4, 0);
    bus.send(FIRST, 0x42);
    bus.acknowledge(0);
    apic[how]();
    assert.equal(bit(), 0, how);
  }
});

test('an interrupt that was ended in memory is saved as ended', () => {
  const { bus, end, apic } = assisted();
  bus.send(FIRST, 0x41);
  bus.acknowledge(0);
  end();
  assert.equal(apic.save().isr[2], 0);
});

test('a restored APIC knows nothing of the bit of before, nor touches restored memory', () => {
  const { bus, bit, apic, memory } = assisted();
  const saved = apic.save();
  bus.send(FIRST, 0x41);
  bus.acknowledge(0);
  assert.equal(bit(), 1);
  apic.load(saved);
  memory.writeU8(PLACE, 1);
  bus.send(FIRST, 0x42);
  assert.equal(bit(), 1);
  assert.equal(bus.acknowledge(0), 0x42);
});

test('messages of processors to themselves', () => {
  const { bus, bit, end } = assisted();
  bus.page.writeMmio(ICR_LOW, 4, 0x40041);
  assert.equal(bus.acknowledge(0), 0x41);
  assert.equal(bit(), 1);
  assert.equal(end(), true);
});

test('each processor has its own bit, or none', () => {
  const { bus, bit, assist } = assisted();
  bus.send(SECOND, 0x41);
  bus.acknowledge(1);
  assert.equal(bit(), 0);
  assist.setPlace(1, 0x3000);
  bus.page.writeMmio(EOI, 4, 0);
  bus.send(SECOND, 0x51);
  bus.acknowledge(1);
  assert.equal(bit(0x3000), 0, 'the first one is still in service');
});

test('a place that changes while the bit is set', () => {
  const { bus, bit, assist, served } = assisted();
  bus.send(FIRST, 0x41);
  bus.acknowledge(0);
  const told: number[] = [];
  assist.onPlaced = (cpu) => told.push(cpu);
  assist.setPlace(0, undefined);
  assert.equal(bit(), 0);
  assert.equal(served(), 2);
  assert.deepEqual(told, [0]);
  bus.page.writeMmio(EOI, 4, 0);
  bus.send(FIRST, 0x42);
  bus.acknowledge(0);
  assert.equal(bit(), 0);
});

test('places beyond RAM count for none', () => {
  const { bus, assist, served } = machine();
  for (const gpa of [0x4000, 2 ** 40, 2 ** 52]) {
    assist.setPlace(0, gpa);
    assert.equal(assist.place(0), undefined);
  }
  bus.send(FIRST, 0x41);
  bus.acknowledge(0);
  assert.equal(served(), 2);
});

test('where processors run on other threads no bit is set', () => {
  const { bus, bit, end, assist } = assisted();
  assist.usable = false;
  bus.send(FIRST, 0x41);
  bus.acknowledge(0);
  assert.equal(bit(), 0);
  assert.equal(end(), false);
});

test('memory is left alone once places are forgotten', () => {
  const { bus, memory, assist, served } = assisted();
  bus.send(FIRST, 0x41);
  bus.acknowledge(0);
  assist.forget();
  memory.writeU8(PLACE, 0x77);
  assert.equal(served(), 2);
  bus.send(FIRST, 0x51);
  bus.acknowledge(0);
  assert.equal(memory.readU8(PLACE), 0x77);
});
