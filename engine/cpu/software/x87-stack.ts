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
  load,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { type Arithmetic, isNan, isUnsupported } from './x87-arithmetic.ts';
import { raise, setIndefinite, setResult } from './x87-rounding.ts';

/** ModRM.reg of the basic operations. */
export const ADD = 0;
export const MULTIPLY = 1;
export const SUBTRACT = 4;
export const SUBTRACT_REVERSED = 5;
export const DIVIDE = 6;
export const DIVIDE_REVERSED = 7;

/** Number of the physical register that ST(i) is. */
export function physical(cpu: I32, index: I32 | number): I32 {
  return d.and(d.add(load('i32.load', cpu, L.FPU_TOP), index), 7);
}

/** Arena address (to which FPR is to be added) of ST(i). */
export function registerOf(cpu: I32, index: I32 | number): I32 {
  return d.add(cpu, d.shl(physical(cpu, index), 4));
}

export function isEmpty(cpu: I32, index: I32 | number): I32 {
  return d.zero(d.and(d.shr(load('i32.load', cpu, L.FPU_VALID), physical(cpu, index)), 1));
}

export function significandOf(cpu: I32, index: I32 | number): I64 {
  return load('i64.load', registerOf(cpu, index), L.FPR);
}

export function wordOf(cpu: I32, index: I32 | number): I32 {
  return load('i32.load16_u', registerOf(cpu, index), L.FPR + 8);
}

export function control(cpu: I32): I32 {
  return load('i32.load', cpu, L.FPU_CONTROL);
}

export function clearRaised(f: FunctionBuilder, cpu: I32): void {
  f.store('i32.store', cpu, i32(0), X.RAISED);
}

/** Stack underflow: IE and SF with C1 clear; the default NaN is the result. */
export function underflow(f: FunctionBuilder, cpu: I32): void {
  f.store('i32.store', cpu, i32(X.STATUS_IE | X.STATUS_SF), X.RAISED);
  setIndefinite(f, cpu);
}

export interface Stack {
  /** (cpu): pushes the result, with what was raised. Overflow is checked here. */
  readonly push: FunctionReference;
  /** (cpu, i, pops): writes the result to ST(i), with what was raised, then pops; unless an exception forbids it. */
  readonly commit: FunctionReference;
  /** (cpu, among) → whether exceptions of `among` were raised that are unmasked. Status is updated. */
  readonly report: FunctionReference;
  /** (cpu, kind, i, destination, pops): ST(destination) = ST(0) kind ST(i). */
  readonly operate: FunctionReference;
  /** (cpu, kind): ST(0) = ST(0) kind result. */
  readonly operateMemory: FunctionReference;
  /** (cpu, quiet) compares ST(0) with the result → C0, C2, C3 as in the status word; raises. */
  readonly compareResult: FunctionReference;
  /** (cpu, i, quiet, pops): compares, sets condition codes, pops; with i < 0 with the result. */
  readonly compare: FunctionReference;
  /** (cpu, i, quiet, pops) → conditions, for EFLAGS. */
  readonly compareFlags: FunctionReference;
  /** (cpu): writes the result to ST(0). */
  readonly commitMove: FunctionReference;
}

export function buildStack(module: ModuleBuilder, arithmetic: Arithmetic): Stack {
  /**
   * Merges what was raised into the status word; returns what is unmasked. C1 is clear unless raised; some instructions
   * leave it alone except for stack faults.
   */
  const merge = (f: FunctionBuilder, cpu: I32, keepsC1 = false): I32 => {
    const raised = f.local('i32');
    f.set(raised, load('i32.load', cpu, X.RAISED));
    const masks = f.keep(control(cpu));
    // An unmasked exception that is found beforehand prevents those that the operation itself would find.
    f.if(d.and(d.and(get(raised), d.xor(masks, -1)), X.PRE_EXCEPTIONS), () => {
      const c1 = d.mul(d.and(d.shr(get(raised), 6), 1), X.STATUS_C1);
      f.set(raised, d.and(get(raised), d.or(c1, X.PRE_EXCEPTIONS | X.STATUS_SF)));
    });
    const unmasked = f.keep(d.and(d.and(get(raised), d.xor(masks, -1)), X.EXCEPTIONS));
    const summary = d.mul(d.ne(unmasked, 0), X.STATUS_ES | X.STATUS_B);
    const old = load('i32.load', cpu, L.FPU_STATUS);
    const cleared = keepsC1 ? d.shl(d.and(get(raised), X.STATUS_SF), 3) : i32(X.STATUS_C1);
    const status = d.and(old, d.xor(cleared, -1));
    f.store('i32.store', cpu, d.or(d.or(status, get(raised)), summary), L.FPU_STATUS);
    return unmasked;
  };
  /** Writes the result to a physical register. */
  const writeResult = (f: FunctionBuilder, cpu: I32, number: I32) => {
    const address = f.keep(d.add(cpu, d.shl(number, 4)));
    f.store('i64.store', address, load('i64.load', cpu, X.RESULT), L.FPR);
    f.store('i64.store', address, q.and(load('i64.load32_u', cpu, X.RESULT_EXPONENT), 0xffff), L.FPR + 8);
    f.store('i32.store', cpu, d.or(load('i32.load', cpu, L.FPU_VALID), d.shl(1, number)), L.FPU_VALID);
  };
  const pop = (f: FunctionBuilder, cpu: I32) => {
    const top = f.keep(load('i32.load', cpu, L.FPU_TOP));
    f.store('i32.store', cpu, d.and(load('i32.load', cpu, L.FPU_VALID), d.xor(d.shl(1, top), -1)), L.FPU_VALID);
    f.store('i32.store', cpu, d.and(d.add(top, 1), 7), L.FPU_TOP);
  };
  const pops = (f: FunctionBuilder, cpu: I32, count: I32) => {
    f.if(count, () => pop(f, cpu));
    f.if(d.gtS(count, 1), () => pop(f, cpu));
  };

  const push = module.function('x87-push', { params: ['i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    // An empty source has been found before: its underflow is what is reported.
    const underflowed = d.and(load('i32.load', cpu, X.RAISED), X.STATUS_SF);
    f.if(d.zero(d.or(isEmpty(cpu, 7), underflowed)), () => {
      f.store('i32.store', cpu, i32(X.STATUS_IE | X.STATUS_SF | X.STATUS_C1), X.RAISED);
      setIndefinite(f, cpu);
    });
    const unmasked = merge(f, cpu);
    // Loads push denormals even when they report them.
    f.if(d.and(unmasked, X.PRE_EXCEPTIONS & ~X.STATUS_DE), () => f.return());
    const top = f.keep(physical(cpu, 7));
    f.store('i32.store', cpu, top, L.FPU_TOP);
    writeResult(f, cpu, top);
  });
  const commit = module.function('x87-commit', { params: ['i32', 'i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const index = get(f.parameter(1, 'i32'));
    const count = get(f.parameter(2, 'i32'));
    f.if(d.and(merge(f, cpu), X.PRE_EXCEPTIONS), () => f.return());
    writeResult(f, cpu, f.keep(physical(cpu, index)));
    pops(f, cpu, count);
  });
  const report = module.function('x87-report', { params: ['i32', 'i32'], results: ['i32'] }, (f) => {
    f.return(d.and(merge(f, get(f.parameter(0, 'i32'))), get(f.parameter(1, 'i32'))));
    f.unreachable();
  });

  const apply = module.function(
    'x87-apply',
    { params: ['i32', 'i32', 'i64', 'i32', 'i64', 'i32'], results: [] },
    (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const kind = get(f.parameter(1, 'i32'));
      const a = [get(f.parameter(2, 'i64')), get(f.parameter(3, 'i32'))];
      const b = [get(f.parameter(4, 'i64')), get(f.parameter(5, 'i32'))];
      clearRaised(f, cpu);
      for (const [number, target, reversed] of [
        [ADD, arithmetic.add, false],
        [MULTIPLY, arithmetic.multiply, false],
        [SUBTRACT, arithmetic.subtract, false],
        [SUBTRACT_REVERSED, arithmetic.subtract, true],
        [DIVIDE, arithmetic.divide, false],
        [DIVIDE_REVERSED, arithmetic.divide, true],
      ] as const) {
        f.if(d.eq(kind, number), () => {
          f.callVoid(target, cpu, ...(reversed ? [...b, ...a] : [...a, ...b]), control(cpu));
          f.return();
        });
      }
    },
  );
  const operate = module.function('x87-operate', { params: ['i32', 'i32', 'i32', 'i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const kind = get(f.parameter(1, 'i32'));
    const index = get(f.parameter(2, 'i32'));
    f.if(
      any(isEmpty(cpu, 0), isEmpty(cpu, index)),
      () => underflow(f, cpu),
      () =>
        f.callVoid(
          apply,
          cpu,
          kind,
          significandOf(cpu, 0),
          wordOf(cpu, 0),
          significandOf(cpu, index),
          wordOf(cpu, index),
        ),
    );
    f.callVoid(commit, cpu, get(f.parameter(3, 'i32')), get(f.parameter(4, 'i32')));
  });
  const operateMemory = module.function('x87-operate-memory', { params: ['i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const kind = get(f.parameter(1, 'i32'));
    f.if(
      isEmpty(cpu, 0),
      () => underflow(f, cpu),
      () =>
        f.callVoid(
          apply,
          cpu,
          kind,
          significandOf(cpu, 0),
          wordOf(cpu, 0),
          load('i64.load', cpu, X.RESULT),
          load('i32.load', cpu, X.RESULT_EXPONENT),
        ),
    );
    f.callVoid(commit, cpu, i32(0), i32(0));
  });

  const UNORDERED = X.STATUS_C0 | X.STATUS_C2 | X.STATUS_C3;
  const order = module.function(
    'x87-order',
    { params: ['i32', 'i64', 'i32', 'i64', 'i32', 'i32'], results: ['i32'] },
    (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const a = f.parameter(1, 'i64');
      const aWord = get(f.parameter(2, 'i32'));
      const b = f.parameter(3, 'i64');
      const bWord = get(f.parameter(4, 'i32'));
      const quiet = get(f.parameter(5, 'i32'));
      const aExponent = f.local('i32');
      const bExponent = f.local('i32');
      f.set(aExponent, d.and(aWord, X.EXPONENT_MAX));
      f.set(bExponent, d.and(bWord, X.EXPONENT_MAX));
      const unsupported = any(isUnsupported(get(a), get(aExponent)), isUnsupported(get(b), get(bExponent)));
      f.if(unsupported, () => {
        raise(f, cpu, X.STATUS_IE);
        f.return(i32(UNORDERED));
      });
      const aNan = f.keep(isNan(get(a), get(aExponent)));
      const bNan = f.keep(isNan(get(b), get(bExponent)));
      f.if(any(aNan, bNan), () => {
        const isQuiet = (nan: I32, value: I64) => any(d.zero(nan), q.nonzero(q.and(value, 1n << 62n)));
        f.if(d.zero(all(d.ne(quiet, 0), isQuiet(aNan, get(a)), isQuiet(bNan, get(b)))), () =>
          raise(f, cpu, X.STATUS_IE),
        );
        f.return(i32(UNORDERED));
      });
      for (const [value, exponent, word] of [
        [a, aExponent, aWord],
        [b, bExponent, bWord],
      ] as const) {
        f.if(all(d.zero(get(exponent)), q.nonzero(get(value))), () => {
          // Denormals and pseudo-denormals have the same scale as exponent 1.
          f.set(exponent, i32(1));
          raise(f, cpu, X.STATUS_DE);
        });
        f.if(d.and(word, X.WAS_DENORMAL), () => raise(f, cpu, X.STATUS_DE));
      }
      const aNegative = f.keep(d.and(aWord, X.SIGN));
      const bothZero = q.zero(q.or(get(a), get(b)));
      f.if(bothZero, () => f.return(i32(X.STATUS_C3)));
      f.if(d.ne(aNegative, d.and(bWord, X.SIGN)), () => f.return(select(aNegative, i32(X.STATUS_C0), i32(0))));
      // A zero has the smallest exponent, so that exponents decide first.
      const larger = f.keep(
        any(d.gtS(get(aExponent), get(bExponent)), all(d.eq(get(aExponent), get(bExponent)), q.gtU(get(a), get(b)))),
      );
      f.if(all(d.eq(get(aExponent), get(bExponent)), q.eq(get(a), get(b))), () => f.return(i32(X.STATUS_C3)));
      f.return(select(d.eq(larger, d.ne(aNegative, 0)), i32(X.STATUS_C0), i32(0)));
      f.unreachable();
    },
  );
  const compareResult = module.function('x87-compare-result', { params: ['i32', 'i32'], results: ['i32'] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const quiet = get(f.parameter(1, 'i32'));
    f.if(isEmpty(cpu, 0), () => {
      underflow(f, cpu);
      f.return(i32(UNORDERED));
    });
    clearRaised(f, cpu);
    f.return(
      f.call(
        order,
        cpu,
        significandOf(cpu, 0),
        wordOf(cpu, 0),
        load('i64.load', cpu, X.RESULT),
        load('i32.load', cpu, X.RESULT_EXPONENT),
        quiet,
      ),
    );
    f.unreachable();
  });
  /** Compares ST(0) with ST(i), or the result for i < 0; pops unless an exception forbids it. */
  const buildCompare = (name: string, keepsC1: boolean) =>
    module.function(name, { params: ['i32', 'i32', 'i32', 'i32'], results: ['i32'] }, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const index = get(f.parameter(1, 'i32'));
      const quiet = get(f.parameter(2, 'i32'));
      const count = get(f.parameter(3, 'i32'));
      const conditions = f.local('i32');
      f.if(d.geS(index, 0), () => {
        f.if(
          isEmpty(cpu, index),
          () => f.set(conditions, i32(-1)),
          () => setResult(f, cpu, significandOf(cpu, index), wordOf(cpu, index)),
        );
      });
      f.if(
        get(conditions),
        () => {
          underflow(f, cpu);
          f.set(conditions, i32(UNORDERED));
        },
        () => f.set(conditions, f.call(compareResult, cpu, quiet) as I32),
      );
      f.if(d.zero(d.and(merge(f, cpu, keepsC1), X.PRE_EXCEPTIONS)), () => pops(f, cpu, count));
      f.return(get(conditions));
      f.unreachable();
    });
  const compareFlags = buildCompare('x87-compare-flags', true);
  const compareStatus = buildCompare('x87-compare-status', false);
  const compare = module.function('x87-compare', { params: ['i32', 'i32', 'i32', 'i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const parameters = [1, 2, 3].map((index) => get(f.parameter(index, 'i32')));
    const conditions = f.keep(f.call(compareStatus, cpu, ...parameters) as I32);
    const old = d.and(load('i32.load', cpu, L.FPU_STATUS), ~UNORDERED);
    f.store('i32.store', cpu, d.or(old, conditions), L.FPU_STATUS);
  });
  /** FCMOVcc: like a commit to ST(0) that leaves C1 alone. */
  const commitMove = module.function('x87-commit-move', { params: ['i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    f.if(d.and(merge(f, cpu, true), X.PRE_EXCEPTIONS), () => f.return());
    writeResult(f, cpu, f.keep(physical(cpu, 0)));
  });
  return { push, commit, report, operate, operateMemory, compareResult, compare, compareFlags, commitMove };
}
