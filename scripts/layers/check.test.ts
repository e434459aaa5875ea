import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkFile, importsOf, judge } from './check.ts';

test('every way of naming a module is seen', () => {
  const source = [
    "import a from '../a.ts';",
    "import type { B } from '../b.ts';",
    'import {',
    '  c,',
    "} from '../c.ts';",
    "export * from '../d.ts';",
    "import '../e.ts';",
    "const f = await import('../f.ts');",
    "const g = new Worker(new URL('./g.ts', import.meta.url));",
    "// import '../not-me.ts';",
    "const text = 'import nothing';",
    "module.import('not-me-either');",
  ].join('\n');
  assert.deepEqual(
    importsOf(source).map(({ specifier, line }) => `${specifier}:${line}`),
    ['../a.ts:1', '../b.ts:2', '../c.ts:3', '../d.ts:6', '../e.ts:7', '../f.ts:8', './g.ts:9'],
  );
});

const forbidden: readonly (readonly [file: string, specifier: string])[] = [
  ['engine/devices/ide/ide.ts', '../../cpu/cpu.ts'],
  ['engine/devices/ide/ide.ts', '../../machine/machine.ts'],
  ['engine/devices/ide/ide.ts', '../serial/uart.ts'],
  ['engine/devices/ide/ide.ts', '../../backends/block/raw-image.ts'],
  ['engine/devices/ide/ide.ts', 'node:fs'],
  ['engine/devices/ide/ide.ts', '../../testing/fakes.ts'],
  ['engine/cpu/x86/layout.ts', './testing/test-machine.ts'],
  ['engine/virtio/blk/blk.ts', '../net/net.ts'],
  ['engine/virtio/blk/blk.ts', '../../cpu/cpu.ts'],
  ['engine/base/event.ts', '../bus/bus.ts'],
  ['engine/cpu/software/run.ts', '../../devices/ide/ide.ts'],
  ['engine/cpu/software/run.ts', '../../../native/index.ts'],
  ['engine/machine/machine.ts', 'node:fs'],
  ['engine/machine/machine.ts', '../process/vm.ts'],
  ['engine/machine/machine.ts', '../../native/index.ts'],
  ['engine/process/vm.ts', '../../main/contract/api.ts'],
  ['main/web/server.ts', 'electron'],
  ['main/cli/main.ts', '../../engine/machine/machine.ts'],
  ['renderer/app.ts', '../engine/machine/machine.ts'],
  ['renderer/app.ts', '../main/services/machines.ts'],
  ['renderer/app.ts', 'node:path'],
  ['elsewhere/new.ts', './other.ts'],
];
for (const [file, specifier] of forbidden) {
  test(`${file} may not import ${specifier}`, () => {
    assert.notEqual(judge(file, specifier), undefined);
    assert.equal(checkFile(file, `import type { X } from '${specifier}';`).length, 1);
  });
}

const allowed: readonly (readonly [file: string, specifier: string])[] = [
  ['engine/devices/ide/ide.ts', '../../base/event.ts'],
  ['engine/devices/ide/ide.ts', './task-file.ts'],
  ['engine/devices/ide/ide.ts', '../device.ts'],
  ['engine/devices/ide/ide.ts', '../../backends/block/block-backend.ts'],
  ['engine/devices/ide/ide.test.ts', '../../testing/fakes.ts'],
  ['engine/devices/ide/ide.test.ts', 'node:test'],
  ['engine/cpu/x86/testing/native.ts', 'node:child_process'],
  ['engine/virtio/blk/blk.ts', '../queue/queue.ts'],
  ['engine/cpu/kvm/kvm-cpus.ts', '../../../native/index.ts'],
  ['engine/machine/pc-board.ts', '../devices/ide/ide.ts'],
  ['engine/process/machine-thread.ts', '../machine/machine.ts'],
  ['main/cli/main.ts', '../../engine/process/launch.ts'],
  ['main/cli/main.ts', 'commander'],
  ['main/desktop/entry.ts', 'electron'],
  ['renderer/app.ts', '../main/contract/api.ts'],
];
for (const [file, specifier] of allowed) {
  test(`${file} may import ${specifier}`, () => {
    assert.equal(judge(file, specifier), undefined);
  });
}

test('the linter ends with 1 and names file, line and import of a violation', () => {
  const root = mkdtempSync(join(tmpdir(), 'lodge-layers-'));
  try {
    mkdirSync(join(root, 'engine/devices/rtc'), { recursive: true });
    writeFileSync(join(root, 'engine/devices/rtc/rtc.ts'), "\nimport { Machine } from '../../machine/machine.ts';\n");
    const linter = fileURLToPath(new URL('./lint.ts', import.meta.url));
    const result = spawnSync(process.execPath, [linter, root], { encoding: 'utf8' });
    assert.equal(result.status, 1);
    assert.match(result.stderr, /engine\/devices\/rtc\/rtc\.ts:2: may not import engine\/machine\/machine\.ts/);
  } finally {
    rmSync(root, { recursive: true });
  }
});
