import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openSession } from './owner.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-owner-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('an owner that ends while it is being called is done without', async () => {
  // It has the lock and never listens, as one that is just ending.
  const lock = new URL('../services/owner-lock.ts', import.meta.url).href;
  const script = `import { lockDataFolder } from ${JSON.stringify(lock)};
    lockDataFolder(${JSON.stringify(folder)}, 'lodge in the background');
    console.log('locked');
    setInterval(() => {}, 1000);`;
  const ending = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(ending.stdout, 'data');
    const opening = openSession(folder, 'the test', false);
    ending.kill('SIGKILL');
    await once(ending, 'exit');
    const session = await opening;
    assert.deepEqual(await session.client.call('machines.list', {}), []);
    await session.close();
  } finally {
    ending.kill('SIGKILL');
  }
});
