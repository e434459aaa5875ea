import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../clock/alarm-queue.ts';
import { I8042 } from '../devices/i8042/i8042.ts';
import { KEY_NAMES } from '../devices/i8042/keys.ts';
import { FakeLine } from '../testing/fakes.ts';
import { INPUT_EVENT_QUEUE } from '../virtio/input/input-layout.ts';
import { KEY_CODES } from '../virtio/input/key-codes.ts';
import type { VirtioInput } from '../virtio/input/virtio-input.ts';
import { GuestDriver } from '../virtio/testing/guest-driver.ts';
import { GuestInput, VirtioInputs } from './guest-input.ts';

function build() {
  const clock = new ManualClock();
  const ps2 = new I8042('i8042', {
    keyboardLine: new FakeLine(),
    mouseLine: new FakeLine(),
    clock,
    log: { info() {}, warn() {} },
    setA20() {},
    reset() {},
  });
  const virtio = new VirtioInputs();
  const input = new GuestInput(ps2, virtio, (head, x, y) => ({ x: (head + x) / 2, y }));
  const scanCodes = (): number[] => {
    const bytes: number[] = [];
    for (let i = 0; i < 50; i++) {
      clock.advance(2_000_000);
      if ((ps2.commandPort.readPort(0, 1) & 1) !== 0) {
        bytes.push(ps2.dataPort.readPort(0, 1));
      }
    }
    return bytes;
  };
  return { ps2, virtio, input, scanCodes };
}

/** Loads the guest's driver of a device; the result gives the events that have come, as type, code and value. */
function drive(device: VirtioInput): () => number[][] {
  const guest = new GuestDriver(device);
  guest.start();
  return () => {
    const events = guest.collect(INPUT_EVENT_QUEUE).map(({ data }) => {
      const view = new DataView(data.buffer, data.byteOffset);
      return [view.getUint16(0, true), view.getUint16(2, true), view.getInt32(4, true)];
    });
    for (let i = guest.queue(INPUT_EVENT_QUEUE).inFlight; i < 20; i++) {
      guest.submit(INPUT_EVENT_QUEUE, [8]);
    }
    return events;
  };
}

test('keys go to the PC keyboard until the guest drives the other one, and come up where they went down', () => {
  const { virtio, input, scanCodes } = build();
  assert.ok(input.key('KeyA', true));
  assert.ok(input.key('KeyA', true), 'the host repeats');
  assert.deepEqual(scanCodes(), [0x1c]);
  const events = drive(virtio.keyboard.device);
  events();
  assert.ok(input.key('KeyA', false));
  assert.deepEqual(scanCodes(), [0xf0, 0x1c]);
  assert.ok(input.key('KeyB', true));
  assert.ok(input.key('KeyB', true));
  assert.equal(input.key('NoSuchKey', true), false);
  assert.deepEqual(events(), [
    [1, 48, 1],
    [0, 0, 0],
  ]);
  assert.ok(input.drained);
  input.releaseAll();
  assert.deepEqual(events(), [
    [1, 48, 0],
    [0, 0, 0],
  ]);
  assert.deepEqual(scanCodes(), []);
});

test('the pointer is absolute once the guest drives the tablet, over the whole desktop', () => {
  const { ps2, virtio, input } = build();
  assert.equal(input.pointer, 'relative');
  input.moveTo(0, 0.5, 0.5, 0, 0);
  assert.ok(ps2.mouse.drained, 'places mean nothing to a mouse');
  const events = drive(virtio.tablet.device);
  events();
  assert.equal(input.pointer, 'absolute');
  input.moveTo(1, 0.5, 0.25, 0.5, 1);
  input.moveTo(1, 0.5, 0.25, 0.5, 1);
  const place = [
    [3, 0, Math.round(0.75 * 0x7fff)],
    [3, 1, Math.round(0.25 * 0x7fff)],
  ];
  assert.deepEqual(events(), [...place, [1, 0x110, 1], [0, 0, 0], ...place, [2, 8, -1], [0, 0, 0]]);
});

test('fractions of movements add up, on either mouse', () => {
  const { virtio, input } = build();
  const events = drive(virtio.mouse.device);
  events();
  input.moveBy(0.4, -0.6, 0, 0);
  input.moveBy(0.7, -0.6, 0, 0);
  assert.deepEqual(events(), [
    [2, 0, 1],
    [2, 1, -1],
    [0, 0, 0],
  ]);
});

test('both keyboards have the same keys, each with a code of its own', () => {
  assert.deepEqual([...KEY_CODES.keys()].sort(), [...KEY_NAMES].sort());
  assert.equal(new Set(KEY_CODES.values()).size, KEY_CODES.size);
});
