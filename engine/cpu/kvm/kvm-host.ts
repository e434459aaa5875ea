import { loadKvm } from '../../../native/index.ts';
import type { KvmAccess } from './kvm-access.ts';
import { type KvmProbe, probeKvm } from './kvm-probe.ts';

/** What has to be known of a host's KVM to use it; found by the probe. */
export interface KvmFacts {
  readonly tscKilohertz: number;
  readonly longModeOnly: boolean;
  readonly emulates: boolean;
}

/** Looks whether this host's KVM is any good. `addon`: the addon itself is missing, for the reason given. */
export function probeHost():
  | KvmProbe
  | { readonly usable: false; readonly problem: string; readonly addon: 'missing' } {
  const { addon, problem } = loadKvm();
  return addon === undefined ? { usable: false, problem, addon: 'missing' } : probeKvm(addon);
}

/** Opens KVM for one machine; undefined, with a reason, where it is gone since the probe. Throws KvmError. */
export function openKvm(facts: KvmFacts): KvmAccess | undefined {
  const { addon } = loadKvm();
  return addon === undefined ? undefined : { addon, system: new addon.KvmSystem(), ...facts };
}

/** Makes a machine of another thread of this process look for messages (KvmCpus.kickHandle). */
export function kickMachine(handle: number): void {
  loadKvm().addon?.kick(handle);
}
