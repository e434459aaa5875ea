import type { StateReader } from '../state.ts';

/** Status register bits (ATA/ATAPI-6, 7.15). */
export const STATUS_ERR = 0x01;
export const STATUS_DRQ = 0x08;
/** Drive seek complete; "service" in PACKET devices. */
export const STATUS_DSC = 0x10;
export const STATUS_DF = 0x20;
export const STATUS_DRDY = 0x40;
export const STATUS_BSY = 0x80;
/** What an idle drive shows. */
export const STATUS_IDLE = STATUS_DRDY | STATUS_DSC;

/** Error register bits (ATA/ATAPI-6, 7.9). */
export const ERROR_ABRT = 0x04;
export const ERROR_IDNF = 0x10;
export const ERROR_UNC = 0x40;

/** Device register: bit 4 selects device 1, bit 6 says that the address is an LBA. Bits 7 and 5 read as ones. */
export const DEVICE_DEV = 0x10;
export const DEVICE_LBA = 0x40;
export const DEVICE_FIXED = 0xa0;

/** Device control register (ATA/ATAPI-6, 7.8). */
export const CONTROL_NIEN = 0x02;
export const CONTROL_SRST = 0x04;
export const CONTROL_HOB = 0x80;

/** Offsets in the command block; at 1 Features is written and Error read, at 7 Command written and Status read. */
export const REG_DATA = 0;
export const REG_ERROR = 1;
export const REG_SECTOR_COUNT = 2;
export const REG_LBA_LOW = 3;
export const REG_LBA_MID = 4;
export const REG_LBA_HIGH = 5;
export const REG_DEVICE = 6;
export const REG_STATUS = 7;

const FIELDS = [
  'status',
  'error',
  'feature',
  'sectorCount',
  'lbaLow',
  'lbaMid',
  'lbaHigh',
  'device',
  'previousFeature',
  'previousSectorCount',
  'previousLbaLow',
  'previousLbaMid',
  'previousLbaHigh',
] as const;

export type TaskFileState = { [field in (typeof FIELDS)[number]]: number };

/**
 * The command block registers of one drive. Both drives of a channel see every write; for 48-bit addresses the five
 * registers 1–5 are two bytes deep, the older byte being `previous…` (ATA/ATAPI-6, 6.20).
 */
export class TaskFile implements TaskFileState {
  status = 0;
  error = 0;
  feature = 0;
  sectorCount = 0;
  lbaLow = 0;
  lbaMid = 0;
  lbaHigh = 0;
  device = 0;
  previousFeature = 0;
  previousSectorCount = 0;
  previousLbaLow = 0;
  previousLbaMid = 0;
  previousLbaHigh = 0;

  /** A host write to register 1–6. */
  write(register: number, value: number): void {
    switch (register) {
      case REG_ERROR:
        this.previousFeature = this.feature;
        this.feature = value;
        break;
      case REG_SECTOR_COUNT:
        this.previousSectorCount = this.sectorCount;
        this.sectorCount = value;
        break;
      case REG_LBA_LOW:
        this.previousLbaLow = this.lbaLow;
        this.lbaLow = value;
        break;
      case REG_LBA_MID:
        this.previousLbaMid = this.lbaMid;
        this.lbaMid = value;
        break;
      case REG_LBA_HIGH:
        this.previousLbaHigh = this.lbaHigh;
        this.lbaHigh = value;
        break;
      case REG_DEVICE:
        this.device = value;
        break;
    }
  }

  /** A host read of register 1–5; `previous` selects the older byte. */
  read(register: number, previous: boolean): number {
    switch (register) {
      case REG_ERROR:
        return previous ? this.previousFeature : this.error;
      case REG_SECTOR_COUNT:
        return previous ? this.previousSectorCount : this.sectorCount;
      case REG_LBA_LOW:
        return previous ? this.previousLbaLow : this.lbaLow;
      case REG_LBA_MID:
        return previous ? this.previousLbaMid : this.lbaMid;
      case REG_LBA_HIGH:
        return previous ? this.previousLbaHigh : this.lbaHigh;
      default:
        return 0xff;
    }
  }

  /** The values after a reset, by which a host tells what kind of drive this is (ATA/ATAPI-6, 9.12). */
  setSignature(lbaMid: number, lbaHigh: number): void {
    this.sectorCount = 1;
    this.lbaLow = 1;
    this.lbaMid = lbaMid;
    this.lbaHigh = lbaHigh;
    this.device = 0;
  }

  /** Power-on values, before the signature is set. */
  clear(): void {
    for (const field of FIELDS) {
      this[field] = 0;
    }
  }

  save(): TaskFileState {
    const state: Partial<TaskFileState> = {};
    for (const field of FIELDS) {
      state[field] = this[field];
    }
    return state as TaskFileState;
  }

  static read(reader: StateReader): TaskFileState {
    const state: Partial<TaskFileState> = {};
    for (const field of FIELDS) {
      state[field] = reader.u8(field);
    }
    return state as TaskFileState;
  }

  load(state: TaskFileState): void {
    for (const field of FIELDS) {
      this[field] = state[field];
    }
  }
}
