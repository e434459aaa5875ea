import type { ReadStream } from 'node:tty';

/** The part of standard input that the console needs; a pipe has no `setRawMode`. */
export type ConsoleInput = Pick<NodeJS.ReadStream, 'on' | 'off' | 'resume' | 'pause'> & {
  readonly isTTY?: boolean;
  setRawMode?(mode: boolean): unknown;
};

export interface ConsoleActions {
  /** Bytes for the guest. */
  send(bytes: Uint8Array): void;
  /** Ctrl-A X. */
  quit(): void;
  /** A line for the person at the terminal. */
  say(line: string): void;
}

const CTRL_A = 0x01;
export const CONSOLE_HELP = 'Ctrl-A X quits, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A H shows this';

/**
 * Joins the terminal to the guest's serial port. In a terminal the input is raw, so that every key reaches the guest,
 * and Ctrl-A is the one key that talks to Lodge; from a pipe or a file all bytes are the guest's.
 */
export class SerialConsole {
  readonly #input: ConsoleInput;
  readonly #actions: ConsoleActions;
  readonly #raw: boolean;
  #escaped = false;
  #open = false;
  readonly #onData = (data: Uint8Array) => this.#receive(data);
  readonly #onError = () => this.close();
  readonly #restore = () => this.#setRaw(false);
  readonly #onContinue = () => this.#setRaw(true);
  readonly #onSuspend = () => {
    this.#setRaw(false);
    process.kill(process.pid, 'SIGSTOP');
  };

  constructor(input: ConsoleInput, actions: ConsoleActions) {
    this.#input = input;
    this.#actions = actions;
    this.#raw = input.isTTY === true && input.setRawMode !== undefined;
  }

  open(): void {
    this.#open = true;
    if (this.#raw) {
      // Whatever ends this process (an exception, process.exit) passes here; signals are the caller's.
      process.on('exit', this.#restore);
      process.on('SIGCONT', this.#onContinue);
      process.on('SIGTSTP', this.#onSuspend);
      this.#setRaw(true);
    }
    this.#input.on('data', this.#onData);
    this.#input.on('error', this.#onError);
    this.#input.resume();
  }

  /** Gives the terminal back. Harmless when repeated. */
  close(): void {
    if (!this.#open) {
      return;
    }
    this.#open = false;
    this.#input.off('data', this.#onData);
    this.#input.pause();
    if (this.#raw) {
      this.#setRaw(false);
      process.off('exit', this.#restore);
      process.off('SIGCONT', this.#onContinue);
      process.off('SIGTSTP', this.#onSuspend);
    }
  }

  #setRaw(raw: boolean): void {
    try {
      this.#input.setRawMode?.(raw);
    } catch {
      // The terminal is gone: nothing to restore.
    }
  }

  #receive(data: Uint8Array): void {
    if (!this.#raw) {
      this.#actions.send(new Uint8Array(data));
      return;
    }
    let bytes: number[] = [];
    const flush = () => {
      if (bytes.length > 0) {
        this.#actions.send(Uint8Array.from(bytes));
        bytes = [];
      }
    };
    for (const byte of data) {
      if (!this.#escaped) {
        if (byte === CTRL_A) {
          this.#escaped = true;
        } else {
          bytes.push(byte);
        }
        continue;
      }
      this.#escaped = false;
      switch (String.fromCharCode(byte).toLowerCase()) {
        case '\x01':
          bytes.push(CTRL_A);
          break;
        case 'x':
          flush();
          this.#actions.quit();
          return;
        case 'h':
        case '?':
          this.#actions.say(CONSOLE_HELP);
          break;
        default:
          // Not a command of ours: the guest gets both keys.
          bytes.push(CTRL_A, byte);
      }
    }
    flush();
  }
}

/** Standard input as the console takes it. */
export function standardInput(): ConsoleInput {
  const input: NodeJS.ReadStream | ReadStream = process.stdin;
  return input;
}
