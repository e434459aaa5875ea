import { assert } from '../../base/assert.ts';
import type { InstructionTable } from '../x86/instructions/definition.ts';
import * as L from '../x86/layout.ts';
import { BLOCK_TABLE } from './arena-layout.ts';
import { FusionFinder, fusionsOf } from './fused-handlers.ts';
import { FunctionHandler, SystemOperations } from './interpreter-builder.ts';
import { buildDriver } from './interpreter-driver.ts';
import { buildLoop, LOOP_TYPE } from './interpreter-loop.ts';
import { HANDLER_TYPE, REGION_TYPE } from './jit/region-type.ts';
import { isLazy, LazyHandlers } from './lazy-handlers.ts';
import { BLOCK_TABLE_BITS, COMPILED_LOOKUP } from './micro-op.ts';
import { buildRuntime } from './runtime-functions.ts';
import { SPECIAL_HANDLERS, type SpecialHandler } from './special-handlers.ts';
import { isHot, type Variant, variantsOf } from './variants.ts';
import { type FunctionReference, get, i32 } from './wasm/function-builder.ts';
import { ModuleBuilder } from './wasm/module-builder.ts';

export type { SpecialHandler } from './special-handlers.ts';

/** The interpreter in binary form, with what the decoder and the processor need to know of it. */
export interface Interpreter {
  readonly module: Uint8Array<ArrayBuffer>;
  /** Handler number by variant key. */
  readonly handlers: ReadonlyMap<string, number>;
  readonly special: Readonly<Record<SpecialHandler, number>>;
  readonly operations: SystemOperations['list'];
  /** The special handler of that number, or the one that a fused handler begins with. */
  specialOf(handler: number): SpecialHandler | undefined;
  /** Finds the micro-operations in an arena that one handler carries out together. */
  fusionFinder(arena: ArrayBufferLike): FusionFinder;
  /** Builds the handlers that the module lacks. */
  readonly lazy: LazyHandlers;
  /** The instruction that a handler carries out (a fused one: first), and its slot in the function table if it is a function of its own. */
  operationOf(handler: number): { readonly variant: Variant; readonly slot: number | undefined } | undefined;
  /** Functions that compiled code calls too: `index` is their slot in the table. */
  readonly helpers: ReadonlyMap<string, FunctionReference>;
  /** Names of the module's functions by their index, for profiles. */
  readonly names: ReadonlyMap<number, string>;
}

/** Place in the block table for a physical address, as an arena address. The decoder computes the same. */
export function blockSlot(physical: number, mode: number): number {
  const hash = Math.imul(physical ^ (mode << 20), 0x9e3779b1) >>> (32 - BLOCK_TABLE_BITS);
  return BLOCK_TABLE + hash * 16;
}

/** Builds the interpreter for an instruction table as one WebAssembly module. */
export function buildInterpreter(table: InstructionTable, maximumPages: number): Interpreter {
  const module = new ModuleBuilder(maximumPages);
  const runtime = buildRuntime(module);
  const operations = new SystemOperations();
  const variants = new Map<string, Variant>();
  for (const definition of table.definitions) {
    for (const encoding of definition.encodings.filter((one) => !isLazy(one))) {
      for (const variant of variantsOf(definition, encoding).values()) {
        if (!variants.has(variant.key)) {
          variants.set(variant.key, variant);
        }
      }
    }
  }
  const hot = [...variants.values()].filter(isHot);
  const cold = [...variants.values()].filter((variant) => !isHot(variant));
  const handlers = new Map<string, number>();
  const special = {} as Record<SpecialHandler, number>;
  for (const [i, name] of SPECIAL_HANDLERS.entries()) {
    special[name] = i;
  }
  const fused = fusionsOf(hot);
  const inlineCount = SPECIAL_HANDLERS.length + hot.length + fused.length;
  for (const [i, variant] of hot.entries()) {
    handlers.set(variant.key, SPECIAL_HANDLERS.length + i);
  }
  const handlerFunction = (variant: Variant) =>
    module.function(variant.key, HANDLER_TYPE, (f) => {
      const locals = { cpu: f.parameter(0, 'i32'), uop: f.parameter(1, 'i32'), ea: f.parameter(2, 'i64') };
      new FunctionHandler(f, variant, locals, runtime, operations).build();
    });
  for (const variant of cold) {
    handlers.set(variant.key, inlineCount + module.addToTable(handlerFunction(variant)));
  }
  assert(handlers.size + SPECIAL_HANDLERS.length < 0x10000, 'too many handlers for 16 bits');
  // What the handlers in the loop leave to functions: accesses to memory that the TLB does not know, and all calls.
  const inFunctions = new Map<Variant, number>();
  const inFunction = (variant: Variant): number => {
    const number = inFunctions.get(variant) ?? inlineCount + module.addToTable(handlerFunction(variant));
    inFunctions.set(variant, number);
    return number;
  };
  const loop = module.function('loop', LOOP_TYPE, (f) => buildLoop(f, { hot, fused, runtime, operations, inFunction }));
  const run = module.function('run', { params: ['i32'], results: ['i32'] }, (f) => {
    const types = { handler: module.typeIndex(HANDLER_TYPE), region: module.typeIndex(REGION_TYPE) };
    buildDriver(f, { loop, inlineCount, types, runtime });
  });
  const helpers = new Map<string, FunctionReference>();
  const { segmentAddress } = runtime;
  for (const [name, reference] of [...runtime.helpers, ...Object.entries({ segmentAddress })]) {
    helpers.set(name, { index: module.addToTable(reference), type: reference.type });
  }
  const firstFused = SPECIAL_HANDLERS.length + hot.length;
  const firstStep = (handler: number) => fused[handler - firstFused]?.[0];
  const specialOf = (handler: number) => {
    const step = firstStep(handler);
    return SPECIAL_HANDLERS[handler] ?? (step !== undefined && 'address' in step ? step.address : undefined);
  };
  const operationOf = (handler: number) => {
    const step = firstStep(handler);
    if (step !== undefined) {
      return 'variant' in step ? { variant: step.variant, slot: undefined } : undefined;
    }
    const variant = hot[handler - SPECIAL_HANDLERS.length] ?? cold[handler - inlineCount];
    return variant
      ? { variant, slot: handler >= inlineCount ? handler - inlineCount : undefined }
      : lazy.operationOf(handler);
  };
  const gone = module.function('gone', REGION_TYPE, (f) => {
    f.store('i64.store', get(f.parameter(0, 'i32')), get(f.parameter(1, 'i64')), L.RIP);
    f.store('i32.store', get(f.parameter(0, 'i32')), get(f.parameter(2, 'i32')), L.FUEL);
    f.return(i32(COMPILED_LOOKUP));
    f.unreachable();
  });
  module.export('run', run);
  module.export('gone', gone);
  module.export('slowLoad', runtime.slowLoad);
  module.export('slowStore', runtime.slowStore);
  module.export('fillTlb', runtime.fillTlb);
  module.export('translate', runtime.translateScratch);
  module.export('walkCode', runtime.walkCode);
  for (const [name, reference] of Object.entries({ ...runtime.tlb, ...runtime.interrupts })) {
    module.export(name, reference);
  }
  const lazy = new LazyHandlers(table, module, runtime, inlineCount, maximumPages);
  return {
    module: module.build(),
    handlers,
    special,
    operations: operations.list,
    lazy,
    specialOf,
    fusionFinder: (arena) => new FusionFinder(arena, fused, handlers, firstFused),
    operationOf,
    helpers,
    names: module.names(),
  };
}
