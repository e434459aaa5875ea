import { expect, test } from '../fixtures/lodge.ts';
import { serve } from '../fixtures/web-shell.ts';

test('a page whose server is gone says so, and finds out that the next one does not know it', async ({
  lodge,
  manager,
  home,
  shell,
  complaints,
}) => {
  test.skip(shell !== 'web', 'the desktop has its services in itself');
  await expect(manager.tryIt).toBeVisible();
  const { port } = new URL(manager.page.url());
  process.kill(lodge.pid, 'SIGTERM');
  await expect(manager.page.getByRole('alert')).toContainText('The connection to Lodge is lost');
  const next = await serve(home, Number(port));
  try {
    await expect(manager.page.getByRole('alert')).toContainText('does not let this page in');
    await manager.page.goto(next.url);
    await expect(manager.tryIt).toBeVisible();
    await expect(manager.page.getByRole('alert')).toHaveCount(0);
  } finally {
    await next.stop();
    // The browser reports every attempt.
    complaints.length = 0;
  }
});
