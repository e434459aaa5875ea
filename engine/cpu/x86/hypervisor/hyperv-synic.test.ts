import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StateValue } from '../../../devices/device.ts';
import { StateReader } from '../../../devices/state.ts';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import * as S from './hyperv-synic.ts';
import { FakeHypervisorHost } from './testing/fake-host.ts';

const PAGE = 0x5000;
const ENABLED = 1n;
const MASKED = 0x10000n;
const AUTO_EOI = 0x20000n;
const POLLING = 0x40000n;
const TYPE = 0x80000010;

function controller(cpus = 1) {
  const host = new FakeHypervisorHost(cpus);
  const synic = new S.HypervSynic(host);
  const source = (index: number) => S.HV_X64_MSR_SINT0 + index;
  const slot = (index: number) => new DataView(host.memory.bytes.buffer, PAGE + index * 256, 256);
  return { host, synic, source, slot };
}

/** Switched on, with its page of messages. */
function enabled(cpus = 1) {
  const made = controller(cpus);
  made.synic.write(0, S.HV_X64_MSR_SCONTROL, ENABLED);
  made.synic.write(0, S.HV_X64_MSR_SIMP, BigInt(PAGE) | ENABLED);
  return made;
}

function faults(action: () => unknown): void {
  assert.throws(action, (error) => error instanceof GuestFault && error.vector === L.VECTOR_GP);
}

test('after a reset all is off and masked', () => {
  const { synic, source } = controller(2);
  for (const cpu of [0, 1]) {
    assert.equal(synic.read(cpu, S.HV_X64_MSR_SCONTROL), 0n);
    assert.equal(synic.read(cpu, S.HV_X64_MSR_SVERSION), 1n);
    assert.equal(synic.read(cpu, S.HV_X64_MSR_SIEFP), 0n);
    assert.equal(synic.read(cpu, S.HV_X64_MSR_SIMP), 0n);
    assert.equal(synic.read(cpu, S.HV_X64_MSR_EOM), 0n);
    assert.equal(synic.read(cpu, source(0)), MASKED);
    assert.equal(synic.read(cpu, source(15)), MASKED);
  }
  faults(() => synic.write(0, S.HV_X64_MSR_SVERSION, 1n));
  assert.equal(synic.post(0, 3, TYPE, new Uint8Array(8)), 'off');
});

test('a source has a vector that is no exception, unless it is masked', () => {
  const { synic, source } = controller();
  faults(() => synic.write(0, source(2), 15n));
  synic.write(0, source(2), MASKED);
  synic.write(0, source(2), 16n);
  assert.equal(synic.read(0, source(2)), 16n);
});

test('a message fills its slot and interrupts the processor; the next one waits until it is empty', () => {
  const { host, synic, source, slot } = enabled();
  synic.write(0, source(4), 0x61n);
  assert.equal(synic.post(0, 4, TYPE, Uint8Array.of(1, 2, 3)), 'delivered');
  assert.deepEqual(host.interrupts, ['0:61']);
  const message = slot(4);
  assert.equal(message.getUint32(0, true), TYPE);
  assert.deepEqual([message.getUint8(4), message.getUint8(5)], [3, 0]);
  assert.equal(message.getBigUint64(8, true), 0n);
  assert.deepEqual([message.getUint8(16), message.getUint8(18)], [1, 3]);
  assert.equal(synic.post(0, 4, TYPE, Uint8Array.of(9)), 'occupied');
  assert.equal(message.getUint8(5), 1, 'another one is pending');
  assert.equal(message.getUint8(16), 1);
  message.setUint32(0, 0, true);
  let freed = 0;
  synic.onSlotsFree = () => freed++;
  synic.write(0, S.HV_X64_MSR_EOM, 0n);
  assert.equal(freed, 1);
  assert.equal(synic.post(0, 4, TYPE, Uint8Array.of(9)), 'delivered');
  assert.deepEqual([message.getUint8(5), message.getUint8(16)], [0, 9]);
  assert.equal(host.interrupts.length, 2);
});

test('masked and polled sources get messages without interrupts', () => {
  const { host, synic, source } = enabled();
  synic.write(0, source(1), MASKED | 0x50n);
  assert.equal(synic.post(0, 1, TYPE, new Uint8Array(1)), 'delivered');
  synic.write(0, source(2), POLLING | 0x50n);
  assert.equal(synic.post(0, 2, TYPE, new Uint8Array(1)), 'delivered');
  assert.deepEqual(host.interrupts, []);
});

test('pages begin empty where they are named, and stay as they are where they were', () => {
  const { host, synic } = controller();
  host.memory.bytes.fill(7, PAGE, PAGE + 4096);
  for (const msr of [S.HV_X64_MSR_SIMP, S.HV_X64_MSR_SIEFP]) {
    host.memory.bytes.fill(7, PAGE, PAGE + 4096);
    synic.write(0, msr, BigInt(PAGE));
    assert.equal(host.memory.bytes[PAGE], 7);
    synic.write(0, msr, BigInt(PAGE) | ENABLED);
    assert.equal(host.memory.bytes[PAGE], 0);
    assert.equal(host.memory.bytes[PAGE + 4095], 0);
    host.memory.bytes[PAGE] = 5;
    synic.write(0, msr, BigInt(PAGE) | ENABLED);
    assert.equal(host.memory.bytes[PAGE], 5);
  }
  // Far from any memory.
  synic.write(0, S.HV_X64_MSR_SCONTROL, ENABLED);
  synic.write(0, S.HV_X64_MSR_SIMP, 0xffff_ffff_ffff_f001n);
  assert.equal(synic.post(0, 1, TYPE, new Uint8Array(24)), 'occupied');
});

test('a source may ask for no EOI where the local APICs can do without', () => {
  const { host, synic, source } = enabled(2);
  assert.equal(synic.isAutoEoi(0, 0x61), false);
  synic.write(0, source(3), AUTO_EOI | 0x61n);
  assert.deepEqual(
    [synic.isAutoEoi(0, 0x61), synic.isAutoEoi(0, 0x62), synic.isAutoEoi(1, 0x61)],
    [true, false, false],
  );
  const saved = { synic: synic.save() };
  synic.write(0, source(3), MASKED | AUTO_EOI | 0x61n);
  assert.equal(synic.isAutoEoi(0, 0x61), false);
  synic.prepareLoad(new StateReader('test', saved), 'synic')();
  assert.equal(synic.isAutoEoi(0, 0x61), true);
  host.hasAutoEoi = false;
  faults(() => synic.write(0, source(3), AUTO_EOI | 0x61n));
  synic.write(0, source(3), MASKED | AUTO_EOI);
  assert.throws(() => synic.prepareLoad(new StateReader('test', saved), 'synic'), { code: 'bad-state' });
});

test('saved registers are checked', () => {
  const { synic, source } = enabled();
  synic.write(0, source(7), 0x77n);
  const saved = synic.save() as [Record<string, StateValue>];
  const other = controller();
  other.synic.prepareLoad(new StateReader('test', { synic: saved }), 'synic')();
  assert.deepEqual(other.synic.save(), saved);
  const sources = saved[0]['sources'] as bigint[];
  for (const wrong of [
    [],
    [...saved, ...saved],
    [{ ...saved[0], control: -1n }],
    [{ ...saved[0], messagePage: 1n << 64n }],
    [{ ...saved[0], eventFlagsPage: 5 }],
    [{ ...saved[0], sources: sources.slice(1) }],
    [{ ...saved[0], sources: sources.map(() => 3n) }],
    [{ ...saved[0], sources: sources.map(() => null) }],
  ] as StateValue[]) {
    assert.throws(() => other.synic.prepareLoad(new StateReader('test', { synic: wrong }), 'synic'), {
      code: 'bad-state',
    });
    assert.deepEqual(other.synic.save(), saved);
  }
  other.synic.reset();
  assert.equal(other.synic.read(0, source(7)), MASKED);
});
