import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipxe, memtest } from './boot-cds.ts';
import { everySeconds, GuestRun } from './guest-run.ts';
import { needs } from './needs.ts';

const WAIT = 400;

for (const bits of [64, 32] as const) {
  test(`memtest86+ of ${bits} bits runs its first tests on 64 MB without an error`, async (t) => {
    const images = needs(t, () => memtest(bits));
    if (images === undefined) {
      return;
    }
    const screenshots = everySeconds(5, 300);
    const options = { memory: 64, cdrom: images.cd, boot: 'cdrom', screenshots, timeout: 320 };
    await GuestRun.with(options, async (guest) => {
      // "Test #3" runs: those before it are over.
      const text = await guest.waitForText(/Test\s+#(?:[3-9]|10)\b/, screenshots, WAIT);
      assert.match(text, /Memtest86\+ v6/);
      assert.match(text, /Errors:\s+0\b/);
    });
  });
}

test('iPXE comes to its prompt', async (t) => {
  const images = needs(t, ipxe);
  if (images === undefined) {
    return;
  }
  const screenshots = everySeconds(2, 120);
  // Ctrl-B within two seconds of the banner gives the command line.
  const type = everySeconds(1, 100).map((at) => ({ text: '{ctrl+b}', at }));
  const options = { memory: 128, cdrom: images.cd, boot: 'cdrom', screenshots, type, timeout: 150 };
  await GuestRun.with(options, async (guest) => {
    await guest.waitForText(/^iPXE>/m, screenshots, WAIT);
  });
});
