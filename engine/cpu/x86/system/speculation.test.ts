import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import type { FeatureRegister } from './cpuid.ts';
import { IA32_ARCH_CAPABILITIES, IA32_FLUSH_CMD, IA32_PRED_CMD, IA32_SPEC_CTRL } from './msr.ts';
import { TestCpu } from './testing/fake-machine.ts';

const EVERYTHING = [
  '1.ecx',
  '1.edx',
  '6.eax',
  '7.ebx',
  '7.ecx',
  '7.edx',
  '7.2.edx',
  '13.1.eax',
  '80000001.ecx',
  '80000001.edx',
  '80000007.edx',
] as const satisfies readonly FeatureRegister[];

/** A processor whose machine another kind of processor runs too, which has these bits. */
function passingOn(bits: Partial<Record<FeatureRegister, number>>): TestCpu {
  const cpu = new TestCpu().long();
  cpu.system.limitFeatures(new Map(EVERYTHING.map((register) => [register, bits[register] ?? 0])));
  return cpu;
}

function faults(action: () => unknown): void {
  assert.throws(
    action,
    (error) => error instanceof GuestFault && error.vector === L.VECTOR_GP && error.errorCode === 0,
  );
}

test('a processor that stands alone has no speculation controls', () => {
  const { system, state } = new TestCpu().long();
  system.cpuid(7, 0);
  assert.equal(state.gpr32(0), 0, 'no further subleaf');
  assert.equal(state.gpr32(2) & ((1 << 10) | (1 << 26) | (1 << 27) | (1 << 28) | (1 << 31)), 0);
  system.cpuid(7, 2);
  assert.equal(state.gpr32(2), 0);
  for (const msr of [IA32_SPEC_CTRL, IA32_PRED_CMD, IA32_FLUSH_CMD]) {
    faults(() => system.readMsr(msr));
    faults(() => system.writeMsr(msr, 1n));
  }
});

test('controls of another processor are announced and kept, and only those', () => {
  const { system, state } = passingOn({ '7.edx': (1 << 26) | (1 << 31), '7.2.edx': 1 << 4 });
  system.cpuid(7, 0);
  assert.equal(state.gpr32(0), 2);
  assert.equal(state.gpr32(2) >>> 0, ((1 << 26) | (1 << 31)) >>> 0);
  system.cpuid(7, 2);
  assert.equal(state.gpr32(2), 1 << 4);
  system.writeMsr(IA32_SPEC_CTRL, 0x405n);
  assert.equal(system.readMsr(IA32_SPEC_CTRL), 0x405n);
  // STIBP, and bits that do not exist.
  for (const value of [2n, 8n, 1n << 63n]) {
    faults(() => system.writeMsr(IA32_SPEC_CTRL, value));
  }
  assert.equal(system.readMsr(IA32_SPEC_CTRL), 0x405n);
  system.writeMsr(IA32_PRED_CMD, 1n);
  faults(() => system.writeMsr(IA32_PRED_CMD, 2n));
  faults(() => system.readMsr(IA32_PRED_CMD));
  faults(() => system.writeMsr(IA32_FLUSH_CMD, 1n));
  system.reset('power-on');
  assert.equal(system.readMsr(IA32_SPEC_CTRL), 0n);
});

test('what is said of weaknesses is what the other processor says', () => {
  const { system } = passingOn({ '7.edx': 1 << 29 });
  const own = system.readMsr(IA32_ARCH_CAPABILITIES);
  assert.equal(own & 1n, 1n, 'not open to Meltdown');
  system.setArchCapabilities(0x20n);
  assert.equal(system.readMsr(IA32_ARCH_CAPABILITIES), 0x20n);
});
