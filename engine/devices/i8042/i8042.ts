import { type Log, limitedLog } from '../../base/log.ts';
import type { PioHandler } from '../../bus/bus.ts';
import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { Device, DeviceId, StateValue } from '../device.ts';
import { StateReader } from '../state.ts';
import { translateSet2 } from './keys.ts';
import { Ps2Keyboard } from './ps2-keyboard.ts';
import { Ps2Mouse } from './ps2-mouse.ts';

export interface I8042Wiring {
  /** IRQ 1. */
  readonly keyboardLine: InterruptLine;
  /** IRQ 12. */
  readonly mouseLine: InterruptLine;
  readonly clock: Clock;
  readonly log: Log;
  /** Opens or masks address line 20. */
  readonly setA20: (enabled: boolean) => void;
  /** Pulses the processors' reset (on a PC: resets the machine). */
  readonly reset: () => void;
  /** The guest switched the keyboard's lights: bit 0 ScrollLock, bit 1 NumLock, bit 2 CapsLock. */
  readonly onLeds?: (leds: number) => void;
}

// Status register, port 64h (IBM PS/2 Hardware Interface Technical Reference, keyboard and auxiliary device controller)
const STATUS_OUTPUT_FULL = 0x01;
const STATUS_SYSTEM_FLAG = 0x04;
/** The last byte written was a command (port 64h). */
const STATUS_COMMAND = 0x08;
/** The keyboard lock is open. */
const STATUS_UNLOCKED = 0x10;
const STATUS_AUX_DATA = 0x20;

// Command byte (RAM byte 0)
const MODE_KEYBOARD_INTERRUPT = 0x01;
const MODE_MOUSE_INTERRUPT = 0x02;
const MODE_SYSTEM_FLAG = 0x04;
const MODE_KEYBOARD_DISABLED = 0x10;
const MODE_MOUSE_DISABLED = 0x20;
const MODE_TRANSLATE = 0x40;

// Controller commands
const READ_RAM_FIRST = 0x20;
const READ_RAM_LAST = 0x3f;
const WRITE_RAM_FIRST = 0x60;
const WRITE_RAM_LAST = 0x7f;
const TEST_PASSWORD = 0xa4;
const DISABLE_MOUSE = 0xa7;
const ENABLE_MOUSE = 0xa8;
const TEST_MOUSE_PORT = 0xa9;
const SELF_TEST = 0xaa;
const TEST_KEYBOARD_PORT = 0xab;
const DISABLE_KEYBOARD = 0xad;
const ENABLE_KEYBOARD = 0xae;
const READ_INPUT_PORT = 0xc0;
const READ_OUTPUT_PORT = 0xd0;
const WRITE_OUTPUT_PORT = 0xd1;
const WRITE_KEYBOARD_BUFFER = 0xd2;
const WRITE_MOUSE_BUFFER = 0xd3;
const WRITE_MOUSE = 0xd4;
const DISABLE_A20 = 0xdd;
const ENABLE_A20 = 0xdf;
const READ_TEST_INPUTS = 0xe0;
/** F0h–FFh pull those output port bits low for 6 µs whose command bits are 0. */
const PULSE_OUTPUT_FIRST = 0xf0;

// Output port
const OUTPUT_NO_RESET = 0x01;
const OUTPUT_A20 = 0x02;
const OUTPUT_KEYBOARD_FULL = 0x10;
const OUTPUT_MOUSE_FULL = 0x20;
const OUTPUT_CLOCK_AND_DATA = 0xc0;

const SELF_TEST_PASSED = 0x55;
const PORT_TEST_PASSED = 0x00;
const NO_PASSWORD = 0xf1;
/** Keyboard not inhibited, colour display: nothing on a PC looks further. */
const INPUT_PORT = 0x80;

/**
 * A byte of a device takes its time on the wire (0.7–1.1 ms at 10–16.7 kHz; a little less here). Programs that read
 * the data port twice for one interrupt, as chains of old interrupt handlers do, rely on the byte still being there.
 */
const BYTE_NANOS: Nanos = 400_000;

/**
 * The PC's keyboard and auxiliary device controller with a keyboard and a mouse behind it.
 *
 * One output buffer serves everyone. The controller's own answers have priority and come at once, because programs
 * read some of them without looking at the status; device bytes follow a byte time after the last one was read,
 * the keyboard's before the mouse's, and each only while its port is enabled.
 */
export class I8042 implements Device {
  readonly id: DeviceId;
  /** One port at 60h. */
  readonly dataPort: PioHandler;
  /** One port at 64h: status and commands. */
  readonly commandPort: PioHandler;
  readonly keyboard: Ps2Keyboard;
  readonly mouse: Ps2Mouse;
  readonly #wiring: I8042Wiring;
  readonly #log: Log;
  readonly #byteAlarm: Alarm;

  readonly #ram = new Uint8Array(32);
  #systemFlag = false;
  #lastWasCommand = true;
  #outputFull = false;
  /** The byte in the output buffer came from the auxiliary port. */
  #outputFromMouse = false;
  /** The byte in the output buffer came from a device, not from the controller. */
  #outputFromDevice = false;
  #output = 0;
  /** An answer of the controller that waits for the buffer: undefined, or the byte, with bit 8 for the auxiliary port. */
  #answer: number | undefined;
  /** The command whose argument is written to port 60h next, or 0. */
  #awaiting = 0;
  #a20 = true;
  /** Translation saw the prefix F0 and applies it to the next byte. */
  #releasePrefix = false;
  /** No device byte before this moment. */
  #nextByte: Nanos = 0;

  constructor(id: DeviceId, wiring: I8042Wiring) {
    this.id = id;
    this.#wiring = wiring;
    this.#log = limitedLog(wiring.log);
    const outputReady = () => this.#fill();
    this.#byteAlarm = wiring.clock.createAlarm(outputReady);
    this.keyboard = new Ps2Keyboard({ clock: wiring.clock, outputReady, onLeds: wiring.onLeds });
    this.mouse = new Ps2Mouse({ clock: wiring.clock, outputReady });
    this.dataPort = {
      readPort: (_offset, size) => widen(this.#readData(), size),
      writePort: (_offset, _size, value) => this.#writeData(value & 0xff),
    };
    this.commandPort = {
      readPort: (_offset, size) => widen(this.#status(), size),
      writePort: (_offset, _size, value) => this.#command(value & 0xff),
    };
    this.reset();
  }

  reset(): void {
    this.#ram.fill(0);
    this.#ram[0] = MODE_KEYBOARD_INTERRUPT | MODE_MOUSE_INTERRUPT;
    this.#systemFlag = false;
    this.#lastWasCommand = true;
    this.#outputFull = false;
    this.#outputFromMouse = false;
    this.#outputFromDevice = false;
    this.#output = 0;
    this.#answer = undefined;
    this.#awaiting = 0;
    this.#releasePrefix = false;
    this.#nextByte = 0;
    this.#byteAlarm.cancel();
    this.keyboard.reset();
    this.mouse.reset();
    this.#setA20(true);
    this.#updateLines();
  }

  /** Address line 20 was switched by someone else (port 92h): the output port shows it. */
  noteA20(enabled: boolean): void {
    this.#a20 = enabled;
  }

  /** True when the guest has read everything that was typed. */
  get keyboardDrained(): boolean {
    return this.keyboard.drained && !(this.#outputFull && this.#outputFromDevice && !this.#outputFromMouse);
  }

  get #mode(): number {
    return this.#ram[0] ?? 0;
  }

  set #mode(value: number) {
    this.#ram[0] = value;
  }

  #status(): number {
    return (
      (this.#outputFull ? STATUS_OUTPUT_FULL : 0) |
      (this.#systemFlag ? STATUS_SYSTEM_FLAG : 0) |
      (this.#lastWasCommand ? STATUS_COMMAND : 0) |
      STATUS_UNLOCKED |
      (this.#outputFull && this.#outputFromMouse ? STATUS_AUX_DATA : 0)
    );
  }

  /** Reading empties the buffer; an empty buffer still shows its last byte. */
  #readData(): number {
    const value = this.#output;
    if (this.#outputFull) {
      this.#outputFull = false;
      if (this.#outputFromDevice) {
        this.#nextByte = this.#wiring.clock.now() + BYTE_NANOS;
      }
      this.#updateLines();
      this.#fill();
    }
    return value;
  }

  #writeData(value: number): void {
    const command = this.#awaiting;
    this.#awaiting = 0;
    this.#lastWasCommand = false;
    if (command >= WRITE_RAM_FIRST && command <= WRITE_RAM_LAST) {
      this.#ram[command - WRITE_RAM_FIRST] = value;
      if (command === WRITE_RAM_FIRST) {
        this.#systemFlag = (value & MODE_SYSTEM_FLAG) !== 0;
        this.#modeChanged();
      }
      return;
    }
    switch (command) {
      case 0:
        // Sending to a device enables its port.
        this.#mode &= ~MODE_KEYBOARD_DISABLED;
        this.#toDevice(() => this.keyboard.receive(value));
        return;
      case WRITE_MOUSE:
        this.#mode &= ~MODE_MOUSE_DISABLED;
        this.#toDevice(() => this.mouse.receive(value));
        return;
      case WRITE_OUTPUT_PORT:
        this.#writeOutputPort(value);
        return;
      case WRITE_KEYBOARD_BUFFER:
        this.#respond(value);
        return;
      case WRITE_MOUSE_BUFFER:
        this.#respond(value | 0x100);
        return;
      default:
        this.#log.warn(`${this.id}: argument ${hex(value)} of unknown command ${hex(command)} ignored`);
    }
  }

  /** The byte and the device's reply take their time on the wire. */
  #toDevice(send: () => void): void {
    this.#nextByte = Math.max(this.#nextByte, this.#wiring.clock.now() + BYTE_NANOS);
    send();
    this.#modeChanged();
  }

  #command(value: number): void {
    this.#awaiting = 0;
    this.#lastWasCommand = true;
    if (value >= READ_RAM_FIRST && value <= READ_RAM_LAST) {
      this.#respond(this.#ram[value - READ_RAM_FIRST] ?? 0);
      return;
    }
    if (value >= WRITE_RAM_FIRST && value <= WRITE_RAM_LAST) {
      this.#awaiting = value;
      return;
    }
    if (value >= PULSE_OUTPUT_FIRST) {
      if ((value & OUTPUT_NO_RESET) === 0) {
        this.#wiring.reset();
      }
      return;
    }
    switch (value) {
      case TEST_PASSWORD:
        this.#respond(NO_PASSWORD);
        return;
      case DISABLE_MOUSE:
        this.#mode |= MODE_MOUSE_DISABLED;
        return;
      case ENABLE_MOUSE:
        this.#mode &= ~MODE_MOUSE_DISABLED;
        this.#modeChanged();
        return;
      case TEST_MOUSE_PORT:
      case TEST_KEYBOARD_PORT:
        this.#respond(PORT_TEST_PASSED);
        return;
      case SELF_TEST:
        this.#systemFlag = true;
        this.#mode |= MODE_SYSTEM_FLAG;
        this.#respond(SELF_TEST_PASSED);
        return;
      case DISABLE_KEYBOARD:
        this.#mode |= MODE_KEYBOARD_DISABLED;
        this.#updateLines();
        return;
      case ENABLE_KEYBOARD:
        this.#mode &= ~MODE_KEYBOARD_DISABLED;
        this.#modeChanged();
        return;
      case READ_INPUT_PORT:
        this.#respond(INPUT_PORT);
        return;
      case READ_OUTPUT_PORT:
        this.#respond(this.#outputPort());
        return;
      case READ_TEST_INPUTS:
        this.#respond(0);
        return;
      case WRITE_OUTPUT_PORT:
      case WRITE_KEYBOARD_BUFFER:
      case WRITE_MOUSE_BUFFER:
      case WRITE_MOUSE:
        this.#awaiting = value;
        return;
      case DISABLE_A20:
      case ENABLE_A20:
        this.#setA20(value === ENABLE_A20);
        return;
      default:
        this.#log.warn(`${this.id}: unknown command ${hex(value)} ignored`);
    }
  }

  #outputPort(): number {
    return (
      OUTPUT_NO_RESET |
      (this.#a20 ? OUTPUT_A20 : 0) |
      (this.#outputFull ? (this.#outputFromMouse ? OUTPUT_MOUSE_FULL : OUTPUT_KEYBOARD_FULL) : 0) |
      OUTPUT_CLOCK_AND_DATA
    );
  }

  #writeOutputPort(value: number): void {
    this.#setA20((value & OUTPUT_A20) !== 0);
    if ((value & OUTPUT_NO_RESET) === 0) {
      this.#wiring.reset();
    }
  }

  #setA20(enabled: boolean): void {
    this.#a20 = enabled;
    this.#wiring.setA20(enabled);
  }

  #modeChanged(): void {
    this.#updateLines();
    this.#fill();
  }

  /** Gives an answer of the controller; a device byte that the guest has not read keeps its place before it. */
  #respond(answer: number): void {
    this.#answer = answer;
    this.#fill();
  }

  /** Moves the next byte into the output buffer when it is empty, or waits until a device byte has come through. */
  #fill(): void {
    if (this.#outputFull) {
      this.#byteAlarm.cancel();
      return;
    }
    const answer = this.#answer;
    if (answer !== undefined) {
      this.#answer = undefined;
      this.#byteAlarm.cancel();
      this.#fillWith(answer & 0xff, (answer & 0x100) !== 0, false);
      return;
    }
    const keyboardReady = this.keyboard.hasOutput && (this.#mode & MODE_KEYBOARD_DISABLED) === 0;
    const mouseReady = this.mouse.hasOutput && (this.#mode & MODE_MOUSE_DISABLED) === 0;
    if (!keyboardReady && !mouseReady) {
      this.#byteAlarm.cancel();
      return;
    }
    if (this.#wiring.clock.now() < this.#nextByte) {
      this.#byteAlarm.set(this.#nextByte);
      return;
    }
    this.#byteAlarm.cancel();
    if (keyboardReady) {
      this.#takeFromKeyboard();
    } else {
      this.#fillWith(this.mouse.takeOutput(), true, true);
    }
  }

  #takeFromKeyboard(): void {
    const byte = this.keyboard.takeOutput();
    if ((this.#mode & MODE_TRANSLATE) === 0) {
      this.#releasePrefix = false;
      this.#fillWith(byte, false, true);
      return;
    }
    if (byte === 0xf0) {
      // The prefix goes into the next byte; it takes time on the wire like any other.
      this.#releasePrefix = true;
      this.#fill();
      return;
    }
    const release = this.#releasePrefix && byte < 0xe0 ? 0x80 : 0;
    this.#releasePrefix &&= byte >= 0xe0;
    this.#fillWith(translateSet2(byte) | release, false, true);
  }

  #fillWith(byte: number, fromMouse: boolean, fromDevice: boolean): void {
    this.#output = byte;
    this.#outputFull = true;
    this.#outputFromMouse = fromMouse;
    this.#outputFromDevice = fromDevice;
    this.#updateLines();
  }

  /** The lines follow the buffer: full with interrupts enabled is high, reading makes them low. */
  #updateLines(): void {
    const mode = this.#mode;
    const keyboard =
      this.#outputFull &&
      !this.#outputFromMouse &&
      (mode & MODE_KEYBOARD_INTERRUPT) !== 0 &&
      (mode & MODE_KEYBOARD_DISABLED) === 0;
    const mouse = this.#outputFull && this.#outputFromMouse && (mode & MODE_MOUSE_INTERRUPT) !== 0;
    this.#wiring.keyboardLine.set(keyboard);
    this.#wiring.mouseLine.set(mouse);
  }

  save(): StateValue {
    return {
      ram: this.#ram.slice(),
      systemFlag: this.#systemFlag,
      lastWasCommand: this.#lastWasCommand,
      outputFull: this.#outputFull,
      outputFromMouse: this.#outputFromMouse,
      outputFromDevice: this.#outputFromDevice,
      output: this.#output,
      answer: this.#answer ?? null,
      awaiting: this.#awaiting,
      a20: this.#a20,
      releasePrefix: this.#releasePrefix,
      nextByteNanos: this.#nextByte,
      byteDeadline: this.#byteAlarm.deadline ?? null,
      keyboard: this.keyboard.save(),
      mouse: this.mouse.save(),
    };
  }

  load(state: StateValue): void {
    const reader = new StateReader(this.id, state);
    const ram = reader.bytes('ram', 32);
    const systemFlag = reader.boolean('systemFlag');
    const lastWasCommand = reader.boolean('lastWasCommand');
    const outputFull = reader.boolean('outputFull');
    const outputFromMouse = reader.boolean('outputFromMouse');
    const outputFromDevice = reader.boolean('outputFromDevice');
    const output = reader.u8('output');
    const answer = reader.has('answer') ? reader.int('answer', 0, 0x1ff) : undefined;
    const awaiting = reader.u8('awaiting');
    const a20 = reader.boolean('a20');
    const releasePrefix = reader.boolean('releasePrefix');
    const nextByte = reader.nanos('nextByteNanos');
    const byteDeadline = reader.optionalNanos('byteDeadline');
    const loadKeyboard = this.keyboard.prepareLoad(reader.object('keyboard'));
    const loadMouse = this.mouse.prepareLoad(reader.object('mouse'));

    this.#ram.set(ram);
    this.#systemFlag = systemFlag;
    this.#lastWasCommand = lastWasCommand;
    this.#outputFull = outputFull;
    this.#outputFromMouse = outputFromMouse;
    this.#outputFromDevice = outputFromDevice;
    this.#output = output;
    this.#answer = answer;
    this.#awaiting = awaiting;
    // The line itself is part of the processors' state, which is restored with them.
    this.#a20 = a20;
    this.#releasePrefix = releasePrefix;
    this.#nextByte = nextByte;
    loadKeyboard();
    loadMouse();
    if (byteDeadline === undefined) {
      this.#byteAlarm.cancel();
    } else {
      this.#byteAlarm.set(byteDeadline);
    }
    this.#updateLines();
  }

  describe(): string {
    const buffer = this.#outputFull
      ? `${hex(this.#output)} from the ${this.#outputFromMouse ? 'auxiliary port' : 'keyboard'}`
      : 'empty';
    return [
      `${this.id}: status ${hex(this.#status())}, command byte ${hex(this.#mode)}, output buffer ${buffer}`,
      `  ${this.keyboard.describe()}`,
      `  ${this.mouse.describe()}`,
    ].join('\n');
  }

  dispose(): void {
    this.#byteAlarm.dispose();
    this.keyboard.dispose();
    this.mouse.dispose();
  }
}

/** The controller is an 8-bit device: wider reads see pulled-up lines above. */
function widen(value: number, size: 1 | 2 | 4): number {
  return size === 1 ? value : size === 2 ? value | 0xff00 : (value | 0xffffff00) >>> 0;
}

function hex(value: number): string {
  return `${value.toString(16).padStart(2, '0')}h`;
}
