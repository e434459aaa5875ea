import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { BlockBackend, BlockError, BlockRequest } from './block-backend.ts';
import { DiscardingImage, MemoryImage } from './memory-image.ts';
import { openRawImage } from './raw-image.ts';
import { mustPunchHoles } from './testing/holes.ts';

const directory = mkdtempSync(join(tmpdir(), 'lodge-image-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const queue: (() => void)[] = [];
const defer = (fn: () => void) => void queue.push(fn);

/** Submits one request, checks that it does not complete inside submit, and returns its result. */
function perform(image: BlockBackend, request: BlockRequest): BlockError | undefined {
  const results: (BlockError | undefined)[] = [];
  image.submit(request, (error) => results.push(error));
  assert.equal(results.length, 0, 'completed inside submit');
  for (let fn = queue.shift(); fn !== undefined; fn = queue.shift()) {
    fn();
  }
  assert.equal(results.length, 1, 'never completed');
  return results[0];
}

function file(name: string, contents: Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, contents);
  return path;
}

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
}

test('a raw image is read and written in place, and opening changes nothing', () => {
  const path = file('disk.img', pattern(4096));
  const before = statSync(path);
  const image = openRawImage(path, { defer });
  assert.equal(statSync(path).mtimeMs, before.mtimeMs);
  assert.equal(image.size, 4096);
  const buffer = new Uint8Array(1024);
  assert.equal(perform(image, { kind: 'read', offset: 512, buffer }), undefined);
  assert.deepEqual(buffer, pattern(4096).subarray(512, 1536));
  assert.equal(perform(image, { kind: 'write', offset: 1024, buffer: new Uint8Array(512).fill(0xaa) }), undefined);
  assert.equal(perform(image, { kind: 'flush' }), undefined);
  assert.equal(perform(image, { kind: 'discard', offset: 0, length: 512 }), undefined);
  image.dispose();
  image.dispose();
  const contents = readFileSync(path);
  assert.equal(contents[1024], 0xaa);
  assert.equal(contents[1536], pattern(4096)[1536]);
  assert.equal(contents.length, 4096);
});

test('what is discarded or zeroed without its space goes back to the host; what is only zeroed keeps it', (t) => {
  const megabyte = 1 << 20;
  const path = file('holes.img', pattern(8 * megabyte));
  if (!mustPunchHoles(t, path)) {
    return;
  }
  const image = openRawImage(path, { defer });
  const space = () => statSync(path).blocks * 512;
  const full = space();
  assert.ok(full >= 8 * megabyte, `${full} bytes`);
  const zero = { kind: 'write-zeroes', length: megabyte } as const;
  assert.equal(perform(image, { ...zero, offset: megabyte, mayUnmap: false }), undefined);
  assert.equal(space(), full);
  assert.equal(perform(image, { ...zero, offset: 3 * megabyte, mayUnmap: true }), undefined);
  assert.equal(space(), full - megabyte);
  assert.equal(perform(image, { kind: 'discard', offset: 5 * megabyte, length: megabyte }), undefined);
  assert.equal(space(), full - 2 * megabyte);
  // A part of a block: zeros all the same, and nothing beside it.
  assert.equal(perform(image, { ...zero, offset: 7 * megabyte + 512, length: 1024, mayUnmap: true }), undefined);
  image.dispose();
  const expected = pattern(8 * megabyte);
  for (const [start, end] of [
    [megabyte, 2 * megabyte],
    [3 * megabyte, 4 * megabyte],
    [5 * megabyte, 6 * megabyte],
    [7 * megabyte + 512, 7 * megabyte + 1536],
  ]) {
    expected.fill(0, start, end);
  }
  assert.ok(readFileSync(path).equals(expected));
});

test('a read-only image is never written', () => {
  const path = file('readonly.img', pattern(1024));
  const image = openRawImage(path, { readOnly: true, defer });
  assert.equal(image.readOnly, true);
  assert.equal(perform(image, { kind: 'write', offset: 0, buffer: new Uint8Array(512) })?.code, 'read-only');
  assert.equal(perform(image, { kind: 'discard', offset: 0, length: 512 })?.code, 'read-only');
  image.dispose();
  assert.deepEqual(new Uint8Array(readFileSync(path)), pattern(1024));
});

test('requests outside the image are refused and do not grow it', () => {
  const path = file('small.img', new Uint8Array(1024));
  const image = openRawImage(path, { defer });
  for (const offset of [1024, 512, -512, 100, Number.NaN, 2 ** 53]) {
    assert.equal(
      perform(image, { kind: 'write', offset, buffer: new Uint8Array(1024) })?.code,
      'out-of-range',
      `${offset}`,
    );
  }
  image.dispose();
  assert.equal(statSync(path).size, 1024);
});

test('the tail of a cut-short CD or floppy image reads as zeros, a disk of odd size is refused', () => {
  const path = file('short.iso', new Uint8Array(700).fill(1));
  const image = openRawImage(path, { readOnly: true, defer, padTail: true });
  assert.equal(image.size, 1024);
  const buffer = new Uint8Array(1024).fill(9);
  assert.equal(perform(image, { kind: 'read', offset: 0, buffer }), undefined);
  assert.equal(buffer[699], 1);
  assert.ok(buffer.subarray(700).every((byte) => byte === 0));
  image.dispose();
  assert.throws(() => openRawImage(path, { defer }), { name: 'HostError', code: 'image-size' });
});

test('files that are no usable image are refused with one line', () => {
  const folder = join(directory, 'folder');
  mkdirSync(folder);
  const cases: [path: string, code: string, readOnly: boolean][] = [
    [join(directory, 'nothing.img'), 'image-missing', false],
    [join(directory, 'nothing.img'), 'image-missing', true],
    [folder, 'image-directory', false],
    [folder, 'image-directory', true],
    ['/dev/null', 'image-unreadable', false],
    [file('empty.img', new Uint8Array(0)), 'image-empty', false],
  ];
  for (const [path, code, readOnly] of cases) {
    assert.throws(
      () => openRawImage(path, { readOnly, defer }),
      (error: Error & { code?: string }) =>
        error.code === code && !error.message.includes('\n') && error.message.includes(path),
      code,
    );
  }
});

test('an image without write permission is refused for writing and opens read-only', (context) => {
  const path = file('protected.img', new Uint8Array(512));
  chmodSync(path, 0o444);
  if (process.getuid?.() === 0) {
    context.skip('permissions do not bind root');
    return;
  }
  assert.throws(() => openRawImage(path, { defer }), { code: 'image-not-writable' });
  openRawImage(path, { readOnly: true, defer }).dispose();
});

test('two writers of one image are refused, readers are not', () => {
  const path = file('shared.img', new Uint8Array(512));
  const first = openRawImage(path, { defer });
  assert.throws(() => openRawImage(path, { defer }), { code: 'image-in-use' });
  openRawImage(path, { readOnly: true, defer }).dispose();
  first.dispose();
  openRawImage(path, { defer }).dispose();
});

test('requests of a disposed image are dropped', () => {
  const image = openRawImage(file('gone.img', new Uint8Array(512)), { defer });
  let called = false;
  image.submit({ kind: 'read', offset: 0, buffer: new Uint8Array(512) }, () => {
    called = true;
  });
  image.dispose();
  queue.shift()?.();
  assert.equal(called, false);
});

test('an image in memory behaves like one in a file', () => {
  const image = new MemoryImage(pattern(1000), { defer });
  assert.equal(image.size, 1024);
  const buffer = new Uint8Array(512);
  assert.equal(perform(image, { kind: 'write', offset: 512, buffer: new Uint8Array(512).fill(3) }), undefined);
  assert.equal(perform(image, { kind: 'read', offset: 512, buffer }), undefined);
  assert.ok(buffer.every((byte) => byte === 3));
  assert.equal(perform(image, { kind: 'read', offset: 1024, buffer })?.code, 'out-of-range');
  const fixed = new MemoryImage(pattern(512), { readOnly: true, defer });
  assert.equal(perform(fixed, { kind: 'write', offset: 0, buffer })?.code, 'read-only');
});

test('a discarding image shows its writes and leaves the base as it was', () => {
  const base = new MemoryImage(pattern(2048), { readOnly: true, defer });
  const image = new DiscardingImage(base, { defer });
  assert.equal(perform(image, { kind: 'write', offset: 512, buffer: new Uint8Array(1024).fill(5) }), undefined);
  const buffer = new Uint8Array(2048);
  assert.equal(perform(image, { kind: 'read', offset: 0, buffer }), undefined);
  const expected = pattern(2048).fill(5, 512, 1536);
  assert.deepEqual(buffer, expected);
  assert.deepEqual(base.bytes, pattern(2048));
  image.dispose();
});
