import { d, q } from '../../software/wasm/arithmetic.ts';
import { get, type I32, type I64, i32, load, op } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import * as X from '../x87/registers.ts';
import type { InstructionBuilder } from './instruction-builder.ts';

/** What x87 instructions have in common: reporting, pointers, and memory operands of unusual sizes. */

/** Reports an unmasked exception of an earlier x87 instruction. With CR0.NE clear too: there is no IRQ 13 here. */
export function checkPending(b: InstructionBuilder): void {
  b.faultIf(d.and(load('i32.load', get(b.cpu), L.FPU_STATUS), X.STATUS_ES), L.VECTOR_MF);
}

/** Records the instruction pointer; FOP, FCS and FDS stay zero, as on processors that have deprecated them. */
export function recordPointer(b: InstructionBuilder): void {
  b.setField64(L.FPU_IP, b.ownRip());
}

/** The same for an instruction with a memory operand. The data pointer is the linear address. */
export function recordPointers(b: InstructionBuilder): void {
  recordPointer(b);
  b.setField64(L.FPU_DP, b.effectiveAddress());
}

/** Calls a helper without a result, with the processor's record first. */
export function call(b: InstructionBuilder, name: string, ...operands: (I32 | I64)[]): void {
  b.f.callVoid(b.helper(name), get(b.cpu), ...operands);
}

export function callForI64(b: InstructionBuilder, name: string, ...operands: (I32 | I64)[]): I64 {
  return b.keep(b.f.call(b.helper(name), get(b.cpu), ...operands)) as I64;
}

export function callForI32(b: InstructionBuilder, name: string, ...operands: (I32 | I64)[]): I32 {
  return b.keep(b.f.call(b.helper(name), get(b.cpu), ...operands)) as I32;
}

/** Stores ten bytes; both pages are checked before anything is written. */
export function storeTen(b: InstructionBuilder, low: I64, high: I32): void {
  const at = b.keep(b.effectiveAddress());
  const entry = b.tlbEntry(at);
  b.f.if(
    b.tlbHit(entry, at, 10, 8),
    () => {
      const host = b.keep(b.hostAddress(entry, at));
      b.f.store('i64.store', host, low);
      b.f.store('i32.store16', host, high, 8);
    },
    () => {
      b.f.drop(b.slowCheckWrite(at, 10));
      b.slowStore(at, 8, low);
      b.slowStore(b.keep(q.add(at, 8)), 2, op('i64.extend_i32_u', high));
    },
  );
}

/**
 * Runs `body` on an image of `size` bytes at `address`: in place where the memory can be reached in one piece, else on a
 * copy. Nothing faults once `body` has begun. `write`: the image is for writing too; `chunk` divides `size`.
 */
export function withImage(
  b: InstructionBuilder,
  address: I64,
  size: number,
  chunk: 2 | 4 | 8,
  write: boolean,
  body: (image: I32) => void,
): void {
  const { f } = b;
  const at = b.keep(address);
  const host = f.local('i32');
  const entry = b.tlbEntry(at);
  const staging = b.keep(d.add(get(b.cpu), X.STAGING));
  const eachChunk = (visit: (place: I64, copy: I32) => void) => {
    const offset = f.local('i32');
    f.set(offset, i32(0));
    f.loop((again) => {
      visit(b.keep(q.add(at, q.fromU32(get(offset)))), d.add(staging, get(offset)));
      f.set(offset, d.add(get(offset), chunk));
      f.brIf(again, d.ltU(get(offset), size));
    });
  };
  f.set(host, i32(0));
  f.if(
    b.tlbHit(entry, at, size, write ? 8 : 0),
    () => f.set(host, b.hostAddress(entry, at)),
    () => {
      if (write) {
        f.set(host, b.slowCheckWrite(at, size));
      }
    },
  );
  const direct = b.keep(d.ne(get(host), 0));
  const storeName = chunk === 2 ? 'i64.store16' : chunk === 4 ? 'i64.store32' : 'i64.store';
  f.if(d.zero(direct), () => {
    eachChunk((place, copy) => f.store(storeName, copy, b.slowLoad(place, chunk)));
    f.set(host, staging);
  });
  body(get(host));
  if (write) {
    const loadName = chunk === 2 ? 'i64.load16_u' : chunk === 4 ? 'i64.load32_u' : 'i64.load';
    f.if(d.zero(direct), () => eachChunk((place, copy) => b.slowStore(place, chunk, load(loadName, copy))));
  }
}
