import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { BlockBackend } from '../backends/block/block-backend.ts';
import { ImageClient } from '../backends/block/image-client.ts';
import { openRawImage } from '../backends/block/raw-image.ts';
import { encodePng } from '../backends/display/png.ts';
import { pageReleaser } from '../backends/memory/release-pages.ts';
import { ByteBatch } from '../backends/serial/byte-batch.ts';
import { FileSink } from '../backends/serial/file-sink.ts';
import { VsockClient } from '../backends/vsock/vsock-client.ts';
import { defined, InvariantError } from '../base/assert.ts';
import { HostError } from '../base/host-error.ts';
import type { Log } from '../base/log.ts';
import { type MachineConfig, MIN_MEMORY_MEGABYTES } from '../config/machine-config.ts';
import { isKvmFailure, type KvmAccess } from '../cpu/kvm/kvm-access.ts';
import { type KvmFacts, openKvm } from '../cpu/kvm/kvm-host.ts';
import { findFirmware } from '../firmware/find-firmware.ts';
import type { BootInput, NamedBytes } from '../machine/boot/boot-input.ts';
import { Machine, type Turn } from '../machine/machine.ts';
import { RingNetworkPort } from '../net/ring-port.ts';
import { ActivityLights } from './activity.ts';
import { DiskTroubles } from './disk-troubles.ts';
import type {
  CommandResult,
  FromMachine,
  MachineCommand,
  MachineStatus,
  MachineThreadInput,
  ToMachine,
} from './machine-messages.ts';
import { MachinePorts } from './machine-ports.ts';
import { MachineScreens, noScreen } from './machine-screens.ts';
import { MachineShares } from './machine-shares.ts';
import { openSound } from './machine-sound.ts';
import type { PortCable } from './ports-host.ts';
import type { RunOutcome } from './run-machine.ts';
import { ThreadCompiler } from './thread-compiler.ts';
import { threadDelays } from './thread-delays.ts';
import { lowerWorkersPriority } from './thread-priority.ts';

/** With a deadline nearer than this, waiting costs more than it saves. */
const SPIN_NANOS = 50_000;
/** Serial input that a guest does not read is offered to it again after so many milliseconds. */
const SERIAL_RETRY_MILLIS = 5;
/** Serial input that waits; what comes beyond it is dropped. */
const MAX_WAITING_INPUT = 1 << 20;
/** While the host works on a disk request, its answer is looked for at least this often: nanoseconds. */
const SLICE_WITH_REQUESTS_NANOS = 200_000;
/** A halted machine waits for a disk's answer without sleeping for so long: nanoseconds. */
const DISK_SPIN_NANOS = 50_000;
const LOOKS_BETWEEN_CLOCKS = 50;
/** So often the lights of the drives and the keyboard are looked at, in milliseconds. */
const STATUS_MILLIS = 100;

/** The machine thread: builds the machine and runs it until something ends the run. Synchronous; never awaits. */
class MachineThread {
  readonly #port: MessagePort;
  readonly #bell: Int32Array;
  readonly #config: MachineConfig;
  readonly #serial: ByteBatch;
  readonly #ports: MachinePorts;
  readonly #file: FileSink | undefined;
  readonly #machine: Machine;
  readonly #lights = new ActivityLights();
  readonly #screens: MachineScreens;
  readonly #images: ImageClient;
  readonly #shares: MachineShares;
  readonly #vsock: VsockClient | undefined;
  readonly #troubles = new DiskTroubles(
    (message) => this.#onDiskTrouble(message),
    (message) => this.#send({ kind: 'log', level: 'error', message }),
  );
  #pausedByUser = false;
  #pausedByTrouble = false;
  readonly #network: RingNetworkPort | undefined;
  #waitingInput: Uint8Array[] = [];
  #stopped = false;
  #timedOut = false;
  #statusDue = 0;
  /** The status has been told and has not changed since: nothing is to be looked at while the guest waits. */
  #statusSettled = false;
  #lastStatus = '';

  constructor(port: MessagePort, input: MachineThreadInput) {
    this.#port = port;
    this.#bell = new Int32Array(input.bell);
    const { config } = input;
    this.#config = config;
    this.#images = new ImageClient(input.images, this.#bell);
    this.#vsock = input.vsock && new VsockClient(input.vsock);
    this.#shares = new MachineShares(config, input.shares, this.#bell, (message) =>
      this.#send({ kind: 'log', level: 'error', message }),
    );
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
    this.#screens = new MachineScreens(config.heads, {
      frame: (viewer, packet) =>
        this.#port.postMessage({ kind: 'frame', viewer, packet } satisfies FromMachine, [packet.buffer]),
      cursor: (cursor) => this.#send({ kind: 'cursor', cursor }),
      pointsByItself: () => this.#machine.board.input.pointer === 'absolute',
    });
    this.#ports = new MachinePorts(config, input.ports, {
      wake: () => this.#send({ kind: 'ports' }),
      opened: (index, open) => this.#send({ kind: 'port-opened', index, open }),
      terminal: (bytes) => this.#send({ kind: 'serial', bytes }),
      log,
    });
    const direct = config.boot.kernel !== undefined;
    // A microVM has neither firmware nor a display.
    const firmware =
      config.board === 'microvm' ? undefined : findFirmware({ bios: config.firmware.bios, vga: config.vga });
    this.#network = this.#plugIn(input);
    this.#machine = new Machine({
      config,
      network: this.#network,
      vsock: this.#vsock,
      firmware: direct ? undefined : firmware,
      vgaBios: firmware?.vgaBios ?? new Uint8Array(0),
      kernel: readKernel(config),
      openMedia: (defer) => this.#openMedia(defer),
      displays: this.#screens.sinks,
      releasePages: this.#pageReleaser(log),
      serialOutput: serial.kind === 'none' ? { write() {} } : this.#serial,
      consolePorts: this.#ports.hosts,
      sound: openSound(config.sound, log),
      log,
      compiler: (arenaPages) => {
        lowerWorkersPriority();
        return new ThreadCompiler(arenaPages);
      },
      kvm: this.#openKvm(input.kvm, log),
      threadDelays: threadDelays(),
    });
    if (input.kvm !== undefined && this.#machine.cpus.kind === 'software') {
      this.#send({ kind: 'accelerator', name: 'software', why: 'kvm-failed' });
    }
    this.#ports.connect(this.#machine.board.virtio.console);
    this.#screens.connect(this.#machine.board.display.screens);
    for (const { path, atSeconds } of config.screenshots) {
      this.#machine.at(atSeconds, () => this.#send({ kind: 'picture', path, png: this.#picture(0).png }));
    }
    for (const { text, atSeconds } of config.typed) {
      this.#machine.at(atSeconds, () => this.#type(text));
    }
    if (config.balloonMegabytes !== undefined) {
      this.#machine.setGuestMemory(config.balloonMegabytes * 0x100000);
    }
    if (config.timeoutSeconds !== undefined) {
      this.#machine.at(config.timeoutSeconds, () => {
        this.#timedOut = true;
        this.#machine.cpus.stopSoon();
      });
    }
  }

  /** Opens KVM; where that fails since it was looked at, the machine runs in software, unless KVM was asked for. */
  #openKvm(facts: KvmFacts | undefined, log: Log): KvmAccess | undefined {
    if (facts === undefined) {
      return undefined;
    }
    try {
      return { ...openKvm(facts), required: this.#config.accel === 'kvm' };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (this.#config.accel === 'kvm') {
        throw new HostError('no-kvm', `--accel kvm: ${message}`, { remedy: 'give --accel auto or software' });
      }
      log.warn(`${message}; the machine runs in software`);
      return undefined;
    }
  }

  #pageReleaser(log: Log): ((bytes: Uint8Array) => void) | undefined {
    if (!this.#config.balloon) {
      return undefined;
    }
    const found = pageReleaser();
    if ('release' in found) {
      return found.release;
    }
    log.info(`memory that the guest gives up stays with the machine: ${found.problem}`);
    return undefined;
  }

  #plugIn({ network }: MachineThreadInput): RingNetworkPort | undefined {
    if (network === undefined) {
      return undefined;
    }
    this.#lights.equip('network');
    const port = new RingNetworkPort(
      network,
      () => this.#send({ kind: 'network', event: 'frames' }),
      (kind) => this.#lights.see('network', kind),
    );
    port.setLink(this.#config.network?.linkUp ?? true);
    return port;
  }

  #send(message: FromMachine): void {
    this.#port.postMessage(message);
  }

  #openMedia(defer: (action: () => void) => void) {
    const { disks, cdrom, floppy } = this.#config;
    const lights = this.#lights;
    if (cdrom !== undefined) {
      lights.equip('cdrom');
    }
    if (floppy !== undefined) {
      lights.equip('floppy');
    }
    return {
      shares: this.#shares.open(defer),
      disks: disks.map(({ path, bus, readOnly, port: place, serial }) => ({
        backend: this.#openDisk(path, readOnly, defer),
        bus,
        port: place,
        ...(serial === undefined ? {} : { serial }),
      })),
      ...(cdrom === undefined
        ? {}
        : {
            cdrom: {
              backend: cdrom.path === undefined ? undefined : this.#openMedium('cdrom', cdrom.path, true, defer),
              ...(cdrom.bus === undefined ? {} : { bus: cdrom.bus }),
              port: cdrom.port,
            },
          }),
      floppy: floppy?.path === undefined ? undefined : this.#openMedium('floppy', floppy.path, floppy.readOnly, defer),
    };
  }

  /**
   * Files are read and written by I/O threads. In virtual time that would let the host's speed decide when requests end,
   * so there the machine thread makes the calls itself.
   */
  #openImage(path: string, readOnly: boolean, padTail: boolean, defer: (action: () => void) => void): BlockBackend {
    return this.#config.virtualTime
      ? openRawImage(path, { readOnly, padTail, defer })
      : this.#images.open(path, { readOnly, padTail }, defer);
  }

  #openDisk(path: string, readOnly: boolean, defer: (action: () => void) => void): BlockBackend {
    return this.#lights.watch('disk', this.#troubles.watch(path, this.#openImage(path, readOnly, false, defer)));
  }

  #onDiskTrouble(message: string): void {
    this.#send({ kind: 'log', level: 'error', message });
    this.#pausedByTrouble = true;
    this.#machine.pause();
  }

  /** After a disk's trouble is over, the machine goes on, unless the user has paused it too. */
  #afterTrouble(): void {
    if (this.#pausedByTrouble && !this.#troubles.troubled) {
      this.#pausedByTrouble = false;
      this.#send({ kind: 'log', level: 'info', message: 'the disk can be written again' });
      if (!this.#pausedByUser) {
        this.#machine.resume();
      }
    }
  }

  #openMedium(drive: 'cdrom' | 'floppy', path: string, readOnly: boolean, defer: (action: () => void) => void) {
    const image = this.#openImage(path, readOnly || drive === 'cdrom', true, defer);
    return this.#lights.watch(drive, image);
  }

  #picture(head: number): { png: Uint8Array; width: number; height: number } {
    const { display } = this.#machine.board;
    // Not refreshed: what has changed is for the viewers to hear of.
    const snapshot = display.snapshot(head);
    if (snapshot === undefined) {
      throw noScreen(head, display.screens.length);
    }
    return { png: encodePng(snapshot), width: snapshot.width, height: snapshot.height };
  }

  #type(text: string): string[] {
    const unknown = this.#machine.typer.type(text);
    if (unknown.length > 0) {
      this.#send({ kind: 'log', level: 'warn', message: `no key types ${unknown.join(' ')}` });
    }
    return unknown;
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
        const now = performance.now();
        this.#images.poll(now);
        this.#shares.poll();
        this.#troubles.tick(now);
        this.#afterTrouble();
        this.#screens.tick(now);
        this.#reportStatus(now);
        if (this.#machine.paused) {
          this.#wait(bell, undefined);
          continue;
        }
        this.#network?.poll();
        this.#vsock?.poll();
        this.#ports.poll();
        const turn = this.#machine.turn(this.#awaitsHost ? SLICE_WITH_REQUESTS_NANOS : undefined);
        this.#serial.flush();
        this.#ports.flush();
        const outcome = this.#outcome(turn);
        if (outcome !== undefined) {
          return outcome;
        }
        if (turn.kind === 'idle') {
          // The guest's own time may have run out while it waits for nothing.
          if (!this.#timedOut) {
            this.#wait(bell, turn.until);
          }
        } else {
          this.#statusSettled = false;
        }
      }
    } finally {
      this.#reportHandOvers();
      this.#serial.flush();
      this.#ports.dispose();
      this.#file?.dispose();
      this.#machine.dispose();
    }
  }

  #reportHandOvers(): void {
    const { times, foundEmulating, instructions } = this.#machine.cpus.handedOver;
    if (times + foundEmulating > 0) {
      const emulating = foundEmulating === 0 ? '' : ` and was found emulating ${foundEmulating} times`;
      const message = `KVM gave up ${times} times${emulating}; ${instructions} instructions were carried out in software`;
      this.#send({ kind: 'log', level: 'info', message });
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
        this.#reset();
        return undefined;
      case 'reset':
        if (this.#config.noReboot) {
          return { kind: 'reset' };
        }
        this.#reset();
        return undefined;
      default:
        return undefined;
    }
  }

  #reset(): void {
    this.#machine.reset();
    if (this.#network !== undefined) {
      this.#send({ kind: 'network', event: 'reset' });
    }
  }

  #wait(bell: number, until: number | undefined): void {
    // Whoever has something for this thread rings the bell.
    let millis = this.#statusSettled ? Number.POSITIVE_INFINITY : Math.max(1, this.#statusDue - performance.now());
    if (until !== undefined) {
      const nanos = until - this.#machine.clock.now();
      if (nanos <= SPIN_NANOS) {
        return;
      }
      millis = Math.min(millis, nanos / 1e6);
    }
    const retry = this.#troubles.nextTickMillis;
    if (retry !== undefined) {
      millis = Math.min(millis, Math.max(1, retry - performance.now()));
    }
    if (this.#waitingInput.length > 0) {
      millis = Math.min(millis, SERIAL_RETRY_MILLIS);
    }
    const tick = this.#screens.nextTickMillis;
    if (tick !== undefined) {
      millis = Math.min(millis, tick - performance.now());
    }
    if (millis > 0 && !this.#awaitDisk(until)) {
      Atomics.wait(this.#bell, 0, bell, millis);
    }
  }

  /** The host works on what the guest wants of disks or shared folders. */
  get #awaitsHost(): boolean {
    return this.#images.inFlight > 0 || this.#shares.busy;
  }

  /** Looks for a disk's answer for as long as one from the page cache takes: being woken would take longer. */
  #awaitDisk(until: number | undefined): boolean {
    if (!this.#awaitsHost) {
      return false;
    }
    const { clock } = this.#machine;
    const end = Math.min(until ?? Number.POSITIVE_INFINITY, clock.now() + DISK_SPIN_NANOS);
    do {
      for (let i = 0; i < LOOKS_BETWEEN_CLOCKS; i++) {
        if (this.#images.ready || this.#shares.ready) {
          return true;
        }
      }
    } while (clock.now() < end);
    return false;
  }

  #reportStatus(now: number): void {
    if (now < this.#statusDue) {
      return;
    }
    this.#statusDue = now + STATUS_MILLIS;
    const { display, input } = this.#machine.board;
    const [first] = display.screens;
    const status: MachineStatus = {
      activity: this.#lights.take(),
      leds: input.lights,
      mouse: input.pointer,
      heads: display.screens.length,
      resizable: display.gpu?.active === true,
      screen: { width: first?.width ?? 0, height: first?.height ?? 0 },
      ...(this.#config.balloon ? { balloon: this.#balloonState() } : {}),
      ...(this.#troubles.present === undefined ? {} : { trouble: this.#troubles.present }),
    };
    const text = JSON.stringify(status);
    this.#statusSettled = text === this.#lastStatus;
    if (!this.#statusSettled) {
      this.#lastStatus = text;
      this.#send({ kind: 'status', status });
    }
  }

  #receive(): void {
    for (let entry = receiveMessageOnPort(this.#port); entry !== undefined; entry = receiveMessageOnPort(this.#port)) {
      const { request, command } = entry.message as ToMachine;
      try {
        const value = this.#perform(command) ?? null;
        if (request !== undefined) {
          this.#send({ kind: 'answer', request, value });
        }
      } catch (error) {
        if (!(error instanceof HostError)) {
          throw error;
        }
        const { code, message, remedy, details } = error;
        if (request !== undefined) {
          this.#send({ kind: 'refusal', request, code, message, remedy, details });
        }
      }
    }
    // What the serial port, or the console that has the terminal, could not take yet.
    const { serial, virtio } = this.#machine.board;
    const console = this.#config.console?.kind === 'stdio' ? virtio.console : undefined;
    while (this.#waitingInput.length > 0) {
      const bytes = defined(this.#waitingInput[0], 'input');
      const taken = console === undefined ? serial[0].receive(bytes) : console.receive(0, bytes);
      if (taken < bytes.length) {
        this.#waitingInput[0] = bytes.subarray(taken);
        return;
      }
      this.#waitingInput.shift();
    }
  }

  #setBalloon(megabytes: number): CommandResult<'balloon'> {
    const { memoryMegabytes } = this.#config;
    if (megabytes > memoryMegabytes) {
      throw new HostError('usage', `balloon ${megabytes}: the machine has ${memoryMegabytes} MB`, {
        remedy: `give ${MIN_MEMORY_MEGABYTES} to ${memoryMegabytes} megabytes`,
      });
    }
    this.#machine.setGuestMemory(megabytes * 0x100000);
    return this.#balloonState();
  }

  #balloonState(): CommandResult<'balloon'> {
    const balloon = this.#machine.board.virtio.balloon;
    const given = Math.round((balloon?.actualBytes ?? 0) / 0x100000);
    return { active: balloon?.active ?? false, presentMegabytes: this.#config.memoryMegabytes - given };
  }

  #plugPort(cable: PortCable): void {
    if (this.#machine.board.virtio.console === undefined) {
      throw new HostError('no-console', 'the machine has no virtio console', {
        remedy: 'start it with a console or a channel; others can then be added',
      });
    }
    if (!this.#ports.plug(cable)) {
      throw new InvariantError(`port ${cable.index} of the console is taken`);
    }
  }

  #perform(command: ToMachine['command']): CommandResult<MachineCommand['kind']> | undefined {
    const { board } = this.#machine;
    const { input } = board;
    switch (command.kind) {
      case 'link':
        this.#network?.setLink(command.up);
        return;
      case 'add-forward':
      case 'remove-forward':
      case 'forwards':
      case 'add-channel':
      case 'remove-channel':
      case 'channels':
        throw new InvariantError(`${command.kind} is dealt with by the host thread`);
      case 'plug-port':
        this.#plugPort(command.cable);
        return;
      case 'unplug-port':
        this.#ports.unplug(command.index);
        return;
      case 'port-connected':
        this.#ports.setConnected(command.index, command.open);
        return;
      case 'key':
        this.#screens.expectAnswer(performance.now());
        input.key(command.code, command.down);
        return;
      case 'keys':
        for (const code of command.codes) {
          input.key(code, true);
        }
        for (const code of command.codes.toReversed()) {
          input.key(code, false);
        }
        return;
      case 'release-keys':
        input.releaseAll();
        return;
      case 'mouse':
        this.#screens.expectAnswer(performance.now());
        input.moveBy(command.dx, command.dy, command.wheel, command.buttons);
        return;
      case 'pointer':
        this.#screens.expectAnswer(performance.now());
        input.moveTo(command.head ?? 0, command.x, command.y, command.wheel, command.buttons);
        return;
      case 'resize-screen':
        board.display.resize(command.head ?? 0, command);
        return;
      case 'type':
        return { unknown: this.#type(command.text) };
      case 'serial': {
        const waiting = this.#waitingInput.reduce((sum, { length }) => sum + length, 0);
        if (waiting + command.bytes.length <= MAX_WAITING_INPUT) {
          this.#waitingInput.push(command.bytes);
        }
        return;
      }
      case 'power-button':
        board.power.pressPowerButton();
        return;
      case 'reset':
        this.#reset();
        return;
      case 'pause':
        this.#pausedByUser = true;
        this.#machine.pause();
        return;
      case 'resume':
        this.#pausedByUser = false;
        this.#pausedByTrouble = false;
        this.#troubles.giveUp();
        this.#machine.resume();
        return;
      case 'accelerate':
        this.#machine.cpus.moveTo(command.accelerator);
        this.#send({ kind: 'accelerator', name: command.accelerator, why: 'moved' });
        return;
      case 'balloon':
        return this.#setBalloon(command.megabytes);
      case 'stop':
        this.#stopped = true;
        return;
      case 'insert': {
        const { drive, path, readOnly } = command;
        this.#machine.insertMedium(drive, (defer) => this.#openMedium(drive, path, readOnly, defer));
        return;
      }
      case 'attach-disk': {
        const { path, readOnly, serial } = command;
        const target = this.#machine.attachDisk((defer) => this.#openDisk(path, readOnly, defer), serial);
        return { target };
      }
      case 'detach-disk':
        this.#machine.detachDisk(command.target);
        return;
      case 'eject':
        return { ejected: this.#machine.ejectMedium(command.drive, command.force) };
      case 'screenshot':
        return this.#picture(command.head ?? 0);
      case 'screen-text':
        return { lines: board.display.screenText() ?? null };
      case 'attach':
        this.#screens.attach(command.viewer, command.head ?? 0, command.framesPerSecond);
        return;
      case 'ack':
        this.#screens.acknowledge(command.viewer, command.sequence);
        return;
      case 'detach':
        this.#screens.detach(command.viewer);
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

/** A call of KVM failed that cannot fail: what KVM held of the processors is gone. */
function kvmLost(cause: Error): HostError {
  return new HostError('kvm-failed', `KVM failed and took the machine with it: ${cause.message}`, {
    cause,
    remedy: 'start the machine again, with the accelerator software if it happens again',
  });
}

const port = defined(parentPort, 'the machine thread runs as a worker; its parent port');

function main(): void {
  const send = (message: FromMachine) => port.postMessage(message);
  try {
    const thread = new MachineThread(port, workerData as MachineThreadInput);
    send({ kind: 'started' });
    send({ kind: 'finished', outcome: thread.run() });
  } catch (error) {
    const failure = isKvmFailure(error) ? kvmLost(error) : error;
    if (!(failure instanceof HostError)) {
      throw failure;
    }
    const { code, message, remedy, details } = failure;
    send({ kind: 'failed', code, message, remedy, details });
  } finally {
    port.close();
  }
}

main();
