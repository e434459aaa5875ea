import type { Disposable } from '../../engine/base/disposable.ts';
import { Emitter, type Event } from '../../engine/base/event.ts';
import {
  type CallArgs,
  type CallName,
  type CallResult,
  calls,
  type FeedArgs,
  type FeedItem,
  type FeedName,
  feeds,
} from './api.ts';
import { ApiError } from './errors.ts';
import { failure } from './failures.ts';
import { type ClientMessage, type ServerMessage, serverMessageSchema } from './wire.ts';

/** Carries messages to the services and back. One client uses one transport. */
export interface ClientTransport {
  /** Messages in order; never throws: a transport that cannot send reports `closed`. */
  send(message: ClientMessage): void;
  /** Called once by the client. */
  listen(listener: TransportListener): void;
  close(): void;
}

export interface TransportListener {
  /** A parsed JSON message, not yet checked. */
  message(message: unknown): void;
  /** An item of a binary feed. */
  bytes(id: number, item: Uint8Array<ArrayBuffer>): void;
  /** The connection is gone, for `reason`; nothing follows. */
  closed(reason: string): void;
}

/** Optional when every argument is. */
type Args<T> = Record<never, never> extends T ? [args?: T] : [args: T];

export interface FeedHandlers<N extends FeedName> {
  item(item: FeedItem<N>): void;
  /** The feed is over: `error` says why it failed, undefined that it ended in order. Not called after dispose(). */
  end?(error: ApiError | undefined): void;
}

export interface Subscription extends Disposable {
  /** For console.frames: a packet was drawn. */
  ack(sequence: number): void;
}

/** The API as its users see it. */
export interface ApiClient extends Disposable {
  /** Rejects with {@link ApiError}. */
  call<N extends CallName>(name: N, ...args: Args<CallArgs<N>>): Promise<CallResult<N>>;
  subscribe<N extends FeedName>(name: N, args: FeedArgs<N>, handlers: FeedHandlers<N>): Subscription;
  /** The connection is gone: everything pending was rejected or ended with the code 'disconnected'. Fires once. */
  readonly onClose: Event<string>;
  readonly closed: boolean;
}

interface PendingCall {
  readonly name: CallName;
  resolve(value: unknown): void;
  reject(error: ApiError): void;
}

interface PendingFeed {
  readonly name: FeedName;
  item(item: unknown): void;
  end(error: ApiError | undefined): void;
}

/** An {@link ApiClient} on a transport. Arguments and results are checked here as well as at the other end. */
export function createApiClient(transport: ClientTransport): ApiClient {
  return new Client(transport);
}

class Client implements ApiClient {
  readonly #transport: ClientTransport;
  readonly #calls = new Map<number, PendingCall>();
  readonly #feeds = new Map<number, PendingFeed>();
  readonly #onClose = new Emitter<string>();
  readonly onClose = this.#onClose.event;
  #nextId = 1;
  #closed = false;

  constructor(transport: ClientTransport) {
    this.#transport = transport;
    transport.listen({
      message: (message) => this.#receive(message),
      bytes: (id, item) => this.#receiveBytes(id, item),
      closed: (reason) => this.#close(reason),
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  call<N extends CallName>(name: N, ...[args]: Args<CallArgs<N>>): Promise<CallResult<N>> {
    const checked = calls[name].args.safeParse(args ?? {});
    if (!checked.success) {
      return Promise.reject(badArguments(name, checked.error.issues));
    }
    if (this.#closed) {
      return Promise.reject(disconnected('the connection is closed'));
    }
    const id = this.#nextId++;
    return new Promise<CallResult<N>>((resolve, reject) => {
      // The result was checked against this call's schema before it gets here.
      this.#calls.set(id, { name, resolve: (value) => resolve(value as CallResult<N>), reject });
      this.#transport.send({ kind: 'call', id, name, args: checked.data });
    });
  }

  subscribe<N extends FeedName>(name: N, args: FeedArgs<N>, handlers: FeedHandlers<N>): Subscription {
    const id = this.#nextId++;
    const checked = feeds[name].args.safeParse(args);
    if (!checked.success || this.#closed) {
      const error = checked.success
        ? disconnected('the connection is closed')
        : badArguments(name, checked.error.issues);
      queueMicrotask(() => handlers.end?.(error));
      return { ack() {}, dispose() {} };
    }
    this.#feeds.set(id, {
      name,
      item: (item) => handlers.item(item as FeedItem<N>),
      end: (error) => handlers.end?.(error),
    });
    this.#transport.send({ kind: 'subscribe', id, name, args: checked.data });
    return {
      ack: (sequence) => {
        if (this.#feeds.has(id)) {
          this.#transport.send({ kind: 'ack', id, sequence });
        }
      },
      dispose: () => {
        if (this.#feeds.delete(id)) {
          this.#transport.send({ kind: 'unsubscribe', id });
        }
      },
    };
  }

  #receive(raw: unknown): void {
    const parsed = serverMessageSchema.safeParse(raw);
    if (!parsed.success) {
      this.#transport.close();
      this.#close('the service sent a message that is not understood');
      return;
    }
    const message: ServerMessage = parsed.data;
    switch (message.kind) {
      case 'result':
      case 'error': {
        const call = this.#calls.get(message.id);
        this.#calls.delete(message.id);
        if (call === undefined) {
          return;
        }
        if (message.kind === 'error') {
          call.reject(new ApiError(message.error));
          return;
        }
        const result = calls[call.name].result.safeParse(message.value);
        if (result.success) {
          call.resolve(result.data);
        } else {
          call.reject(badResult(call.name));
        }
        return;
      }
      case 'item': {
        const feed = this.#feeds.get(message.id);
        if (feed === undefined) {
          return;
        }
        const { item } = feeds[feed.name];
        const result = item === 'bytes' ? undefined : item.safeParse(message.item);
        if (result?.success === true) {
          feed.item(result.data);
        } else {
          this.#endFeed(message.id, badResult(feed.name));
          this.#transport.send({ kind: 'unsubscribe', id: message.id });
        }
        return;
      }
      case 'end':
        this.#endFeed(message.id, message.error === undefined ? undefined : new ApiError(message.error));
        return;
    }
  }

  #receiveBytes(id: number, item: Uint8Array<ArrayBuffer>): void {
    const feed = this.#feeds.get(id);
    if (feed !== undefined && feeds[feed.name].item === 'bytes') {
      feed.item(item);
    }
  }

  #endFeed(id: number, error: ApiError | undefined): void {
    const feed = this.#feeds.get(id);
    this.#feeds.delete(id);
    feed?.end(error);
  }

  #close(reason: string): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    const error = disconnected(reason);
    for (const call of [...this.#calls.values()]) {
      call.reject(error);
    }
    this.#calls.clear();
    for (const id of [...this.#feeds.keys()]) {
      this.#endFeed(id, error);
    }
    this.#onClose.fire(reason);
  }

  dispose(): void {
    if (!this.#closed) {
      this.#transport.close();
      this.#close('the connection was closed');
    }
    this.#onClose.dispose();
  }
}

interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** The error for arguments that a schema refuses; `details.field` names the first one. */
export function badArguments(name: string, issues: readonly Issue[]): ApiError {
  const issue = issues[0];
  if (issue === undefined) {
    return failure('bad-arguments', { call: name });
  }
  const field = issue.path.map(String).join('.');
  const where = field === '' ? '' : `${field}: `;
  return failure('bad-arguments.field', {
    call: name,
    where,
    problem: issue.message,
    ...(field === '' ? {} : { field }),
  });
}

function badResult(name: string): ApiError {
  return failure('bad-result', { call: name });
}

function disconnected(reason: string): ApiError {
  return failure('disconnected', { cause: reason });
}
