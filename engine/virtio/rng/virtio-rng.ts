import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import type { VirtQueue } from '../queue/virt-queue.ts';
import { type ActiveDriver, VIRTIO_ID, type VirtioDevice } from '../virtio-device.ts';

/** A buffer gets at most so many bytes; drivers ask again for more. */
const MAX_REQUEST_BYTES = 0x10000;

export interface VirtioRngWiring {
  /** Fills `bytes` with random numbers fit for keys, without waiting. */
  readonly fill: (bytes: Uint8Array) => void;
}

/** The entropy device (virtio 1.2, section 5.4): fills every buffer that it is given. */
export class VirtioRng implements VirtioDevice {
  readonly type = VIRTIO_ID.entropy;
  readonly features = 0n;
  readonly queueSizes = [64];
  readonly config = new Uint8Array(0);
  readonly #wiring: VirtioRngWiring;
  #queue: VirtQueue | undefined;
  #delivered = 0;

  constructor(wiring: VirtioRngWiring) {
    this.#wiring = wiring;
  }

  attach(): void {}

  activate({ queues }: ActiveDriver): void {
    this.#queue = queues[0];
  }

  notify(): void {
    const queue = this.#queue;
    for (let chain = queue?.pop(); queue !== undefined && chain !== undefined; chain = queue.pop()) {
      const bytes = new Uint8Array(Math.min(chain.writableBytes, MAX_REQUEST_BYTES));
      this.#wiring.fill(bytes);
      const written = chain.write(0, bytes);
      this.#delivered += written;
      queue.push(chain, written);
    }
    queue?.signal();
  }

  resetQueue(): void {}

  reset(): void {
    this.#queue = undefined;
    this.#delivered = 0;
  }

  save(): StateValue {
    return { delivered: this.#delivered };
  }

  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const delivered = reader.int('delivered', 0, Number.MAX_SAFE_INTEGER);
    this.#delivered = delivered;
    this.#queue = driver?.queues[0];
  }

  describe(): string {
    return `entropy: ${this.#delivered} bytes delivered`;
  }

  dispose(): void {
    this.#queue = undefined;
  }
}
