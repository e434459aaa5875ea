import type { Disposable } from '../../engine/base/disposable.ts';
import { type CallName, calls, type FeedName, feeds, isCallName, isFeedName } from '../contract/api.ts';
import { badArguments } from '../contract/client.ts';
import type { ApiError } from '../contract/errors.ts';
import { failure } from '../contract/failures.ts';
import { clientMessageSchema, type ServerMessage } from '../contract/wire.ts';
import type { DirectPort } from '../vms/process-host.ts';
import type { ApiHandlers, ConnectionTraits, FeedSource } from './api-handlers.ts';
import { toErrorData } from './failures.ts';

/** Where a connection's messages go. */
export interface ConnectionSink {
  message(message: ServerMessage): void;
  /** An item of a binary feed. */
  bytes(id: number, item: Uint8Array<ArrayBuffer>): void;
  /** Opens a way to the client on which a machine's process sends items of a binary feed itself. */
  openDirect?(id: number): DirectPort;
  /** The client does not keep to the protocol: the connection is to be closed. */
  violation(what: string): void;
}

const MAX_OPEN_FEEDS = 100;
const MAX_PENDING_CALLS = 500;

/**
 * The services' end of one connection: checks what the client says against the contract, carries it out in the order
 * of arrival, and answers. Whatever a client sends, nothing throws.
 */
export class ApiConnection implements Disposable {
  readonly #handlers: ApiHandlers;
  readonly #traits: ConnectionTraits;
  readonly #sink: ConnectionSink;
  readonly #feeds = new Map<number, { source: FeedSource | undefined }>();
  #pendingCalls = 0;
  #disposed = false;

  constructor(handlers: ApiHandlers, traits: ConnectionTraits, sink: ConnectionSink) {
    this.#handlers = handlers;
    this.#traits = traits;
    this.#sink = sink;
  }

  /** A parsed JSON message, not yet checked. */
  receive(raw: unknown): void {
    if (this.#disposed) {
      return;
    }
    const parsed = clientMessageSchema.safeParse(raw);
    if (!parsed.success) {
      this.#sink.violation('a message that is not understood');
      return;
    }
    const message = parsed.data;
    switch (message.kind) {
      case 'call':
        this.#call(message.id, message.name, message.args);
        return;
      case 'subscribe':
        this.#subscribe(message.id, message.name, message.args);
        return;
      case 'ack':
        this.#feeds.get(message.id)?.source?.ack?.(message.sequence);
        return;
      case 'unsubscribe':
        this.#close(message.id);
        return;
    }
  }

  #send(message: ServerMessage): void {
    if (!this.#disposed) {
      this.#sink.message(message);
    }
  }

  #call(id: number, name: string, args: unknown): void {
    if (!isCallName(name)) {
      this.#send({ kind: 'error', id, error: unknownName(name).toData() });
      return;
    }
    if (this.#pendingCalls >= MAX_PENDING_CALLS) {
      this.#send({ kind: 'error', id, error: tooMany('calls').toData() });
      return;
    }
    this.#pendingCalls++;
    this.#carryOut(name, args).then(
      (value) => {
        this.#pendingCalls--;
        this.#send({ kind: 'result', id, value });
      },
      (error: unknown) => {
        this.#pendingCalls--;
        this.#send({ kind: 'error', id, error: toErrorData(error) });
      },
    );
  }

  /** Runs up to the handler's first wait at once, so calls take effect in their order. */
  async #carryOut(name: CallName, args: unknown): Promise<unknown> {
    const checked = calls[name].args.safeParse(args ?? {});
    if (!checked.success) {
      throw badArguments(name, checked.error.issues);
    }
    // The arguments were checked against this call's own schema.
    const handler = this.#handlers.calls[name] as (args: unknown, traits: ConnectionTraits) => unknown;
    return await handler(checked.data, this.#traits);
  }

  #subscribe(id: number, name: string, args: unknown): void {
    const refuse = (error: unknown) => {
      this.#feeds.delete(id);
      this.#send({ kind: 'end', id, error: toErrorData(error) });
    };
    if (this.#feeds.has(id)) {
      this.#sink.violation('a number used twice');
      return;
    }
    if (!isFeedName(name)) {
      refuse(unknownName(name));
      return;
    }
    if (this.#feeds.size >= MAX_OPEN_FEEDS) {
      refuse(tooMany('subscriptions'));
      return;
    }
    const checked = feeds[name].args.safeParse(args ?? {});
    if (!checked.success) {
      refuse(badArguments(name, checked.error.issues));
      return;
    }
    const feed: { source: FeedSource | undefined } = { source: undefined };
    this.#feeds.set(id, feed);
    const isOpen = () => !this.#disposed && this.#feeds.get(id) === feed;
    const { openDirect } = this.#sink;
    const sink = {
      openDirect: openDirect === undefined ? undefined : () => openDirect.call(this.#sink, id),
      item: (item: unknown) => {
        if (!isOpen()) {
          return;
        }
        if (feeds[name].item === 'bytes') {
          this.#sink.bytes(id, item as Uint8Array<ArrayBuffer>);
        } else {
          this.#send({ kind: 'item', id, item });
        }
      },
      end: (error?: unknown) => {
        if (isOpen()) {
          this.#close(id);
          this.#send({ kind: 'end', id, ...(error === undefined ? {} : { error: toErrorData(error) }) });
        }
      },
    };
    try {
      feed.source = this.#openFeed(name, checked.data, sink);
    } catch (error) {
      refuse(error);
      return;
    }
    if (!isOpen()) {
      feed.source.dispose();
    }
  }

  #openFeed(name: FeedName, args: unknown, sink: unknown): FeedSource {
    // The arguments were checked against this feed's own schema, and the sink takes what this feed gives.
    const handler = this.#handlers.feeds[name] as (
      args: unknown,
      sink: unknown,
      traits: ConnectionTraits,
    ) => FeedSource;
    return handler(args, sink, this.#traits);
  }

  #close(id: number): void {
    const feed = this.#feeds.get(id);
    this.#feeds.delete(id);
    feed?.source?.dispose();
  }

  dispose(): void {
    this.#disposed = true;
    for (const id of [...this.#feeds.keys()]) {
      this.#close(id);
    }
  }
}

function unknownName(name: string): ApiError {
  return failure('unknown-name', { name: JSON.stringify(name) });
}

function tooMany(what: string): ApiError {
  return failure('too-many', { what });
}
