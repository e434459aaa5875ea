import type { Dispi } from './dispi.ts';
import {
  AR10_PANNING_COMPATIBILITY,
  ATTR_INDEX_PAS,
  ATTR_MODE,
  ATTR_PEL_PANNING,
  CR14_DOUBLEWORD,
  CR17_BYTE_MODE,
  CR17_MAP13,
  CR17_MAP14,
  CR17_VERTICAL_HALF,
  CRTC_HORIZONTAL_DISPLAY_END,
  CRTC_MAXIMUM_SCAN_LINE,
  CRTC_MODE,
  CRTC_OFFSET,
  CRTC_PRESET_ROW_SCAN,
  CRTC_START_HIGH,
  CRTC_START_LOW,
  CRTC_UNDERLINE,
  GFX_MISCELLANEOUS,
  GFX_MODE,
  GR5_SHIFT_256,
  GR5_SHIFT_INTERLEAVE,
  GR6_GRAPHICS,
  SEQ_CHARACTER_MAP_SELECT,
  SEQ_CLOCKING_MODE,
  SR1_8_DOTS,
  SR1_DOT_CLOCK_HALF,
  SR1_SCREEN_OFF,
  type VgaRegisters,
} from './vga-registers.ts';

/**
 * How video memory becomes pixels:
 * blank — black; text — characters; planar — one bit of each plane a pixel; interleaved — the CGA's two bits a pixel;
 * packed256 — a byte a pixel through the VGA's own shift registers; linear — a Bochs mode of 8 bits or more.
 */
export type ModeKind = 'blank' | 'text' | 'planar' | 'interleaved' | 'packed256' | 'linear';

const FALLBACK_WIDTH = 720;
const FALLBACK_HEIGHT = 400;

/**
 * The present mode as the renderers want it: its size in pixels (dots and scan lines as a monitor gets them, so
 * 320 × 200 is 640 × 400), and for every scan line where in video memory it begins.
 */
export class DisplayMode {
  kind: ModeKind = 'blank';
  width = FALLBACK_WIDTH;
  height = FALLBACK_HEIGHT;
  /** Addresses wrap here: bytes of video memory that the mode sees, minus one. */
  addressMask = 0x3ffff;
  /** By scan line: the video memory byte it starts at. */
  lineAddress = new Int32Array(2048);
  /** By scan line: its row within a character or a repeated line. */
  lineScan = new Uint8Array(2048);
  /** Bytes of video memory from the first to the last pixel of a line, rounded up to what panning may add. */
  lineBytes = 0;
  /** 1 when every dot is two pixels wide. */
  dotShift = 0;
  /** Dots that the picture is shifted left, above and below the line where the screen is split. */
  pan = 0;
  panBelow = 0;
  /** The first line of the lower part of a split screen, or a line that does not exist. */
  splitLine = 0;
  /** Linear modes: 8, 15, 16, 24 or 32. */
  bitsPerPixel = 0;

  // Text modes.
  columns = 0;
  /** Scan rows of a character. */
  characterHeight = 0;
  /** Dots of a character: 8 or 9. */
  cellDots = 8;
  /** Video memory bytes at which the glyphs start that attribute bit 3 selects while set and clear. */
  fontA = 2;
  fontB = 2;
  /** Rows of characters: first scan line and address of the first cell. */
  rows = 0;
  rowLine = new Int32Array(2049);
  rowAddress = new Int32Array(2049);

  update(registers: VgaRegisters, dispi: Dispi, memoryBytes: number): void {
    const blank = (registers.attributeIndex & ATTR_INDEX_PAS) === 0;
    if (dispi.enabled) {
      this.#updateDispi(dispi, memoryBytes);
      if (blank) {
        this.kind = 'blank';
      }
      return;
    }
    this.#updateVga(registers);
    if (blank || ((registers.sequencer[SEQ_CLOCKING_MODE] ?? 0) & SR1_SCREEN_OFF) !== 0) {
      this.kind = 'blank';
    }
    if (this.kind === 'blank' && (this.width < 160 || this.height < 100)) {
      this.width = FALLBACK_WIDTH;
      this.height = FALLBACK_HEIGHT;
    }
  }

  #updateDispi(dispi: Dispi, memoryBytes: number): void {
    this.width = dispi.width;
    this.height = dispi.height;
    this.bitsPerPixel = dispi.bitsPerPixel;
    this.kind = this.bitsPerPixel === 4 ? 'planar' : 'linear';
    this.addressMask = memoryBytes - 1;
    const bits = this.bitsPerPixel === 15 ? 16 : this.bitsPerPixel;
    this.lineBytes = (this.width * bits) >>> 3;
    this.dotShift = 0;
    this.pan = 0;
    this.panBelow = 0;
    this.splitLine = this.height;
    if (this.lineAddress.length < this.height) {
      this.lineAddress = new Int32Array(this.height);
      this.lineScan = new Uint8Array(this.height);
    }
    for (let y = 0, address = dispi.startByte; y < this.height; y++, address += dispi.strideBytes) {
      // A plane byte is four bytes of video memory: a planar line starts with a whole one.
      this.lineAddress[y] = this.kind === 'planar' ? address & ~3 : address;
      this.lineScan[y] = 0;
    }
  }

  #updateVga(registers: VgaRegisters): void {
    const { sequencer, crtc, graphics, attribute } = registers;
    const clocking = sequencer[SEQ_CLOCKING_MODE] ?? 0;
    const gfxMode = graphics[GFX_MODE] ?? 0;
    const attrMode = attribute[ATTR_MODE] ?? 0;
    const crtcMode = crtc[CRTC_MODE] ?? 0;
    const characters = (crtc[CRTC_HORIZONTAL_DISPLAY_END] ?? 0) + 1;
    if (((graphics[GFX_MISCELLANEOUS] ?? 0) & GR6_GRAPHICS) === 0) {
      this.kind = 'text';
    } else if ((gfxMode & GR5_SHIFT_256) !== 0) {
      this.kind = 'packed256';
    } else {
      this.kind = (gfxMode & GR5_SHIFT_INTERLEAVE) !== 0 ? 'interleaved' : 'planar';
    }
    const text = this.kind === 'text';
    this.bitsPerPixel = 0;
    this.addressMask = 0x3ffff;
    this.cellDots = text && (clocking & SR1_8_DOTS) === 0 ? 9 : 8;
    this.dotShift = (clocking & SR1_DOT_CLOCK_HALF) !== 0 ? 1 : 0;
    this.columns = characters;
    this.width = (characters * this.cellDots) << this.dotShift;
    this.lineBytes = (characters + 1) * 4;

    const panning = attribute[ATTR_PEL_PANNING] ?? 0;
    if (this.kind === 'packed256') {
      this.pan = (panning & 7) >>> 1; // in pixels of two dots
    } else if (this.cellDots === 9) {
      this.pan = panning >= 8 ? 0 : panning + 1;
    } else {
      this.pan = panning & 7;
    }
    this.panBelow = (attrMode & AR10_PANNING_COMPATIBILITY) !== 0 ? 0 : this.pan;

    const select = sequencer[SEQ_CHARACTER_MAP_SELECT] ?? 0;
    this.fontA = ((((select >>> 1) & 6) | ((select >>> 5) & 1)) << 15) | 2;
    this.fontB = ((((select << 1) & 6) | ((select >>> 4) & 1)) << 15) | 2;

    // The scan line counter: rows of `rowLines` lines, restarted from address 0 after the line compare line.
    const maximum = crtc[CRTC_MAXIMUM_SCAN_LINE] ?? 0;
    const scanDouble = (maximum & 0x80) !== 0 ? 1 : 0;
    const lineDouble = (crtcMode & CR17_VERTICAL_HALF) !== 0 ? 1 : 0;
    const rowLines = ((maximum & 0x1f) + 1) << scanDouble;
    this.characterHeight = (maximum & 0x1f) + 1;
    const preset = crtc[CRTC_PRESET_ROW_SCAN] ?? 0;
    const stride = (crtc[CRTC_OFFSET] ?? 0) * 8;
    const lineCompare = registers.lineCompare;
    // Memory address bits 13 and 14 may come from the row counter, as on a CGA and a Hercules card.
    const wordShift =
      ((crtc[CRTC_UNDERLINE] ?? 0) & CR14_DOUBLEWORD) !== 0 ? 2 : (crtcMode & CR17_BYTE_MODE) !== 0 ? 0 : 1;
    const bit13 = !text && (crtcMode & CR17_MAP13) === 0 ? 1 << (15 - wordShift) : 0;
    const bit14 = !text && (crtcMode & CR17_MAP14) === 0 ? 1 << (16 - wordShift) : 0;
    const lines = registers.verticalDisplayEnd + 1;
    this.height = lines << lineDouble;
    this.splitLine = this.height;

    let address = (((crtc[CRTC_START_HIGH] ?? 0) << 8) | (crtc[CRTC_START_LOW] ?? 0)) * 4 + ((preset >>> 5) & 3) * 4;
    let inRow = (preset & 0x1f) << scanDouble;
    let rows = 0;
    let newRow = true;
    for (let line = 0; line < lines; line++) {
      const y = line << lineDouble;
      const scan = inRow >>> scanDouble;
      if (newRow) {
        this.rowLine[rows] = y;
        this.rowAddress[rows] = address & this.addressMask;
        rows++;
        newRow = false;
      }
      let at = address;
      if (bit13 !== 0) {
        at = (at & ~bit13) | ((scan & 1) !== 0 ? bit13 : 0);
      }
      if (bit14 !== 0) {
        at = (at & ~bit14) | ((scan & 2) !== 0 ? bit14 : 0);
      }
      for (let copy = 0; copy <= lineDouble; copy++) {
        this.lineAddress[y + copy] = at & this.addressMask;
        this.lineScan[y + copy] = scan;
      }
      inRow++;
      if (line === lineCompare) {
        address = 0;
        inRow = 0;
        newRow = true;
        this.splitLine = (line + 1) << lineDouble;
      } else if (inRow >= rowLines) {
        inRow = 0;
        address += stride;
        newRow = true;
      }
    }
    this.rows = rows;
    this.rowLine[rows] = this.height;
  }
}
