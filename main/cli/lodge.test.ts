import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { EventEmitter } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HostError } from '../../engine/base/host-error.ts';
import type { MachineConfig } from '../../engine/config/machine-config.ts';
import type { MachineHost, RunningMachine, RunOutcome } from '../../engine/process/run-machine.ts';
import { lodge } from './main.ts';
import type { ConsoleInput } from './serial-console.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-cli-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, bytes: number): string {
  const path = join(folder, name);
  writeFileSync(path, new Uint8Array(bytes));
  return path;
}

const diskPath = file('disk.img', 1 << 20);
const cdPath = file('cd.iso', 1 << 20);
const emptyPath = file('empty.img', 0);
const oddPath = file('odd.img', 1000);
const bigPath = file('big.img', 4 << 20);
const kernelPath = file('kernel', 4 << 20);
const initrdPath = file('initrd', 40 << 20);
const directory = join(folder, 'directory');
mkdirSync(directory);
symlinkSync(diskPath, join(folder, 'link.img'));
symlinkSync('loop', join(folder, 'loop'));

class FakeTerminal extends EventEmitter {
  readonly isTTY: boolean;
  readonly modes: boolean[] = [];
  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }
  setRawMode(mode: boolean): void {
    this.modes.push(mode);
  }
  resume(): this {
    return this;
  }
  pause(): this {
    return this;
  }
}

interface FakeMachine {
  config?: MachineConfig;
  host?: MachineHost;
  readonly sent: string[];
  stopped: boolean;
  end(outcome: RunOutcome): void;
  fail(error: Error): void;
}

/** Runs a command line in this process with a machine that does what `play` says. */
async function run(
  argv: readonly string[],
  options: { tty?: boolean; play?: (machine: FakeMachine, terminal: FakeTerminal) => void; startError?: Error } = {},
): Promise<{ code: number; out: string; lines: string[]; machine: FakeMachine; terminal: FakeTerminal }> {
  const terminal = new FakeTerminal(options.tty ?? false);
  const lines: string[] = [];
  let out = '';
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      out += chunk.toString('latin1');
      done();
    },
  });
  let settle: (outcome: RunOutcome) => void = () => {};
  let fail: (error: Error) => void = () => {};
  const finished = new Promise<RunOutcome>((resolve, reject) => {
    settle = resolve;
    fail = reject;
  });
  const machine: FakeMachine = { sent: [], stopped: false, end: settle, fail };
  const code = await lodge(argv, {
    stdin: terminal as unknown as ConsoleInput,
    stdout,
    complain: (line) => lines.push(line),
    verbose: false,
    loadStartMachine: async () => async (config, host) => {
      if (options.startError !== undefined) {
        throw options.startError;
      }
      machine.config = config;
      machine.host = host;
      const running: RunningMachine = {
        finished,
        sendSerial: (bytes) => machine.sent.push(Buffer.from(bytes).toString('latin1')),
        typeText() {},
        stop() {
          machine.stopped = true;
          settle({ kind: 'quit' });
        },
        powerButton() {},
        screenshot: async () => new Uint8Array(),
        screenText: async () => undefined,
      };
      setImmediate(() => (options.play ?? ((m) => m.end({ kind: 'powered-off' })))(machine, terminal));
      return running;
    },
  });
  await new Promise((resolve) => stdout.write('', resolve));
  return { code, out, lines, machine, terminal };
}

test('bad usage and bad input end with code 2 and one line that names option, value and remedy', async () => {
  const cases: [string[], RegExp][] = [
    [['run', '--memry', '64'], /unknown option '--memry' \(did you mean --memory\?\)/],
    [['rum'], /unknown command 'rum' \(did you mean run\?\)/],
    [['run', 'extra'], /too many arguments.*extra/],
    [['run', '--cpus'], /--cpus.*missing/],
    [['doctor', '--jsno'], /unknown option '--jsno' \(did you mean --json\?\)/],
    [['run', '--cpus', 'two'], /^--cpus two: .*1 to 8/],
    [['run', '--cpus', '0'], /^--cpus 0: .*1 to 8/],
    [['run', '--cpus', '-2'], /^--cpus -2: .*1 to 8/],
    [['run', '--cpus', '9'], /^--cpus 9: .*1 to 8/],
    [['run', '--cpus', '1e1'], /^--cpus 1e1: /],
    [['run', '--memory', '8'], /^--memory 8: .*16 to 3584/],
    [['run', '--memory', '64GB'], /^--memory 64GB: .*16 to 3584/],
    [['run', '--memory', '99999999999999999999'], /^--memory 9+: /],
    [['run', '--memory', '64', '--memory', '128'], /^--memory 128: is given twice/],
    [['run', '--accel', 'tcg'], /^--accel tcg: .*auto or kvm or software/],
    [['run', '--timeout', 'soon'], /^--timeout soon: .*seconds/],
    [['run', '--timeout', '0'], /^--timeout 0: /],
    [['run', '--boot', 'disk,net'], /^--boot net: .*floppy or cdrom or disk/],
    [['run', '--boot', 'disk,disk'], /^--boot disk,disk: .*twice/],
    [['run', '--boot', ''], /^--boot /],
    [['run', '--serial', 'tcp:1'], /^--serial tcp:1: .*stdio, none or file:PATH/],
    [['run', '--serial', 'file:'], /^--serial "": the path is empty/],
    [['run', '--serial', `file:${directory}`], /^--serial .*directory: is a directory/],
    [['run', '--serial', `file:${diskPath}`, '--disk', diskPath], /^--serial .*would overwrite/],
    [['run', '--kernel', '/no/such/kernel'], /^--kernel \/no\/such\/kernel: there is no such file/],
    [['run', '--kernel', emptyPath], /^--kernel .*empty\.img: the file is empty/],
    [['run', '--kernel', directory], /^--kernel .*: is a directory/],
    [['run', '--initrd', initrdPath], /^--initrd .*: a ramdisk needs a kernel; add --kernel/],
    [['run', '--append', 'quiet'], /^--append quiet: .*add --kernel/],
    [
      ['run', '--memory', '32', '--kernel', kernelPath, '--initrd', initrdPath],
      /^--initrd .*40 MB do not fit into 32 MB/,
    ],
    [['run', '--bios', '/no/bios'], /^--bios \/no\/bios: there is no such file/],
    [['run', '--disk', '/no/disk'], /^--disk \/no\/disk: there is no such file/],
    [['run', '--disk', `${diskPath}/below`], /^--disk .*: there is no such file/],
    [['run', '--disk', emptyPath], /^--disk .*: the file is empty/],
    [['run', '--disk', oddPath], /^--disk .*1000 bytes is not a multiple of 512/],
    [['run', '--disk', '/dev/null'], /^--disk \/dev\/null: is neither a file nor a disk/],
    [['run', '--disk', join(folder, 'loop')], /^--disk .*loop: cannot be opened/],
    [['run', '--disk', `${diskPath},bus=sata`], /^--disk .*there is no bus 'sata'; give bus=ide, bus=virtio/],
    [['run', '--disk', `${diskPath},bus=virtio,serial=`], /^--disk .*'' is not a serial number; give 1 to 20/],
    [['run', '--disk', `${diskPath},cache=none`], /^--disk .*there is no 'cache='; .*bus=.*readonly/],
    [['run', '--disk', `${diskPath},port`], /^--disk .*'port' needs a value/],
    [['run', '--disk', `${diskPath},port=x`], /^--disk .*port=x: is not a port; give a number/],
    [['run', '--disk', `${diskPath},port=7`], /^--disk .*port 7 does not exist/],
    [['run', '--disk', `${diskPath},readonly,readonly`], /^--disk .*'readonly' is given twice/],
    [['run', '--disk', diskPath, '--disk', join(folder, 'link.img')], /^--disk .*link\.img: the same image/],
    [['run', '--disk', `${diskPath},port=1`, '--disk', `${bigPath},port=1`], /^--disk .*port 1 .*is taken by --disk/],
    [
      ['run', ...new Array(5).fill(['--disk', `${diskPath},readonly`]).flat()],
      /^--disk .*5 drives are more than the 4/,
    ],
    [['run', '--cdrom', cdPath, '--cdrom', cdPath], /^--cdrom .*is given twice/],
    [['run', '--cdrom', directory], /^--cdrom .*: is a directory/],
    [['run', '--floppy', bigPath], /^--floppy .*too large for a floppy/],
    [['run', '--floppy', diskPath, '--floppy', diskPath], /^--floppy .*is given twice/],
    [['run', '--screenshot', 'a.png'], /^--screenshot a\.png: says no moment; write FILE\.png@SECONDS/],
    [['run', '--screenshot', 'a.png@later'], /^--screenshot a\.png@later: 'later' is not a number/],
    [['run', '--screenshot', '/no/folder/a.png@1'], /^--screenshot \/no\/folder\/a\.png: its folder does not exist/],
    [['run', '--type', 'hello'], /^--type hello: says no moment/],
    [['run', '--type', 'me@home'], /^--type me@home: 'home' is not a number/],
    [['run', '--name', ''], /^--name "": /],
  ];
  const before = readdirSync(folder).map((name) => [name, name === 'loop' ? 0 : statSync(join(folder, name)).mtimeMs]);
  for (const [argv, expected] of cases) {
    const { code, lines, out, machine } = await run(argv);
    assert.equal(code, 2, argv.join(' '));
    assert.equal(lines.length, 1, `${argv.join(' ')}: ${lines.join(' | ')}`);
    assert.match(lines[0] ?? '', expected);
    assert.ok(!/\n| at .*\.ts:/.test(lines[0] ?? ''), 'one line, no stack');
    assert.equal(out, '');
    assert.equal(machine.config, undefined, 'no machine was started');
  }
  const now = readdirSync(folder).map((name) => [name, name === 'loop' ? 0 : statSync(join(folder, name)).mtimeMs]);
  assert.deepEqual(now, before, 'no file was changed');
});

test('the options reach the machine', async () => {
  const shot = join(folder, 'shot.png');
  const { code, machine } = await run([
    'run',
    ...['--accel', 'software', '--cpus', '4', '--memory', '256', '--kernel', kernelPath, '--initrd', initrdPath],
    ...['--append', 'console=ttyS0', '--disk', `${diskPath},bus=ide,readonly`, '--cdrom', cdPath],
    ...['--floppy', `${oddPath},readonly`, '--boot', 'cdrom,disk', '--debug-exit', '--serial', 'none', '--headless'],
    ...['--vga', 'virtio', '--heads', '2', '--hyperv'],
    ...['--machine', 'pc', '--console', `file:${join(folder, 'console')}`, '--sound', 'null'],
    ...['--channel', `name=agent,socket=${join(folder, 'agent')}`],
    ...['--timeout', '2.5', '--no-reboot', '--virtual-time', '--screenshot', `${shot}@1`, '--type', 'a@b\\n{F1}@3'],
  ]);
  assert.equal(code, 0);
  assert.deepEqual(machine.config, {
    name: 'lodge',
    board: 'pc',
    accel: 'software',
    cpus: 4,
    memoryMegabytes: 256,
    firmware: {},
    boot: { order: ['cdrom', 'disk'], kernel: kernelPath, initrd: [initrdPath], append: 'console=ttyS0' },
    disks: [{ path: diskPath, bus: 'ide', readOnly: true, port: 0 }],
    cdrom: { path: cdPath, port: 2 },
    floppy: { path: oddPath, readOnly: true },
    vga: 'virtio',
    heads: 2,
    virtioInput: true,
    serial: { kind: 'none' },
    console: { kind: 'file', path: join(folder, 'console') },
    channels: [{ name: 'agent', socket: join(folder, 'agent') }],
    sound: { output: { kind: 'null' } },
    shares: [],
    entropy: true,
    balloon: true,
    hyperv: true,
    debugExit: true,
    headless: true,
    timeoutSeconds: 2.5,
    noReboot: true,
    virtualTime: true,
    compile: true,
    screenshots: [{ path: shot, atSeconds: 1 }],
    typed: [{ text: 'a@b\n{F1}', atSeconds: 3 }],
  });
});

test('a name with a comma in it is a name', async () => {
  const path = file('a,b', 512);
  const { machine } = await run(['run', '--disk', path, '--disk', `${file('c,old', 512)},readonly`]);
  assert.deepEqual(
    machine.config?.disks.map(({ path: found }) => found),
    [path, join(folder, 'c,old')],
  );
});

test('exit codes tell how the run ended', async () => {
  const cases: [RunOutcome, number, RegExp | undefined][] = [
    [{ kind: 'powered-off' }, 0, undefined],
    [{ kind: 'debug-exit', code: 0 }, 1, undefined],
    [{ kind: 'debug-exit', code: 21 }, 43, undefined],
    [{ kind: 'debug-exit', code: 0xff }, 0xff, undefined],
    [{ kind: 'timeout' }, 3, /--timeout 9 seconds/],
    [{ kind: 'guest-crashed', detail: 'triple fault at 8:1234' }, 4, /crashed: triple fault at 8:1234/],
    [{ kind: 'reset' }, 1, /restart.*--no-reboot/],
    [{ kind: 'quit' }, 1, undefined],
  ];
  for (const [outcome, expected, line] of cases) {
    const { code, lines } = await run(['run', '--timeout', '9'], { play: (machine) => machine.end(outcome) });
    assert.equal(code, expected, outcome.kind);
    assert.equal(lines.length, line === undefined ? 0 : 1);
    if (line !== undefined) {
      assert.match(lines[0] ?? '', line);
    }
  }
});

test('a machine that cannot start is bad input, a host failure while it runs is not', async () => {
  const startError = new HostError('bad-kernel', '--kernel x: is no kernel', { remedy: 'give a bzImage' });
  const early = await run(['run'], { startError });
  assert.deepEqual([early.code, early.lines], [2, ['--kernel x: is no kernel; give a bzImage']]);
  const late = await run(['run'], { play: (machine) => machine.fail(new HostError('no-space', 'disk full')) });
  assert.deepEqual([late.code, late.lines], [1, ['disk full']]);
  const broken = await run(['run'], { play: (machine) => machine.fail(new Error('oops')) });
  assert.equal(broken.code, 1);
  assert.match(broken.lines[0] ?? '', /^internal error: /);
});

test('serial output goes to standard output, bytes from a pipe to the guest unchanged', async () => {
  const { out, machine, terminal, lines } = await run(['run'], {
    play(fake, input) {
      fake.host?.serialOutput(Uint8Array.of(0x68, 0x69, 0xff));
      fake.host?.log('info', 'quiet');
      fake.host?.log('warn', 'loud');
      input.emit('data', Buffer.from('a\x01x\x03'));
      fake.end({ kind: 'powered-off' });
    },
  });
  assert.equal(out, 'hi\xff');
  assert.deepEqual(machine.sent, ['a\x01x\x03']);
  assert.deepEqual(terminal.modes, []);
  assert.deepEqual(lines, ['warning: loud']);
});

test('in a terminal: raw mode, Ctrl-A commands, and the terminal comes back on every path', async () => {
  const quit = await run(['run'], {
    tty: true,
    play(_machine, terminal) {
      terminal.emit('data', Buffer.from('ls\x03\x01'));
      terminal.emit('data', Buffer.from('\x01\x01c\x01h'));
      terminal.emit('data', Buffer.from('z\x01Xlost'));
    },
  });
  assert.equal(quit.code, 1);
  assert.ok(quit.machine.stopped);
  assert.deepEqual(quit.machine.sent, ['ls\x03', '\x01\x01c', 'z']);
  assert.deepEqual(quit.terminal.modes, [true, false]);
  assert.equal(quit.lines.length, 2);
  assert.equal(quit.terminal.listenerCount('data'), 0);
  assert.equal(process.listenerCount('SIGCONT'), 0);

  const crash = await run(['run'], { tty: true, play: (machine) => machine.fail(new Error('oops')) });
  assert.deepEqual(crash.terminal.modes, [true, false]);
  const signal = await run(['run'], {
    tty: true,
    play() {
      process.kill(process.pid, 'SIGTERM');
    },
  });
  assert.deepEqual([signal.code, signal.terminal.modes], [1, [true, false]]);
  assert.match(signal.lines.at(-1) ?? '', /stopped by SIGTERM/);
  assert.equal(process.listenerCount('SIGTERM'), 0);

  const silent = await run(['run', '--serial', 'none'], { tty: true });
  assert.deepEqual(silent.terminal.modes, []);
});

test('screenshots are written whole, and those that never came are named', async () => {
  const first = join(folder, 'first.png');
  const never = join(folder, 'never.png');
  const result = await run(['run', '--screenshot', `${first}@1`, '--screenshot', `${never}@99`], {
    async play(machine) {
      await machine.host?.screenshot(first, Uint8Array.of(1, 2, 3));
      machine.end({ kind: 'powered-off' });
    },
  });
  assert.equal(result.code, 0);
  assert.deepEqual([...readFileSync(first)], [1, 2, 3]);
  assert.equal(result.lines.length, 1);
  assert.match(result.lines[0] ?? '', /never\.png: the machine ended before/);
  const failed = await run(['run'], {
    play(machine) {
      void machine.host?.screenshot(join(folder, 'gone', 'x.png'), Uint8Array.of(1));
      machine.end({ kind: 'powered-off' });
    },
  });
  assert.equal(failed.code, 1);
  assert.match(failed.lines[0] ?? '', /--screenshot .*x\.png: cannot be written \(ENOENT\)/);
});

test('doctor and help', async () => {
  const text = await run(['doctor']);
  assert.equal(text.code, 0);
  for (const word of ['lodge', 'node', 'memory', 'firmware', 'kvm', 'software']) {
    assert.ok(text.out.includes(word), word);
  }
  assert.match(text.out, /^auto +takes (?:kvm|software)$/m);
  const json = await run(['doctor', '--json']);
  const report: unknown = JSON.parse(json.out);
  assert.ok(typeof report === 'object' && report !== null && 'accelerators' in report && 'firmware' in report);
  const help = await run(['run', '--help']);
  assert.equal(help.code, 0);
  for (const option of ['--accel', '--cpus', '--kernel', '--disk', '--debug-exit', '--screenshot', '--type']) {
    assert.ok(help.out.includes(option), option);
  }
  assert.equal((await run(['--version'])).code, 0);
});

const launcher = fileURLToPath(new URL('../../bin/lodge.js', import.meta.url));

test('the launcher passes arguments, output and exit code through', () => {
  const good = spawnSync(process.execPath, [launcher, '--version'], { encoding: 'utf8' });
  assert.deepEqual([good.status, good.stderr], [0, '']);
  assert.match(good.stdout, /^\d+\.\d+\.\d+\n$/);
  const bad = spawnSync(process.execPath, [launcher, 'run', '--disk', '/no/such'], { encoding: 'utf8' });
  assert.equal(bad.status, 2);
  assert.equal(bad.stderr, 'lodge: --disk /no/such: there is no such file; give the path of an image\n');
});

test('a file without permission is refused in one line', (t) => {
  const path = file('secret.img', 512);
  chmodSync(path, 0);
  chmodSync(folder, 0o755);
  // Root may read everything, so the command runs as somebody else.
  const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const attempt = (...argv: string[]) =>
    spawnSync(process.execPath, [launcher, ...argv], { encoding: 'utf8', ...user });
  if (process.getuid === undefined || attempt('--version').status !== 0) {
    t.skip('no user without permissions can run the command here');
    return;
  }
  const unreadable = attempt('run', '--disk', path);
  assert.equal(unreadable.status, 2);
  assert.equal(
    unreadable.stderr,
    `lodge: --disk ${path}: no permission to read it; change its permissions, or give another file\n`,
  );
  chmodSync(path, 0o444);
  const fixed = attempt('run', '--disk', path);
  assert.equal(fixed.status, 2);
  assert.match(fixed.stderr, /^lodge: --disk .*: no permission to write to it; attach it read-only .*\n$/);
});

test('the launcher finds a newer Node when it is started by an older one', (t) => {
  const old = ['/usr/bin/node', '/usr/local/bin/node'].find((path) => {
    const major = /^v(\d+)/.exec(spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[1];
    return major !== undefined && Number(major) >= 18 && Number(major) < 24;
  });
  if (old === undefined) {
    t.skip('no Node from 18 to 23 is installed on this host');
    return;
  }
  const good = spawnSync(old, [launcher, 'doctor', '--json'], { encoding: 'utf8' });
  assert.deepEqual([good.status, good.stderr], [0, '']);
  assert.match(good.stdout, /"node": "2[4-9]/);
  const bad = spawnSync(old, [launcher, 'run', '--cpus', '99'], { encoding: 'utf8' });
  assert.deepEqual([bad.status, bad.stderr], [2, 'lodge: --cpus 99: is out of range; give 1 to 8 processors\n']);
});
