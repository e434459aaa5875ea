import * as L from '../layout.ts';
import type { Core, OperandSize } from './core.ts';
import { RSP } from './core.ts';
import { FLAT_CODE32, FLAT_CODE64, FLAT_DATA } from './descriptor.ts';
import { generalProtection, undefinedOpcode } from './faults.ts';
import { canonicalHigh } from './stack.ts';

const RCX = L.GPR + 1 * 8;
const RDX = L.GPR + 2 * 8;
const R11 = L.GPR + 11 * 8;
const USER = 3 << L.ATTR_DPL_SHIFT;
const FOUR_GIB = 0xffffffff;
/** RFLAGS bits SYSRET takes from R11: all but RF and VM. */
const SYSRET_FLAGS = 0x3c7fd7;

/** SYSCALL, SYSENTER and their returns (SDM 3A, 5.8.7 and 5.8.8; SDM 2B). */
export class FastCalls {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Copies 64 bits inside the record. */
  #copy(to: number, from: number): void {
    const state = this.#core.state;
    state.setI32(to, state.i32(from));
    state.setI32(to + 4, state.i32(from + 4));
  }

  #copyLow(to: number, from: number): void {
    const state = this.#core.state;
    state.setI32(to, state.i32(from));
    state.setI32(to + 4, 0);
  }

  #requireSyscall(): void {
    const core = this.#core;
    if (!core.isCode64 || !(core.state.efer & L.EFER_SCE)) {
      throw undefinedOpcode();
    }
  }

  /** Only in 64-bit mode, as on Intel processors. */
  syscall(): void {
    this.#requireSyscall();
    const core = this.#core;
    const state = core.state;
    const flags = state.flags & ~L.FLAG_RF;
    this.#copy(RCX, L.RIP);
    state.setI32(R11, flags);
    state.setI32(R11 + 4, 0);
    this.#copy(L.RIP, L.MSR_LSTAR);
    state.flags = flags & ~state.i32(L.MSR_SFMASK);
    const selector = state.u16(L.MSR_STAR + 4) & 0xfffc;
    core.setSegment(L.SEG_CS, selector, 0, FOUR_GIB, FLAT_CODE64);
    core.setSegment(L.SEG_SS, (selector + 8) & 0xffff, 0, FOUR_GIB, FLAT_DATA);
    core.updateMode(0);
  }

  sysret(size: OperandSize): void {
    this.#requireSyscall();
    const core = this.#core;
    core.requireSupervisor();
    const state = core.state;
    const star = state.u16(L.MSR_STAR + 6);
    if (size === 8) {
      if (!canonicalHigh(state.i32(RCX + 4))) {
        throw generalProtection();
      }
      this.#copy(L.RIP, RCX);
      core.setSegment(L.SEG_CS, ((star + 16) & 0xffff) | 3, 0, FOUR_GIB, FLAT_CODE64 | USER);
    } else {
      this.#copyLow(L.RIP, RCX);
      core.setSegment(L.SEG_CS, star | 3, 0, FOUR_GIB, FLAT_CODE32 | USER);
    }
    core.setSegment(L.SEG_SS, ((star + 8) & 0xffff) | 3, 0, FOUR_GIB, FLAT_DATA | USER);
    state.flags = state.i32(R11) & SYSRET_FLAGS;
    core.updateMode(3);
  }

  sysenter(): void {
    const core = this.#core;
    const state = core.state;
    const selector = state.u16(L.MSR_SYSENTER_CS) & 0xfffc;
    if (!(state.cr0 & L.CR0_PE) || selector === 0) {
      throw generalProtection();
    }
    core.clearFlags(L.FLAG_VM | L.FLAG_IF | L.FLAG_RF);
    const long = (state.efer & L.EFER_LMA) !== 0;
    if (long) {
      this.#copy(L.GPR + RSP * 8, L.MSR_SYSENTER_ESP);
      this.#copy(L.RIP, L.MSR_SYSENTER_EIP);
    } else {
      this.#copyLow(L.GPR + RSP * 8, L.MSR_SYSENTER_ESP);
      this.#copyLow(L.RIP, L.MSR_SYSENTER_EIP);
    }
    core.setSegment(L.SEG_CS, selector, 0, FOUR_GIB, long ? FLAT_CODE64 : FLAT_CODE32);
    core.setSegment(L.SEG_SS, (selector + 8) & 0xffff, 0, FOUR_GIB, FLAT_DATA);
    core.updateMode(0);
  }

  sysexit(size: OperandSize): void {
    const core = this.#core;
    const state = core.state;
    const selector = state.u16(L.MSR_SYSENTER_CS) & 0xfffc;
    if (selector === 0 || !core.isProtected || state.cpl !== 0) {
      throw generalProtection();
    }
    if (size === 8) {
      if (!canonicalHigh(state.i32(RCX + 4)) || !canonicalHigh(state.i32(RDX + 4))) {
        throw generalProtection();
      }
      this.#copy(L.GPR + RSP * 8, RCX);
      this.#copy(L.RIP, RDX);
      core.setSegment(L.SEG_CS, ((selector + 32) & 0xffff) | 3, 0, FOUR_GIB, FLAT_CODE64 | USER);
      core.setSegment(L.SEG_SS, ((selector + 40) & 0xffff) | 3, 0, FOUR_GIB, FLAT_DATA | USER);
    } else {
      this.#copyLow(L.GPR + RSP * 8, RCX);
      this.#copyLow(L.RIP, RDX);
      core.setSegment(L.SEG_CS, ((selector + 16) & 0xffff) | 3, 0, FOUR_GIB, FLAT_CODE32 | USER);
      core.setSegment(L.SEG_SS, ((selector + 24) & 0xffff) | 3, 0, FOUR_GIB, FLAT_DATA | USER);
    }
    core.updateMode(3);
  }
}
