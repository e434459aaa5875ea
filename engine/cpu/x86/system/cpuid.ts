import * as L from '../layout.ts';
import { XSAVE_SIZE, XSAVE_SIZE_AVX } from '../x87/registers.ts';
import type { Core } from './core.ts';
import { IA32_APIC_BASE } from './msr.ts';

/** Where CPUID returns a feature bit. */
export type FeatureRegister =
  | '1.ecx'
  | '1.edx'
  | '6.eax'
  | '7.ebx'
  | '7.ecx'
  | '7.edx'
  | '7.2.edx'
  | '13.1.eax'
  | '80000001.ecx'
  | '80000001.edx'
  | '80000007.edx';

export interface CpuFeature {
  /** The name Linux shows in /proc/cpuinfo. */
  readonly name: string;
  readonly register: FeatureRegister;
  readonly bit: number;
  /** Missing: always announced. */
  readonly when?: 'several-cpus' | 'osxsave' | 'apic-enabled' | 'code64';
  /**
   * Announced only on machines that another kind of processor runs too, and has it. This one can do it, but has no need
   * of it, or does without it faster.
   */
  readonly passedOn?: true;
  /** What the feature is, where the name does not say. */
  readonly note?: string;
}

/** Bits of leaf 7, EDX, and of its subleaf 2. */
const SPEC_CTRL = 26;
const STIBP = 27;
const FLUSH_L1D = 28;
const SSBD = 31;
const PSFD = 0;
const IPRED_CTRL = 1;
const RRSBA_CTRL = 2;
const BHI_CTRL = 4;
/** What IA32_SPEC_CTRL may hold, by the feature that brings it (SDM 4, table 2-2). */
const SPECULATION_CONTROLS: readonly (readonly [register: FeatureRegister, bit: number, controls: bigint])[] = [
  ['7.edx', SPEC_CTRL, 1n << 0n],
  ['7.edx', STIBP, 1n << 1n],
  ['7.edx', SSBD, 1n << 2n],
  ['7.2.edx', IPRED_CTRL, 3n << 3n],
  ['7.2.edx', RRSBA_CTRL, 3n << 5n],
  ['7.2.edx', PSFD, 1n << 7n],
  ['7.2.edx', BHI_CTRL, 1n << 10n],
];

/**
 * Every feature this processor announces, and none besides (SDM 2A, CPUID). Instructions behind a name here must exist
 * in the instruction table.
 */
export const CPU_FEATURES: readonly CpuFeature[] = [
  { name: 'fpu', register: '1.edx', bit: 0 },
  { name: 'vme', register: '1.edx', bit: 1, note: 'virtual-8086 extensions, VIF and VIP, PVI' },
  { name: 'de', register: '1.edx', bit: 2, note: 'I/O breakpoints' },
  { name: 'pse', register: '1.edx', bit: 3, note: '4 MiB pages' },
  { name: 'tsc', register: '1.edx', bit: 4 },
  { name: 'msr', register: '1.edx', bit: 5 },
  { name: 'pae', register: '1.edx', bit: 6 },
  { name: 'mce', register: '1.edx', bit: 7, note: 'CR4.MCE; machine checks never happen' },
  { name: 'cx8', register: '1.edx', bit: 8 },
  { name: 'apic', register: '1.edx', bit: 9, when: 'apic-enabled' },
  { name: 'sep', register: '1.edx', bit: 11, note: 'SYSENTER and SYSEXIT' },
  { name: 'mtrr', register: '1.edx', bit: 12 },
  { name: 'pge', register: '1.edx', bit: 13 },
  { name: 'mca', register: '1.edx', bit: 14, note: 'with no banks' },
  { name: 'cmov', register: '1.edx', bit: 15 },
  { name: 'pat', register: '1.edx', bit: 16 },
  { name: 'pse36', register: '1.edx', bit: 17 },
  { name: 'clflush', register: '1.edx', bit: 19 },
  { name: 'mmx', register: '1.edx', bit: 23 },
  { name: 'fxsr', register: '1.edx', bit: 24 },
  { name: 'sse', register: '1.edx', bit: 25 },
  { name: 'sse2', register: '1.edx', bit: 26 },
  { name: 'ht', register: '1.edx', bit: 28, when: 'several-cpus' },
  { name: 'sse3', register: '1.ecx', bit: 0 },
  { name: 'pclmulqdq', register: '1.ecx', bit: 1 },
  { name: 'ssse3', register: '1.ecx', bit: 9 },
  { name: 'fma', register: '1.ecx', bit: 12 },
  { name: 'cx16', register: '1.ecx', bit: 13 },
  { name: 'pcid', register: '1.ecx', bit: 17 },
  { name: 'sse4_1', register: '1.ecx', bit: 19 },
  { name: 'sse4_2', register: '1.ecx', bit: 20 },
  { name: 'x2apic', register: '1.ecx', bit: 21 },
  { name: 'movbe', register: '1.ecx', bit: 22 },
  { name: 'popcnt', register: '1.ecx', bit: 23 },
  { name: 'tsc_deadline_timer', register: '1.ecx', bit: 24 },
  { name: 'aes', register: '1.ecx', bit: 25 },
  { name: 'xsave', register: '1.ecx', bit: 26 },
  { name: 'osxsave', register: '1.ecx', bit: 27, when: 'osxsave', note: 'CR4.OSXSAVE is set' },
  { name: 'avx', register: '1.ecx', bit: 28 },
  { name: 'f16c', register: '1.ecx', bit: 29 },
  { name: 'rdrand', register: '1.ecx', bit: 30 },
  { name: 'hypervisor', register: '1.ecx', bit: 31 },
  { name: 'arat', register: '6.eax', bit: 2, note: 'the APIC timer never stops' },
  { name: 'fsgsbase', register: '7.ebx', bit: 0 },
  { name: 'tsc_adjust', register: '7.ebx', bit: 1 },
  { name: 'bmi1', register: '7.ebx', bit: 3 },
  { name: 'avx2', register: '7.ebx', bit: 5 },
  { name: 'smep', register: '7.ebx', bit: 7 },
  { name: 'bmi2', register: '7.ebx', bit: 8 },
  { name: 'erms', register: '7.ebx', bit: 9, note: 'REP MOVSB and STOSB are the fastest copies' },
  { name: 'invpcid', register: '7.ebx', bit: 10 },
  { name: 'rdseed', register: '7.ebx', bit: 18 },
  { name: 'adx', register: '7.ebx', bit: 19, passedOn: true },
  { name: 'smap', register: '7.ebx', bit: 20 },
  { name: 'clflushopt', register: '7.ebx', bit: 23 },
  { name: 'clwb', register: '7.ebx', bit: 24 },
  { name: 'sha_ni', register: '7.ebx', bit: 29, passedOn: true },
  { name: 'umip', register: '7.ecx', bit: 2 },
  { name: 'gfni', register: '7.ecx', bit: 8, passedOn: true },
  { name: 'vaes', register: '7.ecx', bit: 9 },
  { name: 'vpclmulqdq', register: '7.ecx', bit: 10 },
  { name: 'rdpid', register: '7.ecx', bit: 22 },
  { name: 'fsrm', register: '7.edx', bit: 4, passedOn: true, note: 'so are they for a few bytes' },
  { name: 'md_clear', register: '7.edx', bit: 10, passedOn: true, note: 'VERW clears buffers' },
  { name: 'serialize', register: '7.edx', bit: 14 },
  { name: 'spec_ctrl', register: '7.edx', bit: SPEC_CTRL, passedOn: true, note: 'IBRS and IBPB' },
  { name: 'intel_stibp', register: '7.edx', bit: STIBP, passedOn: true },
  { name: 'flush_l1d', register: '7.edx', bit: FLUSH_L1D, passedOn: true },
  { name: 'arch_capabilities', register: '7.edx', bit: 29, note: 'an MSR that denies speculation weaknesses' },
  { name: 'ssbd', register: '7.edx', bit: SSBD, passedOn: true, note: 'no speculative store bypass, on request' },
  { name: 'psfd', register: '7.2.edx', bit: PSFD, passedOn: true },
  { name: 'ipred_ctrl', register: '7.2.edx', bit: IPRED_CTRL, passedOn: true },
  { name: 'rrsba_ctrl', register: '7.2.edx', bit: RRSBA_CTRL, passedOn: true },
  { name: 'bhi_ctrl', register: '7.2.edx', bit: BHI_CTRL, passedOn: true },
  { name: 'xsaveopt', register: '13.1.eax', bit: 0 },
  { name: 'xsavec', register: '13.1.eax', bit: 1 },
  { name: 'xgetbv1', register: '13.1.eax', bit: 2 },
  { name: 'lahf_lm', register: '80000001.ecx', bit: 0, note: 'LAHF and SAHF in 64-bit code' },
  { name: 'abm', register: '80000001.ecx', bit: 5, note: 'LZCNT' },
  { name: '3dnowprefetch', register: '80000001.ecx', bit: 8, note: 'PREFETCHW' },
  { name: 'syscall', register: '80000001.edx', bit: 11, when: 'code64' },
  { name: 'nx', register: '80000001.edx', bit: 20 },
  { name: 'pdpe1gb', register: '80000001.edx', bit: 26, note: '1 GiB pages' },
  { name: 'rdtscp', register: '80000001.edx', bit: 27 },
  { name: 'lm', register: '80000001.edx', bit: 29, note: 'long mode' },
  { name: 'invariant_tsc', register: '80000007.edx', bit: 8, note: 'constant_tsc and nonstop_tsc' },
];

const VENDOR = 'GenuineIntel';
const BRAND = 'Lodge Virtual CPU';
const HYPERVISOR = 'LodgeVirtual';
/** Family 6, model 42, stepping 7: an ordinary processor that no operating system has workarounds for. */
export const CPU_SIGNATURE = 0x000206a7;
const XSAVE = 1 << 26;
const AVX = 1 << 28;
const MAX_BASIC = 0x16;
const MAX_EXTENDED = 0x80000008;
const HYPERVISOR_BASE = 0x40000000;
/** The crystal clock of leaf 15H, which operating systems also take for the APIC timer's. */
const CRYSTAL_HZ = 1_000_000_000;

function letters(text: string, index: number): number {
  let value = 0;
  for (let i = 3; i >= 0; i--) {
    const code = text.charCodeAt(index * 4 + i);
    value = value * 256 + (Number.isNaN(code) ? 0 : code);
  }
  return value;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** CPUID: who this processor is and what it can do (SDM 2A). */
export class CpuIdentification {
  readonly #core: Core;
  #masks: ReadonlyMap<FeatureRegister, number> | undefined;
  #eax = 0;
  #ebx = 0;
  #ecx = 0;
  #edx = 0;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Answers the leaf in EAX and the subleaf in ECX, in EAX, EBX, ECX and EDX. */
  cpuid(leaf: number, subleaf: number): void {
    this.#eax = 0;
    this.#ebx = 0;
    this.#ecx = 0;
    this.#edx = 0;
    if (leaf >= HYPERVISOR_BASE && leaf < HYPERVISOR_BASE + 0x10000) {
      this.#hypervisor(leaf);
    } else if (leaf >= 0x80000000) {
      // Leaves beyond the last answer like the highest basic one (SDM 2A).
      if (leaf <= MAX_EXTENDED) {
        this.#extended(leaf);
      } else {
        this.#basic(MAX_BASIC, subleaf);
      }
    } else {
      this.#basic(Math.min(leaf, MAX_BASIC), subleaf);
    }
    const state = this.#core.state;
    state.setGpr32(0, this.#eax);
    state.setGpr32(3, this.#ebx);
    state.setGpr32(1, this.#ecx);
    state.setGpr32(2, this.#edx);
  }

  /** Announces only what the masks leave, for machines that another kind of processor runs too. */
  limitFeatures(masks: ReadonlyMap<FeatureRegister, number>): void {
    this.#masks = masks;
  }

  /** The feature bits of one register as they read now. */
  features(register: FeatureRegister): number {
    let bits = 0;
    for (const feature of CPU_FEATURES) {
      if (feature.register === register && this.#applies(feature)) {
        bits |= 1 << feature.bit;
      }
    }
    return (bits & (this.#masks?.get(register) ?? 0xffffffff)) >>> 0;
  }

  #has(register: FeatureRegister, bit: number): boolean {
    return ((this.features(register) >>> bit) & 1) !== 0;
  }

  /** The bits that IA32_SPEC_CTRL has; 0: there is no such register. */
  get speculationControls(): bigint {
    return SPECULATION_CONTROLS.reduce(
      (bits, [register, bit, controls]) => (this.#has(register, bit) ? bits | controls : bits),
      0n,
    );
  }

  /** IA32_PRED_CMD exists. */
  get hasPredictionBarrier(): boolean {
    return this.#has('7.edx', SPEC_CTRL);
  }

  /** IA32_FLUSH_CMD exists. */
  get hasCacheFlush(): boolean {
    return this.#has('7.edx', FLUSH_L1D);
  }

  #applies(feature: CpuFeature): boolean {
    const core = this.#core;
    if (feature.passedOn === true && this.#masks === undefined) {
      return false;
    }
    switch (feature.when) {
      case 'several-cpus':
        return core.environment.cpuCount > 1;
      case 'osxsave':
        return (core.state.cr4 & L.CR4_OSXSAVE) !== 0;
      case 'apic-enabled':
        return ((core.environment.readApicMsr(IA32_APIC_BASE) ?? 0n) & 0x800n) !== 0n;
      case 'code64':
        return core.isCode64;
      default:
        return true;
    }
  }

  #basic(leaf: number, subleaf: number): void {
    const { state, environment } = this.#core;
    const cpus = environment.cpuCount;
    switch (leaf) {
      case 0:
        this.#eax = MAX_BASIC;
        this.#ebx = letters(VENDOR, 0);
        this.#edx = letters(VENDOR, 1);
        this.#ecx = letters(VENDOR, 2);
        break;
      case 1:
        this.#eax = CPU_SIGNATURE;
        // Cache lines of 64 bytes for CLFLUSH; APIC ids in use; this processor's.
        this.#ebx = ((state.index << 24) | ((cpus > 1 ? 1 << this.#coreBits() : 0) << 16) | (8 << 8)) >>> 0;
        this.#ecx = this.features('1.ecx');
        this.#edx = this.features('1.edx');
        break;
      case 2:
        // TLBs and prefetching; of the caches: "see leaf 4" (FFH).
        this.#eax = 0x76035a01;
        this.#ebx = 0x00f0b2ff;
        this.#edx = 0x00ca0000;
        break;
      case 4:
        this.#caches(subleaf);
        break;
      case 6:
        this.#eax = this.features('6.eax');
        break;
      case 7:
        if (subleaf === 0) {
          this.#eax = this.features('7.2.edx') === 0 ? 0 : 2;
          this.#ebx = this.features('7.ebx');
          this.#ecx = this.features('7.ecx');
          this.#edx = this.features('7.edx');
        } else if (subleaf === 2) {
          this.#edx = this.features('7.2.edx');
        }
        break;
      case 0xb:
        this.#topology(subleaf);
        break;
      case 0xd:
        this.#extendedState(subleaf);
        break;
      case 0x15: {
        // In whole megahertz: operating systems multiply the numerator by the crystal's kilohertz in 32 bits.
        const crystal = CRYSTAL_HZ / 1e6;
        const tsc = Math.round(environment.tscFrequencyHz / 1e6);
        const divisor = greatestCommonDivisor(crystal, tsc);
        this.#eax = crystal / divisor;
        this.#ebx = tsc / divisor;
        this.#ecx = CRYSTAL_HZ;
        break;
      }
      case 0x16: {
        const tsc = Math.round(environment.tscFrequencyHz / 1e6);
        this.#eax = tsc;
        this.#ebx = tsc;
        this.#ecx = 100;
        break;
      }
    }
  }

  /** Bits of the APIC id that number the cores of the package. */
  #coreBits(): number {
    return Math.ceil(Math.log2(this.#core.environment.cpuCount));
  }

  /** Leaf 4: 32 KiB of L1 each, 256 KiB of L2, 8 MiB of L3 shared by all cores; lines of 64 bytes. */
  #caches(subleaf: number): void {
    const coresField = ((1 << this.#coreBits()) - 1) << 26;
    const shared = ((1 << this.#coreBits()) - 1) << 14;
    // [type, level, ways, sets, shared]
    const cache = [
      [1, 1, 8, 64, 0],
      [2, 1, 8, 64, 0],
      [3, 2, 8, 512, 0],
      [3, 3, 16, 8192, shared],
    ][subleaf];
    const [type = 0, level = 0, ways = 1, sets = 1, sharing = 0] = cache ?? [];
    if (cache === undefined) {
      return;
    }
    // Bit 8: the cache initializes itself.
    this.#eax = (coresField | sharing | (1 << 8) | (level << 5) | type) >>> 0;
    this.#ebx = ((ways - 1) << 22) | 63;
    this.#ecx = sets - 1;
  }

  /** Leaf BH: one thread a core, all cores in one package. */
  #topology(subleaf: number): void {
    const { state, environment } = this.#core;
    this.#ecx = subleaf & 0xff;
    this.#edx = state.index;
    if (subleaf === 0) {
      this.#ebx = 1;
      this.#ecx |= 1 << 8;
    } else if (subleaf === 1) {
      this.#eax = this.#coreBits();
      this.#ebx = environment.cpuCount;
      this.#ecx |= 2 << 8;
    }
  }

  /** The bits that XCR0 may have. */
  get supportedState(): number {
    return L.XCR0_X87 | L.XCR0_SSE | (this.features('1.ecx') & AVX ? L.XCR0_AVX : 0);
  }

  /** Leaf DH: the XSAVE area, as large as XCR0 makes it and as large as it may be; its components from number 2 on. */
  #extendedState(subleaf: number): void {
    if ((this.features('1.ecx') & XSAVE) === 0) {
      return;
    }
    const supported = this.supportedState;
    const sizeOf = (components: number) => (components & L.XCR0_AVX ? XSAVE_SIZE_AVX : XSAVE_SIZE);
    const present = sizeOf(this.#core.state.i32(L.XCR0));
    if (subleaf === 0) {
      this.#eax = supported;
      this.#ebx = present;
      this.#ecx = sizeOf(supported);
    } else if (subleaf === 1) {
      this.#eax = this.features('13.1.eax');
      this.#ebx = present;
    } else if (subleaf === 2 && supported & L.XCR0_AVX) {
      this.#eax = XSAVE_SIZE_AVX - XSAVE_SIZE;
      this.#ebx = XSAVE_SIZE;
    }
  }

  /** The interfaces that the machine offers, and behind them who really runs it. */
  #hypervisor(leaf: number): void {
    const { state, environment } = this.#core;
    const answer = environment.hypervisor?.cpuid(leaf, state.index);
    if (answer !== undefined) {
      this.#eax = answer.eax;
      this.#ebx = answer.ebx;
      this.#ecx = answer.ecx;
      this.#edx = answer.edx;
    } else if (leaf === (environment.hypervisor?.nextLeaf ?? HYPERVISOR_BASE)) {
      this.#eax = leaf;
      this.#ebx = letters(HYPERVISOR, 0);
      this.#ecx = letters(HYPERVISOR, 1);
      this.#edx = letters(HYPERVISOR, 2);
    }
  }

  #extended(leaf: number): void {
    const { environment } = this.#core;
    switch (leaf) {
      case 0x80000000:
        this.#eax = MAX_EXTENDED;
        break;
      case 0x80000001:
        this.#ecx = this.features('80000001.ecx');
        this.#edx = this.features('80000001.edx');
        break;
      case 0x80000002:
      case 0x80000003:
      case 0x80000004: {
        const first = (leaf - 0x80000002) * 4;
        this.#eax = letters(BRAND, first);
        this.#ebx = letters(BRAND, first + 1);
        this.#ecx = letters(BRAND, first + 2);
        this.#edx = letters(BRAND, first + 3);
        break;
      }
      case 0x80000006:
        // L2: 256 KiB, 8 ways, lines of 64 bytes.
        this.#ecx = (256 << 16) | (6 << 12) | 64;
        break;
      case 0x80000007:
        this.#edx = this.features('80000007.edx');
        break;
      case 0x80000008:
        // Physical and linear address bits.
        this.#eax = environment.maxPhysicalAddressBits | (48 << 8);
        break;
    }
  }
}
