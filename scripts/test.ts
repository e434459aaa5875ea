/**
 * `npm test`: the static checks, what the tests need, then every unit test and the quick guest tests.
 * `npm run test:guests`: every guest test. The last line says how many checks and tests passed, failed and were skipped.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { cacheFolder, projectRoot } from './project.ts';

const guestsOnly = process.argv.includes('--guests');

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Runs one command to its end, showing its output; says whether it succeeded. */
function check(name: string, command: string, args: readonly string[]): boolean {
  console.log(`\n== ${name}`);
  const started = performance.now();
  const { status, error } = spawnSync(command, args, { cwd: projectRoot, stdio: 'inherit' });
  if (error !== undefined) {
    console.error(error.message);
  }
  console.log(`${status === 0 ? 'ok' : 'FAILED'} after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return status === 0;
}

/** Runs test files in child processes, two at a time, and reports each test. */
async function runTests(files: readonly string[]): Promise<Counts> {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  const stream = run({ cwd: projectRoot, files: [...files], concurrency: 2 });
  stream.on('test:summary', ({ file, counts: totals }) => {
    if (file === undefined) {
      counts.passed = totals.passed;
      counts.failed = totals.tests - totals.passed - totals.skipped - totals.todo;
      counts.skipped = totals.skipped + totals.todo;
    }
  });
  for await (const text of stream.compose(new spec())) {
    process.stdout.write(String(text));
  }
  return counts;
}

/** Runs the tests of the user interface, which want a browser's document, with vitest. */
function runInterfaceTests(): Counts {
  const report = `${cacheFolder}/vitest.json`;
  mkdirSync(cacheFolder, { recursive: true });
  rmSync(report, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const config = ['--config', 'renderer/vite.config.ts'];
  const ok = check('user interface', node, [tool('vitest/vitest.mjs'), 'run', ...config, ...reporters]);
  if (!existsSync(report)) {
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const totals: { numPassedTests: number; numFailedTests: number; numPendingTests: number } = JSON.parse(
    readFileSync(report, 'utf8'),
  );
  const failed = totals.numFailedTests === 0 && !ok ? 1 : totals.numFailedTests;
  return { passed: totals.numPassedTests, failed, skipped: totals.numPendingTests };
}

// Every program started from here runs on this Node and finds the project's own tools.
const node = process.execPath;
const tool = (path: string): string => `${projectRoot}/node_modules/${path}`;
const plain = process.stdout.isTTY ? [] : ['--colors=off'];
const checks = guestsOnly
  ? []
  : [
      check('format and lint', node, [tool('@biomejs/biome/bin/biome'), 'ci', ...plain, '--max-diagnostics=50', '.']),
      check('who may import whom', node, ['scripts/layers/lint.ts']),
      check('types', node, [tool('typescript/bin/tsc'), '--noEmit', '-p', 'tsconfig.json']),
      ...(existsSync(`${projectRoot}/renderer/tsconfig.json`)
        ? [check('types of the user interface', node, [tool('typescript/bin/tsc'), '--noEmit', '-p', 'renderer'])]
        : []),
      check('types of the specs', node, [tool('typescript/bin/tsc'), '--noEmit', '-p', 'e2e']),
    ];
checks.push(check('set-up', node, ['scripts/setup.ts', guestsOnly ? '--guests=all' : '--guests=quick']));

const unitTests = globSync('{engine,main,native,assets,scripts,e2e}/**/*.test.ts', { cwd: projectRoot });
const guestTests = globSync(guestsOnly ? 'e2e/guests/*.guest.ts' : 'e2e/guests/quick*.guest.ts', { cwd: projectRoot });
console.log('\n== tests');
const counts = await runTests([...(guestsOnly ? [] : unitTests), ...guestTests].sort());
if (!guestsOnly && globSync('renderer/**/*.test.{ts,tsx}', { cwd: projectRoot }).length > 0) {
  const interfaceCounts = runInterfaceTests();
  counts.passed += interfaceCounts.passed;
  counts.failed += interfaceCounts.failed;
  counts.skipped += interfaceCounts.skipped;
}
for (const passed of checks) {
  counts[passed ? 'passed' : 'failed']++;
}
console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed === 0 ? 0 : 1;
