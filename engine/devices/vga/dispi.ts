import {
  CRTC_HORIZONTAL_DISPLAY_END,
  CRTC_LINE_COMPARE,
  CRTC_MAXIMUM_SCAN_LINE,
  CRTC_MODE,
  CRTC_OFFSET,
  CRTC_OVERFLOW,
  CRTC_VERTICAL_DISPLAY_END,
  GFX_MISCELLANEOUS,
  GFX_MODE,
  type VgaRegisters,
} from './vga-registers.ts';

/**
 * The Bochs display interface: ten 16-bit registers that set a packed or planar mode of any size, behind ports
 * 0x1CE (index) and 0x1CF (data), and in the memory window of the PCI device.
 */
export const DISPI_ID = 0;
export const DISPI_XRES = 1;
export const DISPI_YRES = 2;
export const DISPI_BPP = 3;
export const DISPI_ENABLE = 4;
export const DISPI_BANK = 5;
export const DISPI_VIRT_WIDTH = 6;
export const DISPI_VIRT_HEIGHT = 7;
export const DISPI_X_OFFSET = 8;
export const DISPI_Y_OFFSET = 9;
/** Read-only: video memory in units of 64 KiB. */
export const DISPI_VIDEO_MEMORY_64K = 10;
export const DISPI_REGISTERS = 10;

export const DISPI_ID0 = 0xb0c0;
export const DISPI_ID5 = 0xb0c5;
export const DISPI_DISABLED = 0x00;
export const DISPI_ENABLED = 0x01;
/** While set, the resolution registers read as the largest values possible. */
export const DISPI_GETCAPS = 0x02;
export const DISPI_8BIT_DAC = 0x20;
export const DISPI_LFB_ENABLED = 0x40;
/** Enabling does not clear video memory. */
export const DISPI_NOCLEARMEM = 0x80;

export const DISPI_MAX_XRES = 16000;
export const DISPI_MAX_YRES = 12000;
export const DISPI_MAX_BPP = 32;

export interface DispiHooks {
  /** Registers that shape the picture or the memory window have changed. */
  changed(): void;
  /** A mode was enabled that wants the first `bytes` bytes of video memory cleared. */
  clear(bytes: number): void;
}

export class Dispi {
  readonly registers = new Uint16Array(DISPI_REGISTERS);
  index = 0;
  /** Bytes from one line to the next, valid while enabled. */
  strideBytes = 0;
  /** Video memory offset of the first pixel shown, in bytes, valid while enabled. */
  startByte = 0;
  readonly #memoryBytes: number;
  readonly #hooks: DispiHooks;

  constructor(memoryBytes: number, hooks: DispiHooks) {
    this.#memoryBytes = memoryBytes;
    this.#hooks = hooks;
    this.registers[DISPI_ID] = DISPI_ID5;
  }

  reset(): void {
    this.registers.fill(0);
    this.registers[DISPI_ID] = DISPI_ID5;
    this.index = 0;
    this.strideBytes = 0;
    this.startByte = 0;
  }

  get enabled(): boolean {
    return (this.#get(DISPI_ENABLE) & DISPI_ENABLED) !== 0;
  }

  get width(): number {
    return this.#get(DISPI_XRES);
  }

  get height(): number {
    return this.#get(DISPI_YRES);
  }

  get bitsPerPixel(): number {
    return this.#get(DISPI_BPP);
  }

  get bank(): number {
    return this.#get(DISPI_BANK);
  }

  get dac8Bit(): boolean {
    return (this.#get(DISPI_ENABLE) & DISPI_8BIT_DAC) !== 0;
  }

  #get(index: number): number {
    return this.registers[index] ?? 0;
  }

  read(index: number): number {
    if (index === DISPI_VIDEO_MEMORY_64K) {
      return this.#memoryBytes >>> 16;
    }
    if ((this.#get(DISPI_ENABLE) & DISPI_GETCAPS) !== 0) {
      switch (index) {
        case DISPI_XRES:
          return DISPI_MAX_XRES;
        case DISPI_YRES:
          return DISPI_MAX_YRES;
        case DISPI_BPP:
          return DISPI_MAX_BPP;
        default:
          break;
      }
    }
    return this.#get(index);
  }

  write(index: number, value: number): void {
    const registers = this.registers;
    switch (index) {
      case DISPI_ID:
        // A guest asks for an older interface by writing its number.
        if (value >= DISPI_ID0 && value <= DISPI_ID5) {
          registers[DISPI_ID] = value;
        }
        break;
      case DISPI_XRES:
      case DISPI_YRES:
      case DISPI_BPP:
      case DISPI_VIRT_WIDTH:
      case DISPI_X_OFFSET:
      case DISPI_Y_OFFSET:
        registers[index] = value;
        this.normalize();
        this.#hooks.changed();
        break;
      case DISPI_BANK:
        registers[DISPI_BANK] = value & ((this.#memoryBytes >>> 16) - 1);
        this.#hooks.changed();
        break;
      case DISPI_ENABLE:
        this.#writeEnable(value);
        break;
      default:
        break; // VIRT_HEIGHT follows from the width; others do not exist
    }
  }

  #writeEnable(value: number): void {
    const registers = this.registers;
    if ((value & DISPI_ENABLED) !== 0 && !this.enabled) {
      registers[DISPI_VIRT_WIDTH] = 0;
      registers[DISPI_X_OFFSET] = 0;
      registers[DISPI_Y_OFFSET] = 0;
      registers[DISPI_ENABLE] = value;
      this.normalize();
      if ((value & DISPI_NOCLEARMEM) === 0) {
        this.#hooks.clear(this.height * this.strideBytes);
      }
    } else {
      registers[DISPI_BANK] = 0;
      registers[DISPI_ENABLE] = value;
    }
    this.#hooks.changed();
  }

  /** Brings the registers of an enabled mode into what the memory allows, and derives stride and start from them. */
  normalize(): void {
    if (!this.enabled) {
      return;
    }
    const registers = this.registers;
    let bits = this.bitsPerPixel;
    if (bits === 15) {
      bits = 16;
    } else if (bits !== 4 && bits !== 8 && bits !== 16 && bits !== 24 && bits !== 32) {
      bits = 8;
      registers[DISPI_BPP] = 8;
    }
    const width = Math.min(Math.max(this.width & ~7, 8), DISPI_MAX_XRES);
    registers[DISPI_XRES] = width;
    const virtualWidth = Math.max(width, Math.min(this.#get(DISPI_VIRT_WIDTH) & ~7, DISPI_MAX_XRES));
    registers[DISPI_VIRT_WIDTH] = virtualWidth;
    const stride = (virtualWidth * bits) / 8;
    const virtualHeight = Math.floor(this.#memoryBytes / stride);
    const height = Math.min(Math.max(this.height, 1), DISPI_MAX_YRES, virtualHeight);
    registers[DISPI_YRES] = height;
    // The picture must lie inside the memory: an offset that pushes it out is dropped, the vertical one first.
    let x = Math.min(this.#get(DISPI_X_OFFSET), DISPI_MAX_XRES);
    let y = Math.min(this.#get(DISPI_Y_OFFSET), DISPI_MAX_YRES);
    const offset = () => Math.floor((x * bits) / 8) + y * stride;
    if (offset() + height * stride > this.#memoryBytes) {
      y = 0;
      if (offset() + height * stride > this.#memoryBytes) {
        x = 0;
      }
    }
    registers[DISPI_X_OFFSET] = x;
    registers[DISPI_Y_OFFSET] = y;
    registers[DISPI_VIRT_HEIGHT] = virtualHeight;
    this.strideBytes = stride;
    this.startByte = offset();
  }

  /** While a mode is enabled, the VGA registers that would contradict it are held at values that fit it. */
  imposeOn(vga: VgaRegisters): void {
    if (!this.enabled) {
      return;
    }
    const { crtc, graphics } = vga;
    const planar = this.bitsPerPixel === 4;
    // Graphics, with the memory window at 0xA0000–0xAFFFF.
    graphics[GFX_MISCELLANEOUS] = ((graphics[GFX_MISCELLANEOUS] ?? 0) & ~0x0c) | 0x05;
    graphics[GFX_MODE] = ((graphics[GFX_MODE] ?? 0) & ~0x60) | (planar ? 0 : 0x40);
    crtc[CRTC_MODE] = (crtc[CRTC_MODE] ?? 0) | 3;
    crtc[CRTC_OFFSET] = this.strideBytes >>> 3;
    crtc[CRTC_HORIZONTAL_DISPLAY_END] = (this.width >>> 3) - 1;
    const last = this.height - 1;
    crtc[CRTC_VERTICAL_DISPLAY_END] = last;
    // Line compare is at its end, so that the screen is not split.
    crtc[CRTC_LINE_COMPARE] = 0xff;
    crtc[CRTC_OVERFLOW] = ((crtc[CRTC_OVERFLOW] ?? 0) & ~0x42) | ((last >>> 7) & 0x02) | ((last >>> 3) & 0x40) | 0x10;
    crtc[CRTC_MAXIMUM_SCAN_LINE] = ((crtc[CRTC_MAXIMUM_SCAN_LINE] ?? 0) & ~0x9f) | 0x40;
  }
}
