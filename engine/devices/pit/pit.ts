import type { AccessSize, PioHandler } from '../../bus/bus.ts';
import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { Device, StateValue } from '../device.ts';
import { StateReader } from '../state.ts';
import { PitCounter } from './pit-counter.ts';

/** The oscillator: a third of the NTSC colour carrier's quadruple, in Hz. */
export const PIT_FREQUENCY = 1_193_182;

const NANOS_PER_SECOND = 1_000_000_000;
/** Rising edges of counter 0 that follow more closely than 20 µs are passed over: no guest could serve them. */
const SHORTEST_PERIOD_TICKS = 24;

const CONTROL_PORT = 3;
const READ_BACK = 3;
const READ_BACK_NO_COUNT = 0x20;
const READ_BACK_NO_STATUS = 0x10;

/** Whole ticks since power-on; exact, because seconds and their fractions are scaled apart. */
function nanosToTicks(nanos: Nanos): number {
  const seconds = Math.floor(nanos / NANOS_PER_SECOND);
  return (
    seconds * PIT_FREQUENCY + Math.floor(((nanos - seconds * NANOS_PER_SECOND) * PIT_FREQUENCY) / NANOS_PER_SECOND)
  );
}

/** The first nanosecond at which {@link nanosToTicks} gives `ticks`. */
function ticksToNanos(ticks: number): Nanos {
  const seconds = Math.floor(ticks / PIT_FREQUENCY);
  return seconds * NANOS_PER_SECOND + Math.ceil(((ticks - seconds * PIT_FREQUENCY) * NANOS_PER_SECOND) / PIT_FREQUENCY);
}

export interface PitWiring {
  readonly clock: Clock;
  /** OUT of counter 0: interrupt 0. */
  readonly line: InterruptLine;
  /** Brings the counters back where they are lent (hand): called before anyone looks at them. */
  readonly recall?: () => void;
}

/** The state of one counter. */
export type PitCounterState = ReturnType<PitCounter['save']>;

/**
 * The 8254 interval timer. Map {@link ports} at 0x40 – 0x43.
 *
 * Alarms stand at exact multiples of the period since the count was loaded, so that late alarms cause no drift. In the
 * periodic modes only the rising edges of counter 0 are put on the line (as a fall directly followed by a rise): they
 * alone cause interrupts, and the falls would double the number of alarms.
 */
export class Pit implements Device {
  readonly id: string;
  readonly ports: PioHandler;
  readonly #clock: Clock;
  readonly #line: InterruptLine;
  readonly #recall: () => void;
  readonly #alarm: Alarm;
  readonly #counter0 = new PitCounter(true);
  readonly #counter1 = new PitCounter(true);
  readonly #counter2 = new PitCounter(false);
  readonly #counters: readonly PitCounter[] = [this.#counter0, this.#counter1, this.#counter2];
  /** What was last put on the line. */
  #level = false;
  /** Called when counter 2 may oscillate at another frequency. */
  onTone: (() => void) | undefined;

  constructor(id: string, wiring: PitWiring) {
    this.id = id;
    this.#clock = wiring.clock;
    this.#line = wiring.line;
    this.#recall = wiring.recall ?? (() => {});
    this.#alarm = wiring.clock.createAlarm(() => this.#rise());
    this.ports = {
      readPort: (offset) => this.#read(offset & 3),
      writePort: (offset, _size: AccessSize, value) => this.#write(offset & 3, value & 0xff),
    };
  }

  #tick(): number {
    return nanosToTicks(this.#clock.now());
  }

  /** The present tick of the oscillator, since power-on. */
  tick(): number {
    return this.#tick();
  }

  // ---- lending

  /** Stops counting here: somebody else goes on from the states that this returns, until `take`. The line drops. */
  hand(): PitCounterState[] {
    const counters = this.#counters.map((counter) => counter.save());
    this.#alarm.cancel();
    this.#setLine(false);
    return counters;
  }

  /** Counts again, from these states on. */
  take(counters: readonly PitCounterState[]): void {
    for (const [index, counter] of counters.entries()) {
      this.#counters[index]?.apply(counter);
    }
    this.#schedule(this.#tick());
    this.onTone?.();
  }

  #read(register: number): number {
    this.#recall();
    const counter = this.#counters[register];
    // The control register cannot be read.
    return counter === undefined ? 0xff : counter.readByte(this.#tick());
  }

  #write(register: number, byte: number): void {
    this.#recall();
    const tick = this.#tick();
    if (register === CONTROL_PORT) {
      const select = byte >>> 6;
      if (select === READ_BACK) {
        this.#readBack(byte, tick);
        return;
      }
      this.#counters[select]?.writeControl(byte, tick);
      if ((byte & 0x30) !== 0) {
        this.#changed(select, tick);
      }
      return;
    }
    this.#counters[register]?.writeByte(byte, tick);
    this.#changed(register, tick);
  }

  #readBack(byte: number, tick: number): void {
    for (let i = 0; i < 3; i++) {
      if ((byte & (2 << i)) !== 0) {
        if ((byte & READ_BACK_NO_COUNT) === 0) {
          this.#counters[i]?.latchCount(tick);
        }
        if ((byte & READ_BACK_NO_STATUS) === 0) {
          this.#counters[i]?.latchStatus(tick);
        }
      }
    }
  }

  #changed(index: number, tick: number): void {
    if (index === 0) {
      this.#setLine(this.#counter0.output(tick));
      this.#schedule(tick);
    } else if (index === 2) {
      this.onTone?.();
    }
  }

  #schedule(tick: number): void {
    const rise = this.#counter0.nextRise(tick, SHORTEST_PERIOD_TICKS);
    if (rise === undefined) {
      this.#alarm.cancel();
    } else {
      this.#alarm.set(ticksToNanos(rise));
    }
  }

  #setLine(level: boolean): void {
    this.#level = level;
    this.#line.set(level);
  }

  #rise(): void {
    this.#setLine(false);
    this.#setLine(true);
    this.#schedule(this.#tick());
  }

  // ---- counter 2 and the rest of port 0x61

  get gate2(): boolean {
    this.#recall();
    return this.#counter2.gate;
  }

  setGate2(gate: boolean): void {
    this.#recall();
    if (gate !== this.#counter2.gate) {
      this.#counter2.setGate(gate, this.#tick());
      this.onTone?.();
    }
  }

  /** OUT of counter 2. */
  output2(): boolean {
    this.#recall();
    return this.#counter2.output(this.#tick());
  }

  /** Frequency of counter 2's output in Hz, 0 while it does not oscillate. */
  toneHz(): number {
    const period = this.#counter2.period(this.#tick());
    return period === 0 ? 0 : PIT_FREQUENCY / period;
  }

  reset(): void {
    this.#recall();
    for (const counter of this.#counters) {
      counter.reset();
    }
    this.#alarm.cancel();
    this.#setLine(false);
    this.onTone?.();
  }

  save() {
    this.#recall();
    return {
      counters: this.#counters.map((counter) => counter.save()),
      level: this.#level,
      alarm: this.#alarm.deadline,
    };
  }

  load(state: StateValue): void {
    this.#recall();
    const reader = new StateReader(this.id, state);
    const counters = reader.objects('counters', 3).map((counter) => PitCounter.parse(counter));
    const level = reader.boolean('level');
    const alarm = reader.optionalNanos('alarm');
    for (const [index, counter] of counters.entries()) {
      this.#counters[index]?.apply(counter);
    }
    this.#alarm.cancel();
    if (alarm !== undefined) {
      this.#alarm.set(alarm);
    }
    this.#setLine(level);
    this.onTone?.();
  }

  describe(): string {
    this.#recall();
    const tick = this.#tick();
    return this.#counters
      .map(
        (counter, index) =>
          `counter ${index}: mode ${counter.mode}${counter.bcd ? ' BCD' : ''} count ${counter.count} ` +
          `gate ${counter.gate ? 1 : 0} out ${counter.output(tick) ? 1 : 0}`,
      )
      .join('\n');
  }

  dispose(): void {
    this.#alarm.dispose();
  }
}
