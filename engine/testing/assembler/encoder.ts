import { type Address, type EncodedAddress, encodeAddress, resolveAddress } from './address.ts';
import { AssemblyError, type SourcePlace } from './assembly-error.ts';
import { evaluate, type Scope, type Value } from './expression.ts';
import { type Form, formsOf, type OperandPattern } from './instruction-forms.ts';
import type { MemoryOperand, Operand } from './operands.ts';
import { generalSize, type Register } from './registers.ts';

export type CodeSize = 16 | 32 | 64;

export interface Instruction {
  readonly mnemonic: string;
  readonly prefixes: readonly string[];
  readonly operands: readonly Operand[];
}

export interface EncodeContext {
  readonly bits: CodeSize;
  /** `default rel`: plain addresses in 64-bit code are RIP-relative. */
  readonly defaultRelative: boolean;
  readonly scope: Scope;
  readonly place: SourcePlace;
  /** Values are settled: ranges are checked. */
  readonly final: boolean;
  /** The short form of this jump turned out not to reach. */
  readonly avoidShort: boolean;
}

export interface EncodeResult {
  readonly bytes: number[];
  /** A short jump was possible by its form but does not reach. */
  readonly shortFailed: boolean;
}

const PREFIX_BYTES: Readonly<Record<string, number>> = {
  rep: 0xf3,
  repe: 0xf3,
  repz: 0xf3,
  repne: 0xf2,
  repnz: 0xf2,
  lock: 0xf0,
};

const SEGMENT_PREFIXES: Readonly<Record<string, number>> = {
  es: 0x26,
  cs: 0x2e,
  ss: 0x36,
  ds: 0x3e,
  fs: 0x64,
  gs: 0x65,
};

const SIZE_PREFIXES = ['o16', 'o32', 'o64', 'a16', 'a32', 'a64'];

/** True for a word that can stand before a mnemonic. */
export function isPrefix(word: string): boolean {
  return word in PREFIX_BYTES || word in SEGMENT_PREFIXES || SIZE_PREFIXES.includes(word);
}

export function isMnemonic(word: string): boolean {
  return formsOf(word) !== undefined;
}

export function encodeInstruction(instruction: Instruction, context: EncodeContext): EncodeResult {
  const { mnemonic, operands } = instruction;
  const forms = formsOf(mnemonic);
  if (forms === undefined) throw new AssemblyError(context.place, `unknown instruction '${mnemonic}'`);
  const [first, second, third] = operands;
  if (mnemonic === 'imul' && first?.kind === 'register' && second?.kind === 'immediate' && third === undefined) {
    return encodeInstruction({ ...instruction, operands: [first, first, second] }, context);
  }
  const encoder = new Encoder(instruction, context);
  let shortFailed = false;
  for (const [index, form] of forms.entries()) {
    if (!encoder.matches(form)) continue;
    encoder.refuseAmbiguity(form, forms.slice(index + 1));
    if (form.operands[0]?.kind === 'relative' && form.operands[0].size === 8) {
      const hasNear = forms.some((other) => other.operands[0]?.kind === 'relative' && other.operands[0].size > 8);
      const distance = first?.kind === 'immediate' ? first.distance : undefined;
      if (hasNear && distance !== 'short') {
        if (distance === 'near' || context.avoidShort || first?.kind !== 'immediate' || first.size !== 0) continue;
        const bytes = encoder.encode(form, false);
        if (bytes !== undefined) return { bytes, shortFailed };
        shortFailed = true;
        continue;
      }
    }
    const bytes = encoder.encode(form, true);
    if (bytes !== undefined) return { bytes, shortFailed };
  }
  return encoder.explain(forms);
}

class Encoder {
  readonly #instruction: Instruction;
  readonly #context: EncodeContext;
  readonly #values: (Value | undefined)[];
  readonly #addresses: (Address | undefined)[];

  constructor(instruction: Instruction, context: EncodeContext) {
    this.#instruction = instruction;
    this.#context = context;
    const { scope, place, bits, defaultRelative } = context;
    this.#values = instruction.operands.map((operand) =>
      operand.kind === 'immediate' ? evaluate(operand.value, scope, place) : undefined,
    );
    this.#addresses = instruction.operands.map((operand) =>
      operand.kind === 'memory' ? resolveAddress(operand, bits, defaultRelative, scope, place) : undefined,
    );
  }

  matches(form: Form): boolean {
    const { operands } = this.#instruction;
    if (form.operands.length !== operands.length) return false;
    const { bits } = this.#context;
    if ((bits === 64 && form.not64) || (bits !== 64 && form.only64)) return false;
    for (const [index, pattern] of form.operands.entries()) {
      const operand = operands[index];
      if (operand === undefined || !this.#operandMatches(pattern, operand, index)) return false;
    }
    return !form.sizeFromMode || this.#sizeFitsMode(form);
  }

  #operandMatches(pattern: OperandPattern, operand: Operand, index: number): boolean {
    switch (operand.kind) {
      case 'register': {
        const { register } = operand;
        if (pattern.kind === 'fixed') return register.name === pattern.name;
        return (
          (pattern.kind === 'register' || pattern.kind === 'register/memory') && register.class === pattern.registers
        );
      }
      case 'memory': {
        if (operand.far || pattern.kind === 'farMemory') {
          return operand.far && pattern.kind === 'farMemory' && (operand.size === 0 || operand.size === pattern.size);
        }
        if (pattern.kind === 'offset') {
          if (!this.#isPlainOffset(operand, index)) return false;
        } else if (pattern.kind !== 'memory' && pattern.kind !== 'register/memory') return false;
        return operand.size === 0 || pattern.size === 0 || operand.size === pattern.size;
      }
      case 'far':
        return pattern.kind === 'far' && (operand.size === 0 || operand.size === pattern.size);
      case 'immediate':
        break;
    }
    const value = this.#values[index];
    if (value === undefined) return false;
    const { size, strict } = operand;
    switch (pattern.kind) {
      case 'one':
        return size === 0 && value.known && value.labels === 0 && value.value === 1n;
      case 'relative':
        return size === 0 || size === pattern.size || (size === 32 && pattern.size === 64);
      case 'immediate':
        if (pattern.extendedFrom === 0)
          return size === 0 || size === pattern.size || (size === 32 && pattern.size === 64);
        if (size !== 0 && size !== pattern.extendedFrom && (strict || (size !== pattern.size && pattern.size !== 64))) {
          return false;
        }
        if (strict && size === 0) return false;
        return this.#fitsExtended(pattern, value, size === 8);
      default:
        return false;
    }
  }

  #fitsExtended(pattern: OperandPattern, { value, labels, known }: Value, forced: boolean): boolean {
    if (forced && pattern.extendedFrom === 8) return true;
    if (labels !== 0) return false;
    if (!known) return true;
    if (pattern.zeroExtended) return value >= 0n && value < 1n << BigInt(pattern.extendedFrom);
    const wrapped = BigInt.asIntN(pattern.size, value);
    return BigInt.asIntN(pattern.extendedFrom, wrapped) === wrapped;
  }

  /** An address without registers, which the accumulator forms of `mov` take whole. */
  #isPlainOffset(operand: MemoryOperand, index: number): boolean {
    const address = this.#addresses[index];
    if (address === undefined || address.base !== undefined || address.index !== undefined) return false;
    return this.#context.bits !== 64 || (operand.addressKeyword === 64 && !address.ripRelative);
  }

  #sizeFitsMode(form: Form): boolean {
    const { bits } = this.#context;
    if (form.operandSize === bits) return true;
    return this.#instruction.operands.some((operand) =>
      operand.kind === 'register'
        ? generalSize(operand.register) === form.operandSize
        : operand.size !== 0 && operand.size === form.operandSize,
    );
  }

  /** A memory operand of unknown size must not fit forms of several sizes. */
  refuseAmbiguity(form: Form, others: readonly Form[]): void {
    const { operands } = this.#instruction;
    const open = operands.findIndex((operand) => operand.kind === 'memory' && operand.size === 0);
    const size = form.operands[open]?.size ?? 0;
    if (open < 0 || size === 0 || form.sizeFromMode) return;
    const told = form.operands.some(
      (pattern, index) => index !== open && pattern.tellsSize && operands[index]?.kind === 'register',
    );
    if (told) return;
    if (others.some((other) => other.operands[open]?.size !== size && this.matches(other))) {
      throw new AssemblyError(this.#context.place, 'the size of the memory operand is not given');
    }
  }

  /** The bytes, or undefined when a relative target does not reach and `mustReach` is false. */
  encode(form: Form, mustReach: boolean): number[] | undefined {
    const { bits, final, scope, place } = this.#context;
    const { operands } = this.#instruction;
    let rex = form.operandSize === 64 && !form.default64 ? 8 : 0;
    let rexNeeded = false;
    let rexForbidden = false;
    let regField = typeof form.modrm === 'number' ? form.modrm : 0;
    let rm: Register | EncodedAddress | undefined;
    let opcodeRegister = 0;
    let addressSize: CodeSize = form.addressSize ?? bits;
    let ripRelative = false;
    let offset: Address | undefined;
    const prefixes: number[] = [];
    const immediates: { operand: Operand; pattern: OperandPattern; value: Value | undefined }[] = [];

    for (const word of this.#instruction.prefixes) {
      const byte = PREFIX_BYTES[word];
      if (byte !== undefined) prefixes.push(byte);
    }
    for (const word of this.#instruction.prefixes) {
      const byte = SEGMENT_PREFIXES[word];
      if (byte !== undefined) prefixes.push(byte);
    }

    for (const [index, pattern] of form.operands.entries()) {
      const operand = operands[index];
      if (operand === undefined) continue;
      if (operand.kind === 'memory') {
        const address = this.#addresses[index];
        if (address === undefined) continue;
        addressSize = address.addressSize;
        if (operand.segment !== undefined) prefixes.push(SEGMENT_PREFIXES[operand.segment.name] ?? 0);
        if (pattern.kind === 'offset') offset = address;
        else {
          rm = encodeAddress(address, bits, operand.addressKeyword, place);
          ripRelative = address.ripRelative;
          rex |= rm.rex;
        }
      } else if (operand.kind === 'register') {
        const { register } = operand;
        if (pattern.kind === 'fixed') continue;
        rexNeeded ||= register.needsRex;
        rexForbidden ||= register.forbidsRex;
        if (form.plusRegister) {
          opcodeRegister = register.number & 7;
          if (register.number > 7) rex |= 1;
        } else if (pattern.kind === 'register/memory' || pattern.inRm || typeof form.modrm === 'number') {
          rm = register;
          if (register.number > 7) rex |= 1;
        } else {
          regField = register.number & 7;
          if (register.number > 7) rex |= 4;
        }
      } else if (pattern.kind !== 'one') {
        immediates.push({ operand, pattern, value: this.#values[index] });
      }
    }

    const wordOperand = (form.operandSize === 16) !== (bits === 16) && form.operandSize !== undefined;
    const wantsWord = this.#sizePrefix('o');
    const operandPrefix =
      wantsWord !== undefined ? (wantsWord === 16) !== (bits === 16) : wordOperand && form.operandSize !== 64;
    if (wantsWord === 64) rex |= 8;
    if (operandPrefix && wantsWord !== 64) prefixes.push(0x66);
    addressSize = this.#sizePrefix('a') ?? addressSize;
    if (addressSize !== bits) prefixes.push(0x67);
    if (rex !== 0 || rexNeeded) {
      if (bits !== 64) throw new AssemblyError(place, 'this register or size exists in 64-bit code only');
      if (rexForbidden) throw new AssemblyError(place, 'ah, bh, ch and dh cannot be used in this instruction');
    }

    // The waiting x87 forms are an FWAIT before everything else.
    const waits = form.opcode[0] === 0x9b && form.opcode.length > 1;
    const bytes = waits ? [0x9b, ...prefixes] : [...prefixes];
    const opcode = waits ? form.opcode.slice(1) : form.opcode;
    if (form.mandatoryPrefix !== undefined) bytes.push(form.mandatoryPrefix);
    if (rex !== 0 || rexNeeded) insertRex(bytes, opcode, 0x40 | rex);
    else bytes.push(...opcode);
    if (form.plusRegister) bytes.push((bytes.pop() ?? 0) + opcodeRegister);

    let ripAt = -1;
    if (rm !== undefined && 'class' in rm) bytes.push(0xc0 | (regField << 3) | (rm.number & 7));
    else if (rm !== undefined) {
      bytes.push(rm.modrm | (regField << 3));
      if (rm.sib !== undefined) bytes.push(rm.sib);
      ripAt = bytes.length;
      if (ripRelative) bytes.push(0, 0, 0, 0);
      else this.#pushDisplacement(bytes, rm);
    }
    if (offset !== undefined) this.#push(bytes, offset.displacement, offset.addressSize / 8, offset.addressSize);

    for (const [index, { operand, pattern, value }] of immediates.entries()) {
      const length = form.immediates[index] ?? 1;
      if (operand.kind === 'far') {
        const selector = evaluate(operand.selector, scope, place);
        this.#push(bytes, evaluate(operand.offset, scope, place), pattern.size / 8, pattern.size);
        this.#push(bytes, selector, 2, 16);
      } else if (value !== undefined && pattern.kind === 'relative') {
        const distance = value.value - (scope.here.value + BigInt(bytes.length + length));
        const limit = 1n << BigInt(length * 8 - 1);
        // A 16-bit instruction pointer wraps, so that every 16-bit target is reachable.
        const reaches = distance >= -limit && distance < limit ? true : length === 2 && bits === 16;
        if (!reaches && value.known) {
          if (!mustReach) return undefined;
          if (final) throw new AssemblyError(place, `the target is ${distance} bytes away, too far for this jump`);
        }
        pushBytes(bytes, distance, length);
      } else if (value !== undefined) this.#push(bytes, value, length, pattern.size);
    }
    if (ripRelative && rm !== undefined && 'displacement' in rm) {
      const distance = rm.displacement.value - (scope.here.value + BigInt(bytes.length));
      bytes.splice(ripAt, 4, ...littleEndian(distance, 4));
    }
    return bytes;
  }

  #sizePrefix(letter: string): CodeSize | undefined {
    const word = this.#instruction.prefixes.find((each) => each.startsWith(letter) && SIZE_PREFIXES.includes(each));
    const size = Number(word?.slice(1));
    return size === 16 || size === 32 || size === 64 ? size : undefined;
  }

  #pushDisplacement(bytes: number[], address: EncodedAddress): void {
    const { final, place, bits } = this.#context;
    const { value } = address.displacement;
    const length = address.displacementBytes;
    if (final && length === 4 && bits === 64 && (value < -(1n << 31n) || value >= 1n << 32n)) {
      throw new AssemblyError(place, `address ${value} does not fit in 32 bits`);
    }
    pushBytes(bytes, value, length);
  }

  /** Appends a value of `length` bytes that stands for `size` bits; out of range is an error once values are settled. */
  #push(bytes: number[], value: Value, length: number, size: number): void {
    const bits = BigInt(length * 8);
    // A value that gets sign-extended has no room for large unsigned numbers.
    const top = size > length * 8 ? 1n << (bits - 1n) : 1n << bits;
    const signExtended = size > length * 8 && length === 1;
    const wrapped = signExtended ? BigInt.asIntN(size, value.value) : value.value;
    if (this.#context.final && (wrapped < -(1n << (bits - 1n)) || wrapped >= top)) {
      // A zero-extended 32-bit immediate of a 64-bit register.
      if (!(length === 4 && size === 64 && value.value >= 0n && value.value < 1n << 32n && this.#zeroExtends())) {
        throw new AssemblyError(this.#context.place, `value ${value.value} does not fit in ${length * 8} bits`);
      }
    }
    pushBytes(bytes, value.value, length);
  }

  #zeroExtends(): boolean {
    return this.#instruction.mnemonic === 'mov' && this.#instruction.operands[0]?.kind === 'register';
  }

  explain(forms: readonly Form[]): never {
    const { place, bits } = this.#context;
    const { mnemonic, operands } = this.#instruction;
    const counts = new Set(forms.map((form) => form.operands.length));
    if (!counts.has(operands.length)) {
      throw new AssemblyError(place, `'${mnemonic}' does not take ${operands.length} operands`);
    }
    throw new AssemblyError(place, `these operands do not fit '${mnemonic}' in ${bits}-bit code`);
  }
}

/** REX stands right before the opcode, after an F3 that the table writes as part of it. */
function insertRex(bytes: number[], opcode: readonly number[], rex: number): void {
  const leading = opcode.length > 1 && opcode[0] === 0xf3 ? 1 : 0;
  bytes.push(...opcode.slice(0, leading), rex, ...opcode.slice(leading));
}

export function littleEndian(value: bigint, length: number): number[] {
  const bytes: number[] = [];
  pushBytes(bytes, value, length);
  return bytes;
}

function pushBytes(bytes: number[], value: bigint, length: number): void {
  let rest = BigInt.asUintN(length * 8, value);
  for (let index = 0; index < length; index++) {
    bytes.push(Number(rest & 0xffn));
    rest >>= 8n;
  }
}
