import { get, type I32, i32, type V128 } from '../../software/wasm/function-builder.ts';
import * as M from '../mxcsr.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import { type Bits, commonMode, exactLanes, fromHelper, toHelper } from './sse-float-support.ts';

const fma = { unit: 'sse', feature: 'fma' } as const;

/** Which operands are multiplied, and which is added, by the digits in an instruction's name. */
const ORDERS = [
  ['132', 0x90, 0, 2, 1],
  ['213', 0xa0, 1, 0, 2],
  ['231', 0xb0, 1, 2, 0],
] as const;

/** Low digit of the opcode of packed forms; scalars follow. */
const OPERATIONS = [
  ['fmaddsub', 6, M.FUSED_ALTERNATE | M.FUSED_SUBTRACT, false],
  ['fmsubadd', 7, M.FUSED_ALTERNATE, false],
  ['fmadd', 8, 0, true],
  ['fmsub', 0xa, M.FUSED_SUBTRACT, true],
  ['fnmadd', 0xc, M.FUSED_NEGATE, true],
  ['fnmsub', 0xe, M.FUSED_NEGATE | M.FUSED_SUBTRACT, true],
] as const;

function packed(b: InstructionBuilder, bits: Bits, order: readonly [number, number, number], operation: I32): void {
  // Memory can only be the last operand: it is read first.
  const last = b.readLanes(2);
  const sources = [b.readLanes(0), b.readLanes(1), last];
  const [x, y, z] = order.map((index) => sources[index] as V128[]) as [V128[], V128[], V128[]];
  const helper = b.helper(`sse-fused-packed${bits}`);
  const one = (lane: number) =>
    b.f.call(helper, get(b.cpu), operation, x[lane] as V128, y[lane] as V128, z[lane] as V128);
  if (x.length === 1) {
    b.writeLanes(0, exactLanes(b, 1, one));
    return;
  }
  // In the common mode no exception stops the instruction: lanes need not wait for each other.
  b.f.if(
    commonMode(b),
    () => b.writeLanes(0, [b.keep(one(0)) as V128, b.keep(one(1)) as V128]),
    () => b.writeLanes(0, exactLanes(b, 2, one)),
  );
}

function scalar(b: InstructionBuilder, bits: Bits, order: readonly [number, number, number], operation: I32): void {
  const last = b.read(2);
  const sources = [b.read(0), b.read(1), last];
  const [x, y, z] = order.map((index) => toHelper(sources[index] as typeof last)) as [
    ReturnType<typeof toHelper>,
    ReturnType<typeof toHelper>,
    ReturnType<typeof toHelper>,
  ];
  const call = b.f.call(b.helper(`sse-fused-scalar${bits}`), get(b.cpu), operation, x, y, z);
  const value = b.keep(fromHelper(bits, call as typeof x));
  b.leaveOnFault();
  // The rest of the destination stays.
  b.writeXmmPart(0, 0, value, bits / 8);
  b.clearAbove(0);
}

/** FMA3: multiplication and addition with a single rounding (SDM 2C, VFMADD132PD and its kin). */
export function defineFma(table: InstructionTable): void {
  for (const [digits, row, ...order] of ORDERS) {
    for (const [name, column, code, scalars] of OPERATIONS) {
      for (const [letter, bits, wide] of [
        ['s', 32, 'W0'],
        ['d', 64, 'W1'],
      ] as const) {
        const opcode = (column_: number) => (row + column_).toString(16).toUpperCase();
        const operation = i32(code);
        const vector = `VEX 66 0F 38 ${opcode(column)} /r ${wide} : Vx Hx Wx`;
        table.define(`v${name}${digits}p${letter}`, vector, fma, (b) => packed(b, bits, order, operation));
        if (scalars) {
          const type = bits === 64 ? 'q' : 'd';
          const single = `VEXLIG 66 0F 38 ${opcode(column + 1)} /r ${wide} : V${type} H${type} W${type}`;
          table.define(`v${name}${digits}s${letter}`, single, fma, (b) => scalar(b, bits, order, operation));
        }
      }
    }
  }
}
