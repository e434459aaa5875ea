import { get, type I32, i32, laneOp, op, select, type V128 } from '../../software/wasm/function-builder.ts';
import { shuffleLanes, v32, zeroVector } from '../../software/wasm/vectors.ts';
import * as M from '../mxcsr.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import {
  allOf,
  areComparable,
  areNormal,
  type Bits,
  commonMode,
  exactCommon,
  exactLanes,
  exactPacked,
  exactScalar,
  FORMS,
  isComparable,
  isNormal,
} from './sse-float-support.ts';
import { withVex, withVex3 } from './vex.ts';

const sse = { unit: 'sse' } as const;

/** Encodings of a form with two sources, and of one with a single source; scalars merge with another one in VEX forms. */
function encodings(prefix: string, opcode: string, bits: Bits, packed: boolean, immediate = ''): string[] {
  const type = packed ? 'x' : bits === 64 ? 'q' : 'd';
  return withVex3(`${prefix} 0F ${opcode} /r : V${type} W${type}${immediate}`, packed ? 'VEX' : 'VEXLIG');
}

function unaryEncodings(prefix: string, opcode: string, bits: Bits, packed: boolean, immediate = ''): string[] {
  return packed
    ? withVex(`${prefix} 0F ${opcode} /r : Vx Wx${immediate}`)
    : encodings(prefix, opcode, bits, packed, immediate);
}

const shape = (bits: Bits) => (bits === 64 ? 'f64x2' : 'f32x4');

function defineArithmetic(table: InstructionTable): void {
  for (const [name, opcode, code, operation] of [
    ['add', '58', M.LANE_ADD, 'add'],
    ['mul', '59', M.LANE_MULTIPLY, 'mul'],
    ['sub', '5C', M.LANE_SUBTRACT, 'sub'],
    ['div', '5E', M.LANE_DIVIDE, 'div'],
  ] as const) {
    for (const [suffix, prefix, bits, packed] of FORMS) {
      const options = { ...sse, hot: !packed && (bits === 64 || name !== 'div') };
      table.define(`${name}${suffix}`, encodings(prefix, opcode, bits, packed), options, (b) => {
        if (packed) {
          const c = b.readLanes(b.right);
          const a = b.readLanes(b.left);
          const r = c.map((value, i) => b.keep(op(`${shape(bits)}.${operation}`, a[i] as V128, value)));
          b.f.if(
            allOf(commonMode(b), areNormal(bits, ...a, ...c, ...r)),
            () => b.writeLanes(0, r),
            () => b.writeLanes(0, exactCommon(b, bits, operation, a, c)),
          );
          return;
        }
        const c = b.read(b.right);
        const a = b.read(b.left);
        const computed = op(`f${bits}.${operation}`, b.asFloat(bits, a), b.asFloat(bits, c));
        const r = b.keepFloat(bits, computed);
        b.f.if(
          allOf(commonMode(b), isNormal(b, bits, a), isNormal(b, bits, c), isNormal(b, bits, r)),
          () => b.writeScalar(r),
          () => b.writeScalar(exactScalar(b, bits, i32(code), a, c)),
        );
      });
    }
  }
  for (const [suffix, prefix, bits, packed] of FORMS) {
    table.define(`sqrt${suffix}`, unaryEncodings(prefix, '51', bits, packed), sse, (b) => {
      const code = i32(M.LANE_SQUARE_ROOT);
      if (packed) {
        const c = b.readLanes(1);
        const r = c.map((value) => b.keep(op(`${shape(bits)}.sqrt`, value)));
        b.f.if(
          allOf(commonMode(b), areNormal(bits, ...c, ...r)),
          () => b.writeLanes(0, r),
          () => b.writeLanes(0, exactPacked(b, bits, code, c, c)),
        );
        return;
      }
      const c = b.read(b.right);
      const r = b.keepFloat(bits, op(`f${bits}.sqrt`, b.asFloat(bits, c)));
      b.f.if(
        allOf(commonMode(b), isNormal(b, bits, c), isNormal(b, bits, r)),
        () => b.writeScalar(r),
        () => b.writeScalar(exactScalar(b, bits, code, c, c)),
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
      table.define(`${name}${suffix}`, encodings(prefix, opcode, bits, packed), sse, (b) => {
        if (packed) {
          const c = b.readLanes(b.right);
          const a = b.readLanes(b.left);
          b.f.if(
            areComparable(bits, ...a, ...c),
            () =>
              b.writeLanes(
                0,
                c.map((value, i) => op(`${shape(bits)}.p${name}`, value, a[i] as V128)),
              ),
            () => b.writeLanes(0, exactPacked(b, bits, i32(code), a, c)),
          );
          return;
        }
        const c = b.read(b.right);
        const a = b.read(b.left);
        const first = op(`f${bits}.${name === 'min' ? 'lt' : 'gt'}`, b.asFloat(bits, a), b.asFloat(bits, c));
        b.f.if(
          allOf(isComparable(b, bits, a), isComparable(b, bits, c)),
          () => b.writeScalar(select(first, a, c)),
          () => b.writeScalar(exactScalar(b, bits, i32(code), a, c)),
        );
      });
    }
  }
}

/** Lanes combined within vectors: HADDxx, HSUBxx, ADDSUBxx, DPxx. */
function defineHorizontal(table: InstructionTable): void {
  for (const [suffix, prefix, bits] of [
    ['pd', '66', 64],
    ['ps', 'F2', 32],
  ] as const) {
    const f = shape(bits);
    const size = bits === 64 ? 8 : 4;
    const lanes = 16 / size;
    const every = (odd: number) => Array.from({ length: lanes }, (_, i) => 2 * i + odd);
    const combine = (
      b: InstructionBuilder,
      a: readonly V128[],
      c: readonly V128[],
      r: readonly V128[],
      exact: () => V128[],
    ) =>
      b.f.if(
        allOf(commonMode(b), areNormal(bits, ...a, ...c, ...r)),
        () => b.writeLanes(0, r),
        () => b.writeLanes(0, exact()),
      );
    for (const [name, opcode, operation] of [
      ['hadd', '7C', 'add'],
      ['hsub', '7D', 'sub'],
    ] as const) {
      table.define(`${name}${suffix}`, encodings(prefix, opcode, bits, true), sse, (b) => {
        const second = b.readLanes(b.right);
        const first = b.readLanes(b.left);
        const pick = (odd: number) =>
          second.map((value, i) => b.keep(shuffleLanes(size, every(odd), first[i] as V128, value)));
        const left = pick(0);
        const right = pick(1);
        const r = left.map((value, i) => b.keep(op(`${f}.${operation}`, value, right[i] as V128)));
        combine(b, left, right, r, () => exactCommon(b, bits, operation, left, right));
      });
    }
    table.define(`addsub${suffix}`, encodings(prefix, 'D0', bits, true), sse, (b) => {
      const c = b.readLanes(b.right);
      const a = b.readLanes(b.left);
      const order = Array.from({ length: lanes }, (_, i) => (i & 1 ? lanes + i : i));
      const r = c.map((value, i) => {
        const x = a[i] as V128;
        return b.keep(shuffleLanes(size, order, op(`${f}.sub`, x, value), op(`${f}.add`, x, value)));
      });
      combine(b, a, c, r, () => exactPacked(b, bits, i32(M.LANE_SUBTRACT_ADD), a, c));
    });
    const dotProduct = `66 0F 3A ${bits === 64 ? '41' : '40'} /r : Vx Wx Ib`;
    table.define(`dp${suffix}`, withVex3(dotProduct, bits === 64 ? 'VEX128' : 'VEX'), sse, (b) => {
      const c = b.readLanes(b.right);
      const a = b.readLanes(b.left);
      const helper = b.helper(`sse-dot-product${bits}`);
      const immediate = b.keep(b.read(b.control));
      const r = exactLanes(b, c.length, (i) => b.f.call(helper, get(b.cpu), immediate, a[i] as V128, c[i] as V128));
      b.writeLanes(0, r);
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
    table.define(`round${suffix}`, unaryEncodings('66', `3A ${opcode}`, bits, packed, ' Ib'), sse, (b) => {
      const code = b.keep(op('i32.or', op('i32.and', b.read(b.control), i32(15)), i32(M.LANE_ROUND))) as I32;
      if (packed) {
        const c = b.readLanes(1);
        b.writeLanes(0, exactPacked(b, bits, code, c, c));
      } else {
        const c = b.read(b.right);
        b.writeScalar(exactScalar(b, bits, code, c, c));
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
    table.define(`${name}ps`, unaryEncodings('NP', opcode, 32, true), options, (b) =>
      b.writeLanes(
        0,
        b.readLanes(1).map((value) => b.keep(approximate(b, root, value))),
      ),
    );
    table.define(`${name}ss`, unaryEncodings('F3', opcode, 32, false), options, (b) => {
      const lanes = b.keep(approximate(b, root, b.readLowVector(b.right)));
      b.writeScalar(laneOp('i32x4.extract_lane', 0, lanes));
    });
  }
}

/** Floating-point arithmetic and comparisons. */
export function defineSseFloat(table: InstructionTable): void {
  defineArithmetic(table);
  defineExtremes(table);
  defineHorizontal(table);
  defineRounding(table);
  defineApproximations(table);
}
