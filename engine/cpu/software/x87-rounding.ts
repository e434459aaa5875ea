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
  type Local,
  load,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';

/** What the x87 functions share. Values travel as a significand (i64) and a sign-and-exponent word (i32). */

/** Leaves a result for the function that commits it. */
export function setResult(f: FunctionBuilder, cpu: I32, significand: I64, signExponent: I32): void {
  f.store('i64.store', cpu, significand, X.RESULT);
  f.store('i32.store', cpu, signExponent, X.RESULT_EXPONENT);
}

export function setIndefinite(f: FunctionBuilder, cpu: I32): void {
  setResult(f, cpu, i64(X.INDEFINITE_SIGNIFICAND), i32(X.INDEFINITE_EXPONENT));
}

/** Adds exceptions to those of the operation under way. */
export function raise(f: FunctionBuilder, cpu: I32, flags: I32 | number): void {
  f.store('i32.store', cpu, d.or(load('i32.load', cpu, X.RAISED), flags), X.RAISED);
}

/** A normal number: exponent 1–7FFE and the integer bit. */
export function isNormal(significand: I64, exponent: I32): I32 {
  return all(d.ltU(d.sub(exponent, 1), 0x7ffe), q.ltS(significand, 0));
}

/** Shifts the 128-bit `high`:`low` right by `count` ≥ 1; what falls out makes the result odd ("sticky"). */
export function shiftRightJam(f: FunctionBuilder, high: Local<'i64'>, low: Local<'i64'>, count: I32): void {
  const n = f.keep(q.fromU32(count));
  f.if(
    q.ltU(n, 64),
    () => {
      const lost = q.fromU32(q.nonzero(q.shl(get(low), q.sub(64, n))));
      f.set(low, q.or(q.or(q.shl(get(high), q.sub(64, n)), q.shr(get(low), n)), lost));
      f.set(high, q.shr(get(high), n));
    },
    () => {
      const lost = f.keep(q.fromU32(q.nonzero(get(low))));
      f.if(
        q.ltU(n, 66),
        () => {
          const odd = q.and(get(high), q.and(n, 1));
          f.set(low, q.or(q.or(q.shr(get(high), q.sub(n, 64)), odd), lost));
        },
        // Less than a quarter of the last place: how much less does not matter.
        () => f.set(low, q.or(q.fromU32(q.nonzero(get(high))), lost)),
      );
      f.set(high, i64(0));
    },
  );
}

/** Whether the fraction `low` (of a unit whose lowest bit is `odd` in the significand) rounds away from zero. */
export function roundsUp(f: FunctionBuilder, control: I32, sign: I32, low: I64, odd: I32): I32 {
  const mode = f.keep(d.and(d.shr(control, X.CONTROL_ROUNDING_SHIFT), 3));
  const half = -0x8000000000000000n;
  return f.ifValue(
    'i32',
    mode,
    () => all(q.nonzero(low), d.ne(d.sub(3, mode), 0), d.eq(d.zero(sign), d.eq(mode, 2))),
    () => any(q.gtU(low, half), all(q.eq(low, half), odd)),
  );
}

export interface Rounding {
  /**
   * (cpu, sign 0 or 8000h, biased exponent of any size, high, low, control word): rounds high.low, normalized so that
   * bit 63 of high is set, to the control word's precision and range, and leaves result and exceptions.
   */
  readonly round: FunctionReference;
  /** The same for any high.low but 0. */
  readonly normalizeAndRound: FunctionReference;
}

const WRAP = 24576;

export function buildRounding(module: ModuleBuilder): Rounding {
  const type = { params: ['i32', 'i32', 'i32', 'i64', 'i64', 'i32'], results: [] } as const;
  const round = module.function('x87-round', type, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const sign = get(f.parameter(1, 'i32'));
    const exponent = f.parameter(2, 'i32');
    const high = f.parameter(3, 'i64');
    const low = f.parameter(4, 'i64');
    const control = get(f.parameter(5, 'i32'));
    const flags = f.local('i32');
    const up = f.local('i32');
    const precision = f.keep(d.and(control, X.CONTROL_PRECISION));
    /** Bits of the significand that the precision leaves unused. */
    const drop = f.keep(select(d.eq(precision, 0x200), i64(11), select(d.zero(precision), i64(40), i64(0))));
    const unit = f.keep(q.shl(1, drop));
    /** Moves what the precision cannot hold into `low`. */
    const fold = () =>
      f.if(q.nonzero(drop), () => {
        const rest = q.shl(get(high), q.sub(64, drop));
        f.set(low, q.or(rest, q.fromU32(q.nonzero(get(low)))));
        f.set(high, q.and(get(high), q.sub(0, unit)));
      });
    const increment = () => {
      f.set(up, roundsUp(f, control, sign, get(low), q.nonzero(q.and(get(high), unit))));
      f.set(high, q.add(get(high), select(get(up), unit, i64(0))));
    };
    const inexact = () => select(q.nonzero(get(low)), i32(X.STATUS_PE), i32(0));

    f.if(all(d.leS(get(exponent), 0), d.ne(d.and(control, X.STATUS_UE), 0)), () => {
      // Masked underflow: the result is tiny unless rounding it as if the exponent were unbounded makes it normal.
      const tiny = f.local('i32');
      f.set(tiny, i32(1));
      f.if(d.zero(get(exponent)), () => {
        const keptHigh = f.keep(get(high));
        const keptLow = f.keep(get(low));
        fold();
        increment();
        f.set(tiny, q.nonzero(get(high)));
        f.set(high, keptHigh);
        f.set(low, keptLow);
      });
      shiftRightJam(f, high, low, d.sub(1, get(exponent)));
      fold();
      increment();
      f.set(flags, inexact());
      f.set(flags, d.or(get(flags), select(all(get(tiny), d.ne(get(flags), 0)), i32(X.STATUS_UE), i32(0))));
      f.set(flags, d.or(get(flags), select(get(up), i32(X.STATUS_C1), i32(0))));
      raise(f, cpu, get(flags));
      setResult(f, cpu, get(high), d.or(sign, q.ltS(get(high), 0)));
      f.return();
    });
    fold();
    increment();
    f.set(flags, d.or(inexact(), select(get(up), i32(X.STATUS_C1), i32(0))));
    f.if(q.zero(get(high)), () => {
      f.set(high, i64(X.INTEGER_BIT));
      f.set(exponent, d.add(get(exponent), 1));
    });
    f.if(d.ltU(d.sub(get(exponent), 1), 0x7ffe), () => {
      raise(f, cpu, get(flags));
      setResult(f, cpu, get(high), d.or(sign, get(exponent)));
      f.return();
    });
    f.if(
      d.gtS(get(exponent), 0),
      () => {
        f.if(
          d.and(control, X.STATUS_OE),
          () => {
            // Masked overflow: infinity, or the largest number when rounding goes towards zero.
            const infinite = f.keep(roundsUp(f, control, sign, i64(-1), i32(0)));
            raise(f, cpu, d.or(X.STATUS_OE | X.STATUS_PE, select(infinite, i32(X.STATUS_C1), i32(0))));
            setResult(
              f,
              cpu,
              select(infinite, i64(X.INTEGER_BIT), q.sub(0, unit)),
              d.or(sign, d.add(0x7ffe, infinite)),
            );
            f.return();
          },
          () => {
            raise(f, cpu, d.or(get(flags), X.STATUS_OE));
            f.set(exponent, d.sub(get(exponent), WRAP));
          },
        );
      },
      () => {
        raise(f, cpu, d.or(get(flags), X.STATUS_UE));
        f.set(exponent, d.add(get(exponent), WRAP));
      },
    );
    // FSCALE can leave the range by more than the unmasked response brings back.
    f.if(d.geS(get(exponent), X.EXPONENT_MAX), () => {
      raise(f, cpu, X.STATUS_PE | X.STATUS_C1);
      setResult(f, cpu, i64(X.INTEGER_BIT), d.or(sign, X.EXPONENT_MAX));
      f.return();
    });
    f.if(d.leS(get(exponent), 0), () => {
      raise(f, cpu, X.STATUS_PE);
      setResult(f, cpu, i64(0), sign);
      f.return();
    });
    setResult(f, cpu, get(high), d.or(sign, get(exponent)));
  });

  const normalizeAndRound = module.function('x87-normalize-round', type, (f) => {
    const exponent = f.parameter(2, 'i32');
    const high = f.parameter(3, 'i64');
    const low = f.parameter(4, 'i64');
    f.if(q.zero(get(high)), () => {
      f.set(high, get(low));
      f.set(low, i64(0));
      f.set(exponent, d.sub(get(exponent), 64));
    });
    const shift = f.keep(q.clz(get(high)));
    f.if(q.nonzero(shift), () => {
      f.set(high, q.or(q.shl(get(high), shift), q.shr(get(low), q.sub(64, shift))));
      f.set(low, q.shl(get(low), shift));
      f.set(exponent, d.sub(get(exponent), d.wrap(shift)));
    });
    const parameters = [0, 1, 2, 3, 4, 5].map((index) => get({ index, type: type.params[index] ?? 'i32' }));
    f.callVoid(round, ...parameters);
  });
  return { round, normalizeAndRound };
}
