import { randomBytes } from 'node:crypto';
import { hostBootFolder } from '../backends/net/boot-folder.ts';
import { CaptureFile } from '../backends/net/capture-file.ts';
import { NodeSockets } from '../backends/net/node-sockets.ts';
import { HostError } from '../base/host-error.ts';
import type { Log } from '../base/log.ts';
import { HostMachineClock } from '../clock/machine-clock.ts';
import type { NetworkConfig } from '../config/network-config.ts';
import { FrameRingReader, FrameRingWriter } from '../net/frame-ring.ts';
import type { FrameSink } from '../net/guest-link.ts';
import type { FrameWork, ReceiveOffloads } from '../net/network-port.ts';
import { pcapHeader, pcapRecord } from '../net/pcap.ts';
import { cableOffloads, createNetworkCable, type NetworkCable } from '../net/ring-port.ts';
import { type PortForward, UserNetwork } from '../net/user-network.ts';

/** Frames that are handled before sockets get their turn. */
const FRAMES_AT_ONCE = 256;
/** So often the machine thread hears of room for its frames while more are handled. */
const RELEASE_EVERY = 32;

/** Writes frames to the cable; they are shown to the machine thread together. */
class CableSink implements FrameSink {
  readonly #writer: FrameRingWriter;
  readonly #offloads: () => ReceiveOffloads;
  readonly #stalled: () => void;
  capture: ((frame: Uint8Array) => void) | undefined;
  #frame: Uint8Array | undefined;
  #unpublished = false;

  readonly #written: () => void;

  /**
   * `stalled` is told when there is room already after there was none, so that nobody else will; `written` when there is
   * something to publish.
   */
  constructor(cable: NetworkCable, stalled: () => void, written: () => void) {
    this.#written = written;
    this.#writer = new FrameRingWriter(cable.toCard);
    this.#offloads = cableOffloads(cable);
    this.#stalled = stalled;
  }

  get offloads(): ReceiveOffloads {
    return this.#offloads();
  }

  get position(): number {
    return this.#writer.position;
  }

  hasBeenRead(position: number): boolean {
    return this.#writer.hasBeenRead(position);
  }

  reserve(length: number): Uint8Array | undefined {
    this.#frame = this.#writer.reserve(length);
    if (this.#frame === undefined && !this.#writer.wantRoom()) {
      this.#stalled();
    }
    return this.#frame;
  }

  commit(work: FrameWork, checksumGood: boolean): void {
    if (this.#frame !== undefined) {
      this.capture?.(this.#frame);
      this.#writer.commit(work, checksumGood);
      if (!this.#unpublished) {
        this.#unpublished = true;
        this.#written();
      }
    }
  }

  /** Shows what was written. True: there was something. */
  publish(): boolean {
    if (!this.#unpublished) {
      return false;
    }
    this.#unpublished = false;
    this.#writer.publish();
    return true;
  }
}

/**
 * The user-mode network of a machine, on the host thread. Frames cross to and from the machine thread in shared memory:
 * the machine thread says `wake` when some have come, and is woken by its bell.
 */
export class NetworkHost {
  readonly cable = createNetworkCable();
  readonly #reader = new FrameRingReader(this.cable.toNetwork);
  readonly #sink: CableSink;
  readonly #network: UserNetwork;
  readonly #clock = new HostMachineClock();
  readonly #config: NetworkConfig;
  readonly #log: Log;
  readonly #ring: () => void;
  #capture: CaptureFile | undefined;
  #timer: NodeJS.Timeout | undefined;
  #working = false;
  #flushing = false;
  /** Frames are being handled, which ends with a flush. */
  #handling = false;
  #closed = false;

  /** `ring` wakes the machine thread. */
  private constructor(config: NetworkConfig, log: Log, ring: () => void) {
    this.#config = config;
    this.#log = log;
    this.#ring = ring;
    this.#sink = new CableSink(
      this.cable,
      () => this.#soon(),
      () => this.#wantFlush(),
    );
    this.#network = new UserNetwork(
      {
        sink: this.#sink,
        clock: this.#clock,
        sockets: new NodeSockets((message) => log.warn(message)),
        random: () => randomBytes(4).readUInt32LE(),
        wantFlush: () => this.#wantFlush(),
      },
      {
        hostLoopback: config.hostLoopback,
        isolated: config.isolated,
        ...(config.bootFolder === undefined ? {} : { bootFolder: hostBootFolder(config.bootFolder) }),
        ...(config.bootFile === undefined ? {} : { bootFile: config.bootFile }),
      },
    );
    this.#clock.onEarlier = () => this.#setTimer();
  }

  /** Makes the network and its forwarded ports. Rejects with HostError when a port cannot be had; then none is. */
  static async create(config: NetworkConfig, log: Log, ring: () => void): Promise<NetworkHost> {
    const host = new NetworkHost(config, log, ring);
    try {
      for (const forward of config.forwards) {
        const { hostPort } = await host.addForward(forward);
        if (forward.hostPort === 0) {
          log.warn(
            `${forward.protocol} port ${hostPort} of ${forward.hostAddress} leads to the guest's ${forward.guestPort}`,
          );
        }
      }
    } catch (error) {
      await host.close();
      throw error;
    }
    host.#reader.sleep();
    return host;
  }

  /** The machine runs: captures begin. Throws HostError. */
  started(): void {
    const { capture } = this.#config;
    if (capture === undefined) {
      return;
    }
    const file = new CaptureFile(capture, this.#log);
    this.#capture = file;
    file.write(pcapHeader());
    this.#sink.capture = (frame) => file.write(pcapRecord(frame, Date.now()));
  }

  /** The card has sent frames, or taken some for which there was no room. */
  wake(): void {
    if (!this.#closed) {
      this.#network.roomForFrames();
      this.#work();
    }
  }

  #soon(): void {
    setImmediate(() => this.wake());
  }

  /** Handles what the card has sent, in portions. */
  #work(): void {
    if (this.#working || this.#closed) {
      return;
    }
    const reader = this.#reader;
    this.#handling = true;
    let frame = reader.peek();
    for (let count = 1; frame !== undefined && count <= FRAMES_AT_ONCE; count++) {
      const { bytes, work } = frame;
      if (this.#capture !== undefined) {
        this.#capture.write(pcapRecord(bytes, Date.now()));
      }
      this.#network.receive(bytes, work);
      reader.take();
      if (count % RELEASE_EVERY === 0) {
        this.#release();
      }
      frame = reader.peek();
    }
    this.#release();
    this.#flush();
    this.#handling = false;
    if (frame !== undefined || !reader.sleep()) {
      this.#working = true;
      setImmediate(() => {
        this.#working = false;
        this.#work();
      });
    }
  }

  #release(): void {
    if (this.#reader.release()) {
      this.#ring();
    }
  }

  #flush(): void {
    this.#network.flush();
    if (this.#sink.publish()) {
      this.#ring();
    }
  }

  /** Sockets have spoken: what they lead to goes out once the others have spoken too. */
  #wantFlush(): void {
    if (!this.#flushing && !this.#handling) {
      this.#flushing = true;
      setImmediate(() => {
        this.#flushing = false;
        if (!this.#closed) {
          this.#flush();
        }
      });
    }
  }

  #setTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const deadline = this.#clock.nextDeadline();
    if (deadline === undefined || this.#closed) {
      return;
    }
    const millis = Math.max(1, Math.ceil((deadline - this.#clock.now()) / 1e6));
    this.#timer = setTimeout(() => this.#fire(), Math.min(millis, 0x7fff_ffff));
    this.#timer.unref();
  }

  #fire(): void {
    if (!this.#closed) {
      this.#clock.fireDue();
      this.#flush();
      this.#setTimer();
    }
  }

  /** The guest stands still, so nothing it owes is late. */
  pause(): void {
    this.#clock.pause();
    clearTimeout(this.#timer);
  }

  resume(): void {
    this.#clock.resume();
    this.#setTimer();
  }

  guestReset(): void {
    this.#network.guestReset();
  }

  async addForward(forward: PortForward): Promise<PortForward> {
    if (this.#closed) {
      throw new HostError('not-running', 'the machine is not running any more');
    }
    const added = await this.#network.addForward(forward);
    if (this.#closed) {
      this.#network.removeForward(added);
      throw new HostError('not-running', 'the machine is not running any more');
    }
    return added;
  }

  removeForward(which: Pick<PortForward, 'protocol' | 'hostAddress' | 'hostPort'>): boolean {
    return this.#network.removeForward(which);
  }

  get forwards(): readonly PortForward[] {
    return this.#network.forwards;
  }

  /** Closes all sockets; resolves when the capture is written. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      clearTimeout(this.#timer);
      this.#sink.capture = undefined;
      this.#network.dispose();
      await this.#capture?.close();
    }
  }
}
