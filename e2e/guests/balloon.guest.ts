import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pageReleaser } from '../../engine/backends/memory/release-pages.ts';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import { startMachine } from '../../engine/process/start-machine.ts';
import { initramfsWithModules, LOAD_MODULES } from './kernel-modules.ts';
import { linuxKernel } from './linux.ts';
import { needs } from './needs.ts';

const SECONDS = 400;
const MEGABYTE = 1 << 20;
/** Megabytes of the guest. */
const FULL = 256;
const HALF = FULL / 2;

/** Resident memory of this process, in megabytes. */
function resident(): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
}

test('a guest gives up half of its memory and the host has it back; then the guest has all of it again', async (t) => {
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
  const config = validateMachineConfig({
    memoryMegabytes: FULL,
    boot: { kernel, initrd, append: 'console=ttyS0 panic=-1' },
    serial: { kind: 'stdio' },
    entropy: true,
    balloon: true,
  });
  let said = '';
  const machine = await startMachine(config, {
    serialOutput: (bytes) => {
      said += Buffer.from(bytes).toString('latin1');
    },
    log: () => {},
    screenshot() {},
  });
  const until = async <T>(
    what: string,
    look: () => T | undefined | false | Promise<T | undefined | false>,
  ): Promise<T> => {
    for (const end = Date.now() + SECONDS * 1000; ; await sleep(200)) {
      const found = await look();
      if (found !== undefined && found !== false) {
        return found;
      }
      assert.ok(Date.now() < end, `${what}: not within ${SECONDS} s\n${said.slice(-2000)}`);
    }
  };
  const run = async (command: string, answer: RegExp): Promise<RegExpExecArray> => {
    const from = said.length;
    machine.sendSerial(Buffer.from(`${command}\n`));
    return await until(command, () => answer.exec(said.slice(from)) ?? undefined);
  };
  try {
    await until('the shell', () => /guest# /.test(said));
    await run(`${LOAD_MODULES}; echo loaded-$((6*7))`, /loaded-42/);
    // All of memory is touched once and free again, so that the host has to have given all of it.
    const fill = (megabytes: number) =>
      run(
        `dd if=/dev/zero of=/mnt/fill bs=1M count=${megabytes} 2>/dev/null; stat -c size-%s /mnt/fill; rm /mnt/fill`,
        new RegExp(`size-${megabytes * MEGABYTE}\\r`),
      );
    await run('mount -t tmpfs -o size=160m none /mnt; echo mounted-$((1+1))', /mounted-2/);
    await fill(128);
    const full = resident();
    const balloon = (megabytes: number) => machine.perform({ kind: 'balloon', megabytes });
    await balloon(HALF);
    await until('the guest to shrink', async () => (await balloon(HALF)).presentMegabytes <= HALF + 1);
    const small = resident();
    t.diagnostic(`resident: ${full.toFixed(0)} MB, with the balloon ${small.toFixed(0)} MB`);
    assert.ok(full - small > HALF / 2, `${full.toFixed(0)} MB became ${small.toFixed(0)} MB`);
    const [, free] = await run('grep MemFree /proc/meminfo', /MemFree:\s+(\d+) kB/);
    assert.ok(Number(free) * 1024 < HALF * MEGABYTE, 'the guest has less');
    await balloon(FULL);
    await until('the guest to grow', async () => (await balloon(FULL)).presentMegabytes === FULL);
    await fill(128);
    await run('head -c 32 /dev/hwrng | md5sum', /[0-9a-f]{32}/);
  } finally {
    machine.stop();
    await machine.finished;
  }
});
