import type { AccessSize, MmioHandler } from '../bus/bus.ts';
import type { Device, StateValue } from '../devices/device.ts';
import { StateReader } from '../devices/state.ts';
import { type ApicMessages, DELIVERY_EXTINT, DELIVERY_LOWEST_PRIORITY, type EoiListener } from './apic-messages.ts';
import type { LevelEntry } from './lent-apics.ts';
import { type InterruptLine, unconnectedLine } from './line.ts';

export const IO_APIC_PINS = 24;

const IOREGSEL = 0x00;
const IOWIN = 0x10;
/** Directed EOI, of version 0x20 and later. */
const IOEOI = 0x40;

const INDEX_ID = 0x00;
const INDEX_VERSION = 0x01;
const INDEX_ARBITRATION = 0x02;
const INDEX_REDIRECTION = 0x10;

/** The low half of a redirection entry (82093AA datasheet, 3.2.4). */
const RTE_LOGICAL = 1 << 11;
const RTE_REMOTE_IRR = 1 << 14;
const RTE_LEVEL = 1 << 15;
const RTE_MASKED = 1 << 16;
/** Vector, delivery mode, destination mode, polarity, trigger mode and mask. */
const RTE_LOW_WRITABLE = 0x1afff;
const RTE_HIGH_WRITABLE = 0xff000000;

export interface IoApicWiring {
  readonly messages: ApicMessages;
  /** Brings the registers back where they are lent (lent-apics.ts): called before anyone looks at them. */
  readonly recall?: () => void;
}

/** The saved state of the I/O APIC. */
export type IoApicState = ReturnType<IoApic['save']>;

export interface IoApicConfig {
  /** 0x20 (default) has the EOI register, 0x11 has not. */
  readonly version?: 0x11 | 0x20;
  /** The id after reset (default 0); firmware sets the one its tables name. */
  readonly apicId?: number;
}

/**
 * The I/O APIC (Intel 82093AA, with the EOI register of its successors). Map {@link mmio} at 0xfec00000, one page.
 *
 * Lines carry logical levels (asserted or not), so that the polarity bit is stored and does nothing, as in every virtual PC.
 */
export class IoApic implements Device, EoiListener {
  readonly id: string;
  readonly mmio: MmioHandler;
  readonly #messages: ApicMessages;
  readonly #recall: () => void;
  readonly #version: number;
  readonly #initialId: number;
  readonly #lines: readonly InterruptLine[];
  readonly #low = new Uint32Array(IO_APIC_PINS);
  readonly #high = new Uint32Array(IO_APIC_PINS);
  /** Levels at the pins. */
  #levels = 0;
  #select = 0;
  #apicId: number;
  /** Called before anything follows from a change of the redirection entries. */
  onRedirection: (() => void) | undefined;

  constructor(id: string, wiring: IoApicWiring, config: IoApicConfig = {}) {
    this.id = id;
    this.#messages = wiring.messages;
    this.#recall = wiring.recall ?? (() => {});
    this.#version = config.version ?? 0x20;
    this.#initialId = config.apicId ?? 0;
    this.#apicId = this.#initialId;
    this.mmio = {
      readMmio: (offset, size) => {
        this.#recall();
        return this.#readMmio(offset, size);
      },
      writeMmio: (offset, size, value) => {
        this.#recall();
        this.#writeMmio(offset, size, value);
      },
    };
    this.#lines = Array.from({ length: IO_APIC_PINS }, (_, pin) => ({
      set: (asserted: boolean) => this.#setPin(pin, asserted),
    }));
    this.#low.fill(RTE_MASKED);
  }

  line(pin: number): InterruptLine {
    return this.#lines[pin] ?? unconnectedLine;
  }

  /** While the registers are lent: the level of a pin, from which nothing follows here. True when it has changed. */
  note(pin: number, asserted: boolean): boolean {
    const bit = pin < IO_APIC_PINS ? 1 << pin : 0;
    if (((this.#levels & bit) !== 0) === asserted) {
      return false;
    }
    this.#levels ^= bit;
    return bit !== 0;
  }

  /** An EOI for `vector`: from a local APIC (broadcast) or through the EOI register. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IO_APIC_PINS; pin++) {
      const entry = this.#low[pin] ?? 0;
      if ((entry & 0xff) === vector && (entry & RTE_LEVEL) !== 0 && (entry & RTE_REMOTE_IRR) !== 0) {
        this.#low[pin] = entry & ~RTE_REMOTE_IRR;
        this.#serviceLevel(pin);
      }
    }
  }

  #setPin(pin: number, asserted: boolean): void {
    const bit = 1 << pin;
    const before = (this.#levels & bit) !== 0;
    if (before === asserted) {
      return;
    }
    this.#levels ^= bit;
    if (!asserted) {
      return;
    }
    const entry = this.#low[pin] ?? 0;
    if ((entry & RTE_LEVEL) !== 0) {
      this.#serviceLevel(pin);
    } else if ((entry & RTE_MASKED) === 0) {
      // An edge at a masked pin is lost (82093AA datasheet, 3.2.4, interrupt mask).
      this.#send(pin, entry);
    }
  }

  /** Sends a level-triggered interrupt unless one is under way already. */
  #serviceLevel(pin: number): void {
    const entry = this.#low[pin] ?? 0;
    if (
      (this.#levels & (1 << pin)) !== 0 &&
      (entry & RTE_LEVEL) !== 0 &&
      (entry & (RTE_MASKED | RTE_REMOTE_IRR)) === 0
    ) {
      // Set before sending: the EOI may come while the message is being delivered.
      this.#low[pin] = entry | RTE_REMOTE_IRR;
      this.#send(pin, entry);
    }
  }

  #send(pin: number, entry: number): void {
    const mode = (entry >>> 8) & 7;
    this.#messages.deliver(
      (this.#high[pin] ?? 0) >>> 24,
      (entry & RTE_LOGICAL) !== 0,
      mode,
      mode === DELIVERY_EXTINT ? 0 : entry & 0xff,
      (entry & RTE_LEVEL) !== 0,
    );
  }

  /** All registers are 32 bits wide; narrower reads give their part. */
  #readMmio(offset: number, size: AccessSize): number {
    const register = offset & 0xfc;
    let value = 0;
    if (register === IOREGSEL) {
      value = this.#select;
    } else if (register === IOWIN) {
      value = this.#readRegister(this.#select);
    }
    const shifted = value >>> ((offset & 3) * 8);
    return size === 4 ? shifted : size === 2 ? shifted & 0xffff : shifted & 0xff;
  }

  #writeMmio(offset: number, size: AccessSize, value: number): void {
    const register = offset & 0xff;
    if (register === IOREGSEL) {
      this.#select = value & 0xff;
    } else if (size !== 4) {
      // Parts of a register cannot be written.
    } else if (register === IOWIN) {
      this.#writeRegister(this.#select, value);
    } else if (register === IOEOI && this.#version >= 0x20) {
      this.endOfInterrupt(value & 0xff);
    }
  }

  #readRegister(index: number): number {
    switch (index) {
      case INDEX_ID:
      case INDEX_ARBITRATION:
        return (this.#apicId << 24) >>> 0;
      case INDEX_VERSION:
        return this.#version | ((IO_APIC_PINS - 1) << 16);
    }
    const pin = (index - INDEX_REDIRECTION) >> 1;
    if (pin < 0 || pin >= IO_APIC_PINS) {
      return 0;
    }
    return ((index & 1) === 0 ? this.#low[pin] : this.#high[pin]) ?? 0;
  }

  #writeRegister(index: number, value: number): void {
    if (index === INDEX_ID) {
      this.#apicId = (value >>> 24) & 0x0f;
      return;
    }
    const pin = (index - INDEX_REDIRECTION) >> 1;
    if (pin < 0 || pin >= IO_APIC_PINS) {
      return;
    }
    if ((index & 1) !== 0) {
      this.#high[pin] = value & RTE_HIGH_WRITABLE;
      this.onRedirection?.();
      return;
    }
    let entry = (value & RTE_LOW_WRITABLE) | ((this.#low[pin] ?? 0) & RTE_REMOTE_IRR);
    if ((entry & RTE_LEVEL) === 0) {
      // Guests clear a stuck remote IRR by switching the pin to edge and back.
      entry &= ~RTE_REMOTE_IRR;
    }
    this.#low[pin] = entry;
    this.onRedirection?.();
    this.#serviceLevel(pin);
  }

  /** What level-triggered entries send, masked or not. */
  levelEntries(): LevelEntry[] {
    const entries: LevelEntry[] = [];
    for (let pin = 0; pin < IO_APIC_PINS; pin++) {
      const low = this.#low[pin] ?? 0;
      const mode = (low >>> 8) & 7;
      if ((low & RTE_LEVEL) !== 0 && mode <= DELIVERY_LOWEST_PRIORITY) {
        const destination = (this.#high[pin] ?? 0) >>> 24;
        entries.push({ pin, destination, logical: (low & RTE_LOGICAL) !== 0, mode, vector: low & 0xff });
      }
    }
    return entries;
  }

  /**
   * After others had the APICs: ends the interrupts that no local APIC has any more, whose EOI was lost on the way, and
   * sends those that wait.
   */
  settle(isUnderWay: (vector: number) => boolean): void {
    for (let pin = 0; pin < IO_APIC_PINS; pin++) {
      const entry = this.#low[pin] ?? 0;
      if ((entry & RTE_REMOTE_IRR) !== 0 && !isUnderWay(entry & 0xff)) {
        this.endOfInterrupt(entry & 0xff);
      }
      this.#serviceLevel(pin);
    }
  }

  reset(): void {
    this.#recall();
    this.#select = 0;
    this.#apicId = this.#initialId;
    this.#low.fill(RTE_MASKED);
    this.#high.fill(0);
    this.onRedirection?.();
  }

  save() {
    this.#recall();
    return {
      apicId: this.#apicId,
      select: this.#select,
      levels: this.#levels,
      low: Array.from(this.#low),
      high: Array.from(this.#high),
    };
  }

  load(state: StateValue): void {
    this.#recall();
    const reader = new StateReader(this.id, state);
    const apicId = reader.int('apicId', 0, 0x0f);
    const select = reader.u8('select');
    const levels = reader.int('levels', 0, (1 << IO_APIC_PINS) - 1);
    const low = reader.ints('low', 0, 0xffffffff, IO_APIC_PINS);
    const high = reader.ints('high', 0, 0xffffffff, IO_APIC_PINS);
    this.#apicId = apicId;
    this.#select = select;
    this.#levels = levels;
    for (let pin = 0; pin < IO_APIC_PINS; pin++) {
      this.#low[pin] = (low[pin] ?? 0) & (RTE_LOW_WRITABLE | RTE_REMOTE_IRR);
      this.#high[pin] = (high[pin] ?? 0) & RTE_HIGH_WRITABLE;
    }
    this.onRedirection?.();
  }

  describe(): string {
    this.#recall();
    const rows = Array.from(this.#low, (low, pin) => {
      const high = this.#high[pin] ?? 0;
      const level = (this.#levels & (1 << pin)) === 0 ? '' : ' asserted';
      return `pin ${pin}: ${high.toString(16).padStart(8, '0')}:${low.toString(16).padStart(8, '0')}${level}`;
    });
    return [`I/O APIC id ${this.#apicId}`, ...rows].join('\n');
  }

  dispose(): void {}
}
