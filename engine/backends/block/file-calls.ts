import { fdatasyncSync, fstatSync, readSync, writeSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';

/** What zeroing writes, as Node cannot have the host do it. */
const ZEROS = new Uint8Array(1 << 20);

/** An error as those of Node's file functions, by the name of its code. */
function fileError(code: string): NodeJS.ErrnoException {
  const errno = [...getSystemErrorMap()].find(([, [name]]) => name === code)?.[0];
  return Object.assign(new Error(code), errno === undefined ? { code } : { code, errno });
}

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

/** Writes `length` zeros. Throws as writeSync does. */
export function writeZeros(descriptor: number, offset: number, length: number): void {
  for (let done = 0; done < length; done += ZEROS.length) {
    writeAll(descriptor, ZEROS, 0, Math.min(ZEROS.length, length - done), offset + done);
  }
}

/** Sees that what was written is on the medium; in a file that was deleted nothing lasts, which is `ENOENT`. */
export function flush(descriptor: number): void {
  fdatasyncSync(descriptor);
  const stats = fstatSync(descriptor);
  if (stats.isFile() && stats.nlink === 0) {
    throw fileError('ENOENT');
  }
}
