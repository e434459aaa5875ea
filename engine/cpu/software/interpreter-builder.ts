import { assert, defined } from '../../base/assert.ts';
import { loadName, storeName } from '../x86/instructions/builder-core.ts';
import { InstructionBuilder, type Integer } from '../x86/instructions/instruction-builder.ts';
import * as L from '../x86/layout.ts';
import {
  CHECK_WRITE,
  DTLB_WRITE_TAG,
  FAULTED,
  JUMPED,
  LINK_NEXT,
  LINK_TAKEN,
  NEXT,
  OPERAND_SLOTS,
  REPEATED,
  UOP_DISPLACEMENT,
  UOP_EXTRA,
  UOP_GUESS,
  UOP_HANDLER,
  UOP_IMMEDIATE,
  UOP_IP,
  UOP_LENGTH,
  UOP_LINK_NEXT,
  UOP_LINK_TAKEN,
  UOP_REMAINING,
  UOP_SEGMENT,
  UOP_SIZE,
} from './micro-op.ts';
import type { RuntimeFunctions } from './runtime-functions.ts';
import type { Variant } from './variants.ts';
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
  select,
} from './wasm/function-builder.ts';

const SLOTS = OPERAND_SLOTS;

/** Numbers the system operations that instructions call, each with the shape it was called in. */
export class SystemOperations {
  readonly list: { readonly name: string; readonly variant: Variant }[] = [];

  number(name: string, variant: Variant): number {
    const known = this.list.findIndex((entry) => entry.name === name && entry.variant.key === variant.key);
    return known >= 0 ? known : this.list.push({ name, variant }) - 1;
  }
}

/** What both kinds of handlers have in common: operands come from the micro-operation at `uop`. */
abstract class HandlerBuilder extends InstructionBuilder {
  protected readonly variant: Variant;
  protected readonly uop: Local<'i32'>;
  protected readonly ea: Local<'i64'>;
  protected readonly runtime: RuntimeFunctions;
  protected readonly operations: SystemOperations;

  constructor(
    f: FunctionBuilder,
    variant: Variant,
    locals: { cpu: Local<'i32'>; uop: Local<'i32'>; ea: Local<'i64'> },
    runtime: RuntimeFunctions,
    operations: SystemOperations,
  ) {
    super(f, locals.cpu, variant);
    this.variant = variant;
    this.uop = locals.uop;
    this.ea = locals.ea;
    this.runtime = runtime;
    this.operations = operations;
  }

  /** Runs the variant's semantics with this builder. */
  build(): void {
    this.variant.definition.semantics(this);
  }

  override registerAddress(index: number): I32 {
    const slot = SLOTS[index];
    assert(slot !== undefined, `operand ${index} has no register slot`);
    return op('i32.add', get(this.cpu), load('i32.load16_u', get(this.uop), slot));
  }

  override immediate64(): I64 {
    return load('i64.load', get(this.uop), UOP_IMMEDIATE);
  }

  override extra(): I32 {
    return load('i32.load', get(this.uop), UOP_EXTRA);
  }

  override effectiveAddress(): I64 {
    return get(this.ea);
  }

  override moveEffectiveAddress(by: I64): void {
    const moved = op('i64.add', this.effectiveAddress(), by);
    const long = op(
      'i32.eq',
      op('i32.and', load('i32.load', get(this.cpu), L.MODE), i32(L.MODE_CODE_MASK)),
      i32(L.MODE_CODE64),
    );
    // 32-bit addresses wrap in 64-bit code too: the decoder marks them, and leaves a segment's base to be added here.
    const mark = this.keep(load('i32.load', get(this.uop), UOP_EXTRA));
    const address = this.movedAddress();
    this.f.set(address, moved);
    this.f.if(op('i32.or', op('i32.eqz', long), mark), () => {
      this.f.set(address, op('i64.and', get(address), i64(0xffffffff)));
      this.f.if(op('i32.gt_u', mark, i32(1)), () =>
        this.f.set(address, op('i64.add', get(address), load('i64.load', op('i32.add', get(this.cpu), mark)))),
      );
    });
  }

  /** Where the moved address is put, for `effectiveAddress`. */
  protected movedAddress(): Local<'i64'> {
    return this.ea;
  }

  override nextRip(): I64 {
    return this.keep(
      op(
        'i64.add',
        load('i64.load', get(this.cpu), L.RIP_BASE),
        op(
          'i64.extend_i32_u',
          op('i32.add', load('i32.load16_u', get(this.uop), UOP_IP), load('i32.load8_u', get(this.uop), UOP_LENGTH)),
        ),
      ),
    );
  }

  override slotValue(index: number): I32 {
    return load('i32.load16_u', get(this.uop), defined(SLOTS[index], 'slot'));
  }

  override ownRip(): I64 {
    return op('i64.add', load('i64.load', get(this.cpu), L.RIP_BASE), load('i64.load16_u', get(this.uop), UOP_IP));
  }

  /** Truncates an instruction pointer to the operand size. */
  protected truncate(rip: I64): I64 {
    return this.size === 2
      ? op('i64.and', rip, i64(0xffff))
      : this.size === 4
        ? op('i64.and', rip, i64(0xffffffff))
        : rip;
  }

  protected relativeTarget(): I64 {
    return this.truncate(op('i64.add', this.nextRip(), load('i64.load32_s', get(this.uop), UOP_DISPLACEMENT)));
  }

  override sourceSegment(): I32 {
    return load('i32.load8_u', get(this.uop), UOP_SEGMENT);
  }

  override segmentedMask(): I64 {
    const mask = this.keep(load('i32.load', get(this.uop), UOP_EXTRA));
    // 0 stands for 64-bit addresses.
    return this.keep(
      this.f.ifValue(
        'i64',
        mask,
        () => op('i64.extend_i32_u', mask),
        () => i64(-1),
      ),
    );
  }

  override segmentSelector(index: number): I32 {
    const slot = defined(SLOTS[index], 'slot');
    // The slot holds the offset of the segment's record.
    return this.keep(
      load('i32.load', op('i32.add', get(this.cpu), load('i32.load16_u', get(this.uop), slot)), L.SEGMENT_SELECTOR),
    );
  }

  override helper(name: string): FunctionReference {
    return defined(this.runtime.helpers.get(name), `helper function ${name}`);
  }

  protected leaveIfFaulted(): void {
    this.f.if(load('i32.load', get(this.cpu), L.FAULT), () => this.leaveFaulted());
  }

  override segmentAddress(segment: I32, offset: I64, size: number, write: boolean): I64 {
    const check = i32(size | (write ? CHECK_WRITE : 0));
    const address = this.keep(this.f.call(this.runtime.segmentAddress, get(this.cpu), segment, offset, check) as I64);
    this.leaveIfFaulted();
    return address;
  }
}

/** The labels and locals of the interpreter's main loop that handlers in it use. */
export interface MainLoop {
  readonly cpu: Local<'i32'>;
  readonly uop: Local<'i32'>;
  readonly ea: Local<'i64'>;
  readonly fuel: Local<'i32'>;
  /** Number of the handler that is dispatched, or left to `outside`. */
  readonly handler: Local<'i32'>;
  /** Set to a link slot before branching to `resolve`. */
  readonly slot: Local<'i32'>;
  /** Where a look-up finds a guess and leaves what it finds, or 0. */
  readonly linkSlot: Local<'i32'>;
  /** Dispatches the micro-operation at `uop` to `handler`. */
  readonly dispatch: Label;
  /** Has the function `handler` called for the micro-operation at `uop`. */
  readonly outside: Label;
  /** RIP is set and `uop` is 0: looks RIP's block up. */
  readonly lookup: Label;
  /** RIP and `slot` are set: looks the block up and links it if it lies in the same page. */
  readonly resolve: Label;
  /** FAULT is set for the instruction at `uop`. */
  readonly fault: Label;
  /** `fuel` went negative on entering the block at `uop`. */
  readonly outOfFuel: Label;
}

/** Builds a handler inside the main loop. */
export class InlineHandler extends HandlerBuilder {
  readonly #loop: MainLoop;
  readonly #inFunction: (variant: Variant) => number;
  #ended = false;

  /** `inFunction` tells the number of a variant's handler in a function of its own. */
  constructor(
    f: FunctionBuilder,
    variant: Variant,
    loop: MainLoop,
    runtime: RuntimeFunctions,
    operations: SystemOperations,
    inFunction: (variant: Variant) => number,
  ) {
    super(f, variant, loop, runtime, operations);
    this.#loop = loop;
    this.#inFunction = inFunction;
  }

  /** `goesOn`: what is built behind it belongs to the same handler. */
  override build(goesOn = false): void {
    super.build();
    if (!goesOn && !this.#ended) {
      this.f.set(this.#loop.handler, load('i32.load16_u', get(this.uop), UOP_SIZE + UOP_HANDLER));
      this.f.set(this.uop, op('i32.add', get(this.uop), i32(UOP_SIZE)));
      this.f.br(this.#loop.dispatch);
    }
  }

  /**
   * Has the whole instruction carried out by the variant's handler in a function of its own: nothing is committed before
   * the last access to memory has been found to be an ordinary one, or a function has to be called.
   */
  #leaveToFunction(): void {
    const { handler, outside } = this.#loop;
    this.f.set(handler, i32(this.#inFunction(this.variant)));
    this.f.br(outside);
  }

  override slowLoad(): I64 {
    this.#leaveToFunction();
    return i64(0);
  }

  override slowStore(): void {
    this.#leaveToFunction();
  }

  override slowCheckWrite(): I32 {
    this.#leaveToFunction();
    return i32(0);
  }

  override segmentAddress(): I64 {
    this.#leaveToFunction();
    return i64(0);
  }

  /** What takes a call is rare, and not built here. */
  override helper(name: string): FunctionReference {
    this.#leaveToFunction();
    return super.helper(name);
  }

  #host: I32 | undefined;

  override readForWrite(index: number): Integer {
    if (!this.isMemory(index)) {
      return this.read(index);
    }
    const { size } = this.operand(index);
    const address = this.effectiveAddress();
    const entry = this.tlbEntry(address);
    this.f.if(op('i32.eqz', this.tlbHit(entry, address, size, DTLB_WRITE_TAG)), () => this.#leaveToFunction());
    this.#host = this.keep(this.hostAddress(entry, address));
    return this.keep(load(loadName(size), this.#host)) as Integer;
  }

  override write(index: number, value: Integer): void {
    if (this.#host !== undefined && this.isMemory(index)) {
      this.f.store(storeName(this.operand(index).size), this.#host, value);
      return;
    }
    super.write(index, value);
  }

  #address: Local<'i64'> | undefined;

  override effectiveAddress(): I64 {
    return get(this.#address ?? this.ea);
  }

  /** The address that the function begins with stays as it is. */
  protected override movedAddress(): Local<'i64'> {
    this.#address = this.f.local('i64');
    return this.#address;
  }

  override leaveFaulted(): void {
    this.f.br(this.#loop.fault);
  }

  #follow(link: number, target: () => I64): void {
    const { f } = this;
    const { fuel, slot, handler } = this.#loop;
    f.set(slot, load('i32.load', get(this.uop), link));
    f.if(get(slot), () => {
      f.set(this.uop, get(slot));
      f.set(handler, load('i32.load16_u', get(this.uop), UOP_HANDLER));
      f.set(fuel, op('i32.sub', get(fuel), load('i32.load8_u', get(this.uop), UOP_REMAINING)));
      f.brIf(this.#loop.dispatch, op('i32.ge_s', get(fuel), i32(0)));
      f.br(this.#loop.outOfFuel);
    });
    this.setField64(L.RIP, target());
    f.set(slot, op('i32.add', get(this.uop), i32(link)));
    f.br(this.#loop.resolve);
  }

  override jumpRelative(): void {
    if (this.variant.definition.name === 'call') {
      this.#rememberCall();
    }
    this.#follow(UOP_LINK_TAKEN, () => this.relativeTarget());
    this.#ended = true;
  }

  /** Puts a call into the ring, for the return that belongs to it. */
  #rememberCall(): void {
    const top = this.keep(
      op('i32.and', op('i32.add', this.field32(L.RETURN_TOP), i32(4)), i32(L.RETURN_RING_SIZE - 4)),
    );
    this.setField32(L.RETURN_TOP, top);
    this.f.store('i32.store', op('i32.add', get(this.cpu), top), get(this.uop), L.RETURN_RING);
  }

  /** Has a return use and remember what is known of the last call in the ring, instead of its own guess. */
  #followCall(): void {
    const { linkSlot } = this.#loop;
    const top = this.field32(L.RETURN_TOP);
    const call = this.keep(load('i32.load', op('i32.add', get(this.cpu), top), L.RETURN_RING));
    this.setField32(L.RETURN_TOP, op('i32.and', op('i32.sub', top, i32(4)), i32(L.RETURN_RING_SIZE - 4)));
    this.f.set(linkSlot, select(call, op('i32.add', call, i32(UOP_LINK_NEXT)), get(linkSlot)));
  }

  override jumpNext(): void {
    this.#follow(UOP_LINK_NEXT, () => this.nextRip());
    this.#ended = true;
  }

  override jumpTo(target: I64): void {
    this.setField64(L.RIP, target);
    this.setField32(L.JUMP_SOURCE, get(this.uop));
    const { linkSlot } = this.#loop;
    this.f.set(linkSlot, op('i32.add', get(this.uop), i32(UOP_GUESS)));
    if (this.variant.definition.name === 'call') {
      this.#rememberCall();
    } else if (this.variant.definition.name === 'ret') {
      this.#followCall();
    }
    this.f.set(this.uop, i32(0));
    this.f.br(this.#loop.lookup);
    this.#ended = true;
  }

  override again(): void {
    assert(false, `${this.variant.definition.name}: string instructions are not built inline`);
  }

  override system(operation: string): void {
    assert(false, `${this.variant.definition.name}: ${operation} is not built inline`);
  }
}

/** Builds a handler as a function of its own: (cpu, uop, ea) → NEXT, FAULTED, JUMPED, STOPPED, REPEATED or a link. */
export class FunctionHandler extends HandlerBuilder {
  override build(): void {
    super.build();
    // Where the meaning has said how to go on, in all branches, this is never reached.
    this.f.return(i32(NEXT));
    this.f.unreachable();
  }

  // The main loop has saved its locals before calling the handler, and reloads them after.

  override slowLoad(address: I64, size: number): I64 {
    const value = this.keep(this.f.call(this.runtime.slowLoad, get(this.cpu), address, i32(size)) as I64);
    this.leaveIfFaulted();
    return value;
  }

  override slowStore(address: I64, size: number, value: I64): void {
    this.f.callVoid(this.runtime.slowStore, get(this.cpu), address, i32(size), value);
    this.leaveIfFaulted();
  }

  override slowCheckWrite(address: I64, size: number): I32 {
    const host = this.keep(this.f.call(this.runtime.slowCheckWrite, get(this.cpu), address, i32(size)) as I32);
    this.leaveIfFaulted();
    return host;
  }

  override leaveFaulted(): void {
    this.f.return(i32(FAULTED));
  }

  override jumpRelative(): void {
    this.setField64(L.RIP, this.relativeTarget());
    this.f.return(i32(LINK_TAKEN));
  }

  override jumpNext(): void {
    this.setField64(L.RIP, this.nextRip());
    this.f.return(i32(LINK_NEXT));
  }

  override jumpTo(target: I64): void {
    this.setField64(L.RIP, target);
    this.f.return(i32(JUMPED));
  }

  override again(): void {
    this.setField64(L.RIP, this.keep(this.ownRip()));
    this.f.return(i32(REPEATED));
  }

  override system(operation: string): void {
    this.setField64(L.RIP, this.nextRip());
    this.setField64(L.EA, get(this.ea));
    this.f.return(
      this.f.call(
        this.runtime.system,
        get(this.cpu),
        get(this.uop),
        i32(this.operations.number(operation, this.variant)),
      ),
    );
  }
}
