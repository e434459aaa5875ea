import * as M from '../x86/mxcsr.ts';
import {
  BINARY32,
  BINARY64,
  type Format,
  infinity,
  isDenormal,
  isNan,
  isSignaling,
  magnitude,
  mxcsr,
  quietBit,
  raise,
  unpack,
} from './sse-rounding.ts';
import { all, any, d, q } from './wasm/arithmetic.ts';
import { type FunctionReference, get, i64, select } from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';

/** Conversions of one lane, exact in every mode. Integers travel sign-extended. */
export interface LaneConversions {
  /** (cpu, value) → the number in the other format. */
  readonly widen: FunctionReference;
  readonly narrow: FunctionReference;
  /** (cpu, integer) → the number. */
  readonly fromInteger32: FunctionReference;
  readonly fromInteger64: FunctionReference;
  /** (cpu, value, rounding control 0–3, bits 32 or 64) → the integer, or the integer indefinite. */
  readonly toInteger32: FunctionReference;
  readonly toInteger64: FunctionReference;
}

const UNARY = { params: ['i32', 'i64'], results: ['i64'] } as const;

function buildBetween(module: ModuleBuilder, from: Format, to: Format, round: FunctionReference): FunctionReference {
  return module.function(`sse-convert${from.bits}to${to.bits}`, UNARY, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const a = get(f.parameter(1, 'i64'));
    const sign = f.keep(q.shl(q.shr(a, from.bits - 1), to.bits - 1));
    const flushed = f.keep(q.ne(i64(0), q.fromU32(d.and(mxcsr(cpu), M.MXCSR_DAZ))));
    f.if(any(q.zero(magnitude(from, a)), all(flushed, isDenormal(from, a))), () => f.return(sign));
    f.if(isNan(from, a), () => {
      f.if(isSignaling(from, a), () => raise(f, cpu, M.MXCSR_IE));
      // The upper bits of the payload survive.
      const payload = q.and(a, (1n << BigInt(from.fraction)) - 1n);
      const shift = Math.abs(to.fraction - from.fraction);
      const moved = to.fraction > from.fraction ? q.shl(payload, shift) : q.shr(payload, shift);
      f.return(q.or(q.or(sign, infinity(to) | quietBit(to)), moved));
    });
    f.if(q.eq(magnitude(from, a), infinity(from)), () => f.return(q.or(sign, infinity(to))));
    f.if(isDenormal(from, a), () => raise(f, cpu, M.MXCSR_DE));
    const x = unpack(f, from, a);
    f.return(f.call(round, cpu, x.sign, d.add(get(x.exponent), to.bias - from.bias), get(x.significand)));
    f.unreachable();
  });
}

function buildFromInteger(module: ModuleBuilder, format: Format, round: FunctionReference): FunctionReference {
  return module.function(`sse-from-integer${format.bits}`, UNARY, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const value = get(f.parameter(1, 'i64'));
    f.if(q.zero(value), () => f.return(i64(0)));
    const negative = f.keep(q.ltS(value, 0));
    const size = f.keep(select(negative, q.sub(0, value), value));
    // −2^63 alone has its leading one in bit 63, and nothing below it.
    const top = f.keep(q.ltS(size, 0));
    const shift = f.keep(select(top, i64(0), q.sub(q.clz(size), 1)));
    const significand = select(top, i64(1n << 62n), q.shl(size, shift));
    const exponent = d.add(d.sub(format.bias + 62, d.wrap(shift)), top);
    f.return(f.call(round, cpu, negative, exponent, significand));
    f.unreachable();
  });
}

function buildToInteger(module: ModuleBuilder, format: Format): FunctionReference {
  const type = { params: ['i32', 'i64', 'i32', 'i32'], results: ['i64'] } as const;
  return module.function(`sse-to-integer${format.bits}`, type, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const operand = f.parameter(1, 'i64');
    const rounding = get(f.parameter(2, 'i32'));
    const bits = get(f.parameter(3, 'i32'));
    const a = get(operand);
    const wide = f.keep(d.eq(bits, 64));
    const invalid = () => {
      raise(f, cpu, M.MXCSR_IE);
      f.return(select(wide, i64(-0x8000000000000000n), i64(-0x80000000)));
    };
    f.if(all(isDenormal(format, a), d.ne(d.and(mxcsr(cpu), M.MXCSR_DAZ), 0)), () => f.return(i64(0)));
    f.if(q.zero(magnitude(format, a)), () => f.return(i64(0)));
    f.if(q.geU(magnitude(format, a), infinity(format)), invalid);
    const x = unpack(f, format, a);
    const exponent = f.keep(d.sub(get(x.exponent), format.bias));
    // ±2^63 and beyond; −2^63 itself can be represented.
    f.if(d.geS(exponent, 63), () => {
      f.if(all(wide, x.sign, d.eq(exponent, 63), q.eq(get(x.significand), 1n << 62n)), () =>
        f.return(i64(-0x8000000000000000n)),
      );
      invalid();
    });
    const shift = f.keep(q.fromU32(d.sub(62, exponent)));
    const integer = f.local('i64');
    const rest = f.local('i64');
    f.if(
      q.geU(shift, 64),
      () => {
        // Less than a quarter.
        f.set(integer, i64(0));
        f.set(rest, i64(1));
      },
      () => {
        f.set(integer, q.shr(get(x.significand), shift));
        f.set(rest, select(q.zero(shift), i64(0), q.shl(get(x.significand), q.sub(64, shift))));
      },
    );
    const half = 1n << 63n;
    const up = any(
      all(d.zero(rounding), any(q.gtU(get(rest), half), all(q.eq(get(rest), half), d.wrap(q.and(get(integer), 1))))),
      all(q.nonzero(get(rest)), d.eq(rounding, d.sub(2, x.sign))),
    );
    f.set(integer, q.add(get(integer), q.fromU32(up)));
    const most = f.keep(q.add(select(wide, i64(0x7fffffffffffffffn), i64(0x7fffffff)), q.fromU32(x.sign)));
    f.if(q.gtU(get(integer), most), invalid);
    f.if(q.nonzero(get(rest)), () => raise(f, cpu, M.MXCSR_PE));
    f.return(select(x.sign, q.sub(0, get(integer)), get(integer)));
    f.unreachable();
  });
}

export function buildLaneConversions(
  module: ModuleBuilder,
  round32: FunctionReference,
  round64: FunctionReference,
): LaneConversions {
  return {
    widen: buildBetween(module, BINARY32, BINARY64, round64),
    narrow: buildBetween(module, BINARY64, BINARY32, round32),
    fromInteger32: buildFromInteger(module, BINARY32, round32),
    fromInteger64: buildFromInteger(module, BINARY64, round64),
    toInteger32: buildToInteger(module, BINARY32),
    toInteger64: buildToInteger(module, BINARY64),
  };
}
