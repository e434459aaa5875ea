import type { PioHandler } from '../../bus/bus.ts';
import type { Device } from '../device.ts';
import { StateReader } from '../state.ts';

export const DEBUG_EXIT_PORT = 0xf4;
export const DEBUG_EXIT_LENGTH = 4;

/** The exit code of a run that the guest ended with `value`: never 0, so never taken for an ordinary power-off. */
export function debugExitCode(value: number): number {
  return (value * 2 + 1) & 0xff;
}

/**
 * A door for test guests: writing `value` ends the run with {@link debugExitCode}. Not part of any PC; added by
 * `--debug-exit` only.
 */
export class DebugExit implements Device<Record<string, never>> {
  readonly id: string;
  readonly ports: PioHandler;

  /** `onExit` receives the low byte of what the guest wrote. */
  constructor(id: string, wiring: { readonly onExit: (value: number) => void }) {
    this.id = id;
    this.ports = {
      readPort: () => 0,
      writePort: (_offset, _size, value) => wiring.onExit(value & 0xff),
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
