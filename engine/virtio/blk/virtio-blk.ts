import type { BlockBackend, BlockError } from '../../backends/block/block-backend.ts';
import { Staging } from '../../base/staging.ts';
import type { Alarm, Clock } from '../../clock/clock.ts';
import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import { BlockLane } from '../block-lane.ts';
import { transferBlocks } from '../block-transfer.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import { type ActiveDriver, VIRTIO_ID, type VirtioDevice } from '../virtio-device.ts';
import {
  BLK_CONFIG,
  BLK_HEADER_BYTES,
  BLK_RANGE_BYTES,
  BLK_RANGE_UNMAP,
  BLK_S_IOERR,
  BLK_S_OK,
  BLK_S_UNSUPP,
  BLK_SERIAL_BYTES,
  BLK_T_DISCARD,
  BLK_T_FLUSH,
  BLK_T_GET_ID,
  BLK_T_IN,
  BLK_T_OUT,
  BLK_T_WRITE_ZEROES,
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_MQ,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_TOPOLOGY,
  VIRTIO_BLK_F_WRITE_ZEROES,
} from './blk-layout.ts';

const SECTOR = 512;
const QUEUE_SIZE = 256;
/** Segments of a request besides header and status, so that it fits into a ring without indirect descriptors. */
const SEG_MAX = QUEUE_SIZE - 2;
const MAX_RANGES = 32;
/** 2 GiB, and 32 MiB: the latter may have to be written out. */
const MAX_DISCARD_SECTORS = 0x400000;
const MAX_ZERO_SECTORS = 0x10000;
const STAGING_BYTES = 4 << 20;
/** Where headers and status bytes pass through, so that no request makes memory for them. */
const HEADER = new Uint8Array(BLK_HEADER_BYTES);
const HEADER_VIEW = new DataView(HEADER.buffer);
const STATUS = new Uint8Array(1);

export interface VirtioBlkWiring {
  readonly backend: BlockBackend;
  readonly clock: Clock;
}

export interface VirtioBlkConfig {
  /** At most 20 characters. */
  readonly serial: string;
  readonly queues: number;
}

interface Request {
  readonly queue: number;
  readonly chain: DescriptorChain;
}

interface Range {
  readonly offset: number;
  readonly length: number;
  readonly unmap: boolean;
}

/** The block device (virtio 1.2, section 5.2). The backend stays the caller's. */
export class VirtioBlk implements VirtioDevice {
  readonly type = VIRTIO_ID.block;
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly config = new Uint8Array(BLK_CONFIG.length);
  readonly #backend: BlockLane;
  readonly #serial: Uint8Array;
  readonly #staging = new Staging(STAGING_BYTES);
  /** Starts loaded requests, once guest memory is there. */
  readonly #restart: Alarm;
  /** Every request that was taken and not answered, in the order of its arrival. */
  readonly #requests = new Set<Request>();
  #driver: ActiveDriver | undefined;

  constructor(wiring: VirtioBlkWiring, { serial, queues }: VirtioBlkConfig) {
    const { backend } = wiring;
    this.#backend = new BlockLane(backend);
    this.#serial = new Uint8Array(BLK_SERIAL_BYTES);
    this.#serial.set(new TextEncoder().encode(serial).subarray(0, BLK_SERIAL_BYTES));
    this.queueSizes = new Array<number>(queues).fill(QUEUE_SIZE);
    this.features =
      VIRTIO_BLK_F_SEG_MAX |
      VIRTIO_BLK_F_BLK_SIZE |
      VIRTIO_BLK_F_TOPOLOGY |
      VIRTIO_BLK_F_FLUSH |
      VIRTIO_BLK_F_CONFIG_WCE |
      (queues > 1 ? VIRTIO_BLK_F_MQ : 0n) |
      (backend.readOnly ? VIRTIO_BLK_F_RO : VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES);
    const view = new DataView(this.config.buffer);
    view.setBigUint64(BLK_CONFIG.capacity, BigInt(Math.floor(backend.size / SECTOR)), true);
    view.setUint32(BLK_CONFIG.segMax, SEG_MAX, true);
    view.setUint32(BLK_CONFIG.blockSize, SECTOR, true);
    view.setUint8(BLK_CONFIG.physicalBlockExponent, 3);
    view.setUint8(BLK_CONFIG.writeback, 1);
    view.setUint16(BLK_CONFIG.queues, queues, true);
    view.setUint32(BLK_CONFIG.maxDiscardSectors, MAX_DISCARD_SECTORS, true);
    view.setUint32(BLK_CONFIG.maxDiscardSegments, MAX_RANGES, true);
    view.setUint32(BLK_CONFIG.discardAlignment, 8, true);
    view.setUint32(BLK_CONFIG.maxZeroSectors, MAX_ZERO_SECTORS, true);
    view.setUint32(BLK_CONFIG.maxZeroSegments, MAX_RANGES, true);
    view.setUint8(BLK_CONFIG.zeroMayUnmap, 1);
    this.#restart = wiring.clock.createAlarm(() => {
      for (const request of [...this.#requests]) {
        this.#start(request);
      }
    });
  }

  attach(): void {}

  /** Only the choice between write-back and write-through is the driver's. */
  writeConfig(offset: number, data: Uint8Array): void {
    const value = data[BLK_CONFIG.writeback - offset];
    if (offset <= BLK_CONFIG.writeback && value !== undefined && this.#has(VIRTIO_BLK_F_CONFIG_WCE)) {
      this.config[BLK_CONFIG.writeback] = value & 1;
    }
  }

  #has(feature: bigint): boolean {
    return ((this.#driver?.features ?? 0n) & feature) !== 0n;
  }

  /** A driver that cannot flush gets every write on the medium before its answer (section 5.2.5.2). */
  get #writeThrough(): boolean {
    return !this.#has(VIRTIO_BLK_F_FLUSH) || this.config[BLK_CONFIG.writeback] === 0;
  }

  activate(driver: ActiveDriver): void {
    this.#driver = driver;
  }

  notify(index: number): void {
    const queue = this.#driver?.queues[index];
    if (queue === undefined) {
      return;
    }
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      const request = { queue: index, chain };
      this.#requests.add(request);
      this.#start(request);
    }
    queue.signal();
  }

  #start(request: Request): void {
    const { chain } = request;
    if (chain.readableBytes < BLK_HEADER_BYTES || chain.writableBytes < 1) {
      this.#requests.delete(request);
      this.#driver?.queues[request.queue]?.push(chain, 0);
      return;
    }
    chain.read(0, HEADER);
    const type = HEADER_VIEW.getUint32(0, true);
    const sector = HEADER_VIEW.getUint32(8, true) + HEADER_VIEW.getUint32(12, true) * 2 ** 32;
    switch (type) {
      case BLK_T_IN:
        this.#transfer(request, 'read', sector, chain.writableBytes - 1);
        break;
      case BLK_T_OUT:
        this.#transfer(request, 'write', sector, chain.readableBytes - BLK_HEADER_BYTES);
        break;
      case BLK_T_FLUSH:
        this.#backend.submit({ kind: 'flush' }, (error) => this.#finish(request, statusOf(error)));
        break;
      case BLK_T_GET_ID:
        this.#finish(request, BLK_S_OK, chain.write(0, this.#serial.subarray(0, chain.writableBytes - 1)));
        break;
      case BLK_T_DISCARD:
      case BLK_T_WRITE_ZEROES:
        this.#ranges(request, type);
        break;
      default:
        this.#finish(request, BLK_S_UNSUPP);
    }
  }

  #fits(sector: number, length: number): boolean {
    return length % SECTOR === 0 && sector * SECTOR + length <= this.#backend.size;
  }

  #alive({ queue, chain }: Request): boolean {
    return this.#driver?.queues[queue]?.holds(chain) === true;
  }

  #transfer(request: Request, kind: 'read' | 'write', sector: number, length: number): void {
    const { chain } = request;
    if (!this.#fits(sector, length) || (kind === 'write' && this.#backend.readOnly)) {
      this.#finish(request, BLK_S_IOERR);
      return;
    }
    if (length === 0) {
      this.#finish(request, BLK_S_OK);
      return;
    }
    transferBlocks(this.#backend, this.#staging, {
      kind,
      offset: sector * SECTOR,
      length,
      copy: (bytes, at) => {
        if (kind === 'read') {
          chain.write(at, bytes);
        } else {
          chain.read(BLK_HEADER_BYTES + at, bytes);
        }
      },
      alive: () => this.#alive(request),
      done: (error) => {
        if (kind === 'write') {
          this.#changed(request, error);
        } else {
          this.#finish(request, statusOf(error), error === undefined ? length : 0);
        }
      },
    });
  }

  /** After a request that has changed the medium. */
  #changed(request: Request, error: BlockError | undefined): void {
    if (error === undefined && this.#writeThrough) {
      this.#backend.submit({ kind: 'flush' }, (failure) => this.#finish(request, statusOf(failure)));
    } else {
      this.#finish(request, statusOf(error));
    }
  }

  /** Discards or zeroes a list of ranges, one after the other (sections 5.2.6.1 and 5.2.6.2). */
  #ranges(request: Request, type: number): void {
    const { chain } = request;
    const length = chain.readableBytes - BLK_HEADER_BYTES;
    const known = this.#has(type === BLK_T_DISCARD ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES);
    if (!known) {
      this.#finish(request, BLK_S_UNSUPP);
      return;
    }
    const count = length / BLK_RANGE_BYTES;
    if (!Number.isInteger(count) || count < 1 || count > MAX_RANGES || this.#backend.readOnly) {
      this.#finish(request, BLK_S_IOERR);
      return;
    }
    const view = new DataView(chain.bytes(BLK_HEADER_BYTES, length).buffer);
    const maxSectors = type === BLK_T_DISCARD ? MAX_DISCARD_SECTORS : MAX_ZERO_SECTORS;
    const allowedFlags = type === BLK_T_DISCARD ? 0 : BLK_RANGE_UNMAP;
    const ranges: Range[] = [];
    for (let at = 0; at < length; at += BLK_RANGE_BYTES) {
      const sector = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
      const sectors = view.getUint32(at + 8, true);
      const flags = view.getUint32(at + 12, true);
      if ((flags & ~allowedFlags) !== 0) {
        this.#finish(request, BLK_S_UNSUPP);
        return;
      }
      if (sectors > maxSectors || !this.#fits(sector, sectors * SECTOR)) {
        this.#finish(request, BLK_S_IOERR);
        return;
      }
      ranges.push({ offset: sector * SECTOR, length: sectors * SECTOR, unmap: (flags & BLK_RANGE_UNMAP) !== 0 });
    }
    const next = (index: number) => {
      const range = ranges[index];
      if (!this.#alive(request)) {
        return;
      }
      if (range === undefined) {
        this.#changed(request, undefined);
        return;
      }
      const { offset, length: bytes, unmap } = range;
      this.#backend.submit(
        type === BLK_T_DISCARD
          ? { kind: 'discard', offset, length: bytes }
          : { kind: 'write-zeroes', offset, length: bytes, mayUnmap: unmap },
        (error) => (error === undefined ? next(index + 1) : this.#finish(request, statusOf(error))),
      );
    };
    next(0);
  }

  /**
   * Answers a request: the status is the last byte, whatever stands before it. `dataBytes` of what stands there were
   * written, from the start on.
   */
  #finish(request: Request, status: number, dataBytes = 0): void {
    this.#requests.delete(request);
    const { queue: index, chain } = request;
    const queue = this.#driver?.queues[index];
    if (queue?.holds(chain) !== true) {
      return;
    }
    const at = chain.writableBytes - 1;
    STATUS[0] = status;
    chain.write(at, STATUS);
    queue.complete(chain, dataBytes >= at ? at + 1 : dataBytes);
  }

  #forget(which: (request: Request) => boolean): void {
    for (const request of [...this.#requests]) {
      if (which(request)) {
        this.#requests.delete(request);
      }
    }
  }

  resetQueue(index: number): void {
    this.#backend.fence();
    this.#forget(({ queue }) => queue === index);
  }

  reset(): void {
    this.#driver = undefined;
    this.#backend.fence();
    this.#restart.cancel();
    this.#requests.clear();
    this.config[BLK_CONFIG.writeback] = 1;
  }

  save(): StateValue {
    return {
      sectors: Math.floor(this.#backend.size / SECTOR),
      writeback: this.config[BLK_CONFIG.writeback] ?? 1,
      requests: [...this.#requests].map(({ queue, chain }) => ({ queue, chain: chain.save() })),
    };
  }

  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const sectors = reader.int('sectors', 0, Number.MAX_SAFE_INTEGER);
    if (sectors !== Math.floor(this.#backend.size / SECTOR)) {
      reader.refuse(`the disk had ${sectors} sectors when this was saved`);
    }
    const writeback = reader.int('writeback', 0, 1);
    const requests = reader.objects('requests').map((item): Request => {
      const queue = item.int('queue', 0, this.queueSizes.length - 1);
      const chain = driver?.queues[queue]?.adopt(item.object('chain'));
      return chain === undefined ? item.refuse('a request of a device that sleeps') : { queue, chain };
    });
    this.#driver = driver;
    this.#backend.fence();
    this.config[BLK_CONFIG.writeback] = writeback;
    this.#requests.clear();
    for (const request of requests) {
      this.#requests.add(request);
    }
    if (requests.length > 0) {
      this.#restart.set(0);
    } else {
      this.#restart.cancel();
    }
  }

  describe(): string {
    return `block device of ${this.#backend.size} bytes, ${this.#requests.size} requests in flight`;
  }

  dispose(): void {
    this.#restart.dispose();
    this.#requests.clear();
  }
}

function statusOf(error: BlockError | undefined): number {
  return error === undefined ? BLK_S_OK : BLK_S_IOERR;
}
