import { type InterruptLine, unconnectedLine } from './line.ts';
import { SharedLine } from './shared-line.ts';

/** Anything with numbered interrupt inputs. */
export interface InterruptInputs {
  line(input: number): InterruptLine;
}

const GSI_COUNT = 24;

/**
 * The global system interrupts of a PC with one I/O APIC: 0 – 15 are the ISA interrupts and reach the 8259s and the
 * I/O APIC at once; 16 – 23 reach the I/O APIC alone. ISA interrupt 0 is wired to pin 2 of the I/O APIC (MADT interrupt
 * source override), which it shares with GSI 2.
 */
export class IsaInterrupts {
  readonly #lines: readonly InterruptLine[];

  constructor(pic: InterruptInputs, ioApic: InterruptInputs) {
    const pin2 = new SharedLine(ioApic.line(2));
    this.#lines = Array.from({ length: GSI_COUNT }, (_, gsi) => {
      const pin = gsi === 0 || gsi === 2 ? pin2.connect() : ioApic.line(gsi);
      if (gsi >= 16) {
        return pin;
      }
      const irq = pic.line(gsi);
      return {
        set(asserted: boolean) {
          irq.set(asserted);
          pin.set(asserted);
        },
      };
    });
  }

  /** The line of one device. Lines that several devices pull are wrapped in a {@link SharedLine}. */
  gsi(number: number): InterruptLine {
    return this.#lines[number] ?? unconnectedLine;
  }
}
