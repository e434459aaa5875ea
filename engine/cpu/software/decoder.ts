import { defined } from '../../base/assert.ts';
import type { Encoding, InstructionDefinition, InstructionTable } from '../x86/instructions/definition.ts';
import * as L from '../x86/layout.ts';
import type { Interpreter, SpecialHandler } from './interpreter.ts';
import {
  CHECK_WRITE,
  UOP_A,
  UOP_BASE,
  UOP_CHECK,
  UOP_DISPLACEMENT,
  UOP_EXTRA,
  UOP_HANDLER,
  UOP_IMMEDIATE,
  UOP_INDEX,
  UOP_IP,
  UOP_LENGTH,
  UOP_REMAINING,
  UOP_SCALE,
  UOP_SEGMENT,
  UOP_SIZE,
} from './micro-op.ts';
import { fixedSize, isSized, operandBytes, VARIANT_NUMBERS, variantNumber, variantsOf } from './variants.ts';

/** Instructions in a block at most: bounds how far ahead of a deadline fuel has to be taken. */
export const MAX_BLOCK = 48;
const MAX_INSTRUCTION_BYTES = 15;
const NO_SEGMENT = 0xff;
const CONTROL_REGISTERS: ReadonlySet<number> = new Set([0, 2, 3, 4, 8]);

/** An encoding ready for decoding: which handler carries out each of its variants. */
interface Candidate {
  readonly definition: InstructionDefinition;
  readonly encoding: Encoding;
  /** Handler number by variant number, −1 where there is none. */
  readonly handlers: Int32Array;
  readonly sized: boolean;
  /** Sized only by 4- and 8-byte operands. */
  readonly dwordSized: boolean;
  readonly fixedSize: number;
}

/** Raised by the byte source when the page behind cannot be fetched. */
export class FetchFault {}

/** Where the decoder reads code: byte `offset` counts from the start of the page and may reach into the next one. */
export interface CodeSource {
  /** Throws FetchFault when the byte's page cannot be fetched. */
  byte(offset: number): number;
}

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

const LEGACY_BASE: readonly (readonly [number, number | undefined])[] = [
  [3, 6],
  [3, 7],
  [5, 6],
  [5, 7],
  [6, undefined],
  [7, undefined],
  [5, undefined],
  [3, undefined],
];

/** Turns code bytes into micro-operations. One decoder serves all processors of a machine. */
export class Decoder {
  readonly #view: DataView;
  readonly #special: Readonly<Record<SpecialHandler, number>>;
  readonly #maps: readonly (readonly (readonly Candidate[])[])[];

  // The instruction being decoded.
  #source: CodeSource = { byte: () => 0 };
  #start = 0;
  #at = 0;
  #mode = 0;
  #out = 0;
  #limit = 0;

  constructor(arena: ArrayBufferLike, table: InstructionTable, interpreter: Interpreter) {
    this.#view = new DataView(arena);
    this.#special = interpreter.special;
    const maps: Candidate[][][] = [0, 1, 2, 3].map(() => Array.from({ length: 256 }, () => []));
    for (const definition of table.definitions) {
      for (const encoding of definition.encodings) {
        const handlers = new Int32Array(VARIANT_NUMBERS).fill(-1);
        for (const [number, variant] of variantsOf(definition, encoding)) {
          handlers[number] = defined(interpreter.handlers.get(variant.key), variant.key);
        }
        const sized = isSized(encoding);
        const dwordSized = sized && encoding.operands.every((operand) => !'vzs'.includes(operand.size));
        defined(defined(maps[encoding.map], 'map')[encoding.opcode], 'opcode').push({
          definition,
          encoding,
          handlers,
          sized,
          dwordSized,
          fixedSize: fixedSize(encoding),
        });
      }
    }
    // The more specific encodings first: exact ModRM bytes, then mandatory prefixes.
    const rank = (candidate: Candidate) =>
      (candidate.encoding.exact === undefined ? 2 : 0) + (candidate.encoding.prefix === 'any' ? 1 : 0);
    for (const map of maps) {
      for (const list of map) {
        list.sort((a, b) => rank(a) - rank(b));
      }
    }
    this.#maps = maps;
  }

  /**
   * Decodes a block from `offset` (0–4095) of a page into micro-operations from arena address `out` on. `codeLimit` is
   * the last page offset that CS permits. Throws FetchFault when not even the first instruction can be fetched.
   */
  decodeBlock(source: CodeSource, offset: number, codeLimit: number, mode: number, out: number): DecodedBlock {
    this.#source = source;
    this.#mode = mode;
    this.#out = out;
    this.#limit = codeLimit;
    const most = mode & L.MODE_SINGLE ? 1 : MAX_BLOCK;
    const starts: number[] = [];
    let at = offset;
    let ended = false;
    let straddles = false;
    while (!ended && !straddles && starts.length < most && at < 4096) {
      const before = this.#out;
      this.#start = at;
      this.#at = at;
      try {
        ended = this.#decodeInstruction();
      } catch (error) {
        if (!(error instanceof FetchFault) || starts.length === 0) {
          throw error;
        }
        // The fault belongs to the instruction that needs the bytes: it gets a block of its own.
        this.#out = before;
        break;
      }
      straddles = this.#at > 4096;
      if (straddles && starts.length > 0) {
        straddles = false;
        ended = false;
        this.#out = before;
        break;
      }
      if (straddles) {
        this.#insertStraddleCheck(before);
      }
      starts.push(before);
      at = this.#at;
      this.#setLength(before, at - this.#start);
    }
    const lastOfInstructions = this.#out;
    if (!ended) {
      this.#uop(this.#out, this.#special.end);
      this.#view.setUint16(this.#out + UOP_IP, at, true);
      this.#out += UOP_SIZE;
    }
    // Count down the instructions to the end of the block; the closing micro-operation counts as none.
    let index = -1;
    for (let uop = out; uop < lastOfInstructions; uop += UOP_SIZE) {
      if (starts[index + 1] === uop) {
        index++;
      }
      this.#view.setUint8(uop + UOP_REMAINING, starts.length - index);
    }
    return { start: out, end: this.#out, bytes: at - offset, straddles };
  }

  /** Makes room in front of an instruction's micro-operations for the check of the page behind. */
  #insertStraddleCheck(at: number): void {
    new Uint8Array(this.#view.buffer).copyWithin(at + UOP_SIZE, at, this.#out);
    this.#out += UOP_SIZE;
    this.#uop(at, this.#special.straddle);
  }

  /** Clears a micro-operation and sets its handler. */
  #uop(address: number, handler: number): void {
    const view = this.#view;
    for (let i = 0; i < UOP_SIZE; i += 4) {
      view.setInt32(address + i, 0, true);
    }
    view.setUint16(address + UOP_HANDLER, handler, true);
    view.setUint16(address + UOP_IP, this.#start, true);
  }

  /** Sets the length in all micro-operations of an instruction. */
  #setLength(from: number, length: number): void {
    for (let uop = from; uop < this.#out; uop += UOP_SIZE) {
      this.#view.setUint8(uop + UOP_LENGTH, length);
    }
  }

  #byte(): number {
    if (this.#at - this.#start >= MAX_INSTRUCTION_BYTES) {
      throw new TooLong();
    }
    if (this.#at > this.#limit) {
      throw new TooLong();
    }
    const value = this.#source.byte(this.#at);
    this.#at++;
    return value;
  }

  #u16(): number {
    const low = this.#byte();
    return low | (this.#byte() << 8);
  }

  #i32(): number {
    const low = this.#u16();
    return low | (this.#u16() << 16);
  }

  #raise(vector: number, errorCode?: number): boolean {
    this.#uop(this.#out, this.#special.raise);
    const flags = errorCode === undefined ? 0 : L.FAULT_HAS_ERROR;
    this.#view.setInt32(this.#out + UOP_IMMEDIATE, L.FAULT_PENDING | flags | vector, true);
    this.#view.setInt32(this.#out + UOP_IMMEDIATE + 4, errorCode ?? 0, true);
    this.#out += UOP_SIZE;
    return true;
  }

  /** Decodes one instruction at `#at`; returns whether the block ends with it. */
  #decodeInstruction(): boolean {
    const from = this.#out;
    try {
      return this.#decode();
    } catch (error) {
      if (error instanceof TooLong) {
        this.#out = from;
        return this.#raise(L.VECTOR_GP, 0);
      }
      throw error;
    }
  }

  #decode(): boolean {
    const mode = this.#mode;
    const code = mode & L.MODE_CODE_MASK;
    const long = code === L.MODE_CODE64;
    let operandPrefix = false;
    let addressPrefix = false;
    let repeat = 0;
    let lock = false;
    let segment = NO_SEGMENT;
    let rex = 0;
    let opcode: number;
    for (;;) {
      opcode = this.#byte();
      if (opcode === 0x66) {
        operandPrefix = true;
      } else if (opcode === 0x67) {
        addressPrefix = true;
      } else if (opcode === 0xf2 || opcode === 0xf3) {
        repeat = opcode;
      } else if (opcode === 0xf0) {
        lock = true;
      } else if (opcode === 0x64 || opcode === 0x65) {
        segment = opcode - 0x64 + L.SEG_FS;
      } else if ((opcode & 0xe7) === 0x26) {
        // ES, CS, SS, DS: without meaning in 64-bit mode.
        if (!long) {
          segment = (opcode >> 3) & 3;
        }
      } else if (long && (opcode & 0xf0) === 0x40) {
        rex = opcode;
        opcode = this.#byte();
        const isPrefix =
          opcode === 0x66 ||
          opcode === 0x67 ||
          (opcode & 0xfe) === 0xf2 ||
          opcode === 0xf0 ||
          (opcode & 0xfe) === 0x64 ||
          (opcode & 0xe7) === 0x26 ||
          (opcode & 0xf0) === 0x40;
        if (!isPrefix) {
          break;
        }
        // A REX prefix that is not the last one has no effect.
        rex = 0;
        this.#at--;
      } else {
        break;
      }
    }
    let map = 0;
    if (opcode === 0x0f) {
      map = 1;
      opcode = this.#byte();
      if (opcode === 0x38 || opcode === 0x3a) {
        map = opcode === 0x38 ? 2 : 3;
        opcode = this.#byte();
      }
    }
    const list = this.#maps[map]?.[opcode];
    if (list === undefined || list.length === 0) {
      return this.#raise(L.VECTOR_UD);
    }
    let modrm = -1;
    if (list[0]?.encoding.modrm) {
      modrm = this.#byte();
    }
    const candidate = this.#choose(list, modrm, long, operandPrefix, repeat, (rex & 8) !== 0);
    if (candidate === undefined) {
      return this.#raise(L.VECTOR_UD);
    }
    const { encoding, definition } = candidate;
    const { options } = definition;

    // Sizes.
    let size: number;
    if (!candidate.sized) {
      size = candidate.fixedSize;
    } else if (long) {
      if (encoding.size64 === 'always64') {
        size = 8;
      } else if (rex & 8) {
        size = 8;
      } else if (encoding.size64 === 'default64') {
        size = operandPrefix ? 2 : 8;
      } else {
        size = operandPrefix ? 2 : 4;
      }
    } else {
      size = (code === L.MODE_CODE32) !== operandPrefix ? 4 : 2;
      if (encoding.size64 === 'always64' && encoding.map === 1 && opcode >= 0x20 && opcode <= 0x23) {
        size = 4; // control and debug registers are 32 bits wide whatever the prefixes
      }
    }
    if (candidate.dwordSized && size === 2) {
      size = 4;
    }
    const addressSize = long ? (addressPrefix ? 4 : 8) : (code === L.MODE_CODE32) !== addressPrefix ? 4 : 2;

    // The memory operand's address.
    const absolute = encoding.operands.some((operand) => operand.code === 'O');
    const memory =
      absolute || (modrm >= 0 && modrm < 0xc0 && encoding.exact === undefined && !this.#registerOnly(encoding));
    const memoryOperand = memory ? encoding.operands.find((operand) => 'EWQMO'.includes(operand.code)) : undefined;
    const addressUops = this.#out;
    // The address that a bit string's index is added to wraps before a segment's base is added.
    const wrapsBitString = memory && long && addressSize === 4 && encoding.map === 1 && (opcode & 0xe7) === 0xa3;
    if (memory) {
      let bytes =
        memoryOperand === undefined ? 1 : memoryOperand.size === 'a' ? 1 : operandBytes(memoryOperand.size, size);
      if (definition.name === 'mov-from-segment') {
        bytes = 2;
      }
      this.#address(
        modrm,
        rex,
        addressSize,
        segment,
        bytes | (options.writes && memoryOperand === encoding.operands[0] ? CHECK_WRITE : 0),
        definition.name === 'lea' || wrapsBitString,
        absolute,
        definition.name === 'pop' ? size : 0,
      );
    }

    // The operation.
    const uop = this.#out;
    const form = options.stack
      ? this.#stackForm()
      : options.implicitMemory
        ? this.#addressForm(addressSize, segment)
        : 0;
    const repeatForm = options.repeat ? (repeat === 0xf3 ? 1 : repeat === 0xf2 ? 2 : 0) : 0;
    const handler = candidate.handlers[variantNumber(size, memory, form, repeatForm)] ?? -1;
    if (handler < 0) {
      this.#out = addressUops;
      return this.#raise(L.VECTOR_UD);
    }
    this.#uop(uop, handler);
    this.#out = uop + UOP_SIZE;
    const view = this.#view;
    if (options.stack) {
      // Tells which exception a non-canonical stack address raises.
      view.setUint8(uop + UOP_SEGMENT, L.SEG_SS);
    }
    if (options.implicitMemory) {
      view.setInt32(uop + UOP_EXTRA, addressSize === 8 ? 0 : addressSize === 4 ? -1 : 0xffff, true);
      view.setUint8(uop + UOP_SEGMENT, segment === NO_SEGMENT ? L.SEG_DS : segment);
    }
    if (wrapsBitString) {
      const base = segment === L.SEG_FS || segment === L.SEG_GS ? L.SEGMENTS + segment * L.SEGMENT_SIZE : 1;
      view.setInt32(uop + UOP_EXTRA, base, true);
    }
    let immediates = 0;
    for (let i = 0; i < encoding.operands.length; i++) {
      const operand = encoding.operands[i];
      if (operand === undefined) {
        break;
      }
      const slot = uop + UOP_A + i * 2;
      switch (operand.code) {
        case 'G': {
          const number = ((modrm >> 3) & 7) | ((rex & 4) << 1);
          view.setUint16(slot, this.#registerOffset(number, operandBytes(operand.size, size), rex), true);
          break;
        }
        case 'E':
        case 'R':
          if (!memory) {
            const number = (modrm & 7) | ((rex & 1) << 3);
            view.setUint16(slot, this.#registerOffset(number, operandBytes(operand.size, size), rex), true);
          }
          break;
        case 'Z': {
          const number = (opcode & 7) | ((rex & 1) << 3);
          view.setUint16(slot, this.#registerOffset(number, operandBytes(operand.size, size), rex), true);
          break;
        }
        case 'V':
          view.setUint16(slot, L.XMM + (((modrm >> 3) & 7) | ((rex & 4) << 1)) * L.XMM_STRIDE, true);
          break;
        case 'W':
        case 'U':
          if (!memory) {
            view.setUint16(slot, L.XMM + ((modrm & 7) | ((rex & 1) << 3)) * L.XMM_STRIDE, true);
          }
          break;
        case 'P':
          view.setUint16(slot, L.FPR + ((modrm >> 3) & 7) * L.FPR_STRIDE, true);
          break;
        case 'Q':
        case 'N':
          if (!memory) {
            view.setUint16(slot, L.FPR + (modrm & 7) * L.FPR_STRIDE, true);
          }
          break;
        case 'S': {
          const number = (modrm >> 3) & 7;
          if (number > L.SEG_GS || (i === 0 && number === L.SEG_CS)) {
            this.#out = addressUops;
            return this.#raise(L.VECTOR_UD);
          }
          view.setUint16(slot, L.SEGMENTS + number * L.SEGMENT_SIZE, true);
          break;
        }
        case 'C':
        case 'D': {
          const number = ((modrm >> 3) & 7) | ((rex & 4) << 1);
          if (operand.code === 'C' && !CONTROL_REGISTERS.has(number)) {
            this.#out = addressUops;
            return this.#raise(L.VECTOR_UD);
          }
          view.setUint16(slot, number, true);
          break;
        }
        case 'F':
          // x87 register operands: ST(i) from ModRM.rm.
          if (operand.size === 't') {
            view.setUint16(slot, modrm & 7, true);
          }
          break;
        case 'J':
          view.setInt32(
            uop + UOP_DISPLACEMENT,
            operand.size === 'b' ? (this.#byte() << 24) >> 24 : size === 2 ? (this.#u16() << 16) >> 16 : this.#i32(),
            true,
          );
          break;
        case 'I':
          this.#immediate(operand.size, size, uop, immediates++);
          break;
      }
    }
    if (
      lock &&
      !(options.lock && memory && (encoding.operands[0]?.code === 'E' || encoding.operands[0]?.code === 'M'))
    ) {
      this.#out = addressUops;
      return this.#raise(L.VECTOR_UD);
    }
    const trap = this.#trap(definition);
    if (trap !== undefined) {
      this.#out = addressUops;
      return this.#raise(trap, trap === L.VECTOR_GP ? 0 : undefined);
    }
    // RIP-relative addresses count from the end of the instruction.
    if (memory && this.#ripRelative) {
      const target = BigInt(this.#at) + BigInt(view.getInt32(addressUops + UOP_DISPLACEMENT, true));
      view.setBigInt64(addressUops + UOP_IMMEDIATE, target, true);
    }
    if (definition.name === 'xchg' && encoding.opcode === 0x90 && encoding.map === 0 && (rex & 1) === 0) {
      // NOP: keeps the upper half even for 32-bit operands.
      const nop = this.#maps[1]?.[0x1f]?.[0]?.handlers[variantNumber(4, false, 0, 0)] ?? -1;
      view.setUint16(uop + UOP_HANDLER, nop, true);
    }
    return options.ends === true;
  }

  #registerOnly(encoding: Encoding): boolean {
    return encoding.form === 'register';
  }

  #choose(
    list: readonly Candidate[],
    modrm: number,
    long: boolean,
    operandPrefix: boolean,
    repeat: number,
    rexW: boolean,
  ): Candidate | undefined {
    for (const candidate of list) {
      const { encoding } = candidate;
      if (encoding.mode !== 'any' && (encoding.mode === 'only64') !== long) {
        continue;
      }
      switch (encoding.prefix) {
        case 'none':
          if (operandPrefix || repeat !== 0) {
            continue;
          }
          break;
        case '66':
          if (!operandPrefix || repeat !== 0) {
            continue;
          }
          break;
        case 'f3':
          if (repeat !== 0xf3) {
            continue;
          }
          break;
        case 'f2':
          if (repeat !== 0xf2) {
            continue;
          }
          break;
      }
      if (
        encoding.exact !== undefined
          ? encoding.exact !== modrm
          : encoding.reg !== undefined && encoding.reg !== ((modrm >> 3) & 7)
      ) {
        continue;
      }
      // Moves to and from control and debug registers take their ModRM as a register whatever its mode bits.
      const ignoresMode = encoding.map === 1 && (encoding.opcode & 0xfc) === 0x20;
      if (
        !ignoresMode &&
        encoding.exact === undefined &&
        encoding.form !== 'any' &&
        modrm >= 0 &&
        (encoding.form === 'memory') !== modrm < 0xc0
      ) {
        continue;
      }
      if (encoding.rexW !== undefined && encoding.rexW !== rexW) {
        continue;
      }
      return candidate;
    }
    return undefined;
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

  #registerOffset(number: number, size: number, rex: number): number {
    if (size === 1 && rex === 0 && number >= 4) {
      return L.GPR + (number - 4) * 8 + 1;
    }
    return L.GPR + number * 8;
  }

  #immediate(code: string, size: number, uop: number, index: number): void {
    const view = this.#view;
    let low: number;
    let high: number;
    switch (code) {
      case 'b':
        low = this.#byte();
        high = 0;
        break;
      case 's':
        low = (this.#byte() << 24) >> 24;
        high = low >> 31;
        break;
      case 'w':
        low = this.#u16();
        high = 0;
        break;
      default:
        low = size === 2 ? (this.#u16() << 16) >> 16 : this.#i32();
        high = low >> 31;
        if (code === 'v' && size === 8) {
          high = this.#i32();
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

  #ripRelative = false;

  /** Emits the computation of the memory operand's address. */
  #address(
    modrm: number,
    rex: number,
    addressSize: number,
    override: number,
    check: number,
    plain: boolean,
    absolute: boolean,
    popped: number,
  ): void {
    const long = (this.#mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
    let base: number | undefined;
    let index: number | undefined;
    let scale = 0;
    let displacement = 0;
    let segment: number = L.SEG_DS;
    this.#ripRelative = false;
    if (absolute) {
      if (addressSize === 8) {
        this.#uop(this.#out, this.#special['address-absolute']);
        this.#view.setInt32(this.#out + UOP_IMMEDIATE, this.#i32(), true);
        this.#view.setInt32(this.#out + UOP_IMMEDIATE + 4, this.#i32(), true);
        this.#out += UOP_SIZE;
        if (override === L.SEG_FS || override === L.SEG_GS) {
          this.#addBase(override);
        }
        return;
      }
      displacement = addressSize === 4 ? this.#i32() : this.#u16();
    } else if (addressSize === 2) {
      const mod = modrm >> 6;
      const rm = modrm & 7;
      if (mod === 0 && rm === 6) {
        displacement = this.#u16();
      } else {
        const pair = LEGACY_BASE[rm];
        base = pair?.[0];
        index = pair?.[1];
        if (base === 5) {
          segment = L.SEG_SS;
        }
        if (mod === 1) {
          displacement = (this.#byte() << 24) >> 24;
        } else if (mod === 2) {
          displacement = (this.#u16() << 16) >> 16;
        }
      }
    } else {
      const mod = modrm >> 6;
      let rm = modrm & 7;
      if (rm === 4) {
        const sib = this.#byte();
        scale = sib >> 6;
        index = ((sib >> 3) & 7) | ((rex & 2) << 2);
        if (index === 4) {
          index = undefined;
        }
        rm = sib & 7;
        if (!(rm === 5 && mod === 0)) {
          base = rm | ((rex & 1) << 3);
        } else {
          displacement = this.#i32();
        }
      } else if (rm === 5 && mod === 0) {
        displacement = this.#i32();
        this.#ripRelative = long;
      } else {
        base = rm | ((rex & 1) << 3);
      }
      if (mod === 1) {
        displacement = (this.#byte() << 24) >> 24;
      } else if (mod === 2) {
        displacement = this.#i32();
      }
      if (base === 4 || base === 5) {
        segment = L.SEG_SS;
      }
    }
    if (popped !== 0 && base === 4) {
      displacement += popped;
    }
    if (override !== NO_SEGMENT) {
      segment = override;
    }
    const uop = this.#out;
    const view = this.#view;
    const special = this.#special;
    const fill = (handler: number) => {
      this.#uop(uop, handler);
      view.setUint16(uop + UOP_BASE, base === undefined ? L.ZERO : L.GPR + base * 8, true);
      view.setUint16(uop + UOP_INDEX, index === undefined ? L.ZERO : L.GPR + index * 8, true);
      view.setUint8(uop + UOP_SCALE, scale);
      view.setInt32(uop + UOP_DISPLACEMENT, displacement, true);
      view.setUint8(uop + UOP_SEGMENT, segment);
      this.#out = uop + UOP_SIZE;
    };
    const withBase = segment === L.SEG_FS || segment === L.SEG_GS;
    if (long) {
      if (this.#ripRelative) {
        fill(special[addressSize === 4 ? 'address-rip32' : 'address-rip']);
      } else if (addressSize === 4) {
        fill(index === undefined ? special.address32 : special['address32-indexed']);
      } else {
        fill(index === undefined ? special.address64 : special['address64-indexed']);
      }
      if (withBase && !plain) {
        this.#addBase(segment);
      }
      return;
    }
    const mask = addressSize === 4 ? 0xffffffffn : 0xffffn;
    const writesCode = segment === L.SEG_CS && (check & CHECK_WRITE) !== 0;
    const flat = (this.#mode & L.MODE_FLAT) !== 0 && !withBase && !writesCode;
    if (plain || flat) {
      if (addressSize === 4) {
        fill(index === undefined ? special.address32 : special['address32-indexed']);
      } else {
        fill(special['address-masked']);
        view.setBigUint64(uop + UOP_IMMEDIATE, mask, true);
      }
      return;
    }
    fill(special['address-segmented']);
    view.setBigUint64(uop + UOP_IMMEDIATE, mask, true);
    view.setUint16(uop + UOP_CHECK, check, true);
  }

  #addBase(segment: number): void {
    this.#uop(this.#out, this.#special['address-add-base']);
    this.#view.setUint8(this.#out + UOP_SEGMENT, segment);
    this.#out += UOP_SIZE;
  }
}

/** More than 15 bytes, or beyond the code segment's limit. */
class TooLong {}
