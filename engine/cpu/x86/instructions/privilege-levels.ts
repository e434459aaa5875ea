import { d, q } from '../../software/wasm/arithmetic.ts';
import { get, type I32, type I64, i32, type Label, load, select } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import { FLAT_CODE32, FLAT_CODE64, FLAT_DATA } from '../system/descriptor.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';

const RCX = 1;
const RDX = 2;
const RSP = 4;
const R11 = 11;
const USER = 3 << L.ATTR_DPL_SHIFT;
/** RFLAGS bits SYSRET takes from R11: all but RF and VM. */
const SYSRET_FLAGS = 0x3c7fd7;
/** What IRET at CPL 0 takes from the stack, besides the arithmetic flags and TF. RF is left out: see Processor. */
const IRET_FLAGS = L.FLAG_DF | L.FLAG_NT | L.FLAG_AC | L.FLAG_ID | L.FLAG_IF | L.FLAG_IOPL | L.FLAG_VIF | L.FLAG_VIP;

/** A descriptor's high word (SDM 3A, 3.4.5). */
const PRESENT = 0x8000;
const SEGMENT = 0x1000;
const CODE = 0x800;
const CONFORMING = 0x400;
const WRITABLE = 0x200;
const ACCESSED = 0x100;
const LONG = 0x200000;
const BIG = 0x400000;
const PAGES = 0x800000;
/** Parts of base and limit in both words. */
const BASE_LOW = 0xffff0000;
const BASE_HIGH = 0xff0000ff;
const LIMIT_HIGH = 0xf0000;

function segmentPlace(index: number): number {
  return L.SEGMENTS + index * L.SEGMENT_SIZE;
}

/** Whether bits 47–63 of an address differ. */
function isNotCanonical(address: I64): I32 {
  return q.gtU(q.add(q.sar(address, 47), 1), 1);
}

function setSegment(b: InstructionBuilder, index: number, selector: I32, base: I32, limit: I32, attributes: I32): void {
  const place = segmentPlace(index);
  b.setField64(place + L.SEGMENT_BASE, q.fromU32(base));
  b.setField32(place + L.SEGMENT_LIMIT, limit);
  b.setField32(place + L.SEGMENT_ATTRIBUTES, attributes);
  b.setField32(place + L.SEGMENT_SELECTOR, selector);
}

/** Loads a segment register from a descriptor's halves. */
function setSegmentFrom(b: InstructionBuilder, index: number, selector: I32, low: I32, high: I32): void {
  // 64-bit code has no base, and flat code 0.
  const base = index === L.SEG_CS ? i32(0) : baseOf(low, high);
  setSegment(b, index, selector, base, limitOf(b, low, high), attributesOf(high));
}

function baseOf(low: I32, high: I32): I32 {
  return d.or(d.or(d.shr(low, 16), d.shl(d.and(high, 0xff), 16)), d.and(high, 0xff000000));
}

function limitOf(b: InstructionBuilder, low: I32, high: I32): I32 {
  const raw = b.keep(d.or(d.and(low, 0xffff), d.and(high, LIMIT_HIGH)));
  return select(d.and(high, PAGES), d.or(d.shl(raw, 12), 0xfff), raw);
}

function attributesOf(high: I32): I32 {
  return d.and(d.shr(high, 8), 0xf0ff);
}

/** Sets RFLAGS from an image whose bits outside `mask` and the arithmetic flags do not count. */
function setFlags(b: InstructionBuilder, image: I32, mask: number): void {
  b.setField32(L.FLAGS_REST, d.or(d.and(image, mask & ~L.FLAGS_ARITHMETIC), 2));
  b.setArithmeticFlags(image);
}

/** From code to code of the same kind at privilege level 0 or 3: MODE and the TLBs in force follow. RFLAGS is set. */
function setLevel(b: InstructionBuilder, level: I32): void {
  const iopl = d.and(d.shr(load('i32.load', get(b.cpu), L.FLAGS_REST), 12), 3);
  const mode = d.and(load('i32.load', get(b.cpu), L.MODE), ~(L.MODE_CPL_MASK | L.MODE_IOPL_OK));
  const allowed = select(d.gtU(level, iopl), i32(0), i32(L.MODE_IOPL_OK));
  b.setField32(L.MODE, d.or(d.or(mode, d.shl(level, L.MODE_CPL_SHIFT)), allowed));
  b.f.callVoid(b.helper('select-tlbs'), get(b.cpu));
}

/** An interrupt waits that IF in `flags` would let in. */
function opensToInterrupt(b: InstructionBuilder, flags: I32): I32 {
  return d.and(d.ne(d.and(flags, L.FLAG_IF), 0), d.ne(load('i32.load', get(b.cpu), L.INTR), 0));
}

function isNotFlat32(b: InstructionBuilder): I32 {
  return d.ne(d.and(b.field32(L.MODE), L.MODE_FLAT32_BITS), L.MODE_FLAT32);
}

/**
 * SYSCALL, SYSRET, IRET and what goes with them, from 64-bit code to 64-bit code; SYSENTER, SYSEXIT and IRET between
 * flat 32-bit code too. Everything else, and all that might fault or be trapped, is left to x86/system, which finds the
 * state as it was.
 */
export function definePrivilegeLevels(table: InstructionTable): void {
  table.define('syscall', '0F 05', { ends: true, system: true }, (b) => {
    const mode = d.and(b.field32(L.MODE), L.MODE_CODE_MASK | L.MODE_SINGLE);
    const enabled = d.and(b.field32(L.EFER), L.EFER_SCE);
    b.f.if(d.or(d.ne(mode, L.MODE_CODE64), d.zero(enabled)), () => b.system('syscall'));
    const flags = b.keep(d.or(d.and(b.field32(L.FLAGS_REST), ~L.FLAG_RF), b.arithmeticFlags()));
    b.setGpr(RCX, b.nextRip(), 8);
    b.setGpr(R11, q.fromU32(flags), 8);
    const masked = b.keep(d.and(flags, d.xor(load('i32.load', get(b.cpu), L.MSR_SFMASK), -1)));
    setFlags(b, masked, -1);
    const selector = b.keep(d.and(load('i32.load16_u', get(b.cpu), L.MSR_STAR + 4), 0xfffc));
    setSegment(b, L.SEG_CS, selector, i32(0), i32(-1), i32(FLAT_CODE64));
    setSegment(b, L.SEG_SS, d.and(d.add(selector, 8), 0xffff), i32(0), i32(-1), i32(FLAT_DATA));
    setLevel(b, i32(0));
    b.jumpTo(b.field64(L.MSR_LSTAR));
  });

  table.define('sysret', '0F 07 : Xv', { ends: true, privileged: true, system: true }, (b) => {
    if (b.size === 8) {
      const mode = d.and(b.field32(L.MODE), L.MODE_CODE_MASK | L.MODE_SINGLE);
      const enabled = d.and(b.field32(L.EFER), L.EFER_SCE);
      const target = b.gpr(RCX, 8) as I64;
      const flags = b.keep(d.and(d.wrap(b.gpr(R11, 8) as I64), SYSRET_FLAGS));
      b.f.block((rare) => {
        b.f.brIf(rare, d.or(d.ne(mode, L.MODE_CODE64), d.zero(enabled)));
        b.f.brIf(rare, isNotCanonical(target));
        b.f.brIf(rare, d.or(d.and(flags, L.FLAG_TF), opensToInterrupt(b, flags)));
        setFlags(b, flags, -1);
        const base = b.keep(load('i32.load16_u', get(b.cpu), L.MSR_STAR + 6));
        const selector = (offset: number) => d.or(d.and(d.add(base, offset), 0xffff), 3);
        setSegment(b, L.SEG_CS, selector(16), i32(0), i32(-1), i32(FLAT_CODE64 | USER));
        setSegment(b, L.SEG_SS, selector(8), i32(0), i32(-1), i32(FLAT_DATA | USER));
        setLevel(b, i32(3));
        b.jumpTo(target);
      });
    }
    b.system('sysret');
  });

  table.define('iret', 'CF : Xv', { ends: true, system: true }, (b) => {
    if (b.size === 8) {
      b.f.block((rare) => iretFromKernel(b, rare));
    } else if (b.size === 4) {
      b.f.block((rare) => iretFromKernel32(b, rare));
    }
    b.system('iret');
  });

  table.define('sysenter', '0F 34', { ends: true, system: true }, (b) => {
    b.f.block((rare) => {
      const selector = b.keep(d.and(load('i32.load16_u', get(b.cpu), L.MSR_SYSENTER_CS), 0xfffc));
      b.f.brIf(rare, d.or(isNotFlat32(b), d.zero(selector)));
      b.f.brIf(rare, d.and(b.field32(L.FLAGS_REST), L.FLAG_TF));
      b.setField32(L.FLAGS_REST, d.and(b.field32(L.FLAGS_REST), ~(L.FLAG_VM | L.FLAG_IF | L.FLAG_RF)));
      setSegment(b, L.SEG_CS, selector, i32(0), i32(-1), i32(FLAT_CODE32));
      setSegment(b, L.SEG_SS, d.and(d.add(selector, 8), 0xffff), i32(0), i32(-1), i32(FLAT_DATA));
      b.setGpr(RSP, load('i64.load32_u', get(b.cpu), L.MSR_SYSENTER_ESP), 8);
      setLevel(b, i32(0));
      b.jumpTo(b.keep(load('i64.load32_u', get(b.cpu), L.MSR_SYSENTER_EIP)));
    });
    b.system('sysenter');
  });

  table.define('sysexit', '0F 35 : Xv', { ends: true, privileged: true, system: true }, (b) => {
    if (b.size === 4) {
      b.f.block((rare) => {
        const base = b.keep(d.and(load('i32.load16_u', get(b.cpu), L.MSR_SYSENTER_CS), 0xfffc));
        b.f.brIf(rare, d.or(isNotFlat32(b), d.zero(base)));
        b.f.brIf(rare, d.and(b.field32(L.FLAGS_REST), L.FLAG_TF));
        const selector = (offset: number) => d.or(d.and(d.add(base, offset), 0xffff), 3);
        setSegment(b, L.SEG_CS, selector(16), i32(0), i32(-1), i32(FLAT_CODE32 | USER));
        setSegment(b, L.SEG_SS, selector(24), i32(0), i32(-1), i32(FLAT_DATA | USER));
        b.setGpr(RSP, load('i64.load32_u', get(b.cpu), L.GPR + RCX * 8), 8);
        setLevel(b, i32(3));
        b.jumpTo(b.keep(load('i64.load32_u', get(b.cpu), L.GPR + RDX * 8)));
      });
    }
    b.system('sysexit');
  });

  table.define('swapgs', '0F 01 =F8 o64', { privileged: true, system: true }, (b) => {
    const base = b.field64(segmentPlace(L.SEG_GS));
    b.setField64(segmentPlace(L.SEG_GS), load('i64.load', get(b.cpu), L.MSR_KERNEL_GS_BASE));
    b.setField64(L.MSR_KERNEL_GS_BASE, base);
  });

  for (const [name, digit, segment, writes] of [
    ['rdfsbase', 0, L.SEG_FS, false],
    ['rdgsbase', 1, L.SEG_GS, false],
    ['wrfsbase', 2, L.SEG_FS, true],
    ['wrgsbase', 3, L.SEG_GS, true],
  ] as const) {
    table.define(name, `F3 0F AE /${digit} reg o64 : Ry`, { system: true }, (b) => {
      const place = segmentPlace(segment);
      b.faultIf(d.zero(d.and(load('i32.load', get(b.cpu), L.CR4), L.CR4_FSGSBASE)), L.VECTOR_UD);
      if (!writes) {
        b.write(0, b.fit(b.field64(place)));
        return;
      }
      const value = b.keep(b.zeroExtend64(b.read(0)));
      if (b.size === 8) {
        b.faultIf(isNotCanonical(value), L.VECTOR_GP, 0);
      }
      b.setField64(place, value);
    });
  }
}

/** IRETQ at CPL 0 to 64-bit code at level 0 or 3, by descriptors of the GDT; branches to `rare` otherwise. */
function iretFromKernel(b: InstructionBuilder, rare: Label): void {
  const { f } = b;
  f.brIf(rare, d.and(b.field32(L.MODE), L.MODE_SINGLE | L.MODE_CPL_MASK));
  f.brIf(rare, d.and(b.field32(L.FLAGS_REST), L.FLAG_NT));
  f.brIf(rare, b.field32(L.NMI_PENDING));
  const rsp = b.gpr(RSP, 8) as I64;
  f.brIf(rare, d.or(isNotCanonical(rsp), isNotCanonical(q.add(rsp, 39))));
  const item = (index: number) => b.loadMemory(q.add(rsp, index * 8), 8) as I64;
  const target = item(0);
  const cs = b.keep(d.and(d.wrap(item(1)), 0xffff));
  const flags = b.keep(d.wrap(item(2)));
  const sp = item(3);
  const ss = b.keep(d.and(d.wrap(item(4)), 0xffff));
  f.brIf(rare, d.or(d.and(flags, L.FLAG_TF), opensToInterrupt(b, flags)));
  f.brIf(rare, isNotCanonical(target));
  const level = b.keep(d.and(cs, 3));
  f.brIf(rare, d.and(d.ne(level, 0), d.ne(level, 3)));
  /** The descriptor of a selector that is not null, for a segment of `level`, if `bits` of its high word are `wanted`. */
  const descriptor = (selector: I32, bits: number, wanted: number) => {
    const { low, high } = readDescriptor(b, selector, rare);
    f.brIf(rare, d.ne(d.and(high, bits), wanted));
    f.brIf(rare, d.ne(d.and(d.shr(high, 13), 3), level));
    return { low, high };
  };
  f.brIf(rare, d.zero(d.and(cs, 0xfffc)));
  const codeBits = PRESENT | SEGMENT | CODE | ACCESSED | LONG;
  const code = descriptor(cs, codeBits | CONFORMING | BIG, codeBits);
  f.if(level, () => leaveIfSegmentsDrop(b, rare));
  f.if(
    ss,
    () => {
      f.brIf(rare, d.or(d.ne(d.and(ss, 3), level), d.zero(d.and(ss, 0xfffc))));
      const stackBits = PRESENT | SEGMENT | WRITABLE | ACCESSED;
      const stack = descriptor(ss, stackBits | CODE, stackBits);
      setSegmentFrom(b, L.SEG_SS, ss, stack.low, stack.high);
    },
    () => {
      f.brIf(rare, level);
      setSegment(b, L.SEG_SS, ss, i32(0), i32(0), i32(L.ATTR_UNUSABLE));
    },
  );
  // Nothing fails from here on.
  setSegmentFrom(b, L.SEG_CS, cs, code.low, code.high);
  b.setField32(L.NMI_BLOCKED, i32(0));
  b.setGpr(RSP, sp, 8);
  setFlags(b, flags, IRET_FLAGS);
  setLevel(b, level);
  b.jumpTo(target);
}

/** The descriptor of a segment from 0 to 4 GiB. */
function isNotWhole(low: I32, high: I32): I32 {
  const base = d.or(d.and(low, BASE_LOW | 0), d.and(high, BASE_HIGH | 0));
  const limit = d.or(d.and(low, 0xffff), d.and(high, LIMIT_HIGH | PAGES));
  return d.or(base, d.ne(limit, 0xffff | LIMIT_HIGH | PAGES));
}

/** Branches to `rare` if data segments would be dropped because level 3 may not use them: not in the usual case. */
function leaveIfSegmentsDrop(b: InstructionBuilder, rare: Label): void {
  for (const index of [L.SEG_ES, L.SEG_DS, L.SEG_FS, L.SEG_GS]) {
    const attributes = b.field32(segmentPlace(index) + L.SEGMENT_ATTRIBUTES);
    b.f.brIf(rare, d.and(d.zero(d.and(attributes, L.ATTR_UNUSABLE)), d.ne(d.and(attributes, USER), USER)));
  }
}

/** Reads a descriptor of the GDT; branches to `rare` for the LDT and beyond the table's end. */
function readDescriptor(b: InstructionBuilder, selector: I32, rare: Label): { low: I32; high: I32 } {
  b.f.brIf(rare, d.or(d.and(selector, 4), d.gtU(d.or(selector, 7), b.field32(L.GDTR + 8))));
  const address = q.add(load('i64.load', get(b.cpu), L.GDTR), q.fromU32(d.and(selector, 0xfff8)));
  const whole = b.loadMemory(address, 8) as I64;
  return { low: b.keep(d.wrap(whole)), high: b.keep(d.wrap(q.shr(whole, 32))) };
}

/** IRET at CPL 0 to flat 32-bit code at level 0 or 3, by descriptors of the GDT; branches to `rare` otherwise. */
function iretFromKernel32(b: InstructionBuilder, rare: Label): void {
  const { f } = b;
  f.brIf(rare, d.or(isNotFlat32(b), d.and(b.field32(L.MODE), L.MODE_CPL_MASK)));
  f.brIf(rare, d.and(b.field32(L.FLAGS_REST), L.FLAG_NT));
  f.brIf(rare, b.field32(L.NMI_PENDING));
  const sp = b.keep(load('i64.load32_u', get(b.cpu), L.GPR + RSP * 8));
  f.brIf(rare, q.gtU(sp, 0xffffffff - 19));
  const item = (index: number) => b.keep(b.loadMemory(q.add(sp, index * 4), 4) as I32);
  const target = item(0);
  const cs = b.keep(d.and(item(1), 0xffff));
  const flags = item(2);
  f.brIf(rare, d.or(d.and(flags, L.FLAG_TF | L.FLAG_VM), opensToInterrupt(b, flags)));
  const level = b.keep(d.and(cs, 3));
  f.brIf(rare, d.and(d.ne(level, 0), d.ne(level, 3)));
  f.brIf(rare, d.zero(d.and(cs, 0xfffc)));
  const code = readDescriptor(b, cs, rare);
  const codeBits = PRESENT | SEGMENT | CODE | WRITABLE | ACCESSED | BIG;
  f.brIf(rare, d.ne(d.and(code.high, codeBits | CONFORMING | LONG), codeBits));
  f.brIf(rare, d.or(isNotWhole(code.low, code.high), d.ne(d.and(d.shr(code.high, 13), 3), level)));
  const newSp = f.local('i64');
  f.set(newSp, q.and(q.add(sp, 12), 0xffffffff));
  f.if(level, () => {
    leaveIfSegmentsDrop(b, rare);
    const outer = item(3);
    const ss = b.keep(d.and(item(4), 0xffff));
    f.brIf(rare, d.or(d.ne(d.and(ss, 3), level), d.zero(d.and(ss, 0xfffc))));
    const stack = readDescriptor(b, ss, rare);
    const stackBits = PRESENT | SEGMENT | WRITABLE | ACCESSED | BIG;
    f.brIf(rare, d.ne(d.and(stack.high, stackBits | CODE | CONFORMING), stackBits));
    f.brIf(rare, d.or(isNotWhole(stack.low, stack.high), d.ne(d.and(d.shr(stack.high, 13), 3), level)));
    setSegmentFrom(b, L.SEG_SS, ss, stack.low, stack.high);
    f.set(newSp, q.fromU32(outer));
  });
  // Nothing fails from here on.
  setSegmentFrom(b, L.SEG_CS, cs, code.low, code.high);
  b.setField32(L.NMI_BLOCKED, i32(0));
  b.setGpr(RSP, get(newSp), 8);
  setFlags(b, flags, IRET_FLAGS);
  setLevel(b, level);
  b.jumpTo(q.fromU32(target));
}

/**
 * Loads DS, ES, FS or GS at level 0 from a writable data segment of the GDT; FS and GS from a null selector too. Branches
 * to `rare` otherwise, and where the kind of addressing would change. `place`: the segment's offset in the record.
 */
export function loadDataSegment(b: InstructionBuilder, place: I32, selector: I32, rare: Label): void {
  const { f } = b;
  const mode = b.field32(L.MODE);
  const wanted = L.MODE_PROTECTED | L.MODE_FLAT;
  f.brIf(rare, d.ne(d.and(mode, wanted | L.MODE_VM86 | L.MODE_CPL_MASK | L.MODE_SINGLE), wanted));
  f.brIf(rare, d.eq(place, segmentPlace(L.SEG_SS)));
  const isFsOrGs = b.keep(d.gtU(place, segmentPlace(L.SEG_FS) - 1));
  const address = b.keep(d.add(get(b.cpu), place));
  const set = (base: I32, limit: I32, attributes: I32) => {
    f.store('i64.store', address, q.fromU32(base), L.SEGMENT_BASE);
    f.store('i32.store', address, limit, L.SEGMENT_LIMIT);
    f.store('i32.store', address, attributes, L.SEGMENT_ATTRIBUTES);
    f.store('i32.store', address, selector, L.SEGMENT_SELECTOR);
  };
  f.if(
    d.zero(d.and(selector, 0xfffc)),
    () => {
      f.brIf(rare, d.zero(isFsOrGs));
      set(i32(0), i32(0), i32(L.ATTR_UNUSABLE));
    },
    () => {
      const { low, high } = readDescriptor(b, selector, rare);
      const bits = PRESENT | SEGMENT | WRITABLE | ACCESSED;
      // CONFORMING is "expand down" in data segments.
      f.brIf(rare, d.ne(d.and(high, bits | CODE | CONFORMING), bits));
      f.brIf(rare, d.gtU(d.and(selector, 3), d.and(d.shr(high, 13), 3)));
      f.brIf(rare, d.and(d.zero(isFsOrGs), d.ne(isNotWhole(low, high), 0)));
      set(baseOf(low, high), limitOf(b, low, high), attributesOf(high));
    },
  );
}
