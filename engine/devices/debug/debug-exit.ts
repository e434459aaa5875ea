import type { PioHandler } from '../../bus/bus.ts';
import type { Device } from '../device.ts';
import { StateReader } from '../state.ts';

export const DEBUG_EXIT_PORT = 0xf4;
export const DEBUG_EXIT_LENGTH = 4;

/**
 * A door for test guests: writing `value` ends the run with exit code `value × 2 + 1`, which is never 0 and so never
 * taken for an ordinary power-off. Not part of any PC; added by `--debug-exit` only.
 */
export class DebugExit implements Device<Record<string, never>> {
  readonly id: string;
  readonly ports: PioHandler;

  /** `onExit` receives the exit code, cut to the eight bits that a process can return. */
  constructor(id: string, wiring: { readonly onExit: (code: number) => void }) {
    this.id = id;
    this.ports = {
      readPort: () => 0,
      writePort: (_offset, _size, value) => wiring.onExit((((value & 0x7f) << 1) | 1) & 0xff),
    };
  }

  reset(): void {}

  save(): Record<string, never> {
    return {};
  }

  load(state: Record<string, never>): void {
    const reader = new StateReader(this.id, state);
    if (Object.keys(state).length > 0) {
      reader.refuse('this device has no state');
    }
  }

  describe(): string {
    return 'ends the run when written to';
  }

  dispose(): void {}
}
