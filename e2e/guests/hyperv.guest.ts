/** Linux as a guest of Hyper-V: its clock, its timers and its calls, for which the kernel has drivers. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { silentLog } from '../../engine/base/log.ts';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import type { KvmAccess } from '../../engine/cpu/kvm/kvm-access.ts';
import { findFirmware } from '../../engine/firmware/find-firmware.ts';
import { Machine } from '../../engine/machine/machine.ts';
import { kvmForTests } from '../../engine/machine/testing/kvm-for-tests.ts';
import { busyboxInitramfs, linuxKernel, READY } from './linux.ts';
import { needs } from './needs.ts';

const WAIT = 400;
const HZ = 250;

/** A machine in this thread with a shell on its serial port. It offers Hyper-V's interface only: Linux prefers KVM's. */
class Shell {
  readonly machine: Machine;
  said = '';
  readonly #bell = new Int32Array(new SharedArrayBuffer(4));

  constructor(kernel: string, initrd: string, cpus: number, kvm: KvmAccess | undefined) {
    const append = 'console=ttyS0 panic=-1 no_timer_check';
    this.machine = new Machine({
      config: validateMachineConfig({ cpus, memoryMegabytes: 256, hyperv: true, boot: { kernel, initrd, append } }),
      firmware: undefined,
      vgaBios: findFirmware().vgaBios,
      kernel: {
        kernel: { name: kernel, bytes: readFileSync(kernel) },
        modules: [{ name: initrd, bytes: readFileSync(initrd) }],
        commandLine: append,
      },
      openMedia: () => ({ disks: [], floppy: undefined }),
      serialOutput: {
        write: (byte) => {
          this.said += String.fromCharCode(byte);
        },
      },
      log: silentLog,
      kvm,
      kvmInterface: false,
    });
  }

  turn(): void {
    const { machine } = this;
    const turn = machine.turn();
    assert.ok(turn.kind === 'running' || turn.kind === 'idle', `${turn.kind}\n${this.said.slice(-2000)}`);
    if (turn.kind === 'idle') {
      const millis = turn.until === undefined ? 5 : (turn.until - machine.clock.now()) / 1e6;
      Atomics.wait(this.#bell, 0, 0, Math.min(5, Math.max(0, millis)));
    }
  }

  /** Runs until the guest has said something after the first `from` letters. */
  until(pattern: RegExp, from = 0): void {
    const end = performance.now() + WAIT * 1000;
    while (!pattern.test(this.said.slice(from))) {
      assert.ok(performance.now() < end, `${pattern} in time; the guest said:\n${this.said.slice(-2000)}`);
      this.turn();
    }
  }

  /** What a command prints. */
  run(command: string): string {
    const from = this.said.length;
    const bytes = Buffer.from(`echo be''gin; ${command}; echo e''nd\n`);
    for (let at = 0; at < bytes.length; this.turn()) {
      at += this.machine.board.serial[0].receive(bytes.subarray(at));
    }
    this.until(/^end\r?$/m, from);
    return /^begin\r?\n(.*?)^end\r?$/ms.exec(this.said.slice(from))?.[1]?.replaceAll('\r', '') ?? '';
  }
}

/** A line of /proc/interrupts, one number a processor. */
function interrupts(shell: Shell, name: string): number[] {
  const line = shell.run(`grep ${name}: /proc/interrupts`);
  return [...line.matchAll(/ (\d+)(?= )/g)].map(([, digits]) => Number(digits));
}

/** A moment that lies somewhere between two readings of a clock, in seconds. */
type Between = readonly [from: number, to: number];

/** Ticks that the guest has counted, when that was by its clock, and when its clock was read by the machine's. */
function clocks(shell: Shell) {
  const from = shell.machine.clock.now() / 1e9;
  const text = shell.run('cat /proc/uptime; grep -m 1 ^jiffies /proc/timer_list; cat /proc/uptime');
  const to = shell.machine.clock.now() / 1e9;
  const [, first, ticks, last] = /^([\d.]+) .*jiffies: (\d+)\n([\d.]+) /s.exec(text) ?? [];
  const guest: Between = [Number(first), Number(last)];
  return { ticks: Number(ticks) / HZ, guest, machine: [from, to] as Between };
}

/** Least and most that can have passed between two moments; clocks are read to hundredths. */
function passed(before: Between, after: Between): Between {
  return [after[0] - before[1] - 0.02, after[1] - before[0] + 0.02];
}

function withLinux(t: TestContext, cpus: number, kvm: KvmAccess | undefined, use: (shell: Shell) => void): void {
  const kernel = needs(t, () => linuxKernel('cloud'));
  const initrd = kernel && needs(t, busyboxInitramfs);
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  const shell = new Shell(kernel, initrd, cpus, kvm);
  try {
    shell.until(new RegExp(`${READY} ${cpus} processors`));
    shell.until(/guest# /);
    use(shell);
  } finally {
    shell.machine.dispose();
  }
}

/** The kernel lives by Hyper-V's clock and timers, which are right. */
function assertTimersRight(shell: Shell, cpus: number): void {
  const folder = '/sys/devices/system';
  assert.deepEqual(
    shell.run(`cat ${folder}/clockevents/clockevent*/current_device`).match(/.+/g),
    Array.from({ length: cpus }, () => 'Hyper-V clockevent'),
  );
  assert.match(
    shell.run(`cat ${folder}/clocksource/clocksource0/current_clocksource`),
    /^hyperv_clocksource_tsc_page$/m,
  );
  assert.deepEqual(
    interrupts(shell, 'LOC'),
    Array.from({ length: cpus }, () => 0),
    'the local APICs have timers of their own, which nobody uses',
  );
  const [before, timersBefore] = [clocks(shell), interrupts(shell, 'HVS')];
  shell.run('sleep 3');
  const [after, timersAfter] = [clocks(shell), interrupts(shell, 'HVS')];
  const [least, most] = passed(before.guest, after.guest);
  assert.ok(most >= 3, `a guest that slept for 3 s finds that at most ${most} s have passed`);
  const [machineLeast, machineMost] = passed(before.machine, after.machine);
  assert.ok(least <= machineMost && machineLeast <= most, `${least} … ${most} s of ${machineLeast} … ${machineMost} s`);
  const ticks = after.ticks - before.ticks;
  assert.ok(ticks >= least && ticks <= most, `ticks of ${ticks} s in ${least} … ${most} s`);
  for (let cpu = 0; cpu < cpus; cpu++) {
    const timers = (timersAfter[cpu] ?? 0) - (timersBefore[cpu] ?? 0);
    // Idle processors have no ticks: far fewer than 250 a second.
    assert.ok(timers > 0 && timers < 100 * most, `processor ${cpu}: ${timers} timer interrupts in ${most} s`);
  }
}

test('software, 4 processors: the cloud kernel uses Hyper-V, its clock, timers and calls', (t) => {
  withLinux(t, 4, undefined, (shell) => {
    const messages = shell.run('dmesg');
    for (const line of [
      /Hypervisor detected: Microsoft Hyper-V/,
      /Hyper-V: Using hypercall for remote TLB flush/,
      /Hyper-V: Using IPI hypercalls/,
      /Hyper-V: Using enlightened APIC/,
    ]) {
      assert.match(messages, line);
    }
    assert.doesNotMatch(messages, /unchecked MSR|WARNING|Call Trace/);
    assertTimersRight(shell, 4);
    // Processes that map and unmap, on all processors.
    const [calls, flushes] = [interrupts(shell, 'CAL'), interrupts(shell, 'TLB')];
    shell.run('for i in 1 2 3 4; do (for j in 1 2 3; do ls -lR /sys/class >/dev/null 2>&1; done) & done; wait');
    assert.deepEqual(interrupts(shell, 'TLB'), flushes, 'no processor interrupts another one for its translations');
    const sum = (numbers: number[]) => numbers.reduce((all, one) => all + one, 0);
    assert.ok(sum(interrupts(shell, 'CAL')) > sum(calls));
  });
});

test('KVM with the local APICs: the cloud kernel uses Hyper-V, its clock and timers', (t) => {
  const open = kvmForTests(t, { asFound: true, localApics: 'kernel' });
  if (open === undefined) {
    return;
  }
  withLinux(t, 1, open(), (shell) => {
    const messages = shell.run('dmesg');
    assert.match(messages, /Hypervisor detected: Microsoft Hyper-V/);
    assert.doesNotMatch(messages, /unchecked MSR|WARNING|Call Trace|Using enlightened APIC|Using IPI/);
    assertTimersRight(shell, 1);
  });
});
