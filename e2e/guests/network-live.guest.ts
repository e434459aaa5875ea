import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { initramfsWithFiles, perl, staticBash } from './extra-files.ts';
import { initramfsWithModules } from './kernel-modules.ts';
import { linuxKernel } from './linux.ts';
import { MachineSession } from './machine-session.ts';
import { needs } from './needs.ts';

const SECONDS = 240;
/** Sends datagrams to port 7778 back: AF_INET, SOCK_DGRAM, and a sockaddr_in. */
const UDP_ECHO =
  'socket(S,2,2,17); bind(S,pack("Snx12",2,7778)); while(defined($p=recv(S,$b,2000,0))) { send(S,$b,0,$p); }';

/** A guest with a virtio card and fixed addresses, whose network is commanded while it runs. */
async function onNetwork(t: TestContext, use: (session: MachineSession) => Promise<void>): Promise<void> {
  const kernel = needs(t, () => linuxKernel('cloud'));
  const initrd =
    kernel &&
    needs(t, () =>
      initramfsWithFiles(initramfsWithModules('cloud', ['virtio_pci', 'virtio_net', 'af_packet']), [
        staticBash(),
        ...perl(),
      ]),
    );
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  const config = {
    memoryMegabytes: 256,
    boot: { kernel, initrd, append: 'console=ttyS0 panic=-1' },
    network: { model: 'virtio', hostLoopback: true },
  } as const;
  await MachineSession.with(config, SECONDS, async (session) => {
    await session.run(
      'ip link set lo up; ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0; echo up-$((1+1))',
      /up-2/,
    );
    await session.run('ip route add default via 10.0.2.2; ping -c 1 10.0.2.2', /1 packets received/);
    await use(session);
  });
}

async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Asks over TCP until there is an answer; undefined when nobody listens. */
async function askTcp(port: number): Promise<string | undefined> {
  const socket = connect(port, '127.0.0.1');
  let said = '';
  socket.on('data', (bytes) => {
    said += bytes.toString();
  });
  try {
    await once(socket, 'connect');
    await once(socket, 'close');
    return said;
  } catch {
    return undefined;
  }
}

test('IPv6 by router advertisement; ports are forwarded and no longer, tcp and udp, while the guest runs', async (t) => {
  await onNetwork(t, async (session) => {
    const { machine } = session;
    const address = await session.until('an address by advertisement', async () => {
      const [, found] =
        (await session.run(
          'ip -6 address show dev eth0 scope global; echo shown-$((1+1))',
          /(?:inet6 (fd00:10:0:2:[0-9a-f:]+)\/64[\s\S]*)?shown-2/,
        )) ?? [];
      return found;
    });
    assert.match(address, /^fd00:10:0:2:/);
    await session.run('ip -6 route', /default via fe80::2 dev eth0/);
    await session.run('ping -c 1 fd00:10:0:2::2', /1 packets received/);

    const tcpPort = await freePort();
    const udpPort = await freePort();
    assert.equal(await askTcp(tcpPort), undefined, 'nobody listens yet');
    const forward = { hostAddress: '127.0.0.1' } as const;
    await machine.perform({
      kind: 'add-forward',
      forward: { ...forward, protocol: 'tcp', hostPort: tcpPort, guestPort: 7777 },
    });
    await machine.perform({
      kind: 'add-forward',
      forward: { ...forward, protocol: 'udp', hostPort: udpPort, guestPort: 7778 },
    });
    assert.equal((await machine.perform({ kind: 'forwards' })).forwards.length, 2);
    await session.run('(while true; do echo tcp from the guest | nc -l -p 7777; done) & echo on-$((1+1))', /on-2/);
    await session.until('an answer over TCP', async () => (await askTcp(tcpPort)) === 'tcp from the guest\n');

    await session.run(`perl -e '${UDP_ECHO}' & echo on-$((2+2))`, /on-4/);
    const client = createSocket('udp4').unref();
    const answers: string[] = [];
    client.on('message', (bytes) => answers.push(bytes.toString()));
    await session.until('an echo over UDP', async () => {
      client.send('udp there and back', udpPort, '127.0.0.1');
      await sleep(200);
      return answers.includes('udp there and back');
    });

    for (const [protocol, hostPort] of [
      ['tcp', tcpPort],
      ['udp', udpPort],
    ] as const) {
      assert.deepEqual(await machine.perform({ kind: 'remove-forward', forward: { ...forward, protocol, hostPort } }), {
        removed: true,
      });
    }
    assert.equal(await askTcp(tcpPort), undefined, 'nobody listens any more');
    answers.length = 0;
    client.send('into nothing', udpPort, '127.0.0.1');
    await session.run('ping -c 2 10.0.2.2', /2 packets received/);
    assert.deepEqual(answers, []);
    client.close();
  });
});

test('what the host refuses is an error in the guest, at once; the machine goes on', async (t) => {
  await onNetwork(t, async (session) => {
    const closed = await freePort();
    await session.run(
      `bash -c ': < /dev/tcp/10.0.2.2/${closed}'; echo done-$((1+1))`,
      /Connection refused[\s\S]*done-2/,
    );
    await session.run(
      `bash -c ': < /dev/tcp/127.1.2.3/${closed}'; echo done-$((2+1))`,
      /Connection refused[\s\S]*done-3/,
    );
    // Reserved for documentation: whatever the host says of it, the guest hears it or waits, and goes on.
    await session.run(`bash -c ': < /dev/tcp/fd00:10:0:2::2/${closed}'; echo done-$((2+2))`, /done-4/);
    // A cable that is pulled, and put back.
    await session.machine.perform({ kind: 'link', up: false });
    await session.run(
      'sleep 1; cat /sys/class/net/eth0/carrier; ping -c 1 -W 1 10.0.2.2',
      /\b0\r[\s\S]*0 packets received/,
    );
    await session.machine.perform({ kind: 'link', up: true });
    await session.run('sleep 1; cat /sys/class/net/eth0/carrier', /\n1\r/);
    await session.run('ping -c 1 10.0.2.2', /1 packets received/);
  });
});
