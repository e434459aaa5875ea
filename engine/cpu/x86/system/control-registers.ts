import * as L from '../layout.ts';
import type { Core } from './core.ts';
import { generalProtection, undefinedOpcode } from './faults.ts';

/** CR0's bits that exist; the others of the low half read as 0 and ignore writes. */
const CR0_DEFINED =
  L.CR0_PE |
  L.CR0_MP |
  L.CR0_EM |
  L.CR0_TS |
  L.CR0_ET |
  L.CR0_NE |
  L.CR0_WP |
  L.CR0_AM |
  L.CR0_NW |
  L.CR0_CD |
  L.CR0_PG;
/** CR4's bits that exist: what CPUID announces. Setting another one is #GP. */
export const CR4_DEFINED =
  L.CR4_VME |
  L.CR4_PVI |
  L.CR4_TSD |
  L.CR4_DE |
  L.CR4_PSE |
  L.CR4_PAE |
  L.CR4_MCE |
  L.CR4_PGE |
  L.CR4_PCE |
  L.CR4_OSFXSR |
  L.CR4_OSXMMEXCPT |
  L.CR4_UMIP |
  L.CR4_FSGSBASE |
  L.CR4_PCIDE |
  L.CR4_OSXSAVE |
  L.CR4_SMEP |
  L.CR4_SMAP;
/** Changing one of these forgets all translations, global ones too (SDM 3A, 4.10.4.1). */
const CR4_FLUSHING = L.CR4_PSE | L.CR4_PAE | L.CR4_PGE | L.CR4_PCIDE | L.CR4_SMEP | L.CR4_SMAP;
/** Of these, changes make PAE paging read its four page-directory pointers again (SDM 3A, 4.4.1). */
const CR4_RELOADING = L.CR4_PSE | L.CR4_PAE | L.CR4_PGE | L.CR4_SMEP;
export const EFER_DEFINED = L.EFER_SCE | L.EFER_LME | L.EFER_LMA | L.EFER_NXE;
const NO_FLUSH = 1n << 63n;

/** CR0–CR8 and EFER (SDM 3A, 2.5 and 9.8.5). */
export class ControlRegisters {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** MOV from CRn. */
  read(index: number): bigint {
    const core = this.#core;
    const state = core.state;
    core.requireSupervisor();
    switch (index) {
      case 0:
        return state.u64(L.CR0);
      case 2:
        return state.u64(L.CR2);
      case 3:
        return state.u64(L.CR3);
      case 4:
        return state.u64(L.CR4);
      case 8:
        return BigInt(core.environment.tpr());
      default:
        throw undefinedOpcode();
    }
  }

  /** MOV to CRn. */
  write(index: number, value: bigint): void {
    const core = this.#core;
    core.requireSupervisor();
    switch (index) {
      case 0:
        if (value >> 32n) {
          throw generalProtection();
        }
        this.#writeCr0(Number(value) | 0);
        break;
      case 2:
        core.state.setU64(L.CR2, value);
        break;
      case 3:
        this.#writeCr3(value);
        break;
      case 4:
        if (value >> 32n) {
          throw generalProtection();
        }
        this.#writeCr4(Number(value) | 0);
        break;
      case 8:
        if (value > 15n) {
          throw generalProtection();
        }
        core.environment.setTpr(Number(value));
        break;
      default:
        throw undefinedOpcode();
    }
  }

  #writeCr0(requested: number): void {
    const core = this.#core;
    const state = core.state;
    const old = state.cr0;
    const value = (requested & CR0_DEFINED) | L.CR0_ET;
    const changed = old ^ value;
    if ((value & L.CR0_PG && !(value & L.CR0_PE)) || (value & L.CR0_NW && !(value & L.CR0_CD))) {
      throw generalProtection();
    }
    let efer = state.efer;
    if (changed & L.CR0_PG) {
      if (value & L.CR0_PG) {
        if (efer & L.EFER_LME) {
          // A 16-bit TSS cannot be used in long mode, and CS.L must not be set yet (SDM 3A, 9.8.5).
          if (!(state.cr4 & L.CR4_PAE) || state.cs.attributes & L.ATTR_LONG || !(state.tr.attributes & 8)) {
            throw generalProtection();
          }
          efer |= L.EFER_LMA;
        }
      } else {
        if (core.isCode64 || state.cr4 & L.CR4_PCIDE) {
          throw generalProtection();
        }
        efer &= ~L.EFER_LMA;
      }
    }
    const reloads = changed & (L.CR0_PG | L.CR0_CD | L.CR0_NW);
    if (value & L.CR0_PG && state.cr4 & L.CR4_PAE && !(efer & L.EFER_LMA) && reloads) {
      this.#checkPageDirectoryPointers(state.u32(L.CR3));
    }
    state.setU32(L.CR0, value);
    state.setI32(L.EFER, efer);
    if (changed & (L.CR0_PG | L.CR0_WP | L.CR0_PE)) {
      core.environment.flushTlb(true);
    }
    core.updateMode();
  }

  #writeCr3(value: bigint): void {
    const core = this.#core;
    const state = core.state;
    let next = value;
    if (state.cr4 & L.CR4_PCIDE) {
      next &= ~NO_FLUSH;
    }
    if (core.isLong) {
      if (next >> BigInt(core.environment.maxPhysicalAddressBits)) {
        throw generalProtection();
      }
    } else {
      next = BigInt.asUintN(32, next);
      if (state.cr4 & L.CR4_PAE && state.cr0 & L.CR0_PG) {
        this.#checkPageDirectoryPointers(Number(next));
      }
    }
    state.setU64(L.CR3, next);
    core.environment.flushTlb(false);
  }

  #writeCr4(value: number): void {
    const core = this.#core;
    const state = core.state;
    const changed = state.cr4 ^ value;
    if (value & ~CR4_DEFINED) {
      throw generalProtection();
    }
    if (core.isLong) {
      if (!(value & L.CR4_PAE)) {
        throw generalProtection();
      }
      if (changed & value & L.CR4_PCIDE && state.u32(L.CR3) & 0xfff) {
        throw generalProtection();
      }
    } else {
      if (value & L.CR4_PCIDE) {
        throw generalProtection();
      }
      if (value & L.CR4_PAE && state.cr0 & L.CR0_PG && changed & CR4_RELOADING) {
        this.#checkPageDirectoryPointers(state.u32(L.CR3));
      }
    }
    state.setU32(L.CR4, value);
    if (changed & CR4_FLUSHING) {
      core.environment.flushTlb(true);
    }
    core.updateMode();
  }

  /** #GP if a present entry of the PAE page-directory-pointer table has reserved bits set (SDM 3A, 4.4.1). */
  #checkPageDirectoryPointers(cr3: number): void {
    const { environment } = this.#core;
    const table = (cr3 & 0xffffffe0) >>> 0;
    const highBits = environment.maxPhysicalAddressBits - 32;
    for (let i = 0; i < 4; i++) {
      const address = table + i * 8;
      const low = environment.readPhysical32(address);
      const high = environment.readPhysical32(address + 4);
      if (low & 1 && (low & 0x1e6 || high >>> highBits)) {
        throw generalProtection();
      }
    }
  }

  /** WRMSR of IA32_EFER. */
  writeEfer(value: bigint): void {
    const core = this.#core;
    const state = core.state;
    if (value & ~BigInt(EFER_DEFINED)) {
      throw generalProtection();
    }
    const old = state.efer;
    // LMA only shows the mode: writes to it are ignored.
    const next = (Number(value) & ~L.EFER_LMA) | (old & L.EFER_LMA);
    if ((old ^ next) & L.EFER_LME && state.cr0 & L.CR0_PG) {
      throw generalProtection();
    }
    state.setI32(L.EFER, next);
    if ((old ^ next) & L.EFER_NXE) {
      core.environment.flushTlb(true);
    }
    core.updateMode();
  }

  /** LMSW: PE can be set but not cleared. */
  lmsw(value: number): void {
    const core = this.#core;
    core.requireSupervisor();
    const old = core.state.cr0;
    const bits = L.CR0_MP | L.CR0_EM | L.CR0_TS;
    this.#writeCr0((old & ~bits) | (value & (bits | L.CR0_PE)));
  }

  smsw(): number {
    const core = this.#core;
    if (core.state.cr4 & L.CR4_UMIP) {
      core.requireSupervisor();
    }
    return core.state.u32(L.CR0);
  }

  clts(): void {
    const core = this.#core;
    core.requireSupervisor();
    core.state.setI32(L.CR0, core.state.cr0 & ~L.CR0_TS);
    core.updateMode();
  }

  /** XGETBV of register `index` (SDM 2C): 1 is what of XCR0 is in use. */
  xgetbv(index: number): bigint {
    const state = this.#core.state;
    if (!(state.cr4 & L.CR4_OSXSAVE)) {
      throw undefinedOpcode();
    }
    if (index > 1) {
      throw generalProtection();
    }
    const enabled = state.u64(L.XCR0);
    return index === 0 || this.#avxInUse() ? enabled : enabled & ~BigInt(L.XCR0_AVX);
  }

  /** Whether a YMM register has anything in its upper half. The other components always count as in use. */
  #avxInUse(): boolean {
    const { state } = this.#core;
    for (let i = 0; i < 16; i++) {
      const high = L.XMM + i * L.XMM_STRIDE + 16;
      if (state.u64(high) !== 0n || state.u64(high + 8) !== 0n) {
        return true;
      }
    }
    return false;
  }

  /** XSETBV. `supported`: the bits XCR0 may have. */
  xsetbv(index: number, value: bigint, supported: number): void {
    const core = this.#core;
    if (!(core.state.cr4 & L.CR4_OSXSAVE)) {
      throw undefinedOpcode();
    }
    core.requireSupervisor();
    // AVX state needs SSE state; x87 state is always on.
    if (index !== 0 || value & ~BigInt(supported) || !(value & 1n) || (value & 6n) === 4n) {
      throw generalProtection();
    }
    core.state.setU64(L.XCR0, value);
    core.updateMode();
  }

  /** INVPCID (SDM 2A). Translations carry no PCID, so each type forgets at least what it must. */
  invpcid(type: bigint, descriptor: bigint): void {
    const core = this.#core;
    core.requireSupervisor();
    const pcid = core.memory.read64(descriptor, 'current');
    const address = core.memory.read64(BigInt.asUintN(core.isCode64 ? 64 : 32, descriptor + 8n), 'current');
    if (type > 3n || pcid >> 12n || (type <= 1n && pcid !== 0n && !(core.state.cr4 & L.CR4_PCIDE))) {
      throw generalProtection();
    }
    if (type === 0n) {
      if (BigInt.asUintN(64, BigInt.asIntN(48, address)) !== address) {
        throw generalProtection();
      }
      core.environment.invalidatePage(address);
    } else {
      core.environment.flushTlb(type === 2n);
    }
  }
}
