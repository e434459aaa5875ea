import type { BlockError } from '../../backends/block/block-backend.ts';
import type { BlockLane } from '../block-lane.ts';

/** Sense keys, and additional sense codes with their qualifier in the low byte (SPC-4, 4.5.6 and annex F). */
export const SENSE_NOT_READY = 2;
export const SENSE_MEDIUM_ERROR = 3;
export const SENSE_ILLEGAL_REQUEST = 5;
export const SENSE_UNIT_ATTENTION = 6;
export const SENSE_DATA_PROTECT = 7;
export const ASC_WRITE_ERROR = 0x0c00;
export const ASC_UNRECOVERED_READ = 0x1100;
export const ASC_PARAMETER_LIST_LENGTH = 0x1a00;
export const ASC_INVALID_OPCODE = 0x2000;
export const ASC_LBA_OUT_OF_RANGE = 0x2100;
export const ASC_INVALID_FIELD = 0x2400;
export const ASC_LUN_NOT_SUPPORTED = 0x2500;
export const ASC_INVALID_PARAMETER = 0x2600;
export const ASC_WRITE_PROTECTED = 0x2700;
export const ASC_NO_SPACE = 0x2707;
export const ASC_MEDIUM_CHANGED = 0x2800;
export const ASC_POWER_ON = 0x2900;
export const ASC_SAVING_NOT_SUPPORTED = 0x3900;

/** One command on its way through a logical unit. Exactly one of `good`, `check`, `overrun` ends it. */
export interface ScsiTask {
  /** The command, padded with zeros to 32 bytes. */
  readonly cdb: DataView;
  /** Bytes that the initiator sends, and has room for. */
  readonly outBytes: number;
  readonly inBytes: number;
  /** Copies what the initiator sends, from `offset` on. */
  readOut(offset: number, into: Uint8Array): void;
  /** Answers with data, at most `allocated` bytes of them, and ends well. */
  reply(bytes: Uint8Array, allocated: number): void;
  /** Ends well after `bytes` were transferred. */
  good(bytes?: number): void;
  /** Ends with CHECK CONDITION. */
  check(key: number, asc: number): void;
  /** The command asks for more data than the initiator has buffers for. */
  overrun(): void;
  /** Moves `length` bytes between the initiator and `lane` at `offset`, then calls `done`; both in bytes. */
  transfer(
    kind: 'read' | 'write',
    lane: BlockLane,
    offset: number,
    length: number,
    done: (error: BlockError | undefined) => void,
    fill?: (bytes: Uint8Array, at: number) => void,
  ): void;
  /** False after an abort or reset. */
  alive(): boolean;
}

/** REQUEST SENSE and autosense in fixed format (SPC-4, 4.5.3). */
export function senseData(key: number, asc: number): Uint8Array {
  const bytes = new Uint8Array(18);
  bytes[0] = 0x70;
  bytes[2] = key;
  bytes[7] = 10;
  bytes[12] = asc >> 8;
  bytes[13] = asc & 0xff;
  return bytes;
}

/** Ends a task that failed on the host. */
export function failOnHost(task: ScsiTask, error: BlockError, writing: boolean): void {
  switch (error.code) {
    case 'no-space':
      task.check(SENSE_DATA_PROTECT, ASC_NO_SPACE);
      break;
    case 'read-only':
      task.check(SENSE_DATA_PROTECT, ASC_WRITE_PROTECTED);
      break;
    case 'out-of-range':
      task.check(SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
      break;
    case 'io':
      task.check(SENSE_MEDIUM_ERROR, writing ? ASC_WRITE_ERROR : ASC_UNRECOVERED_READ);
  }
}
