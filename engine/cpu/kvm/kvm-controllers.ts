import type { KvmSystem } from '../../../native/index.ts';
import type { Log } from '../../base/log.ts';
import * as K from './kvm-abi.ts';
import type { KvmAccess } from './kvm-access.ts';

/** Capabilities without which interrupt controllers and timers stay the machine's own, by name for the log. */
const NEEDED: Readonly<Record<string, number>> = {
  KVM_CAP_SIGNAL_MSI: K.KVM_CAP_SIGNAL_MSI,
  KVM_CAP_TSC_DEADLINE_TIMER: K.KVM_CAP_TSC_DEADLINE_TIMER,
  KVM_CAP_X2APIC_API: K.KVM_CAP_X2APIC_API,
  KVM_CAP_MP_STATE: K.KVM_CAP_MP_STATE,
  KVM_CAP_IRQCHIP: K.KVM_CAP_IRQCHIP,
  KVM_CAP_IRQ_ROUTING: K.KVM_CAP_IRQ_ROUTING,
  KVM_CAP_PIT2: K.KVM_CAP_PIT2,
  KVM_CAP_PIT_STATE2: K.KVM_CAP_PIT_STATE2,
};

/** The names of what this KVM lacks to have a machine's interrupt controllers and its 8254. */
export function missingForControllers(system: Pick<KvmSystem, 'checkExtension'>): string[] {
  return Object.entries(NEEDED).flatMap(([name, capability]) => (system.checkExtension(capability) > 0 ? [] : [name]));
}

/** Who has the interrupt controllers while KVM runs the processors (KvmAccess.localApics). */
export function placeOfControllers(
  { localApics, emulates, system }: KvmAccess,
  log: Log,
): NonNullable<KvmAccess['localApics']> {
  if (localApics !== undefined || emulates) {
    return localApics ?? 'machine';
  }
  const missing = missingForControllers(system);
  if (missing.length > 0) {
    log.warn(`this kernel's KVM lacks ${missing.join(', ')}: interrupt controllers and timers are the machine's own`);
    return 'machine';
  }
  return 'kernel';
}
