import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../testing/random.ts';
import { createFrameRing, FrameRingReader, FrameRingWriter } from './frame-ring.ts';
import { MAX_FRAME_BYTES, plainFrame } from './network-port.ts';
import { cableOffloads, createNetworkCable, RingNetworkPort } from './ring-port.ts';

function ring() {
  const memory = createFrameRing(1 << 18);
  return { writer: new FrameRingWriter(memory), reader: new FrameRingReader(memory) };
}

test('frames of all lengths come out as they went in, around the end of the ring many times', () => {
  const { writer, reader } = ring();
  const random = new Random(5);
  const expected: { length: number; fill: number; segmentBytes: number }[] = [];
  let refused = 0;
  for (let i = 0; i < 20_000; i++) {
    const length = random.below(20) === 0 ? 14 + random.below(MAX_FRAME_BYTES - 13) : 14 + random.below(1501);
    const buffer = writer.reserve(length);
    if (buffer === undefined) {
      refused++;
    } else {
      const fill = i & 0xff;
      buffer.fill(fill);
      const segmentBytes = random.below(65536);
      writer.commit({ checksumStart: 34, checksumOffset: 16, segmentBytes, segmentKind: 'tcp4' }, (i & 1) !== 0);
      writer.publish();
      expected.push({ length, fill, segmentBytes });
    }
    while (buffer === undefined || random.below(3) === 0) {
      const frame = reader.peek();
      const want = expected.shift();
      assert.equal(frame?.bytes.length, want?.length);
      if (frame === undefined || want === undefined) {
        break;
      }
      assert.ok(frame.bytes.every((byte) => byte === want.fill));
      assert.deepEqual(frame.work, {
        checksumStart: 34,
        checksumOffset: 16,
        segmentBytes: want.segmentBytes,
        segmentKind: 'tcp4',
      });
      reader.take();
      reader.release();
    }
  }
  assert.ok(refused > 0, 'the ring was full now and then');
});

test('a frame is seen once it is published; a sleeping reader is woken once', () => {
  const { writer, reader } = ring();
  assert.equal(reader.sleep(), true);
  writer.reserve(60)?.fill(1);
  writer.commit(plainFrame, true);
  assert.equal(reader.peek(), undefined);
  assert.equal(writer.publish(), true);
  assert.equal(reader.peek()?.checksumGood, true);
  writer.reserve(60)?.fill(2);
  writer.commit(plainFrame, false);
  assert.equal(writer.publish(), false);
  assert.equal(reader.sleep(), false, 'something waits');
  reader.take();
  assert.equal(reader.peek()?.bytes[0], 2);
});

test('a writer without room is told once half of the ring is free', () => {
  const { writer, reader } = ring();
  while (writer.reserve(1514) !== undefined) {
    writer.commit(plainFrame, false);
  }
  writer.publish();
  assert.equal(writer.hasRoom, false);
  assert.equal(writer.wantRoom(), true);
  let told = 0;
  while (reader.peek() !== undefined) {
    reader.take();
    told += reader.release() ? 1 : 0;
  }
  assert.equal(told, 1);
  assert.equal(writer.hasRoom, true);
  assert.equal(writer.isEmpty, true);
  assert.equal(writer.wantRoom(), false);
});

function cable() {
  const memory = createNetworkCable();
  const calls: string[] = [];
  const port = new RingNetworkPort(memory, () => calls.push('wake'));
  port.connect({
    frameWaiting: () => calls.push('frame'),
    roomToSend: () => calls.push('room'),
    linkChanged: () => calls.push('link'),
  });
  const network = { in: new FrameRingReader(memory.toNetwork), out: new FrameRingWriter(memory.toCard) };
  const deliver = () => {
    network.out.reserve(60)?.fill(7);
    network.out.commit(plainFrame, false);
    network.out.publish();
  };
  return { memory, port, network, calls, deliver };
}

test('a card is told of frames once, until it has taken them all', () => {
  const { port, calls, deliver } = cable();
  deliver();
  port.poll();
  deliver();
  port.poll();
  assert.deepEqual(calls, ['frame']);
  assert.equal(port.peek()?.bytes.length, 60);
  port.take();
  port.poll();
  assert.deepEqual(calls, ['frame'], 'it has not seen the end yet');
  port.take();
  assert.notEqual(port.peek(), undefined);
  port.take();
  assert.equal(port.peek(), undefined);
  deliver();
  port.poll();
  assert.deepEqual(calls, ['frame', 'frame']);
});

test('a card without room to send is told when there is some', () => {
  const { port, network, calls } = cable();
  while (port.reserve(1514) !== undefined) {
    port.commit(plainFrame);
  }
  port.poll();
  assert.deepEqual(calls, []);
  let told = false;
  while (network.in.peek() !== undefined) {
    network.in.take();
    told = network.in.release() || told;
  }
  assert.equal(told, true);
  port.poll();
  assert.deepEqual(calls, ['room']);
  assert.equal(port.reserve(13), undefined);
  assert.equal(port.reserve(MAX_FRAME_BYTES + 1), undefined);
});

test('an unplugged cable loses what is sent and what waits', () => {
  const { port, network, calls, deliver } = cable();
  deliver();
  port.setLink(false);
  assert.deepEqual(calls, ['link']);
  assert.equal(port.peek(), undefined);
  port.reserve(60)?.fill(1);
  port.commit(plainFrame);
  assert.equal(network.in.peek(), undefined);
  deliver();
  port.poll();
  port.setLink(true);
  assert.deepEqual(calls, ['link', 'link']);
  assert.equal(port.peek(), undefined);
  deliver();
  port.poll();
  assert.deepEqual(calls, ['link', 'link', 'frame']);
});

test('offloads cross the cable; segments need checksums', () => {
  const { memory, port } = cable();
  const offloads = cableOffloads(memory);
  assert.deepEqual(offloads(), { checksum: false, segment4: false, segment6: false });
  port.setReceiveOffloads({ checksum: true, segment4: true, segment6: false });
  assert.deepEqual(offloads(), { checksum: true, segment4: true, segment6: false });
  port.setReceiveOffloads({ checksum: false, segment4: true, segment6: true });
  assert.deepEqual(offloads(), { checksum: false, segment4: false, segment6: false });
});
