import type { Disposable } from '../../engine/base/disposable.ts';

/** How a process ended. */
export interface ProcessEnd {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
}

/**
 * One end of a way between a machine's process and a client that leads past this process. Only the host of processes
 * that made it knows what it is: in the desktop shell, a MessagePortMain.
 */
export interface DirectPort {
  close(): void;
}

/** A process that was started, with a channel for structured-clone messages. */
export interface HostedProcess {
  readonly pid: number | undefined;
  /**
   * Never throws; what cannot be delivered is dropped, and the end is reported. `ports` travel with the message where
   * the host has such: see {@link DirectPort}.
   */
  post(message: unknown, ports?: readonly DirectPort[]): void;
  kill(): void;
}

export interface ProcessEvents {
  message(message: unknown): void;
  /** Once, after the last message. */
  ended(end: ProcessEnd): void;
}

/** Starts the processes of machines: children of Node, or utility processes of Electron. */
export interface ProcessHost extends Disposable {
  /** Starts `entry` with its output going to the file `logPath`. May throw when the host refuses. */
  start(entry: URL, options: { readonly logPath: string; readonly name: string }, events: ProcessEvents): HostedProcess;
}
