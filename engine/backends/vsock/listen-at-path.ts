import { lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { HostError } from '../../base/host-error.ts';
import { errorCode } from '../block/host-error-code.ts';

/**
 * Has `server` listen on the Unix socket `path`, on Windows a pipe. A socket that a process left behind is replaced.
 * Rejects with HostError 'socket-taken' or 'socket-refused'.
 */
export async function listenAtPath(server: Server, path: string): Promise<void> {
  try {
    await listen(server, path);
  } catch (error) {
    if (errorCode(error) !== 'EADDRINUSE') {
      throw refused(path, error);
    }
    if (await answers(path)) {
      throw new HostError('socket-taken', `${path}: another program has this socket`, { remedy: 'give another path' });
    }
    try {
      if (!lstatSync(path).isSocket()) {
        throw error;
      }
      unlinkSync(path);
      await listen(server, path);
    } catch (again) {
      throw refused(path, again);
    }
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Whether somebody listens at `path`. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', (error) => {
      const code = errorCode(error);
      resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT' && code !== 'ENOTSOCK');
    });
  });
}

function refused(path: string, cause: unknown): HostError {
  return new HostError('socket-refused', `${path}: the socket cannot be made (${errorCode(cause)})`, {
    remedy: 'give another path',
    cause,
  });
}
