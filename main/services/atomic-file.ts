import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf } from './failures.ts';

/** Replaces a file: readers and crashes see the old contents or the new ones, never a part. Throws errors of Node. */
export function writeFileAtomically(path: string, contents: string | Uint8Array): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = openSync(temporary, 'w', 0o600);
    try {
      writeFileSync(file, contents);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncFolder(dirname(path));
}

/** Makes the rename itself last; where folders cannot be synchronized (Windows) the system does that by itself. */
function syncFolder(path: string): void {
  try {
    const folder = openSync(path, 'r');
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  } catch {}
}

/** What `writeFileAtomically` and the lock of a data folder (owner-lock.ts) call their files until they are finished. */
const UNFINISHED = /\.(\d+)\.tmp$|^owner\.lock\.(\d+)$/;

/** Removes what processes that were killed left unfinished in a folder. Never throws: it is only tidier without them. */
export function removeUnfinished(folder: string): void {
  try {
    for (const name of readdirSync(folder)) {
      const [, ofFile, ofLock] = UNFINISHED.exec(name) ?? [];
      const pid = Number(ofFile ?? ofLock ?? Number.NaN);
      if (!Number.isNaN(pid) && !isAlive(pid)) {
        rmSync(join(folder, name), { force: true });
      }
    }
  } catch {}
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) !== 'ESRCH';
  }
}
