import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ProcessHost } from './process-host.ts';

/** Machines as children of this Node process, on the same Node. */
export function nodeProcessHost(): ProcessHost {
  const children = new Set<ChildProcess>();
  return {
    start(entry, { logPath }, events) {
      const log = openSync(logPath, 'a', 0o600);
      let child: ChildProcess;
      try {
        child = fork(fileURLToPath(entry), [], {
          execPath: process.execPath,
          execArgv: [],
          serialization: 'advanced',
          stdio: ['ignore', log, log, 'ipc'],
        });
      } finally {
        closeSync(log);
      }
      children.add(child);
      let ended = false;
      const end = (code: number | null, signal: string | null) => {
        children.delete(child);
        if (!ended) {
          ended = true;
          events.ended({ code, signal });
        }
      };
      child.on('message', (message: unknown) => {
        if (!ended) {
          events.message(message);
        }
      });
      // A process that could not be started has no exit event; one that cannot be written to has one later.
      child.on('error', () => {
        if (child.pid === undefined) {
          end(null, null);
        }
      });
      // 'exit' may come before the last messages were read; the channel closes after them.
      let exit: { code: number | null; signal: string | null } | undefined;
      const settle = () => {
        if (exit !== undefined && !child.connected) {
          end(exit.code, exit.signal);
        }
      };
      child.on('exit', (code, signal) => {
        exit = { code, signal };
        settle();
      });
      child.on('disconnect', settle);
      return {
        pid: child.pid,
        post(message) {
          if (child.connected && typeof message === 'object' && message !== null) {
            child.send(message, () => {});
          }
        },
        kill: () => {
          child.kill('SIGKILL');
        },
      };
    },
    dispose() {
      for (const child of children) {
        child.kill('SIGKILL');
      }
    },
  };
}
