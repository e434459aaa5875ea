import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import type { Core } from './core.ts';
import { generalProtection, undefinedOpcode } from './faults.ts';

export const DR6_BD = 1 << 13;
export const DR6_BS = 1 << 14;
export const DR6_BT = 1 << 15;
/** DR6's bits that can be 0: B0–B3, BD, BS, BT (SDM 3B, 17.2.3). */
const DR6_WRITABLE = 0xe00f;
const DR6_FIXED = 0xffff0ff0;
const DR7_WRITABLE = 0xffff23ff;
const DR7_FIXED = 0x400;
const DR7_GD = 1 << 13;
/** R/W field: execution, writes, I/O, reads and writes. */
const KIND_EXECUTE = 0;
const KIND_WRITE = 1;
const KIND_IO = 2;

/** DR0–DR7 and the matching of breakpoints (SDM 3B, chapter 17). */
export class DebugRegisters {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** DR4 and DR5 are DR6 and DR7 unless CR4.DE says they do not exist. #DB if DR7.GD guards the registers. */
  #select(index: number): number {
    const core = this.#core;
    const state = core.state;
    const alias = index === 4 || index === 5;
    if (alias && state.cr4 & L.CR4_DE) {
      throw undefinedOpcode();
    }
    core.requireSupervisor();
    if (state.i32(L.DR7) & DR7_GD) {
      state.setI32(L.DR6, state.i32(L.DR6) | DR6_BD);
      throw new GuestFault(L.VECTOR_DB);
    }
    return alias ? index + 2 : index;
  }

  read(index: number): bigint {
    const register = this.#select(index);
    const state = this.#core.state;
    return state.u64(register === 6 ? L.DR6 : register === 7 ? L.DR7 : L.DR0 + register * 8);
  }

  write(index: number, value: bigint): void {
    const register = this.#select(index);
    const { state, environment } = this.#core;
    if (register < 4) {
      state.setU64(L.DR0 + register * 8, value);
    } else {
      if (value >> 32n) {
        throw generalProtection();
      }
      const low = Number(value);
      if (register === 6) {
        state.setU32(L.DR6, (low & DR6_WRITABLE) | DR6_FIXED);
        return;
      }
      state.setU32(L.DR7, (low & DR7_WRITABLE) | DR7_FIXED);
    }
    environment.debugChanged();
  }

  #kind(dr7: number, n: number): number {
    return (dr7 >>> (16 + n * 4)) & 3;
  }

  #enabled(dr7: number, n: number): boolean {
    return (dr7 & (3 << (n * 2))) !== 0;
  }

  /** Breakpoints of a sort are enabled: matching is worth its time. */
  get codeArmed(): boolean {
    const dr7 = this.#core.state.i32(L.DR7);
    for (let n = 0; n < 4; n++) {
      if (this.#enabled(dr7, n) && this.#kind(dr7, n) === KIND_EXECUTE) {
        return true;
      }
    }
    return false;
  }

  get dataArmed(): boolean {
    const dr7 = this.#core.state.i32(L.DR7);
    for (let n = 0; n < 4; n++) {
      if (this.#enabled(dr7, n) && this.#kind(dr7, n) !== KIND_EXECUTE) {
        return true;
      }
    }
    return false;
  }

  /** Sets DR6.B0–B3 for the breakpoints that match, and says whether one of them is enabled. */
  #match(address: bigint, size: number, wanted: (kind: number) => boolean): boolean {
    const state = this.#core.state;
    const dr7 = state.i32(L.DR7);
    let matched = 0;
    let hit = false;
    for (let n = 0; n < 4; n++) {
      const kind = this.#kind(dr7, n);
      if (!wanted(kind)) {
        continue;
      }
      const length = kind === KIND_EXECUTE ? 1 : ([1, 2, 8, 4][(dr7 >>> (18 + n * 4)) & 3] ?? 1);
      const start = state.u64(L.DR0 + n * 8) & ~BigInt(length - 1);
      if (address < start + BigInt(length) && start < address + BigInt(size)) {
        matched |= 1 << n;
        hit ||= this.#enabled(dr7, n);
      }
    }
    if (hit) {
      state.setI32(L.DR6, state.i32(L.DR6) | matched);
    }
    return hit;
  }

  /** An instruction breakpoint at the linear address of an instruction that is about to start with RF clear. */
  codeBreakpoint(address: bigint): boolean {
    return this.#match(address, 1, (kind) => kind === KIND_EXECUTE);
  }

  /** A data access has met a watchpoint: #DB is due as a trap after the instruction. */
  dataBreakpoint(address: bigint, size: number, write: boolean): boolean {
    const hit = this.#match(address, size, (kind) => (write ? kind === KIND_WRITE || kind === 3 : kind === 3));
    if (hit) {
      this.#core.state.setI32(L.TRAP_PENDING, 1);
    }
    return hit;
  }

  /** The same for a port, with CR4.DE. */
  ioBreakpoint(port: number, size: number): boolean {
    const state = this.#core.state;
    if (!(state.cr4 & L.CR4_DE)) {
      return false;
    }
    const hit = this.#match(BigInt(port), size, (kind) => kind === KIND_IO);
    if (hit) {
      state.setI32(L.TRAP_PENDING, 1);
    }
    return hit;
  }
}
