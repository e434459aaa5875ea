import { type I32, i32, op, select, type V128 } from '../../software/wasm/function-builder.ts';
import { moveBytes, shuffleLanes, v8, v16, v32, v64, zeroVector } from '../../software/wasm/vectors.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';

const sse = { unit: 'sse' } as const;

function defineUnpack(table: InstructionTable): void {
  const unpack = (name: string, encodings: readonly string[], size: 1 | 2 | 4 | 8, high: boolean, hot = false) => {
    const lanes = 16 / size;
    const order = Array.from({ length: lanes }, (_, i) => (i >> 1) + (high ? lanes / 2 : 0) + (i & 1 ? lanes : 0));
    table.define(
      name,
      encodings.map((encoding) => `${encoding} /r : Vx Wx`),
      { ...sse, hot },
      (b) => {
        const source = b.readVector(1);
        b.writeVector(0, shuffleLanes(size, order, b.readVector(0), source));
      },
    );
  };
  unpack('punpcklbw', ['66 0F 60'], 1, false);
  unpack('punpcklwd', ['66 0F 61'], 2, false);
  unpack('punpckldq', ['66 0F 62', 'NP 0F 14'], 4, false);
  unpack('punpcklqdq', ['66 0F 6C', '66 0F 14'], 8, false, true);
  unpack('punpckhbw', ['66 0F 68'], 1, true);
  unpack('punpckhwd', ['66 0F 69'], 2, true);
  unpack('punpckhdq', ['66 0F 6A', 'NP 0F 15'], 4, true);
  unpack('punpckhqdq', ['66 0F 6D', '66 0F 15'], 8, true);
}

/**
 * A vector of byte numbers for swizzle: lane i of four takes the lane of four that bits 2i+1:2i of the immediate name.
 * `multiplier` moves each lane's bits to the top of its own, whose other bits are then dropped.
 */
function laneNumbers(immediate: I32): V128 {
  const fields = op(
    'i32x4.mul',
    op('i32x4.splat', immediate),
    v32((i) => 1 << (30 - 2 * i)),
  );
  return op('i32x4.shr_u', fields, i32(30));
}

/** Swizzle control for doublewords from their numbers. */
function dwordControl(numbers: V128): V128 {
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

/** Doubleword number `n` of the immediate, known while generating. */
const field = (immediate: number, n: number) => (immediate >> (2 * n)) & 3;

function defineShuffles(table: InstructionTable): void {
  table.define('pshufd', '66 0F 70 /r : Vx Wx Ib', { ...sse, hot: true }, (b) => {
    const source = b.readVector(1);
    const known = b.knownImmediate();
    b.writeVector(
      0,
      known === undefined
        ? op('i8x16.swizzle', source, dwordControl(laneNumbers(b.read(2) as I32)))
        : shuffleLanes(
            4,
            [0, 1, 2, 3].map((i) => field(known, i)),
            source,
            source,
          ),
    );
  });
  for (const [name, prefix, from] of [
    ['pshuflw', 'F2', 0],
    ['pshufhw', 'F3', 4],
  ] as const) {
    table.define(name, `${prefix} 0F 70 /r : Vx Wx Ib`, sse, (b) => {
      const source = b.readVector(1);
      const known = b.knownImmediate();
      if (known !== undefined) {
        const lanes = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => ((i & 4) === from ? from + field(known, i & 3) : i));
        b.writeVector(0, shuffleLanes(2, lanes, source, source));
        return;
      }
      // Word numbers of the shuffled half as control bytes; the other half stays where it is.
      const numbers = op('i16x8.narrow_i32x4_u', laneNumbers(b.read(2) as I32), zeroVector);
      const control = op(
        'i16x8.add',
        op(
          'i16x8.mul',
          numbers,
          v16(() => 0x0202),
        ),
        v16(() => 0x0100),
      );
      const low = from === 0 ? control : v8((i) => i);
      const high =
        from === 0
          ? v8((i) => i + 8)
          : op(
              'i8x16.add',
              control,
              v8(() => 8),
            );
      b.writeVector(0, op('i8x16.swizzle', source, shuffleLanes(8, [0, 2], low, high)));
    });
  }
  // The low two lanes come from the destination, the others from the source.
  table.define('shufps', 'NP 0F C6 /r : Vx Wx Ib', sse, (b) => {
    const source = b.readVector(1);
    const destination = b.readVector(0);
    const known = b.knownImmediate();
    if (known !== undefined) {
      const lanes = [0, 1, 2, 3].map((i) => field(known, i) + (i < 2 ? 0 : 4));
      b.writeVector(0, shuffleLanes(4, lanes, destination, source));
      return;
    }
    const control = b.keep(dwordControl(laneNumbers(b.read(2) as I32)));
    const fromDestination = op('i8x16.swizzle', destination, control);
    const fromSource = op('i8x16.swizzle', source, control);
    b.writeVector(0, shuffleLanes(8, [0, 3], fromDestination, fromSource));
  });
  table.define('shufpd', '66 0F C6 /r : Vx Wx Ib', sse, (b) => {
    const source = b.readVector(1);
    const destination = b.readVector(0);
    const immediate = b.keep(b.read(2)) as I32;
    const pick = (value: V128, bit: number) =>
      select(
        op('i32.and', immediate, i32(bit)),
        shuffleLanes(8, [1, 1], value, value),
        shuffleLanes(8, [0, 0], value, value),
      );
    b.writeVector(0, shuffleLanes(8, [0, 2], pick(destination, 1), pick(source, 2)));
  });
  table.define('pshufb', '66 0F 38 00 /r : Vx Wx', sse, (b) => {
    const control = op(
      'v128.and',
      b.readVector(1),
      v8(() => 0x8f),
    );
    b.writeVector(0, op('i8x16.swizzle', b.readVector(0), b.keep(control)));
  });
  table.define('palignr', '66 0F 3A 0F /r : Vx Wx Ib', sse, (b) => {
    const source = b.readVector(1);
    const destination = b.readVector(0);
    const immediate = b.keep(b.read(2)) as I32;
    const count = b.keep(select(op('i32.gt_u', immediate, i32(32)), i32(32), immediate));
    b.writeVector(0, op('v128.or', moveBytes(source, count), moveBytes(destination, op('i32.sub', count, i32(16)))));
  });
  for (const [name, digit] of [
    ['psrldq', 3],
    ['pslldq', 7],
  ] as const) {
    table.define(name, `66 0F 73 /${digit} reg : Ux Ib`, sse, (b) => {
      const immediate = b.keep(b.read(1)) as I32;
      const count = b.keep(select(op('i32.gt_u', immediate, i32(16)), i32(16), immediate));
      b.writeVector(0, moveBytes(b.readVector(0), name === 'psrldq' ? count : op('i32.sub', i32(0), count)));
    });
  }
}

function defineExtensions(table: InstructionTable): void {
  const steps = {
    b: 'i16x8.extend_low_i8x16',
    w: 'i32x4.extend_low_i16x8',
    d: 'i64x2.extend_low_i32x4',
  } as const;
  const extend = (b: InstructionBuilder, from: string, to: string, sign: 's' | 'u') => {
    let value = b.readLowVector(1);
    for (const step of 'bwd'.slice('bwd'.indexOf(from), 'bwdq'.indexOf(to))) {
      value = op(`${steps[step as 'b' | 'w' | 'd']}_${sign}`, value);
    }
    b.writeVector(0, value);
  };
  for (const [i, [from, to, size]] of (
    [
      ['b', 'w', 'q'],
      ['b', 'd', 'd'],
      ['b', 'q', 'w'],
      ['w', 'd', 'q'],
      ['w', 'q', 'd'],
      ['d', 'q', 'q'],
    ] as const
  ).entries()) {
    table.define(`pmovsx${from}${to}`, `66 0F 38 2${i} /r : Vx W${size}`, sse, (b) => extend(b, from, to, 's'));
    table.define(`pmovzx${from}${to}`, `66 0F 38 3${i} /r : Vx W${size}`, sse, (b) => extend(b, from, to, 'u'));
  }
}

function defineBlends(table: InstructionTable): void {
  const select = (b: InstructionBuilder, mask: V128) => {
    const source = b.readVector(1);
    b.writeVector(0, op('v128.bitselect', source, b.readVector(0), mask));
  };
  /** All ones in the lanes whose bit of the immediate is set. */
  const maskOf = (b: InstructionBuilder, lane: 'i16x8' | 'i32x4' | 'i64x2'): V128 => {
    const immediate = b.read(2) as I32;
    const [bits, splat] =
      lane === 'i16x8'
        ? [v16((i) => 1 << i), op('i16x8.splat', immediate)]
        : lane === 'i32x4'
          ? [v32((i) => 1 << i), op('i32x4.splat', immediate)]
          : [v64((i) => 1n << BigInt(i)), op('i64x2.splat', op('i64.extend_i32_u', immediate))];
    return b.keep(op(`${lane}.eq`, op('v128.and', splat, bits), bits));
  };
  table.define('pblendw', '66 0F 3A 0E /r : Vx Wx Ib', sse, (b) => select(b, maskOf(b, 'i16x8')));
  table.define('blendps', '66 0F 3A 0C /r : Vx Wx Ib', sse, (b) => select(b, maskOf(b, 'i32x4')));
  table.define('blendpd', '66 0F 3A 0D /r : Vx Wx Ib', sse, (b) => select(b, maskOf(b, 'i64x2')));
  // By the top bit of each lane of XMM0.
  const variable = (lane: 'i8x16' | 'i32x4' | 'i64x2', bits: number) => (b: InstructionBuilder) =>
    select(b, b.keep(op(`${lane}.shr_s`, b.xmm(0), i32(bits - 1))));
  table.define('pblendvb', '66 0F 38 10 /r : Vx Wx', sse, variable('i8x16', 8));
  table.define('blendvps', '66 0F 38 14 /r : Vx Wx', sse, variable('i32x4', 32));
  table.define('blendvpd', '66 0F 38 15 /r : Vx Wx', sse, variable('i64x2', 64));
}

/** Rearrangements of lanes, extensions and blends. */
export function defineSseShuffles(table: InstructionTable): void {
  defineUnpack(table);
  defineShuffles(table);
  defineExtensions(table);
  defineBlends(table);
}
