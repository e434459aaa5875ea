import type { BlockBackend, BlockError, BlockRequest } from './block-backend.ts';

interface Held {
  readonly request: BlockRequest;
  readonly done: (error?: BlockError) => void;
  readonly error: BlockError;
}

/**
 * What has happened to a request: `waits` to be tried again; or `lost`, kept too, but of no use to try again: the host has
 * not kept what was written before, though asking it once more would give no error; or `told` to the guest at once.
 */
export type TroubleKind = 'waits' | 'lost' | 'told';
type OnTrouble = (error: BlockError, what: TroubleKind) => void;

/**
 * Keeps changes that fail on the host, instead of handing the failure to a guest that may lose data over it: the machine
 * is to be paused (`onTrouble`) until the reason is gone (`retry`), or until the user wants the guest to hear of it
 * (`giveUp`). Failed reads go to the guest at once. Owns `base`.
 */
export class PatientImage implements BlockBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly #base: BlockBackend;
  readonly #onTrouble: OnTrouble;
  #held: Held[] = [];
  /** Changes that were tried again and have not ended. */
  #retrying = 0;

  constructor(base: BlockBackend, onTrouble: OnTrouble) {
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
    const byHost = error?.code === 'io' || error?.code === 'no-space';
    if (error === undefined || request.kind === 'read' || !byHost) {
      if (error !== undefined && byHost) {
        this.#onTrouble(error, 'told');
      }
      done(error);
      return;
    }
    this.#held.push({ request, done, error });
    this.#onTrouble(error, request.kind === 'flush' ? 'lost' : 'waits');
  }

  /** Tries the changes that are kept once more, in their order. */
  retry(): void {
    const held = this.#held;
    this.#held = held.filter(({ request }) => request.kind === 'flush');
    for (const { request, done } of held) {
      if (request.kind === 'flush') {
        continue;
      }
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
