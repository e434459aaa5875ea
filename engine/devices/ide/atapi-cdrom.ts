import type { BlockBackend, BlockError } from '../../backends/block/block-backend.ts';
import type { Log } from '../../base/log.ts';
import type { StateReader } from '../state.ts';
import {
  DEFAULT_MODE,
  HIGHEST_MULTIWORD,
  HIGHEST_ULTRA,
  identifyPacket,
  type TransferMode,
  transferMode,
} from './ata-identify.ts';
import { BUFFER_BYTES, type DriveBus, type DriveState, IdeDrive } from './ide-drive.ts';
import * as mmc from './mmc.ts';
import { CD_BLOCK_BYTES, CD_RAW_BYTES } from './mmc.ts';
import { ERROR_ABRT, STATUS_BSY, STATUS_IDLE } from './task-file.ts';

/** Interrupt reason, in the sector count register (ATA/ATAPI-6, 7.12 for PACKET): the packet itself, towards the host. */
const REASON_COMMAND = 0x01;
const REASON_TO_HOST = 0x02;

const PACKET_BYTES = 12;

/**
 * - `packet`: the host writes the 12 bytes of the packet
 * - `reply`: bytes that are all in the buffer go to the host
 * - `read`: blocks of the medium go to the host
 * - `parameters`: the host writes a parameter list, which is dropped
 * - `identify`: the reply of an ATA command, without interrupt reasons
 */
const OPERATIONS = ['none', 'packet', 'reply', 'read', 'parameters', 'identify'] as const;
type Operation = (typeof OPERATIONS)[number];

export interface CdromConfig {
  readonly serial: string;
  readonly model: string;
  readonly onActivity: ((kind: 'read' | 'write') => void) | undefined;
  /** The guest has opened or closed the tray; the medium stays in it. */
  readonly onTray: ((open: boolean) => void) | undefined;
}

export type CdromState = {
  drive: DriveState;
  operation: Operation;
  dma: boolean;
  byteLimit: number;
  lba: number;
  left: number;
  raw: boolean;
  senseKey: number;
  asc: number;
  trayOpen: boolean;
  locked: boolean;
  changed: number;
  event: mmc.MediaEvent;
  multiword: number | null;
  ultra: number | null;
};

/** Commands that are carried out although a unit attention waits (SPC-3, 5.6): INQUIRY, REQUEST SENSE and the like. */
const IGNORES_ATTENTION = new Set([0x03, 0x12, 0x46, 0x4a]);
/** Commands that need a medium. */
const NEEDS_MEDIUM = new Set([0x00, 0x25, 0x28, 0x2b, 0x2f, 0x42, 0x43, 0x44, 0x51, 0x52, 0xa8, 0xad, 0xb9, 0xbe]);

/** A CD/DVD-ROM drive with the PACKET feature set (ATA/ATAPI-6, 6.9; MMC-4). */
export class AtapiCdrom extends IdeDrive {
  readonly #config: CdromConfig;
  readonly #log: Log;
  #medium: BlockBackend | undefined;
  #operation: Operation = 'none';
  #dma = false;
  /** Most bytes per DRQ block, as the host wants. */
  #byteLimit = 0xfffe;
  #lba = 0;
  #left = 0;
  #raw = false;
  #senseKey = mmc.SENSE_NONE;
  #asc = 0;
  #trayOpen = false;
  #locked = false;
  /** 1: the next command finds no medium, 2: the next one a changed medium; so that a swap looks like one. */
  #changed = 0;
  #event: mmc.MediaEvent = 'none';
  #mode: TransferMode = DEFAULT_MODE;

  constructor(bus: DriveBus, config: CdromConfig, medium: BlockBackend | undefined, log: Log) {
    super(bus);
    this.#config = config;
    this.#medium = medium;
    this.#log = log;
  }

  /** The medium in the drive, also while the tray is open. */
  get medium(): BlockBackend | undefined {
    return this.#medium;
  }

  get trayOpen(): boolean {
    return this.#trayOpen;
  }

  /** The guest has locked the tray. */
  get locked(): boolean {
    return this.#locked;
  }

  /** Puts `medium` in (instead of another, when there is one) and closes the tray. The caller keeps owning it. */
  insert(medium: BlockBackend): void {
    const swapped = this.#medium !== undefined && !this.#trayOpen;
    this.#dropRead();
    this.#medium = medium;
    this.#trayOpen = false;
    this.#changed = swapped ? 1 : 2;
    this.#event = 'new-media';
  }

  /**
   * Takes the medium out, as if the button had been pressed. When the guest has locked the tray it is only told of the
   * wish and false is returned, unless `force` is set. The caller may dispose of the medium after true.
   */
  eject(options: { readonly force?: boolean } = {}): boolean {
    if (this.#locked && !this.#trayOpen && this.#medium !== undefined && !options.force) {
      this.#event = 'eject-request';
      return false;
    }
    this.#dropRead();
    if (this.#medium !== undefined && !this.#trayOpen) {
      this.#event = 'removal';
    }
    this.#medium = undefined;
    this.#trayOpen = true;
    this.#locked = false;
    this.#changed = 0;
    return true;
  }

  /** Ends a read under way, because its medium goes. */
  #dropRead(): void {
    if (this.#operation === 'read') {
      this.abandon();
      this.#checkCondition(mmc.SENSE_NOT_READY, mmc.ASC_NO_MEDIUM_TRAY_OPEN);
    }
  }

  /** Blocks on the medium; undefined when there is none to read. */
  get #blocks(): number | undefined {
    return this.#medium === undefined || this.#trayOpen ? undefined : Math.ceil(this.#medium.size / CD_BLOCK_BYTES);
  }

  protected setSignature(): void {
    this.registers.setSignature(0x14, 0xeb);
    // DRDY stays clear until the host has talked to the drive with the right protocol (9.12).
    this.registers.status = 0;
  }

  protected resetCommand(hard: boolean): void {
    this.#operation = 'none';
    this.#senseKey = mmc.SENSE_NONE;
    this.#asc = 0;
    this.#locked = false;
    if (hard) {
      this.#dma = false;
      this.#byteLimit = 0xfffe;
      this.#lba = 0;
      this.#left = 0;
      this.#raw = false;
      this.#changed = 0;
      this.#event = 'none';
      this.#mode = DEFAULT_MODE;
    }
  }

  protected execute(command: number): void {
    switch (command) {
      case 0xa0: // PACKET
        this.#packet();
        return;
      case 0xa1: // IDENTIFY PACKET DEVICE
        this.#operation = 'identify';
        this.position = 0;
        this.filled = 512;
        this.buffer.set(identifyPacket({ mode: this.#mode, serial: this.#config.serial, model: this.#config.model }));
        this.offerBlock(512);
        this.raiseInterrupt();
        return;
      case 0x08: // DEVICE RESET
        this.reset(false);
        return;
      case 0xef: // SET FEATURES
        this.#setFeatures();
        return;
      case 0xe0: // the power commands have nothing to do
      case 0xe1:
      case 0xe2:
      case 0xe3:
      case 0xe6:
        this.complete();
        return;
      case 0xe5: // CHECK POWER MODE: active
        this.registers.sectorCount = 0xff;
        this.complete();
        return;
      case 0xe7: // FLUSH CACHE
        this.complete();
        return;
      case 0xec: // IDENTIFY DEVICE and READ SECTORS tell by the signature what this drive is (9.12)
      case 0x20:
        this.setSignature();
        this.fail();
        return;
      default:
        this.fail();
    }
  }

  #setFeatures(): void {
    const r = this.registers;
    if (r.feature === 0x03) {
      const mode = transferMode(r.sectorCount, this.#mode);
      if (mode === undefined) {
        this.fail();
        return;
      }
      this.#mode = mode;
      this.complete();
      return;
    }
    if ([0x02, 0x82, 0x55, 0xaa, 0x66, 0xcc].includes(r.feature)) {
      this.complete();
      return;
    }
    this.fail();
  }

  #packet(): void {
    const r = this.registers;
    this.#dma = (r.feature & 1) !== 0;
    const limit = (r.lbaHigh << 8) | r.lbaMid;
    this.#byteLimit = limit === 0 || limit === 0xffff ? 0xfffe : limit;
    this.#operation = 'packet';
    this.position = 0;
    this.filled = PACKET_BYTES;
    r.sectorCount = REASON_COMMAND;
    this.requestBlock(PACKET_BYTES);
  }

  /** Ends a packet command without an error. */
  #good(): void {
    this.#operation = 'none';
    this.registers.sectorCount = REASON_COMMAND | REASON_TO_HOST;
    this.complete();
  }

  #checkCondition(key: number, asc: number): void {
    this.#senseKey = key;
    this.#asc = asc;
    this.#operation = 'none';
    this.registers.sectorCount = REASON_COMMAND | REASON_TO_HOST;
    this.fail((key << 4) | ERROR_ABRT);
  }

  #invalidField(): void {
    this.#checkCondition(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_INVALID_FIELD);
  }

  /** Sends at most `allocated` bytes of `bytes`; nothing to send is an error in the packet. */
  #reply(bytes: Uint8Array | undefined, allocated: number): void {
    if (bytes === undefined) {
      this.#invalidField();
      return;
    }
    const length = Math.min(bytes.length, allocated);
    if (length === 0) {
      this.#good();
      return;
    }
    this.#operation = 'reply';
    this.buffer.set(bytes.subarray(0, length));
    this.#send(length);
  }

  /** Sends the first `length` bytes of the buffer. */
  #send(length: number): void {
    if (this.#dma) {
      this.startDma('dma-in', length);
      return;
    }
    this.position = 0;
    this.filled = length;
    this.#offer();
  }

  /** Offers the next DRQ block; an odd limit is for the last block only (ATA/ATAPI-6, 8.23.3). */
  #offer(): void {
    let size = this.filled - this.position;
    if (size > this.#byteLimit) {
      size = Math.max(2, this.#byteLimit & ~1);
    }
    const r = this.registers;
    r.sectorCount = REASON_TO_HOST;
    r.lbaMid = size & 0xff;
    r.lbaHigh = size >>> 8;
    this.offerBlock(this.position + size);
    this.raiseInterrupt();
  }

  protected blockRead(): void {
    if (this.#operation === 'identify') {
      this.#operation = 'none';
      this.registers.status = STATUS_IDLE;
    } else if (this.position < this.filled) {
      this.#offer();
    } else {
      this.#sent();
    }
  }

  protected dmaFinished(): void {
    this.#sent();
  }

  /** The buffer has gone to the host. */
  #sent(): void {
    if (this.#operation === 'read') {
      const count = this.filled / this.#blockBytes;
      this.#lba += count;
      this.#left -= count;
      if (this.#left > 0) {
        this.#fetch();
        return;
      }
    }
    this.#good();
  }

  protected blockWritten(): void {
    if (this.#operation === 'packet') {
      const packet = this.buffer.slice(0, PACKET_BYTES);
      this.#operation = 'none';
      this.registers.status = STATUS_BSY | STATUS_IDLE;
      this.#run(packet);
    } else if (this.position < this.filled) {
      this.#request();
    } else {
      this.#good();
    }
  }

  /** Asks for the next DRQ block of a parameter list. */
  #request(): void {
    const size = Math.min(this.filled - this.position, Math.max(2, this.#byteLimit & ~1));
    const r = this.registers;
    r.sectorCount = 0;
    r.lbaMid = size & 0xff;
    r.lbaHigh = size >>> 8;
    this.requestBlock(this.position + size);
    this.raiseInterrupt();
  }

  #run(packet: Uint8Array): void {
    const view = new DataView(packet.buffer);
    const opcode = view.getUint8(0);
    if (!IGNORES_ATTENTION.has(opcode) && this.#changed !== 0 && this.#blocks !== undefined) {
      const removed = this.#changed === 1;
      this.#changed = removed ? 2 : 0;
      if (removed) {
        this.#checkCondition(mmc.SENSE_NOT_READY, mmc.ASC_NO_MEDIUM_TRAY_CLOSED);
      } else {
        this.#checkCondition(mmc.SENSE_UNIT_ATTENTION, mmc.ASC_MEDIUM_CHANGED);
      }
      return;
    }
    const blocks = this.#blocks;
    if (blocks === undefined && NEEDS_MEDIUM.has(opcode)) {
      const asc = this.#trayOpen ? mmc.ASC_NO_MEDIUM_TRAY_OPEN : mmc.ASC_NO_MEDIUM_TRAY_CLOSED;
      this.#checkCondition(mmc.SENSE_NOT_READY, asc);
      return;
    }
    const key = this.#senseKey;
    const asc = this.#asc;
    this.#senseKey = mmc.SENSE_NONE;
    this.#asc = 0;
    if (opcode === 0x03) {
      this.#reply(mmc.senseData(key, asc), view.getUint8(4));
      return;
    }
    this.#runReady(opcode, view, blocks ?? 0);
  }

  /** A command that nothing stands in the way of. `blocks` is 0 for those that need no medium and find none. */
  #runReady(opcode: number, packet: DataView, blocks: number): void {
    const byte = (offset: number) => packet.getUint8(offset);
    const present = this.#medium !== undefined && !this.#trayOpen;
    switch (opcode) {
      case 0x00: // TEST UNIT READY
      case 0x2f: // VERIFY (10)
      case 0x35: // SYNCHRONIZE CACHE (10)
      case 0xbb: // SET CD SPEED
        this.#good();
        return;
      case 0x12: // INQUIRY
        this.#reply(byte(1) & 1 || byte(2) ? undefined : mmc.inquiry(), packet.getUint16(3));
        return;
      case 0x1a: // MODE SENSE (6)
      case 0x5a: {
        // MODE SENSE (10)
        const ten = opcode === 0x5a;
        const control = byte(2) >> 6;
        if (control === 3) {
          this.#checkCondition(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_SAVING_NOT_SUPPORTED);
          return;
        }
        const drive = { locked: this.#locked, trayOpen: this.#trayOpen, present };
        this.#reply(mmc.modeSense(byte(2) & 0x3f, control, ten, drive), ten ? packet.getUint16(7) : byte(4));
        return;
      }
      case 0x15: // MODE SELECT (6)
        this.#takeParameters(byte(4));
        return;
      case 0x55: // MODE SELECT (10)
        this.#takeParameters(packet.getUint16(7));
        return;
      case 0x1b: // START STOP UNIT
        this.#startStop(byte(4));
        return;
      case 0x1e: // PREVENT ALLOW MEDIUM REMOVAL
        this.#locked = (byte(4) & 1) !== 0;
        this.#good();
        return;
      case 0x25: // READ CAPACITY
        this.#reply(mmc.readCapacity(blocks), 8);
        return;
      case 0x28: // READ (10)
        this.#read(packet.getUint32(2), packet.getUint16(7), blocks, false);
        return;
      case 0xa8: // READ (12)
        this.#read(packet.getUint32(2), packet.getUint32(6), blocks, false);
        return;
      case 0xbe: // READ CD
        this.#readCd(packet.getUint32(2), packet.getUint32(5) & 0xffffff, byte(9), byte(1), blocks);
        return;
      case 0xb9: {
        // READ CD MSF: from one address to before another
        const first = (byte(3) * 60 + byte(4)) * 75 + byte(5) - 150;
        const end = (byte(6) * 60 + byte(7)) * 75 + byte(8) - 150;
        if (first < 0 || end < first) {
          this.#invalidField();
          return;
        }
        this.#readCd(first, end - first, byte(9), byte(1), blocks);
        return;
      }
      case 0x2b: // SEEK (10)
        if (packet.getUint32(2) < blocks) {
          this.#good();
        } else {
          this.#checkCondition(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_LBA_OUT_OF_RANGE);
        }
        return;
      case 0x42: // READ SUB-CHANNEL
        this.#reply(mmc.subChannel(byte(3), (byte(2) & 0x40) !== 0, (byte(1) & 2) !== 0), packet.getUint16(7));
        return;
      case 0x43: // READ TOC/PMA/ATIP
        this.#reply(this.#toc(packet, blocks), packet.getUint16(7));
        return;
      case 0x46: // GET CONFIGURATION
        this.#reply(
          (byte(1) & 3) === 3
            ? undefined
            : mmc.configuration(packet.getUint16(2), byte(1) & 3, present ? blocks : undefined),
          packet.getUint16(7),
        );
        return;
      case 0x4a: {
        // GET EVENT STATUS NOTIFICATION; only polling, nothing is queued for later
        if ((byte(1) & 1) === 0) {
          this.#invalidField();
          return;
        }
        const status = mmc.eventStatus(byte(4), this.#event, present, this.#trayOpen);
        if (byte(4) & 0x10) {
          this.#event = 'none';
        }
        this.#reply(status, packet.getUint16(7));
        return;
      }
      case 0x51: // READ DISC INFORMATION
        this.#reply(byte(1) & 7 ? undefined : mmc.discInformation(), packet.getUint16(7));
        return;
      case 0x52: // READ TRACK INFORMATION
        this.#reply(mmc.trackInformation(blocks), packet.getUint16(7));
        return;
      case 0xad: // READ DISC STRUCTURE
        if (!mmc.isDvd(blocks)) {
          this.#checkCondition(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_INCOMPATIBLE_FORMAT);
          return;
        }
        this.#reply(mmc.discStructure(byte(7), blocks), packet.getUint16(8));
        return;
      case 0xbd: // MECHANISM STATUS
        this.#reply(mmc.mechanismStatus(this.#trayOpen), packet.getUint16(8));
        return;
      default:
        this.#checkCondition(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_INVALID_OPCODE);
    }
  }

  #toc(packet: DataView, blocks: number): Uint8Array | undefined {
    const msf = (packet.getUint8(1) & 2) !== 0;
    // The format field is in byte 2; old drives took it from the control byte.
    switch (packet.getUint8(2) & 0xf || packet.getUint8(9) >> 6) {
      case 0:
        return mmc.tocTracks(blocks, msf, packet.getUint8(6));
      case 1:
        return mmc.tocSessions(msf);
      case 2:
        return mmc.tocRaw(blocks);
      default:
        return undefined;
    }
  }

  #takeParameters(length: number): void {
    if (length === 0) {
      this.#good();
      return;
    }
    this.#operation = 'parameters';
    if (this.#dma) {
      this.startDma('dma-out', length);
      return;
    }
    this.position = 0;
    this.filled = length;
    this.#request();
  }

  #startStop(flags: number): void {
    const load = (flags & 1) !== 0;
    if (flags & 2) {
      if (!load && this.#locked && !this.#trayOpen) {
        this.#checkCondition(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_REMOVAL_PREVENTED);
        return;
      }
      if (this.#trayOpen === load) {
        this.#trayOpen = !load;
        const present = this.#medium !== undefined;
        this.#event = !present ? 'none' : load ? 'new-media' : 'removal';
        this.#changed = present && load ? 2 : 0;
        this.#config.onTray?.(this.#trayOpen);
      }
    }
    this.#good();
  }

  /** READ CD: only user data, or whole sectors built around it. */
  #readCd(lba: number, count: number, fields: number, type: number, blocks: number): void {
    // Expected sector type: any, mode 1, mode 2 form 1 (whose user data are 2048 bytes, too).
    const expected = (type >> 2) & 7;
    if (expected === 1) {
      this.#checkCondition(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_ILLEGAL_MODE_FOR_TRACK);
      return;
    }
    switch (fields & 0xf8) {
      case 0x00:
        this.#good();
        return;
      case 0x10:
        this.#read(lba, count, blocks, false);
        return;
      case 0xf8:
        this.#read(lba, count, blocks, true);
        return;
      default:
        this.#invalidField();
    }
  }

  #read(lba: number, count: number, blocks: number, raw: boolean): void {
    if (lba + count > blocks) {
      this.#checkCondition(mmc.SENSE_ILLEGAL_REQUEST, mmc.ASC_LBA_OUT_OF_RANGE);
      return;
    }
    if (count === 0) {
      this.#good();
      return;
    }
    this.#operation = 'read';
    this.#lba = lba;
    this.#left = count;
    this.#raw = raw;
    this.#fetch();
  }

  get #blockBytes(): number {
    return this.#raw ? CD_RAW_BYTES : CD_BLOCK_BYTES;
  }

  /** Blocks that pass through the buffer next. */
  #pieceBlocks(): number {
    return Math.min(this.#left, Math.floor(BUFFER_BYTES / this.#blockBytes));
  }

  #fetch(): void {
    const medium = this.#medium;
    if (medium === undefined) {
      this.#checkCondition(mmc.SENSE_NOT_READY, mmc.ASC_NO_MEDIUM_TRAY_OPEN);
      return;
    }
    this.#config.onActivity?.('read');
    const offset = this.#lba * CD_BLOCK_BYTES;
    const wanted = this.#pieceBlocks() * CD_BLOCK_BYTES;
    // An image may end within its last block: the rest reads as zeros.
    const length = Math.min(wanted, medium.size - offset);
    this.buffer.fill(0, length, wanted);
    this.position = 0;
    this.filled = 0;
    this.submit(medium, { kind: 'read', offset, buffer: this.buffer.subarray(0, length) });
  }

  protected resubmit(): void {
    this.#fetch();
  }

  protected backendDone(error: BlockError | undefined): void {
    if (error !== undefined) {
      this.#log.warn(`cdrom: ${error.message}`);
      this.#checkCondition(mmc.SENSE_MEDIUM_ERROR, mmc.ASC_UNRECOVERED_READ);
      return;
    }
    const count = this.#pieceBlocks();
    if (this.#raw) {
      mmc.expandToRaw(this.buffer, count, this.#lba);
    }
    this.#send(count * this.#blockBytes);
  }

  save(): CdromState {
    return {
      drive: this.saveDrive(),
      operation: this.#operation,
      dma: this.#dma,
      byteLimit: this.#byteLimit,
      lba: this.#lba,
      left: this.#left,
      raw: this.#raw,
      senseKey: this.#senseKey,
      asc: this.#asc,
      trayOpen: this.#trayOpen,
      locked: this.#locked,
      changed: this.#changed,
      event: this.#event,
      multiword: this.#mode.multiword ?? null,
      ultra: this.#mode.ultra ?? null,
    };
  }

  /** Checks a saved state; what it returns can be given to {@link load}. The same medium must be in the drive. */
  read(reader: StateReader): CdromState {
    const drive = IdeDrive.readDrive(reader.object('drive'));
    const operation = reader.oneOf('operation', OPERATIONS);
    const lba = reader.u32('lba');
    const left = reader.u32('left');
    const raw = reader.boolean('raw');
    const dma = reader.boolean('dma');
    const { step } = drive;
    if (operation === 'read') {
      const total = this.#medium === undefined ? 0 : Math.ceil(this.#medium.size / CD_BLOCK_BYTES);
      const blockBytes = raw ? CD_RAW_BYTES : CD_BLOCK_BYTES;
      const piece = Math.min(left, Math.floor(BUFFER_BYTES / blockBytes)) * blockBytes;
      if (left === 0 || lba + left > total || drive.buffer.length !== (step === 'backend' ? 0 : piece)) {
        reader.refuse(`a read of blocks ${lba}–${lba + left} is under way on a medium of ${total}`);
      }
    }
    const toHost = dma ? 'dma-in' : 'data-in';
    const fits =
      operation === 'none'
        ? step === 'idle'
        : operation === 'packet'
          ? step === 'data-out' && drive.buffer.length === PACKET_BYTES
          : operation === 'identify'
            ? step === 'data-in' && drive.buffer.length === 512
            : operation === 'parameters'
              ? step === (dma ? 'dma-out' : 'data-out')
              : step === toHost || (operation === 'read' && step === 'backend');
    if (!fits) {
      reader.refuse(`the operation '${operation}' cannot be at the step '${step}'`);
    }
    return {
      drive,
      operation,
      dma,
      byteLimit: reader.int('byteLimit', 1, 0xfffe),
      lba,
      left,
      raw,
      senseKey: reader.int('senseKey', 0, 15),
      asc: reader.u16('asc'),
      trayOpen: reader.boolean('trayOpen'),
      locked: reader.boolean('locked'),
      changed: reader.int('changed', 0, 2),
      event: reader.oneOf('event', mmc.MEDIA_EVENTS),
      multiword: reader.has('multiword') ? reader.int('multiword', 0, HIGHEST_MULTIWORD) : null,
      ultra: reader.has('ultra') ? reader.int('ultra', 0, HIGHEST_ULTRA) : null,
    };
  }

  load(state: CdromState): void {
    this.#operation = state.operation;
    this.#dma = state.dma;
    this.#byteLimit = state.byteLimit;
    this.#lba = state.lba;
    this.#left = state.left;
    this.#raw = state.raw;
    this.#senseKey = state.senseKey;
    this.#asc = state.asc;
    this.#trayOpen = state.trayOpen;
    this.#locked = state.locked;
    this.#changed = state.changed;
    this.#event = state.event;
    this.#mode = { multiword: state.multiword ?? undefined, ultra: state.ultra ?? undefined };
    this.loadDrive(state.drive);
  }

  describe(): string {
    const medium =
      this.#medium === undefined ? 'no medium' : `medium of ${Math.ceil(this.#medium.size / CD_BLOCK_BYTES)} blocks`;
    const tray = this.#trayOpen ? ', tray open' : '';
    return `cdrom ${this.#config.serial}, ${medium}${tray}${this.#locked ? ', locked' : ''}, ${this.#operation}/${this.step}`;
  }
}
