import { assert } from '../../../base/assert.ts';
import {
  type Expression,
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Local,
  load,
  op,
  select,
  type V128,
} from '../../software/wasm/function-builder.ts';
import type { LoadName, StoreName } from '../../software/wasm/opcodes.ts';
import { AUX_AF } from '../flags.ts';
import * as L from '../layout.ts';

/** Bytes of an operand: 1, 2, 4 in an i32; 8 in an i64; 16 in a v128; 10 is the x87 extended format (address only). */
export type OperandSize = 1 | 2 | 4 | 8 | 16;

export type OperandKind = 'register' | 'memory' | 'immediate' | 'xmm' | 'mmx' | 'address' | 'none';

/** One operand of the variant being built. */
export interface Operand {
  readonly kind: OperandKind;
  /** Bytes; for 'address' operands the size is not meaningful. */
  readonly size: number;
  /** A register known from the encoding (AL, CL, rAX, DX…): its offset in the record. */
  readonly fixed?: number;
  /** The value known from the encoding (shift by 1). */
  readonly value?: number;
}

/** How addresses of implicit memory operands (stack, strings) are formed in this variant. */
export type AddressForm = 'flat64' | 'flat32' | 'segmented';

export type RepeatPrefix = 'none' | 'rep' | 'repne';

export type Condition = number;

/** Wide and narrow values by one name: i32 for 1, 2 and 4 bytes, i64 for 8. */
export type Integer = I32 | I64;

type Binary =
  | 'add'
  | 'sub'
  | 'mul'
  | 'and'
  | 'or'
  | 'xor'
  | 'shl'
  | 'shr_u'
  | 'shr_s'
  | 'rotl'
  | 'rotr'
  | 'div_u'
  | 'div_s'
  | 'rem_u'
  | 'rem_s';
type Compare = 'eq' | 'ne' | 'lt_u' | 'lt_s' | 'gt_u' | 'gt_s' | 'le_u' | 'le_s' | 'ge_u' | 'ge_s';

/**
 * What an instruction's meaning is written against. The interpreter and the JIT each implement the abstract part: where
 * registers, immediates and memory come from, and how control leaves the instruction. Values returned by the readers are
 * kept in locals, so that they can be used repeatedly and are not affected by later writes.
 */
export abstract class InstructionBuilder {
  readonly f: FunctionBuilder;
  /** Arena address of the processor's record. */
  readonly cpu: Local<'i32'>;
  /** Operand size in bytes of this variant (1, 2, 4, 8). */
  readonly size: OperandSize;
  readonly operands: readonly Operand[];
  /** For instructions with an implicit memory operand addressed by a register. */
  readonly addressForm: AddressForm;
  readonly stackForm: AddressForm;
  /** The repeat prefix of this variant, for instructions that heed it: F3 is 'rep', F2 'repne'. */
  readonly repeat: RepeatPrefix;

  constructor(
    f: FunctionBuilder,
    cpu: Local<'i32'>,
    shape: {
      size: OperandSize;
      operands: readonly Operand[];
      addressForm: AddressForm;
      stackForm: AddressForm;
      repeat: RepeatPrefix;
    },
  ) {
    this.f = f;
    this.cpu = cpu;
    this.size = shape.size;
    this.operands = shape.operands;
    this.addressForm = shape.addressForm;
    this.stackForm = shape.stackForm;
    this.repeat = shape.repeat;
  }

  // ── Supplied by the tier ────────────────────────────────────────────────────────────────────────────────────────

  /** Address (arena) of operand `index`'s register: the record plus an offset. */
  abstract registerAddress(index: number): I32;
  /** The immediate operand as an i64. */
  abstract immediate64(): I64;
  /** A second, 32-bit immediate (ENTER's level, a far pointer's selector, a packed opcode field). */
  abstract extra(): I32;
  /** Linear address of the memory operand. */
  abstract effectiveAddress(): I64;
  /** RIP of the next instruction. */
  abstract nextRip(): I64;
  /** RIP of this instruction. */
  abstract ownRip(): I64;
  /** i of an x87 register operand ST(i). */
  abstract slotValue(index: number): I32;
  /** Adds to the memory operand's address (bit strings). */
  abstract moveEffectiveAddress(by: I64): void;
  /** Number of the segment register that string and XLAT-like instructions use for their source. */
  abstract sourceSegment(): I32;
  /** Mask of the address size in the segmented form: 0xffff, 0xffffffff or all ones. */
  abstract segmentedMask(): I64;
  /** A function shared by all instructions, by name. */
  abstract helper(name: string): FunctionReference;
  /** Ends the instruction because FAULT was set; nothing has been committed. */
  abstract leaveFaulted(): void;
  /** Reads memory that the TLB does not know, or that crosses a page. */
  abstract slowLoad(address: I64, size: number): I64;
  abstract slowStore(address: I64, size: number, value: I64): void;
  /** Checks an address for a later write and returns its place in the arena, or 0 when it must go through `slowStore`. */
  abstract slowCheckWrite(address: I64, size: number): I32;
  /** Continues at the branch displacement relative to the next instruction, as operand size says. */
  abstract jumpRelative(): void;
  /** Continues at the next instruction, ending the block. */
  abstract jumpNext(): void;
  /** Continues at `target` (already truncated to the operand size). */
  abstract jumpTo(target: I64): void;
  /** Continues at this instruction again, after looking at events (interrupted string instructions). */
  abstract again(): void;
  /** Selector of the segment register that operand `index` names. */
  abstract segmentSelector(index: number): I32;
  /** Calls the TypeScript part of the processor; it may continue, jump, stop or fault. */
  abstract system(operation: string): void;
  /** Linear address of `offset` in segment register number `segment`, with the limit checked outside 64-bit mode. */
  abstract segmentAddress(segment: I32, offset: I64, size: number, write: boolean): I64;

  // ── Integer helpers ─────────────────────────────────────────────────────────────────────────────────────────────

  /** i32 or i64 arithmetic by the type of `a`. Values narrower than 32 bits may leave rubbish above their size. */
  bin(name: Binary, a: Integer, b: Integer): Integer {
    assert(a.type === b.type, `${name} of ${a.type} and ${b.type}`);
    return op(`${a.type}.${name}`, a, b) as Integer;
  }

  cmp(name: Compare, a: Integer, b: Integer): I32 {
    assert(a.type === b.type, `${name} of ${a.type} and ${b.type}`);
    return op(`${a.type}.${name}`, a, b);
  }

  eqz(a: Integer): I32 {
    return a.type === 'i64' ? op('i64.eqz', a) : op('i32.eqz', a);
  }

  /** A constant of the integer type that holds `size` bytes. */
  int(value: number | bigint, size: number = this.size): Integer {
    return size === 8 ? i64(value) : i32(Number(BigInt.asIntN(32, BigInt(value))));
  }

  /** Clears what lies above `size` bytes. */
  zeroExtend(value: Integer, size: number = this.size): Integer {
    return size === 1 ? op('i32.and', value, i32(0xff)) : size === 2 ? op('i32.and', value, i32(0xffff)) : value;
  }

  signExtend(value: Integer, size: number = this.size): Integer {
    return size === 1 ? op('i32.extend8_s', value) : size === 2 ? op('i32.extend16_s', value) : value;
  }

  /** To i64, from a value of `size` bytes with the sign spread. */
  signExtend64(value: Integer, size: number = this.size): I64 {
    return value.type === 'i64' ? (value as I64) : op('i64.extend_i32_s', this.signExtend(value, size));
  }

  zeroExtend64(value: Integer, size: number = this.size): I64 {
    return value.type === 'i64' ? (value as I64) : op('i64.extend_i32_u', this.zeroExtend(value, size));
  }

  wrap(value: Integer): I32 {
    return value.type === 'i64' ? op('i32.wrap_i64', value) : (value as I32);
  }

  /** To the integer type of `size` from an i64. */
  fit(value: I64, size: number = this.size): Integer {
    return size === 8 ? value : op('i32.wrap_i64', value);
  }

  keep<T extends Expression>(value: T): T {
    return this.f.keep(value) as T;
  }

  // ── The record ──────────────────────────────────────────────────────────────────────────────────────────────────

  field32(offset: number): I32 {
    return this.keep(load('i32.load', get(this.cpu), offset));
  }
  setField32(offset: number, value: I32): void {
    this.f.store('i32.store', get(this.cpu), value, offset);
  }
  field64(offset: number): I64 {
    return this.keep(load('i64.load', get(this.cpu), offset));
  }
  setField64(offset: number, value: I64): void {
    this.f.store('i64.store', get(this.cpu), value, offset);
  }

  #loadName(size: number): LoadName {
    return size === 1
      ? 'i32.load8_u'
      : size === 2
        ? 'i32.load16_u'
        : size === 4
          ? 'i32.load'
          : size === 8
            ? 'i64.load'
            : 'v128.load';
  }

  #storeName(size: number): StoreName {
    return size === 1
      ? 'i32.store8'
      : size === 2
        ? 'i32.store16'
        : size === 4
          ? 'i32.store'
          : size === 8
            ? 'i64.store'
            : 'v128.store';
  }

  /** General register by number (not the legacy high bytes), zero-extended, of `size` bytes. */
  gpr(number: number, size: number = this.size): Integer {
    return this.keep(load(this.#loadName(size), get(this.cpu), L.GPR + number * 8)) as Integer;
  }

  /** Writes a general register; 4-byte writes clear the upper half. */
  setGpr(number: number, value: Integer, size: number = this.size): void {
    this.#writeGpr(get(this.cpu), L.GPR + number * 8, value, size);
  }

  #writeGpr(address: I32, offset: number, value: Integer, size: number): void {
    if (size === 4) {
      this.f.store('i64.store', address, op('i64.extend_i32_u', value), offset);
    } else {
      this.f.store(this.#storeName(size), address, value, offset);
    }
  }

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
            ? load(this.#loadName(size), this.registerAddress(index))
            : load(this.#loadName(size), get(this.cpu), operand.fixed),
        ) as Integer;
      case 'immediate':
        return operand.value === undefined
          ? this.keep(this.zeroExtend(this.fit(this.immediate64(), size), size))
          : this.int(operand.value, size);
      case 'memory':
        return this.loadMemory(this.effectiveAddress(), size);
      case 'mmx':
        return this.keep(load(this.#loadName(size), this.registerAddress(index))) as Integer;
      case 'xmm':
        return this.keep(load(this.#loadName(size), this.registerAddress(index))) as Integer;
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
      () => load(this.#loadName(size), get(host)),
      () => this.fit(this.slowLoad(address, size), size),
    ) as Integer;
  }

  /** Writes an integer operand. Flags are to be written after it: a memory operand may fault. */
  write(index: number, value: Integer): void {
    const operand = this.operand(index);
    const { size } = operand;
    if (operand.kind === 'register') {
      if (operand.fixed === undefined) {
        this.#writeGpr(this.registerAddress(index), 0, value, size);
      } else {
        this.#writeGpr(get(this.cpu), operand.fixed, value, size);
      }
      return;
    }
    if (operand.kind === 'mmx' || operand.kind === 'xmm') {
      this.f.store(this.#storeName(size), this.registerAddress(index), value);
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
      () => this.f.store(this.#storeName(size), modify.host, kept),
      () => this.slowStore(modify.address, size, this.zeroExtend64(kept, size)),
    );
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
      () => load(this.#loadName(size), this.hostAddress(entry, at)) as Expression<'i32' | 'i64'>,
      () => this.fit(this.slowLoad(at, size), size),
    ) as Integer;
  }

  storeMemory(address: I64, value: Integer, size: number): void {
    const at = this.keep(address);
    const kept = this.keep(value);
    const entry = this.tlbEntry(at);
    this.f.if(
      this.tlbHit(entry, at, size, 8),
      () => this.f.store(this.#storeName(size), this.hostAddress(entry, at), kept),
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

  // ── Flags (see flags.ts) ────────────────────────────────────────────────────────────────────────────────────────

  aux(): I32 {
    return this.field32(L.LF_AUX);
  }
  setAux(value: I32): void {
    this.setField32(L.LF_AUX, value);
  }
  setResult(value: Integer, size: number = this.size): void {
    this.setField64(L.LF_RES, this.signExtend64(value, size));
  }

  /** Turns a vector of carries of `size` bytes into the AUX word. */
  carriesToAux(carries: Integer, size: number): I32 {
    if (size === 8) {
      const kept = this.keep(carries);
      return op(
        'i32.or',
        op('i32.and', op('i32.wrap_i64', op('i64.shr_u', kept, i64(32))), i32(0xc0000000)),
        op('i32.and', op('i32.wrap_i64', kept), i32(AUX_AF)),
      );
    }
    if (size === 4) {
      return op('i32.and', carries, i32(0xc0000008));
    }
    const kept = this.keep(carries);
    return op(
      'i32.or',
      op('i32.and', op('i32.shl', kept, i32(32 - size * 8)), i32(0xc0000000)),
      op('i32.and', kept, i32(AUX_AF)),
    );
  }

  /** Carries of r = a + b (+ carry). */
  carriesOfAdd(a: Integer, b: Integer, r: Integer): Integer {
    const not = this.bin('xor', r, r.type === 'i64' ? i64(-1) : i32(-1));
    return this.bin('or', this.bin('and', a, b), this.bin('and', this.bin('or', a, b), not));
  }

  /** Borrows of r = a − b (− borrow). */
  carriesOfSub(a: Integer, b: Integer, r: Integer): Integer {
    const ones = r.type === 'i64' ? i64(-1) : i32(-1);
    return this.bin(
      'or',
      this.bin('and', this.bin('xor', a, ones), b),
      this.bin('and', this.bin('xor', this.bin('xor', a, b), ones), r),
    );
  }

  flagsAdd(a: Integer, b: Integer, r: Integer, size: number = this.size): void {
    this.setResult(r, size);
    this.setAux(this.carriesToAux(this.carriesOfAdd(a, b, r), size));
  }

  flagsSub(a: Integer, b: Integer, r: Integer, size: number = this.size): void {
    this.setResult(r, size);
    this.setAux(this.carriesToAux(this.carriesOfSub(a, b, r), size));
  }

  /** CF and OF zero, AF zero (undefined by the manual). */
  flagsLogic(r: Integer, size: number = this.size): void {
    this.setResult(r, size);
    this.setAux(i32(0));
  }

  /** ZF, SF, PF from the result, CF and OF as given (0 or 1), AF zero. */
  flagsResult(r: Integer, cf: I32, of: I32, size: number = this.size): void {
    this.setResult(r, size);
    const carry = this.keep(cf);
    this.setAux(op('i32.or', op('i32.shl', carry, i32(31)), op('i32.shl', op('i32.xor', carry, of), i32(30))));
  }

  /** Changes CF and OF (0 or 1 each), leaving the others. */
  setCarryOverflow(cf: I32, of: I32): void {
    const carry = this.keep(cf);
    this.setAux(
      op(
        'i32.or',
        op('i32.and', load('i32.load', get(this.cpu), L.LF_AUX), i32(0x3fffffff)),
        op('i32.or', op('i32.shl', carry, i32(31)), op('i32.shl', op('i32.xor', carry, of), i32(30))),
      ),
    );
  }

  /** Changes CF alone. */
  setCarry(cf: I32): void {
    const old = this.aux();
    const change = op('i32.xor', op('i32.shr_u', old, i32(31)), cf);
    this.setAux(op('i32.xor', old, op('i32.mul', change, i32(0xc0000000))));
  }

  /** All six flags from an RFLAGS image. */
  setArithmeticFlags(image: I32): void {
    const flags = this.keep(image);
    const bit = (n: number) => op('i32.and', op('i32.shr_u', flags, i32(n)), i32(1));
    const zero = this.keep(bit(6));
    const carry = this.keep(bit(0));
    this.setField64(L.LF_RES, op('i64.extend_i32_u', op('i32.xor', zero, i32(1))));
    const parityByte = op('i32.xor', zero, bit(2));
    this.setAux(
      op(
        'i32.or',
        op('i32.or', op('i32.shl', carry, i32(31)), op('i32.shl', op('i32.xor', carry, bit(11)), i32(30))),
        op('i32.or', op('i32.shl', bit(4), i32(3)), op('i32.or', bit(7), op('i32.shl', parityByte, i32(8)))),
      ),
    );
  }

  carry(): I32 {
    return this.keep(op('i32.shr_u', load('i32.load', get(this.cpu), L.LF_AUX), i32(31)));
  }

  overflow(): I32 {
    const aux = this.aux();
    return this.keep(op('i32.shr_u', op('i32.xor', aux, op('i32.shl', aux, i32(1))), i32(31)));
  }

  /** SF, ZF, AF, PF, CF in the places of RFLAGS, with bit 1 set (LAHF); plus OF. */
  arithmeticFlags(): I32 {
    const place = (value: I32, bit: number) => op('i32.shl', value, i32(bit));
    const all = [
      this.carry(),
      place(this.condition(0xa), 2),
      place(op('i32.and', op('i32.shr_u', this.aux(), i32(3)), i32(1)), 4),
      place(this.condition(4), 6),
      place(this.condition(8), 7),
      place(this.overflow(), 11),
    ];
    return this.keep(all.reduce((sum, item) => op('i32.or', sum, item)));
  }

  /** Condition code 0–15 of Jcc, SETcc, CMOVcc (SDM 1, appendix B) as 0 or 1. */
  condition(code: Condition): I32 {
    const cpu = get(this.cpu);
    const aux = () => load('i32.load', cpu, L.LF_AUX);
    const result = () => load('i64.load', cpu, L.LF_RES);
    const high = () => load('i32.load', cpu, L.LF_RES + 4);
    const zero = () => op('i64.eqz', result());
    const overflowBits = () => {
      const kept = this.keep(aux());
      return op('i32.xor', kept, op('i32.shl', kept, i32(1)));
    };
    const less = () => {
      const kept = this.keep(aux());
      return op(
        'i32.xor',
        op('i32.shr_u', op('i32.xor', high(), op('i32.xor', kept, op('i32.shl', kept, i32(1)))), i32(31)),
        op('i32.and', kept, i32(1)),
      );
    };
    const positive = (): I32 => {
      switch (code >> 1) {
        case 0:
          return op('i32.shr_u', overflowBits(), i32(31));
        case 1:
          return op('i32.shr_u', aux(), i32(31));
        case 2:
          return zero();
        case 3:
          return op('i32.or', op('i32.shr_u', aux(), i32(31)), zero());
        case 4:
          return op('i32.xor', op('i32.shr_u', high(), i32(31)), op('i32.and', aux(), i32(1)));
        case 5:
          return op(
            'i32.xor',
            op(
              'i32.and',
              op(
                'i32.popcnt',
                op(
                  'i32.and',
                  op('i32.xor', load('i32.load', cpu, L.LF_RES), op('i32.shr_u', aux(), i32(8))),
                  i32(0xff),
                ),
              ),
              i32(1),
            ),
            i32(1),
          );
        case 6:
          return less();
        default:
          return op('i32.or', zero(), less());
      }
    };
    return (code & 1) === 0 ? positive() : op('i32.xor', positive(), i32(1));
  }

  // ── Faults ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Raises an exception and leaves the instruction. */
  fault(vector: number, errorCode?: number): void {
    this.setField32(L.FAULT, i32(L.FAULT_PENDING | vector | (errorCode === undefined ? 0 : L.FAULT_HAS_ERROR)));
    if (errorCode !== undefined) {
      this.setField32(L.FAULT_ERROR, i32(errorCode));
    }
    this.leaveFaulted();
  }

  faultIf(condition: I32, vector: number, errorCode?: number): void {
    this.f.if(condition, () => this.fault(vector, errorCode));
  }

  // ── Vector registers ────────────────────────────────────────────────────────────────────────────────────────────

  /** A 16-byte operand: an XMM register, or memory, which must be aligned if `aligned` (#GP). */
  readVector(index: number, aligned = true): V128 {
    if (!this.isMemory(index)) {
      return this.keep(load('v128.load', this.registerAddress(index)));
    }
    const address = this.effectiveAddress();
    if (aligned) {
      this.faultIf(op('i32.and', op('i32.wrap_i64', address), i32(15)), L.VECTOR_GP, 0);
    }
    return this.loadVector(address);
  }

  writeVector(index: number, value: V128, aligned = true): void {
    if (!this.isMemory(index)) {
      this.f.store('v128.store', this.registerAddress(index), value);
      return;
    }
    const address = this.effectiveAddress();
    if (aligned) {
      this.faultIf(op('i32.and', op('i32.wrap_i64', address), i32(15)), L.VECTOR_GP, 0);
    }
    this.storeVector(address, value);
  }

  /** The immediate's value when it is known while code is generated: shuffles and blends then need no look-up. */
  knownImmediate(): number | undefined {
    return undefined;
  }

  /** A vector operand of 8 bytes or fewer in the low lane; what lies above it means nothing. */
  readLowVector(index: number): V128 {
    if (!this.isMemory(index)) {
      return this.keep(load('v128.load', this.registerAddress(index)));
    }
    const value = this.read(index);
    return this.keep(value.type === 'i64' ? op('i64x2.splat', value) : op('i32x4.splat', value));
  }

  /** Writes an XMM register: `value` (i32 or i64) in the low lane, zeros above it. */
  writeZeroExtended(index: number, value: Integer): void {
    const wide = value.type === 'i64' ? value : op('i64.extend_i32_u', value);
    this.f.store('i64.store', this.registerAddress(index), wide);
    this.f.store('i64.store', this.registerAddress(index), i64(0), 8);
  }

  /** The upper half of an XMM register. */
  readHigh(index: number): I64 {
    return this.keep(load('i64.load', this.registerAddress(index), 8));
  }

  writeHigh(index: number, value: I64): void {
    this.f.store('i64.store', this.registerAddress(index), value, 8);
  }

  /** `size` bytes of an XMM register from byte `place` on. */
  readLaneAt(index: number, place: I32, size: number): Integer {
    return this.keep(load(this.#loadName(size), op('i32.add', this.registerAddress(index), place))) as Integer;
  }

  writeLaneAt(index: number, place: I32, value: Integer, size: number): void {
    this.f.store(this.#storeName(size), op('i32.add', this.registerAddress(index), place), value);
  }

  /** An XMM register that the encoding implies. */
  xmm(number: number): V128 {
    return this.keep(load('v128.load', get(this.cpu), L.XMM + number * L.XMM_STRIDE));
  }

  setXmm(number: number, value: V128): void {
    this.f.store('v128.store', get(this.cpu), value, L.XMM + number * L.XMM_STRIDE);
  }

  /** ZF, PF and CF as given (0 or 1); OF, SF and AF zero: the outcome of vector comparisons. */
  flagsCompare(zf: I32, pf: I32, cf: I32): void {
    const zero = this.keep(zf);
    const aux = op(
      'i32.or',
      op('i32.shl', op('i32.xor', zero, pf), i32(8)),
      op('i32.and', op('i32.sub', i32(0), cf), i32(0xc0000000)),
    );
    this.setAux(aux);
    // The result's own parity is even for 0 and odd for 1; the parity byte corrects it.
    this.setField64(L.LF_RES, op('i64.extend_i32_u', op('i32.xor', zero, i32(1))));
  }

  /** Leaves the instruction if a helper has set FAULT. */
  leaveOnFault(): void {
    this.f.if(load('i32.load', get(this.cpu), L.FAULT), () => this.leaveFaulted());
  }

  /** Changes ZF alone (0 or 1). */
  setZero(zero: I32): void {
    const flags = op('i32.or', op('i32.and', this.arithmeticFlags(), i32(~L.FLAG_ZF)), op('i32.shl', zero, i32(6)));
    this.setArithmeticFlags(flags);
  }

  // ── Implicit addresses (strings, LOOP, XLAT) ────────────────────────────────────────────────────────────────────

  addressMask(): I64 {
    return this.addressForm === 'flat64'
      ? i64(-1)
      : this.addressForm === 'flat32'
        ? i64(0xffffffff)
        : this.segmentedMask();
  }

  /** A register that holds an address or count, truncated to the address size. */
  addressRegister(number: number): I64 {
    switch (this.addressForm) {
      case 'flat64':
        return this.gpr(number, 8) as I64;
      case 'flat32':
        return this.keep(load('i64.load32_u', get(this.cpu), L.GPR + number * 8));
      case 'segmented':
        return this.keep(op('i64.and', this.gpr(number, 8), this.segmentedMask()));
    }
  }

  /** Writes such a register: 16-bit addresses leave the rest alone, 32-bit ones clear the upper half. */
  setAddressRegister(number: number, value: I64): void {
    switch (this.addressForm) {
      case 'flat64':
        this.setGpr(number, value, 8);
        return;
      case 'flat32':
        this.setGpr(number, op('i64.and', value, i64(0xffffffff)), 8);
        return;
      case 'segmented': {
        const mask = this.keep(this.segmentedMask());
        const keep = select(op('i64.eq', mask, i64(0xffff)), i64(-0x10000), i64(0));
        this.setGpr(number, op('i64.or', op('i64.and', this.gpr(number, 8), keep), op('i64.and', value, mask)), 8);
        return;
      }
    }
  }

  /** Linear address of `offset` in the source segment (DS unless overridden). */
  sourceAddress(offset: I64, size: number, write = false): I64 {
    if (this.addressForm === 'segmented') {
      return this.segmentAddress(
        this.sourceSegment(),
        this.keep(op('i64.and', offset, this.segmentedMask())),
        size,
        write,
      );
    }
    return this.addressForm === 'flat32' ? op('i64.and', offset, i64(0xffffffff)) : offset;
  }

  /** Linear address of `offset` in ES. */
  destinationAddress(offset: I64, size: number, write: boolean): I64 {
    return this.addressForm === 'segmented' ? this.segmentAddress(i32(L.SEG_ES), offset, size, write) : offset;
  }

  // ── Wide arithmetic ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Upper 64 bits of a 64 × 64-bit product. */
  multiplyHigh(a: I64, b: I64, signed: boolean): I64 {
    return this.keep(this.f.call(this.helper(signed ? 'multiplyHighSigned' : 'multiplyHigh'), a, b)) as I64;
  }

  /** RDX:RAX ÷ `divisor` into RAX and RDX; #DE when the quotient does not fit. */
  divideWide(divisor: I64, signed: boolean): void {
    this.f.if(
      op('i32.eqz', this.f.call(this.helper(signed ? 'divideSigned128' : 'divide128'), get(this.cpu), divisor) as I32),
      () => this.fault(L.VECTOR_DE),
    );
  }

  // ── Composite jumps ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes the relative branch if `condition`, else goes on with the next instruction. Ends the instruction. */
  branchIf(condition: I32): void {
    this.f.if(condition, () => this.jumpRelative());
    this.jumpNext();
  }
}
