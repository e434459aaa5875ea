/** MicroVMs: Debian's kernel finds the virtio devices by ACPI, and starts sooner than on a PC. */
import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { GuestRun } from './guest-run.ts';
import { initramfsWithModules } from './kernel-modules.ts';
import { linuxKernel, READY } from './linux.ts';
import { needs } from './needs.ts';
import { shellInitramfs } from './shell-initramfs.ts';

const SECONDS = 300;

/** The cloud kernel and an initramfs with these modules, whose shell is on ttyS0. */
function boot(t: TestContext, modules: readonly string[]): { kernel: string; initrd: string } | undefined {
  const kernel = needs(t, () => linuxKernel('cloud'));
  const withModules = kernel && needs(t, () => initramfsWithModules('cloud', modules));
  return kernel === undefined || withModules === undefined
    ? undefined
    : { kernel, initrd: shellInitramfs(withModules, 'ttyS0') };
}

test('a microVM with two processors reaches its shell, and its disk, network, console and random numbers work', async (t) => {
  const modules = ['virtio_mmio', 'virtio_blk', 'virtio_net', 'virtio_console', 'virtio_rng'];
  const files = boot(t, modules);
  if (files === undefined) {
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'lodge-microvm-'));
  try {
    const path = join(folder, 'disk.img');
    const disk = openSync(path, 'w');
    ftruncateSync(disk, 16 << 20);
    closeSync(disk);
    const options = {
      ...files,
      machine: 'microvm',
      cpus: 2,
      memory: 256,
      append: 'console=ttyS0 panic=-1',
      disks: [{ path, bus: 'virtio', serial: 'MICRO' }] as const,
      net: 'nat',
      console: `file:${join(folder, 'console')}`,
      noReboot: true,
      timeout: SECONDS * 4,
    };
    await GuestRun.with(options, async (guest) => {
      await guest.waitFor(new RegExp(`${READY} 2 processors`), SECONDS);
      await guest.waitFor(/guest# /, SECONDS);
      const run = async (command: string, answer: RegExp) => {
        guest.send(`${command}\n`);
        await guest.waitFor(answer, SECONDS);
        await guest.waitFor(/guest# /, SECONDS);
      };
      await run('ls /sys/bus/pci/devices 2>/dev/null | wc -l', /\n0\r/);
      await run('ls -d /sys/bus/acpi/devices/LNRO0005:* | wc -l', /\n5\r/);
      await run('cat /sys/block/vda/serial', /MICRO/);
      await run(
        'head -c 4m /dev/urandom > /tmp/data; dd if=/tmp/data of=/dev/vda bs=64k conv=fsync 2>/dev/null; ' +
          'echo 3 > /proc/sys/vm/drop_caches; head -c 4m /dev/vda | cmp - /tmp/data && echo same-$((1+1))',
        /same-2/,
      );
      await run('head -c 64 /dev/hwrng | md5sum', /[0-9a-f]{32}/);
      await run('ip link set eth0 up; udhcpc -n -q -i eth0 -s /bin/true && echo leased-$((1+1))', /leased-2/);
      await run('test -c /dev/hvc0 && echo hello > /dev/hvc0; dmesg | grep -c "virtio-mmio.*error"', /\n0\r/);
      await run('cat /proc/interrupts | grep -c virtio', /\n[1-9]/);
      guest.send('poweroff -f\n');
      assert.equal(await guest.exitCode(SECONDS), 0);
    });
    assert.equal(readFileSync(join(folder, 'console'), 'latin1'), 'hello\r\n', 'what the guest said on hvc0');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a microVM starts init in less of virtual time than a PC that starts the same kernel', async (t) => {
  const files = boot(t, ['virtio_mmio', 'virtio_pci']);
  if (files === undefined) {
    return;
  }
  const seconds = async (machine: string): Promise<number> => {
    const options = { ...files, machine, memory: 256, noReboot: true, virtualTime: true, timeout: SECONDS };
    return await GuestRun.with({ ...options, append: 'console=ttyS0 panic=-1' }, async (guest) => {
      // By the kernel's own stamp: virtual time that passes while the guest waits for what is typed here means nothing.
      const [, stamp] = await guest.waitFor(/\[ *(\d+\.\d+)\] Run \/init as init process/, SECONDS);
      await guest.waitFor(/guest# /, SECONDS);
      guest.send('reboot -f\n');
      await guest.exitCode(SECONDS);
      assert.match(guest.errors, /asked for a restart, which --no-reboot refuses/);
      return Number(stamp);
    });
  };
  const microvm = await seconds('microvm');
  const pc = await seconds('pc');
  t.diagnostic(`microvm ${microvm} s, PC ${pc} s of virtual time: ${(microvm / pc).toFixed(2)}`);
  assert.ok(microvm < pc, `${microvm} s and ${pc} s`);
});
