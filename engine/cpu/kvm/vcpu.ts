import { EXIT_BYTES, EXIT_DATA, type KvmSystem, type KvmVcpu, type KvmVm } from '../../../native/index.ts';
import type { CpuState } from '../x86/cpu-state.ts';
import * as K from './kvm-abi.ts';
import { type TscClock, VcpuRegisters } from './vcpu-registers.ts';

/** One processor as its KVM half knows it. */
export interface KvmProcessorParts {
  readonly state: CpuState;
  /** KVM has got the processor's registers. */
  entered(): void;
  /** Where KVM is to stop the guest (unfinished-syscall.ts). */
  stopAt(): bigint | undefined;
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
  #stopAt: bigint | undefined;

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

  /** Makes KVM come back with KVM_EXIT_DEBUG in front of the instruction at an address; undefined: nowhere. */
  setStop(address: bigint | undefined): void {
    if (address === this.#stopAt) {
      return;
    }
    this.#stopAt = address;
    const view = this.#debug;
    view.setUint32(0, address === undefined ? 0 : K.KVM_GUESTDBG_ENABLE | K.KVM_GUESTDBG_USE_HW_BP, true);
    view.setBigUint64(K.GUEST_DEBUG_DR0, address ?? 0n, true);
    view.setBigUint64(K.GUEST_DEBUG_DR7, address === undefined ? 0x400n : DR7_EXECUTE_AT_DR0, true);
    this.vcpu.set('guest-debug', new Uint8Array(view.buffer));
  }

  word(index: number): number {
    return this.words[index] as number;
  }
}

/** G0, and the bit that is always set (SDM 3B, 18.2.4). */
const DR7_EXECUTE_AT_DR0 = 0x402n;

/** Leaf DH says that XCR0 may hold bit 2. */
function announcesYmm(cpuid: Uint32Array): boolean {
  for (let at = 0; at < cpuid.length; at += K.CPUID_ENTRY_WORDS) {
    if (cpuid[at] === 0xd && cpuid[at + 1] === 0) {
      return ((cpuid[at + 3] as number) & 4) !== 0;
    }
  }
  return false;
}
