import { GUEST_WINDOW_BYTES, type VsockBackend, type VsockStream } from '../../backends/vsock/vsock-backend.ts';
import type { Alarm, Clock } from '../../clock/clock.ts';
import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import { type ActiveDriver, VIRTIO_ID, type VirtioDevice } from '../virtio-device.ts';
import { type ConnectionOwner, type Packet, VsockConnection } from './vsock-connection.ts';
import {
  EVENT_BYTES,
  EVENT_TRANSPORT_RESET,
  HEADER_BYTES,
  HOST_CID,
  headerBytes,
  OP,
  QUEUE_EVENT,
  QUEUE_RX,
  QUEUE_TX,
  readHeader,
  TYPE_STREAM,
  VIRTIO_VSOCK_F_STREAM,
  type VsockHeader,
} from './vsock-layout.ts';

const QUEUE_SIZE = 128;
/** Each may have GUEST_WINDOW_BYTES and HOST_WINDOW_BYTES under way. */
const MAX_CONNECTIONS = 512;
/** Answers that wait for room at the guest; with more, no packets are taken from it. */
const MAX_RESETS = 256;
/** The longest packet that is taken from a guest: more than it may send at a time. */
const MAX_DATA_BYTES = GUEST_WINDOW_BYTES;
/** Ports of the host's ends when the host asks, upwards. */
const FIRST_HOST_PORT = 0x4000_0000;

export interface VirtioVsockWiring {
  readonly backend: VsockBackend;
  readonly clock: Clock;
}

interface Ports {
  readonly guestPort: number;
  readonly hostPort: number;
}

/**
 * The socket device (virtio 1.2, section 5.10): stream connections between guest and host. The backend stays the
 * caller's. Connections are not saved: a machine that takes over tells its guest that all are gone, as the specification
 * has it for a guest that moves (transport reset).
 */
export class VirtioVsock implements VirtioDevice {
  readonly type = VIRTIO_ID.vsock;
  readonly features = VIRTIO_VSOCK_F_STREAM;
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  readonly config = new Uint8Array(8);
  readonly #cid: bigint;
  readonly #backend: VsockBackend;
  readonly #connections = new Map<string, VsockConnection>();
  /** Connections with something to send, in the order of their turns. */
  readonly #ready = new Set<VsockConnection>();
  /** Resets that are due for connections that are not there any more. */
  readonly #resets: Ports[] = [];
  /** Tells the guest of what happened before it ran. */
  readonly #later: Alarm;
  readonly #owner: ConnectionOwner;
  #driver: ActiveDriver | undefined;
  #nextHostPort = FIRST_HOST_PORT;
  /** The guest is to hear that its connections are gone. */
  #transportReset = false;
  /** Packets of the guest are being taken: what they lead to is sent afterwards. */
  #receiving = false;
  /** Packets wait at the guest, because too many answers do. */
  #stalled = false;

  /** `cid`: the guest's context ID. */
  constructor({ backend, clock }: VirtioVsockWiring, cid: number) {
    this.#cid = BigInt(cid);
    this.#backend = backend;
    new DataView(this.config.buffer).setBigUint64(0, this.#cid, true);
    this.#later = clock.createAlarm(() => this.#sendEvent());
    this.#owner = {
      changed: (connection) => this.#changed(connection),
      over: (connection, reset) => this.#over(connection, reset),
    };
    backend.onIncoming = (port, stream) => this.#incoming(port, stream);
  }

  attach(): void {}

  activate(driver: ActiveDriver): void {
    this.#driver = driver;
  }

  notify(index: number): void {
    if (index === QUEUE_EVENT) {
      this.#sendEvent();
      return;
    }
    this.#receive();
    this.#send();
  }

  // From the guest.

  #receive(): void {
    const queue = this.#driver?.queues[QUEUE_TX];
    if (queue === undefined || this.#receiving) {
      return;
    }
    this.#receiving = true;
    this.#stalled = false;
    for (;;) {
      if (this.#resets.length >= MAX_RESETS) {
        this.#stalled = true;
        break;
      }
      const chain = queue.pop();
      if (chain === undefined) {
        break;
      }
      this.#take(chain);
      queue.push(chain, 0);
    }
    this.#receiving = false;
    queue.signal();
  }

  #take(chain: DescriptorChain): void {
    const header = readHeader(chain);
    if (header === undefined || header.sourceCid !== this.#cid) {
      return;
    }
    const { op, sourcePort: guestPort, targetPort: hostPort } = header;
    const connection = header.targetCid === HOST_CID ? this.#connections.get(keyOf(guestPort, hostPort)) : undefined;
    if (header.type !== TYPE_STREAM || header.targetCid !== HOST_CID) {
      if (op !== OP.reset) {
        this.#resets.push({ guestPort, hostPort });
      }
    } else if (connection !== undefined) {
      connection.takeCredit(header);
      connection.receive(header, dataOf(chain, header));
    } else if (op === OP.request) {
      this.#connect(header);
    } else if (op !== OP.reset) {
      this.#resets.push({ guestPort, hostPort });
    }
  }

  #connect(header: VsockHeader): void {
    const { sourcePort: guestPort, targetPort: hostPort } = header;
    if (!this.#makeRoom()) {
      this.#resets.push({ guestPort, hostPort });
      return;
    }
    const connection = new VsockConnection(guestPort, hostPort, 'by-guest', this.#owner);
    connection.takeCredit(header);
    this.#connections.set(keyOf(guestPort, hostPort), connection);
    connection.stream = this.#backend.connect(hostPort, connection);
  }

  /** Room for one more connection; one that only waits for the guest's last word gives its own up. */
  #makeRoom(): boolean {
    if (this.#connections.size < MAX_CONNECTIONS) {
      return true;
    }
    for (const [key, connection] of this.#connections) {
      if (connection.lingers) {
        this.#connections.delete(key);
        this.#ready.delete(connection);
        connection.drop();
        return true;
      }
    }
    return false;
  }

  // From the host.

  #incoming(guestPort: number, stream: VsockStream): VsockConnection | undefined {
    if (this.#driver === undefined || !this.#makeRoom()) {
      return undefined;
    }
    while (this.#connections.has(keyOf(guestPort, this.#nextHostPort))) {
      this.#advanceHostPort();
    }
    const connection = new VsockConnection(guestPort, this.#nextHostPort, 'by-host', this.#owner);
    this.#advanceHostPort();
    connection.stream = stream;
    this.#connections.set(keyOf(guestPort, connection.hostPort), connection);
    this.#changed(connection);
    return connection;
  }

  #advanceHostPort(): void {
    this.#nextHostPort = this.#nextHostPort === 0xfffffffe ? FIRST_HOST_PORT : this.#nextHostPort + 1;
  }

  #changed(connection: VsockConnection): void {
    if (connection.hasPacket) {
      this.#ready.add(connection);
      this.#send();
    } else {
      this.#ready.delete(connection);
    }
  }

  #over(connection: VsockConnection, reset: boolean): void {
    const { guestPort, hostPort } = connection;
    this.#connections.delete(keyOf(guestPort, hostPort));
    this.#ready.delete(connection);
    if (reset) {
      this.#resets.push({ guestPort, hostPort });
      this.#send();
    }
  }

  // To the guest.

  #send(): void {
    const queue = this.#driver?.queues[QUEUE_RX];
    if (queue === undefined || this.#receiving) {
      return;
    }
    let sent = false;
    while (this.#resets.length > 0 || this.#ready.size > 0) {
      const chain = queue.pop();
      if (chain === undefined) {
        break;
      }
      queue.push(chain, chain.writableBytes < HEADER_BYTES ? 0 : this.#fill(chain));
      sent = true;
    }
    if (sent) {
      queue.signal();
    }
    if (this.#stalled && this.#resets.length < MAX_RESETS) {
      // Each time at least one answer went out: that ends when the guest has no more buffers.
      this.#receive();
      this.#send();
    }
  }

  /** Writes the next packet; returns its length. */
  #fill(chain: DescriptorChain): number {
    const reset = this.#resets.shift();
    if (reset !== undefined) {
      return this.#write(chain, reset, { op: OP.reset, flags: 0, data: undefined }, 0);
    }
    for (const connection of this.#ready) {
      this.#ready.delete(connection);
      const packet = connection.takePacket(chain.writableBytes - HEADER_BYTES);
      if (connection.hasPacket) {
        this.#ready.add(connection);
      }
      return this.#write(chain, connection, packet, connection.forwarded);
    }
    return 0;
  }

  #write(chain: DescriptorChain, ports: Ports, { op, flags, data }: Packet, forwarded: number): number {
    const length = data?.length ?? 0;
    const header = {
      sourceCid: HOST_CID,
      targetCid: this.#cid,
      sourcePort: ports.hostPort,
      targetPort: ports.guestPort,
      length,
      type: TYPE_STREAM,
      op,
      flags,
      bufferBytes: GUEST_WINDOW_BYTES,
      forwarded,
    };
    chain.write(0, headerBytes(header));
    if (data !== undefined) {
      chain.write(HEADER_BYTES, data);
    }
    return HEADER_BYTES + length;
  }

  #sendEvent(): void {
    const queue = this.#driver?.queues[QUEUE_EVENT];
    const chain = this.#transportReset ? queue?.pop() : undefined;
    if (queue === undefined || chain === undefined) {
      return;
    }
    const event = new Uint8Array(EVENT_BYTES);
    new DataView(event.buffer).setUint32(0, EVENT_TRANSPORT_RESET, true);
    this.#transportReset = false;
    queue.complete(chain, chain.write(0, event));
  }

  // The life of the device.

  #dropAll(): void {
    for (const connection of this.#connections.values()) {
      connection.drop();
    }
    this.#connections.clear();
    this.#ready.clear();
    this.#resets.length = 0;
    this.#stalled = false;
  }

  /** No buffers are kept. */
  resetQueue(): void {}

  reset(): void {
    this.#driver = undefined;
    this.#later.cancel();
    this.#transportReset = false;
    this.#nextHostPort = FIRST_HOST_PORT;
    this.#dropAll();
  }

  save(): StateValue {
    return { transportReset: this.#transportReset || this.#connections.size > 0 || this.#resets.length > 0 };
  }

  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const transportReset = reader.boolean('transportReset');
    this.#dropAll();
    this.#driver = driver;
    this.#transportReset = transportReset && driver !== undefined;
    if (this.#transportReset) {
      this.#later.set(0);
    } else {
      this.#later.cancel();
    }
  }

  describe(): string {
    return `sockets of CID ${this.#cid}: ${this.#connections.size} connections`;
  }

  dispose(): void {
    this.#later.dispose();
    this.#backend.onIncoming = undefined;
    this.#dropAll();
    this.#driver = undefined;
  }
}

function keyOf(guestPort: number, hostPort: number): string {
  return `${guestPort} ${hostPort}`;
}

/** What a packet carries, in new memory; undefined when it is shorter than it says, or longer than anybody may send. */
function dataOf(chain: DescriptorChain, { op, length }: VsockHeader): Uint8Array<ArrayBuffer> | undefined {
  if (op !== OP.data || length > MAX_DATA_BYTES || length > chain.readableBytes - HEADER_BYTES) {
    return undefined;
  }
  const bytes = new Uint8Array(length);
  chain.read(HEADER_BYTES, bytes);
  return bytes;
}
