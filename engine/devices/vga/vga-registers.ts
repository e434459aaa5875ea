/**
 * The register file of an IBM VGA: general registers, sequencer, CRT controller, graphics controller, attribute
 * controller and DAC, behind ports 0x3B0–0x3DF (IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem").
 */

// Sequencer, index at 0x3C4.
export const SEQ_RESET = 0;
export const SEQ_CLOCKING_MODE = 1;
export const SEQ_MAP_MASK = 2;
export const SEQ_CHARACTER_MAP_SELECT = 3;
export const SEQ_MEMORY_MODE = 4;
/** Clocking mode: characters are 8 dots wide rather than 9. */
export const SR1_8_DOTS = 1 << 0;
/** Clocking mode: the dot clock is halved (modes of 320 and 360 dots). */
export const SR1_DOT_CLOCK_HALF = 1 << 3;
export const SR1_SCREEN_OFF = 1 << 5;
export const SR4_CHAIN_4 = 1 << 3;

// CRT controller, index at 0x3B4 or 0x3D4.
export const CRTC_HORIZONTAL_TOTAL = 0x00;
export const CRTC_HORIZONTAL_DISPLAY_END = 0x01;
export const CRTC_VERTICAL_TOTAL = 0x06;
export const CRTC_OVERFLOW = 0x07;
export const CRTC_PRESET_ROW_SCAN = 0x08;
export const CRTC_MAXIMUM_SCAN_LINE = 0x09;
export const CRTC_CURSOR_START = 0x0a;
export const CRTC_CURSOR_END = 0x0b;
export const CRTC_START_HIGH = 0x0c;
export const CRTC_START_LOW = 0x0d;
export const CRTC_CURSOR_HIGH = 0x0e;
export const CRTC_CURSOR_LOW = 0x0f;
export const CRTC_VERTICAL_RETRACE_START = 0x10;
export const CRTC_VERTICAL_RETRACE_END = 0x11;
export const CRTC_VERTICAL_DISPLAY_END = 0x12;
export const CRTC_OFFSET = 0x13;
export const CRTC_UNDERLINE = 0x14;
export const CRTC_MODE = 0x17;
export const CRTC_LINE_COMPARE = 0x18;
/** Vertical retrace end: registers 0–7 are read-only, save for the line compare bit in the overflow register. */
export const CR11_PROTECT = 1 << 7;
export const CR14_DOUBLEWORD = 1 << 6;
export const CR17_MAP13 = 1 << 0;
export const CR17_MAP14 = 1 << 1;
export const CR17_VERTICAL_HALF = 1 << 2;
export const CR17_BYTE_MODE = 1 << 6;

// Graphics controller, index at 0x3CE.
export const GFX_SET_RESET = 0;
export const GFX_ENABLE_SET_RESET = 1;
export const GFX_COLOR_COMPARE = 2;
export const GFX_DATA_ROTATE = 3;
export const GFX_READ_MAP_SELECT = 4;
export const GFX_MODE = 5;
export const GFX_MISCELLANEOUS = 6;
export const GFX_COLOR_DONT_CARE = 7;
export const GFX_BIT_MASK = 8;
export const GR5_READ_MODE_1 = 1 << 3;
export const GR5_ODD_EVEN = 1 << 4;
export const GR5_SHIFT_INTERLEAVE = 1 << 5;
export const GR5_SHIFT_256 = 1 << 6;
export const GR6_GRAPHICS = 1 << 0;

// Attribute controller, index and data at 0x3C0.
export const ATTR_MODE = 0x10;
export const ATTR_OVERSCAN = 0x11;
export const ATTR_COLOR_PLANE_ENABLE = 0x12;
export const ATTR_PEL_PANNING = 0x13;
export const ATTR_COLOR_SELECT = 0x14;
export const AR10_LINE_GRAPHICS = 1 << 2;
export const AR10_BLINK = 1 << 3;
export const AR10_PANNING_COMPATIBILITY = 1 << 5;
export const AR10_P54_SELECT = 1 << 7;
/** Palette address source: the palette belongs to the display; while clear the screen is blank. */
export const ATTR_INDEX_PAS = 1 << 5;

// Miscellaneous output.
export const MISC_COLOR = 1 << 0;

// Input status 1.
export const ST01_DISPLAY_DISABLED = 1 << 0;
export const ST01_VERTICAL_RETRACE = 1 << 3;

const SEQUENCER_MASK = Uint8Array.of(0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0xff);
const GRAPHICS_MASK = Uint8Array.of(0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff, 0, 0, 0, 0, 0, 0, 0);
const ATTRIBUTE_MASK = new Uint8Array(32);
ATTRIBUTE_MASK.fill(0x3f, 0, 0x10);
ATTRIBUTE_MASK.set([0xef, 0xff, 0x3f, 0x0f, 0x0f], ATTR_MODE);

export class VgaRegisters {
  miscellaneousOutput = 0;
  featureControl = 0;
  sequencerIndex = 0;
  readonly sequencer = new Uint8Array(8);
  crtcIndex = 0;
  readonly crtc = new Uint8Array(256);
  graphicsIndex = 0;
  readonly graphics = new Uint8Array(16);
  attributeIndex = 0;
  /** False: the next write to 0x3C0 is an index. Reading input status 1 makes it so. */
  attributeFlipFlop = false;
  readonly attribute = new Uint8Array(32);
  pelMask = 0xff;
  /** As the guest wrote them: 6 or 8 significant bits, red, green and blue of entry 0, then of entry 1, … */
  readonly dac = new Uint8Array(768);
  dacReadIndex = 0;
  dacWriteIndex = 0;
  /** 0 after a write of the write index, 3 after one of the read index: what 0x3C7 returns. */
  dacState = 0;
  dacComponent = 0;
  readonly dacLatch = new Uint8Array(3);
  /** Set by the Bochs extension: all eight bits of a component count. */
  dac8Bit = false;

  /** Grows with every change that moves or reshapes the picture. */
  displayVersion = 1;
  /** Grows with every change of colours. */
  paletteVersion = 1;
  /** Called after a write to the sequencer or the graphics controller changed how memory accesses work. */
  onMemoryChange: () => void = () => {};
  /** Called after every write to the CRT controller or the graphics controller. */
  onModeWrite: () => void = () => {};
  readonly #inputStatus1: () => number;

  /** `inputStatus1` gives the display enable and vertical retrace bits of this moment. */
  constructor(inputStatus1: () => number) {
    this.#inputStatus1 = inputStatus1;
  }

  reset(): void {
    this.miscellaneousOutput = 0;
    this.featureControl = 0;
    this.sequencerIndex = 0;
    this.sequencer.fill(0);
    this.crtcIndex = 0;
    this.crtc.fill(0);
    this.graphicsIndex = 0;
    this.graphics.fill(0);
    this.attributeIndex = 0;
    this.attributeFlipFlop = false;
    this.attribute.fill(0);
    this.pelMask = 0xff;
    this.dac.fill(0);
    this.dacReadIndex = 0;
    this.dacWriteIndex = 0;
    this.dacState = 0;
    this.dacComponent = 0;
    this.dacLatch.fill(0);
    this.dac8Bit = false;
    this.changed();
  }

  /** Everything may be different now. */
  changed(): void {
    this.displayVersion++;
    this.paletteVersion++;
    this.onMemoryChange();
  }

  /** Takes over the saved contents of the indexed registers, as far as a guest could have written them. */
  loadMasked(sequencer: Uint8Array, graphics: Uint8Array, attribute: Uint8Array): void {
    this.sequencer.set(sequencer.map((value, index) => value & (SEQUENCER_MASK[index] ?? 0)));
    this.graphics.set(graphics.map((value, index) => value & (GRAPHICS_MASK[index] ?? 0)));
    this.attribute.set(attribute.map((value, index) => value & (ATTRIBUTE_MASK[index] ?? 0)));
  }

  /** Ports 0x3Bx exist only in monochrome addressing, 0x3Dx only in colour addressing (misc output, bit 0). */
  #decoded(port: number): boolean {
    const bank = port & 0xf0;
    return bank === 0xc0 || bank === ((this.miscellaneousOutput & MISC_COLOR) !== 0 ? 0xd0 : 0xb0);
  }

  /** Reads one byte; `port` is 0x3B0–0x3DF. */
  read(port: number): number {
    if (!this.#decoded(port)) {
      return 0xff;
    }
    switch (port) {
      case 0x3c0:
        return this.attributeFlipFlop ? 0 : this.attributeIndex;
      case 0x3c1:
        return this.attribute[this.attributeIndex & 0x1f] ?? 0;
      case 0x3c4:
        return this.sequencerIndex;
      case 0x3c5:
        return this.sequencer[this.sequencerIndex] ?? 0;
      case 0x3c6:
        return this.pelMask;
      case 0x3c7:
        return this.dacState;
      case 0x3c8:
        return this.dacWriteIndex;
      case 0x3c9:
        return this.#readDac();
      case 0x3ca:
        return this.featureControl;
      case 0x3cc:
        return this.miscellaneousOutput;
      case 0x3ce:
        return this.graphicsIndex;
      case 0x3cf:
        return this.graphics[this.graphicsIndex] ?? 0;
      case 0x3b4:
      case 0x3d4:
        return this.crtcIndex;
      case 0x3b5:
      case 0x3d5:
        return this.crtc[this.crtcIndex] ?? 0;
      case 0x3ba:
      case 0x3da:
        this.attributeFlipFlop = false;
        return this.#inputStatus1();
      default:
        // Input status 0 (0x3C2) and the unused ports of the always decoded group read as zero.
        return (port & 0xf0) === 0xc0 ? 0 : 0xff;
    }
  }

  /** Writes one byte; `port` is 0x3B0–0x3DF. */
  write(port: number, value: number): void {
    if (!this.#decoded(port)) {
      return;
    }
    switch (port) {
      case 0x3c0:
        this.#writeAttribute(value);
        break;
      case 0x3c2:
        if (this.miscellaneousOutput !== value) {
          this.miscellaneousOutput = value;
          this.displayVersion++;
        }
        break;
      case 0x3c4:
        this.sequencerIndex = value & 7;
        break;
      case 0x3c5:
        this.#writeSequencer(this.sequencerIndex, value);
        break;
      case 0x3c6:
        if (this.pelMask !== value) {
          this.pelMask = value;
          this.paletteVersion++;
        }
        break;
      case 0x3c7:
        this.dacReadIndex = value;
        this.dacComponent = 0;
        this.dacState = 3;
        break;
      case 0x3c8:
        this.dacWriteIndex = value;
        this.dacComponent = 0;
        this.dacState = 0;
        break;
      case 0x3c9:
        this.#writeDac(value);
        break;
      case 0x3ce:
        this.graphicsIndex = value & 0x0f;
        break;
      case 0x3cf:
        this.#writeGraphics(this.graphicsIndex, value);
        break;
      case 0x3b4:
      case 0x3d4:
        this.crtcIndex = value;
        break;
      case 0x3b5:
      case 0x3d5:
        this.#writeCrtc(this.crtcIndex, value);
        break;
      case 0x3ba:
      case 0x3da:
        this.featureControl = value & 0x10;
        break;
      default:
        break;
    }
  }

  #writeAttribute(value: number): void {
    if (!this.attributeFlipFlop) {
      const index = value & 0x3f;
      if (((index ^ this.attributeIndex) & ATTR_INDEX_PAS) !== 0) {
        this.displayVersion++;
      }
      this.attributeIndex = index;
      this.attributeFlipFlop = true;
      return;
    }
    this.attributeFlipFlop = false;
    const index = this.attributeIndex & 0x1f;
    const masked = value & (ATTRIBUTE_MASK[index] ?? 0);
    if (this.attribute[index] !== masked) {
      this.attribute[index] = masked;
      this.paletteVersion++;
      if (index === ATTR_MODE || index === ATTR_PEL_PANNING) {
        this.displayVersion++;
      }
    }
  }

  #writeSequencer(index: number, value: number): void {
    const masked = value & (SEQUENCER_MASK[index] ?? 0);
    if (this.sequencer[index] === masked) {
      return;
    }
    this.sequencer[index] = masked;
    if (index === SEQ_CLOCKING_MODE || index === SEQ_CHARACTER_MAP_SELECT) {
      this.displayVersion++;
    } else {
      this.onMemoryChange();
    }
  }

  #writeGraphics(index: number, value: number): void {
    const masked = value & (GRAPHICS_MASK[index] ?? 0);
    if (this.graphics[index] === masked) {
      return;
    }
    this.graphics[index] = masked;
    if (index === GFX_MODE || index === GFX_MISCELLANEOUS) {
      this.displayVersion++;
      this.onModeWrite();
    }
    this.onMemoryChange();
  }

  #writeCrtc(index: number, value: number): void {
    let masked = value;
    if (index <= CRTC_OVERFLOW && ((this.crtc[CRTC_VERTICAL_RETRACE_END] ?? 0) & CR11_PROTECT) !== 0) {
      if (index !== CRTC_OVERFLOW) {
        return;
      }
      masked = ((this.crtc[index] ?? 0) & ~0x10) | (value & 0x10);
    }
    if (this.crtc[index] === masked) {
      return;
    }
    this.crtc[index] = masked;
    if (
      index >= CRTC_CURSOR_START &&
      index <= CRTC_CURSOR_LOW &&
      index !== CRTC_START_HIGH &&
      index !== CRTC_START_LOW
    ) {
      return; // the cursor is compared cell by cell
    }
    if (index <= CRTC_LINE_COMPARE) {
      this.displayVersion++;
      this.onModeWrite();
    }
  }

  #readDac(): number {
    const value = this.dac[this.dacReadIndex * 3 + this.dacComponent] ?? 0;
    if (++this.dacComponent === 3) {
      this.dacComponent = 0;
      this.dacReadIndex = (this.dacReadIndex + 1) & 0xff;
    }
    return value;
  }

  #writeDac(value: number): void {
    this.dacLatch[this.dacComponent] = value;
    if (++this.dacComponent < 3) {
      return;
    }
    // An entry changes as a whole, with its third component.
    this.dacComponent = 0;
    const base = this.dacWriteIndex * 3;
    for (let i = 0; i < 3; i++) {
      if (this.dac[base + i] !== this.dacLatch[i]) {
        this.dac[base + i] = this.dacLatch[i] ?? 0;
        this.paletteVersion++;
      }
    }
    this.dacWriteIndex = (this.dacWriteIndex + 1) & 0xff;
  }

  /** Line compare in scan lines, from its three registers. */
  get lineCompare(): number {
    const crtc = this.crtc;
    return (
      (crtc[CRTC_LINE_COMPARE] ?? 0) |
      (((crtc[CRTC_OVERFLOW] ?? 0) & 0x10) << 4) |
      (((crtc[CRTC_MAXIMUM_SCAN_LINE] ?? 0) & 0x40) << 3)
    );
  }

  /** Displayed scan lines minus one. */
  get verticalDisplayEnd(): number {
    const overflow = this.crtc[CRTC_OVERFLOW] ?? 0;
    return (this.crtc[CRTC_VERTICAL_DISPLAY_END] ?? 0) | ((overflow & 0x02) << 7) | ((overflow & 0x40) << 3);
  }

  /** All scan lines minus two. */
  get verticalTotal(): number {
    const overflow = this.crtc[CRTC_OVERFLOW] ?? 0;
    return (this.crtc[CRTC_VERTICAL_TOTAL] ?? 0) | ((overflow & 0x01) << 8) | ((overflow & 0x20) << 4);
  }

  get verticalRetraceStart(): number {
    const overflow = this.crtc[CRTC_OVERFLOW] ?? 0;
    return (this.crtc[CRTC_VERTICAL_RETRACE_START] ?? 0) | ((overflow & 0x04) << 6) | ((overflow & 0x80) << 2);
  }
}
