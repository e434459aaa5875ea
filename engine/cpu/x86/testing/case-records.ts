/**
 * The state before or after a test case, as the native harness exchanges it: 840 bytes, little endian. x87 and XMM state
 * is an FXSAVE image (SDM 1, table 10-2), followed by the upper halves of the YMM registers.
 */
export const RECORD_SIZE = 840;
export const RECORD_RIP = 128;
export const RECORD_FLAGS = 136;
export const RECORD_VECTOR = 144;
export const RECORD_ERROR = 148;
export const RECORD_ADDRESS = 152;
export const RECORD_BITS = 160;
export const RECORD_TEMPLATE = 164;
export const RECORD_FX = 168;
export const RECORD_YMM_HIGH = 584;
export const FX_CONTROL = RECORD_FX;
export const FX_STATUS = RECORD_FX + 2;
export const FX_TAG = RECORD_FX + 4;
export const FX_MXCSR = RECORD_FX + 24;
export const FX_ST = RECORD_FX + 32;
export const FX_XMM = RECORD_FX + 160;

/** Where cases find memory; the harness and the emulated machine map the same. */
export const WINDOW = 0x10000000;
export const WINDOW_BYTES = 0x2000;
/** GS.base in 64-bit code. */
export const GS_BASE = WINDOW + WINDOW_BYTES / 2;
export const CODE = 0x20000000;
export const CODE_BYTES = 0x200000;
/** Bytes of code per case. The case starts at `CASE_START` in them; the rest stops it. */
export const CASE_BYTES = 64;
export const CASE_START = 8;
export const MAX_CASES = CODE_BYTES / CASE_BYTES - 1;
/** An address at which every case stops. */
export const STOP_ADDRESS = CODE + CODE_BYTES - CASE_BYTES;
/** Offsets in the window at which every template holds STOP_ADDRESS as a 64-bit value again and again. */
export const POINTERS_START = 0xc00;
export const POINTERS_END = 0xd00;

/** Exception vector with which a case ends when all its instructions were carried out. */
export const VECTOR_END = 3;

/** A number of cases: records and code, ready for the harness. */
export class Batch {
  readonly records: Uint8Array<ArrayBuffer>;
  readonly code: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
  count = 0;

  constructor(capacity: number = MAX_CASES) {
    this.records = new Uint8Array(capacity * RECORD_SIZE);
    this.code = new Uint8Array(capacity * CASE_BYTES);
    this.view = new DataView(this.records.buffer);
  }

  record(index: number): Uint8Array<ArrayBuffer> {
    return this.records.subarray(index * RECORD_SIZE, (index + 1) * RECORD_SIZE);
  }

  codeOf(index: number): Uint8Array<ArrayBuffer> {
    return this.code.subarray(index * CASE_BYTES, (index + 1) * CASE_BYTES);
  }
}

/** Linear address of the first instruction of case `index`. */
export function caseAddress(index: number): number {
  return CODE + index * CASE_BYTES + CASE_START;
}
