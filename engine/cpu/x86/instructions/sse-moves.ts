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
} from '../../software/wasm/function-builder.ts';
import { shuffleLanes, v8 } from '../../software/wasm/vectors.ts';
import * as L from '../layout.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder, Integer } from './instruction-builder.ts';
import { withVex, withVex3 } from './vex.ts';

const sse = { unit: 'sse' } as const;
const hot = { unit: 'sse', hot: true } as const;

/** Whole registers. Stores are definitions of their own: only they need write access to the segment. */
function defineWholeMoves(table: InstructionTable): void {
  const move = (aligned: boolean) => (b: InstructionBuilder) => b.writeLanes(0, b.readLanes(1, aligned), aligned);
  table.define(
    'movups',
    withVex(['NP 0F 10 /r : Vx Wx', '66 0F 10 /r : Vx Wx', 'F3 0F 6F /r : Vx Wx']),
    hot,
    move(false),
  );
  table.define(
    'movups-store',
    withVex(['NP 0F 11 /r : Wx Vx', '66 0F 11 /r : Wx Vx', 'F3 0F 7F /r : Wx Vx']),
    { ...hot, writes: true },
    move(false),
  );
  table.define(
    'movaps',
    withVex(['NP 0F 28 /r : Vx Wx', '66 0F 28 /r : Vx Wx', '66 0F 6F /r : Vx Wx']),
    hot,
    move(true),
  );
  table.define(
    'movaps-store',
    withVex(['NP 0F 29 /r : Wx Vx', '66 0F 29 /r : Wx Vx', '66 0F 7F /r : Wx Vx']),
    { ...hot, writes: true },
    move(true),
  );
  table.define(
    'movntps',
    withVex(['NP 0F 2B /r : Mx Vx', '66 0F 2B /r : Mx Vx', '66 0F E7 /r : Mx Vx']),
    { ...sse, writes: true },
    move(true),
  );
  table.define('movntdqa', withVex('66 0F 38 2A /r : Vx Mx'), sse, move(true));
  table.define('lddqu', withVex('F2 0F F0 /r : Vx Mx'), sse, move(false));
  table.define('movnti', 'NP 0F C3 /r : My Gy', { writes: true }, (b) => b.write(0, b.read(1)));
}

/** Writes both halves of an XMM register. */
function writeHalves(b: InstructionBuilder, low: Integer, high: Integer): void {
  b.writeXmmPart(0, 0, low, 8);
  b.writeXmmPart(0, 8, high, 8);
  b.clearAbove(0);
}

/** Scalars and halves of registers. In VEX forms the other half comes from the first source. */
function defineScalarMoves(table: InstructionTable): void {
  for (const [name, prefix, size] of [
    ['movss', 'F3', 'd'],
    ['movsd', 'F2', 'q'],
  ] as const) {
    // Between registers the rest of the destination stays; a load clears it.
    const loads = [`${prefix} 0F 10 /r : V${size} W${size}`, `VEXLIG ${prefix} 0F 10 /r mem : V${size} M${size}`];
    table.define(name, loads, hot, (b) => {
      if (b.isMemory(1)) {
        b.writeZeroExtended(0, b.read(1));
      } else {
        b.write(0, b.read(1));
      }
    });
    const moves = [
      `VEXLIG ${prefix} 0F 10 /r reg : V${size} H${size} U${size}`,
      `VEXLIG ${prefix} 0F 11 /r reg : U${size} H${size} V${size}`,
    ];
    table.define(name, moves, sse, (b) => b.writeScalar(b.read(b.right)));
    const stores = [`${prefix} 0F 11 /r : W${size} V${size}`, `VEXLIG ${prefix} 0F 11 /r mem : M${size} V${size}`];
    table.define(`${name}-store`, stores, { ...hot, writes: true }, (b) => b.write(0, b.read(1)));
  }
  const toMemory = { ...sse, writes: true } as const;
  table.define('movlps', ['NP 0F 12 /r mem : Vq Mq', '66 0F 12 /r : Vq Mq'], hot, (b) => b.write(0, b.read(1)));
  const low = ['VEX128 NP 0F 12 /r mem : Vq Hq Mq', 'VEX128 66 0F 12 /r : Vq Hq Mq'];
  table.define('movlps', low, sse, (b) => writeHalves(b, b.read(2), b.readHigh(1)));
  table.define('movhlps', 'NP 0F 12 /r reg : Vq Uq', sse, (b) => b.write(0, b.readHigh(1)));
  table.define('movhlps', 'VEX128 NP 0F 12 /r reg : Vq Hq Uq', sse, (b) =>
    writeHalves(b, b.readHigh(2), b.readHigh(1)),
  );
  table.define('movlps-store', withVex(['NP 0F 13 /r : Mq Vq', '66 0F 13 /r : Mq Vq'], 'VEX128'), toMemory, (b) =>
    b.write(0, b.read(1)),
  );
  table.define('movhps', ['NP 0F 16 /r mem : Vq Mq', '66 0F 16 /r : Vq Mq'], hot, (b) =>
    b.writeHigh(0, b.read(1) as I64),
  );
  const high = ['VEX128 NP 0F 16 /r : Vq Hq Wq', 'VEX128 66 0F 16 /r mem : Vq Hq Mq'];
  table.define('movhps', high, sse, (b) => {
    const value = b.read(2);
    writeHalves(b, b.read(1), value);
  });
  table.define('movlhps', 'NP 0F 16 /r reg : Vq Uq', sse, (b) => b.writeHigh(0, b.read(1) as I64));
  table.define(
    'movhps-store',
    withVex(['NP 0F 17 /r : Mq Vq', '66 0F 17 /r : Mq Vq'], 'VEX128'),
    { ...toMemory, hot: true },
    (b) => b.write(0, b.readHigh(1)),
  );
  table.define('movq', withVex('F3 0F 7E /r : Vq Wq', 'VEX128'), hot, (b) => b.writeZeroExtended(0, b.read(1)));
  table.define('movq-store', withVex('66 0F D6 /r : Wq Vq', 'VEX128'), { ...hot, writes: true }, (b) => {
    if (b.isMemory(0)) {
      b.write(0, b.read(1));
    } else {
      b.writeZeroExtended(0, b.read(1));
    }
  });
  table.define('movd', withVex('66 0F 6E /r : Vx Ey', 'VEX128'), hot, (b) => b.writeZeroExtended(0, b.read(1)));
  table.define('movd-store', withVex('66 0F 7E /r : Ey Vx', 'VEX128'), { ...hot, writes: true }, (b) =>
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
  const mask = (name: string, encoding: string, lane: 'i8x16' | 'i32x4' | 'i64x2', bits: number, isHot = false) =>
    table.define(name, withVex(encoding), { ...sse, hot: isHot }, (b) => {
      const [low, high] = b.readLanes(1).map((value) => op(`${lane}.bitmask`, value));
      b.write(0, high === undefined ? (low as I32) : op('i32.or', low as I32, op('i32.shl', high, i32(bits))));
    });
  mask('movmskps', 'NP 0F 50 /r : Gd Ux', 'i32x4', 4);
  mask('movmskpd', '66 0F 50 /r : Gd Ux', 'i64x2', 2);
  mask('pmovmskb', '66 0F D7 /r : Gd Ux', 'i8x16', 16, true);
  table.define(
    'maskmovdqu',
    withVex('66 0F F7 /r : Vx Ux', 'VEX128'),
    { ...sse, implicitMemory: true, writes: true },
    (b) => {
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
    },
  );
}

/** Parts of registers by number: PINSR, PEXTR, INSERTPS, EXTRACTPS. */
function defineLanes(table: InstructionTable): void {
  /** The lane's place in bytes: the immediate modulo the number of lanes. */
  const place = (b: InstructionBuilder, index: number, laneBytes: number): I32 => {
    const lane = op('i32.and', b.read(index, 1), i32(16 / laneBytes - 1));
    return laneBytes === 1 ? lane : op('i32.mul', lane, i32(laneBytes));
  };
  /** Replaces a lane of `size` bytes of the first source. */
  const insertAt = (b: InstructionBuilder, at: I32, value: Integer, size: number) => {
    if (b.left !== 0) {
      b.writeXmm(0, b.readXmm(b.left));
    }
    b.writeLaneAt(0, at, value, size);
    b.clearAbove(0);
  };
  const insert = (laneBytes?: 1) => (b: InstructionBuilder) => {
    const size = laneBytes ?? b.operand(b.right).size;
    const at = b.keep(place(b, b.control, size));
    insertAt(b, at, b.read(b.right, size), size);
  };
  table.define(
    'pinsrb',
    withVex3(['66 0F 3A 20 /r reg : Vx Rd Ib', '66 0F 3A 20 /r mem : Vx Mb Ib'], 'VEX128'),
    sse,
    insert(1),
  );
  table.define('pinsrw', withVex3('66 0F C4 /r : Vx Ew Ib', 'VEX128'), sse, insert());
  table.define('pinsrd', withVex3('66 0F 3A 22 /r : Vx Ey Ib', 'VEX128'), sse, insert());
  const extract = (laneBytes: 1 | 2) => (b: InstructionBuilder) =>
    b.write(0, b.readLaneAt(1, b.keep(place(b, 2, laneBytes)), laneBytes));
  table.define(
    'pextrb',
    withVex(['66 0F 3A 14 /r reg : Rd Vx Ib', '66 0F 3A 14 /r mem : Mb Vx Ib'], 'VEX128'),
    { ...sse, writes: true },
    extract(1),
  );
  table.define(
    'pextrw',
    withVex(['66 0F 3A 15 /r reg : Rd Vx Ib', '66 0F 3A 15 /r mem : Mw Vx Ib', '66 0F C5 /r : Gd Ux Ib'], 'VEX128'),
    { ...sse, writes: true },
    extract(2),
  );
  table.define(
    'pextrd',
    withVex(['66 0F 3A 16 /r : Ey Vx Ib', '66 0F 3A 17 /r : Ed Vx Ib'], 'VEX128'),
    { ...sse, writes: true },
    (b) => {
      const { size } = b.operand(0);
      b.write(0, b.readLaneAt(1, b.keep(place(b, 2, size)), size));
    },
  );
  table.define('insertps', withVex3('66 0F 3A 21 /r : Vx Wd Ib', 'VEX128'), sse, (b) => {
    const immediate = b.keep(b.read(b.control)) as I32;
    // From memory it is always the doubleword there; from a register the one that bits 7:6 select.
    const from = op('i32.and', op('i32.shr_u', immediate, i32(4)), i32(12));
    const value = b.isMemory(b.right) ? b.read(b.right) : b.readLaneAt(b.right, b.keep(from), 4);
    insertAt(b, b.keep(op('i32.and', op('i32.shr_u', immediate, i32(2)), i32(12))), value, 4);
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
  const duplicate = (name: string, encodings: readonly string[], size: 4 | 8, lanes: readonly number[]) =>
    table.define(name, encodings, sse, (b) => {
      const source = b.readLanes(1);
      b.writeLanes(
        0,
        source.map((value) => shuffleLanes(size, lanes, value, value)),
      );
    });
  duplicate('movsldup', withVex('F3 0F 12 /r : Vx Wx'), 4, [0, 0, 2, 2]);
  duplicate('movshdup', withVex('F3 0F 16 /r : Vx Wx'), 4, [1, 1, 3, 3]);
  duplicate('movddup', ['VEX256 F2 0F 12 /r : Vx Wx'], 8, [0, 0]);
  table.define('movddup', withVex('F2 0F 12 /r : Vx Wq', 'VEX128'), sse, (b) =>
    b.writeVector(0, op('i64x2.splat', b.read(1))),
  );
}

/** Control and status register (SDM 1, 10.2.3). */
function defineControl(table: InstructionTable): void {
  table.define('ldmxcsr', withVex('NP 0F AE /2 mem : Md', 'VEX128'), sse, (b) => {
    const value = b.read(0) as Expression<'i32'>;
    b.faultIf(op('i32.and', value, i32(~0xffff)), L.VECTOR_GP, 0);
    b.setField32(L.MXCSR, value);
  });
  table.define('stmxcsr', withVex('NP 0F AE /3 mem : Md', 'VEX128'), { ...sse, writes: true }, (b) =>
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
