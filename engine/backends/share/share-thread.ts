/** The thread of one shared folder: opens it, says so, and then carries out what comes by its channel. */
import { parentPort, workerData } from 'node:worker_threads';
import { defined } from '../../base/assert.ts';
import { errnoName, isFileError } from './linux-errno.ts';
import { P9Server, type P9Session } from './p9-server.ts';
import type { ShareEnd } from './share-channel.ts';
import { serveShare } from './share-server.ts';

/** What the thread is started with. */
export interface ShareThreadInput {
  readonly path: string;
  readonly readOnly: boolean;
  readonly end: ShareEnd;
  /** An i32 that is changed and notified after each answer. */
  readonly bell: SharedArrayBuffer;
}

/** What it says to the thread that started it. */
export type FromShare =
  | { readonly kind: 'ready' }
  /** The folder cannot be opened: why, as Node calls it. */
  | { readonly kind: 'refused'; readonly code: string }
  /** A line for the user. */
  | { readonly kind: 'trouble'; readonly message: string };

function open(
  { path, readOnly }: ShareThreadInput,
  send: (message: FromShare) => void,
  session?: P9Session,
): P9Server | undefined {
  try {
    return new P9Server({ path, readOnly, onTrouble: (message) => send({ kind: 'trouble', message }), session });
  } catch (error) {
    if (!isFileError(error)) {
      throw error;
    }
    send({ kind: 'refused', code: errnoName(error) });
    return undefined;
  }
}

const input = workerData as ShareThreadInput;
const port = defined(parentPort, 'the port of the thread of a share');
// Guests ask for files that are not there all the time; where such an error was made need not be known in full.
Error.stackTraceLimit = 2;
const send = (message: FromShare) => port.postMessage(message);
const server = open(input, send);
if (server === undefined) {
  input.end.port.close();
} else {
  send({ kind: 'ready' });
  const bell = new Int32Array(input.bell);
  const goOn = (session: P9Session) => defined(open(input, send, session), 'a server of an open session');
  serveShare(server, goOn, input.end, () => {
    Atomics.add(bell, 0, 1);
    Atomics.notify(bell, 0);
  });
}
