import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { fuzz, type Summary } from './fuzzing.ts';
import { TIER_PAIRS } from './tiers.ts';

const SEED = Number(process.env['LODGE_SEED'] ?? 1) * 1_000_000;

/** Runs random programs of `blocks` blocks or more on a pair of tiers, which must never differ. */
export function neverDiffer(context: TestContext, pair: string, offset: number, blocks: number): Summary {
  const tiers = TIER_PAIRS[pair];
  assert.ok(tiers !== undefined, `no pair ${pair}`);
  const [a, b, rounds] = tiers;
  const seed = SEED + offset;
  const summary = fuzz(a, b, { seed, rounds, failures: 1, more: (sum) => sum.blocks < blocks });
  context.diagnostic(`${summary.blocks} blocks in ${summary.programs} programs, ${summary.instructions} instructions`);
  assert.deepEqual(
    summary.failures.map(({ text }) => text),
    [],
  );
  return summary;
}
