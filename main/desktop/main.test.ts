import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

const folder = mkdtempSync(join(tmpdir(), 'lodge-main-'));
after(() => rmSync(folder, { recursive: true }));

test('the entry puts everything together: it opens the manager, remembers its place, and quits', () => {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', new URL('./testing/electron-hook.ts', import.meta.url).href, join(import.meta.dirname, 'main.ts')],
    { encoding: 'utf8', timeout: 30_000, env: { ...process.env, LODGE_HOME: folder } },
  );
  assert.equal(stderr, '');
  const lines = stdout
    .trim()
    .split('\n')
    .map((line): unknown => JSON.parse(line));
  // Its programs are not where the bundled ones are, so there is no page beside them.
  assert.deepEqual(lines[0], { url: 'lodge://app/index.html', status: 404, sandbox: true });
  assert.deepEqual(lines.at(-1), { quits: 1 });
  const places: unknown = JSON.parse(readFileSync(join(folder, 'desktop', 'windows.json'), 'utf8'));
  assert.deepEqual(places, { manager: { x: 10, y: 20, width: 1180, height: 780, maximized: false } });
});
