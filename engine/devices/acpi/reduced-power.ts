import type { PioHandler } from '../../bus/bus.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { Device } from '../device.ts';
import { StateReader } from '../state.ts';

/** Ports, from the device's base on. */
export const SLEEP_CONTROL = 0;
export const SLEEP_STATUS = 1;
export const RESET_REGISTER = 2;
export const REDUCED_POWER_LENGTH = 4;

/** The sleep control register (ACPI 6.4, section 4.8.3.7): the type, and the bit that makes it happen. */
const SLP_TYP_SHIFT = 2;
const SLP_TYP_MASK = 7;
const SLP_EN = 1 << 5;
/** What \_S5 gives for soft-off. */
export const SOFT_OFF_TYPE = 5;
/** What the guest writes to the reset register. */
export const RESET_VALUE = 1;

export interface ReducedPowerWiring {
  /** Interrupt of the generic event device: the power button was pressed. */
  readonly button: InterruptLine;
  onPowerOff(): void;
  onReset(): void;
}

/**
 * Power management of machines with reduced hardware (ACPI 6.4, section 4.1.1): sleep and reset registers, and a power
 * button that is an event of its own. Nothing of it lasts, so that there is no state.
 */
export class ReducedPower implements Device<Record<string, never>> {
  readonly id: string;
  readonly ports: PioHandler;
  readonly #wiring: ReducedPowerWiring;

  constructor(id: string, wiring: ReducedPowerWiring) {
    this.id = id;
    this.#wiring = wiring;
    this.ports = {
      readPort: () => 0,
      writePort: (offset, _size, value) => this.#write(offset, value & 0xff),
    };
  }

  #write(offset: number, value: number): void {
    if (offset === SLEEP_CONTROL) {
      if ((value & SLP_EN) !== 0 && ((value >> SLP_TYP_SHIFT) & SLP_TYP_MASK) === SOFT_OFF_TYPE) {
        this.#wiring.onPowerOff();
      }
    } else if (offset === RESET_REGISTER && value === RESET_VALUE) {
      this.#wiring.onReset();
    }
  }

  /** The interrupt is an edge. */
  pressPowerButton(): void {
    this.#wiring.button.set(true);
    this.#wiring.button.set(false);
  }

  reset(): void {
    this.#wiring.button.set(false);
  }

  save(): Record<string, never> {
    return {};
  }

  load(state: Record<string, never>): void {
    const reader = new StateReader(this.id, state);
    if (Object.keys(state).length > 0) {
      reader.refuse('this device has no state');
    }
  }

  describe(): string {
    return 'power management of reduced hardware';
  }

  dispose(): void {}
}
