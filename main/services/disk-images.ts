import { accessSync, closeSync, constants, ftruncateSync, openSync, rmSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { DiskSpace } from '../contract/host.ts';
import { errnoOf, fieldError, reasonOf } from './failures.ts';

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
    throw fieldError(
      field,
      errnoOf(error) === 'EEXIST' ? 'exists' : 'write-failed',
      `${path}: the disk image cannot be made (${reasonOf(error)})`,
      errnoOf(error) === 'EEXIST'
        ? 'choose another name; existing files are never overwritten'
        : 'choose another folder',
    );
  }
  try {
    ftruncateSync(file, sizeBytes);
  } catch (error) {
    rmSync(path, { force: true });
    throw fieldError(field, 'write-failed', `${path}: cannot have ${sizeGigabytes} GB (${reasonOf(error)})`);
  } finally {
    closeSync(file);
  }
  return sizeBytes;
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
        throw fieldError('folder', 'unreadable', `${folder}: ${reasonOf(error)}`);
      }
    }
    if (path === dirname(path)) {
      throw fieldError('folder', 'unreadable', `${folder}: there is no such folder`);
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
