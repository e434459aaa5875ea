import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { P9 } from './p9-protocol.ts';
import { P9Server, type P9Session } from './p9-server.ts';
import { ShareClient } from './share-client.ts';
import { ShareHost } from './share-host.ts';
import { message, P9Client, text, u32 } from './testing/p9-client.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-share-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A machine thread that may carry out messages itself, with a clock that the test moves. */
function ownThread() {
  const later: (() => void)[] = [];
  const clock = { millis: 0, step: 0 };
  const lent = { times: 0 };
  return {
    clock,
    lent,
    /** Runs what was put off. */
    turn: () => {
      for (const action of later.splice(0)) {
        action();
      }
    },
    own: (path: string) => ({
      defer: (action: () => void) => void later.push(action),
      serve: (session: P9Session) => {
        lent.times++;
        return new P9Server({ path, readOnly: false, onTrouble: (message) => assert.fail(message), session });
      },
      now: () => {
        clock.millis += clock.step;
        return clock.millis;
      },
    }),
  };
}

/** A share with its thread, and a client that waits for each answer. */
async function build(name: string, thread?: ReturnType<typeof ownThread>) {
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, 'hello'), 'hello, world');
  const bell = new SharedArrayBuffer(4);
  const host = await ShareHost.start([{ name, path, readOnly: false }], bell, () => {}, assert.ifError);
  const [end] = host.ends;
  assert.ok(end !== undefined);
  const share = new ShareClient(name, end, new Int32Array(bell), thread?.own(path));
  const submit = (request: Uint8Array, done: (reply: Uint8Array) => void) => {
    const memory = share.take(request.length + 9000);
    assert.ok(memory !== undefined);
    memory.set(request);
    const reply = memory.subarray(request.length);
    share.submit(memory.subarray(0, request.length), reply, (length) => {
      const answer = reply.slice(0, length);
      share.give(memory);
      done(answer);
    });
  };
  const client = new P9Client((request) => {
    let answer: Uint8Array | undefined;
    submit(request, (reply) => {
      answer = reply;
    });
    assert.equal(answer, undefined, 'never inside submit');
    share.settle();
    assert.ok(answer !== undefined);
    return answer;
  });
  return { path, host, share, client, submit };
}

test('a share in a thread of its own: messages, sessions saved and loaded, the end', async () => {
  const { path, host, share, client, submit } = await build('one');
  client.start();
  const fid = client.open('hello', 2);
  assert.equal(client.read(fid).toString(), 'hello, world');
  const state = share.save();
  assert.deepEqual(
    state.fids.map((saved) => saved.path),
    [[], ['hello']],
  );
  share.reset();
  assert.throws(() => client.read(fid), { errno: 71 });
  share.load(state);
  assert.equal(client.read(fid).toString(), 'hello, world');
  assert.deepEqual(share.save(), state);
  // What was asked for before the end is done.
  for (let i = 0; i < 50; i++) {
    submit(message(P9.mkdir, u32(0), text(`made-${i}`), u32(0o755), u32(0)), () => {});
  }
  share.dispose();
  await host.close();
  await host.close();
  writeFileSync(join(path, 'made-49', 'file'), '');
  assert.equal(readFileSync(join(path, 'hello'), 'utf8'), 'hello, world');
});

test('quick messages are carried out by the machine thread itself, on the same open files; slow ones in a row are not', async () => {
  const thread = ownThread();
  const { path, host, share, client, submit } = await build('own', thread);
  client.start();
  const fid = client.open('hello', 2);
  const listing = client.open('', 0);
  // Nothing but the open file is left of it, which both threads have to have.
  rmSync(join(path, 'hello'));
  const borrow = () => {
    for (let i = 0; !share.borrowed; i++) {
      assert.ok(i < 1000, 'the session is borrowed');
      assert.equal(client.read(fid).toString(), 'hello, world');
      share.settle();
    }
  };
  borrow();
  // At once, but never from within.
  const order: string[] = [];
  submit(message(P9.getattr, u32(fid), u32(0x7ff), u32(0)), (reply) => void order.push(`answer ${reply[4]}`));
  order.push('submitted');
  assert.equal(share.busy, false);
  thread.turn();
  assert.deepEqual(order, ['submitted', `answer ${P9.getattr + 1}`]);
  assert.equal(client.read(fid).toString(), 'hello, world');
  const paths = share.save().fids.map((saved) => saved.path);
  assert.deepEqual(paths, [[], ['hello'], []]);

  // One that waits for the medium is the other thread's, and so are the next after one that was slow.
  client.call(P9.fsync, u32(fid), u32(0));
  borrow();
  assert.equal(thread.lent.times, 2, 'it was with the other thread meanwhile');
  thread.clock.step = 20;
  for (let i = 0; i < 3; i++) {
    assert.equal(share.borrowed, true);
    assert.equal(client.read(fid).toString(), 'hello, world');
  }
  assert.equal(share.borrowed, false);
  thread.clock.step = 0;
  for (let i = 0; i < 12; i++) {
    assert.equal(client.read(fid).toString(), 'hello, world');
    share.settle();
    assert.equal(share.borrowed, false);
  }
  borrow();
  client.clunk(listing);
  share.reset();
  assert.throws(() => client.read(fid), { errno: 71 });
  share.dispose();
  await host.close();
});

test('several answers are handed over together, in order', async () => {
  const { host, share, client, submit } = await build('two');
  client.start();
  const order: number[] = [];
  for (let i = 0; i < 300; i++) {
    submit(message(P9.getattr, u32(0), u32(0x7ff), u32(0)), (reply) => {
      assert.equal(reply[4], P9.getattr + 1);
      order.push(i);
    });
  }
  share.settle();
  assert.equal(share.busy, false);
  assert.deepEqual(
    order,
    Array.from({ length: 300 }, (_, i) => i),
  );
  share.dispose();
  await host.close();
});

test('a folder that is not there is refused, and the others are closed again', async () => {
  const path = join(folder, 'three');
  mkdirSync(path);
  writeFileSync(join(path, 'file'), '');
  const bell = new SharedArrayBuffer(4);
  const start = (missing: string) =>
    ShareHost.start(
      [
        { name: 'good', path, readOnly: true },
        { name: 'bad', path: missing, readOnly: true },
      ],
      bell,
      () => {},
      assert.ifError,
    );
  for (const missing of [join(path, 'missing'), join(path, 'file')]) {
    await assert.rejects(start(missing), { name: 'HostError', code: 'share-unavailable', message: /no such folder/ });
  }
});
