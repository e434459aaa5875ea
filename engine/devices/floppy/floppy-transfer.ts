import type { BlockError } from '../../backends/block/block-backend.ts';
import type { Log } from '../../base/log.ts';
import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { DmaChannel } from '../dma/dma-channel.ts';
import type { StateReader } from '../state.ts';
import type { FloppyDrive } from './floppy-drive.ts';

/** Status register 0. */
const ST0_ABNORMAL = 0x40;
/** Status register 1. */
const ST1_END_OF_CYLINDER = 0x80;
const ST1_DATA_ERROR = 0x20;
const ST1_OVERRUN = 0x10;
const ST1_NO_DATA = 0x04;
const ST1_NOT_WRITABLE = 0x02;
const ST1_MISSING_MARK = 0x01;
/** Status register 2. */
export const ST2_CONTROL_MARK = 0x40;
const ST2_DATA_ERROR = 0x20;
const ST2_WRONG_CYLINDER = 0x10;
/** While the DMA channel is not ready the data is offered again, for one revolution of the disk. */
const DMA_RETRY_NANOS = 1_000_000;
const DMA_RETRIES = 200;

const SECTOR = 512;
/** One side of a track of the largest format. */
const BUFFER_BYTES = 36 * SECTOR;

const OPERATIONS = ['read', 'write', 'verify', 'format', 'read-id'] as const;
export type Operation = (typeof OPERATIONS)[number];

/**
 * - `start`: the alarm is set that begins the command
 * - `backend`: the image is at work
 * - `dma`: the DMA channel takes or gives the buffer (the alarm is set while it is not ready)
 * - `pio`: the host reads or writes the buffer through the FIFO
 */
const STEPS = ['start', 'backend', 'dma', 'pio'] as const;
type Step = (typeof STEPS)[number];

/** A command in its execution phase. */
export type Transfer = {
  operation: Operation;
  step: Step;
  drive: number;
  head: number;
  cylinder: number;
  sector: number;
  /** N of the command: sectors of 128 × 2^N bytes; only 2 exists on PC media. */
  sizeCode: number;
  endOfTrack: number;
  multiTrack: boolean;
  /** VERIFY with a count: sectors left; otherwise 0. */
  count: number;
  /** FORMAT: the byte that sectors are filled with. */
  fill: number;
  st2: number;
  /** The data of the buffer: next byte, end, and whether terminal count ends the command with it. */
  position: number;
  filled: number;
  last: boolean;
  retries: number;
};

export type TransferState = Omit<Transfer, 'filled'> & { buffer: Uint8Array; deadline: Nanos | null };

/** What the execution phase needs of the controller. */
export interface TransferHost {
  readonly drives: readonly (FloppyDrive | undefined)[];
  readonly dma: DmaChannel;
  readonly clock: Clock;
  readonly log: Log;
  /** The selected data rate. */
  readonly rate: number;
  /** SPECIFY has chosen transfers through the FIFO. */
  readonly nonDma: boolean;
  /** DOR lets DMA requests and interrupts through. */
  readonly dmaGate: boolean;
  setInterrupt(pending: boolean): void;
  /** The execution phase is over: these bytes are the result. */
  finished(result: number[]): void;
}

/**
 * The execution phase of the commands that move data: sectors between the image and the buffer, and the buffer
 * between this and the host by DMA or through the FIFO, one side of a track at a time.
 */
export class FloppyExecution {
  readonly #host: TransferHost;
  readonly #alarm: Alarm;
  #transfer: Transfer | undefined;
  #buffer = new Uint8Array(BUFFER_BYTES);
  /** Counts abandoned requests: completions of an older generation are ignored. */
  #generation = 0;
  #borrowed = false;
  /** The sector that READ ID has seen last: the disk turns. */
  nextId = 1;

  constructor(host: TransferHost) {
    this.#host = host;
    this.#alarm = host.clock.createAlarm(() => this.#execute());
  }

  get active(): boolean {
    return this.#transfer !== undefined;
  }

  /** What the host may do with the FIFO. */
  get direction(): 'none' | 'to-host' | 'from-host' {
    if (this.#transfer?.step !== 'pio') {
      return 'none';
    }
    return this.#transfer.operation === 'read' ? 'to-host' : 'from-host';
  }

  /** Begins a command at `deadline`. */
  start(transfer: Transfer, deadline: Nanos): void {
    this.#transfer = transfer;
    this.#alarm.set(deadline);
  }

  readByte(): number {
    const transfer = this.#transfer;
    if (transfer === undefined || this.direction !== 'to-host') {
      return 0xff;
    }
    const value = this.#buffer[transfer.position++] ?? 0xff;
    this.#bytePassed(transfer);
    return value;
  }

  writeByte(value: number): void {
    const transfer = this.#transfer;
    if (transfer !== undefined && this.direction === 'from-host') {
      this.#buffer[transfer.position++] = value;
      this.#bytePassed(transfer);
    }
  }

  #bytePassed(transfer: Transfer): void {
    if (transfer.position >= transfer.filled) {
      this.#host.setInterrupt(false);
      this.#dataDone(transfer);
    }
  }

  /** The disk is taken out of a drive: a command that uses it ends as if its marks were gone. */
  mediumRemoved(drive: number): void {
    const transfer = this.#transfer;
    if (transfer?.drive === drive && transfer.step !== 'start') {
      this.cancel();
      this.#finish(transfer, ST0_ABNORMAL, ST1_MISSING_MARK, 0);
    }
  }

  /** The alarm: a command begins, or the DMA channel is asked again. */
  #execute(): void {
    const transfer = this.#transfer;
    if (transfer?.step === 'dma') {
      this.#moveDma(transfer);
    } else if (transfer?.step === 'start') {
      this.#begin(transfer);
    }
  }

  #begin(transfer: Transfer): void {
    const drive = this.#host.drives[transfer.drive];
    const format = drive?.format;
    // Without a disk, at a rate that is not its own, or on a side that it does not have, no mark is ever found.
    if (drive?.medium === undefined || format === undefined || !format.rates.includes(this.#host.rate)) {
      this.#finish(transfer, ST0_ABNORMAL, ST1_MISSING_MARK, 0);
      return;
    }
    if (transfer.head >= format.heads || drive.track >= format.cylinders) {
      this.#finish(transfer, ST0_ABNORMAL, ST1_MISSING_MARK, 0);
      return;
    }
    const writes = transfer.operation === 'write' || transfer.operation === 'format';
    if (writes && drive.medium.readOnly) {
      this.#finish(transfer, ST0_ABNORMAL, ST1_NOT_WRITABLE, 0);
      return;
    }
    if (transfer.operation === 'read-id') {
      transfer.sector = (this.nextId % format.sectorsPerTrack) + 1;
      this.nextId = transfer.sector;
      this.#finish(transfer, 0, 0, 0);
      return;
    }
    if (transfer.operation === 'format') {
      if (transfer.sizeCode !== 2 || transfer.endOfTrack === 0 || transfer.endOfTrack > format.sectorsPerTrack) {
        this.#finish(transfer, ST0_ABNORMAL, ST1_NO_DATA, 0);
        return;
      }
      // Four bytes come for each sector: its cylinder, head, number and size.
      this.#offer(transfer, transfer.endOfTrack * 4);
      return;
    }
    if (transfer.cylinder !== drive.track) {
      this.#finish(transfer, ST0_ABNORMAL, ST1_NO_DATA, ST2_WRONG_CYLINDER);
      return;
    }
    this.#nextPiece(transfer);
  }

  /** Sectors from the present one to the end of this side of the track; 0 when the present one does not exist. */
  #pieceSectors(transfer: Transfer): number {
    const format = this.#host.drives[transfer.drive]?.format;
    if (format === undefined || transfer.sizeCode !== 2 || transfer.sector === 0) {
      return 0;
    }
    const last = Math.min(transfer.endOfTrack, format.sectorsPerTrack);
    let sectors = Math.max(0, last - transfer.sector + 1);
    if (transfer.count > 0) {
      sectors = Math.min(sectors, transfer.count);
    }
    const dma = transfer.operation === 'read' || transfer.operation === 'write' ? !this.#host.nonDma : false;
    if (dma && this.#host.dma.ready) {
      // No more than the host is going to take.
      sectors = Math.min(sectors, Math.max(1, Math.ceil(this.#host.dma.remaining / SECTOR)));
    }
    return sectors;
  }

  #nextPiece(transfer: Transfer): void {
    const sectors = this.#pieceSectors(transfer);
    if (sectors === 0) {
      this.#finish(transfer, ST0_ABNORMAL, ST1_NO_DATA, 0);
      return;
    }
    if (transfer.operation === 'write') {
      this.#offer(transfer, sectors * SECTOR);
      return;
    }
    transfer.position = 0;
    transfer.filled = sectors * SECTOR;
    this.#submit(transfer);
  }

  /** Starts moving `bytes` bytes between the buffer and the host. */
  #offer(transfer: Transfer, bytes: number): void {
    transfer.position = 0;
    transfer.filled = bytes;
    transfer.retries = 0;
    if (this.#host.nonDma) {
      transfer.step = 'pio';
      this.#host.setInterrupt(true);
    } else {
      transfer.step = 'dma';
      this.#moveDma(transfer);
    }
  }

  #moveDma(transfer: Transfer): void {
    if (this.#host.dmaGate) {
      const rest = this.#buffer.subarray(transfer.position, transfer.filled);
      this.#host.dma.request(true);
      const { transferred, terminalCount } =
        transfer.operation === 'read' ? this.#host.dma.transferToMemory(rest) : this.#host.dma.transferFromMemory(rest);
      this.#host.dma.request(false);
      transfer.position += transferred;
      transfer.last = terminalCount;
    }
    if (transfer.last || transfer.position >= transfer.filled) {
      this.#dataDone(transfer);
    } else if (++transfer.retries > DMA_RETRIES) {
      this.#finish(transfer, ST0_ABNORMAL, ST1_OVERRUN, 0);
    } else {
      this.#alarm.set(this.#host.clock.now() + DMA_RETRY_NANOS);
    }
  }

  /** The buffer, or all of it that the host wants, has been moved. */
  #dataDone(transfer: Transfer): void {
    switch (transfer.operation) {
      case 'write':
        // The rest of a sector that terminal count cut off is written as zeros (section 5.1.3).
        transfer.filled = Math.max(SECTOR, Math.ceil(transfer.position / SECTOR) * SECTOR);
        this.#buffer.fill(0, transfer.position, transfer.filled);
        this.#submit(transfer);
        break;
      case 'format':
        this.#formatTrack(transfer);
        break;
      default:
        this.#advance(transfer);
    }
  }

  /** Writes the sectors named by the identifications in the buffer, in whatever order they come. */
  #formatTrack(transfer: Transfer): void {
    const drive = this.#host.drives[transfer.drive];
    const numbers = new Set<number>();
    for (let at = 0; at + 4 <= transfer.position; at += 4) {
      const [cylinder, head, sector = 0, sizeCode] = this.#buffer.subarray(at, at + 4);
      transfer.sector = sector;
      if (cylinder !== drive?.track || head !== transfer.head || sizeCode !== 2) {
        this.#finish(transfer, ST0_ABNORMAL, ST1_NO_DATA, 0);
        return;
      }
      numbers.add(sector);
    }
    const first = Math.min(...numbers);
    const last = Math.max(...numbers);
    // Every sector has its place in the image: a layout with gaps or other numbers cannot be stored there.
    const fits = first >= 1 && last <= (drive?.format?.sectorsPerTrack ?? 0) && last - first + 1 === numbers.size;
    if (!fits) {
      this.#finish(transfer, ST0_ABNORMAL, ST1_NO_DATA, 0);
      return;
    }
    transfer.sector = first;
    transfer.filled = numbers.size * SECTOR;
    this.#buffer.fill(transfer.fill, 0, transfer.filled);
    this.#submit(transfer);
  }

  /** Reads or writes `filled` bytes of the buffer at the present sector. */
  #submit(transfer: Transfer): void {
    const drive = this.#host.drives[transfer.drive];
    const offset = drive?.offsetOf(transfer.head, transfer.sector);
    if (drive?.medium === undefined || offset === undefined) {
      this.#finish(transfer, ST0_ABNORMAL, ST1_NO_DATA, 0);
      return;
    }
    const writes = transfer.operation === 'write' || transfer.operation === 'format';
    transfer.step = 'backend';
    drive.noteActivity(writes ? 'write' : 'read');
    const generation = this.#generation;
    const done = (error?: BlockError) => {
      if (generation === this.#generation) {
        this.#borrowed = false;
        this.#generation++;
        this.#backendDone(transfer, error);
      }
    };
    const data = this.#buffer.subarray(0, transfer.filled);
    this.#borrowed = true;
    drive.submit(writes ? 'write' : 'read', offset, data, done);
  }

  #backendDone(transfer: Transfer, error: BlockError | undefined): void {
    if (error !== undefined) {
      this.#host.log.warn(`floppy: ${error.message}`);
      this.#finish(transfer, ST0_ABNORMAL, ST1_DATA_ERROR, ST2_DATA_ERROR);
      return;
    }
    switch (transfer.operation) {
      case 'read':
        this.#offer(transfer, transfer.filled);
        break;
      case 'format':
        transfer.sector += transfer.filled / SECTOR - 1;
        this.#finish(transfer, 0, 0, 0);
        break;
      default:
        transfer.position = transfer.filled;
        this.#advance(transfer);
    }
  }

  /** The sectors of the buffer are done: on to the next ones, the other side, or the end (table 5-5). */
  #advance(transfer: Transfer): void {
    const done = Math.max(1, Math.ceil(transfer.position / SECTOR));
    const last = transfer.sector + done - 1;
    const counted = transfer.count > 0;
    if (counted) {
      transfer.count -= done;
    }
    const format = this.#host.drives[transfer.drive]?.format;
    const side = transfer.multiTrack && transfer.head === 0 && format?.heads === 2;
    const endOfTrack = last >= transfer.endOfTrack;
    // Where the next sector would be is also what the result says.
    const head = endOfTrack && transfer.multiTrack ? transfer.head ^ 1 : transfer.head;
    transfer.sector = endOfTrack ? 1 : last + 1;
    if (endOfTrack && !side) {
      transfer.cylinder = (transfer.cylinder + 1) & 0xff;
    }
    if (transfer.last || (counted && transfer.count === 0)) {
      this.#finish(transfer, 0, 0, transfer.st2, head);
    } else if (!endOfTrack || side) {
      transfer.head = head;
      this.#nextPiece(transfer);
    } else if (counted || (!this.#host.nonDma && transfer.operation !== 'verify')) {
      // The end of the cylinder came before terminal count, or before the count of VERIFY ran out.
      this.#finish(transfer, ST0_ABNORMAL, ST1_END_OF_CYLINDER, transfer.st2, head);
    } else {
      this.#finish(transfer, 0, 0, transfer.st2, head);
    }
  }

  /** Enters the result phase with an interrupt. */
  #finish(transfer: Transfer, st0: number, st1: number, st2: number, head = transfer.head): void {
    this.#transfer = undefined;
    this.#alarm.cancel();
    this.#host.finished([
      st0 | ((transfer.head & 1) << 2) | transfer.drive,
      st1,
      st2,
      transfer.cylinder,
      head,
      transfer.sector,
      transfer.sizeCode,
    ]);
  }

  /** Ends the command without a result. A buffer that the image still holds is left to it. */
  cancel(): void {
    this.#transfer = undefined;
    this.#alarm.cancel();
    this.#generation++;
    if (this.#borrowed) {
      this.#borrowed = false;
      this.#buffer = new Uint8Array(BUFFER_BYTES);
    }
  }

  save(): TransferState | null {
    const transfer = this.#transfer;
    if (transfer === undefined) {
      return null;
    }
    const { filled, ...fields } = transfer;
    return { ...fields, buffer: this.#buffer.slice(0, filled), deadline: this.#alarm.deadline ?? null };
  }

  /** Checks a saved state; what it returns can be given to {@link load}. */
  static read(reader: StateReader): TransferState {
    const buffer = reader.bytes('buffer', undefined, BUFFER_BYTES);
    const fields: Transfer = {
      operation: reader.oneOf('operation', OPERATIONS),
      step: reader.oneOf('step', STEPS),
      drive: reader.int('drive', 0, 3),
      head: reader.u8('head'),
      cylinder: reader.u8('cylinder'),
      sector: reader.int('sector', 0, 256),
      sizeCode: reader.u8('sizeCode'),
      endOfTrack: reader.u8('endOfTrack'),
      multiTrack: reader.boolean('multiTrack'),
      count: reader.int('count', 0, 256),
      fill: reader.u8('fill'),
      st2: reader.u8('st2'),
      position: reader.int('position', 0, buffer.length),
      filled: buffer.length,
      last: reader.boolean('last'),
      retries: reader.int('retries', 0, DMA_RETRIES),
    };
    const deadline = reader.optionalNanos('deadline') ?? null;
    if ((fields.step === 'start') !== (deadline !== null) && fields.step !== 'dma') {
      reader.refuse('the alarm does not fit the step');
    }
    const moving = fields.step === 'dma' || fields.step === 'pio';
    if (moving && fields.position >= fields.filled) {
      reader.refuse('a transfer is under way but has nothing left to move');
    }
    if (fields.step === 'backend' && (fields.filled === 0 || fields.filled % SECTOR !== 0)) {
      reader.refuse('a request to the image is not whole sectors');
    }
    return { ...fields, buffer, deadline };
  }

  load(state: TransferState | null): void {
    this.cancel();
    if (state === null) {
      return;
    }
    const { buffer, deadline, ...fields } = state;
    const transfer = { ...fields, filled: buffer.length };
    this.#transfer = transfer;
    this.#buffer.set(buffer);
    if (deadline !== null) {
      this.#alarm.set(deadline);
    }
    if (transfer.step === 'backend') {
      this.#submit(transfer);
    }
  }

  dispose(): void {
    this.cancel();
    this.#alarm.dispose();
  }

  describe(): string {
    const transfer = this.#transfer;
    return transfer === undefined
      ? 'none'
      : `${transfer.operation}/${transfer.step} at ${transfer.cylinder}/${transfer.head}/${transfer.sector}`;
  }
}
