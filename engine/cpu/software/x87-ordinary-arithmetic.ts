import { highProduct } from '../x86/instructions/products.ts';
import * as X from '../x86/x87/registers.ts';
import { all, any, d, q } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Label,
  type Local,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import type { Conversions } from './x87-conversions.ts';
import {
  checkControl,
  fromRegister,
  memoryForms,
  normalize,
  numberOf,
  type Ordinary,
  placeOf,
  popOnce,
  roundOrdinary,
  stackState,
  type Unrounded,
  unlessFilled,
  unlessOrdinary,
  unrounded,
  writeRegister,
  writeStatus,
} from './x87-ordinary.ts';
import { ADD, DIVIDE, DIVIDE_REVERSED, MULTIPLY, type Stack, SUBTRACT, SUBTRACT_REVERSED } from './x87-stack.ts';

/** Where the computation of a result leaves to: the thorough way, the write of a finished result. */
interface Labels {
  readonly slow: Label;
  readonly write: Label;
}

type Computation = (f: FunctionBuilder, labels: Labels, a: Ordinary, b: Ordinary, value: Unrounded) => void;

/** An operation on two operands. */
interface Operation {
  /** Of normal numbers: leaves high.low, normalized, exponent and sign. */
  readonly normal: Computation;
  /** When an operand is none: sets everything for `write`, or for rounding by running to the end. */
  readonly unusual: Computation;
}

function brIfAny(f: FunctionBuilder, label: Label, conditions: readonly I32[]): void {
  for (const condition of conditions) {
    f.brIf(label, condition);
  }
}

/** A zero as the result, exact. */
function setZero(f: FunctionBuilder, value: Unrounded, sign: I32): void {
  f.set(value.sign, sign);
  f.set(value.high, i64(0));
  f.set(value.exponent, i32(0));
  f.set(value.flags, i32(0));
}

/** A sum, or with `flip` a difference. */
const sum = (flip: 0 | typeof X.SIGN): Operation => ({
  normal(f, { slow, write }, a, b, value) {
    const { high, low, exponent, sign } = value;
    const other = flip === 0 ? b.word : f.keep(d.xor(b.word, flip));
    const distance = f.local('i32');
    const first = f.local('i64');
    const second = f.local('i64');
    // The operand with the larger exponent comes first.
    f.set(distance, d.sub(a.exponent, b.exponent));
    f.if(
      d.geS(get(distance), 0),
      () => {
        f.set(exponent, a.exponent);
        f.set(sign, a.word);
        f.set(first, a.significand);
        f.set(second, b.significand);
      },
      () => {
        f.set(exponent, b.exponent);
        f.set(sign, other);
        f.set(first, b.significand);
        f.set(second, a.significand);
        f.set(distance, d.sub(0, get(distance)));
      },
    );
    f.brIf(slow, d.gtU(get(distance), 63));
    const opposite = d.xor(a.word, other);
    const large = get(first);
    const small = get(second);
    const count = f.keep(q.fromU32(get(distance)));
    const shifted = f.keep(q.shr(small, count));
    // A shift by 64 less the distance, in two steps: at a distance of 0 everything is shifted out.
    f.set(low, q.shl(q.shl(small, 1), q.xor(count, 63)));
    f.if(
      d.and(opposite, X.SIGN),
      () => {
        f.set(high, q.sub(q.sub(large, shifted), q.fromU32(q.nonzero(get(low)))));
        f.set(low, q.sub(0, get(low)));
        // Only with the same exponent can the second be larger.
        f.if(q.gtU(shifted, large), () => {
          f.set(high, q.sub(shifted, large));
          f.set(sign, d.xor(get(sign), X.SIGN));
        });
        f.if(q.zero(get(high)), () => {
          f.brIf(slow, q.nonzero(get(low)));
          setZero(f, value, i32(0));
          f.br(write);
        });
        normalize(f, value);
      },
      () => {
        const total = f.keep(q.add(large, shifted));
        const carry = f.keep(q.ltU(total, large));
        const lost = q.and(get(low), 1);
        const halved = q.or(q.or(q.shr(get(low), 1), q.shl(total, 63)), lost);
        f.set(low, select(carry, halved, get(low)));
        f.set(high, select(carry, q.or(q.shr(total, 1), X.INTEGER_BIT), total));
        f.set(exponent, d.add(get(exponent), carry));
      },
    );
  },
  unusual(f, { slow, write }, a, b, value) {
    unlessOrdinary(f, slow, a);
    unlessOrdinary(f, slow, b);
    const other = d.xor(b.word, flip);
    f.if(all(a.zero, b.zero), () => {
      setZero(f, value, d.and(a.word, other));
      f.br(write);
    });
    // One of them is zero: the other one, rounded.
    const first = f.keep(b.zero);
    f.set(value.high, select(first, a.significand, b.significand));
    f.set(value.low, i64(0));
    f.set(value.exponent, select(first, a.exponent, b.exponent));
    f.set(value.sign, select(first, a.word, other));
  },
});

const PRODUCT: Operation = {
  normal(f, _labels, a, b, value) {
    const { high, low, exponent, sign } = value;
    f.set(sign, d.xor(a.word, b.word));
    f.set(exponent, d.sub(d.add(a.exponent, b.exponent), X.EXPONENT_BIAS - 1));
    f.set(
      high,
      highProduct(a.significand, b.significand, (part) => f.keep(part)),
    );
    f.set(low, q.mul(a.significand, b.significand));
    normalize(f, value);
  },
  unusual(f, { slow, write }, a, b, value) {
    unlessOrdinary(f, slow, a);
    unlessOrdinary(f, slow, b);
    setZero(f, value, d.xor(a.word, b.word));
    f.br(write);
  },
};

/** A digit of 32 bits of `high` ÷ `divisor`, with the next 32 bits of the dividend; leaves the remainder in `high`. */
function quotientDigit(f: FunctionBuilder, high: Local<'i64'>, next: I64, divisor: I64): I64 {
  const digit = f.local('i64');
  const divisorHigh = f.keep(q.shr(divisor, 32));
  f.set(digit, q.divU(get(high), divisorHigh));
  const rest = f.keep(q.or(q.shl(q.sub(get(high), q.mul(get(digit), divisorHigh)), 32), next));
  const product = f.keep(q.mul(get(digit), q.and(divisor, 0xffffffff)));
  // The estimate is too large by 2 at most, and seldom by that much.
  const over = f.keep(q.fromU32(q.gtU(product, rest)));
  f.set(digit, q.sub(get(digit), over));
  f.set(high, q.add(q.sub(rest, product), q.and(divisor, q.sub(0, over))));
  f.if(d.and(d.wrap(over), q.gtU(q.sub(product, rest), divisor)), () => {
    f.set(digit, q.sub(get(digit), 1));
    f.set(high, q.add(get(high), divisor));
  });
  return get(digit);
}

const QUOTIENT: Operation = {
  normal(f, _labels, a, b, value) {
    const { high, low, exponent, sign } = value;
    const divisor = b.significand;
    f.set(sign, d.xor(a.word, b.word));
    // A quotient of 1 or more loses a bit, so that it has 64 in any case.
    const larger = f.keep(q.fromU32(q.geU(a.significand, divisor)));
    f.set(exponent, d.add(d.add(d.sub(a.exponent, b.exponent), X.EXPONENT_BIAS - 1), d.wrap(larger)));
    f.set(high, q.shr(a.significand, larger));
    const rest = f.keep(q.shl(q.and(a.significand, larger), 31));
    const first = quotientDigit(f, high, rest, divisor);
    const second = quotientDigit(f, high, i64(0), divisor);
    const remainder = f.keep(get(high));
    f.set(high, q.or(q.shl(first, 32), second));
    // Whether the remainder is nothing, less or more than half the divisor. Just a half cannot be: quotient and this half
    // would be a number of 65 bits that divides one of 64.
    const more = q.gtU(remainder, q.sub(divisor, remainder));
    f.set(low, select(q.zero(remainder), i64(0), select(more, i64(3n << 62n), i64(1n << 62n))));
  },
  unusual(f, { slow, write }, a, b, value) {
    unlessOrdinary(f, slow, a);
    f.brIf(slow, any(...b.unusual));
    setZero(f, value, d.xor(a.word, b.word));
    f.br(write);
  },
};

/** Operations by ModRM.reg; some with ST(0) as the second operand. */
const OPERATIONS = [
  ['add', ADD, sum(0), false],
  ['multiply', MULTIPLY, PRODUCT, false],
  ['subtract', SUBTRACT, sum(X.SIGN), false],
  ['subtract-reversed', SUBTRACT_REVERSED, sum(X.SIGN), true],
  ['divide', DIVIDE, QUOTIENT, false],
  ['divide-reversed', DIVIDE_REVERSED, QUOTIENT, true],
] as const;

const FROM_REGISTER = { params: ['i32', 'i32'], results: [] } as const;
const TO_REGISTER = { params: ['i32', 'i32', 'i32'], results: [] } as const;
const NARROW = { params: ['i32', 'i32'], results: [] } as const;
const WIDE = { params: ['i32', 'i64'], results: [] } as const;

/**
 * For each operation, x87-add and so on: (cpu, i) for ST(0) = ST(0) op ST(i), with the suffix -to (cpu, i, pops) for
 * ST(i) = ST(0) op ST(i), and with -single, -double and -integer (cpu, operand of 32, 64, 32 bits) for ST(0) = ST(0) op
 * operand. Without `quick` they only go the thorough way.
 */
export function buildOrdinaryArithmetic(
  module: ModuleBuilder,
  stack: Stack,
  conversions: Conversions,
  quick: boolean,
): Map<string, FunctionReference> {
  const functions = new Map<string, FunctionReference>();

  for (const [name, kind, operation, reversed] of OPERATIONS) {
    /** Computes with ST(0), and writes the result to the register at `place`. */
    const compute = (f: FunctionBuilder, slow: Label, cpu: I32, first: Ordinary, second: Ordinary, place: I32) => {
      const control = checkControl(f, slow, cpu);
      const [a, b] = reversed ? [second, first] : [first, second];
      const value = unrounded(f);
      f.block((write) => {
        const labels = { slow, write };
        f.block((round) => {
          f.block((unusual) => {
            brIfAny(f, unusual, a.unusual);
            brIfAny(f, unusual, b.unusual);
            operation.normal(f, labels, a, b, value);
            f.br(round);
          });
          operation.unusual(f, labels, a, b, value);
        });
        roundOrdinary(f, slow, value, control);
      });
      writeRegister(f, place, get(value.high), d.or(d.and(get(value.sign), X.SIGN), get(value.exponent)));
      writeStatus(f, cpu, get(value.flags));
    };
    const define = (
      suffix: string,
      type: typeof FROM_REGISTER | typeof TO_REGISTER | typeof NARROW | typeof WIDE,
      ordinary: (f: FunctionBuilder, slow: Label, cpu: I32) => void,
      otherwise: (f: FunctionBuilder, cpu: I32) => void,
    ) => {
      const reference = module.function(`x87-${name}${suffix}`, type, (f) => {
        const cpu = get(f.parameter(0, 'i32'));
        if (quick) {
          f.block((slow) => {
            ordinary(f, slow, cpu);
            f.return();
          });
        }
        otherwise(f, cpu);
      });
      functions.set(`x87-${name}${suffix}`, reference);
    };
    const withRegister = (f: FunctionBuilder, slow: Label, cpu: I32, destination: 'first' | 'second') => {
      const state = stackState(f, cpu);
      const other = numberOf(f, state, get(f.parameter(1, 'i32')));
      unlessFilled(f, slow, state, state.top, other);
      const places = { first: placeOf(f, state, state.top), second: placeOf(f, state, other) };
      compute(f, slow, cpu, fromRegister(f, places.first), fromRegister(f, places.second), places[destination]);
    };
    define(
      '',
      FROM_REGISTER,
      (f, slow, cpu) => withRegister(f, slow, cpu, 'first'),
      (f, cpu) => f.callVoid(stack.operate, cpu, i32(kind), get(f.parameter(1, 'i32')), i32(0), i32(0)),
    );
    define(
      '-to',
      TO_REGISTER,
      (f, slow, cpu) => {
        withRegister(f, slow, cpu, 'second');
        f.if(get(f.parameter(2, 'i32')), () => popOnce(f, cpu));
      },
      (f, cpu) => {
        const index = get(f.parameter(1, 'i32'));
        f.callVoid(stack.operate, cpu, i32(kind), index, index, get(f.parameter(2, 'i32')));
      },
    );
    const withMemory = (
      suffix: string,
      type: typeof NARROW | typeof WIDE,
      decode: (f: FunctionBuilder) => Ordinary,
      convert: (f: FunctionBuilder, cpu: I32) => void,
    ) =>
      define(
        suffix,
        type,
        (f, slow, cpu) => {
          const state = stackState(f, cpu);
          unlessFilled(f, slow, state, state.top);
          const place = placeOf(f, state, state.top);
          compute(f, slow, cpu, fromRegister(f, place), decode(f), place);
        },
        (f, cpu) => {
          convert(f, cpu);
          f.callVoid(stack.operateMemory, cpu, i32(kind));
        },
      );
    for (const { name, bits, quick, thorough } of memoryForms(conversions)) {
      withMemory(
        `-${name}`,
        bits === 'i64' ? WIDE : NARROW,
        (f) => quick(f, 1),
        (f, cpu) => thorough(f, cpu, 1),
      );
    }
  }
  return functions;
}
