import { AssemblyError, type SourcePlace } from './assembly-error.ts';
import { type Expression, evaluate, type Scope, type Value } from './expression.ts';
import type { MemoryOperand } from './operands.ts';
import { generalSize, type Register, registerNamed } from './registers.ts';

/** A memory operand with its registers told apart. */
export interface Address {
  readonly base: Register | undefined;
  readonly index: Register | undefined;
  readonly scale: 1 | 2 | 4 | 8;
  readonly displacement: Value;
  readonly hasDisplacement: boolean;
  readonly addressSize: 16 | 32 | 64;
  readonly ripRelative: boolean;
}

/** ModRM, SIB and displacement, and the REX bits (X, B) they need. */
export interface EncodedAddress {
  /** ModRM without its reg field. */
  readonly modrm: number;
  readonly sib: number | undefined;
  readonly displacement: Value;
  readonly displacementBytes: 0 | 1 | 2 | 4;
  readonly rex: number;
}

interface Term {
  readonly register: Register;
  count: bigint;
  /** Written with a `*`. */
  scaled: boolean;
}

/** Sorts an address expression into registers and a displacement. */
export function resolveAddress(
  operand: MemoryOperand,
  bits: 16 | 32 | 64,
  defaultRelative: boolean,
  scope: Scope,
  place: SourcePlace,
): Address {
  const terms: Term[] = [];
  let displacement: Value = { value: 0n, labels: 0, known: true };
  let hasDisplacement = false;
  const addRegister = (name: string, count: bigint, scaled: boolean): void => {
    const register = registerNamed(name);
    if (register === undefined || generalSize(register) < 16) {
      throw new AssemblyError(place, `'${name}' cannot be part of an address`);
    }
    const same = terms.find((term) => term.register === register);
    if (same === undefined) terms.push({ register, count, scaled });
    else same.count += count;
  };
  const walk = (expression: Expression, sign: bigint): void => {
    if (expression.kind === 'binary' && (expression.operator === '+' || expression.operator === '-')) {
      walk(expression.left, sign);
      walk(expression.right, expression.operator === '+' ? sign : -sign);
      return;
    }
    if (expression.kind === 'register') {
      addRegister(expression.name, sign, false);
      return;
    }
    if (expression.kind === 'binary' && expression.operator === '*') {
      const { left, right } = expression;
      const [register, factor] = left.kind === 'register' ? [left, right] : [right, left];
      if (register.kind === 'register') {
        addRegister(register.name, sign * evaluate(factor, scope, place).value, true);
        return;
      }
    }
    const { value, labels, known } = evaluate(expression, scope, place);
    hasDisplacement = true;
    displacement = {
      value: displacement.value + sign * value,
      labels: displacement.labels + Number(sign) * labels,
      known: displacement.known && known,
    };
  };
  walk(operand.address, 1n);

  const live = terms.filter((term) => term.count !== 0n);
  const firstSize = live[0] === undefined ? 0 : generalSize(live[0].register);
  const keyword = operand.addressKeyword;
  const keywordSize = keyword === 16 || keyword === 32 || keyword === 64 ? keyword : bits;
  const addressSize = firstSize === 16 || firstSize === 32 || firstSize === 64 ? firstSize : keywordSize;
  if (live.some((term) => generalSize(term.register) !== addressSize)) {
    throw new AssemblyError(place, 'registers of different sizes in one address');
  }
  if ((addressSize === 64) !== (bits === 64) && (addressSize === 64 || (addressSize === 16 && bits === 64))) {
    throw new AssemblyError(place, `${addressSize}-bit address in ${bits}-bit code`);
  }
  if (live.length > 2) throw new AssemblyError(place, 'more than two registers in one address');
  const common = { displacement, hasDisplacement, addressSize };
  const wantsRip =
    operand.relative === undefined ? defaultRelative && !isFarSegment(operand) : operand.relative === 'rel';
  if (live.length === 0) {
    const ripRelative = bits === 64 && wantsRip && addressSize !== 32;
    return { ...common, base: undefined, index: undefined, scale: 1, ripRelative };
  }
  return { ...common, ...chooseRegisters(live, place), ripRelative: false };
}

function isFarSegment(operand: MemoryOperand): boolean {
  return operand.segment?.name === 'fs' || operand.segment?.name === 'gs';
}

function chooseRegisters(
  terms: readonly Term[],
  place: SourcePlace,
): { base: Register | undefined; index: Register | undefined; scale: 1 | 2 | 4 | 8 } {
  const bad = (): never => {
    throw new AssemblyError(place, 'an address cannot be scaled like that');
  };
  const [first, second] = terms;
  if (first === undefined) return bad();
  const asScale = (count: bigint): 1 | 2 | 4 | 8 =>
    count === 1n ? 1 : count === 2n ? 2 : count === 4n ? 4 : count === 8n ? 8 : bad();
  if (second === undefined) {
    const { register, count } = first;
    if (count === 1n) return { base: register, index: undefined, scale: 1 };
    // 2, 3, 5 and 9 times one register: the register is base and index at once.
    if (count === 2n || count === 3n || count === 5n || count === 9n) {
      return { base: register, index: register, scale: asScale(count - 1n) };
    }
    return { base: undefined, index: register, scale: asScale(count) };
  }
  let [base, index] = first.count !== 1n || (first.scaled && !second.scaled) ? [second, first] : [first, second];
  if (base.count !== 1n) return bad();
  if (index.register.number === 4 && index.count === 1n) [base, index] = [index, base];
  return { base: base.register, index: index.register, scale: asScale(index.count) };
}

const fits = (value: bigint, size: 8 | 32): boolean => BigInt.asIntN(size, value) === value;

/** Encodes an address; `keyword` 8, 16, 32 from inside the brackets forces the displacement's length. */
export function encodeAddress(
  address: Address,
  bits: 16 | 32 | 64,
  keyword: number,
  place: SourcePlace,
): EncodedAddress {
  return address.addressSize === 16 ? encode16(address, keyword, place) : encode32(address, bits, keyword, place);
}

/** rm codes of 16-bit addressing: Intel SDM vol. 2, table 2-1. */
const PAIRS_16: Readonly<Record<string, number>> = {
  'bx+si': 0,
  'bx+di': 1,
  'bp+si': 2,
  'bp+di': 3,
  si: 4,
  di: 5,
  bp: 6,
  bx: 7,
};

function encode16(address: Address, keyword: number, place: SourcePlace): EncodedAddress {
  const { base, index, displacement } = address;
  if (base === undefined && index === undefined) {
    return { modrm: 6, sib: undefined, displacement, displacementBytes: 2, rex: 0 };
  }
  const names = [base, index].filter((each) => each !== undefined).map((each) => each.name);
  const rm = PAIRS_16[names.join('+')] ?? PAIRS_16[names.toReversed().join('+')];
  if (rm === undefined || address.scale !== 1) {
    throw new AssemblyError(place, `[${names.join('+')}] is no 16-bit address`);
  }
  const bytes = displacementLength(address, keyword, rm === 6, 2);
  const mod = bytes === 0 ? 0 : bytes === 1 ? 0x40 : 0x80;
  return { modrm: mod | rm, sib: undefined, displacement, displacementBytes: bytes, rex: 0 };
}

function encode32(address: Address, bits: 16 | 32 | 64, keyword: number, place: SourcePlace): EncodedAddress {
  const { base, index, displacement, scale } = address;
  if (base === undefined && index === undefined) {
    if (bits === 64 && !address.ripRelative) {
      return { modrm: 4, sib: 0x25, displacement, displacementBytes: 4, rex: 0 };
    }
    return { modrm: 5, sib: undefined, displacement, displacementBytes: 4, rex: 0 };
  }
  if (index?.number === 4) throw new AssemblyError(place, `'${index.name}' cannot be an index`);
  const rexB = base !== undefined && base.number > 7 ? 1 : 0;
  const rexX = index !== undefined && index.number > 7 ? 2 : 0;
  const rex = rexB | rexX;
  if (base === undefined) {
    const sib = (Math.log2(scale) << 6) | (((index?.number ?? 4) & 7) << 3) | 5;
    return { modrm: 4, sib, displacement, displacementBytes: 4, rex };
  }
  const code = base.number & 7;
  const bytes = displacementLength(address, keyword, code === 5, 4);
  const mod = bytes === 0 ? 0 : bytes === 1 ? 0x40 : 0x80;
  if (index === undefined && code !== 4) {
    return { modrm: mod | code, sib: undefined, displacement, displacementBytes: bytes, rex };
  }
  const sib = (Math.log2(scale) << 6) | (((index?.number ?? 4) & 7) << 3) | code;
  return { modrm: mod | 4, sib, displacement, displacementBytes: bytes, rex };
}

function displacementLength(address: Address, keyword: number, mustHave: boolean, full: 2 | 4): 0 | 1 | 2 | 4 {
  const { labels, value } = address.displacement;
  if (keyword === 8) return 1;
  if (keyword === 16 || keyword === 32) return address.hasDisplacement ? full : mustHave ? 1 : 0;
  if (labels !== 0) return full;
  const wrapped = address.addressSize === 64 ? value : BigInt.asIntN(address.addressSize, value);
  if (wrapped === 0n && !mustHave) return 0;
  return fits(wrapped, 8) ? 1 : full;
}
