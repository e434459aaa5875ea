import { performance } from 'node:perf_hooks';
import {
  EXIT_BYTES,
  EXIT_INTERRUPTED,
  isKvmError,
  type KvmAddon,
  type KvmSystem,
  type KvmVcpu,
} from '../../../native/index.ts';
import { IA32_FMASK, IA32_LSTAR, IA32_STAR } from '../x86/system/msr.ts';
import * as K from './kvm-abi.ts';

/** What a KVM does with a small guest. */
export interface KvmSpeeds {
  /** Millions of instructions a second of a loop in each mode; undefined: the guest did not get that far. */
  readonly real: number | undefined;
  readonly protected: number | undefined;
  readonly legacyPaging: number | undefined;
  readonly long: number | undefined;
}

export type KvmProbe =
  /** `call` and `code` name the system call that failed, where one did. */
  | { readonly usable: false; readonly problem: string; readonly call?: string; readonly code?: string }
  | {
      readonly usable: true;
      readonly speeds: KvmSpeeds;
      /** Runs every mode at the speed of a processor. */
      readonly fast: boolean;
      /** False: the host was too busy to let every guest run, so that another probe may find more. */
      readonly certain: boolean;
      /** See KvmAccess. */
      readonly longModeOnly: boolean;
      readonly syscallsFault: boolean;
      readonly tscKilohertz: number;
      readonly millis: number;
    };

/** Capabilities without which Lodge does not use KVM, by name for the report. */
const NEEDED: Readonly<Record<string, number>> = {
  KVM_CAP_USER_MEMORY: K.KVM_CAP_USER_MEMORY,
  KVM_CAP_EXT_CPUID: K.KVM_CAP_EXT_CPUID,
  KVM_CAP_VCPU_EVENTS: K.KVM_CAP_VCPU_EVENTS,
  KVM_CAP_DEBUGREGS: K.KVM_CAP_DEBUGREGS,
  KVM_CAP_XSAVE: K.KVM_CAP_XSAVE,
  KVM_CAP_READONLY_MEM: K.KVM_CAP_READONLY_MEM,
  KVM_CAP_IMMEDIATE_EXIT: K.KVM_CAP_IMMEDIATE_EXIT,
  KVM_CAP_X86_USER_SPACE_MSR: K.KVM_CAP_X86_USER_SPACE_MSR,
  KVM_CAP_X86_MSR_FILTER: K.KVM_CAP_X86_MSR_FILTER,
};

/** Each mode's loop runs for so long. */
const LOOP_NANOS = 4_000_000;
/** A processor runs such a loop at a thousand million instructions a second and more; emulation a hundred times slower. */
const FAST_MILLIONS = 100;

const MEMORY = 0x10000;
const CODE = 0x1000;
const PAGE_TABLES = 0x4000;
const PROGRAM_TABLES = 0x8000;
/** A loop is judged by what it did in this much time of its thread at least; to have done nothing takes longer. */
const ENOUGH_MILLIS = 2;
const ENOUGH_FOR_NOTHING_MILLIS = 4;
/** From then on nothing is tried again: the whole of a probe is to take 150 ms at most. */
const PATIENCE_MILLIS = 100;
const LOOPS = 0x7fffffffn;

type Mode = keyof KvmSpeeds;

/** dec ecx (rcx); jnz: in every mode an endless count. */
const LOOP: Readonly<Record<Mode, readonly number[]>> = {
  real: [0x66, 0x49, 0x75, 0xfc, 0xeb, 0xfa],
  protected: [0x49, 0x75, 0xfd, 0xeb, 0xfb],
  // mov cr3,eax; mov cr0,ebx: paging is switched on by the guest itself, which some KVMs refuse.
  legacyPaging: [0x0f, 0x22, 0xd8, 0x0f, 0x22, 0xc3, 0x49, 0x75, 0xfd, 0xeb, 0xfb],
  long: [0x48, 0xff, 0xc9, 0x75, 0xfb, 0xeb, 0xf9],
};

/** Tells probes the time, in milliseconds; replaced in tests. */
export interface ProbeClock {
  now(): number;
  /** Time that the calling thread has spent on a processor: others that want it do not make a KVM slow. */
  spent(): number;
}

const HOST_CLOCK: ProbeClock = {
  now: () => performance.now(),
  spent: () => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1000;
  },
};

/** Looks whether this KVM is any good. Takes some 20 ms, more on a busy host; changes nothing on it. */
export function probeKvm(addon: KvmAddon, clock: ProbeClock = HOST_CLOCK): KvmProbe {
  const started = clock.now();
  const patient = () => clock.now() - started < PATIENCE_MILLIS;
  let system: KvmSystem | undefined;
  try {
    system = new addon.KvmSystem();
    const version = system.apiVersion();
    if (version !== K.KVM_API_VERSION) {
      return { usable: false, problem: `its interface has version ${version}, and Lodge knows 12` };
    }
    const missing = Object.entries(NEEDED).flatMap(([name, capability]) =>
      system?.checkExtension(capability) === 0 ? [name] : [],
    );
    if (missing.length > 0) {
      return { usable: false, problem: `this kernel's KVM lacks ${missing.join(', ')}` };
    }
    const { speeds, syscallWorks, tscKilohertz, certain } = measure(system, clock, patient);
    if (speeds.long === undefined) {
      return { usable: false, problem: 'a small 64-bit guest does not run on it' };
    }
    const { real, protected: flat, legacyPaging, long } = speeds;
    const fast = [real, flat, legacyPaging, long].every((speed) => speed !== undefined && speed >= FAST_MILLIONS);
    // With hardware behind it KVM has nothing to do with SYSCALL.
    const syscallsFault = !fast && !syscallWorks;
    if (syscallsFault && system.checkExtension(K.KVM_CAP_SET_GUEST_DEBUG) === 0) {
      return { usable: false, problem: "programs' calls do not reach their system on it" };
    }
    return {
      usable: true,
      speeds,
      fast,
      certain,
      longModeOnly: real === undefined || flat === undefined || legacyPaging === undefined,
      syscallsFault,
      tscKilohertz,
      millis: clock.now() - started,
    };
  } catch (error) {
    if (!isKvmError(error)) {
      throw error;
    }
    const { call, code, meaning } = error;
    return { usable: false, problem: `${call}: ${code}, ${meaning}`, call, code };
  } finally {
    system?.close();
  }
}

interface Measured {
  readonly speeds: KvmSpeeds;
  readonly syscallWorks: boolean;
  readonly tscKilohertz: number;
  readonly certain: boolean;
}

function measure(system: KvmSystem, clock: ProbeClock, patient: () => boolean): Measured {
  const vm = system.createVm();
  const memory = new Uint8Array(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer);
  let vcpu: KvmVcpu | undefined;
  try {
    vm.borrow(memory);
    vm.setAddresses(0xfeffd000, 0xfeffc000);
    vm.setMemory(0, 0, 0, MEMORY, 0);
    const view = new DataView(memory.buffer);
    // Four-level tables that map 2 MiB, and behind them a page directory for 4 MiB.
    view.setUint32(PAGE_TABLES, (PAGE_TABLES + 0x1000) | 3, true);
    view.setUint32(PAGE_TABLES + 0x1000, (PAGE_TABLES + 0x2000) | 3, true);
    view.setUint32(PAGE_TABLES + 0x2000, 0x83, true);
    view.setUint32(PAGE_TABLES + 0x3000, 0x83, true);
    vcpu = vm.createVcpu(0, new Uint8Array(EXIT_BYTES));
    const processor = vcpu;
    const leaves = new Uint32Array(2560);
    processor.setCpuid(leaves.subarray(0, system.supportedCpuid(leaves) * K.CPUID_ENTRY_WORDS));
    const sregs = new Uint8Array(K.SREGS_BYTES);
    processor.get('sregs', sregs);
    let certain = true;
    const speed = (mode: Mode) => {
      memory.set(LOOP[mode], CODE);
      const loop = loopSpeed(processor, sregs, mode, clock, patient);
      certain &&= loop.certain;
      return loop.speed;
    };
    const speeds = {
      real: speed('real'),
      protected: speed('protected'),
      legacyPaging: speed('legacyPaging'),
      long: speed('long'),
    };
    const syscallWorks = reachesSystem(processor, sregs.slice(), memory, patient);
    certain &&= syscallWorks !== undefined;
    return { speeds, syscallWorks: syscallWorks === true, tscKilohertz: processor.tscKilohertz(), certain };
  } finally {
    vcpu?.close();
    vm.close();
  }
}

/** How fast a loop ran; `certain` is false when the host let it run too little to tell. */
interface LoopSpeed {
  /** Millions of instructions a second; undefined when the loop was not reached. */
  readonly speed: number | undefined;
  readonly certain: boolean;
}

/** On a busy host the timer may come before the guest has done anything: it then gets its time again. */
function loopSpeed(vcpu: KvmVcpu, sregs: Uint8Array, mode: Mode, clock: ProbeClock, patient: () => boolean): LoopSpeed {
  let instructions = 0;
  let millis = 0;
  for (;;) {
    const loops = runLoop(vcpu, sregs.slice(), mode, clock);
    if (loops === undefined) {
      return { speed: undefined, certain: true };
    }
    instructions += loops.instructions;
    millis += loops.millis;
    const enough = millis >= (instructions > 0 ? ENOUGH_MILLIS : ENOUGH_FOR_NOTHING_MILLIS);
    if (enough || !patient()) {
      return { speed: instructions > 0 ? instructions / 1000 / millis : undefined, certain: enough };
    }
  }
}

/** What a loop did until the timer ended it, and what it took of its thread's time; undefined when KVM gave up on it. */
function runLoop(
  vcpu: KvmVcpu,
  sregs: Uint8Array,
  mode: Mode,
  clock: ProbeClock,
): { readonly instructions: number; readonly millis: number } | undefined {
  setMode(new DataView(sregs.buffer), mode);
  const regs = new DataView(new ArrayBuffer(K.REGS_BYTES));
  const registers = new Uint8Array(regs.buffer);
  regs.setBigUint64(0, BigInt(PAGE_TABLES + 0x3000), true);
  regs.setBigUint64(8, 0x80000031n, true);
  regs.setBigUint64(16, LOOPS, true);
  regs.setBigUint64(K.REGS_RIP, BigInt(CODE), true);
  regs.setBigUint64(K.REGS_RFLAGS, 2n, true);
  try {
    vcpu.set('sregs', sregs);
    vcpu.set('regs', registers);
    vcpu.armTimer(LOOP_NANOS);
    const started = clock.spent();
    const reason = vcpu.run();
    const millis = clock.spent() - started;
    vcpu.get('regs', registers);
    const loops = LOOPS - regs.getBigUint64(16, true);
    return reason === EXIT_INTERRUPTED ? { instructions: Number(loops) * 2, millis } : undefined;
  } catch (error) {
    if (!isKvmError(error)) {
      throw error;
    }
    return undefined;
  } finally {
    vcpu.armTimer(0);
  }
}

/**
 * Whether a program in 64-bit mode that carries out SYSCALL finds itself in its system, with the system's rights;
 * undefined when the host left it no time to.
 */
function reachesSystem(
  vcpu: KvmVcpu,
  sregs: Uint8Array,
  memory: Uint8Array,
  patient: () => boolean,
): boolean | undefined {
  const view = new DataView(memory.buffer);
  // The same 2 MiB twice: for programs, and behind them for the system only.
  view.setUint32(PROGRAM_TABLES, (PROGRAM_TABLES + 0x1000) | 7, true);
  view.setUint32(PROGRAM_TABLES + 0x1000, (PROGRAM_TABLES + 0x2000) | 7, true);
  view.setUint32(PROGRAM_TABLES + 0x2000, 0x87, true);
  view.setUint32(PROGRAM_TABLES + 0x2008, 0x83, true);
  // syscall. And where it goes: out 0x80,al; without a table of interrupts any fault ends the machine.
  memory.set([0x0f, 0x05], CODE);
  memory.set([0xe6, 0x80], CODE + 16);
  const state = new DataView(sregs.buffer);
  setMode(state, 'long');
  for (let i = 0; i < 6; i++) {
    const at = i * K.SEGMENT_BYTES;
    state.setUint8(at + K.SEGMENT_DPL, 3);
    state.setUint16(at + K.SEGMENT_SELECTOR, i === 0 ? 0x33 : 0x2b, true);
  }
  state.setUint16(K.SREGS_IDT + 8, 0, true);
  state.setBigUint64(K.SREGS_CR3, BigInt(PROGRAM_TABLES), true);
  state.setBigUint64(K.SREGS_EFER, 0x501n, true);
  const regs = new DataView(new ArrayBuffer(K.REGS_BYTES));
  regs.setBigUint64(K.REGS_RIP, BigInt(CODE), true);
  regs.setBigUint64(K.REGS_RFLAGS, 0x202n, true);
  const msrs = new DataView(new ArrayBuffer(3 * K.MSR_ENTRY_BYTES));
  for (const [i, [msr, value]] of [
    [IA32_STAR, 0x0023001000000000n],
    [IA32_LSTAR, BigInt(0x200000 + CODE + 16)],
    [IA32_FMASK, 0x200n],
  ].entries() as Iterable<[number, [number, bigint]]>) {
    msrs.setUint32(i * K.MSR_ENTRY_BYTES, msr, true);
    msrs.setBigUint64(i * K.MSR_ENTRY_BYTES + 8, value, true);
  }
  try {
    vcpu.set('sregs', sregs);
    vcpu.set('regs', new Uint8Array(regs.buffer));
    vcpu.setMsrs(new Uint8Array(msrs.buffer));
    // As above: the timer may come before the guest has done anything.
    for (let first = true; first || patient(); first = false) {
      vcpu.armTimer(LOOP_NANOS);
      const reason = vcpu.run();
      if (reason !== EXIT_INTERRUPTED) {
        return reason === K.KVM_EXIT_IO;
      }
    }
    return undefined;
  } catch (error) {
    if (!isKvmError(error)) {
      throw error;
    }
  } finally {
    vcpu.armTimer(0);
  }
  return false;
}

/** Flat segments and control registers of a mode, into kvm_sregs as they are after reset. */
function setMode(view: DataView, mode: Mode): void {
  const flat = mode !== 'real';
  for (let i = 0; i < 6; i++) {
    const at = i * K.SEGMENT_BYTES;
    const code = i === 0;
    view.setBigUint64(at, 0n, true);
    view.setUint16(at + K.SEGMENT_SELECTOR, flat ? (code ? 8 : 16) : 0, true);
    view.setUint32(at + K.SEGMENT_LIMIT, flat ? 0xffffffff : 0xffff, true);
    view.setUint8(at + K.SEGMENT_TYPE, code && flat ? 11 : 3);
    view.setUint8(at + K.SEGMENT_PRESENT, 1);
    view.setUint8(at + K.SEGMENT_DPL, 0);
    view.setUint8(at + K.SEGMENT_S, 1);
    view.setUint8(at + K.SEGMENT_DB, flat && !(code && mode === 'long') ? 1 : 0);
    view.setUint8(at + K.SEGMENT_L, code && mode === 'long' ? 1 : 0);
    view.setUint8(at + K.SEGMENT_G, flat ? 1 : 0);
    view.setUint8(at + K.SEGMENT_UNUSABLE, 0);
  }
  const long = mode === 'long';
  view.setBigUint64(K.SREGS_CR0, long ? 0x80000031n : flat ? 0x31n : 0x30n, true);
  view.setBigUint64(K.SREGS_CR3, long ? BigInt(PAGE_TABLES) : 0n, true);
  view.setBigUint64(K.SREGS_CR4, long ? 0x20n : 0x10n, true);
  view.setBigUint64(K.SREGS_EFER, long ? 0x500n : 0n, true);
}
