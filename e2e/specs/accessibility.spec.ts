import { documentScreen, expect, expectAccessible, test } from '../fixtures/lodge.ts';

for (const theme of ['light', 'dark'] as const) {
  test.describe(`in ${theme} colours`, () => {
    test.use({ colorScheme: theme });

    test('every step of the wizard and the settings are accessible', async ({ manager }) => {
      await expect(manager.tryIt).toBeVisible();
      await manager.button('Settings').click();
      await expectAccessible(manager.page);
      await manager.page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();

      const wizard = await manager.newMachine();
      await wizard.field('Name').fill('Debian');
      await wizard.field('Guest system').selectOption({ label: 'Debian' });
      await expectAccessible(manager.page);
      if (theme === 'light') {
        await documentScreen(manager.page, 'wizard');
      }
      await wizard.field('Name').fill('');
      await wizard.next();
      await expect(wizard.field('Name')).toHaveAttribute('aria-invalid', 'true');
      await expectAccessible(manager.page);
      await wizard.field('Name').fill('Debian');
      await wizard.next();
      await expect(wizard.field('Memory (MB)')).toBeVisible();
      await expectAccessible(manager.page);
      await wizard.next();
      await expect(wizard.field('Size (GB)')).toBeVisible();
      await expectAccessible(manager.page);
      await wizard.next();
      await expect(wizard.dialog.getByRole('button', { name: 'Create' })).toBeVisible();
      await expectAccessible(manager.page);
    });

    test('menus and dialogs of the manager are accessible', async ({ manager }) => {
      const { page } = manager;
      await manager.button('Add…').click();
      await page.getByLabel('Folder of the machine').fill('/nowhere/at all');
      await page.getByRole('button', { name: 'Add', exact: true }).click();
      await expect(page.getByText(/holds no machine/)).toBeVisible();
      await expectAccessible(page);
      await page.keyboard.press('Escape');

      await manager.tryDemo();
      await expect(manager.machine('Tour', 'Running')).toBeVisible();
      await page.bringToFront();
      await manager.button('Stop').click();
      await expect(page.getByRole('menuitem', { name: 'ACPI shutdown' })).toBeVisible();
      await expectAccessible(page);
      await page.keyboard.press('Escape');
      await manager.button('Reset').click();
      await expect(page.getByRole('alertdialog')).toBeVisible();
      await expectAccessible(page);
      await page.keyboard.press('Escape');
      await manager.button('Settings').hover();
      await expect(page.locator('.tooltip')).toBeVisible();
      await expectAccessible(page);
      await manager.powerOff('Tour');
      await manager.button('Delete').click();
      await expect(page.getByRole('alertdialog')).toBeVisible();
      await expectAccessible(page);
    });

    test('menus and dialogs of a console are accessible', async ({ manager }) => {
      const { page, surface, choose } = await manager.tryDemo();
      await expect(surface).toBeVisible();
      await expect(page.getByRole('button', { name: 'Optical drive' })).toBeVisible();
      for (const menu of ['Machine', 'View', 'Input', 'Devices', 'Help']) {
        await page.getByRole('menuitem', { name: menu, exact: true }).click();
        await expect(page.getByRole('menu', { name: menu })).toBeVisible();
        await expectAccessible(page);
        await page.keyboard.press('Escape');
      }
      const dialogs = [
        ['Machine', 'Session information', 'Session information'],
        ['Machine', 'Close', 'Close “Tour”'],
        ['Devices', 'Insert CD…', 'Insert a CD'],
        ['Help', 'Shortcuts', 'Shortcuts'],
        ['Help', 'About Lodge', 'About Lodge'],
      ] as const;
      for (const [menu, item, title] of dialogs) {
        await choose(menu, item);
        const dialog = page.getByRole(item === 'Close' ? 'alertdialog' : 'dialog', { name: title });
        await expect(dialog).toBeVisible();
        await expectAccessible(page);
        await page.keyboard.press('Escape');
        await expect(dialog).toBeHidden();
      }
      await page.getByRole('button', { name: 'Optical drive' }).click({ button: 'right' });
      await expect(page.getByRole('menuitem', { name: 'Insert CD…' })).toBeVisible();
      await expectAccessible(page);
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: /^Accelerator: / }).hover();
      await expect(page.locator('.tooltip')).toBeVisible();
      await expectAccessible(page);
    });
  });
}

test('a machine is made, started and powered off by keyboard alone', async ({ manager, lodge }) => {
  const { keyboard } = manager.page;
  await expect(manager.tryIt).toBeVisible();
  await manager.button('New machine').focus();
  await keyboard.press('Enter');
  await expect(manager.page.getByRole('dialog')).toBeVisible();
  await expect(manager.page.getByLabel('Name', { exact: true })).toBeFocused();
  await keyboard.type('By keys');
  await keyboard.press('Enter');
  await expect(manager.page.getByLabel('Memory (MB)')).toBeVisible();
  await manager.page.getByLabel('Memory (MB)').focus();
  await keyboard.press('Enter');
  await manager.page.getByRole('radio', { name: 'New' }).focus();
  await keyboard.press('ArrowUp');
  await expect(manager.page.getByRole('radio', { name: 'None' })).toBeChecked();
  await keyboard.press('Enter');
  await manager.page.getByRole('button', { name: 'Create' }).focus();
  await keyboard.press('Enter');
  await expect(manager.machine('By keys', 'Powered Off')).toBeVisible();
  await manager.machine('By keys').focus();
  const console = await lodge.windowOpenedBy(() => keyboard.press('Enter'));
  await expect(console.getByRole('button', { name: 'Keyboard: with the guest' })).toBeVisible();
  await console.keyboard.press('ControlRight');
  await expect(console.getByRole('menuitem', { name: 'Machine' })).toBeFocused();
  await console.keyboard.press('ArrowDown');
  await console.getByRole('menuitem', { name: 'Power off' }).focus();
  await console.keyboard.press('Enter');
  await console.getByRole('alertdialog').getByRole('button', { name: 'Power off' }).focus();
  await console.keyboard.press('Enter');
  await expect(manager.machine('By keys', 'Powered Off')).toBeVisible();
});

test('Korean', async ({ manager }) => {
  await manager.button('Settings').click();
  await manager.page.getByLabel('Language').selectOption({ label: '한국어' });
  await expect(manager.page.getByRole('dialog', { name: '설정' })).toBeVisible();
  await expect(manager.page.locator('html')).toHaveAttribute('lang', 'ko');
  await expectAccessible(manager.page);
  await manager.page.keyboard.press('Escape');

  // What the services say is Korean too.
  await manager.button('추가…').click();
  await manager.page.getByLabel('가상 머신 폴더').fill('/nowhere/at all');
  await manager.page.getByRole('button', { name: '추가', exact: true }).click();
  await expect(manager.page.getByText('/nowhere/at all: 가상 머신이 없는 폴더입니다')).toBeVisible();
});
