import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { buildTour } from '../../assets/guests/tour/build.ts';
import { fileBlocksProblem } from '../../engine/backends/block/file-blocks.ts';
import { findCommand } from '../../scripts/debian.ts';
import { GuestRun } from './guest-run.ts';
import { initramfsWithModules, LOAD_MODULES } from './kernel-modules.ts';
import { linuxKernel, READY } from './linux.ts';
import { needs } from './needs.ts';

const SECONDS = 400;
const PROMPT = /guest# /;

/** A cloud kernel with the given modules, its shell ready and the modules loaded. */
async function withModules(
  t: Parameters<typeof needs>[0],
  modules: readonly string[],
  options: Partial<ConstructorParameters<typeof GuestRun>[0]>,
  use: (guest: GuestRun, run: (command: string, answer: RegExp) => Promise<RegExpExecArray>) => Promise<void>,
): Promise<void> {
  const kernel = needs(t, () => linuxKernel('cloud'));
  const initrd = kernel && needs(t, () => initramfsWithModules('cloud', modules));
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  const append = 'console=ttyS0 panic=-1';
  await GuestRun.with(
    { memory: 256, kernel, initrd, append, noReboot: true, timeout: SECONDS * 4, ...options },
    async (guest) => {
      await guest.waitFor(new RegExp(READY), SECONDS);
      await guest.waitFor(PROMPT, SECONDS);
      const run = async (command: string, answer: RegExp) => {
        guest.send(`${command}\n`);
        const match = await guest.waitFor(answer, SECONDS);
        await guest.waitFor(PROMPT, SECONDS);
        return match;
      };
      await run(`${LOAD_MODULES}; echo loaded-$((6*7))`, /loaded-42/);
      await use(guest, run);
      guest.send('poweroff -f\n');
      assert.equal(await guest.exitCode(SECONDS), 0);
    },
  );
}

for (const cpus of [1, 2]) {
  test(`Linux on a virtio disk with ${cpus} processor(s): serial, random write and verify, flush, discard`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'lodge-virtio-'));
    const path = join(folder, 'disk.img');
    const disk = openSync(path, 'w');
    ftruncateSync(disk, 64 << 20);
    closeSync(disk);
    try {
      const disks = [{ path, bus: 'virtio', serial: 'LODGE-TEST-1' }] as const;
      await withModules(t, ['virtio_pci', 'virtio_blk', 'virtio_rng'], { cpus, disks }, async (_guest, run) => {
        await run('cat /sys/block/vda/serial', /LODGE-TEST-1/);
        await run('cat /sys/block/vda/size', /131072/);
        await run('ls /sys/block/vda/mq | wc -l', new RegExp(`\\n${cpus}\\r`));
        await run(
          'head -c 33554432 /dev/urandom > /tmp/data; dd if=/tmp/data of=/dev/vda bs=64k seek=16 conv=fsync',
          /512\+0/,
        );
        await run('echo 3 > /proc/sys/vm/drop_caches; echo dropped-$((1+1))', /dropped-2/);
        await run(
          'dd if=/dev/vda bs=4k skip=256 count=8192 2>/dev/null | cmp - /tmp/data && echo same-$((1+1))',
          /same-2/,
        );
        const before = statSync(path).blocks * 512;
        await run('blkdiscard -o 4194304 -l 1048576 /dev/vda && echo trimmed-$((1+1))', /trimmed-2/);
        if (fileBlocksProblem() === undefined) {
          const freed = before - statSync(path).blocks * 512;
          assert.ok(freed >= 1 << 20, `the host has ${freed} bytes back`);
        }
        await run('cat /sys/block/vda/queue/write_cache', /write back/);
        await run('cat /sys/class/misc/hw_random/rng_current', /virtio_rng/);
        await run('head -c 64 /dev/hwrng | md5sum', /[0-9a-f]{32}/);
      });
      const { length } = readFileSync(path);
      assert.equal(length, 64 << 20, 'the image keeps its size');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

test('Linux reads a read-only virtio disk and cannot write it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-virtio-'));
  const path = join(folder, 'disk.img');
  writeFileSync(path, Buffer.alloc(1 << 20, 'lodge'));
  try {
    const disks = [{ path, bus: 'virtio', readOnly: true }] as const;
    await withModules(t, ['virtio_pci', 'virtio_blk'], { disks }, async (_guest, run) => {
      await run('cat /sys/block/vda/ro', /\n1\r/);
      await run('head -c 10 /dev/vda; echo', /lodgelodge/);
      await run('echo x > /dev/vda', /not permitted|Read-only/);
    });
    assert.deepEqual(readFileSync(path), Buffer.alloc(1 << 20, 'lodge'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('Linux on virtio SCSI: a disk that is written, verified and trimmed, and a CD-ROM drive', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-virtio-'));
  const path = join(folder, 'disk.img');
  const disk = openSync(path, 'w');
  ftruncateSync(disk, 64 << 20);
  closeSync(disk);
  const disc = join(folder, 'disc.iso');
  writeFileSync(disc, Buffer.alloc(1 << 20, 'compact'));
  try {
    const disks = [{ path, bus: 'scsi', serial: 'LODGE-SCSI' }] as const;
    const modules = ['virtio_pci', 'virtio_scsi', 'sd_mod', 'sr_mod'];
    await withModules(t, modules, { cpus: 2, disks, cdrom: `${disc},bus=scsi` }, async (_guest, run) => {
      await run('sleep 2; cat /sys/block/sda/device/model /sys/block/sr0/device/model', /HARDDISK\s+LODGE CD-ROM/);
      await run('cat /sys/block/sda/size', /131072/);
      await run('cat /sys/block/sda/device/vpd_pg80', /LODGE-SCSI/);
      await run(
        'head -c 16777216 /dev/urandom > /tmp/data; dd if=/tmp/data of=/dev/sda bs=64k seek=16 conv=fsync',
        /256\+0/,
      );
      await run('echo 3 > /proc/sys/vm/drop_caches; echo dropped-$((1+1))', /dropped-2/);
      await run(
        'dd if=/dev/sda bs=4k skip=256 count=4096 2>/dev/null | cmp - /tmp/data && echo same-$((1+1))',
        /same-2/,
      );
      await run('cat /sys/block/sda/queue/discard_max_bytes', /\n[1-9]\d+\r/);
      await run('blkdiscard -o 33554432 -l 1048576 /dev/sda && echo trimmed-$((1+1))', /trimmed-2/);
      await run('head -c 14 /dev/sr0; echo', /compactcompact/);
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

for (const bus of ['virtio', 'scsi'] as const) {
  test(`the firmware boots from a ${bus} disk`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lodge-virtio-'));
    try {
      const path = join(folder, 'tour.img');
      writeFileSync(path, buildTour({ autoquit: true }));
      const options = { memory: 64, disks: [{ path, bus, readOnly: true }], boot: 'disk', timeout: SECONDS };
      await GuestRun.with(options, async (guest) => {
        await guest.waitFor(/TOUR READY/, SECONDS);
        assert.equal(await guest.exitCode(SECONDS), 0);
      });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

/** Status 1 of e2fsck: something was repaired, as is its business after a power cut. */
function checkFileSystem(e2fsck: string, options: readonly string[], path: string, cut: number, worst: number): void {
  const { status, stdout, stderr } = spawnSync(e2fsck, [...options, path], { encoding: 'utf8' });
  assert.ok(status !== null && status <= worst, `after cut ${cut}: ${stdout}${stderr}`);
}

/** The plug is pulled so often, each time at another moment. */
const POWER_CUTS = 3;

test('a file system on a virtio disk survives power cuts: what was synced is there, and its check repairs the rest', async (t) => {
  const mke2fs = findCommand('mke2fs');
  const e2fsck = findCommand('e2fsck');
  const debugfs = findCommand('debugfs');
  const kernel = needs(t, () => linuxKernel('cloud'));
  const initrd =
    kernel && needs(t, () => initramfsWithModules('cloud', ['virtio_pci', 'virtio_blk', 'ext4', 'crc32c_generic']));
  if (mke2fs === undefined || e2fsck === undefined || debugfs === undefined) {
    t.skip('mke2fs, e2fsck or debugfs is missing; install the Debian package e2fsprogs');
    return;
  }
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'lodge-virtio-'));
  const path = join(folder, 'disk.img');
  try {
    closeSync(openSync(path, 'w'));
    assert.equal(spawnSync(mke2fs, ['-q', '-F', '-t', 'ext4', path, '128m']).status, 0);
    const append = 'console=ttyS0 panic=-1';
    const disks = [{ path, bus: 'virtio' }] as const;
    const options = { memory: 256, kernel, initrd, append, disks, noReboot: true, timeout: SECONDS * 4 };
    /** Of what was synced, by its name. */
    const sums = new Map<string, string>();
    for (let cut = 1; cut <= POWER_CUTS; cut++) {
      const kept = `kept${cut}`;
      await GuestRun.with(options, async (guest) => {
        await guest.waitFor(PROMPT, SECONDS);
        guest.send(`${LOAD_MODULES}; mount -t ext4 /dev/vda /mnt && echo mounted-$((1+1))\n`);
        await guest.waitFor(/mounted-2/, SECONDS);
        guest.send(`head -c 4m /dev/urandom > /mnt/${kept}; sync; md5sum /mnt/${kept}; echo synced-$((1+1))\n`);
        sums.set(kept, (await guest.waitFor(new RegExp(`([0-9a-f]{32}) {2}/mnt/${kept}`), SECONDS))[1] ?? '');
        await guest.waitFor(/synced-2/, SECONDS);
        // Busy writing, renaming and deleting when the plug is pulled, which is what `with` does at its end.
        guest.send(
          'while true; do f=/mnt/busy$((i++ % 20)); head -c 700k /dev/urandom > $f.new; mv $f.new $f; rm -f /mnt/busy$((i % 7)); done & echo busy-$((1+1))\n',
        );
        await guest.waitFor(/busy-2/, SECONDS);
        await new Promise((resolve) => setTimeout(resolve, 1000 + Math.random() * 4000));
      });
      checkFileSystem(e2fsck, ['-p'], path, cut, 1);
      checkFileSystem(e2fsck, ['-f', '-n'], path, cut, 0);
    }
    for (const [name, sum] of sums) {
      const copy = join(folder, name);
      spawnSync(debugfs, ['-R', `dump /${name} ${copy}`, path]);
      assert.equal(createHash('md5').update(readFileSync(copy)).digest('hex'), sum, name);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
