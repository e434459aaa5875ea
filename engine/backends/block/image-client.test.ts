import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { BlockError, BlockRequest } from './block-backend.ts';
import { ImageClient } from './image-client.ts';
import type { ImageCable } from './image-messages.ts';
import { PatientImage } from './patient-image.ts';
import { mustPunchHoles } from './testing/holes.ts';

const directory = mkdtempSync(join(tmpdir(), 'lodge-images-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** A client in this thread, and a thread that has the files. */
async function connect(t: TestContext) {
  const shared = new SharedArrayBuffer(4);
  const bell = new Int32Array(shared);
  const worker = new Worker(new URL('./testing/image-thread.ts', import.meta.url), { workerData: { bell: shared } });
  const [cable] = (await once(worker, 'message')) as [ImageCable];
  const end = async () => {
    worker.postMessage('end');
    await once(worker, 'exit');
    cable.port.close();
  };
  let ended: Promise<void> | undefined;
  t.after(() => (ended ??= end()));
  const client = new ImageClient(cable, bell);
  return {
    client,
    /** Ends what is under way and closes the files. */
    end: () => (ended ??= end()),
    /** Waits for the answers to all requests. */
    finish() {
      while (client.inFlight > 0) {
        const seen = Atomics.load(bell, 0);
        client.poll();
        if (client.inFlight > 0) {
          assert.equal(Atomics.wait(bell, 0, seen, 10_000) === 'timed-out', false, 'no answer');
        }
      }
    },
  };
}

function file(name: string, contents: Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, contents);
  return path;
}

const pattern = (length: number, seed = 0) => Uint8Array.from({ length }, (_, i) => (i * 5 + seed + (i >> 8)) & 0xff);
const plain = { readOnly: false, padTail: false };

test('an image in another thread: shared and private memory, zeroing, flush, limits', async (t) => {
  const { client, finish } = await connect(t);
  const path = file('disk.img', pattern(1 << 20));
  const image = client.open(path, plain);
  assert.equal(image.size, 1 << 20);
  const errors: (BlockError | undefined)[] = [];
  const submit = (request: BlockRequest) => image.submit(request, (error) => errors.push(error));

  const shared = new Uint8Array(new SharedArrayBuffer(8192), 4096, 1024);
  const own = new Uint8Array(70_144);
  submit({ kind: 'read', offset: 512, buffer: shared });
  submit({ kind: 'read', offset: 1024, buffer: own });
  assert.equal(errors.length, 0, 'completed inside submit');
  finish();
  assert.deepEqual(errors.splice(0), [undefined, undefined]);
  assert.deepEqual(shared.slice(), pattern(1 << 20).slice(512, 1536));
  assert.deepEqual(own, pattern(1 << 20).slice(1024, 1024 + own.length));

  submit({ kind: 'write', offset: 0, buffer: pattern(4096, 99) });
  submit({ kind: 'write-zeroes', offset: 8192, length: 4096, mayUnmap: false });
  submit({ kind: 'discard', offset: 16384, length: 4096 });
  submit({ kind: 'flush' });
  submit({ kind: 'read', offset: 1 << 20, buffer: new Uint8Array(512) });
  finish();
  assert.equal(errors.length, 5);
  assert.deepEqual(
    errors.flatMap((error) => (error === undefined ? [] : [error.code])),
    ['out-of-range'],
  );
  image.dispose();
  const contents = new Uint8Array(readFileSync(path));
  assert.deepEqual(contents.subarray(0, 4096), pattern(4096, 99));
  assert.ok(contents.subarray(8192, 12288).every((byte) => byte === 0));
  assert.equal(contents.length, 1 << 20);
});

test('another thread punches holes where a guest discards, and zeroes where it has to stay', async (t) => {
  const { client, finish } = await connect(t);
  const path = file('holes.img', pattern(4 << 20));
  if (!mustPunchHoles(t, path)) {
    return;
  }
  const image = client.open(path, plain);
  const space = () => statSync(path).blocks * 512;
  const full = space();
  const submit = (request: BlockRequest) => image.submit(request, assert.ifError);
  submit({ kind: 'write-zeroes', offset: 0, length: 1 << 20, mayUnmap: false });
  finish();
  assert.equal(space(), full);
  submit({ kind: 'write-zeroes', offset: 1 << 20, length: 1 << 20, mayUnmap: true });
  submit({ kind: 'discard', offset: 2 << 20, length: 1 << 20 });
  finish();
  assert.equal(space(), full - (2 << 20));
  image.dispose();
  const contents = new Uint8Array(readFileSync(path));
  assert.ok(contents.subarray(0, 3 << 20).every((byte) => byte === 0));
  assert.deepEqual(contents.subarray(3 << 20), pattern(4 << 20).subarray(3 << 20));
});

test('more data than the bounce buffer holds wait their turn', async (t) => {
  const { client, finish } = await connect(t);
  const path = file('large.img', pattern(8 << 20));
  const image = client.open(path, plain);
  const buffers = Array.from({ length: 16 }, () => new Uint8Array(256 << 10));
  let done = 0;
  for (const [index, buffer] of buffers.entries()) {
    image.submit({ kind: 'read', offset: index * buffer.length, buffer }, (error) => {
      assert.equal(error, undefined);
      done++;
    });
  }
  assert.ok(client.inFlight <= 8, `${client.inFlight} at once`);
  finish();
  assert.equal(done, 16);
  assert.deepEqual(Buffer.concat(buffers).compare(pattern(4 << 20)), 0);
  const huge = new Uint8Array(3 << 20);
  image.submit({ kind: 'read', offset: 0, buffer: huge }, () => done++);
  finish();
  assert.equal(done, 17);
  assert.deepEqual(huge.subarray(-512), pattern(8 << 20).subarray((3 << 20) - 512, 3 << 20));
  image.dispose();
});

test('an image that cannot be opened says why, while others work', async (t) => {
  const { client, finish } = await connect(t);
  const image = client.open(file('a.img', pattern(4096)), plain);
  let done = 0;
  image.submit({ kind: 'flush' }, () => done++);
  assert.throws(() => client.open(join(directory, 'nothing.img'), plain), { name: 'HostError', code: 'image-missing' });
  assert.throws(() => client.open(join(directory, 'a.img'), plain), { name: 'HostError', code: 'image-in-use' });
  finish();
  assert.equal(done, 1, 'the answer that came meanwhile');
  image.dispose();
});

test('more requests than the ring has numbers are all carried out, also those of an image that is given up', async (t) => {
  const { client, finish, end } = await connect(t);
  const path = file('many.img', new Uint8Array(1 << 20));
  const image = client.open(path, plain);
  const other = client.open(file('other.img', pattern(4096)), plain);
  let done = 0;
  for (let i = 0; i < 700; i++) {
    image.submit({ kind: 'write', offset: i * 512, buffer: new Uint8Array(512).fill(i) }, () => done++);
  }
  other.submit({ kind: 'write', offset: 0, buffer: new Uint8Array(512).fill(7) }, () => assert.fail('nobody waits'));
  other.dispose();
  finish();
  assert.equal(done, 700);
  const contents = readFileSync(path);
  assert.ok(contents.subarray(0, 700 * 512).every((byte, at) => byte === (at >> 9) % 256));
  assert.equal(readFileSync(join(directory, 'other.img'))[0], 7);
  const again = client.open(join(directory, 'other.img'), plain);
  assert.equal(again.size, 4096, 'it was closed, and its lock given up');
  // The machine ends with requests under way.
  image.submit({ kind: 'write', offset: 0, buffer: new Uint8Array(512).fill(9) }, () => {});
  await end();
  assert.equal(readFileSync(path)[0], 9);
});

test('what the host has in memory is read and written at once, answered later, and failures are told all the same', async (t) => {
  const { client, finish } = await connect(t);
  const deferred: (() => void)[] = [];
  const image = client.open(file('fast.img', pattern(1 << 20)), plain, (fn) => deferred.push(fn));
  const buffer = new Uint8Array(4096);
  const read = () => {
    let done = false;
    image.submit({ kind: 'read', offset: 8192, buffer }, () => {
      done = true;
    });
    assert.equal(done, false, 'answered inside submit');
    finish();
    for (const fn of deferred.splice(0)) {
      assert.equal(client.inFlight, 0);
      fn();
    }
    assert.equal(done, true);
  };
  // How fast the host is nobody knows: as often as it takes.
  let atOnce = 0;
  for (let i = 0; i < 20_000 && atOnce < 3; i++) {
    buffer.fill(0);
    const before = deferred.length;
    image.submit({ kind: 'read', offset: 8192, buffer }, () => {});
    if (deferred.length > before) {
      atOnce++;
      assert.deepEqual(buffer, pattern(1 << 20).slice(8192, 8192 + 4096));
      deferred.pop()?.();
    }
    finish();
  }
  assert.equal(atOnce, 3);
  read();
  image.dispose();
});

test('an image that is cut short or deleted while it is used', async (t) => {
  const { client, finish } = await connect(t);
  const path = file('cut.img', pattern(1 << 20));
  const image = client.open(path, plain);
  const errors: (BlockError | undefined)[] = [];
  const submit = (request: BlockRequest) => image.submit(request, (error) => errors.push(error));
  truncateSync(path, 512);
  submit({ kind: 'read', offset: 0, buffer: new Uint8Array(512) });
  submit({ kind: 'read', offset: 0, buffer: new Uint8Array(1024) });
  submit({ kind: 'flush' });
  finish();
  rmSync(path);
  submit({ kind: 'flush' });
  finish();
  const cut = { code: 'io', message: "the image's file was cut short on the host" };
  const deleted = { code: 'io', message: "the image's file was deleted on the host" };
  assert.deepEqual(errors, [undefined, cut, undefined, deleted]);
  image.dispose();
});

test('the host refuses a write: the answer says so', async (t) => {
  if (!existsSync('/dev/full')) {
    t.skip('the host has no /dev/full');
    return;
  }
  const { client, finish } = await connect(t);
  const image = client.open(file('plain.img', pattern(4096)), plain);
  // A file cannot be made to fail without a full disk; its number can be made to mean a device that is always full.
  const full = openSync('/dev/full', 'r+');
  t.after(() => closeSync(full));
  Object.assign(image, { descriptor: full });
  const codes: (string | undefined)[] = [];
  image.submit({ kind: 'write', offset: 0, buffer: new Uint8Array(512) }, (error) => codes.push(error?.code));
  image.submit({ kind: 'write-zeroes', offset: 0, length: 512, mayUnmap: false }, (error) => codes.push(error?.code));
  finish();
  assert.deepEqual(codes, ['no-space', 'no-space']);
});

/** A backend whose answers a test gives. */
function scripted() {
  const asked: { request: BlockRequest; done: (error?: BlockError) => void }[] = [];
  return {
    asked,
    backend: {
      size: 4096,
      readOnly: false,
      submit: (request: BlockRequest, done: (error?: BlockError) => void) => void asked.push({ request, done }),
      dispose() {},
    },
  };
}

test('a change that fails is kept until it succeeds, and the machine told', () => {
  const { asked, backend } = scripted();
  const troubles: string[] = [];
  const image = new PatientImage(backend, ({ code }, what) => troubles.push(`${code} ${what}`));
  const results: (string | undefined)[] = [];
  const full = { code: 'no-space', message: 'full' } as const;
  image.submit({ kind: 'write', offset: 0, buffer: new Uint8Array(512) }, (error) => results.push(error?.code));
  image.submit({ kind: 'discard', offset: 0, length: 512 }, (error) => results.push(error?.code));
  image.submit({ kind: 'flush' }, (error) => results.push(error?.code));
  asked.shift()?.done(full);
  asked.shift()?.done({ code: 'io', message: 'gone' });
  asked.shift()?.done({ code: 'io', message: 'gone' });
  assert.deepEqual(troubles, ['no-space waits', 'io waits', 'io lost']);
  assert.equal(results.length, 0);
  assert.equal(image.troubled, true);
  image.retry();
  assert.deepEqual(
    asked.map(({ request }) => request.kind),
    ['write', 'discard'],
    'a flush would succeed now, without having saved anything',
  );
  assert.equal(image.troubled, true, 'not yet');
  asked.shift()?.done(full);
  asked.shift()?.done();
  assert.equal(results.length, 1);
  image.retry();
  asked.shift()?.done();
  assert.deepEqual(results, [undefined, undefined]);
  assert.equal(image.troubled, true, 'the flush');
  image.giveUp();
  assert.deepEqual(results, [undefined, undefined, 'io']);
  assert.equal(image.troubled, false);
});

test('reads that fail go to the guest, and changes when the user gives up', () => {
  const { asked, backend } = scripted();
  const image = new PatientImage(backend, () => {});
  const results: (string | undefined)[] = [];
  image.submit({ kind: 'read', offset: 0, buffer: new Uint8Array(512) }, (error) => results.push(error?.code));
  asked.shift()?.done({ code: 'io', message: 'gone' });
  assert.deepEqual(results.slice(), ['io']);
  assert.equal(image.troubled, false);
  image.submit({ kind: 'flush' }, (error) => results.push(error?.code));
  asked.shift()?.done({ code: 'io', message: 'gone' });
  image.giveUp();
  assert.deepEqual(results, ['io', 'io']);
  assert.equal(image.troubled, false);
});
