import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { ApicBus } from '../../irq/apic-bus.ts';
import { unconnectedCpus } from '../../irq/cpu-signals.ts';
import { LocalApic } from '../../irq/local-apic.ts';
import { lapicPage, lapicState, wakesAt } from './lapic-page.ts';

const NOW = 5_000_000;

/** A local APIC of processor 1 at 5 ms, with a counter of 1 GHz. */
function apic() {
  const clock = new ManualClock();
  clock.advance(NOW);
  const bus = new ApicBus(() => 0);
  const made = [0, 1].map((cpu) => {
    const wiring = { clock, signals: unconnectedCpus, fabric: bus, acknowledgePic: () => 0, tscToNanos: Number };
    const one = new LocalApic(`apic${cpu}`, wiring, { cpu });
    bus.attach(one);
    return one;
  });
  const one = made[1];
  assert.ok(one !== undefined);
  one.writeRegister(0x0f, 0x1ff);
  return { clock, one };
}

/** There and back, with `nanos` in between in which KVM counts on. */
function throughKvm(one: LocalApic, nanos = 0) {
  const state = one.save();
  const page = lapicPage(state, 1, NOW);
  const view = new DataView(page.buffer);
  if (state.timer.mode !== 2 && nanos > 0) {
    view.setUint32(0x390, Math.max(0, view.getUint32(0x390, true) - nanos), true);
  }
  const apicBase = BigInt(state.base) | (BigInt(state.baseHigh) << 32n);
  return lapicState({ page, apicBase, tscDeadline: state.timer.tscDeadline }, state, NOW + nanos, Number);
}

test('everything a guest can see survives', () => {
  const { one } = apic();
  one.writeRegister(0x08, 0x35);
  one.writeRegister(0x0d, 0x02000000);
  one.writeRegister(0x35, 0x8400);
  one.receive(0, 0x41, false);
  one.receive(0, 0xe3, true);
  one.acknowledge();
  const state = one.save();
  assert.deepEqual(throughKvm(one), state);
  assert.equal(new DataView(lapicPage(state, 1, NOW).buffer).getUint32(0x20, true), 0x01000000);
});

test('an x2APIC has its id in 32 bits', () => {
  const { one } = apic();
  assert.ok(one.writeMsr(0x1b, 0xfee00c00n));
  assert.ok(one.writeMsr(0x830, (1n << 32n) | 0x000c4045n));
  const state = one.save();
  assert.deepEqual(throughKvm(one), state);
  assert.equal(new DataView(lapicPage(state, 1, NOW).buffer).getUint32(0x20, true), 1);
});

test('a timer goes on from where it is', () => {
  for (const [mode, left] of [
    [0, 7000],
    [0x20000, 7000],
  ] as const) {
    const { clock, one } = apic();
    one.writeRegister(0x3e, 0x0b);
    one.writeRegister(0x32, mode | 0x40);
    one.writeRegister(0x38, 10_000);
    const after = throughKvm(one, 3000);
    assert.equal(after.timer.alarm, NOW + 10_000);
    clock.advance(3000);
    one.load(after);
    assert.equal(one.readRegister(0x39), left);
    clock.advance(7000);
    assert.equal(one.readRegister(0x22), 1, 'vector 0x40 waits');
  }
});

test('what expired does so once', () => {
  const { clock, one } = apic();
  one.writeRegister(0x3e, 0x0b);
  one.writeRegister(0x32, 0x40);
  one.writeRegister(0x38, 10);
  clock.advance(20);
  const view = new DataView(lapicPage(one.save(), 1, NOW + 20).buffer);
  assert.deepEqual([view.getUint32(0x380, true), view.getUint32(0x390, true)], [0, 0], 'KVM has nothing to let expire');
});

test('a deadline travels beside the page, and says when a processor wakes', () => {
  const { one } = apic();
  one.writeRegister(0x32, 0x40040);
  assert.ok(one.writeMsr(0x6e0, BigInt(NOW + 500)));
  const state = one.save();
  assert.deepEqual(throughKvm(one), state);
  const page = lapicPage(state, 1, NOW);
  assert.equal(wakesAt(page, state.timer.tscDeadline, NOW, Number), NOW + 500);
  assert.equal(wakesAt(page, 0n, NOW, Number), undefined);
  one.receive(0, 0x41, false);
  assert.equal(wakesAt(lapicPage(one.save(), 1, NOW), 0n, NOW, Number), NOW, 'at once, for what waits');
});
