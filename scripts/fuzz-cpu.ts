/**
 * `npm run fuzz:cpu [-- --seed N --minutes M --programs K --tiers NAME --mode MODE --failures F --rounds R]`: random programs on two
 * tiers of the software processor in lock step, until a limit is reached or for ever. Prints the seed and the smallest
 * program of every failure; exits with 1 when there was one.
 */
import { parseArgs } from 'node:util';
import { fuzz } from '../engine/cpu/software/testing/fuzzing.ts';
import type { ProgramMode } from '../engine/cpu/software/testing/program.ts';
import { TIER_PAIRS } from '../engine/cpu/software/testing/tiers.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    minutes: { type: 'string' },
    programs: { type: 'string' },
    tiers: { type: 'string' },
    mode: { type: 'string' },
    failures: { type: 'string' },
    rounds: { type: 'string' },
  },
});

function amount(name: string, text: string | undefined, otherwise: number): number {
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isFinite(value) && value !== Number.POSITIVE_INFINITY) {
    console.error(`--${name} ${text}: not a number`);
    process.exit(2);
  }
  return value;
}

const name = values.tiers ?? Object.keys(TIER_PAIRS)[0] ?? '';
const pair = TIER_PAIRS[name];
if (pair === undefined) {
  console.error(`--tiers ${name}: none of ${Object.keys(TIER_PAIRS).join(', ')}`);
  process.exit(2);
}
const seed = amount('seed', values.seed, Math.floor(Math.random() * 2 ** 30));
const end = performance.now() + amount('minutes', values.minutes, Number.POSITIVE_INFINITY) * 60_000;
const rounds = amount('rounds', values.rounds, pair[2] ?? 1);
const programs = amount('programs', values.programs, Number.POSITIVE_INFINITY);
console.log(`${pair[0].name} and ${pair[1].name}, from seed ${seed}`);

let told = performance.now();
const summary = fuzz(pair[0], pair[1], {
  seed,
  rounds,
  failures: amount('failures', values.failures, 1),
  ...(values.mode === undefined ? {} : { mode: values.mode as ProgramMode }),
  more: (sum) => {
    const now = performance.now();
    if (now - told > 10_000) {
      told = now;
      console.log(`${sum.programs} programs, ${sum.blocks} blocks, ${sum.instructions} instructions`);
    }
    return now < end && sum.programs < programs;
  },
  onDifference: (failing) => console.log(`seed ${failing} fails; making it small`),
  onFailure: (failure) => {
    const mode = values.mode === undefined ? '' : ` --mode ${values.mode}`;
    const often = ` --rounds ${rounds}`;
    console.log(
      `\n${failure.text}\n\nagain: npm run fuzz:cpu -- --seed ${failure.seed} --programs 1 --tiers ${name}${mode}${often}\n`,
    );
  },
});
console.log(
  `${summary.programs} programs, ${summary.blocks} blocks, ${summary.instructions} instructions, ${summary.failures.length} failures`,
);
process.exitCode = summary.failures.length === 0 ? 0 : 1;
