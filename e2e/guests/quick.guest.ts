/** The guests that run in every `npm test`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { grubEntries, grubMenuCd } from './boot-cds.ts';
import { everySeconds, GuestRun } from './guest-run.ts';
import { linuxSession } from './linux-session.ts';
import { needs } from './needs.ts';
import { menuSelection } from './screen-text.ts';

const WAIT = 120;

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
  await GuestRun.with({ memory: 64, screenshots, type, timeout: 60 }, async (guest) => {
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
  await GuestRun.with({ memory: 128, cdrom, boot: 'cdrom', screenshots, type, timeout: 60 }, async (guest) => {
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
