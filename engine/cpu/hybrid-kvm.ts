import { HostError } from '../base/host-error.ts';
import type { Log } from '../base/log.ts';
import type { CpuBus } from './cpu-backend.ts';
import { isKvmFailure } from './kvm/kvm-access.ts';
import { cpuidEntries } from './kvm/kvm-cpuid.ts';
import type { KvmCpus } from './kvm/kvm-cpus.ts';
import { systemEntries } from './kvm/unfinished-syscall.ts';
import type { KvmProcessorParts } from './kvm/vcpu.ts';
import type { Processor } from './software/processor.ts';
import type { CpuState } from './x86/cpu-state.ts';
import type { Hypervisor } from './x86/hypervisor/hypervisor.ts';
import * as L from './x86/layout.ts';
import { GuestFault } from './x86/linear-memory.ts';
import { IA32_APIC_BASE, IA32_TIME_STAMP_COUNTER, IA32_TSC_ADJUST, IA32_TSC_DEADLINE } from './x86/system/msr.ts';

const DR7_ENABLED = 0xffn;
const APIC_MSRS = 0x800;

/** What a processor's half in KVM asks of the machine. */
export interface KvmProcessorHost {
  readonly bus: CpuBus;
  readonly hypervisor: Hypervisor;
  /** See KvmAccess. */
  readonly syscallsFault: boolean;
  /** The processor's time-stamp counter. */
  timestamp(cpu: number): bigint;
  /** Takes the processor's registers from KVM. */
  take(cpu: number): void;
}

/** A software processor as its half in KVM knows it: the registers that KVM leaves to it, and its CPUID. */
export function kvmProcessor({ state, system, memory, index }: Processor, host: KvmProcessorHost): KvmProcessorParts {
  const { bus, hypervisor } = host;
  return {
    state,
    cpuid: cpuidEntries(state, (leaf, subleaf) => system.cpuid(leaf, subleaf), hypervisor.leaves),
    entered: () => hypervisor.tscMoved(state),
    stopsAt: () => (host.syscallsFault ? systemEntries(state, memory) : []),
    readMsr: (msr) => {
      if (msr === IA32_TIME_STAMP_COUNTER) {
        return host.timestamp(index);
      }
      if (!isApicMsr(msr)) {
        return system.readMsr(msr);
      }
      const value = bus.readApicMsr(index, msr);
      if (value === undefined) {
        throw new GuestFault(L.VECTOR_GP, 0);
      }
      return value;
    },
    writeMsr: (msr, value) => {
      if (!isApicMsr(msr)) {
        if (msr === IA32_TIME_STAMP_COUNTER || msr === IA32_TSC_ADJUST) {
          // It moves what KVM holds of the processor. These writes never fail, so the instruction may end first.
          host.take(index);
        }
        system.writeMsr(msr, value);
      } else if (!bus.writeApicMsr(index, msr, value)) {
        throw new GuestFault(L.VECTOR_GP, 0);
      }
    },
  };
}

function isApicMsr(msr: number): boolean {
  return msr === IA32_APIC_BASE || msr === IA32_TSC_DEADLINE || (msr >= APIC_MSRS && msr < APIC_MSRS + 0x100);
}

/** A 64-bit program that has set up its thread, and that nobody debugs; or a system that has not switched SYSCALL on. */
export function isFitForEmulatingKvm(state: CpuState): boolean {
  if ((state.efer & L.EFER_SCE) === 0) {
    return true;
  }
  return (
    state.cpl === 3 &&
    state.longMode &&
    (state.cs.attributes & L.ATTR_LONG) !== 0 &&
    state.fs.base !== 0n &&
    (state.flags & L.FLAG_TF) === 0 &&
    (state.u64(L.DR7) & DR7_ENABLED) === 0n
  );
}

/** A host can run out of what KVM needs; the machine then runs in software, unless KVM was asked for. */
export function startKvm(log: Log, required: boolean, start: () => KvmCpus): KvmCpus | undefined {
  try {
    return start();
  } catch (error) {
    if (!isKvmFailure(error)) {
      throw error;
    }
    if (required) {
      throw new HostError('no-kvm', `--accel kvm: ${error.message}`, { remedy: 'give --accel auto or software' });
    }
    log.warn(`${error.message}; the machine runs in software`);
    return undefined;
  }
}
