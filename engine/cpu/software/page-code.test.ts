import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../testing/random.ts';
import type { CachedBlock } from './code-cache.ts';
import { PageCode } from './page-code.ts';

const PAGE = 5;

/** A block of `bytes` at a physical address, as far as its place matters. */
function blockAt(physical: number, bytes: number): CachedBlock {
  const block = { start: 0, end: 0, bytes, straddles: false };
  return { slot: 0, block, physical, mode: 0, inPage: Math.min(bytes, 4096 - (physical & 0xfff)) };
}

test('stores drop exactly the blocks that they touch, and the map says where code is', () => {
  const random = new Random(1);
  for (let round = 0; round < 200; round++) {
    const codeMap = new Int32Array(16);
    const page = new PageCode(PAGE, codeMap);
    /** Blocks with their first offset in the page and the one behind the last. */
    let present: { entry: CachedBlock; from: number; to: number }[] = [];
    for (let step = 0; step < 60; step++) {
      if (random.chance(2, 3)) {
        const bytes = 1 + random.below(random.chance(1, 8) ? 200 : 30);
        const before = random.chance(1, 10) && bytes > 1;
        const start = before ? -random.below(bytes - 1) - 1 : random.below(4096);
        const entry = blockAt(PAGE * 4096 + start, bytes);
        const from = Math.max(0, start);
        const to = Math.min(4096, start + bytes);
        page.add(entry, from, to - from);
        present.push({ entry, from, to });
      } else {
        const from = random.below(4096);
        const to = Math.min(4096, from + 1 + random.below(random.chance(1, 10) ? 4096 : 16));
        const removed = new Set<CachedBlock>();
        page.remove(from, to, (entry) => {
          assert.ok(!removed.has(entry));
          removed.add(entry);
        });
        const hit = present.filter((one) => one.from < to && one.to > from);
        assert.deepEqual(removed, new Set(hit.map(({ entry }) => entry)));
        present = present.filter((one) => !hit.includes(one));
      }
      for (let granule = 0; granule < 64; granule++) {
        const bit = ((codeMap[PAGE * 2 + (granule >> 5)] as number) >>> (granule & 31)) & 1;
        const expected = present.some(({ from, to }) => from < granule * 64 + 64 && to > granule * 64);
        assert.equal(bit === 1, expected, `granule ${granule}`);
      }
      assert.equal(page.isEmpty, present.length === 0);
    }
  }
});
