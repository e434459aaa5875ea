import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Random } from '../../testing/random.ts';
import { DRIVER_STYLES, type DriverStyle, GuestDriver, PLAIN_STYLE, styleName } from '../testing/guest-driver.ts';
import { virtioConformance } from '../testing/virtio-suite.ts';
import { VIRTIO_CONSOLE_F_MULTIPORT, VirtioConsole } from './virtio-console.ts';

const CONTROL_RX = 2;
const CONTROL_TX = 3;
const PORT1_RX = 4;
const PORT1_TX = 5;
const PORT2_RX = 6;
const PORT2_TX = 7;

function build(style: DriverStyle = PLAIN_STYLE) {
  const said = ['', '', ''];
  const opened: [number, boolean][] = [];
  const room = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  const port = (index: number, name: string, console: boolean) => ({
    name,
    console,
    write: (bytes: Uint8Array) => {
      const count = Math.min(bytes.length, room[index] ?? 0);
      room[index] = (room[index] ?? 0) - count;
      said[index] += new TextDecoder().decode(bytes.subarray(0, count));
      return count;
    },
    opened: (open: boolean) => void opened.push([index, open]),
  });
  const device = new VirtioConsole([port(0, 'terminal', true), port(1, 'org.lodge.agent', false)], 3);
  const third = port(2, 'org.lodge.later', false);
  return { device, said, opened, room, third, guest: new GuestDriver(device, style) };
}

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (data: Uint8Array) => new TextDecoder().decode(data);

function message(port: number, event: number, value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, port, true);
  view.setUint16(4, event, true);
  view.setUint16(6, value, true);
  return new Uint8Array(view.buffer);
}

/** What the device says on the control channel: port, event, value, and text behind. */
function heard(guest: GuestDriver): [number, number, number, string][] {
  return guest.collect(CONTROL_RX).map(({ data, length }) => {
    const view = new DataView(data.buffer);
    const rest = text(data.subarray(8, length)).replace(/\0$/, '');
    return [view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true), rest];
  });
}

/** A driver of several ports, with both opened. */
function ready(built: ReturnType<typeof build>): ReturnType<typeof build> {
  const { guest } = built;
  guest.start();
  for (let i = 0; i < 24; i++) {
    guest.submit(CONTROL_RX, [64]);
  }
  guest.request(CONTROL_TX, [message(0, 0, 1)]);
  for (const port of [0, 1]) {
    guest.request(CONTROL_TX, [message(port, 3, 1)]);
    guest.request(CONTROL_TX, [message(port, 6, 1)]);
  }
  return built;
}

for (const style of DRIVER_STYLES) {
  test(`console, ${styleName(style)}: ports are announced, opened, written and read`, () => {
    const built = ready(build(style));
    const { device, guest, said, opened } = built;
    assert.deepEqual(heard(guest), [
      [0, 1, 1, ''],
      [1, 1, 1, ''],
      [0, 4, 1, ''],
      [0, 7, 1, 'terminal'],
      [0, 6, 1, ''],
      [1, 7, 1, 'org.lodge.agent'],
      [1, 6, 1, ''],
    ]);
    assert.deepEqual(opened, [
      [0, true],
      [1, true],
    ]);
    guest.request(1, [bytes('hello '), bytes('terminal')]);
    guest.request(PORT1_TX, [bytes('hello agent')]);
    assert.deepEqual(said, ['hello terminal', 'hello agent', '']);
    guest.submit(PORT1_RX, [4]);
    guest.submit(PORT1_RX, [64]);
    assert.equal(device.receive(1, bytes('question')), 8);
    assert.deepEqual(
      guest.collect(PORT1_RX).map(({ data, length }) => text(data.subarray(0, length))),
      ['ques', 'tion'],
    );
    device.setOpen(1, false);
    device.resize(100, 30);
    assert.deepEqual(heard(guest), [
      [1, 6, 0, ''],
      [0, 5, 0, 'd\0\x1e'],
    ]);
  });
}

test('console: a driver of one port has a terminal at once', () => {
  const { device, guest, said } = build();
  guest.start({ without: VIRTIO_CONSOLE_F_MULTIPORT, queues: 2 });
  guest.request(1, [bytes('plain')]);
  assert.equal(said[0], 'plain');
  guest.submit(0, [16]);
  device.receive(0, bytes('typed'));
  assert.equal(text(guest.collect(0)[0]?.data.subarray(0, 5) ?? new Uint8Array()), 'typed');
  guest.transport.interrupts();
  device.resize(132, 43);
  assert.equal(guest.transport.interrupts() & 2, 2);
  assert.equal(guest.transport.readConfig(0, 4), 132 | (43 << 16));
  guest.transport.writeConfig(8, 4, 0x21);
  assert.equal(said[0], 'plain!', 'an emergency write');
});

test('console: what the host does not take waits, and what the guest does not read is bounded', () => {
  const { device, guest, said, room } = ready(build());
  room[1] = 3;
  guest.submit(PORT1_TX, [bytes('abcdef')]);
  guest.submit(PORT1_TX, [bytes('ghi')]);
  assert.equal(said[1], 'abc');
  assert.equal(guest.collect(PORT1_TX).length, 0);
  room[1] = 4;
  device.writable(1);
  assert.equal(said[1], 'abcdefg');
  assert.equal(guest.collect(PORT1_TX).length, 1);
  device.setOpen(1, false);
  assert.equal(guest.collect(PORT1_TX).length, 1, 'a closed port swallows');
  assert.equal(device.receive(0, new Uint8Array(70_000)), 65_536);
  assert.equal(device.receive(0, new Uint8Array(1)), 0);
});

test('console: the size of the terminal is told when it is known', () => {
  const { device, guest } = build();
  device.resize(120, 40);
  guest.start();
  for (let i = 0; i < 4; i++) {
    guest.submit(CONTROL_RX, [64]);
  }
  guest.request(CONTROL_TX, [message(0, 3, 1)]);
  assert.deepEqual(heard(guest)[1], [0, 5, 0, 'x\0\x28']);
});

test('console: a port that comes, is used, and goes again', () => {
  const { device, guest, said, room, third } = ready(build());
  heard(guest);
  assert.equal(device.plug(1, third), false, 'the place is taken');
  assert.equal(device.plug(3, third), false, 'there is no such place');
  assert.equal(device.plug(2, third), true);
  assert.deepEqual(heard(guest), [[2, 1, 1, '']]);
  guest.request(CONTROL_TX, [message(2, 3, 1)]);
  guest.request(CONTROL_TX, [message(2, 6, 1)]);
  assert.deepEqual(heard(guest), [
    [2, 7, 1, 'org.lodge.later'],
    [2, 6, 1, ''],
  ]);
  guest.submit(PORT2_RX, [16]);
  device.receive(2, bytes('hello'));
  assert.equal(text(guest.collect(PORT2_RX)[0]?.data.subarray(0, 5) ?? new Uint8Array()), 'hello');
  room[2] = 1;
  guest.submit(PORT2_TX, [bytes('lost')]);
  assert.equal(guest.collect(PORT2_TX).length, 0);
  assert.equal(device.unplug(2), true);
  assert.equal(device.unplug(2), false);
  assert.equal(guest.collect(PORT2_TX).length, 1, 'a buffer half taken comes back');
  assert.deepEqual(heard(guest), [[2, 2, 1, '']]);
  guest.submit(PORT2_TX, [bytes('nobody')]);
  assert.equal(said[2], 'l');
  assert.equal(device.receive(2, bytes('nobody')), 6);
});

test('console: what the host said before it closed still reaches the guest', () => {
  const { device, guest } = ready(build());
  device.receive(1, bytes('bye'));
  device.setOpen(1, false);
  guest.submit(PORT1_RX, [16]);
  assert.equal(text(guest.collect(PORT1_RX)[0]?.data.subarray(0, 3) ?? new Uint8Array()), 'bye');
});

test('console: a state is not taken over by a console of other ports', () => {
  const { guest } = ready(build());
  const saved = structuredClone(guest.transport.device.save());
  const second = build();
  second.device.plug(2, second.third);
  const other = new GuestDriver(second.device, PLAIN_STYLE, guest.memory);
  assert.throws(() => other.transport.device.load(saved), { code: 'bad-state' });
});

test('console: bytes half taken and messages that wait move to another machine', () => {
  const { guest, room } = ready(build());
  heard(guest);
  room[1] = 2;
  guest.submit(PORT1_TX, [bytes('moving')]);
  const saved = structuredClone(guest.transport.device.save());
  const second = build();
  const other = new GuestDriver(second.device, PLAIN_STYLE, guest.memory);
  other.transport.device.load(saved);
  assert.equal(second.device.isOpen(1), true);
  second.device.writable(1);
  assert.equal(second.said[1], 'ving');
  assert.equal(guest.collect(PORT1_TX).length, 1);
});

virtioConformance(
  'console',
  () => {
    const { device, room, said, third } = build();
    device.plug(2, third);
    return {
      device,
      buffer: (random: Random, queue) => {
        if (queue === CONTROL_TX) {
          return [message(random.below(4), random.below(9), random.below(3)).subarray(0, 1 + random.below(8))];
        }
        return queue & 1 ? [bytes('x'.repeat(random.below(300)))] : [random.below(200)];
      },
      stir: (random) => {
        const port = random.below(3);
        room[port] = random.below(1000);
        device.writable(port);
        device.receive(port, new Uint8Array(random.below(300)));
        if (random.chance(1, 6)) {
          device.setOpen(port, random.chance(1, 2));
          device.resize(random.below(300), random.below(100));
        }
      },
      prove: (guest) => {
        room.fill(1000);
        device.setOpen(0, true);
        said[0] = '';
        guest.request(1, [bytes('alive')]);
        assert.equal(said[0], 'alive');
      },
    };
  },
  4,
);
