import { AssemblyError, type SourcePlace } from './assembly-error.ts';
import type { Token } from './lexer.ts';
import { registerNamed } from './registers.ts';

/**
 * The value of an expression. `labels` counts the addresses in it (label: 1, label - label: 0): an address never takes
 * a shortened encoding, so that code does not change shape with its place. `known` is false while a forward reference
 * is unresolved.
 */
export interface Value {
  readonly value: bigint;
  readonly labels: number;
  readonly known: boolean;
}

/** A parsed expression; `register` leaves are only allowed inside an address. */
export type Expression =
  | { readonly kind: 'constant'; readonly value: bigint }
  | { readonly kind: 'symbol'; readonly name: string }
  | { readonly kind: 'register'; readonly name: string }
  | { readonly kind: 'here' }
  | { readonly kind: 'sectionStart' }
  | { readonly kind: 'unary'; readonly operator: string; readonly operand: Expression }
  | { readonly kind: 'binary'; readonly operator: string; readonly left: Expression; readonly right: Expression };

/** What names mean while an expression is evaluated. */
export interface Scope {
  symbol(name: string): Value;
  /** `$`: the address of the current statement. */
  readonly here: Value;
  /** `$$`: where the section starts. */
  readonly sectionStart: Value;
}

/** Reads tokens one after the other. */
export class TokenReader {
  readonly place: SourcePlace;
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(tokens: readonly Token[], place: SourcePlace) {
    this.#tokens = tokens;
    this.place = place;
  }

  get atEnd(): boolean {
    return this.#next >= this.#tokens.length;
  }

  peek(ahead = 0): Token | undefined {
    return this.#tokens[this.#next + ahead];
  }

  take(): Token | undefined {
    return this.#tokens[this.#next++];
  }

  /** Takes the next token when it is this punctuation mark. */
  accept(punctuation: string): boolean {
    const token = this.peek();
    if (token?.kind !== 'punctuation' || token.text !== punctuation) return false;
    this.#next++;
    return true;
  }

  /** Takes the next token when it is one of these (lower-case) names. */
  acceptName(...names: readonly string[]): string | undefined {
    const token = this.peek();
    if (token?.kind !== 'name') return undefined;
    const name = token.text.toLowerCase();
    if (!names.includes(name)) return undefined;
    this.#next++;
    return name;
  }

  expect(punctuation: string): void {
    if (!this.accept(punctuation)) this.fail(`'${punctuation}' expected, ${this.#describeNext()} found`);
  }

  expectEnd(): void {
    if (!this.atEnd) this.fail(`unexpected ${this.#describeNext()}`);
  }

  fail(reason: string): never {
    throw new AssemblyError(this.place, reason);
  }

  #describeNext(): string {
    const token = this.peek();
    return token === undefined ? 'end of line' : `'${token.text}'`;
  }
}

/** Binary operators from loosest to tightest. */
const LEVELS: readonly (readonly string[])[] = [
  ['||'],
  ['&&'],
  ['=', '==', '!=', '<>', '<', '>', '<=', '>='],
  ['|'],
  ['^'],
  ['&'],
  ['<<', '>>'],
  ['+', '-'],
  ['*', '/', '%'],
];

export function parseExpression(reader: TokenReader, level = 0): Expression {
  const operators = LEVELS[level];
  if (operators === undefined) return parseUnary(reader);
  let left = parseExpression(reader, level + 1);
  for (;;) {
    const token = reader.peek();
    if (token?.kind !== 'punctuation' || !operators.includes(token.text)) return left;
    reader.take();
    left = { kind: 'binary', operator: token.text, left, right: parseExpression(reader, level + 1) };
  }
}

function parseUnary(reader: TokenReader): Expression {
  const token = reader.take();
  if (token === undefined) return reader.fail('expression expected, end of line found');
  switch (token.kind) {
    case 'number':
      return { kind: 'constant', value: token.value };
    case 'string': {
      let value = 0n;
      for (const [index, byte] of token.bytes.entries()) value |= BigInt(byte) << BigInt(index * 8);
      return { kind: 'constant', value };
    }
    case 'name': {
      const lower = token.text.toLowerCase();
      return registerNamed(lower) === undefined
        ? { kind: 'symbol', name: token.text }
        : { kind: 'register', name: lower };
    }
    case 'float':
      return reader.fail('a floating-point number is only possible in dd and dq');
    case 'punctuation':
      break;
  }
  switch (token.text) {
    case '(': {
      const inner = parseExpression(reader);
      reader.expect(')');
      return inner;
    }
    case '-':
    case '+':
    case '~':
    case '!':
      return { kind: 'unary', operator: token.text, operand: parseUnary(reader) };
    case '$':
      return { kind: 'here' };
    case '$$':
      return { kind: 'sectionStart' };
    default:
      return reader.fail(`expression expected, '${token.text}' found`);
  }
}

export function evaluate(expression: Expression, scope: Scope, place: SourcePlace): Value {
  switch (expression.kind) {
    case 'constant':
      return { value: expression.value, labels: 0, known: true };
    case 'symbol':
      return scope.symbol(expression.name);
    case 'here':
      return scope.here;
    case 'sectionStart':
      return scope.sectionStart;
    case 'register':
      throw new AssemblyError(place, `register '${expression.name}' in an expression`);
    case 'unary': {
      const { value, labels, known } = evaluate(expression.operand, scope, place);
      switch (expression.operator) {
        case '-':
          return { value: -value, labels: -labels, known };
        case '~':
          return { value: ~value, labels, known };
        case '!':
          return { value: value === 0n ? 1n : 0n, labels, known };
        default:
          return { value, labels, known };
      }
    }
    case 'binary': {
      const left = evaluate(expression.left, scope, place);
      const right = evaluate(expression.right, scope, place);
      const known = left.known && right.known;
      const { operator } = expression;
      if (operator === '+') return { value: left.value + right.value, labels: left.labels + right.labels, known };
      if (operator === '-') return { value: left.value - right.value, labels: left.labels - right.labels, known };
      const labels = left.labels !== 0 || right.labels !== 0 ? 1 : 0;
      return { value: known ? calculate(operator, left.value, right.value, place) : 0n, labels, known };
    }
  }
}

function calculate(operator: string, left: bigint, right: bigint, place: SourcePlace): bigint {
  const truth = (condition: boolean): bigint => (condition ? 1n : 0n);
  switch (operator) {
    case '*':
      return left * right;
    case '/':
    case '%':
      if (right === 0n) throw new AssemblyError(place, 'division by zero');
      return operator === '/' ? left / right : left % right;
    case '<<':
    case '>>':
      if (right < 0n || right > 63n) throw new AssemblyError(place, `shift by ${right}`);
      return operator === '<<' ? left << right : BigInt.asUintN(64, left) >> right;
    case '&':
      return left & right;
    case '|':
      return left | right;
    case '^':
      return left ^ right;
    case '&&':
      return truth(left !== 0n && right !== 0n);
    case '||':
      return truth(left !== 0n || right !== 0n);
    case '=':
    case '==':
      return truth(left === right);
    case '!=':
    case '<>':
      return truth(left !== right);
    case '<':
      return truth(left < right);
    case '>':
      return truth(left > right);
    case '<=':
      return truth(left <= right);
    case '>=':
      return truth(left >= right);
    default:
      throw new AssemblyError(place, `unknown operator '${operator}'`);
  }
}
