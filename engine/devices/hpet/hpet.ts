import type { AccessSize, MmioHandler } from '../../bus/bus.ts';
import type { Clock } from '../../clock/clock.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { Device, StateValue } from '../device.ts';
import { StateReader } from '../state.ts';
import { HpetTimer, type MainCounter, TICK_NANOS } from './hpet-timer.ts';

/** Registers (IA-PC HPET 1.0a, 2.3), each of 64 bits. */
const CAPABILITIES = 0x000;
const CONFIGURATION = 0x010;
const INTERRUPT_STATUS = 0x020;
const MAIN_COUNTER = 0x0f0;
const TIMERS = 0x100;
const TIMER_STRIDE = 0x20;
const TIMER_CONFIGURATION = 0x00;
const TIMER_COMPARATOR = 0x08;

const CONFIG_ENABLE = 1 << 0;
const CONFIG_LEGACY = 1 << 1;

const TIMER_COUNT = 3;
/** Vendor 8086, legacy routing, 64-bit counter, three timers, revision 1. */
const CAPABILITIES_LOW = (0x8086 << 16) | (1 << 15) | (1 << 13) | ((TIMER_COUNT - 1) << 8) | 1;
const FEMTOSECONDS_PER_NANO = 1_000_000;

const TWO_32 = 0x1_0000_0000;

export interface HpetWiring {
  readonly clock: Clock;
  /** Global system interrupt `n`; asked for once each at construction. */
  readonly gsi: (n: number) => InterruptLine;
  /** Interrupts 0 and 8, which the HPET takes from PIT and RTC in legacy replacement mode. */
  readonly irq0: InterruptLine;
  readonly irq8: InterruptLine;
  /** Legacy replacement is about to begin or to end: before anything follows from it. */
  readonly onReplace?: () => void;
}

export interface HpetConfig {
  /** Interrupts of the I/O APIC that timers can be routed to, as a bit set; the PC default is interrupt 2 alone. */
  readonly routes?: number;
}

/**
 * The high precision event timer: a 100 MHz counter and three comparators, each able to be periodic. Map {@link mmio}
 * at 0xfed00000, 1 KiB.
 *
 * PIT and RTC are wired through {@link pitLine} and {@link rtcLine}, which pass on to interrupts 0 and 8 unless
 * legacy replacement is on (2.4.6.1).
 */
export class Hpet implements Device {
  readonly id: string;
  readonly mmio: MmioHandler;
  /** Where the PIT's counter 0 is connected. */
  readonly pitLine: InterruptLine;
  /** Where the RTC's interrupt is connected. */
  readonly rtcLine: InterruptLine;
  readonly #clock: Clock;
  readonly #wiring: HpetWiring;
  readonly #timers: readonly HpetTimer[];
  readonly #gsis: readonly (InterruptLine | undefined)[];
  #configuration = 0;
  /** Level-triggered timers that assert their line. */
  #status = 0;
  /** Main counter: while stopped its value, while running its value at `#startTicks`. */
  #baseLow = 0;
  #baseHigh = 0;
  #startTicks = 0;
  #pitLevel = false;
  #rtcLevel = false;

  constructor(id: string, wiring: HpetWiring, config: HpetConfig = {}) {
    this.id = id;
    this.#clock = wiring.clock;
    this.#wiring = wiring;
    const routes = config.routes ?? 1 << 2;
    this.#gsis = Array.from({ length: 32 }, (_, n) => ((routes & (1 << n)) === 0 ? undefined : wiring.gsi(n)));
    const self = this;
    const counter: MainCounter = {
      get enabled() {
        return self.#running;
      },
      ticks: () => this.#ticks(),
      low: (ticks) => this.#counterLow(ticks),
      high: (ticks) => this.#counterHigh(ticks),
    };
    this.#timers = Array.from(
      { length: TIMER_COUNT },
      (_, index) => new HpetTimer(counter, wiring.clock, routes, () => this.#matched(index)),
    );
    this.mmio = {
      readMmio: (offset, size) => this.#readMmio(offset, size),
      writeMmio: (offset, size, value) => this.#writeMmio(offset, size, value),
    };
    this.pitLine = {
      set: (asserted) => {
        this.#pitLevel = asserted;
        if (!this.#legacy) {
          wiring.irq0.set(asserted);
        }
      },
    };
    this.rtcLine = {
      set: (asserted) => {
        this.#rtcLevel = asserted;
        if (!this.#legacy) {
          wiring.irq8.set(asserted);
        }
      },
    };
  }

  get #running(): boolean {
    return (this.#configuration & CONFIG_ENABLE) !== 0;
  }

  get #legacy(): boolean {
    return (this.#configuration & CONFIG_LEGACY) !== 0;
  }

  /** It stands in for the PIT and the RTC (2.4.6.1). */
  get replacesLegacy(): boolean {
    return this.#legacy;
  }

  // ---- main counter

  #ticks(): number {
    return Math.floor(this.#clock.now() / TICK_NANOS);
  }

  /** Low base plus the ticks since then: below 2^54, hence exact. */
  #sum(ticks: number): number {
    return this.#running ? this.#baseLow + (ticks - this.#startTicks) : this.#baseLow;
  }

  #counterLow(ticks: number): number {
    return this.#sum(ticks) % TWO_32;
  }

  #counterHigh(ticks: number): number {
    return (this.#baseHigh + Math.floor(this.#sum(ticks) / TWO_32)) >>> 0;
  }

  /** Makes the present moment the one that the base values stand for. */
  #rebase(): void {
    for (const timer of this.#timers) {
      timer.settle();
    }
    const ticks = this.#ticks();
    const low = this.#counterLow(ticks);
    this.#baseHigh = this.#counterHigh(ticks);
    this.#baseLow = low;
    this.#startTicks = ticks;
  }

  #rescheduleAll(): void {
    for (const timer of this.#timers) {
      timer.schedule();
    }
  }

  // ---- interrupts

  /** The line that timer `index` drives at present. */
  #line(index: number): InterruptLine | undefined {
    if (this.#legacy && index < 2) {
      return index === 0 ? this.#wiring.irq0 : this.#wiring.irq8;
    }
    return this.#gsis[this.#timers[index]?.route ?? 0];
  }

  #matched(index: number): void {
    const timer = this.#timers[index];
    if (timer === undefined) {
      return;
    }
    if (timer.levelTriggered) {
      // The status bit is set even while the interrupt is disabled, so that the timer can be polled (2.3.6).
      this.#status |= 1 << index;
      if (timer.interruptEnabled) {
        this.#line(index)?.set(true);
      }
    } else if (timer.interruptEnabled) {
      const line = this.#line(index);
      line?.set(true);
      line?.set(false);
    }
  }

  #clearStatus(index: number): void {
    if ((this.#status & (1 << index)) !== 0) {
      this.#status &= ~(1 << index);
      this.#line(index)?.set(false);
    }
  }

  // ---- registers

  /** Accesses are 32 bits wide at most; narrower reads give their part. */
  #readMmio(offset: number, size: AccessSize): number {
    const value = this.#readRegister(offset & 0x3fc);
    if (size === 4) {
      return value;
    }
    const shifted = value >>> ((offset & 3) * 8);
    return size === 2 ? shifted & 0xffff : shifted & 0xff;
  }

  #readRegister(register: number): number {
    switch (register) {
      case CAPABILITIES:
        return CAPABILITIES_LOW >>> 0;
      case CAPABILITIES + 4:
        return TICK_NANOS * FEMTOSECONDS_PER_NANO;
      case CONFIGURATION:
        return this.#configuration;
      case INTERRUPT_STATUS:
        return this.#status;
      case MAIN_COUNTER:
        return this.#counterLow(this.#ticks());
      case MAIN_COUNTER + 4:
        return this.#counterHigh(this.#ticks());
    }
    if (register < TIMERS) {
      return 0;
    }
    const timer = this.#timers[Math.floor((register - TIMERS) / TIMER_STRIDE)];
    if (timer === undefined) {
      return 0;
    }
    switch ((register - TIMERS) % TIMER_STRIDE) {
      case TIMER_CONFIGURATION:
        return timer.configuration;
      case TIMER_CONFIGURATION + 4:
        return timer.routes;
      case TIMER_COMPARATOR:
        return timer.comparatorLow;
      case TIMER_COMPARATOR + 4:
        return timer.comparatorHigh;
      default:
        return 0;
    }
  }

  #writeMmio(offset: number, size: AccessSize, value: number): void {
    // Only whole 32-bit halves can be written (2.3.1).
    if (size !== 4 || (offset & 3) !== 0) {
      return;
    }
    const register = offset & 0x3fc;
    switch (register) {
      case CONFIGURATION:
        this.#writeConfiguration(value);
        return;
      case INTERRUPT_STATUS:
        for (let i = 0; i < TIMER_COUNT; i++) {
          if ((value & (1 << i)) !== 0) {
            this.#clearStatus(i);
          }
        }
        return;
      case MAIN_COUNTER:
        this.#rebase();
        this.#baseLow = value >>> 0;
        this.#rescheduleAll();
        return;
      case MAIN_COUNTER + 4:
        this.#rebase();
        this.#baseHigh = value >>> 0;
        this.#rescheduleAll();
        return;
    }
    if (register < TIMERS) {
      return;
    }
    const index = Math.floor((register - TIMERS) / TIMER_STRIDE);
    const timer = this.#timers[index];
    if (timer === undefined) {
      return;
    }
    switch ((register - TIMERS) % TIMER_STRIDE) {
      case TIMER_CONFIGURATION:
        this.#writeTimerConfiguration(index, timer, value);
        return;
      case TIMER_COMPARATOR:
        timer.writeComparatorLow(value >>> 0);
        return;
      case TIMER_COMPARATOR + 4:
        timer.writeComparatorHigh(value >>> 0);
        return;
    }
  }

  #writeTimerConfiguration(index: number, timer: HpetTimer, value: number): void {
    const pending = (this.#status & (1 << index)) !== 0;
    if (pending) {
      // The line may change, or be released by disabling the timer.
      this.#line(index)?.set(false);
    }
    timer.writeConfiguration(value);
    if (pending) {
      if (!timer.levelTriggered) {
        this.#status &= ~(1 << index);
      } else if (timer.interruptEnabled) {
        this.#line(index)?.set(true);
      }
    }
  }

  #writeConfiguration(value: number): void {
    const next = value & (CONFIG_ENABLE | CONFIG_LEGACY);
    const changed = next ^ this.#configuration;
    if ((changed & CONFIG_LEGACY) !== 0) {
      this.#setLegacy((next & CONFIG_LEGACY) !== 0);
    }
    if ((changed & CONFIG_ENABLE) !== 0) {
      this.#rebase();
      this.#configuration ^= CONFIG_ENABLE;
      this.#rescheduleAll();
    }
  }

  #setLegacy(legacy: boolean): void {
    this.#wiring.onReplace?.();
    const { irq0, irq8 } = this.#wiring;
    const pendingLines = (level: boolean) => {
      for (let i = 0; i < TIMER_COUNT; i++) {
        if ((this.#status & (1 << i)) !== 0 && this.#timers[i]?.interruptEnabled) {
          this.#line(i)?.set(level);
        }
      }
    };
    pendingLines(false);
    irq0.set(false);
    irq8.set(false);
    this.#configuration = legacy ? this.#configuration | CONFIG_LEGACY : this.#configuration & ~CONFIG_LEGACY;
    if (!legacy) {
      irq0.set(this.#pitLevel);
      irq8.set(this.#rtcLevel);
    }
    pendingLines(true);
  }

  // ---- life cycle

  reset(): void {
    for (let i = 0; i < TIMER_COUNT; i++) {
      this.#clearStatus(i);
    }
    if (this.#legacy) {
      this.#setLegacy(false);
    }
    this.#configuration = 0;
    this.#baseLow = 0;
    this.#baseHigh = 0;
    this.#startTicks = 0;
    for (const timer of this.#timers) {
      timer.reset();
    }
  }

  save() {
    return {
      configuration: this.#configuration,
      status: this.#status,
      baseLow: this.#baseLow,
      baseHigh: this.#baseHigh,
      startTicks: this.#startTicks,
      pitLevel: this.#pitLevel,
      rtcLevel: this.#rtcLevel,
      timers: this.#timers.map((timer) => timer.save()),
    };
  }

  load(state: StateValue): void {
    const reader = new StateReader(this.id, state);
    const configuration = reader.int('configuration', 0, CONFIG_ENABLE | CONFIG_LEGACY);
    const status = reader.int('status', 0, (1 << TIMER_COUNT) - 1);
    const baseLow = reader.u32('baseLow');
    const baseHigh = reader.u32('baseHigh');
    const startTicks = reader.int('startTicks', 0, 2 ** 50);
    const pitLevel = reader.boolean('pitLevel');
    const rtcLevel = reader.boolean('rtcLevel');
    const timers = reader.objects('timers', TIMER_COUNT).map((timer) => HpetTimer.parse(timer));
    this.#wiring.onReplace?.();
    this.#configuration = configuration;
    this.#status = status;
    this.#baseLow = baseLow;
    this.#baseHigh = baseHigh;
    this.#startTicks = startTicks;
    this.#pitLevel = pitLevel;
    this.#rtcLevel = rtcLevel;
    for (const [index, timer] of timers.entries()) {
      this.#timers[index]?.apply(timer);
    }
    // Every line that this device may drive is put where it belongs.
    for (const line of this.#gsis) {
      line?.set(false);
    }
    this.#wiring.irq0.set(!this.#legacy && pitLevel);
    this.#wiring.irq8.set(!this.#legacy && rtcLevel);
    for (let i = 0; i < TIMER_COUNT; i++) {
      if ((status & (1 << i)) !== 0 && this.#timers[i]?.interruptEnabled) {
        this.#line(i)?.set(true);
      }
    }
  }

  describe(): string {
    const hex = (value: number) => value.toString(16).padStart(8, '0');
    const ticks = this.#ticks();
    return [
      `configuration ${this.#configuration} status ${this.#status} counter ${hex(this.#counterHigh(ticks))}${hex(this.#counterLow(ticks))}`,
      ...this.#timers.map((timer, index) => `timer ${index}: ${timer.describe()}`),
    ].join('\n');
  }

  dispose(): void {
    for (const timer of this.#timers) {
      timer.dispose();
    }
  }
}
