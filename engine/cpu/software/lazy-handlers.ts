import { assert, defined } from '../../base/assert.ts';
import type { Encoding, InstructionDefinition, InstructionTable } from '../x86/instructions/definition.ts';
import { FunctionHandler, SystemOperations } from './interpreter-builder.ts';
import { HANDLER_TYPE } from './jit/region-type.ts';
import type { RuntimeFunctions } from './runtime-functions.ts';
import { VARIANT_NUMBERS, type Variant, variantsOf } from './variants.ts';
import type { FunctionReference, FunctionType } from './wasm/function-builder.ts';
import { ModuleBuilder } from './wasm/module-builder.ts';

/** Slots kept free in the function table: no fewer than there are variants of the encodings built late. */
const RESERVED = 4096;

/** Handlers of one encoding, in binary form. */
interface Built {
  /** Handler number by variant number, −1 where there is none. */
  readonly numbers: Int32Array;
  readonly module: WebAssembly.Module;
  readonly slots: readonly number[];
}

/** A machine that runs the interpreter: where its handlers are put. */
interface Attached {
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly installed: Set<Built>;
}

type Exports = Record<string, CallableFunction>;

/** Whether the handlers of an encoding are built when code first contains it: most guests use few of these. */
export function isLazy(encoding: Encoding): boolean {
  return encoding.vex !== undefined;
}

/** Finds functions of the interpreter's module through the table, from another module. */
class FunctionsInTable extends Map<string, FunctionReference> {
  readonly #slots: ReadonlyMap<string, FunctionReference>;
  readonly #module: ModuleBuilder;

  constructor(slots: ReadonlyMap<string, FunctionReference>, module: ModuleBuilder) {
    super();
    this.#slots = slots;
    this.#module = module;
  }

  override get(name: string): FunctionReference | undefined {
    const found = this.#slots.get(name);
    return found && { ...found, indirectType: this.#module.typeIndex(found.type) };
  }
}

/**
 * Handlers that the interpreter's module lacks: those of an encoding are built as a module of their own when code first
 * contains it, and put into the reserved part of the function table. Numbers are the same for all machines that share
 * the interpreter.
 */
export class LazyHandlers {
  readonly #maximumPages: number;
  readonly #inlineCount: number;
  readonly #first: number;
  readonly #slots = new Map<string, FunctionReference>();
  readonly #runtime: RuntimeFunctions;
  readonly #built = new Map<Encoding, Built>();
  /** In the order of the table, so that the numbers are the same in every thread. */
  readonly #variants: Variant[] = [];
  readonly #places = new Map<Encoding, number>();
  readonly #machines = new WeakMap<ArrayBufferLike, Attached>();

  /** To be made when `module` has all its functions. `inlineCount`: the handler number that stands for slot 0. */
  constructor(
    table: InstructionTable,
    module: ModuleBuilder,
    runtime: RuntimeFunctions,
    inlineCount: number,
    maximumPages: number,
  ) {
    for (const definition of table.definitions) {
      for (const encoding of definition.encodings) {
        if (isLazy(encoding)) {
          this.#places.set(encoding, this.#variants.length);
          this.#variants.push(...variantsOf(definition, encoding).values());
        }
      }
    }
    assert(this.#variants.length <= RESERVED, 'more handlers are built late than slots are reserved');
    this.#maximumPages = maximumPages;
    this.#inlineCount = inlineCount;
    this.#runtime = runtime;
    const { slowLoad, slowStore, slowCheckWrite, segmentAddress, system } = runtime;
    const own = Object.entries({ slowLoad, slowStore, slowCheckWrite, segmentAddress, system });
    for (const [name, reference] of [...own, ...runtime.helpers]) {
      const { type }: { type: FunctionType } = reference;
      this.#slots.set(name, { index: module.addToTable(reference), type });
    }
    this.#first = module.reserveTable(RESERVED);
    assert(inlineCount + this.#first + RESERVED < 0x10000, 'too many handlers for 16 bits');
  }

  /** From now on a machine with this memory and function table can run what is built. */
  attach(memory: WebAssembly.Memory, table: WebAssembly.Table): void {
    this.#machines.set(memory.buffer, { memory, table, installed: new Set() });
  }

  /** The instruction that a handler number built here stands for, and its slot in the function table. */
  operationOf(handler: number): { readonly variant: Variant; readonly slot: number } | undefined {
    const slot = handler - this.#inlineCount;
    const variant = this.#variants[slot - this.#first];
    return variant && { variant, slot };
  }

  /** Handler numbers of an encoding by variant number, ready to be run by the machine whose memory is `arena`. */
  handlersOf(definition: InstructionDefinition, encoding: Encoding, arena: ArrayBufferLike): Int32Array {
    let built = this.#built.get(encoding);
    if (built === undefined) {
      built = this.#build(definition, encoding);
      this.#built.set(encoding, built);
    }
    const machine = this.#machines.get(arena);
    if (machine !== undefined && !machine.installed.has(built)) {
      machine.installed.add(built);
      const { memory, table } = machine;
      const { exports } = new WebAssembly.Instance(built.module, { env: { memory, table } });
      for (const slot of built.slots) {
        table.set(slot, defined((exports as Exports)[String(slot)], 'handler'));
      }
    }
    return built.numbers;
  }

  #build(definition: InstructionDefinition, encoding: Encoding): Built {
    const module = new ModuleBuilder(this.#maximumPages, 'imported');
    const functions = new FunctionsInTable(this.#slots, module);
    const at = (name: string) => defined(functions.get(name), name);
    const runtime: RuntimeFunctions = {
      ...this.#runtime,
      system: at('system'),
      slowLoad: at('slowLoad'),
      slowStore: at('slowStore'),
      slowCheckWrite: at('slowCheckWrite'),
      segmentAddress: at('segmentAddress'),
      helpers: functions,
    };
    const numbers = new Int32Array(VARIANT_NUMBERS).fill(-1);
    const slots: number[] = [];
    const operations = new SystemOperations();
    let slot = this.#first + defined(this.#places.get(encoding), 'place of an encoding');
    for (const [number, variant] of variantsOf(definition, encoding)) {
      const handler = module.function(variant.key, HANDLER_TYPE, (f) => {
        const locals = { cpu: f.parameter(0, 'i32'), uop: f.parameter(1, 'i32'), ea: f.parameter(2, 'i64') };
        new FunctionHandler(f, variant, locals, runtime, operations).build();
      });
      module.export(String(slot), handler);
      numbers[number] = this.#inlineCount + slot;
      slots.push(slot);
      slot++;
    }
    assert(operations.list.length === 0, `${definition.name} cannot be built late: it is carried out by the system`);
    return { numbers, module: new WebAssembly.Module(module.build()), slots };
  }
}
