import { assert } from '../../base/assert.ts';
import * as L from '../x86/layout.ts';
import { emitAddress } from './address-handlers.ts';
import { BLOCK_TABLE } from './arena-layout.ts';
import type { Fusion } from './fused-handlers.ts';
import { InlineHandler, type MainLoop, type SystemOperations } from './interpreter-builder.ts';
import {
  BLOCK_HEADER_SIZE,
  BLOCK_LOOKUPS,
  BLOCK_MODE,
  BLOCK_PHYSICAL,
  BLOCK_TABLE_BITS,
  EXIT_DECODE,
  EXIT_FUEL,
  EXIT_HOT,
  ITLB_ENTRIES,
  ITLB_PHYSICAL,
  LOOKUPS_A_LOOK,
  UOP_GUESS,
  UOP_HANDLER,
  UOP_IMMEDIATE,
  UOP_IP,
  UOP_LINK_NEXT,
  UOP_REMAINING,
  UOP_SIZE,
} from './micro-op.ts';
import type { RuntimeFunctions } from './runtime-functions.ts';
import { SPECIAL_HANDLERS, type SpecialHandler } from './special-handlers.ts';
import type { Variant } from './variants.ts';
import {
  type FunctionBuilder,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Label,
  load,
  op,
  select,
} from './wasm/function-builder.ts';

/** (record, micro-operation or 0, its handler, link slot or 0) → why it came back. */
export const LOOP_TYPE = { params: ['i32', 'i32', 'i32', 'i32'], results: ['i32'] } as const;

/**
 * Why the loop came back to its driver, beside the EXIT_* that leave generated code. FUEL is set, and but for LOOP_WALK
 * CURRENT_UOP too.
 */
export const LOOP_REASONS = 16;
/** The handler in the bits from LOOP_HANDLER_SHIFT on is to be called; EA is set. */
export const LOOP_HANDLER = 16;
/** The block at CURRENT_UOP has been compiled. */
export const LOOP_COMPILED = 17;
/** FAULT and RIP are set, the block is paid back. */
export const LOOP_FAULT = 18;
/** SCRATCH[0]: a linear address that the instruction TLB does not know. */
export const LOOP_WALK = 19;
/** The page behind, which the instruction reaches into, is not known to be the same as before. */
export const LOOP_STRADDLE = 20;
/** EA is an offset to be checked against a segment and added to its base. */
export const LOOP_SEGMENTED = 21;
export const LOOP_REASON_MASK = 31;
export const LOOP_HANDLER_SHIFT = 5;

/** What the loop is built from. */
export interface LoopContents {
  readonly hot: readonly Variant[];
  readonly fused: readonly Fusion[];
  readonly runtime: RuntimeFunctions;
  readonly operations: SystemOperations;
  /** Number of a variant's handler in a function of its own. */
  inFunction(variant: Variant): number;
}

/** Emits the place in the block table for a physical address, as `blockSlot` computes it. */
function emitBlockSlot(physical: I32, mode: I32): I32 {
  const mixed = op('i32.mul', op('i32.xor', physical, op('i32.shl', mode, i32(20))), i32(0x9e3779b1 | 0));
  return op('i32.shl', op('i32.shr_u', mixed, i32(32 - BLOCK_TABLE_BITS)), i32(4));
}

/** Linear address of RIP: 64-bit code has no base, other code adds CS and wraps at 4 GiB. */
export function linearRip(f: FunctionBuilder, cpu: I32, rip: I64): I64 {
  const based = op('i64.add', rip, load('i64.load', cpu, L.SEGMENTS + L.SEG_CS * L.SEGMENT_SIZE));
  const is64 = op('i32.eq', op('i32.and', load('i32.load', cpu, L.MODE), i32(L.MODE_CODE_MASK)), i32(L.MODE_CODE64));
  return f.keep(select(is64, rip, op('i64.and', based, i64(0xffffffff))));
}

/** The instruction TLB's entry for a linear address. */
export function itlbEntry(f: FunctionBuilder, cpu: I32, linear: I64): I32 {
  const index = op('i32.and', op('i32.wrap_i64', op('i64.shr_u', linear, i64(12))), i32(ITLB_ENTRIES - 1));
  return f.keep(op('i32.add', load('i32.load', cpu, L.ITLB), op('i32.shl', index, i32(4))));
}

/**
 * Builds the loop over micro-operations. It calls no function: V8 then keeps everything in registers. What takes a call
 * is left to the driver (interpreter-driver.ts), which enters the loop again: at a micro-operation, or with 0 at RIP.
 */
export function buildLoop(f: FunctionBuilder, { hot, fused, runtime, operations, inFunction }: LoopContents): void {
  const count = SPECIAL_HANDLERS.length + hot.length + fused.length;
  const cpu = f.parameter(0, 'i32');
  const uop = f.parameter(1, 'i32');
  const handler = f.parameter(2, 'i32');
  const linkSlot = f.parameter(3, 'i32');
  const ea = f.local('i64');
  const fuel = f.local('i32');
  const slot = f.local('i32');
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
  f.set(ea, load('i64.load', record, L.EA));
  f.block((outOfFuel) => {
    f.block((fault) => {
      f.loop((lookup) => {
        f.if(op('i32.eqz', get(uop)), () => f.scope(findBlock));
        f.block((resolve) => {
          f.loop((again) => {
            nest(f, count, get(handler), again, (index, outside, dispatch) => {
              const loop: MainLoop = {
                cpu,
                uop,
                ea,
                fuel,
                handler,
                slot,
                linkSlot,
                dispatch,
                outside,
                lookup,
                resolve,
                fault,
                outOfFuel,
              };
              f.scope(() => buildHandler(loop, index));
            });
            f.store('i32.store', record, get(fuel), L.FUEL);
            f.store('i32.store', record, get(uop), L.CURRENT_UOP);
            f.store('i64.store', record, get(ea), L.EA);
            f.return(op('i32.or', op('i32.shl', get(handler), i32(LOOP_HANDLER_SHIFT)), i32(LOOP_HANDLER)));
          });
        });
        // ── RIP and `slot` are set: remember the link when the target lies in the same page, else a guess ──
        const distance = op('i64.sub', load('i64.load', record, L.RIP), load('i64.load', record, L.RIP_BASE));
        const guess = op('i32.add', get(uop), i32(UOP_GUESS));
        f.set(linkSlot, select(op('i64.lt_u', distance, i64(4096)), get(slot), guess));
        f.set(uop, i32(0));
        f.br(lookup);

        function findBlock(): void {
          const rip = f.keep(load('i64.load', record, L.RIP));
          const linear = linearRip(f, record, rip);
          const entry = itlbEntry(f, record, linear);
          f.if(op('i64.ne', load('i64.load', entry), op('i64.and', linear, i64(-4096))), () => {
            f.store('i64.store', record, linear, L.SCRATCH);
            leaveAtRip(LOOP_WALK);
          });
          const offset = f.keep(op('i32.and', op('i32.wrap_i64', linear), i32(4095)));
          const physical = f.keep(op('i32.or', load('i32.load', entry, ITLB_PHYSICAL), offset));
          const mode = f.keep(load('i32.load', record, L.MODE));
          f.block((found) => {
            f.if(get(linkSlot), () => {
              f.set(uop, load('i32.load', get(linkSlot)));
              f.if(get(uop), () => {
                const header = f.keep(op('i32.sub', get(uop), i32(BLOCK_HEADER_SIZE)));
                const same = op(
                  'i32.and',
                  op('i32.eq', load('i32.load', header, BLOCK_PHYSICAL), physical),
                  op('i32.eq', load('i32.load', header, BLOCK_MODE), mode),
                );
                f.brIf(found, same);
              });
            });
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
            f.if(get(linkSlot), () => f.store('i32.store', get(linkSlot), get(uop)));
          });
          f.set(linkSlot, i32(0));
          const header = f.keep(op('i32.sub', get(uop), i32(BLOCK_HEADER_SIZE)));
          const looked = f.keep(op('i32.sub', load('i32.load', header, BLOCK_LOOKUPS), i32(1)));
          f.store('i32.store', header, looked, BLOCK_LOOKUPS);
          f.if(op('i32.eqz', op('i32.and', looked, i32(LOOKUPS_A_LOOK - 1))), () => {
            f.store('i32.store', record, get(uop), L.CURRENT_UOP);
            leaveAtRip(EXIT_HOT);
          });
          f.store('i32.store', record, i32(0), L.JUMP_SOURCE);
          f.store('i64.store', record, op('i64.sub', rip, op('i64.extend_i32_u', offset)), L.RIP_BASE);
          f.set(handler, load('i32.load16_u', get(uop), UOP_HANDLER));
          f.set(fuel, op('i32.sub', get(fuel), remaining()));
          f.brIf(outOfFuel, op('i32.lt_s', get(fuel), i32(0)));
        }
      });
    });
    leaveAtUop(LOOP_FAULT);
  });
  leaveAtUop(EXIT_FUEL);
  f.unreachable();

  function buildHandler(loop: MainLoop, index: number): void {
    const special = SPECIAL_HANDLERS[index];
    if (special !== undefined) {
      buildSpecial(f, special, loop);
      return;
    }
    const variant = hot[index - SPECIAL_HANDLERS.length];
    const steps = variant === undefined ? fused[index - SPECIAL_HANDLERS.length - hot.length] : [{ variant }];
    assert(steps !== undefined, 'a handler number without a handler');
    for (const [i, step] of steps.entries()) {
      const goesOn = i + 1 < steps.length;
      if ('variant' in step) {
        new InlineHandler(f, step.variant, loop, runtime, operations, inFunction).build(goesOn);
      } else {
        f.set(loop.ea, emitAddress(f, step.address, loop));
        if (!goesOn) {
          dispatchNext(f, loop);
        }
      }
      if (goesOn) {
        f.set(uop, op('i32.add', get(uop), i32(UOP_SIZE)));
      }
    }
  }
}

/** Goes on with the micro-operation behind the present one. */
function dispatchNext(f: FunctionBuilder, { uop, handler, dispatch }: MainLoop): void {
  f.set(handler, load('i32.load16_u', get(uop), UOP_SIZE + UOP_HANDLER));
  f.set(uop, op('i32.add', get(uop), i32(UOP_SIZE)));
  f.br(dispatch);
}

/** So many handlers' ways to the dispatch, and out of the loop, are joined first: V8 needs much memory for wide merges. */
const JOINED = 32;

/**
 * Emits `count` nested blocks with a dispatch in the innermost, and each handler's code behind its block. `body` gets the
 * labels behind all handlers and of the way back to `again`.
 */
function nest(
  f: FunctionBuilder,
  count: number,
  index: I32,
  again: Label,
  body: (index: number, outside: Label, back: Label) => void,
): void {
  const labels: Label[] = [];
  const ways: { readonly back: Label; readonly out: Label }[] = [];
  const open = (level: number) => {
    f.block((label) => {
      // The outermost block is the default's: it ends in front of what follows.
      labels[level] = label;
      const outside = labels[count] as Label;
      if (level === 0) {
        f.brTable(index, labels.slice(0, count), outside);
        return;
      }
      const inside = (back: Label, out: Label) => {
        ways[level - 1] = { back, out };
        open(level - 1);
        body(level - 1, out, back);
      };
      const known = ways[level];
      if (known !== undefined && level % JOINED !== 0) {
        inside(known.back, known.out);
        return;
      }
      f.block((out) => {
        f.block((back) => inside(back, out));
        f.br(again);
      });
      f.br(outside);
    });
  };
  open(count);
}

function buildSpecial(f: FunctionBuilder, name: SpecialHandler, loop: MainLoop): void {
  const { cpu, uop, ea, fuel, handler } = loop;
  const record = get(cpu);
  const next = () => dispatchNext(f, loop);
  const leave = (reason: number) => {
    f.store('i32.store', record, get(fuel), L.FUEL);
    f.store('i32.store', record, get(uop), L.CURRENT_UOP);
    f.return(i32(reason));
  };
  const setRip = () => {
    const rip = op('i64.add', load('i64.load', record, L.RIP_BASE), load('i64.load16_u', get(uop), UOP_IP));
    f.store('i64.store', record, rip, L.RIP);
  };
  switch (name) {
    case 'compiled':
      leave(LOOP_COMPILED);
      return;
    case 'address-segmented':
      f.store('i64.store', record, emitAddress(f, name, loop), L.EA);
      leave(LOOP_SEGMENTED);
      return;
    case 'end': {
      f.set(loop.slot, load('i32.load', get(uop), UOP_LINK_NEXT));
      f.if(get(loop.slot), () => {
        f.set(uop, get(loop.slot));
        f.set(handler, load('i32.load16_u', get(uop), UOP_HANDLER));
        f.set(fuel, op('i32.sub', get(fuel), load('i32.load8_u', get(uop), UOP_REMAINING)));
        f.brIf(loop.dispatch, op('i32.ge_s', get(fuel), i32(0)));
        f.br(loop.outOfFuel);
      });
      setRip();
      f.set(loop.slot, op('i32.add', get(uop), i32(UOP_LINK_NEXT)));
      f.br(loop.resolve);
      return;
    }
    case 'stale':
      setRip();
      f.set(fuel, op('i32.add', get(fuel), load('i32.load8_u', get(uop), UOP_REMAINING)));
      f.set(uop, i32(0));
      f.br(loop.lookup);
      return;
    case 'raise':
      f.store('i32.store', record, load('i32.load', get(uop), UOP_IMMEDIATE), L.FAULT);
      f.store('i32.store', record, load('i32.load', get(uop), UOP_IMMEDIATE + 4), L.FAULT_ERROR);
      f.br(loop.fault);
      return;
    case 'straddle':
      f.if(isSameBehind(f, record, get(uop)), next);
      leave(LOOP_STRADDLE);
      return;
    default:
      f.set(ea, emitAddress(f, name, loop));
      next();
  }
}

/** Whether the page behind is known to be the one of the micro-operation's immediate. */
export function isSameBehind(f: FunctionBuilder, record: I32, uop: I32): I32 {
  const linear = linearBehind(f, record);
  const entry = itlbEntry(f, record, linear);
  return op(
    'i32.and',
    op('i64.eq', load('i64.load', entry), op('i64.and', linear, i64(-4096))),
    op('i32.eq', load('i32.load', entry, ITLB_PHYSICAL), load('i32.load', uop, UOP_IMMEDIATE)),
  );
}

/** Linear address of the page behind the present block's. */
export function linearBehind(f: FunctionBuilder, record: I32): I64 {
  return linearRip(f, record, op('i64.add', load('i64.load', record, L.RIP_BASE), i64(4096)));
}
