import { assert, defined } from '../../../base/assert.ts';
import type { Integer } from '../../x86/instructions/instruction-builder.ts';
import * as L from '../../x86/layout.ts';
import type { SpecialHandler } from '../interpreter.ts';
import {
  COMPILED_FAULT,
  COMPILED_FUEL,
  COMPILED_LOOKUP,
  COMPILED_RESUME,
  FROM_HANDLER,
  OPERAND_SLOTS,
  UOP_IP,
} from '../micro-op.ts';
import type { Variant } from '../variants.ts';
import {
  type Expression,
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Label,
  type Local,
  load,
  op,
  type RecordSpace,
} from '../wasm/function-builder.ts';
import type { LoadName, StoreName } from '../wasm/opcodes.ts';
import type { Effects } from './effects.ts';
import { type Structure, structure } from './flow-graph.ts';
import { isCodePage, jumpEntry, jumpFunction, jumpKnown } from './jump-cache.ts';
import { type AddressContext, operandAddress } from './operand-address.ts';
import { auxWord, carryOf, conditionOf, type FlagsSource, type PendingFlags, resultWord } from './pending-flags.ts';
import type { Region, RegionBlock, RegionInstruction } from './region.ts';
import { RegionInstructionBuilder } from './region-builder.ts';
import { HANDLER_TYPE } from './region-type.ts';
import { merged, part } from './register-parts.ts';
import { VectorRegisters, xmmAt } from './vector-registers.ts';

const REGISTERS = 16;
const ALL_REGISTERS = 0xffff;

/** What a region's code needs of its surroundings. */
export interface RegionEnvironment {
  readonly view: DataView;
  /** A function shared by all code, called through the table. */
  helper(name: string): FunctionReference;
  effects(variant: Variant, uop: number): Effects;
  /** The special handler of a micro-operation, if it is one. */
  special(uop: number): SpecialHandler | undefined;
  /** Index in the module of the type of handlers, (cpu, uop, address) → outcome, and of regions. */
  readonly handlerType: number;
  readonly regionType: number;
}

/** Builds the function of a region. */
export class RegionFunction implements RecordSpace {
  readonly f: FunctionBuilder;
  readonly view: DataView;
  readonly is64: boolean;
  /** The record with registers and flags in locals, and as plain memory. */
  readonly cpu: Local<'i32'>;
  readonly #raw: Local<'i32'>;
  readonly #region: Region;
  readonly #environment: RegionEnvironment;
  readonly #structure: Structure;
  readonly #addresses: AddressContext;
  readonly #edges: readonly (readonly number[])[];
  readonly #effects: readonly (readonly (Effects | undefined)[])[];
  readonly #flagsDead: readonly boolean[];
  readonly #labels: (Label | undefined)[] = [];

  readonly #rip: Local<'i64'>;
  readonly #fuel: Local<'i32'>;
  /** RIP of the start of the entry's page. */
  readonly #base: Local<'i64'>;
  readonly #dataTlb: Local<'i32'>;
  /** JUMP_GENERATION on entry. */
  readonly #generation: Local<'i32'>;
  #generationUsed = false;
  /** The instruction being built may choose another data TLB. */
  #tablesMoved = false;
  readonly #registers: (Local<'i64'> | undefined)[] = [];
  #written = 0;
  readonly vectors: VectorRegisters;
  readonly #result: Local<'i64'>;
  readonly #aux: Local<'i32'>;
  #flagsWritten = false;
  #pending: PendingFlags | undefined;
  readonly #freePins: Local[] = [];
  /** For the common exits: RIP or RIP_BASE, and the micro-operation to go on with. */
  readonly #target: Local<'i64'>;
  readonly #exitUop: Local<'i32'>;
  #lookupExit: Label = { depth: 0 };
  #fuelExit: Label = { depth: 0 };
  #resumeExit: Label = { depth: 0 };
  #faultExit: Label = { depth: 0 };

  #block: RegionBlock;
  #blockIndex = 0;
  instructionEffects: Effects | undefined;

  constructor(f: FunctionBuilder, region: Region, environment: RegionEnvironment) {
    this.f = f;
    this.#region = region;
    this.#environment = environment;
    this.view = environment.view;
    this.is64 = (region.mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
    this.#raw = f.parameter(0, 'i32');
    this.cpu = { ...this.#raw, record: this };
    this.#rip = f.parameter(1, 'i64');
    this.#fuel = f.parameter(2, 'i32');
    this.#base = f.local('i64');
    this.#dataTlb = f.local('i32');
    this.#generation = f.local('i32');
    this.vectors = new VectorRegisters(f, this.#raw);
    this.#result = f.local('i64');
    this.#aux = f.local('i32');
    this.#target = f.local('i64');
    this.#exitUop = f.local('i32');
    this.#block = defined(region.blocks[0], 'entry');
    this.#addresses = {
      f,
      view: this.view,
      record: this.#raw,
      fromPage: (offset) => op('i64.add', get(this.#base), i64(this.#block.pageDelta + offset)),
      register: (number) => get(this.#register(number)),
      special: (uop) => environment.special(uop),
      helper: (name) => environment.helper(name),
      leaveFaulted: (uop) => this.leaveFaulted(uop),
    };
    this.#edges = region.blocks.map((block, index) => this.#edgesOf(block, index));
    this.#structure = structure(this.#edges);
    this.#effects = region.blocks.map((block) =>
      block.instructions.map((one) => (one.variant ? environment.effects(one.variant, one.uop) : undefined)),
    );
    this.#flagsDead = this.#effects.map(areFlagsDead);
  }

  #edgesOf({ end }: RegionBlock, index: number): number[] {
    const { at, leadsTo } = this.#region;
    switch (end.kind) {
      case 'next':
        return present(at.get(end.next));
      case 'jump':
      case 'call':
        return present(at.get(end.taken));
      case 'branch':
        return present(at.get(end.taken), at.get(end.next));
      case 'return':
      case 'computed':
        return [...(leadsTo.get(index) ?? [])];
      case 'elsewhere':
        return [];
    }
  }

  helper(name: string): FunctionReference {
    this.#tablesMoved ||= name === 'select-tlbs';
    return this.#environment.helper(name);
  }

  // ── The record ──────────────────────────────────────────────────────────────────────────────────────────────────

  #register(number: number): Local<'i64'> {
    let local = this.#registers[number];
    if (local === undefined) {
      local = this.f.persistent('i64');
      this.#registers[number] = local;
    }
    return local;
  }

  load(name: LoadName, offset: number): Expression | undefined {
    if (offset < L.ZERO) {
      return part(get(this.#register(offset >> 3)), name, offset & 7);
    }
    if (offset >= L.LF_RES && offset < L.LF_AUX) {
      this.#settleFlags();
      return part(get(this.#result), name, offset - L.LF_RES);
    }
    if (offset === L.LF_AUX) {
      assert(name === 'i32.load', `${name} of the carries`);
      this.#settleFlags();
      return get(this.#aux);
    }
    return offset === L.DTLB ? get(this.#dataTlb) : this.vectors.load(name, offset);
  }

  store(name: StoreName, offset: number, value: Expression): boolean {
    if (offset < L.ZERO) {
      const number = offset >> 3;
      const local = this.#register(number);
      this.#written |= 1 << number;
      this.f.set(local, merged(get(local), name, offset & 7, value));
      return true;
    }
    if (offset === L.LF_RES || offset === L.LF_AUX) {
      // An instruction that reads none of the flags writes all of them: what is pending counts no more.
      if (this.#pending !== undefined) {
        assert(!this.instructionEffects?.readsFlags, 'flags are written before they are read');
        this.#dropPending();
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
    this.f.store('i64.store', get(this.#raw), get(this.#register(number)), L.GPR + number * 8);
  }

  loadRegister(number: number): void {
    this.#written |= 1 << number;
    this.f.set(this.#register(number), load('i64.load', get(this.#raw), L.GPR + number * 8));
  }

  #spill(mask: number): void {
    for (let number = 0; number < REGISTERS; number++) {
      if (((mask & this.#written) >> number) & 1) {
        this.storeRegister(number);
      }
    }
  }

  #reload(mask: number): void {
    for (let number = 0; number < REGISTERS; number++) {
      const local = this.#registers[number];
      if ((mask >> number) & 1 && local !== undefined) {
        this.f.set(local, load('i64.load', get(this.#raw), L.GPR + number * 8));
      }
    }
  }

  #spillFlags(): void {
    if (this.#flagsWritten) {
      this.f.store('i64.store', get(this.#raw), get(this.#result), L.LF_RES);
      this.f.store('i32.store', get(this.#raw), get(this.#aux), L.LF_AUX);
    }
  }

  #reloadFlags(): void {
    this.f.set(this.#result, load('i64.load', get(this.#raw), L.LF_RES));
    this.f.set(this.#aux, load('i32.load', get(this.#raw), L.LF_AUX));
  }

  // ── Flags ───────────────────────────────────────────────────────────────────────────────────────────────────────

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
    this.#dropPending();
    this.#flagsWritten = true;
    this.#pending = { source: pinned as FlagsSource, owner: this.#blockIndex, pins };
  }

  #pinLocal(type: 'i32' | 'i64'): Local {
    const index = this.#freePins.findIndex((local) => local.type === type);
    return index < 0 ? this.f.persistent(type) : defined(this.#freePins.splice(index, 1)[0], 'local');
  }

  #dropPending(): void {
    if (this.#pending?.owner === this.#blockIndex) {
      this.#freePins.push(...this.#pending.pins);
    }
    this.#pending = undefined;
  }

  /** Computes what is pending into the flags' own locals, here; what is pending stays so for other paths. */
  #emitFlags(): void {
    if (this.#pending !== undefined) {
      const { source } = this.#pending;
      const aux = auxWord(source, (value) => this.f.keep(value) as Integer);
      this.f.set(this.#aux, aux);
      this.f.set(this.#result, resultWord(source));
    }
  }

  #settleFlags(): void {
    if (this.#pending !== undefined) {
      this.#emitFlags();
      this.#dropPending();
    }
  }

  pendingCarry(builder: RegionInstructionBuilder): I32 | undefined {
    return this.#pending === undefined ? undefined : builder.keep(carryOf(this.#pending.source));
  }

  pendingCondition(code: number): I32 | undefined {
    return this.#pending === undefined ? undefined : conditionOf(this.#pending.source, code);
  }

  // ── Addresses of code ───────────────────────────────────────────────────────────────────────────────────────────

  /** RIP of an offset from the start of the present block's page. */
  rip(offset: number): I64 {
    return this.#ripAt(this.#block.pageDelta + offset);
  }

  #ripAt(place: number): I64 {
    const rip = place === 0 ? get(this.#base) : op('i64.add', get(this.#base), i64(place));
    return this.is64 || (place >= 0 && place <= 4096) ? rip : op('i64.and', rip, i64(0xffffffff));
  }

  // ── The function ────────────────────────────────────────────────────────────────────────────────────────────────

  build(): void {
    const { f } = this;
    const entry = defined(this.#region.blocks[0], 'entry');
    f.later(() => this.#prologue(entry));
    f.block((fault) => {
      this.#faultExit = fault;
      f.block((resume) => {
        this.#resumeExit = resume;
        f.block((fuel) => {
          this.#fuelExit = fuel;
          f.block((lookup) => {
            this.#lookupExit = lookup;
            this.#pay(0);
            this.#tree(0);
          });
          this.#lookupTail();
        });
        this.#spillAll();
        f.store('i64.store', get(this.#raw), get(this.#target), L.RIP);
        f.store('i32.store', get(this.#raw), i32(0), L.CURRENT_UOP);
        this.#storeFuel();
        f.return(i32(COMPILED_FUEL));
      });
      this.#uopTail(COMPILED_RESUME);
    });
    this.#uopTail(COMPILED_FAULT);
    f.unreachable();
  }

  #prologue(entry: RegionBlock): void {
    const { f } = this;
    f.set(this.#base, op('i64.sub', get(this.#rip), i64(entry.at)));
    f.set(this.#dataTlb, load('i32.load', get(this.#raw), L.DTLB));
    if (this.#generationUsed) {
      f.set(this.#generation, load('i32.load', get(this.#raw), L.JUMP_GENERATION));
    }
    this.#reload(ALL_REGISTERS);
    this.vectors.reload();
    this.#reloadFlags();
  }

  #spillAll(): void {
    this.#spill(ALL_REGISTERS);
    this.vectors.spill();
    this.#spillFlags();
  }

  #storeFuel(): void {
    this.f.store('i32.store', get(this.#raw), get(this.#fuel), L.FUEL);
  }

  #uopTail(reason: number): void {
    const { f } = this;
    this.#spillAll();
    f.store('i64.store', get(this.#raw), get(this.#target), L.RIP_BASE);
    f.store('i32.store', get(this.#raw), get(this.#exitUop), L.CURRENT_UOP);
    this.#storeFuel();
    f.return(i32(reason));
  }

  #lookupTail(): void {
    const { f } = this;
    this.#spillAll();
    const entry = jumpEntry(f, this.#raw, get(this.#target));
    f.if(jumpKnown(entry, this.#raw, get(this.#target)), () => {
      f.returnCallIndirect(
        this.#environment.regionType,
        jumpFunction(entry),
        get(this.#raw),
        get(this.#target),
        get(this.#fuel),
      );
    });
    f.store('i64.store', get(this.#raw), get(this.#target), L.RIP);
    this.#storeFuel();
    f.return(i32(COMPILED_LOOKUP));
  }

  /** Takes a block's cost out of the fuel, or leaves in front of it. */
  #pay(index: number): void {
    const { f } = this;
    const block = defined(this.#region.blocks[index], 'block');
    f.set(this.#fuel, op('i32.sub', get(this.#fuel), i32(block.instructionCount)));
    f.ifUnlikely(op('i32.lt_s', get(this.#fuel), i32(0)), () => {
      f.scope(() => this.#emitFlags());
      f.set(this.#fuel, op('i32.add', get(this.#fuel), i32(block.instructionCount)));
      f.set(this.#target, this.#ripAt(block.at));
      f.br(this.#fuelExit);
    });
  }

  #tree(index: number): void {
    const { f } = this;
    if (this.#structure.isLoop[index]) {
      f.loop((label) => {
        this.#labels[index] = label;
        this.#within(index, defined(this.#structure.mergesBelow[index], 'merges'), 0);
      });
    } else {
      this.#within(index, defined(this.#structure.mergesBelow[index], 'merges'), 0);
    }
  }

  /** The node `index` inside the blocks of the merge nodes below it, each of which follows its block. */
  #within(index: number, merges: readonly number[], from: number): void {
    const merge = merges[from];
    if (merge === undefined) {
      this.#node(index);
      return;
    }
    const pending = this.#pending;
    this.f.block((label) => {
      // A merge node that is a loop too is left to by this label and repeated by its own.
      const outer = this.#labels[merge];
      this.#labels[merge] = label;
      this.#within(index, merges, from + 1);
      this.#labels[merge] = outer;
    });
    this.#pending = undefined;
    this.#tree(merge);
    this.#pending = pending;
  }

  #node(index: number): void {
    const before = { block: this.#block, index: this.#blockIndex };
    const block = defined(this.#region.blocks[index], 'block');
    this.#block = block;
    this.#blockIndex = index;
    this.#instructions(block, index);
    this.#dropPending();
    this.#block = before.block;
    this.#blockIndex = before.index;
  }

  // ── Leaving a block ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Goes on at an offset from the start of the present block's page. Ends the path. */
  goTo(offset: number): void {
    const place = this.#block.pageDelta + offset;
    const to = this.#region.at.get(place);
    if (to === undefined || !this.#isEdge(to)) {
      this.f.scope(() => this.#emitFlags());
      this.f.set(this.#target, this.is64 ? this.#ripAt(place) : op('i64.and', this.#ripAt(place), i64(0xffffffff)));
      this.f.br(this.#lookupExit);
      return;
    }
    this.#edge(to);
  }

  #isEdge(to: number): boolean {
    const from = this.#blockIndex;
    return (
      (this.#edges[from] as readonly number[]).includes(to) &&
      !this.#structure.dropped.has(from * this.#region.blocks.length + to)
    );
  }

  /** Goes on at an address that the branch at `uop` has computed. Ends the path. */
  goToAddress(target: I64, uop: number): void {
    const { f } = this;
    const raw = get(this.#raw);
    const sites = (this.#region.leadsTo.get(this.#blockIndex) ?? []).filter((site) => this.#isEdge(site));
    if (sites.length > 0) {
      sites.sort((a, b) => this.#placeOf(a) - this.#placeOf(b));
      this.#chooseSite(f.keep(op('i64.sub', target, get(this.#base))), sites);
    }
    f.scope(() => this.#emitFlags());
    f.set(this.#target, target);
    f.store('i32.store', raw, i32(uop), L.JUMP_SOURCE);
    f.store('i64.store', raw, this.#ripAt(this.#block.pageDelta), L.RIP_BASE);
    f.br(this.#lookupExit);
  }

  #placeOf(block: number): number {
    return defined(this.#region.blocks[block], 'block').at;
  }

  /** Branches to the one of `sites`, which are in order, that lies `distance` behind the start of the entry's page. */
  #chooseSite(distance: I64, sites: readonly number[]): void {
    const { f } = this;
    if (sites.length <= 3) {
      for (const site of sites) {
        f.if(op('i64.eq', distance, i64(this.#placeOf(site))), () => this.#edge(site));
      }
      return;
    }
    const middle = sites.length >> 1;
    f.if(
      op('i64.lt_s', distance, i64(this.#placeOf(sites[middle] as number))),
      () => this.#chooseSite(distance, sites.slice(0, middle)),
      () => this.#chooseSite(distance, sites.slice(middle)),
    );
  }

  #edge(to: number): void {
    const { f } = this;
    const saved = this.#pending;
    const from = this.#blockIndex;
    const fromBlock = this.#block;
    const block = defined(this.#region.blocks[to], 'block');
    if (block.pageDelta !== fromBlock.pageDelta) {
      f.scope(() => {
        const linear = this.#ripAt(block.pageDelta);
        const same = isCodePage(f, this.#raw, linear, block.cached.physical & ~0xfff);
        f.ifUnlikely(op('i32.eqz', same), () => {
          this.#emitFlags();
          f.set(this.#target, this.#ripAt(block.at));
          f.br(this.#lookupExit);
        });
      });
    }
    this.#pay(to);
    const { place, isLoop, isMerge } = this.#structure;
    const back = (place[to] as number) <= (place[from] as number);
    if (back || isMerge[to] || isLoop[to]) {
      if (!this.#flagsDead[to]) {
        f.scope(() => this.#emitFlags());
      }
    }
    if (back || isMerge[to]) {
      f.br(defined(this.#labels[to], 'label'));
    } else {
      if (isLoop[to]) {
        this.#pending = undefined;
      }
      this.#tree(to);
    }
    this.#pending = saved;
    this.#block = fromBlock;
    this.#blockIndex = from;
  }

  /** Hands over to the interpreter in front of an instruction of the present block. */
  leaveToInterpreter(uop: number): void {
    const { f } = this;
    this.#emitFlags();
    f.set(this.#exitUop, i32(uop));
    f.set(this.#target, this.#ripAt(this.#block.pageDelta));
    f.br(this.#resumeExit);
  }

  /** FAULT is set for an instruction, which has changed nothing. */
  leaveFaulted(uop: number): void {
    const { f } = this;
    this.#emitFlags();
    f.set(this.#exitUop, i32(uop));
    f.set(this.#target, this.#ripAt(this.#block.pageDelta));
    f.br(this.#faultExit);
  }

  // ── Instructions ────────────────────────────────────────────────────────────────────────────────────────────────

  #instructions(block: RegionBlock, index: number): void {
    for (const [i, instruction] of block.instructions.entries()) {
      const effects = this.#effects[index]?.[i];
      let ended = false;
      this.f.scope(() => {
        ended = this.#instruction(instruction, effects, block.instructions[i + 1]);
      });
      if (ended) {
        return;
      }
    }
    // The last instruction ends the block without saying where it goes on.
    assert(false, 'a block without an end');
  }

  /** Returns whether the path ends with it. */
  #instruction(
    instruction: RegionInstruction,
    effects: Effects | undefined,
    following: RegionInstruction | undefined,
  ): boolean {
    const { variant, special } = instruction;
    if (special === 'end') {
      this.goTo(this.view.getUint16(instruction.uop + UOP_IP, true));
      return true;
    }
    if (variant === undefined || effects === undefined) {
      this.leaveToInterpreter(instruction.first);
      return true;
    }
    if (effects.inline) {
      if (effects.conditionalFlags) {
        this.#settleFlags();
      }
      const address = operandAddress(this.#addresses, instruction.first, instruction.uop);
      const builder = new RegionInstructionBuilder(this, variant, effects, instruction.first, instruction.uop);
      builder.build(address);
      this.instructionEffects = undefined;
      if (this.#tablesMoved) {
        // STAC and CLAC change what the supervisor may touch.
        this.#tablesMoved = false;
        this.f.set(this.#dataTlb, load('i32.load', get(this.#raw), L.DTLB));
      }
      if (!builder.ended && following === undefined) {
        builder.jumpNext();
      }
      return builder.ended;
    }
    if (instruction.coldSlot === undefined || (following === undefined && !variant.definition.options.ends)) {
      this.leaveToInterpreter(instruction.first);
      return true;
    }
    return this.#callHandler(instruction, instruction.coldSlot, variant, effects, following);
  }

  /** Registers that an instruction's operands name, of those operands in `mask`. */
  #operandRegisters(uop: number, mask: number): number {
    let registers = 0;
    for (const [i, slot] of OPERAND_SLOTS.entries()) {
      if ((mask >> i) & 1) {
        const offset = this.view.getUint16(uop + slot, true);
        registers |= offset < L.ZERO ? 1 << (offset >> 3) : 0;
      }
    }
    return registers;
  }

  /** Whether an instruction's operands are XMM registers. */
  #namesVectors(uop: number): boolean {
    return OPERAND_SLOTS.some((slot) => xmmAt(this.view.getUint16(uop + slot, true)) >= 0);
  }

  #callHandler(
    { first, uop }: RegionInstruction,
    slot: number,
    variant: Variant,
    effects: Effects,
    following: RegionInstruction | undefined,
  ): boolean {
    const { f } = this;
    const raw = get(this.#raw);
    const address = operandAddress(this.#addresses, first, uop);
    this.#settleFlags();
    const ends = variant.definition.options.ends === true;
    const reads = effects.anything ? ALL_REGISTERS : effects.reads | this.#operandRegisters(uop, effects.readsOperands);
    const writes = effects.anything
      ? ALL_REGISTERS
      : effects.writes | this.#operandRegisters(uop, effects.writesOperands);
    const before = ends ? ALL_REGISTERS : reads | writes;
    const vectors = effects.anything || effects.vectors || this.#namesVectors(uop);
    for (let number = 0; number < REGISTERS; number++) {
      // Registers that the handler writes are loaded again: they have to be in locals from now on.
      if ((writes >> number) & 1 && !effects.anything) {
        this.#register(number);
        this.#written |= 1 << number;
      }
    }
    f.later(() => {
      this.#spill(before);
      if (vectors || ends) {
        this.vectors.spill();
      }
      this.#spillFlags();
    });
    this.#storeFuel();
    f.store('i32.store', raw, i32(uop), L.CURRENT_UOP);
    f.store('i64.store', raw, this.#ripAt(this.#block.pageDelta), L.RIP_BASE);
    const outcome = f.keep(
      f.callIndirect(this.#environment.handlerType, HANDLER_TYPE, i32(slot), raw, i32(uop), address ?? i64(0)) as I32,
    );
    if (ends) {
      f.return(op('i32.or', outcome, i32(FROM_HANDLER)));
      return true;
    }
    f.ifUnlikely(outcome, () => {
      f.later(() => {
        this.#spill(ALL_REGISTERS & ~before);
        if (!vectors) {
          this.vectors.spill();
        }
      });
      f.return(op('i32.or', outcome, i32(FROM_HANDLER)));
    });
    f.set(this.#fuel, load('i32.load', raw, L.FUEL));
    f.later(() => {
      this.#reload(writes);
      if (vectors) {
        this.vectors.reload();
      }
    });
    if (effects.anything) {
      f.set(this.#dataTlb, load('i32.load', raw, L.DTLB));
    }
    if (effects.writesFlags) {
      this.#flagsWritten = true;
      this.#reloadFlags();
    }
    if (effects.mayLeave && following !== undefined) {
      // An event waits, or code has been overwritten: perhaps this.
      this.#generationUsed = true;
      const changed = op('i32.xor', load('i32.load', raw, L.JUMP_GENERATION), get(this.#generation));
      f.ifUnlikely(op('i32.or', load('i32.load', raw, L.BIAS), changed), () =>
        this.leaveToInterpreter(following.first),
      );
    }
    return false;
  }
}

function present(...places: (number | undefined)[]): number[] {
  return places.filter((place) => place !== undefined);
}

/** Whether the flags at a block's start are overwritten before anything reads them or leaves the region. */
function areFlagsDead(effects: readonly (Effects | undefined)[]): boolean {
  for (const one of effects) {
    if (one === undefined || !one.inline || one.readsFlags || one.conditionalFlags || one.mayLeave) {
      return false;
    }
    if (one.writesFlags) {
      return true;
    }
  }
  return false;
}
