import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Random } from '../../testing/random.ts';
import { type CaseMix, Comparison } from '../x86/testing/comparison.ts';
import { AMD_DIFFERS, AMD_UNALIGNED, neededFeature } from '../x86/testing/host-differences.ts';
import { buildHarness, hostFeatures, isAmd, NativeProcessor } from '../x86/testing/native-processor.ts';
import { windowTemplates } from '../x86/testing/special-values.ts';

/** Another seed tries other instances: LODGE_SEED=n. LODGE_CASES=f multiplies the number of cases. */
const SEED = Number(process.env['LODGE_SEED'] ?? 1);
const SCALE = Number(process.env['LODGE_CASES'] ?? 1);

const harness = buildHarness();
const skip = 'missing' in harness ? harness.missing : false;
const random = new Random(SEED);
const templates = windowTemplates(random, 32);
let native: NativeProcessor | undefined;
let instances = 0;

before(() => {
  if ('path' in harness) {
    native = new NativeProcessor(harness.path, templates);
  }
});

after(async () => {
  await native?.close();
  if (skip === false) {
    console.log(`${instances} instruction instances compared with the host's processor (seed ${SEED})`);
  }
});

function compare(name: string, mix: CaseMix, cases: number): void {
  test(name, { skip }, async (context) => {
    assert(native !== undefined);
    const features = hostFeatures();
    const missing = new Set<string>();
    const amd = isAmd();
    const comparison = new Comparison(random, native, templates, features.has('avx'));
    const count = Math.ceil(cases * SCALE);
    await comparison.run(
      {
        ...mix,
        ...(amd ? { unaligned: AMD_UNALIGNED } : {}),
        except: (candidate) => {
          if (amd && AMD_DIFFERS.test(candidate.definition.name)) {
            missing.add(`${candidate.definition.name} as Intel has it`);
            return true;
          }
          const feature = neededFeature(candidate);
          if (feature === undefined || features.has(feature)) {
            return false;
          }
          missing.add(feature);
          return true;
        },
      },
      count,
    );
    instances += comparison.instructions;
    context.diagnostic(`${comparison.instructions} instances of ${comparison.covered.size} instructions`);
    if (missing.size > 0) {
      context.diagnostic(`left out, as this host's processor lacks them: ${[...missing].join(', ')}`);
    }
    assert.equal(comparison.cases, count);
    const shown = comparison.mismatches.slice(0, 5).map(({ name: what, text }) => `${what}\n${text}`);
    const total = [...comparison.counts.values()].reduce((sum, one) => sum + one, 0);
    assert.equal(total, 0, `${total} of ${count} cases differ, for example:\n\n${shown.join('\n\n')}`);
  });
}

compare('single instructions in 64-bit code', { bits: 64, length: 1 }, 260_000);
compare('single instructions in 32-bit code', { bits: 32, length: 1 }, 120_000);
compare('programs of eight instructions in 64-bit code', { bits: 64, length: 8 }, 80_000);
compare('programs of eight instructions in 32-bit code', { bits: 32, length: 8 }, 40_000);
