import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import { type ActiveDriver, VIRTIO_ID, type VirtioDevice, type VirtioTransport } from '../virtio-device.ts';

/**
 * A device for tests of transports and rings: it keeps every buffer until it is told to answer, and then gives back its
 * readable bytes in its writable part. Bit 0 of its features needs bit 1.
 */
export class HoldingDevice implements VirtioDevice {
  readonly type = VIRTIO_ID.entropy;
  readonly features = 3n;
  readonly queueSizes: readonly number[];
  readonly config = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  readonly notified: number[] = [];
  readonly held: { queue: number; chain: DescriptorChain }[] = [];
  driver: ActiveDriver | undefined;
  transport: VirtioTransport | undefined;
  resets: number[] = [];

  constructor(queueSizes: readonly number[] = [256, 64]) {
    this.queueSizes = queueSizes;
  }

  attach(transport: VirtioTransport): void {
    this.transport = transport;
  }

  acceptsFeatures(features: bigint): boolean {
    return (features & 3n) !== 1n;
  }

  writeConfig(offset: number, data: Uint8Array): void {
    this.config.set(data, offset);
  }

  activate(driver: ActiveDriver): void {
    this.driver = driver;
  }

  notify(index: number): void {
    this.notified.push(index);
    const queue = this.driver?.queues[index];
    for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
      this.held.push({ queue: index, chain });
    }
  }

  /** Answers the buffer at `position` of those held. */
  answer(position = 0): void {
    const [entry] = this.held.splice(position, 1);
    if (entry !== undefined) {
      const { queue, chain } = entry;
      const written = chain.write(0, chain.bytes(0, chain.readableBytes));
      this.driver?.queues[queue]?.complete(chain, written);
    }
  }

  resetQueue(index: number): void {
    this.resets.push(index);
    this.#drop((entry) => entry.queue === index);
  }

  #drop(which: (entry: { queue: number }) => boolean): void {
    for (let i = this.held.length - 1; i >= 0; i--) {
      const entry = this.held[i];
      if (entry !== undefined && which(entry)) {
        this.held.splice(i, 1);
      }
    }
  }

  reset(): void {
    this.driver = undefined;
    this.held.length = 0;
    this.config.set([1, 2, 3, 4, 5, 6, 7, 8]);
  }

  save(): StateValue {
    return {
      config: this.config.slice(),
      held: this.held.map(({ queue, chain }) => ({ queue, chain: chain.save() })),
    };
  }

  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const config = reader.bytes('config', 8);
    const held = reader.objects('held').map((item) => {
      const queue = item.int('queue', 0, this.queueSizes.length - 1);
      const chain = driver?.queues[queue]?.adopt(item.object('chain'));
      return chain === undefined ? item.refuse('a buffer of a device that sleeps') : { queue, chain };
    });
    this.config.set(config);
    this.driver = driver;
    this.held.splice(0, this.held.length, ...held);
  }

  describe(): string {
    return `${this.held.length} held`;
  }

  dispose(): void {
    this.held.length = 0;
  }
}
