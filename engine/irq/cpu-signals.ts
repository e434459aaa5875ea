/**
 * What interrupt controllers tell processors. `cpu` is the processor's index (0: the bootstrap processor). Every call
 * only records the event; the processor acts on it at its next instruction boundary.
 */
export interface CpuSignals {
  /** The level of INTR: while pending, {@link InterruptAcknowledge.acknowledge} would return a vector now. */
  setInterruptRequest(cpu: number, pending: boolean): void;
  /** An edge at NMI. */
  nmi(cpu: number): void;
  /** INIT: the processor resets to its wait-for-SIPI state (bootstrap processor: to the reset vector). */
  init(cpu: number): void;
  /** Start-up IPI: a processor that waits for it starts at `vector << 12`; others ignore it. */
  startup(cpu: number, vector: number): void;
  smi(cpu: number): void;
}

/** What a processor asks of its interrupt controllers. */
export interface InterruptAcknowledge {
  /** INTA: takes the highest-priority interrupt and returns its vector. Called only while INTR is high and accepted. */
  acknowledge(cpu: number): number;
  /** The task priority as CR8 shows it: 0 … 15. */
  tpr(cpu: number): number;
  /** A write to CR8: `value` is 0 … 15. */
  setTpr(cpu: number, value: number): void;
  /**
   * RDMSR of IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0) or an x2APIC register (0x800 … 0x83f).
   * Undefined: the processor raises #GP(0).
   */
  readApicMsr(cpu: number, msr: number): bigint | undefined;
  /** WRMSR of the same registers. False: the processor raises #GP(0). */
  writeApicMsr(cpu: number, msr: number, value: bigint): boolean;
}

/** Processors that nobody built: for tests and for machines that are being put together. */
export const unconnectedCpus: CpuSignals = {
  setInterruptRequest() {},
  nmi() {},
  init() {},
  startup() {},
  smi() {},
};
