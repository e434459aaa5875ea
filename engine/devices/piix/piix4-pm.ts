import type { AccessSize, Mapping, PioHandler } from '../../bus/bus.ts';
import type { Alarm, Clock } from '../../clock/clock.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { PciBus } from '../../pci/pci-bus.ts';
import { PCI_STATUS, type PciBuses, PciFunction, type PciFunctionState } from '../../pci/pci-function.ts';
import type { Device } from '../device.ts';
import { StateReader } from '../state.ts';
import { nanosOf, ticksAt } from './pm-timer.ts';

/** Configuration registers of the power management function (Intel 290562, section 7.1). */
export const PMBA = 0x40;
export const DEVACTB = 0x58;
export const PMREGMISC = 0x80;
const PMREGMISC_IO_ENABLE = 1 << 0;
const PM_IO_LENGTH = 64;

/** PM1 status and enable bits (ACPI 6.4, tables 4.13 and 4.14). */
export const PM1_TMR = 1 << 0;
export const PM1_GBL = 1 << 5;
export const PM1_PWRBTN = 1 << 8;
export const PM1_RTC = 1 << 10;
export const PM1_WAK = 1 << 15;
const PM1_STATUS_BITS = PM1_TMR | (1 << 4) | PM1_GBL | PM1_PWRBTN | (1 << 9) | PM1_RTC | (1 << 14) | PM1_WAK;
const PM1_ENABLE_BITS = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC;
/** PM1 control bits (ACPI 6.4, table 4.15). */
export const PM1_SCI_EN = 1 << 0;
export const PM1_SLP_EN = 1 << 13;
const PM1_CONTROL_BITS = PM1_SCI_EN | (1 << 1) | (7 << 10);
/** SLP_TYP of soft-off on this chip. */
export const SLP_TYP_S5 = 0;

/** What an ACPI system writes to SMI_CMD (port 0xB2) to take over and to hand back; the FADT names these values. */
export const APM_CONTROL_PORT = 0xb2;
export const ACPI_ENABLE = 0xf1;
export const ACPI_DISABLE = 0xf0;

/** General purpose event block 0: two status bytes, two enable bytes, at a fixed address. */
export const GPE0_PORT = 0xafe0;
export const GPE0_LENGTH = 4;

export interface Piix4PmWiring extends PciBuses {
  readonly bus: PciBus;
  readonly clock: Clock;
  /** ISA interrupt 9, level-triggered. */
  readonly sci: InterruptLine;
  /** The guest has entered S5. Called from within a port write. */
  readonly onPowerOff: () => void;
}

export interface Piix4PmConfig {
  /** Width of the PM timer's counter; must agree with TMR_VAL_EXT in the FADT. */
  readonly timerBits?: 24 | 32;
}

export type Piix4PmState = {
  pci: PciFunctionState;
  status: number;
  enable: number;
  control: number;
  gpeStatus: number;
  gpeEnable: number;
  apmControl: number;
  apmStatus: number;
  timerToggle: number;
};

/**
 * Function 3 of slot 1: the power management function of the 82371AB, as ACPI fixed hardware. There is no SMM: the
 * switch between legacy and ACPI mode happens in the chip when SMI_CMD is written. It puts itself on `wiring.bus`;
 * its I/O block stands where PMBA says.
 */
export class Piix4Pm implements Device<Piix4PmState> {
  readonly id: string;
  readonly pci: PciFunction;
  /** Two ports at 0xB2: APM control and status. */
  readonly apm: PioHandler;
  /** Four ports at 0xAFE0. */
  readonly gpe: PioHandler;
  readonly #wiring: Piix4PmWiring;
  readonly #place: { dispose(): void };
  readonly #io: PioHandler;
  readonly #alarm: Alarm;
  /** Ticks between two changes of the timer's highest bit, each of which sets TMR_STS. */
  readonly #halfPeriod: number;
  #mapping: Mapping | undefined;
  #status = 0;
  #enable = 0;
  #control = 0;
  #gpeStatus = 0;
  #gpeEnable = 0;
  #apmControl = 0;
  #apmStatus = 0;
  /** The tick at which the highest bit changes next, after which TMR_STS is set. */
  #timerToggle: number;

  constructor(id: string, wiring: Piix4PmWiring, config: Piix4PmConfig = {}) {
    this.id = id;
    this.#wiring = wiring;
    this.#halfPeriod = 2 ** ((config.timerBits ?? 24) - 1);
    this.#timerToggle = this.#nextToggle();
    this.#alarm = wiring.clock.createAlarm(() => this.#update());
    const pci = new PciFunction(
      id,
      {
        vendorId: 0x8086,
        deviceId: 0x7113,
        classCode: 0x068000,
        revision: 0x03,
        subsystemVendorId: 0x1af4,
        subsystemId: 0x1100,
        interruptPin: 1,
      },
      wiring,
    );
    this.pci = pci;
    pci.setU16(PCI_STATUS, 0x0280);
    pci.writable.fill(0, 0x04, 0x06);
    pci.writable[0x04] = 0x01; // I/O space (the SMBus host, which is not there)
    pci.setU32(PMBA, 1);
    pci.writable[PMBA] = 0xc0;
    pci.writable[PMBA + 1] = 0xff;
    for (const [offset, value, mask] of [
      [0x44, 0, 0xff],
      [0x45, 0, 0xff],
      [0x46, 0, 0xff],
      [0x47, 0, 0xff],
      [0x48, 0, 0xff],
      [0x49, 0, 0xff],
      [0x4a, 0, 0xff],
      [0x4b, 0, 0xff],
      [DEVACTB, 0, 0xff],
      [DEVACTB + 1, 0, 0xff],
      [DEVACTB + 2, 0, 0xff],
      // APMC_EN is set from the start: firmware takes it as a sign that SMM is set up and leaves it alone.
      [DEVACTB + 3, 0x02, 0xfd],
      [0x5f, 0x10, 0xff],
      [0x63, 0x60, 0xff],
      [0x67, 0x98, 0xff],
      [PMREGMISC, 0, 0x01],
    ] as const) {
      pci.setU8(offset, value);
      pci.writable[offset] = mask;
    }
    pci.onConfigWrite = () => this.#placeIo();
    this.#io = {
      readPort: (offset, size) => this.#readIo(offset, size),
      writePort: (offset, size, value) => this.#writeIo(offset, size, value),
    };
    this.apm = {
      readPort: (offset, size) => {
        const both = this.#apmControl | (this.#apmStatus << 8);
        return size === 1 ? (offset === 0 ? this.#apmControl : this.#apmStatus) : both;
      },
      writePort: (offset, size, value) => {
        if (offset === 1) {
          this.#apmStatus = value & 0xff;
          return;
        }
        if (size > 1) {
          this.#apmStatus = (value >>> 8) & 0xff;
        }
        this.#writeApmControl(value & 0xff);
      },
    };
    this.gpe = {
      readPort: (offset, size) => {
        const value = (this.#gpeStatus | (this.#gpeEnable << 16)) >>> (offset * 8);
        return size === 4 ? value >>> 0 : value & (size === 2 ? 0xffff : 0xff);
      },
      writePort: (offset, size, value) => {
        for (let i = 0; i < size; i++) {
          this.#writeGpe(offset + i, (value >>> (i * 8)) & 0xff);
        }
        this.#update();
      },
    };
    this.#place = wiring.bus.add(1, 3, pci);
  }

  /** A short press of the power button: an event for the guest, which decides what follows. */
  pressPowerButton(): void {
    this.#status |= PM1_PWRBTN;
    this.#update();
  }

  /** Raises general purpose event `event` (0–15). */
  raiseGpe(event: number): void {
    this.#gpeStatus |= (1 << event) & 0xffff;
    this.#update();
  }

  /** True once an operating system has switched to ACPI mode, so that it will notice the power button. */
  get acpiEnabled(): boolean {
    return (this.#control & PM1_SCI_EN) !== 0;
  }

  reset(): void {
    this.#status = 0;
    this.#enable = 0;
    this.#control = 0;
    this.#gpeStatus = 0;
    this.#gpeEnable = 0;
    this.#apmControl = 0;
    this.#apmStatus = 0;
    this.#timerToggle = this.#nextToggle();
    this.pci.reset();
    this.#placeIo();
    this.#update();
  }

  save(): Piix4PmState {
    return {
      pci: this.pci.save(),
      status: this.#status,
      enable: this.#enable,
      control: this.#control,
      gpeStatus: this.#gpeStatus,
      gpeEnable: this.#gpeEnable,
      apmControl: this.#apmControl,
      apmStatus: this.#apmStatus,
      timerToggle: this.#timerToggle,
    };
  }

  load(state: Piix4PmState): void {
    const reader = new StateReader(this.id, state);
    const status = reader.u16('status');
    const enable = reader.u16('enable');
    const control = reader.u16('control');
    const gpeStatus = reader.u16('gpeStatus');
    const gpeEnable = reader.u16('gpeEnable');
    const apmControl = reader.u8('apmControl');
    const apmStatus = reader.u8('apmStatus');
    const timerToggle = reader.int('timerToggle', 0, 2 ** 46);
    const config = reader.object('pci').bytes('config', 256);
    this.#status = status & PM1_STATUS_BITS;
    this.#enable = enable & PM1_ENABLE_BITS;
    this.#control = control & PM1_CONTROL_BITS;
    this.#gpeStatus = gpeStatus;
    this.#gpeEnable = gpeEnable;
    this.#apmControl = apmControl;
    this.#apmStatus = apmStatus;
    this.#timerToggle = timerToggle;
    this.pci.load({ config });
    this.#placeIo();
    this.#update();
  }

  describe(): string {
    const hex = (value: number) => value.toString(16).padStart(4, '0');
    return (
      `PM I/O at ${this.#mapping === undefined ? 'nowhere' : hex(this.#mapping.base)}, ` +
      `PM1 status ${hex(this.#status)} enable ${hex(this.#enable)} control ${hex(this.#control)}, ` +
      `GPE0 status ${hex(this.#gpeStatus)} enable ${hex(this.#gpeEnable)}, timer ${this.#timer().toString(16)}`
    );
  }

  dispose(): void {
    this.#alarm.dispose();
    this.#mapping?.dispose();
    this.#mapping = undefined;
    this.#place.dispose();
    this.pci.dispose();
  }

  #placeIo(): void {
    const base = this.pci.readU16(PMBA) & 0xffc0;
    if (((this.pci.config[PMREGMISC] ?? 0) & PMREGMISC_IO_ENABLE) === 0 || base === 0) {
      this.#mapping?.dispose();
      this.#mapping = undefined;
    } else if (this.#mapping === undefined) {
      this.#mapping = this.#wiring.ports.map(base, PM_IO_LENGTH, this.#io, this.id, { guestPlaced: true });
    } else if (this.#mapping.base !== base) {
      this.#mapping.move(base);
    }
  }

  #nextToggle(): number {
    return (Math.floor(ticksAt(this.#wiring.clock.now()) / this.#halfPeriod) + 1) * this.#halfPeriod;
  }

  #timer(): number {
    return ticksAt(this.#wiring.clock.now()) % (this.#halfPeriod * 2);
  }

  /** PM1 status with TMR_STS as of now. */
  #currentStatus(): number {
    if (ticksAt(this.#wiring.clock.now()) >= this.#timerToggle) {
      this.#status |= PM1_TMR;
      this.#timerToggle = this.#nextToggle();
    }
    return this.#status;
  }

  /** Drives the SCI, and sets the alarm if the timer could raise it. */
  #update(): void {
    const active = (this.#currentStatus() & this.#enable) | (this.#gpeStatus & this.#gpeEnable);
    const acpi = (this.#control & PM1_SCI_EN) !== 0;
    this.#wiring.sci.set(acpi && active !== 0);
    if (acpi && (this.#enable & PM1_TMR) !== 0 && (this.#status & PM1_TMR) === 0) {
      this.#alarm.set(nanosOf(this.#timerToggle));
    } else {
      this.#alarm.cancel();
    }
  }

  #readIo(offset: number, size: AccessSize): number {
    let value = 0;
    const timer = offset < 0x0c && offset + size > 0x08 ? this.#timer() : 0;
    for (let i = size - 1; i >= 0; i--) {
      value = (value << 8) | this.#readIoByte(offset + i, timer);
    }
    return value >>> 0;
  }

  #readIoByte(offset: number, timer: number): number {
    const shift = (offset & 1) * 8;
    switch (offset & ~1) {
      case 0x00:
        return (this.#currentStatus() >>> shift) & 0xff;
      case 0x02:
        return (this.#enable >>> shift) & 0xff;
      case 0x04:
        return (this.#control >>> shift) & 0xff;
      case 0x08:
      case 0x0a:
        return (timer >>> ((offset & 3) * 8)) & 0xff;
      default:
        return 0;
    }
  }

  #writeIo(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      const byte = (value >>> (i * 8)) & 0xff;
      const shift = (at & 1) * 8;
      switch (at & ~1) {
        case 0x00:
          this.#status = this.#currentStatus() & ~(byte << shift);
          break;
        case 0x02:
          this.#enable = ((this.#enable & ~(0xff << shift)) | (byte << shift)) & PM1_ENABLE_BITS;
          break;
        case 0x04:
          this.#control = ((this.#control & ~(0xff << shift)) | (byte << shift)) & PM1_CONTROL_BITS;
          if (((byte << shift) & PM1_SLP_EN) !== 0 && ((this.#control >> 10) & 7) === SLP_TYP_S5) {
            this.#wiring.onPowerOff();
          }
          break;
      }
    }
    if (offset < 6) {
      this.#update();
    }
  }

  #writeGpe(offset: number, byte: number): void {
    const shift = (offset & 1) * 8;
    if (offset < 2) {
      this.#gpeStatus &= ~(byte << shift);
    } else {
      this.#gpeEnable = (this.#gpeEnable & ~(0xff << shift)) | (byte << shift);
    }
  }

  #writeApmControl(value: number): void {
    this.#apmControl = value;
    if (value === ACPI_ENABLE) {
      this.#control |= PM1_SCI_EN;
    } else if (value === ACPI_DISABLE) {
      this.#control &= ~PM1_SCI_EN;
    }
    this.#update();
  }
}
