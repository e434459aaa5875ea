import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { HOST_WINDOW_BYTES, type VsockPeer, type VsockStream } from './vsock-backend.ts';
import { VsockClient } from './vsock-client.ts';
import { VsockHost } from './vsock-host.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-vsock-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** What a device hears of a connection. */
class Peer implements VsockPeer {
  readonly heard: string[] = [];
  readonly chunks: Uint8Array[] = [];
  stream: VsockStream | undefined;
  bytes = 0;
  writtenBytes = 0;

  opened(): void {
    this.heard.push('opened');
  }

  data(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    this.chunks.push(bytes);
  }

  written(count: number): void {
    this.writtenBytes += count;
  }

  ended(): void {
    this.heard.push('ended');
  }

  closed(broken: boolean): void {
    this.heard.push(broken ? 'broken' : 'closed');
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }
}

async function build(name: string) {
  const path = join(folder, name);
  let told = () => {};
  const host = await VsockHost.listen(path, () => told());
  const client = new VsockClient(host.cable);
  /** Lets the host act until `done`. */
  const until = async (done: () => boolean): Promise<void> => {
    for (;;) {
      client.poll();
      if (done()) {
        return;
      }
      await new Promise<void>((resolve) => {
        told = resolve;
      });
    }
  };
  const close = async () => {
    client.dispose();
    await host.close();
  };
  return { path, host, client, until, close };
}

test('a program of the host connects to a port of the guest', async () => {
  const { path, client, until, close } = await build('in');
  const peer = new Peer();
  client.onIncoming = (port, stream) => {
    assert.equal(port, 5000);
    peer.stream = stream;
    return peer;
  };
  const program = connect({ path, allowHalfOpen: true });
  program.write('CONNECT 5000\nright behind');
  await until(() => peer.stream !== undefined);
  assert.equal(peer.bytes, 0, 'nothing before the guest has accepted');
  peer.stream?.accept(1_073_741_824);
  await until(() => peer.text === 'right behind');
  const [greeting] = await once(program, 'data');
  assert.equal(String(greeting), 'OK 1073741824\n');
  peer.stream?.write(Uint8Array.from(Buffer.from('from the guest')));
  const [answer] = await once(program, 'data');
  assert.equal(String(answer), 'from the guest');
  await until(() => peer.writtenBytes === 14);
  program.end('bye');
  await until(() => peer.heard.includes('ended'));
  assert.equal(peer.text, 'right behindbye');
  peer.stream?.end();
  await until(() => peer.heard.includes('closed'));
  await close();
  assert.equal(existsSync(path), false, 'the socket is gone');
});

test('the guest connects to programs of the host, or to nobody', async () => {
  const { path, client, until, close } = await build('out');
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('data', (bytes) => socket.write(bytes.toString().toUpperCase()));
    socket.on('end', () => socket.end('!'));
  });
  server.listen(`${path}_80`);
  await once(server, 'listening');
  const peer = new Peer();
  const stream = client.connect(80, peer);
  await until(() => peer.heard.includes('opened'));
  stream.write(Uint8Array.from(Buffer.from('hello')));
  await until(() => peer.text === 'HELLO');
  stream.end();
  await until(() => peer.heard.includes('closed'));
  assert.equal(peer.text, 'HELLO!');
  assert.deepEqual(peer.heard, ['opened', 'ended', 'closed']);

  const nobody = new Peer();
  client.connect(81, nobody);
  await until(() => nobody.heard.length > 0);
  assert.deepEqual(nobody.heard, ['broken']);
  server.close();
  await close();
});

test('bytes for the guest are under way only as far as it takes them', async () => {
  const { path, client, until, close } = await build('window');
  const peer = new Peer();
  client.onIncoming = (_port, stream) => {
    peer.stream = stream;
    return peer;
  };
  const program = connect(path);
  const size = 1 << 20;
  program.write('CONNECT 1\n');
  program.end(Buffer.alloc(size, 'x'));
  await until(() => peer.stream !== undefined);
  peer.stream?.accept(1);
  await until(() => peer.bytes === HOST_WINDOW_BYTES);
  let taken = 0;
  while (taken < size) {
    const waiting = peer.bytes - taken;
    taken += waiting;
    peer.stream?.taken(waiting);
    await until(() => peer.bytes > taken || taken === size);
    assert.ok(peer.bytes - taken <= HOST_WINDOW_BYTES);
  }
  await until(() => peer.heard.includes('ended'));
  assert.equal(peer.bytes, size);
  program.destroy();
  await close();
});

test('lines that are none, ports that are none, and refusals end a connection', async () => {
  const { path, client, until, close } = await build('lines');
  let asked = 0;
  client.onIncoming = () => {
    asked++;
    return undefined;
  };
  for (const line of ['GET / HTTP/1.1\n', 'CONNECT\n', 'CONNECT 4294967296\n', `CONNECT ${'1'.repeat(40)}`]) {
    const program = connect(path);
    program.on('error', () => {});
    program.write(line);
    await once(program, 'close');
  }
  assert.equal(asked, 0);
  const program = connect(path);
  program.write('CONNECT 7\n');
  const closed = once(program, 'close');
  await until(() => asked === 1);
  await closed;
  await close();
});

test('a socket that was left behind is replaced; one in use, or a file, is refused', async () => {
  const { path, close } = await build('twice');
  await assert.rejects(
    VsockHost.listen(path, () => {}),
    { name: 'HostError', code: 'socket-taken' },
  );
  await close();
  const file = join(folder, 'file');
  writeFileSync(file, 'precious');
  await assert.rejects(
    VsockHost.listen(file, () => {}),
    { name: 'HostError', code: 'socket-refused' },
  );
  await assert.rejects(
    VsockHost.listen(join(folder, 'no', 'folder'), () => {}),
    { code: 'socket-refused' },
  );
});
