import type { AccessSize, PioHandler } from '../bus/bus.ts';
import type { Device, StateValue } from '../devices/device.ts';
import { StateReader } from '../devices/state.ts';
import { type InterruptLine, unconnectedLine } from './line.ts';

/** The input of the master to which the slave's INT output is wired. */
const CASCADE = 2;
/** Inputs 0, 1, 2, 8 and 13 cannot be made level triggered (PIIX3 datasheet, ELCR1 and ELCR2). */
const ELCR_MASTER_WRITABLE = 0xf8;
const ELCR_SLAVE_WRITABLE = 0xde;

const ICW1_IC4 = 0x01;
const ICW1_SINGLE = 0x02;
const ICW1_LEVEL = 0x08;
const ICW1 = 0x10;
const ICW4_AUTO_EOI = 0x02;
const ICW4_SPECIAL_FULLY_NESTED = 0x10;
const OCW3 = 0x08;
const OCW3_READ_ISR = 0x01;
const OCW3_READ_REGISTER = 0x02;
const OCW3_POLL = 0x04;
const OCW3_SPECIAL_MASK = 0x20;
const OCW3_ENABLE_SPECIAL_MASK = 0x40;

/** Which initialisation command word the chip waits for at its odd port; 0: none. */
type InitStep = 0 | 2 | 3 | 4;

/** One 8259A. `changed` is called after anything that may move its INT output. */
class Chip implements PioHandler {
  readonly #isMaster: boolean;
  readonly #elcrWritable: number;
  readonly #changed: () => void;
  /** Levels at the inputs; for the master, bit 2 is the slave's INT. */
  lines = 0;
  /** Inputs whose rising edge has been seen since initialisation. */
  seen = 0;
  /** Edges that wait for acknowledgement. */
  latched = 0;
  isr = 0;
  imr = 0;
  elcr = 0;
  base = 0;
  /** The input that has the highest priority at present. */
  highest = 0;
  initStep: InitStep = 0;
  needsIcw4 = false;
  single = false;
  levelMode = false;
  autoEoi = false;
  rotateOnAutoEoi = false;
  specialFullyNested = false;
  specialMask = false;
  readIsr = false;
  poll = false;

  constructor(isMaster: boolean, changed: () => void) {
    this.#isMaster = isMaster;
    this.#elcrWritable = isMaster ? ELCR_MASTER_WRITABLE : ELCR_SLAVE_WRITABLE;
    this.#changed = changed;
  }

  /** Inputs that are level triggered. The cascade input follows the slave, whose INT drops at each INTA. */
  #levelInputs(): number {
    return this.levelMode ? 0xff : this.#isMaster ? this.elcr | (1 << CASCADE) : this.elcr;
  }

  get irr(): number {
    const level = this.#levelInputs();
    return (this.latched & ~level) | (this.lines & level);
  }

  /** Rank of the best input in `inputs`: 0 is the highest priority, 8: none. */
  #rank(inputs: number): number {
    if (inputs === 0) {
      return 8;
    }
    const rotated = ((inputs >>> this.highest) | (inputs << (8 - this.highest))) & 0xff;
    return 31 - Math.clz32(rotated & -rotated);
  }

  /** The input that would be acknowledged now, or −1. */
  pending(): number {
    const requested = this.#rank(this.irr & ~this.imr);
    if (requested === 8) {
      return -1;
    }
    let inService = this.isr;
    if (this.specialMask) {
      inService &= ~this.imr;
    }
    if (this.specialFullyNested && this.#isMaster) {
      inService &= ~(1 << CASCADE);
    }
    return requested < this.#rank(inService) ? (requested + this.highest) & 7 : -1;
  }

  setLine(input: number, asserted: boolean): void {
    const bit = 1 << input;
    if (asserted) {
      this.lines |= bit;
      if ((this.seen & bit) === 0) {
        this.seen |= bit;
        this.latched |= bit;
      }
    } else {
      this.lines &= ~bit;
      this.seen &= ~bit;
    }
  }

  /** INTA for `input`: puts it in service. */
  take(input: number): void {
    const bit = 1 << input;
    this.latched &= ~bit;
    if (!this.autoEoi) {
      this.isr |= bit;
    } else if (this.rotateOnAutoEoi) {
      this.highest = (input + 1) & 7;
    }
  }

  /** Everything that ICW1 resets (8259A datasheet, "Initialization command words"). */
  initialise(): void {
    this.seen = 0;
    this.latched = 0;
    this.isr = 0;
    this.imr = 0;
    this.base = 0;
    this.highest = 0;
    this.initStep = 0;
    this.needsIcw4 = false;
    this.single = false;
    this.levelMode = false;
    this.autoEoi = false;
    this.rotateOnAutoEoi = false;
    this.specialFullyNested = false;
    this.specialMask = false;
    this.readIsr = false;
    this.poll = false;
  }

  reset(): void {
    this.initialise();
    this.elcr = 0;
  }

  readPort(offset: number, _size: AccessSize): number {
    if (this.poll) {
      // The read after a poll command acts as INTA (8259A datasheet, "Poll command").
      this.poll = false;
      const input = this.pending();
      if (input < 0) {
        return 0;
      }
      this.take(input);
      this.#changed();
      return 0x80 | input;
    }
    if ((offset & 1) !== 0) {
      return this.imr;
    }
    return this.readIsr ? this.isr : this.irr;
  }

  writePort(offset: number, _size: AccessSize, value: number): void {
    const byte = value & 0xff;
    if ((offset & 1) !== 0) {
      this.#writeOdd(byte);
    } else if ((byte & ICW1) !== 0) {
      this.initialise();
      this.initStep = 2;
      this.needsIcw4 = (byte & ICW1_IC4) !== 0;
      this.single = (byte & ICW1_SINGLE) !== 0;
      this.levelMode = (byte & ICW1_LEVEL) !== 0;
    } else if ((byte & OCW3) !== 0) {
      this.#writeOcw3(byte);
    } else {
      this.#writeOcw2(byte);
    }
    this.#changed();
  }

  #writeOdd(byte: number): void {
    switch (this.initStep) {
      case 0:
        this.imr = byte;
        return;
      case 2:
        this.base = byte & 0xf8;
        this.initStep = this.single ? (this.needsIcw4 ? 4 : 0) : 3;
        return;
      case 3:
        // ICW3 describes the cascade, which is wired as on every PC.
        this.initStep = this.needsIcw4 ? 4 : 0;
        return;
      case 4:
        this.autoEoi = (byte & ICW4_AUTO_EOI) !== 0;
        this.specialFullyNested = (byte & ICW4_SPECIAL_FULLY_NESTED) !== 0;
        this.initStep = 0;
        return;
    }
  }

  #writeOcw2(byte: number): void {
    const input = byte & 7;
    switch (byte >>> 5) {
      case 0:
        this.rotateOnAutoEoi = false;
        return;
      case 4:
        this.rotateOnAutoEoi = true;
        return;
      case 1:
      case 5: {
        // In special mask mode an in-service bit that is masked is not cleared by a non-specific EOI.
        const rank = this.#rank(this.specialMask ? this.isr & ~this.imr : this.isr);
        if (rank < 8) {
          const ended = (rank + this.highest) & 7;
          this.isr &= ~(1 << ended);
          if (byte >>> 5 === 5) {
            this.highest = (ended + 1) & 7;
          }
        }
        return;
      }
      case 3:
        this.isr &= ~(1 << input);
        return;
      case 7:
        this.isr &= ~(1 << input);
        this.highest = (input + 1) & 7;
        return;
      case 6:
        this.highest = (input + 1) & 7;
        return;
    }
  }

  #writeOcw3(byte: number): void {
    if ((byte & OCW3_POLL) !== 0) {
      this.poll = true;
    }
    if ((byte & OCW3_READ_REGISTER) !== 0) {
      this.readIsr = (byte & OCW3_READ_ISR) !== 0;
    }
    if ((byte & OCW3_ENABLE_SPECIAL_MASK) !== 0) {
      this.specialMask = (byte & OCW3_SPECIAL_MASK) !== 0;
    }
  }

  writeElcr(value: number): void {
    this.elcr = value & this.#elcrWritable;
    this.#changed();
  }

  save() {
    return {
      lines: this.lines,
      seen: this.seen,
      latched: this.latched,
      isr: this.isr,
      imr: this.imr,
      elcr: this.elcr,
      base: this.base,
      highest: this.highest,
      initStep: this.initStep,
      needsIcw4: this.needsIcw4,
      single: this.single,
      levelMode: this.levelMode,
      autoEoi: this.autoEoi,
      rotateOnAutoEoi: this.rotateOnAutoEoi,
      specialFullyNested: this.specialFullyNested,
      specialMask: this.specialMask,
      readIsr: this.readIsr,
      poll: this.poll,
    };
  }

  /** Checks a saved chip; the result applies it. */
  static parse(reader: StateReader): ReturnType<Chip['save']> {
    return {
      lines: reader.u8('lines'),
      seen: reader.u8('seen'),
      latched: reader.u8('latched'),
      isr: reader.u8('isr'),
      imr: reader.u8('imr'),
      elcr: reader.u8('elcr'),
      base: reader.u8('base'),
      highest: reader.int('highest', 0, 7),
      initStep: reader.oneOf('initStep', [0, 2, 3, 4]),
      needsIcw4: reader.boolean('needsIcw4'),
      single: reader.boolean('single'),
      levelMode: reader.boolean('levelMode'),
      autoEoi: reader.boolean('autoEoi'),
      rotateOnAutoEoi: reader.boolean('rotateOnAutoEoi'),
      specialFullyNested: reader.boolean('specialFullyNested'),
      specialMask: reader.boolean('specialMask'),
      readIsr: reader.boolean('readIsr'),
      poll: reader.boolean('poll'),
    };
  }
}

export interface PicWiring {
  /** The master's INT output: to LINT0 of the local APICs. */
  readonly intr: InterruptLine;
  /** Brings the registers back where they are lent (lent-apics.ts): called before anyone looks at them. */
  readonly recall?: () => void;
}

/** The saved state of the 8259 pair. */
export type PicState = ReturnType<Pic['save']>;
/** Of one of them. */
export type PicChipState = PicState['master'];

/**
 * The two cascaded 8259A interrupt controllers of a PC with the PIIX3's edge/level control registers.
 *
 * As the ICs in chipsets do, an edge stays latched until it is acknowledged even if the input drops again. The cascade
 * input is treated as a level: the slave's INT drops and rises around each INTA, which comes to the same.
 */
export class Pic implements Device {
  readonly id: string;
  /** Ports 0x20 – 0x21. */
  readonly master: PioHandler;
  /** Ports 0xa0 – 0xa1. */
  readonly slave: PioHandler;
  /** Ports 0x4d0 – 0x4d1. */
  readonly elcr: PioHandler;
  readonly #wiring: PicWiring;
  readonly #master: Chip;
  readonly #slave: Chip;
  readonly #lines: readonly InterruptLine[];
  #output = false;

  constructor(id: string, wiring: PicWiring) {
    this.id = id;
    this.#wiring = wiring;
    const changed = () => this.#update();
    this.#master = new Chip(true, changed);
    this.#slave = new Chip(false, changed);
    this.master = this.#registers(this.#master);
    this.slave = this.#registers(this.#slave);
    this.elcr = {
      readPort: (offset) => {
        this.#wiring.recall?.();
        return (offset & 1) === 0 ? this.#master.elcr : this.#slave.elcr;
      },
      writePort: (offset, _size, value) => {
        this.#wiring.recall?.();
        ((offset & 1) === 0 ? this.#master : this.#slave).writeElcr(value);
      },
    };
    this.#lines = Array.from({ length: 16 }, (_, irq) => {
      if (irq === CASCADE) {
        return unconnectedLine;
      }
      const chip = irq < 8 ? this.#master : this.#slave;
      return {
        set: (asserted: boolean) => {
          chip.setLine(irq & 7, asserted);
          this.#update();
        },
      };
    });
  }

  #registers(chip: Chip): PioHandler {
    return {
      readPort: (offset, size) => {
        this.#wiring.recall?.();
        return chip.readPort(offset, size);
      },
      writePort: (offset, size, value) => {
        this.#wiring.recall?.();
        chip.writePort(offset, size, value);
      },
    };
  }

  /** While the registers are lent: the level of an input, from which nothing follows here. True when it has changed. */
  note(irq: number, asserted: boolean): boolean {
    if (irq === CASCADE || irq >= 16) {
      return false;
    }
    const chip = irq < 8 ? this.#master : this.#slave;
    const bit = 1 << (irq & 7);
    if (((chip.lines & bit) !== 0) === asserted) {
      return false;
    }
    chip.lines ^= bit;
    return true;
  }

  /** The input of ISA interrupt `irq` (0 – 15; 2 is the cascade and goes nowhere). */
  line(irq: number): InterruptLine {
    return this.#lines[irq] ?? unconnectedLine;
  }

  /** True while INT is asserted. */
  get output(): boolean {
    return this.#output;
  }

  /** The INTA cycle: the vector of the highest-priority request, or of spurious input 7 if it has gone away. */
  acknowledge(): number {
    const master = this.#master;
    const slave = this.#slave;
    const input = master.pending();
    let vector: number;
    if (input < 0) {
      vector = master.base | 7;
    } else if (input === CASCADE) {
      const second = slave.pending();
      if (second >= 0) {
        slave.take(second);
      }
      vector = slave.base | (second >= 0 ? second : 7);
      master.take(CASCADE);
    } else {
      master.take(input);
      vector = master.base | input;
    }
    this.#update();
    return vector;
  }

  reset(): void {
    this.#wiring.recall?.();
    this.#master.reset();
    this.#slave.reset();
    this.#update();
  }

  #update(): void {
    this.#master.setLine(CASCADE, this.#slave.pending() >= 0);
    const output = this.#master.pending() >= 0;
    if (output !== this.#output) {
      this.#output = output;
      this.#wiring.intr.set(output);
    }
  }

  save() {
    this.#wiring.recall?.();
    return { master: this.#master.save(), slave: this.#slave.save() };
  }

  load(state: StateValue): void {
    this.#wiring.recall?.();
    const reader = new StateReader(this.id, state);
    const master = Chip.parse(reader.object('master'));
    const slave = Chip.parse(reader.object('slave'));
    Object.assign(this.#master, master);
    Object.assign(this.#slave, slave);
    this.#update();
  }

  describe(): string {
    this.#wiring.recall?.();
    const hex = (value: number) => value.toString(16).padStart(2, '0');
    return [this.#master, this.#slave]
      .map(
        (chip, index) =>
          `${index === 0 ? 'master' : 'slave'}: irr ${hex(chip.irr)} isr ${hex(chip.isr)} imr ${hex(chip.imr)} ` +
          `elcr ${hex(chip.elcr)} base ${hex(chip.base)} lines ${hex(chip.lines)}`,
      )
      .join('\n');
  }

  dispose(): void {}
}
