import type { PioHandler } from '../../bus/bus.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { PciBus } from '../../pci/pci-bus.ts';
import { PCI_COMMAND, PCI_STATUS, type PciBuses, PciFunction, type PciFunctionState } from '../../pci/pci-function.ts';
import { pirqOf } from '../../pci/pirq.ts';
import type { Device } from '../device.ts';
import { StateReader } from '../state.ts';

/** PIRQ route control registers A–D of the 82371SB (Intel 290550, section 2.2.5). */
export const PIRQRCA = 0x60;
const PIRQ_DISABLE = 0x80;
/** ISA interrupts to which a PIRQ may be routed; the register has no other codes. */
const ROUTABLE = 0b1101_1110_1111_1000;

/** Reset control register at port 0xCF9 (Intel 290550, section 2.5.4.2). */
export const RESET_CONTROL_PORT = 0xcf9;
export const RCR_SYSTEM_RESET = 1 << 1;
export const RCR_RESET_CPU = 1 << 2;

/** System control port A (IBM PS/2): bit 0 resets the processor when it rises, bit 1 is the fast A20 gate. */
export const SYSTEM_CONTROL_PORT_A = 0x92;
const FAST_RESET = 1 << 0;
const FAST_A20 = 1 << 1;

export interface Piix3Wiring extends PciBuses {
  readonly bus: PciBus;
  /** One input of ISA interrupt 0–15, at the PIC and the I/O APIC both; several inputs of one interrupt are ORed. */
  readonly isaLine: (irq: number) => InterruptLine;
  /** A guest has asked for a reset of the whole machine. Called from within a port write: takes effect afterwards. */
  readonly onReset: () => void;
  /** The guest has moved the fast A20 gate. Called on writes only; the gate itself is open after a machine reset. */
  readonly setA20: (enabled: boolean) => void;
}

export type Piix3State = {
  pci: PciFunctionState;
  resetControl: number;
  systemControl: number;
  inputs: Uint8Array;
};

/**
 * Function 0 of the 82371SB at slot 1: the ISA bridge. It routes the PCI interrupts to ISA interrupts, and owns the
 * reset control register and port 0x92. It puts itself on `wiring.bus`.
 */
export class Piix3 implements Device<Piix3State> {
  readonly id: string;
  readonly pci: PciFunction;
  /** One port at 0xCF9: hand it to the host bridge, whose address register surrounds it. */
  readonly resetControl: PioHandler;
  /** One port at 0x92. */
  readonly systemControl: PioHandler;
  readonly #wiring: Piix3Wiring;
  readonly #place: { dispose(): void };
  readonly #isaLines: (InterruptLine | undefined)[];
  /** What this bridge drives at present, a bit for each ISA interrupt. */
  #driven = 0;
  /** Level of every input handed out, in order of creation, and the PIRQ it belongs to. */
  readonly #levels: number[] = [];
  readonly #pirqs: number[] = [];
  readonly #asserted = [0, 0, 0, 0];
  #rcr = 0;
  #port92 = 0;

  constructor(id: string, wiring: Piix3Wiring) {
    this.id = id;
    this.#wiring = wiring;
    this.#isaLines = Array.from({ length: 16 }, (_, irq) => ((ROUTABLE >> irq) & 1 ? wiring.isaLine(irq) : undefined));
    const pci = new PciFunction(
      id,
      {
        vendorId: 0x8086,
        deviceId: 0x7000,
        classCode: 0x060100,
        subsystemVendorId: 0x1af4,
        subsystemId: 0x1100,
        multifunction: true,
      },
      wiring,
    );
    this.pci = pci;
    pci.setU16(PCI_COMMAND, 0x0007);
    pci.setU16(PCI_STATUS, 0x0200);
    pci.writable.fill(0, PCI_COMMAND, PCI_COMMAND + 2);
    pci.writable.fill(0, 0x0c, 0x0e);
    pci.writable[0x3c] = 0;
    for (const [offset, value, mask] of [
      [0x4c, 0x4d, 0xff], // ISA I/O recovery timer
      [0x4e, 0x03, 0xff], // X-bus chip select
      [0x4f, 0x00, 0x01],
      [PIRQRCA, PIRQ_DISABLE, 0x8f],
      [PIRQRCA + 1, PIRQ_DISABLE, 0x8f],
      [PIRQRCA + 2, PIRQ_DISABLE, 0x8f],
      [PIRQRCA + 3, PIRQ_DISABLE, 0x8f],
      [0x69, 0x02, 0xfe], // top of memory
      [0x6a, 0x00, 0x00],
      [0x70, 0x80, 0xef], // motherboard device IRQ route
      [0x76, 0x0c, 0x8f],
      [0x77, 0x0c, 0x8f],
      [0x78, 0x02, 0xff], // programmable chip select
      [0x82, 0x00, 0x0f], // deterministic latency
      [0xa0, 0x08, 0x1f], // SMI control: stored, there is no SMM
      [0xa2, 0x00, 0xff],
      [0xa3, 0x00, 0xff],
      [0xa4, 0x00, 0xff],
      [0xa8, 0x0f, 0xff],
      [0xaa, 0x00, 0xff],
      [0xac, 0x00, 0xff],
      [0xae, 0x00, 0xff],
    ] as const) {
      pci.setU8(offset, value);
      pci.writable[offset] = mask;
    }
    pci.onConfigWrite = (offset, size) => {
      if (offset < PIRQRCA + 4 && offset + size > PIRQRCA) {
        this.#route();
      }
    };
    this.resetControl = {
      readPort: () => this.#rcr,
      writePort: (_offset, _size, value) => {
        this.#rcr = value & RCR_SYSTEM_RESET;
        if ((value & RCR_RESET_CPU) !== 0) {
          wiring.onReset();
        }
      },
    };
    this.systemControl = {
      readPort: () => this.#port92,
      writePort: (_offset, _size, value) => this.#writePort92(value & 0xff),
    };
    this.#place = wiring.bus.add(1, 0, pci);
  }

  /**
   * An input for INTA–INTD (`pin` 1–4) of the device at `slot`. Every caller gets its own; a PIRQ is asserted while
   * any of its inputs is. Inputs are handed out while the machine is built, in the same order every time.
   */
  pciInterruptLine(slot: number, pin: number): InterruptLine {
    const index = this.#levels.length;
    const pirq = pirqOf(slot, pin);
    this.#levels.push(0);
    this.#pirqs.push(pirq);
    return {
      set: (asserted) => {
        const level = asserted ? 1 : 0;
        if (this.#levels[index] !== level) {
          this.#levels[index] = level;
          const before = this.#asserted[pirq] ?? 0;
          const after = before + (asserted ? 1 : -1);
          this.#asserted[pirq] = after;
          if ((before === 0) !== (after === 0)) {
            this.#route();
          }
        }
      },
    };
  }

  reset(): void {
    this.pci.reset();
    this.#rcr = 0;
    this.#port92 = 0;
    this.#route();
  }

  save(): Piix3State {
    return {
      pci: this.pci.save(),
      resetControl: this.#rcr,
      systemControl: this.#port92,
      inputs: Uint8Array.from(this.#levels),
    };
  }

  load(state: Piix3State): void {
    const reader = new StateReader(this.id, state);
    const resetControl = reader.u8('resetControl');
    const systemControl = reader.u8('systemControl');
    const inputs = reader.bytes('inputs', this.#levels.length);
    const config = reader.object('pci').bytes('config', 256);
    this.#rcr = resetControl & RCR_SYSTEM_RESET;
    this.#port92 = systemControl & (FAST_RESET | FAST_A20);
    this.#asserted.fill(0);
    for (const [index, level] of inputs.entries()) {
      this.#levels[index] = level & 1;
      const pirq = this.#pirqs[index] ?? 0;
      this.#asserted[pirq] = (this.#asserted[pirq] ?? 0) + (level & 1);
    }
    this.pci.load({ config });
    this.#route();
  }

  describe(): string {
    const routes = [0, 1, 2, 3].map((pirq) => {
      const route = this.pci.config[PIRQRCA + pirq] ?? 0;
      const target = (route & PIRQ_DISABLE) !== 0 ? 'off' : `IRQ ${route & 15}`;
      return `PIRQ${'ABCD'[pirq]} ${target}${this.#asserted[pirq] ? ' asserted' : ''}`;
    });
    return `${routes.join(', ')}; port 92 ${this.#port92.toString(16)}`;
  }

  dispose(): void {
    this.#place.dispose();
    this.pci.dispose();
  }

  /** Drives each ISA interrupt to the OR of the PIRQs that are routed to it. */
  #route(): void {
    let wanted = 0;
    for (let pirq = 0; pirq < 4; pirq++) {
      const route = this.pci.config[PIRQRCA + pirq] ?? PIRQ_DISABLE;
      if ((this.#asserted[pirq] ?? 0) > 0 && (route & PIRQ_DISABLE) === 0) {
        wanted |= 1 << (route & 15);
      }
    }
    wanted &= ROUTABLE;
    const changed = wanted ^ this.#driven;
    this.#driven = wanted;
    for (let irq = 3; irq < 16; irq++) {
      if ((changed >> irq) & 1) {
        this.#isaLines[irq]?.set(((wanted >> irq) & 1) !== 0);
      }
    }
  }

  #writePort92(value: number): void {
    const old = this.#port92;
    this.#port92 = value & (FAST_RESET | FAST_A20);
    this.#wiring.setA20((value & FAST_A20) !== 0);
    if ((value & ~old & FAST_RESET) !== 0) {
      this.#wiring.onReset();
    }
  }
}
