import type { TestContext } from 'node:test';
import { defined } from '../../base/assert.ts';
import type { KvmAccess } from '../../cpu/kvm/kvm-access.ts';
import { type KvmFacts, openKvm, probeHost } from '../../cpu/kvm/kvm-host.ts';

let facts: KvmFacts | string | undefined;

/**
 * Ways to open KVM for a machine, one for each; undefined where there is none, and then the test is skipped with the
 * reason. Code outside long mode runs on KVM too, unless `longModeOnly` is left to the host's facts.
 */
export function kvmForTests(
  test: TestContext,
  options: { readonly asFound?: boolean } = {},
): (() => KvmAccess) | undefined {
  if (facts === undefined) {
    const probe = probeHost();
    facts = probe.usable ? probe : probe.problem;
  }
  if (typeof facts === 'string') {
    test.skip(facts);
    return undefined;
  }
  const { tscKilohertz } = facts;
  const longModeOnly = options.asFound === true && facts.longModeOnly;
  return () => defined(openKvm({ tscKilohertz, longModeOnly }), 'KVM');
}
