import type { Disposable } from '../base/disposable.ts';
import type { AccessSize } from '../bus/bus.ts';
import type { Doorbells } from '../bus/doorbells.ts';
import type { Nanos } from '../clock/clock.ts';
import type { ApicDoor } from '../irq/apic-door.ts';
import type { CpuSignals } from '../irq/cpu-signals.ts';
import type { EoiAssist } from '../irq/eoi-assist.ts';
import type { LendableApics } from '../irq/lent-apics.ts';
import type { DirtyRam } from './dirty-ram.ts';

/** Why a CPU backend came back. */
export type RunExit =
  /** The deadline, or the end of a slice near it, was reached. */
  | { readonly reason: 'deadline' }
  /** Someone asked for it. */
  | { readonly reason: 'kicked' }
  /** Every processor waits for an interrupt. At `until` at the latest they want to run again; undefined: no matter. */
  | { readonly reason: 'halted'; readonly until?: Nanos }
  /** A processor shut down (triple fault). */
  | { readonly reason: 'shutdown'; readonly cpu: number };

/** What processors ask of the machine around them. All calls are synchronous and happen in the machine thread. */
export interface CpuBus {
  readPort(port: number, size: AccessSize): number;
  writePort(port: number, size: AccessSize, value: number): void;
  /** Physical accesses outside plain memory. */
  readMmio(address: number, size: AccessSize): number;
  writeMmio(address: number, size: AccessSize, value: number): void;
  /** INTA. */
  acknowledge(cpu: number): number;
  tpr(cpu: number): number;
  setTpr(cpu: number, value: number): void;
  readApicMsr(cpu: number, msr: number): bigint | undefined;
  writeApicMsr(cpu: number, msr: number, value: bigint): boolean;
  /** A guest wrote its time-stamp counter: deadlines counted in it move. */
  tscChanged(cpu: number): void;
  /**
   * Device memory whose writes may come a little later, though in their order and before any other access to devices:
   * that of the display adapter.
   */
  readonly lateWrites?: readonly { readonly base: number; readonly length: number }[];
  /** The same for ports that only remember what was written to them: index registers and the one for POST codes. */
  readonly latePorts?: readonly number[];
  /** Writes that a backend may take notice of without stopping a processor. */
  readonly doorbells?: Doorbells;
  /** The local APICs, for a backend that can have them itself. */
  readonly localApics?: LendableApics;
  /** The bits of guest memory by which the local APICs' EOIs can be left out. */
  readonly eoiAssist?: EoiAssist;
  /** Other ways of guests to their local APICs than the processor's own. */
  readonly apicDoor?: ApicDoor;
}

/** Registers with which a directly booted kernel is entered. */
export interface ProtectedModeStart {
  readonly eip: number;
  readonly registers: {
    readonly eax: number;
    readonly ebx: number;
    readonly ecx: number;
    readonly edx: number;
    readonly esi: number;
    readonly edi: number;
    readonly ebp: number;
    readonly esp: number;
  };
  readonly gdt: { readonly base: number; readonly limit: number };
  readonly codeSelector: number;
  readonly dataSelector: number;
}

/** Processors of a machine, by whatever means they run. */
export interface CpuBackend extends Disposable {
  readonly kind: 'kvm' | 'software';
  readonly count: number;
  /** The processor whose access is being carried out, for devices that belong to one (the local APIC). */
  readonly current: number;
  readonly signals: CpuSignals;
  /** Runs until about `until`, or an exit. */
  run(until: Nanos): RunExit;
  /** Makes a running `run` come back after the present instruction. Callable from within device accesses. */
  stopSoon(): void;
  /** Power-on reset of all processors. */
  reset(): void;
  /** Opens or masks address line 20. */
  setA20(enabled: boolean): void;
  /** What processor `cpu` adds to the machine's time-stamp counter. */
  tscOffset(cpu: number): bigint;
  /** After a reset: starts the first processor in flat 32-bit protected mode instead of at the reset vector. */
  enterProtected32(start: ProtectedModeStart): void;
}

/** The processors as the board knows them: whichever backend runs them at the moment. */
export interface MachineCpus extends CpuBackend {
  /** Pages of RAM written since they were asked for last. */
  readonly dirtyRam: DirtyRam;
  /** The machine's time at which the time-stamp counter of processor `cpu` reaches `tsc`; may be in the past. */
  tscToNanos(tsc: bigint, cpu: number): Nanos;
  /** Brings what guests wrote to tracked pages into the map of dirty pages (engine/memory). */
  collectDirty(): void;
}
