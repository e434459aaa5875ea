import { fdatasyncSync, fstatSync, readSync, writeSync } from 'node:fs';
import { punchHole, zeroRange } from './file-blocks.ts';
import { fileError } from './file-error.ts';

/** What zeroing writes where the host has no other means. */
const ZEROS = new Uint8Array(1 << 20);

/**
 * Reads `length` bytes to `place` of `bytes`. Beyond the end of the file there are zeros if it is `padded`; of another
 * file this is an error `EOF`: it was cut short. Throws as readSync does.
 */
export function readAll(
  descriptor: number,
  bytes: Uint8Array,
  place: number,
  length: number,
  offset: number,
  padded: boolean,
): void {
  for (let done = 0; done < length; ) {
    const count = readSync(descriptor, bytes, place + done, length - done, offset + done);
    if (count === 0) {
      if (!padded) {
        throw fileError('EOF');
      }
      bytes.fill(0, place + done, place + length);
      return;
    }
    done += count;
  }
}

/** Writes `length` bytes from `place` of `bytes`. Throws as writeSync does. */
export function writeAll(descriptor: number, bytes: Uint8Array, place: number, length: number, offset: number): void {
  for (let done = 0; done < length; ) {
    done += writeSync(descriptor, bytes, place + done, length - done, offset + done);
  }
}

/** Makes `length` bytes zeros, without their space on the host if it `mayUnmap`. Throws as writeSync does. */
export function writeZeros(descriptor: number, offset: number, length: number, mayUnmap: boolean): void {
  if ((mayUnmap && punchHole(descriptor, offset, length)) || zeroRange(descriptor, offset, length)) {
    return;
  }
  for (let done = 0; done < length; done += ZEROS.length) {
    writeAll(descriptor, ZEROS, 0, Math.min(ZEROS.length, length - done), offset + done);
  }
}

/** Gives the space of a range back, where the host can take it. Throws as writeSync does. */
export function discard(descriptor: number, offset: number, length: number): void {
  punchHole(descriptor, offset, length);
}

/** Sees that what was written is on the medium; in a file that was deleted nothing lasts, which is `ENOENT`. */
export function flush(descriptor: number): void {
  fdatasyncSync(descriptor);
  const stats = fstatSync(descriptor);
  if (stats.isFile() && stats.nlink === 0) {
    throw fileError('ENOENT');
  }
}
