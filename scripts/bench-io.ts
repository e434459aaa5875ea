/**
 * `npm run bench:io`: what a guest's virtio disk and network card can do under Lodge's own processor and under QEMU's TCG,
 * with the same kernel, program, disk image and host. Both guests run all the time and are measured in turns; figures are
 * medians. docs/performance.md describes the method.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { initramfsWithIo } from '../e2e/guests/io-program.ts';
import { LOAD_MODULES } from '../e2e/guests/kernel-modules.ts';
import { linuxKernel } from '../e2e/guests/linux.ts';
import { type Host, lodge, tcg } from './bench/hosts.ts';
import { geometricMean, median } from './bench/report.ts';
import { type TimedProcess, threadTimes } from './bench/timed-process.ts';
import { NotAvailable } from './debian.ts';
import { projectRoot } from './project.ts';

const USAGE = `npm run bench:io -- [options]
  --rounds N           turns of each monitor (5)
  --seconds S          length of one measurement (3)
  --items A,B          what is measured (all); the names are those of the table, or their beginnings
  --disk-only, --network-only
  --lodge "OPTIONS"    further options of lodge run
  --checkout FOLDER    measures the Lodge there, not this one
  --no-qemu            Lodge alone
  --image FOLDER       where the disk images stand while they are used (the folder for temporary files)`;

const BOOT_SECONDS = 600;
const DISK_BYTES = 256 << 20;
const BLOCK = 4096;
const DEPTH = 32;
const LARGE = 128 << 10;
const PROMPT = /guest# /;

interface Item {
  readonly name: string;
  readonly command: string;
  /** From the answer's numbers to the figure, of which more is better. */
  readonly figure: (first: number, seconds: number) => number;
  readonly show: (figure: number) => string;
}

function diskItem(order: 'sequential' | 'random', kind: 'read' | 'write', block: number, depth: number): Item {
  const size = block === BLOCK ? '4 KiB' : `${block >> 10} KiB`;
  return {
    name: `${order} ${kind}, ${size}, ${depth} at a time`,
    command: `io disk /dev/vda ${kind} ${order} ${block} ${depth}`,
    figure: (operations, seconds) => operations / seconds,
    show: (figure) =>
      block === BLOCK ? `${Math.round(figure)} /s` : `${((figure * block) / 2 ** 20).toFixed(0)} MiB/s`,
  };
}

function tcpItem(name: string, verb: 'receive' | 'send', port: number): Item {
  return {
    name,
    command: `io ${verb} 10.0.2.2 ${port}`,
    figure: (bytes, seconds) => bytes / seconds,
    show: (figure) => `${((figure * 8) / 1e6).toFixed(0)} Mbit/s`,
  };
}

/** Sends as fast as it goes to who asks with `r`, and takes what comes from who asks with `s`. */
async function tcpPeer(): Promise<Server> {
  const data = Buffer.alloc(256 << 10, 0x5a);
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (wish) => {
      if (wish[0] === 's'.charCodeAt(0)) {
        // What came with the wish counts as taken too.
        socket.resume();
        return;
      }
      const pump = () => {
        while (!socket.destroyed && socket.write(data)) {
          // Until it is full.
        }
      };
      socket.on('drain', pump);
      pump();
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return server;
}

/** Of one measurement: by the clock, and by the processor time that the monitor's process took for it. */
interface Figures {
  readonly wall: number;
  readonly spent: number;
}

class Guest {
  readonly host: Host;
  readonly #process: TimedProcess;
  #commands = 0;

  constructor(host: Host, kernel: string, initrd: string) {
    this.host = host;
    this.#process = host.start({ kernel, initrd, append: 'console=ttyS0 panic=-1 no_timer_check', memory: 256 });
  }

  async prepare(network: boolean): Promise<void> {
    await this.#process.prompt(PROMPT, BOOT_SECONDS);
    await this.run(LOAD_MODULES, BOOT_SECONDS);
    if (network) {
      await this.run('ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0', 60);
    }
  }

  /** The lines that a command says. */
  async run(command: string, seconds: number): Promise<string[]> {
    const mark = `done-${++this.#commands}`;
    const before = this.#process.lines.length;
    // The shell's echo of the command does not have the mark in one piece.
    this.#process.send(`${command}; echo done"-"${this.#commands}\n`);
    await this.#process.line(new RegExp(`^${mark}$`), seconds);
    return this.#process.lines.slice(before).map(({ text }) => text);
  }

  /** Seconds for which all its threads together have had a processor. */
  #spent(): number {
    return [...(threadTimes(this.#process.pid)?.values() ?? [])].reduce((sum, value) => sum + value, 0);
  }

  async measure(item: Item, seconds: number): Promise<Figures> {
    const before = this.#spent();
    const lines = await this.run(`${item.command} ${seconds}`, 60 + seconds * 10);
    const text = lines.find((line) => line.startsWith('IO '));
    const numbers = /^IO \w+ \w+=(\d+) seconds=([\d.]+)(?: errors=(\d+))?$/.exec(text ?? '');
    if (numbers === null || Number(numbers[3] ?? 0) > 0) {
      throw new Error(`${this.host.title}, ${item.name}: ${text ?? lines.join('\n')}`);
    }
    const [count, took] = [Number(numbers[1]), Number(numbers[2])];
    return { wall: item.figure(count, took), spent: item.figure(count, this.#spent() - before) };
  }

  kill(): void {
    this.#process.kill();
  }
}

function printTable(items: readonly Item[], figures: ReadonlyMap<string, Figures[]>, hosts: readonly Host[]): void {
  const of = (item: Item, host: Host, by: keyof Figures = 'wall') =>
    median((figures.get(`${host.name} ${item.name}`) ?? []).map((measured) => measured[by]));
  const [ours, rival] = hosts as [Host, Host | undefined];
  const cells = items.map((item) => [
    item.name,
    ...hosts.map((host) => item.show(of(item, host))),
    ...(rival === undefined
      ? []
      : [
          (of(item, ours) / of(item, rival)).toFixed(2),
          (of(item, ours, 'spent') / of(item, rival, 'spent')).toFixed(2),
        ]),
  ]);
  const ratios = rival === undefined ? [] : ['Lodge / TCG', 'by CPU time'];
  const head = ['', ...hosts.map(({ title }) => title), ...ratios];
  for (const line of [head, ...cells]) {
    console.log(line.map((cell, i) => (i === 0 ? cell.padEnd(44) : cell.padStart(14))).join(''));
  }
  if (rival !== undefined) {
    const ratiosBy = (by: keyof Figures) => items.map((item) => of(item, ours, by) / of(item, rival, by));
    const below = items.filter((item) => of(item, ours) / of(item, rival) < 1).map(({ name }) => name);
    const mean = (by: keyof Figures) => geometricMean(ratiosBy(by)).toFixed(2);
    console.log(`geometric mean of the ratios: ${mean('wall')} by the clock, ${mean('spent')} by processor time`);
    console.log(
      below.length === 0
        ? 'target reached: every ratio is at least 1.00'
        : `below the target of 1.00: ${below.join('; ')}`,
    );
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '3' },
      items: { type: 'string', default: '' },
      'disk-only': { type: 'boolean', default: false },
      'network-only': { type: 'boolean', default: false },
      lodge: { type: 'string', default: '' },
      checkout: { type: 'string', default: projectRoot },
      'no-qemu': { type: 'boolean', default: false },
      image: { type: 'string', default: tmpdir() },
      help: { type: 'boolean', default: false },
    },
  });
  const rounds = Number(values.rounds);
  const seconds = Number(values.seconds);
  if (values.help || !(rounds >= 1) || !(seconds > 0)) {
    console.log(USAGE);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  const folder = mkdtempSync(join(values.image, 'lodge-bench-io-'));
  const guests: Guest[] = [];
  const peer = await tcpPeer();
  try {
    const { port } = peer.address() as AddressInfo;
    const all = [
      ...(values['network-only']
        ? []
        : [1, DEPTH].flatMap((depth) => [
            diskItem('sequential', 'read', BLOCK, depth),
            diskItem('sequential', 'write', BLOCK, depth),
            diskItem('random', 'read', BLOCK, depth),
            diskItem('random', 'write', BLOCK, depth),
          ])),
      ...(values['network-only']
        ? []
        : [diskItem('sequential', 'read', LARGE, 4), diskItem('sequential', 'write', LARGE, 4)]),
      ...(values['disk-only']
        ? []
        : [tcpItem('TCP from the host', 'receive', port), tcpItem('TCP to the host', 'send', port)]),
    ];
    const wanted = values.items.split(',').filter((name) => name !== '');
    const items = wanted.length === 0 ? all : all.filter(({ name }) => wanted.some((start) => name.startsWith(start)));
    const network = !values['disk-only'];
    const kernel = linuxKernel('cloud');
    const initrd = initramfsWithIo('cloud', ['virtio_pci', 'virtio_blk', 'virtio_net']);
    const contents = Buffer.alloc(DISK_BYTES, 'lodge');
    const image = (name: string): string => {
      const path = join(folder, `${name}.img`);
      writeFileSync(path, contents);
      return path;
    };
    const more = values.lodge.split(' ').filter((word) => word !== '');
    const card = network ? ['--net', 'nat,model=virtio,host-loopback'] : [];
    const hosts = [lodge(['--disk', `${image('lodge')},bus=virtio`, ...card, ...more], values.checkout)];
    if (!values['no-qemu']) {
      const drive = `file=${image('qemu')},format=raw,if=none,id=disk`;
      const nic = network ? ['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net'] : [];
      hosts.push(await tcg(values.checkout, ['-drive', drive, '-device', 'virtio-blk-pci,drive=disk', ...nic]));
    }
    for (const host of hosts) {
      console.log(`${host.title}: ${host.version}`);
      guests.push(new Guest(host, kernel, initrd));
    }
    await Promise.all(guests.map((guest) => guest.prepare(network)));
    const figures = new Map<string, Figures[]>();
    // A first round that does not count: code is compiled in it.
    for (let round = -1; round < rounds; round++) {
      for (const item of items) {
        for (const guest of guests) {
          const figure = await guest.measure(item, seconds);
          const key = `${guest.host.name} ${item.name}`;
          if (round >= 0) {
            figures.set(key, [...(figures.get(key) ?? []), figure]);
          }
        }
      }
    }
    printTable(items, figures, hosts);
  } finally {
    for (const guest of guests) {
      guest.kill();
    }
    peer.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

try {
  await main();
  process.exit();
} catch (error) {
  if (!(error instanceof NotAvailable)) {
    throw error;
  }
  console.error(error.message);
  process.exit(1);
}
