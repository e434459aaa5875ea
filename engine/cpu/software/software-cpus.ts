import { randomBytes } from 'node:crypto';
import { assert, defined } from '../../base/assert.ts';
import { DisposableStore } from '../../base/disposable.ts';
import type { Log } from '../../base/log.ts';
import type { Nanos } from '../../clock/clock.ts';
import type { CpuSignals } from '../../irq/cpu-signals.ts';
import type { MachineMemory } from '../../memory/machine-memory.ts';
import type { CpuBackend, CpuBus, ProtectedModeStart, RunExit } from '../cpu-backend.ts';
import type { TurnTimes } from '../stolen-time.ts';
import type { Hypervisor } from '../x86/hypervisor/hypervisor.ts';
import * as L from '../x86/layout.ts';
import { CPU_STATES, MAX_CPUS } from './arena-layout.ts';
import { CodeCache } from './code-cache.ts';
import { MAX_BLOCK } from './decoder.ts';
import { interpreterFor } from './interpreter-for.ts';
import type { CompilerThread } from './jit/compile-request.ts';
import { Jit, type JitOptions } from './jit/jit.ts';
import type { Translate } from './linear-access.ts';
import { type InterruptDelivery, Processor, type ProcessorShared } from './processor.ts';
import { type Operation, SYSTEM_OPERATIONS } from './system-operations.ts';
import type { TlbControl } from './translation.ts';

/** Instructions that a processor runs before the next one gets its turn. */
const QUANTUM = 20_000;
/** Outside virtual time: instructions between looks at the host's clock, at least and at most. */
const MIN_HOST_SLICE = 1_000;
const MAX_HOST_SLICE = 400_000;
/** Device accesses between looks at the host's clock: they take far longer than other instructions. */
const ACCESSES_PER_LOOK = 16;

/** How the software processors keep time. */
export interface ExecutionTiming {
  now(): Nanos;
  /** Nanoseconds that one instruction takes in virtual time; undefined: the host's clock rules. */
  readonly nanosPerInstruction: number | undefined;
  readonly tscFrequencyHz: number;
  timestamp(): bigint;
}

export interface SoftwareCpusOptions {
  readonly count: number;
  readonly memory: MachineMemory;
  readonly bus: CpuBus;
  readonly timing: ExecutionTiming;
  readonly log: Log;
  /** What guests are offered by CPUID and MSRs; undefined: nothing. */
  readonly hypervisor?: Hypervisor | undefined;
  /** How code is compiled; without it all is interpreted. */
  readonly jit?: JitOptions | undefined;
  /** Compiles in another thread; without it code is compiled while the guest waits. */
  readonly compiler?: CompilerThread | undefined;
  /** Where it is noted how long processors ran, and waited for each other. */
  readonly turns?: TurnTimes | undefined;
}

/** What the interpreter's module exports. Records and results are arena addresses. */
export interface GeneratedFunctions extends TlbControl, Translate, InterruptDelivery {
  /** Runs the processor until something needs TypeScript; returns EXIT_*. */
  run(record: number): number;
  /** See PageWalkFunctions. */
  fillTlb(record: number, address: bigint, write: number, size: number): number;
  walkCode(record: number, address: bigint): number;
  /** The function table. */
  readonly table: WebAssembly.Table;
  /** Stands for compiled code that has been forgotten. */
  readonly gone: CallableFunction;
}

/** Processors in software: one interpreter, run for each processor in turn in the machine thread. */
export class SoftwareCpus implements CpuBackend {
  readonly kind = 'software';
  readonly count: number;
  readonly signals: CpuSignals;
  readonly processors: readonly Processor[];
  readonly code: CodeCache;
  readonly generated: GeneratedFunctions;
  readonly jit: Jit | undefined;
  readonly #timing: ExecutionTiming;
  readonly #turns: TurnTimes | undefined;
  readonly #store = new DisposableStore();
  #current = 0;
  #running = false;
  #stop = false;
  #executed = 0;
  #turn = 0;
  /** Outside virtual time: when the present run is to end, and what was measured of the processors' speed. */
  #deadline: Nanos = Number.POSITIVE_INFINITY;
  #accesses = 0;
  #instructionsPerNano = 0.1;
  #randomState = 0x9e3779b97f4a7c15n;

  constructor(options: SoftwareCpusOptions) {
    const { memory, timing } = options;
    assert(options.count >= 1 && options.count <= MAX_CPUS, 'unsupported number of processors');
    this.count = options.count;
    this.#timing = timing;
    this.#turns = options.turns;
    const arena = memory.arena.buffer;
    const { table, interpreter } = interpreterFor(arena.byteLength / 0x10000);
    const processorAt = (record: number) =>
      defined(this.processors[(record - CPU_STATES) / L.CPU_STATE_SIZE], 'processor');
    const bus = this.#watched(options.bus);
    const code = new CodeCache(arena, table, interpreter, (physical) => bus.readMmio(physical, 1));
    this.code = code;
    const devices = {
      readMmio: (physical: number, size: 1 | 2 | 4) => bus.readMmio(physical, size),
      writeMmio: (physical: number, size: 1 | 2 | 4, value: number) => bus.writeMmio(physical, size, value),
      codeWritten: (physical: number, size: number) => code.written(physical, size),
    };
    const instance = new WebAssembly.Instance(new WebAssembly.Module(interpreter.module), {
      env: {
        memory: memory.arena,
        walk: (record: number, write: number) => processorAt(record).translation.walkForGenerated(write),
        readMmio: (record: number, physical: number, size: number) => {
          processorAt(record).forgetTimestamp();
          return bus.readMmio(physical >>> 0, size as 1 | 2 | 4);
        },
        writeMmio: (record: number, physical: number, size: number, value: number) => {
          processorAt(record).forgetTimestamp();
          bus.writeMmio(
            physical >>> 0,
            size as 1 | 2 | 4,
            size === 4 ? value >>> 0 : value & (size === 1 ? 0xff : 0xffff),
          );
        },
        codeWritten: (_record: number, physical: number, size: number) => code.written(physical >>> 0, size),
        system: (record: number, uop: number, operation: number) => processorAt(record).carryOut(uop, operation),
      },
    });
    this.generated = instance.exports as unknown as GeneratedFunctions;
    const { generated } = this;
    interpreter.lazy.attach(memory.arena, (instance.exports as unknown as { table: WebAssembly.Table }).table);
    const operations: Operation[] = interpreter.operations.map((entry) =>
      defined(SYSTEM_OPERATIONS[entry.name], `system operation ${entry.name}`),
    );
    if (options.jit !== undefined) {
      const codeChanged = () => {
        for (const processor of this.processors) {
          processor.translation.forgetJumps();
        }
      };
      const { table: functions, gone } = generated;
      const { compiler } = options;
      this.jit = new Jit(
        {
          arena: memory.arena,
          code,
          interpreter,
          table: functions,
          gone,
          compiler,
          codeChanged,
          warn: (message) => options.log.warn(message),
        },
        options.jit,
      );
    }
    const sharedByAll: ProcessorShared = {
      arena,
      jit: this.jit,
      interpreter,
      operations,
      code,
      bus,
      devices,
      run: generated.run,
      generated,
      exact: timing.nanosPerInstruction !== undefined,
      random: () => this.#random(),
    };
    this.processors = Array.from(
      { length: options.count },
      (_, index) =>
        new Processor(index, sharedByAll, {
          cpuCount: options.count,
          maxPhysicalAddressBits: 40,
          tscFrequencyHz: timing.tscFrequencyHz,
          log: options.log,
          hypervisor: options.hypervisor,
          tscChanged: () => options.bus.tscChanged(index),
          timestamp: () => timing.timestamp(),
          readPhysical32: (address) => memory.readU32(address),
        }),
    );
    code.onNewCodePage = (page) => {
      for (const processor of this.processors) {
        processor.translation.dropWriteTags(page, 4096);
      }
    };
    this.#store.add(
      memory.onRemap(({ base, length }) => {
        code.dropRange(base, length);
        for (const processor of this.processors) {
          processor.translation.flush(true);
        }
      }),
    );
    this.#store.add(memory.onCodeWritten(({ base, length }) => code.written(base, length)));
    this.#store.add(
      memory.onDirtyTaken(({ base, length }) => {
        for (const processor of this.processors) {
          processor.translation.dropWriteTags(base, length);
        }
      }),
    );
    this.signals = {
      setInterruptRequest: (cpu, pending) => this.processors[cpu]?.setInterruptRequest(pending),
      nmi: (cpu) => this.processors[cpu]?.nmi(),
      init: (cpu) => this.processors[cpu]?.init(),
      startup: (cpu, vector) => this.processors[cpu]?.startup(vector),
      smi: () => {},
    };
    this.reset();
  }

  /**
   * The bus, with an eye on the host's clock: a slice is measured in instructions, and one full of device accesses
   * would last many times longer than it should.
   */
  #watched(bus: CpuBus): CpuBus {
    if (this.#timing.nanosPerInstruction !== undefined) {
      return bus;
    }
    const look = () => {
      if (++this.#accesses >= ACCESSES_PER_LOOK) {
        this.#accesses = 0;
        if (this.#running && this.#timing.now() >= this.#deadline) {
          this.processors[this.#current]?.stopSoon();
        }
      }
    };
    return {
      ...bus,
      readPort(port, size) {
        look();
        return bus.readPort(port, size);
      },
      writePort(port, size, value) {
        look();
        bus.writePort(port, size, value);
      },
      readMmio(address, size) {
        look();
        return bus.readMmio(address, size);
      },
      writeMmio(address, size, value) {
        look();
        bus.writeMmio(address, size, value);
      },
    };
  }

  /** Instructions that fit until `until`, by the speed measured last. */
  #hostBudget(until: Nanos): number {
    this.#deadline = until;
    const fit = Math.floor((until - this.#timing.now()) * this.#instructionsPerNano);
    return Math.min(MAX_HOST_SLICE, Math.max(MIN_HOST_SLICE, fit));
  }

  /** In virtual time the same bits every time; else the host's. */
  #random(): bigint {
    if (this.#timing.nanosPerInstruction === undefined) {
      return randomBytes(8).readBigUInt64LE();
    }
    let x = this.#randomState;
    x ^= BigInt.asUintN(64, x << 13n);
    x ^= x >> 7n;
    x ^= BigInt.asUintN(64, x << 17n);
    this.#randomState = x;
    return x;
  }

  get current(): number {
    return this.#current;
  }

  /** Instructions carried out since power-on by all processors, up to this moment. */
  get executed(): number {
    return this.#running ? this.#executed + (this.processors[this.#current]?.executed ?? 0) : this.#executed;
  }

  setA20(enabled: boolean): void {
    for (const processor of this.processors) {
      processor.setA20(enabled);
    }
  }

  reset(): void {
    for (const processor of this.processors) {
      processor.reset();
    }
    this.#current = 0;
    this.#turn = 0;
  }

  tscOffset(cpu: number): bigint {
    return BigInt.asIntN(64, defined(this.processors[cpu], 'processor').state.u64(L.TSC_OFFSET));
  }

  enterProtected32(start: ProtectedModeStart): void {
    const { state, system } = defined(this.processors[0], 'processor');
    const { eax, ecx, edx, ebx, esp, ebp, esi, edi } = start.registers;
    for (const [index, value] of [eax, ecx, edx, ebx, esp, ebp, esi, edi].entries()) {
      state.setGpr(index, BigInt(value >>> 0));
    }
    const flat = L.ATTR_PRESENT | L.ATTR_S | L.ATTR_DB | L.ATTR_GRANULARITY | L.ATTR_ACCESSED | L.ATTR_WRITABLE;
    state.cs.assign(start.codeSelector, 0n, 0xffffffff, flat | L.ATTR_CODE);
    for (const segment of [state.ds, state.es, state.fs, state.gs, state.ss]) {
      segment.assign(start.dataSelector, 0n, 0xffffffff, flat);
    }
    state.setU64(L.GDTR, BigInt(start.gdt.base));
    state.setU32(L.GDTR + 8, start.gdt.limit);
    state.setU64(L.CR0, BigInt(L.CR0_PE | L.CR0_ET));
    state.rip = BigInt(start.eip);
    state.flags = 2;
    system.updateMode();
  }

  stopSoon(): void {
    this.#stop = true;
    if (this.#running) {
      this.processors[this.#current]?.stopSoon();
    }
  }

  run(until: Nanos): RunExit {
    const { nanosPerInstruction } = this.#timing;
    this.#stop = false;
    let budget =
      nanosPerInstruction === undefined
        ? this.#hostBudget(until)
        : Math.max(1, Math.ceil((until - this.#timing.now()) / nanosPerInstruction));
    // Outside virtual time a slice may end up to a block early.
    const enough = this.#timing.nanosPerInstruction === undefined ? MAX_BLOCK : 0;
    let idle = 0;
    while (budget > enough) {
      const index = this.#turn;
      const processor = defined(this.processors[index], 'processor');
      if (processor.isShutDown) {
        return { reason: 'shutdown', cpu: index };
      }
      if (!processor.runnable) {
        idle++;
        this.#turn = (index + 1) % this.count;
        if (idle >= this.count) {
          return { reason: 'halted' };
        }
        continue;
      }
      idle = 0;
      this.#current = index;
      this.#running = true;
      const fuel = this.count === 1 ? Math.min(budget, 0x3fffffff) : Math.min(budget, QUANTUM + enough);
      this.#turns?.begin(index);
      const before = nanosPerInstruction === undefined ? this.#timing.now() : 0;
      const done = processor.runSlice(fuel);
      this.#running = false;
      if (nanosPerInstruction === undefined) {
        const now = this.#timing.now();
        if (now > before && done > 0) {
          this.#instructionsPerNano += (done / (now - before) - this.#instructionsPerNano) / 8;
        }
        if (now >= until) {
          budget = 0;
        }
        this.#turns?.end(index, now - before, processor.runnable);
      } else {
        this.#turns?.end(index, done * nanosPerInstruction, processor.runnable);
      }
      this.#executed += done;
      budget -= done;
      this.#turn = (index + 1) % this.count;
      if (processor.isShutDown) {
        return { reason: 'shutdown', cpu: index };
      }
      if (this.#stop) {
        return { reason: 'kicked' };
      }
      if (done === 0 && !processor.runnable) {
        idle = 1;
      }
    }
    return { reason: 'deadline' };
  }

  dispose(): void {
    this.#store.dispose();
  }
}
