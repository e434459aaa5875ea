import type { MessagePort } from 'node:worker_threads';

/**
 * The way between a machine thread and the thread of a shared folder: requests in a ring in shared memory, carried out in
 * their order, and their data in memory that both have. Neither side makes a message for a request, because a guest that
 * reads ten thousand files makes some fifty thousand.
 */
export interface ShareChannel {
  /** Numbers of requests made and answered, and the ring. */
  readonly control: SharedArrayBuffer;
  /** Data. */
  readonly memory: SharedArrayBuffer;
}

/** Sessions travel over a port of their own. */
export interface ShareEnd extends ShareChannel {
  readonly port: MessagePort;
}

/** `lend`: the thread gives its session away, by the port; `return`: it gets it back. */
export const SHARE_REQUEST = { message: 0, reset: 1, save: 2, load: 3, close: 4, lend: 5, return: 6 } as const;

/** Words of the control memory: requests made, requests answered; both only grow and wrap at 2^32. */
export const SUBMITTED = 0;
export const COMPLETED = 1;
const FIRST_ENTRY = 2;
/**
 * Kind; place and length of the request; place and length of the answer, which is the room for it before. Once it is
 * answered, the first is how many microseconds that took.
 */
export const ENTRY_WORDS = 5;
/** Data of what is under way. */
export const CHANNEL_BYTES = 4 << 20;
/**
 * A message takes 4 KiB of that memory at least, for itself and its answer, so 1024 can be under way; between two there is
 * at most one reset, and two others at the end.
 */
export const CHANNEL_ENTRIES = 4096;

/** Where the entry of request number `index` begins, in words. */
export function entryAt(index: number): number {
  return FIRST_ENTRY + (index & (CHANNEL_ENTRIES - 1)) * ENTRY_WORDS;
}

export function createShareChannel(): ShareChannel {
  return {
    control: new SharedArrayBuffer((FIRST_ENTRY + CHANNEL_ENTRIES * ENTRY_WORDS) * 4),
    memory: new SharedArrayBuffer(CHANNEL_BYTES),
  };
}
