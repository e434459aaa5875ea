/**
 * The only door to the native addon (native/src): KVM on Linux x64. The addon is built when Lodge is installed, and may
 * be absent; `loadKvm` then says why. Everything it does is a thin layer over KVM's ioctls (Linux,
 * Documentation/virt/kvm/api.rst); structures travel as bytes, whose layouts the caller knows.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** How a failed call of the addon looks. */
export interface KvmError extends Error {
  /** Name of the ioctl or function: `KVM_CREATE_VM`, `open /dev/kvm`. */
  readonly call: string;
  readonly errno: number;
  /** Name of the error: `EACCES`. */
  readonly code: string;
  /** What it means for this call. */
  readonly meaning: string;
}

export function isKvmError(error: unknown): error is KvmError {
  return error instanceof Error && 'call' in error && 'errno' in error && 'meaning' in error;
}

/** /dev/kvm, opened. All methods throw {@link KvmError}. */
export interface KvmSystem {
  apiVersion(): number;
  /** KVM_CAP_*: 0 when it is absent. */
  checkExtension(capability: number): number;
  /** Fills the array with kvm_cpuid_entry2 structures, 10 words each; returns how many. */
  supportedCpuid(into: Uint32Array): number;
  /** Fills the array with the MSRs that KVM saves; returns how many. */
  msrIndices(into: Uint32Array): number;
  /** What KVM offers guests for an MSR that describes features. */
  readFeatureMsr(index: number): bigint | undefined;
  createVm(): KvmVm;
  close(): void;
}

export type VmStructure = 'irqchip' | 'pit2' | 'clock';
export type VcpuStructure = 'regs' | 'sregs' | 'xsave' | 'events' | 'debugregs' | 'xcrs' | 'mp-state' | 'lapic';

/** One virtual machine. Closing it takes its memory away from the processors; those are closed first. */
export interface KvmVm {
  checkExtension(capability: number): number;
  enableCapability(capability: number, argument: number): void;
  /** Lends the memory, all of it, that slots are cut from. Its bytes stay in place until `close`. */
  borrow(memory: Uint8Array): void;
  /** `offset` counts from the start of the borrowed memory; `size` 0 removes the slot. Page aligned. */
  setMemory(slot: number, flags: number, guestAddress: number, size: number, offset: number): void;
  adviseHugePages(offset: number, length: number): void;
  /** Address of the borrowed memory in this process modulo 2 MiB. */
  memoryAddress(): number;
  /** One bit a page, in whole words of 64: pages written since the last call. `pages` is the slot's length. */
  takeDirty(slot: number, into: Uint8Array, pages: number): void;
  setAddresses(tss: number, identityMap: number): void;
  createIrqchip(): void;
  createPit(flags: number): void;
  setIrqLine(gsi: number, asserted: boolean): void;
  /** How many processors took the message; 0: nobody did. */
  signalMsi(address: number, data: number, addressHigh: number): number;
  /**
   * Replaces all routes. Five words each: GSI, KVM_IRQ_ROUTING_IRQCHIP, controller, pin, 0; or GSI, KVM_IRQ_ROUTING_MSI,
   * address low, address high, data.
   */
  setGsiRouting(routes: Uint32Array): void;
  get(structure: VmStructure, into: Uint8Array): void;
  set(structure: VmStructure, from: Uint8Array): void;
  setCoalescing(address: number, length: number, ports: boolean, on: boolean): void;
  /** Words: first MSR, count. These are KVM's; accesses to all others come back as exits. */
  setMsrFilter(ranges: Uint32Array): void;
  /** `exits`: {@link EXIT_BYTES} bytes, where exits are described and answered. */
  createVcpu(index: number, exits: Uint8Array): KvmVcpu;
  /**
   * Guests' writes there do not end KVM_RUN but ring: `wait` tells. `value` undefined: any. A `length` of 0 takes the
   * doorbell away, with what has rung of it.
   */
  setDoorbell(token: number, address: number, length: number, port: boolean, value: number | undefined): void;
  /** Tokens of doorbells that have rung since the last call; how many. Never waits. */
  takeDoorbells(into: Uint32Array): number;
  /** An interrupt, as the GSI's route says, raised by `signalIrqfd`. */
  setIrqfd(gsi: number, on: boolean): void;
  signalIrqfd(gsi: number): void;
  /**
   * Waits until a processor with a thread of its own has an exit: its number; −1 after `nanos` or a kick;
   * {@link WAIT_DOORBELLS}.
   */
  wait(nanos: number): number;
  /** For {@link KvmAddon.kick}: makes `wait` come back. */
  kickHandle(): number;
  close(): void;
}

/** One virtual processor: run by the caller of `run`, or by a thread of its own after `start`. */
export interface KvmVcpu {
  /** Runs until the next exit and returns its reason: KVM_EXIT_* or {@link EXIT_INTERRUPTED}. */
  run(): number;
  /** Makes `run`, called in this thread, come back after so many nanoseconds; 0: not. */
  armTimer(nanos: number): void;
  start(): void;
  /** Lets its thread run on, with the answer that lies in the array of exits. */
  resume(): void;
  /** The reason of the exit that `KvmVm.wait` told of. */
  takeExit(): number;
  /** Makes the present or the next run come back with {@link EXIT_INTERRUPTED}. */
  kick(): void;
  kickHandle(): number;
  /** The host's number of its thread; 0 without one that has begun. */
  threadId(): number;
  /** Processor time that its thread has spent; 0 without a thread. */
  threadNanos(): number;
  /** Finishes the instruction of the last exit without running the next one; may itself have an exit. */
  complete(): number;
  /**
   * Takes what is due (a timer of its local APIC that has expired) into the registers without running an instruction.
   * Called while no exit waits for its answer.
   */
  settle(): void;
  /**
   * Takes writes that have coalesced, of any processor, in their order; how many. Six words each: address low, high,
   * length, 1 for a port, data low, high. Also while processors run.
   */
  takeCoalesced(into: Uint32Array): number;
  get(structure: VcpuStructure, into: Uint8Array): void;
  set(structure: VcpuStructure | 'guest-debug', from: Uint8Array): void;
  /** kvm_msr_entry structures; returns how many, from the first on, KVM knew. */
  getMsrs(entries: Uint8Array): number;
  setMsrs(entries: Uint8Array): number;
  setCpuid(entries: Uint32Array): void;
  interrupt(vector: number): void;
  nmi(): void;
  tscKilohertz(): number;
  /** What KVM adds to the host's time-stamp counter; undefined where KVM does not tell (Linux before 5.16). */
  tscOffset(): bigint | undefined;
  setTscOffset(offset: bigint): void;
  close(): void;
}

export interface KvmAddon {
  readonly KvmSystem: new (path?: string) => KvmSystem;
  /** Kicks a machine or processor of any thread of this process by its handle; false when it is gone. */
  kick(handle: number): boolean;
  /** The host's time-stamp counter. */
  readTsc(): bigint;
  /**
   * Gives the pages under `bytes`, whole ones of anonymous memory, back to the system: they read as zeros afterwards and
   * take memory again when they are touched. Throws {@link KvmError}.
   */
  releasePages(bytes: Uint8Array): void;
  /**
   * fallocate(2) of an open file, to punch holes (mode 3) or to zero a range (mode 0x11); bytes. Returns the number of the
   * host's error, 0 for none.
   */
  fallocate(descriptor: number, mode: number, offset: number, length: number): number;
}

/** Length of the array of exits: 32 words, then data. */
export const EXIT_BYTES = 128 + 4096;
/** Offset of the data in bytes. */
export const EXIT_DATA = 128;
/** Words of an exit (native/src/kvm-vcpu.cc). What A to D hold depends on the reason. */
export const EXIT_A = 1;
export const EXIT_B = 2;
export const EXIT_C = 3;
export const EXIT_D = 4;
/** Answer to an MSR access: 1 makes it fault. */
export const EXIT_MSR_ERROR = 7;
export const EXIT_READY_FOR_INTERRUPT = 16;
export const EXIT_INTERRUPT_FLAG = 17;
export const EXIT_CR8 = 18;
/** Before a run: 1 to come back as soon as an interrupt can be injected. */
export const EXIT_WANT_WINDOW = 24;
export const EXIT_CR8_IN = 25;
/** An exit's word: writes that have coalesced wait, and belong before this exit. */
export const EXIT_COALESCED = 20;
/** Answer of `KvmVm.wait`: doorbells have rung. */
export const WAIT_DOORBELLS = -2;
/** A kick, the timer, or a signal ended the run. */
export const EXIT_INTERRUPTED = 1000;

export type KvmAvailability =
  | { readonly addon: KvmAddon; readonly problem?: undefined }
  | { readonly addon?: undefined; readonly problem: string };

let loaded: KvmAvailability | undefined;

/** The addon, or why there is none. */
export function loadKvm(): KvmAvailability {
  const { LODGE_KVM_ADDON: given } = process.env;
  loaded ??= load(given ?? fileURLToPath(new URL('build/lodge-kvm.node', import.meta.url)));
  return loaded;
}

function load(path: string): KvmAvailability {
  if (process.platform !== 'linux') {
    return { problem: `KVM exists only on Linux, and this is ${process.platform}` };
  }
  if (process.arch !== 'x64') {
    return { problem: `the KVM addon is for x64, and this is ${process.arch}` };
  }
  if (!existsSync(path)) {
    return { problem: 'the KVM addon is not built; install a C++ compiler and run npm ci again' };
  }
  try {
    return { addon: createRequire(import.meta.url)(path) as KvmAddon };
  } catch (error) {
    return { problem: `the KVM addon cannot be loaded (${error instanceof Error ? error.message : String(error)})` };
  }
}
