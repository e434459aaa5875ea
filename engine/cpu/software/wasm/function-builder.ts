import { assert } from '../../../base/assert.ts';
import { ByteWriter, type Code, signedLeb32, signedLeb64, unsignedLeb } from './byte-writer.ts';
import {
  LANE_OPS,
  type LaneOpName,
  LOADS,
  type LoadName,
  OPS,
  type OpName,
  STORES,
  type StoreName,
  TYPE_CODES,
  type ValueType,
} from './opcodes.ts';

/**
 * A value: the code that leaves it on the stack, and its type. Expressions are free of side effects unless built from a
 * call, and may be used once; `FunctionBuilder.keep` turns one into a local that may be used again.
 */
export class Expression<T extends ValueType = ValueType> {
  readonly type: T;
  readonly code: Code;
  /** The value when it is a constant. */
  readonly constant: number | bigint | undefined;

  constructor(type: T, code: Code, constant?: number | bigint) {
    this.type = type;
    this.code = code;
    this.constant = constant;
  }
}

export type I32 = Expression<'i32'>;
export type I64 = Expression<'i64'>;
export type V128 = Expression<'v128'>;

/** A local variable of the function being built. */
export interface Local<T extends ValueType = ValueType> {
  readonly index: number;
  readonly type: T;
  /** When the local is the address of a record parts of which live elsewhere. */
  readonly record?: RecordSpace;
  /** Its value as an expression, made once. */
  value?: Expression<T>;
}

/**
 * A record in memory some fields of which are kept in locals. Loads from and stores to it at offsets known while code is
 * built go through here first.
 */
export interface RecordSpace {
  /** The value, or undefined when the field is in memory. */
  load(name: LoadName, offset: number): Expression | undefined;
  /** Whether the store has been made. */
  store(name: StoreName, offset: number, value: Expression): boolean;
}

/** The address of a place in such a record. */
class RecordAddress extends Expression<'i32'> {
  readonly base: Local<'i32'>;
  readonly space: RecordSpace;
  readonly offset: number;

  constructor(base: Local<'i32'>, space: RecordSpace, offset: number) {
    const start = [0x20, ...unsignedLeb(base.index)];
    super('i32', offset === 0 ? start : [...start, 0x41, ...signedLeb32(offset), 0x6a]);
    this.base = base;
    this.space = space;
    this.offset = offset;
  }
}

/** The address of the place `offset` bytes into a record. */
export function recordAddress(base: Local<'i32'>, offset: number): I32 {
  return base.record === undefined
    ? op('i32.add', get(base), i32(offset))
    : new RecordAddress(base, base.record, offset);
}

/** A branch target: an enclosing block (branching leaves it) or loop (branching repeats it). */
export interface Label {
  readonly depth: number;
}

export interface FunctionType {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

/** A function that can be called: its index in the module and its type. */
export interface FunctionReference {
  readonly index: number;
  readonly type: FunctionType;
  /** For functions of another module that are called through the table: `index` is the slot, this the type's index. */
  readonly indirectType?: number;
}

export interface FunctionBody {
  readonly type: FunctionType;
  readonly locals: readonly ValueType[];
  readonly code: Uint8Array;
  /** Places in `code` of conditional branches that are hardly ever taken. */
  readonly unlikely: readonly number[];
}

/** Constants that occur all the time. */
const KNOWN = 8192;
const knownI32: I32[] = [];

export function i32(value: number): I32 {
  if (value >= 0 && value < KNOWN) {
    const known = knownI32[value];
    if (known !== undefined) {
      return known;
    }
  }
  const constant = new Expression('i32', [0x41, ...signedLeb32(value)], value | 0);
  if (value >= 0 && value < KNOWN) {
    knownI32[value] = constant;
  }
  return constant;
}

export function i64(value: number | bigint): I64 {
  const big = BigInt(value);
  return new Expression('i64', [0x42, ...signedLeb64(big)], BigInt.asIntN(64, big));
}

type OpResult<N extends OpName> = Expression<(typeof OPS)[N][1]>;

type Fold = (a: number, b: number) => number;

/** 32-bit operations that are carried out at once when their operands are known. */
const FOLDS: Readonly<Partial<Record<OpName, Fold>>> = {
  'i32.eqz': (a) => (a === 0 ? 1 : 0),
  'i32.eq': (a, b) => (a === b ? 1 : 0),
  'i32.ne': (a, b) => (a !== b ? 1 : 0),
  'i32.add': (a, b) => (a + b) | 0,
  'i32.sub': (a, b) => (a - b) | 0,
  'i32.and': (a, b) => a & b,
  'i32.or': (a, b) => a | b,
  'i32.xor': (a, b) => a ^ b,
  'i32.shl': (a, b) => a << b,
  'i32.shr_u': (a, b) => (a >>> b) | 0,
};

/** The constant that an operation on constants comes to, where that is known here. */
function folded(name: OpName, operands: readonly Expression[]): Expression | undefined {
  const [first, second] = operands;
  if (first?.constant === undefined || (second !== undefined && second.constant === undefined)) {
    return undefined;
  }
  if (name === 'i32.wrap_i64') {
    return i32(Number(BigInt.asIntN(32, BigInt(first.constant))));
  }
  if (name === 'i64.extend_i32_u') {
    return i64(Number(first.constant) >>> 0);
  }
  if (name === 'i64.extend_i32_s') {
    return i64(Number(first.constant));
  }
  const fold = FOLDS[name];
  return fold === undefined ? undefined : i32(fold(Number(first.constant), Number(second?.constant ?? 0)));
}

export function op<N extends OpName>(name: N, ...operands: Expression[]): OpResult<N> {
  const known = folded(name, operands);
  if (known !== undefined) {
    return known as OpResult<N>;
  }
  if (name === 'i32.add' && operands[0] instanceof RecordAddress && operands[1]?.constant !== undefined) {
    const { base, space, offset } = operands[0];
    return new RecordAddress(base, space, offset + Number(operands[1].constant)) as Expression as OpResult<N>;
  }
  const [code, result] = OPS[name];
  const pieces: (number | Code)[] = [];
  for (const operand of operands) {
    pieces.push(operand.code);
  }
  if (code.length === 1) {
    pieces.push(code[0] as number);
  } else {
    pieces.push(code);
  }
  return new Expression(result, pieces) as OpResult<N>;
}

export function laneOp<N extends LaneOpName>(
  name: N,
  lane: number,
  ...operands: Expression[]
): Expression<(typeof LANE_OPS)[N][1]> {
  const [code, result] = LANE_OPS[name];
  return new Expression(result, [...operands.map((operand) => operand.code), code, lane]) as Expression<
    (typeof LANE_OPS)[N][1]
  >;
}

/** i8x16.shuffle with 16 lane numbers 0–31. */
export function shuffle(lanes: readonly number[], first: V128, second: V128): V128 {
  assert(lanes.length === 16, 'a shuffle names 16 lanes');
  return new Expression('v128', [first.code, second.code, 0xfd, 0x0d, lanes]);
}

/** v128.const from 16 bytes. */
export function v128(bytes: readonly number[]): V128 {
  assert(bytes.length === 16, 'a vector constant has 16 bytes');
  return new Expression('v128', [0xfd, 0x0c, ...bytes.map((byte) => byte & 0xff)]);
}

export function load<N extends LoadName>(name: N, address: I32, offset = 0): Expression<(typeof LOADS)[N][1]> {
  const [code, result] = LOADS[name];
  if (address instanceof RecordAddress) {
    const place = address.offset + offset;
    const value = address.space.load(name, place) as Expression<(typeof LOADS)[N][1]> | undefined;
    return (
      value ??
      (new Expression(result, [0x20, ...unsignedLeb(address.base.index), ...code, 0, unsignedLeb(place)]) as Expression<
        (typeof LOADS)[N][1]
      >)
    );
  }
  return new Expression(result, [address.code, code, 0, unsignedLeb(offset)]) as Expression<(typeof LOADS)[N][1]>;
}

export function get<T extends ValueType>(local: Local<T>): Expression<T> {
  if (local.value === undefined) {
    local.value =
      local.record === undefined
        ? new Expression(local.type, [0x20, ...unsignedLeb(local.index)])
        : (new RecordAddress(local as Local<'i32'>, local.record, 0) as Expression as Expression<T>);
  }
  return local.value;
}

/** `condition ? a : b`; both sides are evaluated. */
export function select<T extends ValueType>(condition: I32, a: Expression<T>, b: Expression<T>): Expression<T> {
  const code = [a.code, b.code, condition.code];
  return new Expression(a.type, a.type === 'v128' ? [code, 0x1c, 1, TYPE_CODES.v128] : [code, 0x1b]);
}

function callCode(target: FunctionReference): number[] {
  return target.indirectType === undefined
    ? [0x10, ...unsignedLeb(target.index)]
    : [0x41, ...signedLeb32(target.index), 0x11, ...unsignedLeb(target.indirectType), 0];
}

/**
 * Builds the body of one function as a sequence of statements over expressions. Locals taken inside `scope` are handed
 * out again after it, so that a function with a thousand independent parts has few locals.
 */
export class FunctionBuilder {
  readonly type: FunctionType;
  #out = new ByteWriter();
  #unlikely: number[] = [];
  readonly #later: { readonly at: number; readonly depth: number; readonly build: () => void }[] = [];
  readonly #locals: ValueType[] = [];
  readonly #free = new Map<ValueType, Local[]>();
  #taken: Local[] | undefined;
  #depth = 0;

  constructor(type: FunctionType) {
    this.type = type;
  }

  finish(): FunctionBody {
    assert(this.#depth === 0, 'a block is still open');
    const out = this.#insertLater();
    out.byte(0x0b);
    return { type: this.type, locals: this.#locals, code: out.view(), unlikely: this.#unlikely };
  }

  /** Builds what was put off and inserts it in its places. */
  #insertLater(): ByteWriter {
    const body = this.#out;
    if (this.#later.length === 0) {
      return body;
    }
    const whole = new ByteWriter();
    this.#out = whole;
    const before = this.#unlikely;
    this.#unlikely = [];
    let moved = 0;
    let from = 0;
    const copy = (to: number) => {
      for (; moved < before.length && (before[moved] as number) < to; moved++) {
        this.#unlikely.push((before[moved] as number) - from + whole.length);
      }
      whole.bytes(body.view(from, to));
      from = to;
    };
    for (const { at, depth, build } of this.#later) {
      copy(at);
      this.#depth = depth;
      build();
    }
    this.#depth = 0;
    copy(body.length);
    return whole;
  }

  /** Leaves a place here for statements that can only be built when everything else is known. */
  later(build: () => void): void {
    this.#later.push({ at: this.#out.length, depth: this.#depth, build });
  }

  get size(): number {
    return this.#out.length;
  }

  /** Enclosing blocks, loops and ifs. */
  get depth(): number {
    return this.#depth;
  }

  parameter<T extends ValueType>(index: number, type: T): Local<T> {
    assert(this.type.params[index] === type, `parameter ${index} is not ${type}`);
    return { index, type };
  }

  local<T extends ValueType>(type: T): Local<T> {
    const free = this.#free.get(type)?.pop();
    const local = (free ?? { index: this.type.params.length + this.#locals.push(type) - 1, type }) as Local<T>;
    this.#taken?.push(local);
    return local;
  }

  /** A local that is not handed out again, whatever scope it is taken in. */
  persistent<T extends ValueType>(type: T): Local<T> {
    return { index: this.type.params.length + this.#locals.push(type) - 1, type };
  }

  /** Runs `body`; locals it takes are free for others afterwards. */
  scope(body: () => void): void {
    const outer = this.#taken;
    const mine: Local[] = [];
    this.#taken = mine;
    body();
    for (const local of mine) {
      const list = this.#free.get(local.type) ?? [];
      this.#free.set(local.type, list);
      list.push(local);
    }
    this.#taken = outer;
  }

  #emit(code: Code): void {
    this.#out.code(code);
  }

  #withIndex(opcode: number, index: number): void {
    this.#out.byte(opcode);
    this.#out.unsigned(index);
  }

  #memoryAccess(code: Code, offset: number): void {
    this.#out.code(code);
    this.#out.byte(0);
    this.#out.unsigned(offset);
  }

  set<T extends ValueType>(local: Local<T>, value: Expression<T>): void {
    assert(local.type === value.type, `a ${value.type} does not fit a local of ${local.type}`);
    this.#emit(value.code);
    this.#withIndex(0x21, local.index);
  }

  /** Evaluates `value` now and returns a name for it that may be used any number of times within the scope. */
  keep<T extends ValueType>(value: Expression<T>): Expression<T> {
    if (value.constant !== undefined) {
      return value;
    }
    const local = this.local(value.type);
    this.set(local, value);
    return get(local);
  }

  store(name: StoreName, address: I32, value: Expression, offset = 0): void {
    if (address instanceof RecordAddress) {
      const place = address.offset + offset;
      if (!address.space.store(name, place, value)) {
        this.#withIndex(0x20, address.base.index);
        this.#emit(value.code);
        this.#memoryAccess(STORES[name], place);
      }
      return;
    }
    this.#emit(address.code);
    this.#emit(value.code);
    this.#memoryAccess(STORES[name], offset);
  }

  if(condition: I32, then: () => void, otherwise?: () => void): void {
    if (condition.constant !== undefined) {
      if (condition.constant !== 0) {
        then();
      } else {
        otherwise?.();
      }
      return;
    }
    this.#emit(condition.code);
    this.#emit([0x04, 0x40]);
    this.#depth++;
    then();
    if (otherwise !== undefined) {
      this.#emit([0x05]);
      otherwise();
    }
    this.#depth--;
    this.#emit([0x0b]);
  }

  /** Like `if`, for a condition that hardly ever holds: tells the engine to keep the code out of the way. */
  ifUnlikely(condition: I32, then: () => void, otherwise?: () => void): void {
    if (condition.constant === undefined) {
      this.#emit(condition.code);
      this.#unlikely.push(this.#out.length);
      this.if(new Expression('i32', []), then, otherwise);
    } else {
      this.if(condition, then, otherwise);
    }
  }

  /** An if with a value. Statements may precede the value in either branch. */
  ifValue<T extends ValueType>(
    type: T,
    condition: I32,
    then: () => Expression<T>,
    otherwise: () => Expression<T>,
  ): Expression<T> {
    const result = this.local(type);
    this.if(
      condition,
      () => this.set(result, then()),
      () => this.set(result, otherwise()),
    );
    return get(result);
  }

  block(body: (exit: Label) => void): void {
    this.#emit([0x02, 0x40]);
    body({ depth: ++this.#depth });
    this.#depth--;
    this.#emit([0x0b]);
  }

  loop(body: (again: Label) => void): void {
    this.#emit([0x03, 0x40]);
    body({ depth: ++this.#depth });
    this.#depth--;
    this.#emit([0x0b]);
  }

  br(label: Label): void {
    this.#withIndex(0x0c, this.#depth - label.depth);
  }

  brIf(label: Label, condition: I32): void {
    this.#emit(condition.code);
    this.#withIndex(0x0d, this.#depth - label.depth);
  }

  brTable(index: I32, targets: readonly Label[], otherwise: Label): void {
    this.#emit(index.code);
    this.#withIndex(0x0e, targets.length);
    for (const target of [...targets, otherwise]) {
      this.#out.unsigned(this.#depth - target.depth);
    }
  }

  return(...values: Expression[]): void {
    for (const value of values) {
      this.#emit(value.code);
    }
    this.#emit([0x0f]);
  }

  unreachable(): void {
    this.#emit([0x00]);
  }

  /** Evaluates for its effects and drops what it leaves. */
  drop(value: Expression): void {
    this.#emit(value.code);
    this.#emit([0x1a]);
  }

  /** A call as a statement, for functions without results. */
  callVoid(target: FunctionReference, ...operands: Expression[]): void {
    assert(target.type.results.length === 0, 'the function has a result');
    for (const operand of operands) {
      this.#emit(operand.code);
    }
    this.#emit(callCode(target));
  }

  /** A call with one result, as an expression: use it exactly once, in order, or `keep` it. */
  call(target: FunctionReference, ...operands: Expression[]): Expression {
    const [result] = target.type.results;
    assert(result !== undefined, 'the function has no result');
    assert(operands.length === target.type.params.length, 'wrong number of operands in a call');
    return new Expression(result, [...operands.map((operand) => operand.code), callCode(target)]);
  }

  /** Returns what a function in the table returns, called with this one's frame gone. */
  returnCallIndirect(typeIndex: number, slot: I32, ...operands: Expression[]): void {
    for (const operand of operands) {
      this.#emit(operand.code);
    }
    this.#emit([slot.code, 0x13, unsignedLeb(typeIndex), 0]);
  }

  /** A call through table 0. `typeIndex` comes from ModuleBuilder.typeIndex. */
  callIndirect(typeIndex: number, type: FunctionType, slot: I32, ...operands: Expression[]): Expression {
    const [result] = type.results;
    assert(result !== undefined, 'the function has no result');
    return new Expression(result, [
      ...operands.map((operand) => operand.code),
      slot.code,
      0x11,
      unsignedLeb(typeIndex),
      0,
    ]);
  }

  /** memory.fill: `length` bytes of `value` at `address`. */
  fill(address: I32, value: I32, length: I32): void {
    this.#emit([address.code, value.code, length.code, 0xfc, 0x0b, 0]);
  }

  /** memory.copy; the ranges may overlap (the result is as if through a buffer). */
  copy(to: I32, from: I32, length: I32): void {
    this.#emit([to.code, from.code, length.code, 0xfc, 0x0a, 0, 0]);
  }
}
