import { type I32, i32, op, select, type V128 } from '../../software/wasm/function-builder.ts';
import { moveBytes, shuffleLanes, v8, v16, v32, v64, zeroVector } from '../../software/wasm/vectors.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import { withVex, withVex3 } from './vex.ts';

const sse = { unit: 'sse' } as const;

/** An instruction that treats each lane of its sources alike. */
function eachLane(compute: (b: InstructionBuilder, first: V128, second: V128, lane: number) => V128) {
  return (b: InstructionBuilder): void => {
    const second = b.readLanes(b.right);
    const first = b.readLanes(b.left);
    b.writeLanes(
      0,
      second.map((value, lane) => compute(b, first[lane] as V128, value, lane)),
    );
  };
}

/** The same of one source. */
function eachLaneOf(compute: (b: InstructionBuilder, source: V128) => V128) {
  return (b: InstructionBuilder): void =>
    b.writeLanes(
      0,
      b.readLanes(1).map((value) => compute(b, value)),
    );
}

function defineUnpack(table: InstructionTable): void {
  const unpack = (name: string, encodings: readonly string[], size: 1 | 2 | 4 | 8, high: boolean, hot = false) => {
    const lanes = 16 / size;
    const order = Array.from({ length: lanes }, (_, i) => (i >> 1) + (high ? lanes / 2 : 0) + (i & 1 ? lanes : 0));
    table.define(
      name,
      withVex3(encodings.map((encoding) => `${encoding} /r : Vx Wx`)),
      { ...sse, hot },
      eachLane((_, first, second) => shuffleLanes(size, order, first, second)),
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
  table.define(
    'pshufd',
    withVex('66 0F 70 /r : Vx Wx Ib'),
    { ...sse, hot: true },
    eachLaneOf((b, source) => {
      const known = b.knownImmediate();
      return known === undefined
        ? op('i8x16.swizzle', source, dwordControl(laneNumbers(b.read(2) as I32)))
        : shuffleLanes(
            4,
            [0, 1, 2, 3].map((i) => field(known, i)),
            source,
            source,
          );
    }),
  );
  for (const [name, prefix, from] of [
    ['pshuflw', 'F2', 0],
    ['pshufhw', 'F3', 4],
  ] as const) {
    table.define(
      name,
      withVex(`${prefix} 0F 70 /r : Vx Wx Ib`),
      sse,
      eachLaneOf((b, source) => shuffleWords(b, source, from)),
    );
  }
  // The low two lanes come from the first source, the others from the second.
  table.define(
    'shufps',
    withVex3('NP 0F C6 /r : Vx Wx Ib'),
    sse,
    eachLane((b, first, second) => {
      const known = b.knownImmediate();
      if (known !== undefined) {
        const lanes = [0, 1, 2, 3].map((i) => field(known, i) + (i < 2 ? 0 : 4));
        return shuffleLanes(4, lanes, first, second);
      }
      const control = b.keep(dwordControl(laneNumbers(b.read(b.control) as I32)));
      return shuffleLanes(8, [0, 3], op('i8x16.swizzle', first, control), op('i8x16.swizzle', second, control));
    }),
  );
  table.define(
    'shufpd',
    withVex3('66 0F C6 /r : Vx Wx Ib'),
    sse,
    eachLane((b, first, second, lane) => {
      const immediate = b.keep(b.read(b.control)) as I32;
      const pick = (value: V128, bit: number) =>
        select(
          op('i32.and', immediate, i32(bit)),
          shuffleLanes(8, [1, 1], value, value),
          shuffleLanes(8, [0, 0], value, value),
        );
      return shuffleLanes(8, [0, 2], pick(first, 1 << (lane * 2)), pick(second, 2 << (lane * 2)));
    }),
  );
  table.define(
    'pshufb',
    withVex3('66 0F 38 00 /r : Vx Wx'),
    sse,
    eachLane((_, first, second) =>
      op(
        'i8x16.swizzle',
        first,
        op(
          'v128.and',
          second,
          v8(() => 0x8f),
        ),
      ),
    ),
  );
  table.define(
    'palignr',
    withVex3('66 0F 3A 0F /r : Vx Wx Ib'),
    sse,
    eachLane((b, first, second) => {
      const immediate = b.keep(b.read(b.control)) as I32;
      const count = b.keep(select(op('i32.gt_u', immediate, i32(32)), i32(32), immediate));
      return op('v128.or', moveBytes(second, count), moveBytes(first, op('i32.sub', count, i32(16))));
    }),
  );
  for (const [name, digit] of [
    ['psrldq', 3],
    ['pslldq', 7],
  ] as const) {
    table.define(name, withVex3(`66 0F 73 /${digit} reg : Ux Ib`), sse, (b) => {
      const immediate = b.keep(b.read(b.right)) as I32;
      const count = b.keep(select(op('i32.gt_u', immediate, i32(16)), i32(16), immediate));
      const by = b.keep(name === 'psrldq' ? count : op('i32.sub', i32(0), count));
      b.writeLanes(
        0,
        b.readLanes(b.left).map((value) => moveBytes(value, by)),
      );
    });
  }
}

/** PSHUFLW and PSHUFHW: the half that begins with word `from` is shuffled, the other stays where it is. */
function shuffleWords(b: InstructionBuilder, source: V128, from: 0 | 4): V128 {
  const known = b.knownImmediate();
  if (known !== undefined) {
    const lanes = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => ((i & 4) === from ? from + field(known, i & 3) : i));
    return shuffleLanes(2, lanes, source, source);
  }
  // Word numbers of the shuffled half as control bytes.
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
  return op('i8x16.swizzle', source, shuffleLanes(8, [0, 2], low, high));
}

function defineExtensions(table: InstructionTable): void {
  const steps = {
    b: 'i16x8.extend_low_i8x16',
    w: 'i32x4.extend_low_i16x8',
    d: 'i64x2.extend_low_i32x4',
  } as const;
  const extend = (b: InstructionBuilder, from: string, to: string, sign: 's' | 'u') => {
    const source = b.readLanes(1)[0] as V128;
    // What each lane of the destination takes of the source.
    const bytes = 16 >> ('bwdq'.indexOf(to) - 'bwdq'.indexOf(from));
    const lanes = Array.from({ length: b.lanes }, (_, lane) => {
      const order = Array.from({ length: 16 }, (__, i) => (i + lane * bytes) & 15);
      let value = lane === 0 ? source : shuffleLanes(1, order, source, source);
      for (const step of 'bwd'.slice('bwd'.indexOf(from), 'bwdq'.indexOf(to))) {
        value = op(`${steps[step as 'b' | 'w' | 'd']}_${sign}`, value);
      }
      return value;
    });
    b.writeLanes(0, lanes);
  };
  for (const [i, [from, to, size, part]] of (
    [
      ['b', 'w', 'q', 'h'],
      ['b', 'd', 'd', 'f'],
      ['b', 'q', 'w', 'e'],
      ['w', 'd', 'q', 'h'],
      ['w', 'q', 'd', 'f'],
      ['d', 'q', 'q', 'h'],
    ] as const
  ).entries()) {
    for (const [kind, row, sign] of [
      ['sx', 2, 's'],
      ['zx', 3, 'u'],
    ] as const) {
      const encodings = [`66 0F 38 ${row}${i} /r : Vx W${size}`, `VEX 66 0F 38 ${row}${i} /r : Vx W${part}`];
      table.define(`pmov${kind}${from}${to}`, encodings, sse, (b) => extend(b, from, to, sign));
    }
  }
}

function defineBlends(table: InstructionTable): void {
  /** All ones in the lanes whose bit of the immediate is set, from bit `from` on. */
  const maskOf = (b: InstructionBuilder, lane: 'i16x8' | 'i32x4' | 'i64x2', from: number): V128 => {
    const immediate = b.keep(op('i32.shr_u', b.read(b.control), i32(from))) as I32;
    const [bits, splat] =
      lane === 'i16x8'
        ? [v16((i) => 1 << i), op('i16x8.splat', immediate)]
        : lane === 'i32x4'
          ? [v32((i) => 1 << i), op('i32x4.splat', immediate)]
          : [v64((i) => 1n << BigInt(i)), op('i64x2.splat', op('i64.extend_i32_u', immediate))];
    return b.keep(op(`${lane}.eq`, op('v128.and', splat, bits), bits));
  };
  // Of PBLENDW both lanes heed the whole immediate.
  for (const [name, opcode, lane, perLane] of [
    ['pblendw', '0E', 'i16x8', 0],
    ['blendps', '0C', 'i32x4', 4],
    ['blendpd', '0D', 'i64x2', 2],
  ] as const) {
    table.define(
      name,
      withVex3(`66 0F 3A ${opcode} /r : Vx Wx Ib`),
      sse,
      eachLane((b, first, second, i) => op('v128.bitselect', second, first, maskOf(b, lane, perLane * i))),
    );
  }
  // By the top bit of each lane of XMM0, or of a fourth operand.
  for (const [name, opcode, vexOpcode, lane, bits] of [
    ['pblendvb', '10', '4C', 'i8x16', 8],
    ['blendvps', '14', '4A', 'i32x4', 32],
    ['blendvpd', '15', '4B', 'i64x2', 64],
  ] as const) {
    const encodings = [`66 0F 38 ${opcode} /r : Vx Wx`, `VEX 66 0F 3A ${vexOpcode} /r W0 : Vx Hx Wx Lx`];
    table.define(name, encodings, sse, (b) => {
      const second = b.readLanes(b.right);
      const first = b.readLanes(b.left);
      const masks = b.vex ? b.readLanes(3) : [b.xmm(0)];
      b.writeLanes(
        0,
        second.map((value, i) => {
          const mask = b.keep(op(`${lane}.shr_s`, masks[i] as V128, i32(bits - 1)));
          return op('v128.bitselect', value, first[i] as V128, mask);
        }),
      );
    });
  }
}

/** Rearrangements of lanes, extensions and blends. */
export function defineSseShuffles(table: InstructionTable): void {
  defineUnpack(table);
  defineShuffles(table);
  defineExtensions(table);
  defineBlends(table);
}
