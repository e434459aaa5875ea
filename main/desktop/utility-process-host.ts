import { createWriteStream } from 'node:fs';
import { constants } from 'node:os';
import type { ForkOptions } from 'electron';
import type { DirectPort, ProcessEnd, ProcessHost } from '../vms/process-host.ts';

/** What is used of a UtilityProcess of Electron. */
export interface UtilityProcessLike {
  readonly pid: number | undefined;
  readonly stdout: NodeJS.ReadableStream | null;
  readonly stderr: NodeJS.ReadableStream | null;
  postMessage(message: unknown, transfer?: DirectPort[]): void;
  kill(): boolean;
  on(event: 'spawn', listener: () => void): unknown;
  on(event: 'message', listener: (message: unknown) => void): unknown;
  on(event: 'exit', listener: (code: number) => void): unknown;
  on(event: 'error', listener: (type: string, location: string, report: string) => void): unknown;
}

export interface UtilityProcessOptions {
  fork(program: string, args: string[], options: ForkOptions): UtilityProcessLike;
  /** Path of the bundled program that runs one machine; what the supervisor asks for is its source. */
  readonly program: string;
  readonly platform: string;
}

/** The end of the output may come after the end of the process, but is not waited for much longer. */
const OUTPUT_MILLIS = 500;

/** Machines as utility processes of Electron: Node without windows, beside the main process. */
export function utilityProcessHost({ fork, program, platform }: UtilityProcessOptions): ProcessHost {
  const children = new Set<UtilityProcessLike>();
  return {
    start(_entry, { logPath, name }, events) {
      const child = fork(program, [], {
        serviceName: `Lodge: ${name}`,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      children.add(child);
      const log = createWriteStream(logPath, { flags: 'a', mode: 0o600 });
      // Without a log the machine still runs.
      log.on('error', () => {});
      let outputs = 0;
      let exit: ProcessEnd | undefined;
      let ended = false;
      const end = (how: ProcessEnd) => {
        children.delete(child);
        if (!ended) {
          ended = true;
          // Whoever looks into the log then finds all of it; also called when it could not be written.
          log.end(() => events.ended(how));
        }
      };
      for (const output of [child.stdout, child.stderr]) {
        if (output !== null) {
          outputs++;
          output.pipe(log, { end: false });
          output.on('end', () => {
            outputs--;
            if (outputs === 0 && exit !== undefined) {
              end(exit);
            }
          });
        }
      }
      let spawned = false;
      child.on('spawn', () => {
        spawned = true;
        if (ended) {
          child.kill();
        }
      });
      child.on('message', (message) => {
        if (!ended) {
          events.message(message);
        }
      });
      child.on('error', (type, location) => {
        log.write(`${type} in ${location}\n`);
      });
      child.on('exit', (code) => {
        exit = endOf(code, platform);
        if (outputs === 0) {
          end(exit);
        } else {
          setTimeout(end, OUTPUT_MILLIS, exit);
        }
      });
      return {
        get pid() {
          return child.pid;
        },
        post(message, ports) {
          if (ended || exit !== undefined) {
            for (const port of ports ?? []) {
              port.close();
            }
            return;
          }
          child.postMessage(message, [...(ports ?? [])]);
        },
        kill() {
          // One that has not come to life yet has no process that could be ended; if it comes, it is ended then.
          if (!child.kill() && !spawned) {
            end({ code: null, signal: null });
          }
        },
      };
    },
    dispose() {
      for (const child of children) {
        child.kill();
      }
    },
  };
}

/**
 * How a process ended. On POSIX systems Electron gives what waitpid(2) gave when a process was ended by something else
 * than itself: the signal's number, with 0x80 for a core dump. Programs of ours exit with 0 or 1 only.
 */
export function endOf(code: number, platform: string): ProcessEnd {
  if (platform === 'win32' || code === 0 || code === 1) {
    return { code, signal: null };
  }
  const number = code & 0x7f;
  if (number === 0) {
    return { code: code >>> 8, signal: null };
  }
  const signal = Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
  return signal === undefined ? { code, signal: null } : { code: null, signal };
}
