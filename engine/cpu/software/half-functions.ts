import * as M from '../x86/mxcsr.ts';
import {
  BINARY16,
  BINARY32,
  buildRound,
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
import { all, d, q } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  laneOp,
  op,
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { zeroVector } from './wasm/vectors.ts';

const VECTOR = { params: ['i32', 'i32', 'v128'], results: ['v128'] } as const;

/** (cpu, half) → single. Exact; denormals are numbers like others whatever MXCSR says. */
function buildWiden(module: ModuleBuilder): FunctionReference {
  return module.function('sse-widen-half', { params: ['i32', 'i32'], results: ['i32'] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const half = get(f.parameter(1, 'i32'));
    const sign = f.keep(d.shl(d.and(half, 0x8000), 16));
    const size = f.keep(d.and(half, 0x7fff));
    f.if(d.geS(size, 0x7c00), () => {
      const payload = f.keep(d.shl(d.and(size, 0x3ff), 13));
      f.if(all(d.ne(payload, 0), d.zero(d.and(payload, 1 << 22))), () => raise(f, cpu, M.MXCSR_IE));
      const quiet = select(payload, i32(1 << 22), i32(0));
      f.return(d.or(d.or(sign, 0x7f800000), d.or(payload, quiet)));
    });
    f.if(d.geS(size, 0x400), () => f.return(d.or(sign, d.add(d.shl(size, 13), (127 - 15) << 23))));
    // Denormals and zero: their fraction in units of 2^-24.
    const unit = op('f32.reinterpret_i32', i32((127 - 24) << 23));
    f.return(d.or(sign, op('i32.reinterpret_f32', op('f32.mul', op('f32.convert_i32_s', size), unit))));
    f.unreachable();
  });
}

/** (cpu, control, single) → half, rounded by `control` in place of MXCSR; denormals count as zero with MXCSR.DAZ. */
function buildNarrow(module: ModuleBuilder): FunctionReference {
  const round = buildRound(module, BINARY16, true);
  return module.function('sse-narrow-half', { params: ['i32', 'i32', 'i64'], results: ['i32'] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const control = get(f.parameter(1, 'i32'));
    const a = get(f.parameter(2, 'i64'));
    const sign = f.keep(d.wrap(q.shl(q.shr(a, 31), 15)));
    f.if(q.zero(magnitude(BINARY32, a)), () => f.return(sign));
    f.if(isDenormal(BINARY32, a), () => {
      f.if(d.and(mxcsr(cpu), M.MXCSR_DAZ), () => f.return(sign));
      raise(f, cpu, M.MXCSR_DE);
    });
    f.if(isNan(BINARY32, a), () => {
      f.if(isSignaling(BINARY32, a), () => raise(f, cpu, M.MXCSR_IE));
      const payload = d.and(d.wrap(q.shr(a, 13)), 0x3ff);
      const special = Number(infinity(BINARY16) | quietBit(BINARY16));
      f.return(d.or(d.or(sign, special), payload));
    });
    f.if(q.eq(magnitude(BINARY32, a), infinity(BINARY32)), () => f.return(d.or(sign, Number(infinity(BINARY16)))));
    const x = unpack(f, BINARY32, a);
    const exponent = d.add(get(x.exponent), BINARY16.bias - BINARY32.bias);
    f.return(d.wrap(f.call(round, cpu, x.sign, exponent, get(x.significand), control) as I64));
    f.unreachable();
  });
}

/** Functions behind VCVTPH2PS and VCVTPS2PH: four numbers at a time, by name. */
export function buildHalf(
  module: ModuleBuilder,
  begin: (f: FunctionBuilder, cpu: I32) => void,
  commit: FunctionReference,
): [string, FunctionReference][] {
  const widen = buildWiden(module);
  const narrow = buildNarrow(module);
  const toSingle = module.function('sse-half-to-single', VECTOR, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const source = get(f.parameter(2, 'v128'));
    const result = f.local('v128');
    begin(f, cpu);
    f.set(result, zeroVector);
    for (let i = 0; i < 4; i++) {
      const value = f.call(widen, cpu, laneOp('i16x8.extract_lane_u', i, source));
      f.set(result, laneOp('i32x4.replace_lane', i, get(result), value));
    }
    f.callVoid(commit, cpu);
    f.return(get(result));
    f.unreachable();
  });
  // (cpu, immediate, source): bit 2 of the immediate chooses MXCSR's rounding, else bits 1:0 say it.
  const toHalf = module.function('sse-single-to-half', VECTOR, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const immediate = get(f.parameter(1, 'i32'));
    const source = get(f.parameter(2, 'v128'));
    const result = f.local('v128');
    const current = f.keep(d.and(mxcsr(cpu), ~M.MXCSR_FTZ));
    const own = d.or(d.and(current, ~M.MXCSR_RC), d.shl(d.and(immediate, 3), M.MXCSR_RC_SHIFT));
    const control = f.keep(select(d.and(immediate, 4), current, own));
    begin(f, cpu);
    f.set(result, zeroVector);
    for (let i = 0; i < 4; i++) {
      const value = f.call(narrow, cpu, control, q.fromU32(laneOp('i32x4.extract_lane', i, source)));
      f.set(result, laneOp('i16x8.replace_lane', i, get(result), value));
    }
    f.callVoid(commit, cpu);
    f.return(get(result));
    f.unreachable();
  });
  return [
    ['sse-half-to-single', toSingle],
    ['sse-single-to-half', toHalf],
  ];
}
