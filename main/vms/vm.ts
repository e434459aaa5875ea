import { HostError } from '../../engine/base/host-error.ts';
import type { CommandResult, MachineCommand, MachineStatus } from '../../engine/process/machine-messages.ts';
import { answerSchemas, type FromVm, fromVmSchema, type ToVm, type VmConfig } from '../../engine/process/vm-control.ts';
import type { AcceleratorInUse } from '../contract/machines.ts';
import type { DirectPort, HostedProcess, ProcessEnd, ProcessHost } from './process-host.ts';

/** The program that runs one machine. */
export const VM_ENTRY = new URL('../../engine/process/vm-process.ts', import.meta.url);

/** A machine that was told to stop is given this long to close its files before its process is ended. */
const STOP_MILLIS = 5000;

/** How a machine's run ended. */
export type VmEnd =
  | { readonly kind: 'powered-off' }
  /** Not as it should; `error` is for the user. */
  | { readonly kind: 'failed'; readonly error: HostError };

export interface VmEvents {
  serial(bytes: Uint8Array<ArrayBuffer>): void;
  frame(viewer: number, packet: Uint8Array<ArrayBuffer>): void;
  status(status: MachineStatus): void;
  /** Once; the process is gone. */
  ended(end: VmEnd): void;
}

export interface VmOptions {
  readonly config: VmConfig;
  readonly logPath: string;
}

interface Waiting {
  readonly kind: MachineCommand['kind'];
  resolve(value: unknown): void;
  reject(error: HostError): void;
}

/** A machine's process as its supervisor sees it. Whatever it does or says harms nobody but its own machine. */
export class Vm {
  /** Settles when the machine runs; rejects with HostError when it does not come to that. */
  readonly started: Promise<AcceleratorInUse>;
  readonly #events: VmEvents;
  readonly #process: HostedProcess;
  readonly #waiting = new Map<number, Waiting>();
  #start: { resolve(accelerator: AcceleratorInUse): void; reject(error: HostError): void } | undefined;
  #end: VmEnd | undefined;
  #ended = false;
  #stopping = false;
  #killTimer: NodeJS.Timeout | undefined;
  #nextRequest = 0;

  constructor(host: ProcessHost, { config, logPath }: VmOptions, events: VmEvents) {
    this.#events = events;
    this.started = new Promise((resolve, reject) => {
      this.#start = { resolve, reject };
    });
    // Whoever only watches the end is not to be bothered.
    this.started.catch(() => {});
    this.#process = host.start(
      VM_ENTRY,
      { logPath, name: config.name },
      {
        message: (message) => this.#receive(message),
        ended: (end) => this.#processEnded(end),
      },
    );
    this.#post({ kind: 'start', config });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  #post(message: ToVm): void {
    this.#process.post(message);
  }

  tell(command: MachineCommand): void {
    this.#post({ kind: 'command', command });
  }

  /** Frame packets of this viewer go over `port` from now on, and its acknowledgements come from there. */
  connectViewer(viewer: number, port: DirectPort): void {
    this.#process.post({ kind: 'viewer-port', viewer } satisfies ToVm, [port]);
  }

  /** Rejects with HostError when the machine refuses or ends. */
  perform<C extends MachineCommand>(command: C): Promise<CommandResult<C['kind']>> {
    if (this.#ended) {
      return Promise.reject(notRunning());
    }
    const request = this.#nextRequest++;
    return new Promise((resolve, reject) => {
      // Checked by the schema of this kind of command before it gets here.
      const settle = (value: unknown) => resolve(value as CommandResult<C['kind']>);
      this.#waiting.set(request, { kind: command.kind, resolve: settle, reject });
      this.#post({ kind: 'command', request, command });
    });
  }

  /** Pulls the plug. Files are closed in order if the process can still do that; otherwise it is ended. */
  stop(): void {
    this.#stopping = true;
    this.tell({ kind: 'stop' });
    this.#killTimer ??= setTimeout(() => this.#process.kill(), STOP_MILLIS);
  }

  #receive(raw: unknown): void {
    const parsed = fromVmSchema.safeParse(raw);
    if (!parsed.success) {
      this.#give(new HostError('bad-message', "the machine's process said something that is not understood"));
      return;
    }
    const message: FromVm = parsed.data;
    switch (message.kind) {
      case 'started':
        this.#start?.resolve(message.accelerator);
        this.#start = undefined;
        return;
      case 'failed': {
        const { code, message: text, remedy } = message.error;
        this.#end ??= {
          kind: 'failed',
          error: new HostError(code, text, remedy === undefined ? {} : { remedy }),
        };
        return;
      }
      case 'answer':
        this.#answer(message.request, message.value);
        return;
      case 'refusal': {
        const { code, message: text, remedy } = message.error;
        this.#waiting.get(message.request)?.reject(new HostError(code, text, remedy === undefined ? {} : { remedy }));
        this.#waiting.delete(message.request);
        return;
      }
      case 'serial':
        this.#events.serial(new Uint8Array(message.bytes));
        return;
      case 'frame':
        this.#events.frame(message.viewer, message.packet);
        return;
      case 'status':
        this.#events.status(message.status);
        return;
      case 'finished': {
        const { kind, detail } = message.outcome;
        this.#end ??=
          kind === 'guest-crashed'
            ? {
                kind: 'failed',
                error: new HostError('guest-crashed', `the guest crashed${detail === undefined ? '' : `: ${detail}`}`, {
                  remedy: 'start it again; if it happens every time, its installation or its boot medium is damaged',
                }),
              }
            : { kind: 'powered-off' };
        return;
      }
    }
  }

  #answer(request: number, value: unknown): void {
    const waiting = this.#waiting.get(request);
    this.#waiting.delete(request);
    if (waiting === undefined) {
      return;
    }
    const schema = Object.hasOwn(answerSchemas, waiting.kind)
      ? answerSchemas[waiting.kind as keyof typeof answerSchemas]
      : undefined;
    if (schema === undefined) {
      waiting.resolve(null);
      return;
    }
    const checked = schema.safeParse(value);
    if (checked.success) {
      waiting.resolve(checked.data);
    } else {
      const error = new HostError('bad-message', "the machine's process gave an answer that is not understood");
      waiting.reject(error);
      this.#give(error);
    }
  }

  /** Ends a process that does not behave. */
  #give(error: HostError): void {
    this.#end ??= { kind: 'failed', error };
    this.#process.kill();
  }

  #processEnded({ code, signal }: ProcessEnd): void {
    clearTimeout(this.#killTimer);
    this.#ended = true;
    const end = this.#end ??
      (this.#stopping ? ({ kind: 'powered-off' } as const) : undefined) ?? {
        kind: 'failed' as const,
        error: died(code, signal),
      };
    const why = end.kind === 'failed' ? end.error : notRunning();
    this.#start?.reject(why);
    this.#start = undefined;
    for (const waiting of [...this.#waiting.values()]) {
      waiting.reject(notRunning());
    }
    this.#waiting.clear();
    this.#events.ended(end);
  }
}

function died(code: number | null, signal: string | null): HostError {
  const how =
    signal === 'SIGKILL'
      ? 'was ended from outside (SIGKILL; when memory runs out, the system does that)'
      : signal !== null
        ? `was ended by ${signal}`
        : code === null
          ? 'could not be started'
          : `ended unexpectedly (exit code ${code})`;
  return new HostError('process-died', `the machine's process ${how}`, {
    remedy: 'its log tells more; what the guest had not yet written to its disk is lost',
  });
}

function notRunning(): HostError {
  return new HostError('not-running', 'the machine is not running');
}
