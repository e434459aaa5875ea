import type { AccessSize, MmioHandler } from '../../bus/bus.ts';
import type { Dispi } from './dispi.ts';
import {
  GFX_BIT_MASK,
  GFX_COLOR_COMPARE,
  GFX_COLOR_DONT_CARE,
  GFX_DATA_ROTATE,
  GFX_ENABLE_SET_RESET,
  GFX_MISCELLANEOUS,
  GFX_MODE,
  GFX_READ_MAP_SELECT,
  GFX_SET_RESET,
  GR5_ODD_EVEN,
  GR5_READ_MODE_1,
  SEQ_MAP_MASK,
  SEQ_MEMORY_MODE,
  SR4_CHAIN_4,
  type VgaRegisters,
} from './vga-registers.ts';

export const PAGE_SHIFT = 12;

/** A 4-bit plane mask spread over the four bytes of a word: bit n becomes byte n. */
const SPREAD = new Int32Array(16);
for (let i = 0; i < 16; i++) {
  SPREAD[i] = (i & 1 ? 0xff : 0) | (i & 2 ? 0xff00 : 0) | (i & 4 ? 0xff0000 : 0) | (i & 8 ? 0xff000000 : 0);
}

const LINEAR = 0;
const ODD_EVEN = 1;
const PLANAR = 2;

/**
 * The CPU's view of video memory at 0xA0000–0xBFFFF through the sequencer and the graphics controller.
 *
 * The four planes are interleaved: byte `offset` of plane p is video memory byte `offset * 4 + p`, so that one 32-bit
 * word is what the graphics controller's latches hold. Chained modes are stored packed: chain 4 puts window byte n at
 * video memory byte n, odd/even puts it at plane `n & 1`, offset `n >> 1`. A linear framebuffer and a banked one thus
 * see the same bytes, and the CRT controller counts the same way in byte, word and doubleword mode.
 *
 * The rules for one access are worked out whenever a register changes, so an access only follows them.
 */
export class VgaMemory implements MmioHandler {
  readonly bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #registers: VgaRegisters;
  readonly #dispi: Dispi;
  /** One byte per 4-KiB page: not zero when written through the window since the screen was last looked at. */
  readonly dirty: Uint8Array;
  /** True when any byte of `dirty` may be set. */
  anyDirty = true;
  /** The graphics controller's latches: four planes, plane 0 in the low byte. */
  latches = 0;

  #path = LINEAR;
  /** The part of the 128-KiB window that is decoded. */
  #low = 0;
  #span = 0;
  /** Bytes added to every address by the bank register. */
  #bank = 0;
  #byteMask = 0x3ffff;
  #wordMask = 0xffff;
  /** No plane is masked and data pass through unchanged. */
  #direct = false;
  /** Data pass through the graphics controller unchanged (planes may be masked). */
  #identity = false;
  #planes = 0;
  #writeMode = 0;
  #rotate = 0;
  #logic = 0;
  #bitMask = 0;
  #setReset = 0;
  #enableSetReset = 0;
  #readPlane = 0;
  #compares = false;
  #compare = 0;
  #care = 0;

  constructor(bytes: Uint8Array, registers: VgaRegisters, dispi: Dispi) {
    this.bytes = bytes;
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
    this.#registers = registers;
    this.#dispi = dispi;
    this.dirty = new Uint8Array(bytes.length >>> PAGE_SHIFT).fill(1);
    this.update();
  }

  /** Works out the rules of access from the registers. */
  update(): void {
    const { sequencer, graphics } = this.#registers;
    const dispi = this.#dispi.enabled;
    const packed = dispi && this.#dispi.bitsPerPixel !== 4;
    switch (((graphics[GFX_MISCELLANEOUS] ?? 0) >>> 2) & 3) {
      case 0:
        this.#low = 0;
        this.#span = 0x20000;
        break;
      case 1:
        this.#low = 0;
        this.#span = 0x10000;
        break;
      case 2:
        this.#low = 0x10000;
        this.#span = 0x8000;
        break;
      default:
        this.#low = 0x18000;
        this.#span = 0x8000;
        break;
    }
    this.#bank = dispi ? this.#dispi.bank << 16 : 0;
    // A VGA has 256 KiB; its addresses wrap there.
    this.#byteMask = dispi ? this.bytes.length - 1 : 0x3ffff;
    this.#wordMask = this.#byteMask >>> 2;
    const mode = graphics[GFX_MODE] ?? 0;
    if (dispi) {
      this.#path = packed ? LINEAR : PLANAR;
    } else if (((sequencer[SEQ_MEMORY_MODE] ?? 0) & SR4_CHAIN_4) !== 0) {
      this.#path = LINEAR;
    } else {
      this.#path = (mode & GR5_ODD_EVEN) !== 0 ? ODD_EVEN : PLANAR;
    }
    this.#planes = packed ? 0x0f : (sequencer[SEQ_MAP_MASK] ?? 0);
    this.#writeMode = mode & 3;
    this.#rotate = (graphics[GFX_DATA_ROTATE] ?? 0) & 7;
    this.#logic = ((graphics[GFX_DATA_ROTATE] ?? 0) >>> 3) & 3;
    this.#bitMask = graphics[GFX_BIT_MASK] ?? 0;
    this.#setReset = SPREAD[graphics[GFX_SET_RESET] ?? 0] ?? 0;
    this.#enableSetReset = SPREAD[graphics[GFX_ENABLE_SET_RESET] ?? 0] ?? 0;
    this.#readPlane = graphics[GFX_READ_MAP_SELECT] ?? 0;
    this.#compares = (mode & GR5_READ_MODE_1) !== 0 && !packed;
    this.#compare = SPREAD[graphics[GFX_COLOR_COMPARE] ?? 0] ?? 0;
    this.#care = SPREAD[graphics[GFX_COLOR_DONT_CARE] ?? 0] ?? 0;
    this.#identity =
      packed ||
      (this.#writeMode === 0 &&
        this.#rotate === 0 &&
        this.#logic === 0 &&
        this.#bitMask === 0xff &&
        this.#enableSetReset === 0);
    this.#direct = this.#path === LINEAR && this.#planes === 0x0f && this.#identity;
  }

  /** Says that `length` bytes from `offset` were written by other means. */
  markDirty(offset: number, length: number): void {
    if (length > 0) {
      this.dirty.fill(1, offset >>> PAGE_SHIFT, ((offset + length - 1) >>> PAGE_SHIFT) + 1);
      this.anyDirty = true;
    }
  }

  readMmio(offset: number, size: AccessSize): number {
    if (size === 1) {
      return this.#read(offset);
    }
    let value = this.#read(offset) | (this.#read(offset + 1) << 8);
    if (size === 4) {
      value |= (this.#read(offset + 2) << 16) | (this.#read(offset + 3) << 24);
    }
    return value >>> 0;
  }

  writeMmio(offset: number, size: AccessSize, value: number): void {
    if (size === 1) {
      this.#write(offset, value & 0xff);
      return;
    }
    if (this.#direct && size === 4 && (offset & 3) === 0) {
      const address = offset - this.#low;
      if (address >= 0 && address < this.#span) {
        const index = (address + this.#bank) & this.#byteMask;
        this.#words[index >>> 2] = value;
        this.dirty[index >>> PAGE_SHIFT] = 1;
        this.anyDirty = true;
      }
      return;
    }
    this.#write(offset, value & 0xff);
    this.#write(offset + 1, (value >>> 8) & 0xff);
    if (size === 4) {
      this.#write(offset + 2, (value >>> 16) & 0xff);
      this.#write(offset + 3, value >>> 24);
    }
  }

  #read(offset: number): number {
    let address = offset - this.#low;
    if (address < 0 || address >= this.#span) {
      return 0xff;
    }
    address += this.#bank;
    let word: number;
    let plane: number;
    if (this.#path === LINEAR) {
      address &= this.#byteMask;
      word = address >>> 2;
      plane = address & 3;
    } else if (this.#path === ODD_EVEN) {
      word = (address >>> 1) & this.#wordMask;
      plane = (this.#readPlane & 2) | (address & 1);
    } else {
      word = address & this.#wordMask;
      plane = this.#readPlane;
    }
    const latches = this.#words[word] ?? 0;
    this.latches = latches;
    if (!this.#compares) {
      return (latches >>> (plane * 8)) & 0xff;
    }
    // Read mode 1: a bit is set where every plane that counts has the colour compared with.
    let differs = (latches ^ this.#compare) & this.#care;
    differs |= differs >>> 16;
    differs |= differs >>> 8;
    return ~differs & 0xff;
  }

  #write(offset: number, value: number): void {
    let address = offset - this.#low;
    if (address < 0 || address >= this.#span) {
      return;
    }
    address += this.#bank;
    let word: number;
    let planes = this.#planes;
    if (this.#path === LINEAR) {
      address &= this.#byteMask;
      if (this.#direct) {
        this.bytes[address] = value;
        this.dirty[address >>> PAGE_SHIFT] = 1;
        this.anyDirty = true;
        return;
      }
      word = address >>> 2;
      planes &= 1 << (address & 3);
    } else if (this.#path === ODD_EVEN) {
      word = (address >>> 1) & this.#wordMask;
      planes &= 5 << (address & 1);
    } else {
      word = address & this.#wordMask;
    }
    if (planes === 0) {
      return;
    }
    const mask = SPREAD[planes] ?? 0;
    let data: number;
    if (this.#identity) {
      data = value * 0x01010101;
    } else {
      data = this.#combine(value);
    }
    this.#words[word] = ((this.#words[word] ?? 0) & ~mask) | (data & mask);
    this.dirty[word >>> (PAGE_SHIFT - 2)] = 1;
    this.anyDirty = true;
  }

  /** What the graphics controller makes of a byte from the CPU: one byte for each plane. */
  #combine(value: number): number {
    const latches = this.latches;
    let data: number;
    let bits = this.#bitMask;
    switch (this.#writeMode) {
      case 0:
        data = (((value >>> this.#rotate) | (value << (8 - this.#rotate))) & 0xff) * 0x01010101;
        data = (data & ~this.#enableSetReset) | (this.#setReset & this.#enableSetReset);
        break;
      case 1:
        return latches;
      case 2:
        data = SPREAD[value & 0x0f] ?? 0;
        break;
      default:
        bits &= ((value >>> this.#rotate) | (value << (8 - this.#rotate))) & 0xff;
        data = this.#setReset;
        break;
    }
    switch (this.#logic) {
      case 1:
        data &= latches;
        break;
      case 2:
        data |= latches;
        break;
      case 3:
        data ^= latches;
        break;
      default:
        break;
    }
    const spread = (bits * 0x01010101) | 0;
    return (data & spread) | (latches & ~spread);
  }
}
