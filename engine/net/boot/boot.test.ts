import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress } from '../address.ts';
import { FakeBootFolder } from '../testing/fake-sockets.ts';
import { TcpPeer } from '../testing/tcp-peer.ts';
import { ip, TestGuest } from '../testing/test-guest.ts';

const GATEWAY = ip('10.0.2.2');
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
const settled = () => new Promise((resolve) => setImmediate(resolve));

function withFiles() {
  const folder = new FakeBootFolder();
  folder.files.set(
    'kernel',
    new Uint8Array(200_000).map((_, i) => i * 31),
  );
  folder.files.set('script.ipxe', new Uint8Array(Buffer.from('#!ipxe\n')));
  folder.files.set('exact', new Uint8Array(1024).fill(9));
  return { folder, guest: new TestGuest({ bootFolder: folder, bootFile: 'script.ipxe' }) };
}

/** Reads a file by TFTP as a client does; `lost` says which datagrams of the server never arrive. */
async function tftp(
  guest: TestGuest,
  path: string,
  options: string[] = [],
  lost: (n: number) => boolean = () => false,
) {
  const words = [path, 'octet', ...options].map((word) => `${word}\0`).join('');
  guest.sendUdp(GATEWAY, 3000, 69, Uint8Array.of(0, 1, ...Buffer.from(words)));
  const parts: Uint8Array[] = [];
  let granted = '';
  let blockSize = 512;
  let expected = 1;
  for (let n = 0; ; n++) {
    await settled();
    if (guest.frames.length === 0) {
      assert.ok(n < 20_000, 'it comes to an end');
      guest.clock.advance(1e9);
      continue;
    }
    const { fromPort, port, data } = guest.takeUdp();
    assert.equal(port, 3000);
    if (lost(n)) {
      continue;
    }
    const [, operation = 0, high = 0, low = 0] = data;
    if (operation === 5) {
      return { error: low, message: text(data.subarray(4, -1)) };
    }
    const block = (high << 8) | low;
    if (operation === 6) {
      granted = text(data.subarray(2));
      blockSize = Number(/blksize\0(\d+)/.exec(granted)?.[1] ?? 512);
      guest.sendUdp(GATEWAY, 3000, fromPort, Uint8Array.of(0, 4, 0, 0));
      continue;
    }
    guest.sendUdp(GATEWAY, 3000, fromPort, Uint8Array.of(0, 4, high, low));
    if (block === (expected & 0xffff)) {
      parts.push(data.slice(4));
      expected++;
      if (data.length - 4 < blockSize) {
        await settled();
        return { file: Buffer.concat(parts), granted };
      }
    }
  }
}

test('TFTP: files in blocks of 512 bytes, or as large as the client asks', async () => {
  const { folder, guest } = withFiles();
  const plain = await tftp(guest, 'kernel');
  assert.ok(plain.file?.equals(folder.files.get('kernel') ?? new Uint8Array()));
  const large = await tftp(guest, '/kernel', ['tsize', '0', 'blksize', '1432']);
  assert.equal(large.granted, 'tsize\x00200000\0blksize\x001432\0');
  assert.ok(
    large.file?.equals(folder.files.get('kernel') ?? new Uint8Array()) ?? false,
    'a leading slash is the folder',
  );
  // More than fits into a packet is not granted, and a file of whole blocks ends with an empty one.
  assert.match((await tftp(guest, 'kernel', ['blksize', '9000'])).granted ?? '', /1468/);
  assert.equal((await tftp(guest, 'exact')).file?.length, 1024);
  assert.equal(folder.openCount, 0);
  guest.network.dispose();
  assert.equal(guest.clock.pendingCount, 0);
});

test('TFTP: lost datagrams are sent again', async () => {
  const { folder, guest } = withFiles();
  const { file } = await tftp(guest, 'kernel', ['blksize', '1432'], (n) => n % 5 === 2);
  assert.ok(file?.equals(folder.files.get('kernel') ?? new Uint8Array()));
});

test('TFTP: a request that is repeated before its answer has come is the same request', async () => {
  const { guest } = withFiles();
  const request = Uint8Array.of(0, 1, ...Buffer.from('kernel\0octet\0blksize\x001000\0'));
  guest.sendUdp(GATEWAY, 3000, 69, request);
  guest.sendUdp(GATEWAY, 3000, 69, request);
  await settled();
  guest.sendUdp(GATEWAY, 3000, 69, request);
  const [first, again] = [guest.takeUdp(), guest.takeUdp()];
  assert.equal(first.fromPort, again.fromPort);
  guest.sendUdp(GATEWAY, 3000, first.fromPort, Uint8Array.of(0, 4, 0, 0));
  await settled();
  assert.deepEqual([...guest.takeUdp().data.subarray(0, 4)], [0, 3, 0, 1]);
});

test('TFTP: what is not there, writing and nonsense are refused; a client that falls silent is forgotten', async () => {
  const { folder, guest } = withFiles();
  assert.deepEqual(await tftp(guest, 'none'), { error: 1, message: 'no such file' });
  guest.sendUdp(GATEWAY, 3001, 69, Uint8Array.of(0, 2, ...Buffer.from('kernel\0octet\0')));
  assert.equal(guest.takeUdp().data[3], 2);
  for (const nonsense of [[], [0], [0, 1], [0, 1, 0], [0, 9, 1, 2], [0, 1, 65, 66, 67]]) {
    guest.sendUdp(GATEWAY, 3002, 69, Uint8Array.from(nonsense));
  }
  guest.frames.length = 0;
  for (let i = 0; i < 40; i++) {
    guest.sendUdp(GATEWAY, 4000 + i, 69, Uint8Array.of(0, 1, ...Buffer.from('kernel\0octet\0')));
    await settled();
  }
  assert.ok(folder.openCount <= 16, 'not more than so many at once');
  guest.clock.advance(60e9);
  await settled();
  assert.equal(folder.openCount, 0);
});

/** Sends a request over HTTP and collects the answer until the server ends it or `length` bytes have come. */
async function http(guest: TestGuest, request: string, length = Number.POSITIVE_INFINITY, port = 40_000) {
  const peer = new TcpPeer(guest, GATEWAY, 80, port);
  peer.connect();
  peer.step();
  peer.write(new Uint8Array(Buffer.from(request)));
  for (let i = 0; i < 5000 && !peer.remoteFinished && peer.received.length < length; i++) {
    await settled();
    guest.network.flush();
    peer.step();
  }
  const answer = Buffer.from(peer.received);
  const end = answer.indexOf('\r\n\r\n');
  return { peer, head: answer.subarray(0, end).toString(), body: answer.subarray(end + 4) };
}

test('HTTP: whole files, ranges, HEAD, and several requests on one connection', async () => {
  const { folder, guest } = withFiles();
  const kernel = folder.files.get('kernel') ?? new Uint8Array();
  const whole = await http(guest, 'GET /kernel HTTP/1.0\r\n\r\n');
  assert.match(whole.head, /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 200000\r\n/);
  assert.ok(whole.body.equals(kernel));
  assert.equal(whole.peer.remoteFinished, true);
  const part = await http(
    guest,
    'GET http://10.0.2.2/kernel?x=1 HTTP/1.1\r\nConnection: close\r\nRange: bytes=1000-1999\r\n\r\n',
    undefined,
    40_001,
  );
  assert.match(part.head, /^HTTP\/1\.1 206 [\s\S]*Content-Range: bytes 1000-1999\/200000\r\n/);
  assert.ok(part.body.equals(kernel.subarray(1000, 2000)));
  const last = await http(guest, 'GET /kernel HTTP/1.0\r\nRange: bytes=-10\r\n\r\n', undefined, 40_002);
  assert.ok(last.body.equals(kernel.subarray(-10)));
  const beyond = await http(guest, 'GET /kernel HTTP/1.0\r\nRange: bytes=200000-\r\n\r\n', undefined, 40_003);
  assert.match(beyond.head, /^HTTP\/1\.1 416 /);
  const two = await http(
    guest,
    'HEAD /kernel HTTP/1.1\r\nHost: x\r\n\r\nGET /script%2eipxe HTTP/1.1\r\nConnection: close\r\n\r\n',
    undefined,
    40_004,
  );
  assert.match(two.head, /Content-Length: 200000/);
  assert.match(two.body.toString(), /^HTTP\/1\.1 200 [\s\S]*\r\n\r\n#!ipxe\n$/);
  assert.equal(folder.openCount, 0);
});

test('HTTP: what is not there, other methods and nonsense', async () => {
  const { guest } = withFiles();
  const status = async (request: string, port: number) =>
    Number((await http(guest, request, undefined, port)).head.split(' ')[1]);
  assert.equal(await status('GET /none HTTP/1.0\r\n\r\n', 41_000), 404);
  assert.equal(await status('POST /kernel HTTP/1.0\r\n\r\n', 41_001), 405);
  assert.equal(await status('nonsense\r\n\r\n', 41_002), 400);
  assert.equal(await status('GET /%zz HTTP/1.0\r\n\r\n', 41_003), 400);
  assert.equal(await status(`GET /${'a'.repeat(9000)} HTTP/1.0\r\n\r\n`, 41_004), 431);
});

test('HTTP: a guest that goes away in the middle leaves no file open', async () => {
  const { folder, guest } = withFiles();
  folder.files.set('large', new Uint8Array(3 << 20));
  const { peer } = await http(guest, 'GET /large HTTP/1.1\r\n\r\n', 10_000);
  assert.equal(folder.openCount, 1);
  peer.sendSegment({ flags: 4 });
  await settled();
  await settled();
  assert.equal(folder.openCount, 0);
});

test('without a boot folder nothing is served; with one it is, also to isolated guests', async () => {
  const none = new TestGuest();
  const peer = new TcpPeer(none, GATEWAY, 80);
  peer.connect();
  peer.step();
  assert.equal(peer.state, 'reset');
  const folder = new FakeBootFolder();
  folder.files.set('a', Uint8Array.of(65));
  const isolated = new TestGuest({ bootFolder: folder, isolated: true });
  assert.equal((await http(isolated, 'GET /a HTTP/1.0\r\n\r\n')).body.toString(), 'A');
  assert.equal(formatAddress(isolated.address), '10.0.2.15');
});
