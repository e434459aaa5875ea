import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { hostReport } from '../../engine/process/host-report.ts';
import { fromVmSchema, type ToVm } from '../../engine/process/vm-control.ts';
import { demoGuestImage } from '../services/demo-guest.ts';
import { nodeProcessHost } from '../vms/node-process-host.ts';

/** As deep below the root as dist/desktop, so that the programs find what stands beside them. */
const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = join(root, '.cache', `bundle-${process.pid}`);
after(() => rmSync(folder, { recursive: true, force: true }));

const { firmware } = hostReport();

test('the bundled programs of the desktop app run a machine', {
  skip: firmware.found ? false : firmware.problem,
  timeout: 180_000,
}, async () => {
  mkdirSync(folder, { recursive: true });
  const vite = join(root, 'node_modules/vite/bin/vite.js');
  const config = join(root, 'main/desktop/vite.config.ts');
  for (const mode of ['main', 'preload']) {
    const made = spawnSync(process.execPath, [vite, 'build', '--config', config, '--mode', mode, '--outDir', folder], {
      cwd: root,
      encoding: 'utf8',
    });
    assert.equal(made.status, 0, made.stderr);
  }
  const preload = readFileSync(join(folder, 'preload.cjs'), 'utf8');
  assert.deepEqual(preload.match(/require\([^)]*\)/g), ['require("electron")'], 'a sandboxed script has nothing else');
  for (const path of globSync('*.js', { cwd: folder })) {
    const program = readFileSync(join(folder, path), 'utf8');
    assert.doesNotMatch(program, /new Worker\(new URL\("[^"]*\.ts"/, `${path}: threads are bundled too`);
    assert.doesNotMatch(program, /from "(?!node:|\.\/|electron")/, `${path}: packages are bundled`);
  }

  const disk = join(folder, 'tour.img');
  writeFileSync(disk, await demoGuestImage());
  const host = nodeProcessHost();
  const program = pathToFileURL(join(folder, 'vm-process.js'));
  const heard: string[] = [];
  await new Promise<void>((resolve, reject) => {
    let output = '';
    const vm = host.start(
      program,
      { logPath: join(folder, 'log'), name: 'bundled' },
      {
        message(raw) {
          const message = fromVmSchema.parse(raw);
          heard.push(message.kind);
          output += message.kind === 'serial' ? Buffer.from(message.bytes).toString('latin1') : '';
          if (message.kind === 'failed') {
            reject(new Error(message.error.message));
          } else if (output.includes('TOUR begin')) {
            vm.post({ kind: 'command', command: { kind: 'stop' } } satisfies ToVm);
          }
        },
        ended: ({ code }) => (code === 0 ? resolve() : reject(new Error(readFileSync(join(folder, 'log'), 'utf8')))),
      },
    );
    vm.post({
      kind: 'start',
      config: {
        name: 'bundled',
        accel: 'software',
        cpus: 1,
        memoryMegabytes: 64,
        firmware: {},
        boot: { order: ['disk'] },
        disks: [{ path: disk, bus: 'ide', port: 0, readOnly: true }],
      },
    } satisfies ToVm);
  });
  assert.ok(heard.includes('started') && heard.includes('serial') && heard.at(-1) === 'finished', heard.join());
});
