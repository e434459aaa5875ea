import { defined } from '../../base/assert.ts';
import type { CpuBus } from '../cpu-backend.ts';
import { CpuState } from '../x86/cpu-state.ts';
import * as L from '../x86/layout.ts';
import { GuestFault } from '../x86/linear-memory.ts';
import { System } from '../x86/system/system.ts';
import type { SystemEnvironment } from '../x86/system/system-environment.ts';
import { CPU_STATES } from './arena-layout.ts';
import type { CodeCache } from './code-cache.ts';
import type { Interpreter } from './interpreter.ts';
import type { Jit } from './jit/jit.ts';
import { type DeviceAccess, LinearAccess, type Translate } from './linear-access.ts';
import {
  EXIT_BREAK,
  EXIT_DECODE,
  EXIT_FAULT,
  EXIT_FETCH,
  EXIT_FUEL,
  EXIT_HOT,
  FAULTED,
  JUMPED,
  NEXT,
  STOPPED,
  UOP_REMAINING,
} from './micro-op.ts';
import { AGAIN, Call, type Operation, type OperationHost } from './system-operations.ts';
import { type TlbControl, Translation } from './translation.ts';

const DR6_SINGLE_STEP = 1 << 14;
/** They load TF and RF: TF set before them still traps behind them, and RF is for the instruction after them. */
const RESTORES_FLAGS: ReadonlySet<string> = new Set(['popf', 'iret']);

/** The functions of interrupt-functions.ts. */
export interface InterruptDelivery {
  /** Both return 1 when they have done it, 0 when it is left to TypeScript and nothing has happened. */
  deliverInterrupt(record: number, vector: number): number;
  deliverFault(record: number): number;
}

/** What a processor shares with the others of its machine. */
export interface ProcessorShared {
  readonly arena: SharedArrayBuffer;
  readonly interpreter: Interpreter;
  readonly operations: readonly Operation[];
  readonly code: CodeCache;
  readonly bus: CpuBus;
  readonly devices: DeviceAccess;
  readonly run: (record: number) => number;
  readonly jit: Jit | undefined;
  readonly generated: TlbControl & Translate & InterruptDelivery;
  /** Stop exactly at the end of a slice, so that time is a function of instructions. */
  readonly exact: boolean;
  random(): bigint;
}

/** One virtual processor: drives generated code, delivers events, and answers its calls. */
export class Processor implements OperationHost {
  readonly index: number;
  readonly record: number;
  readonly state: CpuState;
  readonly system: System;
  readonly translation: Translation;
  readonly memory: LinearAccess;
  readonly bus: CpuBus;
  readonly #shared: ProcessorShared;
  readonly #call: Call;
  readonly #view: DataView;
  #sliceFuel = 0;
  /** Fuel of the slice that is kept back, so that code comes back often enough to be sampled. */
  #reserve = 0;
  #inGenerated = false;
  #yielded = false;
  #stop = false;
  #init = false;
  #startup: number | undefined;
  #flagsRestored = false;

  constructor(
    index: number,
    shared: ProcessorShared,
    environment: Omit<
      SystemEnvironment,
      'flushTlb' | 'invalidatePage' | 'modeChanged' | 'debugChanged' | 'tpr' | 'setTpr' | 'readApicMsr' | 'writeApicMsr'
    >,
  ) {
    this.index = index;
    this.#shared = shared;
    this.bus = shared.bus;
    this.record = CPU_STATES + index * L.CPU_STATE_SIZE;
    this.state = new CpuState(shared.arena, this.record, index);
    this.#view = new DataView(shared.arena);
    this.translation = new Translation(shared.arena, this.record, index, shared.generated);
    this.memory = new LinearAccess(shared.arena, this.record, this.translation, shared.devices, shared.generated);
    const { bus, translation } = this;
    this.system = new System(this.state, this.memory, {
      ...environment,
      timestamp: environment.timestamp,
      flushTlb: (includingGlobal) => translation.flush(includingGlobal),
      invalidatePage: (address) => translation.invalidatePage(address),
      modeChanged: () => translation.select(),
      debugChanged: () => {
        this.#updateDebug();
      },
      tpr: () => bus.tpr(index),
      setTpr: (value) => bus.setTpr(index, value),
      readApicMsr: (msr) => bus.readApicMsr(index, msr),
      writeApicMsr: (msr, value) => bus.writeApicMsr(index, msr, value),
    });
    translation.onWatched = (address, size, write) => {
      if (this.system.dataBreakpointHit(address, size, write)) {
        this.breakSoon();
      }
    };
    this.#call = new Call(this, shared.arena);
    this.state.setI32(L.CPU_INDEX, index);
    this.state.setI32(L.A20_MASK, -1);
  }

  #updateDebug(): void {
    const armed = this.system.dataBreakpointsArmed;
    if (armed !== this.translation.watching) {
      this.translation.watching = armed;
    }
  }

  /** Power-on reset. The level of INTR belongs to the interrupt controller and stays. */
  reset(): void {
    const intr = this.state.i32(L.INTR);
    this.system.reset('power-on');
    this.state.setI32(L.INTR, intr);
    this.#init = false;
    this.#startup = undefined;
    this.translation.flush(true);
    this.translation.select();
    this.#updateDebug();
  }

  // ── Events from outside; each only records and asks for a look ──

  breakSoon(): void {
    this.state.setI32(L.BIAS, L.BIAS_BREAK);
  }

  setInterruptRequest(pending: boolean): void {
    this.state.setI32(L.INTR, pending ? 1 : 0);
    if (pending) {
      this.breakSoon();
    }
  }

  nmi(): void {
    this.state.setI32(L.NMI_PENDING, 1);
    this.breakSoon();
  }

  init(): void {
    this.#init = true;
    this.#startup = undefined;
    this.breakSoon();
  }

  startup(vector: number): void {
    this.#startup = vector;
    this.breakSoon();
  }

  /** Ends the present slice after the current instruction. */
  stopSoon(): void {
    this.#stop = true;
    this.breakSoon();
  }

  setA20(enabled: boolean): void {
    this.state.setI32(L.A20_MASK, enabled ? -1 : ~(1 << 20));
    this.translation.flush(true);
    this.breakSoon();
  }

  /** Whether it has something to do: it runs, or an event waits that would wake it. */
  get runnable(): boolean {
    const { state } = this;
    switch (state.i32(L.ACTIVITY)) {
      case L.ACTIVITY_RUNNING:
        return true;
      case L.ACTIVITY_HALTED:
        return (
          this.#init ||
          (state.i32(L.NMI_PENDING) !== 0 && state.i32(L.NMI_BLOCKED) === 0) ||
          (state.i32(L.INTR) !== 0 && (state.i32(L.FLAGS_REST) & L.FLAG_IF) !== 0)
        );
      case L.ACTIVITY_WAIT_SIPI:
        return this.#startup !== undefined || this.#init;
      default:
        return false;
    }
  }

  get isShutDown(): boolean {
    return this.state.i32(L.ACTIVITY) === L.ACTIVITY_SHUTDOWN;
  }

  /** Instructions carried out in the present slice so far. Exact inside device accesses too. */
  get executed(): number {
    let fuel = this.state.i32(L.FUEL);
    if (this.#inGenerated) {
      // The whole block was paid for on entry; what is left of it has not run.
      fuel += this.#view.getUint8(this.state.i32(L.CURRENT_UOP) + UOP_REMAINING);
    }
    return this.#sliceFuel - fuel - this.#reserve;
  }

  // ── OperationHost ──

  yieldSlice(): void {
    this.#yielded = true;
  }

  accessRightsChanged(): void {
    this.translation.select();
  }

  timestampRead(): void {
    const { state } = this;
    // In virtual time every reading has its own time. Without the compiler stretches are not bounded.
    if (!this.#shared.exact && this.#shared.jit !== undefined) {
      const low = state.u32(L.GPR) + L.TSC_STEP;
      state.setU32(L.TSC_NEXT, low);
      state.setU32(L.TSC_NEXT + 4, state.u32(L.GPR + 16) + (low > 0xffffffff ? 1 : 0));
    }
  }

  /** The next reading of the time-stamp counter looks at the clock. */
  forgetTimestamp(): void {
    this.state.setU32(L.TSC_NEXT, 0);
    this.state.setU32(L.TSC_NEXT + 4, 0);
  }

  random(): bigint {
    return this.#shared.random();
  }

  /** The import `system`. */
  carryOut(uop: number, number: number): number {
    const { state } = this;
    const call = this.#call;
    call.uop = uop;
    const entry = defined(this.#shared.interpreter.operations[number], 'system operation');
    this.forgetTimestamp();
    call.variant = entry.variant;
    if ((state.mode & L.MODE_CODE_MASK) !== L.MODE_CODE64) {
      // EIP wraps at 4 GiB.
      state.setU32(L.RIP + 4, 0);
    }
    const { mode } = state;
    let answer: unknown;
    try {
      answer = defined(this.#shared.operations[number], entry.name)(call);
    } catch (fault) {
      if (!(fault instanceof GuestFault)) {
        throw fault;
      }
      this.#setFault(fault);
      return FAULTED;
    }
    if (answer === AGAIN) {
      state.setU64(L.RIP, BigInt.asUintN(64, state.u64(L.RIP_BASE) + BigInt(this.#view.getUint16(uop + 14, true))));
      return STOPPED;
    }
    if (RESTORES_FLAGS.has(entry.name)) {
      this.#flagsRestored = true;
      if (!this.system.codeBreakpointsArmed) {
        // RF protects the next instruction from a breakpoint only; without one it would be cleared right behind it.
        state.setI32(L.FLAGS_REST, state.i32(L.FLAGS_REST) & ~L.FLAG_RF);
      }
    }
    if (this.#wantsAttention()) {
      return STOPPED;
    }
    if (entry.variant.definition.options.ends) {
      return JUMPED;
    }
    // What follows in the block was decoded for the old mode.
    return state.mode === mode ? NEXT : STOPPED;
  }

  #setFault(fault: GuestFault): void {
    const { state } = this;
    state.setI32(L.FAULT, L.FAULT_PENDING | fault.vector | (fault.errorCode === undefined ? 0 : L.FAULT_HAS_ERROR));
    state.setI32(L.FAULT_ERROR, fault.errorCode ?? 0);
    if (fault.address !== undefined) {
      state.setU64(L.FAULT_ADDRESS, fault.address);
    }
  }

  /** Something has to be looked at before the next instruction. */
  #wantsAttention(): boolean {
    const { state } = this;
    const rest = state.i32(L.FLAGS_REST);
    return (
      (rest & L.FLAG_TF) !== 0 ||
      state.i32(L.SHADOW) !== 0 ||
      state.i32(L.TRAP_PENDING) !== 0 ||
      state.i32(L.ACTIVITY) !== L.ACTIVITY_RUNNING ||
      this.#yielded ||
      this.#stop ||
      this.#init ||
      state.i32(L.NMI_PENDING) !== 0 ||
      (state.i32(L.INTR) !== 0 && (rest & L.FLAG_IF) !== 0) ||
      this.system.codeBreakpointsArmed
    );
  }

  // ── Running ──

  /** Runs up to `fuel` instructions; returns how many. Comes back early when halted, shut down, stopped or yielding. */
  runSlice(fuel: number): number {
    const { state } = this;
    state.setI32(L.FUEL, fuel);
    this.#sliceFuel = fuel;
    this.#yielded = false;
    this.#stop = false;
    for (;;) {
      this.#handleEvents();
      if (state.i32(L.ACTIVITY) !== L.ACTIVITY_RUNNING || state.i32(L.FUEL) <= 0 || this.#stop || this.#yielded) {
        break;
      }
      if (
        state.i32(L.SHADOW) !== 0 ||
        (state.i32(L.FLAGS_REST) & L.FLAG_TF) !== 0 ||
        this.system.codeBreakpointsArmed
      ) {
        this.#step();
        continue;
      }
      const reason = this.#enter();
      if (reason === EXIT_FUEL && state.i32(L.FUEL) > 0) {
        if (!this.#shared.exact) {
          break;
        }
        // The next block is longer than what is left: finish in blocks of one instruction.
        this.#runSingly();
        continue;
      }
      this.#handleExit(reason);
    }
    const done = fuel - state.i32(L.FUEL);
    this.#sliceFuel = 0;
    state.setI32(L.FUEL, 0);
    return done;
  }

  #enter(): number {
    const { state } = this;
    const { jit, run } = this.#shared;
    if (jit !== undefined) {
      this.#reserve = Math.max(0, state.i32(L.FUEL) - jit.options.sampleFuel);
      state.setI32(L.FUEL, state.i32(L.FUEL) - this.#reserve);
    }
    this.forgetTimestamp();
    this.#inGenerated = true;
    const reason = run(this.record);
    this.#inGenerated = false;
    if (jit === undefined) {
      return reason;
    }
    const reserve = this.#reserve;
    this.#reserve = 0;
    state.setI32(L.FUEL, state.i32(L.FUEL) + reserve);
    jit.poll();
    if (reason === EXIT_HOT) {
      jit.look(this.record, state.i32(L.CURRENT_UOP));
    } else if (reason === EXIT_FUEL && reserve > 0) {
      if (state.i32(L.CURRENT_UOP) !== 0) {
        jit.sample(this.record, state.i32(L.CURRENT_UOP));
      }
      return EXIT_BREAK;
    }
    return reason;
  }

  #setSingle(single: boolean): void {
    const { state } = this;
    state.setI32(L.MODE, single ? state.mode | L.MODE_SINGLE : state.mode & ~L.MODE_SINGLE);
  }

  #runSingly(): void {
    this.#setSingle(true);
    const reason = this.#enter();
    this.#handleExit(reason);
    this.#setSingle(false);
  }

  /** One instruction, then the traps that belong to it. */
  #step(): void {
    const { state } = this;
    const trapped = (state.i32(L.FLAGS_REST) & L.FLAG_TF) !== 0;
    const shadowed = state.i32(L.SHADOW) !== 0;
    if (this.system.codeBreakpointsArmed && !shadowed && (state.i32(L.FLAGS_REST) & L.FLAG_RF) === 0) {
      const base = (state.mode & L.MODE_CODE_MASK) === L.MODE_CODE64 ? 0n : state.cs.base;
      if (this.system.codeBreakpoint(state.rip + base)) {
        this.#deliver(new GuestFault(L.VECTOR_DB));
        return;
      }
    }
    const resumed = (state.i32(L.FLAGS_REST) & L.FLAG_RF) !== 0;
    this.#flagsRestored = false;
    const saved = state.i32(L.FUEL);
    this.#setSingle(true);
    state.setI32(L.FUEL, 1);
    this.#sliceFuel -= saved - 1;
    let delivered = false;
    while (state.i32(L.FUEL) > 0 && !delivered) {
      const reason = this.#enter();
      if (reason === EXIT_FAULT) {
        this.#sliceFuel += saved - 1;
        state.setI32(L.FUEL, saved);
        this.#handleExit(reason);
        this.#setSingle(false);
        return;
      }
      if (reason === EXIT_BREAK) {
        break;
      }
      if (reason !== EXIT_FUEL) {
        delivered = !this.#handleExit(reason);
      }
    }
    const left = state.i32(L.FUEL);
    this.#sliceFuel += saved - 1;
    state.setI32(L.FUEL, saved - 1 + left);
    this.#setSingle(false);
    if (delivered || left > 0) {
      return;
    }
    if (shadowed) {
      state.setI32(L.SHADOW, 0);
    }
    if (resumed && !this.#flagsRestored) {
      state.setI32(L.FLAGS_REST, state.i32(L.FLAGS_REST) & ~L.FLAG_RF);
    }
    // Interrupts and system calls clear TF: no trap in front of their handlers.
    if (trapped && (this.#flagsRestored || state.i32(L.FLAGS_REST) & L.FLAG_TF)) {
      this.system.acceptDebugTrap(DR6_SINGLE_STEP);
    }
  }

  /** Returns false when an exception was delivered. */
  #handleExit(reason: number): boolean {
    const { state } = this;
    if (reason !== EXIT_FAULT && state.i32(L.FUEL) <= 0) {
      // Code is not fetched before it is its turn: that marks pages as accessed.
      return true;
    }
    switch (reason) {
      case EXIT_FAULT: {
        this.#deliver(this.memory.takeFault());
        return false;
      }
      case EXIT_FETCH: {
        const page = this.translation.fetch(state.i32(L.SCRATCH), state.i32(L.SCRATCH + 4));
        if (page < 0) {
          this.#deliverFetchFault();
          return false;
        }
        return true;
      }
      case EXIT_DECODE:
        return this.#decode(state.u32(L.SCRATCH));
      default:
        return true;
    }
  }

  #decode(physical: number): boolean {
    const { state } = this;
    const { mode } = state;
    const long = (mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
    // The last offset in this page that CS's limit permits.
    let limit = Number.POSITIVE_INFINITY;
    if (!long && (mode & L.MODE_FLAT) === 0) {
      limit = state.cs.limit - Number(state.rip & 0xffffffffn) + (physical & 0xfff);
    }
    const fetchNext = () => {
      const base = long ? 0n : state.cs.base;
      const linear = BigInt.asUintN(long ? 64 : 32, state.rip + base - BigInt(physical & 0xfff) + 4096n);
      return this.translation.codePage(Number(linear & 0xffffffffn) | 0, Number(linear >> 32n) | 0);
    };
    if (!this.#shared.code.add(physical, mode, limit, fetchNext)) {
      this.#deliver(this.memory.takeFault());
      return false;
    }
    // The page behind may be missing without mattering yet: that is not the fault of what runs before.
    state.setI32(L.FAULT, 0);
    return true;
  }

  /** A code page is missing: FAULT is set. */
  #deliverFetchFault(): void {
    if (this.#shared.generated.deliverFault(this.record) === 0) {
      this.#deliver(this.memory.takeFault());
      return;
    }
    this.state.setI32(L.FUEL, this.state.i32(L.FUEL) - 1);
  }

  #deliver(fault: GuestFault): void {
    // An exception costs fuel too: a guest that only ever faults must not hold the machine.
    this.state.setI32(L.FUEL, this.state.i32(L.FUEL) - 1);
    this.system.deliverFault(fault);
  }

  #handleEvents(): void {
    const { state } = this;
    state.setI32(L.BIAS, 0);
    const behindSti = this.#isBehindSti();
    if (this.#init) {
      this.#init = false;
      const intr = state.i32(L.INTR);
      this.system.reset('init');
      state.setI32(L.INTR, intr);
      this.translation.flush(true);
      this.translation.select();
    }
    if (this.#startup !== undefined) {
      const vector = this.#startup;
      this.#startup = undefined;
      if (state.i32(L.ACTIVITY) === L.ACTIVITY_WAIT_SIPI) {
        this.system.startup(vector);
      }
    }
    const activity = state.i32(L.ACTIVITY);
    if (activity !== L.ACTIVITY_RUNNING && activity !== L.ACTIVITY_HALTED) {
      return;
    }
    if (state.i32(L.TRAP_PENDING) !== 0) {
      this.system.acceptDebugTrap(0);
      if (state.i32(L.TRAP_PENDING) !== 0) {
        // The delivery has touched what is watched, as the next one may: a guest like that must not hold the machine.
        state.setI32(L.FUEL, state.i32(L.FUEL) - 1);
      }
    }
    if (state.i32(L.SHADOW) !== 0) {
      return;
    }
    const nmi = state.i32(L.NMI_PENDING) !== 0 && state.i32(L.NMI_BLOCKED) === 0;
    const interrupt = state.i32(L.INTR) !== 0 && (state.i32(L.FLAGS_REST) & L.FLAG_IF) !== 0;
    if (!nmi && !interrupt) {
      return;
    }
    if (behindSti) {
      // Once only: the shielded instruction may be a jump to itself.
      this.#forgetSti();
      state.setI32(L.SHADOW, 1);
      return;
    }
    state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
    state.setI32(L.FUEL, state.i32(L.FUEL) - 1);
    if (nmi) {
      state.setI32(L.NMI_PENDING, 0);
      this.system.acceptNmi();
    } else {
      const vector = this.bus.acknowledge(this.index);
      if (this.#shared.generated.deliverInterrupt(this.record, vector) === 0) {
        this.system.acceptInterrupt(vector);
      }
    }
  }

  /** Whether the last instruction may have been a STI that shields the next one; forgets one that lies further back. */
  #isBehindSti(): boolean {
    const { state } = this;
    if (
      state.i32(L.SHADOW_RIP) === state.i32(L.RIP) &&
      state.i32(L.SHADOW_RIP + 4) === state.i32(L.RIP + 4) &&
      state.i32(L.ACTIVITY) === L.ACTIVITY_RUNNING
    ) {
      return true;
    }
    this.#forgetSti();
    return false;
  }

  #forgetSti(): void {
    // An address that is never executed: not canonical.
    this.state.setU32(L.SHADOW_RIP + 4, 0x80000000);
  }
}
