import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../../testing/random.ts';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import type { OperandSize } from './core.ts';
import type { InterruptSource } from './interrupts.ts';
import { GDT, IDT, LDT_SELECTOR, TestCpu, TSS, TSS2 } from './testing/fake-machine.ts';

const SOURCES: readonly InterruptSource[] = ['exception', 'external', 'software', 'int3', 'into', 'icebp', 'nmi'];
const ACCESS_BYTES = [0x9a, 0x92, 0xfa, 0xf2, 0x9e, 0xbe, 0xb2, 0x98, 0x90, 0x96, 0x89, 0x8b, 0x81, 0x83, 0x82, 0x8c];
const GATE_BYTES = [0x8e, 0xee, 0x8f, 0xef, 0x85, 0xe5, 0x86, 0xe6, 0x8c, 0xec, 0x84, 0xe4, 0x0e, 0x92];
const MSRS = [0x10, 0x1b, 0x3b, 0x174, 0x175, 0x176, 0x200, 0x250, 0x277, 0x2ff, 0xc0000080, 0xc0000081, 0xc0000082];

/** Selectors of the usual segments, most often right. */
const USUAL = [0x08, 0x10, 0x1b, 0x23, 0x28, 0x40, 0x49, 0x51, 0x58, 0x60, 0x6b, 0];

/** Tables full of plausible and implausible entries. */
function scramble(cpu: TestCpu, random: Random): void {
  for (let selector = 0x80; selector < 0x200; selector += 8) {
    if (random.chance(1, 3)) {
      const target = randomSelector(random);
      const offset = BigInt(random.u32() & 0x1ffff);
      cpu.callGate(selector, target, offset, random.pick(GATE_BYTES), random.below(4));
    } else {
      const base = random.chance(3, 4) ? 0 : random.pick([TSS, TSS2, 0x6000]);
      const limit = random.pick([0xfffff, 0xffff, 0x67, 0x2b, 0xff, 0]);
      const access = random.pick(ACCESS_BYTES) & (random.chance(1, 10) ? 0x7f : 0xff);
      cpu.descriptor(selector, base, limit, access, random.pick([0xc, 0x4, 0xa, 0x0, 0xe]));
    }
  }
  cpu.state.setU32(L.GDTR + 8, 0x1ff);
  for (let vector = 0; vector < 64; vector++) {
    const access = random.pick(GATE_BYTES);
    if (cpu.state.longMode) {
      cpu.idtGate64(vector, randomSelector(random), BigInt(random.u32() & 0xffff), access, random.below(8));
    } else {
      cpu.idtGate(vector, randomSelector(random), random.u32() & 0xffff, access);
    }
  }
  for (let offset = 0; offset < 0x68; offset += 4) {
    cpu.write32(TSS2 + offset, stackWord(random));
    if (random.chance(1, 4)) {
      cpu.write32(TSS + offset, stackWord(random));
    }
  }
}

function randomSelector(random: Random): number {
  if (random.chance(1, 2)) {
    return random.pick(USUAL);
  }
  return random.chance(1, 12) ? random.below(0x10000) : random.below(0x40) * 8 + random.below(4);
}

/** Something that may stand in a frame: a selector, a small address, flags. */
function stackWord(random: Random): number {
  switch (random.below(4)) {
    case 0:
      return randomSelector(random);
    case 1:
      return 0x10000 + random.below(0x4000);
    case 2:
      return random.u32() & 0x3f7fd5;
    default:
      return random.below(0x10000);
  }
}

function operations(cpu: TestCpu, random: Random): (() => void)[] {
  const { system, state } = cpu;
  const size = random.pick<OperandSize>(state.longMode ? [2, 4, 8] : [2, 4]);
  const selector = randomSelector(random);
  const offset = BigInt(random.u32() & 0x1ffff);
  const value = random.chance(1, 2) ? BigInt(random.u32()) : random.u64();
  const msr = random.chance(1, 4) ? random.u32() : random.pick(MSRS);
  return [
    () => system.deliver(random.below(64), random.pick(SOURCES), random.chance(1, 2) ? 0 : undefined),
    () => system.softwareInterrupt(random.below(64)),
    () => system.iret(size),
    () => system.farJump(selector, offset, size),
    () => system.farCall(selector, offset, size),
    () => system.farReturn(size, random.below(16)),
    () => system.loadSegment(random.pick([L.SEG_ES, L.SEG_SS, L.SEG_DS, L.SEG_FS, L.SEG_GS]), selector),
    () => system.lldt(random.chance(1, 3) ? LDT_SELECTOR : selector),
    () => system.ltr(selector),
    () => void system.lar(selector),
    () => void system.lsl(selector),
    () => system.syscall(),
    () => system.sysret(size),
    () => system.sysenter(),
    () => system.sysexit(size),
    () => system.pushf(size),
    () => system.popf(size),
    () => system.cli(),
    () => system.sti(),
    () => system.checkIo(random.below(0x10000), 4),
    () => system.writeControl(random.below(9), value),
    () => system.writeDebug(random.below(8), value),
    () => system.writeMsr(msr, value),
    () => void system.readMsr(msr),
    () => system.cpuid(random.u32(), random.below(4)),
  ];
}

const MODES = ['real', 'protect', 'user', 'vm86', 'long', 'longUser'] as const;

function create(mode: (typeof MODES)[number], random: Random): TestCpu {
  const cpu = new TestCpu();
  switch (mode) {
    case 'real':
      cpu.state.setGpr(4, 0x8000n);
      break;
    case 'protect':
      cpu.protect();
      break;
    case 'user':
      cpu.protect().user(random.u32() & 0x3200);
      break;
    case 'vm86':
      cpu.protect();
      cpu.system.writeControl(4, BigInt(random.below(2)));
      cpu.vm86(random.u32() & 0x183200);
      break;
    case 'long':
      cpu.long();
      break;
    default:
      cpu.long().longUser(random.u32() & 0x3200);
  }
  return cpu;
}

/** The record without what a refused operation may change: DR6. */
function registers(cpu: TestCpu): Uint8Array {
  const copy = cpu.record.slice();
  copy.fill(0, L.DR6, L.DR6 + 8);
  return copy;
}

test('an operation that faults has changed nothing; nothing else is ever thrown', () => {
  const random = new Random(1);
  let faults = 0;
  let completed = 0;
  for (let round = 0; round < 150; round++) {
    const cpu = create(MODES[round % MODES.length] ?? 'real', random);
    scramble(cpu, random);
    // A small memory for comparing: everything the tests touch is below.
    for (let step = 0; step < 25; step++) {
      const { state } = cpu;
      const sp = state.longMode ? Number(state.gpr(4) & 0xfffffn) : Number(state.ss.base) + (state.gpr32(4) & 0xffff);
      for (let i = 0; i < 12 && sp < 0x100000; i++) {
        cpu.write32(sp + i * 4, random.chance(1, 3) ? 0 : stackWord(random));
      }
      const operation = random.pick(operations(cpu, random));
      const before = registers(cpu);
      const memory = cpu.memory.bytes.slice(0, 0x20000);
      try {
        operation();
        completed++;
      } catch (fault) {
        if (fault instanceof RangeError && fault.message.startsWith('test access')) {
          break;
        }
        assert.ok(fault instanceof GuestFault, `${operation} threw ${fault}`);
        faults++;
        assert.deepEqual(registers(cpu), before, `${operation}`);
        assert.ok(Buffer.compare(memory, cpu.memory.bytes.subarray(0, 0x20000)) === 0, `${operation} wrote memory`);
      }
      assertConsistent(cpu);
      if (state.i32(L.ACTIVITY) === L.ACTIVITY_SHUTDOWN) {
        break;
      }
    }
  }
  assert.ok(faults > 500, `${faults} faults`);
  assert.ok(completed > 500, `${completed} completed`);
});

/** MODE always agrees with the registers it derives from. */
function assertConsistent(cpu: TestCpu): void {
  const { state, system } = cpu;
  const mode = state.mode;
  system.updateMode();
  assert.equal(state.mode, mode);
  assert.equal((mode & L.MODE_LONG) !== 0, state.longMode);
  if (mode & L.MODE_PROTECTED && !state.ss.unusable) {
    assert.equal(state.ss.dpl, state.cpl);
  }
  assert.equal(state.u64(L.ZERO), 0n);
}

test('delivering exceptions ends in a handler or in shutdown', () => {
  const random = new Random(2);
  for (let round = 0; round < 200; round++) {
    const cpu = create(MODES[round % MODES.length] ?? 'real', random);
    scramble(cpu, random);
    const missing = random.pick([0, IDT, GDT, TSS, 0xf000, 0x12000]);
    cpu.memory.missing.add(missing);
    try {
      cpu.system.deliverFault(new GuestFault(random.pick([0, 6, 8, 10, 13, 14]), 0, 0x1234n));
    } catch (fault) {
      assert.ok(fault instanceof RangeError && fault.message.startsWith('test access'), `${fault}`);
      continue;
    }
    assertConsistent(cpu);
  }
});
