import type { Disposable } from '../../base/disposable.ts';

/** One request. `offset` and buffer lengths are in bytes and multiples of 512; they lie within `size`. */
export type BlockRequest =
  | { readonly kind: 'read'; readonly offset: number; readonly buffer: Uint8Array }
  | { readonly kind: 'write'; readonly offset: number; readonly buffer: Uint8Array }
  | { readonly kind: 'flush' }
  /** The contents are not needed any more; what reads give then is undefined. */
  | { readonly kind: 'discard'; readonly offset: number; readonly length: number }
  /** The contents are to read as zeros; `mayUnmap` allows to free their space on the host. */
  | { readonly kind: 'write-zeroes'; readonly offset: number; readonly length: number; readonly mayUnmap: boolean };

/** A host failure of a request: `code` is 'io' | 'no-space' | 'read-only' | 'out-of-range'. */
export interface BlockError {
  readonly code: 'io' | 'no-space' | 'read-only' | 'out-of-range';
  readonly message: string;
}

/** A disk image as devices see it. Requests may complete in any order. */
export interface BlockBackend extends Disposable {
  /** Bytes. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Starts a request; `done` runs later in the machine thread, never inside `submit`. The buffer is borrowed until then. */
  submit(request: BlockRequest, done: (error?: BlockError) => void): void;
}
