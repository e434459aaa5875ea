import { EXIT_BYTES, EXIT_DATA, type KvmSystem, type KvmVcpu, type KvmVm } from '../../../native/index.ts';
import type { CpuState } from '../x86/cpu-state.ts';
import * as K from './kvm-abi.ts';
import { type TscClock, VcpuRegisters } from './vcpu-registers.ts';

/** One processor as its KVM half knows it. */
export interface KvmProcessorParts {
  readonly state: CpuState;
  /** KVM has got the processor's registers. */
  entered(): void;
  /** Where KVM is to stop the guest: at most four addresses (unfinished-syscall.ts). */
  stopsAt(): readonly bigint[];
  /** Registers that KVM does not know: the machine's own answers. May throw GuestFault. */
  readMsr(index: number): bigint;
  writeMsr(index: number, value: bigint): void;
  /** CPUID, as kvm_cpuid_entry2 structures. */
  readonly cpuid: Uint32Array;
}

/** A processor of KVM, and what is known of it between two entries. */
export class Vcpu {
  readonly index: number;
  readonly vcpu: KvmVcpu;
  readonly state: CpuState;
  readonly registers: VcpuRegisters;
  readonly parts: KvmProcessorParts;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly data: DataView;
  /** Its registers are KVM's; otherwise they are in the record. */
  inKvm = false;
  /** Its thread runs it. */
  running = false;
  /** The last exit wants to be finished by another entry. */
  unfinished = false;
  /** An interrupt may be injected now. */
  ready = false;
  /** RFLAGS.IF after the last exit. */
  interruptible = false;
  /** KVM, which has its local APIC, was given a vector of the 8259s and may not have begun to deliver it. */
  hasVector = false;
  tpr = 0;
  readonly #debug = new DataView(new ArrayBuffer(K.GUEST_DEBUG_BYTES));
  #stopsAt: readonly bigint[] = [];

  constructor(index: number, vm: KvmVm, parts: KvmProcessorParts, clock: TscClock, system: KvmSystem) {
    this.index = index;
    this.bytes = new Uint8Array(EXIT_BYTES);
    this.words = new Uint32Array(this.bytes.buffer, 0, EXIT_DATA / 4);
    this.data = new DataView(this.bytes.buffer, EXIT_DATA);
    this.parts = parts;
    this.state = parts.state;
    this.vcpu = vm.createVcpu(index, this.bytes);
    this.vcpu.setCpuid(parts.cpuid);
    this.registers = new VcpuRegisters(this.vcpu, parts.state, {
      clock,
      hasXcrs: system.checkExtension(K.KVM_CAP_XCRS) > 0,
      hasYmm: announcesYmm(parts.cpuid),
    });
  }

  /** The guest's counter is the host's, whatever is asked for: so on KVMs without hardware behind them. */
  hasFixedTsc(): boolean {
    const before = this.vcpu.tscOffset();
    if (before === undefined) {
      return false;
    }
    this.vcpu.setTscOffset(before + TSC_TRIAL);
    const isFixed = this.vcpu.tscOffset() === before;
    this.vcpu.setTscOffset(before);
    return isFixed;
  }

  /** Makes KVM come back with KVM_EXIT_DEBUG in front of the instructions at up to four addresses. */
  setStops(addresses: readonly bigint[]): void {
    const before = this.#stopsAt;
    if (addresses.length === before.length && addresses.every((address, i) => address === before[i])) {
      return;
    }
    this.#stopsAt = addresses;
    const view = this.#debug;
    view.setUint32(0, addresses.length === 0 ? 0 : K.KVM_GUESTDBG_ENABLE | K.KVM_GUESTDBG_USE_HW_BP, true);
    let dr7 = DR7_ALWAYS;
    for (const [i, address] of addresses.entries()) {
      view.setBigUint64(K.GUEST_DEBUG_DR0 + i * 8, address, true);
      dr7 |= DR7_G0 << BigInt(2 * i);
    }
    view.setBigUint64(K.GUEST_DEBUG_DR7, dr7, true);
    this.vcpu.set('guest-debug', new Uint8Array(view.buffer));
  }

  word(index: number): number {
    return this.words[index] as number;
  }
}

const TSC_TRIAL = 1_000_000n;

/** SDM 3B, 18.2.4. Zeros in the upper half mean execution. */
const DR7_ALWAYS = 0x400n;
const DR7_G0 = 2n;

/** Leaf DH says that XCR0 may hold bit 2. */
function announcesYmm(cpuid: Uint32Array): boolean {
  for (let at = 0; at < cpuid.length; at += K.CPUID_ENTRY_WORDS) {
    if (cpuid[at] === 0xd && cpuid[at + 1] === 0) {
      return ((cpuid[at + 3] as number) & 4) !== 0;
    }
  }
  return false;
}
