import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, expectAccessible, test } from '../fixtures/lodge.ts';

const broken = '{ "version": 1, "name": "Broken", ';

test('a machine whose file is damaged is shown with the reason, and its file stays as it is', async ({
  manager,
  home,
}) => {
  const wizard = await manager.newMachine();
  await wizard.field('Name').fill('Fragile');
  await wizard.next();
  await wizard.next();
  await wizard.dialog.getByRole('radio', { name: 'None' }).check();
  await wizard.next();
  await wizard.create();
  await expect(manager.machine('Fragile', 'Powered Off')).toBeVisible();

  const folder = join(home, 'machines', 'Fragile');
  const file = join(folder, 'machine.json');
  const good = readFileSync(file, 'utf8');
  expect(JSON.parse(good)).toMatchObject({ name: 'Fragile' });
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, broken);

  await manager.page.reload();
  await expect(manager.machine('Fragile', 'Inaccessible')).toBeVisible();
  await expect(manager.page.getByRole('alert')).toContainText('machine.json');
  await expect(manager.button('Start')).toBeDisabled();
  await expectAccessible(manager.page);
  expect(readFileSync(file, 'utf8')).toBe(broken);

  writeFileSync(file, good);
  await manager.page.reload();
  await expect(manager.machine('Fragile', 'Powered Off')).toBeVisible();

  await manager.button('Delete').click();
  await manager.page.getByRole('radio', { name: 'Delete all files' }).check();
  await expect(manager.page.getByText(file)).toBeVisible();
  await expectAccessible(manager.page);
  await manager.page.getByRole('button', { name: 'Delete files' }).click();
  await expect(manager.tryIt).toBeVisible();
});
