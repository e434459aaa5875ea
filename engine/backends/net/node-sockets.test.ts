import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { HostError } from '../../base/host-error.ts';
import type { HostTcpEvents, HostTcpSocket } from '../../net/host-sockets.ts';
import { hostBootFolder } from './boot-folder.ts';
import { NodeSockets } from './node-sockets.ts';

const sockets = new NodeSockets();

/** Collects what a socket tells, until it is closed. */
function collector() {
  const calls: string[] = [];
  const received: Buffer[] = [];
  let sent = 0;
  let close: (error: string | undefined) => void = () => {};
  const closed = new Promise<string | undefined>((resolve) => {
    close = resolve;
  });
  let socket: HostTcpSocket | undefined;
  const events: HostTcpEvents = {
    connected: () => calls.push('connected'),
    data: (bytes) => received.push(Buffer.from(bytes)),
    sent: (bytes) => {
      sent += bytes;
    },
    ended() {
      calls.push('ended');
      socket?.end();
    },
    closed: close,
  };
  return {
    events,
    calls,
    closed,
    get received() {
      return Buffer.concat(received);
    },
    get sent() {
      return sent;
    },
    use(used: HostTcpSocket) {
      socket = used;
      return used;
    },
  };
}

async function listeningServer(onConnection: Parameters<typeof createServer>[1]) {
  const server = createServer({ allowHalfOpen: true }, onConnection);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return { server, port: address.port };
}

test('a connection: bytes both ways, what has left is counted, both ends', async () => {
  const { server, port } = await listeningServer((socket) => socket.pipe(socket));
  const heard = collector();
  const socket = heard.use(sockets.connectTcp('127.0.0.1', port, heard.events));
  const bytes = new Uint8Array(300_000).map((_, i) => i * 13);
  socket.write(bytes.slice());
  socket.end();
  assert.equal(await heard.closed, undefined);
  assert.deepEqual(heard.calls, ['connected', 'ended']);
  assert.equal(heard.sent, 300_000);
  assert.ok(heard.received.equals(bytes));
  server.close();
});

test('a paused connection holds back, and goes on', async () => {
  const { server, port } = await listeningServer((socket) => socket.end(Buffer.alloc(3_000_000, 7)));
  const heard = collector();
  let paused = 0;
  const socket: HostTcpSocket = heard.use(
    sockets.connectTcp('127.0.0.1', port, {
      ...heard.events,
      data(bytes) {
        heard.events.data(bytes);
        socket.pause();
        paused++;
        setImmediate(() => socket.resume());
      },
    }),
  );
  assert.equal(await heard.closed, undefined);
  assert.equal(heard.received.length, 3_000_000);
  assert.ok(paused > 1);
  server.close();
});

test('a refused connection, and one that breaks off', async () => {
  const { server, port } = await listeningServer((socket) => socket.resetAndDestroy());
  const broken = collector();
  sockets.connectTcp('127.0.0.1', port, broken.events);
  assert.equal(await broken.closed, 'ECONNRESET');
  server.close();
  await once(server, 'close');
  const refused = collector();
  sockets.connectTcp('127.0.0.1', port, refused.events);
  assert.equal(await refused.closed, 'ECONNREFUSED');
  assert.deepEqual(refused.calls, []);
});

test('a forwarded port accepts, waits until it is resumed, and an occupied one is refused in one line', async () => {
  const heard = collector();
  let accepted: HostTcpSocket | undefined;
  const listener = await sockets.listenTcp('127.0.0.1', 0, (socket, from) => {
    assert.equal(from.address, '127.0.0.1');
    accepted = heard.use(socket);
    return heard.events;
  });
  await assert.rejects(
    sockets.listenTcp('127.0.0.1', listener.port, () => undefined),
    (error: unknown) =>
      error instanceof HostError &&
      error.code === 'port-in-use' &&
      error.message.includes(String(listener.port)) &&
      !error.message.includes('\n'),
  );
  const client = connect(listener.port, '127.0.0.1');
  await once(client, 'connect');
  client.end('hello');
  while (accepted === undefined) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  accepted.resume();
  accepted.write(new Uint8Array([1, 2, 3]));
  const [answer] = (await once(client, 'data')) as [Buffer];
  assert.deepEqual([...answer], [1, 2, 3]);
  assert.equal(await heard.closed, undefined);
  assert.equal(heard.received.toString(), 'hello');
  listener.close();
});

test('datagrams, and ports that are taken or do not exist', async () => {
  const server = createSocket('udp4');
  server.on('message', (bytes, { port, address }) => server.send(`${bytes}!`, port, address));
  server.bind(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  const answer = await new Promise<string>((resolve) => {
    const socket = sockets.openUdp(4, {
      datagram(bytes, from) {
        socket.close();
        assert.equal(from.port, port);
        resolve(Buffer.from(bytes).toString());
      },
    });
    socket.send(new Uint8Array(Buffer.from('hi')), '127.0.0.1', port);
  });
  assert.equal(answer, 'hi!');
  await assert.rejects(sockets.bindUdp('127.0.0.1', port, { datagram() {} }), { code: 'port-in-use' });
  await assert.rejects(sockets.bindUdp('203.0.113.1', 0, { datagram() {} }), { code: 'no-such-address' });
  const bound = await sockets.bindUdp('127.0.0.1', 0, { datagram() {} });
  assert.ok(bound.port > 0);
  bound.socket.close();
  server.close();
});

test('the host’s loopback addresses and name servers', () => {
  assert.equal(sockets.isLoopback('127.0.0.1'), true);
  assert.equal(sockets.isLoopback('192.0.2.1'), false);
  for (const { address, port } of sockets.nameServers()) {
    assert.ok(address.length > 0 && port > 0);
  }
});

test('a boot folder gives its files, and nothing outside it', async () => {
  const base = mkdtempSync(join(tmpdir(), 'lodge-boot-'));
  try {
    const folder = join(base, 'boot');
    mkdirSync(join(folder, 'sub'), { recursive: true });
    writeFileSync(join(folder, 'kernel'), 'kernel!');
    writeFileSync(join(base, 'secret'), 'secret');
    symlinkSync(join(base, 'secret'), join(folder, 'escape'));
    symlinkSync('kernel', join(folder, 'link'));
    const boot = hostBootFolder(folder);
    for (const path of ['kernel', '/kernel', 'sub/../kernel', 'link']) {
      const file = await boot.open(path);
      assert.equal(file?.sizeBytes, 7, path);
      assert.equal(Buffer.from((await file?.read(2, 100)) ?? []).toString(), 'rnel!');
      file?.close();
    }
    for (const path of ['', '/', 'none', '../secret', 'escape', 'sub', '/etc/passwd', 'a\0b', '..']) {
      assert.equal(await boot.open(path), undefined, path);
    }
  } finally {
    rmSync(base, { recursive: true });
  }
});

test('what the host forbids is told to the user, besides the one who asked', async (t) => {
  if (process.platform !== 'linux') {
    t.skip('other systems allow broadcasts without asking for them');
    return;
  }
  const told: string[] = [];
  const socket = new NodeSockets((message) => told.push(message)).openUdp(4, { datagram() {} });
  const error = await new Promise((resolve) => socket.send(new Uint8Array(3), '255.255.255.255', 9, resolve));
  socket.close();
  assert.equal(error, 'EACCES');
  assert.deepEqual(told, ['network: the guest does not reach 255.255.255.255 port 9: the host forbids it (EACCES)']);
});
