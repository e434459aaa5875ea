import { assert, defined } from '../../../base/assert.ts';
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
} from '../wasm/function-builder.ts';
import type { Effects } from './effects.ts';
import { type Structure, structure } from './flow-graph.ts';
import { isCodePage, jumpEntry, jumpFunction, jumpKnown } from './jump-cache.ts';
import { type AddressContext, isOnStack, operandAddress } from './operand-address.ts';
import type { Region, RegionBlock, RegionInstruction } from './region.ts';
import { RegionInstructionBuilder } from './region-builder.ts';
import { ALL_REGISTERS, REGISTERS, RegionState } from './region-state.ts';
import { HANDLER_TYPE } from './region-type.ts';
import { xmmAt } from './vector-registers.ts';

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
export class RegionFunction {
  readonly f: FunctionBuilder;
  readonly view: DataView;
  readonly is64: boolean;
  readonly state: RegionState;
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
  /** JUMP_GENERATION on entry. */
  readonly #generation: Local<'i32'>;
  #generationUsed = false;
  /** For the common exits: RIP or RIP_BASE, and the micro-operation to go on with. */
  readonly #target: Local<'i64'>;
  readonly #exitUop: Local<'i32'>;
  #lookupExit: Label = { depth: 0 };
  #fuelExit: Label = { depth: 0 };
  #resumeExit: Label = { depth: 0 };
  #faultExit: Label = { depth: 0 };

  #block: RegionBlock;
  #blockIndex = 0;

  constructor(f: FunctionBuilder, region: Region, environment: RegionEnvironment) {
    this.f = f;
    this.#region = region;
    this.#environment = environment;
    this.view = environment.view;
    this.is64 = (region.mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
    this.state = new RegionState(f, f.parameter(0, 'i32'), (name) => environment.helper(name));
    this.#rip = f.parameter(1, 'i64');
    this.#fuel = f.parameter(2, 'i32');
    this.#base = f.local('i64');
    this.#generation = f.local('i32');
    this.#target = f.local('i64');
    this.#exitUop = f.local('i32');
    this.#block = defined(region.blocks[0], 'entry');
    this.#addresses = {
      f,
      view: this.view,
      record: this.state.record,
      fromPage: (offset) => op('i64.add', get(this.#base), i64(this.#block.pageDelta + offset)),
      register: (number) => get(this.state.register(number)),
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

  get #record(): I32 {
    return get(this.state.record);
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
        this.state.leave();
        f.store('i64.store', this.#record, get(this.#target), L.RIP);
        f.store('i32.store', this.#record, i32(0), L.CURRENT_UOP);
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
    if (this.#generationUsed) {
      f.set(this.#generation, load('i32.load', this.#record, L.JUMP_GENERATION));
    }
    this.state.enter();
  }

  #storeFuel(): void {
    this.f.store('i32.store', this.#record, get(this.#fuel), L.FUEL);
  }

  #uopTail(reason: number): void {
    const { f } = this;
    this.state.leave();
    f.store('i64.store', this.#record, get(this.#target), L.RIP_BASE);
    f.store('i32.store', this.#record, get(this.#exitUop), L.CURRENT_UOP);
    this.#storeFuel();
    f.return(i32(reason));
  }

  #lookupTail(): void {
    const { f } = this;
    this.state.leave();
    const entry = jumpEntry(f, this.state.record, get(this.#target));
    f.if(jumpKnown(entry, this.state.record, get(this.#target)), () => {
      f.returnCallIndirect(
        this.#environment.regionType,
        jumpFunction(entry),
        this.#record,
        get(this.#target),
        get(this.#fuel),
      );
    });
    f.store('i64.store', this.#record, get(this.#target), L.RIP);
    this.#storeFuel();
    f.return(i32(COMPILED_LOOKUP));
  }

  /** Takes a block's cost out of the fuel, or leaves in front of it. */
  #pay(index: number): void {
    const { f } = this;
    const block = defined(this.#region.blocks[index], 'block');
    f.set(this.#fuel, op('i32.sub', get(this.#fuel), i32(block.instructionCount)));
    f.ifUnlikely(op('i32.lt_s', get(this.#fuel), i32(0)), () => {
      f.scope(() => this.state.emitFlags());
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
    const pending = this.state.pending;
    this.f.block((label) => {
      // A merge node that is a loop too is left to by this label and repeated by its own.
      const outer = this.#labels[merge];
      this.#labels[merge] = label;
      this.#within(index, merges, from + 1);
      this.#labels[merge] = outer;
    });
    this.state.pending = undefined;
    this.#tree(merge);
    this.state.pending = pending;
  }

  #node(index: number): void {
    const before = { block: this.#block, index: this.#blockIndex };
    const block = defined(this.#region.blocks[index], 'block');
    this.#block = block;
    this.#blockIndex = index;
    this.state.owner = index;
    this.#instructions(block, index);
    this.state.dropPending();
    this.#block = before.block;
    this.#blockIndex = before.index;
    this.state.owner = before.index;
  }

  // ── Leaving a block ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Goes on at an offset from the start of the present block's page. Ends the path. */
  goTo(offset: number): void {
    const place = this.#block.pageDelta + offset;
    const to = this.#region.at.get(place);
    if (to === undefined || !this.#isEdge(to)) {
      this.f.scope(() => this.state.emitFlags());
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
    const raw = this.#record;
    const sites = (this.#region.leadsTo.get(this.#blockIndex) ?? []).filter((site) => this.#isEdge(site));
    if (sites.length > 0) {
      sites.sort((a, b) => this.#placeOf(a) - this.#placeOf(b));
      this.#chooseSite(f.keep(op('i64.sub', target, get(this.#base))), sites);
    }
    f.scope(() => this.state.emitFlags());
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
    const saved = this.state.pending;
    const from = this.#blockIndex;
    const fromBlock = this.#block;
    const block = defined(this.#region.blocks[to], 'block');
    if (block.pageDelta !== fromBlock.pageDelta) {
      f.scope(() => {
        const linear = this.#ripAt(block.pageDelta);
        const same = isCodePage(f, this.state.record, linear, block.cached.physical & ~0xfff);
        f.ifUnlikely(op('i32.eqz', same), () => {
          this.state.emitFlags();
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
        f.scope(() => this.state.emitFlags());
      }
    }
    if (back || isMerge[to]) {
      f.br(defined(this.#labels[to], 'label'));
    } else {
      if (isLoop[to]) {
        this.state.pending = undefined;
      }
      this.#tree(to);
    }
    this.state.pending = saved;
    this.#block = fromBlock;
    this.#blockIndex = from;
    this.state.owner = from;
  }

  /** Hands over to the interpreter in front of an instruction of the present block. */
  leaveToInterpreter(uop: number): void {
    const { f } = this;
    this.state.emitFlags();
    f.set(this.#exitUop, i32(uop));
    f.set(this.#target, this.#ripAt(this.#block.pageDelta));
    f.br(this.#resumeExit);
  }

  /** FAULT is set for an instruction, which has changed nothing. */
  leaveFaulted(uop: number): void {
    const { f } = this;
    this.state.emitFlags();
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
        this.state.settleFlags();
      }
      const address = operandAddress(this.#addresses, instruction.first, instruction.uop);
      const builder = new RegionInstructionBuilder(this, variant, effects, instruction.first, instruction.uop);
      this.state.readsFlags = effects.readsFlags;
      builder.build(address, isOnStack(this.#addresses, instruction.first, instruction.uop));
      this.state.endInstruction();
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
    const raw = this.#record;
    const address = operandAddress(this.#addresses, first, uop);
    this.state.settleFlags();
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
        this.state.writtenElsewhere(number);
      }
    }
    f.later(() => {
      this.state.spill(before, vectors || ends);
      this.state.spillFlags();
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
      f.later(() => this.state.spill(ALL_REGISTERS & ~before, !vectors));
      f.return(op('i32.or', outcome, i32(FROM_HANDLER)));
    });
    f.set(this.#fuel, load('i32.load', raw, L.FUEL));
    f.later(() => this.state.reload(writes, vectors));
    if (effects.anything) {
      this.state.reloadTables();
    }
    if (effects.writesFlags) {
      this.state.flagsWrittenElsewhere();
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
