import type { CharBackend } from '../../backends/char.ts';
import { type Log, limitedLog } from '../../base/log.ts';
import type { AccessSize, PioHandler } from '../../bus/bus.ts';
import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { Device, DeviceId, StateValue } from '../device.ts';
import { StateReader } from '../state.ts';
import * as reg from './uart-registers.ts';

export interface Uart16550Wiring {
  /** IRQ 4 for COM1 and COM3, IRQ 3 for COM2 and COM4. */
  readonly line: InterruptLine;
  readonly clock: Clock;
  /** Takes what the guest transmits, at once. */
  readonly output: CharBackend;
  readonly log: Log;
  /** Called once when, after `receive` refused bytes, there is room for at least half of the queue again. */
  readonly onInputSpace?: () => void;
}

/** Bytes from the host that wait outside the UART for room in its FIFO. */
export const INPUT_QUEUE_BYTES = 65536;
/** The UART's clock of 1.8432 MHz divided by 16: the rate at a divisor of 1. */
const BAUD_BASE = 115200;
/** Slow lines are not imitated further than this: nobody wants to wait 200 ms for a character at 50 baud. */
const MAX_CHARACTER_NANOS = 1_000_000;
/** In the receiver FIFO, bits 8–15 of an entry are the LSR error bits of that character. */
const ERROR_SHIFT = 8;
const CONNECTED = reg.MSR_DCD | reg.MSR_DSR | reg.MSR_CTS;
/** 9600 baud. */
const RESET_DIVISOR = 12;

/**
 * A 16550A serial port (PC16550D data sheet). The far end is a terminal that is always ready: DCD, DSR and CTS are
 * asserted. What the guest transmits leaves at once, so the transmitter is always empty when the guest looks;
 * the transmitter interrupt is nevertheless a separate event for every write, as drivers expect.
 *
 * Input waits in a queue of {@link INPUT_QUEUE_BYTES} and enters the FIFO a character time apart, and only while there
 * is room: a guest that is slow to read loses nothing. The FIFO overruns only in loopback mode.
 *
 * The interrupt does not depend on MCR.OUT2, which on PC boards gates it: a guest that forgets OUT2 works on other
 * virtual machines and should here, and no driver relies on the gate while it has interrupts enabled in IER.
 * Word length and parity do not change the bytes that are passed on, for the same reason.
 */
export class Uart16550 implements Device, PioHandler {
  readonly id: DeviceId;
  readonly #wiring: Uart16550Wiring;
  readonly #log: Log;
  readonly #receiveAlarm: Alarm;
  readonly #timeoutAlarm: Alarm;

  #divisor = RESET_DIVISOR;
  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  /** LSR errors (bits 1–4) of the character at the head of the FIFO, until they are read. */
  #lineErrors = 0;
  #msr = CONNECTED;
  #scratch = 0;
  /** The last character read: what a read of an empty receiver gives. */
  #lastReceived = 0;
  #thrInterrupt = false;
  #characterTimeout = false;
  /** Received characters, see ERROR_SHIFT. */
  readonly #fifo = new Uint16Array(reg.FIFO_BYTES);
  #fifoHead = 0;
  #fifoCount = 0;

  readonly #queue = new Uint8Array(INPUT_QUEUE_BYTES);
  #queueHead = 0;
  #queueCount = 0;
  #refusedInput = false;
  /** The host's next character cannot arrive before this moment. */
  #nextReceive: Nanos = 0;

  constructor(id: DeviceId, wiring: Uart16550Wiring) {
    this.id = id;
    this.#wiring = wiring;
    this.#log = limitedLog(wiring.log);
    this.#receiveAlarm = wiring.clock.createAlarm(() => this.#receiveFromQueue());
    this.#timeoutAlarm = wiring.clock.createAlarm(() => {
      this.#characterTimeout = true;
      this.#updateLine();
    });
    this.reset();
  }

  /** Master reset (8.0, table I). Characters that the host has queued stay: the terminal did not go away. */
  reset(): void {
    this.#divisor = RESET_DIVISOR;
    this.#ier = 0;
    this.#fcr = 0;
    this.#lcr = 0;
    this.#mcr = 0;
    this.#msr = CONNECTED;
    this.#scratch = 0;
    this.#lastReceived = 0;
    this.#thrInterrupt = false;
    this.#clearReceiver();
    this.#updateLine();
    this.#scheduleReceive();
  }

  /**
   * Bytes from the terminal. Returns how many were taken: the rest did not fit into the queue and may be sent again
   * after `onInputSpace`.
   */
  receive(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, this.inputSpace);
    for (let i = 0; i < taken; i++) {
      this.#queue[(this.#queueHead + this.#queueCount + i) % INPUT_QUEUE_BYTES] = bytes[i] ?? 0;
    }
    this.#queueCount += taken;
    this.#refusedInput ||= taken < bytes.length;
    this.#scheduleReceive();
    return taken;
  }

  /** Bytes that `receive` takes at present. */
  get inputSpace(): number {
    return INPUT_QUEUE_BYTES - this.#queueCount;
  }

  /** The terminal sends a break (which Linux takes for SysRq on a console). It overtakes queued characters. */
  receiveBreak(): void {
    if ((this.#mcr & reg.MCR_LOOPBACK) === 0) {
      this.#push(reg.LSR_BREAK << ERROR_SHIFT);
      this.#updateLine();
    }
  }

  readPort(offset: number, size: AccessSize): number {
    let value = this.#read(offset);
    for (let i = 1; i < size; i++) {
      value |= this.#read(offset + i) << (8 * i);
    }
    return value >>> 0;
  }

  writePort(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) {
      this.#write(offset + i, (value >>> (8 * i)) & 0xff);
    }
  }

  #read(offset: number): number {
    switch (offset) {
      case reg.UART_DATA:
        return (this.#lcr & reg.LCR_DLAB) !== 0 ? this.#divisor & 0xff : this.#readReceiver();
      case reg.UART_IER:
        return (this.#lcr & reg.LCR_DLAB) !== 0 ? this.#divisor >>> 8 : this.#ier;
      case reg.UART_IIR_FCR: {
        const source = this.#interruptSource();
        if (source === reg.IIR_THR_EMPTY) {
          this.#thrInterrupt = false;
          this.#updateLine();
        }
        return source | ((this.#fcr & reg.FCR_ENABLE) !== 0 ? reg.IIR_FIFOS_ENABLED : 0);
      }
      case reg.UART_LCR:
        return this.#lcr;
      case reg.UART_MCR:
        return this.#mcr;
      case reg.UART_LSR: {
        const value = this.#lineStatus();
        if (this.#lineErrors !== 0) {
          this.#lineErrors = 0;
          this.#updateLine();
        }
        return value;
      }
      case reg.UART_MSR: {
        const value = this.#msr;
        this.#msr &= ~reg.MSR_DELTAS;
        this.#updateLine();
        return value;
      }
      case reg.UART_SCRATCH:
        return this.#scratch;
      default:
        return 0xff;
    }
  }

  #write(offset: number, value: number): void {
    switch (offset) {
      case reg.UART_DATA:
        if ((this.#lcr & reg.LCR_DLAB) !== 0) {
          this.#divisor = (this.#divisor & 0xff00) | value;
        } else {
          this.#transmit(value);
        }
        break;
      case reg.UART_IER:
        if ((this.#lcr & reg.LCR_DLAB) !== 0) {
          this.#divisor = (this.#divisor & 0x00ff) | (value << 8);
        } else {
          this.#writeInterruptEnable(value & reg.IER_MASK);
        }
        break;
      case reg.UART_IIR_FCR:
        this.#writeFifoControl(value);
        break;
      case reg.UART_LCR:
        this.#writeLineControl(value);
        break;
      case reg.UART_MCR:
        this.#writeModemControl(value & reg.MCR_MASK);
        break;
      case reg.UART_LSR:
      case reg.UART_MSR:
        // Read-only; the data sheet keeps writing LSR for factory tests.
        this.#log.warn(`${this.id}: write of ${value.toString(16)}h to read-only register ${offset} ignored`);
        break;
      case reg.UART_SCRATCH:
        this.#scratch = value;
        break;
      default:
        break;
    }
  }

  /** Setting IER bit 1 while the transmitter is empty (always, here) interrupts at once; Linux tests for it. */
  #writeInterruptEnable(value: number): void {
    if (((value ^ this.#ier) & reg.IER_THR_EMPTY) !== 0) {
      this.#thrInterrupt = (value & reg.IER_THR_EMPTY) !== 0;
    }
    this.#ier = value;
    this.#updateLine();
  }

  #writeFifoControl(value: number): void {
    const enabled = (value & reg.FCR_ENABLE) !== 0;
    const enableChanged = enabled !== ((this.#fcr & reg.FCR_ENABLE) !== 0);
    // Bit 0 must be set for the other bits to be programmed (8.4).
    if (enableChanged || (enabled && (value & reg.FCR_CLEAR_RECEIVER) !== 0)) {
      this.#clearReceiver();
    }
    if (enableChanged || (enabled && (value & reg.FCR_CLEAR_TRANSMITTER) !== 0)) {
      this.#thrInterrupt = true;
    }
    this.#fcr = enabled ? value & 0xc9 : 0;
    this.#updateLine();
    this.#scheduleReceive();
  }

  #writeLineControl(value: number): void {
    const breakBegins = (value & ~this.#lcr & reg.LCR_BREAK) !== 0;
    this.#lcr = value;
    if (breakBegins && (this.#mcr & reg.MCR_LOOPBACK) !== 0) {
      this.#push(reg.LSR_BREAK << ERROR_SHIFT);
      this.#updateLine();
    }
  }

  /** In loopback mode the modem outputs feed the modem inputs (8.7); every change is a delta for the driver. */
  #writeModemControl(value: number): void {
    this.#mcr = value;
    let inputs = CONNECTED;
    if ((value & reg.MCR_LOOPBACK) !== 0) {
      inputs =
        ((value & reg.MCR_RTS) !== 0 ? reg.MSR_CTS : 0) |
        ((value & reg.MCR_DTR) !== 0 ? reg.MSR_DSR : 0) |
        ((value & reg.MCR_OUT1) !== 0 ? reg.MSR_RI : 0) |
        ((value & reg.MCR_OUT2) !== 0 ? reg.MSR_DCD : 0);
    }
    const changed = (inputs ^ this.#msr) & 0xf0;
    let deltas = changed >>> 4;
    if ((inputs & reg.MSR_RI) !== 0) {
      deltas &= ~reg.MSR_TRAILING_RI;
    }
    this.#msr = inputs | ((this.#msr | deltas) & reg.MSR_DELTAS);
    this.#updateLine();
    this.#scheduleReceive();
  }

  #transmit(value: number): void {
    // The write takes the interrupt back for a moment and the empty transmitter gives it again: an edge per write,
    // without which an edge-triggered controller would miss it.
    this.#thrInterrupt = false;
    this.#updateLine();
    if ((this.#mcr & reg.MCR_LOOPBACK) === 0) {
      this.#wiring.output.write(value);
    } else {
      this.#push(value);
    }
    this.#thrInterrupt = true;
    this.#updateLine();
  }

  #readReceiver(): number {
    if (this.#fifoCount > 0) {
      this.#lastReceived = (this.#fifo[this.#fifoHead] ?? 0) & 0xff;
      this.#fifoHead = (this.#fifoHead + 1) % reg.FIFO_BYTES;
      this.#fifoCount--;
      this.#characterTimeout = false;
      this.#lineErrors |= this.#headErrors();
      this.#armTimeout();
      this.#updateLine();
      this.#scheduleReceive();
    }
    return this.#lastReceived;
  }

  /** Error bits of the character that is next to be read; they appear in LSR when it gets there (8.3). */
  #headErrors(): number {
    return this.#fifoCount > 0 ? ((this.#fifo[this.#fifoHead] ?? 0) >>> ERROR_SHIFT) & reg.LSR_ERRORS : 0;
  }

  get #capacity(): number {
    return (this.#fcr & reg.FCR_ENABLE) !== 0 ? reg.FIFO_BYTES : 1;
  }

  #push(entry: number): void {
    if (this.#fifoCount >= this.#capacity) {
      this.#lineErrors |= reg.LSR_OVERRUN;
      if (this.#capacity > 1) {
        return; // The FIFO keeps its contents; the new character is lost in the shift register (8.3, bit 1).
      }
      this.#fifoCount = 0;
    }
    this.#fifo[(this.#fifoHead + this.#fifoCount) % reg.FIFO_BYTES] = entry;
    this.#fifoCount++;
    if (this.#fifoCount === 1) {
      this.#lineErrors |= this.#headErrors();
    }
    this.#armTimeout();
    this.#scheduleReceive();
  }

  /** The timeout interrupt comes when nothing has moved in a FIFO with contents for four character times (8.5). */
  #armTimeout(): void {
    if (this.#fifoCount > 0 && (this.#fcr & reg.FCR_ENABLE) !== 0) {
      this.#timeoutAlarm.set(this.#wiring.clock.now() + 4 * this.#characterNanos());
    } else {
      this.#timeoutAlarm.cancel();
    }
  }

  #clearReceiver(): void {
    this.#fifoHead = 0;
    this.#fifoCount = 0;
    this.#lineErrors = 0;
    this.#characterTimeout = false;
    this.#timeoutAlarm.cancel();
  }

  /** The time one character takes on the line. */
  #characterNanos(): Nanos {
    const bits =
      1 +
      5 +
      (this.#lcr & reg.LCR_WORD_LENGTH) +
      ((this.#lcr & reg.LCR_PARITY) !== 0 ? 1 : 0) +
      ((this.#lcr & reg.LCR_TWO_STOP_BITS) !== 0 ? 2 : 1);
    const nanos = Math.floor((bits * Math.max(1, this.#divisor) * 1_000_000_000) / BAUD_BASE);
    return Math.min(nanos, MAX_CHARACTER_NANOS);
  }

  /** Lets the next queued character in as soon as there is room and the line has had time to carry it. */
  #scheduleReceive(): void {
    if (this.#queueCount === 0 || this.#fifoCount >= this.#capacity || (this.#mcr & reg.MCR_LOOPBACK) !== 0) {
      this.#receiveAlarm.cancel();
    } else if (this.#receiveAlarm.deadline === undefined) {
      this.#receiveAlarm.set(Math.max(this.#wiring.clock.now(), this.#nextReceive));
    }
  }

  #receiveFromQueue(): void {
    this.#nextReceive = this.#wiring.clock.now() + this.#characterNanos();
    const byte = this.#queue[this.#queueHead] ?? 0;
    this.#queueHead = (this.#queueHead + 1) % INPUT_QUEUE_BYTES;
    this.#queueCount--;
    this.#push(byte);
    this.#updateLine();
    if (this.#refusedInput && this.#queueCount <= INPUT_QUEUE_BYTES / 2) {
      this.#refusedInput = false;
      this.#wiring.onInputSpace?.();
    }
  }

  #lineStatus(): number {
    let value = reg.LSR_THR_EMPTY | reg.LSR_TRANSMITTER_EMPTY | this.#lineErrors;
    if (this.#fifoCount > 0) {
      value |= reg.LSR_DATA_READY;
    }
    if ((this.#fcr & reg.FCR_ENABLE) !== 0) {
      // Bit 7 covers the errors not yet shown as well; one that has been shown and read no longer counts.
      for (let i = 1; i < this.#fifoCount; i++) {
        if ((this.#fifo[(this.#fifoHead + i) % reg.FIFO_BYTES] ?? 0) >>> ERROR_SHIFT !== 0) {
          value |= reg.LSR_ERROR_IN_FIFO;
        }
      }
      if ((this.#lineErrors & ~reg.LSR_OVERRUN) !== 0) {
        value |= reg.LSR_ERROR_IN_FIFO;
      }
    }
    return value;
  }

  /** The pending interrupt of the highest priority (8.5, table IV), as IIR bits 0–3. */
  #interruptSource(): number {
    if ((this.#ier & reg.IER_LINE_STATUS) !== 0 && this.#lineErrors !== 0) {
      return reg.IIR_LINE_STATUS;
    }
    if ((this.#ier & reg.IER_RECEIVED_DATA) !== 0) {
      const trigger =
        (this.#fcr & reg.FCR_ENABLE) !== 0 ? (reg.RECEIVER_TRIGGERS[this.#fcr >>> reg.FCR_TRIGGER_SHIFT] ?? 1) : 1;
      if (this.#fifoCount >= trigger) {
        return reg.IIR_RECEIVED_DATA;
      }
      if (this.#characterTimeout) {
        return reg.IIR_CHARACTER_TIMEOUT;
      }
    }
    if ((this.#ier & reg.IER_THR_EMPTY) !== 0 && this.#thrInterrupt) {
      return reg.IIR_THR_EMPTY;
    }
    if ((this.#ier & reg.IER_MODEM_STATUS) !== 0 && (this.#msr & reg.MSR_DELTAS) !== 0) {
      return reg.IIR_MODEM_STATUS;
    }
    return reg.IIR_NONE;
  }

  #updateLine(): void {
    this.#wiring.line.set(this.#interruptSource() !== reg.IIR_NONE);
  }

  save(): StateValue {
    const fifo: number[] = [];
    for (let i = 0; i < this.#fifoCount; i++) {
      fifo.push(this.#fifo[(this.#fifoHead + i) % reg.FIFO_BYTES] ?? 0);
    }
    const queue = new Uint8Array(this.#queueCount);
    for (let i = 0; i < queue.length; i++) {
      queue[i] = this.#queue[(this.#queueHead + i) % INPUT_QUEUE_BYTES] ?? 0;
    }
    return {
      divisor: this.#divisor,
      interruptEnable: this.#ier,
      fifoControl: this.#fcr,
      lineControl: this.#lcr,
      modemControl: this.#mcr,
      lineErrors: this.#lineErrors,
      modemStatus: this.#msr,
      scratch: this.#scratch,
      lastReceived: this.#lastReceived,
      thrInterrupt: this.#thrInterrupt,
      characterTimeout: this.#characterTimeout,
      fifo,
      queue,
      nextReceiveNanos: this.#nextReceive,
      receiveDeadline: this.#receiveAlarm.deadline ?? null,
      timeoutDeadline: this.#timeoutAlarm.deadline ?? null,
    };
  }

  load(state: StateValue): void {
    const reader = new StateReader(this.id, state);
    const divisor = reader.u16('divisor');
    const ier = reader.int('interruptEnable', 0, reg.IER_MASK);
    const fcr = reader.u8('fifoControl');
    const lcr = reader.u8('lineControl');
    const mcr = reader.int('modemControl', 0, reg.MCR_MASK);
    const lineErrors = reader.u8('lineErrors');
    const msr = reader.u8('modemStatus');
    const scratch = reader.u8('scratch');
    const lastReceived = reader.u8('lastReceived');
    const thrInterrupt = reader.boolean('thrInterrupt');
    const characterTimeout = reader.boolean('characterTimeout');
    const capacity = (fcr & reg.FCR_ENABLE) !== 0 ? reg.FIFO_BYTES : 1;
    const fifo = reader.ints('fifo', 0, (reg.LSR_ERRORS << ERROR_SHIFT) | 0xff, undefined, capacity);
    const queue = reader.bytes('queue', undefined, INPUT_QUEUE_BYTES);
    const nextReceive = reader.nanos('nextReceiveNanos');
    const receiveDeadline = reader.optionalNanos('receiveDeadline');
    const timeoutDeadline = reader.optionalNanos('timeoutDeadline');
    if ((lineErrors & ~reg.LSR_ERRORS) !== 0 || (fcr !== 0 && (fcr & ~0xc8) !== reg.FCR_ENABLE)) {
      reader.refuse('register bits that do not exist are set');
    }
    if (receiveDeadline !== undefined && (queue.length === 0 || fifo.length >= capacity)) {
      reader.refuse('a character is due, but there is none or no room for it');
    }

    this.#divisor = divisor;
    this.#ier = ier;
    this.#fcr = fcr;
    this.#lcr = lcr;
    this.#mcr = mcr;
    this.#lineErrors = lineErrors;
    this.#msr = msr;
    this.#scratch = scratch;
    this.#lastReceived = lastReceived;
    this.#thrInterrupt = thrInterrupt;
    this.#characterTimeout = characterTimeout;
    this.#fifo.set(fifo);
    this.#fifoHead = 0;
    this.#fifoCount = fifo.length;
    this.#queue.set(queue);
    this.#queueHead = 0;
    this.#queueCount = queue.length;
    this.#refusedInput = false;
    this.#nextReceive = nextReceive;
    setOrCancel(this.#receiveAlarm, receiveDeadline);
    setOrCancel(this.#timeoutAlarm, timeoutDeadline);
    this.#updateLine();
  }

  describe(): string {
    const baud = this.#divisor === 0 ? 'stopped' : `${Math.round(BAUD_BASE / this.#divisor)} baud`;
    const hex = (value: number) => value.toString(16).padStart(2, '0');
    return [
      `${this.id}: 16550A, ${baud}, LCR ${hex(this.#lcr)} MCR ${hex(this.#mcr)} IER ${hex(this.#ier)} FCR ${hex(this.#fcr)}`,
      `  LSR ${hex(this.#lineStatus())} MSR ${hex(this.#msr)} IIR ${hex(this.#interruptSource())}`,
      `  ${this.#fifoCount} in the FIFO, ${this.#queueCount} waiting on the host`,
    ].join('\n');
  }

  dispose(): void {
    this.#receiveAlarm.dispose();
    this.#timeoutAlarm.dispose();
    this.#queueCount = 0;
  }
}

function setOrCancel(alarm: Alarm, deadline: Nanos | undefined): void {
  if (deadline === undefined) {
    alarm.cancel();
  } else {
    alarm.set(deadline);
  }
}
