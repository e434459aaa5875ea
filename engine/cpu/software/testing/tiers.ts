import type { Tier } from './guest-machine.ts';
import { IN_PIECES, INTERPRETER, ONE_BY_ONE } from './lockstep.ts';

/** Pairs of tiers to compare, by the name under which they are asked for. The first is the default. */
export const TIER_PAIRS: Readonly<Record<string, readonly [Tier, Tier]>> = {
  'one-by-one': [INTERPRETER, ONE_BY_ONE],
  pieces: [INTERPRETER, IN_PIECES],
};
