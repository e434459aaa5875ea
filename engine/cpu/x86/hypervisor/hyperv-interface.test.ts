import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defined } from '../../../base/assert.ts';
import type { StateValue } from '../../../devices/device.ts';
import { Random } from '../../../testing/random.ts';
import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import * as HV from './hyperv-interface.ts';
import { HV_X64_MSR_SIMP } from './hyperv-synic.ts';
import { Hypervisor } from './hypervisor.ts';
import { MSR_KVM_SYSTEM_TIME_NEW } from './kvm-interface.ts';
import { FakeHypervisorHost } from './testing/fake-host.ts';

const PAGE = 0x4000;
const ENABLED = 1n;

function machine(cpus = 1) {
  const host = new FakeHypervisorHost(cpus);
  const hypervisor = new Hypervisor(host, { kvm: true, hyperv: true });
  const cpu = (index: number): CpuState => defined(host.processors[index], 'processor');
  const read = (msr: number, index = 0) => hypervisor.readMsr(cpu(index), msr);
  const write = (msr: number, value: bigint, index = 0) => hypervisor.writeMsr(cpu(index), msr, value);
  const view = new DataView(host.memory.bytes.buffer, PAGE, 4096);
  /** What a guest computes from the page; undefined: it is to ask the register. */
  const pageTime = (index = 0) =>
    view.getUint32(0, true) === 0
      ? undefined
      : BigInt.asUintN(
          64,
          ((BigInt.asUintN(64, host.tsc + host.tscOffset(index)) * view.getBigUint64(8, true)) >> 64n) +
            view.getBigInt64(16, true),
        );
  return { host, hypervisor, cpu, read, write, view, pageTime };
}

function faults(action: () => unknown): void {
  assert.throws(action, (error) => error instanceof GuestFault && error.vector === L.VECTOR_GP);
}

test('CPUID: Hyper-V first, KVM behind it, and then who it really is', () => {
  const { hypervisor } = machine(3);
  const letters = (leaf: number) => {
    const { ebx, ecx, edx } = defined(hypervisor.cpuid(leaf, 0), 'leaf');
    return Buffer.from(Uint32Array.of(ebx, ecx, edx).buffer).toString('latin1');
  };
  assert.equal(letters(0x40000000), 'Microsoft Hv');
  assert.equal(hypervisor.cpuid(0x40000000, 0)?.eax, 0x40000006);
  const { eax } = defined(hypervisor.cpuid(0x40000001, 0), 'leaf');
  assert.equal(Buffer.from(Uint32Array.of(eax).buffer).toString('latin1'), 'Hv#1');
  // What guests need: calls and their numbers; what they gain: clocks, timers, registers of the local APIC.
  const privileges = hypervisor.cpuid(0x40000003, 0);
  assert.deepEqual([privileges?.eax, privileges?.ebx, privileges?.edx], [0xa7e, 0, 0xa0510]);
  assert.equal(hypervisor.cpuid(0x40000005, 0)?.eax, 3);
  assert.equal(letters(0x40000100), 'KVMKVMKVM\0\0\0');
  assert.equal(hypervisor.cpuid(0x40000100, 0)?.eax, 0x40000101);
  assert.equal(hypervisor.nextLeaf, 0x40000200);
});

test('guests are advised to use what pays where they run', () => {
  const advice = (change: (host: FakeHypervisorHost) => void, cpus = 2) => {
    const host = new FakeHypervisorHost(cpus);
    change(host);
    const hypervisor = new Hypervisor(host, { kvm: true, hyperv: true });
    const hasApicRegisters = ((hypervisor.cpuid(0x40000003, 0)?.eax ?? 0) & 16) !== 0;
    return [hypervisor.cpuid(0x40000004, 0)?.eax, hasApicRegisters];
  };
  // Patient watchdogs, no automatic EOIs; registers of the local APIC; calls between processors.
  const [always, apic, calls] = [0x220, 8, 0x404];
  assert.deepEqual(
    advice(() => {}),
    [always | apic | calls, true],
  );
  assert.deepEqual(
    advice(() => {}, 1),
    [always | apic, true],
  );
  const onKvm = (host: FakeHypervisorHost) => {
    host.isSoftware = false;
  };
  assert.deepEqual(advice(onKvm), [always | apic, true]);
  const withItsApics = (host: FakeHypervisorHost) => {
    onKvm(host);
    host.hasAutoEoi = false;
  };
  assert.deepEqual(advice(withItsApics), [always, false]);
});

test('without the option there is nothing of it', () => {
  const hypervisor = new Hypervisor(new FakeHypervisorHost(), { kvm: true, hyperv: false });
  const state = defined(new FakeHypervisorHost().processors[0], 'processor');
  for (const msr of [HV.HV_X64_MSR_GUEST_OS_ID, HV.HV_X64_MSR_REFERENCE_TSC, HV.HV_X64_MSR_CRASH_CTL]) {
    assert.equal(hypervisor.readMsr(state, msr), undefined);
    assert.equal(hypervisor.writeMsr(state, msr, 1n), false);
  }
});

test('the page of calls is given to guests that say who they are', () => {
  const { host, hypervisor, cpu, read, write } = machine();
  write(HV.HV_X64_MSR_HYPERCALL, BigInt(PAGE) | ENABLED);
  assert.equal(read(HV.HV_X64_MSR_HYPERCALL), BigInt(PAGE));
  assert.equal(host.memory.bytes[PAGE], 0);
  write(HV.HV_X64_MSR_GUEST_OS_ID, 0x8100_0000_0000_0001n);
  write(HV.HV_X64_MSR_HYPERCALL, BigInt(PAGE) | ENABLED);
  assert.deepEqual([...host.memory.bytes.subarray(PAGE, PAGE + 3)], [0xe6, HV.HYPERCALL_PORT, 0xc3]);
  const state = cpu(0);
  state.setI32(L.MODE, L.MODE_CODE64);
  const call = (code: bigint) => {
    state.setGpr(0, 0x1234n);
    state.setGpr(1, code);
    hypervisor.hypercall(state);
    return state.gpr(0);
  };
  assert.equal(call(0x8n), 0n, 'a long wait is noted');
  assert.equal(call(0x7777n), 2n, 'no such call');
  // 32-bit code: EDX:EAX both ways.
  state.setI32(L.MODE, L.MODE_CODE32);
  state.setGpr(0, 0x8n);
  state.setGpr(2, 0n);
  hypervisor.hypercall(state);
  assert.deepEqual([state.gpr32(0), state.gpr32(2)], [0, 0]);
  // The upper half is a number of repetitions, which this call does not have.
  state.setGpr(0, 0x8n);
  state.setGpr(2, 0xffn);
  hypervisor.hypercall(state);
  assert.deepEqual([state.gpr32(0), state.gpr32(2)], [3, 0]);
  // Locked: it stays; a guest without a name has it no more.
  write(HV.HV_X64_MSR_HYPERCALL, BigInt(PAGE) | 3n);
  write(HV.HV_X64_MSR_HYPERCALL, 0n);
  assert.equal(read(HV.HV_X64_MSR_HYPERCALL), BigInt(PAGE) | 3n);
  write(HV.HV_X64_MSR_GUEST_OS_ID, 0n);
  state.setGpr(0, 0x77n);
  hypervisor.hypercall(state);
  assert.equal(state.gpr(0), 0x77n);
});

test('programs make no calls', () => {
  const { hypervisor, cpu, write } = machine();
  write(HV.HV_X64_MSR_GUEST_OS_ID, 1n);
  write(HV.HV_X64_MSR_HYPERCALL, BigInt(PAGE) | ENABLED);
  const state = cpu(0);
  state.setI32(L.MODE, L.MODE_CODE64 | (3 << L.MODE_CPL_SHIFT));
  state.setGpr(0, 0x1234n);
  state.setGpr(1, 8n);
  hypervisor.hypercall(state);
  assert.equal(state.gpr(0), 0x1234n);
});

test('reference time by the register and by the page agree, whatever the counter does', () => {
  const { host, hypervisor, cpu, read, write, view, pageTime } = machine(2);
  host.advance(2.5);
  const time = () => defined(read(HV.HV_X64_MSR_TIME_REF_COUNT), 'time');
  assert.ok(time() >= 25_000_000n && time() < 25_010_000n);
  write(HV.HV_X64_MSR_REFERENCE_TSC, BigInt(PAGE) | ENABLED);
  const agree = (index: number) => {
    const difference = Number(defined(pageTime(index), 'page') - time());
    assert.ok(Math.abs(difference) <= 1, `${difference}`);
  };
  agree(0);
  host.advance(100_000);
  agree(0);
  agree(1);
  const sequence = view.getUint32(0, true);
  // One processor's counter moves: not comparable any more.
  cpu(1).setU64(L.TSC_OFFSET, 12345n);
  hypervisor.tscMoved(cpu(1));
  cpu(0).setU64(L.TSC_OFFSET, 12345n);
  hypervisor.tscMoved(cpu(0));
  agree(1);
  assert.notEqual(view.getUint32(0, true), sequence);
  // Counters that began at zero later than the machine's, and ones that were set to anything.
  for (const offset of [-host.tsc, 5n - host.tsc, 1n << 62n, (1n << 63n) + 12n]) {
    for (const index of [0, 1]) {
      cpu(index).setU64(L.TSC_OFFSET, BigInt.asUintN(64, offset));
      hypervisor.tscMoved(cpu(index));
    }
    agree(0);
    host.advance(7);
    agree(1);
  }
  cpu(0).setU64(L.TSC_OFFSET, 99n);
  hypervisor.tscMoved(cpu(0));
  assert.equal(pageTime(), undefined);
});

test('numbers, frequencies, and word of a crash', () => {
  const { host, read, write } = machine(2);
  assert.equal(read(HV.HV_X64_MSR_VP_INDEX, 1), 1n);
  assert.equal(read(HV.HV_X64_MSR_TSC_FREQUENCY), 2_500_000_000n);
  assert.equal(read(HV.HV_X64_MSR_APIC_FREQUENCY), 1_000_000_000n);
  for (let i = 0; i < 5; i++) {
    write(HV.HV_X64_MSR_CRASH_P0 + i, BigInt(0xa0 + i));
  }
  assert.equal(read(HV.HV_X64_MSR_CRASH_P4), 0xa4n);
  write(HV.HV_X64_MSR_CRASH_CTL, 1n << 63n);
  assert.match(host.lines[0] ?? '', /has crashed: a0, a1, a2, a3, a4/);
  // Read-only, or there is none; EOIs are only written.
  for (const msr of [HV.HV_X64_MSR_VP_INDEX, HV.HV_X64_MSR_TIME_REF_COUNT, 0x40000010, 0x400000f0, 0x400000a0]) {
    faults(() => write(msr, 1n));
  }
  for (const msr of [0x40000003, HV.HV_X64_MSR_EOI, 0x40000010, 0x400000b8, 0x400000f0]) {
    faults(() => read(msr));
  }
});

test("the local APIC's registers, and the bit by which an EOI is left out", () => {
  const { host, hypervisor, cpu, read, write } = machine(2);
  write(HV.HV_X64_MSR_ICR, 0x0200_0000_0000_40fen, 1);
  assert.deepEqual(
    [...host.apicRegisters],
    [
      ['1:49', 0x02000000],
      ['1:48', 0x40fe],
    ],
  );
  assert.equal(read(HV.HV_X64_MSR_ICR, 1), 0x0200_0000_0000_40fen);
  write(HV.HV_X64_MSR_TPR, 0x50n);
  assert.equal(read(HV.HV_X64_MSR_TPR), 0x50n);
  write(HV.HV_X64_MSR_EOI, 0n);
  assert.equal(host.apicRegisters.get('0:11'), 0);
  faults(() => write(HV.HV_X64_MSR_TPR, 0x100n));
  faults(() => write(HV.HV_X64_MSR_EOI, 1n << 32n));
  write(HV.HV_X64_MSR_VP_ASSIST_PAGE, BigInt(PAGE) | ENABLED, 1);
  assert.equal(read(HV.HV_X64_MSR_VP_ASSIST_PAGE, 1), BigInt(PAGE) | ENABLED);
  assert.deepEqual([host.eoiAssist?.place(0), host.eoiAssist?.place(1)], [undefined, PAGE]);
  const saved = hypervisor.save(0n);
  const again = machine(2);
  again.hypervisor.load(saved, 0n);
  again.hypervisor.restored(again.cpu(0));
  again.hypervisor.restored(again.cpu(1));
  assert.deepEqual([again.host.eoiAssist?.place(0), again.host.eoiAssist?.place(1)], [undefined, PAGE]);
  write(HV.HV_X64_MSR_VP_ASSIST_PAGE, 0n, 1);
  assert.equal(host.eoiAssist?.place(1), undefined);
  hypervisor.reset();
  assert.equal(read(HV.HV_X64_MSR_VP_ASSIST_PAGE, cpu(1).index), 0n);
});

test('what it holds is saved and restored, and not taken for granted', () => {
  const first = machine();
  first.write(HV.HV_X64_MSR_GUEST_OS_ID, 7n);
  first.write(HV.HV_X64_MSR_HYPERCALL, BigInt(PAGE) | 3n);
  first.write(HV.HV_X64_MSR_REFERENCE_TSC, BigInt(PAGE) | ENABLED);
  first.write(HV.HV_X64_MSR_CRASH_P0, 9n);
  first.host.advance(40);
  const saved = first.hypervisor.save(first.host.tsc);
  const second = machine();
  second.host.tsc = 3n;
  second.hypervisor.load(saved, second.host.tsc);
  second.hypervisor.tscMoved(second.cpu(0));
  for (const msr of [HV.HV_X64_MSR_GUEST_OS_ID, HV.HV_X64_MSR_HYPERCALL, HV.HV_X64_MSR_CRASH_P0]) {
    assert.equal(second.read(msr), first.read(msr));
  }
  const gone = Number(defined(second.pageTime(), 'page') - defined(first.pageTime(), 'page'));
  assert.ok(gone >= -1 && gone < 10, `${gone}`);
  const plain = new Hypervisor(second.host, { kvm: true, hyperv: false });
  assert.throws(() => plain.load(saved, 0n), { code: 'bad-state' });
  assert.throws(() => second.hypervisor.load(plain.save(0n), 0n), { code: 'bad-state' });
  // Saved before there were synthetic interrupts: they are as after a reset.
  const { hyperv, ...rest } = saved as { hyperv: Record<string, StateValue> };
  const { synic, timers, assistPages, ...before } = hyperv;
  second.write(HV_X64_MSR_SIMP, 0x7001n);
  second.hypervisor.load({ ...rest, hyperv: before }, 0n);
  assert.equal(second.read(HV_X64_MSR_SIMP), 0n);
  assert.equal(second.read(HV.HV_X64_MSR_CRASH_P0), 9n);
  for (const some of [{ synic }, { timers, assistPages }, { synic, timers, assistPages: [] }]) {
    const load = () => second.hypervisor.load({ ...rest, hyperv: { ...before, ...some } as StateValue }, 0n);
    assert.throws(load, { code: 'bad-state' });
  }
  second.hypervisor.reset();
  assert.equal(second.read(HV.HV_X64_MSR_REFERENCE_TSC), 0n);
  assert.equal(second.write(MSR_KVM_SYSTEM_TIME_NEW, 0n), true);
});

test('registers written with anything fault or hold it, and nothing else happens', () => {
  const random = new Random(3);
  const { host, hypervisor, cpu, read, write } = machine(2);
  const value = () => (BigInt(random.u32()) << BigInt(random.below(33))) | BigInt(random.below(0x20000));
  for (let i = 0; i < 4000; i++) {
    const msr = 0x40000000 + random.below(0x110);
    const index = random.below(2);
    const before = hypervisor.save(host.tsc);
    try {
      write(msr, value(), index);
    } catch (error) {
      assert.ok(error instanceof GuestFault && error.vector === L.VECTOR_GP);
      assert.deepEqual(hypervisor.save(host.tsc), before);
    }
    try {
      assert.ok(typeof read(msr, index) === 'bigint' || msr > HV.HV_X64_MSR_CRASH_CTL);
    } catch (error) {
      assert.ok(error instanceof GuestFault && error.vector === L.VECTOR_GP);
    }
    hypervisor.hypercall(cpu(index));
    host.advance(random.below(1000) / 1e6);
    if (random.chance(1, 50)) {
      const saved = hypervisor.save(host.tsc);
      hypervisor.load(saved, host.tsc);
      assert.deepEqual(hypervisor.save(host.tsc), saved);
    }
    host.lines.length = 0;
  }
  hypervisor.reset();
  assert.equal(host.clock.pendingCount, 0);
});
