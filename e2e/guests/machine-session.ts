import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import type { ControlledMachine } from '../../engine/process/run-machine.ts';
import { startMachine } from '../../engine/process/start-machine.ts';
import { LOAD_MODULES } from './kernel-modules.ts';

/** A machine in this process, with a shell on its serial port, for tests that command it while it runs. */
export class MachineSession {
  readonly machine: ControlledMachine;
  /** Lines of the machine's log for the user. */
  readonly warnings: string[];
  readonly #seconds: number;
  readonly #output: { said: string };

  private constructor(machine: ControlledMachine, output: { said: string }, warnings: string[], seconds: number) {
    this.machine = machine;
    this.warnings = warnings;
    this.#output = output;
    this.#seconds = seconds;
  }

  /**
   * Starts a machine with a Linux kernel, waits for the shell, loads the initramfs's modules, gives all that to `use`, and
   * ends the machine whatever happens.
   * @param seconds within which each step has to be done
   */
  static async with(
    config: Parameters<typeof validateMachineConfig>[0],
    seconds: number,
    use: (session: MachineSession) => Promise<void>,
  ): Promise<void> {
    const output = { said: '' };
    const warnings: string[] = [];
    const machine = await startMachine(validateMachineConfig({ ...config, serial: { kind: 'stdio' } }), {
      serialOutput: (bytes) => {
        output.said += Buffer.from(bytes).toString('latin1');
      },
      log: (level, message) => {
        if (level !== 'info') {
          warnings.push(message);
        }
      },
      screenshot() {},
    });
    const session = new MachineSession(machine, output, warnings, seconds);
    try {
      await session.until('the shell', () => /guest# /.test(output.said));
      await session.run(`${LOAD_MODULES}; echo loaded-$((6*7))`, /loaded-42/);
      await use(session);
    } finally {
      machine.stop();
      await machine.finished;
    }
  }

  /** Waits until `look` gives something else than undefined or false. */
  async until<T>(what: string, look: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
    for (const end = Date.now() + this.#seconds * 1000; ; await sleep(100)) {
      const found = await look();
      if (found !== undefined && found !== false) {
        return found;
      }
      assert.ok(Date.now() < end, `${what}: not within ${this.#seconds} s\n${this.#output.said.slice(-2000)}`);
    }
  }

  send(text: string): void {
    this.machine.sendSerial(Buffer.from(text));
  }

  /** Types a command and waits for what fits `answer`, and then for the prompt. */
  async run(command: string, answer: RegExp): Promise<RegExpExecArray> {
    const from = this.#output.said.length;
    this.send(`${command}\n`);
    return await this.until(command, () => {
      const said = this.#output.said.slice(from);
      const match = answer.exec(said);
      return match !== null && said.indexOf('guest# ', match.index + match[0].length) >= 0 ? match : undefined;
    });
  }
}
