import { assert, defined } from '../../../base/assert.ts';
import type { Integer } from '../../x86/instructions/instruction-builder.ts';
import * as L from '../../x86/layout.ts';
import { DTLB_ADDEND, DTLB_ENTRIES, DTLB_WRITE_TAG } from '../micro-op.ts';
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
  type RecordSpace,
} from '../wasm/function-builder.ts';
import type { LoadName, StoreName } from '../wasm/opcodes.ts';
import { auxWord, carryOf, conditionOf, type FlagsSource, type PendingFlags, resultWord } from './pending-flags.ts';
import { merged, part } from './register-parts.ts';
import { VectorRegisters } from './vector-registers.ts';

export const REGISTERS = 16;
export const ALL_REGISTERS = 0xffff;

/** Functions after which another data TLB may be in use, or entries may be gone. */
const TLB_HELPERS: ReadonlySet<string> = new Set(['select-tlbs', 'flush-tlb', 'invalidate-page']);

/**
 * What a region keeps of its processor in locals: registers, flags, the data TLB and the page of the stack. Which of them
 * it uses is known when all of it is built; spills and reloads are built then (`FunctionBuilder.later`).
 */
export class RegionState implements RecordSpace {
  readonly f: FunctionBuilder;
  /** The record as plain memory, and with what is in locals found there. */
  readonly record: Local<'i32'>;
  readonly cpu: Local<'i32'>;
  readonly vectors: VectorRegisters;
  readonly #helper: (name: string) => FunctionReference;
  readonly #dataTlb: Local<'i32'>;
  /** The page of the stack that was used last, if it may be written, and the arena address minus the linear one. */
  #stack: { readonly page: Local<'i64'>; readonly addend: Local<'i32'>; readonly entry: Local<'i32'> } | undefined;
  readonly #registers: (Local<'i64'> | undefined)[] = [];
  #written = 0;
  readonly #result: Local<'i64'>;
  readonly #aux: Local<'i32'>;
  #flagsWritten = false;
  /** Flags that have not been computed, on the path being built. */
  pending: PendingFlags | undefined;
  /** Number of the block being built. */
  owner = 0;
  /** Whether the instruction being built reads flags. */
  readsFlags = false;
  /** The instruction being built may have chosen another data TLB, or emptied it. */
  #tablesMoved = false;
  readonly #freePins: Local[] = [];

  constructor(f: FunctionBuilder, record: Local<'i32'>, helper: (name: string) => FunctionReference) {
    this.f = f;
    this.record = record;
    this.cpu = { ...record, record: this };
    this.vectors = new VectorRegisters(f, record);
    this.#helper = helper;
    this.#dataTlb = f.local('i32');
    this.#result = f.local('i64');
    this.#aux = f.local('i32');
  }

  /** A function shared by all code, of which the instruction being built makes a call. */
  helper(name: string): FunctionReference {
    this.#tablesMoved ||= TLB_HELPERS.has(name);
    return this.#helper(name);
  }

  /** Loads all that the region uses. */
  enter(): void {
    this.f.set(this.#dataTlb, load('i32.load', get(this.record), L.DTLB));
    this.reload(ALL_REGISTERS, true);
    this.#reloadFlags();
    this.#loadStackPage();
  }

  /** Stores all that the region has changed. */
  leave(): void {
    this.spill(ALL_REGISTERS, true);
    this.spillFlags();
  }

  /** After an instruction that may have chosen another data TLB, or emptied it. */
  reloadTables(): void {
    this.f.set(this.#dataTlb, load('i32.load', get(this.record), L.DTLB));
    this.f.later(() => this.#loadStackPage());
  }

  /** Ends an instruction that has been built in. */
  endInstruction(): void {
    this.readsFlags = false;
    if (this.#tablesMoved) {
      this.#tablesMoved = false;
      this.reloadTables();
    }
  }

  // ── The record ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** The local of a general register. */
  register(number: number): Local<'i64'> {
    let local = this.#registers[number];
    if (local === undefined) {
      local = this.f.persistent('i64');
      this.#registers[number] = local;
    }
    return local;
  }

  load(name: LoadName, offset: number): Expression | undefined {
    if (offset < L.ZERO) {
      return part(get(this.register(offset >> 3)), name, offset & 7);
    }
    if (offset >= L.LF_RES && offset < L.LF_AUX) {
      this.settleFlags();
      return part(get(this.#result), name, offset - L.LF_RES);
    }
    if (offset === L.LF_AUX) {
      assert(name === 'i32.load', `${name} of the carries`);
      this.settleFlags();
      return get(this.#aux);
    }
    return offset === L.DTLB ? get(this.#dataTlb) : this.vectors.load(name, offset);
  }

  store(name: StoreName, offset: number, value: Expression): boolean {
    if (offset < L.ZERO) {
      const number = offset >> 3;
      const local = this.register(number);
      this.#written |= 1 << number;
      this.f.set(local, merged(get(local), name, offset & 7, value));
      return true;
    }
    if (offset === L.LF_RES || offset === L.LF_AUX) {
      // An instruction that reads none of the flags writes all of them: what is pending counts no more.
      if (this.pending !== undefined) {
        assert(!this.readsFlags, 'flags are written before they are read');
        this.dropPending();
      }
      this.#flagsWritten = true;
      if (offset === L.LF_RES) {
        assert(name === 'i64.store', `${name} of the result`);
        this.f.set(this.#result, value as I64);
      } else {
        assert(name === 'i32.store', `${name} of the carries`);
        this.f.set(this.#aux, value as I32);
      }
      return true;
    }
    return this.vectors.store(name, offset, value);
  }

  /** Copies a register to the record, for a function that looks there, and back. */
  storeRegister(number: number): void {
    this.f.store('i64.store', get(this.record), get(this.register(number)), L.GPR + number * 8);
  }

  loadRegister(number: number): void {
    this.#written |= 1 << number;
    this.f.set(this.register(number), load('i64.load', get(this.record), L.GPR + number * 8));
  }

  /** A register that a called handler writes has to be in a local from now on. */
  writtenElsewhere(number: number): void {
    this.register(number);
    this.#written |= 1 << number;
  }

  /** Stores the general registers of `mask`, and the vectors. */
  spill(mask: number, vectors: boolean): void {
    for (let number = 0; number < REGISTERS; number++) {
      if (((mask & this.#written) >> number) & 1) {
        this.storeRegister(number);
      }
    }
    if (vectors) {
      this.vectors.spill();
    }
  }

  reload(mask: number, vectors: boolean): void {
    for (let number = 0; number < REGISTERS; number++) {
      const local = this.#registers[number];
      if ((mask >> number) & 1 && local !== undefined) {
        this.f.set(local, load('i64.load', get(this.record), L.GPR + number * 8));
      }
    }
    if (vectors) {
      this.vectors.reload();
    }
  }

  spillFlags(): void {
    if (this.#flagsWritten) {
      this.f.store('i64.store', get(this.record), get(this.#result), L.LF_RES);
      this.f.store('i32.store', get(this.record), get(this.#aux), L.LF_AUX);
    }
  }

  /** A called handler has written the flags. */
  flagsWrittenElsewhere(): void {
    this.#flagsWritten = true;
    this.#reloadFlags();
  }

  #reloadFlags(): void {
    this.f.set(this.#result, load('i64.load', get(this.record), L.LF_RES));
    this.f.set(this.#aux, load('i32.load', get(this.record), L.LF_AUX));
  }

  // ── The stack's page ────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * The place in the arena of `size` bytes (at most 8) at a linear address near the stack pointer: what the TLB says of
   * the page that was used last stays in locals. `leave` is built for what is not plain memory.
   */
  stackHost(at: I64, size: number, write: boolean, leave: () => void): I32 {
    const { f } = this;
    this.#stack ??= { page: f.persistent('i64'), addend: f.persistent('i32'), entry: f.persistent('i32') };
    this.register(4);
    const { page, addend } = this.#stack;
    const host = f.local('i32');
    // Misaligned accesses keep their lowest bits, and match no page.
    const tag = op('i64.and', at, i64(-4096 | (size - 1)));
    f.ifUnlikely(
      op('i64.ne', tag, get(page)),
      () => {
        f.set(host, f.call(this.#helper('lookUpTlb'), get(this.record), at, i32(write ? 1 : 0), i32(size)) as I32);
        f.if(op('i32.eqz', get(host)), leave);
        this.#loadStackPage(at);
      },
      () => f.set(host, op('i32.add', op('i32.wrap_i64', at), get(addend))),
    );
    return get(host);
  }

  /** Takes over what the TLB says of the page `near` an address, or the stack pointer; nothing matches a page it does not know. */
  #loadStackPage(near?: I64): void {
    if (this.#stack !== undefined) {
      const { f } = this;
      const { page, addend, entry } = this.#stack;
      const at = near ?? get(this.register(4));
      const number = op('i32.and', op('i32.shr_u', op('i32.wrap_i64', at), i32(7)), i32((DTLB_ENTRIES - 1) << 5));
      f.set(entry, op('i32.add', get(this.#dataTlb), number));
      f.set(page, load('i64.load', get(entry), DTLB_WRITE_TAG));
      f.set(addend, load('i32.load', get(entry), DTLB_ADDEND));
    }
  }

  // ── Flags ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Puts off the flags of an instruction. */
  setPending(source: FlagsSource): void {
    const pins: Local[] = [];
    const pin = <T extends Integer>(value: T): T => {
      if (value.constant !== undefined) {
        return value;
      }
      const local = this.#pinLocal(value.type);
      pins.push(local);
      this.f.set(local, value as Expression);
      return get(local) as T;
    };
    const pinned = { ...source } as { -readonly [K in keyof FlagsSource]: FlagsSource[K] } & Record<string, unknown>;
    for (const key of ['a', 'b', 'r', 'carry', 'overflow']) {
      if (pinned[key] !== undefined) {
        pinned[key] = pin(pinned[key] as Integer);
      }
    }
    this.dropPending();
    this.#flagsWritten = true;
    this.pending = { source: pinned as FlagsSource, owner: this.owner, pins };
  }

  #pinLocal(type: 'i32' | 'i64'): Local {
    const index = this.#freePins.findIndex((local) => local.type === type);
    return index < 0 ? this.f.persistent(type) : defined(this.#freePins.splice(index, 1)[0], 'local');
  }

  /** Nobody wants what is pending. */
  dropPending(): void {
    if (this.pending?.owner === this.owner) {
      this.#freePins.push(...this.pending.pins);
    }
    this.pending = undefined;
  }

  /** Computes what is pending into the flags' own locals, here; what is pending stays so for other paths. */
  emitFlags(): void {
    if (this.pending !== undefined) {
      const { source } = this.pending;
      const aux = auxWord(source, (value) => this.f.keep(value) as Integer);
      this.f.set(this.#aux, aux);
      this.f.set(this.#result, resultWord(source));
    }
  }

  /** Computes what is pending, for good. */
  settleFlags(): void {
    if (this.pending !== undefined) {
      this.emitFlags();
      this.dropPending();
    }
  }

  /** CF of what is pending, in a local. */
  pendingCarry(): I32 | undefined {
    return this.pending === undefined ? undefined : this.f.keep(carryOf(this.pending.source));
  }

  /** A condition (its number in the opcode) of what is pending. */
  pendingCondition(code: number): I32 | undefined {
    return this.pending === undefined ? undefined : conditionOf(this.pending.source, code);
  }
}
