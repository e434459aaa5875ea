import { isKvmError, loadKvm } from '../../../native/index.ts';
import { HostError } from '../../base/host-error.ts';
import type { KvmAccess } from './kvm-access.ts';
import { type KvmProbe, probeKvm } from './kvm-probe.ts';

/** What has to be known of a host's KVM to use it; found by the probe. */
export interface KvmFacts {
  readonly tscKilohertz: number;
  readonly longModeOnly: boolean;
  readonly emulates: boolean;
  readonly syscallsFault: boolean;
}

/** The addon cannot be used, for the reason given. */
export interface MissingAddon {
  readonly usable: false;
  readonly problem: string;
  readonly addon: 'missing';
}

export function missingAddon(): MissingAddon | undefined {
  const { problem } = loadKvm();
  return problem === undefined ? undefined : { usable: false, problem, addon: 'missing' };
}

/** Looks whether this host's KVM is any good. */
export function probeHost(): KvmProbe | MissingAddon {
  const { addon, problem } = loadKvm();
  return addon === undefined ? { usable: false, problem, addon: 'missing' } : probeKvm(addon);
}

/** Why no machine can be made on this host's KVM now; undefined when one can. A small part of what the probe looks at. */
export function kvmFailure(): Extract<KvmProbe, { usable: false }> | undefined {
  const { addon } = loadKvm();
  if (addon === undefined) {
    return undefined;
  }
  try {
    const system = new addon.KvmSystem();
    try {
      system.apiVersion();
      system.createVm().close();
      return undefined;
    } finally {
      system.close();
    }
  } catch (error) {
    if (!isKvmError(error)) {
      throw error;
    }
    const { call, code, message } = error;
    return { usable: false, problem: message, call, code };
  }
}

/** Opens KVM for one machine. Throws where it is gone since the probe. */
export function openKvm(facts: KvmFacts): KvmAccess {
  const { addon, problem } = loadKvm();
  if (addon === undefined) {
    throw new HostError('no-kvm', problem);
  }
  return { addon, system: new addon.KvmSystem(), ...facts };
}

/** Makes a machine of another thread of this process look for messages (KvmCpus.kickHandle). */
export function kickMachine(handle: number): void {
  loadKvm().addon?.kick(handle);
}
