/**
 * `npm run bench:kvm`: what an exit costs, how long the built-in guest takes to boot, and what an idle guest costs, under
 * KVM, beside QEMU with the same KVM. In turns; figures are medians. Exits and idling are measured in time for which
 * threads had a processor, which other programs on the machine hardly change; the boot in time on the clock. Idling is
 * measured once, five minutes after the start.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildTour } from '../../assets/guests/tour/build.ts';
import { kvmFinding } from '../../engine/process/accelerator.ts';
import { findCommand } from '../debian.ts';
import { projectRoot } from '../project.ts';
import { idleGuest, mmioGuest, portGuest } from './kvm-guests.ts';
import { hostNow, interval, type Moment, TimedProcess, threadTimes } from './timed-process.ts';

const TURNS = Number(process.env['BENCH_TURNS'] ?? 5);
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 100_000);
const IDLE_SECONDS = 30;
/** What a monitor does after its start is over by then: V8 compiles on, and tidies its heap up twice in four minutes. */
const SETTLE_SECONDS = Number(process.env['BENCH_SETTLE'] ?? 270);
const LIMIT_SECONDS = 200;

type Monitor = 'lodge' | 'qemu';

const qemu = findCommand('qemu-system-x86_64');
const monitors: readonly Monitor[] = qemu === undefined ? ['lodge'] : ['lodge', 'qemu'];
const folder = mkdtempSync(join(tmpdir(), 'lodge-bench-kvm-'));

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

function startQemu(...more: string[]): TimedProcess {
  return new TimedProcess(qemu ?? 'qemu-system-x86_64', [
    ...['-accel', 'kvm', '-machine', 'pc', '-m', '64', '-display', 'none', '-vga', 'std', '-nic', 'none'],
    ...['-no-reboot', '-serial', 'stdio', '-monitor', 'none', ...more],
  ]);
}

function startLodge(...more: string[]): TimedProcess {
  const fixed = ['run', '--headless', '--accel', 'kvm', '--memory', '64', '--no-reboot', '--serial', 'stdio'];
  return new TimedProcess(process.execPath, [join(projectRoot, 'bin/lodge.js'), ...fixed, ...more]);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** Takes `measure` of each monitor in turns; what one of them cannot do is said instead of its figure. */
async function compare(
  name: string,
  better: 'more' | 'less',
  show: (value: number) => string,
  measure: (monitor: Monitor) => Promise<number>,
): Promise<void> {
  const results = new Map<Monitor, number[]>();
  const trouble = new Map<Monitor, string>();
  for (let turn = 0; turn < TURNS; turn++) {
    for (const monitor of monitors) {
      if (trouble.has(monitor)) {
        continue;
      }
      try {
        results.set(monitor, [...(results.get(monitor) ?? []), await measure(monitor)]);
      } catch (error) {
        const said = error instanceof Error ? error.message.split('\n') : [String(error)];
        trouble.set(monitor, said.find((line) => /KVM internal error|FAIL/.test(line)) ?? said[0] ?? 'failed');
      }
    }
  }
  report(name, better, show, (monitor) => trouble.get(monitor) ?? median(results.get(monitor) ?? []));
}

/** `resultOf` a monitor: its figure, or what it could not do. */
function report(
  name: string,
  better: 'more' | 'less',
  show: (value: number) => string,
  resultOf: (monitor: Monitor) => number | string,
): void {
  const said = monitors.map((monitor) => {
    const result = resultOf(monitor);
    return `${monitor === 'lodge' ? 'Lodge' : 'QEMU'} ${typeof result === 'string' ? result : show(result)}`;
  });
  const [ours = Number.NaN, theirs = Number.NaN] = monitors.map((monitor) => Number(resultOf(monitor)));
  const ratio = better === 'more' ? ours / theirs : theirs / ours;
  const verdict =
    show(ours) === show(theirs)
      ? ', Lodge as good'
      : Number.isFinite(ratio)
        ? `, Lodge ${ratio.toFixed(2)} times as good`
        : '';
  console.log(`${name}: ${said.join(', ')}${verdict}`);
}

/** Rounds of a guest's loop a second of the busiest thread's time. */
async function exitsASecond(monitor: Monitor, bios: string): Promise<number> {
  const machine = join(projectRoot, 'scripts/bench/kvm-machine.ts');
  const process_ = monitor === 'lodge' ? new TimedProcess(process.execPath, [machine, bios]) : startQemu('-bios', bios);
  try {
    const begin = await process_.line(/LODGE-BENCH begin/, LIMIT_SECONDS);
    const { wall, busy } = interval(begin, await process_.line(/LODGE-BENCH end/, LIMIT_SECONDS));
    return ROUNDS / (busy ?? wall);
  } finally {
    process_.kill();
  }
}

async function bootSeconds(monitor: Monitor, disk: string): Promise<number> {
  const process_ =
    monitor === 'lodge'
      ? startLodge('--disk', `${disk},readonly`)
      : startQemu('-drive', `file=${disk},format=raw,if=ide,snapshot=on`);
  try {
    const line = await process_.line(/TOUR READY|^FAIL /, LIMIT_SECONDS);
    if (line.text.startsWith('FAIL')) {
      throw new Error(line.text);
    }
    return (line.at - process_.started.at) / 1000;
  } catch (error) {
    throw new Error(`${process_.errors}\n${error instanceof Error ? error.message : ''}`);
  } finally {
    process_.kill();
  }
}

/** Milliseconds of processor time a second, of all threads. */
async function idleCost(monitor: Monitor, bios: string): Promise<number> {
  const process_ = monitor === 'lodge' ? startLodge('--bios', bios) : startQemu('-bios', bios);
  const total = ({ threads }: Moment) => [...(threads ?? [])].reduce((sum, [, seconds]) => sum + seconds, 0);
  try {
    await process_.line(/LODGE-BENCH idle/, LIMIT_SECONDS);
    await sleep(SETTLE_SECONDS * 1000);
    const from = { at: hostNow(), threads: threadTimes(process_.pid) };
    await sleep(IDLE_SECONDS * 1000);
    const to = { at: hostNow(), threads: threadTimes(process_.pid) };
    return ((total(to) - total(from)) * 1e6) / (to.at - from.at);
  } finally {
    process_.kill();
  }
}

async function main(): Promise<void> {
  const { state, detail } = kvmFinding();
  console.log(detail);
  console.log(
    qemu === undefined
      ? 'QEMU is not installed: Lodge alone'
      : spawnSync(qemu, ['--version'], { encoding: 'utf8' }).stdout.split('\n')[0],
  );
  if (state === 'unusable') {
    process.exitCode = 1;
    return;
  }
  const thousands = (value: number) => `${(value / 1000).toFixed(1)}k/s`;
  const ports = file('ports.bin', portGuest(ROUNDS));
  await compare('Port writes', 'more', thousands, (monitor) => exitsASecond(monitor, ports));
  const reads = file('reads.bin', mmioGuest(ROUNDS));
  await compare('Device memory reads (HPET)', 'more', thousands, (monitor) => exitsASecond(monitor, reads));
  const tour = file('tour.img', buildTour({ autoquit: false }));
  await compare(
    'Boot of the built-in guest',
    'less',
    (value) => `${value.toFixed(2)} s`,
    (monitor) => bootSeconds(monitor, tour),
  );
  const idle = file('idle.bin', idleGuest());
  // Side by side: they hardly disturb each other.
  const costs = await Promise.all(monitors.map((monitor) => idleCost(monitor, idle)));
  report(
    'Idle guest',
    'less',
    (value) => `${value.toFixed(3)} ms/s`,
    (monitor) => costs[monitors.indexOf(monitor)] ?? Number.NaN,
  );
}

try {
  await main();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
