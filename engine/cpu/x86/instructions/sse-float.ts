import {
  type Expression,
  get,
  type I32,
  i32,
  laneOp,
  op,
  select,
  type V128,
} from '../../software/wasm/function-builder.ts';
import { shuffleLanes, v32, zeroVector } from '../../software/wasm/vectors.ts';
import * as M from '../mxcsr.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder, Integer } from './instruction-builder.ts';
import {
  allOf,
  areComparable,
  areNormal,
  type Bits,
  commonMode,
  exactCommon,
  exactPacked,
  exactScalar,
  isComparable,
  isNormal,
  toHelper,
} from './sse-float-support.ts';

const sse = { unit: 'sse' } as const;

/** The four forms of an instruction: suffix, mandatory prefix, format, packed. */
const FORMS = [
  ['ps', 'NP', 32, true],
  ['pd', '66', 64, true],
  ['ss', 'F3', 32, false],
  ['sd', 'F2', 64, false],
] as const;

/** A scalar as WebAssembly's number, and back. */
function toFloat(bits: Bits, value: Integer): Expression<'f32' | 'f64'> {
  return bits === 64 ? op('f64.reinterpret_i64', value) : op('f32.reinterpret_i32', value);
}

function fromFloat(bits: Bits, value: Expression): Integer {
  return bits === 64 ? op('i64.reinterpret_f64', value) : op('i32.reinterpret_f32', value);
}

function defineArithmetic(table: InstructionTable): void {
  for (const [name, opcode, code, operation] of [
    ['add', '58', M.LANE_ADD, 'add'],
    ['mul', '59', M.LANE_MULTIPLY, 'mul'],
    ['sub', '5C', M.LANE_SUBTRACT, 'sub'],
    ['div', '5E', M.LANE_DIVIDE, 'div'],
  ] as const) {
    for (const [suffix, prefix, bits, packed] of FORMS) {
      const type = packed ? 'x' : bits === 64 ? 'q' : 'd';
      const encoding = `${prefix} 0F ${opcode} /r : V${type} W${type}`;
      table.define(`${name}${suffix}`, encoding, { ...sse, hot: !packed && (bits === 64 || name !== 'div') }, (b) => {
        if (packed) {
          const c = b.readVector(1);
          const a = b.readVector(0);
          const r = b.keep(op(`${bits === 64 ? 'f64x2' : 'f32x4'}.${operation}`, a, c));
          b.f.if(
            allOf(commonMode(b), areNormal(bits, a, c, r)),
            () => b.writeVector(0, r),
            () => b.writeVector(0, exactCommon(b, bits, operation, a, c)),
          );
          return;
        }
        const c = b.read(1);
        const a = b.read(0);
        const computed = op(`f${bits}.${operation}`, toFloat(bits, a), toFloat(bits, c));
        const r = b.keep(fromFloat(bits, computed));
        b.f.if(
          allOf(commonMode(b), isNormal(b, bits, a), isNormal(b, bits, c), isNormal(b, bits, r)),
          () => b.write(0, r),
          () => b.write(0, exactScalar(b, bits, i32(code), a, c)),
        );
      });
    }
  }
  for (const [suffix, prefix, bits, packed] of FORMS) {
    const type = packed ? 'x' : bits === 64 ? 'q' : 'd';
    table.define(`sqrt${suffix}`, `${prefix} 0F 51 /r : V${type} W${type}`, sse, (b) => {
      const code = i32(M.LANE_SQUARE_ROOT);
      if (packed) {
        const c = b.readVector(1);
        const r = b.keep(op(`${bits === 64 ? 'f64x2' : 'f32x4'}.sqrt`, c));
        b.f.if(
          allOf(commonMode(b), areNormal(bits, c, r)),
          () => b.writeVector(0, r),
          () => b.writeVector(0, exactPacked(b, bits, code, c, c)),
        );
        return;
      }
      const c = b.read(1);
      const r = b.keep(fromFloat(bits, op(`f${bits}.sqrt`, toFloat(bits, c))));
      b.f.if(
        allOf(commonMode(b), isNormal(b, bits, c), isNormal(b, bits, r)),
        () => b.write(0, r),
        () => b.write(0, exactScalar(b, bits, code, c, c)),
      );
    });
  }
}

/** MINxx and MAXxx return the second operand unless the first is truly less or greater. */
function defineExtremes(table: InstructionTable): void {
  for (const [name, opcode, code] of [
    ['min', '5D', M.LANE_MINIMUM],
    ['max', '5F', M.LANE_MAXIMUM],
  ] as const) {
    for (const [suffix, prefix, bits, packed] of FORMS) {
      const type = packed ? 'x' : bits === 64 ? 'q' : 'd';
      table.define(`${name}${suffix}`, `${prefix} 0F ${opcode} /r : V${type} W${type}`, sse, (b) => {
        if (packed) {
          const c = b.readVector(1);
          const a = b.readVector(0);
          b.f.if(
            areComparable(bits, a, c),
            () => b.writeVector(0, op(`${bits === 64 ? 'f64x2' : 'f32x4'}.p${name}`, c, a)),
            () => b.writeVector(0, exactPacked(b, bits, i32(code), a, c)),
          );
          return;
        }
        const c = b.read(1);
        const a = b.read(0);
        const first = op(`f${bits}.${name === 'min' ? 'lt' : 'gt'}`, toFloat(bits, a), toFloat(bits, c));
        b.f.if(
          allOf(isComparable(b, bits, a), isComparable(b, bits, c)),
          () => b.write(0, select(first, a, c)),
          () => b.write(0, exactScalar(b, bits, i32(code), a, c)),
        );
      });
    }
  }
}

/** CMPxx by predicate 0–7: EQ, LT, LE, UNORD and their negations. */
function defineCompare(table: InstructionTable): void {
  for (const [suffix, prefix, bits, packed] of FORMS) {
    const type = packed ? 'x' : bits === 64 ? 'q' : 'd';
    table.define(`cmp${suffix}`, `${prefix} 0F C2 /r : V${type} W${type} Ib`, sse, (b) => {
      const predicate = b.keep(op('i32.and', b.read(2), i32(7))) as I32;
      const code = () => op('i32.or', predicate, i32(M.LANE_COMPARE));
      const bit = (n: number) => op('i32.and', predicate, i32(n));
      if (packed) {
        const f = bits === 64 ? 'f64x2' : 'f32x4';
        const c = b.readVector(1);
        const a = b.readVector(0);
        // Without NaNs UNORD is false everywhere.
        const positive = select(
          bit(2),
          select(bit(1), zeroVector, op(`${f}.le`, a, c)),
          select(bit(1), op(`${f}.lt`, a, c), op(`${f}.eq`, a, c)),
        );
        const inverted = op('i32x4.splat', op('i32.sub', i32(0), op('i32.shr_u', predicate, i32(2))));
        b.f.if(
          areComparable(bits, a, c),
          () => b.writeVector(0, op('v128.xor', positive, inverted)),
          () => b.writeVector(0, exactPacked(b, bits, code(), a, c)),
        );
        return;
      }
      const c = b.read(1);
      const a = b.read(0);
      const test = (name: 'eq' | 'lt' | 'le') => op(`f${bits}.${name}`, toFloat(bits, a), toFloat(bits, c));
      const positive = select(bit(2), select(bit(1), i32(0), test('le')), select(bit(1), test('lt'), test('eq')));
      const mask = op('i32.sub', i32(0), op('i32.xor', positive, op('i32.shr_u', predicate, i32(2))));
      b.f.if(
        allOf(isComparable(b, bits, a), isComparable(b, bits, c)),
        () => b.write(0, bits === 64 ? op('i64.extend_i32_s', mask) : mask),
        () => b.write(0, exactScalar(b, bits, code(), a, c)),
      );
    });
  }
  for (const [suffix, prefix, bits] of [
    ['ss', 'NP', 32],
    ['sd', '66', 64],
  ] as const) {
    const type = bits === 64 ? 'q' : 'd';
    for (const [name, opcode, strict] of [
      ['ucomi', '2E', 0],
      ['comi', '2F', 1],
    ] as const) {
      table.define(
        `${name}${suffix}`,
        `${prefix} 0F ${opcode} /r : V${type} W${type}`,
        { ...sse, hot: bits === 64 || strict === 1 },
        (b) => {
          const c = b.read(1);
          const a = b.read(0);
          const less = b.f.local('i32');
          const equal = b.f.local('i32');
          const unordered = b.f.local('i32');
          b.f.if(
            allOf(isComparable(b, bits, a), isComparable(b, bits, c)),
            () => {
              b.f.set(less, op(`f${bits}.lt`, toFloat(bits, a), toFloat(bits, c)));
              b.f.set(equal, op(`f${bits}.eq`, toFloat(bits, a), toFloat(bits, c)));
              b.f.set(unordered, i32(0));
            },
            () => {
              const helper = b.helper(`sse-compare${bits}`);
              const outcome = b.keep(b.f.call(helper, get(b.cpu), toHelper(a), toHelper(c), i32(strict)));
              b.leaveOnFault();
              const among = (set: number) => op('i32.ne', op('i32.and', outcome, i32(set)), i32(0));
              b.f.set(unordered, among(M.UNORDERED));
              b.f.set(less, among(M.LESS | M.UNORDERED));
              b.f.set(equal, among(M.EQUAL | M.UNORDERED));
            },
          );
          b.flagsCompare(get(equal), get(unordered), get(less));
        },
      );
    }
  }
}

/** Lanes combined within vectors: HADDxx, HSUBxx, ADDSUBxx, DPxx. */
function defineHorizontal(table: InstructionTable): void {
  for (const [suffix, prefix, bits] of [
    ['pd', '66', 64],
    ['ps', 'F2', 32],
  ] as const) {
    const f = bits === 64 ? 'f64x2' : 'f32x4';
    const size = bits === 64 ? 8 : 4;
    const lanes = 16 / size;
    const every = (odd: number) => Array.from({ length: lanes }, (_, i) => 2 * i + odd);
    const combine = (b: InstructionBuilder, a: V128, c: V128, r: V128, exact: () => V128) =>
      b.f.if(
        allOf(commonMode(b), areNormal(bits, a, c, r)),
        () => b.writeVector(0, r),
        () => b.writeVector(0, exact()),
      );
    for (const [name, opcode, operation] of [
      ['hadd', '7C', 'add'],
      ['hsub', '7D', 'sub'],
    ] as const) {
      table.define(`${name}${suffix}`, `${prefix} 0F ${opcode} /r : Vx Wx`, sse, (b) => {
        const source = b.readVector(1);
        const destination = b.readVector(0);
        const left = b.keep(shuffleLanes(size, every(0), destination, source));
        const right = b.keep(shuffleLanes(size, every(1), destination, source));
        const r = b.keep(op(`${f}.${operation}`, left, right));
        combine(b, left, right, r, () => exactCommon(b, bits, operation, left, right));
      });
    }
    table.define(`addsub${suffix}`, `${prefix} 0F D0 /r : Vx Wx`, sse, (b) => {
      const c = b.readVector(1);
      const a = b.readVector(0);
      const order = Array.from({ length: lanes }, (_, i) => (i & 1 ? lanes + i : i));
      const r = b.keep(shuffleLanes(size, order, op(`${f}.sub`, a, c), op(`${f}.add`, a, c)));
      combine(b, a, c, r, () => exactPacked(b, bits, i32(M.LANE_SUBTRACT_ADD), a, c));
    });
    table.define(`dp${suffix}`, `66 0F 3A ${bits === 64 ? '41' : '40'} /r : Vx Wx Ib`, sse, (b) => {
      const c = b.readVector(1);
      const a = b.readVector(0);
      const helper = b.helper(`sse-dot-product${bits}`);
      const r = b.keep(b.f.call(helper, get(b.cpu), b.read(2), a, c)) as V128;
      b.leaveOnFault();
      b.writeVector(0, r);
    });
  }
}

function defineRounding(table: InstructionTable): void {
  for (const [suffix, opcode, bits, packed] of [
    ['ps', '08', 32, true],
    ['pd', '09', 64, true],
    ['ss', '0A', 32, false],
    ['sd', '0B', 64, false],
  ] as const) {
    const type = packed ? 'x' : bits === 64 ? 'q' : 'd';
    table.define(`round${suffix}`, `66 0F 3A ${opcode} /r : V${type} W${type} Ib`, sse, (b) => {
      const code = b.keep(op('i32.or', op('i32.and', b.read(2), i32(15)), i32(M.LANE_ROUND))) as I32;
      if (packed) {
        const c = b.readVector(1);
        b.writeVector(0, exactPacked(b, bits, code, c, c));
      } else {
        const c = b.read(1);
        b.write(0, exactScalar(b, bits, code, c, c));
      }
    });
  }
}

/**
 * RCPxx and RSQRTxx: approximations with a relative error of at most 2^−12 (the manual asks for 1.5 × 2^−12). Denormal
 * operands count as zeros, tiny results become zeros, and no exceptions are raised.
 */
function defineApproximations(table: InstructionTable): void {
  const flush = (b: InstructionBuilder, value: V128): V128 => {
    const tiny = op(
      'f32x4.lt',
      op('f32x4.abs', value),
      v32(() => 0x00800000),
    );
    const sign = v32(() => 0x80000000);
    return b.keep(op('v128.bitselect', op('v128.and', value, sign), value, b.keep(tiny)));
  };
  const approximate = (b: InstructionBuilder, root: boolean, operand: V128): V128 => {
    const x = flush(b, operand);
    const one = v32(() => 0x3f800000);
    const exact = flush(b, b.keep(op('f32x4.div', one, root ? op('f32x4.sqrt', x) : x)));
    // Eleven bits of fraction are left.
    const rounded = op(
      'v128.and',
      op(
        'i32x4.add',
        exact,
        v32(() => 0x800),
      ),
      v32(() => 0xfffff000),
    );
    const valid = root
      ? op(
          'v128.bitselect',
          v32(() => 0xffc00000),
          rounded,
          op('f32x4.lt', x, zeroVector),
        )
      : rounded;
    return op(
      'v128.bitselect',
      op(
        'v128.or',
        x,
        v32(() => 0x00400000),
      ),
      valid,
      op('f32x4.ne', x, x),
    );
  };
  for (const [name, opcode, root] of [
    ['rcp', '53', false],
    ['rsqrt', '52', true],
  ] as const) {
    const options = { ...sse, approximate: true };
    table.define(`${name}ps`, `NP 0F ${opcode} /r : Vx Wx`, options, (b) =>
      b.writeVector(0, approximate(b, root, b.readVector(1))),
    );
    table.define(`${name}ss`, `F3 0F ${opcode} /r : Vd Wd`, options, (b) => {
      const lanes = b.keep(approximate(b, root, b.readLowVector(1)));
      b.write(0, laneOp('i32x4.extract_lane', 0, lanes));
    });
  }
}

/** Floating-point arithmetic and comparisons. */
export function defineSseFloat(table: InstructionTable): void {
  defineArithmetic(table);
  defineExtremes(table);
  defineCompare(table);
  defineHorizontal(table);
  defineRounding(table);
  defineApproximations(table);
}
