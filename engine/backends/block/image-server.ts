import { closeSync } from 'node:fs';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { HostError } from '../../base/host-error.ts';
import { wholeSectors } from './block-checks.ts';
import type { FromImages, ImageCable, ToImages } from './image-messages.ts';
import { createIoRing, IoRingServer } from './io-ring.ts';
import type { IoThreadInput, SharedMemory } from './io-thread.ts';
import { openRawFile, type RawFile } from './raw-image.ts';

/** Storage that takes its time serves so many requests at once. */
const MAX_THREADS = 4;

/**
 * Opens and closes the files of a machine's images, and has I/O threads (io-thread.ts) that read and write them for the
 * machine thread (image-client.ts). The first thread starts with the first image; more come when requests have to wait.
 */
export class ImageServer {
  /** For the machine thread; the port is to be transferred. */
  readonly cable: ImageCable;
  readonly #port: MessagePort;
  readonly #bell: Int32Array<SharedArrayBuffer>;
  readonly #images = new Map<number, RawFile>();
  readonly #memories: SharedMemory[] = [];
  readonly #threads = new Map<Worker, Promise<void>>();
  readonly #failed: (error: unknown) => void;
  #end: Promise<void> | undefined;

  /** `bell`: an i32 that is changed and notified after each answer. `failed` is told when an I/O thread breaks. */
  constructor(bell: SharedArrayBuffer, failed: (error: unknown) => void) {
    const { port1, port2 } = new MessageChannel();
    this.cable = { port: port2, ring: createIoRing() };
    this.#port = port1;
    this.#bell = new Int32Array(bell);
    this.#failed = failed;
    port1.on('message', (message: ToImages) => this.#receive(message));
    // Files alone keep no process alive.
    port1.unref();
  }

  #answer(message: FromImages): void {
    this.#port.postMessage(message);
    Atomics.add(this.#bell, 0, 1);
    Atomics.notify(this.#bell, 0);
  }

  #receive(message: ToImages): void {
    if (this.#end !== undefined) {
      return;
    }
    switch (message.kind) {
      case 'open':
        this.#open(message);
        return;
      case 'memory': {
        const { memory, bytes } = message;
        this.#memories.push({ memory, bytes });
        for (const thread of this.#threads.keys()) {
          thread.postMessage({ memory, bytes } satisfies SharedMemory);
        }
        return;
      }
      case 'hurry':
        this.#startThread();
        return;
      case 'close':
        this.#close(message.image);
        return;
    }
  }

  #startThread(): void {
    if (this.#threads.size >= MAX_THREADS) {
      return;
    }
    const workerData: IoThreadInput = {
      ring: this.cable.ring,
      bell: this.#bell.buffer,
      memories: this.#memories,
    };
    const thread = new Worker(new URL('./io-thread.ts', import.meta.url), { workerData });
    thread.unref();
    thread.on('error', this.#failed);
    const ended = new Promise<void>((resolve) => {
      thread.on('exit', () => resolve());
    });
    this.#threads.set(thread, ended);
  }

  #open({ image, path, options }: ToImages & { kind: 'open' }): void {
    try {
      const file = openRawFile(path, options);
      this.#images.set(image, file);
      if (this.#threads.size === 0) {
        this.#startThread();
      }
      this.#answer({ kind: 'opened', image, descriptor: file.fd, size: wholeSectors(file.size) });
    } catch (error) {
      if (!(error instanceof HostError)) {
        throw error;
      }
      const { code, message, remedy, details } = error;
      this.#answer({ kind: 'refused', image, code, message, remedy, details });
    }
  }

  #close(image: number): void {
    const file = this.#images.get(image);
    if (this.#images.delete(image) && file !== undefined) {
      closeSync(file.fd);
      file.lock?.dispose();
    }
  }

  /** Ends what is under way, closes every file and takes no more requests. Closing twice is closing once. */
  close(): Promise<void> {
    this.#end ??= this.#closeAll();
    return this.#end;
  }

  async #closeAll(): Promise<void> {
    this.#port.close();
    new IoRingServer(this.cable.ring).end();
    for (const thread of this.#threads.keys()) {
      thread.ref();
    }
    await Promise.all(this.#threads.values());
    for (const image of [...this.#images.keys()]) {
      this.#close(image);
    }
  }
}
