import assert from 'node:assert/strict';
import { test } from 'node:test';
import { installerCd } from './boot-cds.ts';
import { everySeconds, GuestRun } from './guest-run.ts';
import { needs } from './needs.ts';
import { countColours, shareOf } from './png.ts';

const WAIT = 900;

// Both draw their language screen on a framebuffer of 800×600 pixels (vga=788).
test('the text Debian installer shows its language screen', async (t) => {
  const cdrom = needs(t, () => installerCd('text'));
  if (cdrom === undefined) {
    return;
  }
  const screenshots = everySeconds(5, 300);
  const options = { memory: 512, cdrom, boot: 'cdrom', screenshots, timeout: 320 };
  await GuestRun.with(options, async (guest) => {
    const picture = await guest.waitForScreen('the language screen', screenshots, WAIT, (shot) =>
      // The list of languages is a light grey window on blue with a red bar.
      shot.width === 800 && shareOf(shot, [170, 170, 170]) > 0.3 && shareOf(shot, [0, 0, 170]) > 0.05
        ? shot
        : undefined,
    );
    assert.equal(picture.height, 600);
  });
});

test('the graphical Debian installer shows its language screen', async (t) => {
  const cdrom = needs(t, () => installerCd('gtk'));
  if (cdrom === undefined) {
    return;
  }
  const screenshots = everySeconds(10, 600);
  const options = { memory: 768, cdrom, boot: 'cdrom', screenshots, timeout: 620 };
  await GuestRun.with(options, async (guest) => {
    const picture = await guest.waitForScreen('the language screen', screenshots, WAIT, (shot) =>
      // A banner with a gradient above a white list.
      shot.width === 800 && countColours(shot) > 200 && shareOf(shot, [255, 255, 255]) > 0.3 ? shot : undefined,
    );
    assert.equal(picture.height, 600);
  });
});
