import type { KvmVm } from '../../../native/index.ts';
import { PIC_TIMER_LINE } from '../../irq/isa-interrupts.ts';
import type { LendableChips, LineBorrower } from '../../irq/lent-apics.ts';
import {
  emptyPage,
  ioApicPage,
  ioApicState,
  ioApicTimerMasked,
  picPage,
  picRequests,
  picState,
  picTimerMasked,
  picTimerRequests,
  RTE_MASKED,
} from './chip-pages.ts';
import * as K from './kvm-abi.ts';
import { isSameTimer, type PitMove, phase, pitCounters, pitPage, timerActivity } from './pit-page.ts';

const GSIS = 24;
/** The line of the timer, shared with GSI 2: a pin of the I/O APIC. */
const TIMER_PIN = 2;
/** A count of the 8254 that begins with 0, the longest, takes 54.9 ms. */
const LONGEST_COUNT = 0x10000;
const LONGEST_COUNT_NANOS = 55_000_000n;
/** Ticks a second of KVM's 8254. */
const KVM_PIT_FREQUENCY = 1_193_181;
/** A machine that waits outside KVM for a tick is back so long before it, and no wait is worth it that is shorter. */
const EARLY_NANOS = 1_000_000;
const SHORT_PERIOD_NANOS = 4_000_000;

/**
 * The 8259s, the I/O APIC and the 8254 with port 0x61 inside KVM. They are borrowed and given back together with the local
 * APICs (KvmApics): `begin`, then those, then `finish`; `stop`, then those, then `giveBack`.
 */
export class KvmChips implements LineBorrower {
  readonly #vm: KvmVm;
  readonly #chips: LendableChips;
  readonly #monotonic: () => bigint;
  /** The lines that KVM was told to be asserted, as bits. */
  #told = 0;
  /** The controllers as they are about to be KVM's. */
  #pages: readonly Uint8Array[] = [];
  #toSet: Uint8Array = new Uint8Array(K.PIT_STATE_BYTES);
  #move: PitMove | undefined;
  /** When KVM was told its counters last; whether counter 0 has counted since, as far as is known. */
  #setAt = 0n;
  #isAnchored = false;
  /** Until when counter 0 was expected to be silent. */
  #silentUntil: number | undefined;
  /** The 8254 as it was when it stopped. */
  #stopped: Uint8Array = new Uint8Array(K.PIT_STATE_BYTES);
  /** Ticks of the oscillator that counter 0 has counted and KVM has forgotten. */
  #owed = 0;
  /** A single count of the longest kind as it was seen first. */
  #onceSince: { readonly page: Uint8Array; readonly at: bigint } | undefined;

  /** Before any processor is made. */
  static prepare(vm: KvmVm): void {
    vm.createIrqchip();
    vm.createPit(K.KVM_PIT_SPEAKER_DUMMY);
    vm.setGsiRouting(routes());
  }

  /** `monotonic` is the host's CLOCK_MONOTONIC in nanoseconds, by which KVM's 8254 counts. */
  constructor(vm: KvmVm, chips: LendableChips, monotonic: () => bigint = () => process.hrtime.bigint()) {
    this.#vm = vm;
    this.#chips = chips;
    this.#monotonic = monotonic;
    this.#setPit(new Uint8Array(K.PIT_STATE_BYTES), K.KVM_PIT_FLAGS_HPET_LEGACY);
  }

  // ── Lines ──

  setLine(line: number, asserted: boolean): void {
    this.#told = asserted ? this.#told | (1 << line) : this.#told & ~(1 << line);
    this.#vm.setIrqLine(line, asserted);
  }

  // ── Borrowing ──

  /** Takes over what the devices have, and brings the lines up to date while nothing can follow from them. */
  begin(): void {
    const { pit, pic, ioApic } = this.#chips;
    const tick = pit.tick();
    const { counters, speakerData } = pit.hand();
    this.#toSet = pitPage(counters, tick, this.#pitFlags(speakerData));
    this.#move = { counters, tick, page: this.#toSet };
    const { master, slave } = pic.save();
    const state = ioApic.save();
    this.#pages = [picPage(slave, false), picPage(master, true), ioApicPage(state)];
    const { levels } = state;
    const { lines } = master;
    this.#vm.set('irqchip', ioApicPage({ ...state, levels: 0, low: state.low.map((low) => low | RTE_MASKED) }));
    for (let line = 0; line <= PIC_TIMER_LINE; line++) {
      const asserted = (line === PIC_TIMER_LINE ? lines & 1 : levels & (1 << line)) !== 0;
      // Line 0 is KVM's own timer's.
      if (line !== 0 && asserted !== ((this.#told & (1 << line)) !== 0)) {
        this.setLine(line, asserted);
      }
    }
  }

  /** Sets everything going. The local APICs are in force: what is pending is sent to them. */
  finish(): void {
    const vm = this.#vm;
    for (const page of this.#pages) {
      vm.set('irqchip', page);
    }
    const move = this.#move;
    if (move === undefined) {
      return;
    }
    this.#start(move, this.#toSet);
    const isNewTimer = !isSameTimer(this.#toSet, this.#stopped);
    this.#onceSince = undefined;
    this.#payTicks(isNewTimer, this.#chips.pit.isReplaced);
  }

  /**
   * KVM begins periods of counter 0 from their start. What was over of one is owed, so that a machine that moves to and fro
   * within a period has its ticks all the same.
   */
  #payTicks(isNewTimer: boolean, isReplaced: boolean): void {
    const [counter] = this.#move?.counters ?? [];
    if (counter === undefined || isReplaced) {
      this.#owed = 0;
      return;
    }
    this.#owed = (isNewTimer ? 0 : this.#owed) + phase(counter, this.#move?.tick ?? 0);
    if (counter.count > 0 && this.#owed >= counter.count) {
      this.#owed %= counter.count;
      for (const line of [PIC_TIMER_LINE, TIMER_PIN]) {
        if ((this.#told & (1 << line)) === 0) {
          this.setLine(line, true);
          this.setLine(line, false);
        }
      }
    }
  }

  /** Stops the 8254: nothing comes of time in KVM from here on. The processors stand still. */
  stop(): void {
    const page = new Uint8Array(K.PIT_STATE_BYTES);
    this.#vm.get('pit2', page);
    this.#stopped = page;
    this.#setPit(page, K.KVM_PIT_FLAGS_HPET_LEGACY);
  }

  /** Hands the devices what KVM has made of their states. */
  giveBack(): void {
    const { pic, ioApic, pit } = this.#chips;
    pic.load(picState(this.#read(K.KVM_IRQCHIP_PIC_MASTER), this.#read(K.KVM_IRQCHIP_PIC_SLAVE), pic.save()));
    ioApic.load(ioApicState(this.#read(K.KVM_IRQCHIP_IOAPIC), ioApic.save().levels));
    const move = this.#move;
    if (move !== undefined) {
      const flags = new DataView(this.#stopped.buffer).getUint32(K.PIT_FLAGS, true);
      const counters = pitCounters(this.#stopped, move, pit.tick(), this.#monotonic());
      pit.take(counters, (flags & K.KVM_PIT_FLAGS_SPEAKER_DATA_ON) !== 0);
    }
    this.#move = undefined;
  }

  // ── Waiting ──

  /**
   * How many nanoseconds these leave a halted processor alone; 0: none, or KVM does not tell. `acceptsPic`: the processor's
   * local APIC lets the 8259s' requests pass. The processors stand still.
   */
  silentFor(acceptsPic: boolean): number {
    const master = this.#read(K.KVM_IRQCHIP_PIC_MASTER);
    if (acceptsPic && picRequests(master)) {
      return 0;
    }
    const page = new Uint8Array(K.PIT_STATE_BYTES);
    this.#vm.get('pit2', page);
    const activity = timerActivity(page);
    const throughPic = acceptsPic && !picTimerMasked(master);
    if (activity.kind === 'none' || (!throughPic && ioApicTimerMasked(this.#read(K.KVM_IRQCHIP_IOAPIC)))) {
      return Number.POSITIVE_INFINITY;
    }
    const { kind, count } = activity;
    const isKnown = this.#isAnchored && this.#move !== undefined && isSameTimer(page, this.#move.page);
    const periodNanos = (count * 1e9) / KVM_PIT_FREQUENCY;
    if (kind === 'once') {
      const left = periodNanos - (isKnown ? this.#nanosSinceSet() : 0);
      if (isKnown) {
        return left > EARLY_NANOS ? left - EARLY_NANOS : left > -EARLY_NANOS ? 0 : Number.POSITIVE_INFINITY;
      }
      return count === LONGEST_COUNT && this.#isOver(page) ? Number.POSITIVE_INFINITY : 0;
    }
    if (periodNanos < SHORT_PERIOD_NANOS) {
      return 0;
    }
    if (!isKnown) {
      this.#anchor(page);
    }
    const left = periodNanos - (this.#nanosSinceSet() % periodNanos) - EARLY_NANOS;
    this.#silentUntil = throughPic && left > 0 ? Number(this.#monotonic()) + left : undefined;
    return Math.max(0, left);
  }

  /** The processors go on after a wait. A tick that has come too early was not the one that was expected. */
  waited(): void {
    if (this.#silentUntil !== undefined) {
      const isEarly = Number(this.#monotonic()) < this.#silentUntil + EARLY_NANOS / 2;
      this.#silentUntil = undefined;
      this.#isAnchored &&= !(isEarly && picTimerRequests(this.#read(K.KVM_IRQCHIP_PIC_MASTER)));
    }
  }

  /**
   * Has counter 0 begin anew, so that it is known when it ticks. That is done once after a guest has programmed it, which
   * then waits for a tick longer than it should, by a period at most.
   */
  #anchor(page: Uint8Array): void {
    const move = this.#move;
    if (move !== undefined) {
      const tick = this.#chips.pit.tick();
      const counters = pitCounters(page, move, tick, this.#monotonic());
      const flags = new DataView(page.buffer).getUint32(K.PIT_FLAGS, true);
      this.#start({ ...move, counters, tick }, pitPage(counters, tick, flags));
    }
  }

  /** Tells KVM of counters, which begin to count. */
  #start(move: Omit<PitMove, 'page'>, asSet: Uint8Array): void {
    this.#vm.set('pit2', asSet);
    this.#setAt = this.#monotonic();
    this.#isAnchored = true;
    this.#silentUntil = undefined;
    const page = new Uint8Array(K.PIT_STATE_BYTES);
    this.#vm.get('pit2', page);
    this.#move = { ...move, page };
  }

  #nanosSinceSet(): number {
    return Number(this.#monotonic() - this.#setAt);
  }

  /** Whether a single count of the longest kind, which is how systems put the timer to rest, is over. */
  #isOver(page: Uint8Array): boolean {
    const now = this.#monotonic();
    if (this.#onceSince === undefined || !isSameTimer(page, this.#onceSince.page)) {
      this.#onceSince = { page, at: now };
    }
    return now - this.#onceSince.at > LONGEST_COUNT_NANOS;
  }

  // ── KVM ──

  #pitFlags(speakerData: boolean): number {
    return (
      (this.#chips.pit.isReplaced ? K.KVM_PIT_FLAGS_HPET_LEGACY : 0) |
      (speakerData ? K.KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0)
    );
  }

  #setPit(page: Uint8Array, flags: number): void {
    const changed = page.slice();
    new DataView(changed.buffer).setUint32(K.PIT_FLAGS, flags, true);
    this.#vm.set('pit2', changed);
  }

  #read(chip: number): Uint8Array {
    const page = emptyPage(chip);
    this.#vm.get('irqchip', page);
    return page;
  }
}

/**
 * Lines as the tables of the firmware tell them: an ISA interrupt reaches the 8259s and the pin of its number, interrupt 0
 * pin 2. GSI 0 is what KVM's timer raises, and comes last: KVM asks for its end by the route that was told last for a pin.
 */
function routes(): Uint32Array {
  const words: number[] = [];
  const add = (gsi: number, chip: number, pin: number) => words.push(gsi, K.KVM_IRQ_ROUTING_IRQCHIP, chip, pin, 0);
  for (let gsi = 1; gsi < GSIS; gsi++) {
    if (gsi < 16 && gsi !== TIMER_PIN) {
      add(gsi, gsi < 8 ? K.KVM_IRQCHIP_PIC_MASTER : K.KVM_IRQCHIP_PIC_SLAVE, gsi & 7);
    }
    add(gsi, K.KVM_IRQCHIP_IOAPIC, gsi);
  }
  add(PIC_TIMER_LINE, K.KVM_IRQCHIP_PIC_MASTER, 0);
  add(0, K.KVM_IRQCHIP_PIC_MASTER, 0);
  add(0, K.KVM_IRQCHIP_IOAPIC, TIMER_PIN);
  return Uint32Array.from(words);
}
