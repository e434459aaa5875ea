import * as L from '../layout.ts';
import type { Core, OperandSize } from './core.ts';
import { TYPE_TSS32_BUSY } from './descriptor.ts';
import { generalProtection } from './faults.ts';

const ALWAYS = L.FLAGS_ARITHMETIC | L.FLAG_TF | L.FLAG_DF | L.FLAG_NT;
/** Bits that only 32- and 64-bit pops reach. */
const UPPER = L.FLAG_AC | L.FLAG_ID;

/** PUSHF, POPF, CLI, STI and the right to do I/O (SDM 2B; SDM 3B, 20.3 for virtual-8086 mode). */
export class FlagsAndIo {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** What PUSHF stores: RF and VM as 0; in virtual-8086 mode with VME, VIF in IF's place. */
  pushedFlags(size: OperandSize): number {
    const core = this.#core;
    const flags = core.state.flags & ~(L.FLAG_RF | L.FLAG_VM);
    if (!core.isVm86 || core.iopl === 3) {
      return flags;
    }
    if (size !== 2 || !(core.state.cr4 & L.CR4_VME)) {
      throw generalProtection();
    }
    return (flags & ~L.FLAG_IF) | L.FLAG_IOPL | (flags & L.FLAG_VIF ? L.FLAG_IF : 0);
  }

  /** What POPF does with the value it popped. */
  setPoppedFlags(value: number, size: OperandSize): void {
    const core = this.#core;
    const state = core.state;
    const old = state.flags;
    const cpl = state.cpl;
    let mask = size === 2 ? ALWAYS : ALWAYS | UPPER;
    if (core.isVm86 && core.iopl < 3) {
      if (size !== 2 || !(state.cr4 & L.CR4_VME)) {
        throw generalProtection();
      }
      if (value & L.FLAG_TF || (value & L.FLAG_IF && old & L.FLAG_VIP)) {
        throw generalProtection();
      }
      const vif = value & L.FLAG_IF ? L.FLAG_VIF : 0;
      state.flags = (old & ~(mask | L.FLAG_VIF)) | (value & mask) | vif;
      return;
    }
    if (cpl <= core.iopl || !(state.cr0 & L.CR0_PE)) {
      mask |= L.FLAG_IF;
    }
    if (cpl === 0) {
      mask |= L.FLAG_IOPL;
    }
    const kept = size === 2 ? ~mask : ~(mask | L.FLAG_RF);
    const flags = (old & kept) | (value & mask);
    state.flags = flags;
    if ((flags ^ old) & (L.FLAG_IOPL | L.FLAG_AC)) {
      core.updateMode();
    }
  }

  pushf(size: OperandSize): void {
    const core = this.#core;
    const flags = this.pushedFlags(size);
    core.openFrame(size, 1);
    core.frame.push(flags);
    core.closeFrame();
  }

  popf(size: OperandSize): void {
    const core = this.#core;
    this.setPoppedFlags(core.peek(0, size), size);
    core.drop(size);
  }

  cli(): void {
    const core = this.#core;
    core.clearFlags(this.#interruptFlag());
  }

  /** STI: interrupts stay shielded for one instruction if IF was clear. */
  sti(): void {
    const core = this.#core;
    const state = core.state;
    const flag = this.#interruptFlag();
    const rest = state.i32(L.FLAGS_REST);
    if (flag === L.FLAG_VIF) {
      if (rest & L.FLAG_VIP) {
        throw generalProtection();
      }
    } else if (!(rest & L.FLAG_IF)) {
      state.setI32(L.SHADOW, 1);
    }
    state.setI32(L.FLAGS_REST, rest | flag);
  }

  /** Which flag CLI and STI change here: IF, or VIF with VME or PVI. */
  #interruptFlag(): number {
    const core = this.#core;
    const state = core.state;
    const cpl = state.cpl;
    if (cpl <= core.iopl || !(state.cr0 & L.CR0_PE)) {
      return L.FLAG_IF;
    }
    if (cpl === 3 && state.cr4 & (core.isVm86 ? L.CR4_VME : L.CR4_PVI)) {
      return L.FLAG_VIF;
    }
    throw generalProtection();
  }

  /** #GP(0) unless the I/O permission bit map allows the access (SDM 1, 19.5.2). */
  checkIo(port: number, size: number): void {
    const core = this.#core;
    const state = core.state;
    if (!(state.cr0 & L.CR0_PE) || (!core.isVm86 && state.cpl <= core.iopl)) {
      return;
    }
    const tr = state.tr;
    const limit = tr.limit;
    if ((tr.attributes & L.ATTR_TYPE) === TYPE_TSS32_BUSY && limit >= 103) {
      const TR = L.SEGMENTS + L.SEG_TR * L.SEGMENT_SIZE;
      const offset = core.memory.read16(core.addressIn(TR, 102), 'supervisor') + (port >> 3);
      // Two bytes are read always, so that a port's bits may straddle them.
      if (offset + 1 <= limit) {
        const bits = core.memory.read16(core.addressIn(TR, offset), 'supervisor') >> (port & 7);
        if ((bits & ((1 << size) - 1)) === 0) {
          return;
        }
      }
    }
    throw generalProtection();
  }
}
