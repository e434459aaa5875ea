import * as L from '../x86/layout.ts';
import { MAX_INSTRUCTION_BYTES } from './code-reader.ts';
import type { Candidate, DecoderMaps } from './decoder-table.ts';
import type { SpecialHandler } from './interpreter.ts';
import { OPERAND_SLOTS, UOP_DISPLACEMENT, UOP_HANDLER, UOP_IMMEDIATE, UOP_SIZE } from './micro-op.ts';
import { NO_SEGMENT } from './prefixes.ts';
import * as R from './recipe.ts';

const TABLE_BITS = 13;
const WORDS = UOP_SIZE / 4;
/** Micro-operations that an entry has room for. */
const MOST_UOPS = 3;

// An entry: key, mode, SIB byte (or −1), what is in it; slots; two trailers; the micro-operations.
const ENTRY_WORDS = 32;
const MODE = 1;
const SIB = 2;
const SHAPE = 3;
const SLOTS = 4;
const TRAILERS = 5;
const MOST_TRAILERS = 2;
const UOPS = ENTRY_WORDS - MOST_UOPS * WORDS;

// SHAPE: micro-operations; bytes of the displacement, unless ModRM says; what is done with it; trailers; address.
const UOPS_MASK = 3;
const DISPLACEMENT_SHIFT = 2;
const DISPLACEMENT_MASK = 7;
const USES_DISPLACEMENT = 1 << 5;
const RIP_RELATIVE = 1 << 6;
const ENDS = 1 << 7;
const TRAILER_SHIFT = 8;
const TRAILER_MASK = 3;
/** Registers are those that ModRM, SIB and REX of the instruction name, not those of the one that was learned from. */
const GENERAL = 1 << 10;
/** A prefix names the segment. */
const OVERRIDDEN = 1 << 11;
/** The row of handlers that the address has, plus 1; 0: always the one of the template. */
const FAMILY_SHIFT = 12;

// A trailer: bytes, word of the micro-operation, flags.
const TRAILER_BYTES = 15;
const TRAILER_WORD_SHIFT = 4;
const TRAILER_WORD_MASK = 7;
const TRAILER_SIGNED = 1 << 7;
const TRAILER_WIDE = 1 << 8;

/** Prefixes in front of REX that the quick way reads at most. */
const MOST_PREFIXES = 4;

// What a byte may be in front of an opcode, and what follows an opcode.
const IS_LEGACY_PREFIX = 1;
const HAS_MODRM = 2;
const IS_KNOWN = 4;
/** All its encodings take registers from ModRM, SIB and REX in the usual way; with KEEPS_REG, ModRM.reg is opcode. */
const IS_GENERAL = 8;
const KEEPS_REG = 16;

/** Handlers of addresses with a base alone, with an index, and relative to RIP. */
const FAMILIES: readonly (readonly SpecialHandler[])[] = [
  ['address64', 'address64-indexed', 'address-rip'],
  ['address32', 'address32-indexed', 'address-rip32'],
];

/** What the thorough decoder has found out about a memory operand. */
export interface DecodedAddress {
  /** Bytes of the displacement that have been read, and what its address adds to that. */
  readonly displacementBytes: number;
  readonly moved: number;
  /** The displacement counts from the end of the instruction. */
  readonly ripRelative: boolean;
}

/**
 * Decodes instructions whose like have been decoded before. Of those with the same prefixes, opcode and kind of ModRM
 * byte only registers, displacement and immediates differ, so that the micro-operations can be copied and these be put
 * in; for encodings that read more out of their ModRM byte it has to be the same, with the same SIB byte. All else, and
 * all that may reach into another page, is for the thorough decoder, from whose results this one learns.
 */
export class QuickDecoder {
  readonly #bytes: Uint8Array;
  readonly #halves: Uint16Array;
  readonly #words: Int32Array;
  /** No key fits an entry of zeros: without a SIB byte the entry says −1, and with one its ModRM byte is not 0. */
  readonly #table = new Int32Array(ENTRY_WORDS << TABLE_BITS);
  /** By opcode, and 256 for each further opcode map. */
  readonly #kinds = new Uint8Array(4 * 256);
  /** Handler numbers of FAMILIES. */
  readonly #families: readonly (readonly number[])[];
  #general = false;
  #key = 0;
  #sib = 0;
  /** Whether `learn` may be told what the last instruction is, which was not known. */
  learnable = false;
  /** Of the last instruction that was decoded here: where its micro-operations end, and whether it ends the block. */
  out = 0;
  ended = false;

  constructor(arena: ArrayBufferLike, maps: DecoderMaps, special: Readonly<Record<SpecialHandler, number>>) {
    this.#bytes = new Uint8Array(arena);
    this.#halves = new Uint16Array(arena);
    this.#words = new Int32Array(arena);
    this.#families = FAMILIES.map((names) => names.map((name) => special[name]));
    for (let map = 0; map < 4; map++) {
      for (let opcode = 0; opcode < 256; opcode++) {
        this.#kinds[map * 256 + opcode] = kindOf(map, opcode, maps[map]?.[opcode] ?? []);
      }
    }
  }

  /**
   * Decodes the instruction at arena address `host`, which lies at `offset` in its page, to micro-operations at `to`.
   * Returns its length, or 0 when it is not known. As many bytes as the longest instruction has can be read.
   */
  decode(host: number, offset: number, mode: number, to: number): number {
    const bytes = this.#bytes;
    const kinds = this.#kinds;
    const long = (mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
    this.learnable = false;
    let at = host;
    let opcode = bytes[at++] as number;
    let repeat = 0;
    let segment = NO_SEGMENT;
    let flags = 0;
    let rex = 0;
    let kind = kinds[opcode] as number;
    while (kind & IS_LEGACY_PREFIX) {
      if (at - host > MOST_PREFIXES) {
        return 0;
      }
      if (opcode === 0x66) {
        flags |= 1 << 23;
      } else if (opcode === 0x67) {
        flags |= 1 << 24;
      } else if (opcode === 0xf0) {
        flags |= 1 << 30;
      } else if (opcode >= 0xf2) {
        repeat = opcode;
      } else if (opcode >= 0x64) {
        segment = opcode - 0x64 + L.SEG_FS;
      } else if (!long) {
        segment = (opcode >> 3) & 3;
      }
      opcode = bytes[at++] as number;
      kind = kinds[opcode] as number;
    }
    if (long && (opcode & 0xf0) === 0x40) {
      rex = opcode;
      opcode = bytes[at++] as number;
      kind = kinds[opcode] as number;
      if (kind & IS_LEGACY_PREFIX || (opcode & 0xf0) === 0x40) {
        return 0;
      }
    }
    let map = 0;
    if (opcode === 0x0f) {
      map = 1;
      opcode = bytes[at++] as number;
      if (opcode === 0x38 || opcode === 0x3a) {
        map = opcode === 0x38 ? 2 : 3;
        opcode = bytes[at++] as number;
      }
      kind = kinds[map * 256 + opcode] as number;
    }
    if (!(kind & IS_KNOWN)) {
      return 0;
    }
    let modrm = -1;
    let sib = -1;
    let keyModrm = 0xff;
    let keyRex = (rex & 15) | ((rex & 0x40) >> 2);
    if (kind & HAS_MODRM) {
      modrm = bytes[at++] as number;
      if (kind & IS_GENERAL) {
        keyModrm = (modrm >= 0xc0 ? 0xc0 : 0) | (kind & KEEPS_REG ? modrm & 0x38 : 0);
        keyRex &= 0x18;
      } else {
        keyModrm = modrm;
        if ((modrm & 7) === 4 && modrm < 0xc0) {
          sib = bytes[at++] as number;
        }
      }
    }
    // All that what follows depends on, within a mode.
    const key =
      flags | opcode | (keyModrm << 8) | (map << 16) | (keyRex << 18) | ((repeat & 3) << 25) | ((segment & 7) << 27);
    const entry = entryOf(key, mode, sib);
    const table = this.#table;
    if (table[entry] !== key || table[entry + MODE] !== mode || table[entry + SIB] !== sib) {
      this.#key = key;
      this.#sib = sib;
      this.#general = (kind & IS_GENERAL) !== 0;
      this.learnable = true;
      return 0;
    }
    return this.#copy(entry, host, at, offset, to, modrm, rex, long);
  }

  /** Copies the micro-operations of an entry and puts in what follows at `at`. Returns the instruction's length. */
  #copy(
    entry: number,
    host: number,
    at: number,
    offset: number,
    to: number,
    modrm: number,
    rex: number,
    long: boolean,
  ): number {
    const table = this.#table;
    const words = this.#words;
    const shape = table[entry + SHAPE] as number;
    const first = to >> 2;
    const count = (shape & UOPS_MASK) * WORDS;
    const last = first + count - WORDS;
    for (let i = 0; i < count; i++) {
      words[first + i] = table[entry + UOPS + i] as number;
    }
    let next = at;
    let displacementBytes = (shape >> DISPLACEMENT_SHIFT) & DISPLACEMENT_MASK;
    let ripRelative = (shape & RIP_RELATIVE) !== 0;
    if (shape & GENERAL) {
      const slots = table[entry + SLOTS] as number;
      if (slots !== 0) {
        this.#fillSlots(last << 1, slots, modrm, rex);
      }
      if (modrm < 0xc0) {
        // SDM 2A, tables 2-2 and 2-3.
        const mod = modrm >> 6;
        let base = modrm & 7;
        let index = 4;
        let scale = 0;
        displacementBytes = mod === 1 ? 1 : mod === 2 ? 4 : 0;
        if (base === 4) {
          const sib = this.#bytes[next++] as number;
          base = sib & 7;
          index = ((sib >> 3) & 7) | ((rex & 2) << 2);
          scale = sib >> 6;
        } else if (base === 5 && mod === 0) {
          ripRelative = long;
        }
        if (base === 5 && mod === 0) {
          displacementBytes = 4;
          base = -1;
        } else {
          base |= (rex & 1) << 3;
        }
        if (shape & USES_DISPLACEMENT) {
          this.#fillAddress(first, shape, base, index, scale, ripRelative);
        }
      }
    }
    let displacement = 0;
    if (displacementBytes !== 0) {
      displacement = this.#number(next, displacementBytes, true);
      next += displacementBytes;
    }
    for (let i = 0, trailers = (shape >> TRAILER_SHIFT) & TRAILER_MASK; i < trailers; i++) {
      const trailer = table[entry + TRAILERS + i] as number;
      const size = trailer & TRAILER_BYTES;
      const low = this.#number(next, Math.min(size, 4), (trailer & TRAILER_SIGNED) !== 0);
      const word = last + ((trailer >> TRAILER_WORD_SHIFT) & TRAILER_WORD_MASK);
      words[word] = low;
      if (trailer & TRAILER_WIDE) {
        words[word + 1] = size === 8 ? this.#number(next + 4, 4, true) : low >> 31;
      }
      next += size;
    }
    const length = next - host;
    if (length > MAX_INSTRUCTION_BYTES) {
      return 0;
    }
    if (shape & USES_DISPLACEMENT) {
      words[first + UOP_DISPLACEMENT / 4] = (words[first + UOP_DISPLACEMENT / 4] as number) + displacement;
      if (ripRelative) {
        const target = offset + length + displacement;
        words[first + UOP_IMMEDIATE / 4] = target;
        words[first + UOP_IMMEDIATE / 4 + 1] = target < 0 ? -1 : 0;
      }
    }
    for (let uop = first; uop <= last; uop += WORDS) {
      words[uop] = (words[uop] as number) | (length << 16);
      words[uop + 3] = (words[uop + 3] as number) | (offset << 16);
    }
    this.out = to + count * 4;
    this.ended = (shape & ENDS) !== 0;
    return length;
  }

  /** Writes the registers that ModRM names into the slots of the micro-operation at `half` (in units of 16 bits). */
  #fillSlots(half: number, slots: number, modrm: number, rex: number): void {
    const reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
    const rm = (modrm & 7) | ((rex & 1) << 3);
    for (let i = 0, rest = slots; rest !== 0; i++, rest >>>= 4) {
      const source = rest & 15;
      if (source !== R.SLOT_FIXED) {
        this.#halves[half + ((OPERAND_SLOTS[i] as number) >> 1)] = registerOf(source, reg, rm, rex);
      }
    }
  }

  /** Writes an address's parts into its micro-operation, which begins at a word. Base −1 and index 4: none. */
  #fillAddress(first: number, shape: number, base: number, index: number, scale: number, ripRelative: boolean): void {
    const words = this.#words;
    const indexed = index !== 4;
    words[first + 1] = (base < 0 ? L.ZERO : L.GPR + base * 8) | ((indexed ? L.GPR + index * 8 : L.ZERO) << 16);
    const segment =
      shape & OVERRIDDEN
        ? (words[first + 2] as number) & 0xff000000
        : (base === 4 || base === 5 ? L.SEG_SS : L.SEG_DS) << 24;
    words[first + 2] = (scale << 16) | segment;
    const family = shape >> FAMILY_SHIFT;
    if (family > 0) {
      const handlers = this.#families[family - 1] as readonly number[];
      words[first] = handlers[ripRelative ? 2 : indexed ? 1 : 0] as number;
    }
  }

  /** The number of 1, 2 or 4 bytes at an arena address. */
  #number(at: number, size: number, signed: boolean): number {
    const bytes = this.#bytes;
    const low = bytes[at] as number;
    if (size === 1) {
      return signed ? (low << 24) >> 24 : low;
    }
    const half = low | ((bytes[at + 1] as number) << 8);
    if (size === 2) {
      return signed ? (half << 16) >> 16 : half;
    }
    return half | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24);
  }

  /**
   * Takes in what the thorough decoder made of the instruction that `decode` did not know, if it is of the usual kind:
   * micro-operations between the arena addresses `from` and `to`. `memory` means nothing without a memory operand.
   */
  learn(recipe: R.Recipe, memory: DecodedAddress, from: number, to: number, mode: number): void {
    const { trailers, address } = recipe;
    const uops = (to - from) / UOP_SIZE;
    const sib = this.#sib;
    const general = this.#general;
    const hasSib = !general && address !== undefined && (address.modrm & 7) === 4;
    if (
      uops > MOST_UOPS ||
      trailers.length > MOST_TRAILERS ||
      trailers.some(({ register }) => register) ||
      recipe.raises !== undefined ||
      recipe.indexSlot !== undefined ||
      address?.absolute ||
      address?.addressSize === 2 ||
      hasSib !== sib >= 0
    ) {
      return;
    }
    const words = this.#words.slice(from >> 2, to >> 2);
    for (let uop = 0; uop < words.length; uop += WORDS) {
      // Length and place are those of one instruction.
      words[uop] = (words[uop] as number) & 0xffff;
      words[uop + 3] = (words[uop + 3] as number) & 0xffff;
    }
    // Without a micro-operation of its own the address has turned out not to be needed.
    const used = address !== undefined && uops > 1;
    if (used) {
      words[UOP_DISPLACEMENT / 4] = memory.moved;
    }
    if (used && general) {
      words[UOP_IMMEDIATE / 4] = memory.ripRelative ? 0 : (words[UOP_IMMEDIATE / 4] as number);
      words[UOP_IMMEDIATE / 4 + 1] = memory.ripRelative ? 0 : (words[UOP_IMMEDIATE / 4 + 1] as number);
    }
    const family = used
      ? this.#families.findIndex((row) => row.includes((words[UOP_HANDLER / 4] as number) & 0xffff))
      : -1;
    const table = this.#table;
    const entry = entryOf(this.#key, mode, sib);
    table[entry] = this.#key;
    table[entry + MODE] = mode;
    table[entry + SIB] = sib;
    table[entry + SHAPE] =
      uops |
      ((address === undefined ? 0 : memory.displacementBytes) << DISPLACEMENT_SHIFT) |
      (used ? USES_DISPLACEMENT : 0) |
      (used && !general && memory.ripRelative ? RIP_RELATIVE : 0) |
      (recipe.ends ? ENDS : 0) |
      (trailers.length << TRAILER_SHIFT) |
      (general ? GENERAL : 0) |
      (address !== undefined && address.override !== NO_SEGMENT ? OVERRIDDEN : 0) |
      ((family + 1) << FAMILY_SHIFT);
    table[entry + SLOTS] = recipe.slots;
    table.set(words, entry + UOPS);
    for (const [i, { bytes, signed, field, wide }] of trailers.entries()) {
      table[entry + TRAILERS + i] =
        bytes | ((field / 4) << TRAILER_WORD_SHIFT) | (signed ? TRAILER_SIGNED : 0) | (wide ? TRAILER_WIDE : 0);
    }
  }
}

/** Offset in the record of the register that a slot names, from ModRM's fields with the bits of REX. */
function registerOf(source: number, reg: number, rm: number, rex: number): number {
  switch (source) {
    case R.SLOT_REG:
      return L.GPR + reg * 8;
    case R.SLOT_RM:
      return L.GPR + rm * 8;
    case R.SLOT_REG_BYTE:
      return byteRegister(reg, rex);
    case R.SLOT_RM_BYTE:
      return byteRegister(rm, rex);
    case R.SLOT_REG_VECTOR:
      return L.XMM + reg * L.XMM_STRIDE;
    case R.SLOT_RM_VECTOR:
      return L.XMM + rm * L.XMM_STRIDE;
    case R.SLOT_REG_MMX:
      return L.FPR + (reg & 7) * L.FPR_STRIDE;
    default:
      return L.FPR + (rm & 7) * L.FPR_STRIDE;
  }
}

function byteRegister(number: number, rex: number): number {
  return rex === 0 && number >= 4 ? L.GPR + (number - 4) * 8 + 1 : L.GPR + number * 8;
}

/** Where the table has instructions of a key; see there. */
function entryOf(key: number, mode: number, sib: number): number {
  const mixed = key ^ Math.imul(mode, 0x85ebca6b) ^ Math.imul(sib, 0xc2b2ae35);
  return (Math.imul(mixed, 0x9e3779b1) >>> (32 - TABLE_BITS)) * ENTRY_WORDS;
}

function kindOf(map: number, opcode: number, candidates: readonly Candidate[]): number {
  if (map === 0) {
    const segment = (opcode & 0xe7) === 0x26 || (opcode & 0xfe) === 0x64;
    if (segment || opcode === 0x66 || opcode === 0x67 || opcode === 0xf0 || (opcode & 0xfe) === 0xf2) {
      return IS_LEGACY_PREFIX;
    }
  }
  // VEX, the way to other maps, and moves whose ModRM byte names a register whatever it says.
  const special = map === 0 ? [0x0f, 0xc4, 0xc5] : map === 1 ? [0x20, 0x21, 0x22, 0x23, 0x38, 0x3a] : [];
  const [first] = candidates;
  if (first === undefined || special.includes(opcode)) {
    return 0;
  }
  if (!first.encoding.modrm) {
    return IS_KNOWN;
  }
  const general = candidates.every(
    ({ definition, encoding }) =>
      // POP counts from where its memory operand's RSP will be.
      definition.name !== 'pop' &&
      encoding.exact === undefined &&
      encoding.operands.every(({ code, size }) => 'EGMRIJVWUPQNK'.includes(code) || (code === 'F' && size !== 't')),
  );
  const group = candidates.some(({ encoding }) => encoding.reg !== undefined);
  return IS_KNOWN | HAS_MODRM | (general ? IS_GENERAL : 0) | (group ? KEEPS_REG : 0);
}
