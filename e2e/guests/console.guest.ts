/** The virtio console: a terminal, channels for programs, and channels that come and go while the guest runs. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import { startMachine } from '../../engine/process/start-machine.ts';
import { GuestRun } from './guest-run.ts';
import { initramfsWithModules } from './kernel-modules.ts';
import { linuxKernel, READY } from './linux.ts';
import { needs } from './needs.ts';
import { shellInitramfs } from './shell-initramfs.ts';

const SECONDS = 300;
const AGENT = 'org.qemu.guest_agent.0';

/** A program of the host at one of the machine's sockets. */
class Client {
  said = '';
  ended = false;
  readonly #socket: Socket;
  #read = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (bytes) => {
      this.said += bytes.toString('latin1');
    });
    socket.on('close', () => {
      this.ended = true;
    });
    socket.on('error', () => {});
  }

  static async at(path: string): Promise<Client> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new Client(socket);
  }

  send(text: string | Uint8Array): void {
    this.#socket.write(text);
  }

  async waitFor(pattern: RegExp): Promise<RegExpExecArray> {
    for (const end = Date.now() + SECONDS * 1000; Date.now() < end; await sleep(20)) {
      const match = pattern.exec(this.said.slice(this.#read));
      if (match !== null) {
        this.#read += match.index + match[0].length;
        return match;
      }
    }
    throw new Error(`${pattern}: not within ${SECONDS} s after ${JSON.stringify(this.said.slice(-1500))}`);
  }

  async waitForBytes(count: number): Promise<void> {
    for (const end = Date.now() + SECONDS * 1000; this.said.length < count; await sleep(20)) {
      assert.ok(Date.now() < end, `${this.said.length} of ${count} bytes within ${SECONDS} s`);
    }
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  async close(): Promise<void> {
    this.#socket.end();
    if (!this.ended) {
      await once(this.#socket, 'close');
    }
  }
}

test('somebody logs in at hvc0 by a socket; channels echo, wait for slow readers, come and go', async (t) => {
  const kernel = needs(t, () => linuxKernel('cloud'));
  const modules = kernel && needs(t, () => initramfsWithModules('cloud', ['virtio_pci', 'virtio_console']));
  if (kernel === undefined || modules === undefined) {
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'lodge-console-'));
  const path = (name: string) => join(folder, name);
  const config = validateMachineConfig({
    memoryMegabytes: 256,
    boot: { kernel, initrd: shellInitramfs(modules, 'hvc0'), append: 'console=ttyS0 panic=-1' },
    console: { kind: 'socket', path: path('console') },
    channels: [{ name: AGENT, socket: path('agent') }],
  });
  let problems = '';
  const machine = await startMachine(config, {
    serialOutput() {},
    log: (level, message) => {
      problems += level === 'info' ? '' : `${message}\n`;
    },
    screenshot() {},
  });
  try {
    const terminal = await Client.at(path('console'));
    const run = async (command: string, answer: RegExp) => {
      terminal.send(`${command}\n`);
      return await terminal.waitFor(answer);
    };
    await terminal.waitFor(new RegExp(`${READY} 1 processors`));
    await terminal.waitFor(/guest# /);

    // A login, as on a serial console.
    await run('echo root::0:0::/:/bin/sh > /etc/passwd; echo ready-$((1+1))', /ready-2/);
    await run('exec getty -L 0 hvc0 vt100', /login: /);
    await run('root', /# /);
    await run('echo $((6*7)) is the answer; tty', /42 is the answer\s+\/dev\/hvc0/);
    // All of a long text arrives.
    await run('i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; echo end-$((1+1))', /end-2/);
    const lines = [...terminal.said.matchAll(/^line (\d+)\r$/gm)].map((match) => Number(match[1]));
    assert.deepEqual(
      lines,
      Array.from({ length: 2000 }, (_, i) => i),
    );

    // Another terminal takes over where the first was.
    await terminal.close();
    const second = await Client.at(path('console'));
    const say = async (command: string, answer: RegExp) => {
      second.send(`${command}\n`);
      return await second.waitFor(answer);
    };
    await say('echo again-$((1+1))', /again-2/);

    // A channel has its name, and an agent that gives back what it gets.
    const ports = 'cat /sys/class/virtio-ports/*/name; echo listed-$((1+1))';
    await say(ports, new RegExp(`${AGENT.replaceAll('.', '\\.')}[\\s\\S]*listed-2`));
    const serve = (name: string) =>
      say(
        `for p in /sys/class/virtio-ports/*; do grep -q '^${name}$' $p/name && d=/dev/\${p##*/}; done; ` +
          '(exec 3<>$d; while sleep 0.05; do cat <&3 >&3 2>/dev/null || break; done) & echo serving-$((1+1))',
        /serving-2/,
      );
    await serve(AGENT);
    for (const greeting of ['{"execute":"guest-ping"}', 'once more']) {
      const agent = await Client.at(path('agent'));
      agent.send(`${greeting}\n`);
      await agent.waitFor(new RegExp(greeting.replace(/[{}]/g, '\\$&')));
      await agent.close();
    }
    assert.deepEqual(
      (await machine.perform({ kind: 'channels' })).channels.map(({ name, guestOpen }) => [name, guestOpen]),
      [[AGENT, true]],
    );

    // A megabyte there and back, to a client that does not read for a while: nobody loses a byte.
    const agent = await Client.at(path('agent'));
    const data = randomBytes(1 << 20);
    agent.pause();
    agent.send(data);
    await sleep(1000);
    agent.resume();
    await agent.waitForBytes(data.length);
    const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
    assert.equal(digest(Buffer.from(agent.said, 'latin1')), digest(data));
    await agent.close();

    // A channel comes while the guest runs, goes, and comes again.
    for (const round of [1, 2]) {
      await machine.perform({ kind: 'add-channel', name: 'org.lodge.later', socket: path('later') });
      await say(`sleep 1; ${ports}`, /org\.lodge\.later[\s\S]*listed-2/);
      await serve('org.lodge.later');
      const later = await Client.at(path('later'));
      later.send(`round ${round}\n`);
      await later.waitFor(new RegExp(`round ${round}`));
      await assert.rejects(machine.perform({ kind: 'add-channel', name: 'org.lodge.later', socket: path('x') }), {
        code: 'channel-exists',
      });
      assert.deepEqual(await machine.perform({ kind: 'remove-channel', name: 'org.lodge.later' }), { removed: true });
      await later.close();
      await say(`sleep 1; ${ports}`, /guest_agent\.0\r\nlisted-2/);
    }
    assert.deepEqual(await machine.perform({ kind: 'remove-channel', name: 'org.lodge.later' }), { removed: false });
    await say('dmesg | grep -i "virtio.*error"; echo quiet-$((1+1))', /\$\(\(1\+1\)\)\r\nquiet-2/);
    second.send('poweroff -f\n');
    assert.equal((await machine.finished).kind, 'powered-off');
    assert.equal(problems, '');
  } finally {
    machine.stop();
    await machine.finished;
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the terminal is the virtio console: lodge run --console stdio', async (t) => {
  const kernel = needs(t, () => linuxKernel('cloud'));
  const modules = kernel && needs(t, () => initramfsWithModules('cloud', ['virtio_pci', 'virtio_console']));
  if (kernel === undefined || modules === undefined) {
    return;
  }
  const options = {
    memory: 256,
    kernel,
    initrd: shellInitramfs(modules, 'hvc0'),
    append: 'console=ttyS0 panic=-1',
    serial: 'none',
    console: 'stdio',
    noReboot: true,
    timeout: SECONDS * 2,
  };
  await GuestRun.with(options, async (guest) => {
    await guest.waitFor(new RegExp(READY), SECONDS);
    await guest.waitFor(/guest# /, SECONDS);
    guest.send('echo answer-$((6 * 7)); tty\n');
    await guest.waitFor(/\nanswer-42\r\n\/dev\/hvc0\r\n/, SECONDS);
    guest.send('poweroff -f\n');
    assert.equal(await guest.exitCode(SECONDS), 0);
  });
});
