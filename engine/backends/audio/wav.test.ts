import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '../../base/log.ts';
import { Random } from '../../testing/random.ts';
import { AUDIO_ENCODINGS, type AudioFormat, frameBytes } from './audio-backend.ts';
import { parseWav, wavHeader } from './wav-format.ts';
import { WavSink } from './wav-sink.ts';
import { WavSource } from './wav-source.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-wav-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const CD: AudioFormat = { encoding: 's16', channels: 2, rate: 44_100 };

const noise = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 7919) & 0xff);

test('the header is that of the format', () => {
  const header = Buffer.from(wavHeader(CD, 8)).toString('hex');
  assert.equal(
    header,
    '524946462c00000057415645666d74201000000001000200' + '44ac000010b10200' + '04001000' + '6461746108000000',
  );
});

for (const encoding of AUDIO_ENCODINGS) {
  test(`what is played as ${encoding} can be read, recorded from, and goes round`, () => {
    const format: AudioFormat = { encoding, channels: 2, rate: 48_000 };
    const path = join(folder, `${encoding}.wav`);
    const sink = new WavSink(path, silentLog);
    const samples = noise(frameBytes(format) * 100);
    sink.play(format, samples.subarray(0, frameBytes(format) * 33));
    sink.play(format, samples.subarray(frameBytes(format) * 33));
    sink.dispose();
    sink.dispose();
    assert.deepEqual(parseWav(readFileSync(path)), { format, samples: Buffer.from(samples) });
    const source = new WavSource(path);
    assert.deepEqual(source.format, format);
    const heard = new Uint8Array(samples.length + 40);
    source.record(format, heard.subarray(0, 30));
    source.record(format, heard.subarray(30));
    assert.deepEqual(heard, Uint8Array.from([...samples, ...samples.subarray(0, 40)]));
  });
}

test('another format goes into another file, and a long recording is whole before it ends', () => {
  const path = join(folder, 'song.wav');
  const sink = new WavSink(path, silentLog);
  assert.equal(readFileSync(path).length, 0);
  const long = noise(3 << 20);
  sink.play(CD, long);
  const early = parseWav(readFileSync(path));
  assert.ok(typeof early === 'object' && early.samples.length >= 2 << 20);
  sink.play({ ...CD, rate: 8000 }, noise(80));
  sink.play(CD, noise(40));
  sink.dispose();
  const lengths = ['song.wav', 'song-2.wav', 'song-3.wav'].map((name) => {
    const contents = parseWav(readFileSync(join(folder, name)));
    assert.ok(typeof contents === 'object');
    return [contents.format.rate, contents.samples.length];
  });
  assert.deepEqual(lengths, [
    [44_100, 3 << 20],
    [8000, 80],
    [44_100, 40],
  ]);
});

test('a place that cannot be written is a host error, a full disk a warning', () => {
  assert.throws(() => new WavSink(join(folder, 'none/x.wav'), silentLog), { code: 'sound-file' });
  if (existsSync('/dev/full')) {
    const warnings: string[] = [];
    const sink = new WavSink('/dev/full', { info() {}, warn: (message) => warnings.push(message) });
    sink.play(CD, noise(40));
    sink.play(CD, noise(40));
    sink.dispose();
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? '', /ENOSPC/);
  }
});

test('what is no WAV file is refused with a reason, however it is broken', () => {
  const path = join(folder, 'broken.wav');
  for (const [bytes, reason] of [
    [Buffer.from('MThd'), /no WAV file/],
    [Buffer.from('RIFF\0\0\0\0WAVE'), /no sound/],
    [wavHeader(CD, 0), /no sound/],
    [wavHeader(CD, 8).fill(9, 20, 22), /neither PCM/],
    [wavHeader(CD, 8).subarray(0, 30), /cut short/],
  ] as const) {
    writeFileSync(path, bytes);
    assert.throws(
      () => new WavSource(path),
      (error: Error) => reason.test(error.message),
    );
  }
  assert.throws(() => new WavSource(join(folder, 'none.wav')), { code: 'bad-sound' });
  const whole = Buffer.concat([wavHeader(CD, 64), noise(64)]);
  for (let seed = 1; seed < 500; seed++) {
    const random = new Random(seed);
    const broken = Uint8Array.from(whole);
    for (let i = random.below(6); i >= 0; i--) {
      broken[random.below(44)] = random.u32() & 0xff;
    }
    assert.doesNotThrow(() => parseWav(broken.subarray(0, random.below(broken.length))));
  }
});
