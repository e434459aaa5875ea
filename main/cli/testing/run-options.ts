import { Writable } from 'node:stream';
import type { MachineConfig } from '../../../engine/config/machine-config.ts';
import { startMachine } from '../../../engine/process/run-machine.ts';
import { lodge } from '../main.ts';

export interface OptionsResult {
  readonly code: number;
  /** Lines on standard error. */
  readonly lines: string[];
  /** What the machine would have been, if it came to that. */
  readonly config: MachineConfig | undefined;
}

/** Carries out `lodge run` with options; the machine is not started, or really when `real` is set. */
export async function runOptions(options: readonly string[], real = false): Promise<OptionsResult> {
  const lines: string[] = [];
  let config: MachineConfig | undefined;
  const code = await lodge(['run', ...options], {
    stdin: Object.assign(process.stdin, {}),
    stdout: new Writable({ write: (_chunk, _encoding, done) => done() }),
    complain: (line) => lines.push(line),
    verbose: false,
    loadStartMachine: async () => (wanted, host) => {
      config = wanted;
      if (real) {
        return startMachine(wanted, host);
      }
      return Promise.resolve({
        finished: Promise.resolve({ kind: 'powered-off' }),
        sendSerial() {},
        typeText() {},
        stop() {},
        powerButton() {},
        screenshot: async () => new Uint8Array(),
        screenText: async () => undefined,
      });
    },
  });
  return { code, lines, config };
}
