import type { BlockBackend, BlockError } from '../../backends/block/block-backend.ts';
import { BlockLane } from '../block-lane.ts';
import {
  ASC_INVALID_FIELD,
  ASC_INVALID_PARAMETER,
  ASC_LBA_OUT_OF_RANGE,
  ASC_PARAMETER_LIST_LENGTH,
  ASC_SAVING_NOT_SUPPORTED,
  ASC_WRITE_PROTECTED,
  failOnHost,
  type ScsiTask,
  SENSE_DATA_PROTECT,
  SENSE_ILLEGAL_REQUEST,
} from './scsi-task.ts';
import { ScsiUnit } from './scsi-unit.ts';

const BLOCK = 512;
const MAX_UNMAP_BLOCKS = 0x400000;
const MAX_UNMAP_RANGES = 64;
const MAX_WRITE_SAME_BLOCKS = 0x10000;
const UNMAP_HEADER_BYTES = 8;
const UNMAP_RANGE_BYTES = 16;
/** Bits of byte 1. */
const CDB_FUA = 1 << 3;
const CDB_UNMAP = 1 << 3;
const CDB_NO_DATA = 1 << 0;
const PAGE_CACHING = 0x08;
const PAGE_CONTROL = 0x0a;
const PAGE_ALL = 0x3f;

/** A hard disk of 512-byte blocks that can be trimmed (SBC-3). The backend stays the caller's. */
export class ScsiDisk extends ScsiUnit {
  readonly #lane: BlockLane;
  protected readonly vitalPages = [0xb0, 0xb1, 0xb2];

  constructor(backend: BlockBackend, serial: string) {
    super({ type: 0, removable: false, product: 'LODGE HARDDISK', serial });
    this.#lane = new BlockLane(backend);
  }

  get #blocks(): number {
    return Math.floor(this.#lane.size / BLOCK);
  }

  fence(): void {
    this.#lane.fence();
  }

  protected run(task: ScsiTask, opcode: number): void {
    const { cdb } = task;
    switch (opcode) {
      case 0x08: // READ (6)
      case 0x0a: // WRITE (6): 21 bits of address, and 0 blocks are 256
        this.#move(task, opcode === 0x0a, cdb.getUint32(0) & 0x1fffff, cdb.getUint8(4) || 256, false);
        break;
      case 0x28: // READ (10)
      case 0x2a: // WRITE (10)
      case 0x2e: // WRITE AND VERIFY (10)
        this.#move(task, opcode !== 0x28, cdb.getUint32(2), cdb.getUint16(7), this.#forced(task));
        break;
      case 0xa8: // READ (12)
      case 0xaa: // WRITE (12)
        this.#move(task, opcode === 0xaa, cdb.getUint32(2), cdb.getUint32(6), this.#forced(task));
        break;
      case 0x88: // READ (16)
      case 0x8a: // WRITE (16)
        this.#move(task, opcode === 0x8a, address64(cdb, 2), cdb.getUint32(10), this.#forced(task));
        break;
      case 0x2f: // VERIFY (10), without comparing
        this.#verify(task, cdb.getUint32(2), cdb.getUint16(7));
        break;
      case 0x8f: // VERIFY (16)
        this.#verify(task, address64(cdb, 2), cdb.getUint32(10));
        break;
      case 0x25: // READ CAPACITY (10)
        this.#capacity10(task);
        break;
      case 0x9e: // SERVICE ACTION IN (16)
        this.#serviceActionIn(task);
        break;
      case 0x35: // SYNCHRONIZE CACHE (10)
      case 0x91: // SYNCHRONIZE CACHE (16)
        this.#lane.submit({ kind: 'flush' }, (error) => this.#finish(task, error, 0));
        break;
      case 0x1a: // MODE SENSE (6)
      case 0x5a: // MODE SENSE (10)
        this.#modeSense(task, opcode === 0x5a);
        break;
      case 0x15: // MODE SELECT: nothing in the pages can be changed
      case 0x55:
        task.check(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
        break;
      case 0x1b: // START STOP UNIT
      case 0x1e: // PREVENT ALLOW MEDIUM REMOVAL
        task.good();
        break;
      case 0x42: // UNMAP
        this.#unmap(task);
        break;
      case 0x41: // WRITE SAME (10)
        this.#writeSame(task, cdb.getUint32(2), cdb.getUint16(7), false);
        break;
      case 0x93: // WRITE SAME (16)
        this.#writeSame(task, address64(cdb, 2), cdb.getUint32(10), (cdb.getUint8(1) & CDB_NO_DATA) !== 0);
        break;
      default:
        this.unknown(task, opcode);
    }
  }

  #forced({ cdb }: ScsiTask): boolean {
    return (cdb.getUint8(1) & CDB_FUA) !== 0;
  }

  /** Ends the task with an error unless the blocks exist, and may be written where that is wanted. */
  #allowed(task: ScsiTask, lba: number, count: number, writing: boolean): boolean {
    if (writing && this.#lane.readOnly) {
      task.check(SENSE_DATA_PROTECT, ASC_WRITE_PROTECTED);
      return false;
    }
    if (lba + count > this.#blocks) {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
      return false;
    }
    return true;
  }

  #finish(task: ScsiTask, error: BlockError | undefined, bytes: number, writing = true): void {
    if (!task.alive()) {
      return;
    }
    if (error === undefined) {
      task.good(bytes);
    } else {
      failOnHost(task, error, writing);
    }
  }

  #finishWrite(task: ScsiTask, error: BlockError | undefined, bytes: number, forced: boolean): void {
    if (error === undefined && forced) {
      this.#lane.submit({ kind: 'flush' }, (failure) => this.#finish(task, failure, bytes));
    } else {
      this.#finish(task, error, bytes);
    }
  }

  #move(task: ScsiTask, writing: boolean, lba: number, count: number, forced: boolean): void {
    if (!this.#allowed(task, lba, count, writing)) {
      return;
    }
    const length = count * BLOCK;
    if (length > (writing ? task.outBytes : task.inBytes)) {
      task.overrun();
    } else if (length === 0) {
      task.good(0);
    } else {
      task.transfer(writing ? 'write' : 'read', this.#lane, lba * BLOCK, length, (error) =>
        writing ? this.#finishWrite(task, error, length, forced) : this.#finish(task, error, length, false),
      );
    }
  }

  #verify(task: ScsiTask, lba: number, count: number): void {
    if ((task.cdb.getUint8(1) & 0x06) !== 0) {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
    } else if (this.#allowed(task, lba, count, false)) {
      task.good();
    }
  }

  #capacity10(task: ScsiTask): void {
    const reply = new DataView(new ArrayBuffer(8));
    reply.setUint32(0, Math.min(this.#blocks - 1, 0xffffffff));
    reply.setUint32(4, BLOCK);
    task.reply(new Uint8Array(reply.buffer), 8);
  }

  #serviceActionIn(task: ScsiTask): void {
    if ((task.cdb.getUint8(1) & 0x1f) !== 0x10) {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
      return;
    }
    // READ CAPACITY (16) (SBC-3, 5.16)
    const reply = new DataView(new ArrayBuffer(32));
    reply.setBigUint64(0, BigInt(this.#blocks - 1));
    reply.setUint32(8, BLOCK);
    reply.setUint8(13, 3); // eight logical blocks in a physical one
    reply.setUint8(14, this.#lane.readOnly ? 0 : 0x80); // logical block provisioning
    task.reply(new Uint8Array(reply.buffer), task.cdb.getUint32(10));
  }

  #modeSense(task: ScsiTask, ten: boolean): void {
    const { cdb } = task;
    const page = cdb.getUint8(2) & 0x3f;
    const control = cdb.getUint8(2) >> 6;
    if (control === 3) {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_SAVING_NOT_SUPPORTED);
      return;
    }
    const pages: number[] = [];
    if (page === PAGE_CACHING || page === PAGE_ALL) {
      const caching = new Array<number>(20).fill(0);
      caching[0] = PAGE_CACHING;
      caching[1] = 18;
      // There is a write cache; that it could be changed (control 1) is not claimed.
      caching[2] = control === 1 ? 0 : 0x04;
      pages.push(...caching);
    }
    if (page === PAGE_CONTROL || page === PAGE_ALL) {
      pages.push(PAGE_CONTROL, 10, 0, control === 1 ? 0 : 0x10, 0, 0, 0, 0, 0, 0, 0, 0);
    }
    if (pages.length === 0) {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
      return;
    }
    const descriptor: number[] = [];
    if ((cdb.getUint8(1) & 0x08) === 0) {
      const blocks = Math.min(this.#blocks, 0xffffff);
      descriptor.push(0, (blocks >> 16) & 0xff, (blocks >> 8) & 0xff, blocks & 0xff, 0, 0, BLOCK >> 8, BLOCK & 0xff);
    }
    // Write protection, and that FUA is known.
    const flags = (this.#lane.readOnly ? 0x80 : 0) | 0x10;
    const length = descriptor.length + pages.length;
    const header = ten
      ? [(length + 6) >> 8, (length + 6) & 0xff, 0, flags, 0, 0, 0, descriptor.length]
      : [length + 3, 0, flags, descriptor.length];
    task.reply(Uint8Array.of(...header, ...descriptor, ...pages), ten ? cdb.getUint16(7) : cdb.getUint8(4));
  }

  /** UNMAP (SBC-3, 5.28). */
  #unmap(task: ScsiTask): void {
    const { cdb } = task;
    const length = cdb.getUint16(7);
    if ((cdb.getUint8(1) & 1) !== 0) {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
      return;
    }
    if (length === 0) {
      task.good();
      return;
    }
    if (length < UNMAP_HEADER_BYTES) {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
      return;
    }
    if (length > task.outBytes) {
      task.overrun();
      return;
    }
    const list = new Uint8Array(length);
    task.readOut(0, list);
    const view = new DataView(list.buffer);
    const bytes = Math.min(view.getUint16(2), length - UNMAP_HEADER_BYTES);
    const count = Math.floor(bytes / UNMAP_RANGE_BYTES);
    if (count > MAX_UNMAP_RANGES) {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_INVALID_PARAMETER);
      return;
    }
    const ranges: { lba: number; blocks: number }[] = [];
    for (let i = 0; i < count; i++) {
      const at = UNMAP_HEADER_BYTES + i * UNMAP_RANGE_BYTES;
      const range = { lba: address64(view, at), blocks: view.getUint32(at + 8) };
      if (range.blocks > MAX_UNMAP_BLOCKS) {
        task.check(SENSE_ILLEGAL_REQUEST, ASC_INVALID_PARAMETER);
        return;
      }
      if (!this.#allowed(task, range.lba, range.blocks, true)) {
        return;
      }
      ranges.push(range);
    }
    const next = (index: number) => {
      const range = ranges[index];
      if (range === undefined || !task.alive()) {
        this.#finish(task, undefined, length);
        return;
      }
      const request = { kind: 'discard', offset: range.lba * BLOCK, length: range.blocks * BLOCK } as const;
      this.#lane.submit(request, (error) => (error === undefined ? next(index + 1) : this.#finish(task, error, 0)));
    };
    next(0);
  }

  /** WRITE SAME (SBC-3, 5.43): one block over and over. */
  #writeSame(task: ScsiTask, lba: number, blocks: number, noData: boolean): void {
    const count = blocks === 0 ? this.#blocks - lba : blocks;
    if (count > MAX_WRITE_SAME_BLOCKS || (task.cdb.getUint8(1) & 0x10) !== 0) {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
      return;
    }
    if (!this.#allowed(task, lba, count, true)) {
      return;
    }
    const block = new Uint8Array(BLOCK);
    if (!noData) {
      if (task.outBytes < BLOCK) {
        task.overrun();
        return;
      }
      task.readOut(0, block);
    }
    const offset = lba * BLOCK;
    const length = count * BLOCK;
    const taken = noData ? 0 : BLOCK;
    const done = (error: BlockError | undefined) => this.#finish(task, error, taken);
    if (block.every((byte) => byte === 0)) {
      const mayUnmap = (task.cdb.getUint8(1) & CDB_UNMAP) !== 0;
      this.#lane.submit({ kind: 'write-zeroes', offset, length, mayUnmap }, done);
    } else {
      task.transfer('write', this.#lane, offset, length, done, (bytes) => {
        for (let at = 0; at < bytes.length; at += BLOCK) {
          bytes.set(block, at);
        }
      });
    }
  }

  protected vitalPage(page: number): Uint8Array | undefined {
    switch (page) {
      case 0xb0: {
        // Block limits (SBC-3, 6.6.4)
        const view = new DataView(new ArrayBuffer(60));
        if (!this.#lane.readOnly) {
          view.setUint32(16, MAX_UNMAP_BLOCKS);
          view.setUint32(20, MAX_UNMAP_RANGES);
          view.setUint32(24, 8);
          view.setBigUint64(32, BigInt(MAX_WRITE_SAME_BLOCKS));
        }
        return new Uint8Array(view.buffer);
      }
      case 0xb1: {
        // Block device characteristics: nothing rotates
        const bytes = new Uint8Array(60);
        bytes[1] = 1;
        return bytes;
      }
      case 0xb2:
        // Logical block provisioning: UNMAP and WRITE SAME, thin
        return this.#lane.readOnly ? Uint8Array.of(0, 0, 0, 0) : Uint8Array.of(0, 0xe0, 2, 0);
      default:
        return undefined;
    }
  }

  describe(): string {
    return `disk of ${this.#blocks} blocks`;
  }
}

function address64(view: DataView, at: number): number {
  return view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
}
