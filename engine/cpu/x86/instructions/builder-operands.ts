import { assert } from '../../../base/assert.ts';
import {
  type Expression,
  get,
  type I32,
  type I64,
  i32,
  i64,
  load,
  op,
  select,
  type V128,
} from '../../software/wasm/function-builder.ts';
import { zeroVector } from '../../software/wasm/vectors.ts';
import * as L from '../layout.ts';
import { BuilderCore, type Integer, loadName, type Operand, storeName } from './builder-core.ts';

/** Operands, memory and the stack. */
export abstract class OperandBuilder extends BuilderCore {
  // ── Operands ────────────────────────────────────────────────────────────────────────────────────────────────────

  operand(index: number): Operand {
    const operand = this.operands[index];
    assert(operand !== undefined, `operand ${index} does not exist`);
    return operand;
  }

  isMemory(index: number): boolean {
    return this.operand(index).kind === 'memory';
  }

  #modify: { address: I64; host: I32 } | undefined;

  /** Value of an integer operand, zero-extended, in a local. Immediates are truncated to `size`. */
  read(index: number, size: number = this.operand(index).size): Integer {
    const operand = this.operand(index);
    switch (operand.kind) {
      case 'register':
        return this.keep(
          operand.fixed === undefined
            ? load(loadName(size), this.registerAddress(index))
            : load(loadName(size), get(this.cpu), operand.fixed),
        ) as Integer;
      case 'immediate':
        return operand.value === undefined
          ? this.keep(this.zeroExtend(this.fit(this.immediate64(), size), size))
          : this.int(operand.value, size);
      case 'memory':
        return this.loadMemory(this.effectiveAddress(), size);
      case 'mmx':
        return this.keep(load(loadName(size), this.registerAddress(index))) as Integer;
      case 'xmm':
        return this.readXmmPart(index, 0, size);
      default:
        throw new Error(`operand ${index} cannot be read as an integer`);
    }
  }

  /** Like `read`, for an operand that the same instruction writes next: memory is checked for writing first. */
  readForWrite(index: number): Integer {
    if (!this.isMemory(index)) {
      return this.read(index);
    }
    const { size } = this.operand(index);
    const address = this.effectiveAddress();
    const host = this.f.local('i32');
    const entry = this.tlbEntry(address);
    this.f.if(
      this.tlbHit(entry, address, size, 8),
      () => this.f.set(host, this.hostAddress(entry, address)),
      () => this.f.set(host, this.slowCheckWrite(address, size)),
    );
    this.#modify = { address, host: get(host) };
    return this.f.ifValue(
      size === 8 ? 'i64' : 'i32',
      get(host),
      () => load(loadName(size), get(host)),
      () => this.fit(this.slowLoad(address, size), size),
    ) as Integer;
  }

  /** Writes an integer operand. Flags are to be written after it: a memory operand may fault. */
  write(index: number, value: Integer): void {
    const operand = this.operand(index);
    const { size } = operand;
    if (operand.kind === 'register') {
      if (operand.fixed === undefined) {
        this.writeGprAt(this.registerAddress(index), 0, value, size);
      } else {
        this.writeGprAt(get(this.cpu), operand.fixed, value, size);
      }
      return;
    }
    if (operand.kind === 'xmm') {
      this.writeXmmPart(index, 0, value, size);
      return;
    }
    if (operand.kind === 'mmx') {
      this.f.store(storeName(size), this.registerAddress(index), value);
      return;
    }
    assert(operand.kind === 'memory', `operand ${index} cannot be written`);
    const kept = this.keep(value);
    const modify = this.#modify;
    if (modify === undefined) {
      this.storeMemory(this.effectiveAddress(), kept, size);
      return;
    }
    this.f.if(
      modify.host,
      () => this.f.store(storeName(size), modify.host, kept),
      () => this.slowStore(modify.address, size, this.zeroExtend64(kept, size)),
    );
  }

  // ── Vector registers: all accesses to them go through these, so that a tier may keep them elsewhere ─────────────

  /** The low half (an XMM register) of the vector register that operand `index` names. */
  readXmm(index: number): V128 {
    return this.keep(load('v128.load', this.registerAddress(index)));
  }

  writeXmm(index: number, value: V128): void {
    this.f.store('v128.store', this.registerAddress(index), value);
  }

  /** The upper half of its YMM register. */
  readYmmHigh(index: number): V128 {
    return this.keep(load('v128.load', this.registerAddress(index), 16));
  }

  writeYmmHigh(index: number, value: V128): void {
    this.f.store('v128.store', this.registerAddress(index), value, 16);
  }

  /** 1–8 bytes of the vector register from byte `offset` (0–31) on, zero-extended. */
  readXmmPart(index: number, offset: number, size: number): Integer {
    return this.keep(load(loadName(size), this.registerAddress(index), offset)) as Integer;
  }

  writeXmmPart(index: number, offset: number, value: Integer, size: number): void {
    this.f.store(storeName(size), this.registerAddress(index), value, offset);
  }

  /** The same from a place that is known only when the instruction runs. */
  readLaneAt(index: number, place: I32, size: number): Integer {
    return this.keep(load(loadName(size), op('i32.add', this.registerAddress(index), place))) as Integer;
  }

  writeLaneAt(index: number, place: I32, value: Integer, size: number): void {
    this.f.store(storeName(size), op('i32.add', this.registerAddress(index), place), value);
  }

  /** An XMM register that the encoding implies; VEX forms clear the rest when they write it. */
  xmm(number: number): V128 {
    return this.keep(load('v128.load', get(this.cpu), L.XMM + number * L.XMM_STRIDE));
  }

  setXmm(number: number, value: V128): void {
    this.f.store('v128.store', get(this.cpu), value, L.XMM + number * L.XMM_STRIDE);
    if (this.vex) {
      this.f.store('v128.store', get(this.cpu), zeroVector, L.XMM + number * L.XMM_STRIDE + 16);
    }
  }

  // ── Memory ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The data TLB entry for a linear address, in a local. */
  tlbEntry(address: I64): I32 {
    return this.keep(
      op(
        'i32.add',
        load('i32.load', get(this.cpu), L.DTLB),
        op('i32.and', op('i32.shr_u', op('i32.wrap_i64', address), i32(7)), i32(0x7fe0)),
      ),
    );
  }

  /** Whether `size` bytes at `address` lie in the page of `entry`; `tag` is the offset of the tag to compare. */
  tlbHit(entry: I32, address: I64, size: number, tag: number): I32 {
    const last = size === 1 ? address : op('i64.add', address, i64(size - 1));
    return op('i64.eq', load('i64.load', entry, tag), op('i64.and', last, i64(-4096)));
  }

  hostAddress(entry: I32, address: I64): I32 {
    return op('i32.add', op('i32.wrap_i64', address), load('i32.load', entry, 16));
  }

  /** Loads 1–8 bytes from a linear address, zero-extended. Leaves the instruction on a fault. */
  loadMemory(address: I64, size: number): Integer {
    const at = this.keep(address);
    const entry = this.tlbEntry(at);
    return this.f.ifValue(
      size === 8 ? 'i64' : 'i32',
      this.tlbHit(entry, at, size, 0),
      () => load(loadName(size), this.hostAddress(entry, at)) as Expression<'i32' | 'i64'>,
      () => this.fit(this.slowLoad(at, size), size),
    ) as Integer;
  }

  storeMemory(address: I64, value: Integer, size: number): void {
    const at = this.keep(address);
    const kept = this.keep(value);
    const entry = this.tlbEntry(at);
    this.f.if(
      this.tlbHit(entry, at, size, 8),
      () => this.f.store(storeName(size), this.hostAddress(entry, at), kept),
      () => this.slowStore(at, size, this.zeroExtend64(kept, size)),
    );
  }

  /** Loads 16 bytes from a linear address. Alignment is the caller's to check. */
  loadVector(address: I64): V128 {
    const at = this.keep(address);
    const entry = this.tlbEntry(at);
    const temp = op('i32.add', get(this.cpu), i32(L.TEMP));
    return this.f.ifValue(
      'v128',
      this.tlbHit(entry, at, 16, 0),
      () => load('v128.load', this.hostAddress(entry, at)),
      () => {
        this.f.store('i64.store', temp, this.slowLoad(at, 8));
        this.f.store('i64.store', temp, this.slowLoad(this.keep(op('i64.add', at, i64(8))), 8), 8);
        return load('v128.load', temp);
      },
    );
  }

  storeVector(address: I64, value: V128): void {
    const at = this.keep(address);
    const kept = this.keep(value);
    const entry = this.tlbEntry(at);
    const temp = op('i32.add', get(this.cpu), i32(L.TEMP));
    this.f.if(
      this.tlbHit(entry, at, 16, 8),
      () => this.f.store('v128.store', this.hostAddress(entry, at), kept),
      () => {
        this.f.store('v128.store', temp, kept);
        // Both halves are checked before either is written.
        this.f.drop(this.slowCheckWrite(at, 16));
        this.slowStore(at, 8, load('i64.load', temp));
        this.slowStore(this.keep(op('i64.add', at, i64(8))), 8, load('i64.load', temp, 8));
      },
    );
  }

  // ── Stack ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The stack pointer as an i64 within the stack's width. */
  stackPointer(): I64 {
    switch (this.stackForm) {
      case 'flat64':
        return this.gpr(4, 8) as I64;
      case 'flat32':
        return this.keep(load('i64.load32_u', get(this.cpu), L.GPR + 4 * 8));
      case 'segmented':
        return this.keep(op('i64.and', this.gpr(4, 8), this.stackMask()));
    }
  }

  /** 0xffff or 0xffffffff by SS.B (segmented form). */
  stackMask(): I64 {
    return this.keep(
      select(
        op(
          'i32.and',
          load('i32.load', get(this.cpu), L.SEGMENTS + L.SEG_SS * L.SEGMENT_SIZE + L.SEGMENT_ATTRIBUTES),
          i32(L.ATTR_DB),
        ),
        i64(0xffffffff),
        i64(0xffff),
      ),
    );
  }

  /** Writes the stack pointer within the stack's width, leaving higher bits of a 16-bit stack's ESP alone. */
  setStackPointer(value: I64): void {
    switch (this.stackForm) {
      case 'flat64':
        this.setGpr(4, value, 8);
        return;
      case 'flat32':
        this.f.store('i64.store', get(this.cpu), op('i64.and', value, i64(0xffffffff)), L.GPR + 4 * 8);
        return;
      case 'segmented': {
        const mask = this.stackMask();
        const old = this.gpr(4, 8);
        this.setGpr(4, op('i64.or', op('i64.and', old, op('i64.xor', mask, i64(-1))), op('i64.and', value, mask)), 8);
        return;
      }
    }
  }

  /** Linear address of `offset` (not yet masked) in the stack segment. */
  stackAddress(offset: I64, size: number, write: boolean): I64 {
    switch (this.stackForm) {
      case 'flat64':
        return offset;
      case 'flat32':
        return op('i64.and', offset, i64(0xffffffff));
      case 'segmented':
        return this.segmentAddress(i32(L.SEG_SS), this.keep(op('i64.and', offset, this.stackMask())), size, write);
    }
  }

  /** Pushes; the stack pointer changes only when the store succeeded. */
  push(value: Integer, size: number = this.size): void {
    const kept = this.keep(value);
    const pointer = this.keep(op('i64.sub', this.stackPointer(), i64(size)));
    this.storeMemory(this.stackAddress(pointer, size, true), kept, size);
    this.setStackPointer(pointer);
  }

  /** Reads the top of the stack, leaving the stack pointer to `dropStack`. */
  peek(size: number = this.size, depth = 0): Integer {
    const pointer = this.stackPointer();
    return this.loadMemory(
      this.stackAddress(depth === 0 ? pointer : this.keep(op('i64.add', pointer, i64(depth))), size, false),
      size,
    );
  }

  /** Releases `bytes` of the stack. */
  dropStack(bytes: I64): void {
    this.setStackPointer(this.keep(op('i64.add', this.stackPointer(), bytes)));
  }
}
