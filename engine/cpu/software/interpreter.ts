import { assert } from '../../base/assert.ts';
import type { InstructionTable } from '../x86/instructions/definition.ts';
import * as L from '../x86/layout.ts';
import { BLOCK_TABLE } from './arena-layout.ts';
import { FunctionHandler, InlineHandler, type MainLoop, SystemOperations } from './interpreter-builder.ts';
import { jumpEntry, rememberJump } from './jit/jump-cache.ts';
import { HANDLER_TYPE, REGION_TYPE } from './jit/region-type.ts';
import { isLazy, LazyHandlers } from './lazy-handlers.ts';
import {
  BLOCK_FUNCTION,
  BLOCK_HEADER_SIZE,
  BLOCK_LOOKUPS,
  BLOCK_ORIGINAL_HANDLER,
  BLOCK_TABLE_BITS,
  COMPILED_FAULT,
  COMPILED_FUEL,
  COMPILED_LOOKUP,
  COMPILED_RESUME,
  EXIT_BREAK,
  EXIT_DECODE,
  EXIT_FAULT,
  EXIT_FETCH,
  EXIT_FUEL,
  EXIT_HOT,
  FAULTED,
  FROM_HANDLER,
  ITLB_ENTRIES,
  ITLB_PHYSICAL,
  LINK_NEXT,
  LINK_TAKEN,
  LOOKUPS_A_LOOK,
  NEXT,
  REPEATED,
  STOPPED,
  UOP_BASE,
  UOP_CHECK,
  UOP_DISPLACEMENT,
  UOP_IMMEDIATE,
  UOP_INDEX,
  UOP_IP,
  UOP_LINK_NEXT,
  UOP_LINK_TAKEN,
  UOP_REMAINING,
  UOP_SCALE,
  UOP_SEGMENT,
} from './micro-op.ts';
import { buildRuntime, type RuntimeFunctions } from './runtime-functions.ts';
import { isHot, type Variant, variantsOf } from './variants.ts';
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
import { ModuleBuilder } from './wasm/module-builder.ts';

/** Handlers that belong to no instruction. */
export const SPECIAL_HANDLERS = [
  /** Address = base + displacement, 64 bits. */
  'address64',
  'address64-indexed',
  /** Address = immediate. */
  'address-absolute',
  /** Address = RIP_BASE + immediate. */
  'address-rip',
  /** The same, truncated to 32 bits. */
  'address-rip32',
  'address32',
  'address32-indexed',
  /** Address = (base + index + displacement) & immediate. */
  'address-masked',
  /** The same in a segment, with the limit check unless UOP_CHECK is 0. */
  'address-segmented',
  /** Adds a segment's base to the address computed before. */
  'address-add-base',
  /** The block goes on in another one: no instruction of its own. */
  'end',
  /** The code here has been overwritten: looks the block up again. */
  'stale',
  /** Raises the exception in the immediate (low: FAULT, high: error code). */
  'raise',
  /** Checks that the page behind is still the one of the immediate: an instruction straddles it. */
  'straddle',
  /** The block has been compiled: its header tells where, and which handler stood here. */
  'compiled',
] as const;

export type SpecialHandler = (typeof SPECIAL_HANDLERS)[number];

const COMPILED_HANDLER = SPECIAL_HANDLERS.indexOf('compiled');

/** The interpreter in binary form, with what the decoder and the processor need to know of it. */
export interface Interpreter {
  readonly module: Uint8Array<ArrayBuffer>;
  /** Handler number by variant key. */
  readonly handlers: ReadonlyMap<string, number>;
  readonly special: Readonly<Record<SpecialHandler, number>>;
  readonly operations: SystemOperations['list'];
  /** Builds the handlers that the module lacks. */
  readonly lazy: LazyHandlers;
  /** The instruction that a handler carries out, and its slot in the function table if it is a function of its own. */
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

function emitBlockSlot(physical: I32, mode: I32): I32 {
  const mixed = op('i32.mul', op('i32.xor', physical, op('i32.shl', mode, i32(20))), i32(0x9e3779b1 | 0));
  return op('i32.shl', op('i32.shr_u', mixed, i32(32 - BLOCK_TABLE_BITS)), i32(4));
}

/** Linear address of RIP: 64-bit code has no base, other code adds CS and wraps at 4 GiB. */
function linearRip(f: FunctionBuilder, cpu: I32, rip: I64): I64 {
  const based = op('i64.add', rip, load('i64.load', cpu, L.SEGMENTS + L.SEG_CS * L.SEGMENT_SIZE));
  const is64 = op('i32.eq', op('i32.and', load('i32.load', cpu, L.MODE), i32(L.MODE_CODE_MASK)), i32(L.MODE_CODE64));
  return f.keep(select(is64, rip, op('i64.and', based, i64(0xffffffff))));
}

function itlbEntry(f: FunctionBuilder, cpu: I32, linear: I64): I32 {
  const index = op('i32.and', op('i32.wrap_i64', op('i64.shr_u', linear, i64(12))), i32(ITLB_ENTRIES - 1));
  return f.keep(op('i32.add', load('i32.load', cpu, L.ITLB), op('i32.shl', index, i32(4))));
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
  const inlineCount = SPECIAL_HANDLERS.length + hot.length;
  for (const [i, variant] of hot.entries()) {
    handlers.set(variant.key, SPECIAL_HANDLERS.length + i);
  }
  for (const variant of cold) {
    const reference = module.function(variant.key, HANDLER_TYPE, (f) => {
      const locals = { cpu: f.parameter(0, 'i32'), uop: f.parameter(1, 'i32'), ea: f.parameter(2, 'i64') };
      new FunctionHandler(f, variant, locals, runtime, operations).build();
    });
    handlers.set(variant.key, inlineCount + module.addToTable(reference));
  }
  assert(handlers.size + SPECIAL_HANDLERS.length < 0x10000, 'too many handlers for 16 bits');

  const run = module.function('run', { params: ['i32'], results: ['i32'] }, (f) => {
    const types = { handler: module.typeIndex(HANDLER_TYPE), region: module.typeIndex(REGION_TYPE) };
    buildMainLoop(f, hot, inlineCount, types, runtime, operations);
  });
  const helpers = new Map<string, FunctionReference>();
  const { segmentAddress } = runtime;
  for (const [name, reference] of [...runtime.helpers, ...Object.entries({ segmentAddress })]) {
    helpers.set(name, { index: module.addToTable(reference), type: reference.type });
  }
  const operationOf = (handler: number) => {
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
    operationOf,
    helpers,
    names: module.names(),
  };
}

function buildMainLoop(
  f: FunctionBuilder,
  hot: readonly Variant[],
  inlineCount: number,
  types: { readonly handler: number; readonly region: number },
  runtime: RuntimeFunctions,
  operations: SystemOperations,
): void {
  const cpu = f.parameter(0, 'i32');
  const uop = f.local('i32');
  const ea = f.local('i64');
  const fuel = f.local('i32');
  const bias = f.local('i32');
  const slot = f.local('i32');
  const linkSlot = f.local('i32');
  const handler = f.local('i32');
  const rip = f.local('i64');
  const record = get(cpu);

  const remaining = () => load('i32.load8_u', get(uop), UOP_REMAINING);
  const ownRip = () => op('i64.add', load('i64.load', record, L.RIP_BASE), load('i64.load16_u', get(uop), UOP_IP));
  /** Leaves with RIP at the micro-operation, which has not been carried out. */
  const leaveAtUop = (reason: number) => {
    f.store('i64.store', record, ownRip(), L.RIP);
    f.store('i32.store', record, op('i32.add', get(fuel), remaining()), L.FUEL);
    f.store('i32.store', record, get(uop), L.CURRENT_UOP);
    f.return(i32(reason));
  };
  const leaveAtRip = (reason: number) => {
    f.store('i32.store', record, get(fuel), L.FUEL);
    f.return(i32(reason));
  };

  f.set(fuel, load('i32.load', record, L.FUEL));
  f.set(bias, load('i32.load', record, L.BIAS));
  f.block((outOfFuel) => {
    f.loop((delivered) => {
      f.block((fault) => {
        f.loop((lookup) => {
          // ── Find the block at RIP ──
          f.scope(() => {
            f.set(rip, load('i64.load', record, L.RIP));
            const linear = linearRip(f, record, get(rip));
            const entry = itlbEntry(f, record, linear);
            f.if(op('i64.ne', load('i64.load', entry), op('i64.and', linear, i64(-4096))), () => {
              f.if(op('i32.eqz', f.call(runtime.walkCode, record, linear)), () => {
                f.store('i64.store', record, linear, L.SCRATCH);
                leaveAtRip(EXIT_FETCH);
              });
            });
            const offset = f.keep(op('i32.and', op('i32.wrap_i64', linear), i32(4095)));
            const physical = f.keep(op('i32.or', load('i32.load', entry, ITLB_PHYSICAL), offset));
            const mode = f.keep(load('i32.load', record, L.MODE));
            const place = f.keep(emitBlockSlot(physical, mode));
            const known = op(
              'i32.and',
              op('i32.eq', load('i32.load', place, BLOCK_TABLE), physical),
              op('i32.eq', load('i32.load', place, BLOCK_TABLE + 4), mode),
            );
            f.if(op('i32.eqz', known), () => {
              f.store('i32.store', record, physical, L.SCRATCH);
              leaveAtRip(EXIT_DECODE);
            });
            f.set(uop, load('i32.load', place, BLOCK_TABLE + 8));
            const header = f.keep(op('i32.sub', get(uop), i32(BLOCK_HEADER_SIZE)));
            const looked = f.keep(op('i32.sub', load('i32.load', header, BLOCK_LOOKUPS), i32(1)));
            f.store('i32.store', header, looked, BLOCK_LOOKUPS);
            f.if(op('i32.eqz', op('i32.and', looked, i32(LOOKUPS_A_LOOK - 1))), () => {
              f.store('i32.store', record, get(uop), L.CURRENT_UOP);
              leaveAtRip(EXIT_HOT);
            });
            f.store('i32.store', record, i32(0), L.JUMP_SOURCE);
            f.store('i64.store', record, op('i64.sub', get(rip), op('i64.extend_i32_u', offset)), L.RIP_BASE);
            f.if(get(linkSlot), () => {
              f.store('i32.store', get(linkSlot), get(uop));
              f.set(linkSlot, i32(0));
            });
            f.set(fuel, op('i32.sub', get(fuel), remaining()));
            f.brIf(outOfFuel, op('i32.lt_s', get(fuel), i32(0)));
          });
          f.block((resolve) => {
            f.loop((dispatch) => {
              const loop: MainLoop = { cpu, uop, ea, fuel, bias, slot, dispatch, lookup, resolve, fault, outOfFuel };
              f.set(handler, op('i32.or', load('i32.load16_u', get(uop)), get(bias)));
              f.loop((again) => {
                nest(f, inlineCount, get(handler), (index) => {
                  const special = SPECIAL_HANDLERS[index];
                  if (special === 'compiled') {
                    f.scope(() => buildCompiled(f, loop, handler, again, types.region, leaveAtRip));
                    return;
                  }
                  if (special !== undefined) {
                    f.scope(() => buildSpecial(f, special, loop, runtime));
                    return;
                  }
                  const variant = hot[index - SPECIAL_HANDLERS.length];
                  assert(variant !== undefined, 'a handler number without a variant');
                  f.scope(() => new InlineHandler(f, variant, loop, runtime, operations).build());
                });
              });
              // ── Not in the loop: a break, or a handler of its own ──
              f.if(get(bias), () => leaveAtUop(EXIT_BREAK));
              f.store('i32.store', record, get(fuel), L.FUEL);
              f.store('i32.store', record, get(uop), L.CURRENT_UOP);
              f.set(
                handler,
                f.callIndirect(
                  types.handler,
                  HANDLER_TYPE,
                  op('i32.sub', get(handler), i32(inlineCount)),
                  record,
                  get(uop),
                  get(ea),
                ) as I32,
              );
              f.set(fuel, load('i32.load', record, L.FUEL));
              f.set(bias, load('i32.load', record, L.BIAS));
              f.if(op('i32.eq', get(handler), i32(NEXT)), () => {
                f.set(uop, op('i32.add', get(uop), i32(32)));
                f.br(dispatch);
              });
              f.brIf(fault, op('i32.eq', get(handler), i32(FAULTED)));
              const stopped = f.keep(op('i32.eq', get(handler), i32(STOPPED)));
              f.if(op('i32.or', stopped, op('i32.eq', get(handler), i32(REPEATED))), () => {
                // The block has paid for the instructions behind this one.
                f.set(fuel, op('i32.add', get(fuel), op('i32.sub', remaining(), i32(1))));
                f.if(op('i32.or', stopped, get(bias)), () => leaveAtRip(EXIT_BREAK));
                f.br(lookup);
              });
              f.if(get(bias), () => leaveAtRip(EXIT_BREAK));
              for (const [code, link] of [
                [LINK_TAKEN, UOP_LINK_TAKEN],
                [LINK_NEXT, UOP_LINK_NEXT],
              ] as const) {
                f.if(op('i32.eq', get(handler), i32(code)), () => {
                  f.set(slot, load('i32.load', get(uop), link));
                  f.if(get(slot), () => {
                    f.set(uop, get(slot));
                    f.set(fuel, op('i32.sub', get(fuel), remaining()));
                    f.brIf(dispatch, op('i32.ge_s', get(fuel), i32(0)));
                    f.br(outOfFuel);
                  });
                  f.set(slot, op('i32.add', get(uop), i32(link)));
                  f.br(resolve);
                });
              }
              f.br(lookup);
            });
          });
          // ── RIP and `slot` are set: remember the link when the target lies in the same page ──
          const distance = op('i64.sub', load('i64.load', record, L.RIP), load('i64.load', record, L.RIP_BASE));
          f.set(linkSlot, select(op('i64.lt_u', distance, i64(4096)), get(slot), i32(0)));
          f.br(lookup);
        });
      });
      f.store('i64.store', record, ownRip(), L.RIP);
      f.store('i32.store', record, op('i32.add', get(fuel), remaining()), L.FUEL);
      f.store('i32.store', record, get(uop), L.CURRENT_UOP);
      f.if(f.call(runtime.interrupts.deliverFault, record) as I32, () => {
        // An exception costs fuel too.
        f.set(fuel, op('i32.sub', load('i32.load', record, L.FUEL), i32(1)));
        f.set(bias, load('i32.load', record, L.BIAS));
        f.br(delivered);
      });
      f.return(i32(EXIT_FAULT));
    });
  });
  leaveAtUop(EXIT_FUEL);
  f.unreachable();
}

/** Enters compiled code, and goes on as it says when it comes back. */
function buildCompiled(
  f: FunctionBuilder,
  { cpu, uop, fuel, bias, lookup, fault, dispatch }: MainLoop,
  handler: Local<'i32'>,
  again: Label,
  regionType: number,
  leaveAtRip: (reason: number) => void,
): void {
  const record = get(cpu);
  const rip = f.keep(op('i64.add', load('i64.load', record, L.RIP_BASE), load('i64.load16_u', get(uop), UOP_IP)));
  const slot = f.keep(load('i32.load', op('i32.sub', get(uop), i32(BLOCK_HEADER_SIZE)), BLOCK_FUNCTION));
  rememberJump(f, jumpEntry(f, cpu, rip), cpu, rip, slot);
  // Compiled code pays for its first block itself.
  const fuelBefore = op('i32.add', get(fuel), load('i32.load8_u', get(uop), UOP_REMAINING));
  const answer = f.keep(f.callIndirect(regionType, REGION_TYPE, slot, record, rip, fuelBefore) as I32);
  f.set(fuel, load('i32.load', record, L.FUEL));
  f.set(bias, load('i32.load', record, L.BIAS));
  f.set(uop, load('i32.load', record, L.CURRENT_UOP));
  const is = (value: number) => op('i32.eq', answer, i32(value));
  f.if(is(COMPILED_RESUME), () => {
    // The instruction is carried out here, even where its own block has been compiled.
    f.brIf(dispatch, get(bias));
    f.set(handler, load('i32.load16_u', get(uop)));
    f.if(op('i32.eq', get(handler), i32(COMPILED_HANDLER)), () => {
      const header = op('i32.sub', get(uop), i32(BLOCK_HEADER_SIZE));
      f.set(handler, load('i32.load16_u', header, BLOCK_ORIGINAL_HANDLER));
    });
    f.br(again);
  });
  f.if(is(COMPILED_FUEL), () => leaveAtRip(EXIT_FUEL));
  f.brIf(fault, op('i32.or', is(COMPILED_FAULT), is(FROM_HANDLER | FAULTED)));
  const stopped = f.keep(is(FROM_HANDLER | STOPPED));
  f.if(op('i32.or', stopped, is(FROM_HANDLER | REPEATED)), () => {
    f.set(fuel, op('i32.add', get(fuel), op('i32.sub', load('i32.load8_u', get(uop), UOP_REMAINING), i32(1))));
    f.if(stopped, () => leaveAtRip(EXIT_BREAK));
  });
  f.if(get(bias), () => leaveAtRip(EXIT_BREAK));
  f.br(lookup);
}

/** Emits `count` nested blocks with a dispatch in the innermost, and each handler's code behind its block. */
function nest(f: FunctionBuilder, count: number, index: I32, body: (index: number) => void): void {
  const labels: Label[] = [];
  const open = (level: number) => {
    f.block((label) => {
      // The outermost block is the default's: it ends in front of what follows.
      labels[level] = label;
      if (level > 0) {
        open(level - 1);
        body(level - 1);
      } else {
        f.brTable(
          index,
          labels.slice(0, count).map((entry) => entry),
          labels[count] as Label,
        );
      }
    });
  };
  open(count);
}

function buildSpecial(
  f: FunctionBuilder,
  name: Exclude<SpecialHandler, 'compiled'>,
  loop: MainLoop,
  runtime: RuntimeFunctions,
): void {
  const { cpu, uop, ea } = loop;
  const record = get(cpu);
  const next = () => {
    f.set(uop, op('i32.add', get(uop), i32(32)));
    f.br(loop.dispatch);
  };
  const register64 = (field: number) => load('i64.load', op('i32.add', record, load('i32.load16_u', get(uop), field)));
  const register32 = (field: number) => load('i32.load', op('i32.add', record, load('i32.load16_u', get(uop), field)));
  const displacement64 = () => load('i64.load32_s', get(uop), UOP_DISPLACEMENT);
  const displacement32 = () => load('i32.load', get(uop), UOP_DISPLACEMENT);
  const index64 = () => op('i64.shl', register64(UOP_INDEX), load('i64.load8_u', get(uop), UOP_SCALE));
  const index32 = () => op('i32.shl', register32(UOP_INDEX), load('i32.load8_u', get(uop), UOP_SCALE));
  const full = () => op('i64.add', op('i64.add', register64(UOP_BASE), index64()), displacement64());
  switch (name) {
    case 'address64':
      f.set(ea, op('i64.add', register64(UOP_BASE), displacement64()));
      next();
      return;
    case 'address64-indexed':
      f.set(ea, full());
      next();
      return;
    case 'address-absolute':
      f.set(ea, load('i64.load', get(uop), UOP_IMMEDIATE));
      next();
      return;
    case 'address-rip':
      f.set(ea, op('i64.add', load('i64.load', record, L.RIP_BASE), load('i64.load', get(uop), UOP_IMMEDIATE)));
      next();
      return;
    case 'address-rip32':
      f.set(
        ea,
        op(
          'i64.and',
          op('i64.add', load('i64.load', record, L.RIP_BASE), load('i64.load', get(uop), UOP_IMMEDIATE)),
          i64(0xffffffff),
        ),
      );
      next();
      return;
    case 'address32':
      f.set(ea, op('i64.extend_i32_u', op('i32.add', register32(UOP_BASE), displacement32())));
      next();
      return;
    case 'address32-indexed':
      f.set(
        ea,
        op('i64.extend_i32_u', op('i32.add', op('i32.add', register32(UOP_BASE), index32()), displacement32())),
      );
      next();
      return;
    case 'address-masked':
      f.set(ea, op('i64.and', full(), load('i64.load', get(uop), UOP_IMMEDIATE)));
      next();
      return;
    case 'address-segmented': {
      f.set(ea, op('i64.and', full(), load('i64.load', get(uop), UOP_IMMEDIATE)));
      const check = f.keep(load('i32.load16_u', get(uop), UOP_CHECK));
      const segment = f.keep(load('i32.load8_u', get(uop), UOP_SEGMENT));
      f.set(ea, f.call(runtime.segmentAddress, record, segment, get(ea), check) as I64);
      f.brIf(loop.fault, load('i32.load', record, L.FAULT));
      next();
      return;
    }
    case 'address-add-base': {
      const segment = op('i32.shl', load('i32.load8_u', get(uop), UOP_SEGMENT), i32(5));
      f.set(ea, op('i64.add', get(ea), load('i64.load', op('i32.add', record, segment), L.SEGMENTS)));
      next();
      return;
    }
    case 'end': {
      f.set(loop.slot, load('i32.load', get(uop), UOP_LINK_NEXT));
      f.if(get(loop.slot), () => {
        f.set(uop, get(loop.slot));
        f.set(loop.fuel, op('i32.sub', get(loop.fuel), load('i32.load8_u', get(uop), UOP_REMAINING)));
        f.brIf(loop.dispatch, op('i32.ge_s', get(loop.fuel), i32(0)));
        f.br(loop.outOfFuel);
      });
      f.store(
        'i64.store',
        record,
        op('i64.add', load('i64.load', record, L.RIP_BASE), load('i64.load16_u', get(uop), UOP_IP)),
        L.RIP,
      );
      f.set(loop.slot, op('i32.add', get(uop), i32(UOP_LINK_NEXT)));
      f.br(loop.resolve);
      return;
    }
    case 'stale':
      f.store(
        'i64.store',
        record,
        op('i64.add', load('i64.load', record, L.RIP_BASE), load('i64.load16_u', get(uop), UOP_IP)),
        L.RIP,
      );
      f.set(loop.fuel, op('i32.add', get(loop.fuel), load('i32.load8_u', get(uop), UOP_REMAINING)));
      f.br(loop.lookup);
      return;
    case 'raise':
      f.store('i32.store', record, load('i32.load', get(uop), UOP_IMMEDIATE), L.FAULT);
      f.store('i32.store', record, load('i32.load', get(uop), UOP_IMMEDIATE + 4), L.FAULT_ERROR);
      f.br(loop.fault);
      return;
    case 'straddle': {
      const behind = op('i64.add', load('i64.load', record, L.RIP_BASE), i64(4096));
      const linear = linearRip(f, record, behind);
      const entry = itlbEntry(f, record, linear);
      const known = () => op('i64.eq', load('i64.load', entry), op('i64.and', linear, i64(-4096)));
      f.if(op('i32.eqz', known()), () => f.drop(f.call(runtime.walkCode, record, linear)));
      const same = op(
        'i32.and',
        known(),
        op('i32.eq', load('i32.load', entry, ITLB_PHYSICAL), load('i32.load', get(uop), UOP_IMMEDIATE)),
      );
      f.if(same, next);
      // Decoded anew at its own address: the fetch of the second page may fault.
      f.store(
        'i64.store',
        record,
        op('i64.add', load('i64.load', record, L.RIP_BASE), load('i64.load16_u', get(uop), UOP_IP)),
        L.RIP,
      );
      f.store('i32.store', record, op('i32.add', get(loop.fuel), load('i32.load8_u', get(uop), UOP_REMAINING)), L.FUEL);
      f.store('i32.store', record, load('i32.load', get(uop), UOP_IMMEDIATE + 4), L.SCRATCH);
      f.return(i32(EXIT_DECODE));
      return;
    }
  }
}
