import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadKvm } from '../../../native/index.ts';
import { Random } from '../../testing/random.ts';
import { type CaseMix, Comparison } from '../x86/testing/comparison.ts';
import { AMD_DIFFERS, AMD_UNALIGNED, neededFeature } from '../x86/testing/host-differences.ts';
import { hostFeatures, isAmd } from '../x86/testing/native-processor.ts';
import { windowTemplates } from '../x86/testing/special-values.ts';
import { probeHost } from './kvm-host.ts';
import { KvmInstructionProcessor } from './testing/kvm-instruction-processor.ts';

/** Another seed tries other instances: LODGE_SEED=n. LODGE_CASES=f multiplies the number of cases. */
const SEED = Number(process.env['LODGE_SEED'] ?? 1);
const SCALE = Number(process.env['LODGE_CASES'] ?? 1);

function compare(name: string, mix: CaseMix, cases: number, cpus = 1): void {
  test(`KVM against the software processor: ${name}`, async (t) => {
    const probe = probeHost();
    const { addon } = loadKvm();
    if (!probe.usable || addon === undefined) {
      t.skip(probe.usable ? 'no addon' : probe.problem);
      return;
    }
    if (mix.bits === 32 && !probe.fast) {
      t.skip('this KVM emulates 32-bit programs, and knows few instructions');
      return;
    }
    const random = new Random(SEED);
    const templates = windowTemplates(random, 8);
    const kvm = new KvmInstructionProcessor(new addon.KvmSystem(), templates, !probe.fast, cpus);
    const features = hostFeatures();
    const amd = isAmd();
    const comparison = new Comparison(random, kvm, templates, features.has('avx'));
    const count = Math.ceil(cases * SCALE);
    await comparison.run(
      {
        ...mix,
        ...(amd ? { unaligned: AMD_UNALIGNED } : {}),
        except: (candidate) => {
          if (amd && AMD_DIFFERS.test(candidate.definition.name)) {
            return true;
          }
          const feature = neededFeature(candidate);
          return feature !== undefined && !features.has(feature);
        },
      },
      count,
    );
    const refusals = JSON.stringify([...kvm.refusals]);
    kvm.close();
    assert.ok(comparison.cases > count / (probe.fast ? 1.01 : 3), `${comparison.cases} of ${count} cases carried out`);
    t.diagnostic(
      `${comparison.instructions} instances of ${comparison.covered.size} instructions; refusals ${refusals}`,
    );
    const shown = comparison.mismatches.slice(0, 5).map(({ name: what, text }) => `${what}\n${text}`);
    const total = [...comparison.counts.values()].reduce((sum, one) => sum + one, 0);
    assert.equal(total, 0, `${total} of ${count} cases differ, for example:\n\n${shown.join('\n\n')}`);
  });
}

compare('single instructions in 64-bit code', { bits: 64, length: 1 }, 4000);
compare('single instructions in 32-bit code', { bits: 32, length: 1 }, 2000);
compare('programs of eight instructions in 64-bit code', { bits: 64, length: 8 }, 1500);
compare('four processors, by turns', { bits: 64, length: 1 }, 2000, 4);
