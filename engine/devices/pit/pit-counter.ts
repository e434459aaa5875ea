import type { StateReader } from '../state.ts';

/** Access modes in bits 5:4 of the control word; 0 is the latch command. */
const ACCESS_LOW = 1;
const ACCESS_HIGH = 2;
const ACCESS_BOTH = 3;

/**
 * One counter of the 8254, computed instead of counted: all times are ticks of the 1.193182 MHz oscillator since
 * power-on, and reading a count or the output is arithmetic on the distance from the tick at which counting began.
 * (Intel 8254 datasheet, "Mode definitions".)
 */
export class PitCounter {
  /** 0 … 5. */
  mode = 0;
  bcd = false;
  access = ACCESS_BOTH;
  gate: boolean;
  readonly #gateAtReset: boolean;
  /** Initial count 1 … 65536, or 0 before the first count after a control word. */
  count = 0;
  /** True while counting (or, in the periodic modes, oscillating); false while waiting for a count or a trigger. */
  #running = false;
  /** The tick at which `count` was loaded. */
  #start = 0;
  /** Modes 0 and 4 with the gate low: ticks that had been counted when it went low. */
  #held: number | undefined = undefined;
  /** Modes 2 and 3: a count that takes over at the end of the present period; 0: none. Modes 1 and 5: at the trigger. */
  #next = 0;
  /** The tick at which `#next` takes over in modes 2 and 3. */
  #nextAt = 0;
  /** The low byte, while the high byte is still to come. */
  #writeLow: number | undefined = undefined;
  /** The next byte to read of a two-byte count is the high one. */
  #readHigh = false;
  /** Latched bytes still to be read, low first. */
  #latch: number | undefined = undefined;
  #latchBytesLeft = 0;
  #latchedStatus: number | undefined = undefined;

  /** `gateAtReset`: counters 0 and 1 of a PC have their gates tied high. */
  constructor(gateAtReset: boolean) {
    this.#gateAtReset = gateAtReset;
    this.gate = gateAtReset;
  }

  // ---- programming

  writeControl(value: number, tick: number): void {
    const access = (value >>> 4) & 3;
    if (access === 0) {
      this.latchCount(tick);
      return;
    }
    const mode = (value >>> 1) & 7;
    this.access = access;
    this.mode = mode > 5 ? mode - 4 : mode;
    this.bcd = (value & 1) !== 0;
    this.count = 0;
    this.#running = false;
    this.#held = undefined;
    this.#next = 0;
    this.#writeLow = undefined;
    this.#readHigh = false;
    this.#latch = undefined;
    this.#latchBytesLeft = 0;
    this.#latchedStatus = undefined;
  }

  /** One byte of the initial count. */
  writeByte(byte: number, tick: number): void {
    switch (this.access) {
      case ACCESS_LOW:
        this.#load(byte, tick);
        return;
      case ACCESS_HIGH:
        this.#load(byte << 8, tick);
        return;
      default:
        if (this.#writeLow === undefined) {
          this.#writeLow = byte;
          if (this.mode === 0) {
            // The first byte stops counting and takes the output low at once.
            this.#running = false;
            this.count = 0;
          }
        } else {
          const low = this.#writeLow;
          this.#writeLow = undefined;
          this.#load((byte << 8) | low, tick);
        }
    }
  }

  #load(raw: number, tick: number): void {
    const count = this.bcd ? fromBcd(raw) || 10000 : raw || 65536;
    this.#settle(tick);
    if (this.mode === 1 || this.mode === 5) {
      // The count waits for the trigger; one that is under way is not disturbed.
      this.#next = count;
      if (this.count === 0) {
        this.count = count;
      }
      return;
    }
    if ((this.mode === 2 || this.mode === 3) && this.#running && this.gate) {
      this.#next = count;
      this.#nextAt = this.#start + (Math.floor((tick - this.#start) / this.count) + 1) * this.count;
      return;
    }
    this.#next = 0;
    this.count = count;
    this.#begin(tick);
  }

  #begin(tick: number): void {
    this.#start = tick;
    if (this.gate) {
      this.#running = true;
      this.#held = undefined;
    } else if (this.mode === 0 || this.mode === 4) {
      this.#running = true;
      this.#held = 0;
    } else {
      this.#running = false;
    }
  }

  setGate(gate: boolean, tick: number): void {
    if (gate === this.gate) {
      return;
    }
    this.#settle(tick);
    this.gate = gate;
    switch (this.mode) {
      case 0:
      case 4:
        if (this.#running) {
          if (gate) {
            this.#start = tick - (this.#held ?? 0);
            this.#held = undefined;
          } else {
            this.#held = tick - this.#start;
          }
        }
        return;
      case 1:
      case 5:
        if (gate && this.count !== 0) {
          if (this.#next !== 0) {
            this.count = this.#next;
            this.#next = 0;
          }
          this.#start = tick;
          this.#running = true;
        }
        return;
      default:
        if (gate && this.count !== 0) {
          if (this.#next !== 0) {
            this.count = this.#next;
            this.#next = 0;
          }
          this.#start = tick;
          this.#running = true;
        } else {
          this.#running = false;
        }
    }
  }

  /** Lets a waiting count of the periodic modes take over if its time has come. */
  #settle(tick: number): void {
    if (this.#next !== 0 && this.#running && (this.mode === 2 || this.mode === 3) && tick >= this.#nextAt) {
      this.#start = this.#nextAt;
      this.count = this.#next;
      this.#next = 0;
    }
  }

  // ---- what can be seen

  #elapsed(tick: number): number {
    return this.#held ?? tick - this.#start;
  }

  /** The OUT pin. */
  output(tick: number): boolean {
    this.#settle(tick);
    if (!this.#running) {
      return this.mode !== 0;
    }
    const elapsed = this.#elapsed(tick);
    switch (this.mode) {
      case 0:
      case 1:
        return elapsed >= this.count;
      case 2:
        return elapsed % this.count !== this.count - 1 || this.count === 1;
      case 3:
        return elapsed % this.count < (this.count + 1) >>> 1;
      default:
        // A strobe of one tick when the count has run out.
        return elapsed !== this.count;
    }
  }

  /** The present value of the counting element, 0 … 65535 (binary even when it counts in BCD). */
  #value(tick: number): number {
    this.#settle(tick);
    const modulus = this.bcd ? 10000 : 65536;
    const { count } = this;
    if (!this.#running) {
      return count % modulus;
    }
    const elapsed = this.#elapsed(tick);
    switch (this.mode) {
      case 2:
        return (count - (elapsed % count)) % modulus;
      case 3: {
        const phase = elapsed % count;
        const high = (count + 1) >>> 1;
        const within = phase < high ? phase : phase - high;
        return ((count & ~1) - 2 * within) % modulus;
      }
      default:
        // Goes on through zero to the highest count.
        return (count - (elapsed % modulus) + modulus) % modulus;
    }
  }

  /** The count as the guest reads it. */
  #readValue(tick: number): number {
    const value = this.#value(tick);
    return this.bcd ? toBcd(value) : value;
  }

  /** Ticks between two rising edges of the output while it oscillates (mode 3 or 2, counting), else 0. */
  period(tick: number): number {
    this.#settle(tick);
    return this.#running && (this.mode === 2 || this.mode === 3) ? this.count : 0;
  }

  /**
   * The first tick after `tick` at which the output rises, or undefined. `shortest` is the least distance from `tick`
   * for the periodic modes: edges that come sooner are passed over.
   */
  nextRise(tick: number, shortest: number): number | undefined {
    this.#settle(tick);
    if (!this.#running || this.#held !== undefined) {
      return undefined;
    }
    const { count } = this;
    if (this.mode === 2 || this.mode === 3) {
      if (this.#next !== 0) {
        return this.#nextAt;
      }
      const earliest = tick + Math.max(0, shortest - count);
      return this.#start + (Math.floor((earliest - this.#start) / count) + 1) * count;
    }
    const rise = this.#start + count + (this.mode >= 4 ? 1 : 0);
    return rise > tick ? rise : undefined;
  }

  // ---- reading

  latchCount(tick: number): void {
    if (this.#latchBytesLeft === 0) {
      this.#latch = this.#readValue(tick);
      this.#latchBytesLeft = this.access === ACCESS_BOTH ? 2 : 1;
    }
  }

  latchStatus(tick: number): void {
    this.#latchedStatus ??= this.#status(tick);
  }

  #status(tick: number): number {
    const output = this.output(tick);
    const nullCount = this.count === 0 || this.#next !== 0;
    return (output ? 0x80 : 0) | (nullCount ? 0x40 : 0) | (this.access << 4) | (this.mode << 1) | (this.bcd ? 1 : 0);
  }

  readByte(tick: number): number {
    if (this.#latchedStatus !== undefined) {
      const status = this.#latchedStatus;
      this.#latchedStatus = undefined;
      return status;
    }
    if (this.#latchBytesLeft > 0 && this.#latch !== undefined) {
      const high = this.access === ACCESS_HIGH || (this.access === ACCESS_BOTH && this.#latchBytesLeft === 1);
      this.#latchBytesLeft--;
      const latch = this.#latch;
      if (this.#latchBytesLeft === 0) {
        this.#latch = undefined;
      }
      return high ? latch >>> 8 : latch & 0xff;
    }
    const value = this.#readValue(tick);
    switch (this.access) {
      case ACCESS_LOW:
        return value & 0xff;
      case ACCESS_HIGH:
        return value >>> 8;
      default:
        this.#readHigh = !this.#readHigh;
        return this.#readHigh ? value & 0xff : value >>> 8;
    }
  }

  // ---- life cycle

  reset(): void {
    this.writeControl(0x30, 0);
    this.gate = this.#gateAtReset;
    this.#start = 0;
    this.#nextAt = 0;
  }

  save() {
    return {
      mode: this.mode,
      bcd: this.bcd,
      access: this.access,
      gate: this.gate,
      count: this.count,
      running: this.#running,
      start: this.#start,
      held: this.#held,
      next: this.#next,
      nextAt: this.#nextAt,
      writeLow: this.#writeLow,
      readHigh: this.#readHigh,
      latch: this.#latch,
      latchBytesLeft: this.#latchBytesLeft,
      latchedStatus: this.#latchedStatus,
    };
  }

  static parse(reader: StateReader): ReturnType<PitCounter['save']> {
    const count = reader.int('count', 0, 65536);
    const running = reader.boolean('running');
    if (running && count === 0) {
      reader.refuse('a counter without a count is running');
    }
    const byte = (key: string) => (reader.has(key) ? reader.u8(key) : undefined);
    return {
      mode: reader.int('mode', 0, 5),
      bcd: reader.boolean('bcd'),
      access: reader.int('access', 1, 3),
      gate: reader.boolean('gate'),
      count,
      running,
      start: reader.nanos('start'),
      held: reader.optionalNanos('held'),
      next: reader.int('next', 0, 65536),
      nextAt: reader.nanos('nextAt'),
      writeLow: byte('writeLow'),
      readHigh: reader.boolean('readHigh'),
      latch: reader.has('latch') ? reader.u16('latch') : undefined,
      latchBytesLeft: reader.int('latchBytesLeft', 0, 2),
      latchedStatus: byte('latchedStatus'),
    };
  }

  apply(state: ReturnType<PitCounter['save']>): void {
    this.mode = state.mode;
    this.bcd = state.bcd;
    this.access = state.access;
    this.gate = state.gate;
    this.count = state.count;
    this.#running = state.running;
    this.#start = state.start;
    this.#held = state.held;
    this.#next = state.next;
    this.#nextAt = state.nextAt;
    this.#writeLow = state.writeLow;
    this.#readHigh = state.readHigh;
    this.#latch = state.latch;
    this.#latchBytesLeft = state.latchBytesLeft;
    this.#latchedStatus = state.latchedStatus;
  }
}

/** Four decimal digits; digits above 9 count with their weight, as the chip's subtractor would. */
function fromBcd(value: number): number {
  return (value >>> 12) * 1000 + ((value >>> 8) & 15) * 100 + ((value >>> 4) & 15) * 10 + (value & 15);
}

function toBcd(value: number): number {
  return (
    ((Math.floor(value / 1000) % 10) << 12) |
    ((Math.floor(value / 100) % 10) << 8) |
    ((Math.floor(value / 10) % 10) << 4) |
    (value % 10)
  );
}
