import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type Frame, FrameDecoder } from '../../engine/base/frame-packet.ts';
import type { ApiClient, Subscription } from '../contract/client.ts';
import { nodeProcessHost } from '../vms/node-process-host.ts';
import { directClient } from './direct-client.ts';
import { type LodgeServices, openServices } from './lodge-services.ts';
import { firmwareMissing } from './testing/firmware.ts';

/** One real machine in a process of its own: everything between a client and the guest, nothing faked. */

const dataFolder = mkdtempSync(join(tmpdir(), 'lodge-real-'));
let services: LodgeServices | undefined;
after(async () => {
  await services?.close();
  rmSync(dataFolder, { recursive: true, force: true });
});

/** Collects serial output until it holds `text`. */
function serialWaiter(client: ApiClient, machine: string): (text: string) => Promise<void> {
  let output = '';
  let check = () => {};
  client.subscribe(
    'console.serial',
    { machine },
    {
      item: (bytes) => {
        output += new TextDecoder('latin1').decode(bytes);
        check();
      },
    },
  );
  return (text) =>
    new Promise((resolve) => {
      check = () => {
        const at = output.indexOf(text);
        if (at >= 0) {
          output = output.slice(at + text.length);
          resolve();
        }
      };
      check();
    });
}

test('the demonstration guest: created, started, seen, typed to, paused, powered off', {
  skip: firmwareMissing(),
  timeout: 60_000,
}, async () => {
  services = openServices({
    dataFolder,
    what: 'a test',
    processHost: nodeProcessHost(),
    log: () => {},
  });
  const client = directClient(services.handlers, { shell: 'web', compressFrames: true });
  const { id } = await client.call('machines.createDemo');
  const serial = serialWaiter(client, id);
  const states: string[] = [];
  client.subscribe(
    'machines.changes',
    {},
    {
      item: (change) => {
        if (change.kind === 'changed' && states.at(-1) !== change.machine.state) {
          states.push(change.machine.state);
        }
      },
    },
  );
  const frames: Frame[] = [];
  let subscription: Subscription | undefined;
  const decoder = new FrameDecoder(
    (frame) => {
      frames.push(frame);
      subscription?.ack(frame.sequence);
    },
    (error) => assert.fail(String(error)),
  );
  subscription = client.subscribe('console.frames', { machine: id }, { item: (packet) => decoder.push(packet) });

  const started = await client.call('machines.start', { id });
  assert.equal(started.state, 'running');
  assert.match(started.accelerator?.label ?? '', /^(Software|KVM)$/);
  await serial('TOUR READY');
  await client.call('console.sendKey', { machine: id, code: 'KeyX', down: true });
  await client.call('console.sendKey', { machine: id, code: 'KeyX', down: false });
  await serial('KEY x');
  assert.ok(frames.some(({ whole }) => whole));
  assert.ok(frames.length > 2, `${frames.length} frames`);

  const shot = await client.call('console.screenshot', { machine: id });
  assert.ok(shot.width >= 640 && Buffer.from(shot.png, 'base64').subarray(1, 4).toString() === 'PNG');

  await client.call('machines.pause', { id });
  const before = await client.call('console.screenshot', { machine: id });
  const seen = frames.length;
  await new Promise((resolve) => setTimeout(resolve, 1200)); // The guest's clock shows seconds.
  assert.equal((await client.call('console.screenshot', { machine: id })).png, before.png);
  assert.ok(frames.length - seen <= 3);
  await client.call('machines.resume', { id });
  await client.call('console.sendText', { machine: id, text: 'y' });
  await serial('KEY y');

  await client.call('machines.powerOff', { id });
  assert.equal((await client.call('machines.get', { id })).state, 'powered-off');
  assert.deepEqual(states, ['starting', 'running', 'paused', 'running', 'stopping', 'powered-off']);
  assert.match((await client.call('machines.log', { id })).text, /started/);

  // Killed from outside: aborted, with the reason and its log.
  await client.call('machines.start', { id });
  process.kill(services.machines.get(id).pid ?? assert.fail('no process'), 'SIGKILL');
  await new Promise<void>((resolve) => {
    client.subscribe(
      'machines.changes',
      {},
      {
        item: (change) => {
          if (change.kind === 'changed' && change.machine.state === 'aborted') {
            resolve();
          }
        },
      },
    );
  });
  const aborted = await client.call('machines.get', { id });
  assert.equal(aborted.reason?.code, 'process-died');
  assert.ok(aborted.logPath !== null);
});
