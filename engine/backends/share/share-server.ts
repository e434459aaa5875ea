import { receiveMessageOnPort } from 'node:worker_threads';
import { defined } from '../../base/assert.ts';
import type { P9Server, P9Session } from './p9-server.ts';
import type { ShareState } from './share-backend.ts';
import { COMPLETED, entryAt, SHARE_REQUEST, type ShareEnd, SUBMITTED } from './share-channel.ts';

/** The next request of a busy guest comes within so many milliseconds; being woken for it would take longer. */
const SPIN_MILLIS = 0.1;
const LOOKS_BETWEEN_CLOCKS = 50;

/** Returns when there may be more than `done` requests. */
function awaitRequest(words: Int32Array, done: number): void {
  const until = performance.now() + SPIN_MILLIS;
  do {
    for (let i = 0; i < LOOKS_BETWEEN_CLOCKS; i++) {
      if (Atomics.load(words, SUBMITTED) !== done) {
        return;
      }
    }
  } while (performance.now() < until);
  Atomics.wait(words, SUBMITTED, done);
}

/**
 * Carries out what comes by a channel until it is closed; the thread sleeps in between. `ring` wakes the machine thread
 * after an answer. Disposes of the server. `goOn` makes another one for a session that was lent and comes back.
 */
export function serveShare(
  first: P9Server,
  goOn: (session: P9Session) => P9Server,
  { control, memory, port }: ShareEnd,
  ring: () => void,
): void {
  let lender: P9Server | undefined = first;
  const words = new Int32Array(control);
  const bytes = new Uint8Array(memory);
  for (let done = Atomics.load(words, COMPLETED); ; ) {
    if (Atomics.load(words, SUBMITTED) === done) {
      awaitRequest(words, done);
      continue;
    }
    const at = entryAt(done);
    const started = performance.now();
    const server: P9Server | undefined = lender;
    const [kind = 0, requestAt = 0, requestLength = 0, replyAt = 0, replyLength = 0] = words.subarray(at, at + 5);
    switch (kind) {
      case SHARE_REQUEST.message:
        words[at + 4] = defined(server, 'the session').handle(
          bytes.subarray(requestAt, requestAt + requestLength),
          bytes.subarray(replyAt, replyAt + replyLength),
        );
        break;
      case SHARE_REQUEST.reset:
        server?.reset();
        break;
      case SHARE_REQUEST.save:
        port.postMessage(server?.save());
        break;
      case SHARE_REQUEST.load:
        server?.load(receiveMessageOnPort(port)?.message as ShareState);
        break;
      case SHARE_REQUEST.lend:
        port.postMessage(server?.giveAway());
        lender = undefined;
        break;
      case SHARE_REQUEST.return:
        lender = goOn(receiveMessageOnPort(port)?.message as P9Session);
        break;
      default:
        server?.dispose();
        port.close();
        return;
    }
    words[at] = (performance.now() - started) * 1000;
    done = (done + 1) | 0;
    Atomics.store(words, COMPLETED, done);
    ring();
  }
}
