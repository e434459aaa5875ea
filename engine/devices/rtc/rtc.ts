import type { PioHandler } from '../../bus/bus.ts';
import type { Alarm, Clock, WallClock } from '../../clock/clock.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { Device, StateValue } from '../device.ts';
import { StateReader } from '../state.ts';
import { type CalendarTime, fromEpochSeconds, toEpochSeconds } from './calendar.ts';

/** Registers (MC146818A datasheet, "Address map"). */
const SECONDS = 0x00;
const SECONDS_ALARM = 0x01;
const MINUTES = 0x02;
const MINUTES_ALARM = 0x03;
const HOURS = 0x04;
const HOURS_ALARM = 0x05;
const WEEKDAY = 0x06;
const DAY = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const REGISTER_A = 0x0a;
const REGISTER_B = 0x0b;
const REGISTER_C = 0x0c;
const REGISTER_D = 0x0d;
/** Where IBM's BIOS and ACPI's FADT put the century. */
const CENTURY = 0x32;
const CMOS_SIZE = 128;

const A_UPDATE_IN_PROGRESS = 0x80;
/** The divider setting for the 32.768 kHz crystal. */
const A_DIVIDER_NORMAL = 0x20;
/** Both bits set: the divider chain is held in reset. */
const A_DIVIDER_RESET = 0x60;
const A_RATE = 0x0f;
const B_SET = 0x80;
const B_PERIODIC = 0x40;
const B_ALARM = 0x20;
const B_UPDATE_ENDED = 0x10;
const B_SQUARE_WAVE = 0x08;
const B_BINARY = 0x04;
const B_24_HOURS = 0x02;
const C_REQUEST = 0x80;
const C_PERIODIC = 0x40;
const C_ALARM = 0x20;
const C_UPDATE_ENDED = 0x10;
const D_VALID = 0x80;
const HOUR_PM = 0x80;
/** An alarm byte with both upper bits set matches everything. */
const ALARM_ANY = 0xc0;

const CRYSTAL_HZ = 32_768;
const NANOS_PER_SECOND = 1_000_000_000;
const NANOS_PER_MILLI = 1_000_000;
/**
 * UIP is set this long before an update. The datasheet promises at least 244 µs; calendar time may come in whole
 * milliseconds, so that one of those is the shortest time in which the bit is sure to be seen.
 */
const UPDATE_HOLD_MILLIS = 1;
const SECONDS_PER_DAY = 86_400;
/** After the divider's reset ends, the first update comes half a second later. */
const FIRST_UPDATE_MILLIS = 500;

export interface RtcWiring {
  readonly clock: Clock;
  readonly wall: WallClock;
  /** Interrupt 8. */
  readonly line: InterruptLine;
  /** Told when the guest masks or unmasks NMI through bit 7 of port 0x70. */
  readonly onNmiMask?: (masked: boolean) => void;
}

export interface RtcConfig {
  /** Added to the wall clock's UTC, in milliseconds: for guests that keep local time. */
  readonly offsetMillis?: number;
}

/** Ticks of the 32.768 kHz crystal since power-on; exact. */
function crystalTicks(nanos: number): number {
  const seconds = Math.floor(nanos / NANOS_PER_SECOND);
  return seconds * CRYSTAL_HZ + Math.floor(((nanos - seconds * NANOS_PER_SECOND) * CRYSTAL_HZ) / NANOS_PER_SECOND);
}

/** The first nanosecond of a crystal tick. */
function crystalNanos(ticks: number): number {
  const seconds = Math.floor(ticks / CRYSTAL_HZ);
  return seconds * NANOS_PER_SECOND + Math.ceil(((ticks - seconds * CRYSTAL_HZ) * NANOS_PER_SECOND) / CRYSTAL_HZ);
}

/**
 * The MC146818A real-time clock with 128 bytes of CMOS memory. Map {@link ports} at 0x70 – 0x71.
 *
 * Its time is the wall clock plus an offset that changes when the guest sets the clock. Alarms are set only while an
 * interrupt is enabled; flags that a guest merely polls are worked out when it reads register C.
 */
export class Rtc implements Device {
  readonly id: string;
  readonly ports: PioHandler;
  readonly #clock: Clock;
  readonly #wall: WallClock;
  readonly #line: InterruptLine;
  readonly #onNmiMask: (masked: boolean) => void;
  readonly #periodicAlarm: Alarm;
  readonly #secondAlarm: Alarm;
  /** All bytes; while the clock runs, those of the calendar are out of date. */
  readonly #cmos = new Uint8Array(CMOS_SIZE);
  readonly #calendar: CalendarTime = { second: 0, minute: 0, hour: 0, weekday: 5, day: 1, month: 1, year: 1970 };
  /** The second that `#calendar` holds. */
  #calendarSecond = 0;
  #index = 0;
  #nmiMasked = false;
  /** What this clock shows minus what the wall clock shows. */
  #offsetMillis: number;
  /** Milliseconds into the second at which the clock was stopped. */
  #stoppedMillis = 0;
  /** The last second (since 1970, in this clock's time) whose update has been handled. */
  #updatedSecond = 0;
  /** The last period of the periodic interrupt that has been handled. */
  #periodicTick = 0;

  constructor(id: string, wiring: RtcWiring, config: RtcConfig = {}) {
    this.id = id;
    this.#clock = wiring.clock;
    this.#wall = wiring.wall;
    this.#line = wiring.line;
    this.#onNmiMask = wiring.onNmiMask ?? (() => {});
    this.#offsetMillis = Math.round(config.offsetMillis ?? 0);
    this.#periodicAlarm = wiring.clock.createAlarm(() => this.#onPeriodic());
    this.#secondAlarm = wiring.clock.createAlarm(() => this.#onSecond());
    this.#cmos[REGISTER_A] = A_DIVIDER_NORMAL | 6;
    this.#cmos[REGISTER_B] = B_24_HOURS;
    this.#cmos[REGISTER_D] = D_VALID;
    this.#updatedSecond = this.#nowSeconds();
    this.#loadCalendar(this.#updatedSecond);
    this.#storeCalendar();
    this.ports = {
      // The index register is write-only.
      readPort: (offset) => ((offset & 1) === 0 ? 0xff : this.#read(this.#index)),
      writePort: (offset, _size, value) => {
        if ((offset & 1) === 0) {
          this.#writeIndex(value & 0xff);
        } else {
          this.#write(this.#index, value & 0xff);
        }
      },
    };
  }

  /** Puts a byte into CMOS memory, as the board does before power-on: memory size, boot order, floppy types … */
  setCmos(index: number, value: number): void {
    this.#cmos[index & (CMOS_SIZE - 1)] = value;
  }

  getCmos(index: number): number {
    return this.#cmos[index & (CMOS_SIZE - 1)] ?? 0;
  }

  get nmiMasked(): boolean {
    return this.#nmiMasked;
  }

  // ---- time

  get #b(): number {
    return this.#cmos[REGISTER_B] ?? 0;
  }

  get #running(): boolean {
    return (this.#b & B_SET) === 0 && !this.#dividerStopped;
  }

  get #dividerStopped(): boolean {
    return ((this.#cmos[REGISTER_A] ?? 0) & A_DIVIDER_RESET) === A_DIVIDER_RESET;
  }

  /** This clock's time in milliseconds since 1970. */
  #nowMillis(): number {
    return Math.floor(this.#wall.epochMillis()) + this.#offsetMillis;
  }

  #nowSeconds(): number {
    return Math.floor(this.#nowMillis() / 1000);
  }

  /** Makes the clock show `millis` now. */
  #setMillis(millis: number): void {
    this.#offsetMillis = millis - Math.floor(this.#wall.epochMillis());
    this.#updatedSecond = Math.floor(millis / 1000);
  }

  #loadCalendar(second: number): void {
    if (second !== this.#calendarSecond) {
      this.#calendarSecond = second;
      fromEpochSeconds(second, this.#calendar);
    }
  }

  #encode(value: number): number {
    return (this.#b & B_BINARY) !== 0 ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  #decode(byte: number): number {
    return (this.#b & B_BINARY) !== 0 ? byte : (byte >>> 4) * 10 + (byte & 15);
  }

  #encodeHour(hour: number): number {
    if ((this.#b & B_24_HOURS) !== 0) {
      return this.#encode(hour);
    }
    return this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? HOUR_PM : 0);
  }

  #decodeHour(byte: number): number {
    if ((this.#b & B_24_HOURS) !== 0) {
      return this.#decode(byte);
    }
    return (this.#decode(byte & ~HOUR_PM) % 12) + ((byte & HOUR_PM) !== 0 ? 12 : 0);
  }

  /** Writes the loaded calendar into the registers. */
  #storeCalendar(): void {
    const time = this.#calendar;
    const cmos = this.#cmos;
    cmos[SECONDS] = this.#encode(time.second);
    cmos[MINUTES] = this.#encode(time.minute);
    cmos[HOURS] = this.#encodeHour(time.hour);
    cmos[WEEKDAY] = this.#encode(time.weekday);
    cmos[DAY] = this.#encode(time.day);
    cmos[MONTH] = this.#encode(time.month);
    cmos[YEAR] = this.#encode(time.year % 100);
    cmos[CENTURY] = this.#encode(Math.floor(time.year / 100));
  }

  /** The second that the registers stand for. */
  #registersSecond(): number {
    const cmos = this.#cmos;
    return toEpochSeconds({
      second: this.#decode(cmos[SECONDS] ?? 0),
      minute: this.#decode(cmos[MINUTES] ?? 0),
      hour: this.#decodeHour(cmos[HOURS] ?? 0),
      weekday: 1,
      day: this.#decode(cmos[DAY] ?? 0),
      month: this.#decode(cmos[MONTH] ?? 0),
      year: this.#decode(cmos[CENTURY] ?? 0) * 100 + this.#decode(cmos[YEAR] ?? 0),
    });
  }

  // ---- flags and interrupts

  /** Raises the flags of everything that has happened until now. */
  #catchUp(): void {
    this.#catchUpPeriodic();
    if (this.#running) {
      const second = this.#nowSeconds();
      if (second !== this.#updatedSecond) {
        let flags = C_UPDATE_ENDED;
        if (this.#alarmBetween(this.#updatedSecond, second)) {
          flags |= C_ALARM;
        }
        this.#updatedSecond = second;
        this.#cmos[REGISTER_C] = (this.#cmos[REGISTER_C] ?? 0) | flags;
      }
    }
    this.#updateLine();
  }

  /** Did the alarm registers match at some second after `from` up to `to`? */
  #alarmBetween(from: number, to: number): boolean {
    const secondByte = this.#cmos[SECONDS_ALARM] ?? 0;
    const minuteByte = this.#cmos[MINUTES_ALARM] ?? 0;
    const hourByte = this.#cmos[HOURS_ALARM] ?? 0;
    const second = secondByte >= ALARM_ANY ? -1 : this.#decode(secondByte);
    const minute = minuteByte >= ALARM_ANY ? -1 : this.#decode(minuteByte);
    const hour = hourByte >= ALARM_ANY ? -1 : this.#decodeHour(hourByte);
    // After a day every alarm has come round; time that jumped back counts as one update.
    const first = from < to ? Math.max(from + 1, to - SECONDS_PER_DAY) : to;
    for (let at = first; at <= to; at++) {
      const ofDay = ((at % SECONDS_PER_DAY) + SECONDS_PER_DAY) % SECONDS_PER_DAY;
      if (
        (second < 0 || second === ofDay % 60) &&
        (minute < 0 || minute === Math.floor(ofDay / 60) % 60) &&
        (hour < 0 || hour === Math.floor(ofDay / 3600))
      ) {
        return true;
      }
    }
    return false;
  }

  /** Crystal ticks between two periodic interrupts, 0: none. */
  #periodTicks(): number {
    const rate = (this.#cmos[REGISTER_A] ?? 0) & A_RATE;
    if (rate === 0 || this.#dividerStopped) {
      return 0;
    }
    // Rates 1 and 2 repeat 8 and 9 with this crystal (table 5).
    return 1 << ((rate <= 2 ? rate + 7 : rate) - 1);
  }

  #catchUpPeriodic(): void {
    const period = this.#periodTicks();
    if (period === 0) {
      return;
    }
    const ticks = crystalTicks(this.#clock.now());
    const present = ticks - (ticks % period);
    if (present > this.#periodicTick) {
      this.#periodicTick = present;
      this.#cmos[REGISTER_C] = (this.#cmos[REGISTER_C] ?? 0) | C_PERIODIC;
    }
  }

  #updateLine(): void {
    const flags = (this.#cmos[REGISTER_C] ?? 0) & (C_PERIODIC | C_ALARM | C_UPDATE_ENDED);
    // The enable bits of register B stand where the flags of register C do.
    const requested = (flags & this.#b) !== 0;
    this.#cmos[REGISTER_C] = flags | (requested ? C_REQUEST : 0);
    this.#line.set(requested);
  }

  #onPeriodic(): void {
    this.#catchUp();
    this.#schedulePeriodic();
  }

  #onSecond(): void {
    this.#catchUp();
    this.#scheduleSecond();
  }

  #schedulePeriodic(): void {
    const period = this.#periodTicks();
    if (period === 0 || (this.#b & B_PERIODIC) === 0) {
      this.#periodicAlarm.cancel();
      return;
    }
    const ticks = crystalTicks(this.#clock.now());
    this.#periodicAlarm.set(crystalNanos(ticks - (ticks % period) + period));
  }

  #scheduleSecond(): void {
    if (!this.#running || (this.#b & (B_ALARM | B_UPDATE_ENDED)) === 0) {
      this.#secondAlarm.cancel();
      return;
    }
    const millis = this.#nowMillis();
    const left = (Math.floor(millis / 1000) + 1) * 1000 - millis;
    this.#secondAlarm.set(Math.ceil(this.#clock.now()) + left * NANOS_PER_MILLI);
  }

  #schedule(): void {
    this.#schedulePeriodic();
    this.#scheduleSecond();
  }

  // ---- registers

  #writeIndex(byte: number): void {
    this.#index = byte & 0x7f;
    const masked = (byte & 0x80) !== 0;
    if (masked !== this.#nmiMasked) {
      this.#nmiMasked = masked;
      this.#onNmiMask(masked);
    }
  }

  #read(index: number): number {
    switch (index) {
      case SECONDS:
      case MINUTES:
      case HOURS:
      case WEEKDAY:
      case DAY:
      case MONTH:
      case YEAR:
      case CENTURY:
        return this.#readCalendar(index);
      case REGISTER_A:
        return (this.#cmos[REGISTER_A] ?? 0) | (this.#updateInProgress() ? A_UPDATE_IN_PROGRESS : 0);
      case REGISTER_C: {
        this.#catchUp();
        const flags = this.#cmos[REGISTER_C] ?? 0;
        this.#cmos[REGISTER_C] = 0;
        this.#line.set(false);
        return flags;
      }
      default:
        return this.#cmos[index] ?? 0;
    }
  }

  #updateInProgress(): boolean {
    return this.#running && ((this.#nowMillis() % 1000) + 1000) % 1000 >= 1000 - UPDATE_HOLD_MILLIS;
  }

  #readCalendar(index: number): number {
    if (!this.#running) {
      return this.#cmos[index] ?? 0;
    }
    this.#loadCalendar(this.#nowSeconds());
    const time = this.#calendar;
    switch (index) {
      case SECONDS:
        return this.#encode(time.second);
      case MINUTES:
        return this.#encode(time.minute);
      case HOURS:
        return this.#encodeHour(time.hour);
      case WEEKDAY:
        return this.#encode(time.weekday);
      case DAY:
        return this.#encode(time.day);
      case MONTH:
        return this.#encode(time.month);
      case YEAR:
        return this.#encode(time.year % 100);
      default:
        return this.#encode(Math.floor(time.year / 100));
    }
  }

  #write(index: number, byte: number): void {
    switch (index) {
      case SECONDS:
      case MINUTES:
      case HOURS:
      case WEEKDAY:
      case DAY:
      case MONTH:
      case YEAR:
      case CENTURY:
        this.#writeCalendar(index, byte);
        return;
      case SECONDS_ALARM:
      case MINUTES_ALARM:
      case HOURS_ALARM:
        this.#catchUp();
        this.#cmos[index] = byte;
        return;
      case REGISTER_A:
        this.#reprogram(REGISTER_A, byte & ~A_UPDATE_IN_PROGRESS);
        return;
      case REGISTER_B:
        this.#reprogram(REGISTER_B, byte);
        return;
      case REGISTER_C:
      case REGISTER_D:
        return;
      default:
        this.#cmos[index] = byte;
    }
  }

  #writeCalendar(index: number, byte: number): void {
    if (!this.#running) {
      this.#cmos[index] = byte;
      return;
    }
    // A running clock takes the new value over at once and goes on within the same second.
    this.#catchUp();
    const millis = this.#nowMillis();
    this.#loadCalendar(Math.floor(millis / 1000));
    this.#storeCalendar();
    this.#cmos[index] = byte;
    this.#setMillis(this.#registersSecond() * 1000 + (((millis % 1000) + 1000) % 1000));
    this.#scheduleSecond();
  }

  /** Writes register A or B, which may stop or start the clock, and change formats, rates and enables. */
  #reprogram(register: typeof REGISTER_A | typeof REGISTER_B, value: number): void {
    this.#catchUp();
    const wasRunning = this.#running;
    const wasInReset = this.#dividerStopped;
    const period = this.#periodTicks();
    if (wasRunning) {
      const millis = this.#nowMillis();
      this.#stoppedMillis = ((millis % 1000) + 1000) % 1000;
      this.#loadCalendar(Math.floor(millis / 1000));
    }
    if (wasInReset && register === REGISTER_A && (value & A_DIVIDER_RESET) !== A_DIVIDER_RESET) {
      this.#stoppedMillis = FIRST_UPDATE_MILLIS;
    }
    // Setting SET clears the update-ended enable (datasheet, register B).
    this.#cmos[register] = register === REGISTER_B && (value & B_SET) !== 0 ? value & ~B_UPDATE_ENDED : value;
    if (wasRunning && !this.#running) {
      this.#storeCalendar();
    } else if (!wasRunning && this.#running) {
      // Guests write the registers in the format that they set together with clearing SET.
      this.#setMillis(this.#registersSecond() * 1000 + this.#stoppedMillis);
    }
    if (this.#periodTicks() !== period) {
      this.#periodicTick = crystalTicks(this.#clock.now());
    }
    this.#updateLine();
    this.#schedule();
  }

  // ---- life cycle

  /** The RESET pin: interrupts off. Time and memory are kept by the battery. */
  reset(): void {
    this.#catchUp();
    this.#cmos[REGISTER_B] = this.#b & ~(B_PERIODIC | B_ALARM | B_UPDATE_ENDED | B_SQUARE_WAVE);
    this.#cmos[REGISTER_C] = 0;
    this.#line.set(false);
    this.#writeIndex(0);
    this.#schedule();
  }

  save() {
    return {
      cmos: this.#cmos.slice(),
      index: this.#index,
      nmiMasked: this.#nmiMasked,
      offsetMillis: this.#offsetMillis,
      stoppedMillis: this.#stoppedMillis,
      updatedSecond: this.#updatedSecond,
      periodicTick: this.#periodicTick,
      periodicAlarm: this.#periodicAlarm.deadline,
      secondAlarm: this.#secondAlarm.deadline,
    };
  }

  load(state: StateValue): void {
    const reader = new StateReader(this.id, state);
    const cmos = reader.bytes('cmos', CMOS_SIZE);
    const index = reader.int('index', 0, 0x7f);
    const nmiMasked = reader.boolean('nmiMasked');
    // Dates from the year 0 to 16665 can be reached, and nothing beyond can be converted.
    const offsetMillis = reader.int('offsetMillis', -1e15, 1e15);
    const stoppedMillis = reader.int('stoppedMillis', 0, 999);
    const updatedSecond = reader.int('updatedSecond', -1e12, 1e12);
    const periodicTick = reader.int('periodicTick', 0, Number.MAX_SAFE_INTEGER);
    const periodicAlarm = reader.optionalNanos('periodicAlarm');
    const secondAlarm = reader.optionalNanos('secondAlarm');
    this.#cmos.set(cmos);
    this.#index = index;
    this.#offsetMillis = offsetMillis;
    this.#stoppedMillis = stoppedMillis;
    this.#updatedSecond = updatedSecond;
    this.#periodicTick = periodicTick;
    this.#periodicAlarm.cancel();
    this.#secondAlarm.cancel();
    if (periodicAlarm !== undefined) {
      this.#periodicAlarm.set(periodicAlarm);
    }
    if (secondAlarm !== undefined) {
      this.#secondAlarm.set(secondAlarm);
    }
    if (nmiMasked !== this.#nmiMasked) {
      this.#nmiMasked = nmiMasked;
      this.#onNmiMask(nmiMasked);
    }
    this.#line.set(((this.#cmos[REGISTER_C] ?? 0) & C_REQUEST) !== 0);
  }

  describe(): string {
    const hex = (index: number) => this.getCmos(index).toString(16).padStart(2, '0');
    return (
      `RTC ${this.#running ? new Date(this.#nowMillis()).toISOString() : 'stopped'} ` +
      `A ${hex(REGISTER_A)} B ${hex(REGISTER_B)} C ${hex(REGISTER_C)} index ${this.#index.toString(16)}`
    );
  }

  dispose(): void {
    this.#periodicAlarm.dispose();
    this.#secondAlarm.dispose();
  }
}
