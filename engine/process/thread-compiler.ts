import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { CompileAnswer, CompileRequest, CompilerThread } from '../cpu/software/jit/compile-request.ts';
import type { CompilerThreadInput } from './compiler-thread.ts';

/** Compiles regions in a thread of its own, so that the guest goes on meanwhile. Never waits for it. */
export class ThreadCompiler implements CompilerThread {
  readonly #worker: Worker;
  readonly #port;
  readonly #answers = new Int32Array(new SharedArrayBuffer(4));
  #taken = 0;

  /** `pages` of 64 KiB: the size of the arena that the code works on. */
  constructor(pages: number) {
    const { port1, port2 } = new MessageChannel();
    const input: CompilerThreadInput = { port: port2, pages, answers: this.#answers };
    this.#worker = new Worker(new URL('./compiler-thread.ts', import.meta.url), {
      workerData: input,
      transferList: [port2],
    });
    this.#worker.unref();
    port1.unref();
    this.#port = port1;
  }

  request(request: CompileRequest): void {
    this.#port.postMessage(request, [request.blocks.buffer, request.uops.buffer]);
  }

  poll(): CompileAnswer | undefined {
    if (Atomics.load(this.#answers, 0) === this.#taken) {
      return undefined;
    }
    const received = receiveMessageOnPort(this.#port) as { readonly message: CompileAnswer } | undefined;
    if (received !== undefined) {
      this.#taken++;
    }
    return received?.message;
  }

  dispose(): void {
    this.#port.close();
    void this.#worker.terminate();
  }
}
