import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { StateValue } from '../device.ts';
import type { StateReader } from '../state.ts';
import { type HeldModifiers, isKeyName, isTypematic, KEY_NAMES, type ScanSet, scanSequence, set3Code } from './keys.ts';
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

export interface Ps2KeyboardWiring {
  readonly clock: Clock;
  /** Called when a byte is ready that the controller has not been told of. */
  readonly outputReady: () => void;
  /** The guest switched the lights: bit 0 ScrollLock, bit 1 NumLock, bit 2 CapsLock. */
  readonly onLeds?: ((leds: number) => void) | undefined;
}

/** Bytes of scan codes that wait for the controller. IBM's keyboard has 16; more forgives a guest that is slow. */
export const KEYBOARD_QUEUE_BYTES = 64;
/** Replies are at most four bytes to a command; a guest that never reads them loses the oldest. */
const MAX_REPLIES = 16;

const SET_LEDS = 0xed;
const ECHO = 0xee;
const SCAN_CODE_SET = 0xf0;
const SET_TYPEMATIC = 0xf3;
/** F7h–FAh set all keys (set 3) to typematic, make/break, make only, typematic with break. */
const ALL_KEYS_FIRST = 0xf7;
const ALL_KEYS_LAST = 0xfa;
/** FBh–FDh set the keys whose set 3 codes follow to typematic, make/break, make only. */
const SOME_KEYS_FIRST = 0xfb;
const SOME_KEYS_LAST = 0xfd;
/** Commands after which argument bytes follow. 0: none is awaited. */
const WITH_ARGUMENT = [SET_LEDS, SCAN_CODE_SET, SET_TYPEMATIC, 0xfb, 0xfc, 0xfd];

const IDENTITY = [0xab, 0x83];
/** Delay of 500 ms, 10.9 characters a second. */
const DEFAULT_TYPEMATIC = 0x2b;

/** How a key behaves in scan code set 3. */
const KEY_TYPEMATIC = 1;
const KEY_BREAK = 2;
/** Types that F7h/FBh, F8h/FCh, F9h/FDh and FAh set. */
const KEY_TYPES = [KEY_TYPEMATIC, KEY_BREAK, 0, KEY_TYPEMATIC | KEY_BREAK] as const;

const MODIFIERS = {
  control: ['ControlLeft', 'ControlRight'],
  shift: ['ShiftLeft', 'ShiftRight'],
  alt: ['AltLeft', 'AltRight'],
} as const;

/**
 * A 105-key PS/2 keyboard with scan code sets 1, 2 and 3 (IBM PS/2 Hardware Interface Technical Reference).
 *
 * A full queue drops the make code of further keys and marks the place with an overrun byte; the break codes of keys
 * that the guest believes to be down are kept until there is room, so that no key sticks.
 */
export class Ps2Keyboard implements Ps2Device {
  readonly #wiring: Ps2KeyboardWiring;
  readonly #repeatAlarm: Alarm;

  #scanSet: ScanSet = 2;
  #scanning = true;
  #leds = 0;
  #typematic = DEFAULT_TYPEMATIC;
  /** The command whose argument comes next, or 0. */
  #awaiting = 0;
  #lastSent = 0;
  /** Set 3 behaviour by set 3 code, see KEY_TYPES. */
  readonly #keyTypes = new Uint8Array(256);
  #replies: number[] = [];
  #scanCodes: number[] = [];
  #overrun = false;
  /** Keys that are down. */
  readonly #pressed = new Set<string>();
  /** Keys of which the guest was sent the make code and not yet the break code. */
  readonly #reported = new Set<string>();
  /** Released keys whose break code found no room. */
  #owedBreaks: string[] = [];
  /** The key that repeats, or '' . */
  #repeating = '';

  constructor(wiring: Ps2KeyboardWiring) {
    this.#wiring = wiring;
    this.#repeatAlarm = wiring.clock.createAlarm(() => this.#repeat());
    this.reset();
  }

  /** Power-on: defaults, empty queues. Keys that are down stay down, but the guest does not know of them. */
  reset(): void {
    this.#awaiting = 0;
    this.#lastSent = 0;
    this.#replies = [];
    this.#setLeds(0);
    this.#setDefaults();
    this.#scanning = true;
  }

  /**
   * Presses or releases a key by its W3C `KeyboardEvent.code` name. Repeated presses without a release between them
   * are ignored: the keyboard repeats on its own. Returns false for a key that this keyboard does not have.
   */
  key(name: string, down: boolean): boolean {
    if (!isKeyName(name)) {
      return false;
    }
    if (down === this.#pressed.has(name)) {
      return true;
    }
    if (down) {
      this.#pressed.add(name);
      this.#press(name);
    } else {
      this.#pressed.delete(name);
      this.#release(name);
    }
    return true;
  }

  /** Releases every key, for example when a window loses the keyboard. */
  releaseAll(): void {
    for (const name of [...this.#pressed]) {
      this.key(name, false);
    }
  }

  /** True when the guest was sent everything that was typed. */
  get drained(): boolean {
    return this.#replies.length === 0 && this.#scanCodes.length === 0 && this.#owedBreaks.length === 0;
  }

  /** Bit 0 ScrollLock, bit 1 NumLock, bit 2 CapsLock. */
  get leds(): number {
    return this.#leds;
  }

  get hasOutput(): boolean {
    return this.#replies.length > 0 || this.#scanCodes.length > 0;
  }

  takeOutput(): number {
    const reply = this.#replies.shift();
    if (reply !== undefined) {
      if (reply !== PS2_RESEND) {
        this.#lastSent = reply;
      }
      return reply;
    }
    const code = this.#scanCodes.shift() ?? 0;
    this.#lastSent = code;
    this.#payOwedBreaks();
    if (this.#scanCodes.length < KEYBOARD_QUEUE_BYTES) {
      this.#overrun = false;
    }
    return code;
  }

  receive(byte: number): void {
    const command = this.#awaiting;
    this.#awaiting = 0;
    // A byte in the range of commands ends the wait for an argument.
    if (command !== 0 && byte < SET_LEDS) {
      this.#argument(command, byte);
    } else {
      this.#command(byte);
    }
    this.#wiring.outputReady();
  }

  #command(byte: number): void {
    switch (byte) {
      case SET_LEDS:
      case SCAN_CODE_SET:
      case SET_TYPEMATIC:
        this.#awaiting = byte;
        this.#reply(PS2_ACK);
        return;
      case ECHO:
        this.#reply(ECHO);
        return;
      case PS2_IDENTIFY:
        this.#reply(PS2_ACK, ...IDENTITY);
        return;
      case PS2_ENABLE:
        this.#clearScanCodes();
        this.#scanning = true;
        this.#reply(PS2_ACK);
        return;
      case PS2_DISABLE:
        this.#setDefaults();
        this.#scanning = false;
        this.#reply(PS2_ACK);
        return;
      case PS2_SET_DEFAULTS: {
        const scanning = this.#scanning;
        this.#setDefaults();
        this.#scanning = scanning;
        this.#reply(PS2_ACK);
        return;
      }
      case PS2_RESEND_COMMAND:
        this.#reply(this.#lastSent);
        return;
      case PS2_RESET:
        this.reset();
        this.#reply(PS2_ACK, PS2_BAT_PASSED);
        return;
      default:
        if (byte >= ALL_KEYS_FIRST && byte <= ALL_KEYS_LAST) {
          this.#keyTypes.fill(KEY_TYPES[byte - ALL_KEYS_FIRST] ?? 0);
          this.#reply(PS2_ACK);
        } else if (byte >= SOME_KEYS_FIRST && byte <= SOME_KEYS_LAST) {
          // The keyboard stops scanning until it is enabled again.
          this.#clearScanCodes();
          this.#scanning = false;
          this.#awaiting = byte;
          this.#reply(PS2_ACK);
        } else {
          this.#reply(PS2_RESEND);
        }
    }
  }

  #argument(command: number, byte: number): void {
    switch (command) {
      case SET_LEDS:
        this.#setLeds(byte & 7);
        this.#reply(PS2_ACK);
        return;
      case SCAN_CODE_SET:
        if (byte === 0) {
          this.#reply(PS2_ACK, this.#scanSet);
        } else if (byte === 1 || byte === 2 || byte === 3) {
          this.#clearScanCodes();
          this.#scanSet = byte;
          this.#reply(PS2_ACK);
        } else {
          this.#reply(PS2_RESEND);
        }
        return;
      case SET_TYPEMATIC:
        this.#typematic = byte & 0x7f;
        this.#reply(PS2_ACK);
        return;
      default:
        // FBh–FDh: a list of keys, ended by the next command.
        this.#keyTypes[byte] = KEY_TYPES[command - SOME_KEYS_FIRST] ?? 0;
        this.#awaiting = command;
        this.#reply(PS2_ACK);
    }
  }

  #reply(...bytes: number[]): void {
    this.#replies.push(...bytes);
    if (this.#replies.length > MAX_REPLIES) {
      this.#replies.splice(0, this.#replies.length - MAX_REPLIES);
    }
  }

  #setLeds(leds: number): void {
    if (leds !== this.#leds) {
      this.#leds = leds;
      this.#wiring.onLeds?.(leds);
    }
  }

  #setDefaults(): void {
    this.#scanSet = 2;
    this.#typematic = DEFAULT_TYPEMATIC;
    // Set 3 by default: letters repeat and say nothing on release, modifiers and locks do; all keys doing both is a
    // superset that no driver minds.
    this.#keyTypes.fill(KEY_TYPEMATIC | KEY_BREAK);
    this.#clearScanCodes();
  }

  #clearScanCodes(): void {
    this.#scanCodes = [];
    this.#owedBreaks = [];
    this.#overrun = false;
    this.#reported.clear();
    this.#stopRepeating();
  }

  #press(name: string): void {
    if (!this.#scanning) {
      return;
    }
    // The guest still waits for the release of this key's last press: it must come first.
    this.#payOwedBreaks();
    if (this.#owedBreaks.length > 0 || !this.#enqueue(scanSequence(name, this.#scanSet, true, this.#held()))) {
      this.#markOverrun();
      return;
    }
    this.#reported.add(name);
    if (isTypematic(name) && (this.#scanSet !== 3 || (this.#typeInSet3(name) & KEY_TYPEMATIC) !== 0)) {
      this.#repeating = name;
      // Bits 5 and 6: a quarter of a second each.
      this.#repeatAlarm.set(this.#wiring.clock.now() + (((this.#typematic >>> 5) & 3) + 1) * 250_000_000);
    }
    this.#wiring.outputReady();
  }

  #release(name: string): void {
    if (name === this.#repeating) {
      this.#stopRepeating();
    }
    if (!this.#scanning || !this.#reported.delete(name)) {
      return;
    }
    if (this.#scanSet === 3 && (this.#typeInSet3(name) & KEY_BREAK) === 0) {
      return;
    }
    if (this.#owedBreaks.length > 0 || !this.#enqueue(scanSequence(name, this.#scanSet, false, this.#held()))) {
      this.#owedBreaks.push(name);
    }
    this.#wiring.outputReady();
  }

  #repeat(): void {
    // A guest that does not keep up gets no repetitions, instead of a queue full of them.
    if (this.#scanning && this.#scanCodes.length === 0) {
      this.#enqueue(scanSequence(this.#repeating, this.#scanSet, true, this.#held()));
    }
    this.#repeatAlarm.set(this.#wiring.clock.now() + this.#repeatPeriod());
    this.#wiring.outputReady();
  }

  /** Bits 0–4: (8 + A) × 2^B × 4.17 ms. */
  #repeatPeriod(): Nanos {
    return (8 + (this.#typematic & 7)) * 2 ** ((this.#typematic >>> 3) & 3) * 4_170_000;
  }

  #stopRepeating(): void {
    this.#repeating = '';
    this.#repeatAlarm.cancel();
  }

  #typeInSet3(name: string): number {
    return this.#keyTypes[set3Code(name)] ?? 0;
  }

  #held(): HeldModifiers {
    const any = (names: readonly string[]) => names.some((name) => this.#pressed.has(name));
    return { control: any(MODIFIERS.control), shift: any(MODIFIERS.shift), alt: any(MODIFIERS.alt) };
  }

  /** Appends a whole sequence or nothing. */
  #enqueue(bytes: readonly number[]): boolean {
    if (this.#scanCodes.length + bytes.length > KEYBOARD_QUEUE_BYTES) {
      return false;
    }
    this.#scanCodes.push(...bytes);
    return true;
  }

  /** FFh in set 1 and 00h in sets 2 and 3, once, in a place kept for it after the last code. */
  #markOverrun(): void {
    if (!this.#overrun) {
      this.#overrun = true;
      this.#scanCodes.push(this.#scanSet === 1 ? 0xff : 0x00);
    }
  }

  #payOwedBreaks(): void {
    while (this.#owedBreaks.length > 0) {
      const name = this.#owedBreaks[0] ?? '';
      if (!this.#enqueue(scanSequence(name, this.#scanSet, false, this.#held()))) {
        return;
      }
      this.#owedBreaks.shift();
    }
  }

  save(): StateValue {
    return {
      scanSet: this.#scanSet,
      scanning: this.#scanning,
      leds: this.#leds,
      typematic: this.#typematic,
      awaiting: this.#awaiting,
      lastSent: this.#lastSent,
      keyTypes: this.#keyTypes.slice(),
      replies: Uint8Array.from(this.#replies),
      scanCodes: Uint8Array.from(this.#scanCodes),
      overrun: this.#overrun,
      pressed: [...this.#pressed],
      reported: [...this.#reported],
      owedBreaks: this.#owedBreaks.slice(),
      repeating: this.#repeating,
      repeatDeadline: this.#repeatAlarm.deadline ?? null,
    };
  }

  /** Checks a saved state and returns what takes it over, so that a controller can check all its parts first. */
  prepareLoad(reader: StateReader): () => void {
    const scanSet = reader.oneOf('scanSet', [1, 2, 3]);
    const scanning = reader.boolean('scanning');
    const leds = reader.int('leds', 0, 7);
    const typematic = reader.int('typematic', 0, 0x7f);
    const awaiting = reader.oneOf('awaiting', [0, ...WITH_ARGUMENT]);
    const lastSent = reader.u8('lastSent');
    const keyTypes = reader.bytes('keyTypes', 256);
    const replies = reader.bytes('replies', undefined, MAX_REPLIES);
    const scanCodes = reader.bytes('scanCodes', undefined, KEYBOARD_QUEUE_BYTES + 1);
    const overrun = reader.boolean('overrun');
    const names = (key: string): string[] =>
      reader.array(key, undefined, KEY_NAMES.length).map((name) => {
        if (typeof name !== 'string' || !isKeyName(name)) {
          return reader.refuse(`'${key}' names a key that does not exist`);
        }
        return name;
      });
    const pressed = names('pressed');
    const reported = names('reported');
    const owedBreaks = names('owedBreaks');
    const repeating = reader.string('repeating', 32);
    const repeatDeadline = reader.optionalNanos('repeatDeadline');
    if ((repeating !== '' && !isKeyName(repeating)) || (repeating === '') !== (repeatDeadline === undefined)) {
      reader.refuse('the repeating key and its alarm contradict each other');
    }
    return () => {
      this.#scanSet = scanSet;
      this.#scanning = scanning;
      this.#setLeds(leds);
      this.#typematic = typematic;
      this.#awaiting = awaiting;
      this.#lastSent = lastSent;
      this.#keyTypes.set(keyTypes.map((type) => type & (KEY_TYPEMATIC | KEY_BREAK)));
      this.#replies = [...replies];
      this.#scanCodes = [...scanCodes];
      this.#overrun = overrun;
      replace(this.#pressed, pressed);
      replace(this.#reported, reported);
      this.#owedBreaks = owedBreaks;
      this.#repeating = repeating;
      if (repeatDeadline === undefined) {
        this.#repeatAlarm.cancel();
      } else {
        this.#repeatAlarm.set(repeatDeadline);
      }
    };
  }

  describe(): string {
    const held = [...this.#pressed].join(' ');
    return (
      `keyboard: set ${this.#scanSet}, ${this.#scanning ? 'scanning' : 'disabled'}, ` +
      `${this.#replies.length}+${this.#scanCodes.length} bytes waiting${held === '' ? '' : `, down: ${held}`}`
    );
  }

  dispose(): void {
    this.#repeatAlarm.dispose();
  }
}

function replace(set: Set<string>, names: readonly string[]): void {
  set.clear();
  for (const name of names) {
    set.add(name);
  }
}
