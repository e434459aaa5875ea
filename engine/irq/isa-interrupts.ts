import type { LineBorrower } from './lent-apics.ts';
import { type InterruptLine, unconnectedLine } from './line.ts';
import { SharedLine } from './shared-line.ts';

/** Anything with numbered interrupt inputs. */
export interface InterruptInputs {
  line(input: number): InterruptLine;
  /** The level of an input while somebody else has the registers; true when it has changed. */
  note(input: number, asserted: boolean): boolean;
}

const GSI_COUNT = 24;
/** What ISA interrupt 0 reaches of the I/O APIC. */
const TIMER_PIN = 2;
/** The 8259s' input 0 without the pin, which is shared, as the number of a line for those who have the controllers. */
export const PIC_TIMER_LINE = GSI_COUNT;

/**
 * The global system interrupts of a PC with one I/O APIC: 0 – 15 are the ISA interrupts and reach the 8259s and the
 * I/O APIC at once; 16 – 23 reach the I/O APIC alone. ISA interrupt 0 is wired to pin 2 of the I/O APIC (MADT interrupt
 * source override), which it shares with GSI 2.
 *
 * While the controllers are lent, changes of lines go to the borrower, and the controllers here only note the levels.
 */
export class IsaInterrupts {
  readonly #lines: readonly InterruptLine[];

  /** `borrower` has the controllers at the moment, if anyone has. */
  constructor(
    pic: InterruptInputs,
    ioApic: InterruptInputs,
    borrower: () => LineBorrower | undefined = () => undefined,
  ) {
    const connect = (number: number, irq: number | undefined, pin: number | undefined): InterruptLine => {
      const picLine = irq === undefined ? unconnectedLine : pic.line(irq);
      const pinLine = pin === undefined ? unconnectedLine : ioApic.line(pin);
      return {
        set(asserted: boolean) {
          const other = borrower();
          if (other === undefined) {
            picLine.set(asserted);
            pinLine.set(asserted);
            return;
          }
          const picChanged = irq !== undefined && pic.note(irq, asserted);
          const pinChanged = pin !== undefined && ioApic.note(pin, asserted);
          if (picChanged || pinChanged) {
            other.setLine(number, asserted);
          }
        },
      };
    };
    const pin2 = new SharedLine(connect(TIMER_PIN, undefined, TIMER_PIN));
    this.#lines = Array.from({ length: GSI_COUNT }, (_, gsi) => {
      if (gsi === TIMER_PIN) {
        return pin2.connect();
      }
      if (gsi !== 0) {
        return connect(gsi, gsi < 16 ? gsi : undefined, gsi);
      }
      const irq0 = connect(PIC_TIMER_LINE, 0, undefined);
      const pin = pin2.connect();
      return {
        set(asserted: boolean) {
          irq0.set(asserted);
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
