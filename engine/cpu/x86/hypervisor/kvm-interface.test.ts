import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defined } from '../../../base/assert.ts';
import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import { scaleOf } from './guest-clock.ts';
import { Hypervisor } from './hypervisor.ts';
import {
  MSR_KVM_PV_EOI_EN,
  MSR_KVM_STEAL_TIME,
  MSR_KVM_SYSTEM_TIME_NEW,
  MSR_KVM_WALL_CLOCK_NEW,
} from './kvm-interface.ts';
import { FakeHypervisorHost, readGuestClock } from './testing/fake-host.ts';

const PAGE = 0x3000;
const ENABLED = 1n;

function machine(cpus = 1) {
  const host = new FakeHypervisorHost(cpus);
  const hypervisor = new Hypervisor(host, { kvm: true, hyperv: false });
  const cpu = (index: number): CpuState => defined(host.processors[index], 'processor');
  const enable = (index: number, address = PAGE + index * 0x40) =>
    hypervisor.writeMsr(cpu(index), MSR_KVM_SYSTEM_TIME_NEW, BigInt(address) | ENABLED);
  const clock = (index: number, address = PAGE + index * 0x40) =>
    readGuestClock(new DataView(host.memory.bytes.buffer, address, 32), host.tsc + host.tscOffset(index));
  return { host, hypervisor, cpu, enable, clock };
}

/** Seconds of a reading. */
const seconds = ({ nanos }: { nanos: bigint }) => Number(nanos) / 1e9;

test('CPUID names KVM, its clock, and then who it really is', () => {
  const { hypervisor } = machine();
  const first = defined(hypervisor.cpuid(0x40000000, 0), 'leaf');
  const letters = Buffer.from(Uint32Array.of(first.ebx, first.ecx, first.edx).buffer).toString('latin1');
  assert.equal(letters, 'KVMKVMKVM\0\0\0');
  assert.equal(first.eax, 0x40000001);
  assert.equal(hypervisor.cpuid(0x40000001, 0)?.eax, (1 << 1) | (1 << 3) | (1 << 5) | (1 << 6) | (1 << 24));
  assert.equal(hypervisor.cpuid(0x40000002, 0)?.eax, 0);
  assert.equal(hypervisor.cpuid(0x40000100, 0), undefined);
  assert.equal(hypervisor.nextLeaf, 0x40000100);
  assert.deepEqual(hypervisor.leaves, [0x40000000, 0x40000001, 0x40000100]);
  assert.deepEqual(new Hypervisor(new FakeHypervisorHost(), { kvm: false, hyperv: false }).leaves, [0x40000000]);
});

test('the scale of a counter is exact to a part in two thousand million', () => {
  for (const frequency of [1e6, 999_999_000, 1e9, 1_000_001_000, 2.5e9, 2_893_299_000, 5.1e9, 17e9]) {
    const { multiplier, shift } = scaleOf(frequency);
    assert.ok(multiplier >= 2 ** 31 && multiplier < 2 ** 32, `${multiplier}`);
    assert.ok(Math.abs((multiplier / 2 ** 32) * 2 ** shift * frequency - 1e9) < 0.5, `${frequency}`);
  }
});

test('the clock runs with the counter, whose frequency and offset the guest need not know', () => {
  const { host, cpu, enable, clock } = machine();
  host.advance(3);
  cpu(0).setU64(L.TSC_OFFSET, 0x1234_5678_9abcn);
  enable(0);
  const before = seconds(clock(0));
  assert.ok(Math.abs(before - 3) < 0.001, `${before}`);
  assert.equal(clock(0).stable, true);
  assert.equal(clock(0).version % 2, 0);
  host.advance(1000);
  assert.ok(Math.abs(seconds(clock(0)) - 1003) < 0.001);
});

test('a counter that the guest moves does not move the clock', () => {
  const { host, hypervisor, cpu, enable, clock } = machine();
  enable(0);
  host.advance(7);
  const before = clock(0);
  cpu(0).setU64(L.TSC_OFFSET, BigInt.asUintN(64, -5_000_000_000n));
  hypervisor.tscMoved(cpu(0));
  assert.equal(clock(0).nanos, before.nanos);
  assert.equal(clock(0).version, before.version + 2);
  // Nothing moved: nothing is written.
  hypervisor.tscMoved(cpu(0));
  assert.equal(clock(0).version, before.version + 2);
});

test('several processors read one clock, and are told when their counters differ', () => {
  const { host, hypervisor, cpu, enable, clock } = machine(3);
  for (const index of [0, 1, 2]) {
    enable(index);
    host.advance(0.25);
  }
  assert.deepEqual(
    [0, 1, 2].map((index) => clock(index).nanos),
    [clock(0).nanos, clock(0).nanos, clock(0).nanos],
  );
  cpu(1).setU64(L.TSC_OFFSET, 1n);
  hypervisor.tscMoved(cpu(1));
  assert.deepEqual(
    [0, 1, 2].map((index) => clock(index).stable),
    [false, false, false],
  );
  cpu(1).setU64(L.TSC_OFFSET, 0n);
  hypervisor.tscMoved(cpu(1));
  assert.deepEqual(
    [0, 1, 2].map((index) => clock(index).stable),
    [true, true, true],
  );
});

test('a clock that is switched off is not written any more, nor after a reset', () => {
  const { host, hypervisor, cpu, enable } = machine();
  enable(0);
  hypervisor.writeMsr(cpu(0), MSR_KVM_SYSTEM_TIME_NEW, BigInt(PAGE));
  host.memory.bytes.fill(0x55);
  cpu(0).setU64(L.TSC_OFFSET, 99n);
  hypervisor.tscMoved(cpu(0));
  enable(0, 0x5000);
  cpu(0).setU64(L.MSR_KVM_SYSTEM_TIME, 0n);
  hypervisor.reset();
  host.memory.bytes.fill(0x55);
  cpu(0).setU64(L.TSC_OFFSET, 100n);
  hypervisor.tscMoved(cpu(0));
  assert.ok(host.memory.bytes.every((byte) => byte === 0x55));
});

test('addresses that are no memory, and values that cannot be, do no harm', () => {
  const { host, hypervisor, cpu } = machine();
  for (const address of [0xfffcn, 0xfffffffcn, 1n << 40n, (1n << 64n) - 4n]) {
    hypervisor.writeMsr(cpu(0), MSR_KVM_SYSTEM_TIME_NEW, address | ENABLED);
    hypervisor.writeMsr(cpu(0), MSR_KVM_WALL_CLOCK_NEW, address);
  }
  assert.equal(host.memory.bytes.subarray(0, 0xfff0).indexOf(1), -1);
  assert.throws(
    () => hypervisor.writeMsr(cpu(0), MSR_KVM_SYSTEM_TIME_NEW, 0x3003n),
    (fault) => fault instanceof GuestFault && fault.vector === L.VECTOR_GP,
  );
  assert.equal(hypervisor.readMsr(cpu(0), MSR_KVM_SYSTEM_TIME_NEW), (1n << 64n) - 3n);
  // Registers of KVM that are not announced.
  for (const msr of [0x11, 0x12, 0x4b564d02, 0x4b564d06]) {
    assert.equal(hypervisor.readMsr(cpu(0), msr), undefined);
    assert.equal(hypervisor.writeMsr(cpu(0), msr, 1n), false);
  }
});

test('the bit by which EOIs are left out is where the guest says, and is found again in a restored machine', () => {
  const { host, hypervisor, cpu } = machine(2);
  const assist = defined(host.eoiAssist, 'bits');
  hypervisor.writeMsr(cpu(1), MSR_KVM_PV_EOI_EN, 0x3005n);
  assert.deepEqual([assist.place(0), assist.place(1)], [undefined, 0x3004]);
  assert.equal(hypervisor.readMsr(cpu(1), MSR_KVM_PV_EOI_EN), 0x3005n);
  assert.throws(
    () => hypervisor.writeMsr(cpu(1), MSR_KVM_PV_EOI_EN, 0x3003n),
    (fault) => fault instanceof GuestFault && fault.vector === L.VECTOR_GP,
  );
  assert.equal(assist.place(1), 0x3004);
  const saved = hypervisor.save(host.tsc);
  hypervisor.reset();
  assert.equal(assist.place(1), undefined);
  hypervisor.load(saved, host.tsc);
  hypervisor.restored(cpu(0));
  hypervisor.restored(cpu(1));
  assert.deepEqual([assist.place(0), assist.place(1)], [undefined, 0x3004]);
  hypervisor.writeMsr(cpu(1), MSR_KVM_PV_EOI_EN, 0x3004n);
  assert.equal(assist.place(1), undefined);
});

test('stolen time is added up in guest memory, by the processor', () => {
  const { host, hypervisor, cpu } = machine(2);
  const view = new DataView(host.memory.bytes.buffer);
  const versions: number[] = [];
  const write = host.memory.writeU32.bind(host.memory);
  host.memory.writeU32 = (gpa, value) => {
    versions.push(value);
    write(gpa, value);
  };
  hypervisor.stolen(cpu(0), 5e9);
  hypervisor.writeMsr(cpu(0), MSR_KVM_STEAL_TIME, 0x3041n);
  assert.equal(hypervisor.readMsr(cpu(0), MSR_KVM_STEAL_TIME), 0x3041n);
  assert.ok(host.memory.bytes.every((byte) => byte === 0));
  hypervisor.stolen(cpu(0), 1_000_000);
  hypervisor.stolen(cpu(1), 1_000_000);
  assert.equal(view.getBigUint64(0x3040, true), 1_000_000n);
  assert.deepEqual(versions, [1, 2]);
  // Small change is kept until it is worth a look.
  hypervisor.stolen(cpu(0), 400_000);
  assert.equal(view.getBigUint64(0x3040, true), 1_000_000n);
  hypervisor.stolen(cpu(0), 200_000);
  assert.equal(view.getBigUint64(0x3040, true), 1_600_000n);
  assert.equal(view.getUint32(0x3048, true), 4);
  assert.equal(view.getUint32(0x304c, true), 0, 'flags');
  assert.equal(view.getUint8(0x3050), 0, 'preempted');
  hypervisor.writeMsr(cpu(0), MSR_KVM_STEAL_TIME, 0x3040n);
  hypervisor.stolen(cpu(0), 1e9);
  assert.equal(view.getBigUint64(0x3040, true), 1_600_000n);
});

test('places of stolen time that cannot be', () => {
  const { host, hypervisor, cpu } = machine();
  for (const bit of [2n, 4n, 8n, 16n, 32n]) {
    assert.throws(
      () => hypervisor.writeMsr(cpu(0), MSR_KVM_STEAL_TIME, 0x3000n | bit | ENABLED),
      (fault) => fault instanceof GuestFault && fault.vector === L.VECTOR_GP,
    );
  }
  assert.equal(hypervisor.readMsr(cpu(0), MSR_KVM_STEAL_TIME), 0n);
  for (const address of [0x10000n, 1n << 40n, (1n << 64n) - 64n]) {
    hypervisor.writeMsr(cpu(0), MSR_KVM_STEAL_TIME, address | ENABLED);
    hypervisor.stolen(cpu(0), 1e9);
  }
  assert.ok(host.memory.bytes.every((byte) => byte === 0));
  host.countsStolenTime = false;
  assert.equal(defined(hypervisor.cpuid(0x40000001, 0), 'leaf').eax & (1 << 5), 0);
  assert.equal(hypervisor.writeMsr(cpu(0), MSR_KVM_STEAL_TIME, 1n), false);
});

test('where bits cannot be written, nobody is told of them', () => {
  const { host, hypervisor, cpu } = machine();
  defined(host.eoiAssist, 'bits').usable = false;
  assert.equal(defined(hypervisor.cpuid(0x40000001, 0), 'leaf').eax & (1 << 6), 0);
  assert.equal(hypervisor.writeMsr(cpu(0), MSR_KVM_PV_EOI_EN, 1n), false);
  assert.equal(hypervisor.readMsr(cpu(0), MSR_KVM_PV_EOI_EN), undefined);
});

test('the calendar time at which the clock stood at zero', () => {
  const { host, hypervisor, cpu } = machine();
  host.tsc = 0n;
  host.advance(12.5);
  hypervisor.writeMsr(cpu(0), MSR_KVM_WALL_CLOCK_NEW, BigInt(PAGE));
  const view = new DataView(host.memory.bytes.buffer, PAGE);
  assert.equal(view.getUint32(0, true) % 2, 0);
  const wall = view.getUint32(4, true) * 1000 + view.getUint32(8, true) / 1e6;
  assert.equal(Math.round(wall), Date.UTC(2026, 0, 1));
});

test('a saved clock goes on in a machine whose counter stands elsewhere', () => {
  const first = machine();
  first.enable(0);
  first.host.advance(5000);
  const time = seconds(first.clock(0));
  const saved = first.hypervisor.save(first.host.tsc);
  const second = machine();
  second.host.tsc = 77n;
  second.host.tscFrequencyHz = first.host.tscFrequencyHz;
  second.cpu(0).setU64(L.MSR_KVM_SYSTEM_TIME, first.cpu(0).u64(L.MSR_KVM_SYSTEM_TIME));
  second.cpu(0).setU64(L.TSC_OFFSET, first.host.tsc);
  second.hypervisor.load(saved, second.host.tsc);
  second.hypervisor.tscMoved(second.cpu(0));
  const later = seconds(second.clock(0)) - time;
  assert.ok(later >= 0 && later < 0.00001, `${later}`);
  assert.throws(() => second.hypervisor.load({ clock: { nanos: -1 } }, 0n), { code: 'bad-state' });
});
