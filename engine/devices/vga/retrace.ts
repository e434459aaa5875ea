import type { Clock, Nanos } from '../../clock/clock.ts';
import {
  CRTC_HORIZONTAL_DISPLAY_END,
  CRTC_HORIZONTAL_TOTAL,
  SEQ_CLOCKING_MODE,
  SR1_8_DOTS,
  SR1_DOT_CLOCK_HALF,
  ST01_DISPLAY_DISABLED,
  ST01_VERTICAL_RETRACE,
  type VgaRegisters,
} from './vga-registers.ts';

/** Frames between two phases of the cursor, and half of those between two of a blinking character. */
const BLINK_FRAMES = 16;
const BLINK_FRAME_NANOS = 1_000_000_000 / 70;

/** Where the beam is: derived from the clock and the CRT controller's timing registers, never stored. */
export class Retrace {
  readonly #clock: Clock;
  #version = 0;
  #frameNanos: Nanos = 0;
  #lineNanos: Nanos = 0;
  #displayedNanos: Nanos = 0;
  #displayedLines = 0;
  #retraceLine = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Input status 1, bits 0 and 3. The vertical retrace lasts from its start to the end of the frame. */
  inputStatus1(registers: VgaRegisters): number {
    if (this.#version !== registers.displayVersion) {
      this.#version = registers.displayVersion;
      this.#measure(registers);
    }
    const inFrame = this.#clock.now() % this.#frameNanos;
    const line = Math.floor(inFrame / this.#lineNanos);
    let status = 0;
    if (line >= this.#displayedLines || inFrame - line * this.#lineNanos >= this.#displayedNanos) {
      status |= ST01_DISPLAY_DISABLED;
    }
    if (line >= this.#retraceLine) {
      status |= ST01_VERTICAL_RETRACE | ST01_DISPLAY_DISABLED;
    }
    return status;
  }

  /** True while the cursor is drawn. */
  get cursorPhase(): boolean {
    return Math.floor(this.#clock.now() / (BLINK_FRAMES * BLINK_FRAME_NANOS)) % 2 === 0;
  }

  /** True while blinking characters are drawn: half as fast as the cursor. */
  get blinkPhase(): boolean {
    return Math.floor(this.#clock.now() / (2 * BLINK_FRAMES * BLINK_FRAME_NANOS)) % 2 === 0;
  }

  #measure(registers: VgaRegisters): void {
    const clocking = registers.sequencer[SEQ_CLOCKING_MODE] ?? 0;
    const clockHertz =
      ((registers.miscellaneousOutput & 0x0c) === 0x04 ? 28_322_000 : 25_175_000) /
      ((clocking & SR1_DOT_CLOCK_HALF) !== 0 ? 2 : 1);
    const dots = (clocking & SR1_8_DOTS) !== 0 ? 8 : 9;
    const characters = (registers.crtc[CRTC_HORIZONTAL_TOTAL] ?? 0) + 5;
    const displayed = (registers.crtc[CRTC_HORIZONTAL_DISPLAY_END] ?? 0) + 1;
    const lines = registers.verticalTotal + 2;
    const lineNanos = (characters * dots * 1e9) / clockHertz;
    const frameNanos = lineNanos * lines;
    const shown = registers.verticalDisplayEnd + 1;
    const sensible =
      frameNanos > 1e9 / 150 && frameNanos < 1e9 / 40 && shown < lines && displayed < characters && displayed > 8;
    if (sensible) {
      this.#lineNanos = lineNanos;
      this.#frameNanos = frameNanos;
      this.#displayedNanos = (lineNanos * displayed) / characters;
      this.#displayedLines = shown;
      const start = registers.verticalRetraceStart;
      this.#retraceLine = start >= shown && start < lines ? start : shown;
    } else {
      // Not programmed, or a mode of the Bochs interface, which has no timing: a frame like that of 640 × 480.
      this.#lineNanos = 1e9 / 60 / 525;
      this.#frameNanos = this.#lineNanos * 525;
      this.#displayedNanos = this.#lineNanos * 0.8;
      this.#displayedLines = 480;
      this.#retraceLine = 490;
    }
  }
}
