import type { CpuState } from '../x86/cpu-state.ts';
import * as L from '../x86/layout.ts';
import type { FeatureRegister } from '../x86/system/cpuid.ts';
import { CPUID_ENTRY_WORDS, KVM_CPUID_FLAG_SIGNIFICANT_INDEX } from './kvm-abi.ts';

/** Where KVM's supported leaves hold the feature registers: leaf, subleaf, word of the entry. */
const REGISTERS: readonly (readonly [register: FeatureRegister, leaf: number, subleaf: number, word: number])[] = [
  ['1.ecx', 1, 0, 5],
  ['1.edx', 1, 0, 6],
  ['6.eax', 6, 0, 3],
  ['7.ebx', 7, 0, 4],
  ['7.ecx', 7, 0, 5],
  ['7.edx', 7, 0, 6],
  ['7.2.edx', 7, 2, 6],
  ['13.1.eax', 0xd, 1, 3],
  ['80000001.ecx', 0x80000001, 0, 5],
  ['80000001.edx', 0x80000001, 0, 6],
  ['80000007.edx', 0x80000007, 0, 6],
];

/**
 * Features that do not depend on what KVM lists: those that the machine's own interrupt controllers bring (x2APIC,
 * TSC-deadline timer, APIC), and what merely describes the machine (hyper-threading bit, hypervisor bit, ARAT).
 */
const OURS: Partial<Record<FeatureRegister, number>> = {
  '1.ecx': (1 << 21) | (1 << 24) | (1 << 31),
  '1.edx': (1 << 9) | (1 << 28),
  '6.eax': 1 << 2,
  // SYSCALL: KVM lists it for 64-bit code.
  '80000001.edx': 1 << 11,
};
const XSAVE = 1 << 26;

/** The feature bits that guests of this KVM may be shown, by register: what it supports and what is ours anyway. */
export function supportedFeatures(leaves: Uint32Array): ReadonlyMap<FeatureRegister, number> {
  const masks = new Map<FeatureRegister, number>();
  for (const [register, leaf, subleaf, word] of REGISTERS) {
    let mask = OURS[register] ?? 0;
    for (let at = 0; at + CPUID_ENTRY_WORDS <= leaves.length; at += CPUID_ENTRY_WORDS) {
      if (leaves[at] === leaf && leaves[at + 1] === subleaf) {
        mask |= leaves[at + word] as number;
      }
    }
    masks.set(register, mask >>> 0);
  }
  if (((masks.get('1.ecx') ?? 0) & XSAVE) === 0) {
    masks.set('13.1.eax', 0);
  }
  return masks;
}

/** Leaves that are given to KVM, with the number of their subleaves (0: the leaf has none). */
const LEAVES: readonly (readonly [leaf: number, subleaves: number])[] = [
  ...Array.from({ length: 0x17 }, (_, leaf) => [leaf, { 4: 5, 7: 3, 11: 3, 13: 3 }[leaf] ?? 0] as const),
  ...Array.from({ length: 9 }, (_, i) => [0x80000000 + i, 0] as const),
];

/**
 * One processor's CPUID as kvm_cpuid_entry2 structures, from what the software processor answers: `cpuid` carries the
 * instruction out on `state`, whose registers are kept. `hypervisor`: the leaves that belong to hypervisors. KVM itself
 * follows OSXSAVE and the APIC's being switched on.
 */
export function cpuidEntries(
  state: CpuState,
  cpuid: (leaf: number, subleaf: number) => void,
  hypervisor: readonly number[],
): Uint32Array {
  const saved = [0, 1, 2, 3].map((register) => state.gpr(register));
  const entries: number[] = [];
  for (const [leaf, subleaves] of [...LEAVES, ...hypervisor.map((one) => [one, 0] as const)]) {
    for (let subleaf = 0; subleaf < Math.max(1, subleaves); subleaf++) {
      cpuid(leaf, subleaf);
      const [eax = 0, ecx = 0, edx = 0, ebx = 0] = [0, 1, 2, 3].map((register) => state.gpr32(register));
      // SYSCALL exists in 64-bit code; KVM wants to know it from the start.
      const features = leaf === 0x80000001 ? edx | (1 << 11) : edx;
      const flags = subleaves > 0 ? KVM_CPUID_FLAG_SIGNIFICANT_INDEX : 0;
      entries.push(leaf, subleaf, flags, eax, ebx, ecx, features, 0, 0, 0);
    }
  }
  for (const [register, value] of saved.entries()) {
    state.setU64(L.GPR + register * 8, value);
  }
  return Uint32Array.from(entries);
}
