import { closeSync, createWriteStream, openSync, type WriteStream } from 'node:fs';
import { HostError } from '../../base/host-error.ts';
import type { Log } from '../../base/log.ts';

/** Bytes that wait for a slow disk; frames beyond them are left out. */
const MAX_WAITING_BYTES = 16 << 20;

/** A file that frames are captured to. When the disk fails, the capture ends and the machine goes on. */
export class CaptureFile {
  readonly #stream: WriteStream;
  readonly #path: string;
  readonly #log: Log;
  #failed = false;
  #left = 0;

  /** Creates the file, or empties it. Throws HostError. */
  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
    try {
      closeSync(openSync(path, 'w'));
    } catch (cause) {
      throw new HostError('capture-failed', `${path}: cannot be written (${(cause as NodeJS.ErrnoException).code})`, {
        remedy: 'give a file in a folder that you may write to',
        cause,
      });
    }
    this.#stream = createWriteStream(path, { flags: 'a' });
    this.#stream.on('error', (error: NodeJS.ErrnoException) => {
      this.#failed = true;
      log.warn(`${path}: the capture ends, as it cannot be written (${error.code})`);
    });
  }

  /** Appends bytes, which belong to the file from now on. */
  write(bytes: Uint8Array): void {
    if (this.#failed) {
      return;
    }
    if (this.#stream.writableLength > MAX_WAITING_BYTES) {
      if (this.#left++ === 0) {
        this.#log.warn(`${this.#path}: the disk is too slow, frames are missing in the capture`);
      }
      return;
    }
    this.#stream.write(bytes);
  }

  /** Resolves when everything is written. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#failed) {
        resolve();
        return;
      }
      this.#stream.once('close', resolve);
      this.#stream.end();
    });
  }
}
