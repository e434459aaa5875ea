import type { AccessSize, PioHandler } from '../../bus/bus.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { StateReader } from '../state.ts';
import { AtaDisk, type DiskState } from './ata-disk.ts';
import { AtapiCdrom, type CdromState } from './atapi-cdrom.ts';
import type { BusMaster, BusMasterState } from './bus-master.ts';
import { BusMaster as Engine } from './bus-master.ts';
import type { DriveBus } from './ide-drive.ts';
import {
  CONTROL_HOB,
  CONTROL_NIEN,
  CONTROL_SRST,
  DEVICE_DEV,
  DEVICE_FIXED,
  REG_DATA,
  REG_DEVICE,
  REG_STATUS,
  STATUS_BSY,
  STATUS_DRQ,
  TaskFile,
  type TaskFileState,
} from './task-file.ts';

export type Drive = AtaDisk | AtapiCdrom;

type PositionState =
  | { kind: 'disk'; disk: DiskState }
  | { kind: 'cdrom'; cdrom: CdromState }
  | { kind: 'absent'; registers: TaskFileState };

export type ChannelState = {
  selected: number;
  control: number;
  busMaster: BusMasterState;
  drives: PositionState[];
};

const COMMAND_DEVICE_RESET = 0x08;
const COMMAND_DIAGNOSTIC = 0x90;

/** One IDE cable: the command and control block registers, up to two drives, and their DMA engine. */
export class IdeChannel implements DriveBus {
  readonly busMaster: BusMaster;
  readonly #line: InterruptLine;
  readonly #drives: readonly (Drive | undefined)[];
  /** Registers as a host finds them at positions without a drive. */
  readonly #absent = [new TaskFile(), new TaskFile()] as const;
  #selected = 0;
  #control = 0;
  #asserted = false;

  /** Eight ports: 1F0h or 170h. */
  readonly commandBlock: PioHandler = {
    readPort: (offset, size) => this.#readCommandBlock(offset, size),
    writePort: (offset, size, value) => this.#writeCommandBlock(offset, size, value),
  };

  /** One port: 3F6h or 376h. */
  readonly controlBlock: PioHandler = {
    readPort: (offset) => (offset === 0 ? this.#readStatus() : 0xff),
    writePort: (offset, _size, value) => {
      if (offset === 0) {
        this.#writeControl(value & 0xff);
      }
    },
  };

  /** `create` makes the drive at position 0 and 1, each on this channel as its bus. */
  constructor(
    line: InterruptLine,
    memory: ConstructorParameters<typeof Engine>[0],
    busMasterEnabled: () => boolean,
    create: (bus: DriveBus, position: number) => Drive | undefined,
  ) {
    this.#line = line;
    this.busMaster = new Engine(memory, busMasterEnabled);
    this.busMaster.onStart = () => this.pumpDma();
    this.#drives = [create(this, 0), create(this, 1)];
  }

  drive(position: number): Drive | undefined {
    return this.#drives[position];
  }

  /** Lets data flow that waits for the DMA engine. */
  pumpDma(): void {
    for (const drive of this.#drives) {
      drive?.pumpDma();
    }
  }

  /** INTRQ is driven by the selected drive, unless nIEN masks it (ATA/ATAPI-6, 5.2.9). */
  interruptChanged(): void {
    const asserted = (this.#control & CONTROL_NIEN) === 0 && (this.#drives[this.#selected]?.interrupt ?? false);
    if (asserted !== this.#asserted) {
      this.#asserted = asserted;
      if (asserted) {
        this.busMaster.noteInterrupt();
      }
      this.#line.set(asserted);
    }
  }

  #registers(position: number): TaskFile {
    return this.#drives[position]?.registers ?? this.#absent[position === 0 ? 0 : 1];
  }

  /** The selected drive's status. Where there is no drive, the pulled-down bus or the other drive answers with 0. */
  #readStatus(): number {
    return this.#drives[this.#selected]?.registers.status ?? 0;
  }

  #readCommandBlock(offset: number, size: AccessSize): number {
    if (offset === REG_DATA && size !== 1) {
      return this.#drives[this.#selected]?.readData(size) ?? (size === 2 ? 0xffff : 0xffffffff);
    }
    let value = 0;
    for (let i = 0; i < size; i++) {
      value |= this.#readRegister(offset + i) << (i * 8);
    }
    return value >>> 0;
  }

  #readRegister(register: number): number {
    const drive = this.#drives[this.#selected];
    switch (register) {
      case REG_DATA: // there is no 8-bit data transfer
        return 0xff;
      case REG_DEVICE:
        return this.#present
          ? (this.#registers(this.#selected).device & ~DEVICE_DEV) | DEVICE_FIXED | (this.#selected << 4)
          : 0;
      case REG_STATUS: {
        const status = this.#readStatus();
        drive?.acknowledge();
        return status;
      }
      default:
        if (register > REG_STATUS) {
          return 0xff;
        }
        return this.#present ? this.#registers(this.#selected).read(register, (this.#control & CONTROL_HOB) !== 0) : 0;
    }
  }

  get #present(): boolean {
    return this.#drives[0] !== undefined || this.#drives[1] !== undefined;
  }

  #writeCommandBlock(offset: number, size: AccessSize, value: number): void {
    if (offset === REG_DATA && size !== 1) {
      this.#drives[this.#selected]?.writeData(size, value);
      return;
    }
    for (let i = 0; i < size; i++) {
      this.#writeRegister(offset + i, (value >>> (i * 8)) & 0xff);
    }
  }

  #writeRegister(register: number, value: number): void {
    if (register === REG_DATA || register > REG_STATUS) {
      return;
    }
    this.#control &= ~CONTROL_HOB;
    const busy = (this.#readStatus() & (STATUS_BSY | STATUS_DRQ)) !== 0;
    if (register === REG_STATUS) {
      this.#command(value, busy);
      return;
    }
    if (busy) {
      return; // the registers belong to the drive while it executes a command (9.4)
    }
    this.#registers(0).write(register, value);
    this.#registers(1).write(register, value);
    if (register === REG_DEVICE) {
      this.#selected = value & DEVICE_DEV ? 1 : 0;
      this.interruptChanged();
    }
  }

  #command(command: number, busy: boolean): void {
    const drive = this.#drives[this.#selected];
    // DEVICE RESET is the only command that interrupts another, and only PACKET devices have it.
    if (busy && !(command === COMMAND_DEVICE_RESET && drive instanceof AtapiCdrom && !this.#inReset)) {
      return;
    }
    if (command === COMMAND_DIAGNOSTIC) {
      if (this.#present) {
        this.#select(0);
        this.#drives[1]?.diagnose(false);
        this.#absent[1].setSignature(0xff, 0xff);
        this.#drives[0]?.diagnose(true);
      }
      return;
    }
    drive?.command(command);
  }

  get #inReset(): boolean {
    return (this.#control & CONTROL_SRST) !== 0;
  }

  #select(position: number): void {
    this.#selected = position;
    this.interruptChanged();
  }

  #writeControl(value: number): void {
    const before = this.#control;
    this.#control = value & (CONTROL_HOB | CONTROL_SRST | CONTROL_NIEN);
    const changed = before ^ this.#control;
    if (changed & CONTROL_SRST) {
      this.#select(0);
      for (const drive of this.#drives) {
        if (this.#inReset) {
          drive?.holdInReset();
        } else {
          drive?.reset(false);
        }
      }
      this.#resetAbsent();
    }
    if (changed & CONTROL_NIEN) {
      this.interruptChanged();
    }
  }

  #resetAbsent(): void {
    for (const registers of this.#absent) {
      // Unlike any drive's signature, so that nothing is found here.
      registers.clear();
      registers.error = 1;
      registers.setSignature(0xff, 0xff);
    }
  }

  reset(): void {
    this.#control = 0;
    this.#selected = 0;
    this.busMaster.reset();
    for (const drive of this.#drives) {
      drive?.reset(true);
    }
    this.#resetAbsent();
    this.interruptChanged();
  }

  save(): ChannelState {
    return {
      selected: this.#selected,
      control: this.#control,
      busMaster: this.busMaster.save(),
      drives: [0, 1].map((position): PositionState => {
        const drive = this.#drives[position];
        return drive instanceof AtaDisk
          ? { kind: 'disk', disk: drive.save() }
          : drive instanceof AtapiCdrom
            ? { kind: 'cdrom', cdrom: drive.save() }
            : { kind: 'absent', registers: this.#registers(position).save() };
      }),
    };
  }

  read(reader: StateReader): ChannelState {
    return {
      selected: reader.int('selected', 0, 1),
      control: reader.u8('control') & (CONTROL_HOB | CONTROL_SRST | CONTROL_NIEN),
      busMaster: Engine.read(reader.object('busMaster')),
      drives: reader.objects('drives', 2).map((item, position): PositionState => {
        const kind = item.oneOf('kind', ['disk', 'cdrom', 'absent']);
        const drive = this.#drives[position];
        if (kind === 'disk' && drive instanceof AtaDisk) {
          return { kind, disk: drive.read(item.object('disk')) };
        }
        if (kind === 'cdrom' && drive instanceof AtapiCdrom) {
          return { kind, cdrom: drive.read(item.object('cdrom')) };
        }
        if (kind === 'absent' && drive === undefined) {
          return { kind, registers: TaskFile.read(item.object('registers')) };
        }
        return item.refuse(`the saved machine has another drive here (${kind})`);
      }),
    };
  }

  load(state: ChannelState): void {
    this.#selected = state.selected;
    this.#control = state.control;
    this.busMaster.load(state.busMaster);
    for (const [position, saved] of state.drives.entries()) {
      const drive = this.#drives[position];
      if (saved.kind === 'disk' && drive instanceof AtaDisk) {
        drive.load(saved.disk);
      } else if (saved.kind === 'cdrom' && drive instanceof AtapiCdrom) {
        drive.load(saved.cdrom);
      } else if (saved.kind === 'absent') {
        this.#registers(position).load(saved.registers);
      }
    }
    // The line's level follows from the state; the DMA engine's note of it does not change again.
    this.#asserted = (this.#control & CONTROL_NIEN) === 0 && (this.#drives[this.#selected]?.interrupt ?? false);
    this.#line.set(this.#asserted);
  }

  dispose(): void {
    for (const drive of this.#drives) {
      drive?.dispose();
    }
  }

  describe(): string {
    return this.#drives
      .map((drive, position) => `${position === this.#selected ? '*' : ' '}${position}: ${drive?.describe() ?? 'none'}`)
      .join('\n');
  }
}
