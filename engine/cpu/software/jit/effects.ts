import { InstructionBuilder } from '../../x86/instructions/instruction-builder.ts';
import * as L from '../../x86/layout.ts';
import type { Variant } from '../variants.ts';
import {
  FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Local,
  type RecordSpace,
  recordAddress,
} from '../wasm/function-builder.ts';
import type { LoadName, StoreName } from '../wasm/opcodes.ts';
import { touchesVectors, xmmAt } from './vector-registers.ts';

/** What the compiler has to know of an instruction before it builds it. */
export interface Effects {
  /** Its meaning is built into the region; else its handler is called. */
  readonly inline: boolean;
  /** General registers (bit n: number n) that its handler reads or writes beside those that operands name. */
  readonly reads: number;
  readonly writes: number;
  readonly readsOperands: number;
  readonly writesOperands: number;
  /** It reads or writes XMM registers that its operands do not name, or has shared functions do so. */
  readonly vectors: boolean;
  /** Its handler may do anything to the record: system operations. */
  readonly anything: boolean;
  readonly readsFlags: boolean;
  readonly writesFlags: boolean;
  /** Flags are read or written under a condition: they must be in their own locals before. */
  readonly conditionalFlags: boolean;
  /** It may leave the region in the middle: it touches memory, may fault, or calls its handler. */
  readonly mayLeave: boolean;
}

/** Instructions whose code would be longer than this are called rather than built in. */
const LONGEST_INLINE = 900;

/** Where operands' registers seem to lie while an instruction is only looked at. */
const OPERAND_BASE = 0x10000;
const OPERAND_STRIDE = 0x100;

/** Fields of the record whose change may end a block, move TLBs or stop the processor. */
const CONTROL_FIELDS: ReadonlySet<number> = new Set([
  L.MODE,
  L.DTLB,
  L.ITLB,
  L.FUEL,
  L.BIAS,
  L.SHADOW,
  L.ACTIVITY,
  L.CR0,
  L.CR3,
  L.CR4,
]);
class Probe implements RecordSpace {
  reads = 0;
  writes = 0;
  readsOperands = 0;
  writesOperands = 0;
  readsFlags = false;
  writesFlags = false;
  conditionalFlags = false;
  vectors = false;
  /** It changes something that compiled code takes for constant. */
  control = false;
  readonly #depth: () => number;

  constructor(depth: () => number) {
    this.#depth = depth;
  }

  #flags(offset: number): boolean {
    const flags = offset >= L.LF_RES && offset < L.LF_AUX + 4;
    if (flags && this.#depth() > 0) {
      this.conditionalFlags = true;
    }
    return flags;
  }

  load(_name: LoadName, offset: number): undefined {
    if (offset >= OPERAND_BASE) {
      this.readsOperands |= 1 << ((offset - OPERAND_BASE) >> 8);
    } else if (offset < L.ZERO) {
      this.reads |= 1 << (offset >> 3);
    } else if (this.#flags(offset)) {
      this.readsFlags = true;
    }
    this.vectors ||= xmmAt(offset) >= 0;
    return undefined;
  }

  store(name: StoreName, offset: number): boolean {
    this.control ||= CONTROL_FIELDS.has(offset);
    const partial = name !== 'i64.store';
    if (offset >= OPERAND_BASE) {
      const bit = 1 << ((offset - OPERAND_BASE) >> 8);
      this.writesOperands |= bit;
      this.readsOperands |= partial ? bit : 0;
    } else if (offset < L.ZERO) {
      const bit = 1 << (offset >> 3);
      this.writes |= bit;
      this.reads |= partial ? bit : 0;
    } else if (this.#flags(offset)) {
      this.writesFlags = true;
    }
    this.vectors ||= xmmAt(offset) >= 0;
    return false;
  }
}

/** Runs an instruction's meaning only to see what it does. */
class ProbeBuilder extends InstructionBuilder {
  system_ = false;
  memory = false;
  /** It calls functions that find XMM registers in the record. */
  vectorHelpers = false;
  readonly #variant: Variant;
  readonly #immediate: number | undefined;
  readonly #helpers: ReadonlyMap<string, FunctionReference>;

  constructor(
    f: FunctionBuilder,
    cpu: Local<'i32'>,
    variant: Variant,
    helpers: ReadonlyMap<string, FunctionReference>,
    immediate: number | undefined,
  ) {
    super(f, cpu, variant);
    this.#immediate = immediate;
    this.#variant = variant;
    this.#helpers = helpers;
  }

  build(): void {
    this.#variant.definition.semantics(this);
  }

  override registerAddress(index: number): I32 {
    return recordAddress(this.cpu, OPERAND_BASE + index * OPERAND_STRIDE);
  }
  override immediate64(): I64 {
    return this.#immediate === undefined ? this.#opaque64() : i64(this.#immediate);
  }
  override extra(): I32 {
    return i32(0);
  }
  override effectiveAddress(): I64 {
    return this.keep(this.#opaque64());
  }
  #opaque64(): I64 {
    return get(this.f.local('i64'));
  }
  override nextRip(): I64 {
    return this.#opaque64();
  }
  override ownRip(): I64 {
    return this.#opaque64();
  }
  override slotValue(): I32 {
    return i32(0);
  }
  override moveEffectiveAddress(): void {}
  override sourceSegment(): I32 {
    return i32(L.SEG_DS);
  }
  override segmentedMask(): I64 {
    return i64(0xffffffff);
  }
  override helper(name: string): FunctionReference {
    const known = this.#helpers.get(name);
    if (known === undefined) {
      throw new Error(`unknown helper function ${name}`);
    }
    this.vectorHelpers ||= touchesVectors(name);
    return { ...known, indirectType: 0 };
  }
  override leaveFaulted(): void {
    this.memory = true;
  }
  override slowLoad(): I64 {
    this.memory = true;
    return this.#opaque64();
  }
  override slowStore(): void {
    this.memory = true;
  }
  override slowCheckWrite(): I32 {
    this.memory = true;
    return get(this.f.local('i32'));
  }
  override jumpRelative(): void {}
  override jumpNext(): void {}
  override jumpTo(): void {}
  override again(): void {
    this.system_ = true;
  }
  override segmentSelector(): I32 {
    return get(this.f.local('i32'));
  }
  override system(): void {
    // Under a condition it is what the interpreter is left to do.
    this.memory = true;
    this.system_ ||= this.f.depth === 0;
  }
  override segmentAddress(): I64 {
    this.memory = true;
    return this.#opaque64();
  }
  /** Built from the registers in the record: its helpers know them by their places. */
  override divideWide(): void {
    this.gpr(0, 8);
    this.gpr(2, 8);
    this.setGpr(0, i64(0), 8);
    this.setGpr(2, i64(0), 8);
    this.memory = true;
  }
}

/**
 * Looks at what a variant does. `helpers` are the functions that its meaning may call; with `immediate` it is looked at
 * for this value of its immediate only.
 */
export function effectsOf(
  variant: Variant,
  helpers: ReadonlyMap<string, FunctionReference>,
  immediate?: number,
): Effects {
  const f = new FunctionBuilder({ params: ['i32'], results: ['i32'] });
  const probe = new Probe(() => f.depth);
  const cpu = { ...f.parameter(0, 'i32'), record: probe };
  const builder = new ProbeBuilder(f, cpu, variant, helpers, immediate);
  builder.build();
  const anything = builder.system_ || probe.control;
  const inline = !anything && !builder.vectorHelpers && f.size <= LONGEST_INLINE;
  return {
    inline,
    vectors: probe.vectors || builder.vectorHelpers,
    reads: probe.reads,
    writes: probe.writes,
    readsOperands: probe.readsOperands,
    writesOperands: probe.writesOperands,
    anything,
    readsFlags: probe.readsFlags || anything,
    writesFlags: probe.writesFlags || anything,
    conditionalFlags: probe.conditionalFlags,
    mayLeave: builder.memory || !inline,
  };
}
