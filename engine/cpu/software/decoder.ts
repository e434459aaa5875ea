import type { InstructionTable } from '../x86/instructions/definition.ts';
import * as L from '../x86/layout.ts';
import { AddressDecoder } from './address-decoder.ts';
import { CodeReader, type CodeSource, FetchFault, MAX_INSTRUCTION_BYTES, TooLong } from './code-reader.ts';
import { buildDecoderMaps, candidatesFor, type DecoderMaps } from './decoder-table.ts';
import type { FusionFinder } from './fused-handlers.ts';
import type { Interpreter } from './interpreter.ts';
import { OPERAND_SLOTS, UOP_DISPLACEMENT, UOP_IMMEDIATE, UOP_REMAINING, UOP_SEGMENT, UOP_SIZE } from './micro-op.ts';
import { MicroOpWriter } from './micro-op-writer.ts';
import { Prefixes } from './prefixes.ts';
import { QuickDecoder } from './quick-decoder.ts';
import { type Recipe, RecipeWriter, type Trailer } from './recipe.ts';

export { type CodeSource, FetchFault } from './code-reader.ts';

/** Instructions in a block at most: bounds how far ahead of a deadline fuel has to be taken. */
export const MAX_BLOCK = 48;

/** The outcome of decoding a block. */
export interface DecodedBlock {
  /** Arena address of the first micro-operation, and of the end of the last. */
  readonly start: number;
  readonly end: number;
  /** Bytes of code from the block's start, which may reach into the next page. */
  readonly bytes: number;
  /** The first instruction reaches into the next page. */
  readonly straddles: boolean;
}

/** Turns code bytes into micro-operations. One decoder serves all processors of a machine. */
export class Decoder {
  readonly #maps: DecoderMaps;
  readonly #recipeWriter: RecipeWriter;
  /** What has been found out about instructions without VEX: code is made of few different ones. */
  readonly #known: (Known | undefined)[] = new Array(1 << KNOWN_BITS).fill(undefined);
  readonly #writer: MicroOpWriter;
  readonly #reader = new CodeReader();
  readonly #prefixes = new Prefixes();
  readonly #address: AddressDecoder;
  readonly #fusions: FusionFinder;
  readonly #quick: QuickDecoder;
  /** Instructions that were decoded by copying. */
  copied = 0;
  #mode = 0;
  /** How the present instruction was decoded, when nothing was wrong with it. */
  #followed: Recipe | undefined;

  constructor(arena: ArrayBufferLike, table: InstructionTable, interpreter: Interpreter) {
    this.#maps = buildDecoderMaps(table, interpreter);
    this.#recipeWriter = new RecipeWriter(this.#maps, interpreter.lazy, arena);
    this.#writer = new MicroOpWriter(arena, interpreter);
    this.#address = new AddressDecoder(this.#reader, this.#writer);
    this.#fusions = interpreter.fusionFinder(arena);
    this.#quick = new QuickDecoder(arena, this.#maps, interpreter.special);
  }

  /**
   * Decodes a block from `offset` (0–4095) of a page into micro-operations from arena address `out` on. `codeLimit` is
   * the last page offset that CS permits. Throws FetchFault when not even the first instruction can be fetched.
   */
  decodeBlock(source: CodeSource, offset: number, codeLimit: number, mode: number, out: number): DecodedBlock {
    const reader = this.#reader;
    const writer = this.#writer;
    const { view } = writer;
    const quick = this.#quick;
    reader.open(source, codeLimit);
    writer.out = out;
    this.#mode = mode;
    const most = mode & L.MODE_SINGLE ? 1 : MAX_BLOCK;
    const starts: number[] = [];
    let at = offset;
    let ended = false;
    let straddles = false;
    // Before it, an instruction has all its bytes in memory and in the page.
    const quickEnd = source.memory === undefined ? 0 : Math.min(4096, codeLimit + 1) - MAX_INSTRUCTION_BYTES;
    while (!ended && !straddles && starts.length < most && at < 4096) {
      const before = writer.out;
      const length = at < quickEnd ? quick.decode(source.base + at, at, mode, before) : 0;
      if (length > 0) {
        writer.out = quick.out;
        ended = quick.ended;
        this.copied++;
        starts.push(before);
        at += length;
        continue;
      }
      const learnable = at < quickEnd && quick.learnable;
      // The page behind is fetched for the instruction that is about to be carried out, for no other.
      reader.begin(at, starts.length === 0);
      try {
        this.#followed = undefined;
        ended = this.#decodeInstruction();
        if (learnable && this.#followed !== undefined) {
          quick.learn(this.#followed, this.#address, before, writer.out, mode);
        }
      } catch (error) {
        if (!(error instanceof FetchFault) || starts.length === 0) {
          throw error;
        }
        // The instruction that needs the bytes gets a block of its own.
        writer.out = before;
        break;
      }
      straddles = reader.at > 4096;
      if (straddles) {
        writer.insertStraddleCheck(before, reader.start);
      }
      starts.push(before);
      at = reader.at;
      writer.setLength(before, at - reader.start);
    }
    const lastOfInstructions = writer.out;
    if (!ended) {
      writer.add(writer.special.end, at);
    }
    // Count down the instructions to the end of the block; the closing micro-operation counts as none.
    let index = -1;
    for (let uop = out; uop < lastOfInstructions; uop += UOP_SIZE) {
      if (starts[index + 1] === uop) {
        index++;
      }
      view.setUint8(uop + UOP_REMAINING, starts.length - index);
    }
    this.#fusions.fuse(out, lastOfInstructions);
    return { start: out, end: writer.out, bytes: at - offset, straddles };
  }

  /** Decodes one instruction; returns whether the block ends with it. */
  #decodeInstruction(): boolean {
    const from = this.#writer.out;
    const start = this.#reader.start;
    let fault: number | undefined;
    try {
      if (this.#prefixes.read(this.#reader, this.#mode)) {
        const result = this.#decode();
        if (typeof result === 'boolean') {
          return result;
        }
        fault = result.vector;
      } else {
        fault = L.VECTOR_UD;
      }
    } catch (error) {
      if (!(error instanceof TooLong)) {
        throw error;
      }
      fault = L.VECTOR_GP;
    }
    this.#writer.out = from;
    this.#writer.raise(start, fault, fault === L.VECTOR_GP ? 0 : undefined);
    return true;
  }

  /** Decodes what the prefixes belong to. Returns whether the block ends, or the exception it raises. */
  #decode(): boolean | { readonly vector: number } {
    const reader = this.#reader;
    const prefixes = this.#prefixes;
    const list = candidatesFor(this.#maps, prefixes);
    if (list === undefined || list.length === 0) {
      return UNDEFINED;
    }
    const modrm = list[0]?.encoding.modrm ? reader.u8() : -1;
    if (prefixes.vex) {
      return this.#follow(this.#recipeWriter.recipe(list, modrm, prefixes, this.#mode));
    }
    const key = keyOf(prefixes, modrm);
    const place = Math.imul(key ^ Math.imul(this.#mode, 0x85ebca6b), 0x9e3779b1) >>> (32 - KNOWN_BITS);
    let known = this.#known[place];
    if (known === undefined || known.key !== key || known.mode !== this.#mode) {
      known = { key, mode: this.#mode, recipe: this.#recipeWriter.recipe(list, modrm, prefixes, this.#mode) };
      this.#known[place] = known;
    }
    return this.#follow(known.recipe);
  }

  /** Reads the rest of an instruction. Returns whether the block ends, or the exception it raises. */
  #follow(recipe: Recipe): boolean | { readonly vector: number } {
    const reader = this.#reader;
    const writer = this.#writer;
    const { address, template } = recipe;
    const addressUop = writer.out;
    if (address !== undefined && !this.#address.decode(address, this.#mode)) {
      return UNDEFINED;
    }
    if (template === undefined) {
      return UNDEFINED;
    }
    if (recipe.addressUnused) {
      writer.out = addressUop;
    }
    const uop = writer.copy(template, reader.start);
    for (const trailer of recipe.trailers) {
      this.#readTrailer(trailer, uop);
    }
    if (recipe.indexSlot !== undefined && !this.#setIndices(uop, recipe.indexSlot)) {
      return UNDEFINED;
    }
    if (recipe.raises !== undefined) {
      return { vector: recipe.raises };
    }
    // RIP-relative addresses count from the end of the instruction.
    if (address !== undefined && this.#address.ripRelative && !recipe.addressUnused) {
      const { view } = writer;
      const target = reader.at + view.getInt32(addressUop + UOP_DISPLACEMENT, true);
      view.setInt32(addressUop + UOP_IMMEDIATE, target, true);
      view.setInt32(addressUop + UOP_IMMEDIATE + 4, target < 0 ? -1 : 0, true);
    }
    this.#followed = recipe;
    return recipe.ends;
  }

  #readTrailer({ bytes, signed, field, wide, register }: Trailer, uop: number): void {
    const reader = this.#reader;
    const { view } = this.#writer;
    if (register) {
      const number = reader.u8() >> 4;
      const long = (this.#mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
      view.setUint16(uop + field, L.XMM + (long ? number : number & 7) * L.XMM_STRIDE, true);
      return;
    }
    let low: number;
    if (bytes === 1) {
      low = signed ? reader.i8() : reader.u8();
    } else if (bytes === 2) {
      low = signed ? reader.i16() : reader.u16();
    } else {
      low = reader.i32();
    }
    view.setInt32(uop + field, low, true);
    if (wide) {
      view.setInt32(uop + field + 4, bytes === 8 ? reader.i32() : low >> 31, true);
    }
  }

  /** The operands of a gather. Returns false unless destination, indices and mask are three registers. */
  #setIndices(uop: number, slot: number): boolean {
    const { view } = this.#writer;
    view.setUint16(uop + slot, this.#address.vectorSlot, true);
    view.setInt32(uop + UOP_IMMEDIATE, this.#address.vectorScale, true);
    view.setUint8(uop + UOP_SEGMENT, this.#address.segment);
    const [a, b, c] = OPERAND_SLOTS.map((place) => view.getUint16(uop + place, true));
    return a !== b && b !== c && a !== c;
  }
}

const KNOWN_BITS = 14;

/** The recipe of all instructions with the same key in a mode. */
interface Known {
  readonly key: number;
  readonly mode: number;
  readonly recipe: Recipe;
}

/** All that a recipe depends on, within a mode and without VEX. */
function keyOf(prefixes: Prefixes, modrm: number): number {
  const { opcode, map, rex, segment, repeat } = prefixes;
  return (
    opcode |
    ((modrm & 0xff) << 8) |
    (map << 16) |
    (((rex & 15) | ((rex & 0x40) >> 2)) << 18) |
    ((prefixes.operandSize ? 1 : 0) << 23) |
    ((prefixes.addressSize ? 1 : 0) << 24) |
    ((repeat & 3) << 25) |
    ((segment & 7) << 27) |
    ((prefixes.lock ? 1 : 0) << 30)
  );
}

/** The instruction does not exist. */
const UNDEFINED = { vector: L.VECTOR_UD } as const;
