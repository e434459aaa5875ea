import type { Nanos } from '../../clock/clock.ts';

/** Why `KvmCpus.run` came back. */
export type KvmRunExit =
  | { readonly reason: 'deadline' | 'kicked' }
  /** KVM, which has the local APICs, wants to run them again at `until`. */
  | { readonly reason: 'halted'; readonly until?: Nanos }
  | { readonly reason: 'shutdown'; readonly cpu: number }
  /** The guest's system was entered where KVM was to stop (KvmProcessorParts.stopsAt), or would be by an interrupt. */
  | { readonly reason: 'stopped'; readonly cpu: number }
  /** KVM cannot go on with this processor's next instruction. */
  | { readonly reason: 'gave-up'; readonly cpu: number; readonly detail: string };

export const DEADLINE: KvmRunExit = { reason: 'deadline' };
export const KICKED: KvmRunExit = { reason: 'kicked' };
export const HALTED: KvmRunExit = { reason: 'halted' };
