import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildTour, TOUR_IMAGE_BYTES, TOUR_SIGNATURE_LBA } from './build.ts';

const nasmMissing = spawnSync('nasm', ['-v']).status === 0 ? false : 'nasm is not installed';

test('the image is a bootable 1.44 MB disk', () => {
  const image = buildTour();
  assert.equal(image.length, TOUR_IMAGE_BYTES);
  assert.deepEqual([image[510], image[511]], [0x55, 0xaa]);
  assert.equal(image[0], 0xeb, 'starts with a short jump over the parameter block');
  assert.ok(
    image.subarray(446, 510).every((byte) => byte === 0),
    'no partitions',
  );
});

test('the signature sector is where the guest looks for it', () => {
  const sector = buildTour().subarray(TOUR_SIGNATURE_LBA * 512, TOUR_SIGNATURE_LBA * 512 + 512);
  assert.equal(new TextDecoder().decode(sector.subarray(0, 16)), 'LODGE SIGNATURE!');
});

test('building twice gives the same bytes', () => {
  assert.deepEqual(buildTour(), buildTour());
});

test('autoquit changes one flag in the configuration sector', () => {
  const plain = buildTour();
  const quitting = buildTour({ autoquit: true });
  const differences = plain.reduce<number[]>((found, byte, offset) => {
    if (byte !== quitting[offset]) found.push(offset);
    return found;
  }, []);
  assert.deepEqual(differences, [512 + 16]);
  assert.equal(quitting[512 + 16], 1);
});

test('nasm assembles the same bytes', { skip: nasmMissing }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-tour-'));
  try {
    const output = join(folder, 'tour.bin');
    const run = spawnSync('nasm', ['-f', 'bin', '-o', output, 'tour.asm'], {
      cwd: dirname(fileURLToPath(import.meta.url)),
      encoding: 'utf8',
    });
    assert.equal(run.status, 0, run.stderr);
    const theirs = readFileSync(output);
    const ours = buildTour().subarray(0, theirs.length);
    assert.equal(Buffer.compare(theirs, ours), 0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
