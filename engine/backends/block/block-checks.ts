import type { BlockError, BlockRequest } from './block-backend.ts';

/** Bytes per sector of the block interface: every offset and length is a multiple of it. */
export const SECTOR_BYTES = 512;

/** Runs `fn` later in the machine thread, never inside the call. The machine passes an alarm with no delay. */
export type Defer = (fn: () => void) => void;

/** `size` rounded up to whole sectors. */
export function wholeSectors(size: number): number {
  return Math.ceil(size / SECTOR_BYTES) * SECTOR_BYTES;
}

/** Why a backend of `size` bytes refuses `request`, or undefined when it may be carried out. */
export function checkRequest(request: BlockRequest, size: number, readOnly: boolean): BlockError | undefined {
  if (request.kind === 'flush') {
    return undefined;
  }
  const length = 'length' in request ? request.length : request.buffer.length;
  const { offset } = request;
  if (
    !Number.isSafeInteger(offset) ||
    offset < 0 ||
    length < 0 ||
    offset % SECTOR_BYTES !== 0 ||
    length % SECTOR_BYTES !== 0 ||
    offset + length > size
  ) {
    return { code: 'out-of-range', message: `${request.kind} of ${length} bytes at ${offset} in an image of ${size}` };
  }
  if (readOnly && request.kind !== 'read') {
    return { code: 'read-only', message: 'the image is attached read-only' };
  }
  return undefined;
}
