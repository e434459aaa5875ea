import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateSync } from 'node:zlib';
import {
  decodeFramePacket,
  encodeFramePacket,
  type Frame,
  FrameDecoder,
  type FrameHeader,
  FramePacketError,
} from '../../engine/base/frame-packet.ts';
import { type ClientTransport, createApiClient, type TransportListener } from './client.ts';
import type { ClientMessage } from './wire.ts';

class FakeTransport implements ClientTransport {
  readonly sent: ClientMessage[] = [];
  listener: TransportListener | undefined;
  closed = false;
  send(message: ClientMessage): void {
    this.sent.push(message);
  }
  listen(listener: TransportListener): void {
    this.listener = listener;
  }
  close(): void {
    this.closed = true;
  }
}

test('a call sends its arguments with defaults and gives the checked result', async () => {
  const transport = new FakeTransport();
  const client = createApiClient(transport);
  const answer = client.call('fs.complete', { prefix: '/tm' });
  assert.deepEqual(transport.sent, [
    { kind: 'call', id: 1, name: 'fs.complete', args: { prefix: '/tm', want: 'any' } },
  ]);
  transport.listener?.message({
    kind: 'result',
    id: 1,
    value: { folder: '/', entries: [], truncated: false },
  });
  assert.deepEqual(await answer, { folder: '/', entries: [], truncated: false });
});

test('arguments that the schema refuses never leave, and the error names the field', async () => {
  const transport = new FakeTransport();
  const client = createApiClient(transport);
  await assert.rejects(
    client.call('machines.create', {
      name: 'x',
      guestSystem: 'debian',
      memoryMegabytes: 1,
      processors: 1,
      hardDisk: { kind: 'none' },
    }),
    { code: 'bad-arguments', field: 'memoryMegabytes' },
  );
  assert.equal(transport.sent.length, 0);
});

test('an answer of the wrong shape and a refusal both reject', async () => {
  const transport = new FakeTransport();
  const client = createApiClient(transport);
  const list = client.call('machines.list');
  transport.listener?.message({ kind: 'result', id: 1, value: [{ id: 3 }] });
  await assert.rejects(list, { code: 'bad-result' });
  const start = client.call('machines.start', { id: 'a' });
  transport.listener?.message({
    kind: 'error',
    id: 2,
    error: { code: 'not-found', message: 'no such machine', remedy: 'look at the list' },
  });
  await assert.rejects(start, { code: 'not-found', remedy: 'look at the list' });
});

test('feeds deliver items and bytes until they end or are disposed of', () => {
  const transport = new FakeTransport();
  const client = createApiClient(transport);
  const seen: unknown[] = [];
  const settings = client.subscribe('machines.changes', {}, { item: (item) => seen.push(item) });
  const frames = client.subscribe('console.frames', { machine: 'a' }, { item: (item) => seen.push([...item]) });
  transport.listener?.message({ kind: 'item', id: 1, item: { kind: 'removed', id: 'b' } });
  transport.listener?.bytes(2, Uint8Array.of(1, 2));
  frames.ack(7);
  settings.dispose();
  transport.listener?.message({ kind: 'item', id: 1, item: { kind: 'removed', id: 'c' } });
  assert.deepEqual(seen, [{ kind: 'removed', id: 'b' }, [1, 2]]);
  assert.deepEqual(
    transport.sent.map(({ kind }) => kind),
    ['subscribe', 'subscribe', 'ack', 'unsubscribe'],
  );
});

test('a lost connection rejects every call and ends every feed', async () => {
  const transport = new FakeTransport();
  const client = createApiClient(transport);
  const call = client.call('app.info');
  const ends: (string | undefined)[] = [];
  client.subscribe('settings.changes', {}, { item() {}, end: (error) => ends.push(error?.code) });
  transport.listener?.closed('gone');
  await assert.rejects(call, { code: 'disconnected', message: 'gone' });
  assert.deepEqual(ends, ['disconnected']);
  await assert.rejects(client.call('app.info'), { code: 'disconnected' });
});

const header: FrameHeader = {
  sequence: 9,
  width: 4,
  height: 3,
  whole: false,
  rectangles: [
    { x: 0, y: 0, width: 2, height: 1 },
    { x: 3, y: 1, width: 1, height: 2 },
  ],
};
const pixels = Uint8Array.from({ length: 16 }, (_, i) => i * 3);

test('frame packets come out as they went in, compressed or not, in their order', async () => {
  const frames: Frame[] = [];
  await new Promise<void>((resolve, reject) => {
    const decoder = new FrameDecoder((frame) => {
      frames.push(frame);
      if (frames.length === 2) {
        resolve();
      }
    }, reject);
    decoder.push(encodeFramePacket(header, deflateSync(pixels, { level: 1 }), { compressed: true }));
    decoder.push(encodeFramePacket({ ...header, sequence: 10 }, pixels));
  });
  assert.deepEqual(
    frames.map(({ pixels: data, ...rest }) => ({ ...rest, pixels: [...data] })),
    [9, 10].map((sequence) => ({ ...header, sequence, pixels: [...pixels] })),
  );
});

test('bytes that are no frame packet are refused, not believed', async () => {
  const good = encodeFramePacket(header, pixels);
  assert.throws(() => decodeFramePacket(new Uint8Array(3)), FramePacketError);
  for (let length = 0; length < good.length; length++) {
    assert.throws(() => decodeFramePacket(good.slice(0, length)), FramePacketError);
  }
  for (const [at, value] of [
    [0, 0],
    [13, 9],
    [14, 200],
    [16, 1],
    [20, 3],
  ] as const) {
    const bad = good.slice();
    bad[at] = value;
    assert.throws(() => decodeFramePacket(bad), FramePacketError, `byte ${at}`);
  }
  const errors: unknown[] = [];
  for (const payload of [deflateSync(new Uint8Array(15)), deflateSync(new Uint8Array(1 << 20)), new Uint8Array(9)]) {
    await new Promise<void>((resolve) => {
      const decoder = new FrameDecoder(
        () => assert.fail('a bad packet was decoded'),
        (error) => {
          errors.push(error);
          resolve();
        },
      );
      decoder.push(encodeFramePacket(header, payload, { compressed: true }));
    });
  }
  assert.equal(errors.filter((error) => error instanceof FramePacketError).length, 3);
});
