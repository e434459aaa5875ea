import type { InstructionDefinition, OperandSpec } from '../x86/instructions/definition.ts';
import * as L from '../x86/layout.ts';
import type { AddressRequest } from './address-decoder.ts';
import { type Candidate, choose, type DecoderMaps } from './decoder-table.ts';
import type { LazyHandlers } from './lazy-handlers.ts';
import {
  CHECK_WRITE,
  OPERAND_SLOTS,
  UOP_DISPLACEMENT,
  UOP_EXTRA,
  UOP_HANDLER,
  UOP_IMMEDIATE,
  UOP_SEGMENT,
  UOP_SIZE,
} from './micro-op.ts';
import { NO_SEGMENT, type Prefixes } from './prefixes.ts';
import { operandBytes, variantNumber } from './variants.ts';

const CONTROL_REGISTERS: ReadonlySet<number> = new Set([0, 2, 3, 4, 8]);

/** A number behind the address: how many bytes, and the field of the micro-operation that it goes to. */
export interface Trailer {
  readonly bytes: 1 | 2 | 4 | 8;
  readonly signed: boolean;
  readonly field: number;
  /** The field is 64 bits wide. */
  readonly wide: boolean;
  /** The byte's upper half names a vector register, whose offset goes to the field. */
  readonly register: boolean;
}

/** A slot holds what nothing but the recipe's key says. */
export const SLOT_FIXED = 0;
/** It holds the general register of ModRM.reg or ModRM.rm; of a byte: without REX 4–7 are AH, CH, DH and BH. */
export const SLOT_REG = 1;
export const SLOT_RM = 2;
export const SLOT_REG_BYTE = 3;
export const SLOT_RM_BYTE = 4;
/** The vector register, and the MMX register. */
export const SLOT_REG_VECTOR = 5;
export const SLOT_RM_VECTOR = 6;
export const SLOT_REG_MMX = 7;
export const SLOT_RM_MMX = 8;
/** It depends on prefixes, opcode or ModRM byte in another way. */
export const SLOT_OTHER = 15;

/** What an instruction's prefixes, opcode and ModRM byte say about it: how to decode the rest. */
export interface Recipe {
  readonly address: AddressRequest | undefined;
  /** The address is only there to be read over (NOP). */
  readonly addressUnused: boolean;
  /** The micro-operation of the operation, but for its place and what the trailers say. Without one it does not exist. */
  readonly template: Int32Array | undefined;
  readonly trailers: readonly Trailer[];
  /** Where each slot's register comes from: a SLOT_* in four bits, that of the first slot lowest. */
  readonly slots: number;
  /** Slot of the vector of indices in the memory operand. */
  readonly indexSlot: number | undefined;
  /** The exception that it raises, once all of it has been read. */
  readonly raises: number | undefined;
  /** The block ends with it. */
  readonly ends: boolean;
}

/** The encoding does not exist, whatever follows. */
const NOTHING: Recipe = {
  address: undefined,
  addressUnused: false,
  template: undefined,
  trailers: [],
  slots: 0,
  indexSlot: undefined,
  raises: undefined,
  ends: true,
};

/** Finds out what instructions are. */
export class RecipeWriter {
  readonly #maps: DecoderMaps;
  readonly #lazy: LazyHandlers;
  readonly #arena: ArrayBufferLike;

  constructor(maps: DecoderMaps, lazy: LazyHandlers, arena: ArrayBufferLike) {
    this.#maps = maps;
    this.#lazy = lazy;
    this.#arena = arena;
  }

  /** `modrm` is −1 for opcodes without such a byte. */
  recipe(list: readonly Candidate[], modrm: number, prefixes: Prefixes, mode: number): Recipe {
    const { opcode, rex, segment } = prefixes;
    const code = mode & L.MODE_CODE_MASK;
    const long = code === L.MODE_CODE64;
    const candidate = choose(list, modrm, long, prefixes);
    if (candidate === undefined) {
      return NOTHING;
    }
    const { encoding, definition } = candidate;
    const { options } = definition;
    const size = sizeOf(candidate, prefixes, mode);
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
    // The address that a bit string's index is added to wraps before a segment's base is added.
    const wrapsBitString = memory && long && addressSize === 4 && encoding.map === 1 && (opcode & 0xe7) === 0xa3;
    const vsib = options.vsib === true;
    const address = memory
      ? {
          modrm,
          rex,
          addressSize,
          override: segment,
          check:
            bytesAccessed(definition, memoryOperand, size) |
            (options.writes && memoryOperand === encoding.operands[0] ? CHECK_WRITE : 0),
          plain: definition.name === 'lea' || wrapsBitString || vsib,
          absolute,
          popped: definition.name === 'pop' ? size : 0,
          vsib,
        }
      : undefined;

    const addressUnused = definition.name === 'nop';

    // The operation.
    const form = options.stack ? stackForm(mode) : options.implicitMemory ? addressForm(addressSize, segment, mode) : 0;
    const repeatForm = options.repeat ? (prefixes.repeat === 0xf3 ? 1 : prefixes.repeat === 0xf2 ? 2 : 0) : 0;
    candidate.handlers ??= this.#lazy.handlersOf(definition, encoding, this.#arena);
    const handler = candidate.handlers[variantNumber(size, memory, form, repeatForm)] ?? -1;
    if (handler < 0) {
      return { ...NOTHING, address };
    }
    const template = new Int32Array(UOP_SIZE / 4);
    const view = new DataView(template.buffer);
    // NOP keeps the upper half even for 32-bit operands.
    const isNop = definition.name === 'xchg' && encoding.opcode === 0x90 && encoding.map === 0 && (rex & 1) === 0;
    view.setUint16(UOP_HANDLER, isNop ? this.#nop() : handler, true);
    if (options.stack) {
      // Tells which exception a non-canonical stack address raises.
      view.setUint8(UOP_SEGMENT, L.SEG_SS);
    }
    if (options.implicitMemory) {
      view.setInt32(UOP_EXTRA, addressSize === 8 ? 0 : addressSize === 4 ? -1 : 0xffff, true);
      view.setUint8(UOP_SEGMENT, segment === NO_SEGMENT ? L.SEG_DS : segment);
    }
    if (wrapsBitString) {
      const base = segment === L.SEG_FS || segment === L.SEG_GS ? L.SEGMENTS + segment * L.SEGMENT_SIZE : 1;
      view.setInt32(UOP_EXTRA, base, true);
    }
    const trailers: Trailer[] = [];
    let indexSlot: number | undefined;
    let slots = 0;
    let immediates = 0;
    for (const [i, operand] of encoding.operands.entries()) {
      if (operand.code === 'J') {
        trailers.push(displacement(operand, size));
        continue;
      }
      if (operand.code === 'I') {
        trailers.push(immediate(operand, size, immediates++));
        continue;
      }
      const slot = OPERAND_SLOTS[i] as number;
      if (operand.code === 'L') {
        trailers.push({ bytes: 1, signed: false, field: slot, wide: false, register: true });
        continue;
      }
      if (operand.code === 'M' && vsib) {
        indexSlot = slot;
      }
      const value = slotOf(operand, i, { modrm, memory, size, mode, prefixes });
      if (value < 0) {
        return {
          address,
          addressUnused,
          template,
          trailers,
          slots,
          indexSlot: undefined,
          raises: L.VECTOR_UD,
          ends: true,
        };
      }
      view.setUint16(slot, value, true);
      slots |= slotSource(operand, size, memory) << (4 * i);
    }
    const mayLock =
      options.lock && memory && (encoding.operands[0]?.code === 'E' || encoding.operands[0]?.code === 'M');
    const raises = prefixes.lock && !mayLock ? L.VECTOR_UD : trapOf(definition, prefixes, mode);
    return { address, addressUnused, template, trailers, slots, indexSlot, raises, ends: options.ends === true };
  }

  /** Handler of the long NOP. */
  #nop(): number {
    return this.#maps[1]?.[0x1f]?.[0]?.handlers?.[variantNumber(4, false, 0, 0)] ?? -1;
  }
}

/** Bytes of the memory operand, for the limit check. */
function bytesAccessed(definition: InstructionDefinition, operand: OperandSpec | undefined, size: number): number {
  if (definition.name === 'mov-from-segment') {
    return 2;
  }
  return operand === undefined || operand.size === 'a' ? 1 : operandBytes(operand.size, size);
}

/** Operand size in bytes. */
function sizeOf({ encoding, sized, dwordSized, fixedSize }: Candidate, prefixes: Prefixes, mode: number): number {
  const { operandSize, rex, vex, length, opcode } = prefixes;
  const code = mode & L.MODE_CODE_MASK;
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

interface Instance {
  readonly modrm: number;
  readonly memory: boolean;
  readonly size: number;
  readonly mode: number;
  readonly prefixes: Prefixes;
}

/** What an operand's slot holds: offset or number of its register, 0 if it needs none, −1 if there is no such one. */
function slotOf(operand: OperandSpec, index: number, { modrm, memory, size, mode, prefixes }: Instance): number {
  const { rex, vvvv, opcode } = prefixes;
  const reg = (modrm >> 3) & 7;
  const wideReg = reg | ((rex & 4) << 1);
  const rm = (modrm & 7) | ((rex & 1) << 3);
  const long = (mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
  const vector = (number: number) => L.XMM + (long ? number : number & 7) * L.XMM_STRIDE;
  const general = (number: number) =>
    operandBytes(operand.size, size) === 1 && rex === 0 && number >= 4
      ? L.GPR + (number - 4) * 8 + 1
      : L.GPR + number * 8;
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

/** Where the slot of an operand has its register from. */
function slotSource(operand: OperandSpec, size: number, memory: boolean): number {
  const byte = operandBytes(operand.size, size) === 1;
  switch (operand.code) {
    case 'G':
      return byte ? SLOT_REG_BYTE : SLOT_REG;
    case 'E':
    case 'R':
      return memory ? SLOT_FIXED : byte ? SLOT_RM_BYTE : SLOT_RM;
    case 'V':
      return SLOT_REG_VECTOR;
    case 'W':
    case 'U':
      return memory ? SLOT_FIXED : SLOT_RM_VECTOR;
    case 'P':
      return SLOT_REG_MMX;
    case 'Q':
    case 'N':
      return memory ? SLOT_FIXED : SLOT_RM_MMX;
    case 'Z':
    case 'B':
    case 'H':
    case 'S':
    case 'C':
    case 'D':
      return SLOT_OTHER;
    case 'F':
      return operand.size === 't' ? SLOT_OTHER : SLOT_FIXED;
    default:
      return SLOT_FIXED;
  }
}

/** The exception that the instruction raises in this mode before anything else, if any. */
function trapOf(definition: InstructionDefinition, prefixes: Prefixes, mode: number): number | undefined {
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
  if (unit === 'sse' && prefixes.vex) {
    return mode & L.MODE_NO_AVX ? L.VECTOR_UD : mode & L.MODE_TASK_SWITCHED ? L.VECTOR_NM : undefined;
  }
  if (unit === 'sse' && mode & L.MODE_SSE_TRAP) {
    return mode & (L.MODE_EMULATE | L.MODE_NO_FXSR) ? L.VECTOR_UD : L.VECTOR_NM;
  }
  return undefined;
}

function stackForm(mode: number): number {
  if ((mode & L.MODE_CODE_MASK) === L.MODE_CODE64) {
    return 0;
  }
  return (mode & L.MODE_STACK_MASK) === L.MODE_STACK32_FLAT ? 1 : 2;
}

function addressForm(addressSize: number, segment: number, mode: number): number {
  const overridden = segment === L.SEG_FS || segment === L.SEG_GS;
  if (addressSize === 8) {
    return overridden ? 2 : 0;
  }
  const code32 = (mode & L.MODE_CODE_MASK) === L.MODE_CODE32;
  return addressSize === 4 && code32 && mode & L.MODE_FLAT && !overridden ? 1 : 2;
}

function displacement(operand: OperandSpec, size: number): Trailer {
  const bytes = operand.size === 'b' ? 1 : size === 2 ? 2 : 4;
  return { bytes, signed: true, field: UOP_DISPLACEMENT, wide: false, register: false };
}

function immediate({ size: code }: OperandSpec, size: number, index: number): Trailer {
  const place = index === 0 ? { field: UOP_IMMEDIATE, wide: true } : { field: UOP_EXTRA, wide: false };
  const of = (bytes: Trailer['bytes'], signed: boolean): Trailer => ({ bytes, signed, ...place, register: false });
  switch (code) {
    case 'b':
      return of(1, false);
    case 's':
      return of(1, true);
    case 'w':
      return of(2, false);
    default:
      return of(size === 2 ? 2 : code === 'v' && size === 8 ? 8 : 4, true);
  }
}
