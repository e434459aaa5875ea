import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isStale } from './build.ts';
import { planStart, type Surroundings } from './start-plan.ts';

const desktop: Surroundings = {
  display: true,
  superuser: false,
  electron: 'installed',
  browser: '/usr/bin/chromium',
  wantsWeb: false,
};

test('the desktop shell opens where it can, also when Electron has to be fetched first', () => {
  for (const electron of ['installed', 'fetchable'] as const) {
    assert.deepEqual(planStart({ ...desktop, electron }), { shell: 'desktop', why: undefined, browser: undefined });
  }
});

test('otherwise the web shell opens in a browser, with one line that says why', () => {
  const missing = planStart({ ...desktop, electron: 'missing' });
  assert.equal(missing.shell, 'web');
  assert.equal(missing.browser, '/usr/bin/chromium');
  assert.match(missing.why ?? '', /^Electron's program [^\n]*$/);
  assert.match(planStart({ ...desktop, electron: 'broken' }).why ?? '', /^Electron's program does not come up[^\n]*$/);
  assert.equal(planStart({ ...desktop, wantsWeb: true }).why, undefined);
});

test('without a display, and as root, no window is opened', () => {
  for (const plan of [
    planStart({ ...desktop, display: false }),
    planStart({ ...desktop, superuser: true }),
    planStart({ ...desktop, display: false, superuser: true, electron: 'missing' }),
  ]) {
    assert.equal(plan.shell, 'web');
    assert.equal(plan.browser, undefined);
    assert.match(plan.why ?? '', /^[^\n]+$/);
  }
});

const root = mkdtempSync(join(tmpdir(), 'lodge-build-'));
after(() => rmSync(root, { recursive: true }));

test('what is older than its sources is stale; tests are no sources', () => {
  const write = (path: string, seconds: number) => {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), '');
    utimesSync(join(root, path), seconds, seconds);
  };
  const target = { sources: ['src/**/*', 'lock.json'], result: 'dist/out.js' };
  write('src/deep/a.ts', 100);
  write('lock.json', 100);
  assert.equal(isStale(target, root), true, 'never made');
  write('dist/out.js', 200);
  assert.equal(isStale(target, root), false);
  write('src/deep/a.test.ts', 300);
  write('src/node_modules/cache.ts', 300);
  assert.equal(isStale(target, root), false);
  write('lock.json', 300);
  assert.equal(isStale(target, root), true);
});
