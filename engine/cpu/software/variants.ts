import { assert, defined } from '../../base/assert.ts';
import type { Encoding, InstructionDefinition, OperandSpec, SizeCode } from '../x86/instructions/definition.ts';
import type {
  AddressForm,
  Operand,
  OperandKind,
  OperandSize,
  RepeatPrefix,
} from '../x86/instructions/instruction-builder.ts';
import * as L from '../x86/layout.ts';

export const ADDRESS_FORMS: readonly AddressForm[] = ['flat64', 'flat32', 'segmented'];
export const REPEAT_PREFIXES: readonly RepeatPrefix[] = ['none', 'rep', 'repne'];

/** What one encoding becomes once sizes and forms are fixed: the unit that has a handler. */
export interface Variant {
  readonly definition: InstructionDefinition;
  readonly size: OperandSize;
  readonly operands: readonly Operand[];
  readonly addressForm: AddressForm;
  readonly stackForm: AddressForm;
  readonly repeat: RepeatPrefix;
  /** A VEX encoding: destinations are cleared above the result, and memory need not be aligned. */
  readonly vex: boolean;
  /** Number of the operand that is the first source: the destination itself, or one of its own. */
  readonly left: number;
  /** Equal keys mean equal behaviour: such variants share a handler. */
  readonly key: string;
}

/** Number of a variant within its encoding, by everything that the decoder knows of an instance. */
export function variantNumber(size: number, memory: boolean, form: number, repeat: number): number {
  const sizeIndex = size === 32 ? 5 : size === 16 ? 4 : size === 8 ? 3 : size === 4 ? 2 : size === 2 ? 1 : 0;
  return ((sizeIndex * 2 + (memory ? 1 : 0)) * 3 + form) * 3 + repeat;
}

export const VARIANT_NUMBERS = 6 * 2 * 3 * 3;

function byOperandSize(code: SizeCode): boolean {
  return code === 'v' || code === 'z' || code === 'y' || code === 's';
}

/** Whether the operand size of `encoding` depends on prefixes and mode. */
export function isSized(encoding: Encoding): boolean {
  return encoding.vex === 'either' || encoding.operands.some((operand) => byOperandSize(operand.size));
}

/** Bytes of an operand whose instruction works on `size` bytes. */
export function operandBytes(code: SizeCode, size: number): number {
  switch (code) {
    case 'b':
      return 1;
    case 'w':
      return 2;
    case 'd':
      return 4;
    case 'q':
      return 8;
    case 'x':
      return size === 32 ? 32 : 16;
    case 'h':
      return size === 32 ? 16 : 8;
    case 'f':
      return size === 32 ? 8 : 4;
    case 'e':
      return size === 32 ? 4 : 2;
    case 'o':
      return 16;
    case 't':
      return 10;
    case 'z':
      return size === 8 ? 4 : size;
    case 'y':
      return size === 8 ? 8 : 4;
    case 's':
      return 1;
    case 'v':
      return size;
    case 'a':
      return size;
  }
}

/** The fixed operand size of an encoding without sized operands. */
export function fixedSize(encoding: Encoding): OperandSize {
  if (encoding.vex === '256') {
    return 32;
  }
  const first = encoding.operands.find((operand) => operand.size !== 'a' && operand.size !== 't');
  return first === undefined ? 4 : (operandBytes(first.size, 4) as OperandSize);
}

function operandOf(spec: OperandSpec, size: number, memory: boolean): Operand {
  // Immediates that are sign-extended to the operand size count as that wide: the decoder has extended them.
  const bytes = spec.code === 'I' && (spec.size === 's' || spec.size === 'z') ? size : operandBytes(spec.size, size);
  const of = (kind: OperandKind): Operand => ({ kind, size: bytes });
  switch (spec.code) {
    case 'E':
      return of(memory ? 'memory' : 'register');
    case 'W':
      return of(memory ? 'memory' : 'xmm');
    case 'Q':
      return of(memory ? 'memory' : 'mmx');
    case 'M':
    case 'O':
      return of(spec.size === 'a' ? 'address' : 'memory');
    case 'G':
    case 'R':
    case 'Z':
    case 'B':
      return of('register');
    case 'V':
    case 'U':
    case 'H':
    case 'L':
      return of('xmm');
    case 'P':
    case 'N':
      return of('mmx');
    case 'I':
      return of('immediate');
    case 'F':
      return spec.size === 't' ? of('none') : { kind: 'register', size: bytes, fixed: L.GPR + spec.value * 8 };
    case 'K':
      return { kind: 'immediate', size: bytes, value: spec.value };
    default:
      return of('none');
  }
}

/** Whether ModRM can select memory for this encoding. */
export function takesMemory(encoding: Encoding): { memory: boolean; register: boolean } {
  const either = encoding.operands.some((operand) => 'EWQ'.includes(operand.code));
  if (encoding.operands.some((operand) => operand.code === 'O')) {
    return { memory: true, register: false };
  }
  if (!encoding.modrm) {
    return { memory: false, register: true };
  }
  if (encoding.form !== 'any') {
    return { memory: encoding.form === 'memory', register: encoding.form === 'register' };
  }
  return { memory: either || encoding.exact === undefined, register: true };
}

/** All variants of an encoding, by variant number. */
export function variantsOf(definition: InstructionDefinition, encoding: Encoding): Map<number, Variant> {
  const { options } = definition;
  const result = new Map<number, Variant>();
  let sizes: readonly OperandSize[] = [fixedSize(encoding)];
  if (encoding.vex === 'either') {
    sizes = [16, 32];
  } else if (isSized(encoding)) {
    const wordSized = encoding.operands.some(
      (operand) => operand.size === 'v' || operand.size === 'z' || operand.size === 's',
    );
    sizes = wordSized ? (encoding.mode === 'not64' ? [2, 4] : [2, 4, 8]) : [4, 8];
  }
  const { memory, register } = takesMemory(encoding);
  const vex = encoding.vex !== undefined;
  const left = encoding.operands.some((operand) => operand.code === 'H') ? 1 : 0;
  assert(!(options.stack && options.implicitMemory), `${definition.name}: stack and string forms cannot be combined`);
  const forms = options.stack || options.implicitMemory ? [0, 1, 2] : [0];
  const repeats = options.repeat ? [0, 1, 2] : [0];
  for (const size of sizes) {
    // Displacements of 64-bit code only differ in how many bytes the decoder reads.
    const isNearJump = size === 8 && encoding.operands.length === 1 && encoding.operands[0]?.code === 'J';
    for (const inMemory of [...(register ? [false] : []), ...(memory ? [true] : [])]) {
      const operands = encoding.operands.map((spec) => operandOf(spec, size, inMemory));
      for (const form of forms) {
        for (const repeat of repeats) {
          const addressForm = defined(ADDRESS_FORMS[options.implicitMemory ? form : 0], 'address form');
          const stackForm = defined(ADDRESS_FORMS[options.stack ? form : 0], 'stack form');
          const prefix = defined(REPEAT_PREFIXES[repeat], 'repeat prefix');
          const shapes = operands.map(
            (o) => `${o.kind}${o.size}${o.fixed ?? ''}${o.value === undefined ? '' : `=${o.value}`}`,
          );
          result.set(variantNumber(size, inMemory, form, repeat), {
            definition,
            size,
            operands,
            addressForm,
            stackForm,
            repeat: prefix,
            vex,
            left,
            key: [
              `${definition.name}#${definition.number}`,
              ...(isNearJump ? ['1', 'none1'] : [size, ...shapes]),
              addressForm,
              stackForm,
              prefix,
              ...(vex ? [`vex${left}`] : []),
            ].join('|'),
          });
        }
      }
    }
  }
  return result;
}

/** Whether a variant earns a place in the interpreter's main loop. */
export function isHot(variant: Variant): boolean {
  const { hot, stack } = variant.definition.options;
  if (hot === undefined || hot === false || variant.vex) {
    return false;
  }
  if (stack && variant.stackForm === 'segmented') {
    return false;
  }
  // Immediates and branch displacements of a byte do not make an instruction one on bytes.
  const bytes = variant.operands.some(({ size, kind }) => size === 1 && kind !== 'immediate' && kind !== 'none');
  return variant.size >= 4 || (variant.size === 1 && (hot === 'bytes' || !bytes));
}
