import { defined } from '../../base/assert.ts';
import * as X from '../x86/x87/registers.ts';
import { d, q } from './wasm/arithmetic.ts';
import { type FunctionReference, get, i64, load } from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { buildArithmetic80, isNan } from './x87-arithmetic.ts';
import { buildConversions } from './x87-conversions.ts';
import { buildImages } from './x87-image.ts';
import { buildOrdinaryArithmetic } from './x87-ordinary-arithmetic.ts';
import { buildOrdinaryMoves } from './x87-ordinary-moves.ts';
import { buildOrdinaryRoot } from './x87-ordinary-root.ts';
import { buildRounding, raise } from './x87-rounding.ts';
import { buildScaling } from './x87-scaling.ts';
import { buildStack, clearRaised, control, isEmpty, significandOf, underflow, wordOf } from './x87-stack.ts';

/**
 * The x87 unit: exact arithmetic on 80-bit reals in 64-bit integers, and the register stack. Functions leave their value
 * in RESULT and the exceptions in RAISED; those that push or commit turn them into registers and status. Ordinary numbers take a quick way
 * (x87-ordinary.ts), unless `quick` is false.
 */
export function buildX87(
  module: ModuleBuilder,
  multiplyHigh: FunctionReference,
  quick = true,
): Map<string, FunctionReference> {
  const rounding = buildRounding(module);
  const arithmetic = buildArithmetic80(module, rounding, multiplyHigh);
  const conversions = buildConversions(module);
  const stack = buildStack(module, arithmetic);

  /** (cpu): pushes a result that came from a narrower real: signaling NaNs become quiet, denormals are reported. */
  const pushReal = module.function('x87-push-real', { params: ['i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    clearRaised(f, cpu);
    const word = f.keep(load('i32.load', cpu, X.RESULT_EXPONENT));
    f.if(d.and(word, X.WAS_DENORMAL), () => raise(f, cpu, X.STATUS_DE));
    const significand = f.keep(load('i64.load', cpu, X.RESULT));
    f.if(isNan(significand, d.and(word, X.EXPONENT_MAX)), () => {
      f.if(q.zero(q.and(significand, 1n << 62n)), () => raise(f, cpu, X.STATUS_IE));
      f.store('i64.store', cpu, q.or(significand, 1n << 62n), X.RESULT);
    });
    f.callVoid(stack.push, cpu);
  });

  // What FST and FIST store: the exceptions are left in RAISED for the instruction to report after the store.
  const narrow = (name: string, target: FunctionReference, indefinite: bigint) =>
    module.function(name, { params: ['i32'], results: ['i64'] }, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      f.if(isEmpty(cpu, 0), () => {
        underflow(f, cpu);
        f.return(i64(indefinite));
      });
      clearRaised(f, cpu);
      f.return(f.call(target, cpu, significandOf(cpu, 0), wordOf(cpu, 0), control(cpu)));
      f.unreachable();
    });
  const storeSingle = narrow('x87-store-single', conversions.toSingle, 0xffc00000n);
  const storeDouble = narrow('x87-store-double', conversions.toDouble, 0xfff8000000000000n);
  const integerType = { params: ['i32', 'i32', 'i32'], results: ['i64'] } as const;
  /** (cpu, bits, truncating). */
  const storeInteger = module.function('x87-store-integer', integerType, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const bits = get(f.parameter(1, 'i32'));
    const truncating = get(f.parameter(2, 'i32'));
    f.if(isEmpty(cpu, 0), () => {
      underflow(f, cpu);
      f.return(q.shl(-1, q.fromU32(d.sub(bits, 1))));
    });
    clearRaised(f, cpu);
    const word = d.or(control(cpu), d.mul(truncating, X.CONTROL_ROUNDING));
    f.return(f.call(conversions.toInteger, cpu, significandOf(cpu, 0), wordOf(cpu, 0), word, bits));
    f.unreachable();
  });
  const storeDecimal = module.function('x87-store-decimal', { params: ['i32'], results: ['i64'] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    f.if(isEmpty(cpu, 0), () => {
      underflow(f, cpu);
      f.store('i64.store', cpu, i64(0xffff), X.SECOND);
      f.return(i64(X.INDEFINITE_SIGNIFICAND));
    });
    clearRaised(f, cpu);
    f.return(f.call(conversions.toDecimal, cpu, significandOf(cpu, 0), wordOf(cpu, 0), control(cpu)));
    f.unreachable();
  });

  const others = new Map(buildScaling(module, { rounding, arithmetic, conversions, stack }));
  const thorough = { stack, conversions, pushReal, storeSingle, storeDouble, storeInteger, others };
  return new Map<string, FunctionReference>([
    ['x87-push', stack.push],
    ['x87-commit', stack.commit],
    ['x87-report', stack.report],
    ['x87-from-decimal', conversions.fromDecimal],
    ['x87-store-decimal', storeDecimal],
    ...others,
    ...buildOrdinaryArithmetic(module, stack, conversions, quick),
    ...buildOrdinaryMoves(module, thorough, quick),
    ['x87-sqrt', buildOrdinaryRoot(module, defined(others.get('x87-sqrt'), 'x87-sqrt'), quick)],
    ...buildImages(module),
  ]);
}
