import {
  type Expression,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Label,
  type Local,
  load,
  op,
  select,
} from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder, Integer } from './instruction-builder.ts';

const RAX = 0;
const RCX = 1;
const RSI = 6;
const RDI = 7;
/**
 * Elements done for one instruction's worth of time, before events are looked at: bounds how long a REP holds the
 * machine. A page moved at once counts as PAGE_COST of them.
 */
const CHUNK = 64;
const PAGE_COST = 32;

/** Does many of `count` elements at once where it can, and takes from the budget for it. */
type Fast = (count: I64, budget: Local<'i32'>) => void;

/** +size or −size by DF. */
function step(b: InstructionBuilder): I64 {
  const down = op('i32.and', load('i32.load', get(b.cpu), L.FLAGS_REST), i32(L.FLAG_DF));
  return b.keep(select(down, i64(-b.size), i64(b.size)));
}

function advance(b: InstructionBuilder, register: number, by: I64): void {
  b.setAddressRegister(register, b.keep(op('i64.add', b.addressRegister(register), by)));
}

/**
 * Runs `element` once, or RCX times under a repeat prefix. Registers are written after every element, so that a fault
 * in one leaves the state from which the instruction can be restarted. `fast` may do many elements at once.
 */
function repeated(b: InstructionBuilder, element: () => void, fast?: Fast): void {
  if (b.repeat === 'none') {
    element();
    return;
  }
  b.f.if(op('i64.ne', b.addressRegister(RCX), i64(0)), () => {
    const budget = b.f.local('i32');
    b.f.set(budget, elementsAtOnce(b));
    b.f.block((done) => {
      b.f.loop((again) => {
        if (fast !== undefined) {
          fast(b.addressRegister(RCX), budget);
          b.f.brIf(done, op('i64.eqz', b.addressRegister(RCX)));
        }
        element();
        countDown(b, done);
        b.f.set(budget, op('i32.sub', get(budget), i32(1)));
        b.f.brIf(again, op('i32.and', op('i32.gt_s', get(budget), i32(0)), undisturbed(b)));
        b.again();
      });
    });
  });
}

/** Under single step every element is an instruction of its own. */
function elementsAtOnce(b: InstructionBuilder): I32 {
  return select(traps(b), i32(1), i32(CHUNK));
}

function traps(b: InstructionBuilder): I32 {
  return op('i32.and', load('i32.load', get(b.cpu), L.FLAGS_REST), i32(L.FLAG_TF));
}

/** No event asks for attention: a device was reached, a watchpoint hit. */
function undisturbed(b: InstructionBuilder): I32 {
  return op('i32.eqz', load('i32.load', get(b.cpu), L.BIAS));
}

/** RCX − 1; leaves when it is zero. */
function countDown(b: InstructionBuilder, done: Label): void {
  const count = b.keep(op('i64.sub', b.addressRegister(RCX), i64(1)));
  b.setAddressRegister(RCX, count);
  b.f.brIf(done, op('i64.eqz', b.addressRegister(RCX)));
}

/**
 * SCAS and CMPS: `operands` reads the two values of one element, `next` moves the registers behind it. Under a repeat
 * prefix the flags are those of the last element; a fault leaves them as they were before the instruction (SDM 2B, REP).
 */
function compared(b: InstructionBuilder, operands: () => readonly [Integer, Integer], next: () => void): void {
  if (b.repeat === 'none') {
    const [a, c] = operands();
    b.flagsSub(a, c, b.keep(b.bin('sub', a, c)));
    next();
    return;
  }
  b.f.if(op('i64.ne', b.addressRegister(RCX), i64(0)), () => {
    const budget = b.f.local('i32');
    b.f.set(budget, elementsAtOnce(b));
    const type = b.size === 8 ? 'i64' : 'i32';
    const left: Local<'i32' | 'i64'> = b.f.local(type);
    const right: Local<'i32' | 'i64'> = b.f.local(type);
    b.f.block((done) => {
      b.f.loop((again) => {
        const [a, c] = operands();
        b.f.set(left, a as Expression<'i32' | 'i64'>);
        b.f.set(right, c as Expression<'i32' | 'i64'>);
        next();
        countDown(b, done);
        b.f.brIf(done, b.cmp(b.repeat === 'rep' ? 'ne' : 'eq', get(left) as Integer, get(right) as Integer));
        b.f.set(budget, op('i32.sub', get(budget), i32(1)));
        b.f.brIf(again, op('i32.and', op('i32.gt_s', get(budget), i32(0)), undisturbed(b)));
        b.again();
      });
    });
    const a = get(left) as Integer;
    const c = get(right) as Integer;
    b.flagsSub(a, c, b.keep(b.bin('sub', a, c)));
  });
}

function minimum(b: InstructionBuilder, x: I64, y: I64): I64 {
  const a = b.keep(x);
  const c = b.keep(y);
  return b.keep(select(op('i64.lt_u', a, c), a, c));
}

function flagSet(b: InstructionBuilder, flag: number): I32 {
  return op('i32.and', load('i32.load', get(b.cpu), L.FLAGS_REST), i32(flag));
}

/** After `bytes` were done: counts and moves the registers, down if DF is set. */
function account(
  b: InstructionBuilder,
  bytes: I64,
  down: I32,
  registers: readonly number[],
  budget: Local<'i32'>,
): void {
  b.f.set(budget, op('i32.sub', get(budget), i32(PAGE_COST - 1)));
  const shift = b.size === 8 ? 3 : b.size >> 1;
  b.setAddressRegister(RCX, b.keep(op('i64.sub', b.addressRegister(RCX), op('i64.shr_u', bytes, i64(shift)))));
  const by = b.keep(select(down, op('i64.sub', i64(0), bytes), bytes));
  for (const register of registers) {
    advance(b, register, by);
  }
}

/** Bytes from an element at `address` to the end of its page, or down to its beginning; 0 if it leaves the page. */
function toPageEnd(b: InstructionBuilder, address: I64, down: I32): I64 {
  const offset = b.keep(op('i64.and', address, i64(4095)));
  const below = op('i64.add', offset, i64(b.size));
  const fits = op('i64.le_u', offset, i64(4096 - b.size));
  return b.keep(select(fits, select(down, below, op('i64.sub', i64(4096), offset)), i64(0)));
}

/** Arena address of a byte of plain memory by the TLB, which is filled if need be; 0 or −1 where that cannot be. */
function hostByte(b: InstructionBuilder, address: I64, write: boolean): I32 {
  const entry = b.tlbEntry(address);
  return b.keep(
    b.f.ifValue(
      'i32',
      b.tlbHit(entry, address, 1, write ? 8 : 0),
      () => b.hostAddress(entry, address),
      () => b.f.call(b.helper('fillTlb'), get(b.cpu), address, i32(write ? 1 : 0), i32(1)) as I32,
    ),
  );
}

function isHost(address: I32): I32 {
  return op('i32.gt_u', op('i32.add', address, i32(1)), i32(1));
}

/** Bytes of `count` elements, and of no more than a page. */
function bytesOf(b: InstructionBuilder, count: I64): I64 {
  return op('i64.mul', minimum(b, count, i64(4096)), i64(b.size));
}

/** Copies up to the nearer page end with one bulk copy, unless bytes would be read that have been written before. */
function fastMove(b: InstructionBuilder): Fast | undefined {
  if (b.addressForm === 'segmented') {
    return undefined;
  }
  return (count, budget) => {
    const worthwhile = op('i32.and', op('i32.eqz', flagSet(b, L.FLAG_TF)), op('i64.gt_u', count, i64(4)));
    b.f.if(worthwhile, () => {
      const down = b.keep(flagSet(b, L.FLAG_DF));
      const from = b.addressRegister(RSI);
      const to = b.addressRegister(RDI);
      const room = minimum(b, toPageEnd(b, from, down), toPageEnd(b, to, down));
      const bytes = b.keep(op('i64.and', minimum(b, bytesOf(b, count), room), i64(-b.size)));
      b.f.if(op('i64.ne', bytes, i64(0)), () => {
        // The two pages may share their place in the TLB: both addresses are known before either is used.
        const source = hostByte(b, from, false);
        b.f.if(isHost(source), () => {
          const target = hostByte(b, to, true);
          const length = b.keep(op('i32.wrap_i64', bytes));
          const ahead = select(down, op('i32.sub', source, target), op('i32.sub', target, source));
          b.f.if(op('i32.and', isHost(target), op('i32.ge_u', ahead, length)), () => {
            const back = b.keep(select(down, op('i32.sub', length, i32(b.size)), i32(0)));
            b.f.copy(op('i32.sub', target, back), op('i32.sub', source, back), length);
            account(b, bytes, down, [RSI, RDI], budget);
          });
        });
      });
    });
  };
}

/** Fills up to the page end when all bytes of the value are the same. */
function fastStore(b: InstructionBuilder): Fast | undefined {
  if (b.addressForm === 'segmented') {
    return undefined;
  }
  return (count, budget) => {
    const value = b.gpr(RAX);
    const byte = b.keep(b.gpr(RAX, 1)) as I32;
    const repeatedByte: Integer =
      b.size === 1
        ? byte
        : b.size === 2
          ? op('i32.mul', byte, i32(0x0101))
          : b.size === 4
            ? op('i32.mul', byte, i32(0x01010101))
            : op('i64.mul', op('i64.extend_i32_u', byte), i64(0x0101010101010101n));
    const uniform = b.cmp('eq', value, repeatedByte);
    const plain = op('i32.eqz', flagSet(b, L.FLAG_DF | L.FLAG_TF));
    b.f.if(op('i32.and', op('i32.and', plain, uniform), op('i64.gt_u', count, i64(4))), () => {
      const to = b.addressRegister(RDI);
      const room = toPageEnd(b, to, i32(0));
      const bytes = b.keep(op('i64.and', minimum(b, bytesOf(b, count), room), i64(-b.size)));
      b.f.if(op('i64.ne', bytes, i64(0)), () => {
        const target = hostByte(b, to, true);
        b.f.if(isHost(target), () => {
          b.f.fill(target, byte, op('i32.wrap_i64', bytes));
          account(b, bytes, i32(0), [RDI], budget);
        });
      });
    });
  };
}

/** MOVS, STOS, LODS, SCAS, CMPS (SDM 1, 7.3.9). */
export function defineStringInstructions(table: InstructionTable): void {
  const options = { implicitMemory: true, repeat: true } as const;
  table.define('movs', ['A4 : Xb', 'A5 : Xv'], options, (b) => {
    const by = step(b);
    repeated(
      b,
      () => {
        const value = b.loadMemory(b.sourceAddress(b.addressRegister(RSI), b.size), b.size);
        b.storeMemory(b.destinationAddress(b.addressRegister(RDI), b.size, true), value, b.size);
        advance(b, RSI, by);
        advance(b, RDI, by);
      },
      fastMove(b),
    );
  });
  table.define('stos', ['AA : Xb', 'AB : Xv'], options, (b) => {
    const by = step(b);
    repeated(
      b,
      () => {
        b.storeMemory(b.destinationAddress(b.addressRegister(RDI), b.size, true), b.gpr(RAX), b.size);
        advance(b, RDI, by);
      },
      fastStore(b),
    );
  });
  table.define('lods', ['AC : Xb', 'AD : Xv'], options, (b) => {
    const by = step(b);
    repeated(b, () => {
      b.setGpr(RAX, b.loadMemory(b.sourceAddress(b.addressRegister(RSI), b.size), b.size));
      advance(b, RSI, by);
    });
  });
  table.define('scas', ['AE : Xb', 'AF : Xv'], options, (b) => {
    const by = step(b);
    compared(
      b,
      () => {
        const value = b.loadMemory(b.destinationAddress(b.addressRegister(RDI), b.size, false), b.size);
        return [b.gpr(RAX), value];
      },
      () => advance(b, RDI, by),
    );
  });
  table.define('cmps', ['A6 : Xb', 'A7 : Xv'], options, (b) => {
    const by = step(b);
    compared(
      b,
      () => {
        // Where both fault, processors report the second operand.
        const c = b.loadMemory(b.destinationAddress(b.addressRegister(RDI), b.size, false), b.size);
        const a = b.loadMemory(b.sourceAddress(b.addressRegister(RSI), b.size), b.size);
        return [a, c];
      },
      () => {
        advance(b, RSI, by);
        advance(b, RDI, by);
      },
    );
  });
}
