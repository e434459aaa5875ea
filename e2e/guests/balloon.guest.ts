import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { pageReleaser } from '../../engine/backends/memory/release-pages.ts';
import { initramfsWithModules } from './kernel-modules.ts';
import { linuxKernel } from './linux.ts';
import { MachineSession } from './machine-session.ts';
import { needs } from './needs.ts';

const SECONDS = 400;
const MEGABYTE = 1 << 20;
/** Megabytes of the guest. */
const FULL = 512;
const HALF = FULL / 2;
const FIRST = 400;
/** Megabytes that the guest's programs fill. */
const FILL = 320;

/** Resident memory of this process, in megabytes. */
function resident(): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
}

/**
 * A guest with a balloon, whose `fill` makes its host give it memory, and frees it again; gives the resident memory of this
 * process in between, in megabytes.
 */
async function withBalloon(
  t: TestContext,
  /** Megabytes that the guest is to get along with from the start on. */
  atFirst: number,
  use: (session: MachineSession, fill: () => Promise<number>) => Promise<void>,
): Promise<void> {
  const releaser = pageReleaser();
  if (!('release' in releaser)) {
    t.skip(releaser.problem);
    return;
  }
  const kernel = needs(t, () => linuxKernel('cloud'));
  const initrd =
    kernel && needs(t, () => initramfsWithModules('cloud', ['virtio_pci', 'virtio_balloon', 'virtio-rng']));
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  const config = {
    memoryMegabytes: FULL,
    boot: { kernel, initrd, append: 'console=ttyS0 panic=-1' },
    entropy: true,
    balloon: true,
    balloonMegabytes: atFirst,
  };
  await MachineSession.with(config, SECONDS, async (session) => {
    await session.run('mount -t tmpfs -o size=400m none /mnt; echo mounted-$((1+1))', /mounted-2/);
    // Not with zeros: a host may take pages of nothing but zeros back by itself.
    await session.run('head -c 1m /dev/urandom > /tmp/piece; echo made-$((1+1))', /made-2/);
    const fill = async () => {
      await session.run(
        `for i in $(seq ${FILL}); do cat /tmp/piece; done > /mnt/fill; stat -c size-%s /mnt/fill`,
        new RegExp(`size-${FILL * MEGABYTE}\\r`),
      );
      const megabytes = resident();
      await session.run('rm /mnt/fill; echo removed-$((1+1))', /removed-2/);
      return megabytes;
    };
    await use(session, fill);
  });
}

test('a guest gives up half of its memory and the host has it back; then the guest has all of it again', async (t) => {
  await withBalloon(t, FULL, async (session, fill) => {
    const full = await fill();
    const balloon = (megabytes: number) => session.machine.perform({ kind: 'balloon', megabytes });
    await balloon(HALF);
    await session.until('the guest to shrink', async () => (await balloon(HALF)).presentMegabytes <= HALF + 1);
    const small = resident();
    t.diagnostic(`resident: ${full.toFixed(0)} MB, with the balloon ${small.toFixed(0)} MB`);
    assert.ok(full - small > HALF / 2, `${full.toFixed(0)} MB became ${small.toFixed(0)} MB`);
    const [, free] = await session.run('grep MemFree /proc/meminfo', /MemFree:\s+(\d+) kB/);
    assert.ok(Number(free) * 1024 < HALF * MEGABYTE, 'the guest has less');
    await balloon(FULL);
    await session.until('the guest to grow', async () => (await balloon(FULL)).presentMegabytes === FULL);
    await fill();
    await session.run('cat /sys/class/misc/hw_random/rng_current', /virtio_rng/);
    await session.run('head -c 32 /dev/hwrng | md5sum', /[0-9a-f]{32}/);
  });
});

test('what a guest frees goes back to the host by itself, by free-page reporting', async (t) => {
  await withBalloon(t, FIRST, async (session, fill) => {
    const balloon = (megabytes: number) => session.machine.perform({ kind: 'balloon', megabytes });
    const present = () => session.status?.balloon?.presentMegabytes ?? FULL;
    await session.until('the guest to give up what it is not to have at first', () => present() <= FIRST + 1);
    await session.until('the guest to have all', async () => (await balloon(FULL)).presentMegabytes === FULL);
    const before = resident();
    await fill();
    // Linux reports two seconds after pages were freed, a part at a time.
    await session.until('reported pages to leave the process', () => {
      const now = resident();
      return now < before + FILL / 4 && `${before.toFixed(0)} MB, then ${now.toFixed(0)} MB`;
    });
    assert.equal((await balloon(FULL)).presentMegabytes, FULL);
    await fill();
  });
});
