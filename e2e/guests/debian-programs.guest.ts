/** Programs that make code inside a Debian guest: a compiler, and Node, whose V8 compiles while it runs. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../../scripts/project.ts';
import { debianBoot, debianDisk } from './debian-disk.ts';
import { DEBIAN_SECONDS, debianShell, withDebianDisk } from './debian-session.ts';
import type { GuestRun } from './guest-run.ts';
import { needs } from './needs.ts';

const programs = join(projectRoot, 'assets/guests/programs');

/** What answers.c must print, known from mathematics and not from running it. */
const ANSWERS = [
  '3141592653589793238462643383279502884197169399375105820974944',
  'queens 352',
  'crc cbf43926',
  'primes 3245',
  'fig date kiwi lime pear plum apple banana',
  '34! de1bc4d19efcac82445da75b00000000',
  '3.1416 1.414213562373095049 0x1.999999999999ap-4',
  'escaped from 1000',
];

/** The lines that a command prints at the guest's shell. */
async function linesOf(guest: GuestRun, command: string): Promise<string[]> {
  // The shell echoes the command: the marks are put together only when it runs.
  guest.send(`echo "output""-begins"; ${command}; echo "output""-ends $?"\n`);
  await guest.waitFor(/output-begins\r?\n/, DEBIAN_SECONDS);
  const [found, status] = await guest.waitFor(/output-ends (\d+)\r?\n/, DEBIAN_SECONDS);
  const output = guest.serial.slice(guest.serial.lastIndexOf('output-begins'), guest.serial.lastIndexOf(found));
  assert.equal(status, '0', `${command}: ${output}`);
  return output
    .split(/\r?\n/)
    .slice(1)
    .filter((line) => line !== '');
}

test('a Debian guest compiles and runs a C program, and Node compiles regular expressions while they run', async (t) => {
  const image = needs(t, debianDisk);
  const boot = image === undefined ? undefined : needs(t, debianBoot);
  if (image === undefined || boot === undefined) {
    return;
  }
  const expected = spawnSync(process.execPath, [join(programs, 'expressions.js')], { encoding: 'utf8' });
  assert.equal(expected.status, 0, expected.stderr);
  await withDebianDisk(image, async (disk, folder) => {
    // The programs come on a disk of their own, which is an archive of tar.
    const archive = join(folder, 'programs.tar');
    assert.equal(spawnSync('tar', ['-cf', archive, '-C', programs, 'answers.c', 'expressions.js']).status, 0);
    await debianShell(boot, disk, [{ path: archive, readOnly: true }], async (guest) => {
      await linesOf(guest, 'tar -xf /dev/sdb && ls');
      for (const optimization of ['-O0', '-O2']) {
        const build = `gcc ${optimization} -Wall -o answers answers.c -lm`;
        assert.deepEqual(await linesOf(guest, `${build} && ./answers`), ANSWERS, optimization);
      }
      const printed = await linesOf(guest, 'nodejs expressions.js');
      assert.deepEqual(printed, expected.stdout.trim().split('\n'), 'what Node prints on the host');
    });
  });
});
