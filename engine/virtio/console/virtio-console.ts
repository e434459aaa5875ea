import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import { type ActiveDriver, VIRTIO_ID, type VirtioDevice, type VirtioTransport } from '../virtio-device.ts';

/** Feature bits (virtio 1.2, section 5.3.3). */
export const VIRTIO_CONSOLE_F_SIZE = 1n << 0n;
export const VIRTIO_CONSOLE_F_MULTIPORT = 1n << 1n;
export const VIRTIO_CONSOLE_F_EMERG_WRITE = 1n << 2n;

const CONFIG_BYTES = 12;
const CONFIG_EMERGENCY = 8;
/** Queues of the control channel; those of port 0 stand before, those of the other ports behind (section 5.3.2). */
const CONTROL_RECEIVE = 2;
const CONTROL_TRANSMIT = 3;
const QUEUE_SIZE = 128;
export const MAX_CONSOLE_PORTS = 16;
/** The longest name of a port: it has to fit into a buffer of the control channel. */
const MAX_PORT_NAME = 64;
const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 25;

/** Events on the control channel (section 5.3.6.2). */
const DEVICE_READY = 0;
const PORT_ADD = 1;
const PORT_REMOVE = 2;
const PORT_READY = 3;
const CONSOLE_PORT = 4;
const RESIZE = 5;
const PORT_OPEN = 6;
const PORT_NAME = 7;
const CONTROL_BYTES = 8;
/** Messages that wait for a buffer; a driver that gives none gets no more. */
const MAX_MESSAGES = 256;
/** Bytes that wait for the guest, for each port. */
const MAX_WAITING = 1 << 16;
/** Bytes handed to the host in one piece. */
const MAX_PIECE = 1 << 16;

/** What stands behind a port on the host. */
export interface ConsolePortHost {
  /** For the guest's programs: /dev/virtio-ports/NAME; at most 64 characters. */
  readonly name: string;
  /** The guest shows a terminal on it (hvc); else it is a channel for programs. */
  readonly console: boolean;
  /** False: nobody is there yet, until `setOpen`. */
  readonly open?: boolean;
  /** Takes what the guest wrote and returns how many bytes; fewer than given: go on with `writable`. */
  write(bytes: Uint8Array): number;
  /** A program of the guest has opened or closed the port. */
  opened?(open: boolean): void;
}

interface Port {
  readonly host: ConsolePortHost;
  /** The host's side is open. */
  hostOpen: boolean;
  guestOpen: boolean;
  /** Bytes for the guest. */
  waiting: Uint8Array;
  /** A buffer of the guest that the host took a part of only. */
  unwritten: { chain: DescriptorChain; done: number } | undefined;
}

/** The console device (virtio 1.2, section 5.3) with several ports. */
export class VirtioConsole implements VirtioDevice {
  readonly type = VIRTIO_ID.console;
  readonly features = VIRTIO_CONSOLE_F_SIZE | VIRTIO_CONSOLE_F_MULTIPORT | VIRTIO_CONSOLE_F_EMERG_WRITE;
  readonly queueSizes: readonly number[];
  readonly config = new Uint8Array(CONFIG_BYTES);
  readonly #view = new DataView(this.config.buffer);
  readonly #ports: (Port | undefined)[];
  #messages: Uint8Array[] = [];
  /** The driver of several ports has asked which there are. */
  #ready = false;
  /** Somebody has said how large the terminal is. */
  #sized = false;
  #transport: VirtioTransport | undefined;
  #driver: ActiveDriver | undefined;

  /**
   * The ports that there are from the start, by their numbers, and room for others up to `maxPorts` (1 to
   * {@link MAX_CONSOLE_PORTS}). Drivers of one port see port 0, which therefore is for a console.
   */
  constructor(ports: readonly (ConsolePortHost | undefined)[], maxPorts = ports.length) {
    this.#ports = Array.from({ length: maxPorts }, (_, index) => newPort(ports[index]));
    this.queueSizes = Array.from({ length: 2 * maxPorts + 2 }, () => QUEUE_SIZE);
    this.#view.setUint16(0, DEFAULT_COLUMNS, true);
    this.#view.setUint16(2, DEFAULT_ROWS, true);
    this.#view.setUint32(4, maxPorts, true);
  }

  attach(transport: VirtioTransport): void {
    this.#transport = transport;
  }

  #has(feature: bigint): boolean {
    return ((this.#driver?.features ?? 0n) & feature) !== 0n;
  }

  // ---- the host's side

  /** How many bytes `receive` takes at present. */
  room(index: number): number {
    const port = this.#ports[index];
    return port === undefined ? 0 : MAX_WAITING - port.waiting.length;
  }

  /** Bytes for the guest; returns how many were taken. The others may be offered again when the guest has read. */
  receive(index: number, bytes: Uint8Array): number {
    const port = this.#ports[index];
    if (port === undefined) {
      return bytes.length;
    }
    const count = Math.min(bytes.length, MAX_WAITING - port.waiting.length);
    if (count > 0) {
      const joined = new Uint8Array(port.waiting.length + count);
      joined.set(port.waiting);
      joined.set(bytes.subarray(0, count), port.waiting.length);
      port.waiting = joined;
      this.#deliver(index);
    }
    return count;
  }

  /** The host takes bytes again after `write` returned fewer than it was given. */
  writable(index: number): void {
    this.#transmit(index);
  }

  /** Opens or closes the host's side of a port; the guest's programs are told. */
  setOpen(index: number, open: boolean): void {
    const port = this.#ports[index];
    if (port !== undefined && port.hostOpen !== open) {
      port.hostOpen = open;
      this.#tell(index, PORT_OPEN, open ? 1 : 0);
      if (!open) {
        // What the host has said before still reaches the guest; what the guest says from now on is lost.
        this.#transmit(index);
      }
    }
  }

  /** Plugs a port in while the machine runs. False: there is one of this number, or no room for it. */
  plug(index: number, host: ConsolePortHost): boolean {
    if (index < 0 || index >= this.#ports.length || this.#ports[index] !== undefined) {
      return false;
    }
    this.#ports[index] = newPort(host);
    if (this.#ready) {
      this.#tell(index, PORT_ADD, 1);
    }
    return true;
  }

  /** Unplugs a port; what the guest had written and the host not taken is lost. False: there is none. */
  unplug(index: number): boolean {
    const port = this.#ports[index];
    if (port === undefined) {
      return false;
    }
    this.#ports[index] = undefined;
    const queue = this.#driver?.queues[this.#queueOf(index, true)];
    if (port.unwritten !== undefined) {
      queue?.complete(port.unwritten.chain, 0);
    }
    if (this.#ready) {
      this.#tell(index, PORT_REMOVE, 1);
    }
    return true;
  }

  /** The size of the terminal, in characters. */
  resize(columns: number, rows: number): void {
    this.#sized = true;
    this.#view.setUint16(0, columns, true);
    this.#view.setUint16(2, rows, true);
    if (this.#has(VIRTIO_CONSOLE_F_MULTIPORT)) {
      for (const [index, port] of this.#ports.entries()) {
        if (port?.host.console === true) {
          this.#tellSize(index);
        }
      }
    } else {
      this.#transport?.configChanged();
    }
  }

  /** A program of the guest has the port open. */
  isOpen(index: number): boolean {
    return this.#ports[index]?.guestOpen === true;
  }

  // ---- the guest's side

  /** Bytes written here are printed at once, before there are queues (section 5.3.4). */
  writeConfig(offset: number, data: Uint8Array): void {
    if (offset === CONFIG_EMERGENCY && data.length > 0) {
      this.#ports[0]?.host.write(data.subarray(0, 1));
    }
  }

  activate(driver: ActiveDriver): void {
    this.#driver = driver;
    const first = this.#ports[0];
    if (first !== undefined && !this.#has(VIRTIO_CONSOLE_F_MULTIPORT)) {
      first.guestOpen = true;
      first.host.opened?.(true);
    }
  }

  notify(index: number): void {
    if (index === CONTROL_RECEIVE) {
      this.#sendMessages();
    } else if (index === CONTROL_TRANSMIT) {
      this.#takeMessages();
    } else {
      const port = index < CONTROL_RECEIVE ? 0 : (index >> 1) - 1;
      if (index & 1) {
        this.#transmit(port);
      } else {
        this.#deliver(port);
      }
    }
  }

  #queueOf(port: number, transmit: boolean): number {
    return (port === 0 ? 0 : 2 * port + 2) + (transmit ? 1 : 0);
  }

  /** From the host to the guest. */
  #deliver(index: number): void {
    const port = this.#ports[index];
    const queue = this.#driver?.queues[this.#queueOf(index, false)];
    if (port === undefined || queue === undefined) {
      return;
    }
    while (port.waiting.length > 0 && port.guestOpen) {
      const chain = queue.pop();
      if (chain === undefined) {
        break;
      }
      const count = chain.write(0, port.waiting);
      port.waiting = port.waiting.slice(count);
      queue.push(chain, count);
    }
    queue.signal();
  }

  /** From the guest to the host. */
  #transmit(index: number): void {
    const port = this.#ports[index];
    const queue = this.#driver?.queues[this.#queueOf(index, true)];
    if (port === undefined || queue === undefined) {
      return;
    }
    for (;;) {
      let entry = port.unwritten;
      if (entry === undefined) {
        const chain = queue.pop();
        if (chain === undefined) {
          break;
        }
        entry = { chain, done: 0 };
      }
      port.unwritten = entry;
      if (!this.#write(port, entry)) {
        break;
      }
      port.unwritten = undefined;
      queue.push(entry.chain, 0);
    }
    queue.signal();
  }

  /** True once the host has taken all of a buffer. What is written to a closed port is lost. */
  #write(port: Port, entry: { chain: DescriptorChain; done: number }): boolean {
    const { chain } = entry;
    while (port.hostOpen && entry.done < chain.readableBytes) {
      const bytes = chain.bytes(entry.done, MAX_PIECE);
      const taken = port.host.write(bytes);
      entry.done += taken;
      if (taken < bytes.length) {
        return false;
      }
    }
    return true;
  }

  // ---- the control channel

  #tell(port: number, event: number, value: number, extra: Uint8Array = NOTHING): void {
    if (!this.#has(VIRTIO_CONSOLE_F_MULTIPORT) || this.#messages.length >= MAX_MESSAGES) {
      return;
    }
    const message = new Uint8Array(CONTROL_BYTES + extra.length);
    const view = new DataView(message.buffer);
    view.setUint32(0, port, true);
    view.setUint16(4, event, true);
    view.setUint16(6, value, true);
    message.set(extra, CONTROL_BYTES);
    this.#messages.push(message);
    this.#sendMessages();
  }

  #tellSize(port: number): void {
    // Columns and rows, as the specification has it; Linux takes them the other way round.
    this.#tell(port, RESIZE, 0, this.config.slice(0, 4));
  }

  #sendMessages(): void {
    const queue = this.#driver?.queues[CONTROL_RECEIVE];
    while (queue !== undefined && this.#messages.length > 0) {
      const chain = queue.pop();
      const message = chain === undefined ? undefined : this.#messages.shift();
      if (chain === undefined || message === undefined) {
        break;
      }
      queue.push(chain, chain.write(0, message));
    }
    queue?.signal();
  }

  #takeMessages(): void {
    const queue = this.#driver?.queues[CONTROL_TRANSMIT];
    for (let chain = queue?.pop(); queue !== undefined && chain !== undefined; chain = queue.pop()) {
      const bytes = chain.bytes(0, CONTROL_BYTES);
      if (bytes.length === CONTROL_BYTES && this.#has(VIRTIO_CONSOLE_F_MULTIPORT)) {
        const view = new DataView(bytes.buffer);
        this.#hear(view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true));
      }
      queue.push(chain, 0);
    }
    queue?.signal();
  }

  #hear(index: number, event: number, value: number): void {
    if (event === DEVICE_READY) {
      if (value === 1) {
        this.#ready = true;
        for (const [port, present] of this.#ports.entries()) {
          if (present !== undefined) {
            this.#tell(port, PORT_ADD, 1);
          }
        }
      }
      return;
    }
    const port = this.#ports[index];
    if (port === undefined) {
      return;
    }
    if (event === PORT_READY && value === 1) {
      const { name, console } = port.host;
      if (console) {
        this.#tell(index, CONSOLE_PORT, 1);
        if (this.#sized) {
          this.#tellSize(index);
        }
      }
      this.#tell(index, PORT_NAME, 1, new TextEncoder().encode(`${name}\0`));
      if (port.hostOpen) {
        this.#tell(index, PORT_OPEN, 1);
      }
    } else if (event === PORT_OPEN) {
      port.guestOpen = value === 1;
      port.host.opened?.(port.guestOpen);
      this.#deliver(index);
    }
  }

  // ---- life

  resetQueue(index: number): void {
    for (const [number, port] of this.#ports.entries()) {
      if (port !== undefined && this.#queueOf(number, true) === index) {
        port.unwritten = undefined;
      }
    }
  }

  reset(): void {
    this.#driver = undefined;
    this.#messages = [];
    this.#ready = false;
    for (const port of this.#ports) {
      if (port === undefined) {
        continue;
      }
      if (port.guestOpen) {
        port.guestOpen = false;
        port.host.opened?.(false);
      }
      port.waiting = new Uint8Array(0);
      port.unwritten = undefined;
    }
  }

  save(): StateValue {
    return {
      size: this.#view.getUint32(0, true),
      sized: this.#sized,
      ready: this.#ready,
      messages: this.#messages.map((message) => message.slice()),
      ports: this.#ports.map((port) =>
        port === undefined
          ? { name: null }
          : {
              name: port.host.name,
              hostOpen: port.hostOpen,
              guestOpen: port.guestOpen,
              waiting: port.waiting.slice(),
              unwritten:
                port.unwritten === undefined ? null : { chain: port.unwritten.chain.save(), done: port.unwritten.done },
            },
      ),
    };
  }

  /** The ports have to be those that were there: what is plugged in later is plugged in before. */
  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const size = reader.u32('size');
    const sized = reader.boolean('sized');
    const ready = reader.boolean('ready');
    const messages = reader.array('messages', undefined, MAX_MESSAGES).map((item) => {
      return item instanceof Uint8Array && item.length <= 256 ? item.slice() : reader.refuse('a message is no bytes');
    });
    const ports = reader.objects('ports', this.#ports.length).map((item, index) => {
      const name = item.has('name') ? item.string('name', MAX_PORT_NAME) : undefined;
      if (name !== this.#ports[index]?.host.name) {
        item.refuse(`port ${index} is '${name ?? 'none'}', here it is '${this.#ports[index]?.host.name ?? 'none'}'`);
      }
      if (name === undefined) {
        return undefined;
      }
      const saved = item.optionalObject('unwritten');
      const queue = driver?.queues[this.#queueOf(index, true)];
      return {
        hostOpen: item.boolean('hostOpen'),
        guestOpen: item.boolean('guestOpen'),
        waiting: item.bytes('waiting', undefined, MAX_WAITING),
        unwritten:
          saved === undefined
            ? undefined
            : {
                done: saved.u32('done'),
                chain: queue?.adopt(saved.object('chain')) ?? saved.refuse('a buffer of a device that sleeps'),
              },
      };
    });
    this.#driver = driver;
    this.#view.setUint32(0, size, true);
    this.#sized = sized;
    this.#ready = ready;
    this.#messages = messages;
    for (const [index, loaded] of ports.entries()) {
      const port = this.#ports[index];
      if (port !== undefined && loaded !== undefined) {
        if (port.guestOpen !== loaded.guestOpen) {
          port.host.opened?.(loaded.guestOpen);
        }
        Object.assign(port, loaded);
      }
    }
  }

  describe(): string {
    const ports = this.#ports
      .filter((port) => port !== undefined)
      .map(
        ({ host, guestOpen, waiting }) => `${host.name} ${guestOpen ? 'open' : 'closed'}, ${waiting.length} bytes wait`,
      );
    return `console: ${ports.join('; ')}`;
  }

  dispose(): void {
    this.#driver = undefined;
  }
}

const NOTHING = new Uint8Array(0);

function newPort(host: ConsolePortHost | undefined): Port | undefined {
  return host === undefined
    ? undefined
    : { host, hostOpen: host.open ?? true, guestOpen: false, waiting: NOTHING, unwritten: undefined };
}
