/** A thread with an image server, for tests: first it says how to reach the server. */
import { parentPort, workerData } from 'node:worker_threads';
import { defined } from '../../../base/assert.ts';
import { ImageServer } from '../image-server.ts';

const parent = defined(parentPort, 'the port of a test');
const { bell } = workerData as { bell: SharedArrayBuffer };
const server = new ImageServer(bell, (error) => {
  throw error;
});
parent.postMessage(server.cable, [server.cable.port]);
parent.on('message', async () => {
  await server.close();
  parent.close();
});
