import type { StateReader } from '../state.ts';

/** EECD bits (Intel 317453, 13.4.3). */
const EECD_SK = 1 << 0;
const EECD_CS = 1 << 1;
const EECD_DI = 1 << 2;
const EECD_DO = 1 << 3;
const EECD_FWE_DISABLED = 1 << 4;
const EECD_REQ = 1 << 6;
const EECD_GNT = 1 << 7;
const EECD_PRES = 1 << 8;

const WORDS = 64;
const OPCODE_READ = 2;
/** Start bit, opcode and address of a Microwire command. */
const COMMAND_BITS = 9;
/** All words add up to this. */
const CHECKSUM = 0xbaba;

export type EepromState = { control: number; shift: number; bits: number; out: number };

/** The card's EEPROM of 64 words, read through EERD or bit by bit as a Microwire device; it cannot be written. */
export class Eeprom {
  readonly words = new Uint16Array(WORDS);
  #control = 0;
  /** Bits of a command that came so far, and how many. */
  #shift = 0;
  #bits = 0;
  /** What goes out on DO, the next bit at bit 16; 17 bits with the leading zero. */
  #out = 0;

  constructor(
    mac: Uint8Array,
    identity: { readonly vendorId: number; readonly deviceId: number; readonly subsystemId: number },
  ) {
    const { words } = this;
    for (let i = 0; i < 3; i++) {
      words[i] = (mac[i * 2] ?? 0) | ((mac[i * 2 + 1] ?? 0) << 8);
    }
    // Chapter 5.6: compatibility, initialization control, and the identity in configuration space.
    words[0x0a] = 0x3000;
    words[0x0b] = identity.subsystemId;
    words[0x0c] = identity.vendorId;
    words[0x0d] = identity.deviceId;
    words[0x0e] = identity.vendorId;
    words[0x0f] = 0x3040;
    words[0x21] = 0x0008;
    const sum = words.reduce((total, word) => total + word, 0);
    words[0x3f] = (CHECKSUM - sum) & 0xffff;
  }

  reset(): void {
    this.#control = 0;
    this.#shift = 0;
    this.#bits = 0;
    this.#out = 0;
  }

  word(address: number): number {
    return this.words[address] ?? 0;
  }

  readControl(): number {
    const granted = (this.#control & EECD_REQ) !== 0 ? EECD_GNT : 0;
    // Without anything to say the line is pulled up.
    const out = this.#bits < COMMAND_BITS || (this.#out & 0x10000) !== 0 ? EECD_DO : 0;
    return this.#control | granted | out | EECD_PRES | EECD_FWE_DISABLED;
  }

  writeControl(value: number): void {
    const before = this.#control;
    this.#control = value & (EECD_SK | EECD_CS | EECD_DI | EECD_REQ);
    if ((value & EECD_CS) === 0) {
      this.#shift = 0;
      this.#bits = 0;
      return;
    }
    if ((value & EECD_SK) === 0 || (before & EECD_SK) !== 0) {
      return;
    }
    // A rising edge of the clock.
    if (this.#bits < COMMAND_BITS) {
      const bit = (value & EECD_DI) !== 0 ? 1 : 0;
      if (this.#bits > 0 || bit === 1) {
        this.#shift = (this.#shift << 1) | bit;
        this.#bits++;
      }
      if (this.#bits === COMMAND_BITS) {
        const isRead = ((this.#shift >> 6) & 3) === OPCODE_READ;
        this.#out = isRead ? this.word(this.#shift & 0x3f) : 0x1ffff;
      }
    } else {
      this.#out = ((this.#out << 1) | 1) & 0x1ffff;
    }
  }

  save(): EepromState {
    return { control: this.#control, shift: this.#shift, bits: this.#bits, out: this.#out };
  }

  read(reader: StateReader): EepromState {
    return {
      control: reader.int('control', 0, 0xff),
      shift: reader.int('shift', 0, 0x1ff),
      bits: reader.int('bits', 0, COMMAND_BITS),
      out: reader.int('out', 0, 0x1ffff),
    };
  }

  load(state: EepromState): void {
    this.#control = state.control;
    this.#shift = state.shift;
    this.#bits = state.bits;
    this.#out = state.out;
  }
}
