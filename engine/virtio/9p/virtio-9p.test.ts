import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { LocalShare } from '../../backends/share/local-share.ts';
import { P9Server } from '../../backends/share/p9-server.ts';
import { message, P9Client, text, u16, u32, u64 } from '../../backends/share/testing/p9-client.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import type { Random } from '../../testing/random.ts';
import { DRIVER_STYLES, type DriverStyle, GuestDriver, PLAIN_STYLE, styleName } from '../testing/guest-driver.ts';
import { virtioConformance } from '../testing/virtio-suite.ts';
import { Virtio9p } from './virtio-9p.ts';

const TVERSION = 100;
const TATTACH = 104;
const TWALK = 110;
const TLOPEN = 12;
const TREAD = 116;
const TMKDIR = 72;
const RLERROR = 7;

const folder = mkdtempSync(join(tmpdir(), 'lodge-virtio-9p-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let count = 0;

/** A device with a share whose host does something only when `stir` is called. */
function buildDevice(path = join(folder, `${count++}`)) {
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'hello'), 'hello, world');
  const clock = new ManualClock();
  const actions: (() => void)[] = [];
  const server = new P9Server({ path, readOnly: false, onTrouble() {} });
  const share = new LocalShare(server, (action) => actions.push(action));
  const device = new Virtio9p({ share, clock }, 'shared');
  const stir = (times = 1000) => {
    for (const action of actions.splice(0, times)) {
      action();
    }
  };
  return { path, clock, device, share, stir, actions };
}

/** A client in a guest. */
function clientOf(guest: GuestDriver, stir: () => void): P9Client {
  return new P9Client((request) => {
    guest.submit(0, [request, 8192]);
    stir();
    const [completion] = guest.collect(0);
    assert.ok(completion !== undefined, 'no answer');
    return completion.data.subarray(0, completion.length);
  });
}

function build(style: DriverStyle = PLAIN_STYLE, path?: string, memory?: GuestDriver['memory']) {
  const parts = buildDevice(path);
  const guest = new GuestDriver(parts.device, style, memory);
  return { ...parts, guest, client: clientOf(guest, parts.stir) };
}

for (const style of DRIVER_STYLES) {
  test(`9p, ${styleName(style)}: messages go to the share and come back, however they are cut`, () => {
    const { guest, client, stir, path } = build(style);
    guest.start();
    client.start();
    assert.equal(client.read(client.open('hello')).toString(), 'hello, world');
    client.write(client.create('', 'new'), 0, 'x'.repeat(5000));
    assert.equal(readFileSync(join(path, 'new'), 'utf8').length, 5000);
    const walk = message(TWALK, u32(0), u32(77), u16(1), text('hello'));
    guest.submit(0, [walk.subarray(0, 3), walk.subarray(3), 5, 300]);
    stir();
    const [answer] = guest.collect(0);
    assert.equal(answer?.length, 7 + 2 + 13);
    assert.equal(answer?.data[4], TWALK + 1);
  });
}

test('9p: the configuration holds the mount tag', () => {
  const { guest } = build();
  guest.start();
  assert.equal(guest.transport.readConfig(0, 2), 6);
  const tag = Array.from({ length: 6 }, (_, i) => guest.transport.readConfig(2 + i, 1));
  assert.equal(String.fromCharCode(...tag), 'shared');
});

test('9p: what is no message, or has no room for an answer, comes back empty', () => {
  const { guest, client, stir } = build();
  guest.start();
  client.start();
  for (const segments of [
    [Uint8Array.of(1, 2, 3), 100],
    [message(TWALK, u32(0)), 10],
    [100],
    [message(TWALK, u32(0))],
  ]) {
    guest.submit(0, segments);
    stir();
    assert.equal(guest.collect(0)[0]?.length, 0);
  }
});

test('9p: a message longer than any session allows is refused with its tag', () => {
  const { guest, client } = build();
  guest.start();
  client.start();
  const long = Buffer.alloc(600_000);
  long.writeUInt16LE(0x1234, 5);
  guest.submit(0, [long, 100]);
  const [answer] = guest.collect(0);
  assert.deepEqual([...(answer?.data ?? [])].slice(0, answer?.length), [11, 0, 0, 0, RLERROR, 0x34, 0x12, 90, 0, 0, 0]);
});

test('9p: long reads get the room that they ask for', () => {
  const { guest, client, stir, path } = build();
  guest.start();
  client.start(500_000);
  writeFileSync(join(path, 'big'), Buffer.alloc(300_000, 'big'));
  const fid = client.open('big');
  guest.submit(0, [message(TREAD, u32(fid), u64(0), u32(299_000)), 300_000]);
  stir();
  const [answer] = guest.collect(0);
  assert.equal(answer?.length, 299_011);
  assert.deepEqual(Buffer.from(answer?.data ?? []).subarray(11, answer?.length), Buffer.alloc(299_000, 'big'));
});

test('9p: more messages than there is memory for wait their turn', () => {
  const { guest, client, stir, actions } = build();
  guest.start();
  client.start(500_000);
  const fid = client.open('hello');
  for (let i = 0; i < 20; i++) {
    guest.submit(0, [message(TREAD, u32(fid), u64(0), u32(400_000)), 400_011]);
  }
  assert.ok(actions.length < 20, `${actions.length} at once`);
  let answered = 0;
  for (let i = 0; i < 100; i++) {
    stir(1);
    answered += guest.collect(0).length;
  }
  assert.equal(answered, 20);
});

test('9p: what the host finishes after a reset touches nothing, and the session is over', () => {
  const { guest, client, stir } = build();
  guest.start();
  client.start();
  const fid = client.open('hello');
  guest.submit(0, [message(TREAD, u32(fid), u64(0), u32(100)), 200]);
  guest.start();
  guest.memory.bytes.fill(0, 2 << 20);
  stir();
  assert.equal(guest.memory.bytes.indexOf('h'.charCodeAt(0), 2 << 20), -1);
  assert.equal(guest.collect(0).length, 0);
  assert.throws(() => client.read(fid), { errno: 71 });
  client.start();
  assert.throws(() => client.read(fid), { errno: 9 });
});

test('9p: messages in flight are carried out once, and answered by the machine that takes over', () => {
  const { guest, client, clock, path } = build();
  guest.start();
  client.start();
  const fid = client.open('hello');
  guest.submit(0, [message(TMKDIR, u32(0), text('made'), u32(0o755), u32(0)), 100]);
  guest.submit(0, [message(TREAD, u32(fid), u64(7), u32(100)), 100]);
  const saved = structuredClone(guest.transport.device.save());
  assert.deepEqual(guest.transport.device.save(), saved);
  assert.equal(guest.collect(0).length, 0, 'guest memory is as it was saved');

  const second = build(PLAIN_STYLE, path, guest.memory);
  second.guest.transport.device.load(saved);
  assert.equal(guest.collect(0).length, 0, 'nothing happens before the machine runs');
  second.clock.advance(1);
  second.stir();
  const [made, read] = guest.collect(0);
  assert.equal(made?.data[4], TMKDIR + 1, 'not a second time, which would fail');
  assert.equal(Buffer.from(read?.data ?? []).toString('latin1', 11, read?.length), 'world');
  // And the first machine goes on as well.
  clock.advance(1);
});

test('9p: a state of another share is refused', () => {
  const { guest } = build();
  guest.start();
  const saved = guest.transport.device.save();
  const other = new GuestDriver(new Virtio9p({ share: build().share, clock: new ManualClock() }, 'other'));
  assert.throws(() => other.transport.device.load(saved), { name: 'HostError', code: 'bad-state' });
});

function almostMessage(random: Random): (Uint8Array | number)[] {
  const fid = () => u32(random.below(6));
  const name = () => text(random.pick(['hello', 'sub', '..', 'link', 'x', 'a/b']));
  const bytes = random.pick([
    () => message(TVERSION, u32(8192), text('9P2000.L')),
    () => message(TATTACH, fid(), u32(0xffffffff), text(''), text(''), u32(0)),
    () => message(TWALK, fid(), fid(), u16(1), name()),
    () => message(TLOPEN, fid(), u32(random.below(3))),
    () => message(TREAD, fid(), u64(random.below(20)), u32(random.below(5000))),
    () => message(118, fid(), u64(random.below(20)), u32(3), Buffer.from('abc')),
    () => message(14, fid(), name(), u32(2), u32(0o644), u32(0)),
    () => message(TMKDIR, fid(), name(), u32(0o755), u32(0)),
    () => message(120, fid()),
    () => message(random.below(130), fid(), u32(random.u32()), u32(random.u32())),
  ])();
  if (random.chance(1, 10)) {
    bytes[random.below(bytes.length)] = random.u32();
  }
  return [bytes, random.pick([0, 7, 11, 100, 5000])];
}

virtioConformance(
  '9p',
  () => {
    const { device, clock, stir, path } = buildDevice();
    symlinkSync('/', join(path, 'link'));
    return {
      device,
      clock,
      buffer: almostMessage,
      stir: (random) => stir(random.below(4)),
      prove: (guest) => {
        stir();
        const client = clientOf(guest, stir);
        client.start();
        assert.equal(client.attributes(0).type, 0x80);
      },
    };
  },
  4,
);
