import type { KvmVcpu } from '../../../native/index.ts';
import type { CpuState } from '../x86/cpu-state.ts';
import * as L from '../x86/layout.ts';
import {
  IA32_CSTAR,
  IA32_FMASK,
  IA32_KERNEL_GS_BASE,
  IA32_LSTAR,
  IA32_MISC_ENABLE,
  IA32_MTRR_DEF_TYPE,
  IA32_MTRR_FIX4K_C0000,
  IA32_MTRR_FIX16K_80000,
  IA32_MTRR_FIX64K_00000,
  IA32_MTRR_PHYSBASE0,
  IA32_PAT,
  IA32_SPEC_CTRL,
  IA32_STAR,
  IA32_SYSENTER_CS,
  IA32_SYSENTER_EIP,
  IA32_SYSENTER_ESP,
  IA32_TIME_STAMP_COUNTER,
  IA32_TSC_ADJUST,
  IA32_TSC_AUX,
} from '../x86/system/msr.ts';
import * as K from './kvm-abi.ts';

/** KVM's order of the general registers, as indices of ours. */
const GENERAL = [0, 3, 1, 2, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15] as const;
/** KVM's order of the segment registers. */
const SEGMENTS = [L.SEG_CS, L.SEG_DS, L.SEG_ES, L.SEG_FS, L.SEG_GS, L.SEG_SS, L.SEG_TR, L.SEG_LDTR] as const;
const ATTR_AVL = 0x1000;

/** MSRs that travel, and where they lie in the record. FS.base, GS.base and EFER travel with the segments. */
const MSRS: readonly (readonly [index: number, offset: number])[] = [
  [IA32_STAR, L.MSR_STAR],
  [IA32_LSTAR, L.MSR_LSTAR],
  [IA32_CSTAR, L.MSR_CSTAR],
  [IA32_FMASK, L.MSR_SFMASK],
  [IA32_KERNEL_GS_BASE, L.MSR_KERNEL_GS_BASE],
  [IA32_SPEC_CTRL, L.MSR_SPEC_CTRL],
  [IA32_SYSENTER_CS, L.MSR_SYSENTER_CS],
  [IA32_SYSENTER_ESP, L.MSR_SYSENTER_ESP],
  [IA32_SYSENTER_EIP, L.MSR_SYSENTER_EIP],
  [IA32_TSC_AUX, L.MSR_TSC_AUX],
  [IA32_PAT, L.MSR_PAT],
  [IA32_TSC_ADJUST, L.MSR_TSC_ADJUST],
  [IA32_MISC_ENABLE, L.MSR_MISC_ENABLE],
  [IA32_MTRR_DEF_TYPE, L.MSR_MTRR_DEF_TYPE],
  ...Array.from({ length: 16 }, (_, i) => [IA32_MTRR_PHYSBASE0 + i, L.MSR_MTRR_VARIABLE + i * 8] as const),
  [IA32_MTRR_FIX64K_00000, L.MSR_MTRR_FIXED],
  ...Array.from({ length: 2 }, (_, i) => [IA32_MTRR_FIX16K_80000 + i, L.MSR_MTRR_FIXED + 8 + i * 8] as const),
  ...Array.from({ length: 8 }, (_, i) => [IA32_MTRR_FIX4K_C0000 + i, L.MSR_MTRR_FIXED + 24 + i * 8] as const),
];

/** The machine's time-stamp counter, which TSC_OFFSET counts from. */
export interface TscClock {
  timestamp(): bigint;
  /** By how much it lags behind the host's counter, from which KVM counts: it stands still while a machine is paused. */
  base(): bigint;
}

/** An interrupt or exception that KVM had begun to deliver when the processor stopped. */
export type UndeliveredEvent =
  | { readonly kind: 'exception'; readonly vector: number; readonly errorCode: number | undefined }
  | { readonly kind: 'interrupt'; readonly vector: number; readonly software: boolean };

/**
 * Carries one processor's registers between KVM and its record in the arena (x86/layout.ts). Only what changed since the
 * last transfer is written to KVM.
 */
export class VcpuRegisters {
  readonly #vcpu: KvmVcpu;
  readonly #state: CpuState;
  readonly #clock: TscClock;
  readonly #regs = new DataView(new ArrayBuffer(K.REGS_BYTES));
  readonly #sregs = new DataView(new ArrayBuffer(K.SREGS_BYTES));
  readonly #xsave = new DataView(new ArrayBuffer(K.XSAVE_BYTES));
  readonly #events = new DataView(new ArrayBuffer(K.EVENTS_BYTES));
  readonly #debug = new DataView(new ArrayBuffer(K.DEBUGREGS_BYTES));
  readonly #xcrs = new DataView(new ArrayBuffer(K.XCRS_BYTES));
  readonly #hasXcrs: boolean;
  readonly #hasYmm: boolean;
  readonly #msrs: readonly (readonly [index: number, offset: number])[];
  readonly #msrEntries: DataView;
  /** What KVM holds, as far as known: byte images of the structures. */
  readonly #held = new Map<string, Uint8Array>();
  #tscOffset: bigint | undefined;

  constructor(
    vcpu: KvmVcpu,
    state: CpuState,
    options: { readonly clock: TscClock; readonly hasXcrs: boolean; readonly hasYmm: boolean },
  ) {
    this.#vcpu = vcpu;
    this.#state = state;
    this.#clock = options.clock;
    this.#hasXcrs = options.hasXcrs;
    this.#hasYmm = options.hasYmm;
    const probe = new DataView(new ArrayBuffer(K.MSR_ENTRY_BYTES));
    this.#msrs = MSRS.filter(([index]) => {
      probe.setUint32(0, index, true);
      return vcpu.getMsrs(bytes(probe)) === 1;
    });
    this.#msrEntries = new DataView(new ArrayBuffer(this.#msrs.length * K.MSR_ENTRY_BYTES));
    for (const [i, [index]] of this.#msrs.entries()) {
      this.#msrEntries.setUint32(i * K.MSR_ENTRY_BYTES, index, true);
    }
  }

  /** Keeps KVM, whose registers are not in force, from delivering interrupts. */
  shield(): void {
    this.#regs.setBigUint64(K.REGS_RFLAGS, 2n, true);
    this.#vcpu.set('regs', bytes(this.#regs));
    // What KVM makes of the others meanwhile is not known.
    this.#held.clear();
  }

  /** Whether KVM lets the processor run, wait or halt, into the record: where KVM has the local APIC. First of all. */
  activityFromKvm(): void {
    const view = new DataView(new ArrayBuffer(K.MP_STATE_BYTES));
    this.#vcpu.get('mp-state', bytes(view));
    const state = view.getUint32(0, true);
    const activity =
      state === K.KVM_MP_STATE_HALTED
        ? L.ACTIVITY_HALTED
        : state === K.KVM_MP_STATE_UNINITIALIZED || state === K.KVM_MP_STATE_INIT_RECEIVED
          ? L.ACTIVITY_WAIT_SIPI
          : L.ACTIVITY_RUNNING;
    this.#state.setI32(L.ACTIVITY, activity);
  }

  /** The other way round. Last of all. */
  activityToKvm(): void {
    const view = new DataView(new ArrayBuffer(K.MP_STATE_BYTES));
    const activity = this.#state.i32(L.ACTIVITY);
    view.setUint32(
      0,
      activity === L.ACTIVITY_HALTED
        ? K.KVM_MP_STATE_HALTED
        : activity === L.ACTIVITY_WAIT_SIPI
          ? K.KVM_MP_STATE_INIT_RECEIVED
          : K.KVM_MP_STATE_RUNNABLE,
      true,
    );
    this.#vcpu.set('mp-state', bytes(view));
  }

  // ── From KVM ──

  /** Reads everything into the record, and returns what was being delivered. TPR and the APIC are the caller's. */
  fromKvm(): UndeliveredEvent | undefined {
    this.#getGeneral();
    this.#getSystem();
    this.#getVectors();
    this.#getMsrs();
    this.#getDebug();
    if (this.#hasXcrs) {
      this.#vcpu.get('xcrs', bytes(this.#xcrs));
      this.#keep('xcrs', this.#xcrs);
      this.#state.setU64(L.XCR0, this.#xcrs.getBigUint64(K.XCRS_FIRST_VALUE, true));
    }
    return this.#getEvents();
  }

  #keep(name: string, view: DataView): void {
    const held = this.#held.get(name);
    if (held === undefined) {
      this.#held.set(name, bytes(view).slice());
    } else {
      held.set(bytes(view));
    }
  }

  /** True, once, when `view` is not what KVM holds. */
  #differs(name: string, view: DataView): boolean {
    const held = this.#held.get(name);
    if (held !== undefined && Buffer.compare(held, bytes(view)) === 0) {
      return false;
    }
    this.#keep(name, view);
    return true;
  }

  #getGeneral(): void {
    const view = this.#regs;
    const state = this.#state;
    this.#vcpu.get('regs', bytes(view));
    for (let i = 0; i < 16; i++) {
      state.setGpr(GENERAL[i] as number, view.getBigUint64(i * 8, true));
    }
    state.rip = view.getBigUint64(K.REGS_RIP, true);
    state.flags = view.getUint32(K.REGS_RFLAGS, true);
  }

  #getSystem(): void {
    const view = this.#sregs;
    const state = this.#state;
    this.#vcpu.get('sregs', bytes(view));
    this.#keep('sregs', view);
    for (const [i, segment] of SEGMENTS.entries()) {
      const at = i * K.SEGMENT_BYTES;
      const attributes =
        view.getUint8(at + K.SEGMENT_TYPE) |
        (view.getUint8(at + K.SEGMENT_S) << 4) |
        (view.getUint8(at + K.SEGMENT_DPL) << L.ATTR_DPL_SHIFT) |
        (view.getUint8(at + K.SEGMENT_PRESENT) << 7) |
        (view.getUint8(at + K.SEGMENT_AVL) ? ATTR_AVL : 0) |
        (view.getUint8(at + K.SEGMENT_L) ? L.ATTR_LONG : 0) |
        (view.getUint8(at + K.SEGMENT_DB) ? L.ATTR_DB : 0) |
        (view.getUint8(at + K.SEGMENT_G) ? L.ATTR_GRANULARITY : 0) |
        (view.getUint8(at + K.SEGMENT_UNUSABLE) ? L.ATTR_UNUSABLE : 0);
      const register = state.segments[segment];
      register?.assign(
        view.getUint16(at + K.SEGMENT_SELECTOR, true),
        view.getBigUint64(at, true),
        view.getUint32(at + K.SEGMENT_LIMIT, true),
        attributes,
      );
    }
    this.#agreeOnPrivilege();
    for (const [from, to] of TABLES) {
      state.setU64(to, view.getBigUint64(from, true));
      state.setU32(to + 8, view.getUint16(from + 8, true));
    }
    for (const [from, to] of CONTROLS) {
      state.setU64(to, view.getBigUint64(from, true));
    }
  }

  /**
   * The privilege level is SS.DPL, and CS's own where the segment is not conforming (SDM 3A, 5.5). Emulating KVMs forget
   * the former at SYSCALL.
   */
  #agreeOnPrivilege(): void {
    const { cs, ss } = this.#state;
    const isPlainCode = (cs.attributes & (L.ATTR_S | L.ATTR_CODE | L.ATTR_CONFORMING)) === (L.ATTR_S | L.ATTR_CODE);
    if (isPlainCode && ss.dpl !== cs.dpl) {
      ss.attributes = (ss.attributes & ~(3 << L.ATTR_DPL_SHIFT)) | (cs.dpl << L.ATTR_DPL_SHIFT);
    }
  }

  #getVectors(): void {
    const view = this.#xsave;
    const state = this.#state;
    this.#vcpu.get('xsave', bytes(view));
    this.#keep('xsave', view);
    const status = view.getUint16(K.XSAVE_FSW, true);
    const top = (status >> 11) & 7;
    state.setI32(L.FPU_CONTROL, view.getUint16(K.XSAVE_FCW, true));
    state.setI32(L.FPU_STATUS, status & ~(7 << 11));
    state.setI32(L.FPU_TOP, top);
    state.setI32(L.FPU_VALID, view.getUint8(K.XSAVE_TAGS));
    state.setI32(L.FPU_OPCODE, view.getUint16(K.XSAVE_FOP, true));
    state.setU64(L.FPU_IP, view.getBigUint64(K.XSAVE_FIP, true));
    state.setU64(L.FPU_DP, view.getBigUint64(K.XSAVE_FDP, true));
    for (let i = 0; i < 8; i++) {
      const from = K.XSAVE_ST + i * 16;
      const to = L.FPR + ((top + i) & 7) * L.FPR_STRIDE;
      state.setU64(to, view.getBigUint64(from, true));
      state.setU64(to + 8, BigInt(view.getUint16(from + 8, true)));
    }
    for (let i = 0; i < 16; i++) {
      const to = L.XMM + i * L.XMM_STRIDE;
      for (let half = 0; half < 16; half += 8) {
        state.setU64(to + half, view.getBigUint64(K.XSAVE_XMM + i * 16 + half, true));
        state.setU64(to + 16 + half, view.getBigUint64(K.XSAVE_YMM + i * 16 + half, true));
      }
    }
    state.setU32(L.MXCSR, view.getUint32(K.XSAVE_MXCSR, true));
  }

  #getMsrs(): void {
    const entries = this.#msrEntries;
    this.#vcpu.getMsrs(bytes(entries));
    this.#keep('msrs', entries);
    for (const [i, [, offset]] of this.#msrs.entries()) {
      this.#state.setU64(offset, entries.getBigUint64(i * K.MSR_ENTRY_BYTES + 8, true));
    }
    const offset = this.#vcpu.tscOffset();
    if (offset !== undefined) {
      this.#tscOffset = offset;
      this.#state.setU64(L.TSC_OFFSET, BigInt.asUintN(64, offset + this.#clock.base()));
    } else {
      this.#state.setU64(L.TSC_OFFSET, BigInt.asUintN(64, this.#readTsc() - this.#clock.timestamp()));
    }
  }

  #readTsc(): bigint {
    const entry = new DataView(new ArrayBuffer(K.MSR_ENTRY_BYTES));
    entry.setUint32(0, IA32_TIME_STAMP_COUNTER, true);
    this.#vcpu.getMsrs(bytes(entry));
    return entry.getBigUint64(8, true);
  }

  #getDebug(): void {
    const view = this.#debug;
    const state = this.#state;
    this.#vcpu.get('debugregs', bytes(view));
    this.#keep('debugregs', view);
    for (let i = 0; i < 4; i++) {
      state.setU64(L.DR0 + i * 8, view.getBigUint64(i * 8, true));
    }
    state.setU64(L.DR6, view.getBigUint64(32, true));
    state.setU64(L.DR7, view.getBigUint64(40, true));
  }

  #getEvents(): UndeliveredEvent | undefined {
    const view = this.#events;
    const state = this.#state;
    this.#vcpu.get('events', bytes(view));
    this.#keep('events', view);
    state.setI32(L.SHADOW, view.getUint8(K.EVENTS_INTERRUPT_SHADOW) === 0 ? 0 : 1);
    state.setI32(L.NMI_BLOCKED, view.getUint8(K.EVENTS_NMI_MASKED));
    state.setI32(L.TRAP_PENDING, 0);
    state.setI32(L.FAULT, 0);
    if (view.getUint8(K.EVENTS_NMI_PENDING) !== 0 || view.getUint8(K.EVENTS_NMI_INJECTED) !== 0) {
      state.setI32(L.NMI_PENDING, 1);
    }
    if (view.getUint8(K.EVENTS_EXCEPTION_INJECTED) !== 0 || view.getUint8(K.EVENTS_EXCEPTION_PENDING) !== 0) {
      return {
        kind: 'exception',
        vector: view.getUint8(K.EVENTS_EXCEPTION_VECTOR),
        errorCode:
          view.getUint8(K.EVENTS_EXCEPTION_HAS_ERROR) === 0
            ? undefined
            : view.getUint32(K.EVENTS_EXCEPTION_ERROR, true),
      };
    }
    if (view.getUint8(K.EVENTS_INTERRUPT_INJECTED) !== 0) {
      return {
        kind: 'interrupt',
        vector: view.getUint8(K.EVENTS_INTERRUPT_VECTOR),
        software: view.getUint8(K.EVENTS_INTERRUPT_SOFT) !== 0,
      };
    }
    return undefined;
  }

  // ── To KVM ──

  /**
   * Writes the record to KVM. Nothing is under way there afterwards: pending NMIs stay in the record. Where KVM has the
   * local APIC, its base and the task priority are left as they are: undefined.
   */
  toKvm(apicBase: bigint | undefined, taskPriority: number | undefined): void {
    this.#setMsrs();
    this.#setSystem(apicBase, taskPriority);
    this.#setGeneral();
    this.#setVectors();
    this.#setDebug();
    if (this.#hasXcrs) {
      this.#xcrs.setUint32(0, 1, true);
      this.#xcrs.setBigUint64(K.XCRS_FIRST_VALUE, this.#state.u64(L.XCR0), true);
      if (this.#differs('xcrs', this.#xcrs)) {
        this.#vcpu.set('xcrs', bytes(this.#xcrs));
      }
    }
    this.#setEvents();
  }

  #setGeneral(): void {
    const view = this.#regs;
    const state = this.#state;
    for (let i = 0; i < 16; i++) {
      view.setBigUint64(i * 8, state.gpr(GENERAL[i] as number), true);
    }
    view.setBigUint64(K.REGS_RIP, state.rip, true);
    view.setBigUint64(K.REGS_RFLAGS, BigInt(state.flags >>> 0), true);
    this.#vcpu.set('regs', bytes(view));
  }

  #setSystem(apicBase: bigint | undefined, taskPriority: number | undefined): void {
    const view = this.#sregs;
    const state = this.#state;
    for (const [i, segment] of SEGMENTS.entries()) {
      const at = i * K.SEGMENT_BYTES;
      const register = state.segments[segment];
      if (register === undefined) {
        continue;
      }
      const { attributes } = register;
      view.setBigUint64(at, register.base, true);
      view.setUint32(at + K.SEGMENT_LIMIT, register.limit, true);
      view.setUint16(at + K.SEGMENT_SELECTOR, register.selector, true);
      view.setUint8(at + K.SEGMENT_TYPE, attributes & L.ATTR_TYPE);
      view.setUint8(at + K.SEGMENT_PRESENT, (attributes >> 7) & 1);
      view.setUint8(at + K.SEGMENT_DPL, (attributes >> L.ATTR_DPL_SHIFT) & 3);
      view.setUint8(at + K.SEGMENT_DB, attributes & L.ATTR_DB ? 1 : 0);
      view.setUint8(at + K.SEGMENT_S, attributes & L.ATTR_S ? 1 : 0);
      view.setUint8(at + K.SEGMENT_L, attributes & L.ATTR_LONG ? 1 : 0);
      view.setUint8(at + K.SEGMENT_G, attributes & L.ATTR_GRANULARITY ? 1 : 0);
      view.setUint8(at + K.SEGMENT_AVL, attributes & ATTR_AVL ? 1 : 0);
      view.setUint8(at + K.SEGMENT_UNUSABLE, attributes & L.ATTR_UNUSABLE ? 1 : 0);
    }
    for (const [to, from] of TABLES) {
      view.setBigUint64(to, state.u64(from), true);
      view.setUint16(to + 8, state.u32(from + 8), true);
    }
    for (const [to, from] of CONTROLS) {
      view.setBigUint64(to, state.u64(from), true);
    }
    if (taskPriority !== undefined) {
      view.setBigUint64(K.SREGS_CR8, BigInt(taskPriority), true);
    }
    if (apicBase !== undefined) {
      view.setBigUint64(K.SREGS_APIC_BASE, apicBase, true);
    }
    for (let i = 0; i < 4; i++) {
      view.setBigUint64(K.SREGS_INTERRUPT_BITMAP + i * 8, 0n, true);
    }
    if (this.#differs('sregs', view)) {
      this.#vcpu.set('sregs', bytes(view));
    }
  }

  #setVectors(): void {
    const view = this.#xsave;
    const state = this.#state;
    const top = state.i32(L.FPU_TOP);
    view.setUint16(K.XSAVE_FCW, state.i32(L.FPU_CONTROL), true);
    view.setUint16(K.XSAVE_FSW, (state.i32(L.FPU_STATUS) & ~(7 << 11)) | (top << 11), true);
    view.setUint8(K.XSAVE_TAGS, state.i32(L.FPU_VALID));
    view.setUint16(K.XSAVE_FOP, state.i32(L.FPU_OPCODE), true);
    view.setBigUint64(K.XSAVE_FIP, state.u64(L.FPU_IP), true);
    view.setBigUint64(K.XSAVE_FDP, state.u64(L.FPU_DP), true);
    for (let i = 0; i < 8; i++) {
      const from = L.FPR + ((top + i) & 7) * L.FPR_STRIDE;
      const to = K.XSAVE_ST + i * 16;
      view.setBigUint64(to, state.u64(from), true);
      view.setBigUint64(to + 8, BigInt(state.u16(from + 8)), true);
    }
    for (let i = 0; i < 16; i++) {
      const from = L.XMM + i * L.XMM_STRIDE;
      for (let half = 0; half < 16; half += 8) {
        view.setBigUint64(K.XSAVE_XMM + i * 16 + half, state.u64(from + half), true);
        view.setBigUint64(K.XSAVE_YMM + i * 16 + half, this.#hasYmm ? state.u64(from + 16 + half) : 0n, true);
      }
    }
    view.setUint32(K.XSAVE_MXCSR, state.u32(L.MXCSR), true);
    view.setBigUint64(K.XSAVE_STATE, this.#hasYmm ? 7n : 3n, true);
    if (this.#differs('xsave', view)) {
      this.#vcpu.set('xsave', bytes(view));
    }
  }

  #setMsrs(): void {
    const entries = this.#msrEntries;
    for (const [i, [, offset]] of this.#msrs.entries()) {
      entries.setBigUint64(i * K.MSR_ENTRY_BYTES + 8, this.#state.u64(offset), true);
    }
    const held = this.#held.get('msrs');
    const changed = this.#msrs.flatMap((_, i) => {
      const entry = bytes(entries).subarray(i * K.MSR_ENTRY_BYTES, (i + 1) * K.MSR_ENTRY_BYTES);
      const before = held?.subarray(i * K.MSR_ENTRY_BYTES, (i + 1) * K.MSR_ENTRY_BYTES);
      return before !== undefined && Buffer.compare(entry, before) === 0 ? [] : [entry];
    });
    // One by one: what this KVM refuses must not keep the others from being set.
    for (const entry of changed) {
      this.#vcpu.setMsrs(entry);
    }
    this.#keep('msrs', entries);
    this.#setTsc();
  }

  #setTsc(): void {
    const wanted = BigInt.asIntN(64, this.#state.u64(L.TSC_OFFSET) - this.#clock.base());
    if (wanted === this.#tscOffset) {
      return;
    }
    if (this.#tscOffset !== undefined || this.#vcpu.tscOffset() !== undefined) {
      this.#vcpu.setTscOffset(wanted);
      this.#tscOffset = wanted;
      return;
    }
    // An older KVM takes the counter itself. It believes what differs by less than a second to be meant as equal, which
    // keeps the counters of several processors together.
    const value = this.#clock.timestamp() + this.#state.u64(L.TSC_OFFSET);
    const difference = BigInt.asIntN(64, value - this.#readTsc());
    if (difference > TSC_TOLERANCE || difference < -TSC_TOLERANCE) {
      const entry = new DataView(new ArrayBuffer(K.MSR_ENTRY_BYTES));
      entry.setUint32(0, IA32_TIME_STAMP_COUNTER, true);
      entry.setBigUint64(8, BigInt.asUintN(64, value), true);
      this.#vcpu.setMsrs(bytes(entry));
    }
  }

  #setDebug(): void {
    const view = this.#debug;
    const state = this.#state;
    for (let i = 0; i < 4; i++) {
      view.setBigUint64(i * 8, state.u64(L.DR0 + i * 8), true);
    }
    view.setBigUint64(32, state.u64(L.DR6), true);
    view.setBigUint64(40, state.u64(L.DR7), true);
    if (this.#differs('debugregs', view)) {
      this.#vcpu.set('debugregs', bytes(view));
    }
  }

  #setEvents(): void {
    const view = this.#events;
    const state = this.#state;
    bytes(view).fill(0);
    view.setUint8(K.EVENTS_INTERRUPT_SHADOW, state.i32(L.SHADOW) === 0 ? 0 : 1);
    view.setUint8(K.EVENTS_NMI_MASKED, state.i32(L.NMI_BLOCKED));
    view.setUint32(K.EVENTS_FLAGS, K.EVENTS_VALID_SHADOW | K.EVENTS_VALID_NMI_PENDING, true);
    this.#vcpu.set('events', bytes(view));
  }
}

/** Ticks that reading and writing the counter may lie apart. */
const TSC_TOLERANCE = 1_000_000n;
/** Places in kvm_sregs and in the record. */
const TABLES = [
  [K.SREGS_GDT, L.GDTR],
  [K.SREGS_IDT, L.IDTR],
] as const;
const CONTROLS = [
  [K.SREGS_CR0, L.CR0],
  [K.SREGS_CR2, L.CR2],
  [K.SREGS_CR3, L.CR3],
  [K.SREGS_CR4, L.CR4],
  [K.SREGS_EFER, L.EFER],
] as const;

function bytes(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer);
}
