import type { PioHandler } from '../../bus/bus.ts';
import type { Clock } from '../../clock/clock.ts';
import type { Device, StateValue } from '../device.ts';
import { StateReader } from '../state.ts';
import type { Pit } from './pit.ts';

/** NMI status and control register (PIIX3 datasheet, NMISC). */
const GATE2 = 1 << 0;
const SPEAKER_DATA = 1 << 1;
const REFRESH_TOGGLE = 1 << 4;
const OUT2 = 1 << 5;
/** Timer gate, speaker data, and the two NMI source enables. */
const WRITABLE = 0x0f;

/** The refresh request of the old memory: it toggles every 15.085 µs. */
const REFRESH_NANOS = 15_085;

/** Told the tone that the PC speaker gives: a frequency in Hz, or 0 for silence. */
export type SpeakerSink = (frequencyHz: number) => void;

export interface Port61Wiring {
  readonly clock: Clock;
  readonly pit: Pick<Pit, 'gate2' | 'setGate2' | 'output2' | 'toneHz' | 'onTone'>;
  readonly speaker?: SpeakerSink;
  /** Brings the counters back where they are lent, and with them what is known of this port. */
  readonly recall?: () => void;
}

/** Port 0x61: the gate and output of counter 2, the speaker, and the refresh toggle that old software times by. */
export class Port61 implements Device {
  readonly id: string;
  /** One port, at 0x61. */
  readonly port: PioHandler;
  readonly #wiring: Port61Wiring;
  #control = 0;
  #tone = 0;

  constructor(id: string, wiring: Port61Wiring) {
    this.id = id;
    this.#wiring = wiring;
    this.port = {
      readPort: () => this.#read(),
      writePort: (_offset, _size, value) => {
        wiring.recall?.();
        this.#control = value & WRITABLE;
        this.#apply();
      },
    };
    wiring.pit.onTone = () => this.#updateTone();
  }

  /** The speaker gets data from counter 2. */
  get speakerData(): boolean {
    return (this.#control & SPEAKER_DATA) !== 0;
  }

  /** After others had this port together with the counters: its writable bits that they know. */
  take(gate2: boolean, speakerData: boolean): void {
    this.#control = (this.#control & ~(GATE2 | SPEAKER_DATA)) | (gate2 ? GATE2 : 0) | (speakerData ? SPEAKER_DATA : 0);
    this.#updateTone();
  }

  #read(): number {
    this.#wiring.recall?.();
    return (
      this.#control |
      (Math.floor(this.#wiring.clock.now() / REFRESH_NANOS) % 2 === 0 ? 0 : REFRESH_TOGGLE) |
      (this.#wiring.pit.output2() ? OUT2 : 0)
    );
  }

  #apply(): void {
    this.#wiring.pit.setGate2((this.#control & GATE2) !== 0);
    this.#updateTone();
  }

  #updateTone(): void {
    const tone = (this.#control & SPEAKER_DATA) === 0 ? 0 : this.#wiring.pit.toneHz();
    if (tone !== this.#tone) {
      this.#tone = tone;
      this.#wiring.speaker?.(tone);
    }
  }

  reset(): void {
    this.#wiring.recall?.();
    this.#control = 0;
    this.#apply();
  }

  save() {
    this.#wiring.recall?.();
    return { control: this.#control };
  }

  load(state: StateValue): void {
    this.#wiring.recall?.();
    this.#control = new StateReader(this.id, state).int('control', 0, WRITABLE);
    this.#apply();
  }

  describe(): string {
    return `port 0x61: ${this.#read().toString(16)}, speaker ${this.#tone === 0 ? 'silent' : `${this.#tone.toFixed(0)} Hz`}`;
  }

  dispose(): void {
    this.#wiring.pit.onTone = undefined;
  }
}
