import { performance } from 'node:perf_hooks';
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { defined, InvariantError } from '../../base/assert.ts';
import { discard, flush, readAll, writeAll, writeZeros } from './file-calls.ts';
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
  IoRingServer,
} from './io-ring.ts';

/** What an I/O thread is started with. */
export interface IoThreadInput {
  readonly ring: SharedArrayBuffer;
  /** An i32 that is changed and notified after each answer. */
  readonly bell: SharedArrayBuffer;
  readonly memories: readonly SharedMemory[];
}

/** Memory that requests name by number. Later ones come as messages. */
export interface SharedMemory {
  readonly memory: number;
  readonly bytes: SharedArrayBuffer;
}

/** A request names a memory whose message is still on its way: the thread looks for it so often, in milliseconds. */
const MEMORY_LOOK_MILLIS = 1;

/** An I/O thread: makes plain file calls for a machine thread and sleeps while there are none. */
class IoThread {
  readonly #ring: IoRingServer;
  readonly #bell: Int32Array;
  readonly #port: MessagePort;
  readonly #memories = new Map<number, Uint8Array>();

  constructor(input: IoThreadInput, port: MessagePort) {
    this.#ring = new IoRingServer(input.ring);
    this.#bell = new Int32Array(input.bell);
    this.#port = port;
    for (const memory of input.memories) {
      this.#add(memory);
    }
  }

  #add({ memory, bytes }: SharedMemory): void {
    this.#memories.set(memory, new Uint8Array(bytes));
  }

  #memory(number: number): Uint8Array {
    for (;;) {
      const found = this.#memories.get(number);
      if (found !== undefined) {
        return found;
      }
      const received = receiveMessageOnPort(this.#port) as { readonly message: SharedMemory } | undefined;
      if (received === undefined) {
        Atomics.wait(this.#bell, 0, Atomics.load(this.#bell, 0), MEMORY_LOOK_MILLIS);
      } else {
        this.#add(received.message);
      }
    }
  }

  run(): void {
    const ring = this.#ring;
    const now = () => performance.now();
    for (;;) {
      const request = ring.claim();
      if (request >= 0) {
        const started = now();
        const error = this.#carryOut(ring.read(request));
        ring.complete(request, error, now() - started);
        Atomics.add(this.#bell, 0, 1);
        Atomics.notify(this.#bell, 0);
      } else if (ring.ended) {
        return;
      } else {
        ring.wait(now);
      }
    }
  }

  /** Returns the host's error as a number, 0 for none. */
  #carryOut(request: IoRequest): number {
    try {
      this.#perform(request);
      return 0;
    } catch (error) {
      const number = error instanceof Error ? (error as NodeJS.ErrnoException).errno : undefined;
      if (number === undefined || number >= 0) {
        throw error;
      }
      return number;
    }
  }

  #perform({ operation, descriptor, memory, place, offset, length }: IoRequest): void {
    switch (operation) {
      case IO_READ:
      case IO_READ_PADDED:
        readAll(descriptor, this.#memory(memory), place, length, offset, operation === IO_READ_PADDED);
        return;
      case IO_WRITE:
        writeAll(descriptor, this.#memory(memory), place, length, offset);
        return;
      case IO_FLUSH:
        flush(descriptor);
        return;
      case IO_ZERO:
      case IO_ZERO_UNMAP:
        writeZeros(descriptor, offset, length, operation === IO_ZERO_UNMAP);
        return;
      case IO_DISCARD:
        discard(descriptor, offset, length);
        return;
      case IO_NOTHING:
        return;
      default:
        throw new InvariantError(`there is no file operation ${operation}`);
    }
  }
}

new IoThread(workerData as IoThreadInput, defined(parentPort, 'the port of an I/O thread')).run();
