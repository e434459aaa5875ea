import { close, fdatasync, read, write } from 'node:fs';
import type { MessagePort } from 'node:worker_threads';
import type { Disposable } from '../../base/disposable.ts';
import { HostError } from '../../base/host-error.ts';
import type { BlockRequest } from './block-backend.ts';
import { wholeSectors } from './block-checks.ts';
import { blockErrorOf } from './host-error-code.ts';
import type { FromImages, ToImages } from './image-messages.ts';
import { openRawFile, ZEROS } from './raw-image.ts';

interface OpenImage {
  readonly fd: number;
  readonly lock: Disposable | undefined;
  /** Requests under way; the file is closed after the last. */
  busy: number;
  closing: boolean;
}

type Callback = (error: unknown) => void;

/** Moves all of `bytes`, however the host cuts it; a read beyond the end of the file gives zeros. */
function moveAll(kind: 'read' | 'write', fd: number, bytes: Uint8Array, offset: number, done: Callback): void {
  const go = (at: number) => {
    const moved = (error: unknown, count: number) => {
      if (error !== null) {
        done(error);
      } else if (count === 0 && kind === 'read') {
        bytes.fill(0, at);
        done(undefined);
      } else if (at + count >= bytes.length) {
        done(undefined);
      } else {
        go(at + count);
      }
    };
    if (kind === 'read') {
      read(fd, bytes, at, bytes.length - at, offset + at, moved);
    } else {
      write(fd, bytes, at, bytes.length - at, offset + at, moved);
    }
  };
  go(0);
}

function writeZeros(fd: number, offset: number, length: number, done: Callback): void {
  if (length === 0) {
    done(undefined);
    return;
  }
  const count = Math.min(length, ZEROS.length);
  moveAll('write', fd, ZEROS.subarray(0, count), offset, (error) =>
    error === undefined ? writeZeros(fd, offset + count, length - count, done) : done(error),
  );
}

/**
 * Has the files of a machine's images, in a thread that may wait for the host, and carries out what a machine thread
 * asks for (image-client.ts). `ring` wakes that thread after an answer.
 */
export class ImageServer {
  readonly #port: MessagePort;
  readonly #ring: () => void;
  readonly #images = new Map<number, OpenImage>();
  readonly #memories = new Map<number, SharedArrayBuffer>();
  /** Files that are being closed. */
  #closing = 0;
  #closed: (() => void) | undefined;
  #end: Promise<void> | undefined;

  constructor(port: MessagePort, ring: () => void) {
    this.#port = port;
    this.#ring = ring;
    port.on('message', (message: ToImages) => this.#receive(message));
    // Files alone keep no process alive.
    port.unref();
  }

  #answer(message: FromImages): void {
    this.#port.postMessage(message);
    this.#ring();
  }

  #receive(message: ToImages): void {
    switch (message.kind) {
      case 'open':
        this.#open(message);
        return;
      case 'memory':
        this.#memories.set(message.memory, message.bytes);
        return;
      case 'close':
        this.#close(message.image);
        return;
      default:
        this.#request(message);
    }
  }

  #open({ image, path, options }: ToImages & { kind: 'open' }): void {
    try {
      const file = openRawFile(path, options);
      this.#images.set(image, { fd: file.fd, lock: file.lock, busy: 0, closing: false });
      this.#answer({ kind: 'opened', image, size: wholeSectors(file.size) });
    } catch (error) {
      if (!(error instanceof HostError)) {
        throw error;
      }
      const { code, message, remedy, details } = error;
      this.#answer({ kind: 'refused', image, code, message, remedy, details });
    }
  }

  #request(message: Exclude<ToImages, { kind: 'open' | 'memory' | 'close' }>): void {
    const { request, image: index, kind } = message;
    const image = this.#images.get(index);
    if (image === undefined) {
      const error = { code: 'io', message: 'the image is closed' } as const;
      this.#answer({ kind: 'done', request, error });
      return;
    }
    image.busy++;
    const done = (error: unknown) => {
      const failure = error === undefined || error === null ? undefined : blockErrorOf(error, kindOf(kind));
      this.#answer({ kind: 'done', request, error: failure });
      image.busy--;
      this.#finish(index, image);
    };
    switch (kind) {
      case 'flush':
        fdatasync(image.fd, done);
        return;
      case 'write-zeroes':
        writeZeros(image.fd, message.offset, message.length, done);
        return;
      default: {
        const memory = this.#memories.get(message.memory);
        if (memory === undefined) {
          done(new Error('unknown memory'));
          return;
        }
        moveAll(kind, image.fd, new Uint8Array(memory, message.at, message.length), message.offset, done);
      }
    }
  }

  #close(index: number): void {
    const image = this.#images.get(index);
    if (image !== undefined) {
      image.closing = true;
      this.#finish(index, image);
    }
  }

  #finish(index: number, image: OpenImage): void {
    if (image.closing && image.busy === 0 && this.#images.delete(index)) {
      this.#closing++;
      close(image.fd, () => {
        this.#closing--;
        image.lock?.dispose();
        if (this.#images.size + this.#closing === 0) {
          this.#closed?.();
        }
      });
    }
  }

  /** Ends what is under way, closes every file and takes no more requests. Closing twice is closing once. */
  close(): Promise<void> {
    this.#end ??= this.#closeAll();
    return this.#end;
  }

  async #closeAll(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#closed = resolve;
    });
    const open = [...this.#images.keys()];
    for (const index of open) {
      this.#close(index);
    }
    if (this.#images.size + this.#closing > 0) {
      await closed;
    }
    this.#port.close();
  }
}

function kindOf(kind: 'read' | 'write' | 'flush' | 'write-zeroes'): BlockRequest['kind'] {
  return kind;
}
