import { arenaPages } from '../../../memory/arena.ts';
import type { JitOptions } from '../jit/jit.ts';
import { DelayedCompiler } from './delayed-compiler.ts';
import { RAM_BYTES } from './guest-layout.ts';
import type { Tier } from './guest-machine.ts';
import { IN_PIECES, INTERPRETER, ONE_BY_ONE } from './lockstep.ts';

function compiler(name: string, options: Partial<JitOptions>, piece?: number): Tier {
  const jit: JitOptions = {
    samples: 1,
    sampleFuel: 60,
    lookups: 2,
    region: { blocks: 64, instructions: 500 },
    maximumRegions: 300,
    ...options,
  };
  return { name, options: { jit }, ...(piece === undefined ? {} : { piece }) };
}

/** Compiles every block that it meets, alone at first. */
export const COMPILER_AT_ONCE = compiler('compiler at first sight', { lookups: 1 });
/** Compiles whatever has run twice. */
export const EAGER = compiler('compiler, eager', {});
/** Compiles what is met again and again, so that regions of several blocks come about. */
export const COMPILER_SOON = compiler('compiler', { lookups: 4, sampleFuel: 200 });
/** Regions of middling size: cheap enough for many programs. */
export const COMPILER_OF_SOME = compiler('compiler of middling regions', {
  lookups: 3,
  sampleFuel: 200,
  region: { blocks: 6, instructions: 60 },
});
/** Forgets what it compiled again and again. */
export const COMPILER_OF_LITTLE = compiler('compiler of small regions', {
  region: { blocks: 3, instructions: 40 },
  maximumRegions: 6,
});
/** Slices of a few instructions, which end in the middle of blocks and regions. */
export const COMPILER_IN_PIECES = compiler('compiler in pieces of 5', {}, 5);
/** As with a compiler in another thread: code comes when it may have changed already. */
export const COMPILER_BEHIND: Tier = {
  ...compiler('compiler that answers late', {}),
  compiler: () => new DelayedCompiler(arenaPages(RAM_BYTES), 7),
};
export const COMPILER_ONE_BY_ONE = compiler('compiler, fuel 1', {}, 1);

/** Pairs of tiers to compare, and how often at most each program is run, by the name under which they are asked for. */
export const TIER_PAIRS: Readonly<Record<string, readonly [Tier, Tier, number]>> = {
  jit: [INTERPRETER, EAGER, 4],
  'jit-later': [INTERPRETER, COMPILER_SOON, 6],
  'jit-at-once': [INTERPRETER, COMPILER_AT_ONCE, 2],
  'jit-middling': [INTERPRETER, COMPILER_OF_SOME, 3],
  'jit-small': [INTERPRETER, COMPILER_OF_LITTLE, 4],
  'jit-behind': [INTERPRETER, COMPILER_BEHIND, 5],
  'jit-pieces': [INTERPRETER, COMPILER_IN_PIECES, 4],
  'jit-one-by-one': [INTERPRETER, COMPILER_ONE_BY_ONE, 3],
  'one-by-one': [INTERPRETER, ONE_BY_ONE, 1],
  pieces: [INTERPRETER, IN_PIECES, 1],
};
