import type { BlockBackend } from '../../backends/block/block-backend.ts';
import type { StateValue } from '../../devices/device.ts';
import * as mmc from '../../devices/ide/mmc.ts';
import type { StateReader } from '../../devices/state.ts';
import { BlockLane } from '../block-lane.ts';
import { ASC_SAVING_NOT_SUPPORTED, failOnHost, type ScsiTask, SENSE_ILLEGAL_REQUEST } from './scsi-task.ts';
import { ScsiUnit } from './scsi-unit.ts';

const BLOCK = mmc.CD_BLOCK_BYTES;

/** A CD-ROM drive (MMC-4) whose medium can be changed. The media stay the caller's. */
export class ScsiCdrom extends ScsiUnit {
  protected readonly vitalPages = [];
  #medium: BlockBackend | undefined;
  #lane: BlockLane | undefined;
  #trayOpen = false;
  #locked = false;
  #event: mmc.MediaEvent = 'none';

  constructor(medium: BlockBackend | undefined, serial: string) {
    super({ type: 5, removable: true, product: 'LODGE CD-ROM', serial });
    this.#place(medium);
  }

  #place(medium: BlockBackend | undefined): void {
    this.#medium = medium;
    this.#lane = medium === undefined ? undefined : new BlockLane(medium);
  }

  get medium(): BlockBackend | undefined {
    return this.#medium;
  }

  get locked(): boolean {
    return this.#locked;
  }

  /** Puts a medium in and closes the tray. */
  insert(medium: BlockBackend): void {
    this.#place(medium);
    this.#trayOpen = false;
    this.#event = 'new-media';
    this.attention = mmc.ASC_MEDIUM_CHANGED;
  }

  /** Takes the medium out. False: the guest has locked the drive and was only told of the wish; `force` overrules it. */
  eject(options: { readonly force?: boolean } = {}): boolean {
    if (this.#locked && !options.force) {
      this.#event = 'eject-request';
      return false;
    }
    this.#place(undefined);
    this.#locked = false;
    this.#trayOpen = true;
    this.#event = 'removal';
    return true;
  }

  fence(): void {
    this.#lane?.fence();
  }

  override reset(): void {
    super.reset();
    this.#locked = false;
    this.#event = 'none';
  }

  get #present(): boolean {
    return this.#medium !== undefined && !this.#trayOpen;
  }

  get #blocks(): number {
    return Math.floor((this.#medium?.size ?? 0) / BLOCK);
  }

  protected run(task: ScsiTask, opcode: number): void {
    const { cdb } = task;
    const byte = (offset: number) => cdb.getUint8(offset);
    switch (opcode) {
      case 0x1a: // MODE SENSE (6)
      case 0x5a: {
        // MODE SENSE (10)
        const ten = opcode === 0x5a;
        const control = byte(2) >> 6;
        if (control === 3) {
          task.check(SENSE_ILLEGAL_REQUEST, ASC_SAVING_NOT_SUPPORTED);
          return;
        }
        const drive = { locked: this.#locked, trayOpen: this.#trayOpen, present: this.#present };
        this.#reply(task, mmc.modeSense(byte(2) & 0x3f, control, ten, drive), ten ? cdb.getUint16(7) : byte(4));
        return;
      }
      case 0x15: // MODE SELECT: taken and forgotten, as drives without audio do
      case 0x55:
      case 0xbb: // SET CD SPEED
        task.good(task.outBytes);
        return;
      case 0x1b: // START STOP UNIT
        this.#startStop(task, byte(4));
        return;
      case 0x1e: // PREVENT ALLOW MEDIUM REMOVAL
        this.#locked = (byte(4) & 1) !== 0;
        task.good();
        return;
      case 0x46: // GET CONFIGURATION
        this.#reply(
          task,
          (byte(1) & 3) === 3
            ? undefined
            : mmc.configuration(cdb.getUint16(2), byte(1) & 3, this.#present ? this.#blocks : undefined),
          cdb.getUint16(7),
        );
        return;
      case 0x4a: {
        // GET EVENT STATUS NOTIFICATION, polled only
        const polled = (byte(1) & 1) !== 0;
        const status = polled ? mmc.eventStatus(byte(4), this.#event, this.#present, this.#trayOpen) : undefined;
        if (polled && byte(4) & 0x10) {
          this.#event = 'none';
        }
        this.#reply(task, status, cdb.getUint16(7));
        return;
      }
      case 0xbd: // MECHANISM STATUS
        this.#reply(task, mmc.mechanismStatus(this.#trayOpen), cdb.getUint16(8));
        return;
      default:
        if (this.#present) {
          this.#runLoaded(task, opcode);
        } else {
          const asc = this.#trayOpen ? mmc.ASC_NO_MEDIUM_TRAY_OPEN : mmc.ASC_NO_MEDIUM_TRAY_CLOSED;
          task.check(mmc.SENSE_NOT_READY, asc);
        }
    }
  }

  /** Commands that need a medium. */
  #runLoaded(task: ScsiTask, opcode: number): void {
    const { cdb } = task;
    const byte = (offset: number) => cdb.getUint8(offset);
    const blocks = this.#blocks;
    switch (opcode) {
      case 0x2f: // VERIFY (10)
      case 0x35: // SYNCHRONIZE CACHE (10)
        task.good();
        return;
      case 0x25: // READ CAPACITY (10)
        this.#reply(task, mmc.readCapacity(blocks), 8);
        return;
      case 0x28: // READ (10)
        this.#read(task, cdb.getUint32(2), cdb.getUint16(7));
        return;
      case 0xa8: // READ (12)
        this.#read(task, cdb.getUint32(2), cdb.getUint32(6));
        return;
      case 0x42: // READ SUB-CHANNEL
        this.#reply(task, mmc.subChannel(byte(3), (byte(2) & 0x40) !== 0, (byte(1) & 2) !== 0), cdb.getUint16(7));
        return;
      case 0x43: // READ TOC/PMA/ATIP
        this.#reply(task, this.#toc(cdb, blocks), cdb.getUint16(7));
        return;
      case 0x51: // READ DISC INFORMATION
        this.#reply(task, byte(1) & 7 ? undefined : mmc.discInformation(), cdb.getUint16(7));
        return;
      case 0x52: // READ TRACK INFORMATION
        this.#reply(task, mmc.trackInformation(blocks), cdb.getUint16(7));
        return;
      case 0xad: // READ DISC STRUCTURE
        if (mmc.isDvd(blocks)) {
          this.#reply(task, mmc.discStructure(byte(7), blocks), cdb.getUint16(8));
        } else {
          task.check(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_INCOMPATIBLE_FORMAT);
        }
        return;
      default:
        this.unknown(task, opcode);
    }
  }

  #toc(cdb: DataView, blocks: number): Uint8Array | undefined {
    const msf = (cdb.getUint8(1) & 2) !== 0;
    switch (cdb.getUint8(2) & 0xf) {
      case 0:
        return mmc.tocTracks(blocks, msf, cdb.getUint8(6));
      case 1:
        return mmc.tocSessions(msf);
      case 2:
        return mmc.tocRaw(blocks);
      default:
        return undefined;
    }
  }

  #reply(task: ScsiTask, bytes: Uint8Array | undefined, allocated: number): void {
    if (bytes === undefined) {
      task.check(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_INVALID_FIELD);
    } else {
      task.reply(bytes, allocated);
    }
  }

  #startStop(task: ScsiTask, flags: number): void {
    const load = (flags & 1) !== 0;
    if (flags & 2) {
      if (!load && this.#locked && !this.#trayOpen) {
        task.check(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_REMOVAL_PREVENTED);
        return;
      }
      if (this.#trayOpen === load) {
        this.#trayOpen = !load;
        if (this.#medium !== undefined) {
          this.#event = load ? 'new-media' : 'removal';
          this.attention = load ? mmc.ASC_MEDIUM_CHANGED : 0;
        }
      }
    }
    task.good();
  }

  #read(task: ScsiTask, lba: number, count: number): void {
    const lane = this.#lane;
    const length = count * BLOCK;
    if (lane === undefined || lba + count > this.#blocks) {
      task.check(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_LBA_OUT_OF_RANGE);
    } else if (length > task.inBytes) {
      task.overrun();
    } else if (length === 0) {
      task.good(0);
    } else {
      task.transfer('read', lane, lba * BLOCK, length, (error) => {
        if (error === undefined) {
          task.good(length);
        } else {
          failOnHost(task, error, false);
        }
      });
    }
  }

  protected vitalPage(): undefined {
    return undefined;
  }

  override save(): StateValue {
    return {
      attention: this.attention,
      trayOpen: this.#trayOpen,
      locked: this.#locked,
      event: this.#event,
      blocks: this.#medium === undefined ? null : this.#blocks,
    };
  }

  override load(reader: StateReader): () => void {
    const apply = super.load(reader);
    const trayOpen = reader.boolean('trayOpen');
    const locked = reader.boolean('locked');
    const event = reader.oneOf('event', mmc.MEDIA_EVENTS);
    const blocks = reader.has('blocks') ? reader.int('blocks', 0, Number.MAX_SAFE_INTEGER) : undefined;
    if (blocks !== (this.#medium === undefined ? undefined : this.#blocks)) {
      reader.refuse('another medium was in the drive when this was saved');
    }
    return () => {
      apply();
      this.#trayOpen = trayOpen;
      this.#locked = locked;
      this.#event = event;
    };
  }

  describe(): string {
    return `CD-ROM drive, ${this.#medium === undefined ? 'empty' : `${this.#blocks} blocks`}`;
  }
}
