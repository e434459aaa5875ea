import { IMPLICIT_LENGTH, STRING_A_ENDS, STRING_B_ENDS } from '../../software/string-compare-functions.ts';
import { type I32, type I64, i32, i64, laneOp, op, select, type V128 } from '../../software/wasm/function-builder.ts';
import { v8, v16, zeroVector } from '../../software/wasm/vectors.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import { withVex } from './vex.ts';

/** The length in a register: its magnitude, 16 at most. */
function explicitLength(b: InstructionBuilder, register: number, wide: boolean): I32 {
  const value = b.keep(b.signExtend64(b.gpr(register, wide ? 8 : 4), wide ? 8 : 4)) as I64;
  const size = b.keep(select(op('i64.lt_s', value, i64(0)), op('i64.sub', i64(0), value), value));
  return b.keep(select(op('i64.gt_u', size, i64(16)), i32(16), op('i32.wrap_i64', size)));
}

/** PCMPESTRx and PCMPISTRx (SDM 1, 4.1; SDM 2B): comparisons of strings of bytes or words. Alignment does not matter. */
export function defineSseStrings(table: InstructionTable): void {
  const define = (name: string, encodings: readonly string[], lengths: 'implicit' | 32 | 64, index: boolean) =>
    table.define(name, encodings, { unit: 'sse' }, (b) => {
      const second = b.readVector(1, false);
      const first = b.readVector(0);
      const immediate = b.keep(b.read(2)) as I32;
      const length = (register: number) =>
        lengths === 'implicit' ? i32(IMPLICIT_LENGTH) : explicitLength(b, register, lengths === 64);
      const lengthA = length(0);
      const lengthB = length(2);
      const words = b.keep(op('i32.and', immediate, i32(1)));
      const compare = (size: 8 | 16) =>
        b.f.call(b.helper(`sse-string-compare${size}`), immediate, first, second, lengthA, lengthB) as I32;
      const answer = b.f.ifValue(
        'i32',
        words,
        () => compare(16),
        () => compare(8),
      );
      const result = b.keep(op('i32.and', answer, i32(0xffff)));
      const fromTop = op('i32.and', immediate, i32(0x40));
      if (index) {
        const count = b.keep(op('i32.shr_u', i32(16), words));
        const lowest = op('i32.ctz', result);
        const highest = op('i32.sub', i32(31), op('i32.clz', result));
        b.setGpr(1, select(result, select(fromTop, highest, lowest), count), 4);
      } else {
        b.setXmm(0, mask(b, result, words, fromTop));
      }
      // CF: anything found; ZF and SF: the second and the first string end within the register; OF: the lowest bit.
      const flag = (bit: number, place: number) =>
        op('i32.shl', op('i32.ne', op('i32.and', answer, i32(bit)), i32(0)), i32(place));
      const flags = [flag(0xffff, 0), flag(STRING_B_ENDS, 6), flag(STRING_A_ENDS, 7), flag(1, 11)];
      b.setArithmeticFlags(flags.reduce((left, right) => op('i32.or', left, right)));
    });
  for (const [name, opcode, index] of [
    ['m', '0', false],
    ['i', '1', true],
  ] as const) {
    const encoding = `66 0F 3A 6${opcode} /r`;
    const narrow = [...withVex(`${encoding} W0 : Vx Wx Ib`, 'VEX128'), `VEX128 ${encoding} W1 i64 : Vx Wx Ib`];
    define(`pcmpestr${name}`, narrow, 32, index);
    define(`pcmpestr${name}q`, [`${encoding} W1 : Vx Wx Ib`, `VEX128 ${encoding} W1 o64 : Vx Wx Ib`], 64, index);
  }
  define('pcmpistrm', withVex('66 0F 3A 62 /r : Vx Wx Ib', 'VEX128'), 'implicit', false);
  define('pcmpistri', withVex('66 0F 3A 63 /r : Vx Wx Ib', 'VEX128'), 'implicit', true);
}

/** The result as a number in the low lane, or spread over lanes of bytes or words. */
function mask(b: InstructionBuilder, result: I32, words: I32, spread: I32): V128 {
  const number = laneOp('i32x4.replace_lane', 0, zeroVector, result);
  const byteBits = v8((i) => 1 << (i & 7));
  const doubled = op(
    'i8x16.swizzle',
    op('i16x8.splat', result),
    v8((i) => i >> 3),
  );
  const bytes = op('i8x16.eq', op('v128.and', doubled, byteBits), byteBits);
  const wordBits = v16((i) => 1 << i);
  const wide = op('i16x8.eq', op('v128.and', op('i16x8.splat', result), wordBits), wordBits);
  return b.keep(select(spread, select(words, wide, bytes), number));
}
