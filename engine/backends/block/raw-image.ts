import { closeSync, fstatSync, openSync, readFileSync, type Stats, statSync } from 'node:fs';
import type { Disposable } from '../../base/disposable.ts';
import { HostError } from '../../base/host-error.ts';
import type { BlockBackend, BlockError, BlockRequest } from './block-backend.ts';
import { checkRequest, type Defer, SECTOR_BYTES, wholeSectors } from './block-checks.ts';
import { discard, flush, readAll, writeAll, writeZeros } from './file-calls.ts';
import { blockErrorOf, errorCode } from './host-error-code.ts';
import { lockImage } from './image-lock.ts';

export interface RawImageOptions {
  readonly readOnly?: boolean;
  readonly defer: Defer;
  /**
   * Accept a size that is no multiple of 512 and read zeros after its end: for CD-ROM and floppy images, which are
   * often cut short. A hard disk image of such a size is a damaged or wrong file and is refused.
   */
  readonly padTail?: boolean;
}

/**
 * Opens a raw image: a file, or on Linux a host block device. Opening never changes it, and with `readOnly` nothing
 * ever does. Throws HostError with one line for the user; its code is one of `image-missing`, `image-directory`,
 * `image-empty`, `image-unreadable`, `image-not-writable`, `image-size`, `image-in-use`.
 *
 * Requests are carried out with synchronous file calls inside `defer`. ImageClient hands them to other threads.
 */
export function openRawImage(path: string, options: RawImageOptions): BlockBackend {
  return new RawImage(openRawFile(path, options), options);
}

/** A raw image whose file is open, checked and locked. */
export interface RawFile {
  readonly fd: number;
  /** Bytes in the file. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Disposed of once the file is closed. */
  readonly lock: Disposable | undefined;
}

/** Opens and checks the file of a raw image; see {@link openRawImage}. The caller closes it. */
export function openRawFile(path: string, options: Omit<RawImageOptions, 'defer'>): RawFile {
  const readOnly = options.readOnly ?? false;
  const fd = openImage(path, readOnly);
  let lock: Disposable | undefined;
  try {
    const stats = fstatSync(fd);
    const size = imageSize(path, stats);
    if (size === 0) {
      throw new HostError('image-empty', `${path}: the image is empty`, {
        remedy: 'choose an image file that has contents',
        details: { path },
      });
    }
    if (size % SECTOR_BYTES !== 0 && !options.padTail) {
      throw new HostError('image-size', `${path}: its size of ${size} bytes is not a multiple of ${SECTOR_BYTES}`, {
        remedy: 'the file may be cut short, or it is no raw disk image',
        details: { path, bytes: size },
      });
    }
    // A read now finds out what open does not: input/output errors of the medium, special files.
    const first = Math.min(SECTOR_BYTES, size);
    readAll(fd, new Uint8Array(first), 0, first, 0, true);
    if (!readOnly) {
      const result = lockImage(stats.isBlockDevice() ? `rdev-${stats.rdev}` : `${stats.dev}-${stats.ino}`);
      if ('holder' in result) {
        throw new HostError(
          'image-in-use',
          `${path}: the image is in use by another machine (process ${result.holder})`,
          {
            remedy: 'shut down that machine first, or attach the image read-only',
            details: { path },
          },
        );
      }
      lock = result.lock;
    }
    return { fd, size, readOnly, lock };
  } catch (error) {
    lock?.dispose();
    closeSync(fd);
    throw error instanceof HostError
      ? error
      : new HostError('image-unreadable', `${path}: the image cannot be read (${errorCode(error)})`, {
          cause: error,
          details: { path, cause: errorCode(error) },
        });
  }
}

function openImage(path: string, readOnly: boolean): number {
  try {
    // Looking first: opening a pipe would wait for its other end.
    checkKind(path, statSync(path));
    return openSync(path, readOnly ? 'r' : 'r+');
  } catch (error) {
    if (error instanceof HostError) {
      throw error;
    }
    const code = errorCode(error);
    const options = { cause: error, details: { path, cause: code } };
    switch (code) {
      case 'ENOENT':
      case 'ENOTDIR':
        throw new HostError('image-missing', `${path}: there is no such file`, options);
      case 'EACCES':
      case 'EPERM':
      case 'EROFS':
        throw readOnly || !isReadable(path)
          ? new HostError('image-unreadable', `${path}: no permission to read the image`, options)
          : new HostError('image-not-writable', `${path}: the image is not writable`, {
              ...options,
              remedy: 'attach it read-only, or change its permissions',
            });
      default:
        throw new HostError('image-unreadable', `${path}: the image cannot be opened (${code})`, options);
    }
  }
}

function isReadable(path: string): boolean {
  try {
    closeSync(openSync(path, 'r'));
    return true;
  } catch {
    return false;
  }
}

function checkKind(path: string, stats: Stats): void {
  if (stats.isDirectory()) {
    throw new HostError('image-directory', `${path}: is a directory, not an image`, { details: { path } });
  }
  if (!stats.isFile() && !(stats.isBlockDevice() && process.platform === 'linux')) {
    throw new HostError('image-unreadable', `${path}: is neither a file nor a disk`, {
      details: { reason: 'kind', path },
    });
  }
}

function imageSize(path: string, stats: Stats): number {
  checkKind(path, stats);
  if (stats.isBlockDevice()) {
    // rdev packs the numbers as glibc does: minor in bits 0–7 and 20–31, major in bits 8–19.
    const minor = (stats.rdev & 0xff) | ((stats.rdev >>> 12) & 0xfff00);
    const major = (stats.rdev >>> 8) & 0xfff;
    return Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * 512;
  }
  return stats.size;
}

class RawImage implements BlockBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly #defer: Defer;
  readonly #lock: Disposable | undefined;
  readonly #padded: boolean;
  #fd: number | undefined;

  constructor({ fd, size, readOnly, lock }: RawFile, { defer, padTail = false }: RawImageOptions) {
    this.#padded = padTail;
    this.#fd = fd;
    this.size = wholeSectors(size);
    this.readOnly = readOnly;
    this.#defer = defer;
    this.#lock = lock;
  }

  submit(request: BlockRequest, done: (error?: BlockError) => void): void {
    this.#defer(() => {
      if (this.#fd !== undefined) {
        done(checkRequest(request, this.size, this.readOnly) ?? carryOut(this.#fd, request, this.#padded));
      }
    });
  }

  dispose(): void {
    if (this.#fd !== undefined) {
      closeSync(this.#fd);
      this.#fd = undefined;
      this.#lock?.dispose();
    }
  }
}

/** Carries out a request that was checked; `padded` as for readAll. */
export function carryOut(fd: number, request: BlockRequest, padded: boolean): BlockError | undefined {
  try {
    switch (request.kind) {
      case 'read':
        readAll(fd, request.buffer, 0, request.buffer.length, request.offset, padded);
        break;
      case 'write':
        writeAll(fd, request.buffer, 0, request.buffer.length, request.offset);
        break;
      case 'flush':
        flush(fd);
        break;
      case 'write-zeroes':
        writeZeros(fd, request.offset, request.length, request.mayUnmap);
        break;
      case 'discard':
        discard(fd, request.offset, request.length);
        break;
    }
    return undefined;
  } catch (error) {
    return blockErrorOf(error, request.kind);
  }
}
