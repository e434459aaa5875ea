import type {
  CommandResult,
  CursorMessage,
  MachineCommand,
  MachineStatus,
} from '../../engine/process/machine-messages.ts';
import {
  answerSchemas,
  type FromVm,
  fromVmSchema,
  type ToVm,
  type VmConfig,
  type VmFailure,
} from '../../engine/process/vm-control.ts';
import { ApiError } from '../contract/errors.ts';
import { failure } from '../contract/failures.ts';
import type { AcceleratorInUse } from '../contract/machines.ts';
import type { DirectPort, HostedProcess, ProcessEnd, ProcessHost } from './process-host.ts';

/** The program that runs one machine. */
export const VM_ENTRY = new URL('../../engine/process/vm-process.ts', import.meta.url);

/** A machine that was told to stop is given this long to close its files before its process is ended. */
const STOP_MILLIS = 5000;

/** How a machine's run ended. */
export type VmEnd =
  | { readonly kind: 'powered-off' }
  /** It was not started, for a reason that it told: nothing has happened. */
  | { readonly kind: 'refused'; readonly error: ApiError }
  /** Not as it should; `error` is for the user. */
  | { readonly kind: 'failed'; readonly error: ApiError };

export interface VmEvents {
  serial(bytes: Uint8Array<ArrayBuffer>): void;
  frame(viewer: number, packet: Uint8Array<ArrayBuffer>): void;
  status(status: MachineStatus): void;
  cursor(message: CursorMessage): void;
  /** Something else runs it now. */
  accelerator(accelerator: AcceleratorInUse): void;
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
  reject(error: ApiError): void;
}

/** A machine's process as its supervisor sees it. Whatever it does or says harms nobody but its own machine. */
export class Vm {
  /** Settles when the machine runs; rejects with ApiError when it does not come to that. */
  readonly started: Promise<AcceleratorInUse>;
  readonly #events: VmEvents;
  readonly #process: HostedProcess;
  readonly #waiting = new Map<number, Waiting>();
  #start: { resolve(accelerator: AcceleratorInUse): void; reject(error: ApiError): void } | undefined;
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

  /** Rejects with ApiError when the machine refuses or ends. */
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
      this.#give(failure('bad-message'));
      return;
    }
    const message: FromVm = parsed.data;
    switch (message.kind) {
      case 'started':
        this.#start?.resolve(message.accelerator);
        this.#start = undefined;
        return;
      case 'accelerator':
        this.#events.accelerator(message.accelerator);
        return;
      case 'failed':
        this.#end ??= {
          kind: this.#start !== undefined && message.error.code !== 'internal' ? 'refused' : 'failed',
          error: asError(message.error),
        };
        return;
      case 'answer':
        this.#answer(message.request, message.value);
        return;
      case 'refusal':
        this.#waiting.get(message.request)?.reject(asError(message.error));
        this.#waiting.delete(message.request);
        return;
      case 'serial':
        this.#events.serial(new Uint8Array(message.bytes));
        return;
      case 'frame':
        this.#events.frame(message.viewer, message.packet);
        return;
      case 'cursor':
        this.#events.cursor(message.cursor);
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
                error:
                  detail === undefined
                    ? failure('guest-crashed')
                    : failure('guest-crashed.detail', { problem: detail }),
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
      const error = failure('bad-message');
      waiting.reject(error);
      this.#give(error);
    }
  }

  /** Ends a process that does not behave. */
  #give(error: ApiError): void {
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
    const why = end.kind === 'powered-off' ? notRunning() : end.error;
    this.#start?.reject(why);
    this.#start = undefined;
    for (const waiting of [...this.#waiting.values()]) {
      waiting.reject(notRunning());
    }
    this.#waiting.clear();
    this.#events.ended(end);
  }
}

function died(code: number | null, signal: string | null): ApiError {
  if (signal !== null) {
    return signal === 'SIGKILL' ? failure('process-died.killed') : failure('process-died.signal', { signal });
  }
  return code === null ? failure('process-died.start') : failure('process-died.code', { exitCode: code });
}

function notRunning(): ApiError {
  return failure('not-running');
}

function asError({ code, message, remedy, details }: VmFailure): ApiError {
  return new ApiError({
    code,
    message,
    ...(remedy === undefined ? {} : { remedy }),
    ...(details === undefined ? {} : { details }),
  });
}
