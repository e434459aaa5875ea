import type { StateValue } from '../../devices/device.ts';
import { StateReader } from '../../devices/state.ts';
import type { CpuState, Segment } from './cpu-state.ts';
import * as L from './layout.ts';

/**
 * One processor's architectural state as a plain record, the same from every backend. Names are the manuals'; nothing in
 * it is a hypervisor's or this program's own format. What belongs to the local APIC is saved with it.
 */
export const PROCESSOR_RECORD_VERSION = 2;

const GENERAL = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const;
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;
/** 64-bit registers and their places. */
const REGISTERS: readonly (readonly [name: string, offset: number])[] = [
  ...Array.from({ length: 16 }, (_, i) => [GENERAL[i] ?? `r${i}`, L.GPR + i * 8] as const),
  ['rip', L.RIP],
  ['cr0', L.CR0],
  ['cr2', L.CR2],
  ['cr3', L.CR3],
  ['cr4', L.CR4],
  ['efer', L.EFER],
  ['xcr0', L.XCR0],
  ...Array.from({ length: 4 }, (_, i) => [`dr${i}`, L.DR0 + i * 8] as const),
  ['dr6', L.DR6],
  ['dr7', L.DR7],
  ['star', L.MSR_STAR],
  ['lstar', L.MSR_LSTAR],
  ['cstar', L.MSR_CSTAR],
  ['sfmask', L.MSR_SFMASK],
  ['kernelGsBase', L.MSR_KERNEL_GS_BASE],
  ['sysenterCs', L.MSR_SYSENTER_CS],
  ['sysenterEsp', L.MSR_SYSENTER_ESP],
  ['sysenterEip', L.MSR_SYSENTER_EIP],
  ['tscAux', L.MSR_TSC_AUX],
  ['tscAdjust', L.MSR_TSC_ADJUST],
  ['pat', L.MSR_PAT],
  ['miscEnable', L.MSR_MISC_ENABLE],
  ['mtrrDefType', L.MSR_MTRR_DEF_TYPE],
  ...Array.from({ length: 8 }, (_, i) => [`mtrrPhysBase${i}`, L.MSR_MTRR_VARIABLE + i * 16] as const),
  ...Array.from({ length: 8 }, (_, i) => [`mtrrPhysMask${i}`, L.MSR_MTRR_VARIABLE + i * 16 + 8] as const),
  ...Array.from({ length: 11 }, (_, i) => [`mtrrFixed${i}`, L.MSR_MTRR_FIXED + i * 8] as const),
  ['fpuIp', L.FPU_IP],
  ['fpuDp', L.FPU_DP],
];
/** Registers that records of version 1 do not have: they read as zero there. */
const LATER_REGISTERS: typeof REGISTERS = [
  ['specCtrl', L.MSR_SPEC_CTRL],
  ['kvmSystemTime', L.MSR_KVM_SYSTEM_TIME],
  ['kvmWallClock', L.MSR_KVM_WALL_CLOCK],
  ['kvmStealTime', L.MSR_KVM_STEAL_TIME],
  ['kvmPvEoi', L.MSR_KVM_PV_EOI],
];
/** Small registers: name, place, largest value. */
const WORDS: readonly (readonly [name: string, offset: number, largest: number])[] = [
  ['fpuControl', L.FPU_CONTROL, 0xffff],
  ['fpuStatus', L.FPU_STATUS, 0xffff],
  ['fpuTop', L.FPU_TOP, 7],
  ['fpuValid', L.FPU_VALID, 0xff],
  ['fpuOpcode', L.FPU_OPCODE, 0x7ff],
  ['fpuCs', L.FPU_CS, 0xffff],
  ['fpuDs', L.FPU_DS, 0xffff],
  ['mxcsr', L.MXCSR, 0xffff],
  ['nmiPending', L.NMI_PENDING, 1],
  ['nmiBlocked', L.NMI_BLOCKED, 1],
  ['interruptShadow', L.SHADOW, 1],
  ['debugTrapPending', L.TRAP_PENDING, 1],
];
const ACTIVITIES = ['running', 'halted', 'wait-for-sipi', 'shutdown'] as const;
const ATTRIBUTES = 0x1f0ff;
const FLAGS = 0x3f7fd7;
const VECTOR_BYTES = 16 * L.XMM_STRIDE;
const X87_BYTES = 8 * L.FPR_STRIDE;

/** `tsc`: the time-stamp counter as the guest sees it now. */
export function saveProcessor(state: CpuState, tsc: bigint): StateValue {
  const bytes = (offset: number, length: number) => Uint8Array.from({ length }, (_, i) => state.u8(offset + i));
  const table = (offset: number) => ({ base: state.u64(offset), limit: state.u32(offset + 8) });
  return {
    version: PROCESSOR_RECORD_VERSION,
    registers: Object.fromEntries(
      [...REGISTERS, ...LATER_REGISTERS].map(([name, offset]) => [name, state.u64(offset)]),
    ),
    rflags: state.flags >>> 0,
    segments: Object.fromEntries(
      SEGMENTS.map((name, i) => {
        const { selector, base, limit, attributes } = state.segments[i] as Segment;
        return [name, { selector, base, limit, attributes }];
      }),
    ),
    gdtr: table(L.GDTR),
    idtr: table(L.IDTR),
    words: Object.fromEntries(WORDS.map(([name, offset]) => [name, state.i32(offset)])),
    activity: ACTIVITIES[state.i32(L.ACTIVITY)] ?? 'running',
    x87: bytes(L.FPR, X87_BYTES),
    vectors: bytes(L.XMM, VECTOR_BYTES),
    tsc,
  };
}

/**
 * Puts a saved record into the state; `timestamp` is the machine's counter now. Throws HostError('bad-state') for what
 * cannot be, and has then changed nothing. The caller derives anew what derives from the state.
 */
export function loadProcessor(state: CpuState, record: StateValue, timestamp: bigint): void {
  const owner = `processor ${state.index}`;
  const reader = new StateReader(owner, record);
  const version = reader.int('version', 1, 0xffff);
  if (version > PROCESSOR_RECORD_VERSION) {
    reader.refuse(`its version ${version} is not known here`);
  }
  const from = reader.object('registers');
  const registers = REGISTERS.map(([name, offset]) => [offset, from.u64(name)] as const).concat(
    LATER_REGISTERS.map(([name, offset]) => [offset, version === 1 ? 0n : from.u64(name)] as const),
  );
  const rflags = reader.u32('rflags');
  const segmentsFrom = reader.object('segments');
  const segments = SEGMENTS.map((name) => {
    const segment = segmentsFrom.object(name);
    const attributes = segment.u32('attributes');
    if ((attributes & ~ATTRIBUTES) !== 0) {
      segment.refuse('the attributes have bits that do not exist');
    }
    return { selector: segment.u16('selector'), base: segment.u64('base'), limit: segment.u32('limit'), attributes };
  });
  const tables = [reader.object('gdtr'), reader.object('idtr')].map((table) => ({
    base: table.u64('base'),
    limit: table.u16('limit'),
  }));
  const wordsFrom = reader.object('words');
  const words = WORDS.map(([name, offset, largest]) => [offset, wordsFrom.int(name, 0, largest)] as const);
  const activity = ACTIVITIES.indexOf(reader.oneOf('activity', ACTIVITIES));
  const x87 = reader.bytes('x87', X87_BYTES);
  const vectors = reader.bytes('vectors', VECTOR_BYTES);
  const tsc = reader.u64('tsc');
  const value = (offset: number) => registers.find(([place]) => place === offset)?.[1] ?? 0n;
  for (const [name, offset] of [
    ['cr0', L.CR0],
    ['cr4', L.CR4],
    ['efer', L.EFER],
    ['xcr0', L.XCR0],
    ['dr6', L.DR6],
    ['dr7', L.DR7],
  ] as const) {
    if (value(offset) >> 32n !== 0n) {
      reader.refuse(`${name} has bits above 31`);
    }
  }
  const paging = (value(L.CR0) & 0x80000001n) === 0x80000001n;
  if ((value(L.EFER) & BigInt(L.EFER_LMA)) !== 0n && !paging) {
    reader.refuse('long mode is active without paging');
  }
  if ((rflags & ~FLAGS) !== 0) {
    reader.refuse('rflags has bits that do not exist');
  }

  for (const [offset, register] of registers) {
    state.setU64(offset, register);
  }
  state.flags = rflags;
  for (const [i, { selector, base, limit, attributes }] of segments.entries()) {
    state.segments[i]?.assign(selector, base, limit, attributes);
  }
  for (const [i, { base, limit }] of tables.entries()) {
    const offset = i === 0 ? L.GDTR : L.IDTR;
    state.setU64(offset, base);
    state.setU32(offset + 8, limit);
  }
  for (const [offset, word] of words) {
    state.setI32(offset, word);
  }
  state.setI32(L.FAULT, 0);
  state.setI32(L.ACTIVITY, activity);
  for (const [i, byte] of x87.entries()) {
    state.setU8(L.FPR + i, byte);
  }
  for (const [i, byte] of vectors.entries()) {
    state.setU8(L.XMM + i, byte);
  }
  state.setU64(L.TSC_OFFSET, BigInt.asUintN(64, tsc - timestamp));
}
