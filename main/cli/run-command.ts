import { renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { HostError } from '../../engine/base/host-error.ts';
import type { MachineConfig } from '../../engine/config/machine-config.ts';
import type { LogLevel, MachineHost, RunOutcome, StartMachine } from '../../engine/process/run-machine.ts';
import { oneLine } from './command-line.ts';
import { EXIT_FAILURE, EXIT_USAGE, exitCodeOf } from './exit-codes.ts';
import { CONSOLE_HELP, type ConsoleInput, SerialConsole } from './serial-console.ts';

/** What `lodge run` uses of its process; replaced in tests. */
export interface RunIo {
  readonly stdin: ConsoleInput;
  readonly stdout: Writable;
  /** One line on standard error. */
  complain(line: string): void;
  readonly verbose: boolean;
}

/** Guest output that waits for a slow reader of standard output; what comes beyond it is dropped. */
const MAX_WAITING_OUTPUT = 64 << 20;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** The same signal again within this time is an echo (terminal and launcher both send it), later it is impatience. */
const SIGNAL_ECHO_MILLIS = 1000;
/** A machine that was told to stop has this long before the process ends without it. */
const STOP_MILLIS = 5000;

/** Runs a machine until it ends; returns the exit code. Problems are told in one line each. */
export async function runMachine(config: MachineConfig, start: StartMachine, io: RunIo): Promise<number> {
  let failed = false;
  let droppedOutput = false;
  const missing = new Set(config.screenshots.map(({ path }) => path));
  const host: MachineHost = {
    serialOutput(bytes) {
      if (io.stdout.writableLength <= MAX_WAITING_OUTPUT) {
        io.stdout.write(bytes);
      } else if (!droppedOutput) {
        droppedOutput = true;
        io.complain('standard output is not read: serial output of the guest is dropped');
      }
    },
    log(level: LogLevel, message: string) {
      if (level !== 'info' || io.verbose) {
        io.complain(level === 'info' ? message : `${level === 'warn' ? 'warning' : 'error'}: ${message}`);
      }
    },
    accelerator({ name, label, reason, why }) {
      // At a terminal whoever could have KVM hears why they have not.
      const without = name === 'software' && why.startsWith('kvm-') && io.stdin.isTTY === true;
      if (io.verbose || without) {
        io.complain(`processor: ${label} (${reason})`);
      }
    },
    screenshot(path, png) {
      missing.delete(path);
      try {
        writeAtomically(path, png);
      } catch (error) {
        failed = true;
        io.complain(`--screenshot ${path}: cannot be written (${reasonOf(error)})`);
      }
    },
  };

  let running: Awaited<ReturnType<StartMachine>>;
  try {
    running = await start(config, host);
  } catch (error) {
    if (error instanceof HostError) {
      io.complain(oneLine(withOption(error)));
      return EXIT_USAGE;
    }
    throw error;
  }

  let whyStopped: string | undefined;
  let giveUp: (outcome: RunOutcome) => void = () => {};
  const abandoned = new Promise<RunOutcome>((resolve) => {
    giveUp = resolve;
  });
  let stopTimer: NodeJS.Timeout | undefined;
  const stop = (why: string | undefined) => {
    whyStopped ??= why;
    running.stop();
    stopTimer ??= setTimeout(() => giveUp({ kind: 'quit', detail: 'the machine did not stop' }), STOP_MILLIS);
  };
  const serialConsole =
    config.serial.kind === 'stdio' || config.console?.kind === 'stdio'
      ? new SerialConsole(io.stdin, {
          send: (bytes) => running.sendSerial(bytes),
          quit: () => stop(undefined),
          say: (line) => io.complain(line),
        })
      : undefined;
  const signalled = new Map<string, number>();
  const onSignal = (signal: NodeJS.Signals) => {
    const before = signalled.get(signal);
    if (before === undefined) {
      signalled.set(signal, Date.now());
      stop(`stopped by ${signal}`);
    } else if (Date.now() - before > SIGNAL_ECHO_MILLIS) {
      giveUp({ kind: 'quit' });
    }
  };
  const onOutputError = (error: NodeJS.ErrnoException) => {
    stop(error.code === 'EPIPE' ? 'standard output was closed' : `standard output: ${reasonOf(error)}`);
  };
  for (const signal of SIGNALS) {
    process.on(signal, onSignal);
  }
  io.stdout.on('error', onOutputError);
  try {
    if (serialConsole !== undefined && io.stdin.isTTY === true) {
      io.complain(CONSOLE_HELP);
    }
    serialConsole?.open();
    const outcome = await Promise.race([running.finished, abandoned]);
    serialConsole?.close();
    explain(outcome, whyStopped, config, io);
    for (const path of missing) {
      io.complain(`--screenshot ${path}: the machine ended before its time came`);
    }
    return failed && exitCodeOf(outcome) === 0 ? EXIT_FAILURE : exitCodeOf(outcome);
  } catch (error) {
    serialConsole?.close();
    if (error instanceof HostError) {
      io.complain(oneLine(error));
      return EXIT_FAILURE;
    }
    throw error;
  } finally {
    serialConsole?.close();
    clearTimeout(stopTimer);
    for (const signal of SIGNALS) {
      process.off(signal, onSignal);
    }
  }
}

/** Options whose files only the machine itself can judge, by the code of its complaint, and what to give instead. */
const JUDGED_LATE: Readonly<Record<string, readonly [option: string, remedy: string]>> = {
  'bad-kernel': ['--kernel', 'give a Linux bzImage, a PVH ELF or a Multiboot kernel'],
  'bad-initrd': ['--initrd', 'give an initial ramdisk that fits into --memory'],
  'bad-firmware': ['--bios', 'give a firmware image such as SeaBIOS, 64 KiB to 16 MiB'],
};

/** Names the option that an error is about, and what to do, where the error itself does not. */
function withOption(error: HostError): HostError {
  const late = JUDGED_LATE[error.code];
  if (late === undefined) {
    return error;
  }
  const [option, remedy] = late;
  const message = error.message.includes(option) ? error.message : `${option}: ${error.message}`;
  return new HostError(error.code, message, { remedy: error.remedy ?? remedy, cause: error });
}

/** What the user cannot see from the exit code alone. */
function explain(outcome: RunOutcome, whyStopped: string | undefined, config: MachineConfig, io: RunIo): void {
  const detail = outcome.detail === undefined ? '' : `: ${outcome.detail}`;
  switch (outcome.kind) {
    case 'powered-off':
    case 'debug-exit':
      break;
    case 'timeout':
      io.complain(`the guest did not end within --timeout ${config.timeoutSeconds ?? 0} seconds${detail}`);
      break;
    case 'guest-crashed':
      io.complain(`the guest crashed${detail}`);
      break;
    case 'reset':
      io.complain(`the guest asked for a restart, which --no-reboot refuses${detail}`);
      break;
    case 'quit':
      if (whyStopped !== undefined || outcome.detail !== undefined) {
        io.complain(`${whyStopped ?? 'stopped'}${detail}`);
      }
  }
}

/** A reader never sees half a file, and an interrupted write leaves the old one. */
function writeAtomically(path: string, bytes: Uint8Array): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, bytes);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function reasonOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
