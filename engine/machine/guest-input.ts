import type { I8042 } from '../devices/i8042/i8042.ts';
import { VirtioKeyboard, VirtioMouse, VirtioTablet } from '../virtio/input/input-devices.ts';

/** The paravirtual input devices of a machine. */
export class VirtioInputs {
  readonly keyboard = new VirtioKeyboard();
  readonly tablet = new VirtioTablet();
  readonly mouse = new VirtioMouse();
}

export interface KeyboardLights {
  readonly capsLock: boolean;
  readonly numLock: boolean;
  readonly scrollLock: boolean;
}

/** Where on the guest's whole desktop (0 to 1 in both directions) a point of one screen is. */
export type OnDesktop = (head: number, x: number, y: number) => { readonly x: number; readonly y: number };

/**
 * Keyboard and pointer as a person uses them: virtio's devices where the guest has drivers for them, else those of a PC.
 * The guest may change that at any time; a key is released where it was pressed.
 */
export class GuestInput {
  readonly #ps2: I8042;
  readonly #virtio: VirtioInputs | undefined;
  readonly #onDesktop: OnDesktop;
  /** Keys that are down, and where. */
  readonly #held = new Map<string, 'ps2' | 'virtio'>();
  /** Buttons of the PC's mouse. */
  #ps2Buttons = 0;
  /** Fractions of counts and notches that did not make a whole one yet. */
  readonly #rest = { dx: 0, dy: 0, wheel: 0 };

  constructor(ps2: I8042, virtio: VirtioInputs | undefined, onDesktop: OnDesktop) {
    this.#ps2 = ps2;
    this.#virtio = virtio;
    this.#onDesktop = onDesktop;
  }

  get #virtioKeyboard(): VirtioKeyboard | undefined {
    return this.#virtio?.keyboard.device.active === true ? this.#virtio.keyboard : undefined;
  }

  /**
   * Presses or releases a key by its W3C `KeyboardEvent.code` name. Repeated presses without a release between them are
   * ignored. Returns false for a key that no PC keyboard has.
   */
  key(code: string, down: boolean): boolean {
    const where = this.#held.get(code);
    if (down && where !== undefined) {
      return true;
    }
    if (down) {
      const virtio = this.#virtioKeyboard;
      const known = virtio === undefined ? this.#ps2.keyboard.key(code, true) : virtio.key(code, true);
      if (known) {
        this.#held.set(code, virtio === undefined ? 'ps2' : 'virtio');
      }
      return known;
    }
    this.#held.delete(code);
    // A state that was loaded may have keys down of which nothing is known here.
    const released = where !== 'virtio' && this.#ps2.keyboard.key(code, false);
    return (where !== 'ps2' && this.#virtio?.keyboard.key(code, false) === true) || released;
  }

  /** Releases every key, as when a window loses the keyboard. */
  releaseAll(): void {
    this.#held.clear();
    this.#ps2.keyboard.releaseAll();
    this.#virtio?.keyboard.releaseAll();
  }

  /** The guest was sent everything that was typed. */
  get drained(): boolean {
    return this.#ps2.keyboardDrained && this.#virtioKeyboard?.device.drained !== false;
  }

  get lights(): KeyboardLights {
    const virtio = this.#virtioKeyboard;
    if (virtio !== undefined) {
      return virtio.leds;
    }
    const { leds } = this.#ps2.keyboard;
    return { scrollLock: (leds & 1) !== 0, numLock: (leds & 2) !== 0, capsLock: (leds & 4) !== 0 };
  }

  /** Whether the guest can be told places, by a tablet, or distances only. */
  get pointer(): 'absolute' | 'relative' {
    return this.#virtio?.tablet.device.active === true ? 'absolute' : 'relative';
  }

  /** Moves the mouse by counts and notches to the right, down, and towards the user; fractions add up. */
  moveBy(dx: number, dy: number, wheel: number, buttons: number): void {
    const [right, down, notches] = [this.#whole('dx', dx), this.#whole('dy', dy), this.#whole('wheel', wheel)];
    if (this.#virtio?.mouse.device.active === true) {
      this.#leavePs2Mouse();
      this.#virtio.mouse.move(right, down, notches, buttons);
    } else {
      this.#ps2Buttons = buttons;
      this.#ps2.mouse.move(right, down, notches, buttons);
    }
  }

  #whole(which: 'dx' | 'dy' | 'wheel', by: number): number {
    const sum = this.#rest[which] + by;
    const whole = Math.trunc(sum);
    this.#rest[which] = sum - whole;
    return whole;
  }

  /** Puts the pointer to a place on a screen, from 0 (left, top) to 1; without a tablet nothing happens. */
  moveTo(head: number, x: number, y: number, wheel: number, buttons: number): void {
    if (this.#virtio?.tablet.device.active === true) {
      this.#leavePs2Mouse();
      const place = this.#onDesktop(head, x, y);
      this.#virtio.tablet.move(place.x, place.y, this.#whole('wheel', wheel), buttons);
    }
  }

  /** A button that went down on the PC's mouse comes up there when the guest gets another one. */
  #leavePs2Mouse(): void {
    if (this.#ps2Buttons !== 0) {
      this.#ps2Buttons = 0;
      this.#ps2.mouse.move(0, 0, 0, 0);
    }
  }
}
