import { type Log, limitedLog } from '../../../base/log.ts';
import * as L from '../layout.ts';
import type { ControlRegisters } from './control-registers.ts';
import type { Core } from './core.ts';
import type { CpuIdentification } from './cpuid.ts';
import { generalProtection } from './faults.ts';
import { canonicalHigh, isCanonical } from './stack.ts';

/** Model-specific registers (SDM 4, chapter 2). */
export const IA32_PLATFORM_ID = 0x17;
export const IA32_TIME_STAMP_COUNTER = 0x10;
export const IA32_APIC_BASE = 0x1b;
export const EBL_CR_POWERON = 0x2a;
export const IA32_FEATURE_CONTROL = 0x3a;
export const IA32_TSC_ADJUST = 0x3b;
export const IA32_SPEC_CTRL = 0x48;
export const IA32_PRED_CMD = 0x49;
export const IA32_BIOS_UPDT_TRIG = 0x79;
export const IA32_BIOS_SIGN_ID = 0x8b;
export const MSR_FSB_FREQ = 0xcd;
export const MSR_PLATFORM_INFO = 0xce;
export const IA32_MTRRCAP = 0xfe;
export const IA32_ARCH_CAPABILITIES = 0x10a;
export const IA32_FLUSH_CMD = 0x10b;
export const IA32_SYSENTER_CS = 0x174;
export const IA32_SYSENTER_ESP = 0x175;
export const IA32_SYSENTER_EIP = 0x176;
export const IA32_MCG_CAP = 0x179;
export const IA32_MCG_STATUS = 0x17a;
export const IA32_PERF_STATUS = 0x198;
export const IA32_PERF_CTL = 0x199;
export const IA32_CLOCK_MODULATION = 0x19a;
export const IA32_THERM_INTERRUPT = 0x19b;
export const IA32_THERM_STATUS = 0x19c;
export const IA32_MISC_ENABLE = 0x1a0;
export const MSR_TEMPERATURE_TARGET = 0x1a2;
export const IA32_PACKAGE_THERM_STATUS = 0x1b1;
export const IA32_DEBUGCTL = 0x1d9;
export const IA32_MTRR_PHYSBASE0 = 0x200;
export const IA32_MTRR_FIX64K_00000 = 0x250;
export const IA32_MTRR_FIX16K_80000 = 0x258;
export const IA32_MTRR_FIX4K_C0000 = 0x268;
export const IA32_PAT = 0x277;
export const IA32_MTRR_DEF_TYPE = 0x2ff;
export const IA32_TSC_DEADLINE = 0x6e0;
export const IA32_X2APIC_FIRST = 0x800;
export const IA32_X2APIC_LAST = 0x8ff;
export const IA32_EFER = 0xc0000080;
export const IA32_STAR = 0xc0000081;
export const IA32_LSTAR = 0xc0000082;
export const IA32_CSTAR = 0xc0000083;
export const IA32_FMASK = 0xc0000084;
export const IA32_FS_BASE = 0xc0000100;
export const IA32_GS_BASE = 0xc0000101;
export const IA32_KERNEL_GS_BASE = 0xc0000102;
export const IA32_TSC_AUX = 0xc0000103;

/** Variable-range MTRRs: pairs of base and mask. */
const MTRR_PAIRS = 8;
/** VCNT = 8, fixed ranges, write combining. */
const MTRR_CAPABILITIES = 0x508n;
/** FE and E, and the default type. */
const MTRR_DEF_TYPE_BITS = 0xcffn;
/** Fast strings, and no branch-trace or precise-event storage. */
export const MISC_ENABLE_RESET = 0x1801n;
/** Bits of IA32_MISC_ENABLE that software may change. */
const MISC_ENABLE_WRITABLE = 0x85_0009n;
/** Set once the firmware has locked it: no VMX, no SMX. */
const FEATURE_CONTROL_LOCKED = 1n;
const MICROCODE_REVISION = 1n << 32n;
/**
 * A processor that does not speculate has none of these weaknesses: RDCL_NO, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO,
 * IF_PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO. Above all it
 * spares guests the cost of separate kernel page tables.
 */
const ARCH_CAPABILITIES =
  (1n << 0n) |
  (1n << 3n) |
  (1n << 4n) |
  (1n << 5n) |
  (1n << 6n) |
  (1n << 8n) |
  (7n << 13n) |
  (1n << 20n) |
  (13n << 24n) |
  (1n << 62n);

/** Bits of IA32_PRED_CMD and IA32_FLUSH_CMD that may be written: barriers, which are no matter to a processor without speculation. */
const PRED_CMD_BITS = 1n;
const FLUSH_CMD_BITS = 1n;

const FS = L.SEGMENTS + L.SEG_FS * L.SEGMENT_SIZE;
const GS = L.SEGMENTS + L.SEG_GS * L.SEGMENT_SIZE;
const RAX = L.GPR;
const RCX = L.GPR + 1 * 8;
const RDX = L.GPR + 2 * 8;

/** Memory types: UC, WC, WT, WP, WB; PAT also has UC−. */
function isMemoryType(type: bigint): boolean {
  return type === 0n || type === 1n || (type >= 4n && type <= 6n);
}

function areMemoryTypes(value: bigint, alsoUncachedMinus: boolean): boolean {
  for (let rest = value, i = 0; i < 8; rest >>= 8n, i++) {
    const type = rest & 0xffn;
    if (!isMemoryType(type) && !(alsoUncachedMinus && type === 7n)) {
      return false;
    }
  }
  return true;
}

/** RDMSR, WRMSR and the time-stamp counter. */
export class ModelSpecificRegisters {
  readonly #core: Core;
  readonly #control: ControlRegisters;
  readonly #identification: CpuIdentification;
  readonly #log: Log;
  /** IA32_ARCH_CAPABILITIES: that of another processor, where one may run the machine too. */
  archCapabilities = ARCH_CAPABILITIES;

  constructor(core: Core, control: ControlRegisters, identification: CpuIdentification) {
    this.#core = core;
    this.#control = control;
    this.#identification = identification;
    this.#log = limitedLog(core.environment.log);
  }

  /** RDMSR: the register ECX names into EDX:EAX. */
  rdmsr(): void {
    const core = this.#core;
    core.requireSupervisor();
    const state = core.state;
    const value = this.read(state.u32(RCX));
    this.#setPair(value);
  }

  #setPair(value: bigint): void {
    const state = this.#core.state;
    const low = this.#core.lowHalf(value);
    state.setGpr32(0, low);
    state.setGpr32(2, this.#core.lastHigh);
  }

  /** WRMSR: EDX:EAX into the register ECX names. The bases that every task switch writes need no BigInt. */
  wrmsr(): void {
    const core = this.#core;
    core.requireSupervisor();
    const state = core.state;
    const index = state.u32(RCX);
    if (index >= IA32_FS_BASE && index <= IA32_KERNEL_GS_BASE) {
      const high = state.i32(RDX);
      if (!canonicalHigh(high)) {
        throw generalProtection();
      }
      const to = index === IA32_FS_BASE ? FS : index === IA32_GS_BASE ? GS : L.MSR_KERNEL_GS_BASE;
      state.setI32(to, state.i32(RAX));
      state.setI32(to + 4, high);
      return;
    }
    this.write(index, (BigInt(state.u32(RDX)) << 32n) | BigInt(state.u32(RAX)));
  }

  #unknown(what: string, index: number): never {
    const { state } = this.#core;
    // Guests probe for registers as a matter of course.
    this.#log.info(
      `processor ${state.index}: ${what} of unknown MSR ${index.toString(16)} at ${state.rip.toString(16)}`,
    );
    throw generalProtection();
  }

  /** The record's offset of a fixed-range MTRR, or undefined. */
  #fixedMtrr(index: number): number | undefined {
    if (index === IA32_MTRR_FIX64K_00000) {
      return L.MSR_MTRR_FIXED;
    }
    if (index === IA32_MTRR_FIX16K_80000 || index === IA32_MTRR_FIX16K_80000 + 1) {
      return L.MSR_MTRR_FIXED + 8 + (index - IA32_MTRR_FIX16K_80000) * 8;
    }
    if (index >= IA32_MTRR_FIX4K_C0000 && index < IA32_MTRR_FIX4K_C0000 + 8) {
      return L.MSR_MTRR_FIXED + 24 + (index - IA32_MTRR_FIX4K_C0000) * 8;
    }
    return undefined;
  }

  /** Registers that are plain storage. */
  #storage(index: number): number | undefined {
    switch (index) {
      case IA32_SYSENTER_CS:
        return L.MSR_SYSENTER_CS;
      case IA32_SYSENTER_ESP:
        return L.MSR_SYSENTER_ESP;
      case IA32_SYSENTER_EIP:
        return L.MSR_SYSENTER_EIP;
      case IA32_STAR:
        return L.MSR_STAR;
      case IA32_LSTAR:
        return L.MSR_LSTAR;
      case IA32_CSTAR:
        return L.MSR_CSTAR;
      case IA32_FMASK:
        return L.MSR_SFMASK;
      case IA32_FS_BASE:
        return FS;
      case IA32_GS_BASE:
        return GS;
      case IA32_KERNEL_GS_BASE:
        return L.MSR_KERNEL_GS_BASE;
      case IA32_TSC_AUX:
        return L.MSR_TSC_AUX;
      case IA32_PAT:
        return L.MSR_PAT;
      case IA32_TSC_ADJUST:
        return L.MSR_TSC_ADJUST;
      case IA32_MISC_ENABLE:
        return L.MSR_MISC_ENABLE;
      case IA32_MTRR_DEF_TYPE:
        return L.MSR_MTRR_DEF_TYPE;
      case IA32_EFER:
        return L.EFER;
      default:
        if (index >= IA32_MTRR_PHYSBASE0 && index < IA32_MTRR_PHYSBASE0 + 2 * MTRR_PAIRS) {
          return L.MSR_MTRR_VARIABLE + (index - IA32_MTRR_PHYSBASE0) * 8;
        }
        return this.#fixedMtrr(index);
    }
  }

  /** A register's value; #GP(0) for unknown ones. */
  read(index: number): bigint {
    const { state, environment } = this.#core;
    const storage = this.#storage(index);
    if (storage !== undefined) {
      return state.u64(storage);
    }
    if (this.#isApic(index)) {
      const value = environment.readApicMsr(index);
      if (value === undefined) {
        throw generalProtection();
      }
      return value;
    }
    const megahertz = BigInt(Math.round(environment.tscFrequencyHz / 1e6));
    switch (index) {
      case IA32_TIME_STAMP_COUNTER:
        return this.timestamp();
      case IA32_FEATURE_CONTROL:
        return FEATURE_CONTROL_LOCKED;
      case IA32_BIOS_SIGN_ID:
        return MICROCODE_REVISION;
      case IA32_MTRRCAP:
        return MTRR_CAPABILITIES;
      case IA32_ARCH_CAPABILITIES:
        return this.archCapabilities;
      case IA32_SPEC_CTRL:
        this.#require(this.#identification.speculationControls !== 0n);
        return state.u64(L.MSR_SPEC_CTRL);
      case MSR_FSB_FREQ:
        return 3n;
      case MSR_PLATFORM_INFO:
        // The highest ratio without turbo, of a 100 MHz clock.
        return (megahertz / 100n) << 8n;
      case IA32_PERF_STATUS:
        return (megahertz / 100n) << 8n;
      case MSR_TEMPERATURE_TARGET:
        // 100 °C, with no sensor announced.
        return 100n << 16n;
      // No machine-check banks; no branch records; nothing throttles; old performance counters stand still.
      case IA32_MCG_CAP:
      case IA32_MCG_STATUS:
      case IA32_PLATFORM_ID:
      case EBL_CR_POWERON:
      case IA32_PERF_CTL:
      case IA32_CLOCK_MODULATION:
      case IA32_THERM_INTERRUPT:
      case IA32_THERM_STATUS:
      case IA32_PACKAGE_THERM_STATUS:
      case IA32_DEBUGCTL:
      case 0xc1:
      case 0xc2:
      case 0x186:
      case 0x187:
      case 0x1db:
      case 0x1dc:
      case 0x1dd:
      case 0x1de:
        return 0n;
      default:
        return environment.hypervisor?.readMsr(state, index) ?? this.#unknown('read', index);
    }
  }

  #isApic(index: number): boolean {
    return (
      index === IA32_APIC_BASE ||
      index === IA32_TSC_DEADLINE ||
      (index >= IA32_X2APIC_FIRST && index <= IA32_X2APIC_LAST)
    );
  }

  #require(condition: boolean): void {
    if (!condition) {
      throw generalProtection();
    }
  }

  /** Sets a register; #GP(0) for unknown ones, read-only ones and values it cannot hold. */
  write(index: number, value: bigint): void {
    const { state, environment } = this.#core;
    if (this.#isApic(index)) {
      this.#require(environment.writeApicMsr(index, value));
      return;
    }
    switch (index) {
      case IA32_EFER:
        this.#control.writeEfer(value);
        return;
      case IA32_LSTAR:
      case IA32_CSTAR:
      case IA32_FS_BASE:
      case IA32_GS_BASE:
      case IA32_KERNEL_GS_BASE:
      case IA32_SYSENTER_ESP:
      case IA32_SYSENTER_EIP:
        this.#require(isCanonical(value));
        break;
      case IA32_FMASK:
      case IA32_TSC_AUX:
        this.#require(value >> 32n === 0n);
        break;
      case IA32_STAR:
        break;
      case IA32_SYSENTER_CS:
        state.setU64(L.MSR_SYSENTER_CS, value & 0xffffffffn);
        return;
      case IA32_PAT:
        this.#require(areMemoryTypes(value, true));
        break;
      case IA32_TIME_STAMP_COUNTER:
        this.#moveTsc(value - this.timestamp());
        return;
      case IA32_TSC_ADJUST:
        this.#moveTsc(value - state.u64(L.MSR_TSC_ADJUST));
        return;
      case IA32_MISC_ENABLE: {
        const old = state.u64(L.MSR_MISC_ENABLE);
        state.setU64(L.MSR_MISC_ENABLE, (old & ~MISC_ENABLE_WRITABLE) | (value & MISC_ENABLE_WRITABLE));
        return;
      }
      case IA32_MTRR_DEF_TYPE:
        this.#require(!(value & ~MTRR_DEF_TYPE_BITS) && isMemoryType(value & 0xffn));
        break;
      case IA32_MCG_STATUS:
        this.#require(value === 0n);
        return;
      case IA32_SPEC_CTRL: {
        // Kept, for the processor that has them: here nothing speculates.
        const controls = this.#identification.speculationControls;
        this.#require(controls !== 0n && (value & ~controls) === 0n);
        state.setU64(L.MSR_SPEC_CTRL, value);
        return;
      }
      case IA32_PRED_CMD:
        this.#require(this.#identification.hasPredictionBarrier && (value & ~PRED_CMD_BITS) === 0n);
        return;
      case IA32_FLUSH_CMD:
        this.#require(this.#identification.hasCacheFlush && (value & ~FLUSH_CMD_BITS) === 0n);
        return;
      // Microcode "updates" and switches of things that do not exist.
      case IA32_BIOS_UPDT_TRIG:
      case IA32_BIOS_SIGN_ID:
      case EBL_CR_POWERON:
      case IA32_PERF_CTL:
      case IA32_CLOCK_MODULATION:
      case IA32_THERM_INTERRUPT:
      case IA32_THERM_STATUS:
      case IA32_DEBUGCTL:
      case 0xc1:
      case 0xc2:
      case 0x186:
      case 0x187:
        return;
      default:
        if (environment.hypervisor?.writeMsr(state, index, value) !== true) {
          this.#writeMtrr(index, value);
        }
        return;
    }
    const storage = this.#storage(index);
    if (storage !== undefined) {
      state.setU64(storage, value);
    }
  }

  #writeMtrr(index: number, value: bigint): void {
    const { state, environment } = this.#core;
    const fixed = this.#fixedMtrr(index);
    if (fixed !== undefined) {
      this.#require(areMemoryTypes(value, false));
      state.setU64(fixed, value);
      return;
    }
    const pair = index - IA32_MTRR_PHYSBASE0;
    if (pair < 0 || pair >= 2 * MTRR_PAIRS) {
      this.#unknown('write', index);
    }
    this.#require(value >> BigInt(environment.maxPhysicalAddressBits) === 0n);
    if (pair & 1) {
      this.#require((value & 0x7ffn) === 0n);
    } else {
      this.#require((value & 0xf00n) === 0n && isMemoryType(value & 0xffn));
    }
    state.setU64(L.MSR_MTRR_VARIABLE + pair * 8, value);
  }

  // The time-stamp counter (SDM 3B, 17.17)

  timestamp(): bigint {
    const { state, environment } = this.#core;
    return BigInt.asUintN(64, environment.timestamp() + state.u64(L.TSC_OFFSET));
  }

  /** Writes to the counter and to its adjustment both move both. */
  #moveTsc(by: bigint): void {
    const { state } = this.#core;
    state.setU64(L.TSC_OFFSET, BigInt.asUintN(64, state.u64(L.TSC_OFFSET) + by));
    state.setU64(L.MSR_TSC_ADJUST, BigInt.asUintN(64, state.u64(L.MSR_TSC_ADJUST) + by));
    this.#core.environment.tscChanged?.();
    this.#core.environment.hypervisor?.tscMoved(state);
  }

  #requireTimestamp(): void {
    if (this.#core.state.cr4 & L.CR4_TSD) {
      this.#core.requireSupervisor();
    }
  }

  rdtsc(): void {
    this.#requireTimestamp();
    this.#setPair(this.timestamp());
  }

  rdtscp(): void {
    this.rdtsc();
    const { state } = this.#core;
    state.setGpr32(1, state.u32(L.MSR_TSC_AUX));
  }

  /** RDPMC: there are no performance counters. */
  rdpmc(): void {
    throw generalProtection();
  }
}
