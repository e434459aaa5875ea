import type { BlockBackend, BlockError } from '../../backends/block/block-backend.ts';
import type { Log } from '../../base/log.ts';
import type { StateReader } from '../state.ts';
import {
  checksum,
  DEFAULT_MODE,
  defaultGeometry,
  type Geometry,
  HIGHEST_MULTIWORD,
  HIGHEST_ULTRA,
  identifyDisk,
  MAX_MULTIPLE,
  type TransferMode,
  transferMode,
} from './ata-identify.ts';
import { BUFFER_BYTES, type DriveBus, type DriveState, IdeDrive } from './ide-drive.ts';
import { DEVICE_LBA, ERROR_ABRT, ERROR_IDNF, ERROR_UNC, STATUS_DF, STATUS_IDLE } from './task-file.ts';

const SECTOR = 512;
const BUFFER_SECTORS = BUFFER_BYTES / SECTOR;

/** The transfer that a command has started. `reply` hands out one buffer and ends. */
const OPERATIONS = ['none', 'reply', 'pio-read', 'pio-write', 'dma-read', 'dma-write', 'flush'] as const;
type Operation = (typeof OPERATIONS)[number];

const ADDRESSINGS = ['chs', 'lba28', 'lba48'] as const;
/** How the registers name a sector. */
type Addressing = (typeof ADDRESSINGS)[number];

export interface DiskConfig {
  readonly backend: BlockBackend;
  readonly serial: string;
  readonly model: string;
  readonly slave: boolean;
  readonly onActivity: ((kind: 'read' | 'write') => void) | undefined;
}

export type DiskState = {
  drive: DriveState;
  operation: Operation;
  addressing: Addressing;
  lba: number;
  left: number;
  blockSectors: number;
  multiple: number;
  heads: number;
  sectorsPerTrack: number;
  multiword: number | null;
  ultra: number | null;
  writeCache: boolean;
  readAhead: boolean;
  smart: boolean;
  power: number;
};

/** An ATA hard disk (ATA/ATAPI-6) of 512-byte sectors. */
export class AtaDisk extends IdeDrive {
  readonly #config: DiskConfig;
  readonly #backend: BlockBackend;
  readonly #log: Log;
  readonly #sectors: number;
  readonly #native: Geometry;
  #operation: Operation = 'none';
  #addressing: Addressing = 'lba28';
  /** First sector of the buffer. */
  #lba = 0;
  /** Sectors of the command that have not reached their end yet, those in the buffer included. */
  #left = 0;
  /** Sectors per DRQ block of the command under way. */
  #blockSectors = 1;
  #multiple = MAX_MULTIPLE;
  #heads: number;
  #sectorsPerTrack: number;
  #mode: TransferMode = DEFAULT_MODE;
  #writeCache = true;
  #readAhead = true;
  #smart = true;
  /** What CHECK POWER MODE reports: FFh active, 80h idle, 00h standby. */
  #power = 0xff;

  constructor(bus: DriveBus, config: DiskConfig, log: Log) {
    super(bus);
    this.#config = config;
    this.#backend = config.backend;
    this.#log = log;
    this.#sectors = Math.floor(config.backend.size / SECTOR);
    this.#native = defaultGeometry(this.#sectors);
    this.#heads = this.#native.heads;
    this.#sectorsPerTrack = this.#native.sectorsPerTrack;
  }

  get sectors(): number {
    return this.#sectors;
  }

  protected setSignature(): void {
    this.registers.setSignature(0, 0);
  }

  protected resetCommand(hard: boolean): void {
    this.#operation = 'none';
    this.#left = 0;
    this.#lba = 0;
    this.#power = 0xff;
    this.#multiple = MAX_MULTIPLE;
    if (hard) {
      this.#addressing = 'lba28';
      this.#blockSectors = 1;
      this.#heads = this.#native.heads;
      this.#sectorsPerTrack = this.#native.sectorsPerTrack;
      this.#mode = DEFAULT_MODE;
      this.#writeCache = true;
      this.#readAhead = true;
      this.#smart = true;
    }
  }

  protected override complete(): void {
    this.#operation = 'none';
    super.complete();
  }

  protected override fail(error: number = ERROR_ABRT, status = 0): void {
    this.#operation = 'none';
    super.fail(error, status);
  }

  protected execute(command: number): void {
    switch (command) {
      case 0x20: // READ SECTORS
      case 0x21: // (without retries)
        this.#start('pio-read', false, 1);
        return;
      case 0x24: // READ SECTORS EXT
        this.#start('pio-read', true, 1);
        return;
      case 0xc4: // READ MULTIPLE
        this.#startMultiple('pio-read', false);
        return;
      case 0x29: // READ MULTIPLE EXT
        this.#startMultiple('pio-read', true);
        return;
      case 0x30: // WRITE SECTORS
      case 0x31:
      case 0x3c: // WRITE VERIFY
        this.#start('pio-write', false, 1);
        return;
      case 0x34: // WRITE SECTORS EXT
        this.#start('pio-write', true, 1);
        return;
      case 0xc5: // WRITE MULTIPLE
        this.#startMultiple('pio-write', false);
        return;
      case 0x39: // WRITE MULTIPLE EXT
        this.#startMultiple('pio-write', true);
        return;
      case 0xc8: // READ DMA
      case 0xc9:
        this.#start('dma-read', false, 1);
        return;
      case 0x25: // READ DMA EXT
        this.#start('dma-read', true, 1);
        return;
      case 0xca: // WRITE DMA
      case 0xcb:
        this.#start('dma-write', false, 1);
        return;
      case 0x35: // WRITE DMA EXT
        this.#start('dma-write', true, 1);
        return;
      case 0x40: // READ VERIFY SECTORS
      case 0x41:
        this.#verify(false);
        return;
      case 0x42: // READ VERIFY SECTORS EXT
        this.#verify(true);
        return;
      case 0xe7: // FLUSH CACHE
      case 0xea: // FLUSH CACHE EXT
        this.#flush();
        return;
      case 0xec: // IDENTIFY DEVICE
        this.#reply(this.#identify());
        return;
      case 0xc6: // SET MULTIPLE MODE
        this.#setMultiple();
        return;
      case 0xef: // SET FEATURES
        this.#setFeatures();
        return;
      case 0x91: // INITIALIZE DEVICE PARAMETERS
        this.#initializeParameters();
        return;
      case 0xf8: // READ NATIVE MAX ADDRESS
      case 0x27: // READ NATIVE MAX ADDRESS EXT
        this.#nativeMax(command === 0x27);
        return;
      case 0xe0: // STANDBY IMMEDIATE
      case 0x94:
      case 0xe2: // STANDBY
      case 0x96:
      case 0xe6: // SLEEP
      case 0x99:
        this.#power = 0x00;
        this.complete();
        return;
      case 0xe1: // IDLE IMMEDIATE
      case 0x95:
      case 0xe3: // IDLE
      case 0x97:
        this.#power = 0x80;
        this.complete();
        return;
      case 0xe5: // CHECK POWER MODE
      case 0x98:
        this.registers.sectorCount = this.#power;
        this.complete();
        return;
      case 0xb0: // SMART
        this.#smartCommand();
        return;
      case 0x70: // SEEK
        this.#seek();
        return;
      case 0x00: // NOP: always ends with ABRT (8.24)
        this.fail();
        return;
      default:
        if (command >> 4 === 1) {
          this.complete();
          return; // RECALIBRATE
        }
        if (command !== 0xa1 && command !== 0x08) {
          this.#log.warn(`disk: command ${command.toString(16)}h is not implemented`);
        }
        this.fail();
        return;
    }
  }

  #identify(): Uint8Array {
    const perCylinder = this.#heads * this.#sectorsPerTrack;
    const native = this.#native;
    const total = Math.min(this.#sectors, native.cylinders * native.heads * native.sectorsPerTrack);
    return identifyDisk({
      sectors: this.#sectors,
      native,
      current: {
        cylinders: Math.min(0xffff, Math.floor(total / perCylinder)),
        heads: this.#heads,
        sectorsPerTrack: this.#sectorsPerTrack,
      },
      multiple: this.#multiple,
      mode: this.#mode,
      writeCache: this.#writeCache,
      readAhead: this.#readAhead,
      smart: this.#smart,
      serial: this.#config.serial,
      model: this.#config.model,
      slave: this.#config.slave,
    });
  }

  /** Hands 512 bytes to the host. */
  #reply(bytes: Uint8Array): void {
    this.#operation = 'reply';
    this.buffer.set(bytes);
    this.position = 0;
    this.filled = bytes.length;
    this.offerBlock(bytes.length);
    this.raiseInterrupt();
  }

  /** Reads the address and count of a command out of the registers; false (after failing it) when out of range. */
  #readAddress(ext: boolean, checkCount = true): boolean {
    const r = this.registers;
    let lba: number;
    let count = r.sectorCount || 256;
    if (ext) {
      this.#addressing = 'lba48';
      lba =
        (r.previousLbaHigh * 0x1_0000 + r.previousLbaMid * 0x100 + r.previousLbaLow) * 0x100_0000 +
        (r.lbaHigh << 16) +
        (r.lbaMid << 8) +
        r.lbaLow;
      count = (r.previousSectorCount << 8) | r.sectorCount || 0x1_0000;
    } else if (r.device & DEVICE_LBA) {
      this.#addressing = 'lba28';
      lba = ((r.device & 0xf) << 24) | (r.lbaHigh << 16) | (r.lbaMid << 8) | r.lbaLow;
    } else {
      this.#addressing = 'chs';
      const cylinder = (r.lbaHigh << 8) | r.lbaMid;
      const head = r.device & 0xf;
      // Sector 0 and heads or sectors beyond the logical geometry do not exist.
      lba =
        r.lbaLow === 0 || r.lbaLow > this.#sectorsPerTrack || head >= this.#heads
          ? this.#sectors
          : (cylinder * this.#heads + head) * this.#sectorsPerTrack + r.lbaLow - 1;
    }
    this.#lba = lba;
    this.#left = count;
    if (lba + (checkCount ? count : 1) > this.#sectors) {
      this.fail(ERROR_IDNF);
      return false;
    }
    return true;
  }

  /** Shows the present sector in the registers, in the way in which the command named it. */
  #writeAddress(): void {
    const r = this.registers;
    // During a read through the data port: the sector that comes next.
    const passed = this.#operation === 'pio-read' ? Math.floor(this.position / SECTOR) : 0;
    const lba = this.#lba + passed;
    const left = this.#left - passed;
    switch (this.#addressing) {
      case 'lba48':
        r.lbaLow = lba & 0xff;
        r.lbaMid = (lba >>> 8) & 0xff;
        r.lbaHigh = (lba >>> 16) & 0xff;
        r.previousLbaLow = Math.floor(lba / 0x100_0000) & 0xff;
        r.previousLbaMid = Math.floor(lba / 0x1_0000_0000) & 0xff;
        r.previousLbaHigh = Math.floor(lba / 0x100_0000_0000) & 0xff;
        r.previousSectorCount = (left >>> 8) & 0xff;
        break;
      case 'lba28':
        r.lbaLow = lba & 0xff;
        r.lbaMid = (lba >>> 8) & 0xff;
        r.lbaHigh = (lba >>> 16) & 0xff;
        r.device = (r.device & 0xf0) | ((lba >>> 24) & 0xf);
        break;
      case 'chs': {
        const track = Math.floor(lba / this.#sectorsPerTrack);
        const cylinder = Math.floor(track / this.#heads);
        r.lbaLow = (lba % this.#sectorsPerTrack) + 1;
        r.lbaMid = cylinder & 0xff;
        r.lbaHigh = (cylinder >>> 8) & 0xff;
        r.device = (r.device & 0xf0) | (track % this.#heads);
        break;
      }
    }
    r.sectorCount = left & 0xff;
  }

  #startMultiple(operation: Operation, ext: boolean): void {
    if (this.#multiple === 0) {
      this.fail();
      return;
    }
    this.#start(operation, ext, this.#multiple);
  }

  #start(operation: Operation, ext: boolean, blockSectors: number): void {
    this.#power = 0xff;
    if (!this.#readAddress(ext)) {
      return;
    }
    this.#operation = operation;
    this.#blockSectors = blockSectors;
    if (operation === 'pio-read' || operation === 'dma-read') {
      this.#fetch();
    } else {
      this.#collect(false);
    }
  }

  /** Bytes that pass through the buffer next. */
  #pieceBytes(): number {
    return Math.min(this.#left, BUFFER_SECTORS) * SECTOR;
  }

  /** Reads the next piece of the image into the buffer. */
  #fetch(): void {
    this.#config.onActivity?.('read');
    this.position = 0;
    this.filled = 0;
    this.submit(this.#backend, {
      kind: 'read',
      offset: this.#lba * SECTOR,
      buffer: this.buffer.subarray(0, this.#pieceBytes()),
    });
  }

  /** Has the host fill the buffer with the next piece; the first block of a command comes without an interrupt. */
  #collect(interrupt: boolean): void {
    if (this.#operation === 'dma-write') {
      this.startDma('dma-out', this.#pieceBytes());
      return;
    }
    this.position = 0;
    this.filled = this.#pieceBytes();
    this.requestBlock(this.#blockEndFrom(0));
    if (interrupt) {
      this.raiseInterrupt();
    }
  }

  #blockEndFrom(position: number): number {
    return Math.min(position + this.#blockSectors * SECTOR, this.filled);
  }

  /** Writes the buffer to the image. */
  #store(): void {
    this.#config.onActivity?.('write');
    this.submit(this.#backend, {
      kind: 'write',
      offset: this.#lba * SECTOR,
      buffer: this.buffer.subarray(0, this.filled),
    });
  }

  #flush(): void {
    this.#operation = 'flush';
    this.filled = 0;
    this.submit(this.#backend, { kind: 'flush' });
  }

  protected resubmit(): void {
    switch (this.#operation) {
      case 'pio-read':
      case 'dma-read':
        this.#fetch();
        return;
      case 'pio-write':
      case 'dma-write':
        this.#store();
        return;
      default:
        this.#flush();
    }
  }

  protected backendDone(error: BlockError | undefined): void {
    if (error !== undefined) {
      this.#log.warn(`disk: ${error.message}`);
      if (this.#operation !== 'flush') {
        this.#writeAddress();
      }
      if (this.#operation === 'pio-read' || this.#operation === 'dma-read') {
        this.fail(ERROR_UNC);
        return;
      }
      this.fail(ERROR_ABRT, STATUS_DF);
      return;
    }
    switch (this.#operation) {
      case 'pio-read':
        this.filled = this.#pieceBytes();
        this.offerBlock(this.#blockEndFrom(0));
        this.raiseInterrupt();
        return;
      case 'dma-read':
        this.startDma('dma-in', this.#pieceBytes());
        return;
      case 'pio-write':
      case 'dma-write':
        this.#advance(this.filled / SECTOR);
        if (this.#left === 0) {
          this.complete();
        } else {
          this.#collect(true);
        }
        return;
      default:
        this.complete();
    }
  }

  #advance(sectors: number): void {
    this.#lba += sectors;
    this.#left -= sectors;
    this.position = 0;
    this.#writeAddress();
  }

  protected blockRead(): void {
    if (this.#operation === 'pio-read') {
      if (this.position < this.filled) {
        this.#writeAddress();
        this.offerBlock(this.#blockEndFrom(this.position));
        this.raiseInterrupt();
        return;
      }
      this.#advance(this.filled / SECTOR);
      if (this.#left > 0) {
        this.#fetch();
        return;
      }
    }
    // The last block of a read ends the command without a further interrupt (9.5).
    this.#operation = 'none';
    this.registers.status = STATUS_IDLE;
  }

  protected blockWritten(): void {
    if (this.position < this.filled) {
      this.requestBlock(this.#blockEndFrom(this.position));
      this.raiseInterrupt();
      return;
    }
    this.#store();
  }

  protected dmaFinished(): void {
    if (this.#operation === 'dma-write') {
      this.#store();
      return;
    }
    this.#advance(this.filled / SECTOR);
    if (this.#left === 0) {
      this.complete();
    } else {
      this.#fetch();
    }
  }

  #verify(ext: boolean): void {
    this.#power = 0xff;
    if (this.#readAddress(ext)) {
      this.complete();
    }
  }

  #seek(): void {
    this.#power = 0xff;
    if (this.#readAddress(false, false)) {
      this.complete();
    }
  }

  #setMultiple(): void {
    const count = this.registers.sectorCount;
    if (count > MAX_MULTIPLE || (count & (count - 1)) !== 0) {
      this.fail();
      return;
    }
    this.#multiple = count;
    this.complete();
  }

  #initializeParameters(): void {
    const sectorsPerTrack = this.registers.sectorCount;
    if (sectorsPerTrack === 0) {
      this.fail();
      return;
    }
    this.#heads = (this.registers.device & 0xf) + 1;
    this.#sectorsPerTrack = sectorsPerTrack;
    this.complete();
  }

  #setFeatures(): void {
    const r = this.registers;
    switch (r.feature) {
      case 0x02:
        this.#writeCache = true;
        this.complete();
        return;
      case 0x82: // what is in the cache must reach the medium
        this.#writeCache = false;
        this.#flush();
        return;
      case 0x55:
        this.#readAhead = false;
        this.complete();
        return;
      case 0xaa:
        this.#readAhead = true;
        this.complete();
        return;
      case 0x03: {
        const mode = transferMode(r.sectorCount, this.#mode);
        if (mode === undefined) {
          this.fail();
          return;
        }
        this.#mode = mode;
        this.complete();
        return;
      }
      case 0x05: // advanced power management on and off
      case 0x85:
      case 0x42: // acoustic management on and off
      case 0xc2:
      case 0x66: // keep or drop the settings at a soft reset
      case 0xcc:
        this.complete();
        return;
      default:
        this.fail();
    }
  }

  #nativeMax(ext: boolean): void {
    this.#addressing = ext ? 'lba48' : 'lba28';
    this.#lba = Math.min(this.#sectors, ext ? this.#sectors : 0x1000_0000) - 1;
    this.#left = 0;
    const count = this.registers.sectorCount;
    this.#writeAddress();
    this.registers.sectorCount = count;
    this.complete();
  }

  /** SMART (8.54): can be switched, and always finds the disk in good health. */
  #smartCommand(): void {
    const r = this.registers;
    if (r.lbaMid !== 0x4f || r.lbaHigh !== 0xc2 || (!this.#smart && r.feature !== 0xd8)) {
      this.fail();
      return;
    }
    switch (r.feature) {
      case 0xd0: // READ DATA
      case 0xd1: {
        // READ ATTRIBUTE THRESHOLDS
        const data = new Uint8Array(512);
        data[0] = 1;
        data[511] = checksum(data, 511);
        this.#reply(data);
        return;
      }
      case 0xd2: // attribute autosave
      case 0xd4: // EXECUTE OFF-LINE IMMEDIATE
        this.complete();
        return;
      case 0xd8:
        this.#smart = true;
        this.complete();
        return;
      case 0xd9:
        this.#smart = false;
        this.complete();
        return;
      case 0xda: // RETURN STATUS: the keys unchanged mean that no threshold is exceeded
        this.complete();
        return;
      default:
        this.fail();
    }
  }

  save(): DiskState {
    return {
      drive: this.saveDrive(),
      operation: this.#operation,
      addressing: this.#addressing,
      lba: this.#lba,
      left: this.#left,
      blockSectors: this.#blockSectors,
      multiple: this.#multiple,
      heads: this.#heads,
      sectorsPerTrack: this.#sectorsPerTrack,
      multiword: this.#mode.multiword ?? null,
      ultra: this.#mode.ultra ?? null,
      writeCache: this.#writeCache,
      readAhead: this.#readAhead,
      smart: this.#smart,
      power: this.#power,
    };
  }

  /** Checks a saved state; what it returns can be given to {@link load}. */
  read(reader: StateReader): DiskState {
    const drive = IdeDrive.readDrive(reader.object('drive'));
    const operation = reader.oneOf('operation', OPERATIONS);
    const lba = reader.int('lba', 0, 2 ** 48);
    const left = reader.int('left', 0, 0x1_0000);
    const moving = operation !== 'none' && operation !== 'reply' && operation !== 'flush';
    const whole = Math.min(left, BUFFER_SECTORS) * SECTOR;
    if (moving && (left === 0 || lba + left > this.#sectors)) {
      reader.refuse(`a transfer of sectors ${lba}–${lba + left} is under way on a disk of ${this.#sectors}`);
    }
    // Which steps an operation goes through, and what its buffer then holds.
    const reading = operation === 'pio-read' || operation === 'dma-read';
    const fits =
      operation === 'none'
        ? drive.step === 'idle'
        : operation === 'reply'
          ? drive.step === 'data-in' && drive.buffer.length === SECTOR
          : operation === 'flush'
            ? drive.step === 'backend'
            : drive.step === 'backend'
              ? drive.buffer.length === (reading ? 0 : whole)
              : drive.buffer.length === whole &&
                drive.step ===
                  (
                    {
                      'pio-read': 'data-in',
                      'pio-write': 'data-out',
                      'dma-read': 'dma-in',
                      'dma-write': 'dma-out',
                    } as const
                  )[operation];
    if (!fits) {
      reader.refuse(`the operation '${operation}' cannot be at the step '${drive.step}'`);
    }
    return {
      drive,
      operation,
      addressing: reader.oneOf('addressing', ADDRESSINGS),
      lba,
      left,
      blockSectors: reader.int('blockSectors', 1, MAX_MULTIPLE),
      multiple: reader.int('multiple', 0, MAX_MULTIPLE),
      heads: reader.int('heads', 1, 16),
      sectorsPerTrack: reader.int('sectorsPerTrack', 1, 255),
      multiword: reader.has('multiword') ? reader.int('multiword', 0, HIGHEST_MULTIWORD) : null,
      ultra: reader.has('ultra') ? reader.int('ultra', 0, HIGHEST_ULTRA) : null,
      writeCache: reader.boolean('writeCache'),
      readAhead: reader.boolean('readAhead'),
      smart: reader.boolean('smart'),
      power: reader.u8('power'),
    };
  }

  load(state: DiskState): void {
    this.#operation = state.operation;
    this.#addressing = state.addressing;
    this.#lba = state.lba;
    this.#left = state.left;
    this.#blockSectors = state.blockSectors;
    this.#multiple = state.multiple;
    this.#heads = state.heads;
    this.#sectorsPerTrack = state.sectorsPerTrack;
    this.#mode = { multiword: state.multiword ?? undefined, ultra: state.ultra ?? undefined };
    this.#writeCache = state.writeCache;
    this.#readAhead = state.readAhead;
    this.#smart = state.smart;
    this.#power = state.power;
    this.loadDrive(state.drive);
  }

  describe(): string {
    const mib = Math.round((this.#sectors * SECTOR) / 1048576);
    return `disk ${this.#config.serial}, ${mib} MiB, ${this.#operation}/${this.step} at ${this.#lba}`;
  }
}
