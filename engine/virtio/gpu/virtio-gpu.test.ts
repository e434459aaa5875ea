import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DisplayCursor, DisplaySink } from '../../backends/display.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { FakeMemory } from '../../testing/fakes.ts';
import type { Random } from '../../testing/random.ts';
import {
  type DriverStyle,
  GuestDriver,
  MEMORY_BYTES,
  PLAIN_STYLE,
  styleName,
  stylesOf,
} from '../testing/guest-driver.ts';
import { virtioConformance } from '../testing/virtio-suite.ts';
import { VIRTIO_ID } from '../virtio-device.ts';
import * as gpu from './gpu-layout.ts';
import { VirtioGpu } from './virtio-gpu.ts';

const CONTROL = gpu.GPU_CONTROL_QUEUE;
const CURSOR = gpu.GPU_CURSOR_QUEUE;
const BGRX = 2;
const RGBA = 67;
/** Guest memory that no buffer of the driver uses. */
const PIXELS = 0x180000;

/** What a head told its display. */
class Told implements DisplaySink {
  readonly shown: string[] = [];
  readonly damaged: string[] = [];
  readonly cursors: (DisplayCursor | undefined)[] = [];

  show({ width, height }: { width: number; height: number }): void {
    this.shown.push(`${width}x${height}`);
  }

  damage(x: number, y: number, width: number, height: number): void {
    this.damaged.push(`${x},${y} ${width}x${height}`);
  }

  cursor(cursor: DisplayCursor | undefined): void {
    this.cursors.push(cursor);
  }
}

function build(style: DriverStyle = PLAIN_STYLE, heads = 1, memory = new FakeMemory(MEMORY_BYTES)) {
  const clock = new ManualClock();
  const displays = Array.from({ length: heads }, () => new Told());
  const edid = ({ width, height }: { width: number; height: number }) =>
    new Uint8Array(Uint16Array.of(width, height).buffer);
  const device = new VirtioGpu({ memory, clock, edid, displays }, { size: { width: 1024, height: 768 } });
  const guest = new GuestDriver(device, style, memory);
  return { clock, displays, device, guest, memory };
}

/** A request of 32-bit fields behind its header. */
function request(type: number, fields: readonly number[] = [], header: { flags?: number; fence?: bigint } = {}) {
  const bytes = new Uint8Array(24 + fields.length * 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, header.flags ?? 0, true);
  view.setBigUint64(8, header.fence ?? 0n, true);
  view.setUint32(16, 5, true);
  for (const [index, field] of fields.entries()) {
    view.setUint32(24 + index * 4, field >>> 0, true);
  }
  return bytes;
}

const create = (id: number, width: number, height: number, format = BGRX) =>
  request(gpu.GPU_CMD_RESOURCE_CREATE_2D, [id, format, width, height]);
const attach = (id: number, ...entries: readonly (readonly [address: number, length: number])[]) =>
  request(gpu.GPU_CMD_RESOURCE_ATTACH_BACKING, [
    id,
    entries.length,
    ...entries.flatMap(([address, length]) => [address % 2 ** 32, Math.floor(address / 2 ** 32), length, 0]),
  ]);
const transfer = (id: number, area: readonly [number, number, number, number], offset = 0) =>
  request(gpu.GPU_CMD_TRANSFER_TO_HOST_2D, [...area, offset % 2 ** 32, Math.floor(offset / 2 ** 32), id, 0]);
const scanout = (index: number, id: number, area: readonly [number, number, number, number]) =>
  request(gpu.GPU_CMD_SET_SCANOUT, [...area, index, id]);
const flush = (id: number, area: readonly [number, number, number, number]) =>
  request(gpu.GPU_CMD_RESOURCE_FLUSH, [...area, id, 0]);
const unref = (id: number) => request(gpu.GPU_CMD_RESOURCE_UNREF, [id, 0]);
const cursor = (type: number, head: number, x: number, y: number, id: number, hotX = 0, hotY = 0) =>
  request(type, [head, x, y, 0, id, hotX, hotY, 0]);

/** Sends a request on the control queue; returns the type of its answer. */
function say(guest: GuestDriver, bytes: Uint8Array): number {
  const { length, data } = guest.request(CONTROL, [bytes, 24]);
  assert.equal(length, 24);
  return new DataView(data.buffer, data.byteOffset).getUint32(0, true);
}

function ok(guest: GuestDriver, ...requests: readonly Uint8Array[]): void {
  for (const bytes of requests) {
    assert.equal(say(guest, bytes), gpu.GPU_RESP_OK_NODATA);
  }
}

/** The picture of a head as red, green, blue and alpha. */
function picture(device: VirtioGpu, index = 0): { width: number; height: number; rgba: Uint8ClampedArray } {
  const head = device.heads[index];
  assert.ok(head !== undefined);
  const { width, height } = head;
  const rgba = new Uint8ClampedArray(width * height * 4);
  head.render({ width, height, rgba });
  return { width, height, rgba };
}

const pixel = ({ width, rgba }: ReturnType<typeof picture>, x: number, y: number) => [
  ...rgba.subarray((y * width + x) * 4, (y * width + x) * 4 + 4),
];

for (const style of stylesOf(VIRTIO_ID.gpu)) {
  test(`gpu, ${styleName(style)}: a picture goes from guest memory to the screen`, () => {
    const { device, guest, memory, displays } = build(style);
    guest.start();
    const [told] = displays;
    // 4 × 3 pixels in two pieces of memory that do not touch; blue, green, red, unused.
    for (let i = 0; i < 12; i++) {
      const at = i < 5 ? PIXELS + i * 4 : PIXELS + 0x1000 + (i - 5) * 4;
      memory.write(at, Uint8Array.of(i, 100 + i, 200 + i, 0));
    }
    ok(guest, create(7, 4, 3), attach(7, [PIXELS, 20], [PIXELS + 0x1000, 28]));
    ok(guest, transfer(7, [0, 0, 4, 3]), scanout(0, 7, [0, 0, 4, 3]), flush(7, [0, 0, 4, 3]));
    device.heads[0]?.refresh();
    assert.deepEqual(told?.shown, ['4x3']);
    assert.deepEqual(told?.damaged, ['0,0 4x3']);
    const shown = picture(device);
    for (let i = 0; i < 12; i++) {
      assert.deepEqual(pixel(shown, i % 4, i >> 2), [200 + i, 100 + i, i, 255]);
    }
    // One pixel changes: only what was transferred is seen, and only what was flushed is told.
    memory.write(PIXELS + 0x1000 + 4, Uint8Array.of(1, 2, 3, 0));
    memory.write(PIXELS + 0x1000 + 8, Uint8Array.of(9, 9, 9, 0));
    ok(guest, transfer(7, [2, 1, 1, 1], 4 * 4 + 2 * 4), flush(7, [2, 1, 1, 1]));
    device.heads[0]?.refresh();
    assert.deepEqual(told?.damaged.slice(1), ['2,1 1x1']);
    assert.deepEqual(pixel(picture(device), 2, 1), [3, 2, 1, 255]);
    assert.deepEqual(pixel(picture(device), 3, 1), [207, 107, 7, 255]);
    device.heads[0]?.refresh();
    assert.equal(told?.damaged.length, 2, 'nothing new');
    guest.transport.device.dispose();
  });
}

test('gpu: all formats come out with their colours', () => {
  const { device, guest, memory } = build();
  guest.start();
  const orders = new Map([
    [1, 'bgra'],
    [2, 'bgrx'],
    [3, 'argb'],
    [4, 'xrgb'],
    [67, 'rgba'],
    [68, 'xbgr'],
    [121, 'abgr'],
    [134, 'rgbx'],
  ]);
  const values: Record<string, number> = { r: 10, g: 20, b: 30, a: 40, x: 50 };
  for (const [format, order] of orders) {
    memory.write(
      PIXELS,
      Uint8Array.from([...order], (component) => values[component] ?? 0),
    );
    ok(guest, create(format, 1, 1, format), attach(format, [PIXELS, 4]), transfer(format, [0, 0, 1, 1]));
    ok(guest, scanout(0, format, [0, 0, 1, 1]));
    assert.deepEqual(pixel(picture(device), 0, 0), [10, 20, 30, 255], order);
  }
});

test('gpu: fences, contexts and errors come back as the specification says', () => {
  const { guest } = build();
  guest.start();
  const fenced = guest.request(CONTROL, [
    request(gpu.GPU_CMD_RESOURCE_UNREF, [99, 0], { flags: 1, fence: 0x1122334455667788n }),
    24,
  ]);
  const view = new DataView(fenced.data.buffer, fenced.data.byteOffset);
  assert.equal(view.getUint32(0, true), gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID);
  assert.equal(view.getUint32(4, true), 1);
  assert.equal(view.getBigUint64(8, true), 0x1122334455667788n);
  assert.equal(view.getUint32(16, true), 5);
  ok(guest, create(1, 16, 16));
  for (const [bytes, error] of [
    [request(0x0108), gpu.GPU_RESP_ERR_UNSPEC],
    [create(1, 16, 16), gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID],
    [create(0, 16, 16), gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID],
    [create(2, 0, 16), gpu.GPU_RESP_ERR_INVALID_PARAMETER],
    [create(2, 16, 16, 5), gpu.GPU_RESP_ERR_INVALID_PARAMETER],
    [create(2, 16384, 16384), gpu.GPU_RESP_ERR_OUT_OF_MEMORY],
    [transfer(1, [0, 0, 16, 16]), gpu.GPU_RESP_ERR_UNSPEC],
    [transfer(5, [0, 0, 16, 16]), gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID],
    [attach(5, [0, 16]), gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID],
    [attach(1, [0, 16]).subarray(0, 40), gpu.GPU_RESP_ERR_INVALID_PARAMETER],
    [attach(1, [2 ** 53, 16]), gpu.GPU_RESP_ERR_INVALID_PARAMETER],
    [request(gpu.GPU_CMD_RESOURCE_ATTACH_BACKING, [1, 0xffffffff]), gpu.GPU_RESP_ERR_UNSPEC],
    [request(gpu.GPU_CMD_RESOURCE_DETACH_BACKING, [1, 0]), gpu.GPU_RESP_ERR_UNSPEC],
    [scanout(1, 1, [0, 0, 16, 16]), gpu.GPU_RESP_ERR_INVALID_SCANOUT_ID],
    [scanout(0, 9, [0, 0, 16, 16]), gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID],
    [scanout(0, 1, [8, 0, 16, 16]), gpu.GPU_RESP_ERR_INVALID_PARAMETER],
    [scanout(0, 1, [0xfffffff8, 0, 16, 16]), gpu.GPU_RESP_ERR_INVALID_PARAMETER],
    [scanout(0, 1, [0, 0, 0, 16]), gpu.GPU_RESP_ERR_INVALID_PARAMETER],
    [flush(1, [0, 0, 17, 1]), gpu.GPU_RESP_ERR_INVALID_PARAMETER],
    [flush(9, [0, 0, 1, 1]), gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID],
    [request(gpu.GPU_CMD_GET_EDID, [1, 0]), gpu.GPU_RESP_ERR_INVALID_PARAMETER],
    [new Uint8Array(3), gpu.GPU_RESP_ERR_UNSPEC],
  ] as const) {
    assert.equal(say(guest, bytes), error);
  }
  assert.equal(guest.request(CONTROL, [create(3, 4, 4), 8]).length, 0, 'no room for an answer');
});

test('gpu: resources take room only while they exist', () => {
  const { guest } = build();
  guest.start();
  let made = 0;
  while (say(guest, create(made + 1, 4096, 2048)) === gpu.GPU_RESP_OK_NODATA) {
    made++;
  }
  assert.equal(made, 7);
  ok(guest, unref(3), create(9, 4096, 2048));
});

test('gpu: a resource that goes away leaves its scanouts black', () => {
  const { device, guest } = build();
  guest.start();
  ok(guest, create(1, 8, 8), scanout(0, 1, [0, 0, 8, 8]));
  assert.ok(device.heads[0]?.active);
  ok(guest, unref(1));
  assert.equal(device.heads[0]?.active, false);
  const { width, height } = picture(device);
  assert.deepEqual([width, height], [1024, 768]);
  assert.deepEqual(pixel(picture(device), 5, 5), [0, 0, 0, 255]);
});

test('gpu: a window that was resized reaches the guest as an event, display information and EDID', () => {
  const { device, guest } = build(PLAIN_STYLE, 2);
  guest.start();
  assert.notEqual(guest.features & gpu.VIRTIO_GPU_F_EDID, 0n);
  assert.equal(guest.transport.readConfig(8, 4), 2);
  assert.equal(guest.transport.readConfig(0, 4), 0);
  device.resize(1, { width: 1280.7, height: 50 });
  assert.equal(guest.transport.interrupts() & 2, 2);
  assert.equal(guest.transport.readConfig(0, 4), gpu.GPU_EVENT_DISPLAY);
  guest.transport.writeConfig(4, 4, gpu.GPU_EVENT_DISPLAY);
  assert.equal(guest.transport.readConfig(0, 4), 0);
  device.resize(1, { width: 1280, height: 200 });
  assert.equal(guest.transport.interrupts() & 2, 0, 'nothing has changed');
  const info = guest.request(CONTROL, [request(gpu.GPU_CMD_GET_DISPLAY_INFO), 408]);
  assert.equal(info.length, 408);
  const view = new DataView(info.data.buffer, info.data.byteOffset);
  const entry = (index: number) => [0, 1, 2, 3, 4].map((word) => view.getUint32(24 + index * 24 + word * 4, true));
  assert.deepEqual(entry(0), [0, 0, 1024, 768, 1]);
  assert.deepEqual(entry(1), [1024, 0, 1280, 200, 1]);
  assert.deepEqual(entry(2), [0, 0, 0, 0, 0]);
  const edid = guest.request(CONTROL, [request(gpu.GPU_CMD_GET_EDID, [1, 0]), 1056]);
  assert.equal(edid.length, 1056);
  const answer = new DataView(edid.data.buffer, edid.data.byteOffset);
  assert.equal(answer.getUint32(0, true), gpu.GPU_RESP_OK_EDID);
  assert.equal(answer.getUint32(24, true), 4);
  assert.deepEqual([answer.getUint16(32, true), answer.getUint16(34, true)], [1280, 200]);
});

test('gpu: two scanouts show parts of one resource, and each hears only of its own damage', () => {
  const { device, guest, displays } = build(PLAIN_STYLE, 2);
  guest.start();
  ok(guest, create(1, 20, 10), scanout(0, 1, [0, 0, 10, 10]), scanout(1, 1, [10, 0, 10, 10]));
  for (const head of device.heads) {
    head.refresh();
  }
  ok(guest, flush(1, [8, 2, 1, 1]), flush(1, [9, 4, 3, 2]));
  for (const head of device.heads) {
    head.refresh();
  }
  assert.deepEqual(displays[0]?.damaged.slice(1), ['8,2 1x1', '9,4 1x2']);
  assert.deepEqual(displays[1]?.damaged.slice(1), ['0,4 2x2']);
});

test('gpu: damage that nobody looks at stays small', () => {
  const { device, guest, displays } = build();
  guest.start();
  ok(guest, create(1, 200, 200), scanout(0, 1, [0, 0, 200, 200]));
  device.heads[0]?.refresh();
  for (let i = 0; i < 100; i++) {
    ok(guest, flush(1, [i, i, 2, 2]));
  }
  device.heads[0]?.refresh();
  const damaged = displays[0]?.damaged.slice(1) ?? [];
  assert.ok(damaged.length <= 32 && damaged[0]?.startsWith('0,0 '), damaged.join('; '));
});

test('gpu: the pointer has an image, a place and a hot spot, and can be hidden', () => {
  const { device, guest, memory, displays } = build();
  guest.start();
  // Half transparent red, premultiplied as planes are: it comes out in full colour.
  const line = new Uint8Array(64 * 4);
  line.set([0, 0, 128, 128]);
  memory.write(PIXELS, line);
  // Linux makes it in a format that says nothing of transparency.
  ok(guest, create(3, 64, 64, BGRX), attach(3, [PIXELS, 64 * 64 * 4]), transfer(3, [0, 0, 64, 64]));
  const move = (bytes: Uint8Array) => {
    assert.equal(guest.request(CURSOR, [bytes]).length, 0);
    device.heads[0]?.refresh();
    return displays[0]?.cursors.at(-1);
  };
  const shown = move(cursor(gpu.GPU_CMD_UPDATE_CURSOR, 0, 100, -5, 3, 4, 6));
  assert.equal(shown?.visible, true);
  assert.deepEqual([shown?.x, shown?.y, shown?.image.hotX, shown?.image.hotY], [100, -5, 4, 6]);
  assert.deepEqual([...(shown?.image.rgba.subarray(0, 8) ?? [])], [255, 0, 0, 128, 0, 0, 0, 0]);
  ok(guest, unref(3));
  const moved = move(cursor(gpu.GPU_CMD_MOVE_CURSOR, 0, 7, 8, 0));
  assert.deepEqual([moved?.visible, moved?.x, moved?.y], [true, 7, 8]);
  assert.equal(moved?.image, shown?.image, 'the same image');
  assert.equal(move(cursor(gpu.GPU_CMD_UPDATE_CURSOR, 0, 7, 8, 0))?.visible, false);
  guest.start();
  device.heads[0]?.refresh();
  assert.equal(displays[0]?.cursors.at(-1), undefined, 'a new driver has none');
});

test('gpu: many large requests are carried out in several turns', () => {
  const { clock, guest } = build();
  guest.start({ queueSize: 256 });
  ok(guest, create(1, 4096, 2048), attach(1, [PIXELS, 4096 * 2048 * 4]));
  const queue = guest.queue(CONTROL);
  for (let i = 0; i < 6; i++) {
    queue.add([transfer(1, [0, 0, 4096, 2048]), 24]);
  }
  guest.transport.notify(CONTROL);
  const first = queue.collect().length;
  assert.ok(first > 0 && first < 6, `${first} at once`);
  for (let turn = 0; turn < 6; turn++) {
    clock.advance(1);
  }
  assert.equal(queue.collect().length, 6 - first);
});

test('gpu: another machine goes on with pictures, pointer and requests of the first one', () => {
  const { clock, device, guest, memory } = build(PLAIN_STYLE, 2);
  guest.start();
  memory.bytes.fill(0x44, PIXELS, PIXELS + 0x4000);
  ok(guest, create(1, 64, 64, RGBA), attach(1, [PIXELS, 0x4000]), transfer(1, [0, 0, 64, 64]));
  ok(guest, scanout(1, 1, [0, 0, 64, 64]));
  guest.request(CURSOR, [cursor(gpu.GPU_CMD_UPDATE_CURSOR, 1, 3, 4, 1)]);
  device.resize(1, { width: 800, height: 600 });
  const saved = structuredClone(guest.transport.device.save());
  memory.bytes.fill(0x55, PIXELS, PIXELS + 0x4000);
  const other = build(PLAIN_STYLE, 2, memory);
  other.guest.queues = guest.queues;
  other.guest.transport.plug();
  other.guest.transport.device.load(saved);
  other.clock.advance(clock.now() + 1);
  assert.deepEqual(pixel(picture(other.device, 1), 63, 63), [0x44, 0x44, 0x44, 255]);
  assert.equal(other.device.heads[1]?.cursor?.x, 3);
  assert.deepEqual(other.device.heads[1]?.wanted, { width: 800, height: 600 });
});

test('gpu: a saved state that does not add up changes nothing', () => {
  const { device, guest } = build();
  guest.start();
  ok(guest, create(1, 8, 8), scanout(0, 1, [0, 0, 8, 8]));
  const saved = JSON.stringify(guest.transport.device.save(), (_key, value: unknown) =>
    typeof value === 'bigint'
      ? `big ${value}`
      : value instanceof Uint8Array
        ? `bytes ${Buffer.from(value).toString('hex')}`
        : value,
  );
  const revive = (text: string) =>
    JSON.parse(text, (_key, value: unknown) => {
      if (typeof value !== 'string') {
        return value;
      }
      return value.startsWith('big ')
        ? BigInt(value.slice(4))
        : value.startsWith('bytes ')
          ? new Uint8Array(Buffer.from(value.slice(6), 'hex'))
          : value;
    });
  guest.transport.device.load(revive(saved));
  for (const [from, to] of [
    ['"resource":1,', '"resource":2,'],
    ['"format":2', '"format":99'],
    ['"width":8', '"width":9'],
    ['"id":1', '"id":0'],
  ] as const) {
    assert.ok(saved.includes(from), from);
    assert.throws(() => guest.transport.device.load(revive(saved.replace(from, to))), { code: 'bad-state' });
    assert.ok(device.heads[0]?.active);
  }
});

/** A request that nearly makes sense. */
function nearly(random: Random, queue: number): (Uint8Array | number)[] {
  const small = () => random.pick([0, 1, 2, 3, 8, 16, 64, random.below(80), random.chance(1, 20) ? random.u32() : 5]);
  const id = () => random.pick([1, 2, 3, random.below(6)]);
  const area = () => [small(), small(), small(), small()] as const;
  const room = random.pick([24, 24, 24, 8, 408, 1056]);
  if (queue === CURSOR) {
    const type = random.pick([gpu.GPU_CMD_UPDATE_CURSOR, gpu.GPU_CMD_MOVE_CURSOR, random.u32()]);
    return [cursor(type, random.below(3), small(), random.u32(), id(), small(), small())];
  }
  const bytes = random.pick([
    () => create(id(), small(), small(), random.pick([...gpu.GPU_FORMATS.keys(), random.below(200)])),
    () =>
      attach(id(), ...Array.from({ length: random.below(5) }, () => [random.below(1 << 24), small() * 64] as const)),
    () => transfer(id(), area(), small()),
    () => scanout(random.below(3), id(), area()),
    () => flush(id(), area()),
    () => unref(id()),
    () => request(gpu.GPU_CMD_RESOURCE_DETACH_BACKING, [id(), 0]),
    () => request(gpu.GPU_CMD_GET_DISPLAY_INFO),
    () => request(gpu.GPU_CMD_GET_EDID, [small(), 0]),
    () => request(0x100 + random.below(0x20), [small(), small(), small()]),
  ])();
  return [random.chance(1, 10) ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes, room];
}

virtioConformance(
  'gpu',
  () => {
    const { device, clock } = build(PLAIN_STYLE, 2);
    return {
      device,
      clock,
      buffer: nearly,
      stir: (random) => {
        if (random.chance(1, 2)) {
          device.resize(random.below(3), { width: random.below(5000), height: random.below(5000) });
        } else {
          device.heads[random.below(2)]?.refresh();
          picture(device, random.below(2));
        }
      },
      prove: (guest) => ok(guest, create(1, 8, 8), scanout(0, 1, [0, 0, 8, 8])),
    };
  },
  3,
);
