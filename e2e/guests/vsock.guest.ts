/** Stream sockets between a Debian guest and programs of the host. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { findCommand, NotAvailable } from '../../scripts/debian.ts';
import { projectRoot } from '../../scripts/project.ts';
import { initramfsWithFiles } from './extra-files.ts';
import { GuestRun, onQemu } from './guest-run.ts';
import { initramfsWithModules, LOAD_MODULES } from './kernel-modules.ts';
import { linuxKernel, READY } from './linux.ts';
import { needs } from './needs.ts';
import { prepared } from './prepared.ts';

const SECONDS = 240;
const PROMPT = /guest# /;
const BYTES = 1 << 20;

/** The guest's program, static. @throws NotAvailable */
function program(): Buffer {
  const source = join(projectRoot, 'assets/guests/programs/vsock.c');
  const compiler = findCommand('gcc');
  if (compiler === undefined) {
    throw new NotAvailable('the program for sockets needs gcc; install the Debian package gcc');
  }
  const version = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12);
  const path = prepared(`vsock-${version}`, (unfinished) => {
    const { status, stderr } = spawnSync(compiler, ['-O2', '-static', '-o', unfinished, source], { encoding: 'utf8' });
    if (status !== 0) {
      throw new NotAvailable(`gcc cannot build ${source}: ${stderr.split('\n')[0]}`);
    }
  });
  return readFileSync(path);
}

/** Asks for a port of the guest and sends `data`; gives the first line of the answer, and the rest. */
async function ask(path: string, port: number, data: Buffer): Promise<{ line: string; data: Buffer }> {
  const socket = connect({ path, allowHalfOpen: true });
  const parts: Buffer[] = [];
  socket.on('data', (bytes: Buffer) => parts.push(bytes));
  socket.on('error', () => {});
  socket.write(`CONNECT ${port}\n`);
  socket.end(data);
  await once(socket, 'close', { signal: AbortSignal.timeout(SECONDS * 1000) });
  const answer = Buffer.concat(parts);
  const end = answer.indexOf(0x0a) + 1;
  return { line: answer.toString('latin1', 0, end), data: answer.subarray(end) };
}

test('vsock: a megabyte back and forth, whoever connects; many connections; ports where nobody listens', async (t) => {
  if (onQemu) {
    t.skip('QEMU has this device only with vhost of the host');
    return;
  }
  const kernel = needs(t, () => linuxKernel('cloud'));
  const modules = ['virtio_pci', 'vmw_vsock_virtio_transport'];
  const initrd =
    kernel &&
    needs(t, () =>
      initramfsWithFiles(initramfsWithModules('cloud', modules), [{ path: 'bin/vsock', data: program() }]),
    );
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'lodge-vsock-'));
  const path = join(folder, 'vm');
  const append = 'console=ttyS0 panic=-1 quiet';
  const vsock = `cid=77,socket=${path}`;
  const options = { memory: 256, kernel, initrd, append, vsock, noReboot: true, timeout: SECONDS * 4 };
  // A program of the host that sends back what comes.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  server.listen(`${path}_6000`);
  await once(server, 'listening');
  try {
    await GuestRun.with(options, async (guest) => {
      await guest.waitFor(new RegExp(READY), SECONDS);
      await guest.waitFor(PROMPT, SECONDS);
      const run = async (command: string, answer: RegExp) => {
        guest.send(`${command}\n`);
        const match = await guest.waitFor(answer, SECONDS);
        await guest.waitFor(PROMPT, SECONDS);
        return match;
      };
      await run(`${LOAD_MODULES}; echo loaded-$((6*7))`, /loaded-42/);
      await run('vsock serve 5000 2>/tmp/served & sleep 1; echo ready-$((1+1))', /ready-2/);

      const data = randomBytes(BYTES);
      const started = performance.now();
      const { line, data: back } = await ask(path, 5000, data);
      assert.match(line, /^OK \d+\n$/);
      assert.ok(back.equals(data), `${back.length} bytes came back`);
      t.diagnostic(`1 MB there and back in ${((performance.now() - started) / 1000).toFixed(2)} s`);
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, i) => ask(path, 5000, Buffer.from(`question ${i}`))),
      );
      assert.deepEqual(
        answers.map((answer) => answer.data.toString()),
        Array.from({ length: 20 }, (_, i) => `question ${i}`),
      );
      const refused = await ask(path, 5001, Buffer.from('anybody?'));
      assert.deepEqual([refused.line, refused.data.length], ['', 0]);

      await run(
        `head -c ${BYTES} /dev/urandom > /tmp/up; vsock ask 6000 < /tmp/up | cmp - /tmp/up && echo same-$((1+1))`,
        /same-2/,
      );
      await run(
        'for i in $(seq 20); do echo number $i | vsock ask 6000 > /tmp/answer$i & done; ' +
          'while [ $(cat /tmp/answer* | wc -l) -lt 20 ]; do sleep 1; done; cat /tmp/answer* | wc -l',
        /\n20\r/,
      );
      await run('vsock ask 6001 < /dev/null; echo status $?', /(reset|refused)[\s\S]*status 1/i);
      guest.send('poweroff -f\n');
      assert.equal(await guest.exitCode(SECONDS), 0);
    });
  } finally {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
