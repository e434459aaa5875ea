import type { BlockBackend } from '../../backends/block/block-backend.ts';
import { type Log, limitedLog, silentLog } from '../../base/log.ts';
import type { AccessSize, PioHandler } from '../../bus/bus.ts';
import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { Device, DeviceId, StateValue } from '../device.ts';
import type { DmaChannel } from '../dma/dma-channel.ts';
import { StateReader } from '../state.ts';
import { FloppyDrive, type FloppyDriveConfig, type FloppyDriveState } from './floppy-drive.ts';
import { FLOPPY_DRIVE_TYPES, RATE_250K } from './floppy-format.ts';
import { FloppyExecution, type Operation, ST2_CONTROL_MARK, type TransferState } from './floppy-transfer.ts';

/** Register offsets from 3F0h (82077AA data sheet, section 2). 3F6h belongs to the IDE controller. */
const REG_DOR = 2;
const REG_TDR = 3;
/** Main status when read, data rate select when written. */
const REG_MSR = 4;
const REG_FIFO = 5;
/** Digital input when read, configuration control when written. */
const REG_DIR = 7;

/** Digital output register. */
const DOR_SELECT = 0x03;
const DOR_NRESET = 0x04;
const DOR_DMA_GATE = 0x08;

/** Main status register. */
const MSR_COMMAND_BUSY = 0x10;
const MSR_NON_DMA = 0x20;
const MSR_TO_HOST = 0x40;
const MSR_RQM = 0x80;

const DSR_RESET = 0x80;
const DIR_DISK_CHANGED = 0x80;

/** Status register 0. */
const ST0_ABNORMAL = 0x40;
const ST0_INVALID = 0x80;
const ST0_READY_CHANGED = 0xc0;
const ST0_SEEK_END = 0x20;
const ST0_EQUIPMENT_CHECK = 0x10;
/** Status register 3. */
const ST3_WRITE_PROTECTED = 0x40;
const ST3_ALWAYS = 0x28;
const ST3_TRACK0 = 0x10;

/** CONFIGURE: implied seek, FIFO disabled. */
const CONFIG_EIS = 0x40;
const CONFIG_EFIFO = 0x20;
/**
 * After a reset the data sheet has implied seeks off. They are on here, as in other virtual PCs: software that seeks
 * itself sees no difference, and software written against those needs them.
 */
const CONFIG_DEFAULT = CONFIG_EIS | CONFIG_EFIFO;

/** How long things take: faster than any real drive, yet never within the access that starts them. */
const RESET_NANOS = 200_000;
const EXECUTE_NANOS = 100_000;
const SEEK_NANOS = 500_000;
const STEP_NANOS = 60_000;

/** Bytes of each command, the first included; commands that are not here are invalid (section 5.0). */
function commandLength(opcode: number): number {
  switch (opcode & 0x1f) {
    case 0x02: // READ TRACK
    case 0x05: // WRITE DATA
    case 0x06: // READ DATA
    case 0x09: // WRITE DELETED DATA
    case 0x0c: // READ DELETED DATA
    case 0x16: // VERIFY
      return 9;
    case 0x0d: // FORMAT TRACK
      return 6;
    case 0x0a: // READ ID
      return 2;
  }
  switch (opcode) {
    case 0x13: // CONFIGURE
      return 4;
    case 0x03: // SPECIFY
    case 0x0f: // SEEK
    case 0x8f: // RELATIVE SEEK outwards
    case 0xcf: // RELATIVE SEEK inwards
      return 3;
    case 0x04: // SENSE DRIVE STATUS
    case 0x07: // RECALIBRATE
    case 0x12: // PERPENDICULAR MODE
      return 2;
    default:
      return 1;
  }
}

export interface FloppyWiring {
  /** IRQ 6. */
  readonly line: InterruptLine;
  /** Channel 2. */
  readonly dma: DmaChannel;
  readonly clock: Clock;
  readonly log?: Log;
}

export interface FloppyConfig {
  /** Drives A and B; undefined where there is none. */
  readonly drives: readonly (FloppyDriveConfig | undefined)[];
}

export type FloppyState = {
  dor: number;
  tdr: number;
  rate: number;
  specify: number[];
  configure: number;
  precompensation: number;
  lock: boolean;
  perpendicular: number;
  command: number[];
  result: number[];
  resultInterrupt: boolean;
  senseInterrupt: boolean;
  senses: number[];
  resetDeadline: Nanos | null;
  nextId: number;
  drives: FloppyDriveState[];
  transfer: TransferState | null;
};

/**
 * Intel 82077AA floppy disk controller in its PC-AT mode, with two drives.
 *
 *     command ──all bytes──▶ execution ──▶ result ──last byte read──▶ command
 *        └──── commands without data ────────▲
 *
 * SEEK and RECALIBRATE return to the command phase at once and end with an interrupt. The machine places `ports` at
 * 3F0h (6 ports) and `inputPort` at 3F7h. Backends stay the caller's.
 */
export class FloppyController implements Device<FloppyState> {
  readonly id: DeviceId;
  readonly ports: PioHandler;
  readonly inputPort: PioHandler;
  readonly #line: InterruptLine;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #drives: readonly (FloppyDrive | undefined)[];
  readonly #resetAlarm: Alarm;
  readonly #execution: FloppyExecution;
  #dor = 0;
  #tdr = 0;
  #rate = RATE_250K;
  /** The two bytes of SPECIFY: step rate and head unload, head load and non-DMA mode. */
  #specify = [0, 0];
  #configure = CONFIG_DEFAULT;
  #precompensation = 0;
  #lock = false;
  #perpendicular = 0;
  #command: number[] = [];
  #result: number[] = [];
  /** A result or data waits in the FIFO. */
  #resultInterrupt = false;
  /** A seek or a reset has ended. */
  #senseInterrupt = false;
  /** What SENSE INTERRUPT STATUS has to tell: status register 0 of finished seeks and of the drives after a reset. */
  #senses: number[] = [];

  constructor(id: DeviceId, wiring: FloppyWiring, config: FloppyConfig) {
    this.id = id;
    this.#line = wiring.line;
    this.#clock = wiring.clock;
    this.#log = limitedLog(wiring.log ?? silentLog);
    this.#drives = [0, 1].map((index) => {
      const drive = config.drives[index];
      return drive && new FloppyDrive(drive, wiring.clock, (st0) => this.#seekEnded(index, st0));
    });
    this.#resetAlarm = wiring.clock.createAlarm(() => {
      this.#senses = [0, 1, 2, 3].map((drive) => ST0_READY_CHANGED | drive);
      this.#senseInterrupt = true;
      this.#updateLine();
    });
    const controller = this;
    this.#execution = new FloppyExecution({
      drives: this.#drives,
      dma: wiring.dma,
      clock: wiring.clock,
      log: this.#log,
      get rate() {
        return controller.#rate;
      },
      get nonDma() {
        return controller.#nonDma;
      },
      get dmaGate() {
        return (controller.#dor & DOR_DMA_GATE) !== 0;
      },
      setInterrupt: (pending) => this.#setResultInterrupt(pending),
      finished: (result) => {
        this.#result = result;
        this.#setResultInterrupt(true);
      },
    });
    this.ports = {
      readPort: (offset, size) => this.#readBytes(offset, size, 5),
      writePort: (offset, size, value) => this.#writeBytes(offset, size, value, 5),
    };
    this.inputPort = {
      readPort: (offset, size) => this.#readBytes(REG_DIR + offset, size, REG_DIR),
      writePort: (offset, size, value) => this.#writeBytes(REG_DIR + offset, size, value, REG_DIR),
    };
    this.reset();
  }

  /** The drive type codes for CMOS 10h: drive A in the high nibble, B in the low one, 0 where there is none. */
  get cmosTypes(): number {
    const code = (index: number) => {
      const drive = this.#drives[index];
      return drive === undefined ? 0 : FLOPPY_DRIVE_TYPES[drive.type];
    };
    return (code(0) << 4) | code(1);
  }

  /** Puts a disk into drive 0 or 1, instead of what is there. Throws HostError('image-size') when it is none. */
  insert(drive: number, medium: BlockBackend): void {
    const target = this.#drives[drive];
    target?.checkMedium(medium);
    this.#execution.mediumRemoved(drive);
    target?.insert(medium);
  }

  /** Takes the disk out; the caller may dispose of it afterwards. */
  eject(drive: number): void {
    this.#execution.mediumRemoved(drive);
    this.#drives[drive]?.eject();
  }

  medium(drive: number): BlockBackend | undefined {
    return this.#drives[drive]?.medium;
  }

  #readBytes(offset: number, size: AccessSize, last: number): number {
    let value = 0;
    for (let i = 0; i < size; i++) {
      value |= (offset + i <= last ? this.#readRegister(offset + i) : 0xff) << (i * 8);
    }
    return value >>> 0;
  }

  #writeBytes(offset: number, size: AccessSize, value: number, last: number): void {
    for (let i = 0; i < size && offset + i <= last; i++) {
      this.#writeRegister(offset + i, (value >>> (i * 8)) & 0xff);
    }
  }

  #readRegister(register: number): number {
    switch (register) {
      case REG_DOR:
        return this.#dor;
      case REG_TDR:
        return this.#tdr;
      case REG_MSR:
        return this.#mainStatus();
      case REG_FIFO:
        return this.#readFifo();
      case REG_DIR:
        return this.#drives[this.#dor & DOR_SELECT]?.changed ? DIR_DISK_CHANGED : 0;
      default: // status registers A and B do not exist in PC-AT mode
        return 0xff;
    }
  }

  #writeRegister(register: number, value: number): void {
    switch (register) {
      case REG_DOR:
        this.#writeOutput(value);
        break;
      case REG_TDR:
        this.#tdr = value & 3;
        break;
      case REG_MSR:
        this.#rate = value & 3;
        if (value & DSR_RESET) {
          this.#softReset();
          this.#leaveReset();
        }
        break;
      case REG_FIFO:
        this.#writeFifo(value);
        break;
      case REG_DIR:
        this.#rate = value & 3;
        break;
    }
  }

  get #inReset(): boolean {
    return (this.#dor & DOR_NRESET) === 0;
  }

  #writeOutput(value: number): void {
    const before = this.#dor;
    this.#dor = value;
    const changed = before ^ value;
    if (changed & DOR_NRESET) {
      if (this.#inReset) {
        this.#softReset();
      } else {
        this.#leaveReset();
      }
    }
    this.#updateLine();
  }

  /** What DOR and DSR resets clear (section 4.2): SPECIFY stays, CONFIGURE unless it is locked. */
  #softReset(): void {
    this.#execution.cancel();
    this.#resetAlarm.cancel();
    for (const drive of this.#drives) {
      drive?.reset();
    }
    this.#command = [];
    this.#result = [];
    this.#senses = [];
    this.#perpendicular &= ~3;
    if (!this.#lock) {
      this.#configure = CONFIG_DEFAULT;
      this.#precompensation = 0;
    }
    this.#resultInterrupt = false;
    this.#senseInterrupt = false;
    this.#updateLine();
  }

  /** The controller looks at its drives and reports all four as changed. */
  #leaveReset(): void {
    if (!this.#inReset) {
      this.#resetAlarm.set(this.#clock.now() + RESET_NANOS);
    }
  }

  #setResultInterrupt(pending: boolean): void {
    this.#resultInterrupt = pending;
    // A seek that ended meanwhile makes an edge of its own.
    if (!pending) {
      this.#line.set(false);
    }
    this.#updateLine();
  }

  #updateLine(): void {
    this.#line.set((this.#resultInterrupt || this.#senseInterrupt) && (this.#dor & DOR_DMA_GATE) !== 0);
  }

  #mainStatus(): number {
    if (this.#inReset) {
      return 0;
    }
    let status = 0;
    for (const [index, drive] of this.#drives.entries()) {
      if (drive?.seeking) {
        status |= 1 << index;
      }
    }
    if (this.#execution.active) {
      const { direction } = this.#execution;
      status |= MSR_COMMAND_BUSY | (this.#nonDma ? MSR_NON_DMA : 0);
      status |= direction === 'none' ? 0 : direction === 'to-host' ? MSR_RQM | MSR_TO_HOST : MSR_RQM;
    } else if (this.#result.length > 0) {
      status |= MSR_RQM | MSR_TO_HOST | MSR_COMMAND_BUSY;
    } else {
      status |= MSR_RQM | (this.#command.length > 0 ? MSR_COMMAND_BUSY : 0);
    }
    return status;
  }

  get #nonDma(): boolean {
    return ((this.#specify[1] ?? 0) & 1) !== 0;
  }

  #readFifo(): number {
    if (this.#execution.active) {
      return this.#execution.readByte();
    }
    const value = this.#result.shift();
    if (value === undefined) {
      return 0xff;
    }
    this.#setResultInterrupt(false);
    return value;
  }

  #writeFifo(value: number): void {
    if (this.#inReset || this.#result.length > 0) {
      return;
    }
    if (this.#execution.active) {
      this.#execution.writeByte(value);
      return;
    }
    this.#command.push(value);
    if (this.#command.length >= commandLength(this.#command[0] ?? 0)) {
      const command = this.#command;
      this.#command = [];
      this.#run(command);
    }
  }

  #run(command: readonly number[]): void {
    const byte = (index: number) => command[index] ?? 0;
    const opcode = byte(0);
    switch (opcode & 0x1f) {
      case 0x02: // READ TRACK
        this.#start('read', command, { sector: 1, st2: 0 });
        return;
      case 0x06: // READ DATA
        this.#start('read', command, { sector: byte(4), st2: 0 });
        return;
      case 0x0c: // READ DELETED DATA: there are none, what is read is marked as of the other kind
        this.#start('read', command, { sector: byte(4), st2: ST2_CONTROL_MARK });
        return;
      case 0x05: // WRITE DATA
      case 0x09: // WRITE DELETED DATA
        this.#start('write', command, { sector: byte(4), st2: 0 });
        return;
      case 0x16: // VERIFY
        this.#start('verify', command, { sector: byte(4), st2: 0 });
        return;
      case 0x0d: // FORMAT TRACK
        this.#start('format', command, { sector: 1, st2: 0 });
        return;
      case 0x0a: // READ ID
        this.#start('read-id', command, { sector: 1, st2: 0 });
        return;
    }
    switch (opcode) {
      case 0x03: // SPECIFY
        this.#specify = [byte(1), byte(2)];
        return;
      case 0x04: // SENSE DRIVE STATUS
        this.#result = [this.#driveStatus(byte(1))];
        return;
      case 0x07: // RECALIBRATE
        this.#seek(byte(1) & 3, -1);
        return;
      case 0x08: // SENSE INTERRUPT STATUS
        this.#reportInterrupt();
        return;
      case 0x0e: // DUMPREG
        this.#result = [
          ...[0, 1, 2, 3].map((drive) => this.#drives[drive]?.track ?? 0),
          ...this.#specify,
          0,
          (this.#lock ? 0x80 : 0) | this.#perpendicular,
          this.#configure,
          this.#precompensation,
        ];
        return;
      case 0x0f: // SEEK
        this.#seek(byte(1) & 3, byte(2));
        return;
      case 0x8f: // RELATIVE SEEK
      case 0xcf: {
        const track = this.#drives[byte(1) & 3]?.track ?? 0;
        this.#seek(byte(1) & 3, Math.max(0, Math.min(255, opcode === 0xcf ? track + byte(2) : track - byte(2))));
        return;
      }
      case 0x10: // VERSION: an enhanced controller
        this.#result = [0x90];
        return;
      case 0x12: // PERPENDICULAR MODE: the drive bits change only when bit 7 allows it
        this.#perpendicular = byte(1) & 0x80 ? byte(1) & 0x3f : (this.#perpendicular & 0x3c) | (byte(1) & 3);
        return;
      case 0x13: // CONFIGURE
        this.#configure = byte(2) & 0x7f;
        this.#precompensation = byte(3);
        return;
      case 0x14: // LOCK
      case 0x94:
        this.#lock = opcode === 0x94;
        this.#result = [this.#lock ? 0x10 : 0];
        return;
      case 0x18: // PART ID
        this.#result = [0x41];
        return;
      default:
        this.#log.warn(`${this.id}: command ${opcode.toString(16)}h is invalid`);
        this.#result = [ST0_INVALID];
    }
  }

  #driveStatus(select: number): number {
    const drive = this.#drives[select & 3];
    return (
      ST3_ALWAYS |
      (select & 7) |
      (drive?.track === 0 ? ST3_TRACK0 : 0) |
      (drive?.medium?.readOnly ? ST3_WRITE_PROTECTED : 0)
    );
  }

  #reportInterrupt(): void {
    this.#senseInterrupt = false;
    this.#updateLine();
    const st0 = this.#senses.shift();
    // Without a reason for an interrupt the command is an invalid one (section 5.2.3).
    this.#result = st0 === undefined ? [ST0_INVALID] : [st0, this.#drives[st0 & 3]?.track ?? 0];
  }

  /** Moves the heads; −1 recalibrates. */
  #seek(index: number, cylinder: number): void {
    // Reports of the reset that nobody has asked for must not hide the end of this seek.
    this.#senses = this.#senses.filter((st0) => (st0 & ST0_READY_CHANGED) !== ST0_READY_CHANGED);
    const drive = this.#drives[index];
    if (drive === undefined) {
      // No drive answers: track 0 is never reported. A plain seek cannot tell.
      const st0 = cylinder < 0 ? ST0_ABNORMAL | ST0_SEEK_END | ST0_EQUIPMENT_CHECK : ST0_SEEK_END;
      this.#seekEnded(index, st0);
      return;
    }
    const target = Math.max(0, cylinder);
    drive.seek(target, this.#clock.now() + SEEK_NANOS + STEP_NANOS * Math.abs(target - drive.track));
  }

  #seekEnded(index: number, st0: number): void {
    this.#senses = [...this.#senses.filter((older) => (older & 3) !== index), st0 | index];
    this.#senseInterrupt = true;
    this.#updateLine();
  }

  #start(operation: Operation, command: readonly number[], given: { sector: number; st2: number }): void {
    const byte = (index: number) => command[index] ?? 0;
    const opcode = byte(0);
    const select = byte(1);
    const drive = this.#drives[select & 3];
    const track = drive?.track ?? 0;
    const addressed = operation !== 'format' && operation !== 'read-id';
    const format = operation === 'format';
    // The head of the command's second byte must be the one of its address.
    const sound = !addressed || byte(3) === ((select >> 2) & 1);
    let delay = EXECUTE_NANOS;
    if (addressed && drive !== undefined && this.#configure & CONFIG_EIS && track !== byte(2)) {
      delay += STEP_NANOS * Math.abs(byte(2) - track);
      drive.moveTo(byte(2));
    }
    this.#execution.start(
      {
        operation,
        step: 'start',
        drive: select & 3,
        head: addressed ? byte(3) : (select >> 2) & 1,
        cylinder: addressed ? byte(2) : track,
        sector: sound ? given.sector : 0,
        sizeCode: addressed ? byte(5) : format ? byte(2) : 2,
        endOfTrack: addressed ? byte(6) : format ? byte(3) : 0,
        multiTrack: (opcode & 0x80) !== 0,
        count: operation === 'verify' && select & 0x80 ? byte(8) || 256 : 0,
        fill: format ? byte(5) : 0,
        st2: given.st2,
        position: 0,
        filled: 0,
        last: false,
        retries: 0,
      },
      this.#clock.now() + delay,
    );
  }

  reset(): void {
    this.#lock = false;
    // Ready for commands, as firmware leaves it behind.
    this.#dor = DOR_NRESET | DOR_DMA_GATE;
    this.#softReset();
    this.#tdr = 0;
    this.#rate = RATE_250K;
    this.#specify = [0, 0];
    this.#perpendicular = 0;
    this.#execution.nextId = 1;
    this.#updateLine();
  }

  save(): FloppyState {
    return {
      dor: this.#dor,
      tdr: this.#tdr,
      rate: this.#rate,
      specify: [...this.#specify],
      configure: this.#configure,
      precompensation: this.#precompensation,
      lock: this.#lock,
      perpendicular: this.#perpendicular,
      command: [...this.#command],
      result: [...this.#result],
      resultInterrupt: this.#resultInterrupt,
      senseInterrupt: this.#senseInterrupt,
      senses: [...this.#senses],
      resetDeadline: this.#resetAlarm.deadline ?? null,
      nextId: this.#execution.nextId,
      drives: this.#drives.map((drive) => drive?.save() ?? FloppyDrive.absent),
      transfer: this.#execution.save(),
    };
  }

  load(state: StateValue): void {
    const reader = new StateReader(this.id, state);
    const dor = reader.u8('dor');
    const tdr = reader.int('tdr', 0, 3);
    const rate = reader.int('rate', 0, 3);
    const specify = reader.ints('specify', 0, 255, 2);
    const configure = reader.int('configure', 0, 0x7f);
    const precompensation = reader.u8('precompensation');
    const lock = reader.boolean('lock');
    const perpendicular = reader.int('perpendicular', 0, 0x3f);
    const command = reader.ints('command', 0, 255, undefined, 8);
    const result = reader.ints('result', 0, 255, undefined, 10);
    const resultInterrupt = reader.boolean('resultInterrupt');
    const senseInterrupt = reader.boolean('senseInterrupt');
    const senses = reader.ints('senses', 0, 255, undefined, 4);
    const resetDeadline = reader.optionalNanos('resetDeadline');
    const nextId = reader.u8('nextId');
    const drives = reader.objects('drives', 2).map((drive) => FloppyDrive.read(drive));
    const transferReader = reader.optionalObject('transfer');
    const transfer = transferReader === undefined ? null : FloppyExecution.read(transferReader);
    this.#execution.cancel();
    this.#dor = dor;
    this.#tdr = tdr;
    this.#rate = rate;
    this.#specify = specify;
    this.#configure = configure;
    this.#precompensation = precompensation;
    this.#lock = lock;
    this.#perpendicular = perpendicular;
    this.#command = command;
    this.#result = result;
    this.#resultInterrupt = resultInterrupt;
    this.#senseInterrupt = senseInterrupt;
    this.#senses = senses;
    this.#execution.nextId = nextId;
    for (const [index, saved] of drives.entries()) {
      this.#drives[index]?.load(saved);
    }
    if (resetDeadline === undefined) {
      this.#resetAlarm.cancel();
    } else {
      this.#resetAlarm.set(resetDeadline);
    }
    this.#updateLine();
    this.#execution.load(transfer);
  }

  dispose(): void {
    this.#execution.dispose();
    this.#resetAlarm.dispose();
    for (const drive of this.#drives) {
      drive?.dispose();
    }
  }

  describe(): string {
    const drives = this.#drives.map((drive, index) => `${'AB'[index]}: ${drive?.describe() ?? 'none'}`);
    return [
      `executing ${this.#execution.describe()}, DOR ${this.#dor.toString(16)}h, rate ${this.#rate}`,
      ...drives,
    ].join('\n');
  }
}
