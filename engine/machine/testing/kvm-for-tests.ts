import type { TestContext } from 'node:test';
import type { KvmAccess } from '../../cpu/kvm/kvm-access.ts';
import { type KvmFacts, openKvm, probeHost } from '../../cpu/kvm/kvm-host.ts';

let facts: KvmFacts | string | undefined;

/**
 * Ways to open KVM for a machine, one for each; undefined where there is none, and then the test is skipped with the
 * reason. Everything runs on KVM, whatever it is good for, unless the machine is to use it `asFound`.
 */
export function kvmForTests(
  test: TestContext,
  options: { readonly asFound?: boolean } & Pick<KvmAccess, 'localApics'> = {},
): (() => KvmAccess) | undefined {
  if (facts === undefined) {
    const probe = probeHost();
    facts = probe.usable ? { ...probe, emulates: !probe.fast } : probe.problem;
  }
  if (typeof facts === 'string') {
    test.skip(facts);
    return undefined;
  }
  const asFound = facts;
  const used = options.asFound === true ? asFound : { ...asFound, longModeOnly: false, emulates: false };
  const { localApics } = options;
  return () => ({ ...openKvm(used), ...(localApics === undefined ? {} : { localApics }) });
}
