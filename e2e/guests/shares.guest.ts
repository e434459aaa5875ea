/** Folders of the host in a Debian guest, by its own 9p driver. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { GuestRun, onQemu } from './guest-run.ts';
import { initramfsWithModules, LOAD_MODULES } from './kernel-modules.ts';
import { linuxKernel, READY } from './linux.ts';
import { needs } from './needs.ts';

const SECONDS = 500;
const PROMPT = /guest# /;

type Run = (command: string, answer: RegExp) => Promise<RegExpExecArray>;

/** A guest with these shares, its modules loaded. */
async function withShares(
  t: TestContext,
  shares: readonly string[],
  use: (guest: GuestRun, run: Run) => Promise<void>,
): Promise<void> {
  const kernel = needs(t, () => linuxKernel('generic'));
  const initrd = kernel && needs(t, () => initramfsWithModules('generic', ['virtio_pci', '9pnet_virtio', '9p']));
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  const append = 'console=ttyS0 panic=-1 quiet';
  const options = { memory: 256, kernel, initrd, append, shares, noReboot: true, timeout: SECONDS * 8 };
  await GuestRun.with(options, async (guest) => {
    await guest.waitFor(new RegExp(READY), SECONDS);
    await guest.waitFor(PROMPT, SECONDS);
    const run: Run = async (command, answer) => {
      guest.send(`${command}\n`);
      const match = await guest.waitFor(answer, SECONDS);
      await guest.waitFor(PROMPT, SECONDS);
      return match;
    };
    await run(`${LOAD_MODULES}; echo loaded-$((6*7))`, /loaded-42/);
    await use(guest, run);
    guest.send('poweroff -f\n');
    assert.equal(await guest.exitCode(SECONDS), 0);
  });
}

const mount = (name: string, where: string) =>
  `mkdir -p ${where}; mount -t 9p -o trans=virtio,version=9p2000.L ${name} ${where} && echo mounted-$((1+1))`;

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-shares-'));
  try {
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('a share with 10,000 files: all found and read, others made, renamed and removed', async (t) => {
  await inFolder(async (folder) => {
    const path = join(folder, 'shared');
    const lines: string[] = [];
    for (let i = 0; i < 100; i++) {
      mkdirSync(join(path, `d${i}`), { recursive: true });
      for (let j = 0; j < 100; j++) {
        const contents = `file ${j} in folder ${i}\n`.repeat(1 + ((i * j) % 200));
        writeFileSync(join(path, `d${i}`, `f${j}`), contents);
        lines.push(`${createHash('md5').update(contents).digest('hex')}  ./d${i}/f${j}`);
      }
    }
    const whole = createHash('md5')
      .update(`${lines.sort().join('\n')}\n`)
      .digest('hex');
    await withShares(t, [`docs=${path}`], async (_guest, run) => {
      await run(mount('docs', '/mnt'), /mounted-2/);
      const timed = async (what: string, command: string, answer: RegExp) => {
        const started = performance.now();
        await run(command, answer);
        t.diagnostic(`${what} in ${((performance.now() - started) / 1000).toFixed(1)} s`);
      };
      await timed('10,000 files found', 'cd /mnt; find . -type f | wc -l', /\n10000\r/);
      await timed('10,000 files read', 'find . -type f | xargs md5sum | sort | md5sum', new RegExp(whole));
      await timed(
        '500 files made',
        'mkdir /mnt/new; i=0; while [ $i -lt 500 ]; do echo guest $i > /mnt/new/f$i; i=$((i+1)); done; ls new | wc -l',
        /\n500\r/,
      );
      assert.equal(readFileSync(join(path, 'new/f499'), 'utf8'), 'guest 499\n');
      await run('mv new moved; mv moved/f7 d0/seven; cat d0/seven; ls moved | wc -l', /guest 7\r\n499\r/);
      await timed('500 files removed', 'rm -r moved d1; ls | wc -l', /\n99\r/);
      assert.equal(existsSync(join(path, 'moved')), false);
      assert.equal(existsSync(join(path, 'd1')), false);
      // A file that is large for its messages, both ways.
      await run('dd if=/dev/urandom of=/mnt/big bs=1M count=20 2>/dev/null; md5sum big', /[0-9a-f]{32}/);
      const sum = createHash('md5')
        .update(readFileSync(join(path, 'big')))
        .digest('hex');
      await run('echo 3 > /proc/sys/vm/drop_caches; md5sum < /mnt/big', new RegExp(sum));
    });
  });
});

test('what a share means: links, modes, files that stay open, changes by the host, a folder that vanishes', async (t) => {
  await inFolder(async (folder) => {
    const path = join(folder, 'shared');
    mkdirSync(path);
    writeFileSync(join(folder, 'secret'), 'TOP-SECRET');
    writeFileSync(join(path, 'file'), 'from the host\n');
    symlinkSync('../secret', join(path, 'out'));
    symlinkSync(join(folder, 'secret'), join(path, 'absolute'));
    symlinkSync('..', join(path, 'up'));
    await withShares(t, [`docs=${path}`], async (guest, run) => {
      await run(mount('docs', '/mnt'), /mounted-2/);
      // The guest follows links in its own file systems, where the secret is not.
      await run('cd /mnt; cat out absolute; cat up/secret; ls up/; echo tried-$((1+1))', /tried-2/);
      await run('echo written > out; echo tried-$((1+1))', /tried-2/);
      assert.equal(readFileSync(join(folder, 'secret'), 'utf8'), 'TOP-SECRET');
      await run('ln -s /etc/shadow mine; readlink mine; ln file second; stat -c %h file', /\/etc\/shadow\r\n2\r/);
      assert.equal(readlinkSync(join(path, 'mine')), '/etc/shadow');
      await run('chmod 640 file; touch -d @86400 file; stat -c "%a %Y" file', /640 86400\r/);
      assert.equal(statSync(join(path, 'file')).mtimeMs, 86_400_000);
      await run('mkfifo pipe; mknod device c 1 3; chmod u+s file; stat -c %a file', /640\r/);
      assert.deepEqual(readdirSync(path).sort(), ['absolute', 'file', 'mine', 'out', 'second', 'up']);
      await run(
        'exec 3<> kept; echo kept open >&3; rm kept; echo still >&3; cat /proc/self/fd/3; exec 3>&-; echo done-$((1+1))',
        /done-2/,
      );
      await run('truncate -s 5 file; cat file; echo " end"', /from {2}end/);
      writeFileSync(join(path, 'later'), 'the host wrote this\n');
      renameSync(join(path, 'second'), join(path, 'third'));
      await run('cat later; ls', /the host wrote this[\s\S]*third/);
      await run('df /mnt | tail -1', /docs/);
      if (onQemu) {
        return;
      }
      renameSync(path, join(folder, 'elsewhere'));
      await new Promise((resolve) => setTimeout(resolve, 1100));
      await run('ls /mnt/file; echo x > /mnt/file; echo status $?', /status 1/);
      assert.match(guest.errors, /share docs .*the folder is not there any more; the guest gets an error: put it back/);
      renameSync(join(folder, 'elsewhere'), path);
      await new Promise((resolve) => setTimeout(resolve, 1100));
      await run('cat /mnt/later', /the host wrote this/);
    });
    assert.equal(readFileSync(join(folder, 'secret'), 'utf8'), 'TOP-SECRET');
  });
});

test('two shares, one of them read-only', async (t) => {
  await inFolder(async (folder) => {
    for (const name of ['one', 'two']) {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, 'file'), `${name}\n`);
    }
    const shares = [`first=${join(folder, 'one')}`, `second=${join(folder, 'two')},readonly`];
    await withShares(t, shares, async (_guest, run) => {
      await run(mount('first', '/mnt'), /mounted-2/);
      await run(mount('second', '/tmp/two'), /mounted-2/);
      await run('cat /mnt/file /tmp/two/file', /one\r\ntwo\r/);
      await run(
        'echo changed > /mnt/file; echo x > /tmp/two/file; rm /tmp/two/file; mkdir /tmp/two/d; ls /tmp/two',
        /\nfile\r/,
      );
    });
    assert.equal(readFileSync(join(folder, 'one/file'), 'utf8'), 'changed\n');
    assert.equal(readFileSync(join(folder, 'two/file'), 'utf8'), 'two\n');
    assert.deepEqual(readdirSync(join(folder, 'two')), ['file']);
  });
});
