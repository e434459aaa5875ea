import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { GuestRun } from './guest-run.ts';
import { initramfsWithIo } from './io-program.ts';
import { LOAD_MODULES } from './kernel-modules.ts';
import { linuxKernel } from './linux.ts';
import { MachineSession } from './machine-session.ts';
import { needs } from './needs.ts';

const SECONDS = 400;
const PROMPT = /guest# /;
const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_scsi', 'sd_mod'];
const BUSES = [
  { bus: 'virtio', device: '/dev/vda' },
  { bus: 'scsi', device: '/dev/sda' },
] as const;

type Run = (command: string, answer: RegExp) => Promise<RegExpExecArray>;

function boot(t: TestContext): { kernel: string; initrd: string } | undefined {
  const kernel = needs(t, () => linuxKernel('cloud'));
  const initrd = kernel && needs(t, () => initramfsWithIo('cloud', MODULES));
  return kernel === undefined || initrd === undefined ? undefined : { kernel, initrd };
}

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-disks-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function emptyImage(path: string, bytes: number): string {
  const file = openSync(path, 'w');
  ftruncateSync(file, bytes);
  closeSync(file);
  return path;
}

/** A small file system in memory, so that it can be made full and be given more room. Only root can mount one. */
function smallFileSystem(t: TestContext, megabytes: number): string | undefined {
  const mounted = mkdtempSync(join(tmpdir(), 'lodge-small-'));
  const result = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'lodge-test', mounted]);
  t.after(() => {
    spawnSync('umount', ['-l', mounted]);
    rmSync(mounted, { recursive: true, force: true });
  });
  if (result.status !== 0) {
    t.skip('a file system that can be made full needs the right to mount one');
    return undefined;
  }
  return mounted;
}

/** A guest with its modules loaded and one disk. */
async function withDisk(
  files: { readonly kernel: string; readonly initrd: string },
  path: string,
  { bus, device, cpus = 1 }: { readonly bus: 'virtio' | 'scsi'; readonly device: string; readonly cpus?: number },
  use: (guest: GuestRun, run: Run) => Promise<void>,
): Promise<void> {
  const append = 'console=ttyS0 panic=-1 no_timer_check';
  const options = { ...files, append, cpus, memory: 256, noReboot: true, timeout: SECONDS * 4 };
  await GuestRun.with({ ...options, disks: [{ path, bus }] }, async (guest) => {
    await guest.waitFor(PROMPT, SECONDS);
    const run: Run = async (command, answer) => {
      guest.send(`${command}\n`);
      const match = await guest.waitFor(answer, SECONDS);
      await guest.waitFor(PROMPT, SECONDS);
      return match;
    };
    await run(`${LOAD_MODULES}; until [ -b ${device} ]; do usleep 100000; done; echo there-$((1+1))`, /there-2/);
    await use(guest, run);
    guest.send('poweroff -f\n');
    assert.equal(await guest.exitCode(SECONDS), 0);
  });
}

for (const { bus, device } of BUSES) {
  test(`random blocks written to a raw ${bus} disk read back as they were written`, async (t) => {
    const files = boot(t);
    if (files === undefined) {
      return;
    }
    const path = emptyImage(join(temporaryFolder(t), 'disk.img'), 48 << 20);
    await withDisk(files, path, { bus, device, cpus: 2 }, async (_guest, run) => {
      const pattern = /IO verify writes=(\d+) sectors=(\d+) mismatches=(\d+) errors=(\d+)/;
      const answer = await run(`io verify ${device} ${Date.now()} 10`, pattern);
      const [writes, sectors, mismatches, errors] = answer.slice(1).map(Number);
      assert.ok((writes ?? 0) > 20 && (sectors ?? 0) > 40, answer[0]);
      assert.deepEqual({ mismatches, errors }, { mismatches: 0, errors: 0 });
    });
  });

  test(`the host's disk runs full under a ${bus} disk: the machine waits, goes on once there is room, and nothing is lost`, async (t) => {
    const files = boot(t);
    const small = files && smallFileSystem(t, 8);
    if (files === undefined || small === undefined) {
      return;
    }
    const path = emptyImage(join(small, 'disk.img'), 32 << 20);
    await withDisk(files, path, { bus, device }, async (guest, run) => {
      guest.send(`head -c 16m /dev/urandom > /tmp/data; dd if=/tmp/data of=${device} bs=64k conv=fsync\n`);
      const deadline = Date.now() + SECONDS * 1000;
      while (!/no space left for the image \(ENOSPC\); the machine waits/.test(guest.errors)) {
        assert.ok(Date.now() < deadline, `no word of the full disk\n${guest.errors}\n${guest.serial.slice(-500)}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      const heard = guest.serial.length;
      await new Promise((resolve) => setTimeout(resolve, 3000));
      assert.equal(guest.serial.length, heard, 'the guest stands still');
      assert.equal(spawnSync('mount', ['-o', 'remount,size=64m', small]).status, 0);
      await guest.waitFor(/256\+0 records out/, SECONDS);
      await guest.waitFor(PROMPT, SECONDS);
      await run(
        `echo 3 > /proc/sys/vm/drop_caches; head -c 16m ${device} | cmp - /tmp/data && echo same-$((1+1))`,
        /same-2/,
      );
      await run('dmesg | grep -c "I/O error"', /\n0\r/);
    });
  });

  test(`a ${bus} disk whose image is cut short: reads beyond its end fail, the rest goes on`, async (t) => {
    const files = boot(t);
    if (files === undefined) {
      return;
    }
    const path = join(temporaryFolder(t), 'disk.img');
    writeFileSync(path, Buffer.alloc(8 << 20, 'lodge'));
    await withDisk(files, path, { bus, device }, async (guest, run) => {
      await run(`head -c 10 ${device}; echo`, /lodgelodge/);
      truncateSync(path, 4 << 20);
      await run(
        `echo 3 > /proc/sys/vm/drop_caches; dd if=${device} of=/dev/null bs=1M skip=6 count=1`,
        /Input\/output error/,
      );
      await run(
        `dd if=${device} bs=1M skip=1 count=1 2>/dev/null | head -c 14 | tail -c 10; echo`,
        /(lodge|odgel|dgelo|gelod|elodg)/,
      );
      assert.match(guest.errors, /cut short on the host; the guest gets an error of its disk/);
    });
  });
}

test('an image that is deleted while it is used: the machine waits, and by hand the guest is told', async (t) => {
  const files = boot(t);
  if (files === undefined) {
    return;
  }
  const path = emptyImage(join(temporaryFolder(t), 'disk.img'), 8 << 20);
  const config = {
    ...{ name: 'deleted', cpus: 1, memoryMegabytes: 256, noReboot: true },
    boot: { kernel: files.kernel, initrd: [files.initrd], append: 'console=ttyS0 panic=-1 no_timer_check' },
    disks: [{ path, bus: 'virtio' as const, readOnly: false }],
  };
  await MachineSession.with(config, SECONDS, async (session) => {
    await session.run('dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync; echo status-$?', /status-0/);
    rmSync(path);
    session.send('dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync; echo status-$?\n');
    await session.until('word of the deleted image', () =>
      session.warnings.find((line) => /deleted on the host, and what was written to it may be lost/.test(line)),
    );
    await session.machine.perform({ kind: 'resume' });
    await session.run('', /Input\/output error[\s\S]*status-1/);
  });
});

test('SCSI disks come and go while the guest runs', async (t) => {
  const files = boot(t);
  if (files === undefined) {
    return;
  }
  const folder = temporaryFolder(t);
  const config = {
    ...{ name: 'hot-plug', cpus: 1, memoryMegabytes: 256, noReboot: true },
    boot: { kernel: files.kernel, initrd: [files.initrd], append: 'console=ttyS0 panic=-1 no_timer_check' },
    disks: [{ path: emptyImage(join(folder, 'first.img'), 8 << 20), bus: 'scsi' as const, readOnly: false }],
  };
  const second = join(folder, 'second.img');
  writeFileSync(second, Buffer.alloc(4 << 20, 'second'));
  await MachineSession.with(config, SECONDS, async (session) => {
    const wait = (condition: string) => `until ${condition}; do usleep 100000; done; echo seen-$((1+1))`;
    await session.run(wait('[ -b /dev/sda ]'), /seen-2/);
    const attach = { kind: 'attach-disk', path: second, readOnly: false, serial: 'SECOND' } as const;
    const { target } = await session.machine.perform(attach);
    assert.equal(target, 1);
    await session.run(wait('[ -b /dev/sdb ]'), /seen-2/);
    await session.run('head -c 12 /dev/sdb; cat /sys/block/sdb/device/vpd_pg80; echo', /secondsecond[\s\S]*SECOND/);
    await assert.rejects(session.machine.perform(attach), { code: 'image-in-use' });
    await session.machine.perform({ kind: 'detach-disk', target });
    await session.run(wait('[ ! -e /sys/block/sdb ]'), /seen-2/);
    await assert.rejects(session.machine.perform({ kind: 'detach-disk', target }), { code: 'no-scsi-disk' });
    // Its file is free again, and its place too.
    assert.deepEqual(await session.machine.perform(attach), { target });
    await session.run(wait('[ -b /dev/sdb ]'), /seen-2/);
    await session.run('dd if=/dev/zero of=/dev/sdb bs=4k count=1 conv=fsync; echo status-$?', /status-0/);
  });
});
