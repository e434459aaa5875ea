import { d, q } from '../../software/wasm/arithmetic.ts';
import { get, type I32, type I64, i32, i64, load } from '../../software/wasm/function-builder.ts';
import type { RealFormat } from '../../software/x87-ordinary.ts';
import * as L from '../layout.ts';
import * as X from '../x87/registers.ts';
import type { InstructionOptions, InstructionTable, Semantics } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import {
  copyInline,
  exchangeInline,
  finishStoreInline,
  loadIntegerInline,
  loadRealInline,
  pushInline,
  pushRegisterInline,
  signInline,
  storeRealInline,
} from './x87-inline.ts';
import { call, callForI32, callForI64, checkPending, recordPointer, recordPointers, storeTen } from './x87-operands.ts';

const X87 = { unit: 'x87' } as const;
const WRITES = { unit: 'x87', writes: true } as const;

/** An instruction on registers that reports earlier exceptions first. `b.slotValue(0)` is i of ST(i). */
function define(
  table: InstructionTable,
  name: string,
  encodings: string | readonly string[],
  semantics: Semantics,
  options: InstructionOptions = {},
): void {
  table.define(name, encodings, { ...X87, ...options }, (b) => {
    checkPending(b);
    recordPointer(b);
    semantics(b);
  });
}

/** Memory operands as the functions for their formats take them. Nothing has changed when reading faults. */
const single = { format: 'single', read: (b: InstructionBuilder) => b.read(0) as I32 } as const;
const double = { format: 'double', read: (b: InstructionBuilder) => b.read(0) as I64 } as const;
const word = { format: 'integer', read: (b: InstructionBuilder) => b.signExtend(b.read(0), 2) as I32 } as const;
const dword = { format: 'integer', read: (b: InstructionBuilder) => b.read(0) as I32 } as const;

const OPERATIONS = ['fadd', 'fmul', 'fcom', 'fcomp', 'fsub', 'fsubr', 'fdiv', 'fdivr'] as const;

/** The functions that carry them out. */
const FUNCTIONS = {
  fadd: 'x87-add',
  fmul: 'x87-multiply',
  fsub: 'x87-subtract',
  fsubr: 'x87-subtract-reversed',
  fdiv: 'x87-divide',
  fdivr: 'x87-divide-reversed',
} as const;

/** FADD … FDIVR, FCOM, FCOMP with memory operands: the same eight by ModRM.reg in D8, DA, DC and DE. */
function defineMemoryArithmetic(table: InstructionTable): void {
  for (const [opcode, operand, suffix, source] of [
    ['D8', 'Md', 'm32', single],
    ['DC', 'Mq', 'm64', double],
    ['DA', 'Md', 'i32', dword],
    ['DE', 'Mw', 'i16', word],
  ] as const) {
    for (const [kind, name] of OPERATIONS.entries()) {
      table.define(`${name}-${suffix}`, `${opcode} /${kind} : ${operand}`, X87, (b) => {
        checkPending(b);
        const value = source.read(b);
        recordPointers(b);
        if (name === 'fcom' || name === 'fcomp') {
          call(b, `x87-compare-${source.format}`, i32(kind - 2), value);
        } else {
          call(b, `${FUNCTIONS[name]}-${source.format}`, value);
        }
      });
    }
  }
}

function defineRegisterArithmetic(table: InstructionTable): void {
  for (const [kind, name] of OPERATIONS.entries()) {
    if (name === 'fcom' || name === 'fcomp') {
      continue;
    }
    define(table, name, `D8 /${kind} reg : STi`, (b) => call(b, FUNCTIONS[name], b.slotValue(0)));
    define(table, `${name}-sti`, `DC /${kind} reg : STi`, (b) => {
      call(b, `${FUNCTIONS[name]}-to`, b.slotValue(0), i32(0));
    });
    define(table, `${name}p`, `DE /${kind} reg : STi`, (b) => {
      call(b, `${FUNCTIONS[name]}-to`, b.slotValue(0), i32(1));
    });
  }
  const compare = (name: string, encodings: string | readonly string[], quiet: number, pops: number) =>
    define(table, name, encodings, (b) => call(b, 'x87-compare', b.slotValue(0), i32(quiet), i32(pops)));
  // DC D0 and the like are undocumented doubles of the first form.
  compare('fcom', ['D8 /2 reg : STi', 'DC /2 reg : STi'], 0, 0);
  compare('fcomp', ['D8 /3 reg : STi', 'DC /3 reg : STi', 'DE /2 reg : STi'], 0, 1);
  compare('fucom', 'DD /4 reg : STi', 1, 0);
  compare('fucomp', 'DD /5 reg : STi', 1, 1);
  define(table, 'fcompp', 'DE =D9', (b) => call(b, 'x87-compare', i32(1), i32(0), i32(2)));
  define(table, 'fucompp', 'DA =E9', (b) => call(b, 'x87-compare', i32(1), i32(1), i32(2)));
  const compareFlags = (name: string, encoding: string, quiet: number, pops: number) =>
    define(table, name, encoding, (b) => {
      const order = callForI32(b, 'x87-compare-flags', b.slotValue(0), i32(quiet), i32(pops));
      // C0, C2 and C3 become CF, PF and ZF, even when an unmasked exception is raised.
      b.setArithmeticFlags(b.keep(d.and(d.shr(order, 8), L.FLAG_CF | L.FLAG_PF | L.FLAG_ZF)));
    });
  compareFlags('fcomi', 'DB /6 reg : STi', 0, 0);
  compareFlags('fucomi', 'DB /5 reg : STi', 1, 0);
  compareFlags('fcomip', 'DF /6 reg : STi', 0, 1);
  compareFlags('fucomip', 'DF /5 reg : STi', 1, 1);
  define(table, 'ftst', 'D9 =E4', (b) => call(b, 'x87-compare-integer', i32(0), i32(0)));
  for (const [i, condition] of [2, 4, 6, 10].entries()) {
    // FCMOVB, E, BE, U and their opposites.
    define(table, `fcmov${condition}`, `DA /${i} reg : STi`, (b) =>
      call(b, 'x87-move', b.slotValue(0), b.condition(condition)),
    );
    define(table, `fcmov${condition + 1}`, `DB /${i} reg : STi`, (b) =>
      call(b, 'x87-move', b.slotValue(0), b.condition(condition + 1)),
    );
  }
}

function defineLoads(table: InstructionTable): void {
  for (const [name, encoding, { format, read }] of [
    ['fld-m32', 'D9 /0 : Md', single],
    ['fld-m64', 'DD /0 : Mq', double],
  ] as const) {
    table.define(name, encoding, X87, (b) => {
      checkPending(b);
      const value = read(b);
      recordPointers(b);
      loadRealInline(b, format, value);
    });
  }
  for (const [name, encoding, read] of [
    ['fild-m16', 'DF /0 : Mw', (b) => q.fromS32(word.read(b))],
    ['fild-m32', 'DB /0 : Md', (b) => q.fromS32(dword.read(b))],
    ['fild-m64', 'DF /5 : Mq', (b) => b.read(0) as I64],
  ] satisfies [string, string, (b: InstructionBuilder) => I64][]) {
    table.define(name, encoding, X87, (b) => {
      checkPending(b);
      const value = read(b);
      recordPointers(b);
      loadIntegerInline(b, value);
    });
  }
  const readTen = (b: InstructionBuilder) => {
    const low = b.loadMemory(b.effectiveAddress(), 8) as I64;
    return { low, high: b.loadMemory(q.add(b.effectiveAddress(), 8), 2) as I32 };
  };
  table.define('fld-m80', 'DB /5 : Mt', X87, (b) => {
    checkPending(b);
    const { low, high } = readTen(b);
    recordPointers(b);
    pushInline(b, low, high);
  });
  table.define('fbld', 'DF /4 : Mt', X87, (b) => {
    checkPending(b);
    const { low, high } = readTen(b);
    recordPointers(b);
    call(b, 'x87-from-decimal', low, high);
    b.setField32(X.RAISED, i32(0));
    call(b, 'x87-push');
  });
  define(table, 'fld', 'D9 /0 reg : STi', pushRegisterInline);
  // Constants to 66 bits: significand for rounding to nearest, and what rounding down, up and to zero take off or add.
  for (const [name, byte, significand, exponent, down, up] of [
    ['fld1', 'E8', 0x8000000000000000n, 0x3fff, 0n, 0n],
    ['fldl2t', 'E9', 0xd49a784bcd1b8afen, 0x4000, 0n, 1n],
    ['fldl2e', 'EA', 0xb8aa3b295c17f0bcn, 0x3fff, -1n, 0n],
    ['fldpi', 'EB', 0xc90fdaa22168c235n, 0x4000, -1n, 0n],
    ['fldlg2', 'EC', 0x9a209a84fbcff799n, 0x3ffd, -1n, 0n],
    ['fldln2', 'ED', 0xb17217f7d1cf79acn, 0x3ffe, -1n, 0n],
    ['fldz', 'EE', 0n, 0, 0n, 0n],
  ] as const) {
    define(table, name, `D9 =${byte}`, (b) => {
      const value = b.f.local('i64');
      b.f.set(value, i64(significand));
      if (down !== 0n || up !== 0n) {
        const mode = b.keep(d.and(load('i32.load', get(b.cpu), L.FPU_CONTROL), X.CONTROL_ROUNDING));
        const isUp = d.eq(mode, 2 << X.CONTROL_ROUNDING_SHIFT);
        b.f.if(isUp, () => b.f.set(value, i64(significand + up)));
        if (down !== 0n) {
          const isDown = d.eq(d.and(mode, 1 << X.CONTROL_ROUNDING_SHIFT), 1 << X.CONTROL_ROUNDING_SHIFT);
          b.f.if(isDown, () => b.f.set(value, i64(significand + down)));
        }
      }
      pushInline(b, get(value), i32(exponent));
    });
  }
}

function defineStores(table: InstructionTable): void {
  const storeReal = (name: string, encoding: string, format: RealFormat, pops: 0 | 1) =>
    table.define(name, encoding, WRITES, (b) => {
      checkPending(b);
      storeRealInline(b, format, pops);
    });
  storeReal('fst-m32', 'D9 /2 : Md', 'single', 0);
  storeReal('fstp-m32', 'D9 /3 : Md', 'single', 1);
  storeReal('fst-m64', 'DD /2 : Mq', 'double', 0);
  storeReal('fstp-m64', 'DD /3 : Mq', 'double', 1);
  const raised = (b: InstructionBuilder) => b.field32(X.RAISED);
  const storeInteger = (name: string, encoding: string, truncating: 0 | 1, pops: 0 | 1) =>
    table.define(name, encoding, WRITES, (b) => {
      const { size } = b.operand(0);
      checkPending(b);
      const value = callForI64(b, 'x87-store-integer', i32(size * 8), i32(truncating));
      finishStoreInline(b, raised(b), pops, () => b.storeMemory(b.effectiveAddress(), b.fit(value, size), size));
    });
  storeInteger('fist-m16', 'DF /2 : Mw', 0, 0);
  storeInteger('fistp-m16', 'DF /3 : Mw', 0, 1);
  storeInteger('fist-m32', 'DB /2 : Md', 0, 0);
  storeInteger('fistp-m32', 'DB /3 : Md', 0, 1);
  storeInteger('fistp-m64', 'DF /7 : Mq', 0, 1);
  storeInteger('fisttp-m16', 'DF /1 : Mw', 1, 1);
  storeInteger('fisttp-m32', 'DB /1 : Md', 1, 1);
  storeInteger('fisttp-m64', 'DD /1 : Mq', 1, 1);
  table.define('fbstp', 'DF /6 : Mt', WRITES, (b) => {
    checkPending(b);
    const digits = callForI64(b, 'x87-store-decimal');
    finishStoreInline(b, raised(b), 1, () => storeTen(b, digits, b.keep(load('i32.load', get(b.cpu), X.SECOND))));
  });
  table.define('fstp-m80', 'DB /7 : Mt', WRITES, (b) => {
    checkPending(b);
    call(b, 'x87-peek');
    finishStoreInline(b, raised(b), 1, () => {
      const low = b.field64(X.RESULT);
      storeTen(b, low, b.field32(X.RESULT_EXPONENT));
    });
  });
  define(table, 'fst', 'DD /2 reg : STi', (b) => copyInline(b, 0));
  // D9 D8 does not report an empty ST(0), and then moves nothing.
  define(table, 'fstpnce', 'D9 /3 reg : STi', (b) => call(b, 'x87-copy-quietly', b.slotValue(0)));
  define(table, 'fstp', ['DD /3 reg : STi', 'DF /2 reg : STi', 'DF /3 reg : STi'], (b) => copyInline(b, 1));
  define(table, 'fxch', ['D9 /1 reg : STi', 'DD /1 reg : STi', 'DF /1 reg : STi'], exchangeInline);
}

function defineRest(table: InstructionTable): void {
  define(table, 'fnop', 'D9 =D0', () => {});
  define(table, 'fchs', 'D9 =E0', (b) => signInline(b, 0xffff, X.SIGN));
  define(table, 'fabs', 'D9 =E1', (b) => signInline(b, 0x7fff, 0));
  define(table, 'fxam', 'D9 =E5', (b) => call(b, 'x87-examine'));
  define(table, 'fxtract', 'D9 =F4', (b) => call(b, 'x87-extract'));
  define(table, 'fprem1', 'D9 =F5', (b) => call(b, 'x87-remainder', i32(1)));
  define(table, 'fprem', 'D9 =F8', (b) => call(b, 'x87-remainder', i32(0)));
  define(table, 'fsqrt', 'D9 =FA', (b) => call(b, 'x87-sqrt'));
  define(table, 'frndint', 'D9 =FC', (b) => call(b, 'x87-round-integral'));
  define(table, 'fscale', 'D9 =FD', (b) => call(b, 'x87-scale'));
  const clearC1 = (b: InstructionBuilder) =>
    b.setField32(L.FPU_STATUS, d.and(load('i32.load', get(b.cpu), L.FPU_STATUS), ~X.STATUS_C1));
  const moveTop = (b: InstructionBuilder, by: number) =>
    b.setField32(L.FPU_TOP, d.and(d.add(load('i32.load', get(b.cpu), L.FPU_TOP), by), 7));
  define(table, 'fdecstp', 'D9 =F6', (b) => {
    moveTop(b, -1);
    clearC1(b);
  });
  define(table, 'fincstp', 'D9 =F7', (b) => {
    moveTop(b, 1);
    clearC1(b);
  });
  for (const [name, encoding, pops] of [
    ['ffree', 'DD /0 reg : STi', false],
    ['ffreep', 'DF /0 reg : STi', true],
  ] as const) {
    define(table, name, encoding, (b) => {
      const cpu = get(b.cpu);
      const number = d.and(d.add(load('i32.load', cpu, L.FPU_TOP), b.slotValue(0)), 7);
      const freed = b.f.local('i32');
      b.f.set(freed, d.shl(1, number));
      if (pops) {
        b.f.set(freed, d.or(get(freed), d.shl(1, load('i32.load', cpu, L.FPU_TOP))));
        moveTop(b, 1);
      }
      b.setField32(L.FPU_VALID, d.and(load('i32.load', cpu, L.FPU_VALID), d.xor(get(freed), -1)));
      clearC1(b);
    });
  }
  // Transcendental functions are TypeScript: see x87/operations.ts.
  for (const [name, byte] of [
    ['f2xm1', 'F0'],
    ['fyl2x', 'F1'],
    ['fptan', 'F2'],
    ['fpatan', 'F3'],
    ['fyl2xp1', 'F9'],
    ['fsincos', 'FB'],
    ['fsin', 'FE'],
    ['fcos', 'FF'],
  ] as const) {
    define(table, name, `D9 =${byte}`, (b) => b.system(`x87-${name}`), { approximate: true });
  }
}

export function defineX87Instructions(table: InstructionTable): void {
  defineMemoryArithmetic(table);
  defineRegisterArithmetic(table);
  defineLoads(table);
  defineStores(table);
  defineRest(table);
}
