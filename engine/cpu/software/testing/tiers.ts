import type { Tier } from './guest-machine.ts';
import { IN_PIECES, INTERPRETER, ONE_BY_ONE } from './lockstep.ts';

/** Pairs of tiers to compare, and how often at most each program is run, by the name under which they are asked for. */
export const TIER_PAIRS: Readonly<Record<string, readonly [Tier, Tier, number]>> = {
  'one-by-one': [INTERPRETER, ONE_BY_ONE, 1],
  pieces: [INTERPRETER, IN_PIECES, 1],
};
