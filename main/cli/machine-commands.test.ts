import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findFirmware } from '../../engine/firmware/find-firmware.ts';
import { HOME_VARIABLE } from '../services/data-folder.ts';
import { runLodge as run } from './testing/run-lodge.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-commands-'));
process.env[HOME_VARIABLE] = join(folder, 'data');
after(() => rmSync(folder, { recursive: true, force: true }));

/** Waits until the background owner, which has nothing left to do, has ended. */
async function noOwner(): Promise<void> {
  const until = performance.now() + 60_000;
  while (existsSync(join(folder, 'data', 'owner.lock'))) {
    assert.ok(performance.now() < until, 'the background owner has not ended');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function withoutFirmware(): string | false {
  try {
    findFirmware();
    return false;
  } catch (error) {
    return `no firmware: ${error instanceof Error ? error.message : error}`;
  }
}

test('a machine is made with the defaults of its guest system, listed, shown and deleted', async () => {
  assert.match((await run('list')).out, /no machines yet/);
  const made = await run('create', '--name', 'First', '--guest', 'alpine', '--memory', '96', '--disk-size', '0.5');
  assert.deepEqual([made.code, made.out], [0, 'First\n']);
  const [machine] = JSON.parse((await run('list', '--json')).out);
  assert.equal(machine.settings.memoryMegabytes, 96);
  assert.equal(machine.settings.processors, 1);
  assert.match((await run('list')).out, /First +powered-off +alpine +First/);
  assert.match((await run('show', 'first')).out, /memory +96 MB/);
  const deleted = await run('delete', 'First', '--files');
  assert.match(deleted.out, /deleted .*disk\.img\ndeleted .*machine\.json\n/);
  assert.equal(existsSync(machine.folder), false);
});

test('mistakes are told in one line with exit code 2', async () => {
  writeFileSync(join(folder, 'empty.iso'), '');
  writeFileSync(join(folder, 'text.img'), 'no disk');
  const cases: [string[], RegExp][] = [
    [['create'], /a machine needs a name; give --name/],
    [['create', '--name', 'x', '--guest', 'beos'], /--guest beos: is not a known guest system; give one of debian/],
    [['create', '--name', 'x', '--memory', '1'], /--memory 1: is out of range; give 16 to \d+ megabytes/],
    [['create', '--demo', '--name', 'x'], /--demo: the demonstration guest is made as it is; leave out --name/],
    [['create', '--demo', '--disk-size', '1'], /leave out --disk-size, or --demo$/],
    [['create', '--name', 'x', '--cpus', '99'], /--cpus 99: is out of range; give 1 to 8 processors/],
    [['create', '--name', 'x', '--disk-size', 'big'], /--disk-size big: is not a size; give a number of gigabytes/],
    [['create', '--name', 'x', '--media', join(folder, 'none.iso')], /none\.iso: there is no such file; choose an ISO/],
    [['create', '--name', 'x', '--media', join(folder, 'text.img')], /text\.img: is no disk image/],
    [['keys', 'x', 'Nonsense'], /'Nonsense' is not a key; give names such as KeyA/],
    [['create', '--name', 'x', '--memory', 'lots'], /--memory lots: is not a whole number/],
    [['show', 'nobody'], /nobody: there is no such machine; lodge list names them/],
    [['serve', '--port', '99999'], /--port 99999: is not a port/],
    [['stop'], /missing required argument 'machine'/],
  ];
  for (const [argv, complaint] of cases) {
    const { code, complaints } = await run(...argv);
    assert.equal(code, 2, argv.join(' '));
    assert.equal(complaints.length, 1, argv.join(' '));
    assert.match(complaints[0] ?? '', complaint);
  }
  const empty = await run('create', '--name', 'x', '--media', join(folder, 'empty.iso'));
  assert.match(empty.complaints[0] ?? '', /empty\.iso: the file is empty/);
  assert.match((await run('list')).out, /no machines yet/);
});

test('a machine that was started in software stays there, and says how to have it otherwise', {
  timeout: 240_000,
  skip: withoutFirmware(),
}, async () => {
  const made = await run('create', '--name', 'Fixed', '--no-disk', '--memory', '32', '--accel', 'software');
  assert.equal(made.code, 0);
  try {
    const off = await run('accel', 'Fixed', 'kvm');
    assert.deepEqual([off.code, off.complaints], [2, ['Fixed: it is not running; start it first']]);
    assert.equal((await run('start', 'Fixed')).code, 0);
    assert.equal((await run('accel', 'Fixed', 'software')).code, 0);
    const refused = await run('accel', 'Fixed', 'kvm');
    assert.match(refused.complaints.join('\n'), /^[^\n]*started without KVM[^\n]*; [^\n]*accelerator kvm$/);
    assert.equal(refused.code, 2);
  } finally {
    await run('stop', '--force', 'Fixed');
    await run('delete', 'Fixed', '--files');
    await noOwner();
  }
});

test('beside a running lodge serve the commands go through it', { timeout: 30_000 }, async () => {
  const program = fileURLToPath(new URL('../../bin/lodge.js', import.meta.url));
  const served = spawn(process.execPath, [program, 'serve', '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await new Promise<void>((resolve, reject) => {
      let text = '';
      served.stdout.on('data', (part: Buffer) => {
        text += String(part);
        if (/Lodge is at http:\/\/127\.0\.0\.1:\d+\/\?token=\S+\n/.test(text)) {
          resolve();
        }
      });
      served.on('exit', () => reject(new Error('lodge serve ended')));
    });
    const lock = JSON.parse(readFileSync(join(folder, 'data', 'owner.lock'), 'utf8'));
    assert.deepEqual([lock.pid, lock.what], [served.pid, 'lodge serve']);
    assert.equal((await run('create', '--name', 'Shared', '--no-disk')).code, 0);
    assert.match((await run('list')).out, /Shared/);
    const off = await run('pause', 'Shared');
    assert.deepEqual([off.code, off.complaints], [2, ['Shared: it is not running; start it first']]);
    assert.equal((await run('delete', 'Shared', '--files')).code, 0);
  } finally {
    served.kill('SIGTERM');
    const [code] = await new Promise<unknown[]>((resolve) => served.on('exit', (...end) => resolve(end)));
    assert.equal(code, 0);
  }
  assert.equal(existsSync(join(folder, 'data', 'owner.lock')), false);
});
