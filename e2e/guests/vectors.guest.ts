/** AVX2, FMA and BMI as programs use them: the same executables on the host's processor and in a guest. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { NotAvailable } from '../../scripts/debian.ts';
import { projectRoot } from '../../scripts/project.ts';
import { cpioArchive } from './cpio.ts';
import { GuestRun } from './guest-run.ts';
import { linuxKernel } from './linux.ts';
import { needs } from './needs.ts';
import { prepared } from './prepared.ts';

const SECONDS = 240;
const source = join(projectRoot, 'assets/guests/programs/vectors.c');

/** The program, built with these options, static. @throws NotAvailable */
function program(options: readonly string[]): string {
  const version = createHash('sha256')
    .update(readFileSync(source))
    .update(options.join(' '))
    .digest('hex')
    .slice(0, 16);
  return prepared(`vectors-${version}`, (path) => {
    const { error, status, stderr } = spawnSync('gcc', [...options, '-static', '-o', path, source, '-lm']);
    if (error !== undefined || status !== 0) {
      throw new NotAvailable(`gcc cannot build ${source}: ${error?.message ?? stderr.toString().split('\n')[0]}`);
    }
  });
}

/** What it prints on this host. @throws NotAvailable */
function answers(path: string): string[] {
  const { stdout } = spawnSync(path, { encoding: 'utf8' });
  const lines = (stdout ?? '').split('\n').filter((line) => line !== '');
  if (lines[0] !== 'x86-64-v3 1') {
    throw new NotAvailable("comparing with the host's processor needs one that knows x86-64-v3 (AVX2, FMA, BMI2)");
  }
  return lines;
}

function initramfs(path: string): string {
  return prepared(`${path.split('/').at(-1)}.cpio`, (archive) =>
    writeFileSync(
      archive,
      cpioArchive([
        { path: 'dev', mode: 0o755, kind: 'folder' },
        { path: 'dev/console', mode: 0o600, kind: 'character', major: 5, minor: 1 },
        { path: 'init', mode: 0o755, kind: 'file', data: readFileSync(path) },
      ]),
    ),
  );
}

for (const [what, options] of [
  ['the C library chooses', ['-O2', '-ffp-contract=off']],
  ['the compiler makes for x86-64-v3', ['-O3', '-march=x86-64-v3']],
] as const) {
  test(`vector code that ${what} computes what it does on the host's processor`, async (context) => {
    const kernel = needs(context, () => linuxKernel('cloud'));
    const path = kernel && needs(context, () => program(options));
    const expected = path && needs(context, () => answers(path));
    if (kernel === undefined || path === undefined || expected === undefined) {
      return;
    }
    const append = 'console=ttyS0 quiet panic=-1';
    const guest = { kernel, initrd: initramfs(path), append, memory: 256, noReboot: true, timeout: SECONDS * 2 };
    await GuestRun.with(guest, async (run) => {
      await run.waitFor(/finished\r?\n/, SECONDS);
      const printed = run.serial.split(/\r?\n/);
      assert.deepEqual(printed.slice(printed.indexOf('x86-64-v3 1'), printed.indexOf('finished') + 1), expected);
      assert.equal(await run.exitCode(SECONDS), 0);
    });
  });
}
