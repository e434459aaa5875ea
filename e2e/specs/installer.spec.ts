import { NotAvailable } from '../../scripts/debian.ts';
import { documentScreen, expect, test } from '../fixtures/lodge.ts';
import { installerCd } from '../guests/boot-cds.ts';
import { type Picture, shareOf } from '../guests/png.ts';

/** The software processor takes its time over a kernel and an installer. */
const BOOT_MILLIS = 25 * 60_000;

/** The text installer's list of languages: a light grey window on blue, with a red bar. */
const isLanguageScreen = (picture: Picture): boolean =>
  picture.width >= 640 &&
  shareOf(picture, [170, 170, 170]) > 0.5 &&
  shareOf(picture, [0, 0, 170]) > 0.03 &&
  shareOf(picture, [170, 0, 0]) > 0.002;

/** The middle line of the red bar, which marks what is selected. */
function barLine({ width, height, rgb }: Picture): number {
  const lines: number[] = [];
  for (let y = 0; y < height; y++) {
    let red = 0;
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 3;
      if ((rgb[at] ?? 0) > 150 && (rgb[at + 1] ?? 0) < 20 && (rgb[at + 2] ?? 0) < 20) {
        red++;
      }
    }
    if (red > width / 4) {
      lines.push(y);
    }
  }
  return lines[Math.floor(lines.length / 2)] ?? -1;
}

test('by clicks only: a machine from an installer CD reaches the language screen and is powered off', async ({
  manager,
}) => {
  test.setTimeout(BOOT_MILLIS + 120_000);
  let cd = '';
  try {
    cd = installerCd('text');
  } catch (error) {
    test.skip(error instanceof NotAvailable, error instanceof Error ? error.message : '');
    throw error;
  }
  const wizard = await manager.newMachine();
  await wizard.field('Install media').fill(cd);
  await expect(wizard.dialog.getByText(/^Recognised: Debian/)).toBeVisible();
  await expect(wizard.field('Guest system')).toHaveValue('debian');
  await wizard.field('Name').fill('Debian installer');
  await wizard.next();
  await expect(wizard.field('Memory (MB)')).not.toHaveValue('');
  await wizard.next();
  await wizard.next();
  await wizard.create();

  const console = await manager.start('Debian installer');
  const before = await console.waitForPicture('the language screen', isLanguageScreen, BOOT_MILLIS);
  const line = barLine(before);
  expect(line).toBeGreaterThan(0);
  await console.press('ArrowDown');
  const after = await console.waitForPicture('the selection moved', (picture) => barLine(picture) > line, 60_000);
  expect(isLanguageScreen(after)).toBe(true);
  await documentScreen(console.page, 'installer');
  await console.powerOff();
  await expect(manager.machine('Debian installer', 'Powered Off')).toBeVisible();
});
