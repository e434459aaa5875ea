import type { CharBackend } from '../char.ts';

/** Bytes collected before they are handed on without being asked for. */
const BATCH_BYTES = 4096;

/**
 * Turns the single bytes of a serial port into pieces worth a message or a system call. What does not fill a piece
 * waits for `flush`, which the run loop calls between slices and before it sleeps.
 */
export class ByteBatch implements CharBackend {
  readonly #emit: (bytes: Uint8Array) => void;
  #buffer = new Uint8Array(BATCH_BYTES);
  #length = 0;

  /** `emit` receives pieces that it may keep. */
  constructor(emit: (bytes: Uint8Array) => void) {
    this.#emit = emit;
  }

  write(byte: number): void {
    this.#buffer[this.#length++] = byte;
    if (this.#length === BATCH_BYTES) {
      this.flush();
    }
  }

  writeAll(bytes: Uint8Array): void {
    for (const byte of bytes) {
      this.write(byte);
    }
  }

  flush(): void {
    if (this.#length > 0) {
      const bytes = this.#buffer.slice(0, this.#length);
      this.#length = 0;
      this.#emit(bytes);
    }
  }
}
