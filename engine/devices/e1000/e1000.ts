import { DisposableStore } from '../../base/disposable.ts';
import { type Log, limitedLog, silentLog } from '../../base/log.ts';
import type { AccessSize } from '../../bus/bus.ts';
import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { type NetworkPort, noOffloads } from '../../net/network-port.ts';
import { PCI_STATUS, type PciBuses, PciFunction, type PciFunctionState } from '../../pci/pci-function.ts';
import type { Device, DeviceId, StateValue } from '../device.ts';
import { StateReader } from '../state.ts';
import { Eeprom, type EepromState } from './eeprom.ts';
import { PHY_ADDRESS, PHY_REGISTERS, Phy } from './phy.ts';
import { type ReceiveRules, Receiver } from './receiver.ts';
import * as r from './registers.ts';
import { type DescriptorRing, Transmitter } from './transmitter.ts';

const VENDOR_ID = 0x8086;
const DEVICE_ID = 0x100e;
const SUBSYSTEM_ID = 0x001e;
const MMIO_BYTES = 0x20000;
const IO_BYTES = 64;
const IO_ADDRESS = 0;
const IO_DATA = 4;
/** The unit of ITR. */
const THROTTLE_NANOS: Nanos = 256;
const NO_CAUSES = 0;

export interface E1000Wiring {
  readonly buses: PciBuses;
  readonly memory: GuestMemory;
  readonly clock: Clock;
  /** INTA#. */
  readonly line: InterruptLine;
  readonly network: NetworkPort;
  readonly log?: Log;
}

export interface E1000Config {
  /** Six bytes, not a group address. */
  readonly mac: Uint8Array;
}

export type E1000State = {
  pci: PciFunctionState;
  registers: Uint8Array;
  causes: number;
  mask: number;
  ioAddress: number;
  quietUntil: number;
  phy: Uint8Array;
  eeprom: EepromState;
  transmitter: StateValue;
};

/**
 * The Intel PRO/1000 MT desktop adapter (82540EM): the network card that every system has a driver for. Registers in
 * memory (BAR 0, 128 KiB) and by address and data ports (BAR 1). Checksums and segmentation of what it sends are passed
 * on to the network as work left; what it receives is complete. Interrupts may be throttled; the delay timers expire at
 * once.
 */
export class E1000 implements Device<E1000State> {
  readonly id: DeviceId;
  readonly pci: PciFunction;
  readonly #registers = new Uint32Array(r.REGISTERS_END / 4);
  readonly #eeprom: Eeprom;
  readonly #phy = new Phy();
  readonly #transmitter: Transmitter;
  readonly #receiver: Receiver;
  readonly #network: NetworkPort;
  readonly #line: InterruptLine;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #throttle: Alarm;
  readonly #mac: Uint8Array;
  readonly #store = new DisposableStore();
  /** Causes of interrupts, pending and enabled (ICR, IMS). */
  #causes = NO_CAUSES;
  #mask = NO_CAUSES;
  #asserted = false;
  /** No interrupt before this. */
  #quietUntil: Nanos = 0;
  #ioAddress = 0;

  constructor(id: DeviceId, wiring: E1000Wiring, config: E1000Config) {
    this.id = id;
    this.#network = wiring.network;
    this.#line = wiring.line;
    this.#clock = wiring.clock;
    this.#log = limitedLog(wiring.log ?? silentLog);
    this.#mac = config.mac.slice();
    this.#eeprom = new Eeprom(this.#mac, { vendorId: VENDOR_ID, deviceId: DEVICE_ID, subsystemId: SUBSYSTEM_ID });
    this.#throttle = this.#store.add(wiring.clock.createAlarm(() => this.#updateLine()));
    this.#transmitter = new Transmitter(wiring.memory, wiring.network, (bytes) => this.#countSent(bytes));
    this.#receiver = new Receiver(wiring.memory, wiring.network, (bytes) => this.#countReceived(bytes));
    const identity = {
      vendorId: VENDOR_ID,
      deviceId: DEVICE_ID,
      classCode: 0x020000,
      revision: 2,
      subsystemVendorId: VENDOR_ID,
      subsystemId: SUBSYSTEM_ID,
      interruptPin: 1,
    };
    this.pci = new PciFunction(id, identity, wiring.buses, [
      {
        kind: 'mmio',
        size: MMIO_BYTES,
        handler: {
          readMmio: (offset, size) => this.#readMmio(offset, size),
          writeMmio: (offset, size, value) => this.#writeMmio(offset, size, value),
        },
      },
      {
        kind: 'io',
        size: IO_BYTES,
        handler: {
          readPort: (offset, size) => this.#readPort(offset, size),
          writePort: (offset, size, value) => this.#writePort(offset, size, value),
        },
      },
    ]);
    this.pci.setU16(PCI_STATUS, 0x0230); // fast back-to-back, medium DEVSEL timing, 66 MHz
    this.pci.onConfigWrite = (offset) => {
      if (offset < 0x06) {
        this.#transmit(); // may have waited for the bus master bit
        this.#receive();
      }
    };
    this.#store.add(
      wiring.network.connect({
        frameWaiting: () => this.#receive(),
        roomToSend: () => this.#transmit(),
        linkChanged: () => this.#raise(r.ICR_LSC),
      }),
    );
    wiring.network.setReceiveOffloads(noOffloads);
    this.reset();
  }

  #get(register: number): number {
    return this.#registers[register >>> 2] as number;
  }

  #set(register: number, value: number): void {
    this.#registers[register >>> 2] = value;
  }

  reset(): void {
    this.pci.reset();
    this.#phy.reset();
    this.#eeprom.reset();
    this.#ioAddress = 0;
    this.#resetController();
  }

  /** CTRL.RST: everything but the transceiver, the EEPROM and configuration space. */
  #resetController(): void {
    this.#registers.fill(0);
    this.#set(r.CTRL, r.CTRL_FD | r.CTRL_SPEED_1000 | r.CTRL_SLU);
    this.#set(r.PBA, 0x0010_0030);
    this.#set(r.LEDCTL, 0x0706_8302);
    this.#set(r.MANC, 0);
    // The card's own address is the first that it receives for.
    const mac = this.#mac;
    const byte = (i: number) => mac[i] ?? 0;
    this.#set(r.RA, (byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24)) >>> 0);
    this.#set(r.RA + 4, (byte(4) | (byte(5) << 8) | 0x8000_0000) >>> 0);
    this.#transmitter.reset();
    this.#causes = NO_CAUSES;
    this.#mask = NO_CAUSES;
    this.#quietUntil = 0;
    this.#updateLine();
  }

  // --- Interrupts ---

  #raise(causes: number): void {
    this.#causes |= causes;
    this.#updateLine();
  }

  #updateLine(): void {
    const wanted = (this.#causes & this.#mask) !== 0;
    if (!wanted) {
      this.#throttle.cancel();
      if (this.#asserted) {
        this.#asserted = false;
        this.#line.set(false);
        this.#quietUntil = this.#clock.now() + (this.#get(r.ITR) & 0xffff) * THROTTLE_NANOS;
      }
      return;
    }
    if (this.#asserted) {
      return;
    }
    if (this.#quietUntil > this.#clock.now()) {
      if (this.#throttle.deadline === undefined) {
        this.#throttle.set(this.#quietUntil);
      }
      return;
    }
    this.#throttle.cancel();
    this.#asserted = true;
    this.#line.set(true);
  }

  // --- Frames ---

  /** The ring whose registers begin at `base`; undefined while there is none that makes sense. */
  #ring(base: number): DescriptorRing | undefined {
    const count = (this.#get(base + 8) & 0xfff80) >>> 4;
    const head = this.#get(base + 0x10) & 0xffff;
    const tail = this.#get(base + 0x18) & 0xffff;
    if (head >= count || tail >= count || !this.pci.busMaster) {
      return undefined;
    }
    return { base: this.#ringBase(base), count, head, tail };
  }

  #ringBase(base: number): number {
    return ((this.#get(base) & ~0xf) >>> 0) + this.#get(base + 4) * 2 ** 32;
  }

  #transmit(): void {
    if ((this.#get(r.TCTL) & r.TCTL_EN) === 0) {
      return;
    }
    const ring = this.#ring(r.TDBAL);
    if (ring === undefined || ring.head === ring.tail) {
      return;
    }
    const insert = (this.#get(r.CTRL) & r.CTRL_VME) !== 0;
    const reported = this.#transmitter.run(ring, {
      pad: (this.#get(r.TCTL) & r.TCTL_PSP) !== 0,
      vlanType: insert ? this.#get(r.VET) & 0xffff : undefined,
    });
    this.#set(r.TDH, ring.head);
    this.#raise((reported ? r.ICR_TXDW : 0) | (ring.head === ring.tail ? r.ICR_TXQE : 0));
  }

  #receive(): void {
    const control = this.#get(r.RCTL);
    if ((control & r.RCTL_EN) === 0) {
      this.#receiver.discard();
      return;
    }
    const ring = this.#ring(r.RDBAL);
    if (ring === undefined) {
      return;
    }
    const sums = this.#get(r.RXCSUM);
    const size = (control >>> 16) & 3;
    const rules: ReceiveRules = {
      bufferBytes: (control & r.RCTL_BSEX) !== 0 && size !== 0 ? 32_768 >> size : 2048 >> size,
      stripCrc: (control & r.RCTL_SECRC) !== 0,
      longFrames: (control & r.RCTL_LPE) !== 0,
      reportIp: (sums & r.RXCSUM_IPOFL) !== 0,
      reportTransport: (sums & r.RXCSUM_TUOFL) !== 0,
      accepts: (frame) => this.#accepts(frame),
    };
    const received = this.#receiver.run(ring, rules);
    this.#set(r.RDH, ring.head);
    if (received) {
      const free = (ring.tail - ring.head + ring.count) % ring.count;
      const threshold = ring.count >> (((control >>> 8) & 3) + 1);
      this.#raise(r.ICR_RXT0 | (free <= threshold ? r.ICR_RXDMT0 : 0));
    }
  }

  /** Address and VLAN filters (Intel 317453, 3.2.1 and 9.3). */
  #accepts(frame: Uint8Array): boolean {
    const control = this.#get(r.RCTL);
    const byte = (i: number) => frame[i] ?? 0;
    if ((control & r.RCTL_VFE) !== 0 && ((byte(12) << 8) | byte(13)) === (this.#get(r.VET) & 0xffff)) {
      const vlan = ((byte(14) & 0xf) << 8) | byte(15);
      if ((this.#get(r.VFTA + (vlan >> 5) * 4) & (1 << (vlan & 31))) === 0) {
        return false;
      }
    }
    const low = (byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24)) >>> 0;
    const high = byte(4) | (byte(5) << 8);
    if (low === 0xffff_ffff && high === 0xffff) {
      return (control & (r.RCTL_BAM | r.RCTL_MPE)) !== 0;
    }
    const isGroup = (byte(0) & 1) !== 0;
    if ((control & (isGroup ? r.RCTL_MPE : r.RCTL_UPE)) !== 0) {
      return true;
    }
    for (let at = r.RA; at < r.RA_END; at += 8) {
      const entry = this.#get(at + 4);
      if ((entry & 0x8000_0000) !== 0 && (entry & 0xffff) === high && this.#get(at) === low) {
        return true;
      }
    }
    if (!isGroup) {
      return false;
    }
    const shift = [4, 3, 2, 0][(control >>> 12) & 3] ?? 0;
    const hash = (high >> shift) & 0xfff;
    return (this.#get(r.MTA + (hash >> 5) * 4) & (1 << (hash & 31))) !== 0;
  }

  #count(register: number, by: number): void {
    // Packet counters stick at their end (Intel 317453, 13.7).
    this.#set(register, Math.min(0xffff_ffff, this.#get(register) + by));
  }

  #countOctets(register: number, by: number): void {
    const sum = this.#get(register) + by;
    this.#set(register, sum);
    if (sum > 0xffff_ffff) {
      this.#set(register + 4, this.#get(register + 4) + 1);
    }
  }

  #countSent(bytes: Uint8Array): void {
    this.#count(r.GPTC, 1);
    this.#count(r.TPT, 1);
    this.#countOctets(r.GOTCL, bytes.length + 4);
    this.#countOctets(r.TOTL, bytes.length + 4);
  }

  #countReceived(bytes: Uint8Array): void {
    this.#count(r.GPRC, 1);
    this.#count(r.TPR, 1);
    this.#countOctets(r.GORCL, bytes.length + 4);
    this.#countOctets(r.TORL, bytes.length + 4);
    if (((bytes[0] ?? 0) & 1) !== 0) {
      this.#count(bytes[0] === 0xff ? r.BPRC : r.MPRC, 1);
    }
  }

  // --- Registers ---

  #readMmio(offset: number, size: AccessSize): number {
    const word = this.#read(offset & ~3);
    const shifted = word >>> ((offset & 3) * 8);
    return size === 4 ? shifted : size === 2 ? shifted & 0xffff : shifted & 0xff;
  }

  #writeMmio(offset: number, size: AccessSize, value: number): void {
    // Registers are written whole (13.1); others are undefined, and are left alone.
    if (size === 4 && (offset & 3) === 0) {
      this.#write(offset, value >>> 0);
    } else {
      this.#log.warn(`${this.id}: a write of ${size} bytes to register ${offset.toString(16)}h is ignored`);
    }
  }

  #readPort(offset: number, size: AccessSize): number {
    const word = offset < IO_DATA ? this.#ioAddress : offset < IO_DATA + 4 ? this.#read(this.#ioAddress) : 0;
    const shifted = word >>> ((offset & 3) * 8);
    return size === 4 ? shifted : size === 2 ? shifted & 0xffff : shifted & 0xff;
  }

  #writePort(offset: number, size: AccessSize, value: number): void {
    if (size !== 4) {
      return;
    }
    if (offset === IO_ADDRESS) {
      this.#ioAddress = value & (MMIO_BYTES - 1) & ~3;
    } else if (offset === IO_DATA) {
      this.#write(this.#ioAddress, value >>> 0);
    }
  }

  #read(register: number): number {
    if (register >= r.REGISTERS_END) {
      return 0;
    }
    switch (register) {
      case r.CTRL_DUP:
        return this.#get(r.CTRL);
      case r.STATUS:
        return r.STATUS_FD | r.STATUS_SPEED_1000 | (this.#network.linkUp ? r.STATUS_LU : 0);
      case r.EECD:
        return this.#eeprom.readControl();
      case r.ICR: {
        const causes = this.#causes;
        this.#causes = NO_CAUSES;
        this.#updateLine();
        return causes >>> 0;
      }
      case r.IMS:
        return this.#mask >>> 0;
      case r.ICS:
      case r.IMC:
        return 0;
      default: {
        const value = this.#get(register);
        if (register >= r.STATISTICS && register < r.STATISTICS_END) {
          this.#set(register, 0);
        }
        return value;
      }
    }
  }

  #write(register: number, value: number): void {
    if (register >= r.REGISTERS_END || (register >= r.STATISTICS && register < r.STATISTICS_END)) {
      return;
    }
    switch (register) {
      case r.CTRL:
      case r.CTRL_DUP:
        this.#writeControl(value);
        return;
      case r.EECD:
        this.#eeprom.writeControl(value);
        return;
      case r.EERD:
        this.#readEeprom(value);
        return;
      case r.MDIC:
        this.#manage(value);
        return;
      case r.STATUS:
        return;
      case r.ICR:
        this.#causes &= ~value;
        this.#updateLine();
        return;
      case r.IMC:
        this.#mask &= ~value;
        this.#updateLine();
        return;
      case r.ICS:
        this.#raise(value);
        return;
      case r.IMS:
        this.#mask |= value;
        this.#updateLine();
        return;
      case r.RDT:
        this.#set(register, value & 0xffff);
        this.#receive();
        return;
      case r.TDT:
        this.#set(register, value & 0xffff);
        this.#transmit();
        return;
      case r.RDH:
      case r.TDH:
        this.#set(register, value & 0xffff);
        return;
      case r.RCTL:
        this.#set(register, value);
        this.#receive();
        return;
      case r.TCTL:
        this.#set(register, value);
        this.#transmit();
        return;
    }
    this.#set(register, value);
  }

  #writeControl(value: number): void {
    if ((value & r.CTRL_PHY_RST) !== 0) {
      this.#phy.reset();
    }
    if ((value & r.CTRL_RST) !== 0) {
      this.#resetController();
      return;
    }
    this.#set(r.CTRL, (value & ~(r.CTRL_RST | r.CTRL_PHY_RST)) >>> 0);
  }

  #readEeprom(value: number): void {
    if ((value & r.EERD_START) !== 0) {
      const word = this.#eeprom.word((value >>> 8) & 0x3f);
      this.#set(r.EERD, ((word << 16) | (value & 0xff00) | r.EERD_DONE) >>> 0);
    } else {
      this.#set(r.EERD, value);
    }
  }

  /** MDIC: a register of the transceiver, at once. */
  #manage(value: number): void {
    const register = (value >>> 16) & 0x1f;
    const operation = (value >>> 26) & 3;
    let result = (value & 0x0fff_ffff) | r.MDIC_READY | (value & r.MDIC_INTERRUPT);
    let negotiated = false;
    if (((value >>> 21) & 0x1f) !== PHY_ADDRESS || (operation !== r.MDIC_OP_READ && operation !== r.MDIC_OP_WRITE)) {
      result |= r.MDIC_ERROR;
    } else if (operation === r.MDIC_OP_READ) {
      result = (result & ~0xffff) | this.#phy.read(register, this.#network.linkUp);
    } else {
      negotiated = this.#phy.write(register, value & 0xffff);
    }
    this.#set(r.MDIC, result >>> 0);
    this.#raise(((value & r.MDIC_INTERRUPT) !== 0 ? r.ICR_MDAC : 0) | (negotiated ? r.ICR_LSC : 0));
  }

  // --- Life ---

  save(): E1000State {
    return {
      pci: this.pci.save(),
      registers: new Uint8Array(this.#registers.buffer.slice(0)),
      causes: this.#causes >>> 0,
      mask: this.#mask >>> 0,
      ioAddress: this.#ioAddress,
      quietUntil: this.#quietUntil,
      phy: new Uint8Array(this.#phy.registers.buffer.slice(0)),
      eeprom: this.#eeprom.save(),
      transmitter: this.#transmitter.save(),
    };
  }

  load(state: StateValue): void {
    const reader = new StateReader(this.id, state);
    const config = reader.object('pci').bytes('config', 256);
    const registers = reader.bytes('registers', r.REGISTERS_END);
    const causes = reader.u32('causes');
    const mask = reader.u32('mask');
    const ioAddress = reader.int('ioAddress', 0, MMIO_BYTES - 4) & ~3;
    const quietUntil = reader.int('quietUntil', 0, Number.MAX_SAFE_INTEGER);
    const phy = reader.bytes('phy', PHY_REGISTERS * 2);
    const eeprom = this.#eeprom.read(reader.object('eeprom'));
    const contexts = this.#transmitter.read(reader.object('transmitter'));
    this.#registers.set(new Uint32Array(registers.buffer, registers.byteOffset, r.REGISTERS_END / 4));
    this.#phy.registers.set(new Uint16Array(phy.buffer, phy.byteOffset, PHY_REGISTERS));
    this.#eeprom.load(eeprom);
    this.#transmitter.load(contexts);
    this.#ioAddress = ioAddress;
    this.#quietUntil = quietUntil;
    this.#causes = causes | 0;
    this.#mask = mask | 0;
    this.pci.load({ config });
    // The line is driven anew: whoever saved it as asserted has it asserted again.
    this.#throttle.cancel();
    this.#asserted = false;
    this.#line.set(false);
    this.#updateLine();
  }

  dispose(): void {
    this.#store.dispose();
    this.pci.dispose();
  }

  describe(): string {
    const hex = (register: number) => this.#get(register).toString(16);
    const ring = (name: string, base: number) =>
      `${name} ring at ${this.#ringBase(base).toString(16)}, ${hex(base + 8)} bytes, head ${hex(base + 0x10)}, tail ${hex(base + 0x18)}`;
    return [
      `link ${this.#network.linkUp ? 'up' : 'down'}, causes ${this.#causes.toString(16)}, mask ${this.#mask.toString(16)}`,
      `receive control ${hex(r.RCTL)}, transmit control ${hex(r.TCTL)}`,
      ring('receive', r.RDBAL),
      ring('transmit', r.TDBAL),
    ].join('\n');
  }
}
