import type { LocalApicState } from './local-apic.ts';

/**
 * Local APICs of a processor backend that stand in for the machine's own while those are lent to it: KVM's, inside the
 * kernel. Messages go there; whoever needs a register here brings all of them back first.
 */
export interface ApicBorrower {
  /** See ApicMessages. */
  deliver(destination: number, logical: boolean, mode: number, vector: number, level: boolean): void;
  /** The 8259s' INTR has changed. */
  picRequestChanged(): void;
  /** LendableApics.levelEntries answers something else. */
  levelEntriesChanged(): void;
  /** IA32_APIC_BASE of a processor. */
  apicBase(cpu: number): bigint;
  /** Stops its APICs, and hands every processor's state to LendableApics.setState. */
  giveBack(): void;
}

/** A level-triggered redirection entry: what the I/O APIC wants to hear EOIs of. */
export interface LevelEntry {
  readonly pin: number;
  readonly destination: number;
  readonly logical: boolean;
  /** Fixed or lowest priority. */
  readonly mode: number;
  readonly vector: number;
}

/** The machine's local APICs as a processor backend borrows them. */
export interface LendableApics {
  /** Somebody has them. */
  readonly lent: boolean;
  /** The 8259s' INTR. */
  readonly picRequest: boolean;
  /** Hands them over, with the state that `state` gives before. */
  lend(to: ApicBorrower): void;
  /** Brings them back, if they are lent. */
  recall(): void;
  state(cpu: number): LocalApicState;
  setState(cpu: number, state: LocalApicState): void;
  /** All states were set. */
  settle(): void;
  /** INTA of the 8259 pair. */
  acknowledgePic(): number;
  levelEntries(): readonly LevelEntry[];
  endOfInterrupt(vector: number): void;
}
