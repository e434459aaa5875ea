import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { GuestRun } from './guest-run.ts';
import { busyboxInitramfs, type KernelName, kernels, linuxKernel, READY } from './linux.ts';
import { needs } from './needs.ts';

/**
 * A Debian kernel with a busybox initramfs: a shell on the serial port, a command typed and answered, power-off with
 * exit code 0.
 * @param seconds until the shell is there, and then again until the machine is off
 */
export async function linuxSession(
  test: TestContext,
  name: KernelName,
  cpus: number,
  seconds: number,
  accel?: 'kvm',
): Promise<void> {
  const kernel = needs(test, () => linuxKernel(name));
  const initrd = kernel && needs(test, () => busyboxInitramfs(kernels[name].architecture));
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  // Linux counts timer interrupts at start unless it knows that it is a guest; on a KVM that emulates, and on a busy host,
  // they come too late for it.
  const append = `console=ttyS0 panic=-1${accel === 'kvm' ? ' no_timer_check' : ''}`;
  const options = {
    ...(accel === undefined ? {} : { accel }),
    cpus,
    memory: 256,
    kernel,
    initrd,
    append,
    noReboot: true,
    timeout: seconds * 2,
  };
  await GuestRun.with(options, async (guest) => {
    await guest.waitFor(new RegExp(`${READY} ${cpus} processors`), seconds);
    await guest.waitFor(/guest# /, seconds);
    guest.send('echo answer-$((6 * 7)); uname -m\n');
    await guest.waitFor(/\nanswer-42\r?\n/, seconds);
    await guest.waitFor(name === 'i686' ? /i686/ : /x86_64/, seconds);
    await guest.waitFor(/guest# /, seconds);
    guest.send('poweroff -f\n');
    assert.equal(await guest.exitCode(seconds), 0, 'exit code of a guest that powered off');
  });
}
