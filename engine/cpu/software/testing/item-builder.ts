import type { Random } from '../../../testing/random.ts';
import { littleEndianBytes } from './bytes.ts';
import * as G from './guest-layout.ts';
import type { Fixup, Item, Mutable, ProgramMode, Target } from './program.ts';

/** Register operands of ModRM memory forms. */
export type Size = 1 | 2 | 4 | 8;

/** What the program that is being made looks like, for those who make parts of it. */
export interface ProgramShape {
  readonly random: Random;
  readonly mode: ProgramMode;
  readonly bits: 32 | 64;
  readonly kernel: boolean;
  readonly based: boolean;
  readonly smap: boolean;
  /** Registers through which memory is addressed, with the addresses they start with. */
  readonly pointers: ReadonlyMap<number, bigint>;
  /** Registers that count loops. */
  readonly counters: readonly number[];
}

/** Difference between linear addresses and offsets in DS. */
export function dataBase(shape: ProgramShape): number {
  return shape.based && shape.bits === 32 ? G.SEGMENT_BASE : 0;
}

/** Puts an item together, instruction by instruction. */
export class ItemBuilder {
  readonly #shape: ProgramShape;
  readonly #bytes: number[] = [];
  readonly #fixups: Fixup[] = [];
  readonly #mutable: Mutable[] = [];
  readonly #starts: number[] = [];
  readonly #texts: string[] = [];
  #ends = false;

  constructor(shape: ProgramShape) {
    this.#shape = shape;
  }

  get length(): number {
    return this.#bytes.length;
  }

  /** Starts an instruction with its first bytes. */
  instruction(text: string, ...bytes: number[]): this {
    this.#starts.push(this.#bytes.length);
    this.#texts.push(text);
    this.#bytes.push(...bytes);
    return this;
  }

  more(...bytes: number[]): this {
    this.#bytes.push(...bytes);
    return this;
  }

  number(value: bigint | number, length: number): this {
    this.#bytes.push(...littleEndianBytes(value, length));
    return this;
  }

  /** A field that depends on a target. */
  field(kind: Fixup['kind'], bytes: Fixup['bytes'], target: Target, add = 0n): this {
    this.#fixups.push({ at: this.#bytes.length, bytes, kind, target, add });
    return this.number(0, bytes);
  }

  /** Marks a byte, counted from the present end, as one that may change. */
  mutable(back: number, mask: number): this {
    this.#mutable.push({ offset: this.#bytes.length - back, mask });
    return this;
  }

  ends(): this {
    this.#ends = true;
    return this;
  }

  /** REX prefix, if one is needed: `register` in ModRM.reg, `base` in ModRM.rm or the opcode. */
  rex(wide: boolean, register: number, base: number, byte = false): this {
    const value = (wide ? 8 : 0) | (register >= 8 ? 4 : 0) | (base >= 8 ? 1 : 0);
    if (this.#shape.bits === 64 && (value !== 0 || (byte && (register >= 4 || base >= 4)))) {
      this.#bytes.push(0x40 | value);
    }
    return this;
  }

  /** ModRM for an absolute address in the data segment; `register` is ModRM.reg. The address follows. */
  absolute(register: number): this {
    if (this.#shape.bits === 64) {
      this.#bytes.push(((register & 7) << 3) | 4, 0x25);
    } else {
      this.#bytes.push(((register & 7) << 3) | 5);
    }
    return this;
  }

  /** The same with a linear address known now. */
  at(register: number, linear: number): this {
    return this.absolute(register).number(linear - dataBase(this.#shape), 4);
  }

  /** MOV register, value: the short form where it does. */
  load(register: number, value: bigint): this {
    const text = `mov ${registerName(register, this.#shape.bits)}, ${value.toString(16)}`;
    this.instruction(text);
    if (this.#shape.bits === 64 && value >= 0x1_0000_0000n) {
      return this.rex(true, 0, register)
        .more(0xb8 | (register & 7))
        .number(value, 8);
    }
    return this.rex(false, 0, register)
      .more(0xb8 | (register & 7))
      .number(value, 4);
  }

  /** Moves the address of a target into a register: of code, or of code as data. */
  loadAddress(register: number, kind: 'code' | 'data', target: Target, add = 0n): this {
    const name = registerName(register, this.#shape.bits);
    this.instruction(`mov ${name}, ${kind} address of block ${target.block}`);
    const wide = this.#shape.bits === 64;
    this.rex(wide, 0, register).more(0xb8 | (register & 7));
    return this.field(kind, wide ? 8 : 4, target, add);
  }

  /** Adds the instructions of another item. */
  append(item: Item): this {
    const base = this.#bytes.length;
    this.#starts.push(...item.starts.map((start) => base + start));
    this.#fixups.push(...item.fixups.map((fixup) => ({ ...fixup, at: base + fixup.at })));
    this.#mutable.push(...item.mutable.map((place) => ({ ...place, offset: base + place.offset })));
    this.#texts.push(item.text);
    this.#bytes.push(...item.bytes);
    return this;
  }

  build(id: number): Item {
    return {
      id,
      text: this.#texts.join('; '),
      bytes: this.#bytes,
      fixups: this.#fixups,
      mutable: this.#mutable,
      starts: this.#starts,
      ends: this.#ends,
    };
  }
}

const NAMES = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];

export function registerName(register: number, bits: 32 | 64): string {
  const legacy = NAMES[register];
  return legacy === undefined ? `r${register}` : `${bits === 64 ? 'r' : 'e'}${legacy}`;
}
