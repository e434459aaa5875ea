import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Random } from '../../testing/random.ts';
import { GuestDriver, styleName, stylesOf } from '../testing/guest-driver.ts';
import { virtioConformance } from '../testing/virtio-suite.ts';
import { VIRTIO_ID } from '../virtio-device.ts';
import { VirtioKeyboard, VirtioMouse, VirtioTablet } from './input-devices.ts';
import * as input from './input-layout.ts';
import { KEY_CODES } from './key-codes.ts';
import type { VirtioInput } from './virtio-input.ts';

const EVENTS = input.INPUT_EVENT_QUEUE;
const STATUS = input.INPUT_STATUS_QUEUE;
const SYN = [0, 0, 0];

/** Gives the device room for so many events. */
function offer(guest: GuestDriver, count: number): void {
  for (let i = 0; i < count; i++) {
    guest.submit(EVENTS, [8]);
  }
}

/** The events that have come, as type, code and value. */
function take(guest: GuestDriver): number[][] {
  return guest.collect(EVENTS).map(({ length, data }) => {
    assert.equal(length, 8);
    const view = new DataView(data.buffer, data.byteOffset);
    return [view.getUint16(0, true), view.getUint16(2, true), view.getInt32(4, true)];
  });
}

/** What the device says when it is asked. */
function ask({ transport }: GuestDriver, select: number, subselect: number): number[] {
  transport.writeConfig(0, 1, select);
  transport.writeConfig(1, 1, subselect);
  return Array.from({ length: transport.readConfig(2, 1) }, (_, i) => transport.readConfig(8 + i, 1));
}

function bits(bytes: readonly number[]): number[] {
  return bytes.flatMap((byte, index) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => byte & (1 << bit)).map((bit) => index * 8 + bit),
  );
}

for (const style of stylesOf(VIRTIO_ID.input)) {
  test(`input, ${styleName(style)}: keys go to the guest as reports`, () => {
    const keyboard = new VirtioKeyboard();
    const guest = new GuestDriver(keyboard.device, style);
    keyboard.key('KeyA', true);
    guest.start();
    offer(guest, 32);
    assert.deepEqual(take(guest), [], 'what happened before there was a driver is gone');
    assert.ok(keyboard.key('KeyA', true));
    assert.ok(keyboard.key('KeyA', false));
    assert.equal(keyboard.key('Nonsense', true), false);
    assert.deepEqual(take(guest), [[1, 30, 1], SYN, [1, 30, 0], SYN]);
    assert.equal(guest.transport.interrupts() & 1, 1);
    keyboard.key('KeyB', false);
    assert.deepEqual(take(guest), [], 'a key that is not down cannot be released');
    keyboard.key('ShiftLeft', true);
    keyboard.key('ArrowUp', true);
    take(guest);
    keyboard.releaseAll();
    assert.deepEqual(take(guest), [[1, 42, 0], SYN, [1, 103, 0], SYN]);
    guest.transport.device.dispose();
  });
}

test('input: the configuration names the device, its keys, axes and lights', () => {
  const keyboard = new GuestDriver(new VirtioKeyboard().device);
  assert.equal(Buffer.from(ask(keyboard, input.INPUT_CFG_ID_NAME, 0)).toString(), 'Lodge Virtio Keyboard');
  assert.deepEqual(ask(keyboard, input.INPUT_CFG_ID_DEVIDS, 0), [6, 0, 0xf4, 0x1a, 1, 0, 1, 0]);
  assert.deepEqual(
    bits(ask(keyboard, input.INPUT_CFG_EV_BITS, input.EV_KEY)),
    [...KEY_CODES.values()].sort((a, b) => a - b),
  );
  assert.deepEqual(bits(ask(keyboard, input.INPUT_CFG_EV_BITS, input.EV_LED)), [0, 1, 2]);
  assert.deepEqual(bits(ask(keyboard, input.INPUT_CFG_EV_BITS, input.EV_REP)), [0, 1]);
  assert.deepEqual(ask(keyboard, input.INPUT_CFG_EV_BITS, input.EV_ABS), []);
  assert.deepEqual(ask(keyboard, input.INPUT_CFG_ID_SERIAL, 0), []);
  assert.deepEqual(ask(keyboard, 0x77, 3), []);
  const tablet = new GuestDriver(new VirtioTablet().device);
  assert.deepEqual(bits(ask(tablet, input.INPUT_CFG_EV_BITS, input.EV_ABS)), [0, 1]);
  assert.deepEqual(bits(ask(tablet, input.INPUT_CFG_EV_BITS, input.EV_KEY)), [0x110, 0x111, 0x112, 0x113, 0x114]);
  assert.deepEqual(ask(tablet, input.INPUT_CFG_ABS_INFO, 1), [0, 0, 0, 0, 0xff, 0x7f, ...new Array(14).fill(0)]);
  assert.deepEqual(ask(tablet, input.INPUT_CFG_ABS_INFO, 2), []);
});

test('input: the tablet sends places, buttons and the wheel in one report', () => {
  const tablet = new VirtioTablet();
  const guest = new GuestDriver(tablet.device);
  guest.start();
  offer(guest, 40);
  tablet.move(0.5, 1, 0, 1);
  tablet.move(-3, 0, 2, 1 | 4);
  tablet.move(0, 0, 0, 0);
  assert.deepEqual(take(guest), [
    [3, 0, 16384],
    [3, 1, 32767],
    [1, 0x110, 1],
    SYN,
    [3, 0, 0],
    [3, 1, 0],
    [1, 0x112, 1],
    [2, 8, -2],
    SYN,
    [3, 0, 0],
    [3, 1, 0],
    [1, 0x110, 0],
    [1, 0x112, 0],
    SYN,
  ]);
});

test('input: the mouse sends distances, and nothing when nothing happened', () => {
  const mouse = new VirtioMouse();
  const guest = new GuestDriver(mouse.device);
  guest.start();
  offer(guest, 40);
  mouse.move(0, 0, 0, 0);
  mouse.move(-4, 0, -1, 2);
  assert.deepEqual(take(guest), [[2, 0, -4], [1, 0x111, 1], [2, 8, 1], SYN]);
});

test('input: a report waits until it can go as a whole, and motion meanwhile becomes one', () => {
  const mouse = new VirtioMouse();
  const guest = new GuestDriver(mouse.device);
  guest.start();
  offer(guest, 2);
  mouse.move(1, 1, 0, 0);
  mouse.move(10, 0, 0, 0);
  mouse.move(10, 5, 0, 0);
  mouse.move(0, 0, 0, 1);
  mouse.move(1, 0, 0, 1);
  assert.deepEqual(take(guest), [], 'half a report is none');
  assert.equal(mouse.device.drained, false);
  offer(guest, 20);
  assert.deepEqual(take(guest), [
    [2, 0, 1],
    [2, 1, 1],
    SYN,
    [2, 0, 20],
    [2, 1, 5],
    SYN,
    [1, 0x110, 1],
    SYN,
    [2, 0, 1],
    SYN,
  ]);
  assert.ok(mouse.device.drained);
});

test('input: a driver that gives no buffers loses presses, but no key sticks', () => {
  const keyboard = new VirtioKeyboard();
  const guest = new GuestDriver(keyboard.device);
  guest.start();
  keyboard.key('ShiftLeft', true);
  for (let i = 0; i < 400; i++) {
    keyboard.key('KeyX', true);
    keyboard.key('KeyX', false);
  }
  keyboard.key('ShiftLeft', false);
  const down = new Set<number | undefined>();
  let events = 0;
  while (!keyboard.device.drained) {
    offer(guest, 20);
    for (const [type, code, value] of take(guest)) {
      events++;
      if (type === input.EV_KEY) {
        value === 1 ? down.add(code) : down.delete(code);
      }
    }
  }
  assert.ok(events < 1200 && events > 400, `${events}`);
  assert.equal(down.size, 0);
});

test('input: the guest switches lights, and other status is ignored', () => {
  const keyboard = new VirtioKeyboard();
  const guest = new GuestDriver(keyboard.device);
  guest.start();
  const status = (...events: (readonly [type: number, code: number, value: number])[]) => {
    const view = new DataView(new ArrayBuffer(events.length * 8));
    for (const [index, [type, code, value]] of events.entries()) {
      view.setUint16(index * 8, type, true);
      view.setUint16(index * 8 + 2, code, true);
      view.setUint32(index * 8 + 4, value, true);
    }
    assert.equal(guest.request(STATUS, [new Uint8Array(view.buffer)]).length, 0);
    return keyboard.leds;
  };
  assert.deepEqual(status([0x11, 1, 1], [0x11, 0, 1]), { numLock: true, capsLock: true, scrollLock: false });
  assert.deepEqual(status([0x11, 0, 0], [0x11, 40, 1], [0x14, 2, 1]), {
    numLock: false,
    capsLock: true,
    scrollLock: false,
  });
});

test('input: another machine goes on with reports that wait, and releases what is down', () => {
  const mouse = new VirtioMouse();
  const guest = new GuestDriver(mouse.device);
  guest.start();
  offer(guest, 1);
  mouse.move(3, 0, 0, 1);
  mouse.move(0, 4, 0, 1);
  const saved = structuredClone(guest.transport.device.save());
  const next = new VirtioMouse();
  const other = new GuestDriver(next.device, guest.style, guest.memory);
  other.transport.device.load(saved);
  other.queues = guest.queues;
  other.transport.plug();
  offer(other, 10);
  assert.deepEqual(take(other), [[2, 0, 3], [1, 0x110, 1], SYN, [2, 1, 4], SYN]);
  next.move(0, 0, 0, 0);
  assert.deepEqual(take(other), [[1, 0x110, 0], SYN], 'the hand over there is not on the button');
});

/** Buffers of all sizes, and lights. */
function buffer(random: Random, queue: number): (Uint8Array | number)[] {
  if (queue === EVENTS) {
    return [random.pick([8, 8, 8, 16, 3])];
  }
  const event = Uint8Array.of(0x11, 0, random.below(4), 0, random.below(2), 0, 0, 0);
  return [event.subarray(0, random.pick([8, 8, 5]))];
}

const kinds: readonly [name: string, make: () => { device: VirtioInput; stir(random: Random): void }][] = [
  [
    'keyboard',
    () => {
      const keyboard = new VirtioKeyboard();
      return {
        device: keyboard.device,
        stir: (random) => keyboard.key(random.pick(['KeyA', 'Enter', 'F5']), random.chance(1, 2)),
      };
    },
  ],
  [
    'tablet',
    () => {
      const tablet = new VirtioTablet();
      return {
        device: tablet.device,
        stir: (random) => tablet.move(random.below(100) / 100, 0.3, random.below(2), random.below(32)),
      };
    },
  ],
  [
    'mouse',
    () => {
      const mouse = new VirtioMouse();
      return {
        device: mouse.device,
        stir: (random) => mouse.move(random.below(100) - 50, random.below(5), random.below(2), random.below(32)),
      };
    },
  ],
];

for (const [name, make] of kinds) {
  virtioConformance(
    name,
    () => {
      const { device, stir } = make();
      return {
        device,
        stir,
        buffer,
        prove: (guest) => {
          offer(guest, 2);
          device.send([{ type: input.EV_KEY, code: 30, value: 1 }]);
          assert.deepEqual(take(guest), [[1, 30, 1], SYN]);
        },
      };
    },
    3,
  );
}
