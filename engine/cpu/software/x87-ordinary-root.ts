import { highProduct } from '../x86/instructions/products.ts';
import * as X from '../x86/x87/registers.ts';
import { d, q } from './wasm/arithmetic.ts';
import {
  type Expression,
  type FunctionReference,
  get,
  type I64,
  i32,
  i64,
  op,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import {
  checkControl,
  fromRegister,
  placeOf,
  roundOrdinary,
  stackState,
  unlessFilled,
  unrounded,
  writeRegister,
  writeStatus,
} from './x87-ordinary.ts';

type F64 = Expression<'f64'>;

/** A constant of type f64. */
function real(value: number): F64 {
  return op('f64.reinterpret_i64', i64(new BigInt64Array(new Float64Array([value]).buffer)[0] ?? 0n));
}

/** How close to a whole number or a half the estimate may come, several times what it may be off by. */
const MARGIN = 2 ** -30;

/** x87-sqrt: (cpu). Falls back to `thorough`; without `quick` at once. */
export function buildOrdinaryRoot(
  module: ModuleBuilder,
  thorough: FunctionReference,
  quick: boolean,
): FunctionReference {
  return module.function('x87-sqrt', thorough.type, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    if (quick) {
      f.block((slow) => {
        const state = stackState(f, cpu);
        unlessFilled(f, slow, state, state.top);
        const place = placeOf(f, state, state.top);
        const control = checkControl(f, slow, cpu);
        const { significand, exponent, word, unusual } = fromRegister(f, place);
        for (const condition of [...unusual, d.and(word, X.SIGN)]) {
          f.brIf(slow, condition);
        }
        const value = unrounded(f);
        const odd = f.keep(d.and(d.xor(exponent, X.EXPONENT_BIAS), 1));
        // The root of the 128-bit high:low, which is the significand times 2^63 or 2^64.
        const high = f.keep(q.shr(significand, q.fromU32(d.xor(odd, 1))));
        const low = f.keep(select(odd, i64(0), q.shl(significand, 63)));
        const toReal = (integer: I64): F64 => op('f64.convert_i64_s', integer);
        // A first value less than 2^13 off, halved to stay below 2^63.
        const half = op('f64.mul', op('f64.sqrt', toReal(q.shr(high, 1))), real(Math.sqrt(2 ** 63)));
        const root = f.keep(q.shl(op('i64.trunc_sat_f64_s', half), 1));
        const squareLow = f.keep(q.mul(root, root));
        const squareHigh = highProduct(root, root, (part) => f.keep(part));
        const restHigh = f.keep(q.sub(q.sub(high, squareHigh), q.fromU32(q.ltU(low, squareLow))));
        const restLow = q.sub(low, squareLow);
        const rest = op(
          'f64.add',
          op('f64.mul', toReal(restHigh), real(2 ** 64)),
          op('f64.mul', toReal(q.shr(restLow, 1)), real(2)),
        );
        // Newton's step, itself off by less than 2^-34: the next term is below 2^-36, and the rest, below 2^78, is good to
        // 53 bits. So the step's fraction tells how to round, unless it is next to a whole number or a half.
        const step = f.keep(op('f64.div', rest, op('f64.mul', toReal(q.shr(root, 1)), real(4))));
        const whole = f.keep(op('f64.floor', step));
        const beyond = f.keep(op('f64.sub', op('f64.sub', step, whole), real(0.5)));
        const distance = f.keep(op('f64.abs', beyond));
        f.brIf(slow, d.zero(op('f64.gt', distance, real(MARGIN))));
        f.brIf(slow, d.zero(op('f64.lt', distance, real(0.5 - MARGIN))));
        f.set(value.high, q.add(root, op('i64.trunc_sat_f64_s', whole)));
        f.set(value.low, select(op('f64.gt', beyond, real(0)), i64(3n << 62n), i64(1n << 62n)));
        f.brIf(slow, q.geS(get(value.high), 0));
        f.set(value.exponent, d.add(d.sar(d.sub(exponent, X.EXPONENT_BIAS), 1), X.EXPONENT_BIAS));
        f.set(value.sign, i32(0));
        roundOrdinary(f, slow, value, control);
        writeRegister(f, place, get(value.high), get(value.exponent));
        writeStatus(f, cpu, get(value.flags));
        f.return();
      });
    }
    f.callVoid(thorough, cpu);
  });
}
