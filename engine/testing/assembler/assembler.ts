import { AssemblyError, type SourcePlace } from './assembly-error.ts';
import { type CodeSize, encodeInstruction, type Instruction, isMnemonic, isPrefix, littleEndian } from './encoder.ts';
import { type Expression, evaluate, parseExpression, type Scope, TokenReader, type Value } from './expression.ts';
import { type Token, tokenize } from './lexer.ts';
import { parseOperands } from './operands.ts';
import { type PreprocessorOptions, preprocess } from './preprocessor.ts';

export { AssemblyError } from './assembly-error.ts';

export interface AssembleOptions extends PreprocessorOptions {
  /** Name of the source in error messages. */
  readonly file?: string;
  /** Where the code starts when the source has no `org`. */
  readonly origin?: number;
  /** Code size when the source has no `bits` (default 16). */
  readonly bits?: CodeSize;
}

export interface Assembly {
  readonly bytes: Uint8Array;
  /** Address of the first byte. */
  readonly origin: number;
  /** Every label and constant. Local labels carry their parent's name: `main.loop`. */
  readonly symbols: ReadonlyMap<string, bigint>;
}

type DataItem =
  | { readonly kind: 'bytes'; readonly bytes: readonly number[] }
  | { readonly kind: 'value'; readonly value: Expression };

type Statement = { readonly place: SourcePlace } & (
  | { readonly kind: 'label'; readonly name: string }
  | { readonly kind: 'equ'; readonly name: string; readonly value: Expression }
  | { readonly kind: 'bits'; readonly bits: CodeSize }
  | { readonly kind: 'org'; readonly value: Expression }
  | { readonly kind: 'default'; readonly relative: boolean }
  | { readonly kind: 'absolute'; readonly value: Expression }
  | { readonly kind: 'section' }
  | { readonly kind: 'align'; readonly value: Expression; readonly fill: Expression | undefined }
  | { readonly kind: 'reserve'; readonly count: Expression; readonly unit: number }
  | { readonly kind: 'data'; readonly items: readonly DataItem[]; readonly unit: number }
  | { readonly kind: 'times'; readonly count: Expression; readonly body: Statement }
  | { readonly kind: 'instruction'; readonly instruction: Instruction; avoidShort: boolean }
);

const MAX_PASSES = 100;
const MAX_BYTES = 64 * 1024 * 1024;
const DATA_UNITS: Readonly<Record<string, number>> = { db: 1, dw: 2, dd: 4, dq: 8, dt: 10 };
const RESERVE_UNITS: Readonly<Record<string, number>> = { resb: 1, resw: 2, resd: 4, resq: 8 };

/**
 * Assembles x86 source in NASM's syntax (the subset described in README.md) to a flat binary image. 16-, 32- and 64-bit
 * code can be mixed. Jumps take their short form where it reaches. Throws AssemblyError with file and line.
 */
export function assemble(source: string, options: AssembleOptions = {}): Assembly {
  const file = options.file ?? 'source';
  const statements = parseStatements(preprocess(source, file, options));
  const image = new Image(statements, BigInt(options.origin ?? 0), options.bits ?? 16);
  return image.assemble();
}

function parseStatements(lines: readonly { readonly text: string; readonly place: SourcePlace }[]): Statement[] {
  const statements: Statement[] = [];
  let parent = '';
  for (const { text, place } of lines) {
    const tokens = qualifyLocals(tokenize(text, place), parent);
    const reader = new TokenReader(tokens, place);
    const first = reader.peek();
    if (first === undefined) continue;
    if (first.kind === 'punctuation' && first.text === '[') {
      reader.take();
      statements.push(parseStatement(reader));
      continue;
    }
    if (first.kind !== 'name') reader.fail(`label or instruction expected, '${first.text}' found`);
    const second = reader.peek(1);
    const followed = second?.kind === 'name' ? second.text.toLowerCase() : '';
    const hasColon = second?.kind === 'punctuation' && second.text === ':';
    const word = first.text.toLowerCase();
    const isLabel = hasColon || followed === 'equ' || (!isKeyword(word) && isKeyword(followed));
    if (isLabel) {
      const name = first.text;
      reader.take();
      reader.accept(':');
      if (reader.acceptName('equ') !== undefined) {
        statements.push({ kind: 'equ', name, value: parseExpression(reader), place });
        reader.expectEnd();
        continue;
      }
      if (!name.includes('.')) {
        parent = name;
        const rest = qualifyLocals(tokenize(text, place), parent).slice(hasColon ? 2 : 1);
        statements.push({ kind: 'label', name, place });
        if (rest.length > 0) statements.push(parseStatement(new TokenReader(rest, place)));
        continue;
      }
      statements.push({ kind: 'label', name, place });
    }
    if (!reader.atEnd) statements.push(parseStatement(reader));
  }
  return statements;
}

/** `.name` belongs to the last full label. Macro-local names start with `..@` and are left alone. */
function qualifyLocals(tokens: readonly Token[], parent: string): Token[] {
  return tokens.map((token) =>
    token.kind === 'name' && token.text.startsWith('.') && !token.text.startsWith('..')
      ? { kind: 'name', text: parent + token.text }
      : token,
  );
}

const DIRECTIVES = new Set([
  'bits',
  'org',
  'default',
  'absolute',
  'section',
  'segment',
  'align',
  'alignb',
  'times',
  'cpu',
  'use16',
  'use32',
  'use64',
]);

function isKeyword(word: string): boolean {
  return DIRECTIVES.has(word) || word in DATA_UNITS || word in RESERVE_UNITS || isPrefix(word) || isMnemonic(word);
}

function parseStatement(reader: TokenReader): Statement {
  const { place } = reader;
  const token = reader.take();
  if (token?.kind !== 'name') return reader.fail(`instruction expected, '${token?.text ?? ''}' found`);
  const word = token.text.toLowerCase();
  const finish = <T>(value: T): T => {
    if (!reader.accept(']')) reader.expectEnd();
    return value;
  };
  const unit = DATA_UNITS[word];
  if (unit !== undefined) return { kind: 'data', items: parseData(reader, unit), unit, place };
  const reserved = RESERVE_UNITS[word];
  if (reserved !== undefined) {
    return finish({ kind: 'reserve', count: parseExpression(reader), unit: reserved, place });
  }
  switch (word) {
    case 'bits': {
      const size = reader.take()?.text;
      if (size !== '16' && size !== '32' && size !== '64') return reader.fail('bits takes 16, 32 or 64');
      return finish({ kind: 'bits', bits: size === '16' ? 16 : size === '32' ? 32 : 64, place });
    }
    case 'use16':
    case 'use32':
    case 'use64':
      return finish({ kind: 'bits', bits: word === 'use16' ? 16 : word === 'use32' ? 32 : 64, place });
    case 'org':
      return finish({ kind: 'org', value: parseExpression(reader), place });
    case 'default': {
      const mode = reader.acceptName('rel', 'abs');
      if (mode === undefined) return reader.fail('default takes rel or abs');
      return finish({ kind: 'default', relative: mode === 'rel', place });
    }
    case 'absolute':
      return finish({ kind: 'absolute', value: parseExpression(reader), place });
    case 'section':
    case 'segment':
      if (reader.acceptName('.text') === undefined && !/\.text$/.test(reader.take()?.text ?? '')) {
        return reader.fail('the only section is .text');
      }
      return finish({ kind: 'section', place });
    case 'align':
    case 'alignb': {
      const value = parseExpression(reader);
      let fill: Expression | undefined;
      if (reader.accept(',')) {
        if (reader.acceptName('db') === undefined) return reader.fail("align's filling is written 'db value'");
        fill = parseExpression(reader);
      }
      return finish({ kind: 'align', value, fill, place });
    }
    case 'times': {
      const count = parseExpression(reader);
      return { kind: 'times', count, body: parseStatement(reader), place };
    }
    default:
      break;
  }
  const prefixes: string[] = [];
  let mnemonic = word;
  while (isPrefix(mnemonic)) {
    prefixes.push(mnemonic);
    const next = reader.take();
    if (next?.kind !== 'name') return reader.fail(`instruction expected after '${mnemonic}'`);
    mnemonic = next.text.toLowerCase();
  }
  if (!isMnemonic(mnemonic)) return reader.fail(`unknown instruction '${mnemonic}'`);
  const instruction = { mnemonic, prefixes, operands: parseOperands(reader) };
  return { kind: 'instruction', instruction, avoidShort: false, place };
}

function parseData(reader: TokenReader, unit: number): DataItem[] {
  const items: DataItem[] = [];
  do {
    const token = reader.peek();
    const after = reader.peek(1);
    const alone = after === undefined || (after.kind === 'punctuation' && after.text === ',');
    const sign = token?.kind === 'punctuation' && token.text === '-' && after?.kind === 'float' ? -1 : 1;
    const float = sign === -1 ? after : token;
    if (token?.kind === 'string' && alone) {
      reader.take();
      const bytes = [...token.bytes];
      while (bytes.length % unit !== 0) bytes.push(0);
      items.push({ kind: 'bytes', bytes });
    } else if (float?.kind === 'float') {
      reader.take();
      if (sign === -1) reader.take();
      items.push({ kind: 'bytes', bytes: floatBytes(sign * float.value, unit, reader) });
    } else items.push({ kind: 'value', value: parseExpression(reader) });
  } while (reader.accept(','));
  reader.expectEnd();
  return items;
}

function floatBytes(value: number, unit: number, reader: TokenReader): number[] {
  const view = new DataView(new ArrayBuffer(8));
  if (unit === 4) view.setFloat32(0, value, true);
  else if (unit === 8) view.setFloat64(0, value, true);
  else return reader.fail('floating-point numbers go into dd or dq');
  return [...new Uint8Array(view.buffer, 0, unit)];
}

/** Runs the passes: first guesses are the shortest, and everything grows until addresses stand still. */
class Image {
  readonly #statements: readonly Statement[];
  readonly #startBits: CodeSize;
  #symbols = new Map<string, Value>();
  #previous = new Map<string, Value>();
  #defined = new Set<string>();
  #origin: bigint;
  #bits: CodeSize = 16;
  #relative = false;
  /** Offset in the image, or the address in an `absolute` part. */
  #position = 0n;
  #absolute: bigint | undefined;
  #bytes: number[] = [];
  #final = false;
  #moved = false;

  constructor(statements: readonly Statement[], origin: bigint, bits: CodeSize) {
    this.#statements = statements;
    this.#origin = origin;
    this.#startBits = bits;
  }

  assemble(): Assembly {
    for (let pass = 0; pass < MAX_PASSES; pass++) {
      this.#run();
      if (this.#moved || pass === 0) continue;
      if (this.#final) {
        const symbols = new Map([...this.#symbols].map(([name, { value }]) => [name, value]));
        return { bytes: Uint8Array.from(this.#bytes), origin: Number(this.#origin), symbols };
      }
      this.#final = true;
    }
    throw new AssemblyError({ file: '', line: 0 }, 'addresses do not settle');
  }

  #run(): void {
    this.#previous = this.#symbols;
    this.#symbols = new Map();
    this.#defined = new Set();
    this.#bits = this.#startBits;
    this.#relative = false;
    this.#position = 0n;
    this.#absolute = undefined;
    this.#bytes = [];
    this.#moved = false;
    for (const statement of this.#statements) this.#assemble(statement);
  }

  #here(): Value {
    if (this.#absolute !== undefined) return { value: this.#absolute, labels: 0, known: true };
    return { value: this.#origin + this.#position, labels: 1, known: true };
  }

  #scope(place: SourcePlace): Scope {
    return {
      here: this.#here(),
      sectionStart: { value: this.#origin, labels: 1, known: true },
      symbol: (name) => {
        const value = this.#symbols.get(name) ?? this.#previous.get(name);
        if (value !== undefined) return value;
        if (this.#previous.size > 0 || this.#final) throw new AssemblyError(place, `'${name}' is not defined`);
        return { value: 0n, labels: 0, known: false };
      },
    };
  }

  #define(name: string, value: Value, place: SourcePlace): void {
    if (this.#defined.has(name)) throw new AssemblyError(place, `'${name}' is defined twice`);
    this.#defined.add(name);
    this.#symbols.set(name, value);
    const before = this.#previous.get(name);
    if (before?.value !== value.value || before.known !== value.known) this.#moved = true;
  }

  /** A value that decides about the layout and so must be known at once. */
  #constant(expression: Expression, place: SourcePlace, what: string): bigint {
    const { value, known } = evaluate(expression, this.#scope(place), place);
    if (!known && this.#final) throw new AssemblyError(place, `${what} is not known`);
    return known ? value : 0n;
  }

  #assemble(statement: Statement): void {
    const { place } = statement;
    switch (statement.kind) {
      case 'label':
        this.#define(statement.name, this.#here(), place);
        return;
      case 'equ':
        this.#define(statement.name, evaluate(statement.value, this.#scope(place), place), place);
        return;
      case 'bits':
        this.#bits = statement.bits;
        return;
      case 'default':
        this.#relative = statement.relative;
        return;
      case 'org':
        if (this.#position !== 0n) throw new AssemblyError(place, 'org must stand before the first byte');
        this.#origin = this.#constant(statement.value, place, 'org');
        return;
      case 'absolute':
        this.#absolute = this.#constant(statement.value, place, 'absolute');
        return;
      case 'section':
        this.#absolute = undefined;
        return;
      case 'align': {
        const boundary = this.#constant(statement.value, place, 'align');
        if (boundary <= 0n || (boundary & (boundary - 1n)) !== 0n) {
          throw new AssemblyError(place, `cannot align to ${boundary}`);
        }
        const here = this.#absolute ?? this.#position;
        const missing = (boundary - (here % boundary)) % boundary;
        const fill = statement.fill === undefined ? 0x90n : this.#constant(statement.fill, place, "align's filling");
        this.#emitRepeated(Number(BigInt.asUintN(8, fill)), missing, place);
        return;
      }
      case 'reserve': {
        const count = this.#constant(statement.count, place, 'the number to reserve');
        if (count < 0n) throw new AssemblyError(place, `cannot reserve ${count}`);
        this.#emitRepeated(0, count * BigInt(statement.unit), place);
        return;
      }
      case 'times': {
        const count = this.#constant(statement.count, place, "times' count");
        if (count < 0n) {
          if (this.#final) throw new AssemblyError(place, `times ${count}: the part before is too long`);
          return;
        }
        if (count > MAX_BYTES) throw new AssemblyError(place, `times ${count} is too much`);
        for (let round = 0n; round < count; round++) this.#assemble(statement.body);
        return;
      }
      case 'data':
        this.#data(statement.items, statement.unit, place);
        return;
      case 'instruction': {
        const { bytes, shortFailed } = encodeInstruction(statement.instruction, {
          bits: this.#bits,
          defaultRelative: this.#relative,
          scope: this.#scope(place),
          place,
          final: this.#final,
          avoidShort: statement.avoidShort,
        });
        if (shortFailed) {
          statement.avoidShort = true;
          this.#moved = true;
        }
        this.#emit(bytes, place);
        return;
      }
    }
  }

  #data(items: readonly DataItem[], unit: number, place: SourcePlace): void {
    const scope = this.#scope(place);
    for (const item of items) {
      if (item.kind === 'bytes') {
        this.#emit(item.bytes, place);
        continue;
      }
      const { value } = evaluate(item.value, scope, place);
      const bits = BigInt(unit * 8);
      if (this.#final && (value < -(1n << (bits - 1n)) || value >= 1n << bits)) {
        throw new AssemblyError(place, `value ${value} does not fit in ${bits} bits`);
      }
      this.#emit(littleEndian(value, unit), place);
    }
  }

  #emitRepeated(byte: number, count: bigint, place: SourcePlace): void {
    if (this.#absolute !== undefined) {
      this.#absolute += count;
      return;
    }
    if (BigInt(this.#bytes.length) + count > MAX_BYTES) throw new AssemblyError(place, 'the image is too large');
    for (let index = 0n; index < count; index++) this.#bytes.push(byte);
    this.#position += count;
  }

  #emit(bytes: readonly number[], place: SourcePlace): void {
    if (this.#absolute !== undefined) throw new AssemblyError(place, 'code or data in an absolute part');
    for (const byte of bytes) this.#bytes.push(byte);
    this.#position += BigInt(bytes.length);
  }
}
