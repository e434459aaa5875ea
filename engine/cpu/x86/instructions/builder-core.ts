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
} from '../../software/wasm/function-builder.ts';
import type { LoadName, StoreName } from '../../software/wasm/opcodes.ts';
import * as L from '../layout.ts';

/** Bytes of an operand: 1, 2, 4 in an i32; 8 in an i64; 16 in a v128, 32 in two; 10 is the x87 extended format (address only). */
export type OperandSize = 1 | 2 | 4 | 8 | 16 | 32;

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

/** The load of an operand of `size` bytes, zero-extended. */
export function loadName(size: number): LoadName {
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

export function storeName(size: number): StoreName {
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

/** What the tier supplies, integers, and the processor's record. */
export abstract class BuilderCore {
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
  /** A VEX encoding: writing a vector register clears it above the result, and memory need not be aligned. */
  readonly vex: boolean;
  /** Number of the operand that is the first source (the destination unless VEX names another), and of the second. */
  readonly left: number;
  readonly right: number;

  constructor(
    f: FunctionBuilder,
    cpu: Local<'i32'>,
    shape: {
      size: OperandSize;
      operands: readonly Operand[];
      addressForm: AddressForm;
      stackForm: AddressForm;
      repeat: RepeatPrefix;
      vex: boolean;
      left: number;
    },
  ) {
    this.f = f;
    this.cpu = cpu;
    this.size = shape.size;
    this.operands = shape.operands;
    this.addressForm = shape.addressForm;
    this.stackForm = shape.stackForm;
    this.repeat = shape.repeat;
    this.vex = shape.vex;
    this.left = shape.left;
    this.right = shape.left + 1;
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

  /** General register by number (not the legacy high bytes), zero-extended, of `size` bytes. */
  gpr(number: number, size: number = this.size): Integer {
    return this.keep(load(loadName(size), get(this.cpu), L.GPR + number * 8)) as Integer;
  }

  /** Writes a general register; 4-byte writes clear the upper half. */
  setGpr(number: number, value: Integer, size: number = this.size): void {
    this.writeGprAt(get(this.cpu), L.GPR + number * 8, value, size);
  }

  protected writeGprAt(address: I32, offset: number, value: Integer, size: number): void {
    if (size === 4) {
      this.f.store('i64.store', address, op('i64.extend_i32_u', value), offset);
    } else {
      this.f.store(storeName(size), address, value, offset);
    }
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
  /** Leaves the instruction if a helper has set FAULT. */
  leaveOnFault(): void {
    this.f.if(load('i32.load', get(this.cpu), L.FAULT), () => this.leaveFaulted());
  }
}
