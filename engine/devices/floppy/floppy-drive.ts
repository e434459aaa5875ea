import type { BlockBackend, BlockError } from '../../backends/block/block-backend.ts';
import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { StateReader } from '../state.ts';
import { driveTypeFor, type FloppyDriveType, type FloppyFormat, floppyFormat } from './floppy-format.ts';

/** Status register 0 of a seek: its end, and a recalibration that did not reach track 0. */
const ST0_SEEK_END = 0x20;

export interface FloppyDriveConfig {
  readonly backend?: BlockBackend | undefined;
  /** By default the drive that suits the disk which is in it at the start. */
  readonly type?: FloppyDriveType;
  readonly onActivity?: (kind: 'read' | 'write') => void;
}

export type FloppyDriveState = { track: number; changed: boolean; seekTarget: number; seekDeadline: Nanos | null };

/** A floppy disk drive: the position of its heads and the disk in it. */
export class FloppyDrive {
  static readonly absent: FloppyDriveState = { track: 0, changed: true, seekTarget: 0, seekDeadline: null };

  readonly type: FloppyDriveType;
  readonly #onActivity: ((kind: 'read' | 'write') => void) | undefined;
  readonly #seekAlarm: Alarm;
  #medium: BlockBackend | undefined;
  #format: FloppyFormat | undefined;
  #track = 0;
  #seekTarget = 0;
  /** The disk change line: stays set until the heads move over a disk. */
  #changed = true;

  /** `seekEnded` receives status register 0, without the drive number. Throws HostError for a medium that is too big. */
  constructor(config: FloppyDriveConfig, clock: Clock, seekEnded: (st0: number) => void) {
    this.#medium = config.backend;
    this.#format = config.backend && floppyFormat(config.backend.size);
    this.type = config.type ?? driveTypeFor(this.#format);
    this.#onActivity = config.onActivity;
    this.#seekAlarm = clock.createAlarm(() => {
      this.moveTo(this.#seekTarget);
      seekEnded(ST0_SEEK_END);
    });
  }

  get medium(): BlockBackend | undefined {
    return this.#medium;
  }

  get format(): FloppyFormat | undefined {
    return this.#format;
  }

  get track(): number {
    return this.#track;
  }

  get changed(): boolean {
    return this.#changed;
  }

  get seeking(): boolean {
    return this.#seekAlarm.deadline !== undefined;
  }

  checkMedium(medium: BlockBackend): void {
    floppyFormat(medium.size);
  }

  insert(medium: BlockBackend): void {
    this.#format = floppyFormat(medium.size);
    this.#medium = medium;
    this.#changed = true;
  }

  eject(): void {
    this.#medium = undefined;
    this.#format = undefined;
    this.#changed = true;
  }

  /** Starts moving the heads; they arrive at `deadline`. */
  seek(track: number, deadline: Nanos): void {
    this.#seekTarget = track;
    this.#seekAlarm.set(deadline);
  }

  /** The heads stand over `track`. A step over a disk takes back the disk change signal. */
  moveTo(track: number): void {
    const stepped = track !== this.#track;
    this.#track = track;
    if (stepped && this.#medium !== undefined) {
      this.#changed = false;
    }
  }

  /** The controller's reset: seeks end where they began, the position is taken for 0. */
  reset(): void {
    this.#seekAlarm.cancel();
    this.#seekTarget = 0;
    this.#track = 0;
  }

  /** Byte offset in the image of a sector (counted from 1) under the heads; undefined when the format has none. */
  offsetOf(head: number, sector: number): number | undefined {
    const format = this.#format;
    if (
      format === undefined ||
      this.#track >= format.cylinders ||
      head >= format.heads ||
      sector < 1 ||
      sector > format.sectorsPerTrack
    ) {
      return undefined;
    }
    return ((this.#track * format.heads + head) * format.sectorsPerTrack + sector - 1) * 512;
  }

  noteActivity(kind: 'read' | 'write'): void {
    this.#onActivity?.(kind);
  }

  /**
   * Reads or writes the image. Where it ends before its format does, zeros are read and writing fails; then the
   * request is cut to what exists, and `done` still comes later.
   */
  submit(kind: 'read' | 'write', offset: number, data: Uint8Array, done: (error?: BlockError) => void): void {
    const medium = this.#medium;
    if (medium === undefined) {
      return;
    }
    const length = Math.max(0, Math.min(data.length, medium.size - offset));
    const outside = length < data.length;
    const end: (error?: BlockError) => void =
      outside && kind === 'write'
        ? (error) => done(error ?? { code: 'out-of-range', message: 'the floppy image ends before this sector' })
        : done;
    if (kind === 'read') {
      data.fill(0, length);
    }
    if (length === 0) {
      // Nothing of it exists: an empty request, so that the end comes later as ever.
      medium.submit({ kind: 'read', offset: 0, buffer: new Uint8Array(0) }, end);
      return;
    }
    medium.submit({ kind, offset, buffer: data.subarray(0, length) }, end);
  }

  save(): FloppyDriveState {
    return {
      track: this.#track,
      changed: this.#changed,
      seekTarget: this.#seekTarget,
      seekDeadline: this.#seekAlarm.deadline ?? null,
    };
  }

  static read(reader: StateReader): FloppyDriveState {
    return {
      track: reader.u8('track'),
      changed: reader.boolean('changed'),
      seekTarget: reader.u8('seekTarget'),
      seekDeadline: reader.optionalNanos('seekDeadline') ?? null,
    };
  }

  load(state: FloppyDriveState): void {
    this.#track = state.track;
    this.#changed = state.changed;
    this.#seekTarget = state.seekTarget;
    if (state.seekDeadline === null) {
      this.#seekAlarm.cancel();
    } else {
      this.#seekAlarm.set(state.seekDeadline);
    }
  }

  dispose(): void {
    this.#seekAlarm.dispose();
  }

  describe(): string {
    const format = this.#format;
    const medium =
      format === undefined
        ? 'empty'
        : `disk of ${format.cylinders}×${format.heads}×${format.sectorsPerTrack}${this.#medium?.readOnly ? ', protected' : ''}`;
    return `${this.type} drive at track ${this.#track}, ${medium}${this.#changed ? ', changed' : ''}`;
  }
}
