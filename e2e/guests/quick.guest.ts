/** The guests that run in every `npm test`. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { buildTour } from '../../assets/guests/tour/build.ts';
import { grubEntries, grubMenuCd } from './boot-cds.ts';
import { everySeconds, GuestRun, onQemu } from './guest-run.ts';
import { linuxSession } from './linux-session.ts';
import { needs } from './needs.ts';
import { countColours } from './png.ts';
import { menuSelection } from './screen-text.ts';

// Where keys have to come at the right moment the machine runs in virtual time: however slow the host is, the guest is
// equally far. Not GRUB, which never halts and so would take minutes; its menu waits for keys, and has time to appear.
const WAIT = 120;

/** A tour image in a file of its own, for one test. */
async function withTour(autoquit: boolean, use: (path: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-tour-'));
  try {
    const path = join(folder, 'tour.img');
    writeFileSync(path, buildTour({ autoquit }));
    await use(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// QEMU's own processor does not check segment limits, which one probe finds out.
const NO_FAILURES = onQemu ? /TOUR RESULT passed=\d+ failed=1\b/ : /TOUR RESULT passed=\d+ failed=0\b/;

for (const cpus of [1, 2]) {
  test(`the tour with ${cpus} processor(s): every probe passes, and it powers off`, async () => {
    await withTour(true, async (path) => {
      const options = { cpus, memory: 64, disks: [{ path, readOnly: true }], timeout: 60 };
      await GuestRun.with(options, async (guest) => {
        await guest.waitFor(NO_FAILURES, WAIT);
        await guest.waitFor(/TOUR READY/, WAIT);
        assert.equal(await guest.exitCode(WAIT), 0);
      });
    });
  });
}

test('a guest that waits for nothing has its time, and no more', {
  skip: onQemu && 'QEMU has no such option',
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-halted-'));
  try {
    const bios = join(folder, 'halt.bin');
    writeFileSync(bios, new Uint8Array(0x10000).fill(0xf4));
    await GuestRun.with({ bios, memory: 16, timeout: 2 }, async (guest) => {
      assert.equal(await guest.exitCode(WAIT), 3);
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the tour from a floppy draws its screen, sees the keyboard, and powers off when told', async () => {
  await withTour(false, async (path) => {
    const type = [
      { text: 'k', at: 12 },
      { text: 'q', at: 16 },
    ];
    const options = {
      memory: 64,
      floppy: path,
      boot: 'floppy',
      screenshots: [14],
      type,
      timeout: 60,
      virtualTime: true,
    };
    await GuestRun.with(options, async (guest) => {
      await guest.waitFor(/TOUR READY/, WAIT);
      await guest.waitFor(/KEY k/, WAIT);
      const picture = await guest.screenshot(14, WAIT);
      assert.ok(picture.width >= 640 && countColours(picture) >= 8, 'a graphical screen');
      await guest.waitFor(/TOUR BYE/, WAIT);
      assert.equal(await guest.exitCode(WAIT), 0);
    });
  });
});

test('SeaBIOS finds nothing to boot and says so', async () => {
  const screenshots = everySeconds(2, 30);
  await GuestRun.with({ memory: 64, screenshots, timeout: 60 }, async (guest) => {
    const text = await guest.waitForText(/No bootable device/, screenshots, WAIT);
    assert.match(text, /SeaBIOS \(version /);
  });
});

test('SeaBIOS shows its boot menu', async () => {
  const screenshots = everySeconds(1, 20);
  const type = everySeconds(0.5, 8).map((at) => ({ text: '{esc}', at }));
  await GuestRun.with({ memory: 64, screenshots, type, timeout: 60, virtualTime: true }, async (guest) => {
    await guest.waitForText(/Select boot device:/, screenshots, WAIT);
  });
});

test("GRUB's menu appears, and arrow keys move in it", async (t) => {
  const cdrom = needs(t, grubMenuCd);
  if (cdrom === undefined) {
    return;
  }
  const screenshots = [14, 16, 18, 20, 24];
  const type = [
    { text: '{down}', at: 15 },
    { text: '{down}', at: 17 },
    { text: '{up}', at: 19 },
    { text: '{Enter}', at: 21 },
  ];
  const options = { memory: 128, cdrom, boot: 'cdrom', screenshots, type, timeout: 60 };
  await GuestRun.with(options, async (guest) => {
    const menu = await guest.screenText(14, WAIT);
    for (const entry of grubEntries) {
      assert.ok(menu.includes(entry), `${entry} is in the menu:\n${menu}`);
    }
    for (const [at, selected] of [
      [14, 0],
      [16, 1],
      [18, 2],
      [20, 1],
    ] as const) {
      const picture = await guest.screenshot(at, WAIT);
      assert.equal(menuSelection(picture, grubEntries), grubEntries[selected], `the selection at ${at} s`);
    }
    assert.match(await guest.screenText(24, WAIT), /Chosen: Lodge second entry/);
  });
});

test('the cloud kernel with 1 processor', (t) => linuxSession(t, 'cloud', 1, WAIT));
