import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import {
  faultOf,
  GATE,
  GDT,
  KERNEL_CODE,
  KERNEL_DATA,
  LDT_SELECTOR,
  SECOND_TSS,
  STACKS,
  TestCpu,
  TSS,
  TSS_SELECTOR,
  TSS2,
  USER_CODE,
  USER_DATA,
} from './testing/fake-machine.ts';

const REGISTERS = [0xa0, 0xa1, 0xa2, 0xa3, 0x11000, 0xa5, 0xa6, 0xa7];

/** A second task at level 0 in a 32-bit TSS. */
function withSecondTask(cpu: TestCpu): TestCpu {
  cpu.descriptor(SECOND_TSS, TSS2, 0x67, 0x89, 0);
  cpu.write32(TSS2 + 28, 0x123000);
  cpu.write32(TSS2 + 32, 0x4321);
  cpu.write32(TSS2 + 36, 0x202);
  REGISTERS.forEach((value, i) => {
    cpu.write32(TSS2 + 40 + i * 4, value);
  });
  [KERNEL_DATA, KERNEL_CODE, KERNEL_DATA, KERNEL_DATA, 0, KERNEL_DATA, 0].forEach((selector, i) => {
    cpu.write32(TSS2 + 72 + i * 4, selector);
  });
  return cpu;
}

function busy(cpu: TestCpu, selector: number): boolean {
  return (cpu.read32(GDT + selector + 4) & 0x200) !== 0;
}

test('JMP to a TSS saves the old task, loads the new one and moves the busy bit', () => {
  const cpu = withSecondTask(new TestCpu().protect());
  const { state, system } = cpu;
  state.setGpr(0, 0x12345678n);
  state.flags = L.FLAG_IF | L.FLAG_CF;
  state.rip = 0x8007n;
  assert.equal(busy(cpu, TSS_SELECTOR), true);
  system.farJump(SECOND_TSS, 0n, 4);
  assert.equal(busy(cpu, TSS_SELECTOR), false);
  assert.equal(busy(cpu, SECOND_TSS), true);
  assert.equal(state.tr.selector, SECOND_TSS);
  assert.equal(state.rip, 0x4321n);
  assert.equal(state.flags, 0x202);
  assert.deepEqual(
    REGISTERS.map((_, i) => state.gpr32(i)),
    REGISTERS,
  );
  assert.equal(state.fs.unusable, true);
  assert.equal(state.gs.selector, KERNEL_DATA);
  assert.equal(state.cr0 & L.CR0_TS, L.CR0_TS);
  assert.equal(state.mode & L.MODE_FPU_TRAP, L.MODE_FPU_TRAP);
  // Without paging CR3 stays.
  assert.equal(state.cr3, 0n);
  assert.equal(cpu.read32(TSS + 32), 0x8007);
  assert.equal(cpu.read32(TSS + 36), 0x203);
  assert.equal(cpu.read32(TSS + 40), 0x12345678);
  assert.equal(cpu.read32(TSS + 56), STACKS[0]);
  assert.equal(cpu.read16(TSS + 76), KERNEL_CODE);
  // Back again: everything is as it was.
  system.farJump(TSS_SELECTOR, 0n, 4);
  assert.equal(state.rip, 0x8007n);
  assert.equal(state.gpr(0), 0x12345678n);
  assert.equal(state.flags, 0x203);
});

test('CALL nests, IRET with NT returns', () => {
  const cpu = withSecondTask(new TestCpu().protect());
  const { state, system } = cpu;
  cpu.callGate(GATE, SECOND_TSS, 0n, 0x85);
  state.rip = 0x8007n;
  system.farCall(GATE, 0n, 4);
  assert.equal(state.rip, 0x4321n);
  assert.equal(state.flags, 0x202 | L.FLAG_NT);
  assert.equal(cpu.read16(TSS2), TSS_SELECTOR);
  assert.equal(busy(cpu, TSS_SELECTOR), true);
  // A busy task cannot be entered again.
  assert.deepEqual(
    faultOf(() => system.farCall(TSS_SELECTOR, 0n, 4)),
    [L.VECTOR_GP, TSS_SELECTOR],
  );
  state.rip = 0x5000n;
  system.iret(4);
  assert.equal(state.rip, 0x8007n);
  assert.equal(state.tr.selector, TSS_SELECTOR);
  assert.equal(busy(cpu, SECOND_TSS), false);
  assert.equal(busy(cpu, TSS_SELECTOR), true);
  assert.equal(cpu.read32(TSS2 + 36), 0x202);
  assert.equal(cpu.read32(TSS2 + 32), 0x5000);
});

test('an exception through a task gate leaves its error code on the new stack', () => {
  const cpu = withSecondTask(new TestCpu().protect());
  const { state, system } = cpu;
  cpu.idtGate(L.VECTOR_DF, SECOND_TSS, 0, 0x85);
  state.rip = 0x8000n;
  system.deliverFault(new GuestFault(L.VECTOR_DF, 0));
  assert.equal(state.rip, 0x4321n);
  assert.equal(state.gpr32(4), 0x11000 - 4);
  assert.equal(cpu.read32(0x11000 - 4), 0);
  assert.equal(cpu.read32(TSS + 32), 0x8000);
  assert.equal(cpu.read32(TSS + 36) & L.FLAG_RF, L.FLAG_RF);
});

test('a task at level 3, with paging and a trap bit', () => {
  const cpu = withSecondTask(new TestCpu().protect());
  const { state, system } = cpu;
  cpu.write32(TSS2 + 72, USER_DATA);
  cpu.write32(TSS2 + 76, USER_CODE);
  cpu.write32(TSS2 + 80, USER_DATA);
  cpu.write32(TSS2 + 84, USER_DATA);
  cpu.write32(TSS2 + 92, 0);
  cpu.write32(TSS2 + 96, LDT_SELECTOR);
  cpu.write16(TSS2 + 100, 1);
  system.writeControl(0, 0x80000011n);
  system.writeDebug(7, 0x402n | 0x1n);
  cpu.environment.flushes.length = 0;
  system.farJump(SECOND_TSS, 0n, 4);
  assert.equal(state.cpl, 3);
  assert.equal(state.cr3, 0x123000n);
  assert.deepEqual(cpu.environment.flushes, [false]);
  assert.equal(state.ldtr.selector, LDT_SELECTOR);
  assert.equal(state.ldtr.limit, 0xff);
  assert.equal(state.i32(L.TRAP_PENDING), 1);
  assert.equal(state.u32(L.DR6) & 0x8000, 0x8000);
  // Local breakpoints belong to the old task.
  assert.equal(state.u32(L.DR7), 0x402);
});

test('a virtual-8086 task', () => {
  const cpu = withSecondTask(new TestCpu().protect());
  cpu.write32(TSS2 + 36, 0x20202);
  cpu.write32(TSS2 + 76, 0x1234);
  cpu.system.farJump(SECOND_TSS, 0n, 4);
  assert.equal(cpu.state.mode & L.MODE_VM86, L.MODE_VM86);
  assert.equal(cpu.state.cs.base, 0x12340n);
});

test('a 16-bit TSS', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  cpu.descriptor(SECOND_TSS, TSS2, 0x2b, 0x81, 0);
  cpu.write16(TSS2 + 14, 0x4321);
  cpu.write16(TSS2 + 16, 0x202);
  for (let i = 0; i < 8; i++) {
    cpu.write16(TSS2 + 18 + i * 2, 0xb0 + i);
  }
  [KERNEL_DATA, KERNEL_CODE, KERNEL_DATA, KERNEL_DATA, 0].forEach((selector, i) => {
    cpu.write16(TSS2 + 34 + i * 2, selector);
  });
  system.farJump(SECOND_TSS, 0n, 4);
  assert.equal(state.rip, 0x4321n);
  assert.equal(state.gpr32(7), 0xb7);
  assert.equal(state.gs.unusable, true);
  state.rip = 0x5678n;
  state.setGpr(1, 0xc1n);
  system.farJump(TSS_SELECTOR, 0n, 4);
  assert.equal(cpu.read16(TSS2 + 14), 0x5678);
  assert.equal(cpu.read16(TSS2 + 20), 0xc1);
  assert.equal(cpu.read16(TSS2 + 36), KERNEL_CODE);
});

test('checks before the switch change nothing', () => {
  const cpu = withSecondTask(new TestCpu().protect());
  const { state, system } = cpu;
  cpu.descriptor(SECOND_TSS, TSS2, 0x66, 0x89, 0);
  assert.deepEqual(
    faultOf(() => system.farJump(SECOND_TSS, 0n, 4)),
    [L.VECTOR_TS, SECOND_TSS],
  );
  cpu.descriptor(SECOND_TSS, TSS2, 0x67, 0x09, 0);
  assert.deepEqual(
    faultOf(() => system.farJump(SECOND_TSS, 0n, 4)),
    [L.VECTOR_NP, SECOND_TSS],
  );
  cpu.descriptor(SECOND_TSS, TSS2, 0x67, 0x89, 0);
  cpu.memory.missing.add(TSS2);
  assert.equal(faultOf(() => system.farJump(SECOND_TSS, 0n, 4))[0], L.VECTOR_PF);
  state.flags = L.FLAG_NT;
  cpu.write16(TSS, KERNEL_DATA);
  assert.deepEqual(
    faultOf(() => system.iret(4)),
    [L.VECTOR_TS, KERNEL_DATA],
  );
  assert.equal(state.tr.selector, TSS_SELECTOR);
  assert.equal(busy(cpu, TSS_SELECTOR), true);
});

test('faults of the new task are delivered in the new task', () => {
  const cpu = withSecondTask(new TestCpu().protect());
  const { state, system } = cpu;
  cpu.idtGate(L.VECTOR_TS, KERNEL_CODE, 0x7000, 0x8e);
  cpu.write32(TSS2 + 84, KERNEL_CODE - 8 + 0x1000);
  system.farJump(SECOND_TSS, 0n, 4);
  assert.equal(state.tr.selector, SECOND_TSS);
  assert.equal(state.rip, 0x7000n);
  const sp = state.gpr32(4);
  assert.equal(cpu.read32(sp), 0x1000);
  assert.equal(cpu.read32(sp + 4), 0x4321);
});
