import { SocketPort } from '../backends/serial/socket-port.ts';
import { ByteRingReader, ByteRingWriter, createByteRing } from '../base/byte-ring.ts';
import { HostError } from '../base/host-error.ts';
import { MAX_CHANNELS } from '../config/console-config.ts';
import type { MachineConfig } from '../config/machine-config.ts';

/** Bytes on their way to a client, of a channel and of a console: a guest cannot wait for the reader of its console. */
const CHANNEL_BYTES = 1 << 16;
const CONSOLE_BYTES = 1 << 20;
const PIECE_BYTES = 1 << 16;

/** What the machine thread gets of a port of the console device that leads to a socket. */
export interface PortCable {
  /** The port's number; 0 is the console. */
  readonly index: number;
  readonly name: string;
  readonly console: boolean;
  readonly toHost: SharedArrayBuffer;
  readonly toGuest: SharedArrayBuffer;
}

export interface ChannelState {
  readonly name: string;
  readonly socket: string;
  /** A client of the host is there. */
  readonly connected: boolean;
  /** A program of the guest is there. */
  readonly guestOpen: boolean;
}

interface HostPort {
  readonly cable: PortCable;
  readonly reader: ByteRingReader;
  readonly writer: ByteRingWriter;
  socket: SocketPort | undefined;
  guestOpen: boolean;
}

/** Name of the port that is the guest's first console. */
export const CONSOLE_PORT_NAME = 'org.lodge.console.0';

/** The sockets of consoles and channels, on the host thread. Bytes cross to and from the machine thread in shared memory. */
export class PortsHost {
  readonly #ports: (HostPort | undefined)[] = [];
  readonly #ring: () => void;
  #closed = false;
  /** Told when a client has come or gone. */
  onConnected: (index: number, open: boolean) => void = () => {};

  /** `ring` wakes the machine thread. */
  private constructor(ring: () => void) {
    this.#ring = ring;
  }

  /** Opens all sockets of a configuration. Rejects with HostError when the host refuses one; none is then open. */
  static async create(config: MachineConfig, ring: () => void): Promise<PortsHost> {
    const host = new PortsHost(ring);
    try {
      if (config.console?.kind === 'socket') {
        await host.#open(0, CONSOLE_PORT_NAME, config.console.path);
      }
      for (const { name, socket } of config.channels) {
        await host.add(name, socket);
      }
    } catch (error) {
      await host.close();
      throw error;
    }
    return host;
  }

  get cables(): PortCable[] {
    return this.#ports.filter((port) => port !== undefined).map(({ cable }) => cable);
  }

  get channels(): ChannelState[] {
    return this.#ports
      .filter((port) => port !== undefined && !port.cable.console)
      .map((port) => ({
        name: port?.cable.name ?? '',
        socket: port?.socket?.path ?? '',
        connected: port?.socket?.connected ?? false,
        guestOpen: port?.guestOpen ?? false,
      }));
  }

  async #open(index: number, name: string, path: string): Promise<PortCable> {
    const console = index === 0;
    const toHost = createByteRing(console ? CONSOLE_BYTES : CHANNEL_BYTES);
    const toGuest = createByteRing(CHANNEL_BYTES);
    const port: HostPort = {
      cable: { index, name, console, toHost, toGuest },
      reader: new ByteRingReader(toHost),
      writer: new ByteRingWriter(toGuest),
      socket: undefined,
      guestOpen: false,
    };
    // The number is taken while the socket is being made.
    this.#ports[index] = port;
    try {
      port.socket = await SocketPort.listen(path, {
        connected: (open) => this.onConnected(index, open),
        received: (bytes) => this.#receive(port, bytes),
        writable: () => this.#drain(port),
      });
    } catch (error) {
      this.#ports[index] = undefined;
      throw error;
    }
    return port.cable;
  }

  /** Opens a channel. Rejects with HostError. */
  async add(name: string, path: string): Promise<PortCable> {
    if (this.#ports.some((port) => port?.cable.name === name)) {
      throw new HostError('channel-exists', `there is a channel '${name}' already`, {
        remedy: 'give another name',
        details: { name },
      });
    }
    let index = 1;
    while (this.#ports[index] !== undefined) {
      index++;
    }
    if (index > MAX_CHANNELS) {
      throw new HostError('too-many-channels', `there is room for ${MAX_CHANNELS} channels`, {
        remedy: 'remove one first',
        details: { maximum: MAX_CHANNELS },
      });
    }
    return await this.#open(index, name, path);
  }

  /** Closes a channel and gives its number; undefined: there is none of this name. */
  async remove(name: string): Promise<number | undefined> {
    const port = this.#ports.find((candidate) => candidate?.cable.name === name && !candidate.cable.console);
    if (port === undefined) {
      return undefined;
    }
    const { index } = port.cable;
    await port.socket?.close();
    this.#ports[index] = undefined;
    return index;
  }

  setGuestOpen(index: number, open: boolean): void {
    const port = this.#ports[index];
    if (port !== undefined) {
      port.guestOpen = open;
    }
  }

  /** From the client to the guest. */
  #receive({ writer }: HostPort, bytes: Uint8Array): number {
    let { count } = writer.write(bytes);
    while (count < bytes.length && !writer.wantRoom()) {
      count += writer.write(bytes.subarray(count)).count;
    }
    this.#ring();
    return count;
  }

  /** From the guest to the client. */
  #drain({ reader, socket }: HostPort): void {
    for (;;) {
      const bytes = reader.peek(PIECE_BYTES);
      if (bytes.length === 0) {
        if (reader.wantBytes()) {
          return;
        }
        continue;
      }
      if (socket === undefined || !socket.write(bytes)) {
        // Goes on when the client has read.
        return;
      }
      if (reader.take(bytes.length)) {
        this.#ring();
      }
    }
  }

  /** The machine thread has written bytes, or made room. */
  wake(): void {
    for (const port of this.#ports) {
      if (port !== undefined) {
        port.socket?.resume();
        this.#drain(port);
      }
    }
  }

  /** Hands the last bytes on and closes all sockets. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.wake();
      await Promise.all(this.#ports.map((port) => port?.socket?.close()));
    }
  }
}
