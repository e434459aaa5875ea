import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import type { LinearMemory } from '../linear-memory.ts';
import { Descriptor } from './descriptor.ts';
import { generalProtection, stackFault, undefinedOpcode } from './faults.ts';
import { insideSegment, isCanonical, StackFrame } from './stack.ts';
import type { SystemEnvironment } from './system-environment.ts';

/** Operand sizes in bytes. */
export type OperandSize = 2 | 4 | 8;

export const RSP = 4;

const segment = (index: number) => L.SEGMENTS + index * L.SEGMENT_SIZE;
const ES = segment(L.SEG_ES);
const CS = segment(L.SEG_CS);
const SS = segment(L.SEG_SS);
const DS = segment(L.SEG_DS);

/** What all parts of the privileged processor share: modes, flags, descriptor tables, the current stack. */
export class Core {
  readonly state: CpuState;
  readonly memory: LinearMemory;
  readonly environment: SystemEnvironment;
  readonly frame: StackFrame;
  readonly #halves = new DataView(new ArrayBuffer(8));

  constructor(state: CpuState, memory: LinearMemory, environment: SystemEnvironment) {
    this.state = state;
    this.memory = memory;
    this.environment = environment;
    this.frame = new StackFrame(memory);
  }

  // Modes

  get isProtected(): boolean {
    return (this.state.mode & L.MODE_PROTECTED) !== 0;
  }

  get isVm86(): boolean {
    return (this.state.mode & L.MODE_VM86) !== 0;
  }

  /** EFER.LMA. */
  get isLong(): boolean {
    return (this.state.mode & L.MODE_LONG) !== 0;
  }

  /** 64-bit code is running. */
  get isCode64(): boolean {
    return (this.state.mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
  }

  get iopl(): number {
    return (this.state.i32(L.FLAGS_REST) >> 12) & 3;
  }

  /** #GP(0) unless CPL is 0 (always so in real mode, never in virtual-8086 mode). */
  requireSupervisor(): void {
    if (this.state.mode & L.MODE_CPL_MASK) {
      throw generalProtection();
    }
  }

  /** #UD in real and virtual-8086 mode. */
  requireProtected(): void {
    if (!(this.state.mode & L.MODE_PROTECTED)) {
      throw undefinedOpcode();
    }
  }

  require64(): void {
    if (!this.isCode64) {
      throw undefinedOpcode();
    }
  }

  /** Recomputes MODE from the registers; MODE_SINGLE stays. See System.updateMode. */
  updateMode(cpl = this.state.cpl): void {
    const state = this.state;
    const cr0 = state.i32(L.CR0);
    const rest = state.i32(L.FLAGS_REST);
    let mode = state.mode & L.MODE_SINGLE;
    if (!(cr0 & L.CR0_PE)) {
      mode |= L.MODE_IOPL_OK;
    } else if (rest & L.FLAG_VM) {
      // Virtual-8086 I/O always asks the bitmap, and the slow paths of IF know IOPL 3: never IOPL_OK.
      mode |= L.MODE_VM86 | (3 << L.MODE_CPL_SHIFT);
    } else {
      mode |= L.MODE_PROTECTED | (cpl << L.MODE_CPL_SHIFT);
      if (cpl <= ((rest >> 12) & 3)) {
        mode |= L.MODE_IOPL_OK;
      }
    }
    if (cr0 & (L.CR0_EM | L.CR0_TS)) {
      mode |= L.MODE_FPU_TRAP | L.MODE_SSE_TRAP;
    }
    if (cr0 & L.CR0_EM) {
      mode |= L.MODE_EMULATE;
    }
    if (cr0 & L.CR0_TS) {
      mode |= L.MODE_TASK_SWITCHED;
    }
    if (!(state.i32(L.CR4) & L.CR4_OSXSAVE) || (state.i32(L.XCR0) & L.XCR0_AVX_STATE) !== L.XCR0_AVX_STATE) {
      mode |= L.MODE_NO_AVX;
    }
    if (!(state.i32(L.CR4) & L.CR4_OSFXSR)) {
      mode |= L.MODE_SSE_TRAP | L.MODE_NO_FXSR;
    }
    const code = state.i32(CS + L.SEGMENT_ATTRIBUTES);
    const long = (state.i32(L.EFER) & L.EFER_LMA) !== 0;
    if (long) {
      mode |= L.MODE_LONG;
    }
    if (long && code & L.ATTR_LONG) {
      mode |= L.MODE_CODE64 | L.MODE_STACK64 | L.MODE_FLAT;
    } else {
      if (code & L.ATTR_DB) {
        mode |= L.MODE_CODE32;
      }
      const flatStack = this.#isFlatData(SS);
      if (state.i32(SS + L.SEGMENT_ATTRIBUTES) & L.ATTR_DB) {
        mode |= flatStack ? L.MODE_STACK32_FLAT : L.MODE_STACK32;
      }
      if (
        flatStack &&
        this.#isFlatData(DS) &&
        this.#isFlatData(ES) &&
        this.#hasFlatBounds(CS) &&
        (code & (L.ATTR_CODE | L.ATTR_WRITABLE)) !== L.ATTR_CODE
      ) {
        mode |= L.MODE_FLAT;
      }
    }
    state.setI32(L.MODE, mode);
    this.environment.modeChanged();
  }

  #hasFlatBounds(offset: number): boolean {
    const state = this.state;
    return state.i32(offset) === 0 && state.i32(offset + 4) === 0 && state.i32(offset + L.SEGMENT_LIMIT) === -1;
  }

  #isFlatData(offset: number): boolean {
    const relevant = L.ATTR_UNUSABLE | L.ATTR_PRESENT | L.ATTR_CODE | L.ATTR_EXPAND_DOWN | L.ATTR_WRITABLE;
    const attributes = this.state.i32(offset + L.SEGMENT_ATTRIBUTES);
    return (attributes & relevant) === (L.ATTR_PRESENT | L.ATTR_WRITABLE) && this.#hasFlatBounds(offset);
  }

  // Registers

  setRip32(value: number): void {
    this.state.setU32(L.RIP, value);
    this.state.setU32(L.RIP + 4, 0);
  }

  /** Clears bits of RFLAGS outside the arithmetic ones. */
  clearFlags(bits: number): void {
    this.state.setI32(L.FLAGS_REST, this.state.i32(L.FLAGS_REST) & ~bits);
  }

  setSegment(index: number, selector: number, base: number, limit: number, attributes: number): void {
    const state = this.state;
    const offset = segment(index);
    state.setU32(offset, base);
    state.setU32(offset + 4, 0);
    state.setU32(offset + L.SEGMENT_LIMIT, limit);
    state.setU32(offset + L.SEGMENT_ATTRIBUTES, attributes);
    state.setU32(offset + L.SEGMENT_SELECTOR, selector);
  }

  /** Loads a code or data segment whose checks are done; the descriptor's accessed bit must have been set already. */
  setSegmentFrom(index: number, selector: number, descriptor: Descriptor): void {
    this.setSegment(index, selector, descriptor.base, descriptor.limit, descriptor.attributes | L.ATTR_ACCESSED);
  }

  /** Loads CS for privilege level `cpl`. A 64-bit code segment's base counts as 0 (SDM 3A, 3.2.4). */
  setCode(selector: number, cpl: number, descriptor: Descriptor): void {
    this.setSegmentFrom(L.SEG_CS, (selector & 0xfffc) | cpl, descriptor);
    if (descriptor.isLong && this.isLong) {
      this.state.setU32(CS, 0);
    }
  }

  /** Puts a null selector into a segment register. */
  setNull(index: number, selector: number, dpl = 0): void {
    this.setSegment(index, selector, 0, 0, L.ATTR_UNUSABLE | (dpl << L.ATTR_DPL_SHIFT));
  }

  /** Loads a segment register as virtual-8086 mode does (SDM 3B, 20.1.1). */
  setVm86Segment(index: number, selector: number): void {
    this.setSegment(index, selector, selector << 4, 0xffff, L.ATTR_PRESENT | L.ATTR_S | 3 | (3 << L.ATTR_DPL_SHIFT));
  }

  /** Loads a segment register as real mode does: limit and size stay as they are, for the users of "unreal" mode. */
  setRealSegment(index: number, selector: number): void {
    const state = this.state;
    const offset = segment(index);
    const old = state.i32(offset + L.SEGMENT_ATTRIBUTES);
    state.setU32(offset, selector << 4);
    state.setU32(offset + 4, 0);
    state.setU32(offset + L.SEGMENT_SELECTOR, selector);
    state.setU32(
      offset + L.SEGMENT_ATTRIBUTES,
      (old & (L.ATTR_DB | L.ATTR_GRANULARITY)) | L.ATTR_PRESENT | L.ATTR_S | L.ATTR_WRITABLE | L.ATTR_ACCESSED,
    );
    if (old & L.ATTR_UNUSABLE) {
      state.setU32(offset + L.SEGMENT_LIMIT, 0xffff);
    }
  }

  // Tables

  /** Splits a 64-bit value; the other half is then in {@link lastHigh}. */
  lowHalf(value: bigint): number {
    this.#halves.setBigUint64(0, value, true);
    return this.#halves.getUint32(0, true);
  }

  /** Bits 32–63 of the value last given to {@link lowHalf}. */
  get lastHigh(): number {
    return this.#halves.getUint32(4, true);
  }

  /** Linear address `offset` bytes into a table or segment whose base is the 64-bit value at `baseOffset`. */
  addressIn(baseOffset: number, offset: number): bigint {
    const state = this.state;
    if (this.isLong) {
      return BigInt.asUintN(64, state.u64(baseOffset) + BigInt(offset));
    }
    return BigInt((state.u32(baseOffset) + offset) >>> 0);
  }

  readEntry(address: bigint): Descriptor {
    const low = this.lowHalf(this.memory.read64(address, 'supervisor'));
    return new Descriptor(address, low, this.lastHigh);
  }

  /** The descriptor a selector names, or undefined beyond its table's limit. Null selectors are the caller's matter. */
  descriptor(selector: number, length = 8): Descriptor | undefined {
    const state = this.state;
    const offset = selector & 0xfff8;
    if (selector & 4) {
      const ldtr = segment(L.SEG_LDTR);
      if (
        state.i32(ldtr + L.SEGMENT_ATTRIBUTES) & L.ATTR_UNUSABLE ||
        offset + length - 1 > state.u32(ldtr + L.SEGMENT_LIMIT)
      ) {
        return undefined;
      }
      return this.readEntry(this.addressIn(ldtr, offset));
    }
    if (offset + length - 1 > state.u32(L.GDTR + 8)) {
      return undefined;
    }
    return this.readEntry(this.addressIn(L.GDTR, offset));
  }

  /** Writes the accessed bit back to the table, if it was clear. */
  markAccessed(descriptor: Descriptor): void {
    if (!descriptor.accessed) {
      this.memory.write8(descriptor.address + 5n, ((descriptor.high >>> 8) & 0xff) | L.ATTR_ACCESSED, 'supervisor');
    }
  }

  // The current stack

  get stackIs64(): boolean {
    return (this.state.mode & L.MODE_STACK_MASK) === L.MODE_STACK64;
  }

  /** Opens {@link frame} on the current stack. */
  openFrame(size: number, count: number): void {
    const state = this.state;
    if (this.stackIs64) {
      this.frame.open64(state.gpr(RSP), size, count, 'current', 0);
    } else {
      this.frame.open(
        state.u32(SS),
        state.u32(SS + L.SEGMENT_LIMIT),
        state.i32(SS + L.SEGMENT_ATTRIBUTES),
        state.gpr32(RSP),
        size,
        count,
        'current',
        0,
      );
    }
  }

  /** Moves the stack pointer to where {@link frame} ends. */
  closeFrame(): void {
    if (this.stackIs64) {
      this.state.setGpr(RSP, this.frame.pointer64);
    } else {
      this.setStackPointer(this.frame.pointer);
    }
  }

  /** Writes SP or ESP, as the stack segment in force says. */
  setStackPointer(value: number): void {
    if (this.state.i32(SS + L.SEGMENT_ATTRIBUTES) & L.ATTR_DB) {
      this.state.setGpr32(RSP, value);
    } else {
      this.state.setGpr16(RSP, value & 0xffff);
    }
  }

  /** The linear address of `size` bytes, `displacement` above the top of the current stack. #SS(0) beyond its limit. */
  stackAddress(displacement: number, size: number): bigint {
    const state = this.state;
    if (this.stackIs64) {
      const address = BigInt.asUintN(64, state.gpr(RSP) + BigInt(displacement));
      if (!isCanonical(address)) {
        throw stackFault();
      }
      return address;
    }
    const attributes = state.i32(SS + L.SEGMENT_ATTRIBUTES);
    const mask = attributes & L.ATTR_DB ? 0xffffffff : 0xffff;
    const offset = ((state.gpr32(RSP) + displacement) & mask) >>> 0;
    if (!insideSegment(attributes, state.u32(SS + L.SEGMENT_LIMIT), offset, size)) {
      throw stackFault();
    }
    return BigInt((state.u32(SS) + offset) >>> 0);
  }

  /** Item `index` from the top of the current stack, or the low half of it, without popping. */
  peek(index: number, size: OperandSize): number {
    const address = this.stackAddress(index * size, size);
    return size === 2 ? this.memory.read16(address, 'current') : this.memory.read32(address, 'current');
  }

  /** The same with all 64 bits. */
  peekWide(index: number, size: OperandSize): bigint {
    return size === 8 ? this.memory.read64(this.stackAddress(index * 8, 8), 'current') : BigInt(this.peek(index, size));
  }

  /** Pops `bytes` from the current stack. */
  drop(bytes: number): void {
    const state = this.state;
    if (this.stackIs64) {
      state.setGpr(RSP, BigInt.asUintN(64, state.gpr(RSP) + BigInt(bytes)));
    } else {
      this.setStackPointer((state.gpr32(RSP) + bytes) >>> 0);
    }
  }
}
