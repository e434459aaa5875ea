import { d } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  i32,
  op,
  select,
  type V128,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { v8, v16, zeroVector } from './wasm/vectors.ts';

/** What PCMPxSTRx's immediate says (SDM 1, 4.1). */
const SIGNED = 2;
const AGGREGATION_SHIFT = 2;
const NEGATIVE = 0x10;
const MASKED = 0x20;

/** In the answer, above the bits of the intermediate result. */
export const STRING_B_ENDS = 1 << 16;
export const STRING_A_ENDS = 1 << 17;

/** The lengths that ask for strings ended by a zero. */
export const IMPLICIT_LENGTH = -1;

/** (immediate, a, b, length of a, length of b) → intermediate result 2, STRING_B_ENDS, STRING_A_ENDS. */
function buildCompare(module: ModuleBuilder, lane: 'i8x16' | 'i16x8'): FunctionReference {
  const count = lane === 'i8x16' ? 16 : 8;
  const all = (1 << count) - 1;
  const type = { params: ['i32', 'v128', 'v128', 'i32', 'i32'], results: ['i32'] } as const;
  const lowest = lane === 'i8x16' ? v8(() => 0x80) : v16(() => 0x8000);
  /** Element `j` in every lane. */
  const spread = (vector: V128, j: I32): V128 =>
    lane === 'i8x16'
      ? op('i8x16.swizzle', vector, op('i8x16.splat', j))
      : op('i8x16.swizzle', vector, op('i16x8.splat', d.add(d.mul(j, 0x0202), 0x0100)));
  const bits = (vector: V128) => op(`${lane}.bitmask`, vector);
  return module.function(`sse-string-compare-${lane}`, type, (f) => {
    const immediate = get(f.parameter(0, 'i32'));
    const first = f.parameter(1, 'v128');
    const second = f.parameter(2, 'v128');
    const lengthOf = (f: FunctionBuilder, vector: V128, index: number): I32 => {
      const given = get(f.parameter(index, 'i32'));
      const zeros = d.or(bits(op(`${lane}.eq`, vector, zeroVector)), 1 << count);
      return f.keep(select(d.ltS(given, 0), op('i32.ctz', zeros), select(d.gtU(given, count), i32(count), given)));
    };
    const lengthA = lengthOf(f, get(first), 3);
    const lengthB = lengthOf(f, get(second), 4);
    const validA = f.keep(d.sub(d.shl(1, lengthA), 1));
    const validB = f.keep(d.sub(d.shl(1, lengthB), 1));
    const result = f.local('i32');
    const j = f.local('i32');
    const found = f.local('v128');
    /** Runs `body` for element numbers j of a, `step` apart, while j + step ≤ its length. */
    const overA = (step: number, body: () => void) => {
      f.set(j, i32(0));
      f.block((done) =>
        f.loop((again) => {
          f.brIf(done, d.gtS(d.add(get(j), step), lengthA));
          body();
          f.set(j, d.add(get(j), step));
          f.br(again);
        }),
      );
    };
    f.set(found, zeroVector);
    f.block((aggregated) => {
      f.block((ordered) => {
        f.block((each) => {
          f.block((ranges) => {
            f.block((any) => {
              f.brTable(d.and(d.shr(immediate, AGGREGATION_SHIFT), 3), [any, ranges, each], ordered);
            });
            overA(1, () =>
              f.set(found, op('v128.or', get(found), op(`${lane}.eq`, spread(get(first), get(j)), get(second)))),
            );
            f.set(result, d.and(bits(get(found)), validB));
            f.br(aggregated);
          });
          // Signed bounds are compared as unsigned ones half a range higher.
          f.if(d.and(immediate, SIGNED), () => {
            f.set(first, op('v128.xor', get(first), lowest));
            f.set(second, op('v128.xor', get(second), lowest));
          });
          overA(2, () => {
            const below = op(`${lane}.lt_u`, get(second), spread(get(first), get(j)));
            const above = op(`${lane}.gt_u`, get(second), spread(get(first), d.add(get(j), 1)));
            f.set(found, op('v128.or', get(found), op('v128.not', op('v128.or', below, above))));
          });
          f.set(result, d.and(bits(get(found)), validB));
          f.br(aggregated);
        });
        const equal = bits(op(`${lane}.eq`, get(first), get(second)));
        f.set(result, d.or(d.and(equal, d.and(validA, validB)), d.and(d.xor(d.or(validA, validB), all), all)));
        f.br(aggregated);
      });
      f.set(result, i32(all));
      overA(1, () => {
        const equal = d.and(bits(op(`${lane}.eq`, spread(get(first), get(j)), get(second))), validB);
        // Elements of a that would lie beyond b's register are not looked at.
        const beyond = d.shl(-1, d.sub(count, get(j)));
        f.set(result, d.and(get(result), d.or(d.shr(equal, get(j)), beyond)));
      });
    });
    f.if(d.and(immediate, NEGATIVE), () =>
      f.set(result, d.xor(get(result), select(d.and(immediate, MASKED), validB, i32(all)))),
    );
    const ends = d.or(d.mul(d.ltU(lengthB, count), STRING_B_ENDS), d.mul(d.ltU(lengthA, count), STRING_A_ENDS));
    f.return(d.or(d.and(get(result), all), ends));
    f.unreachable();
  });
}

/** Functions behind PCMPESTRx and PCMPISTRx, by name. */
export function buildStringCompare(module: ModuleBuilder): [string, FunctionReference][] {
  return [
    ['sse-string-compare8', buildCompare(module, 'i8x16')],
    ['sse-string-compare16', buildCompare(module, 'i16x8')],
  ];
}
