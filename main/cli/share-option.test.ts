import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runOptions } from './testing/run-options.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-share-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const run = (options: readonly string[], real = false) => runOptions(['--serial', 'none', ...options], real);

test('--share and --vsock, with commas and equals signs in paths', async () => {
  const odd = join(folder, 'a=b,c');
  mkdirSync(odd);
  const socket = join(folder, 'vm');
  const shares = ['--share', `docs=${folder},readonly`, '--share', `odd=${odd}`];
  const { config, lines, code } = await run([...shares, '--vsock', `cid=9,socket=${socket}`]);
  assert.deepEqual([code, lines], [0, []]);
  assert.deepEqual(config?.shares, [
    { name: 'docs', path: folder, readOnly: true },
    { name: 'odd', path: odd, readOnly: false },
  ]);
  assert.deepEqual(config?.vsock, { cid: 9, socket });
  assert.equal((await run(['--vsock', `socket=${socket}`])).config?.vsock?.cid, 3);
});

test('what is wrong is said in one line, with exit code 2', async () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  for (const [options, says] of [
    [['--share', `docs=${folder}/none`], /^--share docs=.*\/none: there is no such folder; give a folder to share/],
    [['--share', folder], /is not a share; write NAME=FOLDER/],
    [['--share', `docs=${file}`], /is no folder; give the folder that holds it/],
    [['--share', `a b=${folder}`], /is not a name for a share/],
    [['--share', `docs=${folder},ro=1`], /there is no 'ro='; after a comma, give readonly/],
    [['--share', `x=${folder}`, '--share', `x=${folder}`], /--share x: is given twice/],
    [['--vsock', 'cid=3'], /write cid=N,socket=PATH/],
    [['--vsock', `cid=2,socket=${folder}/s`], /cid=2: is no address of a guest/],
    [['--vsock', `socket=${file}`], /is no socket, and would be overwritten/],
    [['--vsock', `socket=${folder}/none/s`], /its folder does not exist/],
  ] as const) {
    const { code, lines } = await run(options);
    assert.equal(code, 2, options.join(' '));
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', says);
  }
});

test('a socket that another program has stops the start', async () => {
  const socket = join(folder, 'taken');
  const server = createServer();
  server.listen(socket);
  await once(server, 'listening');
  const { code, lines } = await run(['--share', `docs=${folder}`, '--vsock', `socket=${socket}`], true);
  server.close();
  await once(server, 'close');
  assert.equal(code, 2);
  assert.match(lines.at(-1) ?? '', /taken: another program has this socket; give another path/);
  assert.equal(existsSync(socket), false);
});
