import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, expectAccessible, test } from '../fixtures/lodge.ts';

test('paths are completed while they are typed', async ({ manager, home, shell }) => {
  test.skip(shell !== 'web', 'the desktop has file dialogs');
  const images = join(home, 'images');
  mkdirSync(join(images, 'old'), { recursive: true });
  // A floppy disk with a boot sector.
  const floppy = new Uint8Array(1440 * 1024);
  floppy.set([0x55, 0xaa], 510);
  writeFileSync(join(images, 'boot-floppy.img'), floppy);

  const wizard = await manager.newMachine();
  const media = wizard.field('Install media');
  await media.pressSequentially(join(home, 'ima'));
  await manager.page.getByRole('option', { name: 'images' }).click();
  await expect(media).toHaveValue(`${images}/`);
  await expect(manager.page.getByRole('option', { name: 'old' })).toBeVisible();
  await expectAccessible(manager.page);
  await media.pressSequentially('bo');
  await expect(manager.page.getByRole('option', { name: 'old' })).toBeHidden();
  await media.press('Escape');
  await expect(manager.page.getByRole('listbox', { name: 'Suggestions' })).toBeHidden();
  await expect(wizard.dialog).toBeVisible();
  await media.press('ArrowDown');
  await expect(manager.page.getByRole('option', { name: 'boot-floppy.img' })).toBeVisible();
  await media.press('ArrowDown');
  await media.press('Enter');
  await expect(media).toHaveValue(join(images, 'boot-floppy.img'));
  await expect(wizard.dialog.getByText(/Floppy disk of 1440 KB/)).toBeVisible();

  await wizard.field('Name').fill('From a floppy');
  await wizard.next();
  await expect(wizard.dialog.getByText(/The host has \d+ MB, \d+ MB of them free/)).toBeVisible();
  await wizard.next();
  await expect(wizard.dialog.getByText(/GB are free in the chosen folder/)).toBeVisible();
  await wizard.dialog.getByRole('radio', { name: 'None' }).check();
  await wizard.next();
  await wizard.create();
  await expect(manager.machine('From a floppy', 'Powered Off')).toBeVisible();
  await expect(manager.page.getByText('boot-floppy.img')).toBeVisible();
});

test('a file that is no image is refused beside the field', async ({ manager, home }) => {
  const wizard = await manager.newMachine();
  await wizard.field('Name').fill('Wrong');
  await wizard.field('Install media').fill(join(home, 'missing.iso'));
  await wizard.next();
  await expect(wizard.field('Install media')).toHaveAttribute('aria-invalid', 'true');
  await expect(wizard.dialog.getByText(/missing\.iso: /)).toBeVisible();
  await expect(wizard.field('Memory (MB)')).toBeHidden();
});
