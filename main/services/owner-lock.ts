import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Disposable } from '../../engine/base/disposable.ts';
import { errnoOf } from './failures.ts';

const LOCK_FILE = 'owner.lock';

const ownerSchema = z.object({
  pid: z.int().min(1),
  /** When the process started, in ticks since boot on Linux; '0' where that cannot be known. */
  processStart: z.string(),
  /** What it is, for people: 'lodge serve'. */
  what: z.string(),
});
export type Owner = z.infer<typeof ownerSchema>;

export type OwnerLock = { readonly lock: Disposable } | { readonly owner: Owner };

/**
 * Makes this process the owner of a data folder, or says who is. A lock whose process is gone is taken over.
 * Throws errors of Node when the folder cannot be written.
 */
export function lockDataFolder(folder: string, what: string): OwnerLock {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, LOCK_FILE);
  const mine: Owner = { pid: process.pid, processStart: startOf(process.pid), what };
  const text = `${JSON.stringify(mine)}\n`;
  const candidate = `${path}.${process.pid}`;
  writeFileSync(candidate, text, { mode: 0o600 });
  try {
    // Linking a finished file into place: nobody ever sees a lock without its contents.
    linkSync(candidate, path);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') {
      throw error;
    }
    const owner = ownerOf(folder);
    if (owner !== undefined) {
      return { owner };
    }
    // Of several processes that take over at once, the one whose rename comes last has it.
    renameSync(candidate, path);
    if (readFileSync(path, 'utf8') !== text) {
      const winner = ownerOf(folder);
      if (winner !== undefined) {
        return { owner: winner };
      }
    }
  } finally {
    rmSync(candidate, { force: true });
  }
  return {
    lock: {
      dispose() {
        if (ownerOf(folder)?.pid === process.pid) {
          rmSync(path, { force: true });
        }
      },
    },
  };
}

/** The living process that owns a data folder; undefined when there is none. */
export function ownerOf(folder: string): Owner | undefined {
  let owner: Owner;
  try {
    owner = ownerSchema.parse(JSON.parse(readFileSync(join(folder, LOCK_FILE), 'utf8')));
  } catch {
    return undefined;
  }
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    // EPERM: it exists but belongs to someone else.
    return errnoOf(error) === 'EPERM' ? owner : undefined;
  }
  return owner.processStart === startOf(owner.pid) ? owner : undefined;
}

function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name, in parentheses, may contain spaces; the fields after it start with number 3 (proc(5)).
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '0';
  } catch {
    return '0';
  }
}
