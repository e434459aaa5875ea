import * as L from '../x86/layout.ts';
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
  load,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { type Arithmetic, isInfinity, isNan, isUnsupported } from './x87-arithmetic.ts';
import type { Conversions } from './x87-conversions.ts';
import { type Rounding, raise, setIndefinite, setResult } from './x87-rounding.ts';
import {
  clearRaised,
  control,
  isEmpty,
  physical,
  registerOf,
  type Stack,
  significandOf,
  underflow,
  wordOf,
} from './x87-stack.ts';

interface Parts {
  readonly rounding: Rounding;
  readonly arithmetic: Arithmetic;
  readonly conversions: Conversions;
  readonly stack: Stack;
}

const FULL_PRECISION = X.CONTROL_PRECISION;

function store32(f: FunctionBuilder, cpu: I32, field: number, value: I32): void {
  f.store('i32.store', cpu, value, field);
}

/** Square root, rounding, scaling, remainders and what looks at a register: each takes the stack from start to end. */
export function buildScaling(module: ModuleBuilder, parts: Parts): Map<string, FunctionReference> {
  const { rounding, arithmetic, conversions, stack } = parts;
  const one = { params: ['i32'], results: [] } as const;
  /** A function on ST(0) alone: `body` leaves a result unless ST(0) is empty. */
  const unary = (name: string, body: (f: FunctionBuilder, cpu: I32) => void) =>
    module.function(name, one, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      f.if(
        isEmpty(cpu, 0),
        () => underflow(f, cpu),
        () => {
          clearRaised(f, cpu);
          body(f, cpu);
        },
      );
      f.callVoid(stack.commit, cpu, i32(0), i32(0));
    });

  const squareRoot = unary('x87-sqrt', (f, cpu) =>
    f.callVoid(arithmetic.squareRoot, cpu, significandOf(cpu, 0), wordOf(cpu, 0), control(cpu)),
  );
  const toIntegral = unary('x87-round-integral', (f, cpu) => {
    const significand = f.keep(significandOf(cpu, 0));
    const word = f.keep(wordOf(cpu, 0));
    const exponent = f.keep(d.and(word, X.EXPONENT_MAX));
    f.if(d.zero(f.call(arithmetic.propagate, cpu, significand, word, significand, word) as I32), () =>
      f.if(
        any(q.zero(significand), d.eq(exponent, X.EXPONENT_MAX)),
        () => setResult(f, cpu, significand, word),
        () => {
          f.if(d.zero(exponent), () => raise(f, cpu, X.STATUS_DE));
          f.callVoid(conversions.roundToIntegral, cpu, significand, word, control(cpu));
        },
      ),
    );
  });

  /** DE for each operand that is a denormal. */
  const raiseDenormals = (f: FunctionBuilder, cpu: I32, ...values: [I64, I32][]) => {
    for (const [significand, exponent] of values) {
      f.if(all(d.zero(exponent), q.nonzero(significand)), () => raise(f, cpu, X.STATUS_DE));
    }
  };
  const scaleBody = module.function('x87-scale-values', one, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const a = f.keep(significandOf(cpu, 0));
    const aWord = f.keep(wordOf(cpu, 0));
    const b = f.keep(significandOf(cpu, 1));
    const bWord = f.keep(wordOf(cpu, 1));
    const aExponent = f.keep(d.and(aWord, X.EXPONENT_MAX));
    const bExponent = f.keep(d.and(bWord, X.EXPONENT_MAX));
    const aSign = f.keep(d.and(aWord, X.SIGN));
    const bNegative = f.keep(d.and(bWord, X.SIGN));
    f.if(f.call(arithmetic.propagate, cpu, a, aWord, b, bWord) as I32, () => f.return());
    const aInfinite = f.keep(isInfinity(a, aExponent));
    const bInfinite = f.keep(isInfinity(b, bExponent));
    const invalid = select(bNegative, aInfinite, q.zero(a));
    f.if(all(bInfinite, invalid), () => {
      raise(f, cpu, X.STATUS_IE);
      setIndefinite(f, cpu);
      f.return();
    });
    raiseDenormals(f, cpu, [a, aExponent], [b, bExponent]);
    f.if(bInfinite, () => {
      setResult(
        f,
        cpu,
        select(bNegative, i64(0), i64(X.INTEGER_BIT)),
        d.or(aSign, select(bNegative, i32(0), i32(X.EXPONENT_MAX))),
      );
      f.return();
    });
    // Scaling by zero is no arithmetic: a denormal stays one, without underflow.
    f.if(any(aInfinite, q.zero(a), q.zero(b)), () => {
      // A pseudo-denormal gets the exponent it stands for.
      setResult(f, cpu, a, d.or(aWord, all(d.zero(aExponent), q.ltS(a, 0))));
      f.return();
    });
    // The scale, cut to an integer; more than 17 bits of it leave any range.
    const scale = f.local('i32');
    const size = f.keep(d.sub(bExponent, X.EXPONENT_BIAS));
    f.set(scale, i32(0));
    f.if(d.geS(size, 0), () =>
      f.set(scale, select(d.gtS(size, 16), i32(0x1ffff), d.wrap(q.shr(b, q.fromU32(d.sub(63, d.and(size, 63))))))),
    );
    f.if(bNegative, () => f.set(scale, d.sub(0, get(scale))));
    f.callVoid(
      rounding.normalizeAndRound,
      cpu,
      aSign,
      d.add(select(d.zero(aExponent), i32(1), aExponent), get(scale)),
      a,
      i64(0),
      d.or(control(cpu), FULL_PRECISION),
    );
  });
  const scale = module.function('x87-scale', one, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    clearRaised(f, cpu);
    f.if(
      any(isEmpty(cpu, 0), isEmpty(cpu, 1)),
      () => underflow(f, cpu),
      () => f.callVoid(scaleBody, cpu),
    );
    f.callVoid(stack.commit, cpu, i32(0), i32(0));
  });

  const extract = module.function('x87-extract', one, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const significand = f.local('i64');
    const word = f.local('i32');
    /** Commits the exponent's number to ST(0), and pushes the significand's with what was raised. */
    const finish = (exponentSignificand: I64, exponentWord: I32, pushed: I64, pushedWord: I32) => {
      const raised = f.keep(load('i32.load', cpu, X.RAISED));
      setResult(f, cpu, exponentSignificand, exponentWord);
      const unmasked = d.and(d.and(raised, d.xor(control(cpu), -1)), X.PRE_EXCEPTIONS);
      const stops = f.keep(unmasked);
      f.callVoid(stack.commit, cpu, i32(0), i32(0));
      f.if(d.zero(stops), () => {
        const c1 = d.and(raised, X.STATUS_C1);
        store32(f, cpu, X.RAISED, c1);
        setResult(f, cpu, pushed, pushedWord);
        f.callVoid(stack.push, cpu);
      });
      f.return();
    };
    const indefinite = () => [i64(X.INDEFINITE_SIGNIFICAND), i32(X.INDEFINITE_EXPONENT)] as const;
    f.if(isEmpty(cpu, 0), () => {
      underflow(f, cpu);
      finish(...indefinite(), ...indefinite());
    });
    f.if(d.zero(isEmpty(cpu, 7)), () => {
      store32(f, cpu, X.RAISED, i32(X.STATUS_IE | X.STATUS_SF | X.STATUS_C1));
      const stops = f.keep(d.zero(d.and(control(cpu), X.STATUS_IE)));
      setIndefinite(f, cpu);
      f.callVoid(stack.commit, cpu, i32(0), i32(0));
      // Overflow with its response masked: the pushed number is a NaN as well.
      f.if(d.zero(stops), () => {
        setIndefinite(f, cpu);
        f.callVoid(stack.push, cpu);
      });
      f.return();
    });
    clearRaised(f, cpu);
    f.set(significand, significandOf(cpu, 0));
    f.set(word, wordOf(cpu, 0));
    const sign = f.keep(d.and(get(word), X.SIGN));
    const exponent = f.local('i32');
    f.set(exponent, d.and(get(word), X.EXPONENT_MAX));
    const propagated = f.call(arithmetic.propagate, cpu, get(significand), get(word), get(significand), get(word));
    f.if(propagated as I32, () => {
      const nan = f.keep(load('i64.load', cpu, X.RESULT));
      const nanWord = f.keep(load('i32.load', cpu, X.RESULT_EXPONENT));
      finish(nan, nanWord, nan, nanWord);
    });
    f.if(d.eq(get(exponent), X.EXPONENT_MAX), () =>
      finish(i64(X.INTEGER_BIT), i32(X.EXPONENT_MAX), i64(X.INTEGER_BIT), get(word)),
    );
    f.if(q.zero(get(significand)), () => {
      raise(f, cpu, X.STATUS_ZE);
      finish(i64(X.INTEGER_BIT), i32(X.SIGN | X.EXPONENT_MAX), i64(0), sign);
    });
    f.if(d.zero(get(exponent)), () => {
      raise(f, cpu, X.STATUS_DE);
      const shift = f.keep(q.clz(get(significand)));
      f.set(significand, q.shl(get(significand), shift));
      f.set(exponent, d.sub(1, d.wrap(shift)));
    });
    f.callVoid(conversions.fromInteger, cpu, q.fromS32(d.sub(get(exponent), X.EXPONENT_BIAS)));
    const number = f.keep(load('i64.load', cpu, X.RESULT));
    const numberWord = f.keep(load('i32.load', cpu, X.RESULT_EXPONENT));
    finish(number, numberWord, get(significand), d.or(sign, X.EXPONENT_BIAS));
  });

  /** (cpu, whether to round the quotient to the nearest: FPREM1) → C0, C2 and C3. C1 goes to RAISED. */
  const remainderValues = module.function('x87-remainder-values', { params: ['i32', 'i32'], results: ['i32'] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const nearest = get(f.parameter(1, 'i32'));
    const a = f.local('i64');
    const b = f.local('i64');
    const aExponent = f.local('i32');
    const bExponent = f.local('i32');
    const sign = f.local('i32');
    const aWord = f.keep(wordOf(cpu, 0));
    const bWord = f.keep(wordOf(cpu, 1));
    f.set(a, significandOf(cpu, 0));
    f.set(b, significandOf(cpu, 1));
    f.set(aExponent, d.and(aWord, X.EXPONENT_MAX));
    f.set(bExponent, d.and(bWord, X.EXPONENT_MAX));
    f.set(sign, d.and(aWord, X.SIGN));
    const oldConditions = d.and(load('i32.load', cpu, L.FPU_STATUS), X.STATUS_C0 | X.STATUS_C3);
    f.if(f.call(arithmetic.propagate, cpu, get(a), aWord, get(b), bWord) as I32, () => f.return(oldConditions));
    f.if(any(d.eq(get(aExponent), X.EXPONENT_MAX), q.zero(get(b))), () => {
      raise(f, cpu, X.STATUS_IE);
      setIndefinite(f, cpu);
      f.return(oldConditions);
    });
    raiseDenormals(f, cpu, [get(a), get(aExponent)], [get(b), get(bExponent)]);
    const unmasked = d.and(load('i32.load', cpu, X.RAISED), d.xor(control(cpu), -1));
    f.if(d.and(unmasked, X.STATUS_DE), () => f.return(oldConditions));
    const finish = (conditions: I32) => {
      f.if(
        q.zero(get(a)),
        () => setResult(f, cpu, i64(0), get(sign)),
        () =>
          f.callVoid(
            rounding.normalizeAndRound,
            cpu,
            get(sign),
            get(aExponent),
            get(a),
            i64(0),
            d.or(control(cpu), FULL_PRECISION),
          ),
      );
      f.return(conditions);
    };
    f.if(d.zero(get(aExponent)), () => f.set(aExponent, i32(1)));
    // ST(0) as it is; but a denormal underflows if that is not masked.
    f.if(any(q.zero(get(a)), d.eq(get(bExponent), X.EXPONENT_MAX)), () => finish(i32(0)));
    f.if(d.zero(get(bExponent)), () => f.set(bExponent, i32(1)));
    for (const [value, exponent] of [
      [a, aExponent],
      [b, bExponent],
    ] as const) {
      const shift = f.keep(q.clz(get(value)));
      f.set(value, q.shl(get(value), shift));
      f.set(exponent, d.sub(get(exponent), d.wrap(shift)));
    }
    const difference = f.keep(d.sub(get(aExponent), get(bExponent)));
    f.if(d.ltS(difference, 0), () => {
      // The quotient is below 1: 0, or to the nearest perhaps 1.
      f.if(all(d.ne(nearest, 0), d.eq(difference, -1), q.gtU(get(a), get(b))), () => {
        f.set(a, q.sub(q.shl(get(b), 1), get(a)));
        f.set(sign, d.xor(get(sign), X.SIGN));
        raise(f, cpu, X.STATUS_C1);
      });
      finish(i32(0));
    });
    const partial = f.keep(d.geS(difference, 64));
    // A partial remainder takes 32 to 63 bits off the difference, as many as processors do.
    const steps = f.local('i32');
    f.set(steps, select(partial, d.or(d.and(difference, 31), 32), difference));
    f.set(aExponent, d.add(get(bExponent), d.sub(difference, get(steps))));
    const quotient = f.local('i64');
    f.set(quotient, i64(0));
    const carry = f.local('i32');
    f.set(carry, i32(0));
    f.loop((again) => {
      f.set(quotient, q.shl(get(quotient), 1));
      f.if(any(get(carry), q.geU(get(a), get(b))), () => {
        f.set(a, q.sub(get(a), get(b)));
        f.set(quotient, q.or(get(quotient), 1));
      });
      f.if(get(steps), () => {
        f.set(carry, q.ltS(get(a), 0));
        f.set(a, q.shl(get(a), 1));
        f.set(steps, d.sub(get(steps), 1));
        f.br(again);
      });
    });
    f.if(partial, () => finish(i32(X.STATUS_C2)));
    f.if(nearest, () => {
      const rest = f.keep(q.sub(get(b), get(a)));
      const odd = q.nonzero(q.and(get(quotient), 1));
      f.if(any(q.gtU(get(a), rest), all(q.eq(get(a), rest), odd)), () => {
        f.set(a, rest);
        f.set(sign, d.xor(get(sign), X.SIGN));
        f.set(quotient, q.add(get(quotient), 1));
      });
    });
    const bits = f.keep(d.wrap(get(quotient)));
    raise(f, cpu, d.shl(d.and(bits, 1), 9));
    finish(d.or(d.shl(d.and(bits, 4), 6), d.shl(d.and(bits, 2), 13)));
    f.unreachable();
  });
  const remainder = module.function('x87-remainder', { params: ['i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    clearRaised(f, cpu);
    const conditions = f.local('i32');
    f.if(
      any(isEmpty(cpu, 0), isEmpty(cpu, 1)),
      () => {
        underflow(f, cpu);
        f.set(conditions, d.and(load('i32.load', cpu, L.FPU_STATUS), X.STATUS_C0 | X.STATUS_C3));
      },
      () => f.set(conditions, f.call(remainderValues, cpu, get(f.parameter(1, 'i32'))) as I32),
    );
    const old = d.and(load('i32.load', cpu, L.FPU_STATUS), ~(X.STATUS_C0 | X.STATUS_C2 | X.STATUS_C3));
    store32(f, cpu, L.FPU_STATUS, d.or(old, get(conditions)));
    f.callVoid(stack.commit, cpu, i32(0), i32(0));
  });

  const examine = module.function('x87-examine', one, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const significand = f.keep(significandOf(cpu, 0));
    const word = f.keep(wordOf(cpu, 0));
    const exponent = f.keep(d.and(word, X.EXPONENT_MAX));
    const { STATUS_C0: C0, STATUS_C2: C2, STATUS_C3: C3 } = X;
    const class_ = f.local('i32');
    f.set(class_, i32(C2));
    f.if(d.zero(exponent), () => f.set(class_, select(q.zero(significand), i32(C3), i32(C3 | C2))));
    f.if(d.eq(exponent, X.EXPONENT_MAX), () =>
      f.set(class_, select(isNan(significand, exponent), i32(C0), i32(C2 | C0))),
    );
    f.if(isUnsupported(significand, exponent), () => f.set(class_, i32(0)));
    f.if(isEmpty(cpu, 0), () => f.set(class_, i32(C3 | C0)));
    const sign = d.shr(d.and(word, X.SIGN), 6);
    const rest = d.and(load('i32.load', cpu, L.FPU_STATUS), ~X.STATUS_CONDITIONS);
    store32(f, cpu, L.FPU_STATUS, d.or(d.or(rest, sign), get(class_)));
  });

  /** (cpu, mask, flip): FABS and FCHS change the sign of anything that is there. */
  const changeSign = module.function('x87-sign', { params: ['i32', 'i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    f.if(
      isEmpty(cpu, 0),
      () => underflow(f, cpu),
      () => {
        clearRaised(f, cpu);
        const word = d.and(wordOf(cpu, 0), get(f.parameter(1, 'i32')));
        setResult(f, cpu, significandOf(cpu, 0), d.xor(word, get(f.parameter(2, 'i32'))));
      },
    );
    f.callVoid(stack.commit, cpu, i32(0), i32(0));
  });

  /** (cpu, i): pushes a copy of ST(i). */
  const pushRegister = module.function('x87-push-register', { params: ['i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const index = get(f.parameter(1, 'i32'));
    f.if(
      isEmpty(cpu, index),
      () => underflow(f, cpu),
      () => {
        clearRaised(f, cpu);
        setResult(f, cpu, significandOf(cpu, index), wordOf(cpu, index));
      },
    );
    f.callVoid(stack.push, cpu);
  });
  /** (cpu): leaves ST(0) as the result, for a store. */
  const peek = module.function('x87-peek', one, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    f.if(
      isEmpty(cpu, 0),
      () => underflow(f, cpu),
      () => {
        clearRaised(f, cpu);
        setResult(f, cpu, significandOf(cpu, 0), wordOf(cpu, 0));
      },
    );
  });
  /** (cpu, i, pops): copies ST(0) to ST(i). */
  const copyRegister = module.function('x87-copy-register', { params: ['i32', 'i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    f.if(
      isEmpty(cpu, 0),
      () => underflow(f, cpu),
      () => {
        clearRaised(f, cpu);
        setResult(f, cpu, significandOf(cpu, 0), wordOf(cpu, 0));
      },
    );
    f.callVoid(stack.commit, cpu, get(f.parameter(1, 'i32')), get(f.parameter(2, 'i32')));
  });
  /** (cpu, i): copies ST(0) to ST(i), unless it is empty, and pops. */
  const copyQuietly = module.function('x87-copy-quietly', { params: ['i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    f.if(
      isEmpty(cpu, 0),
      () => {
        store32(f, cpu, L.FPU_STATUS, d.and(load('i32.load', cpu, L.FPU_STATUS), ~X.STATUS_C1));
        store32(f, cpu, L.FPU_TOP, physical(cpu, 1));
      },
      () => f.callVoid(copyRegister, cpu, get(f.parameter(1, 'i32')), i32(1)),
    );
  });
  const exchange = module.function('x87-exchange', { params: ['i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const index = get(f.parameter(1, 'i32'));
    clearRaised(f, cpu);
    f.if(any(isEmpty(cpu, 0), isEmpty(cpu, index)), () => {
      store32(f, cpu, X.RAISED, i32(X.STATUS_IE | X.STATUS_SF));
      const stops = f.keep(f.call(stack.report, cpu, i32(X.STATUS_IE)) as I32);
      f.if(stops, () => f.return());
      for (const place of [i32(0), index]) {
        f.if(isEmpty(cpu, place), () => {
          const address = f.keep(registerOf(cpu, place));
          f.store('i64.store', address, i64(X.INDEFINITE_SIGNIFICAND), L.FPR);
          f.store('i64.store', address, i64(X.INDEFINITE_EXPONENT), L.FPR + 8);
          const valid = load('i32.load', cpu, L.FPU_VALID);
          store32(f, cpu, L.FPU_VALID, d.or(valid, d.shl(1, physical(cpu, place))));
        });
      }
    });
    f.store('i32.store', cpu, d.and(load('i32.load', cpu, L.FPU_STATUS), ~X.STATUS_C1), L.FPU_STATUS);
    const first = f.keep(registerOf(cpu, 0));
    const second = f.keep(registerOf(cpu, index));
    const value = f.keep(load('v128.load', first, L.FPR));
    f.store('v128.store', first, load('v128.load', second, L.FPR), L.FPR);
    f.store('v128.store', second, value, L.FPR);
  });
  /** (cpu, i, condition): FCMOVcc. */
  const move = module.function('x87-move', { params: ['i32', 'i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const index = f.keep(select(get(f.parameter(2, 'i32')), get(f.parameter(1, 'i32')), i32(0)));
    f.if(
      any(isEmpty(cpu, 0), isEmpty(cpu, get(f.parameter(1, 'i32')))),
      () => underflow(f, cpu),
      () => {
        clearRaised(f, cpu);
        setResult(f, cpu, significandOf(cpu, index), wordOf(cpu, index));
      },
    );
    f.callVoid(stack.commitMove, cpu);
  });
  /** (cpu, pops): after a store to memory, which exceptions among these would have prevented. */
  const finishStore = module.function('x87-finish-store', { params: ['i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const stops = f.keep(f.call(stack.report, cpu, i32(X.STORE_EXCEPTIONS)) as I32);
    f.if(any(d.ne(stops, 0), d.zero(get(f.parameter(1, 'i32')))), () => f.return());
    const top = f.keep(load('i32.load', cpu, L.FPU_TOP));
    store32(f, cpu, L.FPU_VALID, d.and(load('i32.load', cpu, L.FPU_VALID), d.xor(d.shl(1, top), -1)));
    store32(f, cpu, L.FPU_TOP, d.and(d.add(top, 1), 7));
  });

  return new Map([
    ['x87-sqrt', squareRoot],
    ['x87-round-integral', toIntegral],
    ['x87-scale', scale],
    ['x87-extract', extract],
    ['x87-remainder', remainder],
    ['x87-examine', examine],
    ['x87-sign', changeSign],
    ['x87-push-register', pushRegister],
    ['x87-peek', peek],
    ['x87-copy-register', copyRegister],
    ['x87-copy-quietly', copyQuietly],
    ['x87-exchange', exchange],
    ['x87-move', move],
    ['x87-finish-store', finishStore],
  ]);
}
