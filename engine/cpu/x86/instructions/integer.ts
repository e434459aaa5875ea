import { defined } from '../../../base/assert.ts';
import { get, type I32, type I64, i32, i64, load, op, select } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import { hex, type InstructionTable } from './definition.ts';
import type { InstructionBuilder, Integer } from './instruction-builder.ts';
import { loadDataSegment } from './privilege-levels.ts';
import { defineBits, defineShifts } from './shifts-and-bits.ts';

const { FLAG_AF, FLAG_CF, FLAG_OF, FLAG_PF, FLAG_SF, FLAG_ZF } = L;

/** Two-operand arithmetic and logic: the value, and how the flags follow from it. */
type Alu = (b: InstructionBuilder, a: Integer, c: Integer) => { flags: (r: Integer) => void; value: Integer };

const ALU: Readonly<Record<string, Alu>> = {
  add: (b, a, c) => ({ value: b.bin('add', a, c), flags: (r) => b.flagsAdd(a, c, r) }),
  or: (b, a, c) => ({ value: b.bin('or', a, c), flags: (r) => b.flagsLogic(r) }),
  adc: (b, a, c) => {
    const carry = b.carry();
    const sum = b.bin('add', b.bin('add', a, c), b.size === 8 ? op('i64.extend_i32_u', carry) : carry);
    return { value: sum, flags: (r) => b.flagsAdd(a, c, r) };
  },
  sbb: (b, a, c) => {
    const carry = b.carry();
    const difference = b.bin('sub', b.bin('sub', a, c), b.size === 8 ? op('i64.extend_i32_u', carry) : carry);
    return { value: difference, flags: (r) => b.flagsSub(a, c, r) };
  },
  and: (b, a, c) => ({ value: b.bin('and', a, c), flags: (r) => b.flagsLogic(r) }),
  sub: (b, a, c) => ({ value: b.bin('sub', a, c), flags: (r) => b.flagsSub(a, c, r) }),
  xor: (b, a, c) => ({ value: b.bin('xor', a, c), flags: (r) => b.flagsLogic(r) }),
};

function defineAlu(table: InstructionTable): void {
  for (const [index, name] of ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'].entries()) {
    const base = index * 8;
    const encodings = [
      `${hex(base)} /r : Eb Gb`,
      `${hex(base + 1)} /r : Ev Gv`,
      `${hex(base + 2)} /r : Gb Eb`,
      `${hex(base + 3)} /r : Gv Ev`,
      `${hex(base + 4)} : AL Ib`,
      `${hex(base + 5)} : rAX Iz`,
      `80 /${index} : Eb Ib`,
      `82 /${index} i64 : Eb Ib`,
      `81 /${index} : Ev Iz`,
      `83 /${index} : Ev Is`,
    ];
    const undefinedFlags = name === 'or' || name === 'and' || name === 'xor' ? FLAG_AF : 0;
    if (name === 'cmp') {
      table.define(name, encodings, { hot: 'bytes' }, (b) => {
        const a = b.read(0);
        const c = b.read(1);
        b.flagsSub(a, c, b.keep(b.bin('sub', a, c)));
      });
      continue;
    }
    const alu = ALU[name] as Alu;
    table.define(name, encodings, { lock: true, hot: true, writes: true, undefinedFlags }, (b) => {
      // The source is read first: it may be memory only when the destination is a register.
      const c = b.read(1);
      const a = b.readForWrite(0);
      const { value, flags } = alu(b, a, c);
      const r = b.keep(value);
      b.write(0, r);
      flags(r);
    });
  }
  table.define(
    'test',
    [
      '84 /r : Eb Gb',
      '85 /r : Ev Gv',
      'A8 : AL Ib',
      'A9 : rAX Iz',
      'F6 /0 : Eb Ib',
      'F6 /1 : Eb Ib',
      'F7 /0 : Ev Iz',
      'F7 /1 : Ev Iz',
    ],
    { hot: 'bytes', undefinedFlags: FLAG_AF },
    (b) => b.flagsLogic(b.keep(b.bin('and', b.read(0), b.read(1)))),
  );
  for (const [name, opcode, digit] of [
    ['inc', '40', 0],
    ['dec', '48', 1],
  ] as const) {
    table.define(
      name,
      [`FE /${digit} : Eb`, `FF /${digit} : Ev`, `${opcode}+r i64 : Zv`],
      { lock: true, hot: true, writes: true },
      (b) => {
        const a = b.readForWrite(0);
        const one = b.int(1);
        const r = b.keep(b.bin(name === 'inc' ? 'add' : 'sub', a, one));
        b.write(0, r);
        b.flagsIncrement(a, r, name === 'dec');
      },
    );
  }
  table.define('neg', ['F6 /3 : Eb', 'F7 /3 : Ev'], { lock: true, hot: true, writes: true }, (b) => {
    const a = b.readForWrite(0);
    const zero = b.int(0);
    const r = b.keep(b.bin('sub', zero, a));
    b.write(0, r);
    b.flagsSub(zero, a, r);
  });
  table.define('not', ['F6 /2 : Eb', 'F7 /2 : Ev'], { lock: true, hot: true, writes: true }, (b) => {
    b.write(0, b.bin('xor', b.readForWrite(0), b.int(-1)));
  });
}

function defineMoves(table: InstructionTable): void {
  table.define(
    'mov',
    ['88 /r : Eb Gb', '89 /r : Ev Gv', 'C6 /0 : Eb Ib', 'C7 /0 : Ev Iz', 'A2 : Ob AL', 'A3 : Ov rAX'],
    { hot: 'bytes', writes: true },
    (b) => b.write(0, b.read(1)),
  );
  table.define(
    'mov',
    ['8A /r : Gb Eb', '8B /r : Gv Ev', 'B0+r : Zb Ib', 'B8+r : Zv Iv', 'A0 : AL Ob', 'A1 : rAX Ov'],
    { hot: 'bytes' },
    (b) => b.write(0, b.read(1)),
  );
  table.define('movzx', ['0F B6 /r : Gv Eb', '0F B7 /r : Gv Ew'], { hot: true }, (b) => {
    const value = b.read(1);
    b.write(0, b.size === 8 ? op('i64.extend_i32_u', value) : value);
  });
  table.define('movsx', ['0F BE /r : Gv Eb', '0F BF /r : Gv Ew'], { hot: true }, (b) => {
    const { size } = b.operand(1);
    const value = b.signExtend(b.read(1), size);
    b.write(0, b.size === 8 ? op('i64.extend_i32_s', value) : value);
  });
  table.define('movsxd', '63 /r o64 : Gv Ez', { hot: true }, (b) => {
    const value = b.read(1);
    b.write(0, b.size === 8 ? op('i64.extend_i32_s', value) : value);
  });
  table.define('lea', '8D /r : Gv Ma', { hot: true }, (b) => b.write(0, b.fit(b.effectiveAddress())));
  table.define('xchg', ['86 /r : Eb Gb', '87 /r : Ev Gv'], { lock: true, hot: true, writes: true }, (b) => {
    const c = b.read(1);
    const a = b.readForWrite(0);
    b.write(0, c);
    b.write(1, a);
  });
  table.define(
    'xchg',
    Array.from({ length: 7 }, (_, i) => `${hex(0x91 + i)} : rAX Zv`),
    { hot: true },
    (b) => {
      const a = b.read(0);
      const c = b.read(1);
      b.write(0, c);
      b.write(1, a);
    },
  );
  // NOP, unless REX.B makes it an exchange with R8: the decoder drops it when both registers are the same.
  table.define('xchg', '90 : rAX Zv', {}, (b) => {
    const a = b.read(0);
    const c = b.read(1);
    b.write(0, c);
    b.write(1, a);
  });
  table.define(
    'nop',
    [
      '0F 1F /r : Ev',
      '0F 18 /r : Ev',
      '0F 19 /r : Ev',
      '0F 1A /r : Ev',
      '0F 1B /r : Ev',
      '0F 1C /r : Ev',
      '0F 1D /r : Ev',
      '0F 1E /r : Ev',
      '0F 0D /r : Ev',
    ],
    { hot: true },
    () => {},
  );
  for (let code = 0; code < 16; code++) {
    table.define(`set${code}`, `0F ${hex(0x90 + code)} /r : Eb`, { hot: 'bytes', writes: true }, (b) =>
      b.write(0, b.condition(code)),
    );
    table.define(`cmov${code}`, `0F ${hex(0x40 + code)} /r : Gv Ev`, { hot: true }, (b) => {
      // The source is read, and may fault, whatever the condition; a 32-bit destination is cleared above in any case.
      const source = b.read(1);
      b.write(0, select(b.condition(code), source, b.read(0)));
    });
  }
  table.define('bswap', '0F C8+r : Zv', { hot: true }, (b) => {
    const swap32 = (value: I32) =>
      op(
        'i32.or',
        op('i32.and', op('i32.rotl', value, i32(8)), i32(0x00ff00ff)),
        op('i32.and', op('i32.rotr', value, i32(8)), i32(0xff00ff00)),
      );
    const value = b.read(0);
    if (b.size === 8) {
      const low = b.keep(op('i32.wrap_i64', value));
      const high = b.keep(op('i32.wrap_i64', op('i64.shr_u', value, i64(32))));
      b.write(
        0,
        op('i64.or', op('i64.shl', op('i64.extend_i32_u', swap32(low)), i64(32)), op('i64.extend_i32_u', swap32(high))),
      );
    } else if (b.size === 4) {
      b.write(0, swap32(value as I32));
    } else {
      b.write(0, i32(0)); // undefined by the manual; processors clear it
    }
  });
  const byteSwap = (b: InstructionBuilder, value: Integer): Integer => {
    if (b.size === 2) {
      return op(
        'i32.or',
        op('i32.and', op('i32.shr_u', value, i32(8)), i32(0xff)),
        op('i32.shl', op('i32.and', value, i32(0xff)), i32(8)),
      );
    }
    const swap32 = (half: I32) =>
      op(
        'i32.or',
        op('i32.and', op('i32.rotl', half, i32(8)), i32(0x00ff00ff)),
        op('i32.and', op('i32.rotr', half, i32(8)), i32(0xff00ff00)),
      );
    if (b.size === 4) {
      return swap32(value as I32);
    }
    const low = b.keep(op('i32.wrap_i64', value));
    const high = b.keep(op('i32.wrap_i64', op('i64.shr_u', value, i64(32))));
    return op(
      'i64.or',
      op('i64.shl', op('i64.extend_i32_u', swap32(low)), i64(32)),
      op('i64.extend_i32_u', swap32(high)),
    );
  };
  table.define('movbe', 'NP 0F 38 F0 /r : Gv Mv', {}, (b) => b.write(0, byteSwap(b, b.read(1))));
  table.define('movbe', 'NP 0F 38 F1 /r : Mv Gv', { writes: true }, (b) => b.write(0, byteSwap(b, b.read(1))));
  table.define('movbe', '66 0F 38 F0 /r : Gv Mv', {}, (b) => b.write(0, byteSwap(b, b.read(1))));
  table.define('movbe', '66 0F 38 F1 /r : Mv Gv', { writes: true }, (b) => b.write(0, byteSwap(b, b.read(1))));
  table.define('movnti', 'NP 0F C3 /r : My Gy', { writes: true }, (b) => b.write(0, b.read(1)));
  table.define('cbw', '98 : rAX', { hot: true }, (b) => {
    if (b.size === 2) {
      b.setGpr(0, op('i32.extend8_s', b.gpr(0, 1)), 2);
    } else if (b.size === 4) {
      b.setGpr(0, op('i32.extend16_s', b.gpr(0, 2)), 4);
    } else {
      b.setGpr(0, op('i64.extend_i32_s', b.gpr(0, 4)), 8);
    }
  });
  table.define('cwd', '99 : rAX', { hot: true }, (b) => {
    const value = b.signExtend(b.read(0));
    b.setGpr(2, b.bin('shr_s', value, b.size === 8 ? i64(63) : i32(31)), b.size);
  });
  table.define('xlat', 'D7 : AL', { implicitMemory: true }, (b) => {
    const offset = op('i64.add', b.gpr(3, 8), op('i64.extend_i32_u', b.gpr(0, 1)));
    b.setGpr(0, b.loadMemory(b.sourceAddress(offset, 1), 1), 1);
  });
}

function defineStack(table: InstructionTable): void {
  const stack = { stack: true } as const;
  table.define('push', '50+r d64 : Zv', { ...stack, hot: true }, (b) => b.push(b.read(0)));
  table.define('push', 'FF /6 d64 : Ev', { ...stack, hot: true }, (b) => b.push(b.read(0)));
  table.define('push', ['68 d64 : Iz', '6A d64 : Is'], { ...stack, hot: true }, (b) => b.push(b.read(0, b.size)));
  table.define('pop', '58+r d64 : Zv', { ...stack, hot: true }, (b) => {
    const value = b.peek();
    b.dropStack(i64(b.size));
    b.write(0, value);
  });
  // An address based on the stack pointer uses its value after the pop (SDM 2B, POP): the decoder adds the size to it.
  table.define('pop', '8F /0 d64 : Ev', { ...stack, writes: true }, (b) => {
    const value = b.peek();
    if (b.isMemory(0)) {
      b.write(0, value);
      b.dropStack(i64(b.size));
    } else {
      b.dropStack(i64(b.size));
      b.write(0, value);
    }
  });
  const segments = ['06', '0E', '16', '1E', '0F A0', '0F A8'];
  const numbers = [L.SEG_ES, L.SEG_CS, L.SEG_SS, L.SEG_DS, L.SEG_FS, L.SEG_GS];
  for (const [i, opcode] of segments.entries()) {
    const flags = i < 4 ? 'i64' : 'd64';
    const offset = L.SEGMENTS + (numbers[i] ?? 0) * L.SEGMENT_SIZE + L.SEGMENT_SELECTOR;
    table.define(`push-segment-${numbers[i]}`, `${opcode} ${flags} : Xv`, stack, (b) => {
      const selector = b.field32(offset);
      if (b.size === 4) {
        // Processors write only 16 bits but move the pointer by 4.
        const pointer = b.keep(op('i64.sub', b.stackPointer(), i64(4)));
        b.storeMemory(b.stackAddress(pointer, 2, true), selector, 2);
        b.setStackPointer(pointer);
      } else {
        b.push(b.size === 8 ? op('i64.extend_i32_u', selector) : selector);
      }
    });
    if (opcode !== '0E') {
      const pop = i < 4 ? hex(Number.parseInt(opcode, 16) + 1) : `0F ${hex(Number.parseInt(opcode.slice(3), 16) + 1)}`;
      table.define(`pop-segment-${numbers[i]}`, `${pop} ${flags} : Xv`, { ...stack, ends: true, system: true }, (b) => {
        const selector = b.keep(op('i32.and', b.peek(2), i32(0xffff)));
        const segment = defined(numbers[i], 'segment');
        if (segment !== L.SEG_SS) {
          b.f.block((rare) => {
            loadDataSegment(b, i32(L.SEGMENTS + segment * L.SEGMENT_SIZE), selector, rare);
            b.dropStack(i64(b.size));
            b.jumpNext();
          });
        }
        b.setField64(L.SCRATCH, op('i64.extend_i32_u', selector));
        b.setField64(L.SCRATCH + 8, op('i64.extend_i32_u', i32(b.size)));
        b.system(`pop-segment-${numbers[i]}`);
      });
    }
  }
  table.define('pusha', '60 i64 : Xv', stack, (b) => {
    const start = b.stackPointer();
    for (let i = 0; i < 8; i++) {
      const pointer = b.keep(op('i64.sub', start, i64((i + 1) * b.size)));
      b.storeMemory(b.stackAddress(pointer, b.size, true), b.gpr(i), b.size);
    }
    b.setStackPointer(b.keep(op('i64.sub', start, i64(8 * b.size))));
  });
  table.define('popa', '61 i64 : Xv', stack, (b) => {
    const values = Array.from({ length: 8 }, (_, i) => b.peek(b.size, i * b.size));
    for (const [i, value] of values.entries()) {
      if (7 - i !== 4) {
        b.setGpr(7 - i, value);
      }
    }
    b.dropStack(i64(8 * b.size));
  });
  table.define('leave', 'C9 d64 : Xv', { ...stack, hot: true }, (b) => {
    const frame =
      b.stackForm === 'flat64'
        ? (b.gpr(5, 8) as I64)
        : b.stackForm === 'flat32'
          ? b.keep(load('i64.load32_u', get(b.cpu), L.GPR + 40))
          : b.keep(op('i64.and', b.gpr(5, 8), b.stackMask()));
    const value = b.loadMemory(b.stackAddress(frame, b.size, false), b.size);
    b.setStackPointer(b.keep(op('i64.add', frame, i64(b.size))));
    b.setGpr(5, value);
  });
  // ENTER with nesting level 0; the decoder sends other levels to the system part.
  table.define('enter', 'C8 d64 : Xv Iw Ib', { ...stack, ends: true }, (b) => b.system('enter'));
}

/** #GP(0), before anything changes, for a target that is not canonical. */
function checkTarget(b: InstructionBuilder, target: I64): void {
  if (b.size === 8) {
    b.faultIf(
      op('i64.ne', op('i64.shr_u', op('i64.add', target, i64(0x800000000000)), i64(48)), i64(0)),
      L.VECTOR_GP,
      0,
    );
  }
}

function defineBranches(table: InstructionTable): void {
  const ends = { ends: true, hot: true } as const;
  for (let code = 0; code < 16; code++) {
    table.define(`j${code}`, [`${hex(0x70 + code)} f64 : Jb`, `0F ${hex(0x80 + code)} f64 : Jz`], ends, (b) =>
      b.branchIf(b.condition(code)),
    );
  }
  table.define('jmp', ['EB f64 : Jb', 'E9 f64 : Jz'], ends, (b) => b.jumpRelative());
  table.define('jmp', 'FF /4 f64 : Ev', ends, (b) => {
    const target = b.keep(b.zeroExtend64(b.read(0)));
    checkTarget(b, target);
    b.jumpTo(target);
  });
  table.define('call', 'E8 f64 : Jz', { ...ends, stack: true }, (b) => {
    b.push(b.fit(b.nextRip()));
    b.jumpRelative();
  });
  table.define('call', 'FF /2 f64 : Ev', { ...ends, stack: true }, (b) => {
    const target = b.keep(b.zeroExtend64(b.read(0)));
    const pointer = b.keep(op('i64.sub', b.stackPointer(), i64(b.size)));
    b.storeMemory(b.stackAddress(pointer, b.size, true), b.keep(b.fit(b.nextRip())), b.size);
    checkTarget(b, target);
    b.setStackPointer(pointer);
    b.jumpTo(target);
  });
  table.define('ret', 'C3 f64 : Xv', { ...ends, stack: true }, (b) => {
    const target = b.keep(b.zeroExtend64(b.peek()));
    checkTarget(b, target);
    b.dropStack(i64(b.size));
    b.jumpTo(target);
  });
  table.define('ret', 'C2 f64 : Xv Iw', { ...ends, stack: true }, (b) => {
    const target = b.keep(b.zeroExtend64(b.peek()));
    checkTarget(b, target);
    b.dropStack(b.keep(op('i64.add', i64(b.size), b.zeroExtend64(b.read(1), 2))));
    b.jumpTo(target);
  });
  for (const [name, opcode] of [
    ['loopne', 'E0'],
    ['loope', 'E1'],
    ['loop', 'E2'],
    ['jcxz', 'E3'],
  ] as const) {
    table.define(name, `${opcode} f64 : Jb`, { ends: true, implicitMemory: true }, (b) => {
      if (name === 'jcxz') {
        b.branchIf(op('i64.eqz', b.addressRegister(1)));
        return;
      }
      const count = b.keep(op('i64.and', op('i64.sub', b.gpr(1, 8), i64(1)), b.addressMask()));
      b.setAddressRegister(1, count);
      const left = op('i64.ne', count, i64(0));
      b.branchIf(name === 'loop' ? left : op('i32.and', left, name === 'loope' ? b.condition(4) : b.condition(5)));
    });
  }
}

function defineMultiply(table: InstructionTable): void {
  const undefinedFlags = FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF;
  for (const [name, digit] of [
    ['mul', 4],
    ['imul', 5],
  ] as const) {
    const signed = name === 'imul';
    table.define(name, [`F6 /${digit} : Eb`, `F7 /${digit} : Ev`], { hot: true, undefinedFlags }, (b) => {
      const a = b.gpr(0);
      const c = b.read(0);
      if (b.size === 8) {
        const low = b.keep(op('i64.mul', a, c));
        const high = b.keep(b.multiplyHigh(a as I64, c as I64, signed));
        b.setGpr(0, low, 8);
        b.setGpr(2, high, 8);
        const lost = signed ? op('i64.ne', high, op('i64.shr_s', low, i64(63))) : op('i64.ne', high, i64(0));
        const kept = b.keep(lost);
        b.flagsResult(low, kept, kept);
        return;
      }
      const product = b.keep(
        signed
          ? op('i64.mul', b.signExtend64(a), b.signExtend64(c))
          : op('i64.mul', b.zeroExtend64(a), b.zeroExtend64(c)),
      );
      const low = b.keep(op('i32.wrap_i64', product));
      const high = b.keep(op('i32.wrap_i64', op('i64.shr_u', product, i64(b.size * 8))));
      if (b.size === 1) {
        b.setGpr(0, low, 2);
      } else {
        b.setGpr(0, low);
        b.setGpr(2, high);
      }
      const fits = signed ? b.signExtend64(low) : b.zeroExtend64(low);
      const kept = b.keep(op('i64.ne', product, fits));
      b.flagsResult(low, kept, kept);
    });
  }
  table.define(
    'imul',
    ['0F AF /r : Gv Ev', '69 /r : Gv Ev Iz', '6B /r : Gv Ev Is'],
    { hot: true, undefinedFlags },
    (b) => {
      const three = b.operands.length === 3;
      const a = b.read(three ? 1 : 0);
      const c = b.read(three ? 2 : 1, b.size);
      if (b.size === 8) {
        const low = b.keep(op('i64.mul', a, c));
        const lost = b.keep(b.multiplyOverflows(a as I64, c as I64, low));
        b.write(0, low);
        b.flagsResult(low, lost, lost);
        return;
      }
      const product = b.keep(op('i64.mul', b.signExtend64(a), b.signExtend64(c)));
      const low = b.keep(op('i32.wrap_i64', product));
      b.write(0, low);
      const lost = b.keep(op('i64.ne', product, b.signExtend64(low)));
      b.flagsResult(low, lost, lost);
    },
  );
  const divisionFlags = FLAG_CF | FLAG_OF | undefinedFlags;
  for (const [name, digit] of [
    ['div', 6],
    ['idiv', 7],
  ] as const) {
    const signed = name === 'idiv';
    table.define(
      name,
      [`F6 /${digit} : Eb`, `F7 /${digit} : Ev`],
      { hot: true, undefinedFlags: divisionFlags },
      (b) => {
        const divisor = b.read(0);
        b.faultIf(b.eqz(divisor), L.VECTOR_DE);
        if (b.size === 8) {
          const low = b.gpr(0, 8) as I64;
          const high = b.gpr(2, 8) as I64;
          const simple = signed
            ? op(
                'i32.and',
                op('i64.eq', high, op('i64.shr_s', low, i64(63))),
                op('i32.or', op('i64.ne', low, i64(-0x8000000000000000n)), op('i64.ne', divisor, i64(-1))),
              )
            : op('i64.eqz', high);
          b.f.if(
            simple,
            () => {
              b.setGpr(0, op(signed ? 'i64.div_s' : 'i64.div_u', low, divisor), 8);
              b.setGpr(2, op(signed ? 'i64.rem_s' : 'i64.rem_u', low, divisor), 8);
            },
            () => {
              b.divideWide(divisor as I64, signed);
            },
          );
          return;
        }
        const wide = b.size * 16;
        const dividend = b.keep(
          b.size === 1
            ? signed
              ? b.signExtend64(b.gpr(0, 2), 2)
              : b.zeroExtend64(b.gpr(0, 2), 2)
            : op(
                'i64.or',
                op(
                  'i64.shl',
                  signed && b.size === 2 ? b.signExtend64(b.gpr(2)) : b.zeroExtend64(b.gpr(2)),
                  i64(wide / 2),
                ),
                b.zeroExtend64(b.gpr(0)),
              ),
        );
        const by = b.keep(signed ? b.signExtend64(divisor) : b.zeroExtend64(divisor));
        if (signed && b.size === 4) {
          // The only 64-bit quotient that traps in WebAssembly.
          b.faultIf(
            op('i32.and', op('i64.eq', dividend, i64(-0x8000000000000000n)), op('i64.eq', by, i64(-1))),
            L.VECTOR_DE,
          );
        }
        const quotient = b.keep(op(signed ? 'i64.div_s' : 'i64.div_u', dividend, by));
        const low = b.keep(op('i32.wrap_i64', quotient));
        const fits = signed ? b.signExtend64(low) : b.zeroExtend64(low);
        b.faultIf(op('i64.ne', quotient, fits), L.VECTOR_DE);
        const remainder = b.keep(op('i32.wrap_i64', op(signed ? 'i64.rem_s' : 'i64.rem_u', dividend, by)));
        if (b.size === 1) {
          b.setGpr(0, op('i32.or', b.zeroExtend(low, 1), op('i32.shl', remainder, i32(8))), 2);
        } else {
          b.setGpr(0, low);
          b.setGpr(2, remainder);
        }
      },
    );
  }
}

function defineAtomics(table: InstructionTable): void {
  table.define('xadd', ['0F C0 /r : Eb Gb', '0F C1 /r : Ev Gv'], { lock: true, writes: true, hot: true }, (b) => {
    const c = b.read(1);
    const a = b.readForWrite(0);
    const r = b.keep(b.bin('add', a, c));
    // With the same register twice the sum remains: the source is written first.
    if (b.isMemory(0)) {
      b.write(0, r);
      b.write(1, a);
    } else {
      b.write(1, a);
      b.write(0, r);
    }
    b.flagsAdd(a, c, r);
  });
  table.define('cmpxchg', ['0F B0 /r : Eb Gb', '0F B1 /r : Ev Gv'], { lock: true, writes: true, hot: true }, (b) => {
    const source = b.read(1);
    const accumulator = b.gpr(0);
    const a = b.readForWrite(0);
    const r = b.keep(b.bin('sub', accumulator, a));
    const equal = b.keep(b.eqz(b.zeroExtend(r)));
    // The destination is written in either case (SDM 2A, CMPXCHG).
    if (b.isMemory(0)) {
      b.write(0, select(equal, source, a));
      b.f.if(op('i32.eqz', equal), () => b.setGpr(0, a));
    } else {
      b.f.if(
        equal,
        () => b.write(0, source),
        () => b.setGpr(0, a),
      );
    }
    b.flagsSub(accumulator, a, r);
  });
  table.define('cmpxchg8b', '0F C7 /1 W0 : Mq', { lock: true, writes: true }, (b) => {
    const old = b.readForWrite(0) as I64;
    const join = (low: number, high: number) =>
      op(
        'i64.or',
        op('i64.extend_i32_u', b.gpr(low, 4)),
        op('i64.shl', op('i64.extend_i32_u', b.gpr(high, 4)), i64(32)),
      );
    const equal = b.keep(op('i64.eq', old, join(0, 2)));
    b.write(0, select(equal, join(3, 1), old));
    b.f.if(op('i32.eqz', equal), () => {
      b.setGpr(0, op('i32.wrap_i64', old), 4);
      b.setGpr(2, op('i32.wrap_i64', op('i64.shr_u', old, i64(32))), 4);
    });
    b.setZero(equal);
  });
  table.define('cmpxchg16b', '0F C7 /1 W1 : Mx', { lock: true, writes: true }, (b) => {
    const address = b.effectiveAddress();
    b.faultIf(op('i32.and', op('i32.wrap_i64', address), i32(15)), L.VECTOR_GP, 0);
    b.f.drop(b.slowCheckWrite(address, 16));
    const above = b.keep(op('i64.add', address, i64(8)));
    const low = b.loadMemory(address, 8) as I64;
    const high = b.loadMemory(above, 8) as I64;
    const equal = b.keep(op('i32.and', op('i64.eq', low, b.gpr(0, 8)), op('i64.eq', high, b.gpr(2, 8))));
    b.storeMemory(address, select(equal, b.gpr(3, 8) as I64, low), 8);
    b.storeMemory(above, select(equal, b.gpr(1, 8) as I64, high), 8);
    b.f.if(op('i32.eqz', equal), () => {
      b.setGpr(0, low, 8);
      b.setGpr(2, high, 8);
    });
    b.setZero(equal);
  });
}

function defineFlags(table: InstructionTable): void {
  const hot = { hot: true } as const;
  table.define('clc', 'F8', hot, (b) => b.setCarry(i32(0)));
  table.define('stc', 'F9', hot, (b) => b.setCarry(i32(1)));
  table.define('cmc', 'F5', hot, (b) => b.setAux(op('i32.xor', b.aux(), i32(0xc0000000))));
  table.define('cld', 'FC', hot, (b) =>
    b.setField32(L.FLAGS_REST, op('i32.and', b.field32(L.FLAGS_REST), i32(~L.FLAG_DF))),
  );
  table.define('std', 'FD', {}, (b) =>
    b.setField32(L.FLAGS_REST, op('i32.or', b.field32(L.FLAGS_REST), i32(L.FLAG_DF))),
  );
  table.define('lahf', '9F', {}, (b) => {
    const flags = op('i32.or', op('i32.and', b.arithmeticFlags(), i32(0xd5)), i32(2));
    b.f.store('i32.store8', get(b.cpu), flags, L.GPR + 1);
  });
  table.define('sahf', '9E', {}, (b) => {
    const overflow = b.overflow();
    const image = op(
      'i32.or',
      op('i32.and', load('i32.load8_u', get(b.cpu), L.GPR + 1), i32(0xd5)),
      op('i32.shl', overflow, i32(11)),
    );
    b.setArithmeticFlags(image);
  });
  table.define('salc', 'D6 i64', {}, (b) => b.setGpr(0, op('i32.sub', i32(0), b.carry()), 1));
}

function defineDecimal(table: InstructionTable): void {
  /** DAA and DAS (SDM 2A): both adjust AL by 6 and 0x60 as AF, CF and the digits say. */
  for (const [name, opcode] of [
    ['daa', '27'],
    ['das', '2F'],
  ] as const) {
    table.define(name, `${opcode} i64`, { undefinedFlags: FLAG_OF }, (b) => {
      const al = b.gpr(0, 1) as I32;
      const carry = b.carry();
      const half = op('i32.and', op('i32.shr_u', b.aux(), i32(3)), i32(1));
      const low = b.keep(op('i32.or', op('i32.gt_u', op('i32.and', al, i32(15)), i32(9)), half));
      const high = b.keep(op('i32.or', op('i32.gt_u', al, i32(0x99)), carry));
      const by = op('i32.add', op('i32.mul', low, i32(6)), op('i32.mul', high, i32(0x60)));
      const r = b.keep(op('i32.and', name === 'daa' ? op('i32.add', al, by) : op('i32.sub', al, by), i32(0xff)));
      // DAS also reports the borrow of the first step.
      const cf = name === 'daa' ? high : op('i32.or', high, op('i32.and', low, op('i32.lt_u', al, i32(6))));
      const carryOut = b.keep(cf);
      b.setGpr(0, r, 1);
      b.setResult(r, 1);
      b.setAux(op('i32.or', op('i32.mul', carryOut, i32(0xc0000000)), op('i32.shl', low, i32(3))));
    });
  }
  for (const [name, opcode] of [
    ['aaa', '37'],
    ['aas', '3F'],
  ] as const) {
    table.define(name, `${opcode} i64`, { undefinedFlags: FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_PF }, (b) => {
      const ax = b.gpr(0, 2) as I32;
      const half = op('i32.and', op('i32.shr_u', b.aux(), i32(3)), i32(1));
      const adjust = b.keep(op('i32.or', op('i32.gt_u', op('i32.and', ax, i32(15)), i32(9)), half));
      const by = op('i32.mul', adjust, i32(0x106));
      const sum = name === 'aaa' ? op('i32.add', ax, by) : op('i32.sub', ax, by);
      const r = b.keep(op('i32.and', sum, i32(0xff0f)));
      b.setGpr(0, r, 2);
      b.setResult(r, 1);
      b.setAux(op('i32.or', op('i32.mul', adjust, i32(0xc0000000)), op('i32.shl', adjust, i32(3))));
    });
  }
  table.define('aam', 'D4 i64 : Ib', { undefinedFlags: FLAG_OF | FLAG_AF | FLAG_CF }, (b) => {
    const base = b.read(0) as I32;
    b.faultIf(op('i32.eqz', base), L.VECTOR_DE);
    const al = b.gpr(0, 1);
    const r = b.keep(op('i32.rem_u', al, base));
    b.setGpr(0, op('i32.or', op('i32.shl', op('i32.div_u', al, base), i32(8)), r), 2);
    b.flagsLogic(r, 1);
  });
  table.define('aad', 'D5 i64 : Ib', { undefinedFlags: FLAG_OF | FLAG_AF | FLAG_CF }, (b) => {
    const ax = b.gpr(0, 2);
    const r = b.keep(
      op(
        'i32.and',
        op('i32.add', op('i32.and', ax, i32(0xff)), op('i32.mul', op('i32.shr_u', ax, i32(8)), b.read(0))),
        i32(0xff),
      ),
    );
    b.setGpr(0, r, 2);
    b.flagsLogic(r, 1);
  });
}

/** Every general-purpose instruction that needs no privilege and no system state. */
export function defineIntegerInstructions(table: InstructionTable): void {
  defineAlu(table);
  defineMoves(table);
  defineStack(table);
  defineBranches(table);
  defineShifts(table);
  defineBits(table);
  defineMultiply(table);
  defineAtomics(table);
  defineFlags(table);
  defineDecimal(table);
}
