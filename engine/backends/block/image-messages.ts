import type { ErrorDetails } from '../../base/host-error.ts';
import type { BlockError } from './block-backend.ts';

/** How an image is opened. */
export interface OpenOptions {
  readonly readOnly: boolean;
  /** As in RawImageOptions. */
  readonly padTail: boolean;
}

/** From the machine thread to the thread that has the files. Images, memories and requests are known by numbers. */
export type ToImages =
  | { readonly kind: 'open'; readonly image: number; readonly path: string; readonly options: OpenOptions }
  /** Memory that requests will name from now on. */
  | { readonly kind: 'memory'; readonly memory: number; readonly bytes: SharedArrayBuffer }
  | {
      readonly kind: 'read' | 'write';
      readonly request: number;
      readonly image: number;
      readonly memory: number;
      /** Where the data are in that memory, and where in the image; bytes. */
      readonly at: number;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly kind: 'flush'; readonly request: number; readonly image: number }
  | {
      readonly kind: 'write-zeroes';
      readonly request: number;
      readonly image: number;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly kind: 'close'; readonly image: number };

/** And back. */
export type FromImages =
  | { readonly kind: 'opened'; readonly image: number; readonly size: number }
  | {
      readonly kind: 'refused';
      readonly image: number;
      readonly code: string;
      readonly message: string;
      readonly remedy: string | undefined;
      readonly details: ErrorDetails | undefined;
    }
  | { readonly kind: 'done'; readonly request: number; readonly error: BlockError | undefined };
