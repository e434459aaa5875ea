import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, test } from 'node:test';
import type { ProcessEnd } from '../vms/process-host.ts';
import { FakePort } from './testing/fake-electron.ts';
import { endOf, type UtilityProcessLike, utilityProcessHost } from './utility-process-host.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-utility-'));
after(() => rmSync(folder, { recursive: true }));

class FakeUtility extends EventEmitter implements UtilityProcessLike {
  pid: number | undefined;
  readonly stdout = new PassThrough();
  readonly stderr = new PassThrough();
  readonly posted: { message: unknown; ports: unknown[] }[] = [];
  kills = 0;

  postMessage(message: unknown, ports: unknown[] = []): void {
    this.posted.push({ message, ports });
  }

  kill(): boolean {
    this.kills++;
    return this.pid !== undefined;
  }

  spawn(pid: number): void {
    this.pid = pid;
    this.emit('spawn');
  }

  exit(code: number): void {
    this.pid = undefined;
    this.emit('exit', code);
    this.stdout.end();
    this.stderr.end();
  }
}

function setUp(name = 'run.log') {
  const child = new FakeUtility();
  const forks: unknown[][] = [];
  const host = utilityProcessHost({
    fork: (...args) => {
      forks.push(args);
      return child;
    },
    program: '/programs/vm-process.js',
    platform: 'linux',
  });
  const messages: unknown[] = [];
  const ends: ProcessEnd[] = [];
  const logPath = join(folder, name);
  let tell = () => {};
  const ended = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const started = host.start(
    new URL('file:///source/vm-process.ts'),
    { logPath, name: 'Tour' },
    {
      message: (message) => messages.push(message),
      ended: (end) => {
        ends.push(end);
        tell();
      },
    },
  );
  return { child, forks, host, messages, ends, logPath, ended, started };
}

test('a machine is a utility process with its output in the log', async () => {
  const { child, forks, messages, ends, logPath, ended, started } = setUp();
  assert.deepEqual(forks, [
    ['/programs/vm-process.js', [], { serviceName: 'Lodge: Tour', stdio: ['ignore', 'pipe', 'pipe'] }],
  ]);
  assert.equal(started.pid, undefined);
  child.spawn(77);
  assert.equal(started.pid, 77);
  started.post({ kind: 'start' });
  const { port1 } = FakePort.pair();
  started.post({ kind: 'viewer-port' }, [port1]);
  assert.deepEqual(child.posted, [
    { message: { kind: 'start' }, ports: [] },
    { message: { kind: 'viewer-port' }, ports: [port1] },
  ]);
  child.emit('message', { kind: 'started' });
  assert.deepEqual(messages, [{ kind: 'started' }]);
  child.stdout.write('hello\n');
  child.stderr.write('trouble\n');
  child.emit('error', 'FatalError', 'v8::ToLocalChecked', '{}');
  child.exit(0);
  assert.deepEqual(ends, [], 'the end comes after the output');
  await ended;
  assert.deepEqual(ends, [{ code: 0, signal: null }]);
  const log = readFileSync(logPath, 'utf8');
  assert.match(log, /hello\n/);
  assert.match(log, /FatalError in v8::ToLocalChecked/);
  const late = FakePort.pair();
  started.post({ kind: 'viewer-port' }, [late.port1]);
  assert.equal(child.posted.length, 2);
  assert.equal(late.port1.closed, true);
});

test('ends are told apart', () => {
  assert.deepEqual(endOf(0, 'linux'), { code: 0, signal: null });
  assert.deepEqual(endOf(1, 'linux'), { code: 1, signal: null });
  assert.deepEqual(endOf(9, 'linux'), { code: null, signal: 'SIGKILL' });
  assert.deepEqual(endOf(11 | 0x80, 'darwin'), { code: null, signal: 'SIGSEGV' });
  assert.deepEqual(endOf(3 << 8, 'linux'), { code: 3, signal: null });
  assert.deepEqual(endOf(0xc0000005, 'win32'), { code: 0xc0000005, signal: null });
});

test('a process that never came to life can be ended, once', async () => {
  const { child, ends, started, ended, host } = setUp('never.log');
  started.kill();
  await ended;
  assert.deepEqual(ends, [{ code: null, signal: null }]);
  started.kill();
  assert.equal(ends.length, 1);
  const before = child.kills;
  child.spawn(5);
  assert.equal(child.kills, before + 1, 'it is not left alone');
  host.dispose();
});

test('the host ends what it started', () => {
  const { child, host, ends } = setUp('dispose.log');
  child.spawn(6);
  host.dispose();
  assert.equal(child.kills, 1);
  assert.deepEqual(ends, []);
  child.exit(0);
});
