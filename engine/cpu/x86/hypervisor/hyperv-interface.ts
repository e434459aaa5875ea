import type { StateValue } from '../../../devices/device.ts';
import { StateReader } from '../../../devices/state.ts';
import { REG_EOI, REG_ICR_HIGH, REG_ICR_LOW, REG_TPR } from '../../../irq/apic-registers.ts';
import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import type { GuestClock } from './guest-clock.ts';
import { type GuestInterface, type HypervisorHost, type Leaf, signatureOf } from './guest-interface.ts';
import { HypervCalls } from './hyperv-calls.ts';
import { HypervSynic } from './hyperv-synic.ts';
import { HypervTimers } from './hyperv-timers.ts';

/** Hyper-V's interface to its guests (Microsoft, Hypervisor Top Level Functional Specification 6.0b). */
export const HV_X64_MSR_GUEST_OS_ID = 0x40000000;
export const HV_X64_MSR_HYPERCALL = 0x40000001;
export const HV_X64_MSR_VP_INDEX = 0x40000002;
export const HV_X64_MSR_TIME_REF_COUNT = 0x40000020;
export const HV_X64_MSR_REFERENCE_TSC = 0x40000021;
export const HV_X64_MSR_TSC_FREQUENCY = 0x40000022;
export const HV_X64_MSR_APIC_FREQUENCY = 0x40000023;
export const HV_X64_MSR_EOI = 0x40000070;
export const HV_X64_MSR_ICR = 0x40000071;
export const HV_X64_MSR_TPR = 0x40000072;
export const HV_X64_MSR_VP_ASSIST_PAGE = 0x40000073;
export const HV_X64_MSR_CRASH_P0 = 0x40000100;
export const HV_X64_MSR_CRASH_P4 = 0x40000104;
export const HV_X64_MSR_CRASH_CTL = 0x40000105;

/** The page of calls holds an output to this port and a return: it leaves the guest on every processor backend. */
export const HYPERCALL_PORT = 0xe4;
const HYPERCALL_CODE = Uint8Array.of(0xe6, HYPERCALL_PORT, 0xc3);

/** "Hv#1": the leaves that follow are as specified (TLFS 2.4). */
const INTERFACE = 0x31237648;
/** Version 10.0, build 14393: no guest takes a newer one for granted. */
const BUILD = 14393;
const VERSION = 10 << 16;
/**
 * Privileges, EAX of the fourth leaf (TLFS 4.2.2): reference counter, synthetic interrupts and timers, call registers, VP
 * index, reference TSC, frequencies.
 */
const PRIVILEGES = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 5) | (1 << 6) | (1 << 9) | (1 << 11);
/** The registers for the local APIC, its assist page among them. */
const PRIVILEGE_APIC = 1 << 4;
/** EDX of it: input of calls in XMM registers, frequency registers, crash registers, sources that are polled, direct timers. */
const FEATURES = (1 << 4) | (1 << 8) | (1 << 10) | (1 << 17) | (1 << 19);
/** EAX of the fifth leaf: watchdogs are to be patient, and interrupts end by an EOI. */
const ADVICE = (1 << 5) | (1 << 9);
/** To reach the local APIC by the registers above. */
const ADVICE_APIC = 1 << 3;
/** To have other processors forget translations, and to interrupt them, by calls. */
const ADVICE_CALLS = (1 << 2) | (1 << 10);
/** EBX of it: never to tell of spinning. */
const NEVER_NOTIFY = 0xffffffff;

/** What saved states of before synthetic interrupts and timers lack: then these are as after a reset. */
const LATER_FIELDS = ['synic', 'timers', 'assistPages'] as const;

const ENABLED = 1n;
const LOCKED = 2n;
const PAGE = ~0xfffn;
const CRASH_REGISTERS = 5;
/** The guest has written its crash registers, and wants that known. */
const CRASH_NOTIFY = 1n << 63n;

/** HV_REFERENCE_TSC_PAGE (TLFS 12.7.3): sequence (0: not valid), scale, offset. */
const TSC_SEQUENCE = 0;
const TSC_SCALE = 8;
const TSC_BYTES = 24;
/** The unit of reference time: 100 ns. */
const UNIT_NANOS = 100n;
const UNITS_PER_SECOND = 10_000_000n;

/**
 * What Windows looks for on Hyper-V: a clock that is read without an exit, frequencies that need not be measured,
 * patient watchdogs, and a place to leave word of a crash; and besides timers with interrupts of their own, and calls
 * and registers that spare exits. Carried out here on every processor backend.
 */
export class HypervInterface implements GuestInterface {
  readonly signature = signatureOf('Microsoft Hv');
  readonly leafCount = 6;
  readonly #host: HypervisorHost;
  readonly #clock: GuestClock;
  readonly #synic: HypervSynic;
  readonly #timers: HypervTimers;
  readonly #calls: HypervCalls;
  /** HV_X64_MSR_VP_ASSIST_PAGE of each processor. */
  readonly #assistPages: bigint[];
  #guestOsId = 0n;
  #hypercall = 0n;
  #referenceTsc = 0n;
  #crash: bigint[] = Array.from({ length: CRASH_REGISTERS }, () => 0n);
  /** The offset of the counters that the page was written for. */
  #pageOffset: bigint | undefined;

  constructor(host: HypervisorHost, clock: GuestClock) {
    this.#host = host;
    this.#clock = clock;
    this.#synic = new HypervSynic(host);
    this.#timers = new HypervTimers(host, clock, this.#synic);
    this.#calls = new HypervCalls(host);
    this.#assistPages = Array.from({ length: host.cpuCount }, () => 0n);
  }

  leaf(number: number): Leaf {
    const { cpuCount } = this.#host;
    switch (number) {
      case 1:
        return { eax: INTERFACE, ebx: 0, ecx: 0, edx: 0 };
      case 2:
        return { eax: BUILD, ebx: VERSION, ecx: 0, edx: 0 };
      case 3:
        return { eax: PRIVILEGES | (this.#advisesApic ? PRIVILEGE_APIC : 0), ebx: 0, ecx: 0, edx: FEATURES };
      case 4:
        return { eax: this.#advice, ebx: NEVER_NOTIFY, ecx: 0, edx: 0 };
      case 5:
        return { eax: cpuCount, ebx: cpuCount, ecx: 0, edx: 0 };
      default:
        return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    }
  }

  /** Where KVM has the local APICs, their own registers cost no exit, and those here would bring all APICs back. */
  get #advisesApic(): boolean {
    return this.#host.hasAutoEoi;
  }

  get #advice(): number {
    const { isSoftware, cpuCount } = this.#host;
    return ADVICE | (this.#advisesApic ? ADVICE_APIC : 0) | (isSoftware && cpuCount > 1 ? ADVICE_CALLS : 0);
  }

  ownsMsr(msr: number): boolean {
    return msr >= HV_X64_MSR_GUEST_OS_ID && msr <= HV_X64_MSR_CRASH_CTL;
  }

  readMsr(state: CpuState, msr: number): bigint {
    if (msr >= HV_X64_MSR_CRASH_P0 && msr <= HV_X64_MSR_CRASH_P4) {
      return this.#crash[msr - HV_X64_MSR_CRASH_P0] as bigint;
    }
    if (this.#synic.owns(msr)) {
      return this.#synic.read(state.index, msr);
    }
    if (this.#timers.owns(msr)) {
      return this.#timers.read(state.index, msr);
    }
    const { apics } = this.#host;
    switch (msr) {
      case HV_X64_MSR_GUEST_OS_ID:
        return this.#guestOsId;
      case HV_X64_MSR_HYPERCALL:
        return this.#hypercall;
      case HV_X64_MSR_VP_INDEX:
        return BigInt(state.index);
      case HV_X64_MSR_TIME_REF_COUNT:
        return this.#clock.now() / UNIT_NANOS;
      case HV_X64_MSR_REFERENCE_TSC:
        return this.#referenceTsc;
      case HV_X64_MSR_TSC_FREQUENCY:
        return BigInt(this.#host.tscFrequencyHz);
      case HV_X64_MSR_APIC_FREQUENCY:
        return BigInt(this.#host.apicFrequencyHz);
      case HV_X64_MSR_ICR:
        return (
          (BigInt(apics.readRegister(state.index, REG_ICR_HIGH)) << 32n) |
          BigInt(apics.readRegister(state.index, REG_ICR_LOW))
        );
      case HV_X64_MSR_TPR:
        return BigInt(apics.readRegister(state.index, REG_TPR));
      case HV_X64_MSR_VP_ASSIST_PAGE:
        return this.#assistPages[state.index] as bigint;
      case HV_X64_MSR_CRASH_CTL:
        return CRASH_NOTIFY;
      default:
        throw new GuestFault(L.VECTOR_GP, 0);
    }
  }

  writeMsr(state: CpuState, msr: number, value: bigint): void {
    if (msr >= HV_X64_MSR_CRASH_P0 && msr <= HV_X64_MSR_CRASH_P4) {
      this.#crash[msr - HV_X64_MSR_CRASH_P0] = value;
      return;
    }
    if (this.#synic.owns(msr)) {
      this.#synic.write(state.index, msr, value);
      return;
    }
    if (this.#timers.owns(msr)) {
      this.#timers.write(state.index, msr, value);
      return;
    }
    switch (msr) {
      case HV_X64_MSR_GUEST_OS_ID:
        this.#guestOsId = value;
        if (value === 0n) {
          // Who has no name makes no calls.
          this.#hypercall &= ~ENABLED;
        }
        return;
      case HV_X64_MSR_HYPERCALL:
        this.#writeHypercall(value);
        return;
      case HV_X64_MSR_REFERENCE_TSC:
        this.#referenceTsc = value;
        this.#pageOffset = undefined;
        this.tscMoved(state);
        return;
      case HV_X64_MSR_EOI:
      case HV_X64_MSR_ICR:
      case HV_X64_MSR_TPR:
        this.#writeApic(state.index, msr, value);
        return;
      case HV_X64_MSR_VP_ASSIST_PAGE:
        if (value !== this.#assistPages[state.index]) {
          this.#assistPages[state.index] = value;
          this.#placeEoiBit(state.index);
        }
        return;
      case HV_X64_MSR_CRASH_CTL:
        if ((value & CRASH_NOTIFY) !== 0n) {
          const parameters = this.#crash.map((one) => one.toString(16)).join(', ');
          this.#host.log.warn(`the guest says that it has crashed: ${parameters}`);
        }
        return;
      default:
        throw new GuestFault(L.VECTOR_GP, 0);
    }
  }

  #writeApic(cpu: number, msr: number, value: bigint): void {
    const { apics } = this.#host;
    const low = Number(value & 0xffffffffn);
    if (msr === HV_X64_MSR_ICR) {
      apics.writeRegister(cpu, REG_ICR_HIGH, Number(value >> 32n));
      apics.writeRegister(cpu, REG_ICR_LOW, low);
      return;
    }
    if (value > (msr === HV_X64_MSR_TPR ? 0xffn : 0xffffffffn)) {
      throw new GuestFault(L.VECTOR_GP, 0);
    }
    apics.writeRegister(cpu, msr === HV_X64_MSR_TPR ? REG_TPR : REG_EOI, low);
  }

  /** The first bit of the assist page is that of EoiAssist (TLFS 10.3.5). */
  #placeEoiBit(cpu: number): void {
    const page = this.#assistPages[cpu] as bigint;
    this.#host.eoiAssist?.setPlace(cpu, (page & ENABLED) === 0n ? undefined : Number(page & PAGE));
  }

  restored(state: CpuState): void {
    if (((this.#assistPages[state.index] as bigint) & ENABLED) !== 0n) {
      this.#placeEoiBit(state.index);
    }
  }

  /** See HypervSynic. */
  isAutoEoi(cpu: number, vector: number): boolean {
    return this.#synic.isAutoEoi(cpu, vector);
  }

  /** Puts the code of calls into the page that the guest names (TLFS 3.13). */
  #writeHypercall(value: bigint): void {
    if ((this.#hypercall & LOCKED) !== 0n) {
      return;
    }
    this.#hypercall = this.#guestOsId === 0n ? value & ~ENABLED : value;
    if ((this.#hypercall & ENABLED) !== 0n) {
      this.#host.memory.write(Number(value & PAGE), HYPERCALL_CODE);
    }
  }

  /** A call by the page, which is for systems only. */
  hypercall(state: CpuState): void {
    if ((this.#hypercall & ENABLED) !== 0n && state.cpl === 0) {
      this.#calls.call(state);
    }
  }

  tscMoved(_state: CpuState): void {
    if ((this.#referenceTsc & ENABLED) === 0n) {
      return;
    }
    const { memory, cpuCount, tscFrequencyHz } = this.#host;
    const offset = this.#host.tscOffset(0);
    if (offset === this.#pageOffset) {
      return;
    }
    this.#pageOffset = offset;
    const gpa = Number(this.#referenceTsc & PAGE);
    const equal = Array.from({ length: cpuCount }, (_, cpu) => this.#host.tscOffset(cpu)).every(
      (one) => one === offset,
    );
    const sequence = memory.readU32(gpa + TSC_SEQUENCE);
    // While the sequence is 0, and for good where the counters of processors differ, guests ask the counter's register.
    memory.writeU32(gpa + TSC_SEQUENCE, 0);
    if (!equal) {
      this.#pageOffset = undefined;
      return;
    }
    const { timestamp, nanos } = this.#clock.point;
    const scale = (UNITS_PER_SECOND << 64n) / BigInt(tscFrequencyHz);
    // The counter is taken for a number, not for a distance: the line is that of its present turn through 64 bits.
    const turn = (this.#host.timestamp() + offset) >> 64n;
    const counted = ((timestamp + offset - (turn << 64n)) * scale) >> 64n;
    const bytes = new Uint8Array(TSC_BYTES);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(TSC_SCALE, scale, true);
    view.setBigUint64(TSC_SCALE + 8, BigInt.asUintN(64, nanos / UNIT_NANOS - counted), true);
    memory.write(gpa + TSC_SCALE, bytes.subarray(TSC_SCALE));
    // Neither 0 nor all ones, which older guests take for "not valid" too.
    memory.writeU32(gpa + TSC_SEQUENCE, sequence >= 0xfffffffe ? 1 : sequence + 1);
  }

  reset(): void {
    this.#guestOsId = 0n;
    this.#hypercall = 0n;
    this.#referenceTsc = 0n;
    this.#pageOffset = undefined;
    this.#crash = this.#crash.map(() => 0n);
    this.#synic.reset();
    this.#timers.reset();
    this.#assistPages.fill(0n);
  }

  save(): StateValue {
    return {
      guestOsId: this.#guestOsId,
      hypercall: this.#hypercall,
      referenceTsc: this.#referenceTsc,
      crash: [...this.#crash],
      synic: this.#synic.save(),
      timers: this.#timers.save(),
      assistPages: [...this.#assistPages],
    };
  }

  load(saved: StateValue): void {
    const reader = new StateReader('Hyper-V interface', saved);
    const registers = [reader.u64('guestOsId'), reader.u64('hypercall'), reader.u64('referenceTsc')] as const;
    const crash = reader
      .array('crash', CRASH_REGISTERS)
      .map((value) => new StateReader('Hyper-V crash', { value }).u64('value'));
    const applied = LATER_FIELDS.every((field) => !reader.has(field)) ? [] : this.#prepareLater(reader);
    [this.#guestOsId, this.#hypercall, this.#referenceTsc] = registers;
    this.#crash = crash;
    this.#pageOffset = undefined;
    for (const apply of applied) {
      apply();
    }
  }

  #prepareLater(reader: StateReader): readonly (() => void)[] {
    const pages = reader
      .array('assistPages', this.#assistPages.length)
      .map((value) => reader.nested('assistPages', { value }).u64('value'));
    return [
      this.#synic.prepareLoad(reader, 'synic'),
      this.#timers.prepareLoad(reader, 'timers'),
      () => {
        for (const [cpu, page] of pages.entries()) {
          this.#assistPages[cpu] = page;
        }
      },
    ];
  }

  dispose(): void {
    this.#timers.dispose();
  }
}
