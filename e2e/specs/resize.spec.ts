import { NotAvailable } from '../../scripts/debian.ts';
import { expect, test } from '../fixtures/lodge.ts';
import { type Picture, shareOf } from '../guests/png.ts';
import { screenCd } from '../guests/screen-program.ts';
import type { ConsolePage } from '../pages/console-page.ts';

/** The software processor takes its time over a kernel. */
const BOOT_MILLIS = 20 * 60_000;

const pixel = ({ width, rgb }: Picture, x: number, y: number): number[] => [
  ...rgb.subarray((y * width + x) * 3, (y * width + x) * 3 + 3),
];

/** The guest's picture: blue, in a white frame of one pixel. It fills the window, so that no pixel is scaled. */
function isWhole(picture: Picture): boolean {
  const { width, height } = picture;
  const corners = [pixel(picture, 0, 0), pixel(picture, width - 1, height - 1)];
  return shareOf(picture, [0x20, 0x40, 0x80]) > 0.9 && corners.every((colour) => colour.every((part) => part > 250));
}

/** Waits until the guest uses all of the window. */
async function fillsWindow(console: ConsolePage, timeout: number): Promise<Picture> {
  return await console.waitForPicture('the guest in the size of the window', (picture) => isWhole(picture), timeout);
}

test('a guest on virtio-gpu follows the window, shows its pointer as the host’s, and needs no capture', async ({
  manager,
}) => {
  test.setTimeout(BOOT_MILLIS + 300_000);
  let cd = '';
  try {
    cd = screenCd();
  } catch (error) {
    test.skip(error instanceof NotAvailable, error instanceof Error ? error.message : '');
    throw error;
  }
  const wizard = await manager.newMachine();
  await wizard.field('Install media').fill(cd);
  await wizard.field('Guest system').selectOption('debian');
  await wizard.field('Name').fill('Desktop');
  await wizard.next();
  await expect(wizard.field('Memory (MB)')).not.toHaveValue('');
  await wizard.next();
  await wizard.next();
  await wizard.create();

  const console = await manager.start('Desktop');
  const { page } = console;
  const size = async () => {
    const box = await console.surface.boundingBox();
    return [box?.width, box?.height];
  };
  const first = await fillsWindow(console, BOOT_MILLIS);
  expect([first.width, first.height]).toEqual(await size());

  await page.setViewportSize({ width: 905, height: 633 });
  // Until the guest has followed, its old picture is shown whole, but smaller than the window.
  let second = first;
  await expect(async () => {
    second = await fillsWindow(console, 120_000);
    expect([second.width, second.height]).toEqual(await size());
  }).toPass({ timeout: 120_000 });
  expect(second.width).toBeLessThan(first.width);

  // The guest has a tablet: the mouse is not captured, and the guest's pointer is the host's.
  await expect(page.getByRole('button', { name: 'Mouse: moves in and out of the guest freely' })).toBeVisible();
  await expect(page.locator('.picture')).toHaveCSS('cursor', /^url\("data:image\/png;base64,[^"]+"\) 8 8, default$/);
  const box = await console.surface.boundingBox();
  await page.mouse.move((box?.x ?? 0) + second.width / 4, (box?.y ?? 0) + second.height / 2);
  await page.mouse.down();
  await page.mouse.up();
  await page.getByRole('tab', { name: 'Serial port' }).click();
  const serial = page.getByRole('tabpanel', { name: 'Serial port' });
  await expect(serial).toContainText('Lodge Virtio Tablet 1 272 1');
  await expect(serial).toContainText(`screen 0 ${second.width}x${second.height}`);
  await page.getByRole('tab', { name: 'Screen' }).click();
  await expect(page.getByRole('dialog')).toBeHidden();
  await console.powerOff();
});
