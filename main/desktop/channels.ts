import type { PickRequest } from '../contract/desktop-bridge.ts';
import type { ErrorData } from '../contract/errors.ts';
import type { ClientMessage, ServerMessage } from '../contract/wire.ts';

/** Electron's channels between a page's preload script and the main process, and what travels on them. */
export const FROM_PAGE = 'lodge:from-page';
export const TO_PAGE = 'lodge:to-page';
/** Asked with a {@link PickRequest}, answered with a {@link PickAnswer}. */
export const PICK_PATH = 'lodge:pick-path';

/** The page's name for one of its connections; never used twice. */
export type ConnectionId = string;

export type FromPage =
  /** Comes first: what earlier documents of this window had open is over. */
  | { readonly kind: 'hello' }
  | { readonly kind: 'connect'; readonly connection: ConnectionId }
  | { readonly kind: 'message'; readonly connection: ConnectionId; readonly message: ClientMessage }
  | { readonly kind: 'disconnect'; readonly connection: ConnectionId }
  | { readonly kind: 'open-console'; readonly machine: string }
  | { readonly kind: 'close-window' }
  /** Whether the page wants to be asked before its window closes. */
  | { readonly kind: 'guard-close'; readonly on: boolean }
  | { readonly kind: 'show-log'; readonly machine: string };

export type ToPage =
  | { readonly kind: 'message'; readonly connection: ConnectionId; readonly message: ServerMessage }
  | {
      readonly kind: 'bytes';
      readonly connection: ConnectionId;
      readonly id: number;
      readonly item: Uint8Array<ArrayBuffer>;
    }
  /** With a port, on which items of this binary feed come straight from the machine's process from now on. */
  | { readonly kind: 'direct'; readonly connection: ConnectionId; readonly id: number }
  | { readonly kind: 'closed'; readonly connection: ConnectionId; readonly reason: string }
  | { readonly kind: 'close-request' };

export type PickAnswer = { readonly path: string | null } | { readonly error: ErrorData };
export type { PickRequest };
