import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createIoRing, IO_READ, IO_WRITE, IoRingClient, IoRingServer } from './io-ring.ts';

function ends() {
  const ring = createIoRing();
  return { client: new IoRingClient(ring), server: new IoRingServer(ring), other: new IoRingServer(ring) };
}

const request = (offset: number, operation = IO_READ) => ({
  operation,
  descriptor: 7,
  memory: 3,
  place: 0xfffff000,
  offset,
  length: 2 ** 31,
});

test('a request comes out as it went in, once, and its answer comes back', () => {
  const { client, server, other } = ends();
  const number = client.submit(request(2 ** 41 + 512, IO_WRITE));
  assert.equal(client.unclaimed, 1);
  assert.equal(client.ready, false);
  assert.equal(server.claim(), number);
  assert.equal(other.claim(), -1);
  assert.equal(client.unclaimed, 0);
  assert.deepEqual(server.read(number), request(2 ** 41 + 512, IO_WRITE));
  assert.equal(client.take(), -1);
  server.complete(number, -28, 1.5);
  assert.equal(client.ready, true);
  assert.equal(client.take(), number);
  assert.equal(client.error(number), -28);
  assert.equal(client.millis(number), 1.5);
  assert.equal(client.take(), -1);
});

test('requests end in any order, many times around, and never more than there are numbers', () => {
  const { client, server, other } = ends();
  const expected = new Map<number, number>();
  let offset = 0;
  for (let round = 0; round < 50; round++) {
    for (let n = client.submit(request(offset)); n >= 0; n = client.submit(request(offset))) {
      assert.equal(expected.has(n), false, 'a number in use');
      expected.set(n, offset++);
    }
    assert.equal(expected.size, 256);
    const claimed: number[] = [];
    for (let turn = 0; claimed.length < 100 + round; turn++) {
      claimed.push((turn % 2 === 0 ? server : other).claim());
    }
    for (const number of claimed.reverse()) {
      assert.equal(server.read(number).offset, expected.get(number));
      server.complete(number, 0, 0);
    }
    for (let number = client.take(); number >= 0; number = client.take()) {
      assert.equal(number, claimed.shift());
      assert.equal(expected.delete(number), true);
    }
    assert.equal(claimed.length, 0);
  }
});

test('the end is seen by those that wait, and by those that come later', () => {
  const { server, other } = ends();
  server.end();
  assert.equal(other.ended, true);
  other.wait(() => 0.1 * ++clock);
});

let clock = 0;
