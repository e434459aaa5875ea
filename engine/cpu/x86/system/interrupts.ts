import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import type { Core } from './core.ts';
import { RSP } from './core.ts';
import {
  type Descriptor,
  TYPE_INTERRUPT_GATE16,
  TYPE_INTERRUPT_GATE32,
  TYPE_TASK_GATE,
  TYPE_TRAP_GATE16,
  TYPE_TRAP_GATE32,
} from './descriptor.ts';
import { generalProtection, makesDoubleFault, NewTaskFault, notPresent } from './faults.ts';
import { canonicalHigh } from './stack.ts';
import { innerStack, innerStack64, istSlot, rspSlot } from './stack-switch.ts';
import type { TaskSwitch } from './task-switch.ts';

/** Where an interrupt or exception comes from: it decides on privilege checks and the EXT bit. */
export type InterruptSource = 'exception' | 'external' | 'software' | 'int3' | 'into' | 'icebp' | 'nmi';

const TR = L.SEGMENTS + L.SEG_TR * L.SEGMENT_SIZE;
const SS = L.SEGMENTS + L.SEG_SS * L.SEGMENT_SIZE;
const DR7_GD = 1 << 13;
/** Error-code bit: the index is one of the IDT. */
const IDT = 2;
/** RFLAGS bits that every handler starts without. */
const CLEARED = L.FLAG_TF | L.FLAG_NT | L.FLAG_RF | L.FLAG_VM;

/** Delivery of interrupts and exceptions (SDM 3A, chapter 6; SDM 2A, INT n; SDM 3B, 20.3). */
export class Interrupts {
  readonly #core: Core;
  readonly #tasks: TaskSwitch;

  constructor(core: Core, tasks: TaskSwitch) {
    this.#core = core;
    this.#tasks = tasks;
  }

  /** See System.deliver; may throw {@link NewTaskFault} as well. */
  deliver(vector: number, source: InterruptSource, errorCode?: number): void {
    const core = this.#core;
    const state = core.state;
    const software = source === 'software' || source === 'int3' || source === 'into';
    const mode = state.mode;
    if (mode & L.MODE_LONG) {
      this.#deliverLong(vector, software, errorCode);
    } else if (mode & L.MODE_PROTECTED) {
      this.#deliverProtected(vector, software, errorCode);
    } else if (mode & L.MODE_VM86) {
      if (source !== 'software' || !this.#redirectVm86(vector)) {
        this.#deliverProtected(vector, software, errorCode);
      }
    } else {
      this.#deliverReal(vector);
    }
    state.setI32(L.SHADOW, 0);
    if (state.i32(L.ACTIVITY) === L.ACTIVITY_HALTED) {
      state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
    }
    if (source === 'nmi') {
      state.setI32(L.NMI_BLOCKED, 1);
    } else if (vector === L.VECTOR_DB) {
      const dr7 = state.i32(L.DR7);
      if (dr7 & DR7_GD) {
        state.setI32(L.DR7, dr7 & ~DR7_GD);
      }
    }
  }

  /** See System.deliverFault. */
  deliverFault(fault: GuestFault): void {
    const core = this.#core;
    const state = core.state;
    let current = fault;
    for (;;) {
      if (current.vector === L.VECTOR_PF) {
        state.setU64(L.CR2, current.address ?? 0n);
      }
      // The pushed RF lets the instruction restart; a handler of #DB sets it itself (SDM 3B, 17.3.1.1).
      if (current.vector !== L.VECTOR_DB) {
        state.setI32(L.FLAGS_REST, state.i32(L.FLAGS_REST) | L.FLAG_RF);
      }
      try {
        this.deliver(current.vector, 'exception', current.errorCode);
        return;
      } catch (next) {
        if (!(next instanceof GuestFault)) {
          throw next;
        }
        if (next.vector === L.VECTOR_PF) {
          state.setU64(L.CR2, next.address ?? 0n);
        }
        if (current.vector === L.VECTOR_DF) {
          this.#shutDown(next);
          return;
        }
        current = makesDoubleFault(current.vector, next.vector) ? new GuestFault(L.VECTOR_DF, 0) : next;
      }
    }
  }

  /** A triple fault (SDM 3A, 6.15, interrupt 8). */
  #shutDown(last: GuestFault): void {
    const { state, environment } = this.#core;
    state.setI32(L.ACTIVITY, L.ACTIVITY_SHUTDOWN);
    environment.log.warn(
      `processor ${state.index} shut down after a triple fault at ${state.cs.selector.toString(16)}:` +
        `${state.rip.toString(16)} (last exception ${last.vector}, CR2 ${state.u64(L.CR2).toString(16)})`,
    );
  }

  // Real mode

  /** Real-address mode: a far pointer in the table at IDTR (SDM 3B, 20.1.4). */
  #deliverReal(vector: number): void {
    const core = this.#core;
    const state = core.state;
    if (vector * 4 + 3 > state.u32(L.IDTR + 8)) {
      throw generalProtection(vector * 8 + IDT);
    }
    const entry = core.memory.read32(core.addressIn(L.IDTR, vector * 4), 'supervisor');
    const frame = core.frame;
    core.openFrame(2, 3);
    frame.push(state.flags);
    frame.push(state.cs.selector);
    frame.push(state.u32(L.RIP));
    core.closeFrame();
    core.clearFlags(L.FLAG_IF | L.FLAG_TF | L.FLAG_AC | L.FLAG_RF);
    core.setRealSegment(L.SEG_CS, entry >>> 16);
    core.setRip32(entry & 0xffff);
    core.updateMode();
  }

  // Virtual-8086 mode

  /**
   * INT n in virtual-8086 mode: with VME, the redirection bit map may send it to the 8086 program's own handler
   * (SDM 3B, 20.3.3, methods 5 and 6). True when that was done; otherwise the IDT's gate is used, given IOPL 3.
   */
  #redirectVm86(vector: number): boolean {
    const core = this.#core;
    const state = core.state;
    const iopl = core.iopl;
    if (!(state.cr4 & L.CR4_VME) || this.#redirectionBit(vector)) {
      if (iopl < 3) {
        throw generalProtection();
      }
      return false;
    }
    const entry = core.memory.read32(BigInt(vector * 4), 'current');
    const flags = state.flags;
    let pushed = flags;
    if (iopl < 3) {
      pushed = (flags & ~L.FLAG_IF) | L.FLAG_IOPL | (flags & L.FLAG_VIF ? L.FLAG_IF : 0);
    }
    core.openFrame(2, 3);
    core.frame.push(pushed);
    core.frame.push(state.cs.selector);
    core.frame.push(state.u32(L.RIP));
    core.closeFrame();
    core.clearFlags(L.FLAG_TF | L.FLAG_RF | (iopl === 3 ? L.FLAG_IF : L.FLAG_VIF));
    core.setVm86Segment(L.SEG_CS, entry >>> 16);
    core.setRip32(entry & 0xffff);
    core.updateMode();
    return true;
  }

  /** The bit of a vector in the 32 bytes below the I/O permission bit map; beyond the TSS it counts as set. */
  #redirectionBit(vector: number): boolean {
    const core = this.#core;
    const limit = core.state.u32(TR + L.SEGMENT_LIMIT);
    if (limit < 103) {
      return true;
    }
    const map = core.memory.read16(core.addressIn(TR, 102), 'supervisor') - 32 + (vector >> 3);
    if (map < 0 || map > limit) {
      return true;
    }
    return (core.memory.read8(core.addressIn(TR, map), 'supervisor') & (1 << (vector & 7))) !== 0;
  }

  // Protected mode

  #deliverProtected(vector: number, software: boolean, errorCode: number | undefined): void {
    const core = this.#core;
    const state = core.state;
    const external = software ? 0 : 1;
    const idtError = vector * 8 + IDT + external;
    if (vector * 8 + 7 > state.u32(L.IDTR + 8)) {
      throw generalProtection(idtError);
    }
    const gate = core.readEntry(core.addressIn(L.IDTR, vector * 8));
    const type = gate.isSegment ? 0 : gate.type;
    const isTrap = type === TYPE_TRAP_GATE32 || type === TYPE_TRAP_GATE16;
    const isInterrupt = type === TYPE_INTERRUPT_GATE32 || type === TYPE_INTERRUPT_GATE16;
    if ((!isTrap && !isInterrupt && type !== TYPE_TASK_GATE) || (software && gate.dpl < state.cpl)) {
      throw generalProtection(idtError);
    }
    if (!gate.present) {
      throw notPresent(idtError);
    }
    if (type === TYPE_TASK_GATE) {
      this.#throughTask(gate.gateSelector, external, errorCode);
      return;
    }
    const size = type & 8 ? 4 : 2;
    const offset = size === 4 ? gate.gateOffset : gate.gateOffset & 0xffff;
    const selector = gate.gateSelector;
    const code = this.#handlerCode(selector, external);
    const fromVm86 = (state.mode & L.MODE_VM86) !== 0;
    const inner = !code.isConformingCode && code.dpl < state.cpl;
    if (fromVm86 && (!inner || code.dpl !== 0)) {
      throw generalProtection((selector & 0xfffc) | external);
    }
    const items = (errorCode === undefined ? 3 : 4) + (inner ? 2 : 0) + (fromVm86 ? 4 : 0);
    const frame = core.frame;
    const flags = state.flags;
    const level = inner ? code.dpl : state.cpl;
    if (inner) {
      const stack = innerStack(core, level, external);
      const to = stack.descriptor;
      if (offset > code.limit) {
        throw generalProtection(external);
      }
      const error = (stack.selector & 0xfffc) | external;
      frame.open(to.base, to.limit, to.attributes, stack.pointer, size, items, 'supervisor', error);
      core.markAccessed(code);
      core.markAccessed(to);
      if (fromVm86) {
        frame.push(state.gs.selector);
        frame.push(state.fs.selector);
        frame.push(state.ds.selector);
        frame.push(state.es.selector);
        core.setNull(L.SEG_GS, 0);
        core.setNull(L.SEG_FS, 0);
        core.setNull(L.SEG_DS, 0);
        core.setNull(L.SEG_ES, 0);
      }
      frame.push(state.u32(SS + L.SEGMENT_SELECTOR));
      frame.push(state.gpr32(RSP));
      core.setSegmentFrom(L.SEG_SS, stack.selector, to);
    } else {
      if (offset > code.limit) {
        throw generalProtection(external);
      }
      const ss = SS;
      const attributes = state.i32(ss + L.SEGMENT_ATTRIBUTES);
      const limit = state.u32(ss + L.SEGMENT_LIMIT);
      frame.open(state.u32(ss), limit, attributes, state.gpr32(RSP), size, items, 'current', external);
      core.markAccessed(code);
    }
    frame.push(flags);
    frame.push(state.cs.selector);
    frame.push(state.u32(L.RIP));
    if (errorCode !== undefined) {
      frame.push(errorCode);
    }
    core.setStackPointer(frame.pointer);
    core.setCode(selector, level, code);
    core.setRip32(offset);
    core.clearFlags(isInterrupt ? CLEARED | L.FLAG_IF : CLEARED);
    core.updateMode(level);
  }

  /** The code segment of a handler: present, and no less privileged than the interrupted program. */
  #handlerCode(selector: number, external: number): Descriptor {
    const core = this.#core;
    const error = (selector & 0xfffc) | external;
    const code = (selector & 0xfffc) === 0 ? undefined : core.descriptor(selector);
    if (code === undefined || !code.isCode || code.dpl > core.state.cpl) {
      throw generalProtection(error);
    }
    if (!code.present) {
      throw notPresent(error);
    }
    return code;
  }

  /** A task gate: the handler is a task of its own, its stack takes the error code (SDM 3A, 6.12.2). */
  #throughTask(selector: number, external: number, errorCode: number | undefined): void {
    const core = this.#core;
    const tasks = this.#tasks;
    const tss = tasks.tss(selector, 'gate', external);
    tasks.switch(selector, tss, 'gate', external);
    if (errorCode !== undefined) {
      try {
        core.openFrame(tss.type & 8 ? 4 : 2, 1);
      } catch (fault) {
        throw fault instanceof GuestFault ? new NewTaskFault(fault) : fault;
      }
      core.frame.push(errorCode);
      core.closeFrame();
    }
  }

  // Long mode

  /** 64-bit gates, IST, aligned stack, SS:RSP always pushed (SDM 3A, 6.14). */
  #deliverLong(vector: number, software: boolean, errorCode: number | undefined): void {
    const core = this.#core;
    const state = core.state;
    const memory = core.memory;
    const external = software ? 0 : 1;
    const idtError = vector * 8 + IDT + external;
    if (vector * 16 + 15 > state.u32(L.IDTR + 8)) {
      throw generalProtection(idtError);
    }
    const gate = core.readEntry(core.addressIn(L.IDTR, vector * 16));
    const cpl = state.cpl;
    const type = gate.high & 0x1f00;
    if ((type !== 0xe00 && type !== 0xf00) || (software && gate.dpl < cpl)) {
      throw generalProtection(idtError);
    }
    if (!gate.present) {
      throw notPresent(idtError);
    }
    const offsetHigh = memory.read32(gate.address + 8n, 'supervisor');
    const selector = gate.gateSelector;
    const code = this.#handlerCode(selector, external);
    if (!code.isLong || code.isBig) {
      throw generalProtection((selector & 0xfffc) | external);
    }
    const inner = !code.isConformingCode && code.dpl < cpl;
    const level = inner ? code.dpl : cpl;
    const ist = gate.high & 7;
    let pointer: bigint;
    if (ist !== 0) {
      pointer = innerStack64(core, istSlot(ist), external);
    } else if (inner) {
      pointer = innerStack64(core, rspSlot(level), external);
    } else {
      pointer = state.gpr(RSP);
    }
    if (!canonicalHigh(offsetHigh | 0)) {
      throw generalProtection(external);
    }
    const frame = core.frame;
    const items = errorCode === undefined ? 5 : 6;
    frame.open64(pointer & ~0xfn, 8, items, level === 3 ? 'current' : 'supervisor', external);
    core.markAccessed(code);
    frame.push(state.u32(SS + L.SEGMENT_SELECTOR));
    frame.pushWide(state.gpr(RSP));
    frame.push(state.flags);
    frame.push(state.cs.selector);
    frame.pushWide(state.rip);
    if (errorCode !== undefined) {
      frame.push(errorCode);
    }
    if (inner) {
      core.setNull(L.SEG_SS, level, level);
    }
    state.setGpr(RSP, frame.pointer64);
    core.setCode(selector, level, code);
    state.setU32(L.RIP, gate.gateOffset);
    state.setU32(L.RIP + 4, offsetHigh);
    core.clearFlags(type === 0xe00 ? CLEARED | L.FLAG_IF : CLEARED);
    core.updateMode(level);
  }
}
