import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import {
  CONFORMING_CODE,
  faultOf,
  GDT,
  IDT,
  KERNEL_CODE,
  KERNEL_DATA,
  LEVEL1_CODE,
  STACKS,
  TestCpu,
  TSS,
  TSS_SELECTOR,
  USER_CODE,
  USER_CODE64,
  USER_DATA,
} from './testing/fake-machine.ts';

/** The 32-bit words from ESP upwards. */
function frame32(cpu: TestCpu, count: number): number[] {
  const sp = cpu.state.gpr32(4);
  return Array.from({ length: count }, (_, i) => cpu.read32(sp + i * 4));
}

function frame64(cpu: TestCpu, count: number): bigint[] {
  const sp = Number(cpu.state.gpr(4));
  return Array.from({ length: count }, (_, i) => cpu.read64(sp + i * 8));
}

test('real mode: INT pushes FLAGS, CS and IP and follows the vector table', () => {
  const cpu = new TestCpu();
  const { state, system } = cpu;
  system.farJump(0x100, 0x234n, 2);
  system.loadSegment(L.SEG_SS, 0x200);
  state.setGpr(4, 0x100n);
  state.flags = L.FLAG_IF | L.FLAG_TF | L.FLAG_CF;
  cpu.write32(0x21 * 4, 0x12345678);
  system.softwareInterrupt(0x21);
  assert.equal(state.cs.selector, 0x1234);
  assert.equal(state.cs.base, 0x12340n);
  assert.equal(state.rip, 0x5678n);
  assert.equal(state.gpr(4), 0xfan);
  assert.deepEqual(
    [0, 2, 4].map((i) => cpu.read16(0x20fa + i)),
    [0x234, 0x100, 0x303],
  );
  assert.equal(state.flags, L.FLAG_CF | 2);
  system.iret(2);
  assert.equal(state.cs.selector, 0x100);
  assert.equal(state.rip, 0x234n);
  assert.equal(state.gpr(4), 0x100n);
  assert.equal(state.flags, 0x303);
});

test('real mode: a vector beyond IDTR.limit is #GP, and without a table the processor shuts down', () => {
  const cpu = new TestCpu();
  cpu.state.setU32(L.IDTR + 8, 0x3f);
  assert.deepEqual(
    faultOf(() => cpu.system.softwareInterrupt(0x10)),
    [L.VECTOR_GP, 0x82],
  );
  cpu.state.setU32(L.IDTR + 8, 0);
  cpu.system.acceptInterrupt(8);
  assert.equal(cpu.state.i32(L.ACTIVITY), L.ACTIVITY_SHUTDOWN);
});

test('real mode: a stack pointer of 1 cannot take a frame', () => {
  const cpu = new TestCpu();
  cpu.state.setGpr(4, 1n);
  assert.deepEqual(
    faultOf(() => cpu.system.softwareInterrupt(0x10)),
    [L.VECTOR_SS, 0],
  );
  assert.equal(cpu.state.gpr(4), 1n);
});

test('protected mode, same level: interrupt and trap gates, error code, flags', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  cpu.idtGate(0x30, KERNEL_CODE, 0xaabbccdd, 0x8e);
  cpu.idtGate(L.VECTOR_GP, KERNEL_CODE, 0x5000, 0x8f);
  state.flags = L.FLAG_IF | L.FLAG_TF | L.FLAG_ZF | L.FLAG_NT;
  state.rip = 0x8123n;
  system.acceptInterrupt(0x30);
  assert.equal(state.rip, 0xaabbccddn);
  assert.deepEqual(frame32(cpu, 3), [0x8123, KERNEL_CODE, 0x4342]);
  assert.equal(state.flags, L.FLAG_ZF | 2);
  assert.equal(state.gpr32(4), STACKS[0] - 12);

  state.flags = L.FLAG_IF;
  system.deliverFault(new GuestFault(L.VECTOR_GP, 0x1234));
  assert.equal(state.rip, 0x5000n);
  // A trap gate leaves IF; a fault's frame has RF.
  assert.deepEqual(frame32(cpu, 4), [0x1234, 0xaabbccdd, KERNEL_CODE, 0x10202]);
  assert.equal(state.flags, L.FLAG_IF | 2);
});

test('protected mode: a 16-bit gate pushes words', () => {
  const cpu = new TestCpu().protect();
  cpu.idtGate(0x30, KERNEL_CODE, 0x12345678, 0x86);
  cpu.state.flags = L.FLAG_IF;
  cpu.system.acceptInterrupt(0x30);
  assert.equal(cpu.state.rip, 0x5678n);
  const sp = cpu.state.gpr32(4);
  assert.equal(sp, STACKS[0] - 6);
  assert.deepEqual(
    [0, 2, 4].map((i) => cpu.read16(sp + i)),
    [0x8000, KERNEL_CODE, 0x202],
  );
});

test('protected mode, inner level: the stack comes from the TSS, IRET returns', () => {
  const cpu = new TestCpu().protect().user();
  const { state, system } = cpu;
  assert.equal(state.cpl, 3);
  assert.equal(state.rip, 0x9000n);
  assert.equal(state.gpr32(4), STACKS[3]);
  cpu.idtGate(0x80, KERNEL_CODE, 0x7000, 0xee);
  state.rip = 0x9002n;
  system.softwareInterrupt(0x80);
  assert.equal(state.cpl, 0);
  assert.equal(state.ss.selector, KERNEL_DATA);
  assert.equal(state.gpr32(4), STACKS[0] - 20);
  assert.deepEqual(frame32(cpu, 5), [0x9002, USER_CODE, 0x202, STACKS[3], USER_DATA]);
  assert.equal(state.flags, 2);
  // A kernel's data segment does not leak to the outer level.
  system.loadSegment(L.SEG_FS, KERNEL_DATA);
  system.iret(4);
  assert.equal(state.cpl, 3);
  assert.equal(state.rip, 0x9002n);
  assert.equal(state.flags, 0x202);
  assert.equal(state.fs.unusable, true);
  assert.equal(state.ds.selector, USER_DATA);
  assert.equal(state.ds.unusable, false);
});

test('protected mode: gate checks and their error codes', () => {
  const cpu = new TestCpu().protect().user();
  const { state, system } = cpu;
  cpu.idtGate(0x30, KERNEL_CODE, 0x7000, 0x8e);
  const before = state.gpr32(4);
  // The gate's privilege guards INT n only.
  assert.deepEqual(
    faultOf(() => system.softwareInterrupt(0x30)),
    [L.VECTOR_GP, 0x30 * 8 + 2],
  );
  cpu.idtGate(0x31, KERNEL_CODE, 0x7000, 0x6e);
  assert.deepEqual(
    faultOf(() => system.softwareInterrupt(0x31)),
    [L.VECTOR_NP, 0x31 * 8 + 2],
  );
  assert.deepEqual(
    faultOf(() => system.deliver(0x31, 'external')),
    [L.VECTOR_NP, 0x31 * 8 + 3],
  );
  cpu.idtGate(0x32, KERNEL_CODE, 0x7000, 0x8c);
  assert.deepEqual(
    faultOf(() => system.deliver(0x32, 'external')),
    [L.VECTOR_GP, 0x32 * 8 + 3],
  );
  cpu.idtGate(0x33, KERNEL_DATA, 0x7000, 0xee);
  assert.deepEqual(
    faultOf(() => system.softwareInterrupt(0x33)),
    [L.VECTOR_GP, KERNEL_DATA],
  );
  cpu.idtGate(0x34, 0, 0x7000, 0xee);
  assert.deepEqual(
    faultOf(() => system.deliver(0x34, 'external')),
    [L.VECTOR_GP, 1],
  );
  state.setU32(L.IDTR + 8, 0x34 * 8 + 6);
  assert.deepEqual(
    faultOf(() => system.softwareInterrupt(0x34)),
    [L.VECTOR_GP, 0x34 * 8 + 2],
  );
  cpu.write16(TSS + 8, USER_DATA);
  assert.deepEqual(
    faultOf(() => system.deliver(0x30, 'external')),
    [L.VECTOR_TS, (USER_DATA & ~3) | 1],
  );
  cpu.write16(TSS + 8, 0);
  assert.deepEqual(
    faultOf(() => system.deliver(0x30, 'external')),
    [L.VECTOR_TS, 1],
  );
  state.tr.limit = 5;
  assert.deepEqual(
    faultOf(() => system.deliver(0x30, 'external')),
    [L.VECTOR_TS, TSS_SELECTOR | 1],
  );
  assert.equal(state.gpr32(4), before);
  assert.equal(state.cpl, 3);
});

test('protected mode: a conforming handler keeps the level and the stack', () => {
  const cpu = new TestCpu().protect().user();
  cpu.idtGate(0x80, CONFORMING_CODE, 0x7000, 0xee);
  cpu.system.softwareInterrupt(0x80);
  assert.equal(cpu.state.cpl, 3);
  assert.equal(cpu.state.cs.selector, CONFORMING_CODE | 3);
  assert.equal(cpu.state.gpr32(4), STACKS[3] - 12);
});

test('protected mode: a handler at level 1', () => {
  const cpu = new TestCpu().protect().user();
  cpu.idtGate(0x80, LEVEL1_CODE, 0x7000, 0xee);
  cpu.system.softwareInterrupt(0x80);
  assert.equal(cpu.state.cpl, 1);
  assert.equal(cpu.state.gpr32(4), STACKS[1] - 20);
});

test('double and triple faults', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  cpu.idtGate(L.VECTOR_DF, KERNEL_CODE, 0x6000, 0x8e);
  // #PF whose own gate is missing (#NP): a double fault with error code 0.
  cpu.idtGate(L.VECTOR_PF, KERNEL_CODE, 0x7000, 0x0e);
  system.deliverFault(new GuestFault(L.VECTOR_PF, 2, 0xdeadb000n));
  assert.equal(state.rip, 0x6000n);
  assert.equal(state.u64(L.CR2), 0xdeadb000n);
  assert.equal(cpu.read32(state.gpr32(4)), 0);
  // #UD is benign: what goes wrong then is delivered by itself.
  cpu.idtGate(L.VECTOR_NP, KERNEL_CODE, 0x7100, 0x8e);
  cpu.idtGate(L.VECTOR_UD, KERNEL_CODE, 0x7000, 0x0e);
  system.deliverFault(new GuestFault(L.VECTOR_UD));
  assert.equal(state.rip, 0x7100n);
  assert.equal(cpu.read32(state.gpr32(4)), L.VECTOR_UD * 8 + 3);
  // #GP whose stack is not there: the page fault is delivered, not a double fault; but its own stack is missing too.
  cpu.memory.missing.add(STACKS[0] - 0x1000);
  state.setGpr(4, BigInt(STACKS[0]));
  cpu.idtGate(L.VECTOR_GP, KERNEL_CODE, 0x7200, 0x8e);
  cpu.idtGate(L.VECTOR_PF, KERNEL_CODE, 0x7000, 0x8e);
  system.deliverFault(new GuestFault(L.VECTOR_GP, 0));
  assert.equal(state.i32(L.ACTIVITY), L.ACTIVITY_SHUTDOWN);
  assert.equal(state.u64(L.CR2), BigInt(STACKS[0] - 16));
});

test('virtual-8086 mode: round trip through a level 0 handler', () => {
  const cpu = new TestCpu().protect().vm86();
  const { state, system } = cpu;
  assert.equal(state.cpl, 3);
  assert.equal(state.mode & L.MODE_VM86, L.MODE_VM86);
  assert.equal(state.mode & L.MODE_PROTECTED, 0);
  assert.equal(state.cs.base, 0x20000n);
  assert.equal(state.gs.selector, 0x7000);
  cpu.idtGate(L.VECTOR_GP, KERNEL_CODE, 0x7000, 0x8e);
  state.rip = 0x105n;
  system.deliverFault(new GuestFault(L.VECTOR_GP, 0));
  assert.equal(state.cpl, 0);
  assert.deepEqual(frame32(cpu, 10), [0, 0x105, 0x2000, 0x30202, 0x1000, 0x3000, 0x4000, 0x5000, 0x6000, 0x7000]);
  assert.equal(state.flags & L.FLAG_VM, 0);
  assert.equal(state.ds.unusable, true);
  assert.equal(state.mode & L.MODE_PROTECTED, L.MODE_PROTECTED);
  state.setGpr32(4, state.gpr32(4) + 4);
  system.iret(4);
  assert.equal(state.mode & L.MODE_VM86, L.MODE_VM86);
  assert.equal(state.ds.selector, 0x5000);
  assert.equal(state.rip, 0x105n);
});

test('virtual-8086 mode: INT n needs IOPL 3, and a handler at level 0', () => {
  const cpu = new TestCpu().protect().vm86();
  cpu.idtGate(0x21, KERNEL_CODE, 0x7000, 0xee);
  assert.deepEqual(
    faultOf(() => cpu.system.softwareInterrupt(0x21)),
    [L.VECTOR_GP, 0],
  );
  cpu.idtGate(L.VECTOR_BP, KERNEL_CODE, 0x7000, 0xee);
  cpu.system.int3();
  assert.equal(cpu.state.cpl, 0);

  const other = new TestCpu().protect().vm86(0x3202);
  other.idtGate(0x21, LEVEL1_CODE, 0x7000, 0xee);
  assert.deepEqual(
    faultOf(() => other.system.softwareInterrupt(0x21)),
    [L.VECTOR_GP, LEVEL1_CODE & ~3],
  );
  other.idtGate(0x21, KERNEL_CODE, 0x7000, 0xee);
  other.system.softwareInterrupt(0x21);
  assert.equal(other.state.cpl, 0);
});

test('virtual-8086 extensions: the redirection bit map sends INT n to the 8086 handler', () => {
  const cpu = new TestCpu().protect();
  cpu.system.writeControl(4, BigInt(L.CR4_VME));
  cpu.write16(TSS + 102, 0x200);
  cpu.memory.bytes.fill(0, TSS + 0x1e0, TSS + 0x200);
  cpu.memory.bytes[TSS + 0x1e0 + 4] = 1 << 2;
  cpu.write32(0x21 * 4, 0x12340056);
  cpu.vm86(0x202 | L.FLAG_VIF);
  const { state, system } = cpu;
  state.rip = 0x102n;
  system.softwareInterrupt(0x21);
  assert.equal(state.cs.selector, 0x1234);
  assert.equal(state.rip, 0x56n);
  assert.equal(state.gpr32(4), 0xffa);
  // The frame shows IOPL 3 and VIF as IF.
  assert.deepEqual(
    [0, 2, 4].map((i) => cpu.read16(0x30ffa + i)),
    [0x102, 0x2000, 0x3202],
  );
  assert.equal(state.flags & L.FLAG_VIF, 0);
  assert.equal(state.flags & L.FLAG_IF, L.FLAG_IF);
  system.iret(2);
  assert.equal(state.cs.selector, 0x2000);
  assert.equal(state.flags & L.FLAG_VIF, L.FLAG_VIF);
  // Vector 22H has its bit set: to the monitor, which IOPL 0 makes a #GP.
  assert.deepEqual(
    faultOf(() => system.softwareInterrupt(0x22)),
    [L.VECTOR_GP, 0],
  );
});

test('long mode, same level: aligned stack, SS and RSP always pushed', () => {
  const cpu = new TestCpu().long();
  const { state, system } = cpu;
  cpu.idtGate64(0x40, KERNEL_CODE, 0xffff_8000_0000_7000n, 0x8e);
  state.setGpr(4, 0xffff8n);
  state.rip = 0xffff_8000_0000_8000n;
  state.flags = L.FLAG_IF | L.FLAG_CF;
  system.acceptInterrupt(0x40);
  assert.equal(state.rip, 0xffff_8000_0000_7000n);
  assert.equal(state.gpr(4), 0xffff0n - 40n);
  assert.deepEqual(frame64(cpu, 5), [0xffff_8000_0000_8000n, BigInt(KERNEL_CODE), 0x203n, 0xffff8n, 0x10n]);
  assert.equal(state.flags, 3);
  system.iret(8);
  assert.equal(state.gpr(4), 0xffff8n);
  assert.equal(state.flags, 0x203);
  assert.equal(state.rip, 0xffff_8000_0000_8000n);
});

test('long mode, from level 3: RSP0, null SS, error code, and back', () => {
  const cpu = new TestCpu().long().longUser();
  const { state, system } = cpu;
  assert.equal(state.cpl, 3);
  cpu.idtGate64(L.VECTOR_PF, KERNEL_CODE, 0x7000n, 0x8e);
  cpu.write64(TSS + 4, 0x1_0008n);
  system.deliverFault(new GuestFault(L.VECTOR_PF, 7, 0x7fff_1234_5678n));
  assert.equal(state.cpl, 0);
  assert.equal(state.ss.selector, 0);
  assert.equal(state.u64(L.CR2), 0x7fff_1234_5678n);
  assert.equal(state.gpr(4), 0x1_0000n - 48n);
  assert.deepEqual(frame64(cpu, 6), [7n, 0x9000n, BigInt(USER_CODE64), 0x10202n, 0x13000n, BigInt(USER_DATA)]);
  state.setGpr(4, state.gpr(4) + 8n);
  system.iret(8);
  assert.equal(state.cpl, 3);
  assert.equal(state.gpr(4), 0x13000n);
  assert.equal(state.ss.selector, USER_DATA);
  assert.equal(state.mode & L.MODE_CODE_MASK, L.MODE_CODE64);
});

test('long mode: IST stacks are used at every level', () => {
  const cpu = new TestCpu().long();
  cpu.idtGate64(L.VECTOR_NMI, KERNEL_CODE, 0x7000n, 0x8e, 3);
  cpu.system.acceptNmi();
  assert.equal(cpu.state.gpr(4), 0x17000n - 40n);
  assert.equal(cpu.state.ss.selector, KERNEL_DATA);
  assert.equal(cpu.state.i32(L.NMI_BLOCKED), 1);
  cpu.system.iret(8);
  assert.equal(cpu.state.gpr(4), BigInt(STACKS[0]));
  assert.equal(cpu.state.i32(L.NMI_BLOCKED), 0);
});

test('long mode: gate, code and stack checks', () => {
  const cpu = new TestCpu().long();
  const { state, system } = cpu;
  cpu.idtGate64(0x40, KERNEL_CODE, 0x7000n, 0x87);
  assert.deepEqual(
    faultOf(() => system.deliver(0x40, 'external')),
    [L.VECTOR_GP, 0x203],
  );
  cpu.idtGate64(0x41, USER_CODE, 0x7000n, 0x8e);
  assert.deepEqual(
    faultOf(() => system.deliver(0x41, 'external')),
    [L.VECTOR_GP, (USER_CODE & ~3) | 1],
  );
  cpu.idtGate64(0x42, KERNEL_CODE, 0x8000_0000_0000n, 0x8e);
  assert.deepEqual(
    faultOf(() => system.deliver(0x42, 'external')),
    [L.VECTOR_GP, 1],
  );
  cpu.idtGate64(0x43, KERNEL_CODE, 0x7000n, 0x8e);
  state.setGpr(4, 0x8000_0000_0000_0000n);
  assert.deepEqual(
    faultOf(() => system.deliver(0x43, 'external')),
    [L.VECTOR_SS, 1],
  );
  assert.equal(state.gpr(4), 0x8000_0000_0000_0000n);
  state.setGpr(4, BigInt(STACKS[0]));
  cpu.write64(STACKS[0], 0x8000_0000_0000n);
  cpu.write64(STACKS[0] + 8, BigInt(KERNEL_CODE));
  cpu.write64(STACKS[0] + 16, 2n);
  cpu.write64(STACKS[0] + 24, 0x1234n);
  cpu.write64(STACKS[0] + 32, 0n);
  assert.deepEqual(
    faultOf(() => system.iret(8)),
    [L.VECTOR_GP, 0],
  );
  // A null SS is fine below level 3.
  cpu.write64(STACKS[0], 0x1000n);
  system.iret(8);
  assert.equal(state.gpr(4), 0x1234n);
  assert.equal(state.ss.selector, 0);
});

test('IRET: RF, IF and IOPL obey the privilege level', () => {
  const cpu = new TestCpu().protect().user(0x2);
  const { state, system } = cpu;
  const sp = 0x12f00;
  cpu.write32(sp, 0x9100);
  cpu.write32(sp + 4, USER_CODE);
  cpu.write32(sp + 8, 0x3f7fd7 & ~L.FLAG_VM & ~L.FLAG_NT);
  state.setGpr(4, BigInt(sp));
  system.iret(4);
  assert.equal(state.flags & (L.FLAG_IF | L.FLAG_IOPL | L.FLAG_VIF | L.FLAG_VIP), 0);
  assert.equal(state.flags & (L.FLAG_RF | L.FLAG_AC | L.FLAG_ID), L.FLAG_RF | L.FLAG_AC | L.FLAG_ID);
  // From level 3 nobody returns to level 0.
  cpu.write32(sp + 4, KERNEL_CODE);
  state.setGpr(4, BigInt(sp));
  assert.deepEqual(
    faultOf(() => system.iret(4)),
    [L.VECTOR_GP, KERNEL_CODE],
  );
});

test('tables in pages that are missing fault without changing anything', () => {
  const cpu = new TestCpu().protect().user();
  cpu.idtGate(0x80, KERNEL_CODE, 0x7000, 0xee);
  for (const page of [IDT, TSS, GDT]) {
    cpu.memory.missing.add(page);
    assert.equal(faultOf(() => cpu.system.softwareInterrupt(0x80))[0], L.VECTOR_PF);
    cpu.memory.missing.delete(page);
  }
  assert.equal(cpu.state.cpl, 3);
  assert.equal(cpu.state.gpr32(4), STACKS[3]);
});
