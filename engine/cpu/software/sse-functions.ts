import * as L from '../x86/layout.ts';
import * as M from '../x86/mxcsr.ts';
import { buildBitFunctions } from './bit-functions.ts';
import { buildCipher } from './cipher-functions.ts';
import { buildFused } from './fused-functions.ts';
import { buildGalois } from './galois-functions.ts';
import { buildHalf } from './half-functions.ts';
import { buildHashes } from './hash-functions.ts';
import { buildLaneArithmetic, type LaneArithmetic } from './sse-arithmetic.ts';
import { buildLaneConversions, type LaneConversions } from './sse-conversions.ts';
import { BINARY32, BINARY64, mxcsr } from './sse-rounding.ts';
import { buildStringCompare } from './string-compare-functions.ts';
import { any, d, q } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Label,
  laneOp,
  load,
  op,
  select,
  type V128,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { v32, v64, zeroVector } from './wasm/vectors.ts';

function begin(f: FunctionBuilder, cpu: I32): void {
  f.store(
    'i32.store',
    cpu,
    d.and(load('i32.load', cpu, M.SSE_RAISED), load('i32.load', cpu, M.SSE_DEFERRED)),
    M.SSE_RAISED,
  );
}

/**
 * Adds the exceptions of an operation to MXCSR; if one of them is not masked, sets FAULT: #XM, or #UD when the system has
 * not announced that it handles it (SDM 1, 11.5). Exceptions found before the operation preclude those found after.
 */
function buildCommit(module: ModuleBuilder): FunctionReference {
  return module.function('sse-commit', { params: ['i32'], results: [] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const raised = f.local('i32');
    f.set(raised, load('i32.load', cpu, M.SSE_RAISED));
    f.if(any(d.zero(get(raised)), load('i32.load', cpu, M.SSE_DEFERRED)), () => f.return());
    const control = f.keep(mxcsr(cpu));
    const unmasked = f.keep(
      d.and(get(raised), d.xor(d.and(d.shr(control, M.MXCSR_MASK_SHIFT), M.MXCSR_EXCEPTIONS), M.MXCSR_EXCEPTIONS)),
    );
    f.if(d.and(unmasked, M.MXCSR_PRE_EXCEPTIONS), () => f.set(raised, d.and(get(raised), M.MXCSR_PRE_EXCEPTIONS)));
    f.store('i32.store', cpu, d.or(control, get(raised)), L.MXCSR);
    f.if(unmasked, () => {
      const handled = d.and(load('i32.load', cpu, L.CR4), L.CR4_OSXMMEXCPT);
      const vector = select(handled, i32(L.FAULT_PENDING | L.VECTOR_XM), i32(L.FAULT_PENDING | L.VECTOR_UD));
      f.store('i32.store', cpu, vector, L.FAULT);
    });
    f.return();
  });
}

/** (cpu, operation LANE_*, a, b) → result: one lane, without committing. */
function buildLane(module: ModuleBuilder, lane: LaneArithmetic): FunctionReference {
  const type = { params: ['i32', 'i32', 'i64', 'i64'], results: ['i64'] } as const;
  return module.function(`sse-lane${lane.format.bits}`, type, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const operation = get(f.parameter(1, 'i32'));
    const a = get(f.parameter(2, 'i64'));
    const b = get(f.parameter(3, 'i64'));
    f.if(d.geS(operation, M.LANE_COMPARE), () => {
      // LT, LE and their negations find quiet NaNs invalid too: predicates 1, 2, 5, 6; above 15 it is the others.
      const predicate = f.keep(d.and(operation, 31));
      const strict = d.and(d.xor(d.xor(d.shr(predicate, 1), predicate), d.shr(predicate, 4)), 1);
      const outcome = f.keep(f.call(lane.compare, cpu, a, b, strict)) as I32;
      const accepted = d.wrap(q.shr(M.ACCEPTED_OUTCOMES, q.shl(q.fromU32(d.and(predicate, 15)), 2)));
      f.return(select(d.and(accepted, outcome), i64(lane.format.bits === 64 ? -1n : 0xffffffffn), i64(0)));
    });
    f.if(d.geS(operation, M.LANE_ROUND), () => f.return(f.call(lane.roundToIntegral, cpu, b, operation)));
    const targets: Readonly<Record<number, FunctionReference>> = {
      [M.LANE_ADD]: lane.add,
      [M.LANE_SUBTRACT]: lane.subtract,
      [M.LANE_MULTIPLY]: lane.multiply,
      [M.LANE_DIVIDE]: lane.divide,
      [M.LANE_MINIMUM]: lane.minimum,
      [M.LANE_MAXIMUM]: lane.maximum,
    };
    f.if(d.eq(operation, M.LANE_SQUARE_ROOT), () => f.return(f.call(lane.squareRoot, cpu, b)));
    const entries = Object.entries(targets);
    f.block((otherwise) => {
      const labels: Label[] = [];
      const open = (level: number): void => {
        if (level === 0) {
          const byOperation = Array.from({ length: M.LANE_MAXIMUM + 1 }, (_, code) => {
            const index = entries.findIndex(([key]) => Number(key) === code);
            return index < 0 ? otherwise : (labels[index] as Label);
          });
          f.brTable(operation, byOperation, otherwise);
          return;
        }
        f.block((label) => {
          labels[level - 1] = label;
          open(level - 1);
        });
        const target = entries[level - 1]?.[1];
        if (target !== undefined) {
          f.return(f.call(target, cpu, a, b));
        }
      };
      open(entries.length);
    });
    f.unreachable();
  });
}

function buildPacked(
  module: ModuleBuilder,
  bits: 32 | 64,
  lane: FunctionReference,
  commit: FunctionReference,
): FunctionReference {
  const type = { params: ['i32', 'i32', 'v128', 'v128'], results: ['v128'] } as const;
  return module.function(`sse-packed${bits}`, type, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const operation = get(f.parameter(1, 'i32'));
    const a = get(f.parameter(2, 'v128'));
    const b = get(f.parameter(3, 'v128'));
    const result = f.local('v128');
    begin(f, cpu);
    f.set(result, zeroVector);
    const alternating = f.keep(d.eq(operation, M.LANE_SUBTRACT_ADD));
    for (let i = 0; i < 128 / bits; i++) {
      const one = select(alternating, i32(i & 1 ? M.LANE_ADD : M.LANE_SUBTRACT), operation);
      const value = f.call(lane, cpu, one, extract(bits, i, a), extract(bits, i, b)) as I64;
      f.set(result, replace(bits, i, get(result), value));
    }
    f.callVoid(commit, cpu);
    f.return(get(result));
    f.unreachable();
  });
}

type Common = 'add' | 'sub' | 'mul' | 'div';

/** Lanes in which `result`, of doubles without denormals, is what the operation comes to, to the last bit. */
function exactLanes(f: FunctionBuilder, name: 'add' | 'sub' | 'mul', a: V128, b: V128, result: V128): V128 {
  const isZero = (value: V128) => op('f64x2.eq', value, zeroVector);
  if (name === 'mul') {
    // Significands of 26 bits at most, or a zero.
    const low = op(
      'v128.and',
      op('v128.or', a, b),
      v64(() => 0x7ffffffn),
    );
    return op('v128.or', op('i64x2.eq', low, zeroVector), op('v128.or', isZero(a), isZero(b)));
  }
  // What rounding took from each operand (Knuth's two-sum).
  const other = f.keep(op('f64x2.sub', result, a));
  const first = op('f64x2.sub', a, op('f64x2.sub', result, other));
  const second = op(name === 'add' ? 'f64x2.sub' : 'f64x2.add', b, other);
  return op('v128.and', isZero(first), isZero(second));
}

/**
 * (cpu, a, b) → result of a common operation: in the common mode settles whole vectors at once in which zeros are the
 * only special numbers, and leaves the others to the lane functions. Doubles also while PE is clear, if they are exact.
 */
function buildPackedCommon(
  module: ModuleBuilder,
  bits: 32 | 64,
  name: Common,
  code: number,
  packed: FunctionReference,
): [string, FunctionReference] {
  const shape = bits === 64 ? 'f64x2' : 'f32x4';
  const smallest = bits === 64 ? v64(() => 1n << 52n) : v32(() => 1 << 23);
  const infinite = bits === 64 ? v64(() => 0x7ffn << 52n) : v32(() => 0xff << 23);
  const type = { params: ['i32', 'v128', 'v128'], results: ['v128'] } as const;
  const reference = module.function(`sse-packed-${name}${bits}`, type, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const a = get(f.parameter(1, 'v128'));
    const b = get(f.parameter(2, 'v128'));
    const settle = (exactly: (result: V128) => V128 | undefined) => {
      const result = f.keep(op(`${shape}.${name}`, a, b));
      const size = f.keep(op(`${shape}.abs`, result));
      const isZero = (value: V128) => op(`${shape}.eq`, value, zeroVector);
      const isDenormal = (value: V128) =>
        op('v128.andnot', op(`${shape}.lt`, op(`${shape}.abs`, value), smallest), isZero(value));
      let settled = op('v128.andnot', op(`${shape}.lt`, size, infinite), op('v128.or', isDenormal(a), isDenormal(b)));
      if (name === 'mul' || name === 'div') {
        const zeros = name === 'mul' ? op('v128.or', isZero(a), isZero(b)) : isZero(a);
        settled = op('v128.and', settled, op('v128.or', op(`${shape}.gt`, size, smallest), zeros));
      }
      const exact = exactly(result);
      if (exact !== undefined) {
        settled = op('v128.and', settled, exact);
      }
      f.if(op(bits === 64 ? 'i64x2.all_true' : 'i32x4.all_true', settled), () => f.return(result));
    };
    const mode = f.keep(d.and(mxcsr(cpu), M.MXCSR_COMMON_MASK));
    f.if(d.eq(mode, M.MXCSR_COMMON), () => settle(() => undefined));
    if (bits === 64 && name !== 'div') {
      const modeWithoutPe = M.MXCSR_COMMON & ~M.MXCSR_PE;
      f.if(d.eq(mode, modeWithoutPe), () => settle((result) => exactLanes(f, name, a, b, result)));
    }
    f.return(f.call(packed, cpu, i32(code), a, b));
    f.unreachable();
  });
  return [`sse-packed-${name}${bits}`, reference];
}

/** A lane as the lane functions take it. */
function extract(bits: 32 | 64, lane: number, value: V128): I64 {
  return bits === 64 ? laneOp('i64x2.extract_lane', lane, value) : q.fromU32(laneOp('i32x4.extract_lane', lane, value));
}

function replace(bits: 32 | 64, lane: number, vector: V128, value: I64): V128 {
  return bits === 64
    ? laneOp('i64x2.replace_lane', lane, vector, value)
    : laneOp('i32x4.replace_lane', lane, vector, d.wrap(value));
}

/** DPPS, DPPD: (cpu, immediate, a, b). Each step's exceptions are dealt with before the next (SDM 2A, DPPS). */
function buildDotProduct(
  module: ModuleBuilder,
  bits: 32 | 64,
  lane: LaneArithmetic,
  commit: FunctionReference,
): FunctionReference {
  const type = { params: ['i32', 'i32', 'v128', 'v128'], results: ['v128'] } as const;
  return module.function(`sse-dot-product${bits}`, type, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const immediate = get(f.parameter(1, 'i32'));
    const a = get(f.parameter(2, 'v128'));
    const b = get(f.parameter(3, 'v128'));
    const count = 128 / bits;
    const step = () => {
      f.callVoid(commit, cpu);
      f.if(load('i32.load', cpu, L.FAULT), () => f.return(zeroVector));
      begin(f, cpu);
    };
    begin(f, cpu);
    let terms: I64[] = Array.from({ length: count }, (_, i) =>
      f.ifValue(
        'i64',
        d.and(immediate, 16 << i),
        () => f.call(lane.multiply, cpu, extract(bits, i, a), extract(bits, i, b)) as I64,
        () => i64(0),
      ),
    );
    step();
    // Each lane has its own order of operands: it decides which of several NaNs results.
    for (let distance = 1; distance < count; distance *= 2) {
      const swap = bits === 32 && distance === 1 ? 1 : 0;
      terms = terms.map((_, i) => {
        const first = terms[i ^ (swap * distance)] as I64;
        const second = terms[i ^ distance ^ (swap * distance)] as I64;
        return f.keep(f.call(lane.add, cpu, first, second)) as I64;
      });
      step();
    }
    const result = f.local('v128');
    f.set(result, zeroVector);
    for (let i = 0; i < count; i++) {
      f.if(d.and(immediate, 1 << i), () => f.set(result, replace(bits, i, get(result), terms[i] as I64)));
    }
    f.return(get(result));
    f.unreachable();
  });
}

/** Conversions of vectors, each lane by its function. */
function buildPackedConversions(
  module: ModuleBuilder,
  convert: LaneConversions,
  commit: FunctionReference,
): [string, FunctionReference][] {
  const build = (
    name: string,
    from: 32 | 64,
    to: 32 | 64,
    lanes: number,
    one: (f: FunctionBuilder, cpu: I32, value: I64, control: I32) => I64,
  ): [string, FunctionReference] => {
    const type = { params: ['i32', 'i32', 'v128'], results: ['v128'] } as const;
    const reference = module.function(`sse-${name}`, type, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const control = get(f.parameter(1, 'i32'));
      const value = get(f.parameter(2, 'v128'));
      const result = f.local('v128');
      begin(f, cpu);
      f.set(result, zeroVector);
      for (let i = 0; i < lanes; i++) {
        f.set(result, replace(to, i, get(result), one(f, cpu, extract(from, i, value), control)));
      }
      f.callVoid(commit, cpu);
      f.return(get(result));
      f.unreachable();
    });
    return [`sse-${name}`, reference];
  };
  const call =
    (target: FunctionReference) =>
    (f: FunctionBuilder, cpu: I32, value: I64): I64 =>
      f.call(target, cpu, value) as I64;
  const toInteger =
    (target: FunctionReference) =>
    (f: FunctionBuilder, cpu: I32, value: I64, control: I32): I64 =>
      f.call(target, cpu, value, control, i32(32)) as I64;
  return [
    build('ps2pd', 32, 64, 2, call(convert.widen)),
    build('pd2ps', 64, 32, 2, call(convert.narrow)),
    build(
      'dq2ps',
      32,
      32,
      4,
      (f, cpu, value) => f.call(convert.fromInteger32, cpu, op('i64.extend32_s', value)) as I64,
    ),
    build(
      'pi2ps',
      32,
      32,
      2,
      (f, cpu, value) => f.call(convert.fromInteger32, cpu, op('i64.extend32_s', value)) as I64,
    ),
    build('ps2dq', 32, 32, 4, toInteger(convert.toInteger32)),
    build('ps2pi', 32, 32, 2, toInteger(convert.toInteger32)),
    build('pd2dq', 64, 32, 2, toInteger(convert.toInteger64)),
  ];
}

/** Functions behind vector and bit-field instructions: what they need beyond the plain vector operations, by name. */
export function buildSse(module: ModuleBuilder, multiplyHigh: FunctionReference): [string, FunctionReference][] {
  const single = buildLaneArithmetic(module, BINARY32, multiplyHigh);
  const double = buildLaneArithmetic(module, BINARY64, multiplyHigh);
  const convert = buildLaneConversions(module, single.round, double.round);
  const commit = buildCommit(module);
  const result: [string, FunctionReference][] = [['sse-commit', commit]];
  for (const arithmetic of [single, double]) {
    const { bits } = arithmetic.format;
    const lane = buildLane(module, arithmetic);
    const scalarType = { params: ['i32', 'i32', 'i64', 'i64'], results: ['i64'] } as const;
    const scalar = module.function(`sse-scalar${bits}`, scalarType, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const value = f.local('i64');
      begin(f, cpu);
      const operation = get(f.parameter(1, 'i32'));
      f.set(value, f.call(lane, cpu, operation, get(f.parameter(2, 'i64')), get(f.parameter(3, 'i64'))) as I64);
      f.callVoid(commit, cpu);
      f.return(get(value));
      f.unreachable();
    });
    // (cpu, a, b, whether quiet NaNs are invalid) → outcome.
    const compareType = { params: ['i32', 'i64', 'i64', 'i32'], results: ['i32'] } as const;
    const compare = module.function(`sse-compare-scalar${bits}`, compareType, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const value = f.local('i32');
      begin(f, cpu);
      const strict = get(f.parameter(3, 'i32'));
      f.set(
        value,
        f.call(arithmetic.compare, cpu, get(f.parameter(1, 'i64')), get(f.parameter(2, 'i64')), strict) as I32,
      );
      f.callVoid(commit, cpu);
      f.return(get(value));
      f.unreachable();
    });
    const packed = buildPacked(module, bits, lane, commit);
    result.push(
      buildPackedCommon(module, bits, 'add', M.LANE_ADD, packed),
      buildPackedCommon(module, bits, 'sub', M.LANE_SUBTRACT, packed),
      buildPackedCommon(module, bits, 'mul', M.LANE_MULTIPLY, packed),
      buildPackedCommon(module, bits, 'div', M.LANE_DIVIDE, packed),
      [`sse-scalar${bits}`, scalar],
      [`sse-compare${bits}`, compare],
      [`sse-packed${bits}`, packed],
      [`sse-dot-product${bits}`, buildDotProduct(module, bits, arithmetic, commit)],
      ...buildFused(module, arithmetic, multiplyHigh, begin, commit),
    );
  }
  /** (cpu, value) → converted value. */
  const unary = (name: string, target: FunctionReference) => {
    const type = { params: ['i32', 'i64'], results: ['i64'] } as const;
    const reference = module.function(`sse-scalar-${name}`, type, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const value = f.local('i64');
      begin(f, cpu);
      f.set(value, f.call(target, cpu, get(f.parameter(1, 'i64'))) as I64);
      f.callVoid(commit, cpu);
      f.return(get(value));
      f.unreachable();
    });
    result.push([`sse-scalar-${name}`, reference]);
  };
  unary('widen', convert.widen);
  unary('narrow', convert.narrow);
  unary('from-integer32', convert.fromInteger32);
  unary('from-integer64', convert.fromInteger64);
  /** (cpu, value, rounding control, bits of the integer) → integer. */
  for (const [bits, target] of [
    [32, convert.toInteger32],
    [64, convert.toInteger64],
  ] as const) {
    const type = { params: ['i32', 'i64', 'i32', 'i32'], results: ['i64'] } as const;
    const reference = module.function(`sse-scalar-to-integer${bits}`, type, (f) => {
      const cpu = get(f.parameter(0, 'i32'));
      const value = f.local('i64');
      begin(f, cpu);
      const control = get(f.parameter(2, 'i32'));
      f.set(value, f.call(target, cpu, get(f.parameter(1, 'i64')), control, get(f.parameter(3, 'i32'))) as I64);
      f.callVoid(commit, cpu);
      f.return(get(value));
      f.unreachable();
    });
    result.push([`sse-scalar-to-integer${bits}`, reference]);
  }
  result.push(
    ...buildPackedConversions(module, convert, commit),
    ...buildHalf(module, begin, commit),
    ...buildBitFunctions(module),
    ...buildStringCompare(module),
    ...buildCipher(module),
    ...buildHashes(module),
    ...buildGalois(module),
  );
  return result;
}
