import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../testing/random.ts';
import { MODE_3, MODE_12, MODE_13, MODE_X, VgaBench } from './testing.ts';

/** The graphics controller bit by bit, as the technical reference describes it: planes are separate arrays of bits. */
class SlowVga {
  readonly planes = [0, 1, 2, 3].map(() => new Uint8Array(0x10000));
  readonly latch = [0, 0, 0, 0];
  readonly gr = new Uint8Array(9);
  mapMask = 0;

  read(offset: number): number {
    const oddEven = (this.gr[5] ?? 0) & 0x10;
    const at = oddEven ? offset >> 1 : offset;
    for (let plane = 0; plane < 4; plane++) {
      this.latch[plane] = this.planes[plane]?.[at] ?? 0;
    }
    if (((this.gr[5] ?? 0) & 8) === 0) {
      const plane = oddEven ? ((this.gr[4] ?? 0) & 2) | (offset & 1) : (this.gr[4] ?? 0);
      return this.latch[plane] ?? 0;
    }
    let result = 0;
    for (let bit = 0; bit < 8; bit++) {
      let same = true;
      for (let plane = 0; plane < 4; plane++) {
        const cares = (((this.gr[7] ?? 0) >> plane) & 1) !== 0;
        const wanted = ((this.gr[2] ?? 0) >> plane) & 1;
        if (cares && (((this.latch[plane] ?? 0) >> bit) & 1) !== wanted) {
          same = false;
        }
      }
      result |= same ? 1 << bit : 0;
    }
    return result;
  }

  write(offset: number, value: number): void {
    const oddEven = (this.gr[5] ?? 0) & 0x10;
    const at = oddEven ? offset >> 1 : offset;
    const mode = (this.gr[5] ?? 0) & 3;
    const rotate = (this.gr[3] ?? 0) & 7;
    for (let plane = 0; plane < 4; plane++) {
      if (((this.mapMask >> plane) & 1) === 0 || (oddEven && (plane & 1) !== (offset & 1))) {
        continue;
      }
      let result = 0;
      for (let bit = 0; bit < 8; bit++) {
        const latched = ((this.latch[plane] ?? 0) >> bit) & 1;
        const rotated = (value >> ((bit + rotate) % 8)) & 1;
        const setReset = ((this.gr[0] ?? 0) >> plane) & 1;
        let pass = ((this.gr[8] ?? 0) >> bit) & 1;
        let data: number;
        if (mode === 0) {
          data = (((this.gr[1] ?? 0) >> plane) & 1) !== 0 ? setReset : rotated;
        } else if (mode === 2) {
          data = (value >> plane) & 1;
        } else {
          data = setReset;
          pass &= rotated;
        }
        const logic = ((this.gr[3] ?? 0) >> 3) & 3;
        if (logic === 1) {
          data &= latched;
        } else if (logic === 2) {
          data |= latched;
        } else if (logic === 3) {
          data ^= latched;
        }
        result |= (mode === 1 || pass === 0 ? latched : data) << bit;
      }
      const memory = this.planes[plane];
      assert.ok(memory);
      memory[at] = result;
    }
  }
}

test('all write and read modes agree with a bit-by-bit model on random programs', () => {
  const random = new Random(12);
  for (let round = 0; round < 40; round++) {
    const bench = new VgaBench(1 << 18);
    bench.setMode(MODE_12);
    const slow = new SlowVga();
    slow.mapMask = 15;
    slow.gr.set([0, 0, 0, 0, 0, 0, 5, 15, 255]);
    const setGraphics = (index: number, value: number) => {
      bench.indexed(0x3ce, index, value);
      slow.gr[index] = value;
    };
    for (let step = 0; step < 400; step++) {
      const offset = random.below(32);
      const size = random.pick([1, 2, 4] as const);
      switch (random.below(6)) {
        case 0: {
          const index = random.pick([0, 1, 2, 3, 4, 5, 7, 8]);
          const limits = [16, 16, 16, 32, 4, 0, 0, 16, 256];
          const value =
            index === 5 ? random.pick([0, 1, 2, 3]) | (random.below(4) << 3) : random.below(limits[index] ?? 0);
          setGraphics(index, value);
          break;
        }
        case 1:
          slow.mapMask = random.below(16);
          bench.indexed(0x3c4, 2, slow.mapMask);
          break;
        case 2: {
          let expected = 0;
          for (let i = 0; i < size; i++) {
            expected |= slow.read(offset + i) << (i * 8);
          }
          assert.equal(bench.peek(0xa0000 + offset, size), expected >>> 0);
          break;
        }
        default: {
          const value = random.u32();
          bench.poke(0xa0000 + offset, size === 4 ? value : value & (size === 2 ? 0xffff : 0xff), size);
          for (let i = 0; i < size; i++) {
            slow.write(offset + i, (value >>> (i * 8)) & 0xff);
          }
          break;
        }
      }
    }
    for (let at = 0; at < 64; at++) {
      for (let plane = 0; plane < 4; plane++) {
        assert.equal(bench.vram[at * 4 + plane], slow.planes[plane]?.[at], `round ${round}, plane ${plane} at ${at}`);
      }
    }
  }
});

test('the window moves with the memory map select', () => {
  const bench = new VgaBench();
  bench.setMode(MODE_13);
  for (const [select, low, high] of [
    [0, 0xa0000, 0xc0000],
    [1, 0xa0000, 0xb0000],
    [2, 0xb0000, 0xb8000],
    [3, 0xb8000, 0xc0000],
  ] as const) {
    bench.indexed(0x3ce, 6, (select << 2) | 1);
    for (let address = 0xa0000; address < 0xc0000; address += 0x8000) {
      bench.vram.fill(0);
      bench.poke(address, 0x5a);
      const decoded = address >= low && address < high;
      assert.equal(bench.vram.indexOf(0x5a), decoded ? address - low : -1);
      assert.equal(bench.peek(address), decoded ? 0x5a : 0xff);
    }
  }
});

test('chain 4 puts bytes side by side, honours the map mask, and agrees with unchained access', () => {
  const bench = new VgaBench();
  bench.setMode(MODE_13);
  bench.poke(0xa0000, 0x44332211, 4);
  bench.poke(0xa0005, 0x6655, 2);
  assert.deepEqual([...bench.vram.subarray(0, 8)], [0x11, 0x22, 0x33, 0x44, 0, 0x55, 0x66, 0]);
  assert.equal(bench.peek(0xa0001, 4), 0x00443322);
  bench.indexed(0x3c4, 2, 0x05);
  bench.poke(0xa0008, 0xffffffff, 4);
  assert.deepEqual([...bench.vram.subarray(8, 12)], [0xff, 0, 0xff, 0]);
  bench.setMode(MODE_X);
  bench.indexed(0x3ce, 4, 2);
  assert.equal(bench.peek(0xa0000), 0x33);
  assert.equal(bench.peek(0xa0001), 0x66);
});

test('text cells lie in planes 0 and 1 in every access width', () => {
  const bench = new VgaBench();
  bench.setMode(MODE_3);
  bench.poke(0xb8000, 0x0741, 2);
  bench.poke(0xb8002, 0x42);
  bench.poke(0xb8003, 0x1f);
  bench.poke(0xb8004, 0x4e444d43, 4);
  assert.deepEqual(
    [...bench.vram.subarray(0, 16)],
    [0x41, 7, 0, 0, 0x42, 0x1f, 0, 0, 0x43, 0x4d, 0, 0, 0x44, 0x4e, 0, 0],
  );
  assert.equal(bench.peek(0xb8000, 4), 0x1f420741);
});

test('a VGA has 256 KiB: accesses outside of it wrap and never touch the rest of video memory', () => {
  const bench = new VgaBench();
  bench.setMode(MODE_12);
  bench.indexed(0x3ce, 6, 0x01);
  bench.poke(0xbffff, 0xee);
  assert.equal(bench.vram.indexOf(0xee), 0xffff * 4);
  assert.ok(bench.vram.subarray(0x40000).every((byte) => byte === 0));
});
