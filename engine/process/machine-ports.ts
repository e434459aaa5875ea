import { ByteBatch } from '../backends/serial/byte-batch.ts';
import { FileSink } from '../backends/serial/file-sink.ts';
import { ByteRingReader, ByteRingWriter } from '../base/byte-ring.ts';
import type { Disposable } from '../base/disposable.ts';
import type { Log } from '../base/log.ts';
import type { MachineConfig } from '../config/machine-config.ts';
import type { ConsolePortHost, VirtioConsole } from '../virtio/console/virtio-console.ts';
import { CONSOLE_PORT_NAME, type PortCable } from './ports-host.ts';

const PIECE_BYTES = 1 << 16;

interface MachinePort {
  readonly reader: ByteRingReader;
  readonly host: ConsolePortHost;
  readonly writer: ByteRingWriter;
  /** The guest has bytes that the ring had no room for. */
  refused: boolean;
}

export interface MachinePortsWiring {
  /** Tells the host thread that it can go on. */
  wake(): void;
  /** A program of the guest has opened or closed a port. */
  opened(index: number, open: boolean): void;
  /** Takes what the guest says where its console is the terminal. */
  terminal(bytes: Uint8Array): void;
  readonly log: Log;
}

/**
 * The machine thread's ends of the ports of the console device. `poll` is called before each slice, `flush` after it.
 */
export class MachinePorts implements Disposable {
  readonly #wiring: MachinePortsWiring;
  readonly #ports: (MachinePort | undefined)[] = [];
  #device: VirtioConsole | undefined;

  /** What the guest says on its console, where that is the terminal or a file. */
  readonly #console: ByteBatch | undefined;
  readonly #file: FileSink | undefined;
  readonly #exists: boolean;

  /** Throws HostError when the console's file cannot be written. */
  constructor(config: MachineConfig, cables: readonly PortCable[], wiring: MachinePortsWiring) {
    const { console, channels } = config;
    this.#wiring = wiring;
    this.#exists = console !== undefined || channels.length > 0;
    const file = console?.kind === 'file' ? new FileSink(console.path, wiring.log) : undefined;
    this.#file = file;
    if (console?.kind === 'stdio') {
      this.#console = new ByteBatch((bytes) => wiring.terminal(bytes));
    } else if (file !== undefined) {
      this.#console = new ByteBatch((bytes) => file.write(bytes));
    }
    for (const cable of cables) {
      this.#add(cable);
    }
  }

  /** What stands behind each port, by its number; undefined: the machine has no console device. */
  get hosts(): (ConsolePortHost | undefined)[] | undefined {
    if (!this.#exists) {
      return undefined;
    }
    const hosts = Array.from(this.#ports, (port) => port?.host);
    const console = this.#console;
    if (console !== undefined) {
      const write = (bytes: Uint8Array) => {
        console.writeAll(bytes);
        return bytes.length;
      };
      hosts[0] = { name: CONSOLE_PORT_NAME, console: true, write };
    }
    return hosts;
  }

  connect(device: VirtioConsole | undefined): void {
    this.#device = device;
  }

  #add({ index, name, console, toHost, toGuest }: PortCable): MachinePort {
    const writer = new ByteRingWriter(toHost);
    const port: MachinePort = {
      reader: new ByteRingReader(toGuest),
      writer,
      refused: false,
      host: {
        name,
        console,
        // Until a client has come.
        open: console,
        write: (bytes) => {
          const count = this.#write(port, bytes);
          // Drivers of consoles wait for each buffer with the processor: what nobody reads is lost instead.
          return console ? bytes.length : count;
        },
        opened: (open) => this.#wiring.opened(index, open),
      },
    };
    this.#ports[index] = port;
    return port;
  }

  #write(port: MachinePort, bytes: Uint8Array): number {
    const { writer } = port;
    let { count, tell } = writer.write(bytes);
    while (count < bytes.length && !port.host.console) {
      if (writer.wantRoom()) {
        port.refused = true;
        break;
      }
      const more = writer.write(bytes.subarray(count));
      count += more.count;
      tell ||= more.tell;
    }
    if (tell) {
      this.#wiring.wake();
    }
    return count;
  }

  /** Plugs in a port. False: the machine has no place for it. */
  plug(cable: PortCable): boolean {
    const port = this.#add(cable);
    if (this.#device?.plug(cable.index, port.host) === true) {
      return true;
    }
    this.#ports[cable.index] = undefined;
    return false;
  }

  unplug(index: number): void {
    this.#ports[index] = undefined;
    this.#device?.unplug(index);
  }

  /** A client has come, or gone. A console is there all the time: its driver would not start without. */
  setConnected(index: number, open: boolean): void {
    if (this.#ports[index]?.host.console === false) {
      this.#device?.setOpen(index, open);
    }
  }

  /** Hands on what the guest has said. */
  flush(): void {
    this.#console?.flush();
  }

  dispose(): void {
    this.flush();
    this.#file?.dispose();
  }

  /** Carries bytes on that wait on either side. */
  poll(): void {
    const device = this.#device;
    if (device === undefined) {
      return;
    }
    for (const [index, port] of this.#ports.entries()) {
      if (port === undefined) {
        continue;
      }
      if (port.refused && port.writer.room > 0) {
        port.refused = false;
        device.writable(index);
      }
      const room = device.room(index);
      if (room > 0 && port.reader.available > 0) {
        const bytes = port.reader.peek(Math.min(room, PIECE_BYTES));
        if (port.reader.take(device.receive(index, bytes))) {
          this.#wiring.wake();
        }
      }
    }
  }
}
