import * as L from '../layout.ts';

/** System descriptor types (SDM 3A, table 3-2). */
export const TYPE_TSS16 = 1;
export const TYPE_LDT = 2;
export const TYPE_TSS16_BUSY = 3;
export const TYPE_CALL_GATE16 = 4;
export const TYPE_TASK_GATE = 5;
export const TYPE_INTERRUPT_GATE16 = 6;
export const TYPE_TRAP_GATE16 = 7;
/** A 64-bit TSS in long mode. */
export const TYPE_TSS32 = 9;
export const TYPE_TSS32_BUSY = 11;
/** A 64-bit call gate in long mode. */
export const TYPE_CALL_GATE32 = 12;
export const TYPE_INTERRUPT_GATE32 = 14;
export const TYPE_TRAP_GATE32 = 15;
/** The bit that makes an available TSS a busy one. */
export const TYPE_BUSY = 2;

/** Eight bytes of a descriptor table, taken apart (SDM 3A, 3.4.5, and 5.8.3 for gates). */
export class Descriptor {
  /** Linear address of its first byte, for the accessed and busy bits. */
  readonly address: bigint;
  readonly low: number;
  readonly high: number;

  constructor(address: bigint, low: number, high: number) {
    this.address = address;
    this.low = low;
    this.high = high;
  }

  get base(): number {
    return ((this.low >>> 16) | ((this.high & 0xff) << 16) | (this.high & 0xff000000)) >>> 0;
  }

  /** In bytes, inclusive. */
  get limit(): number {
    const raw = (this.low & 0xffff) | (this.high & 0xf0000);
    return (this.high & 0x800000 ? (raw << 12) | 0xfff : raw) >>> 0;
  }

  /** In the form the segment registers keep. */
  get attributes(): number {
    return (this.high >>> 8) & 0xf0ff;
  }

  get type(): number {
    return (this.high >>> 8) & 0xf;
  }

  get dpl(): number {
    return (this.high >>> 13) & 3;
  }

  get present(): boolean {
    return (this.high & 0x8000) !== 0;
  }

  /** A code or data segment, not a system descriptor. */
  get isSegment(): boolean {
    return (this.high & 0x1000) !== 0;
  }

  get isCode(): boolean {
    return (this.high & 0x1800) === 0x1800;
  }

  get isConformingCode(): boolean {
    return (this.high & 0x1c00) === 0x1c00;
  }

  get isWritableData(): boolean {
    return (this.high & 0x1a00) === 0x1200;
  }

  /** A data segment or readable code. */
  get isReadable(): boolean {
    return (this.high & 0x1800) === 0x1000 || (this.high & 0x1a00) === 0x1a00;
  }

  get accessed(): boolean {
    return (this.high & 0x100) !== 0;
  }

  /** CS.L: 64-bit code, in long mode. */
  get isLong(): boolean {
    return (this.high & 0x200000) !== 0;
  }

  get isBig(): boolean {
    return (this.high & 0x400000) !== 0;
  }

  /** A gate's target selector. */
  get gateSelector(): number {
    return this.low >>> 16;
  }

  /** A gate's target offset, bits 0–31. */
  get gateOffset(): number {
    return ((this.low & 0xffff) | (this.high & 0xffff0000)) >>> 0;
  }

  /** Parameters a 16- or 32-bit call gate copies. */
  get gateParameters(): number {
    return this.high & 0x1f;
  }
}

/** Attributes of the segments that SYSCALL and its relatives load without reading a table. */
export const FLAT_CODE64 =
  L.ATTR_GRANULARITY | L.ATTR_LONG | L.ATTR_PRESENT | L.ATTR_S | L.ATTR_CODE | L.ATTR_WRITABLE | L.ATTR_ACCESSED;
export const FLAT_CODE32 =
  L.ATTR_GRANULARITY | L.ATTR_DB | L.ATTR_PRESENT | L.ATTR_S | L.ATTR_CODE | L.ATTR_WRITABLE | L.ATTR_ACCESSED;
export const FLAT_DATA = L.ATTR_GRANULARITY | L.ATTR_DB | L.ATTR_PRESENT | L.ATTR_S | L.ATTR_WRITABLE | L.ATTR_ACCESSED;
/** A real-mode segment: present, writable, accessed data (SDM 3A, table 9-1). */
export const REAL_MODE_DATA = L.ATTR_PRESENT | L.ATTR_S | L.ATTR_WRITABLE | L.ATTR_ACCESSED;
/** A virtual-8086 segment: the same at privilege 3. */
export const VM86_DATA = REAL_MODE_DATA | (3 << L.ATTR_DPL_SHIFT);
