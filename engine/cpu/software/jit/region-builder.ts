import { assert, defined } from '../../../base/assert.ts';
import { loadName, storeName } from '../../x86/instructions/builder-core.ts';
import { InstructionBuilder, type Integer } from '../../x86/instructions/instruction-builder.ts';
import * as L from '../../x86/layout.ts';
import {
  CHECK_WRITE,
  OPERAND_SLOTS,
  UOP_DISPLACEMENT,
  UOP_EXTRA,
  UOP_IMMEDIATE,
  UOP_IP,
  UOP_LENGTH,
  UOP_SEGMENT,
} from '../micro-op.ts';
import type { Variant } from '../variants.ts';
import {
  type Expression,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  laneOp,
  load,
  op,
  recordAddress,
  type V128,
} from '../wasm/function-builder.ts';
import { zeroVector } from '../wasm/vectors.ts';
import type { Effects } from './effects.ts';
import type { RegionFunction } from './region-function.ts';
import { xmmAt } from './vector-registers.ts';

/**
 * Builds an instruction into a region: operands are known, registers and flags live in locals, and whatever is not
 * plain memory sends the instruction back to the interpreter before it has changed anything.
 */
export class RegionInstructionBuilder extends InstructionBuilder {
  readonly #region: RegionFunction;
  readonly #variant: Variant;
  readonly #uop: number;
  readonly #first: number;
  /** Flags are computed at once, because they are set under a condition. */
  readonly #eager: boolean;
  #address: I64 | undefined;
  /** An address near the stack pointer. */
  #stackAddress: I64 | undefined;
  #carryIn = false;
  /** Of integers that have been read: the vector whose low lane they are, or their place in the arena. */
  readonly #lanes = new Map<Integer, V128>();
  readonly #loaded = new Map<Integer, I32>();
  /** Of integers that are the bits of a number: the number. */
  readonly #numbers = new Map<Integer, Expression>();
  ended = false;

  constructor(region: RegionFunction, variant: Variant, effects: Effects, first: number, uop: number) {
    super(region.f, region.state.cpu, variant);
    this.#region = region;
    this.#variant = variant;
    this.#first = first;
    this.#uop = uop;
    this.#eager = effects.conditionalFlags;
  }

  /** `onStack`: the memory operand is a fixed distance from the stack pointer. */
  build(address: I64 | undefined, onStack: boolean): void {
    this.#address = address;
    this.#stackAddress = onStack ? address : undefined;
    this.#variant.definition.semantics(this);
  }

  get #view(): DataView {
    return this.#region.view;
  }

  // ── Operands ────────────────────────────────────────────────────────────────────────────────────────────────────

  override registerAddress(index: number): I32 {
    return recordAddress(this.cpu, this.#slot(index));
  }

  #slot(index: number): number {
    return this.#view.getUint16(this.#uop + defined(OPERAND_SLOTS[index], 'slot'), true);
  }

  override immediate64(): I64 {
    return i64(this.#view.getBigInt64(this.#uop + UOP_IMMEDIATE, true));
  }

  override knownImmediate(): number {
    return this.#view.getInt32(this.#uop + UOP_IMMEDIATE, true);
  }

  override extra(): I32 {
    return i32(this.#view.getInt32(this.#uop + UOP_EXTRA, true));
  }

  override effectiveAddress(): I64 {
    return defined(this.#address, 'address of the memory operand');
  }

  override moveEffectiveAddress(by: I64): void {
    const mark = this.#view.getInt32(this.#uop + UOP_EXTRA, true);
    let moved: I64 = op('i64.add', this.effectiveAddress(), by);
    if (!this.#region.is64 || mark !== 0) {
      moved = op('i64.and', moved, i64(0xffffffff));
      if (mark >>> 0 > 1) {
        moved = op('i64.add', moved, load('i64.load', get(this.cpu), mark));
      }
    }
    this.#address = this.keep(moved);
  }

  override slotValue(index: number): I32 {
    return i32(this.#slot(index));
  }

  // Numbers go from lane to lane, and from memory, without the way through general registers.

  override readXmmPart(index: number, offset: number, size: number): Integer {
    if (offset !== 0 || size < 4 || xmmAt(this.#slot(index)) < 0) {
      return super.readXmmPart(index, offset, size);
    }
    const vector = this.readXmm(index);
    const value = this.keep(laneOp(size === 8 ? 'i64x2.extract_lane' : 'i32x4.extract_lane', 0, vector)) as Integer;
    this.#lanes.set(value, vector);
    return value;
  }

  override asFloat(bits: 32 | 64, value: Integer): Expression<'f32' | 'f64'> {
    const vector = this.#lanes.get(value);
    if (vector !== undefined) {
      return laneOp(bits === 64 ? 'f64x2.extract_lane' : 'f32x4.extract_lane', 0, vector);
    }
    const host = this.#loaded.get(value);
    return host === undefined ? super.asFloat(bits, value) : load(bits === 64 ? 'f64.load' : 'f32.load', host);
  }

  override keepFloat(bits: 32 | 64, value: Expression): Integer {
    const number = this.f.local(value.type);
    this.f.set(number, value);
    const kept = super.keepFloat(bits, get(number));
    this.#numbers.set(kept, get(number));
    return kept;
  }

  override writeXmmPart(index: number, offset: number, value: Integer, size: number): void {
    const number = this.#numbers.get(value);
    if (number === undefined) {
      super.writeXmmPart(index, offset, value, size);
    } else {
      this.f.store(number.type === 'f64' ? 'f64.store' : 'f32.store', this.registerAddress(index), number, offset);
    }
  }

  override writeZeroExtended(index: number, value: Integer): void {
    const host = this.#loaded.get(value);
    const wide = value.type === 'i64';
    const vector =
      host === undefined
        ? laneOp(wide ? 'i64x2.replace_lane' : 'i32x4.replace_lane', 0, zeroVector, value)
        : load(wide ? 'v128.load64_zero' : 'v128.load32_zero', host);
    this.writeXmm(index, vector);
    this.clearAbove(index);
  }

  /** Runs `access` on an operand in the record, where a place may be computed. */
  #inRecord<T>(index: number, written: boolean, access: () => T): T {
    const number = xmmAt(this.#slot(index));
    if (number < 0) {
      return access();
    }
    const { vectors } = this.#region.state;
    vectors.spillOne(number);
    const result = access();
    if (written) {
      vectors.reloadOne(number);
    }
    return result;
  }

  override readLaneAt(index: number, place: I32, size: number): Integer {
    return place.constant === undefined
      ? this.#inRecord(index, false, () => super.readLaneAt(index, place, size))
      : this.readXmmPart(index, Number(place.constant), size);
  }

  override writeLaneAt(index: number, place: I32, value: Integer, size: number): void {
    if (place.constant === undefined) {
      const kept = this.keep(value);
      this.#inRecord(index, true, () => super.writeLaneAt(index, place, kept, size));
    } else {
      this.writeXmmPart(index, Number(place.constant), value, size);
    }
  }

  override sourceSegment(): I32 {
    return i32(this.#view.getUint8(this.#uop + UOP_SEGMENT));
  }

  override segmentedMask(): I64 {
    const mask = this.#view.getInt32(this.#uop + UOP_EXTRA, true);
    return mask === 0 ? i64(-1) : i64(mask >>> 0);
  }

  override segmentSelector(index: number): I32 {
    return this.keep(load('i32.load', get(this.cpu), this.#slot(index) + L.SEGMENT_SELECTOR));
  }

  override ownRip(): I64 {
    return this.#region.rip(this.#view.getUint16(this.#uop + UOP_IP, true));
  }

  override nextRip(): I64 {
    const view = this.#view;
    return this.#region.rip(view.getUint16(this.#uop + UOP_IP, true) + view.getUint8(this.#uop + UOP_LENGTH));
  }

  override helper(name: string): FunctionReference {
    return this.#region.state.helper(name);
  }

  override segmentAddress(segment: I32, offset: I64, size: number, write: boolean): I64 {
    const check = i32(size | (write ? CHECK_WRITE : 0));
    const address = this.f.call(this.helper('segmentAddress'), get(this.cpu), segment, offset, check) as I64;
    const kept = this.keep(address);
    this.leaveOnFault();
    return kept;
  }

  // ── Memory ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The place in the arena of `size` bytes at a linear address, which lie in one page of plain memory. */
  #host(address: I64, size: number, write: boolean): I32 {
    const { f } = this;
    const at = this.keep(address);
    if (address === this.#stackAddress && size <= 8) {
      return this.#region.state.stackHost(at, size, write, () => this.#region.leaveToInterpreter(this.#first));
    }
    const entry = this.tlbEntry(at);
    const host = f.local('i32');
    const last = size === 1 ? at : op('i64.add', at, i64(size - 1));
    f.ifUnlikely(
      op('i64.ne', load('i64.load', entry, write ? 8 : 0), op('i64.and', last, i64(-4096))),
      () => {
        f.set(host, f.call(this.helper('fillTlb'), get(this.cpu), at, i32(write ? 1 : 0), i32(size)) as I32);
        f.if(op('i32.eqz', get(host)), () => this.#region.leaveToInterpreter(this.#first));
      },
      () => f.set(host, this.hostAddress(entry, at)),
    );
    return get(host);
  }

  override stackAddress(offset: I64, size: number, write: boolean): I64 {
    const address = super.stackAddress(offset, size, write);
    this.#stackAddress = address;
    return address;
  }

  override loadMemory(address: I64, size: number): Integer {
    const host = this.#host(address, size, false);
    const value = this.keep(load(loadName(size), host)) as Integer;
    if (size >= 4) {
      this.#loaded.set(value, host);
    }
    return value;
  }

  override storeMemory(address: I64, value: Integer, size: number): void {
    const kept = this.keep(value);
    this.f.store(storeName(size), this.#host(address, size, true), kept);
  }

  override loadVector(address: I64): V128 {
    return this.keep(load('v128.load', this.#host(address, 16, false)));
  }

  override storeVector(address: I64, value: V128): void {
    const kept = this.keep(value);
    this.f.store('v128.store', this.#host(address, 16, true), kept);
  }

  override loadLanes(address: I64): V128[] {
    const host = this.#host(address, 32, false);
    return [this.keep(load('v128.load', host)), this.keep(load('v128.load', host, 16))];
  }

  override storeLanes(address: I64, low: V128, high: V128): void {
    const host = this.#host(address, 32, true);
    this.f.store('v128.store', host, low);
    this.f.store('v128.store', host, high, 16);
  }

  #modified: I32 | undefined;

  override readForWrite(index: number): Integer {
    if (!this.isMemory(index)) {
      return this.read(index);
    }
    const { size } = this.operand(index);
    this.#modified = this.#host(this.effectiveAddress(), size, true);
    return this.keep(load(loadName(size), this.#modified)) as Integer;
  }

  override write(index: number, value: Integer): void {
    if (this.#modified !== undefined && this.isMemory(index)) {
      this.f.store(storeName(this.operand(index).size), this.#modified, value);
      return;
    }
    super.write(index, value);
  }

  // Reached through `slowCheckWrite` and the like only: accesses above never need them.
  override slowLoad(address: I64, size: number): I64 {
    return this.zeroExtend64(this.loadMemory(address, size), size);
  }

  override slowStore(address: I64, size: number, value: I64): void {
    this.storeMemory(address, this.fit(value, size), size);
  }

  override slowCheckWrite(address: I64, size: number): I32 {
    return this.#host(address, size, true);
  }

  // ── Flags ───────────────────────────────────────────────────────────────────────────────────────────────────────

  override carry(): I32 {
    this.#carryIn = true;
    return this.#region.state.pendingCarry() ?? super.carry();
  }

  override flagsAdd(a: Integer, b: Integer, r: Integer, size: number = this.size): void {
    if (this.#eager) {
      super.flagsAdd(a, b, r, size);
    } else {
      this.#region.state.setPending({ kind: this.#carryIn ? 'sum' : 'add', a, b, r, size });
    }
  }

  override flagsSub(a: Integer, b: Integer, r: Integer, size: number = this.size): void {
    if (this.#eager) {
      super.flagsSub(a, b, r, size);
    } else {
      this.#region.state.setPending({ kind: this.#carryIn ? 'difference' : 'sub', a, b, r, size });
    }
  }

  override flagsLogic(r: Integer, size: number = this.size): void {
    if (this.#eager) {
      super.flagsLogic(r, size);
    } else {
      this.#region.state.setPending({ kind: 'logic', r, size });
    }
  }

  override flagsResult(r: Integer, cf: I32, of: I32, size: number = this.size): void {
    if (this.#eager) {
      super.flagsResult(r, cf, of, size);
    } else {
      this.#region.state.setPending({ kind: 'result', r, carry: this.keep(cf), overflow: this.keep(of), size });
    }
  }

  override flagsIncrement(a: Integer, r: Integer, down: boolean): void {
    if (this.#eager) {
      super.flagsIncrement(a, r, down);
      return;
    }
    const carry = this.#region.state.pendingCarry() ?? super.carry();
    this.#region.state.setPending({ kind: down ? 'decrement' : 'increment', a, r, carry, size: this.size });
  }

  override condition(code: number): I32 {
    return this.#region.state.pendingCondition(code) ?? super.condition(code);
  }

  // ── Control ─────────────────────────────────────────────────────────────────────────────────────────────────────

  override leaveFaulted(): void {
    this.#region.leaveFaulted(this.#uop);
  }

  override jumpRelative(): void {
    this.ended = true;
    const view = this.#view;
    const uop = this.#uop;
    const next = view.getUint16(uop + UOP_IP, true) + view.getUint8(uop + UOP_LENGTH);
    const offset = next + view.getInt32(uop + UOP_DISPLACEMENT, true);
    if (this.size === 2) {
      this.#region.goToAddress(this.keep(op('i64.and', this.#region.rip(offset), i64(0xffff))), 0);
    } else {
      this.#region.goTo(offset);
    }
  }

  override jumpNext(): void {
    this.ended = true;
    const view = this.#view;
    this.#region.goTo(view.getUint16(this.#uop + UOP_IP, true) + view.getUint8(this.#uop + UOP_LENGTH));
  }

  override jumpTo(target: I64): void {
    this.ended = true;
    this.#region.goToAddress(this.keep(target), this.#uop);
  }

  override again(): void {
    assert(false, `${this.#variant.definition.name}: not built into regions`);
  }

  /** Reached where only the unusual case needs it: the interpreter does the whole instruction. */
  override system(): void {
    this.#region.leaveToInterpreter(this.#first);
  }

  /** The helpers find RDX and RAX in the record. */
  override divideWide(divisor: I64, signed: boolean): void {
    const { f } = this;
    const region = this.#region;
    region.state.storeRegister(0);
    region.state.storeRegister(2);
    const helper = this.helper(signed ? 'divideSigned128' : 'divide128');
    const fits = f.call(helper, get(this.cpu), divisor) as I32;
    f.if(op('i32.eqz', fits), () => this.fault(L.VECTOR_DE));
    region.state.loadRegister(0);
    region.state.loadRegister(2);
  }
}
