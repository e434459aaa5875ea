import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { accessSync, constants, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadKvm } from './index.ts';

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Why the addon cannot be used here, or undefined. */
function missing(): string | undefined {
  const { problem } = loadKvm();
  if (problem !== undefined) {
    return problem;
  }
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    return `/dev/kvm cannot be opened (${(error as NodeJS.ErrnoException).code})`;
  }
}

function runChecks(env: NodeJS.ProcessEnv): void {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [path('testing/addon-checks.ts')], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 120_000,
  });
  assert.equal(status, 0, `ended with ${status ?? signal}\n${stdout}\n${stderr}`);
  assert.match(stdout, /two hundred machines/);
}

test('the addon against this host', (t) => {
  const lacks = missing();
  if (lacks !== undefined) {
    t.skip(lacks);
    return;
  }
  runChecks({});
});

test('the addon built with sanitizers', (t) => {
  const lacks = missing();
  if (lacks !== undefined) {
    t.skip(lacks);
    return;
  }
  const built = spawnSync(process.execPath, [path('build.js'), '--sanitize', '--strict'], { encoding: 'utf8' });
  if (built.status !== 0) {
    t.skip(`it cannot be built: ${built.stdout}`);
    return;
  }
  const library = spawnSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' });
  if (library.status !== 0 || !library.stdout.includes('/')) {
    t.skip('the run-time library of the sanitizer is missing');
    return;
  }
  runChecks({
    LODGE_KVM_ADDON: path('build/lodge-kvm-sanitized.node'),
    LD_PRELOAD: library.stdout.trim(),
    // Node itself keeps memory until it ends.
    ASAN_OPTIONS: 'detect_leaks=0:handle_segv=0',
  });
});

test('whatever is in the way of a build, Lodge is installed without its addon', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-build-'));
  try {
    // Without sources beside it.
    copyFileSync(path('build.js'), join(folder, 'build.mjs'));
    const { status, stdout } = spawnSync(process.execPath, [join(folder, 'build.mjs')], { encoding: 'utf8' });
    assert.match(stdout, /^Lodge is installed without its KVM addon: [^\n]+\n$/);
    assert.equal(status, 0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a host without the addon is told what to do', () => {
  const script = `import { loadKvm } from ${JSON.stringify(path('index.ts'))}; console.log(loadKvm().problem);`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module-typescript', '-e', script], {
    encoding: 'utf8',
    env: { ...process.env, LODGE_KVM_ADDON: '/nowhere/lodge-kvm.node' },
  });
  assert.match(
    stdout,
    process.platform === 'linux' ? /not built; install a C\+\+ compiler/ : /KVM exists only on Linux/,
  );
});
