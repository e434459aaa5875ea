import type { PioHandler } from '../../bus/bus.ts';
import type { Device } from '../device.ts';
import { StateReader } from '../state.ts';

export const DEBUG_CONSOLE_PORT = 0x402;
/** What firmware expects to read where there is a debug console. */
const PRESENT = 0xe9;

export type DebugConsoleState = { line: string };

/** One port that takes the firmware's log, byte for byte; `onLine` is called once for each finished line. */
export class DebugConsole implements Device<DebugConsoleState> {
  readonly id: string;
  readonly ports: PioHandler;
  #line = '';
  readonly #onLine: (line: string) => void;

  constructor(id: string, wiring: { readonly onLine: (line: string) => void }) {
    this.id = id;
    this.#onLine = wiring.onLine;
    this.ports = {
      readPort: (_offset, size) => (size === 1 ? PRESENT : size === 2 ? PRESENT | 0xff00 : 0xffffff00 | PRESENT),
      writePort: (_offset, _size, value) => this.#write(value & 0xff),
    };
  }

  reset(): void {
    this.#flush();
  }

  save(): DebugConsoleState {
    return { line: this.#line };
  }

  load(state: DebugConsoleState): void {
    this.#line = new StateReader(this.id, state).string('line', 1024);
  }

  describe(): string {
    return `unfinished line: ${JSON.stringify(this.#line)}`;
  }

  dispose(): void {
    this.#flush();
  }

  #write(byte: number): void {
    if (byte === 0x0a) {
      this.#onLine(this.#line);
      this.#line = '';
    } else if (byte >= 0x20 && byte < 0x7f) {
      this.#line += String.fromCharCode(byte);
      if (this.#line.length >= 1000) {
        this.#flush();
      }
    }
  }

  #flush(): void {
    if (this.#line !== '') {
      this.#onLine(this.#line);
      this.#line = '';
    }
  }
}
