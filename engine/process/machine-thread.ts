import { readFileSync } from 'node:fs';
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { openRawImage } from '../backends/block/raw-image.ts';
import { encodePng } from '../backends/display/png.ts';
import { ByteBatch } from '../backends/serial/byte-batch.ts';
import { FileSink } from '../backends/serial/file-sink.ts';
import { defined } from '../base/assert.ts';
import { HostError } from '../base/host-error.ts';
import type { MachineConfig } from '../config/machine-config.ts';
import { findFirmware } from '../firmware/find-firmware.ts';
import type { BootInput, NamedBytes } from '../machine/boot/boot-input.ts';
import { Machine, type Turn } from '../machine/machine.ts';
import type { FromMachine, MachineThreadInput, ToMachine } from './machine-messages.ts';
import type { RunOutcome } from './run-machine.ts';

/** A machine without anything to do looks for messages at least this often, in milliseconds. */
const IDLE_MILLIS = 50;
/** With a deadline nearer than this, waiting costs more than it saves. */
const SPIN_NANOS = 50_000;

/** The machine thread: builds the machine and runs it until something ends the run. Synchronous; never awaits. */
class MachineThread {
  readonly #port: MessagePort;
  readonly #bell: Int32Array;
  readonly #config: MachineConfig;
  readonly #serial: ByteBatch;
  readonly #file: FileSink | undefined;
  readonly #machine: Machine;
  #waitingInput: Uint8Array[] = [];
  #stopped = false;
  #timedOut = false;

  constructor(port: MessagePort, input: MachineThreadInput) {
    this.#port = port;
    this.#bell = new Int32Array(input.bell);
    const { config } = input;
    this.#config = config;
    const log = {
      info: (message: string) => this.#send({ kind: 'log', level: 'info', message }),
      warn: (message: string) => this.#send({ kind: 'log', level: 'warn', message }),
    };
    const { serial } = config;
    const file = serial.kind === 'file' ? new FileSink(serial.path, log) : undefined;
    this.#file = file;
    this.#serial = new ByteBatch((bytes) =>
      file === undefined ? this.#send({ kind: 'serial', bytes }) : file.write(bytes),
    );
    const direct = config.boot.kernel !== undefined;
    const firmware = findFirmware(config.firmware.bios === undefined ? {} : { bios: config.firmware.bios });
    this.#machine = new Machine({
      config,
      firmware: direct ? undefined : firmware,
      vgaBios: firmware.vgaBios,
      kernel: readKernel(config),
      openMedia: (defer) => ({
        disks: config.disks.map(({ path, readOnly, port: place }) => ({
          backend: openRawImage(path, { readOnly, defer }),
          port: place,
        })),
        ...(config.cdrom === undefined
          ? {}
          : {
              cdrom: {
                backend:
                  config.cdrom.path === undefined
                    ? undefined
                    : openRawImage(config.cdrom.path, { readOnly: true, defer, padTail: true }),
                port: config.cdrom.port,
              },
            }),
        floppy:
          config.floppy?.path === undefined
            ? undefined
            : openRawImage(config.floppy.path, { readOnly: config.floppy.readOnly, defer, padTail: true }),
      }),
      serialOutput: serial.kind === 'none' ? { write() {} } : this.#serial,
      log,
    });
    for (const { path, atSeconds } of config.screenshots) {
      this.#machine.at(atSeconds, () => this.#send({ kind: 'picture', path, png: this.#picture() }));
    }
    for (const { text, atSeconds } of config.typed) {
      this.#machine.at(atSeconds, () => this.#type(text));
    }
    if (config.timeoutSeconds !== undefined) {
      this.#machine.at(config.timeoutSeconds, () => {
        this.#timedOut = true;
        this.#machine.cpus.stopSoon();
      });
    }
  }

  #send(message: FromMachine): void {
    this.#port.postMessage(message);
  }

  #picture(): Uint8Array {
    this.#machine.board.vga.refresh();
    return encodePng(this.#machine.board.vga.snapshot());
  }

  #type(text: string): void {
    const unknown = this.#machine.typer.type(text);
    if (unknown.length > 0) {
      this.#send({ kind: 'log', level: 'warn', message: `no key types ${unknown.join(' ')}` });
    }
  }

  run(): RunOutcome {
    try {
      for (;;) {
        const bell = Atomics.load(this.#bell, 0);
        this.#receive();
        if (this.#stopped) {
          return { kind: 'quit' };
        }
        if (this.#timedOut) {
          return { kind: 'timeout', detail: this.#whereItStands() };
        }
        const turn = this.#machine.turn();
        this.#serial.flush();
        const outcome = this.#outcome(turn);
        if (outcome !== undefined) {
          return outcome;
        }
        if (turn.kind === 'idle') {
          this.#wait(bell, turn.until);
        }
      }
    } finally {
      this.#serial.flush();
      this.#file?.dispose();
      this.#machine.dispose();
    }
  }

  #whereItStands(): string {
    return this.#machine.cpus.processors
      .map(({ index, state }) => `processor ${index} at ${state.cs.selector.toString(16)}:${state.rip.toString(16)}`)
      .join(', ');
  }

  #outcome(turn: Turn): RunOutcome | undefined {
    switch (turn.kind) {
      case 'powered-off':
        return { kind: 'powered-off' };
      case 'debug-exit':
        return { kind: 'debug-exit', code: turn.value };
      case 'guest-crashed':
        if (this.#config.noReboot) {
          return { kind: 'guest-crashed', detail: turn.detail };
        }
        this.#send({ kind: 'log', level: 'warn', message: `${turn.detail}; the machine restarts` });
        this.#machine.reset();
        return undefined;
      case 'reset':
        if (this.#config.noReboot) {
          return { kind: 'reset' };
        }
        this.#machine.reset();
        return undefined;
      default:
        return undefined;
    }
  }

  #wait(bell: number, until: number | undefined): void {
    if (this.#waitingInput.length > 0) {
      return;
    }
    const nanos = until === undefined ? Number.POSITIVE_INFINITY : until - this.#machine.clock.now();
    if (nanos > SPIN_NANOS) {
      Atomics.wait(this.#bell, 0, bell, Math.min(IDLE_MILLIS, nanos / 1e6));
    }
  }

  #receive(): void {
    for (let entry = receiveMessageOnPort(this.#port); entry !== undefined; entry = receiveMessageOnPort(this.#port)) {
      this.#handle(entry.message as ToMachine);
    }
    // What the serial port could not take yet.
    const serial = this.#machine.board.serial[0];
    while (this.#waitingInput.length > 0) {
      const bytes = defined(this.#waitingInput[0], 'input');
      const taken = serial.receive(bytes);
      if (taken < bytes.length) {
        this.#waitingInput[0] = bytes.subarray(taken);
        return;
      }
      this.#waitingInput.shift();
    }
  }

  #handle(message: ToMachine): void {
    const { board } = this.#machine;
    switch (message.kind) {
      case 'serial':
        this.#waitingInput.push(message.bytes);
        return;
      case 'type':
        this.#type(message.text);
        return;
      case 'power-button':
        board.power.pressPowerButton();
        return;
      case 'stop':
        this.#stopped = true;
        return;
      case 'screenshot':
        this.#send({ kind: 'screenshot', request: message.request, png: this.#picture() });
        return;
      case 'screen-text':
        this.#send({ kind: 'screen-text', request: message.request, lines: board.vga.screenText() });
        return;
    }
  }
}

function readNamed(path: string): NamedBytes {
  try {
    return { name: path, bytes: readFileSync(path) };
  } catch (cause) {
    throw new HostError('unreadable', `${path}: cannot be read (${(cause as NodeJS.ErrnoException).code})`, {
      cause,
      remedy: 'choose a file that exists and that you may read',
    });
  }
}

function readKernel(config: MachineConfig): BootInput | undefined {
  const { kernel, initrd, append } = config.boot;
  if (kernel === undefined) {
    return undefined;
  }
  return { kernel: readNamed(kernel), modules: initrd.map(readNamed), commandLine: append };
}

const port = defined(parentPort, 'the machine thread runs as a worker; its parent port');

function main(): void {
  const send = (message: FromMachine) => port.postMessage(message);
  try {
    const thread = new MachineThread(port, workerData as MachineThreadInput);
    send({ kind: 'started' });
    send({ kind: 'finished', outcome: thread.run() });
  } catch (error) {
    if (!(error instanceof HostError)) {
      throw error;
    }
    send({ kind: 'failed', code: error.code, message: error.message, remedy: error.remedy });
  } finally {
    port.close();
  }
}

main();
