import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as L from '../layout.ts';
import {
  ACCESS_CODE,
  ACCESS_DATA,
  CODE16,
  CONFORMING_CODE,
  DATA16,
  faultOf,
  GATE,
  GDT,
  KERNEL_CODE,
  KERNEL_DATA,
  SPARE,
  STACKS,
  TestCpu,
  TSS,
  USER_CODE,
  USER_CODE64,
  USER_DATA,
} from './testing/fake-machine.ts';

function words(cpu: TestCpu, count: number): number[] {
  const sp = cpu.state.gpr32(4);
  return Array.from({ length: count }, (_, i) => cpu.read16(sp + i * 2));
}

function dwords(cpu: TestCpu, count: number): number[] {
  const sp = cpu.state.gpr32(4);
  return Array.from({ length: count }, (_, i) => cpu.read32(sp + i * 4));
}

function qwords(cpu: TestCpu, count: number): bigint[] {
  const sp = Number(cpu.state.gpr(4));
  return Array.from({ length: count }, (_, i) => cpu.read64(sp + i * 8));
}

test('real mode: far call and return', () => {
  const cpu = new TestCpu();
  const { state, system } = cpu;
  state.setGpr(4, 0x1000n);
  state.rip = 0x123n;
  system.farCall(0x200, 0x12340010n, 2);
  assert.equal(state.cs.base, 0x2000n);
  assert.equal(state.rip, 0x10n);
  assert.deepEqual(words(cpu, 2), [0x123, 0xf000]);
  system.farReturn(2, 6);
  assert.equal(state.cs.selector, 0xf000);
  assert.equal(state.rip, 0x123n);
  assert.equal(state.gpr(4), 0x1006n);
  assert.deepEqual(
    faultOf(() => system.farJump(0x200, 0x10000n, 4)),
    [L.VECTOR_GP, 0],
  );
});

test('real mode keeps the limits that protected mode has set', () => {
  const cpu = new TestCpu().protect();
  cpu.system.writeControl(0, 0x10n);
  cpu.system.loadSegment(L.SEG_DS, 0x1234);
  assert.equal(cpu.state.ds.base, 0x12340n);
  assert.equal(cpu.state.ds.limit, 0xffffffff);
  assert.equal(cpu.state.mode & (L.MODE_PROTECTED | L.MODE_CPL_MASK), 0);
  assert.equal(cpu.state.mode & L.MODE_IOPL_OK, L.MODE_IOPL_OK);
});

test('far jumps: privilege, type, presence and limit', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  assert.deepEqual(
    faultOf(() => system.farJump(0, 0n, 4)),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => system.farJump(0x1000, 0n, 4)),
    [L.VECTOR_GP, 0x1000],
  );
  assert.deepEqual(
    faultOf(() => system.farJump(KERNEL_DATA, 0n, 4)),
    [L.VECTOR_GP, KERNEL_DATA],
  );
  assert.deepEqual(
    faultOf(() => system.farJump(USER_CODE, 0n, 4)),
    [L.VECTOR_GP, USER_CODE & ~3],
  );
  assert.deepEqual(
    faultOf(() => system.farJump(CODE16, 0x10000n, 4)),
    [L.VECTOR_GP, 0],
  );
  cpu.descriptor(SPARE, 0, 0xfffff, ACCESS_CODE & 0x7f, 0xc);
  assert.deepEqual(
    faultOf(() => system.farJump(SPARE, 0n, 4)),
    [L.VECTOR_NP, SPARE],
  );
  assert.equal(state.cs.selector, KERNEL_CODE);
  system.farJump(CODE16, 0x1234n, 4);
  assert.equal(state.cs.selector, CODE16);
  assert.equal(state.mode & L.MODE_CODE_MASK, L.MODE_CODE16);
  // The accessed bit is set in the table.
  assert.equal(cpu.read32(GDT + CODE16 + 4) & 0x100, 0x100);
});

test('a conforming segment runs at the level of its caller', () => {
  const cpu = new TestCpu().protect().user();
  cpu.system.farCall(CONFORMING_CODE, 0x1000n, 4);
  assert.equal(cpu.state.cs.selector, CONFORMING_CODE | 3);
  assert.equal(cpu.state.cpl, 3);
  cpu.system.farReturn(4, 0);
  assert.equal(cpu.state.cs.selector, USER_CODE);
});

test('a call gate to an inner level copies parameters; RETF returns and drops both copies', () => {
  const cpu = new TestCpu().protect().user();
  const { state, system } = cpu;
  cpu.callGate(GATE, KERNEL_CODE, 0x12345678n, 0xec, 2);
  state.setGpr(4, BigInt(STACKS[3] - 8));
  cpu.write32(STACKS[3] - 8, 0x11111111);
  cpu.write32(STACKS[3] - 4, 0x22222222);
  state.rip = 0x9007n;
  system.farCall(GATE | 3, 0xffffffffn, 4);
  assert.equal(state.cpl, 0);
  assert.equal(state.rip, 0x12345678n);
  assert.equal(state.ss.selector, KERNEL_DATA);
  assert.equal(state.gpr32(4), STACKS[0] - 24);
  assert.deepEqual(dwords(cpu, 6), [0x9007, USER_CODE, 0x11111111, 0x22222222, STACKS[3] - 8, USER_DATA]);
  system.loadSegment(L.SEG_ES, KERNEL_DATA);
  system.farReturn(4, 8);
  assert.equal(state.cpl, 3);
  assert.equal(state.rip, 0x9007n);
  assert.equal(state.gpr32(4), STACKS[3]);
  assert.equal(state.ss.selector, USER_DATA);
  assert.equal(state.es.unusable, true);
  assert.equal(state.ds.selector, USER_DATA);
});

test('a 16-bit call gate pushes words and takes 16 bits of its offset', () => {
  const cpu = new TestCpu().protect().user();
  cpu.callGate(GATE, KERNEL_CODE, 0x12345678n, 0xe4, 1);
  cpu.write16(STACKS[3], 0x4444);
  cpu.system.farCall(GATE | 3, 0n, 4);
  assert.equal(cpu.state.rip, 0x5678n);
  assert.equal(cpu.state.gpr32(4), STACKS[0] - 10);
  assert.deepEqual(words(cpu, 5), [0x9000, USER_CODE, 0x4444, STACKS[3] & 0xffff, USER_DATA]);
});

test('call gates: checks and error codes', () => {
  const cpu = new TestCpu().protect().user();
  const { state, system } = cpu;
  cpu.callGate(GATE, KERNEL_CODE, 0x1000n, 0x8c);
  assert.deepEqual(
    faultOf(() => system.farCall(GATE | 3, 0n, 4)),
    [L.VECTOR_GP, GATE],
  );
  cpu.callGate(GATE, KERNEL_CODE, 0x1000n, 0x6c);
  assert.deepEqual(
    faultOf(() => system.farCall(GATE | 3, 0n, 4)),
    [L.VECTOR_NP, GATE],
  );
  cpu.callGate(GATE, KERNEL_DATA, 0x1000n, 0xec);
  assert.deepEqual(
    faultOf(() => system.farCall(GATE | 3, 0n, 4)),
    [L.VECTOR_GP, KERNEL_DATA],
  );
  cpu.callGate(GATE, 0, 0x1000n, 0xec);
  assert.deepEqual(
    faultOf(() => system.farCall(GATE | 3, 0n, 4)),
    [L.VECTOR_GP, 0],
  );
  cpu.callGate(GATE, KERNEL_CODE, 0x1000n, 0xec);
  // Jumps do not change the level.
  assert.deepEqual(
    faultOf(() => system.farJump(GATE | 3, 0n, 4)),
    [L.VECTOR_GP, KERNEL_CODE],
  );
  cpu.write16(TSS + 8, KERNEL_CODE);
  assert.deepEqual(
    faultOf(() => system.farCall(GATE | 3, 0n, 4)),
    [L.VECTOR_TS, KERNEL_CODE],
  );
  cpu.descriptor(SPARE, 0, 0xfffff, ACCESS_DATA & 0x7f, 0xc);
  cpu.write16(TSS + 8, SPARE);
  assert.deepEqual(
    faultOf(() => system.farCall(GATE | 3, 0n, 4)),
    [L.VECTOR_SS, SPARE],
  );
  // A stack segment with room for less than the frame.
  cpu.descriptor(SPARE, 0, 0xff, ACCESS_DATA, 0x4);
  assert.deepEqual(
    faultOf(() => system.farCall(GATE | 3, 0n, 4)),
    [L.VECTOR_SS, SPARE],
  );
  assert.equal(state.cpl, 3);
  assert.equal(state.gpr32(4), STACKS[3]);
});

test('far returns: no way inwards, stack checks on the way out', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  const sp = STACKS[0] - 0x100;
  state.setGpr(4, BigInt(sp));
  cpu.write32(sp, 0x1000);
  cpu.write32(sp + 4, USER_CODE);
  cpu.write32(sp + 8, STACKS[3]);
  cpu.write32(sp + 12, 0);
  assert.deepEqual(
    faultOf(() => system.farReturn(4, 0)),
    [L.VECTOR_GP, 0],
  );
  cpu.write32(sp + 12, KERNEL_DATA);
  assert.deepEqual(
    faultOf(() => system.farReturn(4, 0)),
    [L.VECTOR_GP, KERNEL_DATA],
  );
  cpu.write32(sp + 4, USER_CODE & ~3);
  assert.deepEqual(
    faultOf(() => system.farReturn(4, 0)),
    [L.VECTOR_GP, USER_CODE & ~3],
  );
  assert.equal(state.gpr32(4), sp);
  const user = new TestCpu().protect().user();
  user.write32(STACKS[3], 0x1000);
  user.write32(STACKS[3] + 4, KERNEL_CODE);
  assert.deepEqual(
    faultOf(() => user.system.farReturn(4, 0)),
    [L.VECTOR_GP, KERNEL_CODE],
  );
});

test('a 16-bit stack changes SP only', () => {
  const cpu = new TestCpu().protect();
  cpu.system.loadSegment(L.SEG_SS, DATA16);
  assert.equal(cpu.state.mode & L.MODE_STACK_MASK, L.MODE_STACK16);
  cpu.state.setGpr(4, 0xabcd0000n);
  cpu.system.farCall(CODE16, 0x10n, 4);
  assert.equal(cpu.state.gpr(4), 0xabcdfff8n);
  assert.equal(cpu.read32(0xfffc), KERNEL_CODE);
});

test('long mode: call gates push 64-bit values on the stack of the TSS', () => {
  const cpu = new TestCpu().long().longUser();
  const { state, system } = cpu;
  cpu.callGate(GATE, KERNEL_CODE, 0xffff_8000_0000_1234n, 0xec);
  cpu.write64(GDT + GATE + 8, 0xffff_8000n);
  state.rip = 0x9003n;
  system.farCall(GATE | 3, 0n, 8);
  assert.equal(state.cpl, 0);
  assert.equal(state.rip, 0xffff_8000_0000_1234n);
  assert.equal(state.ss.selector, 0);
  assert.deepEqual(qwords(cpu, 4), [0x9003n, BigInt(USER_CODE64), BigInt(STACKS[3]), BigInt(USER_DATA)]);
  system.farReturn(8, 0);
  assert.equal(state.cpl, 3);
  assert.equal(state.rip, 0x9003n);
  assert.equal(state.gpr(4), BigInt(STACKS[3]));
  // The type field of the gate's second half must be 0.
  cpu.write64(GDT + GATE + 8, 0x0000_1f00_ffff_8000n);
  assert.deepEqual(
    faultOf(() => system.farCall(GATE | 3, 0n, 8)),
    [L.VECTOR_GP, GATE],
  );
  // Only 64-bit code stands behind gates, and TSSs and task gates mean nothing.
  cpu.callGate(GATE, USER_CODE, 0x1000n, 0xec);
  cpu.write64(GDT + GATE + 8, 0n);
  assert.deepEqual(
    faultOf(() => system.farCall(GATE | 3, 0n, 8)),
    [L.VECTOR_GP, USER_CODE & ~3],
  );
  cpu.callGate(GATE, USER_CODE, 0x1000n, 0xe5);
  assert.deepEqual(
    faultOf(() => system.farCall(GATE | 3, 0n, 8)),
    [L.VECTOR_GP, GATE],
  );
});

test('long mode: between 64-bit and compatibility code', () => {
  const cpu = new TestCpu().long();
  const { state, system } = cpu;
  cpu.descriptor(SPARE, 0, 0xfffff, ACCESS_CODE, 0xc);
  state.rip = 0x8005n;
  system.farCall(SPARE, 0x1000n, 4);
  assert.equal(state.mode & L.MODE_CODE_MASK, L.MODE_CODE32);
  assert.equal(state.mode & L.MODE_LONG, L.MODE_LONG);
  assert.deepEqual(dwords(cpu, 2), [0x8005, KERNEL_CODE]);
  system.farReturn(4, 0);
  assert.equal(state.mode & L.MODE_CODE_MASK, L.MODE_CODE64);
  assert.equal(state.gpr(4), BigInt(STACKS[0]));
  cpu.write64(STACKS[0], 0x8000_0000_0000n);
  cpu.write64(STACKS[0] + 8, BigInt(KERNEL_CODE));
  assert.deepEqual(
    faultOf(() => system.farReturn(8, 0)),
    [L.VECTOR_GP, 0],
  );
  // L and D together are reserved.
  cpu.descriptor(SPARE, 0, 0xfffff, ACCESS_CODE, 0xe);
  assert.deepEqual(
    faultOf(() => system.farJump(SPARE, 0n, 8)),
    [L.VECTOR_GP, SPARE],
  );
});
