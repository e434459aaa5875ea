import { type I32, type I64, i32, i64, op, select } from '../../software/wasm/function-builder.ts';
import { FLAG_AF, FLAG_OF, FLAG_PF, FLAG_SF } from '../layout.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder, Integer } from './instruction-builder.ts';

const RDX = 2;

const bmi1 = { feature: 'bmi1', undefinedFlags: FLAG_AF | FLAG_PF } as const;
const bmi2 = { feature: 'bmi2' } as const;

function bitsOf(b: InstructionBuilder): number {
  return b.operand(0).size * 8;
}

/** A byte of a register operand, as a count of the operands' type. */
function byteOf(b: InstructionBuilder, value: Integer, from: 0 | 8): Integer {
  const { size } = b.operand(0);
  return b.keep(b.bin('and', from === 0 ? value : b.bin('shr_u', value, b.int(from, size)), b.int(0xff, size)));
}

/** ANDN, BEXTR, BLSI, BLSMSK, BLSR, and BZHI of BMI2 (SDM 2). */
function defineBitFields(table: InstructionTable): void {
  const none = i32(0);
  table.define('andn', 'VEX128 NP 0F 38 F2 /r : Gy By Ey', bmi1, (b) => {
    const { size } = b.operand(0);
    const second = b.read(2);
    const r = b.keep(b.bin('and', b.bin('xor', b.read(1), b.int(-1, size)), second));
    b.write(0, r);
    b.flagsResult(r, none, none, size);
  });
  const extracted = { ...bmi1, undefinedFlags: FLAG_AF | FLAG_PF | FLAG_SF };
  table.define('bextr', 'VEX128 NP 0F 38 F7 /r : Gy Ey By', extracted, (b) => {
    const { size } = b.operand(0);
    const bits = b.int(bitsOf(b), size);
    const zero = b.int(0, size);
    const source = b.read(1);
    const control = b.read(2);
    const start = byteOf(b, control, 0);
    const length = byteOf(b, control, 8);
    const moved = b.keep(select(b.cmp('lt_u', start, bits), b.bin('shr_u', source, start), zero)) as Integer;
    const mask = b.bin('sub', b.bin('shl', b.int(1, size), length), b.int(1, size));
    const r = b.keep(select(b.cmp('lt_u', length, bits), b.bin('and', moved, mask), moved)) as Integer;
    b.write(0, r);
    b.flagsResult(r, none, none, size);
  });
  table.define('bzhi', 'VEX128 NP 0F 38 F5 /r : Gy Ey By', { ...bmi2, undefinedFlags: FLAG_AF | FLAG_PF }, (b) => {
    const { size } = b.operand(0);
    const source = b.read(1);
    const index = byteOf(b, b.read(2), 0);
    const within = b.keep(b.cmp('lt_u', index, b.int(bitsOf(b), size))) as I32;
    const mask = b.bin('sub', b.bin('shl', b.int(1, size), index), b.int(1, size));
    const r = b.keep(select(within, b.bin('and', source, mask), source)) as Integer;
    b.write(0, r);
    b.flagsResult(r, op('i32.eqz', within), none, size);
  });
  // BLSI's carry tells that there was a bit, the others' that there was none.
  for (const [name, digit, combine, carryIfZero] of [
    ['blsr', 1, 'less', true],
    ['blsmsk', 2, 'xor', true],
    ['blsi', 3, 'negate', false],
  ] as const) {
    table.define(name, `VEX128 NP 0F 38 F3 /${digit} : By Ey`, bmi1, (b) => {
      const { size } = b.operand(0);
      const source = b.read(1);
      const below = b.bin('sub', source, b.int(1, size));
      const r = b.keep(
        combine === 'less'
          ? b.bin('and', source, below)
          : combine === 'xor'
            ? b.bin('xor', source, below)
            : b.bin('and', source, b.bin('sub', b.int(0, size), source)),
      );
      b.write(0, r);
      const zero = b.eqz(source);
      b.flagsResult(r, carryIfZero ? zero : op('i32.eqz', zero), none, size);
    });
  }
}

/**
 * LZCNT and TZCNT: CF tells that the source was zero, ZF that the count is. Compilers use TZCNT wherever BSF would do,
 * because older processors take it for that.
 */
function defineCounts(table: InstructionTable): void {
  const undefinedFlags = FLAG_OF | FLAG_SF | FLAG_PF | FLAG_AF;
  for (const [name, opcode, feature] of [
    ['tzcnt', 'BC', 'bmi1'],
    ['lzcnt', 'BD', 'abm'],
  ] as const) {
    table.define(name, `F3 0F ${opcode} /r : Gv Ev`, { feature, hot: name === 'tzcnt', undefinedFlags }, (b) => {
      const source = b.read(1);
      let r: Integer;
      if (b.size === 8) {
        r = op(name === 'tzcnt' ? 'i64.ctz' : 'i64.clz', source);
      } else if (b.size === 4) {
        r = op(name === 'tzcnt' ? 'i32.ctz' : 'i32.clz', source);
      } else {
        r =
          name === 'tzcnt'
            ? op('i32.ctz', op('i32.or', source, i32(0x10000)))
            : op('i32.sub', op('i32.clz', source), i32(16));
      }
      const count = b.keep(r);
      b.write(0, count);
      b.flagsResult(count, b.eqz(source), i32(0));
    });
  }
}

/** MULX, PDEP, PEXT, and shifts and rotations that leave the flags alone. */
function defineWithoutFlags(table: InstructionTable): void {
  table.define('mulx', 'VEX128 F2 0F 38 F6 /r : Gy By Ey', bmi2, (b) => {
    const { size } = b.operand(0);
    const second = b.read(2);
    const first = b.gpr(RDX, size);
    // The high half comes last: it stays if both go to one register.
    if (size === 8) {
      const high = b.multiplyHigh(first as I64, second as I64, false);
      b.write(1, b.keep(b.bin('mul', first, second)));
      b.write(0, high);
      return;
    }
    const product = b.keep(op('i64.mul', b.zeroExtend64(first, 4), b.zeroExtend64(second, 4))) as I64;
    b.write(1, op('i32.wrap_i64', product));
    b.write(0, op('i32.wrap_i64', op('i64.shr_u', product, i64(32))));
  });
  for (const [name, prefix] of [
    ['pdep', 'F2'],
    ['pext', 'F3'],
  ] as const) {
    table.define(name, `VEX128 ${prefix} 0F 38 F5 /r : Gy By Ey`, bmi2, (b) => {
      const { size } = b.operand(0);
      const mask = b.zeroExtend64(b.read(2), size);
      const source = b.zeroExtend64(b.read(1), size);
      b.write(0, b.fit(b.keep(b.f.call(b.helper(name), source, mask)) as I64, size));
    });
  }
  table.define('rorx', 'VEX128 F2 0F 3A F0 /r : Gy Ey Ib', bmi2, (b) => {
    const { size } = b.operand(0);
    const count = b.fit(op('i64.extend_i32_u', b.read(2)), size);
    b.write(0, b.bin('rotr', b.read(1), count));
  });
  for (const [name, prefix, shift] of [
    ['shlx', '66', 'shl'],
    ['sarx', 'F3', 'shr_s'],
    ['shrx', 'F2', 'shr_u'],
  ] as const) {
    table.define(name, `VEX128 ${prefix} 0F 38 F7 /r : Gy Ey By`, bmi2, (b) =>
      b.write(0, b.bin(shift, b.read(1), b.read(2))),
    );
  }
}

/** BMI1, BMI2 and LZCNT. */
export function defineBmi(table: InstructionTable): void {
  defineBitFields(table);
  defineCounts(table);
  defineWithoutFlags(table);
}
