import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { regionText } from './testing/region-text.ts';

/**
 * Sections of `== name (bits)`, source, `--`, generated code. LODGE_UPDATE_GOLDEN=1 writes what is generated now.
 */
const FILE = new URL('./testing/golden-regions.txt', import.meta.url);
const UPDATE = process.env['LODGE_UPDATE_GOLDEN'] === '1';

interface Shape {
  readonly name: string;
  readonly bits: 32 | 64;
  readonly source: string;
  readonly code: string;
}

function readShapes(): Shape[] {
  return readFileSync(FILE, 'utf8')
    .split(/^== /m)
    .slice(1)
    .map((section) => {
      const match = /^(.*) \((32|64)\)\n([\s\S]*?)\n--\n([\s\S]*)$/.exec(section);
      assert.ok(match !== null, `cannot read the section "${section.slice(0, 40)}"`);
      const [, name = '', bits, source = '', code = ''] = match;
      return { name, bits: bits === '32' ? 32 : 64, source, code: code.trimEnd() };
    });
}

const shapes = readShapes();

test('there are a few dozen shapes', () => {
  assert.ok(shapes.length >= 36, `${shapes.length}`);
  assert.equal(new Set(shapes.map(({ name, bits }) => `${name} ${bits}`)).size, shapes.length);
});

if (UPDATE) {
  const sections = shapes.map(
    ({ name, bits, source }) => `== ${name} (${bits})\n${source}\n--\n${regionText(bits, source)}\n`,
  );
  writeFileSync(FILE, sections.join('\n'));
}

for (const { name, bits, source, code } of readShapes()) {
  test(`generated code: ${name} (${bits})`, () => {
    assert.equal(regionText(bits, source), code);
  });
}
