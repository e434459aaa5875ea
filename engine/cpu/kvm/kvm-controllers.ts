import type { KvmSystem } from '../../../native/index.ts';
import type { Log } from '../../base/log.ts';
import * as K from './kvm-abi.ts';
import type { KvmAccess } from './kvm-access.ts';

type Capabilities = Readonly<Record<string, number>>;

/** What local APICs inside KVM need, by name for the log. */
const FOR_APICS: Capabilities = {
  KVM_CAP_SIGNAL_MSI: K.KVM_CAP_SIGNAL_MSI,
  KVM_CAP_TSC_DEADLINE_TIMER: K.KVM_CAP_TSC_DEADLINE_TIMER,
  KVM_CAP_X2APIC_API: K.KVM_CAP_X2APIC_API,
  KVM_CAP_MP_STATE: K.KVM_CAP_MP_STATE,
};
/** What the 8259s, the I/O APIC and the 8254 need besides. Linux can be built without them (CONFIG_KVM_IOAPIC). */
const FOR_CHIPS: Capabilities = {
  KVM_CAP_IRQCHIP: K.KVM_CAP_IRQCHIP,
  KVM_CAP_IRQ_ROUTING: K.KVM_CAP_IRQ_ROUTING,
  KVM_CAP_PIT2: K.KVM_CAP_PIT2,
  KVM_CAP_PIT_STATE2: K.KVM_CAP_PIT_STATE2,
};
const FOR_SPLIT: Capabilities = { KVM_CAP_SPLIT_IRQCHIP: K.KVM_CAP_SPLIT_IRQCHIP };

type System = Pick<KvmSystem, 'checkExtension'>;

function missing(system: System, ...lists: readonly Capabilities[]): string[] {
  return lists.flatMap((list) =>
    Object.entries(list).flatMap(([name, capability]) => (system.checkExtension(capability) > 0 ? [] : [name])),
  );
}

/** The names of what this KVM lacks to have a machine's interrupt controllers and its 8254. */
export function missingForControllers(system: System): string[] {
  return missing(system, FOR_APICS, FOR_CHIPS);
}

/** Who has the interrupt controllers while KVM runs the processors (KvmAccess.localApics). What is lacking is logged. */
export function placeOfControllers(
  access: Pick<KvmAccess, 'localApics' | 'emulates'> & { readonly system: System },
  log: Log,
): NonNullable<KvmAccess['localApics']> {
  const { localApics, emulates, system } = access;
  if (localApics !== undefined || emulates) {
    return localApics ?? 'machine';
  }
  const lacks = missingForControllers(system);
  if (lacks.length === 0) {
    return 'kernel';
  }
  const names = lacks.join(', ');
  if (missing(system, FOR_APICS, FOR_SPLIT).length === 0) {
    log.warn(`this kernel's KVM lacks ${names}: it has the local APICs only, not the 8259s, the I/O APIC and the 8254`);
    return 'split';
  }
  log.warn(`this kernel's KVM lacks ${names}: all interrupt controllers and timers are the machine's own`);
  return 'machine';
}
