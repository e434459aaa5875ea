import type { Disposable } from '../base/disposable.ts';

/** Plain data that the snapshot codec can store: no functions, no class instances, no cycles. */
export type StateValue =
  | undefined
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly StateValue[]
  | { readonly [key: string]: StateValue };

/** Names one device of one machine, for buses, snapshots and logs: `serial0`, `ide`, `vga`. */
export type DeviceId = string;

/**
 * A device of a machine. It receives narrow capabilities (lines, backends, a clock) at construction and does not know
 * where it sits in the address space. A misbehaving guest never makes any of its handlers throw.
 */
export interface Device<S extends StateValue = StateValue> extends Disposable {
  readonly id: DeviceId;
  /** Hardware reset: registers to their power-on values. Resetting twice equals resetting once. */
  reset(): void;
  /** A snapshot of everything a guest could observe, including alarms (as deadlines) and requests in flight. */
  save(): S;
  /** Restores what `save` returned; validates it and throws HostError('bad-state', …) without half-applying it. */
  load(state: S): void;
  /** A few lines for the debugger and bug reports. */
  describe(): string;
}
