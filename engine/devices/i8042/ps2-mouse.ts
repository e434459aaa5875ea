import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { StateValue } from '../device.ts';
import type { StateReader } from '../state.ts';
import {
  PS2_ACK,
  PS2_BAT_PASSED,
  PS2_DISABLE,
  PS2_ENABLE,
  PS2_IDENTIFY,
  PS2_RESEND,
  PS2_RESEND_COMMAND,
  PS2_RESET,
  PS2_SET_DEFAULTS,
  type Ps2Device,
} from './ps2-port.ts';

export interface Ps2MouseWiring {
  readonly clock: Clock;
  /** Called when a byte is ready that the controller has not been told of. */
  readonly outputReady: () => void;
}

// Mouse commands (IBM PS/2 Hardware Interface Technical Reference, mouse)
const SCALING_1_TO_1 = 0xe6;
const SCALING_2_TO_1 = 0xe7;
const SET_RESOLUTION = 0xe8;
const STATUS_REQUEST = 0xe9;
const STREAM_MODE = 0xea;
const READ_DATA = 0xeb;
const RESET_WRAP = 0xec;
const SET_WRAP = 0xee;
const REMOTE_MODE = 0xf0;
const SET_SAMPLE_RATE = 0xf3;

/** Device ids: the kind that the last magic sequence of sample rates selected. */
const ID_STANDARD = 0;
const ID_INTELLIMOUSE = 3;
const ID_EXPLORER = 4;
type MouseId = typeof ID_STANDARD | typeof ID_INTELLIMOUSE | typeof ID_EXPLORER;

const DEFAULT_SAMPLE_RATE = 100;
const DEFAULT_RESOLUTION = 2;

/** Packets wait in the mouse as motion, not as bytes; only one packet and the replies are ever queued. */
const MAX_REPLIES = 16;
/** Button changes that keep their place among the motion. */
const MAX_STEPS = 32;
/** Counts that wait at most in one direction: a guest that was stalled does not see the pointer fly for seconds. */
const MAX_PENDING_COUNTS = 8192;
/** The 9-bit counters hold ±255 without overflow. */
const MAX_PACKET_COUNTS = 255;
/** Under 2:1 scaling the reported value must fit as well. */
const MAX_SCALED_COUNTS = 127;

/** Counts reported under 2:1 scaling for 0–5 counts moved; from 6 on it is twice the movement. */
const SCALED = [0, 1, 1, 3, 6, 9] as const;

/** Motion that belongs to one state of the buttons. */
interface Step {
  dx: number;
  dy: number;
  dz: number;
  buttons: number;
}

/**
 * A PS/2 mouse that becomes an IntelliMouse (wheel) after the sample rates 200, 100, 80 and an IntelliMouse Explorer
 * (five buttons) after 200, 200, 80.
 *
 * Motion accumulates until a packet may be sent: in stream mode at the sample rate and only when the last packet has
 * left, so a slow guest sees fewer, longer steps. A change of buttons keeps its order relative to the motion.
 */
export class Ps2Mouse implements Ps2Device {
  readonly #wiring: Ps2MouseWiring;
  readonly #sampleAlarm: Alarm;

  #mouseId: MouseId = ID_STANDARD;
  #streaming = true;
  #wrap = false;
  #enabled = false;
  #scaling2to1 = false;
  #resolution = DEFAULT_RESOLUTION;
  #sampleRate = DEFAULT_SAMPLE_RATE;
  /** The last two sample rates before the present one, oldest first, for the magic sequences. */
  #rateHistory: [number, number] = [0, 0];
  #awaiting = 0;
  #replies: number[] = [];
  #packet: number[] = [];
  /** The last reply or packet, for a resend. */
  #lastSent: number[] = [];
  #buttons = 0;
  /** Buttons in the last packet: a difference is worth a packet of its own. */
  #reportedButtons = 0;
  #steps: Step[] = [];
  #nextSample: Nanos = 0;

  constructor(wiring: Ps2MouseWiring) {
    this.#wiring = wiring;
    this.#sampleAlarm = wiring.clock.createAlarm(() => {
      if (this.#scheduleSample()) {
        wiring.outputReady();
      }
    });
    this.reset();
  }

  reset(): void {
    this.#mouseId = ID_STANDARD;
    this.#rateHistory = [0, 0];
    this.#wrap = false;
    this.#awaiting = 0;
    this.#replies = [];
    this.#lastSent = [];
    this.#setDefaults();
    this.#streaming = true;
    this.#nextSample = 0;
  }

  /**
   * Moves the mouse: `dx` to the right, `dy` downwards, `dz` of the wheel towards the user (scrolling down), in counts.
   * `buttons` is the new state of all buttons as in W3C `MouseEvent.buttons`: 1 left, 2 right, 4 middle, 8 back,
   * 16 forward.
   */
  move(dx: number, dy: number, dz: number, buttons: number): void {
    this.#buttons = buttons & 0x1f;
    if (this.#streaming && !this.#enabled) {
      return; // Nobody listens; the buttons are remembered.
    }
    const last = this.#steps.at(-1);
    const present = last?.buttons ?? this.#reportedButtons;
    if (dx === 0 && dy === 0 && dz === 0 && present === this.#buttons) {
      return;
    }
    let step = last;
    if (step === undefined || (present !== this.#buttons && this.#steps.length < MAX_STEPS)) {
      step = { dx: 0, dy: 0, dz: 0, buttons: this.#buttons };
      this.#steps.push(step);
    }
    step.buttons = this.#buttons;
    step.dx = accumulate(step.dx, dx);
    step.dy = accumulate(step.dy, -dy);
    step.dz = accumulate(step.dz, dz);
    if (this.#scheduleSample()) {
      this.#wiring.outputReady();
    }
  }

  /** True when the guest was sent everything. */
  get drained(): boolean {
    return !this.hasOutput && this.#steps.length === 0;
  }

  get hasOutput(): boolean {
    return this.#replies.length > 0 || this.#packet.length > 0;
  }

  takeOutput(): number {
    const reply = this.#replies.shift();
    if (reply !== undefined) {
      return reply;
    }
    const byte = this.#packet.shift() ?? 0;
    this.#scheduleSample(); // The controller looks at `hasOutput` again by itself.
    return byte;
  }

  receive(byte: number): void {
    const command = this.#awaiting;
    this.#awaiting = 0;
    if (this.#wrap && byte !== PS2_RESET && byte !== RESET_WRAP) {
      this.#reply(byte);
    } else if (command !== 0) {
      this.#argument(command, byte);
    } else {
      this.#command(byte);
    }
    this.#wiring.outputReady();
  }

  #command(byte: number): void {
    switch (byte) {
      case SCALING_1_TO_1:
      case SCALING_2_TO_1:
        this.#scaling2to1 = byte === SCALING_2_TO_1;
        this.#reply(PS2_ACK);
        return;
      case SET_RESOLUTION:
      case SET_SAMPLE_RATE:
        this.#awaiting = byte;
        this.#reply(PS2_ACK);
        return;
      case STATUS_REQUEST:
        this.#reply(PS2_ACK, this.#status(), this.#resolution, this.#sampleRate);
        return;
      case STREAM_MODE:
        this.#discardMotion();
        this.#streaming = true;
        this.#reply(PS2_ACK);
        return;
      case READ_DATA:
        this.#reply(PS2_ACK, ...this.#takePacket());
        return;
      case RESET_WRAP:
        this.#wrap = false;
        this.#reply(PS2_ACK);
        return;
      case SET_WRAP:
        this.#discardMotion();
        this.#wrap = true;
        this.#reply(PS2_ACK);
        return;
      case REMOTE_MODE:
        this.#discardMotion();
        this.#streaming = false;
        this.#reply(PS2_ACK);
        return;
      case PS2_IDENTIFY:
        this.#reply(PS2_ACK, this.#mouseId);
        return;
      case PS2_ENABLE:
        this.#discardMotion();
        this.#enabled = true;
        this.#reply(PS2_ACK);
        return;
      case PS2_DISABLE:
        this.#discardMotion();
        this.#enabled = false;
        this.#reply(PS2_ACK);
        return;
      case PS2_SET_DEFAULTS:
        this.#setDefaults();
        this.#streaming = true;
        this.#reply(PS2_ACK);
        return;
      case PS2_RESEND_COMMAND:
        this.#reply(...this.#lastSent);
        return;
      case PS2_RESET:
        this.reset();
        this.#reply(PS2_ACK, PS2_BAT_PASSED, this.#mouseId);
        return;
      default:
        this.#reply(PS2_RESEND);
    }
  }

  #argument(command: number, byte: number): void {
    if (command === SET_RESOLUTION) {
      this.#resolution = byte & 3;
      this.#reply(PS2_ACK);
      return;
    }
    const [first, second] = this.#rateHistory;
    if (second === 100 && first === 200 && byte === 80) {
      this.#mouseId = ID_INTELLIMOUSE;
    } else if (second === 200 && first === 200 && byte === 80) {
      this.#mouseId = ID_EXPLORER;
    }
    this.#rateHistory = [second, byte];
    this.#sampleRate = byte;
    this.#reply(PS2_ACK);
  }

  #reply(...bytes: number[]): void {
    if (bytes.length > 0 && bytes[0] !== PS2_RESEND) {
      this.#lastSent = bytes;
    }
    this.#replies.push(...bytes);
    if (this.#replies.length > MAX_REPLIES) {
      this.#replies.splice(0, this.#replies.length - MAX_REPLIES);
    }
  }

  #status(): number {
    return (
      (this.#streaming ? 0 : 0x40) |
      (this.#enabled ? 0x20 : 0) |
      (this.#scaling2to1 ? 0x10 : 0) |
      ((this.#buttons & 1) !== 0 ? 4 : 0) |
      ((this.#buttons & 4) !== 0 ? 2 : 0) |
      ((this.#buttons & 2) !== 0 ? 1 : 0)
    );
  }

  #setDefaults(): void {
    this.#sampleRate = DEFAULT_SAMPLE_RATE;
    this.#resolution = DEFAULT_RESOLUTION;
    this.#scaling2to1 = false;
    this.#enabled = false;
    this.#discardMotion();
  }

  /** The counters start again at zero; a packet that was under way is not completed. */
  #discardMotion(): void {
    this.#steps = [];
    this.#packet = [];
    this.#reportedButtons = this.#buttons;
    this.#sampleAlarm.cancel();
  }

  /**
   * When there is something to say and the last packet has left: starts the next packet (and returns true), or waits
   * for its moment.
   */
  #scheduleSample(): boolean {
    if (!this.#streaming || !this.#enabled || this.#steps.length === 0 || this.#packet.length > 0) {
      return false;
    }
    const now = this.#wiring.clock.now();
    if (now < this.#nextSample) {
      this.#sampleAlarm.set(this.#nextSample);
      return false;
    }
    this.#sampleAlarm.cancel();
    this.#nextSample = now + Math.floor(1_000_000_000 / Math.max(10, this.#sampleRate));
    this.#packet = this.#takePacket();
    this.#lastSent = this.#packet.slice();
    return true;
  }

  /** Builds the next packet and takes its counts from the pending motion. */
  #takePacket(): number[] {
    const step = this.#steps[0] ?? { dx: 0, dy: 0, dz: 0, buttons: this.#buttons };
    const scaled = this.#scaling2to1 && this.#streaming;
    const limit = scaled ? MAX_SCALED_COUNTS : MAX_PACKET_COUNTS;
    const dx = clamp(step.dx, limit);
    const dy = clamp(step.dy, limit);
    const wheelLimit = this.#mouseId === ID_STANDARD ? MAX_PENDING_COUNTS : 7;
    const dz = clamp(step.dz, wheelLimit);
    step.dx -= dx;
    step.dy -= dy;
    step.dz -= dz;
    if (step.dx === 0 && step.dy === 0 && step.dz === 0) {
      this.#steps.shift();
    }
    this.#reportedButtons = step.buttons;
    const x = scaled ? scale(dx) : dx;
    const y = scaled ? scale(dy) : dy;
    const packet = [0x08 | (step.buttons & 7) | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0), x & 0xff, y & 0xff];
    if (this.#mouseId === ID_INTELLIMOUSE) {
      packet.push(dz & 0xff);
    } else if (this.#mouseId === ID_EXPLORER) {
      packet.push((dz & 0x0f) | ((step.buttons & 0x18) << 1));
    }
    return packet;
  }

  save(): StateValue {
    return {
      mouseId: this.#mouseId,
      streaming: this.#streaming,
      wrap: this.#wrap,
      enabled: this.#enabled,
      scaling2to1: this.#scaling2to1,
      resolution: this.#resolution,
      sampleRate: this.#sampleRate,
      rateHistory: [...this.#rateHistory],
      awaiting: this.#awaiting,
      replies: Uint8Array.from(this.#replies),
      packet: Uint8Array.from(this.#packet),
      lastSent: Uint8Array.from(this.#lastSent),
      buttons: this.#buttons,
      reportedButtons: this.#reportedButtons,
      steps: this.#steps.map(({ dx, dy, dz, buttons }) => ({ dx, dy, dz, buttons })),
      nextSampleNanos: this.#nextSample,
      sampleDeadline: this.#sampleAlarm.deadline ?? null,
    };
  }

  /** Checks a saved state and returns what takes it over, so that a controller can check all its parts first. */
  prepareLoad(reader: StateReader): () => void {
    const mouseId = reader.oneOf('mouseId', [ID_STANDARD, ID_INTELLIMOUSE, ID_EXPLORER]);
    const streaming = reader.boolean('streaming');
    const wrap = reader.boolean('wrap');
    const enabled = reader.boolean('enabled');
    const scaling2to1 = reader.boolean('scaling2to1');
    const resolution = reader.int('resolution', 0, 3);
    const sampleRate = reader.u8('sampleRate');
    const [first = 0, second = 0] = reader.ints('rateHistory', 0, 0xff, 2);
    const awaiting = reader.oneOf('awaiting', [0, SET_RESOLUTION, SET_SAMPLE_RATE]);
    const replies = reader.bytes('replies', undefined, MAX_REPLIES);
    const packet = reader.bytes('packet', undefined, 4);
    const lastSent = reader.bytes('lastSent', undefined, MAX_REPLIES);
    const buttons = reader.int('buttons', 0, 0x1f);
    const reportedButtons = reader.int('reportedButtons', 0, 0x1f);
    const steps = reader.objects('steps', undefined, MAX_STEPS).map((step) => ({
      dx: step.int('dx', -MAX_PENDING_COUNTS, MAX_PENDING_COUNTS),
      dy: step.int('dy', -MAX_PENDING_COUNTS, MAX_PENDING_COUNTS),
      dz: step.int('dz', -MAX_PENDING_COUNTS, MAX_PENDING_COUNTS),
      buttons: step.int('buttons', 0, 0x1f),
    }));
    const nextSample = reader.nanos('nextSampleNanos');
    const sampleDeadline = reader.optionalNanos('sampleDeadline');
    return () => {
      this.#mouseId = mouseId;
      this.#streaming = streaming;
      this.#wrap = wrap;
      this.#enabled = enabled;
      this.#scaling2to1 = scaling2to1;
      this.#resolution = resolution;
      this.#sampleRate = sampleRate;
      this.#rateHistory = [first, second];
      this.#awaiting = awaiting;
      this.#replies = [...replies];
      this.#packet = [...packet];
      this.#lastSent = [...lastSent];
      this.#buttons = buttons;
      this.#reportedButtons = reportedButtons;
      this.#steps = steps;
      this.#nextSample = nextSample;
      if (sampleDeadline === undefined) {
        this.#sampleAlarm.cancel();
      } else {
        this.#sampleAlarm.set(sampleDeadline);
      }
    };
  }

  describe(): string {
    const kind =
      this.#mouseId === ID_EXPLORER ? 'Explorer' : this.#mouseId === ID_INTELLIMOUSE ? 'IntelliMouse' : 'PS/2';
    return (
      `mouse: ${kind}, ${this.#streaming ? (this.#enabled ? 'streaming' : 'disabled') : 'remote'}, ` +
      `${this.#sampleRate} samples/s, ${this.#replies.length}+${this.#packet.length} bytes waiting`
    );
  }

  dispose(): void {
    this.#sampleAlarm.dispose();
  }
}

function accumulate(count: number, by: number): number {
  const whole = Number.isFinite(by) ? Math.trunc(by) : 0;
  // `+ 0` turns a negative zero into zero.
  return Math.max(-MAX_PENDING_COUNTS, Math.min(MAX_PENDING_COUNTS, count + whole)) + 0;
}

function clamp(value: number, limit: number): number {
  return Math.max(-limit, Math.min(limit, value));
}

function scale(count: number): number {
  const magnitude = Math.abs(count);
  return Math.sign(count) * (SCALED[magnitude] ?? 2 * magnitude) + 0;
}
