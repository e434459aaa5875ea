import { performance } from 'node:perf_hooks';
import { getSystemErrorName } from 'node:util';
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { HostError } from '../../base/host-error.ts';
import { Staging } from '../../base/staging.ts';
import type { BlockBackend, BlockError, BlockRequest } from './block-backend.ts';
import { checkRequest, type Defer } from './block-checks.ts';
import { CallSpeed } from './call-speed.ts';
import { blockErrorOfCode } from './host-error-code.ts';
import type { FromImages, ImageCable, OpenOptions, ToImages } from './image-messages.ts';
import {
  IO_DISCARD,
  IO_FLUSH,
  IO_NOTHING,
  IO_READ,
  IO_READ_PADDED,
  IO_WRITE,
  IO_ZERO,
  IO_ZERO_UNMAP,
  type IoRequest,
  IoRingClient,
} from './io-ring.ts';
import { carryOut } from './raw-image.ts';

/** For requests whose data are not in memory that threads share: so much may be under way. */
const BOUNCE_BYTES = 2 << 20;
/** Opening an image waits for the other thread, looking again this often, in milliseconds. */
const OPEN_WAIT_MILLIS = 100;
/** Longer reads and writes are always left to other threads, which copy while the guest goes on. Bytes. */
const MAX_AT_ONCE_BYTES = 256 << 10;
/** When no I/O thread takes anything up for so long, one more is asked for. Milliseconds. */
const PATIENCE_MILLIS = 5;

type Done = (error?: BlockError) => void;

interface Pending {
  readonly image: RemoteImage;
  readonly kind: BlockRequest['kind'];
  /** Bytes. */
  readonly length: number;
  readonly done: Done;
}

interface Waiting {
  readonly request: IoRequest;
  readonly pending: Pending;
}

/**
 * The machine thread's way to images whose files other threads read and write (image-server.ts). Answers are picked up by
 * `poll`. Data in shared memory are read and written in place, others go through a bounded bounce buffer.
 */
export class ImageClient {
  readonly #port: MessagePort;
  readonly #ring: IoRingClient;
  readonly #bell: Int32Array;
  /** By the number of the request. */
  readonly #pending: (Pending | undefined)[] = [];
  /** Requests that came while all numbers were in use. */
  readonly #waiting: Waiting[] = [];
  #inFlight = 0;
  readonly #memories = new WeakMap<SharedArrayBuffer, number>();
  readonly #bounce = new Staging(BOUNCE_BYTES);
  #nextImage = 0;
  #nextMemory = 0;
  /** How many requests had been begun when that was last seen to change, and when that was. */
  #claimed = 0;
  #claimedAt = 0;

  /** `bell`: an i32 that other threads change and notify after each answer. */
  constructor({ port, ring }: ImageCable, bell: Int32Array) {
    this.#port = port;
    this.#ring = new IoRingClient(ring);
    this.#bell = bell;
  }

  /** Requests under way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether `poll` would complete something. */
  get ready(): boolean {
    return this.#ring.ready;
  }

  /**
   * Opens an image, waiting for the other thread. Throws HostError as openRawImage does. With `defer`, which runs code
   * later in this thread, reads and writes are carried out at once while the host has their data in memory.
   */
  open(path: string, options: OpenOptions, defer?: Defer): BlockBackend {
    const image = this.#nextImage++;
    this.#send({ kind: 'open', image, path, options });
    for (;;) {
      const bell = Atomics.load(this.#bell, 0);
      const message = receiveMessageOnPort(this.#port)?.message as FromImages | undefined;
      if (message?.kind === 'opened') {
        return new RemoteImage(this, message, options, defer);
      }
      if (message?.kind === 'refused') {
        const { code, message: text, remedy, details } = message;
        throw new HostError(code, text, { remedy, details });
      }
      Atomics.wait(this.#bell, 0, bell, OPEN_WAIT_MILLIS);
    }
  }

  #send(message: ToImages): void {
    this.#port.postMessage(message);
  }

  /** Completes what has ended since the last call. `now` in milliseconds of the host's clock. */
  poll(now = performance.now()): void {
    if (this.#inFlight === 0) {
      return;
    }
    const ring = this.#ring;
    for (let request = ring.take(); request >= 0; request = ring.take()) {
      const pending = this.#pending[request];
      this.#pending[request] = undefined;
      this.#inFlight--;
      if (pending !== undefined) {
        const number = ring.error(request);
        pending.image.ended(pending, ring.millis(request));
        pending.done(number === 0 ? undefined : blockErrorOfCode(getSystemErrorName(number), pending.kind));
      }
    }
    while (this.#waiting.length > 0) {
      const next = this.#waiting[0] as Waiting;
      if (!this.#begin(next.request, next.pending)) {
        break;
      }
      this.#waiting.shift();
    }
    if (ring.unclaimed > 0 && ring.claimed === this.#claimed) {
      if (now - this.#claimedAt > PATIENCE_MILLIS) {
        this.#claimedAt = now;
        this.#send({ kind: 'hurry' });
      }
    } else {
      this.#claimed = ring.claimed;
      this.#claimedAt = now;
    }
  }

  #begin(request: IoRequest, pending: Pending): boolean {
    const number = this.#ring.submit(request);
    if (number >= 0) {
      this.#pending[number] = pending;
    }
    return number >= 0;
  }

  #submit(image: RemoteImage, kind: BlockRequest['kind'], request: IoRequest, done: Done): void {
    const pending = { image, kind, length: request.length, done };
    if (this.#inFlight++ === 0) {
      this.#claimedAt = performance.now();
    }
    if (this.#waiting.length > 0 || !this.#begin(request, pending)) {
      this.#waiting.push({ request, pending });
    }
  }

  /** Starts a request that was checked, or none: then nothing but an answer. */
  start(image: RemoteImage, request: BlockRequest | undefined, done: Done): void {
    const { descriptor } = image;
    const without = { descriptor, memory: 0, place: 0, offset: 0, length: 0 };
    switch (request?.kind) {
      case 'read':
      case 'write':
        this.#move(image, request, done);
        return;
      case 'flush':
        this.#submit(image, 'flush', { ...without, operation: IO_FLUSH }, done);
        return;
      case 'write-zeroes':
      case 'discard': {
        const { kind, offset, length } = request;
        const operation = kind === 'discard' ? IO_DISCARD : request.mayUnmap ? IO_ZERO_UNMAP : IO_ZERO;
        this.#submit(image, kind, { ...without, operation, offset, length }, done);
        return;
      }
      default:
        this.#submit(image, 'flush', { ...without, operation: IO_NOTHING }, done);
    }
  }

  #move(image: RemoteImage, request: BlockRequest & { kind: 'read' | 'write' }, done: Done): void {
    const { kind, buffer } = request;
    if (buffer.buffer instanceof SharedArrayBuffer) {
      this.#moveShared(image, request, buffer, done);
      return;
    }
    // A request larger than the whole bounce buffer gets memory of its own.
    const bounce =
      buffer.length > BOUNCE_BYTES
        ? new Uint8Array(new SharedArrayBuffer(buffer.length))
        : this.#bounce.take(buffer.length);
    if (bounce === undefined) {
      this.#bounce.wait(() => this.#move(image, request, done));
      return;
    }
    if (kind === 'write') {
      bounce.set(buffer);
    }
    this.#moveShared(image, request, bounce, (error) => {
      if (kind === 'read' && error === undefined) {
        buffer.set(bounce);
      }
      if (buffer.length <= BOUNCE_BYTES) {
        this.#bounce.give(bounce);
      }
      done(error);
    });
  }

  #moveShared(
    image: RemoteImage,
    { kind, offset }: BlockRequest & { kind: 'read' | 'write' },
    { buffer, byteOffset: place, length }: Uint8Array,
    done: Done,
  ): void {
    if (!(buffer instanceof SharedArrayBuffer)) {
      throw new TypeError('data of a request are in memory that is not shared');
    }
    let memory = this.#memories.get(buffer);
    if (memory === undefined) {
      memory = this.#nextMemory++;
      this.#memories.set(buffer, memory);
      this.#send({ kind: 'memory', memory, bytes: buffer });
    }
    const reading = image.padded ? IO_READ_PADDED : IO_READ;
    const operation = kind === 'read' ? reading : IO_WRITE;
    this.#submit(image, kind, { operation, descriptor: image.descriptor, memory, place, offset, length }, done);
  }

  close(image: number): void {
    this.#send({ kind: 'close', image });
  }
}

/** An image whose file is read and written by other threads. */
class RemoteImage implements BlockBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly descriptor: number;
  /** As for readAll. */
  readonly padded: boolean;
  readonly #client: ImageClient;
  readonly #image: number;
  readonly #defer: Defer | undefined;
  readonly #speed = { read: new CallSpeed(), write: new CallSpeed() };
  #inFlight = 0;
  #disposed = false;

  constructor(
    client: ImageClient,
    { image, descriptor, size }: { readonly image: number; readonly descriptor: number; readonly size: number },
    { readOnly, padTail }: OpenOptions,
    defer: Defer | undefined,
  ) {
    this.#defer = defer;
    this.padded = padTail;
    this.#client = client;
    this.#image = image;
    this.descriptor = descriptor;
    this.size = size;
    this.readOnly = readOnly;
  }

  submit(request: BlockRequest, done: Done): void {
    if (this.#disposed) {
      return;
    }
    const error = checkRequest(request, this.size, this.readOnly);
    if (error === undefined && this.#atOnce(request, done)) {
      return;
    }
    this.#inFlight++;
    // A refusal comes as late as every other answer.
    this.#client.start(this, error === undefined ? request : undefined, (failure) => {
      if (!this.#disposed) {
        done(error ?? failure);
      }
    });
  }

  /** Carries out a request here and now, if that can be expected to take no time. */
  #atOnce(request: BlockRequest, done: Done): boolean {
    const defer = this.#defer;
    if (
      defer === undefined ||
      (request.kind !== 'read' && request.kind !== 'write') ||
      request.buffer.length > MAX_AT_ONCE_BYTES ||
      !this.#speed[request.kind].trusted
    ) {
      return false;
    }
    const started = performance.now();
    const failure = carryOut(this.descriptor, request, this.padded);
    this.#speed[request.kind].note(performance.now() - started, request.buffer.length);
    defer(() => {
      if (!this.#disposed) {
        done(failure);
      }
    });
    return true;
  }

  /** A request has ended after so many milliseconds, and its answer comes now. */
  ended({ kind, length }: Pick<Pending, 'kind' | 'length'>, millis: number): void {
    if (kind === 'read' || kind === 'write') {
      this.#speed[kind].note(millis, length);
    }
    this.#inFlight--;
    this.#closeOnce();
  }

  /** The file is closed after the last request: its number may soon be another file's. */
  #closeOnce(): void {
    if (this.#disposed && this.#inFlight === 0) {
      this.#client.close(this.#image);
    }
  }

  dispose(): void {
    if (!this.#disposed) {
      this.#disposed = true;
      this.#closeOnce();
    }
  }
}
