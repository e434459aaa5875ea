import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { GuestFault, type LinearMemory } from '../linear-memory.ts';
import { ControlRegisters } from './control-registers.ts';
import { ControlTransfer } from './control-transfer.ts';
import { Core, type OperandSize } from './core.ts';
import { CpuIdentification, type FeatureRegister } from './cpuid.ts';
import { DebugRegisters } from './debug-registers.ts';
import { FastCalls } from './fast-calls.ts';
import { NewTaskFault, undefinedOpcode } from './faults.ts';
import { FlagsAndIo } from './flags-io.ts';
import { InterruptReturn } from './interrupt-return.ts';
import { type InterruptSource, Interrupts } from './interrupts.ts';
import { ModelSpecificRegisters } from './msr.ts';
import { type ResetKind, resetRegisters, startProcessor } from './reset.ts';
import { Segments } from './segments.ts';
import type { SystemEnvironment } from './system-environment.ts';
import { TaskSwitch } from './task-switch.ts';

/** Errors of KVM's hypercalls: there is no such call; only kernels may call. */
const KVM_ENOSYS = 1000;
const KVM_EPERM = 1;

/**
 * The privileged half of one processor: everything rare that the instruction interpreter leaves to plain TypeScript.
 *
 * The caller sets RIP to the next instruction before it calls, and back to the instruction itself when an operation
 * throws GuestFault; then nothing else has changed, and {@link deliverFault} carries the exception out. Operations that
 * complete leave RIP, MODE and everything else exact. Faults that belong to the first instruction of a new task are
 * delivered here, as their state is already the new task's.
 */
export class System {
  readonly #core: Core;
  readonly #state: CpuState;
  readonly #segments: Segments;
  readonly #transfer: ControlTransfer;
  readonly #return: InterruptReturn;
  readonly #interrupts: Interrupts;
  readonly #flags: FlagsAndIo;
  readonly #fast: FastCalls;
  readonly #control: ControlRegisters;
  readonly #debug: DebugRegisters;
  readonly #msrs: ModelSpecificRegisters;
  readonly #identification: CpuIdentification;

  constructor(state: CpuState, memory: LinearMemory, environment: SystemEnvironment) {
    const core = new Core(state, memory, environment);
    const tasks = new TaskSwitch(core);
    this.#core = core;
    this.#state = state;
    this.#segments = new Segments(core);
    this.#transfer = new ControlTransfer(core, this.#segments, tasks);
    this.#return = new InterruptReturn(core, this.#transfer, this.#segments, tasks);
    this.#interrupts = new Interrupts(core, tasks);
    this.#flags = new FlagsAndIo(core);
    this.#fast = new FastCalls(core);
    this.#control = new ControlRegisters(core);
    this.#debug = new DebugRegisters(core);
    this.#identification = new CpuIdentification(core);
    this.#msrs = new ModelSpecificRegisters(core, this.#control, this.#identification);
  }

  // Life (SDM 3A, 9.1, 8.4)

  /** Power-on, RESET or INIT: table 9-1. Application processors then wait for a start-up IPI. */
  reset(kind: ResetKind): void {
    resetRegisters(this.#core, kind);
  }

  /** A start-up IPI. Ignored unless this processor waits for one. */
  startup(vector: number): void {
    startProcessor(this.#core, vector);
  }

  /** Recomputes MODE (layout.ts) from CR0, CR4, EFER, RFLAGS and the segments; CPL and MODE_SINGLE stay. */
  updateMode(): void {
    this.#core.updateMode();
  }

  /** For restored states: the same with the privilege level that CS (and SS) say. */
  restoreMode(): void {
    this.#core.updateMode(this.#state.ss.dpl);
  }

  // Interrupts and exceptions (SDM 3A, chapter 6)

  /**
   * Delivers an interrupt, exception or trap: pushes the interrupted state and continues at its handler. RIP must be what
   * the frame is to show (the next instruction, or the faulting one). Throws GuestFault if it cannot be delivered.
   */
  deliver(vector: number, source: InterruptSource, errorCode?: number): void {
    try {
      this.#interrupts.deliver(vector, source, errorCode);
    } catch (fault) {
      this.#newTaskFault(fault);
    }
  }

  /**
   * Delivers the exception an instruction raised; RIP is the instruction's. Never throws: exceptions on the way become
   * the next exception, a double fault or a shutdown (ACTIVITY_SHUTDOWN).
   */
  deliverFault(fault: GuestFault): void {
    this.#interrupts.deliverFault(fault);
  }

  /** Takes an external interrupt between instructions. Never throws. */
  acceptInterrupt(vector: number): void {
    this.#accept(vector, 'external');
  }

  /** Takes a non-maskable interrupt between instructions; others are blocked until IRET. Never throws. */
  acceptNmi(): void {
    this.#accept(L.VECTOR_NMI, 'nmi');
  }

  /** Takes a debug trap after an instruction: sets `causes` in DR6 and delivers #DB. Never throws. */
  acceptDebugTrap(causes: number): void {
    this.#state.setI32(L.DR6, this.#state.i32(L.DR6) | causes);
    this.#state.setI32(L.TRAP_PENDING, 0);
    this.#accept(L.VECTOR_DB, 'exception');
  }

  #accept(vector: number, source: InterruptSource): void {
    try {
      this.#interrupts.deliver(vector, source);
    } catch (fault) {
      if (!(fault instanceof GuestFault)) {
        throw fault;
      }
      this.#interrupts.deliverFault(fault);
    }
  }

  #newTaskFault(fault: unknown): void {
    if (!(fault instanceof NewTaskFault)) {
      throw fault;
    }
    this.#interrupts.deliverFault(fault);
  }

  /** INT n (SDM 2A). */
  softwareInterrupt(vector: number): void {
    this.deliver(vector, 'software');
  }

  int3(): void {
    this.deliver(L.VECTOR_BP, 'int3');
  }

  /** INTO: the overflow trap, if OF is set. #UD in 64-bit mode. */
  into(): void {
    if (this.#core.isCode64) {
      throw undefinedOpcode();
    }
    if (this.#state.flags & L.FLAG_OF) {
      this.deliver(L.VECTOR_OF, 'into');
    }
  }

  /** INT1: a debug trap that needs no privilege. */
  int1(): void {
    this.deliver(L.VECTOR_DB, 'icebp');
  }

  iret(size: OperandSize): void {
    try {
      this.#return.iret(size);
    } catch (fault) {
      this.#newTaskFault(fault);
    }
  }

  /** IF is set and no STI or MOV SS shields the next instruction. */
  interruptsEnabled(): boolean {
    return (this.#state.i32(L.FLAGS_REST) & L.FLAG_IF) !== 0 && this.#state.i32(L.SHADOW) === 0;
  }

  // Far control transfers (SDM 3A, 5.8)

  farJump(selector: number, offset: bigint, size: OperandSize): void {
    try {
      this.#transfer.farJump(selector, offset, size);
    } catch (fault) {
      this.#newTaskFault(fault);
    }
  }

  farCall(selector: number, offset: bigint, size: OperandSize): void {
    try {
      this.#transfer.farCall(selector, offset, size);
    } catch (fault) {
      this.#newTaskFault(fault);
    }
  }

  /** RETF; `extraBytes` are dropped from the stack besides. */
  farReturn(size: OperandSize, extraBytes: number): void {
    this.#transfer.farReturn(size, extraBytes);
  }

  // Segments and tables (SDM 3A, 3.4 and 3.5)

  /** MOV, POP, LDS … to a segment register other than CS. The shadow of MOV SS and POP SS is the caller's to set. */
  loadSegment(index: number, selector: number): void {
    this.#segments.load(index, selector);
  }

  lldt(selector: number): void {
    this.#segments.lldt(selector);
  }

  ltr(selector: number): void {
    this.#segments.ltr(selector);
  }

  /** LGDT of the 6 or (64-bit code) 10 bytes at a linear address. */
  lgdt(address: bigint, size: OperandSize): void {
    this.#segments.loadTable(L.GDTR, address, size);
  }

  lidt(address: bigint, size: OperandSize): void {
    this.#segments.loadTable(L.IDTR, address, size);
  }

  sgdt(address: bigint): void {
    this.#segments.storeTable(L.GDTR, address);
  }

  sidt(address: bigint): void {
    this.#segments.storeTable(L.IDTR, address);
  }

  sldt(): number {
    return this.#segments.sldt();
  }

  str(): number {
    return this.#segments.str();
  }

  /** LAR: the access rights (ZF set), or undefined (ZF clear, destination unchanged). */
  lar(selector: number): number | undefined {
    return this.#segments.lar(selector);
  }

  /** LSL: the limit (ZF set), or undefined (ZF clear, destination unchanged). */
  lsl(selector: number): number | undefined {
    return this.#segments.lsl(selector);
  }

  /** VERR: the new ZF. */
  verr(selector: number): boolean {
    return this.#segments.verr(selector);
  }

  /** VERW: the new ZF. */
  verw(selector: number): boolean {
    return this.#segments.verw(selector);
  }

  // System calls (SDM 3A, 5.8.7 and 5.8.8)

  syscall(): void {
    this.#fast.syscall();
  }

  /** `size` 8 (REX.W) returns to 64-bit code. */
  sysret(size: OperandSize): void {
    this.#fast.sysret(size);
  }

  sysenter(): void {
    this.#fast.sysenter();
  }

  sysexit(size: OperandSize): void {
    this.#fast.sysexit(size);
  }

  // Flags and I/O (SDM 2B: PUSHF, POPF, CLI, STI; SDM 1, 19.5)

  pushf(size: OperandSize): void {
    this.#flags.pushf(size);
  }

  popf(size: OperandSize): void {
    this.#flags.popf(size);
  }

  /** What PUSHF would push here, for callers that write the stack themselves. */
  pushedFlags(size: OperandSize): number {
    return this.#flags.pushedFlags(size);
  }

  /** What POPF does with a value, for callers that read the stack themselves. */
  setPoppedFlags(value: number, size: OperandSize): void {
    this.#flags.setPoppedFlags(value, size);
  }

  cli(): void {
    this.#flags.cli();
  }

  sti(): void {
    this.#flags.sti();
  }

  /** #GP(0) unless this program may access `size` ports from `port` on. */
  checkIo(port: number, size: number): void {
    this.#flags.checkIo(port, size);
  }

  /** HLT. */
  hlt(): void {
    this.#core.requireSupervisor();
    this.#state.setI32(L.ACTIVITY, L.ACTIVITY_HALTED);
  }

  // Control and debug registers (SDM 3A, 2.5; SDM 3B, 17.2)

  /** MOV from CR0, CR2, CR3, CR4 or CR8. */
  readControl(index: number): bigint {
    return this.#control.read(index);
  }

  /** MOV to CR0, CR2, CR3, CR4 or CR8. */
  writeControl(index: number, value: bigint): void {
    this.#control.write(index, value);
  }

  clts(): void {
    this.#control.clts();
  }

  lmsw(value: number): void {
    this.#control.lmsw(value);
  }

  /** SMSW: CR0's low half, to be cut to the operand size. */
  smsw(): number {
    return this.#control.smsw();
  }

  /** Reads XCR[ECX] into EDX:EAX. */
  xgetbv(): void {
    const value = this.#control.xgetbv(this.#state.gpr32(1));
    this.#state.setGpr32(0, Number(value & 0xffffffffn));
    this.#state.setGpr32(2, Number(value >> 32n));
  }

  /** Writes EDX:EAX to XCR[ECX]. */
  xsetbv(): void {
    const value = (BigInt(this.#state.gpr32(2)) << 32n) | BigInt(this.#state.gpr32(0));
    this.#control.xsetbv(this.#state.gpr32(1), value, this.#identification.supportedState);
  }

  /** INVPCID with the linear address of its descriptor. */
  invpcid(type: bigint, descriptor: bigint): void {
    this.#control.invpcid(type, descriptor);
  }

  /** INVD and WBINVD: there are no caches to write back. */
  wbinvd(): void {
    this.#core.requireSupervisor();
  }

  /** MONITOR and MWAIT are not announced. */
  monitor(): never {
    throw undefinedOpcode();
  }

  mwait(): never {
    throw undefinedOpcode();
  }

  readDebug(index: number): bigint {
    return this.#debug.read(index);
  }

  writeDebug(index: number, value: bigint): void {
    this.#debug.write(index, value);
  }

  /** An instruction breakpoint is enabled: call {@link codeBreakpoint} before every instruction that starts with RF clear. */
  get codeBreakpointsArmed(): boolean {
    return this.#debug.codeArmed;
  }

  /** A watchpoint is enabled: call {@link dataBreakpointHit} for every data access. */
  get dataBreakpointsArmed(): boolean {
    return this.#debug.dataArmed;
  }

  /** Sets DR6 and returns true when an instruction breakpoint matches: deliverFault(new GuestFault(VECTOR_DB)) is due. */
  codeBreakpoint(address: bigint): boolean {
    return this.#debug.codeBreakpoint(address);
  }

  /** Sets DR6 and TRAP_PENDING and returns true when a watchpoint matches. */
  dataBreakpointHit(address: bigint, size: number, write: boolean): boolean {
    return this.#debug.dataBreakpoint(address, size, write);
  }

  /** The same for port accesses, under CR4.DE. */
  ioBreakpointHit(port: number, size: number): boolean {
    return this.#debug.ioBreakpoint(port, size);
  }

  // Identification, time, model-specific registers

  /** CPUID: the answer goes to EAX, EBX, ECX and EDX. By default for the leaf in EAX and the subleaf in ECX. */
  cpuid(leaf = this.#state.gpr32(0), subleaf = this.#state.gpr32(1)): void {
    this.#identification.cpuid(leaf, subleaf);
  }

  /** See CpuIdentification.limitFeatures. */
  limitFeatures(masks: ReadonlyMap<FeatureRegister, number>): void {
    this.#identification.limitFeatures(masks);
  }

  /** What IA32_ARCH_CAPABILITIES reads, for machines that another kind of processor runs too. */
  setArchCapabilities(value: bigint): void {
    this.#msrs.archCapabilities = value;
  }

  rdtsc(): void {
    this.#msrs.rdtsc();
  }

  rdtscp(): void {
    this.#msrs.rdtscp();
  }

  rdpmc(): void {
    this.#msrs.rdpmc();
  }

  /** The time-stamp counter as the guest sees it. */
  timestamp(): bigint {
    return this.#msrs.timestamp();
  }

  /**
   * VMCALL and VMMCALL. KVM's interface has them, and none of its calls is announced, so every one is unknown. #UD where
   * the machine does not offer that interface.
   */
  hypercall(): void {
    if (this.#core.environment.hypervisor?.answersHypercalls !== true) {
      throw undefinedOpcode();
    }
    const answer = this.#state.cpl === 0 ? -KVM_ENOSYS : -KVM_EPERM;
    if (this.#core.isCode64) {
      this.#state.setGpr(0, BigInt.asUintN(64, BigInt(answer)));
    } else {
      this.#state.setGpr32(0, answer >>> 0);
    }
  }

  rdmsr(): void {
    this.#msrs.rdmsr();
  }

  wrmsr(): void {
    this.#msrs.wrmsr();
  }

  /** A model-specific register, without a privilege check; #GP(0) if unknown. */
  readMsr(index: number): bigint {
    return this.#msrs.read(index);
  }

  writeMsr(index: number, value: bigint): void {
    this.#msrs.write(index, value);
  }
}
