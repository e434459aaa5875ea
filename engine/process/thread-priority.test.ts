import assert from 'node:assert/strict';
import { once } from 'node:events';
import { constants, getPriority } from 'node:os';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';

const skip = process.platform === 'linux' ? false : 'threads have priorities of their own on Linux only';

test('a thread that stands back leaves the others as they were', { skip }, async () => {
  const module = JSON.stringify(new URL('./thread-priority.ts', import.meta.url).href);
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads');
    import(${module}).then(({ lowerOwnPriority }) => {
      lowerOwnPriority();
      const thread = Number(require('node:fs').readlinkSync('/proc/thread-self').split('/').at(-1));
      parentPort.postMessage(require('node:os').getPriority(thread));
    });`,
    { eval: true },
  );
  const before = getPriority();
  const [priority] = await once(worker, 'message');
  await worker.terminate();
  assert.equal(priority, Math.max(before, constants.priority.PRIORITY_BELOW_NORMAL));
  assert.equal(getPriority(), before);
});
