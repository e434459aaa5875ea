import { defined } from '../base/assert.ts';
import { DisposableStore } from '../base/disposable.ts';
import { HostError } from '../base/host-error.ts';
import type { Clock, Nanos } from '../clock/clock.ts';
import type { StateValue } from '../devices/device.ts';
import { StateReader } from '../devices/state.ts';
import { REG_EOI } from '../irq/apic-registers.ts';
import type { CpuSignals } from '../irq/cpu-signals.ts';
import type { CpuBus, MachineCpus, ProtectedModeStart, RunExit } from './cpu-backend.ts';
import { DirtyRam } from './dirty-ram.ts';
import { HandOverPolicy } from './hand-over-policy.ts';
import { isFitForEmulatingKvm, kvmProcessor, startKvm } from './hybrid-kvm.ts';
import { KVM_CAP_VCPU_ATTRIBUTES } from './kvm/kvm-abi.ts';
import type { KvmAccess } from './kvm/kvm-access.ts';
import { placeOfControllers } from './kvm/kvm-controllers.ts';
import { supportedFeatures } from './kvm/kvm-cpuid.ts';
import { KvmCpus } from './kvm/kvm-cpus.ts';
import { archCapabilities } from './kvm/kvm-msrs.ts';
import { undoSyscall } from './kvm/unfinished-syscall.ts';
import type { UndeliveredEvent } from './kvm/vcpu-registers.ts';
import type { Processor } from './software/processor.ts';
import { SoftwareCpus, type SoftwareCpusOptions } from './software/software-cpus.ts';
import { StolenTime, type ThreadDelays, TurnTimes } from './stolen-time.ts';
import { Hypervisor } from './x86/hypervisor/hypervisor.ts';
import * as L from './x86/layout.ts';
import { GuestFault } from './x86/linear-memory.ts';
import { loadProcessor, saveProcessor } from './x86/processor-record.ts';
import { IA32_ARCH_CAPABILITIES } from './x86/system/msr.ts';

export interface HybridCpusOptions extends Omit<SoftwareCpusOptions, 'timing' | 'hypervisor' | 'turns'> {
  readonly clock: Clock;
  /** Calendar time: milliseconds since 1970-01-01T00:00:00Z. */
  epochMillis(): number;
  /** Guests are offered Hyper-V's interface too. */
  readonly hyperv?: boolean;
  /** False: not KVM's. Linux takes that one where it finds both. */
  readonly kvmInterface?: boolean | undefined;
  /** Nanoseconds that an instruction takes in virtual time, which only the software processor keeps. */
  readonly nanosPerInstruction: number | undefined;
  /** The time-stamp counter's frequency where KVM does not decide on it. */
  readonly tscFrequencyHz: number;
  /** Undefined: the machine runs in software. */
  readonly kvm: KvmAccess | undefined;
  /** How long the host keeps threads waiting; undefined: it does not tell, or it does not matter. */
  readonly threadDelays?: ThreadDelays | undefined;
  /** By how much the machine's clock is behind the host's; undefined: it never is. */
  readonly lag?: (() => Nanos) | undefined;
}

/** Turns of the software processors when a stretch of code is theirs. */
const TURN = 20_000;
/** Instructions until it is looked again whether all processors have left their system. */
const SYSTEM_STRETCH = 50_000;
/** A KVM that emulates is looked at so often: should a system be running there, it is taken back. */
const EMULATED_SLICE_NANOS = 1_000_000;
/** As CPUID tells it (engine/cpu/software/software-cpus.ts). */
const PHYSICAL_ADDRESS_BITS = 40;
/** Input of the local APICs' timers (engine/irq/local-apic.ts). */
const APIC_FREQUENCY_HZ = 1_000_000_000;
/** In EDX of CPUID leaf 7. */
const SPEC_CTRL = 1 << 26;

/**
 * The processors of a machine, on KVM or in software, and between the two. Where KVM gives up on an instruction, the
 * software processor carries it out from the same state and hands the processor back; on request it takes the machine
 * over for good, and gives it back. All processors move together, so that locked accesses stay what they are.
 */
export class HybridCpus implements MachineCpus {
  readonly count: number;
  readonly signals: CpuSignals;
  readonly tscFrequencyHz: number;
  readonly dirtyRam: DirtyRam;
  readonly #software: SoftwareCpus;
  readonly #hypervisor: Hypervisor;
  readonly #kvm: KvmCpus | undefined;
  readonly #access: KvmAccess | undefined;
  readonly #now: () => Nanos;
  readonly #bus: CpuBus;
  readonly #policy: HandOverPolicy;
  /** Undefined: no processor of this machine is ever kept waiting. */
  readonly #stolen: StolenTime | undefined;
  readonly #store = new DisposableStore();
  #kind: 'kvm' | 'software';
  /** Instructions that the software processors are to carry out before KVM is asked again. */
  #stretch = 0;
  #stretchCpu = 0;
  #handedOverInstructions = 0;
  #inSlice = false;
  #stop = false;
  #a20 = true;
  /** INIT or a start-up message waits for a processor. */
  #eventsFor = new Set<number>();
  /** Pages that tell guests how time follows from their counters are to be written anew. */
  #clocksStale = false;
  /** Ticks of the host's counter before power-on and during pauses. */
  #tscBase = 0n;
  #pausedAt: bigint | undefined;

  constructor(options: HybridCpusOptions) {
    const { kvm, clock, epochMillis, hyperv, kvmInterface, nanosPerInstruction, tscFrequencyHz, ...forSoftware } =
      options;
    const now = () => clock.now();
    const bus = hyperv === true ? this.#withAutoEoi(options.bus) : options.bus;
    this.count = options.count;
    this.#now = now;
    this.#bus = bus;
    this.#access = kvm;
    const { threadDelays, lag } = options;
    const turns =
      threadDelays !== undefined || (kvm === undefined && options.count > 1) ? new TurnTimes(options.count) : undefined;
    this.#policy = new HandOverPolicy({ emulates: kvm?.emulates === true });
    // In whole megahertz, as CPUID tells it; the rest of a percent of a percent is for the guest's clock discipline.
    this.tscFrequencyHz = kvm === undefined ? tscFrequencyHz : Math.round(kvm.tscKilohertz / 1000) * 1_000_000;
    this.#tscBase = kvm?.addon.readTsc() ?? 0n;
    const timestamp = () => this.timestamp();
    const controllers = kvm === undefined ? 'machine' : placeOfControllers(kvm, options.log);
    const keepApics = controllers !== 'machine';
    if (bus.eoiAssist !== undefined && kvm !== undefined && options.count > 1 && !keepApics) {
      // The machine's own APICs must not write what processors on threads of their own change at the same moment.
      bus.eoiAssist.usable = false;
    }
    this.#hypervisor = new Hypervisor(
      {
        memory: options.memory,
        eoiAssist: bus.eoiAssist,
        countsStolenTime: turns !== undefined,
        cpuCount: options.count,
        physicalAddressBits: PHYSICAL_ADDRESS_BITS,
        clock,
        apics: defined(bus.apicDoor, 'local APICs'),
        hasAutoEoi: !keepApics,
        isSoftware: kvm === undefined,
        tscFrequencyHz: this.tscFrequencyHz,
        apicFrequencyHz: APIC_FREQUENCY_HZ,
        log: options.log,
        timestamp,
        tscOffset: (cpu) => this.tscOffset(cpu),
        flushTranslations: (cpus, pages, includingGlobal) => this.#flushTranslations(cpus, pages, includingGlobal),
        epochMillis,
      },
      // Without the attributes of processors (Linux before 5.16) KVM does not tell how their counters stand.
      {
        kvm: kvmInterface !== false && (kvm === undefined || kvm.system.checkExtension(KVM_CAP_VCPU_ATTRIBUTES) > 0),
        hyperv: hyperv === true,
      },
    );
    this.#software = new SoftwareCpus({
      ...forSoftware,
      bus,
      hypervisor: this.#hypervisor,
      turns,
      timing: { now, nanosPerInstruction, tscFrequencyHz: this.tscFrequencyHz, timestamp },
    });
    const software = this.#software;
    if (kvm !== undefined) {
      const leaves = new Uint32Array(2560);
      const features = supportedFeatures(leaves.subarray(0, kvm.system.supportedCpuid(leaves) * 10));
      const capabilities = kvm.system.readFeatureMsr(IA32_ARCH_CAPABILITIES) ?? 0n;
      const hasSpeculationControl = ((features.get('7.edx') ?? 0) & SPEC_CTRL) !== 0;
      for (const { system } of software.processors) {
        system.limitFeatures(features);
        system.setArchCapabilities(archCapabilities(capabilities, hasSpeculationControl));
      }
      this.#kvm = startKvm(
        options.log,
        kvm.required === true,
        () =>
          new KvmCpus({
            system: kvm.system,
            memory: options.memory,
            bus,
            clock: { timestamp, base: () => this.#tscBase },
            now,
            tscToNanos: (tsc, cpu) => this.tscToNanos(tsc, cpu),
            controllers,
            programsOnly: kvm.emulates,
            log: options.log,
            processors: software.processors.map((processor) =>
              kvmProcessor(processor, {
                bus,
                hypervisor: this.#hypervisor,
                syscallsFault: kvm.syscallsFault,
                timestamp: (cpu) => BigInt.asUintN(64, this.timestamp() + this.tscOffset(cpu)),
                take: (cpu) => this.#take(cpu),
              }),
            ),
          }),
      );
      if (this.#kvm !== undefined) {
        this.#store.add(this.#kvm);
      }
      if (this.#kvm?.hasFixedTsc === true) {
        this.#hypervisor.beginClock(this.#tscBase);
        this.#tscBase = 0n;
      }
    }
    if (turns !== undefined) {
      const inKvm = options.count > 1 ? this.#kvm : undefined;
      this.#stolen = this.#store.add(
        new StolenTime({
          turns,
          now,
          delays: threadDelays,
          runsAll: () => this.#kind === 'software' || inKvm === undefined,
          stolen: (cpu, nanos) =>
            this.#hypervisor.stolen(defined(software.processors[cpu], 'processor').state, Math.round(nanos)),
          ...(lag === undefined ? {} : { lag }),
          ...(inKvm === undefined ? {} : { threadId: (cpu: number) => inKvm.threadId(cpu) }),
        }),
      );
    }
    this.#store.add(software);
    this.dirtyRam = new DirtyRam(options.memory, this.#kvm);
    this.#kind = this.#kvm === undefined ? 'software' : 'kvm';
    this.signals = {
      setInterruptRequest: (cpu, pending) => {
        software.signals.setInterruptRequest(cpu, pending);
        if (pending) {
          this.#kvm?.notify(cpu);
        }
      },
      nmi: (cpu) => {
        software.signals.nmi(cpu);
        this.#kvm?.notify(cpu);
      },
      init: (cpu) => {
        software.signals.init(cpu);
        this.#noteEvent(cpu);
      },
      startup: (cpu, vector) => {
        software.signals.startup(cpu, vector);
        this.#noteEvent(cpu);
      },
      smi() {},
    };
    this.reset();
  }

  get kind(): 'kvm' | 'software' {
    return this.#kind;
  }

  /** What KVM could not do and the software processor did. */
  get handedOver(): { readonly times: number; readonly foundEmulating: number; readonly instructions: number } {
    const { count: times, foundEmulating } = this.#policy;
    return { times, foundEmulating, instructions: this.#handedOverInstructions };
  }

  /** The number by which another thread of this process makes `run` come back; undefined in software. */
  get kickHandle(): number | undefined {
    return this.#kvm?.kickHandle;
  }

  get current(): number {
    if (this.#inSlice) {
      return this.#stretchCpu;
    }
    return this.#inSoftware ? this.#software.current : defined(this.#kvm, 'KVM').current;
  }

  /** The processors with their registers in the record, wherever they run. */
  get processors(): readonly Processor[] {
    this.#takeAll();
    return this.#software.processors;
  }

  /** Instructions carried out in software since power-on. */
  get executed(): number {
    return this.#software.executed;
  }

  get #inSoftware(): boolean {
    return this.#kind === 'software' || !this.#a20 || this.#stretch > 0 || this.#beyondKvm();
  }

  // ── Time ──

  /** The time-stamp counter that the processors' own offsets are added to. */
  timestamp(): bigint {
    if (this.#access === undefined) {
      return BigInt(this.#now());
    }
    return (this.#pausedAt ?? this.#access.addon.readTsc()) - this.#tscBase;
  }

  tscOffset(cpu: number): bigint {
    const offset = this.#kvm?.tscOffset(cpu);
    return offset === undefined ? this.#software.tscOffset(cpu) : BigInt.asIntN(64, offset + this.#tscBase);
  }

  tscToNanos(tsc: bigint, cpu: number): Nanos {
    const ticks = Number(BigInt.asIntN(64, tsc - this.timestamp() - this.tscOffset(cpu)));
    return this.#now() + (ticks * 1e9) / this.tscFrequencyHz;
  }

  /** The machine's time stands still: so do the counters. */
  pause(): void {
    if (this.#access !== undefined && this.#pausedAt === undefined) {
      this.#takeAll();
      this.#recallApics();
      this.#pausedAt = this.#access.addon.readTsc();
    }
  }

  resume(): void {
    if (this.#access !== undefined && this.#pausedAt !== undefined) {
      this.#tscBase += this.#access.addon.readTsc() - this.#pausedAt;
      this.#pausedAt = undefined;
    }
    this.#stolen?.restart();
  }

  /** Where KVM's guests have the host's counter, they have it from the start: it must not jump when KVM takes over. */
  #followFixedTsc(): void {
    if (this.#kvm?.hasFixedTsc === true) {
      for (const { state } of this.#software.processors) {
        state.setU64(L.TSC_OFFSET, BigInt.asUintN(64, this.#tscBase));
      }
    }
  }

  // ── Life ──

  reset(): void {
    this.#takeAll();
    this.#recallApics();
    this.#eventsFor.clear();
    this.#stretch = 0;
    this.#software.reset();
    this.#followFixedTsc();
    this.#hypervisor.reset();
    this.#kvm?.forgetTranslations();
  }

  setA20(enabled: boolean): void {
    // KVM has no address line 20 to mask: with it masked, the machine runs in software.
    if (this.#a20 !== enabled && this.#kind === 'kvm') {
      this.stopSoon();
    }
    this.#a20 = enabled;
    this.#software.setA20(enabled);
  }

  enterProtected32(start: ProtectedModeStart): void {
    this.#takeAll();
    this.#software.enterProtected32(start);
  }

  /** Moves the machine to the other kind of processor. Throws HostError when it cannot be moved there. */
  moveTo(kind: 'kvm' | 'software'): void {
    if (kind === 'kvm' && this.#kvm === undefined) {
      throw new HostError('accelerator-fixed', 'the machine was started without KVM and cannot be moved to it', {
        remedy: 'switch it off, and start it with the accelerator kvm',
      });
    }
    this.#takeAll();
    this.#recallApics();
    this.#stretch = 0;
    this.#kind = kind;
    this.#kvm?.forgetTranslations();
  }

  /** Every processor as a plain record (x86/processor-record.ts), whatever it runs on. */
  save(): StateValue {
    this.#takeAll();
    this.#recallApics();
    this.#carryOutEvents();
    this.#settle();
    // One moment for all: counters that were equal stay equal.
    const timestamp = this.timestamp();
    const processors = this.#software.processors.map(({ state }) =>
      saveProcessor(state, BigInt.asUintN(64, timestamp + state.u64(L.TSC_OFFSET))),
    );
    return { tscFrequencyHz: this.tscFrequencyHz, processors, hypervisor: this.#hypervisor.save(timestamp) };
  }

  /** Restores what `save` returned. Throws HostError('bad-state'), and then nothing was changed or the machine is of no use. */
  load(saved: StateValue): void {
    const reader = new StateReader('processors', saved);
    const frequency = reader.int('tscFrequencyHz', 1, Number.MAX_SAFE_INTEGER);
    if (frequency !== this.tscFrequencyHz) {
      reader.refuse(`time-stamp counters run at ${frequency} Hz there and at ${this.tscFrequencyHz} Hz here`);
    }
    const records = reader.array('processors', this.count);
    this.#takeAll();
    this.#recallApics();
    this.#eventsFor.clear();
    this.#stretch = 0;
    const timestamp = this.timestamp();
    for (const [index, record] of records.entries()) {
      const processor = defined(this.#software.processors[index], 'processor');
      loadProcessor(processor.state, record, timestamp);
      this.#rederive(processor);
    }
    this.#followFixedTsc();
    if (reader.has('hypervisor')) {
      this.#hypervisor.load(reader.value('hypervisor'), timestamp);
    }
    this.#kvm?.forgetTranslations();
    this.#clocksStale = true;
  }

  /** The present processor's guest calls Hyper-V (x86/hypervisor/hyperv-interface.ts): an access to the port of calls. */
  hypercall(): void {
    const cpu = this.current;
    // The access is complete as far as the processor is concerned; the call works on its record.
    this.#take(cpu);
    this.#hypervisor.hypercall(defined(this.#software.processors[cpu], 'processor').state);
  }

  /** Interrupts that are ended by their being taken (Hyper-V's synthetic interrupt sources). */
  #withAutoEoi(bus: CpuBus): CpuBus {
    return {
      ...bus,
      acknowledge: (cpu) => {
        const vector = bus.acknowledge(cpu);
        if (this.#hypervisor.isAutoEoi(cpu, vector)) {
          bus.apicDoor?.writeRegister(cpu, REG_EOI, 0);
        }
        return vector;
      },
    };
  }

  #flushTranslations(cpus: readonly number[], pages: readonly bigint[] | undefined, includingGlobal: boolean): void {
    for (const cpu of cpus) {
      const { translation } = defined(this.#software.processors[cpu], 'processor');
      if (pages === undefined) {
        translation.flush(includingGlobal);
      } else {
        for (const page of pages) {
          translation.invalidatePage(page);
        }
      }
    }
    if (this.#kind === 'kvm') {
      this.#kvm?.quiesce();
      this.#kvm?.forgetTranslations();
    }
  }

  // ── Running ──

  stopSoon(): void {
    this.#stop = true;
    this.#kvm?.stopSoon();
    this.#software.stopSoon();
    if (this.#inSlice) {
      this.#software.processors[this.#stretchCpu]?.stopSoon();
    }
  }

  run(until: Nanos): RunExit {
    this.#stolen?.begin();
    const exit = this.#run(until);
    this.#stolen?.end(exit.reason === 'halted');
    return exit;
  }

  #run(until: Nanos): RunExit {
    if (this.#clocksStale) {
      // Not while loading: guest memory may be filled after the processors.
      this.#clocksStale = false;
      for (const { state } of this.#software.processors) {
        this.#hypervisor.restored(state);
      }
    }
    const kvm = this.#kvm;
    if (kvm === undefined || this.#kind === 'software') {
      return this.#software.run(until);
    }
    this.#stop = false;
    for (;;) {
      this.#carryOutEvents();
      if (!this.#a20 || this.#beyondKvm()) {
        this.#takeAll();
        this.#recallApics();
        kvm.forgetTranslations();
        return this.#software.run(until);
      }
      if (this.#stretch > 0) {
        kvm.forgetTranslations();
        const exit = this.#runStretch(until);
        if (exit !== undefined) {
          return exit;
        }
        if (this.#stretch > 0) {
          return { reason: 'deadline' };
        }
        this.#settle();
        this.#policy.handedBack(this.#now());
      }
      const emulates = this.#access?.emulates === true;
      if (emulates && !this.#fitsEmulatingKvm()) {
        this.#takeAll();
        this.#stretch = SYSTEM_STRETCH;
        continue;
      }
      const exit = kvm.run(emulates ? Math.min(until, this.#now() + EMULATED_SLICE_NANOS) : until);
      if (exit.reason === 'deadline' && emulates) {
        this.#sliceEnded();
        if (this.#now() < until) {
          continue;
        }
      }
      if (exit.reason !== 'gave-up' && exit.reason !== 'stopped') {
        return exit;
      }
      this.#takeAll();
      this.#stretchCpu = exit.cpu;
      this.#stretch = exit.reason === 'stopped' ? this.#policy.sliceEnded(0) : this.#policy.gaveUp(this.#now());
    }
  }

  /**
   * Whether KVM would run nothing but programs that know their processor, or systems without programs. On a KVM that
   * emulates systems, programs see the host's CPUID. They ask for it when they begin, before they have memory of their own
   * for the present thread, and go by the answer ever after: what the machine's processor lacks must not be chosen.
   */
  #fitsEmulatingKvm(): boolean {
    return this.#software.processors.every(
      (processor) =>
        this.#kvm?.holds(processor.index) === true || !processor.runnable || isFitForEmulatingKvm(processor.state),
    );
  }

  /** A KVM that emulates keeps programs only. */
  #sliceEnded(): void {
    this.#takeAll();
    for (const { state, index } of this.#software.processors) {
      if (state.i32(L.ACTIVITY) === L.ACTIVITY_RUNNING) {
        this.#stretchCpu = index;
        this.#stretch = Math.max(this.#stretch, this.#policy.sliceEnded(state.cpl));
      }
    }
  }

  /** A processor is in a mode that this KVM does not have. */
  #beyondKvm(): boolean {
    if (this.#access?.longModeOnly !== true) {
      return false;
    }
    for (const { state, index } of this.#software.processors) {
      if (this.#kvm?.holds(index) !== true && !state.longMode && state.i32(L.ACTIVITY) <= L.ACTIVITY_HALTED) {
        return true;
      }
    }
    return false;
  }

  /** Runs what is left of the stretch; undefined: it is done, or `until` has come. */
  #runStretch(until: Nanos): RunExit | undefined {
    const software = this.#software;
    if (this.#stretch <= TURN) {
      const processor = defined(software.processors[this.#stretchCpu], 'processor');
      this.#inSlice = true;
      let done: number;
      try {
        done = processor.runSlice(this.#stretch);
      } finally {
        this.#inSlice = false;
      }
      this.#handedOverInstructions += done;
      this.#stretch = 0;
      if (processor.isShutDown) {
        return { reason: 'shutdown', cpu: this.#stretchCpu };
      }
      return this.#stop ? { reason: 'kicked' } : undefined;
    }
    this.#recallApics();
    while (this.#stretch > 0) {
      const before = software.executed;
      const exit = software.run(until);
      const done = software.executed - before;
      this.#handedOverInstructions += done;
      this.#stretch = exit.reason === 'halted' ? 0 : Math.max(0, this.#stretch - Math.max(1, done));
      if (exit.reason !== 'deadline') {
        return exit;
      }
      if (this.#now() >= until) {
        break;
      }
    }
    return undefined;
  }

  /** Carries out what waits in the software processors but is not part of their records. */
  #settle(): void {
    for (const processor of this.#software.processors) {
      this.#stretchCpu = processor.index;
      this.#inSlice = true;
      try {
        processor.runSlice(0);
      } finally {
        this.#inSlice = false;
      }
    }
  }

  #noteEvent(cpu: number): void {
    if (this.#kind === 'kvm') {
      this.#eventsFor.add(cpu);
      this.stopSoon();
    }
  }

  /** INIT and start-up messages, which only the software half knows how to obey. */
  #carryOutEvents(): void {
    if (this.#eventsFor.size === 0) {
      return;
    }
    const cpus = [...this.#eventsFor];
    this.#eventsFor.clear();
    for (const cpu of cpus) {
      this.#take(cpu);
      this.#stretchCpu = cpu;
      this.#inSlice = true;
      try {
        this.#software.processors[cpu]?.runSlice(0);
      } finally {
        this.#inSlice = false;
      }
    }
  }

  // ── Between KVM and the records ──

  /** Longer stretches in software need the local APICs; for a few instructions they stay where they are. */
  #recallApics(): void {
    this.#bus.localApics?.recall();
  }

  #takeAll(): void {
    const kvm = this.#kvm;
    if (kvm === undefined) {
      return;
    }
    kvm.quiesce();
    let any = false;
    for (let cpu = 0; cpu < this.count; cpu++) {
      any = this.#take(cpu) || any;
    }
    if (any) {
      kvm.forgetRefusals();
    }
  }

  /** Moves one processor into its record; true when it was KVM's. */
  #take(cpu: number): boolean {
    const kvm = this.#kvm;
    if (kvm?.holds(cpu) !== true) {
      return false;
    }
    let event = kvm.take(cpu);
    const processor = defined(this.#software.processors[cpu], 'processor');
    this.#rederive(processor);
    if (this.#access?.syscallsFault === true) {
      event = undoSyscall(processor, event);
    }
    if (event !== undefined) {
      deliver(processor, event);
    }
    return true;
  }

  /** After others changed a processor's record and memory: everything that follows from them. */
  #rederive(processor: Processor): void {
    // KVM's guests write memory without marking what was decoded from it.
    this.#software.code.dropRange(0, 2 ** 32);
    const { system, translation } = processor;
    system.restoreMode();
    translation.flush(true);
    translation.watching = system.dataBreakpointsArmed;
    translation.select();
    processor.breakSoon();
  }

  /** See KvmCpus.collectDirty. */
  collectDirty(): void {
    this.#kvm?.collectDirty();
  }

  dispose(): void {
    this.#hypervisor.dispose();
    this.#store.dispose();
    this.#access?.system.close();
  }
}

/** Completes the delivery of an event that KVM had begun. */
function deliver({ system, state }: Processor, event: UndeliveredEvent): void {
  if (event.kind === 'exception') {
    const address = event.vector === L.VECTOR_PF ? state.u64(L.CR2) : undefined;
    system.deliverFault(new GuestFault(event.vector, event.errorCode, address));
  } else {
    system.acceptInterrupt(event.vector);
  }
}
