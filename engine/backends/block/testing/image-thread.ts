/** A thread with an image server, for tests. */
import { type MessagePort, workerData } from 'node:worker_threads';
import { ImageServer } from '../image-server.ts';

const { port, bell } = workerData as { port: MessagePort; bell: SharedArrayBuffer };
const word = new Int32Array(bell);
new ImageServer(port, () => {
  Atomics.add(word, 0, 1);
  Atomics.notify(word, 0);
});
port.ref();
