import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AudioFormat, type AudioSource, frameBytes } from '../../backends/audio/audio-backend.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import type { Random } from '../../testing/random.ts';
import { DRIVER_STYLES, type DriverStyle, GuestDriver, PLAIN_STYLE, styleName } from '../testing/guest-driver.ts';
import { virtioConformance } from '../testing/virtio-suite.ts';
import * as layout from './sound-layout.ts';
import { VirtioSound } from './virtio-sound.ts';

const { CONTROL_QUEUE, EVENT_QUEUE, PLAYBACK_QUEUE, CAPTURE_QUEUE, S_OK, S_BAD_MSG, S_NOT_SUPP, S_IO_ERR } = layout;
const S16 = 5;
const RATE_8000 = 1;
const RATE_48000 = 7;
/** Bytes of 10 ms at 48 kHz, 16 bits, stereo. */
const PERIOD = 1920;
const MILLISECOND = 1_000_000;

function build(style: DriverStyle = PLAIN_STYLE, only?: AudioFormat) {
  const clock = new ManualClock();
  const played: number[] = [];
  const formats: AudioFormat[] = [];
  let next = 0;
  const source: AudioSource = {
    format: only,
    record: (_format, into) => {
      for (let i = 0; i < into.length; i++) {
        into[i] = next++ & 0xff;
      }
    },
    dispose() {},
  };
  const device = new VirtioSound({
    clock,
    sink: {
      play(format, samples) {
        assert.equal(samples.length % frameBytes(format), 0, 'whole frames');
        formats.push(format);
        played.push(...samples);
      },
      dispose() {},
    },
    source,
  });
  return { device, clock, played, formats, guest: new GuestDriver(device, style) };
}

function words(...values: number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 4));
  for (const [index, value] of values.entries()) {
    view.setUint32(index * 4, value, true);
  }
  return new Uint8Array(view.buffer);
}

const status = (data: Uint8Array) => new DataView(data.buffer, data.byteOffset).getUint32(0, true);

function request(guest: GuestDriver, ...values: number[]): number {
  return status(guest.request(CONTROL_QUEUE, [words(...values), 4]).data);
}

/** Word of channels, format and rate in SET_PARAMS. */
const kind = (channels: number, format: number, rate: number) => channels | (format << 8) | (rate << 16);

function setParams(guest: GuestDriver, stream: number, what = kind(2, S16, RATE_48000), period = PERIOD): number {
  return request(guest, layout.R_PCM_SET_PARAMS, stream, period * 4, period, 0, what);
}

/** A started driver with a stream that is running. */
function running(built: ReturnType<typeof build>, stream: number): ReturnType<typeof build> {
  const { guest } = built;
  guest.start();
  assert.equal(setParams(guest, stream), S_OK);
  assert.equal(request(guest, layout.R_PCM_PREPARE, stream), S_OK);
  assert.equal(request(guest, layout.R_PCM_START, stream), S_OK);
  return built;
}

const samples = (first: number, length = PERIOD) => Uint8Array.from({ length }, (_, i) => (first + i) & 0xff);

function play(guest: GuestDriver, first: number, length = PERIOD): void {
  guest.submit(PLAYBACK_QUEUE, [words(0), samples(first, length), 8]);
}

const statuses = (guest: GuestDriver, queue: number) =>
  guest.collect(queue).map(({ data, length }) => [length, status(data.subarray(length - 8))]);

// There never was a legacy driver for it.
for (const style of DRIVER_STYLES.filter(({ transport }) => transport !== 'legacy')) {
  test(`sound, ${styleName(style)}: buffers are played one after the other at the stream's rate`, () => {
    const built = build(style);
    const { guest, clock, played, formats } = built;
    guest.start();
    setParams(guest, 0);
    request(guest, layout.R_PCM_PREPARE, 0);
    play(guest, 1);
    play(guest, 2);
    clock.advance(50 * MILLISECOND);
    assert.equal(played.length, 0, 'not started yet');
    assert.equal(request(guest, layout.R_PCM_START, 0), S_OK);
    clock.advance(10 * MILLISECOND - 1);
    assert.deepEqual(statuses(guest, PLAYBACK_QUEUE), []);
    clock.advance(1);
    assert.deepEqual(statuses(guest, PLAYBACK_QUEUE), [[8, S_OK]]);
    assert.deepEqual(played, [...samples(1)]);
    clock.advance(10 * MILLISECOND);
    assert.deepEqual(statuses(guest, PLAYBACK_QUEUE), [[8, S_OK]]);
    assert.deepEqual(played, [...samples(1), ...samples(2)]);
    assert.deepEqual(formats[0], { encoding: 's16', channels: 2, rate: 48_000 });
    guest.transport.device.dispose();
  });
}

test('sound: what the guest is told about jacks, streams and channels', () => {
  const { guest } = build();
  guest.start();
  assert.equal(guest.transport.readConfig(0, 4), 2);
  assert.equal(guest.transport.readConfig(4, 4), 2);
  assert.equal(guest.transport.readConfig(8, 4), 4);
  const info = (code: number, id: number, bytes: number) => {
    const { data, length } = guest.request(CONTROL_QUEUE, [words(code, id, 1, bytes), 4, bytes]);
    assert.deepEqual([length, status(data)], [4 + bytes, S_OK]);
    return new DataView(data.buffer, data.byteOffset + 4);
  };
  const jack = info(layout.R_JACK_INFO, 1, 24);
  assert.equal(jack.getUint8(16), 1);
  assert.equal(jack.getUint32(12, true), layout.PIN_INPUT | layout.PIN_PRESENCE);
  const stream = info(layout.R_PCM_INFO, 1, 32);
  assert.equal(stream.getBigUint64(8, true), (1n << 4n) | (1n << 5n) | (1n << 11n) | (1n << 17n) | (1n << 19n));
  assert.equal(stream.getBigUint64(16, true), 0x1ffen);
  assert.deepEqual(
    [24, 25, 26].map((at) => stream.getUint8(at)),
    [1, 1, 2],
  );
  const map = info(layout.R_CHMAP_INFO, 1, 24);
  assert.deepEqual(
    [4, 5, 6, 7, 8].map((at) => map.getUint8(at)),
    [0, 2, 3, 4, 0],
  );
  const { data } = guest.request(CONTROL_QUEUE, [words(layout.R_PCM_INFO, 0, 2, 32), 68]);
  assert.equal(data[4 + 32 + 24], 1, 'the second of two');
});

test('sound: requests that make no sense are refused', () => {
  const { guest } = build();
  guest.start();
  const info = layout.R_PCM_INFO;
  for (const [values, expected] of [
    [[info, 0, 3, 32], S_BAD_MSG],
    [[info, 2, 1, 32], S_BAD_MSG],
    [[info, 0, 1, 31], S_BAD_MSG],
    [[info, 0, 0xffffffff, 32], S_BAD_MSG],
    [[info, 0], S_BAD_MSG],
    [[layout.R_JACK_REMAP, 0, 0, 0], S_NOT_SUPP],
    [[0x777], S_NOT_SUPP],
    [[layout.R_PCM_START], S_BAD_MSG],
    [[layout.R_PCM_START, 0], S_BAD_MSG],
    [[layout.R_PCM_PREPARE, 0], S_BAD_MSG],
    [[layout.R_PCM_PREPARE, 7], S_BAD_MSG],
    [[layout.R_PCM_SET_PARAMS, 0, PERIOD, PERIOD, 0], S_BAD_MSG],
    [[layout.R_PCM_SET_PARAMS, 0, PERIOD, 0, 0, kind(2, S16, RATE_48000)], S_BAD_MSG],
    [[layout.R_PCM_SET_PARAMS, 0, PERIOD + 1, PERIOD, 0, kind(2, S16, RATE_48000)], S_BAD_MSG],
    [[layout.R_PCM_SET_PARAMS, 0, 2 << 20, 2 << 20, 0, kind(2, S16, RATE_48000)], S_BAD_MSG],
    [[layout.R_PCM_SET_PARAMS, 0, PERIOD, PERIOD, 0, kind(3, S16, RATE_48000)], S_NOT_SUPP],
    [[layout.R_PCM_SET_PARAMS, 0, PERIOD, PERIOD, 0, kind(0, S16, RATE_48000)], S_NOT_SUPP],
    [[layout.R_PCM_SET_PARAMS, 0, PERIOD, PERIOD, 0, kind(2, 0, RATE_48000)], S_NOT_SUPP],
    [[layout.R_PCM_SET_PARAMS, 0, PERIOD, PERIOD, 0, kind(2, S16, 0)], S_NOT_SUPP],
    [[layout.R_PCM_SET_PARAMS, 0, PERIOD, PERIOD, 0, kind(2, S16, 13)], S_NOT_SUPP],
    [[layout.R_PCM_SET_PARAMS, 0, PERIOD, PERIOD, 0, kind(2, 255, 255)], S_NOT_SUPP],
  ] as const) {
    assert.equal(request(guest, ...values), expected, values.join());
  }
  assert.equal(status(guest.request(CONTROL_QUEUE, [Uint8Array.of(1), 4]).data), S_BAD_MSG);
  assert.equal(guest.request(CONTROL_QUEUE, [words(info, 0, 2, 32), 30]).length, 4, 'no room for the answer');
});

test('sound: a stream goes through its life, and nothing out of turn', () => {
  const { guest } = build();
  guest.start();
  const { R_PCM_PREPARE, R_PCM_START, R_PCM_STOP, R_PCM_RELEASE } = layout;
  const can = (code: number) => request(guest, code, 0) === S_OK;
  assert.equal(setParams(guest, 0), S_OK);
  assert.deepEqual([R_PCM_START, R_PCM_STOP, R_PCM_RELEASE].map(can), [false, false, false]);
  assert.deepEqual([R_PCM_PREPARE, R_PCM_PREPARE, R_PCM_STOP, R_PCM_START, R_PCM_START].map(can), [
    true,
    true,
    false,
    true,
    false,
  ]);
  assert.equal(setParams(guest, 0), S_BAD_MSG, 'while it runs');
  assert.deepEqual([R_PCM_PREPARE, R_PCM_RELEASE, R_PCM_STOP, R_PCM_START, R_PCM_STOP].map(can), [
    false,
    false,
    true,
    true,
    true,
  ]);
  assert.deepEqual([R_PCM_RELEASE, R_PCM_START, R_PCM_PREPARE, R_PCM_START].map(can), [true, false, true, true]);
});

test('sound: buffers that belong to no stream come back at once', () => {
  const { guest } = build();
  guest.start();
  const answer = (queue: number, ...segments: (Uint8Array | number)[]) => {
    const { data, length } = guest.request(queue, segments);
    return [length, status(data.subarray(length - 8))];
  };
  assert.deepEqual(answer(PLAYBACK_QUEUE, words(0), samples(0), 8), [8, S_IO_ERR], 'the stream is not prepared');
  assert.deepEqual(answer(PLAYBACK_QUEUE, words(1), samples(0), 8), [8, S_BAD_MSG], 'the stream of the other queue');
  assert.deepEqual(answer(PLAYBACK_QUEUE, Uint8Array.of(0), 8), [8, S_BAD_MSG], 'no header');
  assert.deepEqual(answer(CAPTURE_QUEUE, words(1), 64, 8), [72, S_IO_ERR]);
  assert.equal(guest.request(CAPTURE_QUEUE, [words(1), 4]).length, 0, 'no room for a status');
});

test('sound: the pace is that of the clock, however late the host is', () => {
  const { guest, clock, played } = running(build(), 0);
  // 10 ms each, looked at every 17 ms: after a second, a second has been played.
  let ahead = 0;
  for (let now = 0; now < 1000; now += 17) {
    for (; ahead < 8; ahead++) {
      play(guest, 0);
    }
    clock.advance(17 * MILLISECOND);
    ahead -= statuses(guest, PLAYBACK_QUEUE).length;
  }
  const expected = Math.floor(clock.now() / (10 * MILLISECOND)) * PERIOD;
  assert.equal(played.length, expected);
});

test('sound: a stream that ran dry starts anew with the next buffer', () => {
  const { device, guest, clock, played } = running(build(), 0);
  play(guest, 0);
  clock.advance(100 * MILLISECOND);
  assert.equal(played.length, PERIOD);
  assert.match(device.describe(), /playback running s16 2×48000, 0 buffers wait, 1 xruns/);
  play(guest, 0);
  clock.advance(10 * MILLISECOND - 1);
  assert.equal(played.length, PERIOD);
  clock.advance(1);
  assert.equal(played.length, 2 * PERIOD);
});

test('sound: stopping keeps the buffers, releasing gives them back unplayed', () => {
  const { guest, clock, played } = running(build(), 0);
  play(guest, 0);
  play(guest, 0);
  clock.advance(15 * MILLISECOND);
  assert.equal(request(guest, layout.R_PCM_STOP, 0), S_OK);
  clock.advance(100 * MILLISECOND);
  assert.equal(statuses(guest, PLAYBACK_QUEUE).length, 1);
  assert.equal(request(guest, layout.R_PCM_RELEASE, 0), S_OK);
  assert.deepEqual(statuses(guest, PLAYBACK_QUEUE), [[8, S_OK]]);
  assert.equal(played.length, PERIOD);
  assert.equal(clock.pendingCount, 0);
});

test('sound: what is recorded fills buffers at the rate of the stream', () => {
  const { guest, clock } = running(build(), 1);
  for (let i = 0; i < 3; i++) {
    guest.submit(CAPTURE_QUEUE, [words(1), PERIOD, 8]);
  }
  clock.advance(25 * MILLISECOND);
  const done = guest.collect(CAPTURE_QUEUE);
  assert.equal(done.length, 2);
  for (const [index, { data, length }] of done.entries()) {
    assert.equal(length, PERIOD + 8);
    assert.deepEqual(data.subarray(0, PERIOD), samples(index * PERIOD));
    assert.equal(status(data.subarray(PERIOD)), S_OK);
  }
  request(guest, layout.R_PCM_STOP, 1);
  request(guest, layout.R_PCM_RELEASE, 1);
  const [unfilled] = guest.collect(CAPTURE_QUEUE);
  assert.equal(unfilled?.length, PERIOD + 8);
  assert.ok(unfilled?.data.subarray(0, PERIOD).every((byte) => byte === 0));
});

test('sound: a source of one format is the only one that can be recorded in', () => {
  const { guest } = build(PLAIN_STYLE, { encoding: 's16', channels: 1, rate: 8000 });
  guest.start();
  assert.equal(setParams(guest, 1, kind(2, S16, RATE_48000)), S_NOT_SUPP);
  assert.equal(setParams(guest, 1, kind(1, S16, RATE_8000)), S_OK);
  assert.equal(setParams(guest, 0, kind(2, S16, RATE_48000)), S_OK);
});

test('sound: a jack that is pulled out is told of', () => {
  const { device, guest } = build();
  guest.start();
  guest.submit(EVENT_QUEUE, [8]);
  device.setConnected(1, false);
  device.setConnected(1, false);
  device.setConnected(1, true);
  const event = () => guest.collect(EVENT_QUEUE).map(({ data }) => [...data]);
  assert.deepEqual(event(), [[...words(layout.EVT_JACK_DISCONNECTED, 1)]]);
  guest.submit(EVENT_QUEUE, [8]);
  assert.deepEqual(event(), [[...words(layout.EVT_JACK_CONNECTED, 1)]]);
});

test('sound: a machine that takes over plays on from where the first one was', () => {
  const { guest, clock, played } = running(build(), 0);
  for (let i = 0; i < 4; i++) {
    play(guest, i * 50);
  }
  clock.advance(14 * MILLISECOND);
  const saved = structuredClone(guest.transport.device.save());
  const second = build();
  second.clock.advance(clock.now());
  const other = new GuestDriver(second.device, PLAIN_STYLE, guest.memory);
  other.transport.device.load(saved);
  second.clock.advance(6 * MILLISECOND - 1);
  assert.equal(second.played.length, 0);
  second.clock.advance(1);
  assert.deepEqual(second.played, [...samples(50)]);
  second.clock.advance(40 * MILLISECOND);
  assert.deepEqual(
    [...played, ...second.played],
    [0, 50, 100, 150].flatMap((first) => [...samples(first)]),
  );
  assert.equal(guest.collect(PLAYBACK_QUEUE).length, 4);
});

virtioConformance(
  'sound',
  () => {
    const { device, clock } = build();
    return {
      device,
      clock,
      buffer: (random: Random, queue) => {
        if (queue === CONTROL_QUEUE) {
          const code = random.pick([1, 0x100, 0x101, 0x102, 0x103, 0x104, 0x105, 0x200, random.u32()]);
          const format = kind(1 + random.below(3), random.pick([4, 5, 11, 17, 19, 60]), random.below(15));
          const period = random.pick([4, 96, PERIOD, random.u32()]);
          const size = random.pick([24, 32, random.u32()]);
          const request =
            code === 0x101
              ? words(code, random.below(3), period * random.below(4), period, 0, format)
              : words(code, random.below(3), random.below(3), size);
          return [request.subarray(0, random.chance(1, 8) ? random.below(24) + 1 : 24), random.below(200)];
        }
        if (queue === EVENT_QUEUE) {
          return [random.below(16)];
        }
        const stream = random.chance(1, 8) ? random.below(4) : queue - PLAYBACK_QUEUE;
        return queue === PLAYBACK_QUEUE
          ? [words(stream), samples(random.u32(), random.below(500)), 8]
          : [words(stream), random.below(500), random.chance(1, 8) ? random.below(9) : 8];
      },
      stir: (random) => {
        device.setConnected(random.below(2), random.chance(1, 2));
      },
      prove: (guest) => {
        assert.equal(setParams(guest, 0), S_OK);
        assert.equal(request(guest, layout.R_PCM_PREPARE, 0), S_OK);
        assert.equal(request(guest, layout.R_PCM_START, 0), S_OK);
        play(guest, 0);
        clock.advance(10 * MILLISECOND);
        assert.deepEqual(statuses(guest, PLAYBACK_QUEUE), [[8, S_OK]]);
      },
    };
  },
  4,
);
