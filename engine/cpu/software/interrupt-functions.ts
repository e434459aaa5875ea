import { AUX_AF, AUX_PARITY_SHIFT, AUX_SD } from '../x86/flags.ts';
import * as L from '../x86/layout.ts';
import { DTLB_SUPERVISOR, DTLB_SUPERVISOR_USER } from './arena-layout.ts';
import { type TlbFunctions, tlbsOf } from './tlb-functions.ts';
import { d, q } from './wasm/arithmetic.ts';
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
  select,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';

const RSP = L.GPR + 4 * 8;
const CS = L.SEGMENTS + L.SEG_CS * L.SEGMENT_SIZE;
const SS = L.SEGMENTS + L.SEG_SS * L.SEGMENT_SIZE;
const TR = L.SEGMENTS + L.SEG_TR * L.SEGMENT_SIZE;
/** RFLAGS bits that every handler starts without. */
const CLEARED = L.FLAG_TF | L.FLAG_NT | L.FLAG_RF | L.FLAG_VM;

/** High word of a gate or descriptor (SDM 3A, 3.4.5 and 6.14.1). */
const PRESENT = 0x8000;
const GATE_TYPE = 0x1f00;
const INTERRUPT_GATE = 0xe00;
const TRAP_GATE = 0xf00;
const GATE_IST = 7;
const CODE_BITS = 0x1800;
const CONFORMING = 0x400;
const READABLE = 0x200;
const SEGMENT_BIT = 0x1000;
const WRITABLE_DATA = 0x200;
/** Free for the system's use. */
const AVAILABLE = 0x100000;
const ACCESSED = 0x100;
const LEVEL = 0x6000;
const LONG = 0x200000;
const BIG = 0x400000;
const PAGES = 0x800000;
/** Offsets in a 64-bit TSS: RSP0, and IST0 if there were one. */
const TSS_RSP0 = 4;
const TSS_IST = 28;

/** Offset of ESP0 in a 32-bit TSS; behind it stands SS0. */
const TSS32_ESP0 = 4;
/** Types of TSS descriptors, of which the busy 32-bit one is in use. */
const BUSY_TSS32 = 0xb;

/** How `deliver` is called: an error code goes with the exception; RF is pushed set, as for faults. */
const WITH_ERROR = 1;
const WITH_RF = 2;

export interface InterruptFunctions {
  /** (cpu, vector) → 1 when the external interrupt was delivered, 0 when nothing has happened. */
  readonly deliverInterrupt: FunctionReference;
  /** (cpu) → 1 when the page fault in FAULT was delivered and FAULT cleared, 0 when nothing has happened. */
  readonly deliverFault: FunctionReference;
}

/**
 * Interrupts and page faults through a gate to level 0, of 64-bit code to 64-bit code (SDM 3A, 6.14) and of flat 32-bit
 * code to such code (6.12): what kernels see all the time. Whatever is not in order, or not in plain memory, is left to x86/system.
 */
export function buildInterrupts(
  module: ModuleBuilder,
  lookUpTlb: FunctionReference,
  tlb: TlbFunctions,
): InterruptFunctions {
  const deliverType = { params: ['i32', 'i32', 'i32', 'i32'], results: ['i32'] } as const;
  /** (cpu, vector, error code, WITH_*) → 1, or 0 with nothing changed. */
  const deliver = module.function('deliver', deliverType, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const mode = f.keep(load('i32.load', cpu, L.MODE));
    const is64 = f.keep(d.eq(d.and(mode, L.MODE_CODE_MASK | L.MODE_SINGLE), L.MODE_CODE64));
    f.if(d.and(d.zero(is64), d.ne(d.and(mode, L.MODE_FLAT32_BITS), L.MODE_FLAT32)), () => f.return(i32(0)));
    const table = f.keep(load('i32.load', cpu, L.DTLB));
    const user = f.keep(d.and(mode, L.MODE_CPL_MASK));
    f.if(user, () => {
      // Tables and the new stack are reached as the supervisor reaches them.
      const restrained = d.and(load('i32.load', cpu, L.CR4), L.CR4_SMAP);
      const supervisor = select(restrained, i32(DTLB_SUPERVISOR), i32(DTLB_SUPERVISOR_USER));
      f.store('i32.store', cpu, d.add(tlbsOf(cpu), supervisor), L.DTLB);
    });
    f.block((rare) => {
      f.if(
        is64,
        () => buildDelivery(f, rare, user, lookUpTlb, tlb),
        () => buildDelivery32(f, rare, user, lookUpTlb, tlb),
      );
    });
    f.store('i32.store', cpu, table, L.DTLB);
    f.return(i32(0));
    f.unreachable();
  });

  const deliverInterrupt = module.function('deliverInterrupt', { params: ['i32', 'i32'], results: ['i32'] }, (f) => {
    f.return(f.call(deliver, get(f.parameter(0, 'i32')), get(f.parameter(1, 'i32')), i32(0), i32(0)));
    f.unreachable();
  });
  const deliverFault = module.function('deliverFault', { params: ['i32'], results: ['i32'] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const pageFault = L.FAULT_PENDING | L.FAULT_HAS_ERROR | L.VECTOR_PF;
    f.if(d.ne(load('i32.load', cpu, L.FAULT), pageFault), () => f.return(i32(0)));
    const code = load('i32.load', cpu, L.FAULT_ERROR);
    const delivered = f.call(deliver, cpu, i32(L.VECTOR_PF), code, i32(WITH_ERROR | WITH_RF)) as I32;
    f.if(d.zero(delivered), () => f.return(i32(0)));
    f.store('i64.store', cpu, load('i64.load', cpu, L.FAULT_ADDRESS), L.CR2);
    f.store('i32.store', cpu, i32(0), L.FAULT);
    f.return(i32(1));
    f.unreachable();
  });
  return { deliverInterrupt, deliverFault };
}

/** RFLAGS as they are pushed. */
function flagsImage(f: FunctionBuilder, cpu: I32): I32 {
  const aux = f.keep(load('i32.load', cpu, L.LF_AUX));
  const result = f.keep(load('i64.load', cpu, L.LF_RES));
  const byte = d.and(d.xor(d.wrap(result), d.shr(aux, AUX_PARITY_SHIFT)), 0xff);
  const odd = d.and(d.popcnt(byte), 1);
  const sign = d.xor(d.wrap(q.shr(result, 63)), d.and(aux, AUX_SD));
  const overflow = d.shr(d.xor(aux, d.shl(aux, 1)), 31);
  return f.keep(
    [
      d.shr(aux, 31),
      d.shl(d.xor(odd, 1), 2),
      d.shl(d.and(aux, AUX_AF), 1),
      d.shl(q.zero(result), 6),
      d.shl(sign, 7),
      d.shl(overflow, 11),
    ].reduce((flags, one) => d.or(flags, one), load('i32.load', cpu, L.FLAGS_REST)),
  );
}

function isNotCanonical(address: I64): I32 {
  return q.gtU(q.add(q.sar(address, 47), 1), 1);
}

/** Arena addresses of plain memory that is read (0) or written (1); anything else branches to `rare`. */
function hostIn(f: FunctionBuilder, rare: Label, lookUpTlb: FunctionReference) {
  const cpu = get(f.parameter(0, 'i32'));
  return (address: I64, write: number, size: number | I32): I32 => {
    const bytes = typeof size === 'number' ? i32(size) : size;
    const place = f.keep(f.call(lookUpTlb, cpu, address, i32(write), bytes) as I32);
    f.brIf(rare, d.zero(place));
    return place;
  };
}

/** The body of `deliver`: returns 1 from the function, or branches to `rare` before anything has changed. */
function buildDelivery(
  f: FunctionBuilder,
  rare: Label,
  user: I32,
  lookUpTlb: FunctionReference,
  tlb: TlbFunctions,
): void {
  const cpu = get(f.parameter(0, 'i32'));
  const vector = get(f.parameter(1, 'i32'));
  const error = get(f.parameter(2, 'i32'));
  const how = get(f.parameter(3, 'i32'));
  const host = hostIn(f, rare, lookUpTlb);
  const field64 = (offset: number) => load('i64.load', cpu, offset);

  const gateOffset = f.keep(d.shl(vector, 4));
  f.brIf(rare, d.gtU(d.add(gateOffset, 15), load('i32.load', cpu, L.IDTR + 8)));
  const gate = host(q.add(field64(L.IDTR), q.fromU32(gateOffset)), 0, 16);
  const gateLow = f.keep(load('i32.load', gate));
  const gateHigh = f.keep(load('i32.load', gate, 4));
  const type = f.keep(d.and(gateHigh, GATE_TYPE | PRESENT));
  f.brIf(rare, d.and(d.ne(type, INTERRUPT_GATE | PRESENT), d.ne(type, TRAP_GATE | PRESENT)));
  const targetLow = d.or(d.and(gateLow, 0xffff), d.and(gateHigh, 0xffff0000));
  const target = f.keep(q.or(q.fromU32(targetLow), q.shl(load('i64.load32_u', gate, 8), 32)));
  f.brIf(rare, isNotCanonical(target));

  const selector = f.keep(d.and(d.shr(gateLow, 16), 0xfffc));
  f.brIf(rare, d.or(d.zero(selector), d.and(selector, 4)));
  f.brIf(rare, d.gtU(d.or(selector, 7), load('i32.load', cpu, L.GDTR + 8)));
  const code = host(q.add(field64(L.GDTR), q.fromU32(selector)), 0, 8);
  const codeLow = f.keep(load('i32.load', code));
  const codeHigh = f.keep(load('i32.load', code, 4));
  const checked = PRESENT | CODE_BITS | CONFORMING | ACCESSED | LEVEL | LONG | BIG;
  f.brIf(rare, d.ne(d.and(codeHigh, checked), PRESENT | CODE_BITS | ACCESSED | LONG));

  // The stack: by IST, of level 0 when coming from an outer one, or the present one.
  const rsp = f.keep(field64(RSP));
  const stack = f.local('i64');
  f.set(stack, rsp);
  const ist = f.keep(d.and(gateHigh, GATE_IST));
  f.if(d.or(ist, user), () => {
    const slot = f.keep(select(ist, d.add(d.shl(ist, 3), TSS_IST), i32(TSS_RSP0)));
    f.brIf(rare, d.gtU(d.add(slot, 7), load('i32.load', cpu, TR + L.SEGMENT_LIMIT)));
    f.set(stack, load('i64.load', host(q.add(field64(TR), q.fromU32(slot)), 0, 8)));
  });
  const top = f.keep(q.and(get(stack), -16));
  const size = f.keep(select(d.and(how, WITH_ERROR), i32(48), i32(40)));
  const bottom = f.keep(q.sub(top, q.fromU32(size)));
  f.brIf(rare, d.or(isNotCanonical(bottom), isNotCanonical(q.sub(top, 1))));
  const frame = f.keep(d.add(host(bottom, 1, size), d.sub(size, 40)));

  // Nothing fails from here on.
  f.if(d.and(how, WITH_ERROR), () => f.store('i64.store', d.sub(frame, 8), q.fromU32(error)));
  const flags = flagsImage(f, cpu);
  f.store('i64.store', frame, field64(L.RIP));
  f.store('i64.store', frame, load('i64.load32_u', cpu, CS + L.SEGMENT_SELECTOR), 8);
  const pushed = d.or(flags, select(d.and(how, WITH_RF), i32(L.FLAG_RF), i32(0)));
  f.store('i64.store', frame, q.fromU32(pushed), 16);
  f.store('i64.store', frame, rsp, 24);
  f.store('i64.store', frame, load('i64.load32_u', cpu, SS + L.SEGMENT_SELECTOR), 32);
  const setSegment = (place: number, selected: I32, limit: I32, attributes: I32) => {
    f.store('i64.store', cpu, i64(0), place + L.SEGMENT_BASE);
    f.store('i32.store', cpu, limit, place + L.SEGMENT_LIMIT);
    f.store('i32.store', cpu, attributes, place + L.SEGMENT_ATTRIBUTES);
    f.store('i32.store', cpu, selected, place + L.SEGMENT_SELECTOR);
  };
  f.if(user, () => setSegment(SS, i32(0), i32(0), i32(L.ATTR_UNUSABLE)));
  const raw = f.keep(d.or(d.and(codeLow, 0xffff), d.and(codeHigh, 0xf0000)));
  const limit = select(d.and(codeHigh, PAGES), d.or(d.shl(raw, 12), 0xfff), raw);
  setSegment(CS, selector, limit, d.and(d.shr(codeHigh, 8), 0xf0ff));
  f.store('i64.store', cpu, bottom, RSP);
  f.store('i64.store', cpu, target, L.RIP);
  const cleared = select(d.eq(type, INTERRUPT_GATE | PRESENT), i32(~(CLEARED | L.FLAG_IF)), i32(~CLEARED));
  f.store('i32.store', cpu, d.and(load('i32.load', cpu, L.FLAGS_REST), cleared), L.FLAGS_REST);
  const mode = d.and(load('i32.load', cpu, L.MODE), ~L.MODE_CPL_MASK);
  f.store('i32.store', cpu, d.or(mode, L.MODE_IOPL_OK), L.MODE);
  f.store('i32.store', cpu, i32(0), L.SHADOW);
  f.store('i32.store', cpu, i32(L.ACTIVITY_RUNNING), L.ACTIVITY);
  f.callVoid(tlb.selectTlbs, cpu);
  f.return(i32(1));
}

/** The same between flat 32-bit code, with frames of 32-bit words. */
function buildDelivery32(
  f: FunctionBuilder,
  rare: Label,
  user: I32,
  lookUpTlb: FunctionReference,
  tlb: TlbFunctions,
): void {
  const cpu = get(f.parameter(0, 'i32'));
  const vector = get(f.parameter(1, 'i32'));
  const error = get(f.parameter(2, 'i32'));
  const how = get(f.parameter(3, 'i32'));
  const host = hostIn(f, rare, lookUpTlb);
  const field = (offset: number) => load('i32.load', cpu, offset);
  const inTable = (table: number, offset: I32) =>
    q.and(q.add(load('i64.load', cpu, table), q.fromU32(offset)), 0xffffffff);
  /** The flat segment of level 0 that a selector names in the GDT; `bits` are wanted of its high word. */
  const flatSegment = (selector: I32, bits: number) => {
    f.brIf(rare, d.or(d.zero(d.and(selector, 0xfffc)), d.and(selector, 4)));
    f.brIf(rare, d.gtU(d.or(selector, 7), field(L.GDTR + 8)));
    const place = host(inTable(L.GDTR, d.and(selector, 0xfff8)), 0, 8);
    const low = f.keep(load('i32.load', place));
    const high = f.keep(load('i32.load', place, 4));
    const base = PRESENT | ACCESSED | BIG | PAGES | 0xf0000;
    f.brIf(rare, d.ne(low, 0xffff));
    f.brIf(rare, d.ne(d.and(high, ~AVAILABLE), base | bits));
    return high;
  };

  const gateOffset = f.keep(d.shl(vector, 3));
  f.brIf(rare, d.gtU(d.add(gateOffset, 7), field(L.IDTR + 8)));
  const gate = host(inTable(L.IDTR, gateOffset), 0, 8);
  const gateLow = f.keep(load('i32.load', gate));
  const gateHigh = f.keep(load('i32.load', gate, 4));
  const type = f.keep(d.and(gateHigh, GATE_TYPE | PRESENT));
  f.brIf(rare, d.and(d.ne(type, INTERRUPT_GATE | PRESENT), d.ne(type, TRAP_GATE | PRESENT)));
  const target = f.keep(d.or(d.and(gateLow, 0xffff), d.and(gateHigh, 0xffff0000 | 0)));
  const selector = f.keep(d.and(d.shr(gateLow, 16), 0xfffc));
  const codeHigh = flatSegment(selector, CODE_BITS | READABLE);

  // The stack: of level 0 when coming from an outer one, or the present one.
  const esp = f.keep(field(RSP));
  const stack = f.local('i32');
  const stackSelector = f.local('i32');
  const stackHigh = f.local('i32');
  const size = f.local('i32');
  f.set(stack, esp);
  f.set(size, select(d.and(how, WITH_ERROR), i32(16), i32(12)));
  f.if(user, () => {
    f.brIf(rare, d.ne(d.and(field(TR + L.SEGMENT_ATTRIBUTES), 0x1f), BUSY_TSS32));
    f.brIf(rare, d.gtU(i32(TSS32_ESP0 + 5), field(TR + L.SEGMENT_LIMIT)));
    const inner = host(inTable(TR, i32(TSS32_ESP0)), 0, 8);
    f.set(stack, load('i32.load', inner));
    f.set(stackSelector, load('i32.load16_u', inner, 4));
    f.brIf(rare, d.and(get(stackSelector), 3));
    f.set(stackHigh, flatSegment(get(stackSelector), SEGMENT_BIT | WRITABLE_DATA));
    f.set(size, d.add(get(size), 8));
  });
  const bottom = f.keep(d.sub(get(stack), get(size)));
  f.brIf(rare, d.gtU(bottom, get(stack)));
  const frame = host(q.fromU32(bottom), 1, get(size));

  // Nothing fails from here on.
  const at = f.local('i32');
  f.set(at, frame);
  const put = (value: I32) => {
    f.store('i32.store', get(at), value);
    f.set(at, d.add(get(at), 4));
  };
  f.if(d.and(how, WITH_ERROR), () => put(error));
  put(field(L.RIP));
  put(field(CS + L.SEGMENT_SELECTOR));
  put(d.or(flagsImage(f, cpu), select(d.and(how, WITH_RF), i32(L.FLAG_RF), i32(0))));
  const setSegment = (place: number, selected: I32, high: I32) => {
    f.store('i64.store', cpu, i64(0), place + L.SEGMENT_BASE);
    f.store('i32.store', cpu, i32(-1), place + L.SEGMENT_LIMIT);
    f.store('i32.store', cpu, d.and(d.shr(high, 8), 0xf0ff), place + L.SEGMENT_ATTRIBUTES);
    f.store('i32.store', cpu, selected, place + L.SEGMENT_SELECTOR);
  };
  f.if(user, () => {
    put(esp);
    put(field(SS + L.SEGMENT_SELECTOR));
    setSegment(SS, get(stackSelector), get(stackHigh));
  });
  setSegment(CS, selector, codeHigh);
  f.store('i64.store', cpu, q.fromU32(bottom), RSP);
  f.store('i64.store', cpu, q.fromU32(target), L.RIP);
  const cleared = select(d.eq(type, INTERRUPT_GATE | PRESENT), i32(~(CLEARED | L.FLAG_IF)), i32(~CLEARED));
  f.store('i32.store', cpu, d.and(field(L.FLAGS_REST), cleared), L.FLAGS_REST);
  f.store('i32.store', cpu, d.or(d.and(field(L.MODE), ~L.MODE_CPL_MASK), L.MODE_IOPL_OK), L.MODE);
  f.store('i32.store', cpu, i32(0), L.SHADOW);
  f.store('i32.store', cpu, i32(L.ACTIVITY_RUNNING), L.ACTIVITY);
  f.callVoid(tlb.selectTlbs, cpu);
  f.return(i32(1));
}
