import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import type { Core } from './core.ts';
import { type Descriptor, TYPE_BUSY } from './descriptor.ts';
import { generalProtection, invalidTss, NewTaskFault, notPresent, stackFault } from './faults.ts';

const TR = L.SEGMENTS + L.SEG_TR * L.SEGMENT_SIZE;
/** Limits a TSS must have at least (SDM 3A, 7.2.2). */
const MIN_LIMIT_32 = 0x67;
const MIN_LIMIT_16 = 0x2b;
const DR6_BT = 1 << 15;
/** DR7.L0–L3 and LE: breakpoints of the old task only. */
const DR7_LOCAL = 0x155;

export type TaskSwitchSource = 'jump' | 'call' | 'iret' | 'gate';

/** What the new task's TSS holds. 16-bit ones leave the upper halves 0. */
interface TaskImage {
  readonly cr3: number | undefined;
  readonly eip: number;
  readonly eflags: number;
  readonly registers: readonly number[];
  /** ES CS SS DS FS GS LDTR, in the order of the segment registers. */
  readonly selectors: readonly number[];
  readonly debugTrap: boolean;
}

/** Hardware task switches (SDM 3A, chapter 7). */
export class TaskSwitch {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** The available (or, for IRET, busy) TSS a selector names, with the checks of SDM 3A, 7.3, steps 1–4. */
  tss(selector: number, source: TaskSwitchSource, external: number): Descriptor {
    const core = this.#core;
    const error = (selector & 0xfffc) | external;
    const fault = source === 'iret' ? invalidTss : generalProtection;
    const descriptor = selector & 4 || (selector & 0xfffc) === 0 ? undefined : core.descriptor(selector);
    const wanted = source === 'iret' ? 3 : 1;
    if (descriptor === undefined || descriptor.isSegment || (descriptor.type & 7) !== wanted) {
      throw fault(error);
    }
    if (!descriptor.present) {
      throw notPresent(error);
    }
    return descriptor;
  }

  /**
   * Switches to the task of a TSS that {@link tss} has checked. Throws GuestFault with nothing changed, or
   * {@link NewTaskFault} for what is wrong with the new task. RIP must point behind the current instruction.
   * @param external 1 when an external event or exception caused it: the EXT bit of error codes
   */
  switch(selector: number, descriptor: Descriptor, source: TaskSwitchSource, external: number): void {
    const core = this.#core;
    const { state, memory } = core;
    const is32 = (descriptor.type & 8) !== 0;
    const tssError = (selector & 0xfffc) | external;
    if (descriptor.limit < (is32 ? MIN_LIMIT_32 : MIN_LIMIT_16)) {
      throw invalidTss(tssError);
    }
    const base = descriptor.base;
    const oldIs32 = (state.tr.attributes & 8) !== 0;
    if (state.tr.limit < (oldIs32 ? MIN_LIMIT_32 : MIN_LIMIT_16)) {
      throw invalidTss((state.tr.selector & 0xfffc) | external);
    }
    // Everything that may page-fault comes first.
    const image = this.#read(base, is32);
    memory.checkWrite(core.addressIn(TR, oldIs32 ? 32 : 14), oldIs32 ? 64 : 28, 'supervisor');
    const nests = source === 'call' || source === 'gate';
    if (nests) {
      memory.checkWrite(BigInt(base), 2, 'supervisor');
    }
    const newBusy = descriptor.address + 5n;
    memory.checkWrite(newBusy, 1, 'supervisor');
    const oldBusy = core.addressIn(L.GDTR, (state.tr.selector & 0xfff8) + 5);
    if (!nests) {
      const old = memory.read8(oldBusy, 'supervisor');
      memory.write8(oldBusy, old & ~TYPE_BUSY, 'supervisor');
    }
    this.#save(oldIs32, source === 'iret' ? state.flags & ~L.FLAG_NT : state.flags);
    if (nests) {
      memory.write16(BigInt(base), state.tr.selector, 'supervisor');
    }
    if (source !== 'iret') {
      memory.write8(newBusy, ((descriptor.high >>> 8) & 0xff) | TYPE_BUSY, 'supervisor');
    }
    state.tr.assign(selector, BigInt(base), descriptor.limit, descriptor.attributes | TYPE_BUSY);
    state.setI32(L.CR0, state.cr0 | L.CR0_TS);
    try {
      this.#load(image, nests, external);
    } catch (fault) {
      throw fault instanceof GuestFault ? new NewTaskFault(fault) : fault;
    }
  }

  #read(base: number, is32: boolean): TaskImage {
    const { memory } = this.#core;
    const word = (offset: number) => memory.read16(BigInt((base + offset) >>> 0), 'supervisor');
    const dword = (offset: number) => memory.read32(BigInt((base + offset) >>> 0), 'supervisor');
    if (is32) {
      return {
        cr3: dword(28),
        eip: dword(32),
        eflags: dword(36),
        registers: [40, 44, 48, 52, 56, 60, 64, 68].map(dword),
        selectors: [72, 76, 80, 84, 88, 92, 96].map(word),
        debugTrap: (word(100) & 1) !== 0,
      };
    }
    return {
      cr3: undefined,
      eip: word(14),
      eflags: word(16),
      registers: [18, 20, 22, 24, 26, 28, 30, 32].map(word),
      selectors: [word(34), word(36), word(38), word(40), 0, 0, word(42)],
      debugTrap: false,
    };
  }

  /** Writes the dynamic fields of the old task's TSS. */
  #save(is32: boolean, flags: number): void {
    const core = this.#core;
    const { state, memory } = core;
    const word = (offset: number, value: number) =>
      memory.write16(core.addressIn(TR, offset), value & 0xffff, 'supervisor');
    const dword = (offset: number, value: number) =>
      memory.write32(core.addressIn(TR, offset), value >>> 0, 'supervisor');
    if (is32) {
      dword(32, state.u32(L.RIP));
      dword(36, flags);
      for (let i = 0; i < 8; i++) {
        dword(40 + i * 4, state.gpr32(i));
      }
      for (let i = L.SEG_ES; i <= L.SEG_GS; i++) {
        word(72 + i * 4, state.u16(L.SEGMENTS + i * L.SEGMENT_SIZE + L.SEGMENT_SELECTOR));
      }
    } else {
      word(14, state.u32(L.RIP));
      word(16, flags);
      for (let i = 0; i < 8; i++) {
        word(18 + i * 2, state.gpr32(i));
      }
      for (let i = L.SEG_ES; i <= L.SEG_DS; i++) {
        word(34 + i * 2, state.u16(L.SEGMENTS + i * L.SEGMENT_SIZE + L.SEGMENT_SELECTOR));
      }
    }
  }

  /** Loads the new task: from here on, faults are the new task's. */
  #load(image: TaskImage, nested: boolean, external: number): void {
    const core = this.#core;
    const { state } = core;
    if (image.cr3 !== undefined && state.cr0 & L.CR0_PG) {
      state.setU64(L.CR3, BigInt(image.cr3));
      core.environment.flushTlb(false);
    }
    core.setRip32(image.eip);
    state.flags = nested ? image.eflags | L.FLAG_NT : image.eflags;
    image.registers.forEach((value, index) => {
      state.setGpr32(index, value);
    });
    state.setU64(L.DR7, state.u64(L.DR7) & ~BigInt(DR7_LOCAL));
    core.environment.debugChanged();
    const selector = (index: number) => image.selectors[index] ?? 0;
    const vm86 = (image.eflags & L.FLAG_VM) !== 0;
    const cpl = vm86 ? 3 : selector(L.SEG_CS) & 3;
    // Until its descriptor is checked, a segment register holds the selector alone.
    for (let i = L.SEG_ES; i <= L.SEG_GS; i++) {
      if (vm86) {
        core.setVm86Segment(i, selector(i));
      } else {
        core.setNull(i, selector(i), cpl);
      }
    }
    core.setNull(L.SEG_LDTR, selector(L.SEG_LDTR));
    core.updateMode(cpl);
    this.#loadLdt(selector(L.SEG_LDTR), external);
    if (!vm86) {
      this.#loadCode(selector(L.SEG_CS), external);
      this.#loadStack(selector(L.SEG_SS), cpl, external);
      for (const index of [L.SEG_DS, L.SEG_ES, L.SEG_FS, L.SEG_GS]) {
        this.#loadData(index, selector(index), cpl, external);
      }
      core.updateMode(cpl);
    }
    if (image.eip > state.cs.limit) {
      throw generalProtection(external);
    }
    if (image.debugTrap) {
      state.setU64(L.DR6, state.u64(L.DR6) | BigInt(DR6_BT));
      state.setI32(L.TRAP_PENDING, 1);
    }
  }

  #loadLdt(selector: number, external: number): void {
    const core = this.#core;
    if ((selector & 0xfffc) === 0) {
      return;
    }
    const descriptor = selector & 4 ? undefined : core.descriptor(selector);
    if (descriptor === undefined || descriptor.isSegment || descriptor.type !== 2 || !descriptor.present) {
      throw invalidTss((selector & 0xfffc) | external);
    }
    core.setSegment(L.SEG_LDTR, selector, descriptor.base, descriptor.limit, descriptor.attributes);
  }

  #loadCode(selector: number, external: number): void {
    const core = this.#core;
    const error = (selector & 0xfffc) | external;
    const rpl = selector & 3;
    const descriptor = (selector & 0xfffc) === 0 ? undefined : core.descriptor(selector);
    if (
      descriptor === undefined ||
      !descriptor.isCode ||
      (descriptor.isConformingCode ? descriptor.dpl > rpl : descriptor.dpl !== rpl)
    ) {
      throw invalidTss(error);
    }
    if (!descriptor.present) {
      throw notPresent(error);
    }
    core.markAccessed(descriptor);
    core.setSegmentFrom(L.SEG_CS, selector, descriptor);
  }

  #loadStack(selector: number, cpl: number, external: number): void {
    const core = this.#core;
    const error = (selector & 0xfffc) | external;
    const descriptor = (selector & 0xfffc) === 0 ? undefined : core.descriptor(selector);
    if (descriptor === undefined || !descriptor.isWritableData || descriptor.dpl !== cpl || (selector & 3) !== cpl) {
      throw invalidTss(error);
    }
    if (!descriptor.present) {
      throw stackFault(error);
    }
    core.markAccessed(descriptor);
    core.setSegmentFrom(L.SEG_SS, selector, descriptor);
  }

  #loadData(index: number, selector: number, cpl: number, external: number): void {
    const core = this.#core;
    if ((selector & 0xfffc) === 0) {
      core.setNull(index, selector);
      return;
    }
    const error = (selector & 0xfffc) | external;
    const descriptor = core.descriptor(selector);
    if (
      descriptor === undefined ||
      !descriptor.isReadable ||
      (!descriptor.isConformingCode && Math.max(cpl, selector & 3) > descriptor.dpl)
    ) {
      throw invalidTss(error);
    }
    if (!descriptor.present) {
      throw notPresent(error);
    }
    core.markAccessed(descriptor);
    core.setSegmentFrom(index, selector, descriptor);
  }
}
