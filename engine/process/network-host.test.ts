import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLog } from '../base/log.ts';
import type { NetworkConfig } from '../config/network-config.ts';
import { type FrameWork, plainFrame } from '../net/network-port.ts';
import { RingNetworkPort } from '../net/ring-port.ts';
import { TCP_ACK, TCP_SYN } from '../net/tcp/segment.ts';
import { TcpPeer } from '../net/testing/tcp-peer.ts';
import { GUEST_MAC, ip, TestGuest } from '../net/testing/test-guest.ts';
import { NetworkHost } from './network-host.ts';

const GATEWAY = ip('10.0.2.2');
const CONFIG: NetworkConfig = {
  model: 'e1000',
  mac: '52:54:00:12:34:56',
  linkUp: true,
  forwards: [],
  hostLoopback: true,
  isolated: false,
};

/** A guest at the machine thread's end of a cable; the network and its sockets are real. */
class CableGuest extends TestGuest {
  readonly port: RingNetworkPort;

  constructor(host: NetworkHost) {
    super();
    this.port = new RingNetworkPort(host.cable, () => setImmediate(() => host.wake()));
    this.port.connect({ frameWaiting() {}, roomToSend() {}, linkChanged() {} });
  }

  override send(frame: Uint8Array, work: FrameWork = plainFrame): void {
    this.port.reserve(frame.length)?.set(frame);
    this.port.commit(work);
  }

  /** Takes what the network has sent. */
  pull(): void {
    for (let frame = this.port.peek(); frame !== undefined; frame = this.port.peek()) {
      this.frames.push({ bytes: frame.bytes.slice(), work: frame.work, checksumGood: frame.checksumGood });
      this.port.take();
    }
  }

  /** Goes on until something has come about, in turns with the sockets. */
  async until(done: () => boolean): Promise<void> {
    for (const deadline = Date.now() + 30_000; !done(); ) {
      assert.ok(Date.now() < deadline, 'it comes about');
      await new Promise((resolve) => setImmediate(resolve));
      this.pull();
    }
  }

  /** Makes itself known, as every guest does by asking for the gateway. */
  announce(): void {
    const zeros = [0, 0, 0, 0, 0, 0];
    this.send(
      this.ethernet(0x0806, Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 1, ...GUEST_MAC, ...this.address, ...zeros, ...GATEWAY)),
    );
  }
}

async function network(config: Partial<NetworkConfig> = {}) {
  const host = await NetworkHost.create({ ...CONFIG, ...config }, silentLog, () => {});
  host.started();
  return { host, guest: new CableGuest(host) };
}

test('a connection through real sockets: a megabyte there and back', async () => {
  const server = createServer((socket) => socket.pipe(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { host, guest } = await network();
  const peer = new TcpPeer(guest, GATEWAY, (server.address() as AddressInfo).port);
  peer.window = 512 << 10;
  peer.shift = 5;
  peer.connect();
  await guest.until(() => {
    peer.step();
    return peer.state === 'open';
  });
  const bytes = new Uint8Array(1 << 20).map((_, i) => i * 7);
  peer.write(bytes);
  peer.finish();
  await guest.until(() => {
    peer.step();
    return peer.remoteFinished;
  });
  assert.deepEqual(Uint8Array.from(peer.received), bytes);
  await host.close();
  server.close();
});

test('without host-loopback the same connection is refused', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { host, guest } = await network({ hostLoopback: false });
  for (const address of ['10.0.2.2', '127.0.0.1', '0.0.0.0']) {
    const peer = new TcpPeer(guest, ip(address), (server.address() as AddressInfo).port);
    peer.connect();
    await guest.until(() => {
      peer.step();
      return peer.state === 'reset';
    });
  }
  await host.close();
  server.close();
});

test('datagrams through real sockets', async () => {
  const server = createSocket('udp4');
  server.on('message', (bytes, { port, address }) => server.send(`${bytes}!`, port, address));
  server.bind(0, '127.0.0.1');
  await once(server, 'listening');
  const { host, guest } = await network();
  guest.sendUdp(GATEWAY, 5000, server.address().port, new Uint8Array(Buffer.from('hi')));
  await guest.until(() => guest.frames.length > 0);
  assert.equal(Buffer.from(guest.takeUdp().data).toString(), 'hi!');
  await host.close();
  server.close();
});

test('ports are forwarded and given up while the machine runs; a taken one is refused', async () => {
  const { host, guest } = await network();
  guest.announce();
  await guest.until(() => guest.frames.length > 0);
  const { hostPort } = await host.addForward({
    protocol: 'tcp',
    hostAddress: '127.0.0.1',
    hostPort: 0,
    guestPort: 22,
  });
  const client = connect(hostPort, '127.0.0.1');
  await once(client, 'connect');
  const peer = new TcpPeer(guest, GATEWAY, client.localPort ?? 0, 22);
  let syn = peer.take()[0];
  await guest.until(() => {
    syn ??= peer.take()[0];
    return syn !== undefined;
  });
  assert.equal(syn?.flags, TCP_SYN);
  peer.rcvNxt = (syn.seq + 1) | 0;
  peer.sendSegment({ seq: peer.first - 1, flags: TCP_SYN | TCP_ACK, options: [2, 4, 5, 180] });
  peer.state = 'open';
  peer.remoteWindow = 1000;
  peer.write(new Uint8Array(Buffer.from('hello')));
  const [greeting] = (await once(client, 'data')) as [Buffer];
  assert.equal(greeting.toString(), 'hello');

  const taken = { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort, guestPort: 23 } as const;
  await assert.rejects(host.addForward(taken), { code: 'port-forwarded' });
  const other = await network();
  await assert.rejects(other.host.addForward(taken), { code: 'port-in-use' });
  await assert.rejects(
    NetworkHost.create({ ...CONFIG, forwards: [taken] }, silentLog, () => {}),
    {
      code: 'port-in-use',
    },
  );
  await other.host.close();

  assert.deepEqual(
    host.forwards.map((forward) => forward.hostPort),
    [hostPort],
  );
  assert.equal(host.removeForward(taken), true);
  const late = connect(hostPort, '127.0.0.1');
  const [error] = (await once(late, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNREFUSED');
  // The connection that stands goes on.
  client.write('still there');
  await guest.until(() => {
    peer.step();
    return peer.received.length === 11;
  });
  const closed = new Promise((resolve) => {
    client.on('close', resolve);
    client.on('error', () => {});
  });
  await host.close();
  await closed;
  await assert.rejects(host.addForward({ ...taken, hostPort: 0 }), { code: 'not-running' });
});

test('a capture holds the frames of both directions', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-capture-'));
  try {
    const capture = join(folder, 'frames.pcap');
    const { host, guest } = await network({ capture });
    guest.announce();
    await guest.until(() => guest.frames.length > 0);
    await host.close();
    const file = readFileSync(capture);
    assert.deepEqual([file.readUInt32LE(0), file.readUInt16LE(4), file.readUInt32LE(20)], [0xa1b2c3d4, 2, 1]);
    const sizes: number[] = [];
    for (let at = 24; at < file.length; at += 16 + file.readUInt32LE(at + 8)) {
      sizes.push(file.readUInt32LE(at + 12));
      assert.equal(file.readUInt16BE(at + 16 + 12), 0x0806);
    }
    assert.deepEqual(sizes, [42, 42]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
