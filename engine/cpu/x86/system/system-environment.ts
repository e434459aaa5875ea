import type { Log } from '../../../base/log.ts';
import type { Hypervisor } from '../hypervisor/hypervisor.ts';

/** What the privileged half of a processor asks of the machine around it. */
export interface SystemEnvironment {
  /** Number of processors in the machine, for CPUID's topology. */
  readonly cpuCount: number;
  /** MAXPHYADDR: physical addresses above it are reserved in CR3 and page tables. */
  readonly maxPhysicalAddressBits: number;
  /** Frequency of {@link timestamp}, in Hz; a multiple of 1 MHz. */
  readonly tscFrequencyHz: number;
  readonly log: Log;
  /** What guests are told of the hypervisor they run on; undefined: that there is one, and nothing else. */
  readonly hypervisor?: Hypervisor | undefined;
  /**
   * Forget translations: all of them, or all but global ones. Called after CR0.PG/WP, CR3, CR4 and EFER.NXE changes and
   * by task switches. MOV CR3 with bit 63 (keep the PCID's entries) also calls it: entries are not tagged with PCIDs.
   */
  flushTlb(includingGlobal: boolean): void;
  /** Forget the translation of the page that holds this linear address, global or not. */
  invalidatePage(address: bigint): void;
  /** The raw time-stamp counter, the same for all processors; the guest sees it plus TSC_OFFSET. */
  timestamp(): bigint;
  /** A guest wrote its time-stamp counter. */
  tscChanged?(): void;
  /** Task priority, 0 … 15, as CR8 shows it. */
  tpr(): number;
  setTpr(value: number): void;
  /** IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC registers. Undefined: #GP(0). */
  readApicMsr(msr: number): bigint | undefined;
  /** False: #GP(0). */
  writeApicMsr(msr: number, value: bigint): boolean;
  /** Reads guest-physical memory as page walks do, under the A20 mask: the PAE page-directory pointers. */
  readPhysical32(address: number): number;
  /**
   * MODE or RFLAGS.AC may have changed: choose the TLB in force (DTLB, ITLB) and stop decoding under the old mode.
   * Called at the end of every {@link System.updateMode}, so it should be cheap.
   */
  modeChanged(): void;
  /** DR7 or a breakpoint address changed: see {@link System.codeBreakpointsArmed}. */
  debugChanged(): void;
}
