import type { IoApicState } from './io-apic.ts';
import type { LocalApicState } from './local-apic.ts';
import type { PicState } from './pic.ts';

/** Where interrupt lines go while somebody else has the 8259s and the I/O APIC. */
export interface LineBorrower {
  /** A line has another level. `line` is a global system interrupt, or PIC_TIMER_LINE (isa-interrupts.ts). */
  setLine(line: number, asserted: boolean): void;
}

/** A device whose record others carry on. While it is lent, whoever looks at it has it brought back first. */
export interface LendableDevice<S> {
  save(): S;
  load(state: S): void;
}

/** One counter of the 8254 as others carry it on. Times are ticks of its oscillator since power-on. */
export interface LentCounter {
  readonly mode: number;
  readonly bcd: boolean;
  readonly access: number;
  readonly gate: boolean;
  readonly count: number;
  readonly running: boolean;
  readonly start: number;
  readonly held: number | undefined;
  readonly next: number;
  readonly nextAt: number;
  readonly writeLow: number | undefined;
  readonly readHigh: boolean;
  readonly latch: number | undefined;
  readonly latchBytesLeft: number;
  readonly latchedStatus: number | undefined;
}

/** The 8254 with what port 0x61 shows of it. */
export interface LendablePit {
  /** The present tick of the oscillator. */
  tick(): number;
  /** Whether the HPET stands in for counter 0 (IA-PC HPET 1.0a, 2.4.6.1), which interrupts nobody then. */
  readonly isReplaced: boolean;
  /** The counters, which stop working here, and the speaker's data bit. The interrupt line drops. */
  hand(): { readonly counters: readonly LentCounter[]; readonly speakerData: boolean };
  /** They work here again, from these states on. */
  take(counters: readonly LentCounter[], speakerData: boolean): void;
}

/** What a machine can lend besides its local APICs. */
export interface LendableChips {
  readonly pic: LendableDevice<PicState>;
  readonly ioApic: LendableDevice<IoApicState>;
  readonly pit: LendablePit;
}

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
  /** Present where it has the 8259s, the I/O APIC and the 8254 as well. */
  readonly lines?: LineBorrower | undefined;
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
  /** What can be borrowed together with them. */
  readonly chips: LendableChips | undefined;
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
