import * as L from '../x86/layout.ts';
import type { CodeReader } from './code-reader.ts';

/** No segment override. */
export const NO_SEGMENT = 0xff;

function isLegacyPrefix(byte: number): boolean {
  return (
    byte === 0x66 ||
    byte === 0x67 ||
    (byte & 0xfe) === 0xf2 ||
    byte === 0xf0 ||
    (byte & 0xfe) === 0x64 ||
    (byte & 0xe7) === 0x26
  );
}

/** Everything in front of an instruction's ModRM byte (SDM 2A, 2.1–2.3), up to and including its opcode. */
export class Prefixes {
  /** 66, or the same in VEX.pp. */
  operandSize = false;
  addressSize = false;
  /** F2 or F3, or the same in VEX.pp; 0 without. */
  repeat = 0;
  lock = false;
  /** Number of the overriding segment register. */
  segment = NO_SEGMENT;
  /** The bits W R X B of REX or VEX; with a REX prefix at all, 0x40 too. */
  rex = 0;
  vex = false;
  /** VEX.L and the register in VEX.vvvv. */
  length = 0;
  vvvv = 0;
  /** Number of the opcode map. */
  map = 0;
  opcode = 0;

  /** Reads them. Returns false if they cannot go together (#UD). */
  read(reader: CodeReader, mode: number): boolean {
    const long = (mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
    this.operandSize = false;
    this.addressSize = false;
    this.repeat = 0;
    this.lock = false;
    this.segment = NO_SEGMENT;
    this.rex = 0;
    this.vex = false;
    this.length = 0;
    this.vvvv = 0;
    this.map = 0;
    this.#readLegacy(reader, long);
    const { opcode } = this;
    if ((opcode === 0xc4 || opcode === 0xc5) && this.#startsVex(reader, mode, long)) {
      return this.#readVex(reader, long);
    }
    if (opcode === 0x0f) {
      this.map = 1;
      this.opcode = reader.u8();
      if (this.opcode === 0x38 || this.opcode === 0x3a) {
        this.map = this.opcode === 0x38 ? 2 : 3;
        this.opcode = reader.u8();
      }
    }
    return true;
  }

  #readLegacy(reader: CodeReader, long: boolean): void {
    for (;;) {
      const byte = reader.u8();
      this.opcode = byte;
      if (byte === 0x66) {
        this.operandSize = true;
      } else if (byte === 0x67) {
        this.addressSize = true;
      } else if (byte === 0xf2 || byte === 0xf3) {
        this.repeat = byte;
      } else if (byte === 0xf0) {
        this.lock = true;
      } else if (byte === 0x64 || byte === 0x65) {
        this.segment = byte - 0x64 + L.SEG_FS;
      } else if ((byte & 0xe7) === 0x26) {
        // ES, CS, SS, DS: without meaning in 64-bit mode.
        if (!long) {
          this.segment = (byte >> 3) & 3;
        }
      } else if (long && (byte & 0xf0) === 0x40) {
        this.rex = byte;
        const next = reader.u8();
        this.opcode = next;
        if (!isLegacyPrefix(next) && (next & 0xf0) !== 0x40) {
          return;
        }
        // A REX prefix that is not the last one has no effect.
        this.rex = 0;
        reader.at--;
      } else {
        return;
      }
    }
  }

  /** C4 and C5 are LES and LDS outside 64-bit code, unless what follows would name a register in their ModRM. */
  #startsVex(reader: CodeReader, mode: number, long: boolean): boolean {
    if (long) {
      return true;
    }
    if (!(mode & L.MODE_PROTECTED)) {
      return false;
    }
    const next = reader.u8();
    reader.at--;
    return next >= 0xc0;
  }

  #readVex(reader: CodeReader, long: boolean): boolean {
    const allowed = this.rex === 0 && !this.operandSize && this.repeat === 0 && !this.lock;
    const first = reader.u8();
    let last = first;
    // R, X and B are inverted, and clear outside 64-bit code.
    let extension = (~first >> 5) & 4;
    this.map = 1;
    if (this.opcode === 0xc4) {
      extension = (~first >> 5) & 7;
      this.map = first & 0x1f;
      last = reader.u8();
      extension |= (last >> 4) & 8;
    }
    this.rex = long ? extension : extension & 8;
    this.vex = true;
    this.length = (last >> 2) & 1;
    this.vvvv = (~last >> 3) & 15;
    this.operandSize = (last & 3) === 1;
    this.repeat = (last & 3) === 2 ? 0xf3 : (last & 3) === 3 ? 0xf2 : 0;
    this.opcode = reader.u8();
    return allowed && this.map >= 1 && this.map <= 3;
  }
}
