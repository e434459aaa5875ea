import * as L from '../layout.ts';
import type { Core, OperandSize } from './core.ts';
import { RSP } from './core.ts';
import {
  type Descriptor,
  TYPE_CALL_GATE16,
  TYPE_CALL_GATE32,
  TYPE_TASK_GATE,
  TYPE_TSS16,
  TYPE_TSS32,
} from './descriptor.ts';
import { generalProtection, notPresent, stackFault } from './faults.ts';
import type { Segments } from './segments.ts';
import { isCanonical } from './stack.ts';
import { innerStack, innerStack64, rspSlot } from './stack-switch.ts';
import type { TaskSwitch } from './task-switch.ts';

/** Masks an instruction pointer to an operand size. */
function truncate(offset: bigint, size: OperandSize): bigint {
  return size === 8 ? offset : BigInt.asUintN(size * 8, offset);
}

/** Far jumps, calls and returns (SDM 3A, 5.8; SDM 2A/2B: JMP, CALL, RET). */
export class ControlTransfer {
  readonly #core: Core;
  readonly #segments: Segments;
  readonly #tasks: TaskSwitch;

  constructor(core: Core, segments: Segments, tasks: TaskSwitch) {
    this.#core = core;
    this.#segments = segments;
    this.#tasks = tasks;
  }

  // Shared checks

  /** A non-null selector's descriptor inside its table, or #GP(selector). A null selector: #GP(0). */
  #descriptor(selector: number, external = 0): Descriptor {
    const descriptor = (selector & 0xfffc) === 0 ? undefined : this.#core.descriptor(selector);
    if (descriptor === undefined) {
      throw generalProtection((selector & 0xfffc) | external);
    }
    return descriptor;
  }

  /** The offset must be canonical in 64-bit code and inside the limit elsewhere: #GP otherwise. */
  checkTarget(descriptor: Descriptor, offset: bigint, external = 0): void {
    if (this.#core.isLong && descriptor.isLong ? !isCanonical(offset) : offset > descriptor.limit) {
      throw generalProtection(external);
    }
  }

  /** The code segment a RET or IRET goes back to (SDM 2B, RET: return to the same or an outer level). */
  returnCode(selector: number): Descriptor {
    const core = this.#core;
    const descriptor = this.#descriptor(selector);
    const rpl = selector & 3;
    const error = selector & 0xfffc;
    if (
      !descriptor.isCode ||
      rpl < core.state.cpl ||
      (descriptor.isConformingCode ? descriptor.dpl > rpl : descriptor.dpl !== rpl) ||
      (core.isLong && descriptor.isLong && descriptor.isBig)
    ) {
      throw generalProtection(error);
    }
    if (!descriptor.present) {
      throw notPresent(error);
    }
    return descriptor;
  }

  /** The stack segment of a return to level `rpl`; undefined for the null one that 64-bit code below level 3 may have. */
  returnStack(selector: number, rpl: number, code: Descriptor): Descriptor | undefined {
    const error = selector & 0xfffc;
    if (error === 0) {
      if (this.#core.isLong && code.isLong && rpl !== 3 && (selector & 3) === rpl) {
        return undefined;
      }
      throw generalProtection();
    }
    const descriptor = this.#descriptor(selector);
    if ((selector & 3) !== rpl || !descriptor.isWritableData || descriptor.dpl !== rpl) {
      throw generalProtection(error);
    }
    if (!descriptor.present) {
      throw stackFault(error);
    }
    return descriptor;
  }

  /** Loads SS and the stack pointer after a return whose checks are done. */
  loadReturnStack(selector: number, rpl: number, stack: Descriptor | undefined, code: Descriptor, sp: bigint): void {
    const core = this.#core;
    if (stack === undefined) {
      core.setNull(L.SEG_SS, selector, rpl);
    } else {
      core.markAccessed(stack);
      core.setSegmentFrom(L.SEG_SS, selector, stack);
    }
    if (core.isLong && code.isLong) {
      core.state.setGpr(RSP, sp);
    } else {
      core.setStackPointer(Number(BigInt.asUintN(32, sp)));
    }
  }

  /** CS and RIP of a direct far jump or call whose checks are done. CPL stays. */
  #enter(selector: number, descriptor: Descriptor, offset: bigint): void {
    const core = this.#core;
    core.setCode(selector, core.state.cpl, descriptor);
    core.state.rip = offset;
    core.updateMode();
  }

  /** Checks of a jump or call straight to a code segment (SDM 3A, 5.8.1). */
  #checkDirect(selector: number, descriptor: Descriptor): void {
    const core = this.#core;
    const cpl = core.state.cpl;
    const error = selector & 0xfffc;
    if (
      (core.isLong && descriptor.isLong && descriptor.isBig) ||
      (descriptor.isConformingCode ? descriptor.dpl > cpl : descriptor.dpl !== cpl || (selector & 3) > cpl)
    ) {
      throw generalProtection(error);
    }
    if (!descriptor.present) {
      throw notPresent(error);
    }
  }

  /** Real and virtual-8086 mode: only the limit is checked, as the new segment keeps it. */
  #enterReal(selector: number, offset: number): void {
    const core = this.#core;
    if (core.isVm86) {
      core.setVm86Segment(L.SEG_CS, selector);
    } else {
      core.setRealSegment(L.SEG_CS, selector);
    }
    core.setRip32(offset);
    core.updateMode();
  }

  // JMP

  farJump(selector: number, offset: bigint, size: OperandSize): void {
    const core = this.#core;
    const target = truncate(offset, size);
    if (!core.isProtected) {
      if (target > core.state.cs.limit) {
        throw generalProtection();
      }
      this.#enterReal(selector, Number(target));
      return;
    }
    const descriptor = this.#descriptor(selector);
    if (descriptor.isCode) {
      this.#checkDirect(selector, descriptor);
      this.checkTarget(descriptor, target);
      core.markAccessed(descriptor);
      this.#enter(selector, descriptor, target);
    } else {
      this.#throughSystem(selector, descriptor, false);
    }
  }

  // CALL

  farCall(selector: number, offset: bigint, size: OperandSize): void {
    const core = this.#core;
    const state = core.state;
    const target = truncate(offset, size);
    if (!core.isProtected) {
      if (target > state.cs.limit) {
        throw generalProtection();
      }
      core.openFrame(size, 2);
      core.frame.push(state.cs.selector);
      core.frame.push(state.u32(L.RIP));
      core.closeFrame();
      this.#enterReal(selector, Number(target));
      return;
    }
    const descriptor = this.#descriptor(selector);
    if (descriptor.isCode) {
      this.#checkDirect(selector, descriptor);
      this.checkTarget(descriptor, target);
      core.openFrame(size, 2);
      core.markAccessed(descriptor);
      core.frame.push(state.cs.selector);
      core.frame.pushWide(state.rip);
      core.closeFrame();
      this.#enter(selector, descriptor, target);
    } else {
      this.#throughSystem(selector, descriptor, true);
    }
  }

  /** A far jump or call whose selector names a gate or a TSS. */
  #throughSystem(selector: number, descriptor: Descriptor, call: boolean): void {
    const core = this.#core;
    const error = selector & 0xfffc;
    const type = descriptor.isSegment ? 0 : descriptor.type;
    const isTask = type === TYPE_TSS16 || type === TYPE_TSS32 || type === TYPE_TASK_GATE;
    const isGate = type === TYPE_CALL_GATE32 || (type === TYPE_CALL_GATE16 && !core.isLong);
    if ((!isGate && (!isTask || core.isLong)) || descriptor.dpl < core.state.cpl || descriptor.dpl < (selector & 3)) {
      throw generalProtection(error);
    }
    if (!descriptor.present) {
      throw notPresent(error);
    }
    const source = call ? 'call' : 'jump';
    if (type === TYPE_TASK_GATE) {
      const tss = descriptor.gateSelector;
      this.#tasks.switch(tss, this.#tasks.tss(tss, source, 0), source, 0);
    } else if (isTask) {
      this.#tasks.switch(selector, this.#tasks.tss(selector, source, 0), source, 0);
    } else {
      this.#throughGate(selector, descriptor, call);
    }
  }

  /** A call gate (SDM 3A, 5.8.3–5.8.5). */
  #throughGate(gateSelector: number, gate: Descriptor, call: boolean): void {
    const core = this.#core;
    const state = core.state;
    const long = core.isLong;
    let offset = BigInt(gate.type === TYPE_CALL_GATE16 ? gate.gateOffset & 0xffff : gate.gateOffset);
    if (long) {
      if (core.descriptor(gateSelector, 16) === undefined) {
        throw generalProtection(gateSelector & 0xfffc);
      }
      const upper = core.readEntry(gate.address + 8n);
      if (upper.high & 0x1f00) {
        throw generalProtection(gateSelector & 0xfffc);
      }
      offset |= BigInt(upper.low) << 32n;
    }
    const selector = gate.gateSelector;
    const error = selector & 0xfffc;
    const code = this.#descriptor(selector);
    const cpl = state.cpl;
    if (
      !code.isCode ||
      code.dpl > cpl ||
      (!call && !code.isConformingCode && code.dpl !== cpl) ||
      (long && (!code.isLong || code.isBig))
    ) {
      throw generalProtection(error);
    }
    if (!code.present) {
      throw notPresent(error);
    }
    if (!call) {
      this.checkTarget(code, offset);
      core.markAccessed(code);
      this.#enter(selector, code, offset);
      return;
    }
    const inner = !code.isConformingCode && code.dpl < cpl;
    const size = long ? 8 : gate.type === TYPE_CALL_GATE16 ? 2 : 4;
    if (inner && long) {
      this.#callInner64(selector, code, offset);
    } else if (inner) {
      this.#callInner(selector, code, offset, size, gate.gateParameters);
    } else {
      this.checkTarget(code, offset);
      if (long) {
        core.frame.open64(state.gpr(RSP), 8, 2, 'current', 0);
      } else {
        core.openFrame(size, 2);
      }
      core.markAccessed(code);
      core.frame.push(state.cs.selector);
      core.frame.pushWide(state.rip);
      if (long) {
        state.setGpr(RSP, core.frame.pointer64);
      } else {
        core.closeFrame();
      }
      this.#enter(selector, code, offset);
    }
  }

  #callInner(selector: number, code: Descriptor, offset: bigint, size: 2 | 4 | 8, parameters: number): void {
    const core = this.#core;
    const state = core.state;
    const level = code.dpl;
    const stack = innerStack(core, level, 0);
    this.checkTarget(code, offset);
    // The old stack's words are read before anything is written.
    const copied: number[] = [];
    for (let i = 0; i < parameters; i++) {
      copied.push(core.peek(i, size));
    }
    const to = stack.descriptor;
    const frame = core.frame;
    const error = stack.selector & 0xfffc;
    frame.open(to.base, to.limit, to.attributes, stack.pointer, size, 4 + parameters, 'supervisor', error);
    core.markAccessed(code);
    core.markAccessed(to);
    frame.push(state.ss.selector);
    frame.push(state.gpr32(RSP));
    for (let i = parameters - 1; i >= 0; i--) {
      frame.push(copied[i] ?? 0);
    }
    frame.push(state.cs.selector);
    frame.push(state.u32(L.RIP));
    core.setSegmentFrom(L.SEG_SS, stack.selector, to);
    core.setStackPointer(frame.pointer);
    core.setCode(selector, level, code);
    state.rip = offset;
    core.updateMode(level);
  }

  #callInner64(selector: number, code: Descriptor, offset: bigint): void {
    const core = this.#core;
    const state = core.state;
    const level = code.dpl;
    const pointer = innerStack64(core, rspSlot(level), 0);
    this.checkTarget(code, offset);
    const frame = core.frame;
    frame.open64(pointer, 8, 4, 'supervisor', 0);
    core.markAccessed(code);
    frame.push(state.ss.selector);
    frame.pushWide(state.gpr(RSP));
    frame.push(state.cs.selector);
    frame.pushWide(state.rip);
    core.setNull(L.SEG_SS, level, level);
    state.setGpr(RSP, frame.pointer64);
    core.setCode(selector, level, code);
    state.rip = offset;
    core.updateMode(level);
  }

  // RET

  farReturn(size: OperandSize, extraBytes: number): void {
    const core = this.#core;
    const state = core.state;
    const offset = core.peekWide(0, size);
    const selector = core.peek(1, size) & 0xffff;
    if (!core.isProtected) {
      if (offset > state.cs.limit) {
        throw generalProtection();
      }
      core.drop(2 * size + extraBytes);
      this.#enterReal(selector, Number(offset));
      return;
    }
    const code = this.returnCode(selector);
    const rpl = selector & 3;
    if (rpl === state.cpl) {
      this.checkTarget(code, offset);
      core.markAccessed(code);
      core.drop(2 * size + extraBytes);
      this.#enter(selector, code, offset);
      return;
    }
    const spAddress = core.stackAddress(2 * size + extraBytes, size);
    const ssAddress = core.stackAddress(3 * size + extraBytes, size);
    const memory = core.memory;
    const sp =
      size === 8
        ? memory.read64(spAddress, 'current')
        : BigInt(size === 4 ? memory.read32(spAddress, 'current') : memory.read16(spAddress, 'current'));
    const ss = memory.read16(ssAddress, 'current');
    const stack = this.returnStack(ss, rpl, code);
    this.checkTarget(code, offset);
    core.markAccessed(code);
    this.loadReturnStack(ss, rpl, stack, code, BigInt.asUintN(64, sp + BigInt(extraBytes)));
    core.setCode(selector, rpl, code);
    state.rip = offset;
    this.#segments.dropInnerSegments(rpl);
    core.updateMode(rpl);
  }
}
