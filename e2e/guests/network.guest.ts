import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { debianPackage } from '../../scripts/debian.ts';
import { GuestRun } from './guest-run.ts';
import { initramfsWithModules, LOAD_MODULES } from './kernel-modules.ts';
import { busyboxInitramfs, type KernelName, linuxKernel, READY } from './linux.ts';
import { needs } from './needs.ts';

const SECONDS = 240;
const PROMPT = /guest# /;
const MEGABYTE = 1 << 20;

/** Configures eth0 as udhcpc says, and the name server. */
const DHCP_SCRIPT = `cat > /tmp/dhcp <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add $ip/$mask dev $interface
ip route add default via $router
echo nameserver $dns > /etc/resolv.conf
echo "LEASE $ip/$mask router $router dns $dns lease $lease"
END
chmod +x /tmp/dhcp`;

interface Card {
  readonly model: 'e1000' | 'virtio';
  readonly kernel: KernelName;
  readonly modules: readonly string[];
}
const VIRTIO: Card = { model: 'virtio', kernel: 'cloud', modules: ['virtio_pci', 'virtio_net'] };
const CARDS: readonly Card[] = [{ model: 'e1000', kernel: 'generic', modules: ['e1000'] }, VIRTIO];

type Run = (command: string, answer: RegExp, seconds?: number) => Promise<RegExpExecArray>;

/** A Linux guest with a network card and an address by DHCP. */
async function onNetwork(
  t: TestContext,
  { model, kernel: name, modules }: Card,
  net: string,
  use: (guest: GuestRun, run: Run) => Promise<void>,
): Promise<void> {
  const kernel = needs(t, () => linuxKernel(name));
  const initrd = kernel && needs(t, () => initramfsWithModules(name, [...modules, 'ipv6', 'af_packet']));
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  const append = 'console=ttyS0 panic=-1';
  const options = { memory: 256, kernel, initrd, append, noReboot: true, timeout: SECONDS * 8 };
  await GuestRun.with({ ...options, net: `nat,model=${model}${net}` }, async (guest) => {
    await guest.waitFor(new RegExp(READY), SECONDS);
    await guest.waitFor(PROMPT, SECONDS);
    const run: Run = async (command, answer, seconds = SECONDS) => {
      guest.send(`${command}\n`);
      const match = await guest.waitFor(answer, seconds);
      await guest.waitFor(PROMPT, SECONDS);
      return match;
    };
    await run(`${LOAD_MODULES}; echo loaded-$((6*7))`, /loaded-42/);
    await run(`${DHCP_SCRIPT}; ip link set lo up; ip link set eth0 up; echo up-$((1+1))`, /up-2/);
    await run('udhcpc -i eth0 -s /tmp/dhcp -n -q', /LEASE 10\.0\.2\.15\/24 router 10\.0\.2\.2 dns 10\.0\.2\.3/);
    await use(guest, run);
    guest.send('poweroff -f\n');
    assert.equal(await guest.exitCode(SECONDS), 0);
  });
}

/** Bytes that repeat only after a long time, the same every time, in pieces of a megabyte. */
function* pieces(bytes: number): Generator<Buffer> {
  const block = Buffer.alloc(MEGABYTE);
  let state = 12_345;
  for (let i = 0; i < block.length; i += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    block.writeUInt32LE(state, i);
  }
  for (let at = 0; at < bytes; at += block.length) {
    block.writeUInt32LE(at);
    yield Buffer.from(block);
  }
}

const content = (bytes: number) => Buffer.concat([...pieces(bytes)]);

const md5 = (bytes: Buffer) => createHash('md5').update(bytes).digest('hex');

async function listening(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

for (const card of CARDS) {
  test(`${card.model}: DHCP, ping, 100 MB down and 20 MB up with checksums, 200 connections, a forwarded port`, async (t) => {
    const file = content(100 * MEGABYTE);
    const uploads: Buffer[] = [];
    let most = 0;
    let open = 0;
    const web = createHttpServer((request, response) => {
      if (request.url === '/file') {
        response.end(file);
      } else {
        response.end('small\n');
      }
    });
    const sink = createTcpServer((socket) => {
      const parts: Buffer[] = [];
      socket.on('data', (bytes) => parts.push(bytes));
      socket.on('end', () => {
        uploads.push(Buffer.concat(parts));
        socket.end();
      });
      socket.on('error', () => {});
    });
    const hold = createTcpServer((socket) => {
      open++;
      most = Math.max(most, open);
      socket.on('close', () => open--);
      socket.on('error', () => {});
      socket.resume();
      if (open === 200) {
        hold.emit('full');
      }
    });
    const [webPort, sinkPort, holdPort] = await Promise.all([listening(web), listening(sink), listening(hold)]);
    const probe = createTcpServer();
    const hostPort = await listening(probe);
    probe.close();
    await once(probe, 'close');
    try {
      await onNetwork(t, card, `,host-loopback,forward=tcp:${hostPort}:7777`, async (guest, run) => {
        await run('ping -c 3 10.0.2.2', /3 packets transmitted, 3 packets received, 0% packet loss/);
        // The router is asked once the address has proved to be nobody else's, after a second or two.
        await run('until ip -6 route | grep -q default; do sleep 1; done; echo routed-$((3+3))', /routed-6/);
        await run('ping -c 2 fd00:10:0:2::2', /2 packets received/);

        const started = Date.now();
        await run(`wget -q -O - http://10.0.2.2:${webPort}/file | md5sum`, new RegExp(md5(file)));
        t.diagnostic(`100 MB down in ${((Date.now() - started) / 1000).toFixed(1)} s`);

        await run('dd if=/dev/urandom of=/tmp/up bs=1M count=20 2>/dev/null; md5sum /tmp/up', /[0-9a-f]{32}/);
        const uploaded = Date.now();
        const { 0: sum } = await run(`nc 10.0.2.2 ${sinkPort} < /tmp/up; md5sum < /tmp/up`, /[0-9a-f]{32}/);
        t.diagnostic(`20 MB up in ${((Date.now() - uploaded) / 1000).toFixed(1)} s`);
        assert.deepEqual(uploads.map(md5), [sum]);

        const full = once(hold, 'full');
        await run(
          `for i in $(seq 200); do sleep 100000 | nc 10.0.2.2 ${holdPort} & done 2>/dev/null; echo started-$((1+1))`,
          /started-2/,
        );
        await full;
        assert.equal(most, 200);
        await run('killall sleep nc 2>/dev/null; wait 2>/dev/null; echo killed-$((1+1))', /killed-2/);

        guest.send('echo hello from the guest | nc -l -p 7777; echo served-$((1+1))\n');
        const answer = await ask(hostPort, 'hello from outside\n');
        assert.equal(answer, 'hello from the guest\n');
        await guest.waitFor(/hello from outside[\s\S]*served-2/, SECONDS);
        await guest.waitFor(PROMPT, SECONDS);
      });
    } finally {
      web.close();
      web.closeAllConnections();
      sink.close();
      hold.close();
    }
  });
}

test('virtio: 1 GB down with its checksum in less than a minute, and 256 MB up', async (t) => {
  if (process.env['LODGE_LONG'] === undefined) {
    t.skip('takes minutes on a busy machine; LODGE_LONG=1 runs it');
    return;
  }
  const expected = createHash('md5');
  for (const piece of pieces(1024 * MEGABYTE)) {
    expected.update(piece);
  }
  const web = createHttpServer((_request, response) => Readable.from(pieces(1024 * MEGABYTE)).pipe(response));
  const received = createHash('md5');
  let bytes = 0;
  const sink = createTcpServer((socket) => {
    socket.on('data', (data) => {
      received.update(data);
      bytes += data.length;
    });
    socket.on('end', () => socket.end());
    socket.on('error', () => {});
  });
  const [webPort, sinkPort] = await Promise.all([listening(web), listening(sink)]);
  try {
    await onNetwork(t, VIRTIO, ',host-loopback', async (_guest, run) => {
      const started = Date.now();
      await run(
        `wget -q -O - http://10.0.2.2:${webPort}/file | md5sum`,
        new RegExp(expected.digest('hex')),
        SECONDS * 5,
      );
      const seconds = (Date.now() - started) / 1000;
      t.diagnostic(`1 GB down in ${seconds.toFixed(1)} s`);
      const uploaded = Date.now();
      await run(
        `dd if=/dev/zero bs=64k count=4096 | nc 10.0.2.2 ${sinkPort}; echo sent-$((1+1))`,
        /sent-2/,
        SECONDS * 5,
      );
      t.diagnostic(`256 MB up in ${((Date.now() - uploaded) / 1000).toFixed(1)} s`);
      assert.equal(bytes, 256 * MEGABYTE);
      assert.equal(received.digest('hex'), md5(Buffer.alloc(256 * MEGABYTE)));
      assert.ok(seconds < 60, `1 GB took ${seconds} s`);
    });
  } finally {
    web.close();
    web.closeAllConnections();
    sink.close();
  }
});

test('a guest reaches nothing of the host unless it may, and what it tried is in the capture', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-capture-'));
  let asked = 0;
  const web = createHttpServer((_request, response) => {
    asked++;
    response.end('small\n');
  });
  const port = await listening(web);
  try {
    for (const options of ['', ',isolated']) {
      const capture = join(folder, `frames${options}.pcap`.replace(',', '-'));
      await onNetwork(t, VIRTIO, `${options},capture=${capture}`, async (_guest, run) => {
        await run('ping -c 1 10.0.2.2', /1 packets received/);
        await run(`wget -q -O - http://10.0.2.2:${port}/; echo status-$?`, /refused[\s\S]*status-1\r/);
      });
      if (existsSync(capture)) {
        const frames = capturedFrames(readFileSync(capture));
        // The type of IPv4, the protocol TCP, the flag SYN.
        const syn = frames.filter((frame) => frame.readUInt16BE(12) === 0x0800 && frame[23] === 6 && frame[47] === 2);
        assert.ok(
          syn.some((frame) => frame.readUInt16BE(36) === port),
          'the connection that was tried',
        );
      }
    }
    assert.equal(asked, 0);
  } finally {
    web.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

/** Frames of a capture in the format of libpcap, of the host's byte order. */
function capturedFrames(file: Buffer): Buffer[] {
  assert.equal(file.readUInt32LE(0), 0xa1b2c3d4);
  const frames: Buffer[] = [];
  for (let at = 24; at < file.length; at += 16 + file.readUInt32LE(at + 8)) {
    frames.push(file.subarray(at + 16, at + 16 + file.readUInt32LE(at + 8)));
  }
  return frames;
}

/** Talks to a forwarded port until somebody behind it answers. */
async function ask(port: number, question: string): Promise<string> {
  for (let tries = 0; ; tries++) {
    const answer = await new Promise<string | undefined>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      let said = '';
      socket.on('connect', () => socket.end(question));
      socket.on('data', (bytes) => {
        said += bytes.toString();
      });
      socket.on('error', () => resolve(undefined));
      socket.on('close', () => resolve(said === '' ? undefined : said));
    });
    if (answer !== undefined) {
      return answer;
    }
    assert.ok(tries < 100, 'nobody answers at the forwarded port');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** iPXE on a CD, with a driver of its own for the card. @throws NotAvailable */
function ipxeCd(): string {
  return join(debianPackage('ipxe'), 'usr/lib/ipxe/ipxe.iso');
}

for (const { model, script, files } of [
  { model: 'e1000', script: 'tftp', files: 'http' },
  { model: 'virtio', script: 'http', files: 'tftp' },
] as const) {
  test(`iPXE on ${model}: DHCP, a script by ${script}, kernel and ramdisk by ${files}`, async (t) => {
    const cdrom = needs(t, ipxeCd);
    const kernel = cdrom && needs(t, () => linuxKernel('cloud'));
    const initrd = kernel && needs(t, () => busyboxInitramfs());
    if (cdrom === undefined || kernel === undefined || initrd === undefined || !existsSync(cdrom)) {
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), 'lodge-netboot-'));
    try {
      copyFileSync(kernel, join(folder, 'vmlinuz'));
      copyFileSync(initrd, join(folder, 'initrd'));
      const lines = [
        '#!ipxe',
        `kernel ${files}://10.0.2.2/vmlinuz console=ttyS0 panic=-1`,
        `initrd ${files}://10.0.2.2/initrd`,
        'boot\n',
      ];
      writeFileSync(join(folder, 'boot.ipxe'), lines.join('\n'));
      const bootFile = script === 'http' ? 'http://10.0.2.2/boot.ipxe' : 'boot.ipxe';
      const net = `nat,model=${model},isolated,boot=${folder},bootfile=${bootFile}`;
      const options = { memory: 256, cdrom, boot: 'cdrom', net, noReboot: true, timeout: SECONDS * 4 };
      await GuestRun.with(options, async (guest) => {
        await guest.waitFor(new RegExp(READY), SECONDS * 2);
        await guest.waitFor(PROMPT, SECONDS);
        guest.send('poweroff -f\n');
        assert.equal(await guest.exitCode(SECONDS), 0);
      });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
