import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, expectAccessible, machineProcesses, test } from '../fixtures/lodge.ts';
import { countColours } from '../guests/png.ts';

test('a machine whose process is killed shows as aborted with its log; the other goes on', async ({
  manager,
  home,
}) => {
  const first = await manager.tryDemo();
  await first.waitForPicture('the first desktop', (picture) => countColours(picture) > 200);

  // The second machine runs the same guest from a copy of its disk.
  const copy = join(home, 'copy.img');
  copyFileSync(join(home, 'machines', 'Tour', 'tour.img'), copy);
  const wizard = await manager.newMachine();
  await wizard.field('Name').fill('Second');
  await wizard.field('Guest system').selectOption({ label: 'Lodge tour' });
  await wizard.next();
  await wizard.field('Memory (MB)').fill('64');
  await wizard.next();
  await wizard.dialog.getByRole('radio', { name: 'Existing' }).check();
  await wizard.field('Disk image').fill(copy);
  await wizard.next();
  await wizard.create();
  const second = await manager.start('Second');
  await expect(manager.machine('Second', 'Running')).toBeVisible();
  const before = await second.waitForPicture('the second desktop', (picture) => countColours(picture) > 200);

  const processes = machineProcesses(join(home, 'machines', 'Tour'));
  test.skip(processes === undefined, 'which process runs a machine is only looked up on Linux');
  expect(processes).toHaveLength(1);
  for (const pid of processes ?? []) {
    process.kill(pid, 'SIGKILL');
  }

  await expect(manager.machine('Tour', 'Aborted')).toBeVisible();
  await expect(manager.machine('Second', 'Running')).toBeVisible();
  await manager.machine('Tour').click();
  await expect(manager.page.getByText('This machine ended unexpectedly')).toBeVisible();
  await expect(manager.page.getByRole('log', { name: 'Log of Tour' })).not.toBeEmpty();
  await expectAccessible(manager.page);
  await expect(first.page.getByText('This machine ended unexpectedly')).toBeVisible();
  await expectAccessible(first.page);

  // The survivor's clock goes on, and it answers; the dead one starts again.
  await second.waitForPicture('the clock going on', ({ rgb }) => Buffer.compare(rgb, before.rgb) !== 0);
  await second.press('x');
  await manager.powerOff('Second');
  await manager.machine('Tour').click();
  await manager.button('Start').click();
  await expect(manager.machine('Tour', 'Running')).toBeVisible();
  await first.waitForPicture('the first desktop again', (picture) => countColours(picture) > 200);
});
