import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { HostError } from '../../base/host-error.ts';
import { Staging } from '../../base/staging.ts';
import type { BlockBackend, BlockError, BlockRequest } from './block-backend.ts';
import { checkRequest } from './block-checks.ts';
import type { FromImages, OpenOptions, ToImages } from './image-messages.ts';

/** For requests whose data are not in memory that threads share: so much may be under way. */
const BOUNCE_BYTES = 2 << 20;
/** Opening an image waits for the other thread, looking again this often, in milliseconds. */
const OPEN_WAIT_MILLIS = 100;

interface Pending {
  readonly done: (error?: BlockError) => void;
}

/**
 * The machine thread's way to images whose files are in another thread (image-server.ts): requests are messages, answers
 * are picked up by `poll`. Data in shared memory are read and written in place, others go through a bounded bounce buffer.
 */
export class ImageClient {
  readonly #port: MessagePort;
  readonly #bell: Int32Array;
  readonly #pending = new Map<number, Pending>();
  readonly #memories = new WeakMap<SharedArrayBuffer, number>();
  readonly #bounce = new Staging(BOUNCE_BYTES);
  /** Answers that came while an image was being opened. */
  readonly #early: FromImages[] = [];
  #nextImage = 0;
  #nextMemory = 0;
  #nextRequest = 0;

  /** `bell`: an i32 that the other thread changes and notifies after each answer. */
  constructor(port: MessagePort, bell: Int32Array) {
    this.#port = port;
    this.#bell = bell;
  }

  /** Requests under way. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /** Opens an image, waiting for the other thread. Throws HostError as openRawImage does. */
  open(path: string, options: OpenOptions): BlockBackend {
    const image = this.#nextImage++;
    this.#send({ kind: 'open', image, path, options });
    for (;;) {
      const bell = Atomics.load(this.#bell, 0);
      for (let message = this.#receive(); message !== undefined; message = this.#receive()) {
        if (message.kind === 'opened' && message.image === image) {
          return new RemoteImage(this, image, message.size, options.readOnly);
        }
        if (message.kind === 'refused' && message.image === image) {
          const { code, message: text, remedy, details } = message;
          throw new HostError(code, text, { remedy, details });
        }
        this.#early.push(message);
      }
      Atomics.wait(this.#bell, 0, bell, OPEN_WAIT_MILLIS);
    }
  }

  #receive(): FromImages | undefined {
    return receiveMessageOnPort(this.#port)?.message as FromImages | undefined;
  }

  #send(message: ToImages): void {
    this.#port.postMessage(message);
  }

  /** Completes what was answered since the last call. */
  poll(): void {
    if (this.#pending.size === 0) {
      return;
    }
    for (const message of this.#early.splice(0)) {
      this.#complete(message);
    }
    for (let message = this.#receive(); message !== undefined; message = this.#receive()) {
      this.#complete(message);
    }
  }

  #complete(message: FromImages): void {
    if (message.kind === 'done') {
      const pending = this.#pending.get(message.request);
      this.#pending.delete(message.request);
      pending?.done(message.error);
    }
  }

  /** Starts a request that was checked. */
  start(image: number, request: BlockRequest, done: (error?: BlockError) => void): void {
    switch (request.kind) {
      case 'read':
      case 'write':
        this.#move(image, request, done);
        return;
      case 'flush':
        this.#send({ kind: 'flush', request: this.#expect(done), image });
        return;
      case 'write-zeroes': {
        const { offset, length } = request;
        this.#send({ kind: 'write-zeroes', request: this.#expect(done), image, offset, length });
        return;
      }
      case 'discard':
        // Advisory, and Node cannot punch holes: the contents stay. Ordered like a flush, but without its cost.
        this.#send({ kind: 'write-zeroes', request: this.#expect(done), image, offset: 0, length: 0 });
    }
  }

  #expect(done: (error?: BlockError) => void): number {
    const request = this.#nextRequest++;
    this.#pending.set(request, { done });
    return request;
  }

  #move(
    image: number,
    { kind, offset, buffer }: BlockRequest & { kind: 'read' | 'write' },
    done: Pending['done'],
  ): void {
    if (buffer.buffer instanceof SharedArrayBuffer) {
      this.#post(image, kind, offset, buffer, done);
      return;
    }
    // A request larger than the whole bounce buffer gets memory of its own.
    const bounce =
      buffer.length > BOUNCE_BYTES
        ? new Uint8Array(new SharedArrayBuffer(buffer.length))
        : this.#bounce.take(buffer.length);
    if (bounce === undefined) {
      this.#bounce.wait(() => this.#move(image, { kind, offset, buffer }, done));
      return;
    }
    if (kind === 'write') {
      bounce.set(buffer);
    }
    this.#post(image, kind, offset, bounce, (error) => {
      if (kind === 'read' && error === undefined) {
        buffer.set(bounce);
      }
      if (buffer.length <= BOUNCE_BYTES) {
        this.#bounce.give(bounce);
      }
      done(error);
    });
  }

  #post(image: number, kind: 'read' | 'write', offset: number, bytes: Uint8Array, done: Pending['done']): void {
    const { buffer, byteOffset: at, length } = bytes;
    if (!(buffer instanceof SharedArrayBuffer)) {
      throw new TypeError('data of a request are in memory that is not shared');
    }
    let memory = this.#memories.get(buffer);
    if (memory === undefined) {
      memory = this.#nextMemory++;
      this.#memories.set(buffer, memory);
      this.#send({ kind: 'memory', memory, bytes: buffer });
    }
    this.#send({ kind, request: this.#expect(done), image, memory, at, offset, length });
  }

  close(image: number): void {
    this.#send({ kind: 'close', image });
  }
}

/** An image whose file is in another thread. */
class RemoteImage implements BlockBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly #client: ImageClient;
  readonly #image: number;
  #disposed = false;

  constructor(client: ImageClient, image: number, size: number, readOnly: boolean) {
    this.#client = client;
    this.#image = image;
    this.size = size;
    this.readOnly = readOnly;
  }

  submit(request: BlockRequest, done: (error?: BlockError) => void): void {
    const error = checkRequest(request, this.size, this.readOnly);
    const answer = (failure?: BlockError) => {
      if (!this.#disposed) {
        done(failure);
      }
    };
    if (error === undefined) {
      this.#client.start(this.#image, request, answer);
    } else {
      // As late as every other answer.
      this.#client.start(this.#image, { kind: 'discard', offset: 0, length: 0 }, () => answer(error));
    }
  }

  dispose(): void {
    if (!this.#disposed) {
      this.#disposed = true;
      this.#client.close(this.#image);
    }
  }
}
