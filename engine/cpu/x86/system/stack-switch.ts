import * as L from '../layout.ts';
import type { Core } from './core.ts';
import type { Descriptor } from './descriptor.ts';
import { invalidTss, stackFault } from './faults.ts';

const TR = L.SEGMENTS + L.SEG_TR * L.SEGMENT_SIZE;

/** A stack of an inner privilege level, as the TSS names it. */
export interface InnerStack {
  readonly selector: number;
  readonly pointer: number;
  readonly descriptor: Descriptor;
}

/**
 * Finds and checks the stack of privilege level `level` in a 16- or 32-bit TSS (SDM 3A, 5.8.5 and 6.12.1).
 * @param external the EXT bit of error codes
 */
export function innerStack(core: Core, level: number, external: number): InnerStack {
  const { state, memory } = core;
  const limit = state.u32(TR + L.SEGMENT_LIMIT);
  const tssError = (state.u32(TR + L.SEGMENT_SELECTOR) & 0xfffc) | external;
  let selector: number;
  let pointer: number;
  if (state.u32(TR + L.SEGMENT_ATTRIBUTES) & 8) {
    const offset = 4 + level * 8;
    if (offset + 5 > limit) {
      throw invalidTss(tssError);
    }
    pointer = memory.read32(core.addressIn(TR, offset), 'supervisor');
    selector = memory.read16(core.addressIn(TR, offset + 4), 'supervisor');
  } else {
    const offset = 2 + level * 4;
    if (offset + 3 > limit) {
      throw invalidTss(tssError);
    }
    pointer = memory.read16(core.addressIn(TR, offset), 'supervisor');
    selector = memory.read16(core.addressIn(TR, offset + 2), 'supervisor');
  }
  const error = (selector & 0xfffc) | external;
  const descriptor = (selector & 0xfffc) === 0 ? undefined : core.descriptor(selector);
  if (descriptor === undefined || (selector & 3) !== level || descriptor.dpl !== level || !descriptor.isWritableData) {
    throw invalidTss(error);
  }
  if (!descriptor.present) {
    throw stackFault(error);
  }
  return { selector, pointer, descriptor };
}

/** Offset of RSP0–RSP2 in a 64-bit TSS. */
export function rspSlot(level: number): number {
  return 4 + level * 8;
}

/** Offset of IST1–IST7 in a 64-bit TSS. */
export function istSlot(ist: number): number {
  return 28 + ist * 8;
}

/** Reads a stack pointer from the 64-bit TSS (SDM 3A, 7.7). */
export function innerStack64(core: Core, slot: number, external: number): bigint {
  const { state, memory } = core;
  if (slot + 7 > state.u32(TR + L.SEGMENT_LIMIT)) {
    throw invalidTss((state.u32(TR + L.SEGMENT_SELECTOR) & 0xfffc) | external);
  }
  return memory.read64(core.addressIn(TR, slot), 'supervisor');
}
