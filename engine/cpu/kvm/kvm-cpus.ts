import {
  EXIT_A,
  EXIT_C,
  EXIT_COALESCED,
  EXIT_CR8,
  EXIT_CR8_IN,
  EXIT_INTERRUPT_FLAG,
  EXIT_INTERRUPTED,
  EXIT_READY_FOR_INTERRUPT,
  EXIT_WANT_WINDOW,
  isKvmError,
  type KvmSystem,
  type KvmVm,
  WAIT_DOORBELLS,
} from '../../../native/index.ts';
import { defined } from '../../base/assert.ts';
import type { Log } from '../../base/log.ts';
import type { Nanos } from '../../clock/clock.ts';
import type { MachineMemory } from '../../memory/machine-memory.ts';
import type { CpuBus } from '../cpu-backend.ts';
import * as L from '../x86/layout.ts';
import { IA32_APIC_BASE, IA32_TSC_DEADLINE } from '../x86/system/msr.ts';
import * as K from './kvm-abi.ts';
import { KvmApics } from './kvm-apics.ts';
import { KvmDoorbells } from './kvm-doorbells.ts';
import { answerMsr, DeviceExits } from './kvm-exits.ts';
import { KvmMemory } from './kvm-memory.ts';
import { msrsOfKvm } from './kvm-msrs.ts';
import { DEADLINE, HALTED, KICKED, type KvmRunExit } from './kvm-run-exit.ts';
import { type KvmProcessorParts, Vcpu } from './vcpu.ts';
import type { TscClock, UndeliveredEvent } from './vcpu-registers.ts';

/** Real-mode helpers of Intel's virtualization lie between the firmware and the APICs, where no device is. */
const IDENTITY_MAP = 0xfeffc000;
const TSS = 0xfeffd000;
/** The longest that a processor runs without this thread looking around. */
const MAX_SLICE_NANOS = 1_000_000_000;

/** Threads of processors that spent no more in a slice wait for interrupts. */
const QUIET_NANOS = 100_000;
/** Slices after which processors that did not wait, though it looked so, are looked at again. */
const PATIENCE = 16;

export interface KvmCpusOptions {
  readonly system: KvmSystem;
  readonly memory: MachineMemory;
  readonly bus: CpuBus;
  readonly clock: TscClock;
  now(): Nanos;
  /** When a processor's counter reaches a value. */
  tscToNanos(tsc: bigint, cpu: number): Nanos;
  /** What KVM is to have of the interrupt controllers (see KvmAccess.localApics). */
  readonly controllers: 'kernel' | 'split' | 'machine';
  /** Interrupts are not KVM's to deliver: it stops instead. */
  readonly programsOnly: boolean;
  readonly log: Log;
  readonly processors: readonly KvmProcessorParts[];
}

/**
 * The processors of a machine, run by KVM: a single one in this thread, several on threads of their own, whose exits are
 * carried out here all the same, so that devices see one thread. The interrupt controllers are the machine's own, but
 * for the local APICs where KVM has them (kvm-apics.ts).
 *
 * A processor's registers are either KVM's or in its record in the arena; `take` and running move them. INTR, NMI_PENDING
 * and ACTIVITY of the record always hold.
 */
export class KvmCpus {
  readonly tscKilohertz: number;
  readonly hasFixedTsc: boolean;
  readonly #vm: KvmVm;
  readonly #vcpus: readonly Vcpu[];
  readonly #memory: KvmMemory;
  readonly #bus: CpuBus;
  readonly #devices: DeviceExits;
  readonly #now: () => Nanos;
  readonly #threads: boolean;
  readonly #programsOnly: boolean;
  /** Of processors on threads of their own. */
  readonly #doorbells: KvmDoorbells | undefined;
  /** Undefined: the local APICs are the machine's own. */
  readonly #apics: KvmApics | undefined;
  /** Processors whose threads have stopped, with exits that are still to be carried out. */
  readonly #stopped: number[] = [];
  #current = 0;
  #stop = false;

  constructor(options: KvmCpusOptions) {
    const { system, memory, bus, clock, processors } = options;
    this.#bus = bus;
    this.#devices = new DeviceExits(bus);
    this.#now = options.now;
    this.#programsOnly = options.programsOnly;
    const vm = system.createVm();
    this.#vm = vm;
    const vcpus: Vcpu[] = [];
    this.#vcpus = vcpus;
    try {
      vm.setAddresses(TSS, IDENTITY_MAP);
      vm.enableCapability(K.KVM_CAP_X86_USER_SPACE_MSR, K.KVM_MSR_EXIT_REASONS);
      const { localApics } = bus;
      const keepApics = options.controllers !== 'machine' && localApics !== undefined;
      const withChips = options.controllers === 'kernel' && localApics?.chips !== undefined;
      vm.setMsrFilter(msrsOfKvm(keepApics ? [IA32_APIC_BASE, IA32_TSC_DEADLINE] : []));
      if (system.checkExtension(K.KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0) {
        vm.enableCapability(K.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
      }
      if (keepApics) {
        KvmApics.prepare(vm, withChips);
      }
      this.#memory = new KvmMemory(vm, memory);
      for (const [index, parts] of processors.entries()) {
        vcpus.push(new Vcpu(index, vm, parts, clock, system));
      }
      this.#apics = keepApics
        ? new KvmApics(
            vm,
            localApics,
            {
              vcpus: vcpus.map(({ vcpu }) => vcpu),
              now: options.now,
              tscToNanos: options.tscToNanos,
              standStill: () => this.#standStill(),
              settle: (cpu) => this.#settle(defined(vcpus[cpu], 'processor')),
              picRequestChanged: () => this.notify(0),
              eoiAssist: bus.eoiAssist,
            },
            withChips,
          )
        : undefined;
      const first = defined(vcpus[0], 'processor');
      this.tscKilohertz = first.vcpu.tscKilohertz();
      this.hasFixedTsc = first.hasFixedTsc();
      for (const { base, length } of bus.lateWrites ?? []) {
        if (system.checkExtension(K.KVM_CAP_COALESCED_MMIO) > 0) {
          vm.setCoalescing(base, length, false, true);
        }
      }
      for (const port of bus.latePorts ?? []) {
        if (system.checkExtension(K.KVM_CAP_COALESCED_PIO) > 0) {
          vm.setCoalescing(port, 1, true, true);
        }
      }
      this.#threads = vcpus.length > 1;
      const { doorbells } = bus;
      this.#doorbells =
        this.#threads && doorbells !== undefined && system.checkExtension(K.KVM_CAP_IOEVENTFD) > 0
          ? new KvmDoorbells(vm, doorbells, bus)
          : undefined;
      if (this.#threads) {
        for (const { vcpu } of vcpus) {
          vcpu.start();
        }
      }
    } catch (error) {
      for (const { vcpu } of vcpus) {
        vcpu.close();
      }
      vm.close();
      throw error;
    }
  }

  get current(): number {
    return this.#current;
  }

  /** Makes `run` come back soon. */
  stopSoon(): void {
    this.#stop = true;
  }

  /** Makes the memory slots follow the map of physical pages. No processor may be running. */
  updateMemory(): void {
    this.#memory.update();
  }

  /** The software processor, or who fills memory from outside, may have changed page tables. */
  forgetTranslations(): void {
    this.#memory.forgetTranslations();
  }

  /** Brings what guests wrote into the map of dirty pages. */
  collectDirty(): void {
    this.#memory.collectDirty();
  }

  /** The number with which another thread ends a wait of this machine. */
  get kickHandle(): number {
    return this.#threads ? this.#vm.kickHandle() : defined(this.#vcpus[0], 'processor').vcpu.kickHandle();
  }

  /**
   * Moves a processor's registers into its record; it stops running for that. Returns what was just being delivered to
   * it, which is to be delivered before anything else.
   */
  take(cpu: number): UndeliveredEvent | undefined {
    const processor = defined(this.#vcpus[cpu], 'processor');
    this.#halt(processor);
    if (!processor.inKvm) {
      return undefined;
    }
    this.#finish(processor);
    this.#devices.coalesced(processor.vcpu);
    if (processor.hasVector) {
      // KVM does not tell of it before it has begun to deliver it.
      this.#settle(processor);
      processor.hasVector = false;
    }
    processor.inKvm = false;
    if (this.#apics !== undefined && processor.state.i32(L.ACTIVITY) !== L.ACTIVITY_SHUTDOWN) {
      processor.registers.activityFromKvm();
    }
    return processor.registers.fromKvm();
  }

  /** The host's number of the processor's thread; 0: it has none, or that has not begun. */
  threadId(cpu: number): number {
    return this.#vcpus[cpu]?.vcpu.threadId() ?? 0;
  }

  /** Whether the processor's registers are KVM's. */
  holds(cpu: number): boolean {
    return this.#vcpus[cpu]?.inKvm === true;
  }

  /** Lets the instruction of the last exit take its answer in, with all device accesses that are left of it. */
  #finish(processor: Vcpu): void {
    while (processor.unfinished) {
      processor.unfinished = false;
      const reason = processor.vcpu.complete();
      this.#note(processor);
      if (reason !== EXIT_INTERRUPTED) {
        this.#handle(processor, reason);
      }
    }
  }

  /** Stops a processor's thread; its exit, if it had one meanwhile, is carried out. */
  #halt(processor: Vcpu): void {
    if (!processor.running) {
      return;
    }
    processor.vcpu.kick();
    while (processor.running) {
      const index = this.#wait(MAX_SLICE_NANOS);
      if (index >= 0) {
        this.#pendingExit = this.#exited(index) ?? this.#pendingExit;
      }
    }
  }

  /** Has KVM look at what is due for a processor, which executes nothing meanwhile. */
  #settle(processor: Vcpu): void {
    if (processor.unfinished || this.#stopped.includes(processor.index)) {
      // KVM would take it for the answer to the exit that is being carried out.
      return;
    }
    if (!processor.inKvm) {
      processor.registers.shield();
    }
    try {
      processor.vcpu.settle();
    } catch (error) {
      if (!isKvmError(error)) {
        throw error;
      }
      // A state that KVM refuses to enter: then nothing was due that could be taken.
    }
  }

  /** The next processor with an exit; −1 after `nanos`, a kick or a doorbell, which has been heard then. */
  #wait(nanos: number): number {
    const index = this.#stopped.shift() ?? this.#vm.wait(nanos);
    if (index === WAIT_DOORBELLS) {
      this.#doorbells?.ring();
      return -1;
    }
    return index;
  }

  /** Ends every KVM_RUN. What the processors stopped with is carried out later: a device may be asking for this. */
  #standStill(): void {
    const running = this.#vcpus.filter(({ running, index }) => running && !this.#stopped.includes(index));
    for (const { vcpu } of running) {
      vcpu.kick();
    }
    for (let left = running.length; left > 0; ) {
      const index = this.#vm.wait(MAX_SLICE_NANOS);
      if (index >= 0) {
        this.#stopped.push(index);
        left--;
      } else if (index === WAIT_DOORBELLS) {
        this.#doorbells?.listen();
      }
    }
  }

  /** What the processor's counter differs by from the host's; undefined while that is the record's to say. */
  tscOffset(cpu: number): bigint | undefined {
    const processor = this.#vcpus[cpu];
    return processor?.inKvm === true && !processor.running ? processor.vcpu.tscOffset() : undefined;
  }

  /** All processors were taken: why one of them had to be is no news any more. */
  forgetRefusals(): void {
    if (this.#pendingExit?.reason === 'gave-up' || this.#pendingExit?.reason === 'stopped') {
      this.#pendingExit = undefined;
    }
  }

  /** An event for the processor was noted in its record: has it looked at. */
  notify(cpu: number): void {
    const processor = this.#vcpus[cpu];
    if (processor?.running === true) {
      processor.vcpu.kick();
    }
  }

  /** Stops all processors. */
  quiesce(): void {
    for (const processor of this.#vcpus) {
      this.#halt(processor);
    }
    this.#doorbells?.ring();
  }

  #pendingExit: KvmRunExit | undefined;
  /** What the processors' threads had spent at the end of the last slice. */
  #spentNanos = 0;
  /** Slices until the processors are looked at again. */
  #patience = 0;

  run(until: Nanos): KvmRunExit {
    this.#stop = false;
    this.#apics?.waited();
    const exit = this.#threads ? this.#runThreads(until) : this.#runInline(until);
    // Who looks at the devices now is to see everything.
    this.#doorbells?.ring();
    this.#devices.coalesced(defined(this.#vcpus[0], 'processor').vcpu);
    return exit;
  }

  #runInline(until: Nanos): KvmRunExit {
    const processor = defined(this.#vcpus[0], 'processor');
    this.#current = 0;
    processor.vcpu.armTimer(Math.max(1, Math.min(MAX_SLICE_NANOS, until - this.#now())));
    for (;;) {
      let reason: number;
      try {
        if (!this.#enter(processor)) {
          const stopped = this.#pendingExit;
          this.#pendingExit = undefined;
          return stopped ?? this.#idleReason(processor);
        }
        reason = processor.vcpu.run();
      } catch (error) {
        return this.#failed(processor, error);
      }
      this.#note(processor);
      if (reason === EXIT_INTERRUPTED) {
        return this.#now() >= until ? (this.#resting([processor]) ?? DEADLINE) : KICKED;
      }
      const exit = this.#handle(processor, reason);
      if (exit !== undefined) {
        return exit;
      }
      if (this.#stop) {
        return KICKED;
      }
    }
  }

  /**
   * Whether processors that stand still in KVM all wait for interrupts. Then this thread can wait for the outside world
   * instead, which it could not hear inside KVM.
   */
  #resting(processors: readonly Vcpu[]): KvmRunExit | undefined {
    const apics = this.#apics;
    if (apics === undefined || apics.picRequest || !apics.here) {
      return undefined;
    }
    let first = Number.POSITIVE_INFINITY;
    for (const { index, state } of processors) {
      const until = state.i32(L.NMI_PENDING) === 0 ? apics.waitsUntil(index) : undefined;
      if (until === undefined) {
        return undefined;
      }
      first = Math.min(first, until);
    }
    return first <= this.#now() ? undefined : { reason: 'halted', until: first };
  }

  /** The same for processors on threads of their own, which have to be stopped for it: only if none did anything lately. */
  #threadsResting(): KvmRunExit | undefined {
    let spent = 0;
    for (const { vcpu } of this.#vcpus) {
      spent += vcpu.threadNanos();
    }
    const isQuiet = spent - this.#spentNanos < QUIET_NANOS;
    this.#spentNanos = spent;
    if (!isQuiet || this.#apics === undefined || this.#patience-- > 0) {
      return undefined;
    }
    this.quiesce();
    const resting = this.#pendingExit === undefined ? this.#resting(this.#vcpus) : undefined;
    this.#patience = resting === undefined ? PATIENCE : 0;
    return resting;
  }

  #runThreads(until: Nanos): KvmRunExit {
    for (;;) {
      let active = 0;
      if (this.#memory.stale) {
        this.quiesce();
      }
      let exit = this.#pendingExit;
      this.#pendingExit = undefined;
      for (let i = 0; i < this.#vcpus.length && exit === undefined; i++) {
        const processor = this.#vcpus[i] as Vcpu;
        if (processor.running) {
          active++;
        } else if (this.#resume(processor)) {
          active++;
        } else if (this.#pendingExit !== undefined) {
          exit = this.#pendingExit;
          this.#pendingExit = undefined;
        } else if (processor.state.i32(L.ACTIVITY) === L.ACTIVITY_SHUTDOWN) {
          exit = this.#idleReason(processor);
        }
      }
      if (exit !== undefined) {
        return exit;
      }
      if (active === 0) {
        return HALTED;
      }
      const left = until - this.#now();
      if (left <= 0) {
        return this.#threadsResting() ?? DEADLINE;
      }
      if (this.#stop) {
        return KICKED;
      }
      const index = this.#wait(Math.min(left, MAX_SLICE_NANOS));
      if (index >= 0) {
        const happened = this.#exited(index);
        if (happened !== undefined) {
          return happened;
        }
      }
    }
  }

  /** Lets a processor's thread run on; false when it waits, or KVM does not take it. */
  #resume(processor: Vcpu): boolean {
    try {
      if (!this.#enter(processor)) {
        return false;
      }
      processor.vcpu.resume();
    } catch (error) {
      this.#pendingExit = this.#failed(processor, error);
      return false;
    }
    processor.running = true;
    return true;
  }

  /** Takes the exit of a processor's thread, and carries it out. */
  #exited(index: number): KvmRunExit | undefined {
    const processor = defined(this.#vcpus[index], 'processor');
    processor.running = false;
    this.#current = index;
    let reason: number;
    try {
      reason = processor.vcpu.takeExit();
    } catch (error) {
      return this.#failed(processor, error);
    }
    this.#note(processor);
    return reason === EXIT_INTERRUPTED ? undefined : this.#handle(processor, reason);
  }

  #failed(processor: Vcpu, error: unknown): KvmRunExit {
    if (!isKvmError(error)) {
      throw error;
    }
    return { reason: 'gave-up', cpu: processor.index, detail: error.message };
  }

  #idleReason(processor: Vcpu): KvmRunExit {
    return processor.state.i32(L.ACTIVITY) === L.ACTIVITY_SHUTDOWN
      ? { reason: 'shutdown', cpu: processor.index }
      : HALTED;
  }

  /** What every exit tells. */
  #note(processor: Vcpu): void {
    processor.ready = processor.word(EXIT_READY_FOR_INTERRUPT) !== 0;
    processor.interruptible = processor.word(EXIT_INTERRUPT_FLAG) !== 0;
    if (processor.word(EXIT_COALESCED) !== 0) {
      this.#devices.coalesced(processor.vcpu);
    }
    if (this.#apics !== undefined) {
      return;
    }
    const tpr = processor.word(EXIT_CR8) & 15;
    if (tpr !== processor.tpr) {
      processor.tpr = tpr;
      this.#bus.setTpr(processor.index, tpr);
    }
  }

  /** Prepares an entry: registers, pending events. False when the processor waits. */
  #enter(processor: Vcpu): boolean {
    return this.#apics === undefined ? this.#enterOwn(processor) : this.#enterWithApic(processor, this.#apics);
  }

  /** The same where KVM has the local APICs: there a processor waits inside. */
  #enterWithApic(processor: Vcpu, apics: KvmApics): boolean {
    const { state, vcpu, words } = processor;
    if (state.i32(L.ACTIVITY) === L.ACTIVITY_SHUTDOWN) {
      return false;
    }
    if (this.#memory.stale) {
      this.#memory.update();
    }
    if (!apics.here) {
      for (const one of this.#vcpus) {
        this.#moveIn(one);
      }
      apics.borrow();
    }
    this.#moveIn(processor);
    if (state.i32(L.NMI_PENDING) !== 0) {
      state.setI32(L.NMI_PENDING, 0);
      vcpu.nmi();
    }
    let window = false;
    if (processor.index === 0 && apics.picRequest) {
      if (!processor.ready && !processor.unfinished) {
        // Only an entry, even one that ends at once, tells whether the 8259s' interrupt would be taken.
        vcpu.complete();
        this.#note(processor);
      }
      if (processor.ready) {
        vcpu.interrupt(apics.acknowledgePic());
        processor.hasVector = true;
        processor.ready = false;
        window = apics.picRequest;
      } else {
        window = true;
      }
    }
    words[EXIT_WANT_WINDOW] = window ? 1 : 0;
    processor.unfinished = false;
    return true;
  }

  /** Gives KVM the registers, which has the local APIC or is about to get it. */
  #moveIn(processor: Vcpu): void {
    if (processor.inKvm) {
      return;
    }
    const { registers, index, state } = processor;
    const own = this.#apics?.here !== true;
    registers.toKvm(
      own ? (this.#bus.readApicMsr(index, IA32_APIC_BASE) ?? 0n) : undefined,
      own ? this.#bus.tpr(index) : undefined,
    );
    registers.activityToKvm();
    processor.setStops(processor.parts.stopsAt());
    processor.inKvm = true;
    processor.unfinished = false;
    processor.ready = false;
    processor.interruptible = (state.i32(L.FLAGS_REST) & L.FLAG_IF) !== 0;
    processor.parts.entered();
  }

  #enterOwn(processor: Vcpu): boolean {
    const { state, vcpu, words } = processor;
    if (!processor.inKvm) {
      processor.interruptible = (state.i32(L.FLAGS_REST) & L.FLAG_IF) !== 0;
      processor.ready = processor.interruptible && state.i32(L.SHADOW) === 0;
    }
    const nmi = state.i32(L.NMI_PENDING) !== 0;
    const interrupt = state.i32(L.INTR) !== 0;
    const activity = state.i32(L.ACTIVITY);
    if (this.#programsOnly && (nmi || (interrupt && processor.interruptible)) && activity <= L.ACTIVITY_HALTED) {
      this.#pendingExit = { reason: 'stopped', cpu: processor.index };
      return false;
    }
    if (activity !== L.ACTIVITY_RUNNING) {
      if (activity !== L.ACTIVITY_HALTED || !(nmi || (interrupt && processor.interruptible))) {
        return false;
      }
      state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
      // HLT ends in an interrupt, with nothing in between.
      processor.ready = processor.interruptible;
    }
    if (this.#memory.stale) {
      this.#memory.update();
    }
    const tpr = this.#bus.tpr(processor.index);
    if (!processor.inKvm) {
      processor.registers.toKvm(this.#bus.readApicMsr(processor.index, IA32_APIC_BASE) ?? 0n, tpr);
      processor.setStops(processor.parts.stopsAt());
      processor.inKvm = true;
      processor.unfinished = false;
      processor.parts.entered();
    }
    processor.tpr = tpr;
    words[EXIT_CR8_IN] = tpr;
    if (nmi) {
      state.setI32(L.NMI_PENDING, 0);
      vcpu.nmi();
    }
    let window = false;
    if (interrupt) {
      if (processor.ready) {
        vcpu.interrupt(this.#bus.acknowledge(processor.index));
        processor.ready = false;
        // Another one may wait behind it.
        window = state.i32(L.INTR) !== 0;
      } else {
        window = true;
      }
    }
    words[EXIT_WANT_WINDOW] = window ? 1 : 0;
    processor.unfinished = false;
    return true;
  }

  #handle(processor: Vcpu, reason: number): KvmRunExit | undefined {
    this.#current = processor.index;
    processor.hasVector = false;
    switch (reason) {
      case K.KVM_EXIT_IO:
        processor.unfinished = true;
        this.#devices.port(processor.words, processor.data);
        return undefined;
      case K.KVM_EXIT_MMIO:
        processor.unfinished = true;
        this.#devices.memory(processor.words, processor.data);
        return undefined;
      case K.KVM_EXIT_IRQ_WINDOW_OPEN:
      case K.KVM_EXIT_INTR:
      case K.KVM_EXIT_SET_TPR:
        return undefined;
      case K.KVM_EXIT_IOAPIC_EOI:
        this.#apics?.endOfInterrupt(processor.word(EXIT_A) & 0xff);
        return undefined;
      case K.KVM_EXIT_HLT:
        processor.state.setI32(L.ACTIVITY, L.ACTIVITY_HALTED);
        return undefined;
      case K.KVM_EXIT_X86_RDMSR:
      case K.KVM_EXIT_X86_WRMSR:
        processor.unfinished = true;
        answerMsr(processor, reason === K.KVM_EXIT_X86_WRMSR);
        // The base of the APIC decides what the bus does with its page.
        this.#current = processor.index;
        return undefined;
      case K.KVM_EXIT_SHUTDOWN:
        processor.state.setI32(L.ACTIVITY, L.ACTIVITY_SHUTDOWN);
        return { reason: 'shutdown', cpu: processor.index };
      case K.KVM_EXIT_DEBUG:
        return { reason: 'stopped', cpu: processor.index };
      case K.KVM_EXIT_INTERNAL_ERROR:
        return {
          reason: 'gave-up',
          cpu: processor.index,
          detail:
            processor.word(EXIT_A) === K.KVM_INTERNAL_ERROR_EMULATION
              ? 'it cannot emulate an instruction'
              : `internal error ${processor.word(EXIT_A)}`,
        };
      case K.KVM_EXIT_FAIL_ENTRY:
        return {
          reason: 'gave-up',
          cpu: processor.index,
          detail: `the processor cannot be entered (${processor.word(EXIT_C).toString(16)})`,
        };
      default:
        return { reason: 'gave-up', cpu: processor.index, detail: `an exit of an unknown kind, ${reason}` };
    }
  }

  /** Ends all threads and gives everything back. */
  dispose(): void {
    for (const { vcpu } of this.#vcpus) {
      vcpu.close();
    }
    this.#doorbells?.dispose();
    this.#memory.dispose();
    this.#vm.close();
  }
}
