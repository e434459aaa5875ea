import { defined } from '../../base/assert.ts';
import type { InstructionDefinition, InstructionTable, OperandSpec } from '../x86/instructions/definition.ts';
import * as L from '../x86/layout.ts';
import { AddressDecoder } from './address-decoder.ts';
import { CodeReader, type CodeSource, FetchFault, TooLong } from './code-reader.ts';
import { buildDecoderMaps, type Candidate, candidatesFor, choose, type DecoderMaps } from './decoder-table.ts';
import type { Interpreter } from './interpreter.ts';
import type { LazyHandlers } from './lazy-handlers.ts';
import {
  CHECK_WRITE,
  OPERAND_SLOTS,
  UOP_DISPLACEMENT,
  UOP_EXTRA,
  UOP_HANDLER,
  UOP_IMMEDIATE,
  UOP_REMAINING,
  UOP_SEGMENT,
  UOP_SIZE,
} from './micro-op.ts';
import { MicroOpWriter } from './micro-op-writer.ts';
import { NO_SEGMENT, Prefixes } from './prefixes.ts';
import { operandBytes, variantNumber } from './variants.ts';

export { type CodeSource, FetchFault } from './code-reader.ts';

/** Instructions in a block at most: bounds how far ahead of a deadline fuel has to be taken. */
export const MAX_BLOCK = 48;
const CONTROL_REGISTERS: ReadonlySet<number> = new Set([0, 2, 3, 4, 8]);

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
  readonly #lazy: LazyHandlers;
  readonly #writer: MicroOpWriter;
  readonly #reader = new CodeReader();
  readonly #prefixes = new Prefixes();
  readonly #address: AddressDecoder;
  #mode = 0;

  constructor(arena: ArrayBufferLike, table: InstructionTable, interpreter: Interpreter) {
    this.#maps = buildDecoderMaps(table, interpreter);
    this.#lazy = interpreter.lazy;
    this.#writer = new MicroOpWriter(arena, interpreter);
    this.#address = new AddressDecoder(this.#reader, this.#writer);
  }

  /**
   * Decodes a block from `offset` (0–4095) of a page into micro-operations from arena address `out` on. `codeLimit` is
   * the last page offset that CS permits. Throws FetchFault when not even the first instruction can be fetched.
   */
  decodeBlock(source: CodeSource, offset: number, codeLimit: number, mode: number, out: number): DecodedBlock {
    const reader = this.#reader;
    const writer = this.#writer;
    const { view } = writer;
    reader.open(source, codeLimit);
    writer.out = out;
    this.#mode = mode;
    const most = mode & L.MODE_SINGLE ? 1 : MAX_BLOCK;
    const starts: number[] = [];
    let at = offset;
    let ended = false;
    let straddles = false;
    while (!ended && !straddles && starts.length < most && at < 4096) {
      const before = writer.out;
      // The page behind is fetched for the instruction that is about to be carried out, for no other.
      reader.begin(at, starts.length === 0);
      try {
        ended = this.#decodeInstruction();
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
    const mode = this.#mode;
    const reader = this.#reader;
    const writer = this.#writer;
    const prefixes = this.#prefixes;
    const { opcode, rex, segment } = prefixes;
    const code = mode & L.MODE_CODE_MASK;
    const long = code === L.MODE_CODE64;
    const list = candidatesFor(this.#maps, prefixes);
    if (list === undefined || list.length === 0) {
      return UNDEFINED;
    }
    const modrm = list[0]?.encoding.modrm ? reader.u8() : -1;
    const candidate = choose(list, modrm, long, prefixes);
    if (candidate === undefined) {
      return UNDEFINED;
    }
    const { encoding, definition } = candidate;
    const { options } = definition;
    const size = this.#size(candidate);
    const addressSize = long
      ? prefixes.addressSize
        ? 4
        : 8
      : (code === L.MODE_CODE32) !== prefixes.addressSize
        ? 4
        : 2;

    // The memory operand's address.
    const absolute = encoding.operands.some((operand) => operand.code === 'O');
    const memory =
      absolute || (modrm >= 0 && modrm < 0xc0 && encoding.exact === undefined && encoding.form !== 'register');
    const memoryOperand = memory ? encoding.operands.find((operand) => 'EWQMO'.includes(operand.code)) : undefined;
    const addressUop = writer.out;
    // The address that a bit string's index is added to wraps before a segment's base is added.
    const wrapsBitString = memory && long && addressSize === 4 && encoding.map === 1 && (opcode & 0xe7) === 0xa3;
    if (memory) {
      let bytes =
        memoryOperand === undefined ? 1 : memoryOperand.size === 'a' ? 1 : operandBytes(memoryOperand.size, size);
      if (definition.name === 'mov-from-segment') {
        bytes = 2;
      }
      const vsib = options.vsib === true;
      const request = {
        modrm,
        rex,
        addressSize,
        override: segment,
        check: bytes | (options.writes && memoryOperand === encoding.operands[0] ? CHECK_WRITE : 0),
        plain: definition.name === 'lea' || wrapsBitString || vsib,
        absolute,
        popped: definition.name === 'pop' ? size : 0,
        vsib,
      };
      if (!this.#address.decode(request, mode)) {
        return UNDEFINED;
      }
    }

    // The operation.
    const { view } = writer;
    const implicitSegment = options.vsib ? this.#address.segment : segment;
    const form = options.stack
      ? this.#stackForm()
      : options.implicitMemory
        ? this.#addressForm(addressSize, implicitSegment)
        : 0;
    const repeatForm = options.repeat ? (prefixes.repeat === 0xf3 ? 1 : prefixes.repeat === 0xf2 ? 2 : 0) : 0;
    candidate.handlers ??= this.#lazy.handlersOf(definition, encoding, view.buffer);
    const handler = candidate.handlers[variantNumber(size, memory, form, repeatForm)] ?? -1;
    if (handler < 0) {
      return UNDEFINED;
    }
    const uop = writer.add(handler, reader.start);
    if (options.stack) {
      // Tells which exception a non-canonical stack address raises.
      view.setUint8(uop + UOP_SEGMENT, L.SEG_SS);
    }
    if (options.implicitMemory) {
      view.setInt32(uop + UOP_EXTRA, addressSize === 8 ? 0 : addressSize === 4 ? -1 : 0xffff, true);
      view.setUint8(uop + UOP_SEGMENT, implicitSegment === NO_SEGMENT ? L.SEG_DS : implicitSegment);
    }
    if (wrapsBitString) {
      const base = segment === L.SEG_FS || segment === L.SEG_GS ? L.SEGMENTS + segment * L.SEGMENT_SIZE : 1;
      view.setInt32(uop + UOP_EXTRA, base, true);
    }
    let immediates = 0;
    for (const [i, operand] of encoding.operands.entries()) {
      switch (operand.code) {
        case 'J':
          view.setInt32(
            uop + UOP_DISPLACEMENT,
            operand.size === 'b' ? reader.i8() : size === 2 ? reader.i16() : reader.i32(),
            true,
          );
          break;
        case 'I':
          this.#immediate(operand.size, size, uop, immediates++);
          break;
        default: {
          const value = this.#slotOf(operand, i, modrm, memory, size);
          if (value < 0) {
            return UNDEFINED;
          }
          view.setUint16(uop + defined(OPERAND_SLOTS[i], 'slot'), value, true);
        }
      }
    }
    if (options.vsib) {
      view.setInt32(uop + UOP_IMMEDIATE, this.#address.vectorScale, true);
      const [a, b, c] = OPERAND_SLOTS.map((slot) => view.getUint16(uop + slot, true));
      // Destination, indices and mask must be three registers.
      if (a === b || b === c || a === c) {
        return UNDEFINED;
      }
    }
    if (
      prefixes.lock &&
      !(options.lock && memory && (encoding.operands[0]?.code === 'E' || encoding.operands[0]?.code === 'M'))
    ) {
      return UNDEFINED;
    }
    const trap = this.#trap(definition);
    if (trap !== undefined) {
      return { vector: trap };
    }
    // RIP-relative addresses count from the end of the instruction.
    if (memory && this.#address.ripRelative) {
      const target = BigInt(reader.at) + BigInt(view.getInt32(addressUop + UOP_DISPLACEMENT, true));
      view.setBigInt64(addressUop + UOP_IMMEDIATE, target, true);
    }
    if (definition.name === 'xchg' && encoding.opcode === 0x90 && encoding.map === 0 && (rex & 1) === 0) {
      // NOP: keeps the upper half even for 32-bit operands.
      const nop = this.#maps[1]?.[0x1f]?.[0]?.handlers?.[variantNumber(4, false, 0, 0)] ?? -1;
      view.setUint16(uop + UOP_HANDLER, nop, true);
    }
    return options.ends === true;
  }

  /** Operand size in bytes. */
  #size({ encoding, sized, dwordSized, fixedSize }: Candidate): number {
    const { operandSize, rex, vex, length, opcode } = this.#prefixes;
    const code = this.#mode & L.MODE_CODE_MASK;
    const long = code === L.MODE_CODE64;
    if (!sized) {
      return fixedSize;
    }
    if (vex) {
      if (encoding.vex === 'either') {
        return length ? 32 : 16;
      }
      // VEX.W says nothing about general registers outside 64-bit code.
      return long && rex & 8 ? 8 : 4;
    }
    let size: number;
    if (long) {
      if (encoding.size64 === 'always64' || rex & 8) {
        size = 8;
      } else if (encoding.size64 === 'default64') {
        size = operandSize ? 2 : 8;
      } else {
        size = operandSize ? 2 : 4;
      }
    } else {
      size = (code === L.MODE_CODE32) !== operandSize ? 4 : 2;
      if (encoding.size64 === 'always64' && encoding.map === 1 && opcode >= 0x20 && opcode <= 0x23) {
        size = 4; // control and debug registers are 32 bits wide whatever the prefixes
      }
    }
    return dwordSized && size === 2 ? 4 : size;
  }

  /** What an operand's slot holds: offset or number of its register, 0 if it needs none, −1 if there is no such one. */
  #slotOf(operand: OperandSpec, index: number, modrm: number, memory: boolean, size: number): number {
    const { rex, vvvv, opcode } = this.#prefixes;
    const reg = (modrm >> 3) & 7;
    const wideReg = reg | ((rex & 4) << 1);
    const rm = (modrm & 7) | ((rex & 1) << 3);
    const long = (this.#mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
    const vector = (number: number) => L.XMM + (long ? number : number & 7) * L.XMM_STRIDE;
    const general = (number: number) => this.#registerOffset(number, operandBytes(operand.size, size));
    switch (operand.code) {
      case 'G':
        return general(wideReg);
      case 'E':
      case 'R':
        return memory ? 0 : general(rm);
      case 'Z':
        return general((opcode & 7) | ((rex & 1) << 3));
      case 'B':
        return L.GPR + (long ? vvvv : vvvv & 7) * 8;
      case 'V':
        return vector(wideReg);
      case 'W':
      case 'U':
        return memory ? 0 : vector(rm);
      case 'H':
        return vector(vvvv);
      case 'L':
        return vector(this.#reader.u8() >> 4);
      case 'M':
        return this.#address.vectorSlot;
      case 'P':
        return L.FPR + reg * L.FPR_STRIDE;
      case 'Q':
      case 'N':
        return memory ? 0 : L.FPR + (modrm & 7) * L.FPR_STRIDE;
      case 'S':
        return reg > L.SEG_GS || (index === 0 && reg === L.SEG_CS) ? -1 : L.SEGMENTS + reg * L.SEGMENT_SIZE;
      case 'C':
        return CONTROL_REGISTERS.has(wideReg) ? wideReg : -1;
      case 'D':
        return wideReg;
      case 'F':
        // x87 register operands: ST(i) from ModRM.rm.
        return operand.size === 't' ? modrm & 7 : 0;
      default:
        return 0;
    }
  }

  /** The exception that the instruction raises in this mode before anything else, if any. */
  #trap(definition: InstructionDefinition): number | undefined {
    const mode = this.#mode;
    const { unit, privileged } = definition.options;
    if (privileged && (mode & L.MODE_CPL_MASK) !== 0) {
      return L.VECTOR_GP;
    }
    if (unit === 'x87' && mode & L.MODE_FPU_TRAP) {
      return L.VECTOR_NM;
    }
    if (unit === 'mmx' && mode & L.MODE_FPU_TRAP) {
      return mode & L.MODE_EMULATE ? L.VECTOR_UD : L.VECTOR_NM;
    }
    if (unit === 'sse' && this.#prefixes.vex) {
      return mode & L.MODE_NO_AVX ? L.VECTOR_UD : mode & L.MODE_TASK_SWITCHED ? L.VECTOR_NM : undefined;
    }
    if (unit === 'sse' && mode & L.MODE_SSE_TRAP) {
      return mode & (L.MODE_EMULATE | L.MODE_NO_FXSR) ? L.VECTOR_UD : L.VECTOR_NM;
    }
    return undefined;
  }

  #stackForm(): number {
    if ((this.#mode & L.MODE_CODE_MASK) === L.MODE_CODE64) {
      return 0;
    }
    return (this.#mode & L.MODE_STACK_MASK) === L.MODE_STACK32_FLAT ? 1 : 2;
  }

  #addressForm(addressSize: number, segment: number): number {
    const overridden = segment === L.SEG_FS || segment === L.SEG_GS;
    if (addressSize === 8) {
      return overridden ? 2 : 0;
    }
    const code32 = (this.#mode & L.MODE_CODE_MASK) === L.MODE_CODE32;
    return addressSize === 4 && code32 && this.#mode & L.MODE_FLAT && !overridden ? 1 : 2;
  }

  #registerOffset(number: number, size: number): number {
    if (size === 1 && this.#prefixes.rex === 0 && number >= 4) {
      return L.GPR + (number - 4) * 8 + 1;
    }
    return L.GPR + number * 8;
  }

  #immediate(code: string, size: number, uop: number, index: number): void {
    const reader = this.#reader;
    const { view } = this.#writer;
    let low: number;
    let high: number;
    switch (code) {
      case 'b':
        low = reader.u8();
        high = 0;
        break;
      case 's':
        low = reader.i8();
        high = low >> 31;
        break;
      case 'w':
        low = reader.u16();
        high = 0;
        break;
      default:
        low = size === 2 ? reader.i16() : reader.i32();
        high = low >> 31;
        if (code === 'v' && size === 8) {
          high = reader.i32();
        }
        break;
    }
    if (index === 0) {
      view.setInt32(uop + UOP_IMMEDIATE, low, true);
      view.setInt32(uop + UOP_IMMEDIATE + 4, high, true);
    } else {
      view.setInt32(uop + UOP_EXTRA, low, true);
    }
  }
}

/** The instruction does not exist. */
const UNDEFINED = { vector: L.VECTOR_UD } as const;
