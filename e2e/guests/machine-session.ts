import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import type { MachineStatus } from '../../engine/process/machine-messages.ts';
import type { ControlledMachine } from '../../engine/process/run-machine.ts';
import { startMachine } from '../../engine/process/start-machine.ts';
import { LOAD_MODULES } from './kernel-modules.ts';

/** A machine in this process, with a shell on its serial port, for tests that command it while it runs. */
export class MachineSession {
  /** What the machine said last of itself. */
  status: MachineStatus | undefined;
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
   * Starts a machine, waits until `begin` has come to a shell whose prompt is "guest# ", gives all that to `use`, and ends
   * the machine whatever happens, as by pulling the plug.
   * @param seconds within which each step has to be done
   * @param begin of a Linux kernel with an initramfs, unless given
   */
  static async with(
    config: Parameters<typeof validateMachineConfig>[0],
    seconds: number,
    use: (session: MachineSession) => Promise<void>,
    begin = beginInitramfs,
  ): Promise<void> {
    const output = { said: '' };
    const warnings: string[] = [];
    let session: MachineSession;
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
      status: (status) => {
        session.status = status;
      },
    });
    session = new MachineSession(machine, output, warnings, seconds);
    try {
      await begin(session);
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

  /** Waits for what the guest says on its serial port, at whatever time. */
  async hears(pattern: RegExp): Promise<RegExpExecArray> {
    return await this.until(`${pattern}`, () => pattern.exec(this.#output.said) ?? undefined);
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

/** The shell of an initramfs, with its modules loaded. */
async function beginInitramfs(session: MachineSession): Promise<void> {
  await session.hears(/guest# /);
  await session.run(`${LOAD_MODULES}; echo loaded-$((6*7))`, /loaded-42/);
}

/** Logs in as root, at the serial port of a system whose host name is "lodge". */
export function logIn(password: string): (session: MachineSession) => Promise<void> {
  return async (session) => {
    await session.hears(/lodge login: /);
    session.send('root\n');
    await session.hears(/Password: /);
    session.send(`${password}\n`);
    await session.hears(/root@lodge:~# /);
    // No terminal codes around what is typed, and lines that are not broken.
    session.send("export TERM=dumb; bind 'set enable-bracketed-paste off'; stty cols 500; PS1='guest''# '\n");
    await session.hears(/[\r\n]guest# /);
  };
}
