import type { CpuState } from '../../x86/cpu-state.ts';
import * as L from '../../x86/layout.ts';

const INTERNAL: readonly (readonly [number, number])[] = [
  [L.LF_RES, 12],
  [L.RIP_BASE, 8],
  [L.FUEL, 4],
  [L.BIAS, 4],
  [L.FAULT, 16],
  [L.CURRENT_UOP, 4],
  [L.JUMP_GENERATION, 4],
  [L.SCRATCH, 32],
  [L.SHADOW_RIP, 8],
  [L.EA, 8],
];

/** A processor's registers, modes and the rest of its record as text, without what is only how they were reached. */
export function architecture(state: CpuState): string {
  const words: string[] = [];
  for (let offset = 0; offset < L.XMM; offset += 4) {
    if (!INTERNAL.some(([start, length]) => offset >= start && offset < start + length)) {
      const value = offset === L.MODE ? state.mode & ~L.MODE_SINGLE : state.i32(offset);
      words.push(`${offset.toString(16)}:${(value >>> 0).toString(16)}`);
    }
  }
  return `${words.join(' ')} flags:${state.flags.toString(16)}`;
}
