import type { DisplayMode } from './display-mode.ts';
import { OPAQUE_BLACK, type Palette } from './palette.ts';

/** The cursor and the phase of blinking, as they are when a picture is taken. */
export interface TextStyle {
  /** Video memory byte of the cell under the cursor, or −1 when it is not drawn. */
  cursorAddress: number;
  cursorStart: number;
  cursorEnd: number;
  /** Attribute bit 7 means blinking rather than a bright background. */
  blink: boolean;
  /** Blinking characters are drawn now. */
  blinkPhase: boolean;
  /** Characters 0xC0–0xDF repeat their eighth dot as the ninth. */
  lineGraphics: boolean;
  /** The scan row on which underlined characters have their line. */
  underlineRow: number;
}

/** Takes pixels `x0 … x1 − 1` of one scan line from video memory; pixel x goes to `out[base + x]`. */
export type LineRenderer = (
  vram: Uint8Array,
  mode: DisplayMode,
  palette: Palette,
  style: TextStyle,
  out: Int32Array,
  base: number,
  y: number,
  x0: number,
  x1: number,
) => void;

/** A byte's bits spread over the nibbles of a word, the leftmost pixel in the highest. */
const SPREAD_BITS = new Uint32Array(256);
/** Pairs of bits spread over four nibbles, the leftmost pixel in the highest. */
const SPREAD_PAIRS = new Uint32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let bits = 0;
  for (let i = 0; i < 8; i++) {
    bits |= ((byte >>> i) & 1) << (i * 4);
  }
  SPREAD_BITS[byte] = bits;
  let pairs = 0;
  for (let i = 0; i < 4; i++) {
    pairs |= ((byte >>> (i * 2)) & 3) << (i * 4);
  }
  SPREAD_PAIRS[byte] = pairs;
}

const renderBlank: LineRenderer = (_vram, _mode, _palette, _style, out, base, _y, x0, x1) => {
  out.fill(OPAQUE_BLACK, base + x0, base + x1);
};

const renderText: LineRenderer = (vram, mode, palette, style, out, base, y, x0, x1) => {
  const { cellDots, dotShift, addressMask } = mode;
  const colors = palette.colors16;
  const scan = mode.lineScan[y] ?? 0;
  const pan = y >= mode.splitLine ? mode.panBelow : mode.pan;
  const address = mode.lineAddress[y] ?? 0;
  const cursorLine = style.cursorAddress >= 0 && scan >= style.cursorStart && scan <= style.cursorEnd;
  let column = Math.floor(((x0 >>> dotShift) + pan) / cellDots);
  let x = x0;
  while (x < x1) {
    const cell = (address + column * 4) & addressMask;
    const character = vram[cell] ?? 0;
    const attribute = vram[cell + 1] ?? 0;
    const font = (attribute & 8) !== 0 ? mode.fontA : mode.fontB;
    let dots = (vram[(font + character * 128 + scan * 4) & 0x3ffff] ?? 0) << 1;
    if (style.lineGraphics && (character & 0xe0) === 0xc0) {
      dots |= (dots >>> 1) & 1;
    }
    let background = attribute >>> 4;
    if (style.blink) {
      background &= 7;
      if ((attribute & 0x80) !== 0 && !style.blinkPhase) {
        dots = 0;
      }
    }
    if ((attribute & 0x77) === 0x01 && scan === style.underlineRow) {
      dots = 0x1ff;
    }
    if (cursorLine && cell === style.cursorAddress) {
      dots = 0x1ff;
    }
    const front = colors[attribute & 0x0f] ?? 0;
    const back = colors[background] ?? 0;
    const left = column * cellDots - pan;
    const end = Math.min(x1, (left + cellDots) << dotShift);
    for (; x < end; x++) {
      out[base + x] = ((dots << ((x >> dotShift) - left)) & 0x100) !== 0 ? front : back;
    }
    column++;
  }
};

/** Sixteen colours or fewer; `interleaved` pairs bits as the CGA does. */
function sixteenColors(interleaved: boolean): LineRenderer {
  return (vram, mode, palette, style, out, base, y, x0, x1) => {
    const { dotShift, addressMask } = mode;
    const colors = palette.colors16;
    const pan = y >= mode.splitLine ? mode.panBelow : mode.pan;
    const address = mode.lineAddress[y] ?? 0;
    // In graphics modes blinking is done by the highest plane: its pixels alternate, all others are bright.
    const set = style.blink && style.blinkPhase ? 8 : 0;
    const flip = style.blink && !style.blinkPhase ? 8 : 0;
    let x = x0;
    while (x < x1) {
      const dot = (x >>> dotShift) + pan;
      const at = (address + (dot >>> 3) * 4) & addressMask;
      const p0 = vram[at] ?? 0;
      const p1 = vram[at + 1] ?? 0;
      const p2 = vram[at + 2] ?? 0;
      const p3 = vram[at + 3] ?? 0;
      let pixels: number;
      if (interleaved) {
        pixels =
          (((SPREAD_PAIRS[p0] ?? 0) | ((SPREAD_PAIRS[p2] ?? 0) << 2)) << 16) |
          ((SPREAD_PAIRS[p1] ?? 0) | ((SPREAD_PAIRS[p3] ?? 0) << 2));
      } else {
        pixels =
          (SPREAD_BITS[p0] ?? 0) |
          ((SPREAD_BITS[p1] ?? 0) << 1) |
          ((SPREAD_BITS[p2] ?? 0) << 2) |
          ((SPREAD_BITS[p3] ?? 0) << 3);
      }
      const next = Math.min(x1, ((dot & ~7) + 8 - pan) << dotShift);
      for (; x < next; x++) {
        const shift = 28 - ((((x >>> dotShift) + pan) & 7) << 2);
        out[base + x] = colors[(((pixels >>> shift) & 15) | set) ^ flip] ?? 0;
      }
    }
  };
}

const renderPacked256: LineRenderer = (vram, mode, palette, _style, out, base, y, x0, x1) => {
  const { addressMask } = mode;
  const shift = 1 + mode.dotShift;
  const colors = palette.colors256;
  const address = (mode.lineAddress[y] ?? 0) + (y >= mode.splitLine ? mode.panBelow : mode.pan);
  for (let x = x0; x < x1; x++) {
    out[base + x] = colors[vram[(address + (x >>> shift)) & addressMask] ?? 0] ?? 0;
  }
};

const renderLinear8: LineRenderer = (vram, mode, palette, _style, out, base, y, x0, x1) => {
  const colors = palette.colors256;
  const address = mode.lineAddress[y] ?? 0;
  for (let x = x0; x < x1; x++) {
    out[base + x] = colors[vram[address + x] ?? 0] ?? 0;
  }
};

const renderLinear15: LineRenderer = (vram, mode, _palette, _style, out, base, y, x0, x1) => {
  const line = new Uint16Array(vram.buffer, vram.byteOffset + (mode.lineAddress[y] ?? 0) + x0 * 2, x1 - x0);
  for (let i = 0; i < line.length; i++) {
    const pixel = line[i] ?? 0;
    const red = (pixel >>> 10) & 31;
    const green = (pixel >>> 5) & 31;
    const blue = pixel & 31;
    out[base + x0 + i] =
      OPAQUE_BLACK |
      (((blue << 3) | (blue >>> 2)) << 16) |
      (((green << 3) | (green >>> 2)) << 8) |
      ((red << 3) | (red >>> 2));
  }
};

const renderLinear16: LineRenderer = (vram, mode, _palette, _style, out, base, y, x0, x1) => {
  const line = new Uint16Array(vram.buffer, vram.byteOffset + (mode.lineAddress[y] ?? 0) + x0 * 2, x1 - x0);
  for (let i = 0; i < line.length; i++) {
    const pixel = line[i] ?? 0;
    const red = pixel >>> 11;
    const green = (pixel >>> 5) & 63;
    const blue = pixel & 31;
    out[base + x0 + i] =
      OPAQUE_BLACK |
      (((blue << 3) | (blue >>> 2)) << 16) |
      (((green << 2) | (green >>> 4)) << 8) |
      ((red << 3) | (red >>> 2));
  }
};

const renderLinear24: LineRenderer = (vram, mode, _palette, _style, out, base, y, x0, x1) => {
  for (let x = x0, at = (mode.lineAddress[y] ?? 0) + x0 * 3; x < x1; x++, at += 3) {
    out[base + x] = OPAQUE_BLACK | ((vram[at] ?? 0) << 16) | ((vram[at + 1] ?? 0) << 8) | (vram[at + 2] ?? 0);
  }
};

const renderLinear32: LineRenderer = (vram, mode, _palette, _style, out, base, y, x0, x1) => {
  // Lines and pixels of 32 bits are always aligned to words.
  const line = new Int32Array(vram.buffer, vram.byteOffset + (mode.lineAddress[y] ?? 0) + x0 * 4, x1 - x0);
  const to = base + x0;
  for (let i = 0; i < line.length; i++) {
    const pixel = line[i] ?? 0;
    out[to + i] = OPAQUE_BLACK | ((pixel & 0xff) << 16) | (pixel & 0xff00) | ((pixel >>> 16) & 0xff);
  }
};

const renderPlanar = sixteenColors(false);
const renderInterleaved = sixteenColors(true);

/** The renderer for a mode. */
export function rendererFor(mode: DisplayMode): LineRenderer {
  switch (mode.kind) {
    case 'blank':
      return renderBlank;
    case 'text':
      return renderText;
    case 'planar':
      return renderPlanar;
    case 'interleaved':
      return renderInterleaved;
    case 'packed256':
      return renderPacked256;
    case 'linear':
      switch (mode.bitsPerPixel) {
        case 15:
          return renderLinear15;
        case 16:
          return renderLinear16;
        case 24:
          return renderLinear24;
        case 32:
          return renderLinear32;
        default:
          return renderLinear8;
      }
  }
}
