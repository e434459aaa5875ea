import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DRIVER_STYLES, type DriverStyle, GuestDriver, PLAIN_STYLE, styleName } from './testing/guest-driver.ts';
import { HoldingDevice } from './testing/holding-device.ts';
import { virtioConformance } from './testing/virtio-suite.ts';
import {
  STATUS_ACKNOWLEDGE,
  STATUS_DRIVER,
  STATUS_FEATURES_OK,
  STATUS_NEEDS_RESET,
  VIRTIO_F_VERSION_1,
} from './virtio-device.ts';

function build(style: DriverStyle = PLAIN_STYLE, queueSizes?: readonly number[]) {
  const device = new HoldingDevice(queueSizes);
  const guest = new GuestDriver(device, style);
  return { device, guest, transport: guest.transport };
}

const bytes = (...values: number[]) => Uint8Array.from(values);

for (const style of DRIVER_STYLES) {
  const name = styleName(style);

  test(`${name}: buffers come out whole, in any order, through several rounds of the ring`, () => {
    const { device, guest } = build(style);
    guest.start({ queueSize: 8 });
    for (let round = 0; round < 50; round++) {
      guest.submit(0, [bytes(round, 1), bytes(2), 2, 4]);
      guest.submit(0, [bytes(round + 1), 1]);
      assert.equal(device.held.length, 2);
      device.answer(1);
      const [second] = guest.collect(0);
      assert.deepEqual(second?.data, bytes(round + 1));
      device.answer(0);
      const [first] = guest.collect(0);
      assert.equal(first?.length, 3);
      assert.deepEqual(first?.data, bytes(round, 1, 2, 0, 0, 0));
    }
  });

  test(`${name}: the driver is interrupted unless it asked not to be`, () => {
    const { device, guest, transport } = build(style);
    guest.start();
    assert.equal(transport.interrupts(), 0);
    guest.submit(0, [bytes(1), 1]);
    device.answer();
    assert.equal(transport.interrupts(), 1);
    guest.collect(0);
    guest.queue(0).setInterrupts(false);
    guest.submit(0, [bytes(1), 1]);
    device.answer();
    assert.equal(transport.interrupts(), 0);
    guest.collect(0);
    guest.queue(0).setInterrupts(true);
    guest.submit(0, [bytes(1), 1]);
    device.answer();
    assert.equal(transport.interrupts(), 1);
  });

  test(`${name}: no buffer is forgotten while notifications are suppressed`, () => {
    const { device, guest } = build(style);
    guest.start({ queueSize: 16 });
    let answered = 0;
    for (let i = 0; i < 300; i++) {
      guest.submit(0, [bytes(i & 0xff), 1]);
      if (i % 3 === 0) {
        while (device.held.length > 0) {
          device.answer();
        }
        answered += guest.collect(0).length;
      }
    }
    while (device.held.length > 0) {
      device.answer();
    }
    assert.equal(answered + guest.collect(0).length, 300);
  });

  test(`${name}: a change of the configuration is told, read and counted`, () => {
    const { device, guest, transport } = build(style);
    guest.start();
    const before = transport.legacy ? 0 : transport.generation();
    device.config[2] = 99;
    device.transport?.configChanged();
    assert.equal(transport.interrupts(), 2);
    assert.equal(transport.readConfig(0, 4), 0x04630201);
    assert.equal(transport.readConfig(2, 1), 99);
    assert.equal(transport.readConfig(8, 4), 0, 'beyond its end');
    if (!transport.legacy) {
      assert.notEqual(transport.generation(), before);
    }
    transport.writeConfig(4, 2, 0xbbaa);
    assert.deepEqual(device.config.subarray(4, 6), bytes(0xaa, 0xbb));
  });

  test(`${name}: a reset with requests in flight takes them back, and the device starts anew`, () => {
    const { device, guest, transport } = build(style);
    guest.start();
    guest.submit(0, [bytes(1), 1]);
    const old = device.held[0];
    const queue = device.driver?.queues[0];
    assert.ok(old !== undefined && queue?.holds(old.chain) === true);
    guest.start();
    assert.equal(transport.interrupts(), 0);
    assert.equal(queue?.holds(old.chain), false);
    queue?.complete(old.chain, 1);
    assert.equal(guest.collect(0).length, 0, 'an answer to a request from before the reset');
    guest.submit(0, [bytes(7), 1]);
    device.answer();
    assert.deepEqual(guest.collect(0)[0]?.data, bytes(7));
  });

  test(`${name}: requests in flight move to another machine`, () => {
    const { device, guest } = build(style);
    guest.start({ queueSize: 8 });
    for (let i = 0; i < 11; i++) {
      guest.submit(0, [bytes(i), 1]);
      device.answer();
      guest.collect(0);
    }
    guest.submit(0, [bytes(50), 1]);
    guest.submit(0, [bytes(51), 1]);
    guest.submit(0, [bytes(52), 1]);
    device.answer(1);
    assert.equal(guest.collect(0)[0]?.data[0], 51);
    const saved = structuredClone(guest.transport.device.save());

    const target = new HoldingDevice();
    const other = new GuestDriver(target, style, guest.memory);
    other.transport.device.load(saved);
    assert.equal(target.held.length, 2);
    target.answer(1);
    target.answer(0);
    assert.deepEqual(
      guest.collect(0).map(({ data }) => data[0]),
      [52, 50],
    );
    assert.equal(other.transport.interrupts() & 1, 1);
  });

  // The legacy interface has no such thing.
  if (style.transport !== 'legacy') {
    test(`${name}: a queue can be reset and enabled again alone`, () => {
      const { device, guest, transport } = build(style);
      guest.start();
      assert.ok(guest.hasQueueReset);
      guest.submit(0, [bytes(1), 1]);
      guest.submit(1, [bytes(2), 1]);
      if (transport.core.queues[0] !== undefined) {
        transport.core.resetQueue(0);
      }
      assert.deepEqual(device.resets, [0]);
      assert.deepEqual(
        device.held.map(({ queue }) => queue),
        [1],
      );
      guest.queues[0] = guest.startQueue(0, 8);
      guest.submit(0, [bytes(3), 1]);
      device.answer(1);
      assert.deepEqual(guest.collect(0)[0]?.data, bytes(3));
      device.answer(0);
      assert.deepEqual(guest.collect(1)[0]?.data, bytes(2));
    });
  }

  virtioConformance(
    `holding device, ${name}`,
    () => {
      const device = new HoldingDevice();
      return {
        device,
        stir: (random) => device.answer(random.below(device.held.length + 1)),
        prove: (guest) => {
          guest.submit(0, [bytes(9), 1]);
          device.answer();
          assert.deepEqual(guest.collect(0)[0]?.data, bytes(9));
        },
      };
    },
    3,
  );
}

test('features that were not offered, or make no sense together, are refused', () => {
  for (const features of [VIRTIO_F_VERSION_1 | (1n << 20n), VIRTIO_F_VERSION_1 | 1n, 3n]) {
    const { transport } = build();
    transport.setStatus(STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    transport.setFeatures(features);
    transport.setStatus(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
    assert.equal(transport.status(), STATUS_ACKNOWLEDGE | STATUS_DRIVER, features.toString(16));
  }
});

test('features are settled once, until a reset', () => {
  const { transport, guest } = build();
  guest.start();
  transport.setFeatures(VIRTIO_F_VERSION_1);
  assert.equal(transport.core.driverFeatures, guest.features);
});

test('a status is never taken back but by a reset', () => {
  const { transport, guest } = build();
  guest.start();
  transport.setStatus(STATUS_ACKNOWLEDGE);
  assert.equal(transport.status(), 0x0f);
  transport.setStatus(0);
  assert.equal(transport.status(), 0);
});

test('nothing is taken from rings before the driver is ready, and all of it afterwards', () => {
  const { device, guest, transport } = build();
  const original = transport.setStatus.bind(transport);
  // The driver fills its rings while it sets them up.
  transport.setStatus = (value) => {
    if (value === 0x0f) {
      guest.queue(0).add([bytes(1), 1]);
      transport.notify(0);
      assert.equal(device.held.length, 0);
    }
    original(value);
  };
  guest.start();
  assert.equal(device.held.length, 1);
});

test('a legacy driver may use the device before it says that it is ready', () => {
  const { device, guest, transport } = build({ ...PLAIN_STYLE, transport: 'legacy' });
  const original = transport.setStatus.bind(transport);
  transport.setStatus = (value) => {
    if ((value & 4) !== 0) {
      guest.submit(0, [bytes(1), 1]);
      assert.equal(device.held.length, 1);
    }
    original(value);
  };
  guest.start();
  device.answer();
  assert.deepEqual(guest.collect(0)[0]?.data, bytes(1));
});

/** Rings that break the rules, one rule each. */
const BROKEN: readonly [what: string, style: Partial<DriverStyle>, breakIt: (guest: GuestDriver) => void][] = [
  ['an index too far ahead', {}, (guest) => guest.memory.writeU16(guest.queue(0).areas.driver + 2, 500)],
  [
    'a head outside the table',
    {},
    (guest) => {
      guest.memory.writeU16(guest.queue(0).areas.driver + 4, 64);
      guest.memory.writeU16(guest.queue(0).areas.driver + 2, 1);
    },
  ],
  [
    'a chain that bites its tail',
    {},
    (guest) => {
      guest.queue(0).add([bytes(1)]);
      const { descriptors } = guest.queue(0).areas;
      for (let i = 0; i < 64; i++) {
        guest.memory.writeU16(descriptors + 16 * i + 12, 1);
        guest.memory.writeU16(descriptors + 16 * i + 14, (i + 1) % 64);
      }
    },
  ],
  [
    'a readable segment behind a writable one',
    {},
    (guest) => {
      guest.queue(0).add([bytes(1), bytes(2)]);
      const first = guest.memory.readU16(guest.queue(0).areas.driver + 4);
      guest.memory.writeU16(guest.queue(0).areas.descriptors + 16 * first + 12, 3);
    },
  ],
  [
    'an indirect table that was not negotiated',
    {},
    (guest) => {
      guest.queue(0).add([bytes(1)], true);
    },
  ],
  [
    'an indirect table of no whole entries',
    { indirect: true },
    (guest) => {
      guest.queue(0).add([bytes(1)], true);
      const first = guest.memory.readU16(guest.queue(0).areas.driver + 4);
      guest.memory.writeU32(guest.queue(0).areas.descriptors + 16 * first + 8, 17);
    },
  ],
  [
    'an indirect table of four billion bytes',
    { indirect: true, packed: true },
    (guest) => {
      guest.queue(0).add([bytes(1)], true);
      guest.memory.writeU32(guest.queue(0).areas.descriptors + 8, 0xfffffff0);
    },
  ],
  [
    'a packed chain without end',
    { packed: true },
    (guest) => {
      guest.queue(0).add([bytes(1)]);
      for (let i = 0; i < 64; i++) {
        guest.memory.writeU16(guest.queue(0).areas.descriptors + 16 * i + 14, 0x81);
      }
    },
  ],
  [
    'an address beyond all memory',
    {},
    (guest) => {
      guest.queue(0).add([bytes(1)]);
      const first = guest.memory.readU16(guest.queue(0).areas.driver + 4);
      guest.memory.writeU32(guest.queue(0).areas.descriptors + 16 * first + 4, 0xffffffff);
    },
  ],
];

for (const [what, changes, breakIt] of BROKEN) {
  test(`${what} stops the device until a reset`, () => {
    const { device, guest, transport } = build({ ...PLAIN_STYLE, ...changes });
    guest.start();
    breakIt(guest);
    transport.notify(0);
    assert.equal(transport.status() & STATUS_NEEDS_RESET, STATUS_NEEDS_RESET);
    assert.equal(transport.interrupts() & 2, 2, 'the driver is told');
    assert.equal(device.held.length, 0);
    guest.start();
    assert.equal(transport.status() & STATUS_NEEDS_RESET, 0);
    guest.submit(0, [bytes(4), 1]);
    device.answer();
    assert.deepEqual(guest.collect(0)[0]?.data, bytes(4));
  });
}

test('one buffer made available without end does not pile up', () => {
  const { device, guest, transport } = build();
  guest.start({ queueSize: 8 });
  guest.submit(0, [bytes(1), 1]);
  for (let index = 2; index < 1000; index++) {
    guest.memory.writeU16(guest.queue(0).areas.driver + 2, index);
    transport.notify(0);
  }
  assert.ok(device.held.length <= 8);
  assert.equal(transport.status() & STATUS_NEEDS_RESET, STATUS_NEEDS_RESET);
});

test('queues of impossible sizes and places are not enabled', () => {
  const { guest, transport } = build();
  const original = transport.enableQueue.bind(transport);
  transport.enableQueue = (queue, size, areas) =>
    original(queue, size, queue === 0 ? { ...areas, descriptors: areas.descriptors + 1 } : areas);
  guest.start();
  assert.equal(transport.core.queues[0]?.enabled, false);
  assert.equal(transport.status() & STATUS_NEEDS_RESET, STATUS_NEEDS_RESET);
});
