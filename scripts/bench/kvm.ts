/**
 * `npm run bench:kvm`: what an exit costs, how long the built-in guest takes to boot, and what an idle guest costs, under
 * KVM, beside QEMU with the same KVM. Both run as their users run them, in turns; figures are medians.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildTour } from '../../assets/guests/tour/build.ts';
import { kvmFinding } from '../../engine/process/accelerator.ts';
import { findCommand } from '../debian.ts';
import { projectRoot } from '../project.ts';
import { idleGuest, mmioGuest, portGuest } from './kvm-guests.ts';

const TURNS = Number(process.env['BENCH_TURNS'] ?? 3);
/** Rounds of the shorter and the longer run, whose difference is measured: starting and ending drop out. */
const FEW = 2_000;
const IDLE_SECONDS = 5;
const LIMIT_SECONDS = 120;

type Monitor = 'lodge' | 'qemu';

interface Guest {
  readonly bios?: string;
  readonly disk?: string;
}

const qemu = findCommand('qemu-system-x86_64');
const folder = mkdtempSync(join(tmpdir(), 'lodge-bench-kvm-'));

function start(monitor: Monitor, guest: Guest): ChildProcess {
  const [program, args] =
    monitor === 'lodge'
      ? [
          process.execPath,
          [
            ...[join(projectRoot, 'bin/lodge.js'), 'run', '--headless', '--accel', 'kvm', '--memory', '64'],
            ...['--debug-exit', '--no-reboot', '--serial', 'stdio'],
            ...(guest.bios === undefined ? [] : ['--bios', guest.bios]),
            ...(guest.disk === undefined ? [] : ['--disk', `${guest.disk},readonly`]),
          ],
        ]
      : [
          qemu ?? 'qemu-system-x86_64',
          [
            ...['-accel', 'kvm', '-machine', 'pc', '-m', '64', '-display', 'none', '-vga', 'std', '-nic', 'none'],
            ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=4', '-no-reboot', '-serial', 'stdio', '-monitor', 'none'],
            ...(guest.bios === undefined ? [] : ['-bios', guest.bios]),
            ...(guest.disk === undefined ? [] : ['-drive', `file=${guest.disk},format=raw,if=ide,snapshot=on`]),
          ],
        ];
  return spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Seconds until the guest ended; undefined when it did not. */
async function timed(monitor: Monitor, guest: Guest): Promise<number | undefined> {
  const child = start(monitor, guest);
  const from = performance.now();
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_SECONDS * 1000);
  child.stdout?.resume();
  child.stderr?.resume();
  const [code] = await new Promise<[number | null]>((resolve) => child.on('close', (status) => resolve([status])));
  clearTimeout(timer);
  return code === 1 ? (performance.now() - from) / 1000 : undefined;
}

/** Seconds until the guest wrote `text`, or what it wrote of trouble instead. */
async function untilText(monitor: Monitor, guest: Guest, text: string): Promise<number | string> {
  const child = start(monitor, guest);
  const from = performance.now();
  let heard = '';
  return new Promise((resolve) => {
    const end = (result: number | string) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      resolve(result);
    };
    const timer = setTimeout(() => end('not within the limit'), LIMIT_SECONDS * 1000);
    const listen = (bytes: Buffer) => {
      heard += bytes.toString('latin1');
      if (heard.includes(text)) {
        end((performance.now() - from) / 1000);
      } else {
        const trouble = /^(FAIL .*|KVM internal error.*)\r?$/m.exec(heard)?.[1];
        if (trouble !== undefined) {
          end(trouble);
        }
      }
    };
    child.stdout?.on('data', listen);
    child.stderr?.on('data', listen);
    child.on('close', () => end(heard.split('\n').at(-2) ?? 'ended'));
  });
}

/** Clock ticks that a process and its threads have used. */
function ticksOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

const wait = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** Milliseconds of processor time a second. */
async function idleCost(monitor: Monitor, guest: Guest): Promise<number> {
  const child = start(monitor, guest);
  const { pid = 0 } = child;
  await wait(3);
  const before = ticksOf(pid);
  await wait(IDLE_SECONDS);
  const used = ticksOf(pid) - before;
  child.kill('SIGKILL');
  return (used * 10) / IDLE_SECONDS;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const monitors: readonly Monitor[] = qemu === undefined ? ['lodge'] : ['lodge', 'qemu'];

async function exits(name: string, make: (rounds: number) => Uint8Array): Promise<void> {
  // As many rounds as take about a second.
  let many = 50_000;
  const few = { bios: file(`${name}-few.bin`, make(FEW)) };
  const results = new Map<Monitor, number[]>();
  for (let turn = -1; turn < TURNS; turn++) {
    const long = { bios: file(`${name}-${many}.bin`, make(many)) };
    for (const monitor of monitors) {
      const short = await timed(monitor, few);
      const seconds = await timed(monitor, long);
      if (short === undefined || seconds === undefined) {
        console.log(`${name}: ${monitor} did not end the guest`);
        return;
      }
      const rate = (many - FEW) / Math.max(1e-6, seconds - short);
      if (turn < 0) {
        many = monitor === 'lodge' ? Math.max(many, Math.min(20_000_000, Math.round(rate))) : many;
      } else {
        results.set(monitor, [...(results.get(monitor) ?? []), rate]);
      }
    }
  }
  row(
    name,
    (monitor) => median(results.get(monitor) ?? []),
    (value) => `${(value / 1000).toFixed(0)}k/s`,
    true,
  );
}

function row(name: string, value: (monitor: Monitor) => number, show: (value: number) => string, more: boolean): void {
  const [lodge, other] = [value('lodge'), value('qemu')];
  const ratio = more ? lodge / other : other / lodge;
  console.log(
    `${name.padEnd(34)}Lodge ${show(lodge).padStart(10)}` +
      (monitors.length > 1 ? `   QEMU ${show(other).padStart(10)}   Lodge is ${ratio.toFixed(2)} times as good` : ''),
  );
}

async function main(): Promise<void> {
  const { state, detail } = kvmFinding();
  console.log(`KVM: ${detail}`);
  if (qemu === undefined) {
    console.log('QEMU is not installed: Lodge alone');
  } else {
    console.log(spawnSync(qemu, ['--version'], { encoding: 'utf8' }).stdout.split('\n')[0]);
  }
  if (state === 'unusable') {
    process.exitCode = 1;
    return;
  }
  await exits('port writes', portGuest);
  await exits('device memory reads (HPET)', mmioGuest);

  const tour = { disk: file('tour.img', buildTour({ autoquit: false })) };
  for (const monitor of monitors) {
    const results: (number | string)[] = [];
    for (let turn = 0; turn < TURNS; turn++) {
      results.push(await untilText(monitor, tour, 'TOUR READY'));
    }
    const times = results.filter((result) => typeof result === 'number');
    const trouble = results.find((result) => typeof result === 'string');
    const said = trouble === undefined ? `${median(times).toFixed(2)} s` : `does not get there: ${trouble}`;
    console.log(`${'boot of the built-in guest'.padEnd(34)}${monitor === 'lodge' ? 'Lodge' : 'QEMU '} ${said}`);
  }

  const idle = { bios: file('idle.bin', idleGuest()) };
  const costs = new Map<Monitor, number[]>();
  for (let turn = 0; turn < TURNS; turn++) {
    for (const monitor of monitors) {
      costs.set(monitor, [...(costs.get(monitor) ?? []), await idleCost(monitor, idle)]);
    }
  }
  // A process that used no whole tick is not infinitely good.
  const cost = (monitor: Monitor) => Math.max(1, median(costs.get(monitor) ?? []));
  row('idle guest, processor time', cost, (value) => `${value.toFixed(1)} ms/s`, false);
}

try {
  await main();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
