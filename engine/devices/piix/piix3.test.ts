import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MmioWindows } from '../../bus/mmio-bus.ts';
import { Ports } from '../../bus/port-bus.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { PciBus } from '../../pci/pci-bus.ts';
import { pirqOf } from '../../pci/pirq.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeLine } from '../../testing/fakes.ts';
import { Piix3 } from './piix3.ts';

function build() {
  const lines = Array.from({ length: 16 }, () => new FakeLine());
  const events: string[] = [];
  const bus = new PciBus();
  const bridge = new Piix3('piix3', {
    ports: new Ports(),
    mmio: new MmioWindows(),
    bus,
    isaLine: (irq) => lines[irq] ?? new FakeLine(),
    onReset: () => events.push('reset'),
    setA20: (enabled) => events.push(`a20 ${enabled}`),
  });
  const level = () => lines.flatMap((line, irq) => (line.asserted ? [irq] : []));
  return { lines, events, bus, bridge, level };
}

test('the bridge is a multifunction device of class 0601', () => {
  const { bus } = build();
  assert.equal(bus.read(8, 0, 4), 0x70008086);
  assert.equal(bus.read(8, 8, 4), 0x06010000);
  assert.equal(bus.read(8, 0x0e, 1), 0x80);
});

test('slots rotate through the four PIRQs', () => {
  assert.deepEqual(
    [1, 2, 3, 4].map((pin) => pirqOf(1, pin)),
    [0, 1, 2, 3],
  );
  assert.deepEqual(
    [2, 3, 4, 5].map((slot) => pirqOf(slot, 1)),
    [1, 2, 3, 0],
  );
});

test('a PIRQ reaches the ISA interrupt that its route register names', () => {
  const { bridge, bus, level } = build();
  const line = bridge.pciInterruptLine(2, 1); // PIRQB
  line.set(true);
  assert.deepEqual(level(), [], 'routes are off after power-on');
  bus.write(8, 0x61, 1, 11);
  assert.deepEqual(level(), [11]);
  bus.write(8, 0x61, 1, 5);
  assert.deepEqual(level(), [5], 'an asserted interrupt moves with its route');
  bus.write(8, 0x61, 1, 2);
  assert.deepEqual(level(), [], 'the cascade cannot be a target');
  bus.write(8, 0x60, 4, 0x0a0a0b0b);
  assert.deepEqual(level(), [11]);
  line.set(false);
  assert.deepEqual(level(), []);
});

test('shared interrupts are the OR of their inputs', () => {
  const { bridge, bus, lines, level } = build();
  bus.write(8, 0x60, 4, 0x0b0b0a0a);
  const a = bridge.pciInterruptLine(2, 1);
  const b = bridge.pciInterruptLine(2, 1);
  const c = bridge.pciInterruptLine(1, 1); // PIRQA, routed to 10 as well
  a.set(true);
  a.set(true);
  b.set(true);
  c.set(true);
  a.set(false);
  b.set(false);
  assert.deepEqual(level(), [10]);
  assert.equal(lines[10]?.edges, 1);
  c.set(false);
  assert.deepEqual(level(), []);
});

test('levels and routes come back with a saved state', () => {
  const one = build();
  one.bus.write(8, 0x60, 4, 0x0b0b0a0a);
  const line = one.bridge.pciInterruptLine(3, 2);
  line.set(true);
  assert.deepEqual(one.level(), [11]);
  const saved = one.bridge.save();
  const two = build();
  const again = two.bridge.pciInterruptLine(3, 2);
  two.bridge.load(saved);
  assert.deepEqual(two.level(), [11]);
  again.set(false);
  assert.deepEqual(two.level(), []);
  const wrongMachine = build();
  assert.throws(() => wrongMachine.bridge.load(saved), { code: 'bad-state' });
});

test('reset control: bit 2 resets, bit 1 is remembered', () => {
  const { bridge, events } = build();
  bridge.resetControl.writePort(0, 1, 0x02);
  assert.equal(bridge.resetControl.readPort(0, 1), 0x02);
  assert.deepEqual(events, []);
  bridge.resetControl.writePort(0, 1, 0x06);
  assert.deepEqual(events, ['reset']);
  assert.equal(bridge.resetControl.readPort(0, 1), 0x02);
});

test('port 0x92: A20 follows bit 1, a rising bit 0 resets', () => {
  const { bridge, events } = build();
  bridge.systemControl.writePort(0, 1, 0x02);
  assert.equal(bridge.systemControl.readPort(0, 1), 0x02);
  bridge.systemControl.writePort(0, 1, 0x00);
  bridge.systemControl.writePort(0, 1, 0x03);
  bridge.systemControl.writePort(0, 1, 0x03);
  assert.deepEqual(events, ['a20 true', 'a20 false', 'a20 true', 'reset', 'a20 true']);
});

deviceConformance('PIIX3', () => {
  const { bridge } = build();
  const inputs = [1, 2, 3, 4, 1].map((pin, index) => bridge.pciInterruptLine(index, pin));
  return {
    device: bridge,
    clock: new ManualClock(),
    poke(random) {
      switch (random.below(4)) {
        case 0:
          random.pick(inputs).set(random.chance(1, 2));
          break;
        case 1:
          bridge.pci.writeConfig(random.below(64) * 4, 4, random.u32());
          break;
        case 2:
          bridge.pci.writeConfig(0x60 + random.below(4), 1, random.u32() & 0xff);
          break;
        default:
          random.pick([bridge.resetControl, bridge.systemControl]).writePort(0, 1, random.u32() & 0xff);
      }
    },
  };
});
