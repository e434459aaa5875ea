/** A Debian made by debootstrap, with its own kernel, drivers and programs, in a machine whose devices are all virtio. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { pageReleaser } from '../../engine/backends/memory/release-pages.ts';
import { findCommand } from '../../scripts/debian.ts';
import { projectRoot } from '../../scripts/project.ts';
import { debianDisk, PARTITION_OFFSET, ROOT_PASSWORD } from './debian-disk.ts';
import { DEBIAN_SECONDS, withDebianDisk } from './debian-session.ts';
import { logIn, MachineSession } from './machine-session.ts';
import { needs } from './needs.ts';
import { decodePng } from './png.ts';

const MEGABYTE = 1 << 20;
const MEMORY = 512;
const CONNECTIONS = 200;
/** Megabytes that the guest's programs fill. */
const FILL = 300;
const SHARED_FILES = 10_000;
/** Megabytes; the whole gigabyte takes a minute or more on a busy machine. */
const DOWNLOAD = process.env['LODGE_LONG'] === undefined ? 64 : 1024;
const UPLOAD = 16;

/** An echo of ICMP to the gateway: Debian's smallest systems have no ping. */
const PING = `perl -e 'socket(S, 2, 3, 1) or die; for (1..3) { send(S, pack("C2n3", 8, 0, 0xf7ff, 0, 0), 0, pack("Sna4x8", 2, 0, pack("C4", 10, 0, 2, 2))); do { recv(S, $a, 1500, 0) } until unpack("x20C", $a) == 0; $n++ } print "echoes-$n\\n"'`;
/** Answers one connection. */
const SERVE = `perl -MIO::Socket -e '$s = IO::Socket::INET->new(Listen => 1, LocalPort => 7777, ReuseAddr => 1) or die; $c = $s->accept; print $c "hello from the guest\\n"; print "heard-", scalar <$c>; close $c; print "served\\n"'`;

/** The bytes of the download, a megabyte at a time, none like another. */
function* pieces(): Generator<Buffer> {
  const block = randomBytes(MEGABYTE);
  for (let i = 0; i < DOWNLOAD; i++) {
    block.writeUInt32LE(i);
    yield Buffer.from(block);
  }
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  const port = await listening(probe);
  probe.close();
  await once(probe, 'close');
  return port;
}

/** What a program behind `socket` answers to `question`. */
async function ask(socket: ReturnType<typeof connect>, question: string): Promise<string> {
  let said = '';
  socket.on('data', (bytes) => {
    said += bytes.toString();
  });
  // Nobody listens yet: nothing is said.
  socket.on('error', () => {});
  socket.end(question);
  await new Promise((closed) => socket.on('close', closed));
  return said;
}

/** Resident memory of this process, in megabytes. */
const resident = () => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;

/** Servers of the host that the guest talks to. */
async function hostServers() {
  const digest = createHash('md5');
  const web = createHttpServer((_request, response) => {
    const hashed = Readable.from(pieces()).on('data', (piece: Buffer) => digest.update(piece));
    hashed.pipe(response);
  });
  const uploads: Buffer[] = [];
  const sink = createServer((socket) => {
    socket.on('data', (bytes) => uploads.push(bytes));
    socket.on('error', () => {});
  });
  let open = 0;
  const held = createServer((socket) => {
    socket.on('close', () => open--);
    socket.on('error', () => {});
    socket.resume();
    open++;
  });
  return {
    ports: await Promise.all([listening(web), listening(sink), listening(held)]),
    /** Of what was sent. */
    downloaded: () => digest.digest('hex'),
    uploaded: () => createHash('md5').update(Buffer.concat(uploads)).digest('hex'),
    open: () => open,
    close: () => {
      web.close();
      web.closeAllConnections();
      sink.close();
      held.close();
    },
  };
}

async function tryDisks(t: TestContext, session: MachineSession): Promise<void> {
  await session.run('findmnt -no SOURCE /', /\n\/dev\/vda1\r/);
  await session.run('cat /sys/block/vdb/serial; echo', /RAW-VIRTIO/);
  await session.run('gcc -O2 -w -o /root/io /mnt/io.c && echo built-$((1+1))', /built-2/);
  for (const device of ['/dev/vdb', '/dev/sda']) {
    const answer = await session.run(
      `/root/io verify ${device} ${Date.now()} 5`,
      /IO verify writes=(\d+) sectors=(\d+) mismatches=(\d+) errors=(\d+)/,
    );
    const [writes, sectors, mismatches, errors] = answer.slice(1).map(Number);
    assert.ok((writes ?? 0) > 20 && (sectors ?? 0) > 40, answer[0]);
    assert.deepEqual({ mismatches, errors }, { mismatches: 0, errors: 0 });
    t.diagnostic(`${device}: ${writes} random writes, ${sectors} sectors verified`);
  }
}

async function tryNetwork(t: TestContext, session: MachineSession, forwarded: number): Promise<void> {
  const servers = await hostServers();
  const [webPort, sinkPort, heldPort] = servers.ports;
  try {
    await session.run(
      "printf '[Match]\\nDriver=virtio_net\\n[Network]\\nDHCP=ipv4\\n' > /etc/systemd/network/lodge.network; " +
        'systemctl start systemd-networkd && /lib/systemd/systemd-networkd-wait-online --timeout 200 && ' +
        'cat /run/systemd/netif/leases/*',
      /\nADDRESS=10\.0\.2\.15\r[\s\S]*\nROUTER=10\.0\.2\.2\r[\s\S]*\nDNS=10\.0\.2\.3\r/,
    );
    await session.run(PING, /\nechoes-3\r/);
    const started = performance.now();
    const [, sum] = await session.run(
      `exec 3<>/dev/tcp/10.0.2.2/${webPort}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; ` +
        `while read -r l <&3 && [ "$l" != $'\\r' ]; do :; done; md5sum <&3; exec 3<&-`,
      /([0-9a-f]{32}) {2}-/,
    );
    t.diagnostic(`${DOWNLOAD} MB down in ${((performance.now() - started) / 1000).toFixed(1)} s`);
    assert.equal(sum, servers.downloaded());

    const [, sent] = await session.run(
      `head -c ${UPLOAD * MEGABYTE} /dev/urandom > /tmp/up; cat /tmp/up > /dev/tcp/10.0.2.2/${sinkPort}; md5sum /tmp/up`,
      /([0-9a-f]{32}) {2}\/tmp\/up/,
    );
    await session.until('all of the upload', () => servers.uploaded() === sent);

    await session.run(
      `for i in $(seq ${CONNECTIONS}); do exec {fd}<>/dev/tcp/10.0.2.2/${heldPort} || break; done; echo opened-$i`,
      new RegExp(`\\nopened-${CONNECTIONS}\\r`),
    );
    await session.until('all connections', () => servers.open() === CONNECTIONS);
    await session.run(
      // Bash gives them numbers from 10 on, and keeps 255 for itself.
      `for fd in $(seq 10 ${CONNECTIONS + 30}); do exec {fd}<&-; done; echo closed-$((1+1))`,
      /closed-2/,
    );
    await session.until('their ends', () => servers.open() === 0);

    session.send(`${SERVE}\n`);
    const answer = await session.until('an answer of the forwarded port', async () => {
      const said = await ask(connect(forwarded, '127.0.0.1'), 'hello from outside\n');
      return said === '' ? undefined : said;
    });
    assert.equal(answer, 'hello from the guest\n');
    await session.hears(/heard-hello from outside\r?\nserved/);
    await session.run('echo over-$((1+1))', /over-2/);
  } finally {
    servers.close();
  }
}

async function tryBalloon(t: TestContext, session: MachineSession): Promise<void> {
  const balloon = (megabytes: number) => session.machine.perform({ kind: 'balloon', megabytes });
  // Not with zeros: a host may take pages of nothing but zeros back by itself.
  await session.run('head -c 1M /dev/urandom > /tmp/piece; echo made-$((1+1))', /made-2/);
  /** Memory of this process while the guest's programs have filled theirs, in megabytes. */
  const filled = async () => {
    await session.run(
      `mount -t tmpfs -o size=400m none /media; for i in $(seq ${FILL}); do cat /tmp/piece; done > /media/f; stat -c size-%s /media/f`,
      new RegExp(`size-${FILL * MEGABYTE}\\r`),
    );
    const megabytes = resident();
    await session.run('umount /media; echo empty-$((1+1))', /empty-2/);
    return megabytes;
  };
  const full = await filled();
  await session.until('half of the memory', async () => (await balloon(MEMORY / 2)).presentMegabytes <= MEMORY / 2 + 1);
  const half = resident();
  await session.until('all of the memory', async () => (await balloon(MEMORY)).presentMegabytes === MEMORY);
  const again = await filled();
  t.diagnostic(
    `resident: ${full.toFixed(0)} MB, with the balloon ${half.toFixed(0)} MB, and then ${again.toFixed(0)} MB`,
  );
  assert.ok(full - half > MEMORY / 8 && again - half > MEMORY / 8, `${full}, ${half}, ${again}`);
}

async function tryDisplay(session: MachineSession): Promise<void> {
  await session.until('the driver of the display', () => session.status?.resizable);
  for (const [width, height] of [
    [903, 700],
    [1000, 640],
  ] as const) {
    await session.machine.perform({ kind: 'resize-screen', width, height });
    await session.until('the size of the window', async () => {
      const picture = decodePng(Buffer.from((await session.machine.perform({ kind: 'screenshot', head: 0 })).png));
      return picture.width === width && picture.height === height;
    });
    await session.run('cat /sys/class/drm/card*-Virtual-1/modes | head -n 1', new RegExp(`\\n${width}x${height}\\r`));
  }
}

async function trySockets(session: MachineSession, path: string): Promise<void> {
  await session.run('gcc -O2 -w -o /root/vsock /mnt/vsock.c && echo built-$((1+1))', /built-2/);
  await session.run(
    'modprobe vmw_vsock_virtio_transport; (/root/vsock serve 5000 &) 2> /dev/null; sleep 1; echo there-$((1+1))',
    /there-2/,
  );
  const said = await ask(connect(path), 'CONNECT 5000\nthere and back');
  assert.match(said, /^OK \d+\nthere and back$/);
}

test('a Debian with everything virtio: disks, network, balloon, shares, random numbers, display, sockets, a power cut', async (t) => {
  const image = needs(t, debianDisk);
  const e2fsck = findCommand('e2fsck');
  const debugfs = findCommand('debugfs');
  if (image === undefined) {
    return;
  }
  if (e2fsck === undefined || debugfs === undefined) {
    t.skip('e2fsck or debugfs is missing; install the Debian package e2fsprogs');
    return;
  }
  const releaser = pageReleaser();
  const folder = mkdtempSync(join(tmpdir(), 'lodge-debian-'));
  const shared = join(folder, 'shared');
  const raw = (name: string): string => {
    const path = join(folder, name);
    const file = openSync(path, 'w');
    ftruncateSync(file, 32 * MEGABYTE);
    closeSync(file);
    return path;
  };
  for (let i = 0; i < SHARED_FILES / 100; i++) {
    mkdirSync(join(shared, `d${i}`), { recursive: true });
    for (let j = 0; j < 100; j++) {
      writeFileSync(join(shared, `d${i}`, `f${j}`), `${i} ${j}\n`);
    }
  }
  for (const source of ['io/io.c', 'programs/vsock.c']) {
    copyFileSync(join(projectRoot, 'assets/guests', source), join(shared, source.replace(/.*\//, '')));
  }
  try {
    const hostPort = await freePort();
    let kept: string | undefined;
    await withDebianDisk(image, async (disk) => {
      const config = {
        ...{ name: 'debian', cpus: 1, memoryMegabytes: MEMORY, noReboot: true },
        disks: [
          { path: disk, bus: 'virtio' },
          { path: raw('raw-virtio.img'), bus: 'virtio', serial: 'RAW-VIRTIO' },
          { path: raw('raw-scsi.img'), bus: 'scsi' },
        ],
        boot: { order: ['disk'] },
        network: {
          model: 'virtio',
          hostLoopback: true,
          forwards: [{ protocol: 'tcp', hostPort, guestPort: 7777 }],
        },
        shares: [{ name: 'docs', path: shared }],
        vsock: { socket: join(folder, 'vm') },
        vga: 'virtio',
      };
      const use = async (session: MachineSession): Promise<void> => {
        await session.run(
          'mount -t 9p -o trans=virtio,version=9p2000.L docs /mnt && echo mounted-$((1+1))',
          /mounted-2/,
        );
        const started = performance.now();
        await session.run("find /mnt -name 'f*' | wc -l", new RegExp(`\\n${SHARED_FILES}\\r`));
        t.diagnostic(`${SHARED_FILES} files found in ${((performance.now() - started) / 1000).toFixed(1)} s`);
        await session.run('cat /mnt/d9?/f* | md5sum; echo here > /mnt/new', /[0-9a-f]{32} {2}-/);
        assert.equal(readFileSync(join(shared, 'new'), 'utf8'), 'here\n');
        await tryDisks(t, session);
        await session.run('cat /sys/class/misc/hw_random/rng_current', /virtio_rng/);
        await session.run('head -c 64 /dev/hwrng | wc -c', /\n64\r/);
        await tryDisplay(session);
        await trySockets(session, join(folder, 'vm'));
        await tryNetwork(t, session, hostPort);
        if ('release' in releaser) {
          await tryBalloon(t, session);
        }
        await session.run('fstrim -v /', /trimmed/);
        // Nothing but virtio drives this machine.
        await session.run(
          'ls /sys/bus/virtio/drivers/*/ -d | xargs -n 1 basename | sort | tr "\\n" " "; echo',
          /9pnet_virtio .*virtio_balloon .*virtio_blk .*virtio_gpu .*virtio_input .*virtio_net .*virtio_rng .*virtio_scsi/,
        );
        await session.run('dmesg | grep -ciE "I/O error|call trace|virtio.*(fail|error)"', /\n0\r/);
        const [, sum] = await session.run(
          'head -c 8m /dev/urandom > /root/kept; sync; md5sum /root/kept',
          /([0-9a-f]{32}) {2}\/root\/kept/,
        );
        kept = sum;
        session.send(
          'while true; do head -c 700k /dev/urandom > /root/busy$((i++ % 20)); rm -f /root/busy$((i % 7)); done &\n',
        );
        await session.run('sleep 3; echo busy-$((1+1))', /busy-2/);
        // What follows is the plug.
      };
      await MachineSession.with(config, DEBIAN_SECONDS, use, logIn(ROOT_PASSWORD));
      // A copy of the partition: e2fsck cannot open one inside an image again when it has replayed the journal.
      const root = join(folder, 'root.img');
      const dd = ['if=', 'of=', 'bs='].map((name, i) => `${name}${[disk, root, PARTITION_OFFSET][i]}`);
      assert.equal(spawnSync('dd', [...dd, 'skip=1', 'conv=sparse']).status, 0);
      for (const [options, worst] of [
        [['-p'], 1],
        [['-f', '-n'], 0],
      ] as const) {
        const { status, stdout, stderr } = spawnSync(e2fsck, [...options, root], { encoding: 'utf8' });
        assert.ok(status !== null && status <= worst, `e2fsck ${options.join(' ')}: ${stdout}${stderr}`);
      }
      const copy = join(folder, 'kept');
      spawnSync(debugfs, ['-R', `dump /root/kept ${copy}`, root]);
      assert.equal(createHash('md5').update(readFileSync(copy)).digest('hex'), kept, 'what was synced is there');
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
