import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Random } from '../../testing/random.ts';
import { P9 } from './p9-protocol.ts';
import { P9Server } from './p9-server.ts';
import { message, P9Client, P9Failure, text, u8, u16, u32, u64 } from './testing/p9-client.ts';

const ENOENT = 2;
const EBADF = 9;
const EPERM = 1;
const EEXIST = 17;
const ENOTDIR = 20;
const EISDIR = 21;
const EINVAL = 22;
const EROFS = 30;
const ENOTEMPTY = 39;
const ELOOP = 40;
const ESTALE = 116;
const EPROTO = 71;
const EMSGSIZE = 90;
const EOPNOTSUPP = 95;

const folder = mkdtempSync(join(tmpdir(), 'lodge-9p-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let count = 0;

/** How folders are reached: by handles (Linux only) and by checked paths. */
const WAYS = process.platform === 'linux' ? [true, false] : [false];

function build(
  options: { readonly readOnly?: boolean; readonly anchored?: boolean; readonly now?: () => number } = {},
) {
  const base = join(folder, `${count++}`);
  const path = join(base, 'shared');
  mkdirSync(path, { recursive: true });
  mkdirSync(join(path, 'sub'));
  writeFileSync(join(base, 'secret'), 'secret');
  writeFileSync(join(path, 'hello'), 'hello, world');
  writeFileSync(join(path, 'sub', 'deep'), 'deep');
  symlinkSync('../secret', join(path, 'escape'));
  symlinkSync('..', join(path, 'up'));
  const troubles: string[] = [];
  const server = new P9Server({
    path,
    readOnly: options.readOnly ?? false,
    anchored: options.anchored,
    onTrouble: (line) => troubles.push(line),
    ...(options.now === undefined ? {} : { now: options.now }),
  });
  const reply = new Uint8Array(65_536);
  const client = new P9Client((request) => reply.slice(0, server.handle(request, reply)));
  client.start();
  return { base, path, server, client, troubles };
}

const fails = (errno: number, act: () => unknown) =>
  assert.throws(act, (error) => error instanceof P9Failure && error.errno === errno, `errno ${errno}`);

for (const anchored of WAYS) {
  const name = anchored ? 'by handles' : 'by paths';

  test(`share, ${name}: files are read, created, written, listed, renamed and removed`, () => {
    const { client, path } = build({ anchored });
    assert.equal(client.read(client.open('hello')).toString(), 'hello, world');
    assert.equal(client.read(client.open('sub/deep'), 2).toString(), 'ep');
    const made = client.create('sub', 'new', 2, 0o600);
    assert.equal(client.write(made, 0, 'contents'), 8);
    assert.equal(client.write(made, 4, 'ENTS'), 4);
    assert.equal(client.read(made).toString(), 'contENTS');
    assert.equal(readFileSync(join(path, 'sub/new'), 'utf8'), 'contENTS');
    assert.equal(statSync(join(path, 'sub/new')).mode & 0o777, 0o600);
    assert.deepEqual(client.list(client.open('')), ['.', '..', 'escape', 'hello', 'sub', 'up']);
    client.call(P9.renameat, u32(client.walk('sub')), text('new'), u32(0), text('moved'));
    assert.equal(client.read(made).toString(), 'contENTS', 'an open file stays open');
    assert.equal(client.attributes(client.walk('moved')).size, 8);
    client.call(P9.rename, u32(client.walk('moved')), u32(client.walk('sub')), text('again'));
    assert.deepEqual(readdirSync(join(path, 'sub')).sort(), ['again', 'deep']);
    client.call(P9.unlinkat, u32(client.walk('sub')), text('again'), u32(0));
    assert.equal(client.attributes(made).links, 0);
    assert.equal(client.read(made).toString(), 'contENTS', 'and after it was removed');
    fails(ENOENT, () => client.walk('sub/again'));
    client.call(P9.remove, u32(client.walk('hello')));
    assert.equal(existsSync(join(path, 'hello')), false);
  });

  test(`share, ${name}: folders`, () => {
    const { client, path } = build({ anchored });
    client.call(P9.mkdir, u32(0), text('made'), u32(0o777), u32(0));
    assert.equal(statSync(join(path, 'made')).mode & 0o777, 0o777, 'the umask is the guest’s own affair');
    fails(EEXIST, () => client.call(P9.mkdir, u32(0), text('made'), u32(0o755), u32(0)));
    const made = client.walk('made');
    assert.equal(client.attributes(made).type, 0x80);
    client.call(P9.mkdir, u32(made), text('inner'), u32(0o755), u32(0));
    fails(ENOTEMPTY, () => client.call(P9.unlinkat, u32(0), text('made'), u32(0x200)));
    const inner = client.walk('made/inner');
    client.call(P9.renameat, u32(0), text('made'), u32(0), text('other'));
    assert.equal(client.attributes(inner).type, 0x80, 'a fid goes with its folder');
    client.call(P9.lcreate, u32(client.walk('', inner)), text('file'), u32(1), u32(0o644), u32(0));
    assert.ok(existsSync(join(path, 'other/inner/file')));
    fails(ENOTDIR, () => client.walk('x', client.walk('hello')));
    fails(EISDIR, () => client.open('sub', 1));
    fails(EISDIR, () => client.read(client.open('sub')));
    client.call(P9.unlinkat, u32(inner), text('file'), u32(0));
    client.call(P9.unlinkat, u32(client.walk('other')), text('inner'), u32(0x200));
    fails(ENOENT, () => client.call(P9.mkdir, u32(inner), text('x'), u32(0o755), u32(0)));
  });

  test(`share, ${name}: links are told, never followed`, () => {
    const { client, path, base } = build({ anchored });
    const link = client.walk('escape');
    assert.equal(client.attributes(link).type, 2);
    assert.equal(client.call(P9.readlink, u32(link)).toString('latin1', 2), '../secret');
    fails(ELOOP, () => client.open('escape'));
    fails(ELOOP, () => client.open('up'));
    fails(ENOENT, () => client.walk('up/secret'));
    fails(ENOTDIR, () => client.walk('secret', client.walk('up')));
    fails(EEXIST, () => client.create('', 'escape', 0o200 | 2));
    fails(ELOOP, () => client.create('', 'escape', 0o1000 | 2));
    fails(EOPNOTSUPP, () => client.set(link, 1, 0o777));
    fails(ELOOP, () => client.set(link, 8, 0, 0, 0));
    client.set(link, 0x20 | 0x100, 0, 0, 0, 1000);
    assert.notEqual(statSync(join(base, 'secret')).mtimeMs, 1_000_000);
    assert.equal(lstatSync(join(path, 'escape')).mtimeMs, 1_000_000);
    client.call(P9.symlink, u32(0), text('made'), text('/etc/passwd'), u32(0));
    assert.equal(readlinkSync(join(path, 'made')), '/etc/passwd');
    fails(ENOTDIR, () => client.call(P9.mkdir, u32(client.walk('up')), text('x'), u32(0o755), u32(0)));
    client.call(P9.link, u32(0), u32(link), text('second'));
    assert.equal(readlinkSync(join(path, 'second')), '../secret', 'the link itself got another name');
    client.call(P9.remove, u32(client.walk('second')));
    client.call(P9.remove, u32(link));
    assert.equal(readFileSync(join(base, 'secret'), 'utf8'), 'secret');
  });

  test(`share, ${name}: names lead one step downwards, and ".." no higher than the shared folder`, () => {
    const { client } = build({ anchored });
    for (const bad of ['', '.', 'a/b', '../secret', '/etc/passwd', 'nul\0', 'sub/deep']) {
      const walk = () => client.call(P9.walk, u32(0), u32(900), u16(1), text(bad));
      fails(EINVAL, walk);
      fails(EINVAL, () => client.call(P9.mkdir, u32(0), text(bad), u32(0o755), u32(0)));
      fails(EINVAL, () => client.create('', bad));
      fails(EINVAL, () => client.call(P9.unlinkat, u32(0), text(bad), u32(0)));
      fails(EINVAL, () => client.call(P9.renameat, u32(0), text('hello'), u32(0), text(bad)));
      fails(EINVAL, () => client.call(P9.symlink, u32(0), text(bad), text('x'), u32(0)));
    }
    for (const change of [P9.mkdir, P9.symlink]) {
      fails(EINVAL, () =>
        client.call(change, u32(0), text('..'), ...(change === P9.mkdir ? [u32(0)] : [text('x')]), u32(0)),
      );
    }
    const root = client.attributes(0).path;
    assert.equal(client.attributes(client.walk('..')).path, root);
    assert.equal(client.attributes(client.walk('../../..')).path, root);
    assert.equal(client.attributes(client.walk('sub/..')).path, root);
    assert.equal(client.attributes(client.walk('sub/../../sub/deep')).size, 4);
    fails(36, () => client.walk('x'.repeat(256)));
  });

  test(`share, ${name}: folders that are exchanged for links meanwhile lead nowhere`, () => {
    let now = 0;
    const { client, path, base } = build({ anchored, now: () => now });
    const sub = client.walk('sub');
    const deep = client.walk('sub/deep');
    mkdirSync(join(base, 'outside'));
    writeFileSync(join(base, 'outside/deep'), 'outside');
    // Exchanged for a link to a folder outside.
    renameSync(join(path, 'sub'), join(path, 'away'));
    symlinkSync(join(base, 'outside'), join(path, 'sub'));
    if (anchored) {
      // The handle is the folder that was meant, for a while.
      client.call(P9.mkdir, u32(sub), text('here'), u32(0o755), u32(0));
      assert.ok(existsSync(join(path, 'away/here')));
    }
    now += 1000;
    fails(ENOENT, () => client.call(P9.mkdir, u32(sub), text('there'), u32(0o755), u32(0)));
    fails(ENOENT, () => client.call(P9.lopen, u32(deep), u32(0)));
    fails(ENOENT, () => client.call(P9.unlinkat, u32(sub), text('deep'), u32(0)));
    assert.deepEqual(readdirSync(join(base, 'outside')), ['deep']);
    // A file exchanged for a link, and for another file.
    const hello = client.walk('hello');
    unlinkSync(join(path, 'hello'));
    symlinkSync('../secret', join(path, 'hello'));
    fails(ENOENT, () => client.call(P9.lopen, u32(hello), u32(0)));
    fails(ENOENT, () => client.set(hello, 8, 0, 0, 1));
    assert.equal(readFileSync(join(base, 'secret'), 'utf8'), 'secret');
    unlinkSync(join(path, 'hello'));
    linkSync(join(base, 'outside/deep'), join(path, 'hello'));
    fails(ENOENT, () => client.call(P9.lopen, u32(hello), u32(0)));
  });

  test(`share, ${name}: modes, sizes and times`, () => {
    const { client, path } = build({ anchored });
    const hello = client.walk('hello');
    client.set(hello, 1, 0o640);
    assert.equal(statSync(join(path, 'hello')).mode & 0o7777, 0o640);
    fails(EPERM, () => client.set(hello, 1, 0o4755));
    client.set(hello, 8, 0, 0, 5);
    assert.equal(readFileSync(join(path, 'hello'), 'utf8'), 'hello');
    fails(27, () => client.set(hello, 8, 0, 0, 1n << 60n));
    client.set(hello, 0x20 | 0x100, 0, 0, 0, 12_345);
    assert.equal(client.attributes(hello).modified, 12_345);
    client.set(hello, 2, 0, client.attributes(hello).uid);
    client.set(client.walk('sub'), 1, 0o1777);
    assert.equal(statSync(join(path, 'sub')).mode & 0o7777, 0o1777);
  });

  test(`share, ${name}: a read-only share changes nothing`, () => {
    const { client, path } = build({ anchored, readOnly: true });
    assert.equal(client.read(client.open('hello')).toString(), 'hello, world');
    for (const change of [
      () => client.open('hello', 1),
      () => client.open('hello', 0o1000),
      () => client.create('', 'x'),
      () => client.call(P9.mkdir, u32(0), text('x'), u32(0o755), u32(0)),
      () => client.call(P9.symlink, u32(0), text('x'), text('y'), u32(0)),
      () => client.call(P9.mknod, u32(0), text('x'), u32(0o100644), u32(0), u32(0), u32(0)),
      () => client.call(P9.link, u32(0), u32(client.walk('hello')), text('x')),
      () => client.call(P9.unlinkat, u32(0), text('hello'), u32(0)),
      () => client.call(P9.renameat, u32(0), text('hello'), u32(0), text('x')),
      () => client.call(P9.rename, u32(client.walk('hello')), u32(0), text('x')),
      () => client.call(P9.remove, u32(client.walk('hello'))),
      () => client.set(client.walk('hello'), 1, 0o600),
      () => client.write(client.open('hello'), 0, 'x'),
    ]) {
      fails(EROFS, change);
    }
    assert.deepEqual(readdirSync(path).sort(), ['escape', 'hello', 'sub', 'up']);
    assert.equal(readFileSync(join(path, 'hello'), 'utf8'), 'hello, world');
  });

  test(`share, ${name}: pipes and devices are neither made nor opened`, (t) => {
    const { client, path } = build({ anchored });
    for (const mode of [0o010644, 0o020644, 0o060644, 0o140644]) {
      fails(EPERM, () => client.call(P9.mknod, u32(0), text('x'), u32(mode), u32(1), u32(3), u32(0)));
    }
    client.call(P9.mknod, u32(0), text('plain'), u32(0o100600), u32(0), u32(0), u32(0));
    assert.equal(statSync(join(path, 'plain')).mode & 0o777, 0o600);
    if (spawnSync('mkfifo', [join(path, 'pipe')]).status !== 0) {
      t.skip('mkfifo is missing');
      return;
    }
    fails(EPERM, () => client.open('pipe'));
    fails(EPERM, () => client.open('pipe', 1));
    fails(EPERM, () => client.create('', 'pipe'));
    fails(EPERM, () => client.set(client.walk('pipe'), 8, 0, 0, 0));
    client.call(P9.unlinkat, u32(0), text('pipe'), u32(0));
  });

  test(`share, ${name}: what a guest has is found again by its paths, if it is the same`, () => {
    const { client, server, path } = build({ anchored });
    const open = client.open('hello', 2);
    const walked = client.walk('sub/deep');
    const gone = client.walk('escape');
    const listed = client.open('');
    client.list(listed);
    const state = structuredClone(server.save());
    unlinkSync(join(path, 'escape'));
    writeFileSync(join(path, 'escape'), 'another');

    const other = new P9Server({ path, readOnly: false, anchored, onTrouble() {} });
    other.load(structuredClone(state));
    assert.deepEqual(other.save(), state);
    const second = new P9Client((request) => {
      const reply = new Uint8Array(65_536);
      return reply.subarray(0, other.handle(request, reply));
    });
    assert.equal(second.write(open, 0, 'HELLO'), 5);
    assert.equal(second.attributes(walked).size, 4);
    assert.ok(second.list(listed).includes('hello'));
    fails(ESTALE, () => second.attributes(gone));
    fails(ESTALE, () => second.call(P9.lopen, u32(gone), u32(0)));
    second.clunk(gone);
    fails(EBADF, () => second.attributes(gone));
    other.dispose();
    server.dispose();
  });

  test(`share, ${name}: many files in one folder, listed in parts of any size`, () => {
    const { client, path } = build({ anchored });
    const names = Array.from({ length: 500 }, (_, i) => `file-${String(i).padStart(4, '0')}`);
    for (const each of names) {
      writeFileSync(join(path, 'sub', each), '');
    }
    for (const bytes of [60, 300, 8192, 65_000]) {
      assert.deepEqual(client.list(client.open('sub'), bytes), ['.', '..', 'deep', ...names]);
    }
    fails(EINVAL, () => client.list(client.open('sub'), 10));
  });
}

test('share: names are bytes', {
  skip: process.platform === 'linux' ? false : 'only Linux has names of any bytes',
}, () => {
  const { client, path } = build();
  const odd = 'caf\xe9 \xff\x01';
  client.write(client.create('', odd), 0, 'x');
  assert.ok(client.list(client.open('')).includes(odd));
  assert.equal(client.attributes(client.walk(odd)).size, 1);
  assert.ok(readdirSync(path, { encoding: 'latin1' }).includes(odd));
  client.call(P9.symlink, u32(0), text('link'), text(odd), u32(0));
  assert.equal(client.call(P9.readlink, u32(client.walk('link'))).toString('latin1', 2), odd);
});

test('share: sessions begin with a version, and end with the next one', () => {
  const { client, server } = build();
  const reply = new Uint8Array(100);
  const version = (name: string) =>
    Buffer.from(reply.subarray(0, server.handle(message(P9.version, u32(8192), text(name)), reply)));
  assert.match(version('9P2000').toString('latin1'), /unknown/);
  fails(EPROTO, () => client.attributes(0));
  assert.match(version('9P2000.L').toString('latin1'), /9P2000\.L/);
  fails(EBADF, () => client.attributes(0));
  client.start(4096);
  fails(EMSGSIZE, () => client.write(client.open('hello', 2), 0, Buffer.alloc(5000)));
  fails(EOPNOTSUPP, () => client.call(P9.auth, u32(1), text(''), text(''), u32(0)));
  fails(EOPNOTSUPP, () => client.call(P9.xattrwalk, u32(0), u32(5), text('user.x')));
  assert.equal(client.call(P9.flush, u16(7)).length, 0);
  assert.equal(client.call(P9.statfs, u32(0)).readUInt32LE(0), 0x01021997);
  const open = client.open('hello', 2);
  client.call(P9.fsync, u32(open), u32(0));
  client.call(P9.fsync, u32(client.open('')), u32(0));
  assert.equal(client.call(P9.lock, u32(open), u8(1), u32(0), u64(0), u64(0), u32(1), text('me'))[0], 0);
  assert.equal(client.call(P9.getlock, u32(open), u8(1), u64(0), u64(0), u32(1), text('me'))[0], 2);
});

test('share: messages that are cut short, or too long, are errors', () => {
  const { server, client } = build();
  const reply = new Uint8Array(4096);
  const whole = message(P9.walk, u32(0), u32(1), u16(1), text('hello'));
  for (let length = 0; length < whole.length; length++) {
    const cut = Buffer.from(whole.subarray(0, length));
    const answer = server.handle(cut, reply);
    assert.equal(answer, length < 7 ? 0 : 11);
    if (length >= 7) {
      cut.writeUInt32LE(length, 0);
      server.handle(cut, reply);
      assert.equal(reply[4], 7);
      assert.equal(new DataView(reply.buffer).getUint32(7, true), EPROTO);
    }
  }
  assert.equal(server.handle(whole, new Uint8Array(10)), 0, 'no room even for an error');
  server.handle(whole, reply.subarray(0, 11));
  assert.equal(new DataView(reply.buffer).getUint32(7, true), EMSGSIZE);
  fails(EOPNOTSUPP, () => client.call(200));
});

test('share: nonsense never gets out of the folder, nor throws', () => {
  const { server, base } = build();
  const random = new Random(4711);
  const names = ['hello', 'sub', 'deep', 'up', 'escape', 'secret', '..', '.', '', 'a/b', 'x', 'y'];
  const types = [...new Set(Object.values(P9))];
  const fid = () => u32(random.chance(1, 10) ? random.u32() : random.below(12));
  const name = () => text(random.pick(names));
  const number = () => u32(random.chance(1, 4) ? random.u32() : random.below(4));
  const request = (): Buffer => {
    const type = random.pick(types);
    switch (type) {
      case P9.version:
        return message(type, u32(random.chance(1, 3) ? random.u32() : 8192), text('9P2000.L'));
      case P9.attach:
        return message(type, fid(), u32(0xffffffff), name(), name(), number());
      case P9.walk: {
        const steps = random.below(4);
        return message(type, fid(), fid(), u16(steps), ...Array.from({ length: steps }, name));
      }
      case P9.lcreate:
        return message(type, fid(), name(), u32(random.u32() & 0o7777703), u32(random.u32()), number());
      case P9.lopen:
        return message(type, fid(), u32(random.u32() & 0o7777703));
      case P9.symlink:
        return message(type, fid(), name(), name(), number());
      case P9.mkdir:
        return message(type, fid(), name(), u32(random.u32() | 0o700), number());
      case P9.rename:
      case P9.link:
        return message(type, fid(), fid(), name());
      case P9.renameat:
        return message(type, fid(), name(), fid(), name());
      case P9.unlinkat:
        return message(type, fid(), name(), u32(random.pick([0, 0x200])));
      case P9.setattr:
        return message(
          type,
          fid(),
          u32(random.below(512)),
          u32(random.u32() | 0o600),
          number(),
          number(),
          u64(random.below(1000)),
          ...Array.from({ length: 4 }, () => u64(random.u64())),
        );
      case P9.read:
      case P9.readdir:
        return message(type, fid(), u64(random.chance(1, 4) ? random.u64() : random.below(5)), number());
      case P9.write:
        return message(
          type,
          fid(),
          u64(random.chance(1, 9) ? random.u64() : random.below(5)),
          u32(3),
          Buffer.from('abc'),
        );
      case P9.mknod:
        return message(type, fid(), name(), u32(random.u32()), number(), number(), number());
      default:
        return message(type, fid(), ...Array.from({ length: random.below(10) }, number));
    }
  };
  const reply = new Uint8Array(8192);
  for (let i = 0; i < 20_000; i++) {
    const bytes = request();
    if (random.chance(1, 20)) {
      bytes[random.below(bytes.length)] = random.u32();
    }
    const length = server.handle(bytes, reply.subarray(0, random.pick([11, 24, 200, 8192])));
    assert.ok(length === 0 || length === new DataView(reply.buffer).getUint32(0, true));
    if (i % 1000 === 0) {
      const state = structuredClone(server.save());
      server.load(structuredClone(state));
      assert.deepEqual(server.save(), state);
    }
  }
  server.dispose();
  assert.equal(readFileSync(join(base, 'secret'), 'utf8'), 'secret');
  assert.deepEqual(readdirSync(base).sort(), ['secret', 'shared']);
});

test('share: a folder that vanishes is an error for the guest and a line for the user, and can come back', () => {
  let now = 0;
  const { client, path, troubles } = build({ now: () => now });
  fails(ENOENT, () => client.walk('missing'));
  assert.deepEqual(troubles, []);
  renameSync(path, `${path}-away`);
  now += 2000;
  fails(ENOENT, () => client.walk('hello'));
  fails(ENOENT, () => client.create('', 'x'));
  assert.equal(troubles.length, 1);
  assert.match(troubles[0] ?? '', /^the folder is not there any more/);
  renameSync(`${path}-away`, path);
  now += 2000;
  assert.equal(client.read(client.open('hello')).toString(), 'hello, world');
});

test('share: a host without space is an error for the guest and a line for the user', (t) => {
  const path = join(folder, 'full');
  mkdirSync(path);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', path]).status !== 0) {
    t.skip('a file system that fills up needs root and mount');
    return;
  }
  try {
    const troubles: string[] = [];
    const server = new P9Server({ path, readOnly: false, onTrouble: (line) => troubles.push(line) });
    const reply = new Uint8Array(65_536);
    const client = new P9Client((request) => reply.slice(0, server.handle(request, reply)));
    client.start();
    const fid = client.create('', 'file');
    let written = 0;
    fails(28, () => {
      for (let i = 0; i < 20; i++) {
        written += client.write(fid, written, Buffer.alloc(10_000));
      }
    });
    assert.ok(written > 50_000 && written <= 65_536, `${written} bytes`);
    assert.equal(client.attributes(fid).size, written, 'what was said to be written is there');
    fails(28, () => client.write(fid, written, Buffer.alloc(10_000)));
    assert.deepEqual(troubles, ['the host has no space left; the guest gets an error: free some space']);
    client.set(fid, 8, 0, 0, 0);
    assert.equal(client.write(fid, 0, Buffer.alloc(10_000)), 10_000);
    server.dispose();
  } finally {
    spawnSync('umount', [path]);
  }
});

test('share: limits', () => {
  const { client } = build();
  let at = client.walk('sub');
  for (let depth = 1; depth < 256; depth++) {
    client.call(P9.mkdir, u32(at), text('d'), u32(0o755), u32(0));
    const next = client.walk('d', at);
    client.clunk(at);
    at = next;
  }
  fails(36, () => client.call(P9.mkdir, u32(at), text('d'), u32(0o755), u32(0)));
  for (let fid = 100_000; fid < 100_000 + 70_000; fid++) {
    try {
      client.call(P9.walk, u32(0), u32(fid), u16(0));
    } catch (error) {
      assert.ok(error instanceof P9Failure && error.errno === 24);
      assert.ok(fid > 165_000);
      return;
    }
  }
  assert.fail('a guest can have any number of files in its hands');
});

test('share: no permission on the host is no permission in the guest', (t) => {
  if (process.getuid?.() === 0) {
    t.skip('root may do everything');
    return;
  }
  const { client, path } = build();
  chmodSync(join(path, 'hello'), 0);
  fails(13, () => client.open('hello'));
  truncateSync(join(path, 'sub/deep'), 0);
});
