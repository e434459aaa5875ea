import { receiveMessageOnPort } from 'node:worker_threads';
import { defined } from '../../base/assert.ts';
import { HostError } from '../../base/host-error.ts';
import { Staging } from '../../base/staging.ts';
import { CallSpeed } from '../block/call-speed.ts';
import type { P9Server, P9Session } from './p9-server.ts';
import type { ShareBackend, ShareState } from './share-backend.ts';
import { COMPLETED, entryAt, SHARE_REQUEST, type ShareEnd, SUBMITTED } from './share-channel.ts';

/** A host whose file system does not come back keeps a machine from being saved after so long, in milliseconds. */
const SETTLE_MILLIS = 10_000;
/** A message that took no longer did not wait for a medium; listing a folder is many calls. Milliseconds. */
const FAST_MILLIS = 1;
/** One that took so long held the machine up, in milliseconds. */
const SLOW_MILLIS = 10;
/** The type of a message that waits for the medium, and where types stand (9P2000.L: Tfsync). */
const MESSAGE_TYPE = 4;
const TFSYNC = 50;

/** How a machine thread carries out messages itself, while they take no time. */
export interface OwnShare {
  /** Runs something in the machine thread a moment later. */
  readonly defer: (action: () => void) => void;
  /** A server for a session that the thread of the share lends. */
  readonly serve: (session: P9Session) => P9Server;
  /** Milliseconds. */
  readonly now?: () => number;
}

type Done = (length: number) => void;

/**
 * The machine thread's way to a shared folder whose files are in another thread (share-server.ts).
 *
 * While the host answers from memory, asking that thread takes longer than the answer: so once messages have been quick
 * for a while the session is borrowed, and the machine thread carries them out itself. After one that was slow, and for
 * those that are meant to be, the session goes back to its thread, where the machine does not wait.
 */
export class ShareClient implements ShareBackend {
  readonly #name: string;
  readonly #end: ShareEnd;
  readonly #words: Int32Array;
  readonly #staging: Staging;
  readonly #bell: Int32Array;
  readonly #own: OwnShare | undefined;
  readonly #now: () => number;
  readonly #speed = new CallSpeed(FAST_MILLIS, SLOW_MILLIS);
  /** Who waits, and whether the time that it takes tells of the next messages. */
  readonly #dones: { readonly done: Done; readonly counts: boolean }[] = [];
  /** What the machine thread has answered itself, and not handed over yet. */
  readonly #answered: (() => void)[] = [];
  /** What came while the session was on its way here. */
  readonly #queue: (() => void)[] = [];
  #submitted = 0;
  #completed = 0;
  #lastKind: number | undefined;
  /** The session, while it is here. */
  #server: P9Server | undefined;
  #borrowing = false;
  #disposed = false;

  /**
   * `name` for messages; `bell`: an i32 that the other thread changes and notifies after each answer; without `own` every
   * message is the other thread's.
   */
  constructor(name: string, end: ShareEnd, bell: Int32Array, own?: OwnShare) {
    this.#name = name;
    this.#end = end;
    this.#words = new Int32Array(end.control);
    this.#staging = new Staging(end.memory);
    this.#bell = bell;
    this.#own = own;
    this.#now = own?.now ?? (() => performance.now());
  }

  /** Requests are under way. */
  get busy(): boolean {
    return this.#submitted !== this.#completed;
  }

  /** Answers wait for `poll`. */
  get ready(): boolean {
    return Atomics.load(this.#words, COMPLETED) !== this.#completed;
  }

  /** The session is in this thread. */
  get borrowed(): boolean {
    return this.#server !== undefined;
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

  submit(request: Uint8Array, reply: Uint8Array, done: Done): void {
    if (this.#borrowing) {
      this.#queue.push(() => this.submit(request, reply, done));
      return;
    }
    if (this.#server !== undefined && request[MESSAGE_TYPE] === TFSYNC) {
      this.#giveBack();
    }
    if (this.#server === undefined) {
      this.#post(SHARE_REQUEST.message, request, reply, done);
      return;
    }
    const started = this.#now();
    const length = this.#server.handle(request, reply);
    this.#speed.note(this.#now() - started);
    this.#answered.push(() => done(length));
    this.#own?.defer(() => this.#answered.shift()?.());
    if (!this.#speed.trusted) {
      this.#giveBack();
    }
  }

  #giveBack(): void {
    this.#end.port.postMessage(this.#server?.giveAway());
    this.#server = undefined;
    this.#post(SHARE_REQUEST.return);
  }

  #borrow(): void {
    this.#borrowing = true;
    this.#post(SHARE_REQUEST.lend, undefined, undefined, () => {
      const session = defined(receiveMessageOnPort(this.#end.port), 'the session').message as P9Session;
      this.#server = this.#own?.serve(session);
      this.#borrowing = false;
      for (const action of this.#queue.splice(0)) {
        action();
      }
    });
  }

  #post(kind: number, request?: Uint8Array, reply?: Uint8Array, done: Done = () => {}): void {
    if (this.#disposed) {
      return;
    }
    const entry = [kind, request?.byteOffset, request?.length, reply?.byteOffset, reply?.length];
    this.#words.set(
      entry.map((word) => word ?? 0),
      entryAt(this.#submitted),
    );
    this.#lastKind = kind;
    const counts = kind === SHARE_REQUEST.message && request?.[MESSAGE_TYPE] !== TFSYNC;
    this.#dones.push({ done, counts });
    this.#submitted = (this.#submitted + 1) | 0;
    Atomics.store(this.#words, SUBMITTED, this.#submitted);
    Atomics.notify(this.#words, SUBMITTED);
  }

  /** Hands over the answers that have come. */
  poll(): void {
    const completed = Atomics.load(this.#words, COMPLETED);
    while (this.#completed !== completed) {
      const at = entryAt(this.#completed);
      const [micros = 0, length = 0] = [this.#words[at], this.#words[at + 4]];
      this.#completed = (this.#completed + 1) | 0;
      const { done, counts } = defined(this.#dones.shift(), 'somebody who waits for an answer');
      if (counts) {
        this.#speed.note(micros / 1000);
      }
      done(length);
    }
    const mayBorrow = this.#own !== undefined && this.#server === undefined && !this.#borrowing && !this.#disposed;
    if (mayBorrow && this.#speed.trusted && !this.busy) {
      this.#borrow();
    }
  }

  /** What it holds is to be closed. */
  #waitForSession(): void {
    try {
      this.settle();
    } catch (error) {
      if (!(error instanceof HostError)) {
        throw error;
      }
      // The host does not answer any more; what is open ends with the process.
    }
  }

  reset(): void {
    if (this.#borrowing) {
      this.#queue.push(() => this.reset());
    } else if (this.#server !== undefined) {
      this.#server.reset();
    } else if (this.#lastKind !== SHARE_REQUEST.reset) {
      this.#post(SHARE_REQUEST.reset);
    }
  }

  settle(): void {
    const deadline = performance.now() + SETTLE_MILLIS;
    for (;;) {
      const bell = Atomics.load(this.#bell, 0);
      this.poll();
      for (const answer of this.#answered.splice(0)) {
        answer();
      }
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
    this.settle();
    if (this.#server !== undefined) {
      return this.#server.save();
    }
    this.#post(SHARE_REQUEST.save);
    this.settle();
    return defined(receiveMessageOnPort(this.#end.port), 'the saved session').message as ShareState;
  }

  load(state: ShareState): void {
    if (this.#borrowing) {
      this.#queue.push(() => this.load(state));
    } else if (this.#server !== undefined) {
      this.#server.load(state);
    } else {
      this.#end.port.postMessage(state);
      this.#post(SHARE_REQUEST.load);
    }
  }

  /** The other thread ends once it has done what it was asked for. */
  dispose(): void {
    if (this.#disposed) {
      return;
    }
    if (this.#borrowing) {
      this.#waitForSession();
    }
    this.#answered.length = 0;
    this.#server?.dispose();
    this.#server = undefined;
    this.#post(SHARE_REQUEST.close);
    this.#disposed = true;
    this.#queue.length = 0;
    this.#dones.length = 0;
    this.#end.port.close();
  }
}
