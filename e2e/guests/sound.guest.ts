/** A guest plays to a recording and records from a file by virtio-sound, with the kernel's own driver and ALSA. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseWav, wavHeader } from '../../engine/backends/audio/wav-format.ts';
import { NotAvailable } from '../../scripts/debian.ts';
import { projectRoot } from '../../scripts/project.ts';
import { GuestRun } from './guest-run.ts';
import { initramfsWithModules } from './kernel-modules.ts';
import { linuxKernel, READY } from './linux.ts';
import { needs } from './needs.ts';
import { prepared } from './prepared.ts';
import { shellInitramfs } from './shell-initramfs.ts';

const SECONDS = 400;
const source = join(projectRoot, 'assets/guests/programs/sound.c');
const CD = { encoding: 's16', channels: 2, rate: 48_000 } as const;
/** Two seconds. Whole periods of the program: Linux's driver sends no others, and waits in vain for a last part. */
const FRAMES = 96_000;

/** The program, static. @throws NotAvailable */
function program(): Buffer {
  const version = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16);
  const path = prepared(`sound-${version}`, (made) => {
    const { error, status, stderr } = spawnSync('gcc', ['-O2', '-static', '-o', made, source]);
    if (error !== undefined || status !== 0) {
      throw new NotAvailable(`gcc cannot build ${source}: ${error?.message ?? stderr.toString().split('\n')[0]}`);
    }
  });
  return readFileSync(path);
}

/** What the program plays, and expects to record. */
function pattern(frames: number): Buffer {
  const samples = Buffer.alloc(frames * 4);
  for (let i = 0; i < frames; i++) {
    const left = (i * 7919) & 0xffff;
    samples.writeUInt16LE(left, i * 4);
    samples.writeUInt16LE(~left & 0xffff, i * 4 + 2);
  }
  return samples;
}

// In virtual time the guest is never late: on a busy host it would lose sound, as any computer does.
test('what a guest plays is in the recording, and it records what is in the file', async (t) => {
  const modules = ['virtio_pci', 'virtio_snd', 'snd_pcm'];
  const kernel = needs(t, () => linuxKernel('backports'));
  const withModules = kernel && needs(t, () => initramfsWithModules('backports', modules));
  const data = withModules === undefined ? undefined : needs(t, program);
  if (kernel === undefined || withModules === undefined || data === undefined) {
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'lodge-sound-'));
  try {
    const played = join(folder, 'played.wav');
    const input = join(folder, 'input.wav');
    writeFileSync(input, Buffer.concat([wavHeader(CD, FRAMES * 4), pattern(FRAMES)]));
    const options = {
      memory: 256,
      kernel,
      initrd: shellInitramfs(withModules, 'ttyS0', [{ name: 'sound', data }]),
      append: 'console=ttyS0 quiet panic=-1',
      sound: `wav=${played},input=${input}`,
      noReboot: true,
      virtualTime: true,
      timeout: SECONDS * 2,
    };
    await GuestRun.with(options, async (guest) => {
      await guest.waitFor(new RegExp(READY), SECONDS);
      await guest.waitFor(/guest# /, SECONDS);
      guest.send('cat /proc/asound/cards; ls /dev/snd\n');
      await guest.waitFor(/pcmC0D0p/, SECONDS);
      const run = async (what: string) => {
        guest.send(`sound ${what} ${FRAMES}\n`);
        const [, millis] = await guest.waitFor(
          what === 'play' ? /sound-played 96000 frames in (\d+) ms/ : /sound-recorded 96000 frames in (\d+) ms, 0 of/,
          SECONDS,
        );
        return Number(millis);
      };
      const soundMillis = (FRAMES / CD.rate) * 1000;
      for (const what of ['play', 'record']) {
        const millis = await run(what);
        t.diagnostic(`${what}: ${millis} ms for ${soundMillis.toFixed(0)} ms of sound`);
        assert.ok(millis > soundMillis - 100, 'sound takes its time');
        assert.ok(millis < soundMillis + 150, `${millis} ms`);
      }
      guest.send('poweroff -f\n');
      assert.equal(await guest.exitCode(SECONDS), 0);
    });
    const recording = parseWav(readFileSync(played));
    assert.ok(typeof recording === 'object', String(recording));
    assert.deepEqual(recording.format, CD);
    const expected = pattern(FRAMES);
    assert.ok(recording.samples.length >= expected.length, `${recording.samples.length} bytes`);
    assert.equal(Buffer.compare(recording.samples.subarray(0, expected.length), expected), 0, 'sample for sample');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
