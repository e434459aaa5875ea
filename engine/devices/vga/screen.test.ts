import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  MODE_1,
  MODE_3,
  MODE_4,
  MODE_6,
  MODE_12,
  MODE_13,
  MODE_D,
  MODE_X,
  type ModeTable,
  paletteColor,
  VgaBench,
} from './testing.ts';

const EGA = MODE_3.attribute;

/** The colour of EGA attribute `index` in modes with the BIOS's palette. */
function ega(index: number): number {
  return paletteColor(EGA[index] ?? 0);
}

function bench(mode: ModeTable): VgaBench {
  const result = new VgaBench();
  result.setMode(mode);
  result.vga.refresh();
  result.display.clear();
  return result;
}

/** Gives character `code` the 16-row glyph `rows` in font `font` (in units of 8 KiB), past the graphics controller. */
function glyph(target: VgaBench, code: number, rows: readonly number[], font = 0): void {
  rows.forEach((bits, row) => {
    target.vram[(font * 0x2000 + code * 32 + row) * 4 + 2] = bits;
  });
}

function hideCursor(target: VgaBench): void {
  target.indexed(0x3d4, 0x0a, 0x20);
}

test('a card that no one has programmed is a black screen of 720 × 400', () => {
  const fresh = new VgaBench();
  fresh.vga.refresh();
  assert.deepEqual(fresh.display.shown, [{ width: 720, height: 400 }]);
  assert.equal(fresh.pixel(10, 10), 0);
  assert.equal(fresh.vga.screenText(), undefined);
});

test('text: glyphs, colours, nine dots, line graphics', () => {
  const text = bench(MODE_3);
  hideCursor(text);
  glyph(text, 0x41, [0x81, 0x01]);
  glyph(text, 0xc4, [0x01]);
  assert.deepEqual([text.vga.width, text.vga.height], [720, 400]);
  text.poke(0xb8000, 0x1e41, 2); // yellow on blue
  text.poke(0xb8002, 0x02c4, 2);
  assert.deepEqual(
    [0, 1, 6, 7, 8].map((x) => text.pixel(x, 0)),
    [ega(14), ega(1), ega(1), ega(14), ega(1)],
  );
  assert.equal(text.pixel(0, 1), ega(1));
  assert.equal(text.pixel(9 + 7, 0), ega(2));
  assert.equal(text.pixel(9 + 8, 0), ega(2), 'box drawing continues into the ninth dot');
  text.attribute(0x10, 0x08);
  assert.equal(text.pixel(9 + 8, 0), ega(0));
  text.indexed(0x3c4, 1, 1); // eight dots
  assert.equal(text.vga.width, 640);
  assert.equal(text.pixel(8 + 7, 0), ega(2));
});

test('text: attribute bit 3 selects one of two fonts', () => {
  const text = bench(MODE_3);
  hideCursor(text);
  glyph(text, 0x41, [0x80], 0);
  glyph(text, 0x41, [0x40], 2); // 0x4000: map select 1
  text.poke(0xb8000, 0x0741, 2);
  text.poke(0xb8002, 0x0f41, 2);
  assert.deepEqual([text.pixel(0, 0), text.pixel(9, 0), text.pixel(10, 0)], [ega(7), ega(15), ega(0)]);
  text.indexed(0x3c4, 3, 0x04); // map A is font 1, map B font 0
  assert.deepEqual([text.pixel(0, 0), text.pixel(9, 0), text.pixel(10, 0)], [ega(7), ega(0), ega(15)]);
});

test('text: the cursor has its shape and blinks with the clock', () => {
  const text = bench(MODE_3);
  text.poke(0xb8000 + 2 * 85, 0x0720, 2);
  text.indexed(0x3d4, 0x0f, 85);
  const inCell = (y: number) => text.pixel(5 * 9 + 3, 16 + y);
  assert.equal(inCell(12), ega(0));
  assert.equal(inCell(13), ega(7));
  assert.equal(inCell(14), ega(7));
  assert.equal(inCell(15), ega(0));
  text.vga.refresh();
  text.display.clear();
  text.clock.advance(230_000_000);
  assert.equal(inCell(13), ega(0));
  text.vga.refresh();
  assert.deepEqual(text.display.damaged, [[45, 16, 9, 16]]);
  text.display.clear();
  text.vga.refresh();
  assert.deepEqual(text.display.damaged, []);
  text.clock.advance(230_000_000);
  text.indexed(0x3d4, 0x0a, 0x00);
  assert.equal(inCell(0), ega(7));
  text.indexed(0x3d4, 0x0a, 0x2d); // off
  assert.equal(inCell(13), ega(0));
  text.indexed(0x3d4, 0x0a, 0x0f); // starts below its end
  assert.equal(inCell(15), ega(0));
});

test('text: attribute bit 7 blinks, or makes the background bright', () => {
  const text = bench(MODE_3);
  hideCursor(text);
  glyph(text, 0x41, [0xff]);
  text.poke(0xb8000, 0x9741, 2);
  text.vga.refresh();
  text.display.clear();
  assert.equal(text.pixel(0, 0), ega(7));
  assert.equal(text.pixel(0, 5), ega(1));
  text.clock.advance(460_000_000);
  assert.equal(text.pixel(0, 0), ega(1));
  text.vga.refresh();
  assert.deepEqual(text.display.damaged, [[0, 0, 9, 16]]);
  text.attribute(0x10, 0x04);
  assert.equal(text.pixel(0, 0), ega(7));
  assert.equal(text.pixel(0, 5), ega(9));
});

test('text: underline, forty columns, and palette changes', () => {
  const text = bench(MODE_3);
  hideCursor(text);
  text.poke(0xb8000, 0x0120, 2);
  text.indexed(0x3d4, 0x14, 12);
  assert.equal(text.pixel(3, 12), ega(1));
  assert.equal(text.pixel(3, 11), ega(0));
  text.attribute(1, 0x2a);
  assert.equal(text.pixel(3, 12), paletteColor(0x2a));
  text.attribute(0x14, 0x08); // colour select adds bits 6 and 7
  assert.equal(text.pixel(3, 12), paletteColor(0xaa));

  const wide = bench(MODE_1);
  hideCursor(wide);
  assert.deepEqual([wide.vga.width, wide.vga.height], [720, 400]);
  glyph(wide, 0x41, [0x80]);
  wide.poke(0xb8002, 0x0741, 2);
  assert.deepEqual(
    [17, 18, 19, 20].map((x) => wide.pixel(x, 0)),
    [ega(0), ega(7), ega(7), ega(0)],
  );
});

test('text: smooth scrolling, panning and a split screen', () => {
  const text = bench(MODE_3);
  hideCursor(text);
  glyph(text, 0x41, [0x80, 0, 0, 0x80]);
  text.poke(0xb8000 + 160, 0x0741, 2); // row 1, column 0
  text.indexed(0x3d4, 0x08, 3); // three rows up
  assert.equal(text.pixel(0, 16 - 3), ega(7));
  assert.equal(text.pixel(0, 16), ega(7));
  text.indexed(0x3d4, 0x08, 0);
  text.attribute(0x13, 0); // nine-dot panning by one dot
  text.poke(0xb8002 + 160, 0x0741, 2);
  assert.equal(text.pixel(8, 16), ega(7));
  assert.equal(text.pixel(9, 16), ega(0));
  text.attribute(0x13, 8);
  // Split after line 99: the lower part starts at address 0 again.
  text.poke(0xb8000, 0x0741, 2);
  text.indexed(0x3d4, 7, 0x0f);
  text.indexed(0x3d4, 9, 0x0f);
  text.indexed(0x3d4, 0x18, 99);
  text.indexed(0x3d4, 0x0d, 80);
  assert.equal(text.pixel(0, 0), ega(7), 'row 1 is on top');
  assert.equal(text.pixel(0, 100), ega(7), 'row 0 follows the split');
  assert.equal(text.pixel(0, 99), ega(0));
});

test('text is decoded from code page 437', () => {
  const text = bench(MODE_3);
  const write = (row: number, codes: readonly number[]) => {
    codes.forEach((code, column) => {
      text.poke(0xb8000 + row * 160 + column * 2, 0x0700 | code, 2);
    });
  };
  write(0, [...Buffer.from('Hello, world')]);
  write(1, [0xc9, 0xcd, 0xbb, 0x20, 0x81, 0x9c, 0xe1, 0xfe, 0x00, 0x01, 0xff]);
  const lines = text.vga.screenText();
  assert.equal(lines?.length, 25);
  assert.equal(lines?.[0], 'Hello, world');
  assert.equal(lines?.[1], '╔═╗ ü£ß■ ☺');
  assert.equal(lines?.[2], '');
  text.indexed(0x3d4, 0x0d, 80);
  assert.equal(text.vga.screenText()?.[0], '╔═╗ ü£ß■ ☺');
  text.setMode(MODE_12);
  assert.equal(text.vga.screenText(), undefined);
});

test('four colours of the CGA: two banks of lines, pixels doubled', () => {
  const cga = bench(MODE_4);
  assert.deepEqual([cga.vga.width, cga.vga.height], [640, 400]);
  cga.poke(0xb8000, 0x1b); // 0 1 2 3
  cga.poke(0xb8001, 0xe4); // 3 2 1 0
  cga.poke(0xba000, 0xff); // line 1
  assert.deepEqual(
    [0, 2, 4, 6, 8, 10, 12, 14].map((x) => cga.pixel(x, 0)),
    [0, 1, 2, 3, 3, 2, 1, 0].map(paletteColor),
  );
  assert.equal(cga.pixel(7, 1), paletteColor(3));
  assert.equal(cga.pixel(0, 2), paletteColor(3));
  assert.equal(cga.pixel(8, 2), paletteColor(0));
  cga.poke(0xb8000 + 80, 0x40); // line 2
  assert.equal(cga.pixel(0, 4), paletteColor(1));
});

test('two colours of the CGA', () => {
  const cga = bench(MODE_6);
  assert.deepEqual([cga.vga.width, cga.vga.height], [640, 400]);
  cga.poke(0xb8000, 0xa0);
  cga.poke(0xba000, 0x01);
  assert.deepEqual(
    [0, 1, 2, 3].map((x) => cga.pixel(x, 0)),
    [1, 0, 1, 0].map(paletteColor),
  );
  assert.deepEqual([cga.pixel(7, 1), cga.pixel(7, 2)], [paletteColor(0), paletteColor(1)]);
});

test('planar modes of 16 colours', () => {
  const planar = bench(MODE_12);
  assert.deepEqual([planar.vga.width, planar.vga.height], [640, 480]);
  for (let color = 0; color < 16; color++) {
    // Write mode 2 with a bit mask: one pixel of a colour.
    planar.indexed(0x3ce, 5, 2);
    planar.indexed(0x3ce, 8, 0x80 >> (color & 7));
    planar.peek(0xa0000 + 80 * 479 + (color >> 3));
    planar.poke(0xa0000 + 80 * 479 + (color >> 3), color);
  }
  for (let color = 0; color < 16; color++) {
    assert.equal(planar.pixel(color, 479), ega(color));
  }
  planar.attribute(0x12, 0x03);
  assert.equal(planar.pixel(13, 479), ega(1), 'colour plane enable');
  planar.attribute(0x12, 0x0f);
  planar.attribute(0x13, 3);
  assert.equal(planar.pixel(10, 479), ega(13), 'pel panning');

  const half = bench(MODE_D);
  assert.deepEqual([half.vga.width, half.vga.height], [640, 400]);
  half.indexed(0x3c4, 2, 0x06);
  half.poke(0xa0000 + 40 * 10 + 1, 0x40);
  assert.deepEqual(
    [17, 18, 19, 20].map((x) => half.pixel(x, 21)),
    [0, 6, 6, 0].map(paletteColor),
  );
});

test('mode 13h: linear bytes, DAC, pel mask', () => {
  const vga = bench(MODE_13);
  assert.deepEqual([vga.vga.width, vga.vga.height], [640, 400]);
  vga.poke(0xa0000 + 320 * 100 + 50, 0xc8);
  for (const [x, y] of [
    [100, 200],
    [101, 201],
  ] as const) {
    assert.equal(vga.pixel(x, y), paletteColor(0xc8));
  }
  assert.equal(vga.pixel(102, 200), paletteColor(0));
  vga.out(0x3c6, 0x0f);
  assert.equal(vga.pixel(100, 200), paletteColor(0x08));
  vga.out(0x3c6, 0xff);
  vga.out(0x3c8, 0xc8);
  for (const component of [63, 32, 0]) {
    vga.out(0x3c9, component);
  }
  assert.equal(vga.pixel(100, 200), 0xff8200);
});

test('unchained 256 colours with page flipping', () => {
  const vga = bench(MODE_X);
  assert.deepEqual([vga.vga.width, vga.vga.height], [640, 480]);
  const page = 80 * 240;
  for (let plane = 0; plane < 4; plane++) {
    vga.indexed(0x3c4, 2, 1 << plane);
    vga.poke(0xa0000 + page + 80 * 3 + 2, 0x20 + plane);
  }
  assert.equal(vga.pixel(16, 6), paletteColor(0));
  vga.indexed(0x3d4, 0x0c, page >> 8);
  vga.indexed(0x3d4, 0x0d, page & 0xff);
  for (let plane = 0; plane < 4; plane++) {
    assert.equal(vga.pixel((8 + plane) * 2, 7), paletteColor(0x20 + plane));
  }
});

test('the screen is black while the palette is open to the processor, and when switched off', () => {
  const vga = bench(MODE_13);
  vga.poke(0xa0000, 0x3f);
  assert.notEqual(vga.pixel(0, 0), 0);
  vga.in(0x3da);
  vga.out(0x3c0, 0x00);
  assert.equal(vga.pixel(0, 0), 0);
  vga.out(0x3c0, 0x00);
  vga.out(0x3c0, 0x20);
  assert.notEqual(vga.pixel(0, 0), 0);
  vga.indexed(0x3c4, 1, 0x21);
  assert.equal(vga.pixel(0, 0), 0);
  assert.deepEqual([vga.vga.width, vga.vga.height], [640, 400]);
});

test('Bochs modes of every depth through the linear framebuffer', () => {
  const vga = bench(MODE_3);
  const set = (width: number, height: number, depth: number) => {
    vga.dispi(4, 0);
    vga.dispi(1, width);
    vga.dispi(2, height);
    vga.dispi(3, depth);
    vga.dispi(4, 0x41);
  };
  for (const [depth, bytes, expected] of [
    [15, [0x1f, 0x7c], 0xff00ff],
    [16, [0xe0, 0x07], 0x00ff00],
    [24, [0x33, 0x22, 0x11], 0x112233],
    [32, [0xcc, 0xbb, 0xaa, 0x00], 0xaabbcc],
    [8, [0x47], paletteColor(0x47)],
  ] as const) {
    set(800, 600, depth);
    assert.deepEqual([vga.vga.width, vga.vga.height], [800, 600]);
    const size = depth === 15 ? 2 : depth / 8;
    assert.equal(vga.readDispi(6), 800);
    assert.equal(vga.readDispi(7), Math.min(0xffff, Math.floor((1 << 24) / (800 * size))));
    vga.vram.set(bytes, (599 * 800 + 799) * size);
    assert.equal(vga.pixel(799, 599), expected, `${depth} bits`);
    assert.equal(vga.pixel(798, 599), depth === 8 ? paletteColor(0) : 0);
  }
  set(640, 480, 4);
  vga.indexed(0x3c4, 2, 0x0a);
  vga.poke(0xa0000 + 80 * 5, 0x80);
  assert.equal(vga.pixel(0, 5), ega(10));
  set(2560, 1600, 32);
  assert.deepEqual([vga.vga.width, vga.vga.height], [2560, 1600]);
  vga.vram.set([1, 2, 3, 0], (2560 * 1600 - 1) * 4);
  assert.equal(vga.pixel(2559, 1599), 0x030201);
});

test('Bochs registers: identification, capabilities, limits, clearing, eight-bit DAC', () => {
  const vga = bench(MODE_13);
  assert.equal(vga.readDispi(0), 0xb0c5);
  vga.dispi(0, 0xb0c2);
  assert.equal(vga.readDispi(0), 0xb0c2);
  vga.dispi(0, 0x1234);
  assert.equal(vga.readDispi(0), 0xb0c2);
  assert.equal(vga.readDispi(10), 0x100);
  vga.dispi(4, 2);
  assert.ok(vga.readDispi(1) >= 2560 && vga.readDispi(2) >= 1600);
  assert.equal(vga.readDispi(3), 32);
  vga.dispi(4, 0);
  vga.dispi(1, 1021);
  vga.dispi(2, 60000);
  vga.dispi(3, 32);
  vga.vram.fill(0xaa);
  vga.dispi(4, 0xc1);
  assert.equal(vga.readDispi(1), 1016);
  assert.equal(vga.readDispi(2), Math.floor((1 << 24) / (1016 * 4)));
  assert.equal(vga.vram[0], 0xaa, 'not cleared when asked not to');
  vga.dispi(4, 0);
  vga.dispi(2, 600);
  vga.dispi(4, 0x41);
  assert.equal(vga.vram[1016 * 4 * 600 - 1], 0);
  assert.equal(vga.vram[1016 * 4 * 600], 0xaa);
  vga.dispi(4, 0);
  vga.dispi(3, 8);
  vga.dispi(4, 0x61);
  vga.out(0x3c8, 0);
  for (const component of [0x12, 0xab, 0xff]) {
    vga.out(0x3c9, component);
  }
  assert.equal(vga.pixel(0, 0), 0x12abff);
  vga.dispi(4, 0);
  vga.setMode(MODE_3);
  assert.deepEqual([vga.vga.width, vga.vga.height], [720, 400]);
});

test('Bochs modes: virtual size, offsets and banks', () => {
  const vga = bench(MODE_3);
  vga.dispi(1, 640);
  vga.dispi(2, 480);
  vga.dispi(3, 32);
  vga.dispi(4, 0x41);
  vga.dispi(6, 1024);
  vga.dispi(8, 100);
  vga.dispi(9, 50);
  vga.vram.set([3, 2, 1, 0], ((50 + 7) * 1024 + 100 + 9) * 4);
  assert.equal(vga.pixel(9, 7), 0x010203);
  vga.dispi(9, 5000); // out of memory: back to the top
  assert.equal(vga.readDispi(9), 0);
  vga.dispi(5, 3);
  vga.poke(0xa0010, 0x0a0b0c, 4);
  assert.deepEqual([...vga.vram.subarray(0x30010, 0x30013)], [0x0c, 0x0b, 0x0a]);
  assert.equal(vga.peek(0xa0012, 2), 0x0a);
  vga.dispi(5, 0xffff);
  assert.equal(vga.readDispi(5), 0xff);
});

test('refresh reports the mode once, then only what changed', () => {
  const vga = new VgaBench();
  vga.setMode(MODE_13);
  vga.vga.refresh();
  assert.deepEqual(vga.display.shown, [{ width: 640, height: 400 }]);
  assert.deepEqual(vga.display.damaged, [[0, 0, 640, 400]]);
  vga.display.clear();
  vga.vga.refresh();
  assert.deepEqual(vga.display, new VgaBench().display);
  vga.poke(0xa0000 + 0x2000, 1); // page 2: bytes 8192–12287 are lines 25.6–38.4, doubled
  vga.vga.refresh();
  assert.deepEqual(vga.display.damaged, [[0, 50, 640, 28]]);
  vga.display.clear();
  vga.out(0x3c8, 5);
  vga.out(0x3c9, 1);
  vga.out(0x3c9, 1);
  vga.out(0x3c9, 1);
  vga.vga.refresh();
  assert.deepEqual(vga.display.damaged, [[0, 0, 640, 400]], 'colours change everything');
  vga.display.clear();
  vga.vga.reannounce();
  vga.vga.refresh();
  assert.deepEqual(vga.display.shown, [{ width: 640, height: 400 }]);
});

test('direct writes to the framebuffer are damage where they are seen', () => {
  const vga = bench(MODE_3);
  vga.dispi(1, 1024);
  vga.dispi(2, 768);
  vga.dispi(3, 32);
  vga.dispi(4, 0x41);
  vga.vga.refresh();
  assert.deepEqual(vga.display.shown, [{ width: 1024, height: 768 }]);
  vga.display.clear();
  for (const page of [10, 11, 500, 2000]) {
    vga.direct[page] = 1;
  }
  vga.directWrites = true;
  vga.vga.refresh();
  assert.deepEqual(vga.display.damaged, [
    [0, 10, 1024, 2],
    [0, 500, 1024, 1],
  ]);
});

test('text damage is by cells; rows alike are one rectangle; a new glyph redraws all', () => {
  const text = bench(MODE_3);
  hideCursor(text);
  text.vga.refresh();
  text.display.clear();
  text.poke(0xb8000 + 160 * 4 + 10, 0x0741, 2);
  text.poke(0xb8000 + 160 * 4 + 14, 0x0741, 2);
  text.poke(0xb8000 + 160 * 5 + 10, 0x0741, 2);
  text.poke(0xb8000 + 160 * 5 + 14, 0x0741, 2);
  text.poke(0xb8000 + 160 * 9, 0x0741, 2);
  text.vga.refresh();
  assert.deepEqual(text.display.damaged, [
    [45, 64, 27, 32],
    [0, 144, 9, 16],
  ]);
  text.display.clear();
  text.poke(0xb8000, 0x20); // as it was, but for the attribute
  text.poke(0xb8000, 0x00);
  text.vga.refresh();
  assert.deepEqual(text.display.damaged, []);
  // A guest loads a font: planar access to plane 2.
  text.indexed(0x3c4, 2, 4);
  text.indexed(0x3c4, 4, 6);
  text.indexed(0x3ce, 5, 0);
  text.indexed(0x3ce, 6, 4);
  text.poke(0xa0000 + 0x41 * 32, 0x18);
  text.indexed(0x3c4, 2, 3);
  text.indexed(0x3c4, 4, 2);
  text.indexed(0x3ce, 5, 0x10);
  text.indexed(0x3ce, 6, 0x0e);
  text.vga.refresh();
  assert.deepEqual(text.display.damaged, [[0, 0, 720, 400]]);
  assert.equal(text.pixel(45 + 3, 64), ega(7));
});

test('rendering an area leaves the rest of the target alone, and clips', () => {
  const vga = bench(MODE_13);
  vga.vram.fill(0x30, 0, 64000);
  const rgba = new Uint8ClampedArray(100 * 50 * 4);
  vga.vga.render({ width: 100, height: 50, rgba }, { x: 90, y: 45, width: 500, height: 500 });
  const drawn = rgba.filter((value, at) => at % 4 === 3 && value === 255).length;
  assert.equal(drawn, 10 * 5);
  const odd = new Uint8Array(100 * 50 * 4 + 1).subarray(1);
  vga.vga.render({ width: 100, height: 50, rgba: odd }, { x: 90, y: 45, width: 500, height: 500 });
  assert.deepEqual([...odd], [...rgba]);
});

test('a restored card shows the same picture', () => {
  const vga = bench(MODE_12);
  vga.vram.fill(0x5a, 0, 200);
  const saved = vga.vga.save();
  const other = new VgaBench();
  other.vram.set(vga.vram);
  other.vga.load(saved);
  assert.deepEqual(other.vga.snapshot(), vga.vga.snapshot());
  other.vga.refresh();
  assert.deepEqual(other.display.shown, [{ width: 640, height: 480 }]);
});
