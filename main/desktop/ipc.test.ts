import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { type ApiClient, createApiClient } from '../contract/client.ts';
import { ApiError } from '../contract/errors.ts';
import type { Machine } from '../contract/machines.ts';
import { type LodgeServices, openServices } from '../services/lodge-services.ts';
import { FakeProcessHost } from '../vms/testing/fake-process-host.ts';
import { IpcHost } from './ipc-host.ts';
import { createBridge } from './page-bridge.ts';
import { isTrusted } from './security.ts';
import { FakeContents, FakeFrame, FakeIpcMain, FakePort, pageIpc } from './testing/fake-electron.ts';

/** The preload script's bridge, the main process's IPC and the services together; only Electron is played. */

const folder = mkdtempSync(join(tmpdir(), 'lodge-ipc-'));
const processes = new FakeProcessHost();
const services: LodgeServices = openServices({
  dataFolder: folder,
  what: 'a test',
  processHost: processes,
  demoImage: async () => new Uint8Array(1024),
  log: () => {},
});
after(async () => {
  await services.close();
  rmSync(folder, { recursive: true, force: true });
});

let ipc: FakeIpcMain;
let contents: FakeContents;
let asked: string[];
let logged: string[];
let ports: FakePort[];
let host: IpcHost;
let connections = 0;

const bridgeOf = (page: FakeContents) => createBridge(pageIpc(ipc, page), () => `connection-${++connections}`);
const clientOf = (page: FakeContents): ApiClient => createApiClient(bridgeOf(page).connect());
const settled = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  ipc = new FakeIpcMain();
  contents = new FakeContents();
  asked = [];
  logged = [];
  ports = [];
  const ours = new Set([contents.id]);
  host = new IpcHost({
    handlers: services.handlers,
    createChannel: () => {
      const pair = FakePort.pair();
      ports.push(pair.port1);
      return pair;
    },
    isTrusted: (event) => isTrusted(event, (id) => ours.has(id)),
    log: (line) => logged.push(line),
    actions: {
      openConsole: (machine) => asked.push(`open ${machine}`),
      closeWindow: (id) => asked.push(`close ${id === contents.id}`),
      guardClose: (_id, on) => asked.push(`guard ${on}`),
      showLog: (machine) => asked.push(`log ${machine}`),
      pickPath: async (_id, { want, start }) => {
        if (start === 'fail') {
          throw new ApiError({ code: 'no-window', message: 'there is no window' });
        }
        return start === undefined ? null : `/picked/${want}`;
      },
    },
  });
  host.listen(ipc);
});

test('calls and feeds of the contract work, and their errors arrive as such', async () => {
  const client = clientOf(contents);
  assert.equal((await client.call('app.info')).shell, 'desktop');
  const lists: number[] = [];
  client.subscribe(
    'machines.changes',
    {},
    { item: (change) => lists.push(change.kind === 'all' ? change.machines.length : -1) },
  );
  const machine = await client.call('machines.createDemo');
  assert.deepEqual(lists, [0, -1]);
  await assert.rejects(client.call('machines.start', { id: 'nobody' }), (error) => {
    assert.ok(error instanceof ApiError);
    assert.equal(error.code, 'not-found');
    return true;
  });
  await assert.rejects(
    client.call('machines.create', {
      name: machine.name,
      guestSystem: 'other',
      memoryMegabytes: 64,
      processors: 1,
      hardDisk: { kind: 'none' },
    }),
    (error) => error instanceof ApiError && error.field === 'name',
  );
});

test('names that are not in the contract and bad arguments are refused by the main process too', async () => {
  ipc.receive(contents, { kind: 'hello' });
  ipc.receive(contents, { kind: 'connect', connection: 'c' });
  const say = (message: unknown) => ipc.receive(contents, { kind: 'message', connection: 'c', message });
  say({ kind: 'call', id: 1, name: 'fs.readFile', args: { path: '/etc/passwd' } });
  say({ kind: 'call', id: 2, name: 'toString', args: {} });
  say({ kind: 'call', id: 3, name: 'machines.start', args: { id: '../..' } });
  say({ kind: 'subscribe', id: 4, name: 'everything', args: {} });
  await settled();
  const answers = contents.sent.flatMap((message) => (message.kind === 'message' ? [message.message] : []));
  assert.deepEqual(answers.map((answer) => ('error' in answer ? [answer.id, answer.error?.code] : answer)).sort(), [
    [1, 'unknown-name'],
    [2, 'unknown-name'],
    [3, 'bad-arguments'],
    [4, 'unknown-name'],
  ]);
  say({ kind: 'nonsense' });
  assert.equal(contents.sent.at(-1)?.kind, 'closed');
});

test('what does not come from the top frame of our page is refused', async () => {
  const stranger = new FakeContents();
  const attempts: [FakeContents, FakeFrame | null][] = [
    [contents, new FakeFrame(contents, 'https://example.org/')],
    [contents, new FakeFrame(contents, 'lodge://app/index.html', {})],
    [contents, null],
    [stranger, new FakeFrame(stranger)],
  ];
  for (const [sender, frame] of attempts) {
    ipc.receive(sender, { kind: 'hello' }, frame);
    ipc.receive(sender, { kind: 'connect', connection: 'c' }, frame);
    ipc.receive(sender, { kind: 'open-console', machine: 'm' }, frame);
    assert.deepEqual(await ipc.ask(sender, { want: 'file', title: 'x', start: '/' }, frame), {
      error: { code: 'refused', message: 'file dialogs are for the pages of Lodge only' },
    });
  }
  assert.deepEqual(asked, []);
  assert.deepEqual(contents.sent, []);
  assert.deepEqual(stranger.sent, []);
  assert.equal(logged.length, 12);
});

test('messages that are not understood do nothing', () => {
  ipc.receive(contents, { kind: 'hello' });
  asked = [];
  for (const message of [
    null,
    7,
    'connect',
    {},
    { kind: 'connect' },
    { kind: 'connect', connection: 'x'.repeat(1000) },
    { kind: 'open-console', machine: '../x' },
    { kind: 'show-log', machine: 5 },
    { kind: 'guard-close', on: 'yes' },
    { kind: 'eval', code: '1' },
  ]) {
    ipc.receive(contents, message);
  }
  assert.deepEqual(asked, []);
  assert.deepEqual(contents.sent, []);
  assert.equal(logged.length, 10);
});

test('windows, logs and file dialogs', async () => {
  const bridge = bridgeOf(contents);
  asked = [];
  bridge.openConsole('Tour');
  bridge.showLog('Tour');
  bridge.closeWindow();
  assert.deepEqual(asked, ['open Tour', 'log Tour', 'close true']);
  assert.equal(await bridge.pickPath({ want: 'folder', title: 'Folder', start: '/home' }), '/picked/folder');
  assert.equal(await bridge.pickPath({ want: 'file', title: 'Install media' }), undefined);
  await assert.rejects(bridge.pickPath({ want: 'file', title: 'x', start: 'fail' }), /there is no window/);
  const bad = { want: 'device', title: 'x' };
  assert.match(JSON.stringify(await ipc.ask(contents, bad)), /bad-arguments/);
});

test('a page is asked before its window closes only while it listens', () => {
  const bridge = bridgeOf(contents);
  asked = [];
  let requests = 0;
  const listener = () => requests++;
  const stop = bridge.onCloseRequest(listener);
  const stopToo = bridge.onCloseRequest(listener);
  contents.send('lodge:to-page', { kind: 'close-request' });
  assert.equal(requests, 2);
  stop();
  stop();
  stopToo();
  assert.deepEqual(asked, ['guard true', 'guard false']);
  contents.send('lodge:to-page', { kind: 'close-request' });
  assert.equal(requests, 2);
});

test('a page that is loaded again begins anew, and what the old one had open is over', async () => {
  const client = clientOf(contents);
  const machine = await client.call('machines.createDemo');
  await client.call('machines.start', { id: machine.id });
  client.subscribe('console.frames', { machine: machine.id }, { item: () => {} });
  assert.ok(processes.last.commands.includes('attach'));
  const again = clientOf(contents);
  assert.ok(processes.last.commands.includes('detach'));
  assert.equal((await again.call('machines.get', { id: machine.id })).state, 'running');
  again.subscribe('console.frames', { machine: machine.id }, { item: () => {} });
  contents.destroy();
  assert.equal(processes.last.commands.filter((command) => command === 'detach').length, 2);
  await services.machines.stopAll();
});

test('frames take the direct way from the process of the machine, again after another start', async () => {
  const client = clientOf(contents);
  let machine: Machine = await client.call('machines.createDemo');
  const { id } = machine;
  const items: number[][] = [];
  const feed = client.subscribe('console.frames', { machine: id }, { item: (packet) => items.push([...packet]) });
  for (const run of [0, 1]) {
    machine = await client.call('machines.start', { id });
    assert.equal(machine.state, 'running');
    const { last } = processes;
    assert.deepEqual(
      last.heard.map((message) => message.kind),
      ['start', 'viewer-port', 'command'],
    );
    // The process's end of the port, which a real host would hand over.
    const port = ports[run];
    assert.ok(port !== undefined);
    const acks: unknown[] = [];
    port.on('message', ({ data }: { data: unknown }) => acks.push(data));
    port.start();
    port.postMessage(Uint8Array.of(run, 1, 2));
    port.postMessage('nonsense');
    feed.ack(41);
    assert.deepEqual(acks, [41]);
    assert.equal(contents.sent.filter(({ kind }) => kind === 'bytes').length, 0, 'nothing through the main process');
    await client.call('machines.powerOff', { id });
  }
  assert.deepEqual(items, [
    [0, 1, 2],
    [1, 1, 2],
  ]);
  assert.equal(ports[0]?.closed, true, 'the old way was closed');
  feed.dispose();
  assert.equal(ports[1]?.closed, true);
  await client.call('machines.start', { id });
  assert.equal(ports.length, 2);
  await client.call('machines.powerOff', { id });
});

test('connections end with the host, and a page cannot open them without end', async () => {
  const bridge = bridgeOf(contents);
  const clients = Array.from({ length: 20 }, () => createApiClient(bridge.connect()));
  await settled();
  assert.equal(clients.filter(({ closed }) => closed).length, 4);
  const reasons: string[] = [];
  clients[0]?.onClose((reason) => reasons.push(reason));
  clients[0]?.dispose();
  assert.deepEqual(reasons, ['the connection was closed']);
  host.dispose();
});
