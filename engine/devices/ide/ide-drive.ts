import type { BlockBackend, BlockError, BlockRequest } from '../../backends/block/block-backend.ts';
import type { StateReader } from '../state.ts';
import type { BusMaster } from './bus-master.ts';
import {
  ERROR_ABRT,
  STATUS_BSY,
  STATUS_DRQ,
  STATUS_ERR,
  STATUS_IDLE,
  TaskFile,
  type TaskFileState,
} from './task-file.ts';

/** What a drive needs of the cable it hangs on. */
export interface DriveBus {
  readonly busMaster: BusMaster;
  /** The drive's INTRQ has changed. */
  interruptChanged(): void;
}

/**
 * What a drive is doing:
 * - `idle`: nothing
 * - `data-in`, `data-out`: DRQ is set and the host moves a block through the data port
 * - `dma-in`, `dma-out`: the bus master moves the buffer to or from memory
 * - `backend`: a request to the image is under way and BSY is set
 */
export const DRIVE_STEPS = ['idle', 'data-in', 'data-out', 'dma-in', 'dma-out', 'backend'] as const;
export type DriveStep = (typeof DRIVE_STEPS)[number];

/** Size of a drive's buffer in bytes: long transfers pass through it in pieces. */
export const BUFFER_BYTES = 128 * 1024;

export type DriveState = {
  registers: TaskFileState;
  interrupt: boolean;
  step: DriveStep;
  position: number;
  blockEnd: number;
  buffer: Uint8Array;
};

/**
 * The part that disks and CD-ROM drives share: registers, interrupt, the buffer with the data port and the DMA engine
 * at its host side and the image at the other.
 */
export abstract class IdeDrive {
  readonly registers = new TaskFile();
  protected readonly bus: DriveBus;
  protected buffer = new Uint8Array(BUFFER_BYTES);
  protected step: DriveStep = 'idle';
  /** Next byte that the host moves. */
  protected position = 0;
  /** End of the block for which DRQ is set. */
  protected blockEnd = 0;
  /** Bytes of the buffer that belong to the transfer. */
  protected filled = 0;
  #interrupt = false;
  /** Counts abandoned requests: completions of an older generation are ignored. */
  #generation = 0;
  #borrowed = false;

  constructor(bus: DriveBus) {
    this.bus = bus;
  }

  /** Starts a command (any byte but EXECUTE DEVICE DIAGNOSTIC, which belongs to the channel). */
  protected abstract execute(command: number): void;
  /** Sets the registers as after a reset. */
  protected abstract setSignature(): void;
  /** Hook of every kind of reset: forget the command. `hard` is power-on or the reset line. */
  protected abstract resetCommand(hard: boolean): void;
  /** The host has read the block. */
  protected abstract blockRead(): void;
  /** The host has written the block. */
  protected abstract blockWritten(): void;
  /** The whole buffer has passed through the DMA engine. */
  protected abstract dmaFinished(): void;
  /** The request made by {@link submit} has ended. */
  protected abstract backendDone(error: BlockError | undefined): void;
  /** Makes the request again that was under way when the state was saved. */
  protected abstract resubmit(): void;

  /** INTRQ, before the host's mask. */
  get interrupt(): boolean {
    return this.#interrupt;
  }

  protected raiseInterrupt(): void {
    this.#interrupt = true;
    this.bus.interruptChanged();
  }

  /** The host has read Status or written Command. */
  acknowledge(): void {
    if (this.#interrupt) {
      this.#interrupt = false;
      this.bus.interruptChanged();
    }
  }

  /** The host has written `command` to the Command register. */
  command(command: number): void {
    this.acknowledge();
    this.registers.error = 0;
    this.registers.status = STATUS_IDLE;
    this.execute(command);
  }

  /** Ends a command without an error, with an interrupt. */
  protected complete(): void {
    this.step = 'idle';
    this.registers.status = STATUS_IDLE;
    this.registers.error = 0;
    this.raiseInterrupt();
  }

  /** Ends a command with an error. */
  protected fail(error: number = ERROR_ABRT, status = 0): void {
    this.step = 'idle';
    this.registers.status = STATUS_IDLE | STATUS_ERR | status;
    this.registers.error = error;
    this.raiseInterrupt();
  }

  /** Offers bytes `position … end` of the buffer at the data port. */
  protected offerBlock(end: number): void {
    this.step = 'data-in';
    this.blockEnd = end;
    this.registers.status = STATUS_IDLE | STATUS_DRQ;
  }

  /** Asks for bytes `position … end` of the buffer at the data port. */
  protected requestBlock(end: number): void {
    this.step = 'data-out';
    this.blockEnd = end;
    this.registers.status = STATUS_IDLE | STATUS_DRQ;
  }

  /** Hands the first `filled` bytes to the DMA engine, or has it fill them. */
  protected startDma(step: 'dma-in' | 'dma-out', filled: number): void {
    this.step = step;
    this.position = 0;
    this.filled = filled;
    this.registers.status = STATUS_IDLE | STATUS_DRQ;
    this.pumpDma();
  }

  /** Moves what the DMA engine takes or gives at this moment. */
  pumpDma(): void {
    const rest = this.buffer.subarray(this.position, this.filled);
    if (this.step === 'dma-in') {
      this.position += this.bus.busMaster.toMemory(rest);
    } else if (this.step === 'dma-out') {
      this.position += this.bus.busMaster.fromMemory(rest);
    } else {
      return;
    }
    if (this.position >= this.filled) {
      this.step = 'idle';
      this.dmaFinished();
    }
  }

  /** A read of the data port; 0 when the drive has nothing to give. */
  readData(size: 2 | 4): number {
    if (this.step !== 'data-in') {
      return 0;
    }
    const at = this.position;
    const left = this.blockEnd - at;
    let value = this.#byte(at) | (this.#byte(at + 1) << 8);
    // The second half of a 32-bit read past the end of a block reads as zero; it takes nothing of the next block.
    if (size === 4 && left > 2) {
      value |= (this.#byte(at + 2) << 16) | (this.#byte(at + 3) << 24);
      this.position = at + 4;
    } else {
      this.position = at + 2;
    }
    if (this.position >= this.blockEnd) {
      this.position = this.blockEnd;
      this.step = 'idle';
      this.blockRead();
    }
    return value >>> 0;
  }

  #byte(at: number): number {
    return at < this.blockEnd ? (this.buffer[at] ?? 0) : 0;
  }

  writeData(size: 2 | 4, value: number): void {
    if (this.step !== 'data-out') {
      return;
    }
    for (let i = 0; i < size && this.position < this.blockEnd; i++) {
      this.buffer[this.position++] = (value >>> (i * 8)) & 0xff;
    }
    if (this.position >= this.blockEnd) {
      this.step = 'idle';
      this.blockWritten();
    }
  }

  /** Makes a request to the image, with BSY set until {@link backendDone}. */
  protected submit(backend: BlockBackend, request: BlockRequest): void {
    this.step = 'backend';
    this.registers.status = STATUS_BSY | STATUS_IDLE;
    this.#borrowed = true;
    const generation = this.#generation;
    backend.submit(request, (error) => {
      if (generation !== this.#generation) {
        return;
      }
      this.#borrowed = false;
      this.#generation++;
      this.step = 'idle';
      this.backendDone(error);
    });
  }

  /** Forgets the transfer under way. A buffer that the image still holds is left to it. */
  protected abandon(): void {
    this.#generation++;
    if (this.#borrowed) {
      this.#borrowed = false;
      this.buffer = new Uint8Array(BUFFER_BYTES);
    }
    this.step = 'idle';
    this.position = 0;
    this.blockEnd = 0;
    this.filled = 0;
  }

  /** Hardware reset, SRST (not `hard`), DEVICE RESET. Does not touch the other drive. */
  reset(hard: boolean): void {
    this.abandon();
    if (hard) {
      this.registers.clear();
    }
    this.resetCommand(hard);
    // Diagnostic code 1: the drive is sound.
    this.registers.error = 1;
    this.registers.status = STATUS_IDLE;
    this.setSignature();
    this.#interrupt = false;
    this.bus.interruptChanged();
  }

  /** SRST is asserted: busy until it is released. */
  holdInReset(): void {
    this.reset(false);
    this.registers.status = STATUS_BSY;
  }

  /** EXECUTE DEVICE DIAGNOSTIC: like a reset; device 0 interrupts. */
  diagnose(interrupt: boolean): void {
    this.reset(false);
    if (interrupt) {
      this.raiseInterrupt();
    }
  }

  dispose(): void {
    this.abandon();
  }

  protected saveDrive(): DriveState {
    return {
      registers: this.registers.save(),
      interrupt: this.#interrupt,
      step: this.step,
      position: this.step === 'idle' || this.step === 'backend' ? 0 : this.position,
      blockEnd: this.step === 'data-in' || this.step === 'data-out' ? this.blockEnd : 0,
      // A request under way is made again, so its data matters only when it is a write: then `filled` says so.
      buffer: this.buffer.slice(0, this.step === 'idle' ? 0 : this.filled),
    };
  }

  protected static readDrive(reader: StateReader): DriveState {
    const buffer = reader.bytes('buffer', undefined, BUFFER_BYTES);
    const step = reader.oneOf('step', DRIVE_STEPS);
    const blockEnd = reader.int('blockEnd', 0, buffer.length);
    const state = {
      registers: TaskFile.read(reader.object('registers')),
      interrupt: reader.boolean('interrupt'),
      step,
      blockEnd,
      position: reader.int('position', 0, buffer.length),
      buffer,
    };
    const end = step === 'data-in' || step === 'data-out' ? blockEnd : buffer.length;
    if (step !== 'idle' && step !== 'backend' && state.position >= end) {
      reader.refuse('a transfer is under way but has nothing left to move');
    }
    return state;
  }

  protected loadDrive(state: DriveState): void {
    this.abandon();
    this.registers.load(state.registers);
    this.#interrupt = state.interrupt;
    this.step = state.step;
    this.position = state.position;
    this.blockEnd = state.blockEnd;
    this.filled = state.buffer.length;
    this.buffer.set(state.buffer);
    if (state.step === 'backend') {
      this.resubmit();
    }
  }
}
