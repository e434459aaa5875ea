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
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { isUnsupported } from './x87-arithmetic.ts';
import { raise, roundsUp, setResult, shiftRightJam } from './x87-rounding.ts';

/** Exponent of a significand read as an integer. */
const INTEGER_EXPONENT = X.EXPONENT_BIAS + 63;

export interface Conversions {
  /** (cpu, bits): leaves the value of a single or double real, with WAS_DENORMAL where that applies. Exact. */
  readonly fromSingle: FunctionReference;
  readonly fromDouble: FunctionReference;
  /** (cpu, signed integer). */
  readonly fromInteger: FunctionReference;
  /** (cpu, digits 0–15, digits 16–17 and sign). */
  readonly fromDecimal: FunctionReference;
  /** (cpu, significand, sign and exponent, control) → bits as an i64; raises. */
  readonly toSingle: FunctionReference;
  readonly toDouble: FunctionReference;
  /** (cpu, significand, sign and exponent, control, bits 16, 32 or 64) → signed integer as an i64; raises. */
  readonly toInteger: FunctionReference;
  /** (cpu, significand, sign and exponent, control) → digits 0–15, SECOND: digits 16–17 and sign. */
  readonly toDecimal: FunctionReference;
  /** (cpu, significand, sign and exponent, control): leaves the integral value; the operand is finite, not 0, no NaN. */
  readonly roundToIntegral: FunctionReference;
}

/** A real format: bits of significand (with the hidden one), exponent bias, largest exponent field. */
interface RealFormat {
  readonly name: string;
  readonly precision: number;
  readonly bias: number;
  readonly maximum: number;
}

const SINGLE: RealFormat = { name: 'single', precision: 24, bias: 127, maximum: 255 };
const DOUBLE: RealFormat = { name: 'double', precision: 53, bias: 1023, maximum: 2047 };

/** `bits` is a local or an expression free of effects. */
function emitFromReal(f: FunctionBuilder, cpu: I32, bits: I64, format: RealFormat): void {
  const fractionBits = format.precision - 1;
  const exponentBits = format.maximum === 255 ? 8 : 11;
  const sign = f.keep(d.shl(d.wrap(q.shr(bits, fractionBits + exponentBits)), 15));
  const exponent = f.keep(d.and(d.wrap(q.shr(bits, fractionBits)), format.maximum));
  const fraction = f.keep(q.shl(q.and(bits, (1n << BigInt(fractionBits)) - 1n), 64 - format.precision));
  f.if(
    d.ltU(d.sub(exponent, 1), format.maximum - 1),
    () => setResult(f, cpu, q.or(fraction, X.INTEGER_BIT), d.or(sign, d.add(exponent, X.EXPONENT_BIAS - format.bias))),
    () => {
      f.if(
        exponent,
        () => setResult(f, cpu, q.or(fraction, X.INTEGER_BIT), d.or(sign, X.EXPONENT_MAX)),
        () => {
          f.if(
            q.zero(fraction),
            () => setResult(f, cpu, i64(0), sign),
            () => {
              const shift = f.keep(q.clz(fraction));
              const biased = d.sub(X.EXPONENT_BIAS - format.bias + 1, d.wrap(shift));
              setResult(f, cpu, q.shl(fraction, shift), d.or(d.or(sign, biased), X.WAS_DENORMAL));
            },
          );
        },
      );
    },
  );
}

function buildToReal(module: ModuleBuilder, format: RealFormat): FunctionReference {
  const type = { params: ['i32', 'i64', 'i32', 'i32'], results: ['i64'] } as const;
  return module.function(`x87-to-${format.name}`, type, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const high = f.parameter(1, 'i64');
    const word = get(f.parameter(2, 'i32'));
    const control = get(f.parameter(3, 'i32'));
    const fractionBits = format.precision - 1;
    const drop = 64 - format.precision;
    const unit = 1n << BigInt(drop);
    const signShift = format.maximum === 255 ? 16 : 48;
    const signBit = f.keep(q.shl(q.fromU32(d.and(word, X.SIGN)), signShift));
    const infinity = BigInt(format.maximum) << BigInt(fractionBits);
    const exponent = f.local('i32');
    const low = f.local('i64');
    const up = f.local('i32');
    f.set(exponent, d.and(word, X.EXPONENT_MAX));
    f.if(isUnsupported(get(high), get(exponent)), () => {
      raise(f, cpu, X.STATUS_IE);
      const indefinite =
        (1n << BigInt(format.precision + (format.maximum === 255 ? 8 : 11))) - (1n << BigInt(fractionBits - 1));
      f.return(i64(indefinite));
    });
    f.if(d.eq(get(exponent), X.EXPONENT_MAX), () => {
      f.if(q.nonzero(q.shl(get(high), 1)), () => {
        f.if(q.zero(q.and(get(high), 1n << 62n)), () => raise(f, cpu, X.STATUS_IE));
        const fraction = q.or(q.shr(q.shl(get(high), 1), 65 - format.precision), 1n << BigInt(fractionBits - 1));
        f.return(q.or(signBit, q.or(fraction, infinity)));
      });
      f.return(q.or(signBit, infinity));
    });
    f.if(q.zero(get(high)), () => f.return(signBit));
    f.if(d.zero(get(exponent)), () => {
      const shift = f.keep(q.clz(get(high)));
      f.set(high, q.shl(get(high), shift));
      f.set(exponent, d.sub(1, d.wrap(shift)));
    });
    f.set(exponent, d.sub(get(exponent), X.EXPONENT_BIAS - format.bias));
    const fold = () => {
      f.set(low, q.or(q.shl(get(high), format.precision), q.fromU32(q.nonzero(get(low)))));
      f.set(high, q.and(get(high), -unit));
    };
    const increment = () => {
      f.set(up, roundsUp(f, control, d.and(word, X.SIGN), get(low), q.nonzero(q.and(get(high), unit))));
      f.set(high, q.add(get(high), select(get(up), i64(unit), i64(0))));
    };
    const raiseInexact = (others: number | I32) =>
      f.if(q.nonzero(get(low)), () =>
        raise(f, cpu, d.or(d.or(X.STATUS_PE, others), select(get(up), i32(X.STATUS_C1), i32(0)))),
      );
    f.if(d.leS(get(exponent), 0), () => {
      const tiny = f.local('i32');
      f.set(tiny, i32(1));
      f.if(d.zero(get(exponent)), () => {
        const kept = f.keep(get(high));
        fold();
        increment();
        f.set(tiny, q.nonzero(get(high)));
        f.set(high, kept);
        f.set(low, i64(0));
      });
      // An unmasked underflow keeps the result from being stored, exact or not.
      f.if(all(get(tiny), d.zero(d.and(control, X.STATUS_UE))), () => {
        raise(f, cpu, X.STATUS_UE);
        f.return(i64(0));
      });
      shiftRightJam(f, high, low, d.sub(1, get(exponent)));
      fold();
      increment();
      raiseInexact(select(get(tiny), i32(X.STATUS_UE), i32(0)));
      // A carry into the integer bit makes the exponent field 1 by itself.
      f.return(q.or(signBit, q.shr(get(high), drop)));
    });
    fold();
    increment();
    f.if(q.zero(get(high)), () => {
      f.set(high, i64(X.INTEGER_BIT));
      f.set(exponent, d.add(get(exponent), 1));
    });
    f.if(d.geS(get(exponent), format.maximum), () => {
      f.if(d.zero(d.and(control, X.STATUS_OE)), () => {
        raise(f, cpu, X.STATUS_OE);
        f.return(i64(0));
      });
      const infinite = f.keep(roundsUp(f, control, d.and(word, X.SIGN), i64(-1), i32(0)));
      raise(f, cpu, d.or(X.STATUS_OE | X.STATUS_PE, select(infinite, i32(X.STATUS_C1), i32(0))));
      f.return(q.or(signBit, q.sub(infinity, q.fromU32(d.zero(infinite)))));
    });
    raiseInexact(0);
    const fraction = q.and(q.shr(get(high), drop), (1n << BigInt(fractionBits)) - 1n);
    f.return(q.or(signBit, q.or(fraction, q.shl(q.fromU32(get(exponent)), fractionBits))));
    f.unreachable();
  });
}

export function buildConversions(module: ModuleBuilder): Conversions {
  const fromSingle = module.function('x87-from-single', { params: ['i32', 'i32'], results: [] }, (f) => {
    const bits = f.keep(q.fromU32(get(f.parameter(1, 'i32'))));
    emitFromReal(f, get(f.parameter(0, 'i32')), bits, SINGLE);
  });
  const fromDouble = module.function('x87-from-double', { params: ['i32', 'i64'], results: [] }, (f) =>
    emitFromReal(f, get(f.parameter(0, 'i32')), get(f.parameter(1, 'i64')), DOUBLE),
  );
  const fromInteger = module.function('x87-from-integer', { params: ['i32', 'i64'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const value = get(f.parameter(1, 'i64'));
    const sign = f.keep(q.sar(value, 63));
    const magnitude = f.keep(q.sub(q.xor(value, sign), sign));
    const shift = f.keep(q.clz(magnitude));
    const word = d.or(d.and(d.wrap(sign), X.SIGN), d.sub(INTEGER_EXPONENT, d.wrap(shift)));
    setResult(f, cpu, q.shl(magnitude, shift), select(q.zero(magnitude), i32(0), word));
  });
  const fromDecimal = module.function('x87-from-decimal', { params: ['i32', 'i64', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const digits = f.parameter(1, 'i64');
    const rest = get(f.parameter(2, 'i32'));
    const value = f.local('i64');
    const left = f.local('i32');
    f.set(value, q.fromU32(d.add(d.mul(d.and(d.shr(rest, 4), 15), 10), d.and(rest, 15))));
    f.set(left, i32(16));
    f.loop((again) => {
      f.set(value, q.add(q.mul(get(value), 10), q.shr(get(digits), 60)));
      f.set(digits, q.shl(get(digits), 4));
      f.set(left, d.sub(get(left), 1));
      f.brIf(again, get(left));
    });
    const shift = f.keep(q.clz(get(value)));
    const exponent = select(q.zero(get(value)), i32(0), d.sub(INTEGER_EXPONENT, d.wrap(shift)));
    setResult(f, cpu, q.shl(get(value), shift), d.or(d.and(rest, X.SIGN), exponent));
  });

  /** Magnitude of a number with an exponent of at most INTEGER_EXPONENT, rounded to an integer. */
  const toMagnitude = (f: FunctionBuilder, word: I32, significand: I64, exponent: I32, control: I32) => {
    const high = f.local('i64');
    const low = f.local('i64');
    const up = f.local('i32');
    f.set(high, significand);
    f.set(low, i64(0));
    const shift = f.keep(d.sub(INTEGER_EXPONENT, exponent));
    f.if(shift, () => shiftRightJam(f, high, low, shift));
    f.set(up, roundsUp(f, control, d.and(word, X.SIGN), get(low), d.and(d.wrap(get(high)), 1)));
    f.set(high, q.add(get(high), q.fromU32(get(up))));
    return { magnitude: get(high), inexact: q.nonzero(get(low)), up: get(up) };
  };
  const integerType = { params: ['i32', 'i64', 'i32', 'i32', 'i32'], results: ['i64'] } as const;
  const toInteger = module.function('x87-to-integer', integerType, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const significand = get(f.parameter(1, 'i64'));
    const word = get(f.parameter(2, 'i32'));
    const control = get(f.parameter(3, 'i32'));
    const bits = get(f.parameter(4, 'i32'));
    const exponent = f.keep(d.and(word, X.EXPONENT_MAX));
    const negative = f.keep(d.shr(d.and(word, X.SIGN), 15));
    const lowest = f.keep(q.shl(1, q.fromU32(d.sub(bits, 1))));
    f.block((invalid) => {
      f.brIf(invalid, any(d.gtS(exponent, INTEGER_EXPONENT), isUnsupported(significand, exponent)));
      const { magnitude, inexact, up } = toMagnitude(f, word, significand, exponent, control);
      f.brIf(invalid, q.gtU(magnitude, q.sub(lowest, q.fromU32(d.zero(negative)))));
      f.if(inexact, () => raise(f, cpu, d.or(X.STATUS_PE, select(up, i32(X.STATUS_C1), i32(0)))));
      f.return(select(negative, q.sub(0, magnitude), magnitude));
    });
    raise(f, cpu, X.STATUS_IE);
    f.return(q.sub(0, lowest));
    f.unreachable();
  });
  const decimalType = { params: ['i32', 'i64', 'i32', 'i32'], results: ['i64'] } as const;
  const toDecimal = module.function('x87-to-decimal', decimalType, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const significand = get(f.parameter(1, 'i64'));
    const word = get(f.parameter(2, 'i32'));
    const control = get(f.parameter(3, 'i32'));
    const exponent = f.keep(d.and(word, X.EXPONENT_MAX));
    f.block((invalid) => {
      f.brIf(invalid, any(d.gtS(exponent, INTEGER_EXPONENT), isUnsupported(significand, exponent)));
      const { magnitude, inexact, up } = toMagnitude(f, word, significand, exponent, control);
      f.brIf(invalid, q.gtU(magnitude, 999_999_999_999_999_999n));
      f.if(inexact, () => raise(f, cpu, d.or(X.STATUS_PE, select(up, i32(X.STATUS_C1), i32(0)))));
      const value = f.local('i64');
      const digits = f.local('i64');
      const place = f.local('i64');
      f.set(value, magnitude);
      f.set(digits, i64(0));
      f.set(place, i64(0));
      f.loop((again) => {
        f.set(digits, q.or(get(digits), q.shl(q.remU(get(value), 10), get(place))));
        f.set(value, q.divU(get(value), 10));
        f.set(place, q.add(get(place), 4));
        f.brIf(again, q.ne(get(place), 64));
      });
      const two = q.or(q.shl(q.divU(get(value), 10), 4), q.remU(get(value), 10));
      f.store('i64.store', cpu, q.or(two, q.fromU32(d.and(word, X.SIGN))), X.SECOND);
      f.return(get(digits));
    });
    raise(f, cpu, X.STATUS_IE);
    f.store('i64.store', cpu, i64(0xffff), X.SECOND);
    f.return(i64(X.INDEFINITE_SIGNIFICAND));
    f.unreachable();
  });
  const roundToIntegral = module.function(
    'x87-round-to-integral',
    { params: ['i32', 'i64', 'i32', 'i32'], results: [] },
    (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const significand = get(f.parameter(1, 'i64'));
      const word = get(f.parameter(2, 'i32'));
      const control = get(f.parameter(3, 'i32'));
      const exponent = f.keep(d.and(word, X.EXPONENT_MAX));
      f.if(d.geS(exponent, INTEGER_EXPONENT), () => {
        setResult(f, cpu, significand, word);
        f.return();
      });
      const { magnitude, inexact, up } = toMagnitude(f, word, significand, exponent, control);
      f.if(inexact, () => raise(f, cpu, d.or(X.STATUS_PE, select(up, i32(X.STATUS_C1), i32(0)))));
      const shift = f.keep(q.clz(magnitude));
      const biased = select(q.zero(magnitude), i32(0), d.sub(INTEGER_EXPONENT, d.wrap(shift)));
      setResult(f, cpu, q.shl(magnitude, shift), d.or(d.and(word, X.SIGN), biased));
    },
  );
  return {
    fromSingle,
    fromDouble,
    fromInteger,
    fromDecimal,
    toSingle: buildToReal(module, SINGLE),
    toDouble: buildToReal(module, DOUBLE),
    toInteger,
    toDecimal,
    roundToIntegral,
  };
}
