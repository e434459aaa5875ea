import assert from 'node:assert/strict';
import { existsSync, linkSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SocketPort } from './socket-port.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-port-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A port, what it was told, and how much of what clients say is taken. */
async function port(name: string) {
  const events: (string | boolean)[] = [];
  let waiting: (() => void)[] = [];
  const state = { room: Number.POSITIVE_INFINITY };
  const happened = (event: string | boolean) => {
    events.push(event);
    for (const wake of waiting.splice(0)) {
      wake();
    }
  };
  const listening = await SocketPort.listen(join(folder, name), {
    connected: (open) => happened(open),
    received(bytes) {
      const count = Math.min(bytes.length, state.room);
      state.room -= count;
      if (count > 0) {
        happened(Buffer.from(bytes.subarray(0, count)).toString());
      }
      return count;
    },
    writable: () => happened('writable'),
  });
  const until = async (done: () => boolean) => {
    while (!done()) {
      await new Promise<void>((resolve) => {
        waiting = [...waiting, resolve];
      });
    }
  };
  const said = () => events.filter((event) => typeof event === 'string' && event !== 'writable').join('');
  return { port: listening, events, state, until, said };
}

function client(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    socket.on('error', reject);
  });
}

function ended(socket: Socket): Promise<string> {
  let text = '';
  return new Promise((resolve) => {
    socket.on('data', (bytes) => {
      text += bytes.toString();
    });
    socket.on('close', () => resolve(text));
    socket.resume();
  });
}

test('a client talks and listens, goes, and another one comes', async () => {
  const { port: listening, events, until, said } = await port('a');
  for (const name of ['first', 'second']) {
    events.length = 0;
    const socket = await client(listening.path);
    await until(() => events[0] === true);
    socket.write(`hello from ${name}`);
    await until(() => said() === `hello from ${name}`);
    const heard = new Promise((resolve) => socket.once('data', (bytes) => resolve(bytes.toString())));
    assert.equal(listening.write(Buffer.from(`hello ${name}`)), true);
    assert.equal(await heard, `hello ${name}`);
    socket.end();
    await until(() => events.includes(false));
    assert.equal(listening.connected, false);
  }
  assert.equal(listening.write(Buffer.from('nobody')), true, 'lost');
  await listening.close();
  assert.equal(existsSync(listening.path), false);
});

test('a second client is turned away while there is a first', async () => {
  const { port: listening, events, until } = await port('b');
  const first = await client(listening.path);
  await until(() => events[0] === true);
  assert.equal(await ended(await client(listening.path)), '');
  assert.equal(listening.connected, true);
  const rest = ended(first);
  listening.write(Buffer.from('the end'));
  await listening.close();
  assert.equal(await rest, 'the end', 'what was written before the end arrives');
});

test('a client that says more than is taken waits, and nothing is lost', async () => {
  const { port: listening, state, until, said } = await port('c');
  state.room = 5;
  const socket = await client(listening.path);
  socket.write('0123456789');
  await until(() => said() === '01234');
  state.room = 3;
  listening.resume();
  assert.equal(said(), '01234567');
  state.room = 100;
  listening.resume();
  socket.write('ab');
  await until(() => said() === '0123456789ab');
  socket.end();
  await listening.close();
});

test('a client that does not read stops the guest, until it reads', async () => {
  const { port: listening, events, until } = await port('d');
  const socket = await client(listening.path);
  socket.pause();
  await until(() => events[0] === true);
  let sent = 0;
  const piece = Buffer.alloc(65_536, 'x');
  while (listening.write(piece)) {
    sent += piece.length;
    assert.ok(sent < 64 << 20, 'it is bounded');
  }
  let read = 0;
  socket.on('data', (bytes) => {
    read += bytes.length;
  });
  socket.resume();
  await until(() => events.includes('writable'));
  assert.equal(listening.write(Buffer.from('!')), true);
  const closed = new Promise((resolve) => socket.on('close', resolve));
  await listening.close();
  await closed;
  assert.equal(read, sent + 1);
});

test('a client that has said its last word and reads nothing does not hold the end up', async () => {
  const { port: listening, events, until } = await port('e');
  const socket = await client(listening.path);
  socket.pause();
  await until(() => events[0] === true);
  while (listening.write(Buffer.alloc(65_536))) {
    // Until the client's buffers are full.
  }
  socket.end();
  await until(() => events.includes(false));
  await listening.close();
  socket.destroy();
});

test('a socket left behind is replaced; one in use and a file are not', async () => {
  const path = join(folder, 'left');
  const { port: first } = await port('left');
  await assert.rejects(port('left'), { code: 'socket-taken' });
  await first.close();
  // A server that is not closed properly leaves its socket behind: as a copy of the name does.
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.old`, resolve));
  linkSync(`${path}.old`, path);
  await new Promise<void>((resolve) => server.close(() => resolve()));
  assert.equal(existsSync(path), true);
  const { port: second } = await port('left');
  (await client(second.path)).destroy();
  await second.close();
  await assert.rejects(port('none/x'), { code: 'socket-refused' });
  writeFileSync(join(folder, 'file'), 'precious');
  await assert.rejects(port('file'), { code: 'socket-refused' });
  assert.equal(readFileSync(join(folder, 'file'), 'utf8'), 'precious');
});
