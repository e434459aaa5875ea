import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runOptions } from './testing/run-options.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-net-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const run = (net: string, real = false) => runOptions(['--serial', 'none', '--net', net], real);

test('--net none is no network, --net nat one with an e1000', async () => {
  assert.equal((await run('none')).config?.network, undefined);
  assert.equal((await run('nat')).config?.network?.model, 'e1000');
});

test('all that can stand behind --net nat', async () => {
  const capture = join(folder, 'a.pcap');
  const { config, lines } = await run(
    `nat,model=virtio,mac=52:54:00:00:00:01,forward=tcp:2222:22,forward=udp:0.0.0.0:5353:10.0.2.16:53,` +
      `forward=tcp:[::1]:0:80,host-loopback,capture=${capture},boot=${folder},bootfile=x`,
  );
  assert.deepEqual(lines, []);
  assert.deepEqual(config?.network, {
    model: 'virtio',
    mac: '52:54:00:00:00:01',
    linkUp: true,
    forwards: [
      { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestPort: 22 },
      { protocol: 'udp', hostAddress: '0.0.0.0', hostPort: 5353, guestAddress: '10.0.2.16', guestPort: 53 },
      { protocol: 'tcp', hostAddress: '::1', hostPort: 0, guestPort: 80 },
    ],
    hostLoopback: true,
    isolated: false,
    capture,
    bootFolder: folder,
    bootFile: 'x',
  });
  const { network } = (await run('nat,isolated')).config ?? {};
  assert.deepEqual([network?.isolated, network?.hostLoopback], [true, false]);
});

test('what is wrong is said in one line, with exit code 2', async () => {
  for (const [net, says] of [
    ['bridge', /^lodge: --net bridge: is not known; give nat/],
    ['none,isolated', /--net none,isolated: is not known/],
    ['nat,fast', /--net nat,fast: there is no 'fast'/],
    ['nat,isolated=1', /there is no 'isolated=1'/],
    ['nat,isolated,host-loopback', /isolated keeps the guest from everything outside, [^;]*; give one of them$/],
    ['nat,model', /there is no 'model'/],
    ['nat,model=a,model=b', /'model' is given twice/],
    ['nat,model=ne2000', /--net model=ne2000: there is no such card; give model=virtio or e1000/],
    ['nat,forward=2222:22', /--net forward=2222:22: is not a forward/],
    ['nat,forward=tcp:22', /is not a forward/],
    ['nat,forward=sctp:1:2', /'sctp' is no protocol/],
    ['nat,forward=tcp:99999:22', /there is no such host port/],
    [`nat,capture=${folder}`, /is a directory/],
    [`nat,boot=${folder}/none`, /is no folder/],
  ] as const) {
    const { code, lines } = await run(net);
    assert.equal(code, 2, net);
    assert.equal(lines.length, 1);
    assert.match(`lodge: ${(lines[0] ?? '').replace(/^lodge: /, '')}`, says);
  }
});

test('an occupied host port stops the start before anything is touched', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const capture = join(folder, 'occupied.pcap');
  const { code, lines } = await run(`nat,forward=tcp:0:21,forward=tcp:${address.port}:22,capture=${capture}`, true);
  server.close();
  assert.equal(code, 2);
  assert.match(lines.at(-1) ?? '', new RegExp(`TCP port ${address.port} of 127.0.0.1: .*; give another host port`));
  assert.equal(existsSync(capture), false);
});
