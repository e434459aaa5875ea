import { documentScreen, expect, expectAccessible, test } from '../fixtures/lodge.ts';
import { countColours, type Picture } from '../guests/png.ts';

/** The tour's desktop: a landscape in many colours, on a large screen. */
const isDesktop = (picture: Picture): boolean => picture.width >= 800 && countColours(picture) > 200;

/** Where two pictures differ: the share of their lines that do. */
function changedLines(a: Picture, b: Picture): Set<number> {
  const changed = new Set<number>();
  const stride = a.width * 3;
  for (let y = 0; y < Math.min(a.height, b.height); y++) {
    const at = y * stride;
    if (Buffer.compare(a.rgb.subarray(at, at + stride), b.rgb.subarray(at, at + stride)) !== 0) {
      changed.add(y);
    }
  }
  return changed;
}

test('the demonstration guest, from the empty list to its desktop, which answers a key', async ({ manager }) => {
  await expect(manager.page.getByRole('heading', { name: 'Welcome to Lodge' })).toBeVisible();
  await expectAccessible(manager.page);
  const console = await manager.tryDemo();
  const before = await console.waitForPicture('the desktop of the tour', isDesktop);
  await expect(console.page.getByText('Host key: Right Ctrl')).toBeAttached();
  await documentScreen(console.page, 'console');

  // The prompt stands in the lower part; the clock, which changes by itself, at the top.
  await console.press('h', 'e', 'l', 'l', 'o');
  const lowerHalf = (picture: Picture) => [...changedLines(before, picture)].some((y) => y > picture.height * 0.75);
  await console.waitForPicture('what was typed', lowerHalf);
  await expectAccessible(console.page);

  await expect(manager.machine('Tour', 'Running')).toBeVisible();
  await expect(manager.page.getByRole('img', { name: 'Screen of Tour' }).locator('canvas')).toBeVisible();
  await manager.page.bringToFront();
  await documentScreen(manager.page, 'manager');
  await expectAccessible(manager.page);

  await console.press('q');
  await expect(manager.machine('Tour', 'Powered Off')).toBeVisible();
  await expect(console.page.getByText('The machine is off')).toBeVisible();
});

test('pause, resume, reset and power off from the list', async ({ manager }) => {
  const console = await manager.tryDemo();
  await console.waitForPicture('the desktop of the tour', isDesktop);
  await manager.button('Pause').click();
  await expect(manager.machine('Tour', 'Paused')).toBeVisible();
  const frozen = await console.picture();
  await console.page.waitForTimeout(1500);
  expect(changedLines(frozen, await console.picture()).size).toBe(0);
  await manager.button('Resume').click();
  await expect(manager.machine('Tour', 'Running')).toBeVisible();
  await console.waitForPicture('the clock going on', (picture) => changedLines(frozen, picture).size > 0);
  await manager.button('Reset').click();
  await manager.page.getByRole('alertdialog').getByRole('button', { name: 'Reset' }).click();
  await console.waitForPicture('the firmware again', (picture) => picture.width <= 720);
  await manager.powerOff('Tour');
  await expect(console.page.getByText('The machine is off')).toBeVisible();
});

test('mouse capture says how to get out, and the host key releases', async ({ manager }) => {
  const console = await manager.tryDemo();
  await console.waitForPicture('the desktop of the tour', isDesktop);
  await console.canvas.click();
  const dialog = console.page.getByRole('dialog', { name: 'The guest gets mouse and keyboard' });
  await expect(dialog).toContainText('Press Right Ctrl to get it back');
  await expectAccessible(console.page);
  await dialog.getByRole('button', { name: 'Capture' }).click();
  const captured = console.page.getByRole('button', { name: 'Mouse: captured by the guest' });
  await expect(captured).toBeVisible();
  await console.page.keyboard.press('ControlRight');
  await expect(console.page.getByRole('button', { name: 'Mouse: not captured' })).toBeVisible();
  await expect(console.page.getByRole('button', { name: 'Keyboard: with the host' })).toBeVisible();
});

test('the serial port, text sent and a screenshot', async ({ manager }) => {
  const console = await manager.tryDemo();
  await console.waitForPicture('the desktop of the tour', isDesktop);
  await console.page.getByRole('tab', { name: 'Serial port' }).click();
  await expect(console.page.getByRole('tabpanel', { name: 'Serial port' })).toContainText('passed');
  await expectAccessible(console.page);
  await console.page.getByRole('tab', { name: 'Screen' }).click();
  await console.choose('Input', 'Send text…');
  await expectAccessible(console.page);
  await console.page.getByLabel('Text', { exact: true }).fill('typed for me');
  const before = await console.picture();
  await console.page.getByRole('button', { name: 'Send' }).click();
  await console.waitForPicture('the text', (picture) =>
    [...changedLines(before, picture)].some((y) => y > picture.height * 0.75),
  );
  const [download] = await Promise.all([
    console.page.waitForEvent('download'),
    console.choose('Machine', 'Take screenshot'),
  ]);
  expect(download.suggestedFilename()).toMatch(/^Tour .*\.png$/);
});
