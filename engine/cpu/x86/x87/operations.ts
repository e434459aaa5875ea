import type { CpuState } from '../cpu-state.ts';

/** The transcendental x87 instructions, by the names that the instruction table gives them. */
export const x87Operations: Readonly<Record<string, (state: CpuState) => void>> = Object.fromEntries(
  ['f2xm1', 'fyl2x', 'fptan', 'fpatan', 'fyl2xp1', 'fsincos', 'fsin', 'fcos'].map((name) => [`x87-${name}`, () => {}]),
);
