import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { ConsoleStatus } from '../contract/console.ts';
import { nodeProcessHost } from '../vms/node-process-host.ts';
import { directClient } from './direct-client.ts';
import { type LodgeServices, openServices } from './lodge-services.ts';
import { firmwareMissing } from './testing/firmware.ts';

/** What can be changed in a machine that really runs, in a process of its own; no guest is needed for it. */

const folder = mkdtempSync(join(tmpdir(), 'lodge-devices-'));
let services: LodgeServices | undefined;
after(async () => {
  await services?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Whether something listens on a port of this host. */
async function listens(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

test('forwards, cable, memory and media of a running machine', {
  skip: firmwareMissing(),
  timeout: 120_000,
}, async () => {
  services = openServices({
    dataFolder: join(folder, 'data'),
    what: 'a test',
    processHost: nodeProcessHost(),
    log: () => {},
  });
  const client = directClient(services.handlers);
  const { id } = await client.call('machines.create', {
    name: 'Real',
    guestSystem: 'debian',
    memoryMegabytes: 128,
    processors: 1,
    hardDisk: { kind: 'new', sizeGigabytes: 0.01, serial: 'REAL' },
    shares: [{ name: 'docs', path: folder, readOnly: true }],
    sound: { output: null, input: null },
  });
  await client.call('machines.start', { id });

  const wish = { protocol: 'tcp', hostPort: 0, guestPort: 22 } as const;
  const { forward } = await client.call('machines.addForward', { id, forward: wish });
  assert.ok(forward.hostPort > 0);
  assert.equal(await listens(forward.hostPort), true);
  const { protocol, hostPort } = forward;
  const again = client.call('machines.addForward', { id, forward: { protocol, hostPort, guestPort: 80 } });
  await assert.rejects(again, { code: 'port-forwarded' });
  await client.call('machines.removeForward', { id, forward: { protocol, hostPort } });
  assert.equal(await listens(hostPort), false);

  await client.call('machines.setLink', { id, up: false });
  assert.equal((await client.call('machines.get', { id })).settings?.network?.connected, false);

  const balloon = await client.call('machines.setBalloon', { id, megabytes: 64 });
  assert.deepEqual(
    balloon,
    { targetMegabytes: 64, presentMegabytes: 128, active: false },
    'the firmware has no driver',
  );
  await assert.rejects(client.call('machines.setBalloon', { id, megabytes: 256 }), { code: 'balloon-size' });
  await new Promise<void>((resolve) => {
    const seen = ({ balloon: now }: ConsoleStatus) => {
      if (now?.targetMegabytes === 64) {
        resolve();
      }
    };
    client.subscribe('console.status', { machine: id }, { item: seen });
  });

  await client.call('machines.powerOff', { id });
  const { state, settings } = await client.call('machines.get', { id });
  assert.deepEqual([state, settings?.network?.forwards], ['powered-off', []]);
});
