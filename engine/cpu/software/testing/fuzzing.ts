import type { Tier } from './guest-machine.ts';
import { Lockstep, type Outcome } from './lockstep.ts';
import { minimize } from './minimizer.ts';
import type { Program, ProgramMode } from './program.ts';
import { randomProgram } from './random-programs.ts';
import { describeOutcome, describeProgram } from './report.ts';

/** A program with which two tiers differ. */
export interface Failure {
  readonly seed: number;
  readonly outcome: Outcome;
  /** The same made as small as possible, with what differs then. */
  readonly text: string;
}

/** What a number of programs came to. */
export interface Summary {
  programs: number;
  /** Blocks of random code that were decoded and carried out. */
  blocks: number;
  instructions: number;
  readonly ends: Map<string, number>;
  readonly failures: Failure[];
}

export interface FuzzOptions {
  /** Seed of the first program; each next one is the next number. */
  readonly seed: number;
  readonly mode?: ProgramMode;
  /** Run each program up to so many times, so that what is compiled late is run too. */
  readonly rounds?: number;
  /** Asked before each program. */
  readonly more: (summary: Summary) => boolean;
  /** Stop after so many failures. */
  readonly failures: number;
  /** Told at once that a program fails, before it is made small. */
  readonly onDifference?: (seed: number) => void;
  readonly onFailure?: (failure: Failure) => void;
}

/** After this time a failing program is taken as it is by then. */
const MINIMIZING_MILLISECONDS = 120_000;

const differs = (outcome: Outcome | undefined) => outcome !== undefined && outcome.differences.length > 0;

/** How often the program of a seed is run. */
function roundsOf(seed: number, { rounds = 1 }: FuzzOptions): number {
  return 1 + (seed % rounds);
}

/** How many of the programs in front of `seed` are needed for it to fail, if a machine starts afresh. */
function predecessors(pair: Lockstep, seed: number, options: FuzzOptions): number | undefined {
  const { seed: first, mode } = options;
  for (let count = 0; ; count = count === 0 ? 1 : count * 2) {
    const from = Math.max(first, seed - count);
    pair.reset();
    for (let before = from; before < seed; before++) {
      pair.run(randomProgram(before, mode), roundsOf(before, options));
    }
    if (differs(pair.run(randomProgram(seed, mode), roundsOf(seed, options)))) {
      return seed - from;
    }
    if (from === first) {
      return undefined;
    }
  }
}

function investigate(a: Tier, b: Tier, outcome: Outcome, seed: number, options: FuzzOptions): Failure {
  let pair = new Lockstep(a, b);
  const { mode } = options;
  const needed = predecessors(pair, seed, options);
  const program = randomProgram(seed, mode);
  const header = `${a.name} and ${b.name} differ: seed ${seed}`;
  if (needed === undefined) {
    const text = [header, 'only after what ran before', describeOutcome(outcome), describeProgram(program)].join('\n');
    return { seed, outcome, text };
  }
  const before: [Program, number][] = [];
  for (let i = seed - needed; i < seed; i++) {
    before.push([randomProgram(i, mode), roundsOf(i, options)]);
  }
  const run = (candidate: Program) => {
    pair.reset();
    for (const [earlier, rounds] of before) {
      pair.run(earlier, rounds);
    }
    const result = pair.run(candidate, roundsOf(seed, options));
    if (result?.end === 'threw') {
      pair = new Lockstep(a, b);
    }
    return result;
  };
  const end = performance.now() + MINIMIZING_MILLISECONDS;
  const smallest = minimize(program, (candidate) => performance.now() < end && differs(run(candidate)));
  const last = run(smallest) ?? outcome;
  const history = needed === 0 ? [] : [`after the programs of the ${needed} seeds before it`];
  return { seed, outcome, text: [header, ...history, describeProgram(smallest), describeOutcome(last)].join('\n') };
}

/** Runs random programs on two tiers, and makes those small with which they differ. */
export function fuzz(a: Tier, b: Tier, options: FuzzOptions): Summary {
  let pair = new Lockstep(a, b);
  const summary: Summary = { programs: 0, blocks: 0, instructions: 0, ends: new Map(), failures: [] };
  for (let seed = options.seed; options.more(summary); seed++) {
    const before = pair.blocks;
    const program = randomProgram(seed, options.mode);
    const outcome = pair.run(program, roundsOf(seed, options));
    if (outcome === undefined) {
      continue;
    }
    summary.programs++;
    summary.blocks += pair.blocks - before;
    summary.instructions += outcome.executed;
    const end = `${program.mode} ${outcome.end}`;
    summary.ends.set(end, (summary.ends.get(end) ?? 0) + 1);
    if (differs(outcome)) {
      options.onDifference?.(seed);
      const failure = investigate(a, b, outcome, seed, options);
      summary.failures.push(failure);
      options.onFailure?.(failure);
      if (summary.failures.length >= options.failures) {
        break;
      }
      pair = new Lockstep(a, b);
    }
  }
  return summary;
}
