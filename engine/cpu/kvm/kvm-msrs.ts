import {
  IA32_EFER,
  IA32_FLUSH_CMD,
  IA32_FS_BASE,
  IA32_MISC_ENABLE,
  IA32_MTRR_DEF_TYPE,
  IA32_MTRR_PHYSBASE0,
  IA32_PRED_CMD,
  IA32_SPEC_CTRL,
  IA32_SYSENTER_CS,
} from '../x86/system/msr.ts';

/**
 * Registers that KVM keeps by itself, as first register and count: those that the processor needs, or that kernels write
 * all the time. All others come back as exits and are answered by the code that answers them in software, so that a
 * guest finds the same registers on both, and none that this machine does not promise.
 */
const KVM_OWN: readonly (readonly [first: number, count: number])[] = [
  // Speculation control: IA32_SPEC_CTRL and IA32_PRED_CMD, IA32_FLUSH_CMD. KVM refuses them where CPUID has them not.
  [IA32_SPEC_CTRL, IA32_PRED_CMD - IA32_SPEC_CTRL + 1],
  [IA32_FLUSH_CMD, 1],
  [IA32_SYSENTER_CS, 3],
  [IA32_MISC_ENABLE, 1],
  // MTRRs and PAT.
  [IA32_MTRR_PHYSBASE0, IA32_MTRR_DEF_TYPE - IA32_MTRR_PHYSBASE0 + 1],
  // EFER, STAR, LSTAR, CSTAR, FMASK; FS.base, GS.base, KERNEL_GS_BASE, TSC_AUX.
  [IA32_EFER, 5],
  [IA32_FS_BASE, 4],
];

/**
 * Bits of IA32_ARCH_CAPABILITIES that guests of KVM are told: weaknesses that this host's processor does not have, and
 * what it does about them. Left out are those that announce registers which this machine has not: TSX_CTRL,
 * MISC_PACKAGE_CTLS, ENERGY_FILTERING_CTL, DOITM, FB_CLEAR_CTRL, XAPIC_DISABLE, OVERCLOCKING.
 */
const ARCH_CAPABILITIES_BITS =
  // RDCL_NO, IBRS_ALL, RSBA, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO; TAA_NO.
  0x17fn |
  // SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, FB_CLEAR, RRSBA, BHI_NO.
  (0x7n << 13n) |
  (1n << 17n) |
  (3n << 19n) |
  // PBRSB_NO, GDS_NO, RFDS_NO, RFDS_CLEAR, ITS_NO.
  (1n << 24n) |
  (7n << 26n) |
  (1n << 62n);
/** IBRS_ALL speaks of a control of IA32_SPEC_CTRL. */
const IBRS_ALL = 2n;

/** What guests of this KVM read in IA32_ARCH_CAPABILITIES; `offered`: what KVM offers them. */
export function archCapabilities(offered: bigint, hasSpeculationControl: boolean): bigint {
  const value = offered & ARCH_CAPABILITIES_BITS;
  return hasSpeculationControl ? value : value & ~IBRS_ALL;
}

/** For `KvmVm.setMsrFilter`; `more` are further registers that this machine leaves to KVM. */
export function msrsOfKvm(more: readonly number[] = []): Uint32Array {
  return Uint32Array.from([...KVM_OWN, ...more.map((msr) => [msr, 1] as const)].flat());
}
