import { defineConfig } from '@playwright/test';
import type { ShellOptions } from './fixtures/shell.ts';

/**
 * Specs of the whole app, written once for both shells: `npm run test:e2e`. Each test has a Lodge of its own with an
 * empty data folder.
 */
export default defineConfig<ShellOptions>({
  testDir: './specs',
  outputDir: '../.cache/e2e',
  // Guests want a processor each. Times allow for hosts that are busy with other things: nothing waits longer than it must.
  workers: 1,
  // On a machine that nobody watches, what hangs everywhere ends early.
  ...(process.env['CI'] === undefined ? {} : { globalTimeout: 20 * 60_000, maxFailures: 3 }),
  timeout: 240_000,
  expect: { timeout: 45_000 },
  reporter: [['list'], ['./fixtures/skip-reporter.ts']],
  use: {
    trace: 'off',
    screenshot: 'only-on-failure',
    viewport: { width: 1120, height: 720 },
    locale: 'en-US',
    colorScheme: 'light',
    actionTimeout: 30_000,
  },
  projects: [
    { name: 'web', use: { shell: 'web' } },
    { name: 'desktop', use: { shell: 'desktop' } },
  ],
});
