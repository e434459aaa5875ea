import { type I32, i32, i64, laneOp, op, select, type V128 } from '../../software/wasm/function-builder.ts';
import { shuffleLanes, v8, v32, zeroVector } from '../../software/wasm/vectors.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';

const avx = { unit: 'sse' } as const;

type Lanes = readonly V128[];

function defineBroadcasts(table: InstructionTable): void {
  const broadcast = (name: string, encoding: string, splat: (b: InstructionBuilder) => V128) =>
    table.define(name, encoding, avx, (b) => {
      const value = b.keep(splat(b));
      b.writeLanes(0, b.lanes === 2 ? [value, value] : [value]);
    });
  const dword = (b: InstructionBuilder) => op('i32x4.splat', b.read(1));
  const qword = (b: InstructionBuilder) => op('i64x2.splat', b.read(1));
  broadcast('vbroadcastss', 'VEX 66 0F 38 18 /r W0 : Vx Wd', dword);
  broadcast('vbroadcastsd', 'VEX256 66 0F 38 19 /r W0 : Vx Wq', qword);
  broadcast('vpbroadcastd', 'VEX 66 0F 38 58 /r W0 : Vx Wd', dword);
  broadcast('vpbroadcastq', 'VEX 66 0F 38 59 /r W0 : Vx Wq', qword);
  broadcast('vpbroadcastb', 'VEX 66 0F 38 78 /r W0 : Vx Wb', (b) => op('i8x16.splat', b.read(1)));
  broadcast('vpbroadcastw', 'VEX 66 0F 38 79 /r W0 : Vx Ww', (b) => op('i16x8.splat', b.read(1)));
  broadcast('vbroadcastf128', 'VEX256 66 0F 38 1A /r W0 : Vx Mo', (b) => b.readVector(1));
  broadcast('vbroadcasti128', 'VEX256 66 0F 38 5A /r W0 : Vx Mo', (b) => b.readVector(1));
}

/** Whole lanes of 128 bits. The integer instructions do the same as the floating-point ones. */
function defineLanes(table: InstructionTable): void {
  for (const [suffix, insert, extract, permute] of [
    ['f128', '18', '19', '06'],
    ['i128', '38', '39', '46'],
  ] as const) {
    table.define(`vinsert${suffix}`, `VEX256 66 0F 3A ${insert} /r W0 : Vx Hx Wo Ib`, avx, (b) => {
      const value = b.readVector(2);
      const [low, high] = b.readLanes(1) as [V128, V128];
      const upper = b.keep(op('i32.and', b.read(3), i32(1))) as I32;
      b.writeLanes(0, [select(upper, low, value), select(upper, value, high)]);
    });
    table.define(`vextract${suffix}`, `VEX256 66 0F 3A ${extract} /r W0 : Wo Vx Ib`, { ...avx, writes: true }, (b) => {
      const [low, high] = b.readLanes(1) as [V128, V128];
      b.writeVector(0, select(op('i32.and', b.read(2), i32(1)), high, low));
    });
    // Each half of the destination is one of the four lanes, by two bits of the immediate, or zero by a third.
    table.define(`vperm2${suffix}`, `VEX256 66 0F 3A ${permute} /r W0 : Vx Hx Wx Ib`, avx, (b) => {
      const second = b.readLanes(2);
      const first = b.readLanes(1);
      const immediate = b.keep(b.read(3)) as I32;
      const half = (from: number) => {
        const bit = (n: number) => op('i32.and', immediate, i32(1 << (from + n)));
        const of = ([low, high]: Lanes) => select(bit(0), high as V128, low as V128);
        return select(bit(3), zeroVector, select(bit(1), of(second), of(first)));
      };
      b.writeLanes(0, [half(0), half(4)]);
    });
  }
}

/** Bytes that follow each other within lanes of four: lane number n becomes 4n, 4n + 1, 4n + 2, 4n + 3. */
function dwordBytes(numbers: V128): V128 {
  return op(
    'i32x4.add',
    op(
      'i32x4.mul',
      numbers,
      v32(() => 0x04040404),
    ),
    v32(() => 0x03020100),
  );
}

/** VPERMILPx: within each lane, by a vector or an immediate. */
function defineWithinLanes(table: InstructionTable): void {
  table.define('vpermilps', 'VEX 66 0F 38 0C /r W0 : Vx Hx Wx', avx, (b) => {
    const control = b.readLanes(2);
    const source = b.readLanes(1);
    b.writeLanes(
      0,
      source.map((value, i) => {
        const numbers = op(
          'v128.and',
          control[i] as V128,
          v32(() => 3),
        );
        return op('i8x16.swizzle', value, dwordBytes(numbers));
      }),
    );
  });
  table.define('vpermilps-immediate', 'VEX 66 0F 3A 04 /r W0 : Vx Wx Ib', avx, (b) => {
    const source = b.readLanes(1);
    const fields = op(
      'i32x4.mul',
      op('i32x4.splat', b.read(2)),
      v32((i) => 1 << (30 - 2 * i)),
    );
    const control = b.keep(dwordBytes(op('i32x4.shr_u', fields, i32(30))));
    b.writeLanes(
      0,
      source.map((value) => op('i8x16.swizzle', value, control)),
    );
  });
  /** Takes the upper half where `mask` is set. */
  const pick = (value: V128, mask: V128) =>
    op('v128.bitselect', shuffleLanes(8, [1, 1], value, value), shuffleLanes(8, [0, 0], value, value), mask);
  // Bit 1 of each quadword counts.
  table.define('vpermilpd', 'VEX 66 0F 38 0D /r W0 : Vx Hx Wx', avx, (b) => {
    const control = b.readLanes(2);
    const source = b.readLanes(1);
    b.writeLanes(
      0,
      source.map((value, i) => {
        const mask = op('i64x2.shr_s', op('i64x2.shl', control[i] as V128, i32(62)), i32(63));
        return pick(value, b.keep(mask));
      }),
    );
  });
  table.define('vpermilpd-immediate', 'VEX 66 0F 3A 05 /r W0 : Vx Wx Ib', avx, (b) => {
    const source = b.readLanes(1);
    const immediate = b.keep(op('i64.extend_i32_u', b.read(2)));
    b.writeLanes(
      0,
      source.map((value, lane) => {
        const bit = (n: number) => op('i64.shr_s', op('i64.shl', immediate, i64(63 - n)), i64(63));
        const mask = laneOp('i64x2.replace_lane', 1, op('i64x2.splat', bit(lane * 2)), bit(lane * 2 + 1));
        return pick(value, b.keep(mask));
      }),
    );
  });
}

/** Permutations across lanes, and blends of doublewords. */
function defineAcrossLanes(table: InstructionTable): void {
  /** Byte numbers 0–31 of two vectors: those beyond a vector's end yield zero. */
  const across = (b: InstructionBuilder, [low, high]: Lanes, control: V128) => {
    const bytes = b.keep(control);
    const upper = op(
      'i8x16.sub',
      bytes,
      v8(() => 16),
    );
    return b.keep(op('v128.or', op('i8x16.swizzle', low as V128, bytes), op('i8x16.swizzle', high as V128, upper)));
  };
  for (const [name, opcode] of [
    ['vpermd', '36'],
    ['vpermps', '16'],
  ] as const) {
    table.define(name, `VEX256 66 0F 38 ${opcode} /r W0 : Vx Hx Wx`, avx, (b) => {
      const source = b.readLanes(2);
      const numbers = b.readLanes(1);
      b.writeLanes(
        0,
        numbers.map((value) => {
          const within = op(
            'v128.and',
            value,
            v32(() => 7),
          );
          return across(b, source, dwordBytes(within));
        }),
      );
    });
  }
  for (const [name, opcode] of [
    ['vpermq', '00'],
    ['vpermpd', '01'],
  ] as const) {
    table.define(name, `VEX256 66 0F 3A ${opcode} /r W1 : Vx Wx Ib`, avx, (b) => {
      const [low, high] = b.readLanes(1) as [V128, V128];
      const immediate = b.keep(b.read(2)) as I32;
      const quadword = (index: number) => {
        const bit = (n: number) => op('i32.and', immediate, i32(1 << (index * 2 + n)));
        const lane = b.keep(select(bit(1), high, low));
        return select(bit(0), laneOp('i64x2.extract_lane', 1, lane), laneOp('i64x2.extract_lane', 0, lane));
      };
      const pair = (from: number) =>
        b.keep(laneOp('i64x2.replace_lane', 1, op('i64x2.splat', quadword(from)), quadword(from + 1)));
      b.writeLanes(0, [pair(0), pair(2)]);
    });
  }
  table.define('vpblendd', 'VEX 66 0F 3A 02 /r W0 : Vx Hx Wx Ib', avx, (b) => {
    const second = b.readLanes(2);
    const first = b.readLanes(1);
    const splat = b.keep(op('i32x4.splat', b.read(3)));
    b.writeLanes(
      0,
      second.map((value, lane) => {
        const bits = v32((i) => 1 << (lane * 4 + i));
        return op('v128.bitselect', value, first[lane] as V128, op('i32x4.eq', op('v128.and', splat, bits), bits));
      }),
    );
  });
}

/** Shifts of each element by a count of its own; counts beyond its width shift everything out. */
function defineVariableShifts(table: InstructionTable): void {
  for (const [name, opcode, bits, direction] of [
    ['vpsrlvd', '45 /r W0', 32, 'shr_u'],
    ['vpsrlvq', '45 /r W1', 64, 'shr_u'],
    ['vpsravd', '46 /r W0', 32, 'shr_s'],
    ['vpsllvd', '47 /r W0', 32, 'shl'],
    ['vpsllvq', '47 /r W1', 64, 'shl'],
  ] as const) {
    const shape = bits === 64 ? 'i64x2' : 'i32x4';
    const type = bits === 64 ? 'i64' : 'i32';
    const constant = (value: number) => (bits === 64 ? i64(value) : i32(value));
    table.define(name, `VEX 66 0F 38 ${opcode} : Vx Hx Wx`, avx, (b) => {
      const counts = b.readLanes(2);
      const values = b.readLanes(1);
      const shift = (value: V128, count: V128): V128 => {
        let result = value;
        for (let i = 0; i < 128 / bits; i++) {
          const by = b.keep(laneOp(`${shape}.extract_lane`, i, count));
          const within = op(`${type}.lt_u`, by, constant(bits));
          const element = laneOp(`${shape}.extract_lane`, i, value);
          const shifted =
            direction === 'shr_s'
              ? op(`${type}.shr_s`, element, select(within, by, constant(bits - 1)))
              : select(within, op(`${type}.${direction}`, element, by), constant(0));
          result = laneOp(`${shape}.replace_lane`, i, result, shifted);
        }
        return b.keep(result);
      };
      b.writeLanes(
        0,
        values.map((value, i) => shift(value, counts[i] as V128)),
      );
    });
  }
}

/** VTESTPx: PTEST on the signs alone. */
function defineTests(table: InstructionTable): void {
  for (const [name, opcode, lane] of [
    ['vtestps', '0E', 'i32x4'],
    ['vtestpd', '0F', 'i64x2'],
  ] as const) {
    table.define(name, `VEX 66 0F 38 ${opcode} /r W0 : Vx Wx`, avx, (b) => {
      const source = b.readLanes(1);
      const destination = b.readLanes(0);
      const none = (combine: 'v128.and' | 'v128.andnot') =>
        op(
          'i32.eqz',
          source
            .map((value, i) => op(`${lane}.bitmask`, op(combine, value, destination[i] as V128)))
            .reduce((left, right) => op('i32.or', left, right)),
        );
      b.flagsCompare(none('v128.and'), i32(0), none('v128.andnot'));
    });
  }
}

/** VZEROUPPER and VZEROALL reach the eight registers of 32-bit code, or all sixteen. */
function defineZero(table: InstructionTable): void {
  for (const [name, length, all] of [
    ['vzeroupper', 'VEX128', false],
    ['vzeroall', 'VEX256', true],
  ] as const) {
    table.define(`${name}32`, `${length} NP 0F 77 i64`, avx, (b) => b.zeroVectors(8, all));
    table.define(name, `${length} NP 0F 77 o64`, avx, (b) => b.zeroVectors(16, all));
  }
}

/** AVX and AVX2 instructions without a legacy form that rearrange, shift or test vectors. */
export function defineAvxPermutes(table: InstructionTable): void {
  defineBroadcasts(table);
  defineLanes(table);
  defineWithinLanes(table);
  defineAcrossLanes(table);
  defineVariableShifts(table);
  defineTests(table);
  defineZero(table);
}
