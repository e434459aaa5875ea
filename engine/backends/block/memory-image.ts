import type { BlockBackend, BlockError, BlockRequest } from './block-backend.ts';
import { checkRequest, type Defer, SECTOR_BYTES, wholeSectors } from './block-checks.ts';

/**
 * A disk image held in memory: for guests that are bundled with the application, and for scratch disks.
 * The bytes are used in place unless their number is no multiple of 512; then a padded copy is used.
 */
export class MemoryImage implements BlockBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly bytes: Uint8Array;
  readonly #defer: Defer;
  #disposed = false;

  constructor(bytes: Uint8Array, options: { readonly readOnly?: boolean; readonly defer: Defer }) {
    this.size = wholeSectors(bytes.length);
    this.readOnly = options.readOnly ?? false;
    this.#defer = options.defer;
    if (bytes.length === this.size) {
      this.bytes = bytes;
    } else {
      this.bytes = new Uint8Array(this.size);
      this.bytes.set(bytes);
    }
  }

  submit(request: BlockRequest, done: (error?: BlockError) => void): void {
    this.#defer(() => {
      if (this.#disposed) {
        return;
      }
      const error = checkRequest(request, this.size, this.readOnly);
      if (error === undefined) {
        this.#carryOut(request);
      }
      done(error);
    });
  }

  #carryOut(request: BlockRequest): void {
    switch (request.kind) {
      case 'read':
        request.buffer.set(this.bytes.subarray(request.offset, request.offset + request.buffer.length));
        break;
      case 'write':
        this.bytes.set(request.buffer, request.offset);
        break;
      case 'discard':
      case 'write-zeroes':
        this.bytes.fill(0, request.offset, request.offset + request.length);
        break;
      case 'flush':
        break;
    }
  }

  dispose(): void {
    this.#disposed = true;
  }
}

/** Never written: writes replace the sector. */
const ZERO_SECTOR = new Uint8Array(SECTOR_BYTES);

/**
 * Keeps writes in memory and leaves the image below untouched: for running a guest whose changes are thrown away.
 * Owns `base` and disposes of it. Memory grows by 512 bytes and some for every sector that is written for the first time.
 */
export class DiscardingImage implements BlockBackend {
  readonly size: number;
  readonly readOnly = false;
  readonly #base: BlockBackend;
  readonly #defer: Defer;
  readonly #written = new Map<number, Uint8Array>();
  #disposed = false;

  constructor(base: BlockBackend, options: { readonly defer: Defer }) {
    this.#base = base;
    this.size = base.size;
    this.#defer = options.defer;
  }

  submit(request: BlockRequest, done: (error?: BlockError) => void): void {
    const error = checkRequest(request, this.size, false);
    if (error === undefined && request.kind === 'read') {
      const first = request.offset / SECTOR_BYTES;
      this.#base.submit(request, (failure) => {
        if (failure === undefined) {
          this.#overlay(first, request.buffer);
        }
        done(failure);
      });
      return;
    }
    this.#defer(() => {
      if (this.#disposed) {
        return;
      }
      if (error === undefined && request.kind === 'write') {
        const first = request.offset / SECTOR_BYTES;
        for (let at = 0; at < request.buffer.length; at += SECTOR_BYTES) {
          this.#written.set(first + at / SECTOR_BYTES, request.buffer.slice(at, at + SECTOR_BYTES));
        }
      } else if (error === undefined && request.kind === 'write-zeroes') {
        for (let at = request.offset; at < request.offset + request.length; at += SECTOR_BYTES) {
          this.#written.set(at / SECTOR_BYTES, ZERO_SECTOR);
        }
      }
      done(error);
    });
  }

  #overlay(firstSector: number, buffer: Uint8Array): void {
    if (this.#written.size === 0) {
      return;
    }
    for (let at = 0; at < buffer.length; at += SECTOR_BYTES) {
      const sector = this.#written.get(firstSector + at / SECTOR_BYTES);
      if (sector !== undefined) {
        buffer.set(sector, at);
      }
    }
  }

  dispose(): void {
    this.#disposed = true;
    this.#written.clear();
    this.#base.dispose();
  }
}
