import { closeSync, openSync, writeSync } from 'node:fs';
import type { Disposable } from '../../base/disposable.ts';
import { HostError } from '../../base/host-error.ts';
import type { Log } from '../../base/log.ts';

/**
 * The file that takes a serial port's output. Opening it empties it. When the host cannot take more (disk full), the
 * output is dropped and the log says so once; the guest does not notice.
 */
export class FileSink implements Disposable {
  readonly #path: string;
  readonly #log: Log;
  #fd: number | undefined;
  #failed = false;

  /** Throws HostError `serial-file` when the file cannot be created. */
  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
    try {
      this.#fd = openSync(path, 'w');
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      throw new HostError('serial-file', `the serial port's file ${path} cannot be written (${code})`, {
        remedy: 'give another path',
        cause: error,
      });
    }
  }

  write(bytes: Uint8Array): void {
    if (this.#fd === undefined || this.#failed) {
      return;
    }
    try {
      for (let at = 0; at < bytes.length; ) {
        at += writeSync(this.#fd, bytes, at);
      }
    } catch (error) {
      this.#failed = true;
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      this.#log.warn(`${this.#path}: serial output is dropped from here on (${code})`);
    }
  }

  dispose(): void {
    if (this.#fd !== undefined) {
      closeSync(this.#fd);
      this.#fd = undefined;
    }
  }
}
