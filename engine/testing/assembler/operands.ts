import { type Expression, parseExpression, type TokenReader } from './expression.ts';
import { type Register, registerNamed } from './registers.ts';

/** A memory operand as written; its registers are found in `address` when it is encoded. */
export interface MemoryOperand {
  readonly kind: 'memory';
  /** Bits from a size keyword; 0 when there is none. */
  readonly size: number;
  readonly far: boolean;
  readonly segment: Register | undefined;
  readonly address: Expression;
  readonly relative: 'rel' | 'abs' | undefined;
  /** Size keyword inside the brackets: 8 forces the displacement, the others the address size. */
  readonly addressKeyword: number;
}

export interface RegisterOperand {
  readonly kind: 'register';
  readonly register: Register;
}

export interface ImmediateOperand {
  readonly kind: 'immediate';
  readonly size: number;
  readonly strict: boolean;
  readonly distance: 'short' | 'near' | undefined;
  readonly value: Expression;
}

/** `selector:offset` */
export interface FarOperand {
  readonly kind: 'far';
  readonly size: number;
  readonly selector: Expression;
  readonly offset: Expression;
}

export type Operand = MemoryOperand | RegisterOperand | ImmediateOperand | FarOperand;

const SIZES: Readonly<Record<string, number>> = {
  byte: 8,
  word: 16,
  dword: 32,
  qword: 64,
  tword: 80,
  oword: 128,
};

export function parseOperands(reader: TokenReader): Operand[] {
  const operands: Operand[] = [];
  if (reader.atEnd) return operands;
  do operands.push(parseOperand(reader));
  while (reader.accept(','));
  reader.expectEnd();
  return operands;
}

function parseOperand(reader: TokenReader): Operand {
  let size = 0;
  let strict = false;
  let far = false;
  let distance: 'short' | 'near' | undefined;
  for (;;) {
    const word = reader.acceptName(...Object.keys(SIZES), 'strict', 'far', 'short', 'near');
    if (word === undefined) break;
    if (word === 'strict') strict = true;
    else if (word === 'far') far = true;
    else if (word === 'short' || word === 'near') distance = word;
    else size = SIZES[word] ?? 0;
  }
  if (reader.accept('[')) return parseMemory(reader, size, far);
  const value = parseExpression(reader);
  if (value.kind === 'register') {
    const register = registerNamed(value.name);
    if (register !== undefined) return { kind: 'register', register };
  }
  if (reader.accept(':')) return { kind: 'far', size, selector: value, offset: parseExpression(reader) };
  return { kind: 'immediate', size, strict, distance, value };
}

function parseMemory(reader: TokenReader, size: number, far: boolean): MemoryOperand {
  let addressKeyword = 0;
  let relative: 'rel' | 'abs' | undefined;
  for (;;) {
    const word = reader.acceptName(...Object.keys(SIZES), 'rel', 'abs');
    if (word === undefined) break;
    if (word === 'rel' || word === 'abs') relative = word;
    else addressKeyword = SIZES[word] ?? 0;
  }
  let segment: Register | undefined;
  const first = reader.peek();
  const second = reader.peek(1);
  if (first?.kind === 'name' && second?.kind === 'punctuation' && second.text === ':') {
    segment = registerNamed(first.text.toLowerCase());
    if (segment?.class !== 'sreg') reader.fail(`'${first.text}' is not a segment register`);
    reader.take();
    reader.take();
    const word = reader.acceptName('rel', 'abs');
    if (word === 'rel' || word === 'abs') relative = word;
  }
  const address = parseExpression(reader);
  reader.expect(']');
  return { kind: 'memory', size, far, segment, address, relative, addressKeyword };
}
