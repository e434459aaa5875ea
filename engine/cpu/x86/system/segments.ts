import * as L from '../layout.ts';
import type { Core, OperandSize } from './core.ts';
import {
  type Descriptor,
  TYPE_BUSY,
  TYPE_CALL_GATE16,
  TYPE_CALL_GATE32,
  TYPE_LDT,
  TYPE_TASK_GATE,
  TYPE_TSS16,
  TYPE_TSS16_BUSY,
  TYPE_TSS32,
  TYPE_TSS32_BUSY,
} from './descriptor.ts';
import { generalProtection, notPresent, stackFault } from './faults.ts';
import { isCanonical } from './stack.ts';

const LAR_SYSTEM_TYPES =
  (1 << TYPE_TSS16) |
  (1 << TYPE_LDT) |
  (1 << TYPE_TSS16_BUSY) |
  (1 << TYPE_CALL_GATE16) |
  (1 << TYPE_TASK_GATE) |
  (1 << TYPE_TSS32) |
  (1 << TYPE_TSS32_BUSY) |
  (1 << TYPE_CALL_GATE32);
const LAR_SYSTEM_TYPES_LONG = (1 << TYPE_LDT) | (1 << TYPE_TSS32) | (1 << TYPE_TSS32_BUSY) | (1 << TYPE_CALL_GATE32);
const LSL_SYSTEM_TYPES =
  (1 << TYPE_TSS16) | (1 << TYPE_LDT) | (1 << TYPE_TSS16_BUSY) | (1 << TYPE_TSS32) | (1 << TYPE_TSS32_BUSY);
const LSL_SYSTEM_TYPES_LONG = (1 << TYPE_LDT) | (1 << TYPE_TSS32) | (1 << TYPE_TSS32_BUSY);

/** Loading and examining segment registers and descriptor-table registers (SDM 3A, chapters 3 and 5). */
export class Segments {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** MOV, POP, LDS … to ES, SS, DS, FS or GS (SDM 2B, MOV). */
  load(index: number, selector: number): void {
    const core = this.#core;
    if (!core.isProtected) {
      if (core.isVm86) {
        core.setVm86Segment(index, selector);
      } else {
        core.setRealSegment(index, selector);
      }
    } else if (index === L.SEG_SS) {
      this.#loadStack(selector);
    } else {
      this.#loadData(index, selector);
    }
    core.updateMode();
  }

  #loadStack(selector: number): void {
    const core = this.#core;
    const cpl = core.state.cpl;
    if ((selector & 0xfffc) === 0) {
      if (!core.isCode64 || cpl === 3 || (selector & 3) !== cpl) {
        throw generalProtection();
      }
      core.setNull(L.SEG_SS, selector, cpl);
      return;
    }
    const error = selector & 0xfffc;
    const descriptor = core.descriptor(selector);
    if (descriptor === undefined || (selector & 3) !== cpl || !descriptor.isWritableData || descriptor.dpl !== cpl) {
      throw generalProtection(error);
    }
    if (!descriptor.present) {
      throw stackFault(error);
    }
    core.markAccessed(descriptor);
    core.setSegmentFrom(L.SEG_SS, selector, descriptor);
  }

  #loadData(index: number, selector: number): void {
    const core = this.#core;
    if ((selector & 0xfffc) === 0) {
      core.setNull(index, selector);
      return;
    }
    const error = selector & 0xfffc;
    const descriptor = core.descriptor(selector);
    if (
      descriptor === undefined ||
      !descriptor.isReadable ||
      (!descriptor.isConformingCode && Math.max(core.state.cpl, selector & 3) > descriptor.dpl)
    ) {
      throw generalProtection(error);
    }
    if (!descriptor.present) {
      throw notPresent(error);
    }
    core.markAccessed(descriptor);
    core.setSegmentFrom(index, selector, descriptor);
  }

  /** After a return to privilege level `cpl`: data segments it may not use become null (SDM 3A, 5.8.6). */
  dropInnerSegments(cpl: number): void {
    this.#dropInner(L.SEG_ES, cpl);
    this.#dropInner(L.SEG_DS, cpl);
    this.#dropInner(L.SEG_FS, cpl);
    this.#dropInner(L.SEG_GS, cpl);
  }

  #dropInner(index: number, cpl: number): void {
    const state = this.#core.state;
    const offset = L.SEGMENTS + index * L.SEGMENT_SIZE;
    const attributes = state.i32(offset + L.SEGMENT_ATTRIBUTES);
    const conforming = (attributes & (L.ATTR_CODE | L.ATTR_CONFORMING)) === (L.ATTR_CODE | L.ATTR_CONFORMING);
    if (!(attributes & L.ATTR_UNUSABLE) && !conforming && ((attributes >> L.ATTR_DPL_SHIFT) & 3) < cpl) {
      // The base stays: in 64-bit mode FS and GS use it even with a null selector.
      state.setU32(offset + L.SEGMENT_SELECTOR, 0);
      state.setU32(offset + L.SEGMENT_ATTRIBUTES, L.ATTR_UNUSABLE);
    }
  }

  /** A system descriptor's 64-bit base: the second eight bytes hold its upper half in long mode (SDM 3A, 7.2.3). */
  #systemBase(descriptor: Descriptor, selector: number): bigint {
    const core = this.#core;
    if (!core.isLong) {
      return BigInt(descriptor.base);
    }
    const upper = core.readEntry(descriptor.address + 8n);
    const base = BigInt(descriptor.base) | (BigInt(upper.low) << 32n);
    if (upper.high & 0x1f00 || !isCanonical(base)) {
      throw generalProtection(selector & 0xfffc);
    }
    return base;
  }

  /** LLDT (SDM 2A). */
  lldt(selector: number): void {
    const core = this.#core;
    core.requireProtected();
    core.requireSupervisor();
    if ((selector & 0xfffc) === 0) {
      core.setNull(L.SEG_LDTR, selector);
      return;
    }
    const error = selector & 0xfffc;
    const descriptor = selector & 4 ? undefined : core.descriptor(selector, core.isLong ? 16 : 8);
    if (descriptor === undefined || descriptor.isSegment || descriptor.type !== TYPE_LDT) {
      throw generalProtection(error);
    }
    if (!descriptor.present) {
      throw notPresent(error);
    }
    const base = this.#systemBase(descriptor, selector);
    core.state.ldtr.assign(selector, base, descriptor.limit, descriptor.attributes);
  }

  /** LTR (SDM 2A): marks the TSS busy. */
  ltr(selector: number): void {
    const core = this.#core;
    core.requireProtected();
    core.requireSupervisor();
    const error = selector & 0xfffc;
    const descriptor = error === 0 || selector & 4 ? undefined : core.descriptor(selector, core.isLong ? 16 : 8);
    if (
      descriptor === undefined ||
      descriptor.isSegment ||
      (descriptor.type !== TYPE_TSS32 && (descriptor.type !== TYPE_TSS16 || core.isLong))
    ) {
      throw generalProtection(error);
    }
    if (!descriptor.present) {
      throw notPresent(error);
    }
    const base = this.#systemBase(descriptor, selector);
    core.memory.write8(descriptor.address + 5n, ((descriptor.high >>> 8) & 0xff) | TYPE_BUSY, 'supervisor');
    core.state.tr.assign(selector, base, descriptor.limit, descriptor.attributes | TYPE_BUSY);
  }

  sldt(): number {
    this.#core.requireProtected();
    this.#requireUserInformation();
    return this.#core.state.ldtr.selector;
  }

  str(): number {
    this.#core.requireProtected();
    this.#requireUserInformation();
    return this.#core.state.tr.selector;
  }

  /** #GP(0) for SGDT, SIDT, SLDT, STR and SMSW outside CPL 0 under CR4.UMIP (SDM 3A, 2.5). */
  #requireUserInformation(): void {
    if (this.#core.state.cr4 & L.CR4_UMIP) {
      this.#core.requireSupervisor();
    }
  }

  /** LGDT and LIDT. `register` is the record's offset. */
  loadTable(register: number, address: bigint, size: OperandSize): void {
    const core = this.#core;
    core.requireSupervisor();
    const limit = core.memory.read16(address, 'current');
    const at = this.#advance(address, 2);
    let base: bigint;
    if (core.isCode64) {
      base = core.memory.read64(at, 'current');
      if (!isCanonical(base)) {
        throw generalProtection();
      }
    } else {
      const value = core.memory.read32(at, 'current');
      base = BigInt(size === 2 ? value & 0xffffff : value);
    }
    core.state.setU64(register, base);
    core.state.setU32(register + 8, limit);
  }

  /** SGDT and SIDT. The whole base is stored whatever the operand size, as all 32-bit processors do. */
  storeTable(register: number, address: bigint): void {
    const core = this.#core;
    this.#requireUserInformation();
    const wide = core.isCode64;
    core.memory.checkWrite(address, wide ? 10 : 6, 'current');
    core.memory.write16(address, core.state.u32(register + 8) & 0xffff, 'current');
    const at = this.#advance(address, 2);
    if (wide) {
      core.memory.write64(at, core.state.u64(register), 'current');
    } else {
      core.memory.write32(at, core.state.u32(register), 'current');
    }
  }

  #advance(address: bigint, by: number): bigint {
    return BigInt.asUintN(this.#core.isCode64 ? 64 : 32, address + BigInt(by));
  }

  /** Whether CPL and the selector's RPL allow looking at a descriptor. */
  #mayExamine(selector: number, descriptor: Descriptor): boolean {
    return descriptor.isConformingCode || Math.max(this.#core.state.cpl, selector & 3) <= descriptor.dpl;
  }

  #examinable(selector: number, systemTypes: number, systemTypesLong: number): Descriptor | undefined {
    const core = this.#core;
    core.requireProtected();
    if ((selector & 0xfffc) === 0) {
      return undefined;
    }
    const descriptor = core.descriptor(selector);
    if (descriptor === undefined || !this.#mayExamine(selector, descriptor)) {
      return undefined;
    }
    const types = core.isLong ? systemTypesLong : systemTypes;
    return descriptor.isSegment || types & (1 << descriptor.type) ? descriptor : undefined;
  }

  /** LAR's result, or undefined where it clears ZF (SDM 2A). */
  lar(selector: number): number | undefined {
    const descriptor = this.#examinable(selector, LAR_SYSTEM_TYPES, LAR_SYSTEM_TYPES_LONG);
    return descriptor === undefined ? undefined : descriptor.high & 0x00ffff00;
  }

  /** LSL's result, or undefined where it clears ZF (SDM 2A). */
  lsl(selector: number): number | undefined {
    return this.#examinable(selector, LSL_SYSTEM_TYPES, LSL_SYSTEM_TYPES_LONG)?.limit;
  }

  /** VERR: the new ZF. */
  verr(selector: number): boolean {
    return this.#examinable(selector, 0, 0)?.isReadable ?? false;
  }

  /** VERW: the new ZF. */
  verw(selector: number): boolean {
    return this.#examinable(selector, 0, 0)?.isWritableData ?? false;
  }
}
