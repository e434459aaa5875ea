import type { Disposable } from '../../base/disposable.ts';
import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import { type Keystroke, typeText } from './us-keymap.ts';

/** What the typer needs of a keyboard: keys, and whether the guest has read everything typed so far. */
export interface TypingTarget {
  key(code: string, down: boolean): boolean;
  readonly drained: boolean;
}

/** Between two keystrokes at least this long: 50 characters a second, which simple guests can follow. */
const STROKE_NANOS: Nanos = 20_000_000;

/**
 * Types text at a pace that the guest can follow: the next keystroke comes when the guest has read the last one.
 * What waits here is not part of the machine's state, as little as a person's hands.
 */
export class KeyTyper implements Disposable {
  readonly #clock: Clock;
  readonly #keyboard: TypingTarget;
  readonly #alarm: Alarm;
  #waiting: Keystroke[] = [];

  constructor(clock: Clock, keyboard: TypingTarget) {
    this.#clock = clock;
    this.#keyboard = keyboard;
    this.#alarm = clock.createAlarm(() => this.#next());
  }

  /** Types `text` after whatever still waits; see `typeText` for the notation. Returns characters with no key. */
  type(text: string): string[] {
    const { strokes, unknown } = typeText(text);
    this.#waiting.push(...strokes);
    if (this.#waiting.length > 0 && this.#alarm.deadline === undefined) {
      this.#alarm.set(this.#clock.now());
    }
    return unknown;
  }

  get busy(): boolean {
    return this.#waiting.length > 0;
  }

  #next(): void {
    if (this.#keyboard.drained) {
      // Press and release go together: held keys would repeat if the guest took its time.
      for (const event of this.#waiting.shift() ?? []) {
        this.#keyboard.key(event.code, event.down);
      }
    }
    if (this.#waiting.length > 0) {
      this.#alarm.set(this.#clock.now() + STROKE_NANOS);
    }
  }

  dispose(): void {
    this.#waiting = [];
    this.#alarm.dispose();
  }
}
