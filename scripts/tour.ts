/**
 * `npm run tour`: the demonstration guest in this terminal. With a terminal it runs until the guest is told to power off;
 * without one it shows what the guest finds and powers off by itself. Arguments go to `lodge run`.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildTour } from '../assets/guests/tour/build.ts';
import { NotAvailable } from './debian.ts';
import { provideFirmware } from './firmware.ts';
import { cacheFolder, projectRoot } from './project.ts';

function tourImage(autoquit: boolean): string {
  mkdirSync(cacheFolder, { recursive: true });
  const path = join(cacheFolder, autoquit ? 'tour-autoquit.img' : 'tour.img');
  writeFileSync(`${path}.${process.pid}`, buildTour({ autoquit }));
  renameSync(`${path}.${process.pid}`, path);
  return path;
}

try {
  provideFirmware();
  const interactive = process.stdin.isTTY === true;
  console.log(
    interactive
      ? 'The tour: a guest that probes its machine. Type q to power it off, r to restart it, Ctrl-A X to leave.'
      : 'The tour: a guest that probes its machine and powers off.',
  );
  const { status } = spawnSync(
    process.execPath,
    [
      join(projectRoot, 'bin/lodge.js'),
      'run',
      ...['--name', 'Tour', '--memory', '64', '--cpus', '2', '--disk', `${tourImage(!interactive)},readonly`],
      ...process.argv.slice(2),
    ],
    { stdio: 'inherit' },
  );
  process.exitCode = status ?? 1;
} catch (error) {
  if (!(error instanceof NotAvailable)) {
    throw error;
  }
  console.error(error.message);
  process.exitCode = 1;
}
