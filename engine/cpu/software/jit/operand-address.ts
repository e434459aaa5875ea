import { defined } from '../../../base/assert.ts';
import * as L from '../../x86/layout.ts';
import type { SpecialHandler } from '../interpreter.ts';
import {
  UOP_BASE,
  UOP_CHECK,
  UOP_DISPLACEMENT,
  UOP_IMMEDIATE,
  UOP_INDEX,
  UOP_SCALE,
  UOP_SEGMENT,
  UOP_SIZE,
} from '../micro-op.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I64,
  i32,
  i64,
  type Local,
  load,
  op,
} from '../wasm/function-builder.ts';

/** What the computation of an address needs of the region that it is built into. */
export interface AddressContext {
  readonly f: FunctionBuilder;
  readonly view: DataView;
  /** The processor's record as plain memory. */
  readonly record: Local<'i32'>;
  /** RIP of an offset from the start of the present block's page, not wrapped. */
  fromPage(offset: number): I64;
  /** General register by number. */
  register(number: number): I64;
  special(uop: number): SpecialHandler | undefined;
  helper(name: string): FunctionReference;
  /** FAULT is set for the instruction at `uop`. */
  leaveFaulted(uop: number): void;
}

/**
 * Linear address of an instruction's memory operand, in a local, from the micro-operations between `first` and its
 * operation `uop`; undefined when there are none.
 */
export function operandAddress(context: AddressContext, first: number, uop: number): I64 | undefined {
  let address: I64 | undefined;
  for (let at = first; at < uop; at += UOP_SIZE) {
    address = addressStep(context, at, address);
  }
  return address;
}

/** Whether that operand lies at a fixed distance from the stack pointer, with nothing else added. */
export function isOnStack({ view, special }: AddressContext, first: number, uop: number): boolean {
  return (
    uop === first + UOP_SIZE &&
    /^address(64|32)$/.test(special(first) ?? '') &&
    view.getUint16(first + UOP_BASE, true) === L.GPR + 4 * 8 &&
    view.getUint16(first + UOP_INDEX, true) === L.ZERO
  );
}

function low32(value: I64): I64 {
  return op('i64.and', value, i64(0xffffffff));
}

/** Base, index and displacement of the micro-operation at `at`. */
function sum({ view, register }: AddressContext, at: number): I64 {
  const value = (field: number): I64 | undefined => {
    const offset = view.getUint16(at + field, true);
    return offset === L.ZERO ? undefined : register(offset >> 3);
  };
  const index = value(UOP_INDEX);
  const scale = view.getUint8(at + UOP_SCALE);
  const displacement = view.getInt32(at + UOP_DISPLACEMENT, true);
  const scaled = index === undefined || scale === 0 ? index : op('i64.shl', index, i64(scale));
  const base = value(UOP_BASE);
  const both = base === undefined ? scaled : scaled === undefined ? base : op('i64.add', base, scaled);
  if (both === undefined) {
    return i64(displacement);
  }
  return displacement === 0 ? both : op('i64.add', both, i64(displacement));
}

function addressStep(context: AddressContext, at: number, before: I64 | undefined): I64 {
  const { f, view } = context;
  const special = context.special(at);
  switch (special) {
    case 'address64':
    case 'address64-indexed':
      return f.keep(sum(context, at));
    case 'address32':
    case 'address32-indexed':
      return f.keep(low32(sum(context, at)));
    case 'address-absolute':
      return i64(view.getBigInt64(at + UOP_IMMEDIATE, true));
    case 'address-rip':
    case 'address-rip32': {
      const address = context.fromPage(Number(view.getBigInt64(at + UOP_IMMEDIATE, true)));
      return f.keep(special === 'address-rip' ? address : low32(address));
    }
    case 'address-masked':
      return f.keep(op('i64.and', sum(context, at), i64(view.getBigInt64(at + UOP_IMMEDIATE, true))));
    case 'address-segmented': {
      const record = get(context.record);
      const offset = op('i64.and', sum(context, at), i64(view.getBigInt64(at + UOP_IMMEDIATE, true)));
      const segment = i32(view.getUint8(at + UOP_SEGMENT));
      const check = i32(view.getUint16(at + UOP_CHECK, true));
      const address = f.keep(f.call(context.helper('segmentAddress'), record, segment, offset, check) as I64);
      f.ifUnlikely(load('i32.load', record, L.FAULT), () => context.leaveFaulted(at));
      return address;
    }
    case 'address-add-base': {
      const segment = view.getUint8(at + UOP_SEGMENT);
      const base = load('i64.load', get(context.record), L.SEGMENTS + segment * L.SEGMENT_SIZE);
      return f.keep(op('i64.add', defined(before, 'address'), base));
    }
    default:
      throw new Error(`${special ?? 'an operation'} computes no address`);
  }
}
