/** Guests on KVM, where there is one; on a KVM that only emulates, together with the software processor. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { buildTour } from '../../assets/guests/tour/build.ts';
import { silentLog } from '../../engine/base/log.ts';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import type { KvmAccess } from '../../engine/cpu/kvm/kvm-access.ts';
import { findFirmware } from '../../engine/firmware/find-firmware.ts';
import { Machine } from '../../engine/machine/machine.ts';
import { kvmForTests } from '../../engine/machine/testing/kvm-for-tests.ts';
import { loadMachine, saveMachine } from '../../engine/machine/testing/machine-state.ts';
import { kvmFinding } from '../../engine/process/accelerator.ts';
import { grubEntries, grubMenuCd, ipxe, memtest } from './boot-cds.ts';
import { everySeconds, GuestRun } from './guest-run.ts';
import { busyboxInitramfs, linuxKernel, READY } from './linux.ts';
import { linuxSession } from './linux-session.ts';
import { MachineSession } from './machine-session.ts';
import { needs } from './needs.ts';

const WAIT = 400;
/** Probes that read one clock after another: on a host that is busy at that moment they are tried again. */
const COMPARES_CLOCKS = /^FAIL (?:pit|tsc|pm-timer|hpet|pic-timer|lapic-timer) /;

/** False, and the test is skipped with the reason, where KVM cannot be used. */
function kvmUsable(t: TestContext): boolean {
  const { state, detail } = kvmFinding();
  if (state === 'unusable') {
    t.skip(detail);
  }
  return state !== 'unusable';
}

for (const cpus of [1, 4]) {
  test(`KVM, ${cpus} processor(s): every probe of the tour passes, and it powers off`, async (t) => {
    if (!kvmUsable(t)) {
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), 'lodge-tour-'));
    try {
      const path = join(folder, 'tour.img');
      writeFileSync(path, buildTour({ autoquit: true }));
      const options = { accel: 'kvm', cpus, memory: 64, disks: [{ path, readOnly: true }], timeout: 200 } as const;
      let failed: string[] = [];
      for (let attempt = 0; attempt < 4; attempt++) {
        await GuestRun.with(options, async (guest) => {
          await guest.waitFor(/TOUR RESULT passed=\d+ failed=\d+/, WAIT);
          assert.equal(await guest.exitCode(WAIT), 0);
          failed = guest.serial.split(/\r?\n/).filter((line) => line.startsWith('FAIL '));
        });
        assert.deepEqual(
          failed.filter((line) => !COMPARES_CLOCKS.test(line)),
          [],
        );
        if (failed.length === 0) {
          break;
        }
      }
      assert.deepEqual(failed, []);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test(`KVM, ${cpus} processor(s): SeaBIOS finds nothing to boot and says so`, async (t) => {
    if (!kvmUsable(t)) {
      return;
    }
    const screenshots = everySeconds(2, 60);
    await GuestRun.with({ accel: 'kvm', cpus, memory: 64, screenshots, timeout: 80 }, async (guest) => {
      assert.match(await guest.waitForText(/No bootable device/, screenshots, WAIT), /SeaBIOS \(version /);
    });
  });

  test(`KVM, ${cpus} processor(s): GRUB's menu appears`, async (t) => {
    const cdrom = kvmUsable(t) ? needs(t, grubMenuCd) : undefined;
    if (cdrom === undefined) {
      return;
    }
    const screenshots = everySeconds(3, 90);
    const options = { accel: 'kvm', cpus, memory: 128, cdrom, boot: 'cdrom', screenshots, timeout: 100 } as const;
    await GuestRun.with(options, async (guest) => {
      const menu = await guest.waitForText(new RegExp(grubEntries.at(-1) ?? ''), screenshots, WAIT);
      assert.ok(grubEntries.every((entry) => menu.includes(entry)));
    });
  });

  test(`KVM, ${cpus} processor(s): memtest86+ runs its first tests without an error`, async (t) => {
    const images = kvmUsable(t) ? needs(t, () => memtest(64)) : undefined;
    if (images === undefined) {
      return;
    }
    const screenshots = everySeconds(5, 380);
    const cdrom = images.cd;
    const options = { accel: 'kvm', cpus, memory: 64, cdrom, boot: 'cdrom', screenshots, timeout: 400 } as const;
    await GuestRun.with(options, async (guest) => {
      const text = await guest.waitForText(/Test\s+#(?:[3-9]|10)\b/, screenshots, WAIT);
      assert.match(text, /Errors:\s+0\b/);
    });
  });

  test(`KVM, ${cpus} processor(s): iPXE comes to its prompt`, async (t) => {
    const images = kvmUsable(t) ? needs(t, ipxe) : undefined;
    if (images === undefined) {
      return;
    }
    const screenshots = everySeconds(2, 140);
    const type = everySeconds(1, 120).map((at) => ({ text: '{ctrl+b}', at }));
    const cdrom = images.cd;
    const options = { accel: 'kvm', cpus, memory: 128, cdrom, boot: 'cdrom', screenshots, type, timeout: 170 } as const;
    await GuestRun.with(options, async (guest) => {
      await guest.waitForText(/^iPXE>/m, screenshots, WAIT);
    });
  });

  test(`KVM, ${cpus} processor(s): the cloud kernel reaches a shell and powers off`, async (t) => {
    if (kvmUsable(t)) {
      await linuxSession(t, 'cloud', cpus, WAIT, 'kvm');
    }
  });
}

interface LinuxOptions {
  readonly cpus: number;
  /** Who has the local APICs while KVM runs the processors. */
  readonly localApics?: KvmAccess['localApics'];
}

/** What makes a machine with a booting cloud kernel, in this thread; undefined, and skipped, where something is missing. */
function linuxMachines(t: TestContext, { cpus, localApics }: LinuxOptions) {
  const open = kvmForTests(t, { asFound: true, ...(localApics === undefined ? {} : { localApics }) });
  const kernel = open && needs(t, () => linuxKernel('cloud'));
  const initrd = kernel && needs(t, busyboxInitramfs);
  if (open === undefined || kernel === undefined || initrd === undefined) {
    return undefined;
  }
  const { vgaBios } = findFirmware();
  // See linux-session.ts.
  const append = 'console=ttyS0 panic=-1 no_timer_check';
  let serial = '';
  const bell = new Int32Array(new SharedArrayBuffer(4));
  return {
    said: (pattern: RegExp) => pattern.test(serial),
    make: () =>
      new Machine({
        config: validateMachineConfig({ cpus, memoryMegabytes: 256, boot: { kernel, initrd, append } }),
        firmware: undefined,
        vgaBios,
        kernel: {
          kernel: { name: kernel, bytes: readFileSync(kernel) },
          modules: [{ name: initrd, bytes: readFileSync(initrd) }],
          commandLine: append,
        },
        openMedia: () => ({ disks: [], floppy: undefined }),
        serialOutput: {
          write: (byte) => {
            serial += String.fromCharCode(byte);
          },
        },
        log: silentLog,
        kvm: open(),
      }),
    runUntil: (machine: Machine, pattern: RegExp) => {
      const end = performance.now() + WAIT * 1000;
      while (!pattern.test(serial)) {
        assert.ok(performance.now() < end, `${pattern} in time; the guest said:\n${serial.slice(-2000)}`);
        const turn = machine.turn();
        assert.ok(turn.kind === 'running' || turn.kind === 'idle', `${turn.kind}\n${serial.slice(-2000)}`);
        if (turn.kind === 'idle') {
          const millis = turn.until === undefined ? 5 : (turn.until - machine.clock.now()) / 1e6;
          Atomics.wait(bell, 0, 0, Math.min(5, Math.max(0, millis)));
        }
      }
    },
  };
}

for (const [from, to] of [
  ['kvm', 'software'],
  ['software', 'kvm'],
] as const) {
  test(`a machine saved on ${from} in the middle of a Linux boot finishes it on ${to}`, (t) => {
    const linux = linuxMachines(t, { cpus: 1 });
    if (linux === undefined) {
      return;
    }
    const first = linux.make();
    first.cpus.moveTo(from);
    linux.runUntil(first, /clocksource: Switched to/);
    const saved = saveMachine(first);
    first.dispose();
    assert.ok(!linux.said(new RegExp(READY)));
    const second = linux.make();
    second.cpus.moveTo(to);
    loadMachine(second, saved);
    linux.runUntil(second, new RegExp(READY));
    assert.equal(second.cpus.kind, to);
    second.dispose();
  });
}

test('a Linux that reckons is moved fifty times between KVM and software, and never errs', async (t) => {
  const kernel = kvmUsable(t) ? needs(t, () => linuxKernel('cloud')) : undefined;
  const initrd = kernel && needs(t, busyboxInitramfs);
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  const boot = { kernel, initrd, append: 'console=ttyS0 quiet panic=-1 no_timer_check' };
  const config = { accel: 'kvm', cpus: 2, memoryMegabytes: 256, boot };
  const check = 'md5sum < /bin/busybox';
  await MachineSession.with(
    config,
    WAIT,
    async (session) => {
      const expected = (await session.run(check, /([0-9a-f]{32}) {2}-/))[1];
      // One such loop for each processor, until the moves are over.
      const loop = `n=0; while [ ! -e /stop ]; do ${check} >> /sums; n=$((n+1)); done; echo $n > /ended.`;
      await session.run(`for i in 1 2; do (${loop}$i) & done; echo begun-$((6*7))`, /begun-42/);
      for (let i = 0; i < 50; i++) {
        await session.machine.perform({ kind: 'accelerate', accelerator: i % 2 === 0 ? 'software' : 'kvm' });
        await new Promise((resolve) => setTimeout(resolve, 20 + ((i * 37) % 100)));
      }
      await session.run('touch /stop; wait; cat /ended.1 /ended.2; echo over-$((6*7))', /over-42/);
      const [, kinds = '', sums = '0'] = await session.run(
        'echo sums: $(sort -u /sums | grep -c .) $(grep -c . /sums) $(sort -u /sums)',
        /sums: (\d+) (\d+) [0-9a-f]{32}/,
      );
      const [, last] = await session.run(check, /([0-9a-f]{32}) {2}-/);
      assert.deepEqual([kinds, last], ['1', expected]);
      t.diagnostic(`${sums} checksums meanwhile`);
      assert.ok(Number(sums) >= 2);
      assert.deepEqual(session.warnings, []);
    },
    toTheShell,
  );
});

/** The shell of an initramfs that has no modules. */
async function toTheShell(session: MachineSession): Promise<void> {
  await session.hears(/guest# /);
}

// On a KVM that emulates, the local APICs change hands again and again in such a boot.
for (const cpus of [1, 4]) {
  test(`KVM with the local APICs, ${cpus} processor(s): the cloud kernel reaches its shell`, (t) => {
    const linux = linuxMachines(t, { cpus, localApics: 'kernel' });
    if (linux === undefined) {
      return;
    }
    const machine = linux.make();
    linux.runUntil(machine, new RegExp(`${READY} ${cpus} processors`));
    machine.dispose();
  });
}
