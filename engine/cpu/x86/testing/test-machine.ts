import { silentLog } from '../../../base/log.ts';
import type { AccessSize } from '../../../bus/bus.ts';
import { createArena } from '../../../memory/arena.ts';
import { MachineMemory } from '../../../memory/machine-memory.ts';
import type { CpuBus, RunExit } from '../../cpu-backend.ts';
import type { JitOptions } from '../../software/jit/jit.ts';
import type { Processor } from '../../software/processor.ts';
import { SoftwareCpus } from '../../software/software-cpus.ts';
import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';

const FLAT = L.ATTR_PRESENT | L.ATTR_S | L.ATTR_GRANULARITY | L.ATTR_ACCESSED | L.ATTR_WRITABLE;
const PRESENT_WRITABLE_USER = 7;
const LARGE = 0x80;

/** A bus with nothing behind it that remembers what was asked of it. */
export class RecordingBus implements CpuBus {
  readonly accesses: string[] = [];
  /** What the next INTA answers. */
  vector = 0x20;
  onAccess: () => void = () => {};

  readPort(port: number, size: AccessSize): number {
    this.accesses.push(`in ${port.toString(16)} ${size}`);
    this.onAccess();
    return size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff;
  }
  writePort(port: number, size: AccessSize, value: number): void {
    this.accesses.push(`out ${port.toString(16)} ${size} ${value.toString(16)}`);
    this.onAccess();
  }
  readMmio(address: number, size: AccessSize): number {
    this.accesses.push(`read ${address.toString(16)} ${size}`);
    this.onAccess();
    return size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff;
  }
  writeMmio(address: number, size: AccessSize, value: number): void {
    this.accesses.push(`write ${address.toString(16)} ${size} ${value.toString(16)}`);
    this.onAccess();
  }
  acknowledge(): number {
    return this.vector;
  }
  tpr(): number {
    return 0;
  }
  setTpr(): void {}
  readApicMsr(): bigint | undefined {
    return undefined;
  }
  writeApicMsr(): boolean {
    return false;
  }
  tscChanged(): void {}
}

export interface TestMachineOptions {
  readonly ramBytes?: number;
  readonly count?: number;
  readonly jit?: JitOptions;
  /** Time does not depend on what has been executed. */
  readonly hostTime?: boolean;
}

/** One or more software processors with plain memory and nothing else, in virtual time of 1 ns per instruction. */
export class TestMachine {
  readonly memory: MachineMemory;
  readonly bus = new RecordingBus();
  readonly cpus: SoftwareCpus;
  readonly cpu: Processor;
  readonly state: CpuState;
  time = 0;

  constructor(options: TestMachineOptions = {}) {
    const ramBytes = options.ramBytes ?? 4 << 20;
    this.memory = new MachineMemory(createArena(ramBytes), ramBytes);
    this.memory.mapRam(0, ramBytes);
    this.cpus = new SoftwareCpus({
      count: options.count ?? 1,
      jit: options.jit,
      memory: this.memory,
      bus: this.bus,
      timing: {
        now: () => this.time,
        nanosPerInstruction: options.hostTime ? undefined : 1,
        tscFrequencyHz: 1e9,
        timestamp: () => BigInt(this.time),
      },
      log: silentLog,
    });
    const [cpu] = this.cpus.processors;
    if (cpu === undefined) {
      throw new Error('no processor');
    }
    this.cpu = cpu;
    this.state = cpu.state;
  }

  /** Writes bytes into guest-physical memory. */
  write(address: number, bytes: Uint8Array | readonly number[]): void {
    this.memory.write(address, bytes instanceof Uint8Array ? bytes : Uint8Array.from(bytes));
  }

  read(address: number, length: number): Uint8Array {
    const into = new Uint8Array(length);
    this.memory.read(address, into);
    return into;
  }

  #flat(code: number): void {
    const { state } = this;
    state.cs.assign(8, 0n, 0xffffffff, FLAT | L.ATTR_CODE | code);
    for (const segment of [state.ds, state.es, state.ss, state.fs, state.gs]) {
      segment.assign(16, 0n, 0xffffffff, FLAT | L.ATTR_DB);
    }
    state.flags = 2;
    for (let i = 0; i < 16; i++) {
      state.setGpr(i, 0n);
    }
  }

  /** 64-bit mode at CPL 0 with every address of the first 4 GiB mapped to itself in 2-MiB pages; tables at `tables`. */
  enterLong(tables = 0x1000): void {
    const { memory, state } = this;
    const put = (address: number, value: number) => {
      memory.writeU32(address, value);
      memory.writeU32(address + 4, 0);
    };
    put(tables, (tables + 0x1000) | PRESENT_WRITABLE_USER);
    for (let i = 0; i < 4; i++) {
      const directory = tables + 0x2000 + i * 0x1000;
      put(tables + 0x1000 + i * 8, directory | PRESENT_WRITABLE_USER);
      for (let j = 0; j < 512; j++) {
        put(directory + j * 8, ((i << 30) | (j << 21) | LARGE | PRESENT_WRITABLE_USER) >>> 0);
      }
    }
    this.#flat(L.ATTR_LONG);
    state.setU64(L.CR3, BigInt(tables));
    state.setU64(L.CR4, BigInt(L.CR4_PAE | L.CR4_OSFXSR | L.CR4_OSXMMEXCPT));
    state.setU64(L.EFER, BigInt(L.EFER_LME | L.EFER_LMA | L.EFER_NXE | L.EFER_SCE));
    state.setU64(L.CR0, BigInt((L.CR0_PE | L.CR0_PG | L.CR0_NE | L.CR0_MP | L.CR0_WP | L.CR0_ET) >>> 0));
    this.update();
  }

  /** Flat 32-bit protected mode at CPL 0 without paging. */
  enterProtected(): void {
    const { state } = this;
    this.#flat(L.ATTR_DB);
    state.setU64(L.CR4, BigInt(L.CR4_OSFXSR | L.CR4_OSXMMEXCPT));
    state.setU64(L.CR0, BigInt(L.CR0_PE | L.CR0_NE | L.CR0_MP | L.CR0_ET));
    this.update();
  }

  /** Real mode as after power-on, with all segments at 0. */
  enterReal(): void {
    const { state } = this;
    this.cpus.reset();
    for (const segment of [state.cs, state.ds, state.es, state.ss, state.fs, state.gs]) {
      segment.selector = 0;
      segment.base = 0n;
    }
    this.update();
  }

  /** After the segments or control registers were changed by hand. */
  update(): void {
    this.cpu.system.restoreMode();
    this.cpu.translation.flush(true);
    this.cpu.translation.select();
  }

  /** Sets the privilege level of the present mode. */
  setCpl(cpl: number): void {
    const { state } = this;
    for (const segment of [state.cs, state.ss]) {
      segment.attributes = (segment.attributes & ~(3 << L.ATTR_DPL_SHIFT)) | (cpl << L.ATTR_DPL_SHIFT);
      segment.selector = (segment.selector & ~3) | cpl;
    }
    this.update();
  }

  /** Puts code at `address`, sets RIP to it and runs up to `instructions`. */
  runCode(address: number, code: Uint8Array | readonly number[], instructions: number): RunExit {
    this.write(address, code);
    this.state.rip = BigInt(address);
    return this.run(instructions);
  }

  run(instructions: number): RunExit {
    const exit = this.cpus.run(this.time + instructions);
    return exit;
  }
}
