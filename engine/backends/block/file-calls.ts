import { readSync, writeSync } from 'node:fs';

/** What zeroing writes, as Node cannot have the host do it. */
const ZEROS = new Uint8Array(1 << 20);

/** Reads `length` bytes to `place` of `bytes`; beyond the end of the file there are zeros. Throws as readSync does. */
export function readAll(descriptor: number, bytes: Uint8Array, place: number, length: number, offset: number): void {
  for (let done = 0; done < length; ) {
    const count = readSync(descriptor, bytes, place + done, length - done, offset + done);
    if (count === 0) {
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
