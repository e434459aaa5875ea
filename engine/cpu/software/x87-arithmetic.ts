import * as X from '../x86/x87/registers.ts';
import { all, any, d, q } from './wasm/arithmetic.ts';
import {
  type Expression,
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Local,
  load,
  op,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { isNormal, type Rounding, raise, setIndefinite, setResult, shiftRightJam } from './x87-rounding.ts';

/** (cpu, a's significand, a's sign and exponent, b's …, control word): leaves result and exceptions. */
const BINARY = { params: ['i32', 'i64', 'i32', 'i64', 'i32', 'i32'], results: [] } as const;

export interface Arithmetic {
  readonly add: FunctionReference;
  readonly subtract: FunctionReference;
  readonly multiply: FunctionReference;
  readonly divide: FunctionReference;
  /** (cpu, significand, sign and exponent, control word). */
  readonly squareRoot: FunctionReference;
  /** (cpu, a, a, b, b) → 1 when an operand was a NaN or no number at all: the result is left. */
  readonly propagate: FunctionReference;
  /** (cpu, high, low, divisor) → quotient of high:low ÷ divisor, high < divisor, bit 63 of it set; SECOND: remainder. */
  readonly divideWide: FunctionReference;
}

/** Neither a zero nor pseudo-denormal nor with the integer bit: encodings that the 80387 and later refuse. */
export function isUnsupported(significand: I64, exponent: I32): I32 {
  return all(d.ne(exponent, 0), q.geS(significand, 0));
}

/** For supported encodings. */
export function isNan(significand: I64, exponent: I32): I32 {
  return all(d.eq(exponent, X.EXPONENT_MAX), q.nonzero(q.shl(significand, 1)));
}

function isSignaling(significand: I64): I32 {
  return q.zero(q.and(significand, 1n << 62n));
}

export function isInfinity(significand: I64, exponent: I32): I32 {
  return all(d.eq(exponent, X.EXPONENT_MAX), q.zero(q.shl(significand, 1)));
}

/** A constant of type f64. */
function real(value: number): Expression<'f64'> {
  return op('f64.reinterpret_i64', i64(new BigInt64Array(new Float64Array([value]).buffer)[0] ?? 0n));
}

interface Operand {
  readonly significand: Local<'i64'>;
  readonly exponent: Local<'i32'>;
  readonly sign: I32;
  readonly signExponent: I32;
}

function operand(f: FunctionBuilder, index: number, signFlip?: I32): Operand {
  const significand = f.parameter(index, 'i64');
  const word = f.parameter(index + 1, 'i32');
  const exponent = f.local('i32');
  f.set(exponent, d.and(get(word), X.EXPONENT_MAX));
  const sign = f.keep(d.and(signFlip === undefined ? get(word) : d.xor(get(word), signFlip), X.SIGN));
  return { significand, exponent, sign, signExponent: get(word) };
}

/** Gives a denormal its normalized significand and raises DE for it. Zeros keep significand 0. */
function normalize(f: FunctionBuilder, cpu: I32, value: Operand): void {
  const { significand, exponent } = value;
  f.if(all(d.zero(get(exponent)), q.nonzero(get(significand))), () => {
    const shift = f.keep(q.clz(get(significand)));
    f.set(significand, q.shl(get(significand), shift));
    f.set(exponent, d.sub(1, d.wrap(shift)));
    raise(f, cpu, X.STATUS_DE);
  });
  f.if(d.and(value.signExponent, X.WAS_DENORMAL), () => raise(f, cpu, X.STATUS_DE));
}

export function buildArithmetic80(
  module: ModuleBuilder,
  rounding: Rounding,
  multiplyHigh: FunctionReference,
): Arithmetic {
  const { round, normalizeAndRound } = rounding;

  const propagateType = { params: ['i32', 'i64', 'i32', 'i64', 'i32'], results: ['i32'] } as const;
  const propagate = module.function('x87-propagate', propagateType, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const aSignificand = get(f.parameter(1, 'i64'));
    const aWord = get(f.parameter(2, 'i32'));
    const bSignificand = get(f.parameter(3, 'i64'));
    const bWord = get(f.parameter(4, 'i32'));
    const aExponent = f.keep(d.and(aWord, X.EXPONENT_MAX));
    const bExponent = f.keep(d.and(bWord, X.EXPONENT_MAX));
    f.if(any(isUnsupported(aSignificand, aExponent), isUnsupported(bSignificand, bExponent)), () => {
      raise(f, cpu, X.STATUS_IE);
      setIndefinite(f, cpu);
      f.return(i32(1));
    });
    const aNan = f.keep(isNan(aSignificand, aExponent));
    const bNan = f.keep(isNan(bSignificand, bExponent));
    f.if(d.zero(any(aNan, bNan)), () => f.return(i32(0)));
    const aSignaling = f.keep(all(aNan, isSignaling(aSignificand)));
    const bSignaling = f.keep(all(bNan, isSignaling(bSignificand)));
    f.if(any(aSignaling, bSignaling), () => raise(f, cpu, X.STATUS_IE));
    // Of two NaNs a quiet one wins over a signaling one, else the larger significand, else the positive one (SDM 1, table 4-7).
    const larger = any(
      q.gtU(aSignificand, bSignificand),
      all(q.eq(aSignificand, bSignificand), d.ltU(d.and(aWord, 0xffff), d.and(bWord, 0xffff))),
    );
    const takeA = f.keep(select(all(aNan, bNan), select(d.eq(aSignaling, bSignaling), larger, bSignaling), aNan));
    setResult(
      f,
      cpu,
      q.or(select(takeA, aSignificand, bSignificand), 1n << 62n),
      d.and(select(takeA, aWord, bWord), 0xffff),
    );
    f.return(i32(1));
    f.unreachable();
  });

  const invalid = (f: FunctionBuilder, cpu: I32) => {
    raise(f, cpu, X.STATUS_IE);
    setIndefinite(f, cpu);
    f.return();
  };

  /** Takes care of NaNs and unsupported encodings unless both operands are normal numbers; then runs `special`. */
  const unlessNormal = (f: FunctionBuilder, cpu: I32, a: Operand, b: Operand, special: () => void) => {
    const normal = all(
      isNormal(get(a.significand), get(a.exponent)),
      isNormal(get(b.significand), get(b.exponent)),
      d.zero(d.and(d.or(a.signExponent, b.signExponent), X.WAS_DENORMAL)),
    );
    f.if(d.zero(normal), () => {
      const handled = f.call(propagate, cpu, get(a.significand), a.signExponent, get(b.significand), b.signExponent);
      f.if(handled as I32, () => f.return());
      special();
    });
  };

  const sum = (name: string, flip: number) =>
    module.function(name, BINARY, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const control = get(f.parameter(5, 'i32'));
      const a = operand(f, 1);
      const b = operand(f, 3, i32(flip));
      const roundedDown = () => d.eq(d.and(control, X.CONTROL_ROUNDING), 1 << X.CONTROL_ROUNDING_SHIFT);
      const exponent = f.local('i32');
      const sign = f.local('i32');
      const high = f.local('i64');
      const low = f.local('i64');
      unlessNormal(f, cpu, a, b, () => {
        const aInfinite = f.keep(isInfinity(get(a.significand), get(a.exponent)));
        const bInfinite = f.keep(isInfinity(get(b.significand), get(b.exponent)));
        f.if(all(aInfinite, bInfinite, d.ne(a.sign, b.sign)), () => invalid(f, cpu));
        normalize(f, cpu, a);
        normalize(f, cpu, b);
        f.if(any(aInfinite, bInfinite), () => {
          setResult(f, cpu, i64(X.INTEGER_BIT), d.or(select(aInfinite, a.sign, b.sign), X.EXPONENT_MAX));
          f.return();
        });
        const aZero = f.keep(q.zero(get(a.significand)));
        const bZero = f.keep(q.zero(get(b.significand)));
        f.if(all(aZero, bZero), () => {
          setResult(f, cpu, i64(0), select(d.eq(a.sign, b.sign), a.sign, d.shl(roundedDown(), 15)));
          f.return();
        });
        f.if(any(aZero, bZero), () => {
          f.callVoid(
            round,
            cpu,
            select(aZero, b.sign, a.sign),
            select(aZero, get(b.exponent), get(a.exponent)),
            q.or(get(a.significand), get(b.significand)),
            i64(0),
            control,
          );
          f.return();
        });
      });
      // The operand of the larger exponent goes first.
      const difference = f.local('i32');
      f.set(difference, d.sub(get(a.exponent), get(b.exponent)));
      f.if(
        d.ltS(get(difference), 0),
        () => {
          f.set(exponent, get(b.exponent));
          f.set(sign, b.sign);
          f.set(high, get(a.significand));
          f.set(a.significand, get(b.significand));
          f.set(difference, d.sub(0, get(difference)));
        },
        () => {
          f.set(exponent, get(a.exponent));
          f.set(sign, a.sign);
          f.set(high, get(b.significand));
        },
      );
      f.set(low, i64(0));
      f.if(get(difference), () => shiftRightJam(f, high, low, get(difference)));
      const first = get(a.significand);
      f.if(
        d.eq(a.sign, b.sign),
        () => {
          f.set(high, q.add(get(high), first));
          f.if(q.ltU(get(high), first), () => {
            f.set(low, q.or(q.or(q.shl(get(high), 63), q.shr(get(low), 1)), q.and(get(low), 1)));
            f.set(high, q.or(q.shr(get(high), 1), X.INTEGER_BIT));
            f.set(exponent, d.add(get(exponent), 1));
          });
          f.callVoid(round, cpu, get(sign), get(exponent), get(high), get(low), control);
        },
        () => {
          f.if(
            all(d.zero(get(difference)), q.gtU(get(high), first)),
            () => {
              f.set(sign, d.xor(get(sign), X.SIGN));
              f.set(high, q.sub(get(high), first));
            },
            () => {
              f.set(high, q.sub(q.sub(first, get(high)), q.fromU32(q.nonzero(get(low)))));
              f.set(low, q.sub(0, get(low)));
            },
          );
          f.if(
            q.zero(q.or(get(high), get(low))),
            () => setResult(f, cpu, i64(0), d.shl(roundedDown(), 15)),
            () => f.callVoid(normalizeAndRound, cpu, get(sign), get(exponent), get(high), get(low), control),
          );
        },
      );
    });
  const add = sum('x87-add', 0);
  const subtract = sum('x87-subtract', X.SIGN);

  const multiply = module.function('x87-multiply', BINARY, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const control = get(f.parameter(5, 'i32'));
    const a = operand(f, 1);
    const b = operand(f, 3);
    const sign = f.keep(d.xor(a.sign, b.sign));
    unlessNormal(f, cpu, a, b, () => {
      const infinite = f.keep(
        any(isInfinity(get(a.significand), get(a.exponent)), isInfinity(get(b.significand), get(b.exponent))),
      );
      const zero = f.keep(any(q.zero(get(a.significand)), q.zero(get(b.significand))));
      f.if(all(infinite, zero), () => invalid(f, cpu));
      normalize(f, cpu, a);
      normalize(f, cpu, b);
      f.if(any(infinite, zero), () => {
        setResult(
          f,
          cpu,
          select(infinite, i64(X.INTEGER_BIT), i64(0)),
          d.or(sign, select(infinite, i32(X.EXPONENT_MAX), i32(0))),
        );
        f.return();
      });
    });
    const exponent = f.local('i32');
    const high = f.local('i64');
    const low = f.local('i64');
    f.set(exponent, d.sub(d.add(get(a.exponent), get(b.exponent)), X.EXPONENT_BIAS - 1));
    f.set(high, f.call(multiplyHigh, get(a.significand), get(b.significand)) as I64);
    f.set(low, q.mul(get(a.significand), get(b.significand)));
    f.if(q.geS(get(high), 0), () => {
      f.set(high, q.or(q.shl(get(high), 1), q.shr(get(low), 63)));
      f.set(low, q.shl(get(low), 1));
      f.set(exponent, d.sub(get(exponent), 1));
    });
    f.callVoid(round, cpu, sign, get(exponent), get(high), get(low), control);
  });

  const divideWide = module.function(
    'x87-divide-wide',
    { params: ['i32', 'i64', 'i64', 'i64'], results: ['i64'] },
    (f) => {
      // Two digits of 32 bits each (Knuth, algorithm D).
      const cpu = get(f.parameter(0, 'i32'));
      const high = f.parameter(1, 'i64');
      const low = get(f.parameter(2, 'i64'));
      const divisor = get(f.parameter(3, 'i64'));
      const mask = 0xffffffff;
      const divisorHigh = f.keep(q.shr(divisor, 32));
      const divisorLow = f.keep(q.and(divisor, mask));
      const quotient = f.local('i64');
      const digit = f.local('i64');
      const rest = f.local('i64');
      for (const next of [q.shr(low, 32), q.and(low, mask)]) {
        const below = f.keep(next);
        f.set(digit, q.divU(get(high), divisorHigh));
        f.set(rest, q.sub(get(high), q.mul(get(digit), divisorHigh)));
        f.block((done) => {
          f.loop((again) => {
            f.brIf(
              done,
              all(q.leU(get(digit), mask), q.leU(q.mul(get(digit), divisorLow), q.or(q.shl(get(rest), 32), below))),
            );
            f.set(digit, q.sub(get(digit), 1));
            f.set(rest, q.add(get(rest), divisorHigh));
            f.brIf(again, q.leU(get(rest), mask));
          });
        });
        f.set(high, q.sub(q.or(q.shl(get(high), 32), below), q.mul(get(digit), divisor)));
        f.set(quotient, q.or(q.shl(get(quotient), 32), get(digit)));
      }
      f.store('i64.store', cpu, get(high), X.SECOND);
      f.return(get(quotient));
      f.unreachable();
    },
  );

  const divide = module.function('x87-divide', BINARY, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const control = get(f.parameter(5, 'i32'));
    const a = operand(f, 1);
    const b = operand(f, 3);
    const sign = f.keep(d.xor(a.sign, b.sign));
    const normal = all(
      isNormal(get(a.significand), get(a.exponent)),
      isNormal(get(b.significand), get(b.exponent)),
      d.zero(d.and(d.or(a.signExponent, b.signExponent), X.WAS_DENORMAL)),
    );
    f.if(d.zero(normal), () => {
      const handled = f.call(propagate, cpu, get(a.significand), a.signExponent, get(b.significand), b.signExponent);
      f.if(handled as I32, () => f.return());
      const aInfinite = f.keep(isInfinity(get(a.significand), get(a.exponent)));
      const bInfinite = f.keep(isInfinity(get(b.significand), get(b.exponent)));
      const aZero = f.keep(q.zero(get(a.significand)));
      const bZero = f.keep(q.zero(get(b.significand)));
      f.if(any(all(aInfinite, bInfinite), all(aZero, bZero)), () => invalid(f, cpu));
      // Division by zero comes before the report of a denormal.
      f.if(
        all(bZero, d.zero(aInfinite)),
        () => raise(f, cpu, X.STATUS_ZE),
        () => {
          normalize(f, cpu, a);
          normalize(f, cpu, b);
        },
      );
      const large = f.keep(any(aInfinite, bZero));
      f.if(any(large, aZero, bInfinite), () => {
        setResult(
          f,
          cpu,
          select(large, i64(X.INTEGER_BIT), i64(0)),
          d.or(sign, select(large, i32(X.EXPONENT_MAX), i32(0))),
        );
        f.return();
      });
    });
    const exponent = f.local('i32');
    const low = f.local('i64');
    f.set(exponent, d.add(d.sub(get(a.exponent), get(b.exponent)), X.EXPONENT_BIAS));
    const high = a.significand;
    f.if(
      q.geU(get(high), get(b.significand)),
      () => {
        f.set(low, q.shl(get(high), 63));
        f.set(high, q.shr(get(high), 1));
      },
      () => {
        f.set(low, i64(0));
        f.set(exponent, d.sub(get(exponent), 1));
      },
    );
    const quotient = f.keep(f.call(divideWide, cpu, get(high), get(low), get(b.significand)) as I64);
    const rest = f.keep(load('i64.load', cpu, X.SECOND));
    // The fraction as a quarter, a half or three quarters: rounding asks for no more.
    const other = f.keep(q.sub(get(b.significand), rest));
    const half = i64(X.INTEGER_BIT);
    const fraction = select(
      q.zero(rest),
      i64(0),
      select(q.eq(rest, other), half, select(q.gtU(rest, other), i64(3n << 62n), i64(1n << 62n))),
    );
    f.callVoid(round, cpu, sign, get(exponent), quotient, fraction, control);
  });

  const squareRoot = module.function('x87-square-root', { params: ['i32', 'i64', 'i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const control = get(f.parameter(3, 'i32'));
    const a = operand(f, 1);
    f.if(any(d.zero(isNormal(get(a.significand), get(a.exponent))), a.sign), () => {
      const handled = f.call(propagate, cpu, get(a.significand), a.signExponent, get(a.significand), a.signExponent);
      f.if(handled as I32, () => f.return());
      f.if(q.zero(get(a.significand)), () => {
        setResult(f, cpu, i64(0), a.sign);
        f.return();
      });
      f.if(a.sign, () => invalid(f, cpu));
      f.if(d.eq(get(a.exponent), X.EXPONENT_MAX), () => {
        setResult(f, cpu, get(a.significand), get(a.exponent));
        f.return();
      });
      normalize(f, cpu, a);
    });
    const unbiased = f.keep(d.sub(get(a.exponent), X.EXPONENT_BIAS));
    const odd = f.keep(d.and(unbiased, 1));
    // The root of the 128-bit high:low, which is the significand times 2^63 or 2^64.
    const high = f.keep(q.shr(get(a.significand), q.fromU32(d.xor(odd, 1))));
    const low = f.keep(select(odd, i64(0), q.shl(get(a.significand), 63)));
    const toReal = (value: I64) => op('f64.convert_i64_s', value);
    // A first value good to 52 bits, halved to stay below 2^63.
    const half = op('f64.mul', op('f64.sqrt', toReal(q.shr(high, 1))), real(Math.sqrt(2 ** 63)));
    const root = f.local('i64');
    f.set(root, q.shl(op('i64.trunc_sat_f64_s', half), 1));
    const restHigh = f.local('i64');
    const restLow = f.local('i64');
    const computeRest = () => {
      const squareLow = f.keep(q.mul(get(root), get(root)));
      const squareHigh = f.keep(f.call(multiplyHigh, get(root), get(root)) as I64);
      f.set(restHigh, q.sub(q.sub(high, squareHigh), q.fromU32(q.ltU(low, squareLow))));
      f.set(restLow, q.sub(low, squareLow));
    };
    computeRest();
    // One step of Newton's in double precision: the error is below 2^12, its square far below the root.
    const rest = op(
      'f64.add',
      op('f64.mul', toReal(get(restHigh)), real(2 ** 64)),
      op('f64.mul', toReal(q.shr(get(restLow), 1)), real(2)),
    );
    const step = op('f64.div', rest, op('f64.mul', toReal(q.shr(get(root), 1)), real(4)));
    f.set(root, q.add(get(root), op('i64.trunc_sat_f64_s', step)));
    computeRest();
    f.loop((again) => {
      f.if(q.ltS(get(restHigh), 0), () => {
        f.set(root, q.sub(get(root), 1));
        computeRest();
        f.br(again);
      });
      const doubleHigh = q.shr(get(root), 63);
      const doubleLow = q.shl(get(root), 1);
      f.if(
        any(q.gtU(get(restHigh), doubleHigh), all(q.eq(get(restHigh), doubleHigh), q.gtU(get(restLow), doubleLow))),
        () => {
          f.set(root, q.add(get(root), 1));
          computeRest();
          f.br(again);
        },
      );
    });
    const aboveHalf = any(q.nonzero(get(restHigh)), q.gtU(get(restLow), get(root)));
    const fraction = select(
      q.zero(q.or(get(restHigh), get(restLow))),
      i64(0),
      select(aboveHalf, i64(3n << 62n), i64(1n << 62n)),
    );
    f.callVoid(round, cpu, i32(0), d.add(d.sar(unbiased, 1), X.EXPONENT_BIAS), get(root), fraction, control);
  });
  return { add, subtract, multiply, divide, squareRoot, propagate, divideWide };
}
