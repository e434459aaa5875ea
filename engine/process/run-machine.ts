import type { MachineConfig } from '../config/machine-config.ts';
import type { AcceleratorInfo } from './accelerator.ts';
import type { CommandResult, CursorMessage, MachineCommand, MachineStatus } from './machine-messages.ts';

/** How a run ended. */
export interface RunOutcome {
  /**
   * - `powered-off`: the guest switched the machine off (ACPI S5), or `powerButton` made it do so.
   * - `debug-exit`: the guest wrote to the debug-exit port; `code` is the byte it wrote.
   * - `timeout`: `timeoutSeconds` passed.
   * - `guest-crashed`: triple fault with `noReboot`; `detail` says where.
   * - `reset`: the guest reset the machine and `noReboot` is set.
   * - `quit`: `stop()` was called.
   */
  readonly kind: 'powered-off' | 'debug-exit' | 'timeout' | 'guest-crashed' | 'quit' | 'reset';
  /** For `debug-exit`: the byte that the guest wrote (the process exit code is `code * 2 + 1`). */
  readonly code?: number;
  /** One line for the user. */
  readonly detail?: string;
}

export type LogLevel = 'info' | 'warn' | 'error';

/** What a running machine needs from whoever started it. */
export interface MachineHost {
  /** Bytes that the guest sent on the first serial port, for `serial: stdio`. The array belongs to the callee. */
  serialOutput(bytes: Uint8Array): void;
  log(level: LogLevel, message: string): void;
  /** Stores a screenshot that the configuration asked for. */
  screenshot(path: string, png: Uint8Array): Promise<void> | void;
  /** A frame packet (engine/base/frame-packet.ts) for a viewer that was attached. */
  frame?(viewer: number, packet: Uint8Array<ArrayBuffer>): void;
  /** The pointer that an adapter draws over its picture, while somebody watches that. */
  cursor?(message: CursorMessage): void;
  /** What runs the machine: when it starts, and whenever it changes. */
  accelerator?(info: AcceleratorInfo): void;
  /** The lights, whenever they change. */
  status?(status: MachineStatus): void;
}

/** A machine that was started. Nothing it offers throws after the run has ended; it is then without effect. */
export interface RunningMachine {
  /** Settles when the run is over and every file is closed; rejects with HostError for a failure of the host. */
  readonly finished: Promise<RunOutcome>;
  /** Bytes for the first serial port, as from a terminal. They wait until the guest reads them. */
  sendSerial(bytes: Uint8Array): void;
  /** Types on the PS/2 keyboard, in the notation of engine/devices/i8042/us-keymap.ts. */
  typeText(text: string): void;
  /** Ends the run at once, as if the plug were pulled; `finished` gives `quit`. */
  stop(): void;
  /** Presses the ACPI power button. */
  powerButton(): void;
  /** The present picture as PNG. */
  screenshot(): Promise<Uint8Array>;
  /** The lines of the screen when it shows text, else undefined. */
  screenText(): Promise<string[] | undefined>;
}

/** A machine that can be told everything. */
export interface ControlledMachine extends RunningMachine {
  /** Carries out a command and answers; rejects with HostError when the machine refuses it or has ended. */
  perform<C extends MachineCommand>(command: C): Promise<CommandResult<C['kind']>>;
  /** As `perform`, for those who want no answer. */
  tell(command: MachineCommand): void;
}

/** Starts a machine. Rejects with HostError when it cannot be built (bad kernel, no firmware, image in use, …). */
export type StartMachine = (config: MachineConfig, host: MachineHost) => Promise<RunningMachine>;

export { startMachine } from './start-machine.ts';
