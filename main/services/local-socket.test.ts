import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { FakeProcessHost } from '../vms/testing/fake-process-host.ts';
import { directClient } from './direct-client.ts';
import { connectLocally, type LocalServer, listenLocally, localSocketPath } from './local-socket.ts';
import { type LodgeServices, openServices } from './lodge-services.ts';
import { proxyHandlers } from './proxy-handlers.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-local-'));
const host = new FakeProcessHost();
let services: LodgeServices;
let server: LocalServer;

before(async () => {
  services = openServices({
    dataFolder: folder,
    what: 'a test',
    processHost: host,
    demoImage: async () => new Uint8Array(512),
    log: () => {},
  });
  server = await listenLocally(services.handlers, folder);
});
after(async () => {
  await server.close();
  await services.close();
  rmSync(folder, { recursive: true, force: true });
});

const traits = { shell: 'cli', compressFrames: false } as const;

test('another process uses the machines through the socket, and a front end beside it through a proxy', async () => {
  const client = await connectLocally(folder, traits);
  assert.equal((await client.call('app.info')).shell, 'cli');
  const { id } = await client.call('machines.createDemo');
  const proxied = directClient(proxyHandlers(client, 'web'));
  assert.equal((await proxied.call('app.info')).shell, 'web');
  const kinds: string[] = [];
  proxied.subscribe('machines.changes', {}, { item: ({ kind }) => kinds.push(kind) });
  await proxied.call('machines.start', { id });
  const frames: number[][] = [];
  const watching = proxied.subscribe('console.frames', { machine: id }, { item: (packet) => frames.push([...packet]) });
  // A call that comes back has seen the subscription arrive.
  await proxied.call('machines.list');
  const large = new Uint8Array(300_000).fill(7);
  host.last.say({ kind: 'frame', viewer: 1, packet: large });
  host.last.say({ kind: 'frame', viewer: 1, packet: Uint8Array.of(1, 2, 3) });
  await proxied.call('machines.list');
  assert.deepEqual(
    frames.map(({ length }) => length),
    [large.length, 3],
  );
  watching.ack(1);
  await assert.rejects(proxied.call('machines.start', { id }), { code: 'wrong-state', remedy: 'look at its window' });
  await proxied.call('machines.powerOff', { id });
  assert.ok(host.last.commands.includes('ack'));
  assert.deepEqual(kinds.slice(0, 3), ['all', 'changed', 'changed']);
  client.dispose();
});

test('the socket is for this user alone, and nonsense only ends its own connection', async () => {
  assert.equal(statSync(localSocketPath(folder)).mode & 0o777, 0o600);
  for (const bytes of [
    [255, 255, 255, 255],
    [2, 0, 0, 0, 0, 65],
    [1, 0, 0, 0, 1],
    [0, 0, 0, 0],
  ]) {
    const socket = connect(localSocketPath(folder));
    await new Promise<void>((resolve) => {
      socket.on('close', () => resolve());
      socket.on('error', () => {});
      socket.write(Uint8Array.from(bytes));
    });
  }
  const client = await connectLocally(folder, traits);
  assert.ok((await client.call('machines.list')).length >= 0);
  client.dispose();
});

test('long data folders have their socket elsewhere, Windows has a pipe', () => {
  assert.ok(localSocketPath(`/${'long/'.repeat(40)}`).length <= 100);
  assert.match(localSocketPath('C:\\Lodge', 'win32'), /^\\\\\.\\pipe\\lodge-[0-9a-f]{16}$/);
});
