import * as L from '../x86/layout.ts';
import {
  isSameBehind,
  LOOP_COMPILED,
  LOOP_FAULT,
  LOOP_HANDLER,
  LOOP_HANDLER_SHIFT,
  LOOP_REASON_MASK,
  LOOP_REASONS,
  LOOP_SEGMENTED,
  LOOP_WALK,
  linearBehind,
} from './interpreter-loop.ts';
import { jumpEntry, rememberJump } from './jit/jump-cache.ts';
import { HANDLER_TYPE, REGION_TYPE } from './jit/region-type.ts';
import {
  BLOCK_FUNCTION,
  BLOCK_GUESS,
  BLOCK_HEADER_SIZE,
  BLOCK_ORIGINAL_HANDLER,
  COMPILED_FAULT,
  COMPILED_FUEL,
  COMPILED_RESUME,
  EXIT_BREAK,
  EXIT_DECODE,
  EXIT_FAULT,
  EXIT_FETCH,
  EXIT_FUEL,
  FAULTED,
  FROM_HANDLER,
  LINK_NEXT,
  LINK_TAKEN,
  NEXT,
  REPEATED,
  STOPPED,
  UOP_CHECK,
  UOP_HANDLER,
  UOP_IMMEDIATE,
  UOP_IP,
  UOP_LINK_NEXT,
  UOP_LINK_TAKEN,
  UOP_REMAINING,
  UOP_SEGMENT,
  UOP_SIZE,
} from './micro-op.ts';
import type { RuntimeFunctions } from './runtime-functions.ts';
import { SPECIAL_HANDLERS } from './special-handlers.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
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

const COMPILED_HANDLER = SPECIAL_HANDLERS.indexOf('compiled');

/** What the driver calls. */
export interface DriverParts {
  readonly loop: FunctionReference;
  /** Handlers from this number on are in the function table. */
  readonly inlineCount: number;
  readonly types: { readonly handler: number; readonly region: number };
  readonly runtime: RuntimeFunctions;
}

/** Builds the function that enters the loop and does for it what takes a call: (record) → EXIT_*. */
export function buildDriver(f: FunctionBuilder, { loop, inlineCount, types, runtime }: DriverParts): void {
  const cpu = f.parameter(0, 'i32');
  /** Where the loop is entered: a micro-operation and its handler, or 0 for RIP. */
  const uop = f.local('i32');
  const handler = f.local('i32');
  const linkSlot = f.local('i32');
  const answer = f.local('i32');
  const record = get(cpu);

  const remaining = () => load('i32.load8_u', get(uop), UOP_REMAINING);
  const addFuel = (more: I32) =>
    f.store('i32.store', record, op('i32.add', load('i32.load', record, L.FUEL), more), L.FUEL);
  const ownRip = () => op('i64.add', load('i64.load', record, L.RIP_BASE), load('i64.load16_u', get(uop), UOP_IP));
  const bias = () => load('i32.load', record, L.BIAS);
  /** Leaves with RIP at the micro-operation, which has not been carried out. */
  const leaveAtUop = (reason: number) => {
    f.store('i64.store', record, ownRip(), L.RIP);
    addFuel(remaining());
    f.store('i32.store', record, get(uop), L.CURRENT_UOP);
    f.return(i32(reason));
  };
  const is = (value: number) => op('i32.eq', get(answer), i32(value));

  f.loop((again) => {
    f.if(bias(), () => {
      f.if(get(uop), () => leaveAtUop(EXIT_BREAK));
      f.return(i32(EXIT_BREAK));
    });
    f.set(answer, f.call(loop, record, get(uop), get(handler), get(linkSlot)) as I32);
    f.if(op('i32.lt_u', get(answer), i32(LOOP_REASONS)), () => f.return(get(answer)));
    f.set(linkSlot, i32(0));
    f.set(uop, load('i32.load', record, L.CURRENT_UOP));
    const reason = f.keep(op('i32.and', get(answer), i32(LOOP_REASON_MASK)));
    const because = (value: number) => op('i32.eq', reason, i32(value));
    const atRip = () => {
      f.set(uop, i32(0));
      f.br(again);
    };
    const atUop = () => {
      f.set(handler, load('i32.load16_u', get(uop), UOP_HANDLER));
      f.br(again);
    };
    const atNext = () => {
      f.set(uop, op('i32.add', get(uop), i32(UOP_SIZE)));
      atUop();
    };
    f.block((fault) => {
      f.if(because(LOOP_HANDLER), () => f.scope(() => afterHandler(fault)));
      f.if(because(LOOP_COMPILED), () => f.scope(() => compiled(fault)));
      f.if(because(LOOP_WALK), () => {
        const linear = f.keep(load('i64.load', record, L.SCRATCH));
        f.if(f.call(runtime.walkCode, record, linear) as I32, atRip);
        f.store('i64.store', record, linear, L.SCRATCH);
        f.return(i32(EXIT_FETCH));
      });
      f.brIf(fault, because(LOOP_FAULT));
      f.if(because(LOOP_SEGMENTED), () => {
        const segment = load('i32.load8_u', get(uop), UOP_SEGMENT);
        const check = load('i32.load16_u', get(uop), UOP_CHECK);
        const address = f.call(runtime.segmentAddress, record, segment, load('i64.load', record, L.EA), check) as I64;
        f.store('i64.store', record, address, L.EA);
        f.if(load('i32.load', record, L.FAULT), () => {
          f.store('i64.store', record, ownRip(), L.RIP);
          addFuel(remaining());
          f.br(fault);
        });
        atNext();
      });
      // LOOP_STRADDLE: fetched again, the page behind may be the same.
      f.drop(f.call(runtime.walkCode, record, linearBehind(f, record)));
      f.if(isSameBehind(f, record, get(uop)), atNext);
      // Decoded anew at its own address: the fetch of the second page may fault.
      f.store('i64.store', record, ownRip(), L.RIP);
      addFuel(remaining());
      f.store('i32.store', record, load('i32.load', get(uop), UOP_IMMEDIATE + 4), L.SCRATCH);
      f.return(i32(EXIT_DECODE));
    });
    // ── FAULT is set, and RIP and FUEL as they were before the instruction at CURRENT_UOP ──
    f.if(f.call(runtime.interrupts.deliverFault, record) as I32, () => {
      // An exception costs fuel too.
      addFuel(i32(-1));
      atRip();
    });
    f.return(i32(EXIT_FAULT));

    /** Takes back what the instruction at `uop`, which faulted, and those behind it have been paid. */
    function faulted(fault: Label): void {
      f.store('i64.store', record, ownRip(), L.RIP);
      addFuel(remaining());
      f.store('i32.store', record, get(uop), L.CURRENT_UOP);
      f.br(fault);
    }

    /** Calls the handler that the loop asks for, and goes on as it says. */
    function afterHandler(fault: Label): void {
      const slot = op('i32.sub', op('i32.shr_u', get(answer), i32(LOOP_HANDLER_SHIFT)), i32(inlineCount));
      const ea = load('i64.load', record, L.EA);
      f.set(answer, f.callIndirect(types.handler, HANDLER_TYPE, slot, record, get(uop), ea) as I32);
      f.if(is(NEXT), atNext);
      f.if(is(FAULTED), () => faulted(fault));
      const stopped = f.keep(is(STOPPED));
      f.if(op('i32.or', stopped, is(REPEATED)), () => {
        // The block has paid for the instructions behind this one.
        addFuel(op('i32.sub', remaining(), i32(1)));
        f.if(stopped, () => f.return(i32(EXIT_BREAK)));
        atRip();
      });
      f.if(bias(), () => f.return(i32(EXIT_BREAK)));
      for (const [code, link] of [
        [LINK_TAKEN, UOP_LINK_TAKEN],
        [LINK_NEXT, UOP_LINK_NEXT],
      ] as const) {
        f.if(is(code), () => {
          const target = f.keep(load('i32.load', get(uop), link));
          f.if(target, () => {
            f.set(uop, target);
            addFuel(op('i32.sub', i32(0), remaining()));
            f.if(op('i32.lt_s', load('i32.load', record, L.FUEL), i32(0)), () => leaveAtUop(EXIT_FUEL));
            atUop();
          });
          // Remembered when the target lies in the same page.
          const distance = op('i64.sub', load('i64.load', record, L.RIP), load('i64.load', record, L.RIP_BASE));
          f.set(linkSlot, select(op('i64.lt_u', distance, i64(4096)), op('i32.add', get(uop), i32(link)), i32(0)));
          atRip();
        });
      }
      atRip();
    }

    /** Enters compiled code, and goes on as it says when it comes back. */
    function compiled(fault: Label): void {
      const rip = f.keep(ownRip());
      const slot = f.keep(load('i32.load', op('i32.sub', get(uop), i32(BLOCK_HEADER_SIZE)), BLOCK_FUNCTION));
      rememberJump(f, jumpEntry(f, cpu, rip), cpu, rip, slot);
      // Compiled code pays for its first block itself.
      const fuel = op('i32.add', load('i32.load', record, L.FUEL), remaining());
      f.set(answer, f.callIndirect(types.region, REGION_TYPE, slot, record, rip, fuel) as I32);
      const guess = f.keep(op('i32.add', get(uop), i32(BLOCK_GUESS - BLOCK_HEADER_SIZE)));
      f.set(uop, load('i32.load', record, L.CURRENT_UOP));
      f.if(is(COMPILED_RESUME), () => {
        // The instruction is carried out by the loop, even where its own block has been compiled.
        f.set(handler, load('i32.load16_u', get(uop), UOP_HANDLER));
        f.if(op('i32.eq', get(handler), i32(COMPILED_HANDLER)), () => {
          const header = op('i32.sub', get(uop), i32(BLOCK_HEADER_SIZE));
          f.set(handler, load('i32.load16_u', header, BLOCK_ORIGINAL_HANDLER));
        });
        f.br(again);
      });
      f.if(is(COMPILED_FUEL), () => f.return(i32(EXIT_FUEL)));
      f.if(op('i32.or', is(COMPILED_FAULT), is(FROM_HANDLER | FAULTED)), () => faulted(fault));
      const stopped = f.keep(is(FROM_HANDLER | STOPPED));
      f.if(op('i32.or', stopped, is(FROM_HANDLER | REPEATED)), () => {
        addFuel(op('i32.sub', remaining(), i32(1)));
        f.if(stopped, () => f.return(i32(EXIT_BREAK)));
      });
      f.set(linkSlot, guess);
      atRip();
    }
  });
  f.unreachable();
}
