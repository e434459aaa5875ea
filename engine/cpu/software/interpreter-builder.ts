import { assert, defined } from '../../base/assert.ts';
import { InstructionBuilder } from '../x86/instructions/instruction-builder.ts';
import * as L from '../x86/layout.ts';
import {
  CHECK_WRITE,
  FAULTED,
  JUMPED,
  LINK_NEXT,
  LINK_TAKEN,
  NEXT,
  OPERAND_SLOTS,
  REPEATED,
  UOP_DISPLACEMENT,
  UOP_EXTRA,
  UOP_IMMEDIATE,
  UOP_IP,
  UOP_LENGTH,
  UOP_LINK_NEXT,
  UOP_LINK_TAKEN,
  UOP_REMAINING,
  UOP_SEGMENT,
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
    const moved = op('i64.add', get(this.ea), by);
    const long = op(
      'i32.eq',
      op('i32.and', load('i32.load', get(this.cpu), L.MODE), i32(L.MODE_CODE_MASK)),
      i32(L.MODE_CODE64),
    );
    // 32-bit addresses wrap in 64-bit code too: the decoder marks them, and leaves a segment's base to be added here.
    const mark = this.keep(load('i32.load', get(this.uop), UOP_EXTRA));
    this.f.set(this.ea, moved);
    this.f.if(op('i32.or', op('i32.eqz', long), mark), () => {
      this.f.set(this.ea, op('i64.and', get(this.ea), i64(0xffffffff)));
      this.f.if(op('i32.gt_u', mark, i32(1)), () =>
        this.f.set(this.ea, op('i64.add', get(this.ea), load('i64.load', op('i32.add', get(this.cpu), mark)))),
      );
    });
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

  /** Before and after a call that may look at or change the processor's record. */
  protected abstract beforeCall(): void;
  protected abstract afterCall(): void;

  protected leaveIfFaulted(): void {
    this.f.if(load('i32.load', get(this.cpu), L.FAULT), () => this.leaveFaulted());
  }

  override slowLoad(address: I64, size: number): I64 {
    this.beforeCall();
    const value = this.keep(this.f.call(this.runtime.slowLoad, get(this.cpu), address, i32(size)) as I64);
    this.afterCall();
    this.leaveIfFaulted();
    return value;
  }

  override slowStore(address: I64, size: number, value: I64): void {
    this.beforeCall();
    this.f.callVoid(this.runtime.slowStore, get(this.cpu), address, i32(size), value);
    this.afterCall();
    this.leaveIfFaulted();
  }

  override slowCheckWrite(address: I64, size: number): I32 {
    this.beforeCall();
    const host = this.keep(this.f.call(this.runtime.slowCheckWrite, get(this.cpu), address, i32(size)) as I32);
    this.afterCall();
    this.leaveIfFaulted();
    return host;
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
  readonly bias: Local<'i32'>;
  /** Set to a link slot before branching to `resolve`. */
  readonly slot: Local<'i32'>;
  /** Dispatches the micro-operation at `uop`. */
  readonly dispatch: Label;
  /** RIP is set: looks its block up. */
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
  #ended = false;

  constructor(
    f: FunctionBuilder,
    variant: Variant,
    loop: MainLoop,
    runtime: RuntimeFunctions,
    operations: SystemOperations,
  ) {
    super(f, variant, loop, runtime, operations);
    this.#loop = loop;
  }

  override build(): void {
    super.build();
    if (!this.#ended) {
      this.f.set(this.uop, op('i32.add', get(this.uop), i32(32)));
      this.f.br(this.#loop.dispatch);
    }
  }

  protected override beforeCall(): void {
    this.setField32(L.FUEL, get(this.#loop.fuel));
    this.setField32(L.CURRENT_UOP, get(this.uop));
  }

  protected override afterCall(): void {
    this.f.set(this.#loop.fuel, load('i32.load', get(this.cpu), L.FUEL));
    this.f.set(this.#loop.bias, load('i32.load', get(this.cpu), L.BIAS));
  }

  override leaveFaulted(): void {
    this.f.br(this.#loop.fault);
  }

  #follow(link: number, target: () => I64): void {
    const { f } = this;
    const { fuel, slot } = this.#loop;
    f.set(slot, load('i32.load', get(this.uop), link));
    f.if(get(slot), () => {
      f.set(this.uop, get(slot));
      f.set(fuel, op('i32.sub', get(fuel), load('i32.load8_u', get(this.uop), UOP_REMAINING)));
      f.brIf(this.#loop.dispatch, op('i32.ge_s', get(fuel), i32(0)));
      f.br(this.#loop.outOfFuel);
    });
    this.setField64(L.RIP, target());
    f.set(slot, op('i32.add', get(this.uop), i32(link)));
    f.br(this.#loop.resolve);
  }

  override jumpRelative(): void {
    this.#follow(UOP_LINK_TAKEN, () => this.relativeTarget());
    this.#ended = true;
  }

  override jumpNext(): void {
    this.#follow(UOP_LINK_NEXT, () => this.nextRip());
    this.#ended = true;
  }

  override jumpTo(target: I64): void {
    this.setField64(L.RIP, target);
    this.setField32(L.JUMP_SOURCE, get(this.uop));
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
  protected override beforeCall(): void {}
  protected override afterCall(): void {}

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
