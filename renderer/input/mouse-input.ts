import type { MouseInput } from '../../main/contract/console.ts';

/** Pixels of a wheel that turns smoothly, and lines, that make one notch. */
const PIXELS_PER_NOTCH = 100;
const LINES_PER_NOTCH = 3;
const DELTA_LINE = 1;
const DELTA_PAGE = 2;

/** Turns wheel events into whole notches: what is left over waits for the next event. */
export class WheelNotches {
  #rest = 0;

  take({ deltaY, deltaMode }: Pick<WheelEvent, 'deltaY' | 'deltaMode'>): number {
    const notches =
      deltaMode === DELTA_PAGE
        ? Math.sign(deltaY) * 3
        : deltaY / (deltaMode === DELTA_LINE ? LINES_PER_NOTCH : PIXELS_PER_NOTCH);
    this.#rest += Math.max(-100, Math.min(100, notches));
    const whole = Math.trunc(this.#rest);
    this.#rest -= whole;
    return whole;
  }
}

const BUTTON_BITS = 31;
const MAX_STEP = 10_000;
const step = (value: number): number => Math.max(-MAX_STEP, Math.min(MAX_STEP, value));

/** A movement of a captured mouse. */
export function relativeInput(event: Pick<MouseEvent, 'movementX' | 'movementY' | 'buttons'>, wheel = 0): MouseInput {
  return {
    kind: 'relative',
    dx: step(event.movementX),
    dy: step(event.movementY),
    wheel,
    buttons: event.buttons & BUTTON_BITS,
  };
}

/**
 * A position of the pointer over the guest's picture of a screen; undefined beside it, unless something is being dragged
 * or let go there, which happens at the picture's edge.
 */
export function absoluteInput(
  event: Pick<MouseEvent, 'clientX' | 'clientY' | 'buttons' | 'type'>,
  picture: Pick<DOMRect, 'left' | 'top' | 'width' | 'height'>,
  wheel = 0,
  head = 0,
): MouseInput | undefined {
  const x = (event.clientX - picture.left) / picture.width;
  const y = (event.clientY - picture.top) / picture.height;
  const within = x >= 0 && x <= 1 && y >= 0 && y <= 1;
  const dragging = event.type === 'mouseup' || (event.type === 'mousemove' && event.buttons !== 0);
  // Without a picture there is no place either.
  if (!(within || dragging) || Number.isNaN(x + y)) {
    return undefined;
  }
  const share = (value: number) => Math.max(0, Math.min(1, value));
  return { kind: 'absolute', head, x: share(x), y: share(y), wheel, buttons: event.buttons & BUTTON_BITS };
}
