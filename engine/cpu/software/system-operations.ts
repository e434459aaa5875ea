import type { AccessSize } from '../../bus/bus.ts';
import type { CpuBus } from '../cpu-backend.ts';
import type { CpuState } from '../x86/cpu-state.ts';
import * as L from '../x86/layout.ts';
import { GuestFault } from '../x86/linear-memory.ts';
import type { OperandSize } from '../x86/system/core.ts';
import type { System } from '../x86/system/system.ts';
import { x87Operations } from '../x86/x87/operations.ts';
import type { LinearAccess } from './linear-access.ts';
import { UOP_A, UOP_EXTRA, UOP_IMMEDIATE, UOP_SEGMENT } from './micro-op.ts';
import type { Variant } from './variants.ts';

/** Elements that INS and OUTS move before interrupts are looked at. */
const STRING_CHUNK = 1024;

/** The processor as its operations see it. */
export interface OperationHost {
  readonly state: CpuState;
  readonly system: System;
  readonly memory: LinearAccess;
  readonly bus: CpuBus;
  readonly index: number;
  /** Ends the slice in favour of other processors (PAUSE). */
  yieldSlice(): void;
  /** RFLAGS.AC changed outside the system part. */
  accessRightsChanged(): void;
  /** RDX:RAX is what the time-stamp counter says now. */
  timestampRead(): void;
  /** 64 random bits. */
  random(): bigint;
}

/** One call of a system operation: the micro-operation's fields and the shape it was decoded in. */
export class Call {
  readonly host: OperationHost;
  readonly state: CpuState;
  readonly system: System;
  readonly memory: LinearAccess;
  readonly #view: DataView;
  uop = 0;
  variant: Variant = undefined as unknown as Variant;

  constructor(host: OperationHost, arena: ArrayBufferLike) {
    this.host = host;
    this.state = host.state;
    this.system = host.system;
    this.memory = host.memory;
    this.#view = new DataView(arena);
  }

  get size(): OperandSize {
    return this.variant.size as OperandSize;
  }

  isMemory(index: number): boolean {
    return this.variant.operands[index]?.kind === 'memory';
  }

  /** The slot of operand `index`: a register's offset in the record, or a control register's number. */
  slot(index: number): number {
    return this.#view.getUint16(this.uop + UOP_A + index * 2, true);
  }

  /** The first immediate's low 32 bits, unsigned. */
  get immediate(): number {
    return this.#view.getUint32(this.uop + UOP_IMMEDIATE, true);
  }

  get extra(): number {
    return this.#view.getInt32(this.uop + UOP_EXTRA, true);
  }

  get segment(): number {
    return this.#view.getUint8(this.uop + UOP_SEGMENT);
  }

  get address(): bigint {
    return this.state.u64(L.EA);
  }

  /** A value that generated code has put into SCRATCH. */
  get scratch(): number {
    return this.state.u32(L.SCRATCH);
  }

  /** Writes register operand `index` with the instruction's size. */
  setRegister(index: number, value: bigint, size: number = this.size): void {
    const offset = this.slot(index);
    if (size === 8) {
      this.state.setU64(offset, value);
    } else if (size === 4) {
      this.state.setU64(offset, value & 0xffffffffn);
    } else {
      this.state.setU16(offset, Number(value & 0xffffn));
    }
  }

  register(index: number, size: number = this.size): bigint {
    const offset = this.slot(index);
    return size === 8
      ? this.state.u64(offset)
      : size === 4
        ? BigInt(this.state.u32(offset))
        : BigInt(this.state.u16(offset));
  }

  setZero(zero: boolean): void {
    const { flags } = this.state;
    this.state.flags = zero ? flags | L.FLAG_ZF : flags & ~L.FLAG_ZF;
  }

  /** Port number and access width of IN and OUT. */
  port(operand: number): number {
    return this.variant.operands[operand]?.kind === 'immediate' ? this.immediate & 0xff : this.state.gpr16(2);
  }

  /** Mask of the address size of a string instruction. */
  get addressMask(): bigint {
    if (this.variant.addressForm === 'flat64') {
      return 0xffffffffffffffffn;
    }
    const { extra } = this;
    return extra === 0 ? 0xffffffffffffffffn : BigInt(extra >>> 0);
  }

  setAddressRegister(number: number, value: bigint): void {
    const mask = this.addressMask;
    const old = this.state.gpr(number);
    this.state.setGpr(number, mask === 0xffffn ? (old & ~0xffffn) | (value & mask) : value & mask);
  }

  /** Linear address in a segment, with the checks that generated code makes. */
  segmentAddress(index: number, offset: bigint, size: number, write: boolean): bigint {
    const { state } = this;
    const segment = state.segments[index];
    if (segment === undefined) {
      throw new GuestFault(L.VECTOR_UD);
    }
    if ((state.mode & L.MODE_CODE_MASK) === L.MODE_CODE64) {
      return BigInt.asUintN(64, offset + (index >= L.SEG_FS ? segment.base : 0n));
    }
    const { attributes, limit } = segment;
    const last = offset + BigInt(size - 1);
    const isCode = (attributes & L.ATTR_CODE) !== 0;
    const bad =
      segment.unusable ||
      (isCode ? write || (attributes & L.ATTR_WRITABLE) === 0 : write && (attributes & L.ATTR_WRITABLE) === 0) ||
      (!isCode && attributes & L.ATTR_EXPAND_DOWN
        ? offset <= BigInt(limit) || last > (attributes & L.ATTR_DB ? 0xffffffffn : 0xffffn)
        : last > BigInt(limit));
    if (bad) {
      throw new GuestFault(index === L.SEG_SS ? L.VECTOR_SS : L.VECTOR_GP, 0);
    }
    return (segment.base + offset) & 0xffffffffn;
  }

  /** Base of a segment, as linear addresses are formed with it. */
  segmentBase(index: number): bigint {
    const long = (this.state.mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
    return long && index < L.SEG_FS ? 0n : (this.state.segments[index]?.base ?? 0n);
  }

  /** Moves elements between a port and the arena. */
  transfer(input: boolean, port: number, size: AccessSize, at: number, elements: number): void {
    const { bus } = this.host;
    const view = this.#view;
    for (let i = 0; i < elements; i++, at += size) {
      if (input) {
        const value = bus.readPort(port, size);
        if (size === 1) {
          view.setUint8(at, value);
        } else if (size === 2) {
          view.setUint16(at, value, true);
        } else {
          view.setUint32(at, value, true);
        }
      } else {
        const value = size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
        bus.writePort(port, size, value);
      }
    }
  }

  read(address: bigint, size: number): bigint {
    const { memory } = this;
    switch (size) {
      case 1:
        return BigInt(memory.read8(address, 'current'));
      case 2:
        return BigInt(memory.read16(address, 'current'));
      case 4:
        return BigInt(memory.read32(address, 'current'));
      default:
        return memory.read64(address, 'current');
    }
  }
}

/** What an operation may answer besides nothing: repeat the instruction after looking at events. */
export const AGAIN = 'again';
export type Operation = (call: Call) => unknown;

/** Permission for a port access, and the breakpoints on it, which trap after the instruction. */
function checkIo(call: Call, port: number, size: number): void {
  if ((call.state.mode & L.MODE_IOPL_OK) === 0) {
    call.system.checkIo(port, size);
  }
  if (call.state.cr4 & L.CR4_DE) {
    call.system.ioBreakpointHit(port, size);
  }
}

function portSize(size: number): AccessSize {
  return size === 8 ? 4 : (size as AccessSize);
}

/** INS and OUTS: one element, or up to a chunk of RCX elements. */
function portString(call: Call, input: boolean): typeof AGAIN | undefined {
  const { state, host } = call;
  const size = portSize(call.size);
  const port = state.gpr16(2);
  checkIo(call, port, size);
  const mask = call.addressMask;
  const repeated = call.variant.repeat !== 'none';
  const by = state.i32(L.FLAGS_REST) & L.FLAG_DF ? -BigInt(size) : BigInt(size);
  const register = input ? 7 : 6;
  if (repeated && by > 0n && portRun(call, input, size, port, mask, register)) {
    return (state.gpr(1) & mask) === 0n ? undefined : AGAIN;
  }
  for (let i = 0; i < STRING_CHUNK; i++) {
    const count = state.gpr(1) & mask;
    if (repeated && count === 0n) {
      return undefined;
    }
    const offset = state.gpr(register) & mask;
    if (input) {
      const address = call.segmentAddress(L.SEG_ES, offset, size, true);
      call.memory.checkWrite(address, size, 'current');
      const value = host.bus.readPort(port, size);
      if (size === 1) {
        call.memory.write8(address, value, 'current');
      } else if (size === 2) {
        call.memory.write16(address, value, 'current');
      } else {
        call.memory.write32(address, value, 'current');
      }
    } else {
      const address = call.segmentAddress(call.segment, offset, size, false);
      host.bus.writePort(port, size, Number(call.read(address, size)));
    }
    call.setAddressRegister(register, offset + by);
    if (!repeated) {
      return undefined;
    }
    call.setAddressRegister(1, count - 1n);
    if (count === 1n) {
      return undefined;
    }
  }
  return AGAIN;
}

/**
 * The usual case of REP INS and OUTS, a sector between a port and plain memory: all elements up to the end of the page
 * or the chunk at once. Returns false, with nothing done, where it does not apply.
 */
function portRun(call: Call, input: boolean, size: AccessSize, port: number, mask: bigint, register: number): boolean {
  const { state, memory } = call;
  const offset = state.gpr(register) & mask;
  const count = state.gpr(1) & mask;
  const room = Math.floor(
    (4096 - (Number(offset + (call.segmentBase(input ? L.SEG_ES : call.segment) & 0xfffn)) & 4095)) / size,
  );
  const elements = Math.min(STRING_CHUNK, room, count > 4096n ? 4096 : Number(count));
  if (elements < 2 || offset + BigInt(elements * size) > mask) {
    return false;
  }
  let at: number;
  try {
    const address = call.segmentAddress(input ? L.SEG_ES : call.segment, offset, elements * size, input);
    at = memory.plainHost(address, elements * size, input);
  } catch (fault) {
    if (fault instanceof GuestFault) {
      // The elements before the fault are due: one at a time.
      return false;
    }
    throw fault;
  }
  if (at === 0) {
    return false;
  }
  call.transfer(input, port, size, at, elements);
  call.setAddressRegister(register, offset + BigInt(elements * size));
  call.setAddressRegister(1, count - BigInt(elements));
  return true;
}

/** Loads a far pointer operand: selector behind an offset of the operand size. */
function farPointer(call: Call): { selector: number; offset: bigint } {
  const { address, size } = call;
  const offset = call.read(address, size);
  const long = (call.state.mode & L.MODE_LONG) !== 0;
  const behind = address + BigInt(size);
  const selector = Number(call.read(long ? BigInt.asUintN(64, behind) : behind & 0xffffffffn, 2));
  return { selector, offset };
}

function loadFarPointer(segment: number): Operation {
  return (call) => {
    const { selector, offset } = farPointer(call);
    call.system.loadSegment(segment, selector);
    call.setRegister(0, offset);
  };
}

/** Moves the stack pointer within the stack's width. */
function moveStackPointer(state: CpuState, by: number): void {
  const stack = state.mode & L.MODE_STACK_MASK;
  if ((state.mode & L.MODE_CODE_MASK) === L.MODE_CODE64) {
    state.setGpr(4, BigInt.asUintN(64, state.gpr(4) + BigInt(by)));
  } else if (stack === L.MODE_STACK16) {
    state.setGpr16(4, state.gpr16(4) + by);
  } else {
    state.setGpr32(4, state.gpr32(4) + by);
  }
}

function popSegment(segment: number): Operation {
  return (call) => {
    const { state } = call;
    const selector = call.scratch;
    const size = state.u32(L.SCRATCH + 8);
    const before = state.gpr(4);
    // The pointer moves by the width of the stack it was popped from.
    moveStackPointer(state, size);
    try {
      call.system.loadSegment(segment, selector);
    } catch (fault) {
      state.setGpr(4, before);
      throw fault;
    }
    if (segment === L.SEG_SS) {
      state.setI32(L.SHADOW, 1);
    }
  };
}

/** ENTER (SDM 2A): allocates a stack frame, with up to 31 links to outer frames. */
function enter(call: Call): void {
  const { state, memory } = call;
  const { size } = call;
  const allocate = call.immediate & 0xffff;
  const level = call.extra & 31;
  const long = (state.mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
  const mask = long ? 0xffffffffffffffffn : (state.mode & L.MODE_STACK_MASK) === L.MODE_STACK16 ? 0xffffn : 0xffffffffn;
  const step = BigInt(size);
  const store = (pointer: bigint, value: bigint) => {
    const address = call.segmentAddress(L.SEG_SS, pointer & mask, size, true);
    if (size === 2) {
      memory.write16(address, Number(value & 0xffffn), 'current');
    } else if (size === 4) {
      memory.write32(address, Number(value & 0xffffffffn), 'current');
    } else {
      memory.write64(address, value, 'current');
    }
  };
  let pointer = state.gpr(4) - step;
  store(pointer, state.gpr(5));
  const frame = pointer & mask;
  if (level > 0) {
    let outer = state.gpr(5);
    for (let i = 1; i < level; i++) {
      outer -= step;
      pointer -= step;
      store(pointer, call.read(call.segmentAddress(L.SEG_SS, outer & mask, size, false), size));
    }
    pointer -= step;
    store(pointer, frame);
  }
  pointer = (pointer - BigInt(allocate)) & mask;
  // The end of the new frame must be writable (SDM 2A, ENTER).
  memory.checkWrite(call.segmentAddress(L.SEG_SS, pointer, 1, true), 1, 'current');
  if (mask === 0xffffn) {
    state.setGpr16(4, Number(pointer));
  } else {
    state.setGpr(4, pointer);
  }
  if (size === 2) {
    state.setGpr16(5, Number(frame & 0xffffn));
  } else {
    state.setGpr(5, size === 4 ? frame & 0xffffffffn : frame);
  }
}

function bound(call: Call): void {
  const { address, size } = call;
  const bits = size * 8;
  const index = BigInt.asIntN(bits, call.register(0));
  const lower = BigInt.asIntN(bits, call.read(address, size));
  const upper = BigInt.asIntN(bits, call.read((address + BigInt(size)) & 0xffffffffn, size));
  if (index < lower || index > upper) {
    throw new GuestFault(L.VECTOR_BR);
  }
}

/** Stores a 16-bit system value: to memory 16 bits, to a register as wide as the operand. */
function storeWord(call: Call, value: number): void {
  if (call.isMemory(0)) {
    call.memory.write16(call.address, value & 0xffff, 'current');
  } else {
    call.setRegister(0, BigInt(value >>> 0));
  }
}

function setAlignmentFlag(call: Call, set: boolean): void {
  const { state } = call;
  const rest = state.i32(L.FLAGS_REST);
  state.setI32(L.FLAGS_REST, set ? rest | L.FLAG_AC : rest & ~L.FLAG_AC);
  call.host.accessRightsChanged();
}

/** The operations that the instruction table names, by name. */
export const SYSTEM_OPERATIONS: Readonly<Record<string, Operation>> = {
  ...Object.fromEntries(
    Object.entries(x87Operations).map(([name, carryOut]): [string, Operation] => [
      name,
      (call) => carryOut(call.state),
    ]),
  ),
  in: (call) => {
    const size = portSize(call.variant.operands[0]?.size ?? 1);
    const port = call.port(1);
    checkIo(call, port, size);
    const value = call.host.bus.readPort(port, size);
    if (size === 1) {
      call.state.setU8(L.GPR, value);
    } else if (size === 2) {
      call.state.setGpr16(0, value);
    } else {
      call.state.setGpr32(0, value);
    }
  },
  out: (call) => {
    const size = portSize(call.variant.operands[1]?.size ?? 1);
    const port = call.port(0);
    checkIo(call, port, size);
    const value = call.state.gpr32(0);
    call.host.bus.writePort(port, size, size === 4 ? value : value & (size === 1 ? 0xff : 0xffff));
  },
  ins: (call) => portString(call, true),
  outs: (call) => portString(call, false),
  int3: (call) => call.system.int3(),
  int: (call) => call.system.softwareInterrupt(call.immediate & 0xff),
  into: (call) => call.system.into(),
  int1: (call) => call.system.int1(),
  iret: (call) => call.system.iret(call.size),
  'far-call': (call) => call.system.farCall(call.extra & 0xffff, farOffset(call), call.size),
  'far-jump': (call) => call.system.farJump(call.extra & 0xffff, farOffset(call), call.size),
  'far-call-indirect': (call) => {
    const { selector, offset } = farPointer(call);
    call.system.farCall(selector, offset, call.size);
  },
  'far-jump-indirect': (call) => {
    const { selector, offset } = farPointer(call);
    call.system.farJump(selector, offset, call.size);
  },
  'far-return': (call) => {
    const extra = call.variant.operands[0]?.kind === 'immediate' ? call.immediate & 0xffff : 0;
    call.system.farReturn(call.size, extra);
  },
  bound,
  enter,
  hlt: (call) => call.system.hlt(),
  pushf: (call) => call.system.pushf(call.size),
  popf: (call) => call.system.popf(call.size),
  cli: (call) => call.system.cli(),
  sti: (call) => call.system.sti(),
  'mov-to-segment': (call) => {
    const index = (call.slot(0) - L.SEGMENTS) / L.SEGMENT_SIZE;
    call.system.loadSegment(index, call.scratch);
    if (index === L.SEG_SS) {
      call.state.setI32(L.SHADOW, 1);
    }
  },
  [`pop-segment-${L.SEG_ES}`]: popSegment(L.SEG_ES),
  [`pop-segment-${L.SEG_SS}`]: popSegment(L.SEG_SS),
  [`pop-segment-${L.SEG_DS}`]: popSegment(L.SEG_DS),
  [`pop-segment-${L.SEG_FS}`]: popSegment(L.SEG_FS),
  [`pop-segment-${L.SEG_GS}`]: popSegment(L.SEG_GS),
  les: loadFarPointer(L.SEG_ES),
  lds: loadFarPointer(L.SEG_DS),
  lss: loadFarPointer(L.SEG_SS),
  lfs: loadFarPointer(L.SEG_FS),
  lgs: loadFarPointer(L.SEG_GS),
  sldt: (call) => storeWord(call, call.system.sldt()),
  str: (call) => storeWord(call, call.system.str()),
  smsw: (call) => storeWord(call, call.system.smsw()),
  lldt: (call) => call.system.lldt(call.scratch),
  ltr: (call) => call.system.ltr(call.scratch),
  verr: (call) => call.setZero(call.system.verr(call.scratch)),
  verw: (call) => call.setZero(call.system.verw(call.scratch)),
  lar: (call) => {
    const value = call.system.lar(call.scratch);
    if (value !== undefined) {
      call.setRegister(0, BigInt(value >>> 0));
    }
    call.setZero(value !== undefined);
  },
  lsl: (call) => {
    const value = call.system.lsl(call.scratch);
    if (value !== undefined) {
      call.setRegister(0, BigInt(value >>> 0));
    }
    call.setZero(value !== undefined);
  },
  sgdt: (call) => call.system.sgdt(call.address),
  sidt: (call) => call.system.sidt(call.address),
  lgdt: (call) => call.system.lgdt(call.address, call.size),
  lidt: (call) => call.system.lidt(call.address, call.size),
  lmsw: (call) => call.system.lmsw(call.scratch),
  invpcid: (call) => call.system.invpcid(call.register(0), call.address),
  rdtsc: (call) => {
    call.system.rdtsc();
    call.host.timestampRead();
  },
  rdtscp: (call) => {
    call.system.rdtscp();
    call.host.timestampRead();
  },
  rdpmc: (call) => call.system.rdpmc(),
  rdmsr: (call) => call.system.rdmsr(),
  wrmsr: (call) => call.system.wrmsr(),
  cpuid: (call) => call.system.cpuid(),
  xgetbv: (call) => call.system.xgetbv(),
  xsetbv: (call) => call.system.xsetbv(),
  clac: (call) => setAlignmentFlag(call, false),
  stac: (call) => setAlignmentFlag(call, true),
  vmcall: (call) => call.system.hypercall(),
  rsm: () => {
    throw new GuestFault(L.VECTOR_UD);
  },
  clts: (call) => call.system.clts(),
  invd: (call) => call.system.wbinvd(),
  wbinvd: (call) => call.system.wbinvd(),
  'mov-from-control': (call) => call.setRegister(0, call.system.readControl(call.slot(1))),
  'mov-to-control': (call) => call.system.writeControl(call.slot(0), call.register(1)),
  'mov-from-debug': (call) => call.setRegister(0, call.system.readDebug(call.slot(1))),
  'mov-to-debug': (call) => call.system.writeDebug(call.slot(0), call.register(1)),
  syscall: (call) => call.system.syscall(),
  sysret: (call) => call.system.sysret(call.size),
  sysenter: (call) => call.system.sysenter(),
  sysexit: (call) => call.system.sysexit(call.size),
  rdrand: drawRandom,
  rdseed: drawRandom,
  pause: (call) => call.host.yieldSlice(),
};

/** A random number, and CF: there always is one. */
function drawRandom(call: Call): void {
  call.setRegister(0, call.host.random());
  call.state.flags = (call.state.flags & ~L.FLAGS_ARITHMETIC) | L.FLAG_CF;
}

function farOffset(call: Call): bigint {
  return BigInt(call.size === 2 ? call.immediate & 0xffff : call.immediate);
}
