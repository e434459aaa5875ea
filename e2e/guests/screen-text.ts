import { vgaBios } from '../../scripts/firmware.ts';
import type { Picture } from './png.ts';

const GLYPH_HEIGHT = 16;
/** The letter A of the 8×16 font that every VGA BIOS carries, by which the font is found in the image. */
const LETTER_A = Buffer.from([0, 0, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6, 0, 0, 0, 0]);
/** Box-drawing characters of code page 437 that menus use, as ASCII. */
const boxes: Readonly<Record<number, string>> = { 179: '|', 186: '|', 196: '-', 205: '=' };

let glyphs: Map<string, string> | undefined;

/** Every glyph of the font of the VGA BIOS, by its rows in hexadecimal. */
function vgaFont(): Map<string, string> {
  if (glyphs === undefined) {
    glyphs = new Map();
    const rom = Buffer.from(vgaBios());
    const font = rom.indexOf(LETTER_A) - 'A'.charCodeAt(0) * GLYPH_HEIGHT;
    for (let code = 255; code >= 0; code--) {
      const at = font + code * GLYPH_HEIGHT;
      const printable = code >= 0x20 && code < 0x7f;
      glyphs.set(
        rom.toString('hex', at, at + GLYPH_HEIGHT),
        printable ? String.fromCharCode(code) : (boxes[code] ?? '.'),
      );
    }
    glyphs.set('00'.repeat(GLYPH_HEIGHT), ' ');
  }
  return glyphs;
}

/** The VGA shows 80 columns of 9 dots; a picture of 640 dots leaves the ninth out. */
function cellWidthOf({ width }: { readonly width: number }): number {
  return width === 720 || width === 360 ? 9 : 8;
}

/**
 * The text of a VGA text screen with 16-line characters, one line a row without trailing blanks; `?` for what is no
 * character of the BIOS's font (a graphical screen, the cursor). Colours do not matter, also not inverted ones.
 */
export function screenText({ width, height, rgb }: Picture): string {
  const cellWidth = cellWidthOf({ width });
  const font = vgaFont();
  const colour = (x: number, y: number): number => {
    const at = (y * width + x) * 3;
    return ((rgb[at] ?? 0) << 16) | ((rgb[at + 1] ?? 0) << 8) | (rgb[at + 2] ?? 0);
  };
  const lines: string[] = [];
  for (let top = 0; top + GLYPH_HEIGHT <= height; top += GLYPH_HEIGHT) {
    let line = '';
    for (let left = 0; left + cellWidth <= width; left += cellWidth) {
      const first = colour(left, top);
      const rows = Buffer.alloc(GLYPH_HEIGHT);
      for (let y = 0; y < GLYPH_HEIGHT; y++) {
        for (let x = 0; x < 8; x++) {
          if (colour(left + x, top + y) !== first) {
            rows[y] = (rows[y] ?? 0) | (0x80 >> x);
          }
        }
      }
      const inverse = Buffer.from(rows.map((row) => row ^ 0xff));
      line += font.get(rows.toString('hex')) ?? font.get(inverse.toString('hex')) ?? '?';
    }
    lines.push(line.trimEnd());
  }
  return lines.join('\n');
}

/** Which of `entries` is highlighted on a text screen: the one whose background differs from that of the others. */
export function menuSelection(picture: Picture, entries: readonly string[]): string | undefined {
  const lines = screenText(picture).split('\n');
  const cellWidth = cellWidthOf(picture);
  const backgrounds = entries.map((entry) => {
    const row = lines.findIndex((line) => line.includes(entry));
    const column = (lines[row] ?? '').indexOf(entry);
    // The blank after the entry shows nothing but the background.
    const x = Math.floor((column + entry.length) * cellWidth) + 3;
    const at = (row * GLYPH_HEIGHT * picture.width + x) * 3;
    return row < 0 ? undefined : picture.rgb.subarray(at, at + 3).join();
  });
  const different = entries.filter((_, index) => backgrounds.filter((one) => one === backgrounds[index]).length === 1);
  return different.length === 1 ? different[0] : undefined;
}
