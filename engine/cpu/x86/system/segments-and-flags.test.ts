import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as L from '../layout.ts';
import {
  ACCESS_CODE,
  ACCESS_DATA,
  CONFORMING_CODE,
  faultOf,
  GATE,
  GDT,
  KERNEL_CODE,
  KERNEL_DATA,
  LDT,
  LDT_SELECTOR,
  SPARE,
  STACKS,
  TestCpu,
  TSS,
  TSS_SELECTOR,
  USER_CODE,
  USER_DATA,
} from './testing/fake-machine.ts';

test('data segments: types, levels, presence', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  system.loadSegment(L.SEG_DS, USER_DATA);
  assert.equal(state.ds.selector, USER_DATA);
  // RPL 3 on a level 0 segment.
  assert.deepEqual(
    faultOf(() => system.loadSegment(L.SEG_DS, KERNEL_DATA | 3)),
    [L.VECTOR_GP, KERNEL_DATA],
  );
  assert.deepEqual(
    faultOf(() => system.loadSegment(L.SEG_DS, TSS_SELECTOR)),
    [L.VECTOR_GP, TSS_SELECTOR],
  );
  cpu.descriptor(SPARE, 0, 0xfffff, 0x98, 0xc);
  assert.deepEqual(
    faultOf(() => system.loadSegment(L.SEG_DS, SPARE)),
    [L.VECTOR_GP, SPARE],
  );
  cpu.descriptor(SPARE, 0, 0xfffff, ACCESS_DATA & 0x7f, 0xc);
  assert.deepEqual(
    faultOf(() => system.loadSegment(L.SEG_DS, SPARE)),
    [L.VECTOR_NP, SPARE],
  );
  assert.deepEqual(
    faultOf(() => system.loadSegment(L.SEG_SS, SPARE)),
    [L.VECTOR_SS, SPARE],
  );
  assert.deepEqual(
    faultOf(() => system.loadSegment(L.SEG_SS, 0)),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => system.loadSegment(L.SEG_SS, USER_DATA)),
    [L.VECTOR_GP, USER_DATA & ~3],
  );
  assert.deepEqual(
    faultOf(() => system.loadSegment(L.SEG_SS, KERNEL_CODE)),
    [L.VECTOR_GP, KERNEL_CODE],
  );
  assert.equal(state.ds.selector, USER_DATA);
  system.loadSegment(L.SEG_DS, 3);
  assert.equal(state.ds.unusable, true);
  assert.equal(state.ds.selector, 3);
  assert.equal(state.mode & L.MODE_FLAT, 0);
});

test('the base, limit and granularity of a descriptor; the accessed bit', () => {
  const cpu = new TestCpu().protect();
  cpu.descriptor(SPARE, 0xfedcba98, 0x12345, ACCESS_DATA, 0x4);
  cpu.system.loadSegment(L.SEG_ES, SPARE);
  assert.equal(cpu.state.es.base, 0xfedcba98n);
  assert.equal(cpu.state.es.limit, 0x12345);
  assert.equal(cpu.state.es.attributes, 0x4093);
  assert.equal(cpu.read32(GDT + SPARE + 4) & 0x100, 0x100);
  cpu.descriptor(SPARE, 0, 0x12345, ACCESS_DATA, 0xc);
  cpu.system.loadSegment(L.SEG_ES, SPARE);
  assert.equal(cpu.state.es.limit, 0x12345fff);
});

test('LDT: its entries, its checks, and 16 bytes in long mode', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  assert.deepEqual(
    faultOf(() => system.lldt(KERNEL_DATA)),
    [L.VECTOR_GP, KERNEL_DATA],
  );
  system.lldt(LDT_SELECTOR);
  assert.equal(system.sldt(), LDT_SELECTOR);
  cpu.descriptor(0x0c, 0x123000, 0xfff, ACCESS_DATA, 0x4, LDT);
  system.loadSegment(L.SEG_FS, 0x0c);
  assert.equal(state.fs.base, 0x123000n);
  assert.deepEqual(
    faultOf(() => system.loadSegment(L.SEG_FS, 0x104)),
    [L.VECTOR_GP, 0x104],
  );
  system.lldt(0);
  assert.deepEqual(
    faultOf(() => system.loadSegment(L.SEG_FS, 0x0c)),
    [L.VECTOR_GP, 0x0c],
  );

  const long = new TestCpu().long();
  long.descriptor(SPARE, 0x12345678, 0xff, 0x82, 0);
  long.write64(GDT + SPARE + 8, 0xffff_9000n);
  long.system.lldt(SPARE);
  assert.equal(long.state.ldtr.base, 0xffff_9000_1234_5678n);
  long.write64(GDT + SPARE + 8, 0x1234_5678n);
  assert.deepEqual(
    faultOf(() => long.system.lldt(SPARE)),
    [L.VECTOR_GP, SPARE],
  );
});

test('LTR marks its TSS busy and refuses a busy one', () => {
  const cpu = new TestCpu().protect();
  assert.equal(cpu.system.str(), TSS_SELECTOR);
  assert.deepEqual(
    faultOf(() => cpu.system.ltr(TSS_SELECTOR)),
    [L.VECTOR_GP, TSS_SELECTOR],
  );
  assert.deepEqual(
    faultOf(() => cpu.system.ltr(0)),
    [L.VECTOR_GP, 0],
  );
  assert.equal(cpu.state.tr.attributes & 0xf, 11);
});

test('UMIP hides the tables from level 3', () => {
  const cpu = new TestCpu().protect();
  cpu.system.writeControl(4, BigInt(L.CR4_UMIP));
  cpu.user();
  const { system } = cpu;
  for (const action of [() => system.sgdt(0x6000n), () => system.sidt(0x6000n), () => system.smsw()]) {
    assert.deepEqual(faultOf(action), [L.VECTOR_GP, 0]);
  }
  assert.deepEqual(
    faultOf(() => system.sldt()),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => system.str()),
    [L.VECTOR_GP, 0],
  );
});

test('LAR, LSL, VERR, VERW', () => {
  const cpu = new TestCpu().protect().user();
  const { system } = cpu;
  assert.equal(system.lar(USER_CODE), 0xcffb00);
  assert.equal(system.lsl(USER_DATA), 0xffffffff);
  assert.equal(system.lar(KERNEL_CODE), undefined);
  assert.equal(system.lar(CONFORMING_CODE), 0xcf9e00);
  assert.equal(system.lar(0), undefined);
  assert.equal(system.lar(0xf000), undefined);
  assert.equal(system.verr(USER_CODE), true);
  assert.equal(system.verw(USER_CODE), false);
  assert.equal(system.verw(USER_DATA), true);
  assert.equal(system.verr(KERNEL_DATA), false);
  assert.equal(system.verr(CONFORMING_CODE), true);
  cpu.callGate(GATE, KERNEL_CODE, 0n, 0xec);
  assert.equal(system.lar(GATE), 0xec00);
  assert.equal(system.lsl(GATE), undefined);
  assert.deepEqual(
    faultOf(() => new TestCpu().system.lar(8)),
    [L.VECTOR_UD, undefined],
  );
});

test('PUSHF and POPF: which bits change at which level', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  state.flags = L.FLAG_RF | L.FLAG_IF;
  system.pushf(4);
  assert.equal(cpu.read32(state.gpr32(4)), 0x202);
  cpu.write32(state.gpr32(4), 0xffffffff);
  system.popf(4);
  assert.equal(state.gpr32(4), STACKS[0]);
  assert.equal(state.flags, 0x247fd7);
  state.flags = 2;
  cpu.write32(state.gpr32(4), 0xffffffff);
  system.popf(2);
  assert.equal(state.flags, 0x7fd7);

  const user = new TestCpu().protect().user(0x202);
  user.write32(user.state.gpr32(4), 0x3000);
  user.system.popf(4);
  assert.equal(user.state.flags, 0x202);
  const privileged = new TestCpu().protect().user(0x3202);
  privileged.write32(privileged.state.gpr32(4), 0);
  privileged.system.popf(4);
  assert.equal(privileged.state.flags, 0x3002);
});

test('CLI and STI: IOPL, PVI, VME and the shadow', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  system.sti();
  assert.equal(state.i32(L.SHADOW), 1);
  assert.equal(system.interruptsEnabled(), false);
  state.setI32(L.SHADOW, 0);
  assert.equal(system.interruptsEnabled(), true);
  system.sti();
  assert.equal(state.i32(L.SHADOW), 0);
  system.cli();
  assert.equal(system.interruptsEnabled(), false);

  const user = new TestCpu().protect().user();
  assert.deepEqual(
    faultOf(() => user.system.cli()),
    [L.VECTOR_GP, 0],
  );
  const virtual = new TestCpu().protect();
  virtual.system.writeControl(4, BigInt(L.CR4_PVI | L.CR4_VME));
  virtual.user();
  virtual.system.sti();
  assert.equal(virtual.state.flags & (L.FLAG_VIF | L.FLAG_IF), L.FLAG_VIF | L.FLAG_IF);
  virtual.system.cli();
  assert.equal(virtual.state.flags & (L.FLAG_VIF | L.FLAG_IF), L.FLAG_IF);
  virtual.state.flags |= L.FLAG_VIP;
  assert.deepEqual(
    faultOf(() => virtual.system.sti()),
    [L.VECTOR_GP, 0],
  );
});

test('virtual-8086 mode: PUSHF, POPF and IRET need IOPL 3 or VME', () => {
  const cpu = new TestCpu().protect().vm86();
  for (const action of [() => cpu.system.pushf(2), () => cpu.system.popf(2), () => cpu.system.iret(2)]) {
    assert.deepEqual(faultOf(action), [L.VECTOR_GP, 0]);
  }
  const free = new TestCpu().protect().vm86(0x3202);
  free.system.pushf(2);
  assert.equal(free.read16(0x30ffe), 0x3202);
  free.write16(0x30ffe, 0);
  free.system.popf(2);
  assert.equal(free.state.flags, 0x23002);
  const virtual = new TestCpu().protect();
  virtual.system.writeControl(4, BigInt(L.CR4_VME));
  virtual.vm86(0x202);
  virtual.system.pushf(2);
  assert.equal(virtual.read16(0x30ffe), 0x3002);
  virtual.write16(0x30ffe, 0x200);
  virtual.system.popf(2);
  assert.equal(virtual.state.flags & (L.FLAG_VIF | L.FLAG_IF | L.FLAG_IOPL), L.FLAG_VIF | L.FLAG_IF);
  assert.deepEqual(
    faultOf(() => virtual.system.pushf(4)),
    [L.VECTOR_GP, 0],
  );
});

test('the I/O permission bit map', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  cpu.write16(TSS + 102, 0x100);
  cpu.memory.bytes.fill(0xff, TSS + 0x100, TSS + 0x200);
  cpu.memory.bytes[TSS + 0x100 + (0x3f8 >> 3)] = 0xfe;
  cpu.memory.bytes[TSS + 0x100 + (0x70 >> 3)] = 0x7f;
  cpu.memory.bytes[TSS + 0x101 + (0x70 >> 3)] = 0xfe;
  system.checkIo(0x60, 4);
  cpu.user();
  system.checkIo(0x3f8, 1);
  assert.deepEqual(
    faultOf(() => system.checkIo(0x3f8, 2)),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => system.checkIo(0x60, 1)),
    [L.VECTOR_GP, 0],
  );
  // Two ports in two bytes of the map.
  system.checkIo(0x77, 2);
  assert.deepEqual(
    faultOf(() => system.checkIo(0x77, 4)),
    [L.VECTOR_GP, 0],
  );
  state.tr.limit = 0x100 + (0x3f8 >> 3);
  assert.deepEqual(
    faultOf(() => system.checkIo(0x3f8, 1)),
    [L.VECTOR_GP, 0],
  );
  new TestCpu().system.checkIo(0x60, 4);
});

test('HLT and the cache instructions need level 0', () => {
  const cpu = new TestCpu().protect();
  cpu.system.hlt();
  assert.equal(cpu.state.i32(L.ACTIVITY), L.ACTIVITY_HALTED);
  cpu.idtGate(0x40, KERNEL_CODE, 0x7000, 0x8e);
  cpu.system.acceptInterrupt(0x40);
  assert.equal(cpu.state.i32(L.ACTIVITY), L.ACTIVITY_RUNNING);
  cpu.user();
  assert.deepEqual(
    faultOf(() => cpu.system.hlt()),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => cpu.system.wbinvd()),
    [L.VECTOR_GP, 0],
  );
});

test('code segments as data: readable ones may be loaded', () => {
  const cpu = new TestCpu().protect();
  cpu.descriptor(SPARE, 0, 0xfffff, ACCESS_CODE, 0xc);
  cpu.system.loadSegment(L.SEG_DS, SPARE);
  assert.equal(cpu.state.mode & L.MODE_FLAT, 0);
});
