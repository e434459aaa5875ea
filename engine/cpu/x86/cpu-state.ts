import { AUX_AF, AUX_CF, AUX_PARITY_SHIFT, AUX_PO, AUX_SD } from './flags.ts';
import * as L from './layout.ts';

/** A segment register (or LDTR, TR) inside a processor's record. */
export class Segment {
  readonly #cpu: CpuState;
  readonly #offset: number;

  constructor(cpu: CpuState, index: number) {
    this.#cpu = cpu;
    this.#offset = L.SEGMENTS + index * L.SEGMENT_SIZE;
  }

  get base(): bigint {
    return this.#cpu.u64(this.#offset + L.SEGMENT_BASE);
  }
  set base(value: bigint) {
    this.#cpu.setU64(this.#offset + L.SEGMENT_BASE, value);
  }
  /** Bytes, inclusive. */
  get limit(): number {
    return this.#cpu.u32(this.#offset + L.SEGMENT_LIMIT);
  }
  set limit(value: number) {
    this.#cpu.setU32(this.#offset + L.SEGMENT_LIMIT, value);
  }
  get attributes(): number {
    return this.#cpu.u32(this.#offset + L.SEGMENT_ATTRIBUTES);
  }
  set attributes(value: number) {
    this.#cpu.setU32(this.#offset + L.SEGMENT_ATTRIBUTES, value);
  }
  get selector(): number {
    return this.#cpu.u32(this.#offset + L.SEGMENT_SELECTOR);
  }
  set selector(value: number) {
    this.#cpu.setU32(this.#offset + L.SEGMENT_SELECTOR, value);
  }
  get dpl(): number {
    return (this.attributes >> L.ATTR_DPL_SHIFT) & 3;
  }
  get unusable(): boolean {
    return (this.attributes & L.ATTR_UNUSABLE) !== 0;
  }

  assign(selector: number, base: bigint, limit: number, attributes: number): void {
    this.selector = selector;
    this.base = base;
    this.limit = limit;
    this.attributes = attributes;
  }
}

/** Typed access to one processor's record in the arena (offsets in layout.ts). 64-bit values are unsigned BigInts. */
export class CpuState {
  /** Byte address of the record in the arena. */
  readonly base: number;
  readonly index: number;
  readonly #view: DataView;
  readonly segments: readonly Segment[];
  readonly es: Segment;
  readonly cs: Segment;
  readonly ss: Segment;
  readonly ds: Segment;
  readonly fs: Segment;
  readonly gs: Segment;
  readonly ldtr: Segment;
  readonly tr: Segment;

  constructor(arena: ArrayBufferLike, base: number, index: number) {
    this.base = base;
    this.index = index;
    this.#view = new DataView(arena, base, L.CPU_STATE_SIZE);
    const make = (segment: number) => new Segment(this, segment);
    this.es = make(L.SEG_ES);
    this.cs = make(L.SEG_CS);
    this.ss = make(L.SEG_SS);
    this.ds = make(L.SEG_DS);
    this.fs = make(L.SEG_FS);
    this.gs = make(L.SEG_GS);
    this.ldtr = make(L.SEG_LDTR);
    this.tr = make(L.SEG_TR);
    this.segments = [this.es, this.cs, this.ss, this.ds, this.fs, this.gs, this.ldtr, this.tr];
  }

  u8(offset: number): number {
    return this.#view.getUint8(offset);
  }
  setU8(offset: number, value: number): void {
    this.#view.setUint8(offset, value);
  }
  u16(offset: number): number {
    return this.#view.getUint16(offset, true);
  }
  setU16(offset: number, value: number): void {
    this.#view.setUint16(offset, value, true);
  }
  u32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }
  setU32(offset: number, value: number): void {
    this.#view.setUint32(offset, value, true);
  }
  i32(offset: number): number {
    return this.#view.getInt32(offset, true);
  }
  setI32(offset: number, value: number): void {
    this.#view.setInt32(offset, value, true);
  }
  u64(offset: number): bigint {
    return this.#view.getBigUint64(offset, true);
  }
  setU64(offset: number, value: bigint): void {
    this.#view.setBigUint64(offset, value, true);
  }

  gpr(index: number): bigint {
    return this.u64(L.GPR + index * 8);
  }
  setGpr(index: number, value: bigint): void {
    this.setU64(L.GPR + index * 8, value);
  }
  /** The low 32 bits of a general register. */
  gpr32(index: number): number {
    return this.u32(L.GPR + index * 8);
  }
  /** Writes 32 bits and clears the upper half, as a 32-bit instruction does. */
  setGpr32(index: number, value: number): void {
    this.setU32(L.GPR + index * 8, value);
    this.setU32(L.GPR + index * 8 + 4, 0);
  }
  gpr16(index: number): number {
    return this.u16(L.GPR + index * 8);
  }
  setGpr16(index: number, value: number): void {
    this.setU16(L.GPR + index * 8, value);
  }

  get rip(): bigint {
    return this.u64(L.RIP);
  }
  set rip(value: bigint) {
    this.setU64(L.RIP, value);
  }
  get mode(): number {
    return this.i32(L.MODE);
  }
  get cpl(): number {
    return (this.mode & L.MODE_CPL_MASK) >> L.MODE_CPL_SHIFT;
  }

  /** Everything of RFLAGS (32 bits are defined). */
  get flags(): number {
    const low = this.i32(L.LF_RES);
    const high = this.i32(L.LF_RES + 4);
    const aux = this.i32(L.LF_AUX);
    let parity = (low ^ (aux >> AUX_PARITY_SHIFT)) & 0xff;
    parity ^= parity >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return (
      this.i32(L.FLAGS_REST) |
      (aux >>> 31) |
      (parity & 1 ? 0 : L.FLAG_PF) |
      (aux & AUX_AF ? L.FLAG_AF : 0) |
      ((low | high) === 0 ? L.FLAG_ZF : 0) |
      ((high >>> 31) ^ (aux & AUX_SD) ? L.FLAG_SF : 0) |
      (((aux ^ (aux << 1)) >>> 31) << 11)
    );
  }
  set flags(value: number) {
    const rest = (value & ~L.FLAGS_ARITHMETIC & 0x3f7fd5) | 2;
    this.setI32(L.FLAGS_REST, rest);
    const zero = (value & L.FLAG_ZF) !== 0;
    this.setI32(L.LF_RES, zero ? 0 : 1);
    this.setI32(L.LF_RES + 4, 0);
    const carry = (value & L.FLAG_CF) !== 0;
    const overflow = (value & L.FLAG_OF) !== 0;
    // The result's own parity is even for 0 and odd for 1; the parity byte corrects it.
    const parityEven = (value & L.FLAG_PF) !== 0;
    this.setI32(
      L.LF_AUX,
      (carry ? AUX_CF : 0) |
        (carry !== overflow ? AUX_PO : 0) |
        (value & L.FLAG_AF ? AUX_AF : 0) |
        (value & L.FLAG_SF ? AUX_SD : 0) |
        (zero === parityEven ? 0 : 1 << AUX_PARITY_SHIFT),
    );
  }

  get cr0(): number {
    return this.i32(L.CR0);
  }
  get cr3(): bigint {
    return this.u64(L.CR3);
  }
  get cr4(): number {
    return this.i32(L.CR4);
  }
  get efer(): number {
    return this.i32(L.EFER);
  }
  get longMode(): boolean {
    return (this.efer & L.EFER_LMA) !== 0;
  }
}
