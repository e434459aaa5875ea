import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodePng } from '../../engine/backends/display/png.ts';
import { findFirmware } from '../../engine/firmware/find-firmware.ts';
import { countColours, decodePng, type Picture, shareOf } from './png.ts';
import { menuSelection, screenText } from './screen-text.ts';

type Colour = readonly [number, number, number];
const black: Colour = [0, 0, 0];
const grey: Colour = [170, 170, 170];

/** A text screen of 720×400 dots, drawn with the font of the VGA BIOS; rows listed in `inverted` have swapped colours. */
function textScreen(lines: readonly string[], inverted: readonly number[] = []): Picture {
  const rom = Buffer.from(findFirmware().vgaBios);
  const letterA = Buffer.from('000010386cc6c6fec6c6c6c600000000', 'hex');
  const font = rom.indexOf(letterA) - 65 * 16;
  const rgb = new Uint8Array(720 * 400 * 3);
  for (let y = 0; y < 400; y++) {
    const row = Math.floor(y / 16);
    for (let x = 0; x < 720; x++) {
      const code = (lines[row] ?? '').charCodeAt(Math.floor(x / 9)) || 32;
      const bits = rom[font + code * 16 + (y % 16)] ?? 0;
      const lit = x % 9 < 8 && (bits & (0x80 >> (x % 9))) !== 0;
      rgb.set(lit === inverted.includes(row) ? black : grey, (y * 720 + x) * 3);
    }
  }
  return { width: 720, height: 400, rgb };
}

test('text is read off a text screen, whatever its colours', () => {
  const lines = ['SeaBIOS (version 1.16)', '', '  No bootable device. {}~'];
  assert.equal(screenText(textScreen(lines, [2])).trimEnd(), lines.join('\n'));
});

test('the highlighted entry of a menu is found, and none where nothing is highlighted', () => {
  const entries = ['first', 'second', 'third'];
  const lines = entries.map((entry) => ` ${entry} `);
  assert.equal(menuSelection(textScreen(lines, [1]), entries), 'second');
  assert.equal(menuSelection(textScreen(lines), entries), undefined);
});

test('a picture survives being stored as PNG', () => {
  const [width, height] = [5, 4];
  const rgba = Uint8Array.from({ length: width * height * 4 }, (_, at) => (at % 4 === 3 ? 255 : (at * 37) & 0xff));
  const picture = decodePng(Buffer.from(encodePng({ width, height, rgba })));
  assert.deepEqual([picture.width, picture.height], [width, height]);
  assert.deepEqual(
    [...picture.rgb],
    [...rgba].filter((_, at) => at % 4 !== 3),
  );
});

test('a PNG that is not wholly written is refused', () => {
  const file = Buffer.from(encodePng({ width: 2, height: 2, rgba: new Uint8Array(16) }));
  assert.throws(() => decodePng(file.subarray(0, file.length - 20)));
  assert.throws(() => decodePng(Buffer.from('not a picture')));
});

test('colours are counted and measured', () => {
  const picture = { width: 2, height: 2, rgb: Uint8Array.from([255, 255, 255, 250, 250, 250, 0, 0, 0, 0, 0, 0]) };
  assert.equal(countColours(picture), 3);
  assert.equal(shareOf(picture, [255, 255, 255]), 0.5);
});
