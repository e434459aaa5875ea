import { get, type I32, i32, i64, op, select, type V128 } from '../../software/wasm/function-builder.ts';
import { zeroVector } from '../../software/wasm/vectors.ts';
import * as M from '../mxcsr.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder, Integer } from './instruction-builder.ts';
import {
  allOf,
  areComparable,
  type Bits,
  exactPacked,
  exactScalar,
  FORMS,
  isComparable,
  toHelper,
} from './sse-float-support.ts';
import { withVex } from './vex.ts';

const sse = { unit: 'sse' } as const;

/** CMPxx with predicates 0–7: EQ, LT, LE, UNORD and their negations. */
function defineLegacyCompare(table: InstructionTable): void {
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
          () => b.writeLanes(0, exactPacked(b, bits, code(), [a], [c])),
        );
        return;
      }
      const c = b.read(1);
      const a = b.read(0);
      const test = (name: 'eq' | 'lt' | 'le') => op(`f${bits}.${name}`, b.asFloat(bits, a), b.asFloat(bits, c));
      const positive = select(bit(2), select(bit(1), i32(0), test('le')), select(bit(1), test('lt'), test('eq')));
      const mask = op('i32.sub', i32(0), op('i32.xor', positive, op('i32.shr_u', predicate, i32(2))));
      b.f.if(
        allOf(isComparable(b, bits, a), isComparable(b, bits, c)),
        () => b.write(0, bits === 64 ? op('i64.extend_i32_s', mask) : mask),
        () => b.write(0, exactScalar(b, bits, code(), a, c)),
      );
    });
  }
}

/** VCMPxx with its 32 predicates: without NaNs each stands for a set of the outcomes less, equal and greater. */
function defineVexCompare(table: InstructionTable): void {
  for (const [suffix, prefix, bits, packed] of FORMS) {
    const type = packed ? 'x' : bits === 64 ? 'q' : 'd';
    const length = packed ? 'VEX' : 'VEXLIG';
    table.define(`vcmp${suffix}`, `${length} ${prefix} 0F C2 /r : V${type} H${type} W${type} Ib`, sse, (b) => {
      const immediate = b.keep(op('i32.and', b.read(3), i32(31))) as I32;
      const code = op('i32.or', immediate, i32(M.LANE_COMPARE));
      const place = op('i64.shl', op('i64.extend_i32_u', op('i32.and', immediate, i32(15))), i64(2));
      const accepted = b.keep(op('i32.wrap_i64', op('i64.shr_u', i64(M.ACCEPTED_OUTCOMES), place))) as I32;
      const accepts = (outcome: number) => op('i32.ne', op('i32.and', accepted, i32(outcome)), i32(0));
      if (packed) {
        packedCompare(b, bits, accepts, code);
        return;
      }
      const c = b.read(2);
      const a = b.read(1);
      const test = (name: 'eq' | 'lt' | 'gt', outcome: number) =>
        op('i32.and', op(`f${bits}.${name}`, b.asFloat(bits, a), b.asFloat(bits, c)), accepts(outcome));
      const holds = op('i32.or', test('eq', M.EQUAL), op('i32.or', test('lt', M.LESS), test('gt', M.GREATER)));
      const mask = op('i32.sub', i32(0), holds);
      b.f.if(
        allOf(isComparable(b, bits, a), isComparable(b, bits, c)),
        () => b.writeScalar((bits === 64 ? op('i64.extend_i32_s', mask) : mask) as Integer),
        () => b.writeScalar(exactScalar(b, bits, code, a, c)),
      );
    });
  }
}

function packedCompare(b: InstructionBuilder, bits: Bits, accepts: (outcome: number) => I32, code: I32): void {
  const f = bits === 64 ? 'f64x2' : 'f32x4';
  const c = b.readLanes(2);
  const a = b.readLanes(1);
  const maskOf = (outcome: number) => b.keep(op('i32x4.splat', op('i32.sub', i32(0), accepts(outcome))));
  b.f.if(
    areComparable(bits, ...a, ...c),
    () => {
      const [equal, less, greater] = [maskOf(M.EQUAL), maskOf(M.LESS), maskOf(M.GREATER)];
      b.writeLanes(
        0,
        c.map((value, i) => {
          const x = a[i] as V128;
          const test = (name: 'eq' | 'lt' | 'gt', mask: V128) => op('v128.and', op(`${f}.${name}`, x, value), mask);
          return op('v128.or', test('eq', equal), op('v128.or', test('lt', less), test('gt', greater)));
        }),
      );
    },
    () => b.writeLanes(0, exactPacked(b, bits, code, a, c)),
  );
}

/** COMISx and UCOMISx: the outcome in ZF, PF and CF. */
function defineToFlags(table: InstructionTable): void {
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
        withVex(`${prefix} 0F ${opcode} /r : V${type} W${type}`, 'VEXLIG'),
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
              b.f.set(less, op(`f${bits}.lt`, b.asFloat(bits, a), b.asFloat(bits, c)));
              b.f.set(equal, op(`f${bits}.eq`, b.asFloat(bits, a), b.asFloat(bits, c)));
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

/** Floating-point comparisons. */
export function defineSseCompare(table: InstructionTable): void {
  defineLegacyCompare(table);
  defineVexCompare(table);
  defineToFlags(table);
}
