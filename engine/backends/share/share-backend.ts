import type { Disposable } from '../../base/disposable.ts';

/** The longest message of a session, both ways; what a driver negotiates may be less. Bytes. */
export const MAX_MESSAGE_BYTES = 512 << 10;
/** Files and folders that a guest can have in its hands at once. */
export const MAX_FIDS = 65_536;
/** Folders on the way to a file, from the shared one on. */
export const MAX_DEPTH = 256;
/** The longest name of a file: bytes. */
export const MAX_NAME_BYTES = 255;

export const NODE_KINDS = ['file', 'directory', 'link', 'special'] as const;
export type NodeKind = (typeof NODE_KINDS)[number];

/** One fid of a session, as it can be found again: by its path, if the same object is still there. */
export type SavedFid = {
  fid: number;
  /** Names from the shared folder on, one character a byte. */
  path: readonly string[];
  /** Number of the object in its file system, and what it is. */
  inode: bigint;
  kind: NodeKind;
  /** The flags that it was opened with; null: it is not open. */
  flags: number | null;
  /** Its path names it no more. */
  removed: boolean;
};

/** What a guest has of a share: the length of messages that was agreed on, and its fids. */
export type ShareState = { messageBytes: number; fids: SavedFid[] };

/**
 * A shared folder as the device sees it: something that answers messages of 9P2000.L, one after the other in the order
 * in which they came. What a message may do to the host's files is the backend's business; the device only carries.
 */
export interface ShareBackend extends Disposable {
  /**
   * Memory for a message and its answer, which the backend reaches without copying; undefined while there is none, and
   * `wait` tells once when to ask again. Given back with `give`.
   */
  take(length: number): Uint8Array | undefined;
  give(bytes: Uint8Array): void;
  wait(ask: () => void): void;
  /**
   * Carries out a message. The answer's length is 0 when it did not fit into `reply`. `done` runs later in the machine
   * thread, never inside `submit`; both buffers are borrowed until then.
   */
  submit(request: Uint8Array, reply: Uint8Array, done: (length: number) => void): void;
  /** Ends the session: all fids are let go, after the messages before. */
  reset(): void;
  /** Waits until every message is answered, and calls their `done`. Throws HostError when the host does not come back. */
  settle(): void;
  /** What the guest has, after `settle`. */
  save(): ShareState;
  /** Takes over what `save` gave. What cannot be found again stays as a fid whose every use is an error. */
  load(state: ShareState): void;
}

/** Whether a byte string can be the name of a file in a folder: one step downwards, and nothing else. */
export function isPlainName(name: string): boolean {
  return (
    name !== '' &&
    name !== '.' &&
    name !== '..' &&
    name.length <= MAX_NAME_BYTES &&
    !name.includes('/') &&
    !name.includes('\0')
  );
}
