import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import { type ActiveDriver, VIRTIO_ID, type VirtioDevice, type VirtioTransport } from '../virtio-device.ts';

/** Feature bits (virtio 1.2, section 5.5.3). */
export const VIRTIO_BALLOON_F_STATS_VQ = 1n << 1n;
export const VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 1n << 2n;
export const VIRTIO_BALLOON_F_PAGE_REPORTING = 1n << 5n;

/** Pages of the balloon have this size whatever the guest's are (section 5.5.6). */
export const BALLOON_PAGE_BYTES = 4096;
const PAGE = BALLOON_PAGE_BYTES;
const INFLATE_QUEUE = 0;
const DEFLATE_QUEUE = 1;
const FIRST_OPTIONAL_QUEUE = 2;
const QUEUE_SIZE = 128;
/** Offsets in the configuration (section 5.5.4). */
const CONFIG_WANTED = 0;
const CONFIG_ACTUAL = 4;
const CONFIG_BYTES = 16;
/** Page numbers that are looked at in one piece. */
const MAX_PAGES_AT_ONCE = 4096;
const STATISTIC_BYTES = 10;
const MAX_STATISTICS = 64;

/** Names of the statistics by their tags (section 5.5.6.3); sizes in bytes, the others counts. */
const STATISTICS = [
  'swapIn',
  'swapOut',
  'majorFaults',
  'minorFaults',
  'freeBytes',
  'totalBytes',
  'availableBytes',
  'diskCacheBytes',
  'hugePageAllocations',
  'hugePageFailures',
] as const;
export type BalloonStatistics = Partial<Record<(typeof STATISTICS)[number], number>>;

export interface VirtioBalloonWiring {
  /** Bytes of RAM. */
  readonly memoryBytes: number;
  /**
   * Gives pages of guest memory back to the host: their contents are lost, and reading them gives zeros or what was
   * there. Addresses are guest-physical; base and length are multiples of 4096 and lie in RAM.
   */
  readonly release: (base: number, length: number) => void;
}

/** The memory balloon (virtio 1.2, section 5.5): the host asks the guest for memory, and for what it has free. */
export class VirtioBalloon implements VirtioDevice {
  readonly type = VIRTIO_ID.balloon;
  readonly features = VIRTIO_BALLOON_F_STATS_VQ | VIRTIO_BALLOON_F_DEFLATE_ON_OOM | VIRTIO_BALLOON_F_PAGE_REPORTING;
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  readonly config = new Uint8Array(CONFIG_BYTES);
  readonly #view = new DataView(this.config.buffer);
  readonly #wiring: VirtioBalloonWiring;
  #transport: VirtioTransport | undefined;
  #driver: ActiveDriver | undefined;
  /** The buffer with statistics, which the device keeps until it wants new ones. */
  #statisticsBuffer: DescriptorChain | undefined;
  #statistics: BalloonStatistics = {};
  #onStatistics: ((statistics: BalloonStatistics) => void)[] = [];

  constructor(wiring: VirtioBalloonWiring) {
    this.#wiring = wiring;
  }

  attach(transport: VirtioTransport): void {
    this.#transport = transport;
  }

  /** Bytes that the guest is asked to give up. Set by the host; rounded down to whole pages and kept within RAM. */
  get wantedBytes(): number {
    return this.#view.getUint32(CONFIG_WANTED, true) * PAGE;
  }

  set wantedBytes(bytes: number) {
    const pages = Math.floor(Math.max(0, Math.min(bytes, this.#wiring.memoryBytes)) / PAGE);
    this.#view.setUint32(CONFIG_WANTED, pages, true);
    this.#transport?.configChanged();
  }

  /** Bytes that the guest says it has given up. */
  get actualBytes(): number {
    return this.#view.getUint32(CONFIG_ACTUAL, true) * PAGE;
  }

  /** The guest has a driver that is ready. */
  get active(): boolean {
    return this.#driver !== undefined;
  }

  /** What the guest said last of its memory. */
  get statistics(): BalloonStatistics {
    return this.#statistics;
  }

  /** Asks the guest for new statistics, and calls `done` with them; not at all when the guest gives none. */
  requestStatistics(done: (statistics: BalloonStatistics) => void): void {
    const chain = this.#statisticsBuffer;
    const queue = this.#driver?.queues[FIRST_OPTIONAL_QUEUE];
    if (chain === undefined || queue === undefined) {
      return;
    }
    this.#onStatistics.push(done);
    this.#statisticsBuffer = undefined;
    queue.complete(chain, 0);
  }

  /** The driver tells how much it has given up. */
  writeConfig(offset: number, data: Uint8Array): void {
    if (offset >= CONFIG_ACTUAL && offset + data.length <= CONFIG_ACTUAL + 4) {
      this.config.set(data, offset);
    }
  }

  #has(feature: bigint): boolean {
    return ((this.#driver?.features ?? 0n) & feature) !== 0n;
  }

  activate(driver: ActiveDriver): void {
    this.#driver = driver;
  }

  /** Queues of features that were not negotiated are left out when queues are counted, as drivers do it. */
  #purpose(index: number): 'statistics' | 'reporting' | undefined {
    const optional = [
      ...(this.#has(VIRTIO_BALLOON_F_STATS_VQ) ? (['statistics'] as const) : []),
      ...(this.#has(VIRTIO_BALLOON_F_PAGE_REPORTING) ? (['reporting'] as const) : []),
    ];
    return optional[index - FIRST_OPTIONAL_QUEUE];
  }

  notify(index: number): void {
    const queue = this.#driver?.queues[index];
    if (queue === undefined) {
      return;
    }
    const purpose = this.#purpose(index);
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      if (purpose === 'statistics') {
        this.#takeStatistics(chain);
        continue;
      }
      if (index === INFLATE_QUEUE) {
        this.#inflate(chain);
      } else if (purpose === 'reporting') {
        this.#report(chain);
      }
      // Pages that come back by the deflate queue need nothing: touching them gives them memory again.
      queue.push(chain, 0);
    }
    queue.signal();
  }

  /** Releases the pages whose numbers the buffer holds, neighbours together. */
  #inflate(chain: DescriptorChain): void {
    let base = 0;
    let length = 0;
    // More pages than there are cannot be given up.
    const end = Math.min(chain.readableBytes, (this.#wiring.memoryBytes / PAGE) * 4);
    for (let at = 0; at < end; at += MAX_PAGES_AT_ONCE * 4) {
      const bytes = chain.bytes(at, Math.min(MAX_PAGES_AT_ONCE * 4, end - at));
      const view = new DataView(bytes.buffer);
      for (let i = 0; i + 4 <= bytes.length; i += 4) {
        const page = view.getUint32(i, true) * PAGE;
        if (page === base + length) {
          length += PAGE;
        } else if (page + PAGE === base) {
          base = page;
          length += PAGE;
        } else {
          this.#release(base, length);
          base = page;
          length = PAGE;
        }
      }
    }
    this.#release(base, length);
  }

  /** Free pages, which the guest does not touch until it has the buffer back (section 5.5.6.7). */
  #report(chain: DescriptorChain): void {
    let left = this.#wiring.memoryBytes;
    chain.forEachSegment((address, length, writable) => {
      left -= length;
      if (left < 0) {
        return;
      }
      const base = Math.ceil(address / PAGE) * PAGE;
      const end = Math.floor((address + length) / PAGE) * PAGE;
      if (writable && end > base) {
        this.#release(base, end - base);
      }
    });
  }

  #release(base: number, length: number): void {
    const end = Math.min(base + length, Math.floor(this.#wiring.memoryBytes / PAGE) * PAGE);
    if (length > 0 && end > base) {
      this.#wiring.release(base, end - base);
    }
  }

  #takeStatistics(chain: DescriptorChain): void {
    const earlier = this.#statisticsBuffer;
    if (earlier !== undefined) {
      // There is to be one such buffer only.
      this.#driver?.queues[FIRST_OPTIONAL_QUEUE]?.push(earlier, 0);
    }
    this.#statisticsBuffer = chain;
    const bytes = chain.bytes(0, STATISTIC_BYTES * MAX_STATISTICS);
    const view = new DataView(bytes.buffer);
    const statistics: BalloonStatistics = {};
    for (let at = 0; at + STATISTIC_BYTES <= bytes.length; at += STATISTIC_BYTES) {
      const name = STATISTICS[view.getUint16(at, true)];
      if (name !== undefined) {
        statistics[name] = Number(view.getBigUint64(at + 2, true));
      }
    }
    this.#statistics = statistics;
    for (const done of this.#onStatistics.splice(0)) {
      done(statistics);
    }
  }

  resetQueue(index: number): void {
    if (this.#purpose(index) === 'statistics') {
      this.#statisticsBuffer = undefined;
    }
  }

  /** A new driver has given up nothing; what the host wants stays. */
  reset(): void {
    this.#driver = undefined;
    this.#statisticsBuffer = undefined;
    this.#statistics = {};
    this.#onStatistics = [];
    this.#view.setUint32(CONFIG_ACTUAL, 0, true);
  }

  save(): StateValue {
    return {
      wanted: this.#view.getUint32(CONFIG_WANTED, true),
      actual: this.#view.getUint32(CONFIG_ACTUAL, true),
      statisticsBuffer: this.#statisticsBuffer?.save() ?? null,
    };
  }

  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const wanted = reader.u32('wanted');
    const actual = reader.u32('actual');
    const saved = reader.optionalObject('statisticsBuffer');
    const buffer =
      saved === undefined
        ? undefined
        : (driver?.queues[FIRST_OPTIONAL_QUEUE]?.adopt(saved) ?? saved.refuse('a buffer of a device that sleeps'));
    this.#driver = driver;
    this.#view.setUint32(CONFIG_WANTED, wanted, true);
    this.#view.setUint32(CONFIG_ACTUAL, actual, true);
    this.#statisticsBuffer = buffer;
    this.#statistics = {};
    this.#onStatistics = [];
  }

  describe(): string {
    const megabytes = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MB`;
    return `balloon: ${megabytes(this.actualBytes)} of ${megabytes(this.wantedBytes)} given up`;
  }

  dispose(): void {
    this.#driver = undefined;
    this.#onStatistics = [];
  }
}

export const BALLOON_QUEUES = { inflate: INFLATE_QUEUE, deflate: DEFLATE_QUEUE };
