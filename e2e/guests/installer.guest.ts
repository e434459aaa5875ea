import assert from 'node:assert/strict';
import { test } from 'node:test';
import { installerCd } from './boot-cds.ts';
import { everySeconds, GuestRun } from './guest-run.ts';
import { needs } from './needs.ts';
import { countColours, shareOf } from './png.ts';

const WAIT = 1500;

// The screens' sizes are left to the guest: it starts with vga=788, and its own driver may choose a larger mode.
test('the text Debian installer shows its language screen', async (t) => {
  const cdrom = needs(t, () => installerCd('text'));
  if (cdrom === undefined) {
    return;
  }
  const screenshots = everySeconds(5, 900);
  const options = { memory: 1024, cdrom, boot: 'cdrom', screenshots, timeout: 920 };
  await GuestRun.with(options, async (guest) => {
    const picture = await guest.waitForScreen('the language screen', screenshots, WAIT, (shot) =>
      // The list of languages fills nearly all of the blue screen with a light grey window; its bar is red.
      shot.width >= 800 &&
      shareOf(shot, [170, 170, 170]) > 0.6 &&
      shareOf(shot, [0, 0, 170]) > 0.03 &&
      shareOf(shot, [170, 0, 0]) > 0.002
        ? shot
        : undefined,
    );
    assert.ok(picture.height >= 600);
  });
});

test('the graphical Debian installer shows its language screen', async (t) => {
  const cdrom = needs(t, () => installerCd('gtk'));
  if (cdrom === undefined) {
    return;
  }
  const screenshots = everySeconds(10, 1400);
  const options = { memory: 1024, cdrom, boot: 'cdrom', screenshots, timeout: 1420 };
  await GuestRun.with(options, async (guest) => {
    const picture = await guest.waitForScreen('the language screen', screenshots, WAIT, (shot) =>
      // A banner with a gradient above a white list.
      shot.width >= 800 && countColours(shot) > 200 && shareOf(shot, [255, 255, 255]) > 0.3 ? shot : undefined,
    );
    assert.ok(picture.height >= 600);
  });
});
