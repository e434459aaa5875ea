import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import { type GuestClock, scaleOf } from './guest-clock.ts';
import { type GuestInterface, type HypervisorHost, type Leaf, signatureOf } from './guest-interface.ts';

/** KVM's interface to its guests (Linux, Documentation/virt/kvm/x86/cpuid.rst and msr.rst). */
export const MSR_KVM_WALL_CLOCK_NEW = 0x4b564d00;
export const MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01;
export const MSR_KVM_STEAL_TIME = 0x4b564d03;
export const MSR_KVM_PV_EOI_EN = 0x4b564d04;

/** Features in EAX of the second leaf. The first: ports need no delays; the last: one clock for all processors. */
export const KVM_FEATURE_NOP_IO_DELAY = 1 << 1;
export const KVM_FEATURE_CLOCKSOURCE2 = 1 << 3;
export const KVM_FEATURE_STEAL_TIME = 1 << 5;
export const KVM_FEATURE_PV_EOI = 1 << 6;
export const KVM_FEATURE_CLOCKSOURCE_STABLE_BIT = 1 << 24;

/** struct pvclock_vcpu_time_info. */
const TIME_VERSION = 0;
const TIME_TIMESTAMP = 8;
const TIME_NANOS = 16;
const TIME_MULTIPLIER = 24;
const TIME_SHIFT = 28;
const TIME_FLAGS = 29;
const TIME_BYTES = 32;
/** Readings of different processors can be compared. */
const TIME_STABLE = 1;
/** struct kvm_steal_time: stolen nanoseconds (64 bits), version; flags and "preempted" stay zero. */
const STEAL_NANOS = 0;
const STEAL_VERSION = 8;
/** Besides ENABLED, zero in its register: the structure is aligned to 64 bytes. */
const STEAL_RESERVED = 0x3en;
/** Guests are told of no less: they look as often as their timer ticks. */
const STEAL_STEP_NANOS = 500_000;
/** struct pvclock_wall_clock: version, seconds, nanoseconds. */
const WALL_BYTES = 12;
const ENABLED = 1n;
/** Besides ENABLED, zero in registers that hold an address aligned to four bytes. */
const ALIGNED_4 = 2n;

/** The clock of one processor, as its page was written last. */
interface ClockPage {
  readonly address: bigint;
  readonly offset: bigint;
  readonly stable: boolean;
}

/**
 * KVM's clock for guests, on every processor backend. A guest names a page for each processor; in it stands how time
 * follows from the processor's time-stamp counter. That is a straight line for as long as the machine runs, so the page
 * is written when it is named and when a counter moves, and reading the clock takes no exit.
 *
 * And the time that was stolen from a processor (StolenTime), and the bits by which guests leave out EOIs (EoiAssist).
 */
export class KvmInterface implements GuestInterface {
  readonly signature = signatureOf('KVMKVMKVM');
  readonly leafCount = 1;
  readonly #host: HypervisorHost;
  readonly #clock: GuestClock;
  readonly #pages = new Map<number, ClockPage>();
  /** Stolen nanoseconds by processor, that guests were not told of yet. */
  readonly #stolen: Float64Array;

  constructor(host: HypervisorHost, clock: GuestClock) {
    this.#host = host;
    this.#clock = clock;
    this.#stolen = new Float64Array(host.cpuCount);
  }

  leaf(): Leaf {
    const features =
      KVM_FEATURE_NOP_IO_DELAY |
      KVM_FEATURE_CLOCKSOURCE2 |
      KVM_FEATURE_CLOCKSOURCE_STABLE_BIT |
      (this.#host.countsStolenTime ? KVM_FEATURE_STEAL_TIME : 0) |
      (this.#hasPvEoi ? KVM_FEATURE_PV_EOI : 0);
    return { eax: features, ebx: 0, ecx: 0, edx: 0 };
  }

  get #hasPvEoi(): boolean {
    return this.#host.eoiAssist?.usable === true;
  }

  ownsMsr(msr: number): boolean {
    switch (msr) {
      case MSR_KVM_WALL_CLOCK_NEW:
      case MSR_KVM_SYSTEM_TIME_NEW:
        return true;
      case MSR_KVM_STEAL_TIME:
        return this.#host.countsStolenTime;
      case MSR_KVM_PV_EOI_EN:
        return this.#hasPvEoi;
      default:
        return false;
    }
  }

  readMsr(state: CpuState, msr: number): bigint {
    return state.u64(placeOf(msr));
  }

  writeMsr(state: CpuState, msr: number, value: bigint): void {
    if ((value & reservedOf(msr)) !== 0n) {
      throw new GuestFault(L.VECTOR_GP, 0);
    }
    state.setU64(placeOf(msr), value);
    switch (msr) {
      case MSR_KVM_WALL_CLOCK_NEW:
        this.#writeWallClock(value);
        return;
      case MSR_KVM_SYSTEM_TIME_NEW:
        this.#pages.delete(state.index);
        this.tscMoved(state);
        return;
      case MSR_KVM_STEAL_TIME:
        this.#stolen[state.index] = 0;
        return;
      case MSR_KVM_PV_EOI_EN:
        this.#placeEoiBit(state);
        return;
    }
  }

  /** The processor was kept from running for so many nanoseconds more; also while it runs. */
  stolen(state: CpuState, nanos: number): void {
    const value = state.u64(L.MSR_KVM_STEAL_TIME);
    if ((value & ENABLED) === 0n) {
      return;
    }
    const total = (this.#stolen[state.index] as number) + nanos;
    if (total < STEAL_STEP_NANOS) {
      this.#stolen[state.index] = total;
      return;
    }
    this.#stolen[state.index] = 0;
    const { memory } = this.#host;
    const gpa = Number(value & ~ENABLED);
    // What was counted before stands in guest memory, and so goes with it wherever the machine is moved.
    const bytes = new Uint8Array(8);
    memory.read(gpa + STEAL_NANOS, bytes);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, view.getBigUint64(0, true) + BigInt(total), true);
    const version = (memory.readU32(gpa + STEAL_VERSION) | 1) >>> 0;
    memory.writeU32(gpa + STEAL_VERSION, version);
    memory.write(gpa + STEAL_NANOS, bytes);
    memory.writeU32(gpa + STEAL_VERSION, (version + 1) >>> 0);
  }

  #placeEoiBit(state: CpuState): void {
    const value = state.u64(L.MSR_KVM_PV_EOI);
    this.#host.eoiAssist?.setPlace(state.index, (value & ENABLED) === 0n ? undefined : Number(value & ~ENABLED));
  }

  restored(state: CpuState): void {
    if (this.#hasPvEoi && (state.u64(L.MSR_KVM_PV_EOI) & ENABLED) !== 0n) {
      this.#placeEoiBit(state);
    }
  }

  tscMoved(state: CpuState): void {
    const value = state.u64(L.MSR_KVM_SYSTEM_TIME);
    if ((value & ENABLED) === 0n) {
      this.#pages.delete(state.index);
      return;
    }
    const before = this.#pages.get(state.index);
    const offset = this.#host.tscOffset(state.index);
    const page = { address: value & ~ENABLED, offset, stable: before?.stable ?? true };
    this.#pages.set(state.index, page);
    const stable = [...this.#pages.values()].every(({ offset }) => offset === page.offset);
    for (const [cpu, one] of this.#pages) {
      if (one.stable !== stable || (cpu === state.index && !isSame(before, page))) {
        this.#pages.set(cpu, { ...one, stable });
        this.#writeTime({ ...one, stable });
      }
    }
  }

  #writeTime({ address, offset, stable }: ClockPage): void {
    const { memory, tscFrequencyHz } = this.#host;
    const gpa = Number(address);
    const { timestamp, nanos } = this.#clock.point;
    const { multiplier, shift } = scaleOf(tscFrequencyHz);
    const bytes = new Uint8Array(TIME_BYTES);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(TIME_TIMESTAMP, BigInt.asUintN(64, timestamp + offset), true);
    view.setBigUint64(TIME_NANOS, nanos, true);
    view.setUint32(TIME_MULTIPLIER, multiplier, true);
    view.setInt8(TIME_SHIFT, shift);
    view.setUint8(TIME_FLAGS, stable ? TIME_STABLE : 0);
    // Readers start again while the version is odd, and when it has changed meanwhile.
    const version = (memory.readU32(gpa + TIME_VERSION) | 1) >>> 0;
    memory.writeU32(gpa + TIME_VERSION, version);
    memory.write(gpa + 4, bytes.subarray(4));
    memory.writeU32(gpa + TIME_VERSION, (version + 1) >>> 0);
  }

  /** The calendar time at which the clock stood at zero. */
  #writeWallClock(address: bigint): void {
    const { memory } = this.#host;
    const gpa = Number(address);
    const start = BigInt(Math.round(this.#host.epochMillis())) * 1_000_000n - this.#clock.now();
    const bytes = new Uint8Array(WALL_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint32(4, Number(BigInt.asUintN(32, start / 1_000_000_000n)), true);
    view.setUint32(8, Number(start % 1_000_000_000n), true);
    const version = (memory.readU32(gpa) | 1) >>> 0;
    memory.writeU32(gpa, version);
    memory.write(gpa + 4, bytes.subarray(4));
    memory.writeU32(gpa, (version + 1) >>> 0);
  }

  reset(): void {
    this.#stolen.fill(0);
    this.#pages.clear();
  }
}

/** Where a register is in the processor's record. */
function placeOf(msr: number): number {
  switch (msr) {
    case MSR_KVM_SYSTEM_TIME_NEW:
      return L.MSR_KVM_SYSTEM_TIME;
    case MSR_KVM_STEAL_TIME:
      return L.MSR_KVM_STEAL_TIME;
    case MSR_KVM_PV_EOI_EN:
      return L.MSR_KVM_PV_EOI;
    default:
      return L.MSR_KVM_WALL_CLOCK;
  }
}

/** Bits of a register that have to be zero. */
function reservedOf(msr: number): bigint {
  return msr === MSR_KVM_WALL_CLOCK_NEW ? 0n : msr === MSR_KVM_STEAL_TIME ? STEAL_RESERVED : ALIGNED_4;
}

function isSame(a: ClockPage | undefined, b: ClockPage): boolean {
  return a !== undefined && a.address === b.address && a.offset === b.offset;
}
