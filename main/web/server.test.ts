import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingHttpHeaders, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { createApiClient } from '../contract/client.ts';
import { webSocketTransport } from '../contract/web-socket-transport.ts';
import { MAX_CLIENT_MESSAGE_BYTES } from '../contract/wire.ts';
import { type LodgeServices, openServices } from '../services/lodge-services.ts';
import { FakeProcessHost } from '../vms/testing/fake-process-host.ts';
import { startWebServer, type WebServer } from './server.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-web-'));
const rendererFolder = join(folder, 'renderer');
const host = new FakeProcessHost();
let services: LodgeServices;
let server: WebServer;
let origin: string;

before(async () => {
  mkdirSync(join(rendererFolder, 'assets'), { recursive: true });
  writeFileSync(join(rendererFolder, 'index.html'), '<!doctype html><title>Lodge</title>');
  writeFileSync(join(rendererFolder, 'assets', 'app-1234.js'), 'export {};');
  writeFileSync(join(folder, 'secret.txt'), 'secret');
  services = openServices({
    dataFolder: join(folder, 'data'),
    what: 'a test',
    processHost: host,
    demoImage: async () => new Uint8Array(1024),
    log: () => {},
  });
  server = await startWebServer({ handlers: services.handlers, port: 0, rendererFolder });
  origin = `http://127.0.0.1:${server.port}`;
});
after(async () => {
  await server.close();
  await services.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

function get(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port: server.port, path, method, headers }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        body += part;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
    })
      .on('error', reject)
      .end();
  });
}

async function logIn(): Promise<string> {
  const answer = await get(`/?token=${server.token}`);
  const [cookie] = answer.headers['set-cookie'] ?? [];
  assert.ok(cookie !== undefined);
  return cookie.split(';')[0] ?? '';
}

/** The status with which a WebSocket is refused; 101 when it is accepted. */
function knock(headers: Record<string, string>, path = '/api/socket'): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}${path}`, { headers });
    socket.on('open', () => {
      socket.terminate();
      resolve(101);
    });
    socket.on('unexpected-response', (_request, response) => {
      resolve(response.statusCode ?? 0);
      response.destroy();
    });
    socket.on('error', (error) => (/Unexpected server response/.test(error.message) ? undefined : reject(error)));
  });
}

async function open(): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/api/socket`, {
    headers: { cookie: await logIn(), origin },
  });
  await new Promise((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  return socket;
}

function closing(socket: WebSocket): Promise<number> {
  return new Promise((resolve) => {
    socket.on('error', () => {});
    socket.on('close', (code) => resolve(code));
  });
}

test('the token is exchanged for a cookie that scripts and other sites cannot use, and leaves the address', async () => {
  const answer = await get(`/machines/a?token=${server.token}&x=1`);
  assert.equal(answer.status, 303);
  assert.equal(answer.headers.location, '/machines/a?x=1');
  const [cookie = ''] = answer.headers['set-cookie'] ?? [];
  assert.match(cookie, /; HttpOnly/);
  assert.match(cookie, /; SameSite=Strict/);
  assert.ok(!cookie.includes(server.token));
  assert.match(server.url, /^http:\/\/127\.0\.0\.1:\d+\/\?token=.{32}$/);
});

test('a token cannot be made to lead elsewhere', async () => {
  for (const path of ['//example.org/', '/\\example.org/']) {
    assert.equal((await get(`${path}?token=${server.token}`)).headers.location?.startsWith('//'), false);
  }
});

test('a wrong token, a wrong cookie and none are refused', async () => {
  assert.equal((await get('/?token=wrong')).status, 401);
  assert.equal((await get('/?token=')).status, 401);
  assert.equal((await get('/')).status, 401);
  assert.equal((await get('/assets/app-1234.js')).status, 401);
  const name = (await logIn()).split('=')[0];
  assert.equal((await get('/', { cookie: `${name}=wrong` })).status, 401);
  assert.equal(await knock({ origin }), 401);
  assert.equal(await knock({ origin, cookie: `${name}=wrong` }), 401);
});

test('names of other hosts are refused, whoever asks', async () => {
  const cookie = await logIn();
  for (const name of ['evil.example', `evil.example:${server.port}`, '127.0.0.1', '127.0.0.1:1']) {
    assert.equal((await get('/', { cookie, host: name })).status, 403, name);
    assert.equal((await get(`/?token=${server.token}`, { host: name })).status, 403, name);
    assert.equal(await knock({ cookie, host: name, origin: `http://${name}` }), 403, name);
  }
  assert.equal((await get('/', { cookie, host: `localhost:${server.port}` })).status, 200);
});

test('pages of other origins are refused', async () => {
  const cookie = await logIn();
  for (const foreign of ['http://evil.example', 'null', `https://127.0.0.1:${server.port}`, 'http://127.0.0.1:1']) {
    assert.equal(await knock({ cookie, origin: foreign }), 403, foreign);
    assert.equal((await get('/', { cookie, origin: foreign })).status, 403, foreign);
  }
  assert.equal(await knock({ cookie }), 403, 'without an origin');
  assert.equal(await knock({ cookie, origin }), 101);
  assert.equal(await knock({ cookie, origin }, '/elsewhere'), 404);
});

test('files of the renderer are served with a strict policy, and nothing beside them', async () => {
  const cookie = await logIn();
  const page = await get('/machines/some', { cookie });
  assert.equal(page.status, 200);
  assert.match(page.body, /<title>Lodge/);
  const policy = String(page.headers['content-security-policy']);
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self';/);
  assert.doesNotMatch(policy, /unsafe-eval|\*/);
  assert.equal(page.headers['x-content-type-options'], 'nosniff');
  const script = await get('/assets/app-1234.js', { cookie });
  assert.match(String(script.headers['cache-control']), /immutable/);
  assert.equal(
    (await get('/assets/app-1234.js', { cookie, 'if-none-match': String(script.headers.etag) })).status,
    304,
  );
  for (const path of [
    '/../secret.txt',
    '/..%2fsecret.txt',
    '/%2e%2e/secret.txt',
    '/assets/..%2f..%2fsecret.txt',
    '/a.js',
    '/%00.js',
    '/%ff.js',
  ]) {
    const answer = await get(path, { cookie });
    assert.ok(answer.status === 404 || answer.status === 400, `${path}: ${answer.status}`);
    assert.doesNotMatch(answer.body, /secret/);
  }
  assert.equal((await get('/', { cookie }, 'POST')).status, 405);
});

test('calls and feeds work over the socket', async () => {
  const socket = await open();
  const client = createApiClient(webSocketTransport(socket as never));
  const info = await client.call('app.info');
  assert.equal(info.shell, 'web');
  const demo = await client.call('machines.createDemo');
  const items: number[][] = [];
  client.subscribe('console.serial', { machine: demo.id }, { item: (bytes) => items.push([...bytes]) });
  await client.call('machines.start', { id: demo.id });
  host.last.say({ kind: 'serial', bytes: Uint8Array.of(1, 2, 3) });
  await client.call('machines.list');
  assert.deepEqual(items, [[1, 2, 3]]);
  await assert.rejects(client.call('machines.start', { id: 'nobody' }), { code: 'not-found' });
  await client.call('machines.powerOff', { id: demo.id });
  client.dispose();
});

test('unknown names and bad arguments are answered with an error; nothing else happens', async () => {
  const socket = await open();
  const answers: { kind: string; id: number; error?: { code: string } }[] = [];
  const four = new Promise<void>((resolve) => {
    socket.on('message', (data: Buffer) => {
      answers.push(JSON.parse(data.toString()));
      if (answers.length === 4) {
        resolve();
      }
    });
  });
  socket.send(JSON.stringify({ kind: 'call', id: 1, name: 'constructor', args: {} }));
  socket.send(JSON.stringify({ kind: 'call', id: 2, name: 'machines.start', args: { id: '../../etc' } }));
  socket.send(JSON.stringify({ kind: 'subscribe', id: 3, name: '__proto__', args: {} }));
  socket.send(JSON.stringify({ kind: 'call', id: 4, name: 'machines.start', args: 7 }));
  await four;
  assert.deepEqual(answers.map(({ kind, error }) => [kind, error?.code]).sort(), [
    ['end', 'unknown-name'],
    ['error', 'bad-arguments'],
    ['error', 'bad-arguments'],
    ['error', 'unknown-name'],
  ]);
  socket.terminate();
});

test('malformed and oversized messages end the connection, and only that one', async () => {
  const other = await open();
  for (const [message, code] of [
    ['no json', 1008],
    ['{"kind":"call"}', 1008],
    ['null', 1008],
    [Uint8Array.of(1, 2, 3), 1008],
    [JSON.stringify({ kind: 'call', id: 1, name: 'app.info', args: 'x'.repeat(MAX_CLIENT_MESSAGE_BYTES) }), 1009],
  ] as const) {
    const socket = await open();
    const closed = closing(socket);
    socket.send(message);
    assert.equal(await closed, code);
  }
  const client = createApiClient(webSocketTransport(other as never));
  assert.ok((await client.call('machines.list')).length >= 0);
  client.dispose();
});

test('a port in use is said in one line', async () => {
  await assert.rejects(startWebServer({ handlers: services.handlers, port: server.port, rendererFolder }), {
    code: 'cannot-listen',
    message: `127.0.0.1:${server.port}: cannot listen there (the port is in use)`,
  });
});
