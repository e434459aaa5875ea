import { Worker } from 'node:worker_threads';
import { HostError } from '../base/host-error.ts';
import type { MachineConfig } from '../config/machine-config.ts';
import type { FromMachine, MachineThreadInput, ToMachine } from './machine-messages.ts';
import type { MachineHost, RunningMachine, RunOutcome } from './run-machine.ts';

/** Starts a machine in a thread of its own. Rejects with HostError when it cannot be built. */
export function startMachine(config: MachineConfig, host: MachineHost): Promise<RunningMachine> {
  const bell = new SharedArrayBuffer(4);
  const input: MachineThreadInput = { config, bell };
  const worker = new Worker(new URL('./machine-thread.ts', import.meta.url), { workerData: input });
  const running = new ThreadedMachine(worker, new Int32Array(bell), host);
  return running.started;
}

interface Settler<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

class ThreadedMachine implements RunningMachine {
  readonly started: Promise<RunningMachine>;
  readonly finished: Promise<RunOutcome>;
  readonly #worker: Worker;
  readonly #bell: Int32Array;
  readonly #host: MachineHost;
  readonly #pictures = new Map<number, Settler<Uint8Array>>();
  readonly #texts = new Map<number, Settler<string[] | undefined>>();
  readonly #stored: Promise<void>[] = [];
  #requests = 0;
  #ended = false;
  #start: Settler<RunningMachine> | undefined;
  #finish: Settler<RunOutcome> | undefined;

  constructor(worker: Worker, bell: Int32Array, host: MachineHost) {
    this.#worker = worker;
    this.#bell = bell;
    this.#host = host;
    this.started = new Promise((resolve, reject) => {
      this.#start = { resolve, reject };
    });
    this.finished = new Promise((resolve, reject) => {
      this.#finish = { resolve, reject };
    });
    // Whoever only waits for `started` is not to be bothered with the same error twice.
    this.finished.catch(() => {});
    worker.on('message', (message: FromMachine) => this.#receive(message));
    worker.on('error', (error) => this.#end((settler) => settler.reject(error)));
    worker.on('exit', () => this.#end((settler) => settler.reject(new Error('the machine thread ended unexpectedly'))));
  }

  #end(settle: (settler: Settler<never>) => void): void {
    this.#ended = true;
    const settlers = [this.#start, this.#finish, ...this.#pictures.values(), ...this.#texts.values()];
    for (const settler of settlers) {
      if (settler !== undefined) {
        settle(settler as Settler<never>);
      }
    }
    this.#start = undefined;
    this.#finish = undefined;
    this.#pictures.clear();
    this.#texts.clear();
  }

  #receive(message: FromMachine): void {
    switch (message.kind) {
      case 'started':
        this.#start?.resolve(this);
        this.#start = undefined;
        return;
      case 'failed': {
        const options = message.remedy === undefined ? {} : { remedy: message.remedy };
        const error = new HostError(message.code, message.message, options);
        this.#end((settler) => settler.reject(error));
        return;
      }
      case 'serial':
        this.#host.serialOutput(message.bytes);
        return;
      case 'log':
        this.#host.log(message.level, message.message);
        return;
      case 'picture':
        this.#stored.push(Promise.resolve(this.#host.screenshot(message.path, message.png)));
        return;
      case 'screenshot':
        this.#pictures.get(message.request)?.resolve(message.png);
        this.#pictures.delete(message.request);
        return;
      case 'screen-text':
        this.#texts.get(message.request)?.resolve(message.lines);
        this.#texts.delete(message.request);
        return;
      case 'finished': {
        const finish = this.#finish;
        this.#finish = undefined;
        this.#ended = true;
        Promise.all(this.#stored).then(
          () => finish?.resolve(message.outcome),
          (error: unknown) => finish?.reject(error),
        );
        return;
      }
    }
  }

  #send(message: ToMachine): void {
    if (!this.#ended) {
      this.#worker.postMessage(message);
      Atomics.add(this.#bell, 0, 1);
      Atomics.notify(this.#bell, 0);
    }
  }

  sendSerial(bytes: Uint8Array): void {
    this.#send({ kind: 'serial', bytes });
  }

  typeText(text: string): void {
    this.#send({ kind: 'type', text });
  }

  stop(): void {
    this.#send({ kind: 'stop' });
  }

  powerButton(): void {
    this.#send({ kind: 'power-button' });
  }

  #ask<T>(pending: Map<number, Settler<T>>, make: (request: number) => ToMachine): Promise<T> {
    if (this.#ended) {
      return Promise.reject(new HostError('not-running', 'the machine is not running any more'));
    }
    const request = this.#requests++;
    return new Promise((resolve, reject) => {
      pending.set(request, { resolve, reject });
      this.#send(make(request));
    });
  }

  screenshot(): Promise<Uint8Array> {
    return this.#ask(this.#pictures, (request) => ({ kind: 'screenshot', request }));
  }

  screenText(): Promise<string[] | undefined> {
    return this.#ask(this.#texts, (request) => ({ kind: 'screen-text', request }));
  }
}
