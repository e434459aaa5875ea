import type { Log } from '../../../base/log.ts';
import type { Clock } from '../../../clock/clock.ts';
import type { ApicDoor } from '../../../irq/apic-door.ts';
import type { EoiAssist } from '../../../irq/eoi-assist.ts';
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import type { CpuState } from '../cpu-state.ts';

/** What CPUID answers. */
export interface Leaf {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/**
 * An interface between guests and the hypervisor under them, found by CPUID and spoken by model-specific registers and
 * pages of guest memory. The same code serves every processor backend, so that a machine can be moved between them.
 */
export interface GuestInterface {
  /** Twelve letters in EBX, ECX and EDX of the first leaf. */
  readonly signature: readonly [ebx: number, ecx: number, edx: number];
  /** Leaves behind the first one. */
  readonly leafCount: number;
  /** Leaf `number`, from 1 on, as processor `cpu` reads it. */
  leaf(number: number, cpu: number): Leaf;
  ownsMsr(msr: number): boolean;
  /** Throws GuestFault for registers that cannot be read. */
  readMsr(state: CpuState, msr: number): bigint;
  /** Throws GuestFault for values that a register cannot hold, before it has changed anything. */
  writeMsr(state: CpuState, msr: number, value: bigint): void;
  /** The processor's time-stamp counter does not count from where it did. */
  tscMoved(state: CpuState): void;
  /** The processor and guest memory were restored; `load` and `reset` came before. Then comes `tscMoved`. */
  restored?(state: CpuState): void;
  /** Power-on reset of the machine; the registers in the processors' records are already cleared. */
  reset(): void;
}

/** What interfaces ask of the machine around them. */
export interface HypervisorHost {
  readonly memory: GuestMemory;
  /** Undefined: the local APICs have no such bits. */
  readonly eoiAssist: EoiAssist | undefined;
  /** Somebody tells for how long processors were kept from running (Hypervisor.stolen). */
  readonly countsStolenTime: boolean;
  readonly cpuCount: number;
  /** The width of guest-physical addresses. */
  readonly physicalAddressBits: number;
  /** The machine's; the guests' own clock follows the time-stamp counter, and may stray from it by a little. */
  readonly clock: Clock;
  readonly apics: ApicDoor;
  /** Whether an interrupt can be ended by its being taken, without an EOI: not in APICs that KVM has. */
  readonly hasAutoEoi: boolean;
  /** Processors are always run in software, one at a time: what they ask of each other by calls costs little. */
  readonly isSoftware: boolean;
  /** Of the time-stamp counters. */
  readonly tscFrequencyHz: number;
  /** Of the local APICs' timers. */
  readonly apicFrequencyHz: number;
  readonly log: Log;
  /** The counter that the processors' own offsets are added to. */
  timestamp(): bigint;
  /** What a processor's counter differs by from it, at this moment. */
  tscOffset(cpu: number): bigint;
  /**
   * Has processors forget how linear addresses are translated: those of `pages`, or all (undefined), global ones too or
   * not. It is done when this returns.
   */
  flushTranslations(cpus: readonly number[], pages: readonly bigint[] | undefined, includingGlobal: boolean): void;
  /** Calendar time: milliseconds since 1970-01-01T00:00:00Z. */
  epochMillis(): number;
}

/** Twelve letters as three registers. */
export function signatureOf(text: string): readonly [number, number, number] {
  const word = (at: number) =>
    [3, 2, 1, 0].reduce((value, i) => value * 256 + (at + i < text.length ? text.charCodeAt(at + i) : 0), 0);
  return [word(0), word(4), word(8)];
}
