import * as L from '../x86/layout.ts';
import { UOP_BASE, UOP_DISPLACEMENT, UOP_IMMEDIATE, UOP_INDEX, UOP_SCALE, UOP_SEGMENT } from './micro-op.ts';
import type { SpecialHandler } from './special-handlers.ts';
import { type FunctionBuilder, get, type I64, i32, i64, type Local, load, op } from './wasm/function-builder.ts';

/** The handlers that compute addresses. */
export type AddressHandler = Extract<SpecialHandler, `address${string}`>;

interface AddressLocals {
  readonly cpu: Local<'i32'>;
  readonly uop: Local<'i32'>;
  readonly ea: Local<'i64'>;
}

/** The address that the micro-operation at `uop` computes; of a segmented one the offset, which has to be checked. */
export function emitAddress(f: FunctionBuilder, name: AddressHandler, { cpu, uop, ea }: AddressLocals): I64 {
  const record = get(cpu);
  const at = (field: number) => op('i32.add', record, load('i32.load16_u', get(uop), field));
  const register64 = (field: number) => load('i64.load', at(field));
  const register32 = (field: number) => load('i32.load', at(field));
  const displacement64 = () => load('i64.load32_s', get(uop), UOP_DISPLACEMENT);
  const displacement32 = () => load('i32.load', get(uop), UOP_DISPLACEMENT);
  const index64 = () => op('i64.shl', register64(UOP_INDEX), load('i64.load8_u', get(uop), UOP_SCALE));
  const index32 = () => op('i32.shl', register32(UOP_INDEX), load('i32.load8_u', get(uop), UOP_SCALE));
  const full = () => op('i64.add', op('i64.add', register64(UOP_BASE), index64()), displacement64());
  const immediate = () => load('i64.load', get(uop), UOP_IMMEDIATE);
  const fromPage = () => op('i64.add', load('i64.load', record, L.RIP_BASE), immediate());
  switch (name) {
    case 'address64':
      return op('i64.add', register64(UOP_BASE), displacement64());
    case 'address64-indexed':
      return full();
    case 'address-absolute':
      return immediate();
    case 'address-rip':
      return fromPage();
    case 'address-rip32':
      return op('i64.and', fromPage(), i64(0xffffffff));
    case 'address32':
      return op('i64.extend_i32_u', op('i32.add', register32(UOP_BASE), displacement32()));
    case 'address32-indexed':
      return op('i64.extend_i32_u', op('i32.add', op('i32.add', register32(UOP_BASE), index32()), displacement32()));
    case 'address-masked':
    case 'address-segmented':
      return op('i64.and', full(), immediate());
    case 'address-add-base': {
      const segment = f.keep(op('i32.shl', load('i32.load8_u', get(uop), UOP_SEGMENT), i32(5)));
      return op('i64.add', get(ea), load('i64.load', op('i32.add', record, segment), L.SEGMENTS));
    }
  }
}
