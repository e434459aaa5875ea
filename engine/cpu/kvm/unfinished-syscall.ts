import type { CpuState } from '../x86/cpu-state.ts';
import * as L from '../x86/layout.ts';
import { GuestFault, type LinearMemory } from '../x86/linear-memory.ts';
import type { System } from '../x86/system/system.ts';
import type { UndeliveredEvent } from './vcpu-registers.ts';

/*
 * Some KVMs run programs at full speed without hardware for it, and were made for guests that know them. There SYSCALL
 * of an unmodified guest's program goes to IA32_LSTAR with RCX, R11 and the flags as they should be, but stays a
 * program: fetching the system's first instruction is a page fault, for which the system kills the program. So KVM is
 * made to stop where the guest handles page faults, and what such a SYSCALL has done is taken back. The software
 * processor carries it out again.
 */

const RCX = 1;
const RSP = 4;
const R11 = 11;
const SYSCALL_BYTES = 2n;
const GATE_BYTES = 16n;
/** Exceptions of programs, the most frequent first. */
const WATCHED = [L.VECTOR_PF, L.VECTOR_GP, L.VECTOR_UD, L.VECTOR_NM];
/** The stack of a page fault's handler from RSP on (SDM 3A, 6.14.2): error code, RIP, CS, RFLAGS, RSP, SS. */
const FRAME_RIP = 8n;
const FRAME_CS = 16n;
const FRAME_FLAGS = 24n;
/** Bit 1 of RFLAGS. */
const ALWAYS_SET = 2;

interface Guest {
  readonly state: CpuState;
  readonly memory: LinearMemory;
  readonly system: System;
}

/** Where the guest's system in long mode begins to handle what its programs cause: at most four addresses. */
export function systemEntries(state: CpuState, memory: LinearMemory): readonly bigint[] {
  return WATCHED.map((vector) => gateTarget(state, memory, vector)).filter((entry) => entry !== undefined);
}

/** Where a gate of the interrupt descriptor table leads to (SDM 3A, 6.14.1); undefined: nowhere yet. */
function gateTarget(state: CpuState, memory: LinearMemory, vector: number): bigint | undefined {
  const offset = BigInt(vector) * GATE_BYTES;
  if ((state.efer & L.EFER_LMA) === 0 || BigInt(state.u32(L.IDTR + 8)) < offset + GATE_BYTES - 1n) {
    return undefined;
  }
  try {
    const gate = BigInt.asUintN(64, state.u64(L.IDTR) + offset);
    const low = memory.read64(gate, 'supervisor');
    const high = memory.read32(BigInt.asUintN(64, gate + 8n), 'supervisor');
    return (low & 0xffffn) | ((low >> 32n) & 0xffff0000n) | (BigInt(high >>> 0) << 32n);
  } catch (error) {
    if (error instanceof GuestFault) {
      return undefined;
    }
    throw error;
  }
}

/**
 * Takes a SYSCALL back that KVM has not finished, so that the instruction lies ahead again. `event`: what is being
 * delivered to the processor; returned unless it was that SYSCALL's fault. The record is in force.
 */
export function undoSyscall(guest: Guest, event: UndeliveredEvent | undefined): UndeliveredEvent | undefined {
  const { state, memory } = guest;
  if ((state.efer & L.EFER_LMA) === 0) {
    return event;
  }
  const target = state.u64(L.MSR_LSTAR);
  if (state.cpl === 3 && state.rip === target) {
    const isItsFault = event === undefined || (event.kind === 'exception' && event.vector === L.VECTOR_PF);
    if (!isItsFault || !isFromSyscall(state, state.flags)) {
      return event;
    }
    state.rip = BigInt.asUintN(64, state.gpr(RCX) - SYSCALL_BYTES);
    state.flags = flagsBefore(state);
    return undefined;
  }
  if (
    event === undefined &&
    state.cpl === 0 &&
    state.u64(L.CR2) === target &&
    state.rip === gateTarget(state, memory, L.VECTOR_PF)
  ) {
    returnFromFault(guest, target);
  }
  return event;
}

/** The handler of a page fault is about to begin: leaves it again if the fault was that of a SYSCALL. */
function returnFromFault({ state, memory, system }: Guest, target: bigint): void {
  const sp = state.gpr(RSP);
  const place = (offset: bigint) => BigInt.asUintN(64, sp + offset);
  try {
    const flags = memory.read32(place(FRAME_FLAGS), 'supervisor') | 0;
    const isProgram = (memory.read16(place(FRAME_CS), 'supervisor') & 3) === 3;
    if (!isProgram || memory.read64(place(FRAME_RIP), 'supervisor') !== target || !isFromSyscall(state, flags)) {
      return;
    }
    memory.write64(place(FRAME_RIP), BigInt.asUintN(64, state.gpr(RCX) - SYSCALL_BYTES), 'supervisor');
    memory.write64(place(FRAME_FLAGS), BigInt(flagsBefore(state) >>> 0), 'supervisor');
    state.setGpr(RSP, place(FRAME_RIP));
    system.iret(8);
  } catch (error) {
    if (!(error instanceof GuestFault)) {
      throw error;
    }
    // A guest that has taken its own stack or tables away meanwhile: it stays in its handler.
    state.setGpr(RSP, sp);
  }
}

/** The flags are those of R11 less IA32_FMASK: not so where a program merely jumped there, as systems mask IF. */
function isFromSyscall(state: CpuState, flags: number): boolean {
  const masked = Number(state.gpr(R11) & 0xffffffffn) & ~state.i32(L.MSR_SFMASK);
  return ((flags ^ masked) & ~(L.FLAG_RF | ALWAYS_SET)) === 0;
}

function flagsBefore(state: CpuState): number {
  return Number(state.gpr(R11) & 0xffffffffn) & ~L.FLAG_RF;
}
