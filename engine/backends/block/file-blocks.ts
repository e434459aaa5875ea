import { getSystemErrorName } from 'node:util';
import { loadKvm } from '../../../native/index.ts';
import { fileError } from './file-error.ts';

/** Modes of fallocate(2). */
const KEEP_SIZE = 0x01;
const PUNCH_HOLE = 0x02;
const ZERO_RANGE = 0x10;
/** What says that it cannot be done with this file, on this file system or in this kernel. */
const NOT_HERE = new Set(['EOPNOTSUPP', 'ENOSYS', 'EINVAL', 'ENODEV', 'EPERM']);

/** Why no file can have holes punched or ranges zeroed by the host: Node has no call for it, so it needs the native addon. */
export function fileBlocksProblem(): string | undefined {
  const { addon, problem } = loadKvm();
  return addon === undefined || addon.fallocate !== undefined
    ? problem
    : 'the native addon is of an older version; run npm ci again';
}

/** Carried out: true. False when the host has no means for it. */
function fallocate(descriptor: number, mode: number, offset: number, length: number): boolean {
  const { addon } = loadKvm();
  if (addon?.fallocate === undefined || length === 0) {
    return false;
  }
  const error = addon.fallocate(descriptor, mode, offset, length);
  if (error === 0) {
    return true;
  }
  const code = getSystemErrorName(-error);
  if (NOT_HERE.has(code)) {
    return false;
  }
  throw fileError(code);
}

/** Gives the host the space of a range back, which reads as zeros then; false when that cannot be. Throws as Node does. */
export function punchHole(descriptor: number, offset: number, length: number): boolean {
  return fallocate(descriptor, PUNCH_HOLE | KEEP_SIZE, offset, length);
}

/** Makes a range zeros whose space stays; false when that cannot be. Throws as Node does. */
export function zeroRange(descriptor: number, offset: number, length: number): boolean {
  return fallocate(descriptor, ZERO_RANGE | KEEP_SIZE, offset, length);
}
