import * as L from '../layout.ts';
import type { ControlTransfer } from './control-transfer.ts';
import type { Core, OperandSize } from './core.ts';
import { RSP } from './core.ts';
import { generalProtection } from './faults.ts';
import type { Segments } from './segments.ts';
import type { TaskSwitch } from './task-switch.ts';

/** What IRET restores at any privilege level. */
const ALWAYS = L.FLAGS_ARITHMETIC | L.FLAG_TF | L.FLAG_DF | L.FLAG_NT;
const ALWAYS_WIDE = ALWAYS | L.FLAG_RF | L.FLAG_AC | L.FLAG_ID;
/** What a 32-bit IRET leaves alone in real mode: VM, VIF, VIP. */
const REAL_KEPT = L.FLAG_VM | L.FLAG_VIF | L.FLAG_VIP;

/** IRET, IRETD, IRETQ (SDM 2A, IRET). */
export class InterruptReturn {
  readonly #core: Core;
  readonly #transfer: ControlTransfer;
  readonly #segments: Segments;
  readonly #tasks: TaskSwitch;

  constructor(core: Core, transfer: ControlTransfer, segments: Segments, tasks: TaskSwitch) {
    this.#core = core;
    this.#transfer = transfer;
    this.#segments = segments;
    this.#tasks = tasks;
  }

  iret(size: OperandSize): void {
    const core = this.#core;
    const state = core.state;
    const mode = state.mode;
    if ((mode & L.MODE_CODE_MASK) === L.MODE_CODE64) {
      this.#fromCode64(size);
    } else if (mode & L.MODE_PROTECTED) {
      this.#fromProtected(size);
    } else if (mode & L.MODE_VM86) {
      this.#fromVm86(size);
    } else {
      this.#fromReal(size);
    }
    state.setI32(L.NMI_BLOCKED, 0);
  }

  #fromReal(size: OperandSize): void {
    const core = this.#core;
    const state = core.state;
    const ip = core.peek(0, size);
    const cs = core.peek(1, size) & 0xffff;
    const flags = core.peek(2, size);
    if (ip > state.cs.limit) {
      throw generalProtection();
    }
    core.drop(3 * size);
    core.setRealSegment(L.SEG_CS, cs);
    core.setRip32(ip);
    const kept = size === 2 ? 0xffff0000 | 0 : REAL_KEPT;
    state.flags = (state.flags & kept) | (flags & ~kept);
    core.updateMode();
  }

  #fromVm86(size: OperandSize): void {
    const core = this.#core;
    const state = core.state;
    const virtual = core.iopl < 3;
    if (virtual && (size !== 2 || !(state.cr4 & L.CR4_VME))) {
      throw generalProtection();
    }
    const ip = core.peek(0, size);
    const cs = core.peek(1, size) & 0xffff;
    const flags = core.peek(2, size);
    if (ip > state.cs.limit) {
      throw generalProtection();
    }
    const old = state.flags;
    if (virtual) {
      if (flags & L.FLAG_TF || (flags & L.FLAG_IF && old & L.FLAG_VIP)) {
        throw generalProtection();
      }
      const vif = flags & L.FLAG_IF ? L.FLAG_VIF : 0;
      state.flags = (old & ~(ALWAYS | L.FLAG_VIF)) | (flags & ALWAYS) | vif;
    } else {
      const mask = (size === 2 ? ALWAYS : ALWAYS_WIDE) | L.FLAG_IF;
      state.flags = (old & ~mask) | (flags & mask);
    }
    core.drop(3 * size);
    core.setVm86Segment(L.SEG_CS, cs);
    core.setRip32(ip);
    core.updateMode();
  }

  #restoreFlags(value: number, size: OperandSize, oldCpl: number): void {
    const core = this.#core;
    const state = core.state;
    let mask = size === 2 ? ALWAYS : ALWAYS_WIDE;
    if (oldCpl === 0) {
      mask |= L.FLAG_IF | L.FLAG_IOPL;
      if (size !== 2) {
        mask |= L.FLAG_VIF | L.FLAG_VIP;
      }
    } else if (oldCpl <= core.iopl) {
      mask |= L.FLAG_IF;
    }
    state.flags = (state.flags & ~mask) | (value & mask);
  }

  #fromProtected(size: OperandSize): void {
    const core = this.#core;
    const state = core.state;
    if (state.i32(L.FLAGS_REST) & L.FLAG_NT) {
      this.#taskReturn();
      return;
    }
    const ip = core.peekWide(0, size);
    const cs = core.peek(1, size) & 0xffff;
    const flags = core.peek(2, size);
    const cpl = state.cpl;
    if (size === 4 && flags & L.FLAG_VM && cpl === 0 && !core.isLong) {
      this.#toVm86(Number(ip), cs, flags);
      return;
    }
    const transfer = this.#transfer;
    const code = transfer.returnCode(cs);
    const rpl = cs & 3;
    if (rpl === cpl) {
      transfer.checkTarget(code, ip);
      core.markAccessed(code);
      core.drop(3 * size);
    } else {
      const sp = core.peekWide(3, size);
      const ss = core.peek(4, size) & 0xffff;
      const stack = transfer.returnStack(ss, rpl, code);
      transfer.checkTarget(code, ip);
      core.markAccessed(code);
      transfer.loadReturnStack(ss, rpl, stack, code, sp);
      this.#segments.dropInnerSegments(rpl);
    }
    this.#restoreFlags(flags, size, cpl);
    core.setCode(cs, rpl, code);
    state.rip = ip;
    core.updateMode(rpl);
  }

  /** From 64-bit code, SS and RSP come back even without a change of privilege. */
  #fromCode64(size: OperandSize): void {
    const core = this.#core;
    const state = core.state;
    if (state.i32(L.FLAGS_REST) & L.FLAG_NT) {
      throw generalProtection();
    }
    const ip = core.peekWide(0, size);
    const cs = core.peek(1, size) & 0xffff;
    const flags = core.peek(2, size);
    const sp = core.peekWide(3, size);
    const ss = core.peek(4, size) & 0xffff;
    const transfer = this.#transfer;
    const code = transfer.returnCode(cs);
    const cpl = state.cpl;
    const rpl = cs & 3;
    const stack = transfer.returnStack(ss, rpl, code);
    transfer.checkTarget(code, ip);
    core.markAccessed(code);
    transfer.loadReturnStack(ss, rpl, stack, code, sp);
    if (rpl !== cpl) {
      this.#segments.dropInnerSegments(rpl);
    }
    this.#restoreFlags(flags, size, cpl);
    core.setCode(cs, rpl, code);
    state.rip = ip;
    core.updateMode(rpl);
  }

  /** Enters virtual-8086 mode from level 0 (SDM 3B, 20.2.5). */
  #toVm86(ip: number, cs: number, flags: number): void {
    const core = this.#core;
    const state = core.state;
    const sp = core.peek(3, 4);
    const ss = core.peek(4, 4) & 0xffff;
    const es = core.peek(5, 4) & 0xffff;
    const ds = core.peek(6, 4) & 0xffff;
    const fs = core.peek(7, 4) & 0xffff;
    const gs = core.peek(8, 4) & 0xffff;
    if (ip > 0xffff) {
      throw generalProtection();
    }
    state.flags = flags;
    core.setVm86Segment(L.SEG_CS, cs);
    core.setVm86Segment(L.SEG_SS, ss);
    core.setVm86Segment(L.SEG_ES, es);
    core.setVm86Segment(L.SEG_DS, ds);
    core.setVm86Segment(L.SEG_FS, fs);
    core.setVm86Segment(L.SEG_GS, gs);
    state.setGpr32(RSP, sp);
    core.setRip32(ip);
    core.updateMode(3);
  }

  /** With NT set, IRET returns to the task that called this one (SDM 3A, 7.4). */
  #taskReturn(): void {
    const core = this.#core;
    if (core.isLong) {
      throw generalProtection();
    }
    const TR = L.SEGMENTS + L.SEG_TR * L.SEGMENT_SIZE;
    const link = core.memory.read16(core.addressIn(TR, 0), 'supervisor');
    this.#tasks.switch(link, this.#tasks.tss(link, 'iret', 0), 'iret', 0);
  }
}
