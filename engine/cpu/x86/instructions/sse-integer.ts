import { type I32, i32, i64, laneOp, op, select, type V128 } from '../../software/wasm/function-builder.ts';
import type { OpName } from '../../software/wasm/opcodes.ts';
import { shuffleLanes, v8, v16, v32, v64, zeroVector } from '../../software/wasm/vectors.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import { withVex, withVex3 } from './vex.ts';

const sse = { unit: 'sse' } as const;

type Binary = (b: InstructionBuilder, destination: V128, source: V128) => V128;

/** Vector operations of WebAssembly that mean the same; 'hot' ones are common in compiled code and string functions. */
const DIRECT: readonly (readonly [name: string, opcode: string, op: OpName, hot?: 'hot'])[] = [
  ['paddb', '0F FC', 'i8x16.add'],
  ['paddw', '0F FD', 'i16x8.add'],
  ['paddd', '0F FE', 'i32x4.add', 'hot'],
  ['paddq', '0F D4', 'i64x2.add', 'hot'],
  ['psubb', '0F F8', 'i8x16.sub'],
  ['psubw', '0F F9', 'i16x8.sub'],
  ['psubd', '0F FA', 'i32x4.sub'],
  ['psubq', '0F FB', 'i64x2.sub'],
  ['paddsb', '0F EC', 'i8x16.add_sat_s'],
  ['paddsw', '0F ED', 'i16x8.add_sat_s'],
  ['paddusb', '0F DC', 'i8x16.add_sat_u'],
  ['paddusw', '0F DD', 'i16x8.add_sat_u'],
  ['psubsb', '0F E8', 'i8x16.sub_sat_s'],
  ['psubsw', '0F E9', 'i16x8.sub_sat_s'],
  ['psubusb', '0F D8', 'i8x16.sub_sat_u'],
  ['psubusw', '0F D9', 'i16x8.sub_sat_u'],
  ['pminub', '0F DA', 'i8x16.min_u'],
  ['pmaxub', '0F DE', 'i8x16.max_u'],
  ['pminsw', '0F EA', 'i16x8.min_s'],
  ['pmaxsw', '0F EE', 'i16x8.max_s'],
  ['pminsb', '0F 38 38', 'i8x16.min_s'],
  ['pminsd', '0F 38 39', 'i32x4.min_s'],
  ['pminuw', '0F 38 3A', 'i16x8.min_u'],
  ['pminud', '0F 38 3B', 'i32x4.min_u'],
  ['pmaxsb', '0F 38 3C', 'i8x16.max_s'],
  ['pmaxsd', '0F 38 3D', 'i32x4.max_s'],
  ['pmaxuw', '0F 38 3E', 'i16x8.max_u'],
  ['pmaxud', '0F 38 3F', 'i32x4.max_u'],
  ['pavgb', '0F E0', 'i8x16.avgr_u'],
  ['pavgw', '0F E3', 'i16x8.avgr_u'],
  ['pmullw', '0F D5', 'i16x8.mul'],
  ['pmulld', '0F 38 40', 'i32x4.mul'],
  ['pmaddwd', '0F F5', 'i32x4.dot_i16x8_s'],
  ['pcmpeqb', '0F 74', 'i8x16.eq', 'hot'],
  ['pcmpeqw', '0F 75', 'i16x8.eq'],
  ['pcmpeqd', '0F 76', 'i32x4.eq', 'hot'],
  ['pcmpeqq', '0F 38 29', 'i64x2.eq'],
  ['pcmpgtb', '0F 64', 'i8x16.gt_s'],
  ['pcmpgtw', '0F 65', 'i16x8.gt_s'],
  ['pcmpgtd', '0F 66', 'i32x4.gt_s'],
  ['pcmpgtq', '0F 38 37', 'i64x2.gt_s'],
  ['packsswb', '0F 63', 'i8x16.narrow_i16x8_s'],
  ['packuswb', '0F 67', 'i8x16.narrow_i16x8_u'],
  ['packssdw', '0F 6B', 'i16x8.narrow_i32x4_s'],
  ['packusdw', '0F 38 2B', 'i16x8.narrow_i32x4_u'],
];

function binary(
  table: InstructionTable,
  name: string,
  encodings: string | readonly string[],
  compute: Binary,
  hot = false,
): void {
  table.define(name, withVex3(encodings), { ...sse, hot }, (b) => {
    const source = b.readLanes(b.right);
    const first = b.readLanes(b.left);
    b.writeLanes(
      0,
      source.map((value, lane) => compute(b, first[lane] as V128, value)),
    );
  });
}

function defineDirect(table: InstructionTable): void {
  for (const [name, opcode, operation, hot] of DIRECT) {
    binary(table, name, `66 ${opcode} /r : Vx Wx`, (_, a, c) => op(operation, a, c) as V128, hot === 'hot');
  }
  // Logic is the same for integers and floating point.
  const logic = (name: string, integer: string, float: string, compute: Binary) =>
    binary(
      table,
      name,
      [`66 0F ${integer} /r : Vx Wx`, `NP 0F ${float} /r : Vx Wx`, `66 0F ${float} /r : Vx Wx`],
      compute,
      true,
    );
  logic('pand', 'DB', '54', (_, a, c) => op('v128.and', a, c));
  logic('pandn', 'DF', '55', (_, a, c) => op('v128.andnot', c, a));
  logic('por', 'EB', '56', (_, a, c) => op('v128.or', a, c));
  logic('pxor', 'EF', '57', (_, a, c) => op('v128.xor', a, c));
  for (const [name, opcode, operation] of [
    ['pabsb', '1C', 'i8x16.abs'],
    ['pabsw', '1D', 'i16x8.abs'],
    ['pabsd', '1E', 'i32x4.abs'],
  ] as const) {
    table.define(name, withVex(`66 0F 38 ${opcode} /r : Vx Wx`), sse, (b) => {
      const source = b.readLanes(1);
      b.writeLanes(
        0,
        source.map((value) => op(operation, value)),
      );
    });
  }
}

/** The even (0) or odd (1) lanes of two vectors, one after the other. */
function alternate(size: 2 | 4, odd: 0 | 1, a: V128, c: V128): V128 {
  return shuffleLanes(
    size,
    Array.from({ length: 16 / size }, (_, i) => i * 2 + odd),
    a,
    c,
  );
}

/** Reads its operands more than once: keeps them. */
function kept(compute: Binary): Binary {
  return (b, a, c) => compute(b, b.keep(a), b.keep(c));
}

function defineMultiply(table: InstructionTable): void {
  const high = (name: string, opcode: string, sign: 's' | 'u') =>
    binary(table, name, `66 0F ${opcode} /r : Vx Wx`, (_, a, c) =>
      alternate(2, 1, op(`i32x4.extmul_low_i16x8_${sign}`, a, c), op(`i32x4.extmul_high_i16x8_${sign}`, a, c)),
    );
  high('pmulhw', 'E5', 's');
  high('pmulhuw', 'E4', 'u');
  const wide = (name: string, opcode: string, sign: 's' | 'u') =>
    binary(table, name, `66 ${opcode} /r : Vx Wx`, (_, a, c) =>
      op(`i64x2.extmul_low_i32x4_${sign}`, alternate(4, 0, a, a), alternate(4, 0, c, c)),
    );
  wide('pmuludq', '0F F4', 'u');
  wide('pmuldq', '0F 38 28', 's');
  binary(
    table,
    'pmaddubsw',
    '66 0F 38 04 /r : Vx Wx',
    kept((_, a, c) =>
      op(
        'i16x8.add_sat_s',
        op(
          'i16x8.mul',
          op(
            'v128.and',
            a,
            v16(() => 0xff),
          ),
          op('i16x8.shr_s', op('i16x8.shl', c, i32(8)), i32(8)),
        ),
        op('i16x8.mul', op('i16x8.shr_u', a, i32(8)), op('i16x8.shr_s', c, i32(8))),
      ),
    ),
  );
  // WebAssembly saturates −1 × −1 where PMULHRSW wraps to −1.
  binary(
    table,
    'pmulhrsw',
    '66 0F 38 0B /r : Vx Wx',
    kept((_, a, c) => {
      const lowest = v16(() => 0x8000);
      const both = op('i16x8.eq', op('v128.and', op('i16x8.eq', a, c), a), lowest);
      return op('v128.xor', op('i16x8.q15mulr_sat_s', a, c), both);
    }),
  );
  binary(
    table,
    'psadbw',
    '66 0F F6 /r : Vx Wx',
    kept((b, a, c) => {
      const differences = op('v128.or', op('i8x16.sub_sat_u', a, c), op('i8x16.sub_sat_u', c, a));
      const fours = b.keep(op('i32x4.extadd_pairwise_i16x8_u', op('i16x8.extadd_pairwise_i8x16_u', differences)));
      return op(
        'v128.and',
        op('i32x4.add', fours, op('i64x2.shr_u', fours, i32(32))),
        v64(() => 0xffffffffn),
      );
    }),
  );
}

function defineHorizontal(table: InstructionTable): void {
  for (const [name, opcode, size, operation] of [
    ['phaddw', '01', 2, 'i16x8.add'],
    ['phaddd', '02', 4, 'i32x4.add'],
    ['phaddsw', '03', 2, 'i16x8.add_sat_s'],
    ['phsubw', '05', 2, 'i16x8.sub'],
    ['phsubd', '06', 4, 'i32x4.sub'],
    ['phsubsw', '07', 2, 'i16x8.sub_sat_s'],
  ] as const) {
    binary(
      table,
      name,
      `66 0F 38 ${opcode} /r : Vx Wx`,
      kept((_, a, c) => op(operation, alternate(size, 0, a, c), alternate(size, 1, a, c))),
    );
  }
  for (const [name, opcode, lane] of [
    ['psignb', '08', 'i8x16'],
    ['psignw', '09', 'i16x8'],
    ['psignd', '0A', 'i32x4'],
  ] as const) {
    binary(
      table,
      name,
      `66 0F 38 ${opcode} /r : Vx Wx`,
      kept((b, a, c) => {
        const negative = b.keep(op(`${lane}.lt_s`, c, zeroVector));
        const signed = op(`${lane}.sub`, op('v128.xor', a, negative), negative);
        return op('v128.andnot', signed, op(`${lane}.eq`, c, zeroVector));
      }),
    );
  }
  // The smallest of eight words in the low word, its number in the next: found as the smallest of value × 65536 + number.
  table.define('phminposuw', withVex('66 0F 38 41 /r : Vx Wx', 'VEX128'), sse, (b) => {
    const source = b.readVector(1);
    const numbered = (part: 'low' | 'high', from: number) =>
      op(
        'v128.or',
        op('i32x4.shl', op(`i32x4.extend_${part}_i16x8_u`, source), i32(16)),
        v32((i) => i + from),
      );
    const fours = b.keep(op('i32x4.min_u', numbered('low', 0), numbered('high', 4)));
    const twos = b.keep(op('i32x4.min_u', fours, shuffleLanes(4, [2, 3, 0, 1], fours, fours)));
    const one = op('i32x4.min_u', twos, shuffleLanes(4, [1, 0, 3, 2], twos, twos));
    b.writeZeroExtended(0, op('i32.rotl', laneOp('i32x4.extract_lane', 0, one), i32(16)));
  });
  // Eight sums of four absolute differences, of bytes from four on and a group of four (SDM 2B, MPSADBW).
  // The upper lane has an immediate of its own in bits 5:3.
  table.define('mpsadbw', withVex3('66 0F 3A 42 /r : Vx Wx Ib'), sse, (b) => {
    const source = b.readLanes(b.right);
    const first = b.readLanes(b.left);
    const immediate = b.keep(b.read(b.control)) as I32;
    b.writeLanes(
      0,
      source.map((value, lane) =>
        sumDifferences(b, first[lane] as V128, value, op('i32.shr_u', immediate, i32(lane * 3))),
      ),
    );
  });
}

function sumDifferences(b: InstructionBuilder, first: V128, second: V128, control: I32): V128 {
  const immediate = b.keep(control);
  const window = b.keep(
    op(
      'i8x16.swizzle',
      first,
      op(
        'i8x16.add',
        v8((i) => i),
        op('i8x16.splat', op('i32.and', immediate, i32(4))),
      ),
    ),
  );
  const group = b.keep(
    op(
      'i8x16.swizzle',
      second,
      op(
        'i8x16.add',
        v8((i) => i & 3),
        op('i8x16.splat', op('i32.shl', op('i32.and', immediate, i32(3)), i32(2))),
      ),
    ),
  );
  let sum: V128 | undefined;
  for (let k = 0; k < 4; k++) {
    const bytes = shuffleLanes(
      1,
      Array.from({ length: 16 }, (_, i) => (i + k) & 15),
      window,
      window,
    );
    const fixed = shuffleLanes(
      1,
      Array.from({ length: 16 }, () => k),
      group,
      group,
    );
    const difference = op(
      'i16x8.abs',
      op('i16x8.sub', op('i16x8.extend_low_i8x16_u', bytes), op('i16x8.extend_low_i8x16_u', fixed)),
    );
    sum = sum === undefined ? difference : op('i16x8.add', sum, difference);
  }
  return b.keep(sum ?? zeroVector);
}

function defineShifts(table: InstructionTable): void {
  const kinds = [
    ['psrlw', 'D1', '71 /2', 'i16x8', 'shr_u', 16],
    ['psrld', 'D2', '72 /2', 'i32x4', 'shr_u', 32],
    ['psrlq', 'D3', '73 /2', 'i64x2', 'shr_u', 64],
    ['psraw', 'E1', '71 /4', 'i16x8', 'shr_s', 16],
    ['psrad', 'E2', '72 /4', 'i32x4', 'shr_s', 32],
    ['psllw', 'F1', '71 /6', 'i16x8', 'shl', 16],
    ['pslld', 'F2', '72 /6', 'i32x4', 'shl', 32],
    ['psllq', 'F3', '73 /6', 'i64x2', 'shl', 64],
  ] as const;
  for (const [name, byRegister, byImmediate, lane, direction, width] of kinds) {
    // Counts beyond the width shift everything out: zeros, or copies of the sign.
    const shift = (value: V128, count: I32, within: I32): V128 => {
      const most = op('i32.sub', i32(width), i32(1));
      return direction === 'shr_s'
        ? op(`${lane}.shr_s`, value, select(within, count, most))
        : op('v128.and', op(`${lane}.${direction}`, value, count), op('i32x4.splat', op('i32.sub', i32(0), within)));
    };
    const byVector = [`66 0F ${byRegister} /r : Vx Wx`, `VEX 66 0F ${byRegister} /r : Vx Hx Wo`];
    table.define(name, byVector, sse, (b) => {
      const count = b.keep(laneOp('i64x2.extract_lane', 0, b.readVector(b.right)));
      const within = b.keep(op('i64.lt_u', count, i64(width)));
      const by = b.keep(op('i32.wrap_i64', count));
      b.writeLanes(
        0,
        b.readLanes(b.left).map((value) => shift(value, by, within)),
      );
    });
    table.define(`${name}-immediate`, withVex3(`66 0F ${byImmediate} reg : Ux Ib`), sse, (b) => {
      const count = b.keep(b.read(b.right)) as I32;
      const within = b.keep(op('i32.lt_u', count, i32(width)));
      b.writeLanes(
        0,
        b.readLanes(b.left).map((value) => shift(value, count, within)),
      );
    });
  }
}

/** Integer arithmetic, logic, comparisons and shifts of whole vectors. */
export function defineSseInteger(table: InstructionTable): void {
  defineDirect(table);
  defineMultiply(table);
  defineHorizontal(table);
  defineShifts(table);
  table.define('ptest', withVex('66 0F 38 17 /r : Vx Wx'), sse, (b) => {
    const source = b.readLanes(1);
    const destination = b.readLanes(0);
    const none = (combine: 'v128.and' | 'v128.andnot') => {
      const parts = source.map((value, lane) => op(combine, value, destination[lane] as V128));
      return op(
        'i32.eqz',
        op(
          'v128.any_true',
          parts.reduce((left, right) => op('v128.or', left, right)),
        ),
      );
    };
    b.flagsCompare(none('v128.and'), i32(0), none('v128.andnot'));
  });
}
