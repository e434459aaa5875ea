/**
 * The process of one registered machine: started by the supervisor with a channel for messages (vm-control.ts) and its
 * standard output going to the log of this run. It ends with its machine, and when its supervisor is gone.
 */
import { defined } from '../base/assert.ts';
import { HostError } from '../base/host-error.ts';
import { SETTING_NAMES } from '../config/machine-config.ts';
import { validateMachineConfig } from '../config/validate-machine-config.ts';
import type { AcceleratorInfo } from './accelerator.ts';
import { hostFiles } from './host-files.ts';
import type { ControlledMachine } from './run-machine.ts';
import { startMachine } from './start-machine.ts';
import { type FromVm, type ToVm, toVmSchema, type VmConfig, type VmFailure } from './vm-control.ts';

/** A channel to the supervisor: Node's own, or Electron's. */
interface Channel {
  post(message: FromVm, sent?: () => void): void;
  listen(message: (message: unknown, port?: ViewerPort) => void, gone: () => void): void;
}

/** A way to a viewer that leads past the supervisor: what is used of a MessagePortMain of Electron. */
interface ViewerPort {
  postMessage(message: unknown): void;
  start(): void;
  close(): void;
  on(event: 'message', listener: (event: { readonly data: unknown }) => void): void;
  on(event: 'close', listener: () => void): void;
}

/** A guest can make its machine log without end; the log is not to fill the disk. */
const MAX_LOG_BYTES = 8 << 20;
/** With a supervisor gone, the machine has so long to close its files. */
const ORPHAN_MILLIS = 3000;
/** Electron drops messages that it has not read when a process ends. */
const LAST_MESSAGE_MILLIS = 200;

let logged = 0;
function log(line: string): void {
  if (logged <= MAX_LOG_BYTES) {
    const text = `${new Date().toISOString()} ${line}\n`;
    logged += text.length;
    process.stdout.write(logged > MAX_LOG_BYTES ? 'the log is full\n' : text);
  }
}

function failureOf(error: unknown): VmFailure {
  if (error instanceof HostError) {
    const { code, message, remedy, details } = error;
    return {
      code,
      message,
      ...(remedy === undefined ? {} : { remedy }),
      ...(details === undefined ? {} : { details: { ...details } }),
    };
  }
  const problem = error instanceof Error ? error.message : String(error);
  return { code: 'internal', message: `the machine failed: ${problem}`, details: { problem } };
}

class VmProcess {
  readonly #channel: Channel;
  #machine: ControlledMachine | undefined;
  readonly #ports = new Map<number, ViewerPort>();
  #startedOnce = false;

  constructor(channel: Channel) {
    this.#channel = channel;
    channel.listen(
      (message, port) => this.#receive(message, port),
      () => this.#orphaned(),
    );
  }

  #receive(raw: unknown, port: ViewerPort | undefined): void {
    const parsed = toVmSchema.safeParse(raw);
    if (!parsed.success) {
      log(`a message of the supervisor is not understood: ${parsed.error.issues[0]?.message ?? ''}`);
      return;
    }
    const message: ToVm = parsed.data;
    if (message.kind === 'start') {
      if (!this.#startedOnce) {
        this.#startedOnce = true;
        this.#start(message.config).catch((error: unknown) => this.#fail(error));
      }
      return;
    }
    if (message.kind === 'viewer-port') {
      this.#connectViewer(message.viewer, port);
      return;
    }
    const { request, command } = message;
    if (command.kind === 'detach') {
      this.#disconnectViewer(command.viewer);
    }
    if (request === undefined) {
      this.#machine?.tell(command);
      return;
    }
    const answer =
      this.#machine?.perform(command) ?? Promise.reject(new HostError('not-running', 'the machine is not running'));
    answer.then(
      (value) => this.#channel.post({ kind: 'answer', request, value }),
      (error: unknown) => this.#channel.post({ kind: 'refusal', request, error: failureOf(error) }),
    );
  }

  #connectViewer(viewer: number, port: ViewerPort | undefined): void {
    if (port === undefined) {
      return;
    }
    this.#disconnectViewer(viewer);
    this.#ports.set(viewer, port);
    port.on('message', ({ data }) => {
      if (typeof data === 'number' && Number.isInteger(data) && data >= 0 && data <= 0xffffffff) {
        this.#machine?.tell({ kind: 'ack', viewer, sequence: data });
      }
    });
    port.on('close', () => {
      if (this.#ports.get(viewer) === port) {
        this.#ports.delete(viewer);
        this.#machine?.tell({ kind: 'detach', viewer });
      }
    });
    port.start();
  }

  #disconnectViewer(viewer: number): void {
    const port = this.#ports.get(viewer);
    this.#ports.delete(viewer);
    port?.close();
  }

  #sendFrame(viewer: number, packet: Uint8Array<ArrayBuffer>): void {
    const port = this.#ports.get(viewer);
    if (port === undefined) {
      this.#channel.post({ kind: 'frame', viewer, packet });
    } else {
      port.postMessage(packet);
    }
  }

  async #start(input: VmConfig): Promise<void> {
    const config = validateMachineConfig(
      { ...input, serial: { kind: 'stdio' } },
      { files: hostFiles, names: SETTING_NAMES },
    );
    log(`${config.name}: ${config.cpus} processor(s), ${config.memoryMegabytes} MB`);
    let started = false;
    let accelerator: AcceleratorInfo | undefined;
    const machine = await startMachine(config, {
      serialOutput: (bytes) => this.#channel.post({ kind: 'serial', bytes }),
      log: (level, message) => log(level === 'info' ? message : `${level}: ${message}`),
      screenshot() {},
      frame: (viewer, packet) => this.#sendFrame(viewer, packet),
      status: (status) => this.#channel.post({ kind: 'status', status }),
      cursor: (cursor) => this.#channel.post({ kind: 'cursor', cursor }),
      accelerator: (info) => {
        log(`accelerator: ${info.label} (${info.reason})`);
        accelerator = info;
        if (started) {
          this.#channel.post({ kind: 'accelerator', accelerator: info });
        }
      },
    });
    this.#machine = machine;
    log('started');
    started = true;
    this.#channel.post({ kind: 'started', accelerator: defined(accelerator, 'accelerator') });
    const { kind, detail } = await machine.finished;
    log(`ended: ${kind}${detail === undefined ? '' : `, ${detail}`}`);
    const outcome = { kind, ...(detail === undefined ? {} : { detail }) };
    this.#channel.post({ kind: 'finished', outcome }, () => process.exit(0));
  }

  #fail(error: unknown): void {
    log(`failed: ${error instanceof Error && !(error instanceof HostError) ? error.stack : failureOf(error).message}`);
    this.#channel.post({ kind: 'failed', error: failureOf(error) }, () => process.exit(1));
  }

  #orphaned(): void {
    log('the supervisor is gone; the machine is switched off');
    this.#machine?.stop();
    setTimeout(() => process.exit(1), this.#machine === undefined ? 0 : ORPHAN_MILLIS);
    this.#machine?.finished.finally(() => process.exit(1)).catch(() => {});
  }
}

function nodeChannel(): Channel {
  return {
    post(message, sent) {
      if (process.connected) {
        process.send?.(message, undefined, {}, () => sent?.());
      } else {
        sent?.();
      }
    },
    listen(message, gone) {
      process.on('message', (heard) => message(heard));
      process.on('disconnect', gone);
    },
  };
}

/** What is used of `process.parentPort` in a utility process of Electron. */
interface ParentPort {
  postMessage(message: unknown): void;
  on(
    event: 'message',
    listener: (event: { readonly data: unknown; readonly ports: readonly ViewerPort[] }) => void,
  ): void;
}

function utilityChannel(port: ParentPort): Channel {
  return {
    post(message, sent) {
      port.postMessage(message);
      if (sent !== undefined) {
        setTimeout(sent, LAST_MESSAGE_MILLIS);
      }
    },
    // A utility process ends with the app by itself.
    listen: (message) => port.on('message', ({ data, ports }) => message(data, ports[0])),
  };
}

// The terminal's Ctrl-C goes to all processes of its group; machines are ended by their supervisor.
process.on('SIGINT', () => {});
process.title = 'lodge machine';
const { parentPort } = process as { parentPort?: ParentPort };
new VmProcess(parentPort === undefined ? nodeChannel() : utilityChannel(parentPort));
