import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StateValue } from '../../../devices/device.ts';
import { StateReader } from '../../../devices/state.ts';
import { Random } from '../../../testing/random.ts';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import { GuestClock } from './guest-clock.ts';
import * as S from './hyperv-synic.ts';
import * as T from './hyperv-timers.ts';
import { FakeHypervisorHost } from './testing/fake-host.ts';

const PAGE = 0x5000;
const ENABLED = 1n;
const PERIODIC = 2n;
const LAZY = 4n;
const AUTO_ENABLE = 8n;
const direct = (vector: number) => 0x1000n | (BigInt(vector) << 4n);
const source = (index: number) => BigInt(index) << 16n;
/** Reference time: 100 ns. */
const MILLI = 10_000n;

function timers(cpus = 1) {
  const host = new FakeHypervisorHost(cpus);
  const clock = new GuestClock(host);
  clock.begin(host.tsc);
  const synic = new S.HypervSynic(host);
  const made = new T.HypervTimers(host, clock, synic);
  synic.write(0, S.HV_X64_MSR_SCONTROL, ENABLED);
  synic.write(0, S.HV_X64_MSR_SIMP, BigInt(PAGE) | ENABLED);
  synic.write(0, S.HV_X64_MSR_SINT0 + 4, 0x61n);
  const config = (timer: number) => T.HV_X64_MSR_STIMER0_CONFIG + timer * 2;
  const count = (timer: number) => config(timer) + 1;
  const now = () => clock.now() / 100n;
  const slot = new DataView(host.memory.bytes.buffer, PAGE + 4 * 256, 256);
  /** Takes the message out of its slot: timer, due, delivered. */
  const take = () => {
    const message = [slot.getUint32(16, true), slot.getBigUint64(24, true), slot.getBigUint64(32, true)];
    const type = slot.getUint32(0, true);
    slot.setUint32(0, 0, true);
    return type === 0 ? undefined : message;
  };
  return { host, clock, synic, timers: made, config, count, now, slot, take };
}

function faults(action: () => unknown): void {
  assert.throws(action, (error) => error instanceof GuestFault && error.vector === L.VECTOR_GP);
}

test('nothing waits for time while no timer is used', () => {
  const { host, timers: made } = timers(8);
  host.advance(1);
  made.reset();
  assert.equal(host.clock.pendingCount, 0);
});

test('a one-shot timer in direct mode interrupts once, at its time', () => {
  const { host, timers: made, config, count, now } = timers();
  made.write(0, config(0), AUTO_ENABLE | direct(0xed));
  host.advance(2);
  assert.deepEqual(host.interrupts, []);
  made.write(0, count(0), now() + 5n * MILLI);
  assert.equal(made.read(0, config(0)), ENABLED | AUTO_ENABLE | direct(0xed));
  host.advance(0.004_999);
  assert.deepEqual(host.interrupts, []);
  host.advance(0.000_001);
  assert.deepEqual(host.interrupts, ['0:ed']);
  assert.equal(made.read(0, config(0)), AUTO_ENABLE | direct(0xed));
  host.advance(10);
  assert.equal(host.interrupts.length, 1);
  // A moment that is past: at once.
  made.write(0, count(0), 1n);
  assert.equal(host.interrupts.length, 2);
  // Zero stops it.
  made.write(0, count(0), now() + MILLI);
  made.write(0, count(0), 0n);
  assert.equal(made.read(0, config(0)) & ENABLED, 0n);
  host.advance(1);
  assert.equal(host.interrupts.length, 2);
  assert.equal(host.clock.pendingCount, 0);
});

test('a timer sends its message to a source', () => {
  const { host, timers: made, config, count, now, take } = timers();
  made.write(0, count(2), now() + 3n * MILLI);
  const due = made.read(0, count(2));
  made.write(0, config(2), ENABLED | source(4));
  host.advance(0.01);
  assert.deepEqual(host.interrupts, ['0:61']);
  assert.deepEqual(take(), [2, due, due]);
  assert.equal(made.read(0, config(2)), source(4));
});

test('a message waits for its slot: until the end of the last one is told, or a moment later', () => {
  const { host, synic, timers: made, config, count, now, slot, take } = timers();
  for (const timer of [0, 1, 3]) {
    made.write(0, config(timer), AUTO_ENABLE | source(4));
    made.write(0, count(timer), now() + MILLI);
  }
  host.advance(0.002);
  assert.equal(host.interrupts.length, 1);
  assert.equal(slot.getUint8(5), 1);
  assert.equal(take()?.[0], 0);
  synic.write(0, S.HV_X64_MSR_EOM, 0n);
  assert.equal(host.interrupts.length, 2);
  assert.equal(slot.getUint8(5), 1);
  assert.equal(take()?.[0], 1);
  // Told by the APIC's EOI only, or not at all.
  host.advance(0.006);
  assert.equal(host.interrupts.length, 3);
  const [timer, due, delivered] = take() as [number, bigint, bigint];
  assert.equal(timer, 3);
  assert.ok(delivered - due >= MILLI && delivered - due <= 7n * MILLI, `${delivered - due}`);
  assert.equal(slot.getUint8(5), 0);
  host.advance(1);
  assert.equal(host.clock.pendingCount, 0);
  assert.equal(host.interrupts.length, 3);
});

test('messages wait while the guest has switched them off, and cost nothing', () => {
  const { host, synic, timers: made, config, count, now, take } = timers();
  synic.write(0, S.HV_X64_MSR_SCONTROL, 0n);
  made.write(0, config(0), AUTO_ENABLE | source(4));
  made.write(0, count(0), now() + MILLI);
  host.advance(1);
  assert.equal(host.clock.pendingCount, 0);
  assert.equal(take(), undefined);
  synic.write(0, S.HV_X64_MSR_SCONTROL, ENABLED);
  assert.equal(take()?.[0], 0);
});

test('a periodic timer keeps its beat', () => {
  const { host, timers: made, config, count, now } = timers();
  made.write(0, count(0), MILLI);
  host.advance(0.000_4);
  const start = now();
  made.write(0, config(0), ENABLED | PERIODIC | direct(0x40));
  for (let i = 1; i <= 50; i++) {
    host.advance(0.001);
    assert.equal(host.interrupts.length, i);
  }
  assert.equal(now() - start, 50n * MILLI);
  made.write(0, config(0), 0n);
  host.advance(1);
  assert.equal(host.interrupts.length, 50);
});

/** Lets `seconds` pass in which the machine gets to nothing: alarms are only looked at afterwards. */
function freeze(host: FakeHypervisorHost, seconds: number): void {
  host.tsc += BigInt(Math.round(seconds * host.tscFrequencyHz));
}

test('what a periodic timer has missed comes after, a lazy one leaves it out', () => {
  for (const lazy of [0n, LAZY]) {
    const { host, timers: made, config, count, now } = timers();
    made.write(0, count(0), MILLI);
    made.write(0, config(0), ENABLED | PERIODIC | lazy | direct(0x40));
    const start = now();
    host.advance(0.01);
    freeze(host, 0.005_2);
    host.advance(0.02);
    const periods = Number((now() - start) / MILLI);
    const missed = periods - host.interrupts.length;
    assert.ok(lazy === 0n ? Math.abs(missed) <= 1 : missed >= 4 && missed <= 6, `${missed}`);
    // And never in a burst.
    const before = host.interrupts.length;
    freeze(host, 0.005);
    host.advance(0.001_6);
    assert.ok(host.interrupts.length - before <= 4);
  }
});

test('a timer that has missed very much makes up for nothing', () => {
  const { host, timers: made, config, count } = timers();
  made.write(0, count(0), MILLI);
  made.write(0, config(0), ENABLED | PERIODIC | direct(0x40));
  freeze(host, 3600);
  host.advance(0.01);
  assert.ok(host.interrupts.length >= 9 && host.interrupts.length <= 12, `${host.interrupts.length}`);
});

test('no guest keeps the host busy with periods that nobody could serve', () => {
  const { host, timers: made, config, count } = timers();
  for (const timer of [0, 1, 2, 3]) {
    made.write(0, count(timer), BigInt(timer + 1));
    made.write(0, config(timer), ENABLED | PERIODIC | direct(0x40));
  }
  host.advance(0.1);
  const each = host.interrupts.length / 4;
  assert.ok(each > 4000 && each <= 5001, `${each}`);
});

test('the counter and the clock may stray: a timer never comes before its time', () => {
  const { host, clock, timers: made, config, count } = timers();
  made.write(0, config(0), AUTO_ENABLE | direct(0x40));
  made.write(0, count(0), 1000n * MILLI);
  // The counter stands still for a while as the clock goes on.
  const { tsc } = host;
  host.clock.advanceTo(500_000_000);
  host.tsc = tsc + 5n;
  host.advance(0.5);
  assert.deepEqual(host.interrupts, []);
  while (host.interrupts.length === 0) {
    host.advance(0.000_1);
  }
  const late = clock.now() / 100n - 1000n * MILLI;
  assert.ok(late >= 0n && late < MILLI, `${late}`);
});

test('impossible timers', () => {
  const { host, timers: made, config, count, now } = timers();
  faults(() => made.write(0, config(0), 1n << 13n));
  faults(() => made.write(0, config(0), 1n << 20n));
  // Source 0 is the hypervisor's own.
  made.write(0, count(0), now() + MILLI);
  made.write(0, config(0), ENABLED | source(0));
  assert.equal(made.read(0, config(0)), 0n);
  made.write(0, config(0), AUTO_ENABLE);
  made.write(0, count(0), now() + MILLI);
  assert.equal(made.read(0, config(0)), AUTO_ENABLE);
  // Enabled without a count: it starts with one.
  made.write(0, count(1), 0n);
  made.write(0, config(1), ENABLED | direct(0x40));
  host.advance(1);
  assert.deepEqual(host.interrupts, []);
  made.write(0, count(1), 1n);
  assert.deepEqual(host.interrupts, ['0:40']);
  // The vectors of exceptions are no interrupts; a time that never comes.
  made.write(0, config(2), AUTO_ENABLE | direct(3));
  made.write(0, count(2), 1n);
  made.write(0, config(3), AUTO_ENABLE | direct(0x40));
  made.write(0, count(3), 0xffff_ffff_ffff_ffffn);
  host.advance(1);
  assert.equal(host.interrupts.length, 1);
});

test('saved timers go on in a machine whose counter stands elsewhere', () => {
  const first = timers(2);
  first.host.advance(7);
  first.timers.write(0, first.config(0), AUTO_ENABLE | direct(0x40));
  first.timers.write(0, first.count(0), first.now() + 20n * MILLI);
  first.timers.write(0, first.count(1), 10n * MILLI);
  first.timers.write(0, first.config(1), ENABLED | PERIODIC | direct(0x50));
  for (const timer of [2, 3]) {
    first.timers.write(0, first.config(timer), AUTO_ENABLE | source(4));
    first.timers.write(0, first.count(timer), 1n);
  }
  first.host.advance(0.004);
  const [state, line] = [first.timers.save(), first.clock.save(first.host.tsc)];
  const second = timers(2);
  second.host.tsc = 99n;
  second.clock.load('clock', line, second.host.tsc);
  second.timers.prepareLoad(new StateReader('test', { timers: state }), 'timers')();
  assert.deepEqual(second.timers.save(), state);
  second.host.advance(0.005_9);
  // The message that waited for its slot, which is empty in this machine.
  assert.deepEqual(second.host.interrupts, ['0:61']);
  assert.equal(second.take()?.[0], 3);
  second.host.advance(0.000_2);
  assert.deepEqual(second.host.interrupts, ['0:61', '0:50']);
  second.host.advance(0.01);
  assert.deepEqual(second.host.interrupts.slice(2).sort(), ['0:40', '0:50']);
  second.timers.reset();
  assert.equal(second.host.clock.pendingCount, 0);
});

test('saved timers are checked, and nonsense does no harm', () => {
  const { timers: made } = timers();
  const [[one]] = made.save() as [[Record<string, StateValue>]];
  const load = (...all: StateValue[]) => made.prepareLoad(new StateReader('test', { timers: [all] }), 'timers');
  const before = made.save();
  for (const wrong of [
    { config: 1n << 30n },
    { config: ENABLED },
    { count: -1n },
    { due: 5 },
    { waiting: 1n << 64n },
  ] as Record<string, StateValue>[]) {
    assert.throws(() => load(one, { ...one, ...wrong }, one, one), { code: 'bad-state' });
  }
  assert.throws(() => load(one, one, one), { code: 'bad-state' });
  assert.deepEqual(made.save(), before);
  // What can be said, but never comes about.
  load(
    { config: ENABLED | PERIODIC | direct(0x40), count: 1n, due: 0n },
    { config: ENABLED | PERIODIC | direct(0x40), count: 0n, due: 0n },
    { config: ENABLED | direct(0x40), count: 1n, due: 0xffff_ffff_ffff_ffffn },
    { config: 0n, count: 0n, due: 0n, waiting: 7n },
  )();
  const random = new Random(5);
  const { host, timers: fuzzed } = timers();
  for (let i = 0; i < 3000; i++) {
    try {
      const msr = T.HV_X64_MSR_STIMER0_CONFIG + random.below(8);
      fuzzed.write(0, msr, (BigInt(random.u32()) << BigInt(random.below(33))) & 0xffff_ffff_ffff_ffffn);
      fuzzed.write(0, msr, BigInt(random.below(0xf2000)));
    } catch (error) {
      assert.ok(error instanceof GuestFault);
    }
    host.clock.advance(random.below(2_000_000));
  }
});
