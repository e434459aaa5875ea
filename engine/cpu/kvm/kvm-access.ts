import { isKvmError, type KvmAddon, type KvmSystem } from '../../../native/index.ts';

/** KVM, opened for one machine. */
export interface KvmAccess {
  readonly addon: KvmAddon;
  readonly system: KvmSystem;
  /** Frequency of its guests' time-stamp counters. */
  readonly tscKilohertz: number;
  /** This KVM cannot run guests that page outside long mode: whatever is not in long mode runs in software. */
  readonly longModeOnly: boolean;
  /** This KVM emulates what guests' systems do; only their programs run at full speed. */
  readonly emulates: boolean;
  /** SYSCALL goes where it should but leaves the privilege level alone (unfinished-syscall.ts). */
  readonly syscallsFault: boolean;
  /**
   * Who has the interrupt controllers while KVM runs the processors: KVM all of them and the 8254, KVM the local APICs
   * ('split'), or the machine. Undefined: KVM where it can, unless it emulates, as systems then run in software most of the
   * time.
   */
  readonly localApics?: 'kernel' | 'split' | 'machine';
  /** Without KVM the machine is not to run: its user has asked for it. */
  readonly required?: boolean;
}

/** Whether an error is the failure of a call of KVM. */
export function isKvmFailure(error: unknown): error is Error {
  return isKvmError(error);
}
