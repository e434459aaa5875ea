import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import {
  ASC_INVALID_FIELD,
  ASC_INVALID_OPCODE,
  ASC_POWER_ON,
  type ScsiTask,
  SENSE_ILLEGAL_REQUEST,
  SENSE_UNIT_ATTENTION,
  senseData,
} from './scsi-task.ts';

const TEST_UNIT_READY = 0x00;
const REQUEST_SENSE = 0x03;
const INQUIRY = 0x12;

export interface UnitIdentity {
  /** Peripheral device type: 0 disk, 5 CD-ROM. */
  readonly type: number;
  readonly removable: boolean;
  /** At most 16 characters. */
  readonly product: string;
  /** At most 20 characters. */
  readonly serial: string;
}

/** A logical unit of a SCSI target: what all kinds have in common (SPC-4). */
export abstract class ScsiUnit {
  readonly identity: UnitIdentity;
  /** Something that the next command is to hear of: an additional sense code, or 0. */
  attention = ASC_POWER_ON;

  constructor(identity: UnitIdentity) {
    this.identity = identity;
  }

  /** Carries out a command; what is common is done, the rest goes to `run`. */
  execute(task: ScsiTask): void {
    const opcode = task.cdb.getUint8(0);
    if (opcode === INQUIRY) {
      this.#inquiry(task);
      return;
    }
    const { attention } = this;
    if (opcode === REQUEST_SENSE) {
      this.attention = 0;
      task.reply(senseData(attention === 0 ? 0 : SENSE_UNIT_ATTENTION, attention), task.cdb.getUint8(4));
      return;
    }
    if (attention !== 0) {
      this.attention = 0;
      task.check(SENSE_UNIT_ATTENTION, attention);
      return;
    }
    this.run(task, opcode);
  }

  /** Commands other than INQUIRY, REQUEST SENSE and REPORT LUNS. */
  protected abstract run(task: ScsiTask, opcode: number): void;
  /** Vital product data of this kind of unit: the bytes behind the header, or undefined. */
  protected abstract vitalPage(page: number): Uint8Array | undefined;
  protected abstract readonly vitalPages: readonly number[];
  /** Requests under way end before new ones start. */
  abstract fence(): void;

  /** Power-on, or a reset by the initiator. */
  reset(): void {
    this.fence();
    this.attention = ASC_POWER_ON;
  }

  protected unknown(task: ScsiTask, opcode: number): void {
    if (opcode === TEST_UNIT_READY) {
      task.good();
    } else {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
    }
  }

  /** INQUIRY (SPC-4, 6.4). */
  #inquiry(task: ScsiTask): void {
    const { cdb } = task;
    const allocated = cdb.getUint16(3);
    const page = cdb.getUint8(2);
    const { type, removable, product, serial } = this.identity;
    if ((cdb.getUint8(1) & 1) === 0) {
      if (page !== 0) {
        task.check(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
        return;
      }
      const bytes = new Uint8Array(36);
      bytes.set([type, removable ? 0x80 : 0, 5, 0x12, 31, 0, 0, 0x02]);
      text(bytes, 8, 8, 'LODGE');
      text(bytes, 16, 16, product);
      text(bytes, 32, 4, '1.0');
      task.reply(bytes, allocated);
      return;
    }
    const contents = this.#commonPage(page, serial) ?? this.vitalPage(page);
    if (contents === undefined) {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
      return;
    }
    const bytes = new Uint8Array(4 + contents.length);
    bytes.set([type, page, contents.length >> 8, contents.length & 0xff]);
    bytes.set(contents, 4);
    task.reply(bytes, allocated);
  }

  #commonPage(page: number, serial: string): Uint8Array | undefined {
    switch (page) {
      case 0x00:
        return Uint8Array.of(0x00, 0x80, 0x83, ...this.vitalPages);
      case 0x80:
        return new TextEncoder().encode(serial);
      case 0x83: {
        // One designator: ASCII, T10 vendor identification (SPC-4, 7.8.6.4).
        const name = new TextEncoder().encode(`LODGE   ${serial}`);
        return Uint8Array.of(0x02, 0x01, 0, name.length, ...name);
      }
      default:
        return undefined;
    }
  }

  save(): StateValue {
    return { attention: this.attention };
  }

  /** Reads what `save` gave and checks it; the result applies it. */
  load(reader: StateReader): () => void {
    const attention = reader.u16('attention');
    return () => {
      this.fence();
      this.attention = attention;
    };
  }

  abstract describe(): string;
}

function text(bytes: Uint8Array, offset: number, length: number, value: string): void {
  for (let i = 0; i < length; i++) {
    bytes[offset + i] = value.charCodeAt(i) || 0x20;
  }
}
