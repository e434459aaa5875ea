import { get, type I32, i32, i64, op } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import { hex, type InstructionTable } from './definition.ts';
import type { InstructionBuilder, Integer } from './instruction-builder.ts';

const { FLAG_AF, FLAG_CF, FLAG_OF, FLAG_PF, FLAG_SF } = L;

/** A count of zero changes nothing, but a 32-bit register is cleared above all the same. */
function whenShifted(b: InstructionBuilder, count: I32, value: Integer, shifted: () => void): void {
  b.f.if(count, shifted, b.size === 4 && !b.isMemory(0) ? () => b.write(0, value) : undefined);
}

/** Shifts and rotates (SDM 1, 7.3.6). */
export function defineShifts(table: InstructionTable): void {
  const names = ['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'shl', 'sar'];
  for (const [digit, name] of names.entries()) {
    const encodings = [
      `C0 /${digit} : Eb Ib`,
      `C1 /${digit} : Ev Ib`,
      `D0 /${digit} : Eb 1`,
      `D1 /${digit} : Ev 1`,
      `D2 /${digit} : Eb CL`,
      `D3 /${digit} : Ev CL`,
    ];
    // OF is defined for counts of 1 only, AF never, CF for SHL and SHR not beyond the operand's size.
    const undefinedFlags = digit < 4 ? FLAG_OF : FLAG_OF | FLAG_AF;
    table.define(name, encodings, { hot: digit >= 4 || digit < 2, writes: true, undefinedFlags }, (b) => {
      const count = b.keep(op('i32.and', b.wrap(b.read(1, 1)), i32(b.size === 8 ? 63 : 31)));
      const value = b.readForWrite(0);
      if (digit < 2) {
        rotate(b, value, count, digit === 0);
      } else if (digit < 4) {
        rotateThroughCarry(b, value, count, digit === 2);
      } else {
        shift(b, value, count, digit === 7 ? 'sar' : digit === 5 ? 'shr' : 'shl');
      }
    });
  }
  for (const [name, opcode] of [
    ['shld', 'A4'],
    ['shrd', 'AC'],
  ] as const) {
    const encodings = [`0F ${opcode} /r : Ev Gv Ib`, `0F ${hex(Number.parseInt(opcode, 16) + 1)} /r : Ev Gv CL`];
    table.define(name, encodings, { writes: true, hot: true, undefinedFlags: FLAG_OF | FLAG_AF }, (b) => {
      const count = b.keep(op('i32.and', b.wrap(b.read(2, 1)), i32(b.size === 8 ? 63 : 31)));
      const source = b.read(1);
      const value = b.readForWrite(0);
      doubleShift(b, value, source, count, name === 'shld');
    });
  }
}

/** The count as the integer type of the operand. */
function countAs(b: InstructionBuilder, count: I32): Integer {
  return b.size === 8 ? op('i64.extend_i32_u', count) : count;
}

function bitOf(b: InstructionBuilder, value: Integer, bit: Integer): I32 {
  return op('i32.and', b.wrap(b.bin('shr_u', value, bit)), i32(1));
}

function topBit(b: InstructionBuilder, value: Integer): I32 {
  return bitOf(b, value, b.int(b.size * 8 - 1));
}

function shift(b: InstructionBuilder, value: Integer, count: I32, kind: 'shl' | 'shr' | 'sar'): void {
  whenShifted(b, count, value, () => {
    const wide = b.keep(kind === 'sar' ? b.signExtend(value) : value);
    const by = b.keep(countAs(b, count));
    const before = b.keep(b.bin('sub', by, b.int(1)));
    if (kind === 'shl') {
      // Narrow operands may be shifted by up to 31: the carry is then a bit above the operand.
      const r = b.keep(b.bin('shl', wide, by));
      const carry = b.keep(bitOf(b, b.bin('shl', wide, before), b.int(b.size * 8 - 1)));
      b.write(0, r);
      b.flagsResult(r, carry, op('i32.xor', topBit(b, b.zeroExtend(r)), carry));
      return;
    }
    const shifter = kind === 'sar' ? 'shr_s' : 'shr_u';
    const r = b.keep(b.bin(shifter, wide, by));
    const carry = b.keep(op('i32.and', b.wrap(b.bin(shifter, wide, before)), i32(1)));
    b.write(0, r);
    b.flagsResult(r, carry, kind === 'sar' ? i32(0) : topBit(b, value));
  });
}

function rotate(b: InstructionBuilder, value: Integer, count: I32, left: boolean): void {
  const bits = b.size * 8;
  whenShifted(b, count, value, () => {
    let r: Integer;
    if (b.size >= 4) {
      r = b.keep(b.bin(left ? 'rotl' : 'rotr', value, countAs(b, count)));
    } else {
      const by = b.keep(op('i32.and', count, i32(bits - 1)));
      const other = op('i32.and', op('i32.sub', i32(bits), by), i32(bits - 1));
      r = b.keep(
        b.zeroExtend(op('i32.or', op('i32.shl', value, left ? by : other), op('i32.shr_u', value, left ? other : by))),
      );
    }
    b.write(0, r);
    const top = b.keep(topBit(b, r));
    if (left) {
      const carry = b.keep(op('i32.and', b.wrap(r), i32(1)));
      b.setCarryOverflow(carry, op('i32.xor', carry, top));
    } else {
      b.setCarryOverflow(top, op('i32.xor', top, bitOf(b, r, b.int(bits - 2))));
    }
  });
}

function rotateThroughCarry(b: InstructionBuilder, value: Integer, count: I32, left: boolean): void {
  const bits = b.size * 8;
  if (b.size === 8) {
    whenShifted(b, count, value, () => {
      const by = b.keep(op('i64.extend_i32_u', count));
      const carry = b.keep(op('i64.extend_i32_u', b.carry()));
      // 65 bits: the operand and the carry. A shift by 64 must give 0, hence two steps.
      const far = b.keep(op('i64.sub', i64(64), by));
      const near = b.keep(op('i64.sub', by, i64(1)));
      const wrapped = left
        ? op('i64.shr_u', op('i64.shr_u', value, far), i64(1))
        : op('i64.shl', op('i64.shl', value, far), i64(1));
      const moved = left ? op('i64.shl', value, by) : op('i64.shr_u', value, by);
      const inserted = left ? op('i64.shl', carry, near) : op('i64.shl', carry, far);
      const r = b.keep(op('i64.or', op('i64.or', moved, inserted), wrapped));
      const out = b.keep(bitOf(b, value, left ? far : near));
      b.write(0, r);
      const top = b.keep(topBit(b, r));
      b.setCarryOverflow(out, left ? op('i32.xor', out, top) : op('i32.xor', top, bitOf(b, r, i64(62))));
    });
    return;
  }
  const by = b.keep(op('i64.extend_i32_u', b.size === 4 ? count : op('i32.rem_u', count, i32(bits + 1))));
  whenShifted(b, op('i64.ne', by, i64(0)), value, () => {
    const all = b.keep(
      op('i64.or', b.zeroExtend64(value), op('i64.shl', op('i64.extend_i32_u', b.carry()), i64(bits))),
    );
    const other = b.keep(op('i64.sub', i64(bits + 1), by));
    const r = b.keep(op('i64.or', op('i64.shl', all, left ? by : other), op('i64.shr_u', all, left ? other : by)));
    const low = b.keep(b.zeroExtend(op('i32.wrap_i64', r)));
    const carry = b.keep(op('i32.and', op('i32.wrap_i64', op('i64.shr_u', r, i64(bits))), i32(1)));
    b.write(0, low);
    const top = b.keep(topBit(b, low));
    b.setCarryOverflow(carry, left ? op('i32.xor', carry, top) : op('i32.xor', top, bitOf(b, low, b.int(bits - 2))));
  });
}

function doubleShift(b: InstructionBuilder, value: Integer, source: Integer, count: I32, left: boolean): void {
  const bits = b.size * 8;
  whenShifted(b, count, value, () => {
    const by = b.keep(countAs(b, count));
    let r: Integer;
    let carry: I32;
    if (b.size === 2) {
      // Counts above 16 are undefined; like processors, take the bits from the destination again.
      const high = left ? value : source;
      const low = left ? source : value;
      const joined = b.keep(op('i64.or', op('i64.shl', b.zeroExtend64(high), i64(16)), b.zeroExtend64(low)));
      const wide = op('i64.extend_i32_u', count);
      if (left) {
        const ring = b.keep(op('i64.or', op('i64.shl', joined, i64(16)), b.zeroExtend64(value)));
        const shifted = b.keep(op('i64.shl', ring, wide));
        r = b.keep(op('i32.wrap_i64', op('i64.shr_u', shifted, i64(32))));
        carry = b.keep(op('i32.and', op('i32.wrap_i64', op('i64.shr_u', shifted, i64(48))), i32(1)));
      } else {
        const ring = b.keep(op('i64.or', joined, op('i64.shl', b.zeroExtend64(value), i64(32))));
        r = b.keep(op('i32.wrap_i64', op('i64.shr_u', ring, wide)));
        carry = b.keep(op('i32.and', op('i32.wrap_i64', op('i64.shr_u', ring, op('i64.sub', wide, i64(1)))), i32(1)));
      }
    } else {
      const far = b.bin('sub', b.int(bits), by);
      r = b.keep(
        left
          ? b.bin('or', b.bin('shl', value, by), b.bin('shr_u', source, far))
          : b.bin('or', b.bin('shr_u', value, by), b.bin('shl', source, far)),
      );
      carry = b.keep(bitOf(b, value, left ? b.bin('sub', b.int(bits), by) : b.bin('sub', by, b.int(1))));
    }
    b.write(0, r);
    const overflow = op('i32.xor', topBit(b, b.zeroExtend(r)), topBit(b, value));
    b.flagsResult(r, carry, overflow);
  });
}

/** Bit tests, bit scans, counts, CRC-32 (SDM 1, 7.3.7). */
export function defineBits(table: InstructionTable): void {
  const operations = ['bt', 'bts', 'btr', 'btc'] as const;
  for (const [i, name] of operations.entries()) {
    const apply = (b: InstructionBuilder, value: Integer, mask: Integer): Integer => {
      switch (name) {
        case 'bts':
          return b.bin('or', value, mask);
        case 'btr':
          return b.bin('and', value, b.bin('xor', mask, b.int(-1)));
        default:
          return b.bin('xor', value, mask);
      }
    };
    const undefinedFlags = FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF;
    const options = { lock: name !== 'bt', writes: name !== 'bt', hot: true, undefinedFlags };
    table.define(name, `0F BA /${4 + i} : Ev Ib`, options, (b) => {
      const bit = b.keep(b.bin('and', b.read(1, b.size), b.int(b.size * 8 - 1)));
      const value = name === 'bt' ? b.read(0) : b.readForWrite(0);
      if (name !== 'bt') {
        b.write(0, apply(b, value, b.bin('shl', b.int(1), bit)));
      }
      b.setCarry(bitOf(b, value, bit));
    });
    // With a memory operand, the register addresses a bit string of any length on either side of the address.
    table.define(name, `0F ${hex(0xa3 + i * 8)} /r : Ev Gv`, options, (b) => {
      const index = b.read(1);
      const bit = b.keep(b.bin('and', index, b.int(b.size * 8 - 1)));
      const mask = () => b.bin('shl', b.int(1), bit);
      if (b.isMemory(0)) {
        const words = op('i64.shr_s', b.signExtend64(index), i64(b.size === 2 ? 4 : b.size === 4 ? 5 : 6));
        b.moveEffectiveAddress(op('i64.mul', words, i64(b.size)));
      }
      const value = name === 'bt' ? b.read(0) : b.readForWrite(0);
      if (name !== 'bt') {
        b.write(0, apply(b, value, mask()));
      }
      b.setCarry(bitOf(b, value, bit));
    });
  }
  const undefinedFlags = FLAG_CF | FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF;
  for (const [name, opcode] of [
    ['bsf', 'BC'],
    ['bsr', 'BD'],
  ] as const) {
    table.define(name, `0F ${opcode} /r : Gv Ev`, { hot: true, undefinedFlags }, (b) => {
      const source = b.read(1);
      b.f.if(
        b.eqz(source),
        () => {
          // The destination keeps its value, as processors do; a 32-bit one is not cleared above either.
          b.setResult(b.int(0));
          b.setAux(i32(0));
        },
        () => {
          const scan = name === 'bsf' ? 'ctz' : 'clz';
          const found = b.size === 8 ? op(`i64.${scan}`, source) : op(`i32.${scan}`, source);
          b.write(0, name === 'bsf' ? found : b.bin('xor', found, b.int(b.size === 8 ? 63 : 31)));
          b.setResult(b.int(1));
          b.setAux(i32(0));
        },
      );
    });
  }
  table.define('popcnt', 'F3 0F B8 /r : Gv Ev', { hot: true }, (b) => {
    const source = b.read(1);
    const r = b.keep(b.size === 8 ? op('i64.popcnt', source) : op('i32.popcnt', source));
    b.write(0, r);
    // OF, SF, AF, CF and PF are cleared; ZF by the source. Parity is corrected so that it always reads odd.
    const zero = b.keep(b.eqz(source));
    b.setField64(L.LF_RES, op('i64.extend_i32_u', op('i32.xor', zero, i32(1))));
    b.setAux(op('i32.shl', zero, i32(8)));
  });
  table.define('crc32', ['F2 0F 38 F0 /r : Gy Eb', 'F2 0F 38 F1 /r : Gy Ev'], {}, (b) => {
    const bytes = b.operand(1).size;
    const source = b.read(1);
    const crc = b.f.local('i32');
    b.f.set(crc, b.wrap(b.read(0)));
    for (let i = 0; i < bytes; i++) {
      const byte =
        bytes === 8
          ? op('i32.and', op('i32.wrap_i64', op('i64.shr_u', source, i64(i * 8))), i32(0xff))
          : op('i32.and', op('i32.shr_u', source, i32(i * 8)), i32(0xff));
      b.f.set(crc, op('i32.xor', get(crc), byte));
      for (let bit = 0; bit < 8; bit++) {
        // Castagnoli polynomial, reflected.
        b.f.set(
          crc,
          op(
            'i32.xor',
            op('i32.shr_u', get(crc), i32(1)),
            op('i32.and', op('i32.sub', i32(0), op('i32.and', get(crc), i32(1))), i32(0x82f63b78)),
          ),
        );
      }
    }
    b.write(0, b.operand(0).size === 8 ? op('i64.extend_i32_u', get(crc)) : get(crc));
  });
}
