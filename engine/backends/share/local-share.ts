import { Staging } from '../../base/staging.ts';
import type { P9Server } from './p9-server.ts';
import type { ShareBackend, ShareState } from './share-backend.ts';
import { CHANNEL_BYTES } from './share-channel.ts';

/**
 * A shared folder whose files the machine thread reads and writes itself: in virtual time, so that the host's speed
 * decides nothing. Owns the server.
 */
export class LocalShare implements ShareBackend {
  readonly #server: P9Server;
  readonly #defer: (action: () => void) => void;
  readonly #staging = new Staging(CHANNEL_BYTES);
  readonly #waiting: (() => void)[] = [];
  #disposed = false;

  /** `defer` runs something in the machine thread a moment later. */
  constructor(server: P9Server, defer: (action: () => void) => void) {
    this.#server = server;
    this.#defer = defer;
  }

  take(length: number): Uint8Array | undefined {
    return this.#staging.take(length);
  }

  give(bytes: Uint8Array): void {
    this.#staging.give(bytes);
  }

  wait(ask: () => void): void {
    this.#staging.wait(ask);
  }

  submit(request: Uint8Array, reply: Uint8Array, done: (length: number) => void): void {
    this.#later(() => done(this.#server.handle(request, reply)));
  }

  #later(action: () => void): void {
    this.#waiting.push(action);
    this.#defer(() => this.#next());
  }

  #next(): void {
    if (!this.#disposed) {
      this.#waiting.shift()?.();
    }
  }

  reset(): void {
    this.#later(() => this.#server.reset());
  }

  settle(): void {
    while (!this.#disposed && this.#waiting.length > 0) {
      this.#next();
    }
  }

  save(): ShareState {
    this.settle();
    return this.#server.save();
  }

  load(state: ShareState): void {
    this.settle();
    this.#server.load(state);
  }

  dispose(): void {
    if (!this.#disposed) {
      this.#disposed = true;
      this.#waiting.length = 0;
      this.#server.dispose();
    }
  }
}
