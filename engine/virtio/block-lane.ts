import type { BlockBackend, BlockError, BlockRequest } from '../backends/block/block-backend.ts';

interface Waiting {
  readonly request: BlockRequest;
  readonly done: (error?: BlockError) => void;
}

/**
 * A device's way to its backend, with a fence: after a reset, requests of before may still be under way on the host. What
 * comes after the fence waits until they have ended, so that an old write never lands on top of a new one.
 */
export class BlockLane {
  readonly #backend: BlockBackend;
  #outstanding = 0;
  #fenced = false;
  readonly #waiting: Waiting[] = [];

  constructor(backend: BlockBackend) {
    this.#backend = backend;
  }

  get size(): number {
    return this.#backend.size;
  }

  get readOnly(): boolean {
    return this.#backend.readOnly;
  }

  /** As the backend's. */
  submit(request: BlockRequest, done: (error?: BlockError) => void): void {
    if (this.#fenced) {
      this.#waiting.push({ request, done });
      return;
    }
    this.#outstanding++;
    this.#backend.submit(request, (error) => {
      this.#outstanding--;
      done(error);
      this.#open();
    });
  }

  /** Nothing that is submitted from now on starts before everything that was submitted has ended. */
  fence(): void {
    if (this.#outstanding > 0) {
      this.#fenced = true;
    }
  }

  #open(): void {
    if (this.#fenced && this.#outstanding === 0) {
      this.#fenced = false;
      for (const { request, done } of this.#waiting.splice(0)) {
        this.submit(request, done);
      }
    }
  }
}
