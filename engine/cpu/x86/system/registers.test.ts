import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as L from '../layout.ts';
import { CPU_FEATURES } from './cpuid.ts';
import { ACCESS_CODE, faultOf, GDT, KERNEL_CODE, STACKS, TestCpu } from './testing/fake-machine.ts';

const PG = 0x80000000n;

test('reset: table 9-1 of the manual', () => {
  const cpu = new TestCpu();
  const { state } = cpu;
  assert.equal(state.rip, 0xfff0n);
  assert.equal(state.cs.base, 0xffff0000n);
  assert.equal(state.cs.selector, 0xf000);
  assert.equal(state.flags, 2);
  assert.equal(state.u64(L.CR0), 0x60000010n);
  assert.equal(state.gpr(2), 0x206a7n);
  assert.equal(state.u64(L.DR6), 0xffff0ff0n);
  assert.equal(state.u64(L.DR7), 0x400n);
  assert.equal(state.u32(L.MXCSR), 0x1f80);
  assert.equal(state.i32(L.ACTIVITY), L.ACTIVITY_RUNNING);
  assert.equal(state.mode, L.MODE_IOPL_OK | L.MODE_SSE_TRAP | L.MODE_NO_FXSR | L.MODE_NO_AVX);
});

test('application processors wait for a start-up IPI; INIT keeps the FPU and the MSRs', () => {
  const cpu = new TestCpu(1);
  const { state, system } = cpu;
  assert.equal(state.i32(L.ACTIVITY), L.ACTIVITY_WAIT_SIPI);
  system.startup(0x9a);
  assert.equal(state.cs.selector, 0x9a00);
  assert.equal(state.cs.base, 0x9a000n);
  assert.equal(state.rip, 0n);
  assert.equal(state.i32(L.ACTIVITY), L.ACTIVITY_RUNNING);
  system.startup(0x10);
  assert.equal(state.cs.selector, 0x9a00);
  cpu.long();
  state.setU32(L.MXCSR, 0x1fa0);
  system.writeMsr(0xc0000082, 0x1234n);
  system.reset('init');
  assert.equal(state.i32(L.ACTIVITY), L.ACTIVITY_WAIT_SIPI);
  assert.equal(state.u32(L.MXCSR), 0x1fa0);
  assert.equal(system.readMsr(0xc0000082), 0x1234n);
  assert.equal(state.u64(L.EFER), 0n);
  assert.equal(state.mode & (L.MODE_LONG | L.MODE_PROTECTED | L.MODE_CODE_MASK), 0);
});

test('MODE: flat segments, stack width, traps', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  assert.equal(
    state.mode,
    L.MODE_CODE32 |
      L.MODE_FLAT |
      L.MODE_STACK32_FLAT |
      L.MODE_PROTECTED |
      L.MODE_IOPL_OK |
      L.MODE_SSE_TRAP |
      L.MODE_NO_FXSR |
      L.MODE_NO_AVX,
  );
  cpu.descriptor(0x80, 0x1000, 0xfffff, 0x92, 0xc);
  system.loadSegment(L.SEG_DS, 0x80);
  assert.equal(state.mode & L.MODE_FLAT, 0);
  assert.equal(state.mode & L.MODE_STACK_MASK, L.MODE_STACK32_FLAT);
  system.loadSegment(L.SEG_SS, 0x80);
  assert.equal(state.mode & L.MODE_STACK_MASK, L.MODE_STACK32);
  system.writeControl(4, BigInt(L.CR4_OSFXSR));
  assert.equal(state.mode & (L.MODE_SSE_TRAP | L.MODE_NO_FXSR), 0);
  system.lmsw(0x9);
  assert.equal(state.mode & (L.MODE_FPU_TRAP | L.MODE_SSE_TRAP), L.MODE_FPU_TRAP | L.MODE_SSE_TRAP);
  assert.equal(state.mode & L.MODE_TASK_SWITCHED, L.MODE_TASK_SWITCHED);
  system.clts();
  assert.equal(state.mode & (L.MODE_FPU_TRAP | L.MODE_SSE_TRAP | L.MODE_TASK_SWITCHED), 0);
  system.writeControl(4, BigInt(L.CR4_OSFXSR | L.CR4_OSXSAVE));
  state.setU64(L.XCR0, 3n);
  system.updateMode();
  assert.equal(state.mode & L.MODE_NO_AVX, L.MODE_NO_AVX);
  state.setU64(L.XCR0, 7n);
  system.updateMode();
  assert.equal(state.mode & L.MODE_NO_AVX, 0);
  state.setI32(L.MODE, state.mode | L.MODE_SINGLE);
  system.updateMode();
  assert.equal(state.mode & L.MODE_SINGLE, L.MODE_SINGLE);
});

test('from real mode to protected, PAE and long mode and back', () => {
  const cpu = new TestCpu().protect();
  const { state, system, environment } = cpu;
  system.writeControl(4, BigInt(L.CR4_PAE));
  system.writeControl(3, 0x100000n);
  environment.physical32.set(0x100000, 0x101001);
  environment.physical32.set(0x100008, 0x102001 | 2);
  // A reserved bit in the second page-directory pointer.
  assert.deepEqual(
    faultOf(() => system.writeControl(0, PG | 0x11n)),
    [L.VECTOR_GP, 0],
  );
  assert.equal(state.cr0 & L.CR0_PG, 0);
  environment.physical32.set(0x100008, 0x102001);
  environment.physical32.set(0x10000c, 1 << 8);
  assert.deepEqual(
    faultOf(() => system.writeControl(0, PG | 0x11n)),
    [L.VECTOR_GP, 0],
  );
  environment.physical32.set(0x10000c, 1);
  environment.flushes.length = 0;
  system.writeControl(0, PG | 0x11n);
  assert.deepEqual(environment.flushes, [true]);
  assert.equal(state.mode & L.MODE_LONG, 0);
  // LME cannot change while paging is on.
  assert.deepEqual(
    faultOf(() => system.writeMsr(0xc0000080, 0x100n)),
    [L.VECTOR_GP, 0],
  );
  system.writeControl(0, 0x11n);
  system.writeMsr(0xc0000080, 0x100n);
  system.writeControl(4, 0n);
  // Long mode needs PAE.
  assert.deepEqual(
    faultOf(() => system.writeControl(0, PG | 0x11n)),
    [L.VECTOR_GP, 0],
  );
  system.writeControl(4, BigInt(L.CR4_PAE));
  system.writeControl(0, PG | 0x11n);
  assert.equal(state.efer, 0x500);
  assert.equal(state.mode & (L.MODE_LONG | L.MODE_CODE_MASK), L.MODE_LONG | L.MODE_CODE32);
  assert.deepEqual(
    faultOf(() => system.writeControl(4, 0n)),
    [L.VECTOR_GP, 0],
  );
  cpu.descriptor(0x80, 0, 0xfffff, ACCESS_CODE, 0xa);
  system.farJump(0x80, 0x8000n, 4);
  assert.equal(state.mode & (L.MODE_CODE_MASK | L.MODE_STACK_MASK), L.MODE_CODE64 | L.MODE_STACK64);
  // 64-bit code cannot turn paging off.
  assert.deepEqual(
    faultOf(() => system.writeControl(0, 0x11n)),
    [L.VECTOR_GP, 0],
  );
  cpu.write64(STACKS[0] - 16, 0x8100n);
  cpu.write64(STACKS[0] - 8, BigInt(KERNEL_CODE));
  state.setGpr(4, BigInt(STACKS[0] - 16));
  system.farReturn(8, 0);
  system.writeControl(0, 0x11n);
  assert.equal(state.efer, 0x100);
  assert.equal(state.mode & L.MODE_LONG, 0);
  system.writeControl(0, 0x10n);
  assert.equal(state.mode & L.MODE_PROTECTED, 0);
});

test('CR0, CR3, CR4, CR8: reserved bits and flushes', () => {
  const cpu = new TestCpu().long();
  const { state, system, environment } = cpu;
  const cr0 = system.readControl(0);
  assert.deepEqual(
    faultOf(() => system.writeControl(0, cr0 | (1n << 32n))),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => system.writeControl(0, cr0 & ~1n)),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => system.writeControl(0, cr0 | (1n << 29n))),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => system.writeControl(1, 0n)),
    [L.VECTOR_UD, undefined],
  );
  environment.flushes.length = 0;
  system.writeControl(0, cr0 | 0x10000n);
  assert.deepEqual(environment.flushes, [true]);
  assert.deepEqual(
    faultOf(() => system.writeControl(3, 1n << 40n)),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => system.writeControl(3, 1n << 63n)),
    [L.VECTOR_GP, 0],
  );
  system.writeControl(3, 0x123000n);
  assert.deepEqual(environment.flushes, [true, false]);
  const cr4 = system.readControl(4);
  assert.deepEqual(
    faultOf(() => system.writeControl(4, cr4 | (1n << 13n))),
    [L.VECTOR_GP, 0],
  );
  system.writeControl(3, 0x123001n);
  assert.deepEqual(
    faultOf(() => system.writeControl(4, cr4 | BigInt(L.CR4_PCIDE))),
    [L.VECTOR_GP, 0],
  );
  system.writeControl(3, 0x123000n);
  system.writeControl(4, cr4 | BigInt(L.CR4_PCIDE));
  system.writeControl(3, (1n << 63n) | 0x124007n);
  assert.equal(state.cr3, 0x124007n);
  assert.deepEqual(
    faultOf(() => system.writeControl(0, 0x11n)),
    [L.VECTOR_GP, 0],
  );
  system.writeControl(8, 9n);
  assert.equal(environment.taskPriority, 9);
  assert.equal(system.readControl(8), 9n);
  assert.deepEqual(
    faultOf(() => system.writeControl(8, 16n)),
    [L.VECTOR_GP, 0],
  );
  cpu.longUser();
  assert.deepEqual(
    faultOf(() => system.readControl(0)),
    [L.VECTOR_GP, 0],
  );
});

test('MSRs: bounds, canonical addresses, unknown ones', () => {
  const cpu = new TestCpu().long();
  const { state, system, environment } = cpu;
  const warnings: string[] = [];
  environment.log = { info() {}, warn: (message) => warnings.push(message) };
  for (const msr of [0xc0000082, 0xc0000083, 0xc0000100, 0xc0000101, 0xc0000102, 0x175, 0x176]) {
    assert.deepEqual(
      faultOf(() => system.writeMsr(msr, 0x8000_0000_0000n)),
      [L.VECTOR_GP, 0],
    );
    system.writeMsr(msr, 0xffff_8000_0000_0000n);
    assert.equal(system.readMsr(msr), 0xffff_8000_0000_0000n);
  }
  assert.equal(state.gs.base, 0xffff_8000_0000_0000n);
  assert.deepEqual(
    faultOf(() => system.writeMsr(0xc0000080, 1n << 12n)),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => system.writeMsr(0x277, 2n)),
    [L.VECTOR_GP, 0],
  );
  system.writeMsr(0x277, 0x0007040600070401n);
  assert.equal(system.readMsr(0xfe), 0x508n);
  assert.deepEqual(
    faultOf(() => system.writeMsr(0xfe, 0n)),
    [L.VECTOR_GP, 0],
  );
  system.writeMsr(0x2ff, 0xc06n);
  assert.deepEqual(
    faultOf(() => system.writeMsr(0x2ff, 0x1000n)),
    [L.VECTOR_GP, 0],
  );
  system.writeMsr(0x201, 0xff80000800n);
  assert.equal(system.readMsr(0x201), 0xff80000800n);
  assert.deepEqual(
    faultOf(() => system.writeMsr(0x201, 1n << 40n)),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => system.readMsr(0x210)),
    [L.VECTOR_GP, 0],
  );
  system.writeMsr(0x26f, 0x0606060606060606n);
  assert.equal(system.readMsr(0x26f), 0x0606060606060606n);
  assert.deepEqual(
    faultOf(() => system.writeMsr(0x26f, 0x0206060606060606n)),
    [L.VECTOR_GP, 0],
  );
  assert.equal(system.readMsr(0x1b), 0xfee00900n);
  assert.deepEqual(
    faultOf(() => system.readMsr(0x80b)),
    [L.VECTOR_GP, 0],
  );
  assert.deepEqual(
    faultOf(() => system.readMsr(0x12345)),
    [L.VECTOR_GP, 0],
  );
  // RDMSR and WRMSR through registers.
  state.setGpr(1, 0xffff_ffff_c000_0100n);
  state.setGpr(0, 0x1_2345_6789n);
  state.setGpr(2, 0x7fffn);
  system.wrmsr();
  assert.equal(state.fs.base, 0x7fff_2345_6789n);
  state.setGpr(0, ~0n & 0xffffffffffffffffn);
  system.rdmsr();
  assert.equal(state.gpr(0), 0x23456789n);
  assert.equal(state.gpr(2), 0x7fffn);
  state.setGpr(2, 0x8000n);
  assert.deepEqual(
    faultOf(() => system.wrmsr()),
    [L.VECTOR_GP, 0],
  );
  cpu.longUser();
  assert.deepEqual(
    faultOf(() => system.rdmsr()),
    [L.VECTOR_GP, 0],
  );
});

test('the time-stamp counter, its offset and its adjustment', () => {
  const cpu = new TestCpu().long();
  const { state, system, environment } = cpu;
  environment.tsc = 1500n;
  assert.equal(system.timestamp(), 500n);
  system.writeMsr(0x10, 10_000n);
  assert.equal(system.timestamp(), 10_000n);
  assert.equal(system.readMsr(0x3b), 9_500n);
  system.writeMsr(0x3b, 0n);
  assert.equal(system.timestamp(), 500n);
  system.writeMsr(0xc0000103, 7n);
  system.rdtscp();
  assert.deepEqual([state.gpr(0), state.gpr(2), state.gpr(1)], [500n, 0n, 7n]);
  system.writeControl(4, system.readControl(4) | BigInt(L.CR4_TSD));
  cpu.longUser();
  assert.deepEqual(
    faultOf(() => system.rdtsc()),
    [L.VECTOR_GP, 0],
  );
});

test('debug registers: aliases, fixed bits, general detect', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  system.writeDebug(6, 0n);
  assert.equal(system.readDebug(4), 0xffff0ff0n);
  system.writeDebug(5, 0xffffffffn & ~0x2000n);
  assert.equal(system.readDebug(7), 0xffff07ffn);
  system.writeControl(4, BigInt(L.CR4_DE));
  assert.deepEqual(
    faultOf(() => system.readDebug(4)),
    [L.VECTOR_UD, undefined],
  );
  system.writeDebug(7, 0x2400n);
  assert.deepEqual(
    faultOf(() => system.readDebug(0)),
    [L.VECTOR_DB, undefined],
  );
  assert.equal(state.u32(L.DR6) & 0x2000, 0x2000);
  // Delivery of #DB lets the handler use the registers.
  cpu.idtGate(L.VECTOR_DB, KERNEL_CODE, 0x7000, 0x8e);
  system.acceptDebugTrap(0x4000);
  assert.equal(system.readDebug(7), 0x400n);
  assert.equal(system.readDebug(6), 0xffff6ff0n);
});

test('breakpoints match addresses, lengths and kinds of access', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  assert.equal(system.codeBreakpointsArmed, false);
  system.writeDebug(0, 0x1234n);
  system.writeDebug(1, 0x2006n);
  // DR0: execution, local; DR1: writes of 4 bytes, global.
  system.writeDebug(7, 0x1n | 0x8n | (0xdn << 20n));
  assert.equal(system.codeBreakpointsArmed, true);
  assert.equal(system.dataBreakpointsArmed, true);
  assert.equal(system.codeBreakpoint(0x1235n), false);
  assert.equal(system.codeBreakpoint(0x1234n), true);
  assert.equal(state.u32(L.DR6) & 0xf, 1);
  assert.equal(system.dataBreakpointHit(0x2004n, 1, false), false);
  assert.equal(system.dataBreakpointHit(0x2003n, 1, true), false);
  assert.equal(system.dataBreakpointHit(0x2003n, 2, true), true);
  assert.equal(state.u32(L.DR6) & 0xf, 3);
  assert.equal(state.i32(L.TRAP_PENDING), 1);
});

test('SYSCALL and SYSRET', () => {
  const cpu = new TestCpu().long();
  const { state, system } = cpu;
  system.writeMsr(0xc0000081, 0x0023_0010_0000_0000n);
  system.writeMsr(0xc0000082, 0xffff_8000_1234_5678n);
  system.writeMsr(0xc0000084, BigInt(L.FLAG_IF | L.FLAG_CF | L.FLAG_TF));
  cpu.longUser(0x303 | L.FLAG_RF);
  state.rip = 0x7fff_0000_9002n;
  const sp = state.gpr(4);
  system.syscall();
  assert.equal(state.cpl, 0);
  assert.equal(state.rip, 0xffff_8000_1234_5678n);
  assert.equal(state.gpr(1), 0x7fff_0000_9002n);
  assert.equal(state.gpr(11), 0x303n);
  assert.equal(state.flags, 2);
  assert.equal(state.cs.selector, 0x10);
  assert.equal(state.ss.selector, 0x18);
  assert.equal(state.gpr(4), sp);
  assert.equal(state.mode & L.MODE_CODE_MASK, L.MODE_CODE64);
  state.setGpr(11, 0xffffffffn);
  system.sysret(8);
  assert.equal(state.cpl, 3);
  assert.equal(state.rip, 0x7fff_0000_9002n);
  assert.equal(state.cs.selector, 0x33);
  assert.equal(state.ss.selector, 0x2b);
  assert.equal(state.flags, 0x3c7fd7);
  system.syscall();
  state.setGpr(11, 2n);
  state.setGpr(1, 0x8000_0000_0000n);
  assert.deepEqual(
    faultOf(() => system.sysret(8)),
    [L.VECTOR_GP, 0],
  );
  assert.equal(state.cpl, 0);
  state.setGpr(1, 0xffff_ffff_0040_0000n);
  system.sysret(4);
  assert.equal(state.rip, 0x400000n);
  assert.equal(state.cs.selector, 0x23);
  assert.equal(state.mode & L.MODE_CODE_MASK, L.MODE_CODE32);
  // Not in compatibility mode.
  assert.deepEqual(
    faultOf(() => system.syscall()),
    [L.VECTOR_UD, undefined],
  );
});

test('SYSENTER and SYSEXIT', () => {
  const cpu = new TestCpu().protect();
  const { state, system } = cpu;
  assert.deepEqual(
    faultOf(() => system.sysenter()),
    [L.VECTOR_GP, 0],
  );
  system.writeMsr(0x174, 0x10n);
  system.writeMsr(0x175, 0x5000n);
  system.writeMsr(0x176, 0x6000n);
  cpu.user();
  system.sysenter();
  assert.equal(state.cpl, 0);
  assert.equal(state.cs.selector, 0x10);
  assert.equal(state.ss.selector, 0x18);
  assert.equal(state.rip, 0x6000n);
  assert.equal(state.gpr(4), 0x5000n);
  assert.equal(state.flags & L.FLAG_IF, 0);
  state.setGpr(1, 0x7000n);
  state.setGpr(2, 0x8000n);
  system.sysexit(4);
  assert.equal(state.cpl, 3);
  assert.equal(state.cs.selector, 0x23);
  assert.equal(state.ss.selector, 0x2b);
  assert.equal(state.rip, 0x8000n);
  assert.equal(state.gpr(4), 0x7000n);
  assert.deepEqual(
    faultOf(() => system.sysexit(4)),
    [L.VECTOR_GP, 0],
  );
});

test('XSETBV and XGETBV', () => {
  const cpu = new TestCpu().long();
  const { state, system } = cpu;
  state.setGpr(1, 0n);
  assert.deepEqual(
    faultOf(() => system.xgetbv()),
    [L.VECTOR_UD, undefined],
  );
  system.writeControl(4, system.readControl(4) | BigInt(L.CR4_OSXSAVE));
  system.xgetbv();
  assert.equal(state.gpr(0), 1n);
  state.setGpr(0, 3n);
  state.setGpr(2, 0n);
  system.xsetbv();
  assert.equal(state.u64(L.XCR0), 3n);
  state.setGpr(0, 7n);
  system.xsetbv();
  assert.equal(state.u64(L.XCR0), 7n);
  assert.equal(state.mode & L.MODE_NO_AVX, 0);
  state.setGpr(1, 1n);
  system.xgetbv();
  assert.equal(state.gpr(0), 3n, 'no upper half of a YMM register is in use');
  state.setU64(L.XMM + 5 * L.XMM_STRIDE + 24, 1n);
  system.xgetbv();
  assert.equal(state.gpr(0), 7n);
  state.setGpr(1, 2n);
  assert.deepEqual(
    faultOf(() => system.xgetbv()),
    [L.VECTOR_GP, 0],
  );
  state.setGpr(1, 0n);
  for (const bad of [0n, 2n, 4n, 5n, 6n, 0xfn, 0x10n]) {
    state.setGpr(0, bad);
    assert.deepEqual(
      faultOf(() => system.xsetbv()),
      [L.VECTOR_GP, 0],
    );
  }
});

test('CPUID: vendor, brand, features as the table says', () => {
  const cpu = new TestCpu().long();
  const { state, system } = cpu;
  const text = (registers: readonly number[]) => {
    const bytes = registers.flatMap((index) => [0, 8, 16, 24].map((shift) => (state.gpr32(index) >>> shift) & 0xff));
    return String.fromCharCode(...bytes);
  };
  system.cpuid(0, 0);
  assert.equal(state.gpr32(0), 0x16);
  assert.equal(text([3, 2, 1]), 'GenuineIntel');
  system.cpuid(0x40000000, 0);
  assert.equal(text([3, 1, 2]), 'LodgeVirtual');
  let brand = '';
  for (let leaf = 0x80000002; leaf <= 0x80000004; leaf++) {
    system.cpuid(leaf, 0);
    brand += text([0, 3, 1, 2]);
  }
  assert.equal(brand.replaceAll('\0', ''), 'Lodge Virtual CPU');
  system.cpuid(1, 0);
  assert.equal(state.gpr32(0), 0x206a7);
  assert.equal(state.gpr32(2) & (1 << 28), 0);
  assert.equal(state.gpr32(1) & (1 << 27), 0);
  system.writeControl(4, system.readControl(4) | BigInt(L.CR4_OSXSAVE));
  system.cpuid(1, 0);
  assert.notEqual(state.gpr32(1) & (1 << 27), 0);
  // What x86-64-v2 asks for, and x86-64-v3 on top.
  const v2 = ['cmov', 'cx8', 'fpu', 'fxsr', 'mmx', 'syscall', 'sse2', 'cx16', 'lahf_lm', 'popcnt', 'sse4_2'];
  const v3 = ['avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'abm', 'movbe', 'osxsave'];
  const later = [
    'adx',
    'sha_ni',
    'gfni',
    'vaes',
    'vpclmulqdq',
    'rdseed',
    'rdpid',
    'clflushopt',
    'clwb',
    '3dnowprefetch',
  ];
  for (const name of [...v2, ...v3, ...later]) {
    assert.ok(
      CPU_FEATURES.some((feature) => feature.name === name),
      name,
    );
  }
  assert.equal(new Set(CPU_FEATURES.map((f) => `${f.register} ${f.bit}`)).size, CPU_FEATURES.length);
  system.cpuid(0x80000001, 0);
  assert.equal(state.gpr32(2), (1 << 11) | (1 << 20) | (1 << 26) | (1 << 27) | (1 << 29));
  system.cpuid(0x80000008, 0);
  assert.equal(state.gpr32(0), 0x3028);
  system.cpuid(0x15, 0);
  assert.deepEqual([state.gpr32(0), state.gpr32(3), state.gpr32(1)], [1, 2, 1_000_000_000]);
  system.cpuid(0xd, 0);
  const registers = () => [state.gpr32(0), state.gpr32(3), state.gpr32(1)];
  assert.deepEqual(registers(), [7, 576, 832]);
  state.setU64(L.XCR0, 7n);
  system.cpuid(0xd, 0);
  assert.deepEqual(registers(), [7, 832, 832]);
  system.cpuid(0xd, 1);
  assert.deepEqual(registers(), [7, 832, 0], 'XSAVEOPT, XSAVEC, XGETBV of XCR1');
  system.cpuid(0xd, 2);
  assert.deepEqual(registers(), [256, 576, 0]);
  // A machine that must do without AVX does not have its state either.
  system.limitFeatures(new Map([['1.ecx', ~(1 << 28)]]));
  system.cpuid(0xd, 0);
  assert.deepEqual(registers(), [3, 832, 576]);
  system.cpuid(0xd, 2);
  assert.deepEqual(registers(), [0, 0, 0]);
});

test('CPUID: topology of several processors', () => {
  const cpu = new TestCpu(2);
  cpu.environment.cpuCount = 3;
  const { state, system } = cpu;
  system.cpuid(1, 0);
  assert.equal(state.gpr32(3), 0x02040800);
  assert.notEqual(state.gpr32(2) & (1 << 28), 0);
  system.cpuid(0xb, 0);
  assert.deepEqual([state.gpr32(0), state.gpr32(3), state.gpr32(1), state.gpr32(2)], [0, 1, 0x100, 2]);
  system.cpuid(0xb, 1);
  assert.deepEqual([state.gpr32(0), state.gpr32(3), state.gpr32(1), state.gpr32(2)], [2, 3, 0x201, 2]);
  system.cpuid(0xb, 2);
  assert.deepEqual([state.gpr32(0), state.gpr32(3), state.gpr32(1)], [0, 0, 2]);
  system.cpuid(4, 3);
  assert.equal(state.gpr32(0) >>> 26, 3);
  system.cpuid(4, 4);
  assert.equal(state.gpr32(0), 0);
  // No SYSCALL outside 64-bit code, as on real processors of this make.
  system.cpuid(0x80000001, 0);
  assert.equal(state.gpr32(2) & (1 << 11), 0);
});

test('loading the descriptor tables', () => {
  const cpu = new TestCpu().long();
  const { state, system } = cpu;
  cpu.write16(0x6000, 0x1ff);
  cpu.write64(0x6002, 0xffff_8000_0000_1000n);
  system.lidt(0x6000n, 8);
  assert.equal(state.u64(L.IDTR), 0xffff_8000_0000_1000n);
  assert.equal(state.u32(L.IDTR + 8), 0x1ff);
  system.sidt(0x6100n);
  assert.equal(cpu.read16(0x6100), 0x1ff);
  assert.equal(cpu.read64(0x6102), 0xffff_8000_0000_1000n);
  cpu.write64(0x6002, 0x8000_0000_0000n);
  assert.deepEqual(
    faultOf(() => system.lgdt(0x6000n, 8)),
    [L.VECTOR_GP, 0],
  );
  assert.equal(state.u64(L.GDTR), BigInt(GDT));

  const old = new TestCpu().protect();
  old.write16(0x6000, 0x1ff);
  old.write32(0x6002, 0xff123456);
  old.system.lidt(0x6000n, 2);
  assert.equal(old.state.u64(L.IDTR), 0x123456n);
  old.system.lidt(0x6000n, 4);
  assert.equal(old.state.u64(L.IDTR), 0xff123456n);
});
