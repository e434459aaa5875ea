import { d, q } from '../../software/wasm/arithmetic.ts';
import {
  type Expression,
  type I32,
  type I64,
  i32,
  i64,
  laneOp,
  load,
  op,
  select,
  type V128,
} from '../../software/wasm/function-builder.ts';
import type { OpName } from '../../software/wasm/opcodes.ts';
import { moveBytes, shuffleLanes, v8, v16, zeroVector } from '../../software/wasm/vectors.ts';
import * as L from '../layout.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import { checkPending } from './x87-operands.ts';

const mmx = { unit: 'mmx' } as const;

/** After memory was accessed: every MMX instruction makes TOP 0 and all registers valid (SDM 1, 9.5). */
function enter(b: InstructionBuilder): void {
  b.setField32(L.FPU_TOP, i32(0));
  b.setField32(L.FPU_VALID, i32(0xff));
}

/** Operand `index` in the low half of a vector. */
function readVector(b: InstructionBuilder, index: number): V128 {
  return b.isMemory(index) ? b.readLowVector(index) : b.keep(load('v128.load64_zero', b.registerAddress(index)));
}

/** Writes MMX register operand 0, and what makes it a NaN for x87 instructions. */
function writeQuad(b: InstructionBuilder, value: I64): void {
  b.write(0, value);
  b.f.store('i32.store16', b.registerAddress(0), i32(0xffff), 8);
}

function low(value: V128): I64 {
  return laneOp('i64x2.extract_lane', 0, value);
}

type Binary = (b: InstructionBuilder, destination: V128, source: V128) => V128;

/** Destination from destination and source; what the upper halves come to does not matter. */
function binary(table: InstructionTable, name: string, opcode: string, compute: Binary, source = 'Qq'): void {
  table.define(`mmx-${name}`, `NP ${opcode} /r : Pq ${source}`, mmx, (b) => {
    checkPending(b);
    const value = readVector(b, 1);
    enter(b);
    writeQuad(b, low(compute(b, readVector(b, 0), value)));
  });
}

/** Vector operations of WebAssembly that mean the same. */
const DIRECT: readonly (readonly [name: string, opcode: string, op: OpName])[] = [
  ['paddb', '0F FC', 'i8x16.add'],
  ['paddw', '0F FD', 'i16x8.add'],
  ['paddd', '0F FE', 'i32x4.add'],
  ['paddq', '0F D4', 'i64x2.add'],
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
  ['pavgb', '0F E0', 'i8x16.avgr_u'],
  ['pavgw', '0F E3', 'i16x8.avgr_u'],
  ['pmullw', '0F D5', 'i16x8.mul'],
  ['pmaddwd', '0F F5', 'i32x4.dot_i16x8_s'],
  ['pcmpeqb', '0F 74', 'i8x16.eq'],
  ['pcmpeqw', '0F 75', 'i16x8.eq'],
  ['pcmpeqd', '0F 76', 'i32x4.eq'],
  ['pcmpgtb', '0F 64', 'i8x16.gt_s'],
  ['pcmpgtw', '0F 65', 'i16x8.gt_s'],
  ['pcmpgtd', '0F 66', 'i32x4.gt_s'],
  ['pand', '0F DB', 'v128.and'],
  ['por', '0F EB', 'v128.or'],
  ['pxor', '0F EF', 'v128.xor'],
];

/** Both low halves in one vector. */
function join(a: V128, c: V128): V128 {
  return shuffleLanes(8, [0, 2], a, c);
}

/** The even (0) or odd (1) lanes of both low halves, one after the other. */
function alternate(b: InstructionBuilder, size: 2 | 4, odd: 0 | 1, joined: V128): V128 {
  const lanes = Array.from({ length: 16 / size }, (_, i) => (i * 2 + odd) % (16 / size));
  const kept = b.keep(joined);
  return shuffleLanes(size, lanes, kept, kept);
}

function defineArithmetic(table: InstructionTable): void {
  for (const [name, opcode, operation] of DIRECT) {
    binary(table, name, opcode, (_, a, c) => op(operation, a, c) as V128);
  }
  binary(table, 'pandn', '0F DF', (_, a, c) => op('v128.andnot', c, a));
  for (const [name, opcode, narrow] of [
    ['packsswb', '0F 63', 'i8x16.narrow_i16x8_s'],
    ['packuswb', '0F 67', 'i8x16.narrow_i16x8_u'],
    ['packssdw', '0F 6B', 'i16x8.narrow_i32x4_s'],
  ] as const) {
    binary(table, name, opcode, (_, a, c) => op(narrow, join(a, c), zeroVector));
  }
  for (const [name, opcode, size, high] of [
    ['punpcklbw', '0F 60', 1, 0],
    ['punpcklwd', '0F 61', 2, 0],
    ['punpckldq', '0F 62', 4, 0],
    ['punpckhbw', '0F 68', 1, 1],
    ['punpckhwd', '0F 69', 2, 1],
    ['punpckhdq', '0F 6A', 4, 1],
  ] as const) {
    const lanes = 16 / size;
    const first = high ? lanes / 4 : 0;
    const order = Array.from({ length: lanes }, (_, i) => ((first + (i >> 1)) % lanes) + (i & 1 ? lanes : 0));
    // The forms for low halves read only four bytes of memory.
    binary(table, name, opcode, (_, a, c) => shuffleLanes(size, order, a, c), high ? 'Qq' : 'Qd');
  }
  for (const [name, opcode, sign] of [
    ['pmulhw', '0F E5', 's'],
    ['pmulhuw', '0F E4', 'u'],
  ] as const) {
    binary(table, name, opcode, (b, a, c) => alternate(b, 2, 1, op(`i32x4.extmul_low_i16x8_${sign}`, a, c)));
  }
  binary(table, 'pmuludq', '0F F4', (_, a, c) => op('i64x2.extmul_low_i32x4_u', a, c));
  binary(table, 'psadbw', '0F F6', (b, a, c) => {
    const differences = op('v128.or', op('i8x16.sub_sat_u', a, c), op('i8x16.sub_sat_u', c, a));
    const fours = b.keep(op('i32x4.extadd_pairwise_i16x8_u', op('i16x8.extadd_pairwise_i8x16_u', differences)));
    const sums = op('i32x4.add', fours, op('i64x2.shr_u', fours, i32(32)));
    return op('v128.and', sums, op('i64x2.splat', i64(0xffffffff)));
  });
}

/** The SSSE3 instructions on MMX registers. */
function defineSsse3(table: InstructionTable): void {
  for (const [name, opcode, size, operation] of [
    ['phaddw', '01', 2, 'i16x8.add'],
    ['phaddd', '02', 4, 'i32x4.add'],
    ['phaddsw', '03', 2, 'i16x8.add_sat_s'],
    ['phsubw', '05', 2, 'i16x8.sub'],
    ['phsubd', '06', 4, 'i32x4.sub'],
    ['phsubsw', '07', 2, 'i16x8.sub_sat_s'],
  ] as const) {
    binary(table, name, `0F 38 ${opcode}`, (b, a, c) => {
      const both = b.keep(join(a, c));
      return op(operation, alternate(b, size, 0, both), alternate(b, size, 1, both));
    });
  }
  for (const [name, opcode, lane] of [
    ['psignb', '08', 'i8x16'],
    ['psignw', '09', 'i16x8'],
    ['psignd', '0A', 'i32x4'],
  ] as const) {
    binary(table, name, `0F 38 ${opcode}`, (b, a, c) => {
      const negative = b.keep(op(`${lane}.lt_s`, c, zeroVector));
      const signed = op(`${lane}.sub`, op('v128.xor', a, negative), negative);
      return op('v128.andnot', signed, op(`${lane}.eq`, c, zeroVector));
    });
  }
  for (const [name, opcode, lane] of [
    ['pabsb', '1C', 'i8x16'],
    ['pabsw', '1D', 'i16x8'],
    ['pabsd', '1E', 'i32x4'],
  ] as const) {
    binary(table, name, `0F 38 ${opcode}`, (_, _a, c) => op(`${lane}.abs`, c));
  }
  binary(table, 'pshufb', '0F 38 00', (_, a, c) => {
    const control = op(
      'v128.and',
      c,
      v8(() => 0x87),
    );
    return op('i8x16.swizzle', a, control);
  });
  binary(table, 'pmaddubsw', '0F 38 04', (_, a, c) =>
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
  );
  // WebAssembly saturates −1 × −1 where PMULHRSW wraps to −1.
  binary(table, 'pmulhrsw', '0F 38 0B', (_, a, c) => {
    const lowest = v16(() => 0x8000);
    const both = op('i16x8.eq', op('v128.and', op('i16x8.eq', a, c), a), lowest);
    return op('v128.xor', op('i16x8.q15mulr_sat_s', a, c), both);
  });
  table.define('mmx-palignr', 'NP 0F 3A 0F /r : Pq Qq Ib', mmx, (b) => {
    checkPending(b);
    const source = readVector(b, 1);
    enter(b);
    const count = b.read(2) as I32;
    const within = select(d.gtU(count, 16), i32(16), count);
    writeQuad(b, low(moveBytes(b.keep(join(source, readVector(b, 0))), within)));
  });
}

function defineShifts(table: InstructionTable): void {
  for (const [name, byRegister, byImmediate, lane, direction, width] of [
    ['psrlw', 'D1', '71 /2', 'i16x8', 'shr_u', 16],
    ['psrld', 'D2', '72 /2', 'i32x4', 'shr_u', 32],
    ['psrlq', 'D3', '73 /2', 'i64x2', 'shr_u', 64],
    ['psraw', 'E1', '71 /4', 'i16x8', 'shr_s', 16],
    ['psrad', 'E2', '72 /4', 'i32x4', 'shr_s', 32],
    ['psllw', 'F1', '71 /6', 'i16x8', 'shl', 16],
    ['pslld', 'F2', '72 /6', 'i32x4', 'shl', 32],
    ['psllq', 'F3', '73 /6', 'i64x2', 'shl', 64],
  ] as const) {
    // Counts beyond the width shift everything out: zeros, or copies of the sign.
    const shift = (value: V128, count: I32, within: I32): V128 =>
      direction === 'shr_s'
        ? op(`${lane}.shr_s`, value, select(within, count, i32(width - 1)))
        : op('v128.and', op(`${lane}.${direction}`, value, count), op('i32x4.splat', d.sub(0, within)));
    table.define(`mmx-${name}`, `NP 0F ${byRegister} /r : Pq Qq`, mmx, (b) => {
      checkPending(b);
      const count = b.read(1) as I64;
      enter(b);
      writeQuad(b, low(shift(readVector(b, 0), d.wrap(count), b.keep(q.ltU(count, width)))));
    });
    table.define(`mmx-${name}-immediate`, `NP 0F ${byImmediate} reg : Nq Ib`, mmx, (b) => {
      checkPending(b);
      enter(b);
      const count = b.read(1) as I32;
      writeQuad(b, low(shift(readVector(b, 0), count, b.keep(d.ltU(count, width)))));
    });
  }
}

function defineMoves(table: InstructionTable): void {
  const wide = (value: Expression): I64 =>
    value.type === 'i64' ? (value as I64) : op('i64.extend_i32_u', value as I32);
  for (const [name, encoding] of [
    ['movd', 'NP 0F 6E /r : Pq Ey'],
    ['movq', 'NP 0F 6F /r : Pq Qq'],
  ] as const) {
    table.define(`mmx-${name}`, encoding, mmx, (b) => {
      checkPending(b);
      const value = b.read(1);
      enter(b);
      writeQuad(b, wide(value));
    });
  }
  for (const [name, encoding] of [
    ['movd', 'NP 0F 7E /r : Ey Pq'],
    ['movq', 'NP 0F 7F /r : Qq Pq'],
    ['movntq', 'NP 0F E7 /r : Mq Pq'],
  ] as const) {
    table.define(`mmx-${name}-store`, encoding, { ...mmx, writes: true }, (b) => {
      checkPending(b);
      const { kind, size } = b.operand(0);
      const value = b.read(1, size);
      if (kind === 'mmx') {
        writeQuad(b, value as I64);
      } else {
        b.write(0, value);
      }
      enter(b);
    });
  }
  table.define('mmx-pmovmskb', 'NP 0F D7 /r : Gd Nq', mmx, (b) => {
    checkPending(b);
    enter(b);
    b.write(0, d.and(op('i8x16.bitmask', readVector(b, 1)), 0xff));
  });
  table.define('mmx-pextrw', 'NP 0F C5 /r : Gd Nq Ib', mmx, (b) => {
    checkPending(b);
    enter(b);
    const place = q.shl(q.fromU32(d.and(b.read(2) as I32, 3)), 4);
    b.write(0, d.and(d.wrap(q.shr(b.read(1) as I64, place)), 0xffff));
  });
  table.define('mmx-pinsrw', 'NP 0F C4 /r : Pq Ew Ib', mmx, (b) => {
    checkPending(b);
    const word = b.keep(q.fromU32(b.read(1) as I32));
    enter(b);
    const place = b.keep(q.shl(q.fromU32(d.and(b.read(2) as I32, 3)), 4));
    const hole = q.xor(q.shl(0xffff, place), -1);
    writeQuad(b, q.or(q.and(b.read(0) as I64, hole), q.shl(word, place)));
  });
  table.define('mmx-pshufw', 'NP 0F 70 /r : Pq Qq Ib', mmx, (b) => {
    checkPending(b);
    const source = b.read(1) as I64;
    enter(b);
    const order = b.keep(q.fromU32(b.read(2) as I32));
    const word = (i: number) => {
      const number = q.and(q.shr(order, i * 2), 3);
      return q.shl(q.and(q.shr(source, q.shl(number, 4)), 0xffff), i * 16);
    };
    writeQuad(b, q.or(q.or(word(0), word(1)), q.or(word(2), word(3))));
  });
  table.define('mmx-maskmovq', 'NP 0F F7 /r reg : Pq Nq', { ...mmx, implicitMemory: true, writes: true }, (b) => {
    checkPending(b);
    const value = b.read(0) as I64;
    const mask = b.read(1) as I64;
    const at = b.addressRegister(7);
    for (let i = 0; i < 8; i++) {
      b.f.if(d.wrap(q.and(q.shr(mask, i * 8 + 7), 1)), () => {
        const address = b.sourceAddress(b.keep(q.add(at, i)), 1, true);
        b.storeMemory(address, d.and(d.wrap(q.shr(value, i * 8)), 0xff), 1);
      });
    }
    enter(b);
  });
}

/** MMX, and what SSE and SSSE3 added on its registers. Registers lie in the significands of the x87 registers. */
export function defineMmxInstructions(table: InstructionTable): void {
  defineArithmetic(table);
  defineSsse3(table);
  defineShifts(table);
  defineMoves(table);
  table.define('emms', 'NP 0F 77', mmx, (b) => {
    checkPending(b);
    b.setField32(L.FPU_VALID, i32(0));
    b.setField32(L.FPU_TOP, i32(0));
  });
}
