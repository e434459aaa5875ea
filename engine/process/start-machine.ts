import { Worker } from 'node:worker_threads';
import { ImageServer } from '../backends/block/image-server.ts';
import { ShareHost } from '../backends/share/share-host.ts';
import { VsockHost } from '../backends/vsock/vsock-host.ts';
import { HostError } from '../base/host-error.ts';
import type { MachineConfig } from '../config/machine-config.ts';
import { checkChannelName, checkSocketPath } from '../config/validate-console.ts';
import { acceleratorNow, chooseAccelerator } from './accelerator.ts';
import { FrameSender } from './frame-sender.ts';
import type { CommandResult, FromMachine, MachineCommand, MachineThreadInput, ToMachine } from './machine-messages.ts';
import { NetworkHost } from './network-host.ts';
import { PortsHost } from './ports-host.ts';
import type { ControlledMachine, MachineHost, RunOutcome } from './run-machine.ts';

/** Starts a machine in a thread of its own. Rejects with HostError when it cannot be built. */
export async function startMachine(config: MachineConfig, host: MachineHost): Promise<ControlledMachine> {
  const { kvm, ...accelerator } = chooseAccelerator(config);
  host.accelerator?.(accelerator);
  const bell = new SharedArrayBuffer(4);
  const ring = () => ringBell(new Int32Array(bell));
  const log = {
    info: (message: string) => host.log('info', message),
    warn: (message: string) => host.log('warn', message),
  };
  // First of all: an occupied port stops the start before anything is touched.
  const network = config.network === undefined ? undefined : await NetworkHost.create(config.network, log, ring);
  const ports = await PortsHost.create(config, ring).catch(async (error: unknown) => {
    await network?.close();
    throw error;
  });
  let running: ThreadedMachine | undefined;
  const shares = await ShareHost.start(
    config.virtualTime ? [] : config.shares,
    bell,
    (line) => host.log('error', line),
    (error) => running?.fail(error),
  ).catch(async (error: unknown) => {
    await Promise.all([network?.close(), ports.close()]);
    throw error;
  });
  const sockets = config.vsock && VsockHost.listen(config.vsock.socket, ring);
  const vsock = await sockets?.catch(async (error: unknown) => {
    await Promise.all([network?.close(), ports.close(), shares.terminate()]);
    throw error;
  });
  const images = new ImageServer(bell, (error) => running?.fail(error));
  const input: MachineThreadInput = {
    config,
    bell,
    images: images.cable,
    kvm,
    network: network?.cable,
    shares: shares.ends,
    vsock: vsock?.cable,
    ports: ports.cables,
  };
  const worker = new Worker(new URL('./machine-thread.ts', import.meta.url), {
    workerData: input,
    // Descriptors of shared folders go to their threads and back.
    trackUnmanagedFds: false,
    transferList: [
      images.cable.port,
      ...shares.ends.map(({ port }) => port),
      ...(vsock === undefined ? [] : [vsock.cable.port]),
    ],
  });
  running = new ThreadedMachine(worker, new Int32Array(bell), host, images, network, ports, shares, vsock);
  return running.started;
}

function ringBell(bell: Int32Array): void {
  Atomics.add(bell, 0, 1);
  Atomics.notify(bell, 0);
}

/** Commands that the machine thread never hears of. */
type NetworkCommand = Extract<MachineCommand, { kind: 'add-forward' | 'remove-forward' | 'forwards' }>;

/** As well. */
type ChannelCommand = Extract<MachineCommand, { kind: 'add-channel' | 'remove-channel' | 'channels' }>;

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
  readonly #images: ImageServer;
  readonly #network: NetworkHost | undefined;
  readonly #ports: PortsHost;
  readonly #shares: ShareHost;
  readonly #vsock: VsockHost | undefined;
  readonly #frames: FrameSender;
  readonly #answers = new Map<number, Settler<unknown>>();
  readonly #stored: Promise<void>[] = [];
  #requests = 0;
  #ended = false;
  #start: Settler<ControlledMachine> | undefined;
  #finish: Settler<RunOutcome> | undefined;

  constructor(
    worker: Worker,
    bell: Int32Array,
    host: MachineHost,
    images: ImageServer,
    network: NetworkHost | undefined,
    ports: PortsHost,
    shares: ShareHost,
    vsock: VsockHost | undefined,
  ) {
    this.#shares = shares;
    this.#vsock = vsock;
    this.#ports = ports;
    ports.onConnected = (index, open) => {
      this.#send({ request: undefined, command: { kind: 'port-connected', index, open } });
    };
    this.#images = images;
    this.#worker = worker;
    this.#bell = bell;
    this.#host = host;
    this.#network = network;
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
    this.#network?.close().catch(() => {});
    this.#ports.close().catch(() => {});
    this.#images.close().catch(() => {});
    this.#shares.close().catch(() => {});
    this.#vsock?.close().catch(() => {});
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

  /** Something that the machine cannot do without has broken. */
  fail(error: unknown): void {
    this.stop();
    this.#end((settler) => settler.reject(error));
  }

  #receive(message: FromMachine): void {
    switch (message.kind) {
      case 'started':
        try {
          this.#network?.started();
        } catch (error) {
          this.stop();
          this.#end((settler) => settler.reject(error));
          return;
        }
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
      case 'network':
        if (message.event === 'reset') {
          this.#network?.guestReset();
        } else {
          this.#network?.wake();
        }
        return;
      case 'ports':
        this.#ports.wake();
        return;
      case 'port-opened':
        this.#ports.setGuestOpen(message.index, message.open);
        return;
      case 'accelerator':
        this.#host.accelerator?.(acceleratorNow(message.name, message.why));
        return;
      case 'status':
        this.#host.status?.(message.status);
        return;
      case 'cursor':
        this.#host.cursor?.(message.cursor);
        return;
      case 'finished': {
        const finish = this.#finish;
        this.#finish = undefined;
        if (this.#network !== undefined) {
          this.#stored.push(this.#network.close());
        }
        this.#stored.push(this.#ports.close());
        this.#end((settler) => settler.reject(notRunning()));
        Promise.all([...this.#stored, this.#images.close(), this.#shares.close(), this.#vsock?.close()]).then(
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
      ringBell(this.#bell);
    }
  }

  tell(command: MachineCommand): void {
    if (this.#isForPorts(command)) {
      this.#performOnPorts(command).catch(() => {});
      return;
    }
    if (this.#isForNetwork(command)) {
      this.#performOnNetwork(command).catch(() => {});
      return;
    }
    this.#note(command);
    this.#send({ request: undefined, command });
  }

  perform<C extends MachineCommand>(command: C): Promise<CommandResult<C['kind']>> {
    if (this.#ended) {
      return Promise.reject(notRunning());
    }
    if (this.#isForNetwork(command)) {
      // Each kind of command has its kind of result.
      return this.#performOnNetwork(command) as Promise<CommandResult<C['kind']>>;
    }
    if (this.#isForPorts(command)) {
      return this.#performOnPorts(command) as Promise<CommandResult<C['kind']>>;
    }
    this.#note(command);
    // The machine thread answers each kind of command with its kind of result.
    return this.#ask(command) as Promise<CommandResult<C['kind']>>;
  }

  #ask(command: ToMachine['command']): Promise<unknown> {
    const request = this.#requests++;
    return new Promise((resolve, reject) => {
      this.#answers.set(request, { resolve, reject });
      this.#send({ request, command });
    });
  }

  #isForPorts(command: MachineCommand): command is ChannelCommand {
    return command.kind === 'add-channel' || command.kind === 'remove-channel' || command.kind === 'channels';
  }

  async #performOnPorts(command: ChannelCommand): Promise<CommandResult<ChannelCommand['kind']>> {
    switch (command.kind) {
      case 'add-channel': {
        checkChannelName(command.name, 'channel');
        checkSocketPath(command.socket, 'channel socket');
        const cable = await this.#ports.add(command.name, command.socket);
        try {
          await this.#ask({ kind: 'plug-port', cable });
        } catch (error) {
          await this.#ports.remove(command.name);
          throw error;
        }
        return null;
      }
      case 'remove-channel': {
        const index = await this.#ports.remove(command.name);
        if (index !== undefined) {
          await this.#ask({ kind: 'unplug-port', index });
        }
        return { removed: index !== undefined };
      }
      case 'channels':
        return { channels: this.#ports.channels };
    }
  }

  #isForNetwork(command: MachineCommand): command is NetworkCommand {
    return command.kind === 'add-forward' || command.kind === 'remove-forward' || command.kind === 'forwards';
  }

  async #performOnNetwork(command: NetworkCommand): Promise<CommandResult<NetworkCommand['kind']>> {
    const network = this.#network;
    if (network === undefined) {
      throw new HostError('no-network', 'the machine has no network', {
        remedy: 'switch the machine off and give it one in its settings',
      });
    }
    switch (command.kind) {
      case 'add-forward':
        return { forward: await network.addForward(command.forward) };
      case 'remove-forward':
        return { removed: network.removeForward(command.forward) };
      case 'forwards':
        return { forwards: network.forwards };
    }
  }

  /** What else happens on this side when the machine is told something. */
  #note(command: MachineCommand): void {
    if (command.kind === 'pause') {
      this.#network?.pause();
    } else if (command.kind === 'resume') {
      this.#network?.resume();
    } else if (command.kind === 'attach') {
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
