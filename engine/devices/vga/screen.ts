import type { DisplaySink } from '../../backends/display.ts';
import { cp437 } from './cp437.ts';
import type { Dispi } from './dispi.ts';
import { DisplayMode } from './display-mode.ts';
import { Palette } from './palette.ts';
import { rendererFor, type TextStyle } from './renderers.ts';
import type { Retrace } from './retrace.ts';
import { PAGE_SHIFT, type VgaMemory } from './vga-memory.ts';
import {
  AR10_BLINK,
  AR10_LINE_GRAPHICS,
  ATTR_MODE,
  CRTC_CURSOR_END,
  CRTC_CURSOR_HIGH,
  CRTC_CURSOR_LOW,
  CRTC_CURSOR_START,
  CRTC_UNDERLINE,
  type VgaRegisters,
} from './vga-registers.ts';

/** Where a picture goes: `width * height * 4` bytes of red, green, blue and alpha, lines without gaps. */
export interface PixelTarget {
  readonly width: number;
  readonly height: number;
  readonly rgba: Uint8ClampedArray | Uint8Array;
}

/** A rectangle in pixels of the present mode. */
export interface Area {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface ScreenParts {
  readonly registers: VgaRegisters;
  readonly dispi: Dispi;
  readonly memory: VgaMemory;
  readonly retrace: Retrace;
  readonly display: DisplaySink;
  /**
   * Pages that the processor has written directly since the last call: one byte per 4-KiB page of video memory, not
   * zero for a written one; undefined when there are none. The array is only read until the next call.
   */
  takeDirty(): Uint8Array | undefined;
}

/** Turns registers and video memory into a picture, and finds out what of it has changed. */
export class VgaScreen {
  readonly #parts: ScreenParts;
  readonly #mode = new DisplayMode();
  readonly #palette = new Palette();
  readonly #style: TextStyle = {
    cursorAddress: -1,
    cursorStart: 0,
    cursorEnd: 0,
    blink: false,
    blinkPhase: true,
    lineGraphics: false,
    underlineRow: 31,
  };
  #modeVersion = 0;
  #paletteVersion = 0;

  // What the sink was last told about.
  #shownVersion = -1;
  #shownPalette = -1;
  #shownWidth = 0;
  #shownHeight = 0;
  #shownBlink = true;
  #shownCursor = -2;
  #shownFont = 0;
  /** Text modes: character, attribute, cursor and blink phase of every cell as last reported. */
  #shownCells = new Uint32Array(0);

  constructor(parts: ScreenParts) {
    this.#parts = parts;
  }

  get width(): number {
    this.#sync();
    return this.#mode.width;
  }

  get height(): number {
    this.#sync();
    return this.#mode.height;
  }

  /** The present mode in words, for people. */
  describe(): string {
    this.#sync();
    const { kind, width, height, columns, rows, bitsPerPixel } = this.#mode;
    const detail =
      kind === 'text' ? ` (${columns} × ${rows} characters)` : kind === 'linear' ? ` (${bitsPerPixel} bits)` : '';
    return `${kind} ${width} × ${height}${detail}`;
  }

  /** Makes the next refresh report everything again. */
  invalidate(): void {
    this.#shownVersion = -1;
    this.#modeVersion = 0;
    this.#paletteVersion = 0;
  }

  /** Makes the next refresh announce the mode as well, for a sink that has just been connected. */
  reannounce(): void {
    this.invalidate();
    this.#shownWidth = 0;
  }

  /**
   * Reports to the display sink what has changed on the screen since the last call. Call it as often as pictures are
   * wanted; it costs next to nothing when nothing was written.
   */
  refresh(): void {
    this.#sync();
    const { registers, memory, display, retrace } = this.#parts;
    const mode = this.#mode;
    this.#mergeDirty();
    const textual = mode.kind === 'text';
    const colored = mode.kind !== 'blank' && !(mode.kind === 'linear' && mode.bitsPerPixel > 8);
    const resized = mode.width !== this.#shownWidth || mode.height !== this.#shownHeight;
    const blinks = textual || mode.kind === 'planar' || mode.kind === 'interleaved';
    const phase = !blinks || retrace.blinkPhase;
    let everything = resized || this.#shownVersion !== registers.displayVersion;
    everything ||= colored && this.#shownPalette !== registers.paletteVersion;
    everything ||= blinks && !textual && this.#style.blink && phase !== this.#shownBlink;
    const cursor = textual ? this.#cursorKey() : -1;
    if (textual) {
      if (everything || memory.anyDirty || phase !== this.#shownBlink || cursor !== this.#shownCursor) {
        const font = this.#fontHash();
        everything ||= font !== this.#shownFont;
        this.#shownFont = font;
        this.#refreshText(everything);
      }
    } else if (!everything && memory.anyDirty && mode.kind !== 'blank') {
      this.#refreshLines();
    }
    this.#shownVersion = registers.displayVersion;
    this.#shownPalette = registers.paletteVersion;
    this.#shownBlink = phase;
    this.#shownCursor = cursor;
    if (memory.anyDirty) {
      memory.anyDirty = false;
      memory.dirty.fill(0);
    }
    if (resized) {
      this.#shownWidth = mode.width;
      this.#shownHeight = mode.height;
      display.show({ width: mode.width, height: mode.height });
    }
    if (everything) {
      display.damage(0, 0, mode.width, mode.height);
    }
  }

  /** Draws the present screen, or a part of it, into `into` at the same place; what does not fit is left out. */
  render(into: PixelTarget, area?: Area): void {
    this.#sync();
    const mode = this.#mode;
    const x0 = Math.max(0, area?.x ?? 0);
    const y0 = Math.max(0, area?.y ?? 0);
    const x1 = Math.min(mode.width, into.width, area === undefined ? mode.width : area.x + area.width);
    const y1 = Math.min(mode.height, into.height, area === undefined ? mode.height : area.y + area.height);
    if (x1 <= x0 || y1 <= y0) {
      return;
    }
    const { rgba } = into;
    const aligned = (rgba.byteOffset & 3) === 0;
    const pixels = into.width * into.height;
    const out = aligned ? new Int32Array(rgba.buffer, rgba.byteOffset, pixels) : new Int32Array(pixels);
    const renderer = rendererFor(mode);
    const vram = this.#parts.memory.bytes;
    for (let y = y0; y < y1; y++) {
      renderer(vram, mode, this.#palette, this.#style, out, y * into.width, y, x0, x1);
    }
    if (!aligned) {
      const bytes = new Uint8Array(out.buffer);
      for (let y = y0; y < y1; y++) {
        const from = (y * into.width + x0) * 4;
        rgba.set(bytes.subarray(from, from + (x1 - x0) * 4), from);
      }
    }
  }

  /** The characters on the screen, a line a row with trailing spaces removed; undefined outside text modes. */
  screenText(): string[] | undefined {
    this.#sync();
    const mode = this.#mode;
    if (mode.kind !== 'text') {
      return undefined;
    }
    const vram = this.#parts.memory.bytes;
    const lines: string[] = [];
    for (let row = 0; row < mode.rows; row++) {
      let line = '';
      const address = mode.rowAddress[row] ?? 0;
      for (let column = 0; column < mode.columns; column++) {
        line += cp437(vram[(address + column * 4) & mode.addressMask] ?? 0);
      }
      lines.push(line.trimEnd());
    }
    return lines;
  }

  /** Brings mode, colours, cursor and blinking up to date. */
  #sync(): void {
    const { registers, dispi, memory, retrace } = this.#parts;
    if (this.#modeVersion !== registers.displayVersion) {
      this.#modeVersion = registers.displayVersion;
      this.#mode.update(registers, dispi, memory.bytes.length);
    }
    if (this.#paletteVersion !== registers.paletteVersion) {
      this.#paletteVersion = registers.paletteVersion;
      this.#palette.update(registers);
    }
    const { crtc, attribute } = registers;
    const style = this.#style;
    const attrMode = attribute[ATTR_MODE] ?? 0;
    style.blink = (attrMode & AR10_BLINK) !== 0 && !dispi.enabled;
    style.blinkPhase = retrace.blinkPhase;
    style.lineGraphics = (attrMode & AR10_LINE_GRAPHICS) !== 0;
    style.underlineRow = (crtc[CRTC_UNDERLINE] ?? 0) & 0x1f;
    const start = crtc[CRTC_CURSOR_START] ?? 0;
    const end = crtc[CRTC_CURSOR_END] ?? 0;
    style.cursorStart = start & 0x1f;
    style.cursorEnd = end & 0x1f;
    const visible = (start & 0x20) === 0 && style.cursorStart <= style.cursorEnd && retrace.cursorPhase;
    const location = ((crtc[CRTC_CURSOR_HIGH] ?? 0) << 8) | (crtc[CRTC_CURSOR_LOW] ?? 0);
    const skew = (end >>> 5) & 3;
    style.cursorAddress = visible ? ((location + skew) * 4) & 0x3ffff : -1;
  }

  #cursorKey(): number {
    const { cursorAddress, cursorStart, cursorEnd } = this.#style;
    return cursorAddress < 0 ? -1 : (cursorAddress << 10) | (cursorStart << 5) | cursorEnd;
  }

  #mergeDirty(): void {
    const pages = this.#parts.takeDirty();
    if (pages === undefined) {
      return;
    }
    const { memory } = this.#parts;
    const { dirty } = memory;
    const count = Math.min(pages.length, dirty.length);
    for (let page = 0; page < count; page++) {
      if (pages[page] !== 0) {
        dirty[page] = 1;
        memory.anyDirty = true;
      }
    }
  }

  /** Tells glyphs of the fonts in use from others; fonts share their pages with the text, so pages do not tell. */
  #fontHash(): number {
    const { fontA, fontB, characterHeight } = this.#mode;
    const vram = this.#parts.memory.bytes;
    let hash = 0x811c9dc5;
    for (let font = fontA; ; font = fontB) {
      for (let character = 0; character < 256; character++) {
        const glyph = font + character * 128;
        for (let scan = 0; scan < characterHeight; scan++) {
          hash = Math.imul(hash ^ (vram[(glyph + scan * 4) & 0x3ffff] ?? 0), 0x01000193);
        }
      }
      if (font === fontB) {
        return hash;
      }
    }
  }

  #refreshText(silently: boolean): void {
    const mode = this.#mode;
    const { columns, rows, addressMask } = mode;
    const { display, memory } = this.#parts;
    const { cursorAddress, cursorStart, cursorEnd, blink, blinkPhase } = this.#style;
    const vram = memory.bytes;
    if (this.#shownCells.length < columns * rows) {
      this.#shownCells = new Uint32Array(columns * rows);
    }
    const shown = this.#shownCells;
    const cursorMark = 0x10000 | (cursorStart << 17) | (cursorEnd << 22);
    const cellWidth = mode.cellDots << mode.dotShift;
    // Rows that follow each other and changed between the same columns make one rectangle.
    let top = 0;
    let bottom = 0;
    let left = 0;
    let right = 0;
    for (let row = 0, index = 0; row < rows; row++) {
      const address = mode.rowAddress[row] ?? 0;
      let first = -1;
      let last = -1;
      for (let column = 0; column < columns; column++, index++) {
        const at = (address + column * 4) & addressMask;
        const attribute = vram[at + 1] ?? 0;
        let cell = (vram[at] ?? 0) | (attribute << 8);
        if (at === cursorAddress) {
          cell |= cursorMark;
        }
        if (blink && !blinkPhase && (attribute & 0x80) !== 0) {
          cell |= 0x80000000;
        }
        cell >>>= 0;
        if (shown[index] !== cell) {
          shown[index] = cell;
          if (first < 0) {
            first = column;
          }
          last = column;
        }
      }
      if (silently || first < 0) {
        continue;
      }
      const y0 = mode.rowLine[row] ?? 0;
      const y1 = mode.rowLine[row + 1] ?? mode.height;
      // Panning moves cells left by less than one of them.
      const pan = y0 >= mode.splitLine ? mode.panBelow : mode.pan;
      const x0 = Math.max(0, first * cellWidth - (pan << mode.dotShift));
      const x1 = Math.min(mode.width, (last + 1) * cellWidth);
      if (bottom === y0 && left === x0 && right === x1) {
        bottom = y1;
        continue;
      }
      if (bottom > top) {
        display.damage(left, top, right - left, bottom - top);
      }
      top = y0;
      bottom = y1;
      left = x0;
      right = x1;
    }
    if (bottom > top) {
      display.damage(left, top, right - left, bottom - top);
    }
  }

  /** Graphics modes: reports the lines that lie in dirty pages. */
  #refreshLines(): void {
    const mode = this.#mode;
    const { display, memory } = this.#parts;
    const { dirty } = memory;
    const pageMask = mode.addressMask >>> PAGE_SHIFT;
    let top = -1;
    for (let y = 0; y < mode.height; y++) {
      const address = mode.lineAddress[y] ?? 0;
      const last = (address + mode.lineBytes - 1) >>> PAGE_SHIFT;
      let changed = false;
      for (let page = address >>> PAGE_SHIFT; page <= last; page++) {
        if (dirty[page & pageMask] !== 0) {
          changed = true;
          break;
        }
      }
      if (changed && top < 0) {
        top = y;
      } else if (!changed && top >= 0) {
        display.damage(0, top, mode.width, y - top);
        top = -1;
      }
    }
    if (top >= 0) {
      display.damage(0, top, mode.width, mode.height - top);
    }
  }
}
