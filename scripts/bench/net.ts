/**
 * `npm run bench:net`: TCP between a guest and a server on the host's loopback, by Lodge's user-mode network and by QEMU's
 * (slirp, with TCG), with the same kernel, programs and virtio card. Both guests stand side by side and are measured in
 * turns; figures are medians.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { initramfsWithFiles, staticBash } from '../../e2e/guests/extra-files.ts';
import { initramfsWithModules, LOAD_MODULES } from '../../e2e/guests/kernel-modules.ts';
import { linuxKernel } from '../../e2e/guests/linux.ts';
import { NotAvailable } from '../debian.ts';
import { type Host, lodge, tcg } from './hosts.ts';
import { median } from './report.ts';
import { hostNow, type TimedProcess, threadTimes } from './timed-process.ts';

const USAGE = `npm run bench:net -- [options]
  --rounds N      turns of each host (5)
  --items A,B     what to measure (all): down, up, up1k, nc, many, turns
  --hosts A,B     lodge, tcg (both)
  --checkout DIR  measures the Lodge there, not this one
  --megabytes N   bytes of each transfer (64)`;

const SECONDS = 300;
const MEGABYTE = 1 << 20;
const TURNS = 200;

interface Item {
  readonly title: string;
  readonly unit: 'MB/s' | 'turns/s';
  /** What the guest runs against a port of 10.0.2.2, for so many megabytes. */
  command(port: number, megabytes: number): string;
  /** Bytes that the server sends on each connection; otherwise it takes what comes. */
  sends?(megabytes: number): number;
  readonly connections?: number;
  readonly echoes?: boolean;
}

const inBash = (script: string) => `bash -c '${script}'`;

const items: Readonly<Record<string, Item>> = {
  down: {
    title: 'download, one connection',
    unit: 'MB/s',
    command: (port) => inBash(`dd bs=64k of=/dev/null < /dev/tcp/10.0.2.2/${port} 2>/dev/null`),
    sends: (megabytes) => megabytes * MEGABYTE,
  },
  up: {
    title: 'upload, writes of 64 KiB',
    unit: 'MB/s',
    command: (port, megabytes) =>
      inBash(`dd if=/dev/zero bs=64k count=${megabytes * 16} > /dev/tcp/10.0.2.2/${port} 2>/dev/null`),
  },
  up1k: {
    title: 'upload, writes of 1 KiB',
    unit: 'MB/s',
    command: (port, megabytes) =>
      inBash(`dd if=/dev/zero bs=1k count=${megabytes * 256} > /dev/tcp/10.0.2.2/${port} 2>/dev/null`),
  },
  nc: {
    title: 'upload by nc, through a pipe',
    unit: 'MB/s',
    command: (port, megabytes) => `dd if=/dev/zero bs=64k count=${megabytes * 4} 2>/dev/null | nc 10.0.2.2 ${port}`,
  },
  many: {
    title: 'download, eight connections',
    unit: 'MB/s',
    command: (port) =>
      inBash(
        `for i in 1 2 3 4 5 6 7 8; do dd bs=64k of=/dev/null < /dev/tcp/10.0.2.2/${port} 2>/dev/null & done; wait`,
      ),
    sends: (megabytes) => (megabytes * MEGABYTE) / 8,
    connections: 8,
  },
  turns: {
    title: 'one byte there and back',
    unit: 'turns/s',
    command: (port) =>
      inBash(
        `exec 3<>/dev/tcp/10.0.2.2/${port}; i=0; while [ $i -lt ${TURNS} ]; do echo >&3; read -r -u 3 a; i=$((i+1)); done`,
      ),
    echoes: true,
  },
};

/** A guest with a card and an address. */
class Guest {
  readonly process: TimedProcess;
  #count = 0;

  constructor(host: Host, boot: { kernel: string; initrd: string }) {
    this.process = host.start({ ...boot, memory: 256, append: 'console=ttyS0 quiet panic=-1 no_timer_check' });
  }

  async run(command: string): Promise<void> {
    this.#count++;
    this.process.send(`${command}; echo done-$((${this.#count}+0))\n`);
    await this.process.line(new RegExp(`^done-${this.#count}$`), SECONDS);
  }

  async start(): Promise<void> {
    await this.process.prompt(/guest# /, SECONDS);
    await this.run(LOAD_MODULES);
    await this.run('ip link set lo up; ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0');
    await this.run('ip route add default via 10.0.2.2; ping -c 1 10.0.2.2');
  }

  async end(): Promise<void> {
    this.process.send('poweroff -f\n');
    const timer = setTimeout(() => this.process.kill(), 10_000);
    await this.process.ended;
    clearTimeout(timer);
  }
}

interface Result {
  readonly rate: number;
  /** Seconds of processor time of all threads of the monitor, for each second. */
  readonly load: number;
}

async function measure(guest: Guest, item: Item, megabytes: number): Promise<Result> {
  let received = 0;
  let begin = 0;
  let end = 0;
  let open = 0;
  let closed: () => void = () => {};
  const over = new Promise<void>((resolve) => {
    closed = resolve;
  });
  const block = Buffer.alloc(64 << 10, 'lodge');
  const server = createServer({ noDelay: true }, (socket: Socket) => {
    begin ||= hostNow();
    let left = item.sends?.(megabytes) ?? 0;
    const send = () => {
      while (left > 0) {
        left -= block.length;
        if (!socket.write(block)) {
          socket.once('drain', send);
          return;
        }
      }
      socket.end();
    };
    if (item.sends !== undefined) {
      send();
    }
    socket.on('data', (bytes) => {
      received += bytes.length;
      if (item.echoes === true) {
        socket.write(bytes);
      }
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      end = hostNow();
      open++;
      if (open === (item.connections ?? 1)) {
        closed();
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const spent = () => [...(threadTimes(guest.process.pid) ?? [])].reduce((sum, [, seconds]) => sum + seconds, 0);
  const before = spent();
  await guest.run(item.command(port, megabytes));
  await over;
  const seconds = (end - begin) / 1000;
  const load = (spent() - before) / seconds;
  server.close();
  const sent = (item.sends?.(megabytes) ?? 0) * (item.connections ?? 1);
  const amount = item.unit === 'turns/s' ? TURNS : (sent + received) / MEGABYTE;
  return { rate: amount / seconds, load };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      items: { type: 'string', default: Object.keys(items).join() },
      hosts: { type: 'string', default: 'lodge,tcg' },
      checkout: { type: 'string' },
      megabytes: { type: 'string', default: '64' },
      help: { type: 'boolean' },
    },
  });
  const chosen = values.items.split(',').map((name) => ({ name, item: items[name] }));
  if (values.help === true || chosen.some(({ item }) => item === undefined)) {
    console.log(USAGE);
    process.exitCode = values.help === true ? 0 : 2;
    return;
  }
  const kernel = linuxKernel('cloud');
  const modules = initramfsWithModules('cloud', ['virtio_pci', 'virtio_net', 'af_packet']);
  const initrd = initramfsWithFiles(modules, [staticBash()]);
  const hosts: Host[] = [];
  for (const name of values.hosts.split(',')) {
    hosts.push(
      name === 'lodge'
        ? lodge(['--net', 'nat,model=virtio,host-loopback'], values.checkout)
        : await tcg(values.checkout, ['-nic', 'user,model=virtio-net-pci']),
    );
  }
  const guests = hosts.map((host) => ({ host, guest: new Guest(host, { kernel, initrd }) }));
  try {
    for (const { host, guest } of guests) {
      console.log(host.version);
      await guest.start();
    }
    const megabytes = Number(values.megabytes);
    for (const { item } of chosen) {
      if (item === undefined) {
        continue;
      }
      const results = new Map<Host, Result[]>();
      // Once without a clock, so that code is compiled.
      for (let round = -1; round < Number(values.rounds); round++) {
        for (const { host, guest } of guests) {
          const result = await measure(guest, item, round < 0 ? 16 : megabytes);
          if (round >= 0) {
            results.set(host, [...(results.get(host) ?? []), result]);
          }
        }
      }
      const rates = hosts.map((host) => median((results.get(host) ?? []).map(({ rate }) => rate)));
      const said = hosts.map((host, index) => {
        const load = median((results.get(host) ?? []).map((result) => result.load));
        return `${host.title} ${(rates[index] ?? 0).toFixed(0)} ${item.unit} (load ${load.toFixed(2)})`;
      });
      const ratio = rates.length === 2 ? `, ratio ${((rates[0] ?? 0) / (rates[1] ?? 1)).toFixed(2)}` : '';
      console.log(`${item.title}: ${said.join(', ')}${ratio}`);
    }
  } finally {
    for (const { guest } of guests) {
      await guest.end();
    }
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof NotAvailable)) {
    throw error;
  }
  console.error(error.message);
  process.exitCode = 1;
}
