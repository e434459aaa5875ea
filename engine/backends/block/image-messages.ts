import type { MessagePort } from 'node:worker_threads';
import type { ErrorDetails } from '../../base/host-error.ts';
import type { SharedMemory } from './io-thread.ts';

/** How an image is opened. */
export interface OpenOptions {
  readonly readOnly: boolean;
  /** As in RawImageOptions. */
  readonly padTail: boolean;
}

/** A machine thread's way to its images: what is opened and closed goes by messages, requests by the ring. */
export interface ImageCable {
  readonly port: MessagePort;
  /** See io-ring.ts. */
  readonly ring: SharedArrayBuffer;
}

/** From the machine thread to the thread that opens the files. Images and memories are known by numbers. */
export type ToImages =
  | { readonly kind: 'open'; readonly image: number; readonly path: string; readonly options: OpenOptions }
  /** Memory that requests will name from now on. */
  | ({ readonly kind: 'memory' } & SharedMemory)
  /** Requests wait while all I/O threads are held up: one more is wanted. */
  | { readonly kind: 'hurry' }
  /** No request to this image is under way. */
  | { readonly kind: 'close'; readonly image: number };

/** And back. */
export type FromImages =
  | { readonly kind: 'opened'; readonly image: number; readonly descriptor: number; readonly size: number }
  | {
      readonly kind: 'refused';
      readonly image: number;
      readonly code: string;
      readonly message: string;
      readonly remedy: string | undefined;
      readonly details: ErrorDetails | undefined;
    };
