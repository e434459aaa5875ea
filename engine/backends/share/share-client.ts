import { receiveMessageOnPort } from 'node:worker_threads';
import { defined } from '../../base/assert.ts';
import { HostError } from '../../base/host-error.ts';
import { Staging } from '../../base/staging.ts';
import type { ShareBackend, ShareState } from './share-backend.ts';
import { COMPLETED, entryAt, SHARE_REQUEST, type ShareEnd, SUBMITTED } from './share-channel.ts';

/** A host whose file system does not come back keeps a machine from being saved after so long, in milliseconds. */
const SETTLE_MILLIS = 10_000;

/** The machine thread's way to a shared folder whose files are in another thread (share-server.ts). */
export class ShareClient implements ShareBackend {
  readonly #name: string;
  readonly #end: ShareEnd;
  readonly #words: Int32Array;
  readonly #staging: Staging;
  readonly #bell: Int32Array;
  readonly #dones: ((length: number) => void)[] = [];
  #submitted = 0;
  #completed = 0;
  #lastKind: number | undefined;
  #disposed = false;

  /** `name` for messages; `bell`: an i32 that the other thread changes and notifies after each answer. */
  constructor(name: string, end: ShareEnd, bell: Int32Array) {
    this.#name = name;
    this.#end = end;
    this.#words = new Int32Array(end.control);
    this.#staging = new Staging(end.memory);
    this.#bell = bell;
  }

  /** Requests are under way. */
  get busy(): boolean {
    return this.#submitted !== this.#completed;
  }

  /** Answers wait for `poll`. */
  get ready(): boolean {
    return Atomics.load(this.#words, COMPLETED) !== this.#completed;
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
    this.#post(SHARE_REQUEST.message, request, reply, done);
  }

  #post(kind: number, request?: Uint8Array, reply?: Uint8Array, done: (length: number) => void = () => {}): void {
    if (this.#disposed) {
      return;
    }
    const entry = [kind, request?.byteOffset, request?.length, reply?.byteOffset, reply?.length];
    this.#words.set(
      entry.map((word) => word ?? 0),
      entryAt(this.#submitted),
    );
    this.#lastKind = kind;
    this.#dones.push(done);
    this.#submitted = (this.#submitted + 1) | 0;
    Atomics.store(this.#words, SUBMITTED, this.#submitted);
    Atomics.notify(this.#words, SUBMITTED);
  }

  /** Hands over the answers that have come since the last call. */
  poll(): void {
    const completed = Atomics.load(this.#words, COMPLETED);
    while (this.#completed !== completed) {
      const length = this.#words[entryAt(this.#completed) + 4] ?? 0;
      this.#completed = (this.#completed + 1) | 0;
      defined(this.#dones.shift(), 'somebody who waits for an answer')(length);
    }
  }

  reset(): void {
    if (this.#lastKind !== SHARE_REQUEST.reset) {
      this.#post(SHARE_REQUEST.reset);
    }
  }

  settle(): void {
    const deadline = performance.now() + SETTLE_MILLIS;
    for (;;) {
      const bell = Atomics.load(this.#bell, 0);
      this.poll();
      const left = deadline - performance.now();
      if (!this.busy) {
        return;
      }
      if (left <= 0) {
        throw new HostError('share-busy', `share ${this.#name}: the host does not finish what the guest asked for`, {
          remedy: 'see whether its file system still answers',
        });
      }
      Atomics.wait(this.#bell, 0, bell, left);
    }
  }

  save(): ShareState {
    this.#post(SHARE_REQUEST.save);
    this.settle();
    return defined(receiveMessageOnPort(this.#end.port), 'the saved session').message as ShareState;
  }

  load(state: ShareState): void {
    this.#end.port.postMessage(state);
    this.#post(SHARE_REQUEST.load);
  }

  /** The other thread ends once it has done what it was asked for. */
  dispose(): void {
    this.#post(SHARE_REQUEST.close);
    this.#disposed = true;
    this.#dones.length = 0;
    this.#end.port.close();
  }
}
