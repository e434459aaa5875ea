import { type FromVm, type ToVm, toVmSchema } from '../../../engine/process/vm-control.ts';
import type { HostedProcess, ProcessEnd, ProcessEvents, ProcessHost } from '../process-host.ts';

/** A machine's process as tests play it. */
export class FakeProcess implements HostedProcess {
  readonly pid: number;
  readonly heard: ToVm[] = [];
  killed = false;
  readonly #events: ProcessEvents;
  readonly #answers: (message: ToVm, process: FakeProcess) => void;

  constructor(pid: number, events: ProcessEvents, answers: (message: ToVm, process: FakeProcess) => void) {
    this.pid = pid;
    this.#events = events;
    this.#answers = answers;
  }

  post(message: unknown): void {
    const checked = toVmSchema.parse(message);
    this.heard.push(checked);
    queueMicrotask(() => this.#answers(checked, this));
  }

  kill(): void {
    this.killed = true;
    queueMicrotask(() => this.end({ code: null, signal: 'SIGKILL' }));
  }

  say(message: FromVm): void {
    this.#events.message(message);
  }

  sayAnything(message: unknown): void {
    this.#events.message(message);
  }

  end(end: ProcessEnd): void {
    this.#events.ended(end);
  }

  /** The kinds of commands heard so far. */
  get commands(): string[] {
    return this.heard.map((message) => (message.kind === 'command' ? message.command.kind : message.kind));
  }
}

/** Answers as a machine that works. */
export function wellBehaved(message: ToVm, process: FakeProcess): void {
  if (message.kind === 'start') {
    process.say({ kind: 'started', accelerator: { name: 'software', label: 'Software', reason: 'a test' } });
    return;
  }
  if (message.kind === 'viewer-port') {
    return;
  }
  const { request, command } = message;
  if (command.kind === 'stop') {
    process.say({ kind: 'finished', outcome: { kind: 'quit' } });
    process.end({ code: 0, signal: null });
    return;
  }
  if (request !== undefined) {
    const value = command.kind === 'eject' ? { ejected: true } : command.kind === 'type' ? { unknown: [] } : null;
    process.say({ kind: 'answer', request, value });
  }
}

export class FakeProcessHost implements ProcessHost {
  readonly processes: FakeProcess[] = [];
  answers = wellBehaved;
  disposed = false;

  start(_entry: URL, _options: { readonly logPath: string }, events: ProcessEvents): FakeProcess {
    const process = new FakeProcess(1000 + this.processes.length, events, (message, fake) =>
      this.answers(message, fake),
    );
    this.processes.push(process);
    return process;
  }

  get last(): FakeProcess {
    const last = this.processes.at(-1);
    if (last === undefined) {
      throw new Error('no process was started');
    }
    return last;
  }

  dispose(): void {
    this.disposed = true;
  }
}
