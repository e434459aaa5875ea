import {
  type Expression,
  get,
  type I32,
  type I64,
  i32,
  i64,
  laneOp,
  load,
  op,
  type V128,
} from '../../software/wasm/function-builder.ts';
import { shuffleLanes, v8 } from '../../software/wasm/vectors.ts';
import * as L from '../layout.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';

const sse = { unit: 'sse' } as const;
const hot = { unit: 'sse', hot: true } as const;

/** Whole registers. Stores are definitions of their own: only they need write access to the segment. */
function defineWholeMoves(table: InstructionTable): void {
  const move = (aligned: boolean) => (b: InstructionBuilder) => b.writeVector(0, b.readVector(1, aligned), aligned);
  table.define('movups', ['NP 0F 10 /r : Vx Wx', '66 0F 10 /r : Vx Wx', 'F3 0F 6F /r : Vx Wx'], hot, move(false));
  table.define(
    'movups-store',
    ['NP 0F 11 /r : Wx Vx', '66 0F 11 /r : Wx Vx', 'F3 0F 7F /r : Wx Vx'],
    { ...hot, writes: true },
    move(false),
  );
  table.define('movaps', ['NP 0F 28 /r : Vx Wx', '66 0F 28 /r : Vx Wx', '66 0F 6F /r : Vx Wx'], hot, move(true));
  table.define(
    'movaps-store',
    ['NP 0F 29 /r : Wx Vx', '66 0F 29 /r : Wx Vx', '66 0F 7F /r : Wx Vx'],
    { ...hot, writes: true },
    move(true),
  );
  table.define(
    'movntps',
    ['NP 0F 2B /r : Mx Vx', '66 0F 2B /r : Mx Vx', '66 0F E7 /r : Mx Vx'],
    { ...sse, writes: true },
    move(true),
  );
  table.define('movntdqa', '66 0F 38 2A /r : Vx Mx', sse, move(true));
  table.define('lddqu', 'F2 0F F0 /r : Vx Mx', sse, move(false));
  table.define('movnti', 'NP 0F C3 /r : My Gy', { writes: true }, (b) => b.write(0, b.read(1)));
}

/** Scalars and halves of registers. */
function defineScalarMoves(table: InstructionTable): void {
  for (const [name, prefix, size] of [
    ['movss', 'F3', 'd'],
    ['movsd', 'F2', 'q'],
  ] as const) {
    // Between registers the rest of the destination stays; a load clears it.
    table.define(name, `${prefix} 0F 10 /r : V${size} W${size}`, hot, (b) => {
      if (b.isMemory(1)) {
        b.writeZeroExtended(0, b.read(1));
      } else {
        b.write(0, b.read(1));
      }
    });
    table.define(`${name}-store`, `${prefix} 0F 11 /r : W${size} V${size}`, { ...hot, writes: true }, (b) =>
      b.write(0, b.read(1)),
    );
  }
  const toMemory = { ...sse, writes: true } as const;
  table.define('movlps', ['NP 0F 12 /r mem : Vq Mq', '66 0F 12 /r : Vq Mq'], hot, (b) => b.write(0, b.read(1)));
  table.define('movhlps', 'NP 0F 12 /r reg : Vq Uq', sse, (b) => b.write(0, b.readHigh(1)));
  table.define('movlps-store', ['NP 0F 13 /r : Mq Vq', '66 0F 13 /r : Mq Vq'], toMemory, (b) => b.write(0, b.read(1)));
  table.define('movhps', ['NP 0F 16 /r mem : Vq Mq', '66 0F 16 /r : Vq Mq'], hot, (b) =>
    b.writeHigh(0, b.read(1) as I64),
  );
  table.define('movlhps', 'NP 0F 16 /r reg : Vq Uq', sse, (b) => b.writeHigh(0, b.read(1) as I64));
  table.define('movhps-store', ['NP 0F 17 /r : Mq Vq', '66 0F 17 /r : Mq Vq'], { ...toMemory, hot: true }, (b) =>
    b.write(0, b.readHigh(1)),
  );
  table.define('movq', 'F3 0F 7E /r : Vq Wq', hot, (b) => b.writeZeroExtended(0, b.read(1)));
  table.define('movq-store', '66 0F D6 /r : Wq Vq', { ...hot, writes: true }, (b) => {
    if (b.isMemory(0)) {
      b.write(0, b.read(1));
    } else {
      b.writeZeroExtended(0, b.read(1));
    }
  });
  table.define('movd', '66 0F 6E /r : Vx Ey', hot, (b) => b.writeZeroExtended(0, b.read(1)));
  table.define('movd-store', '66 0F 7E /r : Ey Vx', { ...hot, writes: true }, (b) =>
    b.write(0, b.read(1, b.operand(0).size)),
  );
}

/** What instructions that touch MMX registers do first: #MF for a pending x87 exception. */
export function checkMmx(b: InstructionBuilder): void {
  b.faultIf(op('i32.and', load('i32.load', get(b.cpu), L.FPU_STATUS), i32(0x80)), L.VECTOR_MF);
}

/** Enters the MMX state: TOP 0 and no register empty. */
export function enterMmx(b: InstructionBuilder): void {
  b.setField32(L.FPU_TOP, i32(0));
  b.setField32(L.FPU_VALID, i32(0xff));
}

/** Writes an MMX register; as an x87 register it reads as a NaN or infinity. */
export function writeMmx(b: InstructionBuilder, index: number, value: I64): void {
  b.write(index, value);
  b.f.store('i32.store16', b.registerAddress(index), i32(0xffff), 8);
}

/** Between XMM and MMX registers. */
function defineMmxMoves(table: InstructionTable): void {
  table.define('movdq2q', 'F2 0F D6 /r : Pq Uq', { unit: 'sse' }, (b) => {
    checkMmx(b);
    enterMmx(b);
    writeMmx(b, 0, b.read(1) as I64);
  });
  table.define('movq2dq', 'F3 0F D6 /r : Vx Nq', { unit: 'sse' }, (b) => {
    checkMmx(b);
    enterMmx(b);
    b.writeZeroExtended(0, b.read(1));
  });
}

function defineMasks(table: InstructionTable): void {
  const mask = (name: string, encoding: string, of: (v: V128) => I32, isHot = false) =>
    table.define(name, encoding, { ...sse, hot: isHot }, (b) => b.write(0, of(b.readVector(1))));
  mask('movmskps', 'NP 0F 50 /r : Gd Ux', (v) => op('i32x4.bitmask', v));
  mask('movmskpd', '66 0F 50 /r : Gd Ux', (v) => op('i64x2.bitmask', v));
  mask('pmovmskb', '66 0F D7 /r : Gd Ux', (v) => op('i8x16.bitmask', v), true);
  table.define('maskmovdqu', '66 0F F7 /r : Vx Ux', { ...sse, implicitMemory: true, writes: true }, (b) => {
    const value = b.readVector(0);
    const mask = b.readVector(1);
    const at = b.addressRegister(7);
    for (let i = 0; i < 16; i++) {
      b.f.if(op('i32.and', laneOp('i8x16.extract_lane_u', i, mask), i32(0x80)), () =>
        b.storeMemory(
          b.sourceAddress(b.keep(op('i64.add', at, i64(i))), 1, true),
          laneOp('i8x16.extract_lane_u', i, value),
          1,
        ),
      );
    }
  });
}

/** Parts of registers by number: PINSR, PEXTR, INSERTPS, EXTRACTPS. */
function defineLanes(table: InstructionTable): void {
  /** The lane's place in bytes: the immediate modulo the number of lanes. */
  const place = (b: InstructionBuilder, index: number, laneBytes: number): I32 => {
    const lane = op('i32.and', b.read(index, 1), i32(16 / laneBytes - 1));
    return laneBytes === 1 ? lane : op('i32.mul', lane, i32(laneBytes));
  };
  const insert = (b: InstructionBuilder) => {
    const { size } = b.operand(1);
    b.writeLaneAt(0, b.keep(place(b, 2, size)), b.read(1), size);
  };
  table.define('pinsrb', ['66 0F 3A 20 /r reg : Vx Rd Ib', '66 0F 3A 20 /r mem : Vx Mb Ib'], sse, (b) =>
    b.writeLaneAt(0, b.keep(place(b, 2, 1)), b.read(1, 1), 1),
  );
  table.define('pinsrw', '66 0F C4 /r : Vx Ew Ib', sse, insert);
  table.define('pinsrd', '66 0F 3A 22 /r : Vx Ey Ib', sse, insert);
  const extract = (laneBytes: 1 | 2) => (b: InstructionBuilder) =>
    b.write(0, b.readLaneAt(1, b.keep(place(b, 2, laneBytes)), laneBytes));
  table.define(
    'pextrb',
    ['66 0F 3A 14 /r reg : Rd Vx Ib', '66 0F 3A 14 /r mem : Mb Vx Ib'],
    { ...sse, writes: true },
    extract(1),
  );
  table.define(
    'pextrw',
    ['66 0F 3A 15 /r reg : Rd Vx Ib', '66 0F 3A 15 /r mem : Mw Vx Ib', '66 0F C5 /r : Gd Ux Ib'],
    { ...sse, writes: true },
    extract(2),
  );
  table.define('pextrd', ['66 0F 3A 16 /r : Ey Vx Ib', '66 0F 3A 17 /r : Ed Vx Ib'], { ...sse, writes: true }, (b) => {
    const { size } = b.operand(0);
    b.write(0, b.readLaneAt(1, b.keep(place(b, 2, size)), size));
  });
  table.define('insertps', '66 0F 3A 21 /r : Vx Wd Ib', sse, (b) => {
    const immediate = b.keep(b.read(2)) as I32;
    // From memory it is always the doubleword there; from a register the one that bits 7:6 select.
    const from = op('i32.and', op('i32.shr_u', immediate, i32(4)), i32(12));
    const value = b.isMemory(1) ? b.read(1) : b.readLaneAt(1, b.keep(from), 4);
    b.writeLaneAt(0, b.keep(op('i32.and', op('i32.shr_u', immediate, i32(2)), i32(12))), value, 4);
    const bits = v8((i) => (i % 4 === 0 ? 1 << (i >> 2) : 0));
    const cleared = op(
      'i32x4.ne',
      op('v128.and', op('i32x4.splat', immediate), bits),
      v8(() => 0),
    );
    b.writeVector(0, op('v128.andnot', b.readVector(0), cleared));
  });
}

function defineDuplicates(table: InstructionTable): void {
  const duplicate = (name: string, encoding: string, lanes: readonly number[]) =>
    table.define(name, encoding, sse, (b) => {
      const source = b.readVector(1);
      b.writeVector(0, shuffleLanes(4, lanes, source, source));
    });
  duplicate('movsldup', 'F3 0F 12 /r : Vx Wx', [0, 0, 2, 2]);
  duplicate('movshdup', 'F3 0F 16 /r : Vx Wx', [1, 1, 3, 3]);
  table.define('movddup', 'F2 0F 12 /r : Vx Wq', sse, (b) => b.writeVector(0, op('i64x2.splat', b.read(1))));
}

/** Control and status register (SDM 1, 10.2.3). */
function defineControl(table: InstructionTable): void {
  table.define('ldmxcsr', 'NP 0F AE /2 mem : Md', sse, (b) => {
    const value = b.read(0) as Expression<'i32'>;
    b.faultIf(op('i32.and', value, i32(~0xffff)), L.VECTOR_GP, 0);
    b.setField32(L.MXCSR, value);
  });
  table.define('stmxcsr', 'NP 0F AE /3 mem : Md', { ...sse, writes: true }, (b) =>
    b.write(0, load('i32.load', get(b.cpu), L.MXCSR)),
  );
}

/** Moves that interpret nothing: whole registers, scalars, halves, lanes, masks. */
export function defineSseMoves(table: InstructionTable): void {
  defineWholeMoves(table);
  defineScalarMoves(table);
  defineMmxMoves(table);
  defineMasks(table);
  defineLanes(table);
  defineDuplicates(table);
  defineControl(table);
}
