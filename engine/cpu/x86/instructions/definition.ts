import { assert } from '../../../base/assert.ts';
import type { InstructionBuilder } from './instruction-builder.ts';

/** Opcode maps: one byte, 0F, 0F 38, 0F 3A. */
export type OpcodeMap = 0 | 1 | 2 | 3;

/**
 * How an operand is encoded, after the manual's appendix A (SDM 2D):
 * E r/m general or memory, G reg general, M memory only, R r/m general only, I immediate, J relative target,
 * O absolute offset, Z general register in the opcode, S segment register, C control, D debug register,
 * V reg XMM, W r/m XMM or memory, U r/m XMM only, P reg MMX, Q r/m MMX or memory, N r/m MMX only,
 * F a fixed register, K a constant, X an implicit memory operand (its size only). Of VEX encodings: H the vector
 * register and B the general register in VEX.vvvv, L the vector register in the upper bits of the last byte.
 */
export type OperandCode =
  | 'E'
  | 'G'
  | 'M'
  | 'R'
  | 'I'
  | 'J'
  | 'O'
  | 'Z'
  | 'S'
  | 'C'
  | 'D'
  | 'V'
  | 'W'
  | 'U'
  | 'P'
  | 'Q'
  | 'N'
  | 'F'
  | 'K'
  | 'X'
  | 'H'
  | 'B'
  | 'L';

/**
 * Bytes, or by operand size: v 2, 4 or 8; z 2 or 4 (for immediates sign-extended to the operand size); y 4 or 8;
 * s: one byte sign-extended to the operand size (immediates); a: address only, any size. x: a vector, of 16 bytes, or of
 * 32 by VEX.L; h, f, e: a half, a fourth, an eighth of it; o: 16 bytes.
 */
export type SizeCode = 'b' | 'w' | 'd' | 'q' | 'x' | 'h' | 'f' | 'e' | 'o' | 't' | 'v' | 'z' | 'y' | 's' | 'a';

/** VEX.L as an encoding wants it: either (the vector's size), one of them, or whatever it is. */
export type VexLength = 'either' | '128' | '256' | 'ignored';

export interface OperandSpec {
  readonly code: OperandCode;
  readonly size: SizeCode;
  /** For F: register number. For K: the value. */
  readonly value: number;
}

export interface Encoding {
  readonly map: OpcodeMap;
  readonly opcode: number;
  /** Mandatory prefix; 'any' when prefixes only modify. */
  readonly prefix: 'any' | 'none' | '66' | 'f3' | 'f2';
  /** Whether a ModRM byte follows the opcode. */
  readonly modrm: boolean;
  /** ModRM.reg, when it extends the opcode. */
  readonly reg: number | undefined;
  /** The whole ModRM byte, when it extends the opcode. */
  readonly exact: number | undefined;
  readonly form: 'any' | 'register' | 'memory';
  readonly rexW: boolean | undefined;
  readonly mode: 'any' | 'only64' | 'not64';
  /** Operand size in 64-bit mode: normal (32 unless REX.W), 64 unless 66 (stack, near branches), or always 64. */
  readonly size64: 'normal' | 'default64' | 'always64';
  readonly operands: readonly OperandSpec[];
  /** Absent: not a VEX encoding. */
  readonly vex: VexLength | undefined;
  readonly text: string;
}

export interface InstructionOptions {
  /** LOCK is allowed when the first operand is memory. */
  readonly lock?: boolean;
  /** Worth a place in the interpreter's main loop (4- and 8-byte variants, and 1-byte ones if 'bytes'). */
  readonly hot?: boolean | 'bytes';
  /** Leaves the block: nothing after it is decoded into the same block. */
  readonly ends?: boolean;
  /** Uses the stack implicitly. */
  readonly stack?: boolean;
  /** Addresses memory implicitly through registers (strings): variants by address form. */
  readonly implicitMemory?: boolean;
  /** Distinguishes REP and REPNE: variants by repeat prefix. */
  readonly repeat?: boolean;
  /** Unit whose unavailability traps before anything else: sets #NM or #UD at decoding. */
  readonly unit?: 'x87' | 'mmx' | 'sse';
  /** The address has a vector of indices (VSIB, SDM 2A, 2.3.12): the memory operand's slot names its register. */
  readonly vsib?: boolean;
  /** Allowed only at CPL 0: #GP(0) otherwise. */
  readonly privileged?: boolean;
  /** Needs CPL ≤ IOPL or the I/O bitmap, system state or devices: left out of tests against a host processor. */
  readonly system?: boolean;
  /** Arithmetic flags that the manual leaves undefined after it (RFLAGS mask), for tests. */
  readonly undefinedFlags?: number;
  /** The first memory operand is written (only or also): the limit check is for writing. */
  readonly writes?: boolean;
  /** The feature by which Linux says that a processor has the instruction, where the encoding does not tell: for tests. */
  readonly feature?: string;
  /** Results differ between processors within the manual's bounds: tests compare with a tolerance or leave it out. */
  readonly approximate?: boolean;
}

export type Semantics = (b: InstructionBuilder) => void;

export interface InstructionDefinition {
  readonly name: string;
  /** Its place in the table: definitions may share a name, but not their meaning. */
  readonly number: number;
  readonly encodings: readonly Encoding[];
  readonly options: InstructionOptions;
  readonly semantics: Semantics;
}

/** A byte as encodings are written: two digits, capitals. */
export function hex(value: number): string {
  return value.toString(16).toUpperCase().padStart(2, '0');
}

const FIXED: Readonly<Record<string, readonly [number, SizeCode]>> = {
  AL: [0, 'b'],
  CL: [1, 'b'],
  AX: [0, 'w'],
  DX: [2, 'w'],
  EAX: [0, 'd'],
  rAX: [0, 'v'],
  ST0: [0, 't'],
  STi: [0, 't'],
};

function parseOperand(text: string): OperandSpec {
  const fixed = FIXED[text];
  if (fixed !== undefined) {
    return { code: 'F', size: fixed[1], value: fixed[0] };
  }
  if (text === '1') {
    return { code: 'K', size: 'b', value: 1 };
  }
  const match = /^([EGMRIJOZSCDVWUPQNXHBL])([bwdqxhfeotvzysa])$/.exec(text);
  assert(match !== null, `unknown operand ${text}`);
  return { code: match[1] as OperandCode, size: match[2] as SizeCode, value: 0 };
}

const VEX_TOKENS: Readonly<Record<string, VexLength>> = {
  VEX: 'either',
  VEX128: '128',
  VEX256: '256',
  VEXLIG: 'ignored',
};

/**
 * Parses one encoding: `[prefix] bytes [/r | /0–7 | =byte] [flags] [: operands]`, for example `66 0F 38 00 /r : Vx Wx`.
 * Prefixes are NP, 66, F3, F2 (66 counts as a prefix only before 0F); flags are W0 W1 i64 (invalid in 64-bit mode)
 * o64 (only there) d64 f64 (operand size 64 by default, always) and mem or reg (form of ModRM). `+r` behind the last
 * byte: eight opcodes with a register number. In front of the prefix may stand VEX (VEX.L gives the vector's size),
 * VEX128, VEX256 or VEXLIG (VEX.L is ignored).
 */
export function parseEncoding(text: string): Encoding[] {
  const [left = '', right = ''] = text.split(':');
  const tokens = left.trim().split(/\s+/);
  let prefix: Encoding['prefix'] = 'any';
  const vex = VEX_TOKENS[tokens[0] ?? ''];
  if (vex !== undefined) {
    tokens.shift();
  }
  const first = tokens[0];
  if (first === 'NP') {
    prefix = 'none';
    tokens.shift();
  } else if ((first === '66' || first === 'F3' || first === 'F2') && /^(0F|90)$/.test(tokens[1] ?? '')) {
    prefix = first.toLowerCase() as Encoding['prefix'];
    tokens.shift();
  }
  const bytes: number[] = [];
  let plusRegister = false;
  let reg: number | undefined;
  let exact: number | undefined;
  let modrm = false;
  let rexW: boolean | undefined;
  let mode: Encoding['mode'] = 'any';
  let size64: Encoding['size64'] = 'normal';
  let form: Encoding['form'] = 'any';
  for (const token of tokens) {
    if (/^[0-9A-F]{2}(\+r)?$/.test(token)) {
      bytes.push(Number.parseInt(token.slice(0, 2), 16));
      plusRegister ||= token.endsWith('+r');
    } else if (token === '/r') {
      modrm = true;
    } else if (/^\/[0-7]$/.test(token)) {
      modrm = true;
      reg = Number(token[1]);
    } else if (/^=[0-9A-F]{2}$/.test(token)) {
      modrm = true;
      exact = Number.parseInt(token.slice(1), 16);
    } else if (token === 'W0' || token === 'W1') {
      rexW = token === 'W1';
    } else if (token === 'i64') {
      mode = 'not64';
    } else if (token === 'o64') {
      mode = 'only64';
    } else if (token === 'd64') {
      size64 = 'default64';
    } else if (token === 'f64') {
      size64 = 'always64';
    } else if (token === 'mem') {
      form = 'memory';
    } else if (token === 'reg') {
      form = 'register';
    } else {
      assert(false, `cannot read ${token} in the encoding "${text}"`);
    }
  }
  let map: OpcodeMap = 0;
  if (bytes.length > 1 && bytes[0] === 0x0f) {
    map = bytes[1] === 0x38 && bytes.length > 2 ? 2 : bytes[1] === 0x3a && bytes.length > 2 ? 3 : 1;
  }
  const opcode = bytes.at(-1);
  assert(
    opcode !== undefined && bytes.length === (map === 0 ? 1 : map === 1 ? 2 : 3),
    `wrong opcode bytes in "${text}"`,
  );
  const operands = right.trim() === '' ? [] : right.trim().split(/\s+/).map(parseOperand);
  for (const operand of operands) {
    if (operand.code === 'M') {
      form = 'memory';
    } else if (operand.code === 'R' || operand.code === 'U' || operand.code === 'N') {
      form = 'register';
    }
  }
  assert(vex === undefined || (map > 0 && prefix !== 'any'), `a VEX encoding needs a map and a prefix: "${text}"`);
  const base = { map, prefix, modrm, reg, exact, form, rexW, mode, size64, operands, vex, text };
  return Array.from({ length: plusRegister ? 8 : 1 }, (_, i) => ({ ...base, opcode: opcode + i }));
}

/** Collects the instruction table. */
export class InstructionTable {
  readonly definitions: InstructionDefinition[] = [];

  /** Adds an instruction: its encodings (see parseEncoding) and its meaning. */
  define(name: string, encodings: string | readonly string[], options: InstructionOptions, semantics: Semantics): void {
    const list = typeof encodings === 'string' ? [encodings] : encodings;
    const number = this.definitions.length;
    this.definitions.push({ name, number, encodings: list.flatMap(parseEncoding), options, semantics });
  }
}
