import * as input from './input-layout.ts';
import { KEY_CODES } from './key-codes.ts';
import { type InputEvent, VirtioInput } from './virtio-input.ts';

/** Places on the screen go from 0 to this in both directions. */
export const TABLET_MAXIMUM = 0x7fff;

/** Buttons in the order of W3C MouseEvent.buttons: left, right, middle, back, forward. */
const BUTTONS: readonly number[] = [input.BTN_LEFT, input.BTN_RIGHT, input.BTN_MIDDLE, input.BTN_SIDE, input.BTN_EXTRA];

const PRODUCT_KEYBOARD = 1;
const PRODUCT_TABLET = 2;
const PRODUCT_MOUSE = 3;

/** A keyboard. Keys that stay down are repeated by the guest. */
export class VirtioKeyboard {
  readonly device = new VirtioInput({
    name: 'Lodge Virtio Keyboard',
    product: PRODUCT_KEYBOARD,
    events: new Map<number, readonly number[]>([
      [input.EV_KEY, [...KEY_CODES.values()]],
      [input.EV_LED, [input.LED_NUM_LOCK, input.LED_CAPS_LOCK, input.LED_SCROLL_LOCK]],
      [input.EV_REP, [input.REP_DELAY, input.REP_PERIOD]],
    ]),
  });

  /** Presses or releases a key by its W3C `KeyboardEvent.code` name. False: there is no such key. */
  key(name: string, down: boolean): boolean {
    const code = KEY_CODES.get(name);
    if (code === undefined) {
      return false;
    }
    this.device.send([{ type: input.EV_KEY, code, value: down ? 1 : 0 }]);
    return true;
  }

  /** Releases all keys that the guest takes for pressed. */
  releaseAll(): void {
    for (const code of [...this.device.pressed]) {
      this.device.send([{ type: input.EV_KEY, code, value: 0 }]);
    }
  }

  get leds(): { readonly numLock: boolean; readonly capsLock: boolean; readonly scrollLock: boolean } {
    const { lights } = this.device;
    const on = (code: number) => (lights & (1 << code)) !== 0;
    return {
      numLock: on(input.LED_NUM_LOCK),
      capsLock: on(input.LED_CAPS_LOCK),
      scrollLock: on(input.LED_SCROLL_LOCK),
    };
  }
}

/** What pointing devices share: buttons, and the wheel. */
class Pointer {
  readonly device: VirtioInput;

  constructor(device: VirtioInput) {
    this.device = device;
  }

  /** `wheel` in notches towards the user. `buttons` is the new state of all of them, as W3C MouseEvent.buttons. */
  report(motion: readonly InputEvent[], wheel: number, buttons: number): void {
    const events = [...motion];
    for (const [bit, code] of BUTTONS.entries()) {
      const down = (buttons & (1 << bit)) !== 0;
      if (down !== this.device.pressed.has(code)) {
        events.push({ type: input.EV_KEY, code, value: down ? 1 : 0 });
      }
    }
    if (wheel !== 0) {
      events.push({ type: input.EV_REL, code: input.REL_WHEEL, value: -wheel });
    }
    if (events.length > 0) {
      this.device.send(events);
    }
  }
}

/** A tablet: its pointer is where the hand is, so that nothing has to be captured. */
export class VirtioTablet {
  readonly device = new VirtioInput({
    name: 'Lodge Virtio Tablet',
    product: PRODUCT_TABLET,
    events: new Map<number, readonly number[]>([
      [input.EV_KEY, BUTTONS],
      [input.EV_REL, [input.REL_WHEEL]],
      [input.EV_ABS, [input.ABS_X, input.ABS_Y]],
    ]),
    axes: new Map([input.ABS_X, input.ABS_Y].map((axis) => [axis, { minimum: 0, maximum: TABLET_MAXIMUM }])),
  });
  readonly #pointer = new Pointer(this.device);

  /** `x` and `y` from 0 (left, top) to 1 (right, bottom) of the guest's whole desktop. */
  move(x: number, y: number, wheel: number, buttons: number): void {
    const place = (share: number) => Math.round(Math.max(0, Math.min(1, share)) * TABLET_MAXIMUM);
    const motion = [
      { type: input.EV_ABS, code: input.ABS_X, value: place(x) },
      { type: input.EV_ABS, code: input.ABS_Y, value: place(y) },
    ];
    this.#pointer.report(motion, wheel, buttons);
  }
}

/** A mouse. */
export class VirtioMouse {
  readonly device = new VirtioInput({
    name: 'Lodge Virtio Mouse',
    product: PRODUCT_MOUSE,
    events: new Map<number, readonly number[]>([
      [input.EV_KEY, BUTTONS],
      [input.EV_REL, [input.REL_X, input.REL_Y, input.REL_WHEEL]],
    ]),
  });
  readonly #pointer = new Pointer(this.device);

  /** Moves by counts to the right and down. */
  move(dx: number, dy: number, wheel: number, buttons: number): void {
    const motion = [
      { type: input.EV_REL, code: input.REL_X, value: dx },
      { type: input.EV_REL, code: input.REL_Y, value: dy },
    ];
    this.#pointer.report(
      motion.filter(({ value }) => value !== 0),
      wheel,
      buttons,
    );
  }
}
