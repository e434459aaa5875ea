import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_HEADER_SIZE } from '../micro-op.ts';
import { fromRequest, toRequest } from './compile-request.ts';
import type { BlockEnd, FoundRegion } from './region.ts';

test('a region arrives as it was sent, with its micro-operations', () => {
  const ends: BlockEnd[] = [
    { kind: 'next', next: 0x123 },
    { kind: 'jump', taken: -0x80001000 },
    { kind: 'branch', taken: 0x17fffffff, next: 0x200 },
    { kind: 'call', taken: 5, next: 0 },
    { kind: 'return' },
    { kind: 'computed', targets: [1, -2, 0x90000000], next: undefined },
    { kind: 'computed', targets: [], next: 7 },
    { kind: 'elsewhere' },
  ];
  const region: FoundRegion = {
    mode: 0x15,
    blocks: ends.map((end, i) => {
      const start = 0x1000 + i * 0x100;
      const physical = 0xf0000100 + i;
      const cached = { block: { start, end: start + 32 * (i + 1) }, physical };
      return { cached, pageDelta: 0x1000 * i, at: 0x1000 * i + 0x100 + i, instructionCount: i + 1, end };
    }),
  };
  const arena = Int32Array.from({ length: 0x1000 }, (_, i) => Math.imul(i, 0x9e3779b1));
  const request = structuredClone(toRequest(42, region, arena));
  const mirror = new Int32Array(arena.length);
  assert.equal(request.id, 42);
  assert.deepEqual(fromRequest(request, mirror), region);
  for (const { cached } of region.blocks) {
    const words = [(cached.block.start - BLOCK_HEADER_SIZE) >> 2, cached.block.end >> 2] as const;
    assert.deepEqual(mirror.subarray(...words), arena.subarray(...words));
  }
});
