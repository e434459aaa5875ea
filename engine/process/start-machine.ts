import { Worker } from 'node:worker_threads';
import { HostError } from '../base/host-error.ts';
import type { MachineConfig } from '../config/machine-config.ts';
import { FrameSender } from './frame-sender.ts';
import type { CommandResult, FromMachine, MachineCommand, MachineThreadInput, ToMachine } from './machine-messages.ts';
import type { ControlledMachine, MachineHost, RunOutcome } from './run-machine.ts';

/** Starts a machine in a thread of its own. Rejects with HostError when it cannot be built. */
export function startMachine(config: MachineConfig, host: MachineHost): Promise<ControlledMachine> {
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

class ThreadedMachine implements ControlledMachine {
  readonly started: Promise<ControlledMachine>;
  readonly finished: Promise<RunOutcome>;
  readonly #worker: Worker;
  readonly #bell: Int32Array;
  readonly #host: MachineHost;
  readonly #frames: FrameSender;
  readonly #answers = new Map<number, Settler<unknown>>();
  readonly #stored: Promise<void>[] = [];
  #requests = 0;
  #ended = false;
  #start: Settler<ControlledMachine> | undefined;
  #finish: Settler<RunOutcome> | undefined;

  constructor(worker: Worker, bell: Int32Array, host: MachineHost) {
    this.#worker = worker;
    this.#bell = bell;
    this.#host = host;
    this.#frames = new FrameSender((viewer, packet) => host.frame?.(viewer, packet));
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
    const settlers = [this.#start, this.#finish, ...this.#answers.values()];
    for (const settler of settlers) {
      if (settler !== undefined) {
        settle(settler as Settler<never>);
      }
    }
    this.#start = undefined;
    this.#finish = undefined;
    this.#answers.clear();
  }

  #receive(message: FromMachine): void {
    switch (message.kind) {
      case 'started':
        this.#start?.resolve(this);
        this.#start = undefined;
        return;
      case 'failed': {
        const { code, message: text, remedy, details } = message;
        const error = new HostError(code, text, { remedy, details });
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
      case 'answer':
        this.#answers.get(message.request)?.resolve(message.value);
        this.#answers.delete(message.request);
        return;
      case 'refusal': {
        const { code, message: text, remedy, details } = message;
        this.#answers.get(message.request)?.reject(new HostError(code, text, { remedy, details }));
        this.#answers.delete(message.request);
        return;
      }
      case 'frame':
        this.#frames.send(message.viewer, message.packet);
        return;
      case 'status':
        this.#host.status?.(message.status);
        return;
      case 'finished': {
        const finish = this.#finish;
        this.#finish = undefined;
        this.#end((settler) => settler.reject(notRunning()));
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

  tell(command: MachineCommand): void {
    this.#noteViewers(command);
    this.#send({ request: undefined, command });
  }

  perform<C extends MachineCommand>(command: C): Promise<CommandResult<C['kind']>> {
    if (this.#ended) {
      return Promise.reject(notRunning());
    }
    this.#noteViewers(command);
    const request = this.#requests++;
    return new Promise((resolve, reject) => {
      // The machine thread answers each kind of command with its kind of result.
      this.#answers.set(request, { resolve: (value) => resolve(value as CommandResult<C['kind']>), reject });
      this.#send({ request, command });
    });
  }

  #noteViewers(command: MachineCommand): void {
    if (command.kind === 'attach') {
      this.#frames.attach(command.viewer, command.compress);
    } else if (command.kind === 'detach') {
      this.#frames.detach(command.viewer);
    }
  }

  sendSerial(bytes: Uint8Array): void {
    this.tell({ kind: 'serial', bytes });
  }

  typeText(text: string): void {
    this.tell({ kind: 'type', text });
  }

  stop(): void {
    this.tell({ kind: 'stop' });
  }

  powerButton(): void {
    this.tell({ kind: 'power-button' });
  }

  async screenshot(): Promise<Uint8Array> {
    return (await this.perform({ kind: 'screenshot' })).png;
  }

  async screenText(): Promise<string[] | undefined> {
    return (await this.perform({ kind: 'screen-text' })).lines ?? undefined;
  }
}

function notRunning(): HostError {
  return new HostError('not-running', 'the machine is not running any more');
}
