import type { MachineConfig } from '../config/machine-config.ts';
import type { RunOutcome } from './run-machine.ts';

/** From the host thread to the machine thread. Everything is checked where it comes in: the threads trust each other. */
export type ToMachine =
  | { readonly kind: 'serial'; readonly bytes: Uint8Array }
  | { readonly kind: 'type'; readonly text: string }
  | { readonly kind: 'power-button' }
  | { readonly kind: 'stop' }
  | { readonly kind: 'screenshot'; readonly request: number }
  | { readonly kind: 'screen-text'; readonly request: number };

/** From the machine thread to the host thread. */
export type FromMachine =
  | { readonly kind: 'started' }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string; readonly remedy: string | undefined }
  | { readonly kind: 'serial'; readonly bytes: Uint8Array }
  | { readonly kind: 'log'; readonly level: 'info' | 'warn'; readonly message: string }
  | { readonly kind: 'picture'; readonly path: string; readonly png: Uint8Array }
  | { readonly kind: 'screenshot'; readonly request: number; readonly png: Uint8Array }
  | { readonly kind: 'screen-text'; readonly request: number; readonly lines: string[] | undefined }
  | { readonly kind: 'finished'; readonly outcome: RunOutcome };

/** What the machine thread is started with. */
export interface MachineThreadInput {
  readonly config: MachineConfig;
  /** One i32: changes whenever a message was sent, so that a waiting machine thread can be woken. */
  readonly bell: SharedArrayBuffer;
}
