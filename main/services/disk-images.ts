import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  ftruncateSync,
  openSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { failure } from '../contract/failures.ts';
import type { DiskSpace } from '../contract/host.ts';
import { causeOf, errnoOf } from './failures.ts';

const SECTOR_BYTES = 512;

/** Bytes of a disk of so many gigabytes (2^30), in whole sectors. */
export function diskBytes(gigabytes: number): number {
  return Math.max(1, Math.round((gigabytes * 2 ** 30) / SECTOR_BYTES)) * SECTOR_BYTES;
}

/**
 * Makes a raw image whose space is taken only as the guest writes to it. Never overwrites. Throws ApiError about
 * `field`; nothing is left behind then.
 */
export function createRawDisk(path: string, sizeGigabytes: number, field: string): number {
  const sizeBytes = diskBytes(sizeGigabytes);
  let file: number;
  try {
    file = openSync(path, 'wx', 0o600);
  } catch (error) {
    throw errnoOf(error) === 'EEXIST'
      ? failure('exists', { path, field })
      : failure('write-failed.disk', { path, cause: causeOf(error), field }, { cause: error });
  }
  try {
    ftruncateSync(file, sizeBytes);
  } catch (error) {
    rmSync(path, { force: true });
    throw failure(
      'write-failed.size',
      { path, gigabytes: sizeGigabytes, cause: causeOf(error), field },
      { cause: error },
    );
  } finally {
    closeSync(file);
  }
  return sizeBytes;
}

/** A path in a machine's folder at which there is nothing yet: `disk.img`, `disk-2.img`, … */
export function freeDiskPath(folder: string): string {
  for (let number = 1; ; number++) {
    const path = join(folder, number === 1 ? 'disk.img' : `disk-${number}.img`);
    if (!existsSync(path)) {
      return path;
    }
  }
}

/** Room in the nearest existing folder above a path. */
export function diskSpace(folder: string): DiskSpace {
  for (let path = folder; ; path = dirname(path)) {
    try {
      if (statSync(path).isDirectory()) {
        const { bavail, blocks, bsize } = statfsSync(path);
        return { folder: path, freeBytes: bavail * bsize, totalBytes: blocks * bsize, writable: isWritable(path) };
      }
    } catch (error) {
      if (path === dirname(path)) {
        throw failure('unreadable', { path: folder, cause: causeOf(error), field: 'folder' }, { cause: error });
      }
    }
    if (path === dirname(path)) {
      throw failure('unreadable', { path: folder, cause: 'ENOENT', field: 'folder' });
    }
  }
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
