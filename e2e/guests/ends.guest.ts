/** How runs end: a guest that restarts, switches itself off or panics, on both boards, with one processor and with four. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { GuestRun, onQemu } from './guest-run.ts';
import { busyboxInitramfs, linuxKernel } from './linux.ts';
import { needs } from './needs.ts';

const SECONDS = 300;
/** Exit codes of `lodge run`. */
const POWERED_OFF = 0;
const FAILURE = 1;
const REFUSED = /asked for a restart, which --no-reboot refuses/;

interface Ending {
  readonly machine: 'pc' | 'microvm';
  readonly cpus: number;
  readonly command: string;
  readonly virtualTime?: boolean;
  /** What the kernel says last. */
  readonly said: RegExp;
  readonly code: number;
}

const restart = { command: 'reboot -f', said: /reboot: Restarting system/, code: FAILURE };
const off = { command: 'poweroff -f', said: /reboot: Power down/, code: POWERED_OFF };
// With `panic=-1` on the command line the kernel restarts the machine at once.
const panic = { command: 'echo c > /proc/sysrq-trigger', said: /Kernel panic - not syncing/, code: FAILURE };

const endings: readonly Ending[] = [
  { machine: 'pc', cpus: 1, ...restart },
  { machine: 'pc', cpus: 4, ...restart, virtualTime: true },
  { machine: 'microvm', cpus: 1, ...restart, virtualTime: true },
  { machine: 'microvm', cpus: 4, ...restart },
  { machine: 'pc', cpus: 4, ...off },
  { machine: 'microvm', cpus: 1, ...off, virtualTime: true },
  { machine: 'pc', cpus: 4, ...panic },
  { machine: 'microvm', cpus: 4, ...panic },
];

for (const { machine, cpus, command, virtualTime = false, said, code } of endings) {
  const time = virtualTime ? ' in virtual time' : '';
  test(`${machine}, ${cpus} processor(s)${time}: ${command}`, async (t: TestContext) => {
    const kernel = needs(t, () => linuxKernel('cloud'));
    const initrd = kernel && needs(t, () => busyboxInitramfs());
    if (kernel === undefined || initrd === undefined) {
      return;
    }
    const append = 'console=ttyS0 quiet panic=-1';
    const options = { kernel, initrd, machine, cpus, memory: 256, append, noReboot: true, virtualTime };
    await GuestRun.with({ ...options, timeout: SECONDS * 4 }, async (guest) => {
      await guest.waitFor(/guest# /, SECONDS);
      if (virtualTime && cpus > 1 && !onQemu) {
        // Software processors take turns in a thread: the guest is told of the time that they wait for each other.
        guest.send('awk \'/^cpu /{ print "stolen-" ($9 > 0) }\' /proc/stat\n');
        await guest.waitFor(/\nstolen-1\r?\n/, SECONDS);
      }
      guest.send(`echo 7 > /proc/sys/kernel/printk; ${command}\n`);
      await guest.waitFor(said, SECONDS);
      assert.equal(await guest.exitCode(SECONDS), code, guest.errors);
      assert.equal(REFUSED.test(guest.errors), code !== POWERED_OFF, guest.errors);
    });
  });
}
