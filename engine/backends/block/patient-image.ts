import type { BlockBackend, BlockError, BlockRequest } from './block-backend.ts';

interface Held {
  readonly request: BlockRequest;
  readonly done: (error?: BlockError) => void;
  readonly error: BlockError;
}

/**
 * Keeps changes that fail on the host, instead of handing the failure to a guest that may lose data over it: the machine
 * is to be paused (`onTrouble`) until the reason is gone (`retry`), or until the user wants the guest to hear of it
 * (`giveUp`). Failed reads go to the guest at once. Owns `base`.
 */
export class PatientImage implements BlockBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly #base: BlockBackend;
  readonly #onTrouble: (error: BlockError) => void;
  #held: Held[] = [];
  /** Changes that were tried again and have not ended. */
  #retrying = 0;

  constructor(base: BlockBackend, onTrouble: (error: BlockError) => void) {
    this.size = base.size;
    this.readOnly = base.readOnly;
    this.#base = base;
    this.#onTrouble = onTrouble;
  }

  /** Changes are kept, or being tried again: the guest must not go on. */
  get troubled(): boolean {
    return this.#held.length + this.#retrying > 0;
  }

  submit(request: BlockRequest, done: (error?: BlockError) => void): void {
    this.#base.submit(request, (error) => this.#settle(request, error, done));
  }

  #settle(request: BlockRequest, error: BlockError | undefined, done: (error?: BlockError) => void): void {
    if (error === undefined || request.kind === 'read' || (error.code !== 'io' && error.code !== 'no-space')) {
      done(error);
      return;
    }
    this.#held.push({ request, done, error });
    this.#onTrouble(error);
  }

  /** Tries what is kept once more, in its order. */
  retry(): void {
    const held = this.#held;
    this.#held = [];
    for (const { request, done } of held) {
      this.#retrying++;
      this.#base.submit(request, (error) => {
        this.#retrying--;
        this.#settle(request, error, done);
      });
    }
  }

  /** Hands the failures to the guest. */
  giveUp(): void {
    const held = this.#held;
    this.#held = [];
    for (const { done, error } of held) {
      done(error);
    }
  }

  dispose(): void {
    this.#held = [];
    this.#base.dispose();
  }
}
