import * as L from '../../x86/layout.ts';
import { CPU_STATES, JUMPS } from '../arena-layout.ts';
import {
  ITLB_ENTRIES,
  ITLB_PHYSICAL,
  JUMP_ENTRIES,
  JUMP_ENTRY_SHIFT,
  JUMP_FUNCTION,
  JUMP_MODE,
  JUMP_RIP,
  JUMP_TABLE_SHIFT,
} from '../micro-op.ts';
import {
  type FunctionBuilder,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Local,
  load,
  op,
} from '../wasm/function-builder.ts';

/** Place of the jump cache's entry for an address: where compiled code for it was entered last. */
export function jumpEntry(f: FunctionBuilder, cpu: Local<'i32'>, rip: I64): I32 {
  const low = f.keep(op('i32.wrap_i64', rip));
  const hash = op('i32.and', op('i32.xor', low, op('i32.shr_u', low, i32(12))), i32(JUMP_ENTRIES - 1));
  // The tables of the processors follow each other as their records do, each of them larger by a power of two.
  const table = op('i32.shl', op('i32.sub', get(cpu), i32(CPU_STATES)), i32(JUMP_TABLE_SHIFT));
  return f.keep(op('i32.add', table, op('i32.shl', hash, i32(JUMP_ENTRY_SHIFT))));
}

/** Whether the entry is for this address under the mode and translations in force. */
export function jumpKnown(entry: I32, cpu: Local<'i32'>, rip: I64): I32 {
  return op(
    'i32.and',
    op('i64.eq', load('i64.load', entry, JUMPS + JUMP_RIP), rip),
    op('i64.eq', load('i64.load', entry, JUMPS + JUMP_MODE), load('i64.load', get(cpu), L.MODE)),
  );
}

/** The function table's slot in an entry. */
export function jumpFunction(entry: I32): I32 {
  return load('i32.load', entry, JUMPS + JUMP_FUNCTION);
}

/** Enters `slot` for an address. */
export function rememberJump(f: FunctionBuilder, entry: I32, cpu: Local<'i32'>, rip: I64, slot: I32): void {
  f.store('i64.store', entry, rip, JUMPS + JUMP_RIP);
  f.store('i64.store', entry, load('i64.load', get(cpu), L.MODE), JUMPS + JUMP_MODE);
  f.store('i32.store', entry, slot, JUMPS + JUMP_FUNCTION);
}

/** Whether the instruction TLB says that code at a linear address comes from this physical page. */
export function isCodePage(f: FunctionBuilder, cpu: Local<'i32'>, linearPage: I64, physicalPage: number): I32 {
  const page = f.keep(linearPage);
  const index = op('i32.and', op('i32.wrap_i64', op('i64.shr_u', page, i64(12))), i32(ITLB_ENTRIES - 1));
  const entry = f.keep(op('i32.add', load('i32.load', get(cpu), L.ITLB), op('i32.shl', index, i32(4))));
  return op(
    'i32.and',
    op('i64.eq', load('i64.load', entry), page),
    op('i32.eq', load('i32.load', entry, ITLB_PHYSICAL), i32(physicalPage | 0)),
  );
}
