import * as L from '../layout.ts';
import type { Core } from './core.ts';
import { CPU_SIGNATURE } from './cpuid.ts';
import { REAL_MODE_DATA } from './descriptor.ts';
import { MISC_ENABLE_RESET } from './msr.ts';

/** 'power-on' also clears what INIT keeps: the FPU, SSE, MTRRs, most MSRs and the counters. */
export type ResetKind = 'power-on' | 'init';

/** WB, WT, UC−, UC, twice. */
const PAT_RESET = 0x0007040600070406n;
const CR0_RESET = L.CR0_CD | L.CR0_NW | L.CR0_ET;
const MXCSR_RESET = 0x1f80;

/** Register values after reset and INIT (SDM 3A, table 9-1). */
export function resetRegisters(core: Core, kind: ResetKind): void {
  const state = core.state;
  for (let i = 0; i < 16; i++) {
    state.setGpr(i, 0n);
  }
  state.setGpr(2, BigInt(CPU_SIGNATURE));
  state.setU64(L.ZERO, 0n);
  state.rip = 0xfff0n;
  state.flags = 2;
  const cacheBits = state.cr0 & (L.CR0_CD | L.CR0_NW);
  state.setU64(L.CR0, BigInt((kind === 'power-on' ? CR0_RESET : L.CR0_ET | cacheBits) >>> 0));
  for (const register of [L.CR2, L.CR3, L.CR4, L.EFER]) {
    state.setU64(register, 0n);
  }
  for (let i = L.SEG_ES; i <= L.SEG_GS; i++) {
    core.setSegment(i, 0, 0, 0xffff, REAL_MODE_DATA);
  }
  core.setSegment(L.SEG_CS, 0xf000, 0xffff0000, 0xffff, REAL_MODE_DATA);
  // An LDT (type 2) and a busy 32-bit TSS (type 11), both present.
  core.setSegment(L.SEG_LDTR, 0, 0, 0xffff, L.ATTR_PRESENT | 2);
  core.setSegment(L.SEG_TR, 0, 0, 0xffff, L.ATTR_PRESENT | 11);
  for (const register of [L.GDTR, L.IDTR]) {
    state.setU64(register, 0n);
    state.setU32(register + 8, 0xffff);
  }
  for (let i = 0; i < 4; i++) {
    state.setU64(L.DR0 + i * 8, 0n);
  }
  state.setU64(L.DR6, 0xffff0ff0n);
  state.setU64(L.DR7, 0x400n);
  for (const flag of [L.FAULT, L.NMI_PENDING, L.NMI_BLOCKED, L.SHADOW, L.TRAP_PENDING]) {
    state.setI32(flag, 0);
  }
  if (kind === 'power-on') {
    resetRest(core);
  }
  // Only the bootstrap processor runs from the reset vector; the others wait for a start-up IPI (SDM 3A, 8.4.3).
  state.setI32(L.ACTIVITY, state.index === 0 ? L.ACTIVITY_RUNNING : L.ACTIVITY_WAIT_SIPI);
  core.environment.flushTlb(true);
  core.environment.debugChanged();
  core.updateMode(0);
}

/** What survives INIT. */
function resetRest(core: Core): void {
  const state = core.state;
  state.setU64(L.XCR0, 1n);
  for (let offset = L.MSR_STAR; offset < L.MSR_MTRR_FIXED + 11 * 8; offset += 8) {
    state.setU64(offset, 0n);
  }
  for (let offset = L.MSR_SPEC_CTRL; offset < L.MSR_EXTRA_END; offset += 8) {
    state.setU64(offset, 0n);
  }
  state.setU64(L.MSR_PAT, PAT_RESET);
  state.setU64(L.MSR_MISC_ENABLE, MISC_ENABLE_RESET);
  // The counter starts at 0 for every processor at once.
  state.setU64(L.TSC_OFFSET, BigInt.asUintN(64, -core.environment.timestamp()));
  state.setI32(L.INTR, 0);
  state.setU32(L.CPU_INDEX, state.index);
  for (let offset = L.XMM; offset < L.FPU_CONTROL; offset += 8) {
    state.setU64(offset, 0n);
  }
  // As after FNINIT would be 0x37f; power-on leaves 0x40 (SDM 3A, table 9-1), with all registers holding +0.
  state.setU32(L.FPU_CONTROL, 0x40);
  for (const register of [L.FPU_STATUS, L.FPU_TOP, L.FPU_OPCODE, L.FPU_CS, L.FPU_DS]) {
    state.setU32(register, 0);
  }
  state.setU32(L.FPU_VALID, 0xff);
  state.setU64(L.FPU_IP, 0n);
  state.setU64(L.FPU_DP, 0n);
  state.setU32(L.MXCSR, MXCSR_RESET);
}

/** A start-up IPI: a waiting processor starts in real mode at `vector << 12` (SDM 3A, 8.4.4). Others ignore it. */
export function startProcessor(core: Core, vector: number): void {
  const state = core.state;
  if (state.i32(L.ACTIVITY) !== L.ACTIVITY_WAIT_SIPI) {
    return;
  }
  core.setSegment(L.SEG_CS, (vector & 0xff) << 8, (vector & 0xff) << 12, 0xffff, REAL_MODE_DATA);
  state.rip = 0n;
  state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  core.updateMode(0);
}
