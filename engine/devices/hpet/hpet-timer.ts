import type { Alarm, Clock } from '../../clock/clock.ts';
import type { StateReader } from '../state.ts';

/** Low half of a timer's configuration and capability register (IA-PC HPET 1.0a, 2.3.8). */
export const TN_LEVEL = 1 << 1;
export const TN_ENABLE = 1 << 2;
export const TN_PERIODIC = 1 << 3;
const TN_PERIODIC_CAPABLE = 1 << 4;
const TN_SIZE_CAPABLE = 1 << 5;
const TN_VALUE_SET = 1 << 6;
const TN_32_BIT = 1 << 8;
export const TN_ROUTE_SHIFT = 9;
const TN_ROUTE = 0x1f << TN_ROUTE_SHIFT;
const TN_WRITABLE = TN_LEVEL | TN_ENABLE | TN_PERIODIC | TN_VALUE_SET | TN_32_BIT | TN_ROUTE;
const TN_CAPABILITIES = TN_PERIODIC_CAPABLE | TN_SIZE_CAPABLE;

const TWO_32 = 0x1_0000_0000;
/** The main counter advances once in this many nanoseconds. */
export const TICK_NANOS = 10;
/** Periodic interrupts closer than 20 µs are merged: no guest could serve them. */
const SHORTEST_PERIOD_TICKS = 20_000 / TICK_NANOS;
/** Nothing is scheduled further ahead than this (104 days are the end of the clock). */
const FARTHEST_TICKS = 2 ** 49;

/**
 * The main counter as its timers see it. Its 64 bits are asked for at one given moment, so that the time that passes
 * between two questions never makes a comparator that lies just ahead look like one that lies behind.
 */
export interface MainCounter {
  readonly enabled: boolean;
  /** Ticks of the oscillator since power-on. */
  ticks(): number;
  low(ticks: number): number;
  high(ticks: number): number;
}

/**
 * One comparator. 64-bit registers are pairs of uint32. `match` is called when it reaches the main counter, unless that
 * would show nowhere: an edge-triggered timer whose interrupts are off wakes nobody, and its comparator moves on when it
 * is looked at. (Linux leaves its periodic timer so, and the counter's low half comes round to it after 43 seconds.)
 */
export class HpetTimer {
  readonly #counter: MainCounter;
  readonly #clock: Clock;
  readonly #alarm: Alarm;
  readonly #match: () => void;
  readonly routes: number;
  configuration = TN_CAPABILITIES;
  #comparatorLow = 0xffffffff;
  #comparatorHigh = 0xffffffff;
  /** Ticks of the oscillator at which counter and comparator meet next; undefined: never. */
  #due: number | undefined;
  #periodLow = 0;
  #periodHigh = 0;
  /** The low half has just been written with VAL_SET: the high half belongs to the same 64-bit write. */
  #setHigh = false;

  /** `routes`: bit n set means that interrupt n of the I/O APIC can be chosen. */
  constructor(counter: MainCounter, clock: Clock, routes: number, match: () => void) {
    this.#counter = counter;
    this.#clock = clock;
    this.routes = routes >>> 0;
    this.#match = match;
    this.#alarm = clock.createAlarm(() => this.#fire());
  }

  get periodic(): boolean {
    return (this.configuration & TN_PERIODIC) !== 0;
  }

  get is32Bit(): boolean {
    return (this.configuration & TN_32_BIT) !== 0;
  }

  get interruptEnabled(): boolean {
    return (this.configuration & TN_ENABLE) !== 0;
  }

  get levelTriggered(): boolean {
    return (this.configuration & TN_LEVEL) !== 0;
  }

  get route(): number {
    return (this.configuration & TN_ROUTE) >>> TN_ROUTE_SHIFT;
  }

  get comparatorLow(): number {
    this.settle();
    return this.#comparatorLow;
  }

  get comparatorHigh(): number {
    this.settle();
    return this.#comparatorHigh;
  }

  writeConfiguration(value: number): void {
    this.settle();
    let route = (value & TN_ROUTE) >>> TN_ROUTE_SHIFT;
    if ((this.routes & (1 << route)) === 0) {
      // An unsupported route reads back as it was (2.3.8, Tn_INT_ROUTE_CNF).
      route = this.route;
    }
    this.configuration = (value & TN_WRITABLE & ~TN_ROUTE) | (route << TN_ROUTE_SHIFT) | TN_CAPABILITIES;
    this.#setHigh = false;
    if (this.is32Bit) {
      this.#comparatorHigh = 0;
      this.#periodHigh = 0;
    }
    this.schedule();
  }

  /** In periodic mode a write sets the period, and with VAL_SET the comparator too (2.3.9.2.2). */
  writeComparatorLow(value: number): void {
    this.settle();
    const set = (this.configuration & TN_VALUE_SET) !== 0;
    if (!this.periodic || set) {
      this.#comparatorLow = value;
    }
    if (this.periodic) {
      this.#periodLow = value;
    }
    this.#setHigh = set;
    this.configuration &= ~TN_VALUE_SET;
    this.schedule();
  }

  writeComparatorHigh(value: number): void {
    if (this.is32Bit) {
      return;
    }
    this.settle();
    if (!this.periodic || this.#setHigh || (this.configuration & TN_VALUE_SET) !== 0) {
      this.#comparatorHigh = value;
    }
    if (this.periodic) {
      this.#periodHigh = value;
    }
    this.#setHigh = false;
    this.configuration &= ~TN_VALUE_SET;
    this.schedule();
  }

  /** Ticks from the counter's value to the comparator's, modulo their width. */
  #ahead(ticks: number): number {
    return this.#difference(
      this.#comparatorLow - this.#counter.low(ticks),
      this.#comparatorHigh - this.#counter.high(ticks),
    );
  }

  #difference(low: number, high: number): number {
    if (this.is32Bit) {
      return low >>> 0;
    }
    return low < 0 ? ((high - 1) >>> 0) * TWO_32 + low + TWO_32 : (high >>> 0) * TWO_32 + low;
  }

  #period(): number {
    return this.#periodHigh * TWO_32 + this.#periodLow;
  }

  /** Finds the next match; called when the counter, the comparator or the configuration has changed, after `settle`. */
  schedule(): void {
    if (!this.#counter.enabled) {
      this.#due = undefined;
      this.#alarm.cancel();
      return;
    }
    const ticks = this.#counter.ticks();
    this.#scheduleAt(ticks + this.#ahead(ticks), ticks);
  }

  #scheduleAt(due: number, now: number): void {
    this.#due = due - now > FARTHEST_TICKS ? undefined : due;
    this.#setAlarm();
  }

  #setAlarm(): void {
    if (this.#due !== undefined && (this.interruptEnabled || this.levelTriggered)) {
      this.#alarm.set(this.#due * TICK_NANOS);
    } else {
      this.#alarm.cancel();
    }
  }

  /** Makes up for matches for which no alarm was set; called before anything that they depend on changes. */
  settle(): void {
    if (this.#due === undefined || this.#alarm.deadline !== undefined) {
      return;
    }
    const ticks = this.#counter.ticks();
    if (ticks >= this.#due) {
      this.#pass(ticks, ticks - this.#due);
    }
  }

  #fire(): void {
    const ticks = this.#counter.ticks();
    this.#pass(ticks, ticks - (this.#due ?? ticks));
    this.#match();
  }

  /** The counter has reached the comparator, `behind` ticks ago: finds out when it does so next. */
  #pass(ticks: number, behind: number): void {
    const period = this.#period();
    if (this.periodic && period > 0) {
      this.#scheduleAt(ticks + this.#advance(period, behind), ticks);
    } else {
      // The same value comes again when the counter has wrapped.
      const distance = this.#ahead(ticks);
      this.#scheduleAt(ticks + (distance > 0 ? distance : this.is32Bit ? TWO_32 : Number.POSITIVE_INFINITY), ticks);
    }
  }

  /**
   * Moves the comparator to the first multiple of the period that lies ahead of the counter, which has passed it by
   * `behind` ticks because the alarm came late. Returns how far ahead.
   */
  #advance(period: number, behind: number): number {
    const least = Math.max(1, SHORTEST_PERIOD_TICKS - period + 1);
    const step = Math.ceil((behind + least) / period) * period;
    const low = this.#comparatorLow + (step % TWO_32);
    this.#comparatorLow = low >>> 0;
    if (!this.is32Bit) {
      this.#comparatorHigh = (this.#comparatorHigh + Math.floor(step / TWO_32) + (low >= TWO_32 ? 1 : 0)) >>> 0;
    }
    return step - behind;
  }

  reset(): void {
    this.#due = undefined;
    this.#alarm.cancel();
    this.configuration = TN_CAPABILITIES;
    this.#comparatorLow = 0xffffffff;
    this.#comparatorHigh = 0xffffffff;
    this.#periodLow = 0;
    this.#periodHigh = 0;
    this.#setHigh = false;
  }

  save() {
    this.settle();
    return {
      configuration: this.configuration,
      comparatorLow: this.#comparatorLow,
      comparatorHigh: this.#comparatorHigh,
      periodLow: this.#periodLow,
      periodHigh: this.#periodHigh,
      setHigh: this.#setHigh,
      alarm: this.#due === undefined ? undefined : this.#due * TICK_NANOS,
    };
  }

  static parse(reader: StateReader): ReturnType<HpetTimer['save']> {
    return {
      configuration: (reader.u32('configuration') & TN_WRITABLE) | TN_CAPABILITIES,
      comparatorLow: reader.u32('comparatorLow'),
      comparatorHigh: reader.u32('comparatorHigh'),
      periodLow: reader.u32('periodLow'),
      periodHigh: reader.u32('periodHigh'),
      setHigh: reader.boolean('setHigh'),
      alarm: reader.optionalNanos('alarm'),
    };
  }

  apply(state: ReturnType<HpetTimer['save']>): void {
    this.configuration = state.configuration;
    this.#comparatorLow = state.comparatorLow;
    this.#comparatorHigh = state.comparatorHigh;
    this.#periodLow = state.periodLow;
    this.#periodHigh = state.periodHigh;
    this.#setHigh = state.setHigh;
    this.#due = state.alarm === undefined ? undefined : Math.floor(state.alarm / TICK_NANOS);
    this.#setAlarm();
  }

  describe(): string {
    const hex = (value: number) => value.toString(16).padStart(8, '0');
    const left = this.#alarm.deadline === undefined ? 'idle' : `in ${this.#alarm.deadline - this.#clock.now()} ns`;
    return `configuration ${hex(this.configuration)} comparator ${hex(this.#comparatorHigh)}${hex(this.#comparatorLow)} ${left}`;
  }

  dispose(): void {
    this.#alarm.dispose();
  }
}
